//! What people and scripts see: tables and sentences for people, JSON for scripts; colour and moving bars only
//! where a person looks at a terminal.

mod file;
mod human;
mod private;
mod progress;
mod screen;
mod table;
mod tame;
mod tree;

use std::ffi::OsStr;
use std::io::{IsTerminal, Write};

use serde::Serialize;
use tracing_subscriber::EnvFilter;

pub use file::{Draft, is_stdout, writable, write_file, write_new};
pub use human::{
    ago, bytes, clean, clean_lines, duration, in_future, micros, ops, percent, rate, until, wrapped,
};
pub use private::Private;
pub use progress::Bar;
pub use screen::Screen;
pub use table::Table;
pub use tame::Tame;
pub use tree::write_tree;

use crate::failure::Failure;

/// Colours, by what they mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paint {
    /// All is well.
    Good,
    /// Look at it.
    Warn,
    /// It is wrong.
    Bad,
    /// Less important.
    Dim,
    /// More important.
    Strong,
}

impl Paint {
    /// The sequence that switches it on (ECMA-48, SGR).
    fn on(self) -> &'static str {
        match self {
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Dim => "\x1b[2m",
            Self::Strong => "\x1b[1m",
        }
    }
}

/// Whether to use colours: on a terminal that can, unless `NO_COLOR` has any value but the empty one.
pub(crate) fn colored(tty: bool, dumb: bool, no_color: Option<&OsStr>) -> bool {
    tty && !dumb && no_color.is_none_or(OsStr::is_empty)
}

/// Narrower than this, in columns, no terminal is believed to be.
const NARROW: u16 = 20;

/// Where output goes and how.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    /// JSON instead of text.
    pub json: bool,
    color_out: bool,
    color_err: bool,
    /// Whether a person reads standard error.
    pub tty_err: bool,
    /// Whether standard output is a terminal that can draw a text anew in place.
    pub live: bool,
    width: Option<u16>,
}

impl Out {
    /// Looks at the terminal and at `NO_COLOR` (no-color.org: any value but the empty one).
    pub fn new(json: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let no_color = std::env::var_os("NO_COLOR");
        let tty_out = std::io::stdout().is_terminal();
        let tty_err = std::io::stderr().is_terminal();
        Self {
            json,
            color_out: colored(tty_out, dumb, no_color.as_deref()) && !json,
            color_err: colored(tty_err, dumb, no_color.as_deref()),
            tty_err,
            live: tty_out && !dumb && !json,
            width: tty_out.then(terminal_width).flatten(),
        }
    }

    /// Whether standard output has colours.
    pub fn colors(&self) -> bool {
        self.color_out
    }

    /// Whether standard error has colours.
    pub fn colors_err(&self) -> bool {
        self.color_err
    }

    /// Colours text for standard output.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        painted(self.color_out, paint, text)
    }

    /// Colours text for standard error.
    pub fn paint_err(&self, paint: Paint, text: &str) -> String {
        painted(self.color_err, paint, text)
    }

    /// Writes a line to standard output. A reader that went away (`softbus devices | head -1`) is no error.
    pub fn line(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        let written = writeln!(stdout, "{}", text.as_ref()).and_then(|()| stdout.flush());
        closed_is_fine(written)
    }

    /// Writes bytes to standard output.
    pub fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        closed_is_fine(written)
    }

    /// Writes what must not get lost: here a reader that went away is a failure.
    pub fn seen(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
        written.map_err(|e| Failure::io("standard output", &e))
    }

    /// Writes data as JSON: one object on several lines.
    pub fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.line(json_text(serde_json::to_string_pretty(value))?)
    }

    /// Like [`Out::json`], of what must not get lost.
    pub fn seen_json(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.seen(&json_text(serde_json::to_string_pretty(value))?)
    }

    /// Writes data as one line of JSON, for streams.
    pub fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.line(json_text(serde_json::to_string(value))?)
    }

    /// Like [`Out::json_line`], of what must not get lost.
    pub fn seen_json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.seen(&json_text(serde_json::to_string(value))?)
    }

    /// Writes a table to standard output, as wide as the terminal.
    pub fn table(&self, table: Table) -> Result<(), Failure> {
        self.line(self.table_text(table))
    }

    /// A table as [`Out::table`] writes it.
    pub fn table_text(&self, table: Table) -> String {
        let asked = if self.live { terminal_width() } else { None };
        table.render(asked.or(self.width), self.color_out)
    }

    /// Width of the terminal that shows standard error, in columns; `None` if none does.
    pub fn width_err(&self) -> Option<usize> {
        if !self.tty_err {
            return None;
        }
        let asked = || rustix::termios::tcgetwinsize(std::io::stderr()).ok().map(|size| size.ws_col);
        given_width().or_else(asked).filter(|width| *width >= NARROW).map(usize::from)
    }

    /// Height of the terminal, in lines.
    pub fn height(&self) -> usize {
        let given = std::env::var("LINES").ok().and_then(|lines| lines.parse().ok());
        let asked =
            || rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_row));
        given.or_else(asked).filter(|height| *height > 0).unwrap_or(24)
    }

    /// Says something to a person on standard error, beside the output proper. Scripts get none of it.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.json {
            let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
        }
    }

    /// Tells a failure on standard error; as JSON there with `--json`.
    pub fn failure(&self, failure: &Failure) {
        let mut stderr = std::io::stderr().lock();
        if self.json {
            let text = serde_json::json!({ "error": failure, "exit_code": failure.exit_code() });
            let _ = writeln!(stderr, "{text}");
            return;
        }
        let _ = stderr.write_all(failure_text(failure, self.color_err).as_bytes());
    }
}

