//! What a way is like for the datagrams on it. Chances are in millionths.

use std::time::Duration;

/// What a way between two hosts, or a piece of it, is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conditions {
    /// One-way delay.
    pub latency: Duration,
    /// Further delay, between nothing and this, drawn for each datagram. It reorders if it exceeds their gap.
    pub jitter: Duration,
    /// Datagrams lost at random, in millionths.
    pub loss_ppm: u32,
    /// Losses in bursts, on top.
    pub burst: Option<Burst>,
    /// Datagrams that arrive twice, in millionths.
    pub duplicate_ppm: u32,
    /// Datagrams that come late by up to ten times the latency, in millionths.
    pub reorder_ppm: u32,
    /// Bytes per second that pass; 0 for no limit.
    pub rate_bytes_per_s: u64,
    /// Past this delay in the queue before a limited rate, datagrams are dropped.
    pub queue: Duration,
    /// Longest datagram that passes, in bytes of UDP payload.
    pub mtu_bytes: usize,
}

/// Losses in bursts: the model of Gilbert (1960) and Elliott (1963). Each direction between two hosts is in a burst or
/// not, and steps once per datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Burst {
    /// Chance to enter a burst, in millionths.
    pub enter_ppm: u32,
    /// Chance to leave it, in millionths.
    pub leave_ppm: u32,
    /// Loss within it, in millionths.
    pub loss_ppm: u32,
}

impl Default for Conditions {
    /// A calm home network: 2 ms, no loss, 1472 bytes.
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(2),
            jitter: Duration::ZERO,
            loss_ppm: 0,
            burst: None,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            rate_bytes_per_s: 0,
            queue: Duration::from_millis(200),
            mtu_bytes: 1472,
        }
    }
}

impl Conditions {
    /// Bad radio: 20 ms ± 20 ms, 10 % lost, 3 % twice, 5 % late.
    pub fn bad() -> Self {
        Self {
            latency: Duration::from_millis(20),
            jitter: Duration::from_millis(20),
            loss_ppm: 100_000,
            duplicate_ppm: 30_000,
            reorder_ppm: 50_000,
            ..Self::default()
        }
    }

    /// From a host to itself.
    pub(super) fn within_a_host() -> Self {
        Self { latency: Duration::ZERO, mtu_bytes: 65_507, ..Self::default() }
    }
}
