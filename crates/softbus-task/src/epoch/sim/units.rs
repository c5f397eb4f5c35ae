//! Single walks through the protocol: what a person would tell of it.

use softbus_core::wire::task::{
    Ballot, CHAIN_LINKS, Certificate, CheckpointRef, Decree, EpochBody, EpochMessage, ManifestKind, Outcome,
    Why,
};
use softbus_core::{Epoch, Signer as _};

use super::super::manifest::Content;
use super::super::{Action, Command, Event, Notice, Status, Tuning, certificate, manifest};
use super::device::Key;
use super::schedule::{Fault, Plan};
use super::world::{TASK, World, content};

fn plan(devices: usize, quorum: bool, steps: u64) -> Plan {
    Plan {
        devices,
        quorum,
        seed: 4,
        drift_ppm: vec![0; devices],
        schedule: Vec::new(),
        steps,
        replicas: 2,
        submitter: 0,
        tuning: Tuning::default(),
    }
}

fn world(devices: usize, quorum: bool, steps: u64) -> World {
    let mut world = World::new(plan(devices, quorum, steps), true);
    world.run_until(1_000_000);
    world
}

#[track_caller]
fn sound(world: &World) {
    if let Some(broken) = &world.broken {
        panic!("{broken}\n{}", world.story.as_deref().unwrap_or_default().join("\n"));
    }
}

fn says(world: &World, found: impl Fn(&Notice) -> bool) -> bool {
    world.notices.iter().any(|(_, notice)| found(notice))
}

#[test]
fn a_task_runs_to_its_end_and_everyone_has_the_result() {
    for quorum in [false, true] {
        let mut world = world(4, quorum, 60);
        assert!(world.accepted);
        world.run_until(10_000_000);
        sound(&world);
        assert!(world.ended());
        let decree = world.devices[0].machine.as_ref().unwrap().decree().clone();
        assert_eq!(decree.outcome, Outcome::Done);
        for device in world.devices.iter().filter(|device| decree.members().contains(&device.id)) {
            let machine = device.machine.as_ref().unwrap();
            assert_eq!(machine.status(), Status::Done { result: decree.base, here: true });
            // Checkpoints are erased, the result stays.
            assert_eq!(device.disk.checkpoints.keys().collect::<Vec<_>>(), [&decree.base.manifest]);
        }
    }
}

#[test]
fn a_hand_over_loses_no_step_and_takes_one_epoch() {
    for quorum in [false, true] {
        let mut world = world(4, quorum, 100);
        let owner = world.owner().unwrap();
        let to = (owner + 1) % 4;
        world.fault(Fault::Move { to });
        world.run_until(3_000_000);
        sound(&world);
        assert_eq!(world.owner(), Some(to));
        let decree = world.devices[to].machine.as_ref().unwrap().decree();
        assert_eq!((decree.epoch.0, decree.why), (2, Why::HandOver));
        assert_eq!(decree.note, "a person walks");
        assert!(decree.holders.contains(&world.devices[owner].id), "the source stays a holder");
        assert!(says(&world, |notice| matches!(notice, Notice::Moved { .. })));
        world.run_until(15_000_000);
        sound(&world);
        assert!(world.ended());
    }
}

#[test]
fn a_lost_owner_is_replaced_under_quorum_only() {
    for quorum in [false, true] {
        let mut world = world(4, quorum, 150);
        let owner = world.owner().unwrap();
        world.crash(owner);
        world.run_until(8_000_000);
        sound(&world);
        let others: Vec<&Status> = world.statuses.iter().flatten().collect();
        if quorum {
            assert_eq!(world.observer.failovers, 1);
            assert!(world.owner().is_some_and(|new| new != owner));
        } else {
            assert_eq!(world.observer.failovers, 0);
            assert!(
                others.iter().any(|status| matches!(status, Status::WaitingForOwner { .. })),
                "{others:?}"
            );
        }
        world.start(owner, false);
        world.run_until(30_000_000);
        sound(&world);
        assert!(world.ended());
    }
}

