//! Tasks, as commands ask for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use softbus::core::{CircleId, DeviceId, Hash, Labels, TaskId};
use softbus::placement::Verdict;
use softbus::task::{
    Buffer, Granted, Move, MoveReason, Pause, PlacementHints, Right, TaskEvent, TaskEvents, TaskHandle,
    TaskState,
};
use softbus::{Decision, Error, QoS, SubmitOptions, TaskStatus};

use super::{Backend, bus_failure, named, program, resolve};
use crate::config::{Need, parse_need};
use crate::control::{
    Answer, Body, Event, Events, ForkView, MoveView, PausedView, PlaceRequest, PlacementView, PreviewView,
    Response, SubmittedView, TaskRequest, TaskView, WorkRequest,
};
use crate::failure::{Failure, Kind};
use crate::output::clean;
use crate::tasks::{Job, prepare};

/// Most settings of a task, and the longest of them in bytes.
const PARAMS: usize = 64;
const PARAM_BYTES: usize = 4096;
/// Most devices that a request may name.
const DEVICES: usize = 64;
/// Most task types that are listed to choose from.
const TYPES: usize = 32;
/// How often a watched list of tasks is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longest wait for the word why a task was placed where it is.
const PLACED: Duration = Duration::from_millis(500);

pub(super) fn failed(error: softbus::task::TaskError) -> Failure {
    bus_failure(Error::from(error))
}

/// What can be done when the runner does not answer.
pub(super) fn lost(error: softbus::task::TaskError) -> Failure {
    let unreachable = matches!(error, softbus::task::TaskError::Unreachable(_));
    let failure = failed(error);
    match unreachable {
        true => failure.advise(
            "`softbus devices` shows who is there; if its runner is gone for good: softbus adopt TASK --force",
        ),
        false => failure,
    }
}

impl Backend {
    /// How many tasks run here.
    pub(super) fn running_here(&self) -> usize {
        let me = self.bus.id();
        let tasks = self.bus.tasks().list();
        tasks.iter().filter(|t| t.runner == Some(me) && t.state == TaskState::Running).count()
    }

    /// A type's serialised input, from the file and settings that a person gave.
    async fn input(
        &self,
        kind: &str,
        params: BTreeMap<String, String>,
        file: Body,
    ) -> Result<Vec<u8>, Failure> {
        let job = Job { file: Buffer(file), params: bounded(params)? };
        let work = {
            let kind = kind.to_string();
            move || {
                let job = prepare(&kind, job).map_err(|e| Failure::usage(e.to_string()))?;
                postcard::to_allocvec(&job)
                    .map_err(|e| Failure::failed(format!("the input has no wire form: {e}")))
            }
        };
        // Decoding a picture takes a while: not on the threads that carry the network.
        let compute = self.bus.net().seam().compute.clone();
        let done = compute.run(softbus::net::seam::Lane::Work, 0, work).await;
        done.unwrap_or_else(|| {
            Err(Failure::failed("the input could not be prepared: the node is shutting down"))
        })
    }

    /// Refuses a type that no device (of the circle meant) is known to run, in more useful words than that each one cannot
    /// take it.
    pub(super) fn known_type(&self, kind: &str, circle: Option<CircleId>) -> Result<(), Failure> {
        let circles = self.bus.circles().circles();
        let circle = circle.and_then(|id| circles.circles.get(&id));
        let devices = self.bus.devices();
        let meant = devices.iter().filter(|entry| circle.is_none_or(|c| c.members.contains_key(&entry.id)));
        let types = meant.filter_map(|entry| entry.profile.as_ref()).flat_map(|p| &p.task_types);
        let known: BTreeSet<&str> = types.map(String::as_str).collect();
        if known.contains(kind) {
            return Ok(());
        }
        let mut list: Vec<String> = known.iter().take(TYPES).map(|known| clean(known)).collect();
        if known.len() > TYPES {
            list.push(format!("and {} more", known.len() - TYPES));
        }
        let of = circle.map_or_else(String::new, |circle| format!(" of {}", clean(&circle.name)));
        let none = format!("no device{of} is known so far to run the task type {}", clean(kind));
        Err(Failure::not_found(none).advise(match list.is_empty() {
            true => "none has told of any type so far: `softbus devices` shows who is here".to_string(),
            false => format!("those known so far: {}", list.join(", ")),
        }))
    }

