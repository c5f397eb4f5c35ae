//! What is drawn: within its range, by its seed, and by nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use softbus_core::DeviceKind;

use super::*;
use crate::scenario::{DeviceSpec, Happening, RoleSpec, What};

const BASE: &str = r#"
duration = "10m"
[[segment]]
name = "home"
latency = "1ms..9ms"
[[segment]]
name = "street"
latency = "10ms..90ms"
[[device]]
name = "phone"
kind = "phone"
segment = "home"
rate = "100..200 Mops/s"
battery = { charge = "10%..90%" }
[[device]]
name = "lamp"
count = "2..9"
kind = "sensor"
segment = "home"
memory = { from = "16 MiB", to = "64 MiB" }
[[task]]
name = "photo"
count = 5
at = "1m..5m"
from = "any"
work = "1 Gops..9 Gops"
[[event]]
at = "1m..5m"
do = "crash"
device = "phone"
down = "1s..60s"
[chaos]
crash = "10 per hour"
load = "10 per hour"
weather = "10 per hour"
devices = ["phone"]
"#;

fn read(text: &str, seed: u64) -> Scenario {
    parse(text, seed).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn seeds_draw_differently_and_within_the_ranges() {
    let mut counts = BTreeSet::new();
    for seed in 0..100 {
        let scenario = read(BASE, seed);
        assert_eq!(scenario, read(BASE, seed));
        counts.insert(scenario.devices.len());
        let phone = &scenario.devices[0];
        assert!((100_000_000..=200_000_000).contains(&phone.rate_ops_per_s));
        assert!((100..=900).contains(&phone.battery.unwrap().charge_permille));
        let memories: BTreeSet<u64> = scenario.devices[1..].iter().map(|d| d.memory_bytes).collect();
        assert_eq!(memories.len(), scenario.devices.len() - 1, "each lamp has its own");
        assert!(memories.iter().all(|m| (16 << 20..=64 << 20).contains(m)));
        assert!(scenario.tasks.iter().all(|t| (60..=300).contains(&t.at.as_secs())));
    }
    assert_eq!(counts, (3..=10).collect());
}

/// A thing more changes nothing of the others.
#[test]
fn draws_do_not_hang_on_each_other() {
    let before = read(BASE, 3);
    let more = BASE
        .replacen(
            "[[segment]]",
            "[[segment]]\nname = \"car\"\nlatency = \"1ms..9ms\"\n[[device]]\nname = \"tv\"\nsegment = \"car\"\n\
             rate = \"1..9 Mops/s\"\n[[event]]\nat = \"1m..2m\"\ndo = \"plug\"\ndevice = \"tv\"\n[[segment]]",
            1,
        )
        .replace("load = ", "drift = \"10 per hour\"\nload = ");
    let after = read(&more, 3);
    for segment in &before.segments {
        assert!(after.segments.contains(segment));
    }
    for device in &before.devices {
        assert!(after.devices.contains(device));
    }
    for event in &before.events {
        assert!(after.events.contains(event), "{event:?}");
    }
    let work = |s: &Scenario| s.tasks.iter().map(|t| (t.at, t.ops)).collect::<Vec<_>>();
    assert_eq!(work(&before), work(&after));
    assert!(after.events.len() > before.events.len());
}

#[test]
fn kinds_have_their_usual_values() {
    let scenario = read(
        "duration = \"1s\"\n[[segment]]\nname = \"x\"\n[[device]]\nname = \"a\"\nkind = \"phone\"\n\
         [[device]]\nname = \"b\"\nkind = \"sensor\"\n[[device]]\nname = \"c\"\nkind = \"laptop\"\n\
         battery = false\n[[device]]\nname = \"d\"\nkind = \"tv\"\nbattery = { capacity = \"2 Wh\" }",
        1,
    );
    let [phone, sensor, laptop, tv] = &scenario.devices[..] else { panic!() };
    assert!(phone.battery.is_some() && phone.runs_tasks && phone.cores == 8);
    assert!(sensor.battery.is_none() && !sensor.runs_tasks && sensor.kind == DeviceKind::Sensor);
    assert!(laptop.battery.is_none());
    assert_eq!(tv.battery.unwrap().capacity_j, 7200.0);
    assert!(phone.segment == "x" && phone.link_budget == 32 && phone.starts.is_zero());
}

const HOME: &str = r#"
duration = "10m"
[network]
loss = "1%"
[[segment]]
name = "home"
latency = "7ms"
[[segment]]
name = "street"
loss = 0
[[circle]]
name = "family"
[[device]]
name = "phone"
segment = "home"
circles = { family = "owner" }
[[device]]
name = "lamp"
count = 3
segment = "home"
circle = "family"
role = "guest"
[[task]]
name = "photo"
count = 4
at = "1s"
every = "10s"
from = "lamp"
work = "1 Gops"
[[task]]
name = "late"
at = "9m"
from = "phone"
work = "1 Gops"
"#;

fn with(event: &str, seed: u64) -> Vec<Happening> {
    read(&format!("{HOME}{event}"), seed).events
}

#[test]
fn what_is_said_of_the_network_lies_under_all_segments() {
    let scenario = read(HOME, 1);
    let [home, street] = &scenario.segments[..] else { panic!() };
    assert_eq!((home.way.loss_ppm, home.way.latency.as_millis()), (10_000, 7));
    assert_eq!((street.way.loss_ppm, street.way.latency.as_millis()), (0, 2));
}

#[test]
fn templates_are_counted_out() {
    let scenario = read(HOME, 1);
    let names: Vec<&str> = scenario.devices.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["phone", "lamp-1", "lamp-2", "lamp-3"]);
    let role = |d: &DeviceSpec| d.circles["family"];
    assert_eq!((role(&scenario.devices[0]), role(&scenario.devices[1])), (RoleSpec::Owner, RoleSpec::Guest));
    let tasks: Vec<(&str, u64)> = scenario.tasks.iter().map(|t| (t.name.as_str(), t.at.as_secs())).collect();
    assert_eq!(tasks, [("photo-1", 1), ("photo-2", 11), ("photo-3", 21), ("photo-4", 31), ("late", 540)]);
    assert!(scenario.tasks[..4].iter().all(|t| t.from.starts_with("lamp-")));
}

