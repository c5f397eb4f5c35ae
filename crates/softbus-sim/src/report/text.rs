//! The summary for a terminal: at most 100 columns, whatever the names are.

use std::fmt::Write as _;

use crate::record::{DeviceState, Model, Record, Spread, Verdict};
use crate::scenario::Crypto;

use super::units::{bytes, count, joules, moment, percent, span, three_digits};

/// Columns of the whole.
const COLUMNS: usize = 100;
/// Columns of the first, with what a line is about.
const LABEL: usize = 16;
/// Faults and counterexamples shown; the page and `--json` have them all.
const FAULTS: usize = 16;
const VIOLATIONS: usize = 3;

/// A summary of the run, for people at a terminal.
pub fn text(record: &Record) -> String {
    let mut lines = Lines(String::new());
    head(record, &mut lines);
    counts(record, &mut lines);
    spreads(record, &mut lines);
    costs(record, &mut lines);
    faults(record, &mut lines);
    invariants(record, &mut lines);
    foot(record, &mut lines);
    lines.0
}

fn head(record: &Record, lines: &mut Lines) {
    let name = if record.scenario.is_empty() { "(no name)" } else { &record.scenario };
    lines.line("scenario", name);
    if !record.about.is_empty() {
        lines.wrapped("", &record.about);
    }
    lines.line("verdict", &verdict(record));
    if record.model == Model::Reduced {
        lines.line("model", "REDUCED: the library's decisions over modelled links, disks and cores");
        for caveat in &record.caveats {
            lines.wrapped("", &format!("  {caveat}"));
        }
    }
    lines.blank();
    let crypto = match record.crypto {
        Crypto::Real => "TLS 1.3",
        Crypto::Null => "NULL CRYPTO: packets are framed, not sealed",
    };
    lines.line("seed", &record.seed.to_string());
    if record.model == Model::Full {
        lines.line("crypto", crypto);
    }
}

fn verdict(record: &Record) -> String {
    let all = record.invariants.len();
    let [held, violated, left] =
        [Verdict::Held, Verdict::Violated, Verdict::NotLookedAt].map(|verdict| record.count(verdict));
    match (held, violated, left) {
        (0, 0, _) if record.model == Model::Reduced => "none: the reduced model checks no invariants".into(),
        (0, 0, _) => "no invariant was looked at".into(),
        (_, 0, 0) => format!("all {all} invariants held"),
        (_, 0, _) => format!("{held} {} held, {left} not looked at", plural(held, "invariant")),
        (_, _, 0) => format!("{violated} of {all} invariants VIOLATED"),
        _ => format!("{violated} of {all} invariants VIOLATED, {held} held, {left} not looked at"),
    }
}

fn counts(record: &Record, lines: &mut Lines) {
    lines.line("virtual time", &span(record.duration_us));
    let mut states = [0_u64; 4];
    for device in &record.devices {
        let last = device.states.last().map_or(DeviceState::Off, |(_, state)| *state);
        states[last as usize] += 1;
    }
    let names = [
        ("up", DeviceState::Up),
        ("asleep", DeviceState::Asleep),
        ("off", DeviceState::Off),
        ("lost", DeviceState::Lost),
    ];
    let ended: Vec<_> = names
        .iter()
        .filter(|(_, state)| states[*state as usize] > 0)
        .map(|(name, state)| format!("{} {name}", count(states[*state as usize])))
        .collect();
    let devices = count(record.devices.len() as u64);
    let segments = count(record.segments.len() as u64);
    let at_end = if ended.is_empty() { String::new() } else { format!("; at the end {}", ended.join(", ")) };
    lines.wrapped(
        "devices",
        &format!("{devices} on {segments} {}{at_end}", plural(record.segments.len(), "segment")),
    );
    let tasks: Vec<_> =
        record.summary.tasks.iter().map(|(state, n)| format!("{} {state}", count(*n))).collect();
    let moves: usize = record.tasks.iter().map(|task| task.moves.len()).sum();
    let tasks = if tasks.is_empty() { String::new() } else { format!(": {}", tasks.join(", ")) };
    lines.wrapped("tasks", &format!("{}{tasks}", count(record.tasks.len() as u64)));
    lines.line("moves", &count(moves as u64));
}

fn spreads(record: &Record, lines: &mut Lines) {
    let summary = &record.summary;
    lines.blank();
    lines.spread_row("", ["p50", "p99", "least", "most", "of"].map(String::from));
    for (name, spread) in [
        ("discovery", &summary.discovery_us),
        ("pairing", &summary.pairing_us),
        ("presence", &summary.presence_us),
        ("hand-over", &summary.handover_us),
        ("fail-over", &summary.failover_us),
    ] {
        lines.spread_row(name, columns(spread, span));
    }
    if record.model == Model::Full {
        lines.spread_row("regret", columns(&summary.regret_permille, percent));
    }
}

fn columns(spread: &Spread, figure: fn(u64) -> String) -> [String; 5] {
    if spread.count == 0 {
        return ["–", "–", "–", "–", "0"].map(String::from);
    }
    [figure(spread.p50), figure(spread.p99), figure(spread.min), figure(spread.max), count(spread.count)]
}

fn costs(record: &Record, lines: &mut Lines) {
    let summary = &record.summary;
    let devices = record.devices.len().max(1) as f64;
    lines.blank();
    let lost = record.traffic.iter().map(|traffic| traffic.lost).fold(0, u64::saturating_add);
    lines.line(sent(record), &format!("{}; {} lost", count(summary.datagrams), count(lost)));
    lines.line(
        "bytes",
        &format!("{}; per device {}", bytes(summary.bytes as f64), bytes(summary.bytes as f64 / devices)),
    );
    lines.line(
        "energy",
        &format!("{}; per device {}", joules(summary.energy_j), joules(summary.energy_j / devices)),
    );
}

