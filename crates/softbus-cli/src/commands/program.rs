//! `softbus run PROGRAM.wasm`.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use softbus::wasm::{Finish, Start};
use softbus_core::limits;
use softbus_core::wire::task_control::TaskState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::run::{name_of, new_moves, note, read_input, sending, short, task_request};
use super::tasks::{explain_end, move_line, stuck};
use super::{Context, unexpected};
use crate::args::{ProgramArgs, ProgramGrant, RunArgs};
use crate::control::{
    AdmissionView, Body, Event, PrintedView, Request, Response, Step, Stream, SubmittedView, TaskView,
};
use crate::failure::{Failure, Kind};
use crate::output::{Bar, Paint, Tame, bytes, clean, is_stdout, write_tree};

/// The type of the tasks that programs are.
const TYPE: &str = "wasm/1";
/// How every module begins (WebAssembly core specification, 5.5.16).
const MAGIC: &[u8; 4] = b"\0asm";
/// Memories come in pages of so many bytes (4.2.8).
const PAGE: u64 = 64 << 10;
/// Most files that a program is given.
const FILES: usize = 4096;
/// Pieces of output, of at most 192 KiB, that wait for whoever reads it; past it no more is taken from the node for a while.
const WAITING: usize = 256;

/// Whether a task of this type is a program.
pub(super) fn is_one(task_type: &str) -> bool {
    task_type.split('/').next() == Some(softbus::wasm::NAME)
}

/// The program that a person means, if it is one and no task type.
pub(super) fn named(text: &str) -> Result<Option<PathBuf>, Failure> {
    let path = Path::new(text);
    let mut begin = [0; 4];
    let mut open = || std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut begin));
    match open() {
        Ok(()) if &begin == MAGIC => Ok(Some(path.into())),
        // By its name it is meant for one.
        read if path.extension().is_some_and(|end| end == "wasm") => match read {
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                Err(Failure::io(format!("program {text}"), &error))
            }
            _ => Err(Failure::usage(format!("{text} is no WebAssembly module"))),
        },
        // No type of tasks is called like that.
        _ if path.is_file() && text.contains(['.', std::path::MAIN_SEPARATOR]) => {
            Err(Failure::usage(format!("{text} is a file, but no WebAssembly module")))
        }
        _ => Ok(None),
    }
}

/// Submits a program and shows what it does until it is over.
pub(super) async fn run(cx: Context, program: PathBuf, mut args: RunArgs) -> Result<(), Failure> {
    if args.work.input.is_some() || !args.work.params.is_empty() {
        return Err(Failure::usage("--input and --param are for task types, and this is a program")
            .advise("files are given with --in, arguments with --arg"));
    }
    let (detach, out) = (args.program.detach, args.out.take());
    let start = start(&program, std::mem::take(&mut args.program), args.work.memory)?;
    args.task_type = TYPE.into();
    let (request, _) = task_request(args, name_of(&program))?;
    if let Some(out) = &out {
        folder(out)?;
    }
    let body = postcard::to_stdvec(&start)
        .map_err(|error| Failure::failed(format!("the program has no wire form: {error}")))?;
    if body.len() > limits::TASK_INPUT_BYTES {
        let most = bytes(limits::TASK_INPUT_BYTES as u64);
        return Err(Failure::usage(format!("the program and its files are larger than {most} together")));
    }
    drop(start);
    let name = clean(&program.to_string_lossy());
    let opening = async { cx.client().stream_with(Request::RunProgram(request), &body).await };
    follow(&cx, name, sending(&cx, &body), opening, detach, out.as_deref()).await
}

/// Shows what a program does that begins with a call, until it is over.
pub(super) async fn follow(
    cx: &Context,
    name: String,
    bar: Bar,
    opening: impl Future<Output = Result<Stream, Failure>>,
    detach: bool,
    out: Option<&Path>,
) -> Result<(), Failure> {
    let mut run = Run { cx, name, task: None, until: [0; 2], missing: 0, shown: None, rests: false };
    run.follow(bar, opening, detach, out).await
}

