//! What a program prints, made safe for a terminal.

/// Takes out of a text, as it comes in pieces, whatever has a terminal do more than show it: titles, the clipboard, modes,
/// answers typed for the person (ECMA-48 and what terminals added to it). Text, colours, and moving and clearing within the
/// screen stay.
#[derive(Debug, Default)]
pub struct Tame {
    state: State,
    /// A control sequence as far as it has come.
    sequence: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Text,
    /// In a character of several bytes, of which so many are to come.
    Character(u8),
    /// After the first byte of a two-byte character that may be a control (U+0080 to U+009F).
    Control,
    Escape,
    /// In an escape sequence of more bytes.
    Designate,
    Sequence,
    /// In a string for the terminal, and whether an ESC was the last of it.
    Telling(bool),
}

/// Longest control sequence that is passed on.
const SEQUENCE: usize = 32;
/// Ends of those that are: cursor up, down, forward, back, lines, columns, place; erase; colours.
const HARMLESS: &[u8] = b"ABCDEFGHJKdfm";

impl Tame {
    /// What may be shown of the next piece.
    pub fn pass(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(piece.len());
        for &byte in piece {
            self.state = self.step(byte, &mut shown);
        }
        shown
    }

    fn step(&mut self, byte: u8, shown: &mut Vec<u8>) -> State {
        match (self.state, byte) {
            (State::Text, 0x1b) => State::Escape,
            (State::Text, 0xc2) => State::Control,
            (State::Text, b'\n' | b'\r' | b'\t' | 8 | 0x20..=0x7e) => {
                shown.push(byte);
                State::Text
            }
            (State::Text, 0xc3..=0xf4) => {
                shown.push(byte);
                State::Character(if byte < 0xe0 {
                    1
                } else if byte < 0xf0 {
                    2
                } else {
                    3
                })
            }
            // What is no text in UTF-8 may be a control in another code.
            (State::Text, _) => State::Text,
            (State::Character(left), 0x80..=0xbf) => {
                shown.push(byte);
                if left > 1 { State::Character(left - 1) } else { State::Text }
            }
            (State::Character(_), _) => {
                self.state = State::Text;
                self.step(byte, shown)
            }
            (State::Control, 0x9b) => self.begins(),
            (State::Control, 0x90 | 0x98 | 0x9d..=0x9f) => State::Telling(false),
            (State::Control, 0x80..=0x9f) => State::Text,
            (State::Control, 0xa0..=0xbf) => {
                shown.extend_from_slice(&[0xc2, byte]);
                State::Text
            }
            (State::Control, _) => {
                self.state = State::Text;
                self.step(byte, shown)
            }
            (State::Escape, b'[') => self.begins(),
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::Telling(false),
            (State::Escape, 0x20..=0x2f) => State::Designate,
            (State::Escape, 0x1b) => State::Escape,
            (State::Escape, _) => State::Text,
            (State::Designate, 0x20..=0x2f) => State::Designate,
            (State::Designate, 0x1b) => State::Escape,
            (State::Designate, _) => State::Text,
            (State::Sequence, 0x20..=0x3f) => {
                if self.sequence.len() < SEQUENCE {
                    self.sequence.push(byte);
                }
                State::Sequence
            }
            (State::Sequence, 0x40..=0x7e) => {
                let plain = self.sequence.iter().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':'));
                // Also the lines that went out at the top belong to whoever looks.
                let plain = plain && !(byte == b'J' && self.sequence.contains(&b'3'));
                if plain && self.sequence.len() < SEQUENCE && HARMLESS.contains(&byte) {
                    shown.extend_from_slice(b"\x1b[");
                    shown.append(&mut self.sequence);
                    shown.push(byte);
                }
                State::Text
            }
            (State::Sequence, 0x1b) => State::Escape,
            (State::Sequence, _) => State::Text,
            // BEL ends it (xterm), or ST: ESC \, or that as one character.
            (State::Telling(_), 7 | 0x9c) | (State::Telling(true), b'\\') => State::Text,
            (State::Telling(_), 0x18 | 0x1a) => State::Text,
            (State::Telling(_), byte) => State::Telling(byte == 0x1b),
        }
    }

    fn begins(&mut self) -> State {
        self.sequence.clear();
        State::Sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let whole = Tame::default().pass(text.as_bytes());
        // In which pieces it comes makes no difference.
        let mut tame = Tame::default();
        let bits: Vec<u8> = text.bytes().flat_map(|byte| tame.pass(&[byte])).collect();
        assert_eq!(whole, bits);
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn text_and_colours_stay() {
        for text in [
            "",
            "one\ntwo\r\tthree\x08",
            "\x1b[1;31mred\x1b[0m",
            "größe © 日本",
            "\x1b[2K\x1b[3A\x1b[10;4H",
            "\u{a0}",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn what_commands_a_terminal_is_gone() {
        let cases = [
            ("\x1b]0;a title\x07text", "text"),
            ("\x1b]52;c;cm0gLXJm\x1b\\text", "text"),
            ("a\x1b[6nb\x1b[?1049hc\x1b[>0qd", "abcd"),
            ("\x1bP+q544e\x1b\\x", "x"),
            ("\x1bc\x1b(0x\x07\x00y", "xy"),
            ("\u{9b}6n\u{9d}0;t\x07z\u{85}", "z"),
            ("\x1b[\x1b[31mx", "\x1b[31mx"),
            ("a\x1b[3Jb\x1b[2J", "ab\x1b[2J"),
        ];
        for (text, left) in cases {
            assert_eq!(shown(text), left, "{text:?}");
        }
        // No UTF-8.
        assert_eq!(Tame::default().pass(b"a\x9b6n\xc3\xe2\x82b\xff\xc2c"), b"a6n\xc3\xe2\x82bc");
        assert_eq!(shown(&format!("\x1b[{}mx", "1;".repeat(100))), "x");
    }
}
