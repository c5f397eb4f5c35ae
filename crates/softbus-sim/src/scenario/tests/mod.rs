//! Tests of reading scenarios.

mod any;
mod drawn;
mod errors;
mod readme;
mod round;
mod shipped;

use std::io;
use std::path::{Path, PathBuf};

use super::{Scenario, ScenarioError, limits};

/// A scenario without includes.
fn parse(text: &str, seed: u64) -> Result<Scenario, ScenarioError> {
    Scenario::parse(text, "x.toml", seed, &mut |_| Err(io::ErrorKind::NotFound.into()))
}

/// The folder of the shipped scenarios.
fn simulations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../simulations")
}
