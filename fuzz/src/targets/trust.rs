//! Keys, backups, PINs, words, links, the proof of a password, and circles.

use std::collections::BTreeSet;

use softbus_core::wire::pair::{Confirm, Offer, Start};
use softbus_core::{CircleId, DeviceId, Domain, Hash, Signed, WallMs, encode};
use softbus_trust::circle::{Act, CircleSecret, CircleSet, SecretBody, Statement};
use softbus_trust::pairing::{Binding, Enterer, Opener, PairPassword, settle};
use softbus_trust::{BACKUP_RANDOM, DeviceKey, Grant, Pin, RecoveryKey, Role, Ticket};

use super::{NOW, hash, id, key, with_nasty, with_nasty_text};
use crate::Target;

pub const KEY_FILE: Target = Target { name: "key-file", run: key_file, cost: 1, seeds: key_files };

fn key_file(bytes: &[u8]) -> bool {
    let Ok(key) = DeviceKey::from_file(bytes) else { return false };
    assert_eq!(*key.to_file(), bytes, "two files of one key");
    true
}

fn key_files() -> Vec<Vec<u8>> {
    let good = key(3).to_file().to_vec();
    let mut newer = good.clone();
    newer[8] = 2;
    vec![
        good.clone(),
        newer,
        good[..51].to_vec(),
        [&good[..], &[0]].concat(),
        b"SOFTBUSK".to_vec(),
        Vec::new(),
    ]
}

pub const KEY_BACKUP: Target = Target { name: "key-backup", run: key_backup, cost: 1, seeds: key_backups };

fn key_backup(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| DeviceKey::backup_of(text).is_ok())
}

const PASSPHRASE: &str = "correct horse";

fn key_backups() -> Vec<Vec<u8>> {
    let text = key(5).backup(PASSPHRASE, [9; BACKUP_RANDOM]).unwrap_or_default();
    let typed = format!("My key:\r\n{}\r\n", text.replace('\n', "\r\n   ").replace("A", "a"));
    let empty = "-----BEGIN SOFTBUS KEY BACKUP----------END SOFTBUS KEY BACKUP-----";
    let turned = "-----END SOFTBUS KEY BACKUP----------BEGIN SOFTBUS KEY BACKUP-----";
    let long = format!("{text}{}", " ".repeat(5000));
    [text, typed, empty.into(), turned.into(), long].into_iter().map(String::into_bytes).collect()
}

/// As [`KEY_BACKUP`], up to the stretching of the passphrase, which is slow on purpose.
pub const KEY_BACKUP_OPENED: Target =
    Target { name: "key-backup-opened", run: key_backup_opened, cost: 1000, seeds: key_backups };

fn key_backup_opened(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| DeviceKey::restore(text, PASSPHRASE).is_ok())
}

pub const PIN: Target = Target { name: "pin", run: pin, cost: 1, seeds: pins };

fn pin(bytes: &[u8]) -> bool {
    let Some(pin) = std::str::from_utf8(bytes).ok().and_then(|text| Pin::parse(text).ok()) else {
        return false;
    };
    assert_eq!(pin.reveal().len(), 6);
    true
}

fn pins() -> Vec<Vec<u8>> {
    with_nasty_text(&["123456", "123 456", "12-34-56", "١٢٣٤٥٦", "12345", "1234567"])
}

pub const WORDS: Target = Target { name: "recovery-words", run: words, cost: 8, seeds: texts_of_words };

fn words(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(key) = RecoveryKey::from_words(text) else { return false };
    assert_eq!(RecoveryKey::from_words(&key.words()).map(|k| k.id()).ok(), Some(key.id()));
    true
}

fn texts_of_words() -> Vec<Vec<u8>> {
    let good = RecoveryKey::from_seed([0x7f; 32]).words().to_string();
    let numbered: String =
        good.split(' ').enumerate().map(|(n, word)| format!("{}. {word}\n", n + 1)).collect();
    with_nasty_text(&[&good, &numbered, &"zoo ".repeat(24), &"abcdefghijklmnopqrstuvwxyz ".repeat(24)])
}

