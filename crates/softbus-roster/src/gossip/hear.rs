//! What others say: requests and answers, checked and taken in, and what is answered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::roster::{self as wire, Digest, Gossip, Now};
use softbus_core::{DeviceId, DynamicProfile, ErrorCode, Signed, WallMs};
use tokio::time::Instant;

use super::{Action, RosterMachine};
use crate::profile::Believed;
use crate::{Sampled, limits, present};

impl RosterMachine {
    pub(super) fn answer(
        &mut self,
        from: DeviceId,
        gossip: Gossip,
        now: Instant,
        wall: WallMs,
        actions: &mut Vec<Action>,
    ) -> Result<Gossip, ErrorCode> {
        if !self.speaks(&from) {
            return Err(ErrorCode::Forbidden);
        }
        if !self.spend_credit(from, now) {
            return Err(ErrorCode::Busy);
        }
        if !gossip.within_limits() {
            return Err(ErrorCode::Malformed);
        }
        let (want, ask, summary) = (gossip.want.clone(), gossip.ask.clone(), gossip.summary);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.speaks_after_all();
        }
        // Profiles are only taken in answer to our own question.
        self.hear(from, Gossip { profiles: Vec::new(), ..gossip }, now, wall, actions);
        let mut answer = Gossip { boot: self.boot, ..Gossip::default() };
        if let Some(theirs) = summary {
            let digests = self.digests_for(&from);
            if wire::summary(digests.iter()) != theirs {
                answer.digests = digests;
            }
            if let Some(peer) = self.peers.get_mut(&from) {
                // It begins anew with us: it may have forgotten all we told it.
                peer.claims_due = true;
                peer.now_due = true;
            }
        }
        self.give_profiles(&from, &want, &mut answer);
        answer.now = ask.iter().filter_map(|id| self.give_now(&from, id, now)).collect();
        Ok(answer)
    }

    pub(super) fn give_profiles(&self, to: &DeviceId, want: &[DeviceId], answer: &mut Gossip) {
        let mut room = wire::PROFILES_BYTES;
        let mut given = BTreeSet::new();
        for id in want {
            let Some(believed) = self.books.get(id).and_then(|book| book.profile.as_ref()) else { continue };
            if (*id != self.me && !self.trust.may_know(to, id)) || !given.insert(*id) {
                continue;
            }
            let Some(rest) = room.checked_sub(believed.signed.body.len()) else { break };
            room = rest;
            answer.profiles.push(Signed::clone(&believed.signed));
        }
    }

    /// Ours, or what a device told us itself a short while ago; never what we have at third hand.
    /// Ours is signed when it is first told, once for all.
    pub(super) fn give_now(&mut self, to: &DeviceId, id: &DeviceId, now: Instant) -> Option<Now> {
        let sampled = self.books.get(id)?.now.as_ref()?;
        let age = sampled.age(now);
        let own = *id == self.me;
        if !self.trust.tells_now(to) {
            return None;
        }
        let fit = own || (sampled.from == *id && age <= limits::DYNAMIC_RELAY && self.trust.may_know(to, id));
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        if !fit {
            return None;
        }
        let book = self.books.get_mut(id)?;
        if own && book.now_signed.is_none() {
            book.now_signed =
                present::sign(&*self.signer, self.boot, &book.now.as_ref()?.profile).map(Arc::new);
        }
        Some(Now { age_ms, signed: book.now_signed.as_deref()?.clone() })
    }

    /// Takes in what a message says. Returns how many profiles were news.
    pub(super) fn hear(
        &mut self,
        from: DeviceId,
        gossip: Gossip,
        now: Instant,
        wall: WallMs,
        actions: &mut Vec<Action>,
    ) -> usize {
        let book = self.book(from);
        let lower = book.boot.filter(|(boot, _)| gossip.boot < *boot);
        if lower.is_some_and(|(_, heard)| now.saturating_duration_since(heard) < limits::BOOT_SILENCE) {
            return 0; // from before its restart, overtaken on the way
        }
        book.boot = Some((gossip.boot, now));
        for digest in gossip.digests {
            self.hear_digest(from, digest);
        }
        let mut taken = 0;
        for signed in gossip.profiles {
            taken += usize::from(self.hear_profile(from, signed, wall, actions));
        }
        for heard in gossip.now {
            self.hear_now(from, heard, now, wall);
        }
        self.hear_claims(from, gossip.boot, gossip.all_claims, gossip.claims);
        taken
    }

    /// Somebody holds this version of a profile.
    pub(super) fn hear_digest(&mut self, from: DeviceId, digest: Digest) {
        let known = digest.id == self.me || self.trust.devices.contains_key(&digest.id);
        if !known || !self.may_tell_of(&from, &digest.id) {
            return;
        }
        let ours = self.books.get(&digest.id).and_then(|book| book.profile.as_ref()).map(|b| b.digest);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        match ours {
            Some(ours) if !digest.newer_than(&ours) => {
                peer.want.remove(&digest.id);
                if ours.newer_than(&digest) {
                    peer.digests.insert(digest.id);
                }
            }
            _ => {
                peer.want.insert(digest.id, digest);
            }
        }
    }

    /// The peer listed all that it holds: what is missing there is news for it.
    pub(super) fn tell_missing(&mut self, from: DeviceId, theirs: &[Digest]) {
        let theirs: BTreeSet<_> = theirs.iter().map(|digest| digest.id).collect();
        let missing: Vec<_> =
            self.digests_for(&from).iter().map(|d| d.id).filter(|id| !theirs.contains(id)).collect();
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.digests.extend(missing);
        }
    }

    pub(super) fn hear_profile(
        &mut self,
        from: DeviceId,
        signed: Signed,
        wall: WallMs,
        actions: &mut Vec<Action>,
    ) -> bool {
        let subject = signed.signer;
        let known = self.books.get(&subject).and_then(|book| book.profile.as_ref()).map(|b| b.digest);
        let trusted = subject == self.me || self.trust.devices.contains_key(&subject);
        if !trusted
            || !self.may_tell_of(&from, &subject)
            || known.is_some_and(|known| known.hash == signed.hash())
        {
            return false;
        }
        let believed = match self.believe(signed, wall) {
            Ok(believed) => believed,
            Err(error) => {
                tracing::debug!(%subject, %from, %error, "refused a profile");
                return false;
            }
        };
        let digest = believed.digest;
        if let Some(known) = known {
            if known.version == digest.version {
                tracing::warn!(device = %subject, version = digest.version, %from,
                    "a device signed two profiles with one version: its key may be in use twice");
            }
            if !digest.newer_than(&known) {
                return false;
            }
        }
        if subject == self.me {
            actions.push(Action::Outrun(digest.version));
            return false;
        }
        actions.push(Action::Persist(Signed::clone(&believed.signed)));
        self.accept(believed, Some(from));
        true
    }

    pub(super) fn accept(&mut self, believed: Believed, from: Option<DeviceId>) {
        let id = believed.digest.id;
        let digest = believed.digest;
        self.aging.note_profile(believed.profile.expires);
        self.book(id).profile = Some(believed);
        self.touched.insert(id);
        for (peer_id, peer) in &mut self.peers {
            if peer.want.get(&id).is_some_and(|want| !want.newer_than(&digest)) {
                peer.want.remove(&id);
            }
            // Also to those that seemed to have it: what they said may have been overtaken on the way.
            if Some(*peer_id) != from {
                peer.digests.insert(id);
            }
        }
    }

    pub(super) fn hear_now(&mut self, from: DeviceId, heard: Now, now: Instant, wall: WallMs) {
        let id = heard.signed.signer;
        if id == self.me || !self.trust.devices.contains_key(&id) || !self.may_tell_of(&from, &id) {
            return;
        }
        let direct = id == from;
        let Ok(said) = present::read(&heard.signed) else { return };
        // Whoever passes it on cannot make it younger than it says itself.
        let by_wall = if direct { 0 } else { wall.0.saturating_sub(said.profile.sampled.0) };
        let age = Duration::from_millis(heard.age_ms.max(by_wall).min(u64::from(u32::MAX)));
        if !direct && (age > limits::DYNAMIC_RELAY || self.peers.contains_key(&id)) {
            return; // too old, or we hear it ourselves
        }
        let book = self.book(id);
        let news = book.now.as_ref().is_none_or(|known| {
            // Its own word goes over hearsay, and over a boot that it is not in any more.
            let over = direct
                && (known.from != id
                    || (known.boot != said.boot && book.boot.map(|b| b.0) == Some(said.boot)));
            over || (said.boot, said.profile.sequence) > (known.boot, known.profile.sequence)
        });
        if !news {
            return;
        }
        if !direct && let Err(error) = present::check(&heard.signed, &said, wall) {
            tracing::debug!(subject = %id, %from, %error, "refused a dynamic profile");
            return;
        }
        let at = now.checked_sub(age).unwrap_or(now);
        self.aging.note_now(at);
        let book = self.book(id);
        book.now = Some(Arc::new(Sampled { boot: said.boot, at, from, profile: sane(said.profile) }));
        book.now_signed = Some(Arc::new(heard.signed));
        self.touched.insert(id);
    }

    /// Whether the peer may send one more request now (a bucket of [`limits::REQUEST_BURST`], refilled at
    /// [`limits::REQUEST_RATE`]).
    pub(super) fn spend_credit(&mut self, from: DeviceId, now: Instant) -> bool {
        let most = u64::from(limits::REQUEST_BURST) * 1000;
        let (credit, since) = self.book(from).credit.unwrap_or((most, now));
        let passed = u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
        let credit = credit.saturating_add(passed.saturating_mul(limits::REQUEST_RATE.into())).min(most);
        let left = credit.checked_sub(1000);
        self.book(from).credit = Some((left.unwrap_or(credit), now));
        left.is_some()
    }
}

/// Foreign values brought within their ranges.
fn sane(mut profile: DynamicProfile) -> DynamicProfile {
    profile.load_permille = profile.load_permille.min(1000);
    profile.battery_permille = profile.battery_permille.map(|b| b.min(1000));
    profile
}
