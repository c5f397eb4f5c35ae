//! Runs a scenario: sets the world up, lets happen what is to happen, listens to everybody, and leaves a
//! [`Record`].

mod body;
mod checks;
mod end;
mod happen;
mod heard;
mod listen;
mod network;
mod oracle;
mod pairing;
mod paths;
mod submit;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use softbus_net::seam::memory::{NetStats, Tap};
use softbus_task::TasksConfig;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::device::Device;
use crate::key_lines::KeyLines;
use crate::pcap::Pcap;
use crate::record::{DeviceSample, DeviceState, LinkSpan, Record, Traffic};
use crate::scenario::{DeviceSpec, Entry, Scenario, TaskOrder};
use crate::sim::{ReadyCircle, Sim};
use crate::trace::Trace;
use crate::work::WorkInput;
use crate::{SimError, record};
pub(crate) use body::{Body, Doings};
use happen::{Holding, Strike, Undo};
pub(crate) use happen::{describe, subject};
use heard::{Heard, Order};
use listen::Ears;
use network::Network;
pub(crate) use paths::resident_bytes;

/// How often bodies, sensors and invariants are seen to.
const TICK: Duration = Duration::from_secs(1);
/// Samples of each device in the record, about ...
const SAMPLES: u32 = 400;
/// ... and of all together.
const SAMPLES_OF_ALL: u64 = 100_000;
/// How often a device that could not be started is tried again.
const START_AGAIN: Duration = Duration::from_secs(5);

/// How to run a scenario.
#[derive(Default)]
pub struct RunOptions {
    /// The seed.
    pub seed: u64,
    /// Where a line for each datagram and event goes.
    pub trace: Option<Box<dyn Write + Send>>,
    /// Where the virtual traffic goes, for Wireshark.
    pub pcap: Option<Box<dyn Write + Send>>,
    /// Is told now and then how far it is.
    pub progress: Option<Box<dyn FnMut(Progress) + Send>>,
    /// Settings of the task room of all devices.
    pub tasks: TasksConfig,
    /// Whether to stop at the first violation.
    pub stop_at_violation: bool,
}

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Progress {
    /// Virtual time so far.
    pub at: Duration,
    /// Of this.
    pub of: Duration,
    /// Devices that are on.
    pub up: usize,
    /// Pieces of work that are done.
    pub done: usize,
    /// Datagrams sent.
    pub datagrams: u64,
}

/// Runs a scenario from its begin to its end.
///
/// # Errors
/// If it cannot be set up. What goes wrong within it is in the record.
pub fn run(scenario: &Scenario, options: RunOptions) -> Result<Record, SimError> {
    let (scenario, seed, crypto) = (Arc::new(scenario.clone()), options.seed, scenario.crypto);
    #[allow(clippy::disallowed_methods, reason = "how long it really took is told beside the result")]
    let began = std::time::Instant::now();
    let mut record = Sim::run(seed, crypto, async move |sim| {
        let paths = paths::Paths::begin();
        let mut director = Director::new(sim, scenario, options)?;
        director.direct().await;
        let mut record = director.record();
        director.flush()?;
        record.summary.paths = paths.end();
        Ok::<_, SimError>(record)
    })??;
    record.summary.real_s = began.elapsed().as_secs_f64();
    record.summary.memory_bytes = paths::resident_bytes();
    Ok(record)
}

/// The input of an order.
pub(crate) fn input(number: usize, order: &TaskOrder) -> WorkInput {
    WorkInput {
        order: u32::try_from(number).unwrap_or(u32::MAX),
        ops: order.ops.max(1),
        state_bytes: order.state_bytes,
        hot_bytes: order.hot_bytes,
        memory_bytes: order.memory_bytes,
        effects: order.effects,
    }
}

/// What is to be done at some time.
enum Act {
    Start(usize),
    Happen(usize),
    Undo(Undo),
    Submit(usize),
    Tick,
}

