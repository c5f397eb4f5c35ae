//! What one neighbour must still hear. Bounded by the number of devices: it holds ids, not messages.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use softbus_core::DeviceId;
use softbus_core::wire::roster::{Digest, Seen};
use tokio::time::Instant;

use super::Failure;
use crate::limits;

pub(super) struct Peer {
    /// Which connection of the link this is about.
    pub(super) generation: u64,
    pub(super) in_flight: Option<InFlight>,
    failures: u32,
    /// No request before this.
    not_before: Option<Instant>,
    /// News waits until then, so that a burst travels as one.
    gap_until: Option<Instant>,
    /// Profiles that are wanted wait until then.
    want_gap_until: Option<Instant>,
    /// When to compare sums again; `None`: at once.
    pub(super) compare_at: Option<Instant>,
    /// All claims are due, not only those in `claims`.
    pub(super) claims_due: bool,
    pub(super) claims: BTreeSet<DeviceId>,
    pub(super) told_claims: BTreeMap<DeviceId, (Seen, u8)>,
    pub(super) digests: BTreeSet<DeviceId>,
    /// Profiles it has newer than we do.
    pub(super) want: BTreeMap<DeviceId, Digest>,
    pub(super) now_due: bool,
    pub(super) told_now_at: Option<Instant>,
}

/// What the request under way carries, to be told again if it fails.
pub(super) struct InFlight {
    since: Instant,
    pub(super) token: u64,
    pub(super) compared: bool,
    pub(super) all_claims: bool,
    pub(super) claims: BTreeSet<DeviceId>,
    pub(super) digests: BTreeSet<DeviceId>,
    pub(super) want: Vec<DeviceId>,
    pub(super) now: bool,
}

impl InFlight {
    pub(super) fn new(since: Instant) -> Self {
        Self {
            since,
            token: 0,
            compared: false,
            all_claims: false,
            claims: BTreeSet::new(),
            digests: BTreeSet::new(),
            want: Vec::new(),
            now: false,
        }
    }
}

impl Peer {
    pub(super) fn new(generation: u64) -> Self {
        Self {
            generation,
            in_flight: None,
            failures: 0,
            not_before: None,
            gap_until: None,
            want_gap_until: None,
            compare_at: None,
            claims_due: true,
            claims: BTreeSet::new(),
            told_claims: BTreeMap::new(),
            digests: BTreeSet::new(),
            want: BTreeMap::new(),
            now_due: true,
            told_now_at: None,
        }
    }

    /// Begins anew on the same connection.
    pub(super) fn restart(&mut self) {
        self.compare_at = None;
        self.claims_due = true;
        self.now_due = true;
        self.not_before = None;
    }

    /// It sent a request itself: no reason to wait any longer (its roster may just have started).
    pub(super) fn speaks_after_all(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    pub(super) fn forget(&mut self, id: &DeviceId) {
        self.claims.remove(id);
        self.told_claims.remove(id);
        self.digests.remove(id);
        self.want.remove(id);
    }

    /// Whether a request may go out now (if there is anything to say).
    pub(super) fn ready(&self, now: Instant) -> bool {
        self.free_at().is_some_and(|at| at.is_none_or(|at| now >= at))
    }

    /// From when on a request may go out; `None`: not before something happens.
    fn free_at(&self) -> Option<Option<Instant>> {
        if self.in_flight.is_some() {
            return None;
        }
        let gap = if self.want.is_empty() { self.gap_until } else { self.want_gap_until };
        Some(self.not_before.max(gap))
    }

    /// When to look again without anything happening. `own`: whether there is a dynamic profile to tell; `settled`: when
    /// it was last looked what is to be told.
    pub(super) fn deadline(
        &self,
        own: bool,
        tell_every: Duration,
        now: Instant,
        settled: Instant,
    ) -> Option<Instant> {
        let free = self.free_at()?.unwrap_or(now);
        let something = self.claims_due
            || !self.claims.is_empty()
            || !self.digests.is_empty()
            || (own && self.now_due)
            || self.compare_at.is_none();
        if something {
            return Some(free);
        }
        let tell = own.then(|| self.told_now_at.map_or(now, |at| at + tell_every));
        // Once, when they may go out: those that do not are under way from somebody else, whose answer is an event.
        let want = if self.want.is_empty() { None } else { Some(free).filter(|at| *at > settled) };
        self.compare_at.into_iter().chain(tell).min().map(|due| due.max(free)).into_iter().chain(want).min()
    }

    /// The request with this token has ended.
    pub(super) fn landed(&mut self, token: u64) -> Option<InFlight> {
        self.in_flight.take_if(|in_flight| in_flight.token == token)
    }

    /// The request under way, if its end is long overdue.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<InFlight> {
        let most = limits::ANSWER_TIMEOUT * 2;
        self.in_flight.take_if(|in_flight| now.saturating_duration_since(in_flight.since) > most)
    }

    /// The next one may follow after `gap`. In a home wanted profiles need not wait at all.
    pub(super) fn succeeded(&mut self, now: Instant, gap: Duration) {
        self.failures = 0;
        self.not_before = None;
        self.gap_until = Some(now + gap);
        self.want_gap_until = Some(now + gap.saturating_sub(limits::TELL_GAP));
    }

    /// What the request carried is to be told again. Whether it was heard is not known: claims may repeat.
    pub(super) fn failed(&mut self, lost: InFlight, failure: Failure, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let most = match failure {
            Failure::Refused => limits::REFUSED_RETRY_MAX,
            Failure::Failed => limits::RETRY_MAX,
        };
        let wait = limits::RETRY * 2u32.saturating_pow(self.failures.min(8) - 1);
        self.not_before = Some(now + wait.min(most));
        for id in &lost.claims {
            self.told_claims.remove(id);
        }
        // "Not told" stands for "told that it is offline"; here it may have been told anything.
        self.claims_due |= lost.all_claims || !lost.claims.is_empty();
        self.claims.extend(lost.claims);
        self.digests.extend(lost.digests);
        self.now_due |= lost.now;
        if lost.compared {
            self.compare_at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use softbus_core::Hash;

    use super::*;

    #[test]
    fn in_a_large_circle_news_and_profiles_travel_in_larger_bursts() {
        let id = DeviceId(Hash::of(b"somebody").0);
        let now = Instant::now();
        let ms = |ms: u64| now + Duration::from_millis(ms);
        for (devices, gap, want_gap) in [(3, 50, 0), (300, 300, 250), (1000, 500, 450)] {
            let mut peer = Peer::new(1);
            assert!(peer.ready(now));
            peer.succeeded(now, limits::tell_gap(devices));
            assert!(!peer.ready(ms(gap - 1)) && peer.ready(ms(gap)));
            peer.want.insert(id, Digest { id, version: 1, hash: Hash([0; 32]) });
            assert!((want_gap == 0 || !peer.ready(ms(want_gap - 1))) && peer.ready(ms(want_gap)));
            // It is looked at again when they may go out, even if that passes meanwhile, and not on and on after that.
            (peer.claims_due, peer.now_due) = (false, false);
            peer.compare_at = Some(ms(9000));
            let looked = |settled: u64, at: u64| {
                peer.deadline(false, limits::TELL_EVERY, ms(at), ms(settled)).map(|due| due - now)
            };
            assert_eq!(looked(want_gap, want_gap), Some(Duration::from_secs(9)));
            if want_gap > 0 {
                assert_eq!(looked(want_gap - 1, want_gap - 1), Some(Duration::from_millis(want_gap)));
                assert!(looked(want_gap - 1, want_gap + 1) <= Some(Duration::from_millis(want_gap + 1)));
            }
        }
    }
}
