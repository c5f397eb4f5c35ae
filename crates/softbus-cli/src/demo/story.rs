//! The story, step by step. Each step waits until the devices themselves say that it happened.

use std::collections::BTreeMap;
use std::time::Duration;

use softbus::DeviceId;
use tokio::time::Instant;

use super::DemoArgs;
use super::home::{Device, Home, unexpected};
use super::report::{Failover, Handover, Report};
use super::timeline::Timeline;
use softbus::task::{Buffer, PolicyKind, StepContext, Task, TaskState};

use crate::control::{
    Client, DeviceView, DevicesView, Event, Load, MoveView, PairTerms, PairingView, PresenceView, Request,
    Response, Step, Stream, SubmittedView, TaskRequest, TaskView, WorkRequest,
};
use crate::failure::Failure;
use crate::tasks::{Job, Picture};

/// Longest any one step may take. Generous: a busy machine is no reason to fail.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest the task may take, moves included.
const TASK: Duration = Duration::from_secs(300);
/// How often a device is asked again.
const POLL: Duration = Duration::from_millis(20);
/// Progress of the task, in permille, at which the person walks elsewhere.
const WALK_AT: u16 = 150;
/// … at which the device there gets busy.
const BUSY_AT: u16 = 400;
/// … at which the runner is killed.
const KILL_AT: u16 = 650;
/// Devices whose speeds are this close, in percent, are alike: they are measured, and a sample may have come meanwhile.
const ALIKE: u64 = 90;

/// Tells the story.
pub async fn tell(
    home: &mut Home,
    timeline: &Timeline,
    picture: Vec<u8>,
    args: &DemoArgs,
) -> Result<Report, Failure> {
    timeline.chapter("Four devices wake up and find each other");
    let start = Instant::now();
    home.start().await?;
    for device in home.devices() {
        timeline.line(device.name, format!("is up: {}", device.id));
    }
    discover(home, timeline).await?;
    let discovery_ms = millis(start.elapsed());

    timeline.chapter("Strangers become a circle");
    let pairing_ms = pair(home, timeline).await?;
    let link_ms = mesh(home, timeline).await?;

    timeline.chapter("A task runs where it runs best, and moves");
    let submitted = Instant::now();
    let mut run = Run::submit(home, timeline, &picture).await?;
    run.until(home, timeline, "the first part", |task| task.progress_permille >= WALK_AT).await?;

    let first = run.walk_away(home, timeline).await?;
    run.until(home, timeline, "the part there", |task| task.progress_permille >= BUSY_AT).await?;
    let second = run.runner_gets_busy(home, timeline).await?;
    run.until(home, timeline, "the part after it", |task| task.progress_permille >= KILL_AT).await?;
    let failover = run.kill_the_runner(home, timeline).await?;
    run.until(home, timeline, "the rest", |task| task.state == TaskState::Done).await?;
    let task_ms = millis(submitted.elapsed());
    let result = run.result(home).await?;
    timeline.clear();
    timeline.line("phone", format!("fetches the result: {}", crate::output::bytes(result.len() as u64)));

    timeline.chapter("Is it the same picture?");
    timeline.line("demo", "computes the same picture in one go, without moving");
    timeline.show_spinner("computing…");
    let start = Instant::now();
    let unmoved = unmoved(picture).await?;
    let unmoved_ms = millis(start.elapsed());
    timeline.clear();
    if unmoved != result {
        return Err(Failure::failed("the picture differs from the one computed without moving"));
    }
    // Only now: nothing is left behind by a story that does not come to its end.
    let output = args.out.join(super::PICTURE);
    crate::output::write_file(&output, &result)?;
    timeline.line("demo", format!("all {} bytes are equal: {}", result.len(), output.display()));
    Ok(Report {
        discovery_ms,
        pairing_ms,
        link_ms,
        handovers: vec![first, second],
        failover,
        result_matches_unmoved: true,
        output,
        task_ms,
        unmoved_ms,
    })
}

/// Until each device sees every other one nearby, unknown as they are.
async fn discover(home: &Home, timeline: &Timeline) -> Result<(), Failure> {
    for device in home.devices() {
        let others: Vec<DeviceId> =
            home.devices().iter().map(|d| d.id).filter(|id| *id != device.id).collect();
        wait_devices(&device.client, &format!("the {} finds the others by mDNS", device.name), |view| {
            others.iter().all(|id| view.nearby.iter().any(|n| n.id == Some(*id)))
        })
        .await?;
        timeline.line(device.name, "sees the three others nearby, all strangers");
    }
    Ok(())
}

