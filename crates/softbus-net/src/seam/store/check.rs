//! Looks whether a database is sound, without changing a byte of it: what its library writes while it opens and
//! repairs it goes to memory.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use redb::StorageBackend;

use super::{CACHE_BYTES, FORMAT, StoreError, format, what};

/// Most bytes of a database under examination that may be held in memory as changed.
const CHANGED_BYTES: usize = 256 << 20;
/// Changes are kept in pieces of this size.
const PIECE: u64 = 4096;

/// Reads all of a database and checks it against its checksums. One that was not closed in order (the power went)
/// is sound if it can be repaired, as the next start does.
///
/// Nothing may write to it meanwhile. Takes as long as reading all of it.
///
/// # Errors
/// [`StoreError`], above all that it is damaged or newer than this program.
pub fn check(backend: impl StorageBackend) -> Result<(), StoreError> {
    let scratch = Scratch::new(backend).map_err(|e| StoreError::io(&e))?;
    let look = || -> Result<(), StoreError> {
        let mut db = redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(scratch)?;
        format(&db, FORMAT)?;
        // Opening has repaired what a power cut explains; what is wrong still is damage.
        if db.check_integrity()? {
            Ok(())
        } else {
            Err(StoreError::Corrupt("its checksums do not match".into()))
        }
    };
    // Foreign bytes: a damaged file may make the database's library panic.
    catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|panic| Err(StoreError::Corrupt(what(&*panic))))
}

/// A backend that is never written to.
#[derive(Debug)]
struct Scratch<B> {
    backend: B,
    changed: Mutex<Changed>,
}

#[derive(Debug)]
struct Changed {
    len: u64,
    /// How much of the backend still counts: it may have been cut and grown again.
    below: u64,
    pieces: BTreeMap<u64, Box<[u8]>>,
}

impl<B: StorageBackend> Scratch<B> {
    fn new(backend: B) -> io::Result<Self> {
        let len = backend.len()?;
        Ok(Self { backend, changed: Mutex::new(Changed { len, below: len, pieces: BTreeMap::new() }) })
    }

    /// The piece that begins at `start`, as the backend has it.
    fn original(&self, start: u64, below: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(0);
        let there = below.saturating_sub(start).min(out.len() as u64) as usize;
        if there > 0 { self.backend.read(start, &mut out[..there]) } else { Ok(()) }
    }
}

/// The parts of `offset..offset + len`, each within one piece: its piece's start, where in it, how long.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset.saturating_add(len as u64);
    let mut at = offset;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let start = at - at % PIECE;
        let part = (start, (at - start) as usize, ((start + PIECE).min(end) - at) as usize);
        at += part.2 as u64;
        Some(part)
    })
}

impl<B: StorageBackend> StorageBackend for Scratch<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changed.lock().unwrap_or_else(PoisonError::into_inner).len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > changed.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        for (start, from, len) in parts(offset, out.len()) {
            let out = &mut out[done..done + len];
            match changed.pieces.get(&start) {
                Some(piece) => out.copy_from_slice(&piece[from..from + len]),
                None => self.original(start + from as u64, changed.below, out)?,
            }
            done += len;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.below = changed.below.min(len);
        changed.len = len;
        let cut = len - len % PIECE;
        let _ = changed.pieces.split_off(&(cut + PIECE));
        if let Some(last) = changed.pieces.get_mut(&cut) {
            last[(len - cut) as usize..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        for (start, from, len) in parts(offset, data.len()) {
            if !changed.pieces.contains_key(&start) {
                if changed.pieces.len() * PIECE as usize >= CHANGED_BYTES {
                    return Err(io::Error::other("checking it takes more memory than it may"));
                }
                let mut piece = vec![0; PIECE as usize].into_boxed_slice();
                self.original(start, changed.below, &mut piece)?;
                changed.pieces.insert(start, piece);
            }
            if let Some(piece) = changed.pieces.get_mut(&start) {
                piece[from..from + len].copy_from_slice(&data[done..done + len]);
            }
            done += len;
        }
        changed.len = changed.len.max(offset.saturating_add(data.len() as u64));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let bytes = proptest::collection::vec(1u8.., 1..9000);
        prop_oneof![
            (0u64..20_000, bytes).prop_map(|(at, b)| Op::Write(at, b)),
            (0u64..20_000).prop_map(Op::SetLen)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_scratch_reads_as_if_it_had_been_written(
            content in proptest::collection::vec(1u8.., 0..12_000),
            ops in proptest::collection::vec(op(), 1..12),
        ) {
            let backend = InMemoryBackend::new();
            backend.set_len(content.len() as u64).unwrap();
            backend.write(0, &content).unwrap();
            let scratch = Scratch::new(backend).unwrap();
            let mut model = content.clone();
            for op in ops {
                match op {
                    Op::Write(at, bytes) => {
                        let end = at as usize + bytes.len();
                        model.resize(model.len().max(end), 0);
                        model[at as usize..end].copy_from_slice(&bytes);
                        scratch.write(at, &bytes).unwrap();
                    }
                    Op::SetLen(len) => {
                        model.resize(len as usize, 0);
                        scratch.set_len(len).unwrap();
                    }
                }
                prop_assert_eq!(scratch.len().unwrap(), model.len() as u64);
                let mut read = vec![0; model.len()];
                scratch.read(0, &mut read).unwrap();
                prop_assert!(read == model);
            }
            prop_assert!(scratch.read(model.len() as u64, &mut [0]).is_err());
            let mut untouched = vec![0; content.len()];
            scratch.backend.read(0, &mut untouched).unwrap();
            prop_assert!(untouched == content && scratch.backend.len().unwrap() == content.len() as u64);
        }
    }
}
