//! The real machine's sensors. What cannot be read (a container without battery or thermometers, a system that
//! hides its load) is left at "unknown" and never invented.

mod accelerators;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use softbus_core::{Capability, DeviceKind, PowerSource, Thermal};
use softbus_net::seam::{Hardware, Sample, Sensors};
use starship_battery::State;
use sysinfo::{
    Components, CpuRefreshKind, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System,
};

/// Temperatures are read once in so many samples: thermometers are slow, and so is heat.
const THERMAL_EVERY: u32 = 5;
/// The battery is read once in so many samples.
const BATTERY_EVERY: u32 = 5;
/// Without a critical temperature of its own, a component is taken to have this one, in °C.
const CRITICAL_C: f32 = 100.0;
/// Temperatures outside are readings of broken sensors, in °C.
const PLAUSIBLE_C: std::ops::RangeInclusive<f32> = -40.0..=150.0;

/// Load, memory, battery and heat of the machine this runs on.
pub struct Machine(Mutex<Inner>);

struct Inner {
    system: Option<System>,
    components: Option<Components>,
    own: Option<Pid>,
    samples: u32,
    power: Power,
    thermal: Thermal,
}

/// What the batteries say together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Power {
    battery_permille: Option<u16>,
    source: PowerSource,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// Opens what the machine offers. Never fails: what is not there stays unknown.
    pub fn new() -> Self {
        let own = sysinfo::get_current_pid().ok();
        let mut inner = Inner {
            system: System::new().ok(),
            components: Components::new_with_refreshed_list().ok(),
            own,
            samples: 0,
            power: read_power(),
            thermal: Thermal::Nominal,
        };
        // Shares of the processor are differences between two readings: this is the first.
        inner.refresh();
        Self(Mutex::new(inner))
    }
}

impl Inner {
    fn refresh(&mut self) {
        if let Some(system) = &mut self.system {
            system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            if let Some(own) = self.own {
                let what = ProcessRefreshKind::nothing().with_cpu();
                system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, what);
            }
        }
        if self.samples.is_multiple_of(BATTERY_EVERY) {
            self.power = read_power();
        }
        if self.samples.is_multiple_of(THERMAL_EVERY)
            && let Some(components) = &mut self.components
        {
            components.refresh(true);
            let readings = components.iter().map(|c| (c.temperature(), c.critical()));
            self.thermal = thermal(readings);
        }
        self.samples = self.samples.wrapping_add(1);
    }
}

impl Sensors for Machine {
    fn hardware(&self) -> Hardware {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(system) = &mut inner.system {
            system.refresh_cpu_specifics(CpuRefreshKind::everything());
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        }
        let system = inner.system.as_ref();
        let cpu = system.and_then(|system| system.cpus().first()).map(|cpu| cpu.brand().trim().to_owned());
        let has_battery = inner.power.battery_permille.is_some();
        let chassis = std::fs::read_to_string("/sys/class/dmi/id/chassis_type").ok();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Hardware {
            kind: Some(kind(chassis.as_deref(), has_battery, has_display())),
            name: System::host_name().unwrap_or_default(),
            cores: u16::try_from(cores).unwrap_or(u16::MAX),
            memory_bytes: system.map_or(0, |system| memory(system).0),
            cpu: cpu.unwrap_or_default(),
            arch: std::env::consts::ARCH.into(),
            os: std::env::consts::OS.into(),
            accelerators: accelerators::accelerators(Path::new("/sys")),
            capabilities: if has_display() { vec![Capability::Display] } else { Vec::new() },
        }
    }

    fn sample(&self) -> Sample {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.refresh();
        let (mut load, mut own, mut memory_free_bytes) = (0.0, 0.0, 0);
        if let Some(system) = &inner.system {
            let process = inner.own.and_then(|pid| system.process(pid));
            let cores = u16::try_from(system.cpus().len()).unwrap_or(u16::MAX).max(1);
            load = system.global_cpu_usage();
            own = process.map_or(0.0, sysinfo::Process::cpu_usage) / f32::from(cores);
            memory_free_bytes = memory(system).1;
        }
        Sample {
            load_permille: permille(load),
            own_load_permille: permille(own),
            memory_free_bytes,
            battery_permille: inner.power.battery_permille,
            power: inner.power.source,
            thermal: inner.thermal,
        }
    }
}

/// Memory in all and free, in bytes: those of the control group (a container's) where they are smaller.
fn memory(system: &System) -> (u64, u64) {
    let (total, free) = (system.total_memory(), system.available_memory());
    match system.cgroup_limits() {
        Some(group) if group.total_memory > 0 && group.total_memory < total => {
            (group.total_memory, group.free_memory.min(free).min(group.total_memory))
        }
        _ => (total, free),
    }
}

/// Percent to permille, whatever the reading.
fn permille(percent: f32) -> u16 {
    // The cast saturates, and takes what is no number for 0.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let permille = (percent * 10.0) as u16;
    permille.min(1000)
}

/// The charge of all batteries together, by their capacity.
fn read_power() -> Power {
    let Ok(batteries) = starship_battery::Manager::new().and_then(|manager| manager.batteries()) else {
        return Power::default();
    };
    let each = batteries
        .filter_map(Result::ok)
        .map(|b| (b.state_of_charge().value, b.energy_full().value, b.state()));
    power(each)
}

