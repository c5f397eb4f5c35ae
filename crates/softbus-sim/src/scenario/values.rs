//! Values with units (`"1.5s"`, `"20 MiB"`, `"5%"`), and ranges of them (`"10s..60s"`, `{ from = …, to = … }`).
//!
//! What is counted (nanoseconds, bytes, operations, millionths) is reckoned in whole numbers and written back exactly.
//! What is measured (watts, joules, degrees) is a floating-point number, multiplied and added only, so that it is the
//! same on every machine.

use std::time::Duration;

use super::error::clip;
use super::limits;
use super::tree::{Node, Raw, Table};

/// A range of whole numbers of the smallest unit; of one value both ends are equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Whole {
    pub(super) from: i128,
    pub(super) to: i128,
}

/// A range of any numbers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Real {
    pub(super) from: f64,
    pub(super) to: f64,
}

/// A sort of value that is counted.
#[derive(Debug)]
pub(super) struct Counted {
    /// What it is, for messages.
    pub(super) what: &'static str,
    /// As it is written.
    pub(super) example: &'static str,
    /// Its units, each with its worth in the smallest; nothing is shown in the first. The one with the empty name
    /// needs none.
    units: &'static [(&'static str, i128)],
    /// Whether it may be a sum (`2h30m`).
    sum: bool,
}

/// A sort of value that is measured.
#[derive(Debug)]
pub(super) struct Measured {
    /// What it is, for messages.
    pub(super) what: &'static str,
    /// As it is written.
    pub(super) example: &'static str,
    /// Its units, each with its worth in the first.
    units: &'static [(&'static str, f64)],
}

pub(super) const COUNT: Counted =
    Counted { what: "a whole number", example: "3", units: &[("", 1)], sum: false };
/// In nanoseconds.
pub(super) const TIME: Counted = Counted {
    what: "a duration",
    example: "\"1.5s\"",
    units: &[
        ("s", NANOS),
        ("ns", 1),
        ("us", 1000),
        ("µs", 1000),
        ("ms", 1_000_000),
        ("min", 60 * NANOS),
        ("m", 60 * NANOS),
        ("h", 3600 * NANOS),
        ("d", 24 * 3600 * NANOS),
    ],
    sum: true,
};
/// In milliseconds, for clocks that are off: it may be less than nothing.
pub(super) const OFFSET: Counted = Counted {
    what: "a time with its sign",
    example: "\"-200ms\"",
    units: &[("ms", 1), ("s", 1000), ("min", 60_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)],
    sum: false,
};
/// In bytes.
pub(super) const SIZE: Counted = Counted {
    what: "a size",
    example: "\"20 MiB\"",
    units: &[
        ("B", 1),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ],
    sum: false,
};
/// In bytes per second.
pub(super) const RATE: Counted = Counted {
    what: "a rate",
    example: "\"10 MB/s\"",
    units: &[
        ("B/s", 1),
        ("kB/s", 1000),
        ("MB/s", 1_000_000),
        ("GB/s", 1_000_000_000),
        ("KiB/s", 1 << 10),
        ("MiB/s", 1 << 20),
        ("kbit/s", 125),
        ("Mbit/s", 125_000),
        ("Gbit/s", 125_000_000),
    ],
    sum: false,
};
/// In operations of the reference kernel.
pub(super) const WORK: Counted = Counted {
    what: "an amount of work",
    example: "\"20 Gops\"",
    units: &[
        ("ops", 1),
        ("kops", 1000),
        ("Mops", 1_000_000),
        ("Gops", 1_000_000_000),
        ("Tops", 1_000_000_000_000),
    ],
    sum: false,
};
/// In operations of the reference kernel per second.
pub(super) const SPEED: Counted = Counted {
    what: "a speed",
    example: "\"50 Mops/s\"",
    units: &[
        ("ops/s", 1),
        ("kops/s", 1000),
        ("Mops/s", 1_000_000),
        ("Gops/s", 1_000_000_000),
        ("Tops/s", 1_000_000_000_000),
    ],
    sum: false,
};
/// In millionths.
pub(super) const CHANCE: Counted = Counted {
    what: "a part of a hundred",
    example: "\"5%\"",
    units: &[("%", 10_000), ("‰", 1000), ("ppm", 1)],
    sum: false,
};
/// In thousandths.
pub(super) const PART: Counted =
    Counted { what: "a part of a hundred", example: "\"80%\"", units: &[("%", 10), ("‰", 1)], sum: false };
