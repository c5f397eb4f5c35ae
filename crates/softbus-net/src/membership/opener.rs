//! The side of `pair/1` that shows the password: tries are counted on disk before anybody learns of their outcome.

use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::pair::{Offer, Pair, Password, Refusal};
use softbus_core::{DeviceId, ErrorCode};
use softbus_trust::pairing::{Binding, Judged, Opener, PairPassword, Settlement, Tried, settle};
use softbus_trust::{PairingState, Role};
use tokio::sync::watch;

use super::pairing::{MESSAGE, Talk, binding_of};
use super::refusals::{gate_refusal, hear, refused, seconds};
use super::shelf::TICKET_TRIES;
use super::trying::Try;
use super::{Keeper, MembershipError, PairOptions, Paired, shelf};
use crate::seam::BoxFuture;
use crate::{Channel, NetError, Service};

/// How long a device that tries the password has for one message, until the try counts: no person is waited for.
const TRY: Duration = Duration::from_secs(5);

/// Answers `pair/1`.
pub(super) struct Answer(pub Arc<Keeper>);

impl Service for Answer {
    fn accept(&self, mut channel: Channel) -> BoxFuture<'static, ()> {
        let keeper = self.0.clone();
        Box::pin(async move {
            let peer = channel.peer.device;
            match binding_of(&channel, keeper.id(), peer) {
                Ok(binding) => keeper.answer_pairing(&mut channel, binding).await,
                Err(_) => channel.abort(ErrorCode::Internal),
            }
        })
    }
}

/// What the opener's user said when the password was made.
struct Invitation {
    options: PairOptions,
    which: Which,
}

enum Which {
    Pin { opening: u64 },
    Ticket { name: [u8; 8] },
}

impl Keeper {
    /// The opener's side of one channel, from a caller that may be anybody.
    pub(super) async fn answer_pairing(&self, talk: &mut impl Talk, binding: Binding) {
        let mut cancels = self.cancels.subscribe();
        let since = *cancels.borrow_and_update();
        let outcome = self.answer_now(talk, binding, &mut cancels, since).await;
        match outcome {
            Ok(paired) => {
                tracing::info!(peer = %paired.peer, circle = %paired.circle, "paired");
                // A pairing by link does not wipe the PIN that is shown meanwhile for another device.
                self.pairing.send_if_modified(|state| {
                    let ours = *state == PairingState::Settling { peer: binding.enterer };
                    if ours {
                        *state = PairingState::Paired { peer: paired.peer, circle: paired.circle };
                    }
                    ours
                });
            }
            Err(stop) => {
                tracing::info!(peer = %binding.enterer, reason = %stop.reason(), "pairing failed");
                if let Stop::Say(refusal) = &stop {
                    let _ = talk.say(&Pair::Refusal(*refusal)).await;
                }
                self.pairing.send_if_modified(|state| {
                    let ours = *state == PairingState::Settling { peer: binding.enterer };
                    if ours {
                        *state = PairingState::Failed { reason: stop.reason() };
                    }
                    ours
                });
            }
        }
        self.refresh();
        talk.wind_up().await;
    }

    async fn answer_now(
        &self,
        talk: &mut impl Talk,
        binding: Binding,
        cancels: &mut watch::Receiver<u64>,
        since: u64,
    ) -> Result<Paired, Stop> {
        let peer = binding.enterer;
        // Until both have proven themselves the user's word ends it at once; later it is asked once more right
        // before the circle changes.
        let (options, ours, theirs) = tokio::select! {
            biased;
            _ = cancels.wait_for(|n| *n != since) => return Err(Stop::Say(Refusal::Cancelled)),
            proven = async {
                let tried = self.hear_try(talk, binding).await?;
                talk.begun();
                self.judge_try(talk, peer, tried).await
            } => proven?,
        };
        let paired = match settle(&ours, &theirs) {
            Settlement::OpenerAdmits(circle) => {
                self.let_in(talk, peer, circle, &options, &theirs, Some(since)).await
            }
            Settlement::EntererAdmits(circle) => {
                self.join(talk, peer, Some(circle), Role::Owner, Some(since)).await
            }
            Settlement::EntererFounds => self.join(talk, peer, None, Role::Owner, Some(since)).await,
            Settlement::OpenerReturns(circle) => self.hand_back(talk, peer, circle, Some(since)).await,
            Settlement::EntererReturns(circle) => {
                self.join(talk, peer, Some(circle), Role::Guest, Some(since)).await
            }
            Settlement::Refused(refusal) => Err(refused(refusal, &theirs)),
        };
        paired.map_err(Stop::Quiet)
    }

    /// Hears the try, for which there are few places.
    async fn hear_try(&self, talk: &mut impl Talk, binding: Binding) -> Result<(Invitation, Opener), Stop> {
        let Some(mut place) = Try::begin(&self.trying, talk.from()) else {
            return Err(Stop::Say(Refusal::Busy));
        };
        tokio::select! {
            biased;
            () = place.lost() => Err(Stop::Say(Refusal::Busy)),
            tried = self.hear_proof(talk, binding) => tried,
        }
    }

