//! The certificate of the libp2p TLS specification: self-signed by a fresh key, with an extension in which the
//! device key vouches for that key. The device key signs nothing else of TLS.

use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, CertificateDer, UnixTime, alg_id};
use softbus_core::DeviceId;
use softbus_trust::DeviceKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::NetError;
use crate::seam::Entropy;

/// Longest certificate that is parsed, in bytes. Ours have about 350, those of stock libp2p about 380.
pub const CERTIFICATE_BYTES: usize = 2048;

/// The libp2p extension: 1.3.6.1.4.1.53594.1.1.
const EXTENSION_OID: [u64; 9] = [1, 3, 6, 1, 4, 1, 53594, 1, 1];
/// The same in DER (the content octets of the OBJECT IDENTIFIER).
const EXTENSION_OID_DER: [u8; 10] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xa2, 0x5a, 0x01, 0x01];
/// What the device key signs: this, then the certificate's SubjectPublicKeyInfo.
const SIGNED_PREFIX: &[u8] = b"libp2p-tls-handshake:";
/// `SignedKey ::= SEQUENCE { publicKey OCTET STRING, signature OCTET STRING }` with an Ed25519 key (as protobuf:
/// type 1, 32 bytes) and signature has one single DER form, of fixed length: these bytes, the key, ...
const SIGNED_KEY_HEAD: [u8; 8] = [0x30, 104, 0x04, 36, 0x08, 0x01, 0x12, 0x20];
/// ... these, and the signature.
const SIGNED_KEY_MIDDLE: [u8; 2] = [0x04, 64];
/// Length of the extension's content.
const SIGNED_KEY_LEN: usize = 106;

/// Why a certificate is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateError {
    /// Longer than any such certificate.
    #[error("the certificate is longer than {CERTIFICATE_BYTES} bytes")]
    TooLong,
    /// Not one X.509 v3 certificate and nothing else.
    #[error("the certificate is malformed")]
    Malformed,
    /// Not valid now by this device's clock.
    #[error("the certificate is not valid at this time (check the clocks of both devices)")]
    Expired,
    /// A critical extension that is not understood.
    #[error("the certificate has a critical extension that is not understood")]
    Critical,
    /// No libp2p extension, or two, or not of an Ed25519 key.
    #[error("the certificate does not name an Ed25519 device key")]
    Extension,
    /// The certificate's key is not one that is accepted.
    #[error("the certificate's key is neither Ed25519 nor ECDSA P-256")]
    Key,
    /// The certificate is not signed by its own key.
    #[error("the certificate is not signed by its own key")]
    SelfSignature,
    /// The device key did not sign the certificate's key.
    #[error("the device key has not signed the certificate's key")]
    DeviceSignature,
    /// Not exactly one certificate.
    #[error("there must be exactly one certificate")]
    Chain,
}

/// A device's certificate and the key it certifies.
pub(super) struct Identity {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: ed25519_dalek::SigningKey,
}

impl Identity {
    /// Draws a fresh certificate key and has the device key vouch for it.
    pub(super) fn new(device: &DeviceKey, entropy: &dyn Entropy) -> Result<Self, NetError> {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        let mut serial = [0; 16];
        entropy.fill(&mut seed[..]);
        entropy.fill(&mut serial);
        serial[0] &= 0x7f; // a positive INTEGER
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        let extension = signed_key(device, &key.verifying_key());
        let certificate = self_signed(&key, Some(extension), &serial, (1975, 4096))?;
        Ok(Self { certificate, key })
    }
}

/// The extension's content: the device key and its signature over the certificate's key.
fn signed_key(device: &DeviceKey, certified: &ed25519_dalek::VerifyingKey) -> Vec<u8> {
    let spki = rcgen::PublicKeyData::subject_public_key_info(&PublicKey(certified.to_bytes()));
    let signature = device.sign_raw(&signed_input(&spki)).to_bytes();
    let mut content = Vec::with_capacity(SIGNED_KEY_LEN);
    content.extend_from_slice(&SIGNED_KEY_HEAD);
    content.extend_from_slice(&device.id().0);
    content.extend_from_slice(&SIGNED_KEY_MIDDLE);
    content.extend_from_slice(&signature);
    content
}

fn signed_input(spki: &[u8]) -> Vec<u8> {
    [SIGNED_PREFIX, spki].concat()
}

/// A self-signed certificate, valid from the begin of one year to the begin of another. The span of ours is
/// wide on purpose: a device whose clock is off must still be reachable, and trust has its own expiry.
fn self_signed(
    key: &ed25519_dalek::SigningKey,
    extension: Option<Vec<u8>>,
    serial: &[u8],
    years: (i32, i32),
) -> Result<CertificateDer<'static>, NetError> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.serial_number = Some(rcgen::SerialNumber::from_slice(serial));
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    if let Some(content) = extension {
        let mut extension = rcgen::CustomExtension::from_oid_content(&EXTENSION_OID, content);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    }
    let signer = Signer { key, public: key.verifying_key().to_bytes() };
    let certificate = params.self_signed(&signer).map_err(|e| NetError::Tls(format!("certificate: {e}")))?;
    Ok(certificate.der().clone())
}

