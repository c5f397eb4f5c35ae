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
    /// Since when all know, in this run of the program.
    settled: Option<BootMs>,
}

impl Retention {
    /// Goes on from what was stored.
    pub fn new(over_ms: Option<u64>, now: BootMs) -> Self {
        Self { over_ms, counted: now, stored_ms: over_ms, settled: None }
    }

    /// Counts on, or begins anew if the task is not over after all. Returns what is to be stored, now and then.
    pub fn count(&mut self, end: End, now: BootMs) -> Option<Option<u64>> {
        let passed = now.0.saturating_sub(self.counted.0);
        self.counted = now;
        self.settled = self.settled.or(Some(now)).filter(|_| end == End::Settled);
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
        match self.settled {
            None => over >= keep.max(limits::KNOW_UNSETTLED),
            Some(since) => over >= keep && self.counted.since(since) >= keep.min(limits::FETCH_GRACE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

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
        kept.count(End::Settled, BootMs(woken + 3 * HOUR));
        assert!(!kept.is_past(KEEP), "the last one heard of it three hours ago");
        kept.count(End::Settled, BootMs(woken + 4 * HOUR));
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
