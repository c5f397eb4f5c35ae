//! What a stop takes: unwinding a program and writing its state, and going on with that until it looks for the first time; by the
//! depth of its stack and the size of its memory, on both engines. Through the runtime that tasks have. And what it takes to
//! let programs in.

use std::hint::black_box;
use std::io;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde::Serialize;
use softbus_task::{Step, StepContext, TaskFailure};
use softbus_wasm::harness::{Subject, frames};
use softbus_wasm::limits::Limits;
use softbus_wasm::wasi::{Moment, Now};
use softbus_wasm::{EngineKind, Start, Turns, WasmRuntime, inspect};

#[derive(Parser)]
struct Args {
    /// Rounds; a quarter of them where the memory is large
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Depths of the stack, in frames of the program
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 100_000])]
    depths: Vec<u32>,
    /// Sizes of its memory, in MiB
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1024])]
    mib: Vec<usize>,
    /// The numbers as JSON
    #[arg(long)]
    json: bool,
}

/// One look of a program, in operations of a step's budget.
const LOOK: u64 = 256;
/// A memory of so many MiB is large.
const LARGE: usize = 256;

/// It never changes, and nothing here waits for it.
struct Still;

impl Now for Still {
    fn now(&self) -> Moment {
        Moment { monotonic: 0, wall: 0 }
    }
}

/// Medians, in milliseconds.
#[derive(Serialize)]
struct Stop {
    engine: &'static str,
    depth: u32,
    memory_mib: usize,
    frame_bytes: usize,
    state_bytes: usize,
    /// Until it is unwound, and all but its memories is told.
    unwind_ms: f64,
    /// Until its whole state is written; with the above.
    capture_ms: f64,
    /// From the state to a program that stands where it stood.
    resume_ms: f64,
    /// From there until it is in its innermost frame again, and looks.
    rewind_ms: f64,
}

/// What it takes to let a program in.
#[derive(Serialize)]
struct Entry {
    program: String,
    bytes: u64,
    rewritten_bytes: u64,
    sites: usize,
    /// Until it is checked and rewritten.
    inspect_ms: f64,
    /// Until it could run its first instruction: checked, rewritten and compiled.
    cranelift_ms: f64,
    pulley_ms: f64,
}

const ENGINES: [(&str, EngineKind); 2] =
    [("cranelift", EngineKind::Cranelift), ("pulley", EngineKind::Pulley)];

fn runtime(kind: EngineKind) -> Result<WasmRuntime> {
    Ok(WasmRuntime::new(kind, std::sync::Arc::new(Still), Turns::Counted)?)
}

fn said(failure: TaskFailure) -> anyhow::Error {
    anyhow::anyhow!("{failure}")
}

fn ms(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// Fills its memory, calls itself so many times with two values to keep in each frame, and stays there in a loop.
fn program(depth: u32, mib: usize) -> Result<Vec<u8>> {
    let pages = mib << 4;
    Ok(wat::parse_str(format!(
        r#"(module (memory (export "memory") {pages})
          (func $down (param $n i32) (param $x i64) (result i64)
            (if (i32.eqz (local.get $n)) (then
              (loop $stay (local.set $x (i64.add (local.get $x) (i64.const 1))) (br $stay))))
            (i64.add (i64.extend_i32_u (local.get $n)) (i64.xor (local.get $x)
              (call $down (i32.sub (local.get $n) (i32.const 1)) (i64.mul (local.get $x) (i64.const 5))))))
          (func (export "_start")
            (memory.fill (i32.const 0) (i32.const 7) (i32.const {filled}))
            (drop (call $down (i32.const {calls}) (i64.const 3)))))"#,
        filled = mib << 20,
        calls = depth.saturating_sub(2),
    ))?)
}

/// Has it run until it has looked so many times.
fn turn(program: &mut Subject, looks: u64) -> Result<()> {
    let step = program.program().step(&mut StepContext::detached(looks * LOOK)).map_err(said)?;
    ensure!(matches!(step, Step::More), "it ended");
    Ok(())
}

