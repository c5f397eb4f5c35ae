//! At the destination of a hand-over, while the task still runs elsewhere: the checkpoint that is on disk here is put
//! together in memory, so that after the stop only what changed since is left to do.

use softbus_core::Hash;

use super::{Actor, Input};
use crate::TaskError;
use crate::driver::transfer;
use crate::driver::warm::Warm;
use crate::epoch::{Event, manifest};

impl Actor {
    pub(super) fn warm(&mut self, manifest: Hash) {
        let found = {
            let mut parts = self.shared.parts();
            let warm = parts.warm.get_or_insert_with(Warm::begin).clone();
            let checkpoint = parts.checkpoints.get(&manifest).cloned();
            checkpoint.zip(parts.key.clone()).map(|(checkpoint, key)| (warm, checkpoint, key))
        };
        let opened = found.and_then(|(warm, checkpoint, key)| {
            let opened = manifest::open(&checkpoint.manifest).ok()?;
            Some((warm, checkpoint, key, opened))
        });
        let Some((warm, checkpoint, key, opened)) = opened else {
            return self.feed(Event::Warmed { manifest });
        };
        // Asked again while it is under way: that will tell.
        if !self.warming.insert(manifest) {
            return;
        }
        let (inner, shared, inbox) = (self.inner.clone(), self.shared.clone(), self.own_inbox.clone());
        self.inner.spawn(async move {
            let erase_later = shared.chunks.read().await;
            let done = warm.complete(&inner, &opened, &checkpoint.image, &key, shared.terms()).await;
            drop(erase_later);
            if let Err(error) = done {
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

    pub(super) fn warmed(&mut self, manifest: Hash) {
        self.warming.remove(&manifest);
        self.feed(Event::Warmed { manifest });
    }
}
