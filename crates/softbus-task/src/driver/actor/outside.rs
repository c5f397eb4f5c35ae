//! What reaches the actor from outside: messages, orders, the roster, news of the task's runner.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use softbus_core::DeviceId;
use softbus_core::wire::task::{EpochBody, Outcome};
use softbus_core::wire::task_control::{TaskState, WatchNote};
use tokio::time::Instant;

use super::retention::End;
use super::{Actor, Done, Input, is_present};
use crate::driver::follow::{self, Heard};
use crate::driver::warm::Warm;
use crate::epoch::{Command, Event, Status, Trace};
use crate::native::Effect;
use crate::status::{TaskEvent, cut};
use crate::{TaskError, limits};

impl Actor {
    pub(super) fn input(&mut self, input: Input) {
        match input {
            Input::Epoch { from, message } => {
                if from == self.owner {
                    self.heard_owner = Instant::now();
                }
                if let EpochBody::Prepare { .. } = message.body {
                    self.shared.parts().warm.get_or_insert_with(Warm::begin);
                }
                if let EpochBody::Warm { .. } = message.body {
                    let parts = self.shared.parts();
                    let sent = parts.leaving.as_ref().filter(|leaving| leaving.to == from).map(|l| l.bytes);
                    drop(parts);
                    if let Some(bytes) = sent {
                        self.feed(Event::Sent { to: from, bytes });
                    }
                }
                self.feed(Event::Message { from, message });
            }
            Input::Order { command, done } => {
                let result = self.order(command);
                answer(done, result);
            }
            Input::Move(wish) => self.consider(wish),
            Input::Rest(ask) => self.rest(ask),
            Input::Save(wanted) => self.save(wanted),
            Input::Sweep => self.sweep = true,
            Input::Asked(wish) => {
                self.asking = false;
                self.consider(wish);
            }
            Input::Promised { to, given, wish } => self.promised(to, given, wish),
            Input::Fetched { number, manifest, result } => self.fetched(number, manifest, result),
            Input::Warmed { manifest } => self.warmed(manifest),
            Input::Lost { manifests } => self.lost(manifests),
            Input::Prove { answer } => {
                // Who asked may have gone.
                let _ = answer.send(self.machine.proof().map(<[_]>::to_vec));
            }
            Input::Interest => {
                self.interest = true;
                self.follow_runner();
            }
            Input::Drain { left } if self.shared.status.borrow().state.is_final() => {
                // There is nothing of it to move. Who asked may have gone.
                let _ = left.send(());
            }
            Input::Drain { left } => {
                self.draining = Some(left);
                self.look();
                if let Err(error) = self.order(Command::Drain) {
                    self.trouble(Some(error.to_string()));
                }
            }
            Input::TrustChanged => {
                self.look();
                self.leave_if_no_longer_trusted();
            }
        }
    }

    // ------------------------------------------------------------ the roster

    /// Looks at the roster: who is there, who would be best, and whether the task should move.
    pub(super) fn look(&mut self) {
        let view = self.roster.borrow_and_update().clone();
        self.looked = Instant::now();
        let members = self.shared.parts().members.clone();
        let me = self.inner.me;
        // Whoever was lost as a member and is none any more may come back, too: as one to move to.
        self.present.retain(|peer, present| !*present || members.contains(peer));
        let known: BTreeSet<DeviceId> = members.into_iter().chain(self.present.keys().copied()).collect();
        for peer in known.into_iter().filter(|peer| *peer != me) {
            // Whoever is out of the circle is lost for the task, whatever else it shares with us.
            let ours = self.shared.grant().is_none_or(|grant| self.inner.is_of_circle(&grant, &peer));
            let now = ours && is_present(&view, &peer);
            if self.present.insert(peer, now) != Some(now) {
                self.feed(if now { Event::PeerBack { peer } } else { Event::PeerLost { peer } });
            }
        }
        let Some(grant) = self.shared.grant() else { return };
        let over = self.machine.decree().outcome != Outcome::Run;
        if !over {
            let (_, preference) = self.ranked(&grant, false);
            if preference != self.preference {
                self.preference.clone_from(&preference);
                self.feed(Event::Preference { devices: preference });
            }
        }
        self.rebalance(&grant);
        self.follow_runner();
        self.ask_for_rights();
        self.tidy();
    }

    // ------------------------------------------------------------ the runner, when it is another device

