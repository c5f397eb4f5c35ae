//! A complete state of a task at one point, as a file: to be put away, and to start a new task from.
//!
//! ```text
//! "sbsaved\n", version u16                                   little-endian, as all
//! length u32, the head: a signed `SavedState` (postcard)     what it is, by whom, the root
//! length u32, the BLAKE3 hash of each chunk                  their root is signed
//! length u32 and bytes of each chunk, 64 KiB but the last    the plain state
//! ```
//!
//! Nothing follows. Each byte is looked at against what was signed before it counts: a reader of foreign bytes holds no
//! more than a chunk that is not yet known to be right.

mod error;

use std::io::{self, Read, Write};

use softbus_core::wire::saved::{SAVED, SavedState};
use softbus_core::wire::task_control::{ImageKind, StateMeta};
use softbus_core::{DeviceId, Hash, QoS, Signed, Signer, TaskId, WallMs, decode, encode, limits};

use crate::status::{PlacementHints, SubmitOptions, cut};
pub use error::SavedError;

/// How each such file begins.
pub const MAGIC: &[u8; 8] = b"sbsaved\n";
/// Of the form of the file.
pub const VERSION: u16 = 1;
/// Longest head, in bytes: a [`SavedState`] with its signature.
const HEAD_BYTES: usize = 17 << 10;

/// A saved state of a task.
pub struct SavedTask {
    head: Signed,
    what: SavedState,
    state: Vec<u8>,
}

impl std::fmt::Debug for SavedTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the state: it is whatever the task works on.
        f.debug_struct("SavedTask").field("device", &self.device()).field("what", &self.what).finish()
    }
}

impl SavedTask {
    /// Signs a state. `what` says all but its length and root.
    pub(crate) fn sign(key: &dyn Signer, what: SavedState, state: Vec<u8>) -> Result<Self, SavedError> {
        let chunks: Vec<Hash> = state.chunks(limits::CHUNK_BYTES).map(Hash::of).collect();
        let len = state.len() as u64;
        let what = SavedState { len, root: SavedState::root_of(len, &chunks), ..what };
        if !what.within_limits() {
            return Err(SavedError::Head("beyond its limits"));
        }
        let body = encode(&what).map_err(|_| SavedError::Head("beyond its limits"))?;
        Ok(Self { head: Signed::new(key, SAVED, body), what, state })
    }

    /// The device that saved it.
    pub fn device(&self) -> DeviceId {
        self.head.signer
    }

    /// The task that it was saved of.
    pub fn task(&self) -> TaskId {
        self.what.spec.task
    }

    /// That task's name, for people.
    pub fn name(&self) -> String {
        cut(self.what.spec.name.clone())
    }

    /// Its type and state version, `picture/1`.
    pub fn kind(&self) -> &str {
        &self.meta().kind
    }

    /// How far it was, 0–1000.
    pub fn progress_permille(&self) -> u16 {
        self.meta().progress_permille
    }

    /// When it was saved, by that device's wall clock.
    pub fn saved(&self) -> WallMs {
        self.what.saved
    }

    /// All that was signed of it.
    pub fn what(&self) -> &SavedState {
        &self.what
    }

    /// The state itself, in the clear.
    pub fn state(&self) -> &[u8] {
        &self.state
    }

    /// How the task was to be treated: what it needs of a device and its privacy label, as at its submission. Whom its
    /// submitter named, and its policy, are left out.
    pub fn options(&self) -> SubmitOptions {
        let spec = &self.what.spec;
        SubmitOptions {
            name: self.name(),
            qos: QoS { ..spec.qos },
            hints: PlacementHints {
                ops: Some(spec.ops),
                memory_bytes: Some(spec.memory_bytes),
                cores: spec.cores,
                needs: spec.needs.clone(),
                capabilities: spec.capabilities.clone(),
                accelerators: spec.accelerators.clone(),
                ..PlacementHints::default()
            },
            ..SubmitOptions::default()
        }
    }

    fn meta(&self) -> &StateMeta {
        static NONE: StateMeta = StateMeta {
            kind: String::new(),
            ops_done: 0,
            progress_permille: 0,
            effects: 0,
            state_len: 0,
            ended: None,
        };
        // Whatever has none is refused before.
        self.what.kind.meta().unwrap_or(&NONE)
    }

    /// What a new task starts from. Its effects are counted anew: those of before were the other task's.
    pub(crate) fn start(self) -> (ImageKind, Vec<u8>) {
        let meta = StateMeta { effects: 0, ..self.meta().clone() };
        (ImageKind::State(meta), self.state)
    }

    /// Length of the file, in bytes.
    pub fn file_len(&self) -> u64 {
        let head = postcard::to_stdvec(&self.head).map_or(0, |head| head.len() as u64);
        let chunks = self.what.chunk_count();
        10 + 4 + head + 4 + chunks * 32 + chunks * 4 + self.what.len
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let head = postcard::to_stdvec(&self.head).map_err(io::Error::other)?;
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        write_length(out, head.len())?;
        out.write_all(&head)?;
        let chunks = || self.state.chunks(limits::CHUNK_BYTES);
        write_length(out, chunks().len() * 32)?;
        for chunk in chunks() {
            out.write_all(&Hash::of(chunk).0)?;
        }
        for chunk in chunks() {
            write_length(out, chunk.len())?;
            out.write_all(chunk)?;
        }
        Ok(())
    }