/// A failure for people. What is in it may be of another device.
fn failure_text(failure: &Failure, color: bool) -> String {
    let mut text = format!("{} {}\n", painted(color, Paint::Bad, "error:"), clean_lines(&failure.message));
    if let Some(advice) = &failure.advice {
        text.push_str(&format!("{} {}\n", painted(color, Paint::Strong, "  try:"), clean_lines(advice)));
    }
    text
}

fn json_text(text: serde_json::Result<String>) -> Result<String, Failure> {
    text.map_err(|e| Failure::failed(format!("cannot write JSON: {e}")))
}

fn painted(color: bool, paint: Paint, text: &str) -> String {
    if color { format!("{}{text}\x1b[0m", paint.on()) } else { text.to_string() }
}

fn closed_is_fine(written: std::io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::io("standard output", &e)),
        _ => Ok(()),
    }
}

fn terminal_width() -> Option<u16> {
    let asked = || rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col);
    given_width().or_else(asked).filter(|width| *width >= NARROW)
}

/// What the person says of the terminal, who may know better than it.
fn given_width() -> Option<u16> {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok())
}

/// Reads a log filter, strictly: a word that is no level is an error and not a room's name.
pub fn log_filter(text: &str) -> Result<EnvFilter, String> {
    const FILTER_BYTES: usize = 1024;
    let wrong = |why: &str| {
        format!(
            "`{text}` is no log level: {why}write error, warn, info, debug, trace, or a filter such as info,softbus_net=debug"
        )
    };
    if text.len() > FILTER_BYTES {
        return Err(format!("a log filter has at most {FILTER_BYTES} bytes"));
    }
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim().to_ascii_lowercase();
        if !levels.contains(&level.as_str()) {
            return Err(wrong(""));
        }
    }
    EnvFilter::builder().parse(text).map_err(|e| wrong(&format!("{e}; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_filters_are_strict() {
        assert!(log_filter("info").is_ok());
        assert!(log_filter("info,softbus_net=debug").is_ok());
        for wrong in ["loud", "", "info,", "softbus_net", "softbus_net=very"] {
            assert!(log_filter(wrong).is_err(), "{wrong}");
        }
    }
}

#[cfg(test)]
mod color_tests {
    use super::*;

    #[test]
    fn a_failure_moves_no_cursor() {
        let failure = Failure::failed("it failed: \x1b[2J\x1b]0;x\x07\nsecond\rline").advise("a\u{9b}31mb");
        let text = failure_text(&failure, false);
        assert!(text.starts_with("error: it failed: \u{fffd}[2J"), "{text:?}");
        assert_eq!(text.lines().count(), 3, "{text:?}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }

    #[test]
    fn colours_are_for_terminals_and_no_color_switches_them_off() {
        let set = |value: &'static str| Some(OsStr::new(value));
        assert!(colored(true, false, None));
        assert!(colored(true, false, set("")), "empty counts as not set");
        assert!(!colored(true, false, set("1")) && !colored(true, false, set("0")), "any value switches off");
        assert!(!colored(true, true, None), "a dumb terminal");
        assert!(!colored(false, false, None), "a file or a pipe");
        assert_eq!(painted(false, Paint::Bad, "x"), "x");
        assert!(painted(true, Paint::Bad, "x").contains('\x1b'));
    }
}
