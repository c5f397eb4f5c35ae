//! Tasks on a device: an epoch machine for each, driven as the task room's driver drives it, over modelled messages, disks
//! and transfers.

use std::collections::{BTreeMap, BTreeSet};

use softbus_core::wire::roster::Gossip;
use softbus_core::wire::task::{Certificate, CheckpointRef, EpochBody, EpochMessage, ManifestKind};
use softbus_core::{BootMs, DeviceId, Hash, Signed, TaskId};
use softbus_placement::LeaseId;
use softbus_task::epoch::manifest::Content;
use softbus_task::epoch::{Action, Durable, Event, Notice, Setup, Status, TaskMachine, Tuning, manifest};

use super::draw::hash;
use super::order::{Answer, JOB_NS, Why};
use super::running::Instance;
use super::ways::ns;
use super::world::{Index, NEVER, What, World};

/// A state travels in pieces of this size.
pub(super) const CHUNK: u64 = 64 << 10;
/// A channel for the words of epochs ends when nothing was said for so long.
const CHANNEL_KEPT_NS: u64 = 60_000_000_000;

/// What may come next of tasks.
pub(super) enum Deed {
    AskAround {
        number: usize,
        run: u32,
    },
    Place {
        number: usize,
        run: u32,
        turn: u32,
    },
    AskNow {
        from: Index,
        from_run: u32,
        to: DeviceId,
        then: Option<(usize, u32)>,
    },
    AskedNow {
        from: Index,
        from_run: u32,
        to: Index,
        to_run: u32,
        then: Option<(usize, u32)>,
    },
    ToldNow {
        by: DeviceId,
        to: Index,
        to_run: u32,
        answer: Box<Gossip>,
        then: Option<(usize, u32)>,
    },
    AskRoom {
        from: Index,
        from_run: u32,
        to: DeviceId,
        number: usize,
        seen: LeaseId,
        why: Why,
    },
    Room {
        from: Index,
        from_run: u32,
        to: Index,
        to_run: u32,
        number: usize,
        seen: LeaseId,
        why: Why,
    },
    Leased {
        of: Index,
        run: u32,
        by: DeviceId,
        number: usize,
        answer: Answer,
        seen: LeaseId,
        why: Why,
    },
    LeaseEnds {
        of: Index,
        run: u32,
    },
    Say {
        from: Index,
        from_run: u32,
        to: DeviceId,
        message: EpochMessage,
    },
    Hear {
        from: Index,
        to: Index,
        to_run: u32,
        message: EpochMessage,
    },
    Written {
        of: Index,
        run: u32,
        task: TaskId,
        token: u64,
        record: Box<Durable>,
    },
    Wake {
        of: Index,
        run: u32,
        task: TaskId,
        at: u64,
    },
    Fetched {
        of: Index,
        run: u32,
        task: TaskId,
        checkpoint: CheckpointRef,
        source: Option<Index>,
    },
    Warmed {
        of: Index,
        run: u32,
        task: TaskId,
        manifest: Hash,
    },
    Begin {
        of: Index,
        run: u32,
        task: TaskId,
        instance: u64,
    },
    /// The cores of a device have done some work.
    Cores {
        of: Index,
        run: u32,
        version: u64,
    },
    Save {
        of: Index,
        run: u32,
        task: TaskId,
        instance: u64,
    },
    Saved {
        of: Index,
        run: u32,
        task: TaskId,
        instance: u64,
        stored: Stored,
    },
    Halt {
        of: Index,
        run: u32,
        task: TaskId,
        instance: u64,
        discard: bool,
    },
    Halted {
        of: Index,
        run: u32,
        task: TaskId,
        instance: u64,
    },
    Over {
        of: Index,
        run: u32,
        task: TaskId,
        instance: u64,
    },
    LookAll {
        of: Index,
        run: u32,
    },
    Result {
        number: usize,
        of: Index,
        run: u32,
    },
    Move {
        number: usize,
        to: Option<Index>,
    },
    MoveHere {
        of: Index,
        run: u32,
        number: usize,
        to: Option<DeviceId>,
        tries: u32,
    },
}

/// A checkpoint as it lies on a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub ops_done: u64,
    pub bytes: u64,
    /// It is the input, and no state.
    pub fresh: bool,
    pub effects: u64,
}

