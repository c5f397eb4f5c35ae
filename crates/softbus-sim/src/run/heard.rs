//! What is known of the run so far, by everybody who listens: devices' events, orders and how they go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use softbus_core::{CircleId, DeviceId, TaskId};

use crate::noticed::Noticed;
use crate::program::Expected;
use crate::record::Placed;

/// Shared by all who listen in one run.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<All>>);

#[derive(Default)]
pub(super) struct All {
    pub devices: BTreeMap<DeviceId, usize>,
    pub orders: Vec<Order>,
    pub by_task: BTreeMap<TaskId, usize>,
    /// The circles that are there, by their names.
    pub circles: BTreeMap<String, CircleId>,
    /// Presence times, and when something last disturbed anybody.
    pub noticed: Noticed,
    pub discovery_us: Vec<u64>,
    pub pairing_us: Vec<u64>,
    pub faults: BTreeMap<String, u64>,
    /// When each device's program last started, and when any did: rosters change by it.
    pub started_us: BTreeMap<usize, u64>,
    pub changed_us: u64,
    /// Faults that last: of the network, and all.
    pub lasting: (usize, usize),
}

/// A piece of work that was ordered.
#[derive(Clone, Default)]
pub(super) struct Order {
    pub submitted_us: Option<u64>,
    pub task: Option<TaskId>,
    pub accepted_us: Option<u64>,
    pub done_us: Option<u64>,
    /// How it ended, or why it could not be submitted so far.
    pub said: Option<String>,
    pub cancelled: bool,
    /// The run of its submitter's program that submitted it.
    pub run: u64,
    pub placed: Option<Placed>,
    /// Of a program: what comes of it if nothing disturbs it.
    pub expected: Option<Arc<Expected>>,
}

impl Heard {
    pub fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    pub fn fault(&mut self, name: &str, at_us: u64) {
        *self.faults.entry(name.to_owned()).or_default() += 1;
        self.noticed.disturb(at_us);
    }
}
