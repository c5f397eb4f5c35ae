//! Programs are stopped at random points and taken to the other engine each time: the long form of the proof that is
//! `crates/softbus-wasm/tests/stops.rs`.

#[path = "../../../crates/softbus-wasm/tests/proof/mod.rs"]
mod proof;

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use proof::house::House;
use proof::{prove, subjects};
use serde_json::json;

#[derive(Parser)]
struct Args {
    /// Stops of each program, after each of which it goes on on the other engine: at least so many.
    #[arg(long, default_value_t = 1000)]
    stops: u64,
    /// Where the points are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only programs whose names contain this.
    #[arg(long, default_value = "")]
    only: String,
    /// Without the program that looks most often, as the test does it.
    #[arg(long)]
    short: bool,
    /// The numbers as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let house = House::new()?;
    let (mut reports, mut differences) = (Vec::new(), Vec::new());
    if !args.json {
        println!(
            "{:18} {:>6} {:>5} {:>9} {:>7} {:>7} {:>9} {:>9} {:>7}",
            "", "moved", "runs", "looks", "stayed", "afresh", "compared", "frames, B", "s"
        );
    }
    let mut cases = subjects::guests();
    cases.extend(subjects::measured());
    cases.retain(|case| case.name.contains(&args.only) && !(args.short && case.long));
    for case in &cases {
        let began = Instant::now();
        match prove(&house, case, args.stops, args.seed) {
            Ok(report) => {
                let seconds = began.elapsed().as_secs_f64();
                if !args.json {
                    println!(
                        "{:18} {:>6} {:>5} {:>9} {:>7} {:>7} {:>9} {:>9} {:>7.1}",
                        report.program,
                        report.moved,
                        report.runs,
                        report.looks,
                        report.stayed,
                        report.afresh,
                        report.compared,
                        report.frame_bytes,
                        seconds
                    );
                }
                reports.push((report, seconds));
            }
            Err(error) => {
                if !args.json {
                    println!("{:18} DIFFERS: {error}", case.name);
                }
                differences.push(json!({ "program": case.name, "difference": error }));
            }
        }
    }
    let moved: u64 = reports.iter().map(|(report, _)| report.moved).sum();
    let compared: u64 = reports.iter().map(|(report, _)| report.compared).sum();
    let bytes: u64 = reports.iter().map(|(report, _)| report.compared_bytes).sum();
    let seconds: f64 = reports.iter().map(|(_, seconds)| seconds).sum();
    if args.json {
        let programs =
            reports.iter().map(|(report, seconds)| json!({ "report": report, "seconds": seconds }));
        let all = json!({
            "seed": args.seed,
            "programs": programs.collect::<Vec<_>>(),
            "moved": moved,
            "states_compared": compared,
            "bytes_compared": bytes,
            "seconds": seconds,
            "differences": differences,
        });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        println!(
            "{} programs, {moved} moves, {compared} states of {:.1} GiB compared, {} differences, {seconds:.0} s",
            reports.len() + differences.len(),
            bytes as f64 / f64::from(1 << 30),
            differences.len()
        );
    }
    ensure!(!reports.is_empty(), "no program is named so");
    ensure!(differences.is_empty(), "there are differences");
    Ok(())
}
