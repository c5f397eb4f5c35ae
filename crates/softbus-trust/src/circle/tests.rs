use std::collections::BTreeSet;

use proptest::prelude::*;
use softbus_core::{DeviceId, Domain, Hash, Signed, Signer, WallMs};

use super::*;
use crate::{DeviceKey, Role};

const NOW: WallMs = WallMs(1_800_000_000_000);
const DAY: u64 = 86_400_000;

fn key(n: u8) -> DeviceKey {
    DeviceKey::from_seed(&[n; 32])
}

fn id(n: u8) -> DeviceId {
    key(n).id()
}

fn recovery() -> RecoveryKey {
    RecoveryKey::from_seed([200; 32])
}

fn grant(role: Role) -> Grant {
    let expires = (role == Role::Guest).then_some(WallMs(NOW.0 + 30 * DAY));
    Grant { role, expires, services: BTreeSet::new() }
}

fn found() -> CircleSet {
    CircleSet::found(&key(1), "home", recovery().id(), [0; 16], NOW).unwrap()
}

fn admit(n: u8, role: Role) -> Act {
    Act::Admit { device: id(n), grant: grant(role), replaces: None }
}

fn sorted(devices: impl Iterator<Item = DeviceId>) -> Vec<DeviceId> {
    devices.collect::<BTreeSet<_>>().into_iter().collect()
}

fn recover(n: u8, keeps: &[u8]) -> Act {
    Act::Recover { device: id(n), keeps: sorted(keeps.iter().map(|n| id(*n))) }
}

fn remove(n: u8) -> Act {
    Act::Remove { device: id(n) }
}

impl CircleSet {
    /// A test's shorthand: device `n` states `act`.
    fn says(&mut self, n: u8, act: Act) -> Signed {
        self.propose(&key(n), NOW, act).unwrap()
    }

    /// Forges a statement that no honest program would make, with parents of its choice.
    fn forge(&mut self, n: u8, parents: &[Hash], issued: WallMs, act: Act) -> Result<Inserted, InsertError> {
        self.forge_by(&key(n), parents, issued, act)
    }

    fn forge_by(
        &mut self,
        signer: &dyn Signer,
        parents: &[Hash],
        issued: WallMs,
        act: Act,
    ) -> Result<Inserted, InsertError> {
        let parents: BTreeSet<Hash> = parents.iter().copied().collect();
        let statement =
            Statement { circle: Some(self.id()), parents: parents.into_iter().collect(), issued, act };
        self.insert(statement.sign(signer).unwrap())
    }

    fn join(&mut self, other: &CircleSet) {
        self.insert_all(other.statements().cloned());
    }

    /// Every statement that ever admitted device `n`, counting or not, and its date.
    fn admissions(&self, n: u8) -> Vec<(Hash, WallMs)> {
        let read = self.statements().map(|signed| (signed, Statement::read(signed).unwrap()));
        let admits = read.filter(|(signed, statement)| match &statement.act {
            Act::Found { .. } => signed.signer == id(n),
            Act::Admit { device, .. } | Act::Recover { device, .. } => *device == id(n),
            _ => false,
        });
        admits.map(|(signed, statement)| (signed.hash(), statement.issued)).collect()
    }

    fn who(&self) -> Vec<(u8, Role)> {
        let members = self.members(NOW);
        (1..=40).filter_map(|n| Some((n, members.get(&id(n))?.role))).collect()
    }
}

use Role::{Guest, Member as Plain, Owner};

