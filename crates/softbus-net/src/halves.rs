//! The two halves of a channel: QUIC streams that end when the right to them is taken away.
//!
//! Access is judged when a channel opens, and again whenever the judge changes its mind. Whoever serves a channel that
//! its peer may not have any more meets the refusal at its next (or present) read or write, in the form in which the
//! peer's own abort would come; the peer meets it as an abort with the same code. What the handler does beside the
//! channel is not torn off in the middle.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use quinn::{ReadError, ReadExactError, ReadToEndError, StoppedError, VarInt, WriteError};
use softbus_core::ErrorCode;
use tokio::sync::watch;

/// [`Sync`], too, so that whatever owns a channel may be shared.
type Taken = Pin<Box<dyn Future<Output = ErrorCode> + Send + Sync>>;

/// Whether a channel may still be used. Each half has its own.
pub(crate) struct Right {
    taken: Option<watch::Receiver<Option<ErrorCode>>>,
    /// Waits for that.
    waiting: Option<Taken>,
}

impl Right {
    /// For good: only the end of the connection ends it.
    pub(crate) fn lasting() -> Self {
        Self { taken: None, waiting: None }
    }

    /// Until `taken` says otherwise, and why.
    pub(crate) fn until(taken: watch::Receiver<Option<ErrorCode>>) -> Self {
        let mut watched = taken.clone();
        let waiting: Taken = Box::pin(async move {
            let code = watched.wait_for(Option::is_some).await.ok().and_then(|code| *code);
            match code {
                Some(code) => code,
                // Nobody is there any more who could take it.
                None => std::future::pending().await,
            }
        });
        Self { taken: Some(taken), waiting: Some(waiting) }
    }

    /// Why it was taken away, if it was.
    fn taken(&self) -> Option<VarInt> {
        let code = *self.taken.as_ref()?.borrow();
        code.map(|code| VarInt::from_u32(code.number()))
    }

    /// Ready once, when the right is taken away.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<VarInt> {
        let Some(waiting) = &mut self.waiting else { return Poll::Pending };
        match waiting.as_mut().poll(cx) {
            Poll::Ready(code) => {
                self.waiting = None;
                Poll::Ready(VarInt::from_u32(code.number()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// What `work` comes to, or the code with which the right was taken away meanwhile: that comes first.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, VarInt> {
        tokio::select! {
            biased;
            code = poll_fn(|cx| self.poll(cx)) => Err(code),
            done = work => Ok(done),
        }
    }
}

/// Towards the peer.
pub struct SendHalf {
    stream: quinn::SendStream,
    right: Right,
}

impl SendHalf {
    pub(crate) fn new(stream: quinn::SendStream, right: Right) -> Self {
        Self { stream, right }
    }

    /// Writes all of `bytes`; waits for room.
    ///
    /// # Errors
    /// The channel was ended, by the peer or since access to it was taken away, or the connection is lost.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        match self.right.during(self.stream.write_all(bytes)).await {
            Ok(result) => result,
            Err(code) => {
                let _ = self.stream.reset(code);
                Err(WriteError::Stopped(code))
            }
        }
    }

    /// Ends this half: the peer reads what was written, then the end.
    ///
    /// # Errors
    /// It was ended before.
    pub fn finish(&mut self) -> Result<(), quinn::ClosedStream> {
        match self.right.taken() {
            // A handler that met the refusal on the other half may take it for the end.
            Some(code) => self.stream.reset(code),
            None => self.stream.finish(),
        }
    }

    /// Ends this half at once; what was written and has not left is dropped.
    ///
    /// # Errors
    /// It was ended before.
    pub fn reset(&mut self, code: VarInt) -> Result<(), quinn::ClosedStream> {
        self.stream.reset(code)
    }

    /// Waits until the peer has all that was written and finished (`None`), or wants no more of it.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn stopped(&mut self) -> Result<Option<VarInt>, StoppedError> {
        match self.right.during(self.stream.stopped()).await {
            Ok(result) => result,
            Err(code) => {
                let _ = self.stream.reset(code);
                Ok(Some(code))
            }
        }
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if let Some(code) = self.right.taken() {
            let _ = self.stream.reset(code);
        }
    }
}

/// From the peer.
pub struct RecvHalf {
    stream: quinn::RecvStream,
    right: Right,
}

impl RecvHalf {
    pub(crate) fn new(stream: quinn::RecvStream, right: Right) -> Self {
        Self { stream, right }
    }

    fn stopped<T>(&mut self, code: VarInt) -> Result<T, ReadError> {
        let _ = self.stream.stop(code);
        Err(ReadError::Reset(code))
    }