    /// What a piece of work asks of placement, whether it is run or only asked about.
    fn wishes(&self, work: &WorkRequest) -> Result<SubmitOptions, Failure> {
        if work.only.len() > DEVICES || work.never.len() > DEVICES || work.needs.len() > DEVICES {
            return Err(Failure::usage(format!(
                "at most {DEVICES} each can be named with --only, --not and --needs"
            )));
        }
        let devices = |named: &[String]| named.iter().map(|d| self.member(d)).collect::<Result<_, _>>();
        let mut hints = PlacementHints {
            only: devices(&work.only)?,
            never: devices(&work.never)?,
            ops: work.ops,
            memory_bytes: work.memory_bytes,
            cores: work.cores,
            ..PlacementHints::default()
        };
        for text in &work.needs {
            match parse_need(named(text)?).map_err(Failure::usage)? {
                Need::Service(service) => hints.needs.push(service),
                Need::Capability(capability) => hints.capabilities.push(capability),
                Need::Accelerator(accelerator) => hints.accelerators.push(accelerator),
            }
        }
        let qos = QoS { privacy: work.privacy, latency: work.latency, ..QoS::default() };
        let circle = self.circle(work.circle.as_deref())?;
        Ok(SubmitOptions { qos, hints, circle, ..SubmitOptions::default() })
    }

    pub(super) async fn run(&self, mut request: TaskRequest, file: Body) -> Result<Response, Failure> {
        let kind = named(&request.work.task_type)?.to_string();
        if kind.split('/').next() == Some(softbus::wasm::NAME) {
            return Err(Failure::usage(format!("{kind} is the type of programs, which are given as files"))
                .advise("softbus run PROGRAM.wasm"));
        }
        self.known_type(&kind, self.circle(request.work.circle.as_deref())?)?;
        let input = self.input(&kind, std::mem::take(&mut request.work.params), file).await?;
        let submitted = self.submit(&kind, request, input, self.bus.tasks().events()).await?;
        Ok(Response::Submitted(Box::new(submitted)))
    }

    /// Submits a task and tells where it starts and why. `events` were subscribed to before.
    pub(super) async fn submit(
        &self,
        kind: &str,
        request: TaskRequest,
        input: Vec<u8>,
        mut events: TaskEvents,
    ) -> Result<SubmittedView, Failure> {
        let start_on = request.start_on.as_deref().map(|d| self.member(d)).transpose()?;
        let mut options = self.wishes(&request.work)?;
        if request.share.len() > DEVICES {
            return Err(Failure::usage(format!("at most {DEVICES} devices can be named with --share")));
        }
        for share in &request.share {
            let mut rights = share.rights.clone();
            // Who may act on a task must be able to find it.
            rights.push(Right::See);
            rights.sort_unstable();
            rights.dedup();
            options.grant.push(Granted { device: self.member(&share.device)?, rights });
        }
        if let Some(name) = request.name {
            options.name = crate::config::parse_name(&name).map_err(Failure::usage)?;
        }
        (options.policy, options.replicas) = (request.policy, request.replicas);
        (options.hints.start_on, options.hints.stay) = (start_on, request.stay);
        // Kept for the question why the task does not start where it was wished.
        let wish = start_on.map(|wished| (wished, input.clone(), options.clone()));
        let handle = self.bus.tasks().submit(kind, input, options).await.map_err(failed)?;
        tracing::info!(task = %handle.id(), kind, "submitted");
        self.begun(kind, &handle, &mut events, wish, request.replicas).await
    }

