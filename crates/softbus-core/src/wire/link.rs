//! Messages of the link protocol: what two devices say on each connection before anything else, and how a
//! stream is opened towards a service.
//!
//! The dialler opens the first bidirectional stream, the control stream, and sends [`Hello`]. The acceptor
//! answers with its own [`Hello`] and a [`HelloAck`]; the dialler ends with its [`HelloAck`]. Only then may
//! other streams open. The control stream stays open as long as the connection; [`Sleep`] travels on it.
//!
//! Every other bidirectional stream begins with [`Open`] from its opener, answered by [`Reply`].

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{DeviceId, ErrorCode, Hash, LinkId, Message, ServiceName, limits};

/// Lowest and highest version of the link protocol that this program speaks.
pub const VERSIONS: (u16, u16) = (1, 1);
/// Most alternatives that one [`Open`] may offer.
pub const OPEN_CHOICES: usize = 8;

/// One start of the program on a device: a random nonce. A restarted device has another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct BootNonce(pub [u8; 16]);

/// The first message of each side on a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Lowest and highest version of the link protocol spoken.
    pub versions: (u16, u16),
    /// Which start of the sender this is.
    pub boot: BootNonce,
    /// From the dialler: one more than the highest generation of this link it knows of. From the acceptor:
    /// the generation that it accepts, which is the dialler's.
    pub generation: u64,
    /// If not 0, the sender sleeps most of the time and is to be heard from at this interval, in
    /// milliseconds.
    pub sleep_interval_ms: u32,
    /// Features of the sender, a bit each; unknown ones are ignored. None is defined yet.
    pub features: u64,
}

/// The sender has read the other's [`Hello`] and accepts the connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HelloAck {
    /// The version both speak: the highest common one.
    pub version: u16,
    /// The link that this connection carries, see [`link_id`].
    pub link: LinkId,
}

/// The sender goes to sleep and will be heard from after about this interval.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sleep {
    /// In milliseconds; 0 takes an earlier announcement back.
    pub interval_ms: u32,
}

/// The first message of a stream's opener.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Open {
    /// Services that would do, the best first; at least one and at most [`OPEN_CHOICES`].
    pub services: Vec<ServiceName>,
    /// What is wanted of the service.
    pub want: Want,
}

/// What an [`Open`] wants. Grows only at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Want {
    /// A conversation: after [`Reply::Opened`] the stream is the service's.
    Stream,
    /// One answer to one request, whose bytes follow.
    Request {
        /// The link on which the request was first sent; with `id` it names the request, so that a request
        /// sent again after a redial is carried out once.
        link: LinkId,
        /// Grows with each request on the link.
        id: u64,
        /// Every request with a lower id is over: its answer need not be kept.
        done_below: u64,
        /// Length of the request in bytes.
        len: u32,
    },
}

/// The answer to [`Open`]. Grows only at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The stream is open.
    Opened {
        /// Which of the offered services it is, from 0.
        choice: u8,
    },
    /// The answer to a request; its bytes follow. The requester ends its side of the stream when it has
    /// read them all.
    Answer {
        /// Which of the offered services answered, from 0.
        choice: u8,
        /// Length of the answer in bytes.
        len: u32,
    },
    /// No such service, or no access: an [`ErrorCode`]'s number.
    Refused(u32),
    /// The service was asked and answered with an error: an [`ErrorCode`]'s number.
    Failed(u32),
}

impl Open {
    /// Whether it offers a number of services that is allowed.
    pub fn within_limits(&self) -> bool {
        (1..=OPEN_CHOICES).contains(&self.services.len())
    }
}

macro_rules! message {
    ($name:ident, $kind:literal, $max:expr) => {
        impl Message for $name {
            const KIND: u16 = $kind;
            const VERSION: u16 = 1;
            const MAX_BYTES: usize = $max;
        }
    };
}

message!(Hello, 0x0001, limits::HELLO_BYTES);
message!(HelloAck, 0x0002, limits::HELLO_BYTES);
message!(Sleep, 0x0003, 64);
message!(Open, 0x0010, 1024);
message!(Reply, 0x0011, 64);

