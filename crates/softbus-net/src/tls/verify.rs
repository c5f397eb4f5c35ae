//! Our halves of rustls: whom to believe, and how to sign with the certificate's key.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureAlgorithm, SignatureScheme};

use softbus_core::DeviceId;

use super::certificate::{CERTIFICATE_BYTES, CertificateError, Parsed, Proven};

/// Certificates whose proof is remembered. Whoever thrashes this makes us verify again, and no more.
const REMEMBERED: usize = 256;

/// Believes a certificate if it proves a device, whichever: who may do what is judged after the handshake.
///
/// A certificate is parsed and verified once, and what it proved remembered by its hash, for this handshake's other two
/// questions (its key's signature, its device) and for the peer's next connections: a device shows the same one as long
/// as it does not restart.
#[derive(Debug)]
pub(crate) struct DeviceVerifier {
    algorithms: WebPkiSupportedAlgorithms,
    remembered: Mutex<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    proven: BTreeMap<[u8; 32], Arc<Proven>>,
    /// Oldest first.
    order: VecDeque<[u8; 32]>,
    /// How often a certificate was parsed and verified.
    #[cfg(test)]
    verified: usize,
}

impl DeviceVerifier {
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { algorithms, remembered: Mutex::default() }
    }

    /// The device that a certificate proves (if the peer was shown to hold its key).
    pub(super) fn device(&self, certificate: &CertificateDer<'_>) -> Result<DeviceId, CertificateError> {
        self.proven(certificate).map(|proven| proven.device)
    }

    fn proven(&self, certificate: &CertificateDer<'_>) -> Result<Arc<Proven>, CertificateError> {
        if certificate.len() > CERTIFICATE_BYTES {
            return Err(CertificateError::TooLong);
        }
        let hash = *blake3::hash(certificate).as_bytes();
        if let Some(proven) = self.remembered().proven.get(&hash) {
            return Ok(proven.clone());
        }
        let proven = Arc::new(Parsed::parse(certificate)?.verify(&self.algorithms)?);
        let mut remembered = self.remembered();
        #[cfg(test)]
        {
            remembered.verified += 1;
        }
        if remembered.proven.insert(hash, proven.clone()).is_none() {
            remembered.order.push_back(hash);
            while remembered.order.len() > REMEMBERED
                && let Some(oldest) = remembered.order.pop_front()
            {
                remembered.proven.remove(&oldest);
            }
        }
        Ok(proven)
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often a certificate was parsed and verified.
    #[cfg(test)]
    pub(super) fn verified(&self) -> usize {
        self.remembered().verified
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn remembers(&self) -> usize {
        self.remembered().proven.len()
    }

    fn certificate(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if !intermediates.is_empty() {
            return Err(refused(CertificateError::Chain));
        }
        self.proven(end_entity).and_then(|proven| proven.check_time(now)).map_err(refused)
    }

    fn signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let proven = self.proven(cert).map_err(refused)?;
        proven
            .verify_message(dss.scheme, message, dss.signature(), &self.algorithms)
            .map_err(|_| Error::InvalidCertificate(rustls::CertificateError::BadSignature))?;
        Ok(HandshakeSignatureValid::assertion())
    }
}

fn refused(error: CertificateError) -> Error {
    use rustls::CertificateError as Tls;
    Error::InvalidCertificate(match error {
        CertificateError::TooLong | CertificateError::Malformed => Tls::BadEncoding,
        CertificateError::Expired => Tls::Expired,
        CertificateError::Critical => Tls::UnhandledCriticalExtension,
        CertificateError::SelfSignature | CertificateError::DeviceSignature => Tls::BadSignature,
        CertificateError::Extension | CertificateError::Key | CertificateError::Chain => {
            Tls::ApplicationVerificationFailure
        }
    })
}

const SCHEMES: [SignatureScheme; 2] = [SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256];

fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken".into())
}

impl ServerCertVerifier for DeviceVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.certificate(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

impl ClientCertVerifier for DeviceVerifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.certificate(end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

/// The certificate's Ed25519 key. It signs deterministically and with a constant length, so that simulated
/// handshakes have the same bytes in each run.
#[derive(Clone)]
pub(super) struct CertificateKey(Arc<ed25519_dalek::SigningKey>);

impl CertificateKey {
    pub(super) fn new(key: ed25519_dalek::SigningKey) -> Self {
        Self(Arc::new(key))
    }
}

impl std::fmt::Debug for CertificateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CertificateKey")
    }
}

impl rustls::sign::SigningKey for CertificateKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        let signer: Box<dyn rustls::sign::Signer> = Box::new(self.clone());
        offered.contains(&SignatureScheme::ED25519).then_some(signer)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl rustls::sign::Signer for CertificateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(ed25519_dalek::Signer::sign(&*self.0, message).to_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}
