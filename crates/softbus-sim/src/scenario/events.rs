//! What happens, as written: each `[[event]]` once or several times, for one device or for all of a template.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use super::draw::{Draw, Seed};
use super::error::{Fault, Problem, Res, clip, closest};
use super::fields::{Fields, text, wrong_type};
use super::limits;
use super::model::{DeviceSpec, Happening, RoleSpec, Segment, TaskOrder, What};
use super::names::{ANY, Names, RUNNER, runner_of};
use super::network::Ways;
use super::tasks::able;
use super::times::Times;
use super::tree::{Place, Raw};
use super::values::{COUNT, Counted, DRIFT, OFFSET, PART, TIME, Whole};

/// All that an event may speak of.
pub(super) struct Cast<'c> {
    pub(super) segments: (&'c [Segment], &'c Names),
    pub(super) circles: &'c Names,
    pub(super) devices: (&'c [DeviceSpec], &'c Names),
    /// In order of writing, as the names count them.
    pub(super) tasks: (&'c [TaskOrder], &'c Names),
    pub(super) end: Duration,
    pub(super) seed: Seed,
}

/// What happens, within bounds.
#[derive(Debug, Default)]
pub(super) struct Happenings {
    pub(super) list: Vec<Happening>,
    grouped: usize,
}

impl Happenings {
    /// Adds one.
    pub(super) fn push(&mut self, place: Place, happening: Happening) -> Res<()> {
        if self.list.len() >= limits::EVENTS {
            return Err(Fault::at(place, Problem::TooMany { what: "events", most: limits::EVENTS }));
        }
        if let What::Partition { groups, .. } = &happening.what {
            self.grouped += groups.iter().map(Vec::len).sum::<usize>();
            if self.grouped > limits::GROUPED {
                let (what, most) = ("names in the groups of all partitions", limits::GROUPED);
                return Err(Fault::at(place, Problem::TooMany { what, most }));
            }
        }
        self.list.push(happening);
        Ok(())
    }
}

/// Whom an event befalls.
enum Who {
    /// Each of these, at the same time.
    Each(Vec<usize>),
    /// One of these.
    OneOf(Range<usize>),
    /// Whichever runs one of these tasks then.
    Runs(Range<usize>),
    /// No device in particular.
    Nobody,
}

/// Makes the event for a device (its name; empty for nobody's) at a time.
type Make<'m> = Box<dyn Fn(&Draw, &str, Duration) -> What + 'm>;

/// Reads the events.
pub(super) fn events(tables: Vec<Fields<'_>>, cast: &Cast<'_>) -> Res<Happenings> {
    let mut happenings = Happenings::default();
    // An event has no name; its draws follow from what it says, and the how manieth it is that says so.
    let mut alike: BTreeMap<[u8; 16], usize> = BTreeMap::new();
    for mut fields in tables {
        let said = fields.said();
        let nth = alike.entry(said).or_default();
        let path = format!("event/{}/{nth}", u128::from_le_bytes(said));
        *nth += 1;

        let times = Times::read(&mut fields, cast.end, limits::EVENTS)?;
        let drawn = fields.flag("drawn")?.unwrap_or(false);
        let place = fields.place_of("do");
        let (who, make) = plan(&mut fields, cast)?;
        fields.done()?;

        let draw = cast.seed.of(path.as_str());
        for (n, at) in times.draw(&draw, times.count(&draw)).into_iter().enumerate() {
            let mut befall = |device: &str| {
                let draw = cast.seed.of(format!("{path}/{n}/{device}"));
                happenings.push(place, Happening { at, what: make(&draw, device, at), drawn })
            };
            match &who {
                Who::Each(each) => {
                    each.iter().try_for_each(|device| befall(&cast.devices.0[*device].name))?;
                }
                Who::OneOf(range) => {
                    let draw = cast.seed.of(format!("{path}/{n}"));
                    let device = range.start + draw.pick("device", range.len());
                    befall(&cast.devices.0[device].name)?;
                }
                Who::Runs(range) => {
                    let draw = cast.seed.of(format!("{path}/{n}"));
                    befall(&runner_of(&a_task(&draw, cast, range, at)))?;
                }
                Who::Nobody => befall("")?,
            }
        }
    }
    Ok(happenings)
}

