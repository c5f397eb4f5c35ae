//! What runs: tasks that move between devices.
//!
//! A [`Task`] is a Rust type that saves and restores its state. [`Tasks`] runs them: it places them, keeps
//! checkpoints on several devices, moves them live, and lets them go on after a device is lost. Who may run a
//! task is decided by the pure machines of the epoch module alone; nothing here starts a task but on their word.
//!
//! No knowledge of pictures, models or programs of others may enter this room.

mod checkpoint;
mod contents;
mod driver;
pub mod epoch;
mod error;
pub mod harness;
pub mod limits;
mod native;
pub mod saved;
mod status;
mod store;

/// The pure parts of choosing a device, as the driver uses them: for simulators.
pub mod choosing {
    pub use crate::driver::placing::{able, candidate, left_ops};
    pub use crate::driver::promises::{Book, Held};
}

pub use checkpoint::SealError;
pub use driver::{ContentsStatus, Filling, OpenGrant, TaskEvents, TaskHandle, Tasks, TasksConfig};
pub use error::TaskError;
pub use native::{
    Buffer, Changes, Content, Estimate, Mark, Prepared, Program, RegistryError, Runtime, Step, StepContext,
    Task, TaskFailure, TaskRegistry,
};
pub use saved::{SavedError, SavedTask};
pub use softbus_core::wire::task_control::{
    Granted, Move, MoveReason, Pause, PolicyKind, Rests, Right, TaskSpec, TaskState,
};
pub use status::{Fork, PlacementHints, SubmitOptions, TaskEvent, TaskStatus};
