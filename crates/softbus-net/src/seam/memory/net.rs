//! The network: who is on it, where, and how they may be reached. What happens to one datagram is in `wire`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::board::Board;
use super::conditions::Conditions;
use super::cuts::Cuts;
use super::entropy::Dice;
use super::inbox::{Inbox, Inboxes};
use super::lock;
use super::nat::NatBox;
use super::tap::{Fate, Tap, Traffic};
use super::topology::{Segment, Topology, WayKey, WayState};

/// First port given out for port 0.
const EPHEMERAL: u16 = 49152;
/// Most hosts: so many have addresses in any segment.
const HOSTS: usize = 60_000;

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
    pub(super) fn count(&mut self, fate: Fate) {
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
    pub(super) dice: Dice,
    pub(super) hosts: Vec<HostState>,
    pub(super) by_address: BTreeMap<IpAddr, HostId>,
    pub(super) inboxes: Inboxes,
    pub(super) topology: Topology,
    /// Conditions of their own between two hosts, in this direction.
    pub(super) between: BTreeMap<(HostId, HostId), Conditions>,
    cuts: Cuts,
    /// Queues and bursts of the ways that have any.
    pub(super) ways: BTreeMap<WayKey, WayState>,
    pub(super) boxes: BTreeMap<u32, NatBox>,
    /// The segment behind each outer address of a box.
    pub(super) by_outer: BTreeMap<IpAddr, u32>,
    boxes_before: u32,
    /// How many addresses a segment gave out to hosts that moved there.
    given: BTreeMap<u32, u64>,
    began: Instant,
    pub(super) tap: Option<Arc<dyn Tap>>,
    pub(super) stats: NetStats,
    pub(super) board: Board,
}

pub(super) struct HostState {
    pub(super) name: String,
    pub(super) traffic: Traffic,
    pub(super) addresses: watch::Sender<Arc<Vec<IpAddr>>>,
    loopback: watch::Sender<Arc<Vec<IpAddr>>>,
    pub(super) segment: u32,
    /// Ports, and where what comes to them is kept.
    pub(super) sockets: Vec<(u16, usize)>,
    next_port: u16,
    /// Since the network began.
    pub(super) asleep_since: Option<Duration>,
}

