//! A running task: steps, checkpoints, effects. Starts, pauses and ends on the word of the epoch machine alone.

mod checkpointing;
mod resting;
mod storing;
mod tail;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use softbus_core::wire::task::{Branch, Decree, Fence};
use softbus_core::wire::task_control::{Ended, ImageKind, Pause, StateMeta};
use softbus_core::{BootMs, DeviceId, Hash, Signed};
use softbus_net::seam::Lane;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use storing::Kept;
pub(crate) use storing::{content, store_snapshot};
pub(crate) use tail::{read_tail, write_tail};

use super::contents::Found;
use super::shared::TaskShared;
use super::warm::Warm;
use super::{Inner, contents};
use crate::TaskError;
use crate::checkpoint::{Snapshot, TaskKey};
use crate::limits;
use crate::native::{Changes, EFFECTS_PER_STEP, Effect, ErasedStep, Runnable, StepContext, TaskType};
use crate::store::Checkpoint;

/// Estimated cost of sealing or reading one chunk, in operations of the reference kernel.
pub(crate) const CHUNK_OPS: u64 = 20_000;
/// Bytes of a state that are compared, written or read back in the time of one such operation.
const BYTES_PER_OP: u64 = 32;

/// What the actor wants of the instance; the latest word counts.
#[derive(Clone)]
pub(crate) struct Control {
    /// Branch and decree under which manifests are made.
    pub right: Arc<(Branch, Decree)>,
    /// No step and no effect at or after this moment.
    pub until: BootMs,
    pub paused: bool,
    pub end: Option<End>,
    /// Effects up to this one have left.
    pub released: u64,
    /// Grows each time that a chunk stored before turns out to be damaged.
    pub damage: u64,
    /// Grows each time that checkpoints count again after one that did not.
    pub uncounted: u64,
    /// How much of its processor it may have, in thousandths.
    pub share: u16,
    /// The last word of a person on standing still or going on, and its number; none: as its checkpoint says.
    pub rest: Option<(u64, Option<Pause>)>,
    /// Grows each time that somebody wants a checkpoint of what is now.
    pub wanted: u64,
}

/// How an instance is ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// With a final checkpoint.
    Stop { destination: Option<DeviceId> },
    /// Without.
    Discard,
}

/// What the instance tells the actor.
#[derive(Debug)]
pub(crate) enum Report {
    /// It is about to take its first step.
    Started,
    Progress {
        permille: u16,
        text: Option<String>,
        ops_done: u64,
    },
    Preview(Vec<u8>),
    Effects(Vec<Effect>),
    /// A checkpoint is durable.
    Stored {
        manifest: Signed,
        /// It was taken after so much was [wanted](Control::wanted).
        wanted: u64,
    },
    /// It stands still by the word of a person, or does so no more.
    Rests(Option<Pause>),
    /// Something could not be stored (it is tried again), or can be again.
    Trouble(Option<String>),
    Stopped {
        last: Option<Signed>,
    },
    Failed {
        error: String,
    },
    /// It has no final checkpoint to stop with, and goes on if it may.
    CannotStop {
        error: String,
    },
    /// It could not begin: these chunks of its checkpoint are damaged.
    Damaged {
        chunks: BTreeSet<Hash>,
    },
    Finished {
        result: Signed,
        failure: Option<String>,
    },
}

/// The actor's hold on an instance. Dropping it discards the instance at its next step.
pub(crate) struct Handle {
    pub control: watch::Sender<Control>,
    stop: Arc<AtomicBool>,
}

impl Handle {
    /// Changes what is wanted; a running step is asked to end soon if the instance shall stand still.
    pub fn set(&self, change: impl FnOnce(&mut Control)) {
        self.control.send_modify(|control| {
            change(control);
            let rests = control.rest.is_some_and(|(_, pause)| pause.is_some());
            self.stop.store(control.paused || control.end.is_some() || rests, Ordering::Relaxed);
        });
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.set(|control| control.end = Some(End::Discard));
    }
}

