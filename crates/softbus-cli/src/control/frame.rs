//! Lines and bodies on the control socket, bounded.

use serde::Serialize;
use serde::de::DeserializeOwned;
use softbus_core::limits;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::proto::{Call, PROTOCOL, Reply};
use crate::failure::{Failure, Kind};

/// Longest line, in bytes, its newline included. A roster of [`limits::ROSTER_DEVICES`] fits.
pub const LINE_BYTES: usize = 8 << 20;
/// Longest body, in bytes.
pub const BODY_BYTES: u64 = limits::TASK_INPUT_BYTES as u64;

/// Longest file with a saved state of a task, in bytes: an image as large as one may be, and what stands around it.
pub const SAVED_BYTES: u64 = (limits::CHUNKS * (limits::CHUNK_BYTES + 36)) as u64 + (1 << 20);

/// The raw bytes that follow a line; empty if it announced none.
pub type Body = Vec<u8>;

/// Why bytes on the control socket are not a line of it. Never carries the bytes themselves.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side closed in the middle of a line or body.
    #[error("the connection ended in the middle of a message")]
    Truncated,
    /// No newline within the limit.
    #[error("a line of more than {LINE_BYTES} bytes")]
    LineTooLong,
    /// A body longer than allowed: how long, and what is allowed.
    #[error("a body of {0} bytes, at most {1} are allowed")]
    BodyTooLong(u64, u64),
    /// Of another version of the control protocol.
    #[error(
        "control protocol version {0}, this program speaks {PROTOCOL}: the node and the command are of different softbus versions, restart the node"
    )]
    Version(u64),
    /// No JSON of a known form.
    #[error("line not understood: {0}")]
    Malformed(String),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        let kind = match error {
            FrameError::Version(_) => Kind::Conflict,
            FrameError::LineTooLong | FrameError::BodyTooLong(..) | FrameError::Malformed(_) => Kind::Usage,
            FrameError::Truncated | FrameError::Io(_) => Kind::Failed,
        };
        Failure::new(kind, format!("control socket: {error}"))
    }
}

/// Parses one line of a client, which is foreign bytes.
pub fn parse_call(line: &[u8]) -> Result<Call, FrameError> {
    parse(line)
}

/// Parses one line of a node, which is foreign bytes too.
pub fn parse_reply(line: &[u8]) -> Result<Reply, FrameError> {
    parse(line)
}

/// Version first, so that another version is told as such and not as malformed.
fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, FrameError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        v: u64,
    }
    if line.len() > LINE_BYTES {
        return Err(FrameError::LineTooLong);
    }
    let malformed = |e: serde_json::Error| FrameError::Malformed(reason(&e));
    let Versioned { v } = serde_json::from_slice(line).map_err(malformed)?;
    if v != u64::from(PROTOCOL) {
        return Err(FrameError::Version(v));
    }
    serde_json::from_slice(line).map_err(malformed)
}

/// What serde says, shortened: it may quote a foreign value of any length.
fn reason(error: &serde_json::Error) -> String {
    const REASON_CHARS: usize = 200;
    let text = error.to_string();
    if text.chars().count() <= REASON_CHARS {
        text
    } else {
        text.chars().take(REASON_CHARS).chain(['…']).collect()
    }
}

/// Reads one line, without its newline. `None` at a clean end.
pub(super) async fn read_line<R: AsyncBufRead + Unpin>(
    reader: &mut R,
) -> Result<Option<Vec<u8>>, FrameError> {
    let mut line = Vec::new();
    let mut limited = reader.take(LINE_BYTES as u64);
    limited.read_until(b'\n', &mut line).await?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() + 1 >= LINE_BYTES => Err(FrameError::LineTooLong),
        Some(_) => Err(FrameError::Truncated),
    }
}

/// Reads a body of announced length.
pub(super) async fn read_body<R: AsyncRead + Unpin>(
    reader: &mut R,
    len: u64,
    most: u64,
) -> Result<Body, FrameError> {
    if len > most {
        return Err(FrameError::BodyTooLong(len, most));
    }
    // Grows as bytes arrive: an announced length alone costs no memory.
    let mut body = Vec::new();
    reader.take(len).read_to_end(&mut body).await?;
    if body.len() as u64 == len { Ok(body) } else { Err(FrameError::Truncated) }
}

