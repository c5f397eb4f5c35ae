//! Two of the shipped scenarios run in full here, and keep all invariants; `.ci/run` runs all in a short form.
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

#[test]
fn strangers() {
    let record =
        run(&scenario("strangers.toml", 1), RunOptions { seed: 1, ..RunOptions::default() }).unwrap();
    assert!(!record.violated(), "{}", report::text(&record));
    let looked = |name: &str| record.invariants.iter().find(|i| i.name == name).unwrap().checked;
    // The stranger called at four devices, for three services each.
    assert_eq!(looked("strangers-out"), 12, "{}", report::text(&record));
    // The three others, for a good while.
    assert!(looked("removed-out") >= 3 * 20, "{}", looked("removed-out"));
    assert_eq!(looked("wrong-pin"), 1, "{}", report::text(&record));
}
