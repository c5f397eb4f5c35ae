//! Scenarios: what they say ([`Scenario`]) and how they are read.

mod chaos;
mod devices;
mod draw;
mod error;
mod events;
mod fields;
mod guest;
mod include;
mod kinds;
pub mod limits;
mod model;
mod names;
mod network;
mod read;
mod tasks;
mod times;
mod tree;
mod values;
mod write;

pub use error::{Problem, ScenarioError, Spot};
pub use guest::{Guest, Guests};
pub use model::*;
pub(crate) use names::RUNNER;
pub use values::duration;

#[cfg(test)]
mod tests;
