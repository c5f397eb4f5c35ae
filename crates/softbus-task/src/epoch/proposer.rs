//! The proposer's part in deciding the next epoch.
//!
//! 1. *Query* (not in round 0, which is the owner's alone): a majority promises, and says what it voted for and holds.
//! 2. *Gather*: the checkpoint that the next epoch is to start from reaches a majority of its future acceptors. So
//!    what was covered once stays covered, whatever the change of acceptors.
//! 3. *Clear*: if the decree takes the task away from here, the instance stops first.
//! 4. *Propose*: vote, ask for votes; a majority of them is the certificate.

use std::collections::{BTreeMap, BTreeSet};

use softbus_core::wire::task::{
    Accepted, Ballot, Certificate, CheckpointRef, Decree, EpochBody, Outcome, Policy,
};
use softbus_core::{BootMs, DeviceId, Signed};

use super::TaskMachine;
use super::certificate::{encode_decree, majority, open_vote, parse_decree, verify};
use super::outbox::Retry;
use super::runner::Instance;

/// What a proposer wants, if the acceptors have not already begun to decide something else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Intent {
    HandOver { destination: DeviceId, note: String },
    Holders { holders: Vec<DeviceId> },
    Renew,
    Finish,
    Quarantine,
    Release,
    TakeOver,
}

pub(super) struct Proposal {
    pub(super) intent: Intent,
    pub(super) ballot: Ballot,
    phase: Phase,
    pub(super) retry: Retry,
    pub(super) started: BootMs,
}

struct Promised {
    accepted: Option<Accepted>,
    held: Option<CheckpointRef>,
}

enum Phase {
    Query { promises: BTreeMap<DeviceId, Promised> },
    Gather { base: CheckpointRef, holding: BTreeSet<DeviceId> },
    Clear { decree: Vec<u8> },
    Propose { decree: Vec<u8>, votes: BTreeMap<DeviceId, Signed> },
}

impl Proposal {
    pub(super) fn hurry(&mut self, now: BootMs) {
        self.retry = Retry::now(now);
    }

    /// Nobody but this device has heard of it, or nothing was voted for yet.
    pub(super) fn may_be_dropped(&self) -> bool {
        matches!(self.phase, Phase::Query { .. } | Phase::Gather { .. })
    }
}

impl TaskMachine {
    // --- beginning and ending ---

    /// Begins to propose; only if no proposal is under way.
    pub(super) fn begin(&mut self, intent: Intent, now: BootMs) {
        let Some(ballot) = self.next_ballot() else { return };
        let phase = if ballot.round == 0 {
            match self.d.held.as_ref() {
                Some(held) => {
                    Phase::Gather { base: held.checkpoint, holding: self.known_holding(held.checkpoint) }
                }
                None => return,
            }
        } else {
            Phase::Query { promises: BTreeMap::new() }
        };
        self.proposal = Some(Proposal { intent, ballot, phase, retry: Retry::now(now), started: now });
    }

    /// Round 0 for an owner when nothing was promised; else the round after the greatest seen.
    fn next_ballot(&self) -> Option<Ballot> {
        if !self.is_acceptor(self.me) {
            return None;
        }
        let promised = self.d.next.promised.map_or(0, |ballot| ballot.round);
        let fast = self.link.decree.owner == self.me
            && self.d.next.promised.is_none()
            && self.members.seen_round == 0;
        let round = if fast { 0 } else { promised.max(self.members.seen_round).checked_add(1)? };
        Some(Ballot { round, proposer: self.me })
    }

    pub(super) fn saw_round(&mut self, round: u64) {
        self.members.seen_round = self.members.seen_round.max(round.min(u64::MAX / 2));
    }

    /// After a restart: what this device had voted for in a ballot of its own is proposed again, in the same ballot.
    pub(super) fn resume_proposal(&mut self, now: BootMs) {
        let own = self.d.next.accepted.clone().filter(|accepted| {
            accepted.ballot.proposer == self.me && self.d.next.promised == Some(accepted.ballot)
        });
        let Some(Accepted { ballot, decree }) = own else { return };
        let phase = Phase::Clear { decree };
        // The instance is not running, and does not start while this is undecided.
        self.proposal =
            Some(Proposal { intent: Intent::Renew, ballot, phase, retry: Retry::now(now), started: now });
        self.members.resumed = true;
    }

