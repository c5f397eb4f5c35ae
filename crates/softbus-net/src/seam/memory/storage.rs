use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use softbus_core::Hash;
use zeroize::Zeroizing;

use super::entropy::Dice;
use super::lock;
use super::pages::{Pages, places};
use crate::seam::{Blobs, Storage};

/// Torn writes are torn at multiples of this many bytes.
const SECTOR_BYTES: usize = 512;
/// Past so many unsynced writes the disk begins to write back by itself, as an operating system does.
const PENDING_WRITES: usize = 1 << 16;
/// Past so many bytes of removed blobs the oldest removals become durable by themselves.
const REMOVED_BYTES: usize = 1 << 20;
/// Of the database, kept beside it.
const CACHE_BYTES: usize = 16 << 10;

/// What is left of unsynced writes after a power cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// Nothing, but that removed blobs are back only as far as the last megabyte of them goes.
    Clean,
    /// Any part, drawn by this seed: whole writes, single sectors of them, in any order; blobs torn or there.
    Torn(u64),
}

/// A disk in memory: database, blobs and secrets. It tells synced from unsynced, crashes, fills and fails
/// when told. Cloning makes a handle to the same disk.
#[derive(Clone)]
pub struct MemoryStorage {
    disk: Arc<Mutex<Disk>>,
    /// The run of the program this handle was given to; 0 for the test's own handle, which always works.
    connection: u64,
}

#[derive(Default)]
struct Disk {
    connection: u64,
    open: bool,
    database: Database,
    blobs: BTreeMap<Hash, Blob>,
    /// Removed, but the removal is not yet durable; in order.
    removed: VecDeque<(Hash, Vec<u8>)>,
    secrets: BTreeMap<String, Vec<u8>>,
    /// What durably stands where a secret was changed and the change could not be made durable.
    durable_secrets: BTreeMap<String, Option<Vec<u8>>>,
    capacity_bytes: Option<u64>,
    writes_before_failure: Option<u64>,
    writes: u64,
    syncs: u64,
}

#[derive(Default)]
struct Database {
    now: Pages,
    durable: Pages,
    /// What makes `now` out of `durable`.
    pending: Vec<Pending>,
}

enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

struct Blob {
    bytes: Vec<u8>,
    synced: bool,
}

impl MemoryStorage {
    /// An empty disk without end.
    #[allow(clippy::new_without_default)] // a disk is a thing, not a value
    pub fn new() -> Self {
        Self { disk: Arc::default(), connection: 0 }
    }

    /// It holds no more than this; past it writes fail with [`io::ErrorKind::StorageFull`]. `None`: no end.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.disk).capacity_bytes = bytes;
    }

    /// After this many more writes and syncs every one fails, until called with `None`.
    pub fn fail_after(&self, writes: Option<u64>) {
        lock(&self.disk).writes_before_failure = writes;
    }

    /// Bytes held now.
    pub fn used_bytes(&self) -> u64 {
        lock(&self.disk).used()
    }

    /// How many writes and syncs of any kind there were, to choose where to fail.
    pub fn writes(&self) -> (u64, u64) {
        let disk = lock(&self.disk);
        (disk.writes, disk.syncs)
    }

    /// Flips bits of one byte of the database, modulo its length: a disk that rots. Nothing if it is empty.
    pub fn rot_database(&self, offset: u64, mask: u8) {
        let disk = &mut *lock(&self.disk);
        let len = disk.database.now.len() as u64;
        if len > 0 {
            let at = (offset % len) as usize;
            disk.database.now.flip(at, mask);
            disk.database.durable.flip(at, mask);
        }
    }

    /// Replaces the bytes of a blob, as a disk that rots does.
    pub fn rot_blob(&self, name: &Hash, bytes: Vec<u8>) {
        lock(&self.disk).blobs.insert(*name, Blob { bytes, synced: true });
    }

    /// A power cut: unsynced writes are lost, or torn.
    pub fn crash(&self, crash: Crash) {
        lock(&self.disk).crash(crash);
    }

    /// Handles given out before answer with errors from now on.
    pub(super) fn disconnect(&self) {
        let mut disk = lock(&self.disk);
        disk.connection += 1;
        disk.open = false;
    }

    pub(super) fn clone_connected(&self) -> Self {
        let connection = lock(&self.disk).connection;
        Self { disk: self.disk.clone(), connection }
    }

    /// A handle for a program that starts now, without a [`Host`](super::Host): the handles of programs
    /// before it are dead, as if they had been killed. After a [`MemoryStorage::crash`] connect anew.
    pub fn connect(&self) -> Self {
        self.disconnect();
        self.clone_connected()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = lock(&self.disk);
        if self.connection != 0 && self.connection != disk.connection {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "this run of the host is over"));
        }
        act(&mut disk)
    }
}

