//! What configuration or a person says of this device in place of what the machine says. Whatever is
//! overridden is listed in the profile's `declared`, so that others can tell a claim from a measurement.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use softbus_core::{Accelerator, Capability, DeviceKind, PowerSource, Thermal};
use softbus_net::seam::{Hardware, Sample};
use tokio::time::Instant;

use crate::limits;

/// Values declared by configuration; `None` leaves the machine's own.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Declared {
    /// The name a person gave the device.
    pub name: Option<String>,
    /// What sort of thing it is.
    pub kind: Option<DeviceKind>,
    /// Cores that tasks may use.
    pub cores: Option<u16>,
    /// Memory that tasks may use, in bytes.
    pub memory_bytes: Option<u64>,
    /// Accelerators.
    pub accelerators: Option<Vec<Accelerator>>,
    /// Capabilities.
    pub capabilities: Option<Vec<Capability>>,
    /// Load by other things, 0–1000 of all cores.
    pub load_permille: Option<u16>,
    /// Charge, 0–1000.
    pub battery_permille: Option<u16>,
    /// Where its power comes from.
    pub power: Option<PowerSource>,
    /// How hot it is.
    pub thermal: Option<Thermal>,
    /// Speed of one core in operations of the reference kernel per second; then nothing is calibrated.
    pub rate_ops_per_s: Option<u64>,
    /// Speed as a part of the real one, 1–1000: a desktop that plays a phone says 250. The runner of tasks
    /// slows down accordingly (see [`crate::Roster::rate_permille`]).
    pub rate_permille: Option<u16>,
}

/// What a person or a test says of the sensors for a while; `None` leaves the value alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleOverride {
    /// Load by other things, 0–1000 of all cores.
    pub load_permille: Option<u16>,
    /// Free memory in bytes.
    pub memory_free_bytes: Option<u64>,
    /// Charge, 0–1000.
    pub battery_permille: Option<u16>,
    /// Where its power comes from.
    pub power: Option<PowerSource>,
    /// How hot it is.
    pub thermal: Option<Thermal>,
}

impl SampleOverride {
    /// A load of other things, 0–1000.
    pub fn load(permille: u16) -> Self {
        Self { load_permille: Some(permille), ..Self::default() }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.load_permille.is_some(), "load"),
            (self.memory_free_bytes.is_some(), "memory-free"),
            (self.battery_permille.is_some(), "battery"),
            (self.power.is_some(), "power"),
            (self.thermal.is_some(), "thermal"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
    }
}

impl Declared {
    /// Names of what is declared, as they stand in a profile's `declared`.
    pub fn names(&self) -> Vec<&'static str> {
        [
            (self.name.is_some(), "name"),
            (self.kind.is_some(), "kind"),
            (self.cores.is_some(), "cores"),
            (self.memory_bytes.is_some(), "memory"),
            (self.accelerators.is_some(), "accelerators"),
            (self.capabilities.is_some(), "capabilities"),
            (self.load_permille.is_some(), "load"),
            (self.battery_permille.is_some(), "battery"),
            (self.power.is_some(), "power"),
            (self.thermal.is_some(), "thermal"),
            (self.rate_ops_per_s.is_some() || self.rate_permille.is_some(), "rate"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect()
    }

    /// The declared factor of the real speed, 1–1000.
    pub fn rate_factor(&self) -> u16 {
        self.rate_permille.unwrap_or(1000).clamp(1, 1000)
    }

    /// The machine with what is declared put over it.
    pub fn hardware(&self, mut machine: Hardware) -> Hardware {
        if let Some(name) = &self.name {
            machine.name.clone_from(name);
        }
        machine.kind = self.kind.or(machine.kind);
        machine.cores = self.cores.unwrap_or(machine.cores);
        machine.memory_bytes = self.memory_bytes.unwrap_or(machine.memory_bytes);
        if let Some(accelerators) = &self.accelerators {
            machine.accelerators.clone_from(accelerators);
        }
        if let Some(capabilities) = &self.capabilities {
            machine.capabilities.clone_from(capabilities);
        }
        machine
    }

    /// A sample with what is declared put over it. The load that comes out is that of other things only; less
    /// memory is free than declared in all.
    pub fn sample(&self, machine: &Sample) -> Values {
        let foreign = machine.load_permille.saturating_sub(machine.own_load_permille);
        let permille = |value: u16| value.min(1000);
        Values {
            load_permille: permille(self.load_permille.unwrap_or(foreign)),
            memory_free_bytes: machine.memory_free_bytes.min(self.memory_bytes.unwrap_or(u64::MAX)),
            battery_permille: self.battery_permille.or(machine.battery_permille).map(permille),
            power: self.power.unwrap_or(machine.power),
            thermal: self.thermal.unwrap_or(machine.thermal),
        }
    }
}

/// The sensed part of a dynamic profile, after all overrides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Values {
    /// Load by other things, 0–1000 of all cores.
    pub load_permille: u16,
    /// Free memory in bytes.
    pub memory_free_bytes: u64,
    /// Charge, 0–1000.
    pub battery_permille: Option<u16>,
    /// Where its power comes from.
    pub power: PowerSource,
    /// How hot it is.
    pub thermal: Thermal,
}

