//! What leaves a task. Each effect has a number; the fence under which it left only tells who may speak.
//!
//! The sender keeps effects back until a checkpoint that contains them is covered: a task that fails over runs a part
//! of its life again and may then say something else, so nothing may be heard that could still be unsaid. This costs
//! the time until the next checkpoint is held by a majority (one interval, a write, a round trip). The receiver takes
//! each number once, in order of the fences, so repetition after a move does no harm.
//!
//! Numbers are consecutive, but a receiver that was away has gaps, so it cannot refuse a leap. A runner that lies could
//! leap far ahead to have all that is said after it taken for repetition. Therefore a number binds only so far: the next
//! owner begins at a covered checkpoint, which has all that left, and repeats at most what that carries along
//! ([`REPEATED`]). If it begins further back than that, its predecessor had leapt, and what it says is news.

use std::collections::VecDeque;

use softbus_core::wire::task::Fence;

/// Most effects that wait for a checkpoint.
pub const WITHHELD: usize = 1 << 16;
/// Most bytes that wait for a checkpoint.
pub const WITHHELD_BYTES: usize = 64 << 20;

/// Most effects that a checkpoint carries along, and a new owner repeats.
pub const REPEATED: u64 = (crate::limits::EFFECTS + crate::native::EFFECTS_PER_STEP) as u64;

/// An effect: a number within its task, and a size.
pub trait Numbered {
    /// Its number; the first is 1.
    fn sequence(&self) -> u64;
    /// Its length in bytes.
    fn size(&self) -> usize;
}

/// Too many effects wait for a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("more effects wait for a checkpoint than may ({WITHHELD}, {WITHHELD_BYTES} bytes): is a disk full?")]
pub struct GateFull;

/// At the sender: effects that may not leave yet.
#[derive(Debug)]
pub struct EffectGate<E> {
    waiting: VecDeque<E>,
    bytes: usize,
}

impl<E> Default for EffectGate<E> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0 }
    }
}

impl<E: Numbered> EffectGate<E> {
    /// Keeps back what an instance said. Numbers that are not new to the gate are those of a restart and are left out.
    pub fn hold(&mut self, effect: E) -> Result<(), GateFull> {
        if self.waiting.back().is_some_and(|last| last.sequence() >= effect.sequence()) {
            return Ok(());
        }
        let bytes = self.bytes.saturating_add(effect.size());
        if self.waiting.len() >= WITHHELD || bytes > WITHHELD_BYTES {
            return Err(GateFull);
        }
        self.bytes = bytes;
        self.waiting.push_back(effect);
        Ok(())
    }

    /// Lets out what [`Action::ReleaseEffects`](super::Action::ReleaseEffects) permits, one by one and in order.
    pub fn release(&mut self, through: u64) -> Option<E> {
        let effect = self.waiting.pop_front_if(|effect| effect.sequence() <= through)?;
        self.bytes = self.bytes.saturating_sub(effect.size());
        Some(effect)
    }

    /// The instance begins anew from a checkpoint: what it had said since does not count.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// At the receiver: what was heard of a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EffectInbox {
    fence: Option<Fence>,
    last: u64,
}

impl EffectInbox {
    /// One that lacks the effects from this number on.
    pub fn from(next: u64) -> Self {
        Self { fence: None, last: next.saturating_sub(1) }
    }

    /// Whether to take an effect: its sender is not one whose right is known to have passed on, and its number is new
    /// (or so far behind what a former owner said that it must have lied).
    pub fn accept(&mut self, fence: Fence, sequence: u64) -> bool {
        if self.fence.is_some_and(|known| fence < known) {
            return false;
        }
        let another = self.fence != Some(fence);
        self.fence = Some(fence);
        let new = sequence > self.last || (another && self.last - sequence >= REPEATED);
        if new {
            self.last = sequence;
        }
        new
    }

    /// Numbers that were passed over if `sequence` is taken now: they left while nobody listened here. Where nothing was
    /// heard before, nothing was missed: each listener begins somewhere.
    pub fn gap_before(&self, sequence: u64) -> Option<(u64, u64)> {
        let next = self.next();
        (self.last > 0 && sequence > next).then(|| (next, sequence - 1))
    }

