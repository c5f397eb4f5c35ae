//! The epoch machine, under what the other devices of a task may say to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::task::{EpochBody, EpochMessage, ManifestKind, Policy};
use softbus_core::{BootMs, DeviceId, Domain, Hash, Signed, decode, encode};
use softbus_task::epoch::{
    Action, Command, Durable, Event, Setup, Submission, TaskMachine, Tuning, manifest,
};

use super::task::sign_again;
use super::wire::epoch_bodies;
use super::{TASK, hash, id, key};
use crate::Target;

/// The script's first byte names the policy. Then each step is one byte for what happens, and what belongs to it; a
/// message: who sent it, its length (two bytes), its envelope. Signatures in it are made anew.
pub const MACHINE: Target = Target { name: "epoch-machine", run: machine, cost: 200, seeds: scripts };

/// What happens to the machine of device 1.
#[derive(Clone)]
enum Step {
    Message(u8, Vec<u8>),
    Time(u8),
    Move,
    Checkpoint,
    Finished,
    Failed,
    Lost(u8),
    Back(u8),
    Drain,
}

impl Step {
    fn read(script: &mut &[u8]) -> Option<Self> {
        let (&what, rest) = script.split_first()?;
        let (&with, rest) = rest.split_first()?;
        *script = rest;
        Some(match what % 9 {
            0 => {
                let (len, rest) = rest.split_first_chunk::<2>()?;
                let (bytes, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
                *script = rest;
                Self::Message(with, bytes.to_vec())
            }
            1 => Self::Time(with),
            2 => Self::Move,
            3 => Self::Checkpoint,
            4 => Self::Finished,
            5 => Self::Failed,
            6 => Self::Lost(with),
            7 => Self::Back(with),
            _ => Self::Drain,
        })
    }

    fn write(&self, script: &mut Vec<u8>) {
        match self {
            Self::Message(from, bytes) => {
                script.extend([0, *from]);
                script.extend((bytes.len() as u16).to_le_bytes());
                script.extend(bytes);
            }
            Self::Time(tens) => script.extend([1, *tens]),
            Self::Move => script.extend([2, 0]),
            Self::Checkpoint => script.extend([3, 0]),
            Self::Finished => script.extend([4, 0]),
            Self::Failed => script.extend([5, 0]),
            Self::Lost(n) => script.extend([6, *n]),
            Self::Back(n) => script.extend([7, *n]),
            Self::Drain => script.extend([8, 0]),
        }
    }
}

/// A machine and a driver that does what it says.
struct Node {
    n: u8,
    machine: TaskMachine,
    sequence: u64,
    /// Where manifests lie that can be fetched.
    known: BTreeMap<Hash, Signed>,
    record: Option<Box<Durable>>,
    sent: Vec<(DeviceId, EpochMessage)>,
}

/// Actions of one event that are carried out: a machine that talks to itself without end is stopped.
const ACTIONS: usize = 200;

fn setup(n: u8) -> Setup {
    Setup { key: Arc::new(key(n)), seed: u64::from(n), tuning: Tuning::default() }
}

fn content(kind: ManifestKind, sequence: u64, destination: Option<DeviceId>) -> manifest::Content {
    manifest::Content {
        kind,
        sequence,
        state_version: 1,
        root: hash(5),
        chunks: 1,
        bytes: 9,
        effects: 0,
        progress_permille: 100,
        destination,
    }
}

impl Node {
    /// Device 1 submits a task to itself, with two holders.
    fn submit(policy: Policy) -> Option<Self> {
        let holders = vec![id(2), id(3)];
        let first = content(ManifestKind::Checkpoint, 0, None);
        let base =
            manifest::first(&key(1), TASK, "picture/1", hash(6), policy, id(1), &holders, first).ok()?;
        let submission = Submission {
            task: TASK,
            task_type: "picture/1".into(),
            grant: hash(6),
            policy,
            replicas: 2,
            owner: id(1),
            holders,
            base: base.clone(),
            note: String::new(),
        };
        let (machine, actions) = TaskMachine::submit(setup(1), submission, BootMs(1000)).ok()?;
        let known = BTreeMap::from([(base.hash(), base)]);
        let mut node = Self { n: 1, machine, sequence: 0, known, record: None, sent: Vec::new() };
        node.act(actions, BootMs(1000));
        Some(node)
    }

