//! Blobs on disk, many to a file: a checkpoint's chunks become durable by one `fdatasync`, however many they are.
//!
//! Blobs are appended to the newest [segment]; an index in memory says where each one lies, and is made anew from
//! the segments at the start. A removed blob leaves the index at once; its room is given back when nothing in its
//! segment is left, or by [`Blobs::tidy`], which moves the last few of a segment elsewhere. A removal is not made
//! durable: after a power cut the blob may be there again, which its user notices as a blob that nothing names.

mod segment;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use softbus_core::Hash;

use super::atomic;
use super::folder::Folder;
use crate::seam::Blobs;
use segment::{HEAD_BYTES, RECORD_HEAD_BYTES, Record, Salt};
pub use segment::{read_segment, write_segment};

/// Longest blob, in bytes.
const BLOB_BYTES: u64 = 512 << 20;
/// Past this length a segment takes no further blobs.
#[cfg(not(test))]
const SEGMENT_BYTES: u64 = 8 << 20;
/// Short, so that tests fill many.
#[cfg(test)]
const SEGMENT_BYTES: u64 = 32 << 10;
/// A segment of which less than one part in so many is in use is emptied by [`Blobs::tidy`].
const SPARSE: u64 = 4;
/// Ends the names of segments.
const ENDING: &str = ".seg";

/// Blobs in segments: files `blobs/0000000000000007.seg`.
pub(super) struct FileBlobs {
    root: PathBuf,
    /// The segment that is written to. Taken before `index`, never after it.
    writer: Mutex<Option<Writer>>,
    index: Mutex<Index>,
    /// One tidying at a time.
    tidying: Mutex<()>,
    /// Keeps the data folder ours.
    _folder: Arc<Folder>,
}

/// The segment that takes new blobs.
struct Writer {
    number: u64,
    salt: Salt,
    file: Arc<File>,
    end: u64,
    /// Where a record is put together.
    record: Vec<u8>,
}

#[derive(Default)]
struct Index {
    blobs: BTreeMap<Hash, Place>,
    segments: BTreeMap<u64, Segment>,
    /// Number of the next segment.
    next: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    segment: u64,
    at: u64,
    len: u64,
}

impl Place {
    fn end(&self) -> u64 {
        self.at + self.len
    }

    /// What it takes in its segment.
    fn room(&self) -> u64 {
        RECORD_HEAD_BYTES + self.len
    }
}

struct Segment {
    /// Open while it takes blobs, or not all of it is known to be durable.
    file: Option<Arc<File>>,
    /// Whether it takes blobs.
    writing: bool,
    /// Up to where it is written.
    end: u64,
    /// Up to where it is durable.
    synced: u64,
    /// Whether its entry in the folder is durable.
    entered: bool,
    /// Bytes of the records in use.
    used: u64,
    /// Up to where it was found at the start: a power cut may have torn these records.
    found: u64,
    /// The disk failed to make it durable: what of it is not so by now will never be.
    failed: bool,
}

impl Segment {
    fn is_durable(&self, place: &Place) -> bool {
        self.entered && self.synced >= place.end()
    }
}

impl FileBlobs {
    pub(super) fn open(root: &Path, folder: Arc<Folder>) -> io::Result<Self> {
        atomic::make_folder(root)?;
        let blobs = Self {
            root: root.to_owned(),
            writer: Mutex::default(),
            index: Mutex::default(),
            tidying: Mutex::default(),
            _folder: folder,
        };
        let mut numbers = Vec::new();
        for (number, path) in segments(root)? {
            let file = File::open(&path)?;
            let len = file.metadata()?.len();
            blobs.index().next = number + 1;
            match segment::scan(&file)? {
                Some(records) => {
                    numbers.push(number);
                    blobs.found(number, len, &records)?;
                }
                // Made just before a crash: nothing is in it yet.
                None if len <= HEAD_BYTES => fs::remove_file(&path)?,
                None => {
                    tracing::error!(file = %path.display(), "this is no segment of blobs; it is left alone")
                }
            }
        }
        numbers.into_iter().try_for_each(|number| blobs.discard_empty(number))?;
        Ok(blobs)
    }

