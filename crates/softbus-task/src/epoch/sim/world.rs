//! The world: time, network, and the driver's part of the contract.

mod faults;
mod work;

use std::collections::BTreeMap;

use softbus_core::wire::task::{
    Branch, Certificate, CheckpointRef, EpochBody, EpochMessage, ManifestKind, Policy,
};
use softbus_core::{BootMs, Hash, TaskId};

use super::super::certificate;
use super::super::manifest;
use super::super::{Action, Command, Event, Notice, Setup, Status, Submission, TaskMachine};
use super::Random;
use super::check::Observer;
use super::device::{Clock, Device, Disk, Instance, Key};
use super::schedule::{Fault, Plan};
pub(super) use work::content;

pub(super) const TASK: TaskId = TaskId([9; 16]);
const STEP_US: u64 = 60_000;
const STEPS_PER_CHECKPOINT: u64 = 4;
/// Messages of each device kept for replay.
const REPLAY: usize = 64;

/// More messages than this in two seconds are two devices talking in circles.
const CHATTER: u64 = 4_000;
const CHATTER_SPAN_US: u64 = 2_000_000;

enum What {
    Deliver { from: usize, to: usize, message: EpochMessage },
    Written { device: usize, life: u64, token: u64, fails: bool },
    Wake { device: usize, life: u64, at: BootMs },
    Fetched { device: usize, life: u64, checkpoint: CheckpointRef, source: Option<usize> },
    Warmed { device: usize, life: u64, manifest: Hash },
    Lost { device: usize, life: u64, manifest: Hash, read_to_run: bool },
    Step { device: usize, life: u64, instance: u64 },
    Stop { device: usize, life: u64, instance: u64, discard: bool },
    Presence { device: usize, life: u64 },
    Fault(Fault),
}

pub(super) struct World {
    /// How long each transfer takes, in place of a short while.
    pub(super) slow_fetch_us: Option<u64>,
    pub(super) plan: Plan,
    pub(super) now_us: u64,
    queue: BTreeMap<(u64, u64), What>,
    next_event: u64,
    random: Random,
    pub(super) devices: Vec<Device>,
    split: u8,
    deaf: Vec<(usize, usize)>,
    weather: (u64, u64, u64),
    pub(super) observer: Observer,
    pub(super) broken: Option<String>,
    pub(super) accepted: bool,
    pub(super) statuses: Vec<Option<Status>>,
    pub(super) notices: Vec<(usize, Notice)>,
    next_instance: u64,
    chatter: (u64, u64),
    sent: Vec<Vec<(usize, EpochMessage)>>,
    /// Lines of the story, if wanted.
    pub(super) story: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(plan: Plan, tell: bool) -> Self {
        let mut random = Random(plan.seed);
        let devices = (0..plan.devices)
            .map(|index| {
                let key = Key::of(index);
                Device {
                    id: softbus_core::Signer::id(&*key),
                    key,
                    clock: Clock {
                        drift_ppm: plan.drift_ppm[index],
                        boot_us: 0,
                        start_ms: random.below(100_000),
                    },
                    up: true,
                    frozen_until_us: 0,
                    life: 1,
                    machine: None,
                    disk: Disk::default(),
                    instance: None,
                    trace: None,
                    wake: None,
                    believed_lost: vec![false; plan.devices],
                    slow_disk_us: 5_000,
                    failing_disk: false,
                    let_out: None,
                    draining: false,
                }
            })
            .collect();
        let mut world = Self {
            now_us: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            random,
            devices,
            split: 0,
            deaf: Vec::new(),
            weather: (0, 0, 3),
            slow_fetch_us: None,
            observer: Observer::default(),
            broken: None,
            accepted: false,
            statuses: vec![None; plan.devices],
            notices: Vec::new(),
            next_instance: 0,
            chatter: (0, 0),
            sent: vec![Vec::new(); plan.devices],
            story: tell.then(Vec::new),
            plan,
        };
        world.submit();
        let mut at = 0;
        for (gap, fault) in world.plan.schedule.clone() {
            at += gap * 1000;
            world.at(at, What::Fault(fault));
        }
        for device in 0..world.plan.devices {
            world.at(500_000, What::Presence { device, life: 1 });
        }
        world
    }

