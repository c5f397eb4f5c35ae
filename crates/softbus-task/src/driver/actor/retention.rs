//! How long the trace of a task that is over is kept. Counted on the boot clock while this device is on: a wall clock
//! that is set right, by days or years, erases nothing.

use std::time::Duration;

use softbus_core::BootMs;

use crate::limits;

pub(super) struct Retention {
    over_ms: Option<u64>,
    counted: BootMs,
    /// What the disk knows.
    stored_ms: Option<u64>,
}

impl Retention {
    /// Goes on from what was stored.
    pub fn new(over_ms: Option<u64>, now: BootMs) -> Self {
        Self { over_ms, counted: now, stored_ms: over_ms }
    }

    /// Counts on, or begins anew if the task is not over after all. Returns what is to be stored, now and then.
    pub fn count(&mut self, over: bool, now: BootMs) -> Option<Option<u64>> {
        let passed = now.0.saturating_sub(self.counted.0);
        self.counted = now;
        self.over_ms = over.then(|| self.over_ms.map_or(0, |before| before.saturating_add(passed)));
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

    /// For how long it has been over.
    pub fn over_for(&self) -> Option<Duration> {
        self.over_ms.map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn only_time_after_the_end_counts_across_restarts() {
        let mut kept = Retention::new(None, BootMs(5));
        assert_eq!(kept.count(false, BootMs(40 * HOUR)), None);
        assert_eq!(kept.over_for(), None, "it runs");
        assert_eq!(kept.count(true, BootMs(41 * HOUR)), Some(Some(0)), "the end is noted at once");
        assert_eq!(kept.count(true, BootMs(41 * HOUR + 1000)), None);
        assert_eq!(kept.count(true, BootMs(43 * HOUR)), Some(Some(2 * HOUR)));
        // The boot clock begins anew.
        let mut kept = Retention::new(Some(2 * HOUR), BootMs(7));
        assert_eq!(kept.count(true, BootMs(7 + HOUR)), Some(Some(3 * HOUR)));
        assert_eq!(kept.over_for(), Some(Duration::from_millis(3 * HOUR)));
        // A branch that counts more: it runs again.
        assert_eq!(kept.count(false, BootMs(8 + HOUR)), Some(None));
        assert_eq!(kept.count(true, BootMs(90 * HOUR)), Some(Some(0)));
    }
}
