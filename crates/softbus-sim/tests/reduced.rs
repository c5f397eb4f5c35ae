//! The reduced model against the full simulator: the same scenarios, the same seeds.
#![allow(clippy::unwrap_used, reason = "a test")]

use softbus_sim::record::{Record, Spread};
use softbus_sim::scenario::Scenario;
use softbus_sim::{RunOptions, reduced, run};

fn scenario(text: &str, seed: u64) -> Scenario {
    let none = &mut |path: &str| Err(std::io::Error::other(format!("{path}: nothing is included")));
    Scenario::parse(text, "test.toml", seed, none).unwrap_or_else(|e| panic!("{e}"))
}

fn both(text: &str, seed: u64) -> (Record, Record) {
    let scenario = scenario(text, seed);
    let full = run(&scenario, RunOptions { seed, ..RunOptions::default() }).unwrap();
    (full, reduced::run(&scenario, seed))
}

fn show(name: &str, full: Spread, reduced: Spread) {
    println!("{name:>10}: full {full:?}\n{:>10}  red. {reduced:?}", "");
}

fn show_all(full: &Record, reduced: &Record) {
    show("discovery", full.summary.discovery_us, reduced.summary.discovery_us);
    show("presence", full.summary.presence_us, reduced.summary.presence_us);
    show("handover", full.summary.handover_us, reduced.summary.handover_us);
    show("failover", full.summary.failover_us, reduced.summary.failover_us);
    println!("real: full {:.2} s, reduced {:.2} s", full.summary.real_s, reduced.summary.real_s);
}

const HOME: &str = r#"
duration = "60s"
crypto = "null"
[[segment]]
name = "home"
latency = "5ms"
[[circle]]
name = "home"
[[device]]
name = "phone"
kind = "phone"
circles = { home = "owner" }
[[device]]
name = "laptop"
kind = "laptop"
circle = "home"
[[device]]
name = "box"
kind = "other"
circle = "home"
count = 6
[[event]]
at = "10s"
do = "crash"
device = "laptop"
down = "10s"
[[event]]
at = "25s"
do = "crash"
device = "box-2"
down = "1500ms"
[[event]]
at = "35s"
do = "kill"
device = "box-5"
down = "12s"
"#;

#[test]
fn look() {
    for seed in 1..=2 {
        let (full, reduced) = both(HOME, seed);
        show_all(&full, &reduced);
    }
}
