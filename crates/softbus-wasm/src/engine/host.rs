//! What a store holds for its program, and what it lets it have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::{AsContextMut, Memory, ResourceLimiter};

use super::fiber::Shared;
use crate::limits::{self, Limits};
use crate::pass;

/// Of one program.
pub(super) struct Host {
    pub shared: Shared,
    /// The memory that its calls speak of.
    pub memory: Option<Memory>,
    /// The memory for frames.
    pub side: Option<Memory>,
    /// Where the word that says whether it is to ask can be written by calls of the program only: the memory, and what is
    /// to stand in it.
    pub ask: Option<(Memory, Arc<AtomicBool>)>,
    limits: Limits,
    memory_bytes: usize,
    table_elements: usize,
    /// What was refused it last.
    pub refused: Option<String>,
}

impl Host {
    pub fn new(shared: Shared, limits: &Limits) -> Self {
        let limits = limits.clone();
        Self {
            shared,
            memory: None,
            side: None,
            ask: None,
            limits,
            memory_bytes: 0,
            table_elements: 0,
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
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        // Its frames come on top.
        let most = usize::try_from(self.limits.memory_bytes).unwrap_or(usize::MAX);
        let fits = total <= most.saturating_add(limits::FRAME_BYTES);
        if fits {
            self.memory_bytes = total;
        } else {
            self.refused = Some(format!("more memory than the {} MiB it was granted", most >> 20));
        }
        Ok(fits)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        let fits = total <= limits::TABLE_ELEMENTS;
        if fits {
            self.table_elements = total;
        } else {
            self.refused = Some(format!("tables of more than {} elements", limits::TABLE_ELEMENTS));
        }
        Ok(fits)
    }
}
