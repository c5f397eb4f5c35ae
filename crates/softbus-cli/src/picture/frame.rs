//! What has been gathered so far: for each pixel two sums of light, of its even and of its odd samples. How much the
//! two differ tells how noisy a pixel still is.

use super::vector::{V3, v};

/// Side of a tile, in pixels. Pixels of a tile lie together, so that a step changes one place of the state.
pub(super) const TILE: u32 = 32;
/// Numbers for each pixel: red, green, blue of either half.
pub(super) const SUMS: usize = 6;
/// Light of one is counted as this much, in whole numbers: sums do not depend on their order.
const ONE: f64 = 16_384.0;

/// Sums of light, tile by tile, row by row.
pub(super) struct Frame {
    pub width: u32,
    pub height: u32,
    pub sums: Vec<u32>,
}

impl Frame {
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height, sums: vec![0; Self::len(width, height)] }
    }

    /// How many numbers a frame of this size has.
    pub fn len(width: u32, height: u32) -> usize {
        let tiles = width.div_ceil(TILE) as usize * height.div_ceil(TILE) as usize;
        tiles * (TILE * TILE) as usize * SUMS
    }

    pub fn tiles_across(&self) -> u32 {
        self.width.div_ceil(TILE)
    }

    pub fn tiles(&self) -> u32 {
        self.tiles_across() * self.height.div_ceil(TILE)
    }

    /// Upper left pixel of a tile.
    pub fn corner(&self, tile: u32) -> (u32, u32) {
        (tile % self.tiles_across() * TILE, tile / self.tiles_across() * TILE)
    }

    fn place(&self, x: u32, y: u32) -> usize {
        let tile = (y / TILE * self.tiles_across() + x / TILE) as usize;
        let within = (y % TILE * TILE + x % TILE) as usize;
        (tile * (TILE * TILE) as usize + within) * SUMS
    }

    /// Adds one sample.
    pub fn add(&mut self, x: u32, y: u32, sample: u64, light: V3) {
        let place = self.place(x, y) + if sample & 1 == 0 { 0 } else { 3 };
        for (sum, part) in self.sums[place..place + 3].iter_mut().zip([light.x, light.y, light.z]) {
            // A cast of what is no number gives nought.
            *sum = sum.saturating_add((part * ONE) as u32);
        }
    }

    /// The two means of a pixel, after `samples` samples of it.
    pub fn halves(&self, x: u32, y: u32, samples: u32) -> ([f32; 3], [f32; 3]) {
        let place = self.place(x, y);
        let mean = |from: usize, count: u32| {
            let scale = 1.0 / (ONE as f32 * count.max(1) as f32);
            [0, 1, 2].map(|c| self.sums[from + c] as f32 * scale)
        };
        let (even, odd) = (samples.div_ceil(2), samples / 2);
        let first = mean(place, even);
        (first, if odd == 0 { first } else { mean(place + 3, odd) })
    }

    /// The mean of a pixel.
    pub fn mean(&self, x: u32, y: u32, samples: u32) -> V3 {
        let place = self.place(x, y);
        let scale = 1.0 / (ONE * f64::from(samples.max(1)));
        let sum =
            |c: usize| (u64::from(self.sums[place + c]) + u64::from(self.sums[place + 3 + c])) as f64 * scale;
        v(sum(0), sum(1), sum(2))
    }
}