pub const TICKET: Target = Target { name: "ticket", run: ticket, cost: 1, seeds: tickets };

fn ticket(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(ticket) = text.parse::<Ticket>() else { return false };
    let again = ticket.to_link().parse::<Ticket>();
    let same = |again: &Ticket| {
        (again.device, &again.secret, again.expires) == (ticket.device, &ticket.secret, ticket.expires)
            && again.addresses.iter().all(|address| ticket.addresses.contains(address))
    };
    assert!(again.is_ok_and(|again| same(&again)), "a link changed on its way");
    true
}

fn tickets() -> Vec<Vec<u8>> {
    let ticket = Ticket {
        device: id(1),
        addresses: ["192.0.2.7:4433", "[2001:db8::7]:4433"].iter().flat_map(|a| a.parse()).collect(),
        secret: [7; 16].into(),
        expires: NOW,
    };
    let good = ticket.to_link().to_string();
    let scoped = good.replace("2001:db8::7", "fe80::1%4294967295");
    let late = good.replace("x=1800000000", "x=999999999999");
    let later = good.replace("x=1800000000", "x=18446744073709551615");
    let many = format!("{good}{}", "&a=10.0.0.1:1".repeat(30));
    let newer = good.replace("pair/1", "pair/2");
    with_nasty_text(&[
        &good,
        &scoped,
        &late,
        &later,
        &many,
        &newer,
        "softbus:pair/1?",
        "softbus:pair/1?d&s&x=&a=",
    ])
}

/// Both sides of the proof, fed with foreign shares and confirmations; then who admits whom.
pub const PAIR_PROOF: Target = Target { name: "pair-proof", run: pair_proof, cost: 20, seeds: proofs };

fn pair_proof(bytes: &[u8]) -> bool {
    let Some((share, rest)) = bytes.split_first_chunk::<32>() else { return false };
    let Ok(pin) = Pin::parse("123456") else { return false };
    let (password, binding) =
        (PairPassword::pin(&pin), Binding { opener: id(1), enterer: id(2), exporter: [9; 32] });
    let (mut enterer, _) = Enterer::start(&password, binding, [3; 32]);
    let mut opener = Opener::new(binding, [4; 32]);
    let start = Start { password: password.which, share: *share };
    let shared = opener.on_start(&start, &password);
    let answered = enterer.on_share(*share);
    if let Ok((confirm, offers)) = postcard::take_from_bytes::<Confirm>(rest) {
        let _ = (opener.on_confirm(confirm), opener.on_counted());
        assert!(enterer.on_confirm(&confirm).is_err(), "a proof out of nothing");
        if let Ok((a, b)) = postcard::from_bytes::<(Offer, Offer)>(offers) {
            let _ = settle(&a, &b);
        }
    }
    shared.is_ok() || answered.is_ok()
}

fn proofs() -> Vec<Vec<u8>> {
    let Ok(pin) = Pin::parse("123456") else { return Vec::new() };
    let binding = Binding { opener: id(1), enterer: id(2), exporter: [9; 32] };
    let (_, first) = Enterer::start(&PairPassword::pin(&pin), binding, [5; 32]);
    let share = match first {
        softbus_core::wire::pair::Pair::Start(start) => start.share,
        _ => [0; 32],
    };
    let confirm = postcard::to_allocvec(&Confirm { password: [3; 32], bound: [4; 32] }).unwrap_or_default();
    let circle = vec![CircleId([1; 32])];
    let owner = Offer { admits: Some(CircleId([1; 32])), member_of: circle, join: false, shared: Vec::new() };
    let offers = postcard::to_allocvec(&(owner, Offer::nothing())).unwrap_or_default();
    let good = [&share[..], &confirm, &offers].concat();
    // The neutral point, a point of small order, no point at all.
    let mut neutral = good.clone();
    neutral[..32].fill(0);
    neutral[0] = 1;
    let mut small = good.clone();
    small[..32].fill(0);
    let mut none = good.clone();
    none[..32].fill(0xff);
    vec![good.clone(), neutral, small, none, good[..40].to_vec()]
}

