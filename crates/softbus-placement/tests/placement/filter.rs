use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use softbus_core::{
    Accelerator, AcceleratorKind, Capability, PowerSource, Privacy, ServiceName, ServiceOffer, StaticProfile,
    Thermal,
};
use softbus_placement::{
    AcceleratorNeed, Candidate, Link, Needs, Preferences, Presence, Reach, Refusal, Running, Trust, Verdict,
    Weights, Work, place, rank, refusals,
};

use crate::home::{Rng, fixed, id, now, profile, random_home, random_work};

/// A random home and work that asks for more than computing, and a person with wishes.
fn demanding(rng: &mut Rng) -> (Vec<Candidate>, Work, Preferences) {
    let (mut home, mut work) = (random_home(rng), random_work(rng));
    let capabilities = [Capability::Display, Capability::Camera, Capability::Named("lamp".into())];
    let kinds = [AcceleratorKind::Gpu, AcceleratorKind::Npu];
    let services: [ServiceName; 2] = ["camera/1".parse().unwrap(), "print/2".parse().unwrap()];
    let types = ["picture/1", "picture/2"];
    for candidate in &mut home {
        candidate.reserved.memory_bytes = if rng.one_in(4) { rng.magnitude(1e6, 1e9) } else { 0 };
        if candidate.profile.is_none() {
            continue;
        }
        let fixed = fixed(candidate);
        fixed.capabilities = capabilities.iter().filter(|_| !rng.one_in(5)).cloned().collect();
        fixed.services = (services.iter().filter(|_| !rng.one_in(5)))
            .map(|service| ServiceOffer { service: service.clone() })
            .collect();
        fixed.task_types = types.iter().filter(|_| !rng.one_in(5)).map(|t| (*t).to_owned()).collect();
        for kind in kinds {
            if rng.one_in(4) {
                continue;
            }
            // Some have two of a kind, some share the device's memory.
            for n in 0..rng.between(1, 2) {
                let memory_bytes = if rng.one_in(4) { 0 } else { rng.magnitude(1e8, 8e9) };
                fixed.accelerators.push(Accelerator { kind, name: n.to_string(), memory_bytes });
            }
        }
        if rng.one_in(20) {
            candidate.profile.as_mut().unwrap().now = None;
        } else if rng.one_in(20) {
            now(candidate).rate_ops_per_s = 0;
        }
    }
    let needs = &mut work.needs;
    needs.capabilities = capabilities.iter().filter(|_| rng.one_in(4)).cloned().collect();
    needs.services = services.iter().filter(|_| rng.one_in(4)).cloned().collect();
    needs.task_type = rng.one_in(2).then(|| types[rng.between(0, 1) as usize].to_owned());
    for kind in kinds {
        if rng.one_in(4) {
            needs.accelerators.push(AcceleratorNeed { kind, memory_bytes: rng.magnitude(1e8, 4e9) });
        }
    }
    work.min_rate_bytes_per_s = if rng.one_in(3) { rng.magnitude(50e3, 10e6) } else { 0 };
    let mut some = |n| (1..=8).filter(|_| rng.one_in(n)).map(id).collect::<Vec<_>>();
    let (never, mut only) = (some(12), some(2));
    if !rng.one_in(8) {
        only.clear();
    }
    (home, work, Preferences { never, only, ..Preferences::default() })
}