#[test]
fn a_destination_in_doubt_waits_and_learns_what_became_of_it() {
    let mut world = world(3, false, 200);
    let owner = world.owner().unwrap();
    let to = (owner + 1) % 3;
    world.fault(Fault::Move { to });
    let ready = |world: &World| world.devices[to].machine.as_ref().unwrap().record().incoming.is_some();
    while !ready(&world) {
        world.run_until(world.now_us + 500);
    }
    world.crash(owner); // the promise is on its way; whether it is decided nobody here knows
    world.run_until(world.now_us + 20_000_000);
    sound(&world);
    let source = world.devices[owner].id;
    assert_eq!(world.statuses[to], Some(Status::InDoubt { source }));
    assert!(world.devices.iter().all(|device| device.instance.is_none()), "in doubt nobody runs");
    // The destination's own restart changes nothing.
    world.crash(to);
    world.start(to, true);
    world.run_until(world.now_us + 1_000_000);
    assert_eq!(world.statuses[to], Some(Status::InDoubt { source }));
    world.start(owner, true);
    world.run_until(world.now_us + 40_000_000);
    sound(&world);
    assert!(world.ended());
}

#[test]
fn an_isolated_owner_pauses_and_its_task_goes_on_elsewhere() {
    let mut world = world(4, true, 150);
    let owner = world.owner().unwrap();
    world.fault(Fault::SplitOwner);
    world.run_until(2_600_000);
    sound(&world);
    assert_eq!(world.statuses[owner], Some(Status::Paused));
    world.run_until(8_000_000);
    assert_eq!(world.observer.failovers, 1);
    world.fault(Fault::Heal);
    world.run_until(25_000_000);
    sound(&world);
    assert!(world.ended());
}

#[test]
fn adoption_by_force_starts_a_branch_and_the_old_owner_stops() {
    let mut world = world(3, false, 250);
    let owner = world.owner().unwrap();
    world.fault(Fault::SplitOwner);
    world.run_until(4_000_000);
    let adopter = (owner + 1) % 3;
    world.give(adopter, Event::Command(Command::Adopt { note: "the car is stolen".into() }));
    world.run_until(6_000_000);
    sound(&world);
    let runs = |world: &World, device: usize| world.devices[device].instance.is_some();
    assert!(
        runs(&world, adopter) && runs(&world, owner),
        "two branches, for as long as they cannot hear each other"
    );
    world.fault(Fault::Heal);
    world.run_until(9_000_000);
    sound(&world);
    assert!(runs(&world, adopter) && !runs(&world, owner));
    let machine = world.devices[owner].machine.as_ref().unwrap();
    assert_eq!(machine.branch().fork, 1);
    assert_eq!(machine.view().forks.len(), 1);
    assert!(world.notices.iter().any(|(device, notice)| {
        *device == owner && matches!(notice, Notice::Forked { lost: Some(_), .. })
    }));
    world.run_until(30_000_000);
    sound(&world);
    assert!(world.ended());
}

#[test]
fn a_cancelled_task_ends_everywhere_even_where_it_was_heard_late() {
    let mut world = world(4, true, 300);
    let late = (world.owner().unwrap() + 1) % 4;
    world.crash(late);
    world.cancel(world.plan.submitter.max(usize::from(late == 0)));
    world.run_until(6_000_000);
    world.start(late, true);
    world.run_until(12_000_000);
    sound(&world);
    for device in &world.devices {
        if let Some(machine) = &device.machine {
            assert!(matches!(machine.status(), Status::Cancelled { .. }));
            assert!(device.instance.is_none() && device.disk.checkpoints.is_empty());
        }
    }
}

#[test]
fn an_owner_that_was_off_when_its_task_was_cancelled_stops_when_it_returns() {
    for (quorum, asked_again) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = world(4, quorum, 600);
        let owner = world.owner().unwrap();
        world.crash(owner);
        world.run_until(1_500_000);
        let other = (owner + 1) % 4;
        world.cancel(other);
        // Even if whoever ordered it is off by then, and all others restarted.
        world.run_until(3_000_000);
        if asked_again {
            world.crash(other);
            for device in (0..4).filter(|device| ![owner, other].contains(device)) {
                world.crash(device);
                world.start(device, true);
            }
        }
        world.run_until(60_000_000);
        world.start(owner, true);
        world.run_until(63_000_000);
        sound(&world);
        let status = world.devices[owner].machine.as_ref().unwrap().status();
        assert!(matches!(status, Status::Cancelled { .. }), "{quorum} {asked_again} {status:?}");
        assert!(world.devices[owner].instance.is_none());
    }
}

