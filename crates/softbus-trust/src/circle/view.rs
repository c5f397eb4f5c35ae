//! What the statements of a circle amount to at one moment.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use softbus_core::{CircleId, DeviceId, ServiceName, WallMs};

use crate::Role;

/// What an owner grants to a device: its role, until when, and for guests to what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// What it may do.
    pub role: Role,
    /// From when on it no longer counts; `None` for never. A guest always has an end.
    pub expires: Option<WallMs>,
    /// For guests: the services it may open, by exact name and version. At most
    /// [`GRANT_SERVICES`](super::GRANT_SERVICES). Empty for other roles.
    pub services: BTreeSet<ServiceName>,
}

/// A device of a circle.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// What it may do.
    pub role: Role,
    /// From when on it no longer counts; `None` for never.
    pub expires: Option<WallMs>,
    /// For guests: the services it may open.
    pub services: BTreeSet<ServiceName>,
}

impl Member {
    /// Whether it has just what `grant` says.
    pub fn is_granted(&self, grant: &Grant) -> bool {
        self.role == grant.role && self.expires == grant.expires && self.services == grant.services
    }

    /// Whether its time is not over. A guest without an end (which no well-formed statement makes) has none
    /// left.
    pub fn counts_at(&self, now: WallMs) -> bool {
        match self.expires {
            Some(end) => now < end,
            None => self.role != Role::Guest,
        }
    }
}

/// A circle as this device knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CircleView {
    /// Which circle.
    pub id: CircleId,
    /// The name it was founded under.
    pub name: String,
    /// Every admitted device that was not removed and did not leave, this device included. Those whose time is
    /// over are listed too: ask [`Member::counts_at`].
    pub members: BTreeMap<DeviceId, Member>,
    /// How many statements make it up.
    pub statements: usize,
}

impl CircleView {
    /// The member `device`, if its time is not over.
    pub fn member(&self, device: &DeviceId, now: WallMs) -> Option<&Member> {
        self.members.get(device).filter(|member| member.counts_at(now))
    }

    /// Whether `device` is an owner at `now`.
    pub fn is_owner(&self, device: &DeviceId, now: WallMs) -> bool {
        self.member(device, now).is_some_and(|member| member.role == Role::Owner)
    }

    /// Whether no owner is left at `now`: only the recovery key can change the circle.
    pub fn is_orphaned(&self, now: WallMs) -> bool {
        !self.members.values().any(|member| member.role == Role::Owner && member.counts_at(now))
    }

    /// When the last of its owners' times ends, as things are: `None` if one has no end.
    pub(super) fn owned_until(&self) -> Option<WallMs> {
        let owners = self.members.values().filter(|member| member.role == Role::Owner);
        owners.map(|owner| owner.expires).try_fold(WallMs(0), |last, end| Some(last.max(end?)))
    }

    /// The next moment after `now` at which somebody's time ends.
    pub fn next_expiry(&self, now: WallMs) -> Option<WallMs> {
        self.members.values().filter_map(|member| member.expires).filter(|end| *end > now).min()
    }
}

/// All circles of this device, as one consistent picture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CirclesView {
    /// This device.
    pub me: DeviceId,
    /// Its circles. One it was removed from or left is not among them.
    pub circles: BTreeMap<CircleId, CircleView>,
}

impl CirclesView {
    /// The highest role that `device` has at `now` in any circle of this device.
    pub fn role(&self, device: &DeviceId, now: WallMs) -> Option<Role> {
        self.circles.values().filter_map(|circle| circle.member(device, now)).map(|m| m.role).max()
    }

    /// Every device but this one that counts at `now`, with its highest role, in order.
    pub fn peers(&self, now: WallMs) -> BTreeMap<DeviceId, Role> {
        let mut peers = BTreeMap::new();
        for circle in self.circles.values() {
            for (device, member) in &circle.members {
                if *device != self.me && member.counts_at(now) {
                    let role = peers.entry(*device).or_insert(member.role);
                    *role = (*role).max(member.role);
                }
            }
        }
        peers
    }
}
