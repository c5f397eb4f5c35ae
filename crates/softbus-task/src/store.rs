//! What this device remembers of its tasks across restarts: machine records, grants and keys, checkpoints.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use softbus_core::wire::task_control::{Image, Move};
use softbus_core::{Hash, Signed, TaskId, WallMs};
use softbus_net::seam::store::{Store, StoreError, existing};

use crate::TaskError;
use crate::checkpoint::Wrapped;
use crate::contents::Kept;
use crate::epoch::{Durable, Trace};

/// Task id → [`Durable`].
const RECORDS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("task/records");
/// Task id → [`TaskFile`].
const FILES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("task/files");
/// Task id and manifest hash → [`Checkpoint`].
const CHECKPOINTS: TableDefinition<'_, &[u8; 48], &[u8]> = TableDefinition::new("task/checkpoints");

/// Name of a content → [`Kept`].
const CONTENTS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("task/contents");
/// Task id → [`Gone`].
const TRACES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("task/traces");

/// Format of the values in these tables but the records, which have their own.
const FORMAT: u16 = 1;

/// What is kept of a task beside its machine's record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct TaskFile {
    /// The grant, signed by the submitter.
    pub grant: Signed,
    /// The task's key, wrapped; empty if it was not handed to this device.
    pub key: Wrapped,
    /// Its latest moves.
    pub moves: Vec<Move>,
    /// What went wrong last.
    pub error: Option<String>,
    /// For how long it has been over, as counted here, in milliseconds.
    pub over_ms: Option<u64>,
}

/// A checkpoint or result whose chunks are durable here.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub manifest: Signed,
    pub image: Image,
}

/// What stays of a task that was forgotten.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Gone {
    pub trace: Trace,
    /// When it was forgotten, by our wall clock.
    pub at: WallMs,
}

/// All that was remembered of one task.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub record: Durable,
    pub file: Option<TaskFile>,
    pub checkpoints: BTreeMap<Hash, Checkpoint>,
}

/// What [`TaskStore::load`] found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub tasks: BTreeMap<TaskId, Loaded>,
    /// Checkpoints whose task has no record: left behind by a crash.
    pub orphans: Vec<(TaskId, Hash)>,
    /// Tasks that were forgotten.
    pub gone: BTreeMap<TaskId, Gone>,
    /// Contents.
    pub contents: BTreeMap<Hash, Kept>,
    /// Contents of which nothing can be read: they are forgotten.
    pub spoilt: Vec<Hash>,
    /// Tasks of which something cannot be read: they are left as they are, and not joined again. While there are
    /// any, nothing is erased as garbage.
    pub unreadable: BTreeSet<TaskId>,
}

impl Found {
    /// Names of all chunks that tasks still need.
    pub fn named(&self) -> BTreeSet<Hash> {
        let checkpoints = self.tasks.values().flat_map(|task| task.checkpoints.values());
        checkpoints.flat_map(|checkpoint| &checkpoint.image.chunks).copied().collect()
    }
}

/// The tables. Clones share the database.
#[derive(Clone)]
pub(crate) struct TaskStore(pub Store);

