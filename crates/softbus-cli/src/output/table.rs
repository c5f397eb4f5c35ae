//! Tables: quiet ones, a line under the header and nothing else.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, LineStyle};

use super::{Paint, painted};

/// Marks in front of words, coloured after the table is laid out: escape sequences have no width.
const MARKS: [(char, Paint); 5] =
    [('●', Paint::Good), ('◐', Paint::Warn), ('○', Paint::Dim), ('✓', Paint::Good), ('✗', Paint::Bad)];

/// A table for people.
pub struct Table {
    table: comfy_table::Table,
}

impl Table {
    /// With these headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING.header_separator(LineStyle::new(' ', '─', '─', ' ')));
        table.set_header(headings.map(str::to_uppercase));
        table.set_content_arrangement(ContentArrangement::Dynamic);
        Self { table }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.table.add_row(cells);
    }

    /// Lays it out. Without a width (no terminal) it is as wide as it needs.
    pub(super) fn render(mut self, width: Option<u16>, color: bool) -> String {
        match width {
            Some(width) => self.table.set_width(width),
            None => self.table.set_content_arrangement(ContentArrangement::Disabled),
        };
        let text = self.table.trim_fmt();
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
