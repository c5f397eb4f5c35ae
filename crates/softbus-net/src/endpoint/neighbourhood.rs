//! Discovery: what we say of ourselves, and whom of our circle we recognise. A sighting is a hint.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::link::VERSIONS;
use softbus_core::{DeviceId, limits};
use softbus_trust::tag::{hour, tag};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Core;
use super::former::FORMERS;
use crate::Judge;
use crate::channel::canonical;
use crate::seam::{Announcement, Clock, Sighting};

/// Tags are made anew each hour.
const HOUR_MS: u64 = 3_600_000;
/// Most circles whose tags are announced.
const TAG_CIRCLES: usize = 8;
/// Most links whose tags are announced.
const TAG_LINKS: usize = 7;
/// Most secrets (of today and of earlier) that tags are recognised by.
const TAG_SECRETS: usize = 64;
/// Browsing that ended is begun again after this, at first and at most.
const BROWSE_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// An announcement is looked over this often (its tags change with the hour).
const ANNOUNCE_EVERY: Duration = Duration::from_secs(300);
/// Changes that come together are announced together.
const ANNOUNCE_CALM: Duration = Duration::from_millis(20);

/// So many sightings are taken in at once, ...
const SIGHTINGS_AT_ONCE: u32 = 64;
/// ... and then no more until this long after the first of them.
const SIGHTINGS_EVERY: Duration = Duration::from_millis(100);
/// What is in sight is published so often at most.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// What discovery sees, and whom the tags mean.
#[derive(Default)]
pub(super) struct Nearby {
    seen: BTreeMap<Arc<str>, Sighting>,
    /// Since it was published.
    changed: bool,
    /// Ascending, each with the place of its device in `tagged`: in a large circle they are many.
    tags: Vec<([u8; 8], u32)>,
    tagged: Vec<DeviceId>,
    /// Devices that are out of our circles.
    formers: BTreeSet<DeviceId>,
    hour: u64,
}

impl Nearby {
    /// Computes the tags of every trusted device, of this one, and of those that are out and may not know it, for this and
    /// the neighbouring hours.
    pub(super) fn retag(
        &mut self,
        judge: &dyn Judge,
        clock: &dyn Clock,
        me: DeviceId,
        trusted: &BTreeSet<DeviceId>,
    ) {
        self.hour = hour(clock.wall());
        self.formers = judge.formers().into_iter().take(FORMERS).collect();
        self.tagged = trusted.iter().chain(&self.formers).chain([&me]).copied().collect();
        let secrets = judge.tag_secrets();
        let hours = self.hour.saturating_sub(1)..=self.hour.saturating_add(1);
        self.tags.clear();
        for secret in secrets.iter().take(TAG_SECRETS) {
            for hour in hours.clone() {
                let places = self.tagged.iter().zip(0u32..);
                self.tags.extend(places.map(|(device, place)| (tag(&secret.secret, device, hour), place)));
            }
        }
        self.tags.sort_unstable();
    }

    /// Trusted devices in sight, and where.
    pub(super) fn matches(&self, trusted: &BTreeSet<DeviceId>) -> Vec<(DeviceId, SocketAddr)> {
        let trusted = |id: &DeviceId| trusted.contains(id);
        self.seen.values().flat_map(|sighting| self.recognise(sighting, trusted)).collect()
    }

    /// Whose tag it has.
    pub(super) fn by_tag(&self, announcement: &Announcement) -> Option<DeviceId> {
        announcement.tags.iter().find_map(|tag| {
            let (known, place) = self.tags.get(self.tags.partition_point(|(known, _)| known < tag))?;
            self.tagged.get(*place as usize).filter(|_| known == tag).copied()
        })
    }

    fn recognise(
        &self,
        sighting: &Sighting,
        trusted: impl Fn(&DeviceId) -> bool,
    ) -> Vec<(DeviceId, SocketAddr)> {
        let Sighting::Seen { addresses, announcement, .. } = sighting else { return Vec::new() };
        let id = self.by_tag(announcement).or(announcement.id).filter(&trusted);
        let Some(id) = id else { return Vec::new() };
        addresses.iter().take(limits::PEER_ADDRESSES / 2).map(|addr| (id, canonical(*addr))).collect()
    }

    /// Devices in sight that are out of a circle and still announce themselves as of it, and where. (One that says
    /// its id in the open says nothing of a circle.)
    pub(super) fn formers_in_sight(&self) -> BTreeMap<DeviceId, Vec<SocketAddr>> {
        let mut found: BTreeMap<DeviceId, Vec<SocketAddr>> = BTreeMap::new();
        if self.formers.is_empty() {
            return found;
        }
        for sighting in self.seen.values() {
            let Sighting::Seen { addresses, announcement, .. } = sighting else { continue };
            let id = self.by_tag(announcement).filter(|id| self.formers.contains(id));
            if let Some(id) = id {
                // Of a device that restarted there are two records for a while.
                let known = found.entry(id).or_default();
                known.extend(addresses.iter().map(|addr| canonical(*addr)));
                known.truncate(limits::PEER_ADDRESSES);
            }
        }
        found
    }

    fn forget(&mut self) {
        self.changed |= !self.seen.is_empty();
        self.seen.clear();
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
            }
            Sighting::Gone { key } if self.seen.remove(key).is_none() => return false,
            Sighting::Gone { .. } => {}
        }
        self.changed = true;
        true
    }
}