    /// Takes in a segment of an earlier run.
    fn found(&self, number: u64, len: u64, records: &[Record]) -> io::Result<()> {
        self.index().segments.insert(
            number,
            Segment {
                file: None,
                writing: false,
                end: len,
                synced: 0,
                entered: false,
                used: 0,
                found: len,
                failed: false,
            },
        );
        for Record { name, at, len } in records {
            let place = Place { segment: number, at: *at, len: *len };
            let before = self.index().blobs.get(name).copied();
            // Of two copies one may be torn, whichever is the newer.
            let worse = match before {
                Some(before) => is_intact(name, &self.read(before)?) && !is_intact(name, &self.read(place)?),
                None => false,
            };
            if !worse {
                self.index().insert(*name, place);
            }
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.root.join(format!("{number:016x}{ENDING}"))
    }

    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a blob at the end of the newest segment; the index does not name it yet.
    fn append(&self, slot: &mut Option<Writer>, name: &Hash, bytes: &[u8]) -> io::Result<Place> {
        let full = slot.take_if(|writer| writer.end >= SEGMENT_BYTES);
        if let Some(full) = full {
            self.index().retire(full.number);
            self.discard_empty(full.number)?;
        }
        let writer = match slot {
            Some(writer) => writer,
            None => slot.insert(self.begin()?),
        };
        writer.record.clear();
        writer.salt.write(&mut writer.record, writer.end, name, bytes);
        let written = writer.file.write_all_at(&writer.record, writer.end);
        if writer.record.capacity() as u64 > SEGMENT_BYTES {
            writer.record = Vec::new();
        }
        if let Err(error) = written {
            // On a full disk above all, leave nothing behind.
            let _ = writer.file.set_len(writer.end);
            return Err(error);
        }
        let place =
            Place { segment: writer.number, at: writer.end + RECORD_HEAD_BYTES, len: bytes.len() as u64 };
        writer.end = place.end();
        self.index().written(place);
        Ok(place)
    }

    /// Begins a segment.
    fn begin(&self) -> io::Result<Writer> {
        let number = {
            let mut index = self.index();
            index.next += 1;
            index.next - 1
        };
        let path = self.path(number);
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
        let salt = Salt::new(salt);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        if let Err(error) = file.write_all_at(&salt.head(), 0) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let file = Arc::new(file);
        let segment = Segment {
            file: Some(file.clone()),
            writing: true,
            end: HEAD_BYTES,
            synced: 0,
            entered: false,
            used: 0,
            found: 0,
            failed: false,
        };
        self.index().segments.insert(number, segment);
        Ok(Writer { number, salt, file, end: HEAD_BYTES, record: Vec::new() })
    }

    /// Makes a segment durable as far as it is written now.
    fn sync_segment(&self, number: u64) -> io::Result<()> {
        let (file, end, entered) = {
            let index = self.index();
            // Emptied and discarded meanwhile: nothing is left to be made durable.
            let Some(segment) = index.segments.get(&number) else { return Ok(()) };
            (segment.file.clone(), segment.end, segment.entered)
        };
        // What cannot be opened (for too many files are open, say) has come to no harm: it may be tried again.
        let file = match file {
            Some(file) => file,
            None => Arc::new(File::open(self.path(number))?),
        };
        let folder = if entered { None } else { Some(File::open(&self.root)?) };
        let synced = file.sync_data().and_then(|()| folder.map_or(Ok(()), |folder| folder.sync_all()));
        if synced.is_ok() {
            self.index().synced(number, end);
            return Ok(());
        }
        // What of it is on the disk is not known, and whoever asks again is answered by the page cache.
        let mut slot = self.writer();
        if slot.as_ref().is_some_and(|writer| writer.number == number) {
            *slot = None;
        }
        self.index().lost(number);
        synced
    }

    /// Removes the file of a segment of which nothing is in use, unless it takes blobs.
    fn discard_empty(&self, number: u64) -> io::Result<()> {
        {
            let mut index = self.index();
            if !index.segments.get(&number).is_some_and(|segment| segment.used == 0 && !segment.writing) {
                return Ok(());
            }
            index.segments.remove(&number);
        }
        match fs::remove_file(self.path(number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let open = self.index().segments.get(&place.segment).and_then(|segment| segment.file.clone());
        let file = match open {
            Some(file) => file,
            None => Arc::new(File::open(self.path(place.segment))?),
        };
        let mut bytes = vec![0; usize::try_from(place.len).map_err(|_| io::ErrorKind::OutOfMemory)?];
        file.read_exact_at(&mut bytes, place.at)?;
        Ok(bytes)
    }

    /// Whether this very blob is here. One that was found at the start may be torn.
    fn holds(&self, name: &Hash, bytes: &[u8]) -> bool {
        let (place, found) = {
            let index = self.index();
            let Some(place) = index.blobs.get(name).copied() else { return false };
            let Some(segment) = index.segments.get(&place.segment) else { return false };
            if segment.failed && !segment.is_durable(&place) {
                return false;
            }
            (place, segment.found >= place.end())
        };
        place.len == bytes.len() as u64 && (!found || self.read(place).is_ok_and(|there| there == bytes))
    }
}

impl Index {
    /// A record was written; whether it is in use is told by [`Index::insert`].
    fn written(&mut self, place: Place) {
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.end = segment.end.max(place.end());
        }
    }

    /// Names a blob's place. Returns the segment that it leaves.
    fn insert(&mut self, name: Hash, place: Place) -> Option<u64> {
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.used += place.room();
        }
        let before = self.blobs.insert(name, place)?;
        self.leave(before);
        Some(before.segment)
    }

    /// Forgets a blob. Returns the segment that it leaves.
    fn remove(&mut self, name: &Hash) -> Option<u64> {
        let place = self.blobs.remove(name)?;
        self.leave(place);
        Some(place.segment)
    }

    fn leave(&mut self, place: Place) {
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.used = segment.used.saturating_sub(place.room());
        }
    }

