//! Thousands of schedules, and the proof that they would notice a missing safeguard.

use std::panic::AssertUnwindSafe;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use softbus_core::wire::task::Outcome;

use super::super::sabotage::Sabotage;
use super::schedule::{Fault, Plan, course, forced_plans, plans};
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
    // A device whose disk is damaged counts as lost itself, until it is mended.
    let forced =
        |fault: &Fault| matches!(fault, Fault::Adopt { .. } | Fault::Cancel { .. } | Fault::Damage { .. });
    if world.plan.schedule.iter().any(|(_, fault)| forced(fault)) {
        return Vec::new();
    }
    if decree.outcome != Outcome::Run || world.plan.seed.is_multiple_of(2) {
        return Vec::new();
    }
    // A device that alone knows of the last epoch is not lost, for its peers could not know that they are a minority of
    // something newer.
    let informed = |device: &super::device::Device| {
        device.disk.record.as_ref().is_some_and(|record| {
            record
                .chain
                .last()
                .and_then(|link| super::super::certificate::parse_decree(link.decree_bytes()).ok())
                .is_some_and(|known| known.epoch == decree.epoch)
        })
    };
    let mut acceptors = decree.acceptors();
    let majority = super::super::certificate::majority(acceptors.len());
    // The owner is the most interesting one to lose; else any, and as many as may.
    let dead: Vec<_> = match world.plan.seed / 2 % 3 {
        0 => vec![decree.owner],
        _ => {
            let most = acceptors.len() - majority;
            acceptors.rotate_left((world.plan.seed / 6) as usize % decree.acceptors().len());
            acceptors.iter().take(most).copied().collect()
        }
    };
    let left = world
        .devices
        .iter()
        .filter(|device| informed(device))
        .filter(|device| acceptors.contains(&device.id) && !dead.contains(&device.id));
    if left.count() < majority {
        return Vec::new();
    }
    let all = world.devices.iter().enumerate();
    all.filter(|(_, device)| dead.contains(&device.id)).map(|(index, _)| index).collect()
}

fn outcome(world: &World) -> Result<(), String> {
    if world
        .plan
        .schedule
        .iter()
        .any(|(_, fault)| matches!(fault, Fault::Cancel { .. } | Fault::Adopt { .. }))
    {
        // Which of several branches and orders wins is chance; but all must agree that it is over.
        return if world.ended() || !world.accepted { Ok(()) } else { Err("the task did not end".into()) };
    }
    if world.observer.decided.is_empty() {
        return Ok(()); // the submitter died before the task was on its disk: nobody was promised anything
    }
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
        // Crashed or restarted too often without progress: a rightful end of schedules in which that happens.
        Outcome::Quarantined { .. } => {
            let dies = |fault: &Fault| {
                matches!(
                    fault,
                    Fault::Crash { .. }
                        | Fault::CrashOwner
                        | Fault::Blink { .. }
                        | Fault::Fail { .. }
                        | Fault::Drain { .. }
                        | Fault::Damage { .. }
                )
            };
            let died = world.plan.schedule.iter().filter(|(_, fault)| dies(fault)).count();
            let justified =
                died >= 3 || world.plan.schedule.iter().any(|(_, f)| matches!(f, Fault::Damage { .. }));
            justified.then_some(()).ok_or_else(|| format!("quarantined after {died} crashes"))
        }
        Outcome::Run => Err("the task did not end".into()),
    }
}

