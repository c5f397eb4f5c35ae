//! Made-up records: what a run could leave, without running. Same plan, same record.

use crate::record::{
    DeviceRecord, DeviceSample, DeviceState, EventRecord, InvariantRecord, LinkSpan, MoveRecord, Placed,
    Record, RunSpan, Spread, TaskRecord, Traffic, ViolationRecord,
};
use crate::scenario::Crypto;

const SECOND: u64 = 1_000_000;
const KINDS: [&str; 9] = ["phone", "laptop", "tv", "watch", "speaker", "tablet", "server", "sensor", "car"];
const SEGMENTS: [&str; 6] = ["home wi-fi", "living-room cable", "office", "guest wi-fi", "car", "cellar"];
const TASKS: [&str; 6] = ["photo-index", "transcode", "backup", "train-tagger", "map-tiles", "transcribe"];

/// Names that a page or a terminal might trip over.
pub(crate) const HOSTILE: [&str; 9] = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--",
    "שלום \u{202e}txt.exe",
    "🦀👩‍👩‍👧‍👦🔥",
    "\u{1b}[31mred\u{7}\r\nnew line",
    "&lt;{{record}}\u{2028}\u{0}",
    "非常に長い名前のデバイスがここにあります",
    "\"'`${alert(1)}\\",
];

/// What to make up.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub devices: usize,
    pub segments: usize,
    pub tasks: usize,
    pub duration_s: u64,
    pub samples: u64,
    pub faults: usize,
    pub hostile: bool,
    pub violated: bool,
}

impl Plan {
    /// Two devices for a minute.
    pub(crate) const PAIR: Plan = Plan {
        devices: 2,
        segments: 1,
        tasks: 1,
        duration_s: 60,
        samples: 60,
        faults: 0,
        hostile: false,
        violated: false,
    };
    /// A household for a day.
    pub(crate) const DAY: Plan = Plan {
        devices: 8,
        segments: 3,
        tasks: 24,
        duration_s: 86_400,
        samples: 8_640,
        faults: 40,
        hostile: false,
        violated: false,
    };
    /// An office building.
    pub(crate) const OFFICE: Plan = Plan {
        devices: 200,
        segments: 6,
        tasks: 2_000,
        duration_s: 3_600,
        samples: 1_800,
        faults: 300,
        hostile: false,
        violated: true,
    };
    /// As large as it gets.
    pub(crate) const THOUSAND: Plan = Plan {
        devices: 1_000,
        segments: 6,
        tasks: 6_000,
        duration_s: 1_800,
        samples: 900,
        faults: 2_000,
        hostile: false,
        violated: false,
    };
    /// A few devices with names of all sorts.
    pub(crate) const HOSTILE: Plan =
        Plan { devices: 9, segments: 9, tasks: 9, hostile: true, violated: true, ..Plan::DAY };
}

/// A record after this plan.
pub(crate) fn made_up(plan: Plan) -> Record {
    let mut maker = Maker { plan, dice: Dice(0x9E37_79B9_7F4A_7C15), record: Record::default() };
    maker.head();
    maker.devices();
    maker.links();
    maker.tasks();
    maker.traffic();
    maker.invariants();
    maker.summary();
    maker.record
}

/// Xorshift (Marsaglia, 2003): enough to look like chance.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        if below == 0 { 0 } else { (self.0 >> 11) % below }
    }

    fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.roll(below as u64)).unwrap_or(0)
    }

    /// Mostly small, now and then far more.
    fn long_tail(&mut self, typical: u64) -> u64 {
        let spread = 1 + self.roll(typical) + typical / 2;
        if self.roll(12) == 0 { spread * (2 + self.roll(14)) } else { spread }
    }
}

struct Maker {
    plan: Plan,
    dice: Dice,
    record: Record,
}

impl Maker {
    fn duration(&self) -> u64 {
        self.plan.duration_s * SECOND
    }

    fn name(&self, at: usize, plain: String) -> String {
        match at {
            _ if !self.plan.hostile => plain,
            3 => "long-".repeat(400),
            _ => HOSTILE[at % HOSTILE.len()].to_string(),
        }
    }