impl Stored {
    /// What its manifest says.
    pub fn content(
        &self,
        task: TaskId,
        kind: ManifestKind,
        sequence: u64,
        permille: u16,
        destination: Option<DeviceId>,
    ) -> Content {
        let mut bytes = task.0.to_vec();
        bytes.extend_from_slice(&self.ops_done.to_le_bytes());
        bytes.extend_from_slice(&sequence.to_le_bytes());
        Content {
            kind,
            sequence,
            state_version: 1,
            root: Hash::of(&bytes),
            chunks: u32::try_from(self.bytes.div_ceil(CHUNK)).unwrap_or(u32::MAX),
            bytes: self.bytes,
            effects: self.effects,
            progress_permille: permille,
            destination,
        }
    }
}

/// A task on one device.
pub(super) struct Side {
    pub number: usize,
    /// `None` while the device is off.
    pub machine: Option<TaskMachine>,
    /// As it lies on the disk.
    pub record: Option<Box<Durable>>,
    pub checkpoints: BTreeMap<Hash, (Signed, CheckpointRef, Stored)>,
    pub instance: Option<Instance>,
    wake: u64,
    pub fetching: BTreeSet<Hash>,
    pub present: BTreeMap<DeviceId, bool>,
    pub preference: Vec<DeviceId>,
    /// Effects up to this one have left.
    pub released: u64,
    /// A move is being prepared.
    pub asking: bool,
    pub looked: u64,
    status: Option<Status>,
    pub told_done: bool,
}

impl Side {
    pub fn new(number: usize, machine: TaskMachine, now: u64) -> Self {
        Self {
            number,
            machine: Some(machine),
            record: None,
            checkpoints: BTreeMap::new(),
            instance: None,
            wake: NEVER,
            fetching: BTreeSet::new(),
            present: BTreeMap::new(),
            preference: Vec::new(),
            released: 0,
            asking: false,
            looked: now,
            status: None,
            told_done: false,
        }
    }

    /// A checkpoint is durable here.
    pub fn keep(&mut self, signed: &Signed, stored: Stored) {
        if let Ok(opened) = manifest::open(signed) {
            let name = manifest::name(&opened, signed);
            self.checkpoints.insert(name.manifest, (signed.clone(), name, stored));
        }
    }

    pub fn newest(&self) -> Option<Stored> {
        self.checkpoints.values().max_by_key(|(_, name, _)| *name).map(|(_, _, stored)| *stored)
    }

    pub fn off(&mut self) {
        (self.machine, self.instance, self.wake) = (None, None, NEVER);
        self.fetching.clear();
        self.present.clear();
        self.preference.clear();
        (self.asking, self.status) = (false, None);
    }
}

impl World {
    pub(super) fn later(&mut self, at: u64, deed: Deed) {
        self.at(at, What::Deed(Box::new(deed)));
    }

    pub(super) fn setup(&self, of: Index, task: TaskId) -> Setup {
        let device = self.device(of);
        let mut low = [0; 8];
        low.copy_from_slice(&task.0[..8]);
        let seed = hash(self.seed, &[u64::from(of), u64::from(device.run), u64::from_le_bytes(low)]);
        Setup { key: device.key.clone(), seed, tuning: Tuning::default() }
    }

    pub(super) fn disk_ns(&self, of: Index) -> u64 {
        ns(self.scenario.devices[of as usize].disk.latency)
    }

    /// Gives a task's machine an event, and does what it says.
    pub(super) fn feed(&mut self, of: Index, task: TaskId, event: Event) {
        let now = self.boot_clock();
        let Some(side) = self.device_mut(of).tasks.get_mut(&task) else { return };
        let Some(machine) = &mut side.machine else { return };
        let actions = machine.handle(event, now);
        self.carry_out(of, task, actions);
    }