struct Director {
    sim: Sim,
    scenario: Arc<Scenario>,
    options: RunOptions,
    network: Network,
    ears: Ears,
    circles: BTreeMap<String, Arc<ReadyCircle>>,
    acts: BTreeMap<(Duration, u64), Act>,
    acts_made: u64,
    strikes: mpsc::Sender<Strike>,
    struck: mpsc::Receiver<Strike>,
    begin: Instant,
    bodies: Vec<Body>,
    loads: Vec<u16>,
    holding: Holding,
    /// Those that are off because their battery ran empty.
    starved: BTreeSet<usize>,
    removed: BTreeSet<usize>,
    /// Segments over time.
    places: Vec<Vec<(u64, usize)>>,
    /// States over time.
    states: Vec<Vec<(u64, DeviceState)>>,
    samples: Vec<Vec<DeviceSample>>,
    sample_every: Duration,
    /// What was counted at the last tick and sample: core time and bytes.
    counted: Vec<(u64, u64)>,
    busy_since_sample: Vec<u64>,
    links: BTreeMap<(usize, usize), u64>,
    link_spans: Vec<LinkSpan>,
    traffic: Vec<Traffic>,
    stats: NetStats,
    checks: checks::Checks,
    pcap: Option<Arc<Pcap>>,
}

impl Director {
    fn new(mut sim: Sim, scenario: Arc<Scenario>, mut options: RunOptions) -> Result<Self, SimError> {
        sim.set_tasks(options.tasks.clone());
        sim.set_programs(scenario.tasks.iter().any(|order| order.program.is_some()));
        let pcap = options.pcap.take().map(|out| {
            let keys = Arc::new(KeyLines::new());
            sim.set_key_log(keys.clone());
            Arc::new(Pcap::new(out, Some(keys)))
        });
        let trace = match options.trace.take() {
            Some(text) => Trace::with_text(text),
            None => Trace::new(),
        };
        let orders = Arc::new(scenario.tasks.clone());
        let ears = Ears {
            heard: Heard::default(),
            watch: sim.watch().clone(),
            trace: Arc::new(trace),
            orders: orders.clone(),
            names: Arc::new(scenario.devices.iter().map(|device| device.name.clone()).collect()),
        };
        ears.heard.lock().orders = vec![Order::default(); orders.len()];
        let network = Network::new(&sim, &scenario);
        let ticks = u32::try_from(scenario.duration.as_secs()).unwrap_or(u32::MAX);
        let of_all = u64::from(ticks) * scenario.devices.len() as u64 / SAMPLES_OF_ALL;
        let sample_every = TICK * (ticks / SAMPLES).max(u32::try_from(of_all).unwrap_or(u32::MAX)).max(1);
        let (strikes, struck) = mpsc::channel(scenario.devices.len().max(1));
        let mut director = Self {
            network,
            ears,
            circles: BTreeMap::new(),
            acts: BTreeMap::new(),
            acts_made: 0,
            strikes,
            struck,
            begin: Instant::now(),
            bodies: Vec::new(),
            loads: Vec::new(),
            holding: Holding::default(),
            starved: BTreeSet::new(),
            removed: BTreeSet::new(),
            places: Vec::new(),
            states: Vec::new(),
            samples: Vec::new(),
            sample_every,
            counted: Vec::new(),
            busy_since_sample: Vec::new(),
            links: BTreeMap::new(),
            link_spans: Vec::new(),
            traffic: Vec::new(),
            stats: NetStats::default(),
            checks: checks::Checks::new(&scenario),
            pcap,
            sim,
            scenario: scenario.clone(),
            options,
        };
        for spec in &scenario.devices {
            director.join_world(spec.clone());
        }
        director.network.link(&director.sim, &scenario);
        director.make_circles()?;
        let mut taps: Vec<Arc<dyn Tap>> = vec![director.ears.trace.clone()];
        if let Some(pcap) = &director.pcap {
            taps.push(pcap.clone());
        }
        director.sim.world().net().set_tap(Arc::new(taps));
        for (index, spec) in scenario.devices.iter().enumerate() {
            director.at(spec.starts, Act::Start(index));
        }
        for (index, happening) in scenario.events.iter().enumerate() {
            director.at(happening.at, Act::Happen(index));
        }
        for (index, order) in scenario.tasks.iter().enumerate() {
            director.at(order.at, Act::Submit(index));
        }
        director.at(TICK, Act::Tick);
        Ok(director)
    }

