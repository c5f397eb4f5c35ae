//! Drives `pair/1`: brings the pure machines of pairing together with a channel, the disk and the clock.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::circle::EXCHANGE_STATEMENT_BYTES;
use softbus_core::wire::pair::{Offer, Pair, Password, Refusal, Welcome};
use softbus_core::{CircleId, DeviceId, ErrorCode, Message, Signed, WallMs, limits};
use softbus_trust::circle::{Act, CircleSet};
use softbus_trust::pairing::{
    Binding, EXPORTER_LABEL, Enterer, GateRefusal, Judged, Opener, PairPassword, Settlement, Tried, settle,
};
use softbus_trust::{Grant, Member, PairingState, Pin, Role, Ticket};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::keeper::Circle;
use super::shelf::{self, TicketRecord};
use super::{
    CIRCLES, DEFAULT_GRANT, Founded, INVITATION_LIFE, INVITATIONS, Keeper, MembershipError, PairOptions,
    Paired, pair_service,
};
use crate::seam::BoxFuture;
use crate::seam::store::StoreError;
use crate::{Channel, NetError, Service};

/// How long the other side has for one message.
const MESSAGE: Duration = Duration::from_secs(10);
/// How long the joiner has to store the circle and say so.
const STORING: Duration = Duration::from_secs(30);
/// Wrong tries after which a link is void.
const TICKET_TRIES: u8 = 3;

/// A channel of `pair/1`, or a test's stand-in.
pub(super) trait Talk: Send {
    /// Sends one message.
    fn say<M: Message + Sync>(&mut self, message: &M) -> impl Future<Output = Result<(), NetError>> + Send;
    /// Receives one message.
    fn hear<M: Message>(&mut self) -> impl Future<Output = Result<M, NetError>> + Send;
    /// Waits until the other side has all that was said.
    fn wind_up(&mut self) -> impl Future<Output = ()> + Send;
}

impl Talk for Channel {
    async fn say<M: Message + Sync>(&mut self, message: &M) -> Result<(), NetError> {
        self.send_message(message).await
    }

    async fn hear<M: Message>(&mut self) -> Result<M, NetError> {
        self.expect_message().await
    }

    async fn wind_up(&mut self) {
        let _ = tokio::time::timeout(MESSAGE, self.finish_and_wait()).await;
    }
}

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

