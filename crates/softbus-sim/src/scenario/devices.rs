//! Devices and templates of several, counted out.

use std::ops::Range;
use std::time::Duration;

use softbus_core::{DeviceKind, limits as core};

use super::draw::{Draw, Seed};
use super::error::{Fault, Problem, Res};
use super::fields::{Fields, text};
use super::kinds::{self, Usual};
use super::limits;
use super::model::{Battery, DeviceSpec, Disk, Heat, Power, RoleSpec};
use super::names::Names;
use super::tree::Place;
use super::values::{
    COUNT, DRIFT, ENERGY, OFFSET, PART, POWER, RADIO, RISE, Real, SETTLE, SIZE, SPEED, TIME, WARMTH, Whole,
};

/// A clock is off by at most so many milliseconds: ten years.
const OFF_MS: i128 = 10 * 366 * 86_400_000;
/// Most energy in joules, and most power in watts.
const MUCH: f64 = 1e12;

const ROLES: [(&str, RoleSpec); 3] =
    [("owner", RoleSpec::Owner), ("member", RoleSpec::Member), ("guest", RoleSpec::Guest)];

/// Reads the devices.
pub(super) fn devices(
    tables: Vec<Fields<'_>>,
    segments: &Names,
    only_segment: Option<&str>,
    circles: &Names,
    duration: Duration,
    seed: Seed,
) -> Res<(Vec<DeviceSpec>, Names)> {
    let mut names = Names::new("device");
    let mut devices: Vec<DeviceSpec> = Vec::new();
    for mut fields in tables {
        let name = fields.need_text("name", "\"phone\"")?;
        let place = fields.place_of("name");
        let count = fields.whole("count", &COUNT, 1, limits::DEVICES as i128)?;
        let count = count.map(|c| seed.of(format!("device/{name}")).number("count", c));
        if devices.len() + count.unwrap_or(1) > limits::DEVICES {
            let most = limits::DEVICES;
            return Err(Fault::at(place, Problem::TooMany { what: "devices", most }));
        }
        let template = Template::read(&mut fields, count, segments, only_segment, circles, duration)?;
        fields.done()?;
        for (nth, name) in names.add(name, count, place)?.into_iter().enumerate() {
            devices.push(template.device(name, nth, (segments, circles), seed));
        }
    }
    Ok((devices, names))
}

/// A device with its ranges.
struct Template {
    kind: DeviceKind,
    /// Those that its devices are dealt out to, in turn.
    segment: Range<usize>,
    circles: Vec<(Range<usize>, RoleSpec)>,
    cores: Whole,
    rate: Whole,
    memory: Whole,
    battery: Option<Batteries>,
    heat: Option<[Real; 5]>,
    power: [Real; 4],
    offset: Whole,
    drift: Whole,
    disk_latency: Whole,
    disk_capacity: Option<Whole>,
    torn: bool,
    links: Whole,
    starts: Whole,
    runs_tasks: bool,
}

struct Batteries {
    capacity: Real,
    charge: Whole,
    floor: Whole,
    charger: Real,
    plugged: bool,
}

impl Template {
    fn read(
        fields: &mut Fields<'_>,
        count: Option<usize>,
        segments: &Names,
        only_segment: Option<&str>,
        circles: &Names,
        duration: Duration,
    ) -> Res<Self> {
        let kind = match fields.text("kind")? {
            Some(kind) => kind.parse().map_err(|why| Fault::value(fields.place_of("kind"), "kind", why))?,
            None => DeviceKind::Other,
        };
        let usual = kinds::usual(kind);
        let segment = match (fields.text("segment")?, only_segment) {
            (Some(segment), _) => segment,
            (None, Some(only)) => only,
            (None, None) => return Err(fields.missing("segment", "\"home\"")),
        };
        let segment = dealt(segments, segment, fields.place_of("segment"), count)?;
        let end = i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
        let mut clock = fields.table("clock")?;
        let mut clock_value = |key, kind, most: i128| match &mut clock {
            Some(inner) => inner.whole(key, kind, -most, most).map(|v| v.unwrap_or(fixed(0))),
            None => Ok(fixed(0)),
        };
        let (offset, drift) =
            (clock_value("offset", &OFFSET, OFF_MS)?, clock_value("drift", &DRIFT, 100_000)?);
        clock.as_ref().map_or(Ok(()), Fields::done)?;
        let (disk_latency, disk_capacity, torn) = disk(fields)?;
        Ok(Self {
            kind,
            segment,
            circles: memberships(fields, count, circles)?,
            cores: fields.whole("cores", &COUNT, 1, 1024)?.unwrap_or(fixed(usual.cores.into())),
            rate: fields.whole("rate", &SPEED, 1, 1 << 50)?.unwrap_or(fixed(usual.rate_ops_per_s.into())),
            memory: fields.whole("memory", &SIZE, 1, 1 << 50)?.unwrap_or(fixed(usual.memory_bytes.into())),
            battery: Batteries::read(fields, usual)?,
            heat: heat(fields)?,
            power: power(fields, usual.power)?,
            offset,
            drift,
            disk_latency,
            disk_capacity,
            torn,
            links: fields
                .whole("links", &COUNT, 1, core::LINKS as i128)?
                .unwrap_or(fixed(core::LINK_BUDGET as i128)),
            starts: fields.whole("starts", &TIME, 0, end)?.unwrap_or(fixed(0)),
            runs_tasks: fields.flag("tasks")?.unwrap_or(usual.runs_tasks),
        })
    }

