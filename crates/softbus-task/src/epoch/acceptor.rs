//! An acceptor's part in deciding the next epoch: single-decree Paxos among the acceptors that the last decree names.
//! A promise or vote is durable before it leaves.

use softbus_core::wire::task::{Accepted, Ballot, Decree, EpochBody};
use softbus_core::{BootMs, DeviceId};

use super::certificate::{check_successor, parse_decree, vote};
use super::runner::Instance;
use super::{EpochError, TaskMachine};

impl TaskMachine {
    pub(super) fn is_acceptor(&self, device: DeviceId) -> bool {
        self.link.decree.acceptors().binary_search(&device).is_ok()
    }

    /// First phase.
    pub(super) fn on_query(&mut self, from: DeviceId, ballot: Ballot, now: BootMs) {
        if ballot.proposer != from
            || ballot.round == 0
            || !self.is_acceptor(from)
            || !self.is_acceptor(self.me)
            || self.abstains()
        {
            return;
        }
        if let Some(wait_ms) = self.bound_for(from, now) {
            return self.send(from, EpochBody::Nack { ballot, promised: None, wait_ms });
        }
        if self.d.next.promised.is_some_and(|promised| promised > ballot) {
            let promised = self.d.next.promised;
            return self.send(from, EpochBody::Nack { ballot, promised, wait_ms: 0 });
        }
        self.promise(ballot);
        let accepted = self.d.next.accepted.clone();
        let held = self.held_ref();
        self.send(from, EpochBody::Promise { ballot, accepted, held });
    }

    /// Records a promise that was found to be permitted.
    pub(super) fn promise(&mut self, ballot: Ballot) {
        if self.d.next.promised != Some(ballot) {
            self.d.next.promised = Some(ballot);
            self.d.next.ousted |= ballot.proposer != self.link.decree.owner;
            self.out.touch();
        }
    }

    /// Second phase.
    pub(super) fn on_propose(&mut self, from: DeviceId, ballot: Ballot, decree: Vec<u8>, now: BootMs) {
        let entitled = match ballot.round {
            0 => from == self.link.decree.owner,
            _ => self.is_acceptor(from),
        };
        if ballot.proposer != from || !entitled || !self.is_acceptor(self.me) {
            return;
        }
        if let Some(wait_ms) = self.bound_for(from, now) {
            return self.send(from, EpochBody::Nack { ballot, promised: None, wait_ms });
        }
        if self.d.next.promised.is_some_and(|promised| promised > ballot) && !broken!(self, NoPromiseCheck) {
            let promised = self.d.next.promised;
            return self.send(from, EpochBody::Nack { ballot, promised, wait_ms: 0 });
        }
        let twice = self.d.next.accepted.as_ref().is_some_and(|a| a.ballot == ballot && a.decree != decree);
        if twice {
            return; // a proposer that says two things in one ballot is broken
        }
        if self.runner.instance != Instance::None {
            self.discard(); // paused with its lease run out, or another would not have got this far
        }
        match self.accept(ballot, decree) {
            Ok(vote) => self.send(from, EpochBody::Voted { vote }),
            Err(error) => tracing::debug!(task = %self.d.task, %error, "a proposal is not believed"),
        }
    }

    /// Votes: the record says so, and the vote it returns may leave when the record is durable.
    pub(super) fn accept(
        &mut self,
        ballot: Ballot,
        decree: Vec<u8>,
    ) -> Result<softbus_core::Signed, EpochError> {
        check_successor(&self.link, &parse_decree(&decree)?)?;
        let signed = vote(&*self.setup.key, &self.link, ballot, &decree)?;
        self.promise(ballot);
        let accepted = Accepted { ballot, decree };
        if self.d.next.accepted.as_ref() != Some(&accepted) {
            self.d.next.accepted = Some(accepted);
            self.out.touch();
        }
        Ok(signed)
    }

    /// The decree this device voted for, if any.
    pub(super) fn accepted_decree(&self) -> Option<Decree> {
        self.d.next.accepted.as_ref().and_then(|accepted| parse_decree(&accepted.decree).ok())
    }
}
