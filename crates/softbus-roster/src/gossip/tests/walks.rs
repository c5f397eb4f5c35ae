//! Single walks: what a person would tell of it.

use super::*;

#[test]
fn a_chain_sees_its_far_end_through_its_neighbours() {
    let mut home = Home::new(5);
    for i in 0..4 {
        home.set_link(i, i + 1, true);
    }
    home.calm(3);
    home.assert_whole(&[0, 1, 2, 3, 4]);
    assert_eq!(home.present(0, 1).1, Source::Direct);
    let Source::Via { neighbour, hops, rtt_us } = home.present(0, 4).1 else { panic!() };
    assert_eq!((neighbour, hops, rtt_us), (id(1), 2, 4000));

    // The far end goes: nobody keeps it alive by hearsay.
    home.set_link(3, 4, false);
    home.calm(6);
    for i in 0..4 {
        assert_eq!(home.present(i, 4), (Presence::Offline, Source::Nobody), "{i}");
    }
    // Its profile stays known.
    assert_eq!(home.holding((0, 4)).0, home.holding((4, 4)).0);
}

#[test]
fn hearsay_has_an_end_and_profiles_have_none() {
    let mut home = Home::new(7);
    for i in 0..6 {
        home.set_link(i, i + 1, true);
    }
    home.calm(5);
    let Source::Via { hops, .. } = home.present(0, 5).1 else { panic!() };
    assert_eq!(hops, wire::CLAIM_HOPS);
    assert_eq!(home.present(0, 6), (Presence::Offline, Source::Nobody), "too far to hear of");
    assert_eq!(home.holding((0, 6)).0, home.holding((6, 6)).0, "its profile came all the way");
}

#[test]
fn in_a_full_mesh_a_lost_device_is_offline_at_once() {
    let mut home = Home::new(4);
    for a in 0..4 {
        for b in 0..a {
            home.set_link(a, b, true);
        }
    }
    home.calm(3);
    // Device 3 dies; 0 notices first, while 1 and 2 still say that they see it.
    home.set_link(0, 3, false);
    assert_eq!(home.present(0, 3), (Presence::Offline, Source::Direct));
    home.set_link(1, 3, false);
    home.set_link(2, 3, false);
    home.calm(5);
    for i in 0..3 {
        assert_eq!(home.present(i, 3), (Presence::Offline, Source::Nobody));
    }

    // Only the link 0–1 is cut: after the hold-down they see each other through 2.
    home.set_link(0, 1, false);
    assert_eq!(home.present(0, 1).0, Presence::Offline);
    home.calm(5);
    let (presence, source) = home.present(0, 1);
    assert_eq!(presence, Presence::Online);
    assert!(matches!(source, Source::Via { neighbour, hops: 0, .. } if neighbour == id(2)), "{source:?}");
}

#[test]
fn a_link_that_rests_hides_nobody_whom_others_see_and_a_sleeper_sleeps() {
    let mut home = Home::new(3);
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        home.set_link(a, b, true);
    }
    home.calm(3);
    let show = |home: &mut Home, presence, resting| {
        home.still.insert((0, 2), (presence, resting));
        home.tell_links(0);
        home.tell_links(2);
        home.present(0, 2)
    };
    // It says that it sleeps, and 1 has not heard of it yet.
    assert_eq!(show(&mut home, Presence::Asleep, false), (Presence::Asleep, Source::Direct));
    let (presence, source) = show(&mut home, Presence::Asleep, true);
    assert_eq!(presence, Presence::Online);
    assert!(matches!(source, Source::Via { neighbour, .. } if neighbour == id(1)), "{source:?}");
    // It rests for longer than that tells anything: it was not lost by that.
    assert_eq!(show(&mut home, Presence::Offline, false).0, Presence::Online);
    // Nobody else sees it either.
    assert_eq!(show(&mut home, Presence::Asleep, true).0, Presence::Online);
    home.set_link(1, 2, false);
    home.calm(5);
    assert_eq!(home.present(0, 2), (Presence::Asleep, Source::Direct));
}

