//! Is the choice the best one? Against an oracle written apart from the model, in floating point.

use proptest::prelude::*;
use softbus_core::{BootMs, DynamicProfile, PowerSource, Privacy, TaskId, Thermal};
use softbus_placement::{
    Candidate, LeaseLimits, LeaseRequest, Leases, Link, Preferences, Reach, Trust, Weights, Work, place,
    predict, refusals,
};

use crate::home::{Rng, fixed, id, now, profile, random_home, random_work};

/// Seconds until the result of `work` (given on the deciding device) is back, if all that is said of the
/// candidate is true.
fn oracle_s(work: &Work, candidate: &Candidate, weights: &Weights) -> f64 {
    let profile = candidate.profile.as_ref().unwrap();
    let dynamic = profile.now.as_ref().unwrap();
    let heat = match dynamic.thermal {
        Thermal::Nominal => 1.0,
        Thermal::Fair => weights.thermal_fair_permille as f64 / 1e3,
        _ => weights.thermal_serious_permille as f64 / 1e3,
    };
    let idle = (1.0 - dynamic.load_permille as f64 / 1e3).max(weights.least_share_permille as f64 / 1e3);
    let free = profile.fixed.cores as f64 * idle;
    let used = free.min(work.parallelism as f64);
    let rate = dynamic.rate_ops_per_s as f64 * heat;
    let serial = work.serial_permille as f64 / 1e3;
    let compute = work.ops as f64 / rate * (serial / used.min(1.0) + (1.0 - serial) / used);
    let ops = dynamic.queued_ops as f64 + candidate.reserved.ops as f64;
    let jobs = dynamic.running_tasks as f64 + candidate.reserved.jobs as f64;
    let queue = if ops > 0.0 {
        (ops / jobs / rate).min(compute) * ((jobs + used) / free - 1.0).max(0.0)
    } else {
        0.0
    };
    let transfer = match candidate.reach {
        Reach::Local => 0.0,
        Reach::Link(link) => {
            let trip = link.rtt_us as f64 / 1e6 / (1.0 - link.loss_permille as f64 / 1e3);
            let bytes = (work.input_bytes + work.output_bytes) as f64;
            bytes / link.rate_bytes_per_s as f64 + 2.0 * trip
        }
    };
    compute + queue + transfer
}

/// Time only.
fn timed() -> Weights {
    Weights {
        energy_full_permille: 0,
        energy_empty_permille: 0,
        interactive_round_trips: 0,
        ..Weights::default()
    }
}

/// The best device by the oracle, and its time.
fn best(work: &Work, home: &[Candidate], weights: &Weights) -> Option<f64> {
    home.iter()
        .filter(|c| refusals(work, c, weights, &Preferences::default()).is_empty())
        .map(|c| oracle_s(work, c, weights))
        .min_by(f64::total_cmp)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn optimal_when_the_model_is_exact(seed: u64) {
        let rng = &mut Rng(seed);
        let (home, work, weights) = (random_home(rng), random_work(rng), timed());
        let chosen = place(&work, &home, &weights, &Preferences::default()).chosen;
        if let Some(best) = best(&work, &home, &weights) {
            let chosen = home.iter().find(|c| Some(c.id) == chosen).unwrap();
            let took = oracle_s(&work, chosen, &weights);
            prop_assert!(took <= best * 1.0001 + 1e-5, "took {took}, best {best}");
        } else {
            prop_assert_eq!(chosen, None);
        }
    }

    #[test]
    fn the_smallest_total_wins_and_equals_go_by_id(seed: u64) {
        let rng = &mut Rng(seed);
        let (mut home, work, weights) = (random_home(rng), random_work(rng), Weights::default());
        // Twins: same device under another id.
        let twin = home[home.len() - 1].clone();
        for n in [40, 30, 50] {
            home.push(Candidate { id: id(n), ..twin.clone() });
        }
        let none = Preferences::default();
        let expected = home
            .iter()
            .filter(|c| refusals(&work, c, &weights, &none).is_empty())
            .min_by_key(|c| (predict(&work, c, None, &weights, &none).total_us(), c.id))
            .map(|c| c.id);
        let decision = place(&work, &home, &weights, &none);
        prop_assert_eq!(decision.chosen, expected);
        home.reverse();
        prop_assert_eq!(place(&work, &home, &weights, &none), decision, "order of candidates must not matter");
    }
}

