//! `task/1` apart from epochs: what a task is, who may do what with it, its status, and how the pieces of
//! its state travel.
//!
//! A channel of `task/1` begins with one envelope, whose kind says what the channel is for:
//!
//! | first message | then |
//! | --- | --- |
//! | [`Request`] | one [`Reply`] back |
//! | [`Watch`] | [`WatchNote`]s back, until one side closes |
//! | [`Fetch`] | [`Offer`] and [`ImagePart`]s back; then, until the fetcher has all, [`Want`]s there and [`Piece`]s back, each followed by its raw bytes |
//! | [`FetchContent`] | [`ContentOffer`] back, followed by its raw bytes |
//! | [`EpochNote`] | more of them, one way |

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::task::{Certificate, Fence};
use crate::{CircleId, DeviceId, Domain, Epoch, Hash, Message, QoS, Signed, TaskId, WallMs, limits};

/// An [`Act`] of a person on a task.
pub const ACT: Domain = Domain("softbus task act v1");

/// Longest type label (`picture/1`), in bytes.
pub const TYPE_BYTES: usize = 64;
/// Longest error, reason or progress text that travels, in bytes; longer ones are cut.
pub const TEXT_BYTES: usize = 2048;
/// Most devices a grant may name.
pub const GRANT_DEVICES: usize = 64;
/// Most chunk names in one [`ImagePart`].
pub const PART_NAMES: usize = 16 << 10;
/// Most past moves that a status lists; older ones are only counted.
pub const STATUS_MOVES: usize = 32;
/// Most tasks in one answer to [`Request::List`].
pub const LIST_TASKS: usize = 256;
/// Most bytes that sealing adds to a chunk.
pub const SEAL_OVERHEAD_BYTES: usize = 24 + 16;

/// By whom and how a task's next epoch is decided.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyKind {
    /// The device that runs it decides alone. If it is lost, the task waits for it.
    #[default]
    Owner,
    /// The runner and `k` holders of its checkpoints, by majority; goes on by itself.
    Quorum {
        /// How many holders, at least 2.
        k: u8,
    },
}

/// Longest grant of a task, in bytes.
pub const GRANT_BYTES: usize = 16 << 10;
/// Longest terms of a task, in bytes.
pub const TERMS_BYTES: usize = 6 << 10;

/// What a task is. Made and signed (as part of the [`Grant`]) by its submitter; never changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The task.
    pub task: TaskId,
    /// Its type and the state version it begins with, `picture/1`.
    pub kind: String,
    /// A name for people.
    pub name: String,
    /// What it asks of the bus.
    pub qos: QoS,
    /// How its epochs are decided.
    pub policy: PolicyKind,
    /// How many devices keep its checkpoints beside the runner.
    pub replicas: u8,
    /// Estimated work, in operations of the reference kernel; 0 if not known.
    pub ops: u64,
    /// Estimated memory at work, in bytes.
    pub memory_bytes: u64,
    /// Cores it can use at once.
    pub cores: u16,
    /// Services that a device must have to run it.
    pub needs: Vec<crate::ServiceName>,
    /// Only these may run it; empty: whoever placement chooses.
    pub only: Vec<DeviceId>,
    /// The bus does not move it to balance load.
    pub stay: bool,
    /// Estimated size of its output, in bytes.
    pub output_bytes: u64,
    /// When it was submitted, by the submitter's wall clock.
    pub submitted: WallMs,
    /// Capabilities that a device must have to run it.
    pub capabilities: Vec<crate::Capability>,
    /// Accelerators that it must have.
    pub accelerators: Vec<crate::AcceleratorNeed>,
    /// These may not run it.
    pub never: Vec<DeviceId>,
    /// The circle whose devices may run it and whose owners may order it about; `None`: only its submitter, which was
    /// in no circle.
    pub circle: Option<crate::CircleId>,
    /// What the task may have and ask for beside that, in the form of the runtime that runs it, at most [`TERMS_BYTES`]; empty
    /// for tasks that are not a runtime's. As it is signed with the rest, no device that runs the task can widen it.
    pub terms: Vec<u8>,
}

