use std::net::SocketAddr;

use softbus_core::{DecodeError, DeviceId, EncodeError, ErrorCode, ServiceName};

/// Why the network room could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The endpoint's socket could not be bound.
    #[error(
        "cannot bind UDP port {port}: {source}; is another softbus running? choose another port or 0 for any"
    )]
    Bind {
        /// Port asked for.
        port: u16,
        /// The system's reason.
        source: std::io::Error,
    },
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// No connection to the device now, and none came in time.
    #[error("{0} is not reachable now")]
    Unreachable(DeviceId),
    /// Nobody, or somebody else, answered at the address.
    #[error("cannot reach {addr}: {reason}")]
    Dial {
        /// Address dialled.
        addr: SocketAddr,
        /// What happened.
        reason: String,
    },
    /// The other side refused or closed with a code.
    #[error("refused by the other device: {0}")]
    Refused(ErrorCode),
    /// The service is not there or not allowed.
    #[error("{service} on {peer}: {code}")]
    Service {
        /// The device.
        peer: DeviceId,
        /// The service.
        service: ServiceName,
        /// Why.
        code: ErrorCode,
    },
    /// The two devices speak no common version of the link protocol.
    #[error(
        "{peer} speaks versions {}–{} of the link protocol, this device {}–{}: update {}",
        theirs.0, theirs.1, ours.0, ours.1,
        if theirs.1 < ours.0 { "the other device" } else { "this device" }
    )]
    Incompatible {
        /// The device.
        peer: DeviceId,
        /// Its lowest and highest version.
        theirs: (u16, u16),
        /// Ours.
        ours: (u16, u16),
    },
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The other device restarted while it had a request of ours; it may or may not have carried it out.
    #[error("{0} restarted before it answered: whether it did what was asked is not known")]
    Restarted(DeviceId),
    /// Bytes from the peer are not the message that was expected.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// A message of ours has no wire form.
    #[error(transparent)]
    Unsendable(#[from] EncodeError),
    /// A limit of this device is reached.
    #[error("at most {max} {what} are allowed at once: try later")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// The disk.
    #[error("storage: {0}")]
    Storage(String),
    /// This bus is closing.
    #[error("the bus is shutting down")]
    Closed,
}

impl NetError {
    /// The code that tells another device of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(code) | Self::Service { code, .. } => *code,
            Self::Unreachable(_) | Self::Dial { .. } | Self::Lost(_) | Self::Restarted(_) => {
                ErrorCode::Unreachable
            }
            Self::Incompatible { theirs, ours, .. } if theirs.1 < ours.0 => ErrorCode::PeerTooOld,
            Self::Incompatible { .. } => ErrorCode::PeerTooNew,
            Self::Malformed(_) => ErrorCode::Malformed,
            Self::Limit { .. } => ErrorCode::Busy,
            Self::Storage(_) => ErrorCode::Storage,
            Self::Bind { .. } | Self::Tls(_) | Self::Unsendable(_) => ErrorCode::Internal,
            Self::Closed => ErrorCode::Cancelled,
        }
    }
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It could not be sent, or no answer came back.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The handler answered with an error.
    #[error("the other device answered: {0}")]
    Code(ErrorCode),
    /// Longer than allowed.
    #[error("{len} bytes, at most {max} are allowed in a request or its answer")]
    TooLong {
        /// Length in bytes.
        len: usize,
        /// Limit in bytes.
        max: usize,
    },
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
}
