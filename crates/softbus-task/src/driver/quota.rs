//! How much of this device's memory the tasks of others may take: bounded for each submitter, and for each device that
//! tells of tasks, so that none of them can fill the table for all.

use softbus_core::wire::task::Certificate;
use softbus_core::{DeviceId, Signed};

use super::Inner;
use crate::{TaskError, limits};

/// Bytes of certificates, as they lie in memory (about).
pub(crate) fn chain_bytes(links: &[Certificate]) -> usize {
    let signed = |signed: &Signed| signed.body.len() + size_of::<Signed>();
    let bytes = |link: &Certificate| match link {
        Certificate::Root(root) => signed(root),
        Certificate::Voted { decree, votes } => decree.len() + votes.iter().map(signed).sum::<usize>(),
    };
    links.iter().map(|link| bytes(link) + size_of::<Certificate>()).sum()
}

/// Whether a task more may become known here, of `submitter`, told of by `teller`. Tasks submitted here are counted
/// apart ([`softbus_core::limits::TASKS`] is for all).
pub(crate) fn check(
    inner: &Inner,
    submitter: DeviceId,
    teller: DeviceId,
    links: &[Certificate],
) -> Result<(), TaskError> {
    let (mut submitted, mut told) = (Share::default(), Share::default());
    for actor in inner.actors() {
        let parts = actor.shared.parts();
        if parts.grant.as_ref().is_some_and(|grant| grant.submitter() == submitter) {
            submitted.add(parts.chain_bytes);
        }
        if parts.told_by == Some(teller) {
            told.add(parts.chain_bytes);
        }
    }
    let more = chain_bytes(links);
    submitted.add(more);
    told.add(more);
    if submitter != inner.me && submitted.is_too_much() {
        return Err(TaskError::Limit("tasks of one submitter"));
    }
    if told.is_too_much() {
        return Err(TaskError::Limit("tasks that one device told of"));
    }
    Ok(())
}

#[derive(Default)]
struct Share {
    tasks: usize,
    bytes: usize,
}

impl Share {
    fn add(&mut self, bytes: usize) {
        self.tasks += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn is_too_much(&self) -> bool {
        self.tasks > limits::TASKS_PEER || self.bytes > limits::TASKS_PEER_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_bounded_in_number_and_in_bytes() {
        let mut many = Share::default();
        (0..limits::TASKS_PEER).for_each(|_| many.add(1));
        assert!(!many.is_too_much());
        many.add(1);
        assert!(many.is_too_much());
        let mut large = Share::default();
        large.add(limits::TASKS_PEER_BYTES);
        assert!(!large.is_too_much());
        large.add(1);
        assert!(large.is_too_much());
    }
}
