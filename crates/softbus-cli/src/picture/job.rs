use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bytes::{Bytes, BytesOf, Words, WordsOf};
use super::denoise::{self, Glow};
use super::frame::{Frame, TILE};
use super::light::{self, LIGHT_SIDE, Light, Small};
use super::scene::Scene;
use super::vector::V3;
use super::{PictureError, PictureInput, tone, trace};

/// Work of one sample of one pixel, in operations of the reference kernel: optimised, the sample picture's job took
/// 0.60 µs for each on a core that did the kernel at 265 million operations per second.
pub(super) const SAMPLE_OPS: u64 = 160;
/// Work of the last pass for one pixel, measured in the same way (1.1 µs).
pub(super) const FINISH_OPS: u64 = 290;
/// Most samples of a pixel that one pass adds.
const PASS_MOST: u32 = 8;
/// Widest preview, in pixels. Of this size it is shorter than what a task may show (256 KiB), however noisy.
const PREVIEW_WIDTH: u32 = 320;

/// The job, between two steps. What serde writes of it is all that it needs to go on elsewhere.
pub struct PictureJob {
    frame: Frame,
    /// The finished picture, as far as the last pass has come.
    out: Vec<u8>,
    small: Small,
    samples: u32,
    at: Place,
    /// Made from `small`.
    scene: Scene,
    /// Made from `frame` when the last pass begins.
    glow: Option<Glow>,
}

/// How far it is: the next unit of work. Units are rows of a tile while light is gathered, whole tiles in the
/// last pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Place {
    /// Samples that every pixel has from the passes that are over; all of them during the last pass.
    gathered: u32,
    tile: u32,
    row: u32,
}

/// What one step did.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Step {
    /// Work done by this step, in operations of the reference kernel.
    pub done_ops: u64,
    /// How much of the whole is done, 0 to 1.
    pub progress: f64,
    /// Whether all is done: then [`PictureJob::finish`] gives the picture.
    pub is_done: bool,
}

impl PictureJob {
    /// Decodes the picture and sets up the room.
    ///
    /// # Errors
    /// If the input is no picture, or settings or sizes are out of bounds.
    pub fn new(input: &PictureInput) -> Result<Self, PictureError> {
        input.check()?;
        let small = light::decode(&input.bytes)?;
        let (width, height) = (input.width, input.height());
        Ok(Self {
            frame: Frame::new(width, height),
            out: vec![0; width as usize * height as usize * 3],
            scene: Scene::new(Light::new(&small)),
            small,
            samples: input.samples,
            at: Place { gathered: 0, tile: 0, row: 0 },
            glow: None,
        })
    }

    /// Works for about `budget_ops`, at least one unit (a few milliseconds on an ordinary core).
    pub fn step(&mut self, budget_ops: u64) -> Step {
        let mut done_ops = 0u64;
        while !self.is_done() {
            done_ops += self.unit();
            if done_ops >= budget_ops {
                break;
            }
        }
        Step { done_ops, progress: self.progress(), is_done: self.is_done() }
    }

    /// Whether all is done.
    pub fn is_done(&self) -> bool {
        self.at.gathered >= self.samples && self.at.tile >= self.frame.tiles()
    }

    /// The finished picture, as PNG.
    ///
    /// # Errors
    /// [`PictureError::NotDone`] before all is done.
    pub fn finish(&self) -> Result<Vec<u8>, PictureError> {
        if !self.is_done() {
            return Err(PictureError::NotDone { done_permille: (self.progress() * 1000.0) as u32 });
        }
        tone::png(&self.out, self.frame.width, self.frame.height)
    }

