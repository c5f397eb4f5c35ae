//! Looking: lists, statuses as they change, and the tasks of others that are watched here.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use softbus_core::wire::task_control::{LIST_TASKS, Reply, Request, StatusNote, WatchNote};
use softbus_core::{DeviceId, TaskId};
use softbus_net::Presence;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{TaskEvents, TaskHandle, Tasks};
use crate::driver::actor::Input;
use crate::driver::contents::ContentsStatus;
use crate::driver::follow::{self, Follow};
use crate::driver::shared::TaskShared;
use crate::epoch::EffectInbox;
use crate::status::{TaskEvent, TaskStatus};
use crate::{TaskError, limits};

/// A task known only by what other devices tell.
#[derive(Clone)]
pub(super) struct Shadow {
    pub(super) shared: Arc<TaskShared>,
    pub(super) teller: DeviceId,
}

impl Tasks {
    /// The tasks this device has a part in, in order of their ids.
    pub fn list(&self) -> Vec<Arc<TaskStatus>> {
        self.inner.actors().iter().map(|actor| actor.shared.status.borrow().clone()).collect()
    }

    /// What is kept here of what inputs and states of tasks begin with: the modules of programs.
    pub fn contents(&self) -> ContentsStatus {
        self.inner.contents.status()
    }

    /// The tasks of all devices in reach, as far as this device may see them, in order of their ids.
    pub async fn list_all(&self) -> Vec<Arc<TaskStatus>> {
        let mut all: BTreeMap<TaskId, Arc<TaskStatus>> =
            self.list().into_iter().map(|status| (status.id, status)).collect();
        for (device, mut status) in self.ask_everyone().await {
            // Its runner knows best; then who knows the latest epoch.
            let rank = |s: &TaskStatus, by: DeviceId| (s.epoch, s.runner == Some(by), s.state.is_final());
            match all.get(&status.id) {
                Some(known) if rank(known, self.inner.me) >= rank(&status, device) => {}
                known => {
                    // What became of the branch that was here, nobody else can tell.
                    status.fork = known.and_then(|known| known.fork);
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
    pub(super) async fn shadow(&self, id: TaskId) -> Result<Shadow, TaskError> {
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

    pub(super) fn keep_shadow(&self, id: TaskId, shadow: &Shadow) {
        let (inner, shadows, shared) = (self.inner.clone(), self.shadows.clone(), shadow.shared.clone());
        let teller = shadow.teller;
        self.inner.spawn(async move {
            let (sender, mut heard) = mpsc::channel(16);
            let mut inbox = EffectInbox::default();
            let mut following: Follow = follow::follow(&inner, id, teller, 0, sender.clone());
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
                            // What it repeats is known here; a number heard of another does not tell what to ask for, and
                            // whatever right that other claimed does not bind this one.
                            inbox = EffectInbox::from(inbox.next());
                            following = follow::follow(&inner, id, runner, 0, sender.clone());
                        }
                    }
                    WatchNote::Status(_) => {}
                    WatchNote::Preview(bytes) => {
                        shared.preview.send_replace(Some(Arc::new(bytes)));
                    }
                    WatchNote::Effect { fence, sequence, bytes } => {
                        let gap = inbox.gap_before(sequence);
                        if inbox.accept(fence, sequence) {
                            if let Some((from, to)) = gap {
                                inner.tell(TaskEvent::EffectsMissed { task: id, from, to });
                            }
                            inner.tell(TaskEvent::Effect { task: id, sequence, bytes });
                        }
                    }
                }
            }
            shadows.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
    }

    pub(super) fn shadows(&self) -> MutexGuard<'_, BTreeMap<TaskId, Shadow>> {
        self.shadows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_online(&self, device: &DeviceId) -> bool {
        let view = self.inner.roster.view();
        view.get(device).is_some_and(|entry| entry.presence == Presence::Online)
    }

    /// What every device in reach tells of its tasks.
    pub(super) async fn ask_everyone(&self) -> Vec<(DeviceId, TaskStatus)> {
        let view = self.inner.roster.view();
        let peers = view.others().filter(|entry| entry.presence == Presence::Online).map(|entry| entry.id);
        let asked = peers.map(|device| async move {
            let answer = timeout(limits::ASK_ALL, self.inner.ask(device, &Request::List)).await;
            match answer {
                Ok(Ok(Reply::Tasks(notes))) => notes
                    .into_iter()
                    .take(LIST_TASKS)
                    .filter(StatusNote::within_limits)
                    .map(|note| (device, TaskStatus::from_note(note)))
                    .collect(),
                _ => Vec::new(),
            }
        });
        futures_util::future::join_all(asked).await.into_iter().flatten().collect()
    }
}
