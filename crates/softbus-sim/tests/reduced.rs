//! The reduced model against the full simulator: the same scenarios with the same seeds come to the same decisions, and
//! take as long.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, which tells its figures")]

mod common;

use std::path::Path;

use common::scenario;
use softbus_sim::record::{Model, Record, Spread};
use softbus_sim::scenario::Scenario;
use softbus_sim::{RunOptions, reduced, run};

/// Records of both, one pair for each seed.
struct Both(Vec<(Scenario, Record, Record)>);

impl Both {
    fn run(seeds: impl Iterator<Item = (u64, Scenario)>) -> Self {
        let pairs = seeds.map(|(seed, scenario)| {
            let full = run(&scenario, RunOptions { seed, ..RunOptions::default() }).unwrap();
            let reduced = reduced::run(&scenario, seed);
            assert_eq!((full.model, reduced.model), (Model::Full, Model::Reduced));
            println!(
                "seed {seed}: full {:.1} s, reduced {:.2} s",
                full.summary.real_s, reduced.summary.real_s
            );
            (scenario, full, reduced)
        });
        Self(pairs.collect())
    }

    fn of(text: &str, seeds: std::ops::RangeInclusive<u64>) -> Self {
        Self::run(seeds.map(|seed| (seed, scenario(text, seed))))
    }

    /// All values of one sort in both: their middle and their end lie within so many thousandths of each other.
    fn close(&self, what: &str, permille: u64, of: impl Fn(&Scenario, &Record) -> Vec<u64>) {
        let all = |reduced: bool| {
            let records = self.0.iter().map(|(s, full, red)| of(s, if reduced { red } else { full }));
            Spread::of(records.flatten().collect())
        };
        let (full, reduced) = (all(false), all(true));
        println!("{what:>12}: full {full:?}\n{:>12}  red. {reduced:?}", "");
        assert!(full.count > 0, "nothing to compare");
        for (a, b) in [(full.p50, reduced.p50), (full.p99, reduced.p99)] {
            // Nothing is told finer than timers are.
            let most = (a.max(b) * permille / 1000).max(1000);
            assert!(a.abs_diff(b) <= most, "{what}: {a} and {b} µs");
        }
    }

    /// Each task begins on the same device, and does so in the same epochs if `epochs`.
    fn same_places(&self, epochs: bool) {
        for (_, full, reduced) in &self.0 {
            for (a, b) in full.tasks.iter().zip(&reduced.tasks) {
                let runs = |record: &softbus_sim::record::TaskRecord| -> Vec<(usize, u64)> {
                    let most = if epochs { usize::MAX } else { 1 };
                    let mut runs: Vec<_> = record.runs.iter().map(|run| (run.on, run.epoch)).collect();
                    // A device that was off meanwhile and goes on in the same epoch counts once.
                    runs.dedup();
                    runs.truncate(most);
                    runs
                };
                assert_eq!(runs(a), runs(b), "{} of seed {}: {a:?} {b:?}", a.name, full.seed);
            }
        }
    }

    fn close_times_of_tasks(&self, permille: u64) {
        let since = |scenario: &Scenario,
                     record: &Record,
                     what: &dyn Fn(&softbus_sim::record::TaskRecord) -> Option<u64>| {
            let orders = record.tasks.iter().zip(&scenario.tasks);
            let at = |order: &softbus_sim::scenario::TaskOrder| order.at.as_micros() as u64;
            orders.filter_map(|(task, order)| Some(what(task)? - at(order))).collect::<Vec<u64>>()
        };
        self.close("submitted", permille, |s, r| since(s, r, &|task| Some(task.submitted_us)));
        self.close("accepted", permille, |s, r| since(s, r, &|task| task.accepted_us));
        self.close("first step", permille, |s, r| since(s, r, &|task| Some(task.runs.first()?.from_us)));
        self.close("done", permille, |s, r| since(s, r, &|task| task.done_us));
    }
}

fn downtimes(record: &Record, failover: bool) -> Vec<u64> {
    let moves = record.tasks.iter().flat_map(|task| &task.moves);
    moves.filter(|moved| (moved.reason == "failover") == failover).map(|moved| moved.downtime_us).collect()
}

#[test]
fn hello() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../simulations/hello.toml");
    let both = Both::run((1..=2).map(|seed| (seed, Scenario::load(&path, seed).unwrap())));
    both.same_places(true);
    both.close("discovery", 50, |_, record| vec![record.summary.discovery_us.p50]);
    both.close("presence", 50, |_, record| vec![record.summary.presence_us.p50]);
    both.close_times_of_tasks(50);
}

