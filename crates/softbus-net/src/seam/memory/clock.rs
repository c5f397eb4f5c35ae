use std::sync::Mutex;
use std::time::Duration;

use softbus_core::{BootMs, WallMs};
use tokio::time::Instant;

use super::lock;
use crate::seam::Clock;

/// 2026-01-01T00:00:00Z, when every virtual world begins.
pub const BEGINNING_MS: u64 = 1_767_225_600_000;
/// What the boot clock shows after power on.
const POWER_ON_US: u64 = 5_000_000;

/// Wall and boot clock that follow `tokio::time`, at a settable pace, and jump when told.
#[derive(Debug)]
pub struct VirtualClock(Mutex<State>);

#[derive(Debug)]
struct State {
    /// When the values below were right.
    since: Instant,
    wall_us: u64,
    boot_us: u64,
    drift_ppm: i64,
}

impl VirtualClock {
    /// Shows the beginning of 2026 now.
    #[allow(clippy::new_without_default)] // it reads tokio's clock
    pub fn new() -> Self {
        let state =
            State { since: Instant::now(), wall_us: BEGINNING_MS * 1000, boot_us: POWER_ON_US, drift_ppm: 0 };
        Self(Mutex::new(state))
    }

    /// Goes faster (or slower, if negative) than true time by this many parts per million, both clocks alike.
    pub fn set_drift_ppm(&self, drift_ppm: i64) {
        self.change(|state| state.drift_ppm = drift_ppm.clamp(-900_000, 900_000));
    }

    /// The wall clock jumps by so many milliseconds (somebody set it, or NTP did).
    pub fn jump_wall(&self, by_ms: i64) {
        self.change(|state| state.wall_us = state.wall_us.saturating_add_signed(by_ms.saturating_mul(1000)));
    }

    /// The device slept so long: both clocks went on, `tokio::time` did not. (While a host sleeps by
    /// [`Host::sleep`](super::Host::sleep) all three go on, and this is not called for it.)
    pub fn suspend(&self, slept: Duration) {
        let slept = u64::try_from(slept.as_micros()).unwrap_or(u64::MAX);
        self.change(|state| {
            state.wall_us = state.wall_us.saturating_add(slept);
            state.boot_us = state.boot_us.saturating_add(slept);
        });
    }

    pub(super) fn reboot(&self) {
        self.change(|state| state.boot_us = POWER_ON_US);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.0);
        state.settle();
        change(&mut state);
    }
}

impl State {
    /// Brings the values to now.
    fn settle(&mut self) {
        let now = Instant::now();
        let passed = i64::try_from(now.duration_since(self.since).as_micros()).unwrap_or(i64::MAX);
        let shown = i128::from(passed) * i128::from(1_000_000 + self.drift_ppm) / 1_000_000;
        let shown = u64::try_from(shown).unwrap_or(0);
        self.wall_us = self.wall_us.saturating_add(shown);
        self.boot_us = self.boot_us.saturating_add(shown);
        self.since = now;
    }
}

impl Clock for VirtualClock {
    fn wall(&self) -> WallMs {
        let mut state = lock(&self.0);
        state.settle();
        WallMs(state.wall_us / 1000)
    }

    fn boot(&self) -> BootMs {
        let mut state = lock(&self.0);
        state.settle();
        BootMs(state.boot_us / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn drifts_jumps_and_sleeps() {
        let clock = VirtualClock::new();
        assert_eq!(clock.wall(), WallMs(BEGINNING_MS));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.boot(), BootMs(15_000));
        clock.set_drift_ppm(100_000);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.boot(), BootMs(26_000));
        clock.jump_wall(-21_000);
        assert_eq!(clock.wall(), WallMs(BEGINNING_MS));
        clock.suspend(Duration::from_secs(5));
        assert_eq!((clock.wall(), clock.boot()), (WallMs(BEGINNING_MS + 5000), BootMs(31_000)));
    }
}
