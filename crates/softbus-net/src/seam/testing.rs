//! quinn endpoints over a seam's sockets, for the tests of sockets: any key is fine, nothing is judged.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};

use super::Seam;
use crate::Bind;

#[derive(Debug)]
struct AnyServer(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("QUIC is TLS 1.3".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    #[cfg(feature = "aws-lc")]
    return Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    #[cfg(not(feature = "aws-lc"))]
    Arc::new(rustls::crypto::ring::default_provider())
}

/// One that has no configuration to dial with yet.
pub(crate) fn endpoint(
    seam: &Seam,
    bind: &Bind,
    port: u16,
    server: Option<quinn::ServerConfig>,
) -> quinn::Endpoint {
    let socket = seam.sockets.bind(bind, port).unwrap();
    let config = quinn::EndpointConfig::default();
    quinn::Endpoint::new_with_abstract_socket(config, server, socket, seam.sockets.runtime()).unwrap()
}

/// The key of the test's certificate.
struct Key {
    secret: ed25519_dalek::SigningKey,
    public: [u8; 32],
}

impl Key {
    fn new(seed: [u8; 32]) -> Self {
        let secret = ed25519_dalek::SigningKey::from_bytes(&seed);
        let public = secret.verifying_key().to_bytes();
        Self { secret, public }
    }

    /// RFC 8410, section 7.
    fn pkcs8(&self) -> Vec<u8> {
        let mut der = data_encoding::HEXLOWER.decode(b"302e020100300506032b657004220420").unwrap();
        der.extend_from_slice(self.secret.as_bytes());
        der
    }
}

impl rcgen::PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        use ed25519_dalek::Signer as _;
        Ok(self.secret.sign(message).to_vec())
    }
}

/// A server on any port.
pub(crate) fn server(seam: &Seam, bind: &Bind) -> quinn::Endpoint {
    server_on(seam, bind, 0)
}

/// A server on this port.
pub(crate) fn server_on(seam: &Seam, bind: &Bind, port: u16) -> quinn::Endpoint {
    let key = Key::new([7; 32]);
    let mut cert = rcgen::CertificateParams::new(vec!["softbus".into()]).unwrap();
    cert.serial_number = Some(1u64.into());
    let cert = cert.self_signed(&key).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.pkcs8()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    endpoint(seam, bind, port, Some(config))
}

/// A client.
pub(crate) fn client(seam: &Seam, bind: &Bind) -> quinn::Endpoint {
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider())))
        .with_no_client_auth();
    let mut client = endpoint(seam, bind, 0, None);
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    client.set_default_client_config(config);
    client
}

/// Echoes what comes on one stream, once.
pub(crate) async fn serve(server: &quinn::Endpoint, most: usize) {
    let connection = server.accept().await.unwrap().await.unwrap();
    let (mut send, mut recv) = connection.accept_bi().await.unwrap();
    let received = crate::halves::read_to_end(&mut recv, most).await.unwrap();
    send.write_all(&received).await.unwrap();
    send.finish().unwrap();
    connection.closed().await;
}

/// Connects, sends so many bytes, and gives back how many of them came back right.
pub(crate) async fn dial(client: &quinn::Endpoint, to: SocketAddr, bytes: usize) -> usize {
    let connection = client.connect(to, "softbus").unwrap().await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let sent: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
    send.write_all(&sent).await.unwrap();
    send.finish().unwrap();
    let received = crate::halves::read_to_end(&mut recv, bytes).await.unwrap();
    connection.close(0u32.into(), b"done");
    received.iter().zip(&sent).filter(|(a, b)| a == b).count()
}

/// Both at once.
pub(crate) async fn echo(
    client: &quinn::Endpoint,
    server: &quinn::Endpoint,
    to: SocketAddr,
    bytes: usize,
) -> usize {
    tokio::join!(serve(server, bytes), dial(client, to, bytes)).1
}
