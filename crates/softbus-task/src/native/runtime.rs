//! Programs that are no Rust types: a runtime makes them of bytes, and they are stepped, saved and moved like native tasks.

use std::any::Any;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use softbus_core::Hash;

use super::{Estimate, Step, StepContext, TaskFailure};

/// What runs programs of one kind. Registered with [`TaskRegistry::register_runtime`](crate::TaskRegistry::register_runtime);
/// its tasks are submitted with [`Tasks::submit`](crate::Tasks::submit) under `name/version`.
pub trait Runtime: Send + Sync + 'static {
    /// Its name: 1 to 50 letters of `a-z 0-9 - .`.
    fn name(&self) -> &str;

    /// The version of the states that its programs save; grows with each change of their form.
    fn version(&self) -> u16;

    /// The oldest version of states that it still reads.
    fn oldest_version(&self) -> u16 {
        self.version()
    }

    /// What a program of this input is to have and may ask for beside time and memory. It is signed with the task
    /// ([`TaskSpec::terms`](softbus_core::wire::task_control::TaskSpec::terms)) and given back wherever the task is run: what a
    /// state says of that is not to be believed. None by default.
    fn terms(&self, input: &[u8]) -> Vec<u8> {
        let _ = input;
        Vec::new()
    }

    /// A program from an input, on the terms that were signed.
    ///
    /// # Errors
    /// The input is none. The task ends as failed.
    fn start(&self, input: &[u8], terms: &[u8]) -> Result<Box<dyn Program>, TaskFailure>;

    /// A program from a state that was saved under `version`, on the terms that were signed.
    ///
    /// # Errors
    /// The state is none.
    fn resume(&self, version: u16, state: &[u8], terms: &[u8]) -> Result<Box<dyn Program>, TaskFailure>;

    /// A state that is about to come here, as it is so far: whatever takes time can be done beforehand. What comes of it follows
    /// each change of the state from then on, and is given to [`Runtime::resume_prepared`].
    fn prepare(&self, version: u16, state: &[u8], terms: &[u8]) -> Option<Box<dyn Prepared>> {
        let _ = (version, state, terms);
        None
    }

    /// As [`Runtime::resume`], with what [`Runtime::prepare`] made of an earlier form of this state.
    ///
    /// # Errors
    /// The state is none.
    fn resume_prepared(
        &self,
        version: u16,
        state: &[u8],
        terms: &[u8],
        prepared: Box<dyn Prepared>,
    ) -> Result<Box<dyn Program>, TaskFailure> {
        drop(prepared);
        self.resume(version, state, terms)
    }

    /// What the inputs and the states of a task begin with that other tasks have, too, such as the module of a program; on its
    /// terms, so that whoever has the grant knows what that is before it has the state. None by default. Devices keep contents
    /// by their name, and take from there, or from whoever has it, what need not come with the state.
    ///
    /// Whoever says one has to refuse, in [`start`](Runtime::start) and [`resume`](Runtime::resume), what has another in it.
    fn content(&self, terms: &[u8]) -> Option<Content> {
        let _ = terms;
        None
    }

    /// The content in an input or, if it was `saved`, in a state. None by default. Foreign bytes.
    fn content_in<'i>(&self, image: &'i [u8], saved: bool) -> Option<&'i [u8]> {
        let _ = (image, saved);
        None
    }

    /// What stands before a content of so many bytes in inputs or, if they were `saved`, in states; a few bytes. Nothing by
    /// default.
    fn before_content(&self, len: u64, saved: bool) -> Vec<u8> {
        let _ = (len, saved);
        Vec::new()
    }

    /// What a program of this input is going to need, for placement. Unknown by default.
    fn estimate(&self, input: &[u8]) -> Estimate {
        let _ = input;
        Estimate::default()
    }
}

/// Names what inputs and states of tasks begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Content {
    /// BLAKE3 of its bytes.
    pub name: Hash,
    /// Its length in bytes.
    pub len: u64,
}

/// What a runtime made of a state beforehand.
pub trait Prepared: Any + Send {
    /// The state has changed: `piece` lies at `at` now. It may have become longer or shorter, too.
    fn follow(&mut self, at: usize, piece: &[u8]);
}

/// A program of a runtime. As with native tasks its results must depend on its input and state alone, not on how the work
/// is cut into steps.
pub trait Program: Send {
    /// Works until its budget is used up, it waits or it is done.
    ///
    /// # Errors
    /// Why it cannot go on.
    fn step(&mut self, cx: &mut StepContext) -> Result<Step<Vec<u8>>, TaskFailure>;

    /// Writes its state: between two steps.
    ///
    /// # Errors
    /// It could not be written; the program may go on.
    fn save(&mut self, out: &mut dyn io::Write) -> Result<(), TaskFailure>;

    /// As [`Program::save`], over a state that was saved before: a program that knows what did not change since need not write
    /// it again.
    ///
    /// # Errors
    /// As [`Program::save`].
    fn save_changes(&mut self, out: &mut dyn Changes) -> Result<(), TaskFailure> {
        self.save(out)
    }

    /// The state that it was made from is the one saved under this mark.
    fn saved_as(&mut self, mark: Mark) {
        let _ = mark;
    }
}

/// Names one saved state: a state is what was saved under a mark exactly if it has that mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark(u64);

impl Mark {
    /// One that no other state has.
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Takes a state that is written over the one saved last.
pub trait Changes: io::Write {
    /// What is written over, if anything is known of it.
    fn over(&self) -> Option<Mark>;
    /// What this state is saved under, if it is saved.
    fn mark(&self) -> Mark;
    /// The next `len` bytes are those that stand there already.
    ///
    /// # Errors
    /// So many do not stand there.
    fn keep(&mut self, len: usize) -> io::Result<()>;
}
