//! libp2p's QUIC transport as it comes, without a swarm on top: its connections and its streams. Its TLS is its own: the
//! same form of certificate with an ECDSA key, aws-lc-rs, post-quantum key exchange first; its windows are its own, too.

use std::pin::Pin;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::future::poll_fn;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::Endpoint;
use libp2p::core::muxing::StreamMuxerExt;
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, Transport, TransportEvent};
use libp2p::{Multiaddr, identity, quic};

use crate::peer::{PIECE, Peer, timed};

pub struct Libp2pQuic {
    client: quic::tokio::Transport,
    addr: Multiaddr,
    link: Option<(quic::Connection, quic::Stream)>,
}

impl Libp2pQuic {
    pub async fn start() -> anyhow::Result<Self> {
        let mut server = transport();
        server.listen_on(ListenerId::next(), "/ip4/127.0.0.1/udp/0/quic-v1".parse()?)?;
        let mut server = Box::pin(server);
        let addr = loop {
            if let TransportEvent::NewAddress { listen_addr, .. } = next(&mut server).await {
                break listen_addr;
            }
        };
        tokio::spawn(async move {
            loop {
                if let TransportEvent::Incoming { upgrade, .. } = next(&mut server).await {
                    tokio::spawn(async move {
                        let Ok((_, mut connection)) = upgrade.await else { return };
                        while let Ok(stream) = poll_fn(|cx| connection.poll_inbound_unpin(cx)).await {
                            tokio::spawn(serve(stream));
                        }
                    });
                }
            }
        });
        Ok(Self { client: transport(), addr, link: None })
    }

    async fn open(&mut self) -> anyhow::Result<(quic::Connection, quic::Stream)> {
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let (_, mut connection) = self.client.dial(self.addr.clone(), options)?.await?;
        let mut stream = poll_fn(|cx| connection.poll_outbound_unpin(cx)).await?;
        echo_once(&mut stream).await?;
        Ok((connection, stream))
    }
}

impl Peer for Libp2pQuic {
    fn name(&self) -> &'static str {
        "libp2p-quic"
    }

    fn connect(&mut self) -> BoxFuture<'_, anyhow::Result<Duration>> {
        Box::pin(async {
            // A device that was just started: its TLS would resume sessions, which skips the certificates.
            self.client = transport();
            let start = tokio::time::Instant::now();
            let (connection, _) = self.open().await?;
            let took = start.elapsed();
            let _ = connection.close().await;
            Ok(took)
        })
    }

    fn round_trip(&mut self) -> BoxFuture<'_, anyhow::Result<Duration>> {
        Box::pin(async {
            if self.link.is_none() {
                self.link = Some(self.open().await?);
            }
            let (_, stream) = self.link.as_mut().expect("opened just above");
            timed(echo_once(stream)).await
        })
    }

    fn bulk(&mut self, bytes: usize) -> BoxFuture<'_, anyhow::Result<Duration>> {
        Box::pin(async move {
            if self.link.is_none() {
                self.link = Some(self.open().await?);
            }
            let (connection, _) = self.link.as_mut().expect("opened just above");
            let mut stream = poll_fn(|cx| connection.poll_outbound_unpin(cx)).await?;
            timed(async {
                stream.write_all(b"B").await?;
                let piece = vec![7; PIECE];
                for _ in 0..bytes / PIECE {
                    stream.write_all(&piece).await?;
                }
                stream.close().await?;
                let mut done = [0; 1];
                stream.read_exact(&mut done).await?;
                Ok(())
            })
            .await
        })
    }
}

fn transport() -> quic::tokio::Transport {
    quic::tokio::Transport::new(quic::Config::new(&identity::Keypair::generate_ed25519()))
}

async fn next(
    transport: &mut Pin<Box<quic::tokio::Transport>>,
) -> TransportEvent<
    <quic::tokio::Transport as Transport>::ListenerUpgrade,
    <quic::tokio::Transport as Transport>::Error,
> {
    poll_fn(|cx| transport.as_mut().poll(cx)).await
}

async fn echo_once(stream: &mut quic::Stream) -> anyhow::Result<()> {
    let mut buffer = [b'E'; 64];
    stream.write_all(&buffer).await?;
    stream.flush().await?;
    stream.read_exact(&mut buffer).await?;
    Ok(())
}

async fn serve(mut stream: quic::Stream) -> anyhow::Result<()> {
    let mut first = [0; 1];
    stream.read_exact(&mut first).await?;
    if first[0] == b'B' {
        let mut sink = vec![0; PIECE];
        while stream.read(&mut sink).await? > 0 {}
        stream.write_all(b"K").await?;
        stream.close().await?;
    } else {
        let mut buffer = [0; 64];
        buffer[0] = first[0];
        stream.read_exact(&mut buffer[1..]).await?;
        stream.write_all(&buffer).await?;
        stream.flush().await?;
        while stream.read_exact(&mut buffer).await.is_ok() {
            stream.write_all(&buffer).await?;
            stream.flush().await?;
        }
    }
    Ok(())
}
