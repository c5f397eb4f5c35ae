//! Messages of `roster/1`: who is here and what they can do.
//!
//! The protocol is request and answer, both a [`Gossip`]. Whoever has something to tell or to ask sends a
//! request; at most one is under way per peer and direction, and what happens meanwhile is told in the next
//! one, so that nothing queues.
//!
//! | field | in a request | in an answer |
//! | --- | --- | --- |
//! | `summary` | "this is the sum of what I hold that you may know; tell me if yours differs" | – |
//! | `digests` | news: profiles that changed here | all of them, if the sums differ |
//! | `want` | "give me these profiles" | – |
//! | `profiles` | – | the wanted ones |
//! | `ask` | "how are these right now" | – |
//! | `now` | how the sender is right now | those that were asked for |
//! | `claims` | whom the sender sees, as it changes | – |

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{DeviceId, DynamicProfile, Hash, Message, Signed, StaticProfile, WallMs, limits};

/// Longest signed body of a static profile, in bytes (its envelope included).
pub const PROFILE_BYTES: usize = 32 << 10;
/// Most profiles in one answer, and most profiles asked for in one request.
pub const PROFILES: usize = 64;
/// Longest sum of profile bodies in one answer, in bytes. What does not fit is asked for again.
pub const PROFILES_BYTES: usize = 256 << 10;
/// Most dynamic profiles in one message, and most asked for.
pub const DYNAMICS: usize = 64;
/// Longest signed body of a dynamic profile, in bytes (its envelope included).
pub const PRESENT_BYTES: usize = 256;
/// A claim is passed on at most this many times: 0 is a link of the claimant's own.
pub const CLAIM_HOPS: u8 = 3;

/// The body that is signed under [`crate::Domain::PROFILE`] is the profile in its envelope, so that a
/// profile may grow like any message.
impl Message for StaticProfile {
    const KIND: u16 = 0x0310;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = PROFILE_BYTES - crate::HEADER_LEN;
}

/// Which version of a device's static profile somebody holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Digest {
    /// Whose profile.
    pub id: DeviceId,
    /// Its version.
    pub version: u64,
    /// [`Signed::hash`] of it.
    pub hash: Hash,
}

impl Digest {
    /// Whether this one counts more than `other` (of the same device): the higher version; of two that a
    /// device made with one version, against the rules, the larger hash, so that all agree.
    pub fn newer_than(&self, other: &Digest) -> bool {
        (self.version, self.hash) > (other.version, other.hash)
    }
}

/// How well the claimant sees a device. Grows only at the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Seen {
    /// Not, or not any more.
    Offline,
    /// It answers.
    Online,
    /// It has been silent for a moment.
    Suspect,
    /// It sleeps, as it announced.
    Asleep,
}

/// "I see this device."
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// Whom.
    pub id: DeviceId,
    /// How well.
    pub seen: Seen,
    /// Through how many others: 0 if the claimant has a link with it, at most [`CLAIM_HOPS`].
    pub hops: u8,
    /// Round-trip time to it along that way, in microseconds, as far as known.
    pub rtt_us: u32,
}

/// How a device is right now, in its own words. The body that is signed under [`crate::Domain::PRESENT`] is this in
/// its envelope.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Present {
    /// Nth start of that device: grows with each. Of two values the one with the larger
    /// (`boot`, [`DynamicProfile::sequence`]) is newer.
    pub boot: u64,
    /// From when on it no longer counts at third hand, by the device's own wall clock.
    pub expires: WallMs,
    /// The sample.
    pub profile: DynamicProfile,
}

impl Message for Present {
    const KIND: u16 = 0x0311;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = PRESENT_BYTES - crate::HEADER_LEN;
}

/// How a device is right now, as it is told by the device itself or passed on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Now {
    /// How old the sample was when this was sent, in milliseconds; the teller's word.
    pub age_ms: u64,
    /// A [`Present`], signed by the device that it is about.
    pub signed: Signed,
}

