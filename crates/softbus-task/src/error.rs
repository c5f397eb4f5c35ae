use softbus_core::{DeviceId, ErrorCode, Hash, TaskId};

/// Why the task room could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// No device here has such a type of task in its registry.
    #[error("no task type `{0}` is registered here; it needs name/version, such as `picture/1`")]
    UnknownType(String),
    /// This device does not know the task.
    #[error("no task {0} is known here or on any device in reach")]
    NoSuchTask(TaskId),
    /// Input, name or options are out of bounds.
    #[error("the task cannot be submitted: {0}")]
    BadSubmission(String),
    /// The value has no serialised form, or the bytes are not that value.
    #[error("{what} cannot be {verb}: {why}")]
    Codec {
        /// What, such as `input`.
        what: &'static str,
        /// `written` or `read`.
        verb: &'static str,
        /// Why.
        why: String,
    },
    /// No device may or can take it; the explanation says why each one cannot.
    #[error("no device can take it:\n{0}")]
    NoPlace(String),
    /// The device refused or failed.
    #[error("{device} did not do it: {code}{}{why}", if .why.is_empty() { "" } else { ": " })]
    Refused {
        /// Which device.
        device: DeviceId,
        /// Its answer.
        code: ErrorCode,
        /// Its words.
        why: String,
    },
    /// Not in reach.
    #[error("{0} is not in reach now; try again when it is")]
    Unreachable(DeviceId),
    /// This device may not do that with this task.
    #[error("this device may not do that with task {0}: ask its submitter or an owner of the circle")]
    Forbidden(TaskId),
    /// A saved state that a device signed which is not trusted.
    #[error("{0} saved this state, and is no member of this circle")]
    Stranger(DeviceId),
    /// The task ended without a result.
    #[error("task {task} has no result: {why}")]
    NoResult {
        /// Which task.
        task: TaskId,
        /// How it ended.
        why: String,
    },
    /// Not in the state that the act needs.
    #[error("not possible now: {0}")]
    Conflict(String),
    /// What was asked for has begun and is not settled; the status tells how it goes on.
    #[error("not settled yet: {0}")]
    NotYet(&'static str),
    /// A chunk or image is damaged.
    #[error(
        "chunk {0} of a checkpoint is damaged or missing; it is fetched again from another holder if there is one"
    )]
    Damaged(Hash),
    /// The disk.
    #[error("cannot store: {0}; free some space, it is tried again")]
    Storage(String),
    /// The secret that opens what is kept of tasks cannot be read.
    #[error("the secret `tasks.key` cannot be read: {0}")]
    Secret(std::io::Error),
    /// The secret that opens what is kept of tasks is damaged, or another one.
    #[error(
        "the secret `tasks.key` {0}. Put it back from a copy of the data folder. Without one what it should open is lost: \
         only then remove it, and this device begins a new one"
    )]
    WrongSecret(String),
    /// A limit of this device.
    #[error("limit reached: {0}")]
    Limit(&'static str),
    /// A peer's bytes.
    #[error("the other device sent something not understood: {0}")]
    Protocol(String),
    /// The bus is closing.
    #[error("the bus is shutting down")]
    Closed,
}

impl TaskError {
    /// The code told to a peer.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownType(_) | Self::NoSuchTask(_) | Self::NoResult { .. } => ErrorCode::NotFound,
            Self::BadSubmission(_) | Self::Codec { .. } | Self::Protocol(_) => ErrorCode::Malformed,
            Self::NoPlace(_) | Self::Limit(_) => ErrorCode::Busy,
            Self::Refused { code, .. } => *code,
            Self::Unreachable(_) => ErrorCode::Unreachable,
            Self::Forbidden(_) | Self::Stranger(_) => ErrorCode::Forbidden,
            Self::Conflict(_) => ErrorCode::Conflict,
            Self::NotYet(_) => ErrorCode::Timeout,
            Self::Damaged(_) | Self::Storage(_) | Self::Secret(_) | Self::WrongSecret(_) => {
                ErrorCode::Storage
            }
            Self::Closed => ErrorCode::Cancelled,
        }
    }
}

impl From<std::io::Error> for TaskError {
    fn from(error: std::io::Error) -> Self {
        Self::Storage(error.to_string())
    }
}
