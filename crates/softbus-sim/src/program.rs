//! WebAssembly programs as pieces of work: the library's own runtime runs them, by counted turns. Around it is only what tells
//! the [`watch`](crate::watch) of each step, and what comes out if nothing disturbs them.

use std::any::Any;
use std::io;
use std::sync::Arc;

use softbus::wasm::wasi::{Moment, Now};
use softbus::wasm::{EngineKind, Finish, NAME, Printed, SeamClock, Start, Turns, WasmRuntime};
use softbus_net::seam::Clock;
use softbus_task::{
    Changes, Content, Estimate, Mark, Prepared, Program, Runtime, Step, StepContext, TaskFailure,
};

use crate::watch;
use crate::{SimError, scenario::Guest};

/// Operations of one step of a program that nothing disturbs.
const STEP_OPS: u64 = 1 << 28;

/// What a program leaves if nothing disturbs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    /// The result of its task.
    pub finish: Vec<u8>,
    /// What it prints, to its standard output and to its standard error.
    pub printed: [Vec<u8>; 2],
}

/// What a program starts with, as one of the orders of a simulation.
fn start(order: u32, guest: &Guest, memory_bytes: u64) -> Start {
    let mut args = vec![guest.program.name().to_owned()];
    args.extend(guest.args.iter().cloned());
    let mut start =
        Start { module: guest.program.module().to_vec(), args, seed: [1; 32], ..Start::default() };
    start.seed[..4].copy_from_slice(&order.to_le_bytes());
    start.limits.memory_bytes = memory_bytes;
    start
}

/// The input of its task.
///
/// # Errors
/// It has no wire form.
pub(crate) fn input(order: u32, guest: &Guest, memory_bytes: u64) -> Result<Vec<u8>, SimError> {
    let mut input = postcard::to_allocvec(&start(order, guest, memory_bytes))
        .map_err(|error| SimError::Program(error.to_string()))?;
    input.extend(order.to_le_bytes());
    Ok(input)
}

/// Runs it here and now, in one go.
///
/// # Errors
/// Why it does not come to its end.
pub(crate) fn undisturbed(order: u32, guest: &Guest, memory_bytes: u64) -> Result<Expected, SimError> {
    let wrong =
        |error: &dyn std::fmt::Display| SimError::Program(format!("{}: {error}", guest.program.name()));
    let runtime =
        WasmRuntime::new(EngineKind::Cranelift, Arc::new(Still), Turns::Timed).map_err(|e| wrong(&e))?;
    let start = postcard::to_allocvec(&start(order, guest, memory_bytes)).map_err(|e| wrong(&e))?;
    let mut program = runtime.start(&start, &runtime.terms(&start)).map_err(|e| wrong(&e))?;
    let mut printed = [Vec::new(), Vec::new()];
    loop {
        let mut cx = StepContext::detached(STEP_OPS);
        let step = program.step(&mut cx).map_err(|e| wrong(&e))?;
        for effect in cx.emitted() {
            let Printed { to_stderr, bytes, .. } = postcard::from_bytes(effect).map_err(|e| wrong(&e))?;
            printed[usize::from(to_stderr)].extend(bytes);
        }
        match step {
            Step::Done(finish) => {
                let status = postcard::from_bytes::<Finish>(&finish).map_err(|e| wrong(&e))?.status;
                if status != 0 {
                    let said = String::from_utf8_lossy(&printed[1]).into_owned();
                    return Err(wrong(&format!("it ended with status {status}: {said}")));
                }
                return Ok(Expected { finish, printed });
            }
            Step::More => {}
            Step::Wait(_) => return Err(wrong(&"it waits, which programs of simulations may not")),
        }
    }
}

/// A clock that stands still.
struct Still;

impl Now for Still {
    fn now(&self) -> Moment {
        Moment { monotonic: 0, wall: 0 }
    }
}

/// Runs programs on one device. Behind each input and each state is the number of the order.
pub(crate) struct Programs(WasmRuntime);

