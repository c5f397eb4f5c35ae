//! What the endpoint knows of one trusted device.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use softbus_core::wire::link::VERSIONS;
use softbus_core::{DeviceId, LinkId, limits};
use tokio::sync::{mpsc, oneshot, watch};

use super::Core;
use super::answers::Answers;
use super::estimate::{Counters, Estimate};
use super::request::Outgoing;
use crate::channel::{Carried, canonical, frames};
use crate::link::{ConnKey, Control, LinkConfig, LinkMachine};
use crate::{LinkEvent, LinkInfo};

/// A trusted device.
pub(super) struct Peer {
    pub(super) machine: LinkMachine,
    /// Where it may be, and when that was last heard; the present address of its link is always among them.
    /// A few: a map would take ten times the room.
    pub(super) addresses: Vec<(SocketAddr, Address)>,
    pub(super) carriers: BTreeMap<ConnKey, Carrier>,
    /// Held by each superseded connection whose channels have not ended.
    pub(super) draining: Arc<()>,
    pub(super) current: Current,
    pub(super) answers: Answers,
    pub(super) outgoing: Outgoing,
    pub(super) estimate: Estimate,
    pub(super) heard_frames: u64,
    pub(super) at: Option<SocketAddr>,
    /// Kept by budget, whether used or not.
    pub(super) standing: bool,
    pub(super) used: Duration,
    pub(super) dial: Option<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    /// Told by a person: kept, and dialled first.
    pub(super) is_static: bool,
    /// When a connection there was last good.
    pub(super) good: Duration,
    /// When it was last heard of.
    pub(super) seen: Duration,
}

/// The connection that carries a link now.
#[derive(Clone)]
pub(super) struct Active {
    pub(super) key: ConnKey,
    pub(super) connection: quinn::Connection,
    pub(super) link: LinkId,
    pub(super) lease: Weak<Carried>,
}

/// The connection that carries the link now, for whoever waits for one. It is made for the first who asks: most devices of
/// a large circle are never linked, and a watch is large.
#[derive(Default)]
pub(super) struct Current(Option<watch::Sender<Option<Active>>>);

impl Current {
    pub(super) fn get(&self) -> Option<Active> {
        self.0.as_ref()?.borrow().clone()
    }

    pub(super) fn set(&mut self, active: Option<Active>) {
        if active.is_some() || self.0.is_some() {
            self.0.get_or_insert_default().send_replace(active);
        }
    }

    pub(super) fn subscribe(&mut self) -> watch::Receiver<Option<Active>> {
        self.0.get_or_insert_default().subscribe()
    }
}

pub(super) struct Carrier {
    pub(super) connection: quinn::Connection,
    pub(super) control: mpsc::Sender<Control>,
    /// Opens when the connection is established: service streams are served from then on.
    pub(super) gate: watch::Sender<bool>,
    pub(super) lease: Arc<Carried>,
}

/// What a connection's tasks get of it.
pub(super) struct Ends {
    pub(super) peer: DeviceId,
    pub(super) key: ConnKey,
    pub(super) connection: quinn::Connection,
    pub(super) dialled: bool,
    pub(super) control: mpsc::Receiver<Control>,
    pub(super) gate: watch::Receiver<bool>,
    pub(super) lease: Weak<Carried>,
}

impl Peer {
    /// `seed` is for its jitter; no request to it had an id from `first_request` on.
    pub(super) fn new(core: &Core, id: DeviceId, seed: u64, first_request: u64) -> Self {
        let salt =
            u64::from_le_bytes([id.0[0], id.0[1], id.0[2], id.0[3], id.0[4], id.0[5], id.0[6], id.0[7]]);
        Self {
            machine: LinkMachine::new(LinkConfig {
                me: core.me,
                boot: core.boot,
                peer: id,
                versions: core.config.versions.unwrap_or(VERSIONS),
                suspect_after: core.config.suspect_after,
                offline_after: core.config.offline_after,
                seed: seed ^ salt,
            }),
            addresses: Vec::new(),
            carriers: BTreeMap::new(),
            draining: Arc::default(),
            current: Current::default(),
            answers: Answers::default(),
            outgoing: Outgoing::new(first_request),
            estimate: Estimate::default(),
            heard_frames: 0,
            at: None,
            standing: false,
            used: Duration::ZERO,
            dial: None,
        }
    }

