//! What all parts of the driver stand on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use softbus_core::wire::task::EpochMessage;
use softbus_core::wire::task_control::{EpochNote, Reply, Request, TaskSpec, TaskState};
use softbus_core::{CircleId, DeviceId, ErrorCode, Hash, ServiceName, Signed, TaskId, encode};
use softbus_net::seam::{Lane, Seam};
use softbus_net::{Channel, Judge, Net, write_message};
use softbus_placement::Leases;
use softbus_roster::Roster;
use softbus_trust::{DeviceKey, Role};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::TasksConfig;
use super::access::OpenGrant;
use super::actor::{self, ActorRef, Input, Seed};
use super::contents::Contents;
use super::placing::Refusals;
use super::promises::Book;
use super::saves::Saves;
use super::shared::TaskShared;
use super::tasks::ended;
use super::transfer::net_error;
use crate::checkpoint::{BlobKeeper, WrapKey};
use crate::epoch::{Setup, Trace};
use crate::native::TaskRegistry;
use crate::status::{TaskEvent, TaskStatus};
use crate::store::{Checkpoint, Gone, TaskStore};
use crate::{TaskError, limits};

pub(crate) struct Inner {
    pub net: Net,
    pub roster: Roster,
    pub judge: Arc<dyn Judge>,
    pub key: Arc<DeviceKey>,
    pub me: DeviceId,
    pub seam: Seam,
    pub store: TaskStore,
    pub blobs: BlobKeeper,
    pub wrap: WrapKey,
    pub registry: TaskRegistry,
    pub config: TasksConfig,
    pub service: ServiceName,
    pub closing: watch::Sender<bool>,
    pub watchers: Arc<Semaphore>,
    /// Shared, as a place in the queue is as large as what it holds.
    pub events: broadcast::Sender<Arc<TaskEvent>>,
    known: Mutex<Known>,
    leases: Mutex<Leases>,
    pub leases_changed: Notify,
    promises: Mutex<Book>,
    refusals: Mutex<Refusals>,
    pipes: Mutex<BTreeMap<DeviceId, mpsc::Sender<EpochNote>>>,
    serving: Arc<Semaphore>,
    serving_peer: Mutex<BTreeMap<DeviceId, Arc<Semaphore>>>,
    load: Mutex<BTreeMap<TaskId, u64>>,
    /// Checkpoints that are kept for those who save them.
    pub saves: Saves,
    /// What images of tasks begin with.
    pub contents: Contents,
    draining: AtomicBool,
}

/// The tasks of this device.
#[derive(Default)]
struct Known {
    actors: BTreeMap<TaskId, ActorRef>,
    /// Those whose actor is about to begin, or which are being forgotten.
    reserved: BTreeSet<TaskId>,
    /// Those that were forgotten.
    gone: BTreeMap<TaskId, Gone>,
}

/// The right to begin the actor of a task.
pub(crate) struct Reservation {
    inner: Arc<Inner>,
    task: TaskId,
}

impl Reservation {
    /// For as long as the program runs.
    fn keep(self) {
        self.inner.block(self.task);
        std::mem::forget(self);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        lock(&self.inner.known).reserved.remove(&self.task);
    }
}