/// The rules once more, in other words.
fn may(work: &Work, c: &Candidate, weights: &Weights, wishes: &Preferences) -> bool {
    let Some(profile) = &c.profile else { return false };
    let Some(dynamic) = &profile.now else { return false };
    let home = c.reach == Reach::Local;
    let trusted = match work.privacy {
        Privacy::Device => home,
        Privacy::Owners => home || c.trust == Trust::Owner,
        Privacy::Circle => home || c.trust != Trust::Guest,
        Privacy::Anyone => true,
    };
    let on_battery = dynamic.battery_permille.is_some() && dynamic.power != PowerSource::Mains;
    let charged = home
        || !on_battery
        || dynamic.battery_permille.unwrap()
            >= profile.fixed.battery_floor_permille + weights.battery_margin_permille;
    let wished = !wishes.never.contains(&c.id) && (wishes.only.is_empty() || wishes.only.contains(&c.id));
    let fast = match c.reach {
        Reach::Local => true,
        Reach::Link(link) => link.rate_bytes_per_s == 0 || link.rate_bytes_per_s >= work.min_rate_bytes_per_s,
    };
    wished
        && trusted
        && (home || work.may_be_foreign)
        && c.presence == Presence::Online
        && !c.draining
        && !c.reserved.full
        && (home || c.age_us <= weights.stale_after_us)
        && dynamic.rate_ops_per_s > 0
        && dynamic.memory_free_bytes >= work.memory_bytes + c.reserved.memory_bytes
        && dynamic.thermal != Thermal::Critical
        && charged
        && fast
        && has_all(&work.needs, &profile.fixed)
}

/// Whether the device has what the work asks for by name.
fn has_all(needs: &Needs, fixed: &StaticProfile) -> bool {
    let offered: BTreeSet<_> = fixed.services.iter().map(|offer| &offer.service).collect();
    let capable: BTreeSet<_> = fixed.capabilities.iter().collect();
    let strong_enough = |need: &AcceleratorNeed| {
        fixed.accelerators.iter().any(|a| {
            let own = if a.memory_bytes > 0 { a.memory_bytes } else { fixed.memory_bytes };
            a.kind == need.kind && own >= need.memory_bytes
        })
    };
    needs.services.iter().all(|service| offered.contains(service))
        && needs.capabilities.iter().all(|capability| capable.contains(capability))
        && needs.accelerators.iter().all(strong_enough)
        && needs.task_type.iter().all(|kind| fixed.task_types.contains(kind))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn never_a_filtered_device_and_never_none_while_one_can(seed: u64) {
        let rng = &mut Rng(seed);
        let weights = Weights::default();
        let (home, work, wishes) = demanding(rng);
        let decision = place(&work, &home, &weights, &wishes);
        for candidate in &home {
            let allowed = may(&work, candidate, &weights, &wishes);
            let refused = matches!(decision.explanation.row(&candidate.id).unwrap().verdict, Verdict::Refused(_));
            prop_assert_eq!(allowed, !refused, "{:?}", candidate);
            prop_assert!(allowed || decision.chosen != Some(candidate.id));
        }
        prop_assert_eq!(decision.chosen.is_some(), home.iter().any(|c| may(&work, c, &weights, &wishes)));
    }

    /// For starting work and for running work, for lists in any order and with an entry that is there twice.
    #[test]
    fn the_ranking_without_reasons_is_that_with_them(seed: u64) {
        let rng = &mut Rng(seed);
        let weights = Weights::default();
        let (mut home, mut work, wishes) = demanding(rng);
        if rng.one_in(2) {
            let on = home[rng.between(0, home.len() as u64 - 1) as usize].id;
            work.running = Some(Running::counted(on, rng.magnitude(1e5, 1e8), work.ops));
        }
        if rng.one_in(2) {
            home.reverse();
            let again = random_home(rng).remove(0);
            home.push(again);
        }
        let decision = place(&work, &home, &weights, &wishes);
        let rows = decision.explanation.rows.iter();
        let able: Vec<_> =
            rows.filter(|row| !matches!(row.verdict, Verdict::Refused(_))).map(|row| row.id).collect();
        prop_assert_eq!(rank(&work, &home, &weights, &wishes), (decision.action, able));
    }
}

/// A name for each hard filter. A new one does not compile before it has one, and is then missed in the count below.
fn filter(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Excluded => "excluded",
        Refusal::NotHome { .. } => "not home",
        Refusal::Trust { .. } => "trust",
        Refusal::Absent { .. } => "absent",
        Refusal::Draining => "draining",
        Refusal::NoProfile => "no profile",
        Refusal::Stale { .. } => "stale",
        Refusal::NoSpeed => "no speed",
        Refusal::Memory { .. } => "memory",
        Refusal::Capability { .. } => "capability",
        Refusal::Accelerator { .. } => "accelerator",
        Refusal::Service { .. } => "service",
        Refusal::TaskType { .. } => "task type",
        Refusal::Battery { .. } => "battery",
        Refusal::Thermal => "thermal",
        Refusal::LeasesFull { .. } => "leases full",
        Refusal::Slow { .. } => "slow",
    }
}