    pub(super) fn tell(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.story.is_some() {
            let line = format!("{:>9.3} s  {}", self.now_us as f64 / 1e6, line(self));
            self.story.iter_mut().for_each(|story| story.push(line.clone()));
        }
    }

    fn at(&mut self, at_us: u64, what: What) {
        self.next_event += 1;
        self.queue.insert((at_us.max(self.now_us), self.next_event), what);
    }

    fn after(&mut self, us: u64, what: What) {
        self.at(self.now_us + us, what);
    }

    fn setup(&mut self, device: usize) -> Setup {
        let seed = self.random.next();
        Setup { key: self.devices[device].key.clone(), seed, tuning: self.plan.tuning }
    }

    fn index(&self, id: softbus_core::DeviceId) -> Option<usize> {
        self.devices.iter().position(|device| device.id == id)
    }

    pub(super) fn clock(&self, device: usize) -> BootMs {
        self.devices[device].clock.read(self.now_us)
    }

    fn submit(&mut self) {
        let submitter = self.plan.submitter;
        let n = self.plan.devices;
        let owner = self.random.below(n as u64) as usize;
        let mut holders: Vec<usize> = (0..n).filter(|device| *device != owner).collect();
        holders.truncate(usize::from(self.plan.replicas));
        let holders: Vec<_> = holders.into_iter().map(|device| self.devices[device].id).collect();
        let owner = self.devices[owner].id;
        let policy = if self.plan.quorum { Policy::Quorum { lease_ms: 1500 } } else { Policy::Owner };
        let key = self.devices[submitter].key.clone();
        let content = content(ManifestKind::Checkpoint, 0, &Vec::new());
        let base =
            manifest::first(&*key, TASK, "walk", Hash([1; 32]), policy, owner, &holders, content).unwrap();
        let opened = manifest::open(&base).unwrap();
        let checkpoint = manifest::name(&opened, &base);
        self.observer.states.insert(checkpoint.manifest, Vec::new());
        self.devices[submitter]
            .disk
            .checkpoints
            .insert(checkpoint.manifest, (base.clone(), checkpoint, Vec::new()));
        let submission = Submission {
            task: TASK,
            task_type: "walk".into(),
            grant: Hash([1; 32]),
            policy,
            replicas: self.plan.replicas,
            owner,
            holders,
            base,
            note: String::new(),
        };
        let setup = self.setup(submitter);
        let now = self.clock(submitter);
        let (machine, actions) = TaskMachine::submit(setup, submission, now).unwrap();
        self.devices[submitter].machine = Some(machine);
        self.perform(submitter, actions);
        self.prefer(submitter);
    }

    // --- running ---

    /// Runs until this much world time has passed, or something is broken.
    pub(super) fn run_until(&mut self, until_us: u64) {
        while self.broken.is_none() {
            let Some((&(at, _), _)) = self.queue.first_key_value() else { break };
            if at > until_us {
                break;
            }
            let Some(((at, _), what)) = self.queue.pop_first() else { break };
            self.now_us = at;
            self.happen(what);
            self.check_live();
        }
        self.now_us = self.now_us.max(until_us);
    }

    fn check_live(&mut self) {
        let mut live: Vec<(softbus_core::wire::task::Fence, usize)> = self
            .devices
            .iter()
            .enumerate()
            .filter_map(|(index, device)| device.live(self.now_us).map(|fence| (fence, index)))
            .collect();
        live.sort_unstable();
        for pair in live.windows(2) {
            if pair[0].0.branch == pair[1].0.branch {
                let line = format!("two live: devices {} and {}", pair[0].1, pair[1].1);
                self.broken.get_or_insert(line);
            }
        }
    }

    fn require(&mut self, result: Result<(), String>) {
        if let Err(line) = result {
            self.broken.get_or_insert(line);
        }
    }