/// In millionths by which a clock goes faster, or slower.
pub(super) const DRIFT: Counted = Counted {
    what: "a drift",
    example: "\"50 ppm\"",
    units: &[("ppm", 1), ("‰", 1000), ("%", 10_000)],
    sum: false,
};
/// In joules.
pub(super) const ENERGY: Measured = Measured {
    what: "an amount of energy",
    example: "\"15 Wh\"",
    units: &[("J", 1.0), ("kJ", 1e3), ("MJ", 1e6), ("mWh", 3.6), ("Wh", 3600.0), ("kWh", 3.6e6)],
};
/// In watts.
pub(super) const POWER: Measured = Measured {
    what: "a power",
    example: "\"10 W\"",
    units: &[("W", 1.0), ("mW", 1e-3), ("uW", 1e-6), ("µW", 1e-6), ("kW", 1e3)],
};
/// In joules per byte.
pub(super) const RADIO: Measured = Measured {
    what: "an amount of energy for each byte",
    example: "\"100 nJ/B\"",
    units: &[("J/B", 1.0), ("mJ/B", 1e-3), ("uJ/B", 1e-6), ("µJ/B", 1e-6), ("nJ/B", 1e-9)],
};
/// In degrees.
pub(super) const WARMTH: Measured =
    Measured { what: "a temperature", example: "\"25 °C\"", units: &[("°C", 1.0), ("C", 1.0)] };
/// In degrees for each watt.
pub(super) const RISE: Measured = Measured {
    what: "a rise of temperature for each watt",
    example: "\"8 °C/W\"",
    units: &[("°C/W", 1.0), ("C/W", 1.0)],
};
/// In seconds, of what is no clock's business.
pub(super) const SETTLE: Measured = Measured {
    what: "a duration",
    example: "\"5min\"",
    units: &[("s", 1.0), ("min", 60.0), ("m", 60.0), ("h", 3600.0)],
};
/// In times per second.
pub(super) const OFTEN: Measured = Measured {
    what: "how often it happens",
    example: "\"2 per hour\"",
    units: &[
        ("per second", 1.0),
        ("per minute", 1.0 / 60.0),
        ("per hour", 1.0 / 3600.0),
        ("per day", 1.0 / 86_400.0),
    ],
};

const NANOS: i128 = 1_000_000_000;
/// Most digits of a number; more say nothing.
const DIGITS: usize = 24;

/// Reads one duration as scenarios have it: `90s`, `6m10s`, `1.5h`.
///
/// # Errors
/// What is wrong with it, in a sentence without a stop.
pub fn duration(text: &str) -> Result<Duration, String> {
    let most = i128::from(limits::DAYS) * 24 * 3600 * NANOS;
    let nanos = TIME.sum(text, "")?;
    match u64::try_from(nanos) {
        Ok(nanos @ 1..) if i128::from(nanos) <= most => Ok(Duration::from_nanos(nanos)),
        _ => Err(format!(
            "`{}` cannot be: it must be more than nothing and at most {} days",
            clip(text),
            limits::DAYS
        )),
    }
}

impl Counted {
    /// What a node says, within bounds; else why not.
    pub(super) fn read(&self, node: &Node, least: i128, most: i128) -> Result<Whole, String> {
        let (from, to) = match &node.raw {
            Raw::Text(text) => self.range(text)?,
            Raw::Whole(n) => (self.bare(*n)?, self.bare(*n)?),
            Raw::Table(table) => {
                let end = |key| match ends(table, key)? {
                    Raw::Text(text) => self.sum(text, ""),
                    Raw::Whole(n) => self.bare(*n),
                    other => Err(self.wanted(other)),
                };
                (end("from")?, end("to")?)
            }
            other => return Err(self.wanted(other)),
        };
        if from > to {
            return Err(format!(
                "the range begins above its end; write {}..{}",
                self.show(to),
                self.show(from)
            ));
        }
        if from < least || to > most {
            let wrong = if from < least { from } else { to };
            return Err(format!(
                "{} cannot be: it must be from {} to {}",
                self.show(wrong),
                self.show(least),
                self.show(most)
            ));
        }
        Ok(Whole { from, to })
    }

    fn wanted(&self, found: &Raw) -> String {
        format!("it must be {} as {}, and here is {}", self.what, self.example, found.kind())
    }

    /// A number without unit: of what has no unit, or nothing at all.
    fn bare(&self, n: i128) -> Result<i128, String> {
        if n == 0 || self.unit("").is_some() {
            return Ok(n);
        }
        Err(format!("it needs a unit, as {}; there are {}", self.example, self.names()))
    }

    fn range(&self, text: &str) -> Result<(i128, i128), String> {
        let Some((from, to)) = text.split_once("..") else {
            let one = self.sum(text, "")?;
            return Ok((one, one));
        };
        // `5..25%`: the first may leave its unit to the second.
        let (_, unit) = number(to, false).unwrap_or(("", to));
        Ok((self.sum(from, unit.trim())?, self.sum(to, "")?))
    }

