//! Messages of `task/1` that decide who runs a task: manifests, decrees, votes, certificates, leases.
//!
//! A task's life is a chain of *decrees*, one for each [`Epoch`]. The decree of epoch e says who owns e, who holds
//! its checkpoints, and thereby who decides e+1 (its [acceptors](Decree::acceptors)). The first decree of a
//! branch is its *root*, signed by whoever submitted (or adopted) the task; each later one is proven by a
//! [`Certificate`]: votes of a majority of the acceptors that the decree before it named.
//!
//! Whatever is signed or hashed here is kept as the bytes that came (law 4): the body of each [`Signed`] is a whole
//! [envelope](crate::encode) of [`Manifest`], [`Decree`], [`Vote`] or [`CancelOrder`].

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{BootMs, DeviceId, Epoch, ErrorCode, Hash, Message, Signed, TaskId, WallMs, limits};

/// Longest decree, manifest, vote or cancel order, in bytes (envelope included).
pub const STATEMENT_BYTES: usize = 4 << 10;
/// Longest name of a task type, in bytes.
pub const TASK_TYPE_BYTES: usize = 64;
/// Longest note or error text carried in a decree, in bytes.
pub const NOTE_BYTES: usize = 256;
/// Most holders that a decree may name (the owner is an acceptor too).
pub const HOLDERS: usize = limits::ACCEPTORS - 1;
/// Most links of a chain that are kept and sent. Older ones but the root are forgotten.
pub const CHAIN_LINKS: usize = 64;
/// Shortest lease, in milliseconds.
pub const LEASE_MIN_MS: u32 = 250;
/// Longest lease, in milliseconds.
pub const LEASE_MAX_MS: u32 = 60_000;

/// A branch of a task's history. Forced adoption starts a new one; the greater branch fences the smaller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Branch {
    /// How many forced adoptions led here: 0 for the branch a task was submitted in.
    pub fork: u32,
    /// Names the branch: the hash of its signed root. All zero within the root itself.
    pub root: Hash,
}

impl Branch {
    /// What a root says of itself, and a device that knows no branch yet.
    pub const NONE: Branch = Branch { fork: 0, root: Hash([0; 32]) };
}

/// The right to speak for a task: receivers of its effects refuse what comes under a smaller fence than they know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Fence {
    /// The branch.
    pub branch: Branch,
    /// The epoch in it.
    pub epoch: Epoch,
}

/// Names one try to decide an epoch. Round 0 belongs to the owner of the present epoch, who may skip the first phase.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Ballot {
    /// Grows with each try.
    pub round: u64,
    /// Who tries.
    pub proposer: DeviceId,
}

/// Who has a vote on a task's next epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Policy {
    /// Only the owner. If it dies, the task waits for it (or is adopted by force).
    Owner,
    /// A majority of the owner and its holders. The owner runs under a lease from such a majority.
    Quorum {
        /// Length of a lease in milliseconds, from [`LEASE_MIN_MS`] to [`LEASE_MAX_MS`].
        lease_ms: u32,
    },
}

/// Names one checkpoint (or result) of a task. Ordered within a branch by epoch, then sequence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct CheckpointRef {
    /// The epoch in which it was taken.
    pub epoch: Epoch,
    /// Its number; grows with each checkpoint of an epoch.
    pub sequence: u64,
    /// Hash of the signed manifest ([`Signed::hash`]).
    pub manifest: Hash,
}

/// What a manifest describes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ManifestKind {
    /// A state from which the task can go on.
    Checkpoint,
    /// The task's result; nothing goes on from here.
    Result,
}

/// What a checkpoint is. Signed by the device that took it ([`crate::Domain::MANIFEST`]).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The task.
    pub task: TaskId,
    /// The branch it was taken in ([`Branch::NONE`] for the very first, which the root names).
    pub branch: Branch,
    /// The epoch it was taken in.
    pub epoch: Epoch,
    /// Its number within the task; grows.
    pub sequence: u64,
    /// Checkpoint or result.
    pub kind: ManifestKind,
    /// Name of the task's type.
    pub task_type: String,
    /// Version of the form of its state.
    pub state_version: u32,
    /// Who took it.
    pub source: DeviceId,
    /// For whom, in a hand-over.
    pub destination: Option<DeviceId>,
    /// Who decides the next epoch.
    pub policy: Policy,
    /// The acceptors of the next epoch.
    pub acceptors: Vec<DeviceId>,
    /// Hash over the list of its chunks' hashes.
    pub root: Hash,
    /// Number of chunks, at most [`limits::CHUNKS`].
    pub chunks: u32,
    /// Length of the state in bytes.
    pub bytes: u64,
    /// Effects up to and with this sequence had left the task when the checkpoint was taken.
    pub effects: u64,
    /// How far the task was, 0–1000.
    pub progress_permille: u16,
    /// Hash of the task's grant.
    pub grant: Hash,
}

