//! What a store holds for its program, and what it lets it have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::{AsContextMut, Memory, ResourceLimiter};

use super::fiber::{Shared, Word};
use super::machine::Rests;
use crate::limits::{self, Limits};
use crate::pass::{self, Rewritten};

/// Of one program.
pub(super) struct Host {
    pub shared: Shared,
    /// The memory that its calls speak of.
    pub memory: Option<Memory>,
    /// The memory for frames.
    pub side: Option<Memory>,
    /// What goes on with frames, as far as it is there.
    pub rests: Option<Rests>,
    /// Where the word that says whether it is to ask can be written by calls of the program only: the memory, and what is
    /// to stand in it.
    pub ask: Option<(Memory, Arc<AtomicBool>)>,
    limits: Limits,
    /// What is made with it that is the pass's: of the memory for frames in bytes, and places in the table of what goes on with
    /// them, one for each site.
    side_bytes: usize,
    sites: usize,
    memory_bytes: usize,
    /// Of its frames, and what the engine needs of its own to unwind it.
    frame_bytes: usize,
    table_elements: usize,
    /// What grows now is the host's doing, for going on with frames.
    pub host_grows: bool,
    /// What was refused it last.
    pub refused: Option<String>,
}

impl Host {
    pub fn new(shared: Shared, limits: &Limits, program: &Rewritten) -> Self {
        Self {
            shared,
            memory: None,
            side: None,
            rests: None,
            ask: None,
            limits: limits.clone(),
            side_bytes: usize::try_from(program.side_pages << 16).unwrap_or(usize::MAX),
            sites: program.sites.len(),
            memory_bytes: 0,
            frame_bytes: 0,
            table_elements: 0,
            host_grows: false,
            refused: None,
        }
    }
}

/// Writes whether the program is to ask, where it is done so.
pub(super) fn tell(mut store: impl AsContextMut<Data = Host>) -> wasmtime::Result<()> {
    let Some((memory, wish)) = store.as_context().data().ask.clone() else { return Ok(()) };
    let word = u32::from(wish.load(Ordering::Relaxed));
    memory.write(&mut store, pass::ASK as usize, &word.to_le_bytes())?;
    Ok(())
}

impl ResourceLimiter for Host {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        // While it unwinds nothing of its own runs, and it needs room for that whatever it has taken before.
        if self.host_grows || self.shared.lock().word == Word::Unwind {
            self.frame_bytes = self.frame_bytes.saturating_add(more);
            return Ok(self.frame_bytes <= limits::FRAME_BYTES + limits::ENGINE_BYTES);
        }
        let most = usize::try_from(self.limits.memory_bytes).unwrap_or(usize::MAX);
        let total = self.memory_bytes.saturating_add(more);
        let with_frames = most.saturating_add(self.side_bytes);
        let fits = total <= with_frames && maximum.is_none_or(|maximum| desired <= maximum);
        if fits {
            self.memory_bytes = total;
        } else if total > with_frames {
            self.refused = Some(format!("more memory than the {} MiB it was granted", most >> 20));
        }
        Ok(fits)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        let most = limits::TABLE_ELEMENTS;
        let with_sites = most + self.sites;
        let fits = total <= with_sites && maximum.is_none_or(|maximum| desired <= maximum);
        if fits {
            self.table_elements = total;
        } else if total > with_sites {
            self.refused = Some(format!("tables of more than {most} elements"));
        }
        Ok(fits)
    }

    /// The program, and at most one for each of its sites.
    fn instances(&self) -> usize {
        1 + self.sites
    }
}
