//! A running task: steps, checkpoints, effects. Starts, pauses and ends on the word of the epoch machine alone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use softbus_core::wire::task::{Branch, Decree, ManifestKind};
use softbus_core::wire::task_control::{Image, ImageKind, StateMeta};
use softbus_core::{BootMs, DeviceId, Hash, Signed};
use softbus_net::seam::Lane;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use super::Inner;
use super::shared::TaskShared;
use crate::TaskError;
use crate::checkpoint::{Snapshot, TaskKey};
use crate::epoch::manifest::{self, Content};
use crate::limits;
use crate::native::{EFFECTS_PER_STEP, Effect, ErasedStep, Runnable, StepContext, TaskType};
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
    },
    /// Something could not be stored (it is tried again), or can be again.
    Trouble(Option<String>),
    Stopped {
        last: Option<Signed>,
    },
    Failed {
        error: String,
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
            self.stop.store(control.paused || control.end.is_some(), Ordering::Relaxed);
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
    /// The plain bytes, if they are in memory already.
    pub bytes: Option<Vec<u8>>,
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
        let told = reports.clone();
        let end = match Instance::begin(inner, shared, begin, receiver, reports, stop).await {
            Ok(instance) => instance.run().await,
            Err(end) => end,
        };
        tracing::debug!(%task, ?end, "the instance ended");
        // If the actor is gone nobody needs to know.
        let _ = told.send(end).await;
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
    snapshot: Option<Snapshot>,
    storing: Option<oneshot::Receiver<Kept>>,
    /// Since the last checkpoint.
    stepped: bool,
    effects_wait: bool,
    last: Instant,
    cost: Duration,
    retry: Option<Duration>,
}

/// What a storing job gives back.
struct Kept {
    snapshot: Snapshot,
    stored: Result<(Image, Duration), TaskError>,
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
        let bytes = match begin.bytes {
            Some(bytes) => bytes,
            None => {
                let (blobs, key, image) = (inner.blobs.clone(), begin.key.clone(), image.clone());
                let ops = CHUNK_OPS * image.chunks.len() as u64;
                let loaded = inner.seam.compute.run(Lane::Disk, ops, move || blobs.load(&key, &image)).await;
                loaded
                    .ok_or_else(|| failed(TaskError::Closed.to_string()))?
                    .map_err(|e| failed(e.to_string()))?
            }
        };
        let (label, meta) = match &image.kind {
            ImageKind::Input => {
                let label = shared.grant().map(|g| g.grant.spec.kind.clone()).unwrap_or_default();
                (label.clone(), StateMeta { kind: label, ..StateMeta::default() })
            }
            ImageKind::State(meta) => (meta.kind.clone(), meta.clone()),
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
        let restore = kind.clone();
        let made = inner.seam.compute.run(Lane::Work, bytes.len() as u64 / BYTES_PER_OP, move || {
            let program = match bytes.get(..state_len) {
                _ if fresh => restore.start(&bytes),
                Some(state) => restore.resume(state),
                None => Err("its checkpoint is shorter than it says".into()),
            };
            (program, bytes)
        });
        let (program, bytes) = made.await.ok_or_else(|| failed(TaskError::Closed.to_string()))?;
        let most = inner.config.state_bytes;
        let snapshot =
            if fresh { Snapshot::new(most) } else { Snapshot::of(bytes, image.chunks.clone(), most) };
        let program = match program {
            Ok(Ok(program)) => program,
            Err(said) => return Err(failed(format!("it crashed at its start: {said}"))),
            Ok(Err(failure)) if !fresh => return Err(failed(failure.to_string())),
            // That it cannot start from its input is its own word, once and for all.
            Ok(Err(failure)) => Box::new(Stillborn(failure)),
        };
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
            snapshot: Some(snapshot),
            storing: None,
            stepped: fresh,
            effects_wait: false,
            last: Instant::now(),
            cost: Duration::ZERO,
            retry: None,
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
        Ok(instance)
    }

    /// Runs until it is done, stopped, or crashed; the last report is the caller's to send.
    async fn run(mut self) -> Report {
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
            if control.paused || self.inner.seam.clock.boot() >= control.until {
                self.rest(Duration::from_millis(20)).await;
                continue;
            }
            if self.is_clogged(control.released) {
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
            match self.step().await {
                None => return Report::Stopped { last: None },
                Some(ErasedStep::More) => {}
                Some(ErasedStep::Done(output)) => return self.finish(ImageKind::Output, output).await,
                Some(ErasedStep::Failed(failure)) => {
                    let said = crate::status::cut(failure.to_string());
                    return self.finish(ImageKind::Failure, said.into_bytes()).await;
                }
                Some(ErasedStep::Crashed(said)) => {
                    return Report::Failed { error: format!("it crashed: {said}") };
                }
            }
            self.adjust(began.elapsed());
            self.harvest(false).await;
            if self.is_due() {
                self.begin_checkpoint().await;
            }
            self.throttle(began.elapsed()).await;
        }
    }

