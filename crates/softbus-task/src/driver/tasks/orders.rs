//! Orders to a task, wherever it runs: cancel, move, pause, release, adopt.

use std::sync::Arc;

use softbus_core::wire::task::CancelOrder;
use softbus_core::wire::task_control::{
    Act, Move, Pause, PolicyKind, Reply, Request, Rests, Right, TaskState, Verb,
};
use softbus_core::{DeviceId, Epoch, ErrorCode, TaskId, WallMs};
use softbus_net::Presence;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Tasks;
use crate::driver::access::{OpenGrant, sign_act};
use crate::driver::actor::{ActorRef, Ask, Input, Wanted, Wish};
use crate::epoch::{Command, certificate, majority};
use crate::status::{TaskStatus, cut};
use crate::{TaskError, limits};

impl Tasks {
    /// Ends a task everywhere. One that was cancelled before stays so.
    ///
    /// # Errors
    /// If this device may not, no device of the task is in reach, or the task is done or failed already.
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
                // The first that knows that it is over knows best.
                Err(error) if error.code() == ErrorCode::Conflict => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Moves a task to a device, or to the best other one. Returns when the move is settled: with the account of this
    /// very move once the new runner took its first step.
    ///
    /// A task that has not got its state yet, or whose next epoch is just being decided, moves as soon as it can, within
    /// ten seconds.
    ///
    /// # Errors
    /// If this device may not, the runner is not in reach, the destination cannot or will not take it, or the task has
    /// ended; [`TaskError::NotYet`] if it is not settled after 45 seconds, or the new runner has not told of it within five
    /// seconds: the status tells how it goes on.
    pub async fn move_to(&self, id: TaskId, to: Option<DeviceId>, reason: &str) -> Result<Move, TaskError> {
        let mut watch = self.watch(id).await?;
        let (branch, epoch) = {
            let status = watch.borrow_and_update();
            if status.state.is_final() {
                return Err(ended(status.state));
            }
            (status.branch, status.epoch)
        };
        let verb = Verb::Move { to, reason: reason.chars().take(500).collect() };
        let (begun, lost) = match self.act(id, epoch, verb).await {
            Ok((_, Reply::Moved { epoch })) => (Some(epoch), None),
            Ok(_) => (None, None),
            // Its word may have been lost, the move not: then it was the very next epoch.
            Err(error @ TaskError::Unreachable(_)) => (Some(epoch.next()), Some(error)),
            Err(error) => return Err(error),
        };
        let mine = |status: &TaskStatus| {
            let found = status.moves.iter().find(|moved| Some(moved.epoch) == begun);
            found.filter(|_| status.branch == branch).cloned()
        };
        let told = async {
            loop {
                let (found, state, runner) = {
                    let status = watch.borrow_and_update();
                    (mine(&status), status.state, status.runner)
                };
                if let Some(moved) = found {
                    return Ok(moved);
                }
                if state.is_final() {
                    // That it is over is heard from others, too, and then nobody is listened to any more.
                    let known = match runner.filter(|runner| *runner != self.inner.me) {
                        Some(runner) => self.inner.ask(runner, &Request::Status { task: id }).await,
                        None => return Err(ended(state)),
                    };
                    let Ok(Reply::Task(note)) = known else { return Err(ended(state)) };
                    let sound = note.within_limits() && note.spec.task == id;
                    let status = TaskStatus::from_note(*note);
                    return mine(&status).filter(|_| sound).ok_or_else(|| ended(state));
                }
                if watch.changed().await.is_err() {
                    // Whoever told of it went away: somebody else may know.
                    watch = self.watch(id).await?;
                }
            }
        };
        match (timeout(limits::MOVE_TOLD, told).await, lost) {
            (Ok(told), None) => told,
            (Ok(Ok(moved)), Some(_)) => Ok(moved),
            (_, Some(error)) => Err(error),
            (Err(_), None) => {
                Err(TaskError::NotYet("the task was handed over; its new runner has not told of it"))
            }
        }
    }

    /// Lets a task out of quarantine.
    ///
    /// # Errors
    /// If this device may not, the runner is not in reach, or the task is not in quarantine.
    pub async fn release(&self, id: TaskId) -> Result<(), TaskError> {
        let epoch = self.status(id).await?.epoch;
        self.act(id, epoch, Verb::Release).await.map(|_| ())
    }

    /// Lets a task take no more steps, wherever it runs, until it is resumed. It stands still when this returns, and its
    /// last checkpoint says so if [`Rests::kept`]: then it stays so if its device restarts, it moves, or another goes on
    /// with it. One that is paused already stays so.
    ///
    /// # Errors
    /// If this device may neither move nor cancel it, the runner is not in reach, or the task has ended or is in
    /// quarantine; [`TaskError::NotYet`] if it takes no orders for ten seconds.
    pub async fn pause(&self, id: TaskId) -> Result<Rests, TaskError> {
        self.rest(id, Verb::Pause).await
    }

