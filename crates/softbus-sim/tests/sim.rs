//! Simulations as a test writes them: devices, a condition, a judgement.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use softbus_net::Presence;
use softbus_sim::scenario::{Crypto, DeviceSpec};
use softbus_sim::work::{Work, WorkInput};
use softbus_sim::{Device, Sim};
use softbus_task::SubmitOptions;
use softbus_trust::Role;

const S: Duration = Duration::from_secs(1);

async fn home(sim: &mut Sim, names: &[&str]) -> Vec<Device> {
    let devices: Vec<Device> = names.iter().map(|name| sim.add(DeviceSpec::plain(name))).collect();
    let roles: Vec<_> = devices
        .iter()
        .map(|d| (d.clone(), if d.index() == 0 { Role::Owner } else { Role::Member }))
        .collect();
    let circle = sim.ready_circle("home", &roles).unwrap();
    for device in &devices {
        let bus = sim.start(device).await.unwrap();
        circle.provision(&bus).await.unwrap();
    }
    for device in &devices {
        let all = async || {
            let bus = device.bus()?;
            let online = bus
                .devices()
                .iter()
                .filter(|e| e.id != device.id() && e.presence == Presence::Online && e.now.is_some())
                .count();
            (online == devices.len() - 1).then_some(())
        };
        sim.until("all online", 30 * S, all).await.unwrap();
    }
    devices
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