    /// The type that the beginning of a file speaks of; the rest is not looked at.
    ///
    /// # Errors
    /// What is wrong with its beginning.
    pub fn kind_of(input: &mut impl Read) -> Result<String, SavedError> {
        let (_, what) = read_head(input)?;
        Ok(what.kind.meta().map(|meta| meta.kind.clone()).unwrap_or_default())
    }

    /// Reads a file, which is foreign bytes, and checks all of it. A state may have `most` bytes. That the signature is
    /// right says which device saved it, not that it can be trusted.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_from(input: &mut impl Read, most: u64) -> Result<Self, SavedError> {
        let (head, what) = read_head(input)?;
        if what.len > most {
            return Err(SavedError::TooLarge { bytes: what.len, most });
        }
        let names = read_names(input, &what)?;
        // Grows as bytes come that are right.
        let mut state = Vec::new();
        let mut chunk = vec![0; limits::CHUNK_BYTES];
        for (index, name) in names.iter().enumerate() {
            let expected = (what.len - state.len() as u64).min(limits::CHUNK_BYTES as u64) as usize;
            if read_length(input, "the length of a piece")? != expected {
                return Err(SavedError::PieceLength(index));
            }
            let piece = &mut chunk[..expected];
            fill(input, piece, "a piece of its state")?;
            if Hash::of(piece) != *name {
                return Err(SavedError::Piece(index));
            }
            state.extend_from_slice(piece);
        }
        if input.read(&mut [0])? != 0 {
            return Err(SavedError::Trailing);
        }
        Ok(Self { head, what, state })
    }
}

fn read_head(input: &mut impl Read) -> Result<(Signed, SavedState), SavedError> {
    let mut begin = [0; 8];
    match fill(input, &mut begin, "its beginning") {
        Err(SavedError::Truncated(_)) => return Err(SavedError::NotOne),
        other => other?,
    }
    if begin != *MAGIC {
        return Err(SavedError::NotOne);
    }
    let mut version = [0; 2];
    fill(input, &mut version, "its version")?;
    let version = u16::from_le_bytes(version);
    if version != VERSION {
        return Err(SavedError::Version(version));
    }
    let head_len = read_length(input, "the length of its head")?;
    if head_len > HEAD_BYTES {
        return Err(SavedError::Head("too long"));
    }
    let mut head = vec![0; head_len];
    fill(input, &mut head, "its head")?;
    open_head(&head)
}

/// Foreign bytes: form, signature, limits.
fn open_head(bytes: &[u8]) -> Result<(Signed, SavedState), SavedError> {
    let (head, rest) =
        postcard::take_from_bytes::<Signed>(bytes).map_err(|_| SavedError::Head("not understood"))?;
    // One value has one form: an overlong number is another file than the one that was written.
    if !rest.is_empty() || postcard::to_stdvec(&head).ok().as_deref() != Some(bytes) {
        return Err(SavedError::Head("not understood"));
    }
    let body = head.verify(SAVED).map_err(|_| SavedError::Signature)?;
    let what: SavedState = decode(body).map_err(|_| SavedError::Head("not understood"))?;
    if !what.within_limits() {
        return Err(SavedError::Head("beyond its limits"));
    }
    Ok((head, what))
}

fn read_names(input: &mut impl Read, what: &SavedState) -> Result<Vec<Hash>, SavedError> {
    let len = read_length(input, "the length of its list of pieces")?;
    // Bounded by the limits of what was signed.
    if len as u64 != what.chunk_count() * 32 {
        return Err(SavedError::List);
    }
    let mut bytes = vec![0; len];
    fill(input, &mut bytes, "its list of pieces")?;
    let (names, _) = bytes.as_chunks::<32>();
    let names: Vec<Hash> = names.iter().map(|name| Hash(*name)).collect();
    if SavedState::root_of(what.len, &names) != what.root {
        return Err(SavedError::List);
    }
    Ok(names)
}

fn fill(input: &mut impl Read, into: &mut [u8], what: &'static str) -> Result<(), SavedError> {
    input.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => SavedError::Truncated(what),
        _ => SavedError::Io(error),
    })
}

fn read_length(input: &mut impl Read, what: &'static str) -> Result<usize, SavedError> {
    let mut bytes = [0; 4];
    fill(input, &mut bytes, what)?;
    Ok(u32::from_le_bytes(bytes) as usize)
}

fn write_length(out: &mut impl Write, len: usize) -> io::Result<()> {
    let len = u32::try_from(len).map_err(io::Error::other)?;
    out.write_all(&len.to_le_bytes())
}

#[cfg(test)]
mod tests;
