//! `circle/1`: keeps circles in step with the peers, and minds the clock.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use softbus_core::wire::circle::{EXCHANGE_STATEMENT_BYTES, Exchange, HAVE};
use softbus_core::{CircleId, DeviceId, ErrorCode, HEADER_LEN, Hash, Message as _, Signed, limits};
use softbus_trust::circle::Farewell;
use tokio::sync::broadcast::error::RecvError;

use super::keeper::Circle;
use super::{Keeper, MembershipError, circle_service};
use crate::seam::BoxFuture;
use crate::{Caller, LinkEvent, Net, Presence, Respond};

/// How long a peer has for one answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Most rounds with one peer about one circle at a time: enough for a full circle each way.
const ROUNDS: usize = 96;
/// After a failed exchange with a linked peer it is tried again this much later.
const AGAIN: Duration = Duration::from_secs(2);
/// Circles are compared this often even if nothing seems new.
const COMPARE: Duration = Duration::from_secs(300);
/// Longest sleep of the clockwork: wall clocks jump.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);

/// Exchanges of one peer that may be in work here at once; what they take in is done one after another.
const EXCHANGES: u8 = 4;

/// Answers `circle/1`.
pub(super) struct Answer(pub Arc<Keeper>);

impl Respond for Answer {
    fn respond(&self, from: Caller, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, ErrorCode>> {
        let keeper = self.0.clone();
        Box::pin(async move { keeper.answer_exchange(from.device, &request).await })
    }

    fn longest(&self) -> usize {
        HEADER_LEN + Exchange::MAX_BYTES
    }
}

/// A peer's place among the exchanges in work. It is held until what the peer sent is taken in, also when the
/// peer gave up before: whoever asks and gives up again and again piles nothing up here.
struct Turn(Arc<Keeper>, DeviceId);

impl Turn {
    fn take(keeper: Arc<Keeper>, peer: DeviceId) -> Option<Self> {
        let mut turns = keeper.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = turns.entry(peer).or_default();
        if *taken >= EXCHANGES {
            return None;
        }
        *taken += 1;
        drop(turns);
        Some(Self(keeper, peer))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = turns.get_mut(&self.1) {
            *taken -= 1;
            if *taken == 0 {
                turns.remove(&self.1);
            }
        }
    }
}

impl Keeper {
    /// Answers one message of `circle/1` from a device that is in the circle, or that is out of it: that one's statements
    /// are not taken in, and it is told why it is out.
    pub(super) async fn answer_exchange(&self, from: DeviceId, request: &[u8]) -> Result<Vec<u8>, ErrorCode> {
        let theirs = read_exchange(request).map_err(|_| ErrorCode::Malformed)?;
        if !self.shares(theirs.circle, &from) {
            return self.answer_former(theirs.circle, from, &theirs.have, theirs.after.as_ref());
        }
        let turn = self.me.upgrade().and_then(|me| Turn::take(me, from)).ok_or(ErrorCode::Busy)?;
        let (circle, have, known, after) =
            (theirs.circle, theirs.have.clone(), theirs.secret_known, theirs.after);
        self.absorb(theirs, Some(turn)).await.map_err(|error| {
            tracing::warn!(%circle, %error, "could not take in a circle's statements");
            ErrorCode::Storage
        })?;
        // What was taken in may have shut the asker out.
        if !self.shares(circle, &from) {
            return self.answer_former(circle, from, &have, after.as_ref());
        }
        let answer =
            self.exchange(circle, Some((&have, known)), after.as_ref()).ok_or(ErrorCode::NotFound)?;
        softbus_core::encode(&answer).map_err(|_| ErrorCode::Internal)
    }

    /// Tells a device that is out what it lacks to see that for itself, by statements that it checks like any other:
    /// those that removed it and what precedes them. It learns neither what came later nor the circle's secret.
    fn answer_former(
        &self,
        circle: CircleId,
        device: DeviceId,
        have: &[Hash],
        after: Option<&Hash>,
    ) -> Result<Vec<u8>, ErrorCode> {
        let farewell = {
            let state = self.read();
            let kept = state.present().find(|kept| kept.set.id() == circle);
            kept.and_then(|kept| kept.set.farewell(&device, have, after, EXCHANGE_STATEMENT_BYTES))
        };
        let Farewell { removals, statements, more } = farewell.ok_or(ErrorCode::Forbidden)?;
        let count = u32::try_from(statements.len()).unwrap_or(u32::MAX);
        let (secret_known, secret, after) = (None, None, None);
        let answer =
            Exchange { circle, have: removals, count, statements, more, secret_known, secret, after };
        softbus_core::encode(&answer).map_err(|_| ErrorCode::Internal)
    }