impl TaskSpec {
    /// Whether every text and list is within its limit.
    pub fn within_limits(&self) -> bool {
        self.kind.len() <= TYPE_BYTES
            && self.name.len() <= limits::NAME_BYTES
            && self.needs.len() <= limits::PROFILE_ENTRIES
            && self.only.len() <= GRANT_DEVICES
            && self.capabilities.len() <= limits::PROFILE_ENTRIES
            && self
                .capabilities
                .iter()
                .all(|c| !matches!(c, crate::Capability::Named(name) if name.len() > limits::NAME_BYTES))
            && self.accelerators.len() <= limits::PROFILE_ENTRIES
            && self.never.len() <= GRANT_DEVICES
            && self.terms.len() <= TERMS_BYTES
            && self.replicas as usize <= limits::ACCEPTORS
            && match self.policy {
                PolicyKind::Owner => true,
                PolicyKind::Quorum { k } => (2..limits::ACCEPTORS as u8).contains(&k),
            }
    }
}

/// What a granted device may do. Grows only at the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// See its status and result.
    See,
    /// Move and adopt it.
    Move,
    /// Cancel it.
    Cancel,
}

/// One device named by a grant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Granted {
    /// Who.
    pub device: DeviceId,
    /// What it may do.
    pub rights: Vec<Right>,
}

/// What the submitter signs ([`Domain::GRANT`]): the task, and who may do what with it. Travels with the task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// What it is.
    pub spec: TaskSpec,
    /// Root of the image of its input.
    pub input: Hash,
    /// Name of its secret ([`TaskSecret::name`]): whoever gives it cannot give another.
    pub secret: Hash,
    /// Who, beside the submitter and the owners of the circle.
    pub granted: Vec<Granted>,
}

/// What sort of bytes an image is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ImageKind {
    /// The input, from which the task starts.
    Input,
    /// The complete state at one point.
    State(StateMeta),
    /// The result.
    Output,
    /// In place of a result: why the task failed, in its own words (UTF-8).
    Failure,
    /// The complete state of a task that a person paused: whoever goes on from it takes no step until it is resumed.
    Paused(StateMeta, Pause),
}

impl ImageKind {
    /// What is known of it beside its bytes, if it is a state.
    pub fn meta(&self) -> Option<&StateMeta> {
        match self {
            Self::State(meta) | Self::Paused(meta, _) => Some(meta),
            Self::Input | Self::Output | Self::Failure => None,
        }
    }

    /// Who paused it, if it is the state of a paused task.
    pub fn pause(&self) -> Option<Pause> {
        match self {
            Self::Paused(_, pause) => Some(*pause),
            _ => None,
        }
    }
}

/// A person's word that a task shall stand still until it is resumed. Part of its checkpoints, so that it holds wherever
/// the task goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Pause {
    /// The device they used.
    pub by: DeviceId,
    /// When they asked, by that device's wall clock.
    pub since: WallMs,
}

/// What is known of a state beside its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StateMeta {
    /// The type and state version it was saved under, `picture/1`.
    pub kind: String,
    /// Work done so far, in operations of the reference kernel.
    pub ops_done: u64,
    /// Progress, 0–1000.
    pub progress_permille: u16,
    /// The number of its last effect, counted from 1; 0 for none.
    pub effects: u64,
    /// Length of the state proper, in bytes; behind it stand effects that watchers may not have yet.
    pub state_len: u64,
    /// The task has taken its last step, and its state is what came of it: it only waits for its last effects to leave.
    pub ended: Option<Ended>,
}

/// How a task's last step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ended {
    /// With an output.
    Output,
    /// With the task's own word that it failed.
    Failure,
}

/// A complete state (or input, or result): its length and the names of its sealed chunks, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Image {
    /// What it is.
    pub kind: ImageKind,
    /// Its length in bytes, before sealing.
    pub len: u64,
    /// BLAKE3 of each sealed chunk.
    #[serde(with = "crate::hash::list")]
    pub chunks: Vec<Hash>,
}

impl Image {
    /// How many chunks an image of `len` bytes has.
    pub fn chunk_count(len: u64) -> u64 {
        len.div_ceil(limits::CHUNK_BYTES as u64)
    }

    /// Whether length and number of chunks agree and are within the limits.
    pub fn is_sound(&self) -> bool {
        self.chunks.len() <= limits::CHUNKS && self.chunks.len() as u64 == Self::chunk_count(self.len)
    }

    /// The plain length of chunk `index`, in bytes.
    pub fn chunk_len(&self, index: usize) -> usize {
        let start = (index as u64).saturating_mul(limits::CHUNK_BYTES as u64);
        self.len.saturating_sub(start).min(limits::CHUNK_BYTES as u64) as usize
    }

