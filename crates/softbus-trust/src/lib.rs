//! Who may talk: device keys, pairing, circles and access rules. Pure: no I/O, clock or randomness of its own.

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
