//! The room: the picture as a screen that shines, a polished floor, and spheres of glass, metal and glaze.

use super::light::Light;
use super::random::mix;
use super::vector::{V3, v};

/// How a surface treats light.
#[derive(Clone, Copy)]
pub(super) enum Matter {
    /// Matt in its colour, under a clear coat that mirrors at a flat angle.
    Glazed { colour: V3, mirror: f64, rough: f64 },
    /// A coloured mirror.
    Metal { colour: V3, rough: f64 },
    /// Glass that takes this much of each colour for each unit of way.
    Glass { takes: V3 },
    /// A soap film.
    Film,
}

/// A ball.
#[derive(Clone, Copy)]
pub(super) struct Sphere {
    pub centre: V3,
    pub radius: f64,
    pub matter: Matter,
}

/// What a ray meets.
pub(super) enum Hit {
    /// The shining screen, at this place of the picture.
    Screen { s: f64, t: f64 },
    /// Its back or its frame.
    Dark,
    /// A surface.
    Surface { at: V3, normal: V3, matter: Matter, inside: bool },
    /// Nothing.
    Sky,
}

/// A half-line, `way` of length one.
#[derive(Clone, Copy)]
pub(super) struct Ray {
    pub from: V3,
    pub way: V3,
}

/// Everything there is.
pub(super) struct Scene {
    pub light: Light,
    spheres: Vec<Sphere>,
    /// Lower left corner of the screen and its size; it stands upright at this depth and looks along +z.
    pub corner: V3,
    pub size: (f64, f64),
}

const DEPTH: f64 = -3.9;
/// So far a ray starts off the surface that it leaves.
pub(super) const OFF: f64 = 1e-6;
const FRAME: f64 = 0.07;

impl Scene {
    pub fn new(light: Light) -> Self {
        let (most_w, most_h) = (5.9, 3.1);
        let aspect = light.aspect().clamp(0.3, 3.0);
        let size =
            if aspect > most_w / most_h { (most_w, most_w / aspect) } else { (most_h * aspect, most_h) };
        Self { light, spheres: spheres(), corner: v(-size.0 * 0.5, 0.3, DEPTH), size }
    }

    /// A place of the screen in the room.
    pub fn on_screen(&self, s: f64, t: f64) -> V3 {
        self.corner + v(s * self.size.0, (1.0 - t) * self.size.1, 0.0)
    }

    /// What `ray` meets first.
    pub fn hit(&self, ray: &Ray) -> Hit {
        let mut nearest = f64::MAX;
        let mut hit = Hit::Sky;
        if ray.way.y < -1e-9 {
            let far = -ray.from.y / ray.way.y;
            if far > OFF {
                nearest = far;
                let at = ray.from + ray.way * far;
                hit = Hit::Surface { at, normal: v(0.0, 1.0, 0.0), matter: floor(at), inside: false };
            }
        }
        if let Some((far, s, t)) = self.screen(ray, nearest) {
            nearest = far;
            let shows = (0.0..1.0).contains(&s) && (0.0..1.0).contains(&t) && ray.way.z < 0.0;
            hit = if shows { Hit::Screen { s, t } } else { Hit::Dark };
        }
        let mut met = None;
        for sphere in &self.spheres {
            if let Some(far) = meets(sphere, ray, nearest) {
                nearest = far;
                met = Some(sphere);
            }
        }
        if let Some(sphere) = met {
            let at = ray.from + ray.way * nearest;
            let normal = (at - sphere.centre) * (1.0 / sphere.radius);
            let inside = normal.dot(ray.way) > 0.0;
            let normal = if inside { -normal } else { normal };
            hit = Hit::Surface { at, normal, matter: sphere.matter, inside };
        }
        hit
    }

    /// Whether nothing but soap film is between `from` and the screen `far` away.
    pub fn sees(&self, ray: &Ray, far: f64) -> bool {
        self.spheres.iter().all(|s| matches!(s.matter, Matter::Film) || meets(s, ray, far - 1e-6).is_none())
    }

    /// Light from where nothing is: far away the picture goes on all around, faint and without outlines.
    pub fn around(&self, way: V3) -> V3 {
        let flat = way.x.abs() + way.z.abs() + 1e-9;
        let s = 0.5 + 0.5 * way.x / flat;
        let t = 0.62 - 0.6 * way.y;
        let behind = if way.z > 0.0 { way.z } else { 0.0 };
        let up = if way.y > 0.0 { way.y } else { 0.0 };
        let strength = 0.04 + 0.20 * up + 0.40 * behind * (1.0 - up);
        self.light.faint(s, t) * strength
    }

    fn screen(&self, ray: &Ray, nearest: f64) -> Option<(f64, f64, f64)> {
        if ray.way.z.abs() < 1e-9 {
            return None;
        }
        let far = (DEPTH - ray.from.z) / ray.way.z;
        if far <= OFF || far >= nearest {
            return None;
        }
        let at = ray.from + ray.way * far;
        let (x, y) = (at.x - self.corner.x, at.y - self.corner.y);
        let framed = x > -FRAME && y > -FRAME && x < self.size.0 + FRAME && y < self.size.1 + FRAME;
        framed.then(|| (far, x / self.size.0, 1.0 - y / self.size.1))
    }
}

/// How far along `ray` it meets the sphere, if nearer than `nearest`.
fn meets(sphere: &Sphere, ray: &Ray, nearest: f64) -> Option<f64> {
    let to = sphere.centre - ray.from;
    let along = to.dot(ray.way);
    let under = along * along - to.dot(to) + sphere.radius * sphere.radius;
    if under <= 0.0 {
        return None;
    }
    let half = under.sqrt();
    let (near, far) = (along - half, along + half);
    if near > OFF && near < nearest {
        Some(near)
    } else if far > OFF && far < nearest && near <= OFF {
        Some(far)
    } else {
        None
    }
}

