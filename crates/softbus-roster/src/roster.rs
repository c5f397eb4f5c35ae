//! The running roster: a handle, and the task behind it that moves bytes between the state machine, the
//! network, the disk and the sensors.

use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::roster::Gossip;
use softbus_core::{DeviceId, ErrorCode, HEADER_LEN, Message as _, Promised, ServiceName, decode, encode};
use softbus_net::seam::{BoxFuture, store::Store};
use softbus_net::{Caller, Judge, Net, NetError, RequestError, Respond};
use softbus_trust::DeviceKey;
use tokio::sync::{mpsc, oneshot, watch};

use crate::driver::{self, Command, Running, What};
use crate::events::Reader;
use crate::{
    RosterConfig, RosterError, RosterView, SampleOverride, Sampled, Source, Subscription, limits, present,
};

/// This device's view of all trusted devices. Clones are handles to the same; it stops when the last one is
/// dropped or [`Roster::shutdown`] is called.
#[derive(Clone)]
pub struct Roster(Arc<Shared>);

struct Shared {
    net: Net,
    boot: u64,
    rate_permille: u16,
    reader: Reader,
    commands: mpsc::Sender<Command>,
    running: watch::Sender<Running>,
    stop: watch::Sender<bool>,
}

/// Name and version of the protocol.
pub(crate) fn service() -> ServiceName {
    "roster/1".parse().expect("`roster/1` is a service name")
}

impl Roster {
    /// Calibrates if need be (150 ms at the first start), makes and signs our own profile, registers
    /// `roster/1` and starts to sample and to tell.
    ///
    /// # Errors
    /// If the database fails or our own description breaks a limit.
    pub async fn start(
        net: Net,
        judge: Arc<dyn Judge>,
        store: Store,
        key: Arc<DeviceKey>,
        config: RosterConfig,
    ) -> Result<Self, RosterError> {
        let rate_permille = config.declared.rate_factor();
        let (commands, command_inbox) = mpsc::channel(limits::INBOX);
        let (asks, ask_inbox) = mpsc::channel(limits::INBOX);
        let running = watch::Sender::new(Running::default());
        let stop = watch::Sender::new(false);
        let inboxes = driver::Inboxes {
            commands: command_inbox,
            asks: ask_inbox,
            running: running.subscribe(),
            stop: stop.subscribe(),
        };
        let driver = driver::Driver::open(net.clone(), judge, store, key, config).await?;
        let (reader, boot) = (driver.reader(), driver.boot());
        net.router().answer(service(), Arc::new(Answerer(asks)));
        net.seam().sockets.runtime().spawn(Box::pin(driver.run(inboxes)));
        Ok(Self(Arc::new(Shared { net, boot, rate_permille, reader, commands, running, stop })))
    }