#[test]
fn who_sleeps_or_rests_keeps_nobody_alive() {
    for resting in [false, true] {
        let mut home = Home::new(3);
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            home.set_link(a, b, true);
        }
        home.calm(3);
        // 1 has said that it sees 2, and is silent from here on. 2 dies.
        let show = |home: &mut Home, presence, resting| {
            home.still.insert((0, 1), (presence, resting));
            home.tell_links(0);
            home.tell_links(1);
        };
        show(&mut home, Presence::Asleep, resting);
        home.set_link(0, 2, false);
        home.set_link(1, 2, false);
        home.calm(5);
        assert_eq!(home.present(0, 2), (Presence::Offline, Source::Nobody), "resting: {resting}");
        show(&mut home, Presence::Offline, false);
        assert_eq!(home.present(0, 2), (Presence::Offline, Source::Nobody), "resting: {resting}");
        // It is there again: what it said before counts no more, what it says then does.
        show(&mut home, Presence::Online, false);
        assert_eq!(home.present(0, 2), (Presence::Offline, Source::Nobody), "resting: {resting}");
        home.set_link(1, 2, true);
        home.calm(1);
        assert_eq!(home.present(0, 2).0, Presence::Online, "resting: {resting}");
        // And whom one saw only through it goes with it.
        show(&mut home, Presence::Asleep, resting);
        assert_eq!(home.present(0, 2), (Presence::Offline, Source::Nobody), "resting: {resting}");
    }
}

#[test]
fn those_who_only_rest_with_a_device_do_not_testify_for_each_other() {
    // 0 and 1 rest with 2, which 3 sees.
    let mut home = Home::new(4);
    for pair in [(0, 2), (1, 2)] {
        home.still.insert(pair, (Presence::Asleep, true));
    }
    for (a, b) in [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)] {
        home.set_link(a, b, true);
    }
    home.calm(3);
    assert_eq!(home.present(0, 2).0, Presence::Online);
    home.set_link(2, 3, false);
    home.calm(1);
    let seq = |home: &Home, i: usize| home.devices[i].machine.view().seq;
    let before = (seq(&home, 0), seq(&home, 1));
    home.calm(5);
    for i in [0, 1] {
        assert_eq!(home.present(i, 2), (Presence::Asleep, Source::Direct), "{i}");
    }
    assert_eq!((seq(&home, 0), seq(&home, 1)), before, "and it stays so");
    assert_eq!(
        home.present(3, 2),
        (Presence::Offline, Source::Nobody),
        "who lost it is not told that it sleeps"
    );
}

#[test]
fn only_news_travels() {
    let mut home = Home::new(3);
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        home.set_link(a, b, true);
    }
    home.calm(5);
    // All is told: from here on only heartbeats, which carry nothing else.
    for _ in 0..50 {
        home.pass(100);
        for mail in &home.mail {
            let What::Request(gossip) = &mail.what else { continue };
            assert!(gossip.digests.is_empty() && gossip.claims.is_empty() && gossip.summary.is_none());
            assert_eq!((gossip.now.len(), gossip.want.len()), (1, 0));
        }
        while !home.mail.is_empty() {
            home.deliver(0, false);
        }
    }
    // A new profile is fetched once by each.
    home.rename(0);
    let mut carried = 0;
    for _ in 0..10 {
        home.pass(100);
        while !home.mail.is_empty() {
            if let What::Answer(Ok(gossip)) = &home.mail[0].what {
                carried += gossip.profiles.len();
            }
            home.deliver(0, false);
        }
    }
    home.assert_whole(&[0, 1, 2]);
    assert_eq!(carried, 2);
}

#[test]
fn forged_and_foreign_profiles_are_refused() {
    let mut home = Home::new(2);
    home.set_link(0, 1, true);
    home.calm(1);
    let before = home.holding((0, 1));
    let good = StaticProfile {
        id: id(1),
        version: u64::MAX,
        issued: home.wall(),
        expires: home.wall().after(limits::LIFETIME),
        ..draft("forged")
    };
    let by_another = sign(&key(9), &good);
    let mut stolen = by_another.clone();
    stolen.signer = id(1);
    let stranger = sign(&key(9), &StaticProfile { id: key(9).id(), ..good.clone() });
    let mut flipped = sign(&key(2), &good);
    flipped.body[20] ^= 4;
    for signed in [by_another, stolen, stranger, flipped] {
        let mut actions = Vec::new();
        let wall = home.wall();
        assert!(!home.devices[0].machine.hear_profile(id(1), signed, wall, &mut actions));
        assert_eq!(actions, []);
    }
    home.calm(1);
    assert_eq!(home.holding((0, 1)).0, before.0);
    assert_eq!(home.devices[0].machine.view().entries.len(), 2);
}

