//! Faults drawn at given rates. Each fault has its own clock for each device (or segment), so that neither disturbs the
//! draws of another; a next one comes only after the last has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use super::draw::Stream;
use super::error::{Fault, Res};
use super::events::{Cast, DISK_JOBS, Happenings};
use super::fields::Fields;
use super::model::{Happening, SHUTDOWN, What};
use super::names::runner_of;
use super::network::Ways;
use super::tree::Place;
use super::values::{COUNT, DRIFT, OFFSET, OFTEN, PART, Real, TIME, Whole};

/// Most often, per second.
const OFTENEST: f64 = 1000.0;
const SECOND: i128 = 1_000_000_000;

/// The rates.
pub(super) const RATES: [&str; 16] = [
    "crash",
    "kill",
    "shutdown",
    "sleep",
    "cut",
    "partition",
    "move",
    "drift",
    "clock_jump",
    "disk_full",
    "disk_fail",
    "load",
    "unplug",
    "weather",
    "cut_one_way",
    "crash_writing",
];

/// Those that may also come right after a task is told to move.
const AT_MOVES: [&str; 10] = [
    "crash",
    "kill",
    "cut",
    "cut_one_way",
    "partition",
    "drift",
    "clock_jump",
    "disk_full",
    "disk_fail",
    "crash_writing",
];

/// Those that last for `down`.
const GOES: [&str; 4] = ["crash", "crash_writing", "kill", "shutdown"];

/// Faults that come while a task moves: how likely each is at each move, in thousandths, and how soon it comes.
struct AtMoves {
    within: Whole,
    /// How often it befalls the device that runs the task, in thousandths.
    aimed: Whole,
    chances: Vec<(&'static str, Whole)>,
}

impl AtMoves {
    fn read(mut fields: Fields<'_>, end: i128) -> Res<Self> {
        let within = fields.whole("within", &TIME, 0, end)?.unwrap_or(Whole { from: 0, to: SECOND / 2 });
        let aimed = fields.whole("aimed", &PART, 0, 1000)?.unwrap_or(Whole { from: 0, to: 0 });
        let mut chances = Vec::new();
        for key in AT_MOVES {
            if let Some(chance) = fields.whole(key, &PART, 0, 1000)? {
                chances.push((key, chance));
            }
        }
        fields.done()?;
        Ok(Self { within, aimed, chances })
    }
}

struct Chaos<'c> {
    cast: &'c Cast<'c>,
    place: Place,
    from: Duration,
    to: Duration,
    span: Whole,
    down: Whole,
    offline: Whole,
    disk_job: Whole,
    skew: Whole,
    jump: Whole,
    pressure: Whole,
    way: Ways,
    devices: Vec<usize>,
    segments: Vec<usize>,
    /// Where the written moves have each device, in order of time.
    moves: BTreeMap<String, Vec<(Duration, String)>>,
}

