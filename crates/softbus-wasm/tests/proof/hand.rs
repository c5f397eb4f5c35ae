//! A clock that is moved by hand.

use std::sync::atomic::{AtomicU64, Ordering};

use softbus_wasm::wasi::{Moment, Now};

/// Nanoseconds since a test began.
#[derive(Default)]
pub struct Hand(pub AtomicU64);

impl Now for Hand {
    fn now(&self) -> Moment {
        let ns = self.0.load(Ordering::Relaxed);
        Moment { monotonic: ns, wall: 1_700_000_000_000_000_000 + ns }
    }
}
