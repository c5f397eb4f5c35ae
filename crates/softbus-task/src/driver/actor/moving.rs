//! Moving the task away from here: orders and wishes, the other device's promise, and how it ended.

use softbus_core::wire::task::Outcome;
use softbus_core::wire::task_control::{ImageKind, MoveReason};
use softbus_core::{DeviceId, Epoch};
use softbus_placement::LeaseId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Actor, Input};
use crate::driver::access::OpenGrant;
use crate::driver::placing;
use crate::driver::promises::{Answer, Room};
use crate::driver::shared::Leaving;
use crate::epoch::{Command, Hindrance, Status};
use crate::status::cut;
use crate::{TaskError, limits};

/// Whoever waits for a move: told the epoch that begins with it.
pub(crate) type Settled = Option<oneshot::Sender<Result<Epoch, TaskError>>>;

/// Somebody wants the task elsewhere.
pub(crate) struct Wish {
    /// Whither; `None` for the best device.
    to: Option<DeviceId>,
    reason: MoveReason,
    /// The epoch in which it was wished: it holds for no other, unless that begins on this device while it waits.
    epoch: Option<Epoch>,
    done: Settled,
    since: Instant,
    /// Whether those of which was not known how they are were asked.
    asked: bool,
    /// How often a device was chosen for it that had promised its room to others meanwhile.
    outdated: usize,
}

impl Wish {
    pub fn new(to: Option<DeviceId>, reason: MoveReason, epoch: Option<Epoch>, done: Settled) -> Self {
        Self { to, reason, epoch, done, since: Instant::now(), asked: false, outdated: 0 }
    }
}

impl Actor {
    /// Looks whether the task can move, and asks the other device for its promise first. What passes by itself (the
    /// task has not got its state yet, an epoch is being decided) is waited for if somebody waits for the move.
    pub(super) fn consider(&mut self, wish: Wish) {
        let decree = self.machine.decree();
        let wrong = if decree.owner != self.inner.me {
            Some("it runs on another device by now")
        } else if decree.outcome == Outcome::Done {
            Some("it finished already")
        } else if decree.outcome != Outcome::Run {
            Some("it is in quarantine: it can be released or cancelled")
        } else if wish.epoch.is_some_and(|epoch| epoch != decree.epoch) {
            Some("its epoch has changed since: look where it is now")
        } else if self.asking || self.wish.is_some() {
            Some("it is about to move already")
        } else {
            match self.machine.hindrance() {
                Some(Hindrance::Passing(_))
                    if wish.done.is_some() && wish.since.elapsed() < limits::MOVE_WAIT =>
                {
                    self.wish = Some(wish);
                    return;
                }
                Some(Hindrance::Passing(why) | Hindrance::Lasting(why)) => Some(why),
                None => None,
            }
        };
        if let Some(wrong) = wrong {
            return settle(wish.done, Err(TaskError::Conflict(wrong.into())));
        }
        let Some(grant) = self.shared.grant() else {
            return settle(wish.done, Err(TaskError::NoSuchTask(self.shared.task)));
        };
        let to = match wish.to {
            Some(to) => to,
            None if !wish.asked => {
                self.asking = true;
                let (inner, inbox) = (self.inner.clone(), self.own_inbox.clone());
                self.inner.spawn(async move {
                    inner.ask_around(&grant).await;
                    if let Some(inbox) = inbox.upgrade() {
                        let _ = inbox.send(Input::Asked(Wish { asked: true, ..wish })).await;
                    }
                });
                return;
            }
            None => {
                let decision = self.decide(&grant, false);
                match placing::able(&decision).into_iter().find(|id| *id != self.inner.me) {
                    Some(best) => best,
                    None => {
                        let why = decision.explanation.to_string();
                        return settle(wish.done, Err(TaskError::NoPlace(why)));
                    }
                }
            }
        };
        if to == self.inner.me {
            return settle(wish.done, Err(TaskError::Conflict("it runs there already".into())));
        }
        if !grant.may_run(&to, self.inner.role(&grant, &to)) {
            let why = "its privacy label or its submitter's word does not let it run there";
            return settle(wish.done, Err(TaskError::Conflict(why.into())));
        }
        self.asking = true;
        let (work, label) = (self.work(&grant), self.label());
        let task = self.shared.task;
        let (inner, inbox) = (self.inner.clone(), self.own_inbox.clone());
        let room = Room { task, ops: work.ops, memory_bytes: work.memory_bytes, kind: label };
        // Whoever names a device means it, whatever that has promised to others.
        let named = wish.to.is_some() && !matches!(wish.reason, MoveReason::Bus(_));
        let seen = match named || wish.outdated >= limits::LEASE_TRIES {
            true => LeaseId::ALL,
            false => placing::seen(&inner, &self.roster.borrow(), to),
        };
        self.inner.spawn(async move {
            let given = inner.ask_room(to, room, seen).await;
            if matches!(given, Ok(Answer::Outdated)) {
                // What it has promised is in the view before we decide again.
                inner.ask_now(to).await;
            }
            if let Some(inbox) = inbox.upgrade() {
                let _ = inbox.send(Input::Promised { to, given, wish }).await;
            }
        });
    }

