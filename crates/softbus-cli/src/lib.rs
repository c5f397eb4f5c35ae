//! The softbus program: a node (`softbus up`), the commands that talk to it over its control socket, the demo, and the
//! simulator's commands. It stands on the face (`softbus::Bus`) and knows nothing that the face does not tell.
//!
//! What may not enter here: what another app would need, too. That belongs on the face.

mod args;
pub mod clock;
mod commands;
pub mod config;
pub mod control;
pub mod demo;
mod doctor;
pub mod failure;
mod node;
pub mod output;
pub mod paths;
pub mod picture;
mod sim;
pub mod tasks;

pub use commands::main;
