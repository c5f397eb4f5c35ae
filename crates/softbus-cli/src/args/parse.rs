//! Sizes, spans and amounts as people type them.

use std::time::Duration;

use softbus_core::wire::task_control::Right;

use softbus_core::{ServiceName, ServiceNameError};

use crate::control::{Expiry, Share};

/// Longest span accepted: a hundred years.
const SPAN_S: u64 = 100 * 365 * 86_400;
/// Shortest membership: a day.
const LEAST_S: u64 = 86_400;

/// Splits `12.5 MiB` into its digits and its unit.
fn split(text: &str) -> Result<(u64, u64, &str), String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let wrong = || format!("`{text}` does not begin with a number");
    let whole = whole.parse().map_err(|_| wrong())?;
    // Thousandths are enough for what a person types.
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    let thousandths = digits.parse().map_err(|_| wrong())?;
    Ok((whole, thousandths, unit.trim()))
}

fn scale(text: &str, whole: u64, thousandths: u64, unit: u64) -> Result<u64, String> {
    let all = u128::from(whole) * u128::from(unit) + u128::from(thousandths) * u128::from(unit) / 1000;
    u64::try_from(all).map_err(|_| format!("`{text}` is too much"))
}

/// Reads `4MiB`, `512k`, `1.5GB`, `100`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (whole, thousandths, unit) = split(text)?;
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(format!("`{text}`: sizes end in KiB, MiB, GiB (or kB, MB, GB)")),
    };
    scale(text, whole, thousandths, unit)
}

/// Reads `20G`, `500M`, `1000`.
pub fn parse_ops(text: &str) -> Result<u64, String> {
    let (whole, thousandths, unit) = split(text)?;
    let unit = match unit {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        _ => return Err(format!("`{text}`: amounts of work end in k, M, G or T")),
    };
    scale(text, whole, thousandths, unit)
}

/// Reads `90s`, `10min`, `12h`, `365d`.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let (whole, thousandths, unit) = split(text)?;
    let unit = match unit {
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        "y" => 365 * 86_400_000,
        "" => return Err(format!("`{text}` needs a unit: s, min, h, d")),
        _ => return Err(format!("`{text}`: spans end in s, min, h, d, w or y")),
    };
    let ms = scale(text, whole, thousandths, unit)?;
    if ms == 0 || ms > SPAN_S * 1000 {
        return Err(format!("`{text}`: a span is more than nothing and at most a hundred years"));
    }
    Ok(Duration::from_millis(ms))
}

/// Reads `365d`, `36h`, `never`.
pub fn parse_expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    let seconds = parse_span(text).map_err(|e| format!("{e}; or write never"))?.as_secs();
    if seconds < LEAST_S {
        Err(format!("`{text}`: trust lasts at least a day (1d)"))
    } else {
        Ok(Expiry::InS(seconds))
    }
}

/// Reads `NAME=VALUE`.
pub(super) fn parse_param(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err(format!("`{text}`: write NAME=VALUE")),
    }
}

/// Checks what work needs. It travels as it was typed.
pub(super) fn checked_need(text: &str) -> Result<String, String> {
    crate::config::parse_need(text).map(|_| text.to_string())
}

/// Reads `DEVICE` or `DEVICE:see,move,cancel`.
pub(super) fn parse_share(text: &str) -> Result<Share, String> {
    let (device, rights) = text.rsplit_once(':').unwrap_or((text, "see"));
    if device.is_empty() {
        return Err(format!("`{text}`: write DEVICE or DEVICE:see,move,cancel"));
    }
    let right = |word: &str| match word.trim() {
        "see" => Ok(Right::See),
        "move" => Ok(Right::Move),
        "cancel" => Ok(Right::Cancel),
        other => Err(format!("`{other}` is no right: there are see, move and cancel")),
    };
    let rights = rights.split(',').map(right).collect::<Result<_, _>>()?;
    Ok(Share { device: device.into(), rights })
}

/// What a program may ask of the mesh.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProgramGrant {
    /// A service.
    Service(ServiceName),
    /// A model.
    Inference,
}

/// Reads `service:NAME/VERSION` or `infer`.
pub(super) fn parse_grant(text: &str) -> Result<ProgramGrant, String> {
    match text.split_once(':') {
        None if text == "infer" => Ok(ProgramGrant::Inference),
        Some(("service", name)) => {
            name.parse().map(ProgramGrant::Service).map_err(|e: ServiceNameError| e.to_string())
        }
        _ => Err(format!("`{text}` is nothing that can be granted: write service:NAME/VERSION or infer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_of_programs() {
        let echo = ProgramGrant::Service("echo/1".parse().unwrap());
        assert_eq!(parse_grant("service:echo/1"), Ok(echo));
        assert_eq!(parse_grant("infer"), Ok(ProgramGrant::Inference));
        for wrong in ["", "echo/1", "service:", "service:echo", "infer:x", "network"] {
            assert!(parse_grant(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_and_amounts() {
        assert_eq!(parse_bytes("0"), Ok(0));
        assert_eq!(parse_bytes("4MiB"), Ok(4 << 20));
        assert_eq!(parse_bytes("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(parse_bytes("0.5KiB"), Ok(512));
        assert_eq!(parse_ops("20G"), Ok(20_000_000_000));
        for wrong in ["", "x", "4Mx", "-1", "1.2.3", ".", "99999999999999999999", "99999999TiB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
        assert!(parse_ops("20Q").is_err());
    }

    #[test]
    fn rights_and_needs() {
        let share = |text| parse_share(text).map(|s| (s.device, s.rights));
        assert_eq!(share("tv"), Ok(("tv".into(), vec![Right::See])));
        assert_eq!(share("my tv:move,cancel"), Ok(("my tv".into(), vec![Right::Move, Right::Cancel])));
        for wrong in [":see", "tv:", "tv:own", "tv:see,,move"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
        for fine in ["camera/1", "gpu", "npu:2GiB", "display", "lift"] {
            assert_eq!(checked_need(fine), Ok(fine.into()));
        }
        for wrong in ["", "camera/x", "gpu:much"] {
            assert!(checked_need(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_and_ends() {
        assert_eq!(parse_span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_span("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_expiry("365d"), Ok(Expiry::InS(365 * 86_400)));
        assert_eq!(parse_expiry("never"), Ok(Expiry::Never));
        for wrong in ["", "10", "0d", "101y", "5x", "23h", "forever", "9999999999999999999y"] {
            assert!(parse_expiry(wrong).is_err(), "{wrong}");
        }
    }
}
