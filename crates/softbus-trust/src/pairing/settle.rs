//! Who admits whom, or hands back a circle, once both devices have proven the password.

use softbus_core::CircleId;
use softbus_core::wire::pair::{Offer, Refusal};

/// What two devices that have proven the password to each other do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settlement {
    /// The opener admits the enterer to this circle.
    OpenerAdmits(CircleId),
    /// The enterer admits the opener to this circle.
    EntererAdmits(CircleId),
    /// Neither is in a circle: the enterer founds one and admits the opener. A person is at the enterer right now, with
    /// something to type on, and is shown the recovery words.
    EntererFounds,
    /// The enterer is in this circle already and does not have it: the opener hands it back.
    OpenerReturns(CircleId),
    /// The opener is in this circle already and does not have it: the enterer hands it back.
    EntererReturns(CircleId),
    /// Nothing comes of it.
    Refused(Refusal),
}

/// Both sides compute this from both offers, and come to the same.
///
/// 1. If the opener is an owner, it admits: opening pairing is the invitation.
/// 2. Else, if the enterer is an owner, it admits.
/// 3. Else, if neither is in any circle, the enterer founds one.
/// 4. Else nobody may admit.
/// 5. Where nobody admits, or only to a circle that the other has already, whoever knows the other to be in a circle
///    that it does not have (its disk was lost and its key restored, or it took another's place) hands that back,
///    the opener first. No right is needed for that, since nothing new is said: the statements that admit are
///    there.
///
/// A joiner that is in another circle already joins only if its user said so. Whether it is in this very circle
/// already is for the admitter to say, who may know more (of a removal, for one).
pub fn settle(opener: &Offer, enterer: &Offer) -> Settlement {
    let admission = admission(opener, enterer);
    let news = match admission {
        Settlement::OpenerAdmits(circle) => !enterer.member_of.contains(&circle),
        Settlement::EntererAdmits(circle) => !opener.member_of.contains(&circle),
        Settlement::Refused(_) => false,
        _ => true,
    };
    if news {
        return admission;
    }
    let opener_returns = || returned(opener, enterer).map(Settlement::OpenerReturns);
    let enterer_returns = || returned(enterer, opener).map(Settlement::EntererReturns);
    opener_returns().or_else(enterer_returns).unwrap_or(admission)
}

/// The circle that `from` hands back to `to`.
fn returned(from: &Offer, to: &Offer) -> Option<CircleId> {
    let lacks = |circle: &&CircleId| from.member_of.contains(circle) && !to.member_of.contains(circle);
    from.shared.iter().find(lacks).filter(|_| to.join || to.member_of.is_empty()).copied()
}

fn admission(opener: &Offer, enterer: &Offer) -> Settlement {
    let joins = |joiner: &Offer, circle: CircleId| {
        joiner.join || joiner.member_of.iter().all(|other| *other == circle)
    };
    match (opener.admits, enterer.admits) {
        (Some(circle), _) if joins(enterer, circle) => Settlement::OpenerAdmits(circle),
        (_, Some(circle)) if joins(opener, circle) && (opener.admits.is_none() || opener.join) => {
            Settlement::EntererAdmits(circle)
        }
        (Some(_), _) | (_, Some(_)) => Settlement::Refused(Refusal::AlreadyInCircle),
        (None, None) if opener.member_of.is_empty() && enterer.member_of.is_empty() => {
            Settlement::EntererFounds
        }
        (None, None) => Settlement::Refused(Refusal::NobodyAdmits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: CircleId = CircleId([1; 32]);
    const B: CircleId = CircleId([2; 32]);

    fn offer(admits: Option<CircleId>, member_of: &[CircleId], join: bool) -> Offer {
        Offer { admits, member_of: member_of.to_vec(), join, shared: Vec::new() }
    }

    #[test]
    fn what_the_other_lost_is_handed_back() {
        use Settlement::*;
        let shares = |offer: &Offer, circle| Offer { shared: vec![circle], ..offer.clone() };
        let none = offer(None, &[], false);
        let owner_a = offer(Some(A), &[A], false);
        let plain_a = offer(None, &[A], false);
        let plain_b = offer(None, &[B], false);
        let joins_b = offer(None, &[B], true);
        let both = offer(Some(A), &[A, B], false);
        for (opener, enterer, expected) in [
            (&shares(&plain_a, A), &none, OpenerReturns(A)),
            (&none, &shares(&plain_a, A), EntererReturns(A)),
            // An owner may say a role anew.
            (&shares(&owner_a, A), &none, OpenerAdmits(A)),
            (&none, &shares(&owner_a, A), EntererAdmits(A)),
            // An invitation to another circle comes first, and again nothing but what is missing.
            (&shares(&both, B), &none, OpenerAdmits(A)),
            (&shares(&both, B), &offer(None, &[A], true), OpenerReturns(B)),
            (&offer(None, &[A], true), &shares(&both, B), EntererReturns(B)),
            // Who is in another circle by now joins only if its user said so.
            (&shares(&plain_a, A), &plain_b, Refused(Refusal::NobodyAdmits)),
            (&shares(&plain_a, A), &joins_b, OpenerReturns(A)),
            // It has it, or the other does not: nothing to hand back.
            (&shares(&plain_a, A), &shares(&plain_a, A), Refused(Refusal::NobodyAdmits)),
            (&shares(&plain_a, B), &none, Refused(Refusal::NobodyAdmits)),
            // Each has what the other lost: one after the other.
            (&shares(&joins_b, B), &shares(&offer(None, &[A], true), A), OpenerReturns(B)),
        ] {
            assert_eq!(settle(opener, enterer), expected, "{opener:?} {enterer:?}");
        }
    }

    #[test]
    fn who_admits_whom() {
        let none = offer(None, &[], false);
        let owner_a = offer(Some(A), &[A], false);
        let owner_b = offer(Some(B), &[B], false);
        let plain_a = offer(None, &[A], false);
        let plain_b = offer(None, &[B], false);
        let joins_b = offer(Some(B), &[B], true);
        use Settlement::*;
        for (opener, enterer, expected) in [
            (&owner_a, &none, OpenerAdmits(A)),
            (&none, &owner_a, EntererAdmits(A)),
            (&none, &none, EntererFounds),
            (&plain_a, &none, Refused(Refusal::NobodyAdmits)),
            (&none, &plain_a, Refused(Refusal::NobodyAdmits)),
            (&owner_a, &owner_b, Refused(Refusal::AlreadyInCircle)),
            (&owner_a, &plain_b, Refused(Refusal::AlreadyInCircle)),
            (&plain_b, &owner_a, Refused(Refusal::AlreadyInCircle)),
            (&owner_a, &joins_b, OpenerAdmits(A)),
            (&joins_b, &owner_a, EntererAdmits(A)),
            (&owner_a, &owner_a, OpenerAdmits(A)),
            (&owner_a, &plain_a, OpenerAdmits(A)),
            (&plain_a, &owner_a, EntererAdmits(A)),
            (&plain_a, &plain_a, Refused(Refusal::NobodyAdmits)),
        ] {
            assert_eq!(settle(opener, enterer), expected, "{opener:?} {enterer:?}");
        }
    }
}
