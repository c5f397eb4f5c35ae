//! What is written is read as the same.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use softbus_core::DeviceKind;

use super::parse;
use crate::scenario::draw::{Seed, Stream};
use crate::scenario::values::{Real, Whole};
use crate::scenario::*;

proptest! {
    #[test]
    fn a_written_scenario_is_read_as_the_same(seed: u64, other: u64) {
        let scenario = Any(Seed(seed).of("any").stream("")).scenario();
        let text = scenario.to_toml();
        match parse(&text, other) {
            Ok(again) => prop_assert_eq!(scenario, again, "{}", text),
            Err(e) => return Err(TestCaseError::fail(format!("{e}\n{text}"))),
        }
    }
}

/// Any scenario that can be.
struct Any(Stream);

impl Any {
    fn below(&mut self, many: usize) -> usize {
        self.0.below(many)
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Small numbers and large ones alike.
    fn number(&mut self, from: i64, to: i64) -> i64 {
        let value = self.0.whole(Whole { from: from.into(), to: to.into() }) >> self.below(60);
        i64::try_from(value).unwrap().clamp(from, to)
    }

    fn real(&mut self, to: f64) -> f64 {
        let real = self.0.real(Real { from: 0.0, to });
        if self.flag() { real } else { real.round() }
    }

    fn time(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(self.number(0, i64::try_from(most.as_nanos()).unwrap()).try_into().unwrap())
    }

    fn ppm(&mut self) -> u32 {
        self.number(0, 1_000_000).try_into().unwrap()
    }

    fn one<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    fn names(&mut self, base: &str, least: usize) -> Vec<String> {
        let odd = ["", " x", "-é", "\"", "\\", "'", ".a", " = '", "#", "-1"];
        (0..least + self.below(5)).map(|n| format!("{base}{n}{}", self.one(&odd))).collect()
    }

    fn way(&mut self) -> WaySpec {
        if self.flag() {
            return WaySpec::default();
        }
        let hour = Duration::from_secs(3600);
        WaySpec {
            latency: self.time(hour),
            jitter: self.time(hour),
            loss_ppm: self.ppm(),
            burst: self.flag().then(|| Burst {
                enter_ppm: self.ppm(),
                leave_ppm: self.ppm(),
                loss_ppm: self.ppm(),
            }),
            duplicate_ppm: self.ppm(),
            reorder_ppm: self.ppm(),
            rate_bytes_per_s: self.number(0, 1 << 50).try_into().unwrap(),
            queue: self.time(hour),
            mtu_bytes: self.number(576, 65_527).try_into().unwrap(),
        }
    }

    fn device(&mut self, name: String, segments: &[String], circles: &[String], end: Duration) -> DeviceSpec {
        let roles = [RoleSpec::Owner, RoleSpec::Member, RoleSpec::Guest];
        let mut joined = BTreeMap::new();
        for circle in circles {
            if self.flag() {
                joined.insert(circle.clone(), *self.one(&roles));
            }
        }
        DeviceSpec {
            name,
            kind: self.one(&DeviceKind::ALL).0,
            segment: self.one(segments).clone(),
            circles: joined,
            cores: self.number(1, 1024).try_into().unwrap(),
            rate_ops_per_s: self.number(1, 1 << 50).try_into().unwrap(),
            memory_bytes: self.number(1, 1 << 50).try_into().unwrap(),
            battery: self.flag().then(|| Battery {
                capacity_j: 1.0 + self.real(1e6),
                charge_permille: self.number(0, 1000).try_into().unwrap(),
                floor_permille: self.number(0, 1000).try_into().unwrap(),
                charger_w: self.real(100.0),
                plugged: self.flag(),
            }),
            heat: self.flag().then(|| Heat {
                ambient_c: self.real(40.0) - 20.0,
                c_per_w: self.real(10.0),
                settle_s: 1.0 + self.real(1000.0),
                serious_c: self.real(50.0),
                critical_c: 50.0 + self.real(50.0),
            }),
            power: if self.flag() {
                Power::default()
            } else {
                Power {
                    idle_w: self.real(9.0),
                    sleep_w: self.real(1.0),
                    core_w: self.real(9.0),
                    radio_j_per_byte: self.real(1e-6),
                }
            },
            clock_offset_ms: self.number(-86_400_000, 86_400_000),
            clock_drift_ppm: self.number(-100_000, 100_000),
            disk: Disk {
                latency: self.time(Duration::from_secs(60)),
                capacity_bytes: self.flag().then(|| self.number(0, 1 << 50).try_into().unwrap()),
                torn: self.flag(),
            },
            link_budget: self.number(1, 256).try_into().unwrap(),
            starts: self.time(end),
            runs_tasks: self.flag(),
        }
    }

    fn task(&mut self, name: String, devices: &[String], end: Duration) -> TaskOrder {
        let program = self.flag().then(|| Guest {
            program: self.one(&Guests::ALL).1,
            args: vec![self.number(0, 99).to_string(), "a \"b\"".into()],
        });
        let state_bytes: usize =
            if program.is_some() { 4096 } else { self.number(0, 1 << 30).try_into().unwrap() };
        TaskOrder {
            name,
            at: self.time(end),
            from: self.one(devices).clone(),
            ops: self.number(1, 1 << 60).try_into().unwrap(),
            state_bytes,
            hot_bytes: if program.is_some() { 256 } else { self.below(state_bytes + 1) },
            memory_bytes: self.number(0, 1 << 60).try_into().unwrap(),
            effects: if program.is_some() { 0 } else { self.number(0, 1 << 32).try_into().unwrap() },
            program,
            quorum: self.flag().then(|| self.number(2, 8).try_into().unwrap()),
            start_on: self.flag().then(|| self.one(devices).clone()),
            stay: self.flag(),
        }
    }

    fn what(&mut self, s: &Scenario, devices: &[String], segments: &[String]) -> What {
        let device = self.one(devices).clone();
        let other = devices.iter().find(|d| **d != device).unwrap().clone();
        let segment = self.one(segments).clone();
        let span = self.time(Duration::from_secs(86_400));
        let down = self.flag().then_some(span);
        let offline = match down.is_some() && self.flag() {
            true => self.time(Duration::from_secs(60)),
            false => Duration::ZERO,
        };
        let (announced, one_way) = (self.flag(), self.flag());
        let owners: Vec<(&String, &String)> = s
            .devices
            .iter()
            .flat_map(|d| d.circles.iter().map(move |(circle, role)| (circle, &d.name, *role)))
            .filter(|(_, _, role)| *role == RoleSpec::Owner)
            .map(|(circle, name, _)| (circle, name))
            .collect();
        let task = s.tasks.first().map(|t| t.name.clone());
        let device = match &task {
            Some(task) if self.below(4) == 0 => format!("@{task}"),
            _ => device,
        };
        match (self.below(21), task) {
            (0, _) => {
                let at_disk_job = self.flag().then(|| self.number(1, 1_000_000).try_into().unwrap());
                What::Crash { device, down, offline, at_disk_job }
            }
            (1, _) => What::Kill { device, down, offline },
            (2, _) => What::Shutdown { device, down },
            (3, _) => What::Lose { device },
            (4, _) => What::Sleep { device, announced, span },
            (5, _) => What::Cut { from: device, to: other, one_way, span },
            // Only some may be aimed at whoever runs a task.
            (19, _) if device.starts_with('@') => What::Plug { device },
            (6, _) => {
                let mut groups = vec![Vec::new(); 3];
                for device in devices {
                    if let Some(group) = groups.get_mut(self.below(4)) {
                        group.push(device.clone());
                    }
                }
                What::Partition { groups, span }
            }
            (7, _) => What::Move { device, segment },
            (8, _) => What::Weather { segment, way: self.way(), span },
            (9, _) => What::Load { device, permille: self.number(0, 1000).try_into().unwrap(), span },
            (10, _) => What::Plug { device },
            (11, _) => What::Unplug { device },
            (12, _) => What::ClockJump { device, by_ms: self.number(-86_400_000, 86_400_000) },
            (13, _) => What::Drift { device, ppm: self.number(-100_000, 100_000), span },
            (14, _) => What::DiskFull { device, span },
            (15, _) => What::DiskFail { device, span },
            (16, Some(task)) => What::MoveTask { task, to: self.flag().then_some(other) },
            (17, Some(task)) => What::CancelTask { task },
            (18, _) if !owners.is_empty() => {
                let (circle, by) = *self.one(&owners);
                What::Remove { circle: circle.clone(), by: by.clone(), device }
            }
            (19, _) => What::WrongPin { shown: device, entered: other },
            _ => What::Stranger { segment },
        }
    }

    fn scenario(&mut self) -> Scenario {
        let duration = Duration::from_millis(1) + self.time(Duration::from_secs(86_400));
        let (segments, devices) = (self.names("s", 1), self.names("device", 2));
        let (circles, tasks) = (self.names("c", 0), self.names("t", 0));
        let mut scenario = Scenario {
            name: self.names("a scenario ", 1).remove(0),
            about: ["", "One line", "Two\n\tlines \u{7f}\u{1} \"\"\" é"][self.below(3)].to_owned(),
            duration,
            crypto: if self.flag() { Crypto::Real } else { Crypto::Null },
            segments: Vec::new(),
            joins: Vec::new(),
            links: Vec::new(),
            circles: Vec::new(),
            devices: Vec::new(),
            tasks: Vec::new(),
            events: Vec::new(),
            bounds: if self.flag() {
                Bounds::default()
            } else {
                Bounds { settle: self.time(duration), roster: self.time(duration) }
            },
        };
        for name in &segments {
            let nat = self.flag().then(|| Nat {
                timeout: Duration::from_millis(1) + self.time(Duration::from_secs(3600)),
                filtering: self.flag(),
            });
            let (way, shared, multicast) = (self.way(), self.flag(), self.flag());
            scenario.segments.push(Segment { name: name.clone(), way, shared, multicast, nat });
        }
        for pair in segments.windows(2) {
            let between = (pair[1].clone(), pair[0].clone());
            scenario.joins.push(Join { between, way: self.way() });
        }
        for name in &circles {
            let entry = if self.flag() { Entry::Ready } else { Entry::Pin };
            scenario.circles.push(CircleSpec { name: name.clone(), entry });
        }
        for name in &devices {
            let mut device = self.device(name.clone(), &segments, &circles, duration);
            if *name == devices[0] {
                device.circles.extend(circles.iter().map(|c| (c.clone(), RoleSpec::Owner)));
            }
            scenario.devices.push(device);
        }
        for pair in devices.windows(2) {
            if self.flag() {
                continue;
            }
            let between = (pair[1].clone(), pair[0].clone());
            scenario.links.push(LinkSpec { between, way: self.way() });
        }
        for name in tasks {
            scenario.tasks.push(self.task(name, &devices, duration));
        }
        scenario.tasks.sort_by_key(|t| t.at);
        for _ in 0..self.below(12) {
            let what = self.what(&scenario, &devices, &segments);
            scenario.events.push(Happening { at: self.time(duration), what, drawn: self.flag() });
        }
        scenario.events.sort_by_key(|e| e.at);
        // Nothing begins on, or is moved to, what runs no tasks.
        let able: Vec<String> =
            scenario.devices.iter().filter(|d| d.runs_tasks).map(|d| d.name.clone()).collect();
        let tasks = scenario.tasks.iter_mut().map(|task| &mut task.start_on);
        let moves = scenario.events.iter_mut().filter_map(|event| match &mut event.what {
            What::MoveTask { to, .. } => Some(to),
            _ => None,
        });
        for on in tasks.chain(moves) {
            on.take_if(|name| !able.contains(name));
        }
        scenario
    }
}