/// The version two sides speak: the highest common one. The error is what the one who finds out closes with.
pub fn negotiate(ours: (u16, u16), theirs: (u16, u16)) -> Result<u16, ErrorCode> {
    if theirs.0 > theirs.1 {
        Err(ErrorCode::Malformed)
    } else if theirs.1 < ours.0 {
        Err(ErrorCode::PeerTooOld)
    } else if theirs.0 > ours.1 {
        Err(ErrorCode::PeerTooNew)
    } else {
        Ok(ours.1.min(theirs.1))
    }
}

/// The link of two devices, as both compute it: it lasts exactly as long as neither restarts, which is as
/// long as both remember what happened on it.
pub fn link_id(a: (DeviceId, BootNonce), b: (DeviceId, BootNonce)) -> LinkId {
    let (low, high) = if a.0 <= b.0 { (a, b) } else { (b, a) };
    let mut input = [0u8; 96];
    input[..32].copy_from_slice(&low.0.0);
    input[32..48].copy_from_slice(&low.1.0);
    input[48..80].copy_from_slice(&high.0.0);
    input[80..].copy_from_slice(&high.1.0);
    let hash = Hash::derive("softbus link id v1", &input);
    let mut id = [0; 16];
    id.copy_from_slice(&hash.0[..16]);
    LinkId(id)
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::{DecodeError, decode, encode};

    fn hex(bytes: &[u8]) -> String {
        data_encoding::HEXLOWER.encode(bytes)
    }

    fn golden<M: Message + PartialEq + core::fmt::Debug>(message: &M, expected: &str) {
        let bytes = encode(message).unwrap();
        assert_eq!(hex(&bytes), expected);
        assert_eq!(&decode::<M>(&bytes).unwrap(), message);
        for cut in 0..bytes.len() {
            assert_eq!(decode::<M>(&bytes[..cut]), Err(DecodeError::Truncated));
        }
    }

    #[test]
    fn golden_vectors() {
        let boot = BootNonce(core::array::from_fn(|i| i as u8));
        golden(
            &Hello { versions: (1, 1), boot, generation: 300, sleep_interval_ms: 0, features: 5 },
            "16000000010001000101000102030405060708090a0b0c0d0e0fac020005",
        );
        golden(
            &HelloAck { version: 1, link: LinkId([0xab; 16]) },
            "110000000200010001abababababababababababababababab",
        );
        golden(&Sleep { interval_ms: 60_000 }, "0300000003000100e0d403");
        golden(
            &Open { services: vec!["task/1".parse().unwrap()], want: Want::Stream },
            "090000001000010001067461736b2f3100",
        );
        golden(
            &Open {
                services: vec!["task/2".parse().unwrap(), "task/1".parse().unwrap()],
                want: Want::Request { link: LinkId([1; 16]), id: 7, done_below: 6, len: 64 },
            },
            "230000001000010002067461736b2f32067461736b2f310101010101010101010101010101010101070640",
        );
        golden(&Reply::Opened { choice: 1 }, "02000000110001000001");
        golden(&Reply::Answer { choice: 0, len: 64 }, "0300000011000100010040");
        golden(&Reply::Refused(ErrorCode::Forbidden.number()), "02000000110001000206");
        golden(&Reply::Failed(ErrorCode::Busy.number()), "02000000110001000308");
    }

    #[test]
    fn versions_meet_or_say_who_is_behind() {
        assert_eq!(negotiate((1, 3), (2, 5)), Ok(3));
        assert_eq!(negotiate((2, 5), (1, 3)), Ok(3));
        assert_eq!(negotiate((3, 4), (1, 2)), Err(ErrorCode::PeerTooOld));
        assert_eq!(negotiate((1, 2), (3, 4)), Err(ErrorCode::PeerTooNew));
        assert_eq!(negotiate((1, 2), (2, 1)), Err(ErrorCode::Malformed));
    }

    #[test]
    fn both_sides_compute_the_same_link() {
        let a = (DeviceId([1; 32]), BootNonce([9; 16]));
        let b = (DeviceId([2; 32]), BootNonce([3; 16]));
        assert_eq!(link_id(a, b), link_id(b, a));
        assert_ne!(link_id(a, b), link_id((a.0, b.1), (b.0, a.1)));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Hello>(&bytes);
            let _ = decode::<HelloAck>(&bytes);
            let _ = decode::<Sleep>(&bytes);
            let _ = decode::<Open>(&bytes);
            let _ = decode::<Reply>(&bytes);
        }
    }
}
