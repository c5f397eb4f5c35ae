//! The demo's job: a room lit by a picture, path-traced.
//!
//! The picture becomes a screen that shines in a dark room with a polished floor and spheres of glass, metal and
//! glaze. Light is gathered pass by pass (so there is a preview from the first second on); a last pass takes out
//! what is left of the noise. It is a job as one moves between devices: long, heavy on one core, and with some
//! megabytes of state that can be saved after each step.
//!
//! The result is a pure function of the input, to the last bit, on every processor and however the work is cut
//! into steps: numbers that look random are functions of pixel and sample; sums are of integers; all else is `+ - * /`
//! and `sqrt` of IEEE 754 in a fixed order. Nothing here knows of devices, tasks or the program.

mod bytes;
mod denoise;
mod frame;
mod job;
mod light;
mod random;
mod sample;
mod scene;
mod tone;
mod trace;
mod vector;

use serde::{Deserialize, Serialize};

pub use job::{PictureJob, Step};
pub use light::{INPUT_BYTES, INPUT_LEAST_SIDE, INPUT_SIDE};
pub use sample::{SAMPLE_PNG, draw_sample};

/// Bounds of [`PictureInput::width`].
pub const WIDTHS: (u32, u32) = (16, 3840);
/// Bounds of [`PictureInput::samples`].
pub const SAMPLES: (u32, u32) = (1, 1024);
/// Width and samples of the demo.
pub const DEMO_SIZE: (u32, u32) = (960, 24);

/// What the job starts from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PictureInput {
    /// A PNG or JPEG file.
    #[serde(with = "self::input_bytes")]
    pub bytes: Vec<u8>,
    /// Width of the result in pixels, within [`WIDTHS`]; its height is 9/16 of that.
    pub width: u32,
    /// Samples of each pixel, within [`SAMPLES`]: more is finer and takes longer.
    pub samples: u32,
}

/// Why the job cannot be done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PictureError {
    /// Neither PNG nor JPEG.
    #[error("this is no picture that can be read: give a PNG or JPEG file")]
    NoPicture,
    /// The file is longer than is read.
    #[error("the picture's file has {bytes} bytes, more than {INPUT_BYTES}: give a smaller one")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The picture has too many pixels.
    #[error(
        "the picture is too large ({width}×{height}): each side may have {INPUT_SIDE} pixels, all of it 512 MiB"
    )]
    TooLarge {
        /// As it says of itself.
        width: u32,
        /// As it says of itself.
        height: u32,
    },
    /// The picture has too few pixels.
    #[error("the picture is too small ({width}×{height}): each side must have {INPUT_LEAST_SIDE} pixels")]
    TooSmall {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// It is damaged or cut off.
    #[error("the picture cannot be decoded (damaged or cut off?): {why}")]
    Broken {
        /// In the decoder's words.
        why: String,
    },
    /// A setting is out of bounds.
    #[error("{what} is {value}, but must be from {least} to {most}")]
    Setting {
        /// Which.
        what: &'static str,
        /// Its value.
        value: u32,
        /// Least.
        least: u32,
        /// Most.
        most: u32,
    },
    /// Asked for the result too early.
    #[error("the picture is not finished ({done_permille} ‰ done): go on with its steps")]
    NotDone {
        /// How far it is.
        done_permille: u32,
    },
    /// A saved state that no job can have.
    #[error("the saved state of the picture is not sound: begin again from the input")]
    UnsoundState,
    /// The result could not be written as PNG.
    #[error("the result cannot be encoded: {why}")]
    Encoding {
        /// In the encoder's words.
        why: String,
    },
}

/// Decodes a picture and makes of it what lights the room, as a PPM file: for programs that have no decoder of their own.
///
/// # Errors
/// If the file is no picture.
pub fn ppm(file: &[u8]) -> Result<Vec<u8>, PictureError> {
    let small = light::decode(file)?;
    let mut ppm = format!("P6\n{} {}\n255\n", small.width, small.height).into_bytes();
    ppm.extend(small.rgb);
    Ok(ppm)
}

impl PictureInput {
    /// Decodes a picture once and keeps of it what lights the room, as a small PNG: less to send, and two devices
    /// need not have the same decoder for it.
    ///
    /// # Errors
    /// If the file is no picture, or the settings are out of bounds.
    pub fn prepare(file: &[u8], width: u32, samples: u32) -> Result<Self, PictureError> {
        let empty = Self { bytes: Vec::new(), width, samples };
        empty.check()?;
        let small = light::decode(file)?;
        Ok(Self { bytes: tone::png(&small.rgb, small.width, small.height)?, ..empty })
    }

    /// The project's own sample picture, in the demo's size.
    pub fn sample() -> Self {
        Self { bytes: SAMPLE_PNG.to_vec(), width: DEMO_SIZE.0, samples: DEMO_SIZE.1 }
    }

    /// Height of the result in pixels.
    pub fn height(&self) -> u32 {
        (self.width / 16).saturating_mul(9).saturating_add(self.width % 16 * 9 / 16)
    }

    /// All the work there will be, in operations of the reference kernel.
    pub fn total_ops(&self) -> u64 {
        let per_pixel = u64::from(self.samples) * job::SAMPLE_OPS + job::FINISH_OPS;
        (u64::from(self.width) * u64::from(self.height())).saturating_mul(per_pixel)
    }

    /// Size of the job's state when it is saved, in bytes, at most; 0 if the settings are out of bounds.
    pub fn state_bytes(&self) -> u64 {
        if self.check().is_err() {
            return 0;
        }
        let side = u64::from(light::LIGHT_SIDE);
        let sums = frame::Frame::len(self.width, self.height()) as u64 * 4;
        sums + u64::from(self.width) * u64::from(self.height()) * 3 + side * side * 3 + 100
    }

    /// Memory that the job needs at work, in bytes: its state and a written form of that, the picture as
    /// numbers, and the input.
    pub fn memory_bytes(&self) -> u64 {
        let side = u64::from(light::LIGHT_SIDE);
        2 * self.state_bytes() + side * side * 24 + self.bytes.len() as u64 + (4 << 20)
    }

    fn check(&self) -> Result<(), PictureError> {
        within("width", self.width, WIDTHS)?;
        within("samples", self.samples, SAMPLES)
    }
}

fn within(what: &'static str, value: u32, (least, most): (u32, u32)) -> Result<(), PictureError> {
    match value {
        value if value < least || value > most => Err(PictureError::Setting { what, value, least, most }),
        _ => Ok(()),
    }
}

mod input_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::bytes::{Bytes, BytesOf};

    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        BytesOf(bytes).serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        Bytes::deserialize(d).map(|bytes| bytes.0)
    }
}

#[cfg(test)]
mod tests;