#[test]
fn how_a_device_is_is_passed_on_only_in_its_own_words() {
    let mut home = Home::new(3);
    home.set_link(0, 1, true);
    home.set_link(1, 2, true);
    home.calm(3);
    // 1 says how 2 is, whatever it says of its age.
    let tell = |home: &mut Home, age_ms: u64, signed: Signed| {
        let wall = home.wall();
        let gossip = Gossip { boot: 1, now: vec![Now { age_ms, signed }], ..Gossip::default() };
        home.devices[0].machine.told(id(1), gossip, home.now, wall);
        home.holding((0, 2)).1
    };
    let wall = home.wall();
    let nothing = (0, 0);
    assert_eq!(home.holding((0, 2)).1, nothing, "nobody asked yet");

    let good = said(2, 7, 5, wall);
    let mut others = said(1, 7, 5, wall);
    others.signer = id(2);
    let mut changed = good.clone();
    *changed.body.last_mut().unwrap() ^= 1;
    let purpose = Signed::new(&*key(3), Domain::PROFILE, good.body.clone());
    let at = |ms: u64| WallMs(wall.0 - ms);
    let over = said(2, 7, 5, at(60_000));
    let ahead = said(2, 7, 5, wall.after(Duration::from_secs(61)));
    let long = Present {
        boot: 7,
        expires: wall.after(Duration::from_secs(61)),
        profile: DynamicProfile { sequence: 5, sampled: wall, ..DynamicProfile::default() },
    };
    let long = Signed::new(&*key(3), Domain::PRESENT, encode(&long).unwrap());
    let forged = [
        ("by another", others),
        ("changed", changed),
        ("for another purpose", purpose),
        ("over", over),
        ("from the future", ahead),
        ("for ever", long),
    ];
    for (how, signed) in forged {
        assert_eq!(tell(&mut home, 0, signed), nothing, "{how}");
    }

    assert_eq!(tell(&mut home, 0, good.clone()), (7, 5));
    // Said again after something newer, it is old news, in this start of 2 or the next.
    assert_eq!(tell(&mut home, 0, said(2, 8, 1, wall)), (8, 1));
    assert_eq!(tell(&mut home, 0, good), (8, 1));
    assert_eq!(tell(&mut home, 0, said(2, 8, 0, wall)), (8, 1));
    // It is as old as it says itself.
    assert_eq!(tell(&mut home, 0, said(2, 8, 2, at(40_000))), (8, 2));
    let known = home.devices[0].machine.view().get(&id(2)).unwrap().now.clone().unwrap();
    assert_eq!(known.age(home.now), Duration::from_secs(40));
}

#[test]
fn a_question_brings_what_gossip_has_not_brought_yet() {
    let mut home = Home::new(2);
    home.set_link(0, 1, true);
    home.mail.clear();
    let (now, wall) = (home.now, home.wall());
    assert_eq!(home.holding((0, 1)), (0, (0, 0)), "the link is up, and that is all");
    let boot = home.devices[0].machine.boot();
    let ask = Gossip { boot, ask: vec![id(1)], want: vec![id(1)], ..Gossip::default() };
    let answer = home.devices[1].machine.requested(id(0), ask, now, wall).0.unwrap();
    let actions = home.devices[0].machine.told(id(1), answer, now, wall);
    assert!(actions.iter().any(|action| matches!(action, Action::Persist(_))), "{actions:?}");
    home.perform(0, actions);
    assert_eq!(home.holding((0, 1)), home.holding((1, 1)));
}

#[test]
fn a_sample_is_signed_once_and_only_if_it_is_told() {
    let mut home = Home::new(3);
    home.mail.clear();
    home.sample(0);
    assert!(home.devices[0].machine.books[&id(0)].now_signed.is_none(), "nobody to tell");
    home.set_link(0, 1, true);
    home.set_link(0, 2, true);
    let told: BTreeSet<_> = home
        .mail
        .iter()
        .filter(|mail| mail.from == 0)
        .filter_map(Mail::gossip)
        .flat_map(|gossip| gossip.now.iter().map(|now| now.signed.sig.to_bytes()))
        .collect();
    assert_eq!(told.len(), 1);
    home.calm(1);
    // What was asked of a neighbour is what the device itself said.
    let (now, wall) = (home.now, home.wall());
    let ask = Gossip { boot: home.devices[1].machine.boot(), ask: vec![id(2)], ..Gossip::default() };
    let answer = home.devices[0].machine.requested(id(1), ask, now, wall).0.unwrap();
    let [passed] = answer.now.as_slice() else { panic!("{answer:?}") };
    assert_eq!(passed.signed.signer, id(2));
    home.devices[1].machine.told(id(0), answer.clone(), now, wall);
    assert_eq!(home.holding((1, 2)).1, home.holding((2, 2)).1);
}