#[test]
fn an_event_befalls_all_of_a_template_and_one_of_any() {
    let who = |device: &str| -> Vec<String> {
        let event = format!("[[event]]\nat = \"1s..9m\"\ndo = \"kill\"\ndevice = {device}");
        let events = with(&event, 1);
        assert!(events.iter().all(|e| e.at == events[0].at));
        let device = |e: &Happening| match &e.what {
            What::Kill { device, down: Some(_), .. } => device.clone(),
            other => panic!("{other:?}"),
        };
        events.iter().map(device).collect()
    };
    assert_eq!(who("\"lamp\""), ["lamp-1", "lamp-2", "lamp-3"]);
    assert_eq!(who("[\"lamp-3\", \"phone\"]"), ["lamp-3", "phone"]);
    assert_eq!(who("\"any\"").len(), 1);
}

#[test]
fn events_repeat_and_stay_in_order() {
    let two = "[[event]]\nat = \"5m\"\ndo = \"plug\"\ndevice = \"phone\"\n[[event]]\nat = \"1m\"\n\
               every = \"2m\"\ndo = \"unplug\"\ndevice = \"phone\"";
    let events = with(two, 1);
    let at: Vec<u64> = events.iter().map(|e| e.at.as_secs()).collect();
    assert_eq!(at, [60, 180, 300, 300, 420, 540]);
    assert!(matches!(events[2].what, What::Plug { .. }), "what is written first comes first");
}

#[test]
fn cuts_are_between_two_and_moves_of_what_is_there() {
    for seed in 0..50 {
        let cut = "[[event]]\nat = \"1s\"\ndo = \"cut\"\nfrom = \"lamp\"\nto = \"any\"\nfor = \"1s\"";
        let What::Cut { from, to, .. } = &with(cut, seed)[0].what else { panic!() };
        assert!(from != to && from.starts_with("lamp"));
        let order = "[[event]]\nat = \"15s\"\ndo = \"move-task\"\ntask = \"any\"\nto = \"lamp\"";
        let What::MoveTask { task, to: Some(to) } = &with(order, seed)[0].what else { panic!() };
        assert!(["photo-1", "photo-2"].contains(&task.as_str()), "{task}");
        assert!(to.starts_with("lamp"));
    }
}

