//! Work that was ordered: from its submission to a promise of room, as the task room's driver goes about it.

use std::collections::{BTreeMap, BTreeSet};

use softbus_core::wire::roster::Gossip;
use softbus_core::wire::task::Policy;
use softbus_core::{BootMs, DeviceId, Hash, TaskId};
use softbus_net::Presence;
use softbus_placement::{
    Candidate, Decision, LeaseError, LeaseId, LeaseRequest, Needs, Preferences, Running, Trust, Weights,
    Work, place,
};
use softbus_task::choosing::{Held, able, candidate};
use softbus_task::epoch::{Submission, TaskMachine, manifest};
use softbus_task::limits;
use softbus_trust::Role;

use super::draw::hash;
use super::tasks::{Deed, Side, Stored};
use super::ways::ns;
use super::world::{Index, What, World};
use crate::run::input;

/// The task type of all work, as in the full simulator.
pub(super) const TASK_TYPE: &str = "sim-work/1";
/// How long whoever cannot submit something waits before trying again, and how often.
const AGAIN_NS: u64 = 5_000_000_000;
const TRIES: u32 = 60;
/// A job on a core is over a grain of time later, however short it is.
pub(super) const JOB_NS: u64 = 1_000_000;
/// What a request or its answer weighs.
const REQUEST_BYTES: u64 = 200;

/// How an order goes.
#[derive(Default)]
pub(super) struct Order {
    pub task: Option<TaskId>,
    pub tries: u32,
    /// Devices that were asked for room in this try.
    pub asked: usize,
    pub refused: BTreeSet<DeviceId>,
    /// Answers of those that are asked how they are that are still to come.
    pub pending: usize,
    /// Those of them that wait until another has answered.
    pub to_ask: Vec<DeviceId>,
    /// The decision of the present try goes on once; what comes later is late.
    pub turn: u32,
    pub submitted_us: Option<u64>,
    pub accepted_us: Option<u64>,
    pub done_us: Option<u64>,
    pub said: Option<String>,
    /// Why each epoch began, where a person or the bus ordered it.
    pub reasons: BTreeMap<u64, &'static str>,
    pub runs: Vec<crate::record::RunSpan>,
    pub placed: Option<crate::record::Placed>,
}

/// What is asked for.
pub(super) struct Spec {
    pub ops: u64,
    pub memory_bytes: u64,
    pub input_bytes: u64,
}

impl World {
    pub(super) fn spec(&self, number: usize) -> Spec {
        let order = &self.scenario.tasks[number];
        let input = input(number, order);
        let bytes = postcard::to_allocvec(&input).map_or(0, |bytes| bytes.len() as u64);
        // A device that cannot run the type does not estimate it either.
        let known =
            self.by_name.get(&order.from).is_some_and(|of| self.scenario.devices[*of as usize].runs_tasks);
        let (ops, memory_bytes) = if known { (input.ops, input.memory_bytes) } else { (0, 0) };
        Spec { ops, memory_bytes, input_bytes: bytes }
    }

    pub(super) fn boot_clock(&self) -> BootMs {
        BootMs(self.now / 1_000_000)
    }

    pub(super) fn submit(&mut self, number: usize) {
        let Some(of) = self.by_name.get(&self.scenario.tasks[number].from).copied() else { return };
        let order = &mut self.orders[number];
        order.tries += 1;
        if order.tries > TRIES {
            return;
        }
        if !self.device(of).is_up() {
            return self.at(self.now + AGAIN_NS, What::Submit(number));
        }
        let order = &mut self.orders[number];
        (order.asked, order.pending) = (0, 0);
        order.refused.clear();
        let (me, run) = (self.device(of).id, self.device(of).run);
        let salt = hash(self.seed, &[number as u64, 11]).to_le_bytes();
        let task = TaskId::of(&me, salt);
        self.orders[number].task = Some(task);
        self.number_of.insert(task, number);
        if self.judged(number) {
            self.orders[number].placed = None;
        }
        let estimate = if self.scenario.devices[of as usize].runs_tasks { JOB_NS } else { 0 };
        let disk = 2 * ns(self.scenario.devices[of as usize].disk.latency);
        self.later(self.now + estimate + disk, Deed::AskAround { number, run });
    }

    fn judged(&self, number: usize) -> bool {
        self.scenario.tasks[number].start_on.is_none() && self.orders[number].tries == 1
    }