impl Core {
    /// The device whose tag an announcement has.
    pub(crate) fn recognise(&self, announcement: &Announcement) -> Option<DeviceId> {
        let hub = self.hub();
        hub.nearby.by_tag(announcement).filter(|id| !hub.nearby.formers.contains(id))
    }

    pub(super) async fn browse_loop(self: Arc<Self>) {
        let mut wait = BROWSE_AGAIN.0;
        loop {
            match self.seam.discovery.browse() {
                Ok(mut sightings) => {
                    // What an ended subscription saw may have gone unnoticed since.
                    self.hub().nearby.forget();
                    let mut pace = (Instant::now(), 0);
                    while let Some(sighting) = sightings.recv().await {
                        wait = BROWSE_AGAIN.0;
                        self.sighted(sighting);
                        // What comes faster waits; whoever feeds us tells what changed meanwhile once.
                        pace.1 += 1;
                        if pace.1 >= SIGHTINGS_AT_ONCE {
                            tokio::time::sleep_until(pace.0 + SIGHTINGS_EVERY).await;
                            pace = (Instant::now(), 0);
                        }
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
            let hub = &mut *hub;
            if hub.nearby.hour != hour(self.seam.clock.wall()) {
                hub.nearby.retag(&*self.judge, &*self.seam.clock, self.me, &hub.trusted);
            }
            let found = hub.nearby.recognise(&sighting, |id| hub.trusted.contains(id));
            if hub.nearby.note(sighting) {
                self.in_sight.notify_one();
                self.sighted.notify_one();
            }
            found
        };
        if !found.is_empty() {
            self.learn(&found, false);
        }
    }

    /// What is in sight, as a list that is published anew when it changes.
    pub(crate) fn nearby(&self) -> watch::Receiver<Arc<Vec<Sighting>>> {
        // Under one lock: no change falls between the list and its reader.
        let mut hub = self.hub();
        self.publish_nearby(&mut hub.nearby);
        self.nearby.subscribe()
    }

    /// How many devices are in sight.
    pub(crate) fn sightings(&self) -> usize {
        self.hub().nearby.seen.len()
    }

    /// Publishes what is in sight while somebody listens: at once, and then so often at most. The whole list is made anew
    /// each time.
    pub(super) async fn nearby_loop(self: Arc<Self>) {
        loop {
            self.in_sight.notified().await;
            if self.nearby.receiver_count() > 0 {
                self.publish_nearby(&mut self.hub().nearby);
                tokio::time::sleep(PUBLISH_EVERY).await;
            }
        }
    }

    fn publish_nearby(&self, nearby: &mut Nearby) {
        if std::mem::take(&mut nearby.changed) {
            self.nearby.send_replace(Arc::new(nearby.seen.values().cloned().collect()));
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
        let tags = secrets.iter().filter(|s| s.current).take(TAG_CIRCLES).map(|s| s.secret);
        let links = self.judge.link_tag_keys().into_iter().take(TAG_LINKS);
        let tags = tags.chain(links).flat_map(|key| [now, other].map(|h| tag(&key, &self.me, h)));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's helpers are tests, too")]

    use std::io;
    use std::sync::Mutex;

    use softbus_trust::DeviceKey;
    use tokio::sync::mpsc;

    use super::*;
    use crate::seam::memory::World;
    use crate::seam::{BoxFuture, Discovery};
    use crate::testing::FixedJudge;
    use crate::{Net, NetConfig, Router};

    /// Sees what a test tells it.
    struct Told(Mutex<Option<mpsc::Receiver<Sighting>>>);

    impl Discovery for Told {
        fn browse(&self) -> io::Result<mpsc::Receiver<Sighting>> {
            self.0.lock().unwrap().take().ok_or_else(|| io::ErrorKind::Unsupported.into())
        }
        fn announce(&self, _: &Announcement) -> io::Result<()> {
            Ok(())
        }
        fn goodbye(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    fn sighting(n: usize) -> Sighting {
        let announcement = Announcement { port: 1, versions: (1, 1), ..Announcement::default() };
        let addresses = [SocketAddr::from(([10, 0, 0, 1], 1))].into();
        Sighting::Seen { key: format!("{n}").into(), addresses, announcement: announcement.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_sightings_is_taken_in_at_its_pace() {
        let world = World::new(1);
        let mut seam = world.host("a").seam();
        let (tell, told) = mpsc::channel(8);
        seam.discovery = Arc::new(Told(Mutex::new(Some(told))));
        let key = Arc::new(DeviceKey::from_seed(&[1; 32]));
        let net = Net::start(seam, key, FixedJudge::new([]), Router::new(), NetConfig::default());
        let net = net.await.unwrap();
        let mut nearby = net.nearby();
        tell.send(sighting(0)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(nearby.borrow_and_update().len(), 1, "the first one at once");
        let flood = tokio::spawn(async move {
            for n in 0..3 * limits::SIGHTINGS {
                tell.send(sighting(n)).await.unwrap();
            }
            tell
        });
        let (mut published, begun) = (0, Instant::now());
        while nearby.borrow_and_update().len() < limits::SIGHTINGS {
            nearby.changed().await.unwrap();
            published += 1;
            let seen = nearby.borrow().len() as u64;
            let passed = begun.elapsed().as_millis() as u64;
            assert!(seen <= (passed / 100 + 3) * u64::from(SIGHTINGS_AT_ONCE), "{seen} in {passed} ms");
        }
        assert!(published <= begun.elapsed().as_millis() / 100 + 2, "{published}");
        drop(flood.await.unwrap());
        assert_eq!(nearby.borrow().len(), limits::SIGHTINGS);
    }
}
