//! Envelopes, ids and names.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use softbus_core::wire::link::Sleep;
use softbus_core::{
    CircleId, DeviceId, DeviceKind, Domain, LinkId, ServiceName, Signed, TaskId, encode, peek,
};
use softbus_trust::Role;

use super::{id, signed, with_nasty, with_nasty_text};
use crate::Target;

pub const ENVELOPE: Target = Target { name: "envelope", run: envelope, cost: 1, seeds: envelopes };

fn envelope(bytes: &[u8]) -> bool {
    let Ok((header, payload)) = peek(bytes) else { return false };
    assert_eq!(payload.len(), header.len as usize);
    let _ = (header.check::<Sleep>(), header.payload::<Sleep>(payload));
    true
}

fn envelopes() -> Vec<Vec<u8>> {
    let newer = vec![4, 0, 0, 0, 3, 0, 9, 0, 1, 0xaa, 0xbb, 0xcc];
    with_nasty(encode(&Sleep { interval_ms: 300 }).into_iter().chain([newer]).collect())
}

pub const IDS: Target = Target { name: "ids", run: ids, cost: 1, seeds: id_texts };

fn ids(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    // Each parser must be asked: no short cut.
    text_of::<DeviceId>(text)
        | text_of::<TaskId>(text)
        | text_of::<CircleId>(text)
        | text_of::<LinkId>(text)
        | text_of::<DeviceKind>(text)
        | text_of::<Role>(text)
}

/// What is read is written in a form that reads as the same.
fn text_of<T: FromStr + Display + PartialEq + Debug>(text: &str) -> bool {
    let Ok(value) = text.parse::<T>() else { return false };
    assert_eq!(value.to_string().parse::<T>().ok().as_ref(), Some(&value));
    true
}

fn id_texts() -> Vec<Vec<u8>> {
    let device = id(1).to_string();
    let foreign = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
    let task = TaskId([0xa5; 16]).to_string();
    let circle = CircleId([0x5a; 32]).to_string();
    with_nasty_text(&[&device, foreign, &task, &circle, "tv", "owner"])
}

pub const SERVICE_NAME: Target =
    Target { name: "service-name", run: service_name, cost: 1, seeds: service_names };

fn service_name(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(name) = text.parse::<ServiceName>() else { return false };
    assert_eq!(format!("{}/{}", name.name(), name.version()), name.as_str());
    text_of::<ServiceName>(text)
}

fn service_names() -> Vec<Vec<u8>> {
    let long = format!("{}/999", "a".repeat(60));
    with_nasty_text(&["task/1", "org.example.lamp-2/12", &long, "a/0", "a/01", "a/b/1", "/1"])
}

pub const SIGNED: Target = Target { name: "signed", run: run_signed, cost: 4, seeds: signeds };

fn run_signed(bytes: &[u8]) -> bool {
    let Ok(signed) = postcard::from_bytes::<Signed>(bytes) else { return false };
    let _ = signed.hash();
    signed.verify(Domain::PROFILE).is_ok()
}

fn signeds() -> Vec<Vec<u8>> {
    let good = postcard::to_allocvec(&signed(b"body")).unwrap_or_default();
    let mut no_key = good.clone();
    no_key[..32].fill(0xff);
    let mut identity = good.clone();
    identity[..32].fill(0);
    identity[0] = 1;
    with_nasty(vec![good, no_key, identity])
}
