//! Effects that are told under a right of which this device's machine has not heard. The right may be true, with its
//! certificate still on the way, or a lie that would silence all later runners, as receivers refuse what comes under an
//! older right than they know. So such effects wait until the machine knows the right, and are forgotten if it never does.

use std::collections::VecDeque;

use softbus_core::wire::task::{EpochMessage, Fence};

use super::Actor;
use crate::limits;
use crate::native::Effect;

#[derive(Default)]
pub(super) struct EarlyEffects {
    waiting: VecDeque<(Fence, Effect)>,
    bytes: usize,
}

impl EarlyEffects {
    /// The oldest give way.
    fn hold(&mut self, fence: Fence, effect: Effect) {
        self.bytes += effect.bytes.len();
        self.waiting.push_back((fence, effect));
        while self.waiting.len() > limits::EFFECTS || self.bytes > limits::EFFECT_BYTES {
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<(Fence, Effect)> {
        let first = self.waiting.pop_front()?;
        self.bytes -= first.1.bytes.len();
        Some(first)
    }

    /// The next one whose right is known by now. They stay in their order.
    fn next(&mut self, known: Fence) -> Option<(Fence, Effect)> {
        self.waiting.front().filter(|(fence, _)| *fence <= known)?;
        self.pop()
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Actor {
    /// The runner tells of an effect.
    pub(super) fn foreign_effect(&mut self, fence: Fence, effect: Effect) {
        if fence <= self.machine.fence() && self.early_effects.is_empty() {
            return self.effect(fence, effect);
        }
        let first = self.early_effects.is_empty();
        self.early_effects.hold(fence, effect);
        if first {
            self.ask_for_rights();
        }
    }

    pub(super) fn take_early_effects(&mut self) {
        while let Some((fence, effect)) = self.early_effects.next(self.machine.fence()) {
            self.effect(fence, effect);
        }
    }

    /// Another runs it now: what the one before claimed and nobody proved is nothing to wait for.
    pub(super) fn forget_early_effects(&mut self) {
        self.take_early_effects();
        self.early_effects = EarlyEffects::default();
    }

    /// Asks the runner for the certificate of the right that it claims.
    pub(super) fn ask_for_rights(&mut self) {
        if !self.early_effects.is_empty() && self.owner != self.inner.me {
            self.inner.send_epoch(self.owner, None, &EpochMessage::ask(self.shared.task));
        }
    }
}

#[cfg(test)]
mod tests {
    use softbus_core::wire::task::Branch;
    use softbus_core::{Epoch, Hash};

    use super::*;

    fn fence(fork: u32, epoch: u64) -> Fence {
        Fence { branch: Branch { fork, root: Hash([1; 32]) }, epoch: Epoch(epoch) }
    }

    fn effect(sequence: u64, len: usize) -> Effect {
        Effect { sequence, bytes: vec![0; len] }
    }

    #[test]
    fn they_wait_for_the_certificate_and_are_bounded() {
        let mut early = EarlyEffects::default();
        early.hold(fence(0, 2), effect(7, 1));
        early.hold(fence(u32::MAX, 1), effect(8, 1));
        assert_eq!(early.next(fence(0, 1)), None);
        assert_eq!(early.next(fence(0, 2)).map(|(_, effect)| effect.sequence), Some(7));
        assert_eq!(early.next(fence(0, 9)), None, "a right that nobody proves");
        for sequence in 0..2 * limits::EFFECTS as u64 {
            early.hold(fence(0, 3), effect(sequence, 1));
        }
        assert_eq!(early.waiting.len(), limits::EFFECTS);
        early.hold(fence(0, 3), effect(u64::MAX, limits::EFFECT_BYTES));
        assert_eq!(early.waiting.len(), 1);
    }
}
