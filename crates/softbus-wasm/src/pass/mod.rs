//! The pass: makes of a WebAssembly module one that can be stopped in the midst of what it does, and gone on with.

mod body;
mod emit;
mod frame;
mod indices;
mod live;
mod module;
mod own;
mod reach;
mod rest;

use std::fmt;

pub use emit::UNSAVED;
pub(crate) use emit::{AGAIN, ASK, NOTES};
pub(crate) use module::ask_memory;
pub use module::{AskMemory, PREFIX, Rewritten, rewrite};

/// Why a module is not admitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    function: Option<String>,
    why: String,
}

impl Refusal {
    fn new(why: impl Into<String>) -> Self {
        Self { function: None, why: why.into() }
    }

    fn within(mut self, function: impl FnOnce() -> String) -> Self {
        self.function.get_or_insert_with(function);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.function {
            Some(function) => write!(f, "function {function}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<wasmparser::BinaryReaderError> for Refusal {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::new(format!("it is no valid module: {error}"))
    }
}

impl From<wasm_encoder::reencode::Error<std::convert::Infallible>> for Refusal {
    fn from(error: wasm_encoder::reencode::Error<std::convert::Infallible>) -> Self {
        Self::new(format!("it cannot be written anew: {error}"))
    }
}