    /// What is written beside the record comes to its end.
    fn flush(&self) -> Result<(), SimError> {
        self.ears.trace.flush().map_err(SimError::Write)?;
        if let Some(pcap) = &self.pcap {
            let left_out = pcap.flush().map_err(SimError::Write)?;
            if left_out > 0 {
                self.sim.watch().note(
                    "device",
                    None,
                    format!("{left_out} packets found no room in the capture"),
                );
            }
        }
        Ok(())
    }

    /// Adds a device to the world; it is off.
    fn join_world(&mut self, spec: DeviceSpec) -> Device {
        self.bodies.push(Body::new(&spec));
        self.loads.push(0);
        let segment = self.scenario.segments.iter().position(|s| s.name == spec.segment).unwrap_or(0);
        self.places.push(vec![(0, segment)]);
        self.states.push(vec![(0, DeviceState::Off)]);
        self.samples.push(Vec::new());
        self.counted.push((0, 0));
        self.busy_since_sample.push(0);
        let device = self.sim.add(spec);
        self.network.place(&device);
        self.ears.heard.lock().devices.insert(device.id(), device.index());
        device
    }

    /// The devices of a circle, its founder first: the first that is an owner.
    fn members(&self, circle: &str) -> Vec<(Device, softbus::Role)> {
        let of = |device: &Device| Some((device.clone(), happen::role(*device.spec().circles.get(circle)?)));
        let mut members: Vec<_> = self.sim.devices().iter().filter_map(of).collect();
        members.sort_by_key(|(_, role)| *role != softbus::Role::Owner);
        members
    }

    /// Those that are ready before time begins.
    fn make_circles(&mut self) -> Result<(), SimError> {
        for circle in self.scenario.circles.iter().filter(|circle| circle.entry == Entry::Ready) {
            let members = self.members(&circle.name);
            if !members.is_empty() {
                let ready = self.sim.ready_circle(&circle.name, &members)?;
                self.ears.heard.lock().circles.insert(circle.name.clone(), ready.id());
                self.circles.insert(circle.name.clone(), Arc::new(ready));
            }
        }
        Ok(())
    }

    fn at(&mut self, at: Duration, act: Act) {
        self.acts_made += 1;
        self.acts.insert((at, self.acts_made), act);
    }

    /// Until the end of the scenario, or the first violation if that is enough.
    async fn direct(&mut self) {
        self.people_pair();
        while let Some((at, _)) =
            self.acts.keys().next().copied().filter(|(at, _)| *at <= self.scenario.duration)
        {
            tokio::select! {
                biased;
                () = sleep_until(self.begin + at) => {}
                Some(strike) = self.struck.recv() => {
                    self.strike(strike);
                    continue;
                }
            }
            let Some((_, act)) = self.acts.pop_first() else { break };
            match act {
                Act::Start(index) => self.switch_on(&self.sim.devices()[index].clone()),
                Act::Happen(index) => {
                    let scenario = self.scenario.clone();
                    if let Some((span, undo)) = self.happen(&scenario.events[index].what) {
                        self.begins(&undo);
                        self.at(at + span, Act::Undo(undo));
                    }
                }
                Act::Undo(undo) => self.undo(undo),
                Act::Submit(index) => self.submit(index),
                Act::Tick => {
                    self.tick(at);
                    self.at(at + TICK, Act::Tick);
                    if self.options.stop_at_violation && self.sim.watch().any_violated() {
                        return;
                    }
                }
            }
        }
        sleep_until(self.begin + self.scenario.duration).await;
    }

