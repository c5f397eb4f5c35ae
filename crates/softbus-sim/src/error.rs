use std::time::Duration;

/// Why a simulation does not go on.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// No thread to run it on.
    #[error("no thread for the simulation: {0}")]
    Thread(std::io::Error),
    /// A circle cannot be made.
    #[error("circle `{0}`: {1}")]
    Circle(String, String),
    /// What was waited for did not come.
    #[error("not {what} within {waited:?} of virtual time")]
    Never {
        /// What.
        what: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Trace or capture cannot be written.
    #[error("the trace or the capture cannot be written: {0}")]
    Write(std::io::Error),
    /// A program does not do what programs of simulations do.
    #[error("program {0}")]
    Program(String),
    /// A device cannot be started.
    #[error("device `{device}` does not start: {error}")]
    Start {
        /// Which.
        device: String,
        /// Why.
        error: softbus::Error,
    },
}
