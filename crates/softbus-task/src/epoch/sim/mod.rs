//! A deterministic world for several machines: a network that loses, doubles, delays and splits; disks that write
//! late and forget what was not yet written; clocks that drift; devices that crash, reboot and freeze. After every
//! event the invariants are checked. A schedule is data, so that a failure shrinks and can be read.

mod check;
mod device;
mod schedule;
mod tests;
mod units;
mod world;

/// splitmix64.
#[derive(Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, below: u64) -> u64 {
        self.next() % below.max(1)
    }

    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub(super) fn permille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }
}
