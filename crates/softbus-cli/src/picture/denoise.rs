//! The last pass: what is left of the noise is taken out by averaging like with like (non-local means), and bright
//! places are given a glow.
//!
//! Arithmetic of 32-bit floats in a fixed order, `+ - * /` and `sqrt` only: the same on every processor.

use super::frame::{Frame, TILE};
use super::tone;

/// Like pixels are looked for so far around each.
const REACH: usize = 7;
/// Patches that are compared reach so far around their middle.
const PATCH: usize = 1;
/// What a tile needs around itself, with what the smoothing of the noise estimate needs.
const AROUND: usize = REACH + PATCH + 1;
const SIDE: usize = TILE as usize + 2 * AROUND;
/// How strict the comparison is: smaller keeps more detail and more noise.
const STRICT: f32 = 0.7;

/// Three planes of a tile with its surroundings.
type Planes = Vec<[f32; 3]>;

/// Writes one finished tile to `out` (`width × height` pixels of red, green, blue).
pub(super) fn finish_tile(frame: &Frame, tile: u32, samples: u32, glow: &Glow, out: &mut [u8]) {
    let (corner_x, corner_y) = frame.corner(tile);
    let (colour, noise) = surroundings(frame, corner_x, corner_y, samples);
    let clean = like_with_like(&colour, &noise);
    let side = TILE as usize;
    for y in 0..side {
        for x in 0..side {
            let (px, py) = (corner_x as usize + x, corner_y as usize + y);
            if px >= frame.width as usize || py >= frame.height as usize {
                continue;
            }
            let halo = glow.at(px, py);
            let shade = vignette(px, py, frame);
            let place = (py * frame.width as usize + px) * 3;
            for c in 0..3 {
                let root = clean[y * side + x][c];
                out[place + c] = tone::byte((root * root + halo[c]) * shade);
            }
        }
    }
}

/// Corners are a little darker.
fn vignette(x: usize, y: usize, frame: &Frame) -> f32 {
    let dx = (x as f32 + 0.5) / frame.width as f32 * 2.0 - 1.0;
    let dy = (y as f32 + 0.5) / frame.height as f32 * 2.0 - 1.0;
    let far = dx * dx + 0.6 * dy * dy;
    1.0 - 0.20 * far * far / (1.0 + 0.4 * far)
}

/// Square roots of the light (so that dark and bright count alike), and how noisy each is (its variance).
fn surroundings(frame: &Frame, corner_x: u32, corner_y: u32, samples: u32) -> (Planes, Planes) {
    let mut colour = vec![[0f32; 3]; SIDE * SIDE];
    let mut rough = vec![[0f32; 3]; SIDE * SIDE];
    // Past the edge of the picture, its edge.
    let inside = |corner: u32, i: usize, size: u32| {
        (u64::from(corner) + i as u64).saturating_sub(AROUND as u64).min(u64::from(size) - 1) as u32
    };
    for y in 0..SIDE {
        for x in 0..SIDE {
            let (px, py) = (inside(corner_x, x, frame.width), inside(corner_y, y, frame.height));
            let (a, b) = frame.halves(px, py, samples);
            for c in 0..3 {
                let half = (a[c].sqrt() - b[c].sqrt()) * 0.5;
                colour[y * SIDE + x][c] = ((a[c] + b[c]) * 0.5).sqrt();
                rough[y * SIDE + x][c] = half * half;
            }
        }
    }
    // Two halves say little of one pixel; nine pixels say more. But a speck is to be known as one.
    let mut noise = rough.clone();
    for y in 1..SIDE - 1 {
        for x in 1..SIDE - 1 {
            for c in 0..3 {
                let row = |y: usize| {
                    rough[y * SIDE + x - 1][c] + rough[y * SIDE + x][c] + rough[y * SIDE + x + 1][c]
                };
                let mean = (row(y - 1) + row(y) + row(y + 1)) * (1.0 / 9.0);
                let own = noise[y * SIDE + x][c];
                noise[y * SIDE + x][c] = if own > mean { own } else { mean };
            }
        }
    }
    (colour, noise)
}