/// Draws what `[chaos]` says into the happenings, after those that are written.
pub(super) fn chaos(mut fields: Fields<'_>, cast: &Cast<'_>, happenings: &mut Happenings) -> Res<()> {
    let end = i128::try_from(cast.end.as_nanos()).unwrap_or(i128::MAX);
    let whole = |fields: &mut Fields<'_>, key, kind, least, most, otherwise: (i128, i128)| {
        let value = fields.whole(key, kind, least, most)?;
        Ok::<_, Fault>(value.unwrap_or(Whole { from: otherwise.0, to: otherwise.1 }))
    };
    let draw = cast.seed.of("chaos");
    let heal = whole(&mut fields, "heal_before_end", &TIME, 0, end, (0, 0))?;
    let healed = end - heal.to;
    let from = whole(&mut fields, "from", &TIME, 0, end, (0, 0))?;
    let to = whole(&mut fields, "to", &TIME, 0, end, (healed, healed))?;
    let span = whole(&mut fields, "span", &TIME, 1_000_000, end, (5 * SECOND, 60 * SECOND))?;
    let down = whole(&mut fields, "down", &TIME, 1_000_000, end, (span.from, span.to))?;
    if from.to >= to.from.min(healed) {
        let (from, until) = (TIME.show(from.to), TIME.show(to.from.min(healed)));
        let why = format!("it begins at {from} and must end by {until}: nothing is left; begin earlier");
        return Err(Fault::value(fields.place_of("from"), "from", why));
    }
    let ways = match fields.table("way")? {
        None => Ways::hazy(),
        Some(mut inner) => {
            let ways = Ways::read(&mut inner)?;
            inner.done()?;
            ways
        }
    };
    let at_moves = fields.table("moves")?.map(|inner| AtMoves::read(inner, end)).transpose()?;
    let mut rates: BTreeMap<&str, Real> = BTreeMap::new();
    for key in RATES {
        if let Some(rate) = fields.real(key, &OFTEN, 0.0, OFTENEST)? {
            rates.insert(key, rate);
        }
    }
    let mut moves: BTreeMap<String, Vec<(Duration, String)>> = BTreeMap::new();
    let mut written: Vec<&Happening> = happenings.list.iter().collect();
    written.sort_by_key(|h| h.at);
    for happening in written {
        if let What::Move { device, segment } = &happening.what {
            moves.entry(device.clone()).or_default().push((happening.at, segment.clone()));
        }
    }
    let chaos = Chaos {
        cast,
        place: fields.place,
        from: draw.time("from", from),
        to: draw.time("to", to).min(Duration::from_nanos(u64::try_from(healed).unwrap_or(0))),
        span,
        down,
        offline: whole(&mut fields, "offline", &TIME, 0, end, (0, 0))?,
        disk_job: fields.whole("at_disk_job", &COUNT, 1, DISK_JOBS)?.unwrap_or(Whole { from: 1, to: 8 }),
        skew: whole(&mut fields, "skew", &DRIFT, -100_000, 100_000, (-500, 500))?,
        jump: whole(&mut fields, "jump", &OFFSET, -86_400_000, 86_400_000, (-5000, 5000))?,
        pressure: whole(&mut fields, "pressure", &PART, 0, 1000, (500, 1000))?,
        way: ways,
        devices: chosen(&mut fields, "devices", cast.devices.1, cast.devices.0.len())?,
        segments: chosen(&mut fields, "segments", cast.segments.1, cast.segments.0.len())?,
        moves,
    };
    fields.done()?;
    for (key, rate) in rates {
        let per_s = draw.real(key, rate);
        if per_s > 0.0 {
            chaos.fault(key, per_s, happenings)?;
        }
    }
    at_moves.map_or(Ok(()), |at_moves| chaos.at_moves(&at_moves, happenings))
}

/// The things that a list names, or all.
fn chosen(
    fields: &mut Fields<'_>,
    key: &'static str,
    names: &super::names::Names,
    all: usize,
) -> Res<Vec<usize>> {
    let Some(list) = fields.texts(key)? else { return Ok((0..all).collect()) };
    let mut taken = vec![false; all];
    for (name, place) in list {
        names.find(name, place)?.for_each(|n| taken[n] = true);
    }
    Ok((0..all).filter(|n| taken[*n]).collect())
}