impl TaskStore {
    /// Reads everything.
    pub async fn load(&self) -> Result<Found, StoreError> {
        self.0
            .read(|txn| {
                let mut found = Found::default();
                let mut files = BTreeMap::new();
                if let Some(table) = existing(txn, FILES)? {
                    for entry in table.iter()? {
                        let (key, value) = entry?;
                        match decode::<TaskFile>(value.value()) {
                            Ok(file) => {
                                files.insert(TaskId(*key.value()), file);
                            }
                            Err(_) => {
                                found.unreadable.insert(TaskId(*key.value()));
                            }
                        }
                    }
                }
                if let Some(table) = existing(txn, TRACES)? {
                    for entry in table.iter()? {
                        let (key, value) = entry?;
                        let task = TaskId(*key.value());
                        match decode::<Gone>(value.value()) {
                            Ok(gone) => {
                                found.gone.insert(task, gone);
                            }
                            Err(_) => {
                                found.unreadable.insert(task);
                            }
                        }
                    }
                }
                if let Some(table) = existing(txn, RECORDS)? {
                    for entry in table.iter()? {
                        let (key, value) = entry?;
                        let task = TaskId(*key.value());
                        match Durable::from_bytes(value.value()) {
                            Ok(record) => {
                                let file = files.remove(&task);
                                found
                                    .tasks
                                    .insert(task, Loaded { record, file, checkpoints: BTreeMap::new() });
                            }
                            Err(error) => {
                                tracing::error!(%task, %error, "the record of a task cannot be read");
                                found.unreadable.insert(task);
                            }
                        }
                    }
                }
                if let Some(table) = existing(txn, CHECKPOINTS)? {
                    for entry in table.iter()? {
                        let (key, value) = entry?;
                        let (task, manifest) = split(key.value());
                        match (decode::<Checkpoint>(value.value()), found.tasks.get_mut(&task)) {
                            (Ok(checkpoint), Some(loaded)) => {
                                loaded.checkpoints.insert(manifest, checkpoint);
                            }
                            (Ok(_), None) => found.orphans.push((task, manifest)),
                            (Err(_), _) => {
                                found.unreadable.insert(task);
                            }
                        }
                    }
                }
                if let Some(table) = existing(txn, CONTENTS)? {
                    for entry in table.iter()? {
                        let (key, value) = entry?;
                        match decode::<Kept>(value.value()) {
                            Ok(content) => {
                                found.contents.insert(Hash(*key.value()), content);
                            }
                            Err(_) => found.spoilt.push(Hash(*key.value())),
                        }
                    }
                }
                Ok(found)
            })
            .await
    }

    /// Replaces the record of a content, if there is a new one, and forgets others.
    pub async fn put_content(
        &self,
        content: Option<(Hash, &Kept)>,
        gone: impl IntoIterator<Item = Hash>,
    ) -> Result<(), TaskError> {
        let content = content.map(|(name, kept)| Ok::<_, TaskError>((name, encode(kept)?))).transpose()?;
        let gone: Vec<Hash> = gone.into_iter().collect();
        if content.is_none() && gone.is_empty() {
            return Ok(());
        }
        self.write(move |txn| {
            let mut table = txn.open_table(CONTENTS)?;
            for name in gone {
                table.remove(&name.0)?;
            }
            if let Some((name, bytes)) = content {
                table.insert(&name.0, bytes.as_slice())?;
            }
            Ok(())
        })
        .await
    }

    /// Replaces a machine's record; with the first one comes the task's file, and what was left of the task from before
    /// is of no use any more.
    pub async fn put_record(&self, record: &Durable, first: Option<&TaskFile>) -> Result<(), TaskError> {
        let key = record.task.0;
        let bytes = record.to_bytes().map_err(|e| TaskError::Storage(e.to_string()))?;
        let file = first.map(encode).transpose()?;
        self.write(move |txn| {
            txn.open_table(RECORDS)?.insert(&key, bytes.as_slice())?;
            if let Some(file) = file {
                txn.open_table(FILES)?.insert(&key, file.as_slice())?;
                txn.open_table(TRACES)?.remove(&key)?;
            }
            Ok(())
        })
        .await
    }

    /// Replaces a task's file.
    pub async fn put_file(&self, task: TaskId, file: &TaskFile) -> Result<(), TaskError> {
        let bytes = encode(file)?;
        self.write(move |txn| {
            txn.open_table(FILES)?.insert(&task.0, bytes.as_slice())?;
            Ok(())
        })
        .await
    }