/// From what an instance begins.
pub(crate) struct Begin {
    pub checkpoint: Checkpoint,
    /// Its plain bytes, as far as they are in memory already.
    pub warm: Option<Arc<Warm>>,
    pub sequence: u64,
    pub key: TaskKey,
    pub control: Control,
}

/// Starts an instance.
pub(crate) fn spawn(
    inner: Arc<Inner>,
    shared: Arc<TaskShared>,
    begin: Begin,
    reports: mpsc::Sender<Report>,
) -> Handle {
    let stop = Arc::new(AtomicBool::new(false));
    let (control, receiver) = watch::channel(begin.control.clone());
    let handle = Handle { control, stop: stop.clone() };
    let spawner = inner.clone();
    spawner.spawn(async move {
        let task = shared.task;
        let (told, compute) = (reports.clone(), inner.seam.compute.clone());
        let (end, instance) = match Instance::begin(inner, shared, begin, receiver, reports, stop).await {
            Ok(mut instance) => (instance.run().await, Some(instance)),
            Err(end) => (end, None),
        };
        tracing::debug!(%task, ?end, "the instance ended");
        // If the actor is gone nobody needs to know.
        let _ = told.send(end).await;
        // Only now, and not on a thread that others wait for: it takes its time to give a large state's memory back.
        let _ = compute.run(Lane::Work, 1, move || drop(instance)).await;
    });
    handle
}

struct Instance {
    inner: Arc<Inner>,
    shared: Arc<TaskShared>,
    key: TaskKey,
    program: Box<dyn Runnable>,
    kind: TaskType,
    meta: StateMeta,
    text: Option<String>,
    /// Effects since the last few checkpoints, kept in the next so that no fail-over can lose them.
    tail: VecDeque<Effect>,
    sequence: u64,
    control: watch::Receiver<Control>,
    reports: mpsc::Sender<Report>,
    stop: Arc<AtomicBool>,
    budget_ops: u64,
    /// The share of its processor that it takes, by its own word, in thousandths.
    share: u16,
    snapshot: Option<Snapshot>,
    storing: Option<oneshot::Receiver<Kept>>,
    /// Since the last checkpoint.
    stepped: bool,
    effects_wait: bool,
    last: Instant,
    cost: Duration,
    /// For how long it stood still for a checkpoint, in the mean of the last ones.
    still: Duration,
    retry: Option<Duration>,
    /// When it took its last step, or began as one that had.
    over_since: Option<Instant>,
    /// The damage, the checkpoints that did not count, and those that were asked for, that were seen to.
    damage: u64,
    uncounted: u64,
    /// A person paused it.
    pause: Option<Pause>,
    /// The words of persons, and the wishes for checkpoints, that were seen to.
    rest: u64,
    wanted: u64,
    woken: Arc<Woken>,
}