impl Message for Manifest {
    const KIND: u16 = 0x0401;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = STATEMENT_BYTES;
}

/// What is to become of the task in an epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// Its owner runs it.
    Run,
    /// It is done; the base is its result. No epoch follows.
    Done,
    /// It crashed on resume too often and rests until a person says otherwise.
    Quarantined {
        /// What it died of, at most [`NOTE_BYTES`] bytes.
        error: String,
    },
}

/// Why an epoch began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Why {
    /// The task was submitted.
    Submitted,
    /// It was adopted by force from this point of another branch.
    Adopted {
        /// Where from.
        from: Fence,
    },
    /// Its owner handed it over.
    HandOver,
    /// Its owner was lost.
    FailOver,
    /// Its holders changed.
    Holders,
    /// The owner's right was renewed after others had tried to take over.
    Renewed,
    /// It ended.
    Finished,
    /// It was put into quarantine.
    Quarantined,
    /// It was let out of quarantine.
    Released,
}

/// What is decided of one epoch. Signed as a root, voted on otherwise ([`crate::Domain::EPOCH`]).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decree {
    /// The task.
    pub task: TaskId,
    /// The branch; in a root only its fork counts.
    pub branch: Branch,
    /// The epoch decided.
    pub epoch: Epoch,
    /// [Hash](Decree::hash) of the decree before; all zero in a root.
    pub previous: Hash,
    /// Who submitted the task. Hears of each decree.
    pub submitter: DeviceId,
    /// Hash of the grant.
    pub grant: Hash,
    /// Name of the task's type.
    pub task_type: String,
    /// Who decides the next epoch.
    pub policy: Policy,
    /// How many holders are wanted.
    pub replicas: u8,
    /// Who runs the task.
    pub owner: DeviceId,
    /// Who holds its checkpoints beside the owner, best first.
    pub holders: Vec<DeviceId>,
    /// From which checkpoint the epoch starts; of an ended task its result.
    pub base: CheckpointRef,
    /// What is to become of it.
    pub outcome: Outcome,
    /// Why.
    pub why: Why,
    /// More on why, for people; at most [`NOTE_BYTES`] bytes.
    pub note: String,
}

impl Message for Decree {
    const KIND: u16 = 0x0402;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = STATEMENT_BYTES;
}

impl Decree {
    /// Names a decree: hash of its bytes (an envelope).
    pub fn hash(bytes: &[u8]) -> Hash {
        Hash::derive("softbus task decree v1", bytes)
    }

    /// Who decides the next epoch, in order of their ids.
    pub fn acceptors(&self) -> Vec<DeviceId> {
        let mut all = Vec::with_capacity(1 + self.holders.len());
        all.push(self.owner);
        if let Policy::Quorum { .. } = self.policy {
            all.extend_from_slice(&self.holders);
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Everyone with a part in it: owner and holders, in order of their ids.
    pub fn members(&self) -> Vec<DeviceId> {
        let mut all = Vec::with_capacity(1 + self.holders.len());
        all.push(self.owner);
        all.extend_from_slice(&self.holders);
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether texts, lists and numbers are within their limits and agree among themselves.
    pub fn within_limits(&self) -> bool {
        let distinct = self.members().len() == 1 + self.holders.len();
        let policy = match self.policy {
            Policy::Owner => true,
            Policy::Quorum { lease_ms } => {
                (LEASE_MIN_MS..=LEASE_MAX_MS).contains(&lease_ms) && self.holders.len() >= 2
            }
        };
        let error = match &self.outcome {
            Outcome::Quarantined { error } => error.len() <= NOTE_BYTES,
            Outcome::Run | Outcome::Done => true,
        };
        distinct
            && policy
            && error
            && self.holders.len() <= HOLDERS
            && usize::from(self.replicas) <= HOLDERS
            && self.task_type.len() <= TASK_TYPE_BYTES
            && self.note.len() <= NOTE_BYTES
            && self.epoch.0 > 0
            && self.epoch.0 < u64::MAX
    }

    /// The fence of its epoch, given the branch it belongs to.
    pub fn fence(&self, branch: Branch) -> Fence {
        Fence { branch, epoch: self.epoch }
    }
}

/// An acceptor's vote for a decree: it will never vote for another in a smaller or equal ballot.
/// Signed ([`crate::Domain::EPOCH`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vote {
    /// The task.
    pub task: TaskId,
    /// The branch.
    pub branch: Branch,
    /// The epoch voted on.
    pub epoch: Epoch,
    /// In which try.
    pub ballot: Ballot,
    /// For which decree ([`Decree::hash`]).
    pub decree: Hash,
}

impl Message for Vote {
    const KIND: u16 = 0x0403;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = STATEMENT_BYTES;
}

/// Ends a task everywhere. Signed by someone who may ([`crate::Domain::GRANT`]).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CancelOrder {
    /// The task.
    pub task: TaskId,
    /// When it was given.
    pub issued: WallMs,
    /// Why, for people; at most [`NOTE_BYTES`] bytes.
    pub note: String,
}

impl Message for CancelOrder {
    const KIND: u16 = 0x0404;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = STATEMENT_BYTES;
}

/// Proof that a decree holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Certificate {
    /// The root of a branch: the decree, signed by who submitted or adopted.
    Root(Signed),
    /// A decree with the votes, all of one ballot, of a majority of the acceptors named by the decree before.
    Voted {
        /// The decree's bytes (an envelope of [`Decree`]).
        decree: Vec<u8>,
        /// Each an envelope of [`Vote`].
        votes: Vec<Signed>,
    },
}

