//! What is submitted, counted out.

use std::time::Duration;

use super::draw::{Draw, Seed};
use super::error::{Fault, Problem, Res};
use super::fields::Fields;
use super::guest::{Guest, Guests};
use super::limits;
use super::model::{DeviceSpec, TaskOrder};
use super::names::Names;
use super::times::Times;
use super::values::{COUNT, SIZE, WORK, Whole};

/// Fewest and most holders of a quorum task.
const HOLDERS: (i128, i128) = (2, 8);
/// Most work and most memory.
const MUCH: i128 = 1 << 60;

/// Memory that a program may have, if nothing is said.
const PROGRAM_MEMORY: u64 = 64 << 20;

/// Tasks of other devices than the one that is named first, if it is a template: whoever is drawn.
struct Template<'t> {
    from: (&'t str, std::ops::Range<usize>),
    start_on: Option<Vec<usize>>,
    program: Option<Guest>,
    work: Whole,
    state: Whole,
    hot: Option<Whole>,
    memory: Option<Whole>,
    effects: Whole,
    holders: Option<Whole>,
    stay: bool,
}

/// Reads the tasks. They come in order of time; the names count in order of writing.
pub(super) fn tasks(
    tables: Vec<Fields<'_>>,
    devices: (&[DeviceSpec], &Names),
    end: Duration,
    seed: Seed,
) -> Res<(Vec<TaskOrder>, Names)> {
    let mut names = Names::new("task");
    let mut tasks: Vec<TaskOrder> = Vec::new();
    for mut fields in tables {
        let name = fields.need_text("name", "\"photo\"")?;
        let place = fields.place_of("name");
        let times = Times::read(&mut fields, end, limits::TASKS)?;
        let template = Template::read(&mut fields, devices)?;
        fields.done()?;
        let draw = seed.of(format!("task/{name}"));
        let count = times.count(&draw);
        if tasks.len() + count.unwrap_or(1) > limits::TASKS {
            return Err(Fault::at(place, Problem::TooMany { what: "tasks", most: limits::TASKS }));
        }
        let moments = times.draw(&draw, count);
        for (name, at) in names.add(name, count, place)?.into_iter().zip(moments) {
            let draw = seed.of(format!("task/{name}"));
            tasks.push(template.order(name, at, &draw, devices.0));
        }
    }
    Ok((tasks, names))
}

/// Those of these devices that run tasks.
pub(super) fn able(
    devices: &[DeviceSpec],
    range: std::ops::Range<usize>,
    fields: &Fields<'_>,
    key: &'static str,
) -> Res<Vec<usize>> {
    let able: Vec<usize> = range.clone().filter(|device| devices[*device].runs_tasks).collect();
    if able.is_empty() {
        let name = devices.get(range.start).map_or("it", |device| &device.name);
        let why = format!("`{name}` runs no tasks; name one that does, or give it `tasks = true`");
        return Err(Fault::value(fields.place_of(key), key, why));
    }
    Ok(able)
}

/// The program that a task is, if it is one.
fn program(fields: &mut Fields<'_>) -> Res<Option<Guest>> {
    let program = fields.word("program", &Guests::ALL)?;
    let args = fields.texts("args")?;
    let Some(program) = program else {
        return match args {
            None => Ok(None),
            Some(_) => Err(fields.missing("program", "\"tally\"")),
        };
    };
    for key in ["state", "hot", "effects"] {
        if fields.get(key).is_some() {
            let why = "a program has its own; take this line out, and say more by `args`";
            return Err(Fault::value(fields.place_of(key), key, why));
        }
    }
    let args: Vec<String> = args.unwrap_or_default().into_iter().map(|(arg, _)| arg.to_owned()).collect();
    let (most, longest) = limits::ARGS;
    if args.len() > most || args.iter().any(|arg| arg.len() > longest || arg.contains('\0')) {
        let why = format!("at most {most} arguments of at most {longest} bytes, none of which is zero");
        return Err(Fault::value(fields.place_of("args"), "args", why));
    }
    Ok(Some(Guest { program, args }))
}

impl<'t> Template<'t> {
    fn read(fields: &mut Fields<'t>, (specs, devices): (&[DeviceSpec], &Names)) -> Res<Self> {
        let from = fields.need_text("from", "\"phone\"")?;
        let whose = devices.find(from, fields.place_of("from"))?;
        let start_on = match fields.text("start_on")? {
            Some(name) => {
                Some(able(specs, devices.find(name, fields.place_of("start_on"))?, fields, "start_on")?)
            }
            None => None,
        };
        let Some(work) = fields.whole("work", &WORK, 1, MUCH)? else {
            return Err(fields.missing("work", WORK.example));
        };
        let quorum = fields.word("policy", &[("owner", false), ("quorum", true)])?.unwrap_or(false);
        let holders = fields.whole("holders", &COUNT, HOLDERS.0, HOLDERS.1)?;
        if holders.is_some() && !quorum {
            let why = "only a quorum has holders; add `policy = \"quorum\"`";
            return Err(Fault::value(fields.place_of("holders"), "holders", why));
        }
        let program = program(fields)?;
        let state = fields.whole("state", &SIZE, 0, 1 << 30)?.unwrap_or(Whole { from: 4096, to: 4096 });
        let hot = fields.whole("hot", &SIZE, 0, 1 << 30)?;
        if let Some(hot) = hot.filter(|hot| hot.to > state.from) {
            let (hot, state) = (SIZE.show(hot.to), SIZE.show(state.from));
            let why = format!("{hot} change with each step, of a state of {state}; make `state` larger");
            return Err(Fault::value(fields.place_of("hot"), "hot", why));
        }
        Ok(Self {
            from: (from, whose),
            start_on,
            program,
            work,
            state,
            hot,
            memory: fields.whole("memory", &SIZE, 0, MUCH)?,
            effects: fields.whole("effects", &COUNT, 0, 1 << 32)?.unwrap_or(Whole { from: 0, to: 0 }),
            holders: quorum.then(|| holders.unwrap_or(Whole { from: HOLDERS.0, to: HOLDERS.0 })),
            stay: fields.flag("stay")?.unwrap_or(false),
        })
    }

    fn order(&self, name: String, at: Duration, draw: &Draw, devices: &[DeviceSpec]) -> TaskOrder {
        let from = &self.from.1;
        let state_bytes = draw.number("state", self.state);
        let usual_memory = match self.program {
            Some(_) => PROGRAM_MEMORY,
            // It needs twice its size and a mebibyte more.
            None => 2 * state_bytes as u64 + (1 << 20),
        };
        TaskOrder {
            name,
            at,
            from: devices[from.start + draw.pick("from", from.len())].name.clone(),
            program: self.program.clone(),
            ops: draw.number("work", self.work),
            state_bytes,
            // What is not said: a sixteenth of it changes.
            hot_bytes: self.hot.map_or(state_bytes / 16, |hot| draw.number("hot", hot)),
            memory_bytes: self.memory.map_or(usual_memory, |memory| draw.number("memory", memory)),
            effects: draw.number("effects", self.effects),
            quorum: self.holders.map(|holders| draw.number("holders", holders)),
            start_on: self
                .start_on
                .as_ref()
                .map(|able| devices[able[draw.pick("start_on", able.len())]].name.clone()),
            stay: self.stay,
        }
    }
}
