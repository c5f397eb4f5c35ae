//! `softbus sim check`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use softbus_sim::{CheckError, CheckOptions, Checked, Failure as Found, Shrunk};

use super::{Ended, beside, load, words};
use crate::args::SimCheckArgs;
use crate::failure::{Failure, Kind};
use crate::node::Signals;
use crate::output::{Bar, Out, Paint, clean, write_new};

/// How often a name for a small scenario is tried: `NAME-seed-7.toml`, `NAME-seed-7-2.toml`, …
const NAMES: u32 = 1000;

/// What came of it all. The names are a contract with scripts.
#[derive(Serialize)]
struct View {
    version: &'static str,
    scenarios: Vec<ScenarioView>,
}

/// What came of a scenario.
#[derive(Serialize)]
struct ScenarioView {
    scenario: PathBuf,
    /// The first seed, and the one after the last.
    seeds: (u64, u64),
    seeds_run: u64,
    virtual_us: u64,
    datagrams: u64,
    moves: u64,
    faults: u64,
    /// How often each was looked at; with 0 the check says nothing of it.
    invariants: BTreeMap<String, u64>,
    paths: BTreeSet<String>,
    failures: Vec<FailureView>,
}

/// A seed that failed.
#[derive(Serialize)]
struct FailureView {
    seed: u64,
    invariant: String,
    text: String,
    at_us: u64,
    /// The command that shows it again.
    replay: String,
    smaller: Option<SmallerView>,
}

/// What is left of the scenario where only what the failure takes is left in it.
#[derive(Serialize)]
struct SmallerView {
    file: PathBuf,
    /// Before and after.
    events: (usize, usize),
    /// Before and after.
    tasks: (usize, usize),
    runs: usize,
    replay: String,
}

/// Checks scenarios, one after the other.
pub(super) async fn check(out: Out, mut signals: Signals, args: SimCheckArgs) -> Result<(), Failure> {
    if !args.no_shrink {
        fillable(folder(&args))?;
    }
    // All are read before the first is run: what is wrong in the last is told at once.
    for scenario in &args.scenarios {
        load(scenario, args.seeds.start)?;
    }
    let mut view = View { version: env!("CARGO_PKG_VERSION"), scenarios: Vec::new() };
    for scenario in &args.scenarios {
        let found = scenario_view(&out, &mut signals, &args, scenario).await?;
        let failed = !found.failures.is_empty();
        view.scenarios.push(found);
        if failed && !args.all {
            break;
        }
    }
    if out.json {
        out.json(&view)?;
    }
    let failures: Vec<&FailureView> = view.scenarios.iter().flat_map(|s| &s.failures).collect();
    let Some(first) = failures.first() else { return Ok(()) };
    let skipped = match args.scenarios.len() - view.scenarios.len() {
        0 => String::new(),
        more => format!("; {more} more of the scenarios not looked at"),
    };
    let again = first.smaller.as_ref().map_or(&first.replay, |smaller| &smaller.replay);
    Err(Failure::new(Kind::Violated, words::failed(failures.len(), &first.invariant) + &skipped)
        .advise(again.clone()))
}

