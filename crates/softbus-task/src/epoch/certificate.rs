//! Certificates: proof that a decree holds, to whoever holds the decree before it.

use std::collections::BTreeSet;

use softbus_core::wire::task::{
    Ballot, Branch, CHAIN_LINKS, CancelOrder, Certificate, Decree, EpochBody, EpochMessage, Outcome,
    STATEMENT_BYTES, Vote, Why,
};
use softbus_core::{DeviceId, Domain, Epoch, Hash, Signed, Signer, TaskId, limits};

use super::{Authority, EpochError};

/// Votes that make a majority of `acceptors` devices.
pub fn majority(acceptors: usize) -> usize {
    acceptors / 2 + 1
}

/// A decree that was verified, with the name of its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// The branch it belongs to.
    pub branch: Branch,
    /// What was decided.
    pub decree: Decree,
    /// Names its bytes.
    pub hash: Hash,
}

/// Parses a decree's bytes and checks its limits (harness for fuzzing).
pub fn parse_decree(bytes: &[u8]) -> Result<Decree, EpochError> {
    const WHAT: &str = "decree";
    if bytes.len() > STATEMENT_BYTES {
        return Err(EpochError::Limits { what: WHAT });
    }
    let decree: Decree =
        softbus_core::decode(bytes).map_err(|source| EpochError::Malformed { what: WHAT, source })?;
    if decree.within_limits() { Ok(decree) } else { Err(EpochError::Limits { what: WHAT }) }
}

/// The bytes of a decree.
pub fn encode_decree(decree: &Decree) -> Result<Vec<u8>, EpochError> {
    if !decree.within_limits() {
        return Err(EpochError::Limits { what: "decree" });
    }
    softbus_core::encode(decree).map_err(|_| EpochError::Limits { what: "decree" })
}

/// Verifies the root of a branch. Whether its signer may submit or adopt is the driver's to say ([`authority`]).
pub fn open_root(signed: &Signed) -> Result<Link, EpochError> {
    const WHAT: &str = "root of the task";
    if signed.body.len() > STATEMENT_BYTES {
        return Err(EpochError::Limits { what: WHAT });
    }
    let body = signed.verify(Domain::EPOCH).map_err(|source| EpochError::Signature { what: WHAT, source })?;
    let decree = parse_decree(body)?;
    let sound = match decree.why {
        Why::Submitted => {
            decree.branch == Branch::NONE && decree.epoch == Epoch(1) && decree.submitter == signed.signer
        }
        Why::Adopted { from } => {
            decree.branch.root == Branch::NONE.root
                && decree.branch.fork > from.branch.fork
                && decree.epoch > from.epoch
        }
        _ => false,
    };
    if !sound || decree.previous != Hash([0; 32]) || decree.outcome != Outcome::Run {
        return Err(EpochError::Foreign { what: WHAT, why: "it does not begin a branch" });
    }
    let branch = Branch { fork: decree.branch.fork, root: signed.hash() };
    Ok(Link { branch, hash: Decree::hash(body), decree })
}

/// Whether `next` may follow `link`, whoever votes for it.
pub fn check_successor(link: &Link, next: &Decree) -> Result<(), EpochError> {
    let last = &link.decree;
    let wrong = |why| Err(EpochError::Foreign { what: "decree", why });
    if next.task != last.task || next.branch != link.branch {
        return wrong("it is of another task or branch");
    }
    if next.epoch != last.epoch.next() || next.previous != link.hash {
        return wrong("it does not follow the last one");
    }
    if next.submitter != last.submitter
        || next.grant != last.grant
        || next.task_type != last.task_type
        || next.policy != last.policy
    {
        return wrong("it changes what must not change");
    }
    let permitted = match (&last.outcome, &next.outcome) {
        (Outcome::Done, _) => false,
        (Outcome::Quarantined { .. }, Outcome::Run) => next.why == Why::Released,
        (Outcome::Quarantined { .. }, _) => false,
        (Outcome::Run, _) => !matches!(next.why, Why::Submitted | Why::Adopted { .. } | Why::Released),
    };
    if permitted { Ok(()) } else { wrong("nothing of that kind may follow the last one") }
}

/// Signs a vote.
pub fn vote(key: &dyn Signer, link: &Link, ballot: Ballot, decree: &[u8]) -> Result<Signed, EpochError> {
    let vote = Vote {
        task: link.decree.task,
        branch: link.branch,
        epoch: link.decree.epoch.next(),
        ballot,
        decree: Decree::hash(decree),
    };
    let body = softbus_core::encode(&vote).map_err(|_| EpochError::Limits { what: "vote" })?;
    Ok(Signed::new(key, Domain::EPOCH, body))
}