/// Slabs of dark polished stone, each a little different, with veins.
fn floor(at: V3) -> Matter {
    let (gx, gz) = (at.x / 0.9 + 0.5, at.z / 0.9);
    let (ix, iz) = (gx.floor(), gz.floor());
    let (fx, fz) = (gx - ix, gz - iz);
    let slab = mix((ix as i64 as u64) ^ mix(iz as i64 as u64));
    let joint = fx < 0.012 || fz < 0.012;
    if joint {
        return Matter::Glazed { colour: v(0.02, 0.02, 0.02), mirror: 0.0, rough: 0.5 };
    }
    let even = (ix as i64 + iz as i64) & 1 == 0;
    let vein = veins(at.x * 2.1 + (slab & 7) as f64, at.z * 2.1 + (slab >> 3 & 7) as f64);
    let shade = if even { 0.42 } else { 0.20 } + 0.10 * (vein - 0.5);
    let warm = (slab >> 8 & 15) as f64 * (0.02 / 15.0);
    Matter::Glazed {
        colour: v(shade + warm, shade, shade - warm * 0.5),
        mirror: if even { 0.10 } else { 0.26 },
        rough: if even { 0.05 } else { 0.006 },
    }
}

/// Noise that wanders like veins in stone, 0 to 1.
fn veins(x: f64, z: f64) -> f64 {
    let (mut sum, mut weight, mut scale) = (0.0, 0.5, 1.0);
    for octave in 0..4 {
        let n = noise(x * scale + f64::from(octave) * 17.0, z * scale);
        let ridge = 1.0 - (2.0 * n - 1.0).abs();
        sum += weight * ridge * ridge;
        weight *= 0.5;
        scale *= 2.1;
    }
    sum
}

/// Smooth noise on a grid of one, 0 to 1.
pub(super) fn noise(x: f64, y: f64) -> f64 {
    let (ix, iy) = (x.floor(), y.floor());
    let (fx, fy) = (x - ix, y - iy);
    let smooth = |f: f64| f * f * (3.0 - 2.0 * f);
    let corner = |dx: i64, dy: i64| {
        let n = mix(((ix as i64 + dx) as u64) ^ mix((iy as i64 + dy) as u64));
        (n >> 40) as f64 * (1.0 / 16_777_216.0)
    };
    let (sx, sy) = (smooth(fx), smooth(fy));
    let top = corner(0, 0) * (1.0 - sx) + corner(1, 0) * sx;
    let bottom = corner(0, 1) * (1.0 - sx) + corner(1, 1) * sx;
    top * (1.0 - sy) + bottom * sy
}

fn spheres() -> Vec<Sphere> {
    let ball = |x: f64, z: f64, radius: f64, matter| Sphere { centre: v(x, radius, z), radius, matter };
    let clear = Matter::Glass { takes: v(0.03, 0.02, 0.03) };
    let mut all = vec![
        ball(-1.42, -0.75, 0.84, clear),
        ball(1.55, -1.35, 0.78, Matter::Metal { colour: v(1.0, 0.74, 0.36), rough: 0.03 }),
        ball(0.24, 0.62, 0.42, Matter::Metal { colour: v(0.93, 0.94, 0.96), rough: 0.0 }),
        ball(-2.95, -1.75, 0.6, Matter::Glazed { colour: v(0.88, 0.86, 0.82), mirror: 0.05, rough: 0.0 }),
        ball(2.55, 0.25, 0.44, Matter::Glass { takes: v(2.6, 0.5, 0.12) }),
        ball(0.05, -2.35, 0.5, Matter::Glazed { colour: v(0.10, 0.20, 0.62), mirror: 0.05, rough: 0.0 }),
        ball(-0.62, 1.25, 0.25, Matter::Glass { takes: v(0.25, 2.2, 3.4) }),
        ball(3.15, -2.2, 0.42, Matter::Metal { colour: v(0.95, 0.60, 0.48), rough: 0.08 }),
        Sphere { centre: v(-0.30, 1.95, -0.6), radius: 0.34, matter: Matter::Film },
        Sphere { centre: v(2.45, 2.3, -1.6), radius: 0.25, matter: Matter::Film },
        Sphere { centre: v(-2.55, 2.2, -0.8), radius: 0.2, matter: Matter::Film },
        Sphere { centre: v(0.95, 1.55, 0.4), radius: 0.12, matter: Matter::Film },
    ];
    // Beads, strewn wherever there is room.
    let colours = [
        Matter::Glass { takes: v(0.6, 9.0, 9.0) },
        Matter::Glass { takes: v(9.0, 1.2, 4.5) },
        Matter::Glass { takes: v(0.3, 2.4, 12.0) },
        Matter::Glass { takes: v(9.0, 4.5, 0.5) },
        Matter::Metal { colour: v(0.96, 0.55, 0.42), rough: 0.06 },
        Matter::Glass { takes: v(1.5, 8.0, 1.2) },
    ];
    let mut tries = 0u64;
    while all.len() < 34 && tries < 400 {
        let n = mix(0x5eed_0000 + tries);
        tries += 1;
        let part = |shift: u32| (n >> shift & 0xffff) as f64 * (1.0 / 65_536.0);
        let radius = 0.09 + 0.11 * part(0) * part(0);
        let (x, z) = (part(16) * 6.4 - 3.2, part(32) * 5.4 - 2.9);
        let bead = ball(x, z, radius, colours[(n >> 48) as usize % colours.len()]);
        let free = all
            .iter()
            .all(|other: &Sphere| (other.centre - bead.centre).length() > other.radius + bead.radius + 0.06);
        if free {
            all.push(bead);
        }
    }
    all
}