    pub(super) fn carry_out(&mut self, of: Index, task: TaskId, actions: Vec<Action>) {
        let run = self.device(of).run;
        let mut events = Vec::new();
        for action in actions {
            match action {
                Action::Send { to, message } => {
                    self.when_linked(of, to, Deed::Say { from: of, from_run: run, to, message });
                }
                Action::Persist { record, token } => {
                    let at = self.now + self.disk_ns(of);
                    self.later(at, Deed::Written { of, run, task, token, record });
                }
                Action::Run { fence, checkpoint, until, .. } => {
                    if !self.start_instance(of, task, fence, checkpoint, until) {
                        events.push(Event::Lost { manifest: checkpoint.manifest });
                        events.push(Event::Stopped { last: None });
                    }
                }
                Action::Continue { fence } => self.with_instance(of, task, |i| i.fence = fence),
                Action::LeaseUntil { until } => self.lease_until(of, task, until),
                Action::Pause => self.pause(of, task, true, None),
                Action::Resume { until } => self.pause(of, task, false, Some(until)),
                // Only states of many MiB are sent ahead in many rounds.
                Action::Checkpoint | Action::Share { .. } => {}
                Action::StopAndCheckpoint { .. } => {
                    if !self.halt(of, task, false) {
                        events.push(Event::Stopped { last: None });
                    }
                }
                Action::Discard => {
                    if !self.halt(of, task, true) {
                        events.push(Event::Stopped { last: None });
                    }
                }
                Action::WakeAt(at) => self.wake_at(of, task, at),
                Action::Fetch { checkpoint, from } => {
                    if let Some(here) = self.fetch(of, task, checkpoint, from) {
                        events.push(Event::Fetched { manifest: here });
                    }
                }
                Action::Warm { checkpoint } => {
                    // Put together in a job of a core, and with a read of the disk.
                    let at = self.now + JOB_NS + self.disk_ns(of);
                    self.later(at, Deed::Warmed { of, run, task, manifest: checkpoint.manifest });
                }
                Action::ReleaseEffects { through, .. } => {
                    if let Some(side) = self.device_mut(of).tasks.get_mut(&task) {
                        side.released = side.released.max(through);
                    }
                    self.effects_left(of, task);
                }
                Action::Keep { manifests } => {
                    if let Some(side) = self.device_mut(of).tasks.get_mut(&task) {
                        side.checkpoints.retain(|hash, _| manifests.contains(hash));
                    }
                }
                Action::Notify(notice) => self.noticed(of, task, notice),
            }
        }
        for event in events {
            self.feed(of, task, event);
        }
    }

    fn noticed(&mut self, of: Index, task: TaskId, notice: Notice) {
        let now_us = self.now / 1000;
        let Some(side) = self.device_mut(of).tasks.get_mut(&task) else { return };
        let number = side.number;
        match notice {
            Notice::Accepted => {
                let order = &mut self.orders[number];
                order.accepted_us.get_or_insert(now_us);
            }
            Notice::Status(status) => {
                let done = matches!(status, Status::Done { .. });
                side.status = Some(status);
                if done && !std::mem::replace(&mut side.told_done, true) {
                    self.is_done(of, number);
                }
            }
            Notice::Moved { .. } | Notice::MoveAborted { .. } => side.asking = false,
            _ => {}
        }
    }

    /// The submitter knows that it is done: it gets the result from whoever has it.
    fn is_done(&mut self, of: Index, number: usize) {
        if self.by_name.get(&self.scenario.tasks[number].from) != Some(&of) {
            return;
        }
        let Some(task) = self.orders[number].task else { return };
        let run = self.device(of).run;
        let Some(side) = self.device(of).tasks.get(&task) else { return };
        let Some(machine) = &side.machine else { return };
        let result = machine.decree().base;
        let here = side.checkpoints.contains_key(&result.manifest);
        let sources: Vec<DeviceId> = machine.decree().members();
        let source = sources.iter().filter_map(|id| self.by_id.get(id)).copied().find(|source| {
            *source != of
                && self.device(*source).is_up()
                && self.ways.open(self.place(of), self.place(*source))
        });
        let way = match source {
            _ if here => 0,
            Some(source) => 6 * self.ways.latency_ns(self.device(of).segment, self.device(source).segment),
            None => 500_000_000,
        };
        self.later(self.now + way, Deed::Result { number, of, run });
    }

    pub(super) fn result(&mut self, number: usize, of: Index, run: u32) {
        if self.lives(of, run) && self.orders[number].done_us.is_none() {
            self.orders[number].done_us = Some(self.now / 1000);
        }
    }

    fn wake_at(&mut self, of: Index, task: TaskId, at: BootMs) {
        let run = self.device(of).run;
        let at = at.0.saturating_mul(1_000_000).max(self.now);
        let Some(side) = self.device_mut(of).tasks.get_mut(&task) else { return };
        side.wake = at;
        if at < NEVER {
            self.later(at, Deed::Wake { of, run, task, at });
        }
    }

