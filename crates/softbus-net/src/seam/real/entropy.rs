use super::SeamError;
use crate::seam::Entropy;

/// The system's randomness.
#[derive(Clone, Copy, Debug)]
pub struct SystemEntropy(());

impl SystemEntropy {
    /// Draws once, so that a system without randomness is found out at the start.
    ///
    /// # Errors
    /// [`SeamError::Entropy`].
    pub fn new() -> Result<Self, SeamError> {
        getrandom::fill(&mut [0; 32]).map_err(|error| SeamError::Entropy(error.to_string()))?;
        Ok(Self(()))
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes)
            .expect("the system gave randomness at the start and does not stop; going on without it would betray keys");
    }
}
