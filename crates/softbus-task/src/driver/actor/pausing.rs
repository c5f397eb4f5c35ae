//! Pausing and resuming, as persons order it: given to the instance when there is one that may go on here, and answered
//! once the task does as they want and its checkpoint says so.

use std::collections::BTreeMap;

use softbus_core::wire::task::Outcome;
use softbus_core::wire::task_control::{Pause, Rests, TaskState};
use softbus_core::{DeviceId, Epoch, WallMs};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Actor;
use crate::driver::shared::Parts;
use crate::driver::tasks::ended;
use crate::{TaskError, limits};

/// Somebody wants the task to stand still, or to go on.
pub(crate) struct Ask {
    /// To stand still; none: to go on.
    pause: Option<Pause>,
    /// The epoch they saw.
    epoch: Epoch,
    /// If it came as a signed order: by whom, and when that was given. One that is heard again does nothing.
    order: Option<(DeviceId, WallMs)>,
    done: oneshot::Sender<Result<Rests, TaskError>>,
    since: Instant,
    /// Whether it was so before.
    already: bool,
    /// Whether the instance was told.
    given: bool,
}

impl Ask {
    pub fn new(
        pause: Option<Pause>,
        epoch: Epoch,
        order: Option<(DeviceId, WallMs)>,
        done: oneshot::Sender<Result<Rests, TaskError>>,
    ) -> Self {
        Self { pause, epoch, order, done, since: Instant::now(), already: false, given: false }
    }

    fn settle(self, result: Result<Rests, TaskError>) {
        // Who asked may have gone.
        let _ = self.done.send(result);
    }
}

#[derive(Default)]
pub(super) struct Pausing {
    /// Who paused the instance that runs here.
    pub(super) shown: Option<Pause>,
    /// Words given to instances, counted.
    words: u64,
    asks: Vec<Ask>,
    /// When each device's last order was given.
    orders: BTreeMap<DeviceId, WallMs>,
}

impl Pausing {
    /// The instance is gone: the next one is told what it may not have done.
    pub(super) fn stopped(&mut self) {
        self.shown = None;
        self.asks.iter_mut().for_each(|ask| ask.given = false);
    }
}

impl Actor {
    /// Takes an order up, or says why not.
    pub(super) fn rest(&mut self, mut ask: Ask) {
        if let Err(wrong) = self.may_act(ask.epoch) {
            return ask.settle(Err(wrong));
        }
        if let Some((by, issued)) = ask.order {
            if self.pausing.orders.get(&by).is_some_and(|last| issued <= *last) {
                return ask.settle(Err(TaskError::Conflict("a later order of yours came before it".into())));
            }
            self.pausing.orders.insert(by, issued);
        }
        if self.pausing.asks.len() >= limits::ORDERS {
            return ask.settle(Err(TaskError::Limit("orders that wait for one task")));
        }
        ask.already = self.instance.is_some()
            && self.pausing.shown.is_some() == ask.pause.is_some()
            && self.pausing.asks.is_empty();
        self.pausing.asks.push(ask);
        self.mind_asks();
    }

    /// Why nothing can be ordered of the task here.
    pub(super) fn may_act(&self, epoch: Epoch) -> Result<(), TaskError> {
        let conflict = |why: &str| Err(TaskError::Conflict(why.into()));
        let state = self.shared.status.borrow().state;
        if state.is_final() {
            return Err(ended(state));
        }
        let decree = self.machine.decree();
        if decree.owner != self.inner.me {
            conflict("it runs on another device by now")
        } else if decree.outcome == Outcome::Done {
            Err(ended(TaskState::Done))
        } else if decree.outcome != Outcome::Run {
            conflict("it is in quarantine: it can be released or cancelled")
        } else if epoch != decree.epoch {
            conflict("its epoch has changed since: look where it is now")
        } else {
            Ok(())
        }
    }