impl Certificate {
    /// The bytes of its decree.
    pub fn decree_bytes(&self) -> &[u8] {
        match self {
            Self::Root(signed) => &signed.body,
            Self::Voted { decree, .. } => decree,
        }
    }
}

/// A decree that an acceptor voted for, and in which ballot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// The ballot.
    pub ballot: Ballot,
    /// The decree's bytes.
    pub decree: Vec<u8>,
}

/// A message about the epochs of one task. The links it travels on prove who sent it.
///
/// Each says where its sender stands; a receiver that is ahead answers with [`EpochBody::Chain`], one that is
/// behind with [`EpochBody::AskChain`], and only equals talk about the next epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EpochMessage {
    /// The task.
    pub task: TaskId,
    /// The sender's branch; [`Branch::NONE`] if it knows none.
    pub branch: Branch,
    /// The epoch last decided as far as the sender knows; 0 if it knows none.
    pub epoch: Epoch,
    /// What it says.
    pub body: EpochBody,
}

impl Message for EpochMessage {
    const KIND: u16 = 0x0400;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = limits::MESSAGE_BYTES;
}

/// What a message about epochs says. Grows only at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EpochBody {
    /// Send me what I lack behind the epoch I stand at.
    AskChain,
    /// Certificates in order of their epochs. Also how a decision is published.
    Chain {
        /// At most [`CHAIN_LINKS`].
        links: Vec<Certificate>,
    },
    /// I stand at this epoch durably.
    Ack {
        /// The checkpoint of it that I hold durably.
        held: Option<CheckpointRef>,
    },
    /// The owner has a checkpoint (or result) for its holders.
    Offer {
        /// Its manifest.
        manifest: Signed,
    },
    /// I hold this checkpoint durably and have promised nobody but the owner.
    Stored {
        /// Which.
        checkpoint: CheckpointRef,
    },
    /// Hand-over: fetch this state. First of a checkpoint while the task still runs, then of the final one.
    Prepare {
        /// Its manifest.
        manifest: Signed,
        /// Whether this is the final state, for which READY is due.
        last: bool,
    },
    /// Hand-over: still fetching.
    Fetching {
        /// Which manifest.
        manifest: Hash,
    },
    /// Hand-over: the state is here and durable, but is not the final one.
    Warm {
        /// Which manifest.
        manifest: Hash,
    },
    /// Hand-over: the final state and the promise to take the task over are durable.
    Ready {
        /// Which manifest.
        manifest: Hash,
    },
    /// Hand-over: no.
    Refuse {
        /// Which manifest.
        manifest: Hash,
        /// Why.
        code: ErrorCode,
    },
    /// Hand-over: called off; only before its decision.
    Abort {
        /// Which manifest.
        manifest: Hash,
    },
    /// Hand-over: what became of it? From a destination in doubt.
    AskOutcome {
        /// Which manifest.
        manifest: Hash,
    },
    /// The owner asks for its lease, from the moment `sent` on its own clock.
    Lease {
        /// When this was sent, by the owner's boot clock; comes back as it was.
        sent: BootMs,
        /// Tells the owner's starts apart (a boot clock may begin anew); comes back as it was.
        nonce: u64,
    },
    /// The lease is granted.
    Grant {
        /// From the request.
        sent: BootMs,
        /// From the request.
        nonce: u64,
    },
    /// No lease: another's ballot was promised. Only a new epoch helps.
    Deny {
        /// The greatest ballot promised.
        promised: Option<Ballot>,
    },
    /// First phase: promise me to take part in no smaller ballot.
    Query {
        /// The ballot.
        ballot: Ballot,
    },
    /// The promise.
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// The decree voted for in the greatest ballot so far.
        accepted: Option<Accepted>,
        /// The newest checkpoint held of the present epoch (or its base).
        held: Option<CheckpointRef>,
    },
    /// Neither promise nor vote.
    Nack {
        /// The ballot refused.
        ballot: Ballot,
        /// The greatest ballot promised, if that is why.
        promised: Option<Ballot>,
        /// For how long the owner's lease still binds, in milliseconds.
        wait_ms: u32,
    },
    /// Second phase: vote for this decree.
    Propose {
        /// The ballot.
        ballot: Ballot,
        /// The decree's bytes.
        decree: Vec<u8>,
    },
    /// The vote, an envelope of [`Vote`], signed.
    Voted {
        /// The signed vote.
        vote: Signed,
    },
    /// A proposer asks an acceptor to fetch the checkpoint the next epoch is to start from.
    Hold {
        /// Which.
        checkpoint: CheckpointRef,
        /// Who has it.
        from: Vec<DeviceId>,
    },
    /// Answer to [`EpochBody::Hold`]: it is here, durably.
    Holding {
        /// Which.
        checkpoint: CheckpointRef,
    },
    /// The task is cancelled.
    Cancel {
        /// An envelope of [`CancelOrder`], signed.
        order: Signed,
    },
    /// The cancellation is durable here.
    Cancelled,
    /// The sender wants to leave: replace me.
    Leave,
}

