//! From light to the numbers of a picture file.

use std::io::Cursor;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use super::PictureError;

/// Light (0 to many) to 0–255, softly at the bright end. A rational curve after film, then a square root for gamma.
pub(super) fn byte(light: f32) -> u8 {
    let x = if light > 0.0 { light * 1.3 } else { 0.0 };
    let film = (x * (2.51 * x + 0.03)) / (x * (2.43 * x + 0.59) + 0.14);
    let film = if film < 1.0 { film } else { 1.0 };
    (film.sqrt() * 255.0 + 0.5) as u8
}

/// A PNG of `rgb`, the same bytes for the same pixels.
pub(super) fn png(rgb: &[u8], width: u32, height: u32) -> Result<Vec<u8>, PictureError> {
    let mut bytes = Cursor::new(Vec::new());
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive)
        .write_image(rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(|error| PictureError::Encoding { why: error.to_string() })?;
    Ok(bytes.into_inner())
}
