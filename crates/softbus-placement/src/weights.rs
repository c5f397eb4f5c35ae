use serde::{Deserialize, Serialize};
use softbus_core::DeviceId;

/// How placement weighs things. The defaults suit a home; a researcher may turn each knob.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// A dynamic profile older than this says nothing about now.
    pub stale_after_us: u64,
    /// Rate assumed of a link that has not been measured.
    pub assumed_rate_bytes_per_s: u64,
    /// Round-trip time assumed of a link that has not been measured.
    pub assumed_rtt_us: u64,
    /// However loaded a device is, new work is taken to get at least this share of its cores. An operating
    /// system would give it more, at the cost of what loads the device: so it is small, to be polite.
    pub least_share_permille: u16,
    /// Speed that is left when the device is warm.
    pub thermal_fair_permille: u16,
    /// Speed that is left when the device is hot.
    pub thermal_serious_permille: u16,
    /// Cost of one second of computing on a full battery, in thousandths of a second.
    pub energy_full_permille: u32,
    /// What is added to that as the battery falls: this times the square of the missing charge.
    pub energy_empty_permille: u32,
    /// Charge above its floor that a device must have to be given work it does not yet run.
    pub battery_margin_permille: u16,
    /// Round trips between the person and the device that interactive work is charged for.
    pub interactive_round_trips: u32,
    /// What a move costs beside the transfer of the state: the pause, and the risk.
    pub move_us: u64,
    /// Round trips of the hand-over protocol.
    pub move_round_trips: u32,
    /// A running task moves only if it gains at least this much …
    pub margin_us: u64,
    /// … and this share of what staying would take.
    pub margin_permille: u16,
    /// A running task that moved a shorter time ago than this stays, unless its device can no longer run it.
    pub least_stay_us: u64,
    /// What is taken off the time of a preferred device.
    pub prefer_permille: u16,
    /// What is added to the time of a device to avoid.
    pub avoid_permille: u16,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            stale_after_us: 30_000_000,
            assumed_rate_bytes_per_s: 1_000_000,
            assumed_rtt_us: 20_000,
            least_share_permille: 50,
            thermal_fair_permille: 900,
            thermal_serious_permille: 500,
            energy_full_permille: 200,
            energy_empty_permille: 1_800,
            battery_margin_permille: 30,
            interactive_round_trips: 32,
            move_us: 100_000,
            move_round_trips: 3,
            margin_us: 500_000,
            margin_permille: 200,
            least_stay_us: 3_000_000,
            prefer_permille: 300,
            avoid_permille: 1_000,
        }
    }
}

/// What a person wants, beyond what the model says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preferences {
    /// These rather than others.
    pub prefer: Vec<DeviceId>,
    /// Others rather than these. A device in both lists is one to avoid.
    pub avoid: Vec<DeviceId>,
    /// None of these.
    pub never: Vec<DeviceId>,
    /// Only these, if any are named.
    pub only: Vec<DeviceId>,
}