impl Chaos<'_> {
    /// Draws one sort of fault, for each that it may befall.
    fn fault(&self, key: &str, per_s: f64, happenings: &mut Happenings) -> Res<()> {
        match key {
            "partition" => self.row(key, "", per_s, self.span, happenings, |stream, at, span| {
                self.partition(stream)
                    .map_or(Vec::new(), |groups| vec![(at, What::Partition { groups, span })])
            }),
            "weather" => self.segments.iter().try_for_each(|n| {
                let segment = &self.cast.segments.0[*n];
                self.row(key, &segment.name, per_s, self.span, happenings, |stream, at, span| {
                    let path = format!("chaos/weather/{}/{}/{}", segment.name, at.as_nanos(), stream.next());
                    let way = self.way.draw(&self.cast.seed.of(path), segment.way);
                    vec![(at, What::Weather { segment: segment.name.clone(), way, span })]
                })
            }),
            _ => self.devices.iter().try_for_each(|n| {
                let name = &self.cast.devices.0[*n].name;
                let span = if GOES.contains(&key) { self.down } else { self.span };
                self.row(key, name, per_s, span, happenings, |stream, at, span| {
                    self.of_device(key, *n, None, stream, at, span)
                })
            }),
        }
    }

    /// Faults one after the other, each over before the next, and all before the end.
    fn row(
        &self,
        key: &str,
        whose: &str,
        per_s: f64,
        span: Whole,
        happenings: &mut Happenings,
        mut make: impl FnMut(&mut Stream, Duration, Duration) -> Vec<(Duration, What)>,
    ) -> Res<()> {
        let mut stream = self.cast.seed.of(format!("chaos/{key}/{whose}")).stream("");
        let mut at = self.from.saturating_add(stream.gap(per_s));
        while at < self.to {
            let span = stream.time(span).min(self.to - at);
            for (at, what) in make(&mut stream, at, span) {
                happenings.push(self.place, Happening { at, what, drawn: true })?;
            }
            at = at.saturating_add(span).saturating_add(stream.gap(per_s));
        }
        Ok(())
    }

    /// Faults of the devices that are chosen, soon after each order to move.
    fn at_moves(&self, at_moves: &AtMoves, happenings: &mut Happenings) -> Res<()> {
        let moves = happenings.list.iter().filter_map(|happening| match &happening.what {
            What::MoveTask { task, .. } => Some((happening.at, task.clone())),
            _ => None,
        });
        let mut moves: Vec<(Duration, String)> = moves.collect();
        moves.sort_by_key(|(at, _)| *at);
        for (key, chance) in &at_moves.chances {
            let mut stream = self.cast.seed.of(format!("chaos/moves/{key}")).stream("");
            let mut aim = self.cast.seed.of(format!("chaos/moves/{key}")).stream("aimed");
            for (moved, task) in &moves {
                let permille: usize = number(&mut stream, *chance);
                let (comes, n) = (stream.below(1000) < permille, stream.below(self.devices.len().max(1)));
                let at = moved.saturating_add(stream.time(at_moves.within));
                // A clock that jumped is set right again: it must be the same one's.
                let aimed = aim.below(1000) < number(&mut aim, at_moves.aimed) && *key != "clock_jump";
                let span = if GOES.contains(key) { self.down } else { self.span };
                let span = stream.time(span);
                let Some(device) = self.devices.get(n).filter(|_| comes && at >= self.from && at < self.to)
                else {
                    continue;
                };
                let span = span.min(self.to - at);
                let made = if *key == "partition" {
                    let groups = self.partition(&mut stream);
                    groups.map_or(Vec::new(), |groups| vec![(at, What::Partition { groups, span })])
                } else {
                    let runs = aimed.then(|| runner_of(task));
                    self.of_device(key, *device, runs, &mut stream, at, span)
                };
                for (at, what) in made {
                    happenings.push(self.place, Happening { at, what, drawn: true })?;
                }
            }
        }
        Ok(())
    }

    fn of_device(
        &self,
        key: &str,
        n: usize,
        runs: Option<String>,
        stream: &mut Stream,
        at: Duration,
        span: Duration,
    ) -> Vec<(Duration, What)> {
        let device = runs.unwrap_or_else(|| self.cast.devices.0[n].name.clone());
        let what = match key {
            "crash" | "crash_writing" | "kill" => {
                let offline = stream.time(self.offline).min(self.to.saturating_sub(at + span));
                let down = Some(span);
                match key {
                    "kill" => What::Kill { device, down, offline },
                    "crash" => What::Crash { device, down, offline, at_disk_job: None },
                    _ => {
                        let at_disk_job = Some(number(stream, self.disk_job));
                        What::Crash { device, down, offline, at_disk_job }
                    }
                }
            }
            // It is off for a while at least.
            "shutdown" if at + SHUTDOWN > self.to => return Vec::new(),
            "shutdown" => What::Shutdown { device, down: Some(span.max(SHUTDOWN)) },
            "sleep" => What::Sleep { device, announced: stream.below(2) == 1, span },
            "drift" => What::Drift { device, ppm: number(stream, self.skew), span },
            "disk_full" => What::DiskFull { device, span },
            "disk_fail" => What::DiskFail { device, span },
            "load" => What::Load { device, permille: number(stream, self.pressure), span },
            "cut" | "cut_one_way" => {
                let Some(to) = self.another(n, stream) else { return Vec::new() };
                What::Cut { from: device, to, one_way: key == "cut_one_way", span }
            }
            // A clock that jumped is set right again.
            "clock_jump" => {
                let by_ms: i64 = number(stream, self.jump);
                let back = What::ClockJump { device: device.clone(), by_ms: -by_ms };
                return vec![(at, What::ClockJump { device, by_ms }), (at + span, back)];
            }
            "unplug" => {
                let again = What::Plug { device: device.clone() };
                return vec![(at, What::Unplug { device }), (at + span, again)];
            }
            // It comes back to where it would be.
            _ => {
                let here = self.place(n, at);
                let others: Vec<usize> =
                    self.segments.iter().copied().filter(|s| self.cast.segments.0[*s].name != here).collect();
                if others.is_empty() {
                    return Vec::new();
                }
                let segment = self.cast.segments.0[others[stream.below(others.len())]].name.clone();
                let home = self.place(n, at + span).to_owned();
                let back = What::Move { device: device.clone(), segment: home };
                return vec![(at, What::Move { device, segment }), (at + span, back)];
            }
        };
        vec![(at, what)]
    }

    fn another(&self, n: usize, stream: &mut Stream) -> Option<String> {
        let others = self.devices.len() - 1;
        let drawn = stream.below(others);
        let own = self.devices.iter().position(|d| *d == n)?;
        let to = self.devices.get(if drawn >= own { drawn + 1 } else { drawn })?;
        Some(self.cast.devices.0[*to].name.clone())
    }

    /// The segment that the written moves have a device on.
    fn place(&self, n: usize, at: Duration) -> &str {
        let device = &self.cast.devices.0[n];
        let moves = self.moves.get(&device.name).map_or(&[][..], Vec::as_slice);
        let last = moves[..moves.partition_point(|(when, _)| *when <= at)].last();
        last.map_or(&device.segment, |(_, segment)| segment)
    }

    /// Two groups: of the devices chosen each falls into either, the rest stays together.
    fn partition(&self, stream: &mut Stream) -> Option<Vec<Vec<String>>> {
        let all = self.cast.devices.0;
        if all.len() < 2 || self.devices.is_empty() {
            return None;
        }
        let mut aside = vec![false; all.len()];
        self.devices.iter().for_each(|n| aside[*n] = stream.below(2) == 1);
        // Nobody aside, or everybody, is no partition: then one alone changes its side.
        if aside.iter().all(|a| *a == aside[0]) {
            let one = self.devices[stream.below(self.devices.len())];
            aside[one] = !aside[one];
        }
        let side = |which: bool| {
            let members = all.iter().zip(&aside).filter(|(_, aside)| **aside == which);
            members.map(|(device, _)| device.name.clone()).collect::<Vec<_>>()
        };
        Some(vec![side(false), side(true)])
    }
}

fn number<T: TryFrom<i128> + Default>(stream: &mut Stream, range: Whole) -> T {
    T::try_from(stream.whole(range)).unwrap_or_default()
}
