//! Ways, segments, joins, links and circles.

use std::time::Duration;

use super::draw::{Draw, Seed};
use super::error::{Fault, Problem, Res};
use super::fields::Fields;
use super::limits;
use super::model::{Burst, CircleSpec, Entry, Join, LinkSpec, Nat, Segment, WaySpec};
use super::names::Names;
use super::tree::Place;
use super::values::{CHANCE, COUNT, RATE, SIZE, TIME, Whole};

/// Longest that a way may take, in nanoseconds.
const SLOWEST: i128 = 3600 * 1_000_000_000;
/// All of a million.
const ALL: i128 = 1_000_000;

/// What is said of a way, with its ranges. What is not said is left to what lies beneath.
#[derive(Clone, Debug, Default)]
pub(super) struct Ways {
    latency: Option<Whole>,
    jitter: Option<Whole>,
    loss: Option<Whole>,
    burst: Option<Option<Bursts>>,
    duplicate: Option<Whole>,
    reorder: Option<Whole>,
    rate: Option<Whole>,
    queue: Option<Whole>,
    mtu: Option<Whole>,
}

#[derive(Clone, Copy, Debug)]
struct Bursts {
    enter: Whole,
    leave: Whole,
    loss: Whole,
}

impl Ways {
    /// Reads the keys of a way out of a table, which may have others.
    pub(super) fn read(fields: &mut Fields<'_>) -> Res<Self> {
        let burst = match fields.table_or_none("burst")? {
            None => None,
            Some(None) => Some(None),
            Some(Some(mut inner)) => {
                let mut chance = |key| match inner.whole(key, &CHANCE, 0, ALL)? {
                    Some(chance) => Ok(chance),
                    None => Err(inner.missing(key, CHANCE.example)),
                };
                let burst =
                    Bursts { enter: chance("enter")?, leave: chance("leave")?, loss: chance("loss")? };
                inner.done()?;
                Some(Some(burst))
            }
        };
        Ok(Self {
            latency: fields.whole("latency", &TIME, 0, SLOWEST)?,
            jitter: fields.whole("jitter", &TIME, 0, SLOWEST)?,
            loss: fields.whole("loss", &CHANCE, 0, ALL)?,
            burst,
            duplicate: fields.whole("duplicate", &CHANCE, 0, ALL)?,
            reorder: fields.whole("reorder", &CHANCE, 0, ALL)?,
            rate: fields.whole("rate", &RATE, 0, 1 << 50)?,
            queue: fields.whole("queue", &TIME, 0, SLOWEST)?,
            mtu: match fields.get("mtu") {
                None => None,
                // It is a size of one datagram: its bytes may be a plain number.
                Some(node) => {
                    let plain = matches!(node.raw, super::tree::Raw::Whole(_));
                    let kind = if plain { &COUNT } else { &SIZE };
                    let read = kind.read(node, 576, 65_527);
                    Some(read.map_err(|why| Fault::value(node.place, "mtu", why))?)
                }
            },
        })
    }

    /// Slow and lossy, for chaos that does not say what its weather is like.
    pub(super) fn hazy() -> Self {
        Self {
            latency: Some(Whole { from: 50_000_000, to: 300_000_000 }),
            loss: Some(Whole { from: 0, to: 200_000 }),
            ..Self::default()
        }
    }

    /// This laid over `under`.
    pub(super) fn over(self, under: &Self) -> Self {
        Self {
            latency: self.latency.or(under.latency),
            jitter: self.jitter.or(under.jitter),
            loss: self.loss.or(under.loss),
            burst: self.burst.or(under.burst),
            duplicate: self.duplicate.or(under.duplicate),
            reorder: self.reorder.or(under.reorder),
            rate: self.rate.or(under.rate),
            queue: self.queue.or(under.queue),
            mtu: self.mtu.or(under.mtu),
        }
    }

    /// A way, drawn; what is not said is as in `base`.
    pub(super) fn draw(&self, draw: &Draw, base: WaySpec) -> WaySpec {
        let time = |key, range: Option<Whole>, base| range.map_or(base, |r| draw.time(key, r));
        let chance = |key, range: Option<Whole>, base| range.map_or(base, |r| draw.number(key, r));
        WaySpec {
            latency: time("latency", self.latency, base.latency),
            jitter: time("jitter", self.jitter, base.jitter),
            loss_ppm: chance("loss", self.loss, base.loss_ppm),
            burst: self.burst.map_or(base.burst, |burst| {
                burst.map(|b| Burst {
                    enter_ppm: draw.number("burst/enter", b.enter),
                    leave_ppm: draw.number("burst/leave", b.leave),
                    loss_ppm: draw.number("burst/loss", b.loss),
                })
            }),
            duplicate_ppm: chance("duplicate", self.duplicate, base.duplicate_ppm),
            reorder_ppm: chance("reorder", self.reorder, base.reorder_ppm),
            rate_bytes_per_s: self.rate.map_or(base.rate_bytes_per_s, |r| draw.number("rate", r)),
            queue: time("queue", self.queue, base.queue),
            mtu_bytes: self.mtu.map_or(base.mtu_bytes, |r| draw.number("mtu", r)),
        }
    }
}