/// Reads what an event does.
fn plan<'m>(fields: &mut Fields<'_>, cast: &'m Cast<'m>) -> Res<(Who, Make<'m>)> {
    let word = fields.need_text("do", "\"crash\"")?;
    Ok(match word {
        "crash" => {
            let (offline, nth) = (offline(fields)?, fields.whole("at_disk_job", &COUNT, 1, DISK_JOBS)?);
            down(fields, cast, move |draw, device, down| What::Crash {
                device,
                down,
                offline: offline.map_or(Duration::ZERO, |offline| draw.time("offline", offline)),
                at_disk_job: nth.map(|nth| draw.number("at_disk_job", nth)),
            })?
        }
        "kill" => {
            let offline = offline(fields)?;
            down(fields, cast, move |draw, device, down| What::Kill {
                device,
                down,
                offline: offline.map_or(Duration::ZERO, |offline| draw.time("offline", offline)),
            })?
        }
        "shutdown" => down(fields, cast, |_, device, down| What::Shutdown { device, down })?,
        "lose" => plain(fields, cast, |device| What::Lose { device })?,
        "plug" => plain(fields, cast, |device| What::Plug { device })?,
        "unplug" => plain(fields, cast, |device| What::Unplug { device })?,
        "disk-full" => lasting(fields, cast, |device, span| What::DiskFull { device, span })?,
        "disk-fail" => lasting(fields, cast, |device, span| What::DiskFail { device, span })?,
        "sleep" => {
            let announced = fields.flag("announced")?.unwrap_or(true);
            lasting(fields, cast, move |device, span| What::Sleep { device, announced, span })?
        }
        "load" => {
            let load = need(fields, "load", &PART, 0, 1000)?;
            amount(fields, cast, move |draw, device, span| What::Load {
                device,
                permille: draw.number("load", load),
                span,
            })?
        }
        "drift" => {
            let drift = need(fields, "drift", &DRIFT, -100_000, 100_000)?;
            amount(fields, cast, move |draw, device, span| What::Drift {
                device,
                ppm: draw.number("drift", drift),
                span,
            })?
        }
        "clock-jump" => {
            let most = 10 * 366 * 86_400_000;
            let by = need(fields, "by", &OFFSET, -most, most)?;
            let who = who(fields, cast)?;
            (
                who,
                Box::new(move |draw, device, _| What::ClockJump {
                    device: device.to_owned(),
                    by_ms: draw.number("by", by),
                }),
            )
        }
        "cut" => {
            let runs = fields.need_text("from", "\"phone\"")?.strip_prefix(RUNNER);
            let runs = runs.map(|task| tasks(cast, task, fields.place_of("from"))).transpose()?;
            let (from, to) = match runs {
                None => pair(fields, cast, "from", "to")?,
                Some(_) => (0..0, device(fields, cast, "to")?),
            };
            let one_way = fields.flag("one_way")?.unwrap_or(false);
            let span = span(fields)?;
            (
                Who::Nobody,
                Box::new(move |draw, _, at| {
                    let (from, to) = match &runs {
                        None => two(draw, cast, &from, &to),
                        Some(tasks) => {
                            let to = one_of(draw, "second", &to);
                            (runner_of(&a_task(draw, cast, tasks, at)), cast.devices.0[to].name.clone())
                        }
                    };
                    What::Cut { from, to, one_way, span: draw.time("for", span) }
                }),
            )
        }
        "partition" => {
            let groups = groups(fields, cast)?;
            let span = span(fields)?;
            (
                Who::Nobody,
                Box::new(move |draw, _, _| What::Partition {
                    groups: groups.clone(),
                    span: draw.time("for", span),
                }),
            )
        }
        "move" => {
            let segment = segment(fields, cast)?;
            let who = who(fields, cast)?;
            (
                who,
                Box::new(move |draw, device, _| What::Move {
                    device: device.to_owned(),
                    segment: cast.segments.0[one_of(draw, "segment", &segment)].name.clone(),
                }),
            )
        }
        "weather" => {
            let segment = segment(fields, cast)?;
            let ways = Ways::read(fields)?;
            let span = span(fields)?;
            (
                Who::Nobody,
                Box::new(move |draw, _, _| {
                    let segment = &cast.segments.0[one_of(draw, "segment", &segment)];
                    let way = ways.draw(draw, segment.way);
                    What::Weather { segment: segment.name.clone(), way, span: draw.time("for", span) }
                }),
            )
        }
        "move-task" => {
            let task = task(fields, cast)?;
            let to = match fields.text("to")? {
                Some(name) => {
                    let range = cast.devices.1.find(name, fields.place_of("to"))?;
                    Some(able(cast.devices.0, range, fields, "to")?)
                }
                None => None,
            };
            (
                Who::Nobody,
                Box::new(move |draw, _, at| What::MoveTask {
                    task: a_task(draw, cast, &task, at),
                    to: to
                        .as_ref()
                        .map(|able| cast.devices.0[able[draw.pick("to", able.len())]].name.clone()),
                }),
            )
        }
        "cancel-task" => {
            let task = task(fields, cast)?;
            (
                Who::Nobody,
                Box::new(move |draw, _, at| What::CancelTask { task: a_task(draw, cast, &task, at) }),
            )
        }
        "remove" => remove(fields, cast)?,
        "wrong-pin" => {
            let (shown, entered) = pair(fields, cast, "shown", "entered")?;
            (
                Who::Nobody,
                Box::new(move |draw, _, _| {
                    let (shown, entered) = two(draw, cast, &shown, &entered);
                    What::WrongPin { shown, entered }
                }),
            )
        }
        "stranger" => {
            let segment = segment(fields, cast)?;
            (
                Who::Nobody,
                Box::new(move |draw, _, _| {
                    let segment = one_of(draw, "segment", &segment);
                    What::Stranger { segment: cast.segments.0[segment].name.clone() }
                }),
            )
        }
        other => return Err(no_such(other, fields.place_of("do"))),
    })
}

