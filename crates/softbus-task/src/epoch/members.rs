//! Who holds: replacing holders that are gone or want to leave, and leaving in good order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use softbus_core::wire::task::{EpochBody, HOLDERS, Outcome, Policy};
use softbus_core::{BootMs, DeviceId};

use super::outbox::Retry;
use super::proposer::{Intent, Proposal};
use super::runner::Instance;
use super::tuning::LOST_PEERS;
use super::{Action, Notice, TaskMachine};

/// How long a holder that leaves waits for the owner to replace it.
const LEAVE_PATIENCE_MS: u64 = 2_000;
/// For how long a device that said it leaves is not made a holder, unless it comes back before.
const LEAVE_MEMORY: Duration = Duration::from_secs(60);
/// Least time between two changes of holders that nobody asked for.
const REPLACE_GAP: Duration = Duration::from_secs(1);
/// How long a device keeps a state that it was asked to fetch without becoming a member.
const GUEST_MS: u64 = 600_000;

/// Small memories of the present epoch, none of them durable.
#[derive(Default)]
pub(super) struct Members {
    /// This device shuts down.
    pub(super) draining: bool,
    /// The instance was told to stop because nobody can take it.
    pub(super) stops_to_leave: bool,
    /// It has stopped; it does not start here again until the program does.
    pub(super) left: bool,
    said_drained: bool,
    leave: Option<(BootMs, Retry)>,
    /// Destinations that failed while draining.
    failed: BTreeSet<DeviceId>,
    /// Devices that said they leave, and when: no holders until they come back.
    leaving: BTreeMap<DeviceId, BootMs>,
    /// As owner: when to look for replacements again after a failure.
    replace_at: BootMs,
    /// The greatest round heard of.
    pub(super) seen_round: u64,
    /// The proposal was taken up after a restart.
    pub(super) resumed: bool,
    pub(super) renew_at: Option<BootMs>,
    pub(super) take_over_at: Option<BootMs>,
    /// As destination in doubt: when to ask.
    pub(super) doubt: Option<Retry>,
    /// Until when a state is kept without being a member.
    guest_until: Option<BootMs>,
}

impl Members {
    pub(super) fn under_new_epoch(&mut self) {
        self.seen_round = 0;
        self.resumed = false;
        self.renew_at = None;
        self.take_over_at = None;
        self.doubt = None;
        self.leave = None;
    }

    pub(super) fn guest(&mut self, now: BootMs) {
        self.guest_until = Some(BootMs(now.0.saturating_add(GUEST_MS)));
    }

    pub(super) fn drain_failed(&mut self, destination: DeviceId) {
        if self.draining {
            self.failed.insert(destination);
        }
    }

    /// A device that shuts down is no holder to be.
    pub(super) fn is_leaving(&self, device: &DeviceId) -> bool {
        self.leaving.contains_key(device)
    }

    pub(super) fn hurry(&mut self, peer: DeviceId, now: BootMs) {
        self.leaving.remove(&peer);
        if let Some(doubt) = &mut self.doubt {
            *doubt = Retry::now(now);
        }
    }
}

impl TaskMachine {
    pub(super) fn drive_members(&mut self, now: BootMs) {
        self.drive_guest(now);
        if self.members.draining {
            self.drive_drain(now);
        } else {
            self.drive_replacement(now);
        }
    }

    /// A state kept for a hand-over or change that never came is given up.
    fn drive_guest(&mut self, now: BootMs) {
        let idle = !self.is_member() && self.d.incoming.is_none() && self.publish.is_empty();
        if !idle || (self.d.held.is_none() && self.d.spare.is_none()) {
            return;
        }
        let until = *self.members.guest_until.get_or_insert(now);
        if until <= now {
            self.d.held = None;
            self.d.spare = None;
            self.out.touch();
        } else {
            self.wake_at(until);
        }
    }

    // --- the owner keeps its holders complete ---

