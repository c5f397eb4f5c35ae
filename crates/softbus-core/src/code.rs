use core::fmt;

use serde::{Deserialize, Serialize};

/// Why a connection or stream was closed or a request refused: the number that travels in QUIC's
/// CONNECTION_CLOSE, RESET_STREAM and STOP_SENDING (RFC 9000, section 20.2) and in refusals.
/// Grows only at the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(u32)]
pub enum ErrorCode {
    /// Nothing is wrong: done, or shutting down.
    None = 0,
    /// Our own fault.
    Internal = 1,
    /// The peer's bytes could not be understood.
    Malformed = 2,
    /// The peer speaks only versions that are too old for us.
    PeerTooOld = 3,
    /// The peer speaks only versions that are too new for us.
    PeerTooNew = 4,
    /// No trust: not in a common circle, and pairing is not open.
    NotTrusted = 5,
    /// Trusted, but this service is not allowed.
    Forbidden = 6,
    /// No such service here.
    NoSuchService = 7,
    /// A limit is reached; try later.
    Busy = 8,
    /// Took too long.
    Timeout = 9,
    /// Another connection carries this link now.
    Superseded = 10,
    /// Trust was withdrawn while connected.
    Removed = 11,
    /// Cancelled by its user.
    Cancelled = 12,
    /// Nothing of that name or id.
    NotFound = 13,
    /// Not possible in the present state.
    Conflict = 14,
    /// Storage is full or fails.
    Storage = 15,
    /// Not reachable now.
    Unreachable = 16,
    /// The peer is this very device.
    Oneself = 17,
    /// Going to sleep as announced; the link rests until the device wakes.
    Sleeping = 18,
    /// Unused for a while and past the link budget: the link rests until one side needs it.
    Resting = 19,
    /// Trust had an end, and that has come: an owner can renew it.
    Expired = 20,
}

impl ErrorCode {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The code of a number; unknown numbers (of a newer peer) read as [`ErrorCode::Internal`].
    pub fn from_number(number: u64) -> Self {
        use ErrorCode::*;
        const ALL: [ErrorCode; 21] = [
            None,
            Internal,
            Malformed,
            PeerTooOld,
            PeerTooNew,
            NotTrusted,
            Forbidden,
            NoSuchService,
            Busy,
            Timeout,
            Superseded,
            Removed,
            Cancelled,
            NotFound,
            Conflict,
            Storage,
            Unreachable,
            Oneself,
            Sleeping,
            Resting,
            Expired,
        ];
        usize::try_from(number).ok().and_then(|n| ALL.get(n).copied()).unwrap_or(Internal)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "done",
            Self::Internal => "the other device failed",
            Self::Malformed => "the message was not understood",
            Self::PeerTooOld => "this device's softbus is too old for the other one: update it",
            Self::PeerTooNew => "the other device's softbus is too old for this one: update the other",
            Self::NotTrusted => "the devices are not in a common circle: pair them first",
            Self::Forbidden => "this device may not use that service",
            Self::NoSuchService => "the other device has no such service",
            Self::Busy => "the other device is at its limit: try again later",
            Self::Timeout => "it took too long",
            Self::Superseded => "a newer connection took its place",
            Self::Removed => "the device was removed from the circle",
            Self::Cancelled => "it was cancelled",
            Self::NotFound => "there is nothing of that name",
            Self::Conflict => "it is not possible in the present state",
            Self::Storage => "the other device could not store it",
            Self::Unreachable => "the device is not reachable now",
            Self::Oneself => "this is the device itself",
            Self::Sleeping => "the device went to sleep",
            Self::Resting => "the link rests until it is needed",
            Self::Expired => "the device's time in the circle has run out: an owner can renew it",
        })
    }
}