impl Disk {
    fn used(&self) -> u64 {
        let blobs: usize = self.blobs.values().map(|blob| blob.bytes.len()).sum();
        let secrets: usize = self.secrets.values().map(Vec::len).sum();
        (self.database.now.len() + blobs + secrets) as u64
    }

    /// Accounts for a write that makes the disk hold `more` bytes.
    fn charge(&mut self, more: usize) -> io::Result<()> {
        self.writes += 1;
        self.spend()?;
        if self.capacity_bytes.is_some_and(|capacity| more > 0 && self.used() + more as u64 > capacity) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the virtual disk"));
        }
        Ok(())
    }

    fn charge_sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        self.spend()
    }

    fn spend(&mut self) -> io::Result<()> {
        match &mut self.writes_before_failure {
            Some(0) => Err(io::Error::other("the virtual disk fails")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Replaces or removes a secret: durable if it returns without an error.
    fn set_secret(&mut self, name: &str, secret: Option<Vec<u8>>) -> io::Result<()> {
        let before = match secret {
            Some(secret) => self.secrets.insert(name.to_owned(), secret),
            None => self.secrets.remove(name),
        };
        match self.charge_sync() {
            Ok(()) => drop(self.durable_secrets.remove(name)),
            Err(error) => {
                self.durable_secrets.entry(name.to_owned()).or_insert(before);
                return Err(error);
            }
        }
        Ok(())
    }

    fn crash(&mut self, crash: Crash) {
        let pending = std::mem::take(&mut self.database.pending);
        let removed = std::mem::take(&mut self.removed);
        for (name, durable) in std::mem::take(&mut self.durable_secrets) {
            // Replaced in one step: it is the old one or the new one, never a part.
            let back = match crash {
                Crash::Clean => true,
                Crash::Torn(seed) => Dice::new(seed ^ name.len() as u64).permille(500),
            };
            if back {
                match durable {
                    Some(secret) => self.secrets.insert(name, secret),
                    None => self.secrets.remove(&name),
                };
            }
        }
        if let Crash::Torn(seed) = crash {
            let mut dice = Dice::new(seed);
            for write in pending {
                self.database.tear(write, &mut dice);
            }
            for blob in self.blobs.values_mut().filter(|blob| !blob.synced) {
                match dice.below(3) {
                    0 => continue,
                    1 => {
                        let keep = dice.below(blob.bytes.len() as u64 + 1) as usize;
                        blob.bytes.truncate(keep);
                    }
                    _ => {}
                }
                blob.synced = true;
            }
            for (name, bytes) in removed {
                if dice.permille(500) {
                    self.blobs.insert(name, Blob { bytes, synced: true });
                }
            }
        } else {
            for (name, bytes) in removed {
                self.blobs.insert(name, Blob { bytes, synced: true });
            }
        }
        self.blobs.retain(|_, blob| blob.synced);
        self.database.now = self.database.durable.clone();
    }
}

impl Database {
    fn sync(&mut self) {
        let mut changed = BTreeSet::new();
        let mut len = self.durable.len();
        for write in std::mem::take(&mut self.pending) {
            match write {
                Pending::Write { offset, bytes } => {
                    changed.extend(places(offset, bytes.len()));
                    len = len.max(offset + bytes.len());
                }
                Pending::Length(to) => {
                    changed.extend(places(len.min(to), len.abs_diff(to)));
                    len = to;
                }
            }
        }
        self.durable.follow(&self.now, &changed);
    }

    /// Writes back what is pending if that is much; before a change, so that it takes no part of it.
    fn make_room(&mut self) {
        if self.pending.len() >= PENDING_WRITES {
            self.sync();
        }
    }

    fn settle(&mut self, write: Pending) {
        match write {
            Pending::Length(len) => self.durable.resize(len),
            Pending::Write { offset, bytes } => self.durable.write(offset, &bytes),
        }
    }

    fn tear(&mut self, write: Pending, dice: &mut Dice) {
        match write {
            Pending::Length(_) => {
                // File systems order a change of length before the data behind it; so it is there, or
                // nothing behind the old end is.
                self.settle(write);
            }
            Pending::Write { offset, bytes } => match dice.below(3) {
                0 => {}
                1 => self.settle(Pending::Write { offset, bytes }),
                _ => {
                    for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                        if dice.permille(500) {
                            let offset = offset + index * SECTOR_BYTES;
                            self.settle(Pending::Write { offset, bytes: sector.to_vec() });
                        }
                    }
                }
            },
        }
    }
}

impl Storage for MemoryStorage {
    /// It is in memory as it is. (Some pages save redb from reading them again within a transaction.)
    fn cache_bytes(&self) -> usize {
        CACHE_BYTES
    }

    fn database(&self) -> io::Result<Box<dyn redb::StorageBackend>> {
        self.with(|disk| {
            if disk.open {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the database is open already"));
            }
            disk.open = true;
            Ok(())
        })?;
        Ok(Box::new(Backend(self.clone())))
    }

    fn blobs(&self) -> Arc<dyn Blobs> {
        Arc::new(self.clone())
    }

    fn secret(&self, name: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        self.with(|disk| Ok(disk.secrets.get(name).cloned().map(Zeroizing::new)))
    }

    fn put_secret(&self, name: &str, secret: &[u8]) -> io::Result<()> {
        self.with(|disk| {
            disk.charge(secret.len())?;
            disk.set_secret(name, Some(secret.to_vec()))
        })
    }

    fn remove_secret(&self, name: &str) -> io::Result<()> {
        self.with(|disk| disk.set_secret(name, None))
    }
}

impl Blobs for MemoryStorage {
    fn put(&self, name: &Hash, bytes: &[u8]) -> io::Result<()> {
        self.with(|disk| {
            // One torn by a crash has another length and is written again, as on a real disk.
            if disk.blobs.get(name).is_some_and(|blob| blob.bytes.len() == bytes.len()) {
                return Ok(());
            }
            disk.charge(bytes.len())?;
            disk.blobs.insert(*name, Blob { bytes: bytes.to_vec(), synced: false });
            Ok(())
        })
    }

    fn sync(&self, names: &[Hash]) -> io::Result<()> {
        self.with(|disk| {
            disk.charge_sync()?;
            for name in names {
                let blob = disk.blobs.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
                blob.synced = true;
                disk.removed.retain(|(removed, _)| removed != name);
            }
            Ok(())
        })
    }

    fn get(&self, name: &Hash) -> io::Result<Option<Vec<u8>>> {
        self.with(|disk| Ok(disk.blobs.get(name).map(|blob| blob.bytes.clone())))
    }

    fn remove(&self, name: &Hash) -> io::Result<()> {
        self.with(|disk| {
            disk.charge(0)?;
            if let Some(blob) = disk.blobs.remove(name)
                && blob.synced
            {
                disk.removed.push_back((*name, blob.bytes));
                let mut held: usize = disk.removed.iter().map(|(_, bytes)| bytes.len()).sum();
                while held > REMOVED_BYTES
                    && let Some((_, durably)) = disk.removed.pop_front()
                {
                    held -= durably.len();
                }
            }
            Ok(())
        })
    }

    fn list(&self) -> io::Result<Vec<Hash>> {
        self.with(|disk| Ok(disk.blobs.keys().copied().collect()))
    }
}

/// The database file of one run.
struct Backend(MemoryStorage);

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("memory")
    }
}

fn beyond() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the end of the database")
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.with(|disk| Ok(disk.database.now.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.with(|disk| {
            let offset = usize::try_from(offset).map_err(|_| beyond())?;
            disk.database.now.read(offset, out).ok_or_else(beyond)
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.with(|disk| {
            let len = usize::try_from(len).map_err(|_| beyond())?;
            disk.charge(len.saturating_sub(disk.database.now.len()))?;
            disk.database.make_room();
            disk.database.now.resize(len);
            disk.database.pending.push(Pending::Length(len));
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.with(|disk| {
            disk.charge_sync()?;
            disk.database.sync();
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.with(|disk| {
            let offset = usize::try_from(offset).map_err(|_| beyond())?;
            let end = offset.checked_add(data.len()).ok_or_else(beyond)?;
            disk.charge(end.saturating_sub(disk.database.now.len()))?;
            disk.database.make_room();
            disk.database.now.write(offset, data);
            disk.database.pending.push(Pending::Write { offset, bytes: data.to_vec() });
            Ok(())
        })
    }

    fn close(&self) -> io::Result<()> {
        // A handle of a former run must not unlock the present one's.
        let _ = self.0.with(|disk| {
            disk.open = false;
            Ok(())
        });
        Ok(())
    }
}
