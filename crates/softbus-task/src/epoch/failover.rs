//! Fail-over (policy `quorum`): who takes over, when, and with which acceptors. And its mirror: an owner whose
//! right others have begun to take away renews it.

use std::collections::BTreeSet;

use softbus_core::wire::task::{CheckpointRef, Decree, Outcome, Policy, Why};
use softbus_core::{BootMs, DeviceId};

use super::TaskMachine;
use super::proposer::Intent;
use super::runner::is_result;

impl TaskMachine {
    pub(super) fn drive_failover(&mut self, now: BootMs) {
        if !self.is_quorum() || self.link.decree.outcome != Outcome::Run || self.proposal.is_some() {
            return;
        }
        if self.is_owner() {
            self.drive_renewal(now);
        } else if self.is_acceptor(self.me) && !self.members.draining && !self.abstains() {
            self.drive_take_over(now);
        }
    }

    /// The owner renews its right if acceptors have promised to others.
    fn drive_renewal(&mut self, now: BootMs) {
        if !(self.lease.denied || self.d.next.ousted) || self.outgoing.is_some() || self.d.held.is_none() {
            return;
        }
        match self.members.renew_at {
            None => self.renew_later(now),
            Some(at) if at <= now => {
                self.members.renew_at = None;
                self.begin(Intent::Renew, now);
            }
            Some(at) => self.wake_at(at),
        }
    }

    /// Whoever tries to take over just now gets a chance to finish first.
    pub(super) fn renew_later(&mut self, now: BootMs) {
        let span = self.setup.tuning.stagger.as_millis() as u64;
        let wait = 2 * span + self.jitter(2 * span);
        self.members.renew_at = Some(BootMs(now.0.saturating_add(wait)));
    }

    /// A holder takes over when the owner's lease has run out here, the best placed first.
    fn drive_take_over(&mut self, now: BootMs) {
        let stagger = self.setup.tuning.stagger.as_millis() as u64;
        let at = match self.members.take_over_at.filter(|at| *at >= self.lease.bound_until) {
            Some(at) => at,
            None => {
                let wait = self.rank() * stagger + self.jitter(stagger / 2);
                let at = BootMs(self.lease.bound_until.0.max(now.0).saturating_add(wait));
                self.members.take_over_at = Some(at);
                at
            }
        };
        if at <= now {
            self.members.take_over_at = None;
            self.begin(Intent::TakeOver, now);
        } else {
            self.wake_at(at);
        }
    }

    pub(super) fn take_over_later(&mut self, now: BootMs) {
        let Policy::Quorum { lease_ms } = self.link.decree.policy else { return };
        let lease_ms = u64::from(lease_ms);
        let wait = lease_ms + self.jitter(lease_ms / 2);
        self.members.take_over_at = Some(BootMs(now.0.saturating_add(wait)));
    }

    /// The owner lives: do not try to take over.
    pub(super) fn stand_down(&mut self, _now: BootMs) {
        self.members.take_over_at = None;
        let trying = self.proposal.as_ref().is_some_and(|proposal| proposal.intent == Intent::TakeOver);
        if trying && !self.d.next.ousted {
            self.drop_unproposed(_now);
        }
    }

    /// This device's place among those that could take over: placement's order, then that of the holders.
    fn rank(&self) -> u64 {
        let place = |device: &DeviceId| {
            let preferred = self.preference.iter().position(|other| other == device).unwrap_or(usize::MAX);
            let held =
                self.link.decree.holders.iter().position(|other| other == device).unwrap_or(usize::MAX);
            (preferred, held)
        };
        let mine = place(&self.me);
        self.link.decree.holders.iter().filter(|other| place(other) < mine).count() as u64
    }

    // --- the decree that is wanted ---

    /// What this device proposes for `intent`; `holding` are the devices that have the base.
    pub(super) fn draft(
        &self,
        intent: &Intent,
        base: CheckpointRef,
        holding: &BTreeSet<DeviceId>,
    ) -> Option<Decree> {
        let last = &self.link.decree;
        let mut next = Decree {
            branch: self.link.branch,
            epoch: last.epoch.next(),
            previous: self.link.hash,
            base,
            outcome: Outcome::Run,
            note: String::new(),
            ..last.clone()
        };
        match intent {
            Intent::HandOver { destination, note } => {
                next.why = Why::HandOver;
                next.note = note.clone();
                next.owner = *destination;
                let (first, after) =
                    if self.members.draining { (None, Some(self.me)) } else { (Some(self.me), None) };
                let others = last.holders.iter().copied();
                next.holders = self.choose_holders(*destination, first.into_iter().chain(others), after);
            }
            Intent::Holders { holders } => {
                next.why = Why::Holders;
                next.holders = holders.clone();
            }
            Intent::Renew => next.why = Why::Renewed,
            Intent::Release => next.why = Why::Released,
            Intent::Finish => {
                next.why = Why::Finished;
                next.outcome = Outcome::Done;
            }
            Intent::Quarantine => {
                next.why = Why::Quarantined;
                next.outcome = Outcome::Quarantined { error: self.d.error.clone() };
            }
            Intent::TakeOver => {
                let held =
                    [&self.d.held, &self.d.spare].into_iter().flatten().find(|h| h.checkpoint == base)?;
                if is_result(&held.manifest) {
                    next.why = Why::Finished;
                    next.outcome = Outcome::Done;
                } else {
                    next.why = Why::FailOver;
                }
                let lost = last.owner;
                next.note = format!("device {} was lost", lost.short());
                next.owner = self.successor(holding);
                let likely = std::iter::once(self.me)
                    .chain(holding.iter().copied())
                    .chain(last.holders.iter().copied())
                    .filter(|device| *device != lost);
                next.holders = self.choose_holders(next.owner, likely, Some(lost));
            }
        }
        Some(next)
    }

    /// Who is to run a task that was lost: this device if it may, else the best that may.
    fn successor(&self, holding: &BTreeSet<DeviceId>) -> DeviceId {
        if self.preference.is_empty() || self.preference.contains(&self.me) {
            return self.me;
        }
        let in_reach =
            |device: &&DeviceId| !self.lost.contains_key(device) && **device != self.link.decree.owner;
        let with_state = self.preference.iter().filter(in_reach).find(|device| holding.contains(device));
        with_state.or_else(|| self.preference.iter().find(in_reach)).copied().unwrap_or(self.me)
    }

    /// As many holders as are wanted: the likely ones in reach first, then placement's choice, then those out of
    /// reach, then `last_resort`.
    pub(super) fn choose_holders(
        &self,
        owner: DeviceId,
        likely: impl Iterator<Item = DeviceId>,
        last_resort: Option<DeviceId>,
    ) -> Vec<DeviceId> {
        let least = if self.is_quorum() { 2 } else { 0 };
        let wanted = usize::from(self.link.decree.replicas).max(least);
        let likely: Vec<DeviceId> = likely.collect();
        let here = |device: &&DeviceId| {
            **device == self.me || !(self.lost.contains_key(device) || self.members.is_leaving(device))
        };
        let away = |device: &&DeviceId| !here(device);
        let preferred = self.preference.iter().filter(|device| Some(**device) != last_resort);
        let order = likely
            .iter()
            .filter(here)
            .chain(preferred.filter(here))
            .chain(likely.iter().filter(away))
            .chain(last_resort.iter());
        let mut holders: Vec<DeviceId> = Vec::new();
        for device in order {
            if holders.len() < wanted && *device != owner && !holders.contains(device) {
                holders.push(*device);
            }
        }
        holders
    }
}
