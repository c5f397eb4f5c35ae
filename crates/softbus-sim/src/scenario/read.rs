//! From scenario files to a [`Scenario`]: reads, checks, counts out templates and draws ranges.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::chaos;
use super::devices::devices;
use super::draw::Seed;
use super::error::{Fault, Problem, Res, ScenarioError};
use super::events::{Cast, events};
use super::fields::Fields;
use super::include::{self, Files, Open};
use super::limits;
use super::model::{Bounds, CircleSpec, Crypto, DeviceSpec, RoleSpec, Scenario};
use super::names::Names;
use super::network::{self, Ways};
use super::tasks::tasks;
use super::tree::{Place, Table};
use super::values::{TIME, Whole};

/// Longest duration, in nanoseconds.
const LONGEST: i128 = limits::DAYS as i128 * 86_400 * 1_000_000_000;

impl Scenario {
    /// Reads a scenario file and those that it includes, and draws its ranges and its chaos from the seed.
    pub fn load(path: &Path, seed: u64) -> Result<Self, ScenarioError> {
        let name = path.to_string_lossy();
        let text = include::open(&name).map_err(|e| {
            let why = e.to_string();
            ScenarioError { problem: Problem::Read { file: name.clone().into_owned(), why }, spot: None }
        })?;
        Self::parse(&text, &name, seed, &mut |path| include::open(path))
    }

    /// Reads a scenario from its text. `name` is the file's, for messages and paths beside it; `include` gives the
    /// text of a file by its path.
    pub fn parse(text: &str, name: &str, seed: u64, include: Open<'_>) -> Result<Self, ScenarioError> {
        let mut files = Files::new(include);
        let table = match files.read(name, text.to_owned(), None) {
            Ok(table) => table,
            Err(fault) => return Err(fault.told(&files.sources)),
        };
        read(&table, name, Seed(seed)).map_err(|fault| fault.told(&files.sources))
    }
}

fn read(table: &Table, file: &str, seed: Seed) -> Res<Scenario> {
    let mut top = Fields::new(table, "the scenario", Place::default());
    let name = top.text("name")?;
    let about = top.text("about")?.unwrap_or_default().to_owned();
    let duration = top.whole("duration", &TIME, 1_000_000, LONGEST)?;
    let crypto = top.word("crypto", &[("real", Crypto::Real), ("null", Crypto::Null)])?.unwrap_or_default();
    let network = top.table("network")?;
    let segments = top.tables("segment", limits::SEGMENTS)?;
    let joins = top.tables("join", limits::SEGMENTS)?;
    let links = top.tables("link", limits::LINKS)?;
    let circles = top.tables("circle", limits::CIRCLES)?;
    let devices = top.tables("device", limits::DEVICES)?;
    let tasks = top.tables("task", limits::TASKS)?;
    let events = top.tables("event", limits::EVENTS)?;
    let chaos = top.table("chaos")?;
    let bounds = top.table("bounds")?;
    let (place, length) = (top.place_of("device"), top.place_of("duration"));
    // What is misspelt is told as that, before it is told to be missing.
    top.done()?;
    let Some(duration) = duration else { return Err(top.missing("duration", "\"60s\"")) };
    if devices.is_empty() {
        return Err(Fault::at(place, Problem::NoDevices));
    }
    // One value: else whether an event is past the end would hang on the seed.
    if duration.from != duration.to {
        let why = "it is one value, no range; everything else may be drawn";
        return Err(Fault::value(length, "duration", why));
    }
    let duration = seed.of("scenario").time("duration", duration);
    parts(
        seed,
        duration,
        Parts { network, segments, joins, links, circles, devices, tasks, events, chaos, bounds },
    )
    .map(|scenario| Scenario {
        name: name.map_or_else(|| stem(file), str::to_owned),
        about,
        crypto,
        ..scenario
    })
}