impl Programs {
    /// On a device with this clock.
    ///
    /// # Errors
    /// The engine does not run on this machine.
    pub fn new(engine: EngineKind, clock: Arc<dyn Clock>) -> Result<Self, SimError> {
        let runtime = WasmRuntime::new(engine, Arc::new(SeamClock(clock)), Turns::Counted);
        Ok(Self(runtime.map_err(|error| SimError::Program(error.to_string()))?))
    }
}

/// What is of the program, and which order it is.
fn split(bytes: &[u8]) -> Result<(&[u8], u32), TaskFailure> {
    let (own, number) = bytes.split_last_chunk::<4>().ok_or_else(|| TaskFailure::new("it is cut off"))?;
    Ok((own, u32::from_le_bytes(*number)))
}

fn watched((order, program): (u32, Box<dyn Program>)) -> Box<dyn Program> {
    Box::new(Watched { order, program })
}

impl Runtime for Programs {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> u16 {
        self.0.version()
    }

    fn terms(&self, input: &[u8]) -> Vec<u8> {
        split(input).map_or_else(|_| Vec::new(), |(start, _)| self.0.terms(start))
    }

    fn start(&self, input: &[u8], terms: &[u8]) -> Result<Box<dyn Program>, TaskFailure> {
        let (start, order) = split(input)?;
        Ok(watched((order, self.0.start(start, terms)?)))
    }

    fn resume(&self, version: u16, state: &[u8], terms: &[u8]) -> Result<Box<dyn Program>, TaskFailure> {
        let (state, order) = split(state)?;
        Ok(watched((order, self.0.resume(version, state, terms)?)))
    }

    fn prepare(&self, version: u16, state: &[u8], terms: &[u8]) -> Option<Box<dyn Prepared>> {
        let made = self.0.prepare(version, split(state).ok()?.0, terms)?;
        Some(Box::new(Beforehand(made)))
    }

    fn resume_prepared(
        &self,
        version: u16,
        state: &[u8],
        terms: &[u8],
        prepared: Box<dyn Prepared>,
    ) -> Result<Box<dyn Program>, TaskFailure> {
        let (own, order) = split(state)?;
        match (prepared as Box<dyn Any>).downcast::<Beforehand>() {
            Ok(made) => Ok(watched((order, self.0.resume_prepared(version, own, terms, made.0)?))),
            Err(_) => self.resume(version, state, terms),
        }
    }

    fn content(&self, terms: &[u8]) -> Option<Content> {
        self.0.content(terms)
    }

    // Which order it is stands at the end.
    fn content_in<'i>(&self, image: &'i [u8], saved: bool) -> Option<&'i [u8]> {
        self.0.content_in(image, saved)
    }

    fn before_content(&self, len: u64, saved: bool) -> Vec<u8> {
        self.0.before_content(len, saved)
    }

    fn estimate(&self, input: &[u8]) -> Estimate {
        split(input).map_or_else(|_| Estimate::default(), |(start, _)| self.0.estimate(start))
    }
}

struct Beforehand(Box<dyn Prepared>);

impl Prepared for Beforehand {
    fn follow(&mut self, at: usize, piece: &[u8]) {
        self.0.follow(at, piece);
    }
}

struct Watched {
    order: u32,
    program: Box<dyn Program>,
}

impl Program for Watched {
    fn step(&mut self, cx: &mut StepContext) -> Result<Step<Vec<u8>>, TaskFailure> {
        let before = cx.budget_ops();
        let step = self.program.step(cx);
        if let Some((task, fence)) = cx.right() {
            watch::stepped(self.order, task, fence, before - cx.budget_ops());
        }
        step
    }

    fn save(&mut self, out: &mut dyn io::Write) -> Result<(), TaskFailure> {
        self.program.save(out)?;
        out.write_all(&self.order.to_le_bytes()).map_err(|error| TaskFailure::new(error.to_string()))
    }

    fn save_changes(&mut self, out: &mut dyn Changes) -> Result<(), TaskFailure> {
        self.program.save_changes(out)?;
        out.write_all(&self.order.to_le_bytes()).map_err(|error| TaskFailure::new(error.to_string()))
    }

    fn saved_as(&mut self, mark: Mark) {
        self.program.saved_as(mark);
    }
}
