//! TLS whose randomness comes from the seed: rustls's own suites and checks, with a random source and a key exchange
//! (X25519, RFC 7748) that draw from an [`Entropy`]. Also [`Crypto::Null`]: the same handshakes, after which
//! packets are framed but not sealed, for runs whose point is their size.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use curve25519_dalek::MontgomeryPoint;
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
};
use rustls::quic::{Algorithm, HeaderProtectionKey, PacketKey, Tag};
use rustls::{CipherSuite, Error, NamedGroup, PeerMisbehaved, SupportedCipherSuite, Tls13CipherSuite};
use softbus_net::seam::Entropy;
use zeroize::Zeroizing;

use crate::scenario::Crypto;

/// A source of randomness in rustls's terms, which wants it to live for ever. Places are used again when a simulation
/// ends, so that a million of them leak no more than the largest had devices.
struct Source(Mutex<Option<Arc<dyn Entropy>>>);

/// The places that no simulation uses now.
static FREE: Mutex<Vec<&'static Source>> = Mutex::new(Vec::new());

/// The primitives of one device, for as long as this lives.
pub(crate) struct Seeded {
    source: &'static Source,
    provider: Arc<CryptoProvider>,
}

impl Seeded {
    /// Draws from `entropy`.
    pub fn new(entropy: Arc<dyn Entropy>, crypto: Crypto) -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let source = free.unwrap_or_else(|| Box::leak(Box::new(Source(Mutex::new(None)))));
        *source.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(entropy);
        let mut provider = CryptoProvider::clone(&softbus_net::default_provider());
        provider.secure_random = source;
        provider.kx_groups = vec![source];
        // One suite: what is negotiated does not depend on the library behind it.
        provider.cipher_suites.retain(|suite| suite.suite() == SUITE);
        if crypto == Crypto::Null {
            provider.cipher_suites = provider.cipher_suites.iter().map(|suite| unsealed(*suite)).collect();
        }
        Self { source, provider: Arc::new(provider) }
    }

    /// For [`softbus_net::NetConfig::provider`].
    pub fn provider(&self) -> Arc<CryptoProvider> {
        self.provider.clone()
    }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        *self.source.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.source);
    }
}

/// The suite that QUIC's first packets use in any case (RFC 9001, section 5.2).
const SUITE: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl SecureRandom for Source {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(entropy) => {
                entropy.fill(buf);
                Ok(())
            }
            None => Err(GetRandomFailed),
        }
    }
}

