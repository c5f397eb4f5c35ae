use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quinn::udp::EcnCodepoint;
use tokio::sync::watch;
use tokio::time::Instant;

use super::discovery::Announced;
use super::entropy::Dice;
use super::lock;
use super::socket::Inbox;
use super::tap::{Fate, Party, Seen, Tap, Traffic};

/// First port given out for port 0.
const EPHEMERAL: u16 = 49152;

/// What the way between two hosts is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conditions {
    /// One-way delay.
    pub latency: Duration,
    /// Further delay, between nothing and this, drawn for each datagram. It reorders if it exceeds their gap.
    pub jitter: Duration,
    /// Datagrams lost, per thousand.
    pub loss_permille: u16,
    /// Datagrams that arrive twice, per thousand.
    pub duplicate_permille: u16,
    /// Datagrams that come late by up to ten times the latency, per thousand.
    pub reorder_permille: u16,
    /// Bytes per second that pass; 0 for no limit.
    pub rate_bytes_per_s: u64,
    /// Past this delay in the queue before a limited rate, datagrams are dropped.
    pub queue: Duration,
    /// Longest datagram that passes, in bytes of UDP payload.
    pub mtu_bytes: usize,
}

impl Default for Conditions {
    /// A calm home network: 2 ms, no loss, 1472 bytes.
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(2),
            jitter: Duration::ZERO,
            loss_permille: 0,
            duplicate_permille: 0,
            reorder_permille: 0,
            rate_bytes_per_s: 0,
            queue: Duration::from_millis(200),
            mtu_bytes: 1472,
        }
    }
}

impl Conditions {
    /// Bad radio: 20 ms ± 20 ms, 10 % lost, 3 % twice, 5 % late.
    pub fn bad() -> Self {
        Self {
            latency: Duration::from_millis(20),
            jitter: Duration::from_millis(20),
            loss_permille: 100,
            duplicate_permille: 30,
            reorder_permille: 50,
            ..Self::default()
        }
    }
}

/// What happened on the network so far, in datagrams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetStats {
    /// Handed to the network.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Read by a socket.
    pub delivered: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost at a cut.
    pub cut: u64,
    /// Lost because a queue was full.
    pub overflowed: u64,
    /// Too long for the way.
    pub too_long: u64,
    /// To an address or port where nobody listens.
    pub unroutable: u64,
    /// Not let in by a NAT box.
    pub filtered: u64,
    /// Lost because their sender or receiver slept.
    pub asleep: u64,
}

impl NetStats {
    fn count(&mut self, fate: Fate) {
        let counter = match fate {
            Fate::Sent => return,
            Fate::Delivered => &mut self.delivered,
            Fate::Lost => &mut self.lost,
            Fate::Cut => &mut self.cut,
            Fate::Overflowed => &mut self.overflowed,
            Fate::TooLong => &mut self.too_long,
            Fate::Unroutable => &mut self.unroutable,
            Fate::Filtered => &mut self.filtered,
            Fate::Asleep => &mut self.asleep,
        };
        *counter += 1;
    }
}

fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct HostId(pub(super) usize);

/// A datagram network in memory. Clones are handles to the same. Hosts and cuts are made through
/// [`World`](super::World).
#[derive(Clone)]
pub struct MemoryNet {
    state: Arc<Mutex<State>>,
    /// Grows with whatever may change who sees whom.
    changed: Arc<watch::Sender<u64>>,
}

impl std::fmt::Debug for MemoryNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryNet")
    }
}

pub(super) struct State {
    dice: Dice,
    hosts: Vec<HostState>,
    by_address: BTreeMap<IpAddr, HostId>,
    sockets: BTreeMap<(HostId, u16), Arc<Mutex<Inbox>>>,
    everywhere: Conditions,
    between: BTreeMap<(HostId, HostId), Conditions>,
    cuts: BTreeSet<(HostId, HostId)>,
    /// Until when the limited way between two hosts is busy.
    busy: BTreeMap<(HostId, HostId), Instant>,
    sequence: u64,
    began: Instant,
    tap: Option<Arc<dyn Tap>>,
    pub(super) stats: NetStats,
    pub(super) announced: BTreeMap<String, Announced>,
}

struct HostState {
    name: String,
    traffic: Traffic,
    addresses: watch::Sender<Arc<Vec<IpAddr>>>,
    loopback: watch::Sender<Arc<Vec<IpAddr>>>,
    segment: u32,
    next_port: u16,
}

/// A datagram on its way.
pub(super) struct Datagram {
    pub(super) from_host: HostId,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) bytes: Vec<u8>,
}

impl MemoryNet {
    /// Nobody on it yet.
    pub fn new(seed: u64) -> Self {
        let state = State {
            dice: Dice::new(seed),
            hosts: Vec::new(),
            by_address: BTreeMap::new(),
            sockets: BTreeMap::new(),
            everywhere: Conditions::default(),
            between: BTreeMap::new(),
            cuts: BTreeSet::new(),
            busy: BTreeMap::new(),
            sequence: 0,
            began: Instant::now(),
            tap: None,
            stats: NetStats::default(),
            announced: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::new(watch::Sender::new(0)) }
    }

