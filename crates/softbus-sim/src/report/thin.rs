//! Makes a record small enough for a page: a day's samples are more than a screen has pixels, and a browser has to read
//! all of it before it shows anything. What is within bounds stays as it is; what is not is merged or left out, and the
//! page says how much.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::record::{DeviceRecord, DeviceSample, EventRecord, LinkSpan, Record, Traffic};

/// Samples of one device, and of all: at about 85 bytes each.
const SAMPLES_EACH: usize = 2_000;
const SAMPLES: usize = 80_000;
/// Intervals of traffic.
const TRAFFIC: usize = 4_000;
/// Spans of links, at about 60 bytes each.
const LINKS: usize = 50_000;
/// Events.
const EVENTS: usize = 15_000;
/// Tasks, and runs and moves of all of them.
const TASKS: usize = 10_000;
const RUNS: usize = 25_000;
const MOVES: usize = 20_000;
/// Changes of state and of segment of all devices.
const CHANGES: usize = 30_000;
/// Places of the code.
const PATHS: usize = 3_000;
/// Bytes of all names and words; when there are more, each is cut to `WORDS_EACH` characters.
const WORDS: usize = 4_000_000;
const WORDS_EACH: usize = 160;

/// What the page has to know beside the record.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Notes {
    /// The seed, as text: JavaScript's numbers end at 2⁵³.
    pub seed: String,
    /// Interval of `traffic`, which may differ from that of the samples.
    pub traffic_every_us: u64,
    /// What was merged or left out.
    pub left_out: Vec<LeftOut>,
}

/// So many of so many are in the page.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct LeftOut {
    /// Of what.
    pub what: &'static str,
    /// In the page.
    pub kept: usize,
    /// In the record.
    pub of: usize,
}

/// The record as the page holds it.
pub(super) fn thin(record: &Record) -> (Cow<'_, Record>, Notes) {
    let mut thinning = Thinning { record: Cow::Borrowed(record), left_out: Vec::new() };
    thinning.samples();
    let traffic_every_us = thinning.traffic(record.sample_every_us);
    thinning.links();
    thinning.events();
    thinning.tasks();
    thinning.changes();
    thinning.paths();
    thinning.words();
    let notes = Notes { seed: record.seed.to_string(), traffic_every_us, left_out: thinning.left_out };
    (thinning.record, notes)
}

struct Thinning<'a> {
    record: Cow<'a, Record>,
    left_out: Vec<LeftOut>,
}

