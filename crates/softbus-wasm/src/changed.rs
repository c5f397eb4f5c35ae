//! What of a program's memories changed since it was saved last, so that a checkpoint need not read all of them.
//!
//! The kernel is asked where it keeps account of it ([`softbus_pages`]). That pays as long as a program writes to a part of its memory
//! between two checkpoints: the first write to each page costs a fault, one and a half times what comparing it would. A program that
//! writes to most of it is left alone for some checkpoints, which then compare; and so is one on a system that has no such account.

use std::io;
use std::ops::Range;

use softbus_pages::Watch;
use softbus_task::{Changes, Mark};

use crate::engine::Machine;

/// A program that wrote to more than one in so many of its pages is not watched …
const MOST: usize = 4;
/// … for so many checkpoints.
const LEAVE: u32 = 8;
/// Memories smaller than this, in bytes, are compared sooner than the kernel is asked.
const WORTH: usize = 1 << 20;

/// Watches the memories of one machine.
#[derive(Default)]
pub(crate) struct Changed {
    memories: Vec<Watched>,
    /// What they were saved as last, if they are watched since then.
    mark: Option<Mark>,
    /// Whether there is nothing to watch with.
    none: bool,
}

/// One memory.
#[derive(Default)]
struct Watched {
    watch: Option<Watch>,
    /// How long it was when it was saved.
    len: usize,
    /// Checkpoints until it is watched again.
    leave: u32,
}

impl Changed {
    /// Watches from now on.
    pub fn begin(&mut self, machine: &mut dyn Machine, memories: usize) {
        self.mark = None;
        self.memories.resize_with(memories, Watched::default);
        for number in 0..memories {
            self.look(machine, number);
        }
    }

    /// The memories are what was saved under this mark, but for what was written since they are watched.
    pub fn restored(&mut self, machine: &mut dyn Machine, mark: Mark) {
        if self.memories.is_empty() {
            let count = (0..).take_while(|number| !machine.memory(*number).is_empty()).count();
            self.begin(machine, count);
        }
        for (number, memory) in self.memories.iter_mut().enumerate() {
            memory.len = machine.memory(number).len();
        }
        self.mark = Some(mark);
    }

    /// Whether it is known what changed since that was saved.
    pub fn is_over(&self, over: Option<Mark>) -> bool {
        over.is_some() && over == self.mark
    }

    /// Writes the memories, one after the other, over what was saved last.
    pub fn save(
        &mut self,
        machine: &mut dyn Machine,
        memories: usize,
        out: &mut dyn Changes,
    ) -> io::Result<()> {
        let mut over = self.is_over(out.over());
        self.mark = None;
        self.memories.resize_with(memories, Watched::default);
        for number in 0..memories {
            let changed = self.look(machine, number);
            let memory = machine.memory(number);
            match changed.filter(|_| over) {
                Some(changed) => {
                    let mut at = 0;
                    for part in changed {
                        out.keep(part.start - at)?;
                        out.write_all(&memory[part.clone()])?;
                        at = part.end;
                    }
                    out.keep(memory.len() - at)?;
                }
                None => out.write_all(memory)?,
            }
            // Where it has grown, what lies behind it has moved.
            let watched = &mut self.memories[number];
            over &= watched.len == memory.len();
            watched.len = memory.len();
        }
        Ok(())
    }

    /// All that was written is saved under this mark.
    pub fn saved(&mut self, mark: Mark) {
        self.mark = Some(mark);
    }

    /// What of a memory was written since the last look, if that is known.
    fn look(&mut self, machine: &mut dyn Machine, number: usize) -> Option<Vec<Range<usize>>> {
        let watched = &mut self.memories[number];
        let memory = machine.memory(number);
        if self.none || memory.len() < WORTH {
            watched.watch = None;
            return None;
        }
        if watched.leave > 0 {
            watched.leave -= 1;
            return None;
        }
        let fresh = watched.watch.is_none();
        if fresh {
            watched.watch = match Watch::new() {
                Ok(watch) => Some(watch),
                Err(error) => {
                    tracing::debug!(%error, "what programs write cannot be watched here: it is compared");
                    self.none = true;
                    return None;
                }
            };
        }
        let mut changed = Vec::new();
        if let Err(error) = watched.watch.as_mut()?.changed(memory, &mut changed) {
            tracing::debug!(%error, "what a program writes is not watched: it is compared");
            self.none = true;
            return None;
        }
        let written: usize = changed.iter().map(ExactSizeIterator::len).sum();
        if !fresh && written > memory.len() / MOST {
            // It must not pay for each page that it writes to until it is looked at again.
            watched.watch = None;
            watched.leave = LEAVE;
        }
        Some(changed)
    }
}
