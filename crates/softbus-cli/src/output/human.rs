//! Numbers as people read them.

use std::time::Duration;

use softbus_core::WallMs;
use unicode_width::UnicodeWidthStr;

/// Bytes in binary units: `3.1 MiB`.
pub fn bytes(n: u64) -> String {
    scaled(n, 1024, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

/// Bytes per second, in bits as networks are sold: `94 Mbit/s`.
pub fn rate(bytes_per_s: u64) -> String {
    scaled(
        bytes_per_s.saturating_mul(8),
        1000,
        &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s", "Ebit/s"],
    )
}

/// Operations of the reference kernel: `250 Mops`.
pub fn ops(n: u64) -> String {
    scaled(n, 1000, &["ops", "kops", "Mops", "Gops", "Tops", "Pops", "Eops"])
}

fn scaled(n: u64, step: u64, units: &[&str]) -> String {
    let mut unit = 0;
    let mut divisor = 1u64;
    while unit + 1 < units.len() && n / divisor >= step {
        divisor = divisor.saturating_mul(step);
        unit += 1;
    }
    let whole = n / divisor;
    // One digit behind the point below ten, where it tells something.
    let tenth = (n % divisor).saturating_mul(10) / divisor;
    if unit > 0 && whole < 10 {
        format!("{whole}.{tenth} {}", units[unit])
    } else {
        format!("{whole} {}", units[unit])
    }
}

/// Thousandths as percent: `42 %`.
pub fn percent(permille: u16) -> String {
    format!("{} %", (permille + 5) / 10)
}

/// Microseconds: `830 µs`, `4.2 ms`, `1.5 s`.
pub fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => duration(Duration::from_micros(us)),
    }
}

/// A span: `4.2 s`, `3 min`, `5 h`, `12 d`.
pub fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 if span.is_zero() => "0 s".into(),
        0 => format!("{} ms", span.as_millis()),
        1..10 => format!("{}.{} s", seconds, span.subsec_millis() / 100),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Lines no wider than `width` columns, broken at blanks; the later ones of a line begin after `indent` blanks. A word that
/// is wider stays whole.
pub fn wrapped(line: &str, width: usize, indent: usize) -> String {
    let mut out = String::new();
    // Columns taken in this line of `out`, and whether there is a word in it behind which it may be broken.
    let (mut taken, mut breakable) = (0, false);
    for word in line.split_inclusive(' ') {
        if breakable && taken + word.trim_end().width() > width {
            out.truncate(out.trim_end().len());
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            (taken, breakable) = (indent, false);
        }
        out.push_str(word);
        taken += word.width();
        breakable |= !word.trim().is_empty();
    }
    out
}

/// How long ago, from one clock to itself: `3 min ago`.
pub fn ago(now: WallMs, then: WallMs) -> String {
    match now.0.checked_sub(then.0) {
        Some(0..2_000) => "just now".into(),
        Some(past) => format!("{} ago", duration(Duration::from_millis(past))),
        None => in_future(now, then),
    }
}

/// How far ahead: `in 5 h`. To the nearest unit: what was just said to last 365 d is not shown as 364 d.
pub fn in_future(now: WallMs, then: WallMs) -> String {
    let ms = then.0.saturating_sub(now.0);
    let half_unit = match ms / 1000 {
        0..120 => 0,
        120..7_200 => 30_000,
        7_200..172_800 => 1_800_000,
        _ => 43_200_000,
    };
    format!("in {}", duration(Duration::from_millis(ms.saturating_add(half_unit))))
}

/// When a thing ends: `never`, `in 364 d`, `ended 3 d ago`.
pub fn until(now: WallMs, end_ms: Option<u64>) -> String {
    match end_ms.map(WallMs) {
        None => "never".into(),
        Some(end) if end.0 <= now.0 => format!("ended {}", ago(now, end)),
        Some(end) => in_future(now, end),
    }
}

/// Foreign text (a device's name) without anything that could move a terminal's cursor.
pub fn clean(text: &str) -> String {
    const CHARS: usize = 200;
    text.chars().take(CHARS).map(harmless).collect()
}

/// Text of several lines, of any length, with foreign text in it: as [`clean`], line by line.
pub fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { harmless(c) }).collect()
}

fn harmless(c: char) -> char {
    if softbus_core::is_tricky(c) { '\u{fffd}' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(3_300_000), "3.1 MiB");
        assert_eq!(bytes(64 << 20), "64 MiB");
        assert_eq!(bytes(u64::MAX), "15 EiB");
        assert_eq!(rate(12_500_000), "100 Mbit/s");
        assert_eq!(rate(u64::MAX), "18 Ebit/s");
        assert_eq!(ops(2_500_000_000), "2.5 Gops");
    }

    #[test]
    fn times() {
        assert_eq!(micros(830), "830 µs");
        assert_eq!(micros(4_230), "4.2 ms");
        assert_eq!(micros(42_300), "42 ms");
        assert_eq!(micros(1_500_000), "1.5 s");
        assert_eq!(duration(Duration::from_secs(200)), "3 min");
        let now = WallMs(1_000_000_000);
        assert_eq!(ago(now, WallMs(now.0 - 100)), "just now");
        assert_eq!(ago(now, WallMs(now.0 - 180_000)), "3 min ago");
        assert_eq!(ago(now, WallMs(now.0 + 90_000)), "in 90 s");
        assert_eq!(until(now, None), "never");
        assert_eq!(until(now, Some(now.0 + 400 * 86_400_000)), "in 400 d");
        assert_eq!(until(now, Some(now.0 + 365 * 86_400_000 - 5_000)), "in 365 d");
        assert_eq!(until(now, Some(now.0 + 119_000)), "in 119 s");
        assert_eq!(until(now, Some(now.0 - 86_400_000 * 3)), "ended 3 d ago");
        assert_eq!(until(now, Some(0)), "ended 11 d ago");
    }

    #[test]
    fn lines_break_at_blanks() {
        let story = "   1.00 s  phone   asks the car to take the picture over";
        let lines = wrapped(story, 40, 19);
        assert_eq!(lines, "   1.00 s  phone   asks the car to take\n                   the picture over");
        assert_eq!(wrapped(story, 200, 19), story);
        // Chinese takes two columns for each character, and a word that fits nowhere stays whole.
        assert_eq!(wrapped("去 厨房 电视", 6, 1), "去\n 厨房\n 电视");
        assert_eq!(wrapped("a bbbbbbbbbbbb c", 5, 2), "a\n  bbbbbbbbbbbb\n  c");
        assert_eq!(wrapped("", 5, 2), "");
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        assert_eq!(clean("a\x1b[2Jb\u{202e}c"), "a\u{fffd}[2Jb\u{fffd}c");
        assert!(clean(&"x".repeat(10_000)).len() < 1_000);
        assert_eq!(clean_lines("a\x1bb\nc\r"), "a\u{fffd}b\nc\u{fffd}");
    }
}
