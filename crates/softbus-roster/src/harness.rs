//! The parsers of foreign bytes of this room, for fuzzing: whatever the bytes, they return, and say whether the bytes
//! were understood.

use softbus_core::wire::roster::Gossip;
use softbus_core::{DeviceId, Domain, Sig, Signed, Signer, WallMs, decode, encode};

use crate::profile::Believed;

/// Reads a message of `roster/1`. What is accepted must survive being written and read again.
///
/// # Panics
/// If it does not: that is what a fuzzer looks for.
pub fn gossip(bytes: &[u8]) -> bool {
    let Ok(gossip) = decode::<Gossip>(bytes) else { return false };
    if gossip.within_limits()
        && let Ok(again) = encode(&gossip)
    {
        assert_eq!(decode::<Gossip>(&again).as_ref(), Ok(&gossip), "a message changed on its way");
    }
    gossip.within_limits()
}

/// Reads a signed profile as it lies on disk, and one whose signature holds.
pub fn profile(bytes: &[u8]) -> bool {
    let mut good = false;
    if let Ok(signed) = postcard::from_bytes::<Signed>(bytes) {
        good |= Believed::check(signed, WallMs(1_700_000_000_000)).is_ok();
    }
    if let Ok(profile) = decode::<softbus_core::StaticProfile>(bytes) {
        good |= profile.within_limits();
    }
    good
}

/// Checks a signed profile, by a clock at `wall`.
pub fn believed(signed: Signed, wall: WallMs) -> bool {
    Believed::check(signed, wall).is_ok()
}

/// Reads the stored result of a calibration.
pub fn calibration(bytes: &[u8]) -> bool {
    postcard::from_bytes::<crate::calibrate::Calibration>(bytes).is_ok()
}

/// A device without a key.
struct Nobody;

impl Signer for Nobody {
    fn id(&self) -> DeviceId {
        DeviceId([1; 32])
    }

    fn sign(&self, _: Domain, _: &[u8]) -> Sig {
        Sig::from_bytes([0; 64])
    }
}

/// Feeds a message to the state machine as if a trusted neighbour had sent it.
pub fn machine(bytes: &[u8]) -> bool {
    use std::collections::BTreeMap;

    use std::sync::Arc;

    use softbus_core::LinkId;
    use softbus_net::{Group, LinkInfo, Links, Presence};
    use softbus_trust::Role;

    use crate::gossip::{Action, Member, RosterMachine, Trust};

    let Ok(gossip) = decode::<Gossip>(bytes) else { return false };
    let peer = DeviceId([2; 32]);
    let now = tokio::time::Instant::now();
    let mut machine = RosterMachine::new(Arc::new(Nobody), 1, crate::limits::TELL_EVERY);
    let member = Member { role: Role::Member, speaks: true };
    let trust = Trust {
        own_role: Some(Role::Owner),
        devices: BTreeMap::from([(peer, member)]),
        groups: vec![Group { own: Role::Owner, roles: BTreeMap::from([(peer, Role::Member)]) }],
    };
    machine.trust(trust, now);
    let link = LinkInfo {
        peer,
        id: LinkId([0; 16]),
        generation: 1,
        presence: Presence::Online,
        resting: false,
        address: None,
        dialled: true,
        rtt: std::time::Duration::from_millis(1),
        loss_permille: 0,
        rate_bytes_per_s: 0,
        bytes: (0, 0),
        last_down: None,
    };
    let wall = WallMs(1_700_000_000_000);
    let sent = machine.links(Arc::new(Links::from([(peer, Arc::new(link))])), now);
    let token = sent.iter().find_map(|action| match action {
        Action::Send { token, .. } => Some(*token),
        _ => None,
    });
    // As the answer to our first question, then as a word out of turn and as a question.
    if let Some(token) = token {
        machine.answered(peer, token, Ok(gossip.clone()), now, wall);
    }
    machine.told(peer, gossip.clone(), now, wall);
    let (answer, _) = machine.requested(peer, gossip, now, wall);
    if let Ok(answer) = answer {
        assert!(answer.within_limits(), "an answer beyond its limits");
    }
    let much_later = now + std::time::Duration::from_secs(600);
    let _ = machine.tick(much_later, WallMs(u64::MAX));
    let _ = machine.deadline(much_later);
    let _ = machine.take_changes();
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use softbus_core::Hash;
    use softbus_core::wire::roster::{Claim, Digest, Seen};
    use softbus_trust::DeviceKey;

    use super::*;
    use crate::profile::tests::draft;

    fn all(bytes: &[u8]) {
        gossip(bytes);
        profile(bytes);
        machine(bytes);
    }

    /// Real messages, to be damaged.
    fn seeds() -> Vec<Vec<u8>> {
        let key = DeviceKey::from_seed(&[1; 32]);
        let profile = encode(&draft("seed")).unwrap();
        let signed = Signed::new(&key, Domain::PROFILE, profile.clone());
        let gossip = Gossip {
            boot: 3,
            summary: Some(Hash([1; 32])),
            digests: vec![Digest { id: DeviceId([2; 32]), version: 9, hash: Hash([4; 32]) }],
            want: vec![DeviceId([1; 32])],
            ask: vec![DeviceId([1; 32])],
            profiles: vec![signed.clone()],
            claims: vec![Claim { id: DeviceId([7; 32]), seen: Seen::Online, hops: 3, rtt_us: 5 }],
            all_claims: true,
            ..Gossip::default()
        };
        vec![encode(&gossip).unwrap(), profile, postcard::to_allocvec(&signed).unwrap()]
    }

    proptest! {
        #[test]
        fn garbage_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            all(&bytes);
        }

        #[test]
        fn damaged_messages_are_survived(
            seed in 0..3usize,
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = seeds().swap_remove(seed);
            for (at, with) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= with;
            }
            all(&bytes);
            all(&bytes[..cut.index(bytes.len())]);
        }
    }
}
