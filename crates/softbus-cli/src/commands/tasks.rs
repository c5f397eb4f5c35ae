//! `softbus tasks`, `move`, `adopt`, `cancel` and `result`.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use softbus_core::wire::task_control::{PolicyKind, TaskState};
use softbus_core::{TaskId, WallMs};

use super::run::new_moves;
use super::{Context, program, unexpected};
use crate::args::{AdoptArgs, MoveArgs, ResultArgs, TasksArgs};
use crate::clock::wall;
use crate::control::{Event, MoveView, Request, Response, Step, TaskView, task_state_text};
use crate::failure::Failure;
use crate::output::{
    Bar, Paint, Screen, Table, ago, bytes, clean, duration, is_stdout, percent, writable, write_file,
};

/// Tasks, once or as they change.
pub(super) async fn tasks(cx: Context, args: TasksArgs) -> Result<(), Failure> {
    if let (Some(task), Some(out)) = (&args.task, &args.preview) {
        return preview(cx, task.clone(), out, args.watch).await;
    }
    if args.watch {
        return watch(cx, args.task).await;
    }
    let one = args.task.is_some();
    let tasks = match cx.client().call(Request::Tasks { task: args.task }).await? {
        Response::Tasks(tasks) => tasks,
        other => return Err(unexpected(&other)),
    };
    match tasks.first() {
        Some(task) if one && cx.out.json => cx.out.json(task),
        Some(task) if one => cx.out.line(one_text(&cx, task)),
        _ if cx.out.json => cx.out.json(&tasks),
        None => cx.out.line("No tasks. Start one: softbus run primes/1 --wait"),
        Some(_) => {
            cx.out.table(table(&tasks))?;
            let troubled = tasks.iter().filter(|t| t.error.is_some() && !t.state.is_final());
            for task in troubled {
                let error = clean(task.error.as_deref().unwrap_or_default());
                cx.out.note(format!("{}  {error}", short(task)));
            }
            for (task, by) in tasks.iter().filter_map(|task| Some((task, paused_by(task)?))) {
                cx.out.note(format!("{}  paused{by}", short(task)));
            }
            for task in tasks.iter().filter(|task| !task.state.is_final()) {
                for line in fork(task).into_iter().chain(stuck(task)) {
                    cx.out.note(format!("{}  {line}", short(task)));
                }
            }
            Ok(())
        }
    }
}

fn table(tasks: &[TaskView]) -> Table {
    let mut table = Table::new(["task", "type", "name", "state", "done", "on", "policy", "kept by", "age"])
        .spare(["policy", "kept by", "type", "age", "name", "done"]);
    let now = wall();
    for task in tasks {
        table.row([
            short(task),
            clean(&task.task_type),
            clean(&task.name),
            state(task),
            percent(task.progress_permille),
            runner(task),
            policy(task),
            match task.holders.len() {
                0 => "-".into(),
                1 => "1 device".into(),
                n => format!("{n} devices"),
            },
            ago(now, WallMs(task.submitted_ms)),
        ]);
    }
    table
}

/// One task and its history.
fn one_text(cx: &Context, task: &TaskView) -> String {
    let now = wall();
    let age =
        task.checkpoint_age_ms.map(|ms| format!(", the last {} ago", duration(Duration::from_millis(ms))));
    let rows = [
        ("task", task.id.to_string()),
        ("type", clean(&task.task_type)),
        ("name", clean(&task.name)),
        ("state", format!("{}{}", state(task), paused_by(task).unwrap_or_default())),
        (
            "done",
            format!("{} {}", percent(task.progress_permille), clean(&task.progress_text))
                .trim_end()
                .to_string(),
        ),
        ("on", runner(task)),
        (
            "epoch",
            format!(
                "{}{}",
                task.epoch,
                if task.branch > 0 { format!(", branch {}", task.branch) } else { String::new() }
            ),
        ),
        ("policy", policy(task)),
        ("checkpoints", format!("{}{}", task.checkpoint, age.unwrap_or_default())),
        ("kept by", list(task.holder_names.iter().map(|name| clean(name)))),
        ("submitted", format!("{} by {}", ago(now, WallMs(task.submitted_ms)), clean(&task.submitter_name))),
        ("fork", fork(task).unwrap_or_else(|| "-".into())),
        ("error", task.error.as_deref().map(clean).or_else(|| stuck(task)).unwrap_or_else(|| "-".into())),
    ];
    let mut lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| format!("{} {value}", cx.out.paint(Paint::Dim, &format!("{name:>11}"))))
        .collect();
    if !task.moves.is_empty() {
        let columns = ["when", "from", "to", "why", "stood still", "of", "sent", "rounds", "epoch"];
        let spare = ["epoch", "rounds", "of", "sent", "when", "stood still"];
        let mut table = Table::new(columns).spare(spare);
        for moved in &task.moves {
            table.row([
                ago(now, WallMs(moved.at_ms)),
                clean(&moved.from_name),
                clean(&moved.to_name),
                reason(moved),
                duration(Duration::from_millis(moved.downtime_ms)),
                duration(Duration::from_millis(moved.whole_ms)),
                bytes(moved.bytes),
                moved.rounds.to_string(),
                moved.epoch.to_string(),
            ]);
        }
        lines.extend([String::new(), cx.out.table_text(table)]);
    }
    lines.join("\n")
}