    /// Lets a paused task go on. One that is not paused is left alone.
    ///
    /// # Errors
    /// As [`Tasks::pause`].
    pub async fn resume(&self, id: TaskId) -> Result<Rests, TaskError> {
        self.rest(id, Verb::Resume).await
    }

    async fn rest(&self, id: TaskId, verb: Verb) -> Result<Rests, TaskError> {
        match self.order(id, verb).await? {
            (_, Reply::Rests(rests)) => Ok(rests),
            _ => Err(TaskError::Protocol("an answer to another question".into())),
        }
    }

    /// Has a task's runner act, also if the task moves meanwhile. Gives who did, and its answer.
    pub(super) async fn order(&self, id: TaskId, verb: Verb) -> Result<(DeviceId, Reply), TaskError> {
        let mut watch = self.watch(id).await?;
        for tried in 1.. {
            let before = watch.borrow_and_update().clone();
            if before.state.is_final() {
                return Err(ended(before.state));
            }
            let error = match self.act(id, before.epoch, verb.clone()).await {
                Ok(done) => return Ok(done),
                Err(error) if error.code() != ErrorCode::Conflict || tried == limits::ORDER_TRIES => {
                    return Err(error);
                }
                Err(error) => error,
            };
            // It may be that another epoch began meanwhile, of which we hear in a moment.
            let news = watch.wait_for(|now| now.epoch != before.epoch || now.state.is_final());
            match timeout(limits::ORDER_NEWS, news).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return Err(error),
            }
        }
        Err(TaskError::Conflict("it keeps moving: try again".into()))
    }

    /// Has a task's runner act, wherever that is. Gives who did, and its answer.
    async fn act(&self, id: TaskId, epoch: Epoch, verb: Verb) -> Result<(DeviceId, Reply), TaskError> {
        let inner = &self.inner;
        let status = self.status(id).await?;
        let mut runner =
            status.runner.ok_or_else(|| TaskError::Conflict("nobody is known to run it".into()))?;
        let act = Act { task: id, epoch, verb, issued: inner.seam.clock.wall() };
        let signed = sign_act(&*inner.key, &act)?;
        // It may move while we ask; then we are told whither.
        for _ in 0..3 {
            if runner == inner.me {
                let actor = inner.actor(id).ok_or(TaskError::NoSuchTask(id))?;
                let grant = actor.shared.grant().ok_or(TaskError::NoSuchTask(id))?;
                if !grant.may_order(&inner.me, inner.role(&grant, &inner.me), &act.verb) {
                    return Err(TaskError::Forbidden(id));
                }
                return Ok((runner, act_here(&actor, act, inner.me, None).await?));
            }
            let patience = limits::MOVE_PATIENCE + limits::ANSWER;
            match inner.ask_for(runner, &Request::Act(signed.clone()), patience).await? {
                Reply::Elsewhere { runner: other } if other != runner => runner = other,
                reply @ (Reply::Done | Reply::Moved { .. } | Reply::Rests(_) | Reply::Saved { .. }) => {
                    return Ok((runner, reply));
                }
                _ => return Err(TaskError::Protocol("an answer to another question".into())),
            }
        }
        Err(TaskError::Conflict("it keeps moving: try again".into()))
    }

    /// Takes over a task from the last checkpoint that this device keeps, because its runner is lost. If that runs it
    /// still, this starts a second branch of it: the older one is fenced and stopped as soon as both meet, and what it
    /// did since that checkpoint is lost. Without `force` this only says so.
    ///
    /// # Errors
    /// Without `force` always; with it, too, if the runner is in reach and says that it has the task and goes on with it
    /// (then [`Tasks::move_to`] loses nothing) or that it ended; and if this device keeps no checkpoint, or may not.
    pub async fn adopt(&self, id: TaskId, force: bool) -> Result<(), TaskError> {
        let actor = self.inner.actor(id).ok_or(TaskError::NoSuchTask(id))?;
        let grant = actor.shared.grant().ok_or(TaskError::NoSuchTask(id))?;
        let me = self.inner.me;
        let role = self.inner.role(&grant, &me);
        if !grant.may(&me, role, Right::Move) || !grant.may_run(&me, role) {
            return Err(TaskError::Forbidden(id));
        }
        let status = actor.shared.status.borrow().clone();
        if status.state.is_final() {
            return Err(TaskError::Conflict("it has ended".into()));
        }
        if status.runner == Some(me) {
            return Err(TaskError::Conflict("it runs here already".into()));
        }
        let runner = status.runner.ok_or_else(|| TaskError::Conflict("nobody is known to run it".into()))?;
        // One that is out of the task's circle is asked nothing: it is lost, whatever it says.
        let in_reach = self.inner.is_of_circle(&grant, &runner) && self.is_online(&runner);
        let there = if in_reach { self.at_runner(runner, id).await } else { None };
        let how = match (in_reach, there) {
            (_, Some(state)) if state.is_final() => return Err(ended(state)),
            // It can neither move, nor does it get well by itself.
            (_, Some(_)) if actor.shared.parts().stuck => "in reach, but hands it over no more",
            // One that runs has its lease from a majority, whomever of them we see.
            (_, Some(state))
                if state != TaskState::Running
                    && status.policy != PolicyKind::Owner
                    && !self.can_decide(&actor, &grant) =>
            {
                "in reach, but too few of the devices that decide with it are"
            }
            (_, Some(TaskState::Quarantined)) => {
                "in reach and keeps it in quarantine, from which it can be released"
            }
            // As it is for a moment at its start, and for ever if its state there is damaged.
            (_, Some(TaskState::Waiting)) => "in reach, but has not begun to run it",
            (_, Some(_)) => {
                return Err(TaskError::Conflict(format!(
                    "its runner {runner} is in reach and has it: nothing is lost there. Move it instead"
                )));
            }
            (true, None) => "in reach, but does not tell of the task",
            (false, None) => "out of reach",
        };
        if !force {
            return Err(TaskError::Conflict(format!(
                "its runner {runner} is {how}. Adopting starts a second branch from the last checkpoint kept here; what it \
                 did since is lost, and it is stopped there as soon as the two devices meet. Add --force if that is what \
                 you want"
            )));
        }
        let (done, answer) = oneshot::channel();
        let command = Command::Adopt { note: String::new() };
        let order = Input::Order { command, done: Some(done) };
        actor.inbox.send(order).await.map_err(|_| TaskError::Closed)?;
        answer.await.map_err(|_| TaskError::Closed)?
    }

    /// Whether a majority of those that decide a task's next epoch is in reach.
    fn can_decide(&self, actor: &ActorRef, grant: &OpenGrant) -> bool {
        let acceptors = actor.shared.parts().acceptors.clone();
        let view = self.inner.roster.view();
        let there = |device: &&DeviceId| {
            let seen = view.get(device).is_some_and(|entry| entry.presence != Presence::Offline);
            **device == self.inner.me || (seen && self.inner.is_of_circle(grant, device))
        };
        acceptors.iter().filter(there).count() >= majority(acceptors.len())
    }

    /// How a task stands with the device that should run it; `None` if that does not say, or does not run it.
    async fn at_runner(&self, runner: DeviceId, task: TaskId) -> Option<TaskState> {
        let Ok(Reply::Task(note)) = self.inner.ask(runner, &Request::Status { task }).await else {
            return None;
        };
        let runs = note.spec.task == task && (note.runner == Some(runner) || note.state.is_final());
        runs.then_some(note.state)
    }

    /// The grant of a task that this device runs, keeps or submitted, signed by whoever submitted it.
    pub fn grant(&self, id: TaskId) -> Option<Arc<OpenGrant>> {
        self.inner.shared(id)?.grant()
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

/// Has the actor of a task that runs here do what a person wants; the right to it was checked. Returns when that is
/// settled. `order`: by whom it is signed, and when, if it came from another device.
pub(crate) async fn act_here(
    actor: &ActorRef,
    act: Act,
    by: DeviceId,
    order: Option<(DeviceId, WallMs)>,
) -> Result<Reply, TaskError> {
    let closed = |_| TaskError::Closed;
    match act.verb {
        Verb::Move { to, reason } => {
            let (done, settled) = oneshot::channel();
            let reason = crate::MoveReason::Person(cut(reason));
            let wish = Wish::new(to, reason, Some(act.epoch), Some(done));
            actor.inbox.send(Input::Move(wish)).await.map_err(|_| TaskError::Closed)?;
            match timeout(limits::MOVE_PATIENCE, settled).await {
                Ok(settled) => settled.map_err(closed)?.map(|epoch| Reply::Moved { epoch }),
                Err(_) => Err(TaskError::NotYet("the task is still on its way")),
            }
        }
        Verb::Release => {
            let (done, answer) = oneshot::channel();
            let order = Input::Order { command: Command::Release { epoch: act.epoch }, done: Some(done) };
            actor.inbox.send(order).await.map_err(|_| TaskError::Closed)?;
            answer.await.map_err(closed)?.map(|()| Reply::Done)
        }
        Verb::Pause | Verb::Resume => {
            let pause = (act.verb == Verb::Pause).then_some(Pause { by, since: act.issued });
            let (done, settled) = oneshot::channel();
            let ask = Ask::new(pause, act.epoch, order, done);
            actor.inbox.send(Input::Rest(ask)).await.map_err(|_| TaskError::Closed)?;
            settled.await.map_err(closed)?.map(Reply::Rests)
        }
        Verb::Save => {
            let (done, settled) = oneshot::channel();
            let wanted = Wanted { by, epoch: act.epoch, done };
            actor.inbox.send(Input::Save(wanted)).await.map_err(|_| TaskError::Closed)?;
            settled.await.map_err(closed)?.map(|manifest| Reply::Saved { manifest })
        }
    }
}

/// Nothing can be done with a task that is over.
pub(crate) fn ended(state: TaskState) -> TaskError {
    let how = match state {
        TaskState::Failed => "failed",
        TaskState::Cancelled => "was cancelled",
        _ => "finished",
    };
    TaskError::Conflict(format!("it {how} already"))
}