/// What a program starts with.
fn start(program: &Path, args: ProgramArgs, memory: Option<u64>) -> Result<Start, Failure> {
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let mut start = Start {
        module: read_input(program)?,
        args: std::iter::once(name).chain(args.args).collect(),
        env: args.env.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
        ..Start::default()
    };
    if let Some(memory) = args.mem.or(memory) {
        let can = PAGE..=softbus::wasm::limits::MEMORY_BYTES;
        if !can.contains(&memory) {
            let said = format!(
                "--mem {}: a program has {} to {}",
                bytes(memory),
                bytes(*can.start()),
                bytes(*can.end())
            );
            return Err(Failure::usage(said));
        }
        start.limits.memory_bytes = memory;
    }
    if let Some(percent) = args.cpu {
        start.limits.cpu_permille = percent * 10;
    }
    if let Some(rate) = args.output_rate {
        start.limits.output_bytes_per_s = rate;
    }
    for grant in args.grants {
        match grant {
            ProgramGrant::Service(name) => drop(start.grants.services.insert(name)),
            ProgramGrant::Inference => start.grants.inference = true,
        }
    }
    start.stdin = match args.stdin.as_deref() {
        None => Vec::new(),
        Some(path) if path == Path::new("-") => {
            let mut all = Vec::new();
            let most = limits::TASK_INPUT_BYTES as u64;
            std::io::stdin()
                .take(most)
                .read_to_end(&mut all)
                .map_err(|e| Failure::io("standard input", &e))?;
            all
        }
        Some(path) => read_input(path)?,
    };
    for given in &args.inputs {
        let (name, path) = input(given)?;
        gather(&name, &path, &mut start.files)?;
    }
    Ok(start)
}

/// `NAME=FILE`, or `FILE` under its own name.
fn input(given: &Path) -> Result<(String, PathBuf), Failure> {
    if !given.exists()
        && let Some((name, path)) = given.to_str().and_then(|text| text.split_once('='))
    {
        if name.is_empty() || path.is_empty() {
            return Err(Failure::usage(format!("--in {}: write NAME=FILE or FILE", given.display())));
        }
        return Ok((name.trim_start_matches('/').into(), path.into()));
    }
    // Also of `.` and `..`.
    let whole = given.canonicalize().map_err(|e| Failure::io(format!("--in {}", given.display()), &e))?;
    let name = given.file_name().or(whole.file_name()).and_then(|name| name.to_str()).ok_or_else(|| {
        Failure::usage(format!("--in {}: its name is no text", given.display()))
            .advise("give it one: --in NAME=FILE")
    })?;
    Ok((name.into(), whole.clone()))
}

/// A file, or all files of a folder.
fn gather(name: &str, path: &Path, files: &mut Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    let what = || format!("--in {}", path.display());
    let meta = std::fs::metadata(path).map_err(|e| Failure::io(what(), &e))?;
    if !meta.is_dir() {
        if files.len() >= FILES {
            return Err(Failure::usage(format!("more than {FILES} files are given with --in")));
        }
        let so_far: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        if so_far as u64 + meta.len() > limits::TASK_INPUT_BYTES as u64 {
            let most = bytes(limits::TASK_INPUT_BYTES as u64);
            return Err(Failure::usage(format!("{}: with it the files are larger than {most}", what())));
        }
        files.push((name.into(), read_input(path)?));
        return Ok(());
    }
    let entries = std::fs::read_dir(path).and_then(|all| all.collect::<Result<Vec<_>, _>>());
    let mut entries = entries.map_err(|e| Failure::io(what(), &e))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let inner = entry.path();
        let kind = entry.file_type().map_err(|e| Failure::io(what(), &e))?;
        // A link may lead round in a ring, and a pipe never ends.
        if !kind.is_file() && !kind.is_dir() {
            let what = if kind.is_symlink() { "a symbolic link" } else { "neither a file nor a folder" };
            return Err(Failure::usage(format!(
                "{} is {what}: a folder that is given holds only files and folders",
                inner.display()
            )));
        }
        let inner_name = entry.file_name();
        let inner_name = inner_name
            .to_str()
            .ok_or_else(|| Failure::usage(format!("{}: its name is no text", inner.display())))?;
        gather(&format!("{name}/{inner_name}"), &inner, files)?;
    }
    Ok(())
}

/// Makes the folder that results are to go to: better to fail before the work than after it.
pub(super) fn folder(out: &Path) -> Result<(), Failure> {
    if is_stdout(out) {
        return Err(Failure::usage("--out: what a program leaves are files, which need a folder")
            .advise("--out DIR; what it prints is shown by `softbus run`"));
    }
    std::fs::create_dir_all(out).map_err(|e| Failure::io(format!("--out {}", out.display()), &e))?;
    tempfile::tempfile_in(out)
        .map(drop)
        .map_err(|e| Failure::io(format!("cannot write into --out {}", out.display()), &e))
}

