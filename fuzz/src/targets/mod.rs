//! All parsers of foreign bytes, room by room.

mod core;
mod epoch;
mod net;
mod program;
mod roster;
mod saved;
mod task;
mod trust;
mod wasm;
mod wire;
mod work;

use softbus_core::{DeviceId, Hash, Signed, TaskId, WallMs};
use softbus_trust::DeviceKey;

use crate::Target;

/// Every target, by room.
pub const TARGETS: &[Target] = &[
    // core
    core::ENVELOPE,
    core::IDS,
    core::SERVICE_NAME,
    core::SIGNED,
    wire::HELLO,
    wire::HELLO_ACK,
    wire::SLEEP,
    wire::OPEN,
    wire::LINK_REPLY,
    wire::PAIR,
    wire::WELCOME,
    wire::EXCHANGE,
    wire::GOSSIP,
    wire::STATIC_PROFILE,
    wire::MANIFEST,
    wire::DECREE,
    wire::VOTE,
    wire::CANCEL_ORDER,
    wire::EPOCH_MESSAGE,
    wire::GRANT,
    wire::ACT,
    wire::TASK_REQUEST,
    wire::TASK_REPLY,
    wire::WATCH,
    wire::WATCH_NOTE,
    wire::FETCH,
    wire::FETCH_CONTENT,
    wire::CONTENT_OFFER,
    wire::OFFER,
    wire::IMAGE_PART,
    wire::WANT,
    wire::PIECE,
    wire::EPOCH_NOTE,
    wire::ASK,
    // trust
    trust::KEY_FILE,
    trust::KEY_BACKUP,
    trust::KEY_BACKUP_OPENED,
    trust::PIN,
    trust::WORDS,
    trust::TICKET,
    trust::PAIR_PROOF,
    trust::STATEMENT,
    trust::CIRCLE,
    trust::CIRCLE_SECRET,
    // net
    net::CERTIFICATE,
    net::TXT,
    net::LINK,
    net::MEMBERSHIP_RECORD,
    net::SEGMENT,
    net::WORDS_FILE,
    // roster
    roster::PROFILE,
    roster::BELIEVED,
    roster::MACHINE,
    roster::CALIBRATION,
    // task
    task::OPENING,
    task::MANIFEST_OPEN,
    task::ROOT_OPEN,
    task::VOTE_OPEN,
    task::CHAIN,
    task::GRANT_OPEN,
    task::ACT_OPEN,
    task::CANCEL_OPEN,
    task::IMAGE,
    task::SEALED,
    task::TAIL,
    task::RECORD,
    saved::FILE,
    saved::HEAD,
    epoch::MACHINE,
    // the program
    program::CALL,
    program::REPLY,
    program::CONFIG,
    program::WORDS,
    program::PICTURE,
    program::PICTURE_INPUT,
    program::PICTURE_STATE,
    work::PRIMES_INPUT,
    work::PRIMES_STATE,
    work::CHECKSUM_INPUT,
    work::CHECKSUM_STATE,
    // wasm
    wasm::MODULE,
    wasm::WORLD,
    wasm::STATE,
    wasm::BUS,
];

/// The moment at which harnesses live.
const NOW: WallMs = WallMs(1_800_000_000_000);

/// A device of the harness.
fn key(n: u8) -> DeviceKey {
    DeviceKey::from_seed(&[n; 32])
}

fn id(n: u8) -> DeviceId {
    key(n).id()
}

const TASK: TaskId = TaskId([7; 16]);

/// A hash of nothing in particular.
fn hash(n: u8) -> Hash {
    Hash([n; 32])
}

/// Somebody's signature over something.
fn signed(body: &[u8]) -> Signed {
    Signed::new(&key(1), softbus_core::Domain::PROFILE, body.to_vec())
}

/// What a well-formed seed is accompanied by: it cut off, with a length that promises much, with an overlong
/// varint, and nothing at all.
fn with_nasty(mut seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let Some(good) = seeds.first().cloned() else { return seeds };
    let body = good.len().min(softbus_core::HEADER_LEN);
    seeds.push(good[..good.len() / 2].to_vec());
    let mut endless = good.clone();
    endless.iter_mut().take(4).for_each(|byte| *byte = 0xff);
    seeds.push(endless);
    for varint in
        [&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01][..], &[0x80, 0x80, 0x80, 0x00]]
    {
        let mut bytes = good[..body].to_vec();
        bytes.extend_from_slice(varint);
        bytes.extend_from_slice(good.get(body + 1..).unwrap_or_default());
        if let Some(len) = u32::try_from(bytes.len() - body).ok().filter(|_| body == softbus_core::HEADER_LEN)
        {
            bytes[..4].copy_from_slice(&len.to_le_bytes());
        }
        seeds.push(bytes);
    }
    seeds.push(Vec::new());
    seeds
}

/// Text that parsers of text trip over, in front of what is theirs.
fn with_nasty_text(good: &[&str]) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = good.iter().map(|text| text.as_bytes().to_vec()).collect();
    let Some(first) = good.first() else { return seeds };
    seeds.push(first.chars().take(first.chars().count() / 2).collect::<String>().into_bytes());
    seeds.push(format!("  {first}\r\n").into_bytes());
    seeds.push(first.to_uppercase().into_bytes());
    seeds.push(format!("{first}\u{0}{first}").into_bytes());
    seeds.push("ﬀ\u{202e}İß\u{1f3f3}\u{fe0f}".as_bytes().to_vec());
    seeds.push(vec![b'1'; 2000]);
    seeds.push(vec![0xff, 0xfe, 0xc0, 0x80]);
    seeds
}
