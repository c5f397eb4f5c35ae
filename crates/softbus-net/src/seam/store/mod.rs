//! The one database: `redb` over the seam's [`Storage`]. Rooms define their own tables; this module keeps
//! the format version, runs the migrations, and turns the ways a disk can fail into errors that say what to do.
//!
//! Each room names its tables `room/what` (`trust/statements`). A write is durable when it returns. After a
//! failure of the disk the database closes itself and is opened again by the next use, so that a disk that
//! was full for a minute costs only what was tried in that minute.

mod check;
#[cfg(test)]
mod tests;

pub use check::check;

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend, TableDefinition, WriteTransaction};

use super::{Compute, Lane, Seam, Storage};

/// Memory the database may use to cache pages, in bytes.
pub(super) const CACHE_BYTES: usize = 4 << 20;
/// What one transaction costs in operations of the reference kernel (a simulator charges time for it).
const TRANSACTION_OPS: u64 = 20_000;

const META: TableDefinition<&str, u64> = TableDefinition::new("softbus/meta");
const FORMAT_KEY: &str = "format";

/// Brings a database from one format to the next, within the transaction that also raises its version.
type Migration = fn(&WriteTransaction) -> Result<(), StoreError>;

/// `MIGRATIONS[i]` brings format `i + 1` to format `i + 2`. Append only; a released one never changes.
const MIGRATIONS: &[Migration] = &[];

/// The format that this program writes.
pub const FORMAT: u64 = 1 + MIGRATIONS.len() as u64;

/// Why the database could not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room left.
    #[error(
        "the disk is full ({0}): free some space where the data folder lies; nothing stored before is lost"
    )]
    Full(String),
    /// Somebody else has it open.
    #[error(
        "the database is in use: stop the other softbus on this data folder, or choose another data folder"
    )]
    Locked,
    /// Its bytes make no sense.
    #[error(
        "the database is damaged ({0}): restore a backup of the data folder, or move `softbus.redb` away to start \
         without its circles and tasks"
    )]
    Corrupt(String),
    /// Written by a later version of this program.
    #[error("the database has format {found}, this softbus knows formats up to {known}: update softbus")]
    Newer {
        /// Format found.
        found: u64,
        /// Newest format known.
        known: u64,
    },
    /// The disk failed in another way. A write that ended so may or may not have been made.
    #[error("the database's disk failed: {0}")]
    Io(String),
    /// A table was used with other types than it was made with, or the like: an error of this program.
    #[error("the database was used wrongly: {0}")]
    Misuse(String),
    /// The work panicked; nothing of it was made. An error of this program, or a database damaged in a way that
    /// its library does not expect.
    #[error(
        "work on the database broke off (`{0}`): report this; if it comes again, the database may be damaged"
    )]
    Broke(String),
    /// [`Store::close`] was called, or the work was dropped because the bus is closing.
    #[error("the database is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full(error.to_string())
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy => Self::Locked,
            // What redb says of a file that is no database of its own.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Corrupt(error.to_string()),
            _ => Self::Io(error.to_string()),
        }
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::Locked,
            redb::Error::Corrupted(what) => Self::Corrupt(what),
            redb::Error::UpgradeRequired(version) => Self::Corrupt(format!(
                "it has file format {version} of a database library older than any softbus used"
            )),
            redb::Error::RepairAborted => Self::Corrupt("its repair was aborted".into()),
            redb::Error::Io(error) => Self::io(&error),
            redb::Error::PreviousIo => Self::Io("an earlier operation failed".into()),
            redb::Error::DatabaseClosed => Self::Closed,
            other => Self::Misuse(other.to_string()),
        }
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}
from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError,
    redb::SavepointError,
    redb::CompactionError
);

/// The database of this device. Clones share it. End it by [`Store::close`]; dropping the last clone closes it on
/// the spot, which blocks for as long as the disk takes.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    storage: Arc<dyn Storage>,
    compute: Arc<dyn Compute>,
    state: RwLock<State>,
    /// The first failure of the disk under the database that is open now.
    failure: Failure,
    /// One writer at a time, in order of asking; taken before a worker, so that writers that wait do not
    /// occupy the lane.
    writer: Arc<tokio::sync::Mutex<()>>,
    migrations: &'static [Migration],
}

enum State {
    Open(Database),
    /// To be opened by the next use.
    Down,
    Closed,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens the database of `seam`, making it if there is none, and brings it to this program's [`FORMAT`].
    ///
    /// # Errors
    /// Whatever [`StoreError`] says: in use, damaged, newer than this program, no room.
    pub async fn open(seam: &Seam) -> Result<Self, StoreError> {
        Self::open_with(seam.storage.clone(), seam.compute.clone(), MIGRATIONS).await
    }

