use ed25519_dalek::Signer as _;
use softbus_core::{DeviceId, Domain, Sig, Signer};

/// A device's Ed25519 key. It is wiped from memory when dropped and has no text form.
pub struct DeviceKey(ed25519_dalek::SigningKey);

impl DeviceKey {
    /// From its 32-byte seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The device this key makes.
    pub fn id(&self) -> DeviceId {
        DeviceId(self.0.verifying_key().to_bytes())
    }

    /// Signs bytes as they are, without a domain: only for the libp2p TLS extension, whose format is fixed.
    pub fn sign_raw(&self, bytes: &[u8]) -> Sig {
        Sig::from_bytes(self.0.sign(bytes).to_bytes())
    }
}

impl Signer for DeviceKey {
    fn id(&self) -> DeviceId {
        DeviceKey::id(self)
    }

    fn sign(&self, domain: Domain, body: &[u8]) -> Sig {
        self.sign_raw(&domain.input(body))
    }
}
