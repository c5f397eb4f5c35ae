//! What goes wrong, and how it heals.

use softbus_core::wire::task::Outcome;
use softbus_core::{Domain, Hash};

use super::super::super::Trace;
use super::super::super::sabotage::Sabotage;
use super::{Command, Event, Fault, TASK, TaskMachine, What, World};

impl World {
    pub(in super::super) fn crash(&mut self, device: usize) {
        let lucky = self.random.permille(300);
        let current = &mut self.devices[device];
        if !current.up {
            return;
        }
        current.up = false;
        current.life += 1;
        current.machine = None;
        current.instance = None;
        current.wake = None;
        current.frozen_until_us = 0;
        let mut links = Vec::new();
        // What was being written is lost, or the first of it was written after all.
        if lucky && let Some((_, record)) = current.disk.writing.pop_front() {
            links = record.chain.clone();
            current.disk.record = Some(record);
        }
        current.disk.writing.clear();
        current.disk.last_due_us = 0;
        self.statuses[device] = None;
        self.observe(&links);
    }

    pub(in super::super) fn start(&mut self, device: usize, reboot: bool) {
        if self.devices[device].up {
            return;
        }
        let setup = self.setup(device);
        let first = self.random.below(3_000);
        let now_us = self.now_us;
        let lost = vec![false; self.plan.devices];
        let current = &mut self.devices[device];
        current.up = true;
        current.draining = false;
        current.life += 1;
        current.believed_lost = lost;
        if reboot {
            current.clock.boot_us = now_us;
            current.clock.start_ms = first;
        }
        let life = current.life;
        let now = current.clock.read(now_us);
        if let Some(record) = current.disk.record.clone() {
            let (machine, actions) = TaskMachine::restore(setup, record, now).unwrap();
            current.machine = Some(machine);
            self.perform(device, actions);
            self.prefer(device);
            // What it knew to be lost it finds missing again, whether or not that was written.
            let disk = &self.devices[device].disk;
            let missing = |manifest: &&Hash| !disk.checkpoints.contains_key(manifest);
            let missing: Vec<Hash> = disk.damaged.iter().filter(missing).copied().collect();
            missing.into_iter().for_each(|manifest| self.notice(device, manifest, false));
        }
        self.after(100_000, What::Presence { device, life });
    }

    pub(in super::super) fn owner(&self) -> Option<usize> {
        self.devices.iter().position(|device| {
            device.machine.as_ref().is_some_and(|machine| machine.decree().owner == device.id)
        })
    }

