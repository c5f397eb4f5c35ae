//! The program's one error: what failed, with what, what to do next, and which exit code that is.

use std::fmt;

use serde::{Deserialize, Serialize};
use softbus_core::ErrorCode;

/// What sort of failure. Each has an exit code of the program; over the control socket it travels by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It went wrong, and none of the others says how.
    Failed,
    /// The command line, the configuration or the request cannot be understood.
    Usage,
    /// No node runs on this data folder.
    NotRunning,
    /// No device, task, circle or file of that name.
    NotFound,
    /// Not trusted, or not allowed.
    Refused,
    /// It took too long.
    Timeout,
    /// Not possible in the present state (such as a second node on one data folder).
    Conflict,
    /// A device cannot be reached now.
    Unreachable,
    /// A simulation violated an invariant.
    Violated,
    /// Stopped by Ctrl-C.
    Interrupted,
}

impl Kind {
    /// All kinds, with what `--help` says of their exit codes.
    pub const ALL: [(Kind, &'static str); 10] = [
        (Kind::Failed, "it failed"),
        (Kind::Usage, "the command line or configuration is wrong"),
        (Kind::NotRunning, "no node is running here: start one with `softbus up`"),
        (Kind::NotFound, "no such device, task, circle or file"),
        (Kind::Refused, "refused: not trusted or not allowed"),
        (Kind::Timeout, "it took too long"),
        (Kind::Conflict, "not possible in the present state"),
        (Kind::Unreachable, "a device cannot be reached now"),
        (Kind::Violated, "a simulation violated an invariant"),
        (Kind::Interrupted, "stopped by Ctrl-C"),
    ];

    /// The program's exit code (0 is success).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotRunning => 3,
            Self::NotFound => 4,
            Self::Refused => 5,
            Self::Timeout => 6,
            Self::Conflict => 7,
            Self::Unreachable => 8,
            Self::Violated => 9,
            Self::Interrupted => 130,
        }
    }
}

/// Why a command did not do as asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What sort.
    pub kind: Kind,
    /// What failed, with what.
    pub message: String,
    /// What the reader can do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The exit status of a program that was run: passed on as the exit code of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exited: Option<u32>,
}

impl Failure {
    /// A failure of a kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), advice: None, exited: None }
    }

    /// Of no particular kind.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// The request makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Nothing of that name.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// Not possible now.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// It took too long.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(Kind::Timeout, message)
    }

    /// Adds what the reader can do next.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// A program that was run ended with a status that is not 0.
    #[must_use]
    pub fn exited(mut self, status: u32) -> Self {
        self.exited = Some(status);
        self
    }

    /// The exit code of the program: of its kind, or of the program that was run. What has no room in a byte is 255.
    pub fn exit_code(&self) -> u8 {
        match self.exited {
            Some(status) => u8::try_from(status).unwrap_or(u8::MAX),
            None => self.kind.exit_code(),
        }
    }

    /// Puts what was being done in front of the message.
    #[must_use]
    pub fn during(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// A failure of the operating system while doing `what`.
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::PermissionDenied => Kind::Refused,
            ErrorKind::TimedOut => Kind::Timeout,
            _ => Kind::Failed,
        };
        let failure = Self::new(kind, format!("{what}: {error}"));
        match error.kind() {
            ErrorKind::PermissionDenied => {
                failure.advise("check who owns the file or folder and its permissions")
            }
            ErrorKind::StorageFull => failure.advise("free some disk space and try again"),
            _ => failure,
        }
    }

    /// A failure that another device told by its code.
    pub fn code(what: impl fmt::Display, code: ErrorCode) -> Self {
        Self::new(kind_of(code), format!("{what}: {code}"))
    }
}

/// The sort of failure an error code tells.
pub fn kind_of(code: ErrorCode) -> Kind {
    match code {
        ErrorCode::NotTrusted | ErrorCode::Forbidden | ErrorCode::Removed | ErrorCode::Expired => {
            Kind::Refused
        }
        ErrorCode::NotFound | ErrorCode::NoSuchService => Kind::NotFound,
        ErrorCode::Timeout => Kind::Timeout,
        ErrorCode::Unreachable | ErrorCode::Sleeping => Kind::Unreachable,
        ErrorCode::Conflict | ErrorCode::Oneself | ErrorCode::Busy => Kind::Conflict,
        ErrorCode::Malformed => Kind::Usage,
        _ => Kind::Failed,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_exit_code() {
        let mut codes: Vec<u8> = Kind::ALL.iter().map(|(kind, _)| kind.exit_code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Kind::ALL.len());
        assert!(!codes.contains(&0));
    }

    #[test]
    fn the_status_of_a_program_is_passed_on() {
        let ended = |status| Failure::failed("it ended").exited(status).exit_code();
        assert_eq!([ended(3), ended(255), ended(256), ended(u32::MAX)], [3, 255, 255, 255]);
        assert_eq!(Failure::usage("x").exit_code(), 2);
    }

    #[test]
    fn codes_of_other_devices_become_kinds() {
        assert_eq!(Failure::code("x", ErrorCode::NotTrusted).kind, Kind::Refused);
        let expired = Failure::code("x", ErrorCode::Expired);
        assert_eq!(expired.kind, Kind::Refused);
        assert!(expired.message.contains("renew"), "{}", expired.message);
        assert_eq!(Failure::code("x", ErrorCode::Timeout).kind, Kind::Timeout);
        assert_eq!(Failure::code("x", ErrorCode::Unreachable).kind.exit_code(), 8);
    }
}
