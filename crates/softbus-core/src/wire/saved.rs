//! What stands at the head of a file with the saved state of a task. The file's form is the task room's
//! (`softbus_task::saved`); this is what is signed of it.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::task::Branch;
use super::task_control::{ImageKind, TaskSpec};
use crate::{Domain, Epoch, Hash, Message, WallMs, limits};

/// A [`SavedState`], signed by the device that saved it.
pub const SAVED: Domain = Domain("softbus saved state v1");

/// A complete state of a task at one point, for a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedState {
    /// The task that it was saved of, and what that asks of a device.
    pub spec: TaskSpec,
    /// The branch of the task.
    pub branch: Branch,
    /// The epoch.
    pub epoch: Epoch,
    /// The type and state version, and how far it was: always a state.
    pub kind: ImageKind,
    /// When it was saved, by the wall clock of the device that saved it.
    pub saved: WallMs,
    /// Length of the state in bytes.
    pub len: u64,
    /// Over the names of its chunks ([`SavedState::root_of`]).
    pub root: Hash,
}

impl SavedState {
    /// Names a state by its length and the BLAKE3 hashes of its plain chunks, in order.
    pub fn root_of(len: u64, chunks: &[Hash]) -> Hash {
        let mut bytes = Vec::with_capacity(8 + chunks.len() * 32);
        bytes.extend_from_slice(&len.to_le_bytes());
        for chunk in chunks {
            bytes.extend_from_slice(&chunk.0);
        }
        Hash::derive("softbus saved state root v1", &bytes)
    }

    /// How many chunks it has.
    pub fn chunk_count(&self) -> u64 {
        self.len.div_ceil(limits::CHUNK_BYTES as u64)
    }

    /// Whether texts, lists and numbers are within their limits and agree among themselves.
    pub fn within_limits(&self) -> bool {
        let Some(meta) = self.kind.meta() else { return false };
        self.spec.within_limits()
            && meta.kind.len() <= super::task_control::TYPE_BYTES
            && meta.progress_permille <= 1000
            && meta.state_len == self.len
            && self.chunk_count() <= limits::CHUNKS as u64
    }
}

impl Message for SavedState {
    const KIND: u16 = 0x04c0;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = 16 << 10;
}