    fn device(
        &self,
        name: String,
        nth: usize,
        (segments, circles): (&Names, &Names),
        seed: Seed,
    ) -> DeviceSpec {
        let draw = seed.of(format!("device/{name}"));
        DeviceSpec {
            kind: self.kind,
            segment: segments.deal(&self.segment, nth).to_owned(),
            circles: {
                let each = self.circles.iter();
                each.map(|(range, role)| (circles.deal(range, nth).to_owned(), *role)).collect()
            },
            cores: draw.number("cores", self.cores),
            rate_ops_per_s: draw.number("rate", self.rate),
            memory_bytes: draw.number("memory", self.memory),
            battery: self.battery.as_ref().map(|b| b.draw(&draw)),
            heat: self.heat.map(|heat| {
                let [ambient_c, c_per_w, settle_s, serious_c, critical_c] = reals(&draw, HEAT_KEYS, heat);
                Heat { ambient_c, c_per_w, settle_s, serious_c, critical_c }
            }),
            power: {
                let [idle_w, sleep_w, core_w, radio_j_per_byte] = reals(&draw, POWER_KEYS, self.power);
                Power { idle_w, sleep_w, core_w, radio_j_per_byte }
            },
            clock_offset_ms: draw.number("clock/offset", self.offset),
            clock_drift_ppm: draw.number("clock/drift", self.drift),
            disk: Disk {
                latency: draw.time("disk/latency", self.disk_latency),
                capacity_bytes: self.disk_capacity.map(|c| draw.number("disk/capacity", c)),
                torn: self.torn,
            },
            link_budget: draw.number("links", self.links),
            starts: draw.time("starts", self.starts),
            runs_tasks: self.runs_tasks,
            name,
        }
    }
}

/// Either `circles = { home = "owner" }`, or `circle = "home"` with a `role`.
fn memberships(
    fields: &mut Fields<'_>,
    count: Option<usize>,
    known: &Names,
) -> Res<Vec<(Range<usize>, RoleSpec)>> {
    let mut circles = Vec::new();
    if let Some(inner) = fields.table("circles")? {
        for (name, place, node) in inner.all() {
            let range = dealt(known, name, place, count)?;
            let role = text(node, name)?;
            let Some((_, role)) = ROLES.iter().find(|(word, _)| *word == role) else {
                return Err(Fault::value(node.place, name, "a role is owner, member or guest"));
            };
            circles.push((range, *role));
        }
    }
    let role = fields.word("role", &ROLES)?;
    match fields.text("circle")? {
        Some(name) => {
            let range = dealt(known, name, fields.place_of("circle"), count)?;
            circles.push((range, role.unwrap_or_default()));
        }
        None if role.is_some() => {
            let why = "it belongs to a `circle`; add one, or write circles = { home = \"owner\" }";
            return Err(Fault::value(fields.place_of("role"), "role", why));
        }
        None => {}
    }
    Ok(circles)
}

/// What a device is on or of: one thing; for a template of devices also a template, which they are dealt out to in turn.
fn dealt(known: &Names, name: &str, place: Place, count: Option<usize>) -> Res<Range<usize>> {
    match count {
        Some(_) => known.dealt(name, place),
        None => known.one(name, place).map(|number| number..number + 1),
    }
}

