//! Leases (policy `quorum`): the owner runs only while a majority of the acceptors has promised to let nobody else
//! take over. Measured on boot clocks, which count suspend.
//!
//! ```text
//! owner      sent ──────────────── runs ─────────────── sent + L − ε
//! acceptor        granted ───────────── promises nobody ───────────── granted + L + ε
//! ```
//! An acceptor grants after the owner sent, so with clocks that drift less than ε over a lease the owner has always
//! stopped before the acceptor is free.

use std::collections::BTreeMap;

use softbus_core::wire::task::{Ballot, EpochBody, Outcome, Policy};
use softbus_core::{BootMs, DeviceId};

use super::certificate::{Link, majority};
use super::runner::Instance;
use super::tuning::{RENEWALS_PER_LEASE, epsilon};
use super::{Action, TaskMachine};

/// Forever: under policy `owner` no lease is needed.
const FOREVER: BootMs = BootMs(u64::MAX);

pub(super) struct Lease {
    /// As acceptor: promises nobody but the owner before this.
    pub(super) bound_until: BootMs,
    /// As owner: for each acceptor, when the latest request that it granted was sent.
    grants: BTreeMap<DeviceId, BootMs>,
    /// As owner that decided the present epoch under a valid lease: all who learn of the epoch bind themselves
    /// anew, and they can only learn of it later than this.
    implied: Option<BootMs>,
    /// As owner: when to ask next.
    ask_at: BootMs,
    /// As owner: someone denied the lease; only a new epoch helps.
    pub(super) denied: bool,
    nonce: u64,
}

impl Lease {
    pub(super) fn new(nonce: u64) -> Self {
        Self {
            bound_until: BootMs(0),
            grants: BTreeMap::new(),
            implied: None,
            ask_at: BootMs(0),
            denied: false,
            nonce,
        }
    }

    /// Binds this acceptor as if it had just granted the owner a lease.
    pub(super) fn bind(&mut self, policy: Policy, now: BootMs) {
        if let Policy::Quorum { lease_ms } = policy {
            let until = BootMs(now.0.saturating_add(u64::from(lease_ms))).after(epsilon(lease_ms));
            self.bound_until = self.bound_until.max(until);
        }
    }
}

impl TaskMachine {
    /// Until when the owner may run.
    pub(super) fn lease_until(&self) -> BootMs {
        let Policy::Quorum { lease_ms } = self.link.decree.policy else { return FOREVER };
        let acceptors = self.link.decree.acceptors();
        let mut sent: Vec<BootMs> =
            acceptors.iter().filter_map(|acceptor| self.lease.grants.get(acceptor).copied()).collect();
        sent.sort_unstable_by(|a, b| b.cmp(a));
        let granted = sent.get(majority(acceptors.len()) - 1).copied();
        match granted.max(self.lease.implied) {
            Some(sent) => {
                let length = u64::from(lease_ms).saturating_sub(epsilon(lease_ms).as_millis() as u64);
                BootMs(sent.0.saturating_add(length))
            }
            None => BootMs(0),
        }
    }

    /// How long this acceptor is bound to the owner yet, in milliseconds, if `proposer` is another.
    pub(super) fn bound_for(&self, proposer: DeviceId, now: BootMs) -> Option<u32> {
        let applies = self.is_quorum()
            && self.link.decree.outcome == Outcome::Run
            && proposer != self.link.decree.owner
            && !broken!(self, NoLeaseWait);
        (applies && now < self.lease.bound_until)
            .then(|| u32::try_from(self.lease.bound_until.0 - now.0).unwrap_or(u32::MAX))
    }

    /// The owner asks for its lease, again and again.
    pub(super) fn drive_lease(&mut self, now: BootMs) {
        let Policy::Quorum { lease_ms } = self.link.decree.policy else { return };
        // Without its state it cannot run: others may.
        let stateless = self.abstains() && self.runner.instance == Instance::None;
        if !self.is_owner() || self.members.left || stateless {
            return;
        }
        if self.lease.ask_at <= now {
            if !self.d.next.ousted {
                self.lease.bind(self.link.decree.policy, now);
                self.lease.grants.insert(self.me, now);
            }
            let nonce = self.lease.nonce;
            for acceptor in self.link.decree.acceptors() {
                self.send_at_once(acceptor, EpochBody::Lease { sent: now, nonce });
            }
            self.lease.ask_at = BootMs(now.0 + u64::from(lease_ms) / RENEWALS_PER_LEASE);
        }
        self.wake_at(self.lease.ask_at);
    }

    pub(super) fn on_lease(&mut self, from: DeviceId, sent: BootMs, nonce: u64, now: BootMs) {
        let asks_rightly = self.is_quorum()
            && (from == self.link.decree.owner || broken!(self, IgnoreEpoch))
            && self.link.decree.outcome == Outcome::Run
            && self.link.decree.holders.contains(&self.me);
        if !asks_rightly {
            return;
        }
        if self.d.next.ousted && !broken!(self, GrantAfterPromise) {
            let promised = self.d.next.promised;
            return self.send_at_once(from, EpochBody::Deny { promised });
        }
        self.lease.bind(self.link.decree.policy, now);
        self.stand_down(now);
        self.send_at_once(from, EpochBody::Grant { sent, nonce });
    }

    pub(super) fn on_grant(&mut self, from: DeviceId, sent: BootMs, nonce: u64, now: BootMs) {
        let ours = self.is_owner() && nonce == self.lease.nonce && sent <= now;
        if ours && self.link.decree.acceptors().contains(&from) {
            let known = self.lease.grants.entry(from).or_insert(sent);
            *known = (*known).max(sent);
        }
    }

    pub(super) fn on_deny(&mut self, from: DeviceId, promised: Option<Ballot>, now: BootMs) {
        if self.is_owner() && self.link.decree.acceptors().contains(&from) {
            self.lease.grants.remove(&from);
            if let Some(ballot) = promised {
                self.saw_round(ballot.round);
            }
            if !self.lease.denied {
                self.lease.denied = true;
                self.renew_later(now);
            }
        }
    }

    /// Acceptors take the news of an epoch for a lease granted to its owner; an owner that decided it under a valid
    /// lease may count on that.
    pub(super) fn lease_under_new_epoch(&mut self, before: &Link, same_right: bool, now: BootMs) {
        let valid = same_right && {
            // The old lease, measured among the old acceptors.
            let new = std::mem::replace(&mut self.link, before.clone());
            let until = self.lease_until();
            self.link = new;
            until > now || broken!(self, LeaseForNothing)
        };
        self.lease.grants.clear();
        self.lease.implied = valid.then_some(now);
        self.lease.ask_at = now;
        self.lease.denied = false;
        if self.link.decree.outcome == Outcome::Run {
            self.lease.bind(self.link.decree.policy, now);
        }
    }

    /// Tells the instance how long it may run.
    pub(super) fn say_until(&mut self, until: BootMs) {
        if until > self.runner.said_until {
            self.runner.said_until = until;
            self.out.at_once(Action::LeaseUntil { until });
        }
    }
}
