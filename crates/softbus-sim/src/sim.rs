//! A simulation under way: a world, its devices, and time. This is what tests use; [`crate::run`] drives one by a
//! scenario.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use softbus::{Builder, Bus, Presence};
use softbus_core::WallMs;
use softbus_net::seam::memory::{SeededEntropy, World, panicked, panics, witnessed};
use softbus_net::seam::{Clock, Entropy};
use softbus_task::TasksConfig;
use softbus_trust::circle::{Act, CircleSecret, CircleSet, RecoveryKey, Statement};
use softbus_trust::{Grant, Role};
use tokio::time::{Instant, timeout};

use crate::SimError;
use crate::device::{Build, Common, Device};
use crate::key_lines::KeyLines;
use crate::scenario::{Crypto, DeviceSpec};
use crate::watch::Watch;

/// Whether this build repeats a run to the byte. tokio lets its own random source be seeded only in builds with
/// `--cfg tokio_unstable`, which this workspace's builds have (`.cargo/config.toml`).
pub const REPEATS: bool = cfg!(tokio_unstable);

/// A simulation. Lives on one thread, in virtual time: see [`Sim::run`].
pub struct Sim {
    seed: u64,
    crypto: Crypto,
    world: World,
    devices: Vec<Device>,
    common: Common,
    watch: Watch,
}

/// A circle that is made before its devices meet.
pub struct ReadyCircle {
    set: Arc<CircleSet>,
    secret: CircleSecret,
}

