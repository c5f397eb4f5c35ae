//! What runs on a device.

use softbus_core::Promised;

use super::world::{Index, World};

/// The task type of all work, as in the full simulator.
pub(super) const TASK_TYPE: &str = "sim-work/1";

/// What a device tells of the work on it.
#[derive(Clone, Copy, Default)]
pub(super) struct Running {
    pub tasks: u16,
    pub queued_ops: u64,
    pub promised: Promised,
}

impl World {
    pub(super) fn running(&self, _of: Index) -> Running {
        Running::default()
    }
}
