//! Power cuts at any moment: what was accepted is there again after the restart, and goes on to the same result.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::*;
use softbus_net::seam::memory::World;
use softbus_task::{PolicyKind, SubmitOptions, TaskState};
use tokio::time::{sleep, timeout};

const RATE: u64 = 5_000_000;

fn names(all: &[(&str, u64)]) -> Vec<String> {
    all.iter().map(|(name, _)| (*name).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn one_device_alone_loses_nothing_it_accepted() {
    logs();
    let all = [("solo", RATE)];
    for round in 0..12u64 {
        let world = World::new(100 + round);
        let mut solo = home(&world, &all).await.remove(0);
        let input = Input { ballast: 150_000, ..Input::turns(15_000) };
        let handle = solo.tasks.run::<Grind>(&input, options("safe")).await.unwrap();
        let id = handle.id();
        // Several cuts, at moments that differ from round to round; some in the middle of a write.
        for cut in 0..4u64 {
            sleep(Duration::from_micros(1 + round * 173_137 + cut * 91_003)).await;
            if round % 2 == 0 {
                solo.host.crash_torn(round * 10 + cut);
            } else {
                solo.host.crash();
            }
            solo = start(&world, "solo", RATE, &names(&all), config()).await;
            assert_eq!(solo.tasks.list().iter().map(|s| s.id).collect::<Vec<_>>(), [id], "round {round}");
        }
        let handle = solo.tasks.handle(id).await.unwrap();
        let output = timeout(Duration::from_secs(600), handle.output::<u64>()).await;
        assert_eq!(output.unwrap().unwrap(), input.unmoved(), "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_in_the_middle_of_a_move_leaves_it_alive_exactly_once() {
    logs();
    let all = [("phone", RATE), ("tv", RATE), ("car", RATE)];
    for round in 0..6u64 {
        let world = World::new(200 + round);
        let mut home = home(&world, &all).await;
        let input = Input { ballast: 400_000, ..Input::turns(20_000) };
        let policy = if round % 2 == 0 { PolicyKind::Owner } else { PolicyKind::Quorum { k: 2 } };
        let mut options = SubmitOptions { policy, ..options("moved") };
        options.hints.start_on = Some(home[1].id());
        options.hints.stay = true;
        let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
        until_running_on(&handle, &home[1]).await;
        let (mover, to) = (handle.clone(), home[2].id());
        // Its device may be the one that is cut off: then it does not learn how the move ended.
        let _ordered = tokio::spawn(async move { mover.move_to(Some(to), "").await });
        sleep(Duration::from_millis(5 + round * 17)).await;
        // The source in some rounds, the destination in others; it returns after a while.
        let victim = if round % 4 < 2 { 1 } else { 2 };
        home[victim].host.crash_torn(round);
        sleep(Duration::from_secs(3)).await;
        let name = all[victim].0;
        home[victim] = start(&world, name, RATE, &names(&all), config()).await;
        let output = timeout(Duration::from_secs(600), handle.output::<u64>()).await;
        assert_eq!(output.unwrap().unwrap(), input.unmoved(), "round {round}");
        assert!(!two_were_alive(), "round {round}");
        // By and by all hear of it, and who was only asked to take it forgets it.
        sleep(Duration::from_secs(70)).await;
        for device in &home {
            let running = device.tasks.list().iter().filter(|s| s.state == TaskState::Running).count();
            assert_eq!(running, 0, "round {round}: on {}", device.name());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_that_are_alive_at_once_would_be_noticed() {
    logs();
    let world = World::new(250);
    let home = home(&world, &[("phone", RATE), ("tv", RATE)]).await;
    let input = Input::turns(20_000);
    let mut handles = Vec::new();
    for device in &home {
        let mut options = options("one of two");
        options.hints.start_on = Some(device.id());
        handles.push(home[0].tasks.run::<Grind>(&input, options).await.unwrap());
    }
    for handle in handles {
        handle.finished().await.unwrap();
    }
    assert!(two_were_alive());
}

#[tokio::test(start_paused = true)]
async fn chunks_that_a_crash_left_behind_are_erased_at_the_next_start() {
    logs();
    let all = [("solo", RATE)];
    let world = World::new(300);
    let solo = home(&world, &all).await.remove(0);
    let blobs = solo.net.seam().storage.blobs();
    let orphan = softbus_core::Hash::of(b"orphan");
    blobs.put(&orphan, b"orphan").unwrap();
    blobs.sync(&[orphan]).unwrap();
    let handle = solo.tasks.run::<Grind>(&Input::turns(1000), options("short")).await.unwrap();
    handle.finished().await.unwrap();
    solo.host.crash();
    let solo = start(&world, "solo", RATE, &names(&all), config()).await;
    assert!(!solo.net.seam().storage.blobs().list().unwrap().contains(&orphan));
    let handle = solo.tasks.handle(handle.id()).await.unwrap();
    assert_eq!(handle.output::<u64>().await.unwrap(), Input::turns(1000).unmoved());
}

#[tokio::test(start_paused = true)]
async fn what_lies_on_the_disk_tells_nothing_of_the_state() {
    logs();
    let all = [("solo", RATE)];
    let world = World::new(301);
    let solo = home(&world, &all).await.remove(0);
    let input = Input { ballast: 200_000, ..Input::turns(100_000) };
    let handle = solo.tasks.run::<Grind>(&input, options("secret")).await.unwrap();
    until(&handle, "checkpointed", |s| s.checkpoint >= 1).await;
    let blobs = solo.net.seam().storage.blobs();
    let plain = input.unmoved_ballast();
    let mut seen = 0;
    for name in blobs.list().unwrap() {
        let bytes = blobs.get(&name).unwrap().unwrap();
        seen += bytes.len();
        assert!(!plain.chunks(64).skip(1500).take(20).any(|p| bytes.windows(64).any(|w| w == p)));
    }
    assert!(seen > 200_000);
}