/// The property above would notice if any one filter were missing: each is often the only one that keeps a device out,
/// and many devices pass all.
#[test]
fn the_cases_hit_every_filter_alone() {
    let mut alone: BTreeMap<&str, u32> = BTreeMap::new();
    let mut able = 0;
    for seed in 0..4000 {
        let (home, work, wishes) = demanding(&mut Rng(seed));
        for candidate in &home {
            let reasons = refusals(&work, candidate, &Weights::default(), &wishes);
            match reasons.as_slice() {
                [] => able += 1,
                [one] => *alone.entry(filter(one)).or_default() += 1,
                _ => {}
            }
        }
    }
    assert_eq!(alone.len(), 17, "{alone:?}");
    assert!(alone.values().all(|times| *times >= 10), "{alone:?}");
    assert!(able >= 1000, "{able}");
}

fn tv() -> Candidate {
    Candidate::remote(id(2), profile(id(2), "tv", 4, 1_000_000_000, 1 << 30), Trust::Member, Link::default())
}

fn why(work: &Work, candidate: &Candidate) -> Vec<Refusal> {
    refusals(work, candidate, &Weights::default(), &Preferences::default())
}

#[test]
fn each_reason_has_its_numbers() {
    let work = Work { memory_bytes: 200 << 20, ..Work::default() };
    assert_eq!(why(&work, &tv()), []);

    let with = |change: &dyn Fn(&mut Candidate)| {
        let mut candidate = tv();
        change(&mut candidate);
        why(&work, &candidate)
    };
    let (needs, has) = (200 << 20, 64 << 20);
    assert_eq!(with(&|c| now(c).memory_free_bytes = has), [Refusal::Memory { needs, has }]);
    assert_eq!(with(&|c| c.reserved.memory_bytes = (1 << 30) - has), [Refusal::Memory { needs, has }]);
    assert_eq!(
        with(&|c| c.trust = Trust::Guest),
        [Refusal::Trust { needs: Trust::Member, has: Trust::Guest, privacy: Privacy::Circle }]
    );
    for presence in [Presence::Suspect, Presence::Asleep, Presence::Offline] {
        assert_eq!(with(&|c| c.presence = presence), [Refusal::Absent { presence }]);
    }
    assert_eq!(with(&|c| c.draining = true), [Refusal::Draining]);
    assert_eq!(with(&|c| c.profile = None), [Refusal::NoProfile]);
    assert_eq!(with(&|c| c.profile.as_mut().unwrap().now = None), [Refusal::NoProfile]);
    assert_eq!(
        with(&|c| c.age_us = 30_000_001),
        [Refusal::Stale { age_us: 30_000_001, limit_us: 30_000_000 }]
    );
    assert_eq!(with(&|c| now(c).rate_ops_per_s = 0), [Refusal::NoSpeed]);
    assert_eq!(with(&|c| now(c).thermal = Thermal::Critical), [Refusal::Thermal]);
    assert_eq!(
        with(&|c| {
            c.reserved.full = true;
            c.reserved.jobs = 3;
        }),
        [Refusal::LeasesFull { jobs: 3 }]
    );
    let battery = |charge| {
        with(&move |c| {
            now(c).battery_permille = Some(charge);
            now(c).power = PowerSource::Battery;
        })
    };
    assert_eq!(battery(229), [Refusal::Battery { has: 229, needs: 230 }]);
    assert_eq!(battery(230), []);
}

