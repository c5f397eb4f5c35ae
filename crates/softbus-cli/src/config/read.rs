//! From TOML to [`Config`], with the line of everything that is wrong.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use softbus_core::{
    Accelerator, AcceleratorKind, AcceleratorNeed, Capability, PowerSource, ServiceName, Thermal, limits,
};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, closest, sections};
use super::{Config, ConfigError, Interfaces, parse_interfaces, parse_name, parse_peer};

/// Most static peers.
const PEERS: usize = 256;
/// Most errors that are told at once.
const ERRORS: usize = 50;

pub(super) fn parse(text: &str) -> Result<Config, Vec<ConfigError>> {
    let table = DeTable::parse(text).map_err(|e| {
        let line = e.span().map_or(1, |span| line_of(text, span.start));
        vec![ConfigError { line, message: format!("not TOML: {}", e.message()) }]
    })?;
    let mut reader = Reader { text, table: table.get_ref(), errors: Vec::new() };
    reader.unknown();
    let config = reader.config();
    if reader.errors.is_empty() {
        return Ok(config);
    }
    reader.errors.sort_by_key(|e| e.line);
    Err(reader.errors)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

struct Reader<'a> {
    text: &'a str,
    table: &'a DeTable<'a>,
    errors: Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    fn config(&mut self) -> Config {
        let default = Config::default();
        let config = Config {
            name: self.text_of("node", "name", parse_name),
            kind: self.text_of("node", "kind", FromStr::from_str),
            interfaces: self.interfaces().unwrap_or_default(),
            port: self.number("network", "port", 0..=u16::MAX).unwrap_or(default.port),
            discovery: self.switch("network", "discovery").unwrap_or(default.discovery),
            announce_name: self.switch("network", "announce_name").unwrap_or(default.announce_name),
            announce_kind: self.switch("network", "announce_kind").unwrap_or(default.announce_kind),
            peers: self.list("network", "peers", PEERS, parse_peer),
            link_budget: self
                .number("network", "link_budget", 1..=limits::LINKS)
                .unwrap_or(default.link_budget),
            suspect_after_ms: self
                .number("network", "suspect_after_ms", 100..=60_000)
                .unwrap_or(default.suspect_after_ms),
            offline_after_ms: self
                .number("network", "offline_after_ms", 200..=600_000)
                .unwrap_or(default.offline_after_ms),
            declared: super::Declared {
                cores: self.number("profile", "cores", 1..=1024),
                memory_bytes: self.number("profile", "memory_mib", 1..=1u64 << 32).map(|mib| mib << 20),
                rate_ops_per_s: self.number("profile", "rate_ops_per_s", 1..=1u64 << 50),
                rate_permille: self.number("profile", "rate_permille", 1..=1000),
                load_permille: self.number("profile", "load_permille", 0..=1000),
                battery_permille: self.number("profile", "battery_permille", 0..=1000),
                power: self.text_of("profile", "power", parse_power),
                thermal: self.text_of("profile", "thermal", parse_thermal),
                accelerators: self.list(
                    "profile",
                    "accelerators",
                    limits::PROFILE_ENTRIES,
                    parse_declared_accelerator,
                ),
                capabilities: self.list("profile", "capabilities", limits::PROFILE_ENTRIES, parse_capability),
            },
            battery_floor_permille: self
                .number("profile", "battery_floor_permille", 0..=1000)
                .unwrap_or(default.battery_floor_permille),
            checkpoint_every_ms: self
                .number("tasks", "checkpoint_every_ms", 50..=600_000)
                .unwrap_or(default.checkpoint_every_ms),
            replicas: self.number("tasks", "replicas", 0..=8).unwrap_or(default.replicas),
            quorum_lease_ms: self
                .number("tasks", "quorum_lease_ms", 300..=60_000)
                .unwrap_or(default.quorum_lease_ms),
            rebalance: self.switch("tasks", "rebalance").unwrap_or(default.rebalance),
            keep_results_days: self
                .number("tasks", "keep_results_days", 1..=365)
                .unwrap_or(default.keep_results_days),
            modules_mib: self.number("tasks", "modules_mib", 0..=1 << 20).unwrap_or(default.modules_mib),
            shutdown_move_s: self
                .number("tasks", "shutdown_move_s", 0..=600)
                .unwrap_or(default.shutdown_move_s),
            log: self.text_of("log", "level", parse_log).unwrap_or(default.log),
        };
        if config.offline_after_ms <= config.suspect_after_ms {
            let span = self.span("network", "offline_after_ms").or(self.span("network", "suspect_after_ms"));
            self.wrong(
                span.unwrap_or(0..0),
                format!(
                    "offline_after_ms ({}) must be more than suspect_after_ms ({})",
                    config.offline_after_ms, config.suspect_after_ms
                ),
            );
        }
        config
    }

    fn wrong(&mut self, span: Range<usize>, message: String) {
        if !self.is_full() {
            self.errors.push(ConfigError { line: line_of(self.text, span.start), message });
        }
    }

    /// Enough is wrong for one time: each error costs a walk through the text.
    fn is_full(&self) -> bool {
        self.errors.len() >= ERRORS
    }

    /// Complains of all that is not in the list of keys.
    fn unknown(&mut self) {
        let table = self.table;
        for (section, content) in table.iter() {
            if self.is_full() {
                return;
            }
            let name = section.get_ref().as_ref();
            if !sections().any(|s| s == name) {
                let hint = match (KEYS.iter().find(|k| k.name == name), closest(name, sections())) {
                    (Some(key), _) => format!("it belongs under [{}]", key.section),
                    (None, Some(near)) => format!("did you mean [{near}]?"),
                    (None, None) => format!("there are {}", sections().collect::<Vec<_>>().join(", ")),
                };
                self.wrong(section.span(), format!("nothing is called `{}`: {hint}", clip(name)));
                continue;
            }
            let Some(keys) = content.get_ref().as_table() else {
                self.wrong(
                    section.span(),
                    format!("`{name}` is a section: write [{name}] on a line of its own"),
                );
                continue;
            };
            for (key, _) in keys.iter() {
                if self.is_full() {
                    return;
                }
                let word = key.get_ref().as_ref();
                if KEYS.iter().any(|k| k.section == name && k.name == word) {
                    continue;
                }
                let elsewhere = KEYS.iter().find(|k| k.name == word).map(|k| k.section);
                let near = closest(word, KEYS.iter().filter(|k| k.section == name).map(|k| k.name));
                let hint = match (elsewhere, near) {
                    (Some(other), _) => format!("it belongs under [{other}]"),
                    (None, Some(near)) => format!("did you mean `{near}`?"),
                    (None, None) => "`softbus config` prints all keys".into(),
                };
                self.wrong(key.span(), format!("[{name}] has no key `{}`: {hint}", clip(word)));
            }
        }
    }

    fn value(&self, section: &str, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        debug_assert!(
            KEYS.iter().any(|k| k.section == section && k.name == key),
            "{section}.{key} is not listed"
        );
        self.table.get(section)?.get_ref().as_table()?.get(key)
    }

    fn span(&self, section: &str, key: &str) -> Option<Range<usize>> {
        Some(self.value(section, key)?.span())
    }

    fn number<T>(&mut self, section: &str, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display + Copy,
    {
        let value = self.value(section, key)?;
        let parsed = value.get_ref().as_integer().map(|i| i64::from_str_radix(i.as_str(), i.radix()));
        let message = match parsed {
            Some(Ok(n)) => match T::try_from(n) {
                Ok(n) if range.contains(&n) => return Some(n),
                _ => format!("{key} = {n} is out of range: {} to {}", range.start(), range.end()),
            },
            Some(Err(_)) => format!("{key} is out of range: {} to {}", range.start(), range.end()),
            None => format!("{key} is a whole number, not {}", article(value.get_ref())),
        };
        self.wrong(value.span(), message);
        None
    }

    fn switch(&mut self, section: &str, key: &str) -> Option<bool> {
        let value = self.value(section, key)?;
        let read = value.get_ref().as_bool();
        if read.is_none() {
            self.wrong(value.span(), format!("{key} is true or false, not {}", article(value.get_ref())));
        }
        read
    }

    fn text_of<T>(
        &mut self,
        section: &str,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.value(section, key)?;
        let message = match value.get_ref().as_str().map(parse) {
            Some(Ok(read)) => return Some(read),
            Some(Err(why)) => format!("{key}: {}", clip(&why)),
            None => format!("{key} is a text in quotes, not {}", article(value.get_ref())),
        };
        self.wrong(value.span(), message);
        None
    }

    fn list<T>(
        &mut self,
        section: &str,
        key: &str,
        most: usize,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(value) = self.value(section, key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong(
                value.span(),
                format!("{key} is a list such as [\"…\"], not {}", article(value.get_ref())),
            );
            return Vec::new();
        };
        if items.len() > most {
            self.wrong(
                value.span(),
                format!("{key} has {} entries, at most {most} are allowed", items.len()),
            );
            return Vec::new();
        }
        let mut read = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_str().map(&parse) {
                Some(Ok(value)) => read.push(value),
                Some(Err(why)) => self.wrong(item.span(), format!("{key}: {}", clip(&why))),
                None => self.wrong(
                    item.span(),
                    format!("{key} holds texts in quotes, not {}", article(item.get_ref())),
                ),
            }
        }
        read
    }

    /// One text, or a list of names.
    fn interfaces(&mut self) -> Option<Interfaces> {
        let is_list = self.value("network", "bind")?.get_ref().is_array();
        if !is_list {
            return self.text_of("network", "bind", parse_interfaces);
        }
        let names = self.list("network", "bind", 64, |name| match parse_interfaces(name)? {
            Interfaces::Named(names) => Ok(names),
            _ => Err(format!("write bind = \"{name}\", alone")),
        });
        let names: BTreeSet<String> = names.into_iter().flatten().collect();
        (!names.is_empty()).then(|| Interfaces::Named(names.into_iter().collect()))
    }
}

