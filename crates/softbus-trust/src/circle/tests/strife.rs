//! Owners against each other, and recovery from it.

use super::*;

#[test]
fn a_removed_owner_that_goes_on_signing() {
    let mut set = found();
    set.says(1, admit(2, Owner));
    set.says(2, admit(3, Plain));
    let before = set.heads();
    set.says(1, remove(2));
    let after = set.heads();
    // Later, knowing of its removal; concurrently, as if it did not know; and on top of its own forgeries.
    set.forge(2, &after, NOW, admit(9, Owner)).unwrap();
    set.forge(2, &before, NOW, admit(8, Owner)).unwrap();
    set.forge(2, &before, NOW, remove(3)).unwrap();
    set.forge(2, &before, NOW, Act::ChangeRole { device: id(3), grant: grant(Owner) }).unwrap();
    let forged = set.heads();
    set.forge(8, &forged, NOW, admit(7, Owner)).unwrap();
    set.forge(8, &forged, NOW, remove(1)).unwrap();
    assert_eq!(set.who(), [(1, Owner), (3, Plain)], "what it signed before its removal stays");
    // Re-admission must follow the removal.
    set.forge(1, &before, NOW, admit(2, Owner)).unwrap();
    assert_eq!(set.who(), [(1, Owner), (3, Plain)]);
    set.says(1, admit(2, Plain));
    assert_eq!(set.who(), [(1, Owner), (2, Plain), (3, Plain)], "readmitted; its old forgeries stay void");
}

#[test]
fn two_owners_remove_each_other() {
    let mut a = found();
    a.says(1, admit(2, Owner));
    a.says(1, admit(3, Owner));
    let mut b = a.clone();
    a.says(1, remove(2));
    a.says(1, admit(4, Plain));
    b.says(2, remove(1));
    b.says(2, admit(5, Plain));
    a.join(&b);
    b.join(&a);
    assert_eq!(a.who(), [(3, Owner)]);
    assert_eq!(b.who(), [(3, Owner)]);
    // The third owner may let one of them in again.
    a.says(3, admit(1, Owner));
    assert_eq!(a.who(), [(1, Owner), (3, Owner)]);
}

/// Leaving takes away its signer and nothing else: not what it signed before, and not what rests on that.
#[test]
fn a_founder_demoted_does_not_empty_the_circle_by_leaving() {
    let mut set = found();
    let founding = set.heads();
    set.says(1, admit(2, Owner));
    set.says(2, Act::ChangeRole { device: id(1), grant: grant(Plain) });
    set.says(2, admit(3, Plain));
    // As if it had left before it admitted anybody.
    set.forge(1, &founding, NOW, Act::Leave).unwrap();
    assert_eq!(set.who(), [(2, Owner), (3, Plain)]);
}

#[test]
fn a_demoted_owner_that_leaves_brings_nobody_back() {
    let mut set = found();
    set.says(1, admit(2, Owner));
    let admission = set.heads();
    set.says(1, admit(4, Plain));
    set.says(2, remove(4));
    set.says(1, Act::ChangeRole { device: id(2), grant: grant(Plain) });
    set.forge(2, &admission, NOW, Act::Leave).unwrap();
    assert_eq!(set.who(), [(1, Owner)]);
    assert!(set.is_out(&id(4)));
}

/// The price: an owner that left may sign as if it had not yet. To remove it by name ends that.
#[test]
fn an_owner_that_left_is_removed_by_name() {
    let mut set = found();
    set.says(1, admit(2, Owner));
    set.says(1, admit(3, Plain));
    let before = set.heads();
    set.says(2, Act::Leave);
    let mut trusting = set.clone();
    set.says(1, remove(2));
    for set in [&mut trusting, &mut set] {
        set.forge(2, &before, NOW, remove(3)).unwrap();
        set.forge(2, &before, NOW, admit(9, Owner)).unwrap();
    }
    assert_eq!(trusting.who(), [(1, Owner), (9, Owner)], "back-dated");
    assert_eq!(set.who(), [(1, Owner), (3, Plain)]);
    assert_eq!(set.propose(&key(1), NOW, remove(2)), Err(ProposeError::NotMember(id(2))), "once is enough");
    // Back and gone again: once more.
    set.says(1, admit(2, Owner));
    set.says(2, Act::Leave);
    set.says(1, remove(2));
    assert_eq!(set.propose(&key(1), NOW, remove(2)), Err(ProposeError::NotMember(id(2))));
}