    /// The number wanted next.
    pub fn next(&self) -> u64 {
        self.last.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use softbus_core::wire::task::Branch;
    use softbus_core::{Epoch, Hash};

    use super::*;

    #[derive(Clone, PartialEq, Eq, Debug)]
    struct Said(u64, u64);

    impl Numbered for Said {
        fn sequence(&self) -> u64 {
            self.0
        }

        fn size(&self) -> usize {
            8
        }
    }

    fn fence(fork: u32, epoch: u64) -> Fence {
        Fence { branch: Branch { fork, root: Hash([1; 32]) }, epoch: Epoch(epoch) }
    }

    #[test]
    fn nothing_leaves_before_it_may() {
        let mut gate = EffectGate::default();
        for n in 1..=5 {
            gate.hold(Said(n, n)).unwrap();
        }
        assert_eq!(gate.release(0), None);
        let out: Vec<u64> = std::iter::from_fn(|| gate.release(3)).map(|said| said.0).collect();
        assert_eq!((out, gate.waiting()), (vec![1, 2, 3], 2));
        gate.clear();
        assert_eq!(gate.release(9), None);
    }

    #[test]
    fn the_gate_is_bounded() {
        let mut gate = EffectGate::default();
        for n in 1..=WITHHELD as u64 {
            gate.hold(Said(n, n)).unwrap();
        }
        assert_eq!(gate.hold(Said(u64::MAX, 0)), Err(GateFull));
        gate.release(1);
        assert_eq!(gate.hold(Said(u64::MAX, 0)), Ok(()));
    }

    #[test]
    fn an_older_right_is_refused_whatever_its_numbers() {
        let mut inbox = EffectInbox::default();
        assert!(inbox.accept(fence(0, 2), 1));
        assert!(!inbox.accept(fence(0, 1), 2));
        assert!(inbox.accept(fence(1, 1), 2), "a later branch fences an earlier one");
        assert!(!inbox.accept(fence(0, 9), 3));
        assert_eq!(inbox.next(), 3);
    }

    #[test]
    fn a_leap_does_not_silence_the_next_owner() {
        let mut inbox = EffectInbox::default();
        for n in 1..=1000 {
            assert!(inbox.accept(fence(0, 1), n));
        }
        assert!(inbox.accept(fence(0, 1), u64::MAX), "who was away has gaps");
        assert!(!inbox.accept(fence(0, 1), 1001), "it binds itself");
        assert!(inbox.accept(fence(0, 2), 1001));
        assert!(inbox.accept(fence(0, 2), 1002));
        assert!(!inbox.accept(fence(0, 3), 1002 - REPEATED + 1), "an honest one repeats some");
        assert!(inbox.accept(fence(0, 3), 1003));
        assert!(!inbox.accept(fence(0, 1), u64::MAX));
        assert_eq!(inbox.next(), 1004);
    }

    #[test]
    fn a_gap_is_told_to_who_had_listened() {
        let mut inbox = EffectInbox::default();
        assert_eq!(inbox.gap_before(7), None);
        assert!(inbox.accept(fence(0, 1), 7));
        assert_eq!(inbox.gap_before(8), None);
        assert_eq!(inbox.gap_before(10), Some((8, 9)));
        assert_eq!(inbox.gap_before(3), None);
    }

    proptest! {
        /// Owners follow each other, each begins again from a covered checkpoint; messages are doubled and late. The
        /// receiver ends with each effect once, in order, as it was when it was covered.
        #[test]
        fn effects_arrive_once_and_in_order(
            owners in prop::collection::vec((1u64..6, 0u64..6, any::<u64>()), 1..8),
            echo in any::<prop::sample::Index>(),
        ) {
            let mut truth: Vec<u64> = Vec::new();
            let (mut inbox, mut heard, mut sent) = (EffectInbox::default(), Vec::new(), Vec::new());
            for (epoch, (covered, uncovered, salt)) in owners.into_iter().enumerate() {
                let (fence, mut gate) = (fence(0, epoch as u64 + 1), EffectGate::default());
                let start = truth.len() as u64;
                for n in 1..=start + covered + uncovered {
                    let value = truth.get(n as usize - 1).copied().unwrap_or(salt ^ n);
                    gate.hold(Said(n, value)).unwrap();
                }
                let through = start + covered;
                while let Some(said) = gate.release(through) {
                    if said.0 as usize > truth.len() {
                        truth.push(said.1);
                    }
                    sent.push((fence, said));
                    let late = sent[echo.index(sent.len())].clone();
                    for (fence, said) in [sent[sent.len() - 1].clone(), late] {
                        if inbox.accept(fence, said.0) {
                            heard.push(said.1);
                        }
                    }
                }
            }
            prop_assert_eq!(heard, truth);
        }
    }
}