/// A request or an answer of `roster/1`. Every list may be empty; see the table above.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Gossip {
    /// Nth start of the sender.
    pub boot: u64,
    /// Sum over the digests of all profiles that the sender holds and the receiver may know.
    pub summary: Option<Hash>,
    /// Digests, in order of id, each id once. At most [`limits::ROSTER_DEVICES`].
    pub digests: Vec<Digest>,
    /// Profiles asked for. At most [`PROFILES`].
    pub want: Vec<DeviceId>,
    /// Profiles. At most [`PROFILES`], their bodies at most [`PROFILES_BYTES`] together.
    pub profiles: Vec<Signed>,
    /// Dynamic profiles asked for. At most [`DYNAMICS`].
    pub ask: Vec<DeviceId>,
    /// Dynamic profiles. At most [`DYNAMICS`].
    pub now: Vec<Now>,
    /// Whether `claims` are all the sender has (all others are withdrawn) or only what changed.
    pub all_claims: bool,
    /// Whom the sender sees. At most [`limits::ROSTER_DEVICES`].
    pub claims: Vec<Claim>,
}

impl Message for Gossip {
    const KIND: u16 = 0x0300;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = limits::MESSAGE_BYTES;
}

impl Gossip {
    /// Whether every list is within its limit. Foreign messages that are not are refused whole.
    pub fn within_limits(&self) -> bool {
        self.digests.len() <= limits::ROSTER_DEVICES
            && self.want.len() <= PROFILES
            && self.profiles.len() <= PROFILES
            && self.profiles.iter().all(|p| p.body.len() <= PROFILE_BYTES)
            && self.ask.len() <= DYNAMICS
            && self.now.len() <= DYNAMICS
            && self.now.iter().all(|now| now.signed.body.len() <= PRESENT_BYTES)
            && self.claims.len() <= limits::ROSTER_DEVICES
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        let Self { boot: _, summary, digests, want, profiles, ask, now, all_claims, claims } = self;
        summary.is_none()
            && digests.is_empty()
            && want.is_empty()
            && profiles.is_empty()
            && ask.is_empty()
            && now.is_empty()
            && !all_claims
            && claims.is_empty()
    }
}

