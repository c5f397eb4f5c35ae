//! What being stoppable costs a program that is not stopped: plain, rewritten by the pass, and by Binaryen's Asyncify, each
//! in turn. NaN canonicalisation is on in all of them. And how much machine code each of them is.

mod code;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use serde::Serialize;
use softbus_wasm::pass::{AskMemory, rewrite};
use wasmtime::{Config, Engine, Linker, MemoryType, Module, SharedMemory, Store};

#[derive(Parser)]
struct Args {
    /// Rounds; each runs each program once in each way.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Only programs whose names contain this.
    #[arg(long, default_value = "")]
    only: String,
    /// The numbers as JSON.
    #[arg(long)]
    json: bool,
    /// Where the built programs are.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/built"))]
    programs: PathBuf,
}

#[derive(Serialize)]
struct Line {
    program: String,
    /// Median of the plain program, in milliseconds.
    plain_ms: f64,
    /// Medians of the ratios within each round, to the plain program.
    rewritten: f64,
    asyncify: f64,
    code: Code,
}

/// Machine code of all functions, in bytes.
#[derive(Serialize)]
struct Code {
    plain: usize,
    /// All of it, and without what only saves frames.
    rewritten: usize,
    rewritten_hot: usize,
    /// Of this one it cannot be told which part is for stops only.
    asyncify: usize,
}

impl Code {
    /// How many times as much as the plain program's.
    fn times(&self, bytes: usize) -> f64 {
        bytes as f64 / self.plain as f64
    }
}

fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.wasm_exceptions(true).wasm_tail_call(true).wasm_multi_memory(true);
    config.wasm_function_references(true).wasm_branch_hinting(true);
    config.wasm_threads(true).shared_memory(true);
    config.cranelift_nan_canonicalization(true);
    config.max_wasm_stack(4 << 20).async_stack_size(8 << 20);
    Engine::new(&config)
}

fn run(engine: &Engine, module: &Module) -> wasmtime::Result<(u32, f64)> {
    let mut store = Store::new(engine, ());
    let mut linker = Linker::new(engine);
    linker.func_wrap("softbus:", "poll", |_: i32| 0i32)?;
    linker.func_wrap("host", "poll", || ())?;
    linker.define(&store, "softbus:", "ask", SharedMemory::new(engine, MemoryType::shared(1, 1))?)?;
    let instance = linker.instantiate(&mut store, module)?;
    let run = instance.get_typed_func::<(), u32>(&mut store, "run")?;
    let began = Instant::now();
    let result = run.call(&mut store, ())?;
    Ok((result, began.elapsed().as_secs_f64() * 1e3))
}

fn said(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:?}")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<()> {
    let args = Args::parse();
    let engine = engine().map_err(said)?;
    let mut names: Vec<String> = std::fs::read_dir(&args.programs)
        .with_context(|| format!("no programs in {}: run build.sh", args.programs.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".wasm").map(str::to_owned))
        .filter(|name| !name.contains('.') && name.contains(&args.only))
        .collect();
    names.sort();
    ensure!(!names.is_empty(), "no programs in {}: run build.sh", args.programs.display());
    let mut lines = Vec::new();
    for name in names {
        let read = |what: &str| std::fs::read(args.programs.join(format!("{name}{what}.wasm")));
        let (plain, asyncify) = (read("")?, read(".asyncify")?);
        let rewritten = rewrite(plain.clone().into(), &|_, _| false, AskMemory::Shared)?.module;
        let sources = [plain, rewritten, asyncify];
        let modules: Vec<Module> = sources
            .iter()
            .map(|bytes| Module::new(&engine, bytes))
            .collect::<wasmtime::Result<_>>()
            .map_err(said)?;
        let mut times = [const { Vec::new() }; 3];
        for round in 0..=args.rounds {
            let mut results = Vec::new();
            for (times, module) in times.iter_mut().zip(&modules) {
                let (result, ms) = run(&engine, module).map_err(said)?;
                results.push(result);
                // The first is for warming up.
                if round > 0 {
                    times.push(ms);
                }
            }
            ensure!(results.iter().all(|result| *result == results[0]), "{name}: other results: {results:?}");
        }
        let ratio = |way: usize| median(times[way].iter().zip(&times[0]).map(|(a, b)| a / b).collect());
        let [plain, rewritten, asyncify] = [0, 1, 2].map(|way| code::size(&modules[way], &sources[way]));
        let rewritten = rewritten?;
        let code = Code {
            plain: plain?.all,
            rewritten: rewritten.all,
            rewritten_hot: rewritten.hot,
            asyncify: asyncify?.all,
        };
        let line = Line {
            plain_ms: median(times[0].clone()),
            rewritten: ratio(1),
            asyncify: ratio(2),
            code,
            program: name,
        };
        if !args.json {
            if lines.is_empty() {
                println!(
                    "{:18} {:>9} {:>9} {:>9}  {:>7} {:>9} {:>6} {:>9}",
                    "", "plain", "rewritten", "asyncify", "code, B", "rewritten", "hot", "asyncify"
                );
            }
            let (code, times) = (&line.code, |bytes| line.code.times(bytes));
            println!(
                "{:18} {:>6.1} ms {:>9.3} {:>9.3}  {:>7} {:>9.2} {:>6.2} {:>9.2}",
                line.program,
                line.plain_ms,
                line.rewritten,
                line.asyncify,
                code.plain,
                times(code.rewritten),
                times(code.rewritten_hot),
                times(code.asyncify)
            );
        }
        lines.push(line);
    }
    let mean = |pick: &dyn Fn(&Line) -> f64| {
        (lines.iter().map(|line| pick(line).ln()).sum::<f64>() / lines.len() as f64).exp()
    };
    let means = [
        mean(&|line| line.rewritten),
        mean(&|line| line.asyncify),
        mean(&|line| line.code.times(line.code.rewritten)),
        mean(&|line| line.code.times(line.code.rewritten_hot)),
        mean(&|line| line.code.times(line.code.asyncify)),
    ];
    if args.json {
        let all = serde_json::json!({ "programs": lines, "geometric_means": {
            "rewritten": means[0], "asyncify": means[1],
            "rewritten_code": means[2], "rewritten_hot_code": means[3], "asyncify_code": means[4],
        }});
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        println!(
            "{:18} {:>9} {:>9.3} {:>9.3}  {:>7} {:>9.2} {:>6.2} {:>9.2}",
            "geometric mean", "", means[0], means[1], "", means[2], means[3], means[4]
        );
    }
    Ok(())
}
