//! What the program writes to standard error about what it does.

use std::io::IsTerminal;

use tracing_subscriber::fmt::format::FmtSpan;

use crate::failure::Failure;
use crate::output::{colored, log_filter};

/// Starts logging with a filter such as `info`. Only the first call of a process counts.
pub fn start_log(filter: &str) -> Result<(), Failure> {
    let filter = log_filter(filter).map_err(Failure::usage)?;
    let no_color = std::env::var_os("NO_COLOR");
    // Under systemd the journal has its own times.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let builder = tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(colored(std::io::stderr().is_terminal(), false, no_color.as_deref()))
        .with_writer(std::io::stderr);
    // An earlier subscriber stays: a program has one.
    let _ = if journal { builder.without_time().try_init() } else { builder.try_init() };
    Ok(())
}
