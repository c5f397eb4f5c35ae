//! A home of several devices in a world in memory, under virtual time.
#![allow(dead_code, clippy::unwrap_used, reason = "for tests; each test file uses some of it")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use softbus_core::DeviceId;
use softbus_net::seam::Seam;
use softbus_net::seam::memory::{Host, VirtualCompute, World};
use softbus_net::seam::store::Store;
use softbus_net::testing::FixedJudge;
use softbus_net::{Net, NetConfig, Presence, Router};
use softbus_roster::{Declared, Roster, RosterConfig};
use softbus_task::{
    Buffer, Estimate, Runtime, Step, StepContext, SubmitOptions, Task, TaskFailure, TaskHandle, TaskRegistry,
    TaskState, TaskStatus, Tasks, TasksConfig,
};
use softbus_trust::{DeviceKey, Role};
use tokio::time::timeout;

/// Makes a runtime for a device.
pub type MakeRuntime = fn(&Seam) -> Arc<dyn Runtime>;

pub const PORT: u16 = 4000;
/// Speed of a slow device's cores, in operations per second.
pub const SLOW: u64 = 2_000_000;
/// And of a fast one's.
pub const FAST: u64 = 10_000_000;

thread_local! {
    /// Live links that each device of this test keeps.
    pub static LINK_BUDGET: Cell<usize> = const { Cell::new(32) };
    /// Makes the runtime that each device of this test has beside its native tasks.
    pub static RUNTIME: Cell<Option<MakeRuntime>> = const { Cell::new(None) };
}

/// Mixes numbers for a while; carries ballast of which it changes one byte per turn.
pub struct Grind(State, Alive);

/// One program in memory, from start or resume to its end.
struct Alive(u64);

thread_local! {
    /// Which of them took steps, in order; several steps in a row count once.
    static STEPS: RefCell<(u64, Vec<u64>)> = const { RefCell::new((0, Vec::new())) };
}

impl Alive {
    fn new() -> Self {
        STEPS.with_borrow_mut(|(last, _)| {
            *last += 1;
            Self(*last)
        })
    }

    fn step(&self) {
        STEPS.with_borrow_mut(|(_, steps)| {
            if self.0 > 0 && steps.last() != Some(&self.0) {
                steps.push(self.0);
            }
        });
    }
}

/// Whether two programs of this test ran side by side: one took a step between two steps of the other.
pub fn two_were_alive() -> bool {
    STEPS.with_borrow(|(_, steps)| {
        let mut seen = BTreeSet::new();
        !steps.iter().all(|alive| seen.insert(*alive))
    })
}

#[derive(Serialize, Deserialize)]
pub struct State {
    /// First: what changes its length would move it, and every chunk of it would be another.
    ballast: Buffer,
    turn: u64,
    turns: u64,
    sum: u64,
    panic_at: u64,
    emit_every: u64,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Input {
    pub turns: u64,
    pub ballast: usize,
    pub panic_at: u64,
    pub emit_every: u64,
}

impl Input {
    pub fn turns(turns: u64) -> Self {
        Self { turns, ballast: 0, panic_at: u64::MAX, emit_every: 0 }
    }

    /// What its ballast looks like at the start.
    pub fn unmoved_ballast(&self) -> Vec<u8> {
        noise(self.ballast)
    }

