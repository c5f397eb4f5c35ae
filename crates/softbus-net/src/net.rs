use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::{DeviceId, DeviceKind, ServiceName, limits};
use softbus_trust::DeviceKey;
use tokio::sync::{broadcast, watch};

use crate::endpoint::Core;
use crate::seam::{Announcement, Seam, Sighting};
use crate::{Channel, Judge, LinkEvent, Links, NetError, RequestError, Router};

/// Which interfaces the bus uses, for its socket and for discovery alike.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Bind {
    /// All, IPv4 and IPv6.
    #[default]
    All,
    /// Only loopback, IPv4 and IPv6 where the machine has it.
    Loopback,
    /// Only these interfaces, by name, whenever they are up: none of them needs to be at the start.
    Interfaces(Vec<String>),
}

/// Settings of the network room.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// Which interfaces.
    pub bind: Bind,
    /// UDP port; 0 for any.
    pub port: u16,
    /// Whether to announce and browse.
    pub discovery: bool,
    /// Name in announcements; `None` hides it.
    pub name: Option<String>,
    /// Kind in announcements; `None` hides it.
    pub kind: Option<DeviceKind>,
    /// Devices known by address; the id may be unknown until they answer.
    pub static_peers: Vec<(Option<DeviceId>, SocketAddr)>,
    /// Most live links kept by ourselves; further ones open on demand.
    pub link_budget: usize,
    /// No authenticated packet for this long: suspect.
    pub suspect_after: Duration,
    /// No authenticated packet for this long: offline.
    pub offline_after: Duration,
    /// Lowest and highest version of the link protocol to speak; `None`: all that this program knows.
    pub versions: Option<(u16, u16)>,
    /// TLS primitives; `None`: those of the feature chosen (`aws-lc`, or else `ring`). A simulator gives a
    /// seeded one.
    pub provider: Option<Arc<rustls::crypto::CryptoProvider>>,
    /// Told the secrets of every connection: whoever has them can read all of it. For debugging and simulations only;
    /// nothing sets it by itself, and no setting of the program or the environment does.
    pub key_log: Option<Arc<dyn rustls::KeyLog>>,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            bind: Bind::All,
            port: 0,
            discovery: true,
            name: None,
            kind: None,
            static_peers: Vec::new(),
            link_budget: limits::LINK_BUDGET,
            suspect_after: Duration::from_secs(1),
            offline_after: Duration::from_secs(2),
            versions: None,
            provider: None,
            key_log: None,
        }
    }
}

/// The running network room. Clones are handles to the same; it ends with [`Net::shutdown`], or abruptly with
/// the last handle.
#[derive(Clone)]
pub struct Net(Arc<Handle>);

