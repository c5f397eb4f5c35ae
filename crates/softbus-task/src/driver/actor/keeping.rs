//! Checkpoints of others: fetching them, and erasing what need not be kept.

use std::sync::Arc;

use softbus_core::wire::task::CheckpointRef;
use softbus_core::{DeviceId, Epoch, Hash, Signed, limits as core_limits};
use softbus_net::Presence;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Actor, Input};
use crate::driver::shared::TaskShared;
use crate::driver::{Inner, transfer};
use crate::epoch::Event;
use crate::status::TaskEvent;
use crate::{TaskError, limits};

impl Actor {
    pub(super) fn fetch(&mut self, checkpoint: CheckpointRef, from: Vec<DeviceId>) {
        let manifest = checkpoint.manifest;
        let here = self.shared.parts().checkpoints.get(&manifest).map(|c| c.manifest.clone());
        if let Some(here) = here {
            return self.feed(Event::Fetched { manifest: here });
        }
        // Who is surely there comes first.
        let view = self.roster.borrow().clone();
        let mut from = from;
        from.sort_by_key(|device| match view.get(device).map(|entry| entry.presence) {
            Some(Presence::Online) => 0,
            Some(Presence::Suspect) => 1,
            _ => 2,
        });
        let first = from.first().copied();
        // A slow one is not given up for each newer one, nor does it hold that up for long; and what hangs at a dead
        // device does not hold up what others give.
        let there = self.fetching.iter().filter(|flight| flight.first == first).count();
        if self.fetching.len() >= limits::FETCHES || there >= limits::FETCHES_PEER {
            if let Some((given_up, _)) = self.next_fetch.replace((manifest, from))
                && given_up != manifest
            {
                self.feed(Event::FetchFailed { manifest: given_up, ours: false });
            }
            return;
        }
        let number = self.fetching.last().map_or(0, |flight| flight.number + 1);
        self.fetching.push(Flight { number, manifest, first });
        let (inner, shared, inbox) = (self.inner.clone(), self.shared.clone(), self.own_inbox.clone());
        self.inner.spawn(async move {
            let result = fetch_from_any(&inner, &shared, manifest, from).await;
            if let Some(inbox) = inbox.upgrade() {
                let _ = inbox.send(Input::Fetched { number, manifest, result }).await;
            }
        });
    }

    pub(super) fn fetched(&mut self, number: u64, manifest: Hash, result: Result<Signed, TaskError>) {
        self.fetching.retain(|flight| flight.number != number);
        self.shared.parts().untold.remove(&manifest);
        match result {
            Ok(signed) => self.feed(Event::Fetched { manifest: signed }),
            // Another may still bring it.
            Err(_) if self.fetching.iter().any(|flight| flight.manifest == manifest) => {}
            Err(error) => {
                let ours = matches!(error, TaskError::Storage(_) | TaskError::Limit(_));
                if ours {
                    self.trouble(Some(format!("a checkpoint could not be stored: {error}")));
                }
                self.feed(Event::FetchFailed { manifest, ours });
            }
        }
        if let Some((manifest, from)) = self.next_fetch.take() {
            let reference = CheckpointRef { epoch: Epoch(0), sequence: 0, manifest };
            self.fetch(reference, from);
        }
    }

    /// Checkpoints turned out to be damaged. What runs here stores all of its state anew; else it comes from others.
    pub(super) fn lost(&mut self, manifests: Vec<Hash>) {
        if let Some(instance) = &self.instance {
            instance.set(|control| control.damage += 1);
        }
        for manifest in manifests {
            let error = "a checkpoint on this device's disk is damaged; it is got anew".to_owned();
            tracing::warn!(task = %self.shared.task, %manifest, "{error}");
            self.inner.tell(TaskEvent::Trouble { task: self.shared.task, error });
            self.feed(Event::Lost { manifest });
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
        let mut names = parts.staged.clone();
        for checkpoint in &removed {
            names.extend(parts.not_in_latest(&checkpoint.image));
        }
        let names = parts.unneeded(names);
        parts.staged.retain(|name| !names.contains(name));
        drop(parts);
        drop(guard);
        if !gone.is_empty() || !names.is_empty() {
            self.inner.erase(&self.shared, gone, names);
        }
    }
}

/// A fetch under way.
pub(super) struct Flight {
    number: u64,
    manifest: Hash,
    /// The source that is asked first.
    first: Option<DeviceId>,
}

/// Fetches a checkpoint from the first of `sources` that gives it. One that gives nothing for a while is not waited
/// for: the next is asked beside it, as it may have died without a word.
async fn fetch_from_any(
    inner: &Arc<Inner>,
    shared: &Arc<TaskShared>,
    manifest: Hash,
    sources: Vec<DeviceId>,
) -> Result<Signed, TaskError> {
    let (told, mut results) = mpsc::channel(1);
    let mut sources = sources.into_iter().filter(|source| *source != inner.me).take(core_limits::ACCEPTORS);
    let mut running = 0;
    let mut next = sources.next();
    let mut last = TaskError::NoSuchTask(shared.task);
    let mut ask_next = true;
    let mut staged = 0;
    loop {
        if let Some(source) = next.take_if(|_| ask_next) {
            running += 1;
            let (asker, task, told) = (inner.clone(), shared.clone(), told.clone());
            // Beyond the end of this it runs on until it is done or silent for too long; that does no harm.
            inner.spawn(async move {
                let result = transfer::fetch(&asker, &task, manifest, &[source]).await;
                if told.send(result).await.is_err() {
                    task.parts().untold.remove(&manifest);
                }
            });
            next = sources.next();
        }
        if running == 0 {
            return Err(last);
        }
        ask_next = match timeout(limits::FETCH_PATIENCE, results.recv()).await {
            Ok(Some(Ok(signed))) => return Ok(signed),
            Ok(Some(Err(error))) => {
                running -= 1;
                if matches!(error, TaskError::Storage(_) | TaskError::Limit(_) | TaskError::Closed) {
                    return Err(error);
                }
                last = error;
                true
            }
            Ok(None) => return Err(last),
            Err(_) => std::mem::replace(&mut staged, shared.parts().staged.len()) == staged,
        };
    }
}
