//! Points, directions and colours. Only `+ - * /` and `sqrt`, which IEEE 754 defines to the last bit.

use std::ops::{Add, Mul, Neg, Sub};

/// Three numbers.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct V3 {
    pub x: f64,
    pub y: f64,
    pub z: f64,
}

pub(super) const fn v(x: f64, y: f64, z: f64) -> V3 {
    V3 { x, y, z }
}

impl V3 {
    pub fn dot(self, o: V3) -> f64 {
        self.x * o.x + self.y * o.y + self.z * o.z
    }

    pub fn cross(self, o: V3) -> V3 {
        v(self.y * o.z - self.z * o.y, self.z * o.x - self.x * o.z, self.x * o.y - self.y * o.x)
    }

    /// Component by component: light through a filter.
    pub fn tint(self, o: V3) -> V3 {
        v(self.x * o.x, self.y * o.y, self.z * o.z)
    }

    pub fn length(self) -> f64 {
        self.dot(self).sqrt()
    }

    /// Of length one; something harmless if it has none.
    pub fn unit(self) -> V3 {
        let length = self.length();
        if length > 1e-12 { self * (1.0 / length) } else { v(0.0, 1.0, 0.0) }
    }

    /// As a mirror with this normal throws it back.
    pub fn mirrored(self, normal: V3) -> V3 {
        self - normal * (2.0 * self.dot(normal))
    }

    pub fn max_part(self) -> f64 {
        let m = if self.x > self.y { self.x } else { self.y };
        if m > self.z { m } else { self.z }
    }

    /// How bright it looks.
    pub fn luminance(self) -> f64 {
        0.2126 * self.x + 0.7152 * self.y + 0.0722 * self.z
    }
}

impl Add for V3 {
    type Output = V3;
    fn add(self, o: V3) -> V3 {
        v(self.x + o.x, self.y + o.y, self.z + o.z)
    }
}

impl Sub for V3 {
    type Output = V3;
    fn sub(self, o: V3) -> V3 {
        v(self.x - o.x, self.y - o.y, self.z - o.z)
    }
}

impl Mul<f64> for V3 {
    type Output = V3;
    fn mul(self, s: f64) -> V3 {
        v(self.x * s, self.y * s, self.z * s)
    }
}

impl Neg for V3 {
    type Output = V3;
    fn neg(self) -> V3 {
        v(-self.x, -self.y, -self.z)
    }
}
