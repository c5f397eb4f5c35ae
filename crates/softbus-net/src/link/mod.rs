//! The link between two devices as a pure state machine: which connection carries it, whether the peer
//! answers, when to dial. It owns no socket, clock or randomness; the endpoint drives it.

mod machine;
mod presence;

pub(crate) use machine::{Action, ConnKey, Control, LinkConfig, LinkMachine};
