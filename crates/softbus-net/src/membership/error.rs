use std::time::Duration;

use softbus_core::{CircleId, DeviceId, ErrorCode};
use softbus_trust::TicketError;
use softbus_trust::access::AccessError;
use softbus_trust::pairing::PinError;

use crate::NetError;
use crate::seam::store::StoreError;

/// Why membership could not be changed or a pairing came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The PIN typed (or the link's secret) is not the one the other device has.
    #[error("wrong PIN; {tries_left} more tries before pairing is frozen")]
    WrongPin {
        /// Tries left on the other device.
        tries_left: u8,
    },
    /// Too many wrong tries, on the device that shows the PIN.
    #[error("too many wrong PINs: pairing is frozen for {} s; wait, then open it again", .lasts.as_secs())]
    Frozen {
        /// For how long from now.
        lasts: Duration,
    },
    /// The PIN or link is too old.
    #[error("the PIN or link has expired or was used already: make a new one on the other device")]
    Expired,
    /// The other device's user has not opened pairing.
    #[error("pairing is not open on the other device: open it there first")]
    NotOpen,
    /// One of the two users cancelled.
    #[error("the pairing was cancelled")]
    Cancelled,
    /// The password was right, but the two devices do not see the same connection.
    #[error(
        "a third device is in the middle of this pairing: nothing was paired; try again on a network you trust"
    )]
    ThirdDevice,
    /// The device that answered could not prove that it knows the PIN.
    #[error("the other device could not prove that it shows this PIN: nothing was paired")]
    NotProven,
    /// Only an owner may do this.
    #[error("this needs an owner of the circle: do it on a device that is one")]
    NotOwner,
    /// Neither of the two devices may admit the other.
    #[error(
        "neither device is an owner of a circle that the other could join, nor knows it as one that is in already: pair \
         with an owner"
    )]
    NobodyAdmits,
    /// Neither was in a circle, so one was founded here; then the other device did not join.
    #[error(
        "a circle was founded here, but the other device did not join it: {why}; write down the recovery words, then \
         pair again"
    )]
    Alone {
        /// With its recovery words, which wait to be shown.
        founded: super::Founded,
        /// What happened.
        why: String,
    },
    /// The device was admitted, on disk, but did not say that it has the circle.
    #[error(
        "the other device was admitted but did not say that it took the circle in: {why}; if it does not appear among \
         the devices, pair with it again, or remove it"
    )]
    Unconfirmed {
        /// What happened.
        why: Box<MembershipError>,
    },
    /// Both are in that circle already.
    #[error("the two devices are in one circle already (and a PIN or link that was used is not valid again)")]
    AlreadyMember,
    /// The device that would join is in a circle already, and was not told to join another.
    #[error(
        "this device is in a circle already; to be in both, say so (`--join`), or leave the present one first"
    )]
    AlreadyInCircle,
    /// The same, seen from the other side.
    #[error("the other device is in another circle already: let it leave that one first, or join both")]
    PeerInCircle,
    /// This device is in several circles and none was named.
    #[error("this device is in {0} circles: say which one is meant")]
    WhichCircle(usize),
    /// No such circle here.
    #[error("this device is not in circle {0}")]
    NoCircle(CircleId),
    /// No circle at all.
    #[error("this device is in no circle yet: found one, or pair with a device that is in one")]
    NoCircleYet,
    /// No such member.
    #[error("{0} is not in the circle")]
    NotMember(DeviceId),
    /// A grant that cannot be given.
    #[error("{0}")]
    BadGrant(String),
    /// Its owner cannot give the circle up, or let it be nobody's sooner than it would be, without leaving it to somebody.
    #[error("nobody would own the circle after that, or not for as long: make another device owner first")]
    LastOwner,
    /// The recovery words are not those of the circle.
    #[error("these are not the recovery words of this circle: {0}")]
    RecoveryWords(String),
    /// Not a link that pairs.
    #[error("this is no pairing link: {0}")]
    Ticket(TicketError),
    /// Not a PIN.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// An access rule that cannot be set.
    #[error(transparent)]
    Access(AccessError),
    /// A limit.
    #[error("at its limit: {0}")]
    Limit(&'static str),
    /// The other device broke the protocol or runs another version.
    #[error("the other device did not follow the pairing protocol: {0}")]
    Protocol(&'static str),
    /// The other device says why it stopped.
    #[error("the other device stopped: {0}")]
    Refused(ErrorCode),
    /// No answer in time.
    #[error("the other device did not answer in time")]
    Timeout,
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// [`Keeper::attach`](super::Keeper::attach) was not called yet.
    #[error("the bus is not started yet")]
    NotAttached,
}
