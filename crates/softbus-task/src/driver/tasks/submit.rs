//! Submitting: placement, a promise of room, the first record.

use std::collections::BTreeSet;
use std::sync::Arc;

use softbus_core::wire::task::{ManifestKind, Policy};
use softbus_core::wire::task_control::{Grant, Image, ImageKind, PolicyKind, TaskSecret, TaskSpec};
use softbus_core::{DeviceId, Hash, ServiceName, TaskId, limits as core_limits};
use softbus_net::seam::Lane;
use softbus_placement::{Decision, LeaseId};
use softbus_roster::RosterView;
use tokio::sync::oneshot;

use super::{TaskHandle, Tasks};
use crate::checkpoint::{Snapshot, TaskKey};
use crate::driver::access::OpenGrant;
use crate::driver::actor::Seed;
use crate::driver::contents::{self, Found};
use crate::driver::inner::first_status;
use crate::driver::instance::{content, store_snapshot};
use crate::driver::placing;
use crate::driver::promises::{Answer, Promise, Room};
use crate::driver::shared::TaskShared;
use crate::epoch::{Action, Submission, TaskMachine, manifest};
use crate::native::Task;
use crate::status::{SubmitOptions, TaskEvent};
use crate::store::Checkpoint;
use crate::{TaskError, limits};

impl Tasks {
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
    /// [`TaskEvent::Placed`] says why. Durable here when this returns; [`TaskHandle::accepted`] waits until it is so on
    /// the devices that decide about it.
    ///
    /// # Errors
    /// If the options are out of bounds, no device can take it, or the disk fails.
    pub async fn submit(
        &self,
        kind: &str,
        input: Vec<u8>,
        options: SubmitOptions,
    ) -> Result<TaskHandle, TaskError> {
        if input.len() > core_limits::TASK_INPUT_BYTES {
            return Err(TaskError::BadSubmission(format!(
                "its input has {} bytes, at most {} are allowed",
                input.len(),
                core_limits::TASK_INPUT_BYTES
            )));
        }
        let (spec, input) = self.spec(kind, input, &options).await?;
        self.begin(spec, ImageKind::Input, input, options).await
    }