/// The live overrides, each with its end. Of two that speak of the same value the later one counts.
#[derive(Debug, Default)]
pub struct Overrides(Vec<(Instant, SampleOverride)>);

impl Overrides {
    /// Adds one that ends after `lasts` (at most [`limits::OVERRIDE_MAX`]). Beyond [`limits::OVERRIDES`] the
    /// oldest makes room.
    pub fn add(&mut self, what: SampleOverride, lasts: Duration, now: Instant) {
        if self.0.len() >= limits::OVERRIDES {
            self.0.remove(0);
        }
        self.0.push((now + lasts.min(limits::OVERRIDE_MAX), what));
    }

    /// Ends all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Drops those that ended; whether there were any.
    pub fn expire(&mut self, now: Instant) -> bool {
        let before = self.0.len();
        self.0.retain(|(end, _)| *end > now);
        self.0.len() != before
    }

    /// When the next one ends.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.iter().map(|(end, _)| *end).min()
    }

    /// Puts them over `values`.
    pub fn apply(&self, values: &mut Values) {
        for (_, o) in &self.0 {
            values.load_permille = o.load_permille.map_or(values.load_permille, |v| v.min(1000));
            values.memory_free_bytes = o.memory_free_bytes.unwrap_or(values.memory_free_bytes);
            values.battery_permille = o.battery_permille.map(|v| v.min(1000)).or(values.battery_permille);
            values.power = o.power.unwrap_or(values.power);
            values.thermal = o.thermal.unwrap_or(values.thermal);
        }
    }

    /// Names of the values that are overridden now, in order.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.0.iter().flat_map(|(_, o)| o.names()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_overrides_count_and_end() {
        let now = Instant::now();
        let mut overrides = Overrides::default();
        overrides.add(SampleOverride::load(900), Duration::from_secs(10), now);
        overrides.add(
            SampleOverride {
                load_permille: Some(5000),
                thermal: Some(Thermal::Serious),
                ..Default::default()
            },
            Duration::from_secs(5),
            now,
        );
        let mut values = Values::default();
        overrides.apply(&mut values);
        assert_eq!((values.load_permille, values.thermal), (1000, Thermal::Serious));
        assert_eq!(overrides.names(), ["load", "thermal"]);
        assert_eq!(overrides.deadline(), Some(now + Duration::from_secs(5)));

        assert!(overrides.expire(now + Duration::from_secs(5)));
        let mut values = Values::default();
        overrides.apply(&mut values);
        assert_eq!((values.load_permille, values.thermal), (900, Thermal::Nominal));
        assert!(overrides.expire(now + Duration::from_secs(10)));
        assert_eq!(overrides.deadline(), None);
    }

    #[test]
    fn overrides_are_bounded() {
        let now = Instant::now();
        let mut overrides = Overrides::default();
        for load in 0..100 {
            overrides.add(SampleOverride::load(load), Duration::MAX, now);
        }
        assert_eq!(overrides.0.len(), limits::OVERRIDES);
        let mut values = Values::default();
        overrides.apply(&mut values);
        assert_eq!(values.load_permille, 99);
    }

    #[test]
    fn only_foreign_load_counts() {
        let machine = Sample { load_permille: 700, own_load_permille: 600, ..Sample::default() };
        assert_eq!(Declared::default().sample(&machine).load_permille, 100);
        let odd = Sample { load_permille: 100, own_load_permille: 600, ..Sample::default() };
        assert_eq!(Declared::default().sample(&odd).load_permille, 0);
        let declared = Declared { load_permille: Some(30), ..Declared::default() };
        assert_eq!(declared.sample(&machine).load_permille, 30);
        assert_eq!(declared.names(), ["load"]);
    }
}