    /// The roster as it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<RosterView>> {
        self.0.reader.watch()
    }

    /// The roster now.
    pub fn view(&self) -> Arc<RosterView> {
        self.0.reader.view()
    }

    /// Change events in order, from now on. Ends when the roster stops.
    pub fn events(&self) -> Subscription {
        self.0.reader.subscribe()
    }

    /// Says which services this device offers; durable and signed when it returns.
    ///
    /// # Errors
    /// Too many (then nothing changes), the database fails (then it is tried again by itself, and nobody hears
    /// of it before it succeeded), or the roster is closed.
    pub async fn set_services(&self, services: Vec<ServiceName>) -> Result<(), RosterError> {
        self.command(What::Services(services)).await
    }

    /// Says which task types this device runs, each `name/state-version`; durable and signed when it returns.
    ///
    /// # Errors
    /// As for [`Roster::set_services`].
    pub async fn set_task_types(&self, task_types: Vec<String>) -> Result<(), RosterError> {
        self.command(What::TaskTypes(task_types)).await
    }

    /// Says how many tasks run here and how much of their work is left (in operations of the reference kernel).
    /// Told to the neighbours at once. Never waits; of several calls in a row the last one counts.
    pub fn set_running(&self, tasks: u16, queued_ops: u64) {
        self.0.running.send_if_modified(|now| {
            let new = Running { tasks, queued_ops, ..*now };
            std::mem::replace(now, new) != new
        });
    }

    /// Says what is promised beside that, as [`Roster::set_running`] does. Whoever asks afterwards how this device
    /// is hears of it.
    pub fn set_promised(&self, promised: Promised) {
        self.0.running.send_if_modified(|now| {
            let new = Running { promised, ..*now };
            std::mem::replace(now, new) != new
        });
    }

    /// Overrides sensor values for a while (at most [`limits::OVERRIDE_MAX`]); the profile lists them as
    /// `declared` meanwhile. The neighbours are told at once.
    ///
    /// # Errors
    /// If the roster is closed; or if the database fails: then the override counts, but the profile lists it only
    /// once the database works again.
    pub async fn inject(&self, what: SampleOverride, lasts: Duration) -> Result<(), RosterError> {
        self.command(What::Inject(what, lasts)).await
    }

    /// Ends all live overrides.
    ///
    /// # Errors
    /// As for [`Roster::inject`].
    pub async fn clear_injected(&self) -> Result<(), RosterError> {
        self.command(What::ClearInjected).await
    }

    /// Asks a device how it is right now, over a link opened on demand; if it cannot be reached, the neighbour
    /// through whom we see it. Its static profile, too, if that has not come yet.
    ///
    /// # Errors
    /// If it is not trusted, not reachable, or does not say.
    pub async fn ask_now(&self, id: DeviceId) -> Result<Sampled, RosterError> {
        let view = self.view();
        let entry = view.get(&id).ok_or(RosterError::Unknown(id))?;
        if id == view.me {
            return entry.now.as_deref().cloned().ok_or(RosterError::NoAnswer(id));
        }
        let described = entry.profile.is_some();
        match self.ask(id, id, described).await {
            Err(error) => match entry.source {
                Source::Via { neighbour, .. } => self.ask(neighbour, id, described).await,
                _ => Err(error),
            },
            answer => answer,
        }
    }

    async fn ask(&self, peer: DeviceId, about: DeviceId, described: bool) -> Result<Sampled, RosterError> {
        let want = if described { Vec::new() } else { vec![about] };
        let question = Gossip { boot: self.0.boot, ask: vec![about], want, ..Gossip::default() };
        let mut asked = ask_peer(&self.0.net, peer, &question).await;
        if let Err(RequestError::Net(NetError::Lost(_))) = asked {
            // Gossip is not sent anew when its connection is replaced or rests; somebody waits for this.
            asked = ask_peer(&self.0.net, peer, &question).await;
        }
        let answer = asked.map_err(|source| RosterError::Ask { peer, source })?;
        let said = answer.now.iter().find(|now| now.signed.signer == about);
        let said =
            said.and_then(|now| present::read(&now.signed).ok()).ok_or(RosterError::NoAnswer(about))?;
        self.command(What::Told(peer, Box::new(answer))).await?;
        // The view has it if it was believed, or something newer.
        let known = self.view().get(&about).and_then(|entry| entry.now.clone());
        let asked = |now: &&Sampled| (now.boot, now.profile.sequence) >= (said.boot, said.profile.sequence);
        known.as_deref().filter(asked).cloned().ok_or(RosterError::NoAnswer(about))
    }

    /// The declared factor of this machine's real speed (1–1000): 250 means that tasks should run at a quarter
    /// of it, to be as slow as the profile claims.
    pub fn rate_permille(&self) -> u16 {
        self.0.rate_permille
    }

    /// Stops and withdraws `roster/1`. The last view remains readable; event streams end.
    pub async fn shutdown(&self) {
        self.close();
        self.0.commands.closed().await;
    }

    /// [`Roster::shutdown`] without waiting for it.
    pub fn close(&self) {
        self.0.net.router().withdraw(&service());
        self.0.stop.send_replace(true);
    }

    async fn command(&self, what: What) -> Result<(), RosterError> {
        let (done, result) = oneshot::channel();
        let command = Command { what, done };
        self.0.commands.send(command).await.map_err(|_| RosterError::Closed)?;
        result.await.map_err(|_| RosterError::Closed)?
    }
}

/// One request, one answer.
pub(crate) async fn ask_peer(net: &Net, peer: DeviceId, question: &Gossip) -> Result<Gossip, RequestError> {
    let malformed = |_| RequestError::Code(ErrorCode::Malformed);
    let bytes = encode(question).map_err(|_| RequestError::Code(ErrorCode::Internal))?;
    let answer = net.request(peer, &service(), bytes, limits::ANSWER_TIMEOUT).await?;
    decode(&answer).map_err(malformed)
}

/// Whether a failed request means that the peer does not speak `roster/1` with us.
pub(crate) fn is_refusal(error: &RequestError) -> bool {
    let code = match error {
        RequestError::Code(code) | RequestError::Net(NetError::Service { code, .. }) => *code,
        RequestError::Net(NetError::Refused(code)) => *code,
        _ => return false,
    };
    matches!(code, ErrorCode::NoSuchService | ErrorCode::Forbidden | ErrorCode::NotTrusted)
}

/// A request of a peer on its way to the driver.
pub(crate) struct Ask {
    pub(crate) from: DeviceId,
    pub(crate) gossip: Gossip,
    pub(crate) answer: oneshot::Sender<Result<Gossip, ErrorCode>>,
}

/// Answers `roster/1`. Parses here, in the request's own task.
struct Answerer(mpsc::Sender<Ask>);

impl Respond for Answerer {
    fn respond(&self, from: Caller, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, ErrorCode>> {
        let asks = self.0.clone();
        Box::pin(async move {
            let gossip: Gossip = decode(&request).map_err(|_| ErrorCode::Malformed)?;
            drop(request);
            let (answer, answered) = oneshot::channel();
            let ask = Ask { from: from.device, gossip, answer };
            asks.send(ask).await.map_err(|_| ErrorCode::NoSuchService)?;
            let answer = answered.await.map_err(|_| ErrorCode::NoSuchService)??;
            encode(&answer).map_err(|_| ErrorCode::Internal)
        })
    }

    fn longest(&self) -> usize {
        HEADER_LEN + Gossip::MAX_BYTES
    }

    /// Whoever has a link is told how we are every other second: no link would ever come to rest.
    fn is_use(&self) -> bool {
        false
    }
}
