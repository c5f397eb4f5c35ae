//! Plain quinn with mutual TLS (self-signed certificates, accepted by whoever presents them): the floor.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::peer::{PIECE, Peer, timed};

pub struct RawQuinn {
    client: Endpoint,
    addr: SocketAddr,
    link: Option<(Connection, SendStream, RecvStream)>,
    _server: Endpoint,
}

impl RawQuinn {
    pub fn start() -> anyhow::Result<Self> {
        let (server_tls, client_tls) = tls()?;
        let server_config = quinn::ServerConfig::with_crypto(Arc::new(
            quinn::crypto::rustls::QuicServerConfig::try_from(server_tls)?,
        ));
        let server = Endpoint::server(server_config, (Ipv4Addr::LOCALHOST, 0).into())?;
        let addr = server.local_addr()?;
        tokio::spawn(serve(server.clone()));
        let mut client = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
        client.set_default_client_config(quinn::ClientConfig::new(Arc::new(
            quinn::crypto::rustls::QuicClientConfig::try_from(client_tls)?,
        )));
        Ok(Self { client, addr, link: None, _server: server })
    }

    async fn open(&self) -> anyhow::Result<(Connection, SendStream, RecvStream)> {
        let connection = self.client.connect(self.addr, "peer")?.await?;
        let (mut send, mut recv) = connection.open_bi().await?;
        echo_once(&mut send, &mut recv).await?;
        Ok((connection, send, recv))
    }
}

impl Peer for RawQuinn {
    fn name(&self) -> &'static str {
        "raw quinn"
    }

    fn connect(&mut self) -> BoxFuture<'_, anyhow::Result<Duration>> {
        Box::pin(async {
            let start = std::time::Instant::now();
            let (connection, ..) = self.open().await?;
            let took = start.elapsed();
            connection.close(0u32.into(), b"");
            Ok(took)
        })
    }

    fn round_trip(&mut self) -> BoxFuture<'_, anyhow::Result<Duration>> {
        Box::pin(async {
            if self.link.is_none() {
                self.link = Some(self.open().await?);
            }
            let (_, send, recv) = self.link.as_mut().expect("opened just above");
            timed(echo_once(send, recv)).await
        })
    }

    fn bulk(&mut self, bytes: usize) -> BoxFuture<'_, anyhow::Result<Duration>> {
        Box::pin(async move {
            if self.link.is_none() {
                self.link = Some(self.open().await?);
            }
            let (connection, ..) = self.link.as_ref().expect("opened just above");
            let (mut send, mut recv) = connection.open_bi().await?;
            timed(async {
                send.write_all(b"B").await?;
                let piece = vec![7; PIECE];
                for _ in 0..bytes / PIECE {
                    send.write_all(&piece).await?;
                }
                send.finish()?;
                let mut done = [0; 1];
                recv.read_exact(&mut done).await?;
                Ok(())
            })
            .await
        })
    }
}

async fn echo_once(send: &mut SendStream, recv: &mut RecvStream) -> anyhow::Result<()> {
    let mut buffer = [b'E'; 64];
    send.write_all(&buffer).await?;
    recv.read_exact(&mut buffer).await?;
    Ok(())
}

/// Echoes 64-byte messages; a stream whose first byte is `B` is drained and answered by one byte.
async fn serve(server: Endpoint) {
    while let Some(incoming) = server.accept().await {
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                tokio::spawn(async move {
                    let mut first = [0; 1];
                    recv.read_exact(&mut first).await?;
                    if first[0] == b'B' {
                        while recv.read_chunk(usize::MAX, true).await?.is_some() {}
                        send.write_all(b"K").await?;
                        send.finish()?;
                    } else {
                        let mut buffer = [0; 64];
                        buffer[0] = first[0];
                        recv.read_exact(&mut buffer[1..]).await?;
                        send.write_all(&buffer).await?;
                        while recv.read_exact(&mut buffer).await.is_ok() {
                            send.write_all(&buffer).await?;
                        }
                    }
                    anyhow::Ok(())
                });
            }
        });
    }
}

fn tls() -> anyhow::Result<(rustls::ServerConfig, rustls::ClientConfig)> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let any = Arc::new(Anyone(provider.clone()));
    let make = || -> anyhow::Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let pair = rcgen::generate_simple_self_signed(["peer".to_string()])?;
        let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
        Ok((pair.cert.der().clone(), key))
    };
    let (cert, key) = make()?;
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(any.clone())
        .with_single_cert(vec![cert], key)?;
    server.send_tls13_tickets = 0;
    let (cert, key) = make()?;
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(any)
        .with_client_auth_cert(vec![cert], key)?;
    client.resumption = rustls::client::Resumption::disabled();
    server.alpn_protocols = vec![b"bench".to_vec()];
    client.alpn_protocols = vec![b"bench".to_vec()];
    Ok((server, client))
}

/// Verifies that the peer holds the key of its certificate, whoever it is.
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl rustls::server::danger::ClientCertVerifier for Anyone {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<rustls::server::danger::ClientCertVerified, rustls::Error> {
        Ok(rustls::server::danger::ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