impl Batteries {
    fn read(fields: &mut Fields<'_>, usual: Usual) -> Res<Option<Self>> {
        let (base, inner) = match (fields.table_or_none("battery")?, usual.battery) {
            (Some(None), _) | (None, None) => return Ok(None),
            (None, Some(base)) => (base, None),
            (Some(inner), base) => (base.unwrap_or(kinds::BATTERY), inner),
        };
        let mut battery = Self {
            capacity: one(base.capacity_j),
            charge: fixed(base.charge_permille.into()),
            floor: fixed(base.floor_permille.into()),
            charger: one(base.charger_w),
            plugged: base.plugged,
        };
        if let Some(mut inner) = inner {
            battery = Self {
                capacity: inner.real("capacity", &ENERGY, 1e-3, MUCH)?.unwrap_or(battery.capacity),
                charge: inner.whole("charge", &PART, 0, 1000)?.unwrap_or(battery.charge),
                floor: inner.whole("floor", &PART, 0, 1000)?.unwrap_or(battery.floor),
                charger: inner.real("charger", &POWER, 0.0, MUCH)?.unwrap_or(battery.charger),
                plugged: inner.flag("plugged")?.unwrap_or(battery.plugged),
            };
            inner.done()?;
        }
        Ok(Some(battery))
    }

    fn draw(&self, draw: &Draw) -> Battery {
        Battery {
            capacity_j: draw.real("battery/capacity", self.capacity),
            charge_permille: draw.number("battery/charge", self.charge),
            floor_permille: draw.number("battery/floor", self.floor),
            charger_w: draw.real("battery/charger", self.charger),
            plugged: self.plugged,
        }
    }
}

const HEAT_KEYS: [&str; 5] =
    ["heat/ambient", "heat/per_watt", "heat/settle", "heat/serious", "heat/critical"];
const POWER_KEYS: [&str; 4] = ["power/idle", "power/sleep", "power/core", "power/radio"];

fn heat(fields: &mut Fields<'_>) -> Res<Option<[Real; 5]>> {
    let Some(mut inner) = fields.table_or_none("heat")?.flatten() else { return Ok(None) };
    let base = kinds::HEAT;
    let heat = [
        inner.real("ambient", &WARMTH, -100.0, 200.0)?.unwrap_or(one(base.ambient_c)),
        inner.real("per_watt", &RISE, 0.0, 1e6)?.unwrap_or(one(base.c_per_w)),
        inner.real("settle", &SETTLE, 1e-3, 1e9)?.unwrap_or(one(base.settle_s)),
        inner.real("serious", &WARMTH, -100.0, 1000.0)?.unwrap_or(one(base.serious_c)),
        inner.real("critical", &WARMTH, -100.0, 1000.0)?.unwrap_or(one(base.critical_c)),
    ];
    if heat[3].to > heat[4].from {
        let why = "it is serious before it is critical; let `serious` be the lower one";
        return Err(Fault::value(inner.place_of("serious"), "serious", why));
    }
    inner.done()?;
    Ok(Some(heat))
}

fn power(fields: &mut Fields<'_>, base: Power) -> Res<[Real; 4]> {
    let base = [base.idle_w, base.sleep_w, base.core_w, base.radio_j_per_byte].map(one);
    let Some(mut inner) = fields.table("power")? else { return Ok(base) };
    let power = [
        inner.real("idle", &POWER, 0.0, MUCH)?.unwrap_or(base[0]),
        inner.real("sleep", &POWER, 0.0, MUCH)?.unwrap_or(base[1]),
        inner.real("core", &POWER, 0.0, MUCH)?.unwrap_or(base[2]),
        inner.real("radio", &RADIO, 0.0, 1.0)?.unwrap_or(base[3]),
    ];
    inner.done()?;
    Ok(power)
}

fn disk(fields: &mut Fields<'_>) -> Res<(Whole, Option<Whole>, bool)> {
    let base = Disk::default();
    let latency = fixed(i128::try_from(base.latency.as_nanos()).unwrap_or(0));
    let Some(mut inner) = fields.table("disk")? else { return Ok((latency, None, base.torn)) };
    let disk = (
        inner.whole("latency", &TIME, 0, 60_000_000_000)?.unwrap_or(latency),
        inner.whole("capacity", &SIZE, 0, 1 << 60)?,
        inner.flag("torn")?.unwrap_or(base.torn),
    );
    inner.done()?;
    Ok(disk)
}

fn reals<const N: usize>(draw: &Draw, keys: [&str; N], ranges: [Real; N]) -> [f64; N] {
    std::array::from_fn(|n| draw.real(keys[n], ranges[n]))
}

fn fixed(value: i128) -> Whole {
    Whole { from: value, to: value }
}

fn one(value: f64) -> Real {
    Real { from: value, to: value }
}