    /// Names the image: a hash over its kind, length and ordered chunk list.
    pub fn root(&self) -> Hash {
        let head = postcard::to_allocvec(&(&self.kind, self.len)).unwrap_or_default();
        let mut bytes = Vec::with_capacity(8 + head.len() + self.chunks.len() * 32);
        bytes.extend_from_slice(&(head.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&head);
        for chunk in &self.chunks {
            bytes.extend_from_slice(&chunk.0);
        }
        Hash::derive("softbus task image v1", &bytes)
    }
}

/// The state a task is in. Grows only at the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Accepted; not running yet.
    #[default]
    Waiting,
    /// Runs.
    Running,
    /// On its way to another device.
    Moving,
    /// Stands still: its lease ran out, or its holders are out of reach.
    Paused,
    /// Who runs it cannot be told until a device returns.
    InDoubt,
    /// Crashed too often; see its error.
    Quarantined,
    /// Finished; its result can be fetched.
    Done,
    /// Failed by its own word; see its error.
    Failed,
    /// Cancelled by a person.
    Cancelled,
    /// Its runner is out of reach and policy `owner` lets nobody else go on.
    Lost,
    /// Its runner is lost, and a successor is being decided.
    FailingOver,
    /// A person paused it: it takes no step until it is resumed.
    PausedBy(Pause),
}

impl TaskState {
    /// Whether it will never run again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// Why a task moved. Grows only at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MoveReason {
    /// It was placed for the first time; the placement's explanation.
    Placed(String),
    /// A person asked; in their words, if any.
    Person(String),
    /// The bus found a better device; its explanation.
    Bus(String),
    /// Its device is shutting down.
    Drain,
    /// Its device was lost.
    Failover,
    /// A person adopted it by force.
    Adopted,
}

/// One past move.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Move {
    /// From which device.
    pub from: DeviceId,
    /// To which.
    pub to: DeviceId,
    /// Why.
    pub reason: MoveReason,
    /// The epoch it began.
    pub epoch: Epoch,
    /// How long the task stood still, in milliseconds; for a fail-over the gap since the last sign of the old runner.
    pub downtime_ms: u64,
    /// Bytes sent while it stood still and before, together.
    pub bytes: u64,
    /// When it ended, by the new runner's wall clock.
    pub at: WallMs,
    /// How often something of its state was sent: the whole of it, then what had changed, the last time after it stopped.
    pub rounds: u32,
    /// From the begin of the move to its end, in milliseconds.
    pub whole_ms: u64,
}

/// What is known of a task, as it travels to watchers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StatusNote {
    /// What it is.
    pub spec: TaskSpec,
    /// Who submitted it.
    pub submitter: DeviceId,
    /// Who runs it, as far as the teller knows.
    pub runner: Option<DeviceId>,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its branch; 0 unless it was adopted by force.
    pub branch: u32,
    /// Its state.
    pub state: TaskState,
    /// Progress, 0–1000.
    pub progress_permille: u16,
    /// Progress in words, at most [`TEXT_BYTES`].
    pub progress_text: String,
    /// Devices that keep its checkpoints.
    pub holders: Vec<DeviceId>,
    /// Sequence number of its last replicated checkpoint.
    pub checkpoint: u64,
    /// Age of that checkpoint, in milliseconds, if there is one.
    pub checkpoint_age_ms: Option<u64>,
    /// Its latest moves, oldest first, at most [`STATUS_MOVES`].
    pub moves: Vec<Move>,
    /// What went wrong last, for people.
    pub error: Option<String>,
    /// Hash of the signed manifest of its result, once done.
    pub result: Option<Hash>,
    /// Whether it is known to be on as many devices as decide about it: it can no longer be lost with its submitter.
    pub accepted: bool,
}

impl StatusNote {
    /// Whether every text and list is within its limit. A foreign note that is not is dropped.
    pub fn within_limits(&self) -> bool {
        self.spec.within_limits()
            && self.progress_text.len() <= TEXT_BYTES
            && self.error.as_ref().is_none_or(|error| error.len() <= TEXT_BYTES)
            && self.holders.len() <= limits::ACCEPTORS
            && self.moves.len() <= STATUS_MOVES
    }
}

