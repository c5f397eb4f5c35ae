//! Discovery, dials, and links: the link machines of both sides, driven by modelled connections.
//!
//! A sighting comes as the discovery in memory tells it: 50 ms after an announcement, of many at once 64 each 100 ms. A
//! handshake is that of QUIC with TLS 1.3: the dialler is through after one round trip, the other side half a one later,
//! and then Hello and HelloAck go as the machines say. A link on which nothing is wrong costs nothing: that it is heard
//! all the time is taken for granted until a device or a way fails. Then each side that hears nothing any more has heard
//! something for the last time within the last keep-alive interval, and its machine sees to the rest.

use std::sync::Arc;

use softbus_core::{DeviceId, ErrorCode};
use softbus_net::link::{Action, ConnKey, Control};
use softbus_net::{LinkInfo, Presence};

use super::device::WINDOW;
use super::draw::hash;
use super::half_open::Decision;
use super::tasks::Deed;
use super::ways::{FIRST_TIMEOUT_NS, ns};
use super::world::{Index, NEVER, What, World};
use crate::record::{DeviceState, LinkSpan};

/// From an announcement to its being seen.
const SPREAD_NS: u64 = 50_000_000;
/// Sightings at once, and how long until the next ones.
const SIGHTINGS: (u64, u64) = (64, 100_000_000);
/// The longest that one dial takes.
const DIAL_NS: u64 = 5_000_000_000;
/// Nothing heard for so long: ask.
const KEEP_ALIVE_NS: u64 = 300_000_000;
/// What was heard is noticed so often.
const POLL_NS: u64 = 125_000_000;
/// A connection on which nothing was heard for so long is dead.
const IDLE_NS: u64 = 30_000_000_000;
/// An on-demand link that is unused for so long rests.
const REST_NS: u64 = 60_000_000_000;
/// A connection that was superseded is let go after this.
const DRAIN_NS: u64 = 125_000_000;
/// What a link can do at most until it is measured.
const RATE_MAX: u64 = 125_000_000;
/// What may wait for the links of one device.
const WAITING: usize = 256;
/// Bytes of a handshake's flights and of a control message.
const FLIGHT_BYTES: u64 = 1200;
const CONTROL_BYTES: u64 = 80;

impl World {
    /// All in its segment hear of a device, and it of them.
    pub(super) fn announce(&mut self, of: Index) {
        let (run, segment) = (self.device(of).run, self.device(of).segment);
        let mut others: Vec<(u64, Index, u32)> = self.by_segment[segment]
            .iter()
            .filter(|other| **other != of && self.device(**other).mode != DeviceState::Off)
            .map(|other| {
                let run = self.device(*other).run;
                (hash(self.seed, &[u64::from(*other), u64::from(run), 3]), *other, run)
            })
            .collect();
        others.sort_unstable();
        for (rank, (_, other, other_run)) in others.into_iter().enumerate() {
            self.at(self.now + SPREAD_NS, What::Sight { at: other, of, run });
            let late = rank as u64 / SIGHTINGS.0 * SIGHTINGS.1;
            self.at(self.now + SPREAD_NS + late, What::Sight { at: of, of: other, run: other_run });
        }
    }

    pub(super) fn sight(&mut self, at: Index, of: Index, run: u32) {
        let (speaker, listener) = (self.place(of), self.place(at));
        let heard = self.device(at).is_up()
            && self.device(of).is_up()
            && self.device(of).run == run
            && self.ways.hears(speaker, listener);
        if !heard {
            return;
        }
        let (now, id) = (self.span(), self.device(of).id);
        let device = self.device_mut(at);
        if !std::mem::replace(&mut device.saw, true) {
            let took = self.now - self.device(at).started;
            self.figures.discovery_us.push(took / 1000);
        }
        let Some(peer) = self.device_mut(at).peer_mut(&id) else { return };
        let fresh = peer.seen.is_none_or(|(_, segment)| segment != speaker.1);
        peer.seen = Some((run, speaker.1));
        peer.machine.addresses(now, true, fresh);
        self.act(at, id);
    }

