//! Scenarios: what they say ([`Scenario`]) and how they are read.

mod model;

pub use model::*;