/// All that an event may do.
pub(super) const WORDS: [&str; 21] = [
    "crash",
    "kill",
    "shutdown",
    "lose",
    "sleep",
    "cut",
    "partition",
    "move",
    "weather",
    "load",
    "plug",
    "unplug",
    "clock-jump",
    "drift",
    "disk-full",
    "disk-fail",
    "move-task",
    "cancel-task",
    "remove",
    "wrong-pin",
    "stranger",
];

fn no_such(word: &str, place: Place) -> Fault {
    let hint = match closest(word, WORDS.into_iter()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", WORDS.join(", ")),
    };
    Fault::value(place, "do", format!("nothing is called `{}`; {hint}", clip(word)))
}

fn plain<'m>(
    fields: &mut Fields<'_>,
    cast: &Cast<'_>,
    make: impl Fn(String) -> What + 'm,
) -> Res<(Who, Make<'m>)> {
    Ok((who(fields, cast)?, Box::new(move |_, device, _| make(device.to_owned()))))
}

fn lasting<'m>(
    fields: &mut Fields<'_>,
    cast: &Cast<'_>,
    make: impl Fn(String, Duration) -> What + 'm,
) -> Res<(Who, Make<'m>)> {
    amount(fields, cast, move |_, device, span| make(device, span))
}

fn amount<'m>(
    fields: &mut Fields<'_>,
    cast: &Cast<'_>,
    make: impl Fn(&Draw, String, Duration) -> What + 'm,
) -> Res<(Who, Make<'m>)> {
    let span = span(fields)?;
    let who = who(fields, cast)?;
    Ok((who, Box::new(move |draw, device, _| make(draw, device.to_owned(), draw.time("for", span)))))
}

