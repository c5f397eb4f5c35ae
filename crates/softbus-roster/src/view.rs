//! What the roster knows, as one consistent picture.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::{DeviceId, DynamicProfile, StaticProfile};
use softbus_net::{LinkInfo, Presence};
use softbus_trust::Role;
use tokio::time::Instant;

/// Every trusted device and this one, at one moment. Cheap to clone (behind an [`Arc`]) and never torn.
#[derive(Clone, PartialEq, Debug)]
pub struct RosterView {
    /// Number of the last [event](crate::Event) that this view includes.
    pub seq: u64,
    /// This device.
    pub me: DeviceId,
    /// All devices, this one included.
    pub entries: BTreeMap<DeviceId, Arc<RosterEntry>>,
}

impl RosterView {
    /// A view that knows nothing but whose it is.
    pub fn empty(me: DeviceId) -> Self {
        Self { seq: 0, me, entries: BTreeMap::new() }
    }

    /// What is known of `id`; `None` if it is not trusted.
    pub fn get(&self, id: &DeviceId) -> Option<&Arc<RosterEntry>> {
        self.entries.get(id)
    }

    /// This device's own entry.
    pub fn own(&self) -> Option<&Arc<RosterEntry>> {
        self.entries.get(&self.me)
    }

    /// All devices but this one, in order of id.
    pub fn others(&self) -> impl Iterator<Item = &Arc<RosterEntry>> {
        self.entries.values().filter(|entry| entry.id != self.me)
    }

    /// The devices that somebody calls `text`: by name, by whole id, or by the last letters of the id (at
    /// least four). More than one if the name is taken twice.
    pub fn find(&self, text: &str) -> Vec<DeviceId> {
        if let Ok(id) = text.parse::<DeviceId>() {
            return self.entries.contains_key(&id).then_some(id).into_iter().collect();
        }
        let named = |entry: &&Arc<RosterEntry>| entry.name().is_some_and(|name| name == text);
        let by_name: Vec<_> = self.entries.values().filter(named).map(|entry| entry.id).collect();
        if !by_name.is_empty() || text.len() < 4 {
            return by_name;
        }
        self.entries.keys().filter(|id| id.to_string().ends_with(text)).copied().collect()
    }
}

/// What is known of one device.
#[derive(Clone, PartialEq, Debug)]
pub struct RosterEntry {
    /// The device.
    pub id: DeviceId,
    /// Its role in a common circle. `None` only for this device while it is in no circle.
    pub role: Option<Role>,
    /// Whether it answers.
    pub presence: Presence,
    /// How we know.
    pub source: Source,
    /// What it is, once heard; signed by it, not expired.
    pub profile: Option<Arc<StaticProfile>>,
    /// How it is right now, as last heard.
    pub now: Option<Arc<Sampled>>,
    /// Our link with it, if we have or had one.
    pub link: Option<Arc<LinkInfo>>,
}

impl RosterEntry {
    /// The name its person gave it, once heard.
    pub fn name(&self) -> Option<&str> {
        self.profile.as_ref().map(|profile| profile.name.as_str())
    }

    /// Round-trip time to it over our link, `None` without one that is up.
    pub fn rtt(&self) -> Option<Duration> {
        let link = self.link.as_ref()?;
        (link.presence != Presence::Offline).then_some(link.rtt)
    }
}

/// How we know of a device's presence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Source {
    /// It is this device.
    Oneself,
    /// Over our own link with it (or we lost that link a moment ago).
    Direct,
    /// A neighbour says so.
    Via {
        /// Which.
        neighbour: DeviceId,
        /// Through how many others that neighbour sees it: 0 if by a link of its own.
        hops: u8,
        /// Round-trip time along that way in microseconds, ours to the neighbour included.
        rtt_us: u32,
    },
    /// Nobody we hear sees it.
    Nobody,
}

/// A dynamic profile and when it was true.
#[derive(Clone, PartialEq, Debug)]
pub struct Sampled {
    /// Nth start of the device: grows with each, so that values of before a reboot are never taken for new.
    pub boot: u64,
    /// When it was sampled, on our own monotonic clock.
    pub at: Instant,
    /// Who told us: the device itself, or whoever passed it on.
    pub from: DeviceId,
    /// The values.
    pub profile: DynamicProfile,
}

impl Sampled {
    /// How old it is.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}
