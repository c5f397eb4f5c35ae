//! What the demo prints while it goes: a line for each thing that happened, and a bar for the task.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

use super::shown::Shown;
use crate::output::{Bar, Out, Paint, wrapped};

/// Columns in front of what happened: when, and to whom.
const INDENT: usize = 19;

/// Prints lines with the time since the start.
pub struct Timeline {
    start: Instant,
    out: Out,
    bar: RefCell<Option<Bar>>,
}

impl Timeline {
    /// Starts the clock.
    pub fn new(out: Out) -> Self {
        Self { start: Instant::now(), out, bar: RefCell::new(None) }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// A new part of the story.
    pub fn chapter(&self, title: &str) {
        self.print(&format!("\n{}", self.out.paint_err(Paint::Strong, title)));
    }

    /// Something happened to somebody.
    pub fn line(&self, who: &str, what: impl AsRef<str>) {
        let mut lines = what.as_ref().lines();
        let first = lines.next().unwrap_or_default();
        self.print_line(&format!("{:>7.2} s  {who:<7} {first}", self.elapsed().as_secs_f64()));
        for line in lines {
            self.print_line(&format!("{:INDENT$}{line}", ""));
        }
    }

    /// Shows a small picture, where a terminal has the colours and the room for it.
    pub fn picture(&self, picture: Option<&Shown>) {
        let Some(picture) = picture else { return };
        let room = self.out.width_err().is_some_and(|width| width >= INDENT + picture.columns());
        if !room || !self.out.colors_err() {
            return;
        }
        let fine = std::env::var("COLORTERM").is_ok_and(|term| term == "truecolor" || term == "24bit");
        for line in picture.lines(fine) {
            self.print(&format!("{:INDENT$}{line}", ""));
        }
    }

    /// Shows the bar, where there is a terminal to show it on.
    pub fn show_bar(&self) {
        *self.bar.borrow_mut() = Some(Bar::new(&self.out, "picture"));
    }

    /// Shows that something goes on whose length nobody knows, where there is a terminal to show it on.
    pub fn show_spinner(&self, what: &str) {
        *self.bar.borrow_mut() = Some(Bar::spinner(&self.out, what));
    }

    /// Moves the bar.
    pub fn progress(&self, permille: u16, note: &str) {
        if let Some(bar) = self.bar.borrow().as_ref() {
            bar.set(permille, note);
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        *self.bar.borrow_mut() = None;
    }

    fn print_line(&self, line: &str) {
        match self.out.width_err() {
            Some(width) => self.print(&wrapped(line, width, INDENT)),
            None => self.print(line),
        }
    }

    fn print(&self, text: &str) {
        match self.bar.borrow().as_ref() {
            Some(bar) => bar.above(&self.out, text),
            None => self.out.note(text),
        }
    }
}
