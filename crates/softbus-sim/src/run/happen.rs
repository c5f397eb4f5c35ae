//! What happens to devices and network, and how it ends again.

use std::collections::BTreeMap;
use std::time::Duration;

use softbus_core::{ErrorCode, ServiceName};
use softbus_net::NetError;

use super::{Act, Director};
use crate::device::{Device, GOODBYE, PORT};
use crate::lasting::Lasting;
use crate::record::DeviceState;
use crate::scenario::{RUNNER, RoleSpec, SHUTDOWN, WaySpec, What};

/// How long a device that shuts down waits for its tasks to leave.
const DRAIN: Duration = SHUTDOWN.saturating_sub(GOODBYE).saturating_sub(Duration::from_secs(1));

/// What ends something that happened.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Undo {
    Start(usize),
    Mend(Vec<(usize, usize)>),
    Wake(usize),
    // Which began so: see `Lasting`.
    Weather(String, u64),
    Load(usize, u64),
    Drift(usize, u64),
    DiskFull(usize, u64),
    DiskFail(usize, u64),
}

/// What holds for a while, by segment or device.
#[derive(Default)]
pub(super) struct Holding {
    weather: Lasting<String, WaySpec>,
    load: Lasting<usize, u16>,
    drift_ppm: Lasting<usize, i64>,
    disk_bytes: Lasting<usize, u64>,
    disk_fails: Lasting<usize, ()>,
}

/// The power of a device fails while its disk is at work.
pub(super) struct Strike {
    device: usize,
    /// The run of its program that it was told of: it may have been switched off and on meanwhile.
    run: u64,
    /// When it is to have its network again.
    online: Option<Duration>,
    /// When it starts again; it does not fail after that.
    until: Option<Duration>,
}

