//! The end of a run: what must have come of the work by now, and the record of it all.

use std::collections::BTreeMap;
use std::sync::Arc;

use softbus_core::wire::task_control::MoveReason;
use softbus_core::{DeviceId, TaskId};
use softbus_net::Presence;
use softbus_task::{TaskState, TaskStatus};

use super::Director;
use crate::device::Device;
use crate::record::{
    DeviceRecord, DeviceState, LinkSpan, Model, MoveRecord, Record, RunSpan, Spread, Summary, TaskRecord,
    micros,
};

/// A task that has taken no step for so long stands still.
const STANDS_US: u64 = 10_000_000;

impl Director {
    /// Makes the record.
    pub(super) fn record(&mut self) -> Record {
        let statuses = self.statuses();
        let now = self.sim.watch().now_us();
        // A run that ended at a violation had not the time.
        if now >= micros(self.scenario.duration) {
            self.completes(&statuses);
        }
        let open: Vec<_> = std::mem::take(&mut self.links).into_iter().collect();
        self.link_spans.extend(open.into_iter().map(|((a, b), from_us)| LinkSpan {
            a,
            b,
            from_us,
            to_us: now,
        }));
        let tasks = self.tasks(&statuses);
        let summary = self.summary(&tasks);
        let heard = self.ears.heard.lock();
        let devices = self.sim.devices().iter().map(|device| {
            let index = device.index();
            let traffic = device.host().traffic();
            DeviceRecord {
                name: device.name().to_owned(),
                id: device.id().short().to_string(),
                kind: device.spec().kind.to_string(),
                states: self.states[index].clone(),
                segments: self.places[index].clone(),
                samples: self.samples[index].clone(),
                bytes: (traffic.sent_bytes, traffic.received_bytes),
                energy_j: self.bodies[index].energy_j(),
            }
        });
        let devices = devices.collect();
        drop(heard);
        Record {
            model: Model::Full,
            caveats: Vec::new(),
            scenario: self.scenario.name.clone(),
            about: self.scenario.about.clone(),
            seed: self.sim.seed(),
            version: env!("CARGO_PKG_VERSION").into(),
            crypto: self.scenario.crypto,
            duration_us: now,
            trace_hash: self.ears.trace.hash(),
            segments: self.scenario.segments.iter().map(|segment| segment.name.clone()).collect(),
            devices,
            links: std::mem::take(&mut self.link_spans),
            tasks,
            events: self.sim.watch().take_events(),
            traffic: std::mem::take(&mut self.traffic),
            sample_every_us: micros(self.sample_every),
            invariants: self.sim.watch().invariants(),
            summary,
        }
    }

    /// Of each task what whoever knows most of it says: the highest branch and epoch, an end over no end.
    fn statuses(&self) -> BTreeMap<TaskId, Arc<TaskStatus>> {
        let mut best: BTreeMap<TaskId, Arc<TaskStatus>> = BTreeMap::new();
        let rank = |s: &TaskStatus| (s.branch, s.state.is_final(), s.epoch, s.moves.len());
        for device in self.sim.devices() {
            let Some(bus) = device.bus() else { continue };
            for status in bus.tasks().list() {
                match best.get(&status.id) {
                    Some(known) if rank(known) >= rank(&status) => {}
                    _ => {
                        best.insert(status.id, status);
                    }
                }
            }
        }
        best
    }

    /// Whatever could be decided has ended by now, if there was the time: by a majority of its acceptors, or by the one
    /// device that owns it. And whoever acts on effects has them all.
    fn completes(&self, statuses: &BTreeMap<TaskId, Arc<TaskStatus>>) {
        let heard = self.ears.heard.lock();
        let watch = self.sim.watch();
        let settled = micros(self.scenario.bounds.settle);
        let now = watch.now_us();
        if heard.lasting.1 > 0 {
            return; // not all has healed
        }
        let up = |id: &DeviceId| {
            let device = heard.devices.get(id).and_then(|index| self.sim.devices().get(*index));
            device.is_some_and(|device| device.mode() == DeviceState::Up)
        };
        let all_up = heard.devices.keys().all(up);
        for (number, (order, spec)) in heard.orders.iter().zip(&self.scenario.tasks).enumerate() {
            let (Some(task), Some(accepted), false) = (order.task, order.accepted_us, order.cancelled) else {
                continue;
            };
            let since = heard.noticed.disturbed_us().max(accepted).max(order.done_us.unwrap_or(0));
            let quiet_s = now.saturating_sub(since) / 1_000_000;
            if now.saturating_sub(since) < settled {
                continue;
            }
            let submitter = self.sim.device(&spec.from);
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            // What it let out last is kept by whoever ran it, as long as that runs.
            let runner_stayed = watch.runs(number).last().is_some_and(|run| {
                let runner = self.sim.devices().get(run.on);
                let in_sight = runner.zip(submitter.and_then(Device::bus)).is_some_and(|(runner, bus)| {
                    let view = bus.roster().view();
                    runner.id() == bus.id()
                        || view.get(&runner.id()).is_some_and(|entry| entry.presence == Presence::Online)
                });
                in_sight
                    && runner.is_some_and(|runner| runner.mode() == DeviceState::Up)
                    && heard.started_us.get(&run.on).is_some_and(|started| *started < run.to_us)
            });
            let submitter_stayed = submitter.is_some_and(|device| device.run() == order.run);
            if order.done_us.is_some() && submitter_stayed && runner_stayed {
                watch.effects_done(number, spec.effects);
            }
            let invariant = if spec.quorum.is_some() { "quorum-completes" } else { "owner-completes" };
            let Some(status) = statuses.get(&task) else {
                match order.done_us {
                    Some(_) => watch.held(invariant),
                    None if all_up => {
                        let text = format!(
                            "`{}` was accepted, and nobody knows of it {quiet_s} s after anything happened",
                            spec.name
                        );
                        watch.violated(invariant, text);
                    }
                    None => {}
                }
                continue;
            };
            let mut deciders = if spec.quorum.is_some() { status.holders.clone() } else { Vec::new() };
            deciders.extend(status.runner);
            deciders.sort();
            deciders.dedup();
            if 2 * deciders.iter().filter(|id| up(id)).count() <= deciders.len() {
                continue;
            }
            // It goes on, and all of it takes longer than it has been quiet.
            let goes_on = watch.runs(number).last().is_some_and(|run| {
                let runner = self.sim.devices().get(run.on);
                let rate = runner.map_or(1, |runner| runner.spec().rate_ops_per_s.max(1));
                now.saturating_sub(run.to_us) < STANDS_US && spec.ops / rate > quiet_s
            });
            if goes_on && status.state == TaskState::Running {
                continue;
            }
            // What is ordered here does not fail by itself.
            if status.state == TaskState::Done {
                watch.held(invariant);
            } else {
                let text = format!(
                    "`{}` is {:?} in epoch {} at {:.0} %, {quiet_s} s after anything happened{}",
                    spec.name,
                    status.state,
                    status.epoch.0,
                    status.progress * 100.0,
                    status.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default(),
                );
                watch.violated(invariant, text);
            }
        }
    }

