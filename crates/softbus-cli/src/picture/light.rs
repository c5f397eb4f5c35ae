//! The picture as a light: decoded with limits, made small, and sampled by its brightness.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, GenericImageView, ImageDecoder, ImageFormat, ImageReader};

use super::PictureError;
use super::vector::{V3, v};

/// Longest file that is read, in bytes.
pub const INPUT_BYTES: usize = 64 << 20;
/// Longest side of a picture, in pixels.
pub const INPUT_SIDE: u32 = 16_384;
/// Shortest side: less is no picture to light a room with.
pub const INPUT_LEAST_SIDE: u32 = 8;
/// Most memory that decoding may take, in bytes.
const DECODE_BYTES: u64 = 512 << 20;
/// Longest side of the small picture that is kept.
pub(super) const LIGHT_SIDE: u32 = 512;
/// Columns and rows of the grid by which light is sampled.
const GRID: (usize, usize) = (64, 48);
/// Columns and rows of patches.
const PATCHES: (usize, usize) = (8, 6);

/// The small picture: `width × height` pixels of red, green, blue.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Small {
    pub width: u32,
    pub height: u32,
    pub rgb: Vec<u8>,
}

/// Decodes a PNG or JPEG and makes it small. All in integers, so that equal files make equal pictures.
pub(super) fn decode(bytes: &[u8]) -> Result<Small, PictureError> {
    if bytes.len() > INPUT_BYTES {
        return Err(PictureError::TooLong { bytes: bytes.len() });
    }
    let format = image::guess_format(bytes).map_err(|_| PictureError::NoPicture)?;
    if !matches!(format, ImageFormat::Png | ImageFormat::Jpeg) {
        return Err(PictureError::NoPicture);
    }
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(INPUT_SIDE);
    limits.max_image_height = Some(INPUT_SIDE);
    limits.max_alloc = Some(DECODE_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    // Checked here as well: the header speaks before anything is allocated for its pixels.
    if width > INPUT_SIDE || height > INPUT_SIDE || decoder.total_bytes() > DECODE_BYTES {
        return Err(PictureError::TooLarge { width, height });
    }
    if width < INPUT_LEAST_SIDE || height < INPUT_LEAST_SIDE {
        return Err(PictureError::TooSmall { width, height });
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);
    Ok(shrink(&picture))
}

fn broken(error: image::ImageError) -> PictureError {
    match error {
        image::ImageError::Limits(_) => PictureError::TooLarge { width: 0, height: 0 },
        other => PictureError::Broken { why: other.to_string() },
    }
}

/// Averages blocks of pixels (as light adds up, so of squares), on black where the picture is transparent.
fn shrink(picture: &DynamicImage) -> Small {
    // Pixel by pixel: the picture may take all the memory it is allowed, and a converted copy would take as much again.
    let (from_w, from_h) = picture.dimensions();
    let longest = from_w.max(from_h);
    let scaled = |side: u32| match longest {
        0..=LIGHT_SIDE => side,
        // A strip does not become narrower than what is taken for a picture.
        _ => {
            let small = (u64::from(side) * u64::from(LIGHT_SIDE) / u64::from(longest)) as u32;
            small.max(side.min(INPUT_LEAST_SIDE))
        }
    };
    let (width, height) = (scaled(from_w), scaled(from_h));
    let edge = |i: u32, to: u32, from: u32| (u64::from(i) * u64::from(from) / u64::from(to)) as u32;
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        let (y0, y1) =
            (edge(y, height, from_h), edge(y + 1, height, from_h).max(edge(y, height, from_h) + 1));
        for x in 0..width {
            let (x0, x1) =
                (edge(x, width, from_w), edge(x + 1, width, from_w).max(edge(x, width, from_w) + 1));
            let (mut sums, mut count) = ([0u64; 3], 0u64);
            for sy in y0..y1 {
                for sx in x0..x1 {
                    let [r, g, b, a] = picture.get_pixel(sx, sy).0;
                    for (sum, c) in sums.iter_mut().zip([r, g, b]) {
                        let c = u64::from(c) * u64::from(a) / 255;
                        *sum += c * c;
                    }
                    count += 1;
                }
            }
            rgb.extend(sums.map(|sum| (sum / count.max(1)).isqrt().min(255) as u8));
        }
    }
    Small { width, height, rgb }
}

/// The picture as a screen that shines.
pub(super) struct Light {
    width: usize,
    height: usize,
    /// Linear light of each pixel.
    linear: Vec<V3>,
    /// The picture in a few patches, for light without outlines.
    faint: Vec<V3>,
    /// For each cell of the grid, how likely a cell up to and with it is, in 2⁻³².
    up_to: Vec<u32>,
    /// How much likelier each cell is than an equal share.
    density: Vec<f64>,
}

