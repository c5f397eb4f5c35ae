//! A device that sleeps in the middle of its work, and wakes when others have gone on with it.
mod common;

use common::{assert_held, invariant, runs};
use softbus_sim::record::Verdict;

/// The laptop falls asleep all at once, in a step of each task.
const NAP: &str = r#"
name = "nap"
duration = "80s"

[[segment]]
name = "home"

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
name = "tv"
kind = "tv"
circle = "home"

[[task]]
name = "ours"
at = "10s"
from = "phone"
work = "6 Gops"
effects = 100
policy = "quorum"
start_on = "laptop"
stay = true

[[task]]
name = "mine"
at = "11s"
from = "laptop"
work = "6 Gops"
start_on = "laptop"
stay = true

[[event]]
at = "16s"
do = "sleep"
device = "laptop"
announced = false
for = "20s"
"#;

#[test]
fn what_a_device_slept_over_is_no_step_of_an_older_epoch() {
    for seed in 1..3 {
        let record = runs(NAP, seed);
        assert_held(&record);
        assert_eq!(invariant(&record, "at-most-one-live").verdict(), Verdict::Held);
        let spans = |n: usize| -> Vec<(usize, u64, u64)> {
            record.tasks[n].runs.iter().map(|run| (run.on, run.from_us, run.to_us)).collect()
        };
        // Others went on with the one …
        assert!(spans(0).iter().any(|(on, from, _)| *on != 1 && (16_000_000..36_000_000).contains(from)));
        // … and the other waited: nothing was done in its sleep.
        assert_eq!(record.tasks[1].state, "done");
        for (on, from, to) in spans(1) {
            assert!(on == 1 && (to <= 16_000_000 || from >= 35_900_000), "{:?}", spans(1));
        }
        assert_eq!(spans(1).len(), 2, "{:?}", spans(1));
    }
}