    /// The next bytes, at most `max` of them; `None` at the end.
    ///
    /// # Errors
    /// The channel was ended, by the peer or since access to it was taken away, or the connection is lost.
    pub async fn read_chunk(&mut self, max: usize) -> Result<Option<quinn::Chunk>, ReadError> {
        match self.right.during(self.stream.read_chunk(max, true)).await {
            Ok(result) => result,
            Err(code) => self.stopped(code),
        }
    }

    /// Reads into `buf`: how many bytes, `None` at the end.
    ///
    /// # Errors
    /// As [`RecvHalf::read_chunk`].
    pub async fn read(&mut self, buf: &mut [u8]) -> Result<Option<usize>, ReadError> {
        match self.right.during(self.stream.read(buf)).await {
            Ok(result) => result,
            Err(code) => self.stopped(code),
        }
    }

    /// Fills `buf`. Not safe to cancel.
    ///
    /// # Errors
    /// As [`RecvHalf::read_chunk`], or the end came before.
    pub async fn read_exact(&mut self, buf: &mut [u8]) -> Result<(), ReadExactError> {
        match self.right.during(self.stream.read_exact(buf)).await {
            Ok(result) => result,
            Err(code) => self.stopped(code).map_err(ReadExactError::ReadError),
        }
    }

    /// Reads to the end, at most `max` bytes. Not safe to cancel.
    ///
    /// # Errors
    /// As [`RecvHalf::read_chunk`], or it is longer.
    pub async fn read_to_end(&mut self, max: usize) -> Result<Vec<u8>, ReadToEndError> {
        match self.right.during(read_to_end(&mut self.stream, max)).await {
            Ok(result) => result,
            Err(code) => self.stopped(code).map_err(ReadToEndError::Read),
        }
    }

    /// Takes no more from the peer.
    ///
    /// # Errors
    /// It had ended before.
    pub fn stop(&mut self, code: VarInt) -> Result<(), quinn::ClosedStream> {
        self.stream.stop(code)
    }

    /// Waits until the peer aborts its half (its code) or all of it was read (`None`).
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn received_reset(&mut self) -> Result<Option<VarInt>, quinn::ResetError> {
        match self.right.during(self.stream.received_reset()).await {
            Ok(result) => result,
            Err(code) => {
                let _ = self.stream.stop(code);
                Ok(Some(code))
            }
        }
    }
}

/// Reads all that is left, at most `max` bytes. Not safe to cancel.
///
/// In order, as everything here is. quinn's own `read_to_end` reads without order, and that must not follow reads in order
/// (quinn-proto 0.11.19): of data that came twice and was read once, the second copy is read again as if it were new, and
/// the count of what was read exceeds what came, which overflows when the stream is dropped.
pub(crate) async fn read_to_end(
    stream: &mut quinn::RecvStream,
    max: usize,
) -> Result<Vec<u8>, ReadToEndError> {
    let mut all = Vec::new();
    while let Some(chunk) = stream.read_chunk(usize::MAX, true).await.map_err(ReadToEndError::Read)? {
        if chunk.bytes.len() > max - all.len() {
            return Err(ReadToEndError::TooLong);
        }
        all.extend_from_slice(&chunk.bytes);
    }
    Ok(all)
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        if let Some(code) = self.right.taken() {
            let _ = self.stream.stop(code);
        }
    }
}

/// Where bytes go: a channel's half, or a bare stream within this room.
pub trait Sink: Send {
    /// Writes all of `bytes`.
    fn put(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), WriteError>> + Send;
}

/// Where bytes come from: a channel's half, or a bare stream within this room.
pub trait Source: Send {
    /// Fills `buf`.
    fn fill(&mut self, buf: &mut [u8]) -> impl Future<Output = Result<(), ReadExactError>> + Send;
    /// The next bytes, at most `max`.
    fn piece(&mut self, max: usize) -> impl Future<Output = Result<Option<quinn::Chunk>, ReadError>> + Send;
}

impl Sink for SendHalf {
    async fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.write_all(bytes).await
    }
}

impl Sink for quinn::SendStream {
    async fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.write_all(bytes).await
    }
}

impl Source for RecvHalf {
    async fn fill(&mut self, buf: &mut [u8]) -> Result<(), ReadExactError> {
        self.read_exact(buf).await
    }

    async fn piece(&mut self, max: usize) -> Result<Option<quinn::Chunk>, ReadError> {
        self.read_chunk(max).await
    }
}

impl Source for quinn::RecvStream {
    async fn fill(&mut self, buf: &mut [u8]) -> Result<(), ReadExactError> {
        self.read_exact(buf).await
    }

    async fn piece(&mut self, max: usize) -> Result<Option<quinn::Chunk>, ReadError> {
        self.read_chunk(max, true).await
    }
}
