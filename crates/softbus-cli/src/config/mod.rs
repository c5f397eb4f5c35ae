//! A node's configuration file (TOML). The commented default that `softbus config` prints is its manual; it is
//! made from the same list of keys that reading checks against, so that the two cannot drift apart.

mod keys;
mod read;
#[cfg(test)]
mod tests;
mod unit;

use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;

use softbus_core::{Accelerator, Capability, DeviceId, DeviceKind, PowerSource, Thermal, limits};

pub use keys::default_text;
pub use read::{Need, parse_need};
pub(crate) use read::{parse_power, parse_thermal};
pub use unit::{Owner, sleep_hook, systemd_unit};

use crate::failure::{Failure, Kind};

/// Longest configuration file, in bytes.
pub const CONFIG_BYTES: usize = 256 << 10;

/// Which interfaces to use.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Interfaces {
    /// All.
    #[default]
    All,
    /// Loopback only.
    Loopback,
    /// These, by name.
    Named(Vec<String>),
}

impl fmt::Display for Interfaces {
    /// As [`parse_interfaces`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Loopback => f.write_str("loopback"),
            Self::Named(names) => f.write_str(&names.join(",")),
        }
    }
}

/// A device known by address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its id, if known.
    pub id: Option<DeviceId>,
    /// Where it is.
    pub address: SocketAddr,
}

/// Values that the profile declares instead of reading them from the machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Declared {
    /// Cores that tasks may use.
    pub cores: Option<u16>,
    /// Memory that tasks may use, in bytes.
    pub memory_bytes: Option<u64>,
    /// Speed of one core, in operations of the reference kernel per second.
    pub rate_ops_per_s: Option<u64>,
    /// Speed as a part of the machine's real one, 1–1000.
    pub rate_permille: Option<u16>,
    /// Busy share of the cores, 0–1000.
    pub load_permille: Option<u16>,
    /// Charge, 0–1000.
    pub battery_permille: Option<u16>,
    /// Power source.
    pub power: Option<PowerSource>,
    /// Heat.
    pub thermal: Option<Thermal>,
    /// Accelerators; empty: those that the machine tells.
    pub accelerators: Vec<Accelerator>,
    /// Further capabilities.
    pub capabilities: Vec<Capability>,
}

/// A node's configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The device's name; `None`: the machine's.
    pub name: Option<String>,
    /// The device's kind; `None`: what the machine tells.
    pub kind: Option<DeviceKind>,
    /// Which interfaces.
    pub interfaces: Interfaces,
    /// UDP port; 0 for any.
    pub port: u16,
    /// Whether to announce and browse.
    pub discovery: bool,
    /// Whether the name is in announcements.
    pub announce_name: bool,
    /// Whether the kind is in announcements.
    pub announce_kind: bool,
    /// Devices known by address.
    pub peers: Vec<Peer>,
    /// Most live links kept.
    pub link_budget: usize,
    /// Silence until a device is suspect, in milliseconds.
    pub suspect_after_ms: u64,
    /// Silence until a device is offline, in milliseconds.
    pub offline_after_ms: u64,
    /// Declared values of the profile.
    pub declared: Declared,
    /// Charge below which no foreign work is taken, 0–1000.
    pub battery_floor_permille: u16,
    /// Time between two checkpoints of a task at least, in milliseconds.
    pub checkpoint_every_ms: u64,
    /// Devices that keep checkpoints of a task of policy `owner`.
    pub replicas: u8,
    /// Length of a runner's lease under policy `quorum`, in milliseconds.
    pub quorum_lease_ms: u64,
    /// Whether the bus moves running tasks to better devices by itself.
    pub rebalance: bool,
    /// How long results are kept, in days.
    pub keep_results_days: u64,
    /// How much of the disk the modules of programs take that are kept for later ones, in MiB.
    pub modules_mib: u64,
    /// Longest wait at shutdown for tasks to move away, in seconds.
    pub shutdown_move_s: u64,
    /// Log filter.
    pub log: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            kind: None,
            interfaces: Interfaces::All,
            port: 0,
            discovery: true,
            announce_name: true,
            announce_kind: true,
            peers: Vec::new(),
            link_budget: limits::LINK_BUDGET,
            suspect_after_ms: 1000,
            offline_after_ms: 2000,
            declared: Declared::default(),
            battery_floor_permille: 0,
            checkpoint_every_ms: 500,
            replicas: 1,
            quorum_lease_ms: 1500,
            rebalance: true,
            keep_results_days: 7,
            modules_mib: 256,
            shutdown_move_s: 20,
            log: "info".into(),
        }
    }
}

