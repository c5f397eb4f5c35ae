//! Ids: devices, circles, links, tasks and their epochs.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Hash;

/// A device: its Ed25519 public key. The text form is the libp2p PeerId of that key (`12D3Koo…`): the
/// base58btc of an identity multihash over the protobuf-encoded key (libp2p "Peer Ids and Keys").
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceId(pub [u8; 32]);

/// As the bytes are ordered. Ids are keys of most maps; all but never the first eight bytes do not tell.
impl Ord for DeviceId {
    #[inline]
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        let [a, b] = [self, other].map(|id| {
            let first = id.0.first_chunk::<8>();
            first.map_or(0, |first| u64::from_be_bytes(*first))
        });
        a.cmp(&b).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for DeviceId {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Identity multihash (0x00), 36 bytes (0x24); protobuf: key type Ed25519 (08 01), 32 bytes of key (12 20).
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Why a text is no id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdError {
    /// Not base58 or hexadecimal of the right length.
    #[error("this is not an id: wrong alphabet or length (a device id looks like 12D3Koo…, copy all of it)")]
    Malformed,
    /// A PeerId of another kind of key.
    #[error("this PeerId is not of an Ed25519 key; softbus devices have Ed25519 keys (12D3Koo…)")]
    NotEd25519,
}

impl DeviceId {
    /// The first bytes of the text form that differ between devices, for logs and tables: the last six
    /// letters (all ids share their first eight).
    pub fn short(&self) -> String {
        use alloc::string::ToString;
        let text = self.to_string();
        String::from(&text[text.len() - 6..])
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0u8; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        f.write_str(&bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for DeviceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0u8; 40];
        let len = bs58::decode(text.trim()).onto(&mut bytes[..]).map_err(|_| IdError::Malformed)?;
        match bytes[..len].strip_prefix(&PEER_ID_PREFIX[..]) {
            Some(key) => key.try_into().map(DeviceId).map_err(|_| IdError::Malformed),
            None if len == 34 || len == 38 => Err(IdError::NotEd25519),
            None => Err(IdError::Malformed),
        }
    }
}

impl Serialize for DeviceId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { self.0.serialize(s) }
    }
}

impl<'de> Deserialize<'de> for DeviceId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(d).map(Self)
        }
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let bytes = data_encoding::HEXLOWER_PERMISSIVE
                    .decode(text.trim().as_bytes())
                    .map_err(|_| IdError::Malformed)?;
                bytes.as_slice().try_into().map(Self).map_err(|_| IdError::Malformed)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { self.0.serialize(s) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; $len]>::deserialize(d).map(Self)
                }
            }
        }
    };
}

hex_id! {
    /// A task, drawn by its submitter and bound to it ([`TaskId::of`]). Text form: 32 hexadecimal digits.
    TaskId, 16
}
hex_id! {
    /// A circle: the hash of its founding statement. Text form: 64 hexadecimal digits.
    CircleId, 32
}
hex_id! {
    /// A link between two devices; it outlives the connections that carry it. Text form: 32 hex digits.
    LinkId, 16
}

impl TaskId {
    /// A new id: eight random bytes, and a mark of the submitter over them. So no other device can pass a task of its
    /// own off as this one: it would have to find a key with the same mark (2^64 tries, for each task anew).
    pub fn of(submitter: &DeviceId, salt: [u8; 8]) -> Self {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&salt);
        bytes[8..].copy_from_slice(&submitter.0);
        let mark = Hash::derive("softbus task id v1", &bytes);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&salt);
        id[8..].copy_from_slice(&mark.0[..8]);
        Self(id)
    }

    /// Whether `submitter` drew it.
    pub fn is_of(&self, submitter: &DeviceId) -> bool {
        self.0.first_chunk().is_some_and(|salt| Self::of(submitter, *salt) == *self)
    }
}

impl From<Hash> for CircleId {
    fn from(hash: Hash) -> Self {
        Self(hash.0)
    }
}

/// The term of a task's owner: grows by one at each hand-over, decided once (law 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn device_ids_are_in_the_order_of_their_bytes() {
        let ids: std::vec::Vec<DeviceId> = [(0, 1), (7, 1), (7, 2), (8, 0), (31, 9), (8, 255)]
            .into_iter()
            .map(|(at, byte)| {
                let mut id = [3; 32];
                id[at] = byte;
                DeviceId(id)
            })
            .collect();
        for a in &ids {
            for b in &ids {
                assert_eq!(a.cmp(b), a.0.cmp(&b.0), "{:?} {:?}", a.0, b.0);
            }
        }
    }

    #[test]
    fn device_id_text_is_a_libp2p_peer_id() {
        // Test vector of the libp2p "Peer Ids and Keys" form: identity multihash of an Ed25519 key.
        let id = DeviceId([0u8; 32]);
        let text = id.to_string();
        assert!(text.starts_with("12D3Koo"), "{text}");
        assert_eq!(text.parse::<DeviceId>().unwrap(), id);
    }

    #[test]
    fn foreign_text_is_refused() {
        for text in ["", "12D3Koo", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "0OIl", "é"] {
            assert!(text.parse::<DeviceId>().is_err(), "{text}");
        }
        assert!("00".parse::<TaskId>().is_err());
    }

    #[test]
    fn a_task_id_names_its_submitter() {
        let (ours, theirs) = (DeviceId([1; 32]), DeviceId([2; 32]));
        let id = TaskId::of(&ours, [7; 8]);
        assert!(id.is_of(&ours) && !id.is_of(&theirs));
        assert_ne!(id, TaskId::of(&ours, [8; 8]));
        assert!(!TaskId([7; 16]).is_of(&ours));
        // Ids outlive versions of the program.
        assert_eq!(id.to_string(), "070707070707070791ba862b969573fb");
        let long = "1".repeat(10_000);
        assert!(long.parse::<DeviceId>().is_err());
    }
}
