use std::io;
use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use softbus_core::wire::task_control::{Image, ImageKind};
use softbus_core::{Hash, limits};

use super::key::TaskKey;
use crate::native::{Changes, Mark};

/// The bytes of a task's last checkpoint, kept to tell what the next one changes. While a new state is
/// written over it, each piece is compared first: an unchanged chunk costs a comparison, neither hash nor seal.
/// Memory: the state's size, once.
pub(crate) struct Snapshot {
    bytes: Vec<u8>,
    /// Names of the chunks as sealed; stale where `dirty`.
    names: Vec<Hash>,
    dirty: Vec<bool>,
    at: usize,
    limit: usize,
    /// Most threads that compare.
    threads: usize,
    /// Under which `bytes` are known; under none while they are torn.
    mark: Option<Mark>,
    /// What is being written will be known under this.
    next: Mark,
}

const CHUNK: usize = limits::CHUNK_BYTES;
/// So many chunks (4 MiB) are worth a thread: comparing them takes ten times as long as starting it.
const CHUNKS_PER_SHARE: usize = 64;
/// More threads than this wait for memory only.
const MOST_THREADS: usize = 4;

impl Snapshot {
    /// Of no state yet. States over `limit` bytes are refused.
    pub fn new(limit: u64) -> Self {
        let most = CHUNK * limits::CHUNKS;
        let limit = usize::try_from(limit).unwrap_or(most).min(most);
        Self {
            bytes: Vec::new(),
            names: Vec::new(),
            dirty: Vec::new(),
            at: 0,
            limit,
            threads: cores(),
            mark: None,
            next: Mark::fresh(),
        }
    }

    /// Of bytes that are stored already as `names`.
    pub fn of(bytes: Vec<u8>, names: Vec<Hash>, limit: u64) -> Self {
        let dirty = vec![false; names.len()];
        Self { at: bytes.len(), bytes, names, dirty, mark: Some(Mark::fresh()), ..Self::new(limit) }
    }

    /// What the state written last is known under, unless it is torn.
    pub fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// The state written last.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes a new state over the old one. If `write` fails the snapshot is torn: [`Snapshot::write`] again
    /// before anything else.
    pub fn write<E>(&mut self, write: impl FnOnce(&mut dyn Changes) -> Result<(), E>) -> Result<(), E> {
        self.at = 0;
        self.next = Mark::fresh();
        let written = write(self);
        self.mark = written.is_ok().then_some(self.next);
        written?;
        let len = self.at;
        if len < self.bytes.len() {
            self.bytes.truncate(len);
            self.resize_chunks();
            if let Some(last) = self.dirty.last_mut()
                && !len.is_multiple_of(CHUNK)
            {
                *last = true;
            }
        }
        Ok(())
    }

    /// How many chunks differ from what was last sealed.
    pub fn dirty_chunks(&self) -> usize {
        self.dirty.iter().filter(|d| **d).count()
    }

