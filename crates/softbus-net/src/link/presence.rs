//! Whether the peer answers, told by when something authenticated was last heard from it.

use std::time::Duration;

use crate::Presence;

/// Up to this round-trip time the configured thresholds hold; beyond it they grow in proportion.
const REFERENCE_RTT: Duration = Duration::from_millis(100);
/// Thresholds grow at most by this factor.
const MAX_FACTOR: u32 = 10;
/// A sleeper that is this much later than it announced, in units of its interval, is offline.
const SLEEP_INTERVALS: u32 = 2;
/// Added to a sleeper's announced time: it also needs to dial.
const SLEEP_GRACE: Duration = Duration::from_secs(5);

/// Presence of one peer.
#[derive(Clone, Debug)]
pub(super) struct PresenceTracker {
    suspect_after: Duration,
    offline_after: Duration,
    last_heard: Duration,
    rtt: Duration,
    /// The peer, though connected, is heard from at this interval only.
    interval: Duration,
    /// Asleep until then; later it counts as offline.
    asleep_until: Duration,
    state: Presence,
    /// Not the peer sleeps, only the link rests.
    resting: bool,
}

impl PresenceTracker {
    pub(super) fn new(suspect_after: Duration, offline_after: Duration) -> Self {
        Self {
            suspect_after,
            offline_after: offline_after.max(suspect_after),
            last_heard: Duration::ZERO,
            rtt: Duration::ZERO,
            interval: Duration::ZERO,
            asleep_until: Duration::ZERO,
            state: Presence::Offline,
            resting: false,
        }
    }

    pub(super) fn state(&self) -> Presence {
        self.state
    }

    pub(super) fn heard(&mut self, now: Duration) {
        self.last_heard = self.last_heard.max(now);
        self.state = Presence::Online;
    }

    pub(super) fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
    }

    pub(super) fn rtt(&self) -> Duration {
        self.rtt
    }

    /// The peer, though connected, will be heard from at this interval only.
    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// The peer said that it will not be heard from for about `interval`.
    pub(super) fn asleep(&mut self, now: Duration, interval: Duration) {
        self.asleep_until = now.saturating_add(interval.saturating_mul(SLEEP_INTERVALS)) + SLEEP_GRACE;
        self.state = Presence::Asleep;
        self.resting = false;
    }

    /// The link rests, as neither side needs it. For about `interval` that says nothing against the peer.
    pub(super) fn rest(&mut self, now: Duration, interval: Duration) {
        self.asleep(now, interval);
        self.resting = true;
    }

    pub(super) fn is_resting(&self) -> bool {
        self.resting && self.state == Presence::Asleep
    }

    /// The peer said goodbye, or it is known by other means that it is not there.
    pub(super) fn gone(&mut self) {
        self.state = Presence::Offline;
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self, now: Duration) {
        match self.state {
            Presence::Online | Presence::Suspect if now >= self.offline_at() => {
                self.state = Presence::Offline;
            }
            Presence::Online if now >= self.suspect_at() => self.state = Presence::Suspect,
            Presence::Asleep if now >= self.asleep_until => self.state = Presence::Offline,
            _ => {}
        }
    }

    /// When [`PresenceTracker::tick`] next has something to do.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        match self.state {
            Presence::Online => Some(self.suspect_at()),
            Presence::Suspect => Some(self.offline_at()),
            Presence::Asleep => Some(self.asleep_until),
            Presence::Offline => None,
        }
    }

    fn suspect_at(&self) -> Duration {
        self.last_heard + self.scaled(self.suspect_after)
    }

    fn offline_at(&self) -> Duration {
        self.last_heard + self.scaled(self.offline_after)
    }

    fn scaled(&self, base: Duration) -> Duration {
        let scaled = if self.rtt > REFERENCE_RTT {
            // Integers, so that every platform gets the same.
            let factor_permille =
                (self.rtt.as_millis() * 1000 / REFERENCE_RTT.as_millis()).min(u128::from(MAX_FACTOR) * 1000);
            Duration::from_millis(
                u64::try_from(base.as_millis() * factor_permille / 1000).unwrap_or(u64::MAX),
            )
        } else {
            base
        };
        scaled + self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn silence_makes_suspect_then_offline() {
        let mut presence = PresenceTracker::new(ms(1000), ms(2000));
        assert_eq!(presence.state(), Presence::Offline);
        presence.heard(ms(500));
        for (at, state) in [
            (1499, Presence::Online),
            (1500, Presence::Suspect),
            (2499, Presence::Suspect),
            (2500, Presence::Offline),
        ] {
            presence.tick(ms(at));
            assert_eq!(presence.state(), state, "{at}");
        }
        presence.heard(ms(2600));
        assert_eq!(presence.state(), Presence::Online);
        assert_eq!(presence.next_timeout(), Some(ms(3600)));
    }

    #[test]
    fn far_peers_get_more_time() {
        let mut presence = PresenceTracker::new(ms(1000), ms(2000));
        presence.set_rtt(ms(300));
        presence.heard(ms(0));
        presence.tick(ms(2999));
        assert_eq!(presence.state(), Presence::Online);
        presence.tick(ms(3000));
        assert_eq!(presence.state(), Presence::Suspect);
        presence.tick(ms(6000));
        assert_eq!(presence.state(), Presence::Offline);
        presence.set_rtt(ms(60_000));
        presence.heard(ms(0));
        presence.tick(ms(9_999));
        assert_eq!(presence.state(), Presence::Online);
        presence.tick(ms(10_000));
        assert_eq!(presence.state(), Presence::Suspect, "the factor is bounded");
    }

    #[test]
    fn sleepers_are_not_taken_for_lost() {
        let mut presence = PresenceTracker::new(ms(1000), ms(2000));
        presence.heard(ms(0));
        presence.asleep(ms(100), ms(60_000));
        presence.tick(ms(125_000));
        assert_eq!(presence.state(), Presence::Asleep);
        presence.tick(ms(125_100));
        assert_eq!(presence.state(), Presence::Offline);
    }
}
