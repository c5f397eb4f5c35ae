//! The result of a task: which it is, is what the task's epochs decided; the bytes come from here or from whoever keeps
//! them.

use std::collections::BTreeSet;
use std::sync::Arc;

use softbus_core::wire::task_control::{ImageKind, TaskState};
use softbus_core::{DeviceId, Hash, TaskId};

use super::Tasks;
use crate::TaskError;
use crate::driver::shared::TaskShared;
use crate::driver::warm::Warm;
use crate::driver::{proof, transfer};

impl Tasks {
    /// The serialised result of a finished task, from here or from any device that keeps it.
    ///
    /// Only what the task's epochs decided counts: as this device knows it if it takes part in the task, else as another
    /// device can prove it. So a device that lies cannot give an invented result. Under policy `owner` the device that ran
    /// the task is trusted with what comes out of it.
    ///
    /// # Errors
    /// If it has not finished (or nobody in reach can prove it), failed, nobody in reach has the result, or it is larger
    /// than a task's state may be on this device.
    pub async fn result(&self, id: TaskId) -> Result<Vec<u8>, TaskError> {
        let inner = &self.inner;
        let here = inner.shared(id);
        let shared = match &here {
            Some(shared) => shared.clone(),
            None => self.shadow(id).await?.shared,
        };
        let status = shared.status.borrow().clone();
        let none = |why: &str| Err(TaskError::NoResult { task: id, why: why.to_owned() });
        let mut keepers: Vec<DeviceId> =
            status.runner.into_iter().chain(status.holders.iter().copied()).collect();
        // Without a part in the task the status is hearsay.
        let decided = match status.result.filter(|_| here.is_some()) {
            Some(result) => result,
            None if here.is_some() && status.state == TaskState::Cancelled => {
                return none("it was cancelled");
            }
            None => {
                let devices = self.in_reach(&keepers);
                let Some(proven) = proof::ask(inner, id, devices).await else {
                    return match status.state {
                        TaskState::Done | TaskState::Failed => {
                            none("no device in reach can prove that it is done")
                        }
                        TaskState::Cancelled => none("it was cancelled"),
                        _ => none("it has not finished yet"),
                    };
                };
                let Some(result) = proven.result() else {
                    return none("it has not finished yet");
                };
                keepers.splice(..0, proven.members());
                shared.parts().grant.get_or_insert_with(|| Arc::new(proven.grant));
                result.manifest
            }
        };
        if let Some(found) = self.result_here(&shared, decided).await? {
            return outcome(id, found);
        }
        for source in self.in_reach(&keepers) {
            match transfer::fetch_result(inner, &shared, decided, source).await {
                Ok(found) => return outcome(id, found),
                Err(error @ TaskError::Limit(_)) => return Err(error),
                Err(error) => {
                    tracing::debug!(task = %id, source = %source.short(), %error, "no result there")
                }
            }
        }
        none("no device in reach keeps it")
    }

    /// Reads a result that is on this device's disk.
    async fn result_here(
        &self,
        shared: &TaskShared,
        result: Hash,
    ) -> Result<Option<(ImageKind, Vec<u8>)>, TaskError> {
        let found = {
            let parts = shared.parts();
            parts.checkpoints.get(&result).cloned().zip(parts.key.clone())
        };
        let Some((checkpoint, key)) = found else { return Ok(None) };
        let image = checkpoint.image.clone();
        if image.len > self.inner.config.state_bytes {
            return Err(TaskError::Limit("memory for a task's state or result on this device"));
        }
        match Warm::begin().finish(&self.inner, &image, &key).await {
            Ok(whole) => Ok(Some((image.kind, whole.bytes))),
            Err(TaskError::Closed) => Err(TaskError::Closed),
            Err(error) => {
                if let TaskError::Damaged(name) = &error {
                    transfer::forget_chunk(&self.inner, shared, name).await;
                }
                tracing::warn!(task = %shared.task, %error, "the result is fetched from another holder");
                Ok(None)
            }
        }
    }

    /// The devices that can be asked, `first` before all others.
    fn in_reach(&self, first: &[DeviceId]) -> Vec<DeviceId> {
        let view = self.inner.roster.view();
        let others = view.others().map(|entry| entry.id);
        let mut seen = BTreeSet::from([self.inner.me]);
        let all = first.iter().copied().chain(others).filter(|device| seen.insert(*device));
        all.filter(|device| self.is_online(device)).collect()
    }
}

fn outcome(id: TaskId, (kind, bytes): (ImageKind, Vec<u8>)) -> Result<Vec<u8>, TaskError> {
    match kind {
        ImageKind::Output => Ok(bytes),
        ImageKind::Failure => {
            let why = format!("it failed: {}", String::from_utf8_lossy(&bytes));
            Err(TaskError::NoResult { task: id, why: crate::status::cut(why) })
        }
        ImageKind::Input | ImageKind::State(_) | ImageKind::Paused(..) => {
            Err(TaskError::Protocol("a result of another kind".into()))
        }
    }
}