/// After so long it is said that there is no preview yet.
const PREVIEW_SOON: Duration = Duration::from_secs(5);
/// Moves that are shown below the table while watching.
const MOVES: usize = 6;

/// On a terminal the tasks are drawn anew in place; else what changes is told line by line.
async fn watch(cx: Context, which: Option<String>) -> Result<(), Failure> {
    let one = which.is_some();
    let mut stream = cx.client().stream(Request::WatchTasks { task: which }).await?;
    let mut known: BTreeMap<TaskId, TaskView> = BTreeMap::new();
    let mut screen = Screen::default();
    let mut moves: VecDeque<String> = VecDeque::new();
    if cx.out.live && !one {
        draw(&cx, &mut screen, &known, &moves)?;
    }
    loop {
        let task = match stream.next().await? {
            Step::Event(Event::Task(task)) => *task,
            Step::Event(_) => continue,
            Step::Done(_) => return Ok(()),
        };
        let before = known.insert(task.id, task.clone());
        if cx.out.json {
            cx.out.json_line(&Event::Task(Box::new(task.clone())))?;
        } else if cx.out.live && one {
            screen.draw(&cx.out, &one_text(&cx, &task))?;
        } else {
            let fresh = before.as_ref().map_or_else(Vec::new, |before| new_moves(before, &task));
            let forked =
                fork(&task).filter(|_| before.as_ref().is_none_or(|before| before.fork != task.fork));
            let lines = fresh.into_iter().map(move_line).chain(forked);
            let lines = lines.map(|line| format!("{}  {line}", short(&task)));
            if cx.out.live {
                moves.extend(lines);
                moves.drain(..moves.len().saturating_sub(MOVES));
                draw(&cx, &mut screen, &known, &moves)?;
            } else {
                for line in lines {
                    cx.out.line(line)?;
                }
                tell_news(&cx, before.as_ref(), &task)?;
            }
        }
        if one && task.state.is_final() {
            return if task.state == TaskState::Done { Ok(()) } else { Err(explain_end(&task)) };
        }
    }
}

fn draw(
    cx: &Context,
    screen: &mut Screen,
    known: &BTreeMap<TaskId, TaskView>,
    moves: &VecDeque<String>,
) -> Result<(), Failure> {
    let mut text = match known.len() {
        0 => vec!["No tasks.".to_string()],
        _ => {
            let mut all: Vec<TaskView> = known.values().cloned().collect();
            all.sort_by_key(|task| task.submitted_ms);
            vec![cx.out.table_text(table(&all))]
        }
    };
    if !moves.is_empty() {
        text.push(String::new());
        text.extend(moves.iter().cloned());
    }
    text.extend([String::new(), cx.out.paint(Paint::Dim, "watching; Ctrl-C ends it")]);
    screen.draw(&cx.out, &text.join("\n"))
}

/// One line per state and per tenth of the way: a log, not a flood.
fn tell_news(cx: &Context, before: Option<&TaskView>, task: &TaskView) -> Result<(), Failure> {
    let old = before.is_some_and(|before| {
        before.state == task.state && before.progress_permille / 100 == task.progress_permille / 100
    });
    if old {
        return Ok(());
    }
    cx.out.line(format!(
        "{}  {:<12} {:>5}  {:<16} {}",
        short(task),
        task_state_text(task.state),
        percent(task.progress_permille),
        runner(task),
        clean(task.error.as_deref().unwrap_or(&task.progress_text)),
    ))
}

