//! The roster of each device: its machine, driven as the roster's driver drives it, over modelled requests.

use softbus_core::wire::roster::Gossip;
use softbus_core::{DeviceId, DynamicProfile};
use softbus_net::Presence;
use softbus_roster::Event;
use softbus_roster::gossip::{Action, Failure};
use softbus_roster::profile::Author;

use super::device::draft;
use super::order::TASK_TYPE;
use super::ways::ns;
use super::world::{Index, NEVER, What, World};

/// A request that has no answer by then has failed.
const ANSWER_NS: u64 = 5_000_000_000;
/// What a request weighs beside what it says.
const HEAD_BYTES: u64 = 120;

impl World {
    /// A message as it counts for the network: what its parts weigh on the wire, about.
    fn weight(gossip: &Gossip) -> u64 {
        let profiles: usize = gossip.profiles.iter().map(|profile| profile.body.len() + 96).sum();
        let now: usize = gossip.now.iter().map(|now| now.signed.body.len() + 100).sum();
        let lists = 72 * gossip.digests.len() + 32 * gossip.want.len() + 40 * gossip.claims.len();
        HEAD_BYTES + (profiles + now + lists) as u64
    }

    /// Its roster begins, or begins anew.
    pub(super) fn start_roster(&mut self, of: Index) {
        let (wall, now, tell) = (self.wall(of), self.instant(), self.options.tell_every);
        let checked = self.checked.clone();
        let device = self.device_mut(of);
        device.boot = (device.boot + 1).max(wall.0);
        let mut machine = softbus_roster::gossip::RosterMachine::new(device.key.clone(), device.boot, tell);
        machine.share(Some(checked));
        let mut actions = machine.trust((*device.trust).clone(), now);
        for signed in std::mem::take(&mut device.kept).into_values() {
            // What no longer counts is not on its disk any more either.
            if machine.restore(signed.clone(), wall).is_ok() {
                device.kept.insert(signed.signer, signed);
            }
        }
        let spec = self.scenario.devices[of as usize].clone();
        let device = self.device_mut(of);
        let drafted = draft(&spec, device.id, TASK_TYPE);
        // Of the run before only the version is known.
        let version = device.author.version();
        device.author = Author::new(device.key.clone(), version, softbus_roster::limits::LIFETIME);
        if let Ok(Some(believed)) = device.author.issue(drafted, wall) {
            actions.extend(machine.own(believed, now));
        }
        device.roster = Some(machine);
        let run = device.run;
        self.perform(of, actions);
        self.tell_now(of);
        self.at(self.now + ns(self.options.sample_every), What::Sample { of, run });
    }

    pub(super) fn sample(&mut self, of: Index, run: u32) {
        if self.device(of).run != run {
            return;
        }
        self.tell_now(of);
        self.at(self.now + ns(self.options.sample_every), What::Sample { of, run });
    }

    /// Gives the roster a fresh sample of how the device is.
    pub(super) fn tell_now(&mut self, of: Index) {
        let (wall, now) = (self.wall(of), self.instant());
        let running = self.running(of);
        let spec = &self.scenario.devices[of as usize];
        let (rate, memory) = (spec.rate_ops_per_s, spec.memory_bytes);
        let device = self.device_mut(of);
        let profile = DynamicProfile {
            sequence: 0,
            sampled: wall,
            rate_ops_per_s: rate,
            load_permille: device.load,
            memory_free_bytes: memory,
            battery_permille: device.body.battery_permille(),
            power: device.body.power(),
            thermal: device.body.thermal(),
            running_tasks: running.tasks,
            queued_ops: running.queued_ops,
            promised: running.promised,
        };
        let Some(roster) = &mut device.roster else { return };
        let actions = roster.sampled(profile, now);
        self.perform(of, actions);
    }

    pub(super) fn tell_links(&mut self, of: Index, run: u32) {
        let now = self.instant();
        let device = self.device_mut(of);
        if device.run != run {
            return;
        }
        device.links_due = false;
        let links = device.links.clone();
        let Some(roster) = &mut device.roster else { return };
        let actions = roster.links(links, now);
        self.perform(of, actions);
    }

    pub(super) fn roster_tick(&mut self, of: Index, run: u32, at: u64) {
        let (wall, now) = (self.wall(of), self.instant());
        let device = self.device_mut(of);
        if device.run != run || device.roster_at != at {
            return;
        }
        device.roster_at = NEVER;
        let Some(roster) = &mut device.roster else { return };
        let actions = roster.tick(now, wall);
        self.perform(of, actions);
    }