/// What is counted as sent.
fn sent(record: &Record) -> &'static str {
    match record.model {
        Model::Full => "datagrams",
        Model::Reduced => "messages",
    }
}

fn faults(record: &Record, lines: &mut Lines) {
    let faults = &record.summary.faults;
    lines.blank();
    let mut shown: Vec<_> = faults.iter().collect();
    shown.sort_by_key(|(name, times)| (std::cmp::Reverse(**times), *name));
    let more = shown.len().saturating_sub(FAULTS);
    let mut words: Vec<_> = shown
        .iter()
        .take(FAULTS)
        .map(|(name, times)| format!("{} {}×", cut(&plain(name), 30), count(**times)))
        .collect();
    if more > 0 {
        words.push(format!("and {} more sorts", count(more as u64)));
    }
    if words.is_empty() {
        words.push("none".into());
    }
    lines.wrapped("faults met", &words.join(", "));
    if record.model == Model::Full {
        lines.line("code paths met", &count(record.summary.paths.len() as u64));
    }
}

fn invariants(record: &Record, lines: &mut Lines) {
    lines.blank();
    if record.invariants.is_empty() {
        let model = if record.model == Model::Reduced { ": the reduced model checks none" } else { "" };
        lines.line("invariants", &format!("none checked{model}"));
    }
    for (at, invariant) in record.invariants.iter().enumerate() {
        let verdict = match invariant.verdict() {
            Verdict::NotLookedAt => "not looked at".into(),
            Verdict::Held => format!("held     {:>12}× looked at", count(invariant.checked)),
            Verdict::Violated => format!("VIOLATED {:>12}× looked at", count(invariant.checked)),
        };
        let name = pad(&cut(&plain(&invariant.name), 36), 36);
        lines.line(if at == 0 { "invariants" } else { "" }, &format!("{name}  {verdict}"));
        for violation in invariant.violations.iter().take(VIOLATIONS) {
            lines.wrapped("", &format!("  at {}: {}", moment(violation.at_us), violation.text));
        }
        let more = invariant.violations.len().saturating_sub(VIOLATIONS);
        if more > 0 {
            lines.line("", &format!("  and {more} more"));
        }
    }
}

fn foot(record: &Record, lines: &mut Lines) {
    let summary = &record.summary;
    lines.blank();
    match record.model {
        Model::Full => lines.line("trace hash", &record.trace_hash),
        Model::Reduced => lines.line("trace hash", "none: the reduced model leaves no trace"),
    }
    if summary.real_s > 0.0 {
        let speed = three_digits(record.speed());
        let rate = three_digits(summary.datagrams as f64 / summary.real_s);
        let took = three_digits(summary.real_s);
        lines.line(
            "speed",
            &format!("{speed} virtual s per real s; {rate} {}/s; {took} s in all", sent(record)),
        );
    }
    if summary.memory_bytes > 0 {
        lines.line("memory", &bytes(summary.memory_bytes as f64));
    }
}

/// Lines with a label column, none wider than `COLUMNS`.
struct Lines(String);

impl Lines {
    fn blank(&mut self) {
        self.0.push('\n');
    }

    /// One line, cut if it must be.
    fn line(&mut self, label: &str, words: &str) {
        let words = cut(&plain(words), COLUMNS - LABEL);
        let line = format!("{}{words}", pad(label, LABEL));
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    /// As many lines as it takes, but not without end.
    fn wrapped(&mut self, label: &str, words: &str) {
        const MOST: usize = 6;
        let words = plain(words);
        let indent = words.len() - words.trim_start().len();
        let mut lines = vec![" ".repeat(indent)];
        for word in words.split_whitespace() {
            let word = cut(word, COLUMNS - LABEL - indent);
            let line = lines.last_mut().expect("begins with one");
            let begun = !line.trim().is_empty();
            if begun && width(line) + 1 + width(&word) > COLUMNS - LABEL {
                lines.push(format!("{}{word}", " ".repeat(indent)));
            } else {
                line.push_str(if begun { " " } else { "" });
                line.push_str(&word);
            }
        }
        let more = lines.len() > MOST;
        for (at, line) in lines.iter().take(MOST).enumerate() {
            let end = if more && at + 1 == MOST { " …" } else { "" };
            let line = format!("{}{end}", cut(line, COLUMNS - LABEL - end.len()));
            self.line(if at == 0 { label } else { "" }, &line);
        }
    }

    fn spread_row(&mut self, label: &str, columns: [String; 5]) {
        let mut row = String::new();
        for column in columns {
            let _ = write!(row, "{}{column}  ", " ".repeat(14_usize.saturating_sub(width(&column))));
        }
        self.line(label, &row);
    }
}

fn plural(n: usize, word: &str) -> String {
    if n == 1 { word.into() } else { format!("{word}s") }
}

/// Without what steers a terminal or turns the direction of writing: each such sign becomes `�`, line ends a space.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            c if c.is_control() => '\u{fffd}',
            '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}

/// Columns that a text takes at most: what some terminals show wide is taken for wide.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(c: char) -> usize {
    match u32::from(c) {
        0x1100..=0x11ff | 0x2e80..=0xa4cf | 0xa960..=0xa97f | 0xac00..=0xd7ff | 0xf900..=0xfaff => 2,
        0xfe10..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x2600..=0x27bf | 0x1f000.. => 2,
        _ => 1,
    }
}

fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.into();
    }
    let mut taken = 0;
    let kept = text.chars().take_while(|c| {
        taken += columns_of(*c);
        taken < columns
    });
    kept.chain(['…']).collect()
}

fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}
