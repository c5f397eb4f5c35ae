//! Native tasks: Rust types that save and restore their state under a state version.

mod buffer;
mod context;
mod doubles;
mod registry;
mod runtime;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use buffer::Buffer;
pub use context::StepContext;
pub(crate) use context::{EFFECTS_PER_STEP, Effect, StepReport};
pub(crate) use doubles::Doubles;
pub(crate) use registry::{ErasedStep, Runnable, TaskType};
pub use registry::{RegistryError, TaskRegistry};
pub use runtime::{Changes, Content, Mark, Prepared, Program, Runtime};

/// A program that moves between devices.
///
/// The bus calls [`step`](Task::step) again and again; between two steps it may save the
/// [`state`](Task::state), and go on from it with [`resume`](Task::resume) on another device. Whatever is not
/// in the state is lost at that point, so results must depend on input and state alone: not on how the work
/// is cut into steps, on clocks, threads or addresses.
///
/// ```
/// use softbus_task::{Step, StepContext, Task, TaskFailure};
///
/// /// Adds up the numbers below its input, slowly.
/// struct Sum(State);
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct State { next: u64, end: u64, sum: u64 }
///
/// impl Task for Sum {
///     const NAME: &'static str = "sum";
///     const STATE_VERSION: u16 = 1;
///     type Input = u64;
///     type State = State;
///     type Output = u64;
///
///     fn start(end: u64) -> Result<Self, TaskFailure> {
///         Ok(Self(State { next: 0, end, sum: 0 }))
///     }
///     fn resume(state: State) -> Result<Self, TaskFailure> {
///         Ok(Self(state))
///     }
///     fn state(&self) -> &State {
///         &self.0
///     }
///     fn step(&mut self, cx: &mut StepContext) -> Result<Step<u64>, TaskFailure> {
///         let s = &mut self.0;
///         while s.next < s.end {
///             s.sum += s.next;
///             s.next += 1;
///             if !cx.spend(1_000) {
///                 cx.progress(s.next as f64 / s.end as f64, "adding");
///                 return Ok(Step::More);
///             }
///         }
///         Ok(Step::Done(s.sum))
///     }
/// }
/// ```
pub trait Task: Send + Sized + 'static {
    /// Its name: 1 to 50 letters of `a-z 0-9 - .`.
    const NAME: &'static str;
    /// The version of [`State`](Task::State); grows with each change of its form.
    const STATE_VERSION: u16;
    /// The oldest state version that [`migrate`](Task::migrate) still reads.
    const OLDEST_STATE_VERSION: u16 = Self::STATE_VERSION;
    /// What it starts from.
    type Input: Serialize + DeserializeOwned;
    /// Everything it needs to go on.
    type State: Serialize + DeserializeOwned;
    /// What it makes.
    type Output: Serialize + DeserializeOwned;

    /// Starts from an input.
    fn start(input: Self::Input) -> Result<Self, TaskFailure>;

    /// Goes on from a saved state.
    fn resume(state: Self::State) -> Result<Self, TaskFailure>;

    /// The state as it is now. Called between steps only; what it refers to is written out at once.
    fn state(&self) -> &Self::State;

    /// Works until [`StepContext::spend`] says that the budget is used up, or it is done. A step that takes far
    /// longer than its budget delays pausing, moving and cancelling by as much.
    fn step(&mut self, cx: &mut StepContext) -> Result<Step<Self::Output>, TaskFailure>;

    /// Reads a state saved under an older `version` (postcard form), at least
    /// [`OLDEST_STATE_VERSION`](Task::OLDEST_STATE_VERSION).
    fn migrate(version: u16, state: &[u8]) -> Result<Self::State, TaskFailure> {
        let _ = state;
        Err(TaskFailure::new(format!("{} cannot read states of version {version}", Self::NAME)))
    }

    /// What it is going to need, for placement. Unknown by default.
    fn estimate(input: &Self::Input) -> Estimate {
        let _ = input;
        Estimate::default()
    }
}

/// What a task is going to need. Zero means not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Estimate {
    /// Work in operations of the reference kernel (see the roster's calibration).
    pub ops: u64,
    /// Memory at work, in bytes, its state included.
    pub memory_bytes: u64,
    /// Size of its output, in bytes.
    pub output_bytes: u64,
}

/// How a step ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step<T> {
    /// There is more to do.
    More,
    /// There is nothing to do for so long: it is called again then, or sooner.
    Wait(Duration),
    /// Done, with the output.
    Done(T),
}

/// Why a task cannot go on, in its own words. The task ends as failed; nobody tries again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskFailure {
    why: String,
    lost: bool,
}

impl TaskFailure {
    /// With a text for people; at most 2 KiB of it travel.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), lost: false }
    }

    /// It is not the task's own word: what ran it cannot go on, as after a crash. It is tried again from its last checkpoint,
    /// here or elsewhere.
    pub fn lost(why: impl Into<String>) -> Self {
        Self { why: why.into(), lost: true }
    }

    /// Whether it was made by [`TaskFailure::lost`].
    pub fn is_lost(&self) -> bool {
        self.lost
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl<E: std::error::Error> From<E> for TaskFailure {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}
