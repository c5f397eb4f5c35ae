//! Checkpoints that travel: from whom they come, how much of them, and how long that takes.

use std::collections::VecDeque;

use softbus_core::wire::task::CheckpointRef;
use softbus_core::{DeviceId, Signed, TaskId};
use softbus_net::Presence;
use softbus_task::epoch::Event;

use super::order::JOB_NS;
use super::queue::GRAIN_NS;
use super::tasks::{CHUNK, Deed, Stored};
use super::world::{Index, NEVER, World};

/// Bytes that a pacer lets go at once, least and most (ten datagrams, and 256).
const BURST: (u64, u64) = (14_520, 371_712);
/// A congestion window grows no further than the windows of streams let it.
const WINDOW_MOST: u64 = 4 << 20;

impl World {
    /// Gets a checkpoint; gives its manifest if it is here.
    pub(super) fn fetch(
        &mut self,
        of: Index,
        task: TaskId,
        checkpoint: CheckpointRef,
        mut from: Vec<DeviceId>,
    ) -> Option<Signed> {
        let side = self.device(of).tasks.get(&task)?;
        if let Some((signed, _, _)) = side.checkpoints.get(&checkpoint.manifest) {
            return Some(signed.clone());
        }
        if side.fetching.contains(&checkpoint.manifest) {
            return None;
        }
        let had = !side.checkpoints.is_empty();
        let has_state = side.checkpoints.values().any(|(_, _, stored)| !stored.fresh);
        let run = self.device(of).run;
        let online = |id: &DeviceId| {
            let view = self.device(of).roster.as_ref().and_then(|roster| roster.view().get(id).cloned());
            match view.map(|entry| entry.presence) {
                Some(Presence::Online) => 0,
                Some(Presence::Suspect) => 1,
                _ => 2,
            }
        };
        from.sort_by_key(online);
        let (mut wait, mut source) = (0, None);
        for id in from.iter().filter(|id| **id != self.device(of).id) {
            let Some(other) = self.by_id.get(id).copied() else { continue };
            let has = self
                .device(other)
                .tasks
                .get(&task)
                .is_some_and(|side| side.checkpoints.contains_key(&checkpoint.manifest));
            let there = self.device(other).is_up() && self.ways.open(self.place(of), self.place(other));
            if there && has {
                source = Some(other);
                break;
            }
            // Who says nothing is not waited for long; who has it not says so.
            wait += match there {
                true => 4 * self.ways.latency_ns(self.device(of).segment, self.device(other).segment),
                false => 500_000_000,
            };
        }
        if let Some(side) = self.device_mut(of).tasks.get_mut(&task) {
            side.fetching.insert(checkpoint.manifest);
        }
        let at = match source {
            Some(other) => {
                let stored = self.device(other).tasks.get(&task).and_then(|side| {
                    side.checkpoints.get(&checkpoint.manifest).map(|(_, _, stored)| *stored)
                });
                let number = self.number_of.get(&task).copied().unwrap_or(0);
                let bytes = stored.map_or(0, |stored| self.travels(number, stored, has_state));
                wait + self.transfer_ns(of, other, bytes, had) + self.disk_ns(of) + self.disk_ns(other)
            }
            None => wait.max(JOB_NS),
        };
        self.later(self.now + at, Deed::Fetched { of, run, task, checkpoint, source });
        None
    }

    /// What of a checkpoint travels to one who has an earlier one, or none.
    fn travels(&self, number: usize, stored: Stored, had: bool) -> u64 {
        if stored.fresh || !had || stored.bytes <= CHUNK {
            return stored.bytes;
        }
        let hot = self.scenario.tasks[number].hot_bytes as u64;
        // Whole chunks, and the last one, where the progress is written.
        (hot.div_ceil(CHUNK) * CHUNK + CHUNK).min(stored.bytes)
    }