    /// Whether this process, since it started, proposes that this device goes on as owner.
    pub(super) fn proposes_itself(&self) -> bool {
        !self.members.resumed
            && self
                .proposal
                .as_ref()
                .is_some_and(|proposal| matches!(proposal.intent, Intent::Holders { .. } | Intent::Renew))
    }

    /// Drops a proposal of our own that nobody voted for yet.
    pub(super) fn drop_unproposed(&mut self, _now: BootMs) {
        if self.proposal.as_ref().is_some_and(Proposal::may_be_dropped) {
            self.proposal = None;
        }
    }

    // --- driving ---

    pub(super) fn drive_proposal(&mut self, now: BootMs) {
        // Each phase that completes makes the next one due; there are four.
        for _ in 0..4 {
            let Some(proposal) = &self.proposal else { return };
            let stay = match &proposal.phase {
                Phase::Query { .. } => self.drive_query(now),
                Phase::Gather { .. } => self.drive_gather(now),
                Phase::Clear { .. } => self.drive_clear(now),
                Phase::Propose { .. } => self.drive_propose(now),
            };
            if stay {
                break;
            }
        }
        if let Some(proposal) = &self.proposal {
            let at = proposal.retry.at;
            if at > now && at.0 != u64::MAX {
                self.wake_at(at);
            }
        }
    }

    fn enter(&mut self, phase: Phase, now: BootMs) -> bool {
        if let Some(proposal) = &mut self.proposal {
            proposal.phase = phase;
            proposal.retry = Retry::now(now);
        }
        false
    }

    /// Sends to those who have not answered, if it is time.
    fn repeat(&mut self, to: impl IntoIterator<Item = DeviceId>, body: &EpochBody, now: BootMs) {
        let Some(proposal) = &mut self.proposal else { return };
        if proposal.retry.due(now) {
            proposal.retry.again(now, &self.setup.tuning);
            for device in to {
                self.send(device, body.clone());
            }
        }
    }

    fn drive_query(&mut self, now: BootMs) -> bool {
        let Some(Proposal { ballot, phase: Phase::Query { promises }, .. }) = &self.proposal else {
            return true;
        };
        let (ballot, acceptors) = (*ballot, self.link.decree.acceptors());
        let silent: Vec<DeviceId> =
            acceptors.iter().copied().filter(|a| *a != self.me && !promises.contains_key(a)).collect();
        // Others first: a device cut off from them must not bind itself to a ballot that leads nowhere.
        if promises.len() + 1 < majority(acceptors.len()) {
            self.repeat(silent, &EpochBody::Query { ballot }, now);
            return true;
        }
        if let Some(wait_ms) = self.bound_for(self.me, now) {
            self.delay_proposal(u64::from(wait_ms), now);
            return true;
        }
        if self.d.next.promised.is_some_and(|promised| promised > ballot) {
            self.another_ballot(now);
            return true;
        }
        if self.abstains() {
            return true; // goes on when it is here again
        }
        self.promise(ballot);
        let Some(Proposal { phase: Phase::Query { promises }, .. }) = &mut self.proposal else { return true };
        let own = Promised {
            accepted: self.d.next.accepted.clone(),
            held: self.d.held.as_ref().map(|held| held.checkpoint),
        };
        promises.insert(self.me, own);
        let newest_vote = promises
            .values()
            .filter_map(|promised| promised.accepted.as_ref())
            .max_by_key(|accepted| accepted.ballot)
            .map(|accepted| accepted.decree.clone());
        let held = promises.values().filter_map(|promised| promised.held);
        let base = if broken!(self, OldestBase) { held.min() } else { held.max() };
        let holding =
            |base| promises.iter().filter(|(_, p)| p.held == Some(base)).map(|(device, _)| *device).collect();
        match (newest_vote, base) {
            (Some(decree), _) if !broken!(self, ForgetAccepted) => self.enter(Phase::Clear { decree }, now),
            (_, Some(base)) => {
                let holding = holding(base);
                self.enter(Phase::Gather { base, holding }, now)
            }
            // Nobody who answered holds anything: wait for more of them.
            (_, None) => {
                self.repeat(silent, &EpochBody::Query { ballot }, now);
                true
            }
        }
    }

    /// Who is known to hold a checkpoint.
    fn known_holding(&self, checkpoint: CheckpointRef) -> BTreeSet<DeviceId> {
        let stored = self.replicas.stored.iter().filter(|(_, stored)| **stored == checkpoint);
        let mut holding: BTreeSet<DeviceId> = stored.map(|(device, _)| *device).collect();
        if self.has(checkpoint) {
            holding.insert(self.me);
        }
        if let Some(outgoing) = &self.outgoing
            && outgoing.ready_for(checkpoint)
        {
            holding.insert(outgoing.destination);
        }
        holding
    }