#[test]
fn founding_admitting_leaving() {
    let mut set = found();
    assert_eq!(set.who(), [(1, Owner)]);
    set.says(1, admit(2, Plain));
    set.says(1, admit(3, Guest));
    assert_eq!(set.who(), [(1, Owner), (2, Plain), (3, Guest)]);
    assert_eq!(set.propose(&key(2), NOW, admit(4, Plain)), Err(ProposeError::NotOwner));
    assert_eq!(set.propose(&key(9), NOW, admit(4, Plain)), Err(ProposeError::NotOwner));
    assert_eq!(set.propose(&key(1), NOW, remove(9)), Err(ProposeError::NotMember(id(9))));
    // Nobody would be an owner any more.
    let demoted = Act::ChangeRole { device: id(1), grant: grant(Plain) };
    let replaced = Act::Admit { device: id(2), grant: grant(Plain), replaces: Some(id(1)) };
    for orphaning in [demoted, replaced, remove(1)] {
        assert_eq!(set.propose(&key(1), NOW, orphaning), Err(ProposeError::LastOwner));
        assert_eq!(set.who(), [(1, Owner), (2, Plain), (3, Guest)]);
    }
    assert!(set.clone().propose(&key(1), NOW, Act::Leave).is_ok(), "whoever leaves means it");
    set.says(3, Act::Leave);
    set.says(1, remove(2));
    assert_eq!(set.who(), [(1, Owner)]);
    assert!(set.is_out(&id(2)) && set.is_out(&id(3)) && !set.is_out(&id(9)));
    set.says(1, admit(2, Owner));
    assert_eq!(set.who(), [(1, Owner), (2, Owner)]);
}

#[test]
fn who_is_out_is_told_its_removal_and_nothing_that_came_later() {
    let mut set = found();
    set.says(1, admit(2, Plain));
    set.says(1, admit(3, Owner));
    let away = set.clone();
    set.says(1, admit(4, Plain));
    set.says(1, remove(2));
    let removal = set.heads();
    let mut aside = away.clone();
    aside.says(3, admit(5, Plain));
    set.join(&aside);
    set.says(3, admit(6, Plain));
    assert_eq!(set.farewell(&id(1), &[], None, 1 << 16), None, "it is in");
    assert_eq!(set.farewell(&id(9), &[], None, 1 << 16), None, "it never was in");
    let farewell = set.farewell(&id(2), &away.digest(), None, 1 << 16).unwrap();
    assert_eq!((farewell.removals.clone(), farewell.statements.len(), farewell.more), (removal, 2, false));
    // It judges for itself, and is out; of those admitted beside its removal or later it learns nothing.
    let mut told = away.clone();
    assert_eq!(told.insert_all(farewell.statements), 2);
    assert_eq!(told.who(), [(1, Owner), (3, Owner), (4, Plain)]);
    // In pieces, too, and without a word of what it has.
    let mut told = away.clone();
    for round in 0.. {
        assert!(round < 10);
        let farewell = set.farewell(&id(2), &told.digest(), None, 1).unwrap();
        told.insert_all(farewell.statements);
        if !farewell.more {
            break;
        }
    }
    assert!(told.is_out(&id(2)));
    assert_eq!(set.farewell(&id(2), &[], None, 1 << 16).unwrap().statements.len(), 5);
    // Back in, it is owed nothing.
    set.says(1, admit(2, Plain));
    assert_eq!(set.farewell(&id(2), &[], None, 1 << 16), None);
    assert_eq!(set.out().count(), 0);
}

#[test]
fn of_several_removals_all_are_told() {
    let mut set = found();
    set.says(1, admit(2, Owner));
    set.says(1, admit(3, Plain));
    let away = set.clone();
    let mut other = set.clone();
    set.says(1, remove(3));
    other.says(2, remove(3));
    other.says(2, admit(3, Plain));
    set.join(&other);
    let farewell = set.farewell(&id(3), &away.digest(), None, 1 << 16).unwrap();
    assert_eq!((farewell.removals.len(), farewell.statements.len()), (2, 2));
    let mut told = other.clone();
    told.insert_all(farewell.statements);
    assert!(told.is_out(&id(3)));
}

#[test]
fn strangers_never_count() {
    let mut set = found();
    set.says(1, admit(2, Plain));
    let heads = set.heads();
    assert_eq!(set.forge(9, &heads, NOW, admit(9, Owner)), Err(InsertError::Stranger(id(9))));
    assert_eq!(
        set.forge(2, &heads, NOW, admit(9, Owner)),
        Err(InsertError::Stranger(id(2))),
        "a plain member"
    );
    assert_eq!(set.forge(9, &heads, NOW, Act::Leave), Err(InsertError::Stranger(id(9))));
    let takeover = Act::Recover { device: id(9), keeps: vec![] };
    assert_eq!(set.forge(9, &heads, NOW, takeover), Err(InsertError::Stranger(id(9))));
    assert_eq!(set.who(), [(1, Owner), (2, Plain)]);

    // A statement under another circle's name, a broken signature, another domain.
    let other = CircleSet::found(&key(1), "work", recovery().id(), [1; 16], NOW).unwrap();
    let mut stray = other.clone();
    let stray = stray.says(1, admit(9, Owner));
    assert_eq!(set.insert(stray), Err(InsertError::OtherCircle));
    let mut good = set.clone().says(1, admit(4, Plain));
    let bit = good.body.len() - 1;
    good.body[bit] ^= 1;
    assert!(matches!(set.insert(good), Err(InsertError::Statement(StatementError::Signature(_)))));
    let body = set.clone().says(1, admit(4, Plain)).body;
    let misused = Signed::new(&key(1), Domain::PROFILE, body);
    assert!(matches!(set.insert(misused), Err(InsertError::Statement(StatementError::Signature(_)))));
}

