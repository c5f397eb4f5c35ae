//! Profiles, and the roster's machine.

use softbus_core::{DeviceKind, Domain, Signed, StaticProfile, encode};
use softbus_roster::calibrate::Calibration;
use softbus_roster::harness;

use super::wire::{gossips, static_profile};
use super::{NOW, hash, id, key, with_nasty};
use crate::Target;

pub const PROFILE: Target = Target { name: "profile", run: harness::profile, cost: 4, seeds: profiles };

fn profiles() -> Vec<Vec<u8>> {
    let body = encode(&static_profile(softbus_core::WallMs(1_700_000_000_000))).unwrap_or_default();
    let signed = Signed::new(&key(1), Domain::PROFILE, body.clone());
    with_nasty(vec![postcard::to_allocvec(&signed).unwrap_or_default(), body])
}

/// A profile whose signature is right whatever it says.
pub const BELIEVED: Target = Target { name: "believed", run: believed, cost: 6, seeds: bodies };

fn believed(bytes: &[u8]) -> bool {
    harness::believed(Signed::new(&key(1), Domain::PROFILE, bytes.to_vec()), NOW)
}

fn bodies() -> Vec<Vec<u8>> {
    let good = static_profile(NOW);
    let ends_first = StaticProfile { expires: softbus_core::WallMs(1), ..good.clone() };
    let forever = StaticProfile { expires: softbus_core::WallMs(u64::MAX), ..good.clone() };
    let ahead = StaticProfile {
        issued: softbus_core::WallMs(u64::MAX),
        expires: softbus_core::WallMs(u64::MAX),
        ..good.clone()
    };
    let another = StaticProfile { id: id(2), kind: DeviceKind::Car, ..good.clone() };
    with_nasty([good, ends_first, forever, ahead, another].iter().flat_map(encode).collect())
}

pub const MACHINE: Target = Target { name: "roster-machine", run: harness::machine, cost: 8, seeds: gossips };

pub const CALIBRATION: Target =
    Target { name: "calibration", run: harness::calibration, cost: 1, seeds: calibrations };

fn calibrations() -> Vec<Vec<u8>> {
    let made = Calibration { rate_ops_per_s: 265_000_000, fingerprint: hash(3), made: NOW };
    with_nasty(vec![postcard::to_allocvec(&made).unwrap_or_default()])
}