#[test]
fn weather_lies_over_the_segment() {
    let weather =
        "[[event]]\nat = \"1s\"\ndo = \"weather\"\nsegment = \"home\"\nloss = \"25%\"\nfor = \"1s\"";
    let What::Weather { way, span, .. } = &with(weather, 1)[0].what else { panic!() };
    assert_eq!((way.loss_ppm, way.latency.as_millis(), span.as_secs()), (250_000, 7, 1));
}

#[test]
fn never_is_never() {
    let event = "[[event]]\nat = \"1s\"\ndo = \"shutdown\"\ndevice = \"phone\"\ndown = \"never\"";
    assert_eq!(with(event, 1)[0].what, What::Shutdown { device: "phone".into(), down: None });
}

#[test]
fn chaos_heals_and_comes_as_often_as_it_says() {
    let chaos = "[chaos]\nfrom = \"1m\"\nheal_before_end = \"2m\"\nspan = \"1s..2s\"\ncrash = \"6 per minute\"\n\
                 unplug = \"3 per minute\"\nclock_jump = \"3 per minute\"\nmove = \"3 per minute\"";
    let (mut crashes, mut sum) = (0, 0);
    for seed in 0..20 {
        let events = with(chaos, seed);
        assert!(events.iter().all(|e| e.drawn && (60..=480).contains(&e.at.as_secs())));
        let count = |f: &dyn Fn(&What) -> bool| events.iter().filter(|e| f(&e.what)).count();
        crashes += count(&|w| matches!(w, What::Crash { .. }));
        let plug = count(&|w| matches!(w, What::Plug { .. }));
        assert_eq!(plug, count(&|w| matches!(w, What::Unplug { .. })));
        // Clocks are set right again, and everybody is at home in the end.
        sum += events
            .iter()
            .map(|e| if let What::ClockJump { by_ms, .. } = e.what { by_ms } else { 0 })
            .sum::<i64>();
        let mut last = std::collections::BTreeMap::new();
        for event in &events {
            if let What::Move { device, segment } = &event.what {
                last.insert(device.clone(), segment.clone());
            }
            if let What::Crash { down: Some(down), .. } = event.what {
                assert!(event.at + down <= Duration::from_secs(480));
            }
        }
        assert!(last.values().all(|segment| segment == "home"));
    }
    assert_eq!(sum, 0);
    // Four devices, seven minutes, one crash in 11.5 seconds: 146 for each seed.
    assert!((2600..3300).contains(&crashes), "{crashes}");
}

#[test]
fn chaos_moves_a_device_back_to_where_it_would_be() {
    let moves = "[[event]]\nat = \"2m\"\ndo = \"move\"\ndevice = \"phone\"\nsegment = \"street\"\n[chaos]\n\
                 devices = [\"phone\"]\nmove = \"2 per minute\"\nspan = \"1s..5s\"\nfrom = \"130s\"";
    let events = with(moves, 4);
    let What::Move { segment, .. } = &events.last().unwrap().what else { panic!() };
    assert!(events.len() > 5 && segment == "street");
}

#[test]
fn chaos_while_tasks_move_comes_soon_after_and_heals() {
    let order =
        "[[event]]\nat = \"2m\"\nevery = \"10s\"\ncount = 30\ndo = \"move-task\"\ntask = \"photo-1\"\n";
    let chaos = |moves: &str| {
        format!(
            "{order}[chaos]\nheal_before_end = \"1m\"\ndown = \"1s..2s\"\nspan = \"1s..3s\"\nunplug = \"3 per minute\"\n{moves}"
        )
    };
    let ends = Duration::from_secs(9 * 60);
    let at_moves =
        "[chaos.moves]\nwithin = \"100ms..400ms\"\ncrash = \"100%\"\ncut = \"50%\"\nclock_jump = \"100%\"";
    let (mut cuts, mut whom) = (0, std::collections::BTreeSet::new());
    for seed in 0..20 {
        let (plain, events) = (with(&chaos(""), seed), with(&chaos(at_moves), seed));
        // What else is drawn stays as it is.
        let of_moves =
            |e: &&Happening| matches!(e.what, What::Crash { .. } | What::Cut { .. } | What::ClockJump { .. });
        let others: Vec<&Happening> = events.iter().filter(|e| !of_moves(e)).collect();
        assert_eq!(others, plain.iter().collect::<Vec<_>>());
        let crashes: Vec<&Happening> =
            events.iter().filter(|e| matches!(e.what, What::Crash { .. })).collect();
        assert_eq!(crashes.len(), 30, "one for each move");
        for (n, crash) in crashes.iter().enumerate() {
            let after = crash.at - Duration::from_secs(120 + 10 * n as u64);
            assert!((100..=400).contains(&after.as_millis()), "{after:?}");
            let What::Crash { device, down: Some(down), .. } = &crash.what else { panic!() };
            assert!(crash.at + *down <= ends);
            whom.insert(device.clone());
        }
        cuts += events.iter().filter(|e| matches!(e.what, What::Cut { .. })).count();
        let jumps = events.iter().filter_map(|e| match e.what {
            What::ClockJump { by_ms, .. } => Some(by_ms),
            _ => None,
        });
        assert_eq!(jumps.sum::<i64>(), 0);
    }
    assert_eq!(whom.len(), 4, "{whom:?}");
    assert!((240..360).contains(&cuts), "{cuts} of 600");
    let unknown = parse(&format!("{HOME}{}", chaos("[chaos.moves]\nweather = \"5%\"")), 1).unwrap_err();
    assert!(unknown.to_string().contains("weather"), "{unknown}");
}

