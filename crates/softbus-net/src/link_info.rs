use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::{DeviceId, LinkId};

/// Whether a device answers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Presence {
    /// Heard from within the suspicion time.
    Online,
    /// Nothing heard for a while; may come back.
    Suspect,
    /// Announced that it sleeps and when it wakes; counts as here, but slow.
    Asleep,
    /// Not reachable.
    #[default]
    Offline,
}

/// One link, as it is now.
#[derive(Clone, PartialEq, Debug)]
pub struct LinkInfo {
    /// The other device.
    pub peer: DeviceId,
    /// Names the link; outlives its connections. All zero (with generation 0) if the device was never reached
    /// since this net started; then [`LinkInfo::last_down`] says why.
    pub id: LinkId,
    /// How many connections have carried it.
    pub generation: u64,
    /// Whether it answers.
    pub presence: Presence,
    /// It shows as asleep only because the link rests, as neither side needs it; others may know that it is there.
    pub resting: bool,
    /// Where the peer is now.
    pub address: Option<SocketAddr>,
    /// Whether we dialled the present connection.
    pub dialled: bool,
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Lost packets, per thousand sent, over the recent past.
    pub loss_permille: u16,
    /// Estimated rate at which bulk data goes to the peer, in bytes per second; 0 if not yet known.
    pub rate_bytes_per_s: u64,
    /// Bytes sent and received since the link began.
    pub bytes: (u64, u64),
    /// Why it last went down, or did not come up, for people.
    pub last_down: Option<String>,
}

/// All links, by peer.
pub type Links = BTreeMap<DeviceId, Arc<LinkInfo>>;

/// Something happened to a link. Delivered in order; a slow reader is told that it missed some.
#[derive(Clone, PartialEq, Debug)]
pub enum LinkEvent {
    /// A connection carries the link (again).
    Up {
        /// The peer.
        peer: DeviceId,
        /// Nth connection.
        generation: u64,
        /// The peer restarted since we last saw it.
        rebooted: bool,
    },
    /// Presence changed.
    Presence {
        /// The peer.
        peer: DeviceId,
        /// To this.
        presence: Presence,
    },
    /// The peer's address changed under a live link.
    Moved {
        /// The peer.
        peer: DeviceId,
        /// Where it is now.
        address: SocketAddr,
    },
    /// No connection carries the link any more.
    Down {
        /// The peer.
        peer: DeviceId,
        /// Why, for people.
        reason: String,
    },
}
