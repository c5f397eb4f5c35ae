//! The roster's state machine: what is known of each device, what each neighbour must still hear, what is
//! told and asked next. Takes events and the time, gives actions; owns no socket, clock or disk.
//!
//! Per neighbour there is a list of what is still to be told ([`peer::Peer`]) instead of a queue of messages:
//! however much happens while a request is under way, the next one carries only how things are by then.

mod peer;
mod sight;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::roster::{self as wire, Claim, Digest, Gossip, Now};
use softbus_core::{DeviceId, DynamicProfile, ErrorCode, Hash, Signed, WallMs};
use softbus_net::{LinkInfo, Links, Presence};
use softbus_trust::Role;
use tokio::time::Instant;

use crate::matters::by_a_part;
use crate::profile::Believed;
use crate::{Event, Numbered, ProfileError, RosterEntry, RosterView, Sampled, Source, limits, matters};
use peer::{InFlight, Peer};

/// How often the machine looks for what has grown old.
const SWEEP: Duration = Duration::from_secs(1);
/// How often neighbours compare their sums even if nothing seems to have changed.
const COMPARE_EVERY: Duration = Duration::from_secs(300);

/// Whom we trust.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trust {
    /// Our own role, if we are in a circle.
    pub own_role: Option<Role>,
    /// Every trusted device but ourselves.
    pub devices: BTreeMap<DeviceId, Member>,
    /// Devices of one group may know of one another.
    pub groups: Vec<BTreeSet<DeviceId>>,
}

/// What a trusted device is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its role.
    pub role: Role,
    /// Whether it may speak `roster/1` with us; if not, it is told nothing either.
    pub speaks: bool,
}

impl Trust {
    /// Whether `who` may know of `whom`.
    fn may_know(&self, who: &DeviceId, whom: &DeviceId) -> bool {
        who == whom || self.groups.iter().any(|group| group.contains(who) && group.contains(whom))
    }
}

/// What the driver has to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Send a request; give its end to [`RosterMachine::answered`] with the same token.
    Send {
        /// To whom.
        to: DeviceId,
        /// Names the request.
        token: u64,
        /// The request.
        gossip: Gossip,
    },
    /// Keep this profile for the next start.
    Persist(Signed),
    /// Forget this device's profile.
    Forget(DeviceId),
    /// A profile under our own key is about with this version: ours must go beyond.
    Outrun(u64),
}

/// Why a request got no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The peer does not speak `roster/1` with us.
    Refused,
    /// Anything that may be better next time.
    Failed,
}

/// What is known of one device.
#[derive(Default)]
struct Book {
    profile: Option<Believed>,
    now: Option<Sampled>,
    /// The last dynamic profile an event was emitted for.
    now_told: Option<DynamicProfile>,
    /// The boot of the device by its own word, and when it last spoke in it.
    boot: Option<(u64, Instant)>,
    /// What neighbours say of it, and the boot they said it in.
    claims: BTreeMap<DeviceId, (u64, Claim)>,
    /// We lost sight of it ourselves; till then what others say does not count.
    held: Option<Instant>,
    /// Link quality as of the last event.
    link_told: Option<LinkInfo>,
    /// Requests it may still send now, in thousandths, and as of when.
    credit: Option<(u64, Instant)>,
}

/// The pure part of the roster.
pub struct RosterMachine {
    me: DeviceId,
    boot: u64,
    tell_every: Duration,
    trust: Trust,
    links: Arc<Links>,
    books: BTreeMap<DeviceId, Book>,
    peers: BTreeMap<DeviceId, Peer>,
    /// Profiles under way, and from whom.
    fetching: BTreeMap<DeviceId, DeviceId>,
    sequence: u64,
    token: u64,
    sweep_at: Option<Instant>,
    touched: BTreeSet<DeviceId>,
    view: RosterView,
    events: Vec<Numbered>,
    dirty: bool,
}

