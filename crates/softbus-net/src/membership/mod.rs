//! Whom this device trusts: the [`Keeper`] of its circles, durable, and the drivers of `pair/1` and `circle/1`.
//! What is decided is decided in `softbus_trust`, in pure code; here it meets disk, clock and network.
//!
//! A change is on disk before anybody sees it; then the [view](Keeper::watch) changes, the
//! [judge](crate::Judge::changed) is asked anew (which ends the links of those who lost trust), and linked peers
//! are told.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use softbus_core::{CircleId, DeviceId, ServiceName};
use softbus_trust::Grant;
use zeroize::Zeroizing;

use crate::Net;

mod admission;
mod changes;
mod error;
mod judge;
mod keeper;
mod opener;
mod pairing;
mod refusals;
mod shelf;
mod sync;
#[cfg(test)]
mod tests;
mod trying;
mod words;

pub use error::MembershipError;
pub use keeper::Keeper;
pub use pairing::{Opening, default_end};
pub use shelf::read_stored;
pub use sync::read_exchange;
pub use words::read_words;

/// Most circles of one device; most have one.
pub const CIRCLES: usize = softbus_core::wire::pair::OFFER_CIRCLES;
/// How long trust lasts unless said otherwise.
pub const DEFAULT_GRANT: Duration = Duration::from_secs(365 * 86_400);
/// The shortest that trust may last.
pub const SHORTEST_GRANT: Duration = Duration::from_secs(86_400);
/// Most links given out and not used yet.
pub const INVITATIONS: usize = 16;
/// Shortest and longest life of a link.
pub const INVITATION_LIFE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(7 * 86_400));
/// Devices that may be trying the PIN shown here at once, until their try counts.
pub const PAIRINGS: usize = 4;

/// What is to come of a pairing, as this device's user sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PairOptions {
    /// The circle that is offered; may be left out if this device is an owner of at most one.
    pub circle: Option<CircleId>,
    /// What the other device gets if it joins our circle; `None`: member, for [`DEFAULT_GRANT`].
    pub grant: Option<Grant>,
    /// If this device is in a circle already: whether it may join another.
    pub join: bool,
}

/// A circle that was just founded.
#[derive(Clone, PartialEq, Eq)]
pub struct Founded {
    /// Which.
    pub circle: CircleId,
    /// The 24 words of its recovery key. Show them to the person, then say so ([`Keeper::words_shown`]): from then on
    /// they are kept nowhere.
    pub recovery_words: Zeroizing<String>,
}

/// What a pairing came to.
#[derive(Clone, PartialEq, Eq, Debug)]
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

impl Keeper {
    /// Registers `pair/1` and `circle/1` on `net`'s router and starts to keep the circles in step with the peers, until
    /// `net` is shut down.
    pub fn attach(self: &Arc<Self>, net: &Net) {
        *self.net.lock().unwrap_or_else(PoisonError::into_inner) = Some(net.clone());
        net.router().serve(pair_service(), Arc::new(opener::Answer(self.clone())));
        net.router().answer(circle_service(), Arc::new(sync::Answer(self.clone())));
        let runtime = self.seam.sockets.runtime();
        runtime.spawn(Box::pin(self.clone().keep_in_step(net.clone())));
        runtime.spawn(Box::pin(self.clone().mind_the_clock()));
    }

    /// Lets go of the network room: what [`Keeper::attach`] started ends. Happens by itself when that room shuts
    /// down.
    pub fn detach(&self) {
        let net = self.net.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(net) = net {
            net.router().withdraw(&pair_service());
            net.router().withdraw(&circle_service());
        }
        self.clockwork.notify_one();
    }
}

fn pair_service() -> ServiceName {
    ServiceName::try_from("pair/1").expect("a well-formed name")
}

fn circle_service() -> ServiceName {
    ServiceName::try_from("circle/1").expect("a well-formed name")
}
