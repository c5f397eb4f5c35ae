//! What tests of whole simulations share.
#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests, of which not each uses all")]

use std::io;

use softbus_sim::record::{InvariantRecord, Record};
use softbus_sim::scenario::{Scenario, ScenarioError};
use softbus_sim::{RunOptions, run};

/// A scenario that includes nothing.
pub fn parse(text: &str, seed: u64) -> Result<Scenario, ScenarioError> {
    Scenario::parse(text, "test.toml", seed, &mut |_| Err(io::ErrorKind::NotFound.into()))
}

/// As [`parse`], of a text that is right.
pub fn scenario(text: &str, seed: u64) -> Scenario {
    parse(text, seed).unwrap_or_else(|e| panic!("{e}"))
}

/// The record of a scenario in the full model.
pub fn runs(text: &str, seed: u64) -> Record {
    run(&scenario(text, seed), RunOptions { seed, ..RunOptions::default() }).unwrap()
}

/// No invariant was violated.
pub fn assert_held(record: &Record) {
    for invariant in &record.invariants {
        assert!(invariant.violations.is_empty(), "seed {}: {invariant:#?}", record.seed);
    }
}

/// What was seen of the invariant of this name.
pub fn invariant<'r>(record: &'r Record, name: &str) -> &'r InvariantRecord {
    record.invariants.iter().find(|invariant| invariant.name == name).unwrap()
}