    fn head(&mut self) {
        let (devices, tasks) = (self.plan.devices, self.plan.tasks);
        self.record.scenario = self.name(0, "evening-at-home".into());
        self.record.about = self
            .name(1, format!("{devices} devices, {tasks} tasks: faults come and go, and no task is lost"));
        self.record.seed = 0xFEED_5EED_0000_0001;
        self.record.version = "0.1.0".into();
        self.record.crypto = if self.plan.devices > 100 { Crypto::Null } else { Crypto::Real };
        self.record.duration_us = self.duration();
        self.record.trace_hash = "b7c1f0a95e1d40e28c3b61b1f0aa94d2e7715f0c3dd0a8b6c9241e55f08a7d13".into();
        self.record.sample_every_us = self.duration() / self.plan.samples.max(1);
        self.record.segments =
            (0..self.plan.segments).map(|at| self.name(at, SEGMENTS[at % SEGMENTS.len()].into())).collect();
    }

    fn event(&mut self, at_us: u64, kind: &str, device: Option<usize>, text: String) {
        self.record.events.push(EventRecord { at_us, kind: kind.into(), device, text });
    }

    fn devices(&mut self) {
        let duration = self.duration();
        for at in 0..self.plan.devices {
            let kind = KINDS[at % KINDS.len()];
            let name = self.name(at, format!("{kind}-{}", at / KINDS.len() + 1));
            let starts = self.dice.roll(duration / 20 + 1);
            let mut device = DeviceRecord {
                name,
                id: format!("{:08x}", self.dice.roll(u64::from(u32::MAX))),
                kind: kind.into(),
                states: vec![(0, DeviceState::Off), (starts, DeviceState::Up)],
                segments: vec![(0, at % self.plan.segments.max(1))],
                bytes: (self.dice.long_tail(40_000_000), self.dice.long_tail(40_000_000)),
                energy_j: (self.dice.long_tail(9_000) as f64) + 0.5,
                ..DeviceRecord::default()
            };
            if matches!(kind, "phone" | "car" | "watch") && self.plan.segments > 1 {
                for hop in 1..4 {
                    let when = duration / 4 * hop + self.dice.roll(duration / 8);
                    let to = (at + usize::try_from(hop).unwrap_or(0)) % self.plan.segments;
                    device.segments.push((when, to));
                    self.event(
                        when,
                        "person",
                        Some(at),
                        format!("moves to segment {}", self.record.segments[to].clone()),
                    );
                }
            }
            self.record.devices.push(device);
        }
        for _ in 0..self.plan.faults {
            self.fault();
        }
        for at in 0..self.plan.devices {
            self.samples(at);
        }
    }

    /// A device falls out for a while, or a link is cut.
    fn fault(&mut self) {
        let duration = self.duration();
        let at = self.dice.index(self.plan.devices);
        let when = duration / 15 + self.dice.roll(duration * 3 / 4);
        let until = when + duration / 200 + self.dice.roll(duration / 25);
        let what = self.dice.roll(10);
        let free = self.record.devices[at]
            .states
            .last()
            .is_some_and(|(last, state)| *last < when && !matches!(state, DeviceState::Lost));
        if what >= 7 || !free {
            let (kind, text) = [
                ("cut", "nothing passes to the others"),
                ("disk-full", "disk takes no more"),
                ("clock-jump", "wall clock jumps by -3600000 ms"),
            ][self.dice.index(3)];
            self.event(when, "fault", Some(at), text.into());
            self.event(until, "heal", Some(at), format!("{text}: over"));
            *self.record.summary.faults.entry(kind.into()).or_default() += 1;
            return;
        }
        let (kind, state, text) = match what {
            0 if at % 7 == 6 => ("lose", DeviceState::Lost, "is lost for good"),
            0..4 => ("sleep", DeviceState::Asleep, "falls asleep, announced"),
            4 => ("shutdown", DeviceState::Off, "shuts down in order"),
            _ => ("crash", DeviceState::Off, "power cut"),
        };
        let states = &mut self.record.devices[at].states;
        states.push((when, state));
        if state != DeviceState::Lost {
            states.push((until, DeviceState::Up));
            self.event(until, "heal", Some(at), "is back".into());
        }
        self.event(when, "fault", Some(at), text.into());
        *self.record.summary.faults.entry(kind.into()).or_default() += 1;
    }

    fn up(&self, device: usize, at_us: u64) -> bool {
        let states = &self.record.devices[device].states;
        let next = states.partition_point(|(from, _)| *from <= at_us);
        next > 0 && states[next - 1].1 == DeviceState::Up
    }

