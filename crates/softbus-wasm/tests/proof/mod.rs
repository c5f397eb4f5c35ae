//! A program is stopped at random points, taken to the other engine each time, and at its end is what it would have been.
//!
//! Two of it go side by side, one on Cranelift, one on Pulley. At each stop both are saved: the same bytes. Each is gone on with
//! on the engine of the other, saved again before it runs, and runs on from there. Beside them runs one that is never saved.
//! All three end alike, and like one that ran in a single turn: in what they printed, in the files and the status that
//! they leave, in their memories, globals, tables and world.

pub mod hand;
pub mod house;
pub mod subjects;

use std::time::Duration;

use serde::Serialize;
use softbus_task::{Step, StepContext};
use softbus_wasm::harness::{Subject, frames};
use softbus_wasm::{Printed, Start};

use house::House;

/// One look of a program, in operations of a step's budget.
const LOOK: u64 = 256;
/// Of the time of programs that wait, between two turns.
const PASSES: Duration = Duration::from_millis(30);
/// Of the turns by which the looks of a program are counted.
const COUNTED: u64 = 16;
/// One that looks so many times as often as it should has gone astray. (One that waits looks less often than is counted.)
const ENDLESS: u64 = 10;
/// Runs of one program from its begin.
const RUNS: u64 = 100;
/// At one in so many stops the program goes on where it is, as after a checkpoint.
const STAYS: u64 = 8;

/// A program, and what it is started with.
pub struct Case {
    pub name: &'static str,
    pub start: Start,
    /// It waits for time or for answers, so its clock goes on.
    pub waits: bool,
    /// It looks so often that without optimisation it takes minutes: it is left to the long form.
    pub long: bool,
}

/// What was done with one program, without a difference.
#[derive(Serialize)]
pub struct Report {
    pub program: &'static str,
    /// Runs from begin to end.
    pub runs: u64,
    /// Looks of one run, about.
    pub looks: u64,
    /// Stops after which it went on on the other engine, and those after which it stayed.
    pub moved: u64,
    pub stayed: u64,
    /// States that were compared with one of a program that had not been stopped before, on each engine.
    pub afresh: u64,
    /// States that were compared, all in all, and their bytes.
    pub compared: u64,
    pub compared_bytes: u64,
    /// Of the deepest stop.
    pub frame_bytes: usize,
}

/// A program on its way.
struct Lane<'h> {
    house: &'h House,
    case: &'h Case,
    /// Of the engine.
    on: usize,
    program: Subject,
    /// Standard output, standard error.
    printed: [Vec<u8>; 2],
}

/// How a program ended.
#[derive(PartialEq, Eq)]
struct End {
    /// Its status, its files, how much it printed.
    finish: Vec<u8>,
    printed: [Vec<u8>; 2],
    remains: Vec<u8>,
}

impl<'h> Lane<'h> {
    fn start(house: &'h House, case: &'h Case, on: usize) -> Result<Self, String> {
        let program = Subject::start(&house.engines[on], &case.start).map_err(|error| error.to_string())?;
        Ok(Self { house, case, on, program, printed: [Vec::new(), Vec::new()] })
    }

    /// Has it look so many times; its output, if it ended.
    fn turn(&mut self, looks: u64) -> Result<Option<Vec<u8>>, String> {
        let mut cx = StepContext::detached(looks.saturating_mul(LOOK));
        let step = self.program.program().step(&mut cx);
        for printed in cx.emitted() {
            let printed: Printed = postcard::from_bytes(printed).map_err(|error| error.to_string())?;
            let stream = &mut self.printed[usize::from(printed.to_stderr)];
            if printed.at != stream.len() as u64 {
                return Err("what it prints does not follow what it printed".into());
            }
            stream.extend(printed.bytes);
        }
        match step.map_err(|failure| failure.to_string())? {
            Step::Done(output) => Ok(Some(output)),
            Step::More | Step::Wait(_) => Ok(None),
        }
    }

    fn end(mut self, finish: Vec<u8>) -> Result<End, String> {
        let remains = self.program.remains().map_err(|failure| failure.to_string())?;
        Ok(End { finish, printed: self.printed, remains })
    }

    fn save(&mut self) -> Result<Vec<u8>, String> {
        let mut saved = Vec::new();
        self.program.program().save(&mut saved).map_err(|failure| failure.to_string())?;
        Ok(saved)
    }

