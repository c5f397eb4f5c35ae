use std::collections::BTreeMap;

use softbus_core::{CircleId, DeviceId, ErrorCode, ServiceName};
use softbus_trust::Role;
use tokio::sync::watch;

/// What a device is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Of a common circle, in this role.
    Trusted(Role),
    /// Unknown. It may speak `pair/1` while `pairing` is open, and nothing else.
    Stranger {
        /// Whether this device's user has pairing open.
        pairing: bool,
    },
}

impl Standing {
    /// The role of a trusted device.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Trusted(role) => Some(role),
            Self::Stranger { .. } => None,
        }
    }
}

/// The devices of one circle and their roles in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Our own role.
    pub own: Role,
    /// The others'.
    pub roles: BTreeMap<DeviceId, Role>,
}

impl Group {
    /// Whether both are of this circle, and the first as more than a guest: then it may know of the second.
    pub fn shows(&self, who: &DeviceId, whom: &DeviceId) -> bool {
        self.is_home_of(who) && self.roles.contains_key(whom)
    }

    /// Whether it is a member or an owner here.
    pub fn is_home_of(&self, id: &DeviceId) -> bool {
        self.roles.get(id).is_some_and(|role| *role != Role::Guest)
    }
}

/// The secret that keys a circle's discovery tags.
#[derive(Clone, PartialEq, Eq)]
pub struct TagSecret {
    /// Which circle.
    pub circle: CircleId,
    /// Its secret.
    pub secret: [u8; 32],
    /// Whether this is the circle's secret of today: the one to announce with. Earlier ones are only for
    /// recognising members who have not heard of the change yet.
    pub current: bool,
}

/// Decides whom this device talks to. Implemented by the membership keeper; asked on every handshake (resumed
/// sessions included) and before every service.
pub trait Judge: Send + Sync + 'static {
    /// What `peer` is to us now.
    fn standing(&self, peer: &DeviceId) -> Standing;
    /// This device's own highest role in any of its circles.
    fn own_role(&self) -> Option<Role> {
        None
    }
    /// Whether `peer`, which is not trusted, was in one of our circles and is out. It may ask `circle/1` for the proof
    /// of that, and nothing else; nobody need have told it.
    fn is_former(&self, peer: &DeviceId) -> bool {
        self.formers().contains(peer)
    }
    /// Every device that [is a former member](Judge::is_former), in order.
    fn formers(&self) -> Vec<DeviceId> {
        Vec::new()
    }
    /// Whether `peer`, which is not trusted, would be if its time in our circle were not over: an owner can renew it.
    fn is_expired(&self, _peer: &DeviceId) -> bool {
        false
    }
    /// Whether `peer` may open `service` here.
    fn may_open(&self, peer: &DeviceId, service: &ServiceName) -> Result<(), ErrorCode>;
    /// Every trusted device but ourselves, in order.
    fn peers(&self) -> Vec<DeviceId>;
    /// Secrets of our circles' discovery tags.
    fn tag_secrets(&self) -> Vec<TagSecret>;
    /// Keys of further tags to announce: by them those who have a link of ours (a pairing link) recognise us.
    fn link_tag_keys(&self) -> Vec<[u8; 32]> {
        Vec::new()
    }
    /// Whether to announce our id in the open (pairing is open, or we belong to no circle yet).
    fn announce_openly(&self) -> bool;
    /// Our circles: devices that share none must not learn of each other through us. One of all [`Judge::peers`]
    /// unless the judge knows better.
    fn groups(&self) -> Vec<Group> {
        let roles =
            self.peers().into_iter().filter_map(|id| Some((id, self.standing(&id).role()?))).collect();
        vec![Group { own: self.own_role().unwrap_or(Role::Member), roles }]
    }
    /// Our circles, with our own role in each.
    fn circles(&self) -> BTreeMap<CircleId, Role> {
        BTreeMap::new()
    }
    /// Our own role in one of our circles.
    fn own_role_in(&self, circle: &CircleId) -> Option<Role> {
        self.circles().get(circle).copied()
    }
    /// The role of another device in one of our circles. What [`Judge::standing`] says unless the judge knows better.
    fn role_in(&self, _circle: &CircleId, peer: &DeviceId) -> Option<Role> {
        self.standing(peer).role()
    }
    /// Changes whenever any of the answers above may have changed. Links of those who lost trust end at once.
    fn changed(&self) -> watch::Receiver<u64>;
}
