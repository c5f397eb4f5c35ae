//! A disk that forgets: a checkpoint that was durable here is damaged.
//!
//! What this device had told of it stays told: it may have been counted as one of a majority that holds the checkpoint,
//! so that effects left. Therefore, until it is here again, or a newer one, or a new epoch began without it, this device
//! - promises to nobody who asks what it holds: a majority of those who lost nothing decides, as if this one were away;
//! - does not start the task, and asks for no lease for it: others that hold the checkpoint may go on sooner.
//!
//! Under policy `owner`, where nobody else decides, the owner goes back to the newest that others hold, once all of them
//! have told; while one is away that may hold more, it waits (a person can adopt the task by force from what there is). A
//! task that nobody else keeps cannot be helped: it ends in quarantine.

use softbus_core::wire::task::Outcome;
use softbus_core::{BootMs, DeviceId, Hash};

use super::TaskMachine;

impl TaskMachine {
    pub(super) fn on_lost(&mut self, manifest: Hash, now: BootMs) {
        self.outgoing_lost(manifest, now);
        let is = |held: &mut super::Held| held.checkpoint.manifest == manifest;
        let spare = self.d.spare.take_if(is);
        let incoming = self.d.incoming.take_if(|incoming| is(&mut incoming.held));
        if spare.is_some() || incoming.is_some() {
            self.out.touch();
        }
        let Some(held) = self.d.held.as_ref().filter(|held| held.checkpoint.manifest == manifest) else {
            return;
        };
        let checkpoint = held.checkpoint;
        let counts = self.is_member() && self.link.decree.outcome == Outcome::Run;
        if counts && self.is_owner() && self.others().is_empty() {
            // Nobody could bring it back.
            return self.count_failure(
                "its state on this device is damaged, and no other device keeps it".into(),
                now,
            );
        }
        self.d.held = None;
        if counts {
            self.d.missing = self.d.missing.max(Some(checkpoint));
        }
        self.replicas.lost(manifest);
        self.replicas.told.clear();
        self.out.touch();
    }

    /// What was lost cannot be had now. Under policy `owner`, once every other member has told what it holds, the newest of
    /// that has to do: part of the work is done again, and receivers drop the effects whose numbers they know. (Under
    /// `quorum` those who lost nothing decide that.)
    pub(super) fn fall_back(&mut self, manifest: Hash, now: BootMs) {
        let Some(missing) = self.d.missing.filter(|missing| missing.manifest == manifest) else { return };
        if self.is_quorum() || !self.is_owner() {
            return;
        }
        let others = self.others();
        if !others.iter().all(|device| self.replicas.told.contains_key(device)) {
            // Whoever gets the chain tells what it holds.
            if self.publish.is_empty() {
                self.publish_tip(&[], now);
            }
            return;
        }
        let newest =
            others.iter().filter_map(|device| self.replicas.told.get(device).copied().flatten()).max();
        if let Some(newest) = newest.filter(|newest| *newest < missing) {
            tracing::warn!(task = %self.d.task, ?missing, ?newest, "nobody has the lost checkpoint: back to an older one");
            self.d.missing = Some(newest);
            self.out.touch();
        }
    }

    /// Something is held again that is as good as what was lost.
    pub(super) fn made_good(&mut self) {
        if self.d.missing.is_some_and(|missing| self.held_ref().is_some_and(|held| held >= missing)) {
            self.d.missing = None;
            self.out.touch();
        }
    }

    /// Whether it does not count among those who say what they hold.
    pub(super) fn abstains(&self) -> bool {
        self.d.missing.is_some() && !broken!(self, PromiseAfterLoss)
    }

    /// Who may have what was lost here.
    pub(super) fn others(&self) -> Vec<DeviceId> {
        let mut others = self.link.decree.members();
        if self.d.missing == Some(self.link.decree.base) {
            others.extend(self.sources_of_base());
        }
        let mut seen = std::collections::BTreeSet::from([self.me]);
        others.retain(|device| seen.insert(*device));
        others
    }
}
