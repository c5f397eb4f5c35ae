//! The one QUIC endpoint of a device and everything that runs on it: the async driver around the pure link
//! machines. State is behind one lock that is never held across an await; decisions are the machines'.

mod accept;
mod answers;
mod config;
mod connection;
mod dial;
mod estimate;
#[cfg(test)]
mod flood_tests;
mod former;
mod half_open;
mod hub;
mod load;
mod neighbourhood;
mod neighbours;
mod open;
mod peer;
mod request;
mod serve;

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use softbus_core::wire::link::BootNonce;
use softbus_core::{DeviceId, ErrorCode, encode};
use softbus_trust::DeviceKey;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::seam::{Seam, Sighting};
use crate::tls::Tls;
use crate::{Judge, LinkEvent, Links, NetConfig, NetError, Router};
use hub::Hub;
use load::Loads;
pub use neighbours::standing;

/// How many link events a slow reader may be behind before it misses some.
const EVENTS: usize = 256;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);
/// If the boot clock ran ahead of monotonic time by this much, the machine slept.
const SLEPT_MS: u64 = 2_000;

/// The running network room.
pub(crate) struct Core {
    pub(crate) me: DeviceId,
    boot: BootNonce,
    pub(crate) seam: Seam,
    pub(crate) router: Router,
    judge: Arc<dyn Judge>,
    config: NetConfig,
    endpoint: quinn::Endpoint,
    socket: Arc<dyn quinn::AsyncUdpSocket>,
    client: quinn::ClientConfig,
    tls: Tls,
    runtime: Arc<dyn quinn::Runtime>,
    started: Instant,
    hub: Mutex<Hub>,
    loads: Arc<Loads>,
    pub(crate) links: watch::Sender<Arc<Links>>,
    pub(crate) events: broadcast::Sender<LinkEvent>,
    pub(crate) nearby: watch::Sender<Arc<Vec<Sighting>>>,
    /// Wakes the ticker: a machine may have an earlier timeout now.
    wake: Notify,
    /// Wakes the announcer: what is announced may have changed.
    announce: Notify,
    /// Wakes who calls former members: somebody came into sight, or is out now.
    sighted: Notify,
    /// Wakes who publishes what is in sight.
    in_sight: Notify,
    pub(crate) closing: watch::Sender<bool>,
}

impl Core {
    pub(crate) fn start(
        seam: Seam,
        key: &DeviceKey,
        judge: Arc<dyn Judge>,
        router: Router,
        config: NetConfig,
    ) -> Result<Arc<Self>, NetError> {
        let (provider, key_log) = (config.provider.clone(), config.key_log.clone());
        let tls = Tls::new(key, &*seam.entropy, &seam.clock, provider, key_log)?;
        let settings = config::settings(&tls, &*seam.entropy, &seam.clock, &config)?;
        let bind_error = |source| NetError::Bind { port: config.port, source };
        let socket = seam.sockets.bind(&config.bind, config.port).map_err(bind_error)?;
        let runtime = seam.sockets.runtime();
        let endpoint = quinn::Endpoint::new_with_abstract_socket(
            settings.endpoint,
            Some(settings.server),
            socket.clone(),
            runtime.clone(),
        )
        .map_err(bind_error)?;
        let mut boot = [0; 16];
        seam.entropy.fill(&mut boot);
        let mut seed = [0; 8];
        seam.entropy.fill(&mut seed);
        let core = Arc::new(Self {
            me: key.id(),
            boot: BootNonce(boot),
            seam,
            router,
            judge,
            endpoint,
            socket,
            client: settings.client,
            tls,
            runtime,
            started: Instant::now(),
            hub: Mutex::new(Hub::new(u64::from_le_bytes(seed))),
            loads: Arc::default(),
            links: watch::Sender::new(Arc::default()),
            events: broadcast::Sender::new(EVENTS),
            nearby: watch::Sender::new(Arc::default()),
            wake: Notify::new(),
            announce: Notify::new(),
            sighted: Notify::new(),
            in_sight: Notify::new(),
            closing: watch::Sender::new(false),
            config,
        });
        for (peer, addr) in core.config.static_peers.clone() {
            core.add_static(peer, addr);
        }
        core.refresh_peers();
        core.background(Self::accept_loop);
        core.background(Self::tick_loop);
        core.background(Self::judge_loop);
        core.background(Self::address_loop);
        if core.config.discovery {
            core.background(Self::browse_loop);
            core.background(Self::announce_loop);
            core.background(Self::former_loop);
            core.background(Self::nearby_loop);
        }
        tracing::info!(device = ?core.me, port = core.port(), "net is up");
        Ok(core)
    }