    async fn hear_proof(&self, talk: &mut impl Talk, binding: Binding) -> Result<(Invitation, Opener), Stop> {
        let Pair::Start(start) = hear(talk, TRY).await? else {
            return Err(Stop::Say(Refusal::Protocol));
        };
        let (invitation, password) = self.password_for(&start.password)?;
        let mut proof = Opener::new(binding, self.random());
        let share = proof.on_start(&start, &password).map_err(|_| Stop::Say(Refusal::Protocol))?;
        talk.say(&share).await?;
        let Pair::Confirm(confirm) = hear(talk, TRY).await? else {
            return Err(Stop::Say(Refusal::Protocol));
        };
        proof.on_confirm(confirm).map_err(|_| Stop::Say(Refusal::Protocol))?;
        Ok((invitation, proof))
    }

    /// Counts the try, judges it and proves itself; then what each of the two brings.
    async fn judge_try(
        &self,
        talk: &mut impl Talk,
        peer: DeviceId,
        (invitation, mut proof): (Invitation, Opener),
    ) -> Result<(PairOptions, Offer, Offer), Stop> {
        self.count_try(&invitation.which).await?;
        match proof.on_counted().map_err(|_| Stop::Say(Refusal::Protocol))? {
            Judged::Right(confirm) => {
                self.use_up(&invitation.which, peer).await?;
                talk.say(&Pair::Confirm(confirm)).await?;
            }
            Judged::Wrong => return Err(Stop::Say(self.wrong_try(&invitation.which))),
            Judged::ThirdDevice => {
                self.third_device(&invitation.which);
                return Err(Stop::Say(Refusal::ThirdDevice));
            }
        }
        let Pair::Offer(theirs) = hear(talk, MESSAGE).await? else {
            return Err(Stop::Say(Refusal::Protocol));
        };
        let ours = self.offer(&invitation.options, &peer);
        talk.say(&Pair::Offer(ours.clone())).await?;
        Ok((invitation.options, ours, theirs))
    }

    /// The password the enterer means, if it counts now.
    fn password_for(&self, which: &Password) -> Result<(Invitation, PairPassword), Stop> {
        let now = self.now();
        let state = self.read();
        match which {
            Password::Pin => {
                let (opening, password) = state.gate.password(now).map_err(|e| Stop::Say(gate_refusal(e)))?;
                let options = state.opened.clone();
                Ok((Invitation { options, which: Which::Pin { opening } }, password))
            }
            Password::Ticket(name) => {
                let ticket = state.tickets.get(name).filter(|ticket| ticket.counts_at(now.wall));
                let ticket = ticket.ok_or(Stop::Say(Refusal::Expired))?;
                let options =
                    PairOptions { circle: ticket.circle, grant: ticket.grant.clone(), join: ticket.join };
                let password = PairPassword::ticket(&ticket.secret);
                Ok((Invitation { options, which: Which::Ticket { name: *name } }, password))
            }
        }
    }

    /// Counts a try on disk, before anybody learns whether it is right.
    async fn count_try(&self, which: &Which) -> Result<(), Stop> {
        let refusal = match *which {
            Which::Pin { opening } => {
                self.undisturbed(move |me| async move {
                    let now = me.now();
                    let counted = me.write().gate.count(opening, now);
                    match counted {
                        Ok(record) => {
                            shelf::put_gate(&me.store, record).await.map(|()| None).map_err(Into::into)
                        }
                        Err(refusal) => Ok(Some(gate_refusal(refusal))),
                    }
                })
                .await
            }
            Which::Ticket { name } => {
                self.undisturbed(move |me| async move {
                    let now = me.wall();
                    let ticket = me.read().tickets.get(&name).filter(|t| t.counts_at(now)).cloned();
                    let Some(mut ticket) = ticket else { return Ok(Some(Refusal::Expired)) };
                    // It stays even when this was its last try: it may prove right, and then shows that no
                    // other try was right before it.
                    ticket.wrong += 1;
                    shelf::put_tickets(&me.store, vec![(name, Some(ticket.clone()))]).await?;
                    me.write().tickets.insert(name, ticket);
                    Ok(None)
                })
                .await
            }
        };
        match refusal {
            Ok(None) => Ok(()),
            Ok(Some(refusal)) => Err(Stop::Say(refusal)),
            Err(error) => {
                tracing::error!(%error, "a try of pairing could not be counted; pairing stops");
                Err(Stop::Say(Refusal::Storage))
            }
        }
    }

