//! Signed bytes: what is signed is the bytes that were received, never a re-encoding (law 4).

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{DeviceId, Hash};

/// What a signature is for. It is part of what is signed, so no signature serves two purposes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Domain(pub &'static str);

impl Domain {
    /// A statement of a circle.
    pub const CIRCLE: Domain = Domain("softbus circle statement v1");
    /// A static profile.
    pub const PROFILE: Domain = Domain("softbus profile v1");
    /// How a device is right now.
    pub const PRESENT: Domain = Domain("softbus present state v1");
    /// A task's checkpoint manifest.
    pub const MANIFEST: Domain = Domain("softbus task manifest v1");
    /// A vote, promise or certificate on a task's epoch.
    pub const EPOCH: Domain = Domain("softbus task epoch v1");
    /// A task grant (who may see, move or cancel it).
    pub const GRANT: Domain = Domain("softbus task grant v1");

    /// The bytes that are signed for `body` under this domain.
    pub fn input(self, body: &[u8]) -> Vec<u8> {
        let mut input = Vec::with_capacity(self.0.len() + 1 + body.len());
        input.extend_from_slice(self.0.as_bytes());
        input.push(0);
        input.extend_from_slice(body);
        input
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sig([u8; 32], [u8; 32]);

impl Sig {
    /// From its 64 bytes.
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&bytes[..32]);
        s.copy_from_slice(&bytes[32..]);
        Self(r, s)
    }

    /// Its 64 bytes.
    pub fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..].copy_from_slice(&self.1);
        bytes
    }
}

impl fmt::Debug for Sig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sig({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// Something that signs with a device key (or a recovery key).
pub trait Signer {
    /// Whose key it is.
    fn id(&self) -> DeviceId;
    /// Signs `body` for one purpose.
    fn sign(&self, domain: Domain, body: &[u8]) -> Sig;
}

/// Bytes, their signer and the signature. The bytes are parsed only after [`Signed::verify`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Signed {
    /// Whose signature it claims to be.
    pub signer: DeviceId,
    /// The signed bytes, exactly as signed.
    pub body: Vec<u8>,
    /// The signature over [`Domain::input`].
    pub sig: Sig,
}

/// Why signed bytes are not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignedError {
    /// The signer is no valid Ed25519 key.
    #[error("the signer is not a valid Ed25519 key")]
    Key,
    /// The signature is not the signer's over these bytes.
    #[error("the signature does not match")]
    Signature,
}

impl Signed {
    /// Signs `body`.
    pub fn new(signer: &dyn Signer, domain: Domain, body: Vec<u8>) -> Self {
        let sig = signer.sign(domain, &body);
        Self { signer: signer.id(), body, sig }
    }

    /// Checks the signature (RFC 8032, strict: no small-order keys, no malleable signatures) and gives the body.
    pub fn verify(&self, domain: Domain) -> Result<&[u8], SignedError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.signer.0).map_err(|_| SignedError::Key)?;
        let sig = ed25519_dalek::Signature::from_bytes(&self.sig.to_bytes());
        key.verify_strict(&domain.input(&self.body), &sig).map_err(|_| SignedError::Signature)?;
        Ok(&self.body)
    }

    /// Names these signed bytes: the hash over signer and body (not over the signature).
    pub fn hash(&self) -> Hash {
        let mut input = Vec::with_capacity(32 + self.body.len());
        input.extend_from_slice(&self.signer.0);
        input.extend_from_slice(&self.body);
        Hash::derive("softbus signed bytes v1", &input)
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Signer as _;

    use super::*;

    struct Key(ed25519_dalek::SigningKey);
    impl Signer for Key {
        fn id(&self) -> DeviceId {
            DeviceId(self.0.verifying_key().to_bytes())
        }
        fn sign(&self, domain: Domain, body: &[u8]) -> Sig {
            Sig::from_bytes(self.0.sign(&domain.input(body)).to_bytes())
        }
    }

    fn key() -> Key {
        Key(ed25519_dalek::SigningKey::from_bytes(&[7; 32]))
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let signed = Signed::new(&key(), Domain::PROFILE, b"a profile".to_vec());
        assert_eq!(signed.verify(Domain::PROFILE).unwrap(), b"a profile");
        let bytes = postcard::to_allocvec(&signed).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = postcard::from_bytes::<Signed>(&flipped) {
                assert!(other.verify(Domain::PROFILE).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_signature_serves_one_purpose() {
        let signed = Signed::new(&key(), Domain::PROFILE, b"x".to_vec());
        assert_eq!(signed.verify(Domain::MANIFEST), Err(SignedError::Signature));
    }

    #[test]
    fn a_small_order_key_signs_nothing() {
        // The identity point: with a lax check, a zero signature verifies for any message under it.
        let mut signed = Signed::new(&key(), Domain::PROFILE, b"x".to_vec());
        let mut identity = [0; 32];
        identity[0] = 1;
        signed.signer = DeviceId(identity);
        let mut zero = [0; 64];
        zero[0] = 1;
        signed.sig = Sig::from_bytes(zero);
        assert!(signed.verify(Domain::PROFILE).is_err());
    }
}
