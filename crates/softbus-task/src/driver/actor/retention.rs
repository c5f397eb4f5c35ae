//! How long the trace of a task that is over is kept. Counted on the boot clock while this device is on: a wall clock
//! that is set right, by days or years, erases nothing.

use std::time::Duration;

use softbus_core::BootMs;

use crate::limits;

/// Whether a task is over, as far as it concerns this device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// It is not.
    No,
    /// It is, but some who had a part in it did not say that they know.
    Untold,
    /// It is, and all know.
    Settled,
}

pub(super) struct Retention {
    over_ms: Option<u64>,
    counted: BootMs,
    /// What the disk knows.
    stored_ms: Option<u64>,
    /// For how long all have known, in this run of the program and awake.
    settled_ms: Option<u64>,
}

/// Longest time between two counts of a device that is awake, in milliseconds.
const AWAKE_STEP_MS: u64 = 60_000;

impl Retention {
    /// Goes on from what was stored.
    pub fn new(over_ms: Option<u64>, now: BootMs) -> Self {
        Self { over_ms, counted: now, stored_ms: over_ms, settled_ms: None }
    }

    /// Counts on, or begins anew if the task is not over after all. Returns what is to be stored, now and then.
    pub fn count(&mut self, end: End, now: BootMs) -> Option<Option<u64>> {
        let passed = now.0.saturating_sub(self.counted.0);
        self.counted = now;
        // It is counted every second or so: what is longer the device slept through, and nobody fetched anything.
        let awake = passed.min(AWAKE_STEP_MS);
        self.settled_ms = (end == End::Settled).then(|| self.settled_ms.map_or(0, |before| before + awake));
        self.over_ms =
            (end != End::No).then(|| self.over_ms.map_or(0, |before| before.saturating_add(passed)));
        let step_ms = u64::try_from(limits::RETENTION_STEP.as_millis()).unwrap_or(u64::MAX);
        let due = match (self.stored_ms, self.over_ms) {
            (Some(stored), Some(over)) => over >= stored.saturating_add(step_ms),
            (stored, over) => stored != over,
        };
        due.then(|| {
            self.stored_ms = self.over_ms;
            self.over_ms
        })
    }

    /// Whether it was over for `keep` when it was counted last. If some do not know it is kept longer, as they may only
    /// be asleep; and whoever has just heard of it has a while to fetch the result.
    pub fn is_past(&self, keep: Duration) -> bool {
        let Some(over) = self.over_ms.map(Duration::from_millis) else { return false };
        match self.settled_ms.map(Duration::from_millis) {
            None => over >= keep.max(limits::KNOW_UNSETTLED),
            Some(known) => {
                // A device that is never awake for long forgets in the end, too.
                let fetched = known >= keep.min(limits::FETCH_GRACE);
                over >= keep && (fetched || over >= keep.saturating_add(limits::KNOW_UNSETTLED))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

    /// Counts every minute after `from` up to `to`.
    fn awake(kept: &mut Retention, from: u64, to: u64) {
        for now in (from + 60_000..=to).step_by(60_000) {
            kept.count(End::Settled, BootMs(now));
        }
    }

    #[test]
    fn only_time_after_the_end_counts_across_restarts() {
        let mut kept = Retention::new(None, BootMs(5));
        assert_eq!(kept.count(End::No, BootMs(40 * HOUR)), None);
        assert!(!kept.is_past(Duration::ZERO), "it runs");
        assert_eq!(kept.count(End::Settled, BootMs(41 * HOUR)), Some(Some(0)), "the end is noted at once");
        assert_eq!(kept.count(End::Settled, BootMs(41 * HOUR + 1000)), None);
        assert_eq!(kept.count(End::Settled, BootMs(43 * HOUR)), Some(Some(2 * HOUR)));
        // The boot clock begins anew.
        let mut kept = Retention::new(Some(2 * HOUR), BootMs(7));
        assert_eq!(kept.count(End::Settled, BootMs(7 + HOUR)), Some(Some(3 * HOUR)));
        // A branch that counts more: it runs again.
        assert_eq!(kept.count(End::No, BootMs(8 + HOUR)), Some(None));
        assert_eq!(kept.count(End::Settled, BootMs(90 * HOUR)), Some(Some(0)));
    }

    #[test]
    fn it_is_kept_until_its_time_has_passed() {
        let mut kept = Retention::new(None, BootMs(0));
        kept.count(End::Settled, BootMs(0));
        awake(&mut kept, 0, 5 * HOUR);
        kept.count(End::Settled, BootMs(7 * 24 * HOUR - 1));
        assert!(!kept.is_past(KEEP));
        kept.count(End::Settled, BootMs(7 * 24 * HOUR));
        assert!(kept.is_past(KEEP));
    }

    #[test]
    fn those_who_sleep_have_more_time_and_whoever_wakes_late_some_to_fetch_the_result() {
        let mut kept = Retention::new(None, BootMs(0));
        for day in 0..30 {
            kept.count(End::Untold, BootMs(day * 24 * HOUR));
            assert!(!kept.is_past(KEEP), "day {day}");
        }
        let woken = 29 * 24 * HOUR + HOUR;
        kept.count(End::Settled, BootMs(woken));
        awake(&mut kept, woken, woken + 3 * HOUR);
        assert!(!kept.is_past(KEEP), "the last one heard of it three hours ago");
        let woken = woken + 20 * HOUR;
        kept.count(End::Settled, BootMs(woken));
        assert!(!kept.is_past(KEEP), "this device slept meanwhile");
        awake(&mut kept, woken, woken + HOUR);
        assert!(kept.is_past(KEEP));
        // Some never wake again.
        let mut kept = Retention::new(Some(30 * 24 * HOUR), BootMs(0));
        kept.count(End::Untold, BootMs(0));
        assert!(kept.is_past(KEEP));
        // Who has no part in it need not know it long.
        let mut kept = Retention::new(None, BootMs(0));
        kept.count(End::Settled, BootMs(0));
        kept.count(End::Settled, BootMs(60_000));
        assert!(kept.is_past(Duration::from_secs(60)));
    }
}