    fn happen(&mut self, what: What) {
        // A frozen device takes everything later.
        let whose = match &what {
            What::Deliver { to, .. } => Some(*to),
            What::Written { device, .. }
            | What::Wake { device, .. }
            | What::Fetched { device, .. }
            | What::Warmed { device, .. }
            | What::Lost { device, .. }
            | What::Step { device, .. }
            | What::Stop { device, .. }
            | What::Presence { device, .. } => Some(*device),
            What::Fault(_) => None,
        };
        if let Some(device) = whose
            && self.devices[device].frozen_until_us > self.now_us
        {
            let at = self.devices[device].frozen_until_us;
            return self.at(at, what);
        }
        match what {
            What::Deliver { from, to, message } => self.deliver(from, to, message),
            What::Written { device, life, token, fails } => self.written(device, life, token, fails),
            What::Wake { device, life, at } => {
                let current = &self.devices[device];
                if current.life == life && current.up && current.wake == Some(at) {
                    self.devices[device].wake = None;
                    self.give(device, Event::Tick);
                }
            }
            What::Fetched { device, life, checkpoint, source } => {
                if self.devices[device].life == life && self.devices[device].up {
                    self.fetched(device, checkpoint, source);
                }
            }
            What::Warmed { device, life, manifest } => {
                if self.devices[device].life == life && self.devices[device].up {
                    self.give(device, Event::Warmed { manifest });
                }
            }
            What::Lost { device, life, manifest, read_to_run } => {
                if self.devices[device].life == life && self.devices[device].up {
                    self.lost(device, manifest, read_to_run);
                }
            }
            What::Step { device, life, instance } => self.step(device, life, instance),
            What::Stop { device, life, instance, discard } => self.stopped(device, life, instance, discard),
            What::Presence { device, life } => self.presence(device, life),
            What::Fault(fault) => {
                self.tell(|_| format!("!! {fault:?}"));
                self.fault(fault);
            }
        }
    }

    // --- the driver ---

    pub(super) fn give(&mut self, device: usize, event: Event) {
        if !self.devices[device].up || self.devices[device].machine.is_none() {
            return;
        }
        if !matches!(event, Event::Tick | Event::Message { .. }) {
            self.tell(|_| {
                let text = format!("{event:?}");
                format!("{device} <- {}", text.split_once(['{', '(']).map_or(&*text, |(head, _)| head))
            });
        }
        let now = self.clock(device);
        let actions = self.devices[device].machine.as_mut().unwrap().handle(event, now);
        self.perform(device, actions);
    }

    fn perform(&mut self, device: usize, actions: Vec<Action>) {
        let life = self.devices[device].life;
        for action in actions {
            match action {
                Action::Send { to, message } => self.send(device, to, message),
                Action::Persist { record, token } => {
                    let most = self.devices[device].slow_disk_us;
                    let delay = self.random.between(most / 4, most.max(1));
                    let disk = &mut self.devices[device].disk;
                    let due = (self.now_us + delay).max(disk.last_due_us);
                    disk.last_due_us = due;
                    disk.writing.push_back((token, *record));
                    let fails = self.devices[device].failing_disk;
                    self.at(due, What::Written { device, life, token, fails });
                }
                Action::Run { fence, checkpoint, manifest, until } => {
                    let stored = self.devices[device].disk.checkpoints.get(&checkpoint.manifest).cloned();
                    if self.devices[device].disk.damaged.contains(&checkpoint.manifest) {
                        self.notice(device, checkpoint.manifest, true);
                        continue;
                    }
                    let Some((_, _, history)) = stored.filter(|(signed, _, _)| *signed == *manifest) else {
                        self.broken.get_or_insert(format!("device {device} is to run from what it has not"));
                        continue;
                    };
                    if self.devices[device].instance.is_some() {
                        self.broken.get_or_insert(format!("device {device} is to run twice"));
                    }
                    self.tell(|_| {
                        format!("{device} RUNS epoch {} from {} steps", fence.epoch, history.len())
                    });
                    let let_out = self.devices[device].let_out.take().filter(|(under, _)| *under == fence);
                    if let Some((_, through)) = let_out {
                        let said = &history[..history.len().min(through as usize)];
                        let result = self.observer.release(fence, said);
                        self.require(result);
                    }
                    self.next_instance += 1;
                    let id = self.next_instance;
                    self.devices[device].instance = Some(Instance {
                        id,
                        fence,
                        until,
                        paused: false,
                        stopping: false,
                        destination: None,
                        history,
                        sequence: checkpoint.sequence,
                        steps: 0,
                    });
                    self.after(STEP_US, What::Step { device, life, instance: id });
                }
                Action::Continue { fence } => {
                    self.tell(|_| format!("{device} continues in epoch {}", fence.epoch));
                    self.devices[device].instance.iter_mut().for_each(|instance| instance.fence = fence);
                }
                Action::LeaseUntil { until } => {
                    self.devices[device].instance.iter_mut().for_each(|instance| instance.until = until);
                }
                Action::Pause => {
                    self.tell(|_| format!("{device} pauses"));
                    self.devices[device].instance.iter_mut().for_each(|instance| instance.paused = true);
                }
                Action::Resume { until } => {
                    self.tell(|_| format!("{device} resumes"));
                    let mut steps = None;
                    self.devices[device].instance.iter_mut().for_each(|instance| {
                        instance.paused = false;
                        instance.until = until;
                        if std::mem::take(&mut instance.stopping) {
                            steps = Some(instance.id);
                        }
                    });
                    if let Some(instance) = steps {
                        self.after(STEP_US, What::Step { device, life, instance });
                    }
                }
                // It takes one after each few steps.
                Action::Checkpoint | Action::Share { .. } => {}
                Action::StopAndCheckpoint { destination } => self.stop(device, false, destination),
                Action::Discard => self.stop(device, true, None),
                Action::WakeAt(at) => {
                    self.devices[device].wake = Some(at);
                    if at.0 < u64::MAX / 4 {
                        let late = self.random.below(20_000);
                        let when = self.devices[device].clock.when(at) + late;
                        self.at(when, What::Wake { device, life, at });
                    }
                }
                Action::Fetch { checkpoint, from } => self.fetch(device, checkpoint, from),
                Action::Warm { checkpoint } => {
                    let delay = self.random.between(100, 150_000);
                    self.after(delay, What::Warmed { device, life, manifest: checkpoint.manifest });
                }
                Action::ReleaseEffects { fence, through } => self.release(device, fence, through),
                Action::Keep { manifests } => {
                    let disk = &mut self.devices[device].disk;
                    disk.checkpoints.retain(|hash, _| manifests.contains(hash));
                    disk.damaged.retain(|hash| manifests.contains(hash));
                }
                Action::Notify(notice) => self.noticed(device, notice),
            }
        }
    }

