//! Progress bars, on standard error and only where a person looks.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Out;

/// A bar from 0 to 1000, or a spinner. Hidden where nobody looks, and with `--json`.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar.
    pub fn new(out: &Out, what: &str) -> Self {
        Self::start(out, what, 1000, "{prefix:20!} [{bar:24}] {percent:>3} %  {wide_msg}")
    }

    /// A bar with more room for what goes on, which says itself how far it is.
    pub fn slim(out: &Out, what: &str) -> Self {
        Self::start(out, what, 1000, "{prefix:14!} [{bar:10}] {wide_msg}")
    }

    /// A spinner, for work whose length nobody knows.
    pub fn spinner(out: &Out, what: &str) -> Self {
        Self::start(out, what, 0, "{spinner} {prefix} {wide_msg}")
    }

    fn start(out: &Out, what: &str, len: u64, template: &str) -> Self {
        let hidden = out.json || !out.tty_err;
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(len), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("█▓░"));
        }
        bar.set_prefix(what.to_string());
        if !hidden {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self(bar)
    }

    /// How far it is, and what goes on.
    pub fn set(&self, permille: u16, note: &str) {
        self.0.set_position(u64::from(permille));
        self.0.set_message(note.to_string());
    }

    /// What goes on.
    pub fn note(&self, note: &str) {
        self.0.set_message(note.to_string());
    }

    /// Takes it away, for good.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }

    /// Writes a line above the bar (on standard error), seen without a terminal too.
    pub fn above(&self, out: &Out, line: &str) {
        self.0.suspend(|| out.note(line));
    }

    /// Whether a person sees it.
    pub fn is_hidden(&self) -> bool {
        self.0.is_hidden()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