    /// Goes on on the other engine with what was saved.
    fn cross(&mut self, saved: &[u8]) -> Result<(), String> {
        self.on = 1 - self.on;
        self.program = Subject::resume(&self.house.engines[self.on], &self.case.start, saved)
            .map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// Numbers that look drawn.
fn drawn(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

fn same(one: &[u8], other: &[u8], what: &str) -> Result<(), String> {
    if one == other {
        return Ok(());
    }
    let at = one.iter().zip(other).position(|(a, b)| a != b).unwrap_or(one.len().min(other.len()));
    Err(format!("{what}: {} and {} bytes, which differ at {at}", one.len(), other.len()))
}

fn alike(one: &End, other: &End, remains: bool, what: &str) -> Result<(), String> {
    same(&one.finish, &other.finish, &format!("{what}, status and files"))?;
    same(&one.printed[0], &other.printed[0], &format!("{what}, standard output"))?;
    same(&one.printed[1], &other.printed[1], &format!("{what}, standard error"))?;
    if remains { same(&one.remains, &other.remains, &format!("{what}, what is left of it")) } else { Ok(()) }
}

/// Undisturbed, in turns of so many looks; how it ended, and how often it looked, about.
fn undisturbed(house: &House, case: &Case, looks: u64) -> Result<(End, u64), String> {
    house.rewind();
    let mut lane = Lane::start(house, case, 0)?;
    let mut all = 0;
    loop {
        if let Some(finish) = lane.turn(looks)? {
            return Ok((lane.end(finish)?, all));
        }
        all += looks + 1;
        if case.waits {
            house.pass(PASSES);
        }
    }
}

/// One run, with turns of up to so many looks.
fn run(
    house: &House,
    case: &Case,
    once: &End,
    most: u64,
    seed: u64,
    report: &mut Report,
) -> Result<(), String> {
    house.rewind();
    let mut draw = drawn(seed);
    let mut lanes = [Lane::start(house, case, 0)?, Lane::start(house, case, 1)?];
    let mut still = Lane::start(house, case, (draw() % 2) as usize)?;
    // To come there afresh takes half a run, on each engine: about two of that.
    let afresh = report.looks / most + 1;
    let mut looks = 0;
    loop {
        let turn = 1 + draw() % most;
        let [one, other] = &mut lanes;
        let ended = (one.turn(turn)?, other.turn(turn)?, still.turn(turn)?);
        let (one_save, other_save) = match ended {
            (None, None, None) => (one.save()?, other.save()?),
            (Some(a), Some(b), Some(c)) => {
                let [one, other] = lanes;
                let (a, b, c) = (one.end(a)?, other.end(b)?, still.end(c)?);
                alike(&a, &c, true, "stopped and not stopped")?;
                alike(&b, &c, true, "stopped, from the other engine on, and not stopped")?;
                return alike(&c, once, !case.waits, "in many turns and in one");
            }
            _ => return Err("one of them ended sooner".into()),
        };
        looks += turn + 1;
        if looks > ENDLESS * report.looks + 10_000 {
            return Err("it does not end".into());
        }
        same(&one_save, &other_save, "saved on one engine and on the other")?;
        let mut compared = 1;
        report.frame_bytes = report.frame_bytes.max(frames(&one_save).map_err(|error| error.to_string())?);
        if draw().is_multiple_of(STAYS) {
            report.stayed += 1;
        } else {
            one.cross(&one_save)?;
            other.cross(&other_save)?;
            for lane in [one, other] {
                same(&lane.save()?, &one_save, "saved, and saved again before it ran")?;
                compared += 1;
            }
            report.moved += 1;
        }
        if !case.waits && draw().is_multiple_of(afresh) {
            for on in 0..2 {
                let mut lane = Lane::start(house, case, on)?;
                lane.turn(looks - 1)?;
                same(&lane.save()?, &one_save, "stopped for the first time, and stopped before")?;
                compared += 1;
            }
            report.afresh += 1;
        }
        report.compared += compared;
        report.compared_bytes += compared * one_save.len() as u64;
        if case.waits {
            house.pass(PASSES);
        }
    }
}

/// Stops a program at so many random points at least, in as many runs as that takes.
///
/// # Errors
/// The first difference, and where it is.
pub fn prove(house: &House, case: &Case, stops: u64, seed: u64) -> Result<Report, String> {
    let (once, _) = undisturbed(house, case, u64::MAX / LOOK)?;
    let (counted, looks) = undisturbed(house, case, COUNTED)?;
    alike(&counted, &once, !case.waits, "in turns and in one")?;
    let mut report = Report {
        program: case.name,
        runs: 0,
        looks,
        moved: 0,
        stayed: 0,
        afresh: 0,
        compared: 0,
        compared_bytes: 0,
        frame_bytes: 0,
    };
    // So that one run has somewhat more stops, in the mean, after which it moves; each turn is one look longer than is drawn.
    let most = (3 * looks * (STAYS - 1) / STAYS / 2 / stops.max(1)).saturating_sub(3).max(1);
    while report.moved < stops {
        if report.runs == RUNS {
            return Err(format!("it looks too seldom: {} stops in {RUNS} runs", report.moved));
        }
        let seed = seed + report.runs;
        run(house, case, &once, most, seed, &mut report).map_err(|error| {
            format!("run {}, after {} stops: {error}", report.runs, report.moved + report.stayed)
        })?;
        report.runs += 1;
    }
    Ok(report)
}
