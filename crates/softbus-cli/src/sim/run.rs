//! `softbus sim run`.

use std::path::Path;
use std::sync::Arc;

use softbus_sim::record::Record;
use softbus_sim::{Progress, RunOptions, reduced, report};

use super::{Ended, beside, load, words};
use crate::args::SimRunArgs;
use crate::failure::{Failure, Kind};
use crate::node::Signals;
use crate::output::{Bar, Draft, Out, clean, is_stdout, writable, write_file};

/// Runs a scenario once.
pub(super) async fn run(out: Out, mut signals: Signals, args: SimRunArgs) -> Result<(), Failure> {
    let taken = outputs(&out, &args)?;
    let mut scenario = load(&args.scenario, args.seed)?;
    if let Some(until) = args.until {
        scenario.duration = scenario.duration.min(until);
    }
    let draft = |file: &Option<_>| file.as_deref().map(Draft::new).transpose();
    let (trace, pcap) = (draft(&args.trace)?, draft(&args.pcap)?);

    let mut seen = out;
    seen.tty_err &= !args.quiet;
    let bar = Arc::new(Bar::slim(&seen, &clean(&scenario.name)));
    let progress = (!bar.is_hidden()).then(|| told(bar.clone()));
    let seed = args.seed;
    let ended = match args.reduced {
        true => {
            let knobs = reduced::Options::fit(&scenario);
            beside(&mut signals, move || Ok(reduced::run_with(&scenario, seed, knobs, progress))).await
        }
        false => {
            let options = RunOptions {
                seed,
                trace: trace.as_ref().map(Draft::writer),
                pcap: pcap.as_ref().map(Draft::writer),
                progress,
                ..RunOptions::default()
            };
            beside(&mut signals, move || softbus_sim::run(&scenario, options)).await
        }
    };
    bar.clear();
    let broke_off = |why: String| {
        Failure::failed(format!("{} with seed {} {why}", words::of_scenario(&args.scenario), args.seed))
    };
    let record = match ended? {
        Ended::Done(Ok(record)) => record,
        Ended::Done(Err(error)) => return Err(broke_off(format!("cannot be run to its end: {error}"))),
        Ended::Panicked => {
            return Err(broke_off("broke off: a fault of softbus, or of its simulator".into()).advise(
                format!(
                    "report it with what stands above and {}{}",
                    words::replay(&args.scenario, args.seed),
                    if args.reduced { " --reduced" } else { "" }
                ),
            ));
        }
        Ended::Stopped => return Err(Failure::new(Kind::Interrupted, "the simulation was stopped")),
    };
    for draft in [trace, pcap].into_iter().flatten() {
        draft.keep()?;
    }
    tell(&out, &args, &record, taken)?;
    let Some((found, invariants)) = words::violation(&record) else { return Ok(()) };
    Err(Failure::new(Kind::Violated, words::violated(&found, invariants))
        .advise(words::again(&args.scenario, args.seed)))
}

/// Looks whether everything that is asked for could be written, and tells whether standard output is taken by it.
fn outputs(out: &Out, args: &SimRunArgs) -> Result<bool, Failure> {
    let asked = [
        ("--report", &args.report),
        ("--record", &args.record),
        ("--trace", &args.trace),
        ("--pcap", &args.pcap),
    ];
    let asked = asked.iter().filter_map(|(option, file)| Some((*option, file.as_deref()?)));
    let mut before: Vec<(&str, &Path)> = if out.json { vec![("--json", Path::new("-"))] } else { Vec::new() };
    for (option, file) in asked {
        let same = |other: &Path| other == file || (is_stdout(other) && is_stdout(file));
        if let Some((other, _)) = before.iter().find(|(_, other)| same(other)) {
            let what = if is_stdout(file) { "standard output".into() } else { file.display().to_string() };
            return Err(Failure::usage(format!("{other} and {option} would both write to {what}"))
                .advise("give each a file of its own"));
        }
        // One that this scenario may be, or include.
        let there = std::fs::canonicalize(file);
        if there.is_ok_and(|there| there.extension().is_some_and(|end| end == "toml")) {
            return Err(Failure::usage(format!(
                "{option} would replace {}, which may be a scenario",
                file.display()
            ))
            .advise("name a file that does not end in .toml"));
        }
        writable(option, file)?;
        before.push((option, file));
    }
    Ok(before.iter().any(|(_, file)| is_stdout(file)))
}

/// Moves the bar.
#[allow(
    clippy::disallowed_methods,
    reason = "how fast it really is; on a simulation's thread tokio's time is the simulation's"
)]
fn told(bar: Arc<Bar>) -> Box<dyn FnMut(Progress) + Send> {
    let began = std::time::Instant::now();
    Box::new(move |now| {
        let permille = now.at.as_micros() * 1000 / now.of.as_micros().max(1);
        let permille = u16::try_from(permille).unwrap_or(1000);
        bar.set(permille, &words::progress(now, began.elapsed().as_secs_f64()));
    })
}

/// Writes what was asked for. Where standard output is taken, the summary goes to standard error.
fn tell(out: &Out, args: &SimRunArgs, record: &Record, taken: bool) -> Result<(), Failure> {
    if let Some(file) = &args.report {
        write_file(file, report::html(record).as_bytes())?;
    }
    if let Some(file) = &args.record {
        write_file(file, report::json(record).as_bytes())?;
    }
    if out.json {
        return out.raw(report::json(record).as_bytes());
    }
    if args.quiet {
        return Ok(());
    }
    let summary = report::text(record);
    if taken {
        out.note(summary.trim_end());
        return Ok(());
    }
    out.raw(summary.as_bytes())
}