    pub(super) fn follow_runner(&mut self) {
        let decree = self.machine.decree();
        self.lived |= decree.outcome == Outcome::Run;
        let wanted = decree.owner != self.inner.me
            && (self.interest || decree.submitter == self.inner.me)
            && !self.remote.as_ref().is_some_and(|note| note.state.is_final())
            && (decree.outcome == Outcome::Run
                // What it said last, or all of it, may have been missed. It is not waited for where it is not.
                || (decree.outcome == Outcome::Done
                    && self.lived
                    && is_present(&self.roster.borrow(), &decree.owner)));
        if !wanted {
            self.follow = None;
            return;
        }
        if self.follow.as_ref().is_none_or(|follow| follow.runner != decree.owner) {
            // What it repeats is known here; a number heard of another does not tell what to ask for.
            let heard = self.heard_from.clone();
            self.follow = Some(follow::follow(&self.inner, self.shared.task, decree.owner, 0, heard));
        }
        if let Some(follow) = &self.follow {
            follow.over.store(decree.outcome == Outcome::Done, Ordering::Relaxed);
        }
    }

    pub(super) fn heard(&mut self, heard: Heard) {
        if heard.from != self.owner || self.owner == self.inner.me {
            return;
        }
        self.heard_owner = Instant::now();
        match heard.note {
            WatchNote::Status(note) => {
                if note.spec.task != self.shared.task
                    || note.epoch < self.machine.decree().epoch
                    || !note.within_limits()
                {
                    return;
                }
                let news: Vec<_> = {
                    let mut parts = self.shared.parts();
                    let last = parts.moves.last().map(|m| m.epoch);
                    let news = note.moves.iter().filter(|m| last.is_none_or(|last| m.epoch > last));
                    let news: Vec<_> = news.cloned().collect();
                    news.iter().for_each(|moved| parts.add_move(moved.clone()));
                    news
                };
                for moved in news {
                    self.inner.tell(TaskEvent::Moved { task: self.shared.task, moved });
                }
                self.shown.permille = note.progress_permille.min(1000);
                self.shown.text = cut(note.progress_text.clone());
                self.remote = Some(*note);
            }
            WatchNote::Preview(bytes) => {
                self.shared.preview.send_replace(Some(Arc::new(bytes.clone())));
                self.inner.tell(TaskEvent::Preview { task: self.shared.task, bytes });
            }
            WatchNote::Effect { fence, sequence, bytes } => {
                self.foreign_effect(fence, Effect { sequence, bytes });
            }
        }
    }

    // ------------------------------------------------------------ the end

    /// Drops what is no longer of use, and the whole task when it is over and its time has passed.
    fn tidy(&mut self) {
        {
            let mut parts = self.shared.parts();
            let running = self.instance.is_some();
            parts.warm.take_if(|warm| !running && warm.since.elapsed() > limits::WARM_KEEP);
        }
        // Who was only asked to take it, and then was not given it, has no part in it.
        let (decree, me) = (self.machine.decree(), self.inner.me);
        let part = decree.submitter == me || decree.members().contains(&me);
        let view = self.view();
        let ended = matches!(view.status, Status::Done { .. } | Status::Cancelled { .. });
        let end = match ended || !part {
            true if view.settled => End::Settled,
            true if ended => End::Untold,
            _ => End::No,
        };
        let count = self.retention.count(end, self.inner.seam.clock.boot());
        let keep = if part { self.inner.config.keep_results } else { limits::KNOW_ENDED };
        if self.retention.is_past(keep) {
            self.forget();
        } else if let Some(over_ms) = count {
            self.shared.parts().over_ms = over_ms;
            self.inner.save_file_soon(&self.shared);
        }
    }

    /// Whoever runs or keeps a task of others erases it when it leaves their circle.
    fn leave_if_no_longer_trusted(&mut self) {
        let decree = self.machine.decree();
        // Running it is no right of its own.
        let ours = decree.submitter == self.inner.me;
        let known = decree.members().into_iter().chain([decree.submitter]);
        let Some(grant) = self.shared.grant() else { return };
        let trusted = known.filter(|id| *id != self.inner.me).any(|id| self.inner.is_of_circle(&grant, &id));
        if !ours && !trusted {
            tracing::info!(task = %self.shared.task, "nobody of the task is trusted any more: it is erased here");
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.gone = true;
        self.instance = None;
        self.inner.forget(&self.shared, Some(Trace::of(&self.machine)));
    }
}

pub(super) fn answer(done: Done, result: Result<(), TaskError>) {
    if let Some(done) = done {
        // Who asked may have gone.
        let _ = done.send(result);
    }
}

/// The states that a status of another device may add to what our machine knows.
pub(super) fn adds(state: TaskState) -> bool {
    matches!(
        state,
        TaskState::Failed
            | TaskState::Quarantined
            | TaskState::Paused
            | TaskState::PausedBy(_)
            | TaskState::Moving
    )
}
