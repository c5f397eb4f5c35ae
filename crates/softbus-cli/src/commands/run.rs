//! `softbus run`.

use std::collections::BTreeMap;
use std::path::Path;

use softbus_core::limits;
use softbus_core::wire::task_control::{PolicyKind, TaskState};

use super::tasks::{explain_end, move_line, write_result};
use super::{Context, unexpected};
use crate::args::{PolicyName, RunArgs, WorkArgs};
use crate::control::{Event, Request, Response, Step, SubmittedView, TaskRequest, TaskView, WorkRequest};
use crate::failure::{Failure, Kind};
use crate::output::{Bar, Paint, clean, clean_lines, writable};

/// Submits a task and, if asked, waits for it.
pub(super) async fn run(cx: Context, args: RunArgs) -> Result<(), Failure> {
    if let Some(program) = super::program::named(&args.task_type)? {
        return super::program::run(cx, program, args).await;
    }
    if let Some(option) = args.program.given() {
        let wrong = format!("{option} is for programs, and {} is a task type", clean(&args.task_type));
        return Err(Failure::usage(wrong).advise("a program is a file: softbus run PROGRAM.wasm"));
    }
    if let Some(out) = &args.out {
        writable("--out", out)?;
    }
    let named = args.work.input.as_deref().and_then(name_of);
    let (wait, out) = (args.wait || args.out.is_some(), args.out.clone());
    let (request, input) = task_request(args, named)?;
    let bar = sending(&cx, &input);
    let answer = cx.client().call_with(Request::Run(request), &input).await;
    drop(bar);
    let reply = answer?;
    let submitted = match reply.response {
        Response::Submitted(submitted) => submitted,
        other => return Err(unexpected(&other)),
    };
    if !wait {
        return tell(&cx, &submitted);
    }
    note(&cx, &submitted);
    finish(&cx, &submitted.task, out.as_deref()).await
}

/// Waits for a task and gives its result.
pub(super) async fn finish(cx: &Context, task: &TaskView, out: Option<&Path>) -> Result<(), Failure> {
    let task = wait_for(cx, task).await?;
    if task.state != TaskState::Done {
        return Err(explain_end(&task));
    }
    match out {
        Some(out) => write_result(cx, &task.id.to_string(), out).await,
        None if cx.out.json => cx.out.json(&task),
        None => cx.out.line(format!("done; its result: softbus result {} --out FILE", short(&task))),
    }
}

/// A task as the node is told of it, and its input; `named` is its name if it was given none.
pub(super) fn task_request(args: RunArgs, named: Option<String>) -> Result<(TaskRequest, Vec<u8>), Failure> {
    let policy = policy(args.policy, args.holders)?;
    let (work, input) = work_request(args.task_type, args.work)?;
    let request = TaskRequest {
        work,
        policy,
        replicas: args.holders,
        // `best` is what the bus does anyhow.
        start_on: args.on.filter(|on| on != "best"),
        stay: args.stay,
        name: args.name.or(named),
        share: args.share,
    };
    Ok((request, input))
}

pub(super) fn policy(name: PolicyName, holders: Option<u8>) -> Result<PolicyKind, Failure> {
    match (name, holders) {
        (PolicyName::Owner, _) => Ok(PolicyKind::Owner),
        (PolicyName::Quorum, k) => match k.unwrap_or(2) {
            k @ (0 | 1) => Err(Failure::usage(format!("--policy quorum needs at least 2 holders, not {k}"))
                .advise("with fewer no majority is left when one device is lost: --holders 2")),
            k => Ok(PolicyKind::Quorum { k }),
        },
    }
}

/// Shown while the node gets an input and finds a place for it.
pub(super) fn sending(cx: &Context, input: &[u8]) -> Bar {
    match input.len() as u64 {
        0 => Bar::spinner(&cx.out, "looking for a place…"),
        len => Bar::spinner(&cx.out, &format!("sending {}…", crate::output::bytes(len))),
    }
}

/// A piece of work as the node is told of it, and its input.
pub(super) fn work_request(task_type: String, args: WorkArgs) -> Result<(WorkRequest, Vec<u8>), Failure> {
    let input = args.input.as_deref().map(read_input).transpose()?.unwrap_or_default();
    let work = WorkRequest {
        task_type,
        params: collect_params(args.params)?,
        ops: args.ops,
        memory_bytes: args.memory,
        cores: args.cores,
        needs: args.needs,
        latency: args.latency.into(),
        only: args.only,
        never: args.never,
        privacy: args.privacy.into(),
        circle: args.circle,
    };
    Ok((work, input))
}