/// What a person wants done with a running task; signed ([`ACT`]) by the device they used, so that it can be
/// relayed. (Ending a task is a [`CancelOrder`](super::task::CancelOrder).)
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Act {
    /// Which task.
    pub task: TaskId,
    /// The epoch they saw. An act on an older epoch does nothing.
    pub epoch: Epoch,
    /// What to do.
    pub verb: Verb,
    /// When, by their wall clock.
    pub issued: WallMs,
}

/// What can be done with a running task. Grows only at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verb {
    /// Move it to this device, or to the best.
    Move {
        /// Whither; `None` for the best.
        to: Option<DeviceId>,
        /// In the person's words.
        reason: String,
    },
    /// Let it out of quarantine.
    Release,
    /// Let it take no more steps until it is resumed.
    Pause,
    /// Let a paused one go on.
    Resume,
    /// Keep a checkpoint of it for a while, for who asks to fetch.
    Save,
}

/// A question or order. First message of a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Tasks known there that the caller may see.
    List,
    /// The status of one.
    Status {
        /// Which.
        task: TaskId,
    },
    /// A signed [`Act`], for the task's runner.
    Act(Signed),
    /// A signed cancel order, for any device that takes part in the task.
    Cancel(Signed),
    /// A promise of room for a piece of work, before it is counted on.
    Lease {
        /// For which task.
        task: TaskId,
        /// How much work, in operations of the reference kernel.
        ops: u64,
        /// Memory at work, in bytes.
        memory_bytes: u64,
        /// Label that must be known there, `picture/1`.
        kind: String,
        /// The last promise of that device that the asker has taken into account
        /// ([`Promised::last`](crate::Promised::last)). If it has made others since, it says [`Reply::Outdated`].
        seen: u64,
    },
    /// Gives a lease back.
    Unlease {
        /// For which task.
        task: TaskId,
        /// Its number.
        lease: u64,
    },
    /// Where one stands, with all that proves it.
    Proof {
        /// Which.
        task: TaskId,
    },
}

/// The answer to a [`Request`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// Tasks, in order of their ids, at most [`LIST_TASKS`].
    Tasks(Vec<StatusNote>),
    /// One task.
    Task(Box<StatusNote>),
    /// The lease is given for so long.
    Leased {
        /// Milliseconds.
        for_ms: u64,
        /// Its number: grows with each promise of that device in one boot.
        lease: u64,
    },
    /// No: the number of an [`ErrorCode`](crate::ErrorCode) and why, for people.
    Refused {
        /// Code.
        code: u32,
        /// At most [`TEXT_BYTES`].
        why: String,
    },
    /// The task's runner is another device; ask there.
    Elsewhere {
        /// Who.
        runner: DeviceId,
    },
    /// The task was handed over; its new runner tells how that went ([`Move`]).
    Moved {
        /// The epoch that began with it.
        epoch: Epoch,
    },
    /// No lease yet: the device has made promises that the asker did not know of. Its dynamic profile tells them.
    Outdated,
    /// The task's grant, and the certificates of its epochs from the root on.
    Proof {
        /// Signed by its submitter.
        grant: Signed,
        /// At most [`CHAIN_LINKS`](super::task::CHAIN_LINKS).
        links: Vec<Certificate>,
    },
    /// Of [`Verb::Pause`] and [`Verb::Resume`]: it stands still, or goes on.
    Rests(Rests),
    /// Of [`Verb::Save`]: this checkpoint is kept for the asker for a while.
    Saved {
        /// Hash of its signed manifest.
        manifest: Hash,
    },
}

/// How a task that a person paused or resumed stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rests {
    /// It was as they want it before.
    pub already: bool,
    /// Its checkpoint says so too, on as many devices as decide where it goes on. Else the word may be lost with its
    /// device.
    pub kept: bool,
}

/// Opens a stream of [`WatchNote`]s.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Watch {
    /// Which task.
    pub task: TaskId,
    /// The first effect that the watcher lacks.
    pub effects_from: u64,
}

/// What a watcher hears.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WatchNote {
    /// The status changed.
    Status(Box<StatusNote>),
    /// What its output looks like so far: provisional, may change or vanish.
    Preview(Vec<u8>),
    /// Something left the task.
    Effect {
        /// Under this right.
        fence: Fence,
        /// Its number.
        sequence: u64,
        /// What.
        bytes: Vec<u8>,
    },
}

