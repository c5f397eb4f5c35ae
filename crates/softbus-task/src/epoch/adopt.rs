//! Adoption by force: the way out when whoever must decide is gone for good. It starts a new branch, which fences the
//! old one; should the old owner return, it stops and the fork is reported. A person was warned before.

use softbus_core::wire::task::{Branch, Certificate, Decree, NOTE_BYTES, Outcome, Policy, Why};
use softbus_core::{BootMs, DeviceId, Domain, Hash, Signed};

use super::certificate::{encode_decree, open_root};
use super::{EpochError, TaskMachine};

impl TaskMachine {
    pub(super) fn adopt(&mut self, note: String, now: BootMs) {
        if self.link.decree.outcome == Outcome::Done || self.d.cancelled.is_some() {
            return self.refuse("the task has ended: there is nothing to adopt");
        }
        if self.is_owner() {
            return self.refuse("the task is this device's already");
        }
        if self.d.held.is_none() && self.d.incoming.is_none() {
            return self.refuse("no checkpoint of the task is here: adopt it on a device that holds one");
        }
        if let Err(error) = self.try_adopt(note, now) {
            self.refuse(&error.to_string());
        }
    }

    fn try_adopt(&mut self, mut note: String, now: BootMs) -> Result<(), EpochError> {
        let mut end = note.len().min(NOTE_BYTES);
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        note.truncate(end);
        // The final state of a hand-over in doubt is newer than any checkpoint.
        let held = self.d.incoming.take().map(|incoming| incoming.held).or_else(|| self.d.held.clone());
        let held = held.ok_or(EpochError::Invalid("no checkpoint of the task is here"))?;
        let from = self.fence();
        let before = self.link.decree.members();
        let reachable = |device: &DeviceId| *device != self.me && !self.lost.contains_key(device);
        let old_owner = self.link.decree.owner;
        let mut holders =
            self.choose_holders(self.me, before.clone().into_iter().filter(|d| *d != old_owner), None);
        holders.retain(reachable);
        // Without two others in reach there is no quorum to be had.
        let policy = if holders.len() >= 2 { self.link.decree.policy } else { Policy::Owner };
        let decree = Decree {
            branch: Branch { fork: from.branch.fork.saturating_add(1), root: Branch::NONE.root },
            epoch: from.epoch.next(),
            previous: Hash([0; 32]),
            policy,
            owner: self.me,
            holders,
            base: held.checkpoint,
            outcome: Outcome::Run,
            why: Why::Adopted { from },
            note,
            ..self.link.decree.clone()
        };
        let root = Signed::new(&*self.setup.key, Domain::EPOCH, encode_decree(&decree)?);
        let link = open_root(&root)?;
        self.d.held = Some(held);
        self.switch_branch(link, vec![Certificate::Root(root)], now);
        self.publish_tip(&before, now);
        Ok(())
    }
}
