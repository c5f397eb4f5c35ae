//! What a program reaches through the device that runs it. This room knows no mesh: whoever makes the runtime brings one.

use std::task::Waker;

use serde::{Deserialize, Serialize};
use softbus_core::{ServiceName, TaskId};

use crate::wasi::Errno;

/// Who answers: a name that means something to [`Services`] only.
pub type Server = [u8; 32];

/// Whom a program asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A service of the mesh.
    Service(ServiceName),
    /// Whoever has a model.
    Inference,
}

/// Something that a program asks.
#[derive(Clone, Debug)]
pub struct Question {
    /// The task. Of all zeros outside a bus.
    pub task: TaskId,
    /// Within the task: the same as before if it is asked again, after a move or a fail-over.
    pub number: u64,
    /// Whom.
    pub target: Target,
    /// Who was asked last on this channel, perhaps this very question: it should be asked first.
    pub before: Option<Server>,
    /// What.
    pub bytes: Vec<u8>,
    /// To be woken when there is news of it.
    pub waker: Waker,
}

/// Why a question was not answered. Told in states: grows only at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Failed {
    /// Nothing here, and nobody that is known, does such things.
    NotSupported,
    /// Whoever has the service does not let this program in.
    Refused,
    /// The service said that it could not.
    Error,
    /// The answer is longer than [`limits::MESSAGE_BYTES`](super::limits::MESSAGE_BYTES).
    TooLong,
    /// Nobody answered in the time that there is for it.
    Unanswered,
}

impl Failed {
    pub(super) fn errno(self) -> Errno {
        match self {
            Self::NotSupported => Errno::NotSupported,
            Self::Refused => Errno::Access,
            Self::Error => Errno::Io,
            Self::TooLong => Errno::MessageSize,
            Self::Unanswered => Errno::HostUnreachable,
        }
    }
}

/// A question under way. Dropping it gives it up; whoever is at work on it may be told so.
pub trait Request: Send {
    /// Who is being asked at the moment, or answered.
    fn server(&self) -> Option<Server>;
    /// What came of it, once. Until then it is tried again as long as that makes sense: the program says how long it waits.
    fn poll(&mut self) -> Option<Result<Vec<u8>, Failed>>;
}

/// The services of a mesh, and its models.
pub trait Services: Send + Sync {
    /// Begins to ask. Returns at once. `None`: not now, perhaps later; it is asked again soon.
    fn begin(&self, question: Question) -> Option<Box<dyn Request>>;
}

/// No mesh: whatever is asked is not supported.
pub struct Nobody;

impl Services for Nobody {
    fn begin(&self, _: Question) -> Option<Box<dyn Request>> {
        Some(Box::new(Self))
    }
}

impl Request for Nobody {
    fn server(&self) -> Option<Server> {
        None
    }

    fn poll(&mut self) -> Option<Result<Vec<u8>, Failed>> {
        Some(Err(Failed::NotSupported))
    }
}