impl EpochMessage {
    /// What a device answers to a message about a task it does not know: tell me all.
    pub fn ask(task: TaskId) -> Self {
        Self { task, branch: Branch::NONE, epoch: Epoch(0), body: EpochBody::AskChain }
    }

    /// Whether lists are within their limits. Messages that are not are dropped.
    pub fn within_limits(&self) -> bool {
        let statement = |s: &Signed| s.body.len() <= STATEMENT_BYTES;
        match &self.body {
            EpochBody::Chain { links } => {
                links.len() <= CHAIN_LINKS
                    && links.iter().all(|link| match link {
                        Certificate::Root(signed) => statement(signed),
                        Certificate::Voted { decree, votes } => {
                            decree.len() <= STATEMENT_BYTES
                                && votes.len() <= limits::ACCEPTORS
                                && votes.iter().all(statement)
                        }
                    })
            }
            EpochBody::Offer { manifest } | EpochBody::Prepare { manifest, .. } => statement(manifest),
            EpochBody::Promise { accepted: Some(accepted), .. } => accepted.decree.len() <= STATEMENT_BYTES,
            EpochBody::Propose { decree, .. } => decree.len() <= STATEMENT_BYTES,
            EpochBody::Voted { vote } => statement(vote),
            EpochBody::Cancel { order } => statement(order),
            EpochBody::Hold { from, .. } => from.len() <= limits::ACCEPTORS,
            _ => true,
        }
    }

    /// One word for logs.
    pub fn name(&self) -> &'static str {
        match self.body {
            EpochBody::AskChain => "ask-chain",
            EpochBody::Chain { .. } => "chain",
            EpochBody::Ack { .. } => "ack",
            EpochBody::Offer { .. } => "offer",
            EpochBody::Stored { .. } => "stored",
            EpochBody::Prepare { last: false, .. } => "prepare-warm",
            EpochBody::Prepare { last: true, .. } => "prepare",
            EpochBody::Fetching { .. } => "fetching",
            EpochBody::Warm { .. } => "warm",
            EpochBody::Ready { .. } => "ready",
            EpochBody::Refuse { .. } => "refuse",
            EpochBody::Abort { .. } => "abort",
            EpochBody::AskOutcome { .. } => "ask-outcome",
            EpochBody::Lease { .. } => "lease",
            EpochBody::Grant { .. } => "grant",
            EpochBody::Deny { .. } => "deny",
            EpochBody::Query { .. } => "query",
            EpochBody::Promise { .. } => "promise",
            EpochBody::Nack { .. } => "nack",
            EpochBody::Propose { .. } => "propose",
            EpochBody::Voted { .. } => "voted",
            EpochBody::Hold { .. } => "hold",
            EpochBody::Holding { .. } => "holding",
            EpochBody::Cancel { .. } => "cancel",
            EpochBody::Cancelled => "cancelled",
            EpochBody::Leave => "leave",
        }
    }
}

#[cfg(test)]
mod golden;