    fn drive_replacement(&mut self, now: BootMs) {
        if let Some(Proposal { intent: Intent::Holders { .. }, started, .. }) = &self.proposal {
            // New holders that cannot be reached must not freeze the task's checkpoints for ever.
            let limit = started.after(self.setup.tuning.stop_limit);
            if now >= limit {
                self.drop_unproposed(now);
                self.members.replace_at = now.after(self.setup.tuning.stop_limit);
            } else {
                self.wake_at(limit);
            }
            return;
        }
        let idle = self.is_owner()
            && self.proposal.is_none()
            && self.outgoing.is_none()
            && self.d.next.accepted.is_none()
            && !self.d.next.ousted
            && matches!(self.runner.instance, Instance::Running | Instance::Paused)
            && !self.finished();
        if !idle {
            return;
        }
        if now < self.members.replace_at {
            return self.wake_at(self.members.replace_at);
        }
        let patience = self.setup.tuning.replace_after;
        self.members.leaving.retain(|_, since| now < since.after(LEAVE_MEMORY));
        let mut next_look = None;
        let mut stay = Vec::new();
        for holder in &self.link.decree.holders {
            let gone_at = self.lost.get(holder).map(|since| since.after(patience));
            match gone_at {
                _ if self.members.leaving.contains_key(holder) => {}
                Some(at) if at <= now => {}
                other => {
                    stay.push(*holder);
                    next_look = [next_look, other].into_iter().flatten().min();
                }
            }
        }
        if let Some(at) = next_look {
            self.wake_at(at);
        }
        let unwanted: Vec<DeviceId> =
            self.link.decree.holders.iter().copied().filter(|holder| !stay.contains(holder)).collect();
        let wanted = usize::from(self.link.decree.replicas).min(HOLDERS);
        let fresh: Vec<DeviceId> = self
            .preference
            .iter()
            .copied()
            .filter(|device| {
                *device != self.me
                    && !self.lost.contains_key(device)
                    && !self.members.is_leaving(device)
                    && !self.link.decree.holders.contains(device)
            })
            .take(wanted.saturating_sub(stay.len()))
            .collect();
        let leavers = unwanted.iter().any(|holder| self.members.leaving.contains_key(holder));
        if fresh.is_empty() && !(leavers && self.link.decree.policy == Policy::Owner) {
            return;
        }
        let mut holders = stay;
        holders.extend(fresh);
        // Those without a replacement stay, who wants to leave last.
        let mut rest = unwanted;
        rest.sort_by_key(|holder| self.members.leaving.contains_key(holder));
        let may_shrink = self.link.decree.policy == Policy::Owner;
        for holder in rest {
            let leaves = may_shrink && self.members.leaving.contains_key(&holder);
            if holders.len() < wanted && !leaves {
                holders.push(holder);
            }
        }
        self.members.replace_at = now.after(REPLACE_GAP);
        self.begin(Intent::Holders { holders }, now);
    }

    pub(super) fn change_holders(&mut self, holders: Vec<DeviceId>, now: BootMs) {
        let busy = self.proposal.is_some() || self.outgoing.is_some() || self.d.next.accepted.is_some();
        if !self.is_owner() || self.d.held.is_none() {
            self.refuse("only the device that runs the task can change its holders");
        } else if busy || self.d.next.ousted {
            self.refuse("the task's next epoch is being decided already: try again in a moment");
        } else if holders.len() > HOLDERS
            || (self.is_quorum() && holders.len() < 2)
            || holders.contains(&self.me)
        {
            self.refuse("name two to eight other devices as holders (policy owner: up to eight)");
        } else {
            self.begin(Intent::Holders { holders }, now);
        }
    }

    pub(super) fn on_leave(&mut self, from: DeviceId, now: BootMs) {
        let known = self.link.decree.holders.contains(&from);
        if self.is_owner() && known && self.members.leaving.len() < LOST_PEERS {
            self.members.leaving.insert(from, now);
        }
    }

    // --- this device leaves ---

    fn drive_drain(&mut self, now: BootMs) {
        let part = self.is_member() && self.link.decree.outcome == Outcome::Run;
        if !part || self.members.left {
            return self.say_drained();
        }
        if self.is_owner() {
            self.drain_owner(now);
        } else {
            let retry = Retry::now(now);
            let (since, retry) = self.members.leave.get_or_insert((now, retry));
            let limit = BootMs(since.0.saturating_add(LEAVE_PATIENCE_MS));
            let due = retry.due(now);
            if due {
                retry.again(now, &self.setup.tuning);
            }
            let at = retry.at;
            if now >= limit {
                return self.say_drained();
            }
            self.wake_at(at.min(limit));
            if due {
                self.send(self.link.decree.owner, EpochBody::Leave);
            }
        }
    }

    fn drain_owner(&mut self, now: BootMs) {
        if self.outgoing.is_some() || self.proposal.is_some() || self.finished() {
            return;
        }
        if self.stopped_for_another() && !self.worn_out() {
            return; // It goes on here first.
        }
        let fit = |device: &&DeviceId| {
            **device != self.me && !self.lost.contains_key(device) && !self.members.failed.contains(device)
        };
        let destination = self.preference.iter().find(fit).copied();
        match (destination, self.runner.instance) {
            (_, Instance::Stopping | Instance::Discarding) => {}
            (Some(destination), _) if self.d.held.is_some() && !self.d.next.ousted && !self.worn_out() => {
                self.move_to(destination, "its device shuts down".into(), now);
            }
            (_, Instance::Running | Instance::Paused) => {
                self.members.stops_to_leave = true;
                self.runner.instance = Instance::Stopping;
                self.out.at_once(Action::StopAndCheckpoint { destination: None });
            }
            (_, Instance::None) => self.members.left = true,
        }
    }

    fn say_drained(&mut self) {
        if !self.members.said_drained
            && self.out.settled()
            && self.publish.is_empty_for(&self.link.decree.owner)
        {
            self.members.said_drained = true;
            self.out.at_once(Action::Notify(Notice::Drained));
        }
    }
}
