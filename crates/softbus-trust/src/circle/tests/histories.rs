//! Histories of all sorts: the same members in any order, and the rules that hold in each.

use super::*;

/// One step of a random history of five devices, each with its own copy of the circle.
#[derive(Clone, Debug)]
enum Step {
    /// A device states something, honestly.
    Say(u8, u8, u8),
    /// A device (removed or not) signs on top of an old state of its own.
    Forge(u8, u8, u8, usize),
    /// A device hears all that another knows.
    Hear(u8, u8),
}

const DEVICES: u8 = 5;

fn step() -> impl Strategy<Value = Step> {
    let device = 1..=DEVICES;
    prop_oneof![
        4 => (device.clone(), 0u8..9, device.clone()).prop_map(|(a, what, b)| Step::Say(a, what, b)),
        2 => (device.clone(), 0u8..9, device.clone(), 0usize..40).prop_map(|(a, what, b, at)| Step::Forge(a, what, b, at)),
        3 => (device.clone(), device).prop_map(|(a, b)| Step::Hear(a, b)),
    ]
}

fn act(what: u8, on: u8) -> Act {
    match what {
        0 => admit(on, Owner),
        1 => admit(on, Plain),
        2 => admit(on, Guest),
        3 | 4 => remove(on),
        5 => {
            Act::ChangeRole { device: id(on), grant: grant(if on.is_multiple_of(2) { Owner } else { Plain }) }
        }
        6 => Act::Admit { device: id(on), grant: grant(Owner), replaces: Some(id(on % DEVICES + 1)) },
        7 => Act::Leave,
        _ => recover(on, if on.is_multiple_of(2) { &[1] } else { &[] }),
    }
}

/// Who signs such an act: the device, or the recovery key.
fn signer(n: u8, what: u8) -> Box<dyn Signer> {
    if what < 8 { Box::new(key(n)) } else { Box::new(recovery()) }
}

fn history(steps: &[Step]) -> Vec<Signed> {
    let mut base = found();
    base.says(1, admit(2, Owner));
    base.says(1, admit(3, Owner));
    let mut copies = vec![base.clone(); DEVICES as usize + 1];
    let mut all = base;
    for step in steps {
        match step {
            Step::Say(n, what, on) => {
                if let Ok(signed) = copies[*n as usize].propose(&*signer(*n, *what), NOW, act(*what, *on)) {
                    let _ = all.insert(signed);
                }
            }
            Step::Forge(n, 7, _, at) => {
                // Leaving, on top of an admission of its choice.
                let set = &mut copies[*n as usize];
                let admissions = set.admissions(*n);
                if let Some((parent, issued)) = admissions.get(at % admissions.len().max(1)) {
                    set.forge(*n, &[*parent], *issued, Act::Leave).unwrap();
                }
            }
            Step::Forge(n, what, on, at) => {
                let set = &mut copies[*n as usize];
                let hashes: Vec<Hash> = set.statements().map(Signed::hash).collect();
                let _ = set.forge_by(&*signer(*n, *what), &[hashes[at % hashes.len()]], NOW, act(*what, *on));
            }
            Step::Hear(a, b) => {
                let other = copies[*b as usize].clone();
                copies[*a as usize].join(&other);
            }
        }
    }
    for copy in &copies {
        all.join(copy);
    }
    all.statements().cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_repetition_gives_the_same_members(
        steps in prop::collection::vec(step(), 0..40),
        order in any::<u64>(),
    ) {
        let statements = history(&steps);
        let id = CircleSet::begin(statements[0].clone()).unwrap().id();
        let straight = CircleSet::from_statements(statements.clone(), id).unwrap();
        let mut mixed = statements.clone();
        mixed.extend(statements.iter().take(7).cloned());
        let mut state = order | 1;
        for at in (1..mixed.len()).rev() {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            mixed.swap(at, (state >> 33) as usize % (at + 1));
        }
        let shuffled = CircleSet::from_statements(mixed.clone(), id).unwrap();
        // One by one, with an evaluation after each.
        let mut single = CircleSet::begin(statements[0].clone()).unwrap();
        for signed in mixed {
            let _ = single.insert(signed);
        }
        prop_assert_eq!(straight.view(), shuffled.view());
        prop_assert_eq!(straight.view(), single.view());
        for signed in &statements {
            prop_assert_eq!(straight.counts(&signed.hash()), single.counts(&signed.hash()));
        }
    }

    #[test]
    fn partitions_that_meet_agree_by_digests(
        steps in prop::collection::vec(step(), 0..40),
        side in any::<u64>(),
    ) {
        let statements = history(&steps);
        let mut a = CircleSet::begin(statements[0].clone()).unwrap();
        let mut b = a.clone();
        for (at, signed) in statements.iter().enumerate().skip(1) {
            let _ = if side >> (at % 64) & 1 == 0 { a.insert(signed.clone()) } else { b.insert(signed.clone()) };
        }
        // What waits for its parents in a partition is lost with it, and asked for again.
        let before: BTreeSet<_> = a.statements().chain(b.statements()).map(Signed::hash).collect();
        let (mut sent, mut got) = (None, None);
        for round in 0.. {
            prop_assert!(round < 200, "does not converge");
            let (news, more) = a.missing(&b.digest(), sent.as_ref(), 900);
            sent = news.last().map(Signed::hash).or(sent);
            let mut fresh = b.insert_all(news);
            let (back, more_back) = b.missing(&a.digest(), got.as_ref(), 900);
            got = back.last().map(Signed::hash).or(got);
            fresh += a.insert_all(back);
            if !more && !more_back && fresh == 0 {
                break;
            }
        }
        prop_assert_eq!(a.len(), b.len());
        prop_assert_eq!(a.view(), b.view());
        prop_assert!(before.iter().all(|hash| a.knows_all(&[*hash])));
    }

    #[test]
    fn rules_hold_in_every_history(steps in prop::collection::vec(step(), 0..40)) {
        let statements = history(&steps);
        let set = CircleSet::from_statements(statements, CircleSet::begin(found().statements().next().unwrap().clone()).unwrap().id()).unwrap();
        set.check_rules();
    }

    #[test]
    fn leaving_concerns_its_signer_only(steps in prop::collection::vec(step(), 0..40), n in 1..=DEVICES) {
        let mut set = CircleSet::from_statements(history(&steps), found().id()).unwrap();
        for (parent, issued) in set.admissions(n) {
            let before = set.clone();
            set.forge(n, &[parent], issued, Act::Leave).unwrap();
            let others = |set: &CircleSet| {
                let mut members = set.view().members;
                members.remove(&id(n));
                members
            };
            prop_assert_eq!(others(&set), others(&before));
            for signed in before.statements() {
                prop_assert_eq!(set.counts(&signed.hash()), before.counts(&signed.hash()));
            }
        }
        prop_assert!(!set.view().members.contains_key(&id(n)));
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut set = found();
        let _ = set.insert(Signed::new(&key(1), Domain::CIRCLE, bytes));
    }
}