/// Parses a vote's bytes (harness for fuzzing).
pub fn parse_vote(body: &[u8]) -> Result<Vote, EpochError> {
    if body.len() > STATEMENT_BYTES {
        return Err(EpochError::Limits { what: "vote" });
    }
    softbus_core::decode(body).map_err(|source| EpochError::Malformed { what: "vote", source })
}

/// Verifies one vote about the epoch after `link`.
pub fn open_vote(link: &Link, signed: &Signed) -> Result<Vote, EpochError> {
    const WHAT: &str = "vote";
    if signed.body.len() > STATEMENT_BYTES {
        return Err(EpochError::Limits { what: WHAT });
    }
    let body = signed.verify(Domain::EPOCH).map_err(|source| EpochError::Signature { what: WHAT, source })?;
    let vote = parse_vote(body)?;
    if vote.task != link.decree.task || vote.branch != link.branch || vote.epoch != link.decree.epoch.next() {
        return Err(EpochError::Foreign { what: WHAT, why: "it is about another epoch" });
    }
    Ok(vote)
}

/// Verifies the certificate of the epoch after `link`.
pub fn verify(link: &Link, certificate: &Certificate) -> Result<Link, EpochError> {
    const WHAT: &str = "certificate";
    let Certificate::Voted { decree: bytes, votes } = certificate else {
        return Err(EpochError::Foreign { what: WHAT, why: "a root follows nothing" });
    };
    if votes.len() > limits::ACCEPTORS {
        return Err(EpochError::Limits { what: WHAT });
    }
    let decree = parse_decree(bytes)?;
    check_successor(link, &decree)?;
    let acceptors = link.decree.acceptors();
    let hash = Decree::hash(bytes);
    count_votes(link, votes, hash, &acceptors)?;
    Ok(Link { branch: link.branch, decree, hash })
}

/// Verifies a certificate of a later epoch than the next, for lack of those in between: enough of those who had a
/// vote on what follows `link` have to have voted for it. So nobody can lead a device on past a gap but a majority that
/// was trusted with the task at its near end.
pub fn verify_across(link: &Link, certificate: &Certificate) -> Result<Link, EpochError> {
    const WHAT: &str = "certificate behind a pruned part of the chain";
    let Certificate::Voted { decree: bytes, votes } = certificate else {
        return Err(EpochError::Foreign { what: WHAT, why: "a root follows nothing" });
    };
    if votes.len() > limits::ACCEPTORS {
        return Err(EpochError::Limits { what: WHAT });
    }
    let (decree, last) = (parse_decree(bytes)?, &link.decree);
    if decree.task != last.task
        || decree.branch != link.branch
        || decree.grant != last.grant
        || decree.submitter != last.submitter
        || decree.policy != last.policy
        || decree.epoch <= last.epoch.next()
        || last.outcome == Outcome::Done
        || matches!(decree.why, Why::Submitted | Why::Adopted { .. })
    {
        return Err(EpochError::Foreign { what: WHAT, why: "it cannot follow what is known" });
    }
    let hash = Decree::hash(bytes);
    let mut before = link.clone();
    before.decree.epoch = Epoch(decree.epoch.0 - 1);
    count_votes(&before, votes, hash, &last.acceptors())?;
    Ok(Link { branch: link.branch, decree, hash })
}

/// [`verify`] or [`verify_across`], by the epoch.
pub(super) fn verify_later(link: &Link, certificate: &Certificate) -> Result<Link, EpochError> {
    match parse_decree(certificate.decree_bytes())?.epoch.cmp(&link.decree.epoch.next()) {
        std::cmp::Ordering::Greater => verify_across(link, certificate),
        _ => verify(link, certificate),
    }
}

/// With more links that cannot be left out of its chain a task is not handed over any more: each of them was decided by
/// other devices than those before. The rest is for what may still have to be decided where it is.
pub(super) const CHAIN_KEPT: usize = CHAIN_LINKS * 3 / 4;

/// Links that a chain may come to if none can be left out. Beyond that nothing more is decided, or taken over, of the
/// task: it has to be adopted.
pub(super) const CHAIN_MOST: usize = CHAIN_LINKS * 3 / 2;

/// Counts distinct valid votes of one ballot, cast by `acceptors`.
fn count_votes(link: &Link, votes: &[Signed], hash: Hash, acceptors: &[DeviceId]) -> Result<(), EpochError> {
    let mut ballot: Option<Ballot> = None;
    let mut voters = BTreeSet::new();
    for signed in votes {
        let vote = open_vote(link, signed)?;
        if vote.decree != hash || ballot.is_some_and(|known| known != vote.ballot) {
            return Err(EpochError::Foreign {
                what: "certificate",
                why: "its votes are for different things",
            });
        }
        ballot = Some(vote.ballot);
        if acceptors.binary_search(&signed.signer).is_ok() {
            voters.insert(signed.signer);
        }
    }
    let needed = majority(acceptors.len());
    if voters.len() >= needed { Ok(()) } else { Err(EpochError::Votes { valid: voters.len(), needed }) }
}

