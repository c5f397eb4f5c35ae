//! The state of a hand-over to this device, which is put together in memory while the task still runs elsewhere.
//!
//! Whoever has something for it adds that: transfers the pieces that they bring, the actor what is on disk already,
//! and the instance that begins what is still missing then. None of them takes it away from the others, and what one of
//! them fails to bring leaves it as it was.

use std::sync::Arc;

use softbus_core::Hash;
use softbus_core::wire::task::Manifest;
use softbus_core::wire::task_control::Image;
use softbus_net::seam::Lane;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::Inner;
use super::instance::CHUNK_OPS;
use crate::checkpoint::{Assembled, Assembly, Places, TaskKey};
use crate::{TaskError, limits};

/// A state that is put together in memory.
pub(crate) struct Warm {
    pub since: Instant,
    /// Held while something is added.
    state: Mutex<Option<State>>,
}

struct State {
    assembly: Assembly,
    /// Of the checkpoint that it is to become: epoch and sequence.
    newest: (u64, u64),
}

impl Warm {
    /// Begins now, with nothing.
    pub fn begin() -> Arc<Self> {
        Arc::new(Self { since: Instant::now(), state: Mutex::new(None) })
    }

    /// It is to become this checkpoint, unless it is to become a newer one already. What both have in common stays.
    pub async fn aim(&self, manifest: &Manifest, image: &Image) {
        let _state = self.aimed((manifest.epoch.0, manifest.sequence), image).await;
    }

    async fn aimed(&self, newest: (u64, u64), image: &Image) -> MutexGuard<'_, Option<State>> {
        let mut slot = self.state.lock().await;
        match &mut *slot {
            Some(state) if newest < state.newest => {}
            Some(state) => {
                state.newest = newest;
                state.assembly.retarget(image.clone());
            }
            None => *slot = Some(State { assembly: Assembly::new(image.clone()), newest }),
        }
        slot
    }

    /// Adds the pieces that have their place in it; the others do no harm.
    pub async fn add(
        &self,
        inner: &Inner,
        key: &TaskKey,
        places: &Arc<Places>,
        pieces: Arc<Vec<(Hash, Vec<u8>)>>,
    ) -> Result<(), TaskError> {
        let mut slot = self.state.lock().await;
        let Some(State { mut assembly, newest }) = slot.take() else { return Ok(()) };
        let (key, places) = (key.clone(), places.clone());
        let ops = CHUNK_OPS * pieces.len() as u64;
        // Not behind the long steps of other tasks.
        let job = inner.seam.compute.run(Lane::Disk, ops, move || {
            let mut result = Ok(());
            for (name, sealed) in &*pieces {
                for index in places.get(name) {
                    // Else it is to become another checkpoint by now.
                    if assembly.lacks(*index, name)
                        && assembly.put(&key, *index, &mut sealed.clone()).is_err()
                    {
                        result = Err(TaskError::Damaged(*name));
                    }
                }
            }
            (assembly, result)
        });
        let (assembly, result) = job.await.ok_or(TaskError::Closed)?;
        *slot = Some(State { assembly, newest });
        result
    }

    /// Adds what is on disk, and doubles of its large buffers beside it.
    pub async fn complete(
        &self,
        inner: &Arc<Inner>,
        manifest: &Manifest,
        image: &Image,
        key: &TaskKey,
        terms: Vec<u8>,
    ) -> Result<(), TaskError> {
        let mut slot = self.aimed((manifest.epoch.0, manifest.sequence), image).await;
        let Some(State { mut assembly, newest }) = slot.take() else { return Ok(()) };
        let result;
        (assembly, result) = read_missing(inner, assembly, key).await?;
        if let Ok(()) = &result
            && let Some(meta) = image.kind.meta()
            && meta.ended.is_none()
            && !assembly.has_doubles()
            && let Ok(kind) = inner.registry.get(&meta.kind)
        {
            let (kind, len) = (kind.clone(), usize::try_from(meta.state_len).unwrap_or(usize::MAX));
            let ops = CHUNK_OPS * image.chunks.len() as u64;
            let job = inner.seam.compute.run(Lane::Work, ops, move || {
                let doubles =
                    assembly.bytes().and_then(|bytes| Some(kind.doubles(bytes.get(..len)?, &terms)));
                assembly.keep_doubles(doubles.unwrap_or_default());
                assembly
            });
            assembly = job.await.ok_or(TaskError::Closed)?;
        }
        *slot = Some(State { assembly, newest });
        result
    }

    /// The whole state of a checkpoint that is on disk; what is missing is read from there. Nothing stays behind.
    pub async fn finish(
        &self,
        inner: &Arc<Inner>,
        image: &Image,
        key: &TaskKey,
    ) -> Result<Assembled, TaskError> {
        let mut slot = self.state.lock().await;
        let begun = slot.take();
        drop(slot);
        let assembly = match begun {
            Some(State { mut assembly, .. }) => {
                assembly.retarget(image.clone());
                let missing = assembly.missing().first().len();
                tracing::debug!(
                    missing,
                    chunks = image.chunks.len(),
                    "the state was put together beforehand"
                );
                assembly
            }
            None => Assembly::new(image.clone()),
        };
        let (assembly, result) = read_missing(inner, assembly, key).await?;
        result?;
        assembly.finish().ok_or(TaskError::Damaged(image.root()))
    }
}

/// Reads what is missing from the disk. What could be read is there even if something could not.
async fn read_missing(
    inner: &Inner,
    mut assembly: Assembly,
    key: &TaskKey,
) -> Result<(Assembly, Result<(), TaskError>), TaskError> {
    let mut missing = assembly.missing().into_iter();
    loop {
        // In pieces, so that others get their turn at the disk.
        let batch: Vec<(Hash, Vec<usize>)> = missing.by_ref().take(limits::BATCH).collect();
        if batch.is_empty() {
            return Ok((assembly, Ok(())));
        }
        let (blobs, key) = (inner.blobs.clone(), key.clone());
        let job = inner.seam.compute.run(Lane::Disk, CHUNK_OPS * batch.len() as u64, move || {
            let read = || {
                for (name, places) in batch {
                    let sealed = blobs.get(&name)?;
                    for place in places {
                        assembly
                            .put(&key, place, &mut sealed.clone())
                            .map_err(|_| TaskError::Damaged(name))?;
                    }
                }
                Ok(())
            };
            let result = read();
            (assembly, result)
        });
        let result;
        (assembly, result) = job.await.ok_or(TaskError::Closed)?;
        if result.is_err() {
            return Ok((assembly, result));
        }
    }
}
