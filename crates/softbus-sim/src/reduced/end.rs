//! A second of everybody's life, and the record of it all at the end.

use std::collections::BTreeMap;

use softbus_core::wire::task::Why;
use softbus_core::{PowerSource, TaskId};
use softbus_net::Presence;
use softbus_task::epoch::{Status, TaskMachine};

use super::world::{Index, What, World};
use crate::Progress;
use crate::record::{
    DeviceRecord, DeviceSample, DeviceState, LinkSpan, Model, MoveRecord, Record, RunSpan, Spread, Summary,
    TaskRecord, Traffic, micros,
};
use crate::run::Doings;

/// Samples of each device in the record, about.
const SAMPLES: u64 = 400;
/// With more devices than these none is sampled: the record would be larger than the world.
const SAMPLED: usize = 5_000;
const SECOND_NS: u64 = 1_000_000_000;

impl World {
    fn sample_every_s(&self) -> u64 {
        (self.scenario.duration.as_secs() / SAMPLES).max(1)
    }

    /// A second has passed.
    pub(super) fn second(&mut self) {
        let sampled = (self.now / SECOND_NS).is_multiple_of(self.sample_every_s());
        let count = Index::try_from(self.devices.len()).unwrap_or(Index::MAX);
        for of in 0..count {
            self.live(of);
            if sampled && self.devices.len() <= SAMPLED {
                let sample = self.sampled(of);
                self.figures.samples[of as usize].push(sample);
            }
        }
        if sampled {
            let (total, counted) = (self.figures.total, self.figures.counted);
            self.figures.traffic.push(Traffic {
                sent: total.sent - counted.sent,
                bytes: total.bytes - counted.bytes,
                lost: total.lost - counted.lost,
            });
            self.figures.counted = total;
        }
        if let Some(mut progress) = self.progress.take() {
            let done = self.orders.iter().filter(|order| order.done_us.is_some()).count();
            let up = self.devices.iter().filter(|device| device.is_up()).count();
            let (at, of) = (self.span(), self.scenario.duration);
            progress(Progress { at, of, up, done, datagrams: self.figures.total.sent });
            self.progress = Some(progress);
        }
        self.at(self.now + SECOND_NS, What::Second);
    }

    fn live(&mut self, of: Index) {
        let cores = f64::from(self.scenario.devices[of as usize].cores.max(1));
        self.settle(of);
        let device = self.device_mut(of);
        let bytes = device.bytes.0 + device.bytes.1;
        let fresh = bytes - std::mem::replace(&mut device.bytes_counted, bytes);
        let busy = device.busy_ns - std::mem::replace(&mut device.busy_counted, device.busy_ns);
        let own = busy as f64 / 1e9;
        let up = device.is_up();
        let others = if up { cores * f64::from(device.load) / 1000.0 } else { 0.0 };
        let empty = device.body.pass(Doings {
            seconds: 1.0,
            on: matches!(device.mode, DeviceState::Up | DeviceState::Asleep),
            asleep: device.mode == DeviceState::Asleep,
            core_seconds: others + own,
            bytes: fresh,
        });
        device.rate = (device.body.rate_ops_per_s() * u64::from(1000 - device.load.min(950)) / 1000).max(1);
        let (mode, power) = (device.mode, device.body.power());
        if mode == DeviceState::Off && power == PowerSource::Mains && std::mem::take(&mut device.starved) {
            let text = format!("{} is plugged in and starts again", self.scenario.devices[of as usize].name);
            self.figures.note(self.now / 1000, "device", Some(of), text);
            self.figures.noticed.disturb(self.now / 1000);
            self.switch_on(of);
        }
        if empty && matches!(mode, DeviceState::Up | DeviceState::Asleep) {
            return self.run_empty(of);
        }
        self.reckon(of);
    }

    fn sampled(&self, of: Index) -> DeviceSample {
        let device = self.device(of);
        let online = device.roster.as_ref().map_or(0, |roster| {
            roster.view().others().filter(|entry| entry.presence == Presence::Online).count()
        });
        DeviceSample {
            battery_permille: device.body.battery_permille(),
            celsius: device.body.celsius().map(|c| c as f32),
            load_permille: device.load,
            online: u16::try_from(online).unwrap_or(u16::MAX),
            running: self.running(of).tasks,
        }
    }

    /// Of each task what whoever knows most of it says: the highest branch and epoch, an end over no end.
    fn best(&self) -> BTreeMap<TaskId, &TaskMachine> {
        let mut best: BTreeMap<TaskId, &TaskMachine> = BTreeMap::new();
        let rank = |machine: &TaskMachine| (machine.fence(), name(&machine.view().status) == "done");
        for device in &self.devices {
            for (task, side) in &device.tasks {
                let Some(machine) = &side.machine else { continue };
                if best.get(task).is_none_or(|known| rank(known) < rank(machine)) {
                    best.insert(*task, machine);
                }
            }
        }
        best
    }

