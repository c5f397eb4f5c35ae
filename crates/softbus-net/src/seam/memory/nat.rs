//! NAT boxes: a segment behind one has private addresses. What its hosts send elsewhere comes from the box, from a port
//! that it maps to theirs whoever they send to (endpoint-independent mapping, RFC 4787, section 4.1); what comes to
//! that port goes to them. Among themselves they use their own addresses. What one sends to a port of its own box comes
//! back in (hairpinning, section 6), from the outer address.
//!
//! Unlike most real boxes it treats IPv6 in the same way: so it does not matter which address is tried first.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::tap::Fate;

/// Ports a box maps at a time, of each family; past them nothing new gets out.
const MAPPINGS: usize = 4096;
/// Addresses that are remembered as called by one port; past them the first is forgotten.
const CALLED: usize = 256;
/// First mapped port; the others follow in turn.
const FIRST_PORT: u16 = 20_000;

/// A NAT box.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nat {
    /// A mapping that nothing passed for so long is forgotten.
    pub timeout: Duration,
    /// Whether only addresses that were called may answer (address-dependent filtering, section 5), or anybody.
    pub filtering: bool,
}

/// What a box remembers. Times are since the network began.
pub(super) struct NatBox {
    /// Its outer addresses.
    outer: (Ipv4Addr, Ipv6Addr),
    /// Mapped port of each inner address and port.
    ports: BTreeMap<SocketAddr, u16>,
    /// By mapped port, for IPv4 and IPv6.
    mappings: [BTreeMap<u16, Mapping>; 2],
    next_port: u16,
}

struct Mapping {
    inner: SocketAddr,
    used: Duration,
    called: VecDeque<IpAddr>,
}

impl NatBox {
    /// The box of this number.
    pub(super) fn new(number: u32) -> Self {
        // The ranges for benchmarks (RFC 2544) and documentation (RFC 3849): nobody else's.
        let v4 = Ipv4Addr::from_bits(0xc612_0000 + number);
        let v6 = Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + u128::from(number));
        Self { outer: (v4, v6), ports: BTreeMap::new(), mappings: Default::default(), next_port: FIRST_PORT }
    }

    pub(super) fn addresses(&self) -> [IpAddr; 2] {
        [self.outer.0.into(), self.outer.1.into()]
    }

    fn address(&self, v4: bool) -> IpAddr {
        if v4 { self.outer.0.into() } else { self.outer.1.into() }
    }

    /// A datagram from `inner` goes out to `to`: where it comes from, as seen outside.
    pub(super) fn outward(
        &mut self,
        nat: Nat,
        inner: SocketAddr,
        to: IpAddr,
        now: Duration,
    ) -> Result<SocketAddr, Fate> {
        let family = usize::from(inner.is_ipv6());
        let mapped = self.ports.get(&inner).copied();
        let alive = mapped.filter(|port| self.mappings[family].get(port).is_some_and(|m| m.alive(nat, now)));
        let port = match alive {
            Some(port) => port,
            None => self.map(nat, inner, now)?,
        };
        let address = SocketAddr::new(self.address(inner.is_ipv4()), port);
        let mapping = self.mappings[family].get_mut(&port).ok_or(Fate::Unroutable)?;
        mapping.used = now;
        if !mapping.called.contains(&to) {
            if mapping.called.len() >= CALLED {
                mapping.called.pop_front();
            }
            mapping.called.push_back(to);
        }
        Ok(address)
    }

    /// A datagram from `from` came to this outer address and port: whom it is for.
    pub(super) fn inward(
        &mut self,
        nat: Nat,
        to: SocketAddr,
        from: IpAddr,
        now: Duration,
    ) -> Result<SocketAddr, Fate> {
        let mapping = self.mappings[usize::from(to.is_ipv6())].get_mut(&to.port());
        let mapping = mapping.filter(|mapping| mapping.alive(nat, now)).ok_or(Fate::Filtered)?;
        if nat.filtering && !mapping.called.contains(&from) {
            return Err(Fate::Filtered);
        }
        mapping.used = now;
        Ok(mapping.inner)
    }

    fn map(&mut self, nat: Nat, inner: SocketAddr, now: Duration) -> Result<u16, Fate> {
        let mappings = &mut self.mappings[usize::from(inner.is_ipv6())];
        if let Some(port) = self.ports.remove(&inner) {
            mappings.remove(&port);
        }
        if mappings.len() >= MAPPINGS {
            let ports = &mut self.ports;
            mappings.retain(|_, mapping| {
                let alive = mapping.alive(nat, now);
                if !alive {
                    ports.remove(&mapping.inner);
                }
                alive
            });
        }
        if mappings.len() >= MAPPINGS {
            return Err(Fate::Overflowed);
        }
        // One is free: there are more ports than mappings.
        while mappings.contains_key(&self.next_port) {
            self.next_port = following(self.next_port);
        }
        let port = self.next_port;
        self.next_port = following(port);
        mappings.insert(port, Mapping { inner, used: now, called: VecDeque::new() });
        self.ports.insert(inner, port);
        Ok(port)
    }
}