    // --- the machines ---

    /// Somebody needs the link now.
    pub(super) fn demand(&mut self, of: Index, id: DeviceId) {
        let (now, at) = (self.span(), self.now);
        let Some(peer) = self.device_mut(of).peer_mut(&id) else { return };
        peer.used = at;
        if peer.current.is_none() {
            peer.machine.want(now, true, true);
            peer.machine.dial_now(now);
            self.act(of, id);
        }
    }

    /// Does something that needs a link: now, or once there is one.
    pub(super) fn when_linked(&mut self, of: Index, id: DeviceId, deed: Deed) {
        let at = self.now;
        let Some(peer) = self.device_mut(of).peer_mut(&id) else { return };
        peer.used = at;
        if peer.current.is_some() {
            return self.do_deed(deed);
        }
        let waiting = &mut self.device_mut(of).waiting;
        if waiting.len() < WAITING {
            waiting.push((id, deed));
        }
        self.demand(of, id);
    }

    /// What waited for this link.
    fn linked(&mut self, of: Index, id: DeviceId) {
        let waiting = std::mem::take(&mut self.device_mut(of).waiting);
        let (now, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(whom, _)| *whom == id);
        self.device_mut(of).waiting = rest;
        for (_, deed) in now {
            self.later(self.now, deed);
        }
    }

    /// Does what a link's machine wants, and sees when it is to be looked at again.
    pub(super) fn act(&mut self, of: Index, id: DeviceId) {
        let run = self.device(of).run;
        let Some(peer) = self.device_mut(of).peer_mut(&id) else { return };
        let (actions, trouble) = (peer.machine.actions(), peer.machine.take_trouble());
        let other = peer.index;
        let mut changed = trouble;
        for action in actions {
            match action {
                Action::Dial { attempt } => {
                    if let Some(peer) = self.device_mut(of).peer_mut(&id) {
                        peer.dial = Some(attempt);
                    }
                    self.at(self.now, What::Try { of, run, peer: id, attempt, n: 0 });
                }
                Action::StopDialling => {
                    if let Some(peer) = self.device_mut(of).peer_mut(&id) {
                        peer.dial = None;
                    }
                }
                Action::Send { conn, message } => {
                    let to_run = self.device(other).run;
                    if let Some(at) = self.arrival_on_link(of, other, CONTROL_BYTES) {
                        let message = Box::new(message);
                        self.at(at, What::Control { from: of, to: other, to_run, key: conn, message });
                    }
                }
                Action::Close { conn, code } => self.close(of, other, conn, code, 0),
                Action::Drain { conn } => self.close(of, other, conn, ErrorCode::Superseded, DRAIN_NS),
                Action::Up { conn, dialled, .. } => {
                    self.up(of, id, conn, dialled);
                    changed = true;
                }
                Action::Presence(_) => changed = true,
                Action::Down { .. } => {
                    if let Some(peer) = self.device_mut(of).peer_mut(&id) {
                        (peer.current, peer.silent_since) = (None, None);
                    }
                    self.link_changed(of, other);
                    changed = true;
                }
            }
        }
        if changed {
            self.publish(of, id);
        }
        self.schedule(of, id);
    }

    fn schedule(&mut self, of: Index, id: DeviceId) {
        let run = self.device(of).run;
        let Some(peer) = self.device_mut(of).peer_mut(&id) else { return };
        let well = peer.current.is_some()
            && peer.silent_since.is_none()
            && peer.machine.presence() == Presence::Online;
        let next = if well { peer.machine.next_deed() } else { peer.machine.next_timeout() };
        let mut next = next.map_or(NEVER, ns);
        if !peer.standing && peer.current.is_some() {
            next = next.min(peer.used + REST_NS);
        }
        if next < peer.tick_at {
            peer.tick_at = next;
            self.at(next, What::LinkTick { of, run, peer: id });
        }
    }