/// Each pixel of the tile as the mean of the pixels around it whose patches look alike, given how noisy they are.
fn like_with_like(colour: &Planes, noise: &Planes) -> Vec<[f32; 3]> {
    let side = TILE as usize;
    let padded = side + 2 * PATCH;
    let mut sums = vec![[0f32; 3]; side * side];
    let mut weights = vec![0f32; side * side];
    let mut far = vec![0f32; padded * padded];
    let mut rows = vec![0f32; padded * side];
    let reach = REACH as isize;
    for dy in -reach..=reach {
        for dx in -reach..=reach {
            let off = dy * SIDE as isize + dx;
            // How far each pixel is from the one at this offset, noise allowed for.
            for y in 0..padded {
                let start = (y + AROUND - PATCH) * SIDE + AROUND - PATCH;
                for x in 0..padded {
                    let p = start + x;
                    let q = p.wrapping_add_signed(off);
                    let mut sum = 0f32;
                    for c in 0..3 {
                        let d = colour[p][c] - colour[q][c];
                        let (np, nq) = (noise[p][c], noise[q][c]);
                        let known = np + if nq < np { nq } else { np };
                        sum += (d * d - known) / (4e-5 + STRICT * STRICT * (np + nq));
                    }
                    far[y * padded + x] = sum;
                }
            }
            // Over patches of three by three.
            for y in 0..padded {
                for x in 0..side {
                    let p = y * padded + x;
                    rows[y * side + x] = far[p] + far[p + 1] + far[p + 2];
                }
            }
            for y in 0..side {
                for x in 0..side {
                    let p = y * side + x;
                    let mean = (rows[p] + rows[p + side] + rows[p + 2 * side]) * (1.0 / 27.0);
                    let near = 1.0 - 0.35 * if mean > 0.0 { mean } else { 0.0 };
                    let near = if near > 0.0 { near } else { 0.0 };
                    let weight = near * near;
                    let q = ((y + AROUND) * SIDE + x + AROUND).wrapping_add_signed(off);
                    for c in 0..3 {
                        sums[p][c] += weight * colour[q][c];
                    }
                    weights[p] += weight;
                }
            }
        }
    }
    for (sum, weight) in sums.iter_mut().zip(&weights) {
        // Each pixel is at least like itself, so the weight is one or more.
        for part in sum {
            *part /= if *weight > 1e-6 { *weight } else { 1.0 };
        }
    }
    sums
}

/// The light that bright places shed in the eye, small and blurred.
pub(super) struct Glow {
    width: usize,
    height: usize,
    light: Vec<[f32; 3]>,
}

/// One pixel of the glow for so many of the picture, each way.
const COARSE: usize = 8;
/// How much of the light above [`GLOWS`] glows.
const GLOW: f32 = 0.055;
/// Light below this does not glow.
const GLOWS: f32 = 0.45;

impl Glow {
    pub fn new(frame: &Frame, samples: u32) -> Self {
        let (full_w, full_h) = (frame.width as usize, frame.height as usize);
        let (width, height) = (full_w.div_ceil(COARSE), full_h.div_ceil(COARSE));
        let mut light = vec![[0f32; 3]; width * height];
        for (place, cell) in light.iter_mut().enumerate() {
            let (cx, cy) = (place % width * COARSE, place / width * COARSE);
            let mut count = 0f32;
            for y in cy..(cy + COARSE).min(full_h) {
                for x in cx..(cx + COARSE).min(full_w) {
                    let mean = frame.mean(x as u32, y as u32, samples);
                    for (part, seen) in cell.iter_mut().zip([mean.x, mean.y, mean.z]) {
                        let over = seen as f32 - GLOWS;
                        *part += if over > 0.0 { over.min(4.0) } else { 0.0 };
                    }
                    count += 1.0;
                }
            }
            *cell = cell.map(|part| part * GLOW * 3.0 / count);
        }
        let reach = (width / 22).max(1);
        let mut glow = Self { width, height, light };
        for _ in 0..3 {
            glow.blur(reach, true);
            glow.blur(reach, false);
        }
        glow
    }

    fn blur(&mut self, reach: usize, across: bool) {
        let from = self.light.clone();
        let size = if across { self.width } else { self.height };
        for y in 0..self.height {
            for x in 0..self.width {
                let middle = if across { x } else { y };
                let mut sum = [0f32; 3];
                for i in 0..=2 * reach {
                    let at = (middle + i).saturating_sub(reach).min(size - 1);
                    let place = if across { y * self.width + at } else { at * self.width + x };
                    for (part, light) in sum.iter_mut().zip(from[place]) {
                        *part += light;
                    }
                }
                self.light[y * self.width + x] = sum.map(|part| part / (2 * reach + 1) as f32);
            }
        }
    }

    fn at(&self, x: usize, y: usize) -> [f32; 3] {
        let place = |p: usize, size: usize| {
            let f = ((p as f32 + 0.5) / COARSE as f32 - 0.5).clamp(0.0, (size - 1) as f32);
            let low = f as usize;
            (low, (low + 1).min(size - 1), f - low as f32)
        };
        let ((x0, x1, fx), (y0, y1, fy)) = (place(x, self.width), place(y, self.height));
        let get = |x: usize, y: usize| self.light[y * self.width + x];
        [0, 1, 2].map(|c| {
            let top = get(x0, y0)[c] * (1.0 - fx) + get(x1, y0)[c] * fx;
            let bottom = get(x0, y1)[c] * (1.0 - fx) + get(x1, y1)[c] * fx;
            top * (1.0 - fy) + bottom * fy
        })
    }
}
