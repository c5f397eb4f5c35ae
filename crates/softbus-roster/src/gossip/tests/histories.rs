//! Whatever happens in whatever order, all come to one roster.

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Link(usize, usize, bool),
    Rename(usize),
    Sample(usize),
    Restart(usize),
    Deliver(usize),
    Again(usize),
    Lose(usize),
    Pass(u64),
}

fn op(n: usize) -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..n, 0..n, prop::bool::weighted(0.7)).prop_map(|(a, b, up)| Op::Link(a, b, up)),
        2 => (0..n).prop_map(Op::Rename),
        2 => (0..n).prop_map(Op::Sample),
        1 => (0..n).prop_map(Op::Restart),
        12 => (0..64usize).prop_map(Op::Deliver),
        3 => (0..64usize).prop_map(Op::Again),
        2 => (0..64usize).prop_map(Op::Lose),
        4 => (1..3000u64).prop_map(Op::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(96)))]

    /// Whatever order, repetition, loss, relay path or restart: once a chain of links stands, all have the same
    /// roster, and nothing old ever took the place of something newer.
    #[test]
    fn one_roster_in_the_end(ops in prop::collection::vec(op(4), 0..160), chain in Just([2usize, 0, 3, 1])) {
        let mut home = Home::new(4);
        for op in ops {
            match op {
                Op::Link(a, b, up) => home.set_link(a, b, up),
                Op::Rename(i) => home.rename(i),
                Op::Sample(i) => home.sample(i),
                Op::Restart(i) => home.restart(i),
                Op::Deliver(k) => home.deliver(k, false),
                Op::Again(k) => home.deliver(k, true),
                Op::Lose(k) => home.lose(k),
                Op::Pass(ms) => home.pass(ms),
            }
        }
        for a in 0..4 {
            for b in 0..a {
                home.set_link(a, b, false);
            }
        }
        for pair in chain.windows(2) {
            home.set_link(pair[0], pair[1], true);
        }
        home.calm(15);
        home.assert_whole(&chain);
    }

    /// A removed device is gone everywhere and stays so, whoever still talks of it.
    #[test]
    fn removed_is_removed(ops in prop::collection::vec(op(4), 0..60)) {
        let mut home = Home::new(4);
        for pair in [(0, 1), (1, 2), (2, 3), (3, 0)] {
            home.set_link(pair.0, pair.1, true);
        }
        for op in ops {
            match op {
                Op::Deliver(k) => home.deliver(k, false),
                Op::Pass(ms) => home.pass(ms),
                Op::Rename(i) => home.rename(i),
                _ => {}
            }
        }
        home.remove(1);
        home.calm(5);
        home.assert_whole(&[0, 2, 3]);
        for i in [0, 2, 3] {
            prop_assert!(home.devices[i].machine.view().get(&id(1)).is_none());
        }
    }

    /// Foreign messages of any content never break the machine, nor put anyone in whom we do not trust.
    #[test]
    fn any_message_is_survived(
        versions in prop::collection::vec((0..6u8, any::<u64>(), any::<[u8; 32]>()), 0..8),
        claims in prop::collection::vec((0..6u8, 0..4u8, any::<u8>(), any::<u32>()), 0..8),
        nows in prop::collection::vec((0..6u8, any::<u64>(), any::<u64>(), any::<u64>()), 0..8),
        all_claims: bool,
        boot: u64,
    ) {
        let who = |n: u8| if n < 3 { id(n.into()) } else { DeviceId([n; 32]) };
        let mut home = Home::new(2);
        home.set_link(0, 1, true);
        home.mail.clear();
        let gossip = Gossip {
            boot,
            summary: None,
            digests: versions.iter().map(|(n, v, h)| Digest { id: who(*n), version: *v, hash: Hash(*h) }).collect(),
            want: versions.iter().map(|(n, ..)| who(*n)).collect(),
            ask: versions.iter().map(|(n, ..)| who(*n)).collect(),
            now: nows.iter().map(|(n, boot, sequence, age_ms)| {
                let mut signed = said(1, *boot, *sequence, home.wall());
                signed.signer = who(*n);
                Now { age_ms: *age_ms, signed }
            }).collect(),
            all_claims,
            claims: claims.iter().map(|(n, seen, hops, rtt_us)| Claim {
                id: who(*n),
                seen: [wire::Seen::Offline, wire::Seen::Online, wire::Seen::Suspect, wire::Seen::Asleep][*seen as usize],
                hops: *hops, rtt_us: *rtt_us,
            }).collect(),
            ..Gossip::default()
        };
        let own = home.holding((0, 0));
        home.mail.push(Mail::request(1, 0, 0, home.now, gossip));
        home.deliver(0, false);
        home.pass(1500);
        prop_assert_eq!(home.devices[0].machine.view().entries.len(), 2);
        prop_assert_eq!(home.holding((0, 0)), own, "nobody tells us how we are");
    }
}
