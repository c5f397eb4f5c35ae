//! The TLS secrets of a run, in the order in which they came up: with them anybody can read all that was said. For
//! simulations only, where nothing is secret.

use std::sync::{Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;

/// Lines that are kept; later ones are not.
const LINES: usize = 1 << 20;

/// A key log in memory, for `NetConfig::key_log` of all devices alike. Its lines have NSS's format (`SSLKEYLOGFILE`).
#[derive(Default)]
pub struct KeyLines(Mutex<Vec<String>>);

impl KeyLines {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The lines from this one on, each with its line feed. Both ends of a connection log its secrets: they are there
    /// twice.
    pub fn since(&self, first: usize) -> Vec<String> {
        self.lock().get(first..).unwrap_or_default().to_vec()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl rustls::KeyLog for KeyLines {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut lines = self.lock();
        if lines.len() < LINES {
            lines.push(format!("{label} {} {}\n", HEXLOWER.encode(client_random), HEXLOWER.encode(secret)));
        }
    }
}

impl std::fmt::Debug for KeyLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyLines({})", self.lock().len())
    }
}
