//! Many seeds of a scenario, and what to do with one that fails: name it, say how to see it again, and make it small.

mod shrink;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use softbus_task::TasksConfig;

use crate::SimError;
use crate::record::Record;
use crate::run::{RunOptions, run};
use crate::scenario::{Scenario, ScenarioError};

pub use shrink::{Shrunk, shrink};

/// What to check.
pub struct CheckOptions {
    /// The scenario's file.
    pub scenario: PathBuf,
    /// Seeds.
    pub seeds: Range<u64>,
    /// Runs at once.
    pub jobs: usize,
    /// Settings of the task room of all devices.
    pub tasks: TasksConfig,
    /// Whether to go on after the first seed that fails.
    pub all: bool,
}

/// What a check found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Checked {
    /// Seeds that ran to their end, or to their first violation.
    pub seeds: u64,
    /// How often each invariant was looked at, in all of them.
    pub looked: BTreeMap<String, u64>,
    /// Datagrams sent in all.
    pub datagrams: u64,
    /// Virtual time of all runs, in microseconds.
    pub virtual_us: u64,
    /// Moves of running tasks.
    pub moves: u64,
    /// Places of the code that said something, in any of them.
    pub paths: BTreeSet<String>,
    /// Faults that happened.
    pub faults: u64,
    /// Seeds that failed, in order.
    pub failures: Vec<Failure>,
}

/// A seed that failed.
#[derive(Clone, PartialEq, Debug)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// The first invariant that was violated; `run` if the run itself did not come to its end.
    pub invariant: String,
    /// The counterexample.
    pub text: String,
    /// When, in microseconds of virtual time.
    pub at_us: u64,
}

/// Why a check does not begin.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The scenario cannot be read.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
}

/// Runs all seeds, several at once. `told` hears of each that is done.
///
/// # Errors
/// If the scenario cannot be read under some seed.
pub fn check(options: &CheckOptions, told: &(dyn Fn(&Checked) + Sync)) -> Result<Checked, CheckError> {
    let next = AtomicU64::new(options.seeds.start);
    let enough = AtomicBool::new(false);
    let found: Mutex<(Checked, Option<ScenarioError>)> = Mutex::default();
    let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.seeds.end {
                        return;
                    }
                    let scenario = match Scenario::load(&options.scenario, seed) {
                        Ok(scenario) => scenario,
                        Err(error) => {
                            lock().1.get_or_insert(error);
                            enough.store(true, Ordering::Relaxed);
                            return;
                        }
                    };
                    let ran = one(&scenario, seed, &options.tasks);
                    let mut found = lock();
                    found.0.add(seed, ran);
                    if !found.0.failures.is_empty() && !options.all {
                        enough.store(true, Ordering::Relaxed);
                    }
                    told(&found.0);
                }
            });
        }
    });
    let (mut checked, error) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = error {
        return Err(error.into());
    }
    checked.failures.sort_by_key(|failure| failure.seed);
    Ok(checked)
}

/// One run, up to its first violation. A panic in it is a failure of that seed and of no other.
pub(crate) fn one(scenario: &Scenario, seed: u64, tasks: &TasksConfig) -> Result<Record, String> {
    let tasks = tasks.clone();
    let options = RunOptions { seed, tasks, stop_at_violation: true, ..RunOptions::default() };
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| run(scenario, options)));
    match ran {
        Ok(ran) => ran.map_err(|error: SimError| error.to_string()),
        Err(panic) => {
            let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("it panicked: {}", said.unwrap_or_else(|| "without a word".into())))
        }
    }
}

/// The first thing that went wrong in a run.
pub(crate) fn failure(seed: u64, ran: &Result<Record, String>) -> Option<Failure> {
    match ran {
        Err(text) => Some(Failure { seed, invariant: "run".into(), text: text.clone(), at_us: 0 }),
        Ok(record) => {
            let (invariant, first) = record.first_violation()?;
            Some(Failure {
                seed,
                invariant: invariant.name.clone(),
                text: first.text.clone(),
                at_us: first.at_us,
            })
        }
    }
}

impl Checked {
    fn add(&mut self, seed: u64, ran: Result<Record, String>) {
        self.seeds += 1;
        self.failures.extend(failure(seed, &ran));
        if let Ok(record) = ran {
            for invariant in record.invariants {
                *self.looked.entry(invariant.name).or_default() += invariant.checked;
            }
            self.datagrams += record.summary.datagrams;
            self.virtual_us += record.duration_us;
            self.moves += record.tasks.iter().map(|task| task.moves.len() as u64).sum::<u64>();
            self.faults += record.summary.faults.values().sum::<u64>();
            self.paths.extend(record.summary.paths.into_keys());
        }
    }
}