/// Foreign text in a message, of bounded length.
fn clip(text: &str) -> String {
    const CHARS: usize = 160;
    if text.chars().count() <= CHARS {
        text.into()
    } else {
        text.chars().take(CHARS).chain(['…']).collect()
    }
}

fn article(value: &DeValue<'_>) -> String {
    match value.type_str() {
        word if word.starts_with(['a', 'i', 'o']) => format!("an {word}"),
        word => format!("a {word}"),
    }
}

/// Reads a power source.
pub(crate) fn parse_power(text: &str) -> Result<PowerSource, String> {
    match text {
        "mains" => Ok(PowerSource::Mains),
        "battery" => Ok(PowerSource::Battery),
        "unknown" => Ok(PowerSource::Unknown),
        _ => Err(format!("no power source is called `{text}`; there are mains, battery and unknown")),
    }
}

/// Reads a thermal state.
pub(crate) fn parse_thermal(text: &str) -> Result<Thermal, String> {
    match text {
        "nominal" => Ok(Thermal::Nominal),
        "fair" => Ok(Thermal::Fair),
        "serious" => Ok(Thermal::Serious),
        "critical" => Ok(Thermal::Critical),
        _ => Err(format!("no heat is called `{text}`; there are nominal, fair, serious and critical")),
    }
}