    fn samples(&mut self, at: usize) {
        let battery = !matches!(at % KINDS.len(), 2 | 6 | 4);
        let mut charge = 600.0 + self.dice.roll(400) as f64;
        let per_sample = 1_400.0 / self.plan.samples.max(1) as f64;
        let mut charging = false;
        for n in 0..self.plan.samples {
            let up = self.up(at, n * self.record.sample_every_us);
            let wave = ((n as f64 / self.plan.samples as f64 * 19.0 + at as f64).sin() + 1.0) / 2.0;
            charge +=
                if charging { per_sample * 3.0 } else { -per_sample * if up { 0.5 + wave } else { 0.1 } };
            charging = if charging { charge < 960.0 } else { charge < 150.0 };
            let online = if up { (self.plan.devices - 1).min(7 + self.dice.index(3)) } else { 0 };
            self.record.devices[at].samples.push(DeviceSample {
                battery_permille: battery.then_some(charge.clamp(0.0, 1000.0) as u16),
                celsius: Some((24.0 + wave * 18.0).round() as f32),
                load_permille: if up { (wave * 800.0) as u16 + self.dice.roll(150) as u16 } else { 0 },
                online: online as u16,
                running: u16::from(up && wave > 0.5),
            });
        }
    }

    /// Each with the next few.
    fn links(&mut self) {
        let devices = self.plan.devices;
        for a in 0..devices {
            for step in 1..=5_usize {
                let b = (a + step * step) % devices;
                if a == b || (devices <= 10 && b < a) {
                    continue;
                }
                let mut both = None;
                let steps = 400;
                for n in 0..=steps {
                    let now = self.duration() / steps * n;
                    let linked = n < steps && self.up(a, now) && self.up(b, now);
                    match both {
                        None if linked => both = Some(now),
                        Some(from_us) if !linked => {
                            self.record.links.push(LinkSpan { a, b, from_us, to_us: now });
                            both = None;
                        }
                        _ => {}
                    }
                }
            }
        }
        self.record.links.sort_by_key(|link| (link.from_us, link.a, link.b));
    }

    fn tasks(&mut self) {
        if self.plan.devices == 0 {
            return;
        }
        for n in 0..self.plan.tasks {
            self.task(n);
        }
        self.record.tasks.sort_by_key(|task| task.submitted_us);
        self.record.events.sort_by_key(|event| event.at_us);
    }

    fn task(&mut self, n: usize) {
        let duration = self.duration();
        let submitted_us = duration / 12 + self.dice.roll(duration * 7 / 10);
        let name = self.name(n + 2, format!("{}-{}", TASKS[n % TASKS.len()], n / TASKS.len() + 1));
        let from = self.dice.index(self.plan.devices);
        let mut on = self.dice.index(self.plan.devices);
        let mut now = submitted_us + 30_000 + self.dice.roll(200_000);
        let mut task = TaskRecord {
            name: name.clone(),
            from,
            policy: if n.is_multiple_of(3) { "quorum of 3".into() } else { "owner".into() },
            submitted_us,
            accepted_us: Some(submitted_us + 12_000 + self.dice.roll(60_000)),
            state: "done".into(),
            ..TaskRecord::default()
        };
        self.event(submitted_us, "task", Some(from), format!("submits {name}"));
        let best_us = self.dice.long_tail(duration / 10);
        let chosen_us =
            if self.dice.roll(3) == 0 { best_us + best_us * self.dice.roll(300) / 1000 } else { best_us };
        task.placed = Some(Placed { chosen_us, best_us });
        let hops = self.dice.roll(4);
        for hop in 0..=hops {
            let until = (now + duration / 60 + self.dice.roll(duration / 20)).min(duration);
            task.runs.push(RunSpan { on, from_us: now, to_us: until, epoch: hop + 1, branch: 0 });
            if hop == hops || until >= duration || self.plan.devices < 2 {
                break;
            }
            let to = (on + 1 + self.dice.index(self.plan.devices - 1)) % self.plan.devices;
            let (reason, why, typical) = [
                ("person", "a person moved it here", 120_000),
                ("bus", "finishes 34 % sooner here: 8 idle cores, on mains", 150_000),
                ("drain", "its device was about to sleep", 180_000),
                ("failover", "its device was not heard of for 6 s", 6_500_000),
            ][self.dice.index(4)];
            let downtime_us = self.dice.long_tail(typical);
            now = until + downtime_us;
            task.moves.push(MoveRecord {
                at_us: now,
                from: on,
                to,
                downtime_us,
                bytes: None,
                reason: reason.into(),
                why: why.into(),
            });
            self.event(now, "task", Some(to), format!("{name} moves here ({reason}): {why}"));
            on = to;
        }
        let last = task.runs.last().map_or(now, |run| run.to_us);
        if last < duration && self.dice.roll(15) > 0 {
            task.done_us = Some(last);
            self.event(last, "task", Some(on), format!("{name} is done"));
        } else {
            task.state = if last < duration { "cancelled".into() } else { "running".into() };
        }
        *self.record.summary.tasks.entry(task.state.clone()).or_default() += 1;
        self.record.tasks.push(task);
    }

