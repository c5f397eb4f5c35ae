//! The simulator's commands. A simulation has time and a network of its own: it needs no data folder and no node.

mod check;
mod run;
mod words;

use std::path::Path;

use softbus_sim::scenario::Scenario;
use tokio::sync::oneshot;

use crate::args::SimCommand;
use crate::failure::Failure;
use crate::node::Signals;
use crate::output::Out;

/// Does what is to be done with scenarios.
pub(crate) async fn sim(out: Out, command: SimCommand) -> Result<(), Failure> {
    // Before anything is written, so that nothing half written is left behind whenever it is stopped.
    let signals = Signals::new()?;
    match command {
        SimCommand::Run(args) => run::run(out, signals, args).await,
        SimCommand::Check(args) => check::check(out, signals, args).await,
    }
}

/// How work that somebody may stop ended.
enum Ended<T> {
    Done(T),
    /// It ended by a panic, which has been told.
    Panicked,
    /// It goes on, and ends with the program.
    Stopped,
}

/// Does long work on a thread of its own, as long as nobody stops the program.
async fn beside<T: Send + 'static>(
    signals: &mut Signals,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Ended<T>, Failure> {
    let (done, wait) = oneshot::channel();
    std::thread::Builder::new()
        .name("simulations".into())
        .spawn(move || drop(done.send(work())))
        .map_err(|e| Failure::io("no thread for the simulation", &e))?;
    Ok(tokio::select! {
        biased;
        () = signals.next() => Ended::Stopped,
        done = wait => done.map_or(Ended::Panicked, Ended::Done),
    })
}

/// Reads a scenario.
fn load(path: &Path, seed: u64) -> Result<Scenario, Failure> {
    // What is not there at all is told as of any other file; the scenario's own reader tells the rest.
    let meta = std::fs::metadata(path).map_err(|e| Failure::io(words::of_scenario(path), &e))?;
    if meta.is_dir() {
        return Err(Failure::usage(format!("{} is a folder, not a file", words::of_scenario(path))));
    }
    Scenario::load(path, seed).map_err(|e| Failure::usage(e.to_string()))
}