impl Thinning<'_> {
    fn note(&mut self, what: &'static str, kept: usize, of: usize) {
        self.left_out.push(LeftOut { what, kept, of });
    }

    fn samples(&mut self) {
        let longest = self.record.devices.iter().map(|device| device.samples.len()).max().unwrap_or(0);
        let all: usize = self.record.devices.iter().map(|device| device.samples.len()).sum();
        let every = longest.div_ceil(SAMPLES_EACH).max(all.div_ceil(SAMPLES)).max(1);
        if every == 1 {
            return;
        }
        let record = self.record.to_mut();
        for device in &mut record.devices {
            device.samples = device.samples.chunks(every).map(merge_samples).collect();
        }
        record.sample_every_us = record.sample_every_us.saturating_mul(every as u64);
        let kept = self.record.devices.iter().map(|device| device.samples.len()).sum();
        self.note("samples of devices", kept, all);
    }

    /// Returns the interval of what is left.
    fn traffic(&mut self, sample_every_us: u64) -> u64 {
        let all = self.record.traffic.len();
        let every = all.div_ceil(TRAFFIC).max(1);
        if every > 1 {
            let record = self.record.to_mut();
            record.traffic = record.traffic.chunks(every).map(merge_traffic).collect();
            let kept = record.traffic.len();
            self.note("samples of traffic", kept, all);
        }
        sample_every_us.saturating_mul(every as u64)
    }

    /// Short breaks are bridged, then the shortest links go.
    fn links(&mut self) {
        let all = self.record.links.len();
        if all <= LINKS {
            return;
        }
        let break_us = self.record.duration_us / 1_000;
        let record = self.record.to_mut();
        record.links = bridge(&record.links, break_us);
        record.links.sort_by_key(|link| {
            (Reverse(link.to_us.saturating_sub(link.from_us)), link.a, link.b, link.from_us)
        });
        record.links.truncate(LINKS);
        record.links.sort_by_key(|link| (link.from_us, link.a, link.b, link.to_us));
        let kept = record.links.len();
        self.note("links", kept, all);
    }

    /// Violations stay; of each other kind an even part.
    fn events(&mut self) {
        let all = self.record.events.len();
        if all <= EVENTS {
            return;
        }
        let must = |event: &EventRecord| event.kind == "violation";
        let record = self.record.to_mut();
        let musts = record.events.iter().filter(|event| must(event)).count().min(EVENTS);
        let others = all - musts;
        let (mut seen, mut seen_musts) = (0, 0);
        record.events.retain(|event| {
            if must(event) {
                seen_musts += 1;
                return seen_musts <= musts;
            }
            seen += 1;
            spread_over(seen, others, EVENTS - musts)
        });
        let kept = record.events.len();
        self.note("events", kept, all);
    }

    fn tasks(&mut self) {
        let tasks = self.record.tasks.len();
        let of = |record: &Record| {
            let parts = record.tasks.iter().map(|task| (task.runs.len(), task.moves.len()));
            parts
                .fold((0, 0), |(runs, moves), (more_runs, more_moves)| (runs + more_runs, moves + more_moves))
        };
        let (runs, moves) = of(&self.record);
        if tasks > TASKS {
            keep_spread(&mut self.record.to_mut().tasks, TASKS);
            self.note("tasks", TASKS, tasks);
        }
        if of(&self.record).0 > RUNS {
            let each = share(self.record.tasks.iter().map(|task| task.runs.len()), RUNS);
            self.record.to_mut().tasks.iter_mut().for_each(|task| keep_spread(&mut task.runs, each));
            self.note("runs of tasks", of(&self.record).0, runs);
        }
        if of(&self.record).1 > MOVES {
            let each = share(self.record.tasks.iter().map(|task| task.moves.len()), MOVES);
            self.record.to_mut().tasks.iter_mut().for_each(|task| keep_spread(&mut task.moves, each));
            self.note("moves of tasks", of(&self.record).1, moves);
        }
    }

    /// The shortest stays go.
    fn changes(&mut self) {
        let of = |device: &DeviceRecord| device.states.len() + device.segments.len();
        let all: usize = self.record.devices.iter().map(of).sum();
        if all <= CHANGES {
            return;
        }
        let lengths =
            self.record.devices.iter().flat_map(|device| [device.states.len(), device.segments.len()]);
        let each = share(lengths, CHANGES);
        let begin_us = self.record.duration_us / 100_000 + 1;
        for device in &mut self.record.to_mut().devices {
            coarsen(&mut device.states, each, begin_us);
            coarsen(&mut device.segments, each, begin_us);
        }
        self.note("changes of devices", self.record.devices.iter().map(of).sum(), all);
    }

    /// The most frequent stay.
    fn paths(&mut self) {
        let all = self.record.summary.paths.len();
        if all <= PATHS {
            return;
        }
        let mut paths: Vec<_> = std::mem::take(&mut self.record.to_mut().summary.paths).into_iter().collect();
        paths.sort_by_key(|(_, times)| Reverse(*times));
        paths.truncate(PATHS);
        self.record.to_mut().summary.paths = paths.into_iter().collect();
        self.note("paths", PATHS, all);
    }

    fn words(&mut self) {
        let mut all = 0;
        let mut longest = 0;
        // Counting only reads, but the one list of where words stand is written for changing them.
        let mut counted = self.record.clone().into_owned();
        each_word(&mut counted, &mut |word| {
            all += word.len();
            longest = longest.max(word.len());
        });
        if all <= WORDS {
            return;
        }
        each_word(&mut counted, &mut clip);
        let kept = {
            let mut kept = 0;
            each_word(&mut counted, &mut |word| kept += word.len());
            kept
        };
        self.record = Cow::Owned(counted);
        self.note("bytes of names and words", kept, all);
    }
}

