//! What happens to one datagram, from the moment that it is sent. Everything but its arrival is decided there and then:
//! where it goes, whether it is lost, when it is due.
//!
//! On a way of several pieces each limited rate has its own queue, of what was sent into it. A datagram is through when
//! it is through the slowest of them: what has passed a narrow piece does not pile up before an equally narrow one, and
//! what is still before a narrow piece does not keep others waiting at the next.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Waker;
use std::time::Duration;

use quinn::udp::EcnCodepoint;
use tokio::time::Instant;

use super::conditions::Conditions;
use super::inbox::Datagram;
use super::net::{HostId, State};
use super::tap::{Fate, Party, Seen};
use super::topology::{Piece, Way, WayKey};

/// A datagram as its sender hands it over.
pub(super) struct Outgoing<'a> {
    pub(super) host: HostId,
    pub(super) port: u16,
    /// The address it shall come from, if still the host's.
    pub(super) source: Option<IpAddr>,
    pub(super) to: SocketAddr,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) bytes: &'a [u8],
}

/// Its ends, as far as they are known.
#[derive(Clone, Copy)]
struct Ends {
    from: HostId,
    source: SocketAddr,
    to: Option<HostId>,
    /// As the sender says.
    destination: SocketAddr,
    /// As the receiver sees: another if a NAT box is between.
    inner: SocketAddr,
}

impl State {
    /// Sends one datagram. `now` is since the network began.
    pub(super) fn send(&mut self, now: Duration, datagram: &Outgoing<'_>) {
        let Outgoing { host, port, to, ecn, bytes, .. } = *datagram;
        self.stats.sent += 1;
        self.stats.sent_bytes += bytes.len() as u64;
        let sender = &mut self.hosts[host.0];
        if sender.asleep_since.is_none() {
            sender.traffic.sent += 1;
            sender.traffic.sent_bytes += bytes.len() as u64;
        }

        let source = self.source(datagram);
        let source_or_none = source.unwrap_or_else(|| unspecified(to.ip()));
        let source_or_none = SocketAddr::new(source_or_none, port);
        let mut ends = Ends { from: host, source: source_or_none, to: None, destination: to, inner: to };
        let fate = self.dispatch(now, &mut ends, source.is_some(), ecn, bytes).err().unwrap_or(Fate::Sent);
        self.stats.count(fate);
        self.show(now, &ends, ecn, bytes, fate, false);
    }

    fn source(&self, datagram: &Outgoing<'_>) -> Option<IpAddr> {
        let to = datagram.to.ip();
        match datagram.source {
            Some(source) => Some(source).filter(|source| self.owns(datagram.host, *source)),
            None if to.is_loopback() => Some(to),
            None => {
                let addresses = self.hosts[datagram.host.0].addresses.borrow();
                addresses.iter().find(|a| a.is_ipv4() == to.is_ipv4()).copied()
            }
        }
    }

    fn dispatch(
        &mut self,
        now: Duration,
        ends: &mut Ends,
        has_source: bool,
        ecn: Option<EcnCodepoint>,
        bytes: &[u8],
    ) -> Result<(), Fate> {
        if self.hosts[ends.from.0].asleep_since.is_some() {
            return Err(Fate::Asleep);
        }
        let (target, way) = self.route(now, ends, has_source)?;
        if self.is_cut(ends.from, target) {
            return Err(Fate::Cut);
        }
        self.carry(now, ends, target, &way, ecn, bytes)
    }

    /// Who is at an address, and by what way it is reached.
    fn route(&mut self, now: Duration, ends: &mut Ends, has_source: bool) -> Result<(HostId, Way), Fate> {
        let (from, ip) = (ends.from, ends.destination.ip());
        let here = self.hosts[from.0].segment;
        let owner = if ip.is_loopback() { Some(from) } else { self.by_address.get(&ip).copied() };
        ends.to = owner;
        if !has_source {
            return Err(Fate::Unroutable);
        }
        if owner == Some(from) {
            let way = Way::one(Conditions::within_a_host(), WayKey::Between(from, from));
            return Ok((from, way));
        }
        let there = match owner {
            Some(owner) => self.hosts[owner.0].segment,
            None => *self.by_outer.get(&ip).ok_or(Fate::Unroutable)?,
        };
        // The addresses behind a NAT box mean nothing elsewhere.
        if owner.is_some() && here != there && self.topology.nat(there).is_some() {
            return Err(Fate::Unroutable);
        }
        // Asked before the boxes take note of anything, and without knowing which of its hosts a box will choose.
        if self.topology.way((from, here), (owner.unwrap_or(from), there)).is_none() {
            return Err(Fate::Unroutable);
        }
        if (owner.is_none() || here != there)
            && let (Some(nat), Some(nat_box)) = (self.topology.nat(here), self.boxes.get_mut(&here))
        {
            ends.source = nat_box.outward(nat, ends.source, ip, now)?;
        }
        let target = match owner {
            Some(owner) => owner,
            None => {
                let (nat, nat_box) = (self.topology.nat(there), self.boxes.get_mut(&there));
                let (nat, nat_box) = nat.zip(nat_box).ok_or(Fate::Unroutable)?;
                ends.inner = nat_box.inward(nat, ends.destination, ends.source.ip(), now)?;
                let owner = self.by_address.get(&ends.inner.ip()).copied();
                owner.filter(|owner| self.hosts[owner.0].segment == there).ok_or(Fate::Unroutable)?
            }
        };
        ends.to = Some(target);
        let way = match self.between.get(&(from, target)) {
            Some(way) => Some(Way::one(*way, WayKey::Between(from, target))),
            None => self.topology.way((from, here), (target, there)),
        };
        Ok((target, way.ok_or(Fate::Unroutable)?))
    }

