//! `ask/1`: a program asks a service. The device that runs the program sends one request of this service in the program's
//! name, with the program's grant, which tells by its signature whose program it is and what it may ask. The device that has
//! the service checks that and whether both devices may, and answers as the service does. The number lets it carry out once what
//! is asked again, by the same device or by the one to which the program has moved.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::task_control::GRANT_BYTES;
use crate::{Message, ServiceName, Signed, limits};

/// Longest body, in bytes.
pub const BODY_BYTES: usize = 512 << 10;

/// What a program asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// Which service.
    pub service: ServiceName,
    /// The grant of the program's task, signed by whoever submitted it.
    pub grant: Signed,
    /// The number of this question within the task.
    pub number: u64,
    /// What the service is asked.
    pub body: Vec<u8>,
}

impl Message for Ask {
    const KIND: u16 = 0x0500;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = BODY_BYTES + GRANT_BYTES + 256 + limits::SERVICE_NAME_BYTES;
}

impl Ask {
    /// Whether all of it is within its limits. The grant speaks for itself.
    pub fn is_sound(&self) -> bool {
        self.body.len() <= BODY_BYTES && self.grant.body.len() <= GRANT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{DeviceId, Sig, decode, encode};

    fn ask() -> Ask {
        let grant = Signed { signer: DeviceId([1; 32]), body: vec![5, 6, 7], sig: Sig::from_bytes([9; 64]) };
        Ask { service: "echo/1".parse().unwrap(), grant, number: 300, body: vec![0xaa, 0xbb] }
    }

    #[test]
    fn ask_golden() {
        let bytes = encode(&ask()).unwrap();
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), ASK_HEX);
        assert_eq!(decode::<Ask>(&bytes).unwrap(), ask());
        for cut in 0..bytes.len() {
            assert!(decode::<Ask>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_sound() {
        assert!(ask().is_sound());
        assert!(!Ask { body: vec![0; BODY_BYTES + 1], ..ask() }.is_sound());
        let long = Signed { body: vec![0; GRANT_BYTES], ..ask().grant };
        assert!(
            !Ask { grant: Signed { body: vec![0; GRANT_BYTES + 1], ..long.clone() }, ..ask() }.is_sound()
        );
        let largest = Ask { grant: long, number: u64::MAX, body: vec![0; BODY_BYTES], ..ask() };
        assert!(largest.is_sound() && encode(&largest).is_ok());
    }

    const ASK_HEX: &str = concat!(
        "7000000000050100066563686f2f310101010101010101010101010101010101010101010101010101010101010101",
        "0305060709090909090909090909090909090909090909090909090909090909090909090909090909090909090909",
        "090909090909090909090909090909090909090909ac0202aabb",
    );
}
