//! Devices that are trying a password and have not got to the point where the try counts. Anybody may begin that and
//! wait, so their places are few and go round; a try that counts is bounded by the tries there are.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::collections::BTreeMap;
use tokio::sync::oneshot;

use super::PAIRINGS;
use crate::places::{Entry, Places};

/// The places of those who are trying.
#[derive(Debug)]
pub(super) struct Trying {
    places: Places,
    next: u64,
    /// By dropping it a try is ended.
    keep: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Default for Trying {
    fn default() -> Self {
        Self { places: Places::new(PAIRINGS), next: 0, keep: BTreeMap::new() }
    }
}

/// One of the places, until it is dropped.
pub(super) struct Try {
    all: Arc<Mutex<Trying>>,
    key: u64,
    kept: oneshot::Receiver<()>,
}

impl Try {
    /// A place for a device that comes from `ip`; `None` if there is none.
    pub(super) fn begin(all: &Arc<Mutex<Trying>>, ip: IpAddr) -> Option<Self> {
        let mut trying = lock(all);
        let key = trying.next;
        trying.next += 1;
        let Entry::In { evicted } = trying.places.enter(key, ip) else { return None };
        if let Some(evicted) = evicted {
            trying.keep.remove(&evicted);
        }
        let (keep, kept) = oneshot::channel();
        trying.keep.insert(key, keep);
        drop(trying);
        Some(Self { all: all.clone(), key, kept })
    }

    /// Waits until the place is given to another.
    pub(super) async fn lost(&mut self) {
        let _ = (&mut self.kept).await;
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        let mut trying = lock(&self.all);
        trying.places.leave(self.key);
        trying.keep.remove(&self.key);
    }
}

fn lock(all: &Mutex<Trying>) -> MutexGuard<'_, Trying> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}