/// Eight devices that find each other, two of which are lost for good.
#[test]
fn who_comes_and_who_goes() {
    let come = r#"
        duration = "8s"
        crypto = "null"
        network = { latency = "2ms..8ms" }
        segment = [{ name = "home" }]
        circle = [{ name = "home" }]
        [[device]]
        name = "phone"
        kind = "phone"
        circles = { home = "owner" }
        [[device]]
        name = "box"
        circle = "home"
        count = 7
        starts = "0s..3s"
    "#;
    let both = Both::of(come, 1..=3);
    both.close("discovery", 50, |_, r| vec![r.summary.discovery_us.p50, r.summary.discovery_us.p99]);
    both.close("comes", 50, |_, r| vec![r.summary.presence_us.p50]);

    let go = r#"
        duration = "12s"
        crypto = "null"
        segment = [{ name = "home", latency = "2ms" }]
        circle = [{ name = "home" }]
        [[device]]
        name = "phone"
        kind = "phone"
        circles = { home = "owner" }
        [[device]]
        name = "box"
        circle = "home"
        count = 7
        # One after the other: else all links would be asked at the same moments.
        starts = "0s..3s"
        [[event]]
        at = "4s..5s"
        do = "crash"
        device = "box-1"
        down = "never"
        [[event]]
        at = "6s..7s"
        do = "lose"
        device = "box-2"
        [[event]]
        at = "8s..9s"
        do = "kill"
        device = "box-3"
        down = "never"
        [[event]]
        at = "4s..9s"
        do = "crash"
        device = "box-4"
        down = "never"
    "#;
    let both = Both::of(go, 1..=6);
    // The greatest are those who went: the others came within a tenth of a second.
    both.close("goes", 50, |_, record| vec![record.summary.presence_us.p99, record.summary.presence_us.max]);
}

const HOME: &str = r#"
    duration = "32s"
    crypto = "null"
    segment = [{ name = "home", latency = "5ms" }]
    circle = [{ name = "home" }]
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
    circle = "home"
    count = 6
"#;

/// A home of eight that works, and moves its work by order.
#[test]
fn work_at_home() {
    let tasks = r#"
        [[task]]
        name = "job"
        from = "any"
        at = "4s..15s"
        count = 8
        work = "500 Mops..3 Gops"
        state = "256 KiB"
        [[task]]
        name = "safe"
        from = "any"
        at = "4s..12s"
        count = 4
        work = "4 Gops"
        state = "64 KiB"
        policy = "quorum"
        [[event]]
        at = "13s"
        every = "1500ms"
        count = 4
        do = "move-task"
        task = "safe"
    "#;
    let both = Both::of(&format!("{HOME}{tasks}"), 1..=2);
    both.same_places(true);
    both.close_times_of_tasks(50);
    both.close("hand-over", 50, |_, record| downtimes(record, false));
}

/// Whoever runs most of it dies.
#[test]
fn fail_over() {
    let tasks = r#"
        [[task]]
        name = "safe"
        from = "any"
        at = "4s..8s"
        count = 8
        work = "4 Gops"
        state = "64 KiB"
        policy = "quorum"
        [[event]]
        at = "12s..13s"
        do = "crash"
        device = "laptop"
        down = "never"
    "#;
    let both = Both::of(&format!("{HOME}{tasks}"), 1..=1);
    both.close("fail-over", 50, |_, record| downtimes(record, true));
    both.same_places(false);
}

/// Fifty devices, more than each keeps links with.
#[test]
#[ignore = "the full simulator takes a minute for it; some work begins on another of equally good laptops"]
fn fifty() {
    let text = r#"
        duration = "20s"
        crypto = "null"
        segment = [{ name = "home", latency = "4ms" }]
        circle = [{ name = "home" }]
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
        count = 9
        [[device]]
        name = "box"
        circle = "home"
        count = 40
        links = 16
        [[task]]
        name = "job"
        from = "any"
        at = "6s..12s"
        count = 15
        work = "300 Mops..1 Gops"
    "#;
    let both = Both::of(text, 1..=1);
    both.close("discovery", 50, |_, r| vec![r.summary.discovery_us.p50, r.summary.discovery_us.p99]);
    both.close("presence", 50, |_, r| vec![r.summary.presence_us.p50, r.summary.presence_us.p99]);
    both.same_places(false);
    both.close_times_of_tasks(50);
}