    /// Tells where a task starts that was submitted just now, and why; and which wishes were not met.
    pub(super) async fn begun(
        &self,
        kind: &str,
        handle: &TaskHandle,
        events: &mut TaskEvents,
        wish: Option<(DeviceId, Vec<u8>, SubmitOptions)>,
        replicas: Option<u8>,
    ) -> Result<SubmittedView, Failure> {
        let id = handle.id();
        let placed = async {
            loop {
                match events.next().await? {
                    TaskEvent::Placed { task, on, explanation } if task == id => {
                        return Some((on, explanation));
                    }
                    _ => {}
                }
            }
        };
        let placed = tokio::time::timeout(PLACED, placed).await.ok().flatten();
        let status = handle.status().await.map_err(failed)?;
        let started = placed.as_ref().map(|(on, _)| *on).or(status.runner);
        let unmet = match (wish, started) {
            (Some((wished, input, options)), Some(on)) if on != wished => {
                Some(self.why_not(kind, input, options, wished).await)
            }
            _ => None,
        };
        let names = self.names();
        let placement = placed.map(|(on, text)| PlacementView {
            chosen: Some(on),
            chosen_name: names.of(&on),
            text,
            explanation: None,
        });
        let unmet: Vec<String> = unmet.into_iter().chain(shortfall(replicas, &status)).collect();
        let unmet = (!unmet.is_empty()).then(|| unmet.join("; "));
        Ok(SubmittedView { task: view(&status, &names), placement, unmet, admission: None, printed: None })
    }

    /// Why a task does not start on the device that was wished for.
    async fn why_not(&self, kind: &str, input: Vec<u8>, options: SubmitOptions, wished: DeviceId) -> String {
        let decision = self.bus.place(kind, input, options).await.ok();
        let row = decision.as_ref().and_then(|decision| decision.explanation.row(&wished));
        let why = match row.map(|row| &row.verdict) {
            Some(Verdict::Refused(reasons)) if !reasons.is_empty() => {
                let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
                reasons.join("; ")
            }
            Some(_) => "it did not promise room for it".into(),
            None => "it is not known to placement".into(),
        };
        format!("it does not start on {}, as wished: {why}", self.names().of(&wished))
    }

    /// All tasks, or one.
    pub(super) async fn tasks(&self, which: Option<String>) -> Result<Vec<TaskView>, Failure> {
        match which {
            None => {
                let names = self.names();
                let all = self.bus.tasks().list_all().await;
                Ok(all.iter().map(|status| view(status, &names)).collect())
            }
            Some(which) => {
                let id = self.task(&which).await?;
                Ok(vec![self.one(id).await?])
            }
        }
    }

    async fn one(&self, id: TaskId) -> Result<TaskView, Failure> {
        let status = self.bus.tasks().status(id).await.map_err(failed)?;
        Ok(view(&status, &self.names()))
    }

    /// From what a person calls a task to the task: of this device first, then of all in reach.
    async fn task(&self, text: &str) -> Result<TaskId, Failure> {
        let pairs = |all: &[Arc<TaskStatus>]| -> Vec<(TaskId, String)> {
            all.iter().map(|s| (s.id, s.name.clone())).collect()
        };
        match resolve::task(text, &pairs(&self.bus.tasks().list())) {
            Err(failure) if failure.kind == Kind::NotFound => {
                resolve::task(text, &pairs(&self.bus.tasks().list_all().await))
            }
            found => found,
        }
    }

    /// Like [`Self::task`], for what can be done to a task that is not over: of several of one name the one that is not.
    pub(super) async fn live_task(&self, text: &str) -> Result<TaskId, Failure> {
        let all = self.bus.tasks().list();
        let live = all.iter().filter(|status| !status.state.is_final());
        let live: Vec<(TaskId, String)> = live.map(|s| (s.id, s.name.clone())).collect();
        match resolve::task(text, &live) {
            Ok(id) => Ok(id),
            Err(_) => self.task(text).await,
        }
    }

    pub(super) async fn watch_tasks(
        &self,
        which: Option<String>,
        events: &Events,
    ) -> Result<Response, Failure> {
        match which {
            Some(which) => {
                let id = self.task(&which).await?;
                self.watch_one(id, events).await
            }
            None => self.watch_all(events).await,
        }
    }

    async fn watch_one(&self, id: TaskId, events: &Events) -> Result<Response, Failure> {
        let mut status = self.bus.tasks().watch(id).await.map_err(failed)?;
        loop {
            let now = status.borrow_and_update().clone();
            let shown = view(&now, &self.names());
            if !events.send(Event::Task(Box::new(shown.clone()))).await || now.state.is_final() {
                return Ok(Response::Task(Box::new(shown)));
            }
            if status.changed().await.is_err() {
                // Whoever told of it went away: somebody else may know.
                status = self.bus.tasks().watch(id).await.map_err(failed)?;
            }
        }
    }