fn following(port: u16) -> u16 {
    port.checked_add(1).unwrap_or(FIRST_PORT)
}

impl Mapping {
    fn alive(&self, nat: Nat, now: Duration) -> bool {
        now.saturating_sub(self.used) < nat.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const OPEN: Nat = Nat { timeout: SECOND, filtering: false };
    const CLOSED: Nat = Nat { timeout: SECOND, filtering: true };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn inner(port: u16) -> SocketAddr {
        SocketAddr::new(ip("10.2.0.1"), port)
    }

    #[test]
    fn one_port_whoever_is_called_until_it_is_not_used() {
        let mut nat = NatBox::new(0);
        let first = nat.outward(OPEN, inner(1), ip("10.0.0.1"), Duration::ZERO).unwrap();
        assert_eq!(first, "198.18.0.0:20000".parse().unwrap());
        assert_eq!(nat.outward(OPEN, inner(1), ip("10.0.0.2"), SECOND / 2).unwrap(), first);
        assert_ne!(nat.outward(OPEN, inner(2), ip("10.0.0.1"), Duration::ZERO).unwrap(), first);
        assert_eq!(nat.inward(OPEN, first, ip("10.9.9.9"), SECOND), Ok(inner(1)));
        // What came in counted as use.
        assert_eq!(nat.outward(OPEN, inner(1), ip("10.0.0.1"), SECOND * 3 / 2).unwrap(), first);
        assert_eq!(nat.inward(OPEN, first, ip("10.0.0.1"), SECOND * 3), Err(Fate::Filtered));
        assert_ne!(nat.outward(OPEN, inner(1), ip("10.0.0.1"), SECOND * 3).unwrap(), first);
    }

    #[test]
    fn with_filtering_only_who_was_called_may_answer() {
        let mut nat = NatBox::new(0);
        let outer = nat.outward(CLOSED, inner(1), ip("10.0.0.1"), Duration::ZERO).unwrap();
        assert_eq!(nat.inward(CLOSED, outer, ip("10.0.0.1"), Duration::ZERO), Ok(inner(1)));
        assert_eq!(nat.inward(CLOSED, outer, ip("10.0.0.2"), Duration::ZERO), Err(Fate::Filtered));
        for n in 0..CALLED as u32 {
            let to = Ipv4Addr::from_bits(0x0a01_0000 + n).into();
            nat.outward(CLOSED, inner(1), to, Duration::ZERO).unwrap();
        }
        assert_eq!(
            nat.inward(CLOSED, outer, ip("10.0.0.1"), Duration::ZERO),
            Err(Fate::Filtered),
            "forgotten"
        );
    }

    #[test]
    fn its_table_has_an_end() {
        let mut nat = NatBox::new(0);
        for port in 1..=MAPPINGS as u16 {
            nat.outward(OPEN, inner(port), ip("10.0.0.1"), Duration::ZERO).unwrap();
        }
        let more = inner(60_000);
        assert_eq!(nat.outward(OPEN, more, ip("10.0.0.1"), Duration::ZERO), Err(Fate::Overflowed));
        assert!(nat.outward(OPEN, more, ip("10.0.0.1"), SECOND).is_ok(), "the former are forgotten");
        assert_eq!((nat.ports.len(), nat.mappings[0].len()), (1, 1));
    }
}