/// What [`Inner::new`] is given.
pub(crate) struct Stands {
    pub net: Net,
    pub roster: Roster,
    pub judge: Arc<dyn Judge>,
    pub key: Arc<DeviceKey>,
    pub store: TaskStore,
    pub wrap: WrapKey,
    pub registry: TaskRegistry,
    pub config: TasksConfig,
    pub service: ServiceName,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each of these is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub fn new(on: Stands) -> Arc<Self> {
        let seam = on.net.seam().clone();
        Arc::new(Self {
            me: on.key.id(),
            blobs: BlobKeeper(seam.storage.blobs()),
            contents: Contents::new(on.config.content_bytes),
            leases: Mutex::new(Leases::new(on.config.leases)),
            net: on.net,
            roster: on.roster,
            judge: on.judge,
            key: on.key,
            config: on.config,
            store: on.store,
            wrap: on.wrap,
            registry: on.registry,
            service: on.service,
            closing: watch::Sender::new(false),
            watchers: Arc::new(Semaphore::new(limits::WATCHERS)),
            events: broadcast::Sender::new(limits::EVENTS),
            known: Mutex::default(),
            leases_changed: Notify::new(),
            promises: Mutex::default(),
            refusals: Mutex::default(),
            pipes: Mutex::default(),
            serving: Arc::new(Semaphore::new(limits::SERVING)),
            serving_peer: Mutex::default(),
            load: Mutex::default(),
            saves: Saves::default(),
            draining: AtomicBool::new(false),
            seam,
        })
    }

