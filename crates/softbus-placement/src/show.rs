//! Explanations for people: one sentence, then a table.

use core::fmt;

use softbus_core::{AcceleratorKind, Capability, Labels, Privacy, is_tricky};
use unicode_width::UnicodeWidthStr;

use crate::{Action, Because, Explanation, Held, Refusal, Row, Terms, Verdict};

/// Longest name shown, in characters.
const NAME_CHARS: usize = 24;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary())?;
        if !self.rows.is_empty() {
            writeln!(f)?;
            table(f, &self.rows)?;
        }
        Ok(())
    }
}

impl Explanation {
    /// The decision and its reasons in one sentence, such as `tv: 4.2 s; phone would take 19.8 s (slower
    /// cores); sensor cannot: memory 64 MiB < 200 MiB`.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        let labels = labels(&self.rows);
        for row in &self.rows {
            let name = labels.of(&row.id);
            let total = row.terms.map_or(String::new(), |terms| time(terms.total_us()));
            parts.push(match &row.verdict {
                Verdict::Chosen => match self.action {
                    Action::Stay { .. } => format!("stays on {name}: {total}"),
                    Action::Move { .. } => format!("moves to {name}: {total}"),
                    Action::Start { .. } | Action::Nowhere => format!("{name}: {total}"),
                },
                Verdict::Lost { because: Some(because), .. } => {
                    format!("{name} would take {total} ({because})")
                }
                Verdict::Lost { because: None, .. } => match self.held {
                    Some(held) if held.better() == row.id => format!("{name} would take {total}, but {held}"),
                    _ => format!("{name} would take {total}"),
                },
                Verdict::Refused(reasons) => match reasons.first() {
                    Some(reason) => format!("{name} cannot: {reason}"),
                    None => format!("{name} cannot"),
                },
            });
        }
        match (parts.is_empty(), self.action) {
            (true, _) => "no device is known that could take it".into(),
            (false, Action::Nowhere) => format!("no device can take it: {}", parts.join("; ")),
            (false, _) => parts.join("; "),
        }
    }
}

impl Held {
    /// The device that would be better.
    pub fn better(&self) -> softbus_core::DeviceId {
        match self {
            Self::JustMoved { better, .. } | Self::Margin { better, .. } => *better,
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JustMoved { stayed_us, least_us, .. } => {
                write!(f, "it moved only {} ago and stays for {}", time(*stayed_us), time(*least_us))
            }
            Self::Margin { gain_us, needs_us, .. } => {
                write!(f, "a gain of {} is not worth a move (less than {})", time(*gain_us), time(*needs_us))
            }
        }
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlowerCores => f.write_str("slower cores"),
            Self::FewerCores => f.write_str("fewer cores"),
            Self::Busy => f.write_str("busy with other things"),
            Self::Hot => f.write_str("hot, runs slower"),
            Self::OtherWork => f.write_str("shared with other tasks"),
            Self::Transfer => f.write_str("moving the data takes longer"),
            Self::Distance => f.write_str("farther away"),
            Self::Battery(charge) => write!(f, "on battery at {} %", charge.div_ceil(10)),
            Self::Move => f.write_str("a move costs more than it gains"),
            Self::Preference => f.write_str("by preference"),
            Self::Tie => f.write_str("just as good"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Excluded => f.write_str("excluded by preference"),
            Self::NotHome { privacy: Privacy::Device } => {
                f.write_str("private to the device it was given on")
            }
            Self::NotHome { .. } => f.write_str("must stay on the device it was given on"),
            Self::Trust { needs, has, privacy } => {
                let label = match privacy {
                    Privacy::Device => "device",
                    Privacy::Owners => "owners",
                    Privacy::Circle => "circle",
                    Privacy::Anyone => "anyone",
                };
                write!(f, "it is a {has}; privacy `{label}` asks for {needs}")
            }
            Self::Absent { presence } => write!(f, "{presence}"),
            Self::Draining => f.write_str("shutting down"),
            Self::NoProfile => f.write_str("no profile heard"),
            Self::Stale { age_us, limit_us } => {
                write!(f, "last heard {} ago (limit {})", time(*age_us), time(*limit_us))
            }
            Self::NoSpeed => f.write_str("its speed is not measured yet"),
            Self::Memory { needs, has } => write!(f, "memory {} < {}", bytes(*has), bytes(*needs)),
            Self::Capability { missing } => match missing {
                Capability::Named(name) => write!(f, "has no {}", shown(name)),
                Capability::Display => f.write_str("has no display"),
                Capability::Audio => f.write_str("has no audio"),
                Capability::Microphone => f.write_str("has no microphone"),
                Capability::Camera => f.write_str("has no camera"),
                Capability::Location => f.write_str("has no location"),
                Capability::Input => f.write_str("has no input"),
                Capability::Internet => f.write_str("has no internet"),
            },
            Self::Accelerator { kind, needs, has: Some(has) } => {
                write!(f, "{} memory {} < {}", accelerator(*kind), bytes(*has), bytes(*needs))
            }
            Self::Accelerator { kind, has: None, .. } => write!(f, "has no {}", accelerator(*kind)),
            Self::Service { missing } => write!(f, "offers no {missing}"),
            Self::TaskType { missing } => write!(f, "does not know {}", shown(missing)),
            Self::Battery { has, needs } => {
                write!(f, "battery {} % < {} %", has / 10, needs.div_ceil(10))
            }
            Self::Thermal => f.write_str("too hot"),
            Self::LeasesFull { jobs: 0 } => f.write_str("refused it a moment ago"),
            Self::LeasesFull { jobs } => write!(f, "all promised to others ({jobs} reservations)"),
            Self::Slow { has, needs } => write!(f, "link {}/s < {}/s", bytes(*has), bytes(*needs)),
        }
    }
}