fn down<'m>(
    fields: &mut Fields<'_>,
    cast: &Cast<'_>,
    make: impl Fn(&Draw, String, Option<Duration>) -> What + 'm,
) -> Res<(Who, Make<'m>)> {
    let down = match fields.get("down") {
        None => Some(Whole { from: DOWN, to: DOWN }),
        Some(node) => match &node.raw {
            Raw::Text(text) if text == "never" => None,
            _ => {
                let read = TIME.read(node, 0, FOREVER);
                let why = |why| format!("{why}, or \"never\" to stay down");
                Some(read.map_err(|e| Fault::value(node.place, "down", why(e)))?)
            }
        },
    };
    let who = who(fields, cast)?;
    Ok((
        who,
        Box::new(move |draw, device, _| {
            make(draw, device.to_owned(), down.map(|down| draw.time("down", down)))
        }),
    ))
}

/// How long it has no network when it is back.
fn offline(fields: &mut Fields<'_>) -> Res<Option<Whole>> {
    let offline = fields.whole("offline", &TIME, 0, FOREVER)?;
    let never = matches!(fields.get("down").map(|node| &node.raw), Some(Raw::Text(text)) if text == "never");
    if offline.is_some() && never {
        let why = "it never comes back; leave `offline` out";
        return Err(Fault::value(fields.place_of("offline"), "offline", why));
    }
    Ok(offline)
}

/// The latest job of a disk that a crash may wait for.
pub(super) const DISK_JOBS: i128 = 1_000_000;
/// Down for so long if nothing is said, in nanoseconds.
const DOWN: i128 = 10_000_000_000;
/// Longer than any scenario.
const FOREVER: i128 = (limits::DAYS as i128) * 86_400 * 1_000_000_000;

fn remove<'m>(fields: &mut Fields<'_>, cast: &'m Cast<'m>) -> Res<(Who, Make<'m>)> {
    let circle = fields.need_text("circle", "\"home\"")?;
    cast.circles.one(circle, fields.place_of("circle"))?;
    let circle = circle.to_owned();
    let by = fields.need_text("by", "\"phone\"")?;
    let owners: Vec<&str> = cast.devices.0[cast.devices.1.find(by, fields.place_of("by"))?]
        .iter()
        .filter(|device| device.circles.get(&circle) == Some(&RoleSpec::Owner))
        .map(|device| device.name.as_str())
        .collect();
    if owners.is_empty() {
        let why = format!("`{}` is no owner of circle `{circle}`; only owners remove devices", clip(by));
        return Err(Fault::value(fields.place_of("by"), "by", why));
    }
    let who = who(fields, cast)?;
    Ok((
        who,
        Box::new(move |draw, device, _| What::Remove {
            circle: circle.clone(),
            by: owners[draw.pick("by", owners.len())].to_owned(),
            device: device.to_owned(),
        }),
    ))
}

/// The `device`, or a list of several: of a template all.
fn who(fields: &mut Fields<'_>, cast: &Cast<'_>) -> Res<Who> {
    let Some(node) = fields.get("device") else { return Err(fields.missing("device", "\"phone\"")) };
    let Raw::List(list) = &node.raw else {
        let name = text(node, "device")?;
        if let Some(task) = name.strip_prefix(RUNNER) {
            return Ok(Who::Runs(tasks(cast, task, node.place)?));
        }
        let range = cast.devices.1.find(name, node.place)?;
        return Ok(if name == ANY { Who::OneOf(range) } else { Who::Each(range.collect()) });
    };
    let mut taken = BTreeSet::new();
    let mut each = Vec::new();
    for node in list {
        for device in cast.devices.1.find(text(node, "device")?, node.place)? {
            if !taken.insert(device) {
                let name = &cast.devices.0[device].name;
                return Err(Fault::value(node.place, "device", format!("`{name}` is named twice")));
            }
            each.push(device);
        }
    }
    Ok(Who::Each(each))
}

fn span(fields: &mut Fields<'_>) -> Res<Whole> {
    need(fields, "for", &TIME, 0, FOREVER)
}

fn need(fields: &mut Fields<'_>, key: &'static str, kind: &Counted, least: i128, most: i128) -> Res<Whole> {
    match fields.whole(key, kind, least, most)? {
        Some(value) => Ok(value),
        None => Err(fields.missing(key, kind.example)),
    }
}