fn binding_of(channel: &Channel, opener: DeviceId, enterer: DeviceId) -> Result<Binding, NetError> {
    let exporter = channel.export(EXPORTER_LABEL, &[opener.0, enterer.0].concat())?;
    Ok(Binding { opener, enterer, exporter })
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
    /// Opens pairing: makes a PIN to be typed on the other device. An earlier PIN is void.
    ///
    /// # Errors
    /// [`MembershipError::Frozen`] after too many wrong tries; [`MembershipError::NotOwner`] if the circle named is not
    /// one this device is an owner of; [`MembershipError::BadGrant`].
    pub async fn open_pairing(
        &self,
        options: PairOptions,
    ) -> Result<watch::Receiver<PairingState>, MembershipError> {
        self.check_options(&options)?;
        let pin = loop {
            if let Some(pin) = Pin::from_random(self.random()) {
                break pin;
            }
        };
        let now = self.now();
        {
            let mut state = self.write();
            state.gate.open(pin, now).map_err(gate_error)?;
            state.opened = options;
        }
        // What went on with an earlier PIN ends.
        self.cancels.send_modify(|n| *n += 1);
        self.show_gate();
        self.refresh();
        Ok(self.pairing.subscribe())
    }

    /// Cancels pairing at any point before the other device is admitted; the links given out too if `invitations`.
    ///
    /// # Errors
    /// The database's.
    pub async fn close_pairing(&self, invitations: bool) -> Result<(), MembershipError> {
        let was_over = self.pairing.borrow().is_over();
        self.write().gate.close();
        self.cancels.send_modify(|n| *n += 1);
        if !was_over {
            self.pairing.send_replace(PairingState::Cancelled);
        }
        if invitations {
            self.undisturbed(|me| async move {
                let names: Vec<_> = me.read().tickets.keys().map(|name| (*name, None)).collect();
                shelf::put_tickets(&me.store, names).await?;
                me.write().tickets.clear();
                Ok(())
            })
            .await?;
        }
        self.refresh();
        Ok(())
    }

    /// How pairing by PIN stands.
    pub fn pairing(&self) -> watch::Receiver<PairingState> {
        self.pairing.subscribe()
    }

    /// Makes a link (for a QR code, say) that pairs one device until `lives` is over. It is a secret.
    ///
    /// # Errors
    /// As [`Keeper::open_pairing`]; [`MembershipError::Limit`] if 16 links are out.
    pub async fn invite(&self, options: PairOptions, lives: Duration) -> Result<Ticket, MembershipError> {
        self.check_options(&options)?;
        if lives < INVITATION_LIFE.0 || lives > INVITATION_LIFE.1 {
            return Err(MembershipError::Limit("a link lives from one minute to seven days"));
        }
        let ticket = Ticket {
            device: self.id(),
            addresses: self.net()?.addresses(),
            secret: Zeroizing::new(self.random()),
            expires: self.wall().after(lives),
        };
        let record = TicketRecord {
            secret: *ticket.secret,
            expires: ticket.expires,
            wrong: 0,
            circle: options.circle,
            grant: options.grant,
            join: options.join,
        };
        let name = ticket.name();
        self.undisturbed(move |me| async move {
            let now = me.wall();
            let over: Vec<_> = {
                let state = me.read();
                state.tickets.iter().filter(|(_, old)| old.expires <= now).map(|(name, _)| *name).collect()
            };
            if me.read().tickets.len() - over.len() >= INVITATIONS {
                return Err(MembershipError::Limit("16 links are out already: cancel them first"));
            }
            let mut put: Vec<_> = over.iter().map(|name| (*name, None)).collect();
            put.push((name, Some(record.clone())));
            shelf::put_tickets(&me.store, put).await?;
            let mut state = me.write();
            for name in over {
                state.tickets.remove(&name);
            }
            state.tickets.insert(name, record);
            drop(state);
            me.refresh();
            Ok(())
        })
        .await?;
        Ok(ticket)
    }

    /// Pairs with the device at `addr`, which shows `pin`. `expected`, if known, must be who answers.
    ///
    /// # Errors
    /// Whatever [`MembershipError`] says of pairing.
    pub async fn pair_with(
        &self,
        addr: SocketAddr,
        expected: Option<DeviceId>,
        pin: &str,
        options: PairOptions,
    ) -> Result<Paired, MembershipError> {
        let pin = Pin::parse(pin)?;
        self.check_options(&options)?;
        let channel = self.net()?.open_stranger(addr, expected, &pair_service()).await.map_err(not_open)?;
        self.enter(channel, PairPassword::pin(&pin), options).await
    }

    /// Pairs by a link made with [`Keeper::invite`].
    ///
    /// # Errors
    /// As [`Keeper::pair_with`]; [`MembershipError::Ticket`] if the text is no such link.
    pub async fn pair_by_ticket(&self, link: &str, options: PairOptions) -> Result<Paired, MembershipError> {
        let ticket: Ticket = link.parse().map_err(MembershipError::Ticket)?;
        if ticket.expires <= self.wall() {
            return Err(MembershipError::Expired);
        }
        self.check_options(&options)?;
        let net = self.net()?;
        let mut failed = MembershipError::Net(NetError::Unreachable(ticket.device));
        for addr in &ticket.addresses {
            match net.open_stranger(*addr, Some(ticket.device), &pair_service()).await.map_err(not_open) {
                Ok(channel) => {
                    return self.enter(channel, PairPassword::ticket(&ticket.secret), options).await;
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn enter(
        &self,
        mut channel: Channel,
        password: PairPassword,
        options: PairOptions,
    ) -> Result<Paired, MembershipError> {
        let binding = binding_of(&channel, channel.peer.device, self.id())?;
        let paired = self.enter_pairing(&mut channel, binding, password, options).await;
        channel.wind_up().await;
        // The connection was this pairing's alone. End it now: the opener lets few strangers in at once.
        channel.connection.close(quinn::VarInt::from_u32(ErrorCode::None.number()), b"");
        if let Err(error) = &paired {
            tracing::info!(peer = %binding.opener, %error, "pairing failed");
        }
        paired
    }

    /// The enterer's side of one channel.
    pub(super) async fn enter_pairing(
        &self,
        talk: &mut impl Talk,
        binding: Binding,
        password: PairPassword,
        options: PairOptions,
    ) -> Result<Paired, MembershipError> {
        let peer = binding.opener;
        let (mut proof, start) = Enterer::start(&password, binding, self.random());
        talk.say(&start).await?;
        let Pair::Share(share) = hear(talk, MESSAGE).await? else {
            return Err(breach(talk).await);
        };
        let Ok(confirm) = proof.on_share(share) else {
            return Err(breach(talk).await);
        };
        talk.say(&confirm).await?;
        let Pair::Confirm(confirm) = hear(talk, MESSAGE).await? else {
            return Err(breach(talk).await);
        };
        match proof.on_confirm(&confirm) {
            Ok(()) => {}
            Err(error) => {
                let (refusal, error) = match error {
                    softbus_trust::pairing::ProofError::ThirdDevice => {
                        (Refusal::ThirdDevice, MembershipError::ThirdDevice)
                    }
                    _ => (Refusal::Protocol, MembershipError::NotProven),
                };
                let _ = talk.say(&Pair::Refusal(refusal)).await;
                return Err(error);
            }
        }
        let ours = self.offer(&options);
        talk.say(&Pair::Offer(ours.clone())).await?;
        let Pair::Offer(theirs) = hear(talk, MESSAGE).await? else {
            return Err(breach(talk).await);
        };
        match settle(&theirs, &ours) {
            Settlement::OpenerAdmits(circle) => self.join(talk, peer, circle).await,
            Settlement::EntererAdmits(circle) => {
                self.let_in(talk, peer, circle, &options, &theirs, None).await
            }
            Settlement::EntererFounds => {
                let founded = self.undisturbed(|me| async move { me.found_now("home").await }).await?;
                let circle = founded.circle;
                self.let_in(talk, peer, circle, &options, &theirs, Some(founded)).await
            }
            Settlement::Refused(refusal) => Err(refused(refusal, &theirs)),
        }
    }

    /// The opener's side of one channel, from a caller that may be anybody.
    pub(super) async fn answer_pairing(&self, talk: &mut impl Talk, binding: Binding) {
        let Ok(_place) = self.pairings.clone().try_acquire_owned() else {
            let _ = talk.say(&Pair::Refusal(Refusal::Busy)).await;
            return talk.wind_up().await;
        };
        let mut cancels = self.cancels.subscribe();
        cancels.mark_unchanged();
        let outcome = {
            let pairing = self.answer_now(talk, binding);
            tokio::select! {
                biased;
                outcome = pairing => outcome,
                _ = cancels.changed() => Err(Stop::Say(Refusal::Cancelled)),
            }
        };
        match outcome {
            Ok(paired) => {
                tracing::info!(peer = %paired.peer, circle = %paired.circle, "paired");
                self.pairing.send_replace(PairingState::Paired { peer: paired.peer, circle: paired.circle });
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

    async fn answer_now(&self, talk: &mut impl Talk, binding: Binding) -> Result<Paired, Stop> {
        let peer = binding.enterer;
        let Pair::Start(start) = hear(talk, MESSAGE).await? else {
            return Err(Stop::Say(Refusal::Protocol));
        };
        let (invitation, password) = self.password_for(&start.password)?;
        let mut proof = Opener::new(binding, self.random());
        let share = proof.on_start(&start, &password).map_err(|_| Stop::Say(Refusal::Protocol))?;
        talk.say(&share).await?;
        let Pair::Confirm(confirm) = hear(talk, MESSAGE).await? else {
            return Err(Stop::Say(Refusal::Protocol));
        };
        proof.on_confirm(confirm).map_err(|_| Stop::Say(Refusal::Protocol))?;
        self.count_try(&invitation.which).await?;
        match proof.on_counted().map_err(|_| Stop::Say(Refusal::Protocol))? {
            Judged::Right(confirm) => {
                self.use_up(&invitation.which, peer).await?;
                talk.say(&Pair::Confirm(confirm)).await?;
            }
            Judged::Wrong => return Err(Stop::Say(self.wrong_try(&invitation.which))),
            Judged::ThirdDevice => {
                // Somebody is at work in this network: this PIN is not to be tried again.
                self.write().gate.close();
                self.pairing
                    .send_replace(PairingState::Failed { reason: MembershipError::ThirdDevice.to_string() });
                return Err(Stop::Say(Refusal::ThirdDevice));
            }
        }
        let Pair::Offer(theirs) = hear(talk, MESSAGE).await? else {
            return Err(Stop::Say(Refusal::Protocol));
        };
        let ours = self.offer(&invitation.options);
        talk.say(&Pair::Offer(ours.clone())).await?;
        let paired = match settle(&ours, &theirs) {
            Settlement::OpenerAdmits(circle) => {
                self.let_in(talk, peer, circle, &invitation.options, &theirs, None).await
            }
            Settlement::EntererAdmits(circle) => self.join(talk, peer, circle).await,
            Settlement::EntererFounds => self.join_any(talk, peer, None).await,
            Settlement::Refused(refusal) => Err(refused(refusal, &theirs)),
        };
        paired.map_err(Stop::Quiet)
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
                let ticket = state.tickets.get(name).filter(|ticket| now.wall < ticket.expires);
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
                    let Some(mut ticket) = me.read().tickets.get(&name).cloned() else {
                        return Ok(Some(Refusal::Expired));
                    };
                    ticket.wrong += 1;
                    let kept = (ticket.wrong < TICKET_TRIES).then_some(ticket);
                    shelf::put_tickets(&me.store, vec![(name, kept.clone())]).await?;
                    let mut state = me.write();
                    match kept {
                        Some(ticket) => drop(state.tickets.insert(name, ticket)),
                        None => drop(state.tickets.remove(&name)),
                    }
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
                    // Cancelled while it was judged, or another PIN is shown now.
                    if !me.write().gate.right(opening) {
                        return Err(MembershipError::Cancelled);
                    }
                    let record = me.read().gate.record();
                    shelf::put_gate(&me.store, record).await?;
                    me.pairing.send_replace(PairingState::Settling { peer });
                    Ok(())
                })
                .await
            }
            Which::Ticket { name } => {
                self.undisturbed(move |me| async move {
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

    /// Publishes the PIN shown, or the freeze.
    fn show_gate(&self) {
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

    /// What this device brings to a pairing.
    fn offer(&self, options: &PairOptions) -> Offer {
        let now = self.wall();
        let me = self.id();
        let view = self.circles();
        // A circle in which our own time is over does not keep us from being admitted.
        let member_of: Vec<CircleId> = view
            .circles
            .values()
            .filter(|c| c.member(&me, now).is_some())
            .map(|c| c.id)
            .take(CIRCLES)
            .collect();
        let admits = self.admits(options).ok().flatten();
        let join = options.join && member_of.len() < CIRCLES;
        Offer { admits, member_of, join }
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

    fn check_options(&self, options: &PairOptions) -> Result<(), MembershipError> {
        if let Some(grant) = &options.grant {
            grant.check().map_err(|why| MembershipError::BadGrant(why.into()))?;
            self.check_end(grant.expires)?;
        }
        self.admits(options).map(drop)
    }

    /// The admitter's part: the statement is on disk before the peer hears of it.
    async fn let_in(
        &self,
        talk: &mut impl Talk,
        peer: DeviceId,
        circle: CircleId,
        options: &PairOptions,
        theirs: &Offer,
        founded: Option<Founded>,
    ) -> Result<Paired, MembershipError> {
        if let Err(error) = self.admit(peer, circle, options, theirs).await {
            let refusal = match &error {
                MembershipError::AlreadyMember => Refusal::AlreadyMember,
                MembershipError::Limit(_) | MembershipError::BadGrant(_) => Refusal::Limit,
                MembershipError::Store(_) => Refusal::Storage,
                _ => Refusal::NobodyAdmits,
            };
            let _ = talk.say(&Welcome::Refusal(refusal)).await;
            return Err(error);
        }
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
        Ok(Paired { peer, circle, joined: false, founded })
    }

    async fn admit(
        &self,
        peer: DeviceId,
        circle: CircleId,
        options: &PairOptions,
        theirs: &Offer,
    ) -> Result<(), MembershipError> {
        let now = self.wall();
        let grant = options.grant.clone().unwrap_or_else(|| Grant {
            role: Role::Member,
            expires: Some(now.after(DEFAULT_GRANT)),
            services: Default::default(),
        });
        let present: Option<Member> =
            self.circles().circles.get(&circle).and_then(|view| view.member(&peer, now).cloned());
        if let Some(present) = present {
            if theirs.member_of.contains(&circle) {
                return Err(MembershipError::AlreadyMember);
            }
            // It was admitted before but did not store it: say it again. The grant stays unless it says otherwise.
            if present.role == grant.role && present.services == grant.services {
                return Ok(());
            }
        }
        self.undisturbed(move |me| async move {
            let changed = me.state_act(circle, Act::Admit { device: peer, grant, replaces: None }).await?;
            me.publish(changed);
            tracing::info!(%circle, device = %peer, "admitted a device");
            Ok(())
        })
        .await
    }

    async fn join(
        &self,
        talk: &mut impl Talk,
        peer: DeviceId,
        circle: CircleId,
    ) -> Result<Paired, MembershipError> {
        self.join_any(talk, peer, Some(circle)).await
    }

    /// The joiner's part: takes the circle in and stores it. `expected` is not known if the peer founds it.
    async fn join_any(
        &self,
        talk: &mut impl Talk,
        peer: DeviceId,
        expected: Option<CircleId>,
    ) -> Result<Paired, MembershipError> {
        let (mut all, mut expected) = (Vec::new(), expected);
        let (id, secret) = loop {
            // The first part waits for the admitter's disk.
            match hear_welcome(talk).await? {
                Welcome::Refusal(refusal) => return Err(refused(refusal, &Offer::nothing())),
                Welcome::Part { circle, statements, more, secret } => {
                    if expected.is_some_and(|expected| expected != circle)
                        || all.len() + statements.len() > limits::CIRCLE_STATEMENTS
                        || (more && statements.is_empty())
                    {
                        return Err(breach(talk).await);
                    }
                    expected = Some(circle);
                    all.extend(statements);
                    if !more {
                        break (circle, secret);
                    }
                }
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
                            Circle { set, secrets: Vec::new() }
                        }
                    };
                    circle.absorb(all, secret);
                    let members = circle.set.view().members;
                    let admitter = members.get(&peer).is_some_and(|member| member.role == Role::Owner);
                    (admitter && members.contains_key(&me)).then_some(circle)
                };
                let ops = weight.saturating_mul(super::keeper::STATEMENT_OPS);
                let circle = keeper.seam.compute.run(crate::seam::Lane::Work, ops, work).await;
                let circle = circle.ok_or(MembershipError::Store(StoreError::Closed))?;
                let circle = circle
                    .ok_or(MembershipError::Protocol("the circle it sent does not admit this device"))?;
                keeper.adopt(circle).await
            })
            .await;
        if let Err(error) = joined {
            let refusal = match &error {
                MembershipError::Limit(_) => Refusal::Limit,
                MembershipError::Store(_) => Refusal::Storage,
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

async fn hear(talk: &mut impl Talk, within: Duration) -> Result<Pair, MembershipError> {
    match tokio::time::timeout(within, talk.hear::<Pair>()).await {
        Ok(Ok(Pair::Refusal(refusal))) => Err(refused(refusal, &Offer::nothing())),
        Ok(Ok(message)) => Ok(message),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(MembershipError::Timeout),
    }
}

async fn hear_welcome(talk: &mut impl Talk) -> Result<Welcome, MembershipError> {
    match tokio::time::timeout(STORING, talk.hear::<Welcome>()).await {
        Ok(message) => Ok(message?),
        Err(_) => Err(MembershipError::Timeout),
    }
}

/// The other side broke the protocol: tells it, and gives the error.
async fn breach(talk: &mut impl Talk) -> MembershipError {
    let _ = talk.say(&Pair::Refusal(Refusal::Protocol)).await;
    MembershipError::Protocol("a message that was not due")
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

/// What a refusal means to a person. `theirs` tells who of the two is in another circle.
fn refused(refusal: Refusal, theirs: &Offer) -> MembershipError {
    match refusal {
        Refusal::WrongPassword { tries_left } => MembershipError::WrongPin { tries_left },
        Refusal::Frozen { seconds } => MembershipError::Frozen { lasts: Duration::from_secs(seconds.into()) },
        Refusal::Expired => MembershipError::Expired,
        Refusal::NotOpen => MembershipError::NotOpen,
        Refusal::Cancelled => MembershipError::Cancelled,
        Refusal::ThirdDevice => MembershipError::ThirdDevice,
        Refusal::Busy => MembershipError::Refused(ErrorCode::Busy),
        Refusal::NobodyAdmits => MembershipError::NobodyAdmits,
        Refusal::AlreadyMember => MembershipError::AlreadyMember,
        Refusal::AlreadyInCircle if theirs.admits.is_none() => MembershipError::PeerInCircle,
        Refusal::AlreadyInCircle => MembershipError::AlreadyInCircle,
        Refusal::Limit => MembershipError::Limit("the other device or its circle takes no more"),
        Refusal::Storage => MembershipError::Refused(ErrorCode::Storage),
        Refusal::Protocol => MembershipError::Protocol("it did not understand this device"),
    }
}

/// A stranger who is refused at the door: pairing is not open there.
fn not_open(error: NetError) -> MembershipError {
    match error {
        NetError::Refused(ErrorCode::NotTrusted | ErrorCode::Forbidden)
        | NetError::Service { code: ErrorCode::NotTrusted | ErrorCode::Forbidden, .. } => {
            MembershipError::NotOpen
        }
        other => other.into(),
    }
}

fn gate_refusal(refusal: GateRefusal) -> Refusal {
    match refusal {
        GateRefusal::NotOpen => Refusal::NotOpen,
        GateRefusal::Expired => Refusal::Expired,
        GateRefusal::Frozen { lasts } => Refusal::Frozen { seconds: seconds(lasts) },
    }
}

fn gate_error(refusal: GateRefusal) -> MembershipError {
    refused(gate_refusal(refusal), &Offer::nothing())
}

/// Whole seconds, rounded up: nobody shall come too early.
fn seconds(span: Duration) -> u32 {
    u32::try_from(span.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// The end that trust has by default, from `now` on.
pub fn default_end(now: WallMs) -> WallMs {
    now.after(DEFAULT_GRANT)
}
