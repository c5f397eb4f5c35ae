//! The status, as others see it.

use std::sync::Arc;

use softbus_core::wire::task::Policy;
use softbus_core::wire::task_control::{ImageKind, PolicyKind, TaskState};
use tokio::time::Instant;

use super::Actor;
use super::outside::adds;
use crate::epoch::Status;
use crate::limits;
use crate::status::{Fork, TaskEvent, TaskStatus};

impl Actor {
    pub(super) fn progress_permille(&self) -> u16 {
        self.shown.permille
    }

    /// Publishes the status if it changed.
    pub(super) fn show(&mut self) {
        let status = self.status();
        let old = self.shared.status.borrow().clone();
        if *old == status {
            return;
        }
        let task = status.id;
        if (old.state, old.runner, old.epoch) != (status.state, status.runner, status.epoch) {
            self.inner.tell(TaskEvent::State {
                task,
                state: status.state,
                runner: status.runner,
                epoch: status.epoch,
            });
        }
        let moved_on = old.progress != status.progress || old.progress_text != status.progress_text;
        if moved_on && (self.shown.progress_told.elapsed() >= limits::PROGRESS_GAP || status.progress >= 1.0)
        {
            self.shown.progress_told = Instant::now();
            let text = status.progress_text.clone();
            self.inner.tell(TaskEvent::Progress { task, progress: status.progress, text });
        }
        self.shared.status.send_replace(Arc::new(status));
    }

    fn status(&self) -> TaskStatus {
        let view = self.view();
        let parts = self.shared.parts();
        let old = self.shared.status.borrow().clone();
        let me = self.inner.me;
        let remote = self.remote.as_ref().filter(|note| note.epoch >= view.fence.epoch && view.owner != me);
        let result = match &view.status {
            Status::Done { result, .. } => Some(result.manifest),
            _ => None,
        };
        let failed = result
            .and_then(|manifest| parts.checkpoints.get(&manifest))
            .is_some_and(|checkpoint| checkpoint.image.kind == ImageKind::Failure);
        let mut state = match &view.status {
            Status::Starting { .. } => TaskState::Waiting,
            Status::Running { .. } | Status::Finishing => TaskState::Running,
            Status::Moving { .. } => TaskState::Moving,
            Status::InDoubt { .. } => TaskState::InDoubt,
            Status::Paused => TaskState::Paused,
            Status::WaitingForOwner { .. } => TaskState::Lost,
            Status::FailingOver { .. } => TaskState::FailingOver,
            Status::Done { .. } if failed => TaskState::Failed,
            Status::Done { .. } => TaskState::Done,
            Status::Quarantined { .. } => TaskState::Quarantined,
            Status::Cancelled { .. } => TaskState::Cancelled,
        };
        if matches!(state, TaskState::Waiting | TaskState::Running | TaskState::Paused)
            && let Some(pause) = self.paused_by(&parts, remote.is_some())
        {
            state = TaskState::PausedBy(pause);
        }
        let mut error = parts.error.clone();
        if let Status::Quarantined { error: died_of } = &view.status {
            error = Some(died_of.clone());
        }
        if view.missing.is_some() {
            error = Some(
                "its state on this device's disk is damaged: whoever else keeps it is asked for it".into(),
            );
        }
        if let Some(note) = remote {
            if adds(note.state) && matches!(state, TaskState::Running | TaskState::Waiting | TaskState::Done)
            {
                state = note.state;
            }
            error = error.or_else(|| note.error.clone());
        }
        let done = matches!(state, TaskState::Done);
        TaskStatus {
            id: view.task,
            kind: old.kind.clone(),
            name: old.name.clone(),
            submitter: view.submitter,
            runner: Some(view.owner),
            epoch: view.fence.epoch,
            branch: view.fence.branch.fork,
            state,
            progress: if done { 1.0 } else { f64::from(self.shown.permille) / 1000.0 },
            progress_text: self.shown.text.clone(),
            policy: match view.policy {
                // A branch that was adopted where no quorum was to be had.
                Policy::Owner => PolicyKind::Owner,
                Policy::Quorum { .. } => {
                    parts.grant.as_ref().map_or(old.policy, |grant| grant.grant.spec.policy)
                }
            },
            holders: view.holders.clone(),
            checkpoint: remote.map_or(self.shown.checkpoints, |note| note.checkpoint),
            checkpoint_at: match remote {
                Some(_) => old
                    .checkpoint_at
                    .filter(|_| remote.map(|n| n.checkpoint) == Some(old.checkpoint))
                    .or_else(|| {
                        let age = remote.and_then(|n| n.checkpoint_age_ms)?;
                        Instant::now().checked_sub(std::time::Duration::from_millis(age))
                    }),
                None => self.shown.checkpoint_at,
            },
            moves: parts.moves.clone(),
            error,
            result,
            accepted: old.accepted || view.accepted || remote.is_some_and(|note| note.accepted),
            fork: view.forks.last().map(|(_, lost)| Fork {
                branch: view.fence.branch.fork,
                lost: lost.as_ref().map(|checkpoint| checkpoint.sequence),
            }),
            spec: parts.grant.as_ref().map_or_else(|| old.spec.clone(), |grant| grant.grant.spec.clone()),
        }
    }
}
