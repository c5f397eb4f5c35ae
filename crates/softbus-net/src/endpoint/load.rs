//! What the requests of each device take of this one, over all its links and connections, those that drain and those of
//! a former life included: places that are free again when they are dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use softbus_core::{DeviceId, limits};

/// What is taken by each device.
#[derive(Default)]
pub(super) struct Loads(Mutex<BTreeMap<DeviceId, Load>>);

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Load {
    /// Requests that are being read.
    reading: usize,
    /// Their handlers at work.
    running: usize,
    /// Bytes of both, as announced.
    bytes: usize,
}

impl Load {
    fn fits(&self) -> bool {
        self.reading <= limits::PEER_REQUESTS
            && self.running <= limits::PEER_REQUESTS
            && self.bytes <= limits::PEER_REQUEST_BYTES
    }

    fn plus(self, other: Self) -> Self {
        Self {
            reading: self.reading.saturating_add(other.reading),
            running: self.running.saturating_add(other.running),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            reading: self.reading.saturating_sub(other.reading),
            running: self.running.saturating_sub(other.running),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// What one request takes.
pub(super) struct Place {
    loads: Arc<Loads>,
    device: DeviceId,
    takes: Load,
}

impl Loads {
    /// A place for a request of `len` bytes that is to be read; none if the device has too much under way.
    pub(super) fn read(self: &Arc<Self>, device: DeviceId, len: usize) -> Option<Place> {
        let takes = Load { reading: 1, running: 0, bytes: len };
        self.change(device, Load::default(), takes).then(|| Place { loads: self.clone(), device, takes })
    }

    /// Whether there was room for the change.
    fn change(&self, device: DeviceId, from: Load, to: Load) -> bool {
        let mut loads = self.lock();
        let load = loads.get(&device).copied().unwrap_or_default().minus(from).plus(to);
        let more = to.minus(from) != Load::default();
        if more && !load.fits() {
            return false;
        }
        if load == Load::default() {
            loads.remove(&device);
        } else {
            loads.insert(device, load);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Load>> {
        // Whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// It is read, and its handler begins, if there is room for one more. The handler holds its bytes.
    pub(super) fn run(&mut self) -> bool {
        let to = Load { reading: 0, running: 1, bytes: self.takes.bytes };
        let room = self.loads.change(self.device, self.takes, to);
        if room {
            self.takes = to;
        }
        room
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.loads.change(self.device, self.takes, Load::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: DeviceId = DeviceId([1; 32]);
    const B: DeviceId = DeviceId([2; 32]);

    #[test]
    fn bytes_are_bounded_for_each_device_until_their_handler_ends() {
        let loads = Arc::new(Loads::default());
        let most = limits::PEER_REQUEST_BYTES / limits::REQUEST_BYTES;
        let mut places: Vec<Place> =
            (0..most).map(|_| loads.read(A, limits::REQUEST_BYTES).unwrap()).collect();
        assert!(loads.read(A, 1).is_none());
        assert!(loads.read(A, 0).is_some() && loads.read(B, limits::REQUEST_BYTES).is_some());
        assert!(places[0].run() && loads.read(A, 1).is_none(), "a handler holds what it was given");
        drop(places.remove(0));
        assert!(loads.read(A, limits::REQUEST_BYTES).is_some());
        drop(places);
        assert!(loads.lock().is_empty());
    }

    #[test]
    fn readers_and_handlers_are_counted_apart() {
        let loads = Arc::new(Loads::default());
        let read = || loads.read(A, 10);
        let mut running: Vec<Place> = (0..limits::PEER_REQUESTS).map(|_| read().unwrap()).collect();
        assert!(read().is_none());
        assert!(running.iter_mut().all(Place::run));
        // All of them may be sent again after a redial.
        let mut again: Vec<Place> = (0..limits::PEER_REQUESTS).map(|_| read().unwrap()).collect();
        assert!(!again[0].run() && read().is_none());
        drop(running.pop());
        assert!(again[0].run() && !again[1].run());
        drop((running, again));
        assert!(loads.lock().is_empty());
    }
}
