//! Schedules: what goes wrong, and when. Plain data that proptest makes and shrinks.

use std::time::Duration;

use proptest::prelude::*;

use super::super::Tuning;

/// Something that happens to the world.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Fault {
    /// The program dies; what was not yet written is lost (or, by chance, was written after all).
    Crash { device: usize },
    /// It starts again; with `reboot` its boot clock begins anew.
    Start { device: usize, reboot: bool },
    /// Devices whose bits differ cannot reach each other.
    Split { sides: u8 },
    /// One direction between two devices is dead.
    Deaf { from: usize, to: usize },
    /// All can reach each other.
    Heal,
    /// The device stands still for this long; its boot clock goes on.
    Freeze { device: usize, ms: u64 },
    /// Each write takes up to this long.
    SlowDisk { device: usize, ms: u64 },
    /// Writes fail, or no longer do.
    FailDisk { device: usize, fails: bool },
    /// Messages are lost, and doubled, with these chances in a thousand.
    Weather { loss: u64, double: u64, delay_ms: u64 },
    /// The owner, whoever it is, is told to hand over.
    Move { to: usize },
    /// A hand-over is called off.
    AbortMove,
    /// The owner is told to name other holders.
    Holders { without: usize },
    /// The instance crashes.
    Fail { device: usize },
    /// Someone shuts down in good order, and starts again a few seconds later.
    Drain { device: usize },
    /// The owner is cut off from all others.
    SplitOwner,
    /// The program on the owner's device dies.
    CrashOwner,
    /// The owner stands still for this long.
    FreezeOwner { ms: u64 },
    /// The program dies and starts again at once (`ms` later).
    Blink { device: usize, ms: u64 },
    /// A device forgets the task, if it has no part in it any more.
    Forget { device: usize },
    /// Other devices become holders: the last ones.
    OtherHolders,
    /// Someone ends the task.
    Cancel { device: usize },
    /// Someone takes the task by force.
    Adopt { device: usize },
    /// The disk damages the checkpoint that counts on this device, if another keeps it, too; this is noticed at once or
    /// when it is read.
    Damage { device: usize },
    /// An old message of the device is sent once more.
    Replay { device: usize },
}

/// When (ms after the one before) and what.
pub(super) type Schedule = Vec<(u64, Fault)>;

/// All that a run depends on.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) devices: usize,
    pub(super) quorum: bool,
    pub(super) seed: u64,
    /// Clock drift of each device in ppm.
    pub(super) drift_ppm: Vec<i64>,
    pub(super) schedule: Schedule,
    /// Steps until the task is done.
    pub(super) steps: u64,
    pub(super) replicas: u8,
    pub(super) submitter: usize,
    pub(super) tuning: Tuning,
}

fn fault(devices: usize, force: bool) -> impl Strategy<Value = Fault> {
    let device = 0..devices;
    let mishaps = prop_oneof![
        5 => device.clone().prop_map(|device| Fault::Crash { device }),
        6 => (device.clone(), any::<bool>()).prop_map(|(device, reboot)| Fault::Start { device, reboot }),
        4 => (1u8..=127).prop_map(|sides| Fault::Split { sides }),
        2 => (device.clone(), device.clone()).prop_map(|(from, to)| Fault::Deaf { from, to }),
        4 => Just(Fault::Heal),
        3 => (device.clone(), 50u64..4000).prop_map(|(device, ms)| Fault::Freeze { device, ms }),
        2 => (device.clone(), 0u64..1500).prop_map(|(device, ms)| Fault::SlowDisk { device, ms }),
        1 => (device.clone(), any::<bool>()).prop_map(|(device, fails)| Fault::FailDisk { device, fails }),
        3 => (0u64..400, 0u64..300, 1u64..800)
            .prop_map(|(loss, double, delay_ms)| Fault::Weather { loss, double, delay_ms }),
        6 => device.clone().prop_map(|to| Fault::Move { to }),
        1 => Just(Fault::AbortMove),
        2 => device.clone().prop_map(|without| Fault::Holders { without }),
        1 => device.clone().prop_map(|device| Fault::Fail { device }),
        1 => device.clone().prop_map(|device| Fault::Drain { device }),
        2 => Just(Fault::SplitOwner),
        2 => Just(Fault::CrashOwner),
        2 => (50u64..6000).prop_map(|ms| Fault::FreezeOwner { ms }),
        2 => (device.clone(), 5u64..400).prop_map(|(device, ms)| Fault::Blink { device, ms }),
        1 => device.clone().prop_map(|device| Fault::Replay { device }),
        3 => device.clone().prop_map(|device| Fault::Forget { device }),
        1 => Just(Fault::OtherHolders),
        2 => device.clone().prop_map(|device| Fault::Damage { device }),
    ];
    if !force {
        return mishaps.boxed();
    }
    prop_oneof![
        1 => device.clone().prop_map(|device| Fault::Cancel { device }),
        3 => device.prop_map(|device| Fault::Adopt { device }),
        40 => mishaps,
    ]
    .boxed()
}

/// Plans of one policy.
pub(super) fn plans(quorum: bool) -> impl Strategy<Value = Plan> {
    plans_with(quorum, false)
}

/// Plans in which people also adopt by force and cancel.
pub(super) fn forced_plans() -> impl Strategy<Value = Plan> {
    any::<bool>().prop_flat_map(|quorum| plans_with(quorum, true))
}

fn plans_with(quorum: bool, force: bool) -> impl Strategy<Value = Plan> {
    (3usize..=5).prop_flat_map(move |devices| {
        (
            any::<u64>(),
            prop::collection::vec(-1000i64..=1000, devices),
            prop::collection::vec((0u64..2500, fault(devices, force)), 0..25),
            30u64..120,
            0..devices,
            if devices == 5 { 2u8..=4 } else { 2..=2 },
            prop_oneof![Just(Duration::from_millis(120)), Just(Duration::from_millis(4))],
        )
            .prop_map(move |(seed, drift_ppm, schedule, steps, submitter, replicas, stagger)| Plan {
                devices,
                quorum,
                seed,
                drift_ppm,
                schedule,
                steps,
                replicas,
                submitter,
                tuning: Tuning { stagger, ..Tuning::default() },
            })
    })
}

/// Plans around one fixed course of events; chance decides the rest.
pub(super) fn course(
    quorum: bool,
    devices: usize,
    replicas: u8,
    stagger_ms: u64,
    schedule: Schedule,
) -> impl Strategy<Value = Plan> {
    (any::<u64>(), prop::collection::vec(-1000i64..=1000, devices), 0..devices, 0u64..400).prop_map(
        move |(seed, drift_ppm, submitter, shift)| {
            let mut schedule = schedule.clone();
            if let Some((gap, _)) = schedule.first_mut() {
                *gap += shift;
            }
            Plan {
                devices,
                quorum,
                seed,
                drift_ppm,
                schedule,
                steps: 400,
                replicas,
                submitter,
                tuning: Tuning { stagger: Duration::from_millis(stagger_ms), ..Tuning::default() },
            }
        },
    )
}
