//! A program under examination: stepped and saved as its task does it, and looked at after its end as well.

use softbus_task::{Program, TaskFailure};

use super::{Running, WasmRuntime};
use crate::{Start, WasmError, state};

/// A program under examination.
pub struct Subject(Running);

impl Subject {
    /// At its begin.
    ///
    /// # Errors
    /// It is refused.
    pub fn start(runtime: &WasmRuntime, start: &Start) -> Result<Self, WasmError> {
        runtime.begin(start, &start.terms()).map(Self)
    }

    /// Where it was saved, on the terms of what it was started with.
    ///
    /// # Errors
    /// It is nothing that can be gone on with.
    pub fn resume(runtime: &WasmRuntime, start: &Start, saved: &[u8]) -> Result<Self, WasmError> {
        runtime.go_on(saved, start.terms(), None).map(Self)
    }

    /// As its task has it.
    pub fn program(&mut self) -> &mut dyn Program {
        &mut self.0
    }

    /// What it left behind when it exited, as it would be saved, without the module. Of the calls in the midst of which it
    /// exited nothing is told: how many of their frames are still saved depends on where it was stopped last.
    ///
    /// # Errors
    /// It has not exited.
    pub fn remains(&mut self) -> Result<Vec<u8>, TaskFailure> {
        let running = &mut self.0;
        let mut core = running.machine.remains()?;
        core.frames.clear();
        let now = running.clock.now();
        running.machine.world(&mut |world| world.passes(now));
        let mut out = Vec::new();
        for number in 0..core.memories.len() {
            out.extend_from_slice(running.machine.memory(number));
        }
        running.save_tail(&mut out, core)?;
        Ok(out)
    }
}

/// How many bytes the frames of a saved program have.
///
/// # Errors
/// It is no saved program.
pub fn frames(saved: &[u8]) -> Result<usize, WasmError> {
    state::read(saved).map(|saved| saved.tail.core.frames.len())
}