/// A program under way.
struct Run<'c> {
    cx: &'c Context,
    /// As the person calls it.
    name: String,
    task: Option<TaskView>,
    /// So much of what it printed has come, on its standard output and its standard error, and so much did not.
    until: [u64; 2],
    missing: u64,
    shown: Option<Shown>,
    /// That it was paused was the last that was said of it.
    rests: bool,
}

impl Run<'_> {
    async fn follow(
        &mut self,
        bar: Bar,
        opening: impl Future<Output = Result<Stream, Failure>>,
        detach: bool,
        out: Option<&Path>,
    ) -> Result<(), Failure> {
        // From here on, so that none is missed while something else is waited for.
        let mut interrupt =
            signal(SignalKind::interrupt()).map_err(|e| Failure::io("cannot listen for signals", &e))?;
        let heard = tokio::select! {
            biased;
            _ = interrupt.recv() => None,
            heard = self.hear(bar, opening, detach) => Some(heard),
        };
        let Some(heard) = heard else { return Err(self.left("stopped waiting")) };
        // What has come is shown, however it ended.
        if let Some(shown) = self.shown.take() {
            let written = tokio::select! {
                biased;
                _ = interrupt.recv() => None,
                written = shown.end() => Some(written),
            };
            match written {
                None => return Err(self.left("stopped")),
                // A reader that went away is no error.
                Some(Err(error)) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                    return Err(self.not_written(&error));
                }
                Some(_) => {}
            }
        }
        match heard? {
            Some((task, body)) => self.ended(task, &body, out),
            None => Ok(()),
        }
    }

    /// Submits it and hears of it until it is over, or, if it is not to be waited for, begins.
    async fn hear(
        &mut self,
        bar: Bar,
        opening: impl Future<Output = Result<Stream, Failure>>,
        detach: bool,
    ) -> Result<Option<(TaskView, Body)>, Failure> {
        let mut bar = Some(bar);
        let mut stream = opening.await?;
        loop {
            match stream.next().await? {
                Step::Event(Event::Restored(saved)) => {
                    drop(bar.take());
                    super::checkpoint::tell(self.cx, &saved)?;
                }
                Step::Event(Event::Submitted(submitted)) => {
                    drop(bar.take());
                    // What it had printed before it was saved was the other task's.
                    self.until = submitted.printed.unwrap_or_default();
                    self.begun(&submitted, detach)?;
                    if detach {
                        return Ok(None);
                    }
                    bar = Some(Bar::spinner(&self.cx.out, "running…"));
                    self.task = Some(submitted.task);
                }
                Step::Event(Event::Task(now)) => self.changed(*now, bar.as_ref())?,
                Step::Event(Event::Printed(piece)) => {
                    if !self.cx.out.json {
                        // From now on it speaks itself.
                        drop(bar.take());
                    }
                    self.printed(piece).await?;
                }
                Step::Event(_) => {}
                Step::Done(reply) => match reply.response {
                    Response::Result(task) => return Ok(Some((*task, reply.body))),
                    other => return Err(unexpected(&other)),
                },
            }
        }
    }

    async fn printed(&mut self, piece: PrintedView) -> Result<(), Failure> {
        let to_stderr = piece.to_stderr;
        if self.cx.out.json {
            self.cx.out.json_line(&Event::Printed(piece.clone()))?;
        }
        let (new, missing) = fresh(&mut self.until[usize::from(to_stderr)], piece.at, piece.bytes);
        self.tell_missing(missing);
        if self.cx.out.json {
            return Ok(());
        }
        let shown = self.shown.get_or_insert_with(Shown::begin);
        if shown.pieces.send((to_stderr, new)).await.is_ok() {
            return Ok(());
        }
        let written = match self.shown.take() {
            Some(shown) => shown.end().await,
            None => Ok(()),
        };
        Err(match written {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => self.not_written(&error),
            _ => self.left("nobody reads what it prints any more"),
        })
    }

    fn tell_missing(&mut self, missing: u64) {
        self.missing += missing;
        if missing > 0 {
            let text = format!("({} of what it printed did not arrive here)", bytes(missing));
            self.cx.out.note(self.cx.out.paint_err(Paint::Warn, &text));
        }
    }

    fn not_written(&self, error: &std::io::Error) -> Failure {
        let failure = Failure::io("standard output", error);
        match &self.task {
            Some(task) if !task.state.is_final() => {
                failure.advise(format!("the task goes on: softbus cancel {} ends it", short(task)))
            }
            _ => failure,
        }
    }

    fn begun(&self, submitted: &SubmittedView, detach: bool) -> Result<(), Failure> {
        let out = &self.cx.out;
        if out.json {
            return out.json_line(&Event::Submitted(Box::new(submitted.clone())));
        }
        note(self.cx, submitted);
        if let Some(admission) = &submitted.admission {
            out.note(out.paint_err(Paint::Dim, &admission_text(admission)));
        }
        // The id alone on standard output, for `id=$(softbus run --detach …)`.
        if detach { out.line(submitted.task.id.to_string()) } else { Ok(()) }
    }

    fn changed(&mut self, now: TaskView, bar: Option<&Bar>) -> Result<(), Failure> {
        let out = &self.cx.out;
        let Some(seen) = self.task.replace(now) else { return Ok(()) };
        let Some(now) = &self.task else { return Ok(()) };
        if out.json {
            return out.json_line(&Event::Task(Box::new(now.clone())));
        }
        let say = |line: &str| match bar {
            Some(bar) => bar.above(out, line),
            None => out.note(line),
        };
        for moved in new_moves(&seen, now) {
            say(&out.paint_err(Paint::Dim, &move_line(moved)));
        }
        if now.progress_text != seen.progress_text && !now.progress_text.is_empty() {
            let text = format!("{}: {}", clean(&now.runner_name), clean(&now.progress_text));
            say(&out.paint_err(Paint::Dim, &text));
        }
        if let Some(why) = stuck(now).filter(|_| seen.state != now.state) {
            say(&out.paint_err(Paint::Warn, &why));
        }
        // While it moves nobody knows of its pause.
        let stays = (seen.epoch, &seen.runner) == (now.epoch, &now.runner) && now.state == TaskState::Running;
        match &now.paused {
            Some(paused) if !self.rests => {
                self.rests = true;
                let text = format!("paused by {}: softbus resume {}", clean(&paused.by_name), short(now));
                say(&out.paint_err(Paint::Dim, &text));
            }
            None if self.rests && seen.paused.is_some() && stays => {
                self.rests = false;
                say(&out.paint_err(Paint::Dim, "resumed"));
            }
            _ => {}
        }
        if let Some(error) = now.error.as_ref().filter(|_| now.error != seen.error && !now.state.is_final()) {
            say(&out.paint_err(Paint::Warn, &clean(error)));
        }
        if let Some(bar) = bar.filter(|_| !now.runner_name.is_empty()) {
            bar.note(&format!("on {}", clean(&now.runner_name)));
        }
        Ok(())
    }

    fn ended(&mut self, task: TaskView, body: &[u8], out: Option<&Path>) -> Result<(), Failure> {
        if task.state != TaskState::Done {
            return Err(explain_end(&task));
        }
        let finish = finish(body)?;
        let last = finish.printed.iter().zip(self.until).map(|(all, until)| all.saturating_sub(until)).sum();
        self.tell_missing(last);
        let said = match out {
            Some(out) => {
                let written = put(self.cx, out, &finish).map_err(|failure| {
                    failure.advise(format!("softbus result {} --out DIR", short(&task)))
                })?;
                (!finish.files.is_empty()).then(|| format!("{} in {}", files_text(&written), out.display()))
            }
            None => (!finish.files.is_empty()).then(|| {
                format!("{}: softbus result {} --out DIR", files_text(&sizes(&finish)), short(&task))
            }),
        };
        if self.cx.out.json {
            let mut ended = ended_json(&task, &finish, out);
            ended["missing"] = self.missing.into();
            self.cx.out.json_line(&serde_json::json!({ "ended": ended }))?;
        } else if let Some(said) = said {
            self.cx.out.note(self.cx.out.paint_err(Paint::Dim, &said));
        }
        match finish.status {
            0 => Ok(()),
            status => {
                Err(Failure::failed(format!("{} ended with status {status}", self.name)).exited(status))
            }
        }
    }

    /// The task goes on without being looked at.
    fn left(&self, why: &str) -> Failure {
        let failure = |what: String| Failure::new(Kind::Interrupted, what);
        match &self.task {
            None => failure(why.into()),
            Some(task) => failure(format!("{why}; task {} goes on", short(task))).advise(format!(
                "softbus tasks {0} --watch, softbus result {0} --out DIR, or softbus cancel {0}",
                short(task)
            )),
        }
    }
}

