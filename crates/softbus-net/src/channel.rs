//! An open conversation with a service, and how enveloped messages travel on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use softbus_core::{ErrorCode, HEADER_LEN, Header, Message, ServiceName, encode};

use crate::endpoint::Core;
use crate::halves::{RecvHalf, Right, SendHalf, Sink, Source};
use crate::link::ConnKey;
pub(crate) use crate::seam::canonical;
use crate::{Caller, NetError};

/// Foreign bytes are read in pieces of at most this many, so that a length alone reserves no memory.
const READ_PIECE: usize = 16 << 10;

/// An open conversation with a service: a reliable byte stream each way. Dropping it ends it; what was
/// written before is still delivered if the sending half was [finished](Channel::finish).
///
/// The device that serves it ends it with [`ErrorCode::Forbidden`] when the peer may not open such a channel any more:
/// its role was changed or has run out, or the access rule is another one.
pub struct Channel {
    /// Who is at the other end.
    pub peer: Caller,
    /// The service spoken: of several versions offered, the one that both have.
    pub service: ServiceName,
    /// Towards the peer.
    pub send: SendHalf,
    /// From the peer.
    pub recv: RecvHalf,
    /// The connection that carries it, for its addresses and estimates.
    pub connection: quinn::Connection,
    /// Keeps a superseded connection open until its channels are done.
    pub(crate) lease: Lease,
    /// Of a stranger's channel: its place among the strangers.
    pub(crate) place: Option<StrangerPlace>,
}

/// A stranger's place at the door: see [`crate::places`].
pub(crate) struct StrangerPlace {
    pub(crate) core: Arc<Core>,
    pub(crate) key: ConnKey,
}

/// What a connection that carries a link and the channels on it share.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    superseded: AtomicBool,
}

impl Carried {
    /// Another connection carries the link from now on.
    pub(crate) fn supersede(&self) {
        self.superseded.store(true, Ordering::Relaxed);
    }
}

/// Counted by the connection that carries a channel: a superseded one stays open while leases are out.
#[derive(Clone, Debug)]
pub(crate) struct Lease(Option<Arc<Carried>>);

impl Default for Lease {
    fn default() -> Self {
        Self(Some(Arc::default()))
    }
}

impl Lease {
    pub(crate) fn new(lease: Option<Arc<Carried>>) -> Self {
        Self(lease)
    }

    /// A lease of a connection, if that is still open.
    pub(crate) fn of(lease: &Weak<Carried>) -> Self {
        Self(lease.upgrade())
    }

    /// How many other clones are out.
    pub(crate) fn others(&self) -> usize {
        self.0.as_ref().map_or(0, |lease| Arc::strong_count(lease).saturating_sub(1))
    }
}

impl Channel {
    /// One that was opened here.
    pub(crate) fn opened(
        peer: Caller,
        service: ServiceName,
        (send, recv): (quinn::SendStream, quinn::RecvStream),
        connection: quinn::Connection,
        lease: Lease,
    ) -> Self {
        let (send, recv) = (SendHalf::new(send, Right::lasting()), RecvHalf::new(recv, Right::lasting()));
        Self { peer, service, send, recv, connection, lease, place: None }
    }

    /// Whether another connection carries the link with the peer by now. What is under way here may still end in peace,
    /// if the peer has this connection, too; whoever keeps a channel open for what may come had better open another.
    pub fn is_superseded(&self) -> bool {
        self.lease.0.as_ref().is_some_and(|carried| carried.superseded.load(Ordering::Relaxed))
    }

    /// Sends one message in its envelope.
    pub async fn send_message<M: Message>(&mut self, message: &M) -> Result<(), NetError> {
        write_message(&mut self.send, message).await
    }

    /// Receives one message; `None` if the peer ended its side between two messages. Header and length are
    /// checked before the payload is read. Not safe to cancel in the middle of a message.
    pub async fn recv_message<M: Message>(&mut self) -> Result<Option<M>, NetError> {
        read_message(&mut self.recv).await
    }

