//! The endpoint's own keys: stateless resets, retry tokens and connection ids, all derived from seeds drawn
//! from the seam, so that a simulated endpoint sends the same bytes in each run.

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce, Tag};
use quinn::crypto::{AeadKey, CryptoError, HandshakeTokenKey, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator};

/// Authenticates stateless resets: keyed BLAKE3.
pub(crate) struct ResetKey(pub(crate) [u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let mac = blake3::keyed_hash(&self.0, data);
        let len = signature_out.len().min(32);
        signature_out[..len].copy_from_slice(&mac.as_bytes()[..len]);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let signature: [u8; 32] = signature.try_into().map_err(|_| CryptoError)?;
        // `blake3::Hash` compares in constant time.
        if blake3::keyed_hash(&self.0, data) == blake3::Hash::from_bytes(signature) {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

/// Seals retry tokens. Each token has random bytes from which its own key is derived.
pub(crate) struct TokenKey(pub(crate) [u8; 32]);

impl HandshakeTokenKey for TokenKey {
    fn aead_from_hkdf(&self, random_bytes: &[u8]) -> Box<dyn AeadKey> {
        let key = *blake3::keyed_hash(&self.0, random_bytes).as_bytes();
        Box::new(TokenAead(ChaCha20Poly1305::new(&Key::from(key))))
    }
}

struct TokenAead(ChaCha20Poly1305);

const TAG_LEN: usize = 16;

impl AeadKey for TokenAead {
    fn seal(&self, data: &mut Vec<u8>, additional_data: &[u8]) -> Result<(), CryptoError> {
        // The key is used once: a constant nonce is right.
        let tag = self
            .0
            .encrypt_in_place_detached(&Nonce::default(), additional_data, data)
            .map_err(|_| CryptoError)?;
        data.extend_from_slice(&tag);
        Ok(())
    }

    fn open<'a>(&self, data: &'a mut [u8], additional_data: &[u8]) -> Result<&'a mut [u8], CryptoError> {
        let len = data.len().checked_sub(TAG_LEN).ok_or(CryptoError)?;
        let (text, tag) = data.split_at_mut(len);
        self.0
            .decrypt_in_place_detached(&Nonce::default(), additional_data, text, Tag::from_slice(tag))
            .map_err(|_| CryptoError)?;
        Ok(text)
    }
}

/// Connection ids of 8 bytes: half a keyed hash of a counter, half a short MAC over that, by which packets that
/// were never ours are told apart before any work is done for them.
pub(crate) struct CidGenerator {
    key: [u8; 32],
    counter: u64,
}

impl CidGenerator {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key, counter: 0 }
    }

    fn mac(&self, nonce: &[u8]) -> [u8; 4] {
        let mut input = *b"mac\0\0\0\0\0";
        input[4..].copy_from_slice(&nonce[..4]);
        let [a, b, c, d, ..] = *blake3::keyed_hash(&self.key, &input).as_bytes();
        [a, b, c, d]
    }
}

impl ConnectionIdGenerator for CidGenerator {
    fn generate_cid(&mut self) -> ConnectionId {
        self.counter = self.counter.wrapping_add(1);
        let mut input = *b"cid\0\0\0\0\0\0\0\0\0";
        input[4..].copy_from_slice(&self.counter.to_le_bytes());
        let mut cid = [0; 8];
        cid[..4].copy_from_slice(&blake3::keyed_hash(&self.key, &input).as_bytes()[..4]);
        let mac = self.mac(&cid);
        cid[4..].copy_from_slice(&mac);
        ConnectionId::new(&cid)
    }

    fn validate(&self, cid: &ConnectionId) -> Result<(), quinn_proto::InvalidCid> {
        match cid.split_first_chunk::<4>() {
            Some((nonce, mac)) if mac == self.mac(nonce) => Ok(()),
            _ => Err(quinn_proto::InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_ids_are_recognised_and_do_not_repeat() {
        let mut ours = CidGenerator::new([7; 32]);
        let other = CidGenerator::new([8; 32]);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let cid = ours.generate_cid();
            assert!(ours.validate(&cid).is_ok());
            seen.insert(cid.to_vec());
            if other.validate(&cid).is_ok() {
                panic!("a foreign id passed"); // 1 in 2^32 each, and the keys are constant
            }
        }
        assert_eq!(seen.len(), 1000);
        assert!(ours.validate(&ConnectionId::new(&[1, 2])).is_err());
        let again = CidGenerator::new([7; 32]).generate_cid();
        assert!(seen.contains(&again.to_vec()), "the same key gives the same ids");
    }

    #[test]
    fn tokens_open_only_unchanged() {
        let key = TokenKey([1; 32]);
        let mut sealed = b"an address".to_vec();
        key.aead_from_hkdf(b"random").seal(&mut sealed, b"more").unwrap();
        assert_eq!(key.aead_from_hkdf(b"random").open(&mut sealed.clone(), b"more").unwrap(), b"an address");
        assert!(key.aead_from_hkdf(b"other").open(&mut sealed.clone(), b"more").is_err());
        assert!(key.aead_from_hkdf(b"random").open(&mut sealed.clone(), b"").is_err());
        for len in 0..sealed.len() {
            assert!(key.aead_from_hkdf(b"random").open(&mut sealed.clone()[..len], b"more").is_err());
        }
    }

    #[test]
    fn resets_are_authenticated() {
        let key = ResetKey([1; 32]);
        let mut mac = [0; 32];
        key.sign(b"cid", &mut mac);
        assert!(key.verify(b"cid", &mac).is_ok());
        assert!(key.verify(b"cie", &mac).is_err());
        assert!(key.verify(b"cid", &mac[..16]).is_err());
    }
}