fn readable(plan: &Plan, reason: &str) -> String {
    let (world, _) = run(plan, true);
    let story = world.story.unwrap_or_default();
    let skip = story.len().saturating_sub(40000);
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

fn search(
    strategy: impl Strategy<Value = Plan>,
    cases: u32,
    sabotage: Option<Sabotage>,
) -> Result<(), String> {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: if sabotage.is_some() { 0 } else { 400 },
        ..Config::default()
    };
    let algorithm = proptest::test_runner::RngAlgorithm::ChaCha;
    let rng = proptest::test_runner::TestRng::from_seed(algorithm, &[1; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let strategy = strategy.prop_map(move |mut plan| {
        plan.tuning.sabotage = sabotage;
        plan
    });
    let result = runner.run(&strategy, |plan| {
        let (world, result) = std::panic::catch_unwind(AssertUnwindSafe(|| run(&plan, false)))
            .map_err(|_| TestCaseError::fail("it panicked"))?;
        match (sabotage, world.broken) {
            // What breaks a safeguard must be seen to break an invariant; that the task hangs is not enough.
            (Some(_), None) => Ok(()),
            (_, Some(broken)) => Err(TestCaseError::fail(broken)),
            (None, None) => result.map_err(TestCaseError::fail),
        }
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
    if let Err(story) = search(plans(true), schedules(150), None) {
        panic!("{story}");
    }
}

#[test]
fn owner_tasks_survive_any_schedule() {
    if let Err(story) = search(plans(false), schedules(100), None) {
        panic!("{story}");
    }
}

#[test]
fn adoption_and_cancellation_end_everywhere() {
    if let Err(story) = search(forced_plans(), schedules(100), None) {
        panic!("{story}");
    }
}

/// Leaves out one safeguard, and expects the schedules to find out.
fn is_noticed(sabotage: Sabotage, strategy: impl Strategy<Value = Plan>) {
    match search(strategy, schedules(600).max(600), Some(sabotage)) {
        Ok(()) => panic!("nobody noticed that {sabotage:?}"),
        Err(reason) => println!("{sabotage:?} was noticed: {reason}"),
    }
}

macro_rules! noticed {
    ($($name:ident: $sabotage:ident, $plans:expr;)*) => {
        $(#[test]
        fn $name() {
            is_noticed(Sabotage::$sabotage, $plans);
        })*
    };
}

noticed! {
    sending_before_the_record_is_durable_is_noticed: SendBeforePersist, forgotten_votes();
    a_hand_over_told_before_it_is_durable_is_noticed: SendBeforePersist, power_cuts();
    a_missing_lease_wait_is_noticed: NoLeaseWait, plans(true);
    a_forgotten_wait_after_restart_is_noticed: NoRebootWait, forgetful_acceptor();
    running_past_the_lease_is_noticed: NoPause, plans(true);
    voting_below_the_promise_is_noticed: NoPromiseCheck, duels();
    ignoring_the_votes_of_others_is_noticed: ForgetAccepted, plans(true);
    acknowledging_after_a_promise_is_noticed: AckAfterPromise, late_checkpoints();
    releasing_uncovered_effects_is_noticed: ReleaseUncovered, plans(true);
    starting_from_the_oldest_checkpoint_is_noticed: OldestBase, plans(true);
    running_in_doubt_is_noticed: RunInDoubt, lost_answers();
    running_after_the_commit_is_noticed: RunAfterCommit, plans(true);
    an_implied_lease_without_a_lease_is_noticed: LeaseForNothing, late_votes();
    granting_after_a_promise_is_noticed: GrantAfterPromise, split_council();
    a_base_that_moves_is_noticed: NoFreeze, plans(true);
    forgetting_without_a_trace_is_noticed: ForgetWithoutTrace, forgotten_members();
    promising_after_a_loss_is_noticed: PromiseAfterLoss, lost_copies();
    hearing_an_older_epoch_is_noticed: IgnoreEpoch, plans(true);
}

/// An acceptor forgets its lease just when another, deaf to the owner, asks for its promise.
fn forgetful_acceptor() -> impl Strategy<Value = Plan> {
    let mut schedule = vec![(500, Fault::Weather { loss: 300, double: 0, delay_ms: 3 })];
    for deaf in 0..3 {
        for from in 0..3 {
            schedule.push((0, Fault::Deaf { from, to: deaf }));
            schedule.push((0, Fault::Deaf { from: deaf, to: from }));
        }
        let others: Vec<usize> = (0..3).filter(|device| *device != deaf).collect();
        schedule.push((2_500, Fault::Heal));
        schedule.push((0, Fault::Deaf { from: others[0], to: deaf }));
        for _ in 0..12 {
            schedule.push((290, Fault::Blink { device: others[1], ms: 5 }));
        }
        schedule.push((0, Fault::Heal));
    }
    course(true, 3, 2, 4, schedule)
}

/// A vote leaves before it is on disk and is forgotten in a crash; then whoever cast it decides once more, with one
/// who never heard of it and without the owner.
fn forgotten_votes() -> impl Strategy<Value = Plan> {
    let mut schedule = vec![(300, Fault::Weather { loss: 0, double: 0, delay_ms: 5 })];
    for (voter, wait) in [(0, 25), (1, 25), (2, 25), (0, 60), (1, 60), (2, 60), (0, 120), (1, 120), (2, 120)]
    {
        for away in (0..3).filter(|device| *device != voter) {
            schedule.push((500, Fault::SlowDisk { device: voter, ms: 1_500 }));
            schedule.push((0, Fault::Split { sides: 1 << away }));
            schedule.push((0, Fault::Holders { without: away }));
            schedule.push((wait, Fault::Blink { device: voter, ms: 5 }));
            schedule.push((0, Fault::SplitOwner));
            schedule.push((5_000, Fault::SlowDisk { device: voter, ms: 0 }));
            schedule.push((0, Fault::Heal));
            schedule.push((1_500, Fault::Heal));
        }
    }
    course(true, 3, 2, 4, schedule)
}

/// Several take over at once over a slow network.
fn duels() -> impl Strategy<Value = Plan> {
    let mut schedule = Vec::new();
    for _ in 0..4 {
        schedule.push((600, Fault::Weather { loss: 250, double: 200, delay_ms: 700 }));
        schedule.push((0, Fault::CrashOwner));
        schedule.push((9_000, Fault::Heal));
        for device in 0..5 {
            schedule.push((0, Fault::Start { device, reboot: false }));
        }
    }
    course(true, 5, 4, 4, schedule)
}

/// The owner comes back with a checkpoint after others were promised.
fn late_checkpoints() -> impl Strategy<Value = Plan> {
    let mut schedule = Vec::new();
    for _ in 0..5 {
        schedule.push((700, Fault::SplitOwner));
        schedule.push((1_450, Fault::Weather { loss: 450, double: 0, delay_ms: 150 }));
        schedule.push((150, Fault::Heal));
        schedule.push((4_000, Fault::Weather { loss: 0, double: 0, delay_ms: 3 }));
    }
    course(true, 3, 2, 100, schedule)
}

/// The owner asks for other acceptors, and stands still until the answers are old.
fn late_votes() -> impl Strategy<Value = Plan> {
    let mut schedule = Vec::new();
    for without in [0, 1, 2, 3, 0, 1, 2, 3] {
        schedule.push((900, Fault::Weather { loss: 0, double: 0, delay_ms: 60 }));
        schedule.push((0, Fault::Holders { without }));
        schedule.push((45, Fault::FreezeOwner { ms: 9_000 }));
        schedule.push((10_000, Fault::Heal));
    }
    course(true, 4, 2, 10, schedule)
}

/// An acceptor that voted for a successor is left alone with the old owner.
fn split_council() -> impl Strategy<Value = Plan> {
    let mut schedule = vec![(300, Fault::Heal)];
    for device in 0..4 {
        schedule.push((0, Fault::SlowDisk { device, ms: 150 }));
    }
    for (at, sides) in
        [(1_700, 3), (1_850, 5), (2_000, 6), (1_800, 3), (1_950, 5), (2_100, 6), (2_050, 3), (1_900, 6)]
    {
        schedule.push((1_500, Fault::SplitOwner));
        schedule.push((at, Fault::Split { sides }));
        schedule.push((5_000, Fault::Heal));
    }
    course(true, 4, 2, 10, schedule)
}

/// A destination says that it is ready, and nobody hears it.
fn lost_answers() -> impl Strategy<Value = Plan> {
    let mut schedule = Vec::new();
    for (to, cut) in [(0, 250), (1, 300), (2, 350), (0, 400), (1, 450), (2, 500)] {
        for device in 0..3 {
            schedule.push((0, Fault::SlowDisk { device, ms: if device == to { 300 } else { 5 } }));
        }
        schedule.push((700, Fault::Move { to }));
        schedule.push((cut, Fault::SplitOwner));
        schedule.push((4_000, Fault::Heal));
    }
    course(false, 3, 2, 10, schedule)
}

/// Disks are slow, and now and then a device dies while it writes.
fn power_cuts() -> impl Strategy<Value = Plan> {
    let mut schedule = vec![(300, Fault::Heal)];
    for device in 0..3 {
        schedule.push((0, Fault::SlowDisk { device, ms: 600 }));
    }
    for (to, device, cut) in (0..12).map(|n| (n % 3, (n + n / 3) % 3, 250 + 70 * n as u64)) {
        schedule.push((3_000, Fault::Move { to }));
        schedule.push((cut, Fault::Blink { device, ms: 30 }));
    }
    course(false, 3, 2, 10, schedule)
}

/// A member that voted for other holders forgets the task, and then meets one that slept through it.
fn forgotten_members() -> impl Strategy<Value = Plan> {
    let schedule = vec![
        (1_500, Fault::Split { sides: 1 }),
        (300, Fault::OtherHolders),
        (6_000, Fault::Forget { device: 1 }),
        (0, Fault::Split { sides: 3 }),
        (15_000, Fault::Heal),
    ];
    course(true, 5, 2, 10, schedule)
}

/// Of the two that hold what was covered, one loses it to its disk and the other dies.
fn lost_copies() -> impl Strategy<Value = Plan> {
    let mut schedule = vec![(800, Fault::Heal)];
    for (away, kept) in [(0, 1), (1, 2), (2, 0), (0, 2), (1, 0), (2, 1)] {
        schedule.push((0, Fault::Split { sides: 1 << away }));
        schedule.push((700, Fault::Damage { device: kept }));
        schedule.push((0, Fault::CrashOwner));
        schedule.push((0, Fault::Heal));
        schedule.push((6_000, Fault::Start { device: 0, reboot: false }));
        schedule.push((0, Fault::Start { device: 1, reboot: false }));
        schedule.push((0, Fault::Start { device: 2, reboot: false }));
        schedule.push((2_500, Fault::Heal));
    }
    course(true, 3, 2, 10, schedule)
}

/// The courses break nothing as long as every safeguard is in place.
#[test]
fn hard_courses_are_survived() {
    let each = schedules(100) / 5;
    let runs = [
        search(forgetful_acceptor(), each, None),
        search(duels(), each, None),
        search(late_checkpoints(), each, None),
        search(late_votes(), each, None),
        search(split_council(), each, None),
        search(lost_answers(), each, None),
        search(power_cuts(), each, None),
        search(forgotten_votes(), each, None),
        search(forgotten_members(), each, None),
        search(lost_copies(), each, None),
    ];
    if let Some(story) = runs.into_iter().find_map(Result::err) {
        panic!("{story}");
    }
}
