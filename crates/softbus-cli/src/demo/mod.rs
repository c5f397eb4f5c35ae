//! The demo: four devices on one machine, told as a timeline.

mod args;

pub use args::DemoArgs;

use crate::failure::Failure;
use crate::output::Out;

/// Runs the demo.
pub async fn run(_args: DemoArgs, _out: &Out) -> Result<(), Failure> {
    Err(Failure::failed("the demo is not part of this build"))
}
