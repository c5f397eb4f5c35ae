//! After the proof: who admits whom or hands back a circle, and how that gets to the joiner.

use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::circle::EXCHANGE_STATEMENT_BYTES;
use softbus_core::wire::pair::{Offer, Pair, Refusal, Welcome};
use softbus_core::{CircleId, DeviceId, HEADER_LEN, Message as _, Signed, limits};
use softbus_trust::circle::{Act, CircleSet, Statement};
use softbus_trust::{Grant, Member, Role};

use super::keeper::{Circle, STATEMENT_OPS};
use super::pairing::{STORING, Talk};
use super::refusals::{breach, hear, refused};
use super::{CIRCLES, DEFAULT_GRANT, Keeper, MembershipError, PairOptions, Paired};
use crate::seam::Lane;
use crate::seam::store::StoreError;

/// How long an admitter has for the whole circle. Its disk comes first.
const WELCOME: Duration = Duration::from_secs(60);

impl Keeper {
    /// What this device brings to a pairing.
    pub(super) fn offer(&self, options: &PairOptions, peer: &DeviceId) -> Offer {
        let now = self.wall();
        let me = self.id();
        let view = self.circles();
        // A circle in which our own time is over does not keep us from being admitted.
        let ours = || view.circles.values().filter(|c| c.member(&me, now).is_some()).take(CIRCLES);
        let member_of: Vec<CircleId> = ours().map(|c| c.id).collect();
        let shared = ours().filter(|c| c.member(peer, now).is_some()).map(|c| c.id).collect();
        let admits = self.admits(options).ok().flatten();
        let join = options.join && member_of.len() < CIRCLES;
        Offer { admits, member_of, join, shared }
    }

    /// The circle that this device may admit others to, under these options.
    fn admits(&self, options: &PairOptions) -> Result<Option<CircleId>, MembershipError> {
        let now = self.wall();
        let me = self.id();
        let view = self.circles();
        if let Some(id) = options.circle {
            let circle = view.circles.get(&id).ok_or(MembershipError::NoCircle(id))?;
            return if circle.is_owner(&me, now) { Ok(Some(id)) } else { Err(MembershipError::NotOwner) };
        }
        let mut owned =
            view.circles.values().filter(|circle| circle.is_owner(&me, now)).map(|circle| circle.id);
        match (owned.next(), owned.count()) {
            (first, 0) => Ok(first),
            (_, more) => Err(MembershipError::WhichCircle(1 + more)),
        }
    }

    pub(super) fn check_options(&self, options: &PairOptions) -> Result<(), MembershipError> {
        if let Some(grant) = &options.grant {
            grant.check().map_err(|why| MembershipError::BadGrant(why.into()))?;
            self.check_end(grant.expires)?;
        }
        self.admits(options).map(drop)
    }

    /// The admitter's part: the statement is on disk before the peer hears of it.
    pub(super) async fn let_in(
        &self,
        talk: &mut impl Talk,
        peer: DeviceId,
        circle: CircleId,
        options: &PairOptions,
        theirs: &Offer,
        since: Option<u64>,
    ) -> Result<Paired, MembershipError> {
        if let Err(error) = self.admit(peer, circle, options, theirs, since).await {
            let refusal = match &error {
                MembershipError::AlreadyMember => Refusal::AlreadyMember,
                MembershipError::Limit(_) | MembershipError::BadGrant(_) => Refusal::Limit,
                MembershipError::Store(_) => Refusal::Storage,
                MembershipError::Cancelled => Refusal::Cancelled,
                _ => Refusal::NobodyAdmits,
            };
            let _ = talk.say(&Welcome::Refusal(refusal)).await;
            return Err(error);
        }
        // From here on it is admitted. Were it not to take the circle in, pairing again would make up for that.
        match self.welcome(talk, circle).await {
            Ok(()) => Ok(Paired { peer, circle, joined: false, founded: None }),
            Err(why) => Err(MembershipError::Unconfirmed { why: Box::new(why) }),
        }
    }

