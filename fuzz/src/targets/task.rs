//! What is signed of a task, and the pieces of its state.

use softbus_core::wire::task::{Certificate, Decree, EpochMessage, Manifest, Why};
use softbus_core::wire::task_control::{
    ACT as ACT_DOMAIN, EpochNote, Fetch, FetchContent, Image, ImageKind, Request, Watch,
};
use softbus_core::{CircleId, Domain, Epoch, Signed, encode, limits};
use softbus_task::epoch::certificate::{
    check_successor, encode_decree, open_cancel, open_root, open_vote, parse_decree, parse_vote,
    verify_chain, vote as sign_vote,
};
use softbus_task::epoch::{Durable, Held, Next, manifest};
use softbus_task::harness;

use super::wire::{acts, cancel_order, decrees, grant, manifests, moved, state_meta, vote};
use super::{NOW, TASK, hash, id, key, signed, with_nasty};
use crate::Target;

/// The first message of a channel of `task/1`, whatever it is.
pub const OPENING: Target = Target { name: "opening", run: opening, cost: 4, seeds: openings };

fn opening(bytes: &[u8]) -> bool {
    harness::opening(bytes).is_ok()
}

fn openings() -> Vec<Vec<u8>> {
    let sign = |domain, body: Option<Vec<u8>>| Signed::new(&key(1), domain, body.unwrap_or_default());
    let act = sign(ACT_DOMAIN, acts().first().and_then(|act| encode(act).ok()));
    let order = sign(Domain::GRANT, encode(&cancel_order()).ok());
    let note = EpochNote {
        grant: Some(sign(Domain::GRANT, encode(&grant()).ok())),
        message: encode(&EpochMessage::ask(TASK)).unwrap_or_default(),
    };
    let requests = [Request::Act(act), Request::Cancel(order), Request::List];
    let mut seeds: Vec<Vec<u8>> = requests.iter().flat_map(encode).collect();
    seeds.extend(encode(&note));
    seeds.extend(encode(&Fetch { task: TASK, manifest: hash(1), base: None }));
    seeds.extend(encode(&FetchContent { content: hash(1), circle: CircleId([2; 32]) }));
    seeds.extend(encode(&Watch { task: TASK, effects_from: u64::MAX }));
    with_nasty(seeds)
}

pub const MANIFEST_OPEN: Target =
    Target { name: "manifest-open", run: manifest_open, cost: 6, seeds: manifest_seeds };

fn manifest_open(bytes: &[u8]) -> bool {
    let signed = Signed::new(&key(1), Domain::MANIFEST, bytes.to_vec());
    let Ok(opened) = manifest::open(&signed) else { return false };
    assert!(opened.bytes <= limits::CHUNKS as u64 * limits::CHUNK_BYTES as u64);
    for decree in decrees() {
        let _ = manifest::open_for(&signed, opened.branch, &decree);
    }
    true
}

fn manifest_seeds() -> Vec<Vec<u8>> {
    let late = Manifest { epoch: Epoch(u64::MAX), sequence: u64::MAX, ..manifests().remove(0) };
    with_nasty(manifests().iter().chain([&late]).flat_map(encode).collect())
}

pub const ROOT_OPEN: Target = Target { name: "root-open", run: root_open, cost: 6, seeds: root_seeds };

fn root_open(bytes: &[u8]) -> bool {
    let Ok(decree) = parse_decree(bytes) else { return false };
    assert!(encode_decree(&decree).is_ok(), "a decree that cannot be written");
    let root = Signed::new(&key(1), Domain::EPOCH, bytes.to_vec());
    let Ok(link) = open_root(&root) else { return false };
    for next in decrees() {
        let _ = check_successor(&link, &next);
    }
    true
}

fn root_seeds() -> Vec<Vec<u8>> {
    with_nasty(decrees().iter().flat_map(encode).collect())
}

pub const VOTE_OPEN: Target = Target { name: "vote-open", run: vote_open, cost: 10, seeds: vote_seeds };

/// A root by device 1, whose epoch the three devices of `decrees()` decide on.
fn root() -> Signed {
    let body = decrees().first().and_then(|decree| encode(decree).ok()).unwrap_or_default();
    Signed::new(&key(1), Domain::EPOCH, body)
}