impl RosterMachine {
    /// The roster of `me` in its `boot`th start, which tells how it is every `tell_every` at least.
    pub fn new(me: DeviceId, boot: u64, tell_every: Duration) -> Self {
        let mut machine = Self {
            me,
            boot,
            tell_every,
            trust: Trust::default(),
            links: Arc::default(),
            books: BTreeMap::from([(me, Book::default())]),
            peers: BTreeMap::new(),
            fetching: BTreeMap::new(),
            sequence: 0,
            token: 0,
            sweep_at: None,
            touched: BTreeSet::from([me]),
            view: RosterView::empty(me),
            events: Vec::new(),
            dirty: false,
        };
        machine.refresh(None);
        machine
    }

    /// Nth start of this device.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// The view and the events since the last call; `None` if nothing changed.
    pub fn take_changes(&mut self) -> Option<(RosterView, Vec<Numbered>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.then(|| (self.view.clone(), std::mem::take(&mut self.events)))
    }

    /// The view now.
    pub fn view(&self) -> &RosterView {
        &self.view
    }

    /// A profile kept from an earlier start. Nothing is believed that would not be believed from the network.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn restore(&mut self, signed: Signed, wall: WallMs) -> Result<(), ProfileError> {
        let believed = Believed::check(signed, wall)?;
        let id = believed.digest.id;
        if id != self.me && self.trust.devices.contains_key(&id) {
            self.book(id).profile = Some(believed);
            self.touched.insert(id);
            self.refresh(None);
        }
        Ok(())
    }

    /// Whom we trust changed. The removed vanish at once.
    pub fn trust(&mut self, mut trust: Trust, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        trust.devices.remove(&self.me);
        while trust.devices.len() >= limits::DEVICES {
            // The bound of a roster is far above that of a circle; who is beyond is chosen by id, so that it
            // does not change from call to call.
            trust.devices.pop_last();
        }
        if trust == self.trust {
            return actions;
        }
        let gone: Vec<_> =
            self.trust.devices.keys().filter(|id| !trust.devices.contains_key(id)).copied().collect();
        for id in &gone {
            self.books.remove(id);
            self.drop_peer(id);
            for (other, book) in &mut self.books {
                if book.claims.remove(id).is_some() {
                    self.touched.insert(*other);
                }
            }
            for peer in self.peers.values_mut() {
                peer.forget(id);
            }
            self.touched.insert(*id);
            actions.push(Action::Forget(*id));
        }
        for id in trust.devices.keys() {
            self.books.entry(*id).or_default();
            self.touched.insert(*id);
        }
        self.touched.insert(self.me);
        self.trust = trust;
        let muted: Vec<_> = self.peers.keys().filter(|id| !self.speaks(id)).copied().collect();
        muted.iter().for_each(|id| self.drop_peer(id));
        for peer in self.peers.values_mut() {
            // Who may know whom may have changed: compare anew.
            peer.restart();
        }
        let links = self.links.clone();
        self.follow(&Arc::default(), &links, now);
        self.settle(now, &mut actions);
        actions
    }

    /// Links changed.
    pub fn links(&mut self, links: Arc<Links>, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let before = std::mem::replace(&mut self.links, links.clone());
        self.follow(&before, &links, now);
        self.settle(now, &mut actions);
        actions
    }

    /// Our own static profile, after its version was made durable.
    pub fn own(&mut self, believed: Believed, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if believed.digest.id == self.me {
            self.accept(believed, None);
            self.settle(now, &mut actions);
        }
        actions
    }

    /// How this device is right now (its sequence is counted here).
    pub fn sampled(&mut self, profile: DynamicProfile, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        self.sequence += 1;
        let profile = DynamicProfile { sequence: self.sequence, ..profile };
        let (me, boot) = (self.me, self.boot);
        let book = self.book(me);
        let at_once = book.now_told.as_ref().is_none_or(|told| matters(told, &profile));
        book.now = Some(Sampled { boot, at: now, from: me, profile });
        if at_once {
            self.peers.values_mut().for_each(|peer| peer.now_due = true);
        }
        self.touched.insert(me);
        self.settle(now, &mut actions);
        actions
    }

    /// A request of a peer, and what to answer.
    pub fn requested(
        &mut self,
        from: DeviceId,
        gossip: Gossip,
        now: Instant,
        wall: WallMs,
    ) -> (Result<Gossip, ErrorCode>, Vec<Action>) {
        let mut actions = Vec::new();
        let answer = self.answer(from, gossip, now, wall, &mut actions);
        self.settle(now, &mut actions);
        (answer, actions)
    }

    /// The end of the request with this token.
    pub fn answered(
        &mut self,
        from: DeviceId,
        token: u64,
        result: Result<Gossip, Failure>,
        now: Instant,
        wall: WallMs,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(in_flight) = self.peers.get_mut(&from).and_then(|peer| peer.landed(token)) else {
            return actions; // of a connection that is no more
        };
        for id in &in_flight.want {
            self.fetching.remove(id);
        }
        match result {
            Ok(gossip) if gossip.within_limits() => {
                if in_flight.compared && !gossip.digests.is_empty() {
                    self.tell_missing(from, &gossip.digests);
                }
                let taken = self.hear(from, gossip, now, wall, &mut actions);
                let (held, peers) = (&self.books, &mut self.peers);
                if let Some(peer) = peers.get_mut(&from) {
                    peer.succeeded(now);
                    // What was refused or not given is not asked for again, unless there were too many for
                    // one answer.
                    for id in &in_flight.want {
                        let newest = held.get(id).and_then(|b| b.profile.as_ref()).map(|b| b.digest);
                        let has = newest
                            .is_some_and(|have| peer.want.get(id).is_none_or(|want| !want.newer_than(&have)));
                        if has || taken == 0 {
                            peer.want.remove(id);
                        }
                    }
                }
            }
            Ok(_) => self.failed(from, in_flight, Failure::Failed, now),
            Err(failure) => self.failed(from, in_flight, failure, now),
        }
        self.settle(now, &mut actions);
        actions
    }

    /// A dynamic profile heard beside the protocol (as the answer to a direct question).
    pub fn told(&mut self, from: DeviceId, gossip: Gossip, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.speaks(&from) && gossip.within_limits() {
            gossip.now.into_iter().for_each(|heard| self.hear_now(from, heard, now));
            self.settle(now, &mut actions);
        }
        actions
    }

    /// Time passed; call at [`RosterMachine::deadline`] at the latest.
    pub fn tick(&mut self, now: Instant, wall: WallMs) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.sweep_at.is_none_or(|at| now >= at) {
            self.sweep_at = Some(now + SWEEP);
            self.sweep(now, wall, &mut actions);
        }
        self.settle(now, &mut actions);
        actions
    }

    /// When something is due without anything happening. Always within a second or so of `now`.
    pub fn deadline(&self, now: Instant) -> Instant {
        let holds = self.books.values().filter_map(|book| book.held);
        let own = self.books.get(&self.me).is_some_and(|book| book.now.is_some());
        let peers = self.peers.values().filter_map(|peer| peer.deadline(own, self.tell_every, now));
        holds.chain(peers).chain(self.sweep_at).min().unwrap_or(now)
    }

    // ---- what others say -------------------------------------------------------------------------------

    fn answer(
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

    fn give_profiles(&self, to: &DeviceId, want: &[DeviceId], answer: &mut Gossip) {
        let mut room = wire::PROFILES_BYTES;
        let mut given = BTreeSet::new();
        for id in want {
            let Some(believed) = self.books.get(id).and_then(|book| book.profile.as_ref()) else { continue };
            if (*id != self.me && !self.trust.may_know(to, id)) || !given.insert(*id) {
                continue;
            }
            let Some(rest) = room.checked_sub(believed.signed.body.len()) else { break };
            room = rest;
            answer.profiles.push(believed.signed.clone());
        }
    }

    /// Ours, or what a device told us itself a short while ago; never what we have at third hand.
    fn give_now(&self, to: &DeviceId, id: &DeviceId, now: Instant) -> Option<Now> {
        let sampled = self.books.get(id)?.now.as_ref()?;
        let age = sampled.age(now);
        let own = *id == self.me;
        let fit = own || (sampled.from == *id && age <= limits::DYNAMIC_RELAY && self.trust.may_know(to, id));
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        fit.then(|| Now { id: *id, boot: sampled.boot, age_ms, profile: sampled.profile.clone() })
    }

    /// Takes in what a message says. Returns how many profiles were news.
    fn hear(
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
            self.hear_now(from, heard, now);
        }
        self.hear_claims(from, gossip.boot, gossip.all_claims, gossip.claims);
        taken
    }

    /// Somebody holds this version of a profile.
    fn hear_digest(&mut self, from: DeviceId, digest: Digest) {
        if digest.id != self.me && !self.trust.devices.contains_key(&digest.id) {
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
    fn tell_missing(&mut self, from: DeviceId, theirs: &[Digest]) {
        let theirs: BTreeSet<_> = theirs.iter().map(|digest| digest.id).collect();
        let missing: Vec<_> =
            self.digests_for(&from).iter().map(|d| d.id).filter(|id| !theirs.contains(id)).collect();
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.digests.extend(missing);
        }
    }

    fn hear_profile(
        &mut self,
        from: DeviceId,
        signed: Signed,
        wall: WallMs,
        actions: &mut Vec<Action>,
    ) -> bool {
        let subject = signed.signer;
        let known = self.books.get(&subject).and_then(|book| book.profile.as_ref()).map(|b| b.digest);
        let trusted = subject == self.me || self.trust.devices.contains_key(&subject);
        if !trusted || known.is_some_and(|known| known.hash == signed.hash()) {
            return false;
        }
        let believed = match Believed::check(signed, wall) {
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
        actions.push(Action::Persist(believed.signed.clone()));
        self.accept(believed, Some(from));
        true
    }

    fn accept(&mut self, believed: Believed, from: Option<DeviceId>) {
        let id = believed.digest.id;
        let digest = believed.digest;
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

    fn hear_now(&mut self, from: DeviceId, heard: Now, now: Instant) {
        let id = heard.id;
        if id == self.me || !self.trust.devices.contains_key(&id) {
            return;
        }
        let direct = id == from;
        let age = Duration::from_millis(heard.age_ms.min(u64::from(u32::MAX)));
        if !direct && (age > limits::DYNAMIC_RELAY || self.peers.contains_key(&id)) {
            return; // too old, or we hear it ourselves
        }
        let book = self.book(id);
        let news = book.now.as_ref().is_none_or(|known| {
            // Its own word goes over hearsay, and over a boot that it is not in any more.
            let over = direct
                && (known.from != id
                    || (known.boot != heard.boot && book.boot.map(|b| b.0) == Some(heard.boot)));
            over || (heard.boot, heard.profile.sequence) > (known.boot, known.profile.sequence)
        });
        if !news {
            return;
        }
        let at = now.checked_sub(age).unwrap_or(now);
        book.now = Some(Sampled { boot: heard.boot, at, from, profile: sane(heard.profile) });
        self.touched.insert(id);
    }

    // ---- what we tell ----------------------------------------------------------------------------------

    /// Digests of all profiles that `to` may know, in order.
    fn digests_for(&self, to: &DeviceId) -> Vec<Digest> {
        let fit = |id: &DeviceId| *id == self.me || self.trust.may_know(to, id);
        let known = self.books.iter().filter(|(id, _)| fit(id));
        known.filter_map(|(_, book)| book.profile.as_ref().map(|b| b.digest)).collect()
    }

    /// Brings entries, events and claims up to date, then sends to every peer what it should hear.
    fn settle(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.refresh(Some(now));
        let ready: Vec<_> =
            self.peers.iter().filter(|(_, peer)| peer.ready(now)).map(|(id, _)| *id).collect();
        for to in ready {
            if let Some((token, gossip)) = self.compose(to, now) {
                actions.push(Action::Send { to, token, gossip });
            }
        }
    }

    /// The next request to a peer, if there is anything to say.
    fn compose(&mut self, to: DeviceId, now: Instant) -> Option<(u64, Gossip)> {
        let own_now = self.give_now(&to, &self.me, now);
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
        let due = peer.now_due
            || peer.told_now_at.is_none_or(|at| now.saturating_duration_since(at) >= self.tell_every);
        if due && let Some(own) = own_now {
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

        let mut nothing = gossip.clone();
        nothing.boot = 0;
        let peer = self.peers.get_mut(&to)?;
        if nothing.is_empty() {
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

    fn failed(&mut self, from: DeviceId, in_flight: InFlight, failure: Failure, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.failed(in_flight, failure, now);
        }
    }

    // ---- links, time and the view ----------------------------------------------------------------------

    /// Follows the links from `before` to `after`: who can be spoken to, who was lost.
    fn follow(&mut self, before: &Links, after: &Links, now: Instant) {
        let ids: Vec<_> = self.trust.devices.keys().copied().collect();
        for id in ids {
            let (old, new) = (before.get(&id), after.get(&id));
            if old == new && self.peers.contains_key(&id) == (awake(new) && self.speaks(&id)) {
                continue;
            }
            self.touched.insert(id);
            let was = old.is_some_and(|link| link.presence != Presence::Offline);
            let is = new.is_some_and(|link| link.presence != Presence::Offline);
            let book = self.book(id);
            if was && !is {
                book.held = Some(now + limits::HOLD_DOWN);
            } else if is {
                book.held = None;
            }
            let generation = new.map_or(0, |link| link.generation);
            let has = self.peers.get(&id).map(|peer| peer.generation);
            if !awake(new) || !self.speaks(&id) {
                if has.is_some() {
                    self.drop_peer(&id);
                }
            } else if has != Some(generation) {
                self.drop_peer(&id);
                self.peers.insert(id, Peer::new(generation));
            }
            if was != is {
                self.touch_claimed_by(&id);
            }
        }
    }

    fn drop_peer(&mut self, id: &DeviceId) {
        self.peers.remove(id);
        self.fetching.retain(|_, from| from != id);
    }

    fn sweep(&mut self, now: Instant, wall: WallMs, actions: &mut Vec<Action>) {
        for peer in self.peers.values_mut() {
            // A request of which not even the end was heard: its job died.
            if let Some(lost) = peer.overdue(now) {
                self.fetching.retain(|id, _| !lost.want.contains(id));
                peer.failed(lost, Failure::Failed, now);
            }
        }
        for (id, book) in &mut self.books {
            if *id != self.me && book.profile.as_ref().is_some_and(|b| b.expired(wall)) {
                book.profile = None;
                self.touched.insert(*id);
                actions.push(Action::Forget(*id));
            }
            if *id != self.me && book.now.as_ref().is_some_and(|n| n.age(now) > limits::DYNAMIC_KEEP) {
                book.now = None;
                self.touched.insert(*id);
            }
        }
    }

    /// Makes the entries of touched devices anew and notes what changed.
    fn refresh(&mut self, now: Option<Instant>) {
        if let Some(now) = now {
            for (id, book) in &mut self.books {
                if book.held.is_some_and(|until| now >= until) {
                    book.held = None;
                    self.touched.insert(*id);
                }
            }
        }
        for id in std::mem::take(&mut self.touched) {
            let new = self.entry(&id);
            let old = self.view.entries.get(&id).cloned();
            match (old, new) {
                (None, None) => {}
                (Some(_), None) => {
                    self.view.entries.remove(&id);
                    self.event(Event::Left { id });
                }
                (None, Some(new)) => {
                    self.event(Event::Joined { id });
                    let blank =
                        RosterEntry { presence: Presence::Offline, source: Source::Nobody, ..blank(&new) };
                    self.compare(&blank, &new);
                    self.view.entries.insert(id, Arc::new(new));
                    self.dirty = true;
                }
                (Some(old), Some(new)) if *old != new => {
                    self.compare(&old, &new);
                    self.view.entries.insert(id, Arc::new(new));
                    self.dirty = true;
                }
                _ => {}
            }
        }
    }

    fn compare(&mut self, old: &RosterEntry, new: &RosterEntry) {
        let id = new.id;
        if old.role != new.role {
            self.event(Event::RoleChanged { id, role: new.role });
        }
        if old.profile != new.profile {
            self.event(Event::ProfileChanged { id });
        }
        if old.presence != new.presence || !sight::same_source(old.source, new.source) {
            let (from, to, source) = (old.presence, new.presence, new.source);
            self.event(Event::PresenceChanged { id, from, to, source });
            for peer in self.peers.values_mut() {
                peer.claims.insert(id);
            }
        }
        let Some(book) = self.books.get_mut(&id) else { return };
        let mut changed = Vec::new();
        let now = new.now.as_ref().map(|now| &now.profile);
        let news = match (&book.now_told, now) {
            (Some(told), Some(now)) => {
                matters(told, now) || old.now.as_ref().map(|o| o.boot) != new.now.as_ref().map(|n| n.boot)
            }
            (told, now) => told.is_some() != now.is_some(),
        };
        if news {
            book.now_told = now.cloned();
            changed.push(Event::NowChanged { id });
        }
        if link_matters(book.link_told.as_ref(), new.link.as_ref()) {
            book.link_told.clone_from(&new.link);
            changed.push(Event::LinkChanged { id });
        }
        changed.into_iter().for_each(|event| self.event(event));
    }

    fn event(&mut self, event: Event) {
        self.dirty = true;
        self.view.seq += 1;
        self.events.push(Numbered { seq: self.view.seq, event });
    }

    fn entry(&self, id: &DeviceId) -> Option<RosterEntry> {
        let role = if *id == self.me { self.trust.own_role } else { Some(self.trust.devices.get(id)?.role) };
        let book = self.books.get(id)?;
        let (presence, source) = self.sight(id);
        Some(RosterEntry {
            id: *id,
            role,
            presence,
            source,
            profile: book.profile.as_ref().map(|b| b.profile.clone()),
            now: book.now.clone(),
            link: self.links.get(id).cloned(),
        })
    }

    fn book(&mut self, id: DeviceId) -> &mut Book {
        self.books.entry(id).or_default()
    }

    fn speaks(&self, id: &DeviceId) -> bool {
        self.trust.devices.get(id).is_some_and(|member| member.speaks)
    }

    /// Whether the peer may send one more request now (a bucket of [`limits::REQUEST_BURST`], refilled at
    /// [`limits::REQUEST_RATE`]).
    fn spend_credit(&mut self, from: DeviceId, now: Instant) -> bool {
        let most = u64::from(limits::REQUEST_BURST) * 1000;
        let (credit, since) = self.book(from).credit.unwrap_or((most, now));
        let passed = u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
        let credit = credit.saturating_add(passed.saturating_mul(limits::REQUEST_RATE.into())).min(most);
        let left = credit.checked_sub(1000);
        self.book(from).credit = Some((left.unwrap_or(credit), now));
        left.is_some()
    }
}

fn blank(entry: &RosterEntry) -> RosterEntry {
    RosterEntry { profile: None, now: None, link: None, ..entry.clone() }
}

fn awake(link: Option<&LinkInfo>) -> bool {
    link.is_some_and(|link| matches!(link.presence, Presence::Online | Presence::Suspect))
}

/// Whether a link's connection or address changed, or its quality by so much that it matters.
fn link_matters(old: Option<&LinkInfo>, new: Option<&LinkInfo>) -> bool {
    match (old, new) {
        (Some(a), Some(b)) => {
            let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
            a.id != b.id
                || a.generation != b.generation
                || a.address != b.address
                || a.dialled != b.dialled
                || a.loss_permille.abs_diff(b.loss_permille) >= 50
                || by_a_part(micros(a.rtt), micros(b.rtt), 2)
                || by_a_part(a.rate_bytes_per_s, b.rate_bytes_per_s, 2)
        }
        (a, b) => a.is_some() != b.is_some(),
    }
}

/// Foreign values brought within their ranges.
fn sane(mut profile: DynamicProfile) -> DynamicProfile {
    profile.load_permille = profile.load_permille.min(1000);
    profile.battery_permille = profile.battery_permille.map(|b| b.min(1000));
    profile
}

/// The sum of all profiles held, to compare rosters in tests and diagnoses.
impl RosterMachine {
    /// Sum over the digests of every profile in the roster, ours included.
    pub fn sum(&self) -> Hash {
        let digests = self.books.values().filter_map(|book| book.profile.as_ref().map(|b| &b.digest));
        wire::summary(digests)
    }
}
