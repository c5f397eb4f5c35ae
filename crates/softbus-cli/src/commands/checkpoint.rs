//! `softbus checkpoint`: saved states of tasks.

use std::fs::File;
use std::path::Path;

use softbus::task::SavedTask;
use softbus_core::WallMs;

use super::run::{finish, note, policy, tell as tell_begun};
use super::{Context, program, prompt, unexpected};
use crate::args::{CheckpointCommand, ProgramGrant, RestoreArgs};
use crate::clock::wall;
use crate::control::{Event, Request, Response, RestoreRequest, SAVED_BYTES, SavedView, Step, Stream};
use crate::failure::Failure;
use crate::output::{Bar, Paint, Private, ago, bytes, clean, is_stdout, percent, writable};

/// Saves a task's state, or starts a task from one.
pub(super) async fn checkpoint(cx: Context, command: CheckpointCommand) -> Result<(), Failure> {
    match command {
        CheckpointCommand::Save { task, file, force } => save(cx, task, &file, force).await,
        CheckpointCommand::Restore(args) => restore(cx, *args).await,
    }
}

async fn save(cx: Context, task: String, file: &Path, force: bool) -> Result<(), Failure> {
    if is_stdout(file) {
        return Err(Failure::usage("a saved checkpoint is a file: it holds the task's data in the clear")
            .advise("softbus checkpoint save TASK FILE"));
    }
    // Before the work, and once more when the file gets its name.
    let mut out = Private::begin(file, force)?;
    let bar = Bar::spinner(&cx.out, "saving…");
    let mut stream = cx.client().stream(Request::Save { task }).await?;
    let answer = tokio::select! {
        biased;
        // So that nothing is left of what came: it is in the clear.
        _ = tokio::signal::ctrl_c() => return Err(prompt::interrupted()),
        answer = stream.download(&mut out) => answer,
    };
    drop(bar);
    let (Response::Saved(saved), size) = answer? else {
        return Err(Failure::failed("the node gave an answer of another kind"));
    };
    out.keep()?;
    if cx.out.json {
        return cx
            .out
            .json(&serde_json::json!({ "saved": saved, "file": file, "bytes": size, "encrypted": false }));
    }
    cx.out.line(format!("{} ({}) at {}", file.display(), bytes(size), percent(saved.progress_permille)))?;
    let text = "it is not encrypted: it holds all that the task works on, and only you may read it";
    cx.out.note(cx.out.paint_err(Paint::Warn, text));
    Ok(())
}

async fn restore(cx: Context, args: RestoreArgs) -> Result<(), Failure> {
    let what = || format!("checkpoint {}", args.file.display());
    let mut file = File::open(&args.file).map_err(|e| Failure::io(what(), &e))?;
    let meta = file.metadata().map_err(|e| Failure::io(what(), &e))?;
    if !meta.is_file() {
        return Err(Failure::usage(format!("{} is no file", what())));
    }
    if meta.len() > SAVED_BYTES {
        return Err(Failure::usage(format!("{} is larger than {}", what(), bytes(SAVED_BYTES))));
    }
    // What it is decides what comes of it; the node looks at all of it.
    let kind = SavedTask::kind_of(&mut file).map_err(|e| Failure::usage(format!("{}: {e}", what())))?;
    std::io::Seek::rewind(&mut file).map_err(|e| Failure::io(what(), &e))?;
    let is_program = program::is_one(&kind);
    match &args.out {
        Some(out) if is_program => program::folder(out)?,
        Some(out) => writable("--out", out)?,
        None => {}
    }
    let request = RestoreRequest {
        policy: policy(args.policy, args.holders)?,
        replicas: args.holders,
        start_on: args.on.clone().filter(|on| on != "best"),
        stay: args.stay,
        name: args.name.clone(),
        circle: args.circle.clone(),
        foreign: args.foreign,
        services: args.grants.iter().filter_map(service).collect(),
        inference: args.grants.contains(&ProgramGrant::Inference),
    };
    let bar = Bar::spinner(&cx.out, "looking at it…");
    let opening = async { cx.client().upload(Request::Restore(request), &mut file, meta.len()).await };
    if is_program {
        let name = clean(&args.file.to_string_lossy());
        return program::follow(&cx, name, bar, opening, args.detach, args.out.as_deref()).await;
    }
    begun(&cx, opening.await?, bar, &args).await
}

fn service(grant: &ProgramGrant) -> Option<String> {
    match grant {
        ProgramGrant::Service(name) => Some(name.to_string()),
        ProgramGrant::Inference => None,
    }
}

/// A task that is no program.
async fn begun(cx: &Context, mut stream: Stream, bar: Bar, args: &RestoreArgs) -> Result<(), Failure> {
    let mut bar = Some(bar);
    let submitted = loop {
        match stream.next().await? {
            Step::Event(Event::Restored(saved)) => {
                drop(bar.take());
                tell(cx, &saved)?;
            }
            Step::Event(_) => {}
            Step::Done(reply) => match reply.response {
                Response::Submitted(submitted) => break submitted,
                other => return Err(unexpected(&other)),
            },
        }
    };
    drop(bar);
    if !args.wait && args.out.is_none() {
        return tell_begun(cx, &submitted);
    }
    note(cx, &submitted);
    finish(cx, &submitted.task, args.out.as_deref()).await
}

/// Says what a file holds, and what comes of starting from it.
pub(super) fn tell(cx: &Context, saved: &SavedView) -> Result<(), Failure> {
    if cx.out.json {
        return cx.out.json_line(&Event::Restored(Box::new(saved.clone())));
    }
    let by = match saved.device_name.as_str() {
        "" => format!("a device that is not known here ({})", saved.device),
        name => clean(name),
    };
    cx.out.note(format!(
        "{} ({}) at {}, saved {} by {by}: {} of state",
        clean(&saved.name),
        clean(&saved.task_type),
        percent(saved.progress_permille),
        ago(wall(), WallMs(saved.saved_ms)),
        bytes(saved.state_bytes),
    ));
    let old = &saved.task.to_string()[..8];
    let text = format!(
        "this is a new task: {old} is left as it is, and what that did since it was saved is done once more"
    );
    cx.out.note(cx.out.paint_err(Paint::Dim, &text));
    Ok(())
}
