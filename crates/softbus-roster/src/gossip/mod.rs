//! The roster's state machine: what is known of each device, what each neighbour must still hear, what is
//! told and asked next. Takes events and the time, gives actions; owns no socket, clock or disk.
//!
//! Per neighbour there is a list of what is still to be told (`peer.rs`) instead of a queue of messages:
//! however much happens while a request is under way, the next one carries only how things are by then.

mod aging;
mod claims;
mod hear;
mod peer;
mod sight;
mod tell;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::roster::{self as wire, Gossip};
use softbus_core::{DeviceId, DynamicProfile, ErrorCode, Hash, Signed, Signer, StaticProfile, WallMs};
use softbus_net::{Group, LinkInfo, Links, Presence};
use softbus_trust::Role;
use tokio::time::Instant;

use crate::matters::by_a_part;
use crate::profile::Believed;
use crate::{
    Changes, Checked, Event, Numbered, ProfileError, RosterEntry, RosterView, Sampled, Source, limits,
    matters,
};
use aging::Aging;
use claims::Claims;
use peer::Peer;

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
    /// Our circles: who may know of whom.
    pub groups: Vec<Group>,
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
    /// Whether `who` may know of `whom` from us: in one of our circles both of us are members or owners, and `whom`
    /// is of that circle, too. Where we are a guest, we speak of nobody but ourselves.
    fn may_know(&self, who: &DeviceId, whom: &DeviceId) -> bool {
        who == whom || self.homes().any(|circle| circle.shows(who, whom))
    }

    /// Whether what `from` says of `whom` counts: it is a member or an owner of a circle that `whom` is of.
    fn may_tell(&self, from: &DeviceId, whom: &DeviceId) -> bool {
        from == whom || self.groups.iter().any(|circle| circle.shows(from, whom))
    }

    /// Whether we and `peer` tell each other how we are right now. With a guest only names and kinds are exchanged.
    fn tells_now(&self, peer: &DeviceId) -> bool {
        self.homes().any(|circle| circle.is_home_of(peer))
    }

    /// The circles that we are a member or an owner of.
    fn homes(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|circle| circle.own != Role::Guest)
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
    now: Option<Arc<Sampled>>,
    /// That, as its device signed it; for our own, once it is told.
    now_signed: Option<Arc<Signed>>,
    /// The last dynamic profile an event was emitted for.
    now_told: Option<Arc<Sampled>>,
    /// The boot of the device by its own word, and when it last spoke in it.
    boot: Option<(u64, Instant)>,
    /// What neighbours say of it.
    claims: Claims,
    /// The boot in which it says what it says of others, as of its last word; `None` if it says nothing.
    claims_in: Option<u64>,
    /// Link quality as of the last event.
    link_told: Option<Arc<LinkInfo>>,
    /// Requests it may still send now, in thousandths, and as of when.
    credit: Option<(u64, Instant)>,
}

/// The pure part of the roster.
pub struct RosterMachine {
    me: DeviceId,
    signer: Arc<dyn Signer + Send + Sync>,
    boot: u64,
    tell_every: Duration,
    checked: Option<Checked>,
    trust: Trust,
    links: Arc<Links>,
    /// Boxed, as a node of the map has room for eleven.
    books: BTreeMap<DeviceId, Box<Book>>,
    /// Of whom we lost sight ourselves; till then what others say of it does not count.
    held: BTreeMap<DeviceId, Instant>,
    peers: BTreeMap<DeviceId, Box<Peer>>,
    /// Profiles under way, and from whom.
    fetching: BTreeMap<DeviceId, DeviceId>,
    sequence: u64,
    token: u64,
    sweep_at: Option<Instant>,
    /// When it was last looked who can be told something.
    settled_at: Option<Instant>,
    aging: Aging,
    touched: BTreeSet<DeviceId>,
    view: RosterView,
    events: Vec<Numbered>,
    /// Entries of the view that changed since that was last told.
    changed: BTreeSet<DeviceId>,
}

impl RosterMachine {
    /// The roster of the device whose key signs, in its `boot`th start, which tells how it is every `tell_every` at least.
    pub fn new(signer: Arc<dyn Signer + Send + Sync>, boot: u64, tell_every: Duration) -> Self {
        let me = signer.id();
        let mut machine = Self {
            me,
            signer,
            boot,
            tell_every,
            checked: None,
            trust: Trust::default(),
            links: Arc::default(),
            books: BTreeMap::from([(me, Box::default())]),
            held: BTreeMap::new(),
            peers: BTreeMap::new(),
            fetching: BTreeMap::new(),
            sequence: 0,
            token: 0,
            sweep_at: None,
            settled_at: None,
            aging: Aging::default(),
            touched: BTreeSet::from([me]),
            view: RosterView::empty(me),
            events: Vec::new(),
            changed: BTreeSet::new(),
        };
        machine.refresh(None);
        machine
    }