struct PublicKey([u8; 32]);

impl rcgen::PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

struct Signer<'a> {
    key: &'a ed25519_dalek::SigningKey,
    public: [u8; 32],
}

impl rcgen::PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(ed25519_dalek::Signer::sign(self.key, message).to_bytes().to_vec())
    }
}

/// A parsed certificate. Nothing in it is proven before [`Parsed::verify`].
pub(super) struct Parsed<'a> {
    der: &'a [u8],
    x509: X509Certificate<'a>,
    device: DeviceId,
    device_signature: [u8; 64],
    key: CertifiedKeyKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CertifiedKeyKind {
    Ed25519,
    EcdsaP256,
}

/// What a certificate has proven, short of the peer's possession of its key and of the time: that stays true, so that
/// a certificate seen again need not be parsed and verified again.
#[derive(Clone, Debug)]
pub(super) struct Proven {
    pub(super) device: DeviceId,
    key: CertifiedKey,
    /// From and to, in seconds since 1970.
    valid: (i64, i64),
}

/// The key that a certificate certifies.
#[derive(Clone, Debug)]
enum CertifiedKey {
    Ed25519(ed25519_dalek::VerifyingKey),
    EcdsaP256(Vec<u8>),
}

impl Proven {
    /// Whether it is valid at this time.
    pub(super) fn check_time(&self, now: UnixTime) -> Result<(), CertificateError> {
        let now = i64::try_from(now.as_secs()).map_err(|_| CertificateError::Expired)?;
        if (self.valid.0..=self.valid.1).contains(&now) { Ok(()) } else { Err(CertificateError::Expired) }
    }

    /// Checks a signature of the certificate's key.
    pub(super) fn verify_message(
        &self,
        scheme: SignatureScheme,
        message: &[u8],
        signature: &[u8],
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), CertificateError> {
        if scheme != self.key.scheme() {
            return Err(CertificateError::Key);
        }
        self.key.verify(message, signature, algorithms)
    }
}

impl CertifiedKey {
    /// The only scheme in which it may sign.
    fn scheme(&self) -> SignatureScheme {
        match self {
            Self::Ed25519(_) => SignatureScheme::ED25519,
            Self::EcdsaP256(_) => SignatureScheme::ECDSA_NISTP256_SHA256,
        }
    }

    fn verify(
        &self,
        message: &[u8],
        signature: &[u8],
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), CertificateError> {
        match self {
            Self::Ed25519(key) => {
                let signature = <&[u8; 64]>::try_from(signature).map_err(|_| CertificateError::Key)?;
                key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature))
                    .map_err(|_| CertificateError::Key)
            }
            Self::EcdsaP256(key) => {
                let algorithm = algorithms
                    .mapping
                    .iter()
                    .filter(|(of, _)| *of == self.scheme())
                    .flat_map(|(_, algorithms)| algorithms.iter())
                    .find(|a| a.public_key_alg_id() == alg_id::ECDSA_P256)
                    .ok_or(CertificateError::Key)?;
                algorithm.verify_signature(key, message, signature).map_err(|_| CertificateError::Key)
            }
        }
    }
}

impl<'a> Parsed<'a> {
    /// Parses a foreign certificate: its length first.
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, CertificateError> {
        if der.len() > CERTIFICATE_BYTES {
            return Err(CertificateError::TooLong);
        }
        let (rest, x509) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        let mut signed_key = None;
        for extension in x509.extensions() {
            if extension.oid.as_bytes() == EXTENSION_OID_DER {
                if signed_key.replace(parse_signed_key(extension.value)?).is_some() {
                    return Err(CertificateError::Extension);
                }
            } else if extension.critical {
                return Err(CertificateError::Critical);
            }
        }
        let (device, device_signature) = signed_key.ok_or(CertificateError::Extension)?;
        let key = key_kind(&x509)?;
        Ok(Self { der, x509, device, device_signature, key })
    }

