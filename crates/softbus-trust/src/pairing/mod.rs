//! Two strangers become a pair.

use std::time::Duration;

mod state;

pub use state::{PairingState, Pin, PinError};

/// How long a PIN lives.
pub const PIN_LIFE: Duration = Duration::from_secs(60);
