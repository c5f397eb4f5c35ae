//! Tasks that run: they share the cores of their device fairly, are saved now and then, and stop between two steps.

use softbus_core::wire::task::{CheckpointRef, Fence, ManifestKind};
use softbus_core::{BootMs, Promised, TaskId};
use softbus_task::choosing::left_ops;
use softbus_task::epoch::{Event, manifest};

use super::order::JOB_NS;
use super::tasks::{Deed, Stored, permille};
use super::world::{Index, NEVER, World};
use crate::record::RunSpan;

/// What a step takes.
const STEP_NS: u64 = 20_000_000;
/// Interval between checkpoints while effects wait for one.
const SAVE_EFFECTS_NS: u64 = 100_000_000;
/// Costs of a checkpoint on a core, in operations: for each chunk of 64 KiB, and for each byte one part.
const CHUNK_OPS: u64 = 20_000;
const BYTES_PER_OP: u64 = 32;

/// What a device tells of the work on it.
#[derive(Clone, Copy, Default)]
pub(super) struct Running {
    pub tasks: u16,
    pub queued_ops: u64,
    pub promised: Promised,
}

/// A running task.
pub(super) struct Instance {
    pub id: u64,
    pub fence: Fence,
    pub until: u64,
    pub paused: bool,
    /// It takes steps; before it is being put together.
    pub begun: Option<u64>,
    /// It stops at its next step; whether for good.
    pub halting: Option<bool>,
    pub ops_done: u64,
    /// As of its last checkpoint, as the roster tells.
    pub told_ops: u64,
    /// Up to here its work is counted.
    pub settled: u64,
    pub since: u64,
    sequence: u64,
    /// It took its last step, and waits for its last effects to leave.
    over: bool,
}

impl World {
    /// What runs here, for the roster.
    pub(super) fn running(&self, of: Index) -> Running {
        let device = self.device(of);
        let now = self.boot_clock();
        let mut running = Running::default();
        for side in device.tasks.values() {
            let Some(instance) = &side.instance else { continue };
            running.tasks = running.tasks.saturating_add(1);
            let order = &self.scenario.tasks[side.number];
            let left = left_ops(order.ops, instance.told_ops, permille(instance.told_ops, order.ops));
            running.queued_ops = running.queued_ops.saturating_add(left);
        }
        let all = device.leases.reserved_beside(None, now);
        running.promised = Promised {
            jobs: u16::try_from(all.jobs).unwrap_or(u16::MAX),
            ops: all.ops,
            memory_bytes: all.memory_bytes,
            full: all.full,
            last: device.leases.last().0,
        };
        running
    }

    /// What runs here, or is promised, has changed: the neighbours hear of it at once.
    pub(super) fn running_changed(&mut self, of: Index) {
        if self.device(of).is_up() {
            self.tell_now(of);
        }
    }

    pub(super) fn with_instance(&mut self, of: Index, task: TaskId, act: impl FnOnce(&mut Instance)) {
        self.settle(of);
        if let Some(instance) =
            self.device_mut(of).tasks.get_mut(&task).and_then(|side| side.instance.as_mut())
        {
            act(instance);
        }
        self.reckon(of);
    }

    pub(super) fn lease_until(&mut self, of: Index, task: TaskId, until: BootMs) {
        let until = until.0.saturating_mul(1_000_000).min(NEVER);
        self.with_instance(of, task, |instance| instance.until = until);
    }

    pub(super) fn pause(&mut self, of: Index, task: TaskId, paused: bool, until: Option<BootMs>) {
        self.with_instance(of, task, |instance| {
            instance.paused = paused;
            if let Some(until) = until {
                instance.until = until.0.saturating_mul(1_000_000).min(NEVER);
                instance.halting = None;
            }
        });
    }

    // --- its begin ---

