//! Spreading what is decided, until everyone with a part in it has acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use softbus_core::wire::task::{CheckpointRef, EpochBody, Outcome};
use softbus_core::{BootMs, DeviceId, limits};

use super::certificate::{majority, parse_decree};
use super::outbox::Retry;
use super::runner::Instance;
use super::{Action, Notice, TaskMachine};

/// Most devices that a cancellation is sent to.
const CANCEL_TARGETS: usize = 64;
/// Whoever did not hear from the owner for so long asks around whether the task has gone on without it.
const CHECK_MS: u64 = 5_000;
/// ... and so often if it has no part in it any more, but submitted it (others forget it soon): its links are to come to
/// rest.
const FORMER_CHECK_MS: u64 = 300_000;

#[derive(Default)]
pub(super) struct Publish {
    /// Who must hear of the last epoch; newcomers get the whole chain.
    waiting: BTreeMap<DeviceId, (Retry, bool)>,
    /// Who must hear that the task is cancelled.
    cancel: BTreeMap<DeviceId, Retry>,
    /// At the submitter: acceptors that hold root and input, until they are a majority.
    accepted_by: Option<BTreeSet<DeviceId>>,
    /// When to ask whether we are behind.
    check: Option<Retry>,
    /// This device keeps the state it began with until all have acknowledged, even if it is no member.
    keeps_state: bool,
}

impl Publish {
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The owner lives, and stands where we stand.
    pub(super) fn owner_heard(&mut self, now: BootMs) {
        self.check = Some(Retry::at(BootMs(now.0.saturating_add(CHECK_MS))));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_empty_for(&self, device: &DeviceId) -> bool {
        !self.waiting.contains_key(device)
    }

    pub(super) fn nobody_waits(&self) -> bool {
        self.waiting.is_empty() && self.cancel.is_empty()
    }

    pub(super) fn await_acceptance(&mut self) {
        self.accepted_by = Some(BTreeSet::new());
    }

    pub(super) fn cancel_heard(&mut self, from: DeviceId) {
        self.cancel.remove(&from);
    }

    pub(super) fn hurry(&mut self, peer: DeviceId, now: BootMs) {
        if let Some((retry, _)) = self.waiting.get_mut(&peer) {
            *retry = Retry::now(now);
        }
        if let Some(retry) = self.cancel.get_mut(&peer) {
            *retry = Retry::now(now);
        }
        self.check = Some(Retry::now(now));
    }
}

impl TaskMachine {
    /// Tells everyone with a part in the last epoch or the one before (`before`: its members).
    pub(super) fn publish_tip(&mut self, before: &[DeviceId], now: BootMs) {
        let mut targets: BTreeSet<DeviceId> = self.link.decree.members().into_iter().collect();
        targets.extend(before);
        // Who had not yet heard of the epoch before will not ask for this one.
        targets.extend(self.publish.waiting.keys().take(limits::ACCEPTORS));
        targets.insert(self.link.decree.submitter);
        targets.remove(&self.me);
        let root = self.d.chain.len() == 1;
        self.publish.waiting = targets
            .into_iter()
            .map(|device| (device, (Retry::now(now), root || !before.contains(&device))))
            .collect();
        self.publish.keeps_state = true;
    }

    pub(super) fn drive_publish(&mut self, now: BootMs) {
        let mut due: Vec<(DeviceId, bool)> = Vec::new();
        for (device, (retry, all)) in &mut self.publish.waiting {
            if retry.due(now) {
                retry.again(now, &self.setup.tuning);
                due.push((*device, *all));
            }
        }
        for (device, all) in due {
            let skip = if all { 0 } else { self.d.chain.len().saturating_sub(1) };
            let links = self.d.chain[skip..].to_vec();
            self.send(device, EpochBody::Chain { links });
        }
        if let Some(at) = self.publish.waiting.values().map(|(retry, _)| retry.at).min() {
            self.wake_at(at);
        }
        self.drive_cancel(now);
        self.drive_acceptance();
        if self.publish.keeps_state && self.publish.waiting.is_empty() && self.out.settled() {
            self.publish.keeps_state = false;
            if !self.is_member() && self.d.held.take().is_some() {
                self.out.touch();
            }
        }
    }

