//! Orders: what is submitted, by whom, and how well it was placed.

use std::sync::Arc;
use std::time::Duration;

use softbus_core::DeviceId;
use softbus_task::{PlacementHints, PolicyKind, SubmitOptions, Task};

use super::Director;
use super::oracle::{Truth, judge};
use crate::SimError;
use crate::program;
use crate::record::{DeviceState, Placed};
use crate::scenario::{RoleSpec, TaskOrder};
use crate::work::Work;

/// How long whoever cannot submit something waits before trying again …
const AGAIN: Duration = Duration::from_secs(5);
/// … and how often.
const TRIES: u32 = 60;

impl Director {
    pub(super) fn submit(&mut self, number: usize) {
        let order = self.scenario.tasks[number].clone();
        let Some(device) = self.sim.device(&order.from).cloned() else { return };
        self.sim.watch().ordered(u32::try_from(number).unwrap_or(u32::MAX), device.index());
        let (kind, input) = match self.input(number, &order) {
            Ok(input) => input,
            Err(error) => {
                let text = format!("`{}` cannot be: {error}", order.name);
                self.sim.watch().note("task", Some(device.index()), &text);
                self.ears.heard.lock().orders[number].said = Some(text);
                return;
            }
        };
        let start_on = order.start_on.as_ref().and_then(|name| self.sim.device(name)).map(|d| d.id());
        let options = SubmitOptions {
            name: order.name.clone(),
            policy: order.quorum.map_or(PolicyKind::Owner, |k| PolicyKind::Quorum { k }),
            hints: PlacementHints {
                // A program does not know how much work it is.
                ops: order.program.as_ref().map(|_| order.ops),
                start_on,
                stay: order.stay,
                ..PlacementHints::default()
            },
            ..SubmitOptions::default()
        };
        let truth = self.truth(&order.from);
        let judged = start_on.is_none();
        let (ears, ops) = (self.ears.clone(), order.ops);
        self.sim.spawn(async move {
            for again in 0..TRIES {
                let Some(bus) = device.bus().filter(|_| device.mode() == DeviceState::Up) else {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                };
                let submitted = {
                    let (tasks, options) = (bus.tasks().clone(), options.clone());
                    let (kind, input) = (kind.clone(), input.clone());
                    let submitted =
                        device.host().spawn(async move { tasks.submit(&kind, input, options).await });
                    submitted.await
                };
                match submitted {
                    Ok(Some(Ok(handle))) => {
                        let now = ears.watch.now_us();
                        {
                            let mut heard = ears.heard.lock();
                            heard.by_task.insert(handle.id(), number);
                            heard.orders[number].submitted_us = Some(now);
                            heard.orders[number].task = Some(handle.id());
                            heard.orders[number].run = device.run();
                        }
                        if device.bus().is_some_and(|now| now.id() == bus.id()) {
                            ears.await_end(&device, &bus, number, handle.id());
                        }
                        // The truth of the first try only: later it is another.
                        if judged
                            && again == 0
                            && let Ok(status) = handle.status().await
                            && let Some(runner) = status.runner
                        {
                            ears.placed(number, runner, &truth, ops);
                        }
                        return;
                    }
                    Ok(Some(Err(error))) => {
                        let text = format!("`{}` is not taken: {error}", ears.orders[number].name);
                        let first = text.lines().next().unwrap_or_default().to_owned();
                        ears.watch.note("task", Some(device.index()), &first);
                        ears.heard.lock().orders[number].said = Some(first);
                    }
                    // The device went down meanwhile. Whether it was taken is not known: it is not tried again.
                    _ => {
                        ears.heard.lock().orders[number].said = Some("its submitter went down".into());
                        return;
                    }
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
    }

    /// What is submitted as an order: its type, and its input. Of a program it is found out what comes of it.
    fn input(&self, number: usize, order: &TaskOrder) -> Result<(String, Vec<u8>), SimError> {
        let Some(guest) = &order.program else {
            let input = postcard::to_allocvec(&super::input(number, order));
            let input = input.map_err(|error| SimError::Program(error.to_string()))?;
            return Ok((format!("{}/{}", Work::NAME, Work::STATE_VERSION), input));
        };
        let own = u32::try_from(number).unwrap_or(u32::MAX);
        let expected = Arc::new(program::undisturbed(own, guest, order.memory_bytes)?);
        self.sim.watch().program(own, expected.clone(), order.quorum.is_some());
        self.ears.heard.lock().orders[number].expected = Some(expected);
        Ok((format!("{}/1", softbus::wasm::NAME), program::input(own, guest, order.memory_bytes)?))
    }

    /// Every device that could run work of this one, as it truly is now.
    fn truth(&self, from: &str) -> Vec<Truth> {
        let Some(home) = self.sim.device(from) else { return Vec::new() };
        let shared = |spec: &crate::scenario::DeviceSpec| {
            let member = |(circle, role): (&String, &RoleSpec)| {
                *role != RoleSpec::Guest && home.spec().circles.contains_key(circle)
            };
            spec.circles.iter().any(member)
        };
        let left = self.left();
        let devices = self.sim.devices().iter();
        let able = devices.filter(|device| {
            let floor = device.spec().battery.map_or(0, |battery| battery.floor_permille);
            let charged = self.bodies[device.index()].battery_permille().is_none_or(|now| now > floor);
            device.mode() == DeviceState::Up
                && device.spec().runs_tasks
                && shared(device.spec())
                && (charged || device.index() == home.index())
                && (device.index() == home.index() || self.reached(home.index(), device.index()))
        });
        able.map(|device| {
            let index = device.index();
            // What other things take slows every core.
            let left_over = f64::from(1000 - self.loads[index].min(950)) / 1000.0;
            Truth {
                device: index,
                cores: f64::from(device.spec().cores),
                rate_ops_per_s: self.bodies[index].rate_ops_per_s() as f64 * left_over,
                others: left.iter().filter(|(on, _)| *on == index).map(|(_, ops)| *ops).collect(),
                transfer_s: 0.0,
            }
        })
        .collect()
    }

    /// Work that is not done: where it is, and what is left of it.
    fn left(&self) -> Vec<(usize, u64)> {
        let heard = self.ears.heard.lock();
        let open = heard.orders.iter().enumerate().filter(|(_, o)| o.task.is_some() && o.done_us.is_none());
        open.filter_map(|(number, _)| {
            let (on, done) = self.sim.watch().progress(number as u32)?;
            Some((on, self.scenario.tasks[number].ops.saturating_sub(done)))
        })
        .collect()
    }

    /// Whether the first holds the second for online.
    fn reached(&self, a: usize, b: usize) -> bool {
        let Some(bus) = self.sim.devices()[a].bus() else { return false };
        let view = bus.roster().view();
        let id = self.sim.devices()[b].id();
        view.get(&id).is_some_and(|entry| entry.presence == softbus::Presence::Online)
    }
}

impl super::Ears {
    fn placed(&self, number: usize, runner: DeviceId, truth: &[Truth], ops: u64) {
        let mut heard = self.heard.lock();
        let Some(chosen) = heard.devices.get(&runner).copied() else { return };
        if let Some((chosen_us, best_us)) = judge(truth, chosen, ops) {
            heard.orders[number].placed = Some(Placed { chosen_us, best_us });
        }
    }
}
