use proptest::prelude::*;
use softbus_core::{Accelerator, AcceleratorKind, Capability, PowerSource, Privacy, Thermal};
use softbus_placement::{
    AcceleratorNeed, Candidate, Link, Needs, Preferences, Presence, Reach, Refusal, Running, Trust, Verdict,
    Weights, Work, place, refusals,
};

use crate::home::{Rng, id, now, profile, random_home, random_work};

/// The rules once more, in other words.
fn may(work: &Work, c: &Candidate, weights: &Weights) -> bool {
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
    trusted
        && (home || work.may_be_foreign)
        && c.presence == Presence::Online
        && !c.draining
        && !c.reserved.full
        && (home || c.age_us <= weights.stale_after_us)
        && dynamic.memory_free_bytes >= work.memory_bytes
        && dynamic.thermal != Thermal::Critical
        && charged
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn never_a_filtered_device_and_never_none_while_one_can(seed: u64) {
        let rng = &mut Rng(seed);
        let (home, work, weights) = (random_home(rng), random_work(rng), Weights::default());
        let decision = place(&work, &home, &weights, &Preferences::default());
        for candidate in &home {
            let allowed = may(&work, candidate, &weights);
            let refused = matches!(decision.explanation.row(&candidate.id).unwrap().verdict, Verdict::Refused(_));
            prop_assert_eq!(allowed, !refused, "{:?}", candidate);
            prop_assert!(allowed || decision.chosen != Some(candidate.id));
        }
        prop_assert_eq!(decision.chosen.is_some(), home.iter().any(|c| may(&work, c, &weights)));
    }
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
    with_small.profile.as_mut().unwrap().fixed.accelerators =
        vec![Accelerator { kind, name: "x".into(), memory_bytes: 1 << 29 }];
    assert_eq!(
        why(&with_gpu, &with_small),
        [Refusal::Accelerator { kind, needs: 1 << 30, has: Some(1 << 29) }]
    );
    with_small.profile.as_mut().unwrap().fixed.accelerators[0].memory_bytes = 0; // shares the device's
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
