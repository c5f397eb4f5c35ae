//! The demo: four devices on one machine, told as a timeline.

mod args;

pub use args::DemoArgs;
