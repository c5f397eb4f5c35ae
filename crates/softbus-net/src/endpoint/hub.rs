//! What the endpoint knows of each peer, and how the machines' actions are carried out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use softbus_core::{DeviceId, ErrorCode, limits};
use tokio::sync::{mpsc, oneshot, watch};

use super::former::Formers;
use super::half_open::HalfOpen;
use super::neighbours::standing;
use super::peer::{Active, Carrier, Ends, Peer};
use super::{Core, config, neighbourhood};
use crate::channel::{Carried, canonical, frames};
use crate::link::{Action, ConnKey};
use crate::places::Places;
use crate::{LinkEvent, LinkInfo, Standing};

/// Devices that were met and are remembered.
const MET: usize = 32;
/// Control messages that may wait for one connection.
const CONTROL_QUEUE: usize = 16;
/// Counters of live connections are read this often (presence is this coarse).
const POLL_MAX: Duration = Duration::from_millis(125);
/// Estimates are published this often.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// Without links the ticker still looks at the clocks this often.
const IDLE_TICK: Duration = Duration::from_secs(5);
/// A superseded connection whose channels do not end is closed after this (one on which nothing is heard ends sooner).
const DRAIN_MAX: Duration = Duration::from_secs(600);
/// An on-demand link that is unused for this long rests.
const REST_AFTER: Duration = Duration::from_secs(60);

pub(super) struct Hub {
    /// Whom we may have links with.
    pub(super) trusted: BTreeSet<DeviceId>,
    /// Those of them that there is anything to know of: in a large circle most are never linked nor in sight. (Boxed, as a
    /// node of the map has room for eleven.)
    pub(super) peers: BTreeMap<DeviceId, Box<Peer>>,
    /// Those of them for whom time matters: linked, about to be dialled or to be let go. The others the ticker passes over.
    live: BTreeSet<DeviceId>,
    pub(super) statics: BTreeMap<SocketAddr, Option<DeviceId>>,
    pub(super) strangers: BTreeMap<ConnKey, Stranger>,
    pub(super) places: Places,
    /// Where we met devices that were not trusted then: if they are some day, we know where to dial.
    pub(super) met: VecDeque<(DeviceId, SocketAddr)>,
    pub(super) half_open: HalfOpen,
    /// By dropping it a handshake is ended.
    pub(super) handshakes: BTreeMap<u64, oneshot::Sender<()>>,
    pub(super) nearby: neighbourhood::Nearby,
    pub(super) formers: Formers,
    pub(super) next_key: ConnKey,
    pub(super) closed: bool,
    /// Above the ids of all requests to peers that are trusted no more: they may be again.
    first_request: u64,
    seed: u64,
    /// We sleep, and said that we wake at this interval.
    /// Until when we sleep by our own word.
    sleeps: Option<Duration>,
    poll_at: Duration,
    publish_at: Duration,
}

/// A connection of a stranger.
pub(super) struct Stranger {
    pub(super) id: DeviceId,
    pub(super) address: SocketAddr,
    pub(super) connection: quinn::Connection,
}

impl Hub {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            trusted: BTreeSet::new(),
            peers: BTreeMap::new(),
            live: BTreeSet::new(),
            statics: BTreeMap::new(),
            strangers: BTreeMap::new(),
            places: Places::new(limits::STRANGERS),
            met: VecDeque::new(),
            half_open: HalfOpen::default(),
            handshakes: BTreeMap::new(),
            nearby: neighbourhood::Nearby::default(),
            formers: Formers::default(),
            next_key: 0,
            closed: false,
            first_request: 0,
            seed,
            sleeps: None,
            poll_at: Duration::ZERO,
            publish_at: Duration::ZERO,
        }
    }

    pub(super) fn key(&mut self) -> ConnKey {
        self.next_key += 1;
        self.next_key
    }

    /// A trusted device, from now on with what is known of it.
    pub(super) fn peer(&mut self, core: &Core, id: DeviceId) -> Option<&mut Peer> {
        if !self.trusted.contains(&id) {
            return None;
        }
        let peer = self.peers.entry(id).or_insert_with(|| {
            let mut peer = Box::new(Peer::new(core, id, self.seed, self.first_request));
            let now = core.now();
            if let Some(left) = self.sleeps.and_then(|until| until.checked_sub(now)) {
                peer.machine.set_sleep(u32::try_from(left.as_millis()).unwrap_or(u32::MAX));
                peer.machine.rest(now, ErrorCode::Sleeping);
            }
            peer
        });
        Some(peer)
    }

    /// Remembers where a device was met.
    pub(super) fn meet(&mut self, id: DeviceId, addr: SocketAddr) {
        self.met.retain(|(other, _)| *other != id);
        self.met.push_back((id, addr));
        while self.met.len() > MET {
            self.met.pop_front();
        }
    }

    /// Whether a trusted peer is known at this very address.
    pub(super) fn is_known(&self, addr: SocketAddr) -> bool {
        self.peers.values().any(|peer| peer.addresses.iter().any(|(known, _)| *known == addr))
    }
}

