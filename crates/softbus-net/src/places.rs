//! A few places for many strangers, so shared that nobody is kept out by one who takes all of them. Pure.
//!
//! When all are taken a newcomer gets the place of the oldest of those who have not begun anything yet, of the network
//! that has most. One who has begun keeps its place, unless its network has at least two more than the newcomer's: so
//! the places go round among networks, and within one network the new ones push the old ones out. Whoever means it
//! needs a place for some round trips only before it has begun.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The places.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    taken: BTreeMap<u64, Place>,
}

#[derive(Debug)]
struct Place {
    network: IpAddr,
    begun: bool,
}

/// Whether there is a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    /// Yes; if another is named, it lost its place.
    In { evicted: Option<u64> },
    /// No.
    Full,
}

impl Places {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, taken: BTreeMap::new() }
    }

    /// A newcomer asks for a place. Later ones have greater keys.
    pub(crate) fn enter(&mut self, key: u64, ip: IpAddr) -> Entry {
        let network = network(ip);
        let mut evicted = None;
        if self.taken.len() >= self.max {
            evicted = self.pushed_out_by(network);
            match evicted {
                Some(victim) => self.leave(victim),
                None => return Entry::Full,
            }
        }
        self.taken.insert(key, Place { network, begun: false });
        Entry::In { evicted }
    }

    /// It has begun what it came for.
    pub(crate) fn begun(&mut self, key: u64) {
        if let Some(place) = self.taken.get_mut(&key) {
            place.begun = true;
        }
    }

    /// It is gone.
    pub(crate) fn leave(&mut self, key: u64) {
        self.taken.remove(&key);
    }

    fn pushed_out_by(&self, newcomer: IpAddr) -> Option<u64> {
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for place in self.taken.values() {
            *counts.entry(place.network).or_default() += 1;
        }
        let own = counts.get(&newcomer).copied().unwrap_or(0);
        let of = |place: &Place| counts.get(&place.network).copied().unwrap_or(0);
        let victim = |begun: bool, may: &dyn Fn(&Place) -> bool| {
            let candidates = self.taken.iter().filter(|(_, place)| place.begun == begun && may(place));
            candidates.max_by_key(|(key, place)| (of(place), std::cmp::Reverse(**key))).map(|(key, _)| *key)
        };
        victim(false, &|place| place.network == newcomer || of(place) > own)
            .or_else(|| victim(true, &|place| of(place) >= own + 2))
    }
}

/// Whom an address counts for: one IPv4 address, or one IPv6 /64.
pub(crate) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    const fn evicts(key: u64) -> Entry {
        Entry::In { evicted: Some(key) }
    }

    const ROOM: Entry = Entry::In { evicted: None };

    #[test]
    fn who_sits_there_and_does_nothing_gives_way() {
        let mut places = Places::new(4);
        for key in 0..4 {
            assert_eq!(places.enter(key, ip(key as u8)), ROOM);
        }
        places.begun(0);
        assert_eq!(places.enter(4, ip(9)), evicts(1), "the oldest that has not begun");
        for key in [2, 3, 4] {
            places.begun(key);
        }
        assert_eq!(places.enter(5, ip(8)), Entry::Full, "all have begun, one each");
        places.leave(2);
        assert_eq!(places.enter(6, ip(8)), ROOM);
    }

    #[test]
    fn one_network_cannot_hold_all_places() {
        let mut places = Places::new(4);
        for key in 0..4 {
            places.enter(key, ip(1));
            places.begun(key);
        }
        assert_eq!(places.enter(4, ip(1)), Entry::Full, "not among themselves");
        assert_eq!(places.enter(5, ip(2)), evicts(0));
        // Nor does it push out the few others, begun or not.
        assert_eq!(places.enter(6, ip(1)), Entry::Full);
        places.leave(3);
        assert_eq!(places.enter(7, ip(1)), ROOM);
        for key in 8..20 {
            assert_eq!(places.enter(key, ip(1)), evicts(key - 1), "each other only");
        }
        assert_eq!(places.enter(20, ip(3)), evicts(19));
        assert_eq!(places.enter(21, ip(4)), evicts(5), "the oldest of equals");
    }

    #[test]
    fn networks_are_ipv4_addresses_and_ipv6_prefixes() {
        let v6 = |s: &str| network(s.parse().unwrap());
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::2:0:0:1"));
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"));
        assert_eq!(v6("::ffff:10.0.0.1"), ip(1));
    }
}
