//! How good a link is, from what QUIC counts. Pure, in integers.

use std::time::Duration;

/// A tick in which at least this much was sent is a sample of the rate.
const BULK_BYTES: u64 = 64 << 10;
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
    bulk_rate: u64,
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
            // A tick may be only partly busy: rise at once, fall slowly.
            self.bulk_rate =
                if rate >= self.bulk_rate { rate } else { self.bulk_rate - (self.bulk_rate - rate) / 8 };
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
        self.last.cwnd.saturating_mul(1_000_000).checked_div(rtt_us).unwrap_or(0).min(GUESS_MAX)
    }

    pub(super) fn rtt(&self) -> Duration {
        self.last.rtt
    }

    /// Sent and received since the link began.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.before.0 + self.last.sent_bytes, self.before.1 + self.last.received_bytes)
    }
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
}
