//! One device of a simulation: its host in the world in memory, the bus that runs on it, and what its body is like.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use softbus::wasm::EngineKind;
use softbus::{Builder, Bus, Declared, KEY_SECRET};
use softbus_core::{DeviceId, DeviceKind};
use softbus_net::seam::memory::{Host, SeededEntropy, VirtualCompute, World};
use softbus_net::seam::{Entropy, Storage};
use softbus_roster::Checked;
use softbus_task::TasksConfig;
use softbus_trust::DeviceKey;

use crate::key_lines::KeyLines;
use crate::program::Programs;
use crate::record::DeviceState;
use crate::scenario::{Crypto, DeviceSpec};
use crate::tls::Seeded;
use crate::work::Work;

/// The port of every device.
pub const PORT: u16 = 4000;
/// How long a device that shuts down has for its goodbyes, once its tasks have left.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);

/// A device. Clones are handles to the same.
#[derive(Clone)]
pub struct Device(Arc<Shared>);

/// Adds to what is built for a device, in each run of its program.
pub(crate) type Build = Arc<dyn Fn(Builder) -> Builder + Send + Sync>;

struct Shared {
    index: usize,
    spec: DeviceSpec,
    host: Host,
    key: Arc<DeviceKey>,
    compute: VirtualCompute,
    tls: Seeded,
    common: Common,
    build: Option<Build>,
    state: Mutex<State>,
}

/// What devices of one simulation share.
#[derive(Clone, Default)]
pub(crate) struct Common {
    /// Settings of their task rooms.
    pub tasks: TasksConfig,
    /// Where their TLS secrets go.
    pub keys: Option<Arc<KeyLines>>,
    /// Whether they run programs.
    pub programs: bool,
    /// Profiles that one of them has checked.
    pub checked: Checked,
}

struct State {
    mode: DeviceState,
    bus: Option<Bus>,
    /// Nth run of its program.
    run: u64,
}

/// What runs programs on a device of this kind: those that one carries about interpret them, as some systems of such devices
/// let no program make machine code. So programs move between engines, too.
fn engine(kind: DeviceKind) -> EngineKind {
    match kind {
        DeviceKind::Phone | DeviceKind::Tablet | DeviceKind::Watch => EngineKind::Pulley,
        _ => EngineKind::Cranelift,
    }
}

impl Device {
    pub(crate) fn new(
        world: &World,
        index: usize,
        spec: DeviceSpec,
        (seed, crypto): (u64, Crypto),
        common: Common,
        build: Option<Build>,
    ) -> Self {
        let host = world.host(&spec.name);
        host.kill();
        let compute = VirtualCompute::new(spec.cores, spec.rate_ops_per_s);
        compute.set_disk_latency(spec.disk.latency);
        host.set_virtual_compute(compute.clone());
        let mut key_seed = [0; 32];
        SeededEntropy::new(seed, &format!("key of {}", spec.name)).fill(&mut key_seed);
        let key = Arc::new(DeviceKey::from_seed(&key_seed));
        let tls = Seeded::new(Arc::new(SeededEntropy::new(seed, &format!("tls of {}", spec.name))), crypto);
        host.sensors().change(|hardware, sample| {
            hardware.kind = Some(spec.kind);
            hardware.cores = spec.cores;
            hardware.memory_bytes = spec.memory_bytes;
            sample.memory_free_bytes = spec.memory_bytes;
        });
        host.clock().jump_wall(spec.clock_offset_ms);
        host.clock().set_drift_ppm(spec.clock_drift_ppm);
        host.disk().set_capacity(spec.disk.capacity_bytes);
        let state = State { mode: DeviceState::Off, bus: None, run: 0 };
        let shared = Shared { index, spec, host, key, compute, tls, common, build, state: Mutex::new(state) };
        Self(Arc::new(shared))
    }

