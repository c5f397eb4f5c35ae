//! What a task lets out, when its right passes on and comes back.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{assert_held, invariant, runs};

/// The laptop is cut off with effects that no checkpoint covers; the task goes on elsewhere from before them and says them
/// anew; then it moves back.
const BACK_AGAIN: &str = r#"
name = "back-again"
duration = "60s"

[[segment]]
name = "home"

[[circle]]
name = "home"

[[device]]
name = "phone"
kind = "phone"
circles = { home = "owner" }
rate = "20 Mops/s"

[[device]]
name = "laptop"
kind = "laptop"
circle = "home"
rate = "50 Mops/s"

[[device]]
name = "tablet"
kind = "tablet"
circle = "home"
rate = "40 Mops/s"
battery = false

[[task]]
name = "story"
at = "2s"
from = "phone"
work = "1 Gops"
effects = 400
policy = "quorum"
holders = 2
start_on = "laptop"
stay = true

[[event]]
at = "5s"
do = "partition"
groups = [["phone", "tablet"]]
for = "12s"

[[event]]
at = "20s"
do = "move-task"
task = "story"
to = "laptop"
"#;

#[test]
fn what_was_said_before_the_right_passed_on_is_not_let_out_when_it_comes_back() {
    for seed in 0..4 {
        let record = runs(BACK_AGAIN, seed);
        let task = &record.tasks[0];
        assert_eq!(task.state, "done", "{task:#?}");
        let laptop = record.devices.iter().position(|device| device.name == "laptop").unwrap();
        let on: Vec<usize> = task.runs.iter().map(|run| run.on).collect();
        assert!(on.len() >= 3 && on[0] == laptop && on.last() == Some(&laptop), "it came back: {on:?}");
        assert_held(&record);
        assert_eq!(invariant(&record, "effects-once").checked, 400, "each of them");
    }
}

/// The phone hears nothing of its task from before its first effect until after its end.
const OUT_OF_REACH: &str = r#"
name = "out-of-reach"
duration = "40s"

[[segment]]
name = "home"

[[circle]]
name = "home"

[[device]]
name = "phone"
kind = "phone"
circles = { home = "owner" }

[[device]]
name = "tv"
kind = "tv"
circle = "home"
rate = "100 Mops/s"

[[task]]
name = "story"
at = "3s"
from = "phone"
work = "500 Mops"
effects = 20
start_on = "tv"
stay = true

[[event]]
at = "3.15s"
do = "cut"
from = "phone"
to = "tv"
for = "12s"

[bounds]
settle = "10s"
"#;

#[test]
fn who_was_out_of_reach_until_the_end_gets_all_that_was_let_out() {
    for seed in 0..4 {
        let record = runs(OUT_OF_REACH, seed);
        let task = &record.tasks[0];
        assert!(task.accepted_us.is_some_and(|at| at < 3_150_000), "before the cut: {task:#?}");
        assert!(task.done_us.is_some_and(|at| at > 15_000_000), "after it: {task:#?}");
        assert!(task.runs.last().unwrap().to_us < 15_000_000, "it ran meanwhile: {task:#?}");
        assert_held(&record);
        assert_eq!(invariant(&record, "effects-once").checked, 21, "each of them, and that there are all");
    }
}