#[test]
fn a_task_that_crashes_three_times_is_quarantined_with_its_error_and_can_be_released() {
    for quorum in [false, true] {
        let mut world = world(4, quorum, 100);
        let owner = world.owner().unwrap();
        for _ in 0..3 {
            while world.devices[owner].instance.is_none() {
                world.run_until(world.now_us + 5_000);
            }
            world.fault(Fault::Fail { device: owner });
        }
        world.run_until(world.now_us + 5_000_000);
        sound(&world);
        let error = "a bug in the task".to_string();
        assert_eq!(world.statuses[owner], Some(Status::Quarantined { error }));
        assert!(world.devices.iter().all(|device| device.instance.is_none()));
        // An order of an earlier time does nothing.
        let epoch = world.devices[owner].machine.as_ref().unwrap().decree().epoch;
        let stale = Command::Release { epoch: Epoch(epoch.0 - 1) };
        world.give(owner, Event::Command(stale));
        assert!(says(
            &world,
            |notice| matches!(notice, Notice::Refused { reason } if reason.contains("epoch"))
        ));
        world.give(owner, Event::Command(Command::Release { epoch }));
        world.run_until(world.now_us + 15_000_000);
        sound(&world);
        assert_eq!(world.devices[owner].machine.as_ref().unwrap().decree().outcome, Outcome::Done);
    }
}

#[test]
fn a_device_that_shuts_down_hands_its_task_away_first() {
    for quorum in [false, true] {
        let mut world = world(4, quorum, 150);
        let owner = world.owner().unwrap();
        world.give(owner, Event::Command(Command::Drain));
        world.run_until(6_000_000);
        sound(&world);
        assert!(world.owner() != Some(owner));
        assert!(world.notices.iter().any(|(device, notice)| *device == owner && *notice == Notice::Drained));
        let decree = world.devices[world.owner().unwrap()].machine.as_ref().unwrap().decree();
        assert!(!decree.members().contains(&world.devices[owner].id), "it is replaced as holder, too");
        world.crash(owner);
        world.run_until(20_000_000);
        sound(&world);
        assert_eq!(world.observer.failovers, 0);
    }
}

#[test]
fn a_holder_that_is_gone_is_replaced_while_there_is_time() {
    let mut world = world(5, true, 500);
    let owner = world.owner().unwrap();
    let holder = world.devices[owner].machine.as_ref().unwrap().decree().holders[0];
    let gone = world.devices.iter().position(|device| device.id == holder).unwrap();
    world.crash(gone);
    world.run_until(15_000_000);
    sound(&world);
    let decree = world.devices[owner].machine.as_ref().unwrap().decree();
    assert_eq!(decree.why, Why::Holders);
    assert!(!decree.holders.contains(&holder) && decree.holders.len() == 2);
    assert!(world.devices[owner].instance.is_some(), "the owner runs on across the change");
}

#[test]
fn a_full_disk_stops_nothing_that_is_not_written() {
    let mut world = world(4, true, 200);
    let owner = world.owner().unwrap();
    world.fault(Fault::FailDisk { device: owner, fails: true });
    world.run_until(4_000_000);
    sound(&world);
    assert!(says(&world, |notice| *notice == Notice::StorageFailing));
    assert!(world.devices[owner].instance.is_some());
    world.fault(Fault::FailDisk { device: owner, fails: false });
    world.run_until(25_000_000);
    sound(&world);
    assert!(world.ended());
}

