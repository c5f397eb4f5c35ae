//! The report holds what the record says, and no name can break out of it.

use crate::record::{DeviceRecord, EventRecord, LinkSpan, Record, Spread};

use super::made_up::{HOSTILE, Plan, made_up};
use super::text::width;
use super::thin::thin;
use super::{html, json, text};

/// The part of the page between the tags of the script with this id.
fn script<'a>(page: &'a str, id: &str) -> &'a str {
    let open = format!("<script type=\"application/json\" id=\"{id}\">");
    let begin = page.find(&open).expect("is there") + open.len();
    let end = page[begin..].find("</script>").expect("ends");
    &page[begin..begin + end]
}

fn small_ones() -> Vec<Record> {
    vec![
        made_up(Plan::PAIR),
        made_up(Plan::HOSTILE),
        made_up(Plan { devices: 0, ..Plan::PAIR }),
        made_up(Plan { duration_s: 0, samples: 0, ..Plan::PAIR }),
        Record::default(),
    ]
}

fn large_ones() -> Vec<Record> {
    [Plan::DAY, Plan::OFFICE, Plan::THOUSAND].into_iter().map(made_up).collect()
}

#[test]
fn the_page_holds_the_record() {
    for plan in [Plan::PAIR, Plan { samples: 500, ..Plan::HOSTILE }] {
        let record = made_up(plan);
        let held: Record = serde_json::from_str(script(&html(&record), "record")).expect("a record");
        assert_eq!(held, record);
    }
    let held: Record = serde_json::from_str(script(&html(&Record::default()), "record")).expect("a record");
    assert_eq!(held, Record::default());
}

#[test]
fn the_page_holds_what_thinning_left() {
    let record = made_up(Plan::OFFICE);
    let (thinned, notes) = thin(&record);
    assert!(!notes.left_out.is_empty());
    let page = html(&record);
    let held: Record = serde_json::from_str(script(&page, "record")).expect("a record");
    assert_eq!(&held, &*thinned);
    let held: serde_json::Value = serde_json::from_str(script(&page, "notes")).expect("notes");
    assert_eq!(held["seed"], "18369442827114381313", "JavaScript's numbers would round it");
}

#[test]
fn no_name_becomes_markup() {
    let record = made_up(Plan::HOSTILE);
    let page = html(&record);
    for name in HOSTILE.iter().filter(|name| name.contains('<')) {
        assert!(!page.contains(name), "{name} is in the page as it is");
    }
    for data in [script(&page, "record"), script(&page, "notes")] {
        for sign in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
            assert!(!data.contains(sign), "{sign:?} is in the data");
        }
    }
    let plain = html(&Record::default());
    for tag in ["<script", "</script", "<img", "<!--", "<noscript", "</noscript", "<style", "</style"] {
        assert_eq!(page.matches(tag).count(), plain.matches(tag).count(), "{tag}: names add none");
    }
}

#[test]
fn what_looks_like_a_place_is_not_filled() {
    let record = Record { scenario: "{{script}} {{record}}".into(), ..Record::default() };
    let page = html(&record);
    let held: Record = serde_json::from_str(script(&page, "record")).expect("a record");
    assert_eq!(held.scenario, record.scenario);
    assert_eq!(html(&Record::default()).matches("{{").count(), 0, "all places are filled");
}

#[test]
fn the_page_reaches_nobody() {
    let page = html(&made_up(Plan::DAY));
    for outside in [
        "http://",
        "https://",
        "src=",
        "url(",
        "@import",
        "<link",
        "<iframe",
        "fetch(",
        "XMLHttp",
        "WebSocket",
    ] {
        assert!(!page.contains(outside), "{outside} is in the page");
    }
    assert!(page.contains("default-src 'none'"));
    assert!(page.contains("require-trusted-types-for 'script'"));
}

#[test]
fn the_script_writes_text_only() {
    let page = html(&Record::default());
    for way in
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"]
    {
        assert!(!page.contains(way), "{way} is in the script");
    }
}

#[test]
fn the_page_is_bounded() {
    let most = 20_000_000;
    assert!(html(&made_up(Plan::THOUSAND)).len() < most);

    // More of everything than any run leaves.
    let mut record = made_up(Plan { tasks: 2_000, samples: 100, ..Plan::THOUSAND });
    for task in &mut record.tasks {
        let (run, change) = (task.runs.first().cloned(), task.moves.first().cloned());
        task.runs.extend(std::iter::repeat_n(run, 40).flatten());
        task.moves.extend(std::iter::repeat_n(change, 40).flatten());
        task.name = "long-".repeat(2_000);
    }
    for n in 0..200_000_usize {
        let at = n as u64;
        record.links.push(LinkSpan {
            a: n % 1_000,
            b: (n * 7 + 1) % 1_000,
            from_us: at * 5_000,
            to_us: at * 5_000 + at,
        });
        let kind = if n.is_multiple_of(1_000) { "violation" } else { "task" };
        record.events.push(EventRecord {
            at_us: at,
            kind: kind.into(),
            device: None,
            text: "something ".repeat(20),
        });
        record.summary.paths.insert(format!("room::module: message {n}"), at);
    }
    for device in &mut record.devices {
        let states = device.states.iter().map(|(_, state)| *state).cycle();
        device.states = states.zip(0..200).map(|(state, n)| (n * n * 40_000, state)).collect();
    }
    let page = html(&record);
    assert!(page.len() < most, "{} bytes", page.len());
    let held: Record = serde_json::from_str(script(&page, "record")).expect("a record");
    assert_eq!(held.events.iter().filter(|event| event.kind == "violation").count(), 200, "violations stay");
    let (thinned, notes) = thin(&record);
    assert_eq!(thinned.tasks.len(), 2_000);
    for (few, many) in thinned.devices.iter().zip(&record.devices) {
        assert_eq!(few.states.last(), many.states.last());
    }
    for part in notes.left_out {
        assert!(part.kept < part.of && part.kept > 0, "{part:?}");
    }
}

