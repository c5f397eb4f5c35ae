//! The end of tasks: what is left of them, who is told, and what becomes of a move that is cut in the middle.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::time::Duration;

use common::{FAST, Grind, Input, SLOW, home, home_with, logs, options, until, until_running_on};
use softbus_core::Hash;
use softbus_core::wire::task_control::TaskState;
use softbus_net::seam::memory::World;
use softbus_task::{PolicyKind, SubmitOptions, TaskError, TaskEvent};
use tokio::time::{sleep, timeout};

#[tokio::test(start_paused = true)]
async fn when_it_is_done_its_result_is_all_that_is_left_on_any_disk() {
    logs();
    let world = World::new(41);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", FAST)]).await;
    let input = Input { ballast: 1_000_000, ..Input::turns(60_000) };
    let options = SubmitOptions { policy: PolicyKind::Quorum { k: 2 }, ..options("tidy") };
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until(&handle, "checkpointed", |s| s.checkpoint >= 2).await;
    let blobs = |device: usize| home[device].net.seam().storage.blobs().list().unwrap().len();
    assert!((0..3).filter(|device| blobs(*device) >= 10).count() >= 2, "two keep its state while it runs");
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
    sleep(Duration::from_secs(10)).await;
    let left: Vec<usize> = (0..3).map(blobs).collect();
    assert!(left.iter().all(|count| *count <= 1) && left.contains(&1), "eight bytes of result: {left:?}");
}

/// The runner dies just after its result came to another device: by then all that the task said has left.
#[tokio::test(start_paused = true)]
async fn its_last_effects_survive_its_runner_even_if_that_dies_once_its_result_is_elsewhere() {
    logs();
    // Steps are of about a thousand turns: the last one says something, and ends.
    let input = Input { emit_every: 100, ..Input::turns(20_450) };
    let result = Input::turns(20_450).unmoved();
    for after_us in (0..6_000).step_by(500) {
        let world = World::new(42);
        let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", FAST)]).await;
        let mut options = SubmitOptions { policy: PolicyKind::Quorum { k: 2 }, ..options("talker") };
        options.hints.start_on = Some(home[1].id());
        options.hints.stay = true;
        let mut events = home[0].tasks.events();
        let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
        let heard = tokio::spawn(async move {
            let mut heard = Vec::new();
            while heard.len() < 204 {
                match events.next().await {
                    Some(TaskEvent::Effect { sequence, .. }) => heard.push(sequence),
                    Some(TaskEvent::EffectsMissed { from, to, .. }) => panic!("{from} to {to} are lost"),
                    _ => {}
                }
            }
            heard
        });
        until_running_on(&handle, &home[1]).await;
        // A result of one number is smaller than any state of it; so is its input, which is there already.
        let smaller = |known: &[Hash]| {
            let blobs = home[2].net.seam().storage.blobs();
            let new = blobs.list().unwrap().into_iter().filter(|name| !known.contains(name));
            let size = |name: Hash| blobs.get(&name).unwrap().map_or(usize::MAX, |sealed| sealed.len());
            new.map(size).min().is_some_and(|size| size < 60)
        };
        let known = home[2].net.seam().storage.blobs().list().unwrap();
        let stored = async {
            while !smaller(&known) {
                sleep(Duration::from_micros(100)).await;
            }
        };
        timeout(Duration::from_secs(60), stored).await.expect("no result was stored there");
        sleep(Duration::from_micros(after_us)).await;
        home[1].host.kill();
        let output = timeout(Duration::from_secs(120), handle.output::<u64>()).await.expect("it ends");
        assert_eq!(output.unwrap(), result);
        let heard = timeout(Duration::from_secs(60), heard).await.expect("an effect is lost").unwrap();
        assert_eq!(heard, (1..=204).collect::<Vec<u64>>());
        home.iter().for_each(|device| device.host.kill());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_task_is_forgotten_by_all_even_if_some_had_forgotten_it_before() {
    logs();
    let world = World::new(43);
    let mut config = common::config();
    config.keep_results = Duration::from_secs(60);
    let home =
        home_with(&world, &[("phone", SLOW), ("tv", FAST), ("car", FAST), ("den", FAST)], config).await;
    let input = Input::turns(100_000_000);
    let mut options = options("unwanted");
    options.hints.start_on = Some(home[1].id());
    options.hints.stay = true;
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    let id = handle.id();
    until_running_on(&handle, &home[1]).await;
    for next in [2, 3] {
        handle.move_to(Some(home[next].id()), "").await.unwrap();
        until_running_on(&handle, &home[next]).await;
    }
    // Whoever has no part in it any more forgets it after a while.
    sleep(Duration::from_secs(200)).await;
    let knows = |device: usize| !home[device].tasks.list().is_empty();
    assert!((1..4).filter(|device| knows(*device)).count() < 3, "one had a part in it, and forgot it");
    handle.cancel().await.unwrap();
    assert_eq!(handle.finished().await.unwrap().state, TaskState::Cancelled);
    sleep(Duration::from_secs(600)).await;
    let knowing: Vec<&str> =
        (0..4).filter(|device| knows(*device)).map(|device| home[device].name()).collect();
    assert_eq!(knowing, Vec::<&str>::new());
    assert!(matches!(home[0].tasks.status(id).await, Err(TaskError::NoSuchTask(_))));
}

#[tokio::test(start_paused = true)]
async fn a_move_in_doubt_is_shown_as_such_and_resolved_when_the_source_returns() {
    logs();
    // At which moment the line is cut so that the promise is on its way, and the decision is not, is found by trying.
    for cut_after_us in (0..200_000).step_by(2_000) {
        let world = World::new(44);
        let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", FAST)]).await;
        let input = Input { ballast: 300_000, ..Input::turns(200_000) };
        let mut options = options("between");
        options.hints.start_on = Some(home[1].id());
        options.hints.stay = true;
        let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
        until_running_on(&handle, &home[1]).await;
        until(&handle, "checkpointed", |s| s.checkpoint >= 2).await;
        let (mover, id, to) = (home[1].tasks.clone(), handle.id(), home[2].id());
        let moving = tokio::spawn(async move { mover.move_to(id, Some(to), "").await });
        sleep(Duration::from_micros(cut_after_us)).await;
        world.partition(&[&[&home[2].host], &[&home[1].host, &home[0].host]]);
        sleep(Duration::from_secs(3)).await;
        let state = home[2].tasks.status(id).await.map(|status| status.state);
        moving.abort();
        if !matches!(state, Ok(TaskState::InDoubt)) {
            home.iter().for_each(|device| device.host.kill());
            continue;
        }
        sleep(Duration::from_secs(20)).await;
        assert_eq!(home[2].tasks.status(id).await.unwrap().state, TaskState::InDoubt, "it waits");
        world.heal();
        assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
        assert!(!common::two_were_alive());
        return;
    }
    panic!("no moment was found in which the move is in doubt");
}