    fn tasks(&self, statuses: &BTreeMap<TaskId, Arc<TaskStatus>>) -> Vec<TaskRecord> {
        let heard = self.ears.heard.lock();
        let orders = heard.orders.iter().zip(&self.scenario.tasks).enumerate();
        // Of a run that is cut short, those whose time had come.
        orders
            .filter(|(_, (_, spec))| spec.at <= self.scenario.duration)
            .map(|(number, (order, spec))| {
                let runs = self.sim.watch().runs(number as u32);
                let status = order.task.and_then(|task| statuses.get(&task));
                let state = match (status, &order.said) {
                    (Some(status), _) => state(status.state).to_owned(),
                    (None, Some(said)) => said.clone(),
                    (None, None) if order.task.is_some() => "known to nobody who is up".into(),
                    (None, None) => "not submitted".into(),
                };
                TaskRecord {
                    name: spec.name.clone(),
                    from: self.sim.device(&spec.from).map_or(0, |device| device.index()),
                    policy: match spec.quorum {
                        Some(k) => format!("quorum of {k}"),
                        None => "owner".into(),
                    },
                    submitted_us: order.submitted_us.unwrap_or(micros(spec.at)),
                    accepted_us: order.accepted_us,
                    done_us: order.done_us,
                    state,
                    moves: moves(&runs, status),
                    runs,
                    placed: order.placed,
                }
            })
            .collect()
    }

    fn summary(&self, tasks: &[TaskRecord]) -> Summary {
        let heard = self.ears.heard.lock();
        let regrets = tasks.iter().filter_map(|task| task.placed).map(|placed| {
            let over = u128::from(placed.chosen_us.saturating_sub(placed.best_us)) * 1000;
            u64::try_from(over / u128::from(placed.best_us.max(1))).unwrap_or(u64::MAX)
        });
        let stats = self.sim.world().net().stats();
        Summary {
            discovery_us: Spread::of(heard.discovery_us.clone()),
            pairing_us: Spread::of(heard.pairing_us.clone()),
            presence_us: Spread::of(heard.noticed.took_us()),
            handover_us: TaskRecord::downtimes(tasks, false),
            failover_us: TaskRecord::downtimes(tasks, true),
            regret_permille: Spread::of(regrets.collect()),
            datagrams: stats.sent,
            bytes: stats.sent_bytes,
            energy_j: self.bodies.iter().map(super::Body::energy_j).sum(),
            tasks: TaskRecord::states(tasks),
            faults: heard.faults.clone(),
            fullest: self.fullest(),
            ..Summary::default()
        }
    }
}

/// Its moves, by where it truly took steps; the reasons as the task's own account tells them.
fn moves(runs: &[RunSpan], status: Option<&Arc<TaskStatus>>) -> Vec<MoveRecord> {
    let told = |epoch: u64| status.and_then(|s| s.moves.iter().find(|moved| moved.epoch.0 == epoch));
    let mut moves = MoveRecord::between(runs, |epoch| {
        let (reason, why) = match told(epoch).map(|moved| &moved.reason) {
            Some(MoveReason::Placed(why)) => ("placed", why.as_str()),
            Some(MoveReason::Person(why)) => ("person", why.as_str()),
            Some(MoveReason::Bus(why)) => ("bus", why.as_str()),
            Some(MoveReason::Drain) => ("drain", ""),
            Some(MoveReason::Failover) => ("failover", ""),
            Some(MoveReason::Adopted) => ("adopted", ""),
            // A device that never came back has taken the account with it.
            None => ("unknown", ""),
        };
        (reason, why.to_owned())
    });
    let epochs = runs.windows(2).filter(|pair| pair[0].on != pair[1].on).map(|pair| pair[1].epoch);
    for (own, epoch) in moves.iter_mut().zip(epochs) {
        own.bytes = told(epoch).map(|moved| moved.bytes).filter(|bytes| *bytes > 0);
    }
    moves
}

fn state(state: TaskState) -> &'static str {
    match state {
        TaskState::Waiting => "waiting",
        TaskState::Running => "running",
        TaskState::Moving => "moving",
        TaskState::Paused | TaskState::PausedBy(_) => "paused",
        TaskState::InDoubt => "in doubt",
        TaskState::Quarantined => "quarantined",
        TaskState::Done => "done",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "cancelled",
        TaskState::Lost => "lost",
        TaskState::FailingOver => "failing over",
    }
}