pub(super) fn name_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    crate::config::parse_name(&name).ok()
}

fn collect_params(given: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut params = BTreeMap::new();
    for (name, value) in given {
        if params.insert(name.clone(), value).is_some() {
            return Err(Failure::usage(format!("--param {name} is given twice")));
        }
    }
    Ok(params)
}

pub(super) fn read_input(path: &Path) -> Result<Vec<u8>, Failure> {
    let what = || format!("input {}", path.display());
    let meta = std::fs::metadata(path).map_err(|e| Failure::io(what(), &e))?;
    if meta.is_dir() {
        return Err(Failure::usage(format!("{} is a folder, not a file", what())));
    }
    let most = limits::TASK_INPUT_BYTES as u64;
    let mut bytes = Vec::new();
    // A pipe has no length beforehand; a file may grow meanwhile.
    std::fs::File::open(path)
        .and_then(|file| std::io::Read::read_to_end(&mut std::io::Read::take(file, most + 1), &mut bytes))
        .map_err(|e| Failure::io(what(), &e))?;
    if bytes.len() as u64 > most {
        return Err(Failure::usage(format!("{} is larger than {}", what(), crate::output::bytes(most))));
    }
    Ok(bytes)
}

pub(super) fn short(task: &TaskView) -> String {
    task.id.to_string()[..8].to_string()
}

pub(super) fn tell(cx: &Context, submitted: &SubmittedView) -> Result<(), Failure> {
    if cx.out.json {
        return cx.out.json(submitted);
    }
    note(cx, submitted);
    // The id alone on standard output, for `id=$(softbus run …)`.
    cx.out.line(submitted.task.id.to_string())
}

pub(super) fn note(cx: &Context, submitted: &SubmittedView) {
    let task = &submitted.task;
    let place = submitted.placement.as_ref().filter(|p| p.chosen.is_some());
    let on = match place {
        Some(place) if !place.chosen_name.is_empty() => format!(" on {}", clean(&place.chosen_name)),
        _ if !task.runner_name.is_empty() => format!(" on {}", clean(&task.runner_name)),
        _ => String::new(),
    };
    cx.out.note(format!(
        "task {} ({}) starts{}",
        cx.out.paint_err(Paint::Strong, &short(task)),
        clean(&task.task_type),
        cx.out.paint_err(Paint::Strong, &on)
    ));
    if let Some(unmet) = &submitted.unmet {
        cx.out.note(cx.out.paint_err(Paint::Warn, &clean(unmet)));
    }
    if let Some(place) = place {
        cx.out.note(cx.out.paint_err(Paint::Dim, &clean_lines(place.text.trim_end())));
    }
}

/// Shows progress until the task's end. Ctrl-C leaves it running.
async fn wait_for(cx: &Context, task: &TaskView) -> Result<TaskView, Failure> {
    let mut stream = cx.client().stream(Request::WatchTasks { task: Some(task.id.to_string()) }).await?;
    let bar = Bar::new(&cx.out, &clean(&task.name));
    let mut seen = task.clone();
    loop {
        let step = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => {
                return Err(Failure::new(Kind::Interrupted, format!("stopped waiting; task {} goes on", short(task)))
                    .advise(format!("softbus tasks {0} --watch, softbus result {0} --out FILE, or softbus cancel {0}", short(task))));
            }
            step = stream.next() => step?,
        };
        match step {
            Step::Event(Event::Task(now)) => {
                for moved in new_moves(&seen, &now) {
                    bar.above(&cx.out, &move_line(moved));
                }
                let trouble = now.error.as_ref().filter(|_| now.error != seen.error && !now.state.is_final());
                if let Some(error) = trouble {
                    bar.above(&cx.out, &cx.out.paint_err(Paint::Warn, &clean(error)));
                }
                let on = if now.runner_name.is_empty() {
                    String::new()
                } else {
                    format!("on {} ", clean(&now.runner_name))
                };
                let doing = match now.state {
                    TaskState::Running => clean(&now.progress_text),
                    other => crate::control::task_state_text(other).to_string(),
                };
                bar.set(now.progress_permille, &format!("{on}· {doing}"));
                seen = *now;
                if seen.state.is_final() || seen.state == TaskState::Quarantined {
                    return Ok(seen);
                }
            }
            Step::Event(_) => {}
            Step::Done(_) => return Ok(seen),
        }
    }
}

/// The moves of `now` that `before` did not have.
pub(super) fn new_moves<'a>(before: &TaskView, now: &'a TaskView) -> Vec<&'a crate::control::MoveView> {
    now.moves.iter().filter(|m| !before.moves.contains(m) && m.reason != "placed").collect()
}
