use std::collections::BTreeSet;

use proptest::prelude::*;
use softbus_core::{DeviceId, Domain, Hash, Signed, Signer, WallMs};

use super::*;
use crate::{DeviceKey, Role};

mod histories;
mod strife;

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
fn what_an_owner_says_of_itself_does_not_end_its_circle_sooner() {
    let mut set = found();
    set.says(1, admit(2, Plain));
    let ends = |n, days| Act::Renew { device: id(n), expires: Some(WallMs(NOW.0 + days * DAY)) };
    let role = |n, role, days| {
        let expires = Some(WallMs(NOW.0 + days * DAY));
        Act::ChangeRole { device: id(n), grant: Grant { role, expires, services: BTreeSet::new() } }
    };
    let never = |n| Act::Renew { device: id(n), expires: None };
    let refused = |set: &mut CircleSet, by, act| {
        assert_eq!(set.propose(&key(by), NOW, act), Err(ProposeError::LastOwner));
    };
    // The founder has no end, and is the only owner.
    refused(&mut set, 1, ends(1, 365));
    refused(&mut set, 1, role(1, Owner, 1));
    // The other's time ends: the circle would be nobody's then.
    set.says(1, role(2, Owner, 1));
    refused(&mut set, 1, role(1, Plain, 365));
    refused(&mut set, 1, ends(1, 365));
    let elsewhere = Act::Admit { device: id(3), grant: grant(Plain), replaces: Some(id(1)) };
    refused(&mut set, 1, elsewhere);
    set.says(2, ends(2, 2));
    // Of the other one it may say anything: it stays.
    set.says(1, role(2, Plain, 1));
    set.says(1, role(2, Owner, 1));
    set.says(1, never(2));
    // From here on the other is owner without end.
    set.says(1, ends(1, 2));
    refused(&mut set, 2, ends(2, 365));
    set.says(1, ends(1, 365));
    set.clone().says(1, remove(1));
    set.says(1, role(1, Plain, 365));
    assert_eq!(set.who(), [(1, Plain), (2, Owner)]);
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
