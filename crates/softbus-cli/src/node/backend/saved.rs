//! Tasks that stand still, and states of tasks in files, as commands ask for them.

use softbus::core::{DeviceId, Labels};
use softbus::net::seam::Lane;
use softbus::task::{Rests, SavedTask, TaskError};
use softbus::wasm;

use super::work::{failed, lost, view};
use super::{Backend, program};
use crate::control::{Answer, Body, Event, Events, Response, RestoreRequest, SavedView};
use crate::failure::{Failure, Kind};

impl Backend {
    /// Lets a task stand still, or go on.
    pub(super) async fn rest(&self, task: &str, pause: bool) -> Result<Response, Failure> {
        let id = self.live_task(task).await?;
        let tasks = self.bus.tasks();
        let rests = if pause { tasks.pause(id).await } else { tasks.resume(id).await };
        let Rests { already, kept } = rests.map_err(lost)?;
        let now = tasks.status(id).await.map_err(failed)?;
        Ok(Response::Rests { task: Box::new(view(&now, &self.names())), already, kept })
    }

    /// A task's state at one point, as a file.
    pub(super) async fn save(&self, task: &str) -> Result<Answer, Failure> {
        let id = self.live_task(task).await?;
        let saved = self.bus.tasks().save(id).await.map_err(lost)?;
        let shown = shown(&saved, &self.names());
        let work = move || {
            let mut file = Vec::with_capacity(usize::try_from(saved.file_len()).unwrap_or(0));
            saved.write_to(&mut file).map(|()| file)
        };
        // A large one is hashed for a while: not on the threads that carry the network.
        let file = self.compute(work).await?;
        let body = file.map_err(|e| Failure::io("the state could not be written", &e))?;
        Ok(Answer { response: Response::Saved(Box::new(shown)), body })
    }

    /// Starts a new task from such a file.
    pub(super) async fn restore(
        &self,
        request: RestoreRequest,
        file: Body,
        events: &Events,
    ) -> Result<Answer, Failure> {
        let most = self.bus.tasks().state_bytes();
        let read = self.compute(move || {
            let saved = SavedTask::read_from(&mut &*file, most)?;
            let (printed, asks) = match program::is_one(saved.kind()) {
                true => {
                    let terms = wasm::Terms::read(&saved.what().spec.terms);
                    (wasm::printed(saved.state()).ok(), terms.map(|terms| terms.grants).unwrap_or_default())
                }
                false => Default::default(),
            };
            Ok((saved, printed, asks))
        });
        let read: Result<_, softbus::task::SavedError> = read.await?;
        let (saved, printed, asks) = read.map_err(|error| Failure::usage(error.to_string()))?;
        let kind = saved.kind().to_string();
        if !events.send(Event::Restored(Box::new(shown(&saved, &self.names())))).await {
            return Ok(Response::Done.into());
        }
        // Whoever saved it says what it was granted; it will ask with this device's rights.
        let again =
            asks.services.iter().map(ToString::to_string).filter(|name| !request.services.contains(name));
        let mut again: Vec<String> = again.map(|name| format!("--grant service:{name}")).collect();
        again.extend((asks.inference && !request.inference).then(|| "--grant infer".to_owned()));
        if !again.is_empty() {
            let why = "it may ask services of your devices, and goes on only if you grant it that";
            return Err(Failure::usage(why).advise(again.join(" ")));
        }
        let circle = self.circle(request.circle.as_deref())?;
        self.known_type(&kind, circle)?;
        let start_on = request.start_on.as_deref().map(|device| self.member(device)).transpose()?;
        let mut options = saved.options();
        options.circle = circle;
        if let Some(name) = request.name {
            options.name = crate::config::parse_name(&name).map_err(Failure::usage)?;
        }
        (options.policy, options.replicas) = (request.policy, request.replicas);
        (options.hints.start_on, options.hints.stay) = (start_on, request.stay);
        // Before it can do anything.
        let (news, mut placed) = (self.bus.tasks().events(), self.bus.tasks().events());
        let wish = start_on.map(|wished| (wished, options.clone()));
        let handle = self.bus.tasks().restore(saved, options, request.foreign).await.map_err(stranger)?;
        tracing::info!(task = %handle.id(), kind, "started from a saved state");
        let wish = wish.map(|(wished, options)| (wished, Vec::new(), options));
        let mut submitted = self.begun(&kind, &handle, &mut placed, wish, request.replicas).await?;
        submitted.printed = printed;
        if !program::is_one(&kind) {
            return Ok(Response::Submitted(Box::new(submitted)).into());
        }
        if !events.send(Event::Submitted(Box::new(submitted))).await {
            return Ok(Response::Done.into());
        }
        self.follow(handle.id(), printed.unwrap_or_default(), news, events).await
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let compute = self.bus.net().seam().compute.clone();
        compute.run(Lane::Work, 0, work).await.ok_or_else(|| Failure::failed("the node is shutting down"))
    }
}

fn shown(saved: &SavedTask, names: &Labels) -> SavedView {
    let device: DeviceId = saved.device();
    SavedView {
        task: saved.task(),
        name: saved.name(),
        task_type: saved.kind().to_string(),
        device,
        device_name: names.name(&device).to_string(),
        saved_ms: saved.saved().0,
        progress_permille: saved.progress_permille(),
        state_bytes: saved.state().len() as u64,
    }
}

/// What can be done with a state of a device that is not trusted.
fn stranger(error: TaskError) -> Failure {
    match error {
        TaskError::Stranger(_) => {
            let text = error.to_string();
            Failure::new(Kind::Refused, text).advise(
                "what it holds was made by who knows whom; if you know where it comes from: --foreign",
            )
        }
        other => failed(other),
    }
}
