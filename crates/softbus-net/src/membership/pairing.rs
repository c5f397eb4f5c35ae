//! Drives `pair/1`: brings the pure machines of pairing together with a channel, the disk and the clock. Here what
//! a user asks, and the side on which the password is entered.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use softbus_core::wire::pair::{Pair, Refusal};
use softbus_core::{DeviceId, ErrorCode, Message, WallMs};
use softbus_trust::pairing::{
    Binding, EXPORTER_LABEL, Enterer, PairPassword, ProofError, Settlement, settle,
};
use softbus_trust::{PairingState, Pin, Role, Ticket};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::refusals::{breach, gate_error, hear, not_open, refused};
use super::shelf::{self, TicketRecord};
use super::{
    DEFAULT_GRANT, INVITATION_LIFE, INVITATIONS, Keeper, MembershipError, PairOptions, Paired, pair_service,
};
use crate::channel::silence;
use crate::{Channel, Judge as _, NetError, Standing};

/// How long the other side has for one message.
pub(super) const MESSAGE: Duration = Duration::from_secs(10);
/// The other side is gone if nothing is heard of it for this long (it need not have anything to say: its end of the
/// connection answers by itself).
const SILENCE: Duration = Duration::from_secs(3);
/// How long the joiner has to store the circle and say so.
pub(super) const STORING: Duration = Duration::from_secs(30);

/// Pairing as it was opened once.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Which: a later one has a higher number.
    pub number: u64,
    /// How pairing stands on this device; once it was opened anew, how that one stands.
    pub state: watch::Receiver<PairingState>,
}

/// A channel of `pair/1`, or a test's stand-in.
pub(super) trait Talk: Send {
    /// Sends one message.
    fn say<M: Message + Sync>(&mut self, message: &M) -> impl Future<Output = Result<(), NetError>> + Send;
    /// Receives one message.
    fn hear<M: Message>(&mut self) -> impl Future<Output = Result<M, NetError>> + Send;
    /// Waits until the other side has all that was said.
    fn wind_up(&mut self) -> impl Future<Output = ()> + Send;
    /// Where the other side is.
    fn from(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    }
    /// The other side has made a try that counts.
    fn begun(&self) {}
}

impl Talk for Channel {
    async fn say<M: Message + Sync>(&mut self, message: &M) -> Result<(), NetError> {
        self.send_message(message).await
    }

    async fn hear<M: Message>(&mut self) -> Result<M, NetError> {
        let connection = self.connection.clone();
        let silence = silence(&connection, SILENCE);
        tokio::select! {
            biased;
            heard = self.expect_message() => heard,
            () = silence => {
                // It is gone: nothing more is waited for.
                connection.close(quinn::VarInt::from_u32(ErrorCode::Timeout.number()), b"");
                Err(NetError::Lost("the other device stopped answering".into()))
            }
        }
    }

    async fn wind_up(&mut self) {
        let connection = self.connection.clone();
        tokio::select! {
            biased;
            _ = tokio::time::timeout(MESSAGE, self.finish_and_wait()) => {}
            () = silence(&connection, SILENCE) => {}
        }
    }

    fn from(&self) -> IpAddr {
        self.remote_address().ip()
    }

    fn begun(&self) {
        Channel::begun(self);
    }
}

pub(super) fn binding_of(
    channel: &Channel,
    opener: DeviceId,
    enterer: DeviceId,
) -> Result<Binding, NetError> {
    let exporter = channel.export(EXPORTER_LABEL, &[opener.0, enterer.0].concat())?;
    Ok(Binding { opener, enterer, exporter })
}

impl Keeper {
    /// Opens pairing: makes a PIN to be typed on the other device. One that is open already is closed: its PIN is void.
    ///
    /// # Errors
    /// [`MembershipError::Frozen`] after too many wrong tries; [`MembershipError::NotOwner`] if the circle named is not
    /// one this device is an owner of; [`MembershipError::BadGrant`].
    pub async fn open_pairing(&self, options: PairOptions) -> Result<Opening, MembershipError> {
        self.check_options(&options)?;
        let pin = loop {
            if let Some(pin) = Pin::from_random(self.random()) {
                break pin;
            }
        };
        let now = self.now();
        let number = {
            let mut state = self.write();
            let number = state.gate.open(pin, now).map_err(gate_error)?;
            state.opened = options;
            number
        };
        // What went on with an earlier PIN ends.
        self.cancels.send_modify(|n| *n += 1);
        self.show_gate();
        self.refresh();
        Ok(Opening { number, state: self.pairing.subscribe() })
    }

    /// The number of the latest [`Opening`].
    pub fn opening(&self) -> u64 {
        self.read().gate.opening()
    }

    /// Cancels this opening as [`Keeper::close_pairing`] does. A later one, and the links given out, go on.
    pub fn close_opening(&self, number: u64) {
        let mut state = self.write();
        let ours = state.gate.opening() == number && !self.pairing.borrow().is_over();
        if ours {
            state.gate.close();
            drop(state);
            self.cancelled();
            self.refresh();
        }
    }

