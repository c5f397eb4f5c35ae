//! A segment: one file that holds many blobs, written from its start to its end.
//!
//! ```text
//! segment = "softbus segment1" salt[16] record*
//! record  = mark[8] check[8] len[8, little endian] name[32] bytes[len]
//! mark    = the first 8 bytes of BLAKE3(salt)
//! check   = the first 8 bytes of BLAKE3(salt offset[8] len name)
//! ```
//!
//! The salt is random and never leaves the file, so no content can pass for a record, wherever it lies. The check
//! covers a record's head and not its bytes: those are named by a hash that whoever reads them checks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use softbus_core::Hash;

const MAGIC: &[u8; 16] = b"softbus segment1";
/// Length of a segment's own head, in bytes.
pub(super) const HEAD_BYTES: u64 = 32;
/// Length of a record's head, in bytes.
pub(super) const RECORD_HEAD_BYTES: u64 = 56;
/// How much is read at once where a damaged record hides where the next one begins.
const SEARCH_BYTES: usize = 256 << 10;

/// What makes the heads of a segment's records.
#[derive(Clone, Copy)]
pub(super) struct Salt {
    salt: [u8; 16],
    mark: [u8; 8],
}

/// A record as its head tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub name: Hash,
    /// Where its bytes begin in the file.
    pub at: u64,
    pub len: u64,
}

impl Record {
    /// Where the next record begins.
    pub fn end(&self) -> u64 {
        self.at.saturating_add(self.len)
    }
}

impl Salt {
    pub fn new(salt: [u8; 16]) -> Self {
        Self { salt, mark: first(Hash::of(&salt)) }
    }

    /// The head of a new segment.
    pub fn head(&self) -> [u8; HEAD_BYTES as usize] {
        let mut head = [0; HEAD_BYTES as usize];
        head[..16].copy_from_slice(MAGIC);
        head[16..].copy_from_slice(&self.salt);
        head
    }

    /// Appends the record that begins at `offset` to `out`.
    pub fn write(&self, out: &mut Vec<u8>, offset: u64, name: &Hash, bytes: &[u8]) {
        let len = bytes.len() as u64;
        out.extend_from_slice(&self.mark);
        out.extend_from_slice(&self.check(offset, len, name));
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&name.0);
        out.extend_from_slice(bytes);
    }

    fn check(&self, offset: u64, len: u64, name: &Hash) -> [u8; 8] {
        let mut covered = [0; 64];
        covered[..16].copy_from_slice(&self.salt);
        covered[16..24].copy_from_slice(&offset.to_le_bytes());
        covered[24..32].copy_from_slice(&len.to_le_bytes());
        covered[32..].copy_from_slice(&name.0);
        first(Hash::of(&covered))
    }

    /// The record whose head this is, if it is one and ends within the file.
    fn read(&self, head: &[u8; RECORD_HEAD_BYTES as usize], offset: u64, file_len: u64) -> Option<Record> {
        let part = |from: usize| -> [u8; 8] {
            let mut part = [0; 8];
            part.copy_from_slice(&head[from..from + 8]);
            part
        };
        let mut name = Hash([0; 32]);
        name.0.copy_from_slice(&head[24..]);
        let len = u64::from_le_bytes(part(16));
        let record = Record { name, at: offset + RECORD_HEAD_BYTES, len };
        let fits = offset.checked_add(RECORD_HEAD_BYTES)?.checked_add(len)? <= file_len;
        (part(0) == self.mark && part(8) == self.check(offset, len, &name) && fits).then_some(record)
    }
}

fn first(hash: Hash) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.0[..8]);
    first
}

/// What a segment is read from.
pub(super) trait Source {
    fn len(&self) -> io::Result<u64>;
    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()>;
}

impl Source for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, into, at)
    }
}

/// For harnesses and tests: a segment in memory.
impl Source for [u8] {
    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }

    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..));
        let read = rest.and_then(|rest| rest.get(..into.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(read);
        Ok(())
    }
}

/// Finds the records of a segment. What is torn or damaged is passed over. `None` if it is no segment.
pub(super) fn scan(file: &(impl Source + ?Sized)) -> io::Result<Option<Vec<Record>>> {
    let file_len = file.len()?;
    let mut head = [0; HEAD_BYTES as usize];
    if file_len < HEAD_BYTES {
        return Ok(None);
    }
    file.read_exact_at(&mut head, 0)?;
    if head[..16] != *MAGIC {
        return Ok(None);
    }
    let mut salt = [0; 16];
    salt.copy_from_slice(&head[16..]);
    let salt = Salt::new(salt);
    let mut records = Vec::new();
    let mut offset = HEAD_BYTES;
    while offset.saturating_add(RECORD_HEAD_BYTES) <= file_len {
        let mut head = [0; RECORD_HEAD_BYTES as usize];
        file.read_exact_at(&mut head, offset)?;
        match salt.read(&head, offset, file_len) {
            Some(record) => {
                offset = record.end();
                records.push(record);
            }
            None => match search(file, &salt, offset + 1, file_len)? {
                Some(next) => offset = next,
                None => break,
            },
        }
    }
    Ok(Some(records))
}

