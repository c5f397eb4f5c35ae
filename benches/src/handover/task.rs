//! The task that is handed over, with a stopwatch in it: all devices are in one process, so that the end of its last
//! step on one device and the begin of its first step on another are read from one clock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use softbus::task::Buffer;
use softbus::{Step, StepContext, Task, TaskFailure};
use tokio::time::Instant;

/// What it is made with.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Size {
    /// Of the whole state.
    pub state_bytes: u64,
    /// Of the part that changes, all of it, in each step.
    pub hot_bytes: u64,
    /// In how many pieces, evenly spread over the state, the hot part lies.
    pub pieces: u64,
}

/// Runs until it is cancelled.
pub struct Churn {
    state: State,
    instance: u64,
}

#[derive(Serialize, Deserialize)]
pub struct State {
    /// First, because its length is written before it: a counter in front of it, growing by a byte, would shift all.
    memory: Buffer,
    size: Size,
    turn: u64,
}

/// Where in a page the task writes, and how large a page is.
pub const PAGE: u64 = 4096;

impl Task for Churn {
    const NAME: &'static str = "churn";
    const STATE_VERSION: u16 = 1;
    type Input = Size;
    type State = State;
    type Output = ();

    fn start(size: Size) -> Result<Self, TaskFailure> {
        let mut word = 0x9e37_79b9_7f4a_7c15_u64;
        let words = (0..size.state_bytes / 8).flat_map(|_| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word.to_le_bytes()
        });
        let memory = Buffer(words.collect());
        let instance = watch().next_instance();
        Ok(Self { state: State { memory, size, turn: 0 }, instance })
    }

    fn resume(state: State) -> Result<Self, TaskFailure> {
        let mut watch = watch();
        let instance = watch.next_instance();
        watch.resumed = Some(Instant::now());
        Ok(Self { state, instance })
    }

    fn state(&self) -> &State {
        watch().saved = Some(Instant::now());
        &self.state
    }

    fn step(&mut self, cx: &mut StepContext) -> Result<Step<()>, TaskFailure> {
        watch().stepping(self.instance);
        let State { memory, size, turn } = &mut self.state;
        let pages = (size.hot_bytes / PAGE).max(1);
        let per_piece = pages.div_ceil(size.pieces.max(1));
        let stride = size.state_bytes / size.pieces.max(1);
        loop {
            // One word of one hot page; a step of 20 ms goes round several times.
            *turn += 1;
            let page = *turn % pages;
            let at = (page / per_piece) * stride + (page % per_piece) * PAGE;
            if let Some(word) = memory.0.get_mut(at as usize..at as usize + 8) {
                word.copy_from_slice(&turn.to_le_bytes());
            }
            if !cx.spend(1) {
                break;
            }
        }
        watch().stepped = Some(Instant::now());
        Ok(Step::More)
    }
}

/// One hand-over as the task lived through it.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// From the end of the last step there to the begin of the first step here.
    pub downtime: Duration,
    /// Of that: until its state began to be written ...
    pub until_saved: Duration,
    /// ... and from its being restored here until the first step.
    pub since_restored: Duration,
}

/// The stopwatch of the one task that runs.
#[derive(Default)]
pub struct Watch {
    instances: u64,
    running: u64,
    pub stepped: Option<Instant>,
    pub saved: Option<Instant>,
    pub resumed: Option<Instant>,
    cuts: Vec<Cut>,
}

static WATCH: Mutex<Option<Watch>> = Mutex::new(None);

/// The stopwatch, behind its lock.
pub struct Hold(MutexGuard<'static, Option<Watch>>);

impl std::ops::Deref for Hold {
    type Target = Watch;

    fn deref(&self) -> &Watch {
        self.0.as_ref().expect("made when the lock was taken")
    }
}

impl std::ops::DerefMut for Hold {
    fn deref_mut(&mut self) -> &mut Watch {
        self.0.as_mut().expect("made when the lock was taken")
    }
}

pub fn watch() -> Hold {
    let mut guard = WATCH.lock().unwrap_or_else(PoisonError::into_inner);
    guard.get_or_insert_default();
    Hold(guard)
}

impl Watch {
    /// Begins anew, and gives what was counted.
    pub fn take(&mut self) -> Vec<Cut> {
        std::mem::take(self).cuts
    }

    /// How many hand-overs were lived through.
    pub fn count(&self) -> usize {
        self.cuts.len()
    }

    pub fn next_instance(&mut self) -> u64 {
        self.instances += 1;
        self.instances
    }

    pub fn stepping(&mut self, instance: u64) {
        let before = std::mem::replace(&mut self.running, instance);
        if before == instance || before == 0 {
            return;
        }
        let now = Instant::now();
        if let (Some(stepped), Some(saved), Some(resumed)) = (self.stepped, self.saved, self.resumed) {
            self.cuts.push(Cut {
                downtime: now - stepped,
                until_saved: saved.saturating_duration_since(stepped),
                since_restored: now - resumed,
            });
        }
    }
}