    /// Receives one message that must come: an ended stream is an error.
    pub async fn expect_message<M: Message>(&mut self) -> Result<M, NetError> {
        self.recv_message().await?.ok_or_else(|| NetError::Lost("the other device ended the channel".into()))
    }

    /// Receives one envelope of any kind with at most `max` bytes of payload, to choose by its kind what to
    /// decode (see [`Header::payload`]); `None` if the peer ended its side between two messages.
    pub async fn recv_envelope(&mut self, max: usize) -> Result<Option<(Header, Vec<u8>)>, NetError> {
        read_envelope(&mut self.recv, |header| check_len(header, max)).await
    }

    /// Ends our side: the peer reads what was sent, then the end.
    pub fn finish(&mut self) {
        // The only error is that it was finished or reset before.
        let _ = self.send.finish();
    }

    /// Ends our side and waits until the peer has everything that was sent (or ended the channel).
    pub async fn finish_and_wait(&mut self) -> Result<(), NetError> {
        self.finish();
        match self.send.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(NetError::Refused(ErrorCode::from_number(code.into_inner()))),
            Err(quinn::StoppedError::ConnectionLost(e)) => Err(lost(e)),
            Err(quinn::StoppedError::ZeroRttRejected) => Err(NetError::Lost("0-RTT".into())),
        }
    }

    /// Ends the conversation both ways at once, with a reason for the peer.
    pub fn abort(&mut self, code: ErrorCode) {
        let number = quinn::VarInt::from_u32(code.number());
        // Errors only say that a side had ended before.
        let _ = self.send.reset(number);
        let _ = self.recv.stop(number);
    }

    /// Keying material that only the two ends of this connection know (RFC 5705, RFC 8446 section 7.5), to
    /// bind what is said on the channel to it. Both sides get the same for equal `label` and `context`.
    /// The TLS 1.3 exporter does not cover the client's certificate: put both ids into the context.
    pub fn export(&self, label: &[u8], context: &[u8]) -> Result<[u8; 32], NetError> {
        let mut key = [0; 32];
        self.connection
            .export_keying_material(&mut key, label, context)
            .map_err(|_| NetError::Tls("the TLS exporter gave no key".into()))?;
        Ok(key)
    }

    /// A stranger has begun what it came for: its place is not given to the next one who comes.
    pub(crate) fn begun(&self) {
        if let Some(StrangerPlace { core, key }) = &self.place {
            core.stranger_has_begun(*key);
        }
    }

    /// Where the peer is now.
    pub fn remote_address(&self) -> std::net::SocketAddr {
        canonical(self.connection.remote_address())
    }
}

/// Writes one message in its envelope.
pub async fn write_message<M: Message>(send: &mut impl Sink, message: &M) -> Result<(), NetError> {
    let bytes = encode(message)?;
    send.put(&bytes).await.map_err(write_error)
}

/// Reads one message; `None` if the stream ended before its first byte. The header is checked before the
/// payload is read. Not safe to cancel in the middle of a message.
pub async fn read_message<M: Message>(recv: &mut impl Source) -> Result<Option<M>, NetError> {
    match read_envelope(recv, |header| header.check::<M>()).await? {
        Some((header, payload)) => Ok(Some(header.payload(&payload)?)),
        None => Ok(None),
    }
}

fn check_len(header: &Header, max: usize) -> Result<(), softbus_core::DecodeError> {
    let len = header.len as usize;
    if len > max { Err(softbus_core::DecodeError::TooLong { len, max }) } else { Ok(()) }
}

