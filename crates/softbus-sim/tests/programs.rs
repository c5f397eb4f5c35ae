//! WebAssembly programs as tasks of simulations.
#![allow(clippy::unwrap_used, reason = "a test")]

use softbus_sim::record::Record;
use softbus_sim::scenario::Scenario;
use softbus_sim::{REPEATS, RunOptions, report, run};

/// A table of 1 MiB moves from one that compiles programs to one that interprets them, over a network that loses datagrams, and
/// is lost there.
const SCENARIO: &str = r#"
duration = "50s"

[bounds]
settle = "5s"

[[segment]]
name = "home"
loss = "1%"
rate = "2 MB/s"
shared = true

[[circle]]
name = "home"

[[device]]
name = "phone"
kind = "phone"
circles = { home = "owner" }
rate = "2 Mops/s"

[[device]]
name = "tablet"
kind = "tablet"
circle = "home"
rate = "2 Mops/s"

[[device]]
name = "laptop"
kind = "laptop"
circle = "home"
rate = "2 Mops/s"

[[task]]
name = "ledger"
at = "2s"
from = "phone"
program = "tally"
args = ["1", "16", "30000"]
work = "40 Mops"
memory = "8 MiB"
policy = "quorum"
start_on = "laptop"
stay = true

[[event]]
at = "8s"
do = "move-task"
task = "ledger"
to = "tablet"

[[event]]
at = "14s"
do = "kill"
device = "tablet"
down = "5s"
"#;

fn once(seed: u64) -> Record {
    let scenario = Scenario::parse(SCENARIO, "programs.toml", seed, &mut |_| unreachable!()).unwrap();
    run(&scenario, RunOptions { seed, ..RunOptions::default() }).unwrap()
}

#[test]
fn a_program_that_moves_and_fails_over_leaves_and_prints_what_it_does_undisturbed() {
    let record = once(1);
    let told = report::text(&record);
    assert!(!record.violated(), "{told}");
    assert_eq!(record.tasks[0].state, "done", "{told}");
    let reasons: Vec<&str> = record.tasks[0].moves.iter().map(|moved| moved.reason.as_str()).collect();
    assert_eq!(reasons, ["person", "failover"], "{told}");
    let looked = |name: &str| record.invariants.iter().find(|i| i.name == name).unwrap().checked;
    assert_eq!(looked("right-results"), 1, "{told}");
    // What it printed, and that none of it is missing at the end.
    assert!(looked("effects-once") > 10, "{told}");
    assert!(looked("at-most-one-live") > 100, "{told}");
}

#[test]
fn equal_seeds_give_equal_runs_of_programs() {
    if !REPEATS {
        return;
    }
    let (one, other) = (once(3), once(3));
    assert_eq!(one.trace_hash, other.trace_hash);
    assert_eq!(one.tasks, other.tasks);
    assert_eq!((one.links, one.traffic), (other.links, other.traffic));
}