    /// Whoever may have missed something (it was away, or the others could not reach it) asks: also one that has no part
    /// in the task any more, whom nobody tells of its end.
    pub(super) fn drive_check(&mut self, now: BootMs) {
        let part = self.is_member() || self.d.held.is_some() || self.d.incoming.is_some();
        // An owner under a lease hears from the others all the time.
        let leased = self.is_owner() && self.is_quorum() && self.runner.instance == Instance::Running;
        let over = self.link.decree.outcome == Outcome::Done || self.d.cancelled.is_some();
        if leased || over {
            return;
        }
        let first = Retry::at(now.after(self.setup.tuning.retry * 4));
        let check = self.publish.check.get_or_insert(first);
        let due = check.due(now);
        if due {
            check.again(now, &self.setup.tuning);
            let pause = if part { CHECK_MS } else { FORMER_CHECK_MS };
            check.at = check.at.max(BootMs(now.0.saturating_add(pause)));
        }
        let at = check.at;
        self.wake_at(at);
        if due {
            let owner = self.link.decree.owner;
            let mut whom: BTreeSet<DeviceId> = self.link.decree.members().into_iter().collect();
            whom.insert(self.link.decree.submitter);
            if !part && !self.lost.contains_key(&owner) {
                whom = BTreeSet::from([owner]);
            }
            for device in whom {
                self.send(device, EpochBody::AskChain);
            }
        }
    }

    /// Tells a device where this one stands.
    pub(super) fn ack(&mut self, to: DeviceId) {
        let held = self.held_ref();
        self.send(to, EpochBody::Ack { held });
    }

    /// The base arrived: those who wait to hear that are the submitter and the owner before.
    pub(super) fn ack_base(&mut self) {
        let mut waiting = BTreeSet::from([self.link.decree.submitter]);
        if let Some(before) = self.d.chain.iter().rev().nth(1)
            && let Ok(decree) = parse_decree(before.decree_bytes())
        {
            waiting.insert(decree.owner);
        }
        for device in waiting {
            self.ack(device);
        }
    }

    pub(super) fn on_ack(&mut self, from: DeviceId, held: Option<CheckpointRef>) {
        let member = self.link.decree.owner == from || self.link.decree.holders.contains(&from);
        if member && self.d.missing.is_some() {
            self.replicas.told.insert(from, held);
        }
        if !member || held.is_some() {
            self.publish.waiting.remove(&from);
        }
        if held.is_some()
            && self.is_acceptor(from)
            && let Some(accepted_by) = &mut self.publish.accepted_by
        {
            accepted_by.insert(from);
        }
    }

    fn drive_acceptance(&mut self) {
        let Some(accepted_by) = &self.publish.accepted_by else { return };
        if !self.out.settled() {
            return;
        }
        let acceptors = self.link.decree.acceptors();
        let own = usize::from(acceptors.contains(&self.me) && self.d.held.is_some());
        if self.d.chain.len() > 1 || accepted_by.len() + own >= majority(acceptors.len()) {
            self.publish.accepted_by = None;
            self.out.at_once(Action::Notify(Notice::Accepted));
        }
    }

    /// Whether the task is known to have been accepted: at its submitter by all who said so, elsewhere by what came of it.
    pub(super) fn is_accepted(&self) -> bool {
        let told = self.link.decree.submitter == self.me && self.publish.accepted_by.is_none();
        told || self.d.chain.len() > 1 || self.replicas.covered.is_some()
    }

    // --- cancellation ---

    /// Everyone who ever had a part in the task, as far as is known here.
    pub(super) fn spread_cancel(&mut self, now: BootMs) {
        let mut targets = BTreeSet::from([self.link.decree.submitter]);
        for decree in self.d.chain.iter().rev().filter_map(|link| parse_decree(link.decree_bytes()).ok()) {
            targets.extend(decree.members());
        }
        targets.extend(self.outgoing.iter().map(|outgoing| outgoing.destination));
        targets.remove(&self.me);
        self.publish.cancel =
            targets.into_iter().take(CANCEL_TARGETS).map(|device| (device, Retry::now(now))).collect();
    }

    fn drive_cancel(&mut self, now: BootMs) {
        let Some(order) = self.d.cancelled.clone() else { return };
        let mut due: Vec<DeviceId> = Vec::new();
        for (device, retry) in &mut self.publish.cancel {
            if retry.due(now) {
                retry.again(now, &self.setup.tuning);
                due.push(*device);
            }
        }
        for device in due {
            self.send(device, EpochBody::Cancel { order: order.clone() });
        }
        if let Some(at) = self.publish.cancel.values().map(|retry| retry.at).min() {
            self.wake_at(at);
        }
    }

    /// Someone who does not know yet is told.
    pub(super) fn tell_cancelled(&mut self, to: DeviceId) {
        if let Some(order) = self.d.cancelled.clone() {
            self.send(to, EpochBody::Cancel { order });
        }
    }
}
