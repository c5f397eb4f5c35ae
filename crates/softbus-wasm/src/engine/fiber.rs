//! What a program that is left in the midst of a call says to whoever left it, and hears of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use super::{Asking, Turn};
use crate::WasmError;
use crate::wasi::{Moment, Now, Wasi};

/// Shared by a machine and the calls to the host that its program makes.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Talk>>);

pub(super) struct Talk {
    pub world: Wasi,
    clock: Arc<dyn Now>,
    stop: Arc<AtomicBool>,
    /// Times that it may still look in this turn before the turn is over.
    polls_left: u64,
    pub polls: u64,
    /// What it left for last: a module that goes on where it asked.
    pub rest: Option<Result<wasmtime::Module, WasmError>>,
    /// How many of them had to be compiled in this turn.
    pub compiled: u64,
    /// How many of them the program has, in all.
    pub linked: usize,
    /// What it was left for.
    pub left: Left,
    /// What it is to do now.
    pub word: Word,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// Its turn was over.
    Turn,
    /// It waits; `still`: in the same call as before.
    Waits { until: Option<u64>, still: bool },
    /// Its turn goes on as soon as it has what goes on with a frame of this site.
    Rest(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Word {
    GoOn,
    /// Save its frames.
    Unwind,
}

impl Shared {
    pub fn new(world: Wasi, clock: Arc<dyn Now>) -> Self {
        Self(Arc::new(Mutex::new(Talk {
            world,
            clock,
            stop: Arc::default(),
            polls_left: 0,
            polls: 0,
            rest: None,
            compiled: 0,
            linked: 0,
            left: Left::Turn,
            word: Word::GoOn,
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Talk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the program, and says what it is to do when it is come back to.
    pub async fn leave(&self, why: Left) -> Word {
        self.lock().left = why;
        Leave(false).await;
        self.lock().word
    }
}

impl Talk {
    /// Begins a turn.
    pub fn begin(&mut self, turn: &Turn) {
        self.word = Word::GoOn;
        self.stop = turn.stop.clone();
        (self.polls, self.compiled) = (0, 0);
        self.polls_left = match turn.asking {
            // The first time that it looks is when it was told to.
            Asking::Ticks(_) => 0,
            Asking::Polls(polls) => polls,
        };
    }

    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// It looks; whether its turn goes on.
    pub fn looks(&mut self) -> bool {
        self.polls += 1;
        let goes_on = self.polls_left > 0 && !self.is_to_stop();
        self.polls_left = self.polls_left.saturating_sub(1);
        goes_on
    }

    /// Whether its turn is to end at once.
    pub fn is_to_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Pending once.
struct Leave(bool);

impl Future for Leave {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}
