//! The instance that runs here: its start, its reports, the effects that leave it.

use std::sync::Arc;
use std::time::Duration;

use softbus_core::BootMs;
use softbus_core::Signed;
use softbus_core::wire::task::{CheckpointRef, Fence, Why};
use softbus_core::wire::task_control::{Move, MoveReason};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Actor;
use crate::driver::instance::{self, Begin, Control, Report};
use crate::driver::placing;
use crate::driver::shared::Released;
use crate::epoch::{Event, manifest};
use crate::limits;
use crate::native::Effect;
use crate::status::TaskEvent;

impl Actor {
    pub(super) fn start(
        &mut self,
        fence: Fence,
        checkpoint: CheckpointRef,
        manifest: &Signed,
        until: BootMs,
    ) {
        let found = {
            let mut parts = self.shared.parts();
            parts.leaving = None;
            let checkpoint = parts.checkpoints.get(&checkpoint.manifest).cloned();
            let warm = parts.warm.take();
            checkpoint.zip(parts.key.clone()).map(|(checkpoint, key)| (checkpoint, key, warm))
        };
        let said = manifest::parse(&manifest.body).map(|m| (m.sequence, m.effects));
        let (Some((checkpoint, key, warm)), Ok((sequence, effects))) = (found, said) else {
            let manifest = checkpoint.manifest;
            if !self.shared.parts().checkpoints.contains_key(&manifest) {
                self.feed(Event::Lost { manifest });
                return self.feed(Event::Stopped { last: None });
            }
            let error = "its key is not on this device".into();
            return self.feed(Event::Failed { error });
        };
        tracing::info!(task = %self.shared.task, epoch = %fence.epoch, "the task runs here");
        // What it says anew after this checkpoint has to be covered anew.
        let same_right = self.let_out.filter(|(under, _)| *under == fence);
        self.let_out = same_right.map(|(fence, through)| (fence, through.min(effects)));
        let released = self.let_out.map_or(0, |(_, through)| through);
        let control = Control {
            right: self.right(),
            until,
            paused: false,
            end: None,
            released,
            damage: 0,
            uncounted: 0,
            share: 1000,
            rest: None,
            wanted: 0,
        };
        self.pausing.shown = checkpoint.image.kind.pause();
        let (report, reports) = mpsc::channel(limits::REPORTS);
        let begin = Begin { checkpoint: (*checkpoint).clone(), warm, sequence, key, control };
        self.withheld.clear();
        self.held_under = Some(fence);
        self.since = Instant::now();
        self.reports = Some(reports);
        self.instance = Some(instance::spawn(self.inner.clone(), self.shared.clone(), begin, report));
        self.set_load(true);
        // From here on it counts as running.
        let task = self.shared.task;
        self.inner.with_leases(|leases, now| leases.release_task(task, now));
    }

    pub(super) async fn report(&mut self, report: Report) {
        match report {
            Report::Started => self.started().await,
            Report::Progress { permille, text, ops_done } => {
                self.shown.permille = permille;
                if let Some(text) = text {
                    self.shown.text = text;
                }
                self.ops_done = ops_done;
            }
            // One of several in short order is enough: the next shows more.
            Report::Preview(_) if self.shown.preview_told.elapsed() < limits::PROGRESS_GAP => {}
            Report::Preview(bytes) => {
                self.shown.preview_told = Instant::now();
                let bytes = Arc::new(bytes);
                self.shared.preview.send_replace(Some(bytes.clone()));
                self.inner.tell(TaskEvent::Preview { task: self.shared.task, bytes: bytes.to_vec() });
            }
            Report::Effects(effects) => self.withhold(effects),
            Report::Rests(pause) => {
                self.pausing.shown = pause;
                self.set_load(true);
            }
            Report::Stored { manifest, wanted } => {
                self.shown.checkpoints += 1;
                self.shown.checkpoint_at = Some(Instant::now());
                self.shared.parts().untold.remove(&manifest.hash());
                self.set_load(true);
                let hash = manifest.hash();
                self.feed(Event::Checkpoint { manifest });
                let held = &self.machine.record().held;
                self.uncounted = held.as_ref().is_none_or(|held| held.checkpoint.manifest != hash);
                if !self.uncounted {
                    self.saving.stored = wanted;
                }
            }
            Report::Trouble(error) => {
                self.sweep = true;
                self.trouble(error);
            }
            Report::Stopped { last } => {
                self.stop();
                if let Some(last) = &last {
                    self.shared.parts().untold.remove(&last.hash());
                }
                self.feed(Event::Stopped { last });
            }
            Report::Failed { error } => {
                self.stop();
                self.trouble(Some(error.clone()));
                self.feed(Event::Failed { error });
            }
            Report::CannotStop { error } => self.feed(Event::CannotStop { error }),
            Report::Damaged { chunks } => {
                self.stop();
                let lost = chunks.iter().flat_map(|chunk| self.shared.parts().forget_chunk(chunk)).collect();
                self.lost(lost);
                self.feed(Event::Stopped { last: None });
            }
            Report::Finished { result, failure } => {
                self.stop();
                if failure.is_some() {
                    self.trouble(failure);
                }
                self.shown.permille = 1000;
                self.shared.parts().untold.remove(&result.hash());
                self.feed(Event::Finished { result });
            }
        }
    }

