//! One harness per parser of foreign bytes (law 4). The same target runs for seconds in `cargo test` (see
//! `tests/seconds.rs`) and for hours under a coverage-guided fuzzer (see `src/bin/fuzz.rs`).
//!
//! A target feeds bytes to one parser and, where that is cheap, asks more of it than to come back: what is read
//! survives being written and read again, what a state machine says keeps its limits, order of arrival does not
//! matter. What lies behind a signature is reached by signing the changed bytes anew with the harness's own keys.

mod mutate;
mod targets;

pub use mutate::{Random, mutate};
pub use targets::TARGETS;

/// One parser.
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Feeds it; says whether the bytes were understood.
    pub run: fn(&[u8]) -> bool,
    /// How long one input takes, in units of the cheapest ones: so many times fewer are tried in `cargo test`.
    pub cost: u32,
    /// What its corpus begins with: good messages, and some that are nasty on purpose. The same each time.
    pub seeds: fn() -> Vec<Vec<u8>>,
}
