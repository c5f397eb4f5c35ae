//! Simulations of softbus.
#![warn(missing_docs)]

pub mod record;
pub mod report;
pub mod scenario;
