//! The owner's part: the task's instance, when it may run, and what it reports.

use softbus_core::wire::task::{CheckpointRef, Fence, ManifestKind, NOTE_BYTES, Outcome};
use softbus_core::{BootMs, Signed};

use super::tuning::{FAILURES, STARTS};
use super::{Action, Held, TaskMachine, manifest};

/// The task's instance on this device, as far as the driver was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Instance {
    #[default]
    None,
    Running,
    /// Its lease ran out.
    Paused,
    /// Told to stop with a final checkpoint.
    Stopping,
    /// Told to stop and forget.
    Discarding,
}

#[derive(Default)]
pub(super) struct Runner {
    pub(super) instance: Instance,
    pub(super) said_until: BootMs,
    /// The right it was last told of.
    fence: Option<Fence>,
    /// A start is counted in the record (which may not be durable yet).
    armed: bool,
    /// After a crash: not before this.
    not_before: BootMs,
    /// When the instance began, or its last checkpoint came.
    pub(super) saved: BootMs,
}

impl TaskMachine {
    /// Whether an instance may run here, apart from the lease.
    pub(super) fn may_run(&self) -> bool {
        if broken!(self, RunInDoubt) && self.d.incoming.is_some() {
            return true;
        }
        if !self.is_owner() || self.members.left {
            return false;
        }
        if broken!(self, RunAfterCommit) {
            return true;
        }
        let moving = self.outgoing.as_ref().is_some_and(|outgoing| outgoing.stopped());
        // Having voted for a successor, this device runs no more; a vote for itself, proposed by this very process,
        // changes nothing.
        let voted_away = self.accepted_decree().is_some_and(|decree| {
            decree.owner != self.me || decree.outcome != Outcome::Run || !self.proposes_itself()
        });
        !moving && !voted_away
    }

    pub(super) fn drive_runner(&mut self, now: BootMs) {
        let until = if broken!(self, NoPause) { BootMs(u64::MAX) } else { self.lease_until() };
        match self.runner.instance {
            Instance::Running | Instance::Paused if !self.may_run() => self.discard(),
            Instance::Running if until <= now => {
                self.runner.instance = Instance::Paused;
                self.out.at_once(Action::Pause);
            }
            Instance::Running => {
                self.say_until(until);
                self.say_fence();
                if until.0 != u64::MAX {
                    self.wake_at(until);
                }
            }
            Instance::Paused if until > now => {
                self.runner.instance = Instance::Running;
                self.runner.said_until = until;
                self.out.at_once(Action::Resume { until });
                self.say_fence();
                self.wake_at(until);
            }
            Instance::Paused | Instance::Discarding => {}
            Instance::Stopping => self.say_until(until),
            Instance::None => self.start(until, now),
        }
    }

    fn say_fence(&mut self) {
        let fence = self.fence();
        if self.runner.fence != Some(fence) && self.out.settled() {
            self.runner.fence = Some(fence);
            self.out.at_once(Action::Continue { fence });
        }
    }

    fn start(&mut self, until: BootMs, now: BootMs) {
        let ready = self.may_run()
            && !self.worn_out()
            && !self.finished()
            && (self.outgoing.is_none() || broken!(self, RunAfterCommit));
        let held = if broken!(self, RunInDoubt) && self.d.incoming.is_some() {
            self.d.incoming.as_ref().map(|incoming| incoming.held.clone())
        } else {
            self.d.held.clone()
        };
        let Some(held) = held.filter(|_| ready) else { return };
        if now < self.runner.not_before {
            return self.wake_at(self.runner.not_before);
        }
        if !self.runner.armed {
            // Counted before it happens, so that a task which takes the whole device down is noticed, too.
            self.runner.armed = true;
            self.d.starts = self.d.starts.saturating_add(1);
            self.out.touch();
        } else if self.out.settled() && until > now {
            let fence = self.fence();
            self.runner.armed = false;
            self.runner.saved = now;
            self.runner.instance = Instance::Running;
            self.runner.said_until = until;
            self.runner.fence = Some(fence);
            self.replicas.note_history(&held);
            self.out.at_once(Action::Run {
                fence,
                checkpoint: held.checkpoint,
                manifest: Box::new(held.manifest),
                until,
            });
            if until.0 != u64::MAX {
                self.wake_at(until);
            }
        }
    }

    /// Whether it crashed or was started too often without any progress.
    pub(super) fn worn_out(&self) -> bool {
        let starts = if self.runner.armed { self.d.starts.saturating_sub(1) } else { self.d.starts };
        self.d.failures >= FAILURES || starts >= STARTS
    }

    /// Whether what is held is the task's result.
    pub(super) fn finished(&self) -> bool {
        self.d.held.as_ref().is_some_and(|held| is_result(&held.manifest))
    }