/// Statements side by side, of which a digest names a few only, do not hide what comes after them.
#[test]
fn a_flood_does_not_keep_a_removal_from_spreading() {
    let mut a = found();
    a.says(1, admit(2, Owner));
    a.says(1, admit(3, Owner));
    let root = a.heads();
    let flood = (0..300).map(|n| {
        let act = Act::Renew { device: id(3), expires: None };
        let statement =
            Statement { circle: Some(a.id()), parents: root.clone(), issued: WallMs(NOW.0 + n), act };
        statement.sign(&key(2)).unwrap()
    });
    let flood: Vec<Signed> = flood.collect();
    a.insert_all(flood);
    let mut b = a.clone();
    a.says(1, remove(2));
    let (mut after, mut rounds) = (None, 0);
    loop {
        // Room for a tenth of them at a time.
        let (news, more) = a.missing(&b.digest(), after.as_ref(), 6000);
        after = news.last().map(Signed::hash);
        b.insert_all(news);
        rounds += 1;
        if !more {
            break;
        }
        assert!(rounds < 30, "the same ones again and again");
    }
    assert_eq!(b.who(), [(1, Owner), (3, Owner)]);
}

/// Whoever was ever an owner can sign as much as a circle holds. What that costs everybody else must not grow with the
/// third power of it: a few hundred statements in each of these shapes, and thousands take seconds, not hours.
#[test]
fn a_flood_of_statements_is_judged_in_time() {
    const MANY: u64 = 250;
    let mut base = found();
    base.says(1, admit(2, Owner));
    base.says(1, admit(3, Plain));
    let state = |n: u8, parents: Vec<Hash>, late: u64, act: Act| {
        let statement = Statement { circle: Some(base.id()), parents, issued: WallMs(NOW.0 + late), act };
        statement.sign(&key(n)).unwrap()
    };
    // All of two owners' removals of each other, each concurrent to all of the other's.
    let heads = base.heads();
    let feud = (0..MANY)
        .flat_map(|i| [state(1, heads.clone(), i, remove(2)), state(2, heads.clone(), i, remove(1))]);
    let mut set = base.clone();
    assert_eq!(set.insert_all(feud), 2 * MANY as usize);
    assert_eq!(set.who(), [(3, Plain)]);

    // One renewal after another.
    let mut set = base.clone();
    let mut parent = base.heads();
    let chain: Vec<Signed> = (0..MANY)
        .map(|i| {
            let act = Act::Renew { device: id(3), expires: Some(WallMs(NOW.0 + DAY + i)) };
            let signed = state(1, parent.clone(), i, act);
            parent = vec![signed.hash()];
            signed
        })
        .collect();
    assert_eq!(set.insert_all(chain), MANY as usize);
    assert_eq!(set.view().members[&id(3)].expires, Some(WallMs(NOW.0 + DAY + MANY - 1)));

    // An owner that is removed and let in again, time after time, and says something each time.
    let mut set = base.clone();
    let mut parent = base.heads();
    let mut turns = Vec::new();
    for i in 0..MANY / 3 {
        let words = Act::Renew { device: id(3), expires: Some(WallMs(NOW.0 + DAY + i)) };
        for (n, act) in [(2, words), (1, remove(2)), (1, admit(2, Owner))] {
            let signed = state(n, parent.clone(), i, act);
            parent = vec![signed.hash()];
            turns.push(signed);
        }
    }
    let count = turns.len();
    assert_eq!(set.insert_all(turns), count);
    assert_eq!(set.who(), [(1, Owner), (2, Owner), (3, Plain)]);
}
