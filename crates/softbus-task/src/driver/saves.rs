//! Checkpoints that are kept for a while for whoever saves them to a file, though the task has newer ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use softbus_core::{DeviceId, Hash, TaskId};
use tokio::time::sleep;

use super::Inner;
use super::actor::Input;
use super::shared::{Pin, TaskShared};
use crate::store::Checkpoint;
use crate::{TaskError, limits};

/// Which checkpoint, and for whom.
type Key = (TaskId, Hash, DeviceId);

#[derive(Default)]
pub(crate) struct Saves(Mutex<BTreeMap<Key, (u64, Arc<Kept>)>>);

/// A checkpoint whose chunks stay on the disk for as long as this is held.
pub(crate) struct Kept {
    pub checkpoint: Arc<Checkpoint>,
    _pin: Pin,
}

impl Saves {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, (u64, Arc<Kept>)>> {
        // Whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a checkpoint for a device, for [`limits::SAVE_KEEP`].
    pub fn keep(
        &self,
        inner: &Arc<Inner>,
        shared: &Arc<TaskShared>,
        device: DeviceId,
        manifest: Hash,
        checkpoint: Arc<Checkpoint>,
        pin: Pin,
    ) -> Result<(), TaskError> {
        let key = (shared.task, manifest, device);
        let mut all = self.all();
        if !all.contains_key(&key) && all.len() >= limits::SAVES {
            return Err(TaskError::Limit("checkpoints that are kept to be saved"));
        }
        let number = all.get(&key).map_or(0, |(number, _)| number + 1);
        let before = all.insert(key, (number, Arc::new(Kept { checkpoint, _pin: pin })));
        drop(all);
        // Not while others wait for the map: it takes the task's parts.
        drop(before);
        let (spawner, inner, shared) = (inner.clone(), inner.clone(), shared.clone());
        spawner.spawn(async move {
            sleep(limits::SAVE_KEEP).await;
            inner.saves.end(&inner, &shared, key, number).await;
        });
        Ok(())
    }

    /// The checkpoint that is kept for a device, if it is.
    pub fn get(&self, task: TaskId, manifest: Hash, device: DeviceId) -> Option<Arc<Kept>> {
        self.all().get(&(task, manifest, device)).map(|(_, kept)| kept.clone())
    }

    /// Keeps it no longer, unless it was wanted once more since. A transfer under way ends in peace.
    async fn end(&self, inner: &Inner, shared: &Arc<TaskShared>, key: Key, number: u64) {
        let kept = {
            let mut all = self.all();
            if all.get(&key).is_none_or(|(newest, _)| *newest != number) {
                return;
            }
            all.remove(&key)
        };
        let Some((_, kept)) = kept else { return };
        // What no checkpoint names any more is erased at the next sweep.
        let chunks = kept.checkpoint.image.chunks.clone();
        drop(kept);
        {
            let mut parts = shared.parts();
            if parts.gone {
                return;
            }
            parts.staged.extend(chunks);
        }
        if let Some(actor) = inner.actor(shared.task) {
            let _ = actor.inbox.send(Input::Sweep).await;
        }
    }
}