    /// `false` if the checkpoint is not here.
    pub(super) fn start_instance(
        &mut self,
        of: Index,
        task: TaskId,
        fence: Fence,
        checkpoint: CheckpointRef,
        until: BootMs,
    ) -> bool {
        self.last_instance += 1;
        let (id, now, run) = (self.last_instance, self.now, self.device(of).run);
        let boot = self.boot_clock();
        let rate = self.device(of).rate.max(1);
        let device = self.device_mut(of);
        let Some(side) = device.tasks.get_mut(&task) else { return false };
        let Some((_, name, stored)) = side.checkpoints.get(&checkpoint.manifest).cloned() else {
            return false;
        };
        side.instance = Some(Instance {
            id,
            fence,
            until: until.0.saturating_mul(1_000_000).min(NEVER),
            paused: false,
            begun: None,
            halting: None,
            ops_done: stored.ops_done,
            told_ops: 0,
            settled: now,
            since: now,
            sequence: name.sequence,
            over: false,
        });
        device.leases.release_task(task, boot);
        let read = u128::from(stored.bytes / BYTES_PER_OP) * 1_000_000_000 / u128::from(rate);
        let read = u64::try_from(read).unwrap_or(NEVER);
        self.later(now + read + self.disk_ns(of), Deed::Begin { of, run, task, instance: id });
        self.leases_changed(of);
        true
    }

    pub(super) fn begin(&mut self, of: Index, run: u32, task: TaskId, id: u64) {
        if !self.lives(of, run) {
            return;
        }
        self.settle(of);
        let (now, every) = (self.now, self.save_every(of, task));
        let Some(instance) = self.instance(of, task, id) else { return };
        instance.begun = Some(now);
        instance.settled = now;
        let halting = instance.halting;
        match halting {
            Some(discard) => self.later(now, Deed::Halt { of, run, task, instance: id, discard }),
            None => self.later(now + every, Deed::Save { of, run, task, instance: id }),
        }
        self.reckon(of);
    }

    fn instance(&mut self, of: Index, task: TaskId, id: u64) -> Option<&mut Instance> {
        let side = self.device_mut(of).tasks.get_mut(&task)?;
        side.instance.as_mut().filter(|instance| instance.id == id)
    }

    // --- the cores ---

    /// Counts the work that was done here up to now.
    pub(super) fn settle(&mut self, of: Index) {
        let (now, on) = (self.now, of as usize);
        let cores = u64::from(self.scenario.devices[on].cores.max(1));
        let rate = self.device(of).rate.max(1);
        let count = self.active(of);
        if count == 0 {
            return;
        }
        let share = count.min(cores);
        let mut steps = Vec::new();
        let device = self.device_mut(of);
        let mut busy = 0;
        for side in device.tasks.values_mut() {
            let Some(instance) = &mut side.instance else { continue };
            let to = now.min(instance.until);
            let from = instance.settled;
            instance.settled = now.max(from);
            if instance.begun.is_none() || instance.paused || instance.over || to <= from {
                continue;
            }
            let core_ns = u128::from(to - from) * u128::from(share) / u128::from(count);
            busy += u64::try_from(core_ns).unwrap_or(0);
            let ops = core_ns * u128::from(rate) / 1_000_000_000;
            instance.ops_done = instance.ops_done.saturating_add(u64::try_from(ops).unwrap_or(0));
            steps.push((side.number, instance.fence, from, to));
        }
        device.busy_ns += busy;
        for (number, fence, from, to) in steps {
            self.stepped(number, on, fence, (from / 1000, to / 1000));
        }
    }

    /// How many tasks share the cores now.
    fn active(&self, of: Index) -> u64 {
        let sides = self.device(of).tasks.values().filter_map(|side| side.instance.as_ref());
        let active = sides.filter(|instance| {
            instance.begun.is_some()
                && !instance.paused
                && !instance.over
                && instance.until > instance.settled
        });
        active.count() as u64
    }

