//! Numbers that look random but are a function of the pixel and the sample alone: nothing to carry along when the
//! job moves, and the same however it is cut into steps.

use super::vector::{V3, v};

/// A good mixture of 64 bits (the finaliser of SplitMix64).
pub(super) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The numbers of one sample of one pixel.
pub(super) struct Random {
    counter: u64,
    /// Where this pixel starts in the even sequence, and which sample this is.
    shift: u64,
    sample: u64,
}

impl Random {
    pub fn new(pixel: u64, sample: u64) -> Self {
        let shift = mix(pixel);
        Self { counter: mix(shift ^ (sample << 40) ^ sample), shift, sample }
    }

    /// From 0 up to, not including, 1.
    pub fn next(&mut self) -> f64 {
        self.counter = self.counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        unit((mix(self.counter) >> 32) as u32)
    }

    /// A pair of numbers that over the samples of a pixel fill the square evenly (the R2 sequence, shifted anew for
    /// each pixel and each `use_`): less noise than chance.
    pub fn even(&self, use_: u64) -> (f64, f64) {
        let shift = mix(self.shift.wrapping_add(use_));
        let n = self.sample as u32;
        let a = (shift as u32).wrapping_add(n.wrapping_mul(0xc13f_a9a9));
        let b = ((shift >> 32) as u32).wrapping_add(n.wrapping_mul(0x91e1_0da5));
        (unit(a), unit(b))
    }

    /// A point in the ball of radius one, by trying points of the cube.
    pub fn in_ball(&mut self) -> V3 {
        for _ in 0..16 {
            let p = v(self.next() * 2.0 - 1.0, self.next() * 2.0 - 1.0, self.next() * 2.0 - 1.0);
            if p.dot(p) <= 1.0 {
                return p;
            }
        }
        V3::default()
    }

    /// A direction about `normal`, as often as a matt surface sends light there.
    pub fn matt(&mut self, normal: V3) -> V3 {
        // A point on the sphere that touches the surface.
        (self.in_ball().unit() * 0.999 + normal).unit()
    }
}

fn unit(bits: u32) -> f64 {
    f64::from(bits) * (1.0 / 4_294_967_296.0)
}