    fn traffic(&mut self) {
        for n in 0..self.plan.samples {
            let wave = ((n as f64 / self.plan.samples as f64 * 23.0).sin() + 1.3) / 2.0;
            let sent = (wave * 40.0 * self.plan.devices as f64) as u64 + self.dice.long_tail(90);
            let lost = if self.dice.roll(20) == 0 { sent / 12 } else { self.dice.roll(sent / 200 + 2) };
            self.record.traffic.push(Traffic { sent, bytes: sent * (180 + self.dice.roll(600)), lost });
        }
    }

    fn invariants(&mut self) {
        let all = [
            ("one-leader", "An epoch of a task runs on at most one device"),
            ("no-loss", "An accepted task is never lost"),
            ("effects-once", "An effect is let out exactly once"),
            ("rosters-agree", "Devices connected and undisturbed for 30 s have equal rosters"),
            ("quorum-done", "With a majority of its acceptors alive, a quorum task is done in the end"),
            ("strangers-out", "A device outside the circle reads nothing"),
        ];
        for (at, (name, says)) in all.into_iter().enumerate() {
            let mut violations = Vec::new();
            if self.plan.violated && at == 3 {
                for n in 1..3 {
                    let at_us = self.duration() / 3 * n;
                    let text = self.name(
                        5,
                        format!("laptop-1 holds phone-2 for online, tv-1 for offline since {n} min"),
                    );
                    self.event(at_us, "violation", None, format!("{name}: {text}"));
                    violations.push(ViolationRecord { at_us, text });
                }
            }
            // One of them does not come up.
            let checked = if at == 5 { 0 } else { 900 + self.dice.roll(60_000) };
            self.record.invariants.push(InvariantRecord {
                name: name.into(),
                says: says.into(),
                checked,
                violations,
            });
        }
        self.record.events.sort_by_key(|event| event.at_us);
    }

    fn summary(&mut self) {
        let moves = || self.record.tasks.iter().flat_map(|task| &task.moves);
        let (failovers, handovers): (Vec<_>, Vec<_>) =
            moves().partition(|change| change.reason == "failover");
        let downtimes =
            |moves: Vec<&MoveRecord>| Spread::of(moves.iter().map(|change| change.downtime_us).collect());
        let (failovers, handovers) = (downtimes(failovers), downtimes(handovers));
        let regrets = self.record.tasks.iter().filter_map(|task| task.placed);
        let regrets =
            regrets.map(|placed| (placed.chosen_us - placed.best_us) * 1000 / placed.best_us.max(1));
        let regrets = Spread::of(regrets.collect());
        let pairs = self.plan.devices * self.plan.devices.saturating_sub(1);
        let discovery = (0..pairs.min(5_000)).map(|_| self.dice.long_tail(420_000)).collect();
        let presence = (0..self.plan.faults).map(|_| self.dice.long_tail(2_600_000)).collect();
        let summary = &mut self.record.summary;
        summary.discovery_us = Spread::of(discovery);
        summary.presence_us = Spread::of(presence);
        summary.handover_us = handovers;
        summary.failover_us = failovers;
        summary.regret_permille = regrets;
        summary.datagrams = self.record.traffic.iter().map(|traffic| traffic.sent).sum();
        summary.bytes = self.record.traffic.iter().map(|traffic| traffic.bytes).sum();
        summary.energy_j = self.record.devices.iter().map(|device| device.energy_j).sum();
        summary.real_s = self.plan.duration_s as f64 / 512.0;
        summary.memory_bytes = 90_000_000 + 700_000 * self.plan.devices as u64;
        for (at, path) in [
            "net::link: link is up",
            "roster::watch: a device went silent",
            "task::epoch: a later epoch is known, stopping",
            "trust::pair: wrong PIN",
        ]
        .into_iter()
        .enumerate()
        {
            summary.paths.insert(path.into(), 1 + self.dice.roll(9_000) / (1 + at as u64 * 40));
        }
        if self.plan.hostile {
            summary.paths.extend(HOSTILE.iter().map(|name| ((*name).into(), 1)));
            summary.faults.extend(HOSTILE.iter().map(|name| ((*name).into(), 2)));
            summary.tasks.extend(HOSTILE.iter().map(|name| ((*name).into(), 3)));
        }
    }
}