impl SupportedKxGroup for Source {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = Zeroizing::new([0; 32]);
        SecureRandom::fill(self, &mut *secret)?;
        let public = MontgomeryPoint::mul_base_clamped(*secret).to_bytes();
        Ok(Box::new(Exchange { secret, public }))
    }

    fn ffdhe_group(&self) -> Option<rustls::ffdhe_groups::FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Exchange {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        let invalid = || Error::from(PeerMisbehaved::InvalidKeyShare);
        let peer = <[u8; 32]>::try_from(peer_pub_key).map_err(|_| invalid())?;
        let shared = MontgomeryPoint(peer).mul_clamped(*self.secret).to_bytes();
        // RFC 7748, section 6.1: all zero comes of a point of small order.
        if shared == [0; 32] {
            return Err(invalid());
        }
        Ok(SharedSecret::from(&shared[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// The suite with its packet protection taken out.
fn unsealed(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    static UNSEALED: OnceLock<Tls13CipherSuite> = OnceLock::new();
    let Some(real) = suite.tls13() else { return suite };
    SupportedCipherSuite::Tls13(UNSEALED.get_or_init(|| Tls13CipherSuite {
        common: rustls::crypto::CipherSuiteCommon {
            suite: real.common.suite,
            hash_provider: real.common.hash_provider,
            confidentiality_limit: real.common.confidentiality_limit,
        },
        hkdf_provider: real.hkdf_provider,
        aead_alg: real.aead_alg,
        quic: Some(&Unsealed),
    }))
}

/// Packets in the open, with tags that tell right keys from wrong ones and nothing else.
struct Unsealed;

/// Length of a tag: as that of a real suite, so that all sizes are the same.
const TAG: usize = 16;

impl Algorithm for Unsealed {
    fn packet_key(&self, key: AeadKey, _: Iv) -> Box<dyn PacketKey> {
        let mut half = [0; 8];
        half.copy_from_slice(&key.as_ref()[..8]);
        Box::new(Open(u64::from_le_bytes(half)))
    }

    fn header_protection_key(&self, _: AeadKey) -> Box<dyn HeaderProtectionKey> {
        Box::new(Bare)
    }

    fn aead_key_len(&self) -> usize {
        16
    }
}

struct Open(u64);

impl Open {
    fn tag(&self, packet_number: u64, len: usize) -> [u8; TAG] {
        let mixed = (self.0 ^ packet_number.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ len as u64;
        let mut tag = [0; TAG];
        tag[..8].copy_from_slice(&self.0.to_le_bytes());
        tag[8..].copy_from_slice(&mixed.to_le_bytes());
        tag
    }
}

impl PacketKey for Open {
    fn encrypt_in_place(&self, number: u64, _: &[u8], payload: &mut [u8]) -> Result<Tag, Error> {
        Ok(Tag::from(&self.tag(number, payload.len())[..]))
    }

    fn decrypt_in_place<'a>(&self, number: u64, _: &[u8], payload: &'a mut [u8]) -> Result<&'a [u8], Error> {
        let len = payload.len().checked_sub(TAG).ok_or(Error::DecryptError)?;
        let (text, tag) = payload.split_at(len);
        if *tag == self.tag(number, len) { Ok(text) } else { Err(Error::DecryptError) }
    }

    fn tag_len(&self) -> usize {
        TAG
    }

    fn confidentiality_limit(&self) -> u64 {
        u64::MAX
    }

    fn integrity_limit(&self) -> u64 {
        u64::MAX
    }
}

/// No header protection.
struct Bare;

impl HeaderProtectionKey for Bare {
    fn encrypt_in_place(&self, _: &[u8], _: &mut u8, _: &mut [u8]) -> Result<(), Error> {
        Ok(())
    }

    fn decrypt_in_place(&self, _: &[u8], _: &mut u8, _: &mut [u8]) -> Result<(), Error> {
        Ok(())
    }

    fn sample_len(&self) -> usize {
        16
    }
}

#[cfg(test)]
mod tests {
    use softbus_net::seam::memory::SeededEntropy;

    use super::*;

    fn seeded(seed: u64, crypto: Crypto) -> Seeded {
        Seeded::new(Arc::new(SeededEntropy::new(seed, "device")), crypto)
    }

    /// RFC 7748, section 5.2, the first vector.
    #[test]
    fn the_key_exchange_is_x25519() {
        let hex = |text: &str| {
            let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
            <[u8; 32]>::try_from(bytes).unwrap()
        };
        let secret = hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
        let peer = hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
        let exchange = Box::new(Exchange { secret: Zeroizing::new(secret), public: [0; 32] });
        let shared = hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
        assert_eq!(exchange.complete(&peer).unwrap().secret_bytes(), shared);
    }

    #[test]
    fn equal_seeds_draw_equal_keys_and_weak_shares_are_refused() {
        let key = |seed| seeded(seed, Crypto::Real).source.start().unwrap().pub_key().to_vec();
        assert_eq!(key(1), key(1));
        assert_ne!(key(1), key(2));
        let one = seeded(1, Crypto::Real);
        for share in [&[0; 32][..], &[1; 31], &[]] {
            assert!(one.source.start().unwrap().complete(share).is_err());
        }
    }

    #[test]
    fn places_are_used_again() {
        let source = {
            let first = seeded(3, Crypto::Null);
            let mut bytes = [0; 4];
            first.provider.secure_random.fill(&mut bytes).unwrap();
            first.source
        };
        // Other tests may have taken it meanwhile, but whoever is over draws nothing any more.
        let held = source.0.lock().unwrap().is_some();
        let free = FREE.lock().unwrap().iter().any(|place| std::ptr::eq(*place, source));
        assert!(held || free);
    }

    #[test]
    fn open_packets_tell_right_keys_from_wrong_ones() {
        let (right, wrong) = (Open(7), Open(8));
        let mut packet = b"payload".to_vec();
        let tag = right.encrypt_in_place(3, b"", &mut packet).unwrap();
        packet.extend_from_slice(tag.as_ref());
        assert_eq!(right.decrypt_in_place(3, b"", &mut packet).unwrap(), b"payload");
        assert!(right.decrypt_in_place(4, b"", &mut packet).is_err());
        assert!(wrong.decrypt_in_place(3, b"", &mut packet).is_err());
        assert!(right.decrypt_in_place(3, b"", &mut packet[..10]).is_err());
    }
}