    /// Asks those that could run it how they are, as far as that is not known; then it is placed.
    pub(super) fn ask_around(&mut self, number: usize, run: u32) {
        let Some(of) = self.by_name.get(&self.scenario.tasks[number].from).copied() else { return };
        if !self.lives(of, run) {
            return self.submitter_down(number);
        }
        let unknown = self.unknown(of);
        let order = &mut self.orders[number];
        order.pending = unknown.len();
        order.turn += 1;
        let turn = order.turn;
        if unknown.is_empty() {
            return self.place_order(number, run, turn);
        }
        let mut first = unknown;
        let rest = first.split_off(first.len().min(limits::ASKED_AT_ONCE));
        self.orders[number].to_ask = rest.into_iter().rev().collect();
        for id in first {
            self.ask_now(of, id, Some((number, turn)));
        }
        self.later(self.now + ns(limits::ASKED_WAIT), Deed::Place { number, run, turn });
    }

    /// Those of which is not known how they are.
    fn unknown(&self, of: Index) -> Vec<DeviceId> {
        let Some(roster) = &self.device(of).roster else { return Vec::new() };
        let fresh_us = Weights::default().stale_after_us / 2;
        let now = self.instant();
        let unknown = roster.view().others().filter(|entry| {
            let there = matches!(entry.presence, Presence::Online | Presence::Suspect);
            let fresh =
                entry.now.as_ref().is_some_and(|said| said.age(now).as_micros() <= u128::from(fresh_us));
            let typed = entry
                .profile
                .as_ref()
                .is_none_or(|profile| profile.task_types.iter().any(|t| t == TASK_TYPE));
            there && !(fresh && entry.profile.is_some()) && typed && entry.role >= Some(Role::Member)
        });
        unknown.map(|entry| entry.id).take(limits::ASKED).collect()
    }

    /// Asks a device how it is, over a link that is opened if there is none. `then`: an order that waits for it.
    pub(super) fn ask_now(&mut self, of: Index, id: DeviceId, then: Option<(usize, u32)>) {
        let from_run = self.device(of).run;
        self.when_linked(of, id, Deed::AskNow { from: of, from_run, to: id, then });
    }

    pub(super) fn send_ask_now(
        &mut self,
        from: Index,
        from_run: u32,
        id: DeviceId,
        then: Option<(usize, u32)>,
    ) {
        let Some(to) = self.by_id.get(&id).copied().filter(|_| self.lives(from, from_run)) else { return };
        if let Some(at) = self.arrival_on_link(from, to, REQUEST_BYTES) {
            let to_run = self.device(to).run;
            self.later(at, Deed::AskedNow { from, from_run, to, to_run, then });
        }
    }

    pub(super) fn asked_now(
        &mut self,
        from: Index,
        from_run: u32,
        to: Index,
        to_run: u32,
        then: Option<(usize, u32)>,
    ) {
        if !self.lives(to, to_run) {
            return;
        }
        let (me, asker) = (self.device(to).id, self.device(from).id);
        let boot = self.device(from).boot;
        let described = self
            .device(from)
            .roster
            .as_ref()
            .and_then(|roster| roster.view().get(&me))
            .is_some_and(|entry| entry.profile.is_some());
        let want = if described { Vec::new() } else { vec![me] };
        let question = Gossip { boot, ask: vec![me], want, ..Gossip::default() };
        let Some(answer) = self.request_roster(to, asker, question) else { return };
        if let Some(at) = self.arrival_on_link(to, from, REQUEST_BYTES) {
            self.later(
                at,
                Deed::ToldNow { by: me, to: from, to_run: from_run, answer: Box::new(answer), then },
            );
        }
    }

    pub(super) fn told_now(
        &mut self,
        by: DeviceId,
        to: Index,
        to_run: u32,
        answer: Gossip,
        then: Option<(usize, u32)>,
    ) {
        if !self.lives(to, to_run) {
            return;
        }
        self.tell_roster(to, by, answer);
        let Some((number, turn)) = then else { return };
        let order = &mut self.orders[number];
        if order.turn == turn {
            order.pending = order.pending.saturating_sub(1);
            if order.pending == 0 {
                self.place_order(number, to_run, turn);
            } else if let Some(next) = order.to_ask.pop() {
                self.ask_now(to, next, then);
            }
        }
    }

