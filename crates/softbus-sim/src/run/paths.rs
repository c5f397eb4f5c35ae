//! Which places of the code said something in a run, and how often: its coverage, as far as it tells of itself. Events are
//! counted by where they stand in the code, and never formatted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

/// Counts on this thread while it lives.
pub(super) struct Paths {
    counts: Arc<Counter>,
    _guard: DefaultGuard,
}

#[derive(Default)]
struct Counter(Mutex<BTreeMap<(&'static str, u32), u64>>);

impl Paths {
    pub fn begin() -> Self {
        let counts = Arc::new(Counter::default());
        let guard = tracing::subscriber::set_default(counts.clone());
        Self { counts, _guard: guard }
    }

    /// How often each place of the code was met: `crate::module:line`.
    pub fn end(self) -> BTreeMap<String, u64> {
        let counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|((module, line), count)| (format!("{module}:{line}"), *count)).collect()
    }
}

impl Subscriber for Counter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("softbus")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let place = (metadata.module_path().unwrap_or(metadata.target()), metadata.line().unwrap_or(0));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(place).or_default() += 1;
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Memory that this process holds, in bytes; 0 if it cannot be told.
pub(crate) fn resident_bytes() -> u64 {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return 0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib =
        line.and_then(|rest| rest.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
