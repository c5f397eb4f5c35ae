//! What a device must remember of a task across a crash.

use serde::{Deserialize, Serialize};
use softbus_core::wire::task::{Accepted, Ballot, Certificate, CheckpointRef, Fence};
use softbus_core::{DeviceId, Signed, TaskId};

use super::EpochError;

/// Format of [`Durable`] on disk.
pub const DURABLE_FORMAT: u16 = 1;

/// The record that the driver writes for [`Action::Persist`](super::Action::Persist): small (some kilobytes, at most
/// a few hundred with a long chain), written whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Durable {
    /// The task.
    pub task: TaskId,
    /// Certificates from the root to the last epoch known to be decided. The root always stays.
    pub chain: Vec<Certificate>,
    /// What this device did about the epoch after the last.
    pub next: Next,
    /// The newest checkpoint here that counts in the last epoch: of that epoch, or its base.
    pub held: Option<Held>,
    /// A newer one of this epoch that was here, and may have been counted upon, but was damaged.
    pub missing: Option<CheckpointRef>,
    /// An older one that an undecided decree may start from.
    pub spare: Option<Held>,
    /// A hand-over to this device that waits for its decision.
    pub incoming: Option<Incoming>,
    /// Times the instance was started here without a new checkpoint since.
    pub starts: u8,
    /// Times it crashed here without a new checkpoint since.
    pub failures: u8,
    /// What it died of last.
    pub error: String,
    /// The order that cancelled the task.
    pub cancelled: Option<Signed>,
    /// Fenced branches, with the last checkpoint of them that was held here.
    pub forks: Vec<(Fence, Option<CheckpointRef>)>,
}

/// An acceptor's memory about one undecided epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Next {
    /// The greatest ballot promised.
    pub promised: Option<Ballot>,
    /// Whether any ballot but the owner's own was ever promised: then the owner gets no lease, and its checkpoints
    /// are not acknowledged, until the epoch is decided.
    pub ousted: bool,
    /// The decree voted for in the greatest ballot.
    pub accepted: Option<Accepted>,
}

/// A checkpoint that is durable here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Held {
    /// Which.
    pub checkpoint: CheckpointRef,
    /// Its signed manifest.
    pub manifest: Signed,
}

/// The promise of a hand-over's destination.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Incoming {
    /// The device that hands over.
    pub source: DeviceId,
    /// The final state, durable here.
    pub held: Held,
}

impl Durable {
    pub(super) fn new(task: TaskId, chain: Vec<Certificate>) -> Self {
        Self {
            task,
            chain,
            next: Next::default(),
            held: None,
            missing: None,
            spare: None,
            incoming: None,
            starts: 0,
            failures: 0,
            error: String::new(),
            cancelled: None,
            forks: Vec::new(),
        }
    }

    /// Bytes for the store: a format number (2 bytes, little-endian), then postcard.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EpochError> {
        postcard::to_extend(self, DURABLE_FORMAT.to_le_bytes().to_vec())
            .map_err(|_| EpochError::Invalid("the record of the task has no form on disk"))
    }

    /// Reads what [`Durable::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EpochError> {
        let malformed = |source| EpochError::Malformed { what: "stored record of the task", source };
        let (format, body) =
            bytes.split_first_chunk::<2>().ok_or_else(|| malformed(softbus_core::DecodeError::Truncated))?;
        match u16::from_le_bytes(*format) {
            DURABLE_FORMAT => {
                postcard::from_bytes(body).map_err(|_| malformed(softbus_core::DecodeError::Malformed))
            }
            found => Err(EpochError::Format { found, known: DURABLE_FORMAT }),
        }
    }
}