    fn tasks(&self) -> Vec<TaskRecord> {
        let best = self.best();
        let orders = self.orders.iter().zip(&self.scenario.tasks);
        // Of a run that is cut short, those whose time had come.
        orders
            .filter(|(_, spec)| spec.at <= self.scenario.duration)
            .map(|(order, spec)| {
                let machine = order.task.and_then(|task| best.get(&task));
                let state = match (machine, &order.said) {
                    (Some(machine), _) => name(&machine.view().status).to_owned(),
                    (None, Some(said)) => said.clone(),
                    (None, None) if order.submitted_us.is_some() => "known to nobody who is up".into(),
                    (None, None) => "not submitted".into(),
                };
                TaskRecord {
                    name: spec.name.clone(),
                    from: self.by_name.get(&spec.from).map_or(0, |of| *of as usize),
                    policy: spec.quorum.map_or_else(|| "owner".into(), |k| format!("quorum of {k}")),
                    submitted_us: order.submitted_us.unwrap_or(micros(spec.at)),
                    accepted_us: order.accepted_us,
                    done_us: order.done_us,
                    state,
                    moves: moves(&order.runs, &order.reasons, machine.copied()),
                    runs: order.runs.clone(),
                    placed: order.placed,
                }
            })
            .collect()
    }

    /// What the run leaves.
    pub(super) fn record(mut self) -> Record {
        let now_us = micros(self.scenario.duration);
        let open = std::mem::take(&mut self.figures.links);
        self.figures.spans.extend(open.into_iter().map(|((a, b), from_us)| LinkSpan {
            a: a as usize,
            b: b as usize,
            from_us,
            to_us: now_us,
        }));
        let tasks = self.tasks();
        let (handover_us, failover_us) =
            (TaskRecord::downtimes(&tasks, false), TaskRecord::downtimes(&tasks, true));
        let states = TaskRecord::states(&tasks);
        let figures = self.figures;
        let energy_j = self.devices.iter().map(|device| device.body.energy_j()).sum();
        let histories = figures.samples.into_iter().zip(figures.states).zip(figures.places);
        let devices = self.devices.iter().zip(&self.scenario.devices).zip(histories);
        let devices = devices.map(|((device, spec), ((samples, states), segments))| DeviceRecord {
            name: spec.name.clone(),
            id: device.id.short().to_string(),
            kind: spec.kind.to_string(),
            states,
            segments,
            samples,
            bytes: device.bytes,
            energy_j: device.body.energy_j(),
        });
        Record {
            model: Model::Reduced,
            caveats: super::caveats::of(&self.scenario, self.options),
            scenario: self.scenario.name.clone(),
            about: self.scenario.about.clone(),
            seed: self.seed,
            version: env!("CARGO_PKG_VERSION").into(),
            crypto: self.scenario.crypto,
            duration_us: now_us,
            trace_hash: String::new(),
            segments: self.scenario.segments.iter().map(|segment| segment.name.clone()).collect(),
            devices: devices.collect(),
            links: figures.spans,
            tasks,
            events: figures.events,
            traffic: figures.traffic,
            sample_every_us: (self.scenario.duration.as_secs() / SAMPLES).max(1) * 1_000_000,
            invariants: Vec::new(),
            summary: Summary {
                discovery_us: Spread::of(figures.discovery_us),
                presence_us: Spread::of(figures.noticed.took_us()),
                datagrams: figures.total.sent,
                bytes: figures.total.bytes,
                energy_j,
                faults: figures.faults,
                handover_us,
                failover_us,
                tasks: states,
                ..Summary::default()
            },
        }
    }
}

/// Its moves, by where it took steps. What nobody ordered was a fail-over.
fn moves(
    runs: &[RunSpan],
    reasons: &BTreeMap<u64, &'static str>,
    machine: Option<&TaskMachine>,
) -> Vec<MoveRecord> {
    let last = machine.map(|machine| (machine.decree().epoch.0, machine.decree().why));
    MoveRecord::between(runs, |epoch| {
        let handed = last == Some((epoch, Why::HandOver));
        let reason = match reasons.get(&epoch) {
            Some(reason) => *reason,
            None if handed => "bus",
            None => "failover",
        };
        (reason, String::new())
    })
}

/// A status as the full simulator's records call it.
fn name(status: &Status) -> &'static str {
    match status {
        Status::Starting { .. } => "waiting",
        Status::Running { .. } | Status::Finishing => "running",
        Status::Moving { .. } => "moving",
        Status::InDoubt { .. } => "in doubt",
        Status::Paused => "paused",
        Status::WaitingForOwner { .. } => "lost",
        Status::FailingOver { .. } => "failing over",
        Status::Done { .. } => "done",
        Status::Quarantined { .. } => "quarantined",
        Status::Cancelled { .. } => "cancelled",
    }
}