#[test]
fn who_comes_back_may_be_without_network_for_a_while() {
    let chaos = |offline: &str| {
        format!("[chaos]\nheal_before_end = \"1m\"\ndown = \"1s..2s\"\nkill = \"2 per minute\"\n{offline}")
    };
    let late = |events: &[Happening]| -> Vec<Duration> {
        let late = |event: &Happening| match event.what {
            What::Kill { down: Some(down), offline, .. } => {
                assert!(event.at + down + offline <= Duration::from_secs(9 * 60));
                offline
            }
            _ => panic!("{event:?}"),
        };
        events.iter().map(late).collect()
    };
    assert!(late(&with(&chaos(""), 1)).iter().all(Duration::is_zero));
    let late = late(&with(&chaos("offline = \"3s..5s\""), 1));
    let full = late.iter().filter(|late| (3000..=5000).contains(&late.as_millis())).count();
    // What would last beyond the end is cut short.
    assert!(late.len() > 40 && full + 4 >= late.len(), "{late:?}");
    let event = "[[event]]\nat = \"1s\"\ndo = \"crash\"\ndevice = \"phone\"\noffline = \"2s\"\n";
    assert!(matches!(with(event, 1)[0].what, What::Crash { offline, .. } if offline.as_secs() == 2));
    let never = parse(&format!("{HOME}{event}down = \"never\""), 1).unwrap_err().to_string();
    assert!(never.contains("never comes back"), "{never}");
}

#[test]
fn faults_are_aimed_at_whoever_runs_a_task() {
    let crash = "[[event]]\nat = \"15s\"\ndo = \"crash\"\ndevice = \"@photo\"\nat_disk_job = \"2..4\"";
    let cut = "[[event]]\nat = \"15s\"\ndo = \"cut\"\nfrom = \"@photo-2\"\nto = \"lamp\"\nfor = \"1s\"";
    for seed in 0..20 {
        let What::Crash { device, at_disk_job: Some(2..=4), .. } = &with(crash, seed)[0].what else {
            panic!()
        };
        // One that has been submitted by then.
        assert!(["@photo-1", "@photo-2"].contains(&device.as_str()), "{device}");
        let What::Cut { from, to, .. } = &with(cut, seed)[0].what else { panic!() };
        assert!(from == "@photo-2" && to.starts_with("lamp-"));
    }
    let unknown = parse(&format!("{HOME}{}", crash.replace("@photo", "@poto")), 1).unwrap_err().to_string();
    assert!(unknown.contains("photo"), "{unknown}");
    let chaos = "[[event]]\nat = \"2m\"\nevery = \"10s\"\ncount = 30\ndo = \"move-task\"\ntask = \"photo-1\"\n\
                 [chaos]\n[chaos.moves]\naimed = \"50%\"\ncrash_writing = \"100%\"\n";
    let aimed = with(chaos, 1).iter().filter(|e| matches!(&e.what, What::Crash { device, at_disk_job: Some(1..=8), .. } if device == "@photo-1")).count();
    assert!((5..25).contains(&aimed), "{aimed} of 30");
}