impl MemoryNet {
    /// Nobody on it yet.
    pub fn new(seed: u64) -> Self {
        let state = State {
            dice: Dice::new(seed),
            hosts: Vec::new(),
            by_address: BTreeMap::new(),
            inboxes: Inboxes::default(),
            topology: Topology::default(),
            between: BTreeMap::new(),
            cuts: Cuts::default(),
            ways: BTreeMap::new(),
            boxes: BTreeMap::new(),
            by_outer: BTreeMap::new(),
            boxes_before: 0,
            given: BTreeMap::new(),
            began: Instant::now(),
            tap: None,
            stats: NetStats::default(),
            board: Board::default(),
        };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::new(watch::Sender::new(0)) }
    }

    /// Sets what every way is like that has no conditions of its own, by its hosts or its segments.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.lock().topology.everywhere = conditions;
    }

    /// Sets a segment up, or anew. From the first one on segments part the hosts: within one they reach each other by its
    /// way, elsewhere only what is joined with it.
    ///
    /// # Panics
    /// If there are more than 4096 segments.
    pub fn set_segment_settings(&self, segment: u32, settings: Segment) {
        self.change(|state| {
            state.topology.set_segment(segment, settings);
            state.set_nat_box(segment, settings.nat.is_some());
            state.board.touch_all();
        });
    }

    /// Weather: from now on the way within a segment is like this. It sets the segment up if it was not.
    pub fn set_segment_way(&self, segment: u32, way: Conditions) {
        let mut state = self.lock();
        let settings = Segment { way, ..state.topology.segment(segment) };
        state.topology.set_segment(segment, settings);
    }

    /// How a segment is set up.
    pub fn segment_settings(&self, segment: u32) -> Segment {
        self.lock().topology.segment(segment)
    }

    /// The outer addresses of a segment's NAT box, if it has one.
    pub fn nat_addresses(&self, segment: u32) -> Option<[IpAddr; 2]> {
        self.lock().boxes.get(&segment).map(NatBox::addresses)
    }

    /// Two segments reach each other from now on, by this way in addition to those within.
    ///
    /// # Panics
    /// If they are one and the same, or there are more than 4096 joins.
    pub fn join(&self, a: u32, b: u32, way: Conditions) {
        self.lock().topology.join(a, b, Some(way));
    }

    /// Two segments do not reach each other any more: the addresses of the one are nobody's in the other.
    pub fn unjoin(&self, a: u32, b: u32) {
        self.lock().topology.join(a, b, None);
    }

    /// Nothing passes between the hosts of two segments any more, in either direction; of one, if both are the same.
    pub fn cut_segments(&self, a: u32, b: u32) {
        self.set_segments_cut(&[(a, b), (b, a)], true);
    }

    /// Nothing passes from the one segment to the other any more.
    pub fn cut_segments_one_way(&self, from: u32, to: u32) {
        self.set_segments_cut(&[(from, to)], true);
    }

    /// Undoes [`MemoryNet::cut_segments`] and [`MemoryNet::cut_segments_one_way`] between the two.
    pub fn mend_segments(&self, a: u32, b: u32) {
        self.set_segments_cut(&[(a, b), (b, a)], false);
    }

    fn set_segments_cut(&self, pairs: &[(u32, u32)], cut: bool) {
        self.change(|state| {
            for (from, to) in pairs {
                state.topology.set_cut(*from, *to, cut);
            }
            state.board.touch_all();
        });
    }

    /// What happened so far.
    pub fn stats(&self) -> NetStats {
        self.lock().stats
    }

    /// Shows every datagram to `tap` from now on.
    pub fn set_tap(&self, tap: Arc<dyn Tap>) {
        self.lock().tap = Some(tap);
    }

    /// Virtual time since the network was made, in nanoseconds: the time that a tap is told.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.lock().now().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Changes who sees whom.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.send_modify(|version| *version += 1);
    }

    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn add_host(&self, name: &str) -> HostId {
        let mut state = self.lock();
        let id = HostId(state.hosts.len());
        assert!(id.0 < HOSTS, "too many hosts");
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
            sockets: Vec::new(),
            next_port: EPHEMERAL,
            asleep_since: None,
        });
        id
    }

    pub(super) fn traffic(&self, host: HostId) -> Traffic {
        self.lock().hosts[host.0].traffic
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
        self.change(|state| state.set_addresses(host, addresses));
    }

    pub(super) fn segment(&self, host: HostId) -> u32 {
        self.lock().hosts[host.0].segment
    }

    pub(super) fn set_segment(&self, host: HostId, segment: u32) {
        self.change(|state| state.set_segment(host, segment));
    }

    pub(super) fn move_to(&self, host: HostId, segment: u32) {
        self.change(|state| {
            let addresses = state.fresh_addresses(segment);
            state.set_addresses(host, addresses);
            state.set_segment(host, segment);
        });
    }

    pub(super) fn is_asleep(&self, host: HostId) -> bool {
        self.lock().hosts[host.0].asleep_since.is_some()
    }

    pub(super) fn sleep(&self, host: HostId) {
        self.change(|state| {
            let now = state.now();
            state.hosts[host.0].asleep_since.get_or_insert(now);
            state.board.touch_host(host);
        });
    }

    pub(super) fn wake(&self, host: HostId) {
        self.change(|state| state.wake(host));
    }

    pub(super) fn set_cut(&self, from: HostId, to: HostId, cut: bool) {
        self.change(|state| {
            state.cuts.set(from.0, to.0, cut);
            state.board.touch_speaker(from);
        });
    }

    /// Parts the hosts by the group of each, by index: those of other groups, or of none, are cut off. Other cuts are
    /// forgotten.
    pub(super) fn partition(&self, group: impl Fn(HostId) -> Option<usize>) {
        self.change(|state| {
            state.mend_all();
            let groups: Vec<Option<usize>> = (0..state.hosts.len()).map(|host| group(HostId(host))).collect();
            for (from, group) in groups.iter().enumerate() {
                for (to, other) in groups.iter().enumerate() {
                    if from != to && (group.is_none() || group != other) {
                        state.cuts.set(from, to, true);
                    }
                }
            }
        });
    }

    pub(super) fn mend_all(&self) {
        self.change(State::mend_all);
    }

    pub(super) fn set_between(&self, from: HostId, to: HostId, conditions: Conditions) {
        self.lock().between.insert((from, to), conditions);
    }

    pub(super) fn clear_between(&self, from: HostId, to: HostId) {
        self.lock().between.remove(&(from, to));
    }

    /// The host's program ended: its sockets are gone, its announcements fall silent.
    pub(super) fn down(&self, host: HostId) {
        self.change(|state| {
            state.hosts[host.0].sockets.clear();
            state.hosts[host.0].asleep_since = None;
            state.board.silence(host);
        });
    }

    /// Reserves a port, and a place for what comes there; `None` if it is taken.
    pub(super) fn bind(&self, host: HostId, port: u16) -> Option<(u16, usize)> {
        let state = &mut *self.lock();
        let port = if port == 0 { state.hosts[host.0].free_port()? } else { port };
        if state.hosts[host.0].listens(port) {
            return None;
        }
        let slot = state.inboxes.add(Inbox::new(host));
        state.hosts[host.0].sockets.push((port, slot));
        Some((port, slot))
    }

    pub(super) fn unbind(&self, host: HostId, slot: usize) {
        let state = &mut *self.lock();
        state.hosts[host.0].sockets.retain(|(_, other)| *other != slot);
        state.inboxes.remove(slot);
    }
}