    /// The base of our proposal, if it is not here yet, and who has it.
    pub(super) fn wanted_by_proposal(&self) -> Option<(CheckpointRef, Vec<DeviceId>)> {
        match &self.proposal {
            Some(Proposal { phase: Phase::Gather { base, holding }, .. }) if !self.has(*base) => {
                Some((*base, holding.iter().copied().collect()))
            }
            _ => None,
        }
    }

    fn drive_gather(&mut self, now: BootMs) -> bool {
        let Some(Proposal { intent, phase: Phase::Gather { base, holding }, started, .. }) = &self.proposal
        else {
            return true;
        };
        let (base, mut holding, started, intent) = (*base, holding.clone(), *started, intent.clone());
        if !self.has(base) {
            self.proposal.iter_mut().for_each(|proposal| proposal.retry = Retry::at(BootMs(u64::MAX)));
            return true; // being fetched
        }
        holding.extend(self.known_holding(base));
        let Some(decree) = self.draft(&intent, base, &holding) else {
            self.proposal = None;
            return true;
        };
        let (future, needed) = self.gather_goal(&decree, started, now);
        let there = future.iter().filter(|device| holding.contains(device)).count();
        if there >= needed {
            return match encode_decree(&decree) {
                Ok(decree) => self.enter(Phase::Clear { decree }, now),
                Err(_) => {
                    self.proposal = None;
                    true
                }
            };
        }
        let stuck = now.since(started) > self.setup.tuning.stop_limit;
        if stuck && matches!(intent, Intent::TakeOver | Intent::Renew) {
            self.another_ballot(now); // others may be in reach by now
            self.proposal.iter_mut().for_each(|proposal| proposal.started = now);
            return true;
        }
        let lacking: Vec<DeviceId> = future.into_iter().filter(|device| !holding.contains(device)).collect();
        let from = holding.into_iter().take(softbus_core::limits::ACCEPTORS).collect();
        if self.proposal.as_ref().is_some_and(|proposal| proposal.retry.at.0 == u64::MAX) {
            self.proposal.iter_mut().for_each(|proposal| proposal.retry = Retry::now(now));
        }
        self.repeat(lacking, &EpochBody::Hold { checkpoint: base, from }, now);
        true
    }

    /// On which devices the base must be before the vote, and on how many of them.
    fn gather_goal(&self, decree: &Decree, started: BootMs, now: BootMs) -> (Vec<DeviceId>, usize) {
        if decree.outcome == Outcome::Done && decree.policy == Policy::Owner {
            // No majority is needed, but the result should be on all devices in reach.
            let patient = now.since(started) < self.setup.tuning.finish_patience;
            let here = |device: &DeviceId| *device == self.me || !self.lost.contains_key(device);
            let members: Vec<DeviceId> = decree.members().into_iter().filter(here).collect();
            let needed = if patient { members.len() } else { 1 };
            return (members, needed);
        }
        let future = decree.acceptors();
        let needed = majority(future.len());
        (future, needed)
    }

    fn drive_clear(&mut self, now: BootMs) -> bool {
        let Some(Proposal { ballot, phase: Phase::Clear { decree }, .. }) = &self.proposal else {
            return true;
        };
        let (ballot, bytes) = (*ballot, decree.clone());
        let Ok(decree) = parse_decree(&bytes) else {
            self.proposal = None;
            return true;
        };
        let stays = decree.owner == self.me && decree.outcome == Outcome::Run && self.proposes_itself();
        if !stays && self.runner.instance != Instance::None {
            self.discard();
            return true; // goes on when the instance has stopped
        }
        if self.d.next.promised.is_some_and(|promised| promised > ballot) {
            self.another_ballot(now);
            return true;
        }
        match self.accept(ballot, bytes.clone()) {
            Ok(vote) => {
                let votes = BTreeMap::from([(self.me, vote)]);
                self.enter(Phase::Propose { decree: bytes, votes }, now)
            }
            Err(error) => {
                tracing::debug!(task = %self.d.task, %error, "the next epoch cannot be proposed so");
                self.proposal = None;
                true
            }
        }
    }

