//! What each command does, apart from running a node, the doctor, the demo and simulations.

mod checkpoint;
mod circle;
mod config;
pub(crate) mod devices;
pub(crate) mod key;
mod pair;
mod place;
mod program;
mod prompt;
mod run;
mod status;
mod tasks;
pub(crate) mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command};
use crate::control::{Client, Request, Response};
use crate::failure::{Failure, Kind};
use crate::output::Out;

/// What every command gets.
pub(crate) struct Context {
    /// Where output goes.
    pub out: Out,
    /// The node's data folder.
    pub data_dir: PathBuf,
    /// The log filter asked for on the command line.
    pub log: Option<String>,
}

impl Context {
    /// The node of the data folder.
    pub fn client(&self) -> Client {
        Client::new(&self.data_dir)
    }

    /// Sends a request that is answered by [`Response::Done`], and says so.
    pub async fn order(&self, request: Request, done: &str) -> Result<(), Failure> {
        let answer = tokio::select! {
            biased;
            // Whoever was asked something before has no Ctrl-C of their own any more.
            _ = tokio::signal::ctrl_c() => return Err(prompt::interrupted()),
            answer = async { self.client().call(request).await } => answer,
        };
        match answer? {
            Response::Done => self.say(&serde_json::json!({ "done": true }), done),
            other => Err(unexpected(&other)),
        }
    }

    /// Tells a result: as JSON, or in words.
    pub fn say(&self, data: &impl serde::Serialize, words: &str) -> Result<(), Failure> {
        if self.out.json { self.out.json(data) } else { self.out.line(words) }
    }
}

/// The node's answer was not one of this request.
pub(crate) fn unexpected(response: &Response) -> Failure {
    let name = serde_json::to_value(response).ok().and_then(|value| match value {
        serde_json::Value::String(name) => Some(name),
        serde_json::Value::Object(map) => map.keys().next().cloned(),
        _ => None,
    });
    Failure::failed(format!("the node gave an answer of another kind ({})", name.unwrap_or_default()))
        .advise("the node and this command are of different softbus versions: restart the node")
}

/// The program: reads the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    // By hand, since for clap a data folder in the environment is an argument already.
    if std::env::args_os().len() <= 1 {
        Out::new(false).note(Cli::command().render_long_help().to_string());
        return ExitCode::from(Kind::Usage.exit_code());
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap prints each where it belongs.
            let code = if error.use_stderr() { Kind::Usage.exit_code() } else { 0 };
            if error.use_stderr() && std::env::args_os().any(|arg| arg == "--json") {
                Out::new(true).failure(&usage(&error.to_string()));
            } else {
                let _ = error.print();
            }
            return ExitCode::from(code);
        }
    };
    let out = Out::new(cli.global.json);
    match run(cli, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// What clap says of a wrong command line, as a failure: what is wrong, and how it should be.
fn usage(text: &str) -> Failure {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    // After what is wrong come the usage and where to read more.
    let (wrong, rest) = text.split_once("\n\nUsage:").unwrap_or((text, ""));
    let wrong = wrong.split("\n\nFor more information").next().unwrap_or_default();
    let (wrong, tips) = wrong.split_once("\n\n  tip:").unwrap_or((wrong, ""));
    let usage = rest.split("\n\nFor more information").next().unwrap_or_default();
    let mut advice = Vec::new();
    if !tips.is_empty() {
        advice.push(words(tips).replace("tip:", "·"));
    }
    if !usage.is_empty() {
        advice.push(format!("usage: {}", words(usage)));
    }
    advice.push("softbus --help".into());
    Failure::usage(words(wrong.trim_start_matches("error: "))).advise(advice.join("; "))
}

fn run(cli: Cli, out: Out) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    if let Some(level) = &global.log {
        crate::output::log_filter(level).map_err(|e| Failure::usage(format!("--log: {e}")))?;
    }
    // None of these needs a data folder, so none fails for want of one.
    match command {
        Command::Completions { shell } => return completions(out, shell),
        Command::Config(args) if !args.systemd && !args.sleep_hook => return config::config(out, args),
        Command::Sim { command } => {
            crate::node::start_log(global.log.as_deref().unwrap_or("error"))?;
            return on(tokio::runtime::Builder::new_current_thread(), crate::sim::sim(out, command));
        }
        _ => {}
    }
    let data_dir = crate::paths::data_dir(global.data_dir.as_deref())?;
    let context = Context { out, data_dir, log: global.log };
    if !matches!(command, Command::Up(_)) {
        // A node has its own default; a command speaks of what is wrong only if it matters to its answer.
        crate::node::start_log(context.log.as_deref().unwrap_or("error"))?;
    }
    let threads = match command {
        Command::Up(_) | Command::Demo(_) => None,
        _ => Some(()),
    };
    let builder = match threads {
        None => tokio::runtime::Builder::new_multi_thread(),
        Some(()) => tokio::runtime::Builder::new_current_thread(),
    };
    on(builder, dispatch(context, command))
}

