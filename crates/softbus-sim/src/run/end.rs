//! The end of a run: what must have come of the work by now, and the record of it all.

use std::collections::BTreeMap;
use std::sync::Arc;

use softbus_core::TaskId;
use softbus_core::wire::task_control::MoveReason;
use softbus_task::{TaskState, TaskStatus};

use super::Director;
use crate::record::{
    DeviceRecord, DeviceState, LinkSpan, Model, MoveRecord, Record, RunSpan, Spread, Summary, TaskRecord,
    micros,
};

impl Director {
    /// Makes the record.
    pub(super) fn record(&mut self) -> Record {
        let statuses = self.statuses();
        self.quorum_completes(&statuses);
        let now = micros(self.scenario.duration);
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

    /// Whatever a majority was in reach to decide has ended by now, if there was the time.
    fn quorum_completes(&self, statuses: &BTreeMap<TaskId, Arc<TaskStatus>>) {
        let heard = self.ears.heard.lock();
        let settled = micros(self.scenario.bounds.settle);
        let now = micros(self.scenario.duration);
        for (order, spec) in heard.orders.iter().zip(&self.scenario.tasks) {
            let (Some(task), Some(accepted), true) = (order.task, order.accepted_us, spec.quorum.is_some())
            else {
                continue;
            };
            let since = heard.noticed.disturbed_us().max(accepted);
            if now.saturating_sub(since) < settled {
                continue;
            }
            let Some(status) = statuses.get(&task) else { continue };
            let mut acceptors = status.holders.clone();
            acceptors.extend(status.runner);
            acceptors.sort();
            acceptors.dedup();
            let alive = acceptors.iter().filter(|id| {
                let device = heard.devices.get(id).and_then(|index| self.sim.devices().get(*index));
                device.is_some_and(|device| device.mode() == DeviceState::Up)
            });
            if 2 * alive.count() <= acceptors.len() {
                continue;
            }
            if status.state.is_final() {
                self.sim.watch().held("quorum-completes");
            } else {
                let text = format!(
                    "`{}` is {:?} in epoch {} at {:.0} %, {} s after anything happened",
                    spec.name,
                    status.state,
                    status.epoch.0,
                    status.progress * 100.0,
                    (now - since) / 1_000_000,
                );
                self.sim.watch().violated("quorum-completes", text);
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
        let downtimes = |failover: bool| {
            let moves = tasks.iter().flat_map(|task| &task.moves);
            let moves = moves.filter(|moved| (moved.reason == "failover") == failover);
            Spread::of(moves.map(|moved| moved.downtime_us).collect())
        };
        let regrets = tasks.iter().filter_map(|task| task.placed).map(|placed| {
            let over = u128::from(placed.chosen_us.saturating_sub(placed.best_us)) * 1000;
            u64::try_from(over / u128::from(placed.best_us.max(1))).unwrap_or(u64::MAX)
        });
        let mut states: BTreeMap<String, u64> = BTreeMap::new();
        for task in tasks {
            *states.entry(task.state.clone()).or_default() += 1;
        }
        let stats = self.sim.world().net().stats();
        Summary {
            discovery_us: Spread::of(heard.discovery_us.clone()),
            pairing_us: Spread::of(heard.pairing_us.clone()),
            presence_us: Spread::of(heard.noticed.took_us()),
            handover_us: downtimes(false),
            failover_us: downtimes(true),
            regret_permille: Spread::of(regrets.collect()),
            datagrams: stats.sent,
            bytes: stats.sent_bytes,
            energy_j: self.bodies.iter().map(super::Body::energy_j).sum(),
            tasks: states,
            faults: heard.faults.clone(),
            fullest: self.fullest(),
            ..Summary::default()
        }
    }
}

/// Its moves, by where it truly took steps; the reasons as the task's own account tells them.
fn moves(runs: &[RunSpan], status: Option<&Arc<TaskStatus>>) -> Vec<MoveRecord> {
    let told = |epoch: u64| status.and_then(|s| s.moves.iter().find(|moved| moved.epoch.0 == epoch));
    let moves = runs.windows(2).filter(|pair| pair[0].on != pair[1].on);
    moves
        .map(|pair| {
            let (reason, why) = match told(pair[1].epoch).map(|moved| &moved.reason) {
                Some(MoveReason::Placed(why)) => ("placed", why.as_str()),
                Some(MoveReason::Person(why)) => ("person", why.as_str()),
                Some(MoveReason::Bus(why)) => ("bus", why.as_str()),
                Some(MoveReason::Drain) => ("drain", ""),
                Some(MoveReason::Failover) => ("failover", ""),
                Some(MoveReason::Adopted) => ("adopted", ""),
                // A device that never came back has taken the account with it.
                None => ("unknown", ""),
            };
            MoveRecord {
                at_us: pair[1].from_us,
                from: pair[0].on,
                to: pair[1].on,
                downtime_us: pair[1].from_us.saturating_sub(pair[0].to_us),
                reason: reason.into(),
                why: why.into(),
            }
        })
        .collect()
}

fn state(state: TaskState) -> &'static str {
    match state {
        TaskState::Waiting => "waiting",
        TaskState::Running => "running",
        TaskState::Moving => "moving",
        TaskState::Paused => "paused",
        TaskState::InDoubt => "in doubt",
        TaskState::Quarantined => "quarantined",
        TaskState::Done => "done",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "cancelled",
        TaskState::Lost => "lost",
        TaskState::FailingOver => "failing over",
    }
}
