//! What the simulator's commands say.

use std::path::Path;

use softbus_sim::record::Record;
use softbus_sim::{Checked, Failure as Found, Progress, Shrunk};

use crate::output::{clean_lines, duration, micros};

/// A scenario in the middle of a message.
pub(super) fn of_scenario(path: &Path) -> String {
    format!("scenario {}", path.display())
}

/// The command that shows a run once more.
pub(super) fn replay(scenario: &Path, seed: u64) -> String {
    format!("softbus sim run {} --seed {seed}", word(&scenario.to_string_lossy()))
}

/// What to do with a run that violated an invariant.
pub(super) fn again(scenario: &Path, seed: u64) -> String {
    let path = word(&scenario.to_string_lossy());
    format!(
        "{} (to see it again)\n       softbus sim check {path} --seeds {seed} (to make it small)",
        replay(scenario, seed)
    )
}

/// One word for a shell.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./+:,@%=".contains(c);
    let text = if text.starts_with('-') { format!("./{text}") } else { text.to_string() };
    match text.chars().all(plain) && !text.is_empty() {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// How a run gets on. `real_s`: real seconds so far.
pub(super) fn progress(progress: Progress, real_s: f64) -> String {
    let speed = progress.at.as_secs_f64() / real_s.max(1e-3);
    let speed = if speed < 10.0 { format!("{speed:.1}") } else { grouped(speed as u64) };
    // The least important last: it is cut where there is no room.
    format!(
        "{} of {} · {speed}× · {} up · {} done · {}",
        duration(progress.at),
        duration(progress.of),
        grouped(progress.up as u64),
        grouped(progress.done as u64),
        counted(progress.datagrams, "datagram", "datagrams"),
    )
}

/// How a check gets on.
pub(super) fn so_far(checked: &Checked, of: u64) -> String {
    format!(
        "{} of {} · {} failed · {} simulated · {}",
        grouped(checked.seeds),
        counted(of, "seed", "seeds"),
        grouped(checked.failures.len() as u64),
        micros(checked.virtual_us),
        counted(checked.datagrams, "datagram", "datagrams"),
    )
}

/// What a whole check did, line by line.
pub(super) fn totals(checked: &Checked, of: u64) -> String {
    let seeds = match checked.failures.len() as u64 {
        0 => format!("{}, none failed", grouped(checked.seeds)),
        failed if checked.seeds == of => format!("{}, {} FAILED", grouped(checked.seeds), grouped(failed)),
        failed => format!("{} of {}, {} FAILED", grouped(checked.seeds), grouped(of), grouped(failed)),
    };
    let lines = [
        ("seeds", seeds),
        ("virtual time", micros(checked.virtual_us)),
        ("datagrams", grouped(checked.datagrams)),
        ("moves of tasks", grouped(checked.moves)),
        ("faults", grouped(checked.faults)),
        ("invariants", looked(checked)),
        ("code", format!("{} places of it said something", grouped(checked.paths.len() as u64))),
    ];
    lines.iter().map(|(what, words)| format!("  {what:<16}{words}\n")).collect()
}

/// How often invariants were looked at, and at which never.
fn looked(checked: &Checked) -> String {
    let times = format!("looked at {} times", grouped(checked.looked.values().sum()));
    let never: Vec<&str> =
        checked.looked.iter().filter(|(_, n)| **n == 0).map(|(name, _)| name.as_str()).collect();
    if never.is_empty() { times } else { format!("{times}; never at {}", never.join(", ")) }
}

/// A seed that failed, and how to see it again.
pub(super) fn failure(scenario: &Path, found: &Found) -> String {
    let what = match found.invariant.as_str() {
        "run" => format!("seed {} does not run to its end", found.seed),
        invariant => {
            let at = micros(found.at_us);
            format!("seed {} violates the invariant `{invariant}` after {at} of virtual time", found.seed)
        }
    };
    format!(
        "{what} (softbus {}):\n{}\n  again: {}\n",
        env!("CARGO_PKG_VERSION"),
        indented(&found.text, "    "),
        replay(scenario, found.seed)
    )
}

/// What shrinking left, and how to see that again.
pub(super) fn shrunk(file: &Path, shrunk: &Shrunk) -> String {
    let left = |(before, after): (usize, usize), one: &str, more: &str| {
        format!("{} of {}", grouped(after as u64), counted(before as u64, one, more))
    };
    format!(
        "  enough for it: {} and {} ({})\n  smaller scenario: {}\n  again: {}\n",
        left(shrunk.events, "happening", "happenings"),
        left(shrunk.tasks, "task", "tasks"),
        counted(shrunk.runs as u64, "run", "runs"),
        clean_lines(&file.display().to_string()),
        replay(file, shrunk.failure.seed),
    )
}

/// How far leaving out is.
pub(super) fn left(happenings: usize) -> String {
    format!("{} left", counted(happenings as u64, "happening", "happenings"))
}

/// A check that was stopped.
pub(super) fn stopped(run: u64, of: u64, failed: usize) -> String {
    let failed = if failed == 0 { "none".into() } else { grouped(failed as u64) };
    format!("stopped after {} of {}; {failed} failed", grouped(run), counted(of, "seed", "seeds"))
}

/// How a check ended with failures.
pub(super) fn failed(failures: usize, invariant: &str) -> String {
    let first = match invariant {
        "run" => "a run did not come to its end".into(),
        invariant => format!("the invariant `{invariant}` does not hold"),
    };
    match failures {
        1 => format!("a seed failed: {first}"),
        more => format!("{} seeds failed, the first: {first}", grouped(more as u64)),
    }
}

/// The small scenario as a file, which says where it comes from.
pub(super) fn file(scenario: &Path, shrunk: &Shrunk) -> String {
    let found = &shrunk.failure;
    let head = format!(
        "{} with seed {}, as far as it takes for this failure (softbus {}).\n{}: {}",
        scenario.display(),
        found.seed,
        env!("CARGO_PKG_VERSION"),
        found.invariant,
        found.text.trim_end(),
    );
    format!("{}\n\n{}", indented(&head, "# "), shrunk.scenario.to_toml())
}

/// The first violation of a run: its invariant, when, and the counterexample. And how many invariants were violated.
pub(super) fn violation(record: &Record) -> Option<(Found, usize)> {
    let (invariant, first) = record.first_violation()?;
    let violated = record.invariants.iter().filter(|invariant| !invariant.violations.is_empty());
    let found = Found {
        seed: record.seed,
        invariant: invariant.name.clone(),
        text: first.text.clone(),
        at_us: first.at_us,
    };
    Some((found, violated.count()))
}

/// What it says of that.
pub(super) fn violated(found: &Found, invariants: usize) -> String {
    let others = match invariants {
        0 | 1 => String::new(),
        more => format!("; it is the first of {more} that were"),
    };
    format!(
        "the invariant `{}` was violated after {} of virtual time{others}:\n{}",
        found.invariant,
        micros(found.at_us),
        indented(&found.text, "    "),
    )
}

fn indented(text: &str, by: &str) -> String {
    let lines: Vec<String> = clean_lines(text.trim_end())
        .lines()
        .map(|line| format!("{by}{line}").trim_end().to_string())
        .collect();
    lines.join("\n")
}

fn counted(n: u64, one: &str, more: &str) -> String {
    format!("{} {}", grouped(n), if n == 1 { one } else { more })
}

/// `1 204 331`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut apart = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            apart.push(' ');
        }
        apart.push(digit);
    }
    apart
}