fn accelerator(kind: AcceleratorKind) -> &'static str {
    match kind {
        AcceleratorKind::Gpu => "GPU",
        AcceleratorKind::Npu => "NPU",
        AcceleratorKind::Dsp => "DSP",
    }
}

/// A column of terms: its heading, and what it shows of a row.
type Column = (&'static str, fn(&Terms) -> i64);

fn table(f: &mut fmt::Formatter<'_>, rows: &[Row]) -> fmt::Result {
    // Columns that are nought for all are left out, save the first.
    let columns: [Column; 9] = [
        ("total", |t| signed(t.total_us())),
        ("queue", |t| signed(t.queue_us)),
        ("in", |t| signed(t.transfer_in_us)),
        ("compute", |t| signed(t.compute_us)),
        ("out", |t| signed(t.transfer_out_us)),
        ("distance", |t| signed(t.latency_us)),
        ("energy", |t| signed(t.energy_us)),
        ("move", |t| signed(t.move_us)),
        ("wish", |t| t.preference_us),
    ];
    let all: Vec<&Terms> = rows.iter().filter_map(|row| row.terms.as_ref()).collect();
    let used: Vec<&Column> = columns
        .iter()
        .filter(|(name, value)| *name == "compute" || all.iter().any(|terms| value(terms) != 0))
        .filter(|_| !all.is_empty())
        .collect();

    let labels = labels(rows);
    let mut lines: Vec<Vec<String>> = Vec::with_capacity(rows.len() + 1);
    let mut head = vec!["device".to_string()];
    head.extend(used.iter().map(|(name, _)| (*name).to_string()));
    head.push("verdict".into());
    lines.push(head);
    for row in rows {
        let mut line = vec![labels.of(&row.id)];
        line.extend(
            used.iter().map(|(_, value)| row.terms.as_ref().map_or("–".into(), |t| signed_time(value(t)))),
        );
        line.push(verdict(row));
        lines.push(line);
    }
    let last = used.len() + 1;
    let width = |column: usize| lines.iter().map(|line| line[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..last).map(width).collect();
    for line in &lines {
        // Padding by `{:w$}` counts characters; one of Chinese takes two columns.
        let blanks = |column: usize| widths[column].saturating_sub(line[column].width());
        write!(f, "{}{:w$}", line[0], "", w = blanks(0))?;
        for (column, cell) in line[..last].iter().enumerate().skip(1) {
            write!(f, "  {:w$}{cell}", "", w = blanks(column))?;
        }
        writeln!(f, "  {}", line[last])?;
    }
    Ok(())
}

fn verdict(row: &Row) -> String {
    match &row.verdict {
        Verdict::Chosen => "chosen".into(),
        Verdict::Lost { because: Some(Because::Tie), .. } => "just as good".into(),
        Verdict::Lost { by_us, because: Some(because) } => {
            format!("{} longer: {because}", signed_time(*by_us))
        }
        Verdict::Lost { by_us, because: None } => {
            format!("{} shorter, not enough to move", time(by_us.unsigned_abs()))
        }
        Verdict::Refused(reasons) => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            format!("cannot: {}", reasons.join("; "))
        }
    }
}

/// What the candidates are called: those that share a name are told apart by their ids.
fn labels(rows: &[Row]) -> Labels {
    let name = |row: &Row| if row.name == row.id.short() { String::new() } else { shown(&row.name) };
    rows.iter().map(|row| (row.id, name(row))).collect()
}

/// Foreign text, safe for a terminal.
fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(NAME_CHARS).map(|c| if is_tricky(c) { '?' } else { c }).collect();
    if text.chars().count() > NAME_CHARS {
        out.push('…');
    }
    out
}

fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

fn signed_time(us: i64) -> String {
    let text = time(us.unsigned_abs());
    if us < 0 { format!("−{text}") } else { text }
}

/// A span of time in three figures.
fn time(us: u64) -> String {
    match us {
        0 => "0".into(),
        1..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", (us + 500) / 1000),
        1_000_000..100_000_000 => {
            let tenths = (us + 50_000) / 100_000;
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
        100_000_000..6_000_000_000 => format!("{} s", us / 1_000_000),
        6_000_000_000..360_000_000_000 => format!("{} min", us / 60_000_000),
        360_000_000_000..315_576_000_000_000 => format!("{} h", us / 3_600_000_000),
        _ => "years".into(),
    }
}

/// A number of bytes in binary units.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut power = 0;
    while power + 1 < UNITS.len() && bytes >> (10 * (power + 2)) > 0 {
        power += 1;
    }
    let unit = 1u128 << (10 * (power + 1));
    let tenths = u128::from(bytes) * 10 / unit;
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {}", UNITS[power]),
        (whole, _) if whole >= 100 => format!("{whole} {}", UNITS[power]),
        (whole, tenth) => format!("{whole}.{tenth} {}", UNITS[power]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(time(999), "999 µs");
        assert_eq!(time(4_249_000), "4.2 s");
        assert_eq!(time(u64::MAX), "years");
        assert_eq!(bytes(200 << 20), "200 MiB");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16383 PiB");
    }

    #[test]
    fn columns_stand_below_each_other_in_any_script() {
        let row = |id: u8, name: &str| Row {
            id: softbus_core::DeviceId([id; 32]),
            name: name.into(),
            terms: None,
            verdict: Verdict::Refused(vec![Refusal::Thermal]),
        };
        let rows = vec![row(1, "tv"), row(2, "客厅电视"), row(3, "📺")];
        let text = Explanation { action: Action::Nowhere, held: None, rows }.to_string();
        let table = text.lines().skip(3);
        let before = |line: &str| line.split("cannot").next().map(UnicodeWidthStr::width);
        assert_eq!(table.map(before).collect::<Vec<_>>(), [Some(10); 3], "{text}");
    }

    #[test]
    fn a_foreign_name_cannot_play_with_the_terminal() {
        assert_eq!(shown("tv\u{1b}[2J\u{202e}"), "tv?[2J?");
        assert_eq!(shown("👨\u{200d}👩\u{200d}👧"), "👨\u{200d}👩\u{200d}👧");
        assert_eq!(shown(&"x".repeat(99)).chars().count(), NAME_CHARS + 1);
    }
}