/// Where a mark stands next, from `offset` on.
fn search(
    file: &(impl Source + ?Sized),
    salt: &Salt,
    mut offset: u64,
    file_len: u64,
) -> io::Result<Option<u64>> {
    let mut window = vec![0; SEARCH_BYTES];
    while offset.saturating_add(RECORD_HEAD_BYTES) <= file_len {
        let len = usize::try_from(file_len - offset).unwrap_or(usize::MAX).min(SEARCH_BYTES);
        let window = &mut window[..len];
        file.read_exact_at(window, offset)?;
        if let Some(found) = window.windows(salt.mark.len()).position(|bytes| bytes == salt.mark) {
            return Ok(Some(offset + found as u64));
        }
        // A mark may lie across the border of two windows.
        offset += (len + 1 - salt.mark.len()) as u64;
    }
    Ok(None)
}

/// For harnesses: scans bytes as a segment, and says whether there was a record in it.
///
/// # Panics
/// If a record that was found does not lie whole in the segment, behind the one before it.
pub fn read_segment(bytes: &[u8]) -> bool {
    let Ok(Some(records)) = scan(bytes) else { return false };
    let mut end = HEAD_BYTES;
    for record in &records {
        assert!(record.at >= end + RECORD_HEAD_BYTES, "a record lies in another one");
        end = record.end();
        assert!(end <= bytes.len() as u64, "a record ends behind the file");
    }
    !records.is_empty()
}

/// For harnesses: a segment that holds these blobs.
pub fn write_segment(salt: [u8; 16], blobs: &[&[u8]]) -> Vec<u8> {
    let salt = Salt::new(salt);
    let mut bytes = salt.head().to_vec();
    for blob in blobs {
        let offset = bytes.len() as u64;
        salt.write(&mut bytes, offset, &Hash::of(blob), blob);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(blobs: &[Vec<u8>]) -> (Vec<u8>, Vec<Record>) {
        let parts: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
        let mut end = HEAD_BYTES;
        let record = |blob: &Vec<u8>| {
            let record = Record { name: Hash::of(blob), at: end + RECORD_HEAD_BYTES, len: blob.len() as u64 };
            end = record.end();
            record
        };
        let records = blobs.iter().map(record).collect();
        (write_segment([7; 16], &parts), records)
    }

    fn found(bytes: &[u8]) -> Option<Vec<Record>> {
        scan(bytes).unwrap()
    }

    fn blobs() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_cut_costs_what_it_cuts_and_no_more(blobs in blobs(), cut in any::<prop::sample::Index>()) {
            let (bytes, records) = segment(&blobs);
            let cut = cut.index(bytes.len() + 1);
            let whole: Vec<Record> = records.into_iter().filter(|r| r.end() <= cut as u64).collect();
            match found(&bytes[..cut]) {
                None => prop_assert!(cut < HEAD_BYTES as usize),
                Some(records) => prop_assert_eq!(records, whole),
            }
        }

        #[test]
        fn a_damaged_byte_costs_one_record_at_most(
            blobs in blobs(), place in any::<prop::sample::Index>(), flip in 1..=255u8
        ) {
            let (mut bytes, records) = segment(&blobs);
            let body = bytes.len() - HEAD_BYTES as usize;
            let place = HEAD_BYTES as usize + place.index(body);
            bytes[place] ^= flip;
            let found = found(&bytes).unwrap();
            let lost = records.iter().filter(|record| !found.contains(record)).count();
            prop_assert!(lost <= 1);
            prop_assert!(found.iter().all(|record| records.contains(record)));
        }

        #[test]
        fn garbage_is_no_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..2000), real in any::<bool>()) {
            if real {
                bytes.splice(0..bytes.len().min(HEAD_BYTES as usize), Salt::new([7; 16]).head());
            }
            prop_assert!(found(&bytes).is_none_or(|records| records.is_empty()));
        }
    }

    #[test]
    fn records_within_a_blob_are_none() {
        // Whole records of another segment, and of this one's bytes at another place.
        let (inner, _) = segment(&[vec![1; 100], vec![2; 50]]);
        let (bytes, records) = segment(&[inner.clone(), vec![3; 10]]);
        assert_eq!(found(&bytes).unwrap(), records);
        // Even if the head around them is damaged.
        let mut bytes = bytes;
        bytes[HEAD_BYTES as usize + 9] ^= 1;
        assert_eq!(found(&bytes).unwrap(), records[1..]);
    }
}