/// Writes what a program left, and tells of it.
pub(super) fn write_result(cx: &Context, task: &TaskView, body: &[u8], out: &Path) -> Result<(), Failure> {
    let finish = finish(body)?;
    folder(out)?;
    let written = put(cx, out, &finish)?;
    if cx.out.json {
        return cx.out.json(&ended_json(task, &finish, Some(out)));
    }
    for (path, size) in &written {
        cx.out.line(format!("{} ({})", out.join(clean(path)).display(), bytes(*size)))?;
    }
    cx.out.note(format!("it ended with status {}, and left {}", finish.status, files_text(&sizes(&finish))));
    Ok(())
}

/// Writes the files that it left, and says which it does not write; gives those that it wrote.
fn put<'f>(cx: &Context, out: &Path, finish: &'f Finish) -> Result<Vec<(&'f str, u64)>, Failure> {
    let mut written = sizes(finish);
    for (path, why) in write_tree(out, &finish.files)? {
        cx.out.note(cx.out.paint_err(Paint::Warn, &format!("not written: {}", clean(&why.message))));
        written.retain(|(name, _)| *name != path);
    }
    Ok(written)
}

fn sizes(finish: &Finish) -> Vec<(&str, u64)> {
    finish.files.iter().map(|(path, bytes)| (path.as_str(), bytes.len() as u64)).collect()
}