impl Light {
    pub fn new(small: &Small) -> Self {
        let (width, height) = (small.width as usize, small.height as usize);
        let part = |c: u8| {
            let c = f64::from(c) * (1.0 / 255.0);
            c * c
        };
        let mut linear: Vec<V3> =
            small.rgb.chunks_exact(3).map(|p| v(part(p[0]), part(p[1]), part(p[2]))).collect();
        let sum = linear.iter().fold(V3::default(), |sum, c| sum + *c);
        let mean = sum * (1.0 / (width * height) as f64);
        // A dark picture lights the room as a bright one does, within reason.
        let brightness = mean.luminance();
        let gain = (0.22 / if brightness > 0.02 { brightness } else { 0.02 }).clamp(0.6, 5.0);
        for colour in &mut linear {
            *colour = *colour * gain;
        }

        let (columns, rows) = GRID;
        let mut weights = vec![0u64; columns * rows];
        for (cell, weight) in weights.iter_mut().enumerate() {
            let (cx, cy) = (cell % columns, cell / columns);
            let (x0, x1) = (cx * width / columns, ((cx + 1) * width / columns).max(cx * width / columns + 1));
            let (y0, y1) = (cy * height / rows, ((cy + 1) * height / rows).max(cy * height / rows + 1));
            let mut sum = 0.0;
            for y in y0..y1 {
                for x in x0..x1 {
                    sum += linear[y.min(height - 1) * width + x.min(width - 1)].luminance();
                }
            }
            // Never nought: a little light everywhere keeps the estimate free of error.
            *weight = 64 + (sum / ((x1 - x0) * (y1 - y0)) as f64 * 4096.0) as u64;
        }
        let total: u64 = weights.iter().sum();
        let mut running = 0u64;
        let mut up_to = Vec::with_capacity(weights.len());
        for weight in &weights {
            running += weight;
            up_to.push(u32::try_from(running * u64::from(u32::MAX) / total).unwrap_or(u32::MAX));
        }
        let density = weights.iter().map(|w| *w as f64 * weights.len() as f64 / total as f64).collect();
        let faint = patches(&linear, width, height);
        Self { width, height, linear, faint, up_to, density }
    }

    /// Width over height.
    pub fn aspect(&self) -> f64 {
        self.width as f64 / self.height as f64
    }

    /// The light at a place of the screen (both 0 to 1, from the upper left), between four pixels.
    pub fn at(&self, s: f64, t: f64) -> V3 {
        between(&self.linear, self.width, self.height, s, t)
    }

    /// The light about a place (both 0 to 1), without outlines.
    pub fn faint(&self, s: f64, t: f64) -> V3 {
        let (columns, rows) = PATCHES;
        between(&self.faint, columns, rows, s, t)
    }

    /// A place of the screen, the likelier the brighter it is, and how much likelier than if all were equal.
    pub fn sample(&self, random: (f64, f64), within: f64) -> (f64, f64, f64) {
        let wanted = (random.0 * 4_294_967_295.0) as u32;
        let cell = self.up_to.partition_point(|up_to| *up_to < wanted).min(self.up_to.len() - 1);
        let (columns, rows) = GRID;
        let s = ((cell % columns) as f64 + within) / columns as f64;
        let t = ((cell / columns) as f64 + random.1) / rows as f64;
        (s, t, self.density[cell])
    }
}

/// Means of the picture's patches.
fn patches(linear: &[V3], width: usize, height: usize) -> Vec<V3> {
    let (columns, rows) = PATCHES;
    (0..columns * rows)
        .map(|patch| {
            let from = |i: usize, of: usize, size: usize| (i * size / of).min(size - 1);
            let (px, py) = (patch % columns, patch / columns);
            let (x0, y0) = (from(px, columns, width), from(py, rows, height));
            let (x1, y1) = (from(px + 1, columns, width).max(x0 + 1), from(py + 1, rows, height).max(y0 + 1));
            let mut sum = V3::default();
            for y in y0..y1 {
                sum = linear[y * width + x0..y * width + x1].iter().fold(sum, |sum, light| sum + *light);
            }
            sum * (1.0 / ((x1 - x0) * (y1 - y0)) as f64)
        })
        .collect()
}

/// Between the four nearest of `columns × rows` colours.
fn between(colours: &[V3], columns: usize, rows: usize, s: f64, t: f64) -> V3 {
    let x = (s * columns as f64 - 0.5).clamp(0.0, (columns - 1) as f64);
    let y = (t * rows as f64 - 0.5).clamp(0.0, (rows - 1) as f64);
    let (x0, y0) = (x as usize, y as usize);
    let (x1, y1) = ((x0 + 1).min(columns - 1), (y0 + 1).min(rows - 1));
    let (fx, fy) = (x - x0 as f64, y - y0 as f64);
    let row = |y: usize| colours[y * columns + x0] * (1.0 - fx) + colours[y * columns + x1] * fx;
    row(y0) * (1.0 - fy) + row(y1) * fy
}
