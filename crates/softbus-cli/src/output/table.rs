//! Tables: quiet ones, a line under the header and nothing else.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, LineStyle};
use unicode_width::UnicodeWidthStr;

use super::{Paint, painted};

/// Marks in front of words, coloured after the table is laid out: escape sequences have no width.
const MARKS: [(char, Paint); 5] =
    [('●', Paint::Good), ('◐', Paint::Warn), ('○', Paint::Dim), ('✓', Paint::Good), ('✗', Paint::Bad)];

/// A table for people.
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// Columns that may be left out where there is no room, the least important first.
    spare: Vec<&'static str>,
    /// Whether cells are broken at blanks where there is no room.
    prose: bool,
}

impl Table {
    /// With these headings.
    pub fn new<const N: usize>(headings: [&'static str; N]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new(), spare: Vec::new(), prose: false }
    }

    /// Which columns may be left out on a narrow terminal, the least important first.
    #[must_use]
    pub fn spare<const N: usize>(mut self, columns: [&'static str; N]) -> Self {
        self.spare = columns.to_vec();
        self
    }

    /// Sentences stand in it: on a narrow terminal they go on in the next line.
    #[must_use]
    pub fn prose(mut self) -> Self {
        self.prose = true;
        self
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Lays it out. Without a width (no terminal) it is as wide as it needs. With one, columns are left out until it
    /// fits; what is too wide all the same stays as it is, since cells cut into pieces cannot be read.
    pub(super) fn render(mut self, width: Option<u16>, color: bool) -> String {
        let wide = |text: &str| text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
        let mut text = self.lay_out(None);
        if self.prose && width.is_some_and(|width| wide(&text) > usize::from(width)) {
            text = self.lay_out(width);
        }
        let mut spare = std::mem::take(&mut self.spare).into_iter();
        while width.is_some_and(|width| wide(&text) > usize::from(width)) {
            let Some(column) = spare.next() else { break };
            let Some(at) = self.headings.iter().position(|heading| *heading == column) else { continue };
            self.headings.remove(at);
            self.rows.iter_mut().for_each(|row| drop(row.remove(at)));
            text = self.lay_out(None);
        }
        if !color {
            return text;
        }
        text.chars()
            .map(|c| match MARKS.iter().find(|(mark, _)| *mark == c) {
                Some((_, paint)) => painted(true, *paint, &c.to_string()),
                None => c.to_string(),
            })
            .collect()
    }

    fn lay_out(&self, width: Option<u16>) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING.header_separator(LineStyle::new(' ', '─', '─', ' ')));
        table.set_header(self.headings.iter().map(|heading| heading.to_uppercase()));
        table.set_content_arrangement(match width {
            Some(_) => ContentArrangement::Dynamic,
            None => ContentArrangement::Disabled,
        });
        if let Some(width) = width {
            table.set_width(width);
        }
        table.add_rows(&self.rows);
        table.trim_fmt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_plain_without_a_terminal() {
        let mut table = Table::new(["name", "state"]);
        table.row(["tv".into(), "● online".into()]);
        table.row(["a device with quite a long name".into(), "○ offline".into()]);
        let text = table.render(None, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].contains("NAME") && lines[0].contains("STATE"));
        assert!(!text.contains('\x1b'));
        assert!(lines.iter().all(|l| !l.ends_with(' ')));
    }

    #[test]
    fn a_narrow_terminal_leaves_columns_out_and_breaks_no_word() {
        let make = || {
            let mut table = Table::new(["name", "load", "presence"]).spare(["load"]);
            table.row(["the kitchen radio".into(), "100 %".into(), "● online".into()]);
            table
        };
        assert!(make().render(Some(80), false).contains("100 %"));
        let narrow = make().render(Some(38), false);
        assert!(!narrow.contains("LOAD") && !narrow.contains("100 %"), "{narrow}");
        assert!(narrow.lines().all(|line| line.chars().count() <= 38), "{narrow}");
        for width in [38, 20] {
            let text = make().render(Some(width), false);
            assert!(text.contains("the kitchen radio") && text.contains("● online"), "{text}");
            assert_eq!(text.lines().count(), 3, "{text}");
        }
    }

    #[test]
    fn sentences_go_on_in_the_next_line() {
        let make = || {
            let mut table = Table::new(["what", "notes"]).prose();
            table.row(["pairing".into(), "the slowest of three, from the entry of the PIN on".into()]);
            table
        };
        let narrow = make().render(Some(40), false);
        assert!(narrow.lines().all(|line| line.width() <= 40), "{narrow}");
        let words: Vec<&str> = narrow.split_whitespace().collect();
        assert!(
            words.ends_with(&["slowest", "of", "three,", "from", "the", "entry", "of", "the", "PIN", "on"])
        );
        assert_eq!(make().render(Some(100), false), make().render(None, false));
    }

    #[test]
    fn colour_changes_no_width() {
        let make = || {
            let mut table = Table::new(["state"]);
            table.row(["● online".into()]);
            table
        };
        let (plain, colored) = (make().render(Some(40), false), make().render(Some(40), true));
        assert_eq!(colored.replace("\x1b[32m", "").replace("\x1b[0m", ""), plain);
        assert_ne!(colored, plain);
    }
}