impl Core {
    /// Feeds one peer's machine and carries out what it wants.
    pub(super) fn with_peer(self: &Arc<Self>, id: DeviceId, event: impl FnOnce(&mut Peer, Duration)) {
        let mut hub = self.hub();
        let now = self.now();
        hub.peer(self, id);
        let Hub { peers, live, .. } = &mut *hub;
        if let Some(peer) = peers.get_mut(&id) {
            event(peer, now);
            self.act(id, peer, now, live);
        }
        drop(hub);
        self.wake.notify_one();
    }

    /// A connection with a trusted peer is through TLS. `attempt` names our dial.
    pub(super) fn adopt(self: &Arc<Self>, id: DeviceId, connection: quinn::Connection, attempt: Option<u64>) {
        let mut hub = self.hub();
        // Judged under the lock: whoever loses trust after this is found among the peers when the judge's news
        // comes, and parted from then.
        if !matches!(self.judge.standing(&id), Standing::Trusted(_)) {
            drop(hub);
            return self.turn_away(id, &connection, attempt, self.untrusted(&id, ErrorCode::NotTrusted));
        }
        let now = self.now();
        let live = hub.peers.values().filter(|p| !p.carriers.is_empty()).count();
        let key = hub.key();
        let closed = hub.closed;
        if !closed && hub.trusted.len() < limits::CIRCLE_DEVICES {
            // Perhaps trusted since a moment ago, and the judge's news is on its way.
            hub.trusted.insert(id);
        }
        hub.peer(self, id);
        let Hub { peers, live: watched, .. } = &mut *hub;
        let Some(peer) = peers.get_mut(&id).filter(|_| !closed) else {
            return close(&connection, ErrorCode::None);
        };
        if peer.carriers.len() >= limits::PEER_CONNECTIONS
            || peer.carriers.is_empty() && live >= limits::LINKS
        {
            drop(hub);
            return self.turn_away(id, &connection, attempt, ErrorCode::Busy);
        }
        peer.learn(canonical(connection.remote_address()), false, now, attempt.is_some());
        let (control, control_rx) = mpsc::channel(CONTROL_QUEUE);
        let (gate, gate_rx) = watch::channel(false);
        let lease = Arc::<Carried>::default();
        let ends = Ends {
            peer: id,
            key,
            connection: connection.clone(),
            dialled: attempt.is_some(),
            control: control_rx,
            gate: gate_rx,
            lease: Arc::downgrade(&lease),
        };
        peer.carriers.insert(key, Carrier { connection, control, gate, lease });
        peer.machine.addresses(now, true, false);
        peer.machine.connected(now, key, attempt);
        self.act(id, peer, now, watched);
        drop(hub);
        self.wake.notify_one();
        let core = self.clone();
        // A root: the link outlives whatever opened it. What serves its streams starts within.
        let span = tracing::info_span!(parent: None, "link", device = %self.me.short(), peer = %id.short());
        span.in_scope(|| self.spawn(async move { core.run_connection(ends).await }));
    }

    /// Ends a connection that cannot be adopted. Whatever came of our dial, its machine must hear of it: until then it
    /// dials no more.
    fn turn_away(
        self: &Arc<Self>,
        id: DeviceId,
        connection: &quinn::Connection,
        attempt: Option<u64>,
        code: ErrorCode,
    ) {
        close(connection, code);
        if let Some(attempt) = attempt {
            self.with_peer(id, |peer, now| peer.machine.dial_failed(now, attempt, code.to_string()));
        }
    }

