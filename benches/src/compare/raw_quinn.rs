//! Plain quinn with mutual TLS 1.3: the floor. Ed25519 certificates, ring, no resumption, as softbus has them; whom to
//! believe is the simplest that can be called authentication: exactly the certificate that was given beforehand.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use quinn::{Connection, Endpoint, RecvStream, SendStream, VarInt};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::peer::{PIECE, Peer, timed};

/// Kernel buffers that softbus asks for, each way.
const BUFFER_BYTES: usize = 2 << 20;

/// Windows, timers and socket buffers of the connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Those that softbus gives a trusted peer: what remains between the two is softbus's own work.
    AsSoftbus,
    /// Those that come with quinn.
    Default,
}

pub struct RawQuinn {
    name: &'static str,
    client: Endpoint,
    addr: SocketAddr,
    link: Option<(Connection, SendStream, RecvStream)>,
    _server: Endpoint,
}

impl RawQuinn {
    pub fn start(name: &'static str, transport: Transport) -> anyhow::Result<Self> {
        let (server_tls, client_tls) = tls()?;
        let mut server_config = quinn::ServerConfig::with_crypto(Arc::new(
            quinn::crypto::rustls::QuicServerConfig::try_from(server_tls)?,
        ));
        let mut client_config = quinn::ClientConfig::new(Arc::new(
            quinn::crypto::rustls::QuicClientConfig::try_from(client_tls)?,
        ));
        if transport == Transport::AsSoftbus {
            let settings = Arc::new(as_softbus());
            server_config.transport_config(settings.clone());
            client_config.transport_config(settings);
        }
        let server = endpoint(Some(server_config), transport)?;
        let addr = server.local_addr()?;
        tokio::spawn(serve(server.clone()));
        let mut client = endpoint(None, transport)?;
        client.set_default_client_config(client_config);
        Ok(Self { name, client, addr, link: None, _server: server })
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
        self.name
    }

    fn connect(&mut self) -> BoxFuture<'_, anyhow::Result<Duration>> {
        Box::pin(async {
            let start = tokio::time::Instant::now();
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

fn endpoint(server: Option<quinn::ServerConfig>, transport: Transport) -> anyhow::Result<Endpoint> {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if transport == Transport::AsSoftbus {
        // As far as the system gives them.
        let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(BUFFER_BYTES);
    }
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let runtime = Arc::new(quinn::TokioRuntime);
    Ok(Endpoint::new(quinn::EndpointConfig::default(), server, socket.into(), runtime)?)
}

/// What `softbus-net` sets for the connection of a trusted peer (`endpoint/config.rs`); congestion control is quinn's
/// default in both.
fn as_softbus() -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_idle_timeout(Some(VarInt::from_u32(30_000).into()))
        .keep_alive_interval(Some(Duration::from_millis(300)))
        .initial_rtt(Duration::from_millis(100))
        .stream_receive_window(VarInt::from_u32(4 << 20))
        .receive_window(VarInt::from_u32(32 << 20))
        .send_window(16 << 20)
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .allow_spin(false);
    transport
}

fn tls() -> anyhow::Result<(rustls::ServerConfig, rustls::ClientConfig)> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let make = || -> anyhow::Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let certificate = rcgen::CertificateParams::new(["peer".to_string()])?.self_signed(&key)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        Ok((certificate.der().clone(), key))
    };
    let (server_certificate, server_key) = make()?;
    let (client_certificate, client_key) = make()?;
    let pinned = |certificate: &CertificateDer<'static>| {
        Arc::new(Pinned { certificate: certificate.clone(), provider: provider.clone() })
    };
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(pinned(&client_certificate))
        .with_single_cert(vec![server_certificate.clone()], server_key)?;
    server.send_tls13_tickets = 0;
    let mut client = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(pinned(&server_certificate))
        .with_client_auth_cert(vec![client_certificate], client_key)?;
    client.resumption = rustls::client::Resumption::disabled();
    server.alpn_protocols = vec![b"bench".to_vec()];
    client.alpn_protocols = vec![b"bench".to_vec()];
    Ok((server, client))
}

/// Believes one certificate, of a peer that holds its key.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl Pinned {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        if certificate == &self.certificate {
            Ok(())
        } else {
            Err(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure))
        }
    }
}

impl rustls::client::danger::ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        self.check(certificate)?;
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
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl rustls::server::danger::ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<rustls::server::danger::ClientCertVerified, rustls::Error> {
        self.check(certificate)?;
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
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
