//! A city: very many homes, each with a network and a circle of its own. A scenario file cannot say it (it may have 1,024
//! segments and circles at most, each written out), so it is made by a program.

use std::time::Duration;

use softbus_core::DeviceKind;

use super::draw::Draw;
use crate::scenario::{
    Bounds, CircleSpec, Crypto, DeviceSpec, Entry, Happening, RoleSpec, Scenario, Segment, TaskOrder,
    WaySpec, What,
};

/// How large a city is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct City {
    /// Devices in all, about: homes are whole.
    pub devices: usize,
    /// Least and most devices of a home.
    pub home: (usize, usize),
    /// Pieces of work that are ordered in all, by anybody.
    pub tasks: usize,
    /// Of a thousand of them so many under a quorum of two holders.
    pub quorum_permille: u64,
    /// Devices that crash once, and start again after ten seconds.
    pub crashes: usize,
    /// How long it takes.
    pub duration: Duration,
}

impl Default for City {
    fn default() -> Self {
        Self {
            devices: 100_000,
            home: (10, 20),
            tasks: 10_000,
            quorum_permille: 100,
            crashes: 500,
            duration: Duration::from_secs(60),
        }
    }
}

/// What stands in a home, in this order: the first is its owner.
const KINDS: [DeviceKind; 10] = [
    DeviceKind::Phone,
    DeviceKind::Laptop,
    DeviceKind::Tv,
    DeviceKind::Speaker,
    DeviceKind::Tablet,
    DeviceKind::Router,
    DeviceKind::Sensor,
    DeviceKind::Desktop,
    DeviceKind::Watch,
    DeviceKind::Sensor,
];

/// Makes it. Equal cities and seeds give equal scenarios.
pub fn city(city: City, seed: u64) -> Scenario {
    let mut draw = Draw::new(seed ^ 0xc171);
    let mut scenario = Scenario {
        name: "city".into(),
        about: "Very many homes, each with devices and work of its own".into(),
        duration: city.duration,
        crypto: Crypto::Null,
        segments: Vec::new(),
        joins: Vec::new(),
        links: Vec::new(),
        circles: Vec::new(),
        devices: Vec::new(),
        tasks: Vec::new(),
        events: Vec::new(),
        bounds: Bounds::default(),
    };
    let mut between = |from: u64, to: u64| from + draw.below(to.saturating_sub(from) + 1);
    while scenario.devices.len() < city.devices {
        let home = format!("home-{}", scenario.circles.len() + 1);
        let way = WaySpec {
            latency: Duration::from_micros(between(1_000, 5_000)),
            jitter: Duration::from_micros(between(0, 3_000)),
            loss_ppm: u32::try_from(between(0, 5_000)).unwrap_or(0),
            rate_bytes_per_s: between(10, 60) * 1_000_000,
            ..WaySpec::default()
        };
        scenario.segments.push(Segment { name: home.clone(), way, shared: true, multicast: true, nat: None });
        scenario.circles.push(CircleSpec { name: home.clone(), entry: Entry::Ready });
        let count = between(city.home.0 as u64, city.home.1 as u64);
        for number in 0..usize::try_from(count).unwrap_or(1) {
            let kind = KINDS[number % KINDS.len()];
            let mut spec = DeviceSpec::usual(&format!("{home}-{kind}-{number}"), kind);
            spec.segment.clone_from(&home);
            let role = if number == 0 { RoleSpec::Owner } else { RoleSpec::Member };
            spec.circles.insert(home.clone(), role);
            // Not all are switched on in the same moment.
            spec.starts = Duration::from_millis(between(0, 2_000));
            scenario.devices.push(spec);
        }
    }
    let last = u64::try_from(city.duration.as_millis()).unwrap_or(u64::MAX) * 3 / 4;
    let count = scenario.devices.len() as u64;
    for number in 1..=city.tasks {
        let from = scenario.devices[usize::try_from(between(0, count - 1)).unwrap_or(0)].name.clone();
        let state_bytes = usize::try_from(between(4, 256) << 10).unwrap_or(4096);
        let quorum = (between(1, 1000) <= city.quorum_permille).then_some(2);
        scenario.tasks.push(TaskOrder {
            name: format!("work-{number}"),
            at: Duration::from_millis(between(4_000.min(last), last)),
            from,
            program: None,
            ops: between(100, 4_000) * 1_000_000,
            state_bytes,
            hot_bytes: state_bytes / 16,
            memory_bytes: 2 * state_bytes as u64 + (1 << 20),
            effects: 0,
            quorum,
            start_on: None,
            stay: false,
        });
    }
    scenario.tasks.sort_by_key(|order| order.at);
    for _ in 0..city.crashes {
        let device = scenario.devices[usize::try_from(between(0, count - 1)).unwrap_or(0)].name.clone();
        let down = Some(Duration::from_secs(10));
        let at = Duration::from_millis(between(4_000.min(last), last));
        let what = What::Crash { device, down, offline: Duration::ZERO, at_disk_job: None };
        scenario.events.push(Happening { at, what, drawn: true });
    }
    scenario.events.sort_by_key(|happening| happening.at);
    scenario
}
