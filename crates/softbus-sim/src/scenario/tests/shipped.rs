//! The scenarios that are shipped.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::scenario::{Crypto, What};

fn load(name: &str, seed: u64) -> Scenario {
    let scenario = Scenario::load(&simulations().join(format!("{name}.toml")), seed);
    scenario.unwrap_or_else(|e| panic!("{e}"))
}

/// The names of all shipped files.
pub(super) fn names() -> Vec<String> {
    let files = std::fs::read_dir(simulations()).unwrap().map(|file| file.unwrap().path());
    let scenarios = files.filter(|path| path.extension().is_some_and(|e| e == "toml"));
    let mut names: Vec<String> =
        scenarios.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn each_is_read_for_any_seed_begins_with_a_comment_and_is_named_as_its_file() {
    assert!(names().len() >= 9, "{:?}", names());
    for name in names() {
        for seed in [0, 1, 2, 77, u64::MAX] {
            let scenario = load(&name, seed);
            assert_eq!(scenario.name, name);
            assert!(!scenario.about.is_empty());
            assert_eq!(scenario, load(&name, seed), "equal seeds, equal scenarios");
            assert!(scenario.events.is_sorted_by_key(|e| e.at) && scenario.tasks.is_sorted_by_key(|t| t.at));
        }
        let text = std::fs::read_to_string(simulations().join(format!("{name}.toml"))).unwrap();
        assert!(text.starts_with("# "), "{name}");
    }
}

#[test]
fn each_is_written_as_it_was_drawn() {
    for name in names() {
        let scenario = load(&name, 5);
        let text = scenario.to_toml();
        if text.len() <= limits::FILE_BYTES {
            assert_eq!(parse(&text, 6).unwrap_or_else(|e| panic!("{e}")), scenario);
        }
    }
}

#[test]
fn they_are_as_large_as_they_say() {
    let hello = load("hello", 1);
    assert_eq!((hello.devices.len(), hello.tasks.len(), hello.events.len()), (2, 1, 1));
    let rush = load("rush-hour", 1);
    assert_eq!((rush.devices.len(), rush.tasks.len(), rush.crypto), (200, 2000, Crypto::Null));
    let thousand = load("thousand", 1);
    assert_eq!(thousand.devices.len(), 1000);
    assert!(thousand.devices.iter().all(|d| d.link_budget == 8));
    assert_eq!(load("a-day-at-home", 1).devices.len(), 8);
}

/// When a fault is over; nothing if it never is.
fn over(what: &What) -> Option<Duration> {
    Some(match what {
        What::Crash { down, offline, .. } | What::Kill { down, offline, .. } => (*down)? + *offline,
        What::Shutdown { down, .. } => (*down)?,
        What::Sleep { span, .. }
        | What::Cut { span, .. }
        | What::Partition { span, .. }
        | What::Weather { span, .. }
        | What::Load { span, .. }
        | What::Drift { span, .. }
        | What::DiskFull { span, .. }
        | What::DiskFail { span, .. } => *span,
        What::Lose { .. } => return None,
        _ => Duration::ZERO,
    })
}

#[test]
fn handover_heals_in_time_and_differs_from_seed_to_seed() {
    let mut seen = BTreeSet::new();
    let (mut sorts, mut faults) = (BTreeSet::new(), 0);
    for seed in 0..200 {
        let scenario = load("handover", seed);
        let healed = scenario.duration - Duration::from_secs(23);
        for event in scenario.events.iter().filter(|e| e.drawn) {
            assert!(event.at + over(&event.what).unwrap() <= healed, "{event:?}");
            sorts.insert(format!("{:?}", std::mem::discriminant(&event.what)));
            faults += 1;
        }
        seen.insert(scenario.to_toml());
    }
    assert_eq!(seen.len(), 200);
    assert_eq!(sorts.len(), 9, "each sort of fault is drawn");
    assert!((2000..8000).contains(&faults), "{faults}");
}