    /// Carries out what a machine wants.
    fn act(self: &Arc<Self>, id: DeviceId, peer: &mut Peer, now: Duration, live: &mut BTreeSet<DeviceId>) {
        let mut changed = false;
        for action in peer.machine.actions() {
            match action {
                Action::Dial { attempt } => {
                    let (cancel, cancelled) = oneshot::channel();
                    peer.dial = Some(cancel);
                    let addresses = peer.dial_order();
                    let core = self.clone();
                    self.spawn(async move { core.dial_peer(id, attempt, addresses, cancelled).await });
                }
                Action::StopDialling => peer.dial = None,
                Action::Send { conn, message } => {
                    if let Some(carrier) = peer.carriers.get(&conn)
                        && carrier.control.try_send(message).is_err()
                    {
                        // It takes nothing: the closed connection is reported like any other.
                        close(&carrier.connection, ErrorCode::Busy);
                    }
                }
                Action::Close { conn, code } => {
                    if let Some(carrier) = peer.carriers.remove(&conn) {
                        close(&carrier.connection, code);
                    }
                }
                Action::Drain { conn } => {
                    let Some(carrier) = peer.carriers.remove(&conn) else { continue };
                    carrier.lease.supersede();
                    // A peer that supersedes its own connections again and again does not pile them up here.
                    if Arc::strong_count(&peer.draining) > limits::PEER_CONNECTIONS {
                        close(&carrier.connection, ErrorCode::Superseded);
                    } else {
                        self.spawn(self.clone().drain(id, carrier, peer.draining.clone()));
                    }
                }
                Action::Up { conn, link, generation, dialled, rebooted, version } => {
                    let Some(carrier) = peer.carriers.get(&conn) else { continue };
                    config::raise(&carrier.connection);
                    carrier.gate.send_replace(true);
                    let address = canonical(carrier.connection.remote_address());
                    tracing::info!(peer = ?id, %link, generation, dialled, rebooted, version, %address, "link up");
                    peer.current.set(Some(Active {
                        key: conn,
                        connection: carrier.connection.clone(),
                        link,
                        lease: Arc::downgrade(&carrier.lease),
                    }));
                    peer.estimate.new_connection(now);
                    peer.heard_frames = 0;
                    peer.at = Some(address);
                    peer.used = now;
                    peer.learn(address, false, now, dialled);
                    self.tell(LinkEvent::Up { peer: id, generation, rebooted });
                    changed = true;
                }
                Action::Presence(presence) => {
                    tracing::debug!(peer = ?id, ?presence, "presence");
                    self.tell(LinkEvent::Presence { peer: id, presence });
                    changed = true;
                }
                Action::Down { reason } => {
                    tracing::info!(peer = ?id, reason, "link down");
                    peer.current.set(None);
                    self.tell(LinkEvent::Down { peer: id, reason });
                    changed = true;
                }
            }
        }
        if peer.machine.take_trouble() || changed {
            self.publish(id, peer.info(id));
        }
        if peer.needs_time() {
            live.insert(id);
        }
    }

    pub(super) fn tell(&self, event: LinkEvent) {
        // Without readers there is nobody to tell.
        let _ = self.events.send(event);
    }

    pub(super) fn publish(&self, id: DeviceId, info: Option<LinkInfo>) {
        self.links.send_if_modified(|links| {
            if links.get(&id).map(|known| &**known) == info.as_ref() {
                return false;
            }
            let links = Arc::make_mut(links);
            match info {
                Some(info) => links.insert(id, Arc::new(info)),
                None => links.remove(&id),
            };
            true
        });
    }

