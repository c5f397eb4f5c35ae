//! `softbus up`: a node.

mod log;

pub use log::start_log;

use crate::args::UpArgs;
use crate::commands::Context;
use crate::failure::Failure;

/// Runs a node until a signal or `softbus down`.
pub(crate) async fn up(_cx: Context, _args: UpArgs) -> Result<(), Failure> {
    Err(Failure::failed("not yet"))
}