#[test]
fn of_two_profiles_with_one_version_all_keep_the_same() {
    let profile = |name: &str| StaticProfile {
        id: id(1),
        version: WALL + 50,
        issued: WallMs(WALL),
        expires: WallMs(WALL).after(limits::LIFETIME),
        ..draft(name)
    };
    let (a, b) = (sign(&key(2), &profile("a")), sign(&key(2), &profile("b")));
    let larger = a.hash().max(b.hash());
    for order in [[&a, &b], [&b, &a]] {
        let mut home = Home::new(2);
        let wall = home.wall();
        for signed in order {
            home.devices[0].machine.hear_profile(id(1), signed.clone(), wall, &mut Vec::new());
        }
        let known = home.devices[0].machine.books[&id(1)].profile.clone().unwrap();
        assert_eq!(known.digest.hash, larger);
    }
}

#[test]
fn a_profile_of_ours_that_we_do_not_know_is_outrun() {
    let mut home = Home::new(2);
    let wall = home.wall();
    let older = StaticProfile {
        id: id(0),
        version: wall.0 + 1000,
        issued: wall,
        expires: wall.after(limits::LIFETIME),
        ..draft("from before the disk was lost")
    };
    let mut actions = Vec::new();
    home.devices[0].machine.hear_profile(id(1), sign(&key(1), &older), wall, &mut actions);
    assert_eq!(actions, [Action::Outrun(wall.0 + 1000)]);
    assert_eq!(home.holding((0, 0)).0, home.devices[0].author.version());
}

#[test]
fn circles_do_not_learn_of_each_other_through_us() {
    // 0 is in one circle with 1 and in another with 2.
    let mut home = Home::new(3);
    let mut trust = home.trust(0);
    trust.groups = vec![group(Role::Member, &[(1, Role::Member)]), group(Role::Member, &[(2, Role::Member)])];
    home.devices[0].machine.trust(trust, home.now);
    home.mail.clear();
    home.set_link(0, 1, true);
    home.set_link(0, 2, true);
    for _ in 0..200 {
        for mail in &home.mail {
            let Some(gossip) = mail.gossip() else { continue };
            if (mail.from, mail.to) == (0, 1) {
                assert!(gossip.digests.iter().all(|d| d.id != id(2)));
                assert!(gossip.claims.iter().all(|c| c.id != id(2)));
                assert!(gossip.profiles.iter().all(|p| p.signer != id(2)));
            }
        }
        if home.mail.is_empty() {
            home.pass(100);
        } else {
            home.deliver(0, false);
        }
    }
    assert!(home.holding((1, 0)).0 > 0, "it does know us");
    assert_eq!(home.holding((1, 2)), (0, (0, 0)));
}

/// Device 0 is in the circle of 1 and 2, whose guest is 3, and in another with 3 and 4 as members.
fn two_circles() -> Home {
    let mut home = Home::new(5);
    let first = [(0, Role::Member), (1, Role::Owner), (2, Role::Member), (3, Role::Guest)];
    let second = [(0, Role::Owner), (3, Role::Member), (4, Role::Member)];
    for me in 0..5 {
        let mut trust = Trust::default();
        for circle in [&first[..], &second[..]] {
            let Some((_, own)) = circle.iter().find(|(n, _)| *n == me) else { continue };
            let others: Vec<_> = circle.iter().filter(|(n, _)| *n != me).copied().collect();
            for (n, role) in &others {
                let best = trust.devices.get(&id(*n)).map_or(*role, |known| known.role.max(*role));
                trust.devices.insert(id(*n), Member { role: best, speaks: true });
            }
            trust.own_role = trust.own_role.max(Some(*own));
            trust.groups.push(group(*own, &others));
        }
        home.devices[me].machine.trust(trust, home.now);
    }
    home.mail.clear();
    home
}

