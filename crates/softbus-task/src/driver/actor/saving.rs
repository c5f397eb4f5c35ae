//! Checkpoints that are asked for, to be saved to a file: taken at the end of a step while the task goes on, and kept for
//! whoever asked until it has fetched them.

use softbus_core::{DeviceId, Epoch, Hash};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Actor;
use crate::{TaskError, limits};

/// Somebody wants a checkpoint of what is now.
pub(crate) struct Wanted {
    /// Who may fetch it.
    pub by: DeviceId,
    /// The epoch they saw.
    pub epoch: Epoch,
    /// Told the hash of its manifest.
    pub done: oneshot::Sender<Result<Hash, TaskError>>,
}

#[derive(Default)]
pub(super) struct Saving {
    /// How many were wanted of the instance.
    wanted: u64,
    /// The newest checkpoint that counts was taken after so many.
    pub(super) stored: u64,
    asks: Vec<(Wanted, Instant, Option<u64>)>,
}

impl Saving {
    /// The instance is gone, and with it what it was asked.
    pub(super) fn stopped(&mut self) {
        (self.wanted, self.stored) = (0, 0);
        self.asks.iter_mut().for_each(|(_, _, number)| *number = None);
    }
}

impl Actor {
    /// Has the instance take a checkpoint soon; says which of those that were wanted it is.
    pub(super) fn want_checkpoint(&mut self) -> Option<u64> {
        let instance = self.instance.as_ref()?;
        self.saving.wanted += 1;
        let next = self.saving.wanted;
        instance.set(|control| control.wanted = next);
        Some(next)
    }

    pub(super) fn save(&mut self, wanted: Wanted) {
        let refused = match self.may_act(wanted.epoch) {
            Err(error) => Some(error),
            Ok(()) if self.saving.asks.len() >= limits::ORDERS => {
                Some(TaskError::Limit("orders that wait for one task"))
            }
            Ok(()) => None,
        };
        if let Some(error) = refused {
            // Who asked may have gone.
            let _ = wanted.done.send(Err(error));
            return;
        }
        self.saving.asks.push((wanted, Instant::now(), None));
        self.mind_saves();
    }

    /// Asks the instance for what is wanted, and gives it out once it is here.
    pub(super) fn mind_saves(&mut self) {
        for (wanted, since, mut number) in std::mem::take(&mut self.saving.asks) {
            if let Err(error) = self.may_act(wanted.epoch) {
                let _ = wanted.done.send(Err(error));
                continue;
            }
            if number.is_none() && self.stands_still() {
                // A paused one does nothing that its last checkpoint does not have.
                number = Some(0);
            }
            if number.is_none() {
                number = self.want_checkpoint();
            }
            if number.is_some_and(|number| self.saving.stored >= number) {
                let kept = self.keep_for(wanted.by);
                let _ = wanted.done.send(kept);
            } else if since.elapsed() >= limits::ORDER_WAIT {
                let why = "the task makes no checkpoint just now: its status tells why";
                let _ = wanted.done.send(Err(TaskError::NotYet(why)));
            } else {
                self.saving.asks.push((wanted, since, number));
            }
        }
    }

    /// Keeps the checkpoint that counts for whoever is to fetch it.
    fn keep_for(&self, device: DeviceId) -> Result<Hash, TaskError> {
        let gone = || TaskError::Conflict("its checkpoint is not on this device just now".into());
        let manifest = self.machine.record().held.as_ref().ok_or_else(gone)?.checkpoint.manifest;
        let checkpoint = self.shared.parts().checkpoints.get(&manifest).cloned().ok_or_else(gone)?;
        let pin = self.shared.pin(&checkpoint.image.chunks);
        self.inner.saves.keep(&self.inner, &self.shared, device, manifest, checkpoint, pin)?;
        Ok(manifest)
    }
}