/// `(charge 0–1, capacity, state)` of each battery.
fn power(batteries: impl Iterator<Item = (f32, f32, State)>) -> Power {
    let (mut charge, mut capacity, mut source) = (0.0f32, 0.0f32, PowerSource::Unknown);
    for (part, full, state) in batteries.filter(|(part, ..)| part.is_finite()) {
        let full = if full.is_finite() && full > 0.0 { full } else { 1.0 };
        charge += part.clamp(0.0, 1.0) * full;
        capacity += full;
        source = match (source, state) {
            // One that discharges tells that there is no other source.
            (PowerSource::Battery, _) | (_, State::Discharging | State::Empty) => PowerSource::Battery,
            (_, State::Charging | State::Full | State::Paused) => PowerSource::Mains,
            (known, State::Unknown) => known,
        };
    }
    let battery_permille = (capacity > 0.0).then(|| permille(charge / capacity * 100.0));
    Power { battery_permille, source }
}

/// The hottest component by its distance from its critical temperature: from 25 °C below it is fair, from 10 °C
/// below serious, from 3 °C below critical.
fn thermal(readings: impl Iterator<Item = (Option<f32>, Option<f32>)>) -> Thermal {
    let rooms = readings.filter_map(|(now, critical)| {
        let now = now.filter(|t| PLAUSIBLE_C.contains(t))?;
        // Some sensors report 0 or the current value as critical.
        let critical = critical.filter(|t| (60.0..=150.0).contains(t)).unwrap_or(CRITICAL_C);
        Some(critical - now)
    });
    match rooms.fold(f32::INFINITY, f32::min) {
        room if room <= 3.0 => Thermal::Critical,
        room if room <= 10.0 => Thermal::Serious,
        room if room <= 25.0 => Thermal::Fair,
        _ => Thermal::Nominal,
    }
}

fn has_display() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(any(target_os = "macos", target_os = "windows", target_os = "android", target_os = "ios"))
        || set("DISPLAY")
        || set("WAYLAND_DISPLAY")
        || Path::new("/sys/class/graphics/fb0").exists()
}

/// What sort of thing a machine is, by its chassis (SMBIOS specification, 7.4.1), its battery and its display.
fn kind(chassis: Option<&str>, has_battery: bool, has_display: bool) -> DeviceKind {
    if cfg!(any(target_os = "android", target_os = "ios")) {
        return DeviceKind::Phone;
    }
    match chassis.and_then(|text| text.trim().parse::<u8>().ok()) {
        Some(8..=10 | 14 | 31) => DeviceKind::Laptop,
        Some(30 | 32) => DeviceKind::Tablet,
        Some(17 | 22 | 23 | 25 | 28 | 29) => DeviceKind::Server,
        // Says nothing of the chassis (1, 2) or is a desktop of one form or another, which also virtual
        // machines claim to be.
        _ if has_battery => DeviceKind::Laptop,
        Some(3..=7 | 13 | 15 | 16 | 24 | 34..=36) if has_display => DeviceKind::Desktop,
        _ if has_display => DeviceKind::Desktop,
        _ => DeviceKind::Server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::new();
        let hardware = machine.hardware();
        assert!(hardware.cores >= 1 && hardware.memory_bytes > 1 << 20, "{hardware:?}");
        assert_eq!(hardware.arch, std::env::consts::ARCH);
        let sample = machine.sample();
        assert!(sample.load_permille <= 1000 && sample.own_load_permille <= 1000);
        assert!(sample.memory_free_bytes <= hardware.memory_bytes, "{sample:?} of {hardware:?}");
    }

    #[test]
    fn kinds() {
        assert_eq!(kind(Some("10\n"), false, false), DeviceKind::Laptop);
        assert_eq!(kind(Some("3"), false, true), DeviceKind::Desktop);
        assert_eq!(kind(Some("23"), false, false), DeviceKind::Server);
        assert_eq!(kind(None, true, false), DeviceKind::Laptop);
        assert_eq!(kind(Some("nonsense"), false, false), DeviceKind::Server);
        assert_eq!(kind(Some("30"), true, true), DeviceKind::Tablet);
    }

    #[test]
    fn heat_is_measured_from_the_critical_end() {
        let of = |readings: &[(Option<f32>, Option<f32>)]| thermal(readings.iter().copied());
        assert_eq!(of(&[]), Thermal::Nominal);
        assert_eq!(of(&[(None, None), (Some(f32::NAN), Some(90.0))]), Thermal::Nominal);
        assert_eq!(of(&[(Some(50.0), Some(105.0))]), Thermal::Nominal);
        assert_eq!(of(&[(Some(50.0), Some(105.0)), (Some(80.0), Some(90.0))]), Thermal::Serious);
        assert_eq!(of(&[(Some(80.0), Some(0.0))]), Thermal::Fair);
        assert_eq!(of(&[(Some(99.0), None)]), Thermal::Critical);
    }

    #[test]
    fn batteries_count_by_capacity() {
        let of = |batteries: &[(f32, f32, State)]| power(batteries.iter().copied());
        assert_eq!(of(&[]), Power::default());
        assert_eq!(
            of(&[(1.0, 10.0, State::Full), (0.5, 30.0, State::Discharging)]),
            Power { battery_permille: Some(625), source: PowerSource::Battery }
        );
        assert_eq!(
            of(&[(0.8, f32::NAN, State::Charging)]),
            Power { battery_permille: Some(800), source: PowerSource::Mains }
        );
        assert_eq!(of(&[(f32::NAN, 1.0, State::Charging)]), Power::default());
    }

    #[test]
    fn odd_shares() {
        assert_eq!([permille(-5.0), permille(12.34), permille(1e9), permille(f32::NAN)], [0, 123, 1000, 0]);
    }
}
