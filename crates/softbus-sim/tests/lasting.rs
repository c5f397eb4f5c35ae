//! What holds for a while: it ends when it should, and no sooner because something of its sort ended.
#![cfg(any(feature = "aws-lc", feature = "ring"))]
#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_held, invariant, runs};
use softbus_sim::record::{DeviceState, Record};

/// Two devices that talk all the time.
const HOME: &str = r#"
duration = "40s"
[[segment]]
name = "home"
[[circle]]
name = "home"
[[device]]
name = "phone"
circles = { home = "owner" }
[[device]]
name = "tv"
circle = "home"
"#;

/// Datagrams that were lost within these seconds.
fn lost(record: &Record, seconds: std::ops::Range<usize>) -> u64 {
    record.traffic[seconds].iter().map(|second| second.lost).sum()
}

#[test]
fn one_weather_follows_the_other() {
    let weather = |at: u32, span: u32, loss: &str| {
        let head = format!("[[event]]\nat = \"{at}s\"\ndo = \"weather\"\nsegment = \"home\"\n");
        format!("{head}loss = \"{loss}\"\nfor = \"{span}s\"\n")
    };
    // The second begins when the first ends; the third lasts longer than the fourth, which begins later.
    let all = [weather(10, 5, "20%"), weather(15, 5, "20%"), weather(22, 10, "20%"), weather(24, 2, "0%")];
    let record = runs(&format!("{HOME}{}", all.concat()), 1);
    assert_eq!(record.sample_every_us, 1_000_000);
    let none = [0..10, 21..22, 25..26, 33..40];
    let some = [10..15, 16..20, 22..24, 27..32];
    assert!(none.iter().all(|seconds| lost(&record, seconds.clone()) == 0), "{:?}", record.traffic);
    assert!(some.iter().all(|seconds| lost(&record, seconds.clone()) > 0), "{:?}", record.traffic);
}

#[test]
fn whose_battery_ran_empty_starts_when_it_is_plugged_in() {
    let sensor = "[[device]]\nname = \"sensor\"\ncircle = \"home\"\n\
        battery = { capacity = \"100 J\", charge = \"20%\", charger = \"20 W\" }\npower = { idle = \"2 W\" }\n";
    let plug = "[[event]]\nat = \"25s\"\ndo = \"plug\"\ndevice = \"sensor\"\n";
    // It cannot start on an empty battery.
    let crash = "[[event]]\nat = \"12s\"\ndo = \"crash\"\ndevice = \"sensor\"\ndown = \"3s\"\n";
    let record = runs(&format!("{HOME}{sensor}{crash}{plug}"), 1);
    let sensor = record.devices.iter().find(|device| device.name == "sensor").unwrap();
    let states: Vec<_> = sensor.states.iter().map(|(at, state)| (at / 1_000_000, *state)).collect();
    let (off, up): (Vec<_>, Vec<_>) = states.iter().partition(|(_, state)| *state == DeviceState::Off);
    assert_eq!(up.len(), 2, "{states:?}");
    assert!(up.iter().all(|(_, state)| *state == DeviceState::Up), "{states:?}");
    assert!((24..=27).contains(&up[1].0), "{states:?}");
    assert!(off.iter().any(|(at, _)| (8..=11).contains(at)), "{states:?}");
}

#[test]
fn a_long_task_that_goes_on_is_no_stuck_one() {
    let task = |work: &str| {
        let bounds = "[bounds]\nsettle = \"10s\"\n";
        format!("{HOME}{bounds}[[task]]\nname = \"film\"\nat = \"5s\"\nfrom = \"phone\"\nwork = \"{work}\"\n")
    };
    let (long, short) = (runs(&task("90 Gops"), 1), runs(&task("0.2 Gops"), 1));
    for record in [&long, &short] {
        assert_held(record);
    }
    let looked = |record| invariant(record, "owner-completes").checked;
    assert_eq!((looked(&long), looked(&short)), (0, 1));
}

#[test]
fn two_devices_have_a_way_of_their_own() {
    let more = "[[device]]\nname = \"car\"\ncircle = \"home\"\n[[link]]\nbetween = [\"tv\", \"phone\"]\nloss = \"100%\"\n";
    let record = runs(&format!("{HOME}{more}"), 1);
    let name = |index: usize| record.devices[index].name.as_str();
    let mut linked: Vec<_> = record.links.iter().map(|link| (name(link.a), name(link.b))).collect();
    linked.sort_unstable();
    linked.dedup();
    assert_eq!(linked, [("phone", "car"), ("tv", "car")]);
}