    /// Switches a device on, beside what else happens; again and again if it does not start.
    fn switch_on(&self, device: &Device) {
        let (device, ears) = (device.clone(), self.ears.clone());
        let circles: Vec<Arc<ReadyCircle>> =
            device.spec().circles.keys().filter_map(|name| self.circles.get(name)).cloned().collect();
        let provision = !self.removed.contains(&device.index());
        self.sim.spawn(async move {
            loop {
                let began = ears.watch.now_us();
                let run = device.run() + 1;
                match device.start().await {
                    Ok(bus) => {
                        ears.listen(&device, &bus);
                        for circle in circles.iter().filter(|_| provision) {
                            if let Err(error) = circle.provision(&bus).await {
                                ears.watch.note("device", Some(device.index()), error.to_string());
                            }
                        }
                        let mut heard = ears.heard.lock();
                        heard.noticed.came(device.index(), began);
                        heard.changed_us = ears.watch.now_us();
                        heard.started_us.insert(device.index(), began);
                        return;
                    }
                    Err(error) => {
                        let text = format!("{} does not start: {error}", device.name());
                        ears.watch.note("device", Some(device.index()), text);
                    }
                }
                // Somebody else has switched it on or off meanwhile.
                if device.run() != run {
                    return;
                }
                tokio::time::sleep(START_AGAIN).await;
                if device.run() != run || device.mode() != DeviceState::Off {
                    return;
                }
            }
        });
    }

    /// A second has passed.
    fn tick(&mut self, at: Duration) {
        let now = record::micros(at);
        let sample = at.as_secs().is_multiple_of(self.sample_every.as_secs().max(1));
        for index in 0..self.sim.devices().len() {
            let device = self.sim.devices()[index].clone();
            self.live(&device);
            let mode = device.mode();
            if self.states[index].last().is_none_or(|(_, last)| *last != mode) {
                self.states[index].push((now, mode));
            }
            if sample {
                self.sample(&device);
            }
        }
        if sample {
            self.look_at_links(now);
            let stats = self.sim.world().net().stats();
            let lost = |s: &NetStats| s.lost + s.cut + s.overflowed;
            self.traffic.push(Traffic {
                sent: stats.sent - self.stats.sent,
                bytes: stats.sent_bytes - self.stats.sent_bytes,
                lost: lost(&stats) - lost(&self.stats),
            });
            self.stats = stats;
        }
        self.check(at);
        if let Some(progress) = &mut self.options.progress {
            let done = self.ears.heard.lock().orders.iter().filter(|order| order.done_us.is_some()).count();
            let up = self.sim.devices().iter().filter(|device| device.mode() == DeviceState::Up).count();
            let datagrams = self.sim.world().net().stats().sent;
            progress(Progress { at, of: self.scenario.duration, up, done, datagrams });
        }
    }