#[test]
fn three_owners_remove_each_other_in_a_ring() {
    let mut base = found();
    base.says(1, admit(2, Owner));
    base.says(1, admit(3, Owner));
    base.says(1, admit(4, Plain));
    let (mut a, mut b, mut c) = (base.clone(), base.clone(), base.clone());
    a.says(1, remove(2));
    b.says(2, remove(3));
    c.says(3, remove(1));
    let mut chain = base.clone();
    chain.join(&a);
    chain.join(&b);
    assert_eq!(chain.who(), [(1, Owner), (3, Owner), (4, Plain)], "who is removed removes nobody");
    chain.join(&c);
    assert_eq!(chain.who(), [(4, Plain)], "a ring takes all of them");
    assert!(chain.view().is_orphaned(NOW));
}

#[test]
fn a_puppet_does_not_save_its_master() {
    let mut a = found();
    a.says(1, admit(2, Owner));
    a.says(1, admit(3, Plain));
    let mut b = a.clone();
    a.says(1, remove(2));
    // The removed owner admits a puppet, which removes others and its master's judge.
    b.says(2, admit(9, Owner));
    b.says(9, remove(3));
    a.join(&b);
    assert_eq!(a.who(), [(1, Owner), (3, Plain)]);
    b.says(9, remove(1));
    a.join(&b);
    // As if the master had done it by its own hand: both are out, and the puppet was never in.
    assert_eq!(a.who(), [(3, Plain)]);
}

#[test]
fn demotion_is_strong_too() {
    let mut a = found();
    a.says(1, admit(2, Owner));
    let mut b = a.clone();
    a.says(1, Act::ChangeRole { device: id(2), grant: grant(Plain) });
    b.says(2, admit(9, Owner));
    a.join(&b);
    assert_eq!(a.who(), [(1, Owner), (2, Plain)]);
    let mut up = a.clone();
    up.says(1, Act::ChangeRole { device: id(2), grant: grant(Owner) });
    a.says(1, Act::ChangeRole { device: id(2), grant: grant(Guest) });
    a.join(&up);
    assert_eq!(a.who(), [(1, Owner), (2, Guest)], "of concurrent roles the lesser");
}

/// Every statement that makes an owner less than that, against what it signs as if it had not heard of it.
#[test]
fn every_way_to_demote_disarms() {
    let change = |role| Act::ChangeRole { device: id(2), grant: grant(role) };
    let replaced = Act::Admit { device: id(4), grant: grant(Plain), replaces: Some(id(2)) };
    let instead = Act::Admit { device: id(2), grant: grant(Guest), replaces: Some(id(3)) };
    for act in [change(Plain), change(Guest), admit(2, Plain), admit(2, Guest), replaced, instead, remove(2)]
    {
        let mut set = found();
        set.says(1, admit(2, Owner));
        set.says(1, admit(3, Plain));
        let before = set.heads();
        set.says(1, act.clone());
        let who = set.who();
        for forged in [admit(9, Owner), Act::ChangeRole { device: id(3), grant: grant(Owner) }, remove(3)] {
            set.forge(2, &before, NOW, forged).unwrap();
        }
        let forged = set.heads();
        set.forge(9, &forged, NOW, remove(1)).unwrap();
        assert_eq!(set.who(), who, "{act:?}");
        assert!(!who.contains(&(2, Owner)), "{act:?}");
    }
}

#[test]
fn owners_demote_each_other_by_admissions() {
    let mut a = found();
    a.says(1, admit(2, Owner));
    let mut b = a.clone();
    a.says(1, admit(2, Plain));
    b.says(2, admit(1, Guest));
    a.join(&b);
    assert_eq!(a.who(), [(1, Guest), (2, Plain)], "neither is out: nobody said so");
    // In such a circle an admission takes away and lets nobody in.
    let mut b = found();
    b.says(1, admit(2, Owner));
    let mut c = b.clone();
    b.says(1, remove(2));
    c.says(2, Act::Admit { device: id(5), grant: grant(Plain), replaces: Some(id(1)) });
    b.join(&c);
    assert_eq!(b.who(), []);
}

#[test]
fn replacing_a_lost_device() {
    let mut set = found();
    set.says(1, admit(2, Owner));
    let stolen = set.clone();
    set.says(1, Act::Admit { device: id(3), grant: grant(Owner), replaces: Some(id(2)) });
    assert_eq!(set.who(), [(1, Owner), (3, Owner)]);
    let heads = stolen.heads();
    set.forge(2, &heads, NOW, admit(9, Owner)).unwrap();
    assert_eq!(set.who(), [(1, Owner), (3, Owner)]);
}