#[test]
fn what_work_needs_is_asked_for_by_name() {
    let gpu = |memory_bytes| AcceleratorNeed { kind: AcceleratorKind::Gpu, memory_bytes };
    let work = |needs| Work { needs, ..Work::default() };
    let display = Capability::Display;
    assert_eq!(
        why(&work(Needs { capabilities: vec![display.clone()], ..Needs::default() }), &tv()),
        [Refusal::Capability { missing: display.clone() }]
    );
    let task_type = Some("picture/1".to_string());
    assert_eq!(
        why(&work(Needs { task_type, ..Needs::default() }), &tv()),
        [Refusal::TaskType { missing: "picture/1".into() }]
    );
    let camera: softbus_core::ServiceName = "camera/1".parse().unwrap();
    assert_eq!(
        why(&work(Needs { services: vec![camera.clone()], ..Needs::default() }), &tv()),
        [Refusal::Service { missing: camera }]
    );
    let with_gpu = work(Needs { accelerators: vec![gpu(1 << 30)], ..Needs::default() });
    let kind = AcceleratorKind::Gpu;
    assert_eq!(why(&with_gpu, &tv()), [Refusal::Accelerator { kind, needs: 1 << 30, has: None }]);
    let mut with_small = tv();
    fixed(&mut with_small).accelerators = vec![Accelerator { kind, name: "x".into(), memory_bytes: 1 << 29 }];
    assert_eq!(
        why(&with_gpu, &with_small),
        [Refusal::Accelerator { kind, needs: 1 << 30, has: Some(1 << 29) }]
    );
    fixed(&mut with_small).accelerators[0].memory_bytes = 0; // shares the device's
    assert_eq!(why(&with_gpu, &with_small), []);
    let slow = Work { min_rate_bytes_per_s: 1000, ..Work::default() };
    let mut far = tv();
    assert_eq!(why(&slow, &far), [], "an unmeasured link is given the benefit of the doubt");
    far.reach = Reach::Link(Link { rate_bytes_per_s: 999, ..Link::default() });
    assert_eq!(why(&slow, &far), [Refusal::Slow { has: 999, needs: 1000 }]);
}

#[test]
fn private_work_stays_home_and_home_may_be_elsewhere() {
    let work = Work { privacy: Privacy::Device, home: Some(id(2)), ..Work::default() };
    assert_eq!(why(&work, &tv()), []);
    let here = Candidate::local(id(1), tv().profile);
    assert_eq!(why(&work, &here), [Refusal::NotHome { privacy: Privacy::Device }]);
    let bound = Work { may_be_foreign: false, ..Work::default() };
    assert_eq!(why(&bound, &here), []);
    assert_eq!(why(&bound, &tv()), [Refusal::NotHome { privacy: Privacy::Circle }]);
}

#[test]
fn what_runs_there_does_not_count_against_itself() {
    let work = Work {
        memory_bytes: 200 << 20,
        running: Some(Running::counted(id(2), 0, 0)),
        home: Some(id(1)),
        ..Work::default()
    };
    let mut busy = tv();
    now(&mut busy).memory_free_bytes = 0;
    now(&mut busy).battery_permille = Some(201);
    now(&mut busy).power = PowerSource::Battery;
    busy.reserved.full = true;
    busy.presence = Presence::Suspect;
    assert_eq!(why(&work, &busy), []);
    now(&mut busy).battery_permille = Some(199);
    assert_eq!(why(&work, &busy), [Refusal::Battery { has: 199, needs: 200 }]);
}

#[test]
fn a_person_has_the_last_word() {
    let home = [Candidate::local(id(1), tv().profile), tv()];
    let work = Work { ops: 1_000_000_000, ..Work::default() };
    let chosen = |wishes| place(&work, &home, &Weights::default(), &wishes).chosen;
    assert_eq!(chosen(Preferences::default()), Some(id(1)));
    assert_eq!(chosen(Preferences { only: vec![id(2)], ..Preferences::default() }), Some(id(2)));
    assert_eq!(chosen(Preferences { never: vec![id(1)], ..Preferences::default() }), Some(id(2)));
    assert_eq!(chosen(Preferences { prefer: vec![id(2)], ..Preferences::default() }), Some(id(2)));
    assert_eq!(chosen(Preferences { avoid: vec![id(1)], ..Preferences::default() }), Some(id(2)));
    assert_eq!(chosen(Preferences { only: vec![id(9)], ..Preferences::default() }), None);
}