    async fn step(&mut self) -> Option<ErasedStep> {
        let cx = StepContext::new(self.budget_ops, self.meta.effects.saturating_add(1), self.stop.clone());
        // The program travels to the worker and back; in between a stand-in keeps its place.
        let mut program =
            std::mem::replace(&mut self.program, Box::new(Stillborn(crate::TaskFailure::new("lost"))));
        let job = self.inner.seam.compute.run(Lane::Work, self.budget_ops, move || {
            let done = program.step(cx);
            (program, done)
        });
        let (program, (step, report)) = job.await?;
        self.program = program;
        self.stepped = true;
        self.meta.ops_done = self.meta.ops_done.saturating_add(report.spent_ops);
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

    /// A device that was declared slower than it is rests so long that it is.
    async fn throttle(&mut self, worked: Duration) {
        let permille = u32::from(self.inner.roster.rate_permille().clamp(1, 1000));
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
        tokio::select! {
            biased;
            changed = self.control.changed() => {
                if changed.is_err() {
                    // The actor is gone; it said so in its last word.
                    tokio::task::yield_now().await;
                }
            }
            () = sleep(most) => {}
        }
        self.harvest(false).await;
    }

    fn is_due(&self) -> bool {
        if self.storing.is_some() || !self.stepped {
            return false;
        }
        let interval = match self.retry {
            Some(retry) => retry,
            None if self.effects_wait => limits::CHECKPOINT_EFFECTS.max(self.cost * 2),
            None => self
                .inner
                .config
                .checkpoint_every
                .max(self.cost * limits::CHECKPOINT_SHARE)
                .min(limits::CHECKPOINT_INTERVAL_MAX),
        };
        self.last.elapsed() >= interval
    }

    /// Writes the state into the snapshot; the program may go on when this returns. `Err`: it cannot be written.
    async fn take(&mut self) -> Result<Option<ImageKind>, String> {
        let Some(mut snapshot) = self.snapshot.take() else { return Ok(None) };
        let program =
            std::mem::replace(&mut self.program, Box::new(Stillborn(crate::TaskFailure::new("lost"))));
        let tail: Vec<Effect> = self.tail.iter().cloned().collect();
        let size = snapshot.bytes().len() as u64;
        let job = self.inner.seam.compute.run(Lane::Work, size / BYTES_PER_OP + CHUNK_OPS, move || {
            let mut state_len = 0;
            let written = snapshot.write(|out| {
                let mut counted = Counted { out, len: 0 };
                program.save(&mut counted).map_err(|e| e.to_string())?;
                state_len = counted.len;
                write_tail(&mut counted, &tail).map_err(|e| e.to_string())
            });
            (program, snapshot, written.map(|()| state_len))
        });
        let Some((program, snapshot, written)) = job.await else { return Err(TaskError::Closed.to_string()) };
        self.program = program;
        self.snapshot = Some(snapshot);
        self.stepped = false;
        self.effects_wait = false;
        self.meta.state_len = written?;
        Ok(Some(ImageKind::State(self.meta.clone())))
    }

    /// Takes a checkpoint and begins to store it beside the next steps.
    async fn begin_checkpoint(&mut self) {
        let began = Instant::now();
        self.last = began;
        let kind = match self.take().await {
            Ok(Some(kind)) => kind,
            Ok(None) => return,
            Err(error) => {
                // It can go on, but neither move nor survive: say so, and try again later.
                self.stepped = true;
                self.retry = Some(backoff(self.retry));
                self.tell(Report::Trouble(Some(error))).await;
                return;
            }
        };
        let Some(snapshot) = self.snapshot.take() else { return };
        let (inner, shared, key) = (self.inner.clone(), self.shared.clone(), self.key.clone());
        let (done, storing) = oneshot::channel();
        self.storing = Some(storing);
        self.inner.spawn(async move {
            let (snapshot, stored) = store_snapshot(&inner, &shared, &key, snapshot, kind).await;
            let _ = done.send(Kept { snapshot, stored: stored.map(|image| (image, began.elapsed())) });
        });
    }

    /// Takes in what the storing job gave; waits for it if `wait`.
    async fn harvest(&mut self, wait: bool) {
        let Some(mut storing) = self.storing.take() else { return };
        let kept = match storing.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) if !wait => {
                self.storing = Some(storing);
                return;
            }
            Err(oneshot::error::TryRecvError::Empty) => storing.await.ok(),
            kept => kept.ok(),
        };
        let Some(kept) = kept else {
            // The job died with the snapshot: begin from nothing.
            self.snapshot = Some(Snapshot::new(self.inner.config.state_bytes));
            self.stepped = true;
            return;
        };
        self.snapshot = Some(kept.snapshot);
        match kept.stored {
            Ok((image, cost)) => {
                self.cost = (self.cost + cost) / 2;
                match self.record(image, ManifestKind::Checkpoint, None).await {
                    Ok(manifest) => {
                        if self.retry.take().is_some() {
                            self.tell(Report::Trouble(None)).await;
                        }
                        self.tell(Report::Stored { manifest }).await;
                    }
                    Err(error) => self.trouble(&error).await,
                }
            }
            Err(error) => self.trouble(&error).await,
        }
    }

    async fn trouble(&mut self, error: &TaskError) {
        self.stepped = true;
        self.retry = Some(backoff(self.retry));
        self.tell(Report::Trouble(Some(format!("a checkpoint could not be stored: {error}")))).await;
    }

    /// Stops with a final checkpoint. `None` if the actor changed its mind meanwhile.
    async fn last_checkpoint(&mut self, destination: Option<DeviceId>) -> Option<Report> {
        let stopped = Instant::now();
        if let Some(leaving) = &mut self.shared.parts().leaving {
            leaving.stopped.get_or_insert(stopped);
        }
        self.harvest(true).await;
        let kind = match self.take().await {
            Ok(Some(kind)) => kind,
            Ok(None) => return Some(Report::Stopped { last: None }),
            Err(error) => return Some(Report::Failed { error }),
        };
        loop {
            let snapshot = self.snapshot.take()?;
            let (snapshot, stored) =
                store_snapshot(&self.inner, &self.shared, &self.key, snapshot, kind.clone()).await;
            self.snapshot = Some(snapshot);
            let recorded = match stored {
                Ok(image) => self.record(image, ManifestKind::Checkpoint, destination).await,
                Err(error) => Err(error),
            };
            match recorded {
                Ok(manifest) => return Some(Report::Stopped { last: Some(manifest) }),
                Err(error) => {
                    self.trouble(&error).await;
                    self.rest(self.retry.unwrap_or(limits::STORE_RETRY)).await;
                    if !matches!(self.control.borrow().end, Some(End::Stop { .. })) {
                        return None;
                    }
                }
            }
        }
    }

    /// Stores the result, however often it takes.
    async fn finish(mut self, kind: ImageKind, output: Vec<u8>) -> Report {
        self.harvest(true).await;
        let mut result = Snapshot::new(u64::MAX);
        // Cannot fail: the limit is that of images.
        if result.write(|out| out.write_all(&output)).is_err() {
            return Report::Failed { error: "its result is larger than an image may be".into() };
        }
        let failure = (kind == ImageKind::Failure).then(|| String::from_utf8_lossy(&output).into_owned());
        drop(output);
        loop {
            let (back, stored) =
                store_snapshot(&self.inner, &self.shared, &self.key, result, kind.clone()).await;
            result = back;
            let recorded = match stored {
                Ok(image) => self.record(image, ManifestKind::Result, None).await,
                Err(error) => Err(error),
            };
            match recorded {
                Ok(result) => return Report::Finished { result, failure },
                Err(error) => {
                    self.trouble(&error).await;
                    self.rest(self.retry.unwrap_or(limits::STORE_RETRY)).await;
                    if self.control.borrow().end == Some(End::Discard) {
                        return Report::Stopped { last: None };
                    }
                }
            }
        }
    }

    /// Signs the manifest of a stored image and makes both durable.
    async fn record(
        &mut self,
        image: Image,
        kind: ManifestKind,
        destination: Option<DeviceId>,
    ) -> Result<Signed, TaskError> {
        let right = self.control.borrow().right.clone();
        self.sequence += 1;
        let meta = match &image.kind {
            ImageKind::State(meta) => meta,
            _ => &self.meta,
        };
        let content = content(&image, &self.kind.current, kind, self.sequence, destination, meta);
        let manifest = manifest::next(&*self.inner.key, right.0, &right.1, content)
            .map_err(|e| TaskError::Storage(e.to_string()))?;
        self.inner.add_checkpoint(&self.shared, Checkpoint { manifest: manifest.clone(), image }).await?;
        Ok(manifest)
    }

    async fn tell(&mut self, report: Report) {
        // If the actor is gone, its last word ends the instance at the next turn.
        let _ = self.reports.send(report).await;
    }
}

