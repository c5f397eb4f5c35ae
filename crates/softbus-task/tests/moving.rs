//! What travels when a task moves.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::time::Duration;

use common::{FAST, Grind, Input, home, home_with, logs, options, until, until_moved, until_running_on};
use softbus_net::seam::memory::{Conditions, World};
use softbus_task::TasksConfig;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn only_chunks_that_changed_travel() {
    logs();
    let world = World::new(61);
    let home = home(&world, &[("phone", FAST), ("tv", FAST)]).await;
    // Each turn changes the next byte: within the first of many chunks, for as long as this lasts.
    let ballast = 8 << 20;
    let input = Input { ballast, ..Input::turns(60_000) };
    let mut options = options("heavy");
    options.hints.start_on = Some(home[0].id());
    options.hints.stay = true;
    let sent = || world.net().stats().sent_bytes;
    let before = sent();
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[0]).await;
    until(&handle, "checkpointed", |s| s.checkpoint > 0).await;
    sleep(Duration::from_secs(2)).await;
    assert!(sent() - before > ballast as u64, "at first all of it goes to the device that keeps it");
    for to in [1, 0, 1] {
        let before = sent();
        handle.move_to(Some(home[to].id()), "").await.unwrap();
        until_moved(&handle, &home[to]).await;
        // The first chunk and the last one with what is not ballast, perhaps both before the stop and after it; and
        // what the devices say to each other beside.
        assert!(sent() - before < 1 << 20, "then what changed: {}", sent() - before);
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
}

/// The destination has the last checkpoint, so that nothing has to go ahead; but that is an old one.
#[tokio::test(start_paused = true)]
async fn what_changed_since_an_old_checkpoint_goes_ahead_too() {
    logs();
    let world = World::new(62);
    let config = TasksConfig { checkpoint_every: Duration::from_secs(60), ..common::config() };
    let home = home_with(&world, &[("phone", FAST), ("tv", FAST)], config).await;
    let way = Conditions { rate_bytes_per_s: 4 << 20, ..Conditions::default() };
    world.set_conditions_between(&home[0].host, &home[1].host, way);
    // Its input says how long the ballast is: the first checkpoint has nothing of it.
    let input = Input { ballast: 8 << 20, ..Input::turns(400_000) };
    let mut options = options("heavy");
    options.hints.start_on = Some(home[0].id());
    options.hints.stay = true;
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[0]).await;
    sleep(Duration::from_secs(3)).await;
    handle.move_to(Some(home[1].id()), "").await.unwrap();
    let status = until_moved(&handle, &home[1]).await;
    let moved = status.moves.last().unwrap();
    assert!(moved.whole_ms > 2000 && moved.bytes > 8 << 20, "it takes two seconds: {moved:?}");
    assert!(moved.downtime_ms < 700, "it did not stand still for them: {moved:?}");
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
}
