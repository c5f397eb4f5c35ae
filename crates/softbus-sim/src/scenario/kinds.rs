//! What a device of each kind is like if the scenario says nothing: round numbers of things as they are sold.

use softbus_core::DeviceKind;

use super::model::{Battery, Heat, Power};

/// A kind's values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usual {
    pub(super) cores: u16,
    pub(super) rate_ops_per_s: u64,
    pub(super) memory_bytes: u64,
    /// `None`: it hangs on the mains.
    pub(super) battery: Option<Battery>,
    pub(super) power: Power,
    pub(super) runs_tasks: bool,
}

/// How a device heats up of which only that is said.
pub(super) const HEAT: Heat =
    Heat { ambient_c: 22.0, c_per_w: 8.0, settle_s: 300.0, serious_c: 45.0, critical_c: 55.0 };

/// The battery of a device whose kind has none, of which only that is said.
pub(super) const BATTERY: Battery = battery(20.0, 10.0);

/// What a kind is usually like.
pub(super) fn usual(kind: DeviceKind) -> Usual {
    match kind {
        DeviceKind::Phone => of(8, 150, 8192, Some(battery(15.0, 18.0)), [0.6, 0.02, 0.7]),
        DeviceKind::Tablet => of(8, 150, 8192, Some(battery(30.0, 20.0)), [1.5, 0.03, 0.8]),
        DeviceKind::Laptop => of(8, 300, 16_384, Some(battery(55.0, 60.0)), [5.0, 0.3, 3.0]),
        DeviceKind::Watch => of(2, 30, 1024, Some(battery(1.2, 2.0)), [0.03, 0.005, 0.1]),
        DeviceKind::Desktop => of(12, 400, 32_768, None, [40.0, 2.0, 8.0]),
        DeviceKind::Server => of(16, 400, 65_536, None, [30.0, 5.0, 6.0]),
        DeviceKind::Tv => of(4, 80, 3072, None, [15.0, 0.5, 1.0]),
        DeviceKind::Car => of(8, 150, 8192, None, [10.0, 0.5, 1.5]),
        DeviceKind::Speaker => of(4, 40, 1024, None, [2.0, 1.0, 0.4]),
        DeviceKind::Router => of(4, 40, 1024, None, [5.0, 5.0, 0.5]),
        DeviceKind::Sensor => Usual { runs_tasks: false, ..of(1, 5, 64, None, [0.3, 0.01, 0.2]) },
        DeviceKind::Other => of(4, 50, 2048, None, [1.0, 0.02, 1.5]),
    }
}

/// From cores, millions of operations per second, mebibytes and watts (idle, asleep, each busy core).
fn of(cores: u16, mops_per_s: u64, memory_mib: u64, battery: Option<Battery>, watts: [f64; 3]) -> Usual {
    let [idle_w, sleep_w, core_w] = watts;
    Usual {
        cores,
        rate_ops_per_s: mops_per_s * 1_000_000,
        memory_bytes: memory_mib << 20,
        battery,
        power: Power { idle_w, sleep_w, core_w, radio_j_per_byte: 1e-7 },
        runs_tasks: true,
    }
}

const fn battery(capacity_wh: f64, charger_w: f64) -> Battery {
    Battery {
        capacity_j: capacity_wh * 3600.0,
        charge_permille: 800,
        floor_permille: 200,
        charger_w,
        plugged: false,
    }
}
