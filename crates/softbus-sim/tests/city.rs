//! Very many devices in the reduced model. The city of 100,000 takes minutes, and is run by name:
//! `cargo test --release -p softbus-sim --features aws-lc --test city -- --ignored --nocapture`, with `CITY=5000` before it
//! for fewer of them.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, which tells its figures")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use common::{parse, scenario};
use softbus_sim::record::Record;
use softbus_sim::reduced::{City, Options, city, run, run_with};
use softbus_sim::report;
use softbus_sim::scenario::{RoleSpec, Scenario};

fn show(record: &Record) {
    let summary = &record.summary;
    println!("{} devices, {} links, {} tasks", record.devices.len(), record.links.len(), record.tasks.len());
    println!("discovery {:?}", summary.discovery_us);
    println!("presence  {:?}", summary.presence_us);
    println!("handover  {:?}", summary.handover_us);
    println!("failover  {:?}", summary.failover_us);
    println!("tasks     {:?}", summary.tasks);
    println!("messages {}, bytes {}", summary.datagrams, summary.bytes);
    println!("{:.1} s, {} MiB", summary.real_s, summary.memory_bytes >> 20);
}

#[test]
fn a_street_is_the_same_each_time() {
    let size =
        City { devices: 60, tasks: 10, crashes: 2, duration: Duration::from_secs(25), ..City::default() };
    let scenario = city(size, 7);
    let mut records = [1, 1, 2].map(|seed| {
        let mut record = run_with(&scenario, seed, Options::sparse(), None);
        show(&record);
        (record.summary.real_s, record.summary.memory_bytes) = (0.0, 0);
        record
    });
    records[2].seed = 1;
    assert!(records[0] == records[1] && records[0] != records[2]);
    let done = records[0].tasks.iter().filter(|task| task.state == "done").count();
    assert!(done >= 8, "{done} of 10 are done");
}

#[test]
#[ignore = "takes minutes, and some GiB"]
fn a_hundred_thousand_devices() {
    let devices = std::env::var("CITY").ok().and_then(|devices| devices.parse().ok()).unwrap_or(100_000);
    let size = City { devices, tasks: devices / 10, crashes: devices / 200, ..City::default() };
    let record = run_with(&city(size, 1), 1, Options::sparse(), None);
    show(&record);
    let done = record.summary.tasks.get("done").copied().unwrap_or(0);
    assert!(done * 10 > record.tasks.len() as u64 * 7, "{done} are done");
}

/// Three homes of two or three.
const STREET: &str = r#"
    duration = "6s"
    crypto = "null"
    [[segment]]
    name = "home"
    count = 3
    latency = "1ms..5ms"
    jitter = "1ms"
    [[circle]]
    name = "house"
    count = 3
    [[device]]
    name = "phone"
    count = 3
    kind = "phone"
    segment = "home"
    circles = { house = "owner" }
    [[device]]
    name = "lamp"
    count = 4
    segment = "home"
    circle = "house"
    [[task]]
    name = "job"
    from = "phone-2"
    at = "2s"
    work = "100 Mops"
"#;

#[test]
fn devices_are_dealt_out_to_homes_in_turn() {
    let street = scenario(STREET, 1);
    let placed = |name: &str| {
        let device = street.devices.iter().find(|device| device.name == name).unwrap();
        (device.segment.clone(), device.circles.clone())
    };
    let at = |n: usize, role| (format!("home-{n}"), BTreeMap::from([(format!("house-{n}"), role)]));
    assert_eq!(placed("phone-3"), at(3, RoleSpec::Owner));
    assert_eq!((placed("lamp-1"), placed("lamp-4")), (at(1, RoleSpec::Member), at(1, RoleSpec::Member)));
    let latencies: Vec<Duration> = street.segments.iter().map(|segment| segment.way.latency).collect();
    assert!(latencies.len() == 3 && latencies.windows(2).any(|two| two[0] != two[1]), "{latencies:?}");
    // Written out it is the same.
    assert_eq!(scenario(&street.to_toml(), 2), street);
    // One device is in one home.
    let one = format!("{STREET}[[device]]\nname = \"tv\"\nsegment = \"home\"\n");
    assert!(parse(&one, 1).unwrap_err().to_string().contains("these are several; name one segment"));
    let many = STREET.replace("count = 3", "count = 10001");
    assert!(parse(&many, 1).unwrap_err().to_string().contains("count"), "{}", parse(&many, 1).unwrap_err());
}

#[test]
fn a_report_says_which_model_ran_and_that_nothing_was_checked() {
    let street = scenario(STREET, 1);
    let record = run(&street, 1);
    assert_eq!(record.tasks[0].state, "done");
    let text = report::text(&record);
    for says in [
        "none: the reduced model checks no invariants",
        "model           REDUCED",
        "jitter is approximated",
        "messages  ",
        "none checked: the reduced model checks none",
        "none: the reduced model leaves no trace",
    ] {
        assert!(text.contains(says), "{says}\n{text}");
    }
    for says_not in [" held", "TLS", "regret", "datagrams", "code paths"] {
        assert!(!text.contains(says_not), "{says_not}\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let page = report::html(&record);
    assert!(
        page.contains("\"model\":\"reduced\"") && page.contains("The reduced model checks no invariants")
    );
    let json: Record = serde_json::from_str(&report::json(&record)).unwrap();
    assert_eq!(json.caveats, record.caveats);
}

/// The shipped one is read, but not run: that takes minutes.
#[test]
fn the_shipped_city_has_a_hundred_thousand_devices_in_homes_of_sixteen() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../simulations/large/city.toml");
    let city = Scenario::load(&path, 1).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((city.devices.len(), city.tasks.len(), city.events.len()), (100_000, 10_000, 500));
    let mut homes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for device in &city.devices {
        let home = homes.entry(&device.segment).or_default();
        home.0 += 1;
        home.1 += usize::from(device.circles.get(&device.segment) == Some(&RoleSpec::Owner));
        assert!(device.circles.contains_key(&device.segment), "{device:?}");
    }
    assert!(homes.len() == 6_250 && homes.values().all(|home| *home == (16, 1)));
}
