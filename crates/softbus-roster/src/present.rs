//! How a device is right now, as it is signed and believed. What a device tells over its own link is believed because
//! of the link; what is passed on by another must be signed by the device, and recent.

use softbus_core::wire::roster::Present;
use softbus_core::{Domain, DynamicProfile, Signed, Signer, WallMs, decode, encode};

use crate::{ProfileError, limits};

/// Signs how we are. `None` if that has no wire form.
pub(crate) fn sign(key: &dyn Signer, boot: u64, profile: &DynamicProfile) -> Option<Signed> {
    let expires = profile.sampled.after(limits::DYNAMIC_RELAY);
    let body = encode(&Present { boot, expires, profile: profile.clone() }).ok()?;
    Some(Signed::new(key, Domain::PRESENT, body))
}

/// What the signed bytes say, whether or not they are signed rightly.
///
/// # Errors
/// If they say nothing.
pub(crate) fn read(signed: &Signed) -> Result<Present, ProfileError> {
    Ok(decode(&signed.body)?)
}

/// Checks what was passed on by another than its signer: time first, because that is cheap, then the signature.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(signed: &Signed, said: &Present, wall: WallMs) -> Result<(), ProfileError> {
    let (sampled, expires) = (said.profile.sampled, said.expires);
    let life = expires.0.checked_sub(sampled.0).ok_or(ProfileError::Lifetime)?;
    if u128::from(life) > limits::DYNAMIC_RELAY.as_millis() {
        return Err(ProfileError::Lifetime);
    }
    if sampled > wall.after(limits::DYNAMIC_RELAY) {
        return Err(ProfileError::Future { ahead_s: (sampled.0 - wall.0) / 1000 });
    }
    if expires <= wall {
        return Err(ProfileError::Expired { ago_s: (wall.0 - expires.0) / 1000 });
    }
    signed.verify(Domain::PRESENT)?;
    Ok(())
}