fn stops(engine: (&'static str, EngineKind), depth: u32, mib: usize, rounds: usize) -> Result<Stop> {
    let runtime = runtime(engine.1)?;
    let memory_bytes = ((mib as u64) << 20) + (16 << 20);
    let start = Start {
        module: program(depth, mib)?,
        limits: Limits { memory_bytes, ..Limits::default() },
        ..Start::default()
    };
    let mut subject = Subject::start(&runtime, &start)?;
    turn(&mut subject, u64::from(depth) + 100)?;
    let (mut unwind, mut capture, mut resume, mut rewind) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut state = Vec::new();
    // The first is for warming up, and for what goes on with the frames, which is compiled once.
    for round in 0..=rounds {
        let began = Instant::now();
        subject.program().save(&mut io::sink()).map_err(said)?;
        let took_unwind = ms(began);
        turn(&mut subject, 1)?;

        state.clear();
        let began = Instant::now();
        subject.program().save(&mut state).map_err(said)?;
        let took_capture = ms(began);
        drop(subject);

        let began = Instant::now();
        subject = Subject::resume(&runtime, &start, black_box(&state))?;
        let took_resume = ms(began);
        let began = Instant::now();
        turn(&mut subject, 1)?;
        let took_rewind = ms(began);
        if round > 0 {
            unwind.push(took_unwind);
            capture.push(took_capture);
            resume.push(took_resume);
            rewind.push(took_rewind);
        }
    }
    Ok(Stop {
        engine: engine.0,
        depth,
        memory_mib: mib,
        frame_bytes: frames(&state)?,
        state_bytes: state.len(),
        unwind_ms: median(unwind),
        capture_ms: median(capture),
        resume_ms: median(resume),
        rewind_ms: median(rewind),
    })
}

/// The programs that are measured, and the guests: none is run.
fn entries(rounds: usize) -> Result<Vec<Entry>> {
    let own = env!("CARGO_MANIFEST_DIR");
    let mut paths = Vec::new();
    for folder in [format!("{own}/small"), format!("{own}/../../examples/guests/built")] {
        for entry in std::fs::read_dir(&folder).context(folder)? {
            paths.push(entry?.path());
        }
    }
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "wasm"));
    paths.sort();
    let mut entries = Vec::new();
    for path in paths {
        let module = std::fs::read(&path)?;
        let start = Start { module: module.clone(), ..Start::default() };
        let mut took = [const { Vec::new() }; 3];
        let mut admission = inspect(&module)?;
        for _ in 0..rounds {
            let began = Instant::now();
            admission = inspect(&module)?;
            took[0].push(ms(began));
            for (took, (_, kind)) in took[1..].iter_mut().zip(ENGINES) {
                // A new one each time: it keeps what it compiled.
                let runtime = runtime(kind)?;
                let began = Instant::now();
                black_box(Subject::start(&runtime, &start)?);
                took.push(ms(began));
            }
        }
        let [inspect_ms, cranelift_ms, pulley_ms] = took.map(median);
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (bytes, rewritten_bytes) = (admission.module_bytes, admission.rewritten_bytes);
        let sites = admission.sites;
        entries.push(Entry {
            program: name,
            bytes,
            rewritten_bytes,
            sites,
            inspect_ms,
            cranelift_ms,
            pulley_ms,
        });
    }
    Ok(entries)
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(
        args.rounds > 0 && args.depths.iter().all(|depth| *depth >= 2),
        "a round at least, and two frames"
    );
    let mut all = Vec::new();
    if !args.json {
        println!(
            "{:10} {:>8} {:>6} {:>10} {:>10} {:>11} {:>10} {:>10}",
            "", "frames", "MiB", "frames, B", "unwind, ms", "capture, ms", "resume, ms", "rewind, ms"
        );
    }
    for engine in ENGINES {
        for &depth in &args.depths {
            for &mib in &args.mib {
                let rounds = if mib >= LARGE { args.rounds.div_ceil(4) } else { args.rounds };
                let stop = stops(engine, depth, mib, rounds)
                    .with_context(|| format!("{}, {depth} frames, {mib} MiB", engine.0))?;
                if !args.json {
                    println!(
                        "{:10} {:>8} {:>6} {:>10} {:>10.3} {:>11.3} {:>10.3} {:>10.3}",
                        stop.engine,
                        stop.depth,
                        stop.memory_mib,
                        stop.frame_bytes,
                        stop.unwind_ms,
                        stop.capture_ms,
                        stop.resume_ms,
                        stop.rewind_ms
                    );
                }
                all.push(stop);
            }
        }
    }
    let entries = entries(args.rounds)?;
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&serde_json::json!({ "stops": all, "entries": entries }))?
        );
        return Ok(());
    }
    println!();
    println!(
        "{:18} {:>8} {:>10} {:>6} {:>12} {:>14} {:>11}",
        "", "bytes", "rewritten", "sites", "inspect, ms", "cranelift, ms", "pulley, ms"
    );
    for entry in &entries {
        println!(
            "{:18} {:>8} {:>10} {:>6} {:>12.2} {:>14.1} {:>11.1}",
            entry.program,
            entry.bytes,
            entry.rewritten_bytes,
            entry.sites,
            entry.inspect_ms,
            entry.cranelift_ms,
            entry.pulley_ms
        );
    }
    Ok(())
}
