//! A run of the program, as the phone sees it: submitted, followed, moved, and lost with the device that runs it.

use std::collections::BTreeMap;
use std::time::Duration;

use softbus::DeviceId;
use softbus::task::{PolicyKind, TaskState};
use softbus::wasm::Finish;
use tokio::time::Instant;

use super::home::{Home, unexpected};
use super::program::{self, Said};
use super::report::{Failover, Handover};
use super::story::{millis, wait_devices};
use super::timeline::Timeline;
use crate::control::{
    AdmissionView, Client, DeviceView, Event, Load, MoveView, Request, Response, Step, Stream, SubmittedView,
    TaskRequest, TaskView, WorkRequest,
};
use crate::failure::Failure;

/// Longest the program may take, moves included.
const TASK: Duration = Duration::from_secs(300);
/// Devices whose speeds are this close, in percent, are alike: they are measured, and a sample may have come meanwhile.
const ALIKE: u64 = 90;
/// How long an injected load is told.
const LOADED_S: u64 = 120;
/// Load of a device that has time, in permille …
const IDLE: u16 = 100;
/// … and of one that has not.
const BUSY: u16 = 970;

/// The program, as the phone sees it.
pub(super) struct Run {
    task: TaskView,
    admission: AdmissionView,
    watch: Stream,
    said: Said,
    /// What it left, once it is over.
    finish: Option<Finish>,
}

/// How it runs.
pub(super) enum How {
    /// Where it runs best, and elsewhere when that changes.
    Travels,
    /// On this device, from its begin to its end.
    Stays(DeviceId),
}

impl Run {
    /// Has the phone submit it, by the request that `softbus run` makes.
    pub async fn submit(home: &Home, timeline: &Timeline, input: &[u8], how: How) -> Result<Self, Failure> {
        let phone = home.device("phone")?;
        let (policy, replicas, start_on) = match how {
            How::Travels => (PolicyKind::Quorum { k: 2 }, Some(2), None),
            How::Stays(on) => (PolicyKind::Owner, None, Some(on.to_string())),
        };
        let stay = start_on.is_some();
        let work = WorkRequest {
            task_type: format!("{}/1", softbus::wasm::NAME),
            ops: Some(program::ops()),
            ..WorkRequest::default()
        };
        let name = Some(program::NAME.into());
        let request = TaskRequest { work, policy, replicas, start_on, stay, name, share: Vec::new() };
        let mut watch = phone.client.stream_with(Request::RunProgram(request), input).await?;
        let submitted = loop {
            match watch.next().await? {
                Step::Event(Event::Submitted(submitted)) => break submitted,
                Step::Event(_) => {}
                Step::Done(reply) => return Err(unexpected("submit the program", &reply.response)),
            }
        };
        let SubmittedView { task, placement, admission, .. } = *submitted;
        let admission =
            admission.ok_or_else(|| Failure::failed("the phone does not say what the program became"))?;
        let run = Self { task, admission, watch, said: Said::default(), finish: None };
        if stay {
            return Ok(run);
        }
        let placement = placement.ok_or_else(|| Failure::failed("the bus does not say why it chose"))?;
        timeline.line("phone", run.admitted());
        timeline.line("bus", format!("chooses the {}:\n{}", placement.chosen_name, placement.text));
        let speeds = speeds(&phone.client).await?;
        let best = speeds.iter().max_by_key(|(_, speed)| **speed).map(|(id, speed)| (*id, *speed));
        let (best, most) = best.ok_or_else(|| Failure::failed("the phone knows no device"))?;
        let chosen = placement.chosen.and_then(|id| speeds.get(&id)).copied().unwrap_or(0);
        if chosen < most / 100 * ALIKE {
            return Err(Failure::failed(format!(
                "the most capable device is the {}, but the bus chose the {}",
                home.name_of(best),
                placement.chosen_name
            )));
        }
        timeline.show_bar();
        Ok(run)
    }

    fn admitted(&self) -> String {
        let AdmissionView { module_bytes, rewritten_bytes, admitted_ms, sites, .. } = self.admission;
        let size = crate::output::bytes;
        format!(
            "submits {}, a WebAssembly program of {}\nadmitted in {admitted_ms} ms: {} once it can be stopped, at {sites} places",
            program::NAME,
            size(module_bytes),
            size(rewritten_bytes)
        )
    }

    /// Names the module that runs.
    pub fn module(&self) -> String {
        self.admission.module.to_string()
    }

    /// Who runs it.
    pub fn runner(&self) -> Result<DeviceId, Failure> {
        self.task.runner.ok_or_else(|| Failure::failed("nobody runs the task"))
    }

    /// What it has said.
    pub fn said(&self) -> &Said {
        &self.said
    }

