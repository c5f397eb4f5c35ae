//! Presence: over our own link, or through whom. A claim travels at most [`CLAIM_HOPS`] times and never back
//! to where it came from, so that two devices cannot keep a third one alive by hearsay; and for
//! [`hold_down`](crate::limits::hold_down) after we lost a device ourselves hearsay does not count. A neighbour's word
//! counts while it is awake: one that sleeps could not take it back.

use softbus_core::DeviceId;
use softbus_core::wire::roster::{CLAIM_HOPS, Claim, Seen};
use softbus_net::Presence;

use super::RosterMachine;
use crate::{RosterEntry, Source};

impl RosterMachine {
    /// Whether a device answers and how we know.
    pub(super) fn sight(&self, id: &DeviceId) -> (Presence, Source) {
        if *id == self.me {
            return (Presence::Online, Source::Oneself);
        }
        match self.links.get(id).filter(|link| link.presence != Presence::Offline) {
            None => self.hearsay(id),
            // Those who have a link that does not rest know better; that it sleeps, one's own link says as well.
            Some(link) if link.resting => match self.hearsay(id) {
                (Presence::Offline | Presence::Asleep, _) => (link.presence, Source::Direct),
                known => known,
            },
            Some(link) => (link.presence, Source::Direct),
        }
    }

    fn hearsay(&self, id: &DeviceId) -> (Presence, Source) {
        let Some(book) = self.books.get(id) else { return (Presence::Offline, Source::Nobody) };
        if self.held.contains_key(id) {
            return (Presence::Offline, Source::Direct);
        }
        let claims = book.claims.iter().filter_map(|(neighbour, said)| {
            let link = self.links.get(neighbour)?;
            // A word may be heard before or after its link is awake.
            if !self.peers.contains_key(neighbour) || said.seen == Seen::Offline {
                return None;
            }
            let own = u32::try_from(link.rtt.as_micros()).unwrap_or(u32::MAX);
            Some((rank(said.seen), said.hops, said.rtt_us.saturating_add(own), *neighbour, said.seen))
        });
        match claims.min() {
            Some((_, hops, rtt_us, neighbour, seen)) => {
                (presence(seen), Source::Via { neighbour, hops, rtt_us })
            }
            None => (Presence::Offline, Source::Nobody),
        }
    }

    /// What we say of `id` to `to`; `None` if `to` is not to know of it from us.
    pub(super) fn claim(&self, to: &DeviceId, id: &DeviceId) -> Option<Claim> {
        if id == to || *id == self.me || !self.trust.may_know(to, id) {
            return None;
        }
        let offline = Claim { id: *id, seen: Seen::Offline, hops: 0, rtt_us: 0 };
        let Some(entry) = self.view.entries.get(id) else { return Some(offline) };
        let (seen, hops, rtt_us) = match entry.source {
            // Nobody watches over a link that rests: two who only rest with a device would testify for each other.
            Source::Direct if rests(entry) => return Some(offline),
            Source::Direct => {
                let rtt = entry.link.as_ref().map_or(0, |link| link.rtt.as_micros());
                (seen(entry.presence), 0, u32::try_from(rtt).unwrap_or(u32::MAX))
            }
            Source::Via { neighbour, hops, rtt_us } if neighbour != *to && hops < CLAIM_HOPS => {
                (seen(entry.presence), hops + 1, rtt_us)
            }
            _ => return Some(offline),
        };
        Some(if seen == Seen::Offline { offline } else { Claim { id: *id, seen, hops, rtt_us } })
    }

    /// A neighbour says whom it sees.
    pub(super) fn hear_claims(&mut self, from: DeviceId, boot: u64, all: bool, claims: Vec<Claim>) {
        let me = self.me;
        // What it said before it restarted, it does not say any more.
        let said_in = self.book(from).claims_in.replace(boot);
        if said_in.is_some_and(|before| all || before != boot) {
            self.forget_claims_of(&from);
            self.book(from).claims_in = Some(boot);
        }
        for claim in claims {
            let own = claim.id == me || claim.id == from;
            let known = self.trust.devices.contains_key(&claim.id) && self.may_tell_of(&from, &claim.id);
            if own || !known || claim.hops > CLAIM_HOPS {
                continue;
            }
            let book = self.book(claim.id);
            if claim.seen == Seen::Offline {
                book.claims.remove(&from);
            } else {
                book.claims.insert(from, claim);
            }
            self.touched.insert(claim.id);
        }
    }

    /// A neighbour says nothing any more.
    pub(super) fn forget_claims_of(&mut self, neighbour: &DeviceId) {
        let Some(said_in) = self.books.get_mut(neighbour).map(|book| book.claims_in.take()) else { return };
        if said_in.is_none() {
            return;
        }
        for (id, book) in &mut self.books {
            if book.claims.remove(neighbour) {
                self.touched.insert(*id);
            }
        }
    }

    /// What a neighbour says counts only while it is awake and speaks with us.
    pub(super) fn touch_claimed_by(&mut self, neighbour: &DeviceId) {
        for (id, book) in &self.books {
            if book.claims.of(neighbour) {
                self.touched.insert(*id);
            }
        }
    }
}

/// Whether two sources are the same but for the round-trip time.
pub(super) fn same_source(a: Source, b: Source) -> bool {
    match (a, b) {
        (Source::Via { neighbour: a, hops: i, .. }, Source::Via { neighbour: b, hops: j, .. }) => {
            (a, i) == (b, j)
        }
        (a, b) => a == b,
    }
}

/// Whether our own link to it only rests.
pub(super) fn rests(entry: &RosterEntry) -> bool {
    entry.link.as_ref().is_some_and(|link| link.resting)
}

fn rank(seen: Seen) -> u8 {
    match seen {
        Seen::Online => 0,
        Seen::Asleep => 1,
        Seen::Suspect => 2,
        Seen::Offline => 3,
    }
}

fn presence(seen: Seen) -> Presence {
    match seen {
        Seen::Online => Presence::Online,
        Seen::Suspect => Presence::Suspect,
        Seen::Asleep => Presence::Asleep,
        Seen::Offline => Presence::Offline,
    }
}

fn seen(presence: Presence) -> Seen {
    match presence {
        Presence::Online => Seen::Online,
        Presence::Suspect => Seen::Suspect,
        Presence::Asleep => Seen::Asleep,
        Presence::Offline => Seen::Offline,
    }
}