    async fn watch_all(&self, events: &Events) -> Result<Response, Failure> {
        let mut shown: BTreeMap<TaskId, TaskView> = BTreeMap::new();
        loop {
            let mut now = self.tasks(None).await?;
            for task in &mut now {
                // Its age grows all the time; that alone is no news.
                task.checkpoint_age_ms = None;
                if shown.get(&task.id) != Some(task)
                    && !events.send(Event::Task(Box::new(task.clone()))).await
                {
                    return Ok(Response::Done);
                }
            }
            shown = now.into_iter().map(|task| (task.id, task)).collect();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn move_task(
        &self,
        task: &str,
        device: Option<String>,
        reason: Option<String>,
    ) -> Result<Response, Failure> {
        let id = self.live_task(task).await?;
        let to = device.as_deref().map(|d| self.member(d)).transpose()?;
        let tasks = self.bus.tasks();
        let before = tasks.status(id).await.map_err(failed)?;
        if to.is_some() && before.runner == to && !before.state.is_final() {
            return Ok(Response::Task(Box::new(view(&before, &self.names()))));
        }
        let moved = tasks.move_to(id, to, &reason.unwrap_or_default()).await.map_err(lost)?;
        let after = tasks.status(id).await.map_err(failed)?;
        let names = self.names();
        Ok(Response::Moved {
            task: Box::new(view(&after, &names)),
            moved: Box::new(move_view(&moved, &names)),
        })
    }

    pub(super) async fn adopt(&self, task: &str, force: bool) -> Result<Response, Failure> {
        let id = self.task(task).await?;
        self.bus.tasks().adopt(id, force).await.map_err(failed)?;
        tracing::warn!(task = %id, "adopted by force: a new branch begins here");
        Ok(Response::Task(Box::new(self.one(id).await?)))
    }

    pub(super) async fn release(&self, task: &str) -> Result<Response, Failure> {
        let id = self.task(task).await?;
        self.bus.tasks().release(id).await.map_err(lost)?;
        Ok(Response::Done)
    }

    pub(super) async fn cancel(&self, task: &str) -> Result<Response, Failure> {
        let id = self.live_task(task).await?;
        self.bus.tasks().cancel(id).await.map_err(failed)?;
        Ok(Response::Done)
    }

    pub(super) async fn result(&self, task: &str) -> Result<Answer, Failure> {
        let id = self.task(task).await?;
        let bytes = self.bus.tasks().result(id).await.map_err(failed)?;
        let status = self.one(id).await?;
        // The node's own tasks make a file; what others make is given as it is.
        let body = match postcard::take_from_bytes::<Buffer>(&bytes) {
            Ok((file, [])) if !program::is_one(&status.task_type) => file.0,
            _ => bytes,
        };
        Ok(Answer { response: Response::Result(Box::new(status)), body })
    }

    /// The latest preview of a task but the one seen; waits for it until the task ends.
    pub(super) async fn preview(&self, task: &str, seen: Option<Hash>) -> Result<Answer, Failure> {
        let id = self.task(task).await?;
        let mut status = self.bus.tasks().watch(id).await.map_err(failed)?;
        let mut previews = self.bus.tasks().previews(id).await.map_err(failed)?;
        loop {
            let task = status.borrow_and_update().clone();
            let latest = previews.borrow_and_update().clone();
            let latest =
                latest.map(|bytes| (Hash::of(&bytes), bytes)).filter(|(hash, _)| Some(*hash) != seen);
            if latest.is_none() && task.state.is_final() && seen.is_none() {
                return Err(Failure::conflict(format!(
                    "the task has ended ({}), and no preview of it is left",
                    crate::control::task_state_text(task.state)
                ))
                .advise("`softbus result TASK --out FILE` fetches its result"));
            }
            if latest.is_some() || task.state.is_final() {
                let (hash, body) =
                    latest.map_or((None, Vec::new()), |(hash, bytes)| (Some(hash), bytes.to_vec()));
                let view = PreviewView { task: view(&task, &self.names()), hash };
                return Ok(Answer { response: Response::Preview(Box::new(view)), body });
            }
            tokio::select! {
                biased;
                changed = previews.changed() => if changed.is_err() {
                    previews = self.bus.tasks().previews(id).await.map_err(failed)?;
                },
                changed = status.changed() => if changed.is_err() {
                    // Whoever told of it went away: somebody else may know.
                    status = self.bus.tasks().watch(id).await.map_err(failed)?;
                },
            }
        }
    }

    pub(super) async fn place(&self, request: PlaceRequest, file: Body) -> Result<PlacementView, Failure> {
        let work = request.work;
        let kind = named(&work.task_type)?.to_string();
        self.known_type(&kind, self.circle(work.circle.as_deref())?)?;
        let options = self.wishes(&work)?;
        let input = if file.is_empty() {
            // Enough for an estimate; a picture could not be prepared from nothing.
            let job = Job { params: bounded(work.params)?, ..Job::default() };
            postcard::to_allocvec(&job)
                .map_err(|e| Failure::failed(format!("the input has no wire form: {e}")))?
        } else {
            self.input(&kind, work.params, file).await?
        };
        let decision: Decision = self.bus.place(&kind, input, options).await.map_err(bus_failure)?;
        let names = self.names();
        Ok(PlacementView {
            chosen: decision.chosen,
            chosen_name: decision.chosen.map(|id| names.of(&id)).unwrap_or_default(),
            text: decision.explanation.to_string(),
            explanation: serde_json::to_value(&decision.explanation).ok(),
        })
    }
}

/// Fewer devices keep its checkpoints than were asked for.
fn shortfall(asked: Option<u8>, status: &TaskStatus) -> Option<String> {
    let (asked, kept) = (usize::from(asked?), status.holders.len());
    (kept < asked).then(|| {
        format!("{asked} devices were to keep its checkpoints, and only {kept} in reach can; more devices of the circle that know its type would help")
    })
}

fn bounded(params: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Failure> {
    if params.len() > PARAMS || params.iter().any(|(k, v)| k.len() + v.len() > PARAM_BYTES) {
        return Err(Failure::usage(format!("at most {PARAMS} settings of {PARAM_BYTES} bytes are allowed")));
    }
    Ok(params)
}

pub(super) fn view(status: &TaskStatus, names: &Labels) -> TaskView {
    TaskView {
        id: status.id,
        task_type: status.kind.clone(),
        name: status.name.clone(),
        // For scripts one word, whoever paused it.
        state: paused_by(status).map_or(status.state, |_| TaskState::Paused),
        paused: paused_by(status).map(|pause| PausedView {
            by: pause.by,
            by_name: names.of(&pause.by),
            since_ms: pause.since.0,
        }),
        progress_permille: (status.progress.clamp(0.0, 1.0) * 1000.0) as u16,
        progress_text: status.progress_text.clone(),
        runner: status.runner,
        runner_name: status.runner.map(|id| names.of(&id)).unwrap_or_default(),
        epoch: status.epoch.0,
        branch: status.branch,
        policy: status.policy,
        holders: status.holders.clone(),
        holder_names: status.holders.iter().map(|id| names.of(id)).collect(),
        submitter: status.submitter,
        submitter_name: names.of(&status.submitter),
        submitted_ms: status.spec.submitted.0,
        checkpoint: status.checkpoint,
        checkpoint_age_ms: status
            .checkpoint_age()
            .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        error: status.error.clone(),
        fork: status.fork.map(|fork| ForkView { branch: fork.branch, lost: fork.lost }),
        moves: status.moves.iter().map(|moved| move_view(moved, names)).collect(),
    }
}

fn paused_by(status: &TaskStatus) -> Option<Pause> {
    match status.state {
        TaskState::PausedBy(pause) => Some(pause),
        _ => None,
    }
}

fn move_view(moved: &Move, names: &Labels) -> MoveView {
    let (reason, because) = match &moved.reason {
        MoveReason::Placed(why) => ("placed", why.clone()),
        MoveReason::Person(words) => ("person", words.clone()),
        MoveReason::Bus(why) => ("bus", why.clone()),
        MoveReason::Drain => ("drain", String::new()),
        MoveReason::Failover => ("failover", String::new()),
        MoveReason::Adopted => ("adopted", String::new()),
    };
    MoveView {
        from: moved.from,
        from_name: names.of(&moved.from),
        to: moved.to,
        to_name: names.of(&moved.to),
        reason: reason.into(),
        because,
        epoch: moved.epoch.0,
        downtime_ms: moved.downtime_ms,
        bytes: moved.bytes,
        at_ms: moved.at.0,
        rounds: moved.rounds,
        whole_ms: moved.whole_ms,
    }
}