    /// Checks everything that the certificate by itself can prove, save its time ([`Proven::check_time`]). (That the
    /// peer holds the certificate's key is proven by TLS, see [`Proven::verify_message`].)
    pub(super) fn verify(&self, algorithms: &WebPkiSupportedAlgorithms) -> Result<Proven, CertificateError> {
        // RFC 5280, section 4.1.1.2: the algorithm is named twice, the same each time.
        if self.x509.signature_algorithm != self.x509.tbs_certificate.signature {
            return Err(CertificateError::Malformed);
        }
        let certified = self.certified_key().map_err(|_| CertificateError::SelfSignature)?;
        if self.x509.signature_algorithm.algorithm.as_bytes() != signature_oid(certified.scheme()) {
            return Err(CertificateError::Key);
        }
        // The parser is lenient with the part that no signature covers; DER has but one form of it.
        if self.canonical_form(certified.scheme()) != self.der {
            return Err(CertificateError::Malformed);
        }
        let (signed, signature) = (self.x509.tbs_certificate.as_ref(), self.x509.signature_value.as_ref());
        certified.verify(signed, signature, algorithms).map_err(|_| CertificateError::SelfSignature)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.device.0)
            .map_err(|_| CertificateError::Extension)?;
        let signature = ed25519_dalek::Signature::from_bytes(&self.device_signature);
        key.verify_strict(&signed_input(self.x509.public_key().raw), &signature)
            .map_err(|_| CertificateError::DeviceSignature)?;
        let validity = self.x509.validity();
        let valid = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Ok(Proven { device: self.device, key: certified, valid })
    }

    fn certified_key(&self) -> Result<CertifiedKey, CertificateError> {
        let bytes = self.x509.public_key().subject_public_key.as_ref();
        Ok(match self.key {
            CertifiedKeyKind::Ed25519 => {
                let bytes = <&[u8; 32]>::try_from(bytes).map_err(|_| CertificateError::Key)?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(bytes);
                CertifiedKey::Ed25519(key.map_err(|_| CertificateError::Key)?)
            }
            CertifiedKeyKind::EcdsaP256 => CertifiedKey::EcdsaP256(bytes.to_vec()),
        })
    }

    /// `Certificate ::= SEQUENCE { tbsCertificate, AlgorithmIdentifier without parameters, BIT STRING }` in
    /// DER, around the signed part and the signature as they are.
    fn canonical_form(&self, scheme: SignatureScheme) -> Vec<u8> {
        let oid = signature_oid(scheme);
        let signature = self.x509.signature_value.as_ref();
        let algorithm = der_element(0x30, &der_element(0x06, oid));
        let signature = der_element(0x03, &[&[0], signature].concat());
        der_element(0x30, &[self.x509.tbs_certificate.as_ref(), &algorithm, &signature].concat())
    }
}

/// One DER element of less than 64 KiB: tag, length in its shortest form, content.
fn der_element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let head: &[u8] = match content.len() {
        0..=0x7f => &[tag, low],
        0x80..=0xff => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [head, content].concat()
}

/// The content octets of a signature algorithm's OID.
fn signature_oid(scheme: SignatureScheme) -> &'static [u8] {
    match scheme {
        SignatureScheme::ED25519 => &[0x2b, 0x65, 0x70],
        _ => &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
    }
}

/// Which kind of key is certified: the AlgorithmIdentifier must be exactly that of one we accept.
fn key_kind(x509: &X509Certificate<'_>) -> Result<CertifiedKeyKind, CertificateError> {
    let spki = x509.public_key();
    if spki.subject_public_key.unused_bits != 0 {
        return Err(CertificateError::Key);
    }
    // SubjectPublicKeyInfo ::= SEQUENCE { AlgorithmIdentifier, BIT STRING }, both accepted kinds with one-byte
    // lengths: 30 len 30 len <algorithm id> ...
    let is = |id: AlgorithmIdentifier| {
        let algorithm = spki.raw.get(4..4 + id.as_ref().len());
        spki.raw.get(3).is_some_and(|&len| usize::from(len) == id.as_ref().len())
            && algorithm == Some(id.as_ref())
    };
    if is(alg_id::ED25519) {
        Ok(CertifiedKeyKind::Ed25519)
    } else if is(alg_id::ECDSA_P256) {
        Ok(CertifiedKeyKind::EcdsaP256)
    } else {
        Err(CertificateError::Key)
    }
}

fn parse_signed_key(content: &[u8]) -> Result<(DeviceId, [u8; 64]), CertificateError> {
    let wrong = CertificateError::Extension;
    let content: &[u8; SIGNED_KEY_LEN] = content.try_into().map_err(|_| wrong)?;
    let rest = content.strip_prefix(&SIGNED_KEY_HEAD).ok_or(wrong)?;
    let (key, rest) = rest.split_first_chunk::<32>().ok_or(wrong)?;
    let signature = rest.strip_prefix(&SIGNED_KEY_MIDDLE).ok_or(wrong)?;
    Ok((DeviceId(*key), signature.try_into().map_err(|_| wrong)?))
}

/// Parses and verifies a foreign certificate as the handshake does, with the clock at `now_s` (seconds since
/// 1970), and gives the device it proves (short of possession of the certificate's key, which TLS proves).
/// For harnesses: never panics, whatever the bytes.
pub fn parse_certificate(der: &[u8], now_s: u64) -> Result<DeviceId, CertificateError> {
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_s));
    let algorithms = super::default_provider().signature_verification_algorithms;
    let proven = Parsed::parse(der)?.verify(&algorithms)?;
    proven.check_time(now)?;
    Ok(proven.device)
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