#[test]
fn ill_formed_statements_are_refused() {
    let mut set = found();
    let heads = set.heads();
    let guest = |services: usize, expires| {
        let services = (1..=services).map(|n| format!("s{n}/1").parse().unwrap()).collect();
        Act::Admit { device: id(2), grant: Grant { role: Guest, expires, services }, replaces: None }
    };
    for act in [
        guest(1, None),
        guest(17, Some(WallMs(NOW.0 + DAY))),
        Act::Admit { device: id(2), grant: grant(Plain), replaces: Some(id(2)) },
        Act::Recover { device: id(2), keeps: vec![id(3); 2] },
        Act::Recover { device: id(2), keeps: sorted((0..=RECOVERY_KEEPS as u8).map(id)) },
    ] {
        let statement = Statement { circle: Some(set.id()), parents: heads.clone(), issued: NOW, act };
        assert!(matches!(statement.sign(&key(1)), Err(StatementError::IllFormed(_))), "{statement:?}");
        let forged = Signed::new(&key(1), Domain::CIRCLE, softbus_core::encode(&statement).unwrap());
        assert!(matches!(set.insert(forged), Err(InsertError::Statement(StatementError::IllFormed(_)))));
    }
    let twice =
        Statement { circle: Some(set.id()), parents: vec![heads[0]; 2], issued: NOW, act: Act::Leave };
    assert!(twice.sign(&key(1)).is_err());
    assert!(CircleSet::begin(set.says(1, admit(3, Plain))).is_err(), "begins with its founding");
}

#[test]
fn time_ends_and_is_renewed() {
    let mut set = found();
    let end = WallMs(NOW.0 + 365 * DAY);
    let owner = Grant { role: Owner, expires: Some(end), services: BTreeSet::new() };
    set.says(1, Act::Admit { device: id(2), grant: owner, replaces: None });
    assert!(set.members(WallMs(end.0 - 1)).contains_key(&id(2)));
    assert!(!set.members(end).contains_key(&id(2)));
    assert_eq!(set.view().next_expiry(NOW), Some(end));
    // What it signs after its time does not count, even if it comes later.
    let heads = set.heads();
    set.forge(2, &heads, end, admit(9, Owner)).unwrap();
    assert!(!set.members(end).contains_key(&id(9)));
    let mut honest = found();
    honest.join(&set);
    assert_eq!(set.propose(&key(2), end, admit(8, Plain)), Err(ProposeError::NotOwner));
    set.propose(&key(1), end, Act::Renew { device: id(2), expires: None }).unwrap();
    assert!(set.members(WallMs(u64::MAX)).contains_key(&id(2)));
    set.propose(&key(2), WallMs(end.0 + 1), admit(8, Plain)).unwrap();
    // A guest always has an end.
    set.says(1, admit(3, Guest));
    let forever = Act::Renew { device: id(3), expires: None };
    assert!(matches!(set.propose(&key(1), NOW, forever.clone()), Err(ProposeError::BadGrant(_))));
    let heads = set.heads();
    set.forge(1, &heads, NOW, forever).unwrap();
    assert!(!set.members(WallMs(u64::MAX)).contains_key(&id(3)));
}

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

