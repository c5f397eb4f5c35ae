//! Checkpoints: a task's state as bytes, cut into chunks, each sealed under the task's key and named by the
//! hash of its sealed form.
//!
//! Sealing is deterministic under the key: the nonce is a keyed hash of the plain chunk (a synthetic IV). So
//! an unchanged chunk keeps its name from one checkpoint to the next and does not travel again; a name tells
//! nothing to who has not the key; and anybody, key or not, can check a chunk against its name.

mod assemble;
mod blobs;
mod key;
mod places;
mod snapshot;

pub(crate) use assemble::{Assembled, Assembly};
pub(crate) use blobs::{BlobKeeper, missing_bits, wanted};
pub use key::SealError;
pub(crate) use key::{TaskKey, WrapKey, Wrapped, check};
pub(crate) use places::Places;
pub(crate) use snapshot::Snapshot;
