//! Simulations as a test writes them: devices, a condition, a judgement.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use softbus::{Presence, Step, StepContext, Task, TaskFailure};
use softbus_net::seam::memory::InlineCompute;
use softbus_net::seam::{Compute, Lane};
use softbus_sim::scenario::{Crypto, DeviceSpec};
use softbus_sim::work::{Work, WorkInput};
use softbus_sim::{Device, Sim};
use softbus_task::{PolicyKind, SubmitOptions};
use softbus_trust::Role;

const S: Duration = Duration::from_secs(1);

async fn home(sim: &mut Sim, names: &[&str]) -> Vec<Device> {
    let devices: Vec<Device> = names.iter().map(|name| sim.add(DeviceSpec::plain(name))).collect();
    sim.gather("home", &roles(&devices), 30 * S).await.unwrap();
    devices
}

/// The first is an owner.
fn roles(devices: &[Device]) -> Vec<(Device, Role)> {
    let role = |d: &Device| if d.index() == 0 { Role::Owner } else { Role::Member };
    devices.iter().map(|d| (d.clone(), role(d))).collect()
}

async fn moved(mut sim: Sim) -> (String, u64) {
    let home = home(&mut sim, &["phone", "tv", "car"]).await;
    let bus = home[0].bus().unwrap();
    let input = WorkInput {
        order: 0,
        ops: 500_000_000,
        state_bytes: 100_000,
        hot_bytes: 5000,
        memory_bytes: 1 << 20,
        effects: 20,
    };
    let expected = input.expected();
    let handle = bus.submit::<Work>(&input, SubmitOptions::default()).await.unwrap();
    tokio::time::sleep(2 * S).await;
    let before = handle.status().await.unwrap().runner.unwrap();
    let to = home.iter().map(Device::id).find(|id| *id != before).unwrap();
    handle.move_to(Some(to), "").await.unwrap();
    assert_eq!(handle.output::<u64>().await.unwrap(), expected);
    let runs = sim.watch().runs(0);
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert!(!sim.watch().any_violated());
    (format!("{runs:?} {:?} {}", sim.world().net().stats(), sim.watch().now_us()), expected)
}

fn logs() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
}

#[test]
fn a_task_moves_and_equal_seeds_tell_the_same_story() {
    logs();
    let run = |seed, crypto| Sim::run(seed, crypto, moved).unwrap();
    let one = run(1, Crypto::Real);
    eprintln!("{}", one.0);
    assert_eq!(one, run(1, Crypto::Real));
    assert_ne!(one, run(2, Crypto::Real));
    assert_eq!(run(1, Crypto::Null).1, one.1);
}

/// An app's own task: counts slowly.
struct Count(Counted);

#[derive(Serialize, Deserialize)]
struct Counted {
    at: u64,
    to: u64,
}

impl Task for Count {
    const NAME: &'static str = "count";
    const STATE_VERSION: u16 = 1;
    type Input = u64;
    type State = Counted;
    type Output = u64;

    fn start(to: u64) -> Result<Self, TaskFailure> {
        Ok(Self(Counted { at: 0, to }))
    }

    fn resume(state: Counted) -> Result<Self, TaskFailure> {
        Ok(Self(state))
    }

    fn state(&self) -> &Counted {
        &self.0
    }

    fn step(&mut self, cx: &mut StepContext) -> Result<Step<u64>, TaskFailure> {
        while self.0.at < self.0.to {
            self.0.at += 1;
            if !cx.spend(1_000_000) {
                return Ok(Step::More);
            }
        }
        Ok(Step::Done(self.0.at))
    }
}

/// An app brings its own task; the device that runs it loses its power for good.
async fn survives(mut sim: Sim) -> u64 {
    let names = ["phone", "tv", "car", "laptop"];
    let add = |name: &&str| sim.add_with(DeviceSpec::plain(name), |bus| bus.task::<Count>());
    let devices: Vec<Device> = names.iter().map(add).collect();
    let circle = sim.gather("home", &roles(&devices), 30 * S).await.unwrap();
    let phone = devices[0].bus().unwrap();
    let options = SubmitOptions { policy: PolicyKind::Quorum { k: 2 }, ..SubmitOptions::default() };
    let handle = phone.submit::<Count>(&800, options).await.unwrap();
    handle.accepted().await.unwrap();
    let runner = handle.status().await.unwrap().runner.unwrap();
    let lost = devices.iter().find(|device| device.id() == runner).unwrap().clone();
    // Whoever submits may be the one; it asks again when it is back.
    lost.crash(1);
    let gone = async || {
        let other = devices.iter().find(|device| device.id() != lost.id())?.bus()?;
        let entry = other.devices().into_iter().find(|entry| entry.id == lost.id())?;
        (entry.presence == Presence::Offline).then_some(())
    };
    sim.until("the others notice", 10 * S, gone).await.unwrap();
    if lost.id() == phone.id() {
        let again = sim.start(&lost).await.unwrap();
        circle.provision(&again).await.unwrap();
    }
    let task = handle.id();
    let done = async || {
        let bus = devices[0].bus()?;
        let handle = bus.tasks().handle(task).await.ok()?;
        tokio::time::timeout(60 * S, handle.output::<u64>()).await.ok()?.ok()
    };
    sim.until("its result", 120 * S, done).await.unwrap()
}

#[test]
fn an_app_brings_its_own_task_and_it_survives_its_device() {
    for seed in 0..3 {
        assert_eq!(Sim::run(seed, Crypto::Null, survives).unwrap(), 800);
    }
}

/// What runs on a device of the simulation.
#[test]
#[should_panic(expected = "what runs on a device panicked: on purpose")]
fn what_panics_in_a_job_of_a_device_is_no_quiet_end() {
    let _ = Sim::run(1, Crypto::Null, async |mut sim: Sim| {
        let device = sim.add(DeviceSpec::plain("phone"));
        sim.start(&device).await.unwrap();
        device.host().spawn(async { panic!("on purpose") });
        tokio::time::sleep(S).await;
    });
}

/// However late: here the script ends in the moment in which the job dies.
#[test]
#[should_panic(expected = "what runs on a device panicked: on purpose")]
fn what_panics_at_the_end_is_no_quiet_end() {
    let _ = Sim::run(1, Crypto::Null, async |_: Sim| {
        InlineCompute::new().submit(Lane::Work, 1, Box::new(|| panic!("on purpose")));
    });
}

#[test]
#[should_panic(expected = "what runs on a device panicked: on purpose")]
fn what_panics_on_a_device_is_no_quiet_end() {
    let _ = Sim::run(1, Crypto::Null, async |sim: Sim| {
        sim.spawn(async { panic!("on purpose") });
        tokio::time::sleep(S).await;
    });
}