/// Reads one envelope whose header passes `check`.
pub(crate) async fn read_envelope(
    recv: &mut impl Source,
    check: impl FnOnce(&Header) -> Result<(), softbus_core::DecodeError>,
) -> Result<Option<(Header, Vec<u8>)>, NetError> {
    let mut header = [0; HEADER_LEN];
    match recv.fill(&mut header).await {
        Ok(()) => {}
        Err(quinn::ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(quinn::ReadExactError::FinishedEarly(_)) => {
            return Err(softbus_core::DecodeError::Truncated.into());
        }
        Err(quinn::ReadExactError::ReadError(e)) => return Err(read_error(e)),
    }
    let header = Header::parse(&header);
    check(&header)?;
    let payload = read_bytes(recv, header.len as usize).await?;
    Ok(Some((header, payload)))
}

/// Reads exactly `len` bytes. Memory grows with what arrives, not with what was announced.
pub(crate) async fn read_bytes(recv: &mut impl Source, len: usize) -> Result<Vec<u8>, NetError> {
    let mut bytes = Vec::with_capacity(len.min(READ_PIECE));
    while bytes.len() < len {
        match recv.piece(len - bytes.len()).await.map_err(read_error)? {
            Some(chunk) => bytes.extend_from_slice(&chunk.bytes),
            None => return Err(softbus_core::DecodeError::Truncated.into()),
        }
    }
    Ok(bytes)
}

/// What a failed write means.
pub(crate) fn write_error(error: quinn::WriteError) -> NetError {
    match error {
        quinn::WriteError::Stopped(code) => NetError::Refused(ErrorCode::from_number(code.into_inner())),
        quinn::WriteError::ConnectionLost(e) => lost(e),
        quinn::WriteError::ClosedStream => NetError::Lost("the channel was ended here before".into()),
        quinn::WriteError::ZeroRttRejected => NetError::Lost("0-RTT".into()),
    }
}

/// What a failed read means.
pub(crate) fn read_error(error: quinn::ReadError) -> NetError {
    match error {
        quinn::ReadError::Reset(code) => NetError::Refused(ErrorCode::from_number(code.into_inner())),
        quinn::ReadError::ConnectionLost(e) => lost(e),
        quinn::ReadError::ClosedStream => NetError::Lost("the channel was ended here before".into()),
        quinn::ReadError::IllegalOrderedRead | quinn::ReadError::ZeroRttRejected => {
            NetError::Lost("the channel was read out of order".into())
        }
    }
}

/// What a lost connection means.
pub(crate) fn lost(error: quinn::ConnectionError) -> NetError {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            NetError::Refused(ErrorCode::from_number(close.error_code.into_inner()))
        }
        quinn::ConnectionError::LocallyClosed => NetError::Lost("the connection was closed here".into()),
        quinn::ConnectionError::TimedOut => NetError::Lost("the other device stopped answering".into()),
        quinn::ConnectionError::Reset => NetError::Lost("the other device restarted".into()),
        other => NetError::Lost(other.to_string()),
    }
}

/// Waits until nothing authenticated was heard on a connection for `limit`. Whoever is alive is heard several times a
/// second, since both ends keep the connection alive.
pub(crate) async fn silence(connection: &quinn::Connection, limit: Duration) {
    let mut heard = heard_frames(connection);
    let mut since = tokio::time::Instant::now();
    while since.elapsed() < limit {
        tokio::time::sleep(limit / 12).await;
        let frames = heard_frames(connection);
        if frames != heard {
            heard = frames;
            since = tokio::time::Instant::now();
        }
    }
}

/// How many frames of authenticated packets were heard.
fn heard_frames(connection: &quinn::Connection) -> u64 {
    frames(&connection.stats().frame_rx)
}

/// Frames that came in authenticated packets.
pub(crate) fn frames(rx: &quinn::FrameStats) -> u64 {
    rx.acks
        + rx.ack_frequency
        + rx.crypto
        + rx.connection_close
        + rx.data_blocked
        + rx.datagram
        + u64::from(rx.handshake_done)
        + rx.immediate_ack
        + rx.max_data
        + rx.max_stream_data
        + rx.max_streams_bidi
        + rx.max_streams_uni
        + rx.new_connection_id
        + rx.new_token
        + rx.path_challenge
        + rx.path_response
        + rx.ping
        + rx.reset_stream
        + rx.retire_connection_id
        + rx.stream_data_blocked
        + rx.streams_blocked_bidi
        + rx.streams_blocked_uni
        + rx.stop_sending
        + rx.stream
}