    /// Follows it until it has said that it is so far, in permille, and shows its picture.
    pub async fn until_at(&mut self, home: &Home, timeline: &Timeline, permille: u16) -> Result<(), Failure> {
        let what = format!("its {}th permille", permille);
        self.until(home, timeline, &what, |run| run.said.permille >= permille).await?;
        timeline.picture(self.said.picture.as_ref());
        Ok(())
    }

    /// Follows it to its end, and gives the picture that it left.
    pub async fn end(&mut self, home: &Home, timeline: &Timeline) -> Result<Vec<u8>, Failure> {
        self.until(home, timeline, "its end", |run| run.finish.is_some()).await?;
        let Some(finish) = self.finish.take() else { return Err(Failure::failed("it left nothing")) };
        if finish.status != 0 {
            return Err(Failure::failed(format!("the program ended with status {}", finish.status)));
        }
        let heard = self.said.text().len() as u64;
        if finish.printed != [heard, 0] {
            return Err(Failure::failed(format!(
                "of what the program printed {heard} bytes arrived, and it were {:?}",
                finish.printed
            )));
        }
        let left = finish.files.into_iter().find(|(path, _)| path == program::LEAVES);
        let (_, picture) = left.ok_or_else(|| Failure::failed("the program left no picture"))?;
        timeline.picture(self.said.picture.as_ref());
        Ok(picture)
    }

    /// How often it went from one device to another.
    pub fn moves(&self) -> usize {
        self.task.moves.iter().filter(|hop| hop.reason != "placed").count()
    }

    /// Follows the program until something is so.
    async fn until(
        &mut self,
        home: &Home,
        timeline: &Timeline,
        what: &str,
        mut so: impl FnMut(&Self) -> bool,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + TASK;
        while !so(self) {
            if self.task.state.is_final() {
                let error = self.task.error.clone().unwrap_or_default();
                return Err(
                    Failure::failed(format!("the task is {:?}: {error}", self.task.state)).during(what)
                );
            }
            let step = tokio::time::timeout_at(deadline, self.watch.next());
            match step.await.map_err(|_| Failure::timeout(format!("{what} did not come")))?? {
                // Of the end it is told with what it left.
                Step::Event(Event::Task(task)) if task.state == TaskState::Done => {}
                Step::Event(Event::Task(task)) => self.task = *task,
                Step::Event(Event::Printed(piece)) => self.said.hear(&piece)?,
                Step::Event(_) => {}
                Step::Done(reply) => match reply.response {
                    Response::Result(task) => {
                        self.task = *task;
                        if self.task.state == TaskState::Done {
                            let finish = postcard::from_bytes(&reply.body);
                            self.finish =
                                Some(finish.map_err(|_| Failure::failed("what it left cannot be read"))?);
                        }
                    }
                    other => return Err(unexpected(what, &other)),
                },
            }
            let runner = self.task.runner.map_or("nobody", |id| home.name_of(id));
            timeline
                .progress(self.said.permille, &format!("{:?} on {runner}", self.task.state).to_lowercase());
        }
        Ok(())
    }

    /// A person takes the program along, to the first of these devices where it is not.
    pub async fn taken_along(
        &mut self,
        home: &Home,
        timeline: &Timeline,
        ways: [(&str, &str); 2],
    ) -> Result<Handover, Failure> {
        let from = self.runner()?;
        let [first, second] = ways;
        let (name, reason) = if home.device(first.0)?.id == from { second } else { first };
        let to = home.device(name)?;
        timeline.line("phone", format!("asks to move the program to the {name}: {reason}"));
        let before = self.task.epoch;
        let request = Request::Move {
            task: self.task.id.to_string(),
            device: Some(to.id.to_string()),
            reason: Some(reason.into()),
        };
        match home.device("phone")?.client.call(request).await? {
            Response::Task(_) | Response::Moved { .. } => {}
            other => return Err(unexpected("move the task", &other)),
        }
        self.handed_over(home, timeline, before, from, "person").await
    }

    /// The device that runs the program gets busy with something else, and the bus itself decides to move it. Afterwards the
    /// device has time again.
    pub async fn runner_gets_busy(&mut self, home: &Home, timeline: &Timeline) -> Result<Handover, Failure> {
        let from = self.runner()?;
        let (name, before) = (home.name_of(from), self.task.epoch);
        load(home, name, BUSY).await?;
        timeline.line(name, format!("gets busy: a load sample of {} % is injected", BUSY / 10));
        let moved = self.handed_over(home, timeline, before, from, "bus").await?;
        load(home, name, IDLE).await?;
        let phone = home.device("phone")?;
        wait_devices(&phone.client, "the news that it has time again", |view| {
            let seen = view.devices.iter().find(|seen| seen.id == from);
            let now = seen.and_then(|seen| seen.profile.as_ref()?.now.as_ref());
            now.is_some_and(|now| now.load_permille < BUSY / 2)
        })
        .await?;
        timeline.line(name, format!("has time again: {} %", IDLE / 10));
        Ok(moved)
    }

