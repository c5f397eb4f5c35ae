//! Absurd numbers from foreign profiles: no panic, no overflow, and still a full explanation.

use proptest::prelude::*;
use softbus_core::{DynamicProfile, Latency, PowerSource, Privacy, Thermal, WallMs};
use softbus_placement::{
    Candidate, Explanation, Link, Preferences, Presence, Reach, Reserved, Running, Trust, Verdict, Weights,
    Work, place,
};

use crate::home::{id, profile};

/// Mostly the ends of the range.
fn wild() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(u64::MAX), Just(u64::MAX - 1), Just(1 << 60), any::<u64>(), 0u64..2000]
}

prop_compose! {
    fn wild_profile()(
        rate in wild(), load: u16, free in wild(), memory in wild(), battery: Option<u16>, cores: u16, floor: u16,
        running_tasks: u16, queued_ops in wild(), power in 0..3u8, thermal in 0..4u8, name in ".{0,80}",
    ) -> softbus_core::Profile {
        let mut profile = profile(id(0), &name, cores, rate, memory);
        profile.fixed.battery_floor_permille = floor;
        profile.now = Some(DynamicProfile {
            sequence: 0,
            sampled: WallMs(u64::MAX),
            rate_ops_per_s: rate,
            load_permille: load,
            memory_free_bytes: free,
            battery_permille: battery,
            power: [PowerSource::Unknown, PowerSource::Mains, PowerSource::Battery][power as usize],
            thermal: [Thermal::Nominal, Thermal::Fair, Thermal::Serious, Thermal::Critical][thermal as usize],
            running_tasks,
            queued_ops,
            ..DynamicProfile::default()
        });
        profile
    }
}

prop_compose! {
    fn wild_candidate()(
        n in 0u8..12, profile in proptest::option::weighted(0.95, wild_profile()), age_us in wild(), local: bool,
        rtt_us in wild(), rate_bytes_per_s in wild(), loss_permille: u16, jobs: u32, ops in wild(), memory in wild(),
    ) -> Candidate {
        let link = Link { rtt_us, rate_bytes_per_s, loss_permille };
        Candidate {
            id: id(n),
            profile: profile.map(Into::into),
            trust: Trust::Owner,
            presence: Presence::Online,
            age_us,
            reach: if local { Reach::Local } else { Reach::Link(link) },
            reserved: Reserved { jobs, ops, memory_bytes: memory, full: false },
            draining: false,
        }
    }
}

prop_compose! {
    fn wild_work()(
        ops in wild(), parallelism: u16, serial_permille: u16, input_bytes in wild(), output_bytes in wild(),
        state_bytes in wild(), home in proptest::option::of(0u8..12), running in proptest::option::of(0u8..12),
        stayed_us in wild(), own_queued_ops in wild(), own_load_permille: u16, own_counted: bool, latency in 0..3u8,
    ) -> Work {
        Work {
            ops, parallelism, serial_permille, input_bytes, output_bytes, state_bytes,
            privacy: Privacy::Anyone,
            latency: [Latency::Background, Latency::Normal, Latency::Interactive][latency as usize],
            home: home.map(id),
            running: running.map(|n| {
                Running { on: id(n), stayed_us, own_queued_ops, own_counted, own_load_permille }
            }),
            ..Work::default()
        }
    }
}

prop_compose! {
    fn wild_weights()(a in wild(), b in wild(), c in wild(), d in wild(), p: u16, q: u16, r: u32, s: u32, t: u16) -> Weights {
        Weights {
            stale_after_us: u64::MAX,
            assumed_rate_bytes_per_s: a,
            assumed_rtt_us: b,
            least_share_permille: p,
            thermal_fair_permille: q,
            thermal_serious_permille: t,
            energy_full_permille: r,
            energy_empty_permille: s,
            battery_margin_permille: t,
            interactive_round_trips: r,
            move_us: c,
            move_round_trips: s,
            margin_us: d,
            margin_permille: p,
            least_stay_us: b,
            prefer_permille: q,
            avoid_permille: p,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn no_numbers_are_too_absurd(
        work in wild_work(), home in proptest::collection::vec(wild_candidate(), 0..8),
        weights in prop_oneof![Just(Weights::default()), wild_weights()],
    ) {
        let wishes = Preferences { prefer: vec![id(1), id(2)], avoid: vec![id(2), id(3)], ..Preferences::default() };
        let decision = place(&work, &home, &weights, &wishes);

        // Every candidate exactly once.
        let mut listed: Vec<_> = decision.explanation.rows.iter().map(|row| row.id).collect();
        listed.sort();
        let mut known: Vec<_> = home.iter().map(|c| c.id).collect();
        known.sort();
        known.dedup();
        prop_assert_eq!(&listed, &known);

        // One is chosen, or none, and the rows say so.
        let chosen: Vec<_> = decision
            .explanation.rows.iter().filter(|row| row.verdict == Verdict::Chosen).map(|row| Some(row.id)).collect();
        prop_assert!(chosen.len() <= 1);
        prop_assert_eq!(chosen.first().copied().flatten(), decision.chosen);

        let text = decision.explanation.to_string();
        prop_assert_eq!(text.lines().count(), if home.is_empty() { 1 } else { known.len() + 3 });
        prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");

        // It can travel.
        let bytes = postcard::to_allocvec(&decision).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<softbus_placement::Decision>(&bytes).unwrap(), &decision);
        let json = serde_json::to_string(&decision.explanation).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Explanation>(&json).unwrap(), &decision.explanation);
    }
}
