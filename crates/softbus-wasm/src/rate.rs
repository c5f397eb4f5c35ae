//! How fast something may leave a program: a token bucket that holds one second's worth.

use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// So many bytes a second, and after a pause as many at once.
pub(crate) struct Rate {
    per_s: u64,
    /// Bytes that may leave now.
    left: u64,
    /// When that was worked out, in nanoseconds.
    at: Option<u64>,
}

impl Rate {
    /// At first as after a pause.
    pub fn new(per_s: u64) -> Self {
        let per_s = per_s.max(1);
        Self { per_s, left: per_s, at: None }
    }

    /// How many bytes may leave now.
    pub fn left(&mut self, now: u64) -> usize {
        let at = *self.at.get_or_insert(now);
        let more = u128::from(self.per_s) * u128::from(now.saturating_sub(at)) / u128::from(SECOND);
        let took = more * u128::from(SECOND) / u128::from(self.per_s);
        // The time in which less than a byte comes is counted the next time.
        self.at = Some(at.saturating_add(u64::try_from(took).unwrap_or(u64::MAX)));
        self.left = self.left.saturating_add(u64::try_from(more).unwrap_or(u64::MAX)).min(self.per_s);
        usize::try_from(self.left).unwrap_or(usize::MAX)
    }

    /// The least that leaves at once, where more waits: so that a backlog does not leave in crumbs.
    pub fn portion(&self) -> usize {
        usize::try_from((self.per_s / 20).max(1)).unwrap_or(usize::MAX)
    }

    /// So many have left.
    pub fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as u64);
    }

    /// How long it takes until a twentieth of a second's worth may leave.
    pub fn wait(&self) -> Duration {
        let wanted = (self.portion() as u64).saturating_sub(self.left);
        let ns = u128::from(wanted) * u128::from(SECOND) / u128::from(self.per_s);
        Duration::from_nanos(u64::try_from(ns).unwrap_or(SECOND).clamp(1, SECOND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut rate = Rate::new(1000);
        assert_eq!(rate.left(7), 1000);
        rate.spend(1000);
        assert_eq!(rate.left(7), 0);
        assert_eq!(rate.wait(), Duration::from_millis(50));
        // In steps that are worth less than a byte, or one and a half, too.
        for step in [500_000, 1_500_000] {
            let (mut out, mut rate) = (0, Rate::new(1000));
            rate.left(0);
            rate.spend(1000);
            for n in 1..=10_000u64 {
                let left = rate.left(n * step);
                rate.spend(left);
                out += left as u64;
            }
            let expected = 10_000 * step / 1_000_000;
            assert!((expected - 1..=expected).contains(&out), "{out} of {expected}");
        }
        assert_eq!(rate.left(100 * SECOND), 1000, "no more than one second's worth");
        // A clock that stands still or goes back gives nothing.
        rate.spend(1000);
        assert_eq!((rate.left(100 * SECOND), rate.left(3)), (0, 0));
    }
}
