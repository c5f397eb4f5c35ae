//! The tasks of one connection: its control stream, its service streams, its end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use softbus_core::wire::link::{BootNonce, Hello, HelloAck, Sleep, VERSIONS, link_id, negotiate};
use softbus_core::{DeviceId, ErrorCode, Message, decode};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Core;
use super::hub::close;
use super::peer::Ends;
use super::serve::Of;
use crate::NetError;
use crate::channel::{read_envelope, read_message, write_message};
use crate::link::{ConnKey, Control};

/// A stranger's connection ends after this, whatever it does.
const STRANGER_LIFE: Duration = Duration::from_secs(90);
/// A stranger has this long to say Hello, and to begin (or to go, after) a pairing: its program does so at once.
const STRANGER_IDLE: Duration = Duration::from_secs(3);

impl Core {
    /// Runs a connection with a trusted peer to its end.
    pub(super) async fn run_connection(self: Arc<Self>, mut ends: Ends) {
        let (peer, key, connection) = (ends.peer, ends.key, ends.connection.clone());
        let work = async {
            let stream = if ends.dialled { connection.open_bi().await } else { connection.accept_bi().await };
            // A lost connection is reported below.
            let Ok((mut send, mut recv)) = stream else { return std::future::pending().await };
            let writer = async {
                while let Some(message) = ends.control.recv().await {
                    if write_control(&mut send, &message).await.is_err() {
                        break;
                    }
                }
                std::future::pending::<()>().await;
            };
            let reader = async {
                loop {
                    match read_control(&mut recv).await {
                        Ok(Some(message)) => {
                            self.with_peer(peer, |p, now| p.machine.message(now, key, message));
                        }
                        // The peer may end its side; the connection lives on.
                        Ok(None) => return std::future::pending().await,
                        Err(NetError::Malformed(error)) => {
                            tracing::warn!(?peer, %error, "bad control message");
                            close(&connection, ErrorCode::Malformed);
                        }
                        Err(_) => return std::future::pending().await,
                    }
                }
            };
            let streams = async {
                if ends.gate.wait_for(|open| *open).await.is_ok() {
                    while let Ok((send, recv)) = connection.accept_bi().await {
                        let Some(lease) = ends.lease.upgrade() else { break };
                        let core = self.clone();
                        let connection = connection.clone();
                        self.spawn(async move {
                            core.serve_stream(peer, connection, Of::Link(lease), send, recv).await;
                        });
                    }
                }
                std::future::pending::<()>().await;
            };
            tokio::join!(writer, reader, streams);
        };
        let error = tokio::select! {
            biased;
            error = connection.closed() => error,
            () = work => connection.closed().await,
        };
        let (code, reason, sleep) = ending(&error);
        self.with_peer(peer, |p, now| {
            if let Some(sleep) = sleep {
                p.machine.message(now, key, Control::Sleep(sleep));
            }
            p.machine.lost(now, key, code, reason);
            p.carrier_gone(key);
        });
    }

    /// Serves a stranger, who may speak only `pair/1`, for a bounded time: short ones while it does not speak it.
    pub(super) async fn run_stranger(
        self: Arc<Self>,
        id: DeviceId,
        connection: quinn::Connection,
        place: ConnKey,
    ) {
        let life = async {
            let _control = match timeout(STRANGER_IDLE, self.stranger_hello(id, &connection, false)).await {
                Ok(Ok(control)) => control,
                Ok(Err(error)) => return error.code(),
                Err(_) => return ErrorCode::Timeout,
            };
            // If pairing closes meanwhile, the router refuses new streams; one that is under way may end in peace.
            let mut streams = FuturesUnordered::new();
            loop {
                tokio::select! {
                    biased;
                    Some(_) = streams.next() => {}
                    // At most as many as the transport lets a stranger have.
                    stream = connection.accept_bi() => match stream {
                        Ok((send, recv)) => {
                            let (core, connection) = (self.clone(), connection.clone());
                            let (running, ended) = oneshot::channel::<()>();
                            // In a task of its own: however the connection ends, the pairing ends in order.
                            self.spawn(async move {
                                let of = Of::Stranger(Some(place));
                                core.serve_stream(id, connection, of, send, recv).await;
                                drop(running);
                            });
                            streams.push(ended);
                        }
                        Err(_) => return ErrorCode::None,
                    },
                    () = tokio::time::sleep(STRANGER_IDLE), if streams.is_empty() => return ErrorCode::Timeout,
                }
            }
        };
        let code = timeout(STRANGER_LIFE, life).await.unwrap_or(ErrorCode::Timeout);
        close(&connection, code);
    }

