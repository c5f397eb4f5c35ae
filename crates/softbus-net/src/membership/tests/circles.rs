//! What devices of circles exchange: who is asked, who is handed back what, and who is believed.

use super::*;

#[tokio::test(start_paused = true)]
async fn exchanges_from_those_outside_are_refused() {
    let world = World::new(12);
    let (_ha, a, _hb, b) = two(&world).await;
    let circle = a.found("home").await.unwrap().circle;
    a.open_pairing(PairOptions::default()).await.unwrap();
    pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
    let ask = softbus_core::wire::circle::Exchange {
        circle,
        have: vec![],
        count: 0,
        statements: vec![],
        more: false,
        secret_known: None,
        secret: None,
        after: None,
    };
    let bytes = softbus_core::encode(&ask).unwrap();
    let answer = read_exchange(&a.answer_exchange(id(2), &bytes).await.unwrap()).unwrap();
    assert_eq!((answer.statements.len(), answer.secret.is_some()), (2, true));
    assert_eq!(a.answer_exchange(id(9), &bytes).await, Err(softbus_core::ErrorCode::Forbidden));
    // Who was removed is told so, and nothing else: not the new secret, not who came later.
    a.remove(None, id(2)).await.unwrap();
    let c = keeper(&world.host("c"), 3).await;
    a.open_pairing(PairOptions::default()).await.unwrap();
    pair(&a, &c, &shown(&a), PairOptions::default()).await.unwrap();
    let statements = a.circles().circles[&circle].statements;
    let mut news = ask.clone();
    news.statements = vec![b.state_act(circle, softbus_trust::circle::Act::Leave).await.unwrap().value];
    let news = softbus_core::encode(&news).unwrap();
    let answer = read_exchange(&a.answer_exchange(id(2), &news).await.unwrap()).unwrap();
    assert_eq!((statements, answer.statements.len(), answer.more), (4, 3, false));
    assert!(answer.secret.is_none() && answer.secret_known.is_none());
    assert_eq!(a.circles().circles[&circle].statements, statements, "nothing of its own is taken in");
    assert!(a.is_former(&id(2)) && !a.is_former(&id(3)) && !a.is_former(&id(9)));
    assert!(a.may_open(&id(2), &circle_service()).is_ok() && a.may_open(&id(9), &circle_service()).is_err());
    assert!(a.may_open(&id(2), &"task/1".parse().unwrap()).is_err());
    assert_eq!(a.answer_exchange(id(1), b"junk").await, Err(softbus_core::ErrorCode::Malformed));
    let mut long = ask.clone();
    long.have = vec![softbus_core::Hash([0; 32]); 65];
    assert!(read_exchange(&softbus_core::encode(&long).unwrap()).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_paired_again_keeps_its_role_and_end_unless_told_otherwise() {
    let world = World::new(17);
    let (ha, a, _hb, b) = two(&world).await;
    let circle = a.found("home").await.unwrap().circle;
    a.open_pairing(PairOptions::default()).await.unwrap();
    pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
    let grant = |role, days, services: &[&str]| Grant {
        role,
        expires: Some(a.wall().after(days * SHORTEST_GRANT)),
        services: services.iter().map(|name| (*name).try_into().unwrap()).collect(),
    };
    // The other device has another disk each time, and the same key.
    let again = async |n: usize, options: PairOptions| {
        let b = keeper(&world.host(&format!("b{n}")), 2).await;
        a.open_pairing(options).await.unwrap();
        pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
        assert_eq!(a.circles().circles, b.circles().circles);
        a.circles().circles[&circle].members[&id(2)].clone()
    };
    for (n, kept) in [grant(Role::Owner, 3, &[]), grant(Role::Guest, 4, &["print/1"])].into_iter().enumerate()
    {
        a.set_role(None, id(2), kept.clone()).await.unwrap();
        let statements = a.circles().circles[&circle].statements;
        assert!(again(n, PairOptions::default()).await.is_granted(&kept), "{kept:?}");
        assert_eq!(a.circles().circles[&circle].statements, statements, "nothing new had to be said");
    }
    // Another end alone is another grant.
    let longer = grant(Role::Guest, 9, &["print/1"]);
    let said = PairOptions { grant: Some(longer.clone()), ..PairOptions::default() };
    assert!(again(2, said).await.is_granted(&longer));
    // One whose time is over is admitted anew.
    for host in [&ha, &world.host("b3")] {
        host.clock().jump_wall(10 * SHORTEST_GRANT.as_millis() as i64);
    }
    assert_eq!(again(3, PairOptions::default()).await.role, Role::Member);
}

/// The circle of device 1, with 3 (in `role`) and then 2 as a plain member in it.
async fn circle_of_three(world: &World, role: Role) -> (Arc<Keeper>, Arc<Keeper>, Arc<Keeper>) {
    let (_, a, _, b) = two(world).await;
    let c = keeper(&world.host("c"), 3).await;
    a.found("home").await.unwrap();
    let grant = Grant { role, expires: None, services: Default::default() };
    a.open_pairing(PairOptions { grant: Some(grant), ..PairOptions::default() }).await.unwrap();
    pair(&a, &c, &shown(&a), PairOptions::default()).await.unwrap();
    a.open_pairing(PairOptions::default()).await.unwrap();
    pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
    (a, b, c)
}

#[tokio::test(start_paused = true)]
async fn a_plain_member_hands_its_circle_back_to_one_that_lost_it() {
    let world = World::new(18);
    let (a, b, _c) = circle_of_three(&world, Role::Member).await;
    let everything = b.circles().circles.clone();
    assert_eq!(trusts(&b, 1), Some(Role::Owner));
    // Its founder, and another member, each with an empty disk; the one shows the PIN, the other enters it.
    let founder = keeper(&world.host("founder again"), 1).await;
    founder.open_pairing(PairOptions::default()).await.unwrap();
    let paired = pair(&founder, &b, &shown(&founder), PairOptions::default()).await.unwrap();
    assert_eq!((paired.joined, paired.founded), (false, None));
    let member = keeper(&world.host("member again"), 3).await;
    b.open_pairing(PairOptions::default()).await.unwrap();
    let paired = pair(&b, &member, &shown(&b), PairOptions::default()).await.unwrap();
    assert!(paired.joined);
    for back in [&founder, &member] {
        assert_eq!(back.circles().circles, everything, "nothing new was said");
        assert!(back.tag_secrets() == b.tag_secrets());
    }
    assert_eq!(b.circles().circles, everything);
    // The founder is its owner as before.
    let d = keeper(&world.host("d"), 4).await;
    founder.open_pairing(PairOptions::default()).await.unwrap();
    pair(&founder, &d, &shown(&founder), PairOptions::default()).await.unwrap();
    // A device that took another's place hears of it from whoever it meets.
    let grant = Grant { role: Role::Member, expires: None, services: Default::default() };
    a.replace(None, id(3), id(5), grant).await.unwrap();
    a.open_pairing(PairOptions::default()).await.unwrap();
    let b = keeper(&world.host("b again"), 2).await;
    pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
    let heir = keeper(&world.host("heir"), 5).await;
    heir.open_pairing(PairOptions::default()).await.unwrap();
    pair(&heir, &b, &shown(&heir), PairOptions::default()).await.unwrap();
    assert_eq!(heir.circles().circles, a.circles().circles);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_handed_back_to_one_that_is_out_or_was_cancelled() {
    let world = World::new(19);
    let (a, b, c) = circle_of_three(&world, Role::Owner).await;
    // Removed, and lost its disk: those who heard of it give it nothing.
    c.remove(None, id(1)).await.unwrap();
    let b_again = keeper(&world.host("b again"), 2).await;
    c.open_pairing(PairOptions::default()).await.unwrap();
    pair(&c, &b_again, &shown(&c), PairOptions::default()).await.unwrap();
    let removed = keeper(&world.host("founder again"), 1).await;
    for opens in [true, false] {
        let (opener, enterer) = if opens { (&b_again, &removed) } else { (&removed, &b_again) };
        opener.open_pairing(PairOptions::default()).await.unwrap();
        let nobody = pair(opener, enterer, &shown(opener), PairOptions::default()).await;
        assert!(matches!(nobody, Err(MembershipError::NobodyAdmits)), "{nobody:?}");
    }
    assert!(removed.circles().circles.is_empty());
    let mut nowhere = pipe();
    let refused = b_again.hand_back(&mut nowhere.0, id(1), c.which(None).unwrap(), None).await;
    assert!(matches!(refused, Err(MembershipError::NotMember(_))), "{refused:?}");
    assert!(matches!(nowhere.1.hear::<Welcome>().await, Ok(Welcome::Refusal(_))));
    // Its user's word is asked once more.
    let since = *b.cancels.borrow();
    b.close_pairing(false).await.unwrap();
    let refused = b.hand_back(&mut nowhere.0, id(1), a.which(None).unwrap(), Some(since)).await;
    assert!(matches!(refused, Err(MembershipError::Cancelled)), "{refused:?}");
    // Whoever is in another circle by now joins only if its user says so; and nobody gives what it says it is in.
    let elsewhere = keeper(&world.host("founder elsewhere"), 1).await;
    elsewhere.found("new").await.unwrap();
    b.open_pairing(PairOptions::default()).await.unwrap();
    let other = pair(&b, &elsewhere, &shown(&b), PairOptions::default()).await;
    assert!(
        matches!(other, Err(MembershipError::PeerInCircle | MembershipError::AlreadyInCircle)),
        "{other:?}"
    );
    b.open_pairing(PairOptions::default()).await.unwrap();
    let join = PairOptions { join: true, ..PairOptions::default() };
    pair(&b, &elsewhere, &shown(&b), join).await.unwrap();
    assert_eq!((elsewhere.circles().circles.len(), b.circles().circles.len()), (2, 1));
}

/// Whoever hands over a circle has bounds of its own: of bytes, of time, and of the joiner's patience.
#[tokio::test(start_paused = true)]
async fn a_joiner_does_not_take_whatever_it_is_told() {
    let world = World::new(3);
    let (_ha, a, _hb, b) = two(&world).await;
    let circle = a.found("home").await.unwrap().circle;
    let part = |len: usize| {
        let signed = softbus_core::Signed::new(&*key(1), softbus_core::Domain::CIRCLE, vec![1; len]);
        Welcome::Part { circle, statements: vec![signed], more: true, secret: None }
    };
    // A statement that is longer than any may be.
    let (mut giver, mut taker) = pipe();
    giver.say(&part(100 << 10)).await.unwrap();
    let joined = b.join(&mut taker, id(1), Some(circle), Role::Owner, None).await;
    assert!(matches!(joined, Err(MembershipError::Protocol(_))), "{joined:?}");
    // One part after another, each in good time, without end.
    let (mut giver, mut taker) = pipe();
    let mut said = 0;
    let dripping = async {
        while giver.say(&part(10)).await.is_ok() {
            said += 1;
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
    };
    tokio::select! {
        biased;
        joined = b.join(&mut taker, id(1), Some(circle), Role::Owner, None) => {
            assert!(matches!(joined, Err(MembershipError::Timeout)), "{joined:?}");
        }
        () = dripping => panic!("the joiner hung up without a word"),
    }
    assert!(said < 5, "{said}");
    // The user cancels meanwhile, and the giver hears of it.
    let (mut giver, mut taker) = pipe();
    let since = *b.cancels.borrow();
    let cancel = async {
        giver.say(&part(10)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        b.cancels.send_modify(|n| *n += 1);
        giver.hear::<Pair>().await.unwrap()
    };
    let (joined, heard) =
        tokio::join!(b.join(&mut taker, id(1), Some(circle), Role::Owner, Some(since)), cancel);
    assert!(matches!(joined, Err(MembershipError::Cancelled)), "{joined:?}");
    assert_eq!(heard, Pair::Refusal(Refusal::Cancelled));
}