/// Every text of a record that may be long.
fn each_word(record: &mut Record, with: &mut dyn FnMut(&mut String)) {
    with(&mut record.scenario);
    with(&mut record.about);
    record.segments.iter_mut().for_each(&mut *with);
    for device in &mut record.devices {
        with(&mut device.name);
        with(&mut device.id);
        with(&mut device.kind);
    }
    for task in &mut record.tasks {
        with(&mut task.name);
        with(&mut task.policy);
        with(&mut task.state);
        for change in &mut task.moves {
            with(&mut change.reason);
            with(&mut change.why);
        }
    }
    for event in &mut record.events {
        with(&mut event.kind);
        with(&mut event.text);
    }
    for invariant in &mut record.invariants {
        with(&mut invariant.says);
        invariant.violations.iter_mut().for_each(|violation| with(&mut violation.text));
    }
}

fn clip(word: &mut String) {
    if let Some((end, _)) = word.char_indices().nth(WORDS_EACH) {
        word.truncate(end);
        word.push('…');
    }
}

/// The last charge, the most heat, the mean load, the last of those online, the most tasks.
fn merge_samples(samples: &[DeviceSample]) -> DeviceSample {
    let last = samples.last().copied().unwrap_or_default();
    let load: u64 = samples.iter().map(|sample| u64::from(sample.load_permille)).sum();
    DeviceSample {
        celsius: samples.iter().filter_map(|sample| sample.celsius).reduce(f32::max),
        load_permille: u16::try_from(load / samples.len().max(1) as u64).unwrap_or(u16::MAX),
        running: samples.iter().map(|sample| sample.running).max().unwrap_or(0),
        ..last
    }
}

fn merge_traffic(traffic: &[Traffic]) -> Traffic {
    let sum = |part: fn(&Traffic) -> u64| traffic.iter().map(part).fold(0, u64::saturating_add);
    Traffic { sent: sum(|t| t.sent), bytes: sum(|t| t.bytes), lost: sum(|t| t.lost) }
}

/// Joins spans of the same two devices when the break between them is no longer than `break_us`.
fn bridge(links: &[LinkSpan], break_us: u64) -> Vec<LinkSpan> {
    let mut of_pair: BTreeMap<(usize, usize), Vec<LinkSpan>> = BTreeMap::new();
    for link in links {
        of_pair.entry((link.a, link.b)).or_default().push(*link);
    }
    let mut bridged: Vec<LinkSpan> = Vec::new();
    for mut spans in of_pair.into_values() {
        spans.sort_by_key(|span| span.from_us);
        let first = bridged.len();
        for span in spans {
            match bridged[first..].last_mut() {
                Some(last) if span.from_us <= last.to_us.saturating_add(break_us) => {
                    last.to_us = last.to_us.max(span.to_us);
                }
                _ => bridged.push(span),
            }
        }
    }
    bridged
}

/// Leaves out what lasts less than a time, which is doubled until no more than `most` are left. The last one stays.
fn coarsen<T: Copy>(changes: &mut Vec<(u64, T)>, most: usize, begin_us: u64) {
    let mut least_us = begin_us;
    while changes.len() > most.max(1) {
        let next: Vec<u64> = changes.iter().skip(1).map(|(at_us, _)| *at_us).chain([u64::MAX]).collect();
        let mut until = next.into_iter();
        changes
            .retain(|(at_us, _)| until.next().is_some_and(|until| until.saturating_sub(*at_us) >= least_us));
        least_us = least_us.saturating_mul(2);
    }
}

fn keep_spread<T>(list: &mut Vec<T>, kept: usize) {
    let (all, mut seen) = (list.len(), 0);
    list.retain(|_| {
        seen += 1;
        spread_over(seen, all, kept)
    });
}

/// Whether the `nth` (from 1) of `all` is among `kept` that are spread over them evenly.
fn spread_over(nth: usize, all: usize, kept: usize) -> bool {
    kept >= all || nth * kept / all != (nth - 1) * kept / all
}

/// The greatest length to which each may be cut so that all together are within `bound`.
fn share(lengths: impl Iterator<Item = usize>, bound: usize) -> usize {
    let mut lengths: Vec<usize> = lengths.collect();
    lengths.sort_unstable();
    let mut left = bound;
    for (at, length) in lengths.iter().enumerate() {
        let fair = left / (lengths.len() - at);
        if *length > fair {
            return fair;
        }
        left -= length;
    }
    usize::MAX
}
