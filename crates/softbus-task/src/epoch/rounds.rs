//! How often a task's state is sent ahead before it stops: iterative pre-copy (Clark et al., "Live Migration of Virtual
//! Machines", NSDI 2005). Pure.
//!
//! What a round sends is what changed while the round before travelled, so each is shorter than the one before, as long as the link
//! carries more than the task changes. What the last one took is the estimate of the downtime. Where rounds do not get shorter
//! the task gets a smaller share of its processor, until they do, or it has so little that stopping it makes no difference.

use std::time::Duration;

use softbus_core::BootMs;

/// A round that carried less is worth no other, in bytes: what follows it will take no longer than its messages.
pub const WORTH_BYTES: u64 = 1 << 20;
/// Nor is one that took no longer: so long a task may stand still.
pub const SHORT: Duration = Duration::from_millis(30);
/// Most rounds.
pub const MOST: u32 = 10;
/// No further round begins after this, or after so many times what the first took: the task may be over before it is anywhere.
pub const WORTH: Duration = Duration::from_secs(5);
/// See [`WORTH`].
pub const WORTH_FIRST: u32 = 4;
/// Least share of its processor that a task is left, in thousandths.
pub const LEAST_SHARE: u16 = 125;

/// The rounds of one hand-over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rounds {
    move_began: BootMs,
    began: BootMs,
    /// Bytes sent in all when this round began.
    sent_before: u64,
    first: Option<Duration>,
    /// What the round before carried, in bytes.
    last_bytes: Option<u64>,
    count: u32,
    share: u16,
}

/// What comes after a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// The task stops, unless something newer is at hand and this was the first.
    Short,
    /// The task stops.
    Stop,
    /// Another round, with the task at this share of its processor, in thousandths.
    Again { share: u16 },
}

impl Rounds {
    /// The first begins.
    pub fn new(now: BootMs) -> Self {
        Self {
            move_began: now,
            began: now,
            sent_before: 0,
            first: None,
            last_bytes: None,
            count: 0,
            share: 1000,
        }
    }

    /// The next one begins.
    pub fn begin(&mut self, now: BootMs) {
        self.began = now;
    }

    /// The task's share of its processor, in thousandths.
    pub fn share(&self) -> u16 {
        self.share
    }

    /// A round ended, when so many bytes were sent in all.
    pub fn ended(&mut self, now: BootMs, sent: u64) -> Next {
        let took = now.since(self.began);
        let bytes = sent.saturating_sub(self.sent_before);
        let first = *self.first.get_or_insert(took);
        let shrinks = self.last_bytes.is_none_or(|last| bytes <= last / 2);
        (self.sent_before, self.last_bytes) = (sent, Some(bytes));
        self.count += 1;
        if bytes < WORTH_BYTES {
            return Next::Short;
        }
        let late = now.since(self.move_began) > WORTH.max(first * WORTH_FIRST);
        if took <= SHORT || self.count >= MOST || late {
            return Next::Stop;
        }
        if !shrinks {
            if self.share <= LEAST_SHARE {
                return Next::Stop;
            }
            self.share /= 2;
        }
        Next::Again { share: self.share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// What rounds carry, in MiB, over a link of so many MiB per second, for a task that changes so many per second at full share,
    /// of a state of so many.
    fn rounds(state: u64, link: u64, changes: u64) -> (Vec<u64>, Vec<u16>, Next) {
        let mut now = 1000;
        let mut rounds = Rounds::new(BootMs(now));
        let (mut sent, mut bytes) = (0, state * MIB);
        let (mut carried, mut shares) = (Vec::new(), Vec::new());
        loop {
            let took = bytes * 1000 / (link * MIB);
            (now, sent) = (now + took, sent + bytes);
            carried.push(bytes / MIB);
            match rounds.ended(BootMs(now), sent) {
                Next::Again { share } => {
                    shares.push(share);
                    bytes = (changes * MIB * took / 1000 * u64::from(share) / 1000).min(state * MIB);
                    rounds.begin(BootMs(now));
                }
                next => return (carried, shares, next),
            }
        }
    }

    #[test]
    fn rounds_get_shorter_until_little_is_left() {
        let (carried, shares, next) = rounds(64, 20, 5);
        assert_eq!((&carried[..3], next), (&[64, 16, 4][..], Next::Short));
        assert!(carried.last() < Some(&1) && shares.iter().all(|share| *share == 1000), "{carried:?}");
        // So little that it is not worth a word.
        assert_eq!(rounds(0, 1, 1), (vec![0], vec![], Next::Short));
        // Over a link on which it makes no difference.
        assert_eq!(rounds(20, 1000, 900), (vec![20], vec![], Next::Stop));
    }

    #[test]
    fn a_task_that_changes_more_than_the_link_carries_is_slowed_and_never_stuck() {
        let (carried, shares, next) = rounds(64, 10, 15);
        assert!(shares.contains(&250) && next != Next::Stop, "{carried:?} {shares:?}");
        // Even one that changes everything all the time.
        let (carried, shares, next) = rounds(64, 10, 10_000);
        assert_eq!((shares.last(), next), (Some(&LEAST_SHARE), Next::Stop), "{carried:?}");
        assert!(carried.len() <= 6 && shares.iter().all(|share| *share >= LEAST_SHARE));
    }

    #[test]
    fn rounds_end() {
        // Each is half of the one before, for ever so long.
        let (carried, _, next) = rounds(100_000, 100, 49);
        assert!(next == Next::Stop && carried.len() as u32 <= MOST, "{carried:?}");
    }
}
