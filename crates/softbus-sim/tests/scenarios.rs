//! The shipped scenarios run, and keep all invariants.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use softbus_sim::scenario::Scenario;
use softbus_sim::{RunOptions, report, run};

fn scenario(name: &str, seed: u64) -> Scenario {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../simulations");
    Scenario::load(&folder.join(name), seed).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn hello() {
    let record = run(&scenario("hello.toml", 1), RunOptions { seed: 1, ..RunOptions::default() }).unwrap();
    assert!(!record.violated(), "{}", report::text(&record));
    assert!(record.tasks.iter().all(|task| task.state == "done"), "{:#?}", record.tasks);
}
