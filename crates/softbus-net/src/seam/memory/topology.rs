//! Segments and how they are joined. As long as none is set up, all hosts reach each other in the same way, and segments
//! only part who hears whose multicast.
//!
//! Joins are not transitive: two segments reach each other only if they are joined themselves. The way from a host to one
//! on a joined segment is the way of its segment, that of the join and that of the other segment, each with its own
//! losses and its own queue; between two hosts of one segment it is that segment's way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::conditions::Conditions;
use super::nat::Nat;
use super::net::HostId;

/// Most segments that can be set up, and most joins.
pub(super) const SEGMENTS: usize = 10_000;
/// Pieces of the longest way.
const PIECES: usize = 3;

/// A multicast domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Between any two of its hosts.
    pub way: Conditions,
    /// Whether the way's rate is shared by all of it, with one queue (radio), or is each pair's (switched cable).
    pub shared: bool,
    /// Whether multicast passes (guest networks often stop it): else discovery sees nothing.
    pub multicast: bool,
    /// The NAT box that it lies behind.
    pub nat: Option<Nat>,
}

impl Default for Segment {
    /// A calm switched network.
    fn default() -> Self {
        Self { way: Conditions::default(), shared: false, multicast: true, nat: None }
    }
}

/// Whose queue or burst it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum WayKey {
    /// Between two hosts, wherever they are.
    Between(HostId, HostId),
    /// Between two hosts, on this segment.
    Within(u32, HostId, HostId),
    /// All of a segment.
    Shared(u32),
    /// From one segment to another.
    Joined(u32, u32),
}

/// A piece of the way from one host to another.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) way: Conditions,
    pub(super) queue: WayKey,
    pub(super) burst: WayKey,
}

/// The whole way, at most [`PIECES`] of them.
#[derive(Clone, Copy, Default)]
pub(super) struct Way([Option<Piece>; PIECES]);

impl Way {
    pub(super) fn one(way: Conditions, key: WayKey) -> Self {
        Self([Some(Piece { way, queue: key, burst: key }), None, None])
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.0.iter().flatten()
    }

    pub(super) fn mtu_bytes(&self) -> usize {
        self.pieces().map(|piece| piece.way.mtu_bytes).min().unwrap_or(0)
    }
}

#[derive(Default)]
pub(super) struct Topology {
    /// What a segment is like that was not set up; without any, what every way is like.
    pub(super) everywhere: Conditions,
    segments: BTreeMap<u32, Segment>,
    /// By the lower and the higher segment.
    joins: BTreeMap<(u32, u32), Conditions>,
    cuts: BTreeSet<(u32, u32)>,
}

fn pair(a: u32, b: u32) -> (u32, u32) {
    (a.min(b), a.max(b))
}

impl Topology {
    /// Whether segments part who reaches whom.
    fn is_set_up(&self) -> bool {
        !self.segments.is_empty() || !self.joins.is_empty()
    }

    pub(super) fn segment(&self, segment: u32) -> Segment {
        let plain = Segment { way: self.everywhere, ..Segment::default() };
        self.segments.get(&segment).copied().unwrap_or(plain)
    }

    pub(super) fn set_segment(&mut self, segment: u32, settings: Segment) {
        assert!(self.segments.len() < SEGMENTS || self.segments.contains_key(&segment), "too many segments");
        self.segments.insert(segment, settings);
    }

    pub(super) fn join(&mut self, a: u32, b: u32, way: Option<Conditions>) {
        match way {
            Some(way) => {
                assert!(a != b, "segment {a} is joined with itself");
                assert!(
                    self.joins.len() < SEGMENTS || self.joins.contains_key(&pair(a, b)),
                    "too many joins"
                );
                self.joins.insert(pair(a, b), way);
            }
            None => {
                self.joins.remove(&pair(a, b));
            }
        }
    }

    pub(super) fn set_cut(&mut self, from: u32, to: u32, cut: bool) {
        if cut {
            assert!(self.cuts.len() < SEGMENTS || self.cuts.contains(&(from, to)), "too many cuts");
            self.cuts.insert((from, to));
        } else {
            self.cuts.remove(&(from, to));
        }
    }

    pub(super) fn mend_all(&mut self) {
        self.cuts.clear();
    }

    pub(super) fn is_cut(&self, from: u32, to: u32) -> bool {
        !self.cuts.is_empty() && self.cuts.contains(&(from, to))
    }

    /// Whether hosts of the one segment hear multicast of the other.
    pub(super) fn hears(&self, a: u32, b: u32) -> bool {
        a == b && self.segment(a).multicast && !self.is_cut(a, b)
    }

    /// The NAT box between hosts on `segment` and those elsewhere.
    pub(super) fn nat(&self, segment: u32) -> Option<Nat> {
        self.segments.get(&segment).and_then(|segment| segment.nat)
    }

    /// The way from one host to another; `None` if there is none.
    pub(super) fn way(&self, from: (HostId, u32), to: (HostId, u32)) -> Option<Way> {
        let ((host, here), (target, there)) = (from, to);
        if !self.is_set_up() {
            return Some(Way::one(self.everywhere, WayKey::Between(host, target)));
        }
        let within = |segment: u32| {
            let settings = self.segment(segment);
            let pair = WayKey::Within(segment, host, target);
            let queue = if settings.shared { WayKey::Shared(segment) } else { pair };
            Some(Piece { way: settings.way, queue, burst: pair })
        };
        if here == there {
            return Some(Way([within(here), None, None]));
        }
        let join = *self.joins.get(&pair(here, there))?;
        let key = WayKey::Joined(here, there);
        Some(Way([within(here), Some(Piece { way: join, queue: key, burst: key }), within(there)]))
    }
}

/// A limited rate, or bursts, of one piece of a way.
#[derive(Clone, Copy, Default)]
pub(super) struct WayState {
    /// Until when what was sent keeps it busy, since the network began.
    pub(super) busy: Duration,
    pub(super) bursting: bool,
}
