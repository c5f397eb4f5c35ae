use std::net::SocketAddr;

use softbus_core::{DeviceId, ErrorCode, ServiceName};

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
    /// The disk.
    #[error("storage: {0}")]
    Storage(String),
    /// This bus is closing.
    #[error("the bus is shutting down")]
    Closed,
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