/// Writes a line and its body.
pub(super) async fn write<W: AsyncWrite + Unpin, T: Serialize>(
    writer: &mut W,
    message: &T,
    body: &[u8],
) -> Result<(), FrameError> {
    // It may hold a PIN, or recovery words.
    let mut line =
        Zeroizing::new(serde_json::to_vec(message).map_err(|e| FrameError::Malformed(reason(&e)))?);
    line.push(b'\n');
    if line.len() > LINE_BYTES {
        return Err(FrameError::LineTooLong);
    }
    writer.write_all(&line).await?;
    writer.write_all(body).await?;
    writer.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::control::Request;

    #[test]
    fn a_call_has_this_form() {
        // Golden: the form of a line is a contract with scripts that talk to the socket themselves.
        let call = Call::new(Request::Devices {}, 0);
        assert_eq!(serde_json::to_string(&call).unwrap(), r#"{"v":1,"request":{"do":"devices"}}"#);
        assert_eq!(parse_call(br#"{"v":1,"request":{"do":"devices"}}"#).unwrap(), call);
    }

    #[test]
    fn other_versions_are_told_as_such() {
        assert!(matches!(parse_call(br#"{"v":2,"anything":[1,2]}"#), Err(FrameError::Version(2))));
        assert!(matches!(parse_call(br#"{"request":{"do":"devices"}}"#), Err(FrameError::Malformed(_))));
        assert!(matches!(parse_call(b""), Err(FrameError::Malformed(_))));
    }

    #[test]
    fn hostile_lines_are_refused_with_a_short_reason() {
        let deep = "[".repeat(100_000);
        let long_name = format!(r#"{{"v":1,"request":{{"do":"{}"}}}}"#, "x".repeat(100_000));
        let wrong_type = format!(
            r#"{{"v":1,"request":{{"do":"set-role","device":"x","role":"{}"}}}}"#,
            "0".repeat(100_000)
        );
        for line in
            [deep.as_bytes(), long_name.as_bytes(), wrong_type.as_bytes(), b"\xff\xfe", b"null", b"{}"]
        {
            let Err(FrameError::Malformed(why)) = parse_call(line) else { panic!("accepted") };
            assert!(why.len() < 1000, "{why}");
        }
        assert!(matches!(parse_call(&vec![b' '; LINE_BYTES + 1]), Err(FrameError::LineTooLong)));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = parse_call(&bytes);
            let _ = parse_reply(&bytes);
        }

        #[test]
        fn damaged_lines_never_panic(at in 0usize..200, byte: u8) {
            let mut line = serde_json::to_vec(&Call::new(Request::Tasks { task: None }, 7)).unwrap();
            let at = at % line.len();
            line[at] = byte;
            let _ = parse_call(&line);
        }
    }

    #[tokio::test]
    async fn lines_and_bodies_are_bounded_before_they_are_held() {
        assert_eq!(read_line(&mut &b"ab\ncd"[..]).await.unwrap().unwrap(), b"ab");
        assert!(matches!(read_line(&mut &b"cd"[..]).await, Err(FrameError::Truncated)));
        assert!(read_line(&mut &b""[..]).await.unwrap().is_none());
        let endless = vec![b'x'; LINE_BYTES + 10];
        assert!(matches!(read_line(&mut &endless[..]).await, Err(FrameError::LineTooLong)));
        assert!(matches!(read_body(&mut &b"abc"[..], 4, BODY_BYTES).await, Err(FrameError::Truncated)));
        assert!(matches!(
            read_body(&mut &b"abc"[..], u64::MAX, BODY_BYTES).await,
            Err(FrameError::BodyTooLong(..))
        ));
        assert_eq!(read_body(&mut &b"abcd"[..], 3, BODY_BYTES).await.unwrap(), b"abc");
    }
}
