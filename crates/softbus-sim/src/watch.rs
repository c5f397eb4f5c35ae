//! What the simulation itself sees of the work: who took which step, by which right, and what came out. Invariants are
//! checked against this, as it happens. One watch per simulation, on the thread that it runs on.

mod effects;
mod live;
mod printed;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use softbus_core::TaskId;
use softbus_core::wire::task::Fence;
use softbus_net::seam::memory::{running_host, running_since};
use tokio::time::Instant;

use crate::program::Expected;
use crate::record::{EventRecord, InvariantRecord, RunSpan, ViolationRecord, micros};
use crate::scenario::DeviceSpec;
use effects::Sink;
use live::Live;
use printed::Reader;

/// Violations of one invariant that are kept; the first is what matters.
const VIOLATIONS: usize = 16;
/// A battery may fall so much between a promise of room and the first step there, in permille.
const DRAINED_PERMILLE: u16 = 5;
/// Events kept for the report; later ones are counted only.
const EVENTS: usize = 200_000;

/// What must hold at any time, with its name and what it says.
pub const INVARIANTS: [(&str, &str); 11] = [
    (
        "at-most-one-live",
        "in one branch of a task no two devices take steps in one epoch, none takes one in an older epoch, and no two steps overlap",
    ),
    (
        "quorum-completes",
        "an accepted quorum task ends once faults have healed, with a majority of its acceptors alive",
    ),
    (
        "owner-completes",
        "an accepted task that its owner decides about ends once faults have healed, if the device that owns it is up",
    ),
    ("right-results", "a task's result is what its input gives, wherever it ran"),
    (
        "effects-once",
        "each effect is taken in once and in order, none under an older right than one before it, and none is missing at the end",
    ),
    ("strangers-out", "no stranger opens a service"),
    ("removed-out", "whoever knows that a device was removed has no link with it"),
    ("equal-members", "equal statements give equal members"),
    ("rosters-agree", "devices that have been connected and undisturbed for a while agree on who is there"),
    ("queues-bounded", "no queue or table with a limit grows past it"),
    ("battery-floor", "no device is given another's work below its battery's floor"),
];

/// The invariant that pairing keeps.
pub const WRONG_PIN: (&str, &str) = ("wrong-pin", "pairing with a wrong PIN never succeeds");

/// The watch of a simulation. Clones are handles to the same.
#[derive(Clone)]
pub struct Watch(Arc<Mutex<State>>);

struct State {
    begin: Instant,
    /// Their batteries' floors and charges.
    batteries: Vec<(u16, Option<u16>)>,
    /// When they last woke.
    woke_us: Vec<u64>,
    /// By whom work was ordered.
    ordered: BTreeMap<u32, usize>,
    live: Live,
    sinks: BTreeMap<u32, Sink>,
    /// Of work that is a program.
    readers: BTreeMap<u32, Reader>,
    invariants: BTreeMap<&'static str, InvariantRecord>,
    events: Vec<EventRecord>,
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// A step of a piece of work was taken, by the device whose work this thread does now.
pub(crate) fn stepped(order: u32, task: TaskId, fence: Fence, ops: u64) {
    let watch = WATCH.with_borrow(Clone::clone);
    if let (Some(watch), Some(device)) = (watch, running_host()) {
        watch.stepped(device, order, task, fence, ops);
    }
}

impl Watch {
    /// One that becomes this thread's.
    pub(crate) fn begin() -> Self {
        let invariants = INVARIANTS.iter().chain([&WRONG_PIN]).map(|(name, says)| {
            let record =
                InvariantRecord { name: (*name).into(), says: (*says).into(), ..InvariantRecord::default() };
            (*name, record)
        });
        let state = State {
            begin: Instant::now(),
            batteries: Vec::new(),
            woke_us: Vec::new(),
            ordered: BTreeMap::new(),
            live: Live::default(),
            sinks: BTreeMap::new(),
            readers: BTreeMap::new(),
            invariants: invariants.collect(),
            events: Vec::new(),
        };
        let watch = Self(Arc::new(Mutex::new(state)));
        WATCH.set(Some(watch.clone()));
        watch
    }