/// The tables of a scenario.
struct Parts<'t> {
    network: Option<Fields<'t>>,
    segments: Vec<Fields<'t>>,
    joins: Vec<Fields<'t>>,
    links: Vec<Fields<'t>>,
    circles: Vec<Fields<'t>>,
    devices: Vec<Fields<'t>>,
    tasks: Vec<Fields<'t>>,
    events: Vec<Fields<'t>>,
    chaos: Option<Fields<'t>>,
    bounds: Option<Fields<'t>>,
}

fn parts(seed: Seed, duration: Duration, parts: Parts<'_>) -> Res<Scenario> {
    let network = match parts.network {
        None => Ways::default(),
        Some(mut fields) => {
            let ways = Ways::read(&mut fields)?;
            fields.done()?;
            ways
        }
    };
    let (segments, segment_names) = network::segments(parts.segments, &network, seed)?;
    let joins = network::joins(parts.joins, &network, &segment_names, seed)?;
    let (circles, circle_names) = network::circles(parts.circles, seed)?;
    let only = if let [only] = &segments[..] { Some(only.name.as_str()) } else { None };
    let (devices, device_names) =
        devices(parts.devices, &segment_names, only, &circle_names, duration, seed)?;
    let links = network::links(parts.links, &network, &device_names, seed)?;
    owners(&circles, &circle_names, &devices)?;
    let (mut tasks, task_names) = tasks(parts.tasks, (&devices, &device_names), duration, seed)?;
    let cast = Cast {
        segments: (&segments, &segment_names),
        circles: &circle_names,
        devices: (&devices, &device_names),
        tasks: (&tasks, &task_names),
        end: duration,
        seed,
    };
    let mut happenings = events(parts.events, &cast)?;
    if let Some(fields) = parts.chaos {
        chaos::chaos(fields, &cast, &mut happenings)?;
    }
    let mut events = happenings.list;
    let bounds = bounds(parts.bounds, seed)?;
    // Stable: of equal times the order of writing stays.
    tasks.sort_by_key(|task| task.at);
    events.sort_by_key(|event| event.at);
    let (name, about, crypto) = Default::default();
    Ok(Scenario {
        name,
        about,
        duration,
        crypto,
        segments,
        joins,
        links,
        circles,
        devices,
        tasks,
        events,
        bounds,
    })
}

/// Every circle has an owner, and no more devices than a circle may have.
fn owners(circles: &[CircleSpec], names: &Names, devices: &[DeviceSpec]) -> Res<()> {
    let mut members: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    for (circle, role) in devices.iter().flat_map(|device| &device.circles) {
        let (count, owned) = members.entry(circle).or_default();
        *count += 1;
        *owned |= *role == RoleSpec::Owner;
    }
    for circle in circles {
        let (count, owned) = members.get(circle.name.as_str()).copied().unwrap_or_default();
        let place = names.place(&circle.name).unwrap_or_default();
        let most = softbus_core::limits::CIRCLE_DEVICES;
        if count > most {
            return Err(Fault::at(place, Problem::TooMany { what: "devices in a circle", most }));
        }
        if !owned {
            return Err(Fault::at(place, Problem::NoOwner { circle: circle.name.clone() }));
        }
    }
    Ok(())
}

fn bounds(fields: Option<Fields<'_>>, seed: Seed) -> Res<Bounds> {
    let mut bounds = Bounds::default();
    let Some(mut fields) = fields else { return Ok(bounds) };
    let draw = seed.of("bounds");
    let time = |fields: &mut Fields<'_>, key, base| {
        let read: Option<Whole> = fields.whole(key, &TIME, 0, LONGEST)?;
        Ok(read.map_or(base, |range| draw.time(key, range)))
    };
    bounds.settle = time(&mut fields, "settle", bounds.settle)?;
    bounds.roster = time(&mut fields, "roster", bounds.roster)?;
    fields.done()?;
    Ok(bounds)
}

fn stem(file: &str) -> String {
    Path::new(file).file_stem().map_or_else(|| "scenario".into(), |stem| stem.to_string_lossy().into_owned())
}