/// Reads the segments.
pub(super) fn segments(tables: Vec<Fields<'_>>, network: &Ways, seed: Seed) -> Res<(Vec<Segment>, Names)> {
    let mut names = Names::new("segment");
    let mut segments = Vec::with_capacity(tables.len());
    for mut fields in tables {
        let name = fields.need_text("name", "\"home\"")?;
        let place = fields.place_of("name");
        let count = count(&mut fields, &seed.of(format!("segment/{name}")), limits::SEGMENTS)?;
        room(segments.len(), count, limits::SEGMENTS, "segments", place)?;
        let ways = Ways::read(&mut fields)?.over(network);
        let nat = match fields.table_or_none("nat")?.flatten() {
            None => None,
            Some(mut inner) => {
                let timeout = inner.whole("timeout", &TIME, 1_000_000, 24 * SLOWEST)?;
                let filtering = inner.flag("filtering")?.unwrap_or(true);
                inner.done()?;
                Some((timeout, filtering))
            }
        };
        let shared = fields.flag("shared")?.unwrap_or(false);
        let multicast = fields.flag("multicast")?.unwrap_or(true);
        fields.done()?;
        for name in names.add(name, count, place)? {
            let draw = seed.of(format!("segment/{name}"));
            let nat = nat.map(|(timeout, filtering)| {
                let timeout = timeout.map_or(Duration::from_secs(120), |t| draw.time("nat/timeout", t));
                Nat { timeout, filtering }
            });
            let way = ways.draw(&draw, WaySpec::default());
            segments.push(Segment { name, way, shared, multicast, nat });
        }
    }
    Ok((segments, names))
}

/// Reads the joins.
pub(super) fn joins(tables: Vec<Fields<'_>>, network: &Ways, segments: &Names, seed: Seed) -> Res<Vec<Join>> {
    let sort = Pairs { what: "join", things: segments, example: "[\"home\", \"street\"]" };
    let pairs = sort.read(tables, network, seed)?;
    Ok(pairs.into_iter().map(|(between, way)| Join { between, way }).collect())
}

/// Reads the links.
pub(super) fn links(
    tables: Vec<Fields<'_>>,
    network: &Ways,
    devices: &Names,
    seed: Seed,
) -> Res<Vec<LinkSpec>> {
    let sort = Pairs { what: "link", things: devices, example: "[\"phone\", \"tv\"]" };
    let pairs = sort.read(tables, network, seed)?;
    Ok(pairs.into_iter().map(|(between, way)| LinkSpec { between, way }).collect())
}

/// Pairs of things with a way between them.
struct Pairs<'n> {
    what: &'static str,
    things: &'n Names,
    example: &'static str,
}

impl Pairs<'_> {
    fn read(
        &self,
        tables: Vec<Fields<'_>>,
        network: &Ways,
        seed: Seed,
    ) -> Res<Vec<((String, String), WaySpec)>> {
        let mut names = Names::new(self.what);
        let mut pairs = Vec::with_capacity(tables.len());
        for mut fields in tables {
            let Some(between) = fields.texts("between")? else {
                return Err(fields.missing("between", self.example));
            };
            let place = fields.place_of("between");
            let thing = self.things.what();
            let [a, b] = between[..] else {
                let why = format!("name two {thing}s, as {}", self.example);
                return Err(Fault::value(place, "between", why));
            };
            for (name, place) in [a, b] {
                self.things.one(name, place)?;
            }
            let (a, b) = (a.0, b.0);
            if a == b {
                let why = format!("a {thing} reaches itself; name two of them");
                return Err(Fault::value(place, "between", why));
            }
            // Of either order it is the same.
            let path = if a < b { format!("{a} – {b}") } else { format!("{b} – {a}") };
            names.pair(&path, place)?;
            let draw = seed.of(format!("{}/{path}", self.what));
            let way = Ways::read(&mut fields)?.over(network).draw(&draw, WaySpec::default());
            pairs.push(((a.to_owned(), b.to_owned()), way));
            fields.done()?;
        }
        Ok(pairs)
    }
}

/// Reads the circles. Gives with each where it stands.
pub(super) fn circles(tables: Vec<Fields<'_>>, seed: Seed) -> Res<(Vec<CircleSpec>, Names)> {
    let mut names = Names::new("circle");
    let mut circles = Vec::with_capacity(tables.len());
    for mut fields in tables {
        let name = fields.need_text("name", "\"home\"")?;
        let place = fields.place_of("name");
        let count = count(&mut fields, &seed.of(format!("circle/{name}")), limits::CIRCLES)?;
        room(circles.len(), count, limits::CIRCLES, "circles", place)?;
        let entry =
            fields.word("entry", &[("ready", Entry::Ready), ("pin", Entry::Pin)])?.unwrap_or_default();
        fields.done()?;
        circles.extend(names.add(name, count, place)?.into_iter().map(|name| CircleSpec { name, entry }));
    }
    Ok((circles, names))
}

/// Of how many a thing is a template.
fn count(fields: &mut Fields<'_>, draw: &Draw, most: usize) -> Res<Option<usize>> {
    let count = fields.whole("count", &COUNT, 1, most as i128)?;
    Ok(count.map(|count| draw.number("count", count)))
}

/// Whether there is room for so many more.
fn room(have: usize, count: Option<usize>, most: usize, what: &'static str, place: Place) -> Res<()> {
    match have + count.unwrap_or(1) > most {
        true => Err(Fault::at(place, Problem::TooMany { what, most })),
        false => Ok(()),
    }
}
