use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};
use softbus_core::{BootMs, WallMs};

use crate::seam::Clock;

/// The clock that goes on while the machine sleeps.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT: ClockId = ClockId::Boottime;
/// Elsewhere the monotonic clock counts suspend (or nothing better is to be had).
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT: ClockId = ClockId::Monotonic;

/// The system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock(());

impl SystemClock {
    /// One of it.
    pub fn new() -> Self {
        Self(())
    }
}

fn nanos(time: Timespec) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000)
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

impl Clock for SystemClock {
    fn wall(&self) -> WallMs {
        // Before 1970 only while a clock was never set.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn boot(&self) -> BootMs {
        BootMs(nanos(clock_gettime(BOOT)) / 1_000_000)
    }

    /// The time that this thread had a processor: what other programs took away in between does not count.
    fn stopwatch_ns(&self) -> u64 {
        nanos(clock_gettime(ClockId::ThreadCPUTime))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward_and_know_the_century() {
        let clock = SystemClock::new();
        let (boot, watch) = (clock.boot(), clock.stopwatch_ns());
        assert!(clock.wall() > WallMs(1_700_000_000_000));
        assert!(clock.boot() >= boot);
        assert!(clock.stopwatch_ns() >= watch);
    }
}
