//! The task behind the roster. It owns the state machine; everything that happens is one event for it, and
//! what it wants done is done here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::roster::Gossip;
use softbus_core::{
    DeviceId, DynamicProfile, Promised, ServiceName, ServiceOffer, Signed, StaticProfile, limits as core,
};
use softbus_net::seam::store::{Store, StoreError};
use softbus_net::seam::{Hardware, Lane, Sample, Seam};
use softbus_net::{Judge, Links, Net};
use softbus_trust::DeviceKey;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::calibrate::{self, Calibration};
use crate::events::{Publisher, Reader};
use crate::gossip::{Action, Failure, Member, RosterMachine, Trust};
use crate::profile::{Author, Believed};
use crate::roster::{Ask, ask_peer, is_refusal, service};
use crate::{Overrides, RosterConfig, RosterError, SampleOverride, shelf};

/// What a core is taken to do if neither a stopwatch nor a configuration tells, in operations per second.
const RATE_UNKNOWN: u64 = 100_000_000;
/// Profiles of others are written to disk so often at most: each write costs, and what is lost can be had again from others.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// What reading the sensors costs, in operations of the reference kernel (a simulator charges time for it).
const SENSORS_OPS: u64 = 50_000;

/// Something to do, and whom to tell that it is done.
pub(crate) struct Command {
    pub(crate) what: What,
    pub(crate) done: oneshot::Sender<Result<(), RosterError>>,
}

pub(crate) enum What {
    Services(Vec<ServiceName>),
    TaskTypes(Vec<String>),
    Inject(SampleOverride, Duration),
    ClearInjected,
    Told(DeviceId, Box<Gossip>),
}

pub(crate) struct Inboxes {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) running: watch::Receiver<Running>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// What runs here and what is promised, as told by the task room.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Running {
    pub(crate) tasks: u16,
    pub(crate) queued_ops: u64,
    pub(crate) promised: Promised,
}

/// Work that went elsewhere and came back.
enum Done {
    Answer(DeviceId, u64, Result<Gossip, Failure>),
    Sample(Option<Sample>),
    Saved(Result<(), StoreError>),
}

pub(crate) struct Driver {
    net: Net,
    seam: Seam,
    judge: Arc<dyn Judge>,
    store: Store,
    config: RosterConfig,
    machine: RosterMachine,
    author: Author,
    hardware: Hardware,
    rate_ops_per_s: u64,
    sample: Sample,
    running: Running,
    overrides: Overrides,
    publisher: Publisher,
    jobs: JoinSet<Done>,
    /// The request under way to each peer (one at most).
    requests: BTreeMap<DeviceId, AbortHandle>,
    sampling: bool,
    saving: bool,
    /// Not before this.
    save_at: Instant,
    /// Profiles of others to keep or to forget on disk.
    unsaved: BTreeMap<DeviceId, Option<Signed>>,
    /// Our own new profile, whose version is not durable yet.
    unissued: Option<Believed>,
}

impl Driver {
    pub(crate) async fn open(
        net: Net,
        judge: Arc<dyn Judge>,
        store: Store,
        key: Arc<DeviceKey>,
        config: RosterConfig,
    ) -> Result<Self, RosterError> {
        let seam = net.seam().clone();
        let wall = seam.clock.wall();
        let kept = shelf::open(&store, wall).await?;
        let sensors = seam.sensors.clone();
        let read = seam.compute.run(Lane::Disk, SENSORS_OPS, move || (sensors.hardware(), sensors.sample()));
        let (machine, sample) = read.await.ok_or(RosterError::Closed)?;
        let rate = match config.declared.rate_ops_per_s {
            Some(rate) => rate,
            None => rate(&seam, &store, &machine, kept.calibration).await,
        };
        let factor = u64::from(config.declared.rate_factor());
        let rate_ops_per_s = u64::try_from(u128::from(rate) * u128::from(factor) / 1000).unwrap_or(u64::MAX);

        let mut roster = RosterMachine::new(key.clone(), kept.boot, config.tell_every);
        roster.share(config.checked.clone());
        let publisher = Publisher::new(roster.view().clone());
        let mut driver = Self {
            author: Author::new(key, kept.version, config.lifetime),
            hardware: config.declared.hardware(machine),
            machine: roster,
            publisher,
            seam,
            net,
            judge,
            store,
            config,
            rate_ops_per_s,
            sample,
            running: Running::default(),
            overrides: Overrides::default(),
            jobs: JoinSet::new(),
            requests: BTreeMap::new(),
            sampling: false,
            saving: false,
            save_at: Instant::now(),
            unsaved: BTreeMap::new(),
            unissued: None,
        };
        driver.follow_trust();
        for signed in kept.profiles {
            let device = signed.signer;
            if let Err(error) = driver.machine.restore(signed, wall) {
                tracing::debug!(%device, %error, "a stored profile does not count any more");
                driver.unsaved.insert(device, None);
            }
        }
        driver.describe().await?;
        driver.tell_now();
        driver.publish();
        Ok(driver)
    }