#[test]
fn a_guest_of_one_circle_hears_nothing_of_it_though_it_is_a_member_of_another() {
    let mut home = two_circles();
    for (a, b) in [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2)] {
        home.set_link(a, b, true);
    }
    for _ in 0..300 {
        for mail in home.mail.iter().filter(|mail| mail.to == 3) {
            let Some(gossip) = mail.gossip() else { continue };
            for hidden in [id(1), id(2)] {
                assert!(gossip.digests.iter().all(|d| d.id != hidden));
                assert!(gossip.claims.iter().all(|c| c.id != hidden));
                assert!(gossip.profiles.iter().all(|p| p.signer != hidden));
                assert!(gossip.now.iter().all(|n| n.signed.signer != hidden));
            }
        }
        match home.mail.is_empty() {
            true => home.pass(100),
            false => home.deliver(0, false),
        }
    }
    // It asks for one of whom it knows the id, and gets nothing.
    let ask = Gossip { boot: home.boots, want: vec![id(1)], ask: vec![id(1), id(4)], ..Gossip::default() };
    let (now, wall) = (home.now, home.wall());
    let answer = home.devices[0].machine.requested(id(3), ask, now, wall).0.unwrap();
    assert_eq!(answer.profiles, []);
    let told: Vec<_> = answer.now.iter().map(|now| now.signed.signer).collect();
    assert_eq!(told, [id(4)], "of its own circle it hears how they are");
    assert_eq!(home.present(3, 4).0, Presence::Online, "and whom we see");
    assert_eq!(home.holding((3, 4)).0, home.holding((4, 4)).0);
    // The members of the first circle know of their guest.
    assert_eq!(home.present(2, 3).0, Presence::Online);

    // Nor does it speak for members of the circle that it is a guest of.
    let claim = |n| Claim { id: id(n), seen: wire::Seen::Online, hops: 0, rtt_us: 1 };
    for gone in [1, 2, 4] {
        home.set_link(0, gone, false);
    }
    home.calm(10);
    let lie = Gossip { boot: home.boots, claims: vec![claim(1), claim(4)], ..Gossip::default() };
    let (now, wall) = (home.now, home.wall());
    home.devices[0].machine.requested(id(3), lie, now, wall).0.unwrap();
    assert_eq!((home.present(0, 1).0, home.present(0, 4).0), (Presence::Offline, Presence::Online));
}

#[test]
fn a_guest_exchanges_profiles_with_those_it_meets_and_hears_of_nobody_else() {
    let mut home = Home::new(3);
    home.guests = BTreeSet::from([2]);
    for i in 0..3 {
        let trust = home.trust(i);
        home.devices[i].machine.trust(trust, home.now);
    }
    home.mail.clear();
    home.set_link(0, 1, true);
    home.set_link(0, 2, true);
    home.calm(30);
    let profile = |home: &Home, (i, j): (usize, usize)| home.holding((i, j)).0;
    assert_eq!(profile(&home, (0, 2)), profile(&home, (2, 2)), "its host knows the guest");
    assert_eq!(profile(&home, (2, 0)), profile(&home, (0, 0)), "the guest knows its host");
    assert_eq!(profile(&home, (1, 2)), profile(&home, (2, 2)), "the circle hears of the guest");
    assert_eq!(profile(&home, (2, 1)), 0, "the guest does not hear of the circle");
    assert_eq!(home.present(1, 2).0, Presence::Online);
    assert_eq!(home.present(2, 1).0, Presence::Offline);
    for (i, j) in [(0, 2), (2, 0), (1, 2), (2, 1)] {
        let entry = home.devices[i].machine.view().get(&id(j)).unwrap().clone();
        assert_eq!(entry.now, None, "{i} knows how {j} is right now");
        assert!(entry.profile.as_ref().is_none_or(|p| p.task_types.is_empty()), "{i} counts on {j} for work");
    }
    let member = home.devices[0].machine.view().get(&id(1)).unwrap().clone();
    assert!(member.now.is_some() && member.profile.as_ref().is_some_and(|p| p.task_types.len() == 1));

    // What a guest says of others does not count.
    let wall = home.wall();
    let claim = Claim { id: id(1), seen: wire::Seen::Online, hops: 0, rtt_us: 1 };
    home.set_link(0, 1, false);
    home.calm(30);
    assert_eq!(home.present(0, 1).0, Presence::Offline);
    let forged = StaticProfile {
        id: id(1),
        version: u64::MAX,
        issued: wall,
        expires: wall.after(limits::LIFETIME),
        ..draft("stolen")
    };
    let lie = Gossip {
        boot: u64::MAX,
        now: vec![Now { age_ms: 0, signed: said(1, u64::MAX, 1, wall) }],
        claims: vec![claim],
        ..Gossip::default()
    };
    let before = home.devices[0].machine.view().get(&id(1)).unwrap().clone();
    let (answer, _) = home.devices[0].machine.requested(id(2), lie, home.now, wall);
    assert!(answer.is_ok());
    assert!(!home.devices[0].machine.hear_profile(id(2), sign(&key(2), &forged), wall, &mut Vec::new()));
    assert_eq!(*home.devices[0].machine.view().get(&id(1)).unwrap(), before);
}

