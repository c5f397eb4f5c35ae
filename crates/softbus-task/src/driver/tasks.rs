use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use softbus_core::wire::task::{CancelOrder, ManifestKind, Policy};
use softbus_core::wire::task_control::{
    Act, Grant, ImageKind, PolicyKind, Reply, Request, Right, StateMeta, StatusNote, TaskSpec, Verb,
    WatchNote,
};
use softbus_core::{DeviceId, Hash, ServiceName, TaskId, limits as core_limits};
use softbus_net::seam::Lane;
use softbus_net::seam::store::Store;
use softbus_net::{Judge, Net, Presence};
use softbus_placement::Decision;
use softbus_roster::Roster;
use softbus_trust::DeviceKey;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::access::{OpenGrant, sign_act};
use super::actor::{ActorRef, Input, Seed};
use super::follow::{self, Follow};
use super::inner::{Inner, Stands, first_status};
use super::instance::{content, store_snapshot};
use super::service::TaskService;
use super::shared::TaskShared;
use super::{TasksConfig, placing, transfer};
use crate::checkpoint::{Snapshot, TaskKey, WrapKey};
use crate::epoch::{Command, Submission, TaskMachine, certificate, manifest};
use crate::native::{Task, TaskRegistry};
use crate::status::{SubmitOptions, TaskEvent, TaskStatus};
use crate::store::{Checkpoint, Loaded, TaskStore};
use crate::{TaskError, limits};

/// The name of the secret under which task keys are wrapped on disk.
const WRAP_SECRET: &str = "tasks.key";

/// The tasks of this device, and those of others it may see. Clones are handles to the same.
#[derive(Clone)]
pub struct Tasks {
    inner: Arc<Inner>,
    /// Tasks watched here that this device has no part in.
    shadows: Arc<Mutex<BTreeMap<TaskId, Shadow>>>,
}

/// A task known only by what other devices tell.
#[derive(Clone)]
struct Shadow {
    shared: Arc<TaskShared>,
    teller: DeviceId,
}

impl Tasks {
    /// Recovers the tasks of the last run, erases what it left behind, registers `task/1` and goes on.
    ///
    /// # Errors
    /// If the database or the secret store fails.
    pub async fn start(
        net: Net,
        roster: Roster,
        judge: Arc<dyn Judge>,
        store: Store,
        key: Arc<DeviceKey>,
        registry: TaskRegistry,
        mut config: TasksConfig,
    ) -> Result<Self, TaskError> {
        let seam = net.seam().clone();
        if config.state_bytes == 0 {
            let declared = roster.view().own().and_then(|own| own.profile.as_ref().map(|p| p.memory_bytes));
            config.state_bytes = declared.unwrap_or_else(|| seam.sensors.hardware().memory_bytes) / 2;
        }
        let service = ServiceName::try_from("task/1").map_err(|e| TaskError::Storage(e.to_string()))?;
        let wrap = wrap_key(&net).await?;
        let store = TaskStore(store);
        let found = store.load().await.map_err(|e| TaskError::Storage(e.to_string()))?;
        let labels = registry.labels();
        let inner = Inner::new(Stands {
            net: net.clone(),
            roster: roster.clone(),
            judge,
            key,
            store: store.clone(),
            wrap,
            registry,
            config,
            service: service.clone(),
        });
        if found.unreadable == 0 {
            store.remove_checkpoints(found.orphans.clone()).await?;
            let (blobs, named) = (inner.blobs.clone(), found.named());
            let collected =
                seam.compute.run(Lane::Disk, 1_000_000, move || blobs.collect_garbage(&named)).await;
            match collected {
                Some(Ok(0)) | None => {}
                Some(Ok(erased)) => tracing::info!(erased, "chunks left behind by the last run were erased"),
                Some(Err(error)) => tracing::warn!(%error, "chunks left behind by the last run remain"),
            }
        } else {
            tracing::error!(
                found.unreadable,
                "records of tasks cannot be read; they and their chunks are kept"
            );
        }
        let tasks = Self { inner: inner.clone(), shadows: Arc::default() };
        for (task, loaded) in found.tasks {
            if let Err(error) = tasks.recover(task, loaded) {
                tracing::error!(%task, %error, "a task could not be recovered");
            }
        }
        net.router().serve(service, Arc::new(TaskService(inner.clone())));
        if let Err(error) = roster.set_task_types(labels).await {
            tracing::warn!(%error, "the profile does not tell which task types run here");
        }
        tasks.mind_trust();
        Ok(tasks)
    }

