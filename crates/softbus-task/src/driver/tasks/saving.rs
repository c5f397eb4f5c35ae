//! Saving a task's state, for a file, and starting a new task from one.

use softbus_core::wire::saved::SavedState;
use softbus_core::wire::task_control::{ImageKind, Reply, Verb};
use softbus_core::{Hash, TaskId};
use softbus_trust::Role;

use super::{TaskHandle, Tasks};
use crate::TaskError;
use crate::driver::access::OpenGrant;
use crate::driver::transfer;
use crate::driver::warm::Warm;
use crate::epoch::manifest;
use crate::native::Estimate;
use crate::saved::{SavedError, SavedTask};
use crate::status::SubmitOptions;

impl Tasks {
    /// The complete state of a task at the end of a step, wherever it runs: taken now while it goes on, or, of one that
    /// is paused, its last. It is in the clear, and signed by this device.
    ///
    /// # Errors
    /// If this device is neither its submitter nor one that may see, move and run it, the runner is not in reach, the task
    /// has ended or makes no checkpoint just now, or its state is larger than one may be on this device.
    pub async fn save(&self, id: TaskId) -> Result<SavedTask, TaskError> {
        let inner = &self.inner;
        let (runner, reply) = self.order(id, Verb::Save).await?;
        let Reply::Saved { manifest: wanted } = reply else {
            return Err(TaskError::Protocol("an answer to another question".into()));
        };
        let (manifest, kind, mut bytes, grant) = match runner == inner.me {
            true => self.saved_here(id, wanted).await?,
            false => {
                let shared = match inner.shared(id) {
                    Some(shared) => shared,
                    None => self.shadow(id).await?.shared,
                };
                transfer::fetch_saved(inner, &shared, wanted, runner).await?
            }
        };
        let manifest = manifest::open(&manifest).map_err(|e| TaskError::Protocol(e.to_string()))?;
        let state_len = kind.meta().map_or(0, |meta| meta.state_len);
        let len = usize::try_from(state_len).ok().filter(|len| *len <= bytes.len());
        // Behind it stand effects that may not have left: they are the task's that it was saved of.
        bytes.truncate(len.ok_or_else(|| TaskError::Protocol("a state shorter than it says".into()))?);
        let what = SavedState {
            spec: grant.grant.spec.clone(),
            branch: manifest.branch,
            epoch: manifest.epoch,
            kind,
            saved: inner.seam.clock.wall(),
            len: 0,
            root: Hash([0; 32]),
        };
        SavedTask::sign(&*inner.key, what, bytes).map_err(bad)
    }

    async fn saved_here(
        &self,
        id: TaskId,
        manifest: Hash,
    ) -> Result<(softbus_core::Signed, ImageKind, Vec<u8>, OpenGrant), TaskError> {
        let inner = &self.inner;
        let shared = inner.shared(id).ok_or(TaskError::NoSuchTask(id))?;
        let kept = inner.saves.get(id, manifest, inner.me).ok_or(TaskError::NoSuchTask(id))?;
        let (grant, key) = {
            let parts = shared.parts();
            (parts.grant.clone(), parts.key.clone())
        };
        let (grant, key) = grant.zip(key).ok_or(TaskError::Forbidden(id))?;
        let image = &kept.checkpoint.image;
        let whole = Warm::begin().finish(inner, image, &key).await?;
        Ok((kept.checkpoint.manifest.clone(), image.kind.clone(), whole.bytes, (*grant).clone()))
    }

    /// Starts a new task from a saved state: a branch of its own, with an id of its own, whatever became of the task that
    /// it was saved of. What that one put out since then may be put out again. `options`:
    /// [`SavedTask::options`], with what shall be otherwise.
    ///
    /// A state is data for its type and no more, but that has to decode it, and what comes out of it has no author: so one
    /// that was signed by a device that is no member of the new task's circle is taken only if `foreign`.
    ///
    /// # Errors
    /// As [`Tasks::submit`]; and if the device that saved it is not trusted.
    pub async fn restore(
        &self,
        saved: SavedTask,
        options: SubmitOptions,
        foreign: bool,
    ) -> Result<TaskHandle, TaskError> {
        let inner = &self.inner;
        let circle = options.circle.or_else(|| inner.circle_of_choice());
        let role = inner.role_in(circle, &saved.device());
        if !foreign && saved.device() != inner.me && role.is_none_or(|role| role < Role::Member) {
            return Err(TaskError::Stranger(saved.device()));
        }
        if saved.state().len() as u64 > inner.config.state_bytes {
            return Err(bad(SavedError::TooLarge {
                bytes: saved.state().len() as u64,
                most: inner.config.state_bytes,
            }));
        }
        let label = saved.kind().to_owned();
        let was = &saved.what().spec;
        let estimate =
            Estimate { ops: was.ops, memory_bytes: was.memory_bytes, output_bytes: was.output_bytes };
        let spec = self.spec_of(&label, estimate, was.terms.clone(), &options)?;
        let (kind, mut bytes) = saved.start();
        // No effects stand behind it.
        bytes.extend_from_slice(&0u64.to_le_bytes());
        self.begin(spec, kind, bytes, options).await
    }

    /// Most bytes that a task's state may have on this device.
    pub fn state_bytes(&self) -> u64 {
        self.inner.config.state_bytes
    }
}

fn bad(error: SavedError) -> TaskError {
    TaskError::BadSubmission(error.to_string())
}