    /// Every device of the roster as a candidate.
    pub(super) fn candidates(&self, of: Index, task: TaskId) -> Vec<Candidate> {
        let device = self.device(of);
        let Some(roster) = &device.roster else { return Vec::new() };
        let (view, now) = (roster.view(), self.instant());
        let none = softbus_core::Promised::default();
        let entries = view.entries.values().map(|entry| {
            let me = entry.id == view.me;
            let mut reserved = if me {
                device.leases.reserved_beside(Some((view.me, task)), self.boot_clock())
            } else {
                let told = entry.now.as_ref().map_or(&none, |now| &now.profile.promised);
                device.book.reserved(entry.id, task, told, now)
            };
            reserved.full |=
                !me && device.refusals.get(&(entry.id, task)).is_some_and(|until| *until > self.now);
            candidate(entry, me, self.role_for_work(of, &entry.id), reserved, false, now)
        });
        entries.collect()
    }

    /// The role of a device in the circle that work of this one is of: the one in which it is most, the first of several.
    fn role_for_work(&self, of: Index, id: &DeviceId) -> Option<Role> {
        let device = self.device(of);
        let best = device.trust.groups.iter().rev().max_by_key(|group| group.own);
        let Some(group) = best else { return (*id == device.id).then_some(Role::Owner) };
        if *id == device.id { Some(group.own) } else { group.roles.get(id).copied() }
    }

    /// What placement says of a piece of work as this device sees it.
    pub(super) fn decide(&self, of: Index, number: usize, left: Left) -> (Decision, Vec<Candidate>) {
        let spec = self.spec(number);
        let order = &self.scenario.tasks[number];
        let Some(task) = self.orders[number].task else { return none() };
        let home = self.by_name.get(&order.from).map(|home| self.device(*home).id);
        let mut work = Work {
            home,
            ops: left.ops,
            parallelism: 1,
            memory_bytes: spec.memory_bytes.max(left.state_bytes),
            input_bytes: left.state_bytes,
            output_bytes: if spec.ops > 0 { 8 } else { 0 },
            state_bytes: left.state_bytes,
            needs: Needs { task_type: Some(TASK_TYPE.to_owned()), ..Needs::default() },
            held_by: left.held_by,
            ..Work::default()
        };
        work.running =
            left.stayed_us.map(|stayed_us| Running::counted(self.device(of).id, stayed_us, work.ops));
        let candidates = self.candidates(of, task);
        (place(&work, &candidates, &Weights::default(), &Preferences::default()), candidates)
    }

    pub(super) fn place_order(&mut self, number: usize, run: u32, turn: u32) {
        let Some(of) = self.by_name.get(&self.scenario.tasks[number].from).copied() else { return };
        if self.orders[number].turn != turn {
            return;
        }
        if !self.lives(of, run) {
            return self.submitter_down(number);
        }
        self.orders[number].turn += 1;
        self.orders[number].asked += 1;
        let spec = self.spec(number);
        let left = Left { ops: spec.ops, state_bytes: spec.input_bytes, ..Left::default() };
        let (decision, _) = self.decide(of, number, left);
        let ranked = able(&decision);
        let start_on = self.scenario.tasks[number].start_on.as_ref().and_then(|name| self.by_name.get(name));
        let wanted = start_on.map(|on| self.device(*on).id).filter(|on| ranked.contains(on));
        let refused = &self.orders[number].refused;
        let best = wanted.into_iter().chain(ranked).find(|id| !refused.contains(id));
        let Some(best) = best.filter(|_| self.orders[number].asked <= limits::LEASE_TRIES) else {
            return self.not_taken(number, of);
        };
        let blind = wanted == Some(best) || self.orders[number].asked == limits::LEASE_TRIES;
        let seen = if blind { LeaseId::ALL } else { self.seen(of, best) };
        self.ask_room(of, best, number, seen, Why::Submit);
    }

    /// The last promise of a device that its candidate takes into account.
    pub(super) fn seen(&self, of: Index, id: DeviceId) -> LeaseId {
        let device = self.device(of);
        if id == device.id {
            return device.leases.last();
        }
        let entry = device.roster.as_ref().and_then(|roster| roster.view().get(&id));
        let told = entry.and_then(|entry| entry.now.as_ref().map(|now| now.profile.promised));
        device.book.seen(id, &told.unwrap_or_default(), self.instant())
    }

    /// Asks a device (or this one) to promise room.
    pub(super) fn ask_room(&mut self, of: Index, id: DeviceId, number: usize, seen: LeaseId, why: Why) {
        let run = self.device(of).run;
        if id == self.device(of).id {
            let answer = self.lease(of, id, number, seen);
            return self.leased(of, run, id, number, answer, (seen, why));
        }
        self.when_linked(of, id, Deed::AskRoom { from: of, from_run: run, to: id, number, seen, why });
    }

