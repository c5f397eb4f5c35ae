//! The envelope around every wire message (law 4): eight bytes that say how long, what and which version,
//! checked before any of the payload is parsed.
//!
//! ```text
//!  0       4      6         8
//!  | len   | kind | version | payload (postcard), `len` bytes |      all little-endian
//! ```
//!
//! A message may only grow by fields at its end, and then its version grows too: a reader of an older
//! version ignores what follows the fields it knows; a reader of a newer version refuses less than
//! [`Message::MIN_VERSION`]. With equal versions, trailing bytes are an error. What changes otherwise gets a
//! new kind. Enums grow only at their end.

use alloc::vec::Vec;

use serde::{Serialize, de::DeserializeOwned};

/// Length of the envelope's header, in bytes.
pub const HEADER_LEN: usize = 8;

/// A type that travels in an envelope.
pub trait Message: Serialize + DeserializeOwned {
    /// The number of this kind of message, unique on the softbus (see [`crate::wire`]).
    const KIND: u16;
    /// The version written.
    const VERSION: u16;
    /// The oldest version still understood.
    const MIN_VERSION: u16 = 1;
    /// Longest payload accepted and sent, in bytes.
    const MAX_BYTES: usize;
}

/// What an envelope says of its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Payload length in bytes.
    pub len: u32,
    /// Kind of message.
    pub kind: u16,
    /// Version of the kind.
    pub version: u16,
}

impl Header {
    /// Reads a header. Says nothing of whether its values are acceptable: see [`Header::check`].
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Self {
        let [a, b, c, d, e, f, g, h] = *bytes;
        Self {
            len: u32::from_le_bytes([a, b, c, d]),
            kind: u16::from_le_bytes([e, f]),
            version: u16::from_le_bytes([g, h]),
        }
    }

    /// Whether a payload of this header may be read as an `M`, before a byte of it is.
    pub fn check<M: Message>(&self) -> Result<(), DecodeError> {
        if self.kind != M::KIND {
            Err(DecodeError::Kind { expected: M::KIND, found: self.kind })
        } else if self.version < M::MIN_VERSION {
            Err(DecodeError::TooOld { version: self.version, oldest: M::MIN_VERSION })
        } else if self.len as usize > M::MAX_BYTES {
            Err(DecodeError::TooLong { len: self.len as usize, max: M::MAX_BYTES })
        } else {
            Ok(())
        }
    }

    /// Parses the payload that follows this header.
    pub fn payload<M: Message>(&self, payload: &[u8]) -> Result<M, DecodeError> {
        self.check::<M>()?;
        if payload.len() != self.len as usize {
            return Err(DecodeError::Truncated);
        }
        let (message, rest) = postcard::take_from_bytes(payload).map_err(|_| DecodeError::Malformed)?;
        if !rest.is_empty() && self.version <= M::VERSION {
            return Err(DecodeError::Trailing { extra: rest.len() });
        }
        Ok(message)
    }
}

/// Why bytes are not the message that was expected. Reasons never carry the foreign bytes themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the header (or its length) calls for.
    #[error("the message ends too early")]
    Truncated,
    /// Another kind of message.
    #[error("message of kind {found:#06x} where {expected:#06x} was expected")]
    Kind {
        /// Kind wanted.
        expected: u16,
        /// Kind found.
        found: u16,
    },
    /// Of a version that is no longer understood.
    #[error("message version {version} is too old, {oldest} is the oldest understood: update the peer")]
    TooOld {
        /// Version found.
        version: u16,
        /// Oldest accepted.
        oldest: u16,
    },
    /// Longer than such a message may be.
    #[error("message of {len} bytes, at most {max} are allowed")]
    TooLong {
        /// Announced length in bytes.
        len: usize,
        /// Limit in bytes.
        max: usize,
    },
    /// Not the postcard form of the message.
    #[error("the message's payload is malformed")]
    Malformed,
    /// Bytes behind the message that its version does not explain.
    #[error("{extra} bytes behind the end of the message")]
    Trailing {
        /// How many.
        extra: usize,
    },
}

/// Why a message cannot be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// It would be longer than receivers accept.
    #[error("message of {len} bytes, at most {max} may be sent")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// Limit in bytes.
        max: usize,
    },
    /// A value that has no wire form.
    #[error("the message has no wire form")]
    Unencodable,
}