    fn carry(
        &mut self,
        now: Duration,
        ends: &Ends,
        target: HostId,
        way: &Way,
        ecn: Option<EcnCodepoint>,
        bytes: &[u8],
    ) -> Result<(), Fate> {
        if bytes.len() > way.mtu_bytes() {
            return Err(Fate::TooLong);
        }
        let mut through = now;
        for piece in way.pieces() {
            if self.dice.ppm(piece.way.loss_ppm) || self.burst_takes(piece) {
                return Err(Fate::Lost);
            }
            through = through.max(self.queue(now, piece, bytes.len()).ok_or(Fate::Overflowed)?);
        }
        let copies = 1 + way.pieces().filter(|piece| self.dice.ppm(piece.way.duplicate_ppm)).count();
        let socket = self.hosts[target.0].sockets.iter().find(|(port, _)| *port == ends.inner.port());
        let (_, slot) = *socket.ok_or(Fate::Unroutable)?;
        // So that what nobody reads does not fill its inbox.
        self.miss(target, slot);
        for copy in 0..copies {
            let mut due = through;
            for piece in way.pieces() {
                due += piece.way.latency + self.draw(piece.way.jitter);
                if self.dice.ppm(piece.way.reorder_ppm) {
                    due += self.draw(piece.way.latency * 10);
                }
            }
            let bytes = self.inboxes.buffer(bytes);
            let datagram = Datagram { from_host: ends.from, from: ends.source, to: ends.inner, ecn, bytes };
            let inbox = self.inboxes.get_mut(slot).ok_or(Fate::Unroutable)?;
            if let Err(datagram) = inbox.put(due, datagram) {
                self.inboxes.give_back(datagram.bytes);
                if copy == 0 {
                    return Err(Fate::Overflowed);
                }
                self.stats.overflowed += 1;
            }
        }
        Ok(())
    }

    fn burst_takes(&mut self, piece: &Piece) -> bool {
        let Some(burst) = piece.way.burst else { return false };
        let state = self.ways.entry(piece.burst).or_default();
        let change = if state.bursting { burst.leave_ppm } else { burst.enter_ppm };
        if self.dice.ppm(change) {
            state.bursting = !state.bursting;
        }
        state.bursting && self.dice.ppm(burst.loss_ppm)
    }

    /// When so many bytes have passed the limited rate of a piece; `None` if the queue before it is too long.
    fn queue(&mut self, now: Duration, piece: &Piece, bytes: usize) -> Option<Duration> {
        let rate = piece.way.rate_bytes_per_s;
        if rate == 0 {
            return Some(now);
        }
        let state = self.ways.entry(piece.queue).or_default();
        let begin = state.busy.max(now);
        if begin - now > piece.way.queue {
            return None;
        }
        state.busy = begin + Duration::from_nanos(bytes as u64 * 1_000_000_000 / rate);
        Some(state.busy)
    }

    fn draw(&mut self, span: Duration) -> Duration {
        Duration::from_nanos(self.dice.below(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The next datagram that has arrived at a socket and may be read; what was cut off on its way is lost here.
    pub(super) fn receive(&mut self, now: Duration, slot: usize) -> Option<Datagram> {
        loop {
            let inbox = self.inboxes.get_mut(slot)?;
            let host = inbox.host;
            if self.hosts[host.0].asleep_since.is_some() {
                return None;
            }
            let datagram = inbox.take_due(now)?;
            // The cable may have been cut, or the host moved, while it was on its way.
            if !self.is_cut(datagram.from_host, host) && self.owns(host, datagram.to.ip()) {
                return Some(datagram);
            }
            self.arrived(now, host, datagram, Fate::Cut);
        }
    }

    /// Somebody waits at a socket; gives back when the first datagram is due there. Who sleeps is woken when awake.
    pub(super) fn wait(&mut self, slot: usize, waker: &Waker) -> Option<Instant> {
        let inbox = self.inboxes.get_mut(slot)?;
        let (host, due) = (inbox.host, inbox.wait(waker));
        let due = due.filter(|_| self.hosts[host.0].asleep_since.is_none());
        due.map(|due| self.instant(due))
    }

    /// A datagram came to its end, well or not.
    pub(super) fn arrived(&mut self, now: Duration, host: HostId, datagram: Datagram, fate: Fate) {
        let Datagram { from_host: from, from: source, to: destination, ecn, bytes } = datagram;
        if fate == Fate::Delivered {
            let traffic = &mut self.hosts[host.0].traffic;
            traffic.received += 1;
            traffic.received_bytes += bytes.len() as u64;
        }
        self.stats.count(fate);
        let ends = Ends { from, source, to: Some(host), destination, inner: destination };
        self.show(now, &ends, ecn, &bytes, fate, true);
        self.inboxes.give_back(bytes);
    }

    fn show(
        &self,
        now: Duration,
        ends: &Ends,
        ecn: Option<EcnCodepoint>,
        bytes: &[u8],
        fate: Fate,
        arriving: bool,
    ) {
        let Some(tap) = &self.tap else { return };
        let party = |host: HostId| Party { index: host.0, name: &self.hosts[host.0].name };
        tap.datagram(&Seen {
            at_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            from: party(ends.from),
            to: ends.to.map(party),
            source: ends.source,
            destination: ends.destination,
            ecn,
            bytes,
            fate,
            arriving,
        });
    }
}

fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}
