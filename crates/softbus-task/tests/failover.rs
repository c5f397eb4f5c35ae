//! Fail-over has no long tail: whenever the runner is killed, the task goes on elsewhere after its lease, some round
//! trips and at most one fetch. All of it under virtual time.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::*;
use softbus_net::seam::memory::{Conditions, World};
use softbus_task::{MoveReason, PolicyKind, SubmitOptions, TaskHandle, TaskState};
use tokio::time::{Instant, sleep, timeout};

/// The lease (1.5 s) and ε are 1.55 s; a candidate's turn, the ballots, the new lease and one fetch of a state of
/// [`BALLAST`] bytes come on top.
const BOUND: Duration = Duration::from_secs(4);
/// A state that takes about half a second to send at [`RATE`].
const BALLAST: usize = 64 << 10;
const RATE: u64 = 133_000;

/// When the runner is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Just so long after the task began to run: before, while or after its first checkpoints are copied.
    After(u64),
    /// So long after it was told to move.
    Moving(u64),
    /// So long after it arrived on the device that is killed.
    Arrived(u64),
    /// So long after another holder took the place of one that was lost.
    HolderLost(u64),
}

/// The time from the death of a runner to the first step elsewhere.
async fn gap(seed: u64, moment: Moment) -> Duration {
    let world = World::new(seed);
    let mut names = vec![("phone", SLOW), ("tv", FAST), ("car", FAST - 1)];
    if let Moment::HolderLost(_) = moment {
        names.push(("desk", FAST - 2));
    }
    let mut home = home(&world, &names).await;
    world.net().set_conditions(Conditions { rate_bytes_per_s: RATE, ..Conditions::default() });
    // The device that is to take over gets its copies late: it is often in the middle of one.
    let slow = Conditions { rate_bytes_per_s: RATE / 3, ..Conditions::default() };
    world.set_conditions_between(&home[1].host, &home[2].host, slow);
    let input = Input { ballast: BALLAST, ..Input::turns(400_000) };
    let mut options = SubmitOptions { policy: PolicyKind::Quorum { k: 2 }, ..options("tough") };
    options.hints.start_on = Some(home[1].id());
    options.hints.stay = true;
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    let mut victim = 1;
    match moment {
        Moment::After(ms) => sleep(Duration::from_millis(ms)).await,
        Moment::Moving(ms) => {
            let (tasks, id, to) = (home[1].tasks.clone(), handle.id(), home[2].id());
            sleep(Duration::from_millis(700)).await;
            tokio::spawn(async move { tasks.move_to(id, Some(to), "").await });
            sleep(Duration::from_millis(ms)).await;
        }
        Moment::Arrived(ms) => {
            sleep(Duration::from_millis(700)).await;
            handle.move_to(Some(home[2].id()), "").await.unwrap();
            until_running_on(&handle, &home[2]).await;
            victim = 2;
            sleep(Duration::from_millis(ms)).await;
        }
        Moment::HolderLost(ms) => {
            let status = until(&handle, "checkpointed", |s| s.checkpoint >= 1 && !s.holders.is_empty()).await;
            let lost = (2..4).find(|i| status.holders.contains(&home[*i].id())).unwrap();
            home[lost].host.kill();
            let lost = home[lost].id();
            until(&handle, "kept by another", |s| s.holders.len() == 2 && !s.holders.contains(&lost)).await;
            sleep(Duration::from_millis(ms)).await;
        }
    }
    goes_on(&mut home, handle, victim, (seed, moment)).await
}

/// Kills a device and measures until the task takes a step on another (or has gone there already).
async fn goes_on(home: &mut [Device], handle: TaskHandle, victim: usize, what: (u64, Moment)) -> Duration {
    let dead = home[victim].id();
    home[victim].host.kill();
    let began = Instant::now();
    let mut watch = handle.watch().await.unwrap();
    let alive = watch.wait_for(|s| {
        let there = s.runner.is_some_and(|runner| runner != dead);
        there && s.state == TaskState::Running && s.moves.last().is_some_and(|m| Some(m.to) == s.runner)
    });
    match timeout(Duration::from_secs(120), alive).await {
        Ok(status) => {
            let status = status.unwrap();
            let took = began.elapsed();
            let last = status.moves.last().unwrap();
            // A hand-over that was decided before the death counts as well.
            assert!(matches!(last.reason, MoveReason::Failover | MoveReason::Person(_)), "{last:?}");
            took
        }
        Err(_) => panic!("{what:?}: never went on; now {:#?}", handle.status().await.unwrap()),
    }
}

/// Measures for many moments; the gaps are told if one is too long.
async fn all_within_the_bound(base: u64, moments: impl Iterator<Item = Moment>) {
    logs();
    let mut gaps = Vec::new();
    for (index, moment) in moments.enumerate() {
        let seed = base + index as u64;
        gaps.push((gap(seed, moment).await, seed, moment));
    }
    tracing::info!(?gaps);
    let late: Vec<_> = gaps.iter().filter(|(took, ..)| *took > BOUND).collect();
    assert!(late.is_empty(), "too long without a runner: {late:#?}");
}

#[tokio::test(start_paused = true)]
async fn while_checkpoints_are_copied() {
    all_within_the_bound(1000, (0..8).map(|n| Moment::After(n * 211))).await;
}

#[tokio::test(start_paused = true)]
async fn in_a_hand_over() {
    all_within_the_bound(1100, (0..5).map(|n| Moment::Moving(n * 173))).await;
}

#[tokio::test(start_paused = true)]
async fn right_after_a_hand_over() {
    all_within_the_bound(1200, (0..4).map(|n| Moment::Arrived(n * 97))).await;
}

#[tokio::test(start_paused = true)]
async fn when_the_acceptors_have_just_changed() {
    all_within_the_bound(1300, (0..3).map(|n| Moment::HolderLost(n * 23))).await;
}
