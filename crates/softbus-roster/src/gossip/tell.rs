//! What we tell: the next request to each neighbour, made of what it must still hear.

use softbus_core::DeviceId;
use softbus_core::wire::roster::{self as wire, Digest, Gossip};
use tokio::time::Instant;

use super::peer::InFlight;
use super::{Action, COMPARE_EVERY, Failure, RosterMachine};

impl RosterMachine {
    /// Digests of all profiles that `to` may know, in order.
    pub(super) fn digests_for(&self, to: &DeviceId) -> Vec<Digest> {
        let fit = |id: &DeviceId| *id == self.me || self.trust.may_know(to, id);
        let known = self.books.iter().filter(|(id, _)| fit(id));
        known.filter_map(|(_, book)| book.profile.as_ref().map(|b| b.digest)).collect()
    }

    /// Brings entries, events and claims up to date, then sends to every peer what it should hear.
    pub(super) fn settle(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.refresh(Some(now));
        self.settled_at = Some(now);
        let ready: Vec<_> =
            self.peers.iter().filter(|(_, peer)| peer.ready(now)).map(|(id, _)| *id).collect();
        for to in ready {
            if let Some((token, gossip)) = self.compose(to, now) {
                actions.push(Action::Send { to, token, gossip });
            }
        }
    }

    /// The next request to a peer, if there is anything to say.
    pub(super) fn compose(&mut self, to: DeviceId, now: Instant) -> Option<(u64, Gossip)> {
        let peer = self.peers.get(&to)?;
        let due = peer.now_due
            || peer.told_now_at.is_none_or(|at| now.saturating_duration_since(at) >= self.tell_every);
        let me = self.me;
        let own_now = if due { self.give_now(&to, &me, now) } else { None };
        let peer = self.peers.get(&to)?;
        let compare = peer.compare_at.is_none_or(|at| now >= at);
        let all_claims = peer.claims_due;
        let mut gossip = Gossip { boot: self.boot, all_claims, ..Gossip::default() };
        let mut in_flight = InFlight::new(now);

        if compare {
            gossip.summary = Some(wire::summary(self.digests_for(&to).iter()));
            in_flight.compared = true;
        }
        for id in &peer.digests {
            let known = self.books.get(id).and_then(|book| book.profile.as_ref());
            if let Some(believed) = known
                && (*id == self.me || self.trust.may_know(&to, id))
            {
                gossip.digests.push(believed.digest);
            }
        }
        for (id, digest) in &peer.want {
            if gossip.want.len() >= wire::PROFILES {
                break;
            }
            let known = self.books.get(id).and_then(|book| book.profile.as_ref());
            if known.is_none_or(|known| digest.newer_than(&known.digest)) && !self.fetching.contains_key(id) {
                gossip.want.push(*id);
            }
        }
        if let Some(own) = own_now {
            gossip.now.push(own);
            in_flight.now = true;
        }
        let subjects: Vec<DeviceId> = if all_claims {
            self.books.keys().copied().collect()
        } else {
            peer.claims.iter().copied().collect()
        };
        for id in subjects {
            let Some(claim) = self.claim(&to, &id) else { continue };
            let told = if all_claims { None } else { peer.told_claims.get(&id) };
            if told.map_or(claim.seen != wire::Seen::Offline, |told| *told != (claim.seen, claim.hops)) {
                gossip.claims.push(claim);
            }
        }

        let peer = self.peers.get_mut(&to)?;
        if gossip.is_empty() {
            // What was noted turned out to be no news for this peer.
            peer.digests.clear();
            peer.claims.clear();
            return None;
        }
        self.token += 1;
        in_flight.token = self.token;
        in_flight.digests = std::mem::take(&mut peer.digests);
        in_flight.claims = std::mem::take(&mut peer.claims);
        in_flight.all_claims = std::mem::take(&mut peer.claims_due);
        in_flight.want.clone_from(&gossip.want);
        if compare {
            peer.compare_at = Some(now + COMPARE_EVERY);
        }
        if in_flight.now {
            peer.now_due = false;
            peer.told_now_at = Some(now);
        }
        if all_claims {
            peer.told_claims.clear();
        }
        for claim in &gossip.claims {
            peer.told_claims.insert(claim.id, (claim.seen, claim.hops));
        }
        peer.in_flight = Some(in_flight);
        for id in &gossip.want {
            self.fetching.insert(*id, to);
        }
        Some((self.token, gossip))
    }

    pub(super) fn failed(&mut self, from: DeviceId, in_flight: InFlight, failure: Failure, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.failed(in_flight, failure, now);
        }
    }
}
