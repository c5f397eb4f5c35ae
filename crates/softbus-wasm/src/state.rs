//! The saved form of a program: the same bytes whichever engine ran it.
//!
//! ```text
//! "sbwasm", version u16, length of the module u64      little-endian, as all
//! the module as it came, then zeros up to the next 64 KiB
//! its memories, one after the other                    each a whole number of 64 KiB
//! what else it is (postcard), what it has of the bus (postcard; nothing, if that is nothing), and the length of both u64
//! ```
//!
//! What is large stands at multiples of 64 KiB, the size of a checkpoint's chunks: so a page that did not change is in a
//! chunk that did not, and is neither written nor sent again.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use softbus_core::Hash;

use crate::WasmError;
use crate::bus::Bus;
use crate::engine::Core;
use crate::limits;
use crate::wasi::{Stream, Wasi};

/// Of this form, and of what frames look like and how their sites are numbered. It is that of the type of these tasks, too.
pub(crate) const VERSION: u16 = 1;
const MAGIC: &[u8; 6] = b"sbwasm";
const HEAD: usize = 16;
const PAGE: usize = 1 << 16;

/// All but the module and the memories.
#[derive(Serialize, Deserialize)]
pub(crate) struct Tail<W> {
    /// The files that it was started with, and what was in them.
    pub inputs: BTreeMap<String, Hash>,
    pub core: Core,
    pub world: W,
}

/// A saved program, taken apart.
pub(crate) struct Saved<'s> {
    pub module: &'s [u8],
    pub memories: Vec<&'s [u8]>,
    pub tail: Tail<Wasi>,
}

impl Saved<'_> {
    /// Where in the saved program each memory lies.
    pub fn places(&self) -> Vec<Range<usize>> {
        let mut end = head_len(self.module.len());
        let place = |memory: &&[u8]| {
            let start = end;
            end += memory.len();
            start..end
        };
        self.memories.iter().map(place).collect()
    }
}

/// How long everything up to the memories is.
pub(crate) fn head_len(module: usize) -> usize {
    (HEAD + module).next_multiple_of(PAGE)
}

/// What comes before a module of so many bytes.
pub(crate) fn head(module: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..6].copy_from_slice(MAGIC);
    head[6..8].copy_from_slice(&VERSION.to_le_bytes());
    head[8..].copy_from_slice(&module.to_le_bytes());
    head
}

/// Writes everything up to the memories.
pub(crate) fn write_head(out: &mut dyn io::Write, module: &[u8]) -> io::Result<()> {
    out.write_all(&head(module.len() as u64))?;
    out.write_all(module)?;
    let over = (HEAD + module.len()) % PAGE;
    if over > 0 { out.write_all(&[0; PAGE][over..]) } else { Ok(()) }
}

/// Writes what comes behind the memories.
pub(crate) fn write_tail(out: &mut dyn io::Write, tail: &Tail<&Wasi>) -> Result<(), String> {
    let mut bytes = postcard::to_allocvec(tail).map_err(|error| error.to_string())?;
    // Those that have nothing of the bus are what they were before there was any.
    if !tail.world.bus.is_unused() {
        bytes = postcard::to_extend(&tail.world.bus, bytes).map_err(|error| error.to_string())?;
    }
    out.write_all(&bytes).map_err(|error| error.to_string())?;
    out.write_all(&(bytes.len() as u64).to_le_bytes()).map_err(|error| error.to_string())
}

/// The module in the begin of an input. Foreign bytes.
pub(crate) fn module_of_input(input: &[u8]) -> Option<&[u8]> {
    postcard::take_from_bytes::<&[u8]>(input).ok().map(|(module, _)| module)
}

/// The module in the begin of a saved program, of which the rest may not be there yet.
pub(crate) fn module(state: &[u8]) -> Result<&[u8], WasmError> {
    let short = WasmError::State("it ends before its module does");
    let (head, rest) = state.split_at_checked(HEAD).ok_or(short.clone())?;
    let (magic, rest_of_head) = head.split_at(MAGIC.len());
    let (version, len) = rest_of_head.split_at(2);
    if magic != MAGIC {
        return Err(WasmError::State("it is no saved program"));
    }
    if version != VERSION.to_le_bytes() {
        return Err(WasmError::State("it was saved in another form"));
    }
    let len = u64::from_le_bytes(len.try_into().map_err(|_| short.clone())?);
    if len > limits::MODULE_BYTES {
        return Err(WasmError::Limit {
            what: "the size of the module in bytes",
            is: len,
            most: limits::MODULE_BYTES,
        });
    }
    rest.get(..len as usize).ok_or(short)
}

/// How many bytes a saved program had printed, to its standard output and to its standard error. Foreign bytes.
///
/// # Errors
/// If it is no saved program.
pub fn printed(state: &[u8]) -> Result<[u64; 2], WasmError> {
    let world = read(state)?.tail.world;
    Ok([Stream::Stdout, Stream::Stderr].map(|stream| world.printed(stream)))
}

/// Takes a saved program apart.
pub(crate) fn read(state: &[u8]) -> Result<Saved<'_>, WasmError> {
    let module = module(state)?;
    let short = WasmError::State("it ends too soon");
    let memories = (HEAD + module.len()).next_multiple_of(PAGE);
    let (rest, len) = state.split_last_chunk::<8>().ok_or(short.clone())?;
    let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| short.clone())?;
    let begins = rest.len().checked_sub(len).filter(|begins| *begins >= memories).ok_or(short.clone())?;
    let unreadable = |_| WasmError::State("what it says of itself cannot be read");
    let (tail, left) = postcard::take_from_bytes::<Tail<Wasi>>(&rest[begins..]).map_err(unreadable)?;
    let Tail { inputs, core, mut world } = tail;
    if !left.is_empty() {
        let (bus, left) = postcard::take_from_bytes::<Bus>(left).map_err(unreadable)?;
        if !left.is_empty() {
            return Err(WasmError::State("there is more of it than it says"));
        }
        world.bus = bus.sound().map_err(|_| WasmError::State("its messages do not fit together"))?;
    }
    let world =
        world.sound().map_err(|_| WasmError::State("its files and descriptors do not fit together"))?;
    let tail = Tail { inputs, core, world };
    let mut between = rest.get(memories..begins).ok_or(short.clone())?;
    let mut pages = Vec::new();
    for len in &tail.core.memories {
        let len = usize::try_from(*len).map_err(|_| short.clone())?;
        let (memory, rest) = between.split_at_checked(len).ok_or(short.clone())?;
        pages.push(memory);
        between = rest;
    }
    if !between.is_empty() {
        return Err(WasmError::State("there is more of it than it says"));
    }
    Ok(Saved { module, memories: pages, tail })
}
