//! Which pages of a memory were written since it was last asked.
//!
//! To save a large memory again and again one needs to know what of it changed. Comparing it with a copy costs time that grows
//! with its size; the kernel knows it anyway. On Linux 6.7 and later a memory is registered with userfaultfd in its
//! asynchronous write-protect mode, and `PAGEMAP_SCAN` tells which pages were written and protects them anew in one act
//! (Linux, Documentation/admin-guide/mm/pagemap.rst). The first write to a protected page costs a fault that the kernel settles by
//! itself: no handler, no signal, no other thread. Elsewhere [`Watch::new`] says that it cannot be had, and whoever wanted it
//! compares.
//!
//! What may not enter here: anything but this. The calls to the kernel need `unsafe`, and this crate exists so that no other has any.

use std::io;
use std::ops::Range;

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod kernel;
#[cfg(not(target_os = "linux"))]
#[path = "none.rs"]
mod kernel;

/// Bytes of a page, at least: ranges are multiples of it, or end where the memory does.
pub const PAGE: usize = 4096;

/// Tells which pages of one memory were written.
///
/// ```
/// use softbus_pages::{PAGE, Watch};
///
/// let mut memory = vec![0u8; 64 * PAGE];
/// let Ok(mut watch) = Watch::new() else { return }; // not on this system
/// let mut changed = Vec::new();
/// if watch.changed(&memory, &mut changed).is_err() { return }
/// // Of what was before nothing is known: all counts as changed.
/// assert_eq!(changed, [0..memory.len()]);
/// memory[10 * PAGE] = 1;
/// watch.changed(&memory, &mut changed).unwrap();
/// assert!(changed.iter().any(|range| range.contains(&(10 * PAGE))));
/// ```
#[derive(Debug)]
pub struct Watch {
    kernel: kernel::Kernel,
    /// What is watched, by address.
    watched: Range<usize>,
}

impl Watch {
    /// One that watches nothing yet.
    ///
    /// # Errors
    /// This system has nothing of the kind, or does not let this process have it.
    pub fn new() -> io::Result<Self> {
        Ok(Self { kernel: kernel::Kernel::new()?, watched: 0..0 })
    }

    /// Puts into `changed` which parts of `memory` may have been written since the last call, in order and apart from each other, and
    /// watches from here on. It may name too much, never too little. All of a memory counts as changed that was elsewhere at
    /// the last call, and what it has grown by since.
    ///
    /// # Errors
    /// The kernel refuses. Then nothing is watched any more, and all counts as changed at the next call.
    pub fn changed(&mut self, memory: &[u8], changed: &mut Vec<Range<usize>>) -> io::Result<()> {
        let done = self.look(memory, changed);
        if done.is_err() {
            self.forget();
        }
        done
    }

    /// Watches nothing any more; all counts as changed at the next call.
    pub fn forget(&mut self) {
        if !self.watched.is_empty() {
            self.kernel.unregister(self.watched.clone());
        }
        self.watched = 0..0;
    }

    fn look(&mut self, memory: &[u8], changed: &mut Vec<Range<usize>>) -> io::Result<()> {
        changed.clear();
        let range = memory.as_ptr_range();
        let (start, end) = (range.start as usize, range.end as usize);
        // Whole pages within it; what lies before and behind them always counts as changed.
        let page = self.kernel.page();
        let (first, last) = (start.next_multiple_of(page), end - end % page);
        if first >= last {
            self.forget();
            changed.extend((!memory.is_empty()).then_some(0..memory.len()));
            return Ok(());
        }
        if self.watched.start != first || self.watched.end > last {
            self.forget();
            self.watched = first..first;
        }
        if start < first {
            changed.push(0..first - start);
        }
        let known = self.watched.end;
        if known > first {
            self.kernel.scan(first..known, &mut |part| add(changed, part.start - start..part.end - start))?;
        }
        if known < last {
            self.kernel.register(known..last)?;
            self.watched.end = last;
            self.kernel.scan(known..last, &mut |_| {})?;
        }
        if known < end {
            add(changed, known - start..end - start);
        } else if last < end {
            add(changed, last - start..end - start);
        }
        Ok(())
    }
}

/// Adds a part, joined with the one before if they touch.
fn add(parts: &mut Vec<Range<usize>>, part: Range<usize>) {
    match parts.last_mut() {
        Some(before) if before.end == part.start => before.end = part.end,
        _ => parts.push(part),
    }
}