    fn sum(&self, text: &str, unit: &str) -> Result<i128, String> {
        let mut rest = text.trim();
        let mut sum: i128 = 0;
        let mut first = true;
        while first || !rest.is_empty() {
            let Some((digits, after)) = number(rest, false) else { return Err(self.unread(text)) };
            let stop = after.find(|c: char| c.is_ascii_digit()).filter(|_| self.sum).unwrap_or(after.len());
            let (named, left) = after.split_at(stop);
            let named = if named.trim().is_empty() { unit } else { named.trim() };
            let worth = match self.unit(named) {
                Some(worth) => worth,
                None if digits.trim_matches(['-', '+', '0', '.']).is_empty() && named.is_empty() => 1,
                None if named.is_empty() => {
                    return Err(format!("it needs a unit, as {}; there are {}", self.example, self.names()));
                }
                None => {
                    let names = self.names();
                    return Err(format!("`{}` is no unit of {}; there are {names}", clip(named), self.what));
                }
            };
            if !first && digits.starts_with(['-', '+']) {
                return Err(self.unread(text));
            }
            let part = scaled(digits, worth)
                .ok_or_else(|| format!("`{}` is too large, or too fine to count", clip(text)))?;
            // Of `-1h30m` the sign is that of the whole.
            let part = if digits.starts_with('-') || (first || sum >= 0) { part } else { -part };
            sum = sum.checked_add(part).ok_or("it is too large")?;
            rest = left;
            first = false;
        }
        Ok(sum)
    }

    fn unread(&self, text: &str) -> String {
        format!("`{}` is not {}; write it as {}", clip(text), self.what, self.example)
    }

    fn unit(&self, name: &str) -> Option<i128> {
        self.units.iter().find(|(unit, _)| *unit == name).map(|(_, worth)| *worth)
    }

    fn names(&self) -> String {
        self.units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// As a person would write it, without loss: in the largest unit that fits.
    pub(super) fn show(&self, value: i128) -> String {
        let fits = self.units.iter().filter(|(_, worth)| value % worth == 0 && value != 0);
        let (unit, worth) = fits.max_by_key(|(_, worth)| *worth).unwrap_or(&self.units[0]);
        // `1.5s` rather than `1500ms`: bytes and times are read in the unit of their size.
        let gap = if self.sum || unit.is_empty() || *unit == "%" { "" } else { " " };
        format!("{}{gap}{unit}", value / worth)
    }
}

impl Measured {
    /// What a node says, within bounds; else why not.
    pub(super) fn read(&self, node: &Node, least: f64, most: f64) -> Result<Real, String> {
        let (from, to) = match &node.raw {
            Raw::Text(text) => match text.split_once("..") {
                Some((from, to)) => {
                    let (_, unit) = number(to, true).unwrap_or(("", to));
                    (self.one(from, unit.trim())?, self.one(to, "")?)
                }
                None => (self.one(text, "")?, self.one(text, "")?),
            },
            Raw::Whole(0) => (0.0, 0.0),
            Raw::Table(table) => {
                let end = |key| match ends(table, key)? {
                    Raw::Text(text) => self.one(text, ""),
                    Raw::Whole(0) => Ok(0.0),
                    other => Err(self.wanted(other)),
                };
                (end("from")?, end("to")?)
            }
            other => return Err(self.wanted(other)),
        };
        if from > to {
            return Err("the range begins above its end; swap the two".to_owned());
        }
        if !(from >= least && to <= most) {
            let wrong = if from < least { from } else { to };
            let name = self.units[0].0;
            return Err(format!("{wrong} {name} cannot be: it must be from {least} to {most} {name}"));
        }
        Ok(Real { from, to })
    }

    fn wanted(&self, found: &Raw) -> String {
        format!("it must be {} as {}, and here is {}", self.what, self.example, found.kind())
    }

    fn one(&self, text: &str, unit: &str) -> Result<f64, String> {
        let unread = || format!("`{}` is not {}; write it as {}", clip(text), self.what, self.example);
        let (digits, named) = number(text.trim(), true).ok_or_else(unread)?;
        let named = if named.trim().is_empty() { unit } else { named.trim() };
        let value: f64 = digits.replace('_', "").parse().map_err(|_| unread())?;
        let worth = self.units.iter().find(|(name, _)| *name == named).map(|(_, worth)| *worth);
        let Some(worth) = worth else {
            let names = self.units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            let named = clip(named);
            return Err(format!("`{named}` is no unit of {}; there are {names}", self.what));
        };
        // Shifts by a sign of nothing away: -0 is 0.
        Ok(value * worth + 0.0)
    }

    /// In the first unit, without loss.
    pub(super) fn show(&self, value: f64) -> String {
        format!("{value} {}", self.units[0].0)
    }
}

/// An end of a range that is written as a table.
fn ends<'t>(table: &'t Table, key: &str) -> Result<&'t Raw, String> {
    let whole = table.entries.len() == 2;
    match table.entries.get(key) {
        Some((_, node)) if whole => Ok(&node.raw),
        _ => Err("a range is { from = …, to = … }, both and nothing else".to_owned()),
    }
}

