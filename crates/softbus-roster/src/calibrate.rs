//! How fast one core is, in the unit that all of softbus counts work in.
//!
//! One **operation** is one turn of [`kernel`]'s loop: a dependent chain of a 64-bit shift-xor and
//! multiplication (integer), one load and one store in a table of 4 KiB (first-level cache), and one
//! multiplication and addition of a 64-bit float. It stands for ordinary scalar code that fits the cache:
//! neither vectors nor memory bandwidth nor several cores. On a laptop of the 2020s, optimised, it runs some
//! 10⁸ times a second. The result depends on `ops` only, bit for bit, on every machine (IEEE 754 multiplication
//! and addition are exactly defined).
//!
//! Who offers work to the bus says how many such operations it takes: run a part of the work and
//! [`kernel`] on the same core, and take the ratio of their times.

use std::hint::black_box;

use serde::{Deserialize, Serialize};
use softbus_core::{Hash, WallMs};
use softbus_net::seam::Hardware;

use crate::limits;

/// Version of the kernel and of the way it is timed; a stored calibration of another version is not used.
pub const KERNEL_VERSION: u32 = 1;
/// What the calibration is charged as in a simulator, in operations.
pub const CALIBRATION_OPS: u64 = 1 << 22;
/// The measuring goes on until this much time has passed …
const MEASURE_NS: u64 = 100_000_000;
/// … in slices of at least this …
const SLICE_NS: u64 = 1_000_000;
/// … but never more slices than this, nor longer ones than [`CALIBRATION_OPS`].
const SLICES: usize = 100;
/// A slice this long that takes no time at all shows that time stands still (under a simulator).
const STANDSTILL_OPS: u64 = 1 << 16;
/// Rates outside these bounds are taken for errors of the clock, in operations per second.
const RATE_BOUNDS: (u64, u64) = (10_000, 100_000_000_000);

/// Runs `ops` operations of the reference kernel and returns what they computed.
pub fn kernel(ops: u64) -> u64 {
    let mut table = [0u64; 512];
    let mut x: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut f: f64 = 1.0;
    for _ in 0..ops {
        x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let slot = &mut table[(x >> 55) as usize];
        x = x.wrapping_add(*slot);
        *slot = x.rotate_left(17);
        f = f * 0.75 + (x >> 44) as f64;
    }
    table.iter().fold(x ^ f.to_bits(), |sum, slot| sum.rotate_left(5) ^ slot)
}

/// Measures operations per second of the core it runs on, by a stopwatch in nanoseconds, at most some 150 ms in
/// all. Of all slices the rate counts that seven of eight stay below: what other programs took away in between (of
/// caches, too) is load and not lack of speed. `None` if the stopwatch stands still.
pub fn measure(stopwatch_ns: &dyn Fn() -> u64) -> Option<u64> {
    let time = |ops: u64| {
        let start = stopwatch_ns();
        black_box(kernel(black_box(ops)));
        stopwatch_ns().saturating_sub(start)
    };
    // Find a slice that is long enough; this also wakes the core up.
    let (mut ops, mut spent) = (1 << 12, 0);
    loop {
        let took = time(ops);
        spent += took;
        if took >= SLICE_NS || ops >= CALIBRATION_OPS {
            break;
        }
        if took == 0 && ops >= STANDSTILL_OPS {
            return None;
        }
        ops *= 2;
    }
    let mut rates = Vec::with_capacity(SLICES);
    while rates.is_empty() || (spent < MEASURE_NS && rates.len() < SLICES) {
        let took = time(ops);
        spent += took;
        rates.push(rate(ops, took)?);
    }
    rates.sort_unstable();
    rates.get(rates.len() * 7 / 8).copied()
}

/// Operations per second; `None` without time or out of all bounds.
pub fn rate(ops: u64, took_ns: u64) -> Option<u64> {
    let per_s = u128::from(ops) * 1_000_000_000 / u128::from(took_ns.max(1));
    let rate = u64::try_from(per_s).ok()?;
    (took_ns > 0 && (RATE_BOUNDS.0..=RATE_BOUNDS.1).contains(&rate)).then_some(rate)
}

/// A measured rate and what it holds for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Calibration {
    /// Operations per second of one core.
    pub rate_ops_per_s: u64,
    /// Processor, build and kernel it was measured with.
    pub fingerprint: Hash,
    /// When.
    pub made: WallMs,
}

impl Calibration {
    /// Whether it still holds on this machine now.
    pub fn holds(&self, fingerprint: &Hash, now: WallMs) -> bool {
        self.fingerprint == *fingerprint
            && now >= self.made
            && now < self.made.after(limits::CALIBRATION_KEEP)
            && (RATE_BOUNDS.0..=RATE_BOUNDS.1).contains(&self.rate_ops_per_s)
    }
}

/// What a calibration depends on: processor, architecture, system, cores, kernel version, and whether this
/// program was optimised.
pub fn fingerprint(machine: &Hardware) -> Hash {
    let text = format!(
        "{}\0{}\0{}\0{}\0{}\0{}\0{}",
        machine.cpu,
        machine.arch,
        machine.os,
        machine.cores,
        KERNEL_VERSION,
        env!("CARGO_PKG_VERSION"),
        cfg!(debug_assertions),
    );
    Hash::derive("softbus calibration v1", text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_kernel_computes_the_same_everywhere() {
        // Computed by an independent implementation in another language.
        assert_eq!(kernel(0), 0xa1c779b97f4a7c15);
        assert_eq!(kernel(1), 0xf636b9ceb2ea085c);
        assert_eq!(kernel(10_000), 0x8f7417505e997850);
    }

    #[test]
    fn a_clock_that_stands_still_gives_no_rate() {
        assert_eq!(measure(&|| 7), None);
        assert_eq!(rate(1000, 0), None);
        assert_eq!(rate(1, u64::MAX), None);
    }

    #[test]
    fn interruptions_do_not_count() {
        // A clock that ticks 2 ms per reading, and every third time 20 ms: a slice of 4096 operations takes 2 ms
        // or is interrupted.
        let (ticks, readings) = (Cell::new(0u64), Cell::new(0u64));
        let clock = || {
            readings.set(readings.get() + 1);
            let interrupted = readings.get().is_multiple_of(3);
            ticks.set(ticks.get() + if interrupted { 20_000_000 } else { 2_000_000 });
            ticks.get()
        };
        assert_eq!(measure(&clock), Some(4096 * 500));
        // It stopped after some 100 ms of measuring.
        assert!(ticks.get() < 250_000_000, "{}", ticks.get());
    }

    #[test]
    fn a_calibration_holds_for_one_machine_and_thirty_days() {
        let machine = Hardware { cpu: "one".into(), cores: 4, ..Hardware::default() };
        let other = Hardware { cpu: "two".into(), ..machine.clone() };
        let made = WallMs(1_000_000);
        let calibration =
            Calibration { rate_ops_per_s: 100_000_000, fingerprint: fingerprint(&machine), made };
        assert!(calibration.holds(&fingerprint(&machine), made));
        assert!(!calibration.holds(&fingerprint(&other), made));
        assert!(!calibration.holds(&fingerprint(&machine), made.after(limits::CALIBRATION_KEEP)));
        assert!(!calibration.holds(&fingerprint(&machine), WallMs(0)), "made in the future");
    }
}
