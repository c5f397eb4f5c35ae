//! Handshakes that a device has under way with those that dial it. Past a quarter of its places each newcomer must prove its
//! address first, which takes a round trip; past the last place another's handshake ends. As in the endpoint, with one
//! network for each device: of several that have equally many the one with the highest address gives way.

use softbus_core::limits;

use super::world::Index;

/// A handshake gets this long.
const HANDSHAKE_NS: u64 = 5_000_000_000;

/// One of them.
struct Slot {
    of: Index,
    attempt: u64,
    known: bool,
    since: u64,
}

/// All of one device.
#[derive(Default)]
pub(super) struct HalfOpen(Vec<Slot>);

/// What becomes of a first packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    /// It is answered; the handshake of this dialler ends.
    Accept { evict: Option<(Index, u64)> },
    /// Its address is to be proved first.
    Retry,
}

impl HalfOpen {
    /// The first packet of a dial comes in. `known`: its device has been seen where it dials from.
    pub fn decide(&mut self, now: u64, of: Index, attempt: u64, known: bool, validated: bool) -> Decision {
        self.0.retain(|slot| slot.since + HANDSHAKE_NS > now);
        if self.has(of, attempt) {
            return Decision::Accept { evict: None };
        }
        let most = if known { limits::HALF_OPEN / 2 } else { limits::HALF_OPEN };
        let alike = self.0.iter().filter(|slot| slot.known == known);
        let count = alike.clone().count();
        if !validated && count >= most / 4 {
            return Decision::Retry;
        }
        let evict = alike.filter(|slot| slot.of != of).max_by_key(|slot| slot.of).filter(|_| count >= most);
        let evict = evict.map(|slot| (slot.of, slot.attempt));
        self.0.retain(|slot| Some((slot.of, slot.attempt)) != evict);
        self.0.push(Slot { of, attempt, known, since: now });
        Decision::Accept { evict }
    }

    /// Whether this handshake is under way.
    pub fn has(&self, of: Index, attempt: u64) -> bool {
        self.0.iter().any(|slot| (slot.of, slot.attempt) == (of, attempt))
    }

    /// The handshakes of a dialler are over.
    pub fn end(&mut self, of: Index) {
        self.0.retain(|slot| slot.of != of);
    }

    /// The device is off.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_proves_its_addresses_and_the_highest_gives_way() {
        let mut door = HalfOpen::default();
        let free = Decision::Accept { evict: None };
        for of in 0..8 {
            assert_eq!(door.decide(0, of, 1, true, false), free);
        }
        assert_eq!(door.decide(0, 3, 1, true, false), free, "it repeats itself");
        assert_eq!(door.decide(0, 8, 1, true, false), Decision::Retry);
        for of in 8..32 {
            assert_eq!(door.decide(0, of, 1, true, true), free);
        }
        assert_eq!(door.decide(0, 40, 1, true, true), Decision::Accept { evict: Some((31, 1)) });
        assert!(!door.has(31, 1) && door.has(40, 1));
        door.end(40);
        assert_eq!(door.decide(0, 41, 1, true, true), free);
        assert_eq!(door.decide(HANDSHAKE_NS, 42, 1, true, false), free, "the others took too long");
    }
}