/// Checks one.
async fn scenario_view(
    out: &Out,
    signals: &mut Signals,
    args: &SimCheckArgs,
    scenario: &Path,
) -> Result<ScenarioView, Failure> {
    let checked = seeds(out, signals, args, scenario).await?;
    if !out.json {
        out.line(out.paint(Paint::Strong, &clean(&scenario.display().to_string())))?;
        out.raw(words::totals(&checked, args.seeds.end - args.seeds.start).as_bytes())?;
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut failures = Vec::new();
    for found in &checked.failures {
        let words = words::failure(scenario, found);
        if !out.json {
            out.raw(format!("{} {words}", out.paint(Paint::Bad, "✗")).as_bytes())?;
        }
        let smaller = if seen.insert(&found.invariant) && !args.no_shrink {
            smaller(out, signals, args, scenario, found).await?
        } else {
            None
        };
        failures.push(FailureView {
            seed: found.seed,
            invariant: found.invariant.clone(),
            text: found.text.clone(),
            at_us: found.at_us,
            replay: words::replay(scenario, found.seed),
            smaller,
        });
    }
    Ok(ScenarioView {
        scenario: scenario.to_path_buf(),
        seeds: (args.seeds.start, args.seeds.end),
        seeds_run: checked.seeds,
        virtual_us: checked.virtual_us,
        datagrams: checked.datagrams,
        moves: checked.moves,
        faults: checked.faults,
        invariants: checked.looked,
        paths: checked.paths,
        failures,
    })
}

/// Runs all seeds.
async fn seeds(
    out: &Out,
    signals: &mut Signals,
    args: &SimCheckArgs,
    scenario: &Path,
) -> Result<Checked, Failure> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let options = CheckOptions {
        scenario: scenario.to_path_buf(),
        seeds: args.seeds.clone(),
        jobs: args.jobs.map_or_else(cores, usize::from),
        all: args.all,
        tasks: Default::default(),
    };
    let of = options.seeds.end - options.seeds.start;
    let bar = Arc::new(Bar::slim(out, &stem(scenario)));
    bar.set(0, &words::so_far(&Checked::default(), of));
    let latest: Arc<Mutex<(u64, Vec<Found>)>> = Arc::default();
    let told = {
        let (bar, latest) = (bar.clone(), latest.clone());
        move |so_far: &Checked| {
            bar.set(permille(so_far.seeds, of), &words::so_far(so_far, of));
            *latest.lock().unwrap_or_else(PoisonError::into_inner) = (so_far.seeds, so_far.failures.clone());
        }
    };
    let ended = beside(signals, move || softbus_sim::check(&options, &told)).await;
    bar.clear();
    match ended? {
        Ended::Done(Ok(checked)) => Ok(checked),
        Ended::Done(Err(CheckError::Scenario(error))) => Err(Failure::usage(error.to_string())),
        Ended::Panicked => Err(Failure::failed(format!("{} broke off", words::of_scenario(scenario)))),
        Ended::Stopped => {
            let (run, failures) = latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let stopped = Failure::new(Kind::Interrupted, words::stopped(run, of, failures.len()));
            Err(match failures.first() {
                Some(found) => stopped.advise(words::replay(scenario, found.seed)),
                None => stopped,
            })
        }
    }
}

fn permille(part: u64, of: u64) -> u16 {
    u16::try_from(u128::from(part) * 1000 / u128::from(of.max(1))).unwrap_or(1000)
}

/// Makes what fails small, and writes it down.
async fn smaller(
    out: &Out,
    signals: &mut Signals,
    args: &SimCheckArgs,
    scenario: &Path,
    found: &Found,
) -> Result<Option<SmallerView>, Failure> {
    let (whole, seed) = (load(scenario, found.seed)?, found.seed);
    let bar = Arc::new(Bar::spinner(out, "leaving out what is not needed…"));
    bar.note(&words::left(whole.events.len()));
    let told = {
        let bar = bar.clone();
        move |left: usize| bar.note(&words::left(left))
    };
    let ended = beside(signals, move || softbus_sim::shrink(&whole, seed, &Default::default(), &told)).await;
    bar.clear();
    let shrunk = match ended? {
        Ended::Done(Some(shrunk)) => shrunk,
        Ended::Done(None) => {
            out.note(out.paint_err(Paint::Warn, "  it did not fail when it was run once more"));
            return Ok(None);
        }
        Ended::Panicked => return Err(Failure::failed("leaving out what is not needed broke off")),
        Ended::Stopped => {
            return Err(Failure::new(Kind::Interrupted, "stopped before the scenario was small")
                .advise(words::replay(scenario, seed)));
        }
    };
    let file = write(folder(args), scenario, &shrunk)?;
    if !out.json {
        out.raw(words::shrunk(&file, &shrunk).as_bytes())?;
    }
    Ok(Some(SmallerView {
        events: shrunk.events,
        tasks: shrunk.tasks,
        runs: shrunk.runs,
        replay: words::replay(&file, seed),
        file,
    }))
}