#[test]
fn a_move_whose_final_state_cannot_be_stored_is_called_off_and_the_task_goes_on() {
    for quorum in [false, true] {
        let mut world = world(4, quorum, 1000);
        let owner = world.owner().unwrap();
        world.fault(Fault::Move { to: (owner + 1) % 4 });
        while !world.devices[owner].instance.as_ref().is_some_and(|instance| instance.stopping) {
            world.run_until(world.now_us + 200);
        }
        world.fault(Fault::FailDisk { device: owner, fails: true });
        world.run_until(world.now_us + 31_000_000);
        sound(&world);
        assert!(says(&world, |notice| matches!(notice, Notice::MoveAborted { .. })));
        let steps = |world: &World| world.devices[owner].instance.as_ref().map(|i| i.history.len());
        let before = steps(&world).unwrap();
        world.run_until(world.now_us + 1_000_000);
        assert!(steps(&world).unwrap() > before, "it stands still");
        world.fault(Fault::FailDisk { device: owner, fails: false });
        world.run_until(world.now_us + 90_000_000);
        sound(&world);
        assert!(world.ended());
    }
}

#[test]
fn a_task_whose_checkpoint_is_damaged_goes_on_from_anothers_copy() {
    for quorum in [false, true] {
        let mut world = world(4, quorum, 100);
        let owner = world.owner().unwrap();
        world.crash(owner);
        // The disk of the owner that is off, and under quorum also of whoever took over.
        world.fault(Fault::Damage { device: owner });
        world.run_until(4_000_000);
        world.start(owner, true);
        world.run_until(5_000_000);
        let runner = world.owner().unwrap();
        world.fault(Fault::Damage { device: runner });
        world.crash(runner);
        world.start(runner, false);
        world.run_until(40_000_000);
        sound(&world);
        assert!(world.ended());
        let decree = world.devices[runner].machine.as_ref().unwrap().decree();
        assert_eq!(decree.outcome, Outcome::Done, "quorum: {quorum}");
    }
}

#[test]
fn an_owner_goes_back_to_what_others_hold_once_all_have_told() {
    let mut world = world(3, false, 100);
    let owner = world.owner().unwrap();
    // The last checkpoint before the crash reached nobody else.
    world.fault(Fault::SplitOwner);
    world.run_until(2_000_000);
    let held = world.devices[owner].machine.as_ref().unwrap().record().held.clone().unwrap();
    world.crash(owner);
    world.devices[owner].disk.damaged.insert(held.checkpoint.manifest);
    world.start(owner, false);
    world.run_until(4_000_000);
    sound(&world);
    assert!(world.devices[owner].instance.is_none(), "another may have it");
    world.fault(Fault::Heal);
    let mut waited = 0;
    while world.devices[owner].instance.is_none() && waited < 30_000_000 {
        world.run_until(world.now_us + 5_000);
        waited += 5_000;
    }
    // From here on it tells another story than the one that was covered on this device alone.
    let running = world.devices[owner].instance.as_ref().expect("it stands still");
    assert!(running.sequence < held.checkpoint.sequence);
}

#[test]
fn a_task_whose_only_checkpoint_is_damaged_ends_in_quarantine_with_the_reason() {
    let mut world = World::new(Plan { replicas: 0, ..plan(1, false, 200) }, true);
    world.run_until(1_000_000);
    world.crash(0);
    world.start(0, false);
    let held = world.devices[0].machine.as_ref().unwrap().record().held.clone().unwrap();
    world.devices[0].disk.damaged.insert(held.checkpoint.manifest);
    world.run_until(20_000_000);
    let Some(Status::Quarantined { error }) = &world.statuses[0] else { panic!("{:?}", world.statuses[0]) };
    assert!(error.contains("damaged"), "{error}");
}