    /// Sets what every way is like that has no conditions of its own.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.lock().everywhere = conditions;
    }

    /// What happened so far.
    pub fn stats(&self) -> NetStats {
        self.lock().stats
    }

    /// Shows every datagram to `tap` from now on.
    pub fn set_tap(&self, tap: Arc<dyn Tap>) {
        self.lock().tap = Some(tap);
    }

    pub(super) fn traffic(&self, host: HostId) -> Traffic {
        self.lock().hosts[host.0].traffic
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn notify(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    pub(super) fn add_host(&self, name: &str) -> HostId {
        let mut state = self.lock();
        let id = HostId(state.hosts.len());
        let number = id.0 as u32 + 1;
        let addresses: Vec<IpAddr> = vec![
            Ipv4Addr::from_bits(0x0a00_0000 + number).into(),
            Ipv6Addr::from_bits((0xfd00_u128 << 112) + u128::from(number)).into(),
        ];
        let loopback = Arc::new(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        for address in &addresses {
            state.by_address.insert(*address, id);
        }
        state.hosts.push(HostState {
            name: name.to_owned(),
            traffic: Traffic::default(),
            addresses: watch::Sender::new(Arc::new(addresses)),
            loopback: watch::Sender::new(loopback),
            segment: 0,
            next_port: EPHEMERAL,
        });
        id
    }

    pub(super) fn addresses(&self, host: HostId) -> Vec<IpAddr> {
        self.lock().hosts[host.0].addresses.borrow().to_vec()
    }

    pub(super) fn watch_addresses(&self, host: HostId, loopback: bool) -> watch::Receiver<Arc<Vec<IpAddr>>> {
        let state = self.lock();
        let host = &state.hosts[host.0];
        if loopback { host.loopback.subscribe() } else { host.addresses.subscribe() }
    }

    pub(super) fn set_addresses(&self, host: HostId, addresses: Vec<IpAddr>) {
        {
            let mut state = self.lock();
            state.by_address.retain(|_, owner| *owner != host);
            for address in &addresses {
                let former = state.by_address.insert(*address, host);
                assert!(former.is_none(), "{address} belongs to another host");
            }
            state.hosts[host.0].addresses.send_replace(Arc::new(addresses));
        }
        self.notify();
    }

    pub(super) fn set_segment(&self, host: HostId, segment: u32) {
        self.lock().hosts[host.0].segment = segment;
        self.notify();
    }

    pub(super) fn set_cut(&self, from: HostId, to: HostId, cut: bool) {
        {
            let mut state = self.lock();
            if cut {
                state.cuts.insert((from, to))
            } else {
                state.cuts.remove(&(from, to))
            };
        }
        self.notify();
    }

    pub(super) fn mend_all(&self) {
        self.lock().cuts.clear();
        self.notify();
    }

    pub(super) fn set_between(&self, from: HostId, to: HostId, conditions: Conditions) {
        self.lock().between.insert((from, to), conditions);
    }

    /// The host's program ended: its sockets are gone, its announcements fall silent.
    pub(super) fn down(&self, host: HostId) {
        {
            let mut state = self.lock();
            state.sockets.retain(|(owner, _), _| *owner != host);
            state.announced.values_mut().filter(|a| a.host == host).for_each(Announced::fall_silent);
        }
        self.notify();
    }

    /// Reserves a port; `None` if it is taken.
    pub(super) fn bind(&self, host: HostId, port: u16) -> Option<(u16, Arc<Mutex<Inbox>>)> {
        let mut state = self.lock();
        let port = if port == 0 { state.free_port(host)? } else { port };
        if state.sockets.contains_key(&(host, port)) {
            return None;
        }
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        state.sockets.insert((host, port), inbox.clone());
        Some((port, inbox))
    }

    pub(super) fn unbind(&self, host: HostId, port: u16, inbox: &Arc<Mutex<Inbox>>) {
        let mut state = self.lock();
        // A later run of the host may have bound the same port.
        if state.sockets.get(&(host, port)).is_some_and(|bound| Arc::ptr_eq(bound, inbox)) {
            state.sockets.remove(&(host, port));
        }
    }
}

impl State {
    fn free_port(&mut self, host: HostId) -> Option<u16> {
        for _ in EPHEMERAL..u16::MAX {
            let state = &mut self.hosts[host.0];
            let port = state.next_port;
            state.next_port = if port == u16::MAX - 1 { EPHEMERAL } else { port + 1 };
            if !self.sockets.contains_key(&(host, port)) {
                return Some(port);
            }
        }
        None
    }

    pub(super) fn conditions(&self, from: HostId, to: HostId) -> Conditions {
        self.between.get(&(from, to)).copied().unwrap_or(self.everywhere)
    }

    pub(super) fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// Whether multicast of `from` reaches `to`.
    pub(super) fn hears(&self, to: HostId, from: HostId) -> bool {
        self.hosts[to.0].segment == self.hosts[from.0].segment && !self.is_cut(from, to)
    }

    pub(super) fn host_addresses(&self, host: HostId) -> Arc<Vec<IpAddr>> {
        self.hosts[host.0].addresses.borrow().clone()
    }

    /// Whether `address` is of `host` (its loopback addresses included).
    pub(super) fn owns(&self, host: HostId, address: IpAddr) -> bool {
        address.is_loopback() || self.by_address.get(&address) == Some(&host)
    }

    /// Sends one datagram. `source` is the address it shall come from, if still the host's.
    pub(super) fn send(
        &mut self,
        host: HostId,
        port: u16,
        source: Option<IpAddr>,
        to: SocketAddr,
        ecn: Option<EcnCodepoint>,
        bytes: &[u8],
    ) {
        self.stats.sent += 1;
        self.stats.sent_bytes += bytes.len() as u64;
        let traffic = &mut self.hosts[host.0].traffic;
        traffic.sent += 1;
        traffic.sent_bytes += bytes.len() as u64;
        let target = if to.ip().is_loopback() { Some(host) } else { self.by_address.get(&to.ip()).copied() };
        let source = match source {
            Some(source) => Some(source).filter(|source| self.owns(host, *source)),
            None if to.ip().is_loopback() => Some(to.ip()),
            None => {
                self.hosts[host.0].addresses.borrow().iter().find(|a| a.is_ipv4() == to.is_ipv4()).copied()
            }
        };
        let fate = match (target, source) {
            (Some(target), Some(source)) => {
                self.carry(host, target, SocketAddr::new(source, port), to, ecn, bytes)
            }
            _ => Fate::Unroutable,
        };
        self.stats.count(fate);
        let source = source.unwrap_or_else(|| unspecified(to.ip()));
        let source = SocketAddr::new(source, port);
        self.show((host, source), (target, to), ecn, bytes, fate, false);
    }

    fn carry(
        &mut self,
        host: HostId,
        target: HostId,
        source: SocketAddr,
        to: SocketAddr,
        ecn: Option<EcnCodepoint>,
        bytes: &[u8],
    ) -> Fate {
        if self.is_cut(host, target) {
            return Fate::Cut;
        }
        let mut way = self.conditions(host, target);
        if host == target {
            way = Conditions { latency: Duration::ZERO, mtu_bytes: 65_507, ..Conditions::default() };
        }
        if bytes.len() > way.mtu_bytes {
            return Fate::TooLong;
        }
        if self.dice.permille(way.loss_permille) {
            return Fate::Lost;
        }
        let Some(queued) = self.queue(host, target, &way, bytes.len()) else { return Fate::Overflowed };
        let copies = if self.dice.permille(way.duplicate_permille) { 2 } else { 1 };
        let Some(inbox) = self.sockets.get(&(target, to.port())).cloned() else { return Fate::Unroutable };
        let mut fate = Fate::Overflowed;
        for _ in 0..copies {
            let mut due = queued + way.latency + self.draw(way.jitter);
            if self.dice.permille(way.reorder_permille) {
                due += self.draw(way.latency * 10);
            }
            self.sequence += 1;
            let datagram = Datagram { from_host: host, from: source, to, ecn, bytes: bytes.to_vec() };
            if lock(&inbox).put((due, self.sequence), datagram) {
                fate = Fate::Sent;
            }
        }
        fate
    }

    /// A datagram came to its end, well or not.
    pub(super) fn arrived(&mut self, host: HostId, datagram: &Datagram, fate: Fate) {
        if fate == Fate::Delivered {
            let traffic = &mut self.hosts[host.0].traffic;
            traffic.received += 1;
            traffic.received_bytes += datagram.bytes.len() as u64;
        }
        self.stats.count(fate);
        let (from, to) = ((datagram.from_host, datagram.from), (Some(host), datagram.to));
        self.show(from, to, datagram.ecn, &datagram.bytes, fate, true);
    }

    fn show(
        &self,
        from: (HostId, SocketAddr),
        to: (Option<HostId>, SocketAddr),
        ecn: Option<EcnCodepoint>,
        bytes: &[u8],
        fate: Fate,
        arriving: bool,
    ) {
        let Some(tap) = &self.tap else { return };
        let party = |host: HostId| Party { index: host.0, name: &self.hosts[host.0].name };
        let passed = Instant::now().saturating_duration_since(self.began);
        tap.datagram(&Seen {
            at_ns: u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX),
            from: party(from.0),
            to: to.0.map(party),
            source: from.1,
            destination: to.1,
            ecn,
            bytes,
            fate,
            arriving,
        });
    }

    /// When a datagram has passed the limited rate of the way; `None` if the queue before it is too long.
    fn queue(&mut self, from: HostId, to: HostId, way: &Conditions, bytes: usize) -> Option<Instant> {
        let now = Instant::now();
        if way.rate_bytes_per_s == 0 {
            return Some(now);
        }
        let busy = self.busy.entry((from, to)).or_insert(now);
        let begin = (*busy).max(now);
        if begin - now > way.queue {
            return None;
        }
        let nanos = bytes as u64 * 1_000_000_000 / way.rate_bytes_per_s;
        *busy = begin + Duration::from_nanos(nanos);
        Some(*busy)
    }

    fn draw(&mut self, span: Duration) -> Duration {
        Duration::from_nanos(self.dice.below(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}