    pub(super) fn woken(&mut self, of: Index, run: u32, task: TaskId, at: u64) {
        if !self.lives(of, run) {
            return;
        }
        let Some(side) = self.device_mut(of).tasks.get_mut(&task) else { return };
        if side.wake == at {
            side.wake = NEVER;
            self.feed(of, task, Event::Tick);
        }
    }

    pub(super) fn written(&mut self, of: Index, run: u32, task: TaskId, token: u64, record: Box<Durable>) {
        if !self.lives(of, run) {
            return;
        }
        if let Some(side) = self.device_mut(of).tasks.get_mut(&task) {
            side.record = Some(record);
        }
        self.feed(of, task, Event::Persisted { token });
    }

    // --- messages ---

    pub(super) fn say(&mut self, from: Index, from_run: u32, id: DeviceId, message: EpochMessage) {
        let Some(to) = self.by_id.get(&id).copied().filter(|_| self.lives(from, from_run)) else { return };
        let bytes = match &message.body {
            EpochBody::Chain { links } => 200 + 700 * links.len() as u64,
            _ => 250,
        };
        let now = self.now;
        let opening = 2 * self.ways.latency_ns(self.device(from).segment, self.device(to).segment);
        let Some(peer) = self.device_mut(from).peer_mut(&id) else { return };
        // They go on one channel, which is opened for the first and kept as long as there are more.
        let (fresh, opened) =
            (peer.channel != peer.current || now > peer.spoke + CHANNEL_KEPT_NS, now + opening);
        if fresh {
            (peer.channel, peer.channel_open) = (peer.current, opened);
        }
        peer.spoke = now;
        let wait = peer.channel_open.saturating_sub(now);
        if let Some(at) = self.arrival_on_link(from, to, bytes) {
            let to_run = self.device(to).run;
            let at = at + wait;
            if let Some(peer) = self.device_mut(from).peer_mut(&id) {
                peer.last_due = peer.last_due.max(at);
            }
            self.later(at, Deed::Hear { from, to, to_run, message });
        }
    }

    pub(super) fn hear(&mut self, from: Index, to: Index, to_run: u32, message: EpochMessage) {
        if !self.lives(to, to_run) || !self.ways.open(self.place(from), self.place(to)) {
            return;
        }
        let (sender, task, now, at) = (self.device(from).id, message.task, self.boot_clock(), self.now);
        if let Some(peer) = self.device_mut(to).peer_mut(&sender) {
            (peer.heard, peer.used) = (at, at);
        }
        if self.device(to).tasks.contains_key(&task) {
            return self.feed(to, task, Event::Message { from: sender, message });
        }
        let Some(number) = self.number_of.get(&task).copied() else { return };
        match message.body {
            EpochBody::Chain { links } if matches!(links.first(), Some(Certificate::Root(_))) => {
                let setup = self.setup(to, task);
                if let Ok((machine, actions)) = TaskMachine::join(setup, sender, links, None, now) {
                    self.device_mut(to).tasks.insert(task, Side::new(number, machine, at));
                    self.carry_out(to, task, actions);
                    self.look_at(to, task);
                }
            }
            EpochBody::AskChain | EpochBody::Cancelled | EpochBody::Ack { .. } => {}
            _ => {
                let to_run = self.device(to).run;
                let message = EpochMessage::ask(task);
                self.when_linked(to, sender, Deed::Say { from: to, from_run: to_run, to: sender, message });
            }
        }
    }

    /// Tasks go on where they were on the disk.
    pub(super) fn restore_tasks(&mut self, of: Index) {
        let tasks: Vec<TaskId> = self.device(of).tasks.keys().copied().collect();
        for task in tasks {
            let (setup, now) = (self.setup(of, task), self.boot_clock());
            let Some(record) = self.device(of).tasks.get(&task).and_then(|side| side.record.clone()) else {
                // Nothing of it was durable.
                self.device_mut(of).tasks.remove(&task);
                continue;
            };
            let Ok((machine, actions)) = TaskMachine::restore(setup, *record, now) else { continue };
            if let Some(side) = self.device_mut(of).tasks.get_mut(&task) {
                side.machine = Some(machine);
            }
            self.carry_out(of, task, actions);
            self.look_at(of, task);
        }
    }
}

/// Progress in thousandths.
pub(super) fn permille(done: u64, of: u64) -> u16 {
    let permille = u128::from(done) * 1000 / u128::from(of.max(1));
    u16::try_from(permille.min(1000)).unwrap_or(1000)
}