    /// Lets time pass for all machines and reads what the connections count. Returns how long it may wait.
    pub(super) fn tick(self: &Arc<Self>) -> Duration {
        let mut hub = self.hub();
        let now = self.now();
        let poll_every = POLL_MAX.min(self.config.suspect_after / 8).max(Duration::from_millis(10));
        let poll = now >= hub.poll_at;
        if poll {
            hub.poll_at = now + poll_every;
        }
        let publish = now >= hub.publish_at;
        if publish {
            hub.publish_at = now + PUBLISH_EVERY;
        }
        let mut next = now + IDLE_TICK;
        let mut linked = false;
        let hub = &mut *hub;
        for id in std::mem::take(&mut hub.live) {
            let Some(peer) = hub.peers.get_mut(&id) else { continue };
            if poll {
                self.poll(id, peer, now);
            }
            peer.machine.tick(now);
            let current = peer.machine.current();
            linked |= current.is_some();
            let leased = current.and_then(|key| peer.carriers.get(&key));
            if leased.is_some_and(|c| Arc::strong_count(&c.lease) > 1) || !peer.outgoing.is_idle() {
                peer.used = now;
            } else if !peer.standing && now >= peer.used + REST_AFTER {
                peer.machine.want(now, false, false);
                if current.is_some() {
                    peer.machine.rest(now, ErrorCode::Resting);
                }
            }
            self.act(id, peer, now, &mut hub.live);
            if publish {
                self.publish(id, peer.info(id));
            }
            if let Some(at) = peer.machine.next_timeout() {
                next = next.min(at);
            }
        }
        if linked {
            next = next.min(hub.poll_at);
        }
        next.saturating_sub(now).max(Duration::from_millis(1))
    }

    /// We woke: nothing of what we knew of the links may still be true.
    pub(super) fn awake(self: &Arc<Self>) {
        let mut hub = self.hub();
        let now = self.now();
        hub.sleeps = None;
        let Hub { peers, live, .. } = &mut *hub;
        for (id, peer) in peers {
            peer.machine.awake(now);
            self.act(*id, peer, now, live);
        }
        drop(hub);
        self.wake.notify_one();
    }

    /// Our own addresses changed: `gone` are those we lost.
    pub(super) fn moved(self: &Arc<Self>, gone: &BTreeSet<IpAddr>) {
        let mut hub = self.hub();
        let now = self.now();
        let Hub { peers, live, .. } = &mut *hub;
        for (id, peer) in peers {
            let local = peer.current.get().and_then(|a| a.connection.local_ip());
            let untouched = local.is_some_and(|local| !gone.contains(&local.to_canonical()));
            if !untouched {
                peer.machine.moved(now);
                self.act(*id, peer, now, live);
            }
        }
        drop(hub);
        self.wake.notify_one();
    }

    /// There may be a new way to those who are not linked.
    pub(super) fn retry_unlinked(self: &Arc<Self>) {
        let mut hub = self.hub();
        let now = self.now();
        let Hub { peers, live, .. } = &mut *hub;
        for (id, peer) in peers {
            if peer.machine.current().is_none() {
                peer.machine.moved(now);
                self.act(*id, peer, now, live);
            }
        }
        drop(hub);
        self.wake.notify_one();
    }

    /// Takes over the judge's view: who is trusted, whom to keep a standing link with.
    pub(super) fn refresh_peers(self: &Arc<Self>) {
        let trusted: BTreeSet<DeviceId> =
            self.judge.peers().into_iter().filter(|id| *id != self.me).take(limits::CIRCLE_DEVICES).collect();
        let standing = standing(self.me, &trusted, self.config.link_budget);
        let mut hub = self.hub();
        if hub.closed {
            return;
        }
        let now = self.now();
        let hub = &mut *hub;
        let live = &mut hub.live;
        hub.peers.retain(|id, peer| {
            let stays = trusted.contains(id);
            if !stays {
                tracing::info!(peer = ?id, "no longer trusted");
                hub.first_request = hub.first_request.max(peer.outgoing.next());
                peer.machine.end(self.untrusted(id, ErrorCode::Removed));
                self.act(*id, peer, now, live);
                self.publish(*id, None);
            }
            stays
        });
        hub.nearby.retag(&*self.judge, &*self.seam.clock, self.me, &trusted);
        hub.formers.retain(|id| self.judge.is_former(id));
        self.sighted.notify_one();
        let known: Vec<(DeviceId, SocketAddr, bool)> = hub
            .nearby
            .matches(&trusted)
            .into_iter()
            .map(|(id, addr)| (id, addr, false))
            .chain(hub.statics.iter().filter_map(|(addr, id)| id.map(|id| (id, *addr, true))))
            .chain(hub.strangers.values().map(|stranger| (stranger.id, stranger.address, false)))
            .chain(hub.met.iter().map(|(id, addr)| (*id, *addr, false)))
            .collect();
        hub.trusted = trusted;
        for (id, addr, is_static) in known {
            if let Some(peer) = hub.peer(self, id) {
                let fresh = peer.learn(addr, is_static, now, false);
                peer.machine.addresses(now, true, fresh);
            }
        }
        for id in &standing {
            hub.peer(self, *id);
        }
        for (id, peer) in &mut hub.peers {
            let eager = peer.addresses.iter().any(|(_, a)| a.is_static);
            peer.standing = standing.contains(id) || eager;
            if peer.standing {
                peer.machine.want(now, true, eager);
            }
            self.act(*id, peer, now, &mut hub.live);
        }
        self.wake.notify_one();
    }