    pub(crate) fn reader(&self) -> Reader {
        self.publisher.reader()
    }

    pub(crate) fn boot(&self) -> u64 {
        self.machine.boot()
    }

    pub(crate) async fn run(mut self, mut inboxes: Inboxes) {
        let mut trust = self.judge.changed();
        let mut links = self.net.links();
        let mut samples = interval(self.config.sample_every.max(Duration::from_millis(50)));
        samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What changed before we subscribed.
        self.follow_trust();
        self.follow_links(links.borrow_and_update().clone());
        loop {
            self.save();
            self.publish();
            let now = Instant::now();
            let due = self.machine.deadline(now);
            let due = self.overrides.deadline().map_or(due, |end| end.min(due));
            let due = if self.saving || self.unsaved.is_empty() { due } else { due.min(self.save_at) };
            tokio::select! {
                biased;
                _ = inboxes.stop.changed() => break,
                Ok(()) = trust.changed() => self.follow_trust(),
                Ok(()) = links.changed() => {
                    let links = links.borrow_and_update().clone();
                    self.follow_links(links);
                }
                Some(done) = self.jobs.join_next() => {
                    // A job that was aborted or died has nothing to say: the machine finds it overdue.
                    if let Ok(done) = done {
                        self.done(done);
                    }
                }
                Ok(()) = inboxes.running.changed() => {
                    self.running = *inboxes.running.borrow_and_update();
                    self.tell_now();
                }
                _ = samples.tick() => self.take_sample(),
                () = sleep_until(due) => self.tick().await,
                command = inboxes.commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => break,
                },
                Some(ask) = inboxes.asks.recv() => self.ask(ask),
            }
        }
        self.jobs.shutdown().await;
        // Whom we forgot would else be known again at the next start.
        let unsaved = std::mem::take(&mut self.unsaved);
        if !unsaved.is_empty()
            && let Err(error) = shelf::keep_profiles(&self.store, unsaved.into_iter().collect()).await
        {
            tracing::warn!(%error, "profiles of others could not be written at the end");
        }
    }

    async fn tick(&mut self) {
        let (now, wall) = (Instant::now(), self.seam.clock.wall());
        let actions = self.machine.tick(now, wall);
        self.perform(actions);
        let ended = self.overrides.expire(now);
        if (ended || self.unissued.is_some() || self.author.due(wall))
            && let Err(error) = self.describe().await
        {
            tracing::warn!(%error, "our own profile could not be made anew; it is tried again");
        }
        if ended {
            self.tell_now();
        }
    }

    async fn command(&mut self, command: Command) {
        let Command { what, done } = command;
        let now = Instant::now();
        let result = match what {
            What::Services(services) => {
                let before = std::mem::replace(&mut self.config.services, services);
                let result = self.describe().await;
                if let Err(RosterError::Profile(_)) = result {
                    self.config.services = before;
                }
                result
            }
            What::TaskTypes(task_types) => {
                let before = std::mem::replace(&mut self.config.task_types, task_types);
                let result = self.describe().await;
                if let Err(RosterError::Profile(_)) = result {
                    self.config.task_types = before;
                }
                result
            }
            What::Inject(over, lasts) => {
                self.overrides.add(over, lasts, now);
                self.tell_now();
                self.describe().await
            }
            What::ClearInjected => {
                self.overrides.clear();
                self.tell_now();
                self.describe().await
            }
            What::Told(from, gossip) => {
                let actions = self.machine.told(from, *gossip, now, self.seam.clock.wall());
                self.perform(actions);
                Ok(())
            }
        };
        self.publish();
        // Whoever asked may have gone.
        let _ = done.send(result);
    }

    fn ask(&mut self, ask: Ask) {
        let (now, wall) = (Instant::now(), self.seam.clock.wall());
        let (answer, actions) = self.machine.requested(ask.from, ask.gossip, now, wall);
        let _ = ask.answer.send(answer);
        self.perform(actions);
    }

    fn done(&mut self, done: Done) {
        let (now, wall) = (Instant::now(), self.seam.clock.wall());
        match done {
            Done::Answer(from, token, result) => {
                let actions = self.machine.answered(from, token, result, now, wall);
                self.perform(actions);
            }
            Done::Sample(sample) => {
                self.sampling = false;
                if let Some(sample) = sample {
                    self.sample = sample;
                }
                self.tell_now();
            }
            Done::Saved(result) => {
                self.saving = false;
                if let Err(error) = result {
                    // They can be had again from others.
                    tracing::warn!(%error, "profiles of other devices could not be kept on disk");
                }
            }
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { to, token, gossip } => {
                    let net = self.net.clone();
                    let job = self.jobs.spawn(async move {
                        let answer = ask_peer(&net, to, &gossip).await.map_err(|error| {
                            tracing::debug!(peer = %to, %error, "the peer did not hear us");
                            if is_refusal(&error) { Failure::Refused } else { Failure::Failed }
                        });
                        Done::Answer(to, token, answer)
                    });
                    // One per peer: what went out on a connection that is no more is of no use.
                    if let Some(old) = self.requests.insert(to, job) {
                        old.abort();
                    }
                }
                Action::Persist(signed) => {
                    self.unsaved.insert(signed.signer, Some(signed));
                }
                Action::Forget(id) => {
                    self.requests.remove(&id);
                    self.unsaved.insert(id, None);
                }
                Action::Outrun(version) => {
                    tracing::warn!(
                        version,
                        "a profile of ours that we do not know is about: ours goes beyond it"
                    );
                    self.author.outrun(version);
                }
            }
        }
    }

    /// Makes and signs our own profile anew if it changed or is due, and tells it once its version is durable.
    async fn describe(&mut self) -> Result<(), RosterError> {
        let wall = self.seam.clock.wall();
        if let Some(believed) = self.author.issue(self.draft(), wall)? {
            self.unissued = Some(believed);
        }
        if let Some(believed) = &self.unissued {
            shelf::keep_version(&self.store, believed.digest.version).await?;
        }
        if let Some(believed) = self.unissued.take() {
            let actions = self.machine.own(believed, Instant::now());
            self.perform(actions);
        }
        Ok(())
    }

    fn draft(&self) -> StaticProfile {
        let declared: BTreeSet<_> =
            self.config.declared.names().into_iter().chain(self.overrides.names()).collect();
        let services: BTreeSet<_> = self.config.services.iter().cloned().collect();
        let task_types: BTreeSet<_> = self.config.task_types.iter().cloned().collect();
        let name = match shortened(&self.hardware.name) {
            "" => self.net.id().short(),
            name => name.to_owned(),
        };
        StaticProfile {
            id: self.net.id(),
            version: 0,
            issued: Default::default(),
            expires: Default::default(),
            name,
            kind: self.hardware.kind.unwrap_or_default(),
            cores: self.hardware.cores.max(1),
            memory_bytes: self.hardware.memory_bytes,
            arch: shortened(&self.hardware.arch).to_owned(),
            os: shortened(&self.hardware.os).to_owned(),
            accelerators: self.hardware.accelerators.clone(),
            capabilities: self.hardware.capabilities.clone(),
            services: services.into_iter().map(|service| ServiceOffer { service }).collect(),
            task_types: task_types.into_iter().collect(),
            battery_floor_permille: self.config.battery_floor_permille.min(1000),
            declared: declared.into_iter().map(str::to_owned).collect(),
        }
    }

    /// How we are now, by the last sample and all that overrides it.
    fn tell_now(&mut self) {
        let mut values = self.config.declared.sample(&self.sample);
        self.overrides.apply(&mut values);
        let profile = DynamicProfile {
            sequence: 0, // counted by the machine
            sampled: self.seam.clock.wall(),
            rate_ops_per_s: self.rate_ops_per_s,
            load_permille: values.load_permille,
            memory_free_bytes: values.memory_free_bytes,
            battery_permille: values.battery_permille,
            power: values.power,
            thermal: values.thermal,
            running_tasks: self.running.tasks,
            queued_ops: self.running.queued_ops,
            promised: self.running.promised,
        };
        let actions = self.machine.sampled(profile, Instant::now());
        self.perform(actions);
    }

    fn take_sample(&mut self) {
        if std::mem::replace(&mut self.sampling, true) {
            return; // the last one is not back yet
        }
        let (compute, sensors) = (self.seam.compute.clone(), self.seam.sensors.clone());
        self.jobs.spawn(async move {
            Done::Sample(compute.run(Lane::Disk, SENSORS_OPS, move || sensors.sample()).await)
        });
    }

    /// One write at a time; what changes meanwhile goes into the next.
    fn save(&mut self) {
        let now = Instant::now();
        if self.saving || self.unsaved.is_empty() || now < self.save_at {
            return;
        }
        self.saving = true;
        self.save_at = now + SAVE_EVERY;
        let (store, batch) = (self.store.clone(), std::mem::take(&mut self.unsaved));
        self.jobs.spawn(async move {
            Done::Saved(shelf::keep_profiles(&store, batch.into_iter().collect()).await)
        });
    }

    fn publish(&mut self) {
        if let Some(changes) = self.machine.take_changes() {
            self.publisher.publish(changes);
        }
    }

    fn follow_links(&mut self, links: Arc<Links>) {
        let actions = self.machine.links(links, Instant::now());
        self.perform(actions);
    }

    fn follow_trust(&mut self) {
        let service = service();
        let devices = self.judge.peers().into_iter().filter_map(|id| {
            let speaks = self.judge.may_open(&id, &service).is_ok();
            Some((id, Member { role: self.judge.standing(&id).role()?, speaks }))
        });
        let trust = Trust {
            own_role: self.judge.own_role(),
            devices: devices.collect(),
            groups: self.judge.groups(),
        };
        let actions = self.machine.trust(trust, Instant::now());
        self.perform(actions);
    }
}