/// Writes the small scenario beside whatever is there.
fn write(folder: &Path, scenario: &Path, shrunk: &Shrunk) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(folder).map_err(|e| Failure::io(format!("folder {}", folder.display()), &e))?;
    let base = format!("{}-seed-{}", stem(scenario), shrunk.failure.seed);
    let names = (1..=NAMES).map(|n| match n {
        1 => format!("{base}.toml"),
        n => format!("{base}-{n}.toml"),
    });
    let file = write_new(folder, names, words::file(scenario, shrunk).as_bytes())?;
    Ok(file.strip_prefix(".").map(Path::to_path_buf).unwrap_or(file))
}

fn stem(scenario: &Path) -> String {
    scenario.file_stem().map_or_else(|| "scenario".into(), |stem| clean(&stem.to_string_lossy()))
}

fn folder(args: &SimCheckArgs) -> &Path {
    args.out.as_deref().unwrap_or(Path::new("."))
}

/// Whether files can be made in a folder, which need not be there yet.
fn fillable(folder: &Path) -> Result<(), Failure> {
    let there = folder.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(Failure::usage(format!("--out {} is a file: name a folder", there.display())));
    }
    tempfile::tempfile_in(there).map(drop).map_err(|e| {
        Failure::io(format!("cannot write a file into {}", there.display()), &e)
            .advise("name another folder (--out DIR), or do not make small what fails (--no-shrink)")
    })
}

#[cfg(test)]
mod tests {
    use softbus_sim::scenario::Scenario;

    use super::*;

    const HELLO: &str = include_str!("../../../../simulations/hello.toml");

    fn made_up(invariant: &str) -> Shrunk {
        let scenario = Scenario::parse(HELLO, "hello.toml", 17, &mut |_| unreachable!()).unwrap();
        let failure = Found {
            seed: 17,
            invariant: invariant.into(),
            text: "`photo` is live twice:\n  phone in epoch 2\n  laptop in epoch 3 \x1b[2J".into(),
            at_us: 12_345_678,
        };
        Shrunk { scenario, failure, events: (41, 1), tasks: (6, 1), runs: 87 }
    }

    #[test]
    fn a_failure_says_what_and_how_to_see_it_again() {
        let shrunk = made_up("at-most-one-live");
        let said = words::failure(Path::new("my sims/hello.toml"), &shrunk.failure);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            said,
            format!(
                "seed 17 violates the invariant `at-most-one-live` after 12 s of virtual time (softbus {version}):
    `photo` is live twice:
      phone in epoch 2
      laptop in epoch 3 \u{fffd}[2J
  again: softbus sim run 'my sims/hello.toml' --seed 17
"
            )
        );
        let broken = words::failure(Path::new("hello.toml"), &made_up("run").failure);
        assert!(broken.starts_with("seed 17 does not run to its end (softbus"), "{broken}");
        let said = words::shrunk(Path::new("hello-seed-17.toml"), &shrunk);
        assert!(said.contains("enough for it: 1 of 41 happenings and 1 of 6 tasks (87 runs)"), "{said}");
        assert!(said.contains("again: softbus sim run hello-seed-17.toml --seed 17\n"), "{said}");
    }

    #[test]
    fn a_small_scenario_is_a_file_that_can_be_read_and_replaces_none() {
        let dir = tempfile::tempdir().unwrap();
        let shrunk = made_up("at-most-one-live");
        let write =
            || write(&dir.path().join("found"), Path::new("simulations/hello.toml"), &shrunk).unwrap();
        let (one, two) = (write(), write());
        assert_eq!(one, dir.path().join("found/hello-seed-17.toml"));
        assert_eq!(two, dir.path().join("found/hello-seed-17-2.toml"));
        assert_eq!(Scenario::load(&one, 17).unwrap(), shrunk.scenario, "what is run again is what failed");
        let text = std::fs::read_to_string(one).unwrap();
        assert!(text.starts_with("# simulations/hello.toml with seed 17"), "{text}");
        assert!(
            text.contains("\n# at-most-one-live: `photo` is live twice:\n#   phone in epoch 2\n"),
            "{text}"
        );
    }

    #[test]
    fn a_folder_is_looked_at_before_the_work() {
        let dir = tempfile::tempdir().unwrap();
        fillable(&dir.path().join("a/b")).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "looking makes nothing");
        std::fs::write(dir.path().join("file"), b"").unwrap();
        assert_eq!(fillable(&dir.path().join("file")).unwrap_err().kind, Kind::Usage);
    }
}