    pub(in super::super) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Crash { device } => self.crash(device),
            Fault::Start { device, reboot } => self.start(device, reboot),
            Fault::Split { sides } => self.split = sides,
            Fault::Deaf { from, to } if self.deaf.len() < 8 => self.deaf.push((from, to)),
            Fault::Deaf { .. } => {}
            Fault::Heal => {
                self.split = 0;
                self.deaf.clear();
            }
            Fault::Freeze { device, ms } => {
                self.devices[device].frozen_until_us = self.now_us + ms * 1000;
            }
            Fault::SlowDisk { device, ms } => self.devices[device].slow_disk_us = 1 + ms * 1000,
            Fault::FailDisk { device, fails } => self.devices[device].failing_disk = fails,
            Fault::Weather { loss, double, delay_ms } => self.weather = (loss, double, delay_ms),
            Fault::Move { to } => {
                let destination = self.devices[to].id;
                if let Some(owner) = self.owner() {
                    let note = "a person walks".into();
                    self.give(owner, Event::Command(Command::MoveTo { destination, note }));
                }
            }
            Fault::AbortMove => {
                if let Some(owner) = self.owner() {
                    self.give(owner, Event::Command(Command::AbortMove));
                }
            }
            Fault::Holders { without } => {
                if let Some(owner) = self.owner() {
                    let count = usize::from(self.plan.replicas);
                    let holders: Vec<_> = (0..self.plan.devices)
                        .filter(|device| *device != owner && *device != without)
                        .take(count)
                        .map(|device| self.devices[device].id)
                        .collect();
                    self.give(owner, Event::Command(Command::ChangeHolders { holders }));
                }
            }
            Fault::Fail { device } => {
                if self.devices[device].up && self.devices[device].instance.take().is_some() {
                    self.give(device, Event::Failed { error: "a bug in the task".into() });
                }
            }
            Fault::Drain { device } => {
                self.devices[device].draining = true;
                self.give(device, Event::Command(Command::Drain));
                self.after(4_000_000, What::Fault(Fault::Crash { device }));
                self.after(5_000_000, What::Fault(Fault::Start { device, reboot: false }));
            }
            Fault::SplitOwner => self.split = self.owner().map_or(0, |owner| 1 << owner),
            Fault::CrashOwner => {
                if let Some(owner) = self.owner() {
                    self.crash(owner);
                }
            }
            Fault::FreezeOwner { ms } => {
                if let Some(owner) = self.owner() {
                    self.devices[owner].frozen_until_us = self.now_us + ms * 1000;
                }
            }
            Fault::Blink { device, ms } => {
                self.crash(device);
                self.after(ms * 1000, What::Fault(Fault::Start { device, reboot: false }));
            }
            Fault::Forget { device } => self.forget(device),
            Fault::OtherHolders => {
                if let Some(owner) = self.owner() {
                    let count = usize::from(self.plan.replicas);
                    let others = (0..self.plan.devices).rev().filter(|device| *device != owner);
                    let holders = others.take(count).map(|device| self.devices[device].id).collect();
                    self.give(owner, Event::Command(Command::ChangeHolders { holders }));
                }
            }
            Fault::Cancel { device } => self.cancel(device),
            Fault::Adopt { device } => {
                self.give(device, Event::Command(Command::Adopt { note: String::new() }));
            }
            Fault::Damage { device } => self.damage(device),
            Fault::Replay { device } => {
                if !self.sent[device].is_empty() {
                    let which = self.random.below(self.sent[device].len() as u64) as usize;
                    let (to, message) = self.sent[device][which].clone();
                    self.after(1_000, What::Deliver { from: device, to, message });
                }
            }
        }
    }

    /// All faults end; all devices start again but those in `dead`.
    pub(in super::super) fn heal(&mut self, dead: &[usize]) {
        self.tell(|_| format!("all faults end, but devices {dead:?} stay dead"));
        self.queue.retain(|_, what| !matches!(what, What::Fault(_)));
        self.split = 0;
        self.deaf.clear();
        self.weather = (0, 0, 3);
        for device in 0..self.plan.devices {
            self.devices[device].slow_disk_us = 5_000;
            self.devices[device].failing_disk = false;
            self.devices[device].frozen_until_us = self.devices[device].frozen_until_us.min(self.now_us);
            if dead.contains(&device) || self.devices[device].draining {
                self.crash(device); // who shuts down does so
            }
            if !dead.contains(&device) {
                self.start(device, false);
            }
        }
    }

    /// Whether each device that is up and has a part in the task knows that it ended.
    pub(in super::super) fn ended(&self) -> bool {
        let mut members = 0;
        let all = self.devices.iter().filter(|device| device.up).all(|device| match &device.machine {
            Some(machine) => {
                let ended = machine.decree().outcome != Outcome::Run || machine.record().cancelled.is_some();
                let member = machine.decree().members().contains(&device.id);
                members += usize::from(ended && member);
                ended || !member
            }
            None => true,
        });
        all && members > 0
    }

    /// A device that has no part in the task any more erases all of it but a trace.
    fn forget(&mut self, device: usize) {
        let sabotage = self.plan.tuning.sabotage;
        let current = &mut self.devices[device];
        let Some(machine) = current.machine.as_ref().filter(|machine| {
            let part = machine.decree().members().contains(&current.id);
            machine.view().settled && !part && machine.decree().outcome == Outcome::Run
        }) else {
            return;
        };
        if sabotage != Some(Sabotage::ForgetWithoutTrace) {
            current.trace = Some(Trace::of(machine));
        }
        current.machine = None;
        current.wake = None;
        current.disk.record = None;
        current.disk.writing.clear();
        current.disk.checkpoints.clear();
        // What was being fetched for it is of no use.
        current.life += 1;
        let life = current.life;
        self.statuses[device] = None;
        self.tell(|_| format!("{device} forgets the task"));
        self.after(100_000, What::Presence { device, life });
    }

    /// Gives an order to end the task.
    pub(in super::super) fn cancel(&mut self, device: usize) {
        let order = softbus_core::wire::task::CancelOrder {
            task: TASK,
            issued: softbus_core::WallMs(1),
            note: "enough".into(),
        };
        let body = softbus_core::encode(&order).unwrap();
        let order = softbus_core::Signed::new(&*self.devices[device].key, Domain::GRANT, body);
        self.give(device, Event::Command(Command::Cancel { order }));
    }
}
