//! Making a snapshot durable, and what its manifest says.

use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::task::ManifestKind;
use softbus_core::wire::task_control::{Image, ImageKind, StateMeta};
use softbus_core::{DeviceId, Hash};
use softbus_net::seam::Lane;

use super::CHUNK_OPS;
use crate::checkpoint::{Snapshot, TaskKey};
use crate::driver::Inner;
use crate::driver::shared::TaskShared;
use crate::epoch::manifest::Content;
use crate::{TaskError, limits};

/// What a storing job gives back.
pub(super) struct Kept {
    pub(super) snapshot: Snapshot,
    pub(super) stored: Result<(Image, Duration), TaskError>,
}

/// What a manifest says of an image.
pub(crate) fn content(
    image: &Image,
    label: &str,
    kind: ManifestKind,
    sequence: u64,
    destination: Option<DeviceId>,
    meta: &StateMeta,
) -> Content {
    let state_version = label.rsplit_once('/').and_then(|(_, v)| v.parse().ok()).unwrap_or(0);
    let done = kind == ManifestKind::Result;
    Content {
        kind,
        sequence,
        state_version,
        root: image.root(),
        chunks: u32::try_from(image.chunks.len()).unwrap_or(u32::MAX),
        bytes: image.len,
        effects: meta.effects,
        progress_permille: if done { 1000 } else { meta.progress_permille.min(1000) },
        destination,
    }
}

/// Seals what changed and makes it durable.
pub(crate) async fn store_snapshot(
    inner: &Inner,
    shared: &TaskShared,
    key: &TaskKey,
    mut snapshot: Snapshot,
    kind: ImageKind,
) -> (Snapshot, Result<Image, TaskError>) {
    let Some(_erase_later) = shared.store().await else { return (snapshot, Err(TaskError::Closed)) };
    loop {
        let (blobs, key) = (inner.blobs.clone(), key.clone());
        let ops = CHUNK_OPS * snapshot.dirty_chunks().min(limits::BATCH) as u64;
        let job = inner.seam.compute.run(Lane::Disk, ops, move || {
            let mut fresh: Vec<Hash> = Vec::new();
            let sealed = snapshot.seal(&key, limits::BATCH, |name, sealed| {
                fresh.push(name);
                blobs.put(&name, &sealed)
            });
            let done = sealed.and_then(|done| blobs.sync(&fresh).map(|()| done));
            if done.is_err() {
                // What the disk did with the others of this batch is not known.
                snapshot.taint();
            }
            (snapshot, done, fresh)
        });
        let Some((back, done, fresh)) = job.await else {
            return (Snapshot::new(inner.config.state_bytes), Err(TaskError::Closed));
        };
        // Until a checkpoint names them. If none ever does they are erased.
        shared.parts().staged.extend(fresh);
        match done {
            Err(error) => return (back, Err(error.into())),
            Ok(false) => snapshot = back,
            Ok(true) => {
                let image = back.image(kind).ok_or(TaskError::Limit("chunks of a state"));
                if let Ok(image) = &image
                    && !matches!(image.kind, ImageKind::Input)
                {
                    shared.parts().snapshot = Some(Arc::new(image.clone()));
                }
                return (back, image);
            }
        }
    }
}
