//! Following light backwards, from the eye to the picture.

use super::random::Random;
use super::scene::{Hit, Matter, OFF, Ray, Scene};
use super::vector::{V3, v};

/// Most surfaces that a path meets.
const BOUNCES: u32 = 9;
/// One sample counts for no more than this, so that a rare bright path makes no speck.
const BRIGHTEST: f64 = 7.0;
/// The screen lights the room this much more than it shines into the eye, as if the eye were used to it.
const LAMP: f64 = 4.5;
/// And this much into the eye and into mirrors.
const SHINE: f64 = 0.6;
/// The glass breaks light this much.
const GLASS: f64 = 1.5;

/// Light that comes to the eye through one sample of a pixel. `x` and `y` are in pixels.
pub(super) fn look(scene: &Scene, x: u32, y: u32, size: (u32, u32), sample: u64) -> V3 {
    let pixel = u64::from(y) << 32 | u64::from(x);
    let mut random = Random::new(pixel, sample);
    let (jx, jy) = random.even(1);
    let (lx, ly) = random.even(2);
    let ray = eye(f64::from(x) + jx, f64::from(y) + jy, size, (lx, ly));
    let seen = follow(scene, ray, &mut random);
    let most = seen.max_part();
    if most > BRIGHTEST { seen * (BRIGHTEST / most) } else { seen }
}

/// The camera: a little above the floor, with a small lens.
fn eye(x: f64, y: f64, size: (u32, u32), lens: (f64, f64)) -> Ray {
    let (w, h) = (f64::from(size.0), f64::from(size.1));
    let from = v(0.0, 2.35, 6.4);
    let to = v(0.0, 1.24, -1.6);
    let ahead = (to - from).unit();
    let right = ahead.cross(v(0.0, 1.0, 0.0)).unit();
    let up = right.cross(ahead);
    let wide = 0.475;
    let px = (x / w * 2.0 - 1.0) * wide;
    let py = (1.0 - y / h * 2.0) * wide * h / w;
    let sharp = from + (ahead + right * px + up * py) * 7.9;
    let moved = from + right * ((lens.0 - 0.5) * 0.05) + up * ((lens.1 - 0.5) * 0.05);
    Ray { from: moved, way: (sharp - moved).unit() }
}