/// The phone founds a circle; each of the others shows a PIN, which is entered on the phone.
async fn pair(home: &Home, timeline: &Timeline) -> Result<f64, Failure> {
    let phone = home.device("phone")?;
    match phone.client.call(Request::Found { name: "home".into() }).await? {
        Response::Founded(founded) => {
            let words = founded.recovery_words.split_whitespace().count();
            timeline.line("phone", format!("founds the circle “{}” ({words} recovery words)", founded.name));
        }
        other => return Err(unexpected("found a circle", &other)),
    }
    let mut slowest = 0.0_f64;
    for device in home.devices().iter().filter(|d| d.id != phone.id) {
        let opening = Request::OpenPairing(PairTerms::default());
        let mut shown = device.client.stream(opening).await?;
        let pin = loop {
            match bounded("the PIN", shown.next()).await? {
                Step::Event(Event::Pairing(PairingView::Open { pin, .. })) => break pin,
                Step::Event(_) => {}
                Step::Done(reply) => return Err(unexpected("open pairing", &reply.response)),
            }
        };
        timeline.line(device.name, format!("shows the PIN {}", &*pin));
        let start = Instant::now();
        let entering = Request::Pair { with: device.id.to_string(), pin, terms: PairTerms::default() };
        match phone.client.call(entering).await? {
            Response::Paired(paired) if paired.device == device.id => {}
            other => return Err(unexpected("pair", &other)),
        }
        // Both sides must agree that it happened.
        loop {
            match bounded("the other side of the pairing", shown.next()).await? {
                Step::Event(_) => {}
                Step::Done(reply) => match reply.response {
                    Response::Paired(paired) if paired.device == phone.id => break,
                    other => return Err(unexpected("pair", &other)),
                },
            }
        }
        let took = millis(start.elapsed());
        slowest = slowest.max(took);
        timeline
            .line("phone", format!("enters it: the {} belongs to the circle ({took:.0} ms)", device.name));
    }
    Ok(slowest)
}

/// Until every device has a live link with every other one and knows its profile.
async fn mesh(home: &Home, timeline: &Timeline) -> Result<f64, Failure> {
    let start = Instant::now();
    let mut linked = 0.0;
    for profiles in [false, true] {
        for device in home.devices() {
            let what =
                format!("the {} {}", device.name, if profiles { "hears the profiles" } else { "links up" });
            wait_devices(&device.client, &what, |view| {
                home.devices().iter().filter(|other| other.id != device.id).all(|other| {
                    view.devices.iter().any(|seen| {
                        seen.id == other.id
                            && seen.presence == PresenceView::Online
                            && seen.link.is_some()
                            && (!profiles || seen.profile.as_ref().is_some_and(|p| p.now.is_some()))
                    })
                })
            })
            .await?;
        }
        if !profiles {
            linked = millis(start.elapsed());
            timeline
                .line("all", format!("six links stand ({linked:.0} ms): who was paired with one knows all"));
        }
    }
    timeline.line("all", "every device knows what every other one is and can do");
    Ok(linked)
}

/// The task, as the phone sees it.
struct Run {
    task: TaskView,
    watch: Stream,
    name: &'static str,
    marks: Marks,
}

/// How far the task is safe. A checkpoint is made after the one before it was told of: so it is at least as far as
/// the task was then.
#[derive(Clone, Copy, Default, Debug)]
struct Marks {
    /// Epoch and number of the last checkpoint that was told of.
    last: (u64, u64),
    /// How far the task was then, in permille.
    at: u16,
    /// How far the last checkpoint is at least.
    safe: u16,
}

impl Marks {
    fn note(&mut self, task: &TaskView) {
        let last = (task.epoch, task.checkpoint);
        if task.state == TaskState::Running && last != self.last {
            *self = Self { last, at: task.progress_permille, safe: self.at };
        }
    }
}

impl Run {
    async fn submit(home: &Home, timeline: &Timeline, picture: &[u8]) -> Result<Self, Failure> {
        let phone = home.device("phone")?;
        let request = Request::Run(TaskRequest {
            work: WorkRequest {
                task_type: format!("{}/{}", Picture::NAME, Picture::STATE_VERSION),
                ..WorkRequest::default()
            },
            policy: PolicyKind::Quorum { k: 2 },
            replicas: Some(2),
            start_on: None,
            stay: false,
            name: Some("demo picture".into()),
            share: Vec::new(),
        });
        let reply = phone.client.call_with(request, picture).await?;
        let Response::Submitted(submitted) = reply.response else {
            return Err(unexpected("submit the task", &reply.response));
        };
        let SubmittedView { task, placement, .. } = *submitted;
        let placement = placement.ok_or_else(|| Failure::failed("the bus does not say why it chose"))?;
        timeline.line(
            "phone",
            format!("submits a task: {} of picture", crate::output::bytes(picture.len() as u64)),
        );
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
        let watch = phone.client.stream(Request::WatchTasks { task: Some(task.id.to_string()) }).await?;
        timeline.show_bar();
        Ok(Self { task, watch, name: "phone", marks: Marks::default() })
    }