    /// Hello both ways with a device that is not (yet) trusted: versions are agreed on, no link comes of it.
    /// Gives the control stream, to be kept.
    pub(super) async fn stranger_hello(
        &self,
        peer: DeviceId,
        connection: &quinn::Connection,
        dialled: bool,
    ) -> Result<(quinn::SendStream, quinn::RecvStream), NetError> {
        let lost = crate::channel::lost;
        let ours = self.config.versions.unwrap_or(VERSIONS);
        let (mut send, mut recv) = if dialled {
            connection.open_bi().await.map_err(lost)?
        } else {
            connection.accept_bi().await.map_err(lost)?
        };
        let mut hello =
            Hello { versions: ours, boot: self.boot, generation: 1, sleep_interval_ms: 0, features: 0 };
        let check = |theirs: &Hello| {
            negotiate(ours, theirs.versions).map_err(|_| NetError::Incompatible {
                peer,
                theirs: theirs.versions,
                ours,
            })
        };
        let ack = |version: u16, boot: BootNonce| HelloAck {
            version,
            link: link_id((self.me, self.boot), (peer, boot)),
        };
        if dialled {
            write_message(&mut send, &hello).await?;
            let theirs: Hello = expect(&mut recv).await?;
            let version = check(&theirs)?;
            let _: HelloAck = expect(&mut recv).await?;
            write_message(&mut send, &ack(version, theirs.boot)).await?;
        } else {
            let theirs: Hello = expect(&mut recv).await?;
            let version = check(&theirs)?;
            hello.generation = theirs.generation;
            write_message(&mut send, &hello).await?;
            write_message(&mut send, &ack(version, theirs.boot)).await?;
            let _: HelloAck = expect(&mut recv).await?;
        }
        Ok((send, recv))
    }
}

async fn expect<M: Message>(recv: &mut quinn::RecvStream) -> Result<M, NetError> {
    read_message(recv).await?.ok_or_else(|| NetError::Lost("the other device ended the connection".into()))
}

async fn write_control(send: &mut quinn::SendStream, message: &Control) -> Result<(), NetError> {
    match message {
        Control::Hello(hello) => write_message(send, hello).await,
        Control::Ack(ack) => write_message(send, ack).await,
        Control::Sleep(sleep) => write_message(send, sleep).await,
    }
}

async fn read_control(recv: &mut quinn::RecvStream) -> Result<Option<Control>, NetError> {
    let check = |header: &softbus_core::Header| match header.kind {
        HelloAck::KIND => header.check::<HelloAck>(),
        Sleep::KIND => header.check::<Sleep>(),
        // Whatever else it is, it is not what Hello should be.
        _ => header.check::<Hello>(),
    };
    let Some((header, payload)) = read_envelope(recv, check).await? else { return Ok(None) };
    Ok(Some(match header.kind {
        HelloAck::KIND => Control::Ack(header.payload(&payload)?),
        Sleep::KIND => Control::Sleep(header.payload(&payload)?),
        _ => Control::Hello(header.payload(&payload)?),
    }))
}

/// What the end of a connection means: the peer's code, a reason for people, and its sleep interval.
fn ending(error: &quinn::ConnectionError) -> (Option<ErrorCode>, String, Option<Sleep>) {
    match error {
        quinn::ConnectionError::ApplicationClosed(closed) => {
            let code = ErrorCode::from_number(closed.error_code.into_inner());
            let sleep = decode::<Sleep>(&closed.reason).ok().filter(|_| code == ErrorCode::Sleeping);
            let reason = match code {
                ErrorCode::None => "the other device said goodbye".to_owned(),
                code => code.to_string(),
            };
            (Some(code), reason, sleep)
        }
        other => (None, crate::channel::lost(other.clone()).to_string(), None),
    }
}
