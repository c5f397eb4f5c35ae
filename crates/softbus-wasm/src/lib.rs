//! Programs of others: WebAssembly that can be stopped in the midst of what it does, moved, and gone on with anywhere.
//!
//! A module comes in through [`inspect`]'s checks and the [`pass`], which makes of it one that can save its stack; an
//! engine runs it in a [`wasi`] world of its own; [`WasmRuntime`] makes a task of it. Those that were written for the bus have
//! more ([`bus`]). What may not enter here: anything of a device beside its clocks, and anything that knows of epochs, moves
//! or peers: what a program asks of the mesh goes out through [`bus::Services`].

mod admission;
pub mod bus;
mod changed;
mod engine;
mod error;
mod guard;
pub mod harness;
pub mod limits;
pub mod pass;
mod rate;
mod runtime;
mod state;
mod terms;
pub mod wasi;

pub use admission::{Admission, inspect};
pub use engine::Kind as EngineKind;
pub use error::WasmError;
pub use runtime::{Finish, NAME, Printed, SeamClock, Start, Turns, WasmRuntime};
pub use state::printed;
pub use terms::Terms;