    /// Runs a future on the seam's runtime; it ends with this run of the program. It stays in the span of whoever starts
    /// it, so that what is done for a task is logged with the task.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.seam.sockets.runtime().spawn(Box::pin(future.in_current_span()));
    }

    pub fn tell(&self, event: TaskEvent) {
        // Nobody listening is no fault.
        let _ = self.events.send(Arc::new(event));
    }

    // ------------------------------------------------------------ tasks

    pub fn actor(&self, task: TaskId) -> Option<ActorRef> {
        lock(&self.known).actors.get(&task).cloned()
    }

    pub fn shared(&self, task: TaskId) -> Option<Arc<TaskShared>> {
        lock(&self.known).actors.get(&task).map(|actor| actor.shared.clone())
    }

    /// Ids of all tasks known here, in order.
    pub fn tasks(&self) -> Vec<TaskId> {
        lock(&self.known).actors.keys().copied().collect()
    }

    /// How many tasks are known, begin or are being forgotten, and were forgotten.
    pub fn counts(&self) -> (usize, usize, usize) {
        let known = lock(&self.known);
        (known.actors.len(), known.reserved.len(), known.gone.len())
    }

    /// To how many peers messages of the epoch machines go, and how many wait for one of them at most.
    pub fn pipes_filled(&self) -> (usize, usize) {
        let pipes = lock(&self.pipes);
        let open = pipes.values().filter(|pipe| !pipe.is_closed());
        open.fold((0, 0), |(peers, most), pipe| (peers + 1, most.max(pipe.max_capacity() - pipe.capacity())))
    }

    /// Places for checkpoints that are served.
    pub fn all_serving(&self) -> &Arc<Semaphore> {
        &self.serving
    }

    pub fn actors(&self) -> Vec<ActorRef> {
        lock(&self.known).actors.values().cloned().collect()
    }

    /// What a machine is made with.
    pub fn setup(&self) -> Setup {
        let mut seed = [0; 8];
        self.seam.entropy.fill(&mut seed);
        Setup { key: self.key.clone(), seed: u64::from_le_bytes(seed), tuning: self.config.tuning }
    }

    /// The right to begin the actor of a task, which nobody else has meanwhile. `None`: there is one, or it is just being
    /// forgotten, or something of it cannot be read.
    pub fn reserve(self: &Arc<Self>, task: TaskId) -> Option<Reservation> {
        let mut known = lock(&self.known);
        let free = !known.actors.contains_key(&task) && known.reserved.insert(task);
        free.then(|| Reservation { inner: self.clone(), task })
    }

    /// Nobody begins this task until the program is started again.
    pub fn block(&self, task: TaskId) {
        lock(&self.known).reserved.insert(task);
    }

    /// What is left of a task that was forgotten here.
    pub fn gone(&self, task: TaskId) -> Option<Gone> {
        lock(&self.known).gone.get(&task).cloned()
    }

    /// Tasks that were forgotten in earlier runs.
    pub fn remember(&self, gone: BTreeMap<TaskId, Gone>) {
        lock(&self.known).gone = gone;
    }

    /// Begins the actor of a task.
    pub fn begin(self: &Arc<Self>, place: Reservation, shared: Arc<TaskShared>, seed: Seed) -> ActorRef {
        let task = shared.task;
        let actor = actor::spawn(self, shared, seed);
        {
            let mut known = lock(&self.known);
            known.actors.insert(task, actor.clone());
            known.gone.remove(&task);
        }
        drop(place);
        self.tell(TaskEvent::Known { task });
        actor
    }

    /// Forgets a task, its key first; `trace` of it stays. Until that is done nobody begins it again.
    pub fn forget(self: &Arc<Self>, shared: &Arc<TaskShared>, trace: Option<Trace>) {
        let task = shared.task;
        let gone = trace.map(|trace| Gone { trace, at: self.seam.clock.wall() });
        let (place, older) = {
            let mut known = lock(&self.known);
            if known.actors.get(&task).is_some_and(|actor| !Arc::ptr_eq(&actor.shared, shared)) {
                return;
            }
            known.actors.remove(&task);
            if !known.reserved.insert(task) {
                return; // It is being forgotten already.
            }
            let full = known.gone.len() >= limits::TRACES && gone.is_some();
            let older =
                full.then(|| known.gone.iter().min_by_key(|(_, gone)| gone.at).map(|(task, _)| *task));
            let older = older.flatten();
            older.iter().for_each(|older| {
                known.gone.remove(older);
            });
            known.gone.extend(gone.clone().map(|gone| (task, gone)));
            (Reservation { inner: self.clone(), task }, older)
        };
        let (inner, shared) = (self.clone(), shared.clone());
        self.spawn(async move {
            let _nobody_stores = shared.chunks.write().await;
            let mut names: BTreeSet<Hash> = BTreeSet::new();
            {
                let mut parts = shared.parts();
                parts.gone = true;
                names.append(&mut parts.staged);
                let images = parts.checkpoints.values().map(|c| &c.image.chunks);
                names.extend(images.flatten().copied());
                parts.checkpoints.clear();
                names.extend(parts.snapshot.take().iter().flat_map(|image| &image.chunks).copied());
                parts.key = None;
            }
            let names = inner.unneeded_by_others(&shared, names);
            if let Err(error) = inner.store.forget(task, gone.as_ref(), older).await {
                tracing::warn!(%task, %error, "a task could not be forgotten; it is tried at the next start");
                place.keep();
                return;
            }
            drop(place);
            inner.erase_chunks(names).await;
        });
    }

    // ------------------------------------------------------------ storing

    /// Makes a checkpoint known whose chunks are durable.
    pub async fn add_checkpoint(&self, shared: &TaskShared, checkpoint: Checkpoint) -> Result<(), TaskError> {
        let file = self.file(shared);
        self.store.put_checkpoint(shared.task, &checkpoint, file.as_ref()).await?;
        let mut parts = shared.parts();
        for name in &checkpoint.image.chunks {
            parts.staged.remove(name);
        }
        let manifest = checkpoint.manifest.hash();
        parts.untold.insert(manifest);
        parts.checkpoints.insert(manifest, Arc::new(checkpoint));
        Ok(())
    }

    pub async fn save_file(&self, shared: &TaskShared) -> Result<(), TaskError> {
        match self.file(shared) {
            Some(file) => self.store.put_file(shared.task, &file).await,
            None => Ok(()),
        }
    }

    pub fn save_file_soon(self: &Arc<Self>, shared: &Arc<TaskShared>) {
        let (inner, shared) = (self.clone(), shared.clone());
        self.spawn(async move {
            if let Err(error) = inner.save_file(&shared).await {
                tracing::warn!(task = %shared.task, %error, "the file of a task was not written");
            }
        });
    }

    pub fn file(&self, shared: &TaskShared) -> Option<crate::store::TaskFile> {
        let parts = shared.parts();
        let key = parts.key.as_ref().map(|key| self.wrap.wrap(&*self.seam.entropy, key));
        parts.file(key.unwrap_or_default())
    }

    /// Erases checkpoints and chunks that nothing names any more.
    pub fn erase(self: &Arc<Self>, shared: &Arc<TaskShared>, gone: Vec<Hash>, names: BTreeSet<Hash>) {
        let (inner, shared) = (self.clone(), shared.clone());
        self.spawn(async move {
            let _nobody_stores = shared.chunks.write().await;
            let task = shared.task;
            let removed = inner.store.remove_checkpoints(gone.into_iter().map(|m| (task, m)).collect()).await;
            if let Err(error) = removed {
                // They stay on the disk until the next start; nothing refers to them here.
                tracing::warn!(%task, %error, "old checkpoints were not erased");
                return;
            }
            // What was stored again meanwhile stays.
            let names = {
                let parts = shared.parts();
                &parts.unneeded(names) - &parts.staged
            };
            inner.erase_chunks(inner.unneeded_by_others(&shared, names)).await;
        });
    }

    /// Leaves those names that no other task needs: whoever can name another's chunks cannot have them erased.
    fn unneeded_by_others(&self, shared: &TaskShared, mut names: BTreeSet<Hash>) -> BTreeSet<Hash> {
        let others: Vec<Arc<TaskShared>> =
            lock(&self.known).actors.values().map(|actor| actor.shared.clone()).collect();
        for other in others.iter().filter(|other| other.task != shared.task) {
            names = other.parts().without_own(names);
        }
        names
    }

    pub async fn erase_chunks(&self, names: impl IntoIterator<Item = Hash>) {
        let names: Vec<Hash> = names.into_iter().collect();
        for batch in names.chunks(limits::BATCH * 16) {
            let (blobs, batch) = (self.blobs.clone(), batch.to_vec());
            let job =
                move || batch.iter().try_for_each(|name| blobs.0.remove(name)).and_then(|()| blobs.0.tidy());
            if let Some(Err(error)) = self.seam.compute.run(Lane::Disk, 10_000, job).await {
                tracing::warn!(%error, "old chunks were not erased; it is tried at the next start");
            }
        }
    }

    // ------------------------------------------------------------ the world

    /// A device's role in a task's circle; `None`: it, or this device, is not in it.
    pub fn role(&self, grant: &OpenGrant, device: &DeviceId) -> Option<Role> {
        // Whatever became of its membership: a task stays its submitter's own where that is.
        let own = *device == self.me && *device == grant.submitter();
        self.role_in(grant.circle(), device).or(own.then_some(Role::Member))
    }

    /// Whether another device is in a task's circle, even if this device's own time there is over just now.
    pub fn is_of_circle(&self, grant: &OpenGrant, device: &DeviceId) -> bool {
        grant.circle().is_some_and(|circle| self.judge.role_in(&circle, device).is_some())
    }

    /// A device's role in a circle with us. Without any, each device is its own owner, and nobody else's.
    pub fn role_in(&self, circle: Option<CircleId>, device: &DeviceId) -> Option<Role> {
        let Some(circle) = circle else { return (*device == self.me).then_some(Role::Owner) };
        let own = self.judge.own_role_in(&circle)?;
        if *device == self.me { Some(own) } else { self.judge.role_in(&circle, device) }
    }

    /// The circle that a task is of whose submitter names none: one that this device owns, or else any that it is in.
    pub fn circle_of_choice(&self) -> Option<CircleId> {
        let circles = self.judge.circles();
        let best = circles.iter().max_by_key(|(id, role)| (**role, std::cmp::Reverse(**id)));
        best.map(|(id, _)| *id)
    }

    /// Operations per second of one core here.
    pub fn own_rate(&self) -> u64 {
        let view = self.roster.view();
        let now = view.own().and_then(|own| own.now.as_ref().map(|now| now.profile.rate_ops_per_s));
        now.filter(|rate| *rate > 0).unwrap_or(50_000_000)
    }

    pub fn memory_free(&self) -> u64 {
        let view = self.roster.view();
        view.own().and_then(|own| own.now.as_ref().map(|now| now.profile.memory_free_bytes)).unwrap_or(0)
    }

    pub fn rtt(&self, device: DeviceId) -> Duration {
        self.net.links().borrow().get(&device).map_or(Duration::ZERO, |link| link.rtt)
    }

    /// What runs here, for the profile: a task with this much left, or none any more.
    pub fn set_load(&self, task: TaskId, left_ops: Option<u64>) {
        let mut load = lock(&self.load);
        match left_ops {
            Some(left) => load.insert(task, left),
            None if load.contains_key(&task) => load.remove(&task),
            None => return,
        };
        let queued = load.values().fold(0u64, |sum, left| sum.saturating_add(*left));
        self.roster.set_running(u16::try_from(load.len()).unwrap_or(u16::MAX), queued);
    }

    /// The promises made here, to look at; [`Inner::with_leases`] changes them.
    pub fn leases(&self) -> MutexGuard<'_, Leases> {
        lock(&self.leases)
    }

    pub fn promises(&self) -> MutexGuard<'_, Book> {
        lock(&self.promises)
    }

    pub fn refused(&self, device: DeviceId, task: TaskId, now: Instant) -> bool {
        lock(&self.refusals).stands(device, task, now)
    }

    pub fn note_refusal(&self, device: DeviceId, task: TaskId) {
        lock(&self.refusals).note(device, task, Instant::now());
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub fn begin_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.with_leases(|leases, _| leases.drain());
    }

    /// The right to serve one checkpoint to `peer` now.
    pub fn serving(&self, peer: DeviceId) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let of_peer = {
            let mut all = lock(&self.serving_peer);
            all.retain(|id, semaphore| *id == peer || semaphore.available_permits() < limits::SERVING_PEER);
            all.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(limits::SERVING_PEER))).clone()
        };
        let of_peer = of_peer.try_acquire_owned().ok()?;
        Some((of_peer, self.serving.clone().try_acquire_owned().ok()?))
    }

    // ------------------------------------------------------------ other devices

    /// Opens a channel of `task/1`.
    pub async fn open(&self, device: DeviceId) -> Result<Channel, TaskError> {
        match timeout(limits::ANSWER, self.net.open(device, &self.service)).await {
            Ok(opened) => opened.map_err(|error| net_error(device, &error)),
            Err(_) => Err(TaskError::Unreachable(device)),
        }
    }

    /// Asks a device.
    pub async fn ask(&self, device: DeviceId, request: &Request) -> Result<Reply, TaskError> {
        self.ask_for(device, request, limits::ANSWER).await
    }

    /// Asks a device what may take it a while.
    pub async fn ask_for(
        &self,
        device: DeviceId,
        request: &Request,
        patience: Duration,
    ) -> Result<Reply, TaskError> {
        let mut channel = self.open(device).await?;
        let answer = async {
            channel.send_message(request).await?;
            channel.finish();
            channel.expect_message::<Reply>().await
        };
        match timeout(patience, answer).await {
            Ok(Ok(Reply::Refused { code, why })) => {
                let code = ErrorCode::from_number(code.into());
                Err(TaskError::Refused { device, code, why: crate::status::cut(why) })
            }
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(net_error(device, &error)),
            Err(_) => Err(TaskError::Unreachable(device)),
        }
    }

    /// Ends a task by an order of someone who may.
    pub async fn cancel_by(&self, task: TaskId, order: Signed) -> Result<(), TaskError> {
        let actor = self.actor(task).ok_or(TaskError::NoSuchTask(task))?;
        let grant = actor.shared.grant().ok_or(TaskError::NoSuchTask(task))?;
        crate::epoch::certificate::open_cancel(task, &order)
            .map_err(|e| TaskError::Protocol(e.to_string()))?;
        let right = softbus_core::wire::task_control::Right::Cancel;
        if !grant.may(&order.signer, self.role(&grant, &order.signer), right) {
            return Err(TaskError::Forbidden(task));
        }
        let state = actor.shared.status.borrow().state;
        if matches!(state, TaskState::Done | TaskState::Failed) {
            return Err(ended(state));
        }
        let command = crate::epoch::Command::Cancel { order };
        let (done, answer) = oneshot::channel();
        let order = Input::Order { command, done: Some(done) };
        actor.inbox.send(order).await.map_err(|_| TaskError::Closed)?;
        answer.await.map_err(|_| TaskError::Closed)?
    }

    /// Sends a message of the epoch machines; it may get lost.
    pub fn send_epoch(self: &Arc<Self>, to: DeviceId, grant: Option<Signed>, message: &EpochMessage) {
        let Ok(bytes) = encode(message) else {
            tracing::error!(task = %message.task, what = message.name(), "an epoch message has no wire form");
            return;
        };
        let mut note = EpochNote { grant, message: bytes };
        let mut pipes = lock(&self.pipes);
        if let Some(pipe) = pipes.get(&to) {
            match pipe.try_send(note) {
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => return,
                Err(mpsc::error::TrySendError::Closed(back)) => note = back,
            }
        }
        let (pipe, notes) = mpsc::channel(limits::PIPE);
        // It has room for one.
        let _ = pipe.try_send(note);
        // Others that ended; foreign decrees could name ever new devices.
        pipes.retain(|_, pipe| !pipe.is_closed());
        pipes.insert(to, pipe);
        let inner = self.clone();
        self.spawn(async move { inner.pump(to, notes).await });
    }

    /// Carries messages to one peer, in order, as long as there is a channel. Ends when it breaks or nothing came
    /// for a while; the next message begins another. When another connection has taken the link over they go there: the
    /// peer may have lost the old one. The machines do not depend on the order, and repeat what matters.
    async fn pump(self: Arc<Self>, to: DeviceId, mut notes: mpsc::Receiver<EpochNote>) {
        let mut closing = self.closing.subscribe();
        let Ok(mut channel) = self.open(to).await else { return };
        loop {
            let note = tokio::select! {
                biased;
                _ = closing.changed() => break,
                note = timeout(Duration::from_secs(60), notes.recv()) => note,
                // The peer ended the channel.
                _ = channel.send.stopped() => break,
            };
            let Ok(Some(note)) = note else { break };
            if channel.is_superseded() {
                channel.finish();
                let Ok(newer) = self.open(to).await else { return };
                channel = newer;
            }
            if write_message(&mut channel.send, &note).await.is_err() {
                return;
            }
        }
        // What is still waiting goes out; what comes later goes to the next channel.
        notes.close();
        while let Ok(note) = notes.try_recv() {
            if write_message(&mut channel.send, &note).await.is_err() {
                return;
            }
        }
        channel.finish();
        let _ = timeout(Duration::from_secs(2), channel.finish_and_wait()).await;
    }
}

/// The status of a task of which nothing but its grant is known.
pub(crate) fn first_status(grant: &OpenGrant) -> TaskStatus {
    let spec: &TaskSpec = &grant.grant.spec;
    TaskStatus {
        id: spec.task,
        kind: spec.kind.clone(),
        name: spec.name.clone(),
        submitter: grant.submitter(),
        runner: None,
        epoch: softbus_core::Epoch(0),
        branch: 0,
        state: TaskState::Waiting,
        progress: 0.0,
        progress_text: String::new(),
        policy: spec.policy,
        holders: Vec::new(),
        checkpoint: 0,
        checkpoint_at: None,
        moves: Vec::new(),
        error: None,
        result: None,
        accepted: false,
        fork: None,
        spec: spec.clone(),
    }
}