    pub(super) fn link_tick(&mut self, of: Index, run: u32, id: DeviceId) {
        let (now, at) = (self.span(), self.now);
        if self.device(of).run != run || self.device(of).mode == DeviceState::Off {
            return;
        }
        let Some(peer) = self.device_mut(of).peer_mut(&id) else { return };
        peer.tick_at = NEVER;
        if let (Some(key), None) = (peer.current, peer.silent_since) {
            peer.machine.heard(now, key);
        }
        peer.machine.tick(now);
        if !peer.standing && peer.current.is_some() && at >= peer.used + REST_NS {
            peer.machine.want(now, false, false);
            peer.machine.rest(now, ErrorCode::Resting);
        }
        self.act(of, id);
    }

    // --- connections ---

    pub(super) fn try_dial(&mut self, of: Index, run: u32, id: DeviceId, attempt: u64, n: u32) {
        let now = self.span();
        if self.device(of).run != run {
            return;
        }
        let Some(peer) = self.device_mut(of).peer_mut(&id) else { return };
        if peer.dial != Some(attempt) {
            return;
        }
        // Tries are made at 0, 0.3, 0.9, 2.1 and 4.5 s.
        let begun = FIRST_TIMEOUT_NS * ((1 << n) - 1);
        if begun >= DIAL_NS {
            peer.dial = None;
            peer.machine.dial_failed(now, attempt, "no answer".into());
            return self.act(of, id);
        }
        let (other, asleep) = (peer.index, self.device(of).mode == DeviceState::Asleep);
        let next = FIRST_TIMEOUT_NS * ((2 << n) - 1);
        self.at(self.now + next.min(DIAL_NS) - begun, What::Try { of, run, peer: id, attempt, n: n + 1 });
        if asleep {
            return;
        }
        if let Some(at) = self.arrival(of, other, FLIGHT_BYTES) {
            self.at(at, What::Initial { of, run, at: other, attempt, validated: false });
        }
    }

    pub(super) fn initial(&mut self, of: Index, run: u32, at: Index, attempt: u64, validated: bool) {
        let (at_run, id, now) = (self.device(at).run, self.device(of).id, self.now);
        if !self.device(at).is_up() {
            return;
        }
        let known = self.device(at).peer(&id).is_some_and(|peer| peer.seen.is_some());
        match self.device_mut(at).half_open.decide(now, of, attempt, known, validated) {
            Decision::Accept { evict: None } => {}
            Decision::Accept { evict: Some((other, attempt)) } => {
                let run = self.device(other).run;
                if let Some(back) = self.arrival(at, other, CONTROL_BYTES) {
                    self.at(back, What::Refused { of: other, run, at, attempt });
                }
            }
            Decision::Retry => {
                // There and back, with the proof.
                let back = self.arrival(at, of, CONTROL_BYTES);
                let there = self.arrival(of, at, FLIGHT_BYTES);
                if let (Some(back), Some(there)) = (back, there) {
                    self.at(back + there - now, What::Initial { of, run, at, attempt, validated: true });
                }
                return;
            }
        }
        if let Some(back) = self.arrival(at, of, 2 * FLIGHT_BYTES) {
            self.at(back, What::Flight { of, run, at, at_run, attempt });
        }
    }

    pub(super) fn flight(&mut self, of: Index, run: u32, at: Index, at_run: u32, attempt: u64) {
        let (now, id) = (self.span(), self.device(at).id);
        // Another's took the place of its handshake.
        let evicted = self.device(at).run == at_run && !self.device(at).half_open.has(of, attempt);
        if !self.lives(of, run) || evicted {
            return;
        }
        let Some(peer) = self.device_mut(of).peer_mut(&id) else { return };
        if peer.dial != Some(attempt) {
            return;
        }
        peer.dial = None;
        self.last_key += 1;
        let key = self.last_key;
        if let Some(there) = self.arrival_on_link(of, at, 200) {
            self.at(there, What::Accept { of, at, at_run, key });
        }
        if let Some(peer) = self.device_mut(of).peer_mut(&id) {
            peer.machine.addresses(now, true, false);
            peer.machine.connected(now, key, Some(attempt));
        }
        self.act(of, id);
    }

