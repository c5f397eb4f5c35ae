//! A device's battery and heat, second by second. Sums and products only: the same on every machine.

use softbus_core::{PowerSource, Thermal};

use crate::scenario::DeviceSpec;

/// What a device's body is like now.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    spec: DeviceSpec,
    charge_j: f64,
    plugged: bool,
    celsius: f64,
    energy_j: f64,
}

/// What a device did in a while.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Doings {
    /// How long it was, in seconds.
    pub seconds: f64,
    /// Whether it was on.
    pub on: bool,
    /// Whether it slept.
    pub asleep: bool,
    /// Core-seconds of work, its own and that of others on it.
    pub core_seconds: f64,
    /// Bytes sent and received.
    pub bytes: u64,
}

impl Body {
    pub fn new(spec: &DeviceSpec) -> Self {
        let battery = spec.battery;
        let charge = battery.map_or(0.0, |b| b.capacity_j * f64::from(b.charge_permille) / 1000.0);
        Self {
            charge_j: charge,
            plugged: battery.is_none_or(|b| b.plugged),
            celsius: spec.heat.map_or(0.0, |heat| heat.ambient_c),
            energy_j: 0.0,
            spec: spec.clone(),
        }
    }

    pub fn plug(&mut self, plugged: bool) {
        self.plugged = plugged;
    }

    /// Time passes. Returns whether its battery is empty.
    pub fn pass(&mut self, done: Doings) -> bool {
        let power = self.spec.power;
        let base_w = match (done.on, done.asleep) {
            (false, _) => 0.0,
            (true, true) => power.sleep_w,
            (true, false) => power.idle_w,
        };
        let radio_j = done.bytes as f64 * power.radio_j_per_byte;
        let drawn_j = base_w * done.seconds + power.core_w * done.core_seconds + radio_j;
        self.energy_j += drawn_j;
        if let Some(battery) = self.spec.battery {
            let gained_j = if self.plugged { battery.charger_w * done.seconds } else { 0.0 };
            self.charge_j = (self.charge_j + gained_j - drawn_j).clamp(0.0, battery.capacity_j);
        }
        if let Some(heat) = self.spec.heat
            && done.seconds > 0.0
        {
            let settled = heat.ambient_c + heat.c_per_w * drawn_j / done.seconds;
            let share = (done.seconds / heat.settle_s.max(done.seconds)).clamp(0.0, 1.0);
            self.celsius += (settled - self.celsius) * share;
        }
        self.spec.battery.is_some() && self.charge_j <= 0.0 && !self.plugged
    }

    pub fn battery_permille(&self) -> Option<u16> {
        let battery = self.spec.battery?;
        Some((self.charge_j * 1000.0 / battery.capacity_j.max(1e-9)) as u16)
    }

    pub fn celsius(&self) -> Option<f64> {
        self.spec.heat.map(|_| self.celsius)
    }

    pub fn energy_j(&self) -> f64 {
        self.energy_j
    }

    pub fn power(&self) -> PowerSource {
        if self.plugged { PowerSource::Mains } else { PowerSource::Battery }
    }

    pub fn thermal(&self) -> Thermal {
        match self.spec.heat {
            Some(heat) if self.celsius >= heat.critical_c => Thermal::Critical,
            Some(heat) if self.celsius >= heat.serious_c => Thermal::Serious,
            _ => Thermal::Nominal,
        }
    }

    /// What heat leaves of its cores' speed.
    pub fn rate_ops_per_s(&self) -> u64 {
        match self.thermal() {
            Thermal::Critical => self.spec.rate_ops_per_s / 10,
            Thermal::Serious => self.spec.rate_ops_per_s / 2,
            _ => self.spec.rate_ops_per_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Battery, Heat, Power};

    fn body() -> Body {
        let spec = DeviceSpec {
            battery: Some(Battery {
                capacity_j: 100.0,
                charge_permille: 500,
                floor_permille: 200,
                charger_w: 4.0,
                plugged: false,
            }),
            heat: Some(Heat {
                ambient_c: 20.0,
                c_per_w: 10.0,
                settle_s: 10.0,
                serious_c: 45.0,
                critical_c: 60.0,
            }),
            power: Power { idle_w: 1.0, sleep_w: 0.1, core_w: 2.0, radio_j_per_byte: 1e-3 },
            rate_ops_per_s: 1000,
            ..DeviceSpec::plain("phone")
        };
        Body::new(&spec)
    }

    #[test]
    fn work_radio_and_idling_drain_it_and_the_charger_fills_it() {
        let mut body = body();
        let second = Doings { seconds: 1.0, on: true, core_seconds: 1.0, bytes: 1000, ..Doings::default() };
        assert!(!body.pass(second));
        assert_eq!(body.battery_permille(), Some(460)); // 1 + 2 + 1 joules of 100
        assert!(!body.pass(Doings { seconds: 10.0, on: true, asleep: true, ..Doings::default() }));
        assert_eq!(body.battery_permille(), Some(450));
        body.plug(true);
        assert!(!body.pass(Doings { seconds: 10.0, on: true, ..Doings::default() }));
        assert_eq!(body.battery_permille(), Some(750));
        assert_eq!((body.power(), body.energy_j()), (PowerSource::Mains, 15.0));
        body.plug(false);
        assert!(body.pass(Doings { seconds: 100.0, on: true, ..Doings::default() }), "empty");
        assert_eq!(body.battery_permille(), Some(0));
    }

    #[test]
    fn it_warms_towards_what_it_draws_and_slows_down() {
        let mut body = body();
        let busy = Doings { seconds: 1.0, on: true, core_seconds: 1.0, ..Doings::default() };
        let mut seen = Vec::new();
        for _ in 0..100 {
            body.pass(busy);
            seen.push(body.thermal());
        }
        // 3 W settle at 50 °C.
        assert!((body.celsius().unwrap() - 50.0).abs() < 0.1);
        assert_eq!((seen[0], seen[99]), (Thermal::Nominal, Thermal::Serious));
        assert_eq!(body.rate_ops_per_s(), 500);
    }
}