/// What a manifest says of an image.
pub(crate) fn content(
    image: &Image,
    label: &str,
    kind: ManifestKind,
    sequence: u64,
    destination: Option<DeviceId>,
    meta: &StateMeta,
) -> Content {
    let state_version = label.rsplit_once('/').and_then(|(_, v)| v.parse().ok()).unwrap_or(0);
    let done = kind == ManifestKind::Result;
    Content {
        kind,
        sequence,
        state_version,
        root: image.root(),
        chunks: u32::try_from(image.chunks.len()).unwrap_or(u32::MAX),
        bytes: image.len,
        effects: meta.effects,
        progress_permille: if done { 1000 } else { meta.progress_permille.min(1000) },
        destination,
    }
}

/// Seals what changed and makes it durable.
pub(crate) async fn store_snapshot(
    inner: &Inner,
    shared: &TaskShared,
    key: &TaskKey,
    mut snapshot: Snapshot,
    kind: ImageKind,
) -> (Snapshot, Result<Image, TaskError>) {
    let _erase_later = shared.chunks.read().await;
    loop {
        let (blobs, key) = (inner.blobs.clone(), key.clone());
        let ops = CHUNK_OPS * snapshot.dirty_chunks().min(limits::BATCH) as u64;
        let job = inner.seam.compute.run(Lane::Disk, ops, move || {
            let mut fresh: Vec<Hash> = Vec::new();
            let sealed = snapshot.seal(&key, limits::BATCH, |name, sealed| {
                fresh.push(name);
                blobs.put(&name, &sealed)
            });
            let done = sealed.and_then(|done| blobs.sync(&fresh).map(|()| done));
            if done.is_err() {
                // What the disk did with the others of this batch is not known.
                snapshot.taint();
            }
            (snapshot, done)
        });
        match job.await {
            None => return (Snapshot::new(inner.config.state_bytes), Err(TaskError::Closed)),
            Some((back, Err(error))) => return (back, Err(error.into())),
            Some((back, Ok(false))) => snapshot = back,
            Some((back, Ok(true))) => {
                let image = back.image(kind).ok_or(TaskError::Limit("chunks of a state"));
                if let Ok(image) = &image
                    && matches!(image.kind, ImageKind::State(_))
                {
                    shared.parts().snapshot = Some(Arc::new(image.clone()));
                }
                return (back, image);
            }
        }
    }
}