/// A statement whose signature is right whatever it says.
pub const STATEMENT: Target = Target { name: "statement", run: statement, cost: 6, seeds: statements };

fn statement(bytes: &[u8]) -> bool {
    let signed = Signed::new(&key(1), Domain::CIRCLE, bytes.to_vec());
    let Ok(statement) = Statement::read(&signed) else { return false };
    // What is accepted can be signed again, so that it passed all checks.
    assert!(statement.sign(&key(1)).is_ok(), "{statement:?}");
    if let Ok(set) = CircleSet::begin(signed) {
        assert_eq!((set.len(), set.view().members.len()), (1, 1));
    }
    true
}

fn statements() -> Vec<Vec<u8>> {
    let found = Act::Found { nonce: [1; 16], name: "home".into(), recovery: id(200) };
    let first = Statement { circle: None, parents: Vec::new(), issued: NOW, act: found };
    let later = |parents: Vec<Hash>, act| Statement {
        circle: Some(CircleId([2; 32])),
        parents,
        issued: WallMs(u64::MAX),
        act,
    };
    let mut all = vec![first];
    all.extend(acts().into_iter().map(|act| later(vec![hash(1), hash(2)], act)));
    all.push(later(vec![hash(2), hash(1)], Act::Leave));
    all.push(later((0..33).map(hash).collect(), Act::Leave));
    with_nasty(all.iter().flat_map(encode).collect())
}

fn grant(role: Role) -> Grant {
    let services: BTreeSet<_> =
        ["print/1"].iter().filter(|_| role == Role::Guest).flat_map(|s| s.parse()).collect();
    Grant { role, expires: (role == Role::Guest).then_some(WallMs(NOW.0 + 86_400_000)), services }
}

/// One of each kind.
fn acts() -> Vec<Act> {
    let admit = |n, role| Act::Admit { device: id(n), grant: grant(role), replaces: None };
    vec![
        admit(2, Role::Owner),
        admit(3, Role::Guest),
        Act::Admit { device: id(4), grant: grant(Role::Member), replaces: Some(id(3)) },
        Act::Renew { device: id(2), expires: Some(WallMs(u64::MAX)) },
        Act::ChangeRole { device: id(2), grant: grant(Role::Member) },
        Act::Remove { device: id(2) },
        Act::Leave,
        Act::Recover { device: id(4), keeps: BTreeSet::from([id(1), id(2)]).into_iter().collect() },
    ]
}

/// Statements applied to a circle, in any order.
pub const CIRCLE: Target = Target { name: "circle", run: circle, cost: 100, seeds: circles };

/// Most statements of one script.
const SCRIPT: usize = 16;

/// Each step of the script says who signs (one byte), which earlier statements it follows (two bytes, a bit for
/// each), how late it is (one byte), and what it states.
fn circle(mut script: &[u8]) -> bool {
    let recovery = RecoveryKey::from_seed([200; 32]);
    let Ok(mut set) = CircleSet::found(&key(1), "home", recovery.id(), [0; 16], NOW) else { return false };
    let mut all: Vec<Signed> = set.statements().cloned().collect();
    let first = all.clone();
    while let Some((&[who, low, high, late], rest)) = script.split_first_chunk::<4>() {
        let Ok((act, rest)) = postcard::take_from_bytes::<Act>(rest) else { break };
        script = rest;
        let follows = u16::from_le_bytes([low, high]);
        let parents: BTreeSet<Hash> = all
            .iter()
            .enumerate()
            .filter(|(at, _)| follows >> at & 1 == 1)
            .map(|(_, signed)| signed.hash())
            .chain((follows == 0).then(|| hash(who))) // of which nobody has heard
            .collect();
        let issued = WallMs(NOW.0 + u64::from(late) * 3_600_000);
        let parents = parents.into_iter().collect();
        let statement = Statement { circle: Some(set.id()), parents, issued, act };
        let signed = match who % 5 {
            4 => statement.sign(&recovery),
            n => statement.sign(&key(1 + n)),
        };
        if let Ok(signed) = signed
            && all.len() < SCRIPT
        {
            let _ = set.insert(signed.clone());
            all.push(signed);
        }
    }
    // Who hears of them in another order sees the same circle.
    let Ok(mut other) = CircleSet::from_statements(first, set.id()) else { return false };
    other.insert_all(all.iter().rev().cloned());
    assert_eq!(other.view(), set.view(), "the order of arrival matters");
    let (lacking, more) = set.missing(&[], None, usize::MAX);
    assert!(lacking.len() == set.len() && !more && set.digest().len() <= softbus_trust::circle::DIGEST);
    let _ = (set.removals_covered(&set.heads()), set.is_out(&id(2)), set.members(NOW));
    set.len() > 1
}