    pub(super) fn promised(&mut self, to: DeviceId, given: Result<Answer, TaskError>, mut wish: Wish) {
        self.asking = false;
        let promise = match given {
            Ok(Answer::Promised(promise)) => promise,
            Ok(Answer::Outdated) if wish.to.is_none() => {
                wish.outdated += 1;
                return self.consider(wish);
            }
            // The bus looks again soon by itself.
            Ok(Answer::Outdated) => {
                let why = "the other device has promised its room meanwhile";
                return settle(wish.done, Err(TaskError::Conflict(why.into())));
            }
            Err(error) => {
                self.inner.note_refusal(to, self.shared.task);
                return settle(wish.done, Err(error));
            }
        };
        if let (Some(Hindrance::Passing(_)), Some(_)) = (self.machine.hindrance(), &wish.done) {
            // It has begun meanwhile. The promise is asked for again then.
            return self.consider(wish);
        }
        let note = match &wish.reason {
            MoveReason::Person(text) | MoveReason::Bus(text) => text.lines().next().unwrap_or_default(),
            _ => "",
        };
        let note: String = note.chars().take(60).collect();
        let kept = match wish.reason {
            MoveReason::Person(text) => MoveReason::Person(cut(text)),
            MoveReason::Bus(text) => MoveReason::Bus(cut(text)),
            other => other,
        };
        let leaving = Leaving::new(to, kept);
        let before = self.shared.parts().leaving.replace(leaving);
        self.settle_if_over();
        self.settling = wish.done;
        match self.order(Command::MoveTo { destination: to, note }) {
            Ok(()) => promise.used(),
            Err(error) => {
                self.shared.parts().leaving = before;
                self.settle(Err(error));
            }
        }
    }

    /// Tells whoever waits for the move how it ended.
    pub(super) fn settle(&mut self, result: Result<Epoch, TaskError>) {
        settle(self.settling.take(), result);
    }

    /// An epoch began that leaves the task here: a move that was ordered in the one before still holds.
    pub(super) fn goes_on_here(&mut self, before: Epoch) {
        let epoch = self.machine.decree().epoch;
        let waits = |wish: &&mut Wish| wish.epoch == Some(before);
        if let Some(wish) = self.wish.as_mut().filter(waits) {
            wish.epoch = Some(epoch);
        }
    }

    /// What waits for its time is tried again; what can no longer come is said.
    pub(super) fn mind_moves(&mut self) {
        if let Some(wish) = self.wish.take_if(|_| !self.asking) {
            self.consider(wish);
        }
        self.settle_if_over();
    }

    fn settle_if_over(&mut self) {
        if self.settling.is_some() && self.machine.leaving_for().is_none() {
            // Cancelled, or adopted elsewhere.
            self.settle(Err(TaskError::Conflict("it ended while it was about to move".into())));
        }
    }

    /// The type and state version a device must know to go on with the task.
    fn label(&self) -> String {
        let parts = self.shared.parts();
        match parts.newest().map(|(_, checkpoint)| checkpoint.image.kind.clone()) {
            Some(ImageKind::State(meta) | ImageKind::Paused(meta, _)) => meta.kind,
            _ => parts.grant.as_ref().map(|g| g.grant.spec.kind.clone()).unwrap_or_default(),
        }
    }

    fn work(&self, grant: &OpenGrant) -> softbus_placement::Work {
        let spec = &grant.grant.spec;
        let left = placing::left_ops(spec.ops, self.ops_done, self.progress_permille());
        let held = self.machine.decree().holders.clone();
        let state = self.shared.parts().newest().map_or(0, |(_, checkpoint)| checkpoint.image.len);
        placing::work(grant, &self.label(), left, state, held)
    }

    pub(super) fn decide(&self, grant: &OpenGrant, here: bool) -> softbus_placement::Decision {
        let (work, candidates) = self.question(grant, here);
        placing::decide(&self.inner, &grant.grant.spec, &work, &candidates)
    }

    /// As [`Self::decide`], without the reasons: it is asked at each change of the roster.
    pub(super) fn ranked(&self, grant: &OpenGrant, here: bool) -> (softbus_placement::Action, Vec<DeviceId>) {
        let (work, candidates) = self.question(grant, here);
        placing::ranked(&self.inner, &grant.grant.spec, &work, &candidates)
    }

    /// What placement is asked. `here`: the work runs on this device.
    fn question(
        &self,
        grant: &OpenGrant,
        here: bool,
    ) -> (softbus_placement::Work, Vec<softbus_placement::Candidate>) {
        let mut work = self.work(grant);
        if here {
            work = placing::running(work, self.inner.me, self.since.elapsed());
        }
        let view = self.roster.borrow().clone();
        (work, placing::candidates(&self.inner, &view, self.shared.task, grant.circle()))
    }

    /// Moves the task if another device is so much better that it is worth it.
    pub(super) fn rebalance(&mut self, grant: &OpenGrant) {
        let free = self.inner.config.rebalance
            && !grant.grant.spec.stay
            && !self.asking
            && self.instance.is_some()
            && self.pausing.shown.is_none()
            && self.draining.is_none()
            && matches!(self.view().status, Status::Running { owner } if owner == self.inner.me)
            && self.since.elapsed() >= limits::REBALANCE_GAP;
        if !free {
            return;
        }
        if let (softbus_placement::Action::Move { to, .. }, _) = self.ranked(grant, true) {
            tracing::info!(task = %self.shared.task, to = %to.short(), "another device is better");
            let reason = MoveReason::Bus(self.decide(grant, true).explanation.to_string());
            self.consider(Wish::new(Some(to), reason, None, None));
        }
    }
}

fn settle(done: Settled, result: Result<Epoch, TaskError>) {
    if let Some(done) = done {
        // Who asked may have gone.
        let _ = done.send(result);
    }
}
