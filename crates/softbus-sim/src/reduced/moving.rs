//! Moves of running tasks: those that a person orders, and those that the bus finds worth it.

use softbus_core::{DeviceId, TaskId};
use softbus_placement::{Action, LeaseId};
use softbus_task::choosing::able;
use softbus_task::epoch::{Command, Event, Hindrance, Status};
use softbus_task::limits;

use super::order::Why;
use super::tasks::Deed;
use super::ways::ns;
use super::world::{Index, World};

/// A move that cannot begin just now is tried again so often …
const AGAIN_NS: u64 = 20_000_000;
/// … and so many times.
const TRIES: u32 = 500;
const REQUEST_BYTES: u64 = 300;

impl World {
    /// A person at the submitter orders it.
    pub(super) fn order_move(&mut self, name: &str, to: Option<&str>) {
        let Some(number) = self.scenario.tasks.iter().position(|order| order.name == name) else { return };
        let to = to.and_then(|name| self.by_name.get(name)).copied();
        self.later(self.now, Deed::Move { number, to });
    }

    pub(super) fn send_move(&mut self, number: usize, to: Option<Index>) {
        let Some(from) = self.by_name.get(&self.scenario.tasks[number].from).copied() else { return };
        let Some(task) = self.orders[number].task.filter(|_| self.device(from).is_up()) else { return };
        let Some(side) = self.device(from).tasks.get(&task) else { return };
        let Some(owner) = side.machine.as_ref().map(|machine| machine.decree().owner) else { return };
        let Some(runner) = self.by_id.get(&owner).copied() else { return };
        let to = to.map(|to| self.device(to).id);
        let run = self.device(runner).run;
        let at = match runner == from {
            true => Some(self.now),
            false => self.request_arrival(from, runner, REQUEST_BYTES),
        };
        if let Some(at) = at {
            self.later(at, Deed::MoveHere { of: runner, run, number, to, tries: 0 });
        }
    }

    /// The runner is to hand it over.
    pub(super) fn move_here(&mut self, of: Index, run: u32, number: usize, to: Option<DeviceId>, tries: u32) {
        let Some(task) = self.orders[number].task.filter(|_| self.lives(of, run)) else { return };
        self.settle(of);
        let Some(side) = self.device(of).tasks.get(&task) else { return };
        let Some(machine) = &side.machine else { return };
        let passing = side.asking || matches!(machine.hindrance(), Some(Hindrance::Passing(_)));
        if passing && tries < TRIES && machine.decree().owner == self.device(of).id {
            let again = Deed::MoveHere { of, run, number, to, tries: tries + 1 };
            return self.later(self.now + AGAIN_NS, again);
        }
        if machine.hindrance().is_some() {
            return;
        }
        let me = self.device(of).id;
        let to = to.or_else(|| {
            let left = self.left(of, task);
            able(&self.decide(of, number, left).0).into_iter().find(|id| *id != me)
        });
        let Some(to) = to.filter(|to| *to != me) else { return };
        if let Some(side) = self.device_mut(of).tasks.get_mut(&task) {
            side.asking = true;
        }
        self.ask_room(of, to, number, LeaseId::ALL, Why::Move("person"));
    }

    /// Moves the task if another device is so much better that it is worth it.
    pub(super) fn rebalance(&mut self, of: Index, task: TaskId) {
        let now = self.now;
        let me = self.device(of).id;
        let Some(side) = self.device(of).tasks.get(&task) else { return };
        let number = side.number;
        let order = &self.scenario.tasks[number];
        let Some(instance) = side.instance.as_ref().filter(|_| !order.stay && !side.asking) else { return };
        let here = side
            .machine
            .as_ref()
            .is_some_and(|machine| matches!(machine.view().status, Status::Running { owner } if owner == me));
        if !here || now - instance.since < ns(limits::REBALANCE_GAP) {
            return;
        }
        let stayed_us = Some((now - instance.since) / 1000);
        let mut left = self.left(of, task);
        left.stayed_us = stayed_us;
        if let Action::Move { to, .. } = self.decide(of, number, left).0.action {
            let seen = self.seen(of, to);
            if let Some(side) = self.device_mut(of).tasks.get_mut(&task) {
                side.asking = true;
            }
            self.ask_room(of, to, number, seen, Why::Move("bus"));
        }
    }

    pub(super) fn move_promised(&mut self, of: Index, to: DeviceId, number: usize, reason: &'static str) {
        let Some(task) = self.orders[number].task else { return };
        let Some(side) = self.device_mut(of).tasks.get_mut(&task) else { return };
        side.asking = false;
        let Some(machine) = &side.machine else { return };
        if machine.hindrance().is_some() {
            return;
        }
        let epoch = machine.decree().epoch.next().0;
        self.orders[number].reasons.insert(epoch, reason);
        let command = Command::MoveTo { destination: to, note: reason.to_owned() };
        self.feed(of, task, Event::Command(command));
    }

    pub(super) fn move_outdated(&mut self, of: Index, to: DeviceId, number: usize, reason: &'static str) {
        self.move_refused(of, number);
        self.ask_now(of, to, None);
        if reason == "person" {
            let run = self.device(of).run;
            self.later(self.now + AGAIN_NS, Deed::MoveHere { of, run, number, to: None, tries: 1 });
        }
    }

    pub(super) fn move_refused(&mut self, of: Index, number: usize) {
        let Some(task) = self.orders[number].task else { return };
        if let Some(side) = self.device_mut(of).tasks.get_mut(&task) {
            side.asking = false;
        }
    }
}