    /// Cancels pairing at any point before the other device is admitted; the links given out too if `invitations`.
    ///
    /// # Errors
    /// The database's.
    pub async fn close_pairing(&self, invitations: bool) -> Result<(), MembershipError> {
        self.write().gate.close();
        self.cancelled();
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

    /// Ends what goes on with a PIN that is closed.
    fn cancelled(&self) {
        self.cancels.send_modify(|n| *n += 1);
        self.pairing.send_if_modified(|state| {
            let goes_on = !state.is_over();
            if goes_on {
                *state = PairingState::Cancelled;
            }
            goes_on
        });
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
                state.tickets.iter().filter(|(_, old)| !old.counts_at(now)).map(|(name, _)| *name).collect()
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
        self.pair_with_any(vec![addr], expected, pin, options).await
    }

    /// As [`Keeper::pair_with`], at the first that answers of several addresses of one device.
    ///
    /// # Errors
    /// As [`Keeper::pair_with`].
    pub async fn pair_with_any(
        &self,
        addresses: Vec<SocketAddr>,
        expected: Option<DeviceId>,
        pin: &str,
        options: PairOptions,
    ) -> Result<Paired, MembershipError> {
        let pin = Pin::parse(pin)?;
        self.check_options(&options)?;
        let (net, service) = (self.net()?, pair_service());
        let channel =
            net.open_stranger_any(addresses, expected, Vec::new(), &service).await.map_err(not_open)?;
        self.enter(channel, PairPassword::pin(&pin), options).await
    }

    /// Pairs by a link made with [`Keeper::invite`].
    ///
    /// # Errors
    /// As [`Keeper::pair_with`]; [`MembershipError::Ticket`] if the text is no such link; for one that was used already
    /// [`MembershipError::Expired`], or [`MembershipError::AlreadyMember`] if it was this device that used it.
    pub async fn pair_by_ticket(&self, link: &str, options: PairOptions) -> Result<Paired, MembershipError> {
        let ticket: Ticket = link.parse().map_err(MembershipError::Ticket)?;
        if ticket.expires <= self.wall() {
            return Err(MembershipError::Expired);
        }
        self.check_options(&options)?;
        let net = self.net()?;
        // Its maker may have moved since: whoever has the link recognises it in discovery.
        let (addresses, tags) = (ticket.addresses.clone(), ticket.tags(self.wall()));
        let opened = net
            .open_stranger_any(addresses, Some(ticket.device), tags, &pair_service())
            .await
            .map_err(not_open);
        let outcome = match opened {
            Ok(channel) => self.enter(channel, PairPassword::ticket(&ticket.secret), options).await,
            Err(error) => Err(error),
        };
        match outcome {
            // Nothing is open there for this link: it was used, or taken back.
            Err(MembershipError::NotOpen | MembershipError::Expired) => {
                let trusted = matches!(self.standing(&ticket.device), Standing::Trusted(_));
                Err(if trusted { MembershipError::AlreadyMember } else { MembershipError::Expired })
            }
            outcome => outcome,
        }
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
        if channel.peer.role.is_none() {
            // The connection was this pairing's alone. End it now: the opener lets few strangers in at once.
            channel.connection.close(quinn::VarInt::from_u32(ErrorCode::None.number()), b"");
        }
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
                    ProofError::ThirdDevice => (Refusal::ThirdDevice, MembershipError::ThirdDevice),
                    _ => (Refusal::Protocol, MembershipError::NotProven),
                };
                let _ = talk.say(&Pair::Refusal(refusal)).await;
                return Err(error);
            }
        }
        let ours = self.offer(&options, &peer);
        talk.say(&Pair::Offer(ours.clone())).await?;
        let Pair::Offer(theirs) = hear(talk, MESSAGE).await? else {
            return Err(breach(talk).await);
        };
        match settle(&theirs, &ours) {
            Settlement::OpenerAdmits(circle) => self.join(talk, peer, Some(circle), Role::Owner, None).await,
            Settlement::OpenerReturns(circle) => self.join(talk, peer, Some(circle), Role::Guest, None).await,
            Settlement::EntererReturns(circle) => self.hand_back(talk, peer, circle, None).await,
            Settlement::EntererAdmits(circle) => {
                self.let_in(talk, peer, circle, &options, &theirs, None).await
            }
            Settlement::EntererFounds => {
                let founded = self.undisturbed(|me| async move { me.found_now("home").await }).await?;
                let circle = founded.circle;
                let paired = self.let_in(talk, peer, circle, &options, &theirs, None).await;
                // The circle is there now, whatever became of the other device: its words must not get lost.
                match paired {
                    Ok(paired) => Ok(Paired { founded: Some(founded), ..paired }),
                    Err(error) => Err(MembershipError::Alone { founded, why: error.to_string() }),
                }
            }
            Settlement::Refused(refusal) => Err(refused(refusal, &theirs)),
        }
    }
}

/// The end that trust has by default, from `now` on.
pub fn default_end(now: WallMs) -> WallMs {
    now.after(DEFAULT_GRANT)
}
