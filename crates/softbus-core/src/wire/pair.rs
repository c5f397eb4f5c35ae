//! Messages of `pair/1`: how two strangers become a pair.
//!
//! The device that knows the password by heart of its person (who typed a PIN or scanned a code) is the
//! *enterer*, the one that shows it the *opener*. On one channel between them:
//!
//! ```text
//!  enterer                                    opener
//!  Start    password kind, PAKE share   →
//!                                       ←     Share     PAKE share
//!  Confirm  proof of the password       →               (the try is counted on disk, then judged)
//!                                       ←     Confirm   proof of the password
//!  Offer    circles it is in            →
//!                                       ←     Offer     circles it is in
//!  Both now know who admits whom, or hands back a circle that the other is in already. From that one, as often
//!  as needed:
//!  Welcome  statements, the circle's secret
//!  And from the joiner, when all is stored:
//!  Joined
//! ```
//!
//! Either side may say [`Refusal`] instead of what is due, and ends the channel.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{CircleId, Message, Signed};

/// Most circles that an [`Offer`] names.
pub const OFFER_CIRCLES: usize = 8;

/// All but the circle itself. Grows only at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Pair {
    /// From the enterer.
    Start(Start),
    /// From the opener: its PAKE share (a compressed point of Ed25519).
    Share([u8; 32]),
    /// From the enterer, then from the opener.
    Confirm(Confirm),
    /// From both.
    Offer(Offer),
    /// From the joiner: it has stored the circle.
    Joined,
    /// From either: nothing will come of it.
    Refusal(Refusal),
}

impl Message for Pair {
    const KIND: u16 = 0x0100;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = 1024;
}

/// How the enterer begins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Start {
    /// What the password is.
    pub password: Password,
    /// Its PAKE share (a compressed point of Ed25519).
    pub share: [u8; 32],
}

/// What the password is. Grows only at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Password {
    /// The PIN shown now.
    Pin,
    /// The secret of a link or QR code of this name.
    Ticket([u8; 8]),
}

/// Proof that a side knows the password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Confirm {
    /// Under the key that the password gave.
    pub password: [u8; 32],
    /// The same, over this connection, both ids and all that was said. If the first is right and this one
    /// wrong, a third device is in the middle.
    pub bound: [u8; 32],
}

/// What a side brings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// The circle that it may admit the other to, as an owner of it.
    pub admits: Option<CircleId>,
    /// All circles it is in, ascending, at most [`OFFER_CIRCLES`].
    pub member_of: Vec<CircleId>,
    /// If it is in a circle already: whether it would join another.
    pub join: bool,
    /// Circles that both of the two are in by what this side knows, ascending, at most [`OFFER_CIRCLES`]: one that
    /// the other does not have (any more) can be handed back to it, by whoever is in it.
    pub shared: Vec<CircleId>,
}

impl Offer {
    /// Of a device in no circle.
    pub fn nothing() -> Self {
        Self { admits: None, member_of: Vec::new(), join: false, shared: Vec::new() }
    }
}

/// Why nothing comes of a pairing. Grows only at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// The password is wrong.
    WrongPassword {
        /// Tries left before pairing freezes.
        tries_left: u8,
    },
    /// Too many wrong passwords.
    Frozen {
        /// For how many seconds from now.
        seconds: u32,
    },
    /// No such PIN or link (any more).
    Expired,
    /// Its user has not opened pairing.
    NotOpen,
    /// Its user cancelled.
    Cancelled,
    /// Both know the password, but they do not see the same connection.
    ThirdDevice,
    /// Too many pairings at once.
    Busy,
    /// Neither may admit the other.
    NobodyAdmits,
    /// Both are in that circle already.
    AlreadyMember,
    /// The joiner is in a circle already and was not told to join another.
    AlreadyInCircle,
    /// A limit of the circle or the device.
    Limit,
    /// The disk failed.
    Storage,
    /// A message that was not due, or of no sense.
    Protocol,
}

/// A part of the circle, from the admitter (or whoever hands it back) to the joiner.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Welcome {
    /// Some of its statements, parents first.
    Part {
        /// Which circle.
        circle: CircleId,
        /// Signed statements.
        statements: Vec<Signed>,
        /// More parts follow.
        more: bool,
        /// With the last part: the circle's secret, as signed by its maker.
        secret: Option<Signed>,
    },
    /// The admitter could not do it.
    Refusal(Refusal),
}

impl Message for Welcome {
    const KIND: u16 = 0x0101;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = 128 << 10;
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{DeviceId, Sig, decode, encode};

    fn golden<M: Message + PartialEq + core::fmt::Debug>(message: &M, hex: &str) {
        let bytes = encode(message).unwrap();
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), hex);
        assert_eq!(&decode::<M>(&bytes).unwrap(), message);
    }

    #[test]
    fn golden_vectors() {
        golden(
            &Pair::Start(Start { password: Password::Ticket([7; 8]), share: [1; 32] }),
            "2a00000000010100000107070707070707070101010101010101010101010101010101010101010101010101010101010101",
        );
        golden(
            &Pair::Share([2; 32]),
            "2100000000010100010202020202020202020202020202020202020202020202020202020202020202",
        );
        golden(
            &Pair::Confirm(Confirm { password: [3; 32], bound: [4; 32] }),
            "41000000000101000203030303030303030303030303030303030303030303030303030303030303030404040404040404040404040404040404040404040404040404040404040404",
        );
        golden(
            &Pair::Offer(Offer {
                admits: Some(CircleId([5; 32])),
                member_of: vec![CircleId([5; 32])],
                join: true,
                shared: vec![CircleId([6; 32])],
            }),
            "65000000000101000301050505050505050505050505050505050505050505050505050505050505050501050505050505050505050505050505050505050505050505050505050505050501010606060606060606060606060606060606060606060606060606060606060606",
        );
        golden(&Pair::Joined, "010000000001010004");
        golden(&Pair::Refusal(Refusal::WrongPassword { tries_left: 2 }), "0300000000010100050002");
        golden(&Pair::Refusal(Refusal::Frozen { seconds: 60 }), "030000000001010005013c");
        golden(&Pair::Refusal(Refusal::Protocol), "0200000000010100050c");
        let signed = Signed { signer: DeviceId([6; 32]), body: vec![7, 8], sig: Sig::from_bytes([9; 64]) };
        golden(
            &Welcome::Part {
                circle: CircleId([5; 32]),
                statements: vec![signed.clone()],
                more: false,
                secret: Some(signed),
            },
            "ea00000001010100000505050505050505050505050505050505050505050505050505050505050505010606060606060606060606060606060606060606060606060606060606060606020708090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090001060606060606060606060606060606060606060606060606060606060606060602070809090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909",
        );
        golden(&Welcome::Refusal(Refusal::Limit), "0200000001010100010a");
    }
}
