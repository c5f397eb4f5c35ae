use std::sync::Mutex;

use super::lock;
use crate::seam::Entropy;

/// Bytes that follow from a seed and a name: the same ones in the same order each time.
pub struct SeededEntropy(Mutex<blake3::OutputReader>);

impl SeededEntropy {
    /// Equal seeds and names give equal bytes.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("softbus seeded entropy v1");
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        Self(Mutex::new(hasher.finalize_xof()))
    }

    /// One that begins with bytes drawn from this one.
    pub fn fork(&self) -> Self {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        let hasher = blake3::Hasher::new_keyed(&seed);
        Self(Mutex::new(hasher.finalize_xof()))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        lock(&self.0).fill(bytes);
    }
}

/// A small generator for the decisions of the network (SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`; 0 if `limit` is 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// True so many times in a thousand.
    pub(super) fn permille(&mut self, permille: u16) -> bool {
        self.below(1000) < u64::from(permille)
    }

    /// True so many times in a million.
    pub(super) fn ppm(&mut self, ppm: u32) -> bool {
        self.below(1_000_000) < u64::from(ppm)
    }
}
