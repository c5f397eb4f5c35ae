//! The node's end of the control socket.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::frame::{self, Body};
use super::proto::{Reply, Request, Response};
use super::{Event, FrameError};
use crate::failure::{Failure, Kind};

/// Most clients at once; further ones wait in the listen queue.
pub const CLIENTS: usize = 32;
/// Most events that wait for a slow client; past it the node's side of that call waits.
const EVENTS: usize = 64;
/// How long a client may take over sending a request, or over sending none; for its body as long again …
const IDLE: Duration = Duration::from_secs(60);
/// … for each so many bytes of it.
const BODY_PATIENCE: u64 = 256 << 20;
/// How much of a body is written at once.
const PIECE: usize = 1 << 20;
/// How long a client may take over reading one line, or such a piece.
const WRITE: Duration = Duration::from_secs(20);

/// The answer of a request.
#[derive(Debug)]
pub struct Answer {
    /// What to say.
    pub response: Response,
    /// Bytes that go with it.
    pub body: Body,
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self { response, body: Body::new() }
    }
}

/// Where a request's events go on their way to the client.
#[derive(Clone)]
pub struct Events(mpsc::Sender<Event>);

impl Events {
    /// Sends an event; waits for a slow client. Tells whether the client is still there.
    pub async fn send(&self, event: Event) -> bool {
        self.0.send(event).await.is_ok()
    }
}

/// Does what requests ask.
pub trait Handle: Send + Sync + 'static {
    /// Handles one request. Dropped when its client goes away.
    fn handle(
        &self,
        request: Request,
        body: Body,
        events: Events,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

/// The bound socket. Its file is removed when this is dropped.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Binds the socket of a data folder. A socket that a killed node left behind is replaced; one that a
    /// running node serves is not.
    pub async fn bind(data_dir: &Path) -> Result<Self, Failure> {
        let path = crate::paths::control_socket(data_dir);
        // The data folder is its owner's already. The other place may be one where everybody writes.
        if let Some(dir) = path.parent().filter(|dir| *dir != data_dir) {
            crate::paths::private_dir(dir)?;
        }
        if path.symlink_metadata().is_ok() {
            if UnixStream::connect(&path).await.is_ok() {
                return Err(Failure::conflict(format!(
                    "a softbus node is already running for {}",
                    data_dir.display()
                ))
                .advise("stop it with `softbus down`, or start this one with another --data-dir DIR"));
            }
            std::fs::remove_file(&path).map_err(|e| {
                Failure::io(format!("cannot replace the old control socket {}", path.display()), &e)
            })?;
        }
        let what = || format!("cannot make the control socket {}", path.display());
        let listener = UnixListener::bind(&path).map_err(|e| Failure::io(what(), &e))?;
        // Others cannot put anything in its folder; that they cannot speak to it is this and the look at who calls.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .map_err(|e| Failure::io(what(), &e))?;
        Ok(Self { listener, path })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves clients until dropped.
    pub async fn run<H: Handle>(&self, handler: Arc<H>) {
        let slots = Arc::new(Semaphore::new(CLIENTS));
        let mut clients = JoinSet::new();
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            while clients.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let handler = Arc::clone(&handler);
                    let client = async move {
                        if let Err(error) = serve(stream, handler).await {
                            tracing::debug!(%error, "control client dropped");
                        }
                        drop(slot);
                    };
                    clients.spawn(client.in_current_span());
                }
                Err(error) => {
                    tracing::warn!(%error, "control socket does not accept");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves one client until it goes away or breaks the form.
async fn serve<H: Handle>(stream: UnixStream, handler: Arc<H>) -> Result<(), FrameError> {
    let peer = stream.peer_cred()?.uid();
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    if peer != rustix::process::getuid().as_raw() && peer != 0 {
        let failure = Failure::new(Kind::Refused, "this node belongs to another user");
        return write(&mut writer, &Reply::failed(failure), &[]).await;
    }
    loop {
        let (request, body) = match read_call(&mut reader).await {
            Ok(Some(call)) => call,
            Ok(None) => return Ok(()),
            Err(error) => {
                // After a broken line nothing that follows can be trusted to begin at a line's start.
                let failure = Failure::from(error);
                return write(&mut writer, &Reply::failed(failure), &[]).await;
            }
        };
        if !answer(&mut reader, &mut writer, &*handler, request, body).await? {
            return Ok(());
        }
    }
}

async fn read_call(reader: &mut BufReader<OwnedReadHalf>) -> Result<Option<(Request, Body)>, FrameError> {
    // One that sends nothing is let go without a word.
    let waited = tokio::time::timeout(IDLE, frame::read_line(reader)).await.unwrap_or(Ok(None));
    let Some(line) = waited? else { return Ok(None) };
    let call = frame::parse_call(&line)?;
    let patience = IDLE * u32::try_from(1 + call.body / BODY_PATIENCE).unwrap_or(u32::MAX);
    let body = frame::read_body(reader, call.body, call.request.body_limit());
    let Ok(body) = tokio::time::timeout(patience, body).await else { return Ok(None) };
    let body = body?;
    Ok(Some((call.request, body)))
}

/// Runs one request and passes its events on. False if the client went away.
async fn answer<H: Handle>(
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
    handler: &H,
    request: Request,
    body: Body,
) -> Result<bool, FrameError> {
    let (events, mut queue) = mpsc::channel(EVENTS);
    let work = handler.handle(request, body, Events(events));
    tokio::pin!(work);
    let mut watching = true;
    let result = loop {
        tokio::select! {
            biased;
            Some(event) = queue.recv() => write(writer, &Reply::event(event), &[]).await?,
            result = &mut work => break result,
            more = reader.fill_buf(), if watching => match more {
                Ok([]) => return Ok(false),
                // The next call came early: it waits, and its sender's end shows after this answer.
                Ok(_) => watching = false,
                Err(e) => return Err(e.into()),
            },
        }
    };
    while let Ok(event) = queue.try_recv() {
        write(writer, &Reply::event(event), &[]).await?;
    }
    match result {
        Ok(Answer { response, body }) => {
            write(writer, &Reply::done(response, body.len() as u64), &body).await?
        }
        Err(failure) => write(writer, &Reply::failed(failure), &[]).await?,
    }
    Ok(true)
}

async fn write(writer: &mut OwnedWriteHalf, reply: &Reply, body: &[u8]) -> Result<(), FrameError> {
    let late = |_| FrameError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    tokio::time::timeout(WRITE, frame::write(writer, reply, &[])).await.map_err(late)??;
    for piece in body.chunks(PIECE) {
        tokio::time::timeout(WRITE, writer.write_all(piece)).await.map_err(late)??;
    }
    Ok(())
}
