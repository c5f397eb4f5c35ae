//! Tasks among several devices: placed, moved, lost and found again.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::*;
use redb::ReadableTableMetadata as _;
use softbus_core::ErrorCode;
use softbus_net::seam::memory::{Conditions, World};
use softbus_net::seam::store::{StoreError, existing};
use softbus_roster::SampleOverride;
use softbus_task::{MoveReason, PolicyKind, SubmitOptions, TaskError, TaskEvent, TaskState, TasksConfig};
use tokio::time::{sleep, timeout};

#[tokio::test(start_paused = true)]
async fn a_task_runs_on_the_best_device_and_its_output_comes_back() {
    logs();
    let world = World::new(1);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    let input = Input::turns(30_000);
    let handle = home[0].tasks.run::<Grind>(&input, options("sum")).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    let output: u64 = handle.output().await.unwrap();
    assert_eq!(output, input.unmoved());
    let status = handle.status().await.unwrap();
    assert_eq!((status.state, status.progress), (TaskState::Done, 1.0));
    assert_eq!(status.moves, []);
}

#[tokio::test(start_paused = true)]
async fn a_person_moves_it_twice_and_the_result_is_the_same() {
    logs();
    let world = World::new(2);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", FAST)]).await;
    let input = Input { ballast: 300_000, ..Input::turns(60_000) };
    let mut options = options("mover");
    options.hints.stay = true;
    options.hints.start_on = Some(home[1].id());
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    sleep(Duration::from_millis(700)).await;
    handle.move_to(Some(home[2].id()), "to the car").await.unwrap();
    until_running_on(&handle, &home[2]).await;
    sleep(Duration::from_millis(700)).await;
    handle.move_to(Some(home[0].id()), "to the phone").await.unwrap();
    until_running_on(&handle, &home[0]).await;
    let output: u64 = handle.output().await.unwrap();
    assert_eq!(output, input.unmoved());
    let status = handle.status().await.unwrap();
    let moves: Vec<_> = status.moves.iter().map(|m| (m.from, m.to, m.reason.clone())).collect();
    let person = |text: &str| MoveReason::Person(text.into());
    assert_eq!(
        moves,
        [
            (home[1].id(), home[2].id(), person("to the car")),
            (home[2].id(), home[0].id(), person("to the phone")),
        ]
    );
    for moved in &status.moves {
        assert!(moved.bytes > 0 && moved.downtime_ms < 200, "{moved:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn under_quorum_it_goes_on_when_its_runner_is_killed() {
    logs();
    let world = World::new(3);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", FAST - 1)]).await;
    let input = Input { ballast: 100_000, ..Input::turns(60_000) };
    let mut options = SubmitOptions { policy: PolicyKind::Quorum { k: 2 }, ..options("tough") };
    options.hints.start_on = Some(home[1].id());
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    until(&handle, "checkpointed", |s| s.checkpoint >= 2).await;
    home[1].host.kill();
    let status = until_moved(&handle, &home[2]).await;
    let output: u64 = handle.output().await.unwrap();
    assert_eq!(output, input.unmoved());
    assert!(
        status.moves.iter().any(|m| m.reason == MoveReason::Failover && m.from == home[1].id()),
        "{:?}",
        status.moves
    );
}

#[tokio::test(start_paused = true)]
async fn the_bus_moves_it_when_its_device_gets_busy_and_says_why() {
    logs();
    let world = World::new(4);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", FAST)]).await;
    let input = Input::turns(150_000);
    let mut options = options("wanderer");
    options.hints.start_on = Some(home[1].id());
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    sleep(Duration::from_secs(4)).await;
    home[1].roster.inject(SampleOverride::load(950), Duration::from_secs(600)).await.unwrap();
    let status = until_moved(&handle, &home[2]).await;
    let [moved] = status.moves.as_slice() else { panic!("{:?}", status.moves) };
    let MoveReason::Bus(explanation) = &moved.reason else { panic!("{moved:?}") };
    assert!(explanation.contains("car") && explanation.contains("chosen"), "{explanation}");
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
}

#[tokio::test(start_paused = true)]
async fn draining_moves_its_tasks_away_first() {
    logs();
    let world = World::new(5);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", FAST)]).await;
    let input = Input { ballast: 100_000, ..Input::turns(60_000) };
    let mut options = options("guest");
    options.hints.start_on = Some(home[1].id());
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    assert_eq!(home[1].tasks.drain().await, []);
    home[1].tasks.shutdown().await;
    home[1].host.kill();
    let status = until_moved(&handle, &home[2]).await;
    assert_eq!(status.moves.last().map(|m| m.reason.clone()), Some(MoveReason::Drain), "{:?}", status.moves);
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
}

#[tokio::test(start_paused = true)]
async fn the_submitter_may_be_away_and_fetch_the_result_later() {
    logs();
    let world = World::new(6);
    let names = [("phone", SLOW), ("tv", FAST), ("car", FAST)];
    let home = home(&world, &names).await;
    let input = Input::turns(40_000);
    let mut options = SubmitOptions { policy: PolicyKind::Quorum { k: 2 }, ..options("later") };
    options.hints.start_on = Some(home[1].id());
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    let id = handle.id();
    until_running_on(&handle, &home[1]).await;
    home[0].host.crash();
    sleep(Duration::from_secs(20)).await;
    // Its runner is gone, too, by the time the submitter is back.
    home[1].host.kill();
    let all: Vec<String> = names.iter().map(|(name, _)| (*name).to_owned()).collect();
    let phone = start(&world, "phone", SLOW, &all, config()).await;
    let handle = phone.tasks.handle(id).await.unwrap();
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
}

#[tokio::test(start_paused = true)]
async fn who_has_no_part_in_it_takes_a_result_that_is_proven_and_no_other() {
    logs();
    let world = World::new(27);
    // The first device owns the circle; the task is the second one's and kept by the third and fourth.
    let devices = [("owner", SLOW), ("phone", SLOW), ("tv", FAST), ("car", FAST - 1), ("nosy", SLOW)];
    let home = home(&world, &devices).await;
    let input = Input::turns(20_000);
    let mut options = SubmitOptions { policy: PolicyKind::Quorum { k: 2 }, ..options("theirs") };
    options.hints.only = (1..4).map(|i| home[i].id()).collect();
    options.hints.start_on = Some(home[2].id());
    let handle = home[1].tasks.run::<Grind>(&input, options).await.unwrap();
    let id = handle.id();
    until_running_on(&handle, &home[2]).await;
    let early = home[0].tasks.result(id).await.unwrap_err();
    assert!(matches!(&early, TaskError::NoResult { why, .. } if why.contains("not finished")), "{early}");
    handle.finished().await.unwrap();
    // Its runner is gone; a holder proves the end and has the bytes.
    home[2].host.kill();
    let result = home[0].tasks.handle(id).await.unwrap().output::<u64>().await.unwrap();
    assert_eq!(result, input.unmoved());
    assert!(home[4].tasks.result(id).await.is_err());
    // All that it knows then is what it was told.
    [1, 3].iter().for_each(|keeper| home[*keeper].host.kill());
    let late = home[0].tasks.result(id).await.unwrap_err();
    assert!(matches!(&late, TaskError::NoResult { .. } | TaskError::NoSuchTask(_)), "{late}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_its_runner_under_owner_makes_it_wait_and_go_on_after_the_restart() {
    logs();
    let world = World::new(7);
    let names = [("phone", SLOW), ("tv", FAST)];
    let mut home = home(&world, &names).await;
    let all: Vec<String> = names.iter().map(|(name, _)| (*name).to_owned()).collect();
    let input = Input { ballast: 100_000, ..Input::turns(60_000) };
    let mut options = options("patient");
    options.hints.start_on = Some(home[1].id());
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    until(&handle, "checkpointed", |s| s.checkpoint >= 2).await;
    home[1].host.crash_torn(3);
    until(&handle, "lost", |s| s.state == TaskState::Lost).await;
    home[1] = start(&world, "tv", FAST, &all, config()).await;
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
    assert_eq!(home[1].tasks.list().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_runners_task_is_adopted_by_force_and_the_fork_is_told() {
    logs();
    let world = World::new(8);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    let input = Input::turns(100_000);
    let mut options = options("orphan");
    options.hints.start_on = Some(home[1].id());
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until(&handle, "checkpointed", |s| s.checkpoint >= 2).await;
    for force in [false, true] {
        let refused = home[0].tasks.adopt(handle.id(), force).await.unwrap_err().to_string();
        assert!(refused.contains("Move it instead"), "{refused}");
    }
    world.cut(&home[0].host, &home[1].host);
    until(&handle, "lost", |s| s.state == TaskState::Lost).await;
    let warning = home[0].tasks.adopt(handle.id(), false).await.unwrap_err().to_string();
    assert!(warning.contains("second branch"), "{warning}");
    home[0].tasks.adopt(handle.id(), true).await.unwrap();
    until(&handle, "adopted", |s| s.branch == 1 && s.state == TaskState::Running).await;
    let mut events = home[1].tasks.events();
    world.heal();
    let forked = async {
        loop {
            if let TaskEvent::Forked { branch, .. } = events.next().await.unwrap() {
                return branch;
            }
        }
    };
    assert_eq!(timeout(Duration::from_secs(60), forked).await, Ok(1));
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_lost_its_part_for_good_hears_of_the_end() {
    logs();
    let world = World::new(33);
    let names = [("phone", SLOW), ("tv", FAST), ("car", SLOW)];
    let mut home = home(&world, &names).await;
    let all: Vec<String> = names.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut options = options("partless");
    options.hints.start_on = Some(home[1].id());
    options.replicas = Some(1);
    // Or the bus would bring it back there.
    options.hints.stay = true;
    let handle = home[0].tasks.run::<Grind>(&Input::turns(200_000), options).await.unwrap();
    let id = handle.id();
    until(&handle, "checkpointed", |s| s.checkpoint >= 2).await;
    let keeper = usize::from(handle.status().await.unwrap().holders == [home[2].id()]) * 2;
    let other = home[2 - keeper].id();
    world.cut(&home[0].host, &home[1].host);
    world.cut(&home[2].host, &home[1].host);
    until(&handle, "lost", |s| s.state == TaskState::Lost).await;
    home[keeper].tasks.adopt(id, true).await.unwrap();
    until(&handle, "kept by the third", |s| s.branch == 1 && s.holders == [other]).await;
    // It hears that it has no part any more, is away when the task ends, and is told by nobody.
    let mut events = home[1].tasks.events();
    world.heal();
    let forked = async { while !matches!(events.next().await, Some(TaskEvent::Forked { .. })) {} };
    timeout(Duration::from_secs(60), forked).await.expect("it hears of the fork");
    sleep(Duration::from_secs(2)).await;
    home[1].host.crash_torn(5);
    handle.output::<u64>().await.unwrap();
    home[1] = start(&world, "tv", FAST, &all, config()).await;
    let over = async {
        while !home[1].tasks.list().iter().any(|task| task.id == id && task.state == TaskState::Done) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(30), over).await.expect("it hears of the end");
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_was_given_up_can_have_its_task_back() {
    logs();
    let world = World::new(32);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    let input = Input::turns(100_000);
    let mut options = options("returned");
    options.hints.start_on = Some(home[1].id());
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until(&handle, "checkpointed", |s| s.checkpoint >= 2).await;
    world.cut(&home[0].host, &home[1].host);
    until(&handle, "lost", |s| s.state == TaskState::Lost).await;
    home[0].tasks.adopt(handle.id(), true).await.unwrap();
    until(&handle, "adopted", |s| s.branch == 1 && s.state == TaskState::Running).await;
    world.heal();
    until(&handle, "kept by the other one again", |s| s.holders == [home[1].id()]).await;
    handle.move_to(Some(home[1].id()), "back").await.unwrap();
    until_moved(&handle, &home[1]).await;
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
}

#[tokio::test(start_paused = true)]
async fn a_quorum_that_is_lost_for_good_does_not_hold_its_task_captive() {
    logs();
    let world = World::new(31);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", SLOW), ("hub", SLOW)]).await;
    let input = Input::turns(100_000);
    let mut options = options("captive");
    options.policy = PolicyKind::Quorum { k: 3 };
    options.hints.start_on = Some(home[1].id());
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until(&handle, "checkpointed", |s| s.checkpoint >= 2 && s.holders.len() == 3).await;
    home[2].host.kill();
    home[3].host.kill();
    // Its runner is there, and has it; but two of four decide nothing any more.
    until(&handle, "paused", |s| s.state == TaskState::Paused).await;
    // Until all know whom they lost.
    sleep(Duration::from_secs(5)).await;
    let warning = home[0].tasks.adopt(handle.id(), false).await.unwrap_err().to_string();
    assert!(warning.contains("too few of the devices"), "{warning}");
    home[0].tasks.adopt(handle.id(), true).await.unwrap();
    until(&handle, "adopted", |s| s.branch == 1 && s.state == TaskState::Running).await;
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
    assert!(!two_were_alive());
    // What is over is not begun anew.
    for device in &home[..2] {
        let over = device.tasks.adopt(handle.id(), true).await.unwrap_err().to_string();
        assert!(over.contains("finished already") || over.contains("it has ended"), "{over}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_crashes_is_quarantined_and_one_that_fails_says_so() {
    logs();
    let world = World::new(9);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    let bad = Input { panic_at: 5_000, ..Input::turns(10_000) };
    let handle = home[0].tasks.run::<Grind>(&bad, options("bad")).await.unwrap();
    let status = until(&handle, "quarantined", |s| s.state == TaskState::Quarantined).await;
    assert!(status.error.as_deref().is_some_and(|e| e.contains("the stone broke")), "{:?}", status.error);
    let handle = home[0].tasks.run::<Grind>(&Input::turns(0), options("empty")).await.unwrap();
    let status = handle.finished().await.unwrap();
    assert_eq!(status.state, TaskState::Failed);
    let error = handle.result().await.unwrap_err();
    assert!(matches!(&error, TaskError::NoResult { why, .. } if why.contains("nothing to grind")), "{error}");
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_it_everywhere_and_erases_its_chunks() {
    logs();
    let world = World::new(10);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", FAST)]).await;
    let input = Input { ballast: 1_000_000, ..Input::turns(1_000_000) };
    let options = SubmitOptions { policy: PolicyKind::Quorum { k: 2 }, ..options("unwanted") };
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until(&handle, "checkpointed", |s| s.checkpoint >= 2).await;
    handle.cancel().await.unwrap();
    assert_eq!(handle.finished().await.unwrap().state, TaskState::Cancelled);
    sleep(Duration::from_secs(10)).await;
    for device in &home {
        let blobs = device.net.seam().storage.blobs().list().unwrap();
        assert_eq!(blobs.len(), 0, "on {}", device.name());
    }
    assert!(matches!(handle.result().await, Err(TaskError::NoResult { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_does_not_stop_it() {
    logs();
    let world = World::new(11);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    let input = Input { ballast: 200_000, ..Input::turns(60_000) };
    let mut options = options("squeezed");
    options.hints.start_on = Some(home[1].id());
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    let used = home[1].host.disk().used_bytes();
    home[1].host.disk().set_capacity(Some(used));
    let status = until(&handle, "in trouble", |s| s.error.is_some()).await;
    let before = status.progress;
    assert!(status.error.as_deref().is_some_and(|e| e.contains("no space")), "{:?}", status.error);
    until(&handle, "further", |s| s.progress > before).await;
    home[1].host.disk().set_capacity(None);
    until(&handle, "well again", |s| s.error.is_none()).await;
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
}

#[tokio::test(start_paused = true)]
async fn a_move_whose_last_checkpoint_cannot_be_stored_is_called_off_and_it_runs_on() {
    logs();
    let world = World::new(28);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    let input = Input { ballast: 200_000, ..Input::turns(1_000_000) };
    let mut options = options("stuck");
    options.hints.start_on = Some(home[1].id());
    options.hints.stay = true;
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    until(&handle, "checkpointed", |s| s.checkpoint >= 2).await;
    let used = home[1].host.disk().used_bytes();
    home[1].host.disk().set_capacity(Some(used));
    let error = home[1].tasks.move_to(handle.id(), Some(home[0].id()), "").await.unwrap_err();
    assert!(error.to_string().contains("called off"), "{error}");
    let before = handle.status().await.unwrap().progress;
    until(&handle, "further", |s| s.progress > before && s.state == TaskState::Running).await;
    home[1].host.disk().set_capacity(None);
    home[1].tasks.move_to(handle.id(), Some(home[0].id()), "").await.unwrap();
    handle.cancel().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_state_that_outgrew_its_device_is_not_thrown_back_when_it_shall_move() {
    logs();
    let world = World::new(29);
    let config = TasksConfig { state_bytes: 1 << 20, ..config() };
    let home = home_with(&world, &[("phone", SLOW), ("tv", FAST)], config).await;
    let input = Input { ballast: 2 << 20, ..Input::turns(100_000) };
    let mut options = options("grown");
    options.hints.start_on = Some(home[1].id());
    options.hints.stay = true;
    let handle = home[1].tasks.run::<Grind>(&input, options).await.unwrap();
    until(&handle, "on its way", |s| s.progress > 0.2).await;
    let error = home[1].tasks.move_to(handle.id(), Some(home[0].id()), "").await.unwrap_err();
    assert!(error.to_string().contains("larger than this device"), "{error}");
    let mut watch = handle.watch().await.unwrap();
    let mut last = 0.2;
    while !watch.borrow_and_update().state.is_final() {
        let now = watch.borrow().progress;
        assert!(now >= last, "it was thrown back from {last} to {now}");
        last = now;
        watch.changed().await.unwrap();
    }
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
}

#[tokio::test(start_paused = true)]
async fn a_damaged_chunk_is_got_from_another_that_keeps_it() {
    logs();
    let world = World::new(30);
    let names = [("phone", SLOW), ("tv", FAST)];
    let all: Vec<String> = names.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut home = home(&world, &names).await;
    let input = Input { ballast: 300_000, ..Input::turns(200_000) };
    let mut options = options("scratched");
    options.hints.start_on = Some(home[1].id());
    options.hints.stay = true;
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until(&handle, "checkpointed", |s| s.checkpoint >= 2).await;
    // The phone has what the TV has; then the TV falls, and its disk with it.
    sleep(Duration::from_secs(1)).await;
    let there = home[1].net.seam().storage.blobs().list().unwrap();
    home[1].host.crash();
    let (mut damaged, kept) = (0, home[0].net.seam().storage.blobs().list().unwrap());
    for name in there.into_iter().filter(|name| kept.contains(name)).take(3) {
        home[1].host.disk().rot_blob(&name, b"not what it was".to_vec());
        damaged += 1;
    }
    assert_eq!(damaged, 3);
    home[1] = start(&world, "tv", FAST, &all, config()).await;
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
}

#[tokio::test(start_paused = true)]
async fn who_is_not_granted_neither_sees_nor_moves_nor_cancels() {
    logs();
    let world = World::new(12);
    // The first device owns the circle; the task is the second one's.
    let home = home(&world, &[("owner", SLOW), ("phone", SLOW), ("tv", FAST), ("nosy", SLOW)]).await;
    let input = Input::turns(100_000);
    let mut options = options("private");
    options.hints.only = [home[1].id(), home[2].id()].into();
    options.hints.start_on = Some(home[2].id());
    let handle = home[1].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[2]).await;
    let id = handle.id();
    let nosy = &home[3].tasks;
    assert!(matches!(nosy.status(id).await, Err(TaskError::NoSuchTask(_))));
    assert!(matches!(nosy.move_to(id, None, "mine").await, Err(TaskError::NoSuchTask(_))));
    assert!(matches!(nosy.cancel(id).await, Err(TaskError::NoSuchTask(_))));
    assert!(nosy.result(id).await.is_err());
    assert_eq!(nosy.list_all().await.len(), 0);
    // The owner of the circle has no part in it, and may.
    let seen = home[0].tasks.list_all().await;
    assert_eq!(seen.iter().map(|s| s.id).collect::<Vec<_>>(), [id]);
    home[0].tasks.move_to(id, Some(home[1].id()), "home with it").await.unwrap();
    until_running_on(&handle, &home[1]).await;
    home[0].tasks.cancel(id).await.unwrap();
    assert_eq!(handle.finished().await.unwrap().state, TaskState::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn every_effect_arrives_once_across_a_move_and_a_loss() {
    logs();
    let world = World::new(13);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", FAST)]).await;
    let input = Input { emit_every: 1000, ..Input::turns(60_000) };
    let mut options = SubmitOptions { policy: PolicyKind::Quorum { k: 2 }, ..options("talker") };
    options.hints.start_on = Some(home[1].id());
    let mut events = home[0].tasks.events();
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        while heard.len() < 60 {
            if let Some(TaskEvent::Effect { sequence, .. }) = events.next().await {
                heard.push(sequence);
            }
        }
        heard
    });
    until_running_on(&handle, &home[1]).await;
    sleep(Duration::from_secs(1)).await;
    handle.move_to(Some(home[2].id()), "").await.unwrap();
    until_running_on(&handle, &home[2]).await;
    sleep(Duration::from_secs(1)).await;
    home[2].host.kill();
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
    let heard = timeout(Duration::from_secs(60), heard).await.unwrap().unwrap();
    assert_eq!(heard, (1..=60).collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn a_state_of_64_mib_moves_with_a_short_stop() {
    logs();
    let world = World::new(14);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    let input = Input { ballast: 64 << 20, ..Input::turns(40_000) };
    let mut options = options("heavy");
    options.hints.start_on = Some(home[0].id());
    options.hints.stay = true;
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[0]).await;
    handle.move_to(Some(home[1].id()), "").await.unwrap();
    let status = until_moved(&handle, &home[1]).await;
    let moved = status.moves.last().unwrap();
    assert!(moved.bytes > 64 << 20 && moved.downtime_ms < 500, "{moved:?}");
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
}

#[tokio::test(start_paused = true)]
async fn under_a_lossy_network_it_still_moves_and_ends_well() {
    logs();
    let world = World::new(15);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", FAST)]).await;
    world.net().set_conditions(softbus_net::seam::memory::Conditions::bad());
    let input = Input { ballast: 300_000, ..Input::turns(300_000) };
    let mut options = SubmitOptions { policy: PolicyKind::Quorum { k: 2 }, ..options("rough") };
    options.hints.start_on = Some(home[1].id());
    options.hints.stay = true;
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    handle.move_to(Some(home[2].id()), "").await.unwrap();
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
}

#[tokio::test(start_paused = true)]
async fn a_busy_device_promises_room_once() {
    logs();
    let world = World::new(16);
    let mut config = config();
    config.leases.jobs = 1;
    config.rebalance = false;
    let home = home_with(&world, &[("phone", SLOW), ("tv", 50 * FAST)], config).await;
    // Both tasks want the TV at the same moment; it promises room for one and the other runs here.
    let input = Input::turns(20_000);
    let phone = &home[0].tasks;
    let (a, b) =
        tokio::join!(phone.run::<Grind>(&input, options("a")), phone.run::<Grind>(&input, options("b")));
    let (a, b) = (a.unwrap(), b.unwrap());
    let runners = [a.status().await.unwrap().runner, b.status().await.unwrap().runner];
    assert!(runners.contains(&Some(home[0].id())) && runners.contains(&Some(home[1].id())), "{runners:?}");
    assert_eq!(a.output::<u64>().await.unwrap(), input.unmoved());
    assert_eq!(b.output::<u64>().await.unwrap(), input.unmoved());
}

#[tokio::test(start_paused = true)]
async fn a_submitter_does_not_forget_its_task_before_it_is_over() {
    logs();
    let world = World::new(31);
    let config = TasksConfig { keep_results: Duration::from_secs(5), ..config() };
    let home = home_with(&world, &[("phone", SLOW), ("tv", FAST)], config).await;
    let input = Input::turns(200_000);
    let mut options = SubmitOptions { replicas: Some(0), ..options("long") };
    options.hints.start_on = Some(home[1].id());
    options.hints.stay = true;
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    sleep(Duration::from_secs(15)).await;
    assert_eq!(home[0].tasks.list().len(), 1, "forgotten while it runs");
    assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(home[0].tasks.list().len() + home[1].tasks.list().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_is_removed_from_the_circle_lets_the_task_go() {
    logs();
    let world = World::new(32);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    let mut options = SubmitOptions { replicas: Some(0), ..options("taken") };
    options.hints.start_on = Some(home[1].id());
    options.hints.stay = true;
    let handle = home[0].tasks.run::<Grind>(&Input::turns(1_000_000), options).await.unwrap();
    until(&handle, "checkpointed", |s| s.checkpoint >= 2).await;
    home[1].judge.distrust(&home[0].id());
    home[0].judge.distrust(&home[1].id());
    sleep(Duration::from_secs(5)).await;
    assert_eq!(home[1].tasks.list().len(), 0);
    assert_eq!(home[1].net.seam().storage.blobs().list().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_is_accepted_once_a_majority_has_it() {
    logs();
    let world = World::new(33);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", FAST), ("desk", SLOW)]).await;
    let mut options = SubmitOptions { policy: PolicyKind::Quorum { k: 2 }, ..options("weighty") };
    options.hints.only = (1..4).map(|i| home[i].id()).collect();
    options.hints.start_on = Some(home[1].id());
    // The network fails just before it is submitted, in all but the promise of room.
    let handle = home[0].tasks.run::<Grind>(&Input::turns(100_000), options).await.unwrap();
    (2..4).for_each(|i| home[i].host.kill());
    assert!(
        timeout(Duration::from_secs(30), handle.accepted()).await.is_err(),
        "one of three is no majority"
    );
    assert!(!handle.status().await.unwrap().accepted);
    let names = [("phone", SLOW), ("tv", FAST), ("car", FAST), ("desk", SLOW)];
    let all: Vec<String> = names.iter().map(|(name, _)| (*name).to_owned()).collect();
    let _car = start(&world, "car", FAST, &all, config()).await;
    timeout(Duration::from_secs(120), handle.accepted()).await.unwrap().unwrap();
    assert!(handle.status().await.unwrap().accepted);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_was_away_for_too_many_effects_is_told_so() {
    logs();
    let world = World::new(34);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    let input = Input { emit_every: 1000, ..Input::turns(3_000_000) };
    let mut options = SubmitOptions { replicas: Some(0), ..options("chatty") };
    options.hints.start_on = Some(home[1].id());
    options.hints.stay = true;
    let mut events = home[0].tasks.events();
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    let heard = tokio::spawn(async move {
        let (mut next, mut missed) = (1, 0);
        while next <= 3000 {
            match events.next().await.unwrap() {
                TaskEvent::Effect { sequence, .. } => {
                    assert_eq!(sequence, next, "a gap that nobody told of");
                    next += 1;
                }
                TaskEvent::EffectsMissed { from, to, .. } => {
                    assert_eq!(from, next);
                    missed += to + 1 - from;
                    next = to + 1;
                }
                TaskEvent::Lagged { missed } => panic!("{missed} events"),
                _ => {}
            }
        }
        missed
    });
    until(&handle, "on its way", |s| s.progress > 0.1).await;
    world.cut(&home[0].host, &home[1].host);
    // Longer than a connection keeps what it could not send.
    sleep(Duration::from_secs(60)).await;
    world.heal();
    handle.finished().await.unwrap();
    let missed = timeout(Duration::from_secs(60), heard).await.unwrap().unwrap();
    assert!(missed > 0, "nothing was missed");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_leaves_the_circle_erases_what_it_keeps() {
    logs();
    let world = World::new(17);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", SLOW)]).await;
    let input = Input { ballast: 300_000, ..Input::turns(1_000_000) };
    let mut options = SubmitOptions { policy: PolicyKind::Quorum { k: 2 }, ..options("kept") };
    options.hints.start_on = Some(home[1].id());
    options.hints.stay = true;
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until(&handle, "checkpointed", |s| s.checkpoint >= 2).await;
    let blobs = home[2].net.seam().storage.blobs();
    assert!(!blobs.list().unwrap().is_empty());
    for other in &home[..2] {
        home[2].judge.distrust(&other.id());
        other.judge.distrust(&home[2].id());
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(blobs.list().unwrap().len(), 0);
    assert_eq!(home[2].tasks.list().len(), 0);
    until_running_on(&handle, &home[1]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_of_it_wrongly_is_refused_with_reasons() {
    logs();
    let world = World::new(18);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", SLOW)]).await;
    let tasks = &home[0].tasks;
    assert!(matches!(
        tasks.submit("no such/type", vec![], options("")).await,
        Err(TaskError::UnknownType(_))
    ));
    let nowhere = tasks.submit("weave/1", vec![], options("")).await;
    assert!(matches!(&nowhere, Err(TaskError::NoPlace(why)) if why.contains("weave/1")));
    // Two others would be enough for k = 2.
    let greedy = SubmitOptions { policy: PolicyKind::Quorum { k: 3 }, ..options("") };
    let greedy = tasks.run::<Grind>(&Input::turns(10), greedy).await;
    assert!(matches!(&greedy, Err(TaskError::Conflict(why)) if why.contains("3 holders")));
    let long = options(&"x".repeat(100));
    assert!(matches!(tasks.run::<Grind>(&Input::turns(10), long).await, Err(TaskError::BadSubmission(_))));
    let handle = tasks.run::<Grind>(&Input::turns(100_000), options("one")).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    assert!(matches!(handle.move_to(Some(home[1].id()), "").await, Err(TaskError::Refused { .. })));
    assert!(matches!(tasks.result(handle.id()).await, Err(TaskError::NoResult { .. })));
    assert!(matches!(tasks.status(softbus_core::TaskId([0; 16])).await, Err(TaskError::NoSuchTask(_))));
    // What could not be submitted left nothing behind but this one task.
    assert_eq!(tasks.list().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_device_declared_slower_really_is() {
    logs();
    let mut took = Vec::new();
    for (seed, name) in [(19, "hare"), (20, "turtle")] {
        let world = World::new(seed);
        let home = home(&world, &[(name, FAST)]).await;
        let begun = tokio::time::Instant::now();
        let handle = home[0].tasks.run::<Grind>(&Input::turns(50_000), options("race")).await.unwrap();
        handle.finished().await.unwrap();
        took.push(begun.elapsed().as_millis());
    }
    let times = took[1] as f64 / took[0] as f64;
    assert!((3.5..4.5).contains(&times), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn previews_and_events_reach_the_submitter_in_order() {
    logs();
    let world = World::new(21);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST)]).await;
    let mut events = home[0].tasks.events();
    let handle = home[0].tasks.run::<Grind>(&Input::turns(50_000), options("shown")).await.unwrap();
    let mut previews = home[0].tasks.previews(handle.id()).await.unwrap();
    let shown = previews.wait_for(Option::is_some).await.unwrap().clone();
    assert_eq!(shown.map(|bytes| bytes.len()), Some(8));
    handle.finished().await.unwrap();
    let mut seen = Vec::new();
    let mut last_progress = 0.0;
    while !matches!(seen.last(), Some(&TaskState::Done)) {
        match events.next().await.unwrap() {
            TaskEvent::State { state, .. } if seen.last() != Some(&state) => seen.push(state),
            TaskEvent::Placed { on, explanation, .. } => {
                assert_eq!(on, home[1].id());
                assert!(explanation.contains("tv"), "{explanation}");
            }
            TaskEvent::Progress { progress, .. } => {
                assert!(progress >= last_progress);
                last_progress = progress;
            }
            TaskEvent::Lagged { .. } => panic!("nobody was slow"),
            _ => {}
        }
    }
    assert_eq!(seen, [TaskState::Running, TaskState::Done]);
}

#[tokio::test(start_paused = true)]
async fn a_move_is_settled_when_the_order_returns() {
    logs();
    let world = World::new(22);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", FAST)]).await;
    let input = Input { ballast: 100_000, ..Input::turns(200_000) };
    let mut options = SubmitOptions { replicas: Some(0), ..options("prompt") };
    options.hints.stay = true;
    options.hints.start_on = Some(home[1].id());
    let handle = home[1].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    // Orders from the submitter, who may run it, and from the circle's owner, who has no part in it at first: each
    // returns its own move.
    let mut last = handle.status().await.unwrap().epoch;
    for (teller, to) in [(0, 2), (1, 1), (0, 0), (1, 1)] {
        let (from, reason) = (handle.status().await.unwrap().runner.unwrap(), format!("from {teller}"));
        let order = home[teller].tasks.move_to(handle.id(), Some(home[to].id()), &reason);
        let moved = order.await.unwrap();
        assert_eq!((moved.from, moved.to), (from, home[to].id()));
        assert_eq!(moved.reason, MoveReason::Person(reason));
        assert!(moved.epoch > last);
        last = moved.epoch;
    }
    // A device that cannot take it: refused, and nothing pretends to have moved.
    home[2].host.kill();
    let refused = handle.move_to(Some(home[2].id()), "").await.unwrap_err();
    assert!(matches!(refused, TaskError::Unreachable(_)), "{refused}");
    assert_eq!(handle.status().await.unwrap().moves.len(), 4);
    handle.finished().await.unwrap();
    // Whoever asks, and whether they heard of the end or not.
    for device in &home[..2] {
        let late = device.tasks.move_to(handle.id(), Some(home[0].id()), "").await.unwrap_err();
        assert_eq!(late.code(), ErrorCode::Conflict);
        assert!(late.to_string().contains("finished already"), "{late}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_ordered_at_once_is_carried_out_when_it_can_be() {
    logs();
    for round in 0..12u64 {
        let world = World::new(230 + round);
        let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", FAST)]).await;
        let slow = Conditions { rate_bytes_per_s: 1_000_000, ..Conditions::default() };
        world.net().set_conditions(slow);
        let input = Input { ballast: 100_000, ..Input::turns(60_000) };
        let policy = if round % 2 == 0 { PolicyKind::Owner } else { PolicyKind::Quorum { k: 2 } };
        let mut options = SubmitOptions { policy, ..options("hasty") };
        options.hints.start_on = Some(home[1].id());
        options.hints.stay = true;
        let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
        sleep(Duration::from_millis(round / 2 * 5)).await;
        let moved = handle.move_to(Some(home[2].id()), "at once").await;
        let moved = moved.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!((moved.from, moved.to), (home[1].id(), home[2].id()), "round {round}");
        assert_eq!(handle.output::<u64>().await.unwrap(), input.unmoved(), "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_cancelled_while_its_runner_was_off_stays_so_when_that_returns() {
    logs();
    for (round, policy) in [PolicyKind::Owner, PolicyKind::Quorum { k: 2 }].into_iter().enumerate() {
        let world = World::new(250 + round as u64);
        let names = [("phone", SLOW), ("tv", FAST), ("car", FAST)];
        let all: Vec<String> = names.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut home = home(&world, &names).await;
        let input = Input { ballast: 100_000, ..Input::turns(400_000) };
        let mut options = SubmitOptions { policy, ..options("unwanted") };
        options.hints.start_on = Some(home[1].id());
        options.hints.stay = true;
        let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
        until(&handle, "checkpointed", |s| s.checkpoint >= 2).await;
        home[1].host.crash();
        handle.cancel().await.unwrap();
        assert_eq!(handle.finished().await.unwrap().state, TaskState::Cancelled);
        sleep(Duration::from_secs(100)).await;
        home[1] = start(&world, "tv", FAST, &all, config()).await;
        sleep(Duration::from_secs(30)).await;
        let there = home[1].tasks.list();
        assert!(there.iter().all(|s| s.state == TaskState::Cancelled), "{policy:?}: {there:#?}");
        let chunks = home[1].net.seam().storage.blobs().list().unwrap();
        assert_eq!(chunks.len(), 0, "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_finished_task_cannot_be_cancelled() {
    logs();
    let world = World::new(26);
    let home = home(&world, &[("phone", SLOW), ("tv", FAST), ("car", SLOW)]).await;
    let mut options = options("quick");
    options.replicas = Some(0);
    options.hints.start_on = Some(home[1].id());
    let handle = home[0].tasks.run::<Grind>(&Input::turns(5_000), options).await.unwrap();
    assert_eq!(handle.finished().await.unwrap().state, TaskState::Done);
    // From its submitter, its runner, and (by the right of the circle's owner) from afar.
    for device in &home[..2] {
        let late = device.tasks.cancel(handle.id()).await.unwrap_err();
        assert!(matches!(&late, TaskError::Conflict(why) if why.contains("finished already")), "{late}");
    }
    let failed = home[0].tasks.run::<Grind>(&Input::turns(0), crate::options("other")).await.unwrap();
    assert_eq!(failed.finished().await.unwrap().state, TaskState::Failed);
    let late = failed.cancel().await.unwrap_err();
    assert!(matches!(&late, TaskError::Conflict(why) if why.contains("failed already")), "{late}");
    // One that was cancelled may be cancelled again.
    let ended = home[0].tasks.run::<Grind>(&Input::turns(500_000), crate::options("other")).await.unwrap();
    ended.cancel().await.unwrap();
    ended.cancel().await.unwrap();
    assert_eq!(ended.finished().await.unwrap().state, TaskState::Cancelled);
}

/// Rows of a table of a device's database.
async fn rows(device: &Device, table: &'static str) -> u64 {
    let read = device.store.read(move |txn| {
        let table: redb::TableDefinition<'_, &[u8; 16], &[u8]> = redb::TableDefinition::new(table);
        Ok::<u64, StoreError>(existing(txn, table)?.map_or(Ok(0), |table| table.len())?)
    });
    read.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_device_that_forgot_a_task_keeps_a_trace_and_may_get_it_again() {
    logs();
    let world = World::new(31);
    let names = [("phone", FAST), ("tv", FAST), ("car", FAST)];
    let mut home = home(&world, &names).await;
    let all: Vec<String> = names.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut options = SubmitOptions { replicas: Some(0), ..options("wanderer") };
    options.hints.stay = true;
    options.hints.start_on = Some(home[1].id());
    let handle = home[0].tasks.run::<Grind>(&Input::turns(4_000_000), options).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    handle.move_to(Some(home[2].id()), "away").await.unwrap();
    until_running_on(&handle, &home[2]).await;
    handle.move_to(Some(home[0].id()), "and on").await.unwrap();
    until_running_on(&handle, &home[0]).await;
    sleep(Duration::from_secs(90)).await;
    assert_eq!(home[0].tasks.list().len(), 1);
    assert_eq!(home[1].tasks.list(), []);
    assert_eq!((rows(&home[1], "task/records").await, rows(&home[1], "task/traces").await), (0, 1));

    home[1].host.crash_torn(3);
    home[1] = start(&world, "tv", FAST, &all, config()).await;
    together(&home).await;
    assert_eq!(home[1].tasks.list(), []);
    handle.move_to(Some(home[1].id()), "back again").await.unwrap();
    until_running_on(&handle, &home[1]).await;
    assert_eq!((rows(&home[1], "task/records").await, rows(&home[1], "task/traces").await), (1, 0));
    handle.cancel().await.unwrap();
}
