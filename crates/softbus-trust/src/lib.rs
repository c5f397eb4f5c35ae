//! Who may talk: device keys, pairing, circles and access rules. Pure: no I/O, clock or randomness of its own.

mod key;
mod role;

pub use key::DeviceKey;
pub use role::Role;