#[test]
fn an_orphaned_circle_is_recovered() {
    let mut set = found();
    set.says(1, admit(2, Plain));
    let lost = set.clone();
    let recover = Act::Recover { device: id(2), keeps: vec![] };
    assert_eq!(set.propose(&key(2), NOW, recover.clone()), Err(ProposeError::NotOwner));
    set.propose(&recovery(), NOW, recover).unwrap();
    assert_eq!(set.who(), [(2, Owner)]);
    // The thief of the lost owner cannot undo it: neither later nor concurrently.
    let mut thief = lost.clone();
    thief.says(1, remove(2));
    thief.says(1, admit(9, Owner));
    let heads = set.heads();
    set.forge(1, &heads, NOW, remove(2)).unwrap();
    set.join(&thief);
    assert!(!set.who().contains(&(9, Owner)));
    assert_eq!(set.who(), [(2, Owner)], "the lost owner's concurrent removal does not count");
    set.says(2, admit(3, Plain));
}

/// Whoever stole an owner admits puppets without end, in the open, unheard of and meanwhile. None outlasts the words.
#[test]
fn no_number_of_puppets_outlasts_a_recovery() {
    let mut set = found();
    set.says(1, admit(2, Plain));
    set.says(1, admit(3, Owner));
    let before = set.clone();
    let puppets = 100..100 + RECOVERY_KEEPS as u8 + 10;
    for n in puppets.clone() {
        set.says(1, admit(n, Owner));
    }
    // A chain: a puppet admits a puppet.
    set.says(100, admit(90, Owner));
    let mut aside = before.clone();
    let heads = set.heads();
    let recovered = set.propose(&recovery(), NOW, recover(2, &[3])).unwrap();
    let owners = |set: &CircleSet| -> Vec<DeviceId> {
        set.view().members.iter().filter(|(_, m)| m.role == Owner).map(|(device, _)| *device).collect()
    };
    let left = sorted([id(2), id(3)].into_iter());
    assert_eq!(owners(&set), left);
    assert!(set.is_out(&id(1)) && set.is_out(&id(90)) && puppets.clone().all(|n| set.is_out(&id(n))));
    // What none of them had shown before, signed beside the recovery and after it.
    aside.says(1, admit(91, Owner));
    aside.says(91, remove(2));
    aside.says(91, remove(3));
    set.join(&aside);
    set.forge(90, &heads, NOW, admit(92, Owner)).unwrap();
    set.forge(90, &[recovered.hash()], NOW, admit(93, Owner)).unwrap();
    assert_eq!(owners(&set), left);
    // Whom the words keep goes on as before, beside the recovery too; and who was no owner stays what it was.
    set.forge(3, &heads, NOW, admit(94, Owner)).unwrap();
    assert_eq!(owners(&set).len(), 3);
    // A removed owner is told why, and an owner may be made anew.
    assert_eq!(set.farewell(&id(1), &[], None, usize::MAX).unwrap().removals, [recovered.hash()]);
    set.says(2, admit(1, Owner));
    assert!(owners(&set).contains(&id(1)) && !set.is_out(&id(1)));
}

#[test]
fn a_recovery_removes_owners_and_nobody_else() {
    let mut set = found();
    for (n, role) in [(2, Plain), (3, Guest), (4, Owner), (5, Owner)] {
        set.says(1, admit(n, role));
    }
    set.says(1, Act::ChangeRole { device: id(4), grant: grant(Plain) });
    let before = set.clone();
    set.propose(&recovery(), NOW, recover(2, &[])).unwrap();
    assert_eq!(set.who(), [(2, Owner), (3, Guest), (4, Plain)], "who was an owner once is none now");
    // A second one, on a device that had not heard of the first: each keeps whom it made, for neither was an owner.
    let mut other = before;
    other.propose(&recovery(), NOW, recover(4, &[])).unwrap();
    set.join(&other);
    assert_eq!(set.who(), [(2, Owner), (3, Guest), (4, Owner)]);
    // A third one that knows of both.
    set.propose(&recovery(), NOW, recover(3, &[4])).unwrap();
    assert_eq!(set.who(), [(3, Owner), (4, Owner)]);
    let unknown = set.propose(&recovery(), NOW, recover(3, &[9]));
    assert_eq!(unknown, Err(ProposeError::NotMember(id(9))), "a typing error shall not cost an owner");
}

#[test]
fn recoveries_are_bounded() {
    let mut set = found();
    for _ in 0..RECOVERIES {
        set.propose(&recovery(), NOW, recover(1, &[])).unwrap();
    }
    let more = set.propose(&recovery(), NOW, recover(1, &[]));
    assert_eq!(more, Err(ProposeError::Insert(InsertError::Full)));
}
