//! Profiles whose signature was found good before, by any of several buses in one process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use softbus_core::{Hash, Signed};

use crate::profile::Believed;
use crate::{ProfileError, limits};

/// What was checked, at most [`limits::CHECKED`] profiles. Cloning shares it. A device alone gains nothing by it; where many run in one
/// process (a simulation), each profile is checked and kept once instead of once for each pair of them.
#[derive(Clone, Default, Debug)]
pub struct Checked(Arc<Mutex<BTreeMap<Hash, Believed>>>);

impl Checked {
    /// As [`Believed::verify`], unless the very same signed bytes were found good before.
    pub(crate) fn verify(&self, signed: Signed) -> Result<Believed, ProfileError> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = signed.hash();
        // The hash does not cover the signature.
        if let Some(believed) = known().get(&hash).filter(|believed| *believed.signed == signed) {
            return Ok(believed.clone());
        }
        let believed = Believed::verify(signed)?;
        let mut known = known();
        if known.len() >= limits::CHECKED {
            known.clear();
        }
        known.insert(hash, believed.clone());
        Ok(believed)
    }
}

#[cfg(test)]
mod tests {
    use softbus_core::Sig;

    use super::*;
    use crate::profile::tests::{good, key, sign};

    #[test]
    fn another_signature_over_known_bytes_is_checked_itself() {
        let signed = sign(&key(1), &good());
        let checked = Checked::default();
        let first = checked.verify(signed.clone()).expect("good");
        let again = checked.clone().verify(signed.clone()).expect("good");
        assert!(Arc::ptr_eq(&first.signed, &again.signed));
        let forged = Signed { sig: Sig::from_bytes([7; 64]), ..signed };
        assert!(matches!(checked.verify(forged), Err(ProfileError::Signature(_))));
    }
}
