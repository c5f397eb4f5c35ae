//! A command's end of the control socket.

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::frame::{self, Body};
use super::proto::{Call, Reply as Wire, Request, Response};
use super::{Event, FrameError};
use crate::failure::{Failure, Kind};

/// How long connecting to the socket of a running node may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a node may take over a request that has no length of its own. Requests that stream events may
/// go on for as long as they like.
const ANSWER: Duration = Duration::from_secs(60);
/// How much of a body is held at once where it is not needed whole.
const PIECE: usize = 1 << 20;

/// What a node answered at last.
#[derive(Debug)]
pub struct Reply {
    /// The answer.
    pub response: Response,
    /// The bytes that came with it.
    pub body: Body,
}

/// Knows where a node's socket is. Each call is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    data_dir: PathBuf,
    socket: PathBuf,
}

/// A call under way: its events, then its answer.
pub struct Stream {
    reader: BufReader<OwnedReadHalf>,
    // Held so that the node sees the end of the call when this is dropped.
    _writer: OwnedWriteHalf,
}

impl Client {
    /// For the node of a data folder, running or not.
    pub fn new(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_path_buf(), socket: crate::paths::control_socket(data_dir) }
    }

    /// Whether a node answers.
    pub async fn is_running(&self) -> bool {
        self.connect().await.is_ok()
    }

    /// Sends a request and waits for its answer; events on the way are passed over.
    pub async fn call(&self, request: Request) -> Result<Response, Failure> {
        Ok(self.call_with(request, &[]).await?.response)
    }

    /// Like [`Client::call`], with a body both ways.
    pub async fn call_with(&self, request: Request, body: &[u8]) -> Result<Reply, Failure> {
        let limit = request.time_limit().unwrap_or(ANSWER);
        let answer = async {
            let mut stream = self.stream_with(request, body).await?;
            loop {
                if let Step::Done(reply) = stream.next().await? {
                    return Ok(reply);
                }
            }
        };
        tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
            Err(Failure::timeout(format!("the node gave no answer within {} s", limit.as_secs()))
                .advise("see its log; `softbus doctor` looks for causes"))
        })
    }

    /// Sends a request whose answer comes with events before it.
    pub async fn stream(&self, request: Request) -> Result<Stream, Failure> {
        self.stream_with(request, &[]).await
    }

    /// Sends a request with a body of `len` bytes that is read bit by bit.
    pub async fn upload(&self, request: Request, from: &mut impl Read, len: u64) -> Result<Stream, Failure> {
        let (reader, mut writer) = self.connect().await?.into_split();
        let call = Call::new(request, len);
        let mut left = len;
        let sent = async {
            frame::write(&mut writer, &call, &[]).await?;
            let mut piece = vec![0; PIECE];
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                let read = from.read(&mut piece[..most])?;
                if read == 0 {
                    return Err(FrameError::Truncated);
                }
                writer.write_all(&piece[..read]).await?;
                left -= read as u64;
            }
            Ok(())
        };
        let sent = sent.await;
        Self::begun(Stream { reader: BufReader::new(reader), _writer: writer }, sent).await
    }

    /// Like [`Client::stream`], with a body.
    pub async fn stream_with(&self, request: Request, body: &[u8]) -> Result<Stream, Failure> {
        let (reader, mut writer) = self.connect().await?.into_split();
        let call = Call::new(request, body.len() as u64);
        let sent = frame::write(&mut writer, &call, body).await;
        Self::begun(Stream { reader: BufReader::new(reader), _writer: writer }, sent).await
    }

    async fn begun(mut stream: Stream, sent: Result<(), FrameError>) -> Result<Stream, Failure> {
        if let Err(error) = sent {
            // The node may have said why before it closed.
            return match stream.next().await {
                Err(failure) if failure.kind != Kind::Failed => Err(failure),
                _ => Err(error.into()),
            };
        }
        Ok(stream)
    }

    /// What a person types here (PINs, recovery words) is for their own node: a socket outside the data folder may
    /// have been put there by somebody else.
    fn check_node(&self, stream: UnixStream) -> Result<UnixStream, Failure> {
        let node = stream.peer_cred().map_err(|e| Failure::io("who serves the control socket", &e))?.uid();
        let us = rustix::process::getuid().as_raw();
        let owner = std::fs::metadata(&self.data_dir).ok().map(|meta| meta.uid());
        if node == us || node == 0 || (us == 0 && owner == Some(node)) {
            return Ok(stream);
        }
        Err(Failure::new(
            Kind::Refused,
            format!("{} is served by another user ({node})", self.socket.display()),
        )
        .advise("remove that socket, or choose another folder with --data-dir DIR"))
    }

    async fn connect(&self) -> Result<UnixStream, Failure> {
        let connecting = tokio::time::timeout(CONNECT, UnixStream::connect(&self.socket));
        match connecting.await {
            Ok(Ok(stream)) => self.check_node(stream),
            Ok(Err(e))
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
                ) =>
            {
                Err(Failure::new(
                    Kind::NotRunning,
                    format!("no softbus node is running for {}", self.data_dir.display()),
                )
                .advise("start one with `softbus up` (or say where its data is with --data-dir DIR)"))
            }
            Ok(Err(e)) => Err(Failure::io(format!("control socket {}", self.socket.display()), &e)),
            Err(_) => Err(Failure::timeout(format!(
                "the node of {} does not take calls: it hangs or has too many",
                self.data_dir.display()
            ))),
        }
    }
}

/// What came next.
#[derive(Debug)]
pub enum Step {
    /// Something happened on the way.
    Event(Event),
    /// The end: the answer.
    Done(Reply),
}

impl Stream {
    /// The next event, or the answer. A failure is the end too.
    pub async fn next(&mut self) -> Result<Step, Failure> {
        match self.line().await? {
            Wire::Event { event, .. } => Ok(Step::Event(event)),
            Wire::Done { response, body, .. } => {
                let body = frame::read_body(&mut self.reader, body, frame::BODY_BYTES).await?;
                Ok(Step::Done(Reply { response, body }))
            }
            Wire::Failed { failure, .. } => Err(failure),
        }
    }

    /// The answer, past all events, with its body written out bit by bit; how long that was.
    pub async fn download(&mut self, into: &mut impl Write) -> Result<(Response, u64), Failure> {
        let (response, len) = loop {
            match self.line().await? {
                Wire::Event { .. } => {}
                Wire::Done { response, body, .. } => break (response, body),
                Wire::Failed { failure, .. } => return Err(failure),
            }
        };
        if len > frame::SAVED_BYTES {
            return Err(FrameError::BodyTooLong(len, frame::SAVED_BYTES).into());
        }
        let (mut left, mut piece) = (len, vec![0; PIECE]);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let read = self.reader.read(&mut piece[..most]).await.map_err(FrameError::from)?;
            if read == 0 {
                return Err(FrameError::Truncated.into());
            }
            into.write_all(&piece[..read]).map_err(|e| Failure::io("cannot write what came", &e))?;
            left -= read as u64;
        }
        Ok((response, len))
    }

    async fn line(&mut self) -> Result<Wire, Failure> {
        let line = match frame::read_line(&mut self.reader).await {
            Ok(Some(line)) => line,
            Ok(None) | Err(FrameError::Truncated) => {
                return Err(Failure::failed("the node went away in the middle of the call")
                    .advise("see its log, and start it again with `softbus up`"));
            }
            Err(e) => return Err(e.into()),
        };
        Ok(frame::parse_reply(&line)?)
    }
}