    pub(super) fn send_ask_room(
        &mut self,
        from: Index,
        from_run: u32,
        id: DeviceId,
        number: usize,
        (seen, why): (LeaseId, Why),
    ) {
        let Some(to) = self.by_id.get(&id).copied().filter(|_| self.lives(from, from_run)) else { return };
        let failed = Answer::Refused;
        match self.request_arrival(from, to, REQUEST_BYTES) {
            Some(at) => {
                let to_run = self.device(to).run;
                self.later(at, Deed::Room { from, from_run, to, to_run, number, seen, why });
            }
            None => self.later(
                self.now + ns(limits::ANSWER),
                Deed::Leased { of: from, run: from_run, by: id, number, answer: failed, seen, why },
            ),
        }
    }

    pub(super) fn room(
        &mut self,
        (from, from_run): (Index, u32),
        (to, to_run): (Index, u32),
        number: usize,
        (seen, why): (LeaseId, Why),
    ) {
        let (holder, by) = (self.device(from).id, self.device(to).id);
        let here = self.lives(to, to_run);
        let answer = if here { self.lease(to, holder, number, seen) } else { Answer::Refused };
        let back = if here { self.arrival_on_link(to, from, REQUEST_BYTES) } else { None };
        let at = back.unwrap_or(self.now + ns(limits::ANSWER));
        let answer = if back.is_some() { answer } else { Answer::Refused };
        self.later(at, Deed::Leased { of: from, run: from_run, by, number, answer, seen, why });
    }

    /// This device is asked for room.
    fn lease(&mut self, of: Index, holder: DeviceId, number: usize, seen: LeaseId) -> Answer {
        let (spec, now) = (self.spec(number), self.boot_clock());
        let Some(task) = self.orders[number].task else { return Answer::Refused };
        let memory = self.scenario.devices[of as usize].memory_bytes;
        if !self.scenario.devices[of as usize].runs_tasks {
            return Answer::Refused;
        }
        let wish_ms = ns(limits::LEASE) / 1_000_000;
        let request = LeaseRequest { task, ops: spec.ops, memory_bytes: spec.memory_bytes, wish_ms, seen };
        let answer = match self.device_mut(of).leases.request(&request, holder, memory, now) {
            Ok(grant) => Answer::Promised { lease: grant.id, for_ms: grant.for_ms },
            Err(LeaseError::Outdated { .. }) => Answer::Outdated,
            Err(_) => Answer::Refused,
        };
        self.leases_changed(of);
        answer
    }

    /// Promises were made or ended here: the roster tells.
    pub(super) fn leases_changed(&mut self, of: Index) {
        let run = self.device(of).run;
        if let Some(end) = self.device(of).leases.next_end() {
            self.later(end.0 * 1_000_000, Deed::LeaseEnds { of, run });
        }
        self.running_changed(of);
    }

    pub(super) fn lease_ends(&mut self, of: Index, run: u32) {
        let now = self.boot_clock();
        if self.lives(of, run) && !self.device_mut(of).leases.expire(now).is_empty() {
            self.leases_changed(of);
        }
    }

    pub(super) fn leased(
        &mut self,
        of: Index,
        run: u32,
        by: DeviceId,
        number: usize,
        answer: Answer,
        (seen, why): (LeaseId, Why),
    ) {
        if !self.lives(of, run) {
            return if matches!(why, Why::Submit) {
                self.submitter_down(number)
            };
        }
        let (Some(task), spec, now) = (self.orders[number].task, self.spec(number), self.instant()) else {
            return;
        };
        match answer {
            Answer::Promised { lease, for_ms } => {
                let until = now + std::time::Duration::from_millis(for_ms).min(limits::LEASE);
                let informed = seen != LeaseId::ALL;
                let held = Held { lease, ops: spec.ops, memory_bytes: spec.memory_bytes, informed, until };
                if by != self.device(of).id {
                    self.device_mut(of).book.note(by, task, held, now);
                }
                match why {
                    Why::Submit => self.born(of, by, number),
                    Why::Move(reason) => self.move_promised(of, by, number, reason),
                }
            }
            Answer::Outdated => match why {
                // What it has promised is in the view before it is decided again.
                Why::Submit => {
                    self.orders[number].pending = 1;
                    let turn = self.orders[number].turn;
                    self.ask_now(of, by, Some((number, turn)));
                }
                Why::Move(reason) => self.move_outdated(of, by, number, reason),
            },
            Answer::Refused => {
                let until = self.now + 2_000_000_000;
                self.device_mut(of).refusals.insert((by, task), until);
                match why {
                    Why::Submit => {
                        self.orders[number].refused.insert(by);
                        let turn = self.orders[number].turn;
                        self.place_order(number, run, turn);
                    }
                    Why::Move(_) => self.move_refused(of, number),
                }
            }
        }
    }

