//! The project's own sample picture: a sunset over a lake, as a stained-glass window. Drawn by arithmetic alone.

use super::PictureError;
use super::random::mix;
use super::scene::noise;
use super::tone;
use super::vector::{V3, v};

/// The picture, as shipped. [`draw_sample`] draws it anew, bit for bit.
pub const SAMPLE_PNG: &[u8] = include_bytes!("../../assets/sample.png");

const WIDTH: usize = 512;
const HEIGHT: usize = 288;
/// Side of the grid in which panes are strewn, in pixels.
const PANE: f64 = 24.0;
const HORIZON: f64 = 176.0;
const SUN: (f64, f64, f64) = (322.0, 138.0, 44.0);

/// What a place of the picture shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Sky,
    Sun,
    Halo,
    Far,
    Near,
    Lake,
    Path,
    Shore,
}

/// Draws the sample picture.
///
/// # Errors
/// If it cannot be encoded.
pub fn draw_sample() -> Result<Vec<u8>, PictureError> {
    let mut rgb = Vec::with_capacity(WIDTH * HEIGHT * 3);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            // Two by two samples for smooth edges.
            let mut sum = V3::default();
            for sy in 0..2 {
                for sx in 0..2 {
                    let at = |i: usize, s: usize| i as f64 + (s as f64 + 0.5) / 2.0;
                    sum = sum + glass(at(x, sx), at(y, sy));
                }
            }
            let level = |light: f64| ((light / 4.0).clamp(0.0, 1.0).sqrt() * 255.0 + 0.5) as u8;
            rgb.extend([level(sum.x), level(sum.y), level(sum.z)]);
        }
    }
    tone::png(&rgb, WIDTH as u32, HEIGHT as u32)
}

/// Light through the window at a place.
fn glass(x: f64, y: f64) -> V3 {
    let part = part(x, y);
    let (seed, edge) = pane(x, y, part);
    // Lead between panes, and along the outlines of things.
    let outline = {
        let w = 1.25;
        [(w, 0.0), (-w, 0.0), (0.0, w), (0.0, -w)].iter().any(|(dx, dy)| self::part(x + dx, y + dy) != part)
    };
    let border = x < 3.0 || y < 3.0 || x > WIDTH as f64 - 3.0 || y > HEIGHT as f64 - 3.0;
    if edge < 1.0 || outline || border {
        return v(0.006, 0.006, 0.009);
    }
    let n = mix(seed.2);
    let shade = 0.78 + 0.44 * ((n >> 40) as f64 / 16_777_216.0);
    let streak = 0.90 + 0.20 * noise(x * 0.09 + (n & 63) as f64, y * 0.035 + (n >> 6 & 63) as f64);
    let rim = if edge < 5.0 { 0.72 + 0.28 * (edge - 1.0) / 4.0 } else { 1.0 };
    // A pane has the colour of its middle, with a breath of what is behind each point.
    let base = colour(part, seed.0, seed.1) * 0.75 + colour(part, x, y) * 0.25;
    base * (shade * streak * rim)
}

fn part(x: f64, y: f64) -> Part {
    let (dx, dy) = (x - SUN.0, y - SUN.1);
    let from_sun = (dx * dx + dy * dy).sqrt();
    if y > shore(x) {
        return Part::Shore;
    }
    if y > HORIZON {
        let below = y - HORIZON;
        let wide = 15.0 + below * 0.42 + 9.0 * (noise(y * 0.16, 3.5) - 0.5);
        return if dx.abs() < wide { Part::Path } else { Part::Lake };
    }
    if y > near(x) {
        return Part::Near;
    }
    if y > far(x) {
        return Part::Far;
    }
    match from_sun {
        r if r < SUN.2 => Part::Sun,
        r if r < SUN.2 + 24.0 => Part::Halo,
        _ => Part::Sky,
    }
}

fn far(x: f64) -> f64 {
    HORIZON - 20.0 - 34.0 * noise(x * 0.014, 11.5) - 12.0 * noise(x * 0.05, 7.5) + 12.0 * hill(x, SUN.0, 90.0)
}

fn near(x: f64) -> f64 {
    let low = 40.0 * hill(x, SUN.0 - 20.0, 130.0);
    let y = HORIZON + 6.0 - 46.0 * noise(x * 0.011, 2.5) - 10.0 * noise(x * 0.06, 4.5) + low;
    if y < HORIZON { y } else { HORIZON }
}

fn shore(x: f64) -> f64 {
    let left = 46.0 * hill(x, 40.0, 190.0);
    let right = 34.0 * hill(x, 500.0, 120.0);
    HEIGHT as f64 + 4.0 - left - right - 8.0 * noise(x * 0.03, 9.5)
}