    /// From the request for a checkpoint to its last byte: a channel is opened, then asked on.
    fn transfer_ns(&mut self, of: Index, other: Index, bytes: u64, had: bool) -> u64 {
        let (here, there) = (self.device(of).segment, self.device(other).segment);
        let round = 2 * self.ways.latency_ns(here, there);
        let rate = self.ways.rate(there, here);
        let to = self.device(of).id;
        // Who has an earlier one is sent what is new at once; who has none asks for what it lacks.
        let mut took = if had { 2 * round } else { 3 * round };
        if let Some(peer) = self.device_mut(other).peer_mut(&to) {
            let (spread, window) = flow(bytes, peer.window, round);
            took += spread;
            peer.window = window;
        }
        let at_rate = rate.map_or(0, |rate| {
            u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(rate)).unwrap_or(NEVER)
        });
        self.figures.sent(bytes, true);
        self.device_mut(other).bytes.0 += bytes;
        self.device_mut(of).bytes.1 += bytes;
        took.max(2 * round + at_rate)
    }

    pub(super) fn fetched(
        &mut self,
        of: Index,
        run: u32,
        task: TaskId,
        checkpoint: CheckpointRef,
        source: Option<Index>,
    ) {
        if !self.lives(of, run) {
            return;
        }
        let there = source.filter(|source| {
            self.device(*source).is_up() && self.ways.open(self.place(of), self.place(*source))
        });
        let found = there.and_then(|source| {
            let side = self.device(source).tasks.get(&task)?;
            side.checkpoints.get(&checkpoint.manifest).map(|(signed, _, stored)| (signed.clone(), *stored))
        });
        let Some(side) = self.device_mut(of).tasks.get_mut(&task) else { return };
        side.fetching.remove(&checkpoint.manifest);
        let event = match found {
            Some((signed, stored)) => {
                side.keep(&signed, stored);
                Event::Fetched { manifest: signed }
            }
            None => Event::FetchFailed { manifest: checkpoint.manifest, ours: false },
        };
        self.feed(of, task, event);
    }
}

/// How long it takes until the last of so many bytes is sent, and the window then: what QUIC's congestion window and its
/// pacer let go, in steps of a grain of time. A burst goes at once, then a quarter more than the window each round trip
/// (the pacer of quinn, after RFC 9002, section 7.7); the window grows by what is acknowledged while there is more to send
/// than it lets (slow start, section 7.3.1), and stays when that is not so.
fn flow(bytes: u64, window: u64, round: u64) -> (u64, u64) {
    let (round, mut window) = (round.max(GRAIN_NS), window.max(1));
    // Headers, tags and frames.
    let bytes = bytes + bytes * 35 / 1000;
    let part =
        |of: u64, ns: u64| u64::try_from(u128::from(of) * u128::from(ns) / u128::from(round)).unwrap_or(of);
    let burst = |window: u64| part(window, 2 * GRAIN_NS).clamp(BURST.0, BURST.1);
    let (mut at, mut left, mut flying, mut tokens) = (0, bytes, 0, burst(window));
    let mut under_way: VecDeque<(u64, u64)> = VecDeque::new();
    while at < NEVER {
        while let Some((_, acknowledged)) = under_way.pop_front_if(|(sent, _)| *sent + round <= at) {
            flying -= acknowledged;
            window = (window + acknowledged).min(WINDOW_MOST);
        }
        let sent = left.min(tokens).min(window.saturating_sub(flying));
        (left, tokens, flying) = (left - sent, tokens - sent, flying + sent);
        if left == 0 {
            break;
        }
        if sent > 0 {
            under_way.push_back((at, sent));
        }
        at += GRAIN_NS;
        tokens = (tokens + part(window + window / 4, GRAIN_NS)).min(burst(window));
    }
    (at, window)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: u64 = 10_000_000;

    #[test]
    fn what_fits_into_a_burst_goes_at_once() {
        assert_eq!(flow(10_000, 12_000, ROUND), (0, 12_000));
        assert_eq!(flow(66_000, 1 << 20, ROUND), (0, 1 << 20));
    }

    #[test]
    fn a_window_opens_as_long_as_there_is_more_to_send() {
        let (first, grown) = flow(65_600, 12_000, ROUND);
        assert!((20_000_000..32_000_000).contains(&first), "two to three round trips, {first} ns");
        assert!((36_000..70_000).contains(&grown), "{grown}");
        let (again, _) = flow(65_600, grown, ROUND);
        assert!((5_000_000..13_000_000).contains(&again), "about one, {again} ns");
        assert_eq!(flow(1 << 30, 12_000, ROUND).1, WINDOW_MOST);
    }
}
