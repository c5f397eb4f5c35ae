//! Manifests: what a checkpoint is, signed by who took it.

use softbus_core::wire::task::{
    Branch, CheckpointRef, Decree, Manifest, ManifestKind, Policy, STATEMENT_BYTES, TASK_TYPE_BYTES,
};
use softbus_core::{DeviceId, Domain, Epoch, Hash, Signed, Signer, TaskId, limits};

use super::EpochError;

const WHAT: &str = "manifest";

/// What only the driver knows of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Content {
    /// Checkpoint or result.
    pub kind: ManifestKind,
    /// Its number within the task; greater than that of the one before.
    pub sequence: u64,
    /// Version of the form of the state.
    pub state_version: u32,
    /// Hash over the list of chunk hashes.
    pub root: Hash,
    /// Number of chunks.
    pub chunks: u32,
    /// Length of the state in bytes.
    pub bytes: u64,
    /// Effects up to and with this sequence had left the task.
    pub effects: u64,
    /// How far the task was, 0–1000.
    pub progress_permille: u16,
    /// For whom, in a hand-over.
    pub destination: Option<DeviceId>,
}

/// The manifest of a new task's input: the checkpoint with sequence 0 that its root names. `owner`, `holders` and
/// `policy` are those of the [`Submission`](super::Submission).
#[allow(clippy::too_many_arguments, reason = "a submission is not there yet: it names this manifest")]
pub fn first(
    key: &dyn Signer,
    task: TaskId,
    task_type: &str,
    grant: Hash,
    policy: Policy,
    owner: DeviceId,
    holders: &[DeviceId],
    content: Content,
) -> Result<Signed, EpochError> {
    let mut acceptors = vec![owner];
    if let Policy::Quorum { .. } = policy {
        acceptors.extend_from_slice(holders);
    }
    acceptors.sort_unstable();
    acceptors.dedup();
    sign(
        key,
        Manifest {
            task,
            branch: Branch::NONE,
            epoch: Epoch(0),
            sequence: 0,
            kind: ManifestKind::Checkpoint,
            task_type: task_type.into(),
            state_version: content.state_version,
            source: key.id(),
            destination: Some(owner),
            policy,
            acceptors,
            root: content.root,
            chunks: content.chunks,
            bytes: content.bytes,
            effects: content.effects,
            progress_permille: content.progress_permille,
            grant,
        },
    )
}

/// The manifest of a checkpoint (or result) taken under `decree`, the decree of the epoch that runs
/// ([`TaskMachine::decree`](super::TaskMachine::decree)).
pub fn next(
    key: &dyn Signer,
    branch: Branch,
    decree: &Decree,
    content: Content,
) -> Result<Signed, EpochError> {
    sign(
        key,
        Manifest {
            task: decree.task,
            branch,
            epoch: decree.epoch,
            sequence: content.sequence,
            kind: content.kind,
            task_type: decree.task_type.clone(),
            state_version: content.state_version,
            source: key.id(),
            destination: content.destination,
            policy: decree.policy,
            acceptors: decree.acceptors(),
            root: content.root,
            chunks: content.chunks,
            bytes: content.bytes,
            effects: content.effects,
            progress_permille: content.progress_permille,
            grant: decree.grant,
        },
    )
}

fn sign(key: &dyn Signer, manifest: Manifest) -> Result<Signed, EpochError> {
    let body = softbus_core::encode(&manifest).map_err(|_| EpochError::Limits { what: WHAT })?;
    Ok(Signed::new(key, Domain::MANIFEST, body))
}

/// Parses and checks foreign bytes as far as they speak for themselves: signature, form, limits, and that the
/// signer is the source. A manifest with one flipped bit fails here.
pub fn open(signed: &Signed) -> Result<Manifest, EpochError> {
    if signed.body.len() > STATEMENT_BYTES {
        return Err(EpochError::Limits { what: WHAT });
    }
    let body =
        signed.verify(Domain::MANIFEST).map_err(|source| EpochError::Signature { what: WHAT, source })?;
    let manifest = parse(body)?;
    if manifest.source != signed.signer {
        return Err(EpochError::Foreign {
            what: WHAT,
            why: "it was signed by another device than its source",
        });
    }
    Ok(manifest)
}

/// Parses a manifest's bytes and checks its limits, not its signature (harness for fuzzing; use [`open`]).
pub fn parse(body: &[u8]) -> Result<Manifest, EpochError> {
    let manifest: Manifest =
        softbus_core::decode(body).map_err(|source| EpochError::Malformed { what: WHAT, source })?;
    let most = u64::from(manifest.chunks) * limits::CHUNK_BYTES as u64;
    let fits = manifest.chunks as usize <= limits::CHUNKS
        && manifest.bytes <= most
        && manifest.acceptors.len() <= limits::ACCEPTORS
        && manifest.task_type.len() <= TASK_TYPE_BYTES
        && manifest.progress_permille <= 1000;
    if fits { Ok(manifest) } else { Err(EpochError::Limits { what: WHAT }) }
}

/// Names a checkpoint by its manifest.
pub fn name(manifest: &Manifest, signed: &Signed) -> CheckpointRef {
    CheckpointRef { epoch: manifest.epoch, sequence: manifest.sequence, manifest: signed.hash() }
}

/// Opens a manifest that must be one of `decree`'s epoch, made by its owner, or that epoch's base.
pub fn open_for(
    signed: &Signed,
    branch: Branch,
    decree: &Decree,
) -> Result<(Manifest, CheckpointRef), EpochError> {
    let manifest = open(signed)?;
    let checkpoint = name(&manifest, signed);
    if manifest.task != decree.task {
        return Err(EpochError::Foreign { what: WHAT, why: "it is of another task" });
    }
    if checkpoint == decree.base {
        return Ok((manifest, checkpoint)); // vouched for by its hash
    }
    if manifest.branch != branch || manifest.epoch != decree.epoch {
        return Err(EpochError::Foreign { what: WHAT, why: "it is of another branch or epoch" });
    }
    if manifest.source != decree.owner {
        return Err(EpochError::Foreign { what: WHAT, why: "it was not made by the task's owner" });
    }
    if manifest.acceptors != decree.acceptors()
        || manifest.policy != decree.policy
        || manifest.grant != decree.grant
    {
        return Err(EpochError::Foreign {
            what: WHAT,
            why: "its acceptors, policy or grant are not those decided",
        });
    }
    Ok((manifest, checkpoint))
}
