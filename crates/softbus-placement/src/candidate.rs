use core::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use softbus_core::{DeviceId, DynamicProfile, Profile, StaticProfile};

/// What a device is to the circle that the work belongs to. Ordered: an owner is trusted with more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// Invited for named services.
    Guest,
    /// One of the circle.
    Member,
    /// Owns the circle.
    Owner,
}

/// Whether a device answers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// Heard from just now.
    Online,
    /// Nothing heard for a while.
    Suspect,
    /// Announced that it sleeps.
    Asleep,
    /// Not reachable.
    #[default]
    Offline,
}

/// The measured link between the deciding device and a candidate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Link {
    /// Round-trip time; 0 if not yet known.
    pub rtt_us: u64,
    /// Rate of bulk data; 0 if not yet known. Unknown values are assumed, see [`Weights`](crate::Weights).
    pub rate_bytes_per_s: u64,
    /// Lost packets per thousand.
    pub loss_permille: u16,
}

/// How the deciding device reaches a candidate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// It is the deciding device.
    Local,
    /// Over a link.
    Link(Link),
}

/// What others have reserved on a candidate (see [`Leases`](crate::Leases)), not counted in its profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Reserved {
    /// Pieces of work.
    pub jobs: u32,
    /// Their operations.
    pub ops: u64,
    /// Their memory.
    pub memory_bytes: u64,
    /// The device said that it grants no more leases for now.
    pub full: bool,
}

/// What is known of a candidate. As a [`Profile`], but what it is stays shared with the roster, so that many can be looked
/// at without being copied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// What it is.
    pub fixed: Arc<StaticProfile>,
    /// What it can do right now, if heard.
    pub now: Option<DynamicProfile>,
}

impl From<Profile> for Known {
    fn from(profile: Profile) -> Self {
        Self { fixed: Arc::new(profile.fixed), now: profile.now }
    }
}

/// A device that might take the work, as the deciding device knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Which device.
    pub id: DeviceId,
    /// Its profile, if known.
    pub profile: Option<Known>,
    /// What it is to the circle.
    pub trust: Trust,
    /// Whether it answers. The deciding device itself is online.
    pub presence: Presence,
    /// Time since its dynamic profile was heard.
    pub age_us: u64,
    /// How it is reached.
    pub reach: Reach,
    /// What others have reserved there.
    pub reserved: Reserved,
    /// It is shutting down and moves its tasks away.
    pub draining: bool,
}

impl Candidate {
    /// The deciding device itself, as its own owner; its profile is fresh.
    pub fn local(id: DeviceId, profile: Option<Known>) -> Self {
        Self {
            id,
            profile,
            trust: Trust::Owner,
            presence: Presence::Online,
            age_us: 0,
            reach: Reach::Local,
            reserved: Reserved::default(),
            draining: false,
        }
    }

    /// Another device that is online, with a fresh profile.
    pub fn remote(id: DeviceId, profile: impl Into<Known>, trust: Trust, link: Link) -> Self {
        Self { trust, reach: Reach::Link(link), ..Self::local(id, Some(profile.into())) }
    }

    /// The name its person gave it, or the end of its id.
    pub fn name(&self) -> String {
        match &self.profile {
            Some(profile) if !profile.fixed.name.is_empty() => profile.fixed.name.clone(),
            _ => self.id.short(),
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Guest => "guest",
            Self::Member => "member",
            Self::Owner => "owner",
        })
    }
}

impl fmt::Display for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Online => "online",
            Self::Suspect => "suspect",
            Self::Asleep => "asleep",
            Self::Offline => "offline",
        })
    }
}
