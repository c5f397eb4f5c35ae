//! Discovery tags: a device announces a short hash keyed by its circle's secret and the hour, so that members
//! know whom to dial and strangers cannot follow it from hour to hour.

use softbus_core::{DeviceId, WallMs};

/// A discovery tag.
pub type Tag = [u8; 8];

/// How long a tag lasts, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// The number of the hour of `now`, as tags count it.
pub fn hour(now: WallMs) -> u64 {
    now.0 / HOUR_MS
}

/// The tag of `device` in an `hour` (see [`hour`]), under a circle's secret.
pub fn tag(secret: &[u8; 32], device: &DeviceId, hour: u64) -> Tag {
    let mut input = [0u8; 24 + 32 + 8];
    input[..24].copy_from_slice(b"softbus discovery tag v1");
    input[24..56].copy_from_slice(&device.0);
    input[56..].copy_from_slice(&hour.to_le_bytes());
    let mut tag = [0u8; 8];
    tag.copy_from_slice(&blake3::keyed_hash(secret, &input).as_bytes()[..8]);
    tag
}

/// Whose tag this is, of `devices`. Clocks may be an hour apart: the neighbouring hours are tried too.
pub fn recognise<'a>(
    tag_seen: &Tag,
    secret: &[u8; 32],
    devices: impl IntoIterator<Item = &'a DeviceId>,
    now: WallMs,
) -> Option<DeviceId> {
    let hour = hour(now);
    devices
        .into_iter()
        .find(|device| {
            [hour, hour.wrapping_sub(1), hour.wrapping_add(1)]
                .into_iter()
                .any(|hour| tag(secret, device, hour) == *tag_seen)
        })
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_recognise_and_hours_differ() {
        let (secret, a, b) = ([7; 32], DeviceId([1; 32]), DeviceId([2; 32]));
        let now = WallMs(1_800_000_000_000);
        let seen = tag(&secret, &b, hour(now));
        assert_eq!(recognise(&seen, &secret, [&a, &b], now), Some(b));
        assert_eq!(
            recognise(&seen, &secret, [&a, &b], WallMs(now.0 + HOUR_MS)),
            Some(b),
            "clock an hour ahead"
        );
        assert_eq!(recognise(&seen, &secret, [&a, &b], WallMs(now.0 + 2 * HOUR_MS)), None, "an old tag");
        assert_eq!(recognise(&seen, &[8; 32], [&a, &b], now), None, "another circle's secret");
        assert_eq!(recognise(&seen, &secret, [&a], now), None);
        assert_ne!(seen, tag(&secret, &b, hour(now) + 1));
        // At the ends of time nothing overflows.
        recognise(&seen, &secret, [&a], WallMs(0));
        recognise(&seen, &secret, [&a], WallMs(u64::MAX));
    }

    #[test]
    fn tag_is_stable() {
        assert_eq!(
            data_encoding::HEXLOWER.encode(&tag(&[7; 32], &DeviceId([1; 32]), 500_000)),
            "a77dd5d687e09601"
        );
    }
}