    /// Begins a task from an image: its input, or a state.
    pub(super) async fn begin(
        &self,
        spec: TaskSpec,
        from: ImageKind,
        input: Vec<u8>,
        options: SubmitOptions,
    ) -> Result<TaskHandle, TaskError> {
        let inner = &self.inner;
        if inner.tasks().len() >= core_limits::TASKS {
            return Err(TaskError::Limit("tasks that one device knows"));
        }
        let start_on = options.hints.start_on;
        let task = spec.task;
        let key = TaskKey::generate(&*inner.seam.entropy, task);

        // The chunks, before anything refers to them; a crash here leaves garbage that the next start erases.
        let input_bytes = input.len() as u64;
        let found = inner
            .registry
            .get(&spec.kind)
            .ok()
            .and_then(|kind| Found::of(inner, kind, &spec.terms, &input, from != ImageKind::Input));
        let mut snapshot = Snapshot::new(u64::MAX);
        snapshot.write(|out| out.write_all(&input)).map_err(|e| TaskError::BadSubmission(e.to_string()))?;
        drop(input);
        let secret = TaskSecret(**key.secret()).name();
        let draft = Grant { spec, input: Hash([0; 32]), secret, granted: options.grant };
        let unsigned = OpenGrant::sign(&*inner.key, draft.clone())?;
        let shared = TaskShared::new(first_status(&unsigned));
        let (_, stored) = store_snapshot(inner, &shared, &key, snapshot, from).await;
        let image = stored?;
        let grant = OpenGrant::sign(&*inner.key, Grant { input: image.root(), ..draft })?;

        let (decision, owner, promise) = self.find_place(&grant, input_bytes, start_on).await?;
        let submitted = self.prepare(&shared, &grant, key, image, &decision, owner).await;
        // Nobody else can know a task that was named just now.
        let place = inner.reserve(task).ok_or(TaskError::Closed);
        let ((machine, actions), place) = match submitted.and_then(|made| Ok((made, place?))) {
            Ok(made) => made,
            Err(error) => {
                inner.forget(&shared, None);
                return Err(error);
            }
        };
        let (born, durable) = oneshot::channel();
        let seed = Seed { machine, actions, born: Some(born), over_ms: None, filed: false };
        inner.begin(place, shared.clone(), seed);
        let explanation = match decision.chosen {
            // The explanation knows of the device's merits only.
            Some(best) if best != owner && start_on == Some(owner) => {
                format!("asked for by the submitter; without that:\n{}", decision.explanation)
            }
            _ => decision.explanation.to_string(),
        };
        inner.tell(TaskEvent::Placed { task, on: owner, explanation });
        if found.is_some() {
            contents::keep(inner, &grant, found);
        }
        match durable.await {
            Ok(Ok(())) => {
                promise.used();
                Ok(TaskHandle { tasks: self.clone(), id: task })
            }
            Ok(Err(error)) => {
                inner.forget(&shared, None);
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
        let none = Hash([0; 32]);
        let grant = Grant { spec, input: none, secret: none, granted: options.grant };
        let grant = OpenGrant::sign(&*self.inner.key, grant)?;
        self.inner.ask_around(&grant).await;
        Ok(self.decide(&grant, input.len() as u64, &self.inner.roster.view()))
    }

    pub(super) async fn spec(
        &self,
        kind: &str,
        input: Vec<u8>,
        options: &SubmitOptions,
    ) -> Result<(TaskSpec, Vec<u8>), TaskError> {
        let inner = &self.inner;
        let (estimate, terms, input) = match inner.registry.get(kind).cloned() {
            // This device may be too small to run the type itself; then the caller estimates, or nobody does.
            Err(_) => (crate::Estimate::default(), Vec::new(), input),
            Ok(known) => {
                let ops = input.len() as u64;
                let job = move || (known.estimate(&input), known.terms(&input), input);
                inner.seam.compute.run(Lane::Work, ops, job).await.ok_or(TaskError::Closed)?
            }
        };
        let spec = self.spec_of(kind, estimate, terms, options)?;
        Ok((spec, input))
    }

    /// What a new task is, but for what it starts from.
    pub(super) fn spec_of(
        &self,
        kind: &str,
        estimate: crate::Estimate,
        terms: Vec<u8>,
        options: &SubmitOptions,
    ) -> Result<TaskSpec, TaskError> {
        let inner = &self.inner;
        let terms = options.terms.clone().unwrap_or(terms);
        kind.parse::<ServiceName>().map_err(|_| TaskError::UnknownType(kind.chars().take(64).collect()))?;
        let mut salt = [0; 8];
        inner.seam.entropy.fill(&mut salt);
        let hints = &options.hints;
        let replicas = match options.policy {
            PolicyKind::Owner => options.replicas.unwrap_or(inner.config.replicas),
            PolicyKind::Quorum { k } => options.replicas.unwrap_or(k).max(k),
        };
        let circle = options.circle.or_else(|| inner.circle_of_choice());
        if inner.role_in(circle, &inner.me).is_none() {
            return Err(TaskError::BadSubmission(
                "this device is not in the circle that the task is to be of".into(),
            ));
        }
        let spec = TaskSpec {
            task: TaskId::of(&inner.me, salt),
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
            capabilities: hints.capabilities.clone(),
            accelerators: hints.accelerators.clone(),
            never: hints.never.iter().copied().collect(),
            circle,
            terms,
        };
        if !spec.within_limits() {
            return Err(TaskError::BadSubmission(
                "a name, a list or the number of holders is beyond its limit (quorum needs k from 2 to 8)"
                    .into(),
            ));
        }
        Ok(spec)
    }

    fn decide(&self, grant: &OpenGrant, input_bytes: u64, view: &RosterView) -> Decision {
        let inner = &self.inner;
        let spec = &grant.grant.spec;
        let work = placing::work(grant, &spec.kind, spec.ops, input_bytes, Vec::new());
        let candidates = placing::candidates(inner, view, spec.task, spec.circle);
        placing::decide(inner, spec, &work, &candidates)
    }

    /// The best device that promises room. One that has promised some to others, of which we did not know, is looked
    /// at again with its present figures, and may lose to another then.
    async fn find_place(
        &self,
        grant: &OpenGrant,
        input_bytes: u64,
        start_on: Option<DeviceId>,
    ) -> Result<(Decision, DeviceId, Promise), TaskError> {
        let spec = &grant.grant.spec;
        let mut refused = BTreeSet::new();
        self.inner.ask_around(grant).await;
        for tried in 1..=limits::LEASE_TRIES {
            let view = self.inner.roster.view();
            let decision = self.decide(grant, input_bytes, &view);
            let able = placing::able(&decision);
            let wanted = start_on.filter(|on| able.contains(on));
            let best = wanted.into_iter().chain(able).find(|id| !refused.contains(id));
            let Some(best) = best else { return Err(TaskError::NoPlace(decision.explanation.to_string())) };
            // Whoever names a device means it. And among very many others one has to come to an end.
            let seen = match wanted == Some(best) || tried == limits::LEASE_TRIES {
                true => LeaseId::ALL,
                false => placing::seen(&self.inner, &view, best),
            };
            let (ops, memory_bytes) = (spec.ops, spec.memory_bytes);
            let room = Room { task: spec.task, ops, memory_bytes, kind: spec.kind.clone() };
            match self.inner.ask_room(best, room, seen).await {
                Ok(Answer::Promised(promise)) => return Ok((decision, best, promise)),
                Ok(Answer::Outdated) => self.inner.ask_now(best).await,
                Err(error) => {
                    tracing::info!(device = %best.short(), %error, "no promise of room there");
                    self.inner.note_refusal(best, spec.task);
                    refused.insert(best);
                    if let TaskError::Refused { .. } = error {
                        self.inner.ask_now(best).await;
                    }
                }
            }
        }
        Err(TaskError::NoPlace("every device that could take it has promised its room to others".into()))
    }

    pub(super) async fn prepare(
        &self,
        shared: &Arc<TaskShared>,
        grant: &OpenGrant,
        key: TaskKey,
        image: Image,
        decision: &Decision,
        owner: DeviceId,
    ) -> Result<(TaskMachine, Vec<Action>), TaskError> {
        let inner = &self.inner;
        let spec = &grant.grant.spec;
        let candidates = placing::candidates(inner, &inner.roster.view(), spec.task, spec.circle);
        let count = usize::from(spec.replicas);
        let holders = placing::holders(inner, grant, decision, &candidates, owner, count);
        let policy = match spec.policy {
            PolicyKind::Owner => Policy::Owner,
            PolicyKind::Quorum { k } => {
                if holders.len() < usize::from(k) {
                    return Err(TaskError::Conflict(format!(
                        "policy quorum with {k} holders needs {k} more devices that can run it, and {} are in reach. Pair \
                         more, name fewer holders (at least 2), or use policy owner",
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
        let meta = image.kind.meta().cloned().unwrap_or_default();
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
}