/// Does it on a runtime of its own.
fn on(
    mut builder: tokio::runtime::Builder,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let runtime =
        builder.enable_all().build().map_err(|e| Failure::io("cannot start the asynchronous runtime", &e))?;
    let result = runtime.block_on(work);
    // A prompt that waits for the keyboard in a thread must not hold the program back.
    runtime.shutdown_background();
    result
}

async fn dispatch(cx: Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(args) => crate::node::up(cx, args).await,
        Command::Down(args) => status::down(cx, args).await,
        Command::Status => status::status(cx).await,
        Command::Devices(args) => devices::devices(cx, args).await,
        Command::Circle { command } => circle::circle(cx, command).await,
        Command::Pair(args) => pair::pair(cx, args).await,
        Command::Unpair { device, circle } => circle::unpair(cx, device, circle).await,
        Command::Key { command } => key::key(cx, command).await,
        Command::Run(args) => run::run(cx, *args).await,
        Command::Tasks(args) => tasks::tasks(cx, args).await,
        Command::Move(args) => tasks::move_task(cx, args).await,
        Command::Pause { task } => tasks::rest(cx, task, true).await,
        Command::Resume { task } => tasks::rest(cx, task, false).await,
        Command::Checkpoint { command } => checkpoint::checkpoint(cx, command).await,
        Command::Adopt(args) => tasks::adopt(cx, args).await,
        Command::Release { task } => tasks::release(cx, task).await,
        Command::Cancel { task } => tasks::cancel(cx, task).await,
        Command::Result(args) => tasks::result(cx, args).await,
        Command::Place(args) => place::place(cx, args).await,
        Command::Doctor(args) => crate::doctor::doctor(cx, args).await,
        Command::Config(args) if args.sleep_hook => config::sleep_hook(cx),
        Command::Config(args) => config::systemd(cx, args),
        Command::Completions { .. } | Command::Sim { .. } => Ok(()), // answered before a runtime was needed
        Command::Demo(args) => crate::demo::run(args, &cx.out).await,
        Command::Sleep(args) => {
            let seconds = args.lasts.as_secs().max(1);
            cx.order(Request::Sleep { seconds }, "the others know that this device sleeps").await
        }
        Command::Wake => cx.order(Request::Wake {}, "awake").await,
        Command::InjectLoad(args) => status::inject(cx, args).await,
    }
}

fn completions(out: Out, shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(&Cli::command()), "softbus", &mut script);
    if out.json {
        return out.json(&serde_json::json!({ "script": String::from_utf8_lossy(&script) }));
    }
    out.raw(&script)
}

/// A command as people are told of it: what its help does not show is completed by no shell either.
fn shown(command: &clap::Command) -> clap::Command {
    let about = command.get_about().cloned().unwrap_or_default();
    let aliases = command.get_visible_aliases().map(str::to_string);
    let mut bare = clap::Command::new(command.get_name().to_string());
    if let Some(version) = command.get_version() {
        bare = bare.version(version.to_string());
    }
    bare.about(about)
        .visible_aliases(aliases)
        .propagate_version(command.is_propagate_version_set())
        .disable_help_subcommand(command.is_disable_help_subcommand_set())
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|inner| !inner.is_hide_set()).map(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_errors_are_told_whole() {
        let told = |args: &[&str]| {
            let all = std::iter::once("softbus").chain(args.iter().copied());
            let failure = usage(&Cli::try_parse_from(all).unwrap_err().to_string());
            (failure.message, failure.advice.unwrap())
        };
        let (missing, how) = told(&["circle", "set-role"]);
        assert!(missing.contains("<DEVICE>") && missing.contains("<ROLE>"), "{missing}");
        assert!(how.contains("usage: softbus circle set-role"), "{how}");
        let (wrong, how) = told(&["devicse"]);
        assert!(wrong.contains("devicse") && how.contains("devices"), "{wrong} | {how}");
        let (wrong, _) = told(&["run", "x", "--policy", "mine"]);
        assert!(wrong.contains("[possible values: owner, quorum]"), "{wrong}");
    }
}