    /// What there is so far, as a PNG of at most half the size and `PREVIEW_WIDTH` wide.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn preview(&self) -> Result<Vec<u8>, PictureError> {
        let scale = self.frame.width.div_ceil(PREVIEW_WIDTH).max(2);
        let part = 1.0 / f64::from(scale * scale);
        let (width, height) = ((self.frame.width / scale).max(1), (self.frame.height / scale).max(1));
        let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
        for y in 0..height {
            for x in 0..width {
                let mut light = V3::default();
                for (dx, dy) in (0..scale).flat_map(|dy| (0..scale).map(move |dx| (dx, dy))) {
                    let at = (
                        (scale * x + dx).min(self.frame.width - 1),
                        (scale * y + dy).min(self.frame.height - 1),
                    );
                    light = light + self.frame.mean(at.0, at.1, self.samples_at(at.0, at.1)) * part;
                }
                rgb.extend([light.x, light.y, light.z].map(|part| tone::byte(part as f32)));
            }
        }
        tone::png(&rgb, width, height)
    }

    /// All work there is, in operations of the reference kernel.
    pub fn total_ops(&self) -> u64 {
        let pixels = u64::from(self.frame.width) * u64::from(self.frame.height);
        pixels * (u64::from(self.samples) * SAMPLE_OPS + FINISH_OPS)
    }

    /// Work that is done, in the same unit.
    pub fn done_ops(&self) -> u64 {
        let (width, height) = (u64::from(self.frame.width), u64::from(self.frame.height));
        // Pixels before the next unit: whole rows of tiles, tiles of this row, rows of this tile.
        let (x, y) = match self.at.tile {
            tile if tile >= self.frame.tiles() => (0, height),
            tile => {
                let (x, y) = self.frame.corner(tile);
                (u64::from(x), u64::from(y))
            }
        };
        let tall = u64::from(TILE).min(height - y);
        let wide = u64::from(TILE).min(width - x);
        let pixels = y * width + x * tall + wide * u64::from(self.at.row).min(tall);
        match self.pass() {
            0 => width * height * u64::from(self.samples) * SAMPLE_OPS + pixels * FINISH_OPS,
            pass => (width * height * u64::from(self.at.gathered) + pixels * u64::from(pass)) * SAMPLE_OPS,
        }
    }

    /// How much of the whole is done, 0 to 1.
    pub fn progress(&self) -> f64 {
        self.done_ops() as f64 / self.total_ops().max(1) as f64
    }

    /// Width and height of the picture that it makes.
    pub fn size(&self) -> (u32, u32) {
        (self.frame.width, self.frame.height)
    }

    /// Samples that this pass adds to each pixel; 0 in the last pass.
    fn pass(&self) -> u32 {
        pass_after(self.at.gathered, self.samples)
    }

    /// Does the next unit of work; says how much that was.
    fn unit(&mut self) -> u64 {
        let pass = self.pass();
        let (corner_x, corner_y) = self.frame.corner(self.at.tile);
        let wide = TILE.min(self.frame.width - corner_x);
        if pass == 0 {
            let glow = self.glow.get_or_insert_with(|| Glow::new(&self.frame, self.samples));
            denoise::finish_tile(&self.frame, self.at.tile, self.samples, glow, &mut self.out);
            self.at.tile += 1;
            let tall = TILE.min(self.frame.height - corner_y);
            return u64::from(wide) * u64::from(tall) * FINISH_OPS;
        }
        let y = corner_y + self.at.row;
        let size = (self.frame.width, self.frame.height);
        for x in corner_x..corner_x + wide {
            for sample in self.at.gathered..self.at.gathered + pass {
                let light = trace::look(&self.scene, x, y, size, u64::from(sample));
                self.frame.add(x, y, u64::from(sample), light);
            }
        }
        self.at.row += 1;
        if self.at.row == TILE || corner_y + self.at.row == self.frame.height {
            (self.at.row, self.at.tile) = (0, self.at.tile + 1);
        }
        if self.at.tile == self.frame.tiles() {
            self.at = Place { gathered: self.at.gathered + pass, tile: 0, row: 0 };
        }
        u64::from(wide) * u64::from(pass) * SAMPLE_OPS
    }

    /// Samples that a pixel has by now.
    fn samples_at(&self, x: u32, y: u32) -> u32 {
        let tile = y / TILE * self.frame.tiles_across() + x / TILE;
        let passed = (tile, y % TILE) < (self.at.tile, self.at.row);
        self.at.gathered + if passed { self.pass() } else { 0 }
    }
}

/// How many samples the pass after `gathered` adds: few at first, for an early preview, then more.
fn pass_after(gathered: u32, samples: u32) -> u32 {
    gathered.clamp(1, PASS_MOST).min(samples - gathered.min(samples))
}

impl fmt::Debug for PictureJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, height) = self.size();
        write!(f, "PictureJob({width}×{height}, {} samples, {:?})", self.samples, self.at)
    }
}

/// The written form: the large parts first, and of fixed sizes, so that one step changes few places of it.
#[derive(Serialize)]
struct SavedOf<'a> {
    sums: WordsOf<'a>,
    out: BytesOf<'a>,
    small: BytesOf<'a>,
    rest: Rest,
}

/// The same, read.
#[derive(Deserialize)]
struct Saved {
    sums: Words,
    out: Bytes,
    small: Bytes,
    rest: Rest,
}

#[derive(Serialize, Deserialize)]
struct Rest {
    width: u32,
    height: u32,
    small_width: u32,
    small_height: u32,
    samples: u32,
    at: Place,
}

impl Serialize for PictureJob {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let rest = Rest {
            width: self.frame.width,
            height: self.frame.height,
            small_width: self.small.width,
            small_height: self.small.height,
            samples: self.samples,
            at: self.at,
        };
        let (sums, out) = (WordsOf(&self.frame.sums), BytesOf(&self.out));
        SavedOf { sums, out, small: BytesOf(&self.small.rgb), rest }.serialize(s)
    }
}

impl<'de> Deserialize<'de> for PictureJob {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Saved::deserialize(d)?.try_into().map_err(serde::de::Error::custom)
    }
}

impl TryFrom<Saved> for PictureJob {
    type Error = PictureError;

    /// A state comes from another device: nothing in it is believed before it is checked.
    fn try_from(saved: Saved) -> Result<Self, PictureError> {
        let Rest { width, height, small_width, small_height, samples, at } = saved.rest;
        let settings = PictureInput { bytes: Vec::new(), width, samples };
        settings.check()?;
        let frame = Frame { width, height, sums: saved.sums.0 };
        let side = 1..=LIGHT_SIDE;
        let sound = height == settings.height()
            && frame.sums.len() == Frame::len(width, height)
            && saved.out.0.len() == width as usize * height as usize * 3
            && side.contains(&small_width)
            && side.contains(&small_height)
            && saved.small.0.len() == small_width as usize * small_height as usize * 3;
        // Only places that passes lead to.
        let mut gathered = 0;
        while gathered < at.gathered.min(samples) {
            gathered += pass_after(gathered, samples);
        }
        let last = gathered == samples;
        let row_ok = match at.tile {
            tile if tile < frame.tiles() && !last => at.row < TILE.min(height - frame.corner(tile).1),
            tile => at.row == 0 && (tile < frame.tiles() || (last && tile == frame.tiles())),
        };
        if !sound || gathered != at.gathered || !row_ok {
            return Err(PictureError::UnsoundState);
        }
        let small = Small { width: small_width, height: small_height, rgb: saved.small.0 };
        let scene = Scene::new(Light::new(&small));
        Ok(Self { frame, out: saved.out.0, small, samples, at, scene, glow: None })
    }
}
