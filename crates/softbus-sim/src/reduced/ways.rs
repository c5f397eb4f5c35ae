//! The network: how long a message takes from one device to another, and whether it can be said at all.
//!
//! A way is that of the sender's segment, and if the receiver is on another one, of the join and of that segment on top,
//! as in the network in memory. Latency and jitter add up. A limited rate has a queue: a message takes its turn and
//! as long as its bytes take. Loss and bursts cost time instead of messages, as QUIC repeats what is lost: each loss that
//! chance brings adds a probe timeout, doubled for each one more in a row (RFC 9002, section 6.2).

use std::collections::BTreeMap;
use std::time::Duration;

use super::draw::Draw;
use crate::scenario::{Scenario, WaySpec};

/// Until the round-trip time is measured, the probe timeout of QUIC with an initial estimate of 100 ms.
pub(super) const FIRST_TIMEOUT_NS: u64 = 300_000_000;
/// A receiver may wait so long before it acknowledges: part of every probe timeout.
const ACK_DELAY_NS: u64 = 25_000_000;
/// Repetitions of one message; beyond, the way is as good as closed.
const REPEATS: u32 = 12;
/// Bytes in one datagram, for what a loss can hit.
const DATAGRAM: u64 = 1200;

pub(super) struct Ways {
    /// What each segment's way is now.
    segments: Vec<WaySpec>,
    shared: Vec<bool>,
    multicast: Vec<bool>,
    names: BTreeMap<String, usize>,
    joins: BTreeMap<(usize, usize), WaySpec>,
    /// Cuts overlap: a direction is open again when the last has ended.
    cuts: BTreeMap<(u32, u32), u32>,
    /// Until when a limited rate is taken, by segment (shared) or pair.
    busy: BTreeMap<(usize, u32, u32), u64>,
}

impl Ways {
    pub fn new(scenario: &Scenario) -> Self {
        let names: BTreeMap<String, usize> =
            scenario.segments.iter().enumerate().map(|(n, s)| (s.name.clone(), n)).collect();
        let mut joins = BTreeMap::new();
        for join in &scenario.joins {
            if let (Some(a), Some(b)) = (names.get(&join.between.0), names.get(&join.between.1)) {
                joins.insert((*a.min(b), *a.max(b)), join.way);
            }
        }
        Self {
            segments: scenario.segments.iter().map(|s| s.way).collect(),
            shared: scenario.segments.iter().map(|s| s.shared).collect(),
            multicast: scenario.segments.iter().map(|s| s.multicast).collect(),
            names,
            joins,
            cuts: BTreeMap::new(),
            busy: BTreeMap::new(),
        }
    }

    pub fn segment(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// Other weather; what it was.
    pub fn weather(&mut self, segment: usize, way: WaySpec) {
        if let Some(now) = self.segments.get_mut(segment) {
            *now = way;
        }
    }

    pub fn cut(&mut self, from: u32, to: u32) {
        *self.cuts.entry((from, to)).or_default() += 1;
    }

    pub fn mend(&mut self, from: u32, to: u32) {
        if let Some(count) = self.cuts.get_mut(&(from, to)) {
            *count -= 1;
            if *count == 0 {
                self.cuts.remove(&(from, to));
            }
        }
    }

    /// Whether something passes from the one to the other, each on its segment.
    pub fn open(&self, from: (u32, usize), to: (u32, usize)) -> bool {
        let uncut = self.cuts.is_empty() || !self.cuts.contains_key(&(from.0, to.0));
        uncut && self.pieces(from.1, to.1).is_some()
    }

    /// Whether the second hears the multicast of the first.
    pub fn hears(&self, speaker: (u32, usize), listener: (u32, usize)) -> bool {
        speaker.1 == listener.1
            && self.multicast.get(speaker.1).copied().unwrap_or(false)
            && self.open(speaker, listener)
    }

    fn pieces(&self, a: usize, b: usize) -> Option<[Option<(usize, WaySpec)>; 3]> {
        let own = |segment: usize| self.segments.get(segment).map(|way| (segment, *way));
        if a == b {
            return Some([own(a), None, None]);
        }
        let join = self.joins.get(&(a.min(b), a.max(b)))?;
        Some([own(a), Some((usize::MAX, *join)), own(b)])
    }

    /// The time that one way takes at least, jitter at its mean.
    pub fn latency_ns(&self, from: usize, to: usize) -> u64 {
        let pieces = self.pieces(from, to).into_iter().flatten().flatten();
        pieces.map(|(_, way)| ns(way.latency) + ns(way.jitter) / 2).sum()
    }

    /// Bytes per second that pass at most; `None` without a limit.
    pub fn rate(&self, from: usize, to: usize) -> Option<u64> {
        let pieces = self.pieces(from, to).into_iter().flatten().flatten();
        pieces.map(|(_, way)| way.rate_bytes_per_s).filter(|rate| *rate > 0).min()
    }

    /// When a message of so many bytes, sent now, has arrived; `None` if nothing passes.
    pub fn arrival(
        &mut self,
        now: u64,
        from: (u32, usize),
        to: (u32, usize),
        bytes: u64,
        draw: &mut Draw,
    ) -> Option<u64> {
        if !self.open(from, to) {
            return None;
        }
        let pieces = self.pieces(from.1, to.1)?;
        let mut through = now;
        let (mut travel, mut lossy) = (0, 0u64);
        for (segment, way) in pieces.iter().flatten() {
            if way.rate_bytes_per_s > 0 {
                let shared = self.shared.get(*segment).copied().unwrap_or(false);
                let key = if shared { (*segment, 0, 0) } else { (*segment, from.0, to.0) };
                let busy = self.busy.entry(key).or_default();
                let took = u128::from(bytes) * 1_000_000_000 / u128::from(way.rate_bytes_per_s);
                *busy = (*busy).max(now) + u64::try_from(took).unwrap_or(u64::MAX / 4);
                through = through.max(*busy);
            }
            travel += ns(way.latency) + draw.below(ns(way.jitter));
            if way.reorder_ppm > 0 && draw.ppm(way.reorder_ppm) {
                travel += draw.below(ns(way.latency) * 10);
            }
            lossy = 1_000_000 - (1_000_000 - lossy) * (1_000_000 - loss_ppm(way)) / 1_000_000;
        }
        let mut late = 0;
        if lossy > 0 {
            // The whole is there when its last datagram is: of many at once a loss is noticed by those after it.
            let loss = u32::try_from(lossy.min(1_000_000)).unwrap_or(1_000_000);
            let round = 2 * self.latency_ns(from.1, to.1);
            let mut timeout = round + ACK_DELAY_NS + round / 2;
            let datagrams = bytes.div_ceil(DATAGRAM).clamp(1, 8);
            let mut hit = (0..datagrams).any(|_| draw.ppm(loss));
            let mut repeats = 0;
            while hit && repeats < REPEATS {
                late += timeout;
                timeout *= 2;
                repeats += 1;
                hit = draw.ppm(loss);
            }
        }
        Some(through + travel + late)
    }
}

fn loss_ppm(way: &WaySpec) -> u64 {
    let burst = way.burst.map_or(0, |burst| {
        // The share of time that the chain of Gilbert and Elliott is in a burst.
        let (enter, leave) = (u64::from(burst.enter_ppm), u64::from(burst.leave_ppm));
        u64::from(burst.loss_ppm) * enter / (enter + leave).max(1)
    });
    (u64::from(way.loss_ppm) + burst).min(1_000_000)
}

/// In nanoseconds.
pub(super) fn ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
