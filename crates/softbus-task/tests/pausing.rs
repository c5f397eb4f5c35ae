//! Tasks that a person pauses and resumes, and states that are saved and started from. That a paused task takes no step
//! is told by its progress, which each step changes.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{
    Device, FAST, Grind, Input, config, home, logs, options, start, together, until, until_running_on,
};
use softbus_core::ErrorCode;
use softbus_net::seam::memory::World;
use softbus_task::{PolicyKind, SavedTask, SubmitOptions, TaskHandle, TaskState, TaskStatus};
use tokio::time::{sleep, timeout};

fn on(name: &str, device: &Device) -> SubmitOptions {
    let mut options = options(name);
    options.hints.start_on = Some(device.id());
    options.hints.stay = true;
    options
}

/// What comes out if nothing ever stops it, whatever it says on the way.
fn unmoved(input: &Input) -> u64 {
    Input { emit_every: 0, ..input.clone() }.unmoved()
}

fn is_paused(status: &TaskStatus) -> bool {
    matches!(status.state, TaskState::PausedBy(_))
}

/// Looks for long enough that many steps would be taken, and gives the progress that did not change.
async fn stands_still(handle: &TaskHandle) -> f64 {
    let before = until(handle, "paused", is_paused).await;
    sleep(Duration::from_secs(20)).await;
    let after = handle.status().await.unwrap();
    assert!(is_paused(&after), "{after:?}");
    assert_eq!(after.progress, before.progress, "a paused task took a step");
    after.progress
}