    /// The thread has none any more.
    pub(crate) fn end(&self) {
        WATCH.set(None);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_device(&self, spec: &DeviceSpec) {
        let mut state = self.state();
        state.woke_us.push(0);
        state.batteries.push(spec.battery.map_or((0, None), |b| (b.floor_permille, Some(b.charge_permille))));
    }

    /// A device wakes now. The step that it was in the middle of when it fell asleep ends after that; no program can prevent
    /// it, nor does anything leave by it: it is not held against anybody. The next one is.
    pub(crate) fn woke(&self, device: usize) {
        let mut state = self.state();
        let now = micros(state.begin.elapsed());
        if let Some(woke) = state.woke_us.get_mut(device) {
            *woke = now;
        }
    }

    /// An order will come from this device.
    pub(crate) fn ordered(&self, order: u32, by: usize) {
        self.state().ordered.insert(order, by);
    }

    /// An order is a program, which leaves and prints this. `strict`: nothing of what it prints may be missing.
    pub(crate) fn program(&self, order: u32, expected: Arc<Expected>, strict: bool) {
        self.state().readers.entry(order).or_insert_with(|| Reader::new(expected, strict));
    }

    /// What its battery holds, if it lives on that: `None` while it is plugged in.
    pub(crate) fn set_battery(&self, device: usize, permille: Option<u16>) {
        if let Some(known) = self.state().batteries.get_mut(device) {
            known.1 = permille;
        }
    }

    /// Nanoseconds since the begin.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.state().begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Microseconds since the begin.
    pub fn now_us(&self) -> u64 {
        micros(self.state().begin.elapsed())
    }

    /// Notes something for the report.
    pub fn note(&self, kind: &str, device: Option<usize>, text: impl Into<String>) {
        self.state().note(kind, device, text.into());
    }

    /// An invariant was looked at and held.
    pub fn held(&self, invariant: &'static str) {
        self.state().held(invariant);
    }

    /// An invariant was found violated.
    pub fn violated(&self, invariant: &'static str, text: impl Into<String>) {
        self.state().violated(invariant, text.into());
    }

    /// Whether any was.
    pub fn any_violated(&self) -> bool {
        self.state().invariants.values().any(|record| !record.violations.is_empty())
    }

    fn stepped(&self, device: usize, order: u32, task: TaskId, fence: Fence, ops: u64) {
        let mut state = self.state();
        let now = micros(state.begin.elapsed());
        // The step is told at its end; it began when the job did.
        let begun = running_since().map(|since| micros(since.saturating_duration_since(state.begin)));
        let begin = begun.unwrap_or(now);
        if state.woke_us.get(device).is_some_and(|woke| begin < *woke) {
            state.live.begun_before(order, ops);
            return;
        }
        let before = state.live.last(order).map(|run| run.on);
        let found = state.live.stepped(device, order, task, fence, (begin, now), ops);
        match found {
            Ok(()) => state.held("at-most-one-live"),
            Err(text) => state.violated("at-most-one-live", text),
        }
        // Its first step here, of somebody else's work.
        let guest = before != Some(device) && state.ordered.get(&order).is_some_and(|by| *by != device);
        if let (true, Some((floor, Some(charge)))) = (guest, state.batteries.get(device).copied()) {
            // What was drained since it agreed to take it does not count.
            if charge + DRAINED_PERMILLE >= floor {
                state.held("battery-floor");
            } else {
                let text = format!(
                    "device {device} took work {order} with {charge} ‰ of charge; its floor is {floor} ‰"
                );
                state.violated("battery-floor", text);
            }
        }
    }

    /// Where a piece of work is, and how much of it was done in all its steps.
    pub(crate) fn progress(&self, order: u32) -> Option<(usize, u64)> {
        let state = self.state();
        Some((state.live.last(order)?.on, state.live.done(order)))
    }

    /// An effect of a piece of work reached whoever acts on it.
    pub(crate) fn effect(&self, order: u32, sequence: u64, bytes: &[u8], before: Option<u64>) {
        let mut state = self.state();
        let found = match state.readers.get_mut(&order) {
            Some(reader) => reader.take(order, sequence, bytes, before),
            None => state.sinks.entry(order).or_default().take(order, sequence, bytes, before),
        };
        match found {
            Ok(()) => state.held("effects-once"),
            Err(text) => state.violated("effects-once", text),
        }
    }

    /// A piece of work is done, and whoever acts on its effects was there all the time.
    pub(crate) fn effects_done(&self, order: u32, effects: u64) {
        let mut state = self.state();
        let found = match state.readers.get(&order) {
            Some(reader) => reader.done(order),
            None => state.sinks.entry(order).or_default().done(order, effects),
        };
        match found {
            Ok(()) => state.held("effects-once"),
            Err(text) => state.violated("effects-once", text),
        }
    }

    /// Whoever acts on effects was told that these are not to be had any more.
    pub(crate) fn effects_missed(&self, order: u32, to: u64) {
        let mut state = self.state();
        match state.readers.get_mut(&order) {
            Some(reader) => reader.missed(to),
            None => state.sinks.entry(order).or_default().missed(to),
        }
    }

    /// Where a piece of work took steps, in order.
    pub fn runs(&self, order: u32) -> Vec<RunSpan> {
        self.state().live.runs(order)
    }

    pub(crate) fn invariants(&self) -> Vec<InvariantRecord> {
        let state = self.state();
        let names = INVARIANTS.iter().chain([&WRONG_PIN]);
        names.filter_map(|(name, _)| state.invariants.get(name).cloned()).collect()
    }

    pub(crate) fn take_events(&self) -> Vec<EventRecord> {
        std::mem::take(&mut self.state().events)
    }
}

impl State {
    fn held(&mut self, invariant: &'static str) {
        if let Some(record) = self.invariants.get_mut(invariant) {
            record.checked += 1;
        }
    }

    fn note(&mut self, kind: &str, device: Option<usize>, text: String) {
        if self.events.len() < EVENTS {
            let at_us = micros(self.begin.elapsed());
            self.events.push(EventRecord { at_us, kind: kind.into(), device, text });
        }
    }

    fn violated(&mut self, invariant: &'static str, text: String) {
        let at_us = micros(self.begin.elapsed());
        self.note("violation", None, format!("{invariant}: {text}"));
        if let Some(record) = self.invariants.get_mut(invariant) {
            record.checked += 1;
            if record.violations.len() < VIOLATIONS {
                record.violations.push(ViolationRecord { at_us, text });
            }
        }
    }
}
