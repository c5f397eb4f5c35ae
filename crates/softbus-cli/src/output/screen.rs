//! A part of the terminal that is drawn anew in place, for what is watched.

use std::fmt::Write as _;

use super::Out;
use crate::failure::Failure;

/// What was drawn last, below which nothing else may be written meanwhile.
#[derive(Default)]
pub struct Screen {
    lines: usize,
}

impl Screen {
    /// Draws `text` over what was drawn before.
    pub fn draw(&mut self, out: &Out, text: &str) -> Result<(), Failure> {
        let (frame, lines) = frame(self.lines, text, out.height());
        self.lines = lines;
        out.raw(frame.as_bytes())
    }
}

/// The bytes that put `text` over `before` lines on a terminal of this height, and how many lines it has now. Longer
/// lines than the terminal's are cut by it, so that a line of text is a line of the terminal.
fn frame(before: usize, text: &str, height: usize) -> (String, usize) {
    // The cursor stands below the text: one line less. A tiny terminal scrolls; that does no harm.
    let room = height.saturating_sub(1).max(3);
    let all: Vec<&str> = text.lines().collect();
    let (shown, hidden) = match all.len().checked_sub(room) {
        None | Some(0) => (&all[..], 0),
        Some(over) => (&all[..room - 1], over + 1),
    };
    let mut frame = String::new();
    // ECMA-48: cursor up, erase to the end of a line or of the screen. DEC private mode 7: wrapping.
    if before > 0 {
        let _ = write!(frame, "\x1b[{before}A");
    }
    frame.push_str("\r\x1b[?7l");
    for line in shown {
        let _ = writeln!(frame, "{line}\x1b[K");
    }
    if hidden > 0 {
        let _ = writeln!(frame, "… {hidden} more lines: the window is too small\x1b[K");
    }
    frame.push_str("\x1b[J\x1b[?7h");
    (frame, shown.len() + usize::from(hidden > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal shows after `bytes`: just enough of one for what [`frame`] writes.
    fn terminal(bytes: &str) -> Vec<String> {
        let (mut lines, mut at) = (vec![String::new()], 0);
        let mut rest = bytes;
        while let Some(c) = rest.chars().next() {
            if let Some(sequence) = rest.strip_prefix("\x1b[") {
                let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                match (&sequence[..end], &sequence[end..=end]) {
                    (n, "A") => at -= n.parse::<usize>().unwrap(),
                    ("", "K") => {}
                    ("", "J") => lines.truncate(at + 1),
                    ("?7", "l" | "h") => {}
                    other => panic!("{other:?}"),
                }
                rest = &sequence[end + 1..];
                continue;
            }
            match c {
                '\n' => {
                    at += 1;
                    lines.resize(lines.len().max(at + 1), String::new());
                }
                '\r' => lines[at].clear(),
                c => lines[at].push(c),
            }
            rest = &rest[c.len_utf8()..];
            // A new line of text overwrites the old one.
            if c == '\n' {
                lines[at].clear();
            }
        }
        lines.pop();
        lines
    }

    #[test]
    fn a_frame_replaces_the_one_before() {
        let mut written = String::new();
        let mut before = 0;
        for text in ["a\nb\nc", "A\nB", "1\n2\n3\n4"] {
            let (bytes, lines) = frame(before, text, 24);
            written.push_str(&bytes);
            before = lines;
            assert_eq!(terminal(&written), text.lines().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_frame_is_never_higher_than_the_terminal() {
        let text = (0..100).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        for height in [0, 1, 4, 10, 50] {
            let (bytes, lines) = frame(0, &text, height);
            assert!(lines <= height.saturating_sub(1).max(3), "{height}");
            let shown = terminal(&bytes);
            assert_eq!(shown.len(), lines);
            assert_eq!(
                shown.last().unwrap(),
                &format!("… {} more lines: the window is too small", 101 - lines)
            );
        }
        let (bytes, lines) = frame(0, "a\nb", 3);
        assert_eq!((terminal(&bytes), lines), (vec!["a".into(), "b".into()], 2));
    }
}
