//! Who is at the other end: TLS 1.3 with certificates of the libp2p TLS specification, in both directions.
//!
//! Sessions are never resumed and there is no 0-RTT: a resumed handshake skips certificates, so the simplest
//! rule under which every connection has proven its [`DeviceId`] freshly is to resume none. After TLS the
//! endpoint reads the id from the connection ([`Tls::device_of`]) and asks the judge; TLS itself trusts nobody.
//!
//! What a connection costs each side in signatures (Ed25519): one made, TLS's CertificateVerify with the certificate's
//! key; and verified that of the peer, and, the first time its certificate is seen, the certificate's own and the device
//! key's in it. The certificate is made once per start (two signatures), and the device key signs nothing else here.
//! After TLS the dialler says Hello at once, in the flight that ends the handshake; the acceptor answers with Hello
//! and HelloAck; with its HelloAck the dialler sends the first service's Open: no round trip more than that.

mod certificate;
mod keys;
mod verify;

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::KeyLog;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use softbus_core::DeviceId;
use softbus_trust::DeviceKey;

use crate::NetError;
use crate::seam::{Clock, Entropy};
use verify::DeviceVerifier;

pub use certificate::{CERTIFICATE_BYTES, CertificateError, parse_certificate};
pub(crate) use keys::{CidGenerator, ResetKey, TokenKey};

/// ALPN of the mesh. (`libp2p` on the same endpoint is kept for the wide-area plane.)
pub(crate) const ALPN: &[u8] = b"softbus/1";
/// The name sent in TLS SNI, the same for all: it says nothing of who is dialled.
pub(crate) const SERVER_NAME: &str = "softbus";

/// TLS of both roles.
pub(crate) struct Tls {
    pub(crate) client: Arc<QuicClientConfig>,
    pub(crate) server: Arc<QuicServerConfig>,
    verifier: Arc<DeviceVerifier>,
}

impl Tls {
    /// Draws a certificate key, makes the certificate and sets both roles up.
    pub(crate) fn new(
        key: &DeviceKey,
        entropy: &dyn Entropy,
        clock: &Arc<dyn Clock>,
        provider: Option<Arc<CryptoProvider>>,
        key_log: Option<Arc<dyn KeyLog>>,
    ) -> Result<Self, NetError> {
        let identity = certificate::Identity::new(key, entropy)?;
        let certified = CertifiedKey::new(
            vec![identity.certificate],
            Arc::new(verify::CertificateKey::new(identity.key)),
        );
        let provider = provider.unwrap_or_else(default_provider);
        let verifier = Arc::new(DeviceVerifier::new(&provider));
        let (mut client, mut server) = configs(certified, clock, provider, verifier.clone())?;
        if let Some(key_log) = key_log {
            client.key_log = key_log.clone();
            server.key_log = key_log;
        }
        let no_suite = |e: quinn::crypto::rustls::NoInitialCipherSuite| NetError::Tls(e.to_string());
        Ok(Self {
            client: Arc::new(QuicClientConfig::try_from(client).map_err(no_suite)?),
            server: Arc::new(QuicServerConfig::try_from(server).map_err(no_suite)?),
            verifier,
        })
    }

    /// The device a connection was proven to lead to. `None` only before the handshake is over.
    pub(crate) fn device_of(&self, connection: &quinn::Connection) -> Option<DeviceId> {
        let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        match identity.as_slice() {
            // The handshake has checked it in full; its outcome is remembered.
            [certificate] => self.verifier.device(certificate).ok(),
            _ => None,
        }
    }
}

/// The settings of both roles for one certificate.
fn configs(
    certified: CertifiedKey,
    clock: &Arc<dyn Clock>,
    provider: Arc<CryptoProvider>,
    verifier: Arc<DeviceVerifier>,
) -> Result<(rustls::ClientConfig, rustls::ServerConfig), NetError> {
    let certified = Arc::new(SingleCertAndKey::from(certified));
    let time = Arc::new(SeamTime(clock.clone()));
    let tls = |e: rustls::Error| NetError::Tls(e.to_string());

    let mut client = rustls::ClientConfig::builder_with_details(provider.clone(), time.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_client_cert_resolver(certified.clone());
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = rustls::client::Resumption::disabled();
    client.enable_early_data = false;

    let mut server = rustls::ServerConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certified);
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    server.max_early_data_size = 0;

    Ok((client, server))
}

/// The provider of the features chosen: aws-lc (post-quantum key exchange first), or else ring.
pub fn default_provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc")]
    {
        use rustls::crypto::aws_lc_rs;
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups = vec![
            aws_lc_rs::kx_group::X25519MLKEM768,
            aws_lc_rs::kx_group::X25519,
            aws_lc_rs::kx_group::SECP256R1,
        ];
        Arc::new(provider)
    }
    #[cfg(all(feature = "ring", not(feature = "aws-lc")))]
    {
        Arc::new(rustls::crypto::ring::default_provider())
    }
}

#[cfg(not(any(feature = "aws-lc", feature = "ring")))]
compile_error!("softbus-net needs a crypto provider: enable feature `aws-lc` or `ring`");

/// TLS reads the wall clock through the seam.
struct SeamTime(Arc<dyn Clock>);

impl std::fmt::Debug for SeamTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SeamTime")
    }
}

impl rustls::time_provider::TimeProvider for SeamTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_millis(self.0.wall().0)))
    }
}

#[cfg(test)]
mod tests;
