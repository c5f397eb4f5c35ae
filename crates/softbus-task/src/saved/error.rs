/// Why a file is no saved state of a task, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// It begins with something else.
    #[error("this is no saved checkpoint of softbus: it begins with something else")]
    NotOne,
    /// Of another form.
    #[error("saved in form {0}, and this softbus reads form {form}: use the version that saved it", form = super::VERSION)]
    Version(u16),
    /// It ends too early.
    #[error("the file ends in the middle of {0}: it is not whole")]
    Truncated(&'static str),
    /// What it says of itself.
    #[error("what the file says of itself is damaged: its head is {0}")]
    Head(&'static str),
    /// What it says of itself was changed.
    #[error(
        "what the file says of itself is damaged, or not by the device that it names: the signature does not fit"
    )]
    Signature,
    /// The state is larger than this device lets one be.
    #[error("its state has {bytes} bytes, and this device takes at most {most}")]
    TooLarge {
        /// As signed.
        bytes: u64,
        /// Allowed.
        most: u64,
    },
    /// The hashes of its pieces.
    #[error("the list of its pieces is damaged")]
    List,
    /// A length that does not fit what was signed.
    #[error("the length of piece {0} is damaged")]
    PieceLength(usize),
    /// A piece whose hash is another.
    #[error("piece {0} of its state is damaged")]
    Piece(usize),
    /// Bytes behind the end.
    #[error("something follows the end of the saved state: the file was changed")]
    Trailing,
    /// It could not be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
}
