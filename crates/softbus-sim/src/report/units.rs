//! Figures as people read them.

/// A span of microseconds in the unit that fits: `380 µs`, `12.4 ms`, `3.20 s`, `4 min 10 s`, `6 h 05 min`.
pub(super) fn span(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", three_digits(us as f64 / 1e3)),
        1_000_000..60_000_000 => format!("{} s", three_digits(us as f64 / 1e6)),
        60_000_000..3_600_000_000 => format!("{} min {:02} s", us / 60_000_000, us / 1_000_000 % 60),
        3_600_000_000..172_800_000_000 => format!("{} h {:02} min", us / 3_600_000_000, us / 60_000_000 % 60),
        _ => format!("{} d {:02} h", us / 86_400_000_000, us / 3_600_000_000 % 24),
    }
}

/// A moment of virtual time: `0:04:10.250`.
pub(super) fn moment(us: u64) -> String {
    let ms = us / 1_000;
    format!("{}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
}

/// Bytes, in powers of 1000.
pub(super) fn bytes(bytes: f64) -> String {
    scaled(bytes, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// Joules.
pub(super) fn joules(joules: f64) -> String {
    scaled(joules, &["J", "kJ", "MJ", "GJ"])
}

/// Permille as percent.
pub(super) fn percent(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

/// A whole number with its thousands apart: `1 204 331`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut apart = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            apart.push(' ');
        }
        apart.push(digit);
    }
    apart
}

/// A number of any size with three digits that count.
pub(super) fn three_digits(value: f64) -> String {
    match value.abs() {
        v if !v.is_finite() => "–".into(),
        v if v >= 99.95 => count(value.round().max(0.0) as u64),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 && value.fract() == 0.0 {
        return format!("{value:.0} {}", units[0]);
    }
    format!("{} {}", three_digits(value), units[unit])
}