/// A soft hill of height one.
fn hill(x: f64, middle: f64, half: f64) -> f64 {
    let d = (x - middle) / half;
    let m = 1.0 - d * d;
    if m > 0.0 { m * m } else { 0.0 }
}

/// The pane of glass at a place: its middle and its number, and how far its edge is, in pixels.
fn pane(x: f64, y: f64, part: Part) -> ((f64, f64, u64), f64) {
    // Panes of water lie flat; those of the sky bow around the sun.
    let stretch = match part {
        Part::Lake | Part::Path => 0.42,
        Part::Sky => 0.82,
        Part::Sun => 0.8,
        _ => 0.62,
    };
    let (u, w) = (x * if matches!(part, Part::Lake) { 0.6 } else { 1.0 }, y / stretch);
    let (cx, cy) = ((u / PANE).floor(), (w / PANE).floor());
    let mut best = (f64::MAX, (0.0, 0.0, 0u64));
    let mut second = f64::MAX;
    for gy in -2..=2 {
        for gx in -2..=2 {
            let (ix, iy) = (cx + f64::from(gx), cy + f64::from(gy));
            let n =
                mix(mix(ix as i64 as u64) ^ (iy as i64 as u64).wrapping_mul(0x9e37) ^ ((part as u64) << 50));
            let jitter = |shift: u32| (n >> shift & 0xffff) as f64 / 65_536.0;
            let (px, py) = ((ix + 0.12 + 0.76 * jitter(0)) * PANE, (iy + 0.12 + 0.76 * jitter(16)) * PANE);
            let d = ((px - u) * (px - u) + (py - w) * (py - w)).sqrt();
            if d < best.0 {
                second = best.0;
                best = (d, (px / if matches!(part, Part::Lake) { 0.6 } else { 1.0 }, py * stretch, n));
            } else if d < second {
                second = d;
            }
        }
    }
    (best.1, (second - best.0) * 0.5)
}

/// Between colours, `t` from 0 to 1 along the list.
fn blend(stops: &[V3], t: f64) -> V3 {
    let t = t.clamp(0.0, 1.0) * (stops.len() - 1) as f64;
    let i = (t as usize).min(stops.len() - 2);
    let f = t - i as f64;
    stops[i] * (1.0 - f) + stops[i + 1] * f
}

fn colour(part: Part, x: f64, y: f64) -> V3 {
    let (dx, dy) = (x - SUN.0, y - SUN.1);
    let from_sun = (dx * dx + dy * dy).sqrt();
    match part {
        Part::Sky => {
            let up = blend(
                &[
                    v(1.0, 0.42, 0.06),
                    v(0.95, 0.16, 0.07),
                    v(0.62, 0.05, 0.18),
                    v(0.26, 0.04, 0.34),
                    v(0.05, 0.05, 0.36),
                    v(0.02, 0.10, 0.34),
                ],
                (from_sun - SUN.2) / 300.0 + (HORIZON - y) / 560.0 - 0.06,
            );
            // Bands of cloud.
            let cloud = noise(x * 0.012 + 5.0, y * 0.05);
            if cloud > 0.68 { up * 0.6 + v(0.62, 0.10, 0.14) * 0.4 } else { up }
        }
        Part::Sun => blend(&[v(1.0, 0.93, 0.62), v(1.0, 0.78, 0.22)], from_sun / SUN.2),
        Part::Halo => v(1.0, 0.56, 0.07),
        Part::Far => blend(&[v(0.34, 0.05, 0.26), v(0.12, 0.05, 0.34)], (dx.abs() - 20.0) / 260.0),
        Part::Near => blend(&[v(0.04, 0.22, 0.18), v(0.02, 0.09, 0.20)], dx.abs() / 300.0),
        Part::Lake => {
            let warm = 1.0 - dx.abs() / 230.0;
            let deep = blend(&[v(0.03, 0.15, 0.46), v(0.0, 0.10, 0.22)], (y - HORIZON) / 110.0);
            deep + v(0.34, 0.05, 0.03) * if warm > 0.0 { warm * warm } else { 0.0 }
        }
        Part::Path => {
            blend(&[v(1.0, 0.80, 0.30), v(1.0, 0.46, 0.08), v(0.8, 0.2, 0.06)], (y - HORIZON) / 110.0)
        }
        Part::Shore => blend(&[v(0.10, 0.30, 0.05), v(0.02, 0.12, 0.06)], (y - 240.0) / 48.0),
    }
}