    async fn open_with(
        storage: Arc<dyn Storage>,
        compute: Arc<dyn Compute>,
        migrations: &'static [Migration],
    ) -> Result<Self, StoreError> {
        let inner = Arc::new(Inner {
            storage,
            compute,
            state: RwLock::new(State::Down),
            failure: Failure::default(),
            writer: Arc::default(),
            migrations,
        });
        let opened = inner.clone();
        inner
            .compute
            .run(Lane::Disk, TRANSACTION_OPS, move || opened.with(|_| Ok::<_, StoreError>(())))
            .await
            .unwrap_or(Err(StoreError::Closed))?;
        Ok(Self(inner))
    }

    /// Runs `work` in a write transaction and commits it; durable (fsync) when this returns `Ok`. If `work`
    /// fails or panics nothing is changed. Writers run one after another, in the order in which they asked.
    ///
    /// If the returned future is dropped before the transaction begins nothing happens; after that the
    /// transaction runs to its end.
    ///
    /// # Errors
    /// Those of `work`, and [`StoreError`]. After [`StoreError::Io`] read again to learn whether the change
    /// was made.
    pub async fn write<T, E>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let turn = self.0.writer.clone().lock_owned().await;
        let inner = self.0.clone();
        let job = move || {
            let _turn = turn;
            inner.with(|db| {
                let transaction = db.begin_write().map_err(|e| inner.cause(e.into()))?;
                match work(&transaction) {
                    Ok(value) => {
                        transaction.commit().map_err(|e| inner.cause(e.into()))?;
                        Ok(value)
                    }
                    Err(error) => {
                        // A failure to roll back shows up as the failure of the disk that it is.
                        let _ = transaction.abort();
                        Err(error)
                    }
                }
            })
        };
        self.0
            .compute
            .run(Lane::Disk, TRANSACTION_OPS, job)
            .await
            .unwrap_or_else(|| Err(StoreError::Closed.into()))
    }

    /// Runs `work` on a snapshot of the database. Reads run beside each other and beside a write. Opening a
    /// table that was never written fails ([`redb::TableError::TableDoesNotExist`]): see [`existing`].
    ///
    /// # Errors
    /// Those of `work`, and [`StoreError`].
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let inner = self.0.clone();
        let job = move || {
            inner.with(|db| {
                let transaction = db.begin_read().map_err(|e| inner.cause(e.into()))?;
                work(&transaction)
            })
        };
        self.0
            .compute
            .run(Lane::Disk, TRANSACTION_OPS, job)
            .await
            .unwrap_or_else(|| Err(StoreError::Closed.into()))
    }

    /// Whether the open database answers: reads a little of it.
    ///
    /// # Errors
    /// [`StoreError`], as any read.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.read(|transaction| {
            Ok(existing(transaction, META)?.map_or(Ok(None), |meta| meta.get(FORMAT_KEY)).map(drop)?)
        })
        .await
    }

    /// Closes the database for all clones, after the work under way. Whatever is asked later gets
    /// [`StoreError::Closed`].
    pub async fn close(&self) {
        let _turn = self.0.writer.clone().lock_owned().await;
        let inner = self.0.clone();
        let job = move || inner.state.write().unwrap_or_else(PoisonError::into_inner).close(State::Closed);
        let _ = self.0.compute.run(Lane::Disk, TRANSACTION_OPS, job).await;
    }
}

