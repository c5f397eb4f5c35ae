//! Messages of `circle/1`: how members keep a circle in step.
//!
//! Request and answer are the same message: what I have, and what you lack as far as I can tell. Two or three
//! rounds bring any two members to the same set; a changed set is offered to linked members at once.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{CircleId, Hash, Message, Signed};

/// Most hashes in an [`Exchange::have`].
pub const HAVE: usize = 64;
/// Most bytes of statements in one [`Exchange`], roughly.
pub const EXCHANGE_STATEMENT_BYTES: usize = 96 << 10;

/// What a device has of a circle, and what the other lacks of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Exchange {
    /// Which circle.
    pub circle: CircleId,
    /// A digest of the sender's statements: the last ones, and ever fewer further back. At most [`HAVE`].
    pub have: Vec<Hash>,
    /// How many statements the sender has.
    pub count: u32,
    /// Statements that the receiver seems to lack, parents first.
    pub statements: Vec<Signed>,
    /// There are more of them.
    pub more: bool,
    /// Names the circle's secret that the sender has.
    pub secret_known: Option<Hash>,
    /// The circle's secret, if the receiver has another; only for those who are in the circle now.
    pub secret: Option<Signed>,
    /// The last of the statements that the receiver sent in this conversation: it goes on after that one. A digest cannot tell
    /// all of thousands of statements that nothing follows, and they would come again and again.
    pub after: Option<Hash>,
}

impl Message for Exchange {
    const KIND: u16 = 0x0200;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = 128 << 10;
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{DeviceId, Sig, decode, encode};

    #[test]
    fn golden_vector() {
        let signed = Signed { signer: DeviceId([6; 32]), body: vec![7, 8], sig: Sig::from_bytes([9; 64]) };
        let exchange = Exchange {
            circle: CircleId([5; 32]),
            have: vec![Hash([1; 32])],
            count: 300,
            statements: vec![signed.clone()],
            more: true,
            secret_known: Some(Hash([2; 32])),
            secret: None,
            after: Some(Hash([3; 32])),
        };
        let bytes = encode(&exchange).unwrap();
        assert_eq!(
            data_encoding::HEXLOWER.encode(&bytes),
            "eb000000000201000505050505050505050505050505050505050505050505050505050505050505010101010101010101010101010101010101010101010101010101010101010101ac02010606060606060606060606060606060606060606060606060606060606060606020708090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090101020202020202020202020202020202020202020202020202020202020202020200010303030303030303030303030303030303030303030303030303030303030303"
        );
        assert_eq!(decode::<Exchange>(&bytes).unwrap(), exchange);
    }
}