#[test]
fn a_manifest_or_certificate_with_one_flipped_bit_is_refused() {
    let world = world(3, true, 100);
    let device = &world.devices[world.owner().unwrap()];
    let record = device.machine.as_ref().unwrap().record();
    let signed = record.held.as_ref().unwrap().manifest.clone();
    assert!(manifest::open(&signed).is_ok());
    for bit in 0..signed.body.len() * 8 {
        let mut flipped = signed.clone();
        flipped.body[bit / 8] ^= 1 << (bit % 8);
        assert!(manifest::open(&flipped).is_err(), "bit {bit}");
    }
    let bytes = postcard::to_allocvec(&record.chain).unwrap();
    for bit in (0..bytes.len() * 8).step_by(7) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(chain) = postcard::from_bytes::<Vec<_>>(&flipped) {
            assert!(certificate::verify_chain(&chain).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn a_long_life_has_a_short_chain_that_everybody_believes() {
    for quorum in [false, true] {
        let mut world = world(5, quorum, 1_000_000);
        let sleeper = (0..5).rev().find(|device| Some(*device) != world.owner()).unwrap();
        world.crash(sleeper);
        let mut at = world.now_us;
        let mut longest = 0;
        let mut moves = 0;
        while moves < 2 * CHAIN_LINKS {
            let owner = world.owner().unwrap();
            let to = (0..5).filter(|device| ![owner, sleeper].contains(device)).nth(moves % 3).unwrap();
            let before = world.devices[owner].machine.as_ref().unwrap().decree().epoch;
            world.fault(Fault::Move { to });
            for _ in 0..100 {
                at += 100_000;
                world.run_until(at);
                if world.devices[to].machine.as_ref().is_some_and(|machine| machine.decree().epoch > before) {
                    moves += 1;
                    break;
                }
            }
            sound(&world);
            longest = world.devices[to].machine.as_ref().unwrap().record().chain.len().max(longest);
        }
        assert!(longest <= CHAIN_LINKS, "{longest}");
        let owner = world.owner().unwrap();
        let machine = world.devices[owner].machine.as_ref().unwrap();
        let link = certificate::verify_chain(&machine.record().chain).unwrap();
        assert_eq!(link.decree, *machine.decree());
        assert!(link.decree.epoch.0 > 2 * CHAIN_LINKS as u64);
        // One that slept through all of it learns where the task is, and gets it.
        world.start(sleeper, true);
        world.run_until(at + 10_000_000);
        world.fault(Fault::Move { to: sleeper });
        world.run_until(at + 20_000_000);
        sound(&world);
        assert_eq!(world.owner(), Some(sleeper));
    }
}

/// A chain as a member could make it up that has seen the task's root: behind a gap, with itself as the owner.
#[test]
fn nobody_takes_a_task_by_a_chain_of_its_own_making() {
    for quorum in [false, true] {
        let mut world = world(5, quorum, 1_000_000);
        let owner = world.owner().unwrap();
        let members = world.devices[owner].machine.as_ref().unwrap().decree().members();
        let thief = (0..5).find(|device| !members.contains(&world.devices[*device].id)).unwrap();
        let key = world.devices[thief].key.clone();
        let puppets = [Key::of(50), Key::of(51)];
        let root = world.devices[owner].machine.as_ref().unwrap().record().chain[0].clone();
        let mut link = certificate::verify_chain(std::slice::from_ref(&root)).unwrap();
        let mut links = vec![root];
        link.decree.epoch.0 += 40;
        while links.len() < CHAIN_LINKS {
            let mut decree = link.decree.clone();
            decree.branch = link.branch;
            decree.epoch = decree.epoch.next();
            decree.previous = link.hash;
            (decree.owner, decree.why) = (key.id(), Why::HandOver);
            decree.holders =
                if quorum { puppets.iter().map(|puppet| puppet.id()).collect() } else { Vec::new() };
            let bytes = certificate::encode_decree(&decree).unwrap();
            let ballot = Ballot { round: 0, proposer: key.id() };
            let voters = puppets.iter().chain([&key]);
            let votes =
                voters.map(|voter| certificate::vote(&**voter, &link, ballot, &bytes).unwrap()).collect();
            link = certificate::Link { branch: link.branch, hash: Decree::hash(&bytes), decree };
            links.push(Certificate::Voted { decree: bytes, votes });
        }
        assert!(certificate::verify_chain(&links).is_err());
        let message = EpochMessage {
            branch: link.branch,
            epoch: link.decree.epoch,
            body: EpochBody::Chain { links },
            ..EpochMessage::ask(TASK)
        };
        let before = world.devices[owner].machine.as_ref().unwrap().decree().clone();
        for device in (0..5).filter(|device| *device != thief) {
            let (from, message) = (key.id(), message.clone());
            world.give(device, Event::Message { from, message });
        }
        for device in world.devices.iter().filter_map(|device| device.machine.as_ref()) {
            assert_eq!(*device.decree(), before);
        }
        world.run_until(world.now_us + 1_000_000);
        sound(&world);
        assert_eq!(world.owner(), Some(owner));
    }
}

#[test]
fn a_checkpoint_of_another_branch_is_not_fetched_again_and_again() {
    let mut world = world(3, false, 1000);
    let owner = world.owner().unwrap();
    let foreign = {
        let mut other = self::world(3, false, 1000);
        other.give((owner + 1) % 3, Event::Command(Command::Adopt { note: "elsewhere".into() }));
        other.run_until(2_000_000);
        other.devices[(owner + 1) % 3].machine.as_ref().unwrap().record().held.clone().unwrap().manifest
    };
    let from = world.devices[owner].id;
    let decree = world.devices[owner].machine.as_ref().unwrap().decree().clone();
    let victim = (0..3).find(|device| decree.holders.contains(&world.devices[*device].id)).unwrap();
    let now = world.clock(victim);
    let machine = world.devices[victim].machine.as_mut().unwrap();
    assert!(manifest::open_for(&foreign, machine.branch(), &decree).is_err());
    let checkpoint = CheckpointRef { epoch: decree.epoch, sequence: u64::MAX, manifest: foreign.hash() };
    let body = EpochBody::Hold { checkpoint, from: vec![from] };
    let message =
        EpochMessage { branch: machine.branch(), epoch: decree.epoch, body, ..EpochMessage::ask(TASK) };
    let mut actions = machine.handle(Event::Message { from, message }, now);
    let asks = |actions: &[Action]| {
        actions.iter().any(|a| matches!(a, Action::Fetch { checkpoint: c, .. } if *c == checkpoint))
    };
    assert!(asks(&actions), "it is asked for once");
    // It is on this device's disk already, so that it is there at once.
    for _ in 0..3 {
        actions = machine.handle(Event::Fetched { manifest: foreign.clone() }, now);
        assert!(!asks(&actions), "{actions:?}");
    }
}

/// Its final state names whom it is for: nobody else takes it, whoever asks.
#[test]
fn a_final_state_for_another_device_is_refused() {
    let mut world = world(4, false, 1_000_000);
    let owner = world.owner().unwrap();
    let (to, other) = ((owner + 1) % 4, (owner + 2) % 4);
    let machine = world.devices[owner].machine.as_ref().unwrap();
    let (branch, decree) = (machine.branch(), machine.decree().clone());
    let now = world.devices[to].clock.read(world.now_us);
    let cases = [(Some(to), false), (None, false), (Some(other), true)];
    for (sequence, (destination, refused)) in (1000..).zip(cases) {
        let destination = destination.map(|device| world.devices[device].id);
        let content = Content { destination, ..content(ManifestKind::Checkpoint, sequence, &vec![7]) };
        let signed = manifest::next(&*world.devices[owner].key, branch, &decree, content).unwrap();
        let message = EpochMessage {
            branch,
            epoch: decree.epoch,
            body: EpochBody::Prepare { manifest: signed.clone(), last: true },
            ..EpochMessage::ask(TASK)
        };
        let from = world.devices[owner].id;
        let machine = world.devices[to].machine.as_mut().unwrap();
        let actions = machine.handle(Event::Message { from, message }, now);
        let says = |wanted: fn(&EpochBody) -> bool| {
            actions.iter().any(|a| matches!(a, Action::Send { message, .. } if wanted(&message.body)))
        };
        assert_eq!(says(|body| matches!(body, EpochBody::Refuse { .. })), refused, "{actions:?}");
        assert_eq!(actions.iter().any(|a| matches!(a, Action::Fetch { .. })), !refused, "{actions:?}");
    }
}

#[test]
fn a_state_that_travels_for_minutes_while_the_task_runs_on_is_not_given_up() {
    for quorum in [false, true] {
        let mut world = world(4, quorum, 1_000_000);
        let owner = world.owner().unwrap();
        let members = world.devices[owner].machine.as_ref().unwrap().decree().members();
        let to = (0..4).find(|device| !members.contains(&world.devices[*device].id)).unwrap();
        world.slow_fetch_us = Some(200_000_000);
        world.fault(Fault::Move { to });
        world.run_until(world.now_us + 190_000_000);
        assert!(world.devices[owner].instance.is_some(), "it runs meanwhile");
        world.slow_fetch_us = None;
        world.run_until(world.now_us + 20_000_000);
        sound(&world);
        assert!(!says(&world, |notice| matches!(notice, Notice::MoveAborted { .. })));
        assert_eq!(world.owner(), Some(to), "quorum: {quorum}");
    }
}

/// Beside what the move sends it, it would only fetch what is out of date when it comes.
#[test]
fn a_holder_to_which_a_task_moves_is_offered_no_other_checkpoints_unless_effects_wait_for_them() {
    for quorum in [false, true] {
        let mut world = world(4, quorum, 1_000_000);
        let owner = world.owner().unwrap();
        let holders = world.devices[owner].machine.as_ref().unwrap().decree().holders.clone();
        let to = (0..4).find(|device| holders.contains(&world.devices[*device].id)).unwrap();
        let other = (0..4).find(|d| *d != to && holders.contains(&world.devices[*d].id)).unwrap();
        world.slow_fetch_us = Some(500_000);
        world.fault(Fault::Move { to });
        let began = world.story.as_ref().unwrap().len();
        world.run_until(world.now_us + 450_000);
        let offers = |world: &World, to| {
            let line = format!("{owner} -> {to} offer");
            world.story.as_ref().unwrap()[began..].iter().filter(|said| said.ends_with(&line)).count()
        };
        assert!(offers(&world, other) > 0, "it goes on and is saved meanwhile");
        assert_eq!(offers(&world, to) > 0, quorum);
        // A move that is called off leaves it a holder like the others: it is back before another would take its place.
        world.crash(to);
        world.run_until(world.now_us + 4_000_000);
        assert_eq!(world.owner(), Some(owner));
        world.start(to, false);
        world.slow_fetch_us = None;
        world.run_until(world.now_us + 10_000_000);
        sound(&world);
        let held = |device: usize| world.devices[device].machine.as_ref().unwrap().record().held.clone();
        let behind = held(owner).unwrap().checkpoint.sequence - held(to).unwrap().checkpoint.sequence;
        assert!(behind < 3 && offers(&world, to) > 0, "{behind}");
    }
}

/// Of a task that went from one owner to the next, and never back, no link can be left out.
#[test]
fn a_chain_that_cannot_be_shortened_is_read_back_after_a_restart_up_to_its_limit() {
    let world = world(3, false, 1_000_000);
    let owner = world.owner().unwrap();
    let device = &world.devices[owner];
    let root = device.machine.as_ref().unwrap().record().chain[0].clone();
    let mut link = certificate::verify_chain(std::slice::from_ref(&root)).unwrap();
    let (mut links, mut voter) = (vec![root], device.key.clone());
    while links.len() <= certificate::CHAIN_MOST {
        let next = Key::of(100 + links.len());
        let mut decree = link.decree.clone();
        (decree.branch, decree.previous, decree.epoch) = (link.branch, link.hash, decree.epoch.next());
        (decree.owner, decree.why, decree.holders) = (next.id(), Why::HandOver, Vec::new());
        let bytes = certificate::encode_decree(&decree).unwrap();
        let ballot = Ballot { round: 0, proposer: voter.id() };
        let votes = vec![certificate::vote(&*voter, &link, ballot, &bytes).unwrap()];
        link = certificate::Link { branch: link.branch, hash: Decree::hash(&bytes), decree };
        links.push(Certificate::Voted { decree: bytes, votes });
        voter = next;
    }
    let mut pruned = links[..=CHAIN_LINKS].to_vec();
    assert!(certificate::prune(&mut pruned).is_err());
    assert_eq!(pruned, links[..=CHAIN_LINKS]);
    // Others are not asked to believe so long a one; the record of this device is read whatever it came to.
    assert!(certificate::verify_chain(&links[..CHAIN_LINKS]).is_ok());
    assert!(certificate::verify_chain(&links[..=CHAIN_LINKS]).is_err());
    assert!(certificate::verify_own_chain(&links[..certificate::CHAIN_MOST]).is_ok());
    assert!(certificate::verify_own_chain(&links).is_err());
}
