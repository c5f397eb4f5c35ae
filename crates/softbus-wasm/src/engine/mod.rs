//! What runs programs. The only place that knows an engine; the rest of the room speaks of [`Engine`], [`Compiled`] and
//! [`Machine`].
//!
//! A machine runs a program on a stack of its own (a fiber), so that the program can be left in the midst of a call to the
//! host and gone on with, on whatever thread. Only when its state is asked for does it unwind.

mod ask;
mod bindings;
mod bus;
mod fiber;
mod host;
mod link;
mod machine;
mod ticker;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

pub(crate) use bindings::{offers, waits};
pub use link::Kind;
pub(crate) use link::Wasmtime;
pub(crate) use ticker::TICK;

use crate::WasmError;
use crate::limits::Limits;
use crate::pass::{AskMemory, Rewritten};
use crate::wasi::{Now, Wasi};

/// An engine.
pub(crate) trait Engine: Send + Sync {
    /// How programs for it are to look whether they are to ask.
    fn ask_memory(&self) -> AskMemory;
    /// Compiles a program.
    fn compile(&self, program: Arc<Rewritten>) -> Result<Arc<dyn Compiled>, WasmError>;
}

/// A compiled program.
pub(crate) trait Compiled: Send + Sync {
    /// A machine for it, with the program before its first instruction.
    fn machine(
        &self,
        world: Wasi,
        clock: Arc<dyn Now>,
        limits: &Limits,
    ) -> Result<Box<dyn Machine>, WasmError>;
}

/// A program that can run.
pub(crate) trait Machine: Send {
    /// Goes on, for as long as the turn says.
    fn run(&mut self, turn: &Turn) -> Ran;
    /// Its world, as long as it does not run.
    fn world(&mut self, look: &mut dyn FnMut(&mut Wasi));
    /// Unwinds it, and says all that it is but its memories and its world. It can go on afterwards.
    ///
    /// # Errors
    /// It is over, or its frames are larger than they may be.
    fn capture(&mut self) -> Result<Core, WasmError>;
    /// What it was as it exited, its memories with it; of no use to go on with.
    ///
    /// # Errors
    /// It has not exited.
    fn remains(&mut self) -> Result<Core, WasmError>;
    /// One of its memories; after [`Machine::capture`] only, or when it has exited.
    fn memory(&mut self, number: usize) -> &[u8];
    /// Puts bytes at a place of one of its memories, which grows for that; before its first instruction only.
    ///
    /// # Errors
    /// It has no such memory, or has no room for so much.
    fn fill(&mut self, number: usize, at: usize, bytes: &[u8]) -> Result<(), WasmError>;
    /// How many modules it has that go on with frames. They stay as long as it does.
    fn linked(&self) -> usize;
    /// Makes what it will need to go on with what was captured.
    fn foresee(&mut self, core: &Core);
    /// Becomes what was captured, before its first instruction only. Of each memory so many bytes are what they shall be already.
    ///
    /// # Errors
    /// It is nothing that this program can be.
    fn restore(&mut self, core: &Core, memories: &[&[u8]], there: &[usize]) -> Result<(), WasmError>;
}

/// One turn of a program.
pub(crate) struct Turn {
    pub asking: Asking,
    /// Ends the turn as soon as may be.
    pub stop: Arc<AtomicBool>,
}

/// When a program is to look whether its turn is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asking {
    /// When a clock says so: so many ticks of [`ticker::TICK`] from now.
    Ticks(u32),
    /// Each time it can, and its turn ends after so many: the same on each run.
    Polls(u64),
}

/// How a turn ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ran {
    /// The turn is over, the program is not.
    Paused {
        /// How often it looked.
        polls: u64,
        /// How many modules had to be compiled to go on where it looked.
        compiled: u64,
    },
    /// It waits: until a time of the task, in nanoseconds, or until its pipes change.
    Waits {
        until: Option<u64>,
        /// It has done nothing since it was left so before.
        still: bool,
    },
    /// It ended, with this status.
    Exited(u32),
    /// It did what it may not.
    Trapped(String),
    /// It cannot go on here, and it is not its fault.
    Broken(String),
}

/// All that a program is, beside its memories and its world.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Core {
    pub stage: Stage,
    /// Sizes of its memories, in bytes.
    pub memories: Vec<u64>,
    /// Bits of its globals, of those that can change.
    pub globals: Vec<Option<Bits>>,
    /// Functions in its tables.
    pub tables: Vec<Vec<Option<u32>>>,
    /// For each of its segments whether it was dropped.
    pub notes: Vec<u8>,
    /// Its stack, the innermost frame first.
    pub frames: Vec<u8>,
}

/// The value of a global.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Bits {
    I32(u32),
    I64(u64),
    F32(u32),
    F64(u64),
    V128(u128),
    /// A function, or none.
    Function(Option<u32>),
}

/// How far a program is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Before its first instruction.
    #[default]
    New,
    /// In its start function.
    Start,
    /// In what it exports.
    Main,
    /// In what a reactor has to set itself up (`_initialize`): after its start function, before what it exports.
    Init,
}