    /// What a step takes in real time when cores are shared.
    fn step_ns(&self, of: Index) -> u64 {
        let cores = u64::from(self.scenario.devices[of as usize].cores.max(1));
        STEP_NS * self.active(of).max(cores) / cores
    }

    fn stepped(&mut self, number: usize, on: usize, fence: Fence, span: (u64, u64)) {
        let runs = &mut self.orders[number].runs;
        let (epoch, branch) = (fence.epoch.0, fence.branch.fork);
        match runs.last_mut() {
            Some(last) if (last.on, last.epoch, last.branch) == (on, epoch, branch) => last.to_us = span.1,
            _ => runs.push(RunSpan { on, from_us: span.0, to_us: span.1, epoch, branch }),
        }
    }

    /// When the first of the tasks here is done, or may go on no longer.
    pub(super) fn reckon(&mut self, of: Index) {
        let count = self.active(of);
        let device = self.device_mut(of);
        device.version += 1;
        let (version, run, rate) = (device.version, device.run, device.rate.max(1));
        if count == 0 {
            return;
        }
        let cores = u64::from(self.scenario.devices[of as usize].cores.max(1));
        let share = count.min(cores);
        let step = self.step_ns(of);
        let mut next = NEVER;
        for side in self.device(of).tasks.values() {
            let Some(instance) = &side.instance else { continue };
            let Some(begun) = instance.begun.filter(|_| !instance.paused && !instance.over) else { continue };
            let left = self.scenario.tasks[side.number].ops.max(1).saturating_sub(instance.ops_done);
            let ns =
                u128::from(left) * 1_000_000_000 * u128::from(count) / u128::from(rate) / u128::from(share);
            let end = instance.settled.max(self.now).saturating_add(u64::try_from(ns).unwrap_or(NEVER));
            // Its last step is a whole one.
            let end = begun + (end - begun).div_ceil(step) * step;
            next = next.min(end);
            if instance.until > self.now {
                next = next.min(instance.until);
            }
        }
        if next < NEVER {
            self.later(next, Deed::Cores { of, run, version });
        }
    }

    pub(super) fn cores(&mut self, of: Index, run: u32, version: u64) {
        if !self.lives(of, run) || self.device(of).version != version {
            return;
        }
        self.settle(of);
        let rate = self.device(of).rate;
        let mut over = Vec::new();
        for (task, side) in &self.device(of).tasks {
            let Some(instance) = side.instance.as_ref().filter(|i| i.begun.is_some() && !i.over) else {
                continue;
            };
            let ops = self.scenario.tasks[side.number].ops.max(1);
            // Roundings of less than a grain of time.
            if instance.ops_done.saturating_add(rate / 2000) >= ops && instance.halting.is_none() {
                over.push((*task, instance.id));
            }
        }
        for (task, id) in over {
            self.is_over(of, task, id);
        }
        self.reckon(of);
    }

    // --- checkpoints ---

    fn save_every(&self, of: Index, task: TaskId) -> u64 {
        let side = self.device(of).tasks.get(&task);
        let effects = side.is_some_and(|side| self.scenario.tasks[side.number].effects > 0);
        let every = super::ways::ns(self.options.checkpoint_every);
        if effects { every.min(SAVE_EFFECTS_NS) } else { every }
    }

    fn stored(&self, number: usize, ops_done: u64) -> Stored {
        let order = &self.scenario.tasks[number];
        let effects = u128::from(order.effects) * u128::from(permille(ops_done, order.ops)) / 1000;
        Stored {
            ops_done,
            bytes: order.state_bytes as u64 + 64,
            fresh: false,
            effects: u64::try_from(effects).unwrap_or(0),
        }
    }

    /// How long it takes to write a state into a snapshot.
    fn take_ns(&self, of: Index, number: usize) -> u64 {
        let ops = self.scenario.tasks[number].state_bytes as u64 / BYTES_PER_OP + CHUNK_OPS;
        let ns = u128::from(ops) * 1_000_000_000 / u128::from(self.device(of).rate.max(1));
        u64::try_from(ns).unwrap_or(NEVER).max(JOB_NS)
    }

