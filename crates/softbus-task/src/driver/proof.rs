//! What a device can know of a task in which it has no part. Statuses are hearsay: whoever may speak `task/1` can tell
//! any. A result is not taken on hearsay. The asker gets the grant and the certificates of the task's epochs, and checks
//! all of it itself:
//! - the task's id names the submitter ([`TaskId::is_of`]), who signed the grant and the root (a forced adoption: who may
//!   move it);
//! - each certificate follows from the one before;
//! - the last one known to anybody in reach says whether the task is done, and names its result.
//!
//! So a device that lies can keep quiet, or tell an older epoch if nobody in reach knows better; it cannot make up a
//! result. What is trusted: under policy `owner` the device that ran the task, under `quorum` a majority of the acceptors,
//! beside them the submitter, and circle owners (who may adopt).

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use softbus_core::wire::task::{Certificate, CheckpointRef, Outcome};
use softbus_core::wire::task_control::{Reply, Request, Right};
use softbus_core::{DeviceId, Signed, TaskId};
use softbus_trust::Role;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Inner;
use super::access::OpenGrant;
use super::actor::{ActorRef, Input};
use crate::epoch::Authority;
use crate::epoch::certificate::{Link, root_authority, verify_chain};
use crate::{TaskError, limits};

/// Where a task stands, beyond doubt.
pub(crate) struct Proven {
    pub grant: OpenGrant,
    link: Link,
}

impl Proven {
    /// The result, if the task is done.
    pub fn result(&self) -> Option<CheckpointRef> {
        (self.link.decree.outcome == Outcome::Done).then_some(self.link.decree.base)
    }

    /// The devices that should keep it.
    pub fn members(&self) -> Vec<DeviceId> {
        self.link.decree.members()
    }
}

/// Answers [`Request::Proof`].
pub(crate) async fn show(actor: &ActorRef) -> Result<Reply, TaskError> {
    let task = actor.shared.task;
    let grant = actor.shared.grant().ok_or(TaskError::NoSuchTask(task))?;
    let (answer, links) = oneshot::channel();
    actor.inbox.send(Input::Prove { answer }).await.map_err(|_| TaskError::Closed)?;
    let links = links.await.map_err(|_| TaskError::Closed)?;
    let links = links.ok_or_else(|| TaskError::Conflict("its next epoch is just being written".into()))?;
    Ok(Reply::Proof { grant: grant.signed.clone(), links })
}

/// The latest that anybody of `devices` can prove.
pub(crate) async fn ask(inner: &Arc<Inner>, task: TaskId, devices: Vec<DeviceId>) -> Option<Proven> {
    let asked = devices.into_iter().map(|device| async move {
        let answer = timeout(limits::ASK_ALL, inner.ask(device, &Request::Proof { task })).await;
        let Ok(Ok(Reply::Proof { grant, links })) = answer else { return None };
        let proven = check(task, grant, &links, |grant, device| inner.role(grant, device));
        let proven = proven.inspect_err(|error| {
            tracing::debug!(%task, device = %device.short(), %error, "what it tells of a task is not believed");
        });
        proven.ok()
    });
    let answers = stream::iter(asked).buffer_unordered(limits::PROOFS);
    let newer = |best: Option<Proven>, other: Option<Proven>| async {
        let order = |proven: &Proven| (proven.link.branch, proven.link.decree.epoch);
        [best, other].into_iter().flatten().max_by_key(order)
    };
    answers.fold(None, newer).await
}

/// Foreign bytes: the grant, whose task it is, who began its branch, and each epoch since.
fn check(
    task: TaskId,
    grant: Signed,
    links: &[Certificate],
    role: impl Fn(&OpenGrant, &DeviceId) -> Option<Role>,
) -> Result<Proven, TaskError> {
    let bad = |why: &str| Err(TaskError::Protocol(format!("the proof of a task: {why}")));
    let grant = OpenGrant::open(grant)?;
    if grant.task() != task || !task.is_of(&grant.submitter()) {
        return bad("it is of another task than was asked for");
    }
    let authority = match links.first() {
        Some(Certificate::Root(root)) => root_authority(root),
        _ => None,
    };
    let begun = match authority {
        Some(Authority::Submit { signer, grant: named }) => {
            signer == grant.submitter() && named == grant.hash
        }
        Some(Authority::Adopt { signer, grant: named }) => {
            named == grant.hash && grant.may(&signer, role(&grant, &signer), Right::Move)
        }
        _ => false,
    };
    if !begun {
        return bad("its branch was begun by someone who may not");
    }
    let link = verify_chain(links).map_err(|e| TaskError::Protocol(e.to_string()))?;
    if link.decree.task != task || link.decree.grant != grant.hash {
        return bad("its epochs are of another task than its grant");
    }
    Ok(Proven { grant, link })
}

