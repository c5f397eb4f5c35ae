//! `ask/1`: a program asks a service. The device that runs the program sends one request of this service in the program's
//! name; the device that has the service checks whether both may, and answers as the service does. The number lets it carry
//! out once what is asked again, by the same device or by the one to which the program has moved.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{DeviceId, Message, ServiceName, TaskId, limits};

/// Longest body, in bytes.
pub const BODY_BYTES: usize = 512 << 10;

/// What a program asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// Which service.
    pub service: ServiceName,
    /// The program's task.
    pub task: TaskId,
    /// Whose task it is: it must be allowed the service, too.
    pub submitter: DeviceId,
    /// The number of this question within the task.
    pub number: u64,
    /// What the service is asked.
    pub body: Vec<u8>,
}

impl Message for Ask {
    const KIND: u16 = 0x0500;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = BODY_BYTES + 128 + limits::SERVICE_NAME_BYTES;
}

impl Ask {
    /// Whether all of it is within its limits, and the task is one of this submitter's.
    pub fn is_sound(&self) -> bool {
        self.body.len() <= BODY_BYTES && self.task.is_of(&self.submitter)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{decode, encode};

    fn ask() -> Ask {
        let submitter = DeviceId([1; 32]);
        let task = TaskId::of(&submitter, [7; 8]);
        Ask { service: "echo/1".parse().unwrap(), task, submitter, number: 300, body: vec![0xaa, 0xbb] }
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
    fn a_task_of_somebody_else_is_not_believed() {
        assert!(ask().is_sound());
        assert!(!Ask { submitter: DeviceId([2; 32]), ..ask() }.is_sound());
        assert!(!Ask { body: vec![0; BODY_BYTES + 1], ..ask() }.is_sound());
        let largest = Ask { number: u64::MAX, body: vec![0; BODY_BYTES], ..ask() };
        assert!(encode(&largest).is_ok());
    }

    const ASK_HEX: &str = concat!(
        "3c00000000050100066563686f2f31070707070707070791ba862b969573fb01010101010101010101010101010101",
        "01010101010101010101010101010101ac0202aabb",
    );
}