    pub(super) fn save(&mut self, of: Index, run: u32, task: TaskId, id: u64) {
        if !self.lives(of, run) {
            return;
        }
        self.settle(of);
        let Some(side) = self.device(of).tasks.get(&task) else { return };
        let number = side.number;
        let Some(instance) = side.instance.as_ref().filter(|instance| instance.id == id) else { return };
        let halting = instance.halting.is_some();
        let stored = self.stored(number, instance.ops_done);
        if halting {
            // It may be called off.
            let every = self.save_every(of, task);
            return self.later(self.now + every, Deed::Save { of, run, task, instance: id });
        }
        let take = self.take_ns(of, number);
        // It takes no step meanwhile.
        if let Some(instance) = self.instance(of, task, id) {
            instance.settled += take;
        }
        self.reckon(of);
        let at = self.now + take + 2 * self.disk_ns(of);
        self.later(at, Deed::Saved { of, run, task, instance: id, stored });
        let every = self.save_every(of, task).max(10 * 2 * self.disk_ns(of));
        self.later(self.now + every, Deed::Save { of, run, task, instance: id });
    }

    pub(super) fn saved(&mut self, of: Index, run: u32, task: TaskId, id: u64, stored: Stored) {
        if !self.lives(of, run) {
            return;
        }
        let Some(instance) = self.instance(of, task, id) else { return };
        if instance.halting.is_some() {
            return;
        }
        instance.told_ops = stored.ops_done;
        if let Some(manifest) = self.sign(of, task, ManifestKind::Checkpoint, stored) {
            self.running_changed(of);
            self.feed(of, task, Event::Checkpoint { manifest });
        }
    }

    /// Signs the manifest of a checkpoint, and keeps both.
    fn sign(
        &mut self,
        of: Index,
        task: TaskId,
        kind: ManifestKind,
        stored: Stored,
    ) -> Option<softbus_core::Signed> {
        let device = self.device_mut(of);
        let key = device.key.clone();
        let side = device.tasks.get_mut(&task)?;
        let machine = side.machine.as_ref()?;
        let instance = side.instance.as_mut()?;
        instance.sequence += 1;
        let permille = if kind == ManifestKind::Result { 1000 } else { 0 };
        let content = stored.content(task, kind, instance.sequence, permille, None);
        let signed = manifest::next(&*key, machine.branch(), machine.decree(), content).ok()?;
        side.keep(&signed, stored);
        Some(signed)
    }

    // --- its end ---

    /// Tells an instance to stop at its next step. `false` if there is none.
    pub(super) fn halt(&mut self, of: Index, task: TaskId, discard: bool) -> bool {
        self.settle(of);
        let (now, run, step) = (self.now, self.device(of).run, self.step_ns(of));
        let Some(side) = self.device_mut(of).tasks.get_mut(&task) else { return false };
        let Some(instance) = &mut side.instance else { return false };
        instance.halting = Some(discard);
        let (id, idle) = (instance.id, instance.paused || instance.until <= now || instance.over);
        let at = match instance.begun {
            None => return true,
            Some(_) if idle => now,
            Some(begun) => begun + (now - begun).div_ceil(step) * step,
        };
        self.later(at, Deed::Halt { of, run, task, instance: id, discard });
        true
    }