    /// Notes where the peer may be; `true` if that is news.
    pub(super) fn learn(&mut self, addr: SocketAddr, is_static: bool, now: Duration, good: bool) -> bool {
        let known = self.addresses.iter().position(|(known, _)| *known == addr);
        let at = known.unwrap_or_else(|| {
            self.addresses.reserve_exact(1);
            self.addresses.push((addr, Address { is_static, good: Duration::ZERO, seen: now }));
            self.addresses.len() - 1
        });
        let entry = &mut self.addresses[at].1;
        entry.is_static |= is_static;
        entry.seen = now;
        if good {
            entry.good = now;
        }
        while self.addresses.len() > limits::PEER_ADDRESSES {
            let present = self.at;
            let oldest = self
                .addresses
                .iter()
                .filter(|(other, _)| Some(*other) != present && *other != addr)
                .min_by_key(|(other, address)| (*address, *other))
                .map(|(other, _)| *other);
            let Some(oldest) = oldest else { break };
            self.addresses.retain(|(other, _)| *other != oldest);
        }
        known.is_none()
    }

    /// Somebody waits for the link.
    pub(super) fn demand(&mut self, now: Duration) {
        self.used = now;
        self.machine.want(now, true, true);
        self.machine.dial_now(now);
    }

    /// Whether anything comes of it by time alone.
    pub(super) fn needs_time(&self) -> bool {
        !self.carriers.is_empty()
            || self.machine.next_timeout().is_some()
            || (!self.standing && self.machine.is_wanted())
    }

    /// A connection is closed and reported.
    pub(super) fn carrier_gone(&mut self, key: ConnKey) {
        self.carriers.remove(&key);
    }

    /// Addresses in the order in which to dial them.
    pub(super) fn dial_order(&self) -> Vec<SocketAddr> {
        let mut order: Vec<_> = self.addresses.iter().map(|(addr, a)| (*a, *addr)).collect();
        order.sort_by_key(|(a, addr)| (std::cmp::Reverse((a.good, a.is_static, a.seen)), *addr));
        order.into_iter().map(|(_, addr)| addr).collect()
    }

    pub(super) fn info(&self, id: DeviceId) -> Option<LinkInfo> {
        // A device that was never reached is told of if it is known why.
        let never = (LinkId([0; 16]), 0);
        let (link, generation) = self.machine.link().or(self.machine.last_down().map(|_| never))?;
        Some(LinkInfo {
            peer: id,
            id: link,
            generation,
            presence: self.machine.presence(),
            resting: self.machine.is_resting(),
            address: self.at,
            dialled: self.current.get().is_some_and(|a| a.connection.side() == quinn::Side::Client),
            rtt: self.estimate.rtt(),
            loss_permille: self.estimate.loss_permille(),
            rate_bytes_per_s: self.estimate.rate_bytes_per_s(),
            bytes: self.estimate.bytes(),
            last_down: self.machine.last_down().map(str::to_owned),
        })
    }
}

impl Core {
    /// Only frames of authenticated packets are counted as heard: forged datagrams do not keep a dead peer alive.
    pub(super) fn poll(&self, id: DeviceId, peer: &mut Peer, now: Duration) {
        let Some(active) = peer.current.get() else { return };
        let stats = active.connection.stats();
        let frames = frames(&stats.frame_rx);
        if frames != peer.heard_frames {
            peer.heard_frames = frames;
            peer.machine.heard(now, active.key);
        }
        peer.machine.rtt(stats.path.rtt);
        peer.estimate.update(
            now,
            Counters {
                sent_packets: stats.path.sent_packets,
                lost_packets: stats.path.lost_packets,
                sent_bytes: stats.udp_tx.bytes,
                received_bytes: stats.udp_rx.bytes,
                cwnd: stats.path.cwnd,
                rtt: stats.path.rtt,
            },
        );
        let address = canonical(active.connection.remote_address());
        if peer.at.is_some_and(|at| at != address) {
            tracing::info!(peer = ?id, %address, "moved");
            peer.at = Some(address);
            peer.learn(address, false, now, true);
            self.tell(LinkEvent::Moved { peer: id, address });
            self.publish(id, peer.info(id));
        }
    }
}
