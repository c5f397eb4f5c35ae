//! What a device is (static) and what it can do right now (dynamic).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{DeviceId, ServiceName, WallMs, limits};

/// What sort of thing a device is. Grows only at the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// None of the others.
    #[default]
    Other,
    /// A phone.
    Phone,
    /// A tablet.
    Tablet,
    /// A laptop.
    Laptop,
    /// A desktop computer.
    Desktop,
    /// A television or its box.
    Tv,
    /// A car's computer.
    Car,
    /// A watch.
    Watch,
    /// A loudspeaker.
    Speaker,
    /// A sensor or other small thing.
    Sensor,
    /// A router or gateway.
    Router,
    /// A server at home.
    Server,
}

impl DeviceKind {
    /// All kinds, with their names in text.
    pub const ALL: [(DeviceKind, &'static str); 12] = [
        (DeviceKind::Other, "other"),
        (DeviceKind::Phone, "phone"),
        (DeviceKind::Tablet, "tablet"),
        (DeviceKind::Laptop, "laptop"),
        (DeviceKind::Desktop, "desktop"),
        (DeviceKind::Tv, "tv"),
        (DeviceKind::Car, "car"),
        (DeviceKind::Watch, "watch"),
        (DeviceKind::Speaker, "speaker"),
        (DeviceKind::Sensor, "sensor"),
        (DeviceKind::Router, "router"),
        (DeviceKind::Server, "server"),
    ];
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(kind, _)| kind == self).map_or("other", |(_, name)| name);
        f.pad(name)
    }
}

impl FromStr for DeviceKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(_, name)| *name).collect();
            alloc::format!("no kind of device is called `{text}`; there are {}", names.join(", "))
        })
    }
}

/// A thing a device has that work may ask for. Grows only at the end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Shows pictures to people.
    Display,
    /// Plays sound.
    Audio,
    /// Hears.
    Microphone,
    /// Sees.
    Camera,
    /// Knows where it is.
    Location,
    /// Takes input from people.
    Input,
    /// Reaches the internet.
    Internet,
    /// Anything else, by a name of at most [`limits::NAME_BYTES`] bytes.
    Named(String),
}

/// Kind of accelerator. Grows only at the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AcceleratorKind {
    /// Graphics processor.
    Gpu,
    /// Neural processor.
    Npu,
    /// Signal processor.
    Dsp,
}

/// One accelerator of a device.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Accelerator {
    /// What it is.
    pub kind: AcceleratorKind,
    /// Its maker's name for it.
    pub name: String,
    /// Its own memory in bytes; 0 if it shares the device's.
    pub memory_bytes: u64,
}

/// An accelerator that work asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AcceleratorNeed {
    /// Its kind.
    pub kind: AcceleratorKind,
    /// Memory that it must have, in bytes. An accelerator that shares the device's memory counts with that.
    pub memory_bytes: u64,
}

/// A service that a device offers to the circle.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ServiceOffer {
    /// Name and version.
    pub service: ServiceName,
}

/// What a device is: changes seldom, signed by the device, relayed by anyone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StaticProfile {
    /// Whose profile.
    pub id: DeviceId,
    /// Grows with each change; of two profiles of a device the higher version counts.
    pub version: u64,
    /// When it was made.
    pub issued: WallMs,
    /// From when on it no longer counts.
    pub expires: WallMs,
    /// The name its person gave it, at most [`limits::NAME_BYTES`] bytes.
    pub name: String,
    /// What sort of thing it is.
    pub kind: DeviceKind,
    /// Processor cores that tasks may use.
    pub cores: u16,
    /// Memory that tasks may use, in bytes.
    pub memory_bytes: u64,
    /// Processor architecture as Rust names it (`x86_64`, `aarch64`).
    pub arch: String,
    /// Operating system as Rust names it (`linux`, `android`).
    pub os: String,
    /// Accelerators.
    pub accelerators: Vec<Accelerator>,
    /// What else it has.
    pub capabilities: Vec<Capability>,
    /// Services it offers.
    pub services: Vec<ServiceOffer>,
    /// Task types it can run, each `name/state-version`.
    pub task_types: Vec<String>,
    /// Below this charge (0–1000) of its battery it takes no foreign work; 0 for none.
    pub battery_floor_permille: u16,
    /// Names of those fields (of static and dynamic profile) whose values were declared by configuration
    /// and not read from the machine, such as `kind` or `battery`.
    pub declared: Vec<String>,
}

impl StaticProfile {
    /// Whether every text and list is within its limit. Foreign profiles that are not are refused.
    pub fn within_limits(&self) -> bool {
        let entries = limits::PROFILE_ENTRIES;
        let text = |s: &str| s.len() <= limits::NAME_BYTES;
        text(&self.name)
            && text(&self.arch)
            && text(&self.os)
            && self.accelerators.len() <= entries
            && self.accelerators.iter().all(|a| text(&a.name))
            && self.capabilities.len() <= entries
            && self.capabilities.iter().all(|c| !matches!(c, Capability::Named(n) if !text(n)))
            && self.services.len() <= entries
            && self.task_types.len() <= entries
            && self.task_types.iter().all(|t| text(t))
            && self.declared.len() <= entries
            && self.declared.iter().all(|d| text(d))
            && self.battery_floor_permille <= 1000
    }
}

/// Where a device's power comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerSource {
    /// Not known.
    #[default]
    Unknown,
    /// Mains, or a vehicle's supply.
    Mains,
    /// Its battery.
    Battery,
}

/// How hot a device is, in the four steps of Android's and Apple's thermal interfaces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thermal {
    /// Cool.
    #[default]
    Nominal,
    /// Warm; no need to act.
    Fair,
    /// Hot; performance falls.
    Serious,
    /// Too hot for more work.
    Critical,
}

/// What a device can do right now: changes often, travels to neighbours and to whoever asks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DynamicProfile {
    /// Grows with each sample of one boot; compared together with the boot nonce of the link.
    pub sequence: u64,
    /// When it was sampled, by the device's own wall clock.
    pub sampled: WallMs,
    /// Measured speed of one core, in operations of the reference kernel per second (see the roster's
    /// calibration). The unit of [work](Self::queued_ops) everywhere.
    pub rate_ops_per_s: u64,
    /// How busy the cores are with other things, 0–1000 of all cores.
    pub load_permille: u16,
    /// Free memory in bytes.
    pub memory_free_bytes: u64,
    /// Charge of the battery, 0–1000; `None` without one.
    pub battery_permille: Option<u16>,
    /// Where its power comes from.
    pub power: PowerSource,
    /// How hot it is.
    pub thermal: Thermal,
    /// Tasks running now.
    pub running_tasks: u16,
    /// Work that is begun but not yet done, in operations of the reference kernel.
    pub queued_ops: u64,
    /// What is promised beside that.
    pub promised: Promised,
}

/// Room that a device has promised for work that has not begun there yet: it counts neither among its tasks nor in
/// its free memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Promised {
    /// Pieces of work.
    pub jobs: u16,
    /// Their operations, of the reference kernel.
    pub ops: u64,
    /// Their memory, in bytes.
    pub memory_bytes: u64,
    /// It promises no more for now.
    pub full: bool,
    /// How many promises it has made in this boot. The numbers above know of these and no later ones.
    pub last: u64,
}

/// All that is known of what a device is and can do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// What it is.
    pub fixed: StaticProfile,
    /// What it can do right now, if heard.
    pub now: Option<DynamicProfile>,
}