struct Handle(Arc<Core>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Net {
    /// Binds, announces, browses, and keeps links with every trusted device.
    pub async fn start(
        seam: Seam,
        key: Arc<DeviceKey>,
        judge: Arc<dyn Judge>,
        router: Router,
        config: NetConfig,
    ) -> Result<Self, NetError> {
        Ok(Self(Arc::new(Handle(Core::start(seam, &key, judge, router, config)?))))
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0.0
    }

    /// This device.
    pub fn id(&self) -> DeviceId {
        self.core().me
    }

    /// Addresses others may reach this device by, with the endpoint's port.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.core().addresses()
    }

    /// The UDP port of the endpoint.
    pub fn port(&self) -> u16 {
        self.core().port()
    }

    /// All links, as they change: of every trusted device that was linked, or could not be, since this net
    /// started. Estimates are renewed each second.
    pub fn links(&self) -> watch::Receiver<Arc<Links>> {
        self.core().links.subscribe()
    }

    /// What happens to links, in order.
    pub fn events(&self) -> broadcast::Receiver<LinkEvent> {
        self.core().events.subscribe()
    }

    /// What discovery sees now (only `Seen`), ordered by key.
    pub fn nearby(&self) -> watch::Receiver<Arc<Vec<Sighting>>> {
        self.core().nearby()
    }

    /// How many devices discovery sees now.
    pub fn sightings(&self) -> usize {
        self.core().sightings()
    }

    /// The trusted device (or this one itself) whose discovery tags an announcement has: perhaps of an earlier run, whose
    /// record still lies about. A hint, as all of discovery.
    pub fn recognise(&self, announcement: &Announcement) -> Option<DeviceId> {
        self.core().recognise(announcement)
    }

    /// Opens a channel to a service of a trusted device, dialling if there is no link yet (at most some
    /// seconds). The access check of the peer is done when this returns.
    pub async fn open(&self, peer: DeviceId, service: &ServiceName) -> Result<Channel, NetError> {
        self.core().open(peer, std::slice::from_ref(service)).await
    }

    /// Opens a channel to the best of several services (or versions of one) that the peer has; the one chosen is
    /// [`Channel::service`]. At most [`softbus_core::wire::link::OPEN_CHOICES`].
    pub async fn open_any(&self, peer: DeviceId, services: &[ServiceName]) -> Result<Channel, NetError> {
        self.core().open(peer, services).await
    }

    /// Opens a channel to a stranger at an address, for pairing. `expected`, if given, must be who answers.
    /// The connection is this channel's alone and ends with it.
    pub async fn open_stranger(
        &self,
        addr: SocketAddr,
        expected: Option<DeviceId>,
        service: &ServiceName,
    ) -> Result<Channel, NetError> {
        self.open_stranger_any(vec![addr], expected, Vec::new(), service).await
    }

    /// As [`Net::open_stranger`], to the first that answers of several addresses, tried a little apart (as RFC 8305 does).
    /// If `expected` is given, and `tags` by which it may be recognised in discovery, it is looked for there too, for some
    /// seconds.
    pub async fn open_stranger_any(
        &self,
        addresses: Vec<SocketAddr>,
        expected: Option<DeviceId>,
        tags: Vec<[u8; 8]>,
        service: &ServiceName,
    ) -> Result<Channel, NetError> {
        self.core().open_stranger(addresses, expected, tags, std::slice::from_ref(service)).await
    }

    /// Sends one request and waits for its answer, at most `timeout`. It survives a redial: if the connection
    /// breaks before the answer came, the request is sent again on the next one, and the peer carries it out
    /// once. If the peer restarts meanwhile, the error is [`NetError::Restarted`]. Dropping the future cancels
    /// the request.
    pub async fn request(
        &self,
        peer: DeviceId,
        service: &ServiceName,
        request: Vec<u8>,
        timeout: Duration,
    ) -> Result<Vec<u8>, RequestError> {
        let services = std::slice::from_ref(service);
        let (_, answer) = self.core().request(peer, services, &request, timeout).await?;
        Ok(answer)
    }

    /// As [`Net::request`], to the best of several services that the peer has. Also gives which one answered.
    pub async fn request_any(
        &self,
        peer: DeviceId,
        services: &[ServiceName],
        request: Vec<u8>,
        timeout: Duration,
    ) -> Result<(ServiceName, Vec<u8>), RequestError> {
        self.core().request(peer, services, &request, timeout).await
    }

    /// Adds a device by address; it is dialled and redialled like any other, with or without discovery. If the
    /// id is not given, whoever answers is linked with as soon as it is trusted.
    pub fn add_static(&self, peer: Option<DeviceId>, addr: SocketAddr) {
        self.core().add_static(peer, addr);
    }

    /// Tells every peer that this device sleeps and at which interval it wakes, so that it is not taken for
    /// lost. The links rest until [`Net::wake`], and at least for the interval: what somebody here asks of a peer
    /// meanwhile fails as if it were out of reach, unless that peer dials.
    pub async fn announce_sleep(&self, interval: Duration) {
        self.core().announce_sleep(interval).await;
    }

    /// The device woke (or its network changed in a way no interface event tells): probe and redial at once.
    pub fn wake(&self) {
        self.core().woke();
    }

    /// The router given at start.
    pub fn router(&self) -> &Router {
        &self.core().router
    }

    /// The seam given at start.
    pub fn seam(&self) -> &Seam {
        &self.core().seam
    }

    /// Closes every connection and stops, without waiting for anybody to know.
    pub fn close(&self) {
        self.core().close();
    }

    /// Waits until it is closed, by [`Net::close`] or [`Net::shutdown`].
    pub async fn closed(&self) {
        // An error would mean that nobody can close it any more.
        let _ = self.core().closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// Says goodbye, closes every connection and waits until the peers know (at most a second).
    pub async fn shutdown(&self) {
        self.core().shutdown().await;
    }
}