    /// The part of one who knows that the peer is in the circle: it gets what this device has of it, and no act is
    /// needed. A device that was removed is not in it, whatever it had before.
    pub(super) async fn hand_back(
        &self,
        talk: &mut impl Talk,
        peer: DeviceId,
        circle: CircleId,
        since: Option<u64>,
    ) -> Result<Paired, MembershipError> {
        let wanted = if self.shares(circle, &peer) {
            self.still_wanted(since)
        } else {
            Err(MembershipError::NotMember(peer))
        };
        if let Err(error) = wanted {
            let refusal = match &error {
                MembershipError::Cancelled => Refusal::Cancelled,
                _ => Refusal::NobodyAdmits,
            };
            let _ = talk.say(&Welcome::Refusal(refusal)).await;
            return Err(error);
        }
        self.welcome(talk, circle).await?;
        Ok(Paired { peer, circle, joined: false, founded: None })
    }

    /// Sends the circle and waits until the joiner has stored it.
    async fn welcome(&self, talk: &mut impl Talk, circle: CircleId) -> Result<(), MembershipError> {
        let (statements, secret) = {
            let state = self.read();
            let kept = state.circles.get(&circle).ok_or(MembershipError::NoCircle(circle))?;
            let statements: Vec<Signed> = kept.set.statements().cloned().collect();
            (statements, kept.secret().map(|secret| secret.signed().clone()))
        };
        let mut parts = parts(statements).into_iter().peekable();
        while let Some(statements) = parts.next() {
            let more = parts.peek().is_some();
            let secret = if more { None } else { secret.clone() };
            talk.say(&Welcome::Part { circle, statements, more, secret }).await?;
        }
        let Pair::Joined = hear(talk, STORING).await? else {
            return Err(MembershipError::Protocol("no word that it joined"));
        };
        Ok(())
    }

    async fn admit(
        &self,
        peer: DeviceId,
        circle: CircleId,
        options: &PairOptions,
        theirs: &Offer,
        since: Option<u64>,
    ) -> Result<(), MembershipError> {
        let now = self.wall();
        let present: Option<Member> =
            self.circles().circles.get(&circle).and_then(|view| view.member(&peer, now).cloned());
        if present.is_some() && theirs.member_of.contains(&circle) {
            return Err(MembershipError::AlreadyMember);
        }
        let grant = match (&options.grant, present) {
            // It was admitted before but does not have the circle (any more): say it again. What it was granted stays
            // as it is unless the user says otherwise.
            (None, Some(_)) => return Ok(()),
            (Some(grant), Some(present)) if present.is_granted(grant) => return Ok(()),
            (Some(grant), _) => grant.clone(),
            (None, None) => Grant {
                role: Role::Member,
                expires: Some(now.after(DEFAULT_GRANT)),
                services: Default::default(),
            },
        };
        if grant.expires.is_some_and(|end| end <= now) {
            return Err(MembershipError::BadGrant("the end of what was to be granted has passed".into()));
        }
        self.undisturbed(move |me| async move {
            me.still_wanted(since)?;
            let changed = me.state_act(circle, Act::Admit { device: peer, grant, replaces: None }).await?;
            me.publish(changed);
            tracing::info!(%circle, device = %peer, "admitted a device");
            Ok(())
        })
        .await
    }

    /// Whether the user has not cancelled since. The enterer's user cancels by dropping the call.
    fn still_wanted(&self, since: Option<u64>) -> Result<(), MembershipError> {
        match since {
            Some(since) if *self.cancels.borrow() != since => Err(MembershipError::Cancelled),
            _ => Ok(()),
        }
    }