    /// A segment takes no further blobs.
    fn retire(&mut self, number: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.writing = false;
            segment.file.take_if(|_| segment.synced >= segment.end);
        }
    }

    fn synced(&mut self, number: u64, end: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.entered = true;
            segment.synced = segment.synced.max(end);
            segment.file.take_if(|_| segment.synced >= segment.end && !segment.writing);
        }
    }

    /// Forgets what of a segment was written in this run and is not durable for certain. What was found at the start stays, to be
    /// read: nobody is going to write that again. But it counts as durable only if it was known to be.
    fn lost(&mut self, number: u64) {
        let Some(segment) = self.segments.get_mut(&number) else { return };
        let kept = segment.synced.max(segment.found);
        segment.writing = false;
        segment.failed = true;
        segment.file = None;
        let mut room = 0;
        self.blobs.retain(|_, place| {
            let lost = place.segment == number && place.end() > kept;
            room += if lost { place.room() } else { 0 };
            !lost
        });
        segment.end = kept;
        segment.used = segment.used.saturating_sub(room);
    }

    /// The segment with the least in use, if it is sparse.
    fn sparsest(&self) -> Option<u64> {
        self.segments
            .iter()
            .filter(|(_, segment)| !segment.writing && segment.used * SPARSE < segment.end)
            .min_by_key(|(_, segment)| segment.used)
            .map(|(number, _)| *number)
    }
}

impl Blobs for FileBlobs {
    fn put(&self, name: &Hash, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 > BLOB_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the blob is too long"));
        }
        if self.holds(name, bytes) {
            return Ok(());
        }
        let left = {
            let mut writer = self.writer();
            let place = self.append(&mut writer, name, bytes)?;
            self.index().insert(*name, place)
        };
        left.map_or(Ok(()), |number| self.discard_empty(number))
    }

    fn sync(&self, names: &[Hash]) -> io::Result<()> {
        let mut due = Vec::new();
        {
            let index = self.index();
            for name in names {
                let place = index.blobs.get(name).ok_or(io::ErrorKind::NotFound)?;
                let segment = index.segments.get(&place.segment);
                if segment.is_some_and(|segment| segment.is_durable(place)) {
                    continue;
                }
                if segment.is_some_and(|segment| segment.failed) {
                    return Err(io::Error::other(
                        "the disk failed to make it durable; it must be written anew",
                    ));
                }
                due.push(place.segment);
            }
        }
        due.sort_unstable();
        due.dedup();
        due.into_iter().try_for_each(|number| self.sync_segment(number))
    }

    fn get(&self, name: &Hash) -> io::Result<Option<Vec<u8>>> {
        let mut before = None;
        loop {
            let Some(place) = self.index().blobs.get(name).copied() else { return Ok(None) };
            match self.read(place) {
                // It was moved to another segment just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound && before != Some(place) => {
                    before = Some(place);
                }
                result => return result.map(Some),
            }
        }
    }

    fn remove(&self, name: &Hash) -> io::Result<()> {
        let left = self.index().remove(name);
        left.map_or(Ok(()), |number| self.discard_empty(number))
    }

    fn list(&self) -> io::Result<Vec<Hash>> {
        Ok(self.index().blobs.keys().copied().collect())
    }

    fn tidy(&self) -> io::Result<()> {
        let _one = self.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, inside) = {
            let index = self.index();
            let Some(number) = index.sparsest() else { return Ok(()) };
            let inside = index.blobs.iter().filter(|(_, place)| place.segment == number);
            (number, inside.map(|(name, place)| (*name, *place)).collect::<Vec<_>>())
        };
        let mut moved = Vec::new();
        for (name, from) in inside {
            let bytes = match self.read(from) {
                Ok(bytes) => bytes,
                // Removed meanwhile, with all that was beside it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            let to = self.append(&mut self.writer(), &name, &bytes)?;
            moved.push((name, from, to));
        }
        // The copies are durable before the first is forgotten.
        let targets: BTreeSet<u64> = moved.iter().map(|(_, _, to)| to.segment).collect();
        targets.into_iter().try_for_each(|number| self.sync_segment(number))?;
        {
            let mut index = self.index();
            for (name, from, to) in moved {
                // Unless it was removed or written anew, or its copy has gone with the others of its segment.
                let durable = index.segments.get(&to.segment).is_some_and(|s| s.synced >= to.end());
                if durable && index.blobs.get(&name) == Some(&from) {
                    index.insert(name, to);
                }
            }
        }
        self.discard_empty(number)
    }
}

fn is_intact(name: &Hash, bytes: &[u8]) -> bool {
    Hash::of(bytes) == *name
}

/// The segments in a folder, by number.
fn segments(root: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(ENDING)).filter(|n| n.len() == 16);
        // The last number is never used, so that there is always a next one.
        if let Some(number) = number.and_then(|n| u64::from_str_radix(n, 16).ok()).filter(|n| *n < u64::MAX) {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
