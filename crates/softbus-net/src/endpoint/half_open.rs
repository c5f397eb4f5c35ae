//! Which handshakes may be under way at once. Pure.
//!
//! Whoever floods us with handshakes must not keep a trusted peer out. Addresses at which a trusted peer is
//! known have room of their own. The others share the rest: under load each must first prove its address
//! (retry), and when all slots are taken a new handshake takes the slot of the oldest one of the greediest
//! address. An honest handshake needs its slot for a few round trips only, and so it passes unless somebody
//! begins a whole table of handshakes within that time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use softbus_core::limits;

use crate::places::network;

/// Slots for addresses at which a trusted peer is known.
const KNOWN_SLOTS: usize = limits::HALF_OPEN / 2;
/// From so many handshakes of unknown addresses on, a new one must prove its address.
const RETRY_FROM: usize = limits::HALF_OPEN / 4;
/// From so many of known addresses on, the same: somebody may be forging them.
const KNOWN_RETRY_FROM: usize = KNOWN_SLOTS / 4;
/// Handshakes of unknown addresses begun per second, and at once.
const RATE_PER_S: u64 = 400;
const BURST: u64 = 100;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    /// Begin the handshake; if another is named, end that one.
    Accept { evict: Option<u64> },
    /// Let it prove its address first.
    Retry,
    /// Too many: no answer. An honest client sends again.
    Ignore,
}

#[derive(Debug, Default)]
pub(super) struct HalfOpen {
    slots: BTreeMap<u64, Slot>,
    /// Thousandths of a handshake that may begin now.
    tokens: u64,
    refilled: Duration,
    started: bool,
}

#[derive(Debug)]
struct Slot {
    network: IpAddr,
    known: bool,
}

impl HalfOpen {
    /// A handshake comes in.
    pub(super) fn decide(&mut self, now: Duration, ip: IpAddr, known: bool, validated: bool) -> Decision {
        let count = self.slots.values().filter(|slot| slot.known == known).count();
        let (retry_from, slots) =
            if known { (KNOWN_RETRY_FROM, KNOWN_SLOTS) } else { (RETRY_FROM, limits::HALF_OPEN) };
        if !validated && count >= retry_from {
            return Decision::Retry;
        }
        if !known && !self.take_token(now) {
            return Decision::Ignore;
        }
        let evict = if count < slots { None } else { self.greediest(known, ip) };
        if let Some(key) = evict {
            self.slots.remove(&key);
        }
        Decision::Accept { evict }
    }

    /// An accepted handshake is under way.
    pub(super) fn begin(&mut self, key: u64, ip: IpAddr, known: bool) {
        self.slots.insert(key, Slot { network: network(ip), known });
    }

    /// A handshake is over, one way or the other.
    pub(super) fn end(&mut self, key: u64) {
        self.slots.remove(&key);
    }

    /// The oldest handshake of the network that has the most (of equal ones, not the newcomer's).
    fn greediest(&self, known: bool, newcomer: IpAddr) -> Option<u64> {
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for slot in self.slots.values().filter(|slot| slot.known == known) {
            *counts.entry(slot.network).or_default() += 1;
        }
        let newcomer = network(newcomer);
        let (greedy, _) = counts.iter().max_by_key(|(ip, count)| (**count, **ip != newcomer))?;
        self.slots
            .iter()
            .find(|(_, slot)| slot.known == known && slot.network == *greedy)
            .map(|(key, _)| *key)
    }

    fn take_token(&mut self, now: Duration) -> bool {
        if !self.started {
            self.started = true;
            self.tokens = BURST * 1000;
            self.refilled = now;
        }
        let elapsed_ms = u64::try_from(now.saturating_sub(self.refilled).as_millis()).unwrap_or(u64::MAX);
        self.tokens = self.tokens.saturating_add(elapsed_ms.saturating_mul(RATE_PER_S)).min(BURST * 1000);
        self.refilled += Duration::from_millis(elapsed_ms);
        let Some(left) = self.tokens.checked_sub(1000) else { return false };
        self.tokens = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn now() -> Duration {
        Duration::from_secs(1)
    }

    #[test]
    fn load_asks_for_proof_of_the_address() {
        let mut half_open = HalfOpen::default();
        for key in 0..RETRY_FROM as u64 {
            assert_eq!(half_open.decide(now(), ip(1), false, false), Decision::Accept { evict: None });
            half_open.begin(key, ip(1), false);
        }
        assert_eq!(half_open.decide(now(), ip(1), false, false), Decision::Retry);
        assert_eq!(half_open.decide(now(), ip(1), false, true), Decision::Accept { evict: None });
        assert_eq!(half_open.decide(now(), ip(2), true, false), Decision::Accept { evict: None });
    }

    #[test]
    fn a_full_table_ends_the_oldest_of_the_greediest() {
        let mut half_open = HalfOpen::default();
        half_open.begin(0, ip(9), false);
        for key in 1..limits::HALF_OPEN as u64 {
            half_open.begin(key, ip(1), false);
        }
        assert_eq!(half_open.decide(now(), ip(2), false, true), Decision::Accept { evict: Some(1) });
        half_open.begin(100, ip(2), false);
        assert_eq!(half_open.decide(now(), ip(3), false, true), Decision::Accept { evict: Some(2) });
    }

    #[test]
    fn known_addresses_have_their_own_room() {
        let mut half_open = HalfOpen::default();
        for key in 0..limits::HALF_OPEN as u64 {
            half_open.begin(key, ip(1), false);
        }
        while half_open.decide(now(), ip(1), false, true) != Decision::Ignore {}
        assert_eq!(half_open.decide(now(), ip(1), true, false), Decision::Accept { evict: None });
    }

    #[test]
    fn the_rate_is_bounded() {
        let mut half_open = HalfOpen::default();
        let mut accepted = 0;
        for ms in 0..2000 {
            for _ in 0..10 {
                let at = Duration::from_millis(ms);
                if half_open.decide(at, ip(1), false, true) != Decision::Ignore {
                    accepted += 1;
                }
            }
        }
        assert!((700..=2 * RATE_PER_S + BURST).contains(&accepted), "{accepted}");
    }
}
