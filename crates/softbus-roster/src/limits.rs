//! The bounds of this room, by name (law 3).

use std::time::Duration;

/// Profiles that several buses in one process remember as checked (see [`Checked`](crate::Checked)); past it they begin anew.
pub const CHECKED: usize = 4 * DEVICES;
/// Most devices in the roster, this one included.
pub const DEVICES: usize = softbus_core::limits::ROSTER_DEVICES;

/// How long a static profile counts, unless configured otherwise.
pub const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// Shortest lifetime that may be configured: below it, re-issuing would be most of what a device does.
pub const LIFETIME_MIN: Duration = Duration::from_secs(60);
/// Longest lifetime that is believed, whoever signed it.
pub const LIFETIME_MAX: Duration = Duration::from_secs(31 * 24 * 3600);
/// A profile issued further in the future than this is refused: somebody's clock is badly off.
pub const FUTURE: Duration = Duration::from_secs(24 * 3600);
/// How often the machine is sampled.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// How often neighbours hear how we are even if nothing changed.
pub const TELL_EVERY: Duration = Duration::from_secs(2);
/// Least time between two requests to one neighbour, so that a burst of changes travels as one.
pub const TELL_GAP: Duration = Duration::from_millis(50);
/// In large circles that time grows by so much per device, as the more there are, the more is told of them, ...
pub const TELL_GAP_PER_DEVICE: Duration = Duration::from_millis(1);
/// ... up to this.
pub const TELL_GAP_MAX: Duration = Duration::from_millis(500);

/// Least time between two requests to one neighbour where so many devices are known.
pub fn tell_gap(devices: usize) -> Duration {
    let devices = u32::try_from(devices).unwrap_or(u32::MAX);
    TELL_GAP_PER_DEVICE.saturating_mul(devices).clamp(TELL_GAP, TELL_GAP_MAX)
}
/// Longest wait for the answer to one request.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait after a request failed before the next to that neighbour.
pub const RETRY: Duration = Duration::from_millis(500);
/// The longest such wait; it doubles with every failure in a row.
pub const RETRY_MAX: Duration = Duration::from_secs(8);
/// The longest wait after a peer refused to speak `roster/1` (its roster may not have started yet).
pub const REFUSED_RETRY_MAX: Duration = Duration::from_secs(60);
/// After we lost sight of a device ourselves, what others say of it does not count for this long: they are
/// about to find out, too.
pub const HOLD_DOWN: Duration = Duration::from_secs(3);

/// That time where so many devices are known: as news travels in bursts there, so do the last words of those who have not
/// noticed yet.
pub fn hold_down(devices: usize) -> Duration {
    let hops = u32::from(softbus_core::wire::roster::CLAIM_HOPS) + 1;
    HOLD_DOWN.max(Duration::from_secs(1) + tell_gap(devices) * 2 * hops)
}
/// A dynamic profile older than this is forgotten.
pub const DYNAMIC_KEEP: Duration = Duration::from_secs(600);
/// A relayed dynamic profile that is older than this is not taken in at all: its signature ends then. A device whose
/// clock is off by more is heard only by those that have a link with it.
pub const DYNAMIC_RELAY: Duration = Duration::from_secs(60);
/// Requests that one neighbour may send in a burst …
pub const REQUEST_BURST: u32 = 64;
/// … and how many per second beyond.
pub const REQUEST_RATE: u32 = 32;
/// A device that counts its starts lower than before is believed only if it was not heard in the higher count for
/// this long: otherwise it is a message from before its restart. (Counts go back if a device loses its disk while
/// its clock is set back.)
pub const BOOT_SILENCE: Duration = Duration::from_secs(10);
/// Load step (in permille) that is told at once.
pub const LOAD_STEP: u16 = 100;
/// Battery step (in permille) that is told at once.
pub const BATTERY_STEP: u16 = 50;
/// Events that a slow subscriber may lag behind before it gets a snapshot instead.
pub const EVENTS: usize = 256;
/// Commands and requests that may wait for the roster's task; callers wait beyond.
pub const INBOX: usize = 64;
/// Live overrides of the sensors at once; the oldest makes room.
pub const OVERRIDES: usize = 16;
/// Longest time a live override may last.
pub const OVERRIDE_MAX: Duration = Duration::from_secs(24 * 3600);
/// After this long, a calibration is made again.
pub const CALIBRATION_KEEP: Duration = Duration::from_secs(30 * 24 * 3600);