fn parse_capability(text: &str) -> Result<Capability, String> {
    Ok(match text {
        "display" => Capability::Display,
        "audio" => Capability::Audio,
        "microphone" => Capability::Microphone,
        "camera" => Capability::Camera,
        "location" => Capability::Location,
        "input" => Capability::Input,
        "internet" => Capability::Internet,
        other => Capability::Named(parse_name(other)?),
    })
}

/// Reads `gpu`, `npu:512MiB`: a kind of accelerator, with its memory.
fn parse_accelerator(text: &str) -> Result<Option<AcceleratorNeed>, String> {
    let (kind, memory) = text.split_once(':').map_or((text, None), |(kind, size)| (kind, Some(size)));
    let kind = match kind {
        "gpu" => AcceleratorKind::Gpu,
        "npu" => AcceleratorKind::Npu,
        "dsp" => AcceleratorKind::Dsp,
        _ => return Ok(None),
    };
    let memory_bytes = memory.map(crate::args::parse_bytes).transpose()?.unwrap_or(0);
    Ok(Some(AcceleratorNeed { kind, memory_bytes }))
}

/// An accelerator that a configuration declares: its kind, memory, and after a blank its name.
fn parse_declared_accelerator(text: &str) -> Result<Accelerator, String> {
    let (what, name) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let Some(AcceleratorNeed { kind, memory_bytes }) = parse_accelerator(what)? else {
        return Err(format!(
            "`{what}` is no accelerator: write gpu, npu or dsp, with its memory as in gpu:8GiB"
        ));
    };
    let name = if name.trim().is_empty() { String::new() } else { parse_name(name)? };
    Ok(Accelerator { kind, name, memory_bytes })
}

/// Something that a device must have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Need {
    /// A service.
    Service(ServiceName),
    /// A capability.
    Capability(Capability),
    /// An accelerator.
    Accelerator(AcceleratorNeed),
}

/// Reads `camera/1` (a service), `gpu:4GiB` (an accelerator), `display` (a capability).
pub fn parse_need(text: &str) -> Result<Need, String> {
    if text.contains('/') {
        return text.parse().map(Need::Service).map_err(|e| format!("`{text}`: {e}"));
    }
    match parse_accelerator(text)? {
        Some(accelerator) => Ok(Need::Accelerator(accelerator)),
        None => parse_capability(text).map(Need::Capability),
    }
}

fn parse_log(text: &str) -> Result<String, String> {
    crate::output::log_filter(text).map(|_| text.to_string())
}
