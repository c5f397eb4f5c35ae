//! Time spans and bounds of the epoch machines, by name (law 3).

use std::time::Duration;

/// Fastest two clocks may drift apart, as a divisor: each may be wrong by 1/1000 either way.
pub const DRIFT_DIVISOR: u32 = 500;
/// Part of ε that does not depend on the lease's length: granularity of timers and of the boot clock.
pub const EPSILON_FLOOR_MS: u64 = 50;
/// How often a lease is renewed within its length.
pub const RENEWALS_PER_LEASE: u64 = 4;
/// Most outgoing actions kept back while a record is written; beyond it messages are dropped (they are repeated).
pub const HELD_BACK: usize = 512;
/// Crashes (or failed restores) of the instance without any progress before quarantine.
pub const FAILURES: u8 = 3;
/// Starts of the instance without any new checkpoint, whatever the cause, before quarantine.
pub const STARTS: u8 = 8;
/// Most fenced branches remembered.
pub const FORK_NOTES: usize = 8;
/// Most devices in a preference list that are looked at.
pub const PREFERENCES: usize = 64;
/// Most peers whose absence is remembered.
pub const LOST_PEERS: usize = 64;

/// Time spans of one machine, in milliseconds where not a [`Duration`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// First wait before a message is repeated.
    pub retry: Duration,
    /// Longest wait before a message is repeated.
    pub retry_max: Duration,
    /// Before each holder tries to take over, it waits this long times its rank.
    pub stagger: Duration,
    /// A hand-over is called off if the destination says nothing for so long.
    pub prepare_silence: Duration,
    /// A hand-over is called off if the task stands still for so long before it is decided.
    pub stop_limit: Duration,
    /// A holder that is out of reach for so long is replaced, if another device can be.
    pub replace_after: Duration,
    /// Under policy `owner`: how long a finished task waits for holders to store its result.
    pub finish_patience: Duration,
    /// One safeguard left out, to prove that the tests notice.
    #[cfg(any(test, feature = "sabotage"))]
    pub sabotage: Option<super::sabotage::Sabotage>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            retry: Duration::from_millis(150),
            retry_max: Duration::from_secs(20),
            stagger: Duration::from_millis(120),
            prepare_silence: Duration::from_secs(10),
            stop_limit: Duration::from_secs(30),
            replace_after: Duration::from_secs(10),
            finish_patience: Duration::from_secs(5),
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: None,
        }
    }
}

/// ε of a lease of this length: what the owner stops earlier, and others wait longer.
pub fn epsilon(lease_ms: u32) -> Duration {
    Duration::from_millis(u64::from(lease_ms / DRIFT_DIVISOR) + EPSILON_FLOOR_MS)
}