    /// Waits for the next move in the task's history, made for this reason, and until the task runs there.
    async fn handed_over(
        &mut self,
        home: &Home,
        timeline: &Timeline,
        before: u64,
        from: DeviceId,
        why: &str,
    ) -> Result<Handover, Failure> {
        self.until(home, timeline, "the hand-over", |run| {
            let task = &run.task;
            moved(task, before, from).is_some()
                && task.state == TaskState::Running
                && task.runner != Some(from)
        })
        .await?;
        let hop =
            moved(&self.task, before, from).ok_or_else(|| Failure::failed("no hand-over in the history"))?;
        if hop.reason != why {
            return Err(Failure::failed(format!(
                "the task moved for another reason: {}: {}",
                hop.reason, hop.because
            )));
        }
        let handover = Handover {
            from: home.name_of(from).into(),
            to: home.name_of(hop.to).into(),
            reason: hop.because.clone(),
            downtime_ms: hop.downtime_ms as f64,
            bytes: hop.bytes,
        };
        timeline.line(
            "bus",
            format!(
                "{} → {}: {:.0} ms down, {} moved\n{}",
                handover.from,
                handover.to,
                handover.downtime_ms,
                crate::output::bytes(handover.bytes),
                handover.reason
            ),
        );
        Ok(handover)
    }

    /// Power cut.
    pub async fn kill_the_runner(
        &mut self,
        home: &mut Home,
        timeline: &Timeline,
    ) -> Result<Failover, Failure> {
        let killed = self.runner()?;
        let name = home.name_of(killed);
        if name == "phone" {
            // All of this is seen through it.
            return Err(Failure::failed("the bus took the program to the phone, which is not to be killed"));
        }
        timeline.line(name, "is killed with SIGKILL while it runs the program");
        let (at, before) = (Instant::now(), self.task.epoch);
        home.kill(name).await?;
        self.until(home, timeline, "the fail-over", |run| {
            let task = &run.task;
            task.state == TaskState::Running
                && task.runner.is_some_and(|runner| runner != killed)
                && moved(task, before, killed).is_some()
        })
        .await?;
        let gap_ms = millis(at.elapsed());
        let resumed_on = home.name_of(self.runner()?);
        let hop = moved(&self.task, before, killed);
        if hop.is_none_or(|hop| hop.reason != "failover") {
            return Err(Failure::failed(format!("the task did not go on by fail-over: {hop:?}")));
        }
        // What it prints is told once a majority holds a checkpoint that covers it: so it goes on from there, or from later.
        timeline.line(
            resumed_on,
            format!(
                "goes on from the last checkpoint after {gap_ms:.0} ms (at {:.1} % or later)",
                f64::from(self.said.permille) / 10.0
            ),
        );
        Ok(Failover { killed: name.into(), resumed_on: resumed_on.into(), gap_ms })
    }
}

/// A device claims to be so busy with other things.
async fn load(home: &Home, name: &str, permille: u16) -> Result<(), Failure> {
    let load = Load {
        seconds: LOADED_S,
        load_permille: Some(permille),
        memory_free_bytes: None,
        battery_permille: None,
        power: None,
        thermal: None,
    };
    match home.device(name)?.client.call(Request::InjectLoad(load)).await? {
        Response::Done => Ok(()),
        other => Err(unexpected("inject a load sample", &other)),
    }
}

/// How fast each device would work right now, by the profiles that the phone knows: the task uses one core.
async fn speeds(phone: &Client) -> Result<BTreeMap<DeviceId, u64>, Failure> {
    let view = match phone.call(Request::Devices {}).await? {
        Response::Devices(view) => view,
        other => return Err(unexpected("devices", &other)),
    };
    let speed = |device: &DeviceView| {
        let profile = device.profile.as_ref()?;
        let now = profile.now.as_ref()?;
        let free_mcores = u64::from(profile.cores) * (1000 - u64::from(now.load_permille.min(1000)));
        Some(now.rate_ops_per_s / 1000 * free_mcores.min(1000))
    };
    Ok(view.devices.iter().filter_map(|device| Some((device.id, speed(device)?))).collect())
}

/// The first move away from a device, past what was known before.
fn moved(task: &TaskView, before: u64, from: DeviceId) -> Option<&MoveView> {
    task.moves.iter().find(|hop| hop.epoch > before && hop.from == from)
}
