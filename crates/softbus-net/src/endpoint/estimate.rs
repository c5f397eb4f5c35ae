//! How good a link is, from what QUIC counts. Pure, in integers.

use std::time::Duration;

/// A tick in which at least this much was sent is a sample of the rate.
const BULK_BYTES: u64 = 64 << 10;
/// A tick in which less than this share of what the congestion window allows was sent was slowed by the sender, not by
/// the link.
const FULL_PERMILLE: u128 = 500;
/// Until bulk data has flowed the rate is guessed from the congestion window, at most this.
const GUESS_MAX: u64 = 125_000_000;

/// What QUIC has counted so far on one connection.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Counters {
    pub(super) sent_packets: u64,
    pub(super) lost_packets: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
    pub(super) cwnd: u64,
    pub(super) rtt: Duration,
}

/// Estimates of one link; they outlive its connections.
#[derive(Clone, Default, Debug)]
pub(super) struct Estimate {
    last: Counters,
    at: Duration,
    /// Recent packets, weighted: thousandths.
    sent: u64,
    lost: u64,
    /// By samples that the link limited; 0 until there is one.
    bulk_rate: u64,
    /// The best of the other samples: the link can do at least this.
    at_least: u64,
    before: (u64, u64),
}

impl Estimate {
    /// Another connection carries the link: its counters begin anew.
    pub(super) fn new_connection(&mut self, now: Duration) {
        self.before.0 += self.last.sent_bytes;
        self.before.1 += self.last.received_bytes;
        self.last = Counters::default();
        self.at = now;
    }

    pub(super) fn update(&mut self, now: Duration, counters: Counters) {
        let elapsed_us = u64::try_from(now.saturating_sub(self.at).as_micros()).unwrap_or(u64::MAX);
        if elapsed_us == 0 {
            return;
        }
        let sent = counters.sent_packets.saturating_sub(self.last.sent_packets);
        let lost = counters.lost_packets.saturating_sub(self.last.lost_packets);
        // An old packet counts half after some 20 new ones.
        let keep = 1000u64.saturating_sub(sent.saturating_mul(35)).max(300);
        self.sent = self.sent / 1000 * keep + self.sent % 1000 * keep / 1000 + sent.min(1 << 30) * 1000;
        self.lost = self.lost / 1000 * keep + self.lost % 1000 * keep / 1000 + lost.min(1 << 30) * 1000;
        let bytes = counters.sent_bytes.saturating_sub(self.last.sent_bytes);
        if bytes >= BULK_BYTES {
            let rate =
                u64::try_from(u128::from(bytes) * 1_000_000 / u128::from(elapsed_us)).unwrap_or(u64::MAX);
            if is_full(bytes, elapsed_us, &counters) {
                // A tick may be only partly busy: rise at once, fall slowly.
                self.bulk_rate = match self.bulk_rate {
                    known if rate >= known => rate,
                    known => known - (known - rate) / 8,
                };
                self.at_least = 0;
            } else if self.bulk_rate > 0 {
                // The sender had no more to send: that says what the link can do, not what it cannot.
                self.bulk_rate = self.bulk_rate.max(rate);
            } else {
                self.at_least = self.at_least.max(rate);
            }
        }
        self.last = counters;
        self.at = now;
    }

    pub(super) fn loss_permille(&self) -> u16 {
        if self.sent < 10_000 {
            return 0;
        }
        u16::try_from((self.lost.saturating_mul(1000) / self.sent).min(1000)).unwrap_or(1000)
    }

    pub(super) fn rate_bytes_per_s(&self) -> u64 {
        if self.bulk_rate > 0 {
            return self.bulk_rate;
        }
        let rtt_us = u64::try_from(self.last.rtt.as_micros()).unwrap_or(u64::MAX);
        self.last
            .cwnd
            .saturating_mul(1_000_000)
            .checked_div(rtt_us)
            .unwrap_or(0)
            .min(GUESS_MAX)
            .max(self.at_least)
    }

    pub(super) fn rtt(&self) -> Duration {
        self.last.rtt
    }

    /// Sent and received since the link began.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.before.0 + self.last.sent_bytes, self.before.1 + self.last.received_bytes)
    }
}