    fn drive_propose(&mut self, now: BootMs) -> bool {
        let Some(Proposal { ballot, phase: Phase::Propose { decree, votes }, .. }) = &self.proposal else {
            return true;
        };
        let acceptors = self.link.decree.acceptors();
        if votes.len() >= majority(acceptors.len()) {
            let votes: Vec<Signed> = votes.values().cloned().collect();
            let certificate = Certificate::Voted { decree: decree.clone(), votes };
            match verify(&self.link, &certificate) {
                Ok(link) => self.advance(vec![(link, certificate)], true, now),
                Err(error) => {
                    tracing::error!(task = %self.d.task, %error, "our own certificate is not valid");
                    self.proposal = None;
                }
            }
            return true;
        }
        let silent: Vec<DeviceId> = acceptors.into_iter().filter(|a| !votes.contains_key(a)).collect();
        let body = EpochBody::Propose { ballot: *ballot, decree: decree.clone() };
        self.repeat(silent, &body, now);
        true
    }

    // --- answers ---

    pub(super) fn on_promise(
        &mut self,
        from: DeviceId,
        ballot: Ballot,
        accepted: Option<Accepted>,
        held: Option<CheckpointRef>,
    ) {
        // What it voted for must at least be something that may follow; an honest acceptor checked that.
        let sound = accepted.as_ref().is_none_or(|accepted| {
            parse_decree(&accepted.decree)
                .is_ok_and(|decree| super::certificate::check_successor(&self.link, &decree).is_ok())
        });
        let acceptor = self.is_acceptor(from);
        if let Some(Proposal { ballot: ours, phase: Phase::Query { promises }, .. }) = &mut self.proposal
            && *ours == ballot
            && acceptor
            && sound
        {
            promises.insert(from, Promised { accepted, held });
        }
    }

    pub(super) fn on_holding(&mut self, from: DeviceId, checkpoint: CheckpointRef) {
        if let Some(Proposal { phase: Phase::Gather { base, holding }, .. }) = &mut self.proposal
            && *base == checkpoint
            && holding.len() < 2 * softbus_core::limits::ACCEPTORS
        {
            holding.insert(from);
        }
    }

    pub(super) fn on_voted(&mut self, from: DeviceId, signed: Signed) {
        if signed.signer != from || !self.is_acceptor(from) {
            return;
        }
        let Ok(vote) = open_vote(&self.link, &signed) else { return };
        if let Some(Proposal { ballot, phase: Phase::Propose { decree, votes }, .. }) = &mut self.proposal
            && vote.ballot == *ballot
            && vote.decree == Decree::hash(decree)
        {
            votes.insert(from, signed);
        }
    }

    pub(super) fn on_nack(
        &mut self,
        from: DeviceId,
        ballot: Ballot,
        promised: Option<Ballot>,
        wait_ms: u32,
        now: BootMs,
    ) {
        let Some(proposal) = &self.proposal else { return };
        if proposal.ballot != ballot || !self.is_acceptor(from) {
            return;
        }
        let takes_over = proposal.intent == Intent::TakeOver && proposal.may_be_dropped();
        match promised {
            Some(promised) if promised > ballot => {
                self.saw_round(promised.round);
                let owner_is_back = promised.proposer == self.link.decree.owner;
                if takes_over && owner_is_back {
                    self.proposal = None;
                    self.take_over_later(now);
                } else {
                    self.another_ballot(now);
                }
            }
            Some(_) => {}
            None => self.delay_proposal(u64::from(wait_ms), now),
        }
    }

    fn delay_proposal(&mut self, wait_ms: u64, now: BootMs) {
        let spread = self.jitter(self.setup.tuning.stagger.as_millis() as u64);
        if let Some(proposal) = &mut self.proposal {
            let wait_ms = wait_ms.max(self.setup.tuning.retry.as_millis() as u64);
            proposal.retry = Retry::at(BootMs(now.0.saturating_add(wait_ms).saturating_add(spread)));
        }
    }

    /// Another was ahead: try again with a greater ballot, a little later.
    fn another_ballot(&mut self, now: BootMs) {
        let Some(ballot) = self.next_ballot() else { return };
        let spread = 1 + self.jitter(2 * self.setup.tuning.retry.as_millis() as u64);
        if let Some(proposal) = &mut self.proposal {
            proposal.ballot = Ballot { round: ballot.round.max(1), ..ballot };
            proposal.phase = Phase::Query { promises: BTreeMap::new() };
            proposal.retry = Retry::at(BootMs(now.0.saturating_add(spread)));
        }
    }
}
