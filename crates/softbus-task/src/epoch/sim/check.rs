//! The invariants, checked after every event.

use std::collections::BTreeMap;

use softbus_core::Hash;
use softbus_core::wire::task::{Branch, Certificate, CheckpointRef, Decree, Fence, Outcome};

use super::super::certificate::parse_decree;
use super::device::History;

/// What the all-seeing observer knows.
#[derive(Default)]
pub(super) struct Observer {
    /// Each decided epoch: the hash of its decree, and the decree.
    pub(super) decided: BTreeMap<(Branch, u64), (Hash, Decree)>,
    /// State of every checkpoint ever taken.
    pub(super) states: BTreeMap<Hash, History>,
    /// The longest history that a majority was said to hold, by branch.
    covered: BTreeMap<Branch, History>,
    /// Every effect that ever left, by branch and sequence.
    pub(super) released: BTreeMap<(Branch, u64), u64>,
    pub(super) moves: usize,
    pub(super) failovers: usize,
}

impl Observer {
    /// A certificate exists somewhere.
    pub(super) fn certificate(&mut self, branch: Branch, certificate: &Certificate) -> Result<(), String> {
        let bytes = certificate.decree_bytes();
        let decree = parse_decree(bytes).map_err(|error| error.to_string())?;
        let hash = Decree::hash(bytes);
        let key = (branch, decree.epoch.0);
        if let Some((known, other)) = self.decided.get(&key) {
            return if *known == hash {
                Ok(())
            } else {
                Err(format!("epoch {} decided twice:\n  {other:?}\n  {decree:?}", key.1))
            };
        }
        let base = self.states.get(&decree.base.manifest).cloned().ok_or("an epoch starts from nowhere")?;
        if let Some(covered) = self.covered.get(&branch)
            && !base.starts_with(covered)
        {
            return Err(format!(
                "epoch {} starts from {} steps, but {} were covered",
                key.1,
                base.len(),
                covered.len()
            ));
        }
        match decree.why {
            softbus_core::wire::task::Why::HandOver => self.moves += 1,
            softbus_core::wire::task::Why::FailOver => self.failovers += 1,
            _ => {}
        }
        self.decided.insert(key, (hash, decree));
        Ok(())
    }

    /// A device says that a majority holds a checkpoint.
    pub(super) fn cover(&mut self, branch: Branch, checkpoint: CheckpointRef) -> Result<(), String> {
        let state =
            self.states.get(&checkpoint.manifest).cloned().ok_or("a checkpoint from nowhere is covered")?;
        let later = self.decided.range((branch, checkpoint.epoch.0 + 1)..=(branch, u64::MAX)).next();
        if let Some(((_, epoch), (_, decree))) = later
            && let Some(base) = self.states.get(&decree.base.manifest)
            && !base.starts_with(&state)
        {
            return Err(format!(
                "{} steps are covered, but epoch {epoch} began with {}",
                state.len(),
                base.len()
            ));
        }
        let covered = self.covered.entry(branch).or_default();
        if state.starts_with(covered) {
            *covered = state;
            Ok(())
        } else if covered.starts_with(&state) {
            Ok(())
        } else {
            Err("two histories that contradict each other are covered".into())
        }
    }

    /// Effects leave a device.
    pub(super) fn release(&mut self, fence: Fence, said: &[u64]) -> Result<(), String> {
        let newest = self.decided.range((fence.branch, 0)..=(fence.branch, u64::MAX)).next_back();
        if let Some(((_, epoch), _)) = newest
            && *epoch > fence.epoch.0
        {
            return Err(format!("effects leave under epoch {}, but {epoch} is decided", fence.epoch.0));
        }
        for (index, effect) in said.iter().enumerate() {
            let key = (fence.branch, index as u64 + 1);
            let known = self.released.entry(key).or_insert(*effect);
            if known != effect {
                return Err(format!("effect {} left twice, and differently", key.1));
            }
        }
        Ok(())
    }

    /// How the task ended in a branch, if it did.
    pub(super) fn end(&self, branch: Branch) -> Option<&Decree> {
        let newest = self.decided.range((branch, 0)..=(branch, u64::MAX)).next_back();
        newest.map(|(_, (_, decree))| decree).filter(|decree| decree.outcome != Outcome::Run)
    }
}