fn ended_json(task: &TaskView, finish: &Finish, out: Option<&Path>) -> serde_json::Value {
    let files = finish.files.iter();
    let files: Vec<_> =
        files.map(|(path, bytes)| serde_json::json!({ "path": path, "bytes": bytes.len() })).collect();
    serde_json::json!({ "task": task, "status": finish.status, "files": files, "out": out })
}

fn finish(body: &[u8]) -> Result<Finish, Failure> {
    postcard::from_bytes(body).map_err(|_| {
        Failure::failed("what the program left cannot be read")
            .advise("the device that ran it has another softbus version")
    })
}

fn files_text(files: &[(&str, u64)]) -> String {
    let size = files.iter().map(|(_, bytes)| bytes).sum();
    match files.len() {
        0 => "no files".into(),
        1 => format!("1 file ({})", bytes(size)),
        count => format!("{count} files ({})", bytes(size)),
    }
}

fn admission_text(admission: &AdmissionView) -> String {
    let files = match admission.files {
        0 => "no files".to_string(),
        1 => "1 file".to_string(),
        count => format!("{count} files"),
    };
    let mut asks = match admission.services.as_slice() {
        [] => "no services".to_string(),
        [one] => format!("the service {}", clean(one)),
        many => format!("the services {}", clean(&many.join(", "))),
    };
    if admission.inference {
        asks += ", a model (no device of this version has one)";
    }
    format!(
        "admitted in {} ms: {} of code, {} once it can be stopped ({} places in {} of {} functions)\n\
         granted: {} of memory, {files} to read, room for {} of files, {}, {} per second of output; no network, {asks}",
        admission.admitted_ms,
        bytes(admission.module_bytes),
        bytes(admission.rewritten_bytes),
        admission.sites,
        admission.stoppable,
        admission.functions,
        bytes(admission.memory_bytes),
        bytes(admission.file_bytes),
        match admission.cpu_permille {
            1000.. => "one processor".to_string(),
            share => format!("{} % of one processor", f64::from(share) / 10.0),
        },
        bytes(admission.output_bytes_per_s),
    )
}

/// What a program printed, on its way out. Written by a thread of its own: whoever reads it may be slow, and the node does not
/// wait long for us.
struct Shown {
    pieces: mpsc::Sender<(bool, Vec<u8>)>,
    written: oneshot::Receiver<std::io::Result<()>>,
}

impl Shown {
    fn begin() -> Self {
        let (pieces, queue) = mpsc::channel(WAITING);
        let (done, written) = oneshot::channel();
        std::thread::spawn(move || {
            let _ = done.send(show(queue));
        });
        Self { pieces, written }
    }