    /// Addresses of trusted peers, heard of somewhere.
    pub(super) fn learn(self: &Arc<Self>, found: &[(DeviceId, SocketAddr)], is_static: bool) {
        let mut hub = self.hub();
        let now = self.now();
        for (id, addr) in found {
            hub.peer(self, *id);
            let Hub { peers, live, .. } = &mut *hub;
            if let Some(peer) = peers.get_mut(id) {
                let fresh = peer.learn(*addr, is_static, now, false);
                if is_static {
                    peer.standing = true;
                    peer.machine.want(now, true, true);
                }
                peer.machine.addresses(now, true, fresh);
                self.act(*id, peer, now, live);
            }
        }
        drop(hub);
        self.wake.notify_one();
    }

    /// An address led to somebody else.
    pub(super) fn unlearn(&self, id: DeviceId, addr: SocketAddr) {
        let mut hub = self.hub();
        if let Some(peer) = hub.peers.get_mut(&id) {
            peer.addresses.retain(|(known, a)| *known != addr || a.is_static);
        }
    }

    /// Lets the channels of a superseded connection end, as long as the peer is trusted and still has it: it may have
    /// given it up, with a word about it that was lost, and quinn would notice only when its idle time is over.
    async fn drain(self: Arc<Self>, id: DeviceId, carrier: Carrier, _counted: Arc<()>) {
        let end = tokio::time::Instant::now() + DRAIN_MAX;
        let mut changed = self.judge.changed();
        // Requests move to the new connection at once; give their last answers a moment.
        let mut idle = false;
        // Frames, as anybody can send datagrams.
        let heard = || frames(&carrier.connection.stats().frame_rx);
        let mut last = (heard(), tokio::time::Instant::now());
        let code = loop {
            if !matches!(self.judge.standing(&id), Standing::Trusted(_)) {
                break self.untrusted(&id, ErrorCode::Removed);
            }
            let now = tokio::time::Instant::now();
            let count = heard();
            if count != last.0 {
                last = (count, now);
            }
            // Its keep-alives would have come.
            let silent = now - last.1 >= self.config.offline_after;
            if idle || silent || now >= end {
                break ErrorCode::Superseded;
            }
            tokio::select! {
                biased;
                _ = carrier.connection.closed() => return,
                Ok(()) = changed.changed() => {}
                () = tokio::time::sleep(POLL_MAX) => idle = Arc::strong_count(&carrier.lease) == 1,
            }
        };
        close(&carrier.connection, code);
    }

    /// Closes every link.
    pub(super) fn end_all(self: &Arc<Self>, code: ErrorCode) {
        let mut hub = self.hub();
        let now = self.now();
        hub.closed = true;
        let Hub { peers, live, .. } = &mut *hub;
        for (id, peer) in peers {
            peer.machine.end(code);
            self.act(*id, peer, now, live);
        }
        hub.handshakes.clear();
    }

    /// Lets every link rest with the news that we sleep; how many there were.
    pub(super) fn sleep_all(self: &Arc<Self>, interval_ms: u32, reason: &[u8]) -> usize {
        let mut hub = self.hub();
        let now = self.now();
        let mut count = 0;
        hub.sleeps = Some(now + Duration::from_millis(interval_ms.into()));
        let Hub { peers, live, .. } = &mut *hub;
        for (id, peer) in peers {
            peer.machine.set_sleep(interval_ms);
            if let Some(active) = peer.current.get() {
                let number = quinn::VarInt::from_u32(ErrorCode::Sleeping.number());
                active.connection.close(number, reason);
                count += 1;
            }
            peer.machine.rest(now, ErrorCode::Sleeping);
            self.act(*id, peer, now, live);
        }
        count
    }
}

/// Closes a connection with a code.
pub(super) fn close(connection: &quinn::Connection, code: ErrorCode) {
    connection.close(quinn::VarInt::from_u32(code.number()), code.to_string().as_bytes());
}