/// Splits a number from what stands behind it.
fn number(text: &str, exponent: bool) -> Option<(&str, &str)> {
    let text = text.trim();
    let bytes = text.as_bytes();
    let mut at = usize::from(bytes.first().is_some_and(|b| matches!(b, b'-' | b'+')));
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(|b| b.is_ascii_digit() || *b == b'_') {
            at += 1;
        }
        at
    };
    let begin = at;
    at = digits(at);
    if !bytes.get(begin)?.is_ascii_digit() {
        return None;
    }
    if bytes.get(at) == Some(&b'.') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
        at = digits(at + 1);
    }
    if exponent && bytes.get(at) == Some(&b'e') {
        let sign = usize::from(bytes.get(at + 1).is_some_and(|b| matches!(b, b'-' | b'+')));
        let end = digits(at + 1 + sign);
        if end > at + 1 + sign {
            at = end;
        }
    }
    Some(text.split_at(at))
}

/// A decimal number times a unit, to the nearest whole; nothing if it is too large, or is lost by rounding.
fn scaled(digits: &str, worth: i128) -> Option<i128> {
    let digits = digits.replace('_', "");
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part = part.trim_end_matches('0');
    if whole.len() + part.len() > DIGITS {
        return None;
    }
    let below = 10i128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let exact = format!("{whole}{part}").parse::<i128>().ok()?.checked_mul(worth)?;
    let rounded = exact.checked_add(below / 2)? / below;
    if exact != 0 && rounded == 0 {
        return None;
    }
    Some(if negative { -rounded } else { rounded })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &Counted, text: &str) -> Result<(i128, i128), String> {
        let node = Node { raw: Raw::Text(text.into()), place: Default::default() };
        kind.read(&node, i128::MIN / 4, i128::MAX / 4).map(|w| (w.from, w.to))
    }

    #[test]
    fn values_are_read() {
        let one = |kind, text| read(kind, text).map(|(from, to)| (from == to).then_some(from).unwrap());
        assert_eq!(one(&TIME, "1.5s"), Ok(1_500_000_000));
        assert_eq!(one(&TIME, "2h30m"), Ok(9_000 * NANOS));
        assert_eq!(duration("6m10s"), Ok(Duration::from_secs(370)));
        for wrong in ["0", "-1s", "10", "", "400d", "1s..2s", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(one(&TIME, "2h 30m 1.5s"), Ok(9_001_500_000_000));
        assert_eq!(one(&TIME, "3 µs"), Ok(3000));
        assert_eq!(one(&SIZE, "1.1 KiB"), Ok(1126));
        assert_eq!(one(&RATE, "8 Mbit/s"), Ok(1_000_000));
        assert_eq!(one(&CHANCE, "2.5%"), Ok(25_000));
        assert_eq!(one(&OFFSET, "-1.5s"), Ok(-1500));
        assert_eq!(one(&COUNT, "1_000"), Ok(1000));
        assert_eq!(one(&TIME, "0"), Ok(0));
        assert_eq!(read(&TIME, "10s..1m"), Ok((10 * NANOS, 60 * NANOS)));
        assert_eq!(read(&CHANCE, "5 .. 25 %"), Ok((50_000, 250_000)));
        assert_eq!(read(&OFFSET, "-5..5s"), Ok((-5000, 5000)));
        for (kind, text) in [
            (&TIME, "10"),
            (&TIME, "s"),
            (&TIME, ""),
            (&TIME, "10s.."),
            (&TIME, "1s-2s"),
            (&TIME, "0.1ns"),
            (&TIME, "9999999999999999999999999999999999s"),
            (&SIZE, "4 gib"),
            (&SIZE, "1MiB2MiB"),
            (&COUNT, "2.x"),
            (&TIME, "60s..10s"),
        ] {
            assert!(read(kind, text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        let mut stream = crate::scenario::draw::Seed(3).of("values").stream("");
        for kind in [&TIME, &OFFSET, &SIZE, &RATE, &WORK, &SPEED, &CHANCE, &PART, &DRIFT, &COUNT] {
            for _ in 0..300 {
                let shift = stream.below(60);
                let value = stream.whole(Whole { from: -9, to: 1 << 62 }) >> shift;
                let text = kind.show(value);
                assert_eq!(read(kind, &text), Ok((value, value)), "{text}");
            }
        }
        for value in [0.0, 1e-7, 54_000.0, 0.1 + 0.2, -3.25, 1e21] {
            let raw = Raw::Text(WARMTH.show(value));
            let node = Node { raw, place: Default::default() };
            assert_eq!(WARMTH.read(&node, -1e30, 1e30), Ok(Real { from: value, to: value }));
        }
    }
}