    /// Stops the instance for good.
    pub(super) fn discard(&mut self) {
        if !matches!(self.runner.instance, Instance::None | Instance::Discarding) {
            self.runner.instance = Instance::Discarding;
            self.out.at_once(Action::Discard);
        }
    }

    pub(super) fn runner_under_new_epoch(&mut self, kept_right: bool) {
        self.runner.armed = false;
        if !(kept_right && matches!(self.runner.instance, Instance::Running | Instance::Paused)) {
            self.discard();
        }
    }

    /// The instance was told to stop with a checkpoint, which is not wanted any more.
    pub(super) fn go_on(&mut self, now: BootMs) {
        if self.runner.instance != Instance::Stopping {
            return;
        }
        let until = self.lease_until();
        self.runner.instance = Instance::Running;
        self.runner.said_until = until;
        self.out.at_once(Action::Resume { until });
        if until <= now {
            self.runner.instance = Instance::Paused;
            self.out.at_once(Action::Pause);
        }
    }

    // --- what the instance reports ---

    pub(super) fn on_checkpoint(&mut self, signed: &Signed, now: BootMs) {
        if matches!(self.runner.instance, Instance::Running | Instance::Paused | Instance::Stopping) {
            self.take_checkpoint(signed, now);
        }
    }

    /// Whether a checkpoint of the running instance would count now.
    pub fn takes_checkpoints(&self) -> bool {
        let frozen = (self.proposal.is_some() && !broken!(self, NoFreeze)) || self.d.next.accepted.is_some();
        self.is_owner() && !self.d.next.ousted && !frozen
    }

    /// A checkpoint of the running instance becomes the one that counts here, unless the next epoch is being decided:
    /// then what that epoch may start from must not change any more.
    fn take_checkpoint(&mut self, signed: &Signed, now: BootMs) -> Option<CheckpointRef> {
        if !self.takes_checkpoints() {
            return None;
        }
        let (manifest, checkpoint) = manifest::open_for(signed, self.link.branch, &self.link.decree)
            .inspect_err(|error| tracing::debug!(task = %self.d.task, %error, "a checkpoint does not count"))
            .ok()?;
        if manifest.source != self.me || self.held_ref().is_some_and(|held| held >= checkpoint) {
            return None;
        }
        let held = Held { checkpoint, manifest: signed.clone() };
        self.runner.saved = now;
        self.replicas.note_history(&held);
        self.replicas.offer_all(now);
        self.d.held = Some(held);
        self.made_good();
        self.d.spare = None;
        self.d.starts = 0;
        self.d.failures = 0;
        self.out.touch();
        Some(checkpoint)
    }

    pub(super) fn on_stopped(&mut self, last: Option<&Signed>, now: BootMs) {
        let instance = std::mem::take(&mut self.runner.instance);
        if instance == Instance::Discarding {
            return;
        }
        let taken = last.and_then(|signed| self.take_checkpoint(signed, now));
        if instance == Instance::Stopping {
            self.outgoing_stopped(taken.is_some(), now);
        }
    }

    pub(super) fn on_finished(&mut self, result: &Signed, now: BootMs) {
        let instance = std::mem::take(&mut self.runner.instance);
        if instance == Instance::Discarding || !is_result(result) {
            return;
        }
        self.drop_unproposed(now);
        self.take_checkpoint(result, now);
        if instance == Instance::Stopping {
            self.outgoing_stopped(false, now);
        } else if self.outgoing.is_some() {
            self.abort_move("it has finished", now);
        }
    }

    pub(super) fn on_cannot_stop(&mut self, error: &str, now: BootMs) {
        if self.runner.instance != Instance::Stopping {
            return;
        }
        if self.members.stops_to_leave {
            // This device shuts down, and nobody takes the task: its last checkpoint has to do.
            self.members.left = true;
            self.discard();
        } else if self.outgoing.is_some() {
            self.abort_move(&format!("its final state could not be written: {error}"), now);
        } else {
            self.go_on(now);
        }
    }

    pub(super) fn on_failed(&mut self, error: String, now: BootMs) {
        let instance = std::mem::take(&mut self.runner.instance);
        if matches!(instance, Instance::Discarding | Instance::None) {
            return;
        }
        self.count_failure(error, now);
        if instance == Instance::Stopping {
            self.outgoing_stopped(false, now);
        }
    }

    pub(super) fn count_failure(&mut self, mut error: String, now: BootMs) {
        let mut end = error.len().min(NOTE_BYTES);
        while !error.is_char_boundary(end) {
            end -= 1;
        }
        error.truncate(end);
        self.d.failures = self.d.failures.saturating_add(1);
        self.d.error = error;
        self.out.touch();
        self.runner.not_before = now.after(self.setup.tuning.retry * (1 << self.d.failures.min(4)));
    }
}

/// Whether a manifest that was checked before is one of a result.
pub(super) fn is_result(signed: &Signed) -> bool {
    manifest::parse(&signed.body).is_ok_and(|manifest| manifest.kind == ManifestKind::Result)
}
