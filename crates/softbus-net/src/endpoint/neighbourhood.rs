//! Discovery: what we say of ourselves, and whom of our circle we recognise. A sighting is a hint.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::link::VERSIONS;
use softbus_core::{DeviceId, limits};
use softbus_trust::tag::{hour, tag};

use super::Core;
use crate::Judge;
use crate::channel::canonical;
use crate::seam::{Announcement, Clock, Sighting};

/// Tags are made anew each hour.
const HOUR_MS: u64 = 3_600_000;
/// Most circles whose tags are announced.
const TAG_CIRCLES: usize = 8;
/// Most secrets (of today and of earlier) that tags are recognised by.
const TAG_SECRETS: usize = 32;
/// Browsing that ended is begun again after this, at first and at most.
const BROWSE_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// An announcement is looked over this often (its tags change with the hour).
const ANNOUNCE_EVERY: Duration = Duration::from_secs(300);
/// Changes that come together are announced together.
const ANNOUNCE_CALM: Duration = Duration::from_millis(20);

/// What discovery sees, and whom the tags mean.
#[derive(Default)]
pub(super) struct Nearby {
    seen: BTreeMap<String, Sighting>,
    tags: BTreeMap<[u8; 8], DeviceId>,
    hour: u64,
}

impl Nearby {
    /// Computes the tags of every trusted device for this and the neighbouring hours.
    pub(super) fn retag(&mut self, judge: &dyn Judge, clock: &dyn Clock, trusted: &BTreeSet<DeviceId>) {
        self.hour = hour(clock.wall());
        self.tags.clear();
        for secret in judge.tag_secrets().iter().take(TAG_SECRETS) {
            for device in trusted {
                for hour in self.hour.saturating_sub(1)..=self.hour.saturating_add(1) {
                    self.tags.insert(tag(&secret.secret, device, hour), *device);
                }
            }
        }
    }

    /// Trusted devices in sight, and where.
    pub(super) fn matches(&self, trusted: &BTreeSet<DeviceId>) -> Vec<(DeviceId, SocketAddr)> {
        self.seen.values().flat_map(|sighting| self.recognise(sighting, trusted)).collect()
    }

    fn recognise(&self, sighting: &Sighting, trusted: &BTreeSet<DeviceId>) -> Vec<(DeviceId, SocketAddr)> {
        let Sighting::Seen { addresses, announcement, .. } = sighting else { return Vec::new() };
        let by_tag = announcement.tags.iter().find_map(|tag| self.tags.get(tag));
        let id = by_tag.copied().or(announcement.id).filter(|id| trusted.contains(id));
        let Some(id) = id else { return Vec::new() };
        addresses.iter().take(limits::PEER_ADDRESSES / 2).map(|addr| (id, canonical(*addr))).collect()
    }

    /// Notes a sighting; `false` if it says nothing new.
    fn note(&mut self, sighting: Sighting) -> bool {
        match &sighting {
            Sighting::Seen { key, .. } => {
                let room = self.seen.len() < limits::SIGHTINGS || self.seen.contains_key(key);
                if !room || self.seen.get(key) == Some(&sighting) {
                    return false;
                }
                self.seen.insert(key.clone(), sighting);
                true
            }
            Sighting::Gone { key } => self.seen.remove(key).is_some(),
        }
    }
}

impl Core {
    pub(super) async fn browse_loop(self: Arc<Self>) {
        let mut wait = BROWSE_AGAIN.0;
        loop {
            match self.seam.discovery.browse() {
                Ok(mut sightings) => {
                    // What an ended subscription saw may have gone unnoticed since.
                    self.hub().nearby.seen.clear();
                    while let Some(sighting) = sightings.recv().await {
                        wait = BROWSE_AGAIN.0;
                        self.sighted(sighting);
                    }
                    tracing::warn!("browsing ended; beginning again");
                }
                Err(error) => tracing::warn!(%error, "cannot browse"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BROWSE_AGAIN.1);
        }
    }

    fn sighted(self: &Arc<Self>, sighting: Sighting) {
        let found = {
            let mut hub = self.hub();
            let trusted: BTreeSet<DeviceId> = hub.peers.keys().copied().collect();
            let hub = &mut *hub;
            if hub.nearby.hour != hour(self.seam.clock.wall()) {
                hub.nearby.retag(&*self.judge, &*self.seam.clock, &trusted);
            }
            let found = hub.nearby.recognise(&sighting, &trusted);
            if hub.nearby.note(sighting) {
                let list = hub.nearby.seen.values().cloned().collect();
                self.nearby.send_replace(Arc::new(list));
            }
            found
        };
        if !found.is_empty() {
            self.learn(&found, false);
        }
    }

    pub(super) async fn announce_loop(self: Arc<Self>) {
        let mut last = None;
        loop {
            let announcement = self.announcement();
            if last.as_ref() != Some(&announcement) {
                match self.seam.discovery.announce(&announcement) {
                    Ok(()) => last = Some(announcement),
                    Err(error) => tracing::warn!(%error, "cannot announce"),
                }
            }
            tokio::select! {
                biased;
                () = self.announce.notified() => tokio::time::sleep(ANNOUNCE_CALM).await,
                () = tokio::time::sleep(ANNOUNCE_EVERY) => {}
            }
        }
    }

    fn announcement(&self) -> Announcement {
        let wall = self.seam.clock.wall();
        let now = hour(wall);
        // In the first half of an hour a reader's clock may still be in the one before, in the second half in
        // the one to come.
        let other =
            if wall.0 % HOUR_MS < HOUR_MS / 2 { now.saturating_sub(1) } else { now.saturating_add(1) };
        let secrets = self.judge.tag_secrets();
        let tags = secrets
            .iter()
            .filter(|s| s.current)
            .take(TAG_CIRCLES)
            .flat_map(|s| [now, other].map(|h| tag(&s.secret, &self.me, h)));
        let addresses: BTreeSet<_> =
            self.seam.sockets.addresses(&self.config.bind).borrow().iter().copied().collect();
        Announcement {
            port: self.port(),
            addresses: addresses.into_iter().collect(),
            versions: self.config.versions.unwrap_or(VERSIONS),
            kind: self.config.kind,
            name: self.config.name.clone(),
            id: self.judge.announce_openly().then_some(self.me),
            tags: tags.collect(),
        }
    }
}
