use crate::pass::Refusal;

/// Why a program cannot be run, saved or gone on with.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WasmError {
    /// The module is not one that can be stopped and moved.
    #[error("the module is refused: {0}")]
    Refused(#[from] Refusal),
    /// It imports something that there is not.
    #[error("the module is refused: it imports `{module}.{name}`, which is not offered")]
    Import {
        /// From where.
        module: String,
        /// What.
        name: String,
    },
    /// Something that it imports or exports has another signature.
    #[error("the module is refused: it {what} as a function {is}, and not {wants}")]
    Signature {
        /// What.
        what: String,
        /// As what it has it.
        is: String,
        /// As what it must be.
        wants: String,
    },
    /// It lacks something.
    #[error("the module is refused: {0}")]
    Shape(&'static str),
    /// One of the limits.
    #[error("{what} is {is}, more than the {most} that are allowed")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How much it is.
        is: u64,
        /// How much it may be.
        most: u64,
    },
    /// The engine cannot do it.
    #[error("the engine cannot run it: {0}")]
    Engine(String),
    /// A saved state is none that the program can have.
    #[error("the saved state cannot be gone on with: {0}")]
    State(&'static str),
    /// The program is over.
    #[error("the program is over")]
    Over,
}

impl WasmError {
    pub(crate) fn engine(error: wasmtime::Error) -> Self {
        Self::Engine(format!("{error:#}"))
    }
}