    pub(super) fn halted(&mut self, of: Index, run: u32, task: TaskId, id: u64, discard: bool) {
        if !self.lives(of, run) {
            return;
        }
        self.settle(of);
        let Some(instance) = self.instance(of, task, id) else { return };
        // Perhaps it goes on after all.
        if instance.halting != Some(discard) {
            return;
        }
        instance.paused = true;
        let Some(side) = self.device_mut(of).tasks.get_mut(&task) else { return };
        let number = side.number;
        self.reckon(of);
        if discard {
            if let Some(side) = self.device_mut(of).tasks.get_mut(&task) {
                side.instance = None;
            }
            self.running_changed(of);
            return self.feed(of, task, Event::Stopped { last: None });
        }
        let at = self.now + self.take_ns(of, number) + 2 * self.disk_ns(of);
        self.later(at, Deed::Halted { of, run, task, instance: id });
    }

    pub(super) fn stopped(&mut self, of: Index, run: u32, task: TaskId, id: u64) {
        if !self.lives(of, run) {
            return;
        }
        let Some(instance) = self.instance(of, task, id) else { return };
        if instance.halting.is_none() {
            instance.paused = false;
            return self.reckon(of);
        }
        let done = instance.ops_done;
        let Some(number) = self.number_of.get(&task).copied() else { return };
        let stored = self.stored(number, done);
        let last = self.sign(of, task, ManifestKind::Checkpoint, stored);
        if let Some(side) = self.device_mut(of).tasks.get_mut(&task) {
            side.instance = None;
        }
        self.running_changed(of);
        self.feed(of, task, Event::Stopped { last });
    }

    fn is_over(&mut self, of: Index, task: TaskId, id: u64) {
        let (now, run) = (self.now, self.device(of).run);
        let Some(side) = self.device_mut(of).tasks.get_mut(&task) else { return };
        let number = side.number;
        let Some(instance) = &mut side.instance else { return };
        instance.over = true;
        let waits = side.released < self.scenario.tasks[number].effects;
        let at = now + 2 * self.disk_ns(of);
        match waits {
            true => self.later(now, Deed::Save { of, run, task, instance: id }),
            false => self.later(at, Deed::Over { of, run, task, instance: id }),
        }
    }

    /// Effects have left: perhaps the last ones of a task that is over.
    pub(super) fn effects_left(&mut self, of: Index, task: TaskId) {
        let (now, run) = (self.now, self.device(of).run);
        let Some(side) = self.device(of).tasks.get(&task) else { return };
        let effects = self.scenario.tasks[side.number].effects;
        if let Some(instance) = side.instance.as_ref().filter(|instance| instance.over)
            && side.released >= effects
        {
            let id = instance.id;
            self.later(now, Deed::Over { of, run, task, instance: id });
        }
    }

    pub(super) fn finish(&mut self, of: Index, run: u32, task: TaskId, id: u64) {
        if !self.lives(of, run) || self.instance(of, task, id).is_none() {
            return;
        }
        let Some(number) = self.number_of.get(&task).copied() else { return };
        let effects = self.scenario.tasks[number].effects;
        let stored = Stored { ops_done: self.scenario.tasks[number].ops, bytes: 10, fresh: false, effects };
        let result = self.sign(of, task, ManifestKind::Result, stored);
        if let Some(side) = self.device_mut(of).tasks.get_mut(&task) {
            side.instance = None;
        }
        self.reckon(of);
        self.running_changed(of);
        if let Some(result) = result {
            self.feed(of, task, Event::Finished { result });
        }
    }

    /// The device is switched off: the step that was under way is lost.
    pub(super) fn cut_short(&mut self, of: Index) {
        self.settle(of);
        let (now, step, on) = (self.now, self.step_ns(of), of as usize);
        let mut ends = Vec::new();
        for side in self.device(of).tasks.values() {
            if let Some(instance) = &side.instance
                && let Some(begun) = instance.begun.filter(|_| !instance.paused && !instance.over)
            {
                ends.push((side.number, (now.saturating_sub((now - begun) % step)) / 1000));
            }
        }
        for (number, to_us) in ends {
            if let Some(last) = self.orders[number].runs.last_mut().filter(|last| last.on == on) {
                last.to_us = to_us.max(last.from_us);
            }
        }
    }
}