impl Director {
    /// The device of this name, or the one that runs the task (see [`What`]).
    fn named(&self, name: &str) -> Option<Device> {
        let Some(task) = name.strip_prefix(RUNNER) else { return self.sim.device(name).cloned() };
        let number = self.scenario.tasks.iter().position(|order| order.name == task)?;
        match self.sim.watch().progress(u32::try_from(number).ok()?) {
            Some((on, _)) => self.sim.devices().get(on).cloned(),
            None => self.sim.device(&self.scenario.tasks[number].from).cloned(),
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<Device> {
        self.named(name).filter(|device| device.mode() != DeviceState::Lost)
    }

    /// Does it, and says what ends it and when.
    pub(super) fn happen(&mut self, what: &What) -> Option<(Duration, Undo)> {
        let now = self.sim.watch().now_us();
        let about = subject(what).and_then(|name| self.named(name));
        let mut text = describe(what);
        if let (Some(device), Some(RUNNER)) = (&about, subject(what).and_then(|name| name.chars().next())) {
            text = format!("{text}: {}", device.name());
        }
        let about = about.map(|device| device.index());
        let name = text.split(' ').next().unwrap_or_default().to_owned();
        let person = matches!(what, What::MoveTask { .. } | What::CancelTask { .. } | What::WrongPin { .. });
        self.sim.watch().note(if person { "person" } else { "fault" }, about, &text);
        self.ears.trace.line(self.sim.watch().now_ns(), "*", &text);
        match person {
            true => self.ears.disturbed(),
            false => self.ears.heard.lock().fault(&name, now),
        }
        match what {
            What::Crash { device, down, offline, at_disk_job } => {
                let device = self.find(device)?;
                match at_disk_job {
                    Some(nth) => self.strike_at(&device, *nth, *down, *offline),
                    None => {
                        self.crash(&device);
                        self.unplugged(&device, *down, *offline);
                    }
                }
                Some(((*down)?, Undo::Start(device.index())))
            }
            What::Kill { device, down, offline } => {
                let device = self.find(device)?;
                self.gone(&device);
                device.kill();
                self.unplugged(&device, *down, *offline);
                Some(((*down)?, Undo::Start(device.index())))
            }
            What::Shutdown { device, down } => {
                let device = self.find(device)?;
                if device.mode() == DeviceState::Asleep {
                    // Whoever shuts it down wakes it.
                    device.set_mode(DeviceState::Up);
                    self.network.wake(&device);
                    self.sim.watch().woke(device.index());
                }
                let off = device.clone();
                self.sim.spawn(async move { off.shutdown(DRAIN).await });
                Some(((*down)?.max(SHUTDOWN), Undo::Start(device.index())))
            }
            What::Lose { device } => {
                let device = self.find(device)?;
                self.gone(&device);
                device.lose();
                None
            }
            What::Sleep { device, announced, span } => {
                let device = self.find(device)?;
                if device.mode() != DeviceState::Up {
                    return None;
                }
                device.set_mode(DeviceState::Asleep);
                self.network.sleep(&device, *announced, *span);
                Some((*span, Undo::Wake(device.index())))
            }
            What::Cut { from, to, one_way, span } => {
                let (from, to) = (self.find(from)?.index(), self.find(to)?.index());
                if from == to {
                    return None; // the device that ran the task
                }
                let mut pairs = vec![(from, to)];
                if !one_way {
                    pairs.push((to, from));
                }
                self.network.cut(&self.sim, &pairs);
                Some((*span, Undo::Mend(pairs)))
            }
            What::Partition { groups, span } => {
                let mut group: BTreeMap<usize, usize> = BTreeMap::new();
                for (number, names) in groups.iter().enumerate() {
                    group
                        .extend(names.iter().filter_map(|n| self.sim.device(n)).map(|d| (d.index(), number)));
                }
                let count = self.sim.devices().len();
                let apart =
                    |a: &usize, b: &usize| a != b && (!group.contains_key(a) || group.get(a) != group.get(b));
                let pairs: Vec<(usize, usize)> = (0..count)
                    .flat_map(|a| (0..count).map(move |b| (a, b)))
                    .filter(|(a, b)| apart(a, b))
                    .collect();
                self.network.cut(&self.sim, &pairs);
                Some((*span, Undo::Mend(pairs)))
            }
            What::Move { device, segment } => {
                let device = self.find(device)?;
                self.network.move_to(&device, segment);
                if let Some(at) = self.scenario.segments.iter().position(|s| s.name == *segment) {
                    self.places[device.index()].push((now, at));
                }
                None
            }
            What::Weather { segment, way, span } => {
                self.network.weather(segment, *way);
                let begun = self.holding.weather.begin(segment.clone(), *way);
                Some((*span, Undo::Weather(segment.clone(), begun)))
            }
            What::Load { device, permille, span } => {
                let device = self.find(device)?.index();
                self.loads[device] = *permille;
                Some((*span, Undo::Load(device, self.holding.load.begin(device, *permille))))
            }
            What::Plug { device } | What::Unplug { device } => {
                let device = self.find(device)?.index();
                self.bodies[device].plug(matches!(what, What::Plug { .. }));
                None
            }
            What::ClockJump { device, by_ms } => {
                self.find(device)?.host().clock().jump_wall(*by_ms);
                None
            }
            What::Drift { device, ppm, span } => {
                let device = self.find(device)?;
                device.host().clock().set_drift_ppm(*ppm);
                let begun = self.holding.drift_ppm.begin(device.index(), *ppm);
                Some((*span, Undo::Drift(device.index(), begun)))
            }
            What::DiskFull { device, span } => {
                let device = self.find(device)?;
                let disk = device.host().disk();
                let used = disk.used_bytes();
                disk.set_capacity(Some(used));
                let begun = self.holding.disk_bytes.begin(device.index(), used);
                Some((*span, Undo::DiskFull(device.index(), begun)))
            }
            What::DiskFail { device, span } => {
                let device = self.find(device)?;
                device.host().disk().fail_after(Some(0));
                let begun = self.holding.disk_fails.begin(device.index(), ());
                Some((*span, Undo::DiskFail(device.index(), begun)))
            }
            What::MoveTask { task, to } => {
                self.move_task(task, to.as_deref());
                None
            }
            What::CancelTask { task } => {
                self.cancel_task(task);
                None
            }
            What::Remove { circle, by, device } => {
                self.remove(circle, by, device);
                None
            }
            What::WrongPin { shown, entered } => {
                self.wrong_pin(shown, entered);
                None
            }
            What::Stranger { segment } => {
                self.stranger(segment);
                None
            }
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        let device = |index: usize| self.sim.devices()[index].clone();
        self.ears.disturbed();
        let (network, any) = lasts(&undo);
        {
            let mut heard = self.ears.heard.lock();
            heard.lasting.0 = heard.lasting.0.saturating_sub(network);
            heard.lasting.1 = heard.lasting.1.saturating_sub(any);
        }
        match undo {
            Undo::Start(index) => {
                let device = device(index);
                if device.mode() == DeviceState::Off && !self.starved.contains(&index) {
                    self.switch_on(&device);
                }
            }
            Undo::Mend(pairs) => self.network.mend(&self.sim, &pairs),
            Undo::Wake(index) => {
                let device = device(index);
                if device.mode() == DeviceState::Asleep {
                    device.set_mode(DeviceState::Up);
                    self.network.wake(&device);
                    self.sim.watch().woke(device.index());
                }
            }
            Undo::Weather(segment, begun) => {
                let usual = self.scenario.segments.iter().find(|s| s.name == segment).map(|s| s.way);
                if let Some(way) = self.holding.weather.end(&segment, begun).or(usual) {
                    self.network.weather(&segment, way);
                }
            }
            Undo::Load(index, begun) => {
                self.loads[index] = self.holding.load.end(&index, begun).unwrap_or(0);
            }
            Undo::Drift(index, begun) => {
                let device = device(index);
                let ppm = self.holding.drift_ppm.end(&index, begun);
                device.host().clock().set_drift_ppm(ppm.unwrap_or(device.spec().clock_drift_ppm));
            }
            Undo::DiskFull(index, begun) => {
                let device = device(index);
                let bytes = self.holding.disk_bytes.end(&index, begun);
                device.host().disk().set_capacity(bytes.or(device.spec().disk.capacity_bytes));
            }
            Undo::DiskFail(index, begun) => {
                if self.holding.disk_fails.end(&index, begun).is_none() {
                    device(index).host().disk().fail_after(None);
                }
            }
        }
    }

    /// Its power fails.
    fn crash(&self, device: &Device) {
        let now = self.sim.watch().now_us();
        let seed = u64::from_le_bytes(self.sim.draw(&format!("crash {} at {now}", device.name())));
        self.gone(device);
        device.crash(seed);
    }

    /// Its power is to fail in the midst of its disk's nth job from now.
    fn strike_at(&self, device: &Device, nth: u32, down: Option<Duration>, offline: Duration) {
        let now = self.begin.elapsed();
        let online = down.filter(|_| !offline.is_zero()).map(|down| now + down + offline);
        // Timers are up to a millisecond late, here and at the start.
        let until = down.map(|down| now + down - Duration::from_millis(2).min(down));
        let strike = Strike { device: device.index(), run: device.run(), online, until };
        let begun = device.compute().disk_job_begins(nth);
        let until = until.map(|until| self.begin + until);
        let draw: [u8; 1] = self.sim.draw(&format!("strike {} at {}", device.name(), now.as_nanos()));
        // Somewhere within the job.
        let within = device.spec().disk.latency * u32::from(draw[0]) / 256;
        let strikes = self.strikes.clone();
        self.sim.spawn(async move {
            let comes = async {
                begun.await.ok()?;
                tokio::time::sleep(within).await;
                Some(())
            };
            let comes = match until {
                Some(until) => tokio::time::timeout_at(until, comes).await.ok().flatten(),
                None => comes.await,
            };
            if comes.is_some() {
                // The run may be over.
                let _ = strikes.send(strike).await;
            }
        });
    }

    pub(super) fn strike(&mut self, strike: Strike) {
        let device = self.sim.devices()[strike.device].clone();
        let late = strike.until.is_some_and(|until| self.begin.elapsed() > until);
        if device.run() != strike.run || device.mode() == DeviceState::Lost || late {
            return;
        }
        let text = format!("the power of {} fails while its disk works", device.name());
        self.sim.watch().note("fault", Some(device.index()), &text);
        self.ears.trace.line(self.sim.watch().now_ns(), "*", &text);
        self.ears.disturbed();
        self.crash(&device);
        if let Some(online) = strike.online {
            self.no_network(&device, online);
        }
    }

    /// It has no network when it starts again after `down`, for `offline` more.
    fn unplugged(&mut self, device: &Device, down: Option<Duration>, offline: Duration) {
        if let Some(down) = down.filter(|_| !offline.is_zero()) {
            self.no_network(device, self.begin.elapsed() + down + offline);
        }
    }

    fn no_network(&mut self, device: &Device, until: Duration) {
        let own = device.index();
        let others = (0..self.sim.devices().len()).filter(|other| *other != own);
        let pairs: Vec<(usize, usize)> = others.flat_map(|other| [(own, other), (other, own)]).collect();
        self.network.cut(&self.sim, &pairs);
        let undo = Undo::Mend(pairs);
        self.begins(&undo);
        self.at(until, Act::Undo(undo));
    }

    /// A fault begins that `undo` will end.
    pub(super) fn begins(&self, undo: &Undo) {
        let (network, any) = lasts(undo);
        let mut heard = self.ears.heard.lock();
        heard.lasting.0 += network;
        heard.lasting.1 += any;
    }

    /// It goes, undisturbed by anything else: from here on the others' presence is timed.
    fn gone(&self, device: &Device) {
        let now = self.sim.watch().now_us();
        let mut heard = self.ears.heard.lock();
        heard.noticed.went(device.index(), (device.mode() == DeviceState::Up).then_some(now));
    }

    fn move_task(&self, name: &str, to: Option<&str>) {
        let Some(number) = self.scenario.tasks.iter().position(|order| order.name == name) else { return };
        let to = to.and_then(|name| self.sim.device(name)).map(Device::id);
        let Some(device) = self.find(&self.scenario.tasks[number].from) else { return };
        let task = self.ears.heard.lock().orders[number].task;
        if let (Some(bus), Some(task)) = (device.bus(), task) {
            let (ears, name) = (self.ears.clone(), name.to_owned());
            device.host().spawn(async move {
                let said = match bus.tasks().move_to(task, to, "ordered by the scenario").await {
                    Ok(_) => return,
                    Err(error) => format!("`{name}` does not move: {error}"),
                };
                ears.watch.note("person", None, said);
            });
        }
    }

    fn cancel_task(&self, name: &str) {
        let Some(number) = self.scenario.tasks.iter().position(|order| order.name == name) else { return };
        let Some(device) = self.find(&self.scenario.tasks[number].from) else { return };
        let task = {
            let mut heard = self.ears.heard.lock();
            heard.orders[number].cancelled = true;
            heard.orders[number].task
        };
        if let (Some(bus), Some(task)) = (device.bus(), task) {
            let ears = self.ears.clone();
            device.host().spawn(async move {
                if let Err(error) = bus.tasks().cancel(task).await {
                    ears.watch.note("person", None, format!("a task is not cancelled: {error}"));
                }
            });
        }
    }

    fn remove(&mut self, circle: &str, by: &str, device: &str) {
        let (Some(by), Some(device)) = (self.find(by), self.named(device)) else { return };
        let Some(id) = self.ears.heard.lock().circles.get(circle).copied() else { return };
        // From now on nobody puts it in again when it starts.
        self.removed.insert(device.index());
        if let Some(bus) = by.bus() {
            let (ears, name) = (self.ears.clone(), device.name().to_owned());
            by.host().spawn(async move {
                if let Err(error) = bus.circles().remove(Some(id), device.id()).await {
                    ears.watch.note("person", None, format!("{name} is not removed: {error}"));
                }
            });
        }
    }

    /// A device that nobody trusts, which makes up a circle with all those that it knows of and calls at each.
    fn stranger(&mut self, segment: &str) {
        let name = format!("stranger-{}", self.sim.devices().len());
        let spec = crate::scenario::DeviceSpec {
            segment: segment.to_owned(),
            ..crate::scenario::DeviceSpec::plain(&name)
        };
        let victims: Vec<Device> = self.sim.devices().to_vec();
        let stranger = self.join_world(spec);
        let mut roles = vec![(stranger.clone(), softbus::Role::Owner)];
        roles.extend(victims.iter().take(64).map(|victim| (victim.clone(), softbus::Role::Member)));
        let forged = match self.sim.ready_circle(&name, &roles) {
            Ok(circle) => circle,
            Err(error) => return self.sim.watch().note("fault", None, error.to_string()),
        };
        let ears = self.ears.clone();
        self.sim.spawn(async move {
            let Ok(bus) = stranger.start().await else { return };
            if forged.provision(&bus).await.is_err() {
                return;
            }
            for victim in victims.iter().take(64) {
                // Pairing is open to strangers; nothing else is.
                for service in ["task/1", "roster/1", "circle/1"] {
                    let Ok(name) = ServiceName::try_from(service) else { continue };
                    let at = victim.host().address(PORT);
                    let opened = bus.net().open_stranger(at, Some(victim.id()), &name).await;
                    match opened {
                        Ok(_) => ears.watch.violated(
                            "strangers-out",
                            format!("{} opened {service} of {}", stranger.name(), victim.name()),
                        ),
                        Err(NetError::Refused(ErrorCode::NotTrusted)) => ears.watch.held("strangers-out"),
                        // It did not come so far as to be turned away for what it is.
                        Err(error) => {
                            let text =
                                format!("a stranger did not reach {} of {}: {error}", service, victim.name());
                            ears.watch.note("fault", None, text);
                        }
                    }
                }
            }
            stranger.kill();
        });
    }
}

/// Whether what this ends is a fault of the network, and whether it is one that lasts (a device that is off or asleep is
/// looked at by itself).
fn lasts(undo: &Undo) -> (usize, usize) {
    match undo {
        Undo::Mend(_) | Undo::Weather(..) => (1, 1),
        Undo::Load(..) | Undo::Drift(..) | Undo::DiskFull(..) | Undo::DiskFail(..) => (0, 1),
        Undo::Start(_) | Undo::Wake(_) => (0, 0),
    }
}

/// The role as the trust room calls it.
pub(super) fn role(role: RoleSpec) -> softbus::Role {
    match role {
        RoleSpec::Owner => softbus::Role::Owner,
        RoleSpec::Member => softbus::Role::Member,
        RoleSpec::Guest => softbus::Role::Guest,
    }
}

/// The device it is about, by name or as whoever runs a task.
pub(crate) fn subject(what: &What) -> Option<&str> {
    match what {
        What::Crash { device, .. }
        | What::Kill { device, .. }
        | What::Shutdown { device, .. }
        | What::Lose { device }
        | What::Sleep { device, .. }
        | What::Move { device, .. }
        | What::Load { device, .. }
        | What::Plug { device }
        | What::Unplug { device }
        | What::ClockJump { device, .. }
        | What::Drift { device, .. }
        | What::DiskFull { device, .. }
        | What::DiskFail { device, .. }
        | What::Remove { device, .. } => Some(device),
        What::Cut { from, .. } => Some(from),
        What::WrongPin { shown, .. } => Some(shown),
        _ => None,
    }
}

/// In words, the first of which names the sort.
pub(crate) fn describe(what: &What) -> String {
    let down = |down: &Option<Duration>| match down {
        Some(down) => format!("for {down:?}"),
        None => "for good".to_owned(),
    };
    let alone = |offline: &Duration| match offline.is_zero() {
        true => String::new(),
        false => format!(", then without network for {offline:?}"),
    };
    match what {
        What::Crash { device, down: d, offline, at_disk_job: None } => {
            format!("crash of {device} {}{}", down(d), alone(offline))
        }
        What::Crash { device, down: d, offline, at_disk_job: Some(nth) } => {
            format!("crash-writing of {device} {}{}, at job {nth} of its disk", down(d), alone(offline))
        }
        What::Kill { device, down: d, offline } => format!("kill of {device} {}{}", down(d), alone(offline)),
        What::Shutdown { device, down: d } => format!("shutdown of {device} {}", down(d)),
        What::Lose { device } => format!("loss of {device}"),
        What::Sleep { device, announced, span } => {
            format!("sleep of {device} for {span:?}{}", if *announced { ", announced" } else { "" })
        }
        What::Cut { from, to, one_way, span } => {
            format!(
                "cut {} {from} {} {to} for {span:?}",
                if *one_way { "from" } else { "between" },
                if *one_way { "to" } else { "and" }
            )
        }
        What::Partition { groups, span } => {
            let groups: Vec<String> = groups.iter().map(|group| group.join("+")).collect();
            format!("partition {} for {span:?}", groups.join(" | "))
        }
        What::Move { device, segment } => format!("move of {device} to {segment}"),
        What::Weather { segment, way, span } => format!(
            "weather on {segment} for {span:?}: {:?} ± {:?}, {} ppm lost",
            way.latency, way.jitter, way.loss_ppm
        ),
        What::Load { device, permille, span } => format!("load of {permille} ‰ on {device} for {span:?}"),
        What::Plug { device } => format!("plug in {device}"),
        What::Unplug { device } => format!("unplug {device}"),
        What::ClockJump { device, by_ms } => format!("clock-jump of {device} by {by_ms} ms"),
        What::Drift { device, ppm, span } => format!("drift of {device} by {ppm} ppm for {span:?}"),
        What::DiskFull { device, span } => format!("disk-full on {device} for {span:?}"),
        What::DiskFail { device, span } => format!("disk-fail on {device} for {span:?}"),
        What::MoveTask { task, to } => format!("move-task {task} to {}", to.as_deref().unwrap_or("the best")),
        What::CancelTask { task } => format!("cancel-task {task}"),
        What::Remove { circle, by, device } => format!("remove {device} from {circle} by {by}"),
        What::WrongPin { shown, entered } => format!("wrong-pin shown by {shown}, entered on {entered}"),
        What::Stranger { segment } => format!("stranger on {segment}"),
    }
}
