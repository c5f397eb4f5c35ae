//! What a device has promised counts for everybody who places work.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::*;
use softbus_core::Promised;
use softbus_net::seam::memory::World;
use softbus_task::{PolicyKind, SubmitOptions, TaskError, TasksConfig};
use tokio::time::timeout;

fn promised(by: &Device, at: &Device) -> Promised {
    let view = by.roster.view();
    view.get(&at.id()).and_then(|entry| entry.now.as_ref()).unwrap().profile.promised
}

async fn until_promised(by: &Device, at: &Device, what: &str, want: impl Fn(&Promised) -> bool) {
    let mut view = by.roster.watch();
    let told = view.wait_for(|view| {
        view.get(&at.id()).and_then(|e| e.now.as_ref()).is_some_and(|now| want(&now.profile.promised))
    });
    // Less than a lease lasts.
    assert!(timeout(Duration::from_secs(5), told).await.is_ok(), "never {what}: {:?}", promised(by, at));
}

#[tokio::test(start_paused = true)]
async fn two_who_submit_at_the_same_moment_do_not_choose_the_same_idle_tv() {
    logs();
    for seed in 0..12 {
        let world = World::new(seed);
        let mut names = [("phone", SLOW), ("watch", SLOW), ("tv1", FAST), ("tv2", FAST)];
        names.rotate_left(seed as usize % 4);
        let config = TasksConfig { rebalance: false, ..config() };
        let home = home_with(&world, &names, config).await;
        let named = |name: &str| home.iter().find(|device| device.name() == name).unwrap();
        let (a, b) = if seed % 2 == 0 { ("phone", "watch") } else { ("watch", "phone") };
        // So much work that two on one TV would take longer than one on each. It can use all cores.
        let mut options = options("twin");
        options.hints.cores = 4;
        let input = Input::turns(200_000);
        let one = named(a).tasks.run::<Grind>(&input, options.clone());
        let other = named(b).tasks.run::<Grind>(&input, options);
        let (one, other) = tokio::join!(one, other);
        let (one, other) = (one.unwrap(), other.unwrap());
        let mut runners = BTreeSet::new();
        for handle in [&one, &other] {
            runners.insert(until(handle, "given a runner", |s| s.runner.is_some()).await.runner.unwrap());
        }
        assert_eq!(runners, BTreeSet::from([named("tv1").id(), named("tv2").id()]), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_who_submits_twice_at_once_counts_its_own_first_task() {
    logs();
    let world = World::new(1);
    let config = TasksConfig { rebalance: false, ..config() };
    let home = home_with(&world, &[("phone", SLOW), ("tv1", FAST), ("tv2", FAST)], config).await;
    let mut options = options("twin");
    options.hints.cores = 4;
    let input = Input::turns(200_000);
    let tasks = &home[0].tasks;
    let (one, other) =
        tokio::join!(tasks.run::<Grind>(&input, options.clone()), tasks.run::<Grind>(&input, options));
    let mut runners = BTreeSet::new();
    for handle in [&one.unwrap(), &other.unwrap()] {
        runners.insert(until(handle, "given a runner", |s| s.runner.is_some()).await.runner.unwrap());
    }
    assert_eq!(runners, BTreeSet::from([home[1].id(), home[2].id()]));
}

#[tokio::test(start_paused = true)]
async fn a_promise_that_is_not_used_is_given_back() {
    logs();
    let world = World::new(2);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    // It gets its promise of the TV, and then there are too few devices to keep checkpoints.
    let options = SubmitOptions { policy: PolicyKind::Quorum { k: 2 }, ..options("lonely") };
    let refused = home[0].tasks.run::<Grind>(&Input::turns(30_000), options).await;
    assert!(matches!(refused, Err(TaskError::Conflict(_))));
    until_promised(&home[0], &home[1], "given back", |p| p.last == 1 && p.jobs == 0).await;
    assert_eq!(promised(&home[1], &home[1]), Promised { last: 1, ..Promised::default() });
}

#[tokio::test(start_paused = true)]
async fn one_that_is_used_ends_when_the_task_begins() {
    logs();
    let world = World::new(3);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    let handle = home[0].tasks.run::<Grind>(&Input::turns(100_000), options("used")).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    until_promised(&home[0], &home[1], "begun", |p| p.last == 1 && p.jobs == 0).await;
    let view = home[0].roster.view();
    let now = view.get(&home[1].id()).unwrap().now.as_ref().unwrap().profile.clone();
    assert!(now.running_tasks == 1 && now.queued_ops > 0, "{now:?}");
}

#[tokio::test(start_paused = true)]
async fn who_shuts_down_says_that_it_promises_nothing_more() {
    logs();
    let world = World::new(4);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    home[1].tasks.drain().await;
    until_promised(&home[0], &home[1], "full", |p| p.full).await;
}
