//! Circles: groups of devices that trust each other.
//!
//! A circle is a set of signed [statements](Statement), each naming those it follows. Whoever has the same set
//! sees the same members. The rules are told in full at the head of `evaluate.rs`.

mod evaluate;
mod graph;
mod past;
mod recovery;
mod secret;
mod set;
mod statement;
mod view;

pub use recovery::{RecoveryKey, WordsError};
pub use secret::{CircleSecret, SecretBody, SecretError};
pub use set::{
    CircleSet, DIGEST, Farewell, InsertError, Inserted, PENDING, ProposeError, RECOVERIES, RESERVED,
};
pub use statement::{Act, RECOVERY_KEEPS, Statement, StatementError};
pub use view::{CircleView, CirclesView, Grant, Member};

/// Most services a guest may be granted by name.
pub const GRANT_SERVICES: usize = 16;

#[cfg(test)]
mod tests;