    /// Does what the roster's machine wants, takes note of what it says, and sees when it is to be looked at again.
    fn perform(&mut self, of: Index, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { to, token, gossip } => self.ask(of, to, token, gossip),
                Action::Persist(signed) if self.device(of).restarts => {
                    self.device_mut(of).kept.insert(signed.signer, signed);
                }
                Action::Forget(id) => {
                    self.device_mut(of).kept.remove(&id);
                }
                Action::Persist(_) => {}
                Action::Outrun(version) => self.device_mut(of).author.outrun(version),
            }
        }
        let (now, at, base) = (self.instant(), self.now, self.base);
        let device = self.device_mut(of);
        let run = device.run;
        let Some(roster) = &mut device.roster else { return };
        let events = roster.take_events();
        self.look_soon(of);
        let Some(roster) = &mut self.device_mut(of).roster else { return };
        let due = ns(roster.deadline(now).saturating_duration_since(base));
        // What is due at once is done when time has passed: the machine has just been asked.
        let due = due.max(at + 1);
        let device = self.device_mut(of);
        if due < device.roster_at {
            device.roster_at = due;
            self.at(due, What::RosterTick { of, run, at: due });
        }
        for numbered in events {
            if let Event::PresenceChanged { id, to, .. } = numbered.event {
                self.presence(of, id, to);
            }
        }
    }

    /// For the figures: how long it took to be noticed.
    fn presence(&mut self, of: Index, id: DeviceId, to: Presence) {
        let Some(about) = self.by_id.get(&id).copied() else { return };
        // Of itself a device has nothing to notice.
        if about != of && matches!(to, Presence::Offline | Presence::Online) {
            self.figures.noticed.notice(
                of as usize,
                about as usize,
                to == Presence::Offline,
                self.now / 1000,
            );
        }
    }

    /// A direct question, beside the protocol.
    pub(super) fn request_roster(&mut self, of: Index, from: DeviceId, question: Gossip) -> Option<Gossip> {
        let (wall, now) = (self.wall(of), self.instant());
        let roster = self.device_mut(of).roster.as_mut()?;
        let (answer, actions) = roster.requested(from, question, now, wall);
        self.perform(of, actions);
        answer.ok()
    }

    /// Its answer.
    pub(super) fn tell_roster(&mut self, of: Index, by: DeviceId, answer: Gossip) {
        let (wall, now) = (self.wall(of), self.instant());
        let Some(roster) = &mut self.device_mut(of).roster else { return };
        let actions = roster.told(by, answer, now, wall);
        self.perform(of, actions);
    }

    fn ask(&mut self, from: Index, id: DeviceId, token: u64, gossip: Gossip) {
        let Some(peer) = self.device(from).peer(&id) else { return };
        let (to, linked) = (peer.index, peer.current.is_some());
        let (from_run, to_run) = (self.device(from).run, self.device(to).run);
        let weight = Self::weight(&gossip);
        let arrival = if linked { self.arrival_on_link(from, to, weight) } else { None };
        match arrival {
            Some(at) => {
                let gossip = Box::new(gossip);
                self.at(at, What::Asked { from, from_run, to, to_run, token, gossip });
            }
            None => self.unanswered(id, from, from_run, token),
        }
    }

    fn unanswered(&mut self, by: DeviceId, to: Index, to_run: u32, token: u64) {
        let result = Box::new(Err(Failure::Failed));
        self.at(self.now + ANSWER_NS, What::Answered { by, to, to_run, token, result });
    }

    pub(super) fn asked(
        &mut self,
        from: Index,
        from_run: u32,
        to: Index,
        to_run: u32,
        token: u64,
        gossip: Gossip,
    ) {
        let (here, there) = (self.device(from).id, self.device(to).id);
        let (wall, now, at) = (self.wall(to), self.instant(), self.now);
        let open = self.lives(to, to_run) && self.ways.open(self.place(from), self.place(to));
        if !open || self.device(to).roster.is_none() {
            return self.unanswered(there, from, from_run, token);
        }
        if let Some(peer) = self.device_mut(to).peer_mut(&here) {
            peer.heard = at;
        }
        let Some(roster) = &mut self.device_mut(to).roster else { return };
        let (answer, actions) = roster.requested(here, gossip, now, wall);
        self.perform(to, actions);
        let weight = answer.as_ref().map_or(HEAD_BYTES, Self::weight);
        match self.arrival_on_link(to, from, weight) {
            Some(at) => {
                let result = Box::new(answer.map_err(|_| Failure::Failed));
                self.at(at, What::Answered { by: there, to: from, to_run: from_run, token, result });
            }
            None => self.unanswered(there, from, from_run, token),
        }
    }

    pub(super) fn answered(
        &mut self,
        by: DeviceId,
        to: Index,
        to_run: u32,
        token: u64,
        result: Result<Gossip, Failure>,
    ) {
        let (wall, now, at) = (self.wall(to), self.instant(), self.now);
        if self.device(to).run != to_run {
            return;
        }
        let device = self.device_mut(to);
        if let Some(peer) = device.peer_mut(&by).filter(|_| result.is_ok()) {
            peer.heard = at;
        }
        let Some(roster) = &mut device.roster else { return };
        let actions = roster.answered(by, token, result, now, wall);
        self.perform(to, actions);
    }
}
