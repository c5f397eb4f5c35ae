//! A small picture, drawn in a terminal: two of its pixels to a character, one above the other.

use std::fmt::Write as _;

/// Most columns and rows of one.
const SIDE: usize = 160;

/// A small picture: rows of red, green and blue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shown {
    width: usize,
    height: usize,
    rows: Vec<Vec<[u8; 3]>>,
}

impl Shown {
    /// One of a size, `WIDTH HEIGHT`, whose rows are to come.
    pub fn of(size: &str) -> Option<Self> {
        let (width, height) = size.split_once(' ')?;
        let (width, height) = (width.parse().ok()?, height.parse().ok()?);
        let fits = (1..=SIDE).contains(&width) && (1..=SIDE).contains(&height);
        fits.then_some(Self { width, height, rows: Vec::new() })
    }

    /// Takes in the next row, in hexadecimal digits. Whether it was the last; `None` if it is no row of it.
    pub fn row(&mut self, digits: &str) -> Option<bool> {
        let bytes = data_encoding::HEXLOWER.decode(digits.as_bytes()).ok()?;
        if bytes.len() != 3 * self.width {
            return None;
        }
        self.rows.push(bytes.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect());
        Some(self.rows.len() == self.height)
    }

    /// Columns that it takes.
    pub fn columns(&self) -> usize {
        self.width
    }

    /// As lines for a terminal. `fine`: one that knows 16 million colours; others know 256.
    pub fn lines(&self, fine: bool) -> Vec<String> {
        let colour = |[r, g, b]: [u8; 3]| match fine {
            true => format!("2;{r};{g};{b}"),
            // A cube of 6 × 6 × 6 colours (ECMA-48, SGR 38 and 48, as terminals have extended it).
            false => {
                let level = |c: u8| (u16::from(c) * 5 + 127) / 255;
                format!("5;{}", 16 + 36 * level(r) + 6 * level(g) + level(b))
            }
        };
        let pairs = self.rows.chunks(2);
        pairs
            .map(|pair| {
                let mut line = String::new();
                for (x, upper) in pair[0].iter().enumerate() {
                    // Writing to a string does not fail.
                    let _ = write!(line, "\x1b[38;{}m", colour(*upper));
                    if let Some(lower) = pair.get(1).and_then(|row| row.get(x)) {
                        let _ = write!(line, "\x1b[48;{}m", colour(*lower));
                    }
                    line.push('▀');
                }
                line + "\x1b[0m"
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rows_make_a_line() {
        let mut shown = Shown::of("2 3").unwrap();
        assert_eq!(shown.row("ff000000ff00"), Some(false));
        assert_eq!(shown.row("ff"), None);
        assert_eq!(shown.row("0000ffffffff"), Some(false));
        assert_eq!(shown.row("000000000000"), Some(true));
        let lines = shown.lines(true);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("\x1b[38;2;255;0;0m\x1b[48;2;0;0;255m▀"), "{:?}", lines[0]);
        assert!(shown.lines(false)[0].contains("38;5;196m"), "{:?}", shown.lines(false)[0]);
        assert!(Shown::of("0 4").is_none() && Shown::of("4 999").is_none() && Shown::of("4").is_none());
    }
}
