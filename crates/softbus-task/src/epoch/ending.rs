//! How a task ends: finished, cancelled, or at rest in quarantine.

use softbus_core::wire::task::Outcome;
use softbus_core::{BootMs, Epoch, Signed};

use super::certificate::open_cancel;
use super::proposer::Intent;
use super::runner::Instance;
use super::{EpochError, TaskMachine};

impl TaskMachine {
    /// The owner proposes the end when the time has come.
    pub(super) fn drive_ending(&mut self, now: BootMs) {
        let idle = self.is_owner()
            && self.runner.instance == Instance::None
            && self.proposal.is_none()
            && self.outgoing.is_none()
            && !self.d.next.ousted
            && self.d.next.accepted.is_none()
            && self.d.held.is_some()
            && self.out.settled();
        if !idle {
            return;
        }
        if self.finished() {
            // The result is on a majority, and all it had to say has left: only then it counts as done.
            if self.held_is_covered() && self.effects_are_out() {
                self.begin(Intent::Finish, now);
            }
        } else if self.worn_out() {
            self.begin(Intent::Quarantine, now);
        }
    }

    /// Lets the task out of quarantine.
    pub(super) fn release(&mut self, epoch: Epoch, now: BootMs) {
        if epoch != self.link.decree.epoch {
            return self.refuse("its epoch has changed since: look where it is now");
        }
        let here = self.link.decree.owner == self.me && self.d.held.is_some() && self.proposal.is_none();
        match self.link.decree.outcome {
            Outcome::Quarantined { .. } if here => self.begin(Intent::Release, now),
            Outcome::Quarantined { .. } => {
                self.refuse("only the device where it crashed can let it out of quarantine")
            }
            Outcome::Run | Outcome::Done => self.refuse("the task is not in quarantine"),
        }
    }

    /// Ends the task here and has everyone told. An order that is here already changes nothing.
    pub(super) fn cancel(&mut self, order: &Signed, now: BootMs) -> Result<(), EpochError> {
        open_cancel(self.d.task, order)?;
        if self.link.decree.outcome == Outcome::Done {
            return Err(EpochError::Invalid("the task is done: there is nothing to cancel"));
        }
        if self.d.cancelled.is_some() {
            return Ok(());
        }
        self.d.cancelled = Some(order.clone());
        self.spread_cancel(now);
        self.d.held = None;
        self.d.missing = None;
        self.d.spare = None;
        self.d.incoming = None;
        self.out.drop_back();
        self.out.touch();
        self.proposal = None;
        self.outgoing = None;
        self.preparing = None;
        self.publish.clear();
        self.discard();
        Ok(())
    }
}