/// The stored rate if it still holds, or else a new measurement.
async fn rate(seam: &Seam, store: &Store, machine: &Hardware, kept: Option<Calibration>) -> u64 {
    let (fingerprint, wall) = (calibrate::fingerprint(machine), seam.clock.wall());
    if let Some(kept) = kept.filter(|kept| kept.holds(&fingerprint, wall)) {
        return kept.rate_ops_per_s;
    }
    let (clock, began) = (seam.clock.clone(), Instant::now());
    let job = move || calibrate::measure(&|| clock.stopwatch_ns());
    let measured = seam.compute.run(Lane::Work, calibrate::CALIBRATION_OPS, job).await.flatten();
    // Where time passes between jobs and not within them (a simulator), it is the whole job that counts.
    let took = || u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let Some(rate_ops_per_s) = measured.or_else(|| calibrate::rate(calibrate::CALIBRATION_OPS, took()))
    else {
        tracing::warn!("no clock to measure the processor by: {RATE_UNKNOWN} operations per second assumed");
        return RATE_UNKNOWN;
    };
    let calibration = Calibration { rate_ops_per_s, fingerprint, made: wall };
    if let Err(error) = shelf::keep_calibration(store, &calibration).await {
        tracing::warn!(%error, "the calibration could not be kept; it is made again at the next start");
    }
    rate_ops_per_s
}

/// At most [`core::NAME_BYTES`] of a text, in whole letters.
fn shortened(text: &str) -> &str {
    let text = text.trim();
    let mut end = text.len().min(core::NAME_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