fn follow(scene: &Scene, mut ray: Ray, random: &mut Random) -> V3 {
    let mut light = V3::default();
    let mut through = v(1.0, 1.0, 1.0);
    // Whether light of the screen counts if the ray meets it: not after a matt surface, which has asked it already.
    let mut counts = true;
    let mut matt_before = false;
    for bounce in 0..BOUNCES {
        let (at, normal, matter, inside) = match scene.hit(&ray) {
            Hit::Screen { s, t } => {
                if counts {
                    let gain = if matt_before { LAMP } else { SHINE };
                    light = light + through.tint(scene.light.at(s, t)) * gain;
                }
                break;
            }
            Hit::Dark => break,
            Hit::Sky => {
                light = light + through.tint(scene.around(ray.way));
                break;
            }
            Hit::Surface { at, normal, matter, inside } => (at, normal, matter, inside),
        };
        let facing = -ray.way.dot(normal);
        match matter {
            Matter::Glazed { colour, mirror, rough } => {
                let share = glance(facing, mirror);
                // Mirrors more often than it would, and weighs the less: reflections need the samples.
                let often = share * 0.7 + 0.14;
                if mirror > 0.0 && random.next() < often {
                    through = through * (share / often);
                    let way = (ray.way.mirrored(normal) + random.in_ball() * rough).unit();
                    if way.dot(normal) <= 0.0 {
                        break;
                    }
                    ray = Ray { from: at + normal * OFF, way };
                    counts = true;
                } else {
                    let rest = if mirror > 0.0 { (1.0 - share) / (1.0 - often) } else { 1.0 };
                    through = through.tint(colour) * rest;
                    light = light + through.tint(from_screen(scene, at, normal, bounce, random)) * LAMP;
                    ray = Ray { from: at + normal * OFF, way: random.matt(normal) };
                    (counts, matt_before) = (false, true);
                }
            }
            Matter::Metal { colour, rough } => {
                let edge = glance(facing, 0.0);
                through = through.tint(colour + (v(1.0, 1.0, 1.0) - colour) * edge);
                let way = (ray.way.mirrored(normal) + random.in_ball() * rough).unit();
                if way.dot(normal) <= 0.0 {
                    break;
                }
                ray = Ray { from: at + normal * OFF, way };
                counts = true;
            }
            Matter::Glass { takes } => {
                if inside {
                    let far = (at - ray.from).length();
                    through = through.tint(v(kept(takes.x * far), kept(takes.y * far), kept(takes.z * far)));
                }
                let ratio = if inside { GLASS } else { 1.0 / GLASS };
                let under = 1.0 - ratio * ratio * (1.0 - facing * facing);
                let share =
                    if under <= 0.0 { 1.0 } else { glance(if inside { under.sqrt() } else { facing }, 0.04) };
                if random.next() < share {
                    ray = Ray { from: at + normal * OFF, way: ray.way.mirrored(normal) };
                } else {
                    let way = ray.way * ratio + normal * (ratio * facing - under.sqrt());
                    ray = Ray { from: at - normal * OFF, way: way.unit() };
                }
                counts = true;
            }
            Matter::Film => {
                let share = glance(facing, 0.10) * 0.9;
                if random.next() < share {
                    // Colours of a thin film: they wander with the angle.
                    let hue = facing * 2.2 + at.y * 1.7 + at.x * 0.6;
                    through = through.tint(v(wave(hue), wave(hue + 0.33), wave(hue + 0.66)) * 1.5);
                    ray = Ray { from: at + normal * OFF, way: ray.way.mirrored(normal) };
                    counts = true;
                } else {
                    ray = Ray { from: at - normal * OFF, way: ray.way };
                }
            }
        }
        // Faint paths end early; those that go on make up for them.
        if bounce >= 3 {
            let chance = through.max_part().clamp(0.05, 0.95);
            if random.next() >= chance {
                break;
            }
            through = through * (1.0 / chance);
        }
    }
    light
}

/// Light of the screen that falls on a matt place, by one place of the screen.
fn from_screen(scene: &Scene, at: V3, normal: V3, bounce: u32, random: &mut Random) -> V3 {
    let within = random.next();
    let pair = if bounce == 0 { random.even(3) } else { (random.next(), random.next()) };
    let (s, t, density) = scene.light.sample(pair, within);
    let to = scene.on_screen(s, t) - at;
    let square = to.dot(to);
    let far = square.sqrt();
    let way = to * (1.0 / far);
    let (here, there) = (way.dot(normal), -way.z); // the screen looks along +z
    if here <= 0.0 || there <= 0.0 {
        return V3::default();
    }
    let ray = Ray { from: at + normal * OFF, way };
    if !scene.sees(&ray, far) {
        return V3::default();
    }
    let area = scene.size.0 * scene.size.1;
    // Over π: a matt surface sends its light to all sides.
    scene.light.at(s, t) * (here * there * area / (square * density) * std::f64::consts::FRAC_1_PI)
}

/// How much a surface mirrors at this angle (Schlick), given how much it does when looked at straight.
fn glance(facing: f64, straight: f64) -> f64 {
    let m = 1.0 - facing.clamp(0.0, 1.0);
    let m2 = m * m;
    straight + (1.0 - straight) * m2 * m2 * m
}

/// About e⁻ˣ, by a rational function that is the same everywhere.
fn kept(x: f64) -> f64 {
    let y = 1.0 + x * (0.125 + x * (0.007_812_5 + x * 0.000_325_520_8));
    let y2 = y * y;
    let y4 = y2 * y2;
    1.0 / (y4 * y4)
}

/// A soft wave of period one, 0 to 1.
fn wave(x: f64) -> f64 {
    let f = x - x.floor();
    let triangle = (f * 2.0 - 1.0).abs();
    triangle * triangle * (3.0 - 2.0 * triangle)
}