    /// Spawns a task that ends with the net.
    pub(super) fn background<F, T>(self: &Arc<Self>, task: F)
    where
        F: FnOnce(Arc<Self>) -> T,
        T: Future<Output = ()> + Send + 'static,
    {
        let task = task(self.clone());
        let mut closing = self.closing.subscribe();
        self.spawn(async move {
            tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => {}
                () = task => {}
            }
        });
    }

    /// Spawns on the seam's runtime: the task dies with the host of a simulation.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(Box::pin(task.in_current_span()));
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the net started: the machines' `now`.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn port(&self) -> u16 {
        self.endpoint.local_addr().map_or(0, |addr| addr.port())
    }

    /// Addresses that others may reach us by.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let port = self.port();
        let addresses = self.seam.sockets.addresses(&self.config.bind).borrow().clone();
        addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
    }

    /// Why a device that is not trusted is not (any more): `else_code`, unless its time is over.
    fn untrusted(&self, peer: &DeviceId, else_code: ErrorCode) -> ErrorCode {
        if self.judge.is_expired(peer) { ErrorCode::Expired } else { else_code }
    }

    /// Drives the machines' time.
    async fn tick_loop(self: Arc<Self>) {
        let mut clocks = (self.seam.clock.boot().0, self.now());
        loop {
            let next = self.tick();
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = tokio::time::sleep(next) => {}
            }
            let (boot, now) = (self.seam.clock.boot().0, self.now());
            let ran_ms = u64::try_from(now.saturating_sub(clocks.1).as_millis()).unwrap_or(u64::MAX);
            if boot.saturating_sub(clocks.0) > ran_ms.saturating_add(SLEPT_MS) {
                tracing::info!("the machine slept; probing all links");
                self.woke();
            }
            clocks = (boot, now);
        }
    }

    /// Follows the judge: links of those who lost trust end at once.
    async fn judge_loop(self: Arc<Self>) {
        let mut changed = self.judge.changed();
        loop {
            self.refresh_peers();
            self.announce.notify_one();
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Follows our own addresses.
    async fn address_loop(self: Arc<Self>) {
        let mut addresses = self.seam.sockets.addresses(&self.config.bind);
        let mut before: BTreeSet<IpAddr> = addresses.borrow_and_update().iter().copied().collect();
        while addresses.changed().await.is_ok() {
            let after: BTreeSet<IpAddr> = addresses.borrow_and_update().iter().copied().collect();
            self.announce.notify_one();
            let gone: BTreeSet<IpAddr> = before.difference(&after).copied().collect();
            if gone.is_empty() {
                self.retry_unlinked();
            } else {
                tracing::info!(?gone, "own addresses changed");
                self.rebind();
                self.moved(&gone);
            }
            before = after;
        }
        std::future::pending::<()>().await;
    }

    /// The machine woke, or its network changed unseen.
    pub(crate) fn woke(self: &Arc<Self>) {
        self.rebind();
        self.awake();
        self.announce.notify_one();
    }

    /// Makes quinn send from the new address on every connection that we dialled. It needs no other socket for that:
    /// one bound to chosen interfaces follows them by itself.
    fn rebind(&self) {
        if let Err(error) = self.endpoint.rebind_abstract(self.socket.clone()) {
            tracing::warn!(%error, "cannot rebind");
        }
    }

    /// Ends everything at once, saying goodbye.
    pub(crate) fn close(self: &Arc<Self>) {
        if !self.closing.send_replace(true) {
            self.end_all(ErrorCode::None);
            self.endpoint.close(quinn::VarInt::from_u32(ErrorCode::None.number()), b"goodbye");
        }
    }

    pub(crate) async fn shutdown(self: &Arc<Self>) {
        self.close();
        if self.config.discovery {
            // A goodbye that takes longer is not waited for: records run out by themselves.
            let _ = tokio::time::timeout(GOODBYE, self.seam.discovery.goodbye()).await;
        }
        let _ = tokio::time::timeout(GOODBYE, self.endpoint.wait_idle()).await;
    }

    /// Tells every peer that we sleep, and lets the links rest.
    pub(crate) async fn announce_sleep(self: &Arc<Self>, interval: Duration) {
        let interval_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX).max(1);
        let sleep = softbus_core::wire::link::Sleep { interval_ms };
        let reason = encode(&sleep).unwrap_or_default();
        let closed = self.sleep_all(interval_ms, &reason);
        // CONNECTION_CLOSE is not acknowledged: give the packets time to leave, and to be sent again to
        // peers whose packets cross them.
        if closed > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