    /// Adds a checkpoint whose chunks are durable, and the task's file if it changed.
    pub async fn put_checkpoint(
        &self,
        task: TaskId,
        checkpoint: &Checkpoint,
        file: Option<&TaskFile>,
    ) -> Result<(), TaskError> {
        let key = join(task, checkpoint.manifest.hash());
        let bytes = encode(checkpoint)?;
        let file = file.map(encode).transpose()?;
        self.write(move |txn| {
            txn.open_table(CHECKPOINTS)?.insert(&key, bytes.as_slice())?;
            if let Some(file) = file {
                txn.open_table(FILES)?.insert(&task.0, file.as_slice())?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets checkpoints.
    pub async fn remove_checkpoints(&self, gone: Vec<(TaskId, Hash)>) -> Result<(), TaskError> {
        if gone.is_empty() {
            return Ok(());
        }
        self.write(move |txn| {
            let mut table = txn.open_table(CHECKPOINTS)?;
            for (task, manifest) in gone {
                table.remove(&join(task, manifest))?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets a task but for its trace, and the trace of an `older` one. Its key is gone with its file, whatever becomes
    /// of its chunks.
    pub async fn forget(
        &self,
        task: TaskId,
        gone: Option<&Gone>,
        older: Option<TaskId>,
    ) -> Result<(), TaskError> {
        let gone = gone.map(encode).transpose()?;
        self.write(move |txn| {
            if let Some(gone) = gone {
                let mut table = txn.open_table(TRACES)?;
                table.insert(&task.0, gone.as_slice())?;
                if let Some(older) = older {
                    table.remove(&older.0)?;
                }
            }
            txn.open_table(RECORDS)?.remove(&task.0)?;
            txn.open_table(FILES)?.remove(&task.0)?;
            let mut table = txn.open_table(CHECKPOINTS)?;
            let (from, to) = (join(task, Hash([0; 32])), join(task, Hash([0xff; 32])));
            let keys: Vec<[u8; 48]> = table
                .range::<&[u8; 48]>(&from..=&to)?
                .map(|e| e.map(|(k, _)| *k.value()))
                .collect::<Result<_, _>>()?;
            for key in keys {
                table.remove(&key)?;
            }
            Ok(())
        })
        .await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, TaskError> {
        self.0.write(work).await.map_err(|e| TaskError::Storage(e.to_string()))
    }
}

fn join(task: TaskId, manifest: Hash) -> [u8; 48] {
    let mut key = [0; 48];
    key[..16].copy_from_slice(&task.0);
    key[16..].copy_from_slice(&manifest.0);
    key
}

fn split(key: &[u8; 48]) -> (TaskId, Hash) {
    let (mut task, mut manifest) = ([0; 16], [0; 32]);
    task.copy_from_slice(&key[..16]);
    manifest.copy_from_slice(&key[16..]);
    (TaskId(task), Hash(manifest))
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, TaskError> {
    postcard::to_extend(value, FORMAT.to_le_bytes().to_vec()).map_err(|e| TaskError::Storage(e.to_string()))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    let corrupt = || StoreError::Corrupt("a task's file cannot be read".into());
    let (format, body) = bytes.split_first_chunk::<2>().ok_or_else(corrupt)?;
    if u16::from_le_bytes(*format) != FORMAT {
        return Err(corrupt());
    }
    postcard::from_bytes(body).map_err(|_| corrupt())
}

/// For harnesses: reads bytes as each of the records that lie in the database, and says whether they were one. What is
/// read must survive being written and read again.
///
/// # Panics
/// If it does not.
pub fn read_stored(bytes: &[u8]) -> bool {
    fn again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> bool {
        let Ok(value) = decode::<T>(bytes) else { return false };
        let written = encode(&value).unwrap_or_default();
        assert_eq!(decode::<T>(&written).ok().as_ref(), Some(&value), "a record changed on the disk");
        true
    }
    let file = again::<TaskFile>(bytes) | again::<Gone>(bytes) | again::<Kept>(bytes);
    let checkpoint = again::<Checkpoint>(bytes);
    let record = match Durable::from_bytes(bytes) {
        Ok(record) => {
            let written = record.to_bytes().unwrap_or_default();
            assert_eq!(Durable::from_bytes(&written).ok(), Some(record), "a record changed on the disk");
            true
        }
        Err(_) => false,
    };
    file || checkpoint || record
}