    /// The other end had no room for the handshake.
    pub(super) fn refused(&mut self, of: Index, run: u32, at: Index, attempt: u64) {
        let (now, id) = (self.span(), self.device(at).id);
        if !self.lives(of, run) {
            return;
        }
        let Some(peer) = self.device_mut(of).peer_mut(&id).filter(|peer| peer.dial == Some(attempt)) else {
            return;
        };
        peer.dial = None;
        peer.machine.dial_failed(now, attempt, "it is busy".into());
        self.act(of, id);
    }

    pub(super) fn accept(&mut self, of: Index, at: Index, at_run: u32, key: ConnKey) {
        let (now, id) = (self.span(), self.device(of).id);
        if !self.lives(at, at_run) {
            return;
        }
        self.device_mut(at).half_open.end(of);
        let Some(peer) = self.device_mut(at).peer_mut(&id) else { return };
        peer.machine.addresses(now, true, false);
        peer.machine.connected(now, key, None);
        self.act(at, id);
    }

    pub(super) fn control(&mut self, from: Index, to: Index, to_run: u32, key: ConnKey, message: Control) {
        let (now, id) = (self.span(), self.device(from).id);
        if !self.lives(to, to_run) {
            return;
        }
        let from_run = self.device(from).run;
        let Some(peer) = self.device_mut(to).peer_mut(&id) else { return };
        peer.other_run = from_run;
        peer.machine.message(now, key, message);
        self.act(to, id);
    }

    fn close(&mut self, of: Index, other: Index, key: ConnKey, code: ErrorCode, later: u64) {
        let (from, to_run) = (self.device(of).id, self.device(other).run);
        if let Some(at) = self.arrival_on_link(of, other, CONTROL_BYTES) {
            self.at(at + later, What::Closed { to: other, to_run, from, key, code: Some(code) });
        }
    }

    pub(super) fn closed(
        &mut self,
        to: Index,
        to_run: u32,
        from: DeviceId,
        key: ConnKey,
        code: Option<ErrorCode>,
    ) {
        let now = self.span();
        if self.device(to).run != to_run {
            return;
        }
        let Some(peer) = self.device_mut(to).peer_mut(&from) else { return };
        if code.is_none() && (peer.current != Some(key) || peer.silent_since.is_none()) {
            return; // it was heard again
        }
        let reason = code.map_or_else(|| "timed out".to_owned(), |code| code.to_string());
        peer.machine.lost(now, key, code, reason);
        self.act(to, from);
    }

    fn up(&mut self, of: Index, id: DeviceId, key: ConnKey, dialled: bool) {
        let at = self.now;
        let Some(peer) = self.device_mut(of).peer_mut(&id) else { return };
        peer.current = Some(key);
        peer.dialled = dialled;
        peer.silent_since = None;
        (peer.heard, peer.used, peer.window) = (at, at, WINDOW);
        let other = peer.index;
        self.link_changed(of, other);
        self.linked(of, id);
        // It may have failed while the last words were on their way.
        self.listen(of, other);
    }

    // --- silence ---

    /// Whether the first hears anything of the second on the connection that they have.
    fn hears(&self, of: Index, other: Index) -> bool {
        let (here, there) = (self.place(of), self.place(other));
        let run = self.device(of).peer(&self.device(other).id).map(|peer| peer.other_run);
        self.device(of).is_up()
            && self.device(other).is_up()
            && run == Some(self.device(other).run)
            && self.ways.open(there, here)
            && self.ways.open(here, there)
    }