impl Sim {
    /// Runs a simulation on a thread of its own, where time passes only as far as nothing has to be done: equal seeds
    /// and equal code give equal runs, to the byte.
    ///
    /// # Errors
    /// If the thread cannot be had.
    ///
    /// # Panics
    /// If `script` does, or anything that runs on a device.
    pub fn run<T: Send + 'static>(
        seed: u64,
        crypto: Crypto,
        script: impl AsyncFnOnce(Sim) -> T + Send + 'static,
    ) -> Result<T, SimError> {
        let thread = std::thread::Builder::new().name(format!("sim {seed}")).stack_size(8 << 20);
        let handle = thread
            .spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                // Who waits on one watch channel is woken in an order that tokio draws.
                #[cfg(tokio_unstable)]
                runtime.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
                let runtime = runtime.enable_time().start_paused(true).build();
                runtime.map(|runtime| {
                    let done = runtime.block_on(async {
                        let sim = Sim::begin(seed, crypto);
                        let watch = sim.watch.clone();
                        // What panics in a device is no end of the device, but of the simulation.
                        let done = tokio::select! {
                            biased;
                            said = panicked() => Err(said),
                            done = script(sim) => Ok(done),
                        };
                        watch.end();
                        // What panicked in the last moment of the script counts, too.
                        let late = panics();
                        if late.is_empty() { done } else { Err(late) }
                    });
                    // What still runs is dropped, not waited for.
                    runtime.shutdown_background();
                    match done {
                        Ok(done) => done,
                        Err(said) => panic!("what runs on a device panicked: {}", said.join("; ")),
                    }
                })
            })
            .map_err(SimError::Thread)?;
        match handle.join() {
            Ok(done) => done.map_err(SimError::Thread),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn begin(seed: u64, crypto: Crypto) -> Self {
        Self {
            seed,
            crypto,
            world: World::new(seed),
            devices: Vec::new(),
            common: Common::default(),
            watch: Watch::begin(),
        }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Network and hosts.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What was seen so far.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Settings of the task room of devices that are added from now on.
    pub fn set_tasks(&mut self, tasks: TasksConfig) {
        self.common.tasks = tasks;
    }

    /// Whether devices that are added from now on run WebAssembly programs.
    pub fn set_programs(&mut self, programs: bool) {
        self.common.programs = programs;
    }

    /// Where the TLS secrets of devices that are added from now on go.
    pub fn set_key_log(&mut self, keys: Arc<KeyLines>) {
        self.common.keys = Some(keys);
    }

    /// Adds a device; it is off.
    pub fn add(&mut self, spec: DeviceSpec) -> Device {
        self.add_built(spec, None)
    }

    /// Adds a device that runs an app: `build` adds to its builder what the app would, its own sorts of tasks for instance,
    /// each time that it is switched on. What stands in `spec` is set before.
    pub fn add_with(
        &mut self,
        spec: DeviceSpec,
        build: impl Fn(Builder) -> Builder + Send + Sync + 'static,
    ) -> Device {
        self.add_built(spec, Some(Arc::new(build)))
    }

    fn add_built(&mut self, spec: DeviceSpec, build: Option<Build>) -> Device {
        self.watch.add_device(&spec);
        let index = self.devices.len();
        let ends = (self.seed, self.crypto);
        let device = Device::new(&self.world, index, spec, ends, self.common.clone(), build);
        self.devices.push(device.clone());
        device
    }

    /// Switches these devices on as members of one circle, and waits until each has all the others online and knows how
    /// they are. The first must be an owner. Gives the circle, for those that are switched on again later.
    ///
    /// # Errors
    /// If the circle cannot be made, a device does not start, or they do not find each other within `most`.
    pub async fn gather(
        &self,
        circle: &str,
        members: &[(Device, Role)],
        most: Duration,
    ) -> Result<ReadyCircle, SimError> {
        let ready = self.ready_circle(circle, members)?;
        for (device, _) in members {
            ready.provision(&self.start(device).await?).await?;
        }
        for (device, _) in members {
            let all = async || {
                let bus = device.bus()?;
                let here =
                    |entry: &softbus::RosterEntry| entry.presence == Presence::Online && entry.now.is_some();
                let others = bus.devices().iter().filter(|e| e.id != device.id() && here(e)).count();
                (others + 1 >= members.len()).then_some(())
            };
            self.until(&format!("{} with all the others", device.name()), most, all).await?;
        }
        Ok(ready)
    }

    /// Switches a device on.
    ///
    /// # Errors
    /// If its bus does not start.
    pub async fn start(&self, device: &Device) -> Result<Bus, SimError> {
        device.start().await.map_err(|error| SimError::Start { device: device.name().to_owned(), error })
    }

    /// All devices, in the order in which they were added.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The device of this name.
    pub fn device(&self, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.name() == name)
    }

    /// Random bytes that follow from the seed and `what`.
    pub(crate) fn draw<const N: usize>(&self, what: &str) -> [u8; N] {
        let mut bytes = [0; N];
        SeededEntropy::new(self.seed, what).fill(&mut bytes);
        bytes
    }

    /// A circle of these devices, as if the first had founded it and admitted the others; it must be an owner.
    ///
    /// # Errors
    /// If there are none, or too many.
    pub fn ready_circle(&self, name: &str, members: &[(Device, Role)]) -> Result<ReadyCircle, SimError> {
        let wrong = |e: &dyn std::fmt::Display| SimError::Circle(name.to_owned(), e.to_string());
        let Some((founder, Role::Owner)) = members.first() else {
            return Err(wrong(&"its first device must be an owner"));
        };
        let now = founder.host().clock().wall();
        let recovery = RecoveryKey::from_seed(self.draw(&format!("recovery of {name}")));
        let nonce = self.draw(&format!("nonce of {name}"));
        let mut set =
            CircleSet::found(founder.key(), name, recovery.id(), nonce, now).map_err(|e| wrong(&e))?;
        let mut parents = set.heads();
        let mut statements = Vec::new();
        for (device, role) in &members[1..] {
            let expires = (*role == Role::Guest).then_some(WallMs(now.0 + 365 * 86_400_000));
            let grant = Grant { role: *role, expires, services: Default::default() };
            let act = Act::Admit { device: device.id(), grant, replaces: None };
            let statement = Statement { circle: Some(set.id()), parents, issued: now, act };
            let signed = statement.sign(founder.key()).map_err(|e| wrong(&e))?;
            parents = vec![signed.hash()];
            statements.push(signed);
        }
        set.insert_all(statements);
        let random = self.draw(&format!("secret of {name}"));
        let secret = CircleSecret::make(founder.key(), &set, None, random).map_err(|e| wrong(&e))?;
        Ok(ReadyCircle { set: Arc::new(set), secret })
    }

    /// Runs until `so` holds, asking every so often.
    ///
    /// # Errors
    /// [`SimError::Never`] if it does not within `most` of virtual time.
    pub async fn until<T>(
        &self,
        what: &str,
        most: Duration,
        mut so: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, SimError> {
        let start = Instant::now();
        let patient = async {
            loop {
                if let Some(found) = so().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(most, patient)
            .await
            .map_err(|_| SimError::Never { what: what.to_owned(), waited: start.elapsed() })
    }

    /// Starts something beside the script. It ends with the simulation.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(witnessed(future));
    }
}

impl ReadyCircle {
    /// Puts a device that has just been started into it, if it is not yet.
    ///
    /// # Errors
    /// Those of [`Keeper::provision`](softbus_net::membership::Keeper::provision).
    pub async fn provision(&self, bus: &Bus) -> Result<(), SimError> {
        if bus.circles().circles().circles.contains_key(&self.set.id()) {
            return Ok(());
        }
        bus.circles()
            .provision(self.set.clone(), self.secret.clone())
            .await
            .map_err(|e| SimError::Circle(self.set.id().to_string(), e.to_string()))
    }

    /// Its id.
    pub fn id(&self) -> softbus_core::CircleId {
        self.set.id()
    }
}