    /// A decision exists once a record of it is durable, or someone hears of it.
    fn observe(&mut self, links: &[Certificate]) {
        for certificate in links {
            let branch = match certificate {
                Certificate::Root(root) => certificate::parse_decree(&root.body)
                    .map(|decree| Branch { fork: decree.branch.fork, root: root.hash() }),
                Certificate::Voted { decree, .. } => {
                    certificate::parse_decree(decree).map(|decree| decree.branch)
                }
            };
            let Ok(branch) = branch else { continue };
            let known = self.observer.decided.len();
            let result = self.observer.certificate(branch, certificate);
            if self.observer.decided.len() > known {
                self.tell(|world| {
                    let decree = certificate::parse_decree(certificate.decree_bytes()).unwrap();
                    let owner = world.index(decree.owner).unwrap();
                    format!(
                        "== epoch {} decided: {:?}, owner {owner}, {:?}",
                        decree.epoch, decree.why, decree.outcome
                    )
                });
            }
            self.require(result);
        }
    }

    fn noticed(&mut self, device: usize, notice: Notice) {
        match &notice {
            Notice::Status(status) => {
                self.tell(|_| format!("{device} is {status:?}"));
                self.statuses[device] = Some(status.clone());
            }
            Notice::Accepted => self.accepted = true,
            Notice::Covered { checkpoint, .. } => {
                let branch = self.devices[device].machine.as_ref().unwrap().branch();
                let result = self.observer.cover(branch, *checkpoint);
                self.tell(|_| format!("{device} covers #{}", checkpoint.sequence));
                self.require(result);
            }
            other => self.tell(|_| format!("{device} says {other:?}")),
        }
        if self.notices.len() < 10_000 {
            self.notices.push((device, notice));
        }
    }

    fn release(&mut self, device: usize, fence: softbus_core::wire::task::Fence, through: u64) {
        let held = self.devices[device].machine.as_ref().unwrap().record().held.clone();
        if held.is_none() {
            // It is lost just now; once it is got anew, what it says leaves.
            self.devices[device].let_out = Some((fence, through));
            return;
        }
        let history = held.and_then(|held| self.observer.states.get(&held.checkpoint.manifest).cloned());
        let Some(said) = history.as_deref().and_then(|history| history.get(..through as usize)) else {
            self.broken.get_or_insert(format!("device {device} releases {through} effects it does not have"));
            return;
        };
        let result = self.observer.release(fence, said);
        self.require(result);
    }

