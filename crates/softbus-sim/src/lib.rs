//! Simulations of softbus.
#![warn(missing_docs)]

pub mod record;
pub mod scenario;
pub mod trace;