    fn not_taken(&mut self, number: usize, of: Index) {
        let text = format!("`{}` is not taken", self.scenario.tasks[number].name);
        self.figures.note(self.now / 1000, "task", Some(of), text.clone());
        self.orders[number].said = Some(text);
        self.at(self.now + AGAIN_NS, What::Submit(number));
    }

    fn submitter_down(&mut self, number: usize) {
        self.orders[number].said = Some("its submitter went down".into());
    }

    /// Room is promised: the task's first record, and its machine.
    fn born(&mut self, of: Index, owner: DeviceId, number: usize) {
        let Some(task) = self.orders[number].task else { return };
        let (spec, order) = (self.spec(number), self.scenario.tasks[number].clone());
        let left = Left { ops: spec.ops, state_bytes: spec.input_bytes, ..Left::default() };
        let (decision, candidates) = self.decide(of, number, left);
        let replicas = order.quorum.map_or(1, |k| k.max(1));
        let holders = self.holders(of, &decision, &candidates, owner, usize::from(replicas));
        let policy = match order.quorum {
            None => Policy::Owner,
            Some(k) if holders.len() < usize::from(k) => return self.not_taken(number, of),
            Some(_) => Policy::Quorum { lease_ms: 1500 },
        };
        let key = self.device(of).key.clone();
        let grant = Hash::of(order.name.as_bytes());
        let stored = Stored { ops_done: 0, bytes: spec.input_bytes, fresh: true, effects: 0 };
        let content =
            stored.content(task, softbus_core::wire::task::ManifestKind::Checkpoint, 0, 0, Some(owner));
        let Ok(base) = manifest::first(&*key, task, "sim-work", grant, policy, owner, &holders, content)
        else {
            return self.not_taken(number, of);
        };
        let setup = self.setup(of, task);
        let submission = Submission {
            task,
            task_type: "sim-work".into(),
            grant,
            policy,
            replicas,
            owner,
            holders,
            base: base.clone(),
            note: String::new(),
        };
        let Ok((machine, actions)) = TaskMachine::submit(setup, submission, self.boot_clock()) else {
            return self.not_taken(number, of);
        };
        let mut side = Side::new(number, machine, self.now);
        side.keep(&base, stored);
        self.device_mut(of).tasks.insert(task, side);
        // Durable when it is told.
        let disk = ns(self.scenario.devices[of as usize].disk.latency);
        self.orders[number].submitted_us = Some((self.now + disk) / 1000);
        self.orders[number].said = None;
        self.carry_out(of, task, actions);
        self.look_at(of, task);
    }

    /// Who keeps its checkpoints: first those that could run it at once, then those that may, know its type and are in
    /// reach.
    fn holders(
        &self,
        _of: Index,
        decision: &Decision,
        candidates: &[Candidate],
        runner: DeviceId,
        count: usize,
    ) -> Vec<DeviceId> {
        let mut chosen: Vec<DeviceId> = able(decision).into_iter().filter(|id| *id != runner).collect();
        for candidate in candidates {
            let reached = candidate.presence == softbus_placement::Presence::Online;
            let typed = candidate
                .profile
                .as_ref()
                .is_some_and(|profile| profile.fixed.task_types.iter().any(|t| t == TASK_TYPE));
            let may = candidate.trust >= Trust::Member;
            if reached && typed && may && candidate.id != runner && !chosen.contains(&candidate.id) {
                chosen.push(candidate.id);
            }
        }
        chosen.truncate(count);
        chosen
    }
}

/// What is left of a piece of work.
#[derive(Default)]
pub(super) struct Left {
    pub ops: u64,
    pub state_bytes: u64,
    pub held_by: Vec<DeviceId>,
    /// It runs on the deciding device for so long.
    pub stayed_us: Option<u64>,
}

/// For what room is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    Submit,
    /// For a move, and who ordered it.
    Move(&'static str),
}

/// What a device says that is asked for room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Promised { lease: LeaseId, for_ms: u64 },
    Outdated,
    Refused,
}

fn none() -> (Decision, Vec<Candidate>) {
    let decision = place(&Work::default(), &[], &Weights::default(), &Preferences::default());
    (decision, Vec::new())
}
