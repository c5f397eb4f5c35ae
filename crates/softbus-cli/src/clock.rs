//! The wall clock, for human eyes and for expiries that a person types.

use softbus_core::WallMs;

/// Now, by this machine's wall clock.
#[allow(clippy::disallowed_methods)] // the program is where the real world is (law 2)
pub fn wall() -> WallMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    WallMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