#[test]
fn orphans_wait_for_their_parents_and_are_bounded() {
    let mut set = found();
    let mut other = set.clone();
    let mut later: Vec<Signed> = (2..10).map(|n| other.says(1, admit(n, Plain))).collect();
    let first = later.remove(0);
    later.reverse();
    for signed in later {
        assert_eq!(set.insert(signed), Ok(Inserted::Pending));
    }
    assert_eq!(set.who(), [(1, Owner)]);
    assert_eq!(set.insert(first.clone()), Ok(Inserted::New(8)));
    assert_eq!(set.insert(first), Ok(Inserted::Known));
    assert_eq!(set.who(), other.who());
    for n in 0..2 * PENDING {
        let parent = Hash::of(&n.to_le_bytes());
        assert_eq!(set.forge(1, &[parent], NOW, Act::Leave), Ok(Inserted::Pending));
    }
    assert_eq!(set.pending_len(), PENDING);
}

#[test]
fn a_full_circle_can_still_remove() {
    let mut set = found();
    set.says(1, admit(2, Owner));
    let root = set.heads();
    let room = softbus_core::limits::CIRCLE_STATEMENTS - RESERVED;
    // A rogue owner fills the set with statements side by side.
    let flood: Vec<Signed> = (0..room as u64)
        .map(|n| {
            let statement = Statement {
                circle: Some(set.id()),
                parents: root.clone(),
                issued: WallMs(NOW.0 + n),
                act: Act::Renew { device: id(2), expires: None },
            };
            statement.sign(&key(2)).unwrap()
        })
        .collect();
    set.insert_all(flood);
    assert_eq!(set.len(), room);
    assert_eq!(
        set.propose(&key(1), NOW, admit(3, Plain)),
        Err(ProposeError::Insert(InsertError::Full)),
        "no more admissions"
    );
    set.says(1, remove(2));
    assert_eq!(set.who(), [(1, Owner)]);
}

#[test]
fn whoever_leaves_again_and_again_left_once() {
    let mut set = found();
    set.says(1, admit(2, Plain));
    let root = set.heads();
    let flood: Vec<Signed> = (0..softbus_core::limits::CIRCLE_STATEMENTS as u64)
        .map(|n| {
            let issued = WallMs(NOW.0 + n);
            let statement =
                Statement { circle: Some(set.id()), parents: root.clone(), issued, act: Act::Leave };
            statement.sign(&key(2)).unwrap()
        })
        .collect();
    assert_eq!(set.insert_all(flood), 1, "with the admission's date, and no other");
    let beside = [set.statements().next().unwrap().hash(), root[0]];
    assert_eq!(
        set.forge(2, &beside, NOW, Act::Leave),
        Err(InsertError::Stranger(id(2))),
        "after it, and no other"
    );
    assert_eq!(set.who(), [(1, Owner)]);
    // Each admission may be ended once.
    for left in 2..6 {
        set.says(1, admit(2, Plain));
        set.says(2, Act::Leave);
        assert_eq!((set.who(), set.len()), (vec![(1, Owner)], 2 * left + 1));
    }
}

#[test]
fn a_long_history_is_still_quick_to_judge() {
    let mut set = found();
    set.says(1, admit(2, Owner));
    let mut parent = set.heads();
    let mut chain = Vec::new();
    for n in 0..1000 {
        let act = Act::Renew { device: id(2), expires: Some(WallMs(NOW.0 + DAY + n)) };
        let statement = Statement { circle: Some(set.id()), parents: parent.clone(), issued: NOW, act };
        let signed = statement.sign(&key(1 + (n % 2) as u8)).unwrap();
        parent = vec![signed.hash()];
        chain.push(signed);
    }
    assert_eq!(set.insert_all(chain), 1000);
    assert_eq!(set.view().members[&id(2)].expires, Some(WallMs(NOW.0 + DAY + 999)));
    set.says(2, remove(1));
    assert_eq!(set.who(), [(2, Owner)]);
}

