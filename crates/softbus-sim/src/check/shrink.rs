//! Makes a scenario that fails as small as it can be: delta debugging (Zeller and Hildebrandt, "Simplifying and isolating
//! failure-inducing input", 2002, algorithm ddmin) over what happens, and then over what is ordered.

use softbus_task::TasksConfig;

use super::{Failure, failure, one};
use crate::run::subject;
use crate::scenario::{RUNNER, Scenario, TaskOrder, What};

/// Runs that shrinking may take, at most.
const RUNS: usize = 400;

/// A small scenario that fails as the large one does.
#[derive(Clone, PartialEq, Debug)]
pub struct Shrunk {
    /// The scenario, with everything drawn written out.
    pub scenario: Scenario,
    /// How it fails.
    pub failure: Failure,
    /// Happenings before and after.
    pub events: (usize, usize),
    /// Orders before and after.
    pub tasks: (usize, usize),
    /// Runs that it took.
    pub runs: usize,
}

/// Shrinks a scenario that fails under this seed. `told` hears how many happenings are left after each step. `None` if it
/// does not fail.
pub fn shrink(scenario: &Scenario, seed: u64, tasks: &TasksConfig, told: &dyn Fn(usize)) -> Option<Shrunk> {
    let config = tasks.clone();
    let mut search = Search { seed, config, invariant: String::new(), runs: 0, last: None };
    let first = failure(seed, &one(scenario, seed, tasks))?;
    search.invariant.clone_from(&first.invariant);
    search.last = Some(first);
    let mut small = scenario.clone();
    let (events, tasks) = (small.events.len(), small.tasks.len());

    let fits = |search: &mut Search, kept: &[crate::scenario::Happening], base: &Scenario| {
        search.fails(&Scenario { events: kept.to_vec(), ..base.clone() })
    };
    let base = small.clone();
    // What comes after the violation has nothing to do with it, if the run ended there.
    let until = search.last.as_ref().map_or(0, |failure| failure.at_us);
    let before: Vec<_> =
        small.events.iter().filter(|event| crate::record::micros(event.at) <= until).cloned().collect();
    if before.len() < small.events.len() && fits(&mut search, &before, &base) {
        told(before.len());
        small.events = before;
    }
    small.events = minimal(small.events, |kept| {
        let fails = fits(&mut search, kept, &base);
        if fails {
            told(kept.len());
        }
        fails
    });
    let base = small.clone();
    // Those that something is still to happen to stay: the file could not be read without them.
    let (named, free): (Vec<_>, Vec<_>) = small
        .tasks
        .into_iter()
        .partition(|task| base.events.iter().any(|event| names(&event.what, &task.name)));
    let with = |kept: &[TaskOrder]| {
        let mut all: Vec<TaskOrder> = named.iter().chain(kept).cloned().collect();
        all.sort_by_key(|task| base.tasks.iter().position(|known| known.name == task.name));
        all
    };
    let kept = minimal(free, |kept| search.fails(&Scenario { tasks: with(kept), ..base.clone() }));
    small.tasks = with(&kept);
    let failure = search.last?;
    Some(Shrunk {
        events: (events, small.events.len()),
        tasks: (tasks, small.tasks.len()),
        scenario: small,
        failure,
        runs: search.runs,
    })
}

/// Whether this happens to the task, or to whoever runs it.
fn names(what: &What, task: &str) -> bool {
    match what {
        What::MoveTask { task: named, .. } | What::CancelTask { task: named } => named == task,
        _ => subject(what).and_then(|device| device.strip_prefix(RUNNER)) == Some(task),
    }
}

struct Search {
    seed: u64,
    config: TasksConfig,
    invariant: String,
    runs: usize,
    last: Option<Failure>,
}

impl Search {
    /// Whether it fails in the same way.
    fn fails(&mut self, scenario: &Scenario) -> bool {
        if self.runs >= RUNS {
            return false;
        }
        self.runs += 1;
        let found = failure(self.seed, &one(scenario, self.seed, &self.config));
        // Of a run that did not come to its end, only what went wrong in the same way.
        let text = self.last.as_ref().filter(|last| last.invariant == "run").map(|last| last.text.clone());
        let same = found
            .filter(|found| found.invariant == self.invariant && text.is_none_or(|text| text == found.text));
        let fails = same.is_some();
        if fails {
            self.last = same;
        }
        fails
    }
}

/// A part of `all`, in order, that still `fails`, and of which nothing can be left out any more (but for what the bound on
/// runs cuts short). `all` itself does.
fn minimal<T: Clone>(all: Vec<T>, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    if all.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let mut kept = all;
    let mut parts = 2;
    while kept.len() >= 2 {
        let size = kept.len().div_ceil(parts);
        let pieces: Vec<Vec<T>> = kept.chunks(size).map(<[T]>::to_vec).collect();
        let without = |index: usize| -> Vec<T> {
            pieces.iter().enumerate().filter(|(i, _)| *i != index).flat_map(|(_, p)| p.clone()).collect()
        };
        if let Some(piece) = pieces.iter().find(|piece| piece.len() < kept.len() && fails(piece)) {
            kept = piece.clone();
            parts = 2;
        } else if let Some(rest) = (0..pieces.len()).map(without).find(|rest| pieces.len() > 2 && fails(rest))
        {
            kept = rest;
            parts = (parts - 1).max(2);
        } else if size > 1 {
            parts = (parts * 2).min(kept.len());
        } else {
            break;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_left_is_what_it_takes(needed in prop::collection::btree_set(0u32..60, 0..5)) {
            let all: Vec<u32> = (0..60).collect();
            let mut runs = 0;
            let small = minimal(all, |kept| {
                runs += 1;
                needed.iter().all(|n| kept.contains(n))
            });
            prop_assert_eq!(small, needed.iter().copied().collect::<Vec<_>>());
            prop_assert!(runs < 400);
        }
    }

    #[test]
    fn what_fails_only_together_stays_together() {
        // An odd number of those below 10, and all above 50 whatever else.
        let fails = |kept: &[u32]| kept.iter().filter(|n| **n < 10).count() % 2 == 1 && kept.contains(&55);
        let small = minimal((0..59).filter(|n| *n != 0).collect(), fails);
        assert_eq!(small.len(), 2);
        assert!(small.contains(&55) && small[0] < 10);
    }
}
