//! The result of a task, from here or from whoever keeps it.

use std::collections::BTreeSet;

use softbus_core::wire::task_control::{ImageKind, TaskState};
use softbus_core::{DeviceId, TaskId};
use softbus_net::seam::Lane;

use super::Tasks;
use crate::TaskError;
use crate::driver::transfer;

impl Tasks {
    /// The serialised result of a finished task, from here or from any device that keeps it.
    ///
    /// # Errors
    /// If it has not finished, failed, or nobody in reach has the result.
    pub async fn result(&self, id: TaskId) -> Result<Vec<u8>, TaskError> {
        let inner = &self.inner;
        let here = inner.shared(id);
        if let Some(shared) = &here {
            let found = {
                let parts = shared.parts();
                let result = parts.checkpoints.values().find(|c| transfer::is_result(&c.image.kind)).cloned();
                result.zip(parts.key.clone())
            };
            let done = shared.status.borrow().result.is_some();
            if let Some((checkpoint, key)) = found.filter(|_| done) {
                let image = checkpoint.image.clone();
                let (blobs, ops) = (inner.blobs.clone(), 20_000 * image.chunks.len() as u64);
                let loaded = inner.seam.compute.run(Lane::Disk, ops, move || blobs.load(&key, &image)).await;
                match loaded.ok_or(TaskError::Closed)? {
                    Ok(bytes) => return outcome(id, &checkpoint.image.kind, bytes),
                    Err(error) => {
                        tracing::warn!(task = %id, %error, "the result is fetched from another holder")
                    }
                }
            }
        }
        let (shared, status) = match here {
            Some(shared) => {
                let status = shared.status.borrow().clone();
                (shared, status)
            }
            None => {
                let shadow = self.shadow(id).await?;
                let status = shadow.shared.status.borrow().clone();
                (shadow.shared, status)
            }
        };
        if status.state == TaskState::Cancelled {
            return Err(TaskError::NoResult { task: id, why: "it was cancelled".into() });
        }
        let mut sources: Vec<DeviceId> =
            status.runner.into_iter().chain(status.holders.iter().copied()).collect();
        sources.extend(inner.roster.view().others().map(|entry| entry.id));
        let mut asked = BTreeSet::from([inner.me]);
        for source in sources.into_iter().filter(|source| asked.insert(*source)) {
            if !self.is_online(&source) {
                continue;
            }
            match transfer::fetch_result(inner, &shared, source).await {
                Ok((kind, bytes)) => return outcome(id, &kind, bytes),
                Err(error) => {
                    tracing::debug!(task = %id, source = %source.short(), %error, "no result there")
                }
            }
        }
        let why = match status.state.is_final() {
            true => "no device in reach keeps it".to_owned(),
            false => "it has not finished yet".to_owned(),
        };
        Err(TaskError::NoResult { task: id, why })
    }
}

fn outcome(id: TaskId, kind: &ImageKind, bytes: Vec<u8>) -> Result<Vec<u8>, TaskError> {
    match kind {
        ImageKind::Output => Ok(bytes),
        ImageKind::Failure => {
            let why = format!("it failed: {}", String::from_utf8_lossy(&bytes));
            Err(TaskError::NoResult { task: id, why: crate::status::cut(why) })
        }
        ImageKind::Input | ImageKind::State(_) => Err(TaskError::Protocol("a result of another kind".into())),
    }
}