/// Writes what a task's output looks like so far to a file: the latest, or with `watch` each newer one until its end.
async fn preview(cx: Context, task: String, out: &Path, watch: bool) -> Result<(), Failure> {
    writable("--preview", out)?;
    let mut seen = None;
    let bar = Bar::spinner(&cx.out, "waiting for a preview");
    loop {
        let request = Request::Preview { task: task.clone(), seen };
        let client = cx.client();
        let asked = client.call_with(request, &[]);
        tokio::pin!(asked);
        let reply = match tokio::time::timeout(PREVIEW_SOON, &mut asked).await {
            Ok(reply) => reply?,
            Err(_) => {
                if seen.is_none() {
                    let hint = "no preview so far: types that show none never have one; Ctrl-C ends the wait";
                    bar.above(&cx.out, hint);
                }
                asked.await?
            }
        };
        let Response::Preview(view) = reply.response else { return Err(unexpected(&reply.response)) };
        let Some(hash) = view.hash else {
            // The end of the task: nothing newer comes.
            return if view.task.state == TaskState::Done { Ok(()) } else { Err(explain_end(&view.task)) };
        };
        bar.clear();
        write_file(out, &reply.body)?;
        let (path, size, done) = (out.display(), reply.body.len(), view.task.progress_permille);
        match (cx.out.json, is_stdout(out)) {
            (_, true) => {}
            (true, _) => {
                cx.out.json_line(&serde_json::json!({ "task": view.task, "out": out, "bytes": size }))?
            }
            (false, _) => cx.out.line(format!("{path} ({}) at {}", bytes(size as u64), percent(done)))?,
        }
        if !watch {
            return Ok(());
        }
        seen = Some(hash);
    }
}

/// Hands a task over.
pub(super) async fn move_task(cx: Context, args: MoveArgs) -> Result<(), Failure> {
    let bar = Bar::spinner(&cx.out, "moving…");
    let answer =
        cx.client().call(Request::Move { task: args.task, device: args.device, reason: args.reason }).await;
    drop(bar);
    match answer? {
        Response::Task(task) | Response::Moved { task, .. } if cx.out.json => cx.out.json(&task),
        Response::Moved { task, moved } => cx.out.line(format!("{}  {}", short(&task), move_line(&moved))),
        Response::Task(task) => cx.out.line(format!("{} is on {} already", short(&task), runner(&task))),
        other => Err(unexpected(&other)),
    }
}

/// Starts a new branch of an orphaned task.
pub(super) async fn adopt(cx: Context, args: AdoptArgs) -> Result<(), Failure> {
    match cx.client().call(Request::Adopt { task: args.task, force: args.force }).await? {
        Response::Task(task) if cx.out.json => cx.out.json(&task),
        Response::Task(task) => cx.out.line(format!(
            "{} goes on here, as branch {} in epoch {}",
            short(&task),
            task.branch,
            task.epoch
        )),
        other => Err(unexpected(&other)),
    }
}

/// Lets a task stand still, or go on.
pub(super) async fn rest(cx: Context, task: String, pause: bool) -> Result<(), Failure> {
    let request = if pause { Request::Pause { task } } else { Request::Resume { task } };
    let bar = Bar::spinner(&cx.out, if pause { "pausing…" } else { "resuming…" });
    let answer = cx.client().call(request).await;
    drop(bar);
    let Response::Rests { task, already, kept } = answer? else {
        return Err(Failure::failed("the node gave an answer of another kind"));
    };
    if cx.out.json {
        return cx.out.json(&serde_json::json!({ "task": task, "already": already, "kept": kept }));
    }
    cx.out.line(match (pause, already) {
        (true, false) => format!("{} is paused at {}", short(&task), percent(task.progress_permille)),
        (true, true) => format!("{} was paused already", short(&task)),
        (false, false) => format!("{} goes on at {}", short(&task), percent(task.progress_permille)),
        (false, true) => format!("{} was not paused", short(&task)),
    })?;
    if !kept {
        let what = if pause { "go on" } else { "stand still again" };
        let text = format!(
            "its checkpoint does not say so on enough devices yet: should {} be lost before, it may {what}",
            runner(&task)
        );
        cx.out.note(cx.out.paint_err(Paint::Warn, &text));
    }
    Ok(())
}

/// Lets a task out of quarantine.
pub(super) async fn release(cx: Context, task: String) -> Result<(), Failure> {
    cx.order(Request::Release { task }, "it tries again").await
}

/// Cancels a task.
pub(super) async fn cancel(cx: Context, task: String) -> Result<(), Failure> {
    cx.order(Request::Cancel { task }, "cancelled").await
}

/// Fetches a result.
pub(super) async fn result(cx: Context, args: ResultArgs) -> Result<(), Failure> {
    // A folder is where the files of a program go: which of both it is, the task says.
    if !args.out.is_dir() {
        writable("--out", &args.out)?;
    }
    write_result(&cx, &args.task, &args.out).await
}

/// Fetches a result into a file, whole or not at all.
pub(super) async fn write_result(cx: &Context, task: &str, out: &Path) -> Result<(), Failure> {
    let bar = Bar::spinner(&cx.out, "fetching the result…");
    let answer = cx.client().call_with(Request::Result { task: task.to_string() }, &[]).await;
    drop(bar);
    let reply = answer?;
    let Response::Result(view) = reply.response else { return Err(unexpected(&reply.response)) };
    if program::is_one(&view.task_type) {
        return program::write_result(cx, &view, &reply.body, out);
    }
    writable("--out", out)?;
    write_file(out, &reply.body)?;
    let size = reply.body.len();
    if is_stdout(out) {
        return Ok(());
    }
    if cx.out.json {
        return cx.out.json(&serde_json::json!({ "task": view, "out": out, "bytes": size }));
    }
    cx.out.line(format!("{} ({})", out.display(), bytes(size as u64)))
}

