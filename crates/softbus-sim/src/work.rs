//! The task that simulations run: any amount of work, state and effects, whose course depends on its input alone and
//! costs next to nothing to compute. Each step tells the [`watch`] that it was taken, where, and by which
//! right: what is said of live copies rests on that, and not on what devices say of themselves.

use serde::{Deserialize, Serialize};
use softbus_task::{Buffer, Estimate, Step, StepContext, Task, TaskFailure};

use crate::watch;

/// The state changes so many times on its way, however long that is.
const TURNS: u64 = 1000;

/// Effects let out in one step, at most about twice as many.
const EFFECTS: u64 = 16;

/// What a piece of work is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkInput {
    /// Its number among the orders of the simulation.
    pub order: u32,
    /// Operations of the reference kernel.
    pub ops: u64,
    /// Size of its state, in bytes.
    pub state_bytes: usize,
    /// Of which so many change, a part of them at each turn.
    pub hot_bytes: usize,
    /// Memory it declares, in bytes.
    pub memory_bytes: u64,
    /// Effects it lets out on its way.
    pub effects: u64,
}

/// What it has come to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkState {
    /// First: what changes its length would move it.
    ballast: Buffer,
    input: WorkInput,
    done_ops: u64,
    turn: u64,
    sum: u64,
}

/// The task type `sim-work/1`.
pub struct Work(WorkState);

/// What an effect says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkEffect {
    /// Which order.
    pub order: u32,
    /// Which of its effects, from 1.
    pub number: u64,
    /// By how many forced adoptions, and in which epoch, it was let out.
    pub fence: (u32, u64),
}

impl WorkInput {
    /// What comes out, wherever and in whatever pieces it runs.
    pub fn expected(&self) -> u64 {
        let mut state = WorkState::new(self.clone());
        (1..=TURNS).for_each(|turn| state.turn(turn));
        state.output()
    }

    fn turn_at(&self, done_ops: u64) -> u64 {
        let turn = u128::from(done_ops) * u128::from(TURNS) / u128::from(self.ops.max(1));
        u64::try_from(turn).unwrap_or(TURNS).min(TURNS)
    }
}

impl WorkState {
    fn new(input: WorkInput) -> Self {
        let mut x = u64::from(input.order) | 1;
        let word = |_| {
            x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(1);
            x.to_le_bytes()
        };
        let mut ballast: Vec<u8> = (0..input.state_bytes.div_ceil(8)).flat_map(word).collect();
        ballast.truncate(input.state_bytes);
        Self { ballast: Buffer(ballast), input, done_ops: 0, turn: 0, sum: 1 }
    }

    fn turn(&mut self, turn: u64) {
        self.turn = turn;
        self.sum = (self.sum ^ turn).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
        let hot = self.input.hot_bytes.min(self.ballast.0.len());
        // One byte of each page of the hot part.
        for page in self.ballast.0[..hot].chunks_mut(4096) {
            let at = self.sum as usize % page.len();
            page[at] ^= (self.sum >> 8) as u8 | 1;
        }
    }

    fn output(&self) -> u64 {
        self.ballast.0.iter().fold(self.sum, |sum, byte| sum.rotate_left(1) ^ u64::from(*byte))
    }
}

impl Task for Work {
    const NAME: &'static str = "sim-work";
    const STATE_VERSION: u16 = 1;
    type Input = WorkInput;
    type State = WorkState;
    type Output = u64;

    fn start(input: WorkInput) -> Result<Self, TaskFailure> {
        Ok(Self(WorkState::new(input)))
    }

    fn resume(state: WorkState) -> Result<Self, TaskFailure> {
        Ok(Self(state))
    }

    fn state(&self) -> &WorkState {
        &self.0
    }

    fn estimate(input: &WorkInput) -> Estimate {
        Estimate { ops: input.ops, memory_bytes: input.memory_bytes, output_bytes: 8 }
    }

    fn step(&mut self, cx: &mut StepContext) -> Result<Step<u64>, TaskFailure> {
        let state = &mut self.0;
        // So many that no step lets out more effects than it may.
        let most = state.input.ops.checked_div(state.input.effects / EFFECTS).unwrap_or(u64::MAX).max(1);
        let ops = cx.budget_ops().min(state.input.ops - state.done_ops).min(most);
        let right = cx.right();
        let fence = right.map_or((0, 0), |(_, fence)| (fence.branch.fork, fence.epoch.0));
        if let Some((task, fence)) = right {
            watch::stepped(state.input.order, task, fence, ops);
        }
        state.done_ops += ops;
        let _ = cx.spend(ops);
        let turn = state.input.turn_at(state.done_ops);
        while state.turn < turn {
            state.turn(state.turn + 1);
            let effects = state.input.effects;
            // Spread over the turns; a turn may let out several.
            for number in effects * (state.turn - 1) / TURNS..effects * state.turn / TURNS {
                let effect = WorkEffect { order: state.input.order, number: number + 1, fence };
                let bytes = postcard::to_allocvec(&effect).map_err(|e| TaskFailure::new(e.to_string()))?;
                cx.emit(bytes)?;
            }
        }
        if state.done_ops >= state.input.ops {
            return Ok(Step::Done(state.output()));
        }
        cx.progress(state.done_ops as f64 / state.input.ops as f64, "working");
        Ok(Step::More)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> WorkInput {
        WorkInput { order: 3, ops: 12_345, state_bytes: 9000, hot_bytes: 5000, memory_bytes: 1, effects: 40 }
    }

    fn run(budget: u64, again_after: usize) -> u64 {
        let mut work = Work::start(input()).unwrap();
        for step in 1.. {
            if let Step::Done(output) = work.step(&mut StepContext::detached(budget)).unwrap() {
                return output;
            }
            if step == again_after {
                let saved = postcard::to_allocvec(work.state()).unwrap();
                work = Work::resume(postcard::from_bytes(&saved).unwrap()).unwrap();
            }
        }
        unreachable!()
    }

    #[test]
    fn what_comes_out_does_not_depend_on_the_steps() {
        let expected = input().expected();
        for (budget, again_after) in [(400, 3), (777, 1), (5000, 1), (320, 39)] {
            assert_eq!(run(budget, again_after), expected);
        }
        assert_ne!(WorkInput { order: 4, ..input() }.expected(), expected);
    }
}
