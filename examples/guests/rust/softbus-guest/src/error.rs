use core::fmt;

/// Why a call failed: an error number of WASI preview 1, as `softbus.h` names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Whoever has the service does not let this program in.
    Refused,
    /// Too much is unanswered: take answers first.
    Again,
    /// Nobody answered within a minute.
    Unreachable,
    /// No such level, an empty key, no name of a service.
    Invalid,
    /// The service was asked, and could not.
    Failed,
    /// Too many channels are open.
    TooManyChannels,
    /// The message, its answer, a value, a key or a name is too long.
    TooLong,
    /// No such key, no key after it.
    NotFound,
    /// Nothing was sent for which an answer could come.
    NothingSent,
    /// The map is full.
    NoSpace,
    /// There is nobody for that.
    NotSupported,
    /// There is no room for so many bytes.
    NoRoom(usize),
    /// Not within the time; it may still come.
    TimedOut,
    /// The program was not granted that.
    NotGranted,
    /// Another error number.
    Other(u32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the service does not let this program in",
            Self::Again => "too much is unanswered",
            Self::Unreachable => "nobody answered",
            Self::Invalid => "an argument that cannot be",
            Self::Failed => "the service could not",
            Self::TooManyChannels => "too many channels are open",
            Self::TooLong => "longer than it may be",
            Self::NotFound => "no such key",
            Self::NothingSent => "nothing was sent",
            Self::NoSpace => "the map is full",
            Self::NotSupported => "there is nobody for that",
            Self::NoRoom(bytes) => return write!(f, "no room for {bytes} bytes"),
            Self::TimedOut => "no answer within the time",
            Self::NotGranted => "not granted to this program",
            Self::Other(number) => return write!(f, "error {number}"),
        })
    }
}

impl core::error::Error for Error {}

/// What an error number means.
pub(crate) fn check(number: u32) -> Result<(), Error> {
    Err(match number {
        0 => return Ok(()),
        2 => Error::Refused,
        6 => Error::Again,
        22 | 35 | 37 => Error::TooLong,
        23 => Error::Unreachable,
        28 => Error::Invalid,
        29 => Error::Failed,
        33 => Error::TooManyChannels,
        44 => Error::NotFound,
        49 => Error::NothingSent,
        51 => Error::NoSpace,
        58 => Error::NotSupported,
        73 => Error::TimedOut,
        76 => Error::NotGranted,
        other => Error::Other(other),
    })
}

/// The bytes that a call gave out into `room`.
pub(crate) fn given(number: u32, room: &mut [u8], len: u32) -> Result<&mut [u8], Error> {
    const OVERFLOW: u32 = 61;
    if number == OVERFLOW {
        return Err(Error::NoRoom(len as usize));
    }
    check(number)?;
    room.get_mut(..len as usize).ok_or(Error::NoRoom(len as usize))
}

/// The room for what a call gives out, as it is told.
pub(crate) fn cap(room: &[u8]) -> u32 {
    u32::try_from(room.len()).unwrap_or(u32::MAX)
}

/// The length of what a call takes: more than 32 bits can say is too long for all of them.
pub(crate) fn len(bytes: &[u8]) -> Result<u32, Error> {
    u32::try_from(bytes.len()).map_err(|_| Error::TooLong)
}
