//! What tasks see in the roster: who is there, who would be best, whether to move.

use std::collections::BTreeSet;

use softbus_core::wire::task::Outcome;
use softbus_core::{DeviceId, TaskId};
use softbus_net::Presence;
use softbus_task::choosing::able;
use softbus_task::epoch::Event;

use super::order::Left;
use super::tasks::{Deed, permille};
use super::world::{Index, World};

impl World {
    /// The roster changed: the tasks here look at it once all that happens now has happened.
    pub(super) fn look_soon(&mut self, of: Index) {
        let device = self.device_mut(of);
        if !device.tasks.is_empty() && !std::mem::replace(&mut device.look_due, true) {
            let run = device.run;
            self.later(self.now, Deed::LookAll { of, run });
        }
    }

    pub(super) fn look_all(&mut self, of: Index, run: u32) {
        self.device_mut(of).look_due = false;
        if !self.lives(of, run) {
            return;
        }
        let open = self.device(of).tasks.iter().filter(|(_, side)| !side.told_done);
        let tasks: Vec<TaskId> = open.map(|(task, _)| *task).collect();
        tasks.into_iter().for_each(|task| self.look_at(of, task));
    }

    /// Who is there, who would be best, and whether the task should move.
    pub(super) fn look_at(&mut self, of: Index, task: TaskId) {
        let now = self.now;
        let me = self.device(of).id;
        let Some(side) = self.device_mut(of).tasks.get_mut(&task) else { return };
        side.looked = now;
        let Some(machine) = &side.machine else { return };
        let number = side.number;
        let mut known: BTreeSet<DeviceId> = machine.decree().members().into_iter().collect();
        known.extend(machine.decree().acceptors());
        let over = machine.decree().outcome != Outcome::Run;
        side.present.retain(|peer, present| !*present || known.contains(peer));
        known.extend(side.present.keys().copied());
        let known: Vec<DeviceId> = known.into_iter().filter(|peer| *peer != me).collect();
        for peer in known {
            let view = self.device(of).roster.as_ref().and_then(|roster| roster.view().get(&peer));
            let there =
                view.is_some_and(|entry| matches!(entry.presence, Presence::Online | Presence::Suspect));
            let Some(side) = self.device_mut(of).tasks.get_mut(&task) else { return };
            if side.present.insert(peer, there) != Some(there) {
                self.feed(of, task, if there { Event::PeerBack { peer } } else { Event::PeerLost { peer } });
            }
        }
        if over {
            return;
        }
        let left = self.left(of, task);
        let preference = able(&self.decide(of, number, left).0);
        let Some(side) = self.device_mut(of).tasks.get_mut(&task) else { return };
        if side.preference != preference {
            side.preference.clone_from(&preference);
            self.feed(of, task, Event::Preference { devices: preference });
        }
        self.rebalance(of, task);
    }

    /// What this device takes to be left of a task.
    pub(super) fn left(&self, of: Index, task: TaskId) -> Left {
        let Some(side) = self.device(of).tasks.get(&task) else { return Left::default() };
        let spec = self.spec(side.number);
        let done = side.instance.as_ref().map_or(0, |instance| instance.ops_done);
        let permille = permille(done, self.scenario.tasks[side.number].ops);
        Left {
            ops: softbus_task::choosing::left_ops(spec.ops, done, permille),
            state_bytes: side.newest().map_or(0, |stored| stored.bytes),
            held_by: side.machine.as_ref().map_or_else(Vec::new, |machine| machine.decree().holders.clone()),
            stayed_us: None,
        }
    }
}
