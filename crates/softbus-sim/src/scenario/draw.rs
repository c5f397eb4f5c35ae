//! Drawing from the seed. Each draw has a path of names, and follows from the seed and the path alone: a thing more in
//! a scenario does not change what is drawn for the others.

use std::time::Duration;

use super::values::{Real, Whole};

/// A scenario's seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(pub(super) u64);

/// The draws of one thing.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    seed: Seed,
    path: String,
}

/// In nanoseconds.
const MILLI: i128 = 1_000_000;
const MICRO: i128 = 1000;

/// An endless row of draws.
#[derive(Clone, Debug)]
pub(super) struct Stream(u64);

impl Seed {
    /// The draws of a thing.
    pub(super) fn of(self, path: impl Into<String>) -> Draw {
        Draw { seed: self, path: path.into() }
    }
}

impl Draw {
    /// The row of draws for one of its keys.
    pub(super) fn stream(&self, key: &str) -> Stream {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"softbus scenario\0");
        hasher.update(&self.seed.0.to_le_bytes());
        hasher.update(self.path.as_bytes());
        hasher.update(b"\0");
        hasher.update(key.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Stream(u64::from_le_bytes(first))
    }

    /// A whole number out of its range.
    pub(super) fn whole(&self, key: &str, range: Whole) -> i128 {
        if range.from == range.to { range.from } else { self.stream(key).whole(range) }
    }

    /// The same, as what it is used for; the reader's bounds see to it that it fits.
    pub(super) fn number<T: TryFrom<i128> + Default>(&self, key: &str, range: Whole) -> T {
        T::try_from(self.whole(key, range)).unwrap_or_default()
    }

    /// A duration out of its range of nanoseconds.
    pub(super) fn time(&self, key: &str, range: Whole) -> Duration {
        if range.from == range.to { nanos(range.from) } else { self.stream(key).time(range) }
    }

    /// Any number out of its range.
    pub(super) fn real(&self, key: &str, range: Real) -> f64 {
        if range.from == range.to { range.from } else { self.stream(key).real(range) }
    }

    /// One of so many.
    pub(super) fn pick(&self, key: &str, many: usize) -> usize {
        self.stream(key).below(many)
    }
}

impl Stream {
    /// SplitMix64 (Steele, Lea, Flood 2014).
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `many`; 0 if that is 0.
    pub(super) fn below(&mut self, many: usize) -> usize {
        let product = u128::from(self.next()) * many as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// A whole number out of a range.
    pub(super) fn whole(&mut self, range: Whole) -> i128 {
        let many = range.to.abs_diff(range.from).saturating_add(1);
        // Ranges are of 64 bits, so the product fits.
        let step = u128::from(self.next()).saturating_mul(many) >> 64;
        range.from + i128::try_from(step).unwrap_or(0)
    }

    /// A duration out of a range of nanoseconds: of a wide range in whole milliseconds or microseconds, as a person
    /// would write it. Who reads a drawn scenario is thankful.
    pub(super) fn time(&mut self, range: Whole) -> Duration {
        let wide = range.to - range.from;
        let even = |step: &i128| range.from % step == 0 && range.to % step == 0 && wide >= 1000 * step;
        let step = [MILLI, MICRO].into_iter().find(even).unwrap_or(1);
        nanos(step * self.whole(Whole { from: range.from / step, to: range.to / step }))
    }

    /// Any number out of a range: sums and products only, which are the same on every machine.
    pub(super) fn real(&mut self, range: Real) -> f64 {
        range.from + self.unit() * (range.to - range.from)
    }

    /// From 0 to below 1, in steps of 2^-53.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The time to the next of things that happen so often per second at random: exponential. `libm`'s logarithm
    /// is the same on every machine, that of the system need not be.
    pub(super) fn gap(&mut self, per_s: f64) -> Duration {
        let seconds = -libm::log(1.0 - self.unit()) / per_s;
        let gap = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        // As with other durations; what comes more often than once a second needs finer ones.
        let step = if per_s < 1.0 { MILLI } else { MICRO };
        gap.saturating_sub(nanos(i128::from(gap.subsec_nanos()) % step))
    }
}

fn nanos(count: i128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_from_seed_and_path() {
        let range = Whole { from: -5, to: 5 };
        let one = Seed(1).of("device/lamp-1");
        assert_eq!(one.whole("cores", range), Seed(1).of("device/lamp-1").whole("cores", range));
        let differ = |f: &dyn Fn(u64) -> Draw| {
            (0..64)
                .map(|n| f(n).whole("x", Whole { from: 0, to: 1 << 40 }))
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(differ(&|n| Seed(n).of("a")).len(), 64);
        assert_eq!(differ(&|n| Seed(0).of(format!("a-{n}"))).len(), 64);
    }

    #[test]
    fn all_of_a_range_is_drawn_and_nothing_else() {
        let mut stream = Seed(7).of("x").stream("y");
        let mut seen = [0; 11];
        for _ in 0..2000 {
            let n = stream.whole(Whole { from: -5, to: 5 });
            seen[usize::try_from(n + 5).unwrap()] += 1;
        }
        assert!(seen.iter().all(|n| *n > 100), "{seen:?}");
        let wide = Whole { from: 0, to: i128::from(u64::MAX) };
        assert!((0..100).any(|_| stream.whole(wide) > i128::from(u64::MAX / 2)));
    }

    #[test]
    fn drawn_times_are_short_to_write() {
        let mut stream = Seed(1).of("x").stream("y");
        let range = |from, to| Whole { from, to };
        for _ in 0..100 {
            assert_eq!(stream.time(range(MILLI, 5000 * MILLI)).subsec_nanos() % 1_000_000, 0);
            assert_eq!(stream.time(range(MILLI, 9 * MILLI)).subsec_nanos() % 1000, 0);
            assert!((5..=15).contains(&stream.time(range(5, 15)).subsec_nanos()));
            assert_eq!(stream.gap(0.5).subsec_nanos() % 1_000_000, 0);
        }
    }

    /// Known values: if they change, every recorded seed means something else.
    #[test]
    fn draws_stay_what_they_are() {
        let mut stream = Stream(0);
        assert_eq!(stream.next(), 0xe220_a839_7b1d_cdaf);
        let gap = Seed(1).of("chaos/crash/phone").stream("").gap(2.0 / 3600.0);
        assert_eq!(gap, Seed(1).of("chaos/crash/phone").stream("").gap(2.0 / 3600.0));
        let mean = (0..4000).map(|_| stream.gap(0.5).as_secs_f64()).sum::<f64>() / 4000.0;
        assert!((1.9..2.1).contains(&mean), "{mean}");
    }
}