fn circles() -> Vec<Vec<u8>> {
    let step = |who: u8, follows: u16, late: u8, act: &Act| -> Vec<u8> {
        let act = postcard::to_allocvec(act).unwrap_or_default();
        [&[who][..], &follows.to_le_bytes(), &[late], &act].concat()
    };
    let owner = |n| Act::Admit { device: id(n), grant: grant(Role::Owner), replaces: None };
    let remove = |n| Act::Remove { device: id(n) };
    let chain: Vec<u8> =
        acts().iter().enumerate().flat_map(|(n, act)| step(0, 1 << n, n as u8, act)).collect();
    // Owners who remove one another, in a ring; and a puppet of a removed one.
    let ring = [
        step(0, 1, 0, &owner(2)),
        step(0, 2, 0, &owner(3)),
        step(0, 4, 1, &remove(2)),
        step(1, 4, 1, &remove(3)),
        step(2, 4, 1, &remove(1)),
        step(1, 4, 2, &owner(4)),
        step(3, 64, 2, &remove(3)),
    ];
    let recovered = [
        step(0, 1, 0, &owner(2)),
        step(4, 2, 1, &Act::Recover { device: id(3), keeps: vec![id(2)] }),
        step(1, 2, 1, &remove(1)),
        step(1, 2, 0, &Act::Leave),
        step(2, 4, 200, &owner(2)),
    ];
    let orphan = [step(0, 0, 0, &owner(2)), step(0, 1, 0, &owner(2))].concat();
    vec![chain, ring.concat(), recovered.concat(), orphan]
}

/// A circle's secret whose signature is right whatever it says.
pub const CIRCLE_SECRET: Target =
    Target { name: "circle-secret", run: run_circle_secret, cost: 12, seeds: circle_secrets };

const SECRET: Domain = Domain("softbus circle secret v1");

fn run_circle_secret(bytes: &[u8]) -> bool {
    let Ok(set) = CircleSet::found(&key(1), "home", id(200), [0; 16], NOW) else { return false };
    let signed = Signed::new(&key(1), SECRET, bytes.to_vec());
    let Ok(secret) = CircleSecret::read(signed, &set.view()) else { return false };
    assert!(!secret.beats(&secret, &set.view()));
    let _ = secret.is_stale(&set, &set.view());
    CircleSecret::make(&key(1), &set, Some(&secret), [1; 32]).is_ok()
}

fn secret_body(circle: CircleId) -> SecretBody {
    SecretBody { circle, generation: 3, seen: vec![hash(1)], secret: [5; 32] }
}

/// One that device 1 made.
pub(super) fn circle_secret(circle: CircleId) -> Signed {
    Signed::new(&key(1), SECRET, encode(&secret_body(circle)).unwrap_or_default())
}

fn circle_secrets() -> Vec<Vec<u8>> {
    let circle = CircleSet::found(&key(1), "home", id(200), [0; 16], NOW).map(|set| set.id());
    let good = secret_body(circle.unwrap_or(CircleId([0; 32])));
    let last = SecretBody { generation: u64::MAX, ..good.clone() };
    let wordy = SecretBody { seen: vec![hash(1); 40], ..good.clone() };
    let stray = SecretBody { circle: CircleId(DeviceId([1; 32]).0), ..good.clone() };
    with_nasty([good, last, wordy, stray].iter().flat_map(encode).collect())
}