/// Why a task that ended gave no result.
pub(super) fn explain_end(task: &TaskView) -> Failure {
    let why = task.error.as_deref().map(|e| format!(": {}", clean(e))).unwrap_or_default();
    let failure = Failure::failed(format!("task {} {}{why}", short(task), task_state_text(task.state)));
    match task.state {
        TaskState::Quarantined => failure.advise(format!(
            "it crashed each time it went on: softbus release {0} lets it try again, softbus cancel {0} ends it",
            short(task)
        )),
        _ => failure,
    }
}

/// One move, in words.
pub(super) fn move_line(moved: &MoveView) -> String {
    let still = duration(Duration::from_millis(moved.downtime_ms));
    let (from, to) = (clean(&moved.from_name), clean(&moved.to_name));
    match moved.reason.as_str() {
        "placed" => format!("placed on {to}"),
        "failover" => format!("{from} was lost; {to} went on after {still} from the last checkpoint"),
        "adopted" => format!("adopted by {to}"),
        _ => format!(
            "moved from {from} to {to} ({}): stood still for {still} of {}, {} sent{}",
            reason(moved),
            duration(Duration::from_millis(moved.whole_ms)),
            bytes(moved.bytes),
            if moved.rounds > 1 { format!(" in {} rounds", moved.rounds) } else { String::new() }
        ),
    }
}

fn reason(moved: &MoveView) -> String {
    let because = clean(moved.because.lines().next().unwrap_or_default());
    match moved.reason.as_str() {
        "person" if because.is_empty() => "a person asked".into(),
        "person" => format!("a person asked: {because}"),
        "bus" if because.is_empty() => "a better device".into(),
        "bus" => because,
        "drain" => "its device shuts down".into(),
        "failover" => "its device was lost".into(),
        other => clean(other),
    }
}

fn short(task: &TaskView) -> String {
    task.id.to_string()[..8].to_string()
}

fn state(task: &TaskView) -> String {
    let mark = match task.state {
        TaskState::Running | TaskState::Done => "●",
        TaskState::FailingOver
        | TaskState::Waiting
        | TaskState::Moving
        | TaskState::Paused
        | TaskState::PausedBy(_)
        | TaskState::InDoubt => "◐",
        TaskState::Failed | TaskState::Quarantined | TaskState::Lost => "✗",
        TaskState::Cancelled => "○",
    };
    format!("{mark} {}", task_state_text(task.state))
}

/// Who let it stand still, and since when.
fn paused_by(task: &TaskView) -> Option<String> {
    let paused = task.paused.as_ref()?;
    let by = clean(&paused.by_name);
    Some(format!(" by {by}, {} (softbus resume {})", ago(wall(), WallMs(paused.since_ms)), short(task)))
}

fn runner(task: &TaskView) -> String {
    match (&task.runner, task.runner_name.as_str()) {
        (None, _) => "-".into(),
        (Some(id), "") => format!("…{}", id.short()),
        (Some(_), name) => clean(name),
    }
}

/// What must be known of a task that was adopted: by the person whose device was away meanwhile, and by the others.
fn fork(task: &TaskView) -> Option<String> {
    let fork = task.fork?;
    let kept = match fork.lost {
        Some(checkpoint) => format!(" (kept here of it: checkpoint {checkpoint})"),
        None => String::new(),
    };
    Some(format!(
        "adopted as branch {}: what the branch before did after the checkpoint that was adopted does not count{kept}",
        fork.branch
    ))
}

/// Why a task stands still that neither ended nor was paused by a person, and what can be done.
pub(super) fn stuck(task: &TaskView) -> Option<String> {
    match task.state {
        TaskState::Lost => Some(format!(
            "its device is lost: it waits for {}; if that is gone for good: softbus adopt {} --force",
            runner(task),
            short(task)
        )),
        // Its lease has run out.
        TaskState::Paused if task.paused.is_none() => Some(format!(
            "{} does not reach most of those who decide about it (itself, {}): it goes on when it does",
            runner(task),
            list(task.holder_names.iter().map(|name| clean(name)))
        )),
        _ => None,
    }
}

fn policy(task: &TaskView) -> String {
    match task.policy {
        PolicyKind::Owner => "owner".into(),
        PolicyKind::Quorum { k } => format!("quorum of {}", k + 1),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "nobody else".into() } else { items.join(", ") }
}