#[cfg(test)]
mod tests {
    use softbus_core::wire::task::{Ballot, Branch, Decree, Policy, Why};
    use softbus_core::wire::task_control::{Grant, TaskSpec};
    use softbus_core::{Domain, Epoch, Hash};
    use softbus_trust::DeviceKey;

    use super::*;
    use crate::driver::access::tests::spec;
    use crate::epoch::certificate::{encode_decree, open_root, vote};

    fn key(n: u8) -> DeviceKey {
        DeviceKey::from_seed(&[n; 32])
    }

    fn grant(key: &DeviceKey, task: TaskId) -> OpenGrant {
        let spec = TaskSpec { task, replicas: 0, ..spec() };
        let none = Hash([0; 32]);
        let grant = Grant { spec, input: none, secret: none, granted: Vec::new() };
        OpenGrant::sign(key, grant).unwrap()
    }

    /// A task that `runner` says is done, in a branch begun by `root`.
    fn done(grant: &OpenGrant, root: &DeviceKey, runner: &DeviceKey, fork: u32) -> Vec<Certificate> {
        let none = Hash([0; 32]);
        let base = |epoch| CheckpointRef { epoch: Epoch(epoch), sequence: 1, manifest: Hash([8; 32]) };
        let from = softbus_core::wire::task::Fence { branch: Branch::NONE, epoch: Epoch(1) };
        let first = Decree {
            task: grant.task(),
            branch: Branch { fork, root: Branch::NONE.root },
            epoch: Epoch(1 + u64::from(fork)),
            previous: none,
            submitter: grant.submitter(),
            grant: grant.hash,
            task_type: "sum".into(),
            policy: Policy::Owner,
            replicas: 0,
            owner: runner.id(),
            holders: Vec::new(),
            base: base(0),
            outcome: Outcome::Run,
            why: if fork == 0 { Why::Submitted } else { Why::Adopted { from } },
            note: String::new(),
        };
        let signed = Signed::new(root, Domain::EPOCH, encode_decree(&first).unwrap());
        let link = open_root(&signed).unwrap();
        let next = Decree {
            branch: link.branch,
            epoch: first.epoch.next(),
            previous: link.hash,
            base: base(first.epoch.0),
            outcome: Outcome::Done,
            why: Why::Finished,
            ..first
        };
        let decree = encode_decree(&next).unwrap();
        let vote = vote(runner, &link, Ballot { round: 0, proposer: runner.id() }, &decree).unwrap();
        vec![Certificate::Root(signed), Certificate::Voted { decree, votes: vec![vote] }]
    }

    #[test]
    fn a_result_counts_if_all_that_led_to_it_was_done_by_those_who_may() {
        let (submitter, runner, liar) = (key(1), key(2), key(3));
        let task = TaskId::of(&submitter.id(), [7; 8]);
        let real = grant(&submitter, task);
        let member = |_: &OpenGrant, _: &DeviceId| Some(Role::Member);
        let proven = |grant: &OpenGrant, links: &[Certificate]| {
            check(task, grant.signed.clone(), links, member).ok().and_then(|proven| proven.result())
        };
        let links = done(&real, &submitter, &runner, 0);
        assert_eq!(proven(&real, &links).map(|result| result.epoch), Some(Epoch(1)));
        assert_eq!(proven(&real, &links[..1]), None, "it runs");

        // A task of its own under the same id.
        let own = grant(&liar, task);
        assert_eq!(proven(&own, &done(&own, &liar, &liar, 0)), None);
        // Another's task under its own right.
        assert_eq!(proven(&real, &done(&own, &liar, &liar, 0)), None);
        // An end on which the runner did not decide.
        let mut ended = links.clone();
        ended[1] = done(&real, &submitter, &liar, 0).remove(1);
        assert_eq!(proven(&real, &ended), None);
        // A branch begun by somebody who may not, and by the circle's owner.
        let adopted = done(&real, &liar, &liar, 1);
        assert_eq!(proven(&real, &adopted), None);
        let owner = |_: &OpenGrant, _: &DeviceId| Some(Role::Owner);
        let by_owner = check(task, real.signed.clone(), &adopted, owner).unwrap();
        assert!(by_owner.result().is_some());
        // Another task than was asked for.
        let other = grant(&submitter, TaskId::of(&submitter.id(), [8; 8]));
        assert_eq!(proven(&other, &done(&other, &submitter, &runner, 0)), None);
    }
}
