//! Running tasks do not flap.

use std::collections::BTreeSet;

use softbus_core::{PowerSource, Privacy, Thermal};
use softbus_placement::{
    Action, Candidate, Held, Link, Preferences, Presence, Reach, Running, Trust, Weights, Work, place,
};

use crate::home::{Rng, id, now, profile};

fn steady_home(rng: &mut Rng) -> Vec<Candidate> {
    (1..=rng.between(2, 6) as u8)
        .map(|n| {
            let profile = profile(id(n), "d", 4, rng.magnitude(5e8, 2e9), 1 << 33);
            let link = Link { rtt_us: 2_000, rate_bytes_per_s: rng.magnitude(1e7, 1e8), loss_permille: 0 };
            let reach = if n == 1 { Reach::Local } else { Reach::Link(link) };
            Candidate { reach, ..Candidate::remote(id(n), profile, Trust::Member, link) }
        })
        .collect()
}

/// Noise of ±8 % in every rate can make 1.08/0.92 − 1 = 17 % of a difference, less than the margin of 20 %: whoever
/// left a device for one that truly is better never comes back to it.
#[test]
fn noise_below_the_margin_never_brings_a_task_back() {
    let rng = &mut Rng(99);
    let weights = Weights { margin_us: 0, least_stay_us: 0, move_us: 0, ..Weights::default() };
    let mut most_moves = 0;
    for _ in 0..200 {
        let home = steady_home(rng);
        let mut work =
            Work { ops: 20_000_000_000, state_bytes: 1_000, output_bytes: 1_000, ..Work::default() };
        let mut on = home[rng.between(0, home.len() as u64 - 1) as usize].id;
        let mut left = BTreeSet::new();
        let mut moves = 0;
        for _ in 0..500 {
            let mut heard = home.clone();
            for candidate in &mut heard {
                let mut noisy = |value: u64| (value as f64 * (0.92 + 0.16 * rng.unit())) as u64;
                now(candidate).rate_ops_per_s = noisy(now(candidate).rate_ops_per_s);
                if let Reach::Link(link) = &mut candidate.reach {
                    link.rate_bytes_per_s = noisy(link.rate_bytes_per_s);
                }
            }
            work.running = Some(Running::counted(on, 10_000_000, 0));
            if let Action::Move { from, to } = place(&work, &heard, &weights, &Preferences::default()).action
            {
                assert_eq!(from, on);
                left.insert(from);
                assert!(!left.contains(&to), "came back to a device it left");
                on = to;
                moves += 1;
            }
        }
        most_moves = most_moves.max(moves);
    }
    assert!(most_moves >= 1, "nothing ever moved: the test shows nothing");
}

/// Far greater noise, long sequences, default weights: the minimum stay bounds the rate of moves.
#[test]
fn wild_noise_moves_a_task_no_faster_than_the_least_stay() {
    let rng = &mut Rng(5);
    let weights = Weights::default();
    for _ in 0..50 {
        let home = steady_home(rng);
        let mut on = id(1);
        let mut moved_at = 0u64;
        for tick in 1..1_000u64 {
            let clock = tick * 500_000;
            let mut heard = home.clone();
            for candidate in &mut heard {
                now(candidate).load_permille = rng.between(0, 1000) as u16;
            }
            let running = Some(Running::counted(on, clock - moved_at, 0));
            let work = Work { ops: 50_000_000_000, parallelism: 4, running, ..Work::default() };
            if let Action::Move { to, .. } = place(&work, &heard, &weights, &Preferences::default()).action {
                assert!(clock - moved_at >= weights.least_stay_us);
                (on, moved_at) = (to, clock);
            }
        }
    }
}

fn pair(slow: u64, fast: u64) -> [Candidate; 2] {
    let link = Link { rtt_us: 1_000, rate_bytes_per_s: 100_000_000, loss_permille: 0 };
    [
        Candidate::local(id(1), Some(profile(id(1), "car", 4, slow, 1 << 33).into())),
        Candidate::remote(id(2), profile(id(2), "tv", 4, fast, 1 << 33), Trust::Member, link),
    ]
}

fn running(ops: u64, stayed_us: u64) -> Work {
    Work { ops, running: Some(Running::counted(id(1), stayed_us, ops)), home: Some(id(1)), ..Work::default() }
}

#[test]
fn a_move_must_be_worth_it() {
    let (weights, none) = (Weights::default(), Preferences::default());
    let long = 60_000_000;

    let decision =
        place(&running(10_000_000_000, long), &pair(1_000_000_000, 1_100_000_000), &weights, &none);
    assert_eq!(decision.action, Action::Stay { on: id(1) });
    assert!(matches!(decision.explanation.held, Some(Held::Margin { better, .. }) if better == id(2)));

    let decision =
        place(&running(10_000_000_000, long), &pair(1_000_000_000, 2_000_000_000), &weights, &none);
    assert_eq!(decision.action, Action::Move { from: id(1), to: id(2) });
    assert_eq!(decision.explanation.held, None);

    // Nearly done: half the time gained is less than the absolute margin.
    let decision = place(&running(900_000_000, long), &pair(1_000_000_000, 2_000_000_000), &weights, &none);
    assert_eq!(decision.action, Action::Stay { on: id(1) });

    let decision =
        place(&running(10_000_000_000, 1_000_000), &pair(1_000_000_000, 2_000_000_000), &weights, &none);
    assert!(matches!(decision.explanation.held, Some(Held::JustMoved { stayed_us: 1_000_000, .. })));
}

#[test]
fn a_device_that_no_longer_can_is_left_at_once() {
    let (weights, none) = (Weights::default(), Preferences::default());
    let work = running(1_000_000_000, 0);
    let slow_other = || pair(1_000_000_000, 100_000_000);
    let leaves = |home: &[Candidate]| {
        place(&work, home, &weights, &none).action == Action::Move { from: id(1), to: id(2) }
    };
    assert!(!leaves(&slow_other()));

    let mut home = slow_other();
    home[0].draining = true;
    assert!(leaves(&home));
    let mut home = slow_other();
    now(&mut home[0]).thermal = Thermal::Critical;
    assert!(leaves(&home));

    // And stays if nobody else can: nowhere to go.
    home[1].presence = Presence::Offline;
    assert_eq!(place(&work, &home, &weights, &none).action, Action::Nowhere);
}

#[test]
fn a_battery_around_its_floor_does_not_send_a_task_to_and_fro() {
    let rng = &mut Rng(3);
    let mut moves = 0;
    let mut on = id(2);
    for tick in 0..2_000u64 {
        let mut home = pair(200_000_000, 1_000_000_000);
        now(&mut home[1]).power = PowerSource::Battery;
        now(&mut home[1]).battery_permille = Some(rng.between(190, 225) as u16); // the floor is 200
        let mut work = running(50_000_000_000, 60_000_000);
        work.running = Some(Running::counted(on, 60_000_000 * (tick + 1), 0));
        work.privacy = Privacy::Circle;
        if let Action::Move { to, .. } =
            place(&work, &home, &Weights::default(), &Preferences::default()).action
        {
            on = to;
            moves += 1;
        }
    }
    assert_eq!((moves, on), (1, id(1)));
}
