//! What stays of a task that a device has forgotten.
//!
//! A device may have voted about epochs that somebody else does not know of yet. Were it to forget that and then be
//! told of the task again by such a one, it would vote a second time. So a trace stays: below it the task is not
//! joined again.

use serde::{Deserialize, Serialize};
use softbus_core::wire::task::{Branch, Outcome};
use softbus_core::{Epoch, Hash, Signed};

use super::TaskMachine;
use super::certificate::Link;

/// How far a device knew a task that it has forgotten. Some hundred bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trace {
    /// The branch it knew.
    pub branch: Branch,
    /// The last epoch it knew to be decided.
    pub epoch: Epoch,
    /// Names that epoch's decree.
    pub decree: Hash,
    /// Whether it may have voted about the epoch after that.
    pub voted: bool,
    /// The order that cancelled the task.
    pub cancelled: Option<Signed>,
}

impl Trace {
    /// Of a task as this device knows it now.
    pub fn of(machine: &TaskMachine) -> Self {
        let (link, record) = (machine.tip(), machine.record());
        let voted = link.decree.outcome == Outcome::Run
            && (record.next.promised.is_some() || record.next.accepted.is_some() || machine.has_vote());
        Self {
            branch: link.branch,
            epoch: link.decree.epoch,
            decree: link.hash,
            voted,
            cancelled: record.cancelled.clone(),
        }
    }

    /// Whether the task may be joined again at this point.
    pub fn admits(&self, link: &Link) -> bool {
        if self.cancelled.is_some() {
            // A result that was reached stands; nothing else does.
            return link.decree.outcome == Outcome::Done;
        }
        match (link.branch, link.decree.epoch).cmp(&(self.branch, self.epoch)) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => !self.voted && link.hash == self.decree,
            std::cmp::Ordering::Less => false,
        }
    }

    /// Whether what is said under this right can be news.
    pub fn is_news(&self, branch: Branch, epoch: Epoch) -> bool {
        (branch, epoch) >= (self.branch, self.epoch)
    }
}
