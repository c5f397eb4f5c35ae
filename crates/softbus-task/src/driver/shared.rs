//! What the actor of a task, its instance and the services that speak of it share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use softbus_core::wire::task::{Branch, Fence};
use softbus_core::wire::task_control::{Image, Move, MoveReason, STATUS_MOVES, TaskSecret};
use softbus_core::{DeviceId, Hash, TaskId};
use softbus_trust::Role;
use tokio::sync::{RwLock, RwLockReadGuard, broadcast, watch};
use tokio::time::Instant;

use super::access::GrantRef;
use super::warm::Warm;
use crate::checkpoint::{Places, TaskKey};
use crate::limits;
use crate::native::Effect;
use crate::status::TaskStatus;
use crate::store::{Checkpoint, TaskFile};

/// One task, as several parts of the driver see it.
pub(crate) struct TaskShared {
    pub task: TaskId,
    /// Held for reading while the disk stores chunks, and never while the network is waited for; erasing needs it for
    /// writing. What a transfer will still need is pinned meanwhile ([`TaskShared::pin`]).
    pub chunks: RwLock<()>,
    pub status: watch::Sender<Arc<TaskStatus>>,
    pub preview: watch::Sender<Option<Arc<Vec<u8>>>>,
    /// Effects that may leave, as they are released.
    pub effects: broadcast::Sender<Released>,
    /// How many wait for a checkpoint, after the actor's last turn.
    pub withheld: AtomicUsize,
    parts: Mutex<Parts>,
}

/// An effect that may leave, and the right under which.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Released {
    pub fence: Fence,
    pub effect: Arc<Effect>,
}

#[derive(Default)]
pub(crate) struct Parts {
    pub grant: Option<GrantRef>,
    pub key: Option<TaskKey>,
    pub checkpoints: BTreeMap<Hash, Arc<Checkpoint>>,
    /// Those of them of which the machine was not told yet: they are not erased.
    pub untold: BTreeSet<Hash>,
    /// The branch that this device goes along with.
    pub branch: Option<Branch>,
    /// Owner, holders and acceptors of the last decree.
    pub members: BTreeSet<DeviceId>,
    /// Those of them who decide its next epoch.
    pub acceptors: Vec<DeviceId>,
    /// Size of the certificates of its epochs.
    pub chain_bytes: usize,
    /// It was on so many devices that it moves no more, unless it is adopted.
    pub stuck: bool,
    /// Who first told of it, in this run of the program; `None`: it was submitted here or known before.
    pub told_by: Option<DeviceId>,
    /// Devices that were asked to fetch a checkpoint.
    pub invited: BTreeSet<DeviceId>,
    pub moves: Vec<Move>,
    /// The move that this device makes.
    pub leaving: Option<Leaving>,
    /// The move to this device.
    pub coming: Option<Coming>,
    /// What the running instance builds its next checkpoint on.
    pub snapshot: Option<Arc<Image>>,
    /// Chunks that are here though no checkpoint names them: of a transfer that was cut off.
    pub staged: BTreeSet<Hash>,
    /// The task is forgotten here: nothing more is stored of it.
    pub gone: bool,
    /// Images that are being fetched, by number: their chunks are not erased.
    pinned: BTreeMap<u64, Arc<[Hash]>>,
    /// The state of a hand-over to this device, as far as it is put together.
    pub warm: Option<Arc<Warm>>,
    /// Effects that watchers may lack.
    pub released: VecDeque<Released>,
    /// Bytes sent of checkpoints, to all.
    pub sent_bytes: u64,
    pub error: Option<String>,
    /// For how long the task has been over, as far as that is stored.
    pub over_ms: Option<u64>,
}

/// A move away from here.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub to: DeviceId,
    pub reason: MoveReason,
    pub began: Instant,
    /// The checkpoint that is sent now, and the how manyth that is.
    pub sending: Option<Hash>,
    pub rounds: u32,
    pub stopped: Option<Instant>,
    pub bytes: u64,
}