    fn runner(&self) -> Result<DeviceId, Failure> {
        self.task.runner.ok_or_else(|| Failure::failed("nobody runs the task"))
    }

    /// Follows the task until something is so.
    async fn until(
        &mut self,
        home: &Home,
        timeline: &Timeline,
        what: &str,
        mut so: impl FnMut(&TaskView) -> bool,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + TASK;
        loop {
            if so(&self.task) {
                return Ok(());
            }
            if self.task.state.is_final() {
                let error = self.task.error.clone().unwrap_or_default();
                return Err(
                    Failure::failed(format!("the task is {:?}: {error}", self.task.state)).during(what)
                );
            }
            let step = tokio::time::timeout_at(deadline, self.watch.next());
            match step.await.map_err(|_| Failure::timeout(format!("{what} did not come")))?? {
                Step::Event(Event::Task(task)) => self.task = *task,
                Step::Event(_) => {}
                Step::Done(reply) => match reply.response {
                    Response::Task(task) | Response::Result(task) => self.task = *task,
                    other if !so(&self.task) => return Err(unexpected(what, &other)),
                    _ => {}
                },
            }
            self.marks.note(&self.task);
            let runner = self.task.runner.map_or("nobody", |id| home.name_of(id));
            timeline.progress(
                self.task.progress_permille,
                &format!("{:?} on {runner}", self.task.state).to_lowercase(),
            );
        }
    }

    /// A person takes the task along: to the car, or if it is there already, to the living room.
    async fn walk_away(&mut self, home: &Home, timeline: &Timeline) -> Result<Handover, Failure> {
        let from = self.runner()?;
        let (to, reason) = match home.device("car")? {
            car if car.id == from => (home.device("tv")?, "the person walks to the living room"),
            car => (car, "the person walks to the car"),
        };
        timeline.line(self.name, format!("asks to move the task to the {}: {reason}", to.name));
        let before = self.task.epoch;
        let request = Request::Move {
            task: self.task.id.to_string(),
            device: Some(to.id.to_string()),
            reason: Some(reason.into()),
        };
        let client = home.device(self.name)?.client.clone();
        match client.call(request).await? {
            Response::Task(_) | Response::Moved { .. } => {}
            other => return Err(unexpected("move the task", &other)),
        }
        self.handed_over(home, timeline, before, from, "person").await
    }