    /// A checkpoint that came while the next epoch was being decided does not count. A task that takes no more steps until
    /// its effects have left would make no other one by itself.
    pub(super) fn mind_uncounted(&mut self) {
        if self.uncounted && self.machine.takes_checkpoints() {
            self.uncounted = false;
            if let Some(instance) = &self.instance {
                instance.set(|control| control.uncounted += 1);
            }
        }
    }

    pub(super) fn stop(&mut self) {
        self.instance = None;
        self.uncounted = false;
        self.reports = None;
        self.pausing.stopped();
        self.saving.stopped();
        let mut parts = self.shared.parts();
        if let Some(image) = parts.snapshot.take() {
            // Chunks that no checkpoint names are in nobody's way; the rest is sorted out below.
            parts.staged.extend(image.chunks.iter().copied());
        }
        drop(parts);
        self.sweep = true;
        self.set_load(false);
    }

    /// The first step is about to be taken: the account of the move that led here.
    pub(super) async fn started(&mut self) {
        let decree = self.machine.decree();
        let (epoch, why) = (decree.epoch, decree.why);
        let coming = self.shared.parts().coming.take();
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let now = Instant::now();
        let done = self.shared.parts().moves.last().map(|m| m.epoch);
        if done.is_some_and(|done| done >= epoch) {
            return; // It was told before this device restarted.
        }
        let me = self.inner.me;
        let at = self.inner.seam.clock.wall();
        let since = |then: Instant| ms(now.saturating_duration_since(then));
        let moved = |from, reason, downtime_ms| Move {
            from,
            to: me,
            reason,
            epoch,
            downtime_ms,
            bytes: 0,
            at,
            rounds: 0,
            whole_ms: downtime_ms,
        };
        let moved = match (coming, self.before.take(), why) {
            (Some(coming), _, Why::HandOver) => Some(Move {
                bytes: coming.bytes,
                rounds: coming.rounds,
                whole_ms: since(coming.began),
                ..moved(coming.from, coming.reason, since(coming.stopped))
            }),
            (_, Some((from, heard)), Why::FailOver) if from != me => {
                Some(moved(from, MoveReason::Failover, since(heard)))
            }
            (_, Some((from, heard)), Why::Adopted { .. }) if from != me => {
                Some(moved(from, MoveReason::Adopted, since(heard)))
            }
            (_, Some((from, heard)), Why::HandOver) if from != me => {
                Some(moved(from, MoveReason::Bus(decree.note.clone()), since(heard)))
            }
            _ => None,
        };
        let Some(moved) = moved else { return };
        self.shared.parts().add_move(moved.clone());
        self.inner.tell(TaskEvent::Moved { task: self.shared.task, moved });
        if let Err(error) = self.inner.save_file(&self.shared).await {
            self.trouble(Some(error.to_string()));
        }
    }

    pub(super) fn trouble(&mut self, error: Option<String>) {
        if let Some(error) = &error {
            tracing::warn!(task = %self.shared.task, %error, "trouble with a task");
            self.inner.tell(TaskEvent::Trouble { task: self.shared.task, error: error.clone() });
        }
        self.shared.parts().error = error;
    }

    /// Effects wait until a covered checkpoint contains them.
    pub(super) fn withhold(&mut self, effects: Vec<Effect>) {
        if self.held_under.is_none() {
            return;
        }
        for effect in effects {
            if let Err(full) = self.withheld.hold(effect) {
                // Memory has an end: the task starts again from its last checkpoint.
                self.stop();
                self.trouble(Some(full.to_string()));
                return self.feed(Event::Failed { error: full.to_string() });
            }
        }
        // What a checkpoint said that the task began from is told once more, perhaps after it was let out.
        if let Some((fence, through)) = self.let_out.filter(|(fence, _)| *fence == self.machine.fence()) {
            self.let_go(fence, through);
        }
    }

    pub(super) fn release(&mut self, fence: Fence, through: u64) {
        self.let_out = Some((fence, through));
        match &self.instance {
            Some(instance) => instance.set(|control| control.released = control.released.max(through)),
            // The right has passed on and come back: what was said here before, others may have said otherwise.
            None if self.held_under != Some(fence) => self.withheld.clear(),
            None => {}
        }
        self.let_go(fence, through);
    }

    fn let_go(&mut self, fence: Fence, through: u64) {
        while let Some(effect) = self.withheld.release(through) {
            self.effect(fence, effect);
        }
    }

    /// An effect left the task: each number once, and none of an older right than is known.
    pub(super) fn effect(&mut self, fence: Fence, effect: Effect) {
        let gap = self.heard_effects.gap_before(effect.sequence);
        if !self.heard_effects.accept(fence, effect.sequence) {
            return;
        }
        if let Some((from, to)) = gap {
            self.inner.tell(TaskEvent::EffectsMissed { task: self.shared.task, from, to });
        }
        let effect = Arc::new(effect);
        self.inner.tell(TaskEvent::Effect {
            task: self.shared.task,
            sequence: effect.sequence,
            bytes: effect.bytes.clone(),
        });
        self.shared.release(Released { fence, effect });
    }

    pub(super) fn set_load(&self, running: bool) {
        let left = self
            .shared
            .grant()
            .filter(|_| running && self.pausing.shown.is_none())
            .map(|grant| placing::left_ops(grant.grant.spec.ops, self.ops_done, self.shown.permille));
        self.inner.set_load(self.shared.task, left);
    }
}