#[test]
fn the_secret_follows_removals() {
    let mut set = found();
    set.says(1, admit(2, Owner));
    set.says(1, admit(3, Plain));
    let first = CircleSecret::make(&key(1), &set, None, [1; 32]).unwrap();
    assert!(!first.is_stale(&set, &set.view()));
    set.says(1, remove(3));
    assert!(first.is_stale(&set, &set.view()));
    let a = CircleSecret::make(&key(1), &set, Some(&first), [2; 32]).unwrap();
    let b = CircleSecret::make(&key(2), &set, Some(&first), [3; 32]).unwrap();
    let view = set.view();
    assert!(a.beats(&first, &view) && b.beats(&first, &view) && !first.beats(&a, &view));
    assert!(a.beats(&b, &view) != b.beats(&a, &view), "two makers, one winner");
    assert!(!a.beats(&a, &view));
    // Made by a plain member, or for another circle: refused.
    assert!(CircleSecret::read(a.signed().clone(), &view).is_ok());
    let plain = CircleSecret::make(&key(3), &set, Some(&a), [4; 32]).unwrap();
    assert_eq!(CircleSecret::read(plain.signed().clone(), &view).err(), Some(SecretError::NotOwner));
    // When a maker is removed its secrets give way, however high it counted.
    let leap = CircleSecret::make(&key(2), &set, Some(&b), [5; 32]).unwrap();
    set.says(1, remove(2));
    let view = set.view();
    assert!(leap.is_stale(&set, &view) && a.beats(&leap, &view));
    let next = CircleSecret::make(&key(1), &set, Some(&leap), [6; 32]).unwrap();
    assert!(next.beats(&leap, &view) && next.beats(&a, &view) && !next.is_stale(&set, &view));
}

#[test]
fn golden_statement() {
    let set = found();
    let bytes: Vec<u8> = set.statements().next().unwrap().body.clone();
    let text = data_encoding::HEXLOWER.encode(&bytes);
    assert_eq!(
        text,
        "3e00000010020100000080a0f1c2b134000000000000000000000000000000000004686f6d6597ffc883c80bee7237ef95d9b9b703d4ad63e60a21e605867682b75b8b3f4303"
    );
    assert_eq!(set.id().to_string(), "de9ae33ccbcdc16499a77c357eb37ab42ea15cea0de7ac98ccb321967748db50");
}

#[test]
fn golden_acts() {
    let n = |n: u8| DeviceId([n; 32]);
    let services = BTreeSet::from(["print/1".parse().unwrap()]);
    let guest = Grant { role: Guest, expires: Some(WallMs(300)), services };
    for (act, expected) in [
        (
            Act::Admit { device: n(2), grant: guest, replaces: Some(n(3)) },
            "0102020202020202020202020202020202020202020202020202020202020202020001ac0201077072696e742f31010303030303030303030303030303030303030303030303030303030303030303",
        ),
        (
            Act::Renew { device: n(2), expires: Some(WallMs(300)) },
            "02020202020202020202020202020202020202020202020202020202020202020201ac02",
        ),
        (
            Act::ChangeRole { device: n(2), grant: grant(Owner) },
            "030202020202020202020202020202020202020202020202020202020202020202020000",
        ),
        (Act::Remove { device: n(2) }, "040202020202020202020202020202020202020202020202020202020202020202"),
        (Act::Leave, "05"),
        (
            Act::Recover { device: n(2), keeps: vec![n(3)] },
            "060202020202020202020202020202020202020202020202020202020202020202010303030303030303030303030303030303030303030303030303030303030303",
        ),
    ] {
        let circle = Some(softbus_core::CircleId([5; 32]));
        let statement = Statement { circle, parents: vec![Hash([6; 32])], issued: WallMs(300), act };
        let bytes = softbus_core::encode(&statement).unwrap();
        // Head, circle, one parent, date; then the act.
        let (before, act) = bytes.split_at(8 + 33 + 33 + 2);
        assert_eq!(data_encoding::HEXLOWER.encode(act), expected, "{:?}", statement.act);
        assert_eq!(&before[8..], [&[1], &[5; 32][..], &[1], &[6; 32], &[0xac, 0x02]].concat());
        assert_eq!(softbus_core::decode::<Statement>(&bytes).unwrap(), statement);
    }
}

#[test]
fn golden_secret() {
    let body = SecretBody {
        circle: softbus_core::CircleId([5; 32]),
        generation: 300,
        seen: vec![Hash([6; 32])],
        secret: [7; 32],
    };
    let bytes = softbus_core::encode(&body).unwrap();
    let expected = [&[99, 0, 0, 0, 0x11, 2, 1, 0], &[5; 32][..], &[0xac, 2, 1], &[6; 32], &[7; 32]].concat();
    assert_eq!(bytes, expected);
    let again = softbus_core::decode::<SecretBody>(&bytes).unwrap();
    assert!(again == body);
}

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