/// Asks for a checkpoint or result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fetch {
    /// Of which task.
    pub task: TaskId,
    /// Which, by the hash of its signed manifest.
    pub manifest: Hash,
    /// The fetcher has all chunks of this one: the difference is sent without waiting for a [`Want`].
    pub base: Option<Hash>,
}

/// A task's secret. Its `Debug` form shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSecret(pub [u8; 32]);

impl TaskSecret {
    /// Names the secret without telling it.
    pub fn name(&self) -> Hash {
        Hash::derive("softbus task secret name v1", &self.0)
    }
}

impl fmt::Debug for TaskSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskSecret")
    }
}

/// The checkpoint asked for; its chunk names follow in [`ImagePart`]s.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// Of which task.
    pub task: TaskId,
    /// Its manifest.
    pub manifest: Signed,
    /// What it is.
    pub kind: ImageKind,
    /// Plain length in bytes.
    pub len: u64,
    /// Number of chunks whose names follow.
    pub chunks: u32,
    /// The task's grant.
    pub grant: Signed,
    /// The task's secret, for who may run it or read its result.
    pub secret: Option<TaskSecret>,
    /// The task's latest moves, at most [`STATUS_MOVES`].
    pub moves: Vec<Move>,
    /// If this is the last state before a hand-over.
    pub handing: Option<Handing>,
    /// Whether pieces follow at once (the base was known), without a [`Want`].
    pub pushing: bool,
}

/// What the destination of a hand-over is told, to keep account of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Handing {
    /// Why it moves.
    pub reason: MoveReason,
    /// How long the task stood still when this was sent, in microseconds.
    pub stopped_us: u64,
    /// Bytes sent to the destination before, since the move began.
    pub bytes: u64,
    /// How often something of its state was sent, this time counted.
    pub rounds: u32,
    /// How long ago the move began when this was sent, in microseconds.
    pub began_us: u64,
}

/// Some of an image's chunk names, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImagePart {
    /// At most [`PART_NAMES`].
    #[serde(with = "crate::hash::list")]
    pub names: Vec<Hash>,
}

/// Which chunks the fetcher lacks: a bit per chunk, lowest bit first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Want {
    /// Bits.
    pub bits: Vec<u8>,
}

/// A sealed chunk; `len` raw bytes follow the envelope. `len` 0 ends what a [`Want`] asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Piece {
    /// Its place in the image.
    pub index: u32,
    /// Sealed length in bytes, at most [`limits::CHUNK_BYTES`] + [`SEAL_OVERHEAD_BYTES`].
    pub len: u32,
}

/// Asks for a content that images of tasks begin with (a program's module), by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FetchContent {
    /// BLAKE3 of its bytes.
    pub content: Hash,
    /// The circle as whose member the other device asks; each of its members might run a task with that content.
    pub circle: CircleId,
}

/// It is here: so many raw bytes follow the envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ContentOffer {
    /// Its length in bytes.
    pub len: u64,
}

/// A message of the epoch machines.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EpochNote {
    /// The task's grant, where a device may need it that hears of the task for the first time.
    pub grant: Option<Signed>,
    /// The message, an envelope of [`EpochMessage`](super::task::EpochMessage).
    pub message: Vec<u8>,
}

macro_rules! message {
    ($name:ident, $kind:literal, $max:expr) => {
        impl Message for $name {
            const KIND: u16 = $kind;
            const VERSION: u16 = 1;
            const MAX_BYTES: usize = $max;
        }
    };
}

message!(Grant, 0x0480, GRANT_BYTES);
message!(Act, 0x0481, 4 << 10);
message!(Request, 0x0482, 32 << 10);
message!(Reply, 0x0483, limits::MESSAGE_BYTES + (32 << 10));
message!(Watch, 0x0484, 64);
message!(WatchNote, 0x0485, limits::MESSAGE_BYTES);
message!(Fetch, 0x0486, 128);
message!(Offer, 0x0487, limits::MESSAGE_BYTES);
message!(ImagePart, 0x0488, PART_NAMES * 32 + 8);
message!(Want, 0x0489, limits::CHUNKS / 8 + 8);
message!(Piece, 0x048a, 16);
message!(EpochNote, 0x048b, limits::MESSAGE_BYTES + (32 << 10));
message!(FetchContent, 0x048c, 64);
message!(ContentOffer, 0x048d, 16);

#[cfg(test)]
mod tests;