    /// Gives orders to the instance, and answers those that are done, or can no longer be.
    pub(super) fn mind_asks(&mut self) {
        if self.pausing.asks.is_empty() {
            return;
        }
        let (owner, outcome) = {
            let decree = self.machine.decree();
            (decree.owner, decree.outcome.clone())
        };
        let state = self.shared.status.borrow().state;
        let over = match outcome.clone() {
            Outcome::Done => Some(ended(TaskState::Done)),
            _ if state.is_final() => Some(ended(state)),
            _ if self.machine.record().cancelled.is_some() => Some(ended(TaskState::Cancelled)),
            Outcome::Quarantined { .. } => Some(TaskError::Conflict("it is in quarantine".into())),
            Outcome::Run if owner != self.inner.me => {
                Some(TaskError::Conflict("it moved to another device meanwhile".into()))
            }
            Outcome::Run => None,
        };
        if over.is_some() {
            for ask in std::mem::take(&mut self.pausing.asks) {
                // One that was to go on went on, to its end.
                if ask.pause.is_none() && outcome == Outcome::Done {
                    let already = ask.already;
                    ask.settle(Ok(Rests { already, kept: true }));
                    continue;
                }
                let why = match &over {
                    Some(TaskError::Conflict(why)) => why.clone(),
                    _ => "it has ended".into(),
                };
                ask.settle(Err(TaskError::Conflict(why)));
            }
            return;
        }
        self.give_words();
        let kept = self.is_kept();
        let shown = self.pausing.shown.is_some();
        let mut waiting = Vec::new();
        for ask in std::mem::take(&mut self.pausing.asks) {
            let so = ask.given && shown == ask.pause.is_some();
            let already = ask.already;
            if so && kept {
                ask.settle(Ok(Rests { already, kept: true }));
            } else if ask.since.elapsed() < limits::ORDER_WAIT {
                waiting.push(ask);
            } else if so {
                ask.settle(Ok(Rests { already, kept: false }));
            } else {
                ask.settle(Err(TaskError::NotYet("the task takes no orders just now: its status tells why")));
            }
        }
        self.pausing.asks = waiting;
    }

    /// Tells the instance the last word, unless it is about to leave: then whoever runs it next is to be told.
    fn give_words(&mut self) {
        let leaves = self.machine.leaving_for().is_some();
        let Some(instance) = self.instance.as_ref().filter(|_| !leaves) else { return };
        let Some(last) = self.pausing.asks.iter().rposition(|ask| !ask.given) else { return };
        let pause = self.pausing.asks[last].pause;
        self.pausing.words += 1;
        let word = (self.pausing.words, pause);
        instance.set(|control| control.rest = Some(word));
        let asks = std::mem::take(&mut self.pausing.asks);
        let (same, other): (Vec<Ask>, Vec<Ask>) =
            asks.into_iter().partition(|ask| ask.pause.is_some() == pause.is_some());
        self.pausing.asks = same;
        self.pausing.asks.iter_mut().for_each(|ask| ask.given = true);
        for ask in other {
            ask.settle(Err(TaskError::Conflict("somebody wanted the opposite meanwhile".into())));
        }
    }

    /// Whether the checkpoint from which the task would go on says what its instance does: that it stands still, or not.
    fn is_kept(&self) -> bool {
        let Some(held) = self.machine.record().held.as_ref().filter(|_| self.machine.held_is_covered())
        else {
            return false;
        };
        let parts = self.shared.parts();
        let checkpoint = parts.checkpoints.get(&held.checkpoint.manifest);
        // The very word: an older pause, before it went on, is another.
        checkpoint.is_some_and(|known| known.image.kind.pause() == self.pausing.shown)
    }

    /// Whether the task is paused, and the checkpoint that counts says so.
    pub(super) fn stands_still(&self) -> bool {
        self.pausing.shown.is_some() && self.is_kept()
    }

    /// Who paused the task, as far as that is known here: by its instance, or by the newest checkpoint.
    pub(super) fn paused_by(&self, parts: &Parts, told: bool) -> Option<Pause> {
        if self.instance.is_some() {
            return self.pausing.shown;
        }
        if told || !parts.checkpoints.values().any(|known| known.image.kind.pause().is_some()) {
            // Whoever runs it has told how it is.
            return None;
        }
        parts.newest()?.1.image.kind.pause()
    }
}
