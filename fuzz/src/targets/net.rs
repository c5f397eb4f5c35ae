//! Certificates, discovery, links, and what membership keeps on disk.

use data_encoding::HEXLOWER;
use softbus_core::{CircleId, WallMs};
use softbus_net::seam::discovery::txt;
use softbus_net::{harness, parse_certificate};
use softbus_trust::pairing::GateRecord;
use softbus_trust::{AccessRules, Role, Rule};

use super::trust::circle_secret;
use super::{id, signed, with_nasty, with_nasty_text};
use crate::Target;

pub const CERTIFICATE: Target =
    Target { name: "certificate", run: certificate, cost: 4, seeds: certificates };

/// 2026-01-01.
const CERTIFICATE_S: u64 = 1_767_225_600;

fn certificate(bytes: &[u8]) -> bool {
    parse_certificate(bytes, CERTIFICATE_S).is_ok()
}

/// A certificate as stock libp2p makes it: an Ed25519 identity over an ECDSA P-256 certificate key.
const STOCK: &[u8] = b"308201773082011ea003020102020900f5bd0debaa597f52300a06082a8648ce3d04030230003020170d3735303130313030303030305a180f34303936303130313030303030305a30003059301306072a8648ce3d020106082a8648ce3d030107034200046bf9871220d71dcb3483ecdfcbfcc7c103f8509d0974b3c18ab1f1be1302d643103a08f7a7722c1b247ba3876fe2c59e26526f479d7718a85202ddbe47562358a37f307d307b060a2b0601040183a25a01010101ff046a30680424080112207fda21856709c5ae12fd6e8450623f15f11955d384212b89f56e7e136d2e17280440aaa6bffabe91b6f30c35e3aa4f94b1188fed96b0ffdd393f4c58c1c047854120e674ce64c788406d1c2c4b116581fd7411b309881c3c7f20b46e54c7e6fe7f0f300a06082a8648ce3d040302034700304402207d1a1dbd2bda235ff2ec87daf006f9b04ba076a5a5530180cd9c2e8f6399e09d0220458527178c7e77024601dbb1b256593e9b96d961b96349d1f560114f61a87595";

fn certificates() -> Vec<Vec<u8>> {
    let stock = HEXLOWER.decode(STOCK).unwrap_or_default();
    // Nested elements of indefinite length, as deep as they go.
    let deep = [0x30, 0x80].repeat(1000);
    let long = [&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff][..], &stock[4..]].concat();
    vec![stock.clone(), stock[..200].to_vec(), deep, long, Vec::new()]
}

pub const TXT: Target = Target { name: "txt", run: txt_record, cost: 1, seeds: txt_records };

fn txt_record(bytes: &[u8]) -> bool {
    txt::parse(bytes).is_some_and(|a| a.versions.0 <= a.versions.1 && a.tags.len() <= txt::TAGS)
}

fn txt_records() -> Vec<Vec<u8>> {
    let record = |entries: &[&[u8]]| -> Vec<u8> {
        entries.iter().flat_map(|entry| [&[entry.len() as u8][..], entry].concat()).collect()
    };
    let device = format!("id={}", id(1));
    vec![
        record(&[b"v=1-3", b"k=phone", "n=Ada's Phön".as_bytes(), device.as_bytes(), b"t=12345678abcdefgh"]),
        record(&[b"v=1-1"]),
        record(&[b"V=1-1", b"v=9-9", b"x", b"=", b"t=123", b"n=\x1b[2J", b"k=toaster"]),
        record(&[&[b't'; 255], &[b'='; 255]]),
        vec![255, b'v'],
        vec![0; 300],
    ]
}

pub const LINK: Target = Target { name: "link", run: harness::link_machine, cost: 2, seeds: links };

fn links() -> Vec<Vec<u8>> {
    let up = harness::link_script();
    let again = up.repeat(3);
    let clock = [6, 255].repeat(100);
    vec![up, again, [0, 1, 0, 1, 1, 2, 3, 0, 7, 0, 5, 255].repeat(6), clock]
}

/// Many blobs in one file, as a power cut or a bad disk leaves it.
pub const SEGMENT: Target = Target { name: "segment", run: harness::segment, cost: 40, seeds: segments };

fn segments() -> Vec<Vec<u8>> {
    let salt = [3; 16];
    let whole = harness::write_segment(salt, &[&b"one blob"[..], &[], &[9; 200]]);
    // A segment in a segment's blob, once under the same salt; torn, and with a head that is damaged.
    let nested = harness::write_segment(salt, &[&whole[..], &b"behind it"[..]]);
    let mut damaged = nested.clone();
    damaged[40] ^= 1;
    // A head that promises more than there is.
    let mut long = whole.clone();
    long[48..56].fill(0xff);
    let torn = whole[..whole.len() - 7].to_vec();
    vec![whole, nested, damaged, long, torn, Vec::new()]
}

/// Words that wait for a person, in a file.
pub const WORDS_FILE: Target =
    Target { name: "recovery-words-file", run: harness::recovery_words_file, cost: 1, seeds: words_files };

fn words_files() -> Vec<Vec<u8>> {
    let line = |n: u8| format!("{} abandon ability able about above absent\n", CircleId([n; 32]));
    let many: String = (0..12).map(line).collect();
    let odd = format!("{}\r\n  x\n{} \n{}", line(1), CircleId([2; 32]), line(1));
    with_nasty_text(&[&line(1), &many, &odd])
}

/// What membership reads from its database.
pub const MEMBERSHIP_RECORD: Target =
    Target { name: "membership-record", run: harness::membership_record, cost: 4, seeds: records };

fn records() -> Vec<Vec<u8>> {
    let gate = GateRecord { wrong: 2, freezes: 255, frozen_until: Some(WallMs(u64::MAX)) };
    let mut rules = AccessRules::default();
    let rule = Rule { least: Some(Role::Owner), allow: [id(2)].into(), deny: [id(3)].into() };
    let _ = rules.set("camera", rule);
    // A link: secret, end, wrong tries, circle, grant, join.
    let ticket = ([9u8; 16], WallMs(7), 1u8, Some(CircleId([1; 32])), None::<u8>, true);
    let postcards = [
        postcard::to_allocvec(&signed(b"statement")),
        postcard::to_allocvec(&vec![circle_secret(CircleId([0; 32]))]),
        postcard::to_allocvec(&gate),
        postcard::to_allocvec(&rules),
        postcard::to_allocvec(&ticket),
    ];
    with_nasty(postcards.into_iter().flatten().collect())
}