impl Leaving {
    /// It begins.
    pub fn new(to: DeviceId, reason: MoveReason) -> Self {
        Self { to, reason, began: Instant::now(), sending: None, rounds: 0, stopped: None, bytes: 0 }
    }

    /// The other device is asked to fetch this checkpoint.
    pub fn sends(&mut self, manifest: Hash) {
        if self.sending.replace(manifest) != Some(manifest) {
            self.rounds = self.rounds.saturating_add(1);
        }
    }
}

/// A move to here.
#[derive(Clone, Debug)]
pub(crate) struct Coming {
    pub from: DeviceId,
    pub reason: MoveReason,
    /// When the task stopped there, and when the move began, on our clock, as well as can be told.
    pub stopped: Instant,
    pub began: Instant,
    pub rounds: u32,
    pub bytes: u64,
}

impl TaskShared {
    pub fn new(status: TaskStatus) -> Arc<Self> {
        Arc::new(Self {
            task: status.id,
            chunks: RwLock::new(()),
            status: watch::Sender::new(Arc::new(status)),
            preview: watch::Sender::new(None),
            effects: broadcast::Sender::new(limits::EFFECTS),
            withheld: AtomicUsize::new(0),
            parts: Mutex::default(),
        })
    }

    pub fn parts(&self) -> MutexGuard<'_, Parts> {
        // Each change of the parts is whole by itself.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn grant(&self) -> Option<GrantRef> {
        self.parts().grant.clone()
    }

    /// What its submitter signed that it may have, as its runtime says it.
    pub fn terms(&self) -> Vec<u8> {
        self.grant().map(|grant| grant.grant.spec.terms.clone()).unwrap_or_default()
    }

    /// The right to store chunks, for as long as the disk takes. `None` once the task is forgotten.
    pub async fn store(&self) -> Option<RwLockReadGuard<'_, ()>> {
        let guard = self.chunks.read().await;
        (!self.parts().gone).then_some(guard)
    }

    /// Keeps chunks from being erased, those that are here and those to come, for as long as the pin is kept.
    pub fn pin(self: &Arc<Self>, chunks: &[Hash]) -> Pin {
        let mut parts = self.parts();
        let number = parts.pinned.last_key_value().map_or(0, |(last, _)| last + 1);
        parts.pinned.insert(number, chunks.into());
        Pin { shared: self.clone(), number }
    }

    /// Lets an effect out: to those who watch now, and to those who come later.
    pub fn release(&self, released: Released) {
        let mut parts = self.parts();
        parts.released.push_back(released.clone());
        let mut bytes: usize = parts.released.iter().map(|r| r.effect.bytes.len()).sum();
        while parts.released.len() > limits::EFFECTS || bytes > limits::EFFECT_BYTES {
            bytes -= parts.released.pop_front().map_or(0, |r| r.effect.bytes.len());
        }
        drop(parts);
        // Nobody watching is no fault.
        let _ = self.effects.send(released);
    }
}

/// See [`TaskShared::pin`].
pub(crate) struct Pin {
    shared: Arc<TaskShared>,
    number: u64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.shared.parts().pinned.remove(&self.number);
    }
}

impl Parts {
    /// Leaves those names that nothing needs: no checkpoint, no running instance, no transfer.
    pub fn unneeded(&self, mut names: BTreeSet<Hash>) -> BTreeSet<Hash> {
        let images = self.checkpoints.values().map(|c| &c.image).chain(self.snapshot.as_deref());
        let pinned = self.pinned.values().flat_map(|names| names.iter());
        for name in images.flat_map(|image| &image.chunks).chain(pinned) {
            names.remove(name);
        }
        names
    }

