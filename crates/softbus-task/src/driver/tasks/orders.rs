//! Orders to a task, wherever it runs: cancel, move, release, adopt.

use std::sync::Arc;

use softbus_core::wire::task::CancelOrder;
use softbus_core::wire::task_control::{Act, Reply, Request, Right, Verb};
use softbus_core::{DeviceId, TaskId};
use tokio::sync::oneshot;

use super::Tasks;
use crate::TaskError;
use crate::driver::access::sign_act;
use crate::driver::actor::{ActorRef, Input};
use crate::epoch::{Command, certificate};
use crate::status::TaskStatus;

impl Tasks {
    /// Ends a task everywhere.
    ///
    /// # Errors
    /// If this device may not, or no device of the task is in reach.
    pub async fn cancel(&self, id: TaskId) -> Result<(), TaskError> {
        let order = CancelOrder { task: id, issued: self.inner.seam.clock.wall(), note: String::new() };
        let order = certificate::cancel_order(&*self.inner.key, &order)
            .map_err(|e| TaskError::BadSubmission(e.to_string()))?;
        if self.inner.actor(id).is_some() {
            return self.inner.cancel_by(id, order).await;
        }
        let shadow = self.shadow(id).await?;
        let status = shadow.shared.status.borrow().clone();
        let mut last = TaskError::NoSuchTask(id);
        for device in status.runner.into_iter().chain(status.holders.iter().copied()).chain([shadow.teller]) {
            match self.inner.ask(device, &Request::Cancel(order.clone())).await {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Moves a task to a device, or to the best one. Returns once its runner has taken the order up; the status
    /// tells how it goes.
    ///
    /// # Errors
    /// If this device may not, the runner is not in reach, or the destination cannot or will not take it.
    pub async fn move_to(&self, id: TaskId, to: Option<DeviceId>, reason: &str) -> Result<(), TaskError> {
        self.act(id, Verb::Move { to, reason: reason.chars().take(500).collect() }).await
    }

    /// Lets a task out of quarantine.
    ///
    /// # Errors
    /// As [`Tasks::move_to`].
    pub async fn release(&self, id: TaskId) -> Result<(), TaskError> {
        self.act(id, Verb::Release).await
    }

    pub(super) async fn act(&self, id: TaskId, verb: Verb) -> Result<(), TaskError> {
        let inner = &self.inner;
        let status = self.status(id).await?;
        let mut runner =
            status.runner.ok_or_else(|| TaskError::Conflict("nobody is known to run it".into()))?;
        let act = Act { task: id, epoch: status.epoch, verb, issued: inner.seam.clock.wall() };
        let signed = sign_act(&*inner.key, &act)?;
        // It may move while we ask; then we are told whither.
        for _ in 0..3 {
            if runner == inner.me {
                let actor = inner.actor(id).ok_or(TaskError::NoSuchTask(id))?;
                return self.act_here(&actor, act).await;
            }
            match inner.ask(runner, &Request::Act(signed.clone())).await? {
                Reply::Done => return Ok(()),
                Reply::Elsewhere { runner: other } if other != runner => runner = other,
                _ => return Err(TaskError::Protocol("an answer to another question".into())),
            }
        }
        Err(TaskError::Conflict("it keeps moving: try again".into()))
    }

    pub(super) async fn act_here(&self, actor: &ActorRef, act: Act) -> Result<(), TaskError> {
        let me = self.inner.me;
        let grant = actor.shared.grant().ok_or(TaskError::NoSuchTask(act.task))?;
        if !grant.may(&me, self.inner.role(&me), Right::Move) {
            return Err(TaskError::Forbidden(act.task));
        }
        let (done, answer) = oneshot::channel();
        let input = match act.verb {
            Verb::Move { to, reason } => Input::Move {
                to,
                reason: crate::MoveReason::Person(reason),
                epoch: Some(act.epoch),
                done: Some(done),
            },
            Verb::Release => Input::Order { command: Command::Release, done: Some(done) },
        };
        actor.inbox.send(input).await.map_err(|_| TaskError::Closed)?;
        answer.await.map_err(|_| TaskError::Closed)?
    }

    /// Takes over a task from the last checkpoint that this device keeps, whoever runs it. If it does run elsewhere,
    /// this starts a second branch of it: the older one is fenced and stopped as soon as both meet, and what it did
    /// since that checkpoint is lost. Without `force` this only says so.
    ///
    /// # Errors
    /// Without `force` always; and if this device keeps no checkpoint, or may not.
    pub async fn adopt(&self, id: TaskId, force: bool) -> Result<(), TaskError> {
        let actor = self.inner.actor(id).ok_or(TaskError::NoSuchTask(id))?;
        let grant = actor.shared.grant().ok_or(TaskError::NoSuchTask(id))?;
        let me = self.inner.me;
        if !grant.may(&me, self.inner.role(&me), Right::Move) || !grant.may_run(&me, self.inner.role(&me)) {
            return Err(TaskError::Forbidden(id));
        }
        let status = actor.shared.status.borrow().clone();
        if status.state.is_final() {
            return Err(TaskError::Conflict("it has ended".into()));
        }
        if status.runner == Some(me) {
            return Err(TaskError::Conflict("it runs here already".into()));
        }
        if !force {
            let runner = status.runner.map(|r| r.short()).unwrap_or_default();
            let there =
                if status.runner.is_some_and(|r| self.is_online(&r)) { "in reach" } else { "out of reach" };
            return Err(TaskError::Conflict(format!(
                "its runner {runner} is {there}. Adopting starts a second branch from the last checkpoint kept here; \
                 what it did since is lost, and it is stopped there as soon as the two devices meet. Add --force if \
                 that is what you want"
            )));
        }
        let (done, answer) = oneshot::channel();
        let command = Command::Adopt { note: String::new() };
        let order = Input::Order { command, done: Some(done) };
        actor.inbox.send(order).await.map_err(|_| TaskError::Closed)?;
        answer.await.map_err(|_| TaskError::Closed)?
    }

    /// The status of a task now.
    ///
    /// # Errors
    /// As [`Tasks::watch`].
    pub async fn status(&self, id: TaskId) -> Result<Arc<TaskStatus>, TaskError> {
        let watch = self.watch(id).await?;
        let status = watch.borrow().clone();
        Ok(status)
    }
}
