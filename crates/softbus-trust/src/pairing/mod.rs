//! Two strangers become a pair.
//!
//! - [`Opener`] and [`Enterer`] run the password proof of one channel: SPAKE2, bound to the connection.
//! - [`Gate`] says whether pairing is open on this device, counts tries and freezes.
//! - [`settle`] says who admits whom once both have proven the password.
//!
//! All of it is pure: the driver gives messages, time and randomness, and does what it is told.

mod gate;
mod proof;
mod settle;
mod state;

pub use gate::{FREEZES, Gate, GateRecord, GateRefusal, Now, PIN_LIFE, TRIES, Tried};
pub use proof::{Binding, EXPORTER_LABEL, Enterer, Judged, Opener, PairPassword, ProofError};
pub use settle::{Settlement, settle};
pub use state::{PairingState, Pin, PinError};
