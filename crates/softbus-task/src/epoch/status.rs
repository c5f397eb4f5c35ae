//! Where the task stands, in words for people.

use softbus_core::wire::task::{CancelOrder, Outcome};

use super::runner::Instance;
use super::{Status, TaskMachine, View};

impl TaskMachine {
    /// Where the task stands, as this device knows it.
    pub fn status(&self) -> Status {
        let decree = &self.link.decree;
        let owner = decree.owner;
        if let Some(order) = &self.d.cancelled {
            let order: CancelOrder = softbus_core::decode(&order.body).unwrap_or(CancelOrder {
                task: self.d.task,
                issued: softbus_core::WallMs(0),
                note: String::new(),
            });
            return Status::Cancelled { order };
        }
        match &decree.outcome {
            Outcome::Done => {
                return Status::Done { result: decree.base, here: self.held_ref() == Some(decree.base) };
            }
            Outcome::Quarantined { error } => return Status::Quarantined { error: error.clone() },
            Outcome::Run => {}
        }
        if owner == self.me {
            return self.status_at_owner();
        }
        if let Some(incoming) = &self.d.incoming {
            return Status::InDoubt { source: incoming.source };
        }
        if let Some(preparing) = &self.preparing {
            return Status::Moving { from: preparing.source, to: self.me, committed: false };
        }
        if self.proposal.is_some() && self.is_quorum() {
            return Status::FailingOver { from: owner };
        }
        if self.lost.contains_key(&owner) && !self.is_quorum() {
            return Status::WaitingForOwner { owner };
        }
        Status::Running { owner }
    }

    fn status_at_owner(&self) -> Status {
        let owner = self.me;
        if let Some(outgoing) = &self.outgoing {
            let committed = self.proposal.as_ref().is_some_and(|proposal| !proposal.may_be_dropped());
            return Status::Moving { from: owner, to: outgoing.destination, committed };
        }
        if let Some(decree) = self.accepted_decree().filter(|decree| decree.owner != owner) {
            return Status::Moving { from: owner, to: decree.owner, committed: true };
        }
        match self.runner.instance {
            _ if self.finished() => Status::Finishing,
            Instance::Running | Instance::Stopping => Status::Running { owner },
            Instance::Paused => Status::Paused,
            Instance::None | Instance::Discarding => Status::Starting { owner },
        }
    }

    /// What this device knows of the task.
    pub fn view(&self) -> View {
        let decree = &self.link.decree;
        let status = self.status();
        let ended = matches!(status, Status::Done { .. } | Status::Cancelled { .. });
        let complete = !matches!(status, Status::Done { here: false, .. }) || !self.is_member();
        let idle = self.publish.nobody_waits() && self.out.settled();
        View {
            task: decree.task,
            task_type: decree.task_type.clone(),
            submitter: decree.submitter,
            grant: decree.grant,
            fence: self.fence(),
            owner: decree.owner,
            holders: decree.holders.clone(),
            acceptors: decree.acceptors(),
            policy: decree.policy,
            base: decree.base,
            held: self.held_ref(),
            missing: self.d.missing,
            accepted: self.is_accepted(),
            covered: self.replicas.covered,
            note: decree.note.clone(),
            forks: self.d.forks.clone(),
            settled: idle
                && self.runner.instance == Instance::None
                && ((ended && complete)
                    || (!self.is_member() && self.d.held.is_none() && self.d.incoming.is_none())),
            status,
        }
    }
}
