//! Checkpoints of others: fetching them, and erasing what need not be kept.

use std::collections::BTreeSet;

use softbus_core::wire::task::CheckpointRef;
use softbus_core::{DeviceId, Epoch, Hash, Signed};

use super::{Actor, Input};
use crate::TaskError;
use crate::driver::transfer;
use crate::epoch::Event;

impl Actor {
    pub(super) fn fetch(&mut self, checkpoint: CheckpointRef, from: Vec<DeviceId>) {
        let manifest = checkpoint.manifest;
        let here = self.shared.parts().checkpoints.get(&manifest).map(|c| c.manifest.clone());
        if let Some(here) = here {
            return self.feed(Event::Fetched { manifest: here });
        }
        if self.fetching.contains(&manifest) {
            return;
        }
        // Two at once: a slow one is not given up for each newer one, nor does it hold that up for long.
        if self.fetching.len() >= 2 {
            self.next_fetch = Some((manifest, from));
            return;
        }
        self.fetching.insert(manifest);
        let (inner, shared, inbox) = (self.inner.clone(), self.shared.clone(), self.own_inbox.clone());
        self.inner.spawn(async move {
            let result = transfer::fetch(&inner, &shared, Some(manifest), &from).await;
            if let Some(inbox) = inbox.upgrade() {
                let _ = inbox.send(Input::Fetched { manifest, result }).await;
            }
        });
    }

    pub(super) fn fetched(&mut self, manifest: Hash, result: Result<Signed, TaskError>) {
        self.fetching.remove(&manifest);
        self.shared.parts().untold.remove(&manifest);
        match result {
            Ok(signed) => self.feed(Event::Fetched { manifest: signed }),
            Err(error) => {
                let ours = matches!(error, TaskError::Storage(_) | TaskError::Limit(_));
                if ours {
                    self.trouble(Some(format!("a checkpoint could not be stored: {error}")));
                }
                self.feed(Event::FetchFailed { manifest, ours });
            }
        }
        if let Some((manifest, from)) = self.next_fetch.take_if(|_| self.fetching.len() < 2) {
            let reference = CheckpointRef { epoch: Epoch(0), sequence: 0, manifest };
            self.fetch(reference, from);
        }
    }

    /// Erases what need not be kept, unless chunks are being stored just now.
    pub(super) fn erase(&mut self) {
        if !self.sweep {
            return;
        }
        let Ok(guard) = self.shared.chunks.try_write() else { return };
        self.sweep = false;
        let mut parts = self.shared.parts();
        let gone: Vec<Hash> = std::mem::take(&mut self.doomed).into_iter().collect();
        let removed: Vec<_> = gone.iter().filter_map(|hash| parts.checkpoints.remove(hash)).collect();
        let mut names: BTreeSet<Hash> = removed.iter().flat_map(|c| &c.image.chunks).copied().collect();
        names.append(&mut parts.staged);
        for kept in parts.checkpoints.values() {
            kept.image.chunks.iter().for_each(|name| {
                names.remove(name);
            });
        }
        for name in parts.snapshot.iter().flat_map(|image| &image.chunks) {
            names.remove(name);
        }
        drop(parts);
        drop(guard);
        if !gone.is_empty() || !names.is_empty() {
            self.inner.erase(&self.shared, gone, names);
        }
    }
}