    /// What comes out if nothing ever moves.
    pub fn unmoved(&self) -> u64 {
        let mut task = Grind::start(self.clone()).unwrap();
        task.1 = Alive(0); // it is no device's
        loop {
            if let Step::Done(sum) = task.step(&mut StepContext::detached(u64::MAX)).unwrap() {
                return sum;
            }
        }
    }
}

/// Bytes no two chunks of which are alike.
fn noise(len: usize) -> Vec<u8> {
    let mut x = 1u64;
    let word = |_| {
        x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(1);
        x.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(word).collect();
    bytes.truncate(len);
    bytes
}

/// What one turn costs.
pub const TURN_OPS: u64 = 1000;

impl Task for Grind {
    const NAME: &'static str = "grind";
    const STATE_VERSION: u16 = 1;
    type Input = Input;
    type State = State;
    type Output = u64;

    fn start(input: Input) -> Result<Self, TaskFailure> {
        if input.turns == 0 {
            return Err(TaskFailure::new("nothing to grind"));
        }
        let state = State {
            turn: 0,
            turns: input.turns,
            sum: 1,
            panic_at: input.panic_at,
            emit_every: input.emit_every,
            ballast: Buffer(noise(input.ballast)),
        };
        Ok(Self(state, Alive::new()))
    }

    fn resume(state: State) -> Result<Self, TaskFailure> {
        Ok(Self(state, Alive::new()))
    }

    fn state(&self) -> &State {
        &self.0
    }

    fn estimate(input: &Input) -> Estimate {
        Estimate { ops: input.turns * TURN_OPS, memory_bytes: 1 << 20, output_bytes: 8 }
    }

    fn step(&mut self, cx: &mut StepContext) -> Result<Step<u64>, TaskFailure> {
        self.1.step();
        let s = &mut self.0;
        while s.turn < s.turns {
            s.turn += 1;
            s.sum = (s.sum ^ s.turn).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
            assert!(s.turn != s.panic_at, "the stone broke");
            if !s.ballast.0.is_empty() {
                let at = s.turn as usize % s.ballast.0.len();
                s.ballast.0[at] ^= s.sum as u8;
            }
            if s.emit_every > 0 && s.turn.is_multiple_of(s.emit_every) {
                cx.emit(s.sum.to_le_bytes().to_vec())?;
            }
            if !cx.spend(TURN_OPS) {
                cx.progress(s.turn as f64 / s.turns as f64, "grinding");
                cx.preview(s.turn.to_le_bytes().to_vec());
                return Ok(Step::More);
            }
        }
        let ballast: u64 = s.ballast.0.iter().map(|b| u64::from(*b)).sum();
        Ok(Step::Done(s.sum.wrapping_add(ballast)))
    }
}

pub struct Device {
    pub host: Host,
    pub key: Arc<DeviceKey>,
    pub judge: Arc<FixedJudge>,
    pub net: Net,
    pub roster: Roster,
    pub tasks: Tasks,
    pub store: Store,
    pub rate: u64,
}

impl Device {
    pub fn id(&self) -> DeviceId {
        self.key.id()
    }

    pub fn name(&self) -> &str {
        self.host.name()
    }
}

pub fn key(name: &str) -> Arc<DeviceKey> {
    let mut seed = [9; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    Arc::new(DeviceKey::from_seed(&seed))
}

pub fn config() -> TasksConfig {
    TasksConfig { checkpoint_every: Duration::from_millis(200), ..TasksConfig::default() }
}

/// Names and speeds (operations per second of one core).
pub async fn home(world: &World, devices: &[(&str, u64)]) -> Vec<Device> {
    home_with(world, devices, config()).await
}

pub async fn home_with(world: &World, devices: &[(&str, u64)], config: TasksConfig) -> Vec<Device> {
    let all: Vec<String> = devices.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut home = Vec::new();
    for (name, rate) in devices {
        let host = world.host(name);
        host.set_compute(Arc::new(VirtualCompute::new(4, *rate)));
        home.push(start(world, name, *rate, &all, config.clone()).await);
    }
    together(&home).await;
    home
}

/// Starts (or starts anew, on the same disk) one device.
pub async fn start(world: &World, name: &str, rate: u64, all: &[String], config: TasksConfig) -> Device {
    let host = world.host(name);
    host.set_compute(Arc::new(VirtualCompute::new(4, rate)));
    host.restart();
    let seam = host.seam();
    let own = key(name);
    // The first is the owner of the circle.
    let judge = FixedJudge::new([]);
    for (index, other) in all.iter().enumerate().filter(|(_, other)| *other != name) {
        judge.trust(key(other).id(), if index == 0 { Role::Owner } else { Role::Member });
    }
    let router = Router::new();
    let link_budget = LINK_BUDGET.get();
    // A link to a device that was named by its address is kept whatever the budget.
    let found = link_budget < all.len();
    judge.set_tag_secret([7; 32]);
    let net_config = NetConfig { port: PORT, discovery: found, link_budget, ..NetConfig::default() };
    let net = Net::start(seam.clone(), own.clone(), judge.clone(), router, net_config).await.unwrap();
    for other in all.iter().filter(|other| !found && *other != name) {
        net.add_static(Some(key(other).id()), world.host(other).address(PORT));
    }
    let store = Store::open(&seam).await.unwrap();
    // The turtle plays a device four times slower than it is.
    let rate_permille = (name == "turtle").then_some(250);
    let declared = Declared {
        name: Some(name.to_owned()),
        rate_ops_per_s: Some(rate),
        rate_permille,
        ..Declared::default()
    };
    let roster_config = RosterConfig { declared, ..RosterConfig::default() };
    let roster =
        Roster::start(net.clone(), judge.clone(), store.clone(), own.clone(), roster_config).await.unwrap();
    let mut registry = TaskRegistry::new().with::<Grind>().unwrap();
    if let Some(make) = RUNTIME.get() {
        registry.register_runtime(make(&seam)).unwrap();
    }
    let tasks = Tasks::start(
        net.clone(),
        roster.clone(),
        judge.clone(),
        store.clone(),
        own.clone(),
        registry,
        config,
    )
    .await
    .unwrap();
    Device { host, key: own, judge, net, roster, tasks, store, rate }
}

/// Waits until every device sees every other with its task types.
pub async fn together(home: &[Device]) {
    for device in home {
        let mut view = device.roster.watch();
        let ready = view.wait_for(|view| {
            view.entries.len() == home.len()
                && view.entries.values().all(|entry| {
                    let known = entry.now.is_some()
                        && entry.profile.as_ref().is_some_and(|p| !p.task_types.is_empty());
                    known && (entry.id == device.id() || entry.presence == Presence::Online)
                })
        });
        timeout(Duration::from_secs(60), ready).await.expect("the home never came together").unwrap();
    }
}

pub fn options(name: &str) -> SubmitOptions {
    SubmitOptions { name: name.into(), ..SubmitOptions::default() }
}

/// Waits until the status is as wanted.
pub async fn until(handle: &TaskHandle, what: &str, want: impl Fn(&TaskStatus) -> bool) -> Arc<TaskStatus> {
    let mut watch = handle.watch().await.unwrap();
    let result = timeout(Duration::from_secs(120), watch.wait_for(|status| want(status))).await;
    match result {
        Ok(status) => status.unwrap().clone(),
        Err(_) => panic!("never {what}; now {:#?}", handle.status().await.unwrap()),
    }
}

pub async fn until_running_on(handle: &TaskHandle, device: &Device) -> Arc<TaskStatus> {
    let id = device.id();
    let what = format!("running on {}", device.name());
    until(handle, &what, |s| s.state == TaskState::Running && s.runner == Some(id) && s.progress > 0.0).await
}

pub fn logs() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
}

/// Waits until the account of its last move says that it came here.
pub async fn until_moved(handle: &TaskHandle, to: &Device) -> Arc<TaskStatus> {
    let id = to.id();
    let what = format!("moved to {}", to.name());
    until(handle, &what, |s| s.moves.last().is_some_and(|m| m.to == id) && s.runner == Some(id)).await
}