fn backoff(last: Option<Duration>) -> Duration {
    last.map_or(limits::STORE_RETRY, |last| (last * 2).min(limits::STORE_RETRY_MAX))
}

pub(crate) fn write_tail(out: &mut dyn std::io::Write, tail: &[Effect]) -> std::io::Result<()> {
    out.write_all(&(tail.len() as u64).to_le_bytes())?;
    for effect in tail {
        out.write_all(&effect.sequence.to_le_bytes())?;
        out.write_all(&(effect.bytes.len() as u64).to_le_bytes())?;
        out.write_all(&effect.bytes)?;
    }
    Ok(())
}

/// Reads what [`write_tail`] wrote; foreign bytes.
pub(crate) fn read_tail(mut bytes: &[u8]) -> Option<VecDeque<Effect>> {
    fn number(bytes: &mut &[u8]) -> Option<u64> {
        let (head, rest) = bytes.split_first_chunk::<8>()?;
        *bytes = rest;
        Some(u64::from_le_bytes(*head))
    }
    let count = number(&mut bytes)?;
    let mut tail = VecDeque::new();
    if count > (limits::EFFECTS + EFFECTS_PER_STEP) as u64 {
        return None;
    }
    for _ in 0..count {
        let sequence = number(&mut bytes)?;
        let len = usize::try_from(number(&mut bytes)?).ok()?;
        if len > bytes.len() {
            return None;
        }
        let (effect, rest) = bytes.split_at(len);
        tail.push_back(Effect { sequence, bytes: effect.to_vec() });
        bytes = rest;
    }
    bytes.is_empty().then_some(tail)
}

struct Counted<'a> {
    out: &'a mut dyn std::io::Write,
    len: u64,
}

impl std::io::Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// A task that failed at its start: its only step says so.
struct Stillborn(crate::TaskFailure);

impl Runnable for Stillborn {
    fn step(&mut self, cx: StepContext) -> (ErasedStep, crate::native::StepReport) {
        (ErasedStep::Failed(self.0.clone()), cx.finish())
    }

    fn save(&self, _: &mut dyn std::io::Write) -> Result<(), crate::TaskFailure> {
        Err(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_tail_reads_back(effects in proptest::collection::vec((any::<u64>(), proptest::collection::vec(any::<u8>(), 0..50)), 0..20)) {
            let effects: Vec<Effect> = effects.into_iter().map(|(sequence, bytes)| Effect { sequence, bytes }).collect();
            let mut bytes = Vec::new();
            write_tail(&mut bytes, &effects).unwrap();
            prop_assert_eq!(read_tail(&bytes).map(Vec::from), Some(effects));
            bytes.push(0);
            prop_assert_eq!(read_tail(&bytes), None);
        }

        #[test]
        fn garbage_is_no_tail_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read_tail(&bytes);
        }
    }
}