/// Puts `message` into its envelope.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(128);
    bytes.resize(HEADER_LEN, 0);
    let mut bytes = postcard::to_extend(message, bytes).map_err(|_| EncodeError::Unencodable)?;
    let len = bytes.len() - HEADER_LEN;
    if len > M::MAX_BYTES {
        return Err(EncodeError::TooLong { len, max: M::MAX_BYTES });
    }
    bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
    bytes[4..6].copy_from_slice(&M::KIND.to_le_bytes());
    bytes[6..8].copy_from_slice(&M::VERSION.to_le_bytes());
    Ok(bytes)
}

/// Takes a message out of its envelope. `bytes` is one envelope, whole and alone.
pub fn decode<M: Message>(bytes: &[u8]) -> Result<M, DecodeError> {
    let (header, payload) = peek(bytes)?;
    header.payload(payload)
}

/// Splits an envelope into header and payload, to choose by kind what to decode.
pub fn peek(bytes: &[u8]) -> Result<(Header, &[u8]), DecodeError> {
    let (header, payload) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(DecodeError::Truncated)?;
    let header = Header::parse(header);
    if payload.len() < header.len as usize {
        Err(DecodeError::Truncated)
    } else if payload.len() > header.len as usize {
        Err(DecodeError::Trailing { extra: payload.len() - header.len as usize })
    } else {
        Ok((header, payload))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use std::vec;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct V1 {
        number: u32,
        text: String,
    }
    impl Message for V1 {
        const KIND: u16 = 0x7f01;
        const VERSION: u16 = 1;
        const MAX_BYTES: usize = 64;
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct V2 {
        number: u32,
        text: String,
        more: u8,
    }
    impl Message for V2 {
        const KIND: u16 = 0x7f01;
        const VERSION: u16 = 2;
        const MIN_VERSION: u16 = 2;
        const MAX_BYTES: usize = 64;
    }

    fn v1() -> V1 {
        V1 { number: 300, text: "bus".into() }
    }

    #[test]
    fn golden_vector() {
        let bytes = encode(&v1()).unwrap();
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), "06000000017f0100ac0203627573");
        assert_eq!(decode::<V1>(&bytes).unwrap(), v1());
    }

    #[test]
    fn an_older_reader_ignores_what_a_newer_writer_added() {
        let newer = encode(&V2 { number: 300, text: "bus".into(), more: 9 }).unwrap();
        assert_eq!(decode::<V1>(&newer).unwrap(), v1());
    }

    #[test]
    fn a_newer_reader_refuses_what_is_too_old() {
        let older = encode(&v1()).unwrap();
        assert_eq!(decode::<V2>(&older), Err(DecodeError::TooOld { version: 1, oldest: 2 }));
    }

    #[test]
    fn trailing_bytes_of_the_same_version_are_refused() {
        let mut bytes = encode(&v1()).unwrap();
        bytes.push(0);
        assert_eq!(decode::<V1>(&bytes), Err(DecodeError::Trailing { extra: 1 }));
        bytes[0] += 1;
        assert_eq!(decode::<V1>(&bytes), Err(DecodeError::Trailing { extra: 1 }));
    }

    #[test]
    fn length_is_checked_before_the_payload() {
        let header = Header { len: 65, kind: V1::KIND, version: 1 };
        assert_eq!(header.check::<V1>(), Err(DecodeError::TooLong { len: 65, max: 64 }));
        let long = V1 { number: 0, text: "x".repeat(100) };
        assert!(matches!(encode(&long), Err(EncodeError::TooLong { max: 64, .. })));
        // A length inside the payload that claims more than there is.
        let lying = vec![3, 0, 0, 0, 0x01, 0x7f, 1, 0, 5, 0xff, 0x01];
        assert_eq!(decode::<V1>(&lying), Err(DecodeError::Malformed));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<V1>(&bytes);
            let _ = peek(&bytes);
        }

        #[test]
        fn what_is_encoded_is_decoded(number: u32, text in "[a-zä]{0,20}") {
            let message = V1 { number, text };
            prop_assert_eq!(decode::<V1>(&encode(&message).unwrap()).unwrap(), message);
        }
    }
}
