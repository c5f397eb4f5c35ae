//! Who may talk: device keys, pairing, circles and access rules.
//!
//! What may not enter here: I/O, clocks and randomness (time and random bytes come in as arguments), and what a device
//! is or does (profiles, tasks). Everything is a pure function or a plain state machine.

pub mod access;
pub mod circle;
mod key;
pub mod pairing;
mod role;
pub mod tag;
pub mod ticket;

pub use access::{AccessRules, Asker, Rule};
pub use circle::{CircleSet, CircleView, CirclesView, Grant, Member, RecoveryKey};
pub use key::{BACKUP_BYTES, BACKUP_RANDOM, DeviceKey, KeyError, PASSPHRASE_BYTES};
pub use pairing::{PairingState, Pin};
pub use role::Role;
pub use ticket::{Ticket, TicketError};