/// The sum over digests that [`Gossip::summary`] compares. `digests` must be in order of id.
pub fn summary<'a>(digests: impl Iterator<Item = &'a Digest>) -> Hash {
    let mut bytes = Vec::new();
    for digest in digests {
        bytes.extend_from_slice(&digest.id.0);
        bytes.extend_from_slice(&digest.version.to_le_bytes());
        bytes.extend_from_slice(&digest.hash.0);
    }
    Hash::derive("softbus roster summary v1", &bytes)
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec;

    use super::*;
    use crate::{Capability, DeviceKind, PowerSource, Promised, ServiceOffer, Sig, Thermal, decode, encode};

    fn hex(bytes: &[u8]) -> String {
        data_encoding::HEXLOWER.encode(bytes)
    }

    fn profile() -> StaticProfile {
        StaticProfile {
            id: DeviceId([1; 32]),
            version: 300,
            issued: WallMs(1_700_000_000_000),
            expires: WallMs(1_700_604_800_000),
            name: "kitchen".into(),
            kind: DeviceKind::Tv,
            cores: 4,
            memory_bytes: 1 << 30,
            arch: "aarch64".into(),
            os: "linux".into(),
            accelerators: vec![],
            capabilities: vec![Capability::Display, Capability::Named("lamp".into())],
            services: vec![ServiceOffer { service: "task/1".parse().unwrap() }],
            task_types: vec!["photo/1".into()],
            battery_floor_permille: 200,
            declared: vec!["kind".into()],
        }
    }

    fn present() -> Present {
        Present {
            boot: 7,
            expires: WallMs(1_700_000_060_001),
            profile: DynamicProfile {
                sequence: 3,
                sampled: WallMs(1_700_000_000_001),
                rate_ops_per_s: 250_000_000,
                load_permille: 125,
                memory_free_bytes: 1 << 29,
                battery_permille: Some(800),
                power: PowerSource::Battery,
                thermal: Thermal::Fair,
                running_tasks: 1,
                queued_ops: 5_000,
                promised: Promised { jobs: 2, ops: 300, memory_bytes: 1 << 20, full: true, last: 9 },
            },
        }
    }

    fn gossip() -> Gossip {
        Gossip {
            boot: 7,
            summary: Some(Hash([9; 32])),
            digests: vec![Digest { id: DeviceId([1; 32]), version: 300, hash: Hash([2; 32]) }],
            want: vec![DeviceId([3; 32])],
            profiles: vec![Signed {
                signer: DeviceId([1; 32]),
                body: vec![0xaa, 0xbb],
                sig: Sig::from_bytes([4; 64]),
            }],
            ask: vec![DeviceId([5; 32])],
            now: vec![Now {
                age_ms: 40,
                signed: Signed { signer: DeviceId([1; 32]), body: vec![0xcc], sig: Sig::from_bytes([4; 64]) },
            }],
            all_claims: true,
            claims: vec![Claim { id: DeviceId([6; 32]), seen: Seen::Online, hops: 1, rtt_us: 900 }],
        }
    }

    #[test]
    fn static_profile_golden() {
        let bytes = encode(&profile()).unwrap();
        assert_eq!(hex(&bytes), PROFILE_HEX);
        assert_eq!(decode::<StaticProfile>(&bytes).unwrap(), profile());
    }

    #[test]
    fn present_golden() {
        let bytes = encode(&present()).unwrap();
        assert_eq!(hex(&bytes), PRESENT_HEX);
        assert_eq!(decode::<Present>(&bytes).unwrap(), present());
        let (most, some) = (u64::MAX, Some(u16::MAX));
        let promised = Promised { jobs: u16::MAX, ops: most, memory_bytes: most, full: true, last: most };
        let largest = DynamicProfile {
            sequence: most,
            sampled: WallMs(most),
            rate_ops_per_s: most,
            load_permille: u16::MAX,
            memory_free_bytes: most,
            battery_permille: some,
            running_tasks: u16::MAX,
            queued_ops: most,
            promised,
            ..present().profile
        };
        let largest = Present { boot: most, expires: WallMs(most), profile: largest };
        assert!(encode(&largest).unwrap().len() <= PRESENT_BYTES / 2, "there is room to grow");
    }

    #[test]
    fn gossip_golden() {
        let bytes = encode(&gossip()).unwrap();
        assert_eq!(hex(&bytes), GOSSIP_HEX);
        assert_eq!(decode::<Gossip>(&bytes).unwrap(), gossip());
        let empty = encode(&Gossip::default()).unwrap();
        assert_eq!(hex(&empty), "0900000000030100000000000000000000");
    }

    #[test]
    fn summary_golden() {
        let digests = gossip().digests;
        assert_eq!(
            hex(&summary(digests.iter()).0),
            "5e41407cfc6d7de7a94f4cf67daaf4cb94ee4d9850532d6aed10097d523eeff7"
        );
    }

    #[test]
    fn every_cut_is_refused_without_a_panic() {
        let bytes = encode(&gossip()).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode::<Gossip>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(gossip().within_limits());
    }

    #[test]
    fn of_one_version_the_larger_hash_counts() {
        let of = |version, byte| Digest { id: DeviceId([1; 32]), version, hash: Hash([byte; 32]) };
        assert!(of(2, 0).newer_than(&of(1, 9)));
        assert!(of(2, 2).newer_than(&of(2, 1)));
        assert!(!of(2, 1).newer_than(&of(2, 1)));
    }

    const PROFILE_HEX: &str = concat!(
        "6d000000100301000101010101010101010101010101010101010101010101010101010101010101ac0280d095ffbc31",
        "80d8c79fbf31076b69746368656e050480808080040761617263683634056c696e757800020007046c616d7001067461",
        "736b2f31010770686f746f2f31c80101046b696e64",
    );
    const PRESENT_HEX: &str =
        "280000001103010007e1a499ffbc310381d095ffbc3180e59a777d808080800201a006020101882702ac028080400109";
    const GOSSIP_HEX: &str = concat!(
        "950100000003010007010909090909090909090909090909090909090909090909090909090909090909010101010101",
        "010101010101010101010101010101010101010101010101010101ac0202020202020202020202020202020202020202",
        "020202020202020202020202020103030303030303030303030303030303030303030303030303030303030303030101",
        "0101010101010101010101010101010101010101010101010101010101010102aabb0404040404040404040404040404",
        "040404040404040404040404040404040404040404040404040404040404040404040404040404040404040404040404",
        "040401050505050505050505050505050505050505050505050505050505050505050501280101010101010101010101",
        "01010101010101010101010101010101010101010101cc04040404040404040404040404040404040404040404040404",
        "040404040404040404040404040404040404040404040404040404040404040404040404040404010106060606060606",
        "0606060606060606060606060606060606060606060606060601018407",
    );
}