#[cfg(test)]
mod tests {
    use softbus_sim::record::{InvariantRecord, ViolationRecord};

    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        let said = |path: &str| replay(Path::new(path), 3);
        assert_eq!(said("simulations/hello.toml"), "softbus sim run simulations/hello.toml --seed 3");
        assert_eq!(said("it's/a b.toml"), r"softbus sim run 'it'\''s/a b.toml' --seed 3");
        assert_eq!(said("-x.toml"), "softbus sim run ./-x.toml --seed 3");
        assert_eq!(said("$(x)"), "softbus sim run '$(x)' --seed 3");
    }

    #[test]
    fn the_first_violation_is_told() {
        let violation_at = |at_us, text: &str| ViolationRecord { at_us, text: text.into() };
        let invariant = |name: &str, violations| InvariantRecord {
            name: name.into(),
            checked: 9,
            violations,
            ..InvariantRecord::default()
        };
        let mut record = Record { seed: 7, ..Record::default() };
        record.invariants = vec![invariant("held", vec![])];
        assert_eq!(violation(&record), None);
        record.invariants.push(invariant("late", vec![violation_at(9_000_000, "late")]));
        record
            .invariants
            .push(invariant("early", vec![violation_at(2_000_000, "a\nb"), violation_at(3, "c")]));
        let (found, invariants) = violation(&record).unwrap();
        assert_eq!((found.seed, found.invariant.as_str(), found.at_us, invariants), (7, "early", 3, 2));
        assert_eq!(
            violated(&found, 2),
            "the invariant `early` was violated after 3 µs of virtual time; it is the first of 2 that were:\n    c"
        );
    }

    #[test]
    fn how_it_gets_on_fits_beside_the_bar() {
        let seconds = std::time::Duration::from_secs;
        let now = Progress { at: seconds(30), of: seconds(60), up: 2, done: 1, datagrams: 3_559 };
        assert_eq!(progress(now, 4.2), "30 s of 60 s · 7.1× · 2 up · 1 done · 3 559 datagrams");
        let now = Progress { at: seconds(43_200), of: seconds(86_400), up: 1_000, done: 0, datagrams: 1 };
        assert_eq!(progress(now, 36.0), "12 h of 24 h · 1 200× · 1 000 up · 0 done · 1 datagram");
        let checked = Checked { seeds: 37, virtual_us: 200_000_000, datagrams: 9, ..Checked::default() };
        assert_eq!(so_far(&checked, 100), "37 of 100 seeds · 0 failed · 3 min simulated · 9 datagrams");
    }

    #[test]
    fn totals_say_what_did_not_run() {
        let found = Found { seed: 3, invariant: "x".into(), text: String::new(), at_us: 0 };
        let looked = [("one", 1_204_330), ("three", 0), ("two", 1)].map(|(name, n)| (name.to_owned(), n));
        let mut checked = Checked { seeds: 100, looked: looked.into(), ..Checked::default() };
        assert!(totals(&checked, 100).contains("seeds           100, none failed\n"));
        assert!(totals(&checked, 100).contains("looked at 1 204 331 times; never at three\n"));
        checked.failures.push(found);
        assert!(totals(&checked, 100).contains("100, 1 FAILED"));
        checked.seeds = 5;
        assert!(totals(&checked, 100).contains("5 of 100, 1 FAILED"));
    }
}