    /// Its number in the simulation.
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.spec.name
    }

    /// What the scenario says of it.
    pub fn spec(&self) -> &DeviceSpec {
        &self.0.spec
    }

    /// Its id.
    pub fn id(&self) -> DeviceId {
        self.0.key.id()
    }

    pub(crate) fn key(&self) -> &DeviceKey {
        &self.0.key
    }

    /// Its host, for its clock, disk, sensors and addresses.
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// Its cores and disk.
    pub fn compute(&self) -> &VirtualCompute {
        &self.0.compute
    }

    /// How it is.
    pub fn mode(&self) -> DeviceState {
        self.state().mode
    }

    /// The bus that runs on it; `None` while it is off.
    pub fn bus(&self) -> Option<Bus> {
        self.state().bus.clone()
    }

    /// Nth run of its program.
    pub fn run(&self) -> u64 {
        self.state().run
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Switches it on. `Err` if its bus does not start; then it is off.
    pub(crate) async fn start(&self) -> Result<Bus, softbus::Error> {
        let shared = &self.0;
        let run = {
            let mut state = self.state();
            state.bus = None;
            state.run += 1;
            state.run
        };
        shared.host.restart();
        if shared.host.disk().secret(KEY_SECRET)?.is_none() {
            shared.host.disk().put_secret(KEY_SECRET, &shared.key.to_file())?;
        }
        let spec = &shared.spec;
        let declared = Declared { rate_ops_per_s: Some(spec.rate_ops_per_s), ..Declared::default() };
        let mut builder = Bus::builder()
            .seam(shared.host.seam())
            .name(&spec.name)
            .kind(spec.kind)
            .declare(declared)
            .port(PORT)
            .link_budget(spec.link_budget)
            .tls_provider(shared.tls.provider())
            .roster(|roster| roster.checked = Some(shared.common.checked.clone()))
            .battery_floor_permille(spec.battery.map_or(0, |battery| battery.floor_permille))
            .tasks(shared.common.tasks.clone());
        if let Some(keys) = &shared.common.keys {
            builder = builder.key_log(keys.clone());
        }
        if spec.runs_tasks {
            builder = builder.task::<Work>();
            if shared.common.programs {
                let programs = Programs::new(engine(spec.kind), shared.host.seam().clock);
                let programs = programs.map_err(|error| softbus::Error::Config(error.to_string()))?;
                builder = builder.runtime(Arc::new(programs));
            }
        }
        if let Some(build) = &shared.build {
            builder = build(builder);
        }
        // Whatever is spawned meanwhile ends with this run of the host.
        let started = shared.host.spawn(builder.start()).await;
        let bus = match started {
            Ok(Some(started)) => started?,
            // Switched off while it started.
            _ => return Err(softbus::Error::Config("it was switched off while it started".into())),
        };
        let mut state = self.state();
        if state.run != run {
            return Err(softbus::Error::Config("it was switched off while it started".into()));
        }
        state.bus = Some(bus.clone());
        state.mode = DeviceState::Up;
        Ok(bus)
    }

    fn off(&self, mode: DeviceState) -> Option<Bus> {
        let mut state = self.state();
        state.run += 1;
        state.mode = mode;
        state.bus.take()
    }

    /// Power cut; [`Sim::start`](crate::Sim::start) switches it on again, with its disk. `seed` says what is left of unsynced
    /// writes, if its disk tears them.
    pub fn crash(&self, seed: u64) {
        let bus = self.off(DeviceState::Off);
        if self.0.spec.disk.torn {
            self.0.host.crash_torn(seed);
        } else {
            self.0.host.crash();
        }
        drop(bus);
    }

    /// Its program is killed; what it wrote stays.
    pub fn kill(&self) {
        let bus = self.off(DeviceState::Off);
        self.0.host.kill();
        drop(bus);
    }

    /// It is gone for good, with its disk.
    pub fn lose(&self) {
        self.crash(0);
        self.state().mode = DeviceState::Lost;
    }

    /// It shuts down in order: its tasks have `drain` to leave.
    pub async fn shutdown(&self, drain: Duration) {
        let run = self.run();
        if let Some(bus) = self.bus() {
            // It may fall asleep meanwhile.
            let _ = tokio::time::timeout(drain + GOODBYE, bus.shutdown_within(drain)).await;
        }
        // Something else may have switched it off meanwhile, and on again.
        if self.run() == run {
            self.kill();
        }
    }

    pub(crate) fn set_mode(&self, mode: DeviceState) {
        self.state().mode = mode;
    }
}