/// Regret (how much longer than the best possible, as a share of that) over random cases whose rates are known with
/// error only. Mean and 99th percentile. `alike` makes the devices nearly equals, so that each choice is close.
fn regret(cases: usize, alike: bool, mut error: impl FnMut(&mut Rng) -> f64) -> (f64, f64) {
    let rng = &mut Rng(2024);
    let weights = timed();
    let mut regrets = Vec::with_capacity(cases);
    while regrets.len() < cases {
        let (mut home, work) = (random_home(rng), random_work(rng));
        for candidate in home.iter_mut().filter(|c| alike && c.profile.is_some()) {
            fixed(candidate).cores = 4;
            *now(candidate) = DynamicProfile {
                rate_ops_per_s: rng.between(700_000_000, 1_400_000_000),
                memory_free_bytes: u64::MAX,
                power: PowerSource::Mains,
                ..DynamicProfile::default()
            };
        }
        let able =
            home.iter().filter(|c| refusals(&work, c, &weights, &Preferences::default()).is_empty()).count();
        let Some(best) = best(&work, &home, &weights).filter(|_| able >= 2) else {
            continue; // Without a choice there is nothing to regret.
        };
        let mut heard = home.clone();
        for candidate in &mut heard {
            let mut off = |value: u64| ((value as f64 * (1.0 + error(rng))) as u64).max(1);
            if let Reach::Link(link) = &mut candidate.reach {
                link.rate_bytes_per_s = off(link.rate_bytes_per_s);
                link.rtt_us = off(link.rtt_us);
            }
            if let Some(dynamic) = candidate.profile.as_mut().and_then(|p| p.now.as_mut()) {
                dynamic.rate_ops_per_s = off(dynamic.rate_ops_per_s);
            }
        }
        let chosen = place(&work, &heard, &weights, &Preferences::default()).chosen.unwrap();
        let chosen = home.iter().find(|c| c.id == chosen).unwrap();
        regrets.push(oracle_s(&work, chosen, &weights) / best - 1.0);
    }
    regrets.sort_by(f64::total_cmp);
    (regrets.iter().sum::<f64>() / cases as f64, regrets[cases * 99 / 100])
}

#[test]
fn regret_under_noisy_rates_is_small() {
    for (alike, homes) in [(false, "devices of all sorts"), (true, "devices nearly alike")] {
        let (mean, p99) = regret(10_000, alike, |rng| 0.4 * rng.unit() - 0.2);
        println!(
            "regret, {homes}, rates ±20 % (uniform): mean {:.2} %, p99 {:.1} %",
            mean * 100.0,
            p99 * 100.0
        );
        assert!(mean <= 0.10, "mean regret {mean}");
        assert!(p99 <= 0.50, "p99 regret {p99}: more than the error of two rates can explain");

        let (mean, p99) = regret(10_000, alike, |rng| (0.2 * rng.normal()).max(-0.9));
        println!(
            "regret, {homes}, rates σ = 20 % (normal): mean {:.2} %, p99 {:.1} %",
            mean * 100.0,
            p99 * 100.0
        );
        assert!(mean <= 0.10, "mean regret {mean}");
    }
}

/// When all is decided: each device shares its free cores among its work (as in the model, one core each); sum of
/// the times until each piece is done.
fn true_sum_s(assignment: &[usize], works: &[Work], home: &[Candidate]) -> f64 {
    let mut sum = 0.0;
    for (device, candidate) in home.iter().enumerate() {
        let profile = candidate.profile.as_ref().unwrap();
        let rate = profile.now.as_ref().unwrap().rate_ops_per_s as f64;
        let mut left: Vec<f64> =
            works.iter().zip(assignment).filter(|(_, d)| **d == device).map(|(w, _)| w.ops as f64).collect();
        left.sort_by(f64::total_cmp);
        let (mut clock, mut done) = (0.0, 0.0);
        for n in 0..left.len() {
            let sharing = (left.len() - n) as f64;
            let each = rate * (profile.fixed.cores as f64 / sharing).min(1.0);
            clock += (left[n] - done) / each;
            done = left[n];
            sum += clock;
        }
    }
    sum
}

/// Several clients, each with one piece of work, decide one after the other before any has started.
fn batch_regret(cases: u64, with_leases: bool) -> f64 {
    let rng = &mut Rng(7);
    let weights = timed();
    let mut total = 0.0;
    for _ in 0..cases {
        let home: Vec<Candidate> = (1..=4)
            .map(|n| {
                let cores = [1, 1, 2, 4][rng.between(0, 3) as usize];
                let profile = profile(id(n), "d", cores, rng.magnitude(5e8, 4e9), 1 << 33);
                Candidate { reach: Reach::Local, ..Candidate::local(id(n), Some(profile.into())) }
            })
            .collect();
        let works: Vec<Work> = (0..4)
            .map(|_| Work { ops: rng.magnitude(1e9, 5e10), privacy: Privacy::Anyone, ..Work::default() })
            .collect();
        let mut leases: Vec<Leases> = home.iter().map(|_| Leases::new(LeaseLimits::default())).collect();
        let mut chosen = Vec::new();
        for (client, work) in works.iter().enumerate() {
            let (me, task) = (id(100 + client as u8), TaskId([client as u8; 16]));
            let seen: Vec<Candidate> = home
                .iter()
                .zip(&leases)
                .map(|(c, l)| Candidate {
                    reserved: l.reserved_beside(Some((me, task)), BootMs(0)),
                    ..c.clone()
                })
                .collect();
            let to = place(work, &seen, &weights, &Preferences::default()).chosen.unwrap();
            let device = home.iter().position(|c| c.id == to).unwrap();
            if with_leases {
                let (ops, seen) = (work.ops, leases[device].last());
                let request = LeaseRequest { task, ops, memory_bytes: 0, wish_ms: 10_000, seen };
                leases[device].request(&request, me, u64::MAX, BootMs(0)).unwrap();
            }
            chosen.push(device);
        }
        let mut best = f64::MAX;
        for code in 0..4usize.pow(4) {
            let assignment: Vec<usize> = (0..4).map(|n| code / 4usize.pow(n) % 4).collect();
            best = best.min(true_sum_s(&assignment, &works, &home));
        }
        total += true_sum_s(&chosen, &works, &home) / best - 1.0;
    }
    total / cases as f64
}