    fn recover(&self, task: TaskId, loaded: Loaded) -> Result<(), TaskError> {
        let file = loaded.file.ok_or_else(|| TaskError::Storage("its file is missing".into()))?;
        let grant = OpenGrant::open(file.grant.clone())?;
        let shared = TaskShared::new(first_status(&grant));
        {
            let mut parts = shared.parts();
            parts.key = match file.key.is_empty() {
                true => None,
                false => Some(
                    self.inner
                        .wrap
                        .unwrap(&file.key, task)
                        .map_err(|_| TaskError::Storage("its key was wrapped by another device".into()))?,
                ),
            };
            parts.grant = Some(Arc::new(grant));
            parts.moves = file.moves;
            parts.error = file.error;
            parts.ended = file.ended;
            parts.checkpoints = loaded.checkpoints.into_iter().map(|(k, v)| (k, Arc::new(v))).collect();
        }
        let now = self.inner.seam.clock.boot();
        let (machine, actions) = TaskMachine::restore(self.inner.setup(), loaded.record, now)
            .map_err(|e| TaskError::Storage(e.to_string()))?;
        self.inner.begin(shared, Seed { machine, actions, born: None, ended: file.ended });
        Ok(())
    }

    /// Lets the actors know when trust changes.
    fn mind_trust(&self) {
        let inner = self.inner.clone();
        let mut changed = inner.judge.changed();
        let mut closing = inner.closing.subscribe();
        self.inner.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    _ = closing.changed() => return,
                    change = changed.changed() => if change.is_err() { return },
                }
                for actor in inner.actors() {
                    let _ = actor.inbox.send(Input::TrustChanged).await;
                }
            }
        });
    }

    // ---------------------------------------------------------------- submitting

    /// Submits a task of type `T`.
    ///
    /// # Errors
    /// As [`Tasks::submit`].
    pub async fn run<T: Task>(
        &self,
        input: &T::Input,
        options: SubmitOptions,
    ) -> Result<TaskHandle, TaskError> {
        let bytes = postcard::to_allocvec(input).map_err(|e| TaskError::Codec {
            what: "the input",
            verb: "written",
            why: e.to_string(),
        })?;
        self.submit(&format!("{}/{}", T::NAME, T::STATE_VERSION), bytes, options).await
    }

    /// Submits a task of a type (`picture/1`) with its serialised input (postcard). Placement chooses where it runs;
    /// [`TaskEvent::Placed`] says why. Durable here when this returns.
    ///
    /// # Errors
    /// If the options are out of bounds, no device can take it, or the disk fails.
    pub async fn submit(
        &self,
        kind: &str,
        input: Vec<u8>,
        options: SubmitOptions,
    ) -> Result<TaskHandle, TaskError> {
        let inner = &self.inner;
        if input.len() > core_limits::TASK_INPUT_BYTES {
            return Err(TaskError::BadSubmission(format!(
                "its input has {} bytes, at most {} are allowed",
                input.len(),
                core_limits::TASK_INPUT_BYTES
            )));
        }
        if inner.tasks().len() >= core_limits::TASKS {
            return Err(TaskError::Limit("tasks that one device knows"));
        }
        let start_on = options.hints.start_on;
        let (spec, input) = self.spec(kind, input, &options).await?;
        let task = spec.task;
        let key = TaskKey::generate(&*inner.seam.entropy, task);

        // The input's chunks, before anything refers to them; a crash here leaves garbage that the next start erases.
        let input_bytes = input.len() as u64;
        let mut snapshot = Snapshot::new(u64::MAX);
        snapshot.write(|out| out.write_all(&input)).map_err(|e| TaskError::BadSubmission(e.to_string()))?;
        drop(input);
        let draft = Grant { spec, input: Hash([0; 32]), granted: options.grant };
        let unsigned = OpenGrant::sign(&*inner.key, draft.clone())?;
        let shared = TaskShared::new(first_status(&unsigned));
        let (_, stored) = store_snapshot(inner, &shared, &key, snapshot, ImageKind::Input).await;
        let image = stored?;
        let grant = OpenGrant::sign(&*inner.key, Grant { input: image.root(), ..draft })?;

        let (decision, owner) = self.find_place(&grant, input_bytes, start_on).await?;
        let submitted = self.prepare(&shared, &grant, key, image, &decision, owner).await;
        let (machine, actions) = match submitted {
            Ok(made) => made,
            Err(error) => {
                inner.forget(&shared);
                return Err(error);
            }
        };
        let (born, durable) = oneshot::channel();
        inner.begin(shared.clone(), Seed { machine, actions, born: Some(born), ended: None });
        let explanation = decision.explanation.to_string();
        inner.tell(TaskEvent::Placed { task, on: owner, explanation });
        match durable.await {
            Ok(Ok(())) => Ok(TaskHandle { tasks: self.clone(), id: task }),
            Ok(Err(error)) => {
                inner.forget(&shared);
                Err(error)
            }
            Err(_) => Err(TaskError::Closed),
        }
    }

    /// What placement would say, without submitting anything.
    ///
    /// # Errors
    /// If the options are out of bounds.
    pub async fn explain(
        &self,
        kind: &str,
        input: Vec<u8>,
        options: SubmitOptions,
    ) -> Result<Decision, TaskError> {
        let (spec, input) = self.spec(kind, input, &options).await?;
        let grant = Grant { spec, input: Hash([0; 32]), granted: options.grant };
        let grant = OpenGrant::sign(&*self.inner.key, grant)?;
        Ok(self.decide(&grant, input.len() as u64))
    }

    async fn spec(
        &self,
        kind: &str,
        input: Vec<u8>,
        options: &SubmitOptions,
    ) -> Result<(TaskSpec, Vec<u8>), TaskError> {
        let inner = &self.inner;
        kind.parse::<ServiceName>().map_err(|_| TaskError::UnknownType(kind.chars().take(64).collect()))?;
        let (estimate, input) = match inner.registry.get(kind).cloned() {
            // This device may be too small to run the type itself; then the caller estimates, or nobody does.
            Err(_) => (crate::Estimate::default(), input),
            Ok(known) => {
                let ops = input.len() as u64;
                let job = move || (known.estimate(&input), input);
                inner.seam.compute.run(Lane::Work, ops, job).await.ok_or(TaskError::Closed)?
            }
        };
        let mut id = [0; 16];
        inner.seam.entropy.fill(&mut id);
        let hints = &options.hints;
        let replicas = match options.policy {
            PolicyKind::Owner => options.replicas.unwrap_or(inner.config.replicas),
            PolicyKind::Quorum { k } => options.replicas.unwrap_or(k).max(k),
        };
        let spec = TaskSpec {
            task: TaskId(id),
            kind: kind.to_owned(),
            name: if options.name.is_empty() { kind.to_owned() } else { options.name.clone() },
            qos: options.qos,
            policy: options.policy,
            replicas,
            ops: hints.ops.unwrap_or(estimate.ops),
            memory_bytes: hints.memory_bytes.unwrap_or(estimate.memory_bytes),
            cores: hints.cores.max(1),
            needs: hints.needs.clone(),
            only: hints.only.iter().copied().collect(),
            stay: hints.stay,
            output_bytes: estimate.output_bytes,
            submitted: inner.seam.clock.wall(),
        };
        if !spec.within_limits() {
            return Err(TaskError::BadSubmission(
                "a name, a list or the number of holders is beyond its limit (quorum needs k from 2 to 8)"
                    .into(),
            ));
        }
        Ok((spec, input))
    }

    fn decide(&self, grant: &OpenGrant, input_bytes: u64) -> Decision {
        let inner = &self.inner;
        let spec = &grant.grant.spec;
        let work = placing::work(grant, &spec.kind, spec.ops, input_bytes, Vec::new());
        let candidates = placing::candidates(inner, &inner.roster.view(), spec.task);
        placing::decide(inner, spec, &work, &candidates)
    }

    /// The best device that promises room.
    async fn find_place(
        &self,
        grant: &OpenGrant,
        input_bytes: u64,
        start_on: Option<DeviceId>,
    ) -> Result<(Decision, DeviceId), TaskError> {
        let spec = &grant.grant.spec;
        let mut refused = BTreeSet::new();
        for _ in 0..limits::LEASE_TRIES {
            let decision = self.decide(grant, input_bytes);
            let able = placing::able(&decision);
            let wanted = start_on.filter(|on| able.contains(on));
            let best = wanted.into_iter().chain(able).find(|id| !refused.contains(id));
            let Some(best) = best else { return Err(TaskError::NoPlace(decision.explanation.to_string())) };
            let (ops, memory) = (spec.ops, spec.memory_bytes);
            match self.inner.ask_lease(best, spec.task, ops, memory, spec.kind.clone()).await {
                Ok(()) => return Ok((decision, best)),
                Err(error) => {
                    tracing::info!(device = %best.short(), %error, "no promise of room there");
                    self.inner.note_refusal(best, spec.task);
                    refused.insert(best);
                }
            }
        }
        Err(TaskError::NoPlace("every device that could take it has promised its room to others".into()))
    }

    async fn prepare(
        &self,
        shared: &Arc<TaskShared>,
        grant: &OpenGrant,
        key: TaskKey,
        image: softbus_core::wire::task_control::Image,
        decision: &Decision,
        owner: DeviceId,
    ) -> Result<(TaskMachine, Vec<crate::epoch::Action>), TaskError> {
        let inner = &self.inner;
        let spec = &grant.grant.spec;
        let candidates = placing::candidates(inner, &inner.roster.view(), spec.task);
        let count = usize::from(spec.replicas);
        let holders = placing::holders(inner, grant, decision, &candidates, owner, count);
        let policy = match spec.policy {
            PolicyKind::Owner => Policy::Owner,
            PolicyKind::Quorum { k } => {
                if holders.len() < 2 {
                    return Err(TaskError::NoPlace(format!(
                        "policy quorum needs {k} more devices that can run it, {} are in reach: pair more, or use \
                         policy owner",
                        holders.len()
                    )));
                }
                Policy::Quorum {
                    lease_ms: u32::try_from(inner.config.quorum_lease.as_millis()).unwrap_or(1500),
                }
            }
        };
        let invalid = |e: crate::epoch::EpochError| TaskError::BadSubmission(e.to_string());
        let task_type = spec.kind.rsplit_once('/').map_or(spec.kind.as_str(), |(name, _)| name);
        let meta = StateMeta::default();
        let first = content(&image, &spec.kind, ManifestKind::Checkpoint, 0, Some(owner), &meta);
        let base =
            manifest::first(&*inner.key, spec.task, task_type, grant.hash, policy, owner, &holders, first)
                .map_err(invalid)?;
        {
            let mut parts = shared.parts();
            parts.grant = Some(Arc::new(grant.clone()));
            parts.key = Some(key);
        }
        inner.add_checkpoint(shared, Checkpoint { manifest: base.clone(), image }).await?;
        let submission = Submission {
            task: spec.task,
            task_type: task_type.to_owned(),
            grant: grant.hash,
            policy,
            replicas: spec.replicas,
            owner,
            holders,
            base,
            note: String::new(),
        };
        let made =
            TaskMachine::submit(inner.setup(), submission, inner.seam.clock.boot()).map_err(invalid)?;
        shared.parts().untold.clear();
        Ok(made)
    }

    // ---------------------------------------------------------------- looking

    /// The tasks this device has a part in, in order of their ids.
    pub fn list(&self) -> Vec<Arc<TaskStatus>> {
        self.inner.actors().iter().map(|actor| actor.shared.status.borrow().clone()).collect()
    }

    /// The tasks of all devices in reach, as far as this device may see them, in order of their ids.
    pub async fn list_all(&self) -> Vec<Arc<TaskStatus>> {
        let mut all: BTreeMap<TaskId, Arc<TaskStatus>> =
            self.list().into_iter().map(|status| (status.id, status)).collect();
        for (device, status) in self.ask_everyone().await {
            // Its runner knows best; then who knows the latest epoch.
            let rank = |s: &TaskStatus, by: DeviceId| (s.epoch, s.runner == Some(by), s.state.is_final());
            match all.get(&status.id) {
                Some(known) if rank(known, self.inner.me) >= rank(&status, device) => {}
                _ => {
                    all.insert(status.id, Arc::new(status));
                }
            }
        }
        all.into_values().collect()
    }

    /// A handle to a task that this device has a part in, or may see on another.
    ///
    /// # Errors
    /// If nobody in reach knows it.
    pub async fn handle(&self, id: TaskId) -> Result<TaskHandle, TaskError> {
        self.watch(id).await.map(|_| TaskHandle { tasks: self.clone(), id })
    }

    /// The status of a task as it changes.
    ///
    /// # Errors
    /// If nobody in reach knows the task, or lets this device see it.
    pub async fn watch(&self, id: TaskId) -> Result<watch::Receiver<Arc<TaskStatus>>, TaskError> {
        if let Some(actor) = self.inner.actor(id) {
            let _ = actor.inbox.send(Input::Interest).await;
            return Ok(actor.shared.status.subscribe());
        }
        Ok(self.shadow(id).await?.shared.status.subscribe())
    }

    /// Previews of a task's output as they come: provisional, may change or vanish.
    ///
    /// # Errors
    /// As [`Tasks::watch`].
    pub async fn previews(&self, id: TaskId) -> Result<watch::Receiver<Option<Arc<Vec<u8>>>>, TaskError> {
        self.watch(id).await?;
        match self.inner.shared(id) {
            Some(shared) => Ok(shared.preview.subscribe()),
            None => Ok(self.shadow(id).await?.shared.preview.subscribe()),
        }
    }

    /// What happens to tasks, in order, from now on.
    pub fn events(&self) -> TaskEvents {
        TaskEvents(self.inner.events.subscribe())
    }

    /// A task of others: found by asking everyone, followed at its runner.
    async fn shadow(&self, id: TaskId) -> Result<Shadow, TaskError> {
        let known = self.shadows().get(&id).cloned();
        if let Some(shadow) = known {
            return Ok(shadow);
        }
        let found = self.ask_everyone().await.into_iter().filter(|(_, status)| status.id == id);
        let best = found.max_by_key(|(device, status)| (status.epoch, status.runner == Some(*device)));
        let (device, status) = best.ok_or(TaskError::NoSuchTask(id))?;
        let teller = status.runner.filter(|runner| self.is_online(runner)).unwrap_or(device);
        let mut shadows = self.shadows();
        if shadows.len() >= limits::SHADOWS {
            shadows.retain(|_, shadow| shadow.shared.status.receiver_count() > 0);
        }
        if shadows.len() >= limits::SHADOWS {
            return Err(TaskError::Limit("tasks of others that are watched"));
        }
        let shared = TaskShared::new(status);
        let shadow = Shadow { shared, teller };
        shadows.insert(id, shadow.clone());
        drop(shadows);
        self.keep_shadow(id, &shadow);
        Ok(shadow)
    }

    fn keep_shadow(&self, id: TaskId, shadow: &Shadow) {
        let (inner, shadows, shared) = (self.inner.clone(), self.shadows.clone(), shadow.shared.clone());
        let teller = shadow.teller;
        self.inner.spawn(async move {
            let (sender, mut heard) = mpsc::channel(16);
            let mut from = 0;
            let mut following: Follow = follow::follow(&inner, id, teller, from, sender.clone());
            let mut closing = inner.closing.subscribe();
            loop {
                let news = tokio::select! {
                    biased;
                    _ = closing.changed() => break,
                    news = timeout(Duration::from_secs(60), heard.recv()) => news,
                };
                let watched = shared.status.receiver_count() > 0 || shared.preview.receiver_count() > 0;
                if !watched || inner.actor(id).is_some() {
                    break;
                }
                let Ok(Some(news)) = news else { continue };
                match news.note {
                    WatchNote::Status(note) if note.spec.task == id => {
                        let status = TaskStatus::from_note(*note);
                        let runner = status.runner;
                        let over = status.state.is_final();
                        shared.status.send_replace(Arc::new(status));
                        if over {
                            break;
                        }
                        if let Some(runner) =
                            runner.filter(|runner| *runner != following.runner && *runner != inner.me)
                        {
                            following = follow::follow(&inner, id, runner, from, sender.clone());
                        }
                    }
                    WatchNote::Status(_) => {}
                    WatchNote::Preview(bytes) => {
                        shared.preview.send_replace(Some(Arc::new(bytes)));
                    }
                    WatchNote::Effect { sequence, bytes, .. } if sequence >= from => {
                        from = sequence.saturating_add(1);
                        inner.tell(TaskEvent::Effect { task: id, sequence, bytes });
                    }
                    WatchNote::Effect { .. } => {}
                }
            }
            shadows.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
    }

    fn shadows(&self) -> std::sync::MutexGuard<'_, BTreeMap<TaskId, Shadow>> {
        self.shadows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_online(&self, device: &DeviceId) -> bool {
        let view = self.inner.roster.view();
        view.get(device).is_some_and(|entry| entry.presence == Presence::Online)
    }

    /// What every device in reach tells of its tasks.
    async fn ask_everyone(&self) -> Vec<(DeviceId, TaskStatus)> {
        let view = self.inner.roster.view();
        let peers = view.others().filter(|entry| entry.presence == Presence::Online).map(|entry| entry.id);
        let asked = peers.map(|device| async move {
            let answer = timeout(limits::ASK_ALL, self.inner.ask(device, &Request::List)).await;
            match answer {
                Ok(Ok(Reply::Tasks(notes))) => notes
                    .into_iter()
                    .take(softbus_core::wire::task_control::LIST_TASKS)
                    .filter(StatusNote::within_limits)
                    .map(|note| (device, TaskStatus::from_note(note)))
                    .collect(),
                _ => Vec::new(),
            }
        });
        futures_util::future::join_all(asked).await.into_iter().flatten().collect()
    }

    // ---------------------------------------------------------------- acting

    /// Ends a task everywhere.
    ///
    /// # Errors
    /// If this device may not, or no device of the task is in reach.
    pub async fn cancel(&self, id: TaskId) -> Result<(), TaskError> {
        let order = CancelOrder { task: id, issued: self.inner.seam.clock.wall(), note: String::new() };
        let order = certificate::cancel_order(&*self.inner.key, &order)
            .map_err(|e| TaskError::BadSubmission(e.to_string()))?;
        if self.inner.actor(id).is_some() {
            return self.inner.cancel_by(id, order).await;
        }
        let shadow = self.shadow(id).await?;
        let status = shadow.shared.status.borrow().clone();
        let mut last = TaskError::NoSuchTask(id);
        for device in status.runner.into_iter().chain(status.holders.iter().copied()).chain([shadow.teller]) {
            match self.inner.ask(device, &Request::Cancel(order.clone())).await {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Moves a task to a device, or to the best one. Returns once its runner has taken the order up; the status
    /// tells how it goes.
    ///
    /// # Errors
    /// If this device may not, the runner is not in reach, or the destination cannot or will not take it.
    pub async fn move_to(&self, id: TaskId, to: Option<DeviceId>, reason: &str) -> Result<(), TaskError> {
        self.act(id, Verb::Move { to, reason: reason.chars().take(500).collect() }).await
    }

    /// Lets a task out of quarantine.
    ///
    /// # Errors
    /// As [`Tasks::move_to`].
    pub async fn release(&self, id: TaskId) -> Result<(), TaskError> {
        self.act(id, Verb::Release).await
    }

    async fn act(&self, id: TaskId, verb: Verb) -> Result<(), TaskError> {
        let inner = &self.inner;
        let status = self.status(id).await?;
        let mut runner =
            status.runner.ok_or_else(|| TaskError::Conflict("nobody is known to run it".into()))?;
        let act = Act { task: id, epoch: status.epoch, verb, issued: inner.seam.clock.wall() };
        let signed = sign_act(&*inner.key, &act)?;
        // It may move while we ask; then we are told whither.
        for _ in 0..3 {
            if runner == inner.me {
                let actor = inner.actor(id).ok_or(TaskError::NoSuchTask(id))?;
                return self.act_here(&actor, act).await;
            }
            match inner.ask(runner, &Request::Act(signed.clone())).await? {
                Reply::Done => return Ok(()),
                Reply::Elsewhere { runner: other } if other != runner => runner = other,
                _ => return Err(TaskError::Protocol("an answer to another question".into())),
            }
        }
        Err(TaskError::Conflict("it keeps moving: try again".into()))
    }

    async fn act_here(&self, actor: &ActorRef, act: Act) -> Result<(), TaskError> {
        let me = self.inner.me;
        let grant = actor.shared.grant().ok_or(TaskError::NoSuchTask(act.task))?;
        if !grant.may(&me, self.inner.role(&me), Right::Move) {
            return Err(TaskError::Forbidden(act.task));
        }
        let (done, answer) = oneshot::channel();
        let input = match act.verb {
            Verb::Move { to, reason } => Input::Move {
                to,
                reason: crate::MoveReason::Person(reason),
                epoch: Some(act.epoch),
                done: Some(done),
            },
            Verb::Release => Input::Order { command: Command::Release, done: Some(done) },
        };
        actor.inbox.send(input).await.map_err(|_| TaskError::Closed)?;
        answer.await.map_err(|_| TaskError::Closed)?
    }

    /// Takes over a task from the last checkpoint that this device keeps, whoever runs it. If it does run elsewhere,
    /// this starts a second branch of it: the older one is fenced and stopped as soon as both meet, and what it did
    /// since that checkpoint is lost. Without `force` this only says so.
    ///
    /// # Errors
    /// Without `force` always; and if this device keeps no checkpoint, or may not.
    pub async fn adopt(&self, id: TaskId, force: bool) -> Result<(), TaskError> {
        let actor = self.inner.actor(id).ok_or(TaskError::NoSuchTask(id))?;
        let grant = actor.shared.grant().ok_or(TaskError::NoSuchTask(id))?;
        let me = self.inner.me;
        if !grant.may(&me, self.inner.role(&me), Right::Move) || !grant.may_run(&me, self.inner.role(&me)) {
            return Err(TaskError::Forbidden(id));
        }
        let status = actor.shared.status.borrow().clone();
        if status.state.is_final() {
            return Err(TaskError::Conflict("it has ended".into()));
        }
        if status.runner == Some(me) {
            return Err(TaskError::Conflict("it runs here already".into()));
        }
        if !force {
            let runner = status.runner.map(|r| r.short()).unwrap_or_default();
            let there =
                if status.runner.is_some_and(|r| self.is_online(&r)) { "in reach" } else { "out of reach" };
            return Err(TaskError::Conflict(format!(
                "its runner {runner} is {there}. Adopting starts a second branch from the last checkpoint kept here; \
                 what it did since is lost, and it is stopped there as soon as the two devices meet. Add --force if \
                 that is what you want"
            )));
        }
        let (done, answer) = oneshot::channel();
        let command = Command::Adopt { note: String::new() };
        let order = Input::Order { command, done: Some(done) };
        actor.inbox.send(order).await.map_err(|_| TaskError::Closed)?;
        answer.await.map_err(|_| TaskError::Closed)?
    }

    /// The status of a task now.
    ///
    /// # Errors
    /// As [`Tasks::watch`].
    pub async fn status(&self, id: TaskId) -> Result<Arc<TaskStatus>, TaskError> {
        let watch = self.watch(id).await?;
        let status = watch.borrow().clone();
        Ok(status)
    }

    // ---------------------------------------------------------------- results

    /// The serialised result of a finished task, from here or from any device that keeps it.
    ///
    /// # Errors
    /// If it has not finished, failed, or nobody in reach has the result.
    pub async fn result(&self, id: TaskId) -> Result<Vec<u8>, TaskError> {
        let inner = &self.inner;
        let here = inner.shared(id);
        if let Some(shared) = &here {
            let found = {
                let parts = shared.parts();
                let result = parts.checkpoints.values().find(|c| transfer::is_result(&c.image.kind)).cloned();
                result.zip(parts.key.clone())
            };
            let done = shared.status.borrow().result.is_some();
            if let Some((checkpoint, key)) = found.filter(|_| done) {
                let image = checkpoint.image.clone();
                let (blobs, ops) = (inner.blobs.clone(), 20_000 * image.chunks.len() as u64);
                let loaded = inner.seam.compute.run(Lane::Disk, ops, move || blobs.load(&key, &image)).await;
                match loaded.ok_or(TaskError::Closed)? {
                    Ok(bytes) => return outcome(id, &checkpoint.image.kind, bytes),
                    Err(error) => {
                        tracing::warn!(task = %id, %error, "the result is fetched from another holder")
                    }
                }
            }
        }
        let (shared, status) = match here {
            Some(shared) => {
                let status = shared.status.borrow().clone();
                (shared, status)
            }
            None => {
                let shadow = self.shadow(id).await?;
                let status = shadow.shared.status.borrow().clone();
                (shadow.shared, status)
            }
        };
        if status.state == softbus_core::wire::task_control::TaskState::Cancelled {
            return Err(TaskError::NoResult { task: id, why: "it was cancelled".into() });
        }
        let mut sources: Vec<DeviceId> =
            status.runner.into_iter().chain(status.holders.iter().copied()).collect();
        sources.extend(inner.roster.view().others().map(|entry| entry.id));
        let mut asked = BTreeSet::from([inner.me]);
        for source in sources.into_iter().filter(|source| asked.insert(*source)) {
            if !self.is_online(&source) {
                continue;
            }
            match transfer::fetch_result(inner, &shared, source).await {
                Ok((kind, bytes)) => return outcome(id, &kind, bytes),
                Err(error) => {
                    tracing::debug!(task = %id, source = %source.short(), %error, "no result there")
                }
            }
        }
        let why = match status.state.is_final() {
            true => "no device in reach keeps it".to_owned(),
            false => "it has not finished yet".to_owned(),
        };
        Err(TaskError::NoResult { task: id, why })
    }

    // ---------------------------------------------------------------- the end

    /// Moves every task away (and names other holders), for a graceful shutdown. Returns the tasks that could not leave
    /// in time; they wait on this device's disk.
    pub async fn drain(&self) -> Vec<TaskId> {
        self.inner.begin_draining();
        let mut waiting = Vec::new();
        for actor in self.inner.actors() {
            let (left, done) = oneshot::channel();
            if actor.inbox.send(Input::Drain { left }).await.is_ok() {
                waiting.push(async move {
                    let left = timeout(self.inner.config.drain_patience, done).await;
                    (!matches!(left, Ok(Ok(())))).then_some(actor.shared.task)
                });
            }
        }
        futures_util::future::join_all(waiting).await.into_iter().flatten().collect()
    }

    /// Stops everything here at once; tasks go on at the next start, or elsewhere under policy `quorum`.
    pub async fn shutdown(&self) {
        self.inner.net.router().withdraw(&self.inner.service);
        self.inner.closing.send_replace(true);
        // The actors and instances see it at their next turn.
        for actor in self.inner.actors() {
            let _ = timeout(Duration::from_secs(1), actor.inbox.closed()).await;
        }
    }
}

fn outcome(id: TaskId, kind: &ImageKind, bytes: Vec<u8>) -> Result<Vec<u8>, TaskError> {
    match kind {
        ImageKind::Output => Ok(bytes),
        ImageKind::Failure => {
            let why = format!("it failed: {}", String::from_utf8_lossy(&bytes));
            Err(TaskError::NoResult { task: id, why: crate::status::cut(why) })
        }
        ImageKind::Input | ImageKind::State(_) => Err(TaskError::Protocol("a result of another kind".into())),
    }
}

/// The secret that wraps task keys on this device's disk; made at the first start.
async fn wrap_key(net: &Net) -> Result<WrapKey, TaskError> {
    let seam = net.seam().clone();
    let compute = seam.compute.clone();
    let job = move || -> std::io::Result<WrapKey> {
        if let Some(secret) = seam.storage.secret(WRAP_SECRET)? {
            return Ok(WrapKey::new(&secret));
        }
        let mut secret = Zeroizing::new([0; 32]);
        seam.entropy.fill(&mut secret[..]);
        seam.storage.put_secret(WRAP_SECRET, &secret[..])?;
        Ok(WrapKey::new(&secret[..]))
    };
    Ok(compute.run(Lane::Disk, 10_000, job).await.ok_or(TaskError::Closed)??)
}

/// A task and what can be done with it.
#[derive(Clone)]
pub struct TaskHandle {
    tasks: Tasks,
    id: TaskId,
}

impl TaskHandle {
    /// Its id.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Its status now.
    ///
    /// # Errors
    /// As [`Tasks::watch`].
    pub async fn status(&self) -> Result<Arc<TaskStatus>, TaskError> {
        self.tasks.status(self.id).await
    }

    /// Its status as it changes.
    ///
    /// # Errors
    /// As [`Tasks::watch`].
    pub async fn watch(&self) -> Result<watch::Receiver<Arc<TaskStatus>>, TaskError> {
        self.tasks.watch(self.id).await
    }

    /// Ends it.
    ///
    /// # Errors
    /// As [`Tasks::cancel`].
    pub async fn cancel(&self) -> Result<(), TaskError> {
        self.tasks.cancel(self.id).await
    }

    /// Moves it.
    ///
    /// # Errors
    /// As [`Tasks::move_to`].
    pub async fn move_to(&self, to: Option<DeviceId>, reason: &str) -> Result<(), TaskError> {
        self.tasks.move_to(self.id, to, reason).await
    }

    /// Waits until it is over (done, failed or cancelled) and gives its last status.
    ///
    /// # Errors
    /// As [`Tasks::watch`].
    pub async fn finished(&self) -> Result<Arc<TaskStatus>, TaskError> {
        let mut watch = self.watch().await?;
        let status = watch.wait_for(|status| status.state.is_final()).await;
        status.map(|status| status.clone()).map_err(|_| TaskError::Closed)
    }

    /// Waits until it is over and gives its serialised result.
    ///
    /// # Errors
    /// If it failed or was cancelled, or nobody in reach has the result.
    pub async fn result(&self) -> Result<Vec<u8>, TaskError> {
        self.finished().await?;
        self.tasks.result(self.id).await
    }

    /// Waits until it is over and gives its output: `T` is its type's [`Task::Output`].
    ///
    /// # Errors
    /// As [`TaskHandle::result`], and if the output is not a `T`.
    pub async fn output<T: DeserializeOwned>(&self) -> Result<T, TaskError> {
        let bytes = self.result().await?;
        postcard::from_bytes(&bytes).map_err(|e| TaskError::Codec {
            what: "the output",
            verb: "read",
            why: e.to_string(),
        })
    }
}

/// What happens to tasks, in order.
pub struct TaskEvents(broadcast::Receiver<TaskEvent>);

impl TaskEvents {
    /// The next event; [`TaskEvent::Lagged`] if some were missed; `None` once the task room is closed.
    pub async fn next(&mut self) -> Option<TaskEvent> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(TaskEvent::Lagged { missed }),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
