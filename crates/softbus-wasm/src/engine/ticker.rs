//! Ends turns by the clock: one thread for all programs of an engine, which sleeps while none runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::ask::Ask;

/// How often it looks.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// The thread, and the turns that it watches.
pub(super) struct Ticker {
    /// Whose epoch it moves on, where a program hears of the end of its turn so.
    epochs: Option<wasmtime::Engine>,
    turns: Mutex<Turns>,
    more: Condvar,
}

#[derive(Default)]
struct Turns {
    running: BTreeMap<u64, Watched>,
    next: u64,
    has_thread: bool,
}

struct Watched {
    ask: Ask,
    left: u32,
    stop: Arc<AtomicBool>,
}

/// A turn that is watched; dropping it ends the watch.
pub(super) struct Watch<'t> {
    ticker: &'t Arc<Ticker>,
    number: u64,
}

impl Ticker {
    pub fn new(epochs: Option<wasmtime::Engine>) -> Self {
        Self { epochs, turns: Mutex::default(), more: Condvar::new() }
    }

    /// Has a program asked after so many ticks, or once it is to stop.
    pub fn watch<'t>(self: &'t Arc<Self>, ask: &Ask, ticks: u32, stop: &Arc<AtomicBool>) -> Watch<'t> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let number = turns.next;
        turns.next += 1;
        ask.set(false);
        let idle = turns.running.is_empty();
        turns.running.insert(number, Watched { ask: ask.clone(), left: ticks.max(1), stop: stop.clone() });
        if !turns.has_thread {
            let ticker = Arc::downgrade(self);
            let thread = std::thread::Builder::new().name("softbus-wasm-ticks".into());
            turns.has_thread = thread.spawn(move || tick(&ticker)).is_ok();
            if !turns.has_thread {
                // Without a clock it asks each time: slow, but its turn ends.
                ask.set(true);
            }
        }
        drop(turns);
        // A tick that goes on is not cut short, else many turns would make time go faster.
        if idle {
            self.more.notify_one();
        }
        Watch { ticker: self, number }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut turns = self.ticker.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.running.remove(&self.number);
    }
}

fn tick(ticker: &Weak<Ticker>) {
    // Ends with the engine.
    while let Some(ticker) = ticker.upgrade() {
        let turns = ticker.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Not for ever: nobody may be left to wake it.
        let wait = if turns.running.is_empty() { Duration::from_secs(1) } else { TICK };
        let (mut turns, waited) =
            ticker.more.wait_timeout(turns, wait).unwrap_or_else(PoisonError::into_inner);
        if !waited.timed_out() {
            continue;
        }
        for watched in turns.running.values_mut() {
            watched.left = watched.left.saturating_sub(1);
            if watched.left == 0 || watched.stop.load(Ordering::Relaxed) {
                watched.ask.set(true);
            }
        }
        if let Some(engine) = &ticker.epochs {
            engine.increment_epoch();
        }
    }
}