#[test]
fn with_leases_clients_do_not_all_count_on_the_same_device() {
    let (with, without) = (batch_regret(1000, true), batch_regret(1000, false));
    println!(
        "four clients at once, mean regret: {:.1} % with leases, {:.1} % without",
        with * 100.0,
        without * 100.0
    );
    assert!(with <= 0.25, "{with}");
    assert!(without > 2.0 * with, "leases make no difference: {with} beside {without}");
}

#[test]
fn each_term_does_what_it_says() {
    let link = Link { rtt_us: 10_000, rate_bytes_per_s: 1_000_000, loss_permille: 0 };
    let tv = Candidate::remote(id(2), profile(id(2), "tv", 4, 1_000_000_000, 1 << 30), Trust::Member, link);
    let work = Work { ops: 8_000_000_000, input_bytes: 2_000_000, output_bytes: 500_000, ..Work::default() };
    let terms =
        |work: &Work, c: &Candidate| predict(work, c, None, &Weights::default(), &Preferences::default());

    let t = terms(&work, &tv);
    assert_eq!(
        (t.queue_us, t.transfer_in_us, t.compute_us, t.transfer_out_us),
        (0, 2_010_000, 8_000_000, 510_000)
    );
    assert_eq!((t.latency_us, t.energy_us, t.move_us, t.preference_us), (0, 0, 0, 0));
    assert_eq!(t.total_us(), 10_520_000);

    // Two cores halve it; a serial tenth does not divide.
    assert_eq!(terms(&Work { parallelism: 2, ..work.clone() }, &tv).compute_us, 4_000_000);
    let amdahl = Work { parallelism: 2, serial_permille: 100, ..work.clone() };
    assert_eq!(terms(&amdahl, &tv).compute_us, 4_400_000);

    // A device that is full to the brim with one task on its only core: half speed while both last.
    let mut shared = tv.clone();
    fixed(&mut shared).cores = 1;
    now(&mut shared).running_tasks = 1;
    now(&mut shared).queued_ops = 3_000_000_000;
    assert_eq!(terms(&work, &shared).queue_us, 3_000_000);
    // The same on four cores is no matter.
    fixed(&mut shared).cores = 4;
    assert_eq!(terms(&work, &shared).queue_us, 0);

    // What holds the input already needs none.
    let holder = Work { held_by: vec![id(2)], ..work.clone() };
    assert_eq!(terms(&holder, &tv).transfer_in_us, 0);

    // The emptier the battery, the dearer.
    let energy = |charge| {
        let mut on_battery = tv.clone();
        now(&mut on_battery).power = softbus_core::PowerSource::Battery;
        now(&mut on_battery).battery_permille = Some(charge);
        terms(&work, &on_battery).energy_us
    };
    assert_eq!(energy(1000), 1_600_000);
    assert!(energy(300) > 2 * energy(900));
    let mut plugged = tv.clone();
    now(&mut plugged).power = softbus_core::PowerSource::Mains;
    now(&mut plugged).battery_permille = Some(300);
    assert_eq!(terms(&work, &plugged).energy_us, 0);

    // Between two others: the slower of our two links.
    let beyond = Link { rtt_us: 5_000, rate_bytes_per_s: 500_000, loss_permille: 0 };
    let third = Work { home: Some(id(3)), ..work.clone() };
    let t = predict(&third, &tv, Some(&beyond), &Weights::default(), &Preferences::default());
    assert_eq!(t.transfer_in_us, 4_015_000);
    // On us, for home elsewhere.
    let us = Candidate { reach: Reach::Local, ..tv.clone() };
    let t = predict(&third, &us, Some(&beyond), &Weights::default(), &Preferences::default());
    assert_eq!(t.transfer_out_us, 1_005_000);
}