    /// The device that runs the task gets busy with something else, and the bus itself decides to move it.
    async fn runner_gets_busy(&mut self, home: &Home, timeline: &Timeline) -> Result<Handover, Failure> {
        let from = self.runner()?;
        let busy = home.device(home.name_of(from))?;
        let before = self.task.epoch;
        let load = Load {
            seconds: 60,
            load_permille: Some(970),
            memory_free_bytes: None,
            battery_permille: None,
            power: None,
            thermal: None,
        };
        match busy.client.call(Request::InjectLoad(load)).await? {
            Response::Done => {}
            other => return Err(unexpected("inject a load sample", &other)),
        }
        timeline.line(busy.name, "gets busy: a load sample of 97 % is injected");
        self.handed_over(home, timeline, before, from, "bus").await
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
        self.until(home, timeline, "the hand-over", |task| {
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
    async fn kill_the_runner(&mut self, home: &mut Home, timeline: &Timeline) -> Result<Failover, Failure> {
        let killed = self.runner()?;
        let name = home.name_of(killed);
        if name == self.name {
            // The phone is the eye of this demo; look through another device's from here on.
            let other = home.devices().iter().find(|d| d.id != killed && d.name != "sensor");
            let other: &Device = other.ok_or_else(|| Failure::failed("no other device left"))?;
            let task = Some(self.task.id.to_string());
            self.watch = other.client.stream(Request::WatchTasks { task }).await?;
            self.name = other.name;
        }
        timeline.line(name, "is killed with SIGKILL while it runs the task");
        let (at, before) = (Instant::now(), self.task.epoch);
        home.kill(name).await?;
        let (progress, safe) = (self.task.progress_permille, self.marks.safe);
        self.until(home, timeline, "the fail-over", |task| {
            task.state == TaskState::Running
                && task.runner.is_some_and(|runner| runner != killed)
                && moved(task, before, killed).is_some()
        })
        .await?;
        let gap_ms = millis(at.elapsed());
        let resumed_on = home.name_of(self.runner()?);
        // By fail-over, and from the last checkpoint that was known before: not from one before it.
        let hop = moved(&self.task, before, killed);
        if hop.is_none_or(|hop| hop.reason != "failover") || self.task.progress_permille < safe {
            return Err(Failure::failed(format!(
                "the task did not go on from its last checkpoint: {hop:?}, at {} of 1000, which was at {safe} at least",
                self.task.progress_permille
            )));
        }
        timeline.line(
            resumed_on,
            format!(
                "goes on from the last checkpoint after {gap_ms:.0} ms (at {:.1} %, was {:.1} %)",
                f64::from(self.task.progress_permille) / 10.0,
                f64::from(progress) / 10.0
            ),
        );
        Ok(Failover { killed: name.into(), resumed_on: resumed_on.into(), gap_ms })
    }

    async fn result(&self, home: &Home) -> Result<Vec<u8>, Failure> {
        let client = home.device(self.name)?.client.clone();
        let reply = client.call_with(Request::Result { task: self.task.id.to_string() }, &[]).await?;
        match reply.response {
            Response::Result(_) => Ok(reply.body),
            other => Err(unexpected("fetch the result", &other)),
        }
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

/// The same picture, in one go, in this process.
async fn unmoved(picture: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("unmoved".into())
        .spawn(move || {
            let _ = done.send(compute(picture));
        })
        .map_err(|e| Failure::io("a thread for the unmoved picture", &e))?;
    result.await.map_err(|_| Failure::failed("the unmoved picture was not finished"))?
}

fn compute(picture: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let wrong = |e: &dyn std::fmt::Display| Failure::failed(format!("the unmoved picture: {e}"));
    let job = Job { file: Buffer(picture), params: BTreeMap::new() };
    let job = crate::tasks::prepare(Picture::NAME, job).map_err(|e| wrong(&e))?;
    let mut task = Picture::start(job).map_err(|e| wrong(&e))?;
    loop {
        match task.step(&mut StepContext::detached(u64::MAX)).map_err(|e| wrong(&e))? {
            softbus::Step::Done(picture) => return Ok(picture.0),
            softbus::Step::More | softbus::Step::Wait(_) => {}
        }
    }
}

/// Asks a device until its view of the others is as wanted.
async fn wait_devices(client: &Client, what: &str, so: impl Fn(&DevicesView) -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.call(Request::Devices {}).await? {
            Response::Devices(view) if so(&view) => return Ok(()),
            Response::Devices(view) if Instant::now() > deadline => {
                let seen: Vec<String> =
                    view.devices.iter().map(|d| format!("{} {:?}", d.name, d.presence)).collect();
                return Err(Failure::timeout(format!("{what}: not within {} s", PATIENCE.as_secs()))
                    .advise(format!("it saw {}, and {} nearby", seen.join(", "), view.nearby.len())));
            }
            Response::Devices(_) => {}
            other => return Err(unexpected(what, &other)),
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn bounded<T>(what: &str, wait: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(PATIENCE, wait)
        .await
        .map_err(|_| Failure::timeout(format!("{what} did not come within {} s", PATIENCE.as_secs())))?
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_as_far_as_the_task_was_when_the_one_before_was_told() {
        let mut marks = Marks::default();
        let mut safe = |state, epoch, checkpoint, progress| {
            let task = serde_json::json!({
                "id": softbus::TaskId([1; 16]), "task_type": "picture/1", "name": "", "state": state,
                "progress_permille": progress, "progress_text": "", "runner": null, "runner_name": "",
                "epoch": epoch, "branch": 0, "policy": PolicyKind::Owner, "holders": [],
                "submitter": DeviceId([1; 32]), "submitted_ms": 0, "checkpoint": checkpoint,
                "checkpoint_age_ms": null, "error": null, "moves": [],
            });
            marks.note(&serde_json::from_value(task).unwrap());
            marks.safe
        };
        let running = TaskState::Running;
        assert_eq!(safe(running, 1, 0, 10), 0);
        assert_eq!(safe(running, 1, 0, 90), 0);
        assert_eq!(safe(running, 1, 1, 100), 10);
        assert_eq!(safe(running, 1, 2, 200), 100);
        assert_eq!(safe(TaskState::Moving, 2, 0, 250), 100);
        // A hand-over takes the whole state along.
        assert_eq!(safe(running, 2, 0, 300), 200);
        assert_eq!(safe(running, 2, 1, 350), 300);
    }
}