#[test]
fn a_reboot_is_not_mistaken_for_stale_news() {
    let mut home = Home::new(2);
    home.set_link(0, 1, true);
    for _ in 0..40 {
        home.sample(1);
    }
    home.calm(1);
    assert_eq!(home.holding((0, 1)).1, home.holding((1, 1)).1);
    let before = home.holding((0, 1)).1;
    assert!(before.1 > 40);

    // It restarts: its sequence begins anew, its boot is larger. What was under way from before arrives late.
    let late = Now { age_ms: 0, signed: said(1, before.0, before.1 + 5, home.wall()) };
    home.restart(1);
    home.set_link(0, 1, true);
    home.calm(1);
    let after = home.holding((0, 1)).1;
    assert_eq!(after, home.holding((1, 1)).1);
    assert!(after.0 > before.0 && after.1 < before.1);
    let late = Gossip { boot: before.0, now: vec![late], ..Gossip::default() };
    home.mail.push(Mail::request(1, 0, 0, home.now, late));
    home.deliver(0, false);
    home.calm(1);
    assert!(home.holding((0, 1)).1 >= after);

    // It restarts without its disk and by a clock that was set back: its boot is lower than before.
    home.boots = 0;
    home.disk_lost = true;
    home.restart(1);
    home.set_link(0, 1, true);
    home.calm(15);
    assert_eq!(home.holding((0, 1)).1, home.holding((1, 1)).1);
}

#[test]
fn a_flood_of_requests_is_refused() {
    let mut home = Home::new(2);
    home.set_link(0, 1, true);
    home.calm(1);
    let (now, wall) = (home.now, home.wall());
    let mut ask = |at| home.devices[0].machine.requested(id(1), Gossip::default(), at, wall).0;
    let refused = (0..200).filter(|_| ask(now) == Err(ErrorCode::Busy)).count();
    assert!((200 - limits::REQUEST_BURST as usize..200).contains(&refused), "{refused}");
    assert!(ask(now + Duration::from_secs(1)).is_ok());
    let stranger = home.devices[0].machine.requested(key(9).id(), Gossip::default(), now, wall).0;
    assert_eq!(stranger, Err(ErrorCode::Forbidden));
}

#[test]
fn expired_profiles_go() {
    let mut home = Home::new(2);
    home.set_link(0, 1, true);
    home.calm(1);
    home.set_link(0, 1, false);
    home.pass(8 * 24 * 3600 * 1000);
    assert_eq!(home.holding((0, 1)), (0, (0, 0)), "neither profile nor dynamic values of a week ago");
    assert!(home.holding((0, 0)).0 > 0, "our own stays until it is made anew");
}

#[test]
fn what_was_checked_before_is_still_judged_by_its_time() {
    let signed = sign(&key(1), &crate::profile::tests::good());
    for shared in [None, Some(Checked::default())] {
        let mut home = Home::new(1);
        home.devices[0].machine.share(shared);
        let at = |wall: u64| {
            home.devices[0].machine.believe(signed.clone(), WallMs(wall)).map(|b| b.digest.version)
        };
        assert_eq!(at(WALL), Ok(5));
        assert!(matches!(at(WALL + 25 * 3600 * 1000), Err(ProfileError::Expired { .. })));
        assert!(at(WALL - 48 * 3600 * 1000).is_err(), "of the future");
        assert_eq!(at(WALL), Ok(5));
    }
}