    /// Waits until all of it is out.
    async fn end(self) -> std::io::Result<()> {
        drop(self.pieces);
        self.written.await.unwrap_or(Ok(()))
    }
}

fn show(mut queue: mpsc::Receiver<(bool, Vec<u8>)>) -> std::io::Result<()> {
    let tty = [std::io::stdout().is_terminal(), std::io::stderr().is_terminal()];
    let mut tame = [Tame::default(), Tame::default()];
    while let Some((to_stderr, piece)) = queue.blocking_recv() {
        let stream = usize::from(to_stderr);
        let piece = if tty[stream] { tame[stream].pass(&piece) } else { piece };
        if to_stderr {
            std::io::stderr().lock().write_all(&piece)?;
        } else {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&piece)?;
            stdout.flush()?;
        }
    }
    Ok(())
}

/// What of a piece that begins at `at` has not been shown, and how many bytes are missing before it.
fn fresh(until: &mut u64, at: u64, mut piece: Vec<u8>) -> (Vec<u8>, u64) {
    // More than there can be: whoever tells of it tells no truth.
    let Some(end) = at.checked_add(piece.len() as u64).filter(|end| *end < 1 << 62) else {
        return (Vec::new(), 0);
    };
    let known = until.saturating_sub(at).min(piece.len() as u64);
    let missing = at.saturating_sub(*until);
    piece.drain(..known as usize);
    *until = (*until).max(end);
    (piece, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_is_not_shown_again() {
        let mut until = 0;
        let mut show = |at, text: &str| {
            let (new, missing) = fresh(&mut until, at, text.as_bytes().to_vec());
            (String::from_utf8(new).unwrap(), missing)
        };
        assert_eq!(show(0, "abc"), ("abc".into(), 0));
        // After a fail-over in other pieces.
        assert_eq!(show(0, "ab"), ("".into(), 0));
        assert_eq!(show(2, "cde"), ("de".into(), 0));
        assert_eq!(show(8, "ij"), ("ij".into(), 3));
        assert_eq!(show(10, "k"), ("k".into(), 0));
        assert_eq!(show(u64::MAX, "x"), ("".into(), 0));
        assert_eq!(until, 11);
    }

    #[test]
    fn programs_are_told_from_task_types() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_string()
        };
        let module = put("tool", b"\0asm\x01\0\0\0");
        assert_eq!(named(&module).unwrap(), Some(module.clone().into()));
        assert_eq!(named("picture/1").unwrap(), None);
        // A type is no path: that is a file which somebody took for a program.
        assert_eq!(named(&put("notes.txt", b"hello")).unwrap_err().kind, Kind::Usage);
        assert_eq!(named(&put("x.wasm", b"he")).unwrap_err().kind, Kind::Usage);
        assert_eq!(named("nowhere/x.wasm").unwrap_err().kind, Kind::NotFound);
    }

    #[test]
    fn inputs_have_names() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("tree/deep")).unwrap();
        std::fs::write(dir.path().join("tree/a"), b"1").unwrap();
        std::fs::write(dir.path().join("tree/deep/b=c"), b"2").unwrap();
        let gathered = |given: &str| {
            let (name, path) = input(&dir.path().join(given))?;
            let mut files = Vec::new();
            gather(&name, &path, &mut files)?;
            Ok::<_, Failure>(files)
        };
        let whole = vec![("tree/a".to_string(), b"1".to_vec()), ("tree/deep/b=c".into(), b"2".to_vec())];
        assert_eq!(gathered("tree").unwrap(), whole);
        assert_eq!(gathered("tree/.").unwrap(), whole);
        assert_eq!(gathered("tree/deep/b=c").unwrap(), [("b=c".into(), b"2".to_vec())]);
        assert_eq!(gathered("nothing").unwrap_err().kind, Kind::NotFound);
        let renamed = input(Path::new(&format!("/in/x={}", dir.path().join("tree/a").display()))).unwrap();
        assert_eq!(renamed.0, "in/x");
        assert_eq!(input(Path::new("=x")).unwrap_err().kind, Kind::Usage);
        std::os::unix::fs::symlink(".", dir.path().join("tree/ring")).unwrap();
        assert_eq!(gathered("tree").unwrap_err().kind, Kind::Usage);
    }
}
