//! The circle's secret, which keys the [discovery tags](crate::tag) of its members.
//!
//! An owner makes it, signs it and hands it over to current members only. It has a generation, and says which
//! removals its maker knew of. When an owner learns of a removal that the secret of today does not cover, it
//! makes the next generation at once. Two owners may do so at the same time; then the higher generation stays,
//! of equal ones the one with the smaller hash, and a secret whose maker is out of the circle gives way to any
//! whose maker is in it. All who have heard of the same secrets and statements agree.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use softbus_core::{
    CircleId, DecodeError, Domain, EncodeError, Hash, Message, Signed, SignedError, Signer, limits,
};

use super::{CircleSet, CircleView};
use crate::Role;

/// What a signature on a circle's secret is for.
const DOMAIN: Domain = Domain("softbus circle secret v1");

/// Most generations by which a secret may be ahead of the one it replaces.
const GENERATION_LEAP: u64 = 1 << 20;

/// A circle's secret as its maker signs it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretBody {
    /// Which circle.
    pub circle: CircleId,
    /// Grows by one with each new secret.
    pub generation: u64,
    /// The last statements its maker knew: removals among them and before them are covered. At most
    /// [`limits::STATEMENT_PARENTS`].
    pub seen: Vec<Hash>,
    /// The secret.
    pub secret: [u8; 32],
}

impl Message for SecretBody {
    const KIND: u16 = 0x0211;
    const VERSION: u16 = 1;
    const MAX_BYTES: usize = 2 << 10;
}

/// A circle's secret, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct CircleSecret {
    signed: Signed,
    body: SecretBody,
}

/// Why bytes are no circle's secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SecretError {
    /// The signature is wrong.
    #[error("the circle secret's signature is wrong: {0}")]
    Signature(#[from] SignedError),
    /// The bytes are not understood.
    #[error("the circle secret is not understood: {0}")]
    Decode(#[from] DecodeError),
    /// It cannot be written.
    #[error("the circle secret cannot be written: {0}")]
    Encode(#[from] EncodeError),
    /// It is another circle's.
    #[error("the circle secret is another circle's")]
    OtherCircle,
    /// Its maker is not an owner.
    #[error("the circle secret was not made by an owner")]
    NotOwner,
    /// It breaks a limit.
    #[error("the circle secret is not well-formed")]
    IllFormed,
}

impl CircleSecret {
    /// Makes the secret that comes after `before`. `random` is fit for keys.
    pub fn make(
        signer: &dyn Signer,
        set: &CircleSet,
        before: Option<&Self>,
        random: [u8; 32],
    ) -> Result<Self, SecretError> {
        let mut seen = set.heads();
        seen.truncate(limits::STATEMENT_PARENTS);
        let generation = before.map_or(1, |before| before.body.generation.saturating_add(1));
        let body = SecretBody { circle: set.id(), generation, seen, secret: random };
        let signed = Signed::new(signer, DOMAIN, softbus_core::encode(&body)?);
        Ok(Self { signed, body })
    }

    /// Checks foreign bytes: form, signature, and that their signer is an owner (its time may be over).
    pub fn read(signed: Signed, view: &CircleView) -> Result<Self, SecretError> {
        let secret = Self::reread(signed, view.id)?;
        match view.members.get(&secret.signed.signer) {
            Some(maker) if maker.role == Role::Owner => Ok(secret),
            _ => Err(SecretError::NotOwner),
        }
    }

    /// Checks bytes that this device stored after [`CircleSecret::read`].
    pub fn reread(signed: Signed, circle: CircleId) -> Result<Self, SecretError> {
        if signed.body.len() > softbus_core::HEADER_LEN + SecretBody::MAX_BYTES {
            return Err(SecretError::IllFormed);
        }
        let body: SecretBody = softbus_core::decode(signed.verify(DOMAIN)?)?;
        if body.circle != circle {
            return Err(SecretError::OtherCircle);
        }
        if body.seen.len() > limits::STATEMENT_PARENTS {
            return Err(SecretError::IllFormed);
        }
        Ok(Self { signed, body })
    }

    /// The secret itself.
    pub fn secret(&self) -> &[u8; 32] {
        &self.body.secret
    }

    /// Its generation.
    pub fn generation(&self) -> u64 {
        self.body.generation
    }

    /// As it travels and is stored.
    pub fn signed(&self) -> &Signed {
        &self.signed
    }

    /// Names it without telling it.
    pub fn hash(&self) -> Hash {
        self.signed.hash()
    }

    /// Whether this one takes the place of `other`. One that leaps ahead by more than a million generations never
    /// does, so that no hostile owner can use the numbers up.
    pub fn beats(&self, other: &Self, view: &CircleView) -> bool {
        if self.body.generation > other.body.generation.saturating_add(GENERATION_LEAP) {
            return false;
        }
        let maker_in = |secret: &Self| view.members.contains_key(&secret.signed.signer);
        let order = maker_in(self)
            .cmp(&maker_in(other))
            .then(self.body.generation.cmp(&other.body.generation))
            .then_with(|| other.hash().cmp(&self.hash()));
        order == Ordering::Greater
    }

    /// Whether an owner who knows `set` should make the next one: a removal is not covered by this one.
    /// While statements are missing that its maker knew, this device cannot tell and waits for them, unless the
    /// maker is out.
    pub fn is_stale(&self, set: &CircleSet, view: &CircleView) -> bool {
        !set.removals_covered(&self.body.seen).unwrap_or(true)
            || !view.members.contains_key(&self.signed.signer)
    }
}
