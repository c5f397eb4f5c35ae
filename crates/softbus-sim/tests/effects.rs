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
