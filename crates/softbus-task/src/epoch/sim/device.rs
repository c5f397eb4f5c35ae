//! A device of the simulated world: its clock, its disk, and the task's instance.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use softbus_core::wire::task::{CheckpointRef, Fence};
use softbus_core::{BootMs, DeviceId, Domain, Hash, Sig, Signed, Signer};

use super::super::{Durable, TaskMachine, Trace};

pub(super) struct Key(ed25519_dalek::SigningKey, DeviceId);

impl Key {
    pub(super) fn of(index: usize) -> Arc<Self> {
        let mut seed = [7; 32];
        seed[0] = index as u8;
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        let id = DeviceId(key.verifying_key().to_bytes());
        Arc::new(Self(key, id))
    }
}

impl Signer for Key {
    fn id(&self) -> DeviceId {
        self.1
    }

    fn sign(&self, domain: Domain, body: &[u8]) -> Sig {
        use ed25519_dalek::Signer as _;
        Sig::from_bytes(self.0.sign(&domain.input(body)).to_bytes())
    }
}

/// What the task has said so far: one number for each effect. The state is nothing else.
pub(super) type History = Vec<u64>;

/// A boot clock: drifts, and begins anew when the device reboots.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    /// Parts per million, at most 1000 either way.
    pub(super) drift_ppm: i64,
    /// World time (µs) of the boot.
    pub(super) boot_us: u64,
    /// What it showed then.
    pub(super) start_ms: u64,
}

impl Clock {
    pub(super) fn read(&self, world_us: u64) -> BootMs {
        let passed = i128::from(world_us - self.boot_us);
        let local_us = passed + passed * i128::from(self.drift_ppm) / 1_000_000;
        BootMs(self.start_ms + (local_us / 1000) as u64)
    }

    /// World time (µs) when it shows `at`, or a little later.
    pub(super) fn when(&self, at: BootMs) -> u64 {
        let local_us = i128::from(at.0.saturating_sub(self.start_ms).min(1 << 50)) * 1000;
        let passed = local_us * 1_000_000 / (1_000_000 + i128::from(self.drift_ppm));
        self.boot_us + passed as u64 + 1
    }
}

/// The task's instance.
pub(super) struct Instance {
    pub(super) id: u64,
    pub(super) fence: Fence,
    pub(super) until: BootMs,
    pub(super) paused: bool,
    pub(super) stopping: bool,
    /// For whom it stops.
    pub(super) destination: Option<DeviceId>,
    pub(super) history: History,
    /// Sequence of the last checkpoint.
    pub(super) sequence: u64,
    pub(super) steps: u64,
}

#[derive(Default)]
pub(super) struct Disk {
    pub(super) record: Option<Durable>,
    /// Being written: (token, record).
    pub(super) writing: VecDeque<(u64, Durable)>,
    pub(super) last_due_us: u64,
    /// Checkpoints by manifest hash.
    pub(super) checkpoints: BTreeMap<Hash, (Signed, CheckpointRef, History)>,
    /// Those that are damaged; of those that nobody noticed yet there is still a copy.
    pub(super) damaged: BTreeSet<Hash>,
}

pub(super) struct Device {
    pub(super) key: Arc<Key>,
    pub(super) id: DeviceId,
    pub(super) clock: Clock,
    pub(super) up: bool,
    /// Frozen (suspended) until then; its clock goes on.
    pub(super) frozen_until_us: u64,
    /// Counts starts, so that what was meant for an earlier process is dropped.
    pub(super) life: u64,
    pub(super) machine: Option<TaskMachine>,
    pub(super) disk: Disk,
    pub(super) instance: Option<Instance>,
    /// What is left of the task after it was forgotten; on disk.
    pub(super) trace: Option<Trace>,
    /// Time of the wake asked for last.
    pub(super) wake: Option<BootMs>,
    /// Who it believes to be out of reach.
    pub(super) believed_lost: Vec<bool>,
    pub(super) slow_disk_us: u64,
    pub(super) failing_disk: bool,
    /// Effects that may leave, under which right and up to which number, though their checkpoint is lost just now.
    pub(super) let_out: Option<(softbus_core::wire::task::Fence, u64)>,
    /// Told to shut down.
    pub(super) draining: bool,
}

impl Device {
    /// Whether its instance takes steps now.
    pub(super) fn live(&self, world_us: u64) -> Option<Fence> {
        let instance = self.instance.as_ref().filter(|_| self.up)?;
        (!instance.paused && self.clock.read(world_us) < instance.until).then_some(instance.fence)
    }
}
