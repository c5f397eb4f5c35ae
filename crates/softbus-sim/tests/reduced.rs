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

const WORK: &str = r#"
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
battery = false
circles = { home = "owner" }
[[device]]
name = "laptop"
kind = "laptop"
battery = false
circle = "home"
[[device]]
name = "box"
kind = "other"
circle = "home"
count = 6
[[task]]
name = "job"
from = "any"
at = "5s..40s"
count = 10
work = "500 Mops..3 Gops"
state = "256 KiB"
[[task]]
name = "safe"
from = "any"
at = "5s..20s"
count = 4
work = "4 Gops"
state = "64 KiB"
policy = "quorum"
[[event]]
at = "12s"
every = "2s"
count = 6
do = "move-task"
task = "safe"
[[event]]
at = "27s"
do = "crash"
device = "laptop"
down = "10s"
"#;

fn show_tasks(record: &Record, orders: &Scenario) {
    for (task, order) in record.tasks.iter().zip(&orders.tasks) {
        let at = order.at.as_micros() as u64;
        let after = |us: Option<u64>| us.map(|us| us as i64 - at as i64);
        print!("  {:8} from {} placed {:?} acc {:?} done {:?} {}:", task.name, task.from, after(Some(task.submitted_us)), after(task.accepted_us), after(task.done_us), task.state);
        for run in &task.runs {
            print!(" e{} on {} {}..{}", run.epoch, run.on, run.from_us as i64 - at as i64, run.to_us as i64 - at as i64);
        }
        for m in &task.moves {
            print!(" | {} {}", m.reason, m.downtime_us);
        }
        println!();
    }
}

#[test]
fn look_work() {
    for seed in 1..=2 {
        let (full, reduced) = both(WORK, seed);
        show_all(&full, &reduced);
        let orders = scenario(WORK, seed);
        println!("full");
        show_tasks(&full, &orders);
        println!("reduced");
        show_tasks(&reduced, &orders);
    }
}

#[test]
fn look() {
    for seed in 1..=2 {
        let (full, reduced) = both(HOME, seed);
        show_all(&full, &reduced);
    }
}