    /// Whether `device` may hear of this circle: both are in it, and its time is not over.
    pub(super) fn shares(&self, circle: CircleId, device: &DeviceId) -> bool {
        let now = self.wall();
        self.read().view.circles.get(&circle).is_some_and(|view| view.member(device, now).is_some())
    }

    /// What we have of a circle, and what a peer with this digest and secret lacks, that got the statements up to `sent`.
    fn exchange(
        &self,
        circle: CircleId,
        theirs: Option<(&[Hash], Option<Hash>)>,
        sent: Option<&Hash>,
    ) -> Option<Exchange> {
        let state = self.read();
        let Circle { set, secrets } = state.circles.get(&circle)?;
        let today = secrets.first();
        let known = today.map(|secret| secret.hash());
        let (statements, more) = match theirs {
            Some((have, _)) => set.missing(have, sent, EXCHANGE_STATEMENT_BYTES),
            None => (Vec::new(), false),
        };
        let secret = match theirs {
            Some((_, theirs)) if theirs != known => today.map(|secret| secret.signed().clone()),
            _ => None,
        };
        Some(Exchange {
            circle,
            have: set.digest(),
            count: u32::try_from(set.len()).unwrap_or(u32::MAX),
            statements,
            more,
            secret_known: known,
            secret,
            after: None,
        })
    }

    /// Takes in what a peer sent, durably.
    async fn absorb(&self, theirs: Exchange, turn: Option<Turn>) -> Result<(), MembershipError> {
        let nothing_new = {
            let state = self.read();
            let circle = state.circles.get(&theirs.circle);
            let circle = circle.ok_or(MembershipError::NoCircle(theirs.circle))?;
            let hashes: Vec<Hash> = theirs.statements.iter().map(|signed| signed.hash()).collect();
            let secret = theirs
                .secret
                .as_ref()
                .is_none_or(|signed| circle.secrets.iter().any(|known| known.hash() == signed.hash()));
            circle.set.knows_all(&hashes) && secret
        };
        if nothing_new {
            return Ok(());
        }
        self.undisturbed(move |me| async move {
            // What was taken in meanwhile may have shut the sender out.
            if turn.as_ref().is_some_and(|Turn(_, from)| !me.shares(theirs.circle, from)) {
                return Ok(());
            }
            let weight = theirs.statements.len();
            let changed = me
                .change(theirs.circle, weight, move |circle| {
                    Ok(circle.absorb(theirs.statements, theirs.secret))
                })
                .await?;
            me.publish(changed);
            Ok(())
        })
        .await
    }