    /// Profiles found good by others in this process are not checked again.
    pub fn share(&mut self, checked: Option<Checked>) {
        self.checked = checked;
    }

    /// Nth start of this device.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// What changed since the last call, or since the birth of the machine; `None` if nothing did.
    pub fn take_changes(&mut self) -> Option<Changes> {
        let (ids, events) = (std::mem::take(&mut self.changed), std::mem::take(&mut self.events));
        if ids.is_empty() && events.is_empty() {
            return None;
        }
        let entries = ids.into_iter().map(|id| (id, self.view.entries.get(&id).cloned())).collect();
        Some(Changes { seq: self.view.seq, entries, events })
    }

    /// The events since the last call of this or of [`RosterMachine::take_changes`], for whoever looks at the view in place.
    pub fn take_events(&mut self) -> Vec<Numbered> {
        self.changed.clear();
        std::mem::take(&mut self.events)
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
        let believed = self.believe(signed, wall)?;
        let id = believed.digest.id;
        if id != self.me && self.trust.devices.contains_key(&id) {
            self.aging.note_profile(believed.profile.expires);
            self.book(id).profile = Some(believed);
            self.touched.insert(id);
            self.refresh(None);
        }
        Ok(())
    }

    pub(super) fn believe(&self, signed: Signed, wall: WallMs) -> Result<Believed, ProfileError> {
        let Some(checked) = &self.checked else { return Believed::check(signed, wall) };
        let believed = checked.verify(signed)?;
        believed.in_time(wall)?;
        Ok(believed)
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
            self.silence(id);
            self.books.remove(id);
            self.held.remove(id);
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
        muted.iter().for_each(|id| self.silence(id));
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
        let at_once = book.now_told.as_ref().is_none_or(|told| matters(&told.profile, &profile));
        book.now = Some(Arc::new(Sampled { boot, at: now, from: me, profile }));
        book.now_signed = None;
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
                // After a full lot of profiles the next one may follow at once.
                let full = in_flight.want.len() >= wire::PROFILES;
                let gap = if full { limits::TELL_GAP } else { limits::tell_gap(self.trust.devices.len()) };
                let (held, peers) = (&self.books, &mut self.peers);
                if let Some(peer) = peers.get_mut(&from) {
                    peer.succeeded(now, gap);
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

    /// Profiles heard beside the protocol (as the answer to a direct question).
    pub fn told(&mut self, from: DeviceId, gossip: Gossip, now: Instant, wall: WallMs) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.speaks(&from) && gossip.within_limits() {
            for signed in gossip.profiles {
                self.hear_profile(from, signed, wall, &mut actions);
            }
            gossip.now.into_iter().for_each(|heard| self.hear_now(from, heard, now, wall));
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
        let holds = self.held.values().copied();
        let own = self.books.get(&self.me).is_some_and(|book| book.now.is_some());
        let peers = self.peers.iter().filter_map(|(id, peer)| {
            let own = own && self.trust.tells_now(id);
            peer.deadline(own, self.tell_every, now, self.settled_at.unwrap_or(now))
        });
        holds.chain(peers).chain(self.sweep_at).min().unwrap_or(now)
    }

    /// Follows the links from `before` to `after`: who can be spoken to, who was lost.
    fn follow(&mut self, before: &Links, after: &Links, now: Instant) {
        // Whoever is in none of these has and had no link.
        let linked: BTreeSet<_> =
            before.keys().chain(after.keys()).chain(self.peers.keys()).copied().collect();
        for id in linked.into_iter().filter(|id| self.trust.devices.contains_key(id)).collect::<Vec<_>>() {
            let (old, new) = (before.get(&id), after.get(&id));
            if old == new && self.peers.contains_key(&id) == (awake(new) && self.speaks(&id)) {
                continue;
            }
            self.touched.insert(id);
            // That a link rests for long is no loss.
            let was = old.is_some_and(|link| link.presence != Presence::Offline && !link.resting);
            let is = new.is_some_and(|link| link.presence != Presence::Offline);
            if was && !is {
                self.held.insert(id, now + limits::hold_down(self.trust.devices.len()));
            } else if is {
                self.held.remove(&id);
            }
            let generation = new.map_or(0, |link| link.generation);
            let has = self.peers.get(&id).map(|peer| peer.generation);
            if !awake(new) || !self.speaks(&id) {
                if has.is_some() {
                    self.silence(&id);
                }
            } else if has != Some(generation) {
                self.drop_peer(&id);
                self.peers.insert(id, Box::new(Peer::new(generation)));
                self.touch_claimed_by(&id);
            }
        }
    }

    /// It cannot take back what it said (it sleeps, rests or is gone), so it counts no more. Once it is a peer again it
    /// tells all anew.
    fn silence(&mut self, id: &DeviceId) {
        self.drop_peer(id);
        self.forget_claims_of(id);
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
        self.forget_old(now, wall, actions);
    }

    /// Makes the entries of touched devices anew and notes what changed.
    fn refresh(&mut self, now: Option<Instant>) {
        if let Some(now) = now {
            self.touched.extend(self.held.extract_if(.., |_, until| now >= *until).map(|(id, _)| id));
        }
        for id in std::mem::take(&mut self.touched) {
            let new = self.entry(&id);
            let old = self.view.entries.get(&id).cloned();
            match (old, new) {
                (None, None) => {}
                (Some(_), None) => {
                    self.view.entries.remove(&id);
                    self.changed.insert(id);
                    self.event(Event::Left { id });
                }
                (None, Some(new)) => {
                    self.event(Event::Joined { id });
                    let blank =
                        RosterEntry { presence: Presence::Offline, source: Source::Nobody, ..blank(&new) };
                    self.compare(&blank, &new);
                    self.view.entries.insert(id, Arc::new(new));
                    self.changed.insert(id);
                }
                (Some(old), Some(new)) if *old != new => {
                    self.compare(&old, &new);
                    self.view.entries.insert(id, Arc::new(new));
                    self.changed.insert(id);
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
        let seen_otherwise = old.presence != new.presence || !sight::same_source(old.source, new.source);
        if seen_otherwise {
            let (from, to, source) = (old.presence, new.presence, new.source);
            self.event(Event::PresenceChanged { id, from, to, source });
        }
        if seen_otherwise || sight::rests(old) != sight::rests(new) {
            for peer in self.peers.values_mut() {
                peer.claims.insert(id);
            }
        }
        let Some(book) = self.books.get_mut(&id) else { return };
        let mut changed = Vec::new();
        let news = match (&book.now_told, &new.now) {
            (Some(told), Some(now)) => {
                matters(&told.profile, &now.profile)
                    || old.now.as_ref().map(|o| o.boot) != new.now.as_ref().map(|n| n.boot)
            }
            (told, now) => told.is_some() != now.is_some(),
        };
        if news {
            book.now_told.clone_from(&new.now);
            changed.push(Event::NowChanged { id });
        }
        if link_matters(book.link_told.as_deref(), new.link.as_deref()) {
            book.link_told.clone_from(&new.link);
            changed.push(Event::LinkChanged { id });
        }
        changed.into_iter().for_each(|event| self.event(event));
    }

    fn event(&mut self, event: Event) {
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
            profile: book.profile.as_ref().map(|b| self.shown(id, &b.profile)),
            now: book.now.clone(),
            link: self.links.get(id).cloned(),
        })
    }

    /// A profile as the view has it. Between a guest and others there is no word of how a device is, so none counts on
    /// the other for work, nor to keep checkpoints: it is shown as a device that runs no tasks.
    fn shown(&self, id: &DeviceId, profile: &Arc<StaticProfile>) -> Arc<StaticProfile> {
        if *id == self.me || self.trust.tells_now(id) || profile.task_types.is_empty() {
            return profile.clone();
        }
        Arc::new(StaticProfile { task_types: Vec::new(), ..StaticProfile::clone(profile) })
    }

    fn book(&mut self, id: DeviceId) -> &mut Book {
        self.books.entry(id).or_default()
    }

    /// Whether what `from` says of `id` counts. A guest speaks for itself; and if it has a profile of ours that we do
    /// not know, we want to hear of that.
    fn may_tell_of(&self, from: &DeviceId, id: &DeviceId) -> bool {
        *id == self.me || self.trust.may_tell(from, id)
    }

    fn speaks(&self, id: &DeviceId) -> bool {
        self.trust.devices.get(id).is_some_and(|member| member.speaks)
    }
}

fn blank(entry: &RosterEntry) -> RosterEntry {
    RosterEntry { profile: None, now: None, link: None, ..entry.clone() }
}

fn awake(link: Option<&Arc<LinkInfo>>) -> bool {
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

/// The sum of all profiles held, to compare rosters in tests and diagnoses.
impl RosterMachine {
    /// Sum over the digests of every profile in the roster, ours included.
    pub fn sum(&self) -> Hash {
        let digests = self.books.values().filter_map(|book| book.profile.as_ref().map(|b| &b.digest));
        wire::summary(digests)
    }
}