fn names(home: &[Device]) -> Vec<String> {
    home.iter().map(|device| device.name().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_paused_task_takes_no_step_until_it_is_resumed() {
    logs();
    let world = World::new(71);
    let home = home(&world, &[("phone", FAST), ("tv", FAST)]).await;
    let input = Input { ballast: 300_000, emit_every: 500, ..Input::turns(60_000) };
    // Ordered from another device than the one that runs it.
    let handle = home[0].tasks.run::<Grind>(&input, on("work", &home[1])).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    let rests = handle.pause().await.unwrap();
    assert!(rests.kept && !rests.already, "{rests:?}");
    assert!(stands_still(&handle).await < 1.0);
    let there = home[1].tasks.status(handle.id()).await.unwrap();
    let TaskState::PausedBy(pause) = there.state else { panic!("{there:?}") };
    assert_eq!(pause.by, home[0].id(), "it says who asked");
    let again = handle.pause().await.unwrap();
    assert!(again.already && again.kept);
    let resumed = handle.resume().await.unwrap();
    assert!(!resumed.already);
    until_running_on(&handle, &home[1]).await;
    assert!(handle.resume().await.unwrap().already, "a running one is left alone");
    assert_eq!(handle.output::<u64>().await.unwrap(), unmoved(&input));
    let over = handle.pause().await.unwrap_err();
    assert_eq!(over.code(), ErrorCode::Conflict);
    assert!(over.to_string().contains("finished already"), "{over}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_across_a_restart_of_the_runner_and_a_move() {
    logs();
    let world = World::new(72);
    let mut home = home(&world, &[("phone", FAST), ("tv", FAST)]).await;
    let input = Input { ballast: 300_000, ..Input::turns(80_000) };
    let handle = home[0].tasks.run::<Grind>(&input, on("work", &home[0])).await.unwrap();
    let id = handle.id();
    until_running_on(&handle, &home[0]).await;
    assert!(handle.pause().await.unwrap().kept);
    let progress = stands_still(&handle).await;
    let all = names(&home);
    // As often as a task may crash at its start, and more.
    for _ in 0..8 {
        home[0].host.crash();
        home[0] = start(&world, "phone", FAST, &all, config()).await;
        together(&home).await;
        let handle = home[0].tasks.handle(id).await.unwrap();
        until(&handle, "paused after the restart", is_paused).await;
        sleep(Duration::from_secs(2)).await;
    }
    let handle = home[0].tasks.handle(id).await.unwrap();
    assert_eq!(stands_still(&handle).await, progress);
    let moved = handle.move_to(Some(home[1].id()), "while it is paused").await.unwrap();
    assert_eq!(moved.to, home[1].id());
    assert_eq!(stands_still(&handle).await, progress);
    let there = home[1].tasks.status(id).await.unwrap();
    assert!(is_paused(&there) && there.runner == Some(home[1].id()), "{there:?}");
    handle.resume().await.unwrap();
    until_running_on(&handle, &home[1]).await;
    assert_eq!(handle.output::<u64>().await.unwrap(), unmoved(&input));
    assert!(!common::two_were_alive());
}

#[tokio::test(start_paused = true)]
async fn a_successor_does_not_run_what_a_person_paused() {
    logs();
    let world = World::new(73);
    let home = home(&world, &[("phone", FAST), ("tv", FAST), ("car", FAST)]).await;
    let input = Input { ballast: 300_000, ..Input::turns(80_000) };
    let options = SubmitOptions { policy: PolicyKind::Quorum { k: 2 }, ..on("work", &home[1]) };
    let handle = home[0].tasks.run::<Grind>(&input, options).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    assert!(handle.pause().await.unwrap().kept, "a majority has the checkpoint that says so");
    let progress = stands_still(&handle).await;
    let epoch = handle.status().await.unwrap().epoch;
    // Its lease goes on being kept while it is paused: no other epoch begins.
    sleep(Duration::from_secs(60)).await;
    assert_eq!(handle.status().await.unwrap().epoch, epoch);
    world.host("tv").crash();
    let tv = home[1].id();
    until(&handle, "paused elsewhere", |s| is_paused(s) && s.runner != Some(tv) && s.epoch > epoch).await;
    assert!(stands_still(&handle).await <= progress, "from the checkpoint that was taken as it was paused");
    handle.resume().await.unwrap();
    assert_eq!(handle.output::<u64>().await.unwrap(), unmoved(&input));
    assert!(!common::two_were_alive());
}

#[tokio::test(start_paused = true)]
async fn a_pause_meets_a_move_a_cancel_and_the_end() {
    logs();
    let world = World::new(74);
    let home = home(&world, &[("phone", FAST), ("tv", FAST), ("car", FAST)]).await;
    for wait_ms in [0, 1, 3, 10, 30, 100, 300] {
        let pause_in = Duration::from_millis(wait_ms);
        // With a move.
        let input = Input { ballast: 2 << 20, ..Input::turns(60_000) };
        let handle = home[0].tasks.run::<Grind>(&input, on("moving", &home[1])).await.unwrap();
        until_running_on(&handle, &home[1]).await;
        let pause = async {
            sleep(pause_in).await;
            handle.pause().await
        };
        let (moved, paused) = tokio::join!(handle.move_to(Some(home[2].id()), ""), pause);
        assert!(moved.is_ok(), "{moved:?}");
        assert!(paused.is_ok(), "{paused:?}");
        stands_still(&handle).await;
        handle.resume().await.unwrap();
        assert_eq!(handle.output::<u64>().await.unwrap(), unmoved(&input));

        // With a cancel.
        let handle = home[0].tasks.run::<Grind>(&input, on("cancelled", &home[1])).await.unwrap();
        until_running_on(&handle, &home[1]).await;
        let pause = async {
            sleep(pause_in).await;
            handle.pause().await
        };
        let (cancelled, paused) = tokio::join!(handle.cancel(), pause);
        cancelled.unwrap();
        if let Err(error) = paused {
            assert!(matches!(error.code(), ErrorCode::Conflict | ErrorCode::NotFound), "{error}");
        }
        until(&handle, "cancelled", |s| s.state == TaskState::Cancelled).await;

        // With its end.
        let input = Input::turns(1_000);
        let handle = home[0].tasks.run::<Grind>(&input, on("short", &home[1])).await.unwrap();
        sleep(pause_in).await;
        match timeout(Duration::from_secs(60), handle.pause()).await.unwrap() {
            Ok(_) => {
                stands_still(&handle).await;
                handle.resume().await.unwrap();
            }
            Err(error) => assert_eq!(error.code(), ErrorCode::Conflict, "{error}"),
        }
        assert_eq!(handle.output::<u64>().await.unwrap(), unmoved(&input));
    }
    assert!(!common::two_were_alive());
}

#[tokio::test(start_paused = true)]
async fn who_may_neither_move_nor_cancel_may_not_pause_or_save() {
    logs();
    let world = World::new(75);
    // The first is an owner of the circle, the others are members.
    let home = home(&world, &[("phone", FAST), ("tv", FAST), ("car", FAST)]).await;
    let input = Input::turns(60_000);
    let handle = home[1].tasks.run::<Grind>(&input, on("work", &home[1])).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    let theirs = home[2].tasks.pause(handle.id()).await.unwrap_err();
    assert!(matches!(theirs.code(), ErrorCode::Forbidden | ErrorCode::NotFound), "{theirs}");
    let theirs = home[2].tasks.save(handle.id()).await.unwrap_err();
    assert!(matches!(theirs.code(), ErrorCode::Forbidden | ErrorCode::NotFound), "{theirs}");
    assert!(home[0].tasks.pause(handle.id()).await.unwrap().kept, "an owner may");
    stands_still(&handle).await;
    let saved = home[0].tasks.save(handle.id()).await.unwrap();
    assert_eq!(saved.task(), handle.id());
    handle.cancel().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_state_that_was_saved_goes_on_as_a_task_of_its_own() {
    logs();
    let world = World::new(76);
    let home = home(&world, &[("phone", FAST), ("tv", FAST)]).await;
    let input = Input { ballast: 300_000, emit_every: 500, ..Input::turns(60_000) };
    let handle = home[0].tasks.run::<Grind>(&input, on("work", &home[1])).await.unwrap();
    until_running_on(&handle, &home[1]).await;
    // Of one that runs: it goes on meanwhile.
    let live = handle.save().await.unwrap();
    until(&handle, "going on", |s| s.progress * 1000.0 > f64::from(live.progress_permille() + 50)).await;
    // Of one that is paused: its last, from the device that runs it and from another.
    handle.pause().await.unwrap();
    let still = handle.save().await.unwrap();
    let there = home[1].tasks.save(handle.id()).await.unwrap();
    assert_eq!((there.state(), there.device()), (still.state(), home[1].id()));
    assert!(still.progress_permille() > live.progress_permille());
    handle.cancel().await.unwrap();

    let mut ids = BTreeSet::from([handle.id()]);
    for saved in [live, still] {
        let mut file = Vec::new();
        saved.write_to(&mut file).unwrap();
        let back = SavedTask::read_from(&mut &*file, 1 << 30).unwrap();
        assert_eq!((back.device(), back.name()), (home[0].id(), "work".into()));
        let options = back.options();
        let restored = home[0].tasks.restore(back, options, false).await.unwrap();
        assert!(ids.insert(restored.id()), "a task of its own");
        assert_eq!(restored.output::<u64>().await.unwrap(), unmoved(&input));
    }
    let other = home[1].tasks.restore(handle_of(&home[0], &input).await, options("x"), false).await.unwrap();
    assert_eq!(other.output::<u64>().await.unwrap(), unmoved(&input), "a trusted device saved it");
}

/// A state that a device saved of a task of its own.
async fn handle_of(device: &Device, input: &Input) -> SavedTask {
    let handle = device.tasks.run::<Grind>(input, on("own", device)).await.unwrap();
    until_running_on(&handle, device).await;
    let saved = handle.save().await.unwrap();
    handle.cancel().await.unwrap();
    saved
}

#[tokio::test(start_paused = true)]
async fn a_strangers_state_is_taken_only_if_a_person_says_so() {
    logs();
    let world = World::new(77);
    let home = home(&world, &[("phone", FAST), ("tv", FAST)]).await;
    let input = Input::turns(60_000);
    let saved = handle_of(&home[0], &input).await;
    let mut file = Vec::new();
    saved.write_to(&mut file).unwrap();
    home[1].judge.distrust(&home[0].id());
    let read = || SavedTask::read_from(&mut &*file, 1 << 30).unwrap();
    let refused = home[1].tasks.restore(read(), on("x", &home[1]), false).await.err().unwrap();
    assert_eq!(refused.code(), ErrorCode::Forbidden, "{refused}");
    let taken = home[1].tasks.restore(read(), on("x", &home[1]), true).await.unwrap();
    assert_eq!(taken.output::<u64>().await.unwrap(), unmoved(&input));
}
