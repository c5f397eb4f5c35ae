//! What the many seeds of the proof found in the library, each made small by `softbus sim check` and mended since.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use softbus_sim::scenario::Scenario;
use softbus_sim::{RunOptions, report, run};

/// Runs a scenario of `tests/found` with the seed that it was found with.
fn holds(name: &str, seed: u64) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/found");
    let scenario = Scenario::load(&folder.join(name), seed).unwrap_or_else(|e| panic!("{e}"));
    let record = run(&scenario, RunOptions { seed, ..RunOptions::default() }).unwrap();
    assert!(!record.violated(), "{}", report::text(&record));
    assert!(record.tasks.iter().all(|task| task.state == "done"), "{}", report::text(&record));
}

#[test]
fn a_task_whose_last_checkpoint_came_while_an_epoch_was_decided_ends() {
    holds("last-effects-under-a-new-epoch.toml", 650);
}
