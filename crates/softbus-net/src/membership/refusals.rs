//! What the other side says instead of what is due, and what it means to a person.

use std::time::Duration;

use softbus_core::ErrorCode;
use softbus_core::wire::pair::{Offer, Pair, Refusal};
use softbus_trust::pairing::GateRefusal;

use super::MembershipError;
use super::pairing::Talk;
use crate::NetError;

/// One message that is due; a refusal in its place is an error.
pub(super) async fn hear(talk: &mut impl Talk, within: Duration) -> Result<Pair, MembershipError> {
    match tokio::time::timeout(within, talk.hear::<Pair>()).await {
        Ok(Ok(Pair::Refusal(refusal))) => Err(refused(refusal, &Offer::nothing())),
        Ok(Ok(message)) => Ok(message),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(MembershipError::Timeout),
    }
}

/// The other side broke the protocol: tells it, and gives the error.
pub(super) async fn breach(talk: &mut impl Talk) -> MembershipError {
    let _ = talk.say(&Pair::Refusal(Refusal::Protocol)).await;
    MembershipError::Protocol("a message that was not due")
}

/// What a refusal means to a person. `theirs` tells who of the two is in another circle.
pub(super) fn refused(refusal: Refusal, theirs: &Offer) -> MembershipError {
    match refusal {
        Refusal::WrongPassword { tries_left } => MembershipError::WrongPin { tries_left },
        Refusal::Frozen { seconds } => MembershipError::Frozen { lasts: Duration::from_secs(seconds.into()) },
        Refusal::Expired => MembershipError::Expired,
        Refusal::NotOpen => MembershipError::NotOpen,
        Refusal::Cancelled => MembershipError::Cancelled,
        Refusal::ThirdDevice => MembershipError::ThirdDevice,
        Refusal::Busy => MembershipError::Refused(ErrorCode::Busy),
        Refusal::NobodyAdmits => MembershipError::NobodyAdmits,
        Refusal::AlreadyMember => MembershipError::AlreadyMember,
        Refusal::AlreadyInCircle if theirs.admits.is_none() => MembershipError::PeerInCircle,
        Refusal::AlreadyInCircle => MembershipError::AlreadyInCircle,
        Refusal::Limit => MembershipError::Limit("the other device or its circle takes no more"),
        Refusal::Storage => MembershipError::Refused(ErrorCode::Storage),
        Refusal::Protocol => MembershipError::Protocol("it did not understand this device"),
    }
}

/// A stranger who is refused at the door: pairing is not open there.
pub(super) fn not_open(error: NetError) -> MembershipError {
    match error {
        NetError::Refused(ErrorCode::NotTrusted | ErrorCode::Forbidden)
        | NetError::Service { code: ErrorCode::NotTrusted | ErrorCode::Forbidden, .. } => {
            MembershipError::NotOpen
        }
        other => other.into(),
    }
}

pub(super) fn gate_refusal(refusal: GateRefusal) -> Refusal {
    match refusal {
        GateRefusal::NotOpen => Refusal::NotOpen,
        GateRefusal::Expired => Refusal::Expired,
        GateRefusal::Frozen { lasts } => Refusal::Frozen { seconds: seconds(lasts) },
    }
}

pub(super) fn gate_error(refusal: GateRefusal) -> MembershipError {
    refused(gate_refusal(refusal), &Offer::nothing())
}

/// Whole seconds, rounded up: nobody shall come too early.
pub(super) fn seconds(span: Duration) -> u32 {
    u32::try_from(span.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}
