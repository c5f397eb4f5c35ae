//! The tasks of this device as its programs see them: start, and the end. What can be done with them is in the parts.

mod filling;
mod handle;
mod looking;
mod orders;
mod results;
mod saving;
mod submit;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use softbus_core::{ServiceName, TaskId};
use softbus_net::seam::Lane;
use softbus_net::seam::store::Store;
use softbus_net::{Judge, Net};
use softbus_roster::Roster;
use softbus_trust::DeviceKey;
use tokio::sync::oneshot;
use tokio::time::timeout;
use zeroize::Zeroizing;

pub use filling::Filling;
pub use handle::{TaskEvents, TaskHandle};
use looking::Shadow;
pub(crate) use orders::{act_here, ended};

use super::TasksConfig;
use super::access::OpenGrant;
use super::actor::{Input, Seed};
use super::inner::{Inner, Stands, first_status};
use super::service::TaskService;
use super::shared::TaskShared;
use crate::TaskError;
use crate::checkpoint::WrapKey;
use crate::epoch::TaskMachine;
use crate::native::TaskRegistry;
use crate::store::{Loaded, TaskStore};

/// The name of the secret under which task keys are wrapped on disk.
const WRAP_SECRET: &str = "tasks.key";
/// Its length.
const WRAP_BYTES: usize = 32;

/// The tasks of this device, and those of others it may see. Clones are handles to the same.
#[derive(Clone)]
pub struct Tasks {
    inner: Arc<Inner>,
    /// Tasks watched here that this device has no part in.
    shadows: Arc<Mutex<BTreeMap<TaskId, Shadow>>>,
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
        let mut found = store.load().await.map_err(|e| TaskError::Storage(e.to_string()))?;
        let contents = std::mem::take(&mut found.contents);
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
        if found.unreadable.is_empty() {
            store.remove_checkpoints(found.orphans.clone()).await?;
            // Perhaps the budget is smaller than it was.
            let gone = inner.contents.found(contents);
            store.put_content(None, gone.into_iter().chain(found.spoilt.clone())).await?;
            let mut named = found.named();
            named.extend(inner.contents.named());
            let blobs = inner.blobs.clone();
            let collected =
                seam.compute.run(Lane::Disk, 1_000_000, move || blobs.collect_garbage(&named)).await;
            match collected {
                Some(Ok(0)) | None => {}
                Some(Ok(erased)) => tracing::info!(erased, "chunks left behind by the last run were erased"),
                Some(Err(error)) => tracing::warn!(%error, "chunks left behind by the last run remain"),
            }
        } else {
            inner.contents.found(contents);
            tracing::error!(
                tasks = found.unreadable.len(),
                "records of tasks cannot be read; they and their chunks are kept"
            );
        }
        let tasks = Self { inner: inner.clone(), shadows: Arc::default() };
        // What cannot be read may hold votes: nobody begins these anew.
        found.unreadable.iter().for_each(|task| inner.block(*task));
        inner.remember(found.gone);
        for (task, loaded) in found.tasks {
            if let Err(error) = tasks.recover(task, loaded) {
                tracing::error!(%task, %error, "a task could not be recovered; it is left as it is");
                inner.block(task);
            }
        }
        net.router().serve(service, Arc::new(TaskService(inner.clone())));
        if let Err(error) = roster.set_task_types(labels).await {
            tracing::warn!(%error, "the profile does not tell which task types run here");
        }
        tasks.mind_trust();
        inner.spawn(inner.clone().mind_leases());
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
                false => Some(self.inner.wrap.unwrap(&file.key, task).map_err(|_| {
                    TaskError::WrongSecret("does not open this task's key: it is another one".into())
                })?),
            };
            parts.grant = Some(Arc::new(grant));
            parts.moves = file.moves;
            parts.error = file.error;
            parts.over_ms = file.over_ms;
            parts.checkpoints = loaded.checkpoints.into_iter().map(|(k, v)| (k, Arc::new(v))).collect();
        }
        let now = self.inner.seam.clock.boot();
        let (machine, actions) = TaskMachine::restore(self.inner.setup(), loaded.record, now)
            .map_err(|e| TaskError::Storage(e.to_string()))?;
        let place =
            self.inner.reserve(task).ok_or_else(|| TaskError::Storage("part of it cannot be read".into()))?;
        self.inner.begin(
            place,
            shared,
            Seed { machine, actions, born: None, over_ms: file.over_ms, filed: true },
        );
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
        self.close();
        // The actors and instances see it at their next turn.
        for actor in self.inner.actors() {
            let _ = timeout(Duration::from_secs(1), actor.inbox.closed()).await;
        }
    }

    /// [`Tasks::shutdown`] without waiting for it.
    pub fn close(&self) {
        self.inner.net.router().withdraw(&self.inner.service);
        self.inner.closing.send_replace(true);
    }
}

/// The secret that wraps task keys on this device's disk; made at the first start.
async fn wrap_key(net: &Net) -> Result<WrapKey, TaskError> {
    let seam = net.seam().clone();
    let compute = seam.compute.clone();
    let job = move || -> Result<WrapKey, TaskError> {
        let stored = seam.storage.secret(WRAP_SECRET).map_err(TaskError::Secret)?;
        if let Some(secret) = stored {
            if secret.len() != WRAP_BYTES {
                let why = format!("has {} bytes, not {WRAP_BYTES}", secret.len());
                return Err(TaskError::WrongSecret(why));
            }
            return Ok(WrapKey::new(&secret));
        }
        let mut secret = Zeroizing::new([0; WRAP_BYTES]);
        seam.entropy.fill(&mut secret[..]);
        seam.storage.put_secret(WRAP_SECRET, &secret[..])?;
        Ok(WrapKey::new(&secret[..]))
    };
    compute.run(Lane::Disk, 10_000, job).await.ok_or(TaskError::Closed)?
}
