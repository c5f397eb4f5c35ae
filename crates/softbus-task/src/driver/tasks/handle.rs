//! Handles to one task, and the stream of events.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use softbus_core::wire::task_control::{Move, Rests, TaskState};
use softbus_core::{DeviceId, TaskId};
use tokio::sync::{broadcast, watch};

use super::Tasks;
use crate::TaskError;
use crate::saved::SavedTask;
use crate::status::{TaskEvent, TaskStatus};

/// A task and what can be done with it.
#[derive(Clone)]
pub struct TaskHandle {
    pub(super) tasks: Tasks,
    pub(super) id: TaskId,
}

impl TaskHandle {
    /// Its id.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Its status now.
    ///
    /// # Errors
    /// As [`Tasks::watch`].
    pub async fn status(&self) -> Result<Arc<TaskStatus>, TaskError> {
        self.tasks.status(self.id).await
    }

    /// Its status as it changes.
    ///
    /// # Errors
    /// As [`Tasks::watch`].
    pub async fn watch(&self) -> Result<watch::Receiver<Arc<TaskStatus>>, TaskError> {
        self.tasks.watch(self.id).await
    }

    /// Ends it.
    ///
    /// # Errors
    /// As [`Tasks::cancel`].
    pub async fn cancel(&self) -> Result<(), TaskError> {
        self.tasks.cancel(self.id).await
    }

    /// Moves it; returns the account of the move.
    ///
    /// # Errors
    /// As [`Tasks::move_to`].
    pub async fn move_to(&self, to: Option<DeviceId>, reason: &str) -> Result<Move, TaskError> {
        self.tasks.move_to(self.id, to, reason).await
    }

    /// Lets it stand still until it is resumed.
    ///
    /// # Errors
    /// As [`Tasks::pause`].
    pub async fn pause(&self) -> Result<Rests, TaskError> {
        self.tasks.pause(self.id).await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// As [`Tasks::pause`].
    pub async fn resume(&self) -> Result<Rests, TaskError> {
        self.tasks.resume(self.id).await
    }

    /// Its complete state at one point, in the clear.
    ///
    /// # Errors
    /// As [`Tasks::save`].
    pub async fn save(&self) -> Result<SavedTask, TaskError> {
        self.tasks.save(self.id).await
    }

    /// Waits until it is over (done, failed or cancelled), or quarantined after it crashed several times, and gives
    /// its status then.
    ///
    /// # Errors
    /// As [`Tasks::watch`].
    pub async fn finished(&self) -> Result<Arc<TaskStatus>, TaskError> {
        let mut watch = self.watch().await?;
        let over = |state: TaskState| state.is_final() || state == TaskState::Quarantined;
        let status = watch.wait_for(|status| over(status.state)).await;
        status.map(|status| status.clone()).map_err(|_| TaskError::Closed)
    }

    /// Waits until the task is on as many devices as decide about it: from then on it is not lost with its submitter.
    /// (When [`Tasks::submit`] returns, it is durable on the submitter alone.)
    ///
    /// # Errors
    /// As [`Tasks::watch`].
    pub async fn accepted(&self) -> Result<(), TaskError> {
        let mut watch = self.watch().await?;
        let accepted = watch.wait_for(|status| status.accepted || status.state.is_final()).await;
        accepted.map(|_| ()).map_err(|_| TaskError::Closed)
    }

    /// Waits until it is over and gives its serialised result.
    ///
    /// # Errors
    /// If it failed, was cancelled or is quarantined, or nobody in reach has the result.
    pub async fn result(&self) -> Result<Vec<u8>, TaskError> {
        let status = self.finished().await?;
        if status.state == TaskState::Quarantined {
            let why = status.error.clone().unwrap_or_default();
            let why = crate::status::cut(format!("it is quarantined: {why}"));
            return Err(TaskError::NoResult { task: self.id, why });
        }
        self.tasks.result(self.id).await
    }

    /// Waits until it is over and gives its output: `T` is its type's [`Output`](crate::Task::Output).
    ///
    /// # Errors
    /// As [`TaskHandle::result`], and if the output is not a `T`.
    pub async fn output<T: DeserializeOwned>(&self) -> Result<T, TaskError> {
        let bytes = self.result().await?;
        postcard::from_bytes(&bytes).map_err(|e| TaskError::Codec {
            what: "the output",
            verb: "read",
            why: e.to_string(),
        })
    }
}

/// What happens to tasks, in order.
pub struct TaskEvents(pub(super) broadcast::Receiver<Arc<TaskEvent>>);

impl TaskEvents {
    /// The next event; [`TaskEvent::Lagged`] if some were missed; `None` once the task room is closed.
    pub async fn next(&mut self) -> Option<TaskEvent> {
        match self.0.recv().await {
            Ok(event) => Some(Arc::unwrap_or_clone(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(TaskEvent::Lagged { missed }),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
