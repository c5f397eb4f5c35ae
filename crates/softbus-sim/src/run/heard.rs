//! What is known of the run so far, by everybody who listens: devices' events, orders and how they go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use softbus_core::{CircleId, DeviceId, TaskId};

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
    /// When a device last went or came undisturbed by anything else, for presence times.
    pub went_us: BTreeMap<usize, u64>,
    pub came_us: BTreeMap<usize, u64>,
    /// Who has noticed that since.
    pub noticed: BTreeSet<(usize, usize)>,
    pub presence_us: Vec<u64>,
    pub discovery_us: Vec<u64>,
    pub pairing_us: Vec<u64>,
    pub faults: BTreeMap<String, u64>,
    /// When something last disturbed anybody.
    pub disturbed_us: u64,
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
    pub placed: Option<Placed>,
}

impl Heard {
    pub fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    /// A device is gone from now on, for good or a while; `None`: something else is wrong with it, too.
    pub fn went(&mut self, device: usize, at_us: Option<u64>) {
        self.came_us.remove(&device);
        self.forget_noticed(device);
        match at_us {
            Some(at_us) => self.went_us.insert(device, at_us),
            None => self.went_us.remove(&device),
        };
    }

    /// A device is back, or there for the first time.
    pub fn came(&mut self, device: usize, at_us: u64) {
        self.went_us.remove(&device);
        self.forget_noticed(device);
        self.came_us.insert(device, at_us);
    }

    fn forget_noticed(&mut self, device: usize) {
        self.noticed.retain(|(_, about)| *about != device);
    }

    /// One device noticed that another went or came: how long it took, if that was the first time, and nothing else has
    /// disturbed anybody since.
    pub fn notice(&mut self, who: usize, about: usize, gone: bool, now_us: u64) {
        let since = if gone { self.went_us.get(&about) } else { self.came_us.get(&about) };
        let Some(since) = since.copied().filter(|since| self.disturbed_us <= *since) else { return };
        if self.noticed.insert((who, about)) {
            self.presence_us.push(now_us - since);
        }
    }

    pub fn fault(&mut self, name: &str, at_us: u64) {
        *self.faults.entry(name.to_owned()).or_default() += 1;
        self.disturbed_us = self.disturbed_us.max(at_us);
    }
}
