//! The link between two devices as a pure state machine: which connection carries it, whether the peer
//! answers, when to dial. It owns no socket, clock or randomness; the endpoint drives it. Public for simulators, which drive
//! it by modelled connections.

mod machine;
mod presence;

pub use machine::{Action, ConnKey, Control, LinkConfig, LinkMachine};
