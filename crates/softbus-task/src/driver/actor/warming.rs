//! At the destination of a hand-over, while the task still runs elsewhere: the checkpoint that is on disk here is put
//! together in memory, so that after the stop only what changed since is left to do.

use std::sync::Arc;

use softbus_core::Hash;
use softbus_core::wire::task_control::ImageKind;
use softbus_net::seam::Lane;

use super::{Actor, Input};
use crate::checkpoint::{Assembly, TaskKey};
use crate::driver::instance::CHUNK_OPS;
use crate::driver::shared::{TaskShared, Warm};
use crate::driver::{Inner, transfer};
use crate::epoch::Event;
use crate::store::Checkpoint;
use crate::{TaskError, limits};

impl Actor {
    pub(super) fn warm(&mut self, manifest: Hash) {
        let found = {
            let mut parts = self.shared.parts();
            let warm = parts.warm.get_or_insert_with(Warm::begin).clone();
            let checkpoint = parts.checkpoints.get(&manifest).cloned();
            checkpoint.zip(parts.key.clone()).map(|(checkpoint, key)| (warm, checkpoint, key))
        };
        let Some((warm, checkpoint, key)) = found else {
            return self.feed(Event::Warmed { manifest });
        };
        // Asked again while it is under way: the one that is will tell.
        if warm.assembly.try_lock().is_err() {
            return;
        }
        let (inner, shared, inbox) = (self.inner.clone(), self.shared.clone(), self.own_inbox.clone());
        self.inner.spawn(async move {
            if let Err(error) = together(&inner, &shared, &warm, &checkpoint, &key).await {
                tracing::debug!(task = %shared.task, %error, "a checkpoint was not put together beforehand");
                if let TaskError::Damaged(name) = &error {
                    transfer::forget_chunk(&inner, &shared, name).await;
                }
            }
            if let Some(inbox) = inbox.upgrade() {
                let _ = inbox.send(Input::Warmed { manifest }).await;
            }
        });
    }
}

/// Puts what is on disk together, and doubles of its large buffers beside it.
async fn together(
    inner: &Arc<Inner>,
    shared: &Arc<TaskShared>,
    warm: &Warm,
    checkpoint: &Checkpoint,
    key: &TaskKey,
) -> Result<(), TaskError> {
    let mut slot = warm.assembly.lock().await;
    let _erase_later = shared.chunks.read().await;
    let mut assembly = match slot.take() {
        Some(mut assembly) => {
            assembly.retarget(checkpoint.image.clone());
            assembly
        }
        None => Assembly::new(checkpoint.image.clone()),
    };
    let mut missing = assembly.missing().into_iter();
    loop {
        // In pieces, so that others get their turn at the disk.
        let batch: Vec<(Hash, Vec<usize>)> = missing.by_ref().take(limits::BATCH).collect();
        if batch.is_empty() {
            break;
        }
        let (blobs, key) = (inner.blobs.clone(), key.clone());
        let job = inner.seam.compute.run(Lane::Disk, CHUNK_OPS * batch.len() as u64, move || {
            for (name, places) in batch {
                let sealed = blobs.get(&name)?;
                for place in places {
                    assembly.put(&key, place, &mut sealed.clone()).map_err(|_| TaskError::Damaged(name))?;
                }
            }
            Ok(assembly)
        });
        assembly = job.await.unwrap_or(Err(TaskError::Closed))?;
    }
    if let ImageKind::State(meta) = &checkpoint.image.kind
        && !assembly.has_doubles()
        && let Ok(kind) = inner.registry.get(&meta.kind)
    {
        let (kind, len) = (kind.clone(), usize::try_from(meta.state_len).unwrap_or(usize::MAX));
        let ops = CHUNK_OPS * checkpoint.image.chunks.len() as u64;
        let job = inner.seam.compute.run(Lane::Work, ops, move || {
            let doubles = assembly.bytes().and_then(|bytes| Some(kind.doubles(bytes.get(..len)?)));
            assembly.keep_doubles(doubles.unwrap_or_default());
            assembly
        });
        assembly = job.await.ok_or(TaskError::Closed)?;
    }
    *slot = Some(assembly);
    Ok(())
}