    // --- the network ---

    fn reaches(&self, from: usize, to: usize) -> bool {
        (self.split >> from) & 1 == (self.split >> to) & 1 && !self.deaf.contains(&(from, to))
    }

    fn send(&mut self, from: usize, to: softbus_core::DeviceId, message: EpochMessage) {
        let Some(to) = self.index(to) else {
            self.broken.get_or_insert("a message to nobody".into());
            return;
        };
        // What is sent must have a form on the wire.
        let bytes = softbus_core::encode(&message).unwrap();
        assert_eq!(softbus_core::decode::<EpochMessage>(&bytes).unwrap(), message);
        if let EpochBody::Chain { links } = &message.body {
            self.observe(links);
        }
        if self.now_us / CHATTER_SPAN_US != self.chatter.0 {
            self.chatter = (self.now_us / CHATTER_SPAN_US, 0);
        }
        self.chatter.1 += 1;
        if self.chatter.1 > CHATTER {
            self.broken.get_or_insert(format!("{CHATTER} messages in two seconds"));
        }
        if self.sent[from].len() < REPLAY {
            self.sent[from].push((to, message.clone()));
        }
        let (loss, double, delay_ms) = self.weather;
        if !self.reaches(from, to) || self.random.permille(loss) {
            return self.tell(|_| format!("{from} -x {to} {}", message.name()));
        }
        let copies = 1 + u64::from(self.random.permille(double));
        for _ in 0..copies {
            let delay = 200 + self.random.below(delay_ms * 1000);
            self.after(delay, What::Deliver { from, to, message: message.clone() });
        }
    }

    fn deliver(&mut self, from: usize, to: usize, message: EpochMessage) {
        if !self.devices[to].up || !self.reaches(from, to) {
            return;
        }
        self.tell(|_| format!("{from} -> {to} {}", message.name()));
        let sender = self.devices[from].id;
        if self.devices[to].machine.is_some() {
            return self.give(to, Event::Message { from: sender, message });
        }
        match message.body {
            EpochBody::Chain { links } if matches!(links.first(), Some(Certificate::Root(_))) => {
                let setup = self.setup(to);
                let now = self.clock(to);
                let trace = self.devices[to].trace.clone();
                let joined = TaskMachine::join(setup, sender, links, trace.as_ref(), now);
                if let Ok((machine, actions)) = joined {
                    self.devices[to].machine = Some(machine);
                    self.perform(to, actions);
                    self.prefer(to);
                }
            }
            EpochBody::AskChain => {}
            _ => self.send(to, sender, EpochMessage::ask(TASK)),
        }
    }

    fn presence(&mut self, device: usize, life: u64) {
        if self.devices[device].life != life || !self.devices[device].up {
            return;
        }
        let mut changed = false;
        for peer in (0..self.plan.devices).filter(|peer| *peer != device) {
            let lost = !self.devices[peer].up || !self.reaches(device, peer) || !self.reaches(peer, device);
            if lost != self.devices[device].believed_lost[peer] {
                self.devices[device].believed_lost[peer] = lost;
                changed = true;
                let peer = self.devices[peer].id;
                self.give(device, if lost { Event::PeerLost { peer } } else { Event::PeerBack { peer } });
            }
        }
        if changed {
            self.prefer(device);
        }
        let delay = 700_000 + self.random.below(600_000);
        self.after(delay, What::Presence { device, life });
    }

    fn prefer(&mut self, device: usize) {
        let mut devices: Vec<usize> =
            (0..self.plan.devices).filter(|peer| !self.devices[device].believed_lost[*peer]).collect();
        let shift = (self.plan.seed % 7) as usize % devices.len().max(1);
        devices.rotate_left(shift);
        // Sometimes a device may hold, but not run.
        if self.plan.seed.is_multiple_of(3) && devices.len() > 2 {
            devices.retain(|peer| *peer != self.plan.devices - 1);
        }
        let devices = devices.into_iter().map(|peer| self.devices[peer].id).collect();
        self.give(device, Event::Preference { devices });
    }
}