    fn handle(&mut self, event: Event, now: BootMs) {
        let actions = self.machine.handle(event, now);
        self.act(actions, now);
    }

    /// A checkpoint of the running task as it is now.
    fn checkpoint(&mut self, kind: ManifestKind, destination: Option<DeviceId>) -> Option<Signed> {
        self.sequence += 1;
        let content = content(kind, self.sequence, destination);
        let signed =
            manifest::next(&key(self.n), self.machine.branch(), self.machine.decree(), content).ok()?;
        self.known.insert(signed.hash(), signed.clone());
        Some(signed)
    }

    fn act(&mut self, actions: Vec<Action>, now: BootMs) {
        let mut queue = std::collections::VecDeque::from(actions);
        for _ in 0..ACTIONS {
            let Some(action) = queue.pop_front() else { return };
            let event = match action {
                Action::Send { to, message } => {
                    assert!(encode(&message).is_ok() && message.within_limits(), "says too much");
                    self.sent.push((to, message));
                    continue;
                }
                Action::Persist { record, token } => {
                    self.record = Some(record);
                    Event::Persisted { token }
                }
                Action::StopAndCheckpoint { destination } => {
                    Event::Stopped { last: self.checkpoint(ManifestKind::Checkpoint, destination) }
                }
                Action::Discard => Event::Stopped { last: None },
                Action::Warm { checkpoint } => Event::Warmed { manifest: checkpoint.manifest },
                Action::Fetch { checkpoint, .. } => match self.known.get(&checkpoint.manifest) {
                    Some(manifest) => Event::Fetched { manifest: manifest.clone() },
                    None => Event::FetchFailed { manifest: checkpoint.manifest, ours: false },
                },
                _ => continue,
            };
            queue.extend(self.machine.handle(event, now));
        }
    }

