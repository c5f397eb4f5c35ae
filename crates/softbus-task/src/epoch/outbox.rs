//! Output commit: nothing leaves that the disk could still forget.
//!
//! The machine changes its record in memory and goes on at once; whatever it says from then on is kept back until the
//! record is durable. A crash in between loses both the change and every word about it.

use std::collections::VecDeque;

use softbus_core::BootMs;

use super::tuning::HELD_BACK;
use super::{Action, Durable, Tuning};

#[derive(Default)]
pub(super) struct Outbox {
    ready: Vec<Action>,
    back: VecDeque<(u64, Action)>,
    /// Last token given out.
    last: u64,
    /// Last token known to be durable.
    durable: u64,
    dirty: bool,
    retry_at: Option<BootMs>,
    /// For tests of the tests: say everything at once.
    #[cfg(any(test, feature = "sabotage"))]
    pub(super) leaky: bool,
}

impl Outbox {
    /// The record changed.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    /// Whether the record in memory is the one on disk.
    pub(super) fn settled(&self) -> bool {
        #[cfg(any(test, feature = "sabotage"))]
        if self.leaky {
            return true;
        }
        !self.dirty && self.durable == self.last
    }

    /// Does `action` at once: it depends on nothing in the record.
    pub(super) fn at_once(&mut self, action: Action) {
        self.ready.push(action);
    }

    /// Does `action` when the record as it is now is durable.
    pub(super) fn when_durable(&mut self, action: Action) {
        if self.settled() {
            self.ready.push(action);
        } else if self.back.len() < HELD_BACK {
            self.back.push_back((self.last + u64::from(self.dirty), action));
        }
    }

    pub(super) fn persisted(&mut self, token: u64) {
        self.durable = self.durable.max(token.min(self.last));
        self.retry_at = None;
        while let Some((_, action)) = self.back.pop_front_if(|(tag, _)| *tag <= self.durable) {
            self.ready.push(action);
        }
    }

    /// A write failed; returns whether this is news.
    pub(super) fn failed(&mut self, now: BootMs, tuning: &Tuning) -> bool {
        let news = self.retry_at.is_none();
        self.retry_at = Some(now.after(tuning.retry * 4));
        news
    }

    /// Writes again what could not be written. Returns when to look again.
    pub(super) fn retry(&mut self, now: BootMs) -> Option<BootMs> {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.dirty = true;
        }
        self.retry_at
    }

    /// Forgets messages of which the record says by now that they must not be sent.
    pub(super) fn drop_back(&mut self) {
        self.back.clear();
    }

    /// Ends one call of the machine: the record is written if it changed.
    pub(super) fn flush(&mut self, record: &Durable) -> Vec<Action> {
        if self.dirty {
            self.dirty = false;
            self.last += 1;
            self.ready.push(Action::Persist { record: Box::new(record.clone()), token: self.last });
        }
        std::mem::take(&mut self.ready)
    }
}

/// When to say something again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Retry {
    pub(super) at: BootMs,
    wait_ms: u64,
}

impl Retry {
    /// Due now.
    pub(super) fn now(now: BootMs) -> Self {
        Self { at: now, wait_ms: 0 }
    }

    /// Due later.
    pub(super) fn at(at: BootMs) -> Self {
        Self { at, wait_ms: 0 }
    }

    pub(super) fn due(&self, now: BootMs) -> bool {
        self.at <= now
    }

    /// Said once more; the next time comes later.
    pub(super) fn again(&mut self, now: BootMs, tuning: &Tuning) {
        let least = tuning.retry.as_millis() as u64;
        let most = tuning.retry_max.as_millis() as u64;
        self.wait_ms = (self.wait_ms * 2).clamp(least, most);
        self.at = BootMs(now.0.saturating_add(self.wait_ms));
    }
}