fn vote_open(bytes: &[u8]) -> bool {
    let parsed = parse_vote(bytes).is_ok();
    if let Ok(link) = open_root(&root()) {
        let _ = open_vote(&link, &Signed::new(&key(2), Domain::EPOCH, bytes.to_vec()));
    }
    parsed
}

fn vote_seeds() -> Vec<Vec<u8>> {
    let Ok(link) = open_root(&root()) else { return Vec::new() };
    let ballot = vote().ballot;
    let good = sign_vote(&key(2), &link, ballot, b"a decree").map(|vote| vote.body);
    with_nasty(good.into_iter().chain(encode(&vote())).collect())
}

/// A chain of certificates. Roots and votes are signed anew by whom they name, if the harness has the key.
pub const CHAIN: Target = Target { name: "chain", run: chain, cost: 60, seeds: chain_seeds };

fn chain(bytes: &[u8]) -> bool {
    let Ok(mut links) = postcard::from_bytes::<Vec<Certificate>>(bytes) else { return false };
    for link in &mut links {
        match link {
            Certificate::Root(root) => sign_again(root, Domain::EPOCH),
            Certificate::Voted { votes, .. } => {
                votes.iter_mut().take(limits::ACCEPTORS).for_each(|vote| sign_again(vote, Domain::EPOCH));
            }
        }
    }
    verify_chain(&links).is_ok()
}

/// Makes a signature right if it is that of a device of the harness.
pub(super) fn sign_again(signed: &mut Signed, domain: Domain) {
    if let Some(n) = (1..=4).find(|n| id(*n) == signed.signer) {
        *signed = Signed::new(&key(n), domain, std::mem::take(&mut signed.body));
    }
}

fn chain_seeds() -> Vec<Vec<u8>> {
    let root = root();
    let Ok(link) = open_root(&root) else { return Vec::new() };
    let next = Decree {
        branch: link.branch,
        epoch: Epoch(2),
        previous: link.hash,
        owner: id(2),
        holders: vec![id(1), id(3)],
        why: Why::HandOver,
        ..link.decree.clone()
    };
    let decree = encode(&next).unwrap_or_default();
    let votes: Vec<Signed> =
        [1, 2].iter().flat_map(|n| sign_vote(&key(*n), &link, vote().ballot, &decree)).collect();
    let voted = Certificate::Voted { decree, votes };
    let long = [vec![Certificate::Root(root.clone())], vec![voted.clone(); 63]].concat();
    let lonely = Certificate::Voted { decree: vec![1; 50], votes: Vec::new() };
    let chains = [
        vec![Certificate::Root(root.clone()), voted.clone()],
        vec![Certificate::Root(root.clone())],
        vec![voted, Certificate::Root(root.clone())],
        vec![Certificate::Root(root), lonely],
        long,
    ];
    let mut seeds: Vec<Vec<u8>> = chains.iter().flat_map(postcard::to_allocvec).collect();
    // A million links of nothing.
    seeds.push([&[0x80, 0x89, 0x7a][..], &[1, 0, 0].repeat(300)].concat());
    seeds
}

pub const GRANT_OPEN: Target = Target { name: "grant-open", run: grant_open, cost: 6, seeds: grant_seeds };

fn grant_open(bytes: &[u8]) -> bool {
    harness::grant(&key(1), bytes)
}

fn grant_seeds() -> Vec<Vec<u8>> {
    with_nasty(encode(&grant()).into_iter().collect())
}

pub const ACT_OPEN: Target = Target { name: "act-open", run: act_open, cost: 6, seeds: act_seeds };

fn act_open(bytes: &[u8]) -> bool {
    harness::act(&key(1), bytes)
}

fn act_seeds() -> Vec<Vec<u8>> {
    with_nasty(acts().iter().flat_map(encode).collect())
}

pub const CANCEL_OPEN: Target =
    Target { name: "cancel-open", run: cancel_open, cost: 6, seeds: cancel_seeds };

fn cancel_open(bytes: &[u8]) -> bool {
    open_cancel(TASK, &Signed::new(&key(1), Domain::GRANT, bytes.to_vec())).is_ok()
}

fn cancel_seeds() -> Vec<Vec<u8>> {
    with_nasty(encode(&cancel_order()).into_iter().collect())
}