    /// A device or a way has changed: sees whether the first still hears the second.
    pub(super) fn listen(&mut self, of: Index, other: Index) {
        let id = self.device(other).id;
        let hears = self.hears(of, other);
        let (now, run) = (self.now, self.device(of).run);
        let bits = hash(self.seed, &[u64::from(of), u64::from(other), now]);
        let Some(peer) = self.device_mut(of).peer_mut(&id) else { return };
        let Some(key) = peer.current else { return };
        match (hears, peer.silent_since) {
            (false, None) => {
                let before = (bits % KEEP_ALIVE_NS).min(now - peer.heard.min(now));
                let noticed = now - before + (bits >> 32) % POLL_NS;
                peer.silent_since = Some(noticed);
                peer.machine.heard(std::time::Duration::from_nanos(noticed), key);
                self.at(noticed + IDLE_NS, What::Closed { to: of, to_run: run, from: id, key, code: None });
                self.act(of, id);
            }
            (true, Some(since)) => {
                // Both go on asking, ever more rarely: what was not answered is asked again at the next doubling.
                let round = 2 * self.ways.latency_ns(self.device(of).segment, self.device(other).segment);
                let mut probe = round + 30_000_000;
                let mut at = since;
                while at < now {
                    at += probe;
                    probe *= 2;
                }
                self.at(at.max(now) + round / 2, What::Heard { of, run, peer: id, key });
            }
            _ => {}
        }
    }

    pub(super) fn heard_again(&mut self, of: Index, run: u32, id: DeviceId, key: ConnKey) {
        let now = self.span();
        if self.device(of).run != run {
            return;
        }
        let Some(other) = self.device(of).peer(&id).map(|peer| peer.index) else { return };
        if !self.hears(of, other) {
            return;
        }
        let Some(peer) = self.device_mut(of).peer_mut(&id) else { return };
        if peer.current == Some(key) && peer.silent_since.take().is_some() {
            peer.machine.heard(now, key);
            self.act(of, id);
        }
    }

    /// Everybody sees whether they still hear this device, and it of them.
    pub(super) fn listen_all(&mut self, of: Index) {
        let others: Vec<Index> = self.device(of).peers.iter().map(|peer| peer.index).collect();
        for other in others {
            self.listen(of, other);
            self.listen(other, of);
        }
    }

    // --- what others are told of links ---

    pub(super) fn publish(&mut self, of: Index, id: DeviceId) {
        let segment = self.device(of).segment;
        let Some(other) = self.device(of).peer(&id).map(|peer| peer.index) else { return };
        let there = self.device(other).segment;
        let rtt = 2 * self.ways.latency_ns(segment, there);
        let limit = self.ways.rate(segment, there).unwrap_or(RATE_MAX);
        let run = self.device(of).run;
        let device = self.device_mut(of);
        let Some(peer) = device.peer(&id) else { return };
        let Some((link, generation)) = peer.machine.link() else { return };
        let guess = u128::from(peer.window) * 1_000_000_000 / u128::from(rtt.max(1));
        let info = LinkInfo {
            peer: id,
            id: link,
            generation,
            presence: peer.machine.presence(),
            resting: peer.machine.is_resting(),
            address: None,
            dialled: peer.dialled,
            rtt: std::time::Duration::from_nanos(rtt),
            loss_permille: 0,
            rate_bytes_per_s: u64::try_from(guess).unwrap_or(RATE_MAX).min(RATE_MAX).min(limit),
            bytes: (0, 0),
            last_down: peer.machine.last_down().map(str::to_owned),
        };
        if device.links.get(&id).is_some_and(|known| **known == info) {
            return;
        }
        Arc::make_mut(&mut device.links).insert(id, Arc::new(info));
        if !std::mem::replace(&mut device.links_due, true) {
            self.at(self.now, What::Links { of, run });
        }
    }

    /// For the record: the two are linked as long as either holds the other for connected.
    fn link_changed(&mut self, a: Index, b: Index) {
        let linked = |of: Index, other: Index| {
            self.device(of).peer(&self.device(other).id).is_some_and(|peer| peer.current.is_some())
        };
        let up = linked(a, b) || linked(b, a);
        let pair = (a.min(b), a.max(b));
        let now_us = self.now / 1000;
        match (up, self.figures.links.get(&pair).copied()) {
            (true, None) => {
                self.figures.links.insert(pair, now_us);
            }
            (false, Some(from_us)) => {
                self.figures.links.remove(&pair);
                let (a, b) = (pair.0 as usize, pair.1 as usize);
                self.figures.spans.push(LinkSpan { a, b, from_us, to_us: now_us });
            }
            _ => {}
        }
    }
}