/// Opens `table` for reading, `None` if nothing was ever written to it.
///
/// # Errors
/// Those of [`ReadTransaction::open_table`] but [`redb::TableError::TableDoesNotExist`].
pub fn existing<K: redb::Key + 'static, V: redb::Value + 'static>(
    transaction: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<Option<redb::ReadOnlyTable<K, V>>, StoreError> {
    match transaction.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Inner {
    /// Runs `work` on the open database, opening it first if it is down, and takes it down if the disk failed.
    fn with<T, E: From<StoreError>>(&self, work: impl FnOnce(&Database) -> Result<T, E>) -> Result<T, E> {
        let mut state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if let State::Down = *state {
            drop(state);
            self.reopen()?;
            state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        }
        let result = match &*state {
            // Foreign bytes: a damaged file may make the database's library panic.
            State::Open(db) => catch_unwind(AssertUnwindSafe(|| work(db))),
            // It failed again just now, under another's hands.
            State::Down => return Err(self.failure.error().unwrap_or(StoreError::Closed).into()),
            State::Closed => return Err(StoreError::Closed.into()),
        };
        drop(state);
        match (result, self.failure.error()) {
            (Ok(result), None) => result,
            (Ok(result), Some(cause)) => {
                self.take_down(&cause);
                result
            }
            (Err(panic), cause) => {
                let broke = StoreError::Broke(what(&*panic));
                self.take_down(&broke);
                Err(cause.unwrap_or(broke).into())
            }
        }
    }

    /// What lies behind an error of the database, which itself may only say that "an earlier operation failed".
    fn cause(&self, error: StoreError) -> StoreError {
        self.failure.error().unwrap_or(error)
    }

    fn take_down(&self, cause: &StoreError) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let State::Open(_) = *state {
            tracing::warn!(%cause, "the database is closed and opened again at its next use");
            state.close(State::Down);
        }
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State::Down = *state else { return Ok(()) };
        self.failure.clear();
        let open = || -> Result<Database, StoreError> {
            let backend = self.storage.database().map_err(|e| StoreError::io(&e))?;
            let backend = Watched { backend, failure: self.failure.clone() };
            if backend.is_unborn().map_err(|e| StoreError::io(&e))? {
                backend.set_len(0).map_err(|e| StoreError::io(&e))?;
            }
            let db = redb::Builder::new()
                .set_cache_size(self.storage.cache_bytes())
                .create_with_backend(backend)?;
            migrate(&db, self.migrations)?;
            Ok(db)
        };
        match catch_unwind(AssertUnwindSafe(open)) {
            Ok(Ok(db)) => {
                *state = State::Open(db);
                Ok(())
            }
            Ok(Err(error)) => Err(self.cause(error)),
            Err(panic) => Err(self.cause(StoreError::Corrupt(what(&*panic)))),
        }
    }
}

impl State {
    /// Lets go of the database, whose closing may fail in any way.
    fn close(&mut self, then: State) {
        let former = std::mem::replace(self, then);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(former))) {
            tracing::warn!(what = what(&*panic), "the database could not be closed in order");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner).close(State::Closed);
    }
}

/// What a panic said.
fn what(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason given".into())
}

/// The format of a database, `None` for a fresh one. Refuses one that is newer than `known` or makes no sense.
fn format(db: &Database, known: u64) -> Result<Option<u64>, StoreError> {
    let transaction = db.begin_read()?;
    let found = match existing(&transaction, META)? {
        Some(meta) => meta.get(FORMAT_KEY)?.map(|format| format.value()),
        None => None,
    };
    let fresh = found.is_none() && transaction.list_tables()?.next().is_none();
    transaction.close()?;
    match found {
        Some(format) if format > known => Err(StoreError::Newer { found: format, known }),
        Some(0) => Err(StoreError::Corrupt("its format version is 0".into())),
        None if !fresh => Err(StoreError::Corrupt("it has tables but no format version".into())),
        found => Ok(found),
    }
}

/// Checks the format version and runs what migrations are due, all in one transaction.
fn migrate(db: &Database, migrations: &[Migration]) -> Result<(), StoreError> {
    let known = 1 + migrations.len() as u64;
    let from = match format(db, known)? {
        Some(format) if format == known => return Ok(()),
        found => found.unwrap_or(known),
    };
    let transaction = db.begin_write()?;
    for (index, migration) in migrations.iter().enumerate().skip((from - 1) as usize) {
        tracing::info!(from = index + 1, to = index + 2, "bringing the database to a newer format");
        migration(&transaction)?;
    }
    transaction.open_table(META)?.insert(FORMAT_KEY, known)?;
    transaction.commit()?;
    Ok(())
}

/// Remembers the first failure of a disk.
#[derive(Clone, Default, Debug)]
struct Failure(Arc<Mutex<Option<StoreError>>>);

impl Failure {
    fn error(&self) -> Option<StoreError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert_with(|| StoreError::io(error));
        }
        result
    }
}

/// A backend whose failures are remembered: redb refuses to go on after one, with an error that no longer
/// says why.
#[derive(Debug)]
struct Watched {
    backend: Box<dyn StorageBackend>,
    failure: Failure,
}

/// Length of what a redb file begins with (redb's `docs/design.md`, "Magic number").
const MAGIC_BYTES: u64 = 9;

impl Watched {
    /// Whether the power went while the database was being made. Its library writes the magic last of all, and does not
    /// take a file for empty in which that is lacking; nothing can have been stored in one.
    fn is_unborn(&self) -> io::Result<bool> {
        let len = self.len()?;
        let mut magic = [0; MAGIC_BYTES as usize];
        if len >= MAGIC_BYTES {
            self.read(0, &mut magic)?;
        }
        Ok(len > 0 && magic == [0; MAGIC_BYTES as usize])
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.failure.note(self.backend.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.failure.note(self.backend.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.failure.note(self.backend.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.failure.note(self.backend.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.failure.note(self.backend.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }
}