fn segment(fields: &mut Fields<'_>, cast: &Cast<'_>) -> Res<Range<usize>> {
    let name = fields.need_text("segment", "\"home\"")?;
    cast.segments.1.find(name, fields.place_of("segment"))
}

fn task(fields: &mut Fields<'_>, cast: &Cast<'_>) -> Res<Range<usize>> {
    let name = fields.need_text("task", "\"photo\"")?;
    tasks(cast, name, fields.place_of("task"))
}

fn tasks(cast: &Cast<'_>, name: &str, place: Place) -> Res<Range<usize>> {
    let range = cast.tasks.1.find(name, place)?;
    if range.is_empty() {
        return Err(Fault::unknown(place, "task", name, std::iter::empty()));
    }
    Ok(range)
}

fn device(fields: &mut Fields<'_>, cast: &Cast<'_>, key: &'static str) -> Res<Range<usize>> {
    let name = fields.need_text(key, "\"phone\"")?;
    cast.devices.1.find(name, fields.place_of(key))
}

/// Two devices that are not the same.
fn pair(
    fields: &mut Fields<'_>,
    cast: &Cast<'_>,
    a: &'static str,
    b: &'static str,
) -> Res<(Range<usize>, Range<usize>)> {
    let (first, second) = (device(fields, cast, a)?, device(fields, cast, b)?);
    if first == second && first.len() == 1 {
        let why = format!("it is the same device as `{a}`; name another");
        return Err(Fault::value(fields.place_of(b), b, why));
    }
    Ok((first, second))
}

/// Groups of devices; a template stands for all of its devices.
fn groups(fields: &mut Fields<'_>, cast: &Cast<'_>) -> Res<Vec<Vec<String>>> {
    let example = "[[\"phone\"], [\"laptop\", \"tv\"]]";
    let Some(node) = fields.get("groups") else { return Err(fields.missing("groups", example)) };
    let wants = format!("a list of groups, as {example}");
    let Raw::List(list) = &node.raw else { return Err(wrong_type(node.place, "groups", &wants, &node.raw)) };
    let mut taken = vec![false; cast.devices.0.len()];
    let mut groups = Vec::new();
    for group in list {
        let Raw::List(names) = &group.raw else {
            return Err(wrong_type(group.place, "groups", &wants, &group.raw));
        };
        let mut members = Vec::new();
        for node in names {
            for device in cast.devices.1.find(text(node, "groups")?, node.place)? {
                let name = &cast.devices.0[device].name;
                if std::mem::replace(&mut taken[device], true) {
                    let why = format!("`{name}` is named twice; a device is in one group");
                    return Err(Fault::value(node.place, "groups", why));
                }
                members.push(name.clone());
            }
        }
        groups.push(members);
    }
    Ok(groups)
}

fn one_of(draw: &Draw, key: &str, range: &Range<usize>) -> usize {
    range.start + draw.pick(key, range.len())
}

/// One of each range, and not the same.
fn two(draw: &Draw, cast: &Cast<'_>, a: &Range<usize>, b: &Range<usize>) -> (String, String) {
    let next = |of: usize, range: &Range<usize>| range.start + (of - range.start + 1) % range.len();
    let (mut first, mut second) = (one_of(draw, "first", a), one_of(draw, "second", b));
    if first == second && b.len() > 1 {
        second = next(second, b);
    } else if first == second {
        first = next(first, a);
    }
    let name = |device: usize| cast.devices.0[device].name.clone();
    (name(first), name(second))
}

/// One of the tasks that have been submitted by then. Many tries rather than a search: there may be a million.
fn a_task(draw: &Draw, cast: &Cast<'_>, range: &Range<usize>, now: Duration) -> String {
    let mut stream = draw.stream("task");
    let tried = (0..64).map(|_| range.start + stream.below(range.len()));
    let task = tried.map(|n| &cast.tasks.0[n]).find(|task| task.at <= now);
    task.unwrap_or(&cast.tasks.0[range.start]).name.clone()
}
