//! What neighbours say of one device. There are as many of these as devices and each holds few, so it is a list and no tree.

use softbus_core::DeviceId;
use softbus_core::wire::roster::{Claim, Seen};

/// How a neighbour sees the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Said {
    pub(super) seen: Seen,
    pub(super) hops: u8,
    pub(super) rtt_us: u32,
}

/// By neighbour, in order of its id; as many as devices are trusted at most (one that answered last may have no link by now).
#[derive(Default)]
pub(super) struct Claims(Vec<(DeviceId, Said)>);

impl Claims {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&DeviceId, &Said)> {
        self.0.iter().map(|(neighbour, said)| (neighbour, said))
    }

    pub(super) fn insert(&mut self, neighbour: DeviceId, claim: Claim) {
        let said = Said { seen: claim.seen, hops: claim.hops, rtt_us: claim.rtt_us };
        match self.at(&neighbour) {
            Ok(at) => self.0[at].1 = said,
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (neighbour, said));
            }
        }
    }

    /// Whether it had said something.
    pub(super) fn remove(&mut self, neighbour: &DeviceId) -> bool {
        let at = self.at(neighbour);
        at.is_ok_and(|at| {
            self.0.remove(at);
            true
        })
    }

    /// Whether this neighbour says something.
    pub(super) fn of(&self, neighbour: &DeviceId) -> bool {
        self.at(neighbour).is_ok()
    }

    fn at(&self, neighbour: &DeviceId) -> Result<usize, usize> {
        self.0.binary_search_by(|(id, _)| id.cmp(neighbour))
    }
}