/// Set when what a task waits for has happened.
#[derive(Default)]
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Instance {
    async fn begin(
        inner: Arc<Inner>,
        shared: Arc<TaskShared>,
        begin: Begin,
        control: watch::Receiver<Control>,
        reports: mpsc::Sender<Report>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, Report> {
        let failed = |error: String| Report::Failed { error };
        let image = begin.checkpoint.image.clone();
        let warm = begin.warm.unwrap_or_else(Warm::begin);
        let (bytes, doubles) = match warm.finish(&inner, &image, &begin.key).await {
            Ok(whole) => (whole.bytes, whole.doubles),
            Err(TaskError::Damaged(_)) => {
                let (blobs, image) = (inner.blobs.clone(), image.clone());
                let ops = CHUNK_OPS * image.chunks.len() as u64;
                let all = inner.seam.compute.run(Lane::Disk, ops, move || blobs.damaged(&image)).await;
                return Err(Report::Damaged { chunks: all.unwrap_or_default() });
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        let (label, meta) = match &image.kind {
            ImageKind::Input => {
                let label = shared.grant().map(|g| g.grant.spec.kind.clone()).unwrap_or_default();
                (label.clone(), StateMeta { kind: label, ..StateMeta::default() })
            }
            ImageKind::State(meta) | ImageKind::Paused(meta, _) => (meta.kind.clone(), meta.clone()),
            ImageKind::Output | ImageKind::Failure => {
                return Err(failed("its checkpoint is a result".into()));
            }
        };
        let kind = inner.registry.get(&label).map_err(|e| failed(e.to_string()))?.clone();
        let fresh = image.kind == ImageKind::Input;
        let state_len = usize::try_from(meta.state_len).unwrap_or(usize::MAX);
        let tail: VecDeque<Effect> = match bytes.get(state_len.min(bytes.len())..) {
            Some(tail) if !fresh => {
                read_tail(tail).ok_or_else(|| failed("its checkpoint has no proper end".into()))?
            }
            _ => VecDeque::new(),
        };
        let (restore, ended, terms) = (kind.clone(), meta.ended, shared.terms());
        let (most, names) = (inner.config.state_bytes, image.chunks.clone());
        let looker = inner.clone();
        let made = inner.seam.compute.run(Lane::Work, bytes.len() as u64 / BYTES_PER_OP, move || {
            let found = match ended {
                None => Found::of(&looker, &restore, &terms, &bytes, !fresh),
                Some(_) => None,
            };
            let program = match bytes.get(..state_len) {
                _ if fresh => restore.start(&bytes, &terms),
                Some(output) if let Some(how) = ended => Ok(Ok(Box::new(Over(how, output.to_vec())) as _)),
                Some(state) => restore.resume(state, &terms, doubles),
                None => Err("its checkpoint is shorter than it says".into()),
            };
            let snapshot = if fresh { Snapshot::new(most) } else { Snapshot::of(bytes, names, most) };
            let program = program.map(|made| {
                made.map(|mut program| {
                    if let Some(mark) = snapshot.mark() {
                        program.saved_as(mark);
                    }
                    program
                })
            });
            (program, snapshot, found)
        });
        let (program, snapshot, found) = made.await.ok_or_else(|| failed(TaskError::Closed.to_string()))?;
        let begun = matches!(program, Ok(Ok(_))) && ended.is_none();
        let program = match program {
            Ok(Ok(program)) => program,
            Err(said) => return Err(failed(format!("it crashed at its start: {said}"))),
            Ok(Err(failure)) if !fresh => return Err(failed(failure.to_string())),
            // That it cannot start from its input is its own word, once and for all.
            Ok(Err(failure)) => Box::new(Stillborn(failure)),
        };
        if let Some(grant) = shared.grant().filter(|_| begun) {
            contents::keep(&inner, &grant, found);
        }
        let pause = image.kind.pause();
        shared.parts().snapshot = (!fresh).then(|| Arc::new(image));
        let rate = inner.own_rate().max(1000);
        let mut instance = Self {
            meta: StateMeta { kind: kind.current.clone(), ..meta },
            text: None,
            tail,
            sequence: begin.sequence,
            control,
            reports,
            stop,
            budget_ops: (rate / 50).max(1),
            share: 1000,
            snapshot: Some(snapshot),
            storing: None,
            stepped: fresh,
            effects_wait: false,
            last: Instant::now(),
            cost: Duration::ZERO,
            still: Duration::ZERO,
            retry: None,
            over_since: ended.map(|_| Instant::now()),
            damage: 0,
            uncounted: 0,
            pause: None,
            rest: 0,
            wanted: 0,
            woken: Arc::default(),
            program,
            kind,
            key: begin.key,
            inner,
            shared,
        };
        if !instance.tail.is_empty() {
            let again = instance.tail.iter().cloned().collect();
            instance.tell(Report::Effects(again)).await;
        }
        if pause.is_some() {
            instance.begin_paused(pause).await;
        }
        Ok(instance)
    }

    /// Runs until it is done, stopped, or crashed; the last report is the caller's to send.
    async fn run(&mut self) -> Report {
        let mut started = false;
        loop {
            let control = self.control.borrow_and_update().clone();
            match control.end {
                Some(End::Discard) => {
                    // What is being stored ends in peace, and is erased with the rest: no checkpoint names it.
                    if let Some(storing) = self.storing.take() {
                        let _ = storing.await;
                    }
                    return Report::Stopped { last: None };
                }
                Some(End::Stop { destination }) => {
                    if let Some(report) = self.last_checkpoint(destination).await {
                        return report;
                    }
                    continue;
                }
                None => {}
            }
            self.heed(control.rest).await;
            if control.paused || self.inner.seam.clock.boot() >= control.until {
                self.rest(Duration::from_millis(20)).await;
                continue;
            }
            if self.pause.is_some() {
                if !started {
                    started = true;
                    self.tell(Report::Started).await;
                }
                self.stand_still().await;
                continue;
            }
            let patient = self.over_since.is_some_and(|since| since.elapsed() < limits::LAST_EFFECTS);
            let last_ones_wait = patient && control.released < self.meta.effects;
            if last_ones_wait || self.is_clogged(control.released) {
                // Nothing more comes out of it until what came out before may leave.
                self.harvest(false).await;
                if self.is_due() {
                    self.begin_checkpoint().await;
                }
                self.rest(Duration::from_millis(20)).await;
                continue;
            }
            if !started {
                started = true;
                self.tell(Report::Started).await;
            }
            let began = Instant::now();
            let mut wait = Duration::ZERO;
            match self.step().await {
                None => return Report::Stopped { last: None },
                Some(ErasedStep::More) => {}
                Some(ErasedStep::Wait(most)) => wait = most,
                Some(ErasedStep::Done(output)) => {
                    if let Some(report) = self.end(Ended::Output, output).await {
                        return report;
                    }
                }
                Some(ErasedStep::Failed(failure)) => {
                    let said = crate::status::cut(failure.to_string());
                    if let Some(report) = self.end(Ended::Failure, said.into_bytes()).await {
                        return report;
                    }
                }
                Some(ErasedStep::Crashed(said)) => {
                    return Report::Failed { error: format!("it crashed: {said}") };
                }
            }
            if wait.is_zero() {
                self.adjust(began.elapsed());
            }
            self.harvest(false).await;
            if self.is_due() {
                self.begin_checkpoint().await;
            }
            self.throttle(began.elapsed()).await;
            if !wait.is_zero() {
                self.rest_until(wait.min(limits::WAIT), true).await;
            }
        }
    }

    async fn step(&mut self) -> Option<ErasedStep> {
        let right = self.control.borrow().right.clone();
        let fence = Fence { branch: right.0, epoch: right.1.epoch };
        let cx = StepContext::new(self.budget_ops, self.meta.effects.saturating_add(1), self.stop.clone())
            .with_right(self.shared.task, fence)
            .with_waker(Waker::from(self.woken.clone()));
        // The program travels to the worker and back; in between a stand-in keeps its place.
        let mut program =
            std::mem::replace(&mut self.program, Box::new(Stillborn(crate::TaskFailure::new("lost"))));
        let job = self.inner.seam.compute.run(Lane::Work, self.budget_ops, move || {
            let done = program.step(cx);
            (program, done)
        });
        let (program, (step, report)) = job.await?;
        self.program = program;
        // A step that only waited changed nothing.
        self.stepped |= !matches!(step, ErasedStep::Wait(_)) || !report.effects.is_empty();
        self.meta.ops_done = self.meta.ops_done.saturating_add(report.spent_ops);
        self.share = report.share_permille.unwrap_or(1000);
        if let Some((permille, text)) = report.progress {
            self.meta.progress_permille = permille;
            self.text = Some(crate::status::cut(text));
        }
        let (permille, ops_done) = (self.meta.progress_permille, self.meta.ops_done);
        let text = self.text.take();
        self.tell(Report::Progress { permille, text, ops_done }).await;
        if let Some(preview) = report.preview {
            self.tell(Report::Preview(preview)).await;
        }
        if !report.effects.is_empty() && !matches!(step, ErasedStep::Crashed(_)) {
            self.meta.effects = report.effects.last().map_or(self.meta.effects, |e| e.sequence);
            self.effects_wait = true;
            self.tail.extend(report.effects.iter().cloned());
            // Those that left some time ago need no longer be kept for a fail-over.
            let released = self.control.borrow().released;
            let mut bytes: usize = self.tail.iter().map(|e| e.bytes.len()).sum();
            while (self.tail.len() > limits::EFFECTS / 2 || bytes > limits::EFFECT_BYTES / 2)
                && self.tail.front().is_some_and(|effect| effect.sequence <= released)
            {
                bytes -= self.tail.pop_front().map_or(0, |e| e.bytes.len());
            }
            self.tell(Report::Effects(report.effects)).await;
        }
        Some(step)
    }

    /// Whether so many effects wait to leave that a step more could be too much for a checkpoint.
    fn is_clogged(&self, released: u64) -> bool {
        let waiting = self.tail.iter().filter(|effect| effect.sequence > released);
        let (count, bytes) = waiting.fold((0, 0), |(n, b), effect| (n + 1, b + effect.bytes.len()));
        count > limits::EFFECTS - EFFECTS_PER_STEP || bytes > limits::EFFECT_BYTES
    }

    /// Makes the next step take about [`limits::STEP`].
    fn adjust(&mut self, took: Duration) {
        let (want, took) = (limits::STEP.as_micros() as u64, (took.as_micros() as u64).max(1));
        let most = (self.inner.own_rate() / 5).max(1000);
        let next = u128::from(self.budget_ops) * u128::from(want) / u128::from(took);
        let next = u64::try_from(next).unwrap_or(u64::MAX);
        self.budget_ops = next.clamp(self.budget_ops / 2, self.budget_ops.saturating_mul(2)).clamp(1, most);
    }

    /// A device that was declared slower than it is rests so long that it is; and so does a task that may have a share only.
    async fn throttle(&mut self, worked: Duration) {
        let share = u32::from(self.control.borrow().share.min(self.share).clamp(1, 1000));
        let permille = (u32::from(self.inner.roster.rate_permille().clamp(1, 1000)) * share / 1000).max(1);
        if permille < 1000 {
            let until = Instant::now() + worked * (1000 - permille) / permille;
            while Instant::now() < until && !self.stop.load(Ordering::Relaxed) {
                let left = until.saturating_duration_since(Instant::now());
                self.rest(left).await;
            }
        }
    }

    /// Waits until the actor wants something else, but not longer than `most`.
    async fn rest(&mut self, most: Duration) {
        self.rest_until(most, false).await;
    }

    /// The same; nor until what the task waits for has happened, if it is `woken` by that.
    async fn rest_until(&mut self, most: Duration, woken: bool) {
        let news = self.woken.clone();
        tokio::select! {
            biased;
            changed = self.control.changed() => {
                if changed.is_err() {
                    // The actor is gone; it said so in its last word.
                    tokio::task::yield_now().await;
                }
            }
            () = news.0.notified(), if woken => {}
            () = sleep(most) => {}
        }
        self.harvest(false).await;
    }

    async fn tell(&mut self, report: Report) {
        // If the actor is gone, its last word ends the instance at the next turn.
        let _ = self.reports.send(report).await;
    }
}

/// A task that took its last step, with what came of it.
struct Over(Ended, Vec<u8>);

impl Runnable for Over {
    fn step(&mut self, cx: StepContext) -> (ErasedStep, crate::native::StepReport) {
        let output = std::mem::take(&mut self.1);
        let step = match self.0 {
            Ended::Output => ErasedStep::Done(output),
            Ended::Failure => {
                ErasedStep::Failed(crate::TaskFailure::new(String::from_utf8_lossy(&output).into_owned()))
            }
        };
        (step, cx.finish())
    }

    fn save(&mut self, out: &mut dyn Changes) -> Result<(), crate::TaskFailure> {
        out.write_all(&self.1).map_err(|error| crate::TaskFailure::new(error.to_string()))
    }
}

/// A task that failed at its start: its only step says so.
struct Stillborn(crate::TaskFailure);

impl Runnable for Stillborn {
    fn step(&mut self, cx: StepContext) -> (ErasedStep, crate::native::StepReport) {
        (ErasedStep::Failed(self.0.clone()), cx.finish())
    }

    fn save(&mut self, _: &mut dyn Changes) -> Result<(), crate::TaskFailure> {
        Err(self.0.clone())
    }
}