impl HostState {
    fn listens(&self, port: u16) -> bool {
        self.sockets.iter().any(|(other, _)| *other == port)
    }

    fn free_port(&mut self) -> Option<u16> {
        for _ in EPHEMERAL..u16::MAX {
            let port = self.next_port;
            self.next_port = if port == u16::MAX - 1 { EPHEMERAL } else { port + 1 };
            if !self.listens(port) {
                return Some(port);
            }
        }
        None
    }
}

impl State {
    /// Virtual time since the network began.
    pub(super) fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.began)
    }

    /// That time as tokio tells it.
    pub(super) fn instant(&self, time: Duration) -> Instant {
        self.began + time
    }

    pub(super) fn is_cut(&self, from: HostId, to: HostId) -> bool {
        let segment = |host: HostId| self.hosts[host.0].segment;
        from != to && (self.cuts.contains(from.0, to.0) || self.topology.is_cut(segment(from), segment(to)))
    }

    /// Whether multicast of `from` reaches `to`.
    pub(super) fn hears(&self, to: HostId, from: HostId) -> bool {
        let (speaker, listener) = (&self.hosts[from.0], &self.hosts[to.0]);
        self.topology.hears(listener.segment, speaker.segment)
            && speaker.asleep_since.is_none()
            && listener.asleep_since.is_none()
            && !self.is_cut(from, to)
    }

    pub(super) fn host_addresses(&self, host: HostId) -> Arc<Vec<IpAddr>> {
        self.hosts[host.0].addresses.borrow().clone()
    }

    /// Whether `address` is of `host` (its loopback addresses included).
    pub(super) fn owns(&self, host: HostId, address: IpAddr) -> bool {
        address.is_loopback() || self.by_address.get(&address) == Some(&host)
    }

    fn set_addresses(&mut self, host: HostId, addresses: Vec<IpAddr>) {
        let former = self.host_addresses(host);
        for address in former.iter() {
            self.by_address.remove(address);
        }
        for address in &addresses {
            let former = self.by_address.insert(*address, host);
            assert!(former.is_none(), "{address} belongs to another host");
        }
        self.hosts[host.0].addresses.send_replace(Arc::new(addresses));
        self.board.touch_speaker(host);
    }

    fn set_segment(&mut self, host: HostId, segment: u32) {
        self.hosts[host.0].segment = segment;
        self.board.touch_host(host);
    }

    /// An IPv4 and an IPv6 address of this segment that nobody had yet.
    fn fresh_addresses(&mut self, segment: u32) -> Vec<IpAddr> {
        let given = self.given.entry(segment).or_default();
        loop {
            *given += 1;
            // 10.0/16 is of the addresses that hosts begin with.
            let v4 = 0x0a00_0000 | (segment % 255 + 1) << 16 | (*given & 0xffff) as u32;
            let v6 = (0xfd00_u128 << 112) | (u128::from(segment) + 1) << 64 | u128::from(*given);
            let addresses: Vec<IpAddr> = vec![Ipv4Addr::from_bits(v4).into(), Ipv6Addr::from_bits(v6).into()];
            if v4 & 0xffff != 0 && addresses.iter().all(|address| !self.by_address.contains_key(address)) {
                return addresses;
            }
        }
    }

    fn set_nat_box(&mut self, segment: u32, there: bool) {
        if !there {
            self.boxes.remove(&segment);
            self.by_outer.retain(|_, behind| *behind != segment);
        } else if !self.boxes.contains_key(&segment) {
            let nat_box = NatBox::new(self.boxes_before);
            self.boxes_before += 1;
            self.by_outer.extend(nat_box.addresses().map(|address| (address, segment)));
            self.boxes.insert(segment, nat_box);
        }
    }

    fn wake(&mut self, host: HostId) {
        let slots: Vec<usize> = self.hosts[host.0].sockets.iter().map(|(_, slot)| *slot).collect();
        for slot in &slots {
            self.miss(host, *slot);
        }
        self.hosts[host.0].asleep_since = None;
        for slot in slots {
            if let Some(inbox) = self.inboxes.get_mut(slot) {
                inbox.wake();
            }
        }
        self.board.touch_host(host);
    }

    /// What came to a socket while its host slept is lost.
    pub(super) fn miss(&mut self, host: HostId, slot: usize) {
        let now = self.now();
        let (Some(since), Some(inbox)) = (self.hosts[host.0].asleep_since, self.inboxes.get_mut(slot)) else {
            return;
        };
        for datagram in inbox.take_between(since, now) {
            self.arrived(now, host, datagram, Fate::Asleep);
        }
    }

    fn mend_all(&mut self) {
        self.cuts.clear();
        self.topology.mend_all();
        self.board.touch_all();
    }
}
