//! Who may talk: device keys, pairing, circles and access rules. Pure: no I/O, clock or randomness of its own.

pub mod circle;
mod key;
pub mod pairing;
mod role;
pub mod tag;

pub use circle::{CircleSet, CircleView, CirclesView, Grant, Member, RecoveryKey};
pub use key::DeviceKey;
pub use pairing::{PairingState, Pin};
pub use role::Role;