    /// Waits until the user cancels.
    async fn until_cancelled(&self, since: Option<u64>) {
        let mut cancels = self.cancels.subscribe();
        if let Some(since) = since
            && cancels.wait_for(|n| *n != since).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    /// The joiner's part: takes the circle in and stores it. `expected` is not known if the peer founds it. `by` is the
    /// least role of one who may give it: owner of whoever admits, any of whoever hands it back.
    pub(super) async fn join(
        &self,
        talk: &mut impl Talk,
        peer: DeviceId,
        expected: Option<CircleId>,
        by: Role,
        since: Option<u64>,
    ) -> Result<Paired, MembershipError> {
        let told = tokio::select! {
            biased;
            () = self.until_cancelled(since) => Err(MembershipError::Cancelled),
            told = tokio::time::timeout(WELCOME, hear_circle(talk, expected)) => {
                told.unwrap_or(Err(MembershipError::Timeout))
            }
        };
        let (id, all, secret) = match told {
            Ok(Some(told)) => told,
            Ok(None) => return Err(breach(talk).await),
            Err(error) => {
                if let MembershipError::Cancelled = error {
                    let _ = talk.say(&Pair::Refusal(Refusal::Cancelled)).await;
                }
                return Err(error);
            }
        };
        let me = self.id();
        let joined = self
            .undisturbed(move |keeper| async move {
                let known = keeper.read().circles.get(&id).cloned();
                let weight = all.len() as u64;
                let work = move || {
                    let mut circle = match known {
                        Some(circle) => circle,
                        None => {
                            let founding =
                                all.iter().find(|signed| CircleId::from(signed.hash()) == id).cloned();
                            let set = founding.and_then(|founding| CircleSet::begin(founding).ok())?;
                            Circle { set: Arc::new(set), secrets: Vec::new() }
                        }
                    };
                    circle.absorb(all, secret);
                    let members = circle.set.view().members;
                    let giver = members.get(&peer).is_some_and(|member| member.role >= by);
                    (giver && members.contains_key(&me)).then_some(circle)
                };
                let ops = weight.saturating_mul(STATEMENT_OPS);
                let circle = keeper.seam.compute.run(Lane::Work, ops, work).await;
                let circle = circle.ok_or(MembershipError::Store(StoreError::Closed))?;
                let circle = circle
                    .ok_or(MembershipError::Protocol("the circle it sent does not admit this device"))?;
                keeper.still_wanted(since)?;
                keeper.adopt(circle).await
            })
            .await;
        if let Err(error) = joined {
            let refusal = match &error {
                MembershipError::Limit(_) => Refusal::Limit,
                MembershipError::Store(_) => Refusal::Storage,
                MembershipError::Cancelled => Refusal::Cancelled,
                _ => Refusal::Protocol,
            };
            let _ = talk.say(&Pair::Refusal(refusal)).await;
            return Err(error);
        }
        tracing::info!(circle = %id, by = %peer, "joined a circle");
        talk.say(&Pair::Joined).await?;
        Ok(Paired { peer, circle: id, joined: true, founded: None })
    }
}

/// A circle as it is told: its id, its statements, its secret.
type Told = (CircleId, Vec<Signed>, Option<Signed>);

/// Hears a circle, part by part; nothing if what is said was not due. What is kept of it has its bound: at most as many
/// statements as a circle has, none longer than a statement may be.
async fn hear_circle(
    talk: &mut impl Talk,
    mut expected: Option<CircleId>,
) -> Result<Option<Told>, MembershipError> {
    let mut all: Vec<Signed> = Vec::new();
    loop {
        match talk.hear::<Welcome>().await? {
            Welcome::Refusal(refusal) => return Err(refused(refusal, &Offer::nothing())),
            Welcome::Part { circle, statements, more, secret } => {
                let long = |signed: &Signed| signed.body.len() > HEADER_LEN + Statement::MAX_BYTES;
                if expected.is_some_and(|expected| expected != circle)
                    || all.len() + statements.len() > limits::CIRCLE_STATEMENTS
                    || (more && statements.is_empty())
                    || statements.iter().any(long)
                {
                    return Ok(None);
                }
                expected = Some(circle);
                all.extend(statements);
                if !more {
                    return Ok(Some((circle, all, secret)));
                }
            }
        }
    }
}

/// Statements in parts that fit into messages.
fn parts(statements: Vec<Signed>) -> Vec<Vec<Signed>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for signed in statements {
        let len = signed.body.len() + 100;
        if bytes + len > EXCHANGE_STATEMENT_BYTES && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += len;
        part.push(signed);
    }
    parts.push(part);
    parts
}