/// Verifies a chain from its root. Links may lack where those after the gap were voted for by a majority of those who
/// had a vote before it.
pub fn verify_chain(links: &[Certificate]) -> Result<Link, EpochError> {
    if links.len() > CHAIN_LINKS {
        return Err(EpochError::Limits { what: "chain of the task" });
    }
    verify_own_chain(links)
}

/// [`verify_chain`] of what this device stored itself: it may be as long as it lets one become.
pub(super) fn verify_own_chain(links: &[Certificate]) -> Result<Link, EpochError> {
    let (first, rest) = links.split_first().ok_or(EpochError::Invalid("the chain of the task is empty"))?;
    if links.len() > CHAIN_MOST {
        return Err(EpochError::Limits { what: "chain of the task" });
    }
    let Certificate::Root(root) = first else {
        return Err(EpochError::Foreign { what: "chain of the task", why: "it does not begin with a root" });
    };
    rest.iter().try_fold(open_root(root)?, |link, certificate| verify_later(&link, certificate))
}

/// Shortens a chain that is too long, so that it still can be verified: the longest parts that can be left out are. In
/// a home the same few devices run and hold a task again and again, so a chain seldom needs more than a few links. `Err`: it
/// cannot be shortened.
pub(super) fn prune(chain: &mut Vec<Certificate>) -> Result<(), EpochError> {
    if chain.len() <= CHAIN_KEPT {
        return Ok(());
    }
    // Down to a part, so that this is seldom done. The newest stay in any case: they are what most others lack.
    let mut kept: Vec<Certificate> = Vec::with_capacity(chain.len());
    let recent = chain.len() - CHAIN_LINKS / 4;
    let Some(Certificate::Root(root)) = chain.first() else {
        return Err(EpochError::Invalid("the chain of the task does not begin with a root"));
    };
    let mut link = open_root(root)?;
    kept.push(chain[0].clone());
    let mut at = 0;
    while at + 1 < chain.len() {
        let furthest = (at + 1..=recent.max(at + 1).min(chain.len() - 1)).rev();
        let next =
            furthest.into_iter().find_map(|next| Some((next, verify_later(&link, &chain[next]).ok()?)));
        let Some((next, reached)) = next else {
            return Err(EpochError::Invalid("a link of the task's chain does not follow the one before"));
        };
        (at, link) = (next, reached);
        kept.push(chain[at].clone());
    }
    if kept.len() > CHAIN_KEPT {
        return Err(EpochError::Limits { what: "chain of the task" });
    }
    *chain = kept;
    Ok(())
}

/// Signs an order that ends a task. Who may sign one is for the drivers to say.
pub fn cancel_order(key: &dyn Signer, order: &CancelOrder) -> Result<Signed, EpochError> {
    let body = softbus_core::encode(order).map_err(|_| EpochError::Limits { what: "cancel order" })?;
    Ok(Signed::new(key, Domain::GRANT, body))
}

/// Verifies that an order is its signer's and about this task.
pub fn open_cancel(task: TaskId, signed: &Signed) -> Result<CancelOrder, EpochError> {
    const WHAT: &str = "cancel order";
    if signed.body.len() > STATEMENT_BYTES {
        return Err(EpochError::Limits { what: WHAT });
    }
    let body = signed.verify(Domain::GRANT).map_err(|source| EpochError::Signature { what: WHAT, source })?;
    let order: CancelOrder =
        softbus_core::decode(body).map_err(|source| EpochError::Malformed { what: WHAT, source })?;
    if order.task == task {
        Ok(order)
    } else {
        Err(EpochError::Foreign { what: WHAT, why: "it is about another task" })
    }
}

/// The acts in a message that need more than a trusted link. For a chain: its root's; ask only when the root is new
/// to this device. Says nothing of signatures; the machine checks them.
pub fn authority(message: &EpochMessage) -> Option<Authority> {
    match &message.body {
        EpochBody::Cancel { order } => Some(Authority::Cancel { signer: order.signer }),
        EpochBody::Chain { links } => links.iter().find_map(|link| match link {
            Certificate::Root(signed) => root_authority(signed),
            Certificate::Voted { .. } => None,
        }),
        _ => None,
    }
}

/// The act that a branch begins with. Says nothing of the signature.
pub(crate) fn root_authority(signed: &Signed) -> Option<Authority> {
    let decree = parse_decree(&signed.body).ok()?;
    match decree.why {
        Why::Adopted { .. } => Some(Authority::Adopt { signer: signed.signer, grant: decree.grant }),
        _ => Some(Authority::Submit { signer: signed.signer, grant: decree.grant }),
    }
}
