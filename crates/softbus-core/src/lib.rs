//! Names of things on the softbus: who a device is, what it can do, how it says so on the wire, and how
//! much of anything is allowed.
//!
//! This room is `no_std` + `alloc`. No I/O, no clock and no randomness may enter it: every other room
//! stands on it, from a sensor's firmware to the simulator. That nothing brings std in with it is checked by
//! `no_std/`, a crate that does not build then.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod code;
mod envelope;
mod hash;
mod id;
mod label;
pub mod limits;
mod profile;
mod qos;
mod service;
mod signed;
mod time;
pub mod wire;

pub use code::ErrorCode;
pub use envelope::{DecodeError, EncodeError, HEADER_LEN, Header, Message, decode, encode, peek};
pub use hash::Hash;
pub use id::{CircleId, DeviceId, Epoch, IdError, LinkId, TaskId};
pub use label::{Labels, is_tricky};
pub use profile::{
    Accelerator, AcceleratorKind, AcceleratorNeed, Capability, DeviceKind, DynamicProfile, PowerSource,
    Profile, Promised, ServiceOffer, StaticProfile, Thermal,
};
pub use qos::{Latency, Privacy, QoS, Reliability};
pub use service::{ServiceName, ServiceNameError};
pub use signed::{Domain, Sig, Signed, SignedError, Signer};
pub use time::{BootMs, WallMs};