    /// Names of an image that do not stand at the same place in the latest one: others are needed in any case.
    pub fn not_in_latest(&self, image: &Image) -> Vec<Hash> {
        let newest = self.newest();
        let latest = self.snapshot.as_deref().or(newest.as_ref().map(|(_, checkpoint)| &checkpoint.image));
        let there = latest.map_or(&[][..], |latest| &latest.chunks);
        Places::changed(&image.chunks, there).names().copied().collect()
    }

    /// Leaves those of another task's chunks that this one has no use for, not even to go on with a transfer.
    pub fn without_own(&self, names: BTreeSet<Hash>) -> BTreeSet<Hash> {
        &self.unneeded(names) - &self.staged
    }

    /// The task's file, with its key wrapped as `key`.
    pub fn file(&self, key: Vec<u8>) -> Option<TaskFile> {
        let grant = self.grant.as_ref()?.signed.clone();
        let (moves, error) = (self.moves.clone(), self.error.clone());
        Some(TaskFile { grant, key, moves, error, over_ms: self.over_ms })
    }

    /// Drops every checkpoint that needs a chunk which is damaged, and names them. Their other chunks are good for a
    /// fetch.
    pub fn forget_chunk(&mut self, name: &Hash) -> Vec<Hash> {
        let needs = |checkpoint: &Checkpoint| checkpoint.image.chunks.contains(name);
        let all = self.checkpoints.iter().filter(|(_, checkpoint)| needs(checkpoint));
        let lost: Vec<Hash> = all.map(|(manifest, _)| *manifest).collect();
        for manifest in &lost {
            let chunks = self.checkpoints.remove(manifest).map(|checkpoint| checkpoint.image.chunks.clone());
            self.staged.extend(chunks.unwrap_or_default());
        }
        self.staged.remove(name);
        lost
    }

    pub fn add_move(&mut self, moved: Move) {
        if self.moves.len() >= STATUS_MOVES {
            self.moves.remove(0);
        }
        self.moves.push(moved);
    }

    /// The secret, if `device` may have it: it may run the task, or read its result.
    pub fn secret_for(&self, device: &DeviceId, role: Option<Role>, reads: bool) -> Option<TaskSecret> {
        let grant = self.grant.as_ref()?;
        (grant.may_run(device, role) || reads).then(|| self.key.as_ref().map(|k| TaskSecret(**k.secret())))?
    }

    /// The newest checkpoint whose chunks are here.
    pub fn newest(&self) -> Option<(Hash, Arc<Checkpoint>)> {
        let all = self.checkpoints.iter().filter_map(|(hash, checkpoint)| {
            let manifest = crate::epoch::manifest::parse(&checkpoint.manifest.body).ok()?;
            Some(((manifest.epoch, manifest.sequence), (*hash, checkpoint.clone())))
        });
        all.max_by_key(|(order, _)| *order).map(|(_, found)| found)
    }
}

#[cfg(test)]
mod tests {
    use softbus_core::wire::task_control::ImageKind;

    use super::*;

    #[test]
    fn what_a_task_needs_for_any_reason_is_not_erased_for_another() {
        let hash = |n: u8| Hash([n; 32]);
        let image = |n: u8| Image { kind: ImageKind::Output, len: 1, chunks: vec![hash(n)] };
        let mut parts = Parts { snapshot: Some(Arc::new(image(2))), ..Parts::default() };
        let manifest = softbus_core::Signed::new(
            &softbus_trust::DeviceKey::from_seed(&[1; 32]),
            softbus_core::Domain::GRANT,
            Vec::new(),
        );
        parts.checkpoints.insert(hash(9), Arc::new(Checkpoint { manifest, image: image(1) }));
        parts.pinned.insert(0, [hash(3)].into());
        parts.staged.insert(hash(4));
        let names: BTreeSet<Hash> = (1..=5).map(hash).collect();
        assert_eq!(parts.without_own(names.clone()), [hash(5)].into());
        // Of its own, what is only staged may go.
        assert_eq!(parts.unneeded(names), [hash(4), hash(5)].into());
    }
}