#[test]
fn thinning_keeps_sums_and_times() {
    let record = made_up(Plan::DAY);
    let (thinned, notes) = thin(&record);
    let bytes = |record: &Record| record.traffic.iter().map(|traffic| traffic.bytes).sum::<u64>();
    assert_eq!(bytes(&thinned), bytes(&record));
    let spans = |record: &Record, every: u64| {
        let samples = record.devices[0].samples.len() as u64;
        (samples * record.sample_every_us, record.traffic.len() as u64 * every)
    };
    assert_eq!(spans(&thinned, notes.traffic_every_us), spans(&record, record.sample_every_us));
}

#[test]
fn what_is_within_bounds_stays() {
    let record = made_up(Plan::PAIR);
    let (thinned, notes) = thin(&record);
    assert_eq!(&*thinned, &record);
    assert_eq!(notes.left_out, []);
    assert_eq!(notes.traffic_every_us, record.sample_every_us);
}

#[test]
fn the_summary_fits_a_terminal() {
    for record in small_ones().into_iter().chain(large_ones()) {
        let summary = text(&record);
        for line in summary.lines() {
            assert!(width(line) <= 100, "{} columns: {line}", width(line));
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
        assert!(summary.lines().count() < 120);
    }
}

#[test]
fn the_summary_fits_with_the_largest_figures() {
    let most = Spread { count: u64::MAX, min: u64::MAX, p50: u64::MAX, p99: u64::MAX, max: u64::MAX };
    let mut record = made_up(Plan::HOSTILE);
    record.summary.handover_us = most;
    record.summary.regret_permille = most;
    record.summary.bytes = u64::MAX;
    record.summary.datagrams = u64::MAX;
    record.summary.energy_j = f64::MAX;
    record.summary.memory_bytes = u64::MAX;
    record.summary.real_s = f64::MIN_POSITIVE;
    record.duration_us = u64::MAX;
    record.devices.push(DeviceRecord { energy_j: f64::NAN, ..DeviceRecord::default() });
    for line in text(&record).lines() {
        assert!(width(line) <= 100, "{} columns: {line}", width(line));
    }
    html(&record);
}

#[test]
fn the_summary_says_what_was_violated() {
    let summary = text(&made_up(Plan::OFFICE));
    assert!(summary.contains("VIOLATED"));
    assert!(summary.contains("NULL CRYPTO"));
    let summary = text(&made_up(Plan::DAY));
    assert!(!summary.contains("VIOLATED"));
    assert!(!summary.contains("NULL CRYPTO"));
}

#[test]
fn what_was_not_looked_at_does_not_count_among_what_held() {
    let mut record = made_up(Plan::DAY);
    assert!(text(&record).contains("5 invariants held, 1 not looked at\n"), "{}", text(&record));
    assert!(text(&record).contains("not looked at\n\n"), "in its own line, the last");
    assert!(text(&made_up(Plan::OFFICE)).contains("1 of 6 invariants VIOLATED, 4 held, 1 not looked at\n"));
    let verdicts = |record: &Record| -> Vec<String> {
        let held: serde_json::Value = serde_json::from_str(&json(record)).expect("JSON");
        let all = held["invariants"].as_array().expect("a list").iter();
        all.map(|invariant| invariant["verdict"].as_str().expect("a word").to_owned()).collect()
    };
    assert_eq!(verdicts(&record), ["held", "held", "held", "held", "held", "not-looked-at"]);
    assert_eq!(verdicts(&made_up(Plan::OFFICE))[3], "violated");
    record.invariants[5].checked = 1;
    assert!(text(&record).contains("all 6 invariants held\n"));
    record.invariants.iter_mut().for_each(|invariant| invariant.checked = 0);
    assert!(text(&record).contains("no invariant was looked at\n"));
}

#[test]
fn json_is_the_record() {
    for record in small_ones() {
        let held: Record = serde_json::from_str(&json(&record)).expect("a record");
        assert_eq!(held, record);
        assert_eq!(json(&held), json(&record));
    }
}

#[test]
#[ignore = "writes pages for a person to look at, into the folder that SOFTBUS_PAGES names"]
fn pages_to_look_at() {
    let folder =
        std::path::PathBuf::from(std::env::var("SOFTBUS_PAGES").expect("SOFTBUS_PAGES names a folder"));
    for (at, record) in small_ones().iter().chain(&large_ones()).enumerate() {
        std::fs::write(folder.join(format!("page-{at}.html")), html(record)).expect("written");
    }
}