    /// A device's body lives on for a second, and its sensors say how it is.
    fn live(&mut self, device: &Device) {
        let index = device.index();
        let traffic = device.host().traffic();
        let bytes = traffic.sent_bytes + traffic.received_bytes;
        let busy = device.compute().busy_ns();
        let (busy_before, bytes_before) = self.counted[index];
        self.counted[index] = (busy, bytes);
        let own = (busy - busy_before) as f64 / 1e9;
        self.busy_since_sample[index] += busy - busy_before;
        let cores = f64::from(device.spec().cores.max(1));
        let others = cores * f64::from(self.loads[index]) / 1000.0;
        let mode = device.mode();
        let body = &mut self.bodies[index];
        let empty = body.pass(Doings {
            seconds: TICK.as_secs_f64(),
            on: matches!(mode, DeviceState::Up | DeviceState::Asleep),
            asleep: mode == DeviceState::Asleep,
            core_seconds: own + if mode == DeviceState::Up { others } else { 0.0 },
            bytes: bytes - bytes_before,
        });
        let own_permille = (own * 1000.0 / cores / TICK.as_secs_f64()).min(1000.0) as u16;
        let rate = body.rate_ops_per_s();
        device.compute().set_rate(rate * u64::from(1000 - self.loads[index].min(950)) / 1000);
        let (battery, power, thermal) = (body.battery_permille(), body.power(), body.thermal());
        let load = own_permille.saturating_add(self.loads[index]).min(1000);
        device.host().sensors().change(|_, sample| {
            sample.load_permille = load;
            sample.own_load_permille = own_permille;
            sample.battery_permille = battery;
            sample.power = power;
            sample.thermal = thermal;
        });
        // Whoever is plugged in has no floor.
        let drains = battery.filter(|_| power != softbus_core::PowerSource::Mains);
        self.sim.watch().set_battery(index, drains);
        if mode == DeviceState::Off
            && power == softbus_core::PowerSource::Mains
            && self.starved.remove(&index)
        {
            let text = format!("{} is plugged in and starts again", device.name());
            self.sim.watch().note("device", Some(index), text);
            self.ears.disturbed();
            self.switch_on(device);
        }
        if empty && matches!(mode, DeviceState::Up | DeviceState::Asleep) {
            self.sim.watch().note(
                "device",
                Some(index),
                format!("the battery of {} is empty", device.name()),
            );
            self.ears.disturbed();
            device.crash(0);
            self.starved.insert(index);
        }
    }

    fn sample(&mut self, device: &Device) {
        let index = device.index();
        let span_ns = self.sample_every.as_nanos() as f64 * f64::from(device.spec().cores.max(1));
        let load = std::mem::take(&mut self.busy_since_sample[index]) as f64 * 1000.0 / span_ns;
        let bus = device.bus();
        let online = bus.as_ref().map_or(0, |bus| {
            let view = bus.roster().view();
            view.others().filter(|entry| entry.presence == softbus::Presence::Online).count()
        });
        let running = bus.as_ref().map_or(0, |bus| {
            let tasks = bus.tasks().list();
            let here = |task: &&Arc<softbus::TaskStatus>| {
                task.runner == Some(bus.id()) && task.state == softbus_task::TaskState::Running
            };
            tasks.iter().filter(here).count()
        });
        let body = &self.bodies[index];
        self.samples[index].push(DeviceSample {
            battery_permille: body.battery_permille(),
            celsius: body.celsius().map(|c| c as f32),
            load_permille: (load as u16).saturating_add(self.loads[index]).min(1000),
            online: u16::try_from(online).unwrap_or(u16::MAX),
            running: u16::try_from(running).unwrap_or(u16::MAX),
        });
    }

    fn look_at_links(&mut self, now: u64) {
        let mut seen: BTreeSet<(usize, usize)> = BTreeSet::new();
        let devices = self.ears.heard.lock().devices.clone();
        for device in self.sim.devices() {
            let Some(bus) = device.bus() else { continue };
            let links = bus.net().links().borrow().clone();
            for link in links.values().filter(|link| link.presence == softbus::Presence::Online) {
                if let Some(other) = devices.get(&link.peer) {
                    seen.insert((device.index().min(*other), device.index().max(*other)));
                }
            }
        }
        let before: Vec<(usize, usize)> = self.links.keys().copied().collect();
        for pair in before.into_iter().filter(|pair| !seen.contains(pair)) {
            if let Some(from_us) = self.links.remove(&pair) {
                self.link_spans.push(LinkSpan { a: pair.0, b: pair.1, from_us, to_us: now });
            }
        }
        for pair in seen {
            self.links.entry(pair).or_insert(now);
        }
    }
}