impl Config {
    /// Reads a configuration file.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let what = || format!("configuration file {}", path.display());
        let mut text = String::new();
        // Read with a bound, not measured before: devices and pipes have no length.
        std::fs::File::open(path)
            .and_then(|file| file.take(CONFIG_BYTES as u64 + 1).read_to_string(&mut text))
            .map_err(|e| Failure::io(what(), &e))?;
        if text.len() > CONFIG_BYTES {
            return Err(Failure::usage(format!("{}: at most {CONFIG_BYTES} bytes are allowed", what())));
        }
        Self::parse(&text).map_err(|errors| {
            let lines: Vec<String> =
                errors.iter().map(|e| format!("{}:{}: {}", path.display(), e.line, e.message)).collect();
            Failure::new(Kind::Usage, lines.join("\n"))
                .advise("`softbus config` prints every key with its meaning and default")
        })
    }

    /// Parses a configuration, which is foreign bytes. Not only the first error is told, but up to 50, in
    /// order of their lines.
    pub fn parse(text: &str) -> Result<Self, Vec<ConfigError>> {
        read::parse(text)
    }
}

/// One thing wrong with a configuration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ConfigError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong and how to mend it.
    pub message: String,
}

/// Reads `all`, `loopback`, or names of interfaces with commas between them.
pub fn parse_interfaces(text: &str) -> Result<Interfaces, String> {
    const NAME_BYTES: usize = 15; // IFNAMSIZ - 1
    match text.trim() {
        "all" => Ok(Interfaces::All),
        "loopback" => Ok(Interfaces::Loopback),
        "" => Err("no interface named: write all, loopback, or names such as eth0,wlan0".into()),
        names => names
            .split(',')
            .map(|name| {
                let name = name.trim();
                let good = !name.is_empty()
                    && name.len() <= NAME_BYTES
                    && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/');
                if good {
                    Ok(name.to_string())
                } else {
                    Err(format!("`{name}` is not the name of an interface"))
                }
            })
            .collect::<Result<Vec<_>, _>>()
            .map(Interfaces::Named),
    }
}

/// Reads `IP:PORT` or `ID@IP:PORT`.
pub fn parse_peer(text: &str) -> Result<Peer, String> {
    let (id, address) = match text.split_once('@') {
        Some((id, address)) => (Some(id.parse::<DeviceId>().map_err(|e| format!("`{id}`: {e}"))?), address),
        None => (None, text),
    };
    let address: SocketAddr = address.trim().parse().map_err(|_| {
        format!("`{address}` is no address: write IP:PORT, such as 192.168.1.20:4433 or [fe80::1]:4433")
    })?;
    if address.port() == 0 {
        Err(format!("`{address}`: port 0 cannot be reached"))
    } else {
        Ok(Peer { id, address })
    }
}

/// Reads a device's name.
pub fn parse_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() {
        Err("a name must not be empty".into())
    } else if name.len() > limits::NAME_BYTES {
        Err(format!("a name has at most {} bytes, this one has {}", limits::NAME_BYTES, name.len()))
    } else if name.contains(softbus_core::is_tricky) {
        Err("a name must not hold characters that cannot be seen or turn the direction of writing".into())
    } else {
        Ok(name.to_string())
    }
}
