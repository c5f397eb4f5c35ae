use std::time::Duration;

use softbus_placement::{LeaseLimits, Preferences, Weights};

use crate::epoch::Tuning;

/// Settings of the task room.
#[derive(Clone, Debug)]
pub struct TasksConfig {
    /// How long between checkpoints of a running task, at least; more if they are costly.
    pub checkpoint_every: Duration,
    /// How many devices keep checkpoints of a task under policy `owner`, if there are so many.
    pub replicas: u8,
    /// Length of a runner's lease under policy `quorum`. A fail-over takes somewhat longer than this; below a
    /// second, ordinary hiccups of a network pause tasks.
    pub quorum_lease: Duration,
    /// Largest state of a task that is run or kept here, in bytes; by default half the machine's memory.
    pub state_bytes: u64,
    /// How many bytes of contents (the modules of programs) this device keeps, beside those in the states of tasks, so that
    /// they need not travel again with the next task; those used longest ago give way. 256 MiB by default; 0: none.
    pub content_bytes: u64,
    /// Whether the bus moves running tasks to better devices by itself.
    pub rebalance: bool,
    /// How long results and the traces of ended tasks are kept.
    pub keep_results: Duration,
    /// How long [`drain`](crate::Tasks::drain) waits for tasks to move away.
    pub drain_patience: Duration,
    /// How placement weighs things.
    pub weights: Weights,
    /// What this device's person wants of placement.
    pub wishes: Preferences,
    /// How much is promised to others at once.
    pub leases: LeaseLimits,
    /// Time spans of the epoch machines.
    pub tuning: Tuning,
}

impl Default for TasksConfig {
    fn default() -> Self {
        Self {
            checkpoint_every: Duration::from_millis(500),
            replicas: 1,
            quorum_lease: Duration::from_millis(1500),
            state_bytes: 0,
            content_bytes: 256 << 20,
            rebalance: true,
            keep_results: Duration::from_secs(7 * 24 * 3600),
            drain_patience: Duration::from_secs(20),
            weights: Weights::default(),
            wishes: Preferences::default(),
            leases: LeaseLimits::default(),
            tuning: Tuning::default(),
        }
    }
}