    /// Seals at most `most` changed chunks and hands them to `put`; `true` when none is left. A chunk whose
    /// `put` fails stays dirty.
    pub fn seal<E>(
        &mut self,
        key: &TaskKey,
        most: usize,
        mut put: impl FnMut(Hash, Vec<u8>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut done = 0;
        for index in 0..self.dirty.len() {
            if !self.dirty[index] {
                continue;
            }
            if done == most {
                return Ok(false);
            }
            let sealed = key.seal(&self.bytes[self.range(index)]);
            let name = Hash::of(&sealed);
            put(name, sealed)?;
            self.names[index] = name;
            self.dirty[index] = false;
            done += 1;
        }
        Ok(true)
    }

    /// Makes the next [`Snapshot::seal`] seal everything again: what was stored is lost.
    pub fn taint(&mut self) {
        self.dirty.fill(true);
    }

    /// The image of what was written, once all is sealed.
    pub fn image(&self, kind: ImageKind) -> Option<Image> {
        let sealed = !self.dirty.contains(&true);
        sealed.then(|| Image { kind, len: self.bytes.len() as u64, chunks: self.names.clone() })
    }

    fn range(&self, index: usize) -> Range<usize> {
        index * CHUNK..((index + 1) * CHUNK).min(self.bytes.len())
    }

    fn resize_chunks(&mut self) {
        let chunks = self.bytes.len().div_ceil(CHUNK);
        self.names.resize(chunks, Hash([0; 32]));
        self.dirty.resize(chunks, true);
    }
}

impl io::Write for Snapshot {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.at + bytes.len();
        if end > self.limit {
            return Err(io::Error::other("the state is larger than this device lets a task be"));
        }
        // Over what is there: up to the next chunk, whole chunks, and the begin of one more.
        let (over, rest) = bytes.split_at(bytes.len().min(self.bytes.len().saturating_sub(self.at)));
        let (head, over) = over.split_at(over.len().min(self.at.next_multiple_of(CHUNK) - self.at));
        let (body, tail) = over.split_at(over.len() - over.len() % CHUNK);
        for part in [head, body, tail] {
            if !part.is_empty() {
                let (at, first) = (self.at, self.at / CHUNK);
                self.at += part.len();
                let dirty = first..self.at.div_ceil(CHUNK);
                overwrite(&mut self.bytes[at..self.at], &mut self.dirty[dirty], part, self.threads);
            }
        }
        // Past its end: grow.
        if !rest.is_empty() {
            if let Some(last) = self.dirty.last_mut()
                && !self.bytes.len().is_multiple_of(CHUNK)
            {
                *last = true;
            }
            self.bytes.extend_from_slice(rest);
            self.at = self.bytes.len();
            self.resize_chunks();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Changes for Snapshot {
    fn over(&self) -> Option<Mark> {
        self.mark
    }

    fn mark(&self) -> Mark {
        self.next
    }

    fn keep(&mut self, len: usize) -> io::Result<()> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        self.at =
            end.ok_or_else(|| io::Error::other("there is not so much of the state that was saved before"))?;
        Ok(())
    }
}

/// Brings `old` up to `new` and marks the chunks that differed: one for each entry of `dirty`, the last perhaps only
/// begun. What is large is compared by several threads, which end with it: the task stands still for so long, and nobody
/// sees how many there were, or that there was none to be had.
fn overwrite(old: &mut [u8], dirty: &mut [bool], new: &[u8], threads: usize) {
    let bytes = CHUNKS_PER_SHARE * CHUNK;
    let threads = threads.min(dirty.len() / CHUNKS_PER_SHARE);
    let shares = old.chunks_mut(bytes).zip(dirty.chunks_mut(CHUNKS_PER_SHARE)).zip(new.chunks(bytes));
    let shares = Mutex::new(shares);
    let next = || shares.lock().unwrap_or_else(PoisonError::into_inner).next();
    let compare = || {
        while let Some(((old, dirty), new)) = next() {
            overwrite_chunks(old, dirty, new);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            let helper = std::thread::Builder::new().name("softbus-compare".into());
            if helper.spawn_scoped(scope, compare).is_err() {
                break;
            }
        }
        compare();
    });
}

fn overwrite_chunks(old: &mut [u8], dirty: &mut [bool], new: &[u8]) {
    for ((old, dirty), new) in old.chunks_mut(CHUNK).zip(dirty).zip(new.chunks(CHUNK)) {
        if old != new {
            old.copy_from_slice(new);
            *dirty = true;
        }
    }
}

/// Threads to compare with, at most.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES
        .get_or_init(|| std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use softbus_core::TaskId;
    use zeroize::Zeroizing;

    use super::*;

    fn key() -> TaskKey {
        TaskKey::from_bytes(Zeroizing::new([5; 32]), TaskId([1; 16]))
    }

    fn write(snapshot: &mut Snapshot, state: &[u8], step: usize) {
        snapshot.write(|out| state.chunks(step.max(1)).try_for_each(|c| out.write_all(c))).unwrap();
    }

    fn seal(snapshot: &mut Snapshot, store: &mut BTreeMap<Hash, Vec<u8>>) -> usize {
        let mut fresh = 0;
        let done = snapshot.seal(&key(), usize::MAX, |name, sealed| {
            fresh += 1;
            store.insert(name, sealed);
            Ok::<(), ()>(())
        });
        assert_eq!(done, Ok(true));
        fresh
    }

    fn read(image: &Image, store: &BTreeMap<Hash, Vec<u8>>) -> Vec<u8> {
        let mut out = Vec::new();
        for name in &image.chunks {
            out.extend_from_slice(&key().open(name, &mut store[name].clone()).unwrap());
        }
        out
    }

    #[test]
    fn only_changed_chunks_are_sealed_again() {
        let mut state = vec![1; 5 * CHUNK + 10];
        let (mut snapshot, mut store) = (Snapshot::new(u64::MAX), BTreeMap::new());
        write(&mut snapshot, &state, usize::MAX);
        assert_eq!(seal(&mut snapshot, &mut store), 6);
        write(&mut snapshot, &state, 1000);
        assert_eq!(snapshot.dirty_chunks(), 0);
        state[2 * CHUNK + 7] = 2;
        state.push(9);
        write(&mut snapshot, &state, 333);
        assert_eq!(snapshot.dirty_chunks(), 2);
        seal(&mut snapshot, &mut store);
        assert_eq!(read(&snapshot.image(ImageKind::Input).unwrap(), &store), state);
    }

    #[test]
    fn a_large_state_is_compared_by_several_threads_to_the_same_end() {
        let chunks = 3 * CHUNKS_PER_SHARE + 1;
        let mut state: Vec<u8> = (0..chunks * CHUNK + 77).map(|n| (n / 3) as u8).collect();
        let mut snapshot = Snapshot::new(u64::MAX);
        write(&mut snapshot, &state, usize::MAX);
        snapshot.dirty.fill(false);
        let changed: Vec<usize> = (0..chunks).step_by(17).chain([chunks]).collect();
        changed.iter().for_each(|chunk| state[chunk * CHUNK + 5] ^= 1);
        // The whole in one piece; then in two, the second from the middle of a chunk on.
        for step in [usize::MAX, state.len() / 2 + 1] {
            let mut snapshot = Snapshot {
                bytes: snapshot.bytes.clone(),
                names: snapshot.names.clone(),
                dirty: snapshot.dirty.clone(),
                threads: MOST_THREADS,
                ..snapshot
            };
            write(&mut snapshot, &state, step);
            let dirty = (0..=chunks).filter(|chunk| snapshot.dirty[*chunk]);
            assert_eq!(dirty.collect::<Vec<_>>(), changed);
            assert!(snapshot.bytes == state);
        }
    }

    #[test]
    fn too_large_a_state_is_refused_and_a_failed_put_is_retried() {
        let mut snapshot = Snapshot::new(100);
        assert!(snapshot.write(|out| out.write_all(&[0; 101])).is_err());
        write(&mut snapshot, &[3; 100], 10);
        assert_eq!(snapshot.seal(&key(), 9, |_, _| Err("full")), Err("full"));
        assert_eq!(snapshot.image(ImageKind::Input), None);
        assert_eq!(seal(&mut snapshot, &mut BTreeMap::new()), 1);
    }

    #[test]
    fn what_is_kept_stays_and_what_is_torn_is_known_under_no_mark() {
        let mut state = vec![1; 3 * CHUNK + 10];
        let (mut snapshot, mut store) = (Snapshot::new(u64::MAX), BTreeMap::new());
        assert_eq!(snapshot.mark(), None);
        write(&mut snapshot, &state, usize::MAX);
        seal(&mut snapshot, &mut store);
        let first = snapshot.mark();
        assert!(first.is_some());
        state[CHUNK + 4096] = 2;
        let mut said = None;
        snapshot
            .write(|out| {
                assert_eq!(out.over(), first);
                said = Some(out.mark());
                out.keep(CHUNK + 4096)?;
                out.write_all(&state[CHUNK + 4096..][..4096])?;
                out.keep(state.len() - CHUNK - 8192)?;
                assert!(out.keep(1).is_err(), "more than there is");
                Ok::<(), io::Error>(())
            })
            .unwrap();
        assert!(snapshot.mark() == said && said != first);
        assert_eq!(snapshot.dirty_chunks(), 1);
        assert!(snapshot.bytes() == state);
        // A state that was written in part only is none to go on from.
        assert!(snapshot.write(|out| out.keep(5).and(Err::<(), _>(io::Error::other("no")))).is_err());
        assert_eq!(snapshot.mark(), None);
        write(&mut snapshot, &state, 1000);
        seal(&mut snapshot, &mut store);
        assert_eq!(read(&snapshot.image(ImageKind::Input).unwrap(), &store), state);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        /// Whatever states follow each other, written in whatever pieces: the image reads back as the last one.
        #[test]
        fn the_image_is_always_the_last_state(
            states in proptest::collection::vec((0..3 * CHUNK, any::<u8>(), 0..3 * CHUNK, 1..100_000usize), 1..6)
        ) {
            let (mut snapshot, mut store) = (Snapshot::new(u64::MAX), BTreeMap::new());
            for (len, fill, at, step) in states {
                let mut state = vec![0u8; len];
                if let Some(byte) = state.get_mut(at) {
                    *byte = fill;
                }
                write(&mut snapshot, &state, step);
                seal(&mut snapshot, &mut store);
                let image = snapshot.image(ImageKind::Input).unwrap();
                prop_assert!(image.is_sound());
                prop_assert_eq!(read(&image, &store), state);
                // The same bytes make the same image, whatever came before.
                let mut fresh = Snapshot::new(u64::MAX);
                fresh.write(|out| out.write_all(snapshot.bytes())).unwrap();
                seal(&mut fresh, &mut store);
                prop_assert_eq!(fresh.image(ImageKind::Input).unwrap().root(), image.root());
            }
        }
    }
}