/// Whether so much was sent in that time that the congestion window, and so the link, set the pace: a window each round
/// trip is the most that could be. In a tick shorter than a round trip, half a window is much.
fn is_full(bytes: u64, elapsed_us: u64, counters: &Counters) -> bool {
    let rtt_us = counters.rtt.as_micros();
    if rtt_us == 0 || rtt_us > u128::from(elapsed_us) {
        return bytes >= counters.cwnd / 2;
    }
    let most = u128::from(counters.cwnd) * u128::from(elapsed_us) / rtt_us;
    u128::from(bytes) * 1000 >= most * FULL_PERMILLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_and_rate_follow_what_is_counted() {
        let mut estimate = Estimate::default();
        let mut counters = Counters { rtt: Duration::from_millis(10), cwnd: 12_000, ..Counters::default() };
        estimate.update(Duration::from_millis(100), counters);
        assert_eq!(estimate.rate_bytes_per_s(), 1_200_000, "a window each round trip");
        for tick in 2..50 {
            counters.sent_packets += 100;
            counters.lost_packets += 5;
            counters.sent_bytes += 100_000;
            estimate.update(Duration::from_millis(100 * tick), counters);
        }
        assert_eq!(estimate.rate_bytes_per_s(), 1_000_000);
        assert!((45..=55).contains(&estimate.loss_permille()), "{}", estimate.loss_permille());
        for tick in 50..100 {
            counters.sent_packets += 100;
            estimate.update(Duration::from_millis(100 * tick), counters);
        }
        assert_eq!(estimate.loss_permille(), 0, "what is past fades");
        estimate.new_connection(Duration::from_secs(20));
        assert_eq!(estimate.bytes().0, 4_800_000);
    }

    /// A link of 10 MB/s with a round trip of 5 ms, whose window has grown to twice what is on the way.
    struct Wire {
        estimate: Estimate,
        counters: Counters,
        at: Duration,
    }

    impl Wire {
        fn new() -> Self {
            let rtt = Duration::from_millis(5);
            Self {
                estimate: Estimate::default(),
                counters: Counters { rtt, cwnd: 60_000, ..Counters::default() },
                at: Duration::ZERO,
            }
        }

        /// So many bytes in each of `ticks` ticks of 100 ms.
        fn send(&mut self, bytes: u64, ticks: u32) -> u64 {
            for _ in 0..ticks {
                self.at += Duration::from_millis(100);
                self.counters.sent_bytes += bytes;
                self.counters.sent_packets += bytes / 1200;
                self.estimate.update(self.at, self.counters);
            }
            self.estimate.rate_bytes_per_s()
        }
    }

    #[test]
    fn short_bursts_do_not_make_a_link_slow() {
        let mut wire = Wire::new();
        assert_eq!(wire.send(1_000_000, 20), 10_000_000, "bulk data");
        // A burst of 100 KB takes a tenth of a tick; the rest is silence.
        assert_eq!(wire.send(100_000, 100), 10_000_000);
        assert_eq!(wire.send(0, 100), 10_000_000);
        // The link gets slower: its window shrinks, and all of it is used.
        wire.counters.cwnd = 15_000;
        let slower = wire.send(200_000, 40);
        assert!((2_000_000..2_100_000).contains(&slower), "{slower}");
        // What the sender alone limits can raise it.
        wire.counters.cwnd = 60_000;
        assert_eq!(wire.send(400_000, 1), 4_000_000);
    }

    #[test]
    fn before_bulk_data_a_burst_is_the_least_that_the_link_can_do() {
        let mut wire = Wire::new();
        assert_eq!(wire.send(0, 1), 12_000_000, "a guess, by the window");
        assert_eq!(wire.send(100_000, 10), 12_000_000, "a burst of 1 MB/s does not say that it is less");
        // The window has shrunk while little was sent; what was seen to pass still counts.
        assert_eq!(wire.send(500_000, 1), 12_000_000);
        wire.counters.cwnd = 10_000;
        assert_eq!(wire.send(0, 1), 5_000_000);
        // And bulk data says how it is.
        assert_eq!(wire.send(180_000, 1), 1_800_000);
    }

    #[test]
    fn in_a_tick_shorter_than_a_round_trip_half_a_window_is_much() {
        let far = Counters { rtt: Duration::from_millis(300), cwnd: 300_000, ..Counters::default() };
        assert!(is_full(150_000, 100_000, &far) && !is_full(149_999, 100_000, &far));
        let unknown = Counters { rtt: Duration::ZERO, ..far };
        assert!(is_full(150_000, 100_000, &unknown) && !is_full(149_999, 100_000, &unknown));
    }
}