    fn step(&mut self, step: Step, now: &mut BootMs) {
        let event = match step {
            Step::Time(tens) => {
                *now = now.after(Duration::from_millis(u64::from(tens) * 10));
                Event::Tick
            }
            Step::Message(from, bytes) => {
                let from = 1 + from % 4;
                let Ok(mut message) = decode::<EpochMessage>(&bytes) else { return };
                sign_all_again(&mut message.body);
                match &message.body {
                    EpochBody::Offer { manifest } | EpochBody::Prepare { manifest, .. } => {
                        self.known.insert(manifest.hash(), manifest.clone());
                    }
                    _ => {}
                }
                Event::Message { from: id(from), message }
            }
            Step::Move => Event::Command(Command::MoveTo { destination: id(2), note: "closer".into() }),
            Step::Drain => Event::Command(Command::Drain),
            Step::Checkpoint => match self.checkpoint(ManifestKind::Checkpoint, None) {
                Some(manifest) => Event::Checkpoint { manifest },
                None => return,
            },
            Step::Finished => match self.checkpoint(ManifestKind::Result, None) {
                Some(result) => Event::Finished { result },
                None => return,
            },
            Step::Failed => Event::Failed { error: "it crashed".into() },
            Step::Lost(n) => Event::PeerLost { peer: id(1 + n % 4) },
            Step::Back(n) => Event::PeerBack { peer: id(1 + n % 4) },
        };
        self.handle(event, *now);
    }
}

fn sign_all_again(body: &mut EpochBody) {
    match body {
        EpochBody::Offer { manifest } | EpochBody::Prepare { manifest, .. } => {
            sign_again(manifest, Domain::MANIFEST);
        }
        EpochBody::Voted { vote } => sign_again(vote, Domain::EPOCH),
        EpochBody::Cancel { order } => sign_again(order, Domain::GRANT),
        // A chain that began elsewhere is another task's.
        _ => {}
    }
}

fn policy(byte: u8) -> Policy {
    if byte.is_multiple_of(2) { Policy::Owner } else { Policy::Quorum { lease_ms: 2000 } }
}

fn machine(script: &[u8]) -> bool {
    let Some((&first, mut script)) = script.split_first() else { return false };
    let Some(mut node) = Node::submit(policy(first)) else { return false };
    let (mut now, mut steps) = (BootMs(1000), 0);
    while let Some(step) = Step::read(&mut script) {
        node.step(step, &mut now);
        node.sent.clear();
        steps += 1;
    }
    // What it remembers brings it back, and is read as it was written.
    if let Some(record) = &node.record {
        let bytes = record.to_bytes().unwrap_or_default();
        let read = Durable::from_bytes(&bytes);
        assert_eq!(read.as_ref().ok(), Some(&**record), "a record changed on the disk");
        let again = TaskMachine::restore(setup(1), (**record).clone(), now);
        assert!(again.is_ok(), "its own record does not bring it back");
    }
    steps > 3
}

/// Three devices and a task: what device 1 hears while it runs, moves and goes on.
fn home(first: u8) -> Option<(Vec<u8>, Node, BootMs)> {
    let mut nodes = vec![Node::submit(policy(first))?];
    let (mut now, mut heard) = (BootMs(1000), vec![first]);
    for round in 0..14 {
        let own = match round {
            2 => Some(Step::Checkpoint),
            4 => Some(Step::Move),
            _ => None,
        };
        for step in own.into_iter().chain([Step::Time(5)]) {
            step.write(&mut heard);
            nodes[0].step(step, &mut now);
        }
        for node in nodes.iter_mut().skip(1) {
            node.handle(Event::Tick, now);
        }
        for _ in 0..40 {
            let Some((from, to, message)) = nodes.iter_mut().find_map(|node| {
                (!node.sent.is_empty())
                    .then(|| node.sent.remove(0))
                    .map(|(to, message)| (node.n, to, message))
            }) else {
                break;
            };
            let known: BTreeMap<Hash, Signed> = nodes.iter().flat_map(|node| node.known.clone()).collect();
            let n = (1..=3).find(|n| id(*n) == to)?;
            match (nodes.iter_mut().find(|node| node.n == n), &message.body) {
                (Some(node), _) => {
                    node.known = known;
                    if n == 1 {
                        Step::Message(from - 1, encode(&message).ok()?).write(&mut heard);
                    }
                    node.handle(Event::Message { from: id(from), message }, now);
                }
                (None, EpochBody::Chain { links }) => {
                    let (machine, actions) =
                        TaskMachine::join(setup(n), id(from), links.clone(), None, now).ok()?;
                    let mut node = Node { n, machine, sequence: 0, known, record: None, sent: Vec::new() };
                    node.act(actions, now);
                    nodes.push(node);
                }
                (None, _) => {}
            }
        }
    }
    Some((heard, nodes.swap_remove(0), now))
}

fn scripts() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for first in [0, 1] {
        let Some((heard, node, _)) = home(first) else { continue };
        // Everything a device could say, about this epoch, an old one and one that never comes.
        let mut hostile = heard.clone();
        for epoch in [node.machine.decree().epoch.0, 1, 0, u64::MAX] {
            for body in epoch_bodies() {
                let branch = node.machine.branch();
                let message = EpochMessage { task: TASK, branch, epoch: softbus_core::Epoch(epoch), body };
                if let Ok(bytes) = encode(&message) {
                    Step::Message(1, bytes).write(&mut hostile);
                }
            }
            Step::Time(255).write(&mut hostile);
        }
        let mut ends = heard.clone();
        for step in [
            Step::Lost(1),
            Step::Failed,
            Step::Time(255),
            Step::Failed,
            Step::Back(1),
            Step::Checkpoint,
            Step::Finished,
            Step::Drain,
            Step::Time(255),
        ] {
            step.write(&mut ends);
        }
        seeds.extend([heard, hostile, ends]);
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_of_the_seeds_moves_its_task() {
        for first in [0, 1] {
            let (_, node, _) = home(first).unwrap();
            assert!(node.machine.decree().epoch.0 >= 2, "policy {first}: no epoch was decided");
            assert_eq!(node.machine.decree().owner, id(2));
        }
    }
}