/// A list of chunks, and which of them a peer wants.
pub const IMAGE: Target = Target { name: "image", run: image, cost: 4, seeds: image_seeds };

fn image(bytes: &[u8]) -> bool {
    match postcard::take_from_bytes::<Image>(bytes) {
        Ok((image, bits)) => harness::image(image, bits),
        Err(_) => false,
    }
}

fn image_seeds() -> Vec<Vec<u8>> {
    let of = |kind, len, chunks: u8| Image { kind, len, chunks: (0..chunks).map(hash).collect() };
    let chunk = limits::CHUNK_BYTES as u64;
    let images = [
        of(ImageKind::State(state_meta()), 2 * chunk + 1, 3),
        of(ImageKind::Input, 0, 0),
        of(ImageKind::Output, u64::MAX, 3),
        of(ImageKind::Failure, chunk, 0),
        of(ImageKind::Output, 40 * chunk, 40),
    ];
    let bits = [&[5u8][..], &[0xff; 40]].concat();
    images.iter().flat_map(postcard::to_allocvec).map(|image| [image, bits.clone()].concat()).collect()
}

pub const SEALED: Target = Target { name: "sealed", run: harness::sealed, cost: 1, seeds: sealed_seeds };

fn sealed_seeds() -> Vec<Vec<u8>> {
    let good = harness::sealed_example(b"a chunk of a state");
    let nothing = harness::sealed_example(b"");
    vec![
        good.clone(),
        nothing.clone(),
        nothing[..39].to_vec(),
        good[..72.min(good.len())].to_vec(),
        vec![7; 72],
    ]
}

pub const TAIL: Target = Target { name: "tail", run: harness::tail, cost: 1, seeds: tail_seeds };

fn tail_seeds() -> Vec<Vec<u8>> {
    let numbers = |numbers: &[u64]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    vec![
        numbers(&[2, 1, 8, 0xabab, 2, 0]),
        numbers(&[0]),
        numbers(&[1, u64::MAX, u64::MAX]),
        numbers(&[u64::MAX]),
        numbers(&[256, 1, 0]),
        numbers(&[0])[..7].to_vec(),
    ]
}

/// What tasks keep in the database.
pub const RECORD: Target = Target { name: "task-record", run: harness::stored, cost: 3, seeds: record_seeds };

fn record_seeds() -> Vec<Vec<u8>> {
    const FORMAT: [u8; 2] = 1u16.to_le_bytes();
    let root = root();
    let checkpoint = decrees().remove(0).base;
    let held = Held { checkpoint, manifest: signed(b"a manifest") };
    let durable = Durable {
        task: TASK,
        chain: vec![Certificate::Root(root)],
        next: Next { promised: Some(vote().ballot), ousted: true, accepted: None },
        held: Some(held.clone()),
        missing: Some(checkpoint),
        spare: Some(held),
        incoming: None,
        starts: 255,
        failures: 255,
        error: "it crashed".into(),
        cancelled: Some(signed(b"an order")),
        forks: Vec::new(),
    };
    let stored = |body: Vec<u8>| [&FORMAT[..], &body].concat();
    let image = Image { kind: ImageKind::State(state_meta()), len: 5, chunks: vec![hash(1)] };
    // A file: grant, wrapped key, moves, error, end.
    let file = (signed(b"a grant"), vec![1u8; 72], vec![moved()], Some("error"), Some(NOW));
    let mut seeds: Vec<Vec<u8>> = durable.to_bytes().into_iter().collect();
    seeds.extend(postcard::to_allocvec(&(signed(b"a manifest"), image)).map(stored));
    seeds.extend(postcard::to_allocvec(&file).map(stored));
    // What is left of a forgotten task: branch, epoch, decree, whether it voted, the order that cancelled it; and when.
    let trace =
        ((softbus_core::wire::task::Branch::NONE, 7u64, hash(2), true, Some(signed(b"an order"))), NOW);
    seeds.extend(postcard::to_allocvec(&trace).map(stored));
    seeds.push(vec![2, 0, 1, 2, 3]);
    seeds.push([&FORMAT[..], &[0xff; 40]].concat());
    seeds.push(vec![1]);
    seeds
}