    /// The counted try was right: the password is used up, on disk too, before the peer hears of it.
    async fn use_up(&self, which: &Which, peer: DeviceId) -> Result<(), Stop> {
        let stored = match *which {
            Which::Pin { opening } => {
                self.undisturbed(move |me| async move {
                    let record = {
                        let mut state = me.write();
                        // Cancelled while it was judged, or another PIN is shown now.
                        if !state.gate.right(opening) {
                            return Err(MembershipError::Cancelled);
                        }
                        me.pairing.send_replace(PairingState::Settling { peer });
                        state.gate.record()
                    };
                    Ok(shelf::put_gate(&me.store, record).await?)
                })
                .await
            }
            Which::Ticket { name } => {
                self.undisturbed(move |me| async move {
                    // It pairs one device: another try was right before, or the user took the link back.
                    if !me.read().tickets.contains_key(&name) {
                        return Err(MembershipError::Cancelled);
                    }
                    shelf::put_tickets(&me.store, vec![(name, None)]).await?;
                    me.write().tickets.remove(&name);
                    me.pairing.send_if_modified(|state| {
                        let free = state.is_over();
                        if free {
                            *state = PairingState::Settling { peer };
                        }
                        free
                    });
                    Ok(())
                })
                .await
            }
        };
        self.refresh();
        stored.map_err(|error| match error {
            MembershipError::Cancelled => Stop::Say(Refusal::Cancelled),
            _ => Stop::Say(Refusal::Storage),
        })
    }

    /// The counted try was wrong: what to say, and what to show.
    fn wrong_try(&self, which: &Which) -> Refusal {
        match which {
            Which::Pin { .. } => {
                let tried = self.read().gate.wrong(self.now());
                self.show_gate();
                match tried {
                    Tried::Left(tries_left) => Refusal::WrongPassword { tries_left },
                    Tried::Frozen(lasts) => Refusal::Frozen { seconds: seconds(lasts) },
                }
            }
            Which::Ticket { name } => {
                let wrong = self.read().tickets.get(name).map_or(TICKET_TRIES, |ticket| ticket.wrong);
                Refusal::WrongPassword { tries_left: TICKET_TRIES.saturating_sub(wrong) }
            }
        }
    }

    /// Somebody is at work in this network.
    fn third_device(&self, which: &Which) {
        let failed = PairingState::Failed { reason: MembershipError::ThirdDevice.to_string() };
        match *which {
            // A PIN can be guessed: it is not to be tried again. But one that is shown since then is another.
            Which::Pin { opening } => {
                let mut state = self.write();
                if state.gate.opening() == opening {
                    state.gate.close();
                    self.pairing.send_replace(failed);
                }
            }
            // Who was in the middle learned nothing of a link's secret; the try is counted. It has nothing to do with a PIN
            // that is shown meanwhile.
            Which::Ticket { .. } => {
                self.pairing.send_if_modified(|state| {
                    let free = state.is_over();
                    if free {
                        *state = failed;
                    }
                    free
                });
            }
        }
    }

    /// Publishes the PIN shown, or the freeze.
    pub(super) fn show_gate(&self) {
        let now = self.now();
        let state = self.read();
        let shown = match (state.gate.frozen(now), state.gate.shown(now)) {
            (Some(lasts), _) => PairingState::Frozen { lasts },
            (None, Some((pin, lives, tries_left))) => PairingState::Open { pin, lives, tries_left },
            (None, None) => PairingState::Closed,
        };
        drop(state);
        self.pairing.send_replace(shown);
        self.clockwork.notify_one();
    }

    /// Lets PINs, freezes, links and trust end in time.
    pub(super) async fn let_time_pass(&self) {
        let now = self.now();
        let (pin_over, thawed) = self.write().gate.tick(now);
        if pin_over {
            self.pairing.send_if_modified(|state| {
                let open = matches!(state, PairingState::Open { .. });
                if open {
                    *state = PairingState::Expired;
                }
                open
            });
        }
        if thawed {
            let outcome = self
                .undisturbed(|me| async move {
                    let record = me.read().gate.record();
                    Ok(shelf::put_gate(&me.store, record).await?)
                })
                .await;
            if let Err(error) = outcome {
                // The freeze on disk has an end of its own.
                tracing::warn!(%error, "the end of a pairing freeze could not be stored");
            }
            self.pairing.send_if_modified(|state| {
                let frozen = matches!(state, PairingState::Frozen { .. });
                if frozen {
                    *state = PairingState::Closed;
                }
                frozen
            });
        }
        self.refresh();
    }
}

/// Why the opener stops.
enum Stop {
    /// Tell the enterer.
    Say(Refusal),
    /// It knows, or cannot be told.
    Quiet(MembershipError),
}

impl Stop {
    fn reason(&self) -> String {
        match self {
            Self::Say(refusal) => refused(*refusal, &Offer::nothing()).to_string(),
            Self::Quiet(error) => error.to_string(),
        }
    }
}

impl From<MembershipError> for Stop {
    fn from(error: MembershipError) -> Self {
        Self::Quiet(error)
    }
}

impl From<NetError> for Stop {
    fn from(error: NetError) -> Self {
        Self::Quiet(error.into())
    }
}
