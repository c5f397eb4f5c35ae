//! Files with saved states of tasks.

use softbus_core::wire::saved::SavedState;
use softbus_core::wire::task::Branch;
use softbus_core::wire::task_control::ImageKind;
use softbus_core::{Epoch, encode};
use softbus_task::harness;

use super::wire::{grant, state_meta};
use super::{NOW, hash, key};
use crate::Target;

/// The file as it lies there.
pub const FILE: Target = Target { name: "saved-file", run: file, cost: 6, seeds: files };

fn file(bytes: &[u8]) -> bool {
    harness::saved(bytes)
}

fn files() -> Vec<Vec<u8>> {
    let Some(whole) = harness::saved_example(&key(1), head(0), b"a state") else { return Vec::new() };
    // Few and small: corpora have little room.
    let list = whole.len() - 50;
    vec![whole[..list].to_vec(), whole, Vec::new()]
}

/// What its head says, signed by somebody.
pub const HEAD: Target = Target { name: "saved-head", run: signed_head, cost: 6, seeds: heads };

fn signed_head(bytes: &[u8]) -> bool {
    harness::saved_head(&key(1), bytes)
}

fn heads() -> Vec<Vec<u8>> {
    [head(7), head(u64::MAX)].iter().flat_map(encode).collect()
}

fn head(len: u64) -> SavedState {
    let mut meta = state_meta();
    (meta.state_len, meta.progress_permille) = (len, 500);
    let mut spec = grant().spec;
    (spec.needs, spec.only, spec.never) = (Vec::new(), Vec::new(), Vec::new());
    (spec.capabilities, spec.accelerators) = (Vec::new(), Vec::new());
    SavedState {
        spec,
        branch: Branch::NONE,
        epoch: Epoch(4),
        kind: ImageKind::State(meta),
        saved: NOW,
        len,
        root: hash(1),
    }
}
