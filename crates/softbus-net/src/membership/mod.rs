//! Whom this device trusts: the keeper of its circles, durable, and the drivers of `pair/1` and `circle/1`.
//! What is decided is decided in `softbus_trust`, in pure code; here it meets disk, clock and network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::{CircleId, DeviceId, ErrorCode, ServiceName};
use softbus_trust::{CirclesView, DeviceKey, Grant, PairingState, Role};
use tokio::sync::watch;

use crate::seam::{Seam, store::Store};
use crate::{Judge, Net, Standing, TagSecret};

mod error;

pub use error::MembershipError;

/// What a device that joins is granted.
#[derive(Clone, Debug, Default)]
pub struct PairOptions {
    /// The circle that is offered; may be left out if this device is an owner of exactly one.
    pub circle: Option<CircleId>,
    /// What the other device gets if it joins ours; `None`: member, for 365 days.
    pub grant: Option<Grant>,
    /// If this device is in a circle already: whether it may join another.
    pub join: bool,
}

/// A circle that was just founded.
#[derive(Clone, PartialEq, Eq)]
pub struct Founded {
    /// Which.
    pub circle: CircleId,
    /// The 24 words of its recovery key. They are shown once and kept nowhere.
    pub recovery_words: String,
}

/// What a pairing came to.
#[derive(Clone, PartialEq, Eq)]
pub struct Paired {
    /// The other device.
    pub peer: DeviceId,
    /// The circle both are in now.
    pub circle: CircleId,
    /// Whether this device joined (or else admitted the other).
    pub joined: bool,
    /// If the circle had to be founded here, since neither device was in one: its recovery words.
    pub founded: Option<Founded>,
}

/// Keeps this device's circles. See the [module's words](self).
pub struct Keeper {}

#[allow(unused_variables, clippy::todo, clippy::unused_async)]
impl Keeper {
    /// Reads the circles from `store`.
    pub async fn open(store: Store, seam: Seam, key: Arc<DeviceKey>) -> Result<Arc<Self>, MembershipError> {
        todo!()
    }
    /// Registers `pair/1` and `circle/1` on `net`'s router and starts to keep the circles in step with the peers.
    pub fn attach(self: &Arc<Self>, net: &Net) {
        todo!()
    }
    /// All circles, as they change.
    pub fn watch(&self) -> watch::Receiver<Arc<CirclesView>> {
        todo!()
    }
    /// All circles now.
    pub fn circles(&self) -> Arc<CirclesView> {
        todo!()
    }
    /// Founds a circle of this device alone, as its owner without end.
    pub async fn found(&self, name: &str) -> Result<Founded, MembershipError> {
        todo!()
    }
    /// Opens pairing: makes a PIN to be typed on the other device.
    pub async fn open_pairing(
        &self,
        options: PairOptions,
    ) -> Result<watch::Receiver<PairingState>, MembershipError> {
        todo!()
    }
    /// Cancels pairing, the links given out included if `invitations`.
    pub async fn close_pairing(&self, invitations: bool) -> Result<(), MembershipError> {
        todo!()
    }
    /// How pairing stands.
    pub fn pairing(&self) -> watch::Receiver<PairingState> {
        todo!()
    }
    /// Pairs with the device at `addr`, which shows `pin`. `expected`, if known, must be who answers.
    pub async fn pair_with(
        &self,
        addr: SocketAddr,
        expected: Option<DeviceId>,
        pin: &str,
        options: PairOptions,
    ) -> Result<Paired, MembershipError> {
        todo!()
    }
    /// Makes a link (for a QR code, say) that pairs one device until `lives` is over.
    pub async fn invite(&self, options: PairOptions, lives: Duration) -> Result<String, MembershipError> {
        todo!()
    }
    /// Pairs by a link made with [`Keeper::invite`].
    pub async fn pair_by_ticket(&self, link: &str, options: PairOptions) -> Result<Paired, MembershipError> {
        todo!()
    }
    /// Removes a device. Its links end on every device that learns of it.
    pub async fn remove(&self, circle: Option<CircleId>, device: DeviceId) -> Result<(), MembershipError> {
        todo!()
    }
    /// Leaves a circle. The last owner leaves only with `force`.
    pub async fn leave(&self, circle: Option<CircleId>, force: bool) -> Result<(), MembershipError> {
        todo!()
    }
    /// Gives a member another end, `lives` from now; `None` for never.
    pub async fn renew(
        &self,
        circle: Option<CircleId>,
        device: DeviceId,
        lives: Option<Duration>,
    ) -> Result<(), MembershipError> {
        todo!()
    }
    /// Gives a member another role (with what else its grant says).
    pub async fn set_role(
        &self,
        circle: Option<CircleId>,
        device: DeviceId,
        grant: Grant,
    ) -> Result<(), MembershipError> {
        todo!()
    }
    /// Puts `new` in the place of the lost device `old`, in one statement.
    pub async fn replace(
        &self,
        circle: Option<CircleId>,
        old: DeviceId,
        new: DeviceId,
        grant: Grant,
    ) -> Result<(), MembershipError> {
        todo!()
    }
    /// Makes this device the owner of an orphaned circle by its recovery words. All other owners are removed,
    /// save those in `keep`.
    pub async fn recover(
        &self,
        circle: Option<CircleId>,
        words: &str,
        keep: Vec<DeviceId>,
    ) -> Result<(), MembershipError> {
        todo!()
    }
}

#[allow(unused_variables, clippy::todo)]
impl Judge for Keeper {
    fn standing(&self, peer: &DeviceId) -> Standing {
        todo!()
    }
    fn may_open(&self, peer: &DeviceId, service: &ServiceName) -> Result<(), ErrorCode> {
        todo!()
    }
    fn peers(&self) -> Vec<DeviceId> {
        todo!()
    }
    fn tag_secrets(&self) -> Vec<TagSecret> {
        todo!()
    }
    fn announce_openly(&self) -> bool {
        todo!()
    }
    fn changed(&self) -> watch::Receiver<u64> {
        todo!()
    }
}

/// The role a grant gives when nothing else is said.
pub const DEFAULT_ROLE: Role = Role::Member;
