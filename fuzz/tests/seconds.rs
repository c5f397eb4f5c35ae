//! Every target for a short while on stable: its corpus as it is, then changed copies of it, at least so many and for at least
//! so long. They come in the same order each time, so that a number names an input; `SOFTBUS_FUZZ=10 cargo test -p softbus-fuzz`
//! tries ten times as long, `SOFTBUS_FUZZ_TARGET=ticket` one target.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods)] // a test, helpers included

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use softbus_fuzz::{Random, TARGETS, Target, mutate};

/// Changed inputs of a target of cost 1.
const INPUTS: u64 = 4000;
/// At least so many, whatever the cost.
const INPUTS_LEAST: u64 = 3;
/// A target goes on for at least so long. A machine that is busy or slow tries fewer in that time, but never fewer than
/// those.
const TIME_LEAST: Duration = Duration::from_secs(1);
/// Where an input that makes a target panic is written, for `fuzz TARGET < FILE`.
const FOUND: &str = env!("CARGO_TARGET_TMPDIR");

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: no seed corpus: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn wanted() -> impl Iterator<Item = &'static Target> {
    let name = std::env::var("SOFTBUS_FUZZ_TARGET").ok();
    TARGETS.iter().filter(move |target| name.as_ref().is_none_or(|name| name == target.name))
}

/// Whether `target` survives `input`; if not, the input is kept.
fn survives(target: &Target, what: &str, input: &[u8]) -> bool {
    let survived = catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok();
    if !survived {
        let file = Path::new(FOUND).join(format!("{}-{}", target.name, what.replace(' ', "-")));
        std::fs::write(&file, input).unwrap();
        eprintln!("{} panics on {what}; again: fuzz {} < {}", target.name, target.name, file.display());
    }
    survived
}

#[test]
fn no_parser_panics() {
    let times: u32 = std::env::var("SOFTBUS_FUZZ").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let mut found = Vec::new();
    for target in wanted() {
        let seeds = corpus(target);
        assert!(!seeds.is_empty(), "{}: no seeds", target.name);
        let inputs = (INPUTS * u64::from(times) / u64::from(target.cost)).max(INPUTS_LEAST);
        let as_they_are = seeds.iter().enumerate().map(|(n, seed)| (format!("seed {n}"), seed.clone()));
        let begun = Instant::now();
        let goes_on = |n: &u64| *n < inputs || begun.elapsed() < TIME_LEAST * times;
        let changed = (0..).take_while(goes_on);
        let changed = changed.map(|n| (format!("input {n}"), mutate(&seeds, &mut Random::new(n))));
        // One finding of each target is enough at a time.
        found.extend(
            as_they_are
                .chain(changed)
                .find(|(what, input)| !survives(target, what, input))
                .map(|(what, _)| format!("{}: {what}", target.name)),
        );
    }
    assert!(found.is_empty(), "panics: {found:#?}");
}

#[test]
fn seeds_of_good_messages_are_understood() {
    // Harnesses that refuse everything at the first byte would find nothing: at least one seed of each target
    // must get through its parser.
    for target in wanted() {
        let understood = corpus(target).iter().any(|seed| (target.run)(seed));
        assert!(understood, "{}: no seed is understood; run the bin `seeds`", target.name);
    }
}

#[test]
fn names_are_unique_and_every_corpus_has_its_target() {
    let mut names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut folders: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    folders.sort_unstable();
    assert_eq!(folders, names);
}
