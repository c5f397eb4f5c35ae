use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use softbus_core::TaskId;
use softbus_core::wire::task::Fence;

/// Most effects a single step may emit; more are an error of the task.
pub(crate) const EFFECTS_PER_STEP: usize = 64;
/// Longest effect or preview, in bytes.
pub(crate) const EFFECT_BYTES: usize = 256 << 10;

/// What a step may use and say.
pub struct StepContext {
    budget_ops: u64,
    spent_ops: u64,
    stop: Arc<AtomicBool>,
    next_effect: u64,
    right: Option<(TaskId, Fence)>,
    waker: Waker,
    report: StepReport,
}

/// Something that left a task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Effect {
    pub sequence: u64,
    pub bytes: Vec<u8>,
}

impl crate::epoch::Numbered for Effect {
    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// What a step said.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct StepReport {
    pub progress: Option<(u16, String)>,
    pub preview: Option<Vec<u8>>,
    pub effects: Vec<Effect>,
    pub spent_ops: u64,
    /// The share of its processor that it may have, in thousandths; none: all of it.
    pub share_permille: Option<u16>,
}

impl StepContext {
    pub(crate) fn new(budget_ops: u64, next_effect: u64, stop: Arc<AtomicBool>) -> Self {
        let (waker, report) = (Waker::noop().clone(), StepReport::default());
        Self { budget_ops, spent_ops: 0, stop, next_effect, right: None, waker, report }
    }

    pub(crate) fn with_right(self, task: TaskId, fence: Fence) -> Self {
        Self { right: Some((task, fence)), ..self }
    }

    pub(crate) fn with_waker(self, waker: Waker) -> Self {
        Self { waker, ..self }
    }

    /// For trying a task without a bus: a step of at most `budget_ops`.
    pub fn detached(budget_ops: u64) -> Self {
        Self::new(budget_ops, 1, Arc::default())
    }

    /// Which task this is, and by which right it runs: a fencing token for what it does elsewhere, which grows each time
    /// that the task passes to another device (Burrows, "The Chubby lock service", 2006, section 2.4: sequencers). Whoever
    /// is told to act by it refuses what comes under a smaller one than it has seen. `None` outside a bus.
    pub fn right(&self) -> Option<(TaskId, Fence)> {
        self.right
    }

    /// What is left of this step's budget, in operations of the reference kernel.
    pub fn budget_ops(&self) -> u64 {
        self.budget_ops.saturating_sub(self.spent_ops)
    }

    /// Counts work done. `false` once the budget is used up or the task shall stop: return
    /// [`Step::More`](crate::Step::More) then.
    pub fn spend(&mut self, ops: u64) -> bool {
        self.spent_ops = self.spent_ops.saturating_add(ops);
        self.spent_ops < self.budget_ops && !self.stopping()
    }

    /// After this step the task stands still for so long that it has this share of one processor at most, in thousandths.
    pub fn limit_share(&mut self, permille: u16) {
        self.report.share_permille = Some(permille);
    }

    /// Whether the task shall pause, move or end soon: return as early as is convenient.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What [`StepContext::stopping`] looks at, for a program that is to be told of it while it runs.
    pub fn stop_signal(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Ends the wait of a [`Step::Wait`](crate::Step::Wait) early, from wherever what is waited for happens. Wakes nobody
    /// outside a bus.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Tells how far the task is, 0 to 1, and what it is doing.
    pub fn progress(&mut self, done: f64, text: impl Into<String>) {
        let permille = (done.clamp(0.0, 1.0) * 1000.0) as u16;
        self.report.progress = Some((permille, text.into()));
    }

    /// Shows what the output looks like so far, at most 256 KiB (longer ones are dropped). Watchers get it at
    /// once, marked as provisional; after a fail-over they may see other ones for the same point.
    pub fn preview(&mut self, bytes: Vec<u8>) {
        if bytes.len() <= EFFECT_BYTES {
            self.report.preview = Some(bytes);
        }
    }

    /// Lets something out of the task, at most 256 KiB, and gives its sequence number. Watchers get each number
    /// once. Under policy `quorum` it is withheld until a replicated checkpoint covers it, which adds up to one
    /// checkpoint interval of latency; numbers are never given twice to different bytes then.
    pub fn emit(&mut self, bytes: Vec<u8>) -> Result<u64, crate::TaskFailure> {
        if bytes.len() > EFFECT_BYTES || self.report.effects.len() >= EFFECTS_PER_STEP {
            return Err(crate::TaskFailure::new(format!(
                "a step may emit {EFFECTS_PER_STEP} effects of {EFFECT_BYTES} bytes at most"
            )));
        }
        let sequence = self.next_effect;
        // The number before came with the state, perhaps from another device.
        let next = sequence.checked_add(1);
        self.next_effect =
            next.ok_or_else(|| crate::TaskFailure::new("there are no numbers left for effects"))?;
        self.report.effects.push(Effect { sequence, bytes });
        Ok(sequence)
    }

    /// What this step let out, in order: for trying a task without a bus.
    pub fn emitted(&self) -> impl Iterator<Item = &[u8]> {
        self.report.effects.iter().map(|effect| effect.bytes.as_slice())
    }

    pub(crate) fn finish(mut self) -> StepReport {
        self.report.spent_ops = self.spent_ops;
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_end_before_their_numbers_repeat() {
        // The number to go on with comes with a saved state, which may come from anywhere.
        let mut cx = StepContext::new(10, u64::MAX - 1, Arc::default());
        assert_eq!(cx.emit(vec![1]).ok(), Some(u64::MAX - 1));
        assert!(cx.emit(vec![2]).is_err());
        assert_eq!(cx.finish().effects.len(), 1);
    }
}
