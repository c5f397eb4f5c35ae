//! What the benches share: medians and spread, and what is to be known of the machine they ran on.

use std::time::Duration;

use serde::Serialize;

/// Ranks of a set of figures, all in one unit.
#[derive(Serialize, Clone, Copy, Debug, Default)]
pub struct Spread {
    pub p10: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
    pub count: usize,
}

impl Spread {
    /// Of some figures; zeros if there are none. A rank is that of the nearest figure, never one between two.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let Some(last) = values.len().checked_sub(1) else { return Self::default() };
        let rank = |permille: usize| values[(last * permille + 500) / 1000];
        Self {
            p10: rank(100),
            p50: rank(500),
            p90: rank(900),
            p99: rank(990),
            max: values[last],
            count: values.len(),
        }
    }
}

/// The median of some durations, in microseconds.
pub fn median_us(values: &[Duration]) -> f64 {
    Spread::of(values.iter().map(|d| d.as_secs_f64() * 1e6)).p50
}

/// The machine, as far as it bears on the figures; no names.
#[derive(Serialize, Clone, Debug)]
pub struct Machine {
    pub cores: usize,
    pub arch: &'static str,
    pub os: &'static str,
    /// Load average of the last minute before the run: how busy others kept it.
    pub load_before: f64,
}

impl Machine {
    pub fn look() -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            arch: std::env::consts::ARCH,
            os: std::env::consts::OS,
            load_before: load.split(' ').next().and_then(|one| one.parse().ok()).unwrap_or(0.0),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} cores, {}, {}, loopback; load before the run {:.1}",
            self.cores, self.arch, self.os, self.load_before
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_figures() {
        let spread = Spread::of((1..=101).rev().map(f64::from));
        assert_eq!((spread.p10, spread.p50, spread.p90), (11.0, 51.0, 91.0));
        assert_eq!((spread.p99, spread.max, spread.count), (100.0, 101.0, 101));
        assert_eq!(Spread::of([]).count, 0);
        assert_eq!(Spread::of([7.0]).p99, 7.0);
    }
}
