use core::fmt;

use serde::{Deserialize, Serialize};

/// A BLAKE3 hash (256 bit). Its text form is lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Hashes `bytes` under a context string, so that hashes made for different purposes never collide
    /// (BLAKE3 `derive_key`). `context` is a constant of the program, such as `"softbus circle id v1"`.
    pub fn derive(context: &str, bytes: &[u8]) -> Self {
        Self(blake3::derive_key(context, bytes))
    }
}

/// The form of long lists of hashes (`#[serde(with)]`): one string of bytes, which is written and read at once. As a list of
/// arrays each byte would be one step, and a state of a gigabyte has half a million of them.
pub(crate) mod list {
    use alloc::vec::Vec;
    use core::fmt;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    use super::Hash;

    pub fn serialize<S: Serializer>(list: &[Hash], serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(list.len() * 32);
        for hash in list {
            bytes.extend_from_slice(&hash.0);
        }
        serializer.serialize_bytes(&bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hash>, D::Error> {
        struct Hashes;
        impl Visitor<'_> for Hashes {
            type Value = Vec<Hash>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("hashes of 32 bytes, one after the other")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                match bytes.as_chunks::<32>() {
                    (hashes, []) => Ok(hashes.iter().map(|hash| Hash(*hash)).collect()),
                    _ => Err(E::invalid_length(bytes.len(), &self)),
                }
            }
        }
        deserializer.deserialize_bytes(Hashes)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…")
    }
}
