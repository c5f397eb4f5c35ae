//! Ways to find out which pages of a program's memory changed since its last checkpoint, side by side: comparing with a copy, hashing each
//! page, the kernel's own account ([`softbus_pages`]), and a barrier that notes each store. What each costs while the program stands
//! still, and what it costs the program as it runs.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use serde::Serialize;
use softbus_pages::{PAGE, Watch};
use wasmtime::{Engine, Instance, Module, Store};

#[derive(Parser)]
struct Args {
    /// Size of the memory, in MiB
    #[arg(long, default_value_t = 64)]
    mib: usize,
    /// How much of it changes between two looks, in KiB
    #[arg(long, default_value_t = 1024)]
    hot_kib: usize,
    /// Rounds
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// The numbers as JSON
    #[arg(long)]
    json: bool,
}

/// All in milliseconds, medians.
#[derive(Serialize, Default)]
struct Line {
    way: &'static str,
    /// Where the pages that change lie.
    hot: &'static str,
    /// The look, while the program stands still.
    look_ms: f64,
    /// What writing a word to each hot page takes, and what it takes if nobody looks.
    writes_ms: f64,
    plain_writes_ms: f64,
}

#[derive(Serialize)]
struct Report {
    memory_bytes: usize,
    hot_bytes: usize,
    lines: Vec<Line>,
    /// A loop of stores, one after the other, with a mark in a table of pages at each: how many times as long it takes.
    barrier: f64,
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn ms(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

fn noise(bytes: &mut [u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for word in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
}

/// Changes a word in each of the hot pages.
fn write(memory: &mut [u8], hot: usize, stride: usize, round: usize) -> f64 {
    let began = Instant::now();
    for page in 0..hot {
        let at = page * stride * PAGE + (round * 64) % PAGE;
        memory[at] = memory[at].wrapping_add(1);
    }
    ms(began)
}

fn barrier(rounds: usize) -> wasmtime::Result<f64> {
    let body = |mark: &str| {
        format!(
            r#"(module (memory 1024) (memory $marks 1)
              (func (export "run") (local $at i32) (local $n i32)
                (loop $again
                  (local.set $at (i32.const 0))
                  (loop $l
                    (i64.store (local.get $at) (i64.extend_i32_u (local.get $n)))
                    {mark}
                    (br_if $l (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 0x100000))))
                  (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 100))))))"#
        )
    };
    let mark = "(i32.store8 $marks (i32.shr_u (local.get $at) (i32.const 12)) (i32.const 1))";
    let mut config = wasmtime::Config::new();
    config.wasm_multi_memory(true);
    let engine = Engine::new(&config)?;
    let mut run = Vec::new();
    for text in [body(""), body(mark)] {
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &Module::new(&engine, wat::parse_str(text)?)?, &[])?;
        let function = instance.get_typed_func::<(), ()>(&mut store, "run")?;
        run.push((store, function));
    }
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let mut took = Vec::new();
        for (store, function) in &mut run {
            let began = Instant::now();
            function.call(store, ())?;
            took.push(ms(began));
        }
        ratios.push(took[1] / took[0]);
    }
    Ok(median(ratios))
}

fn main() -> Result<()> {
    let args = Args::parse();
    let (len, hot) = (args.mib << 20, (args.hot_kib << 10) / PAGE);
    ensure!(hot > 0 && hot <= len / PAGE, "more is to change than there is");
    let mut memory = vec![0u8; len];
    noise(&mut memory);
    let mut lines = Vec::new();
    for (name, stride) in [("in one piece", 1), ("scattered", len / PAGE / hot)] {
        let mut plain = Vec::new();
        for round in 0..args.rounds {
            plain.push(write(&mut memory, hot, stride, round));
        }
        let plain = median(plain);
        let mut line = |way, look: Vec<f64>, writes: Vec<f64>| {
            let (look_ms, writes_ms) = (median(look), median(writes));
            lines.push(Line { way, hot: name, look_ms, writes_ms, plain_writes_ms: plain });
        };

        let mut copy = memory.clone();
        let (mut look, mut writes) = (Vec::new(), Vec::new());
        for round in 0..args.rounds {
            writes.push(write(&mut memory, hot, stride, round));
            let began = Instant::now();
            let mut changed = 0;
            for (old, new) in copy.chunks_mut(PAGE).zip(memory.chunks(PAGE)) {
                if old != new {
                    old.copy_from_slice(new);
                    changed += 1;
                }
            }
            look.push(ms(began));
            ensure!(changed == hot, "{changed} pages of {hot}");
        }
        line("compared with a copy", look, writes);
        drop(copy);

        let mut hashes: Vec<blake3::Hash> = memory.chunks(PAGE).map(blake3::hash).collect();
        let (mut look, mut writes) = (Vec::new(), Vec::new());
        for round in 0..args.rounds {
            writes.push(write(&mut memory, hot, stride, round));
            let began = Instant::now();
            let mut changed = 0;
            for (old, page) in hashes.iter_mut().zip(memory.chunks(PAGE)) {
                let new = blake3::hash(page);
                changed += usize::from(*old != new);
                *old = new;
            }
            look.push(ms(began));
            ensure!(changed == hot, "{changed} pages of {hot}");
        }
        line("BLAKE3 of each page", look, writes);

        match Watch::new() {
            Ok(mut watch) => {
                let mut changed = Vec::new();
                watch.changed(&memory, &mut changed)?;
                let (mut look, mut writes) = (Vec::new(), Vec::new());
                for round in 0..args.rounds {
                    writes.push(write(&mut memory, hot, stride, round));
                    let began = Instant::now();
                    watch.changed(&memory, &mut changed)?;
                    look.push(ms(began));
                    let pages: usize = changed.iter().map(|part| part.len().div_ceil(PAGE)).sum();
                    ensure!(pages >= hot && pages <= hot + 2, "{pages} pages of {hot}");
                }
                line("the kernel's account", look, writes);
            }
            Err(error) => eprintln!("the kernel keeps no account: {error}"),
        }
    }
    black_box(&memory);
    let report = Report {
        memory_bytes: len,
        hot_bytes: hot * PAGE,
        lines,
        barrier: barrier(args.rounds).map_err(|error| anyhow::anyhow!("{error:#}"))?,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!("{} MiB, of which {} KiB change", args.mib, args.hot_kib);
    println!("{:<22} {:<14} {:>10} {:>10} {:>14}", "", "changes", "look, ms", "writes, ms", "unwatched, ms");
    for line in &report.lines {
        println!(
            "{:<22} {:<14} {:>10.3} {:>10.3} {:>14.3}",
            line.way, line.hot, line.look_ms, line.writes_ms, line.plain_writes_ms
        );
    }
    println!("a barrier at each store: a loop of stores takes {:.2} times as long", report.barrier);
    Ok(())
}
