//! Thousands of schedules, and the proof that they would notice a missing safeguard.

use std::panic::AssertUnwindSafe;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use softbus_core::wire::task::Outcome;

use super::super::sabotage::Sabotage;
use super::schedule::{Plan, plans};
use super::world::World;

/// Schedules per test in the ordinary run; `SOFTBUS_SCHEDULES` asks for more.
fn schedules(ordinary: u32) -> u32 {
    std::env::var("SOFTBUS_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(ordinary)
}

/// Time for the task to end once all is well again.
const PATIENCE_US: u64 = 180_000_000;

/// Runs a plan to its end, or to what is wrong with it.
fn run(plan: &Plan, tell: bool) -> (World, Result<(), String>) {
    let mut world = World::new(plan.clone(), tell);
    let faults: u64 = plan.schedule.iter().map(|(gap, _)| gap * 1000).sum();
    world.run_until(faults + 1_000_000);
    if world.broken.is_none() {
        let dead = who_stays_dead(&world);
        world.heal(&dead);
        let until = world.now_us + PATIENCE_US;
        while world.broken.is_none() && world.now_us < until && !world.ended() {
            world.run_until(world.now_us + 500_000);
        }
        // Whoever returns last must not bring anything back to life.
        for device in dead {
            world.start(device, true);
        }
        world.run_until(world.now_us + 5_000_000);
    }
    let result = match world.broken.clone() {
        Some(broken) => Err(broken),
        None => outcome(&world),
    };
    (world, result)
}

/// Under `quorum` a minority of the acceptors may stay dead for good.
fn who_stays_dead(world: &World) -> Vec<usize> {
    let newest = world.observer.decided.values().map(|(_, decree)| decree).max_by_key(|decree| decree.epoch);
    let (Some(decree), true) = (newest, world.plan.quorum && world.accepted) else { return Vec::new() };
    if decree.outcome != Outcome::Run || world.plan.seed.is_multiple_of(2) {
        return Vec::new();
    }
    // The owner is the most interesting one to lose; but a device that alone knows of the last epoch is not lost,
    // for its peers could not know that they are a minority of something newer.
    let informed = |device: &&super::device::Device| {
        device.disk.record.as_ref().is_some_and(|record| {
            record
                .chain
                .last()
                .and_then(|link| super::super::certificate::parse_decree(link.decree_bytes()).ok())
                .is_some_and(|known| known.epoch == decree.epoch)
        })
    };
    let acceptors = decree.acceptors();
    let others = world
        .devices
        .iter()
        .filter(informed)
        .filter(|device| acceptors.contains(&device.id) && device.id != decree.owner);
    if others.count() < super::super::certificate::majority(acceptors.len()) {
        return Vec::new();
    }
    world.devices.iter().position(|device| device.id == decree.owner).into_iter().collect()
}

fn outcome(world: &World) -> Result<(), String> {
    if !world.accepted && !world.observer.decided.values().any(|(_, decree)| decree.outcome != Outcome::Run) {
        return Err("the task was never accepted".into());
    }
    let branch = world.observer.decided.keys().next().map(|(branch, _)| *branch).ok_or("nothing happened")?;
    let Some(decree) = world.observer.end(branch).filter(|_| world.ended()) else {
        return Err("the task did not end".into());
    };
    match decree.outcome {
        Outcome::Done => {
            let result =
                world.observer.states.get(&decree.base.manifest).ok_or("the result is from nowhere")?;
            if result.len() as u64 != world.plan.steps {
                return Err(format!("the result has {} steps", result.len()));
            }
            for (index, effect) in result.iter().enumerate() {
                if world.observer.released.get(&(branch, index as u64 + 1)) != Some(effect) {
                    return Err(format!("effect {} of the result never left so", index + 1));
                }
            }
            Ok(())
        }
        // Crashed or restarted too often without progress: a rightful end of some schedules.
        Outcome::Quarantined { .. } => Ok(()),
        Outcome::Run => Err("the task did not end".into()),
    }
}

fn readable(plan: &Plan, reason: &str) -> String {
    let (world, _) = run(plan, true);
    let story = world.story.unwrap_or_default();
    let skip = story.len().saturating_sub(400);
    let schedule: Vec<String> =
        plan.schedule.iter().map(|(gap, fault)| format!("  after {gap} ms: {fault:?}")).collect();
    format!(
        "{reason}\nplan: {plan:?}\nschedule:\n{}\nstory (last {} of {} lines):\n{}",
        schedule.join("\n"),
        story.len() - skip,
        story.len(),
        story[skip..].join("\n")
    )
}

fn search(quorum: bool, cases: u32, sabotage: Option<Sabotage>) -> Result<(), String> {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: if sabotage.is_some() { 0 } else { 400 },
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::from_seed(
            proptest::test_runner::RngAlgorithm::ChaCha,
            &[if quorum { 1 } else { 2 }; 32],
        ),
    );
    let strategy = plans(quorum).prop_map(move |mut plan| {
        plan.tuning.sabotage = sabotage;
        plan
    });
    let result = runner.run(&strategy, |plan| {
        let (_, result) = std::panic::catch_unwind(AssertUnwindSafe(|| run(&plan, false)))
            .map_err(|_| TestCaseError::fail("it panicked"))?;
        result.map_err(TestCaseError::fail)
    });
    match result {
        Ok(()) => Ok(()),
        Err(TestError::Fail(reason, plan)) => Err(match sabotage {
            Some(_) => reason.message().to_string(),
            None => readable(&plan, reason.message()),
        }),
        Err(TestError::Abort(reason)) => Err(reason.message().to_string()),
    }
}

#[test]
fn quorum_tasks_survive_any_schedule() {
    if let Err(story) = search(true, schedules(150), None) {
        panic!("{story}");
    }
}

#[test]
fn owner_tasks_survive_any_schedule() {
    if let Err(story) = search(false, schedules(100), None) {
        panic!("{story}");
    }
}

/// Leaves out one safeguard, and expects the schedules to find out.
fn is_noticed(sabotage: Sabotage, quorum: bool) {
    match search(quorum, schedules(400).max(400), Some(sabotage)) {
        Ok(()) => panic!("nobody noticed that {sabotage:?}"),
        Err(reason) => println!("{sabotage:?} was noticed: {reason}"),
    }
}

macro_rules! noticed {
    ($($name:ident: $sabotage:ident, $quorum:literal;)*) => {
        $(#[test]
        fn $name() {
            is_noticed(Sabotage::$sabotage, $quorum);
        })*
    };
}

noticed! {
    sending_before_the_record_is_durable_is_noticed: SendBeforePersist, true;
    a_missing_lease_wait_is_noticed: NoLeaseWait, true;
    a_forgotten_wait_after_restart_is_noticed: NoRebootWait, true;
    running_past_the_lease_is_noticed: NoPause, true;
    voting_below_the_promise_is_noticed: NoPromiseCheck, true;
    ignoring_the_votes_of_others_is_noticed: ForgetAccepted, true;
    acknowledging_after_a_promise_is_noticed: AckAfterPromise, true;
    releasing_uncovered_effects_is_noticed: ReleaseUncovered, true;
    starting_from_the_oldest_checkpoint_is_noticed: OldestBase, true;
    running_in_doubt_is_noticed: RunInDoubt, false;
    running_after_the_commit_is_noticed: RunAfterCommit, true;
    an_implied_lease_without_a_lease_is_noticed: LeaseForNothing, true;
    granting_after_a_promise_is_noticed: GrantAfterPromise, true;
    a_base_that_moves_is_noticed: NoFreeze, true;
}
