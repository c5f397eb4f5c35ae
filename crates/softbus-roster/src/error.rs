use softbus_core::{DecodeError, DeviceId, EncodeError, SignedError};
use softbus_net::RequestError;
use softbus_net::seam::store::StoreError;

/// Why the roster could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// The database.
    #[error("the roster cannot be stored: {0}")]
    Store(#[from] StoreError),
    /// Our own description breaks a limit.
    #[error("this device's profile breaks a limit ({0}): shorten its name or its lists")]
    Profile(#[from] ProfileError),
    /// The device is not in the roster.
    #[error("{0} is not in the roster: pair with it first")]
    Unknown(DeviceId),
    /// It could not be asked.
    #[error("{peer} could not be asked how it is: {source}")]
    Ask {
        /// The device.
        peer: DeviceId,
        /// Why.
        source: RequestError,
    },
    /// It answered with something else.
    #[error("{0} did not say how it is")]
    NoAnswer(DeviceId),
    /// The bus is closing.
    #[error("the roster is closed")]
    Closed,
}

/// Why a profile is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProfileError {
    /// The signature is wrong.
    #[error(transparent)]
    Signature(#[from] SignedError),
    /// The signed bytes are no profile.
    #[error("its bytes are no profile: {0}")]
    Bytes(#[from] DecodeError),
    /// It cannot be encoded.
    #[error("it has no wire form: {0}")]
    Encode(#[from] EncodeError),
    /// It is about another device than its signer.
    #[error("{signer} signed a profile of {subject}")]
    Signer {
        /// Who signed.
        signer: DeviceId,
        /// Whom it describes.
        subject: DeviceId,
    },
    /// A text or list is too long.
    #[error("a text or list in it is too long")]
    Limits,
    /// Its time is over.
    #[error("it expired {ago_s} s ago")]
    Expired {
        /// Seconds since.
        ago_s: u64,
    },
    /// It was made in the far future.
    #[error("it was made {ahead_s} s in the future: the clock of one of the devices is wrong")]
    Future {
        /// Seconds ahead.
        ahead_s: u64,
    },
    /// It claims to count longer than allowed, or to end before it began.
    #[error("its lifetime makes no sense")]
    Lifetime,
}