    /// Brings all circles that we share with `peer` in step with it.
    async fn step_with(&self, net: &Net, peer: DeviceId) -> Result<(), MembershipError> {
        let circles: Vec<CircleId> = self.circles().circles.keys().copied().collect();
        for circle in circles {
            let mut theirs: Option<Exchange> = None;
            // The last statement that went each way.
            let (mut sent, mut got) = (None, None);
            for _ in 0..ROUNDS {
                if !self.shares(circle, &peer) {
                    break;
                }
                let known = theirs.as_ref().map(|e| (e.have.as_slice(), e.secret_known));
                let Some(mut ours) = self.exchange(circle, known, sent.as_ref()) else { break };
                ours.after = got;
                sent = ours.statements.last().map(Signed::hash).or(sent);
                let request = softbus_core::encode(&ours).map_err(crate::NetError::from)?;
                let answer = match net.request(peer, &circle_service(), request, ANSWER).await {
                    Ok(answer) => answer,
                    // It is not in this circle, as far as it knows.
                    Err(crate::RequestError::Code(ErrorCode::Forbidden | ErrorCode::NotFound)) => break,
                    Err(crate::RequestError::Code(code)) => return Err(MembershipError::Refused(code)),
                    Err(crate::RequestError::Net(error)) => return Err(error.into()),
                    Err(_) => return Err(MembershipError::Timeout),
                };
                let answer =
                    read_exchange(&answer).map_err(|_| MembershipError::Protocol("a malformed answer"))?;
                if answer.circle != circle {
                    return Err(MembershipError::Protocol("an answer about another circle"));
                }
                let (have, more, secret_known) = (answer.have.clone(), answer.more, answer.secret_known);
                // Nothing came and nothing was taken: the two will not agree by saying it again.
                let stuck = answer.statements.is_empty()
                    && theirs.as_ref().is_some_and(|e| e.have == have && e.secret_known == secret_known);
                self.absorb(answer.clone(), None).await?;
                got = answer.statements.last().map(Signed::hash).or(got);
                let next = self.exchange(circle, Some((&have, secret_known)), sent.as_ref());
                let done = !more && next.is_none_or(|e| e.statements.is_empty() && e.secret.is_none());
                theirs = Some(answer);
                if done || stuck {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Runs until the network room is gone: exchanges with each peer when its link comes up, with all when something
    /// is new.
    pub(super) async fn keep_in_step(self: Arc<Self>, net: Net) {
        let (mut events, mut news, links) = (net.events(), self.news.subscribe(), net.links());
        let linked = || -> Vec<DeviceId> {
            let online = |info: &&Arc<crate::LinkInfo>| info.presence != Presence::Offline;
            links.borrow().values().filter(online).map(|info| info.peer).take(limits::LINKS).collect()
        };
        let mut due: BTreeSet<DeviceId> = linked().into_iter().collect();
        let mut busy: BTreeSet<DeviceId> = BTreeSet::new();
        let mut failed: BTreeSet<DeviceId> = BTreeSet::new();
        let mut running = FuturesUnordered::new();
        let mut compare = tokio::time::interval(COMPARE);
        compare.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            for peer in due.iter().copied().filter(|peer| !busy.contains(peer)).collect::<Vec<_>>() {
                due.remove(&peer);
                failed.remove(&peer);
                busy.insert(peer);
                let (me, net) = (self.clone(), net.clone());
                running.push(async move { (peer, me.step_with(&net, peer).await) });
            }
            tokio::select! {
                biased;
                () = net.closed() => break,
                event = events.recv() => match event {
                    Ok(LinkEvent::Up { peer, .. }) => drop(due.insert(peer)),
                    Ok(LinkEvent::Down { peer, .. }) => drop(failed.remove(&peer)),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => due.extend(linked()),
                    Err(RecvError::Closed) => break,
                },
                Some((peer, outcome)) = running.next(), if !running.is_empty() => {
                    busy.remove(&peer);
                    if let Err(error) = outcome {
                        tracing::debug!(%peer, %error, "circles not in step yet");
                        failed.insert(peer);
                    }
                }
                Ok(()) = news.changed() => due.extend(linked()),
                _ = again.tick(), if !failed.is_empty() => {
                    let linked: BTreeSet<DeviceId> = linked().into_iter().collect();
                    due.extend(failed.intersection(&linked));
                    failed.clear();
                }
                _ = compare.tick() => due.extend(linked()),
            }
        }
        self.detach();
    }

    /// Runs until the keeper is detached: lets PINs, freezes, links given out and trust end in time.
    pub(super) async fn mind_the_clock(self: Arc<Self>) {
        while self.net().is_ok() {
            self.let_time_pass().await;
            let now = self.now();
            let wait = {
                let state = self.read();
                let boot = state.gate.next_deadline().map(|at| at.0.saturating_sub(now.boot.0));
                let ends = state.view.circles.values().filter_map(|circle| circle.next_expiry(now.wall));
                let tickets =
                    state.tickets.values().map(|ticket| ticket.expires).filter(|end| *end > now.wall);
                let wall = ends.chain(tickets).min().map(|at| at.0.saturating_sub(now.wall.0));
                boot.into_iter()
                    .chain(wall)
                    .min()
                    .map_or(LOOK_AT_CLOCK, Duration::from_millis)
                    .min(LOOK_AT_CLOCK)
            };
            tokio::select! {
                biased;
                () = self.clockwork.notified() => {}
                // The clocks count whole milliseconds: be there after the deadline, not just before.
                () = tokio::time::sleep(wait + Duration::from_millis(1)) => {}
            }
        }
    }
}

/// Reads a message of `circle/1`: foreign bytes.
///
/// # Errors
/// What is wrong with them.
pub fn read_exchange(bytes: &[u8]) -> Result<Exchange, softbus_core::DecodeError> {
    let exchange: Exchange = softbus_core::decode(bytes)?;
    if exchange.have.len() > HAVE { Err(softbus_core::DecodeError::Malformed) } else { Ok(exchange) }
}
