/// Why a call failed, as WASI preview 1 counts them (`wasi_snapshot_preview1.witx`, `$errno`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
#[allow(missing_docs, reason = "the names are those of POSIX")]
pub enum Errno {
    Success = 0,
    Access = 2,
    Again = 6,
    BadFd = 8,
    Exist = 20,
    Fault = 21,
    FileTooBig = 22,
    IllegalSequence = 25,
    Invalid = 28,
    Io = 29,
    IsDirectory = 31,
    Loop = 32,
    TooManyFiles = 33,
    NameTooLong = 37,
    NoEntry = 44,
    NoSpace = 51,
    NoSystem = 52,
    NotDirectory = 54,
    NotEmpty = 55,
    NotSupported = 58,
    NotPermitted = 63,
    Pipe = 64,
    SeekPipe = 70,
    NotCapable = 76,
}
