//! The facade: one machine per device and task. Takes events apart, keeps devices on the same epoch, and lets each
//! role do what is due.

use std::collections::BTreeMap;

use softbus_core::wire::task::{
    Branch, CHAIN_LINKS, Certificate, CheckpointRef, Decree, EpochBody, EpochMessage, Fence, Outcome, Policy,
    Why,
};
use softbus_core::{BootMs, DeviceId, Domain, Hash, Signed};

use super::certificate::{
    CHAIN_MOST, Link, encode_decree, open_root, parse_decree, prune, verify_chain, verify_later,
    verify_own_chain,
};
use super::handover::{Outgoing, Preparing};
use super::lease::Lease;
use super::members::Members;
use super::outbox::Outbox;
use super::proposer::Proposal;
use super::publish::Publish;
use super::replicate::Replicas;
use super::runner::Runner;
use super::trace::Trace;
use super::tuning::{LOST_PEERS, PREFERENCES};
use super::{
    Action, Command, Durable, EpochError, Event, Held, Next, Notice, Setup, Status, Submission, manifest,
};

/// A link that was verified, with its certificate.
type Step = (Link, Certificate);

/// Decides, for one task on one device, who runs it and when.
pub struct TaskMachine {
    pub(super) setup: Setup,
    pub(super) me: DeviceId,
    /// The last decided epoch.
    pub(super) link: Link,
    /// The record; may be ahead of the disk (see [`Outbox`]).
    pub(super) d: Durable,
    pub(super) out: Outbox,
    pub(super) lease: Lease,
    pub(super) runner: Runner,
    pub(super) replicas: Replicas,
    pub(super) proposal: Option<Proposal>,
    pub(super) outgoing: Option<Outgoing>,
    pub(super) preparing: Option<Preparing>,
    pub(super) members: Members,
    pub(super) publish: Publish,
    /// Placement's opinion, best first.
    pub(super) preference: Vec<DeviceId>,
    /// Devices out of reach, and since when.
    pub(super) lost: BTreeMap<DeviceId, BootMs>,
    pub(super) wake: Option<BootMs>,
    said_wake: Option<BootMs>,
    said_status: Option<Status>,
    random: u64,
}

/// Of a chain that cannot be shortened, others' links are taken over up to so many; the rest is for our own.
const FOREIGN_MOST: usize = CHAIN_MOST - CHAIN_LINKS / 4;

impl TaskMachine {
    /// Submits a new task from this device.
    pub fn submit(
        setup: Setup,
        submission: Submission,
        now: BootMs,
    ) -> Result<(Self, Vec<Action>), EpochError> {
        let me = setup.key.id();
        let base = manifest::open(&submission.base)?;
        let checkpoint = manifest::name(&base, &submission.base);
        if base.task != submission.task
            || base.branch != Branch::NONE
            || base.sequence != 0
            || base.epoch.0 != 0
        {
            return Err(EpochError::Invalid("the manifest of the input is not that of this new task"));
        }
        let decree = Decree {
            task: submission.task,
            branch: Branch::NONE,
            epoch: softbus_core::Epoch(1),
            previous: Hash([0; 32]),
            submitter: me,
            grant: submission.grant,
            task_type: submission.task_type,
            policy: submission.policy,
            replicas: submission.replicas,
            owner: submission.owner,
            holders: submission.holders,
            base: checkpoint,
            outcome: Outcome::Run,
            why: Why::Submitted,
            note: submission.note,
        };
        let root = Signed::new(&*setup.key, Domain::EPOCH, encode_decree(&decree)?);
        let link = open_root(&root)?;
        let mut durable = Durable::new(decree.task, vec![Certificate::Root(root)]);
        durable.held = Some(Held { checkpoint, manifest: submission.base });
        let mut machine = Self::make(setup, link, durable);
        machine.out.touch();
        machine.lease.bind(machine.link.decree.policy, now);
        machine.publish_tip(&[], now);
        machine.publish.await_acceptance();
        let actions = machine.finish(now);
        Ok((machine, actions))
    }

    /// Gets to know a task by the chain that another device sent ([`EpochBody::Chain`]). `trace`: if it was known here
    /// before, and forgotten.
    pub fn join(
        setup: Setup,
        from: DeviceId,
        links: Vec<Certificate>,
        trace: Option<&Trace>,
        now: BootMs,
    ) -> Result<(Self, Vec<Action>), EpochError> {
        let link = verify_chain(&links)?;
        if trace.is_some_and(|trace| !trace.admits(&link)) {
            return Err(EpochError::Foreign {
                what: "chain of the task",
                why: "it ends before what was known here once",
            });
        }
        let mut machine = Self::make(setup, link.clone(), Durable::new(link.decree.task, links));
        machine.out.touch();
        machine.lease.bind(machine.link.decree.policy, now);
        machine.ack(from);
        let actions = machine.finish(now);
        Ok((machine, actions))
    }

    /// Goes on after a restart, from the record last written.
    pub fn restore(setup: Setup, durable: Durable, now: BootMs) -> Result<(Self, Vec<Action>), EpochError> {
        let link = verify_own_chain(&durable.chain)?;
        let mut machine = Self::make(setup, link, durable);
        // Leases granted before the restart are forgotten, so wait as if one had been granted just now.
        if !broken!(machine, NoRebootWait) {
            machine.lease.bind(machine.link.decree.policy, now);
        }
        machine.resume_duties(now);
        let actions = machine.finish(now);
        Ok((machine, actions))
    }

    fn make(setup: Setup, link: Link, d: Durable) -> Self {
        #[cfg_attr(
            not(any(test, feature = "sabotage")),
            allow(unused_mut, reason = "tests break it on purpose")
        )]
        let mut out = Outbox::default();
        #[cfg(any(test, feature = "sabotage"))]
        {
            out.leaky = setup.tuning.sabotage == Some(super::sabotage::Sabotage::SendBeforePersist);
        }
        Self {
            me: setup.key.id(),
            random: setup.seed,
            lease: Lease::new(setup.seed),
            setup,
            link,
            d,
            out,
            runner: Runner::default(),
            replicas: Replicas::default(),
            proposal: None,
            outgoing: None,
            preparing: None,
            members: Members::default(),
            publish: Publish::default(),
            preference: Vec::new(),
            lost: BTreeMap::new(),
            wake: None,
            said_wake: None,
            said_status: None,
        }
    }

    /// What a restarted device takes up again.
    fn resume_duties(&mut self, now: BootMs) {
        let last = self.d.chain.last();
        let ours = match last {
            Some(Certificate::Root(root)) => root.signer == self.me,
            Some(Certificate::Voted { votes, .. }) => votes.first().is_some_and(|signed| {
                super::certificate::parse_vote(&signed.body).is_ok_and(|vote| vote.ballot.proposer == self.me)
            }),
            None => false,
        };
        if ours || self.link.decree.owner == self.me {
            self.publish_tip(&[], now);
        }
        if self.link.decree.epoch.0 == 1 && self.link.decree.submitter == self.me {
            self.publish.await_acceptance();
        }
        if self.d.cancelled.is_some() {
            self.spread_cancel(now);
        }
        if let Some(held) = self.d.held.clone() {
            self.replicas.note_history(&held);
        }
        self.replicas.seed_covered(&self.link, self.d.chain.last());
        self.resume_proposal(now);
    }

    /// Takes in what happened and says what to do.
    pub fn handle(&mut self, event: Event, now: BootMs) -> Vec<Action> {
        match event {
            Event::Message { from, message } => self.on_message(from, message, now),
            Event::Persisted { token } => self.out.persisted(token),
            Event::PersistFailed { .. } => {
                if self.out.failed(now, &self.setup.tuning) {
                    self.out.at_once(Action::Notify(Notice::StorageFailing));
                }
            }
            Event::Tick => {}
            Event::PeerLost { peer } => {
                if self.lost.len() < LOST_PEERS {
                    self.lost.entry(peer).or_insert(now);
                }
            }
            Event::PeerBack { peer } => {
                self.lost.remove(&peer);
                self.hurry(peer, now);
            }
            Event::Preference { mut devices } => {
                devices.truncate(PREFERENCES);
                self.preference = devices;
            }
            Event::Checkpoint { manifest } => self.on_checkpoint(&manifest, now),
            Event::Sent { to, bytes } => self.on_sent(to, bytes),
            Event::Stopped { last } => self.on_stopped(last.as_ref(), now),
            Event::CannotStop { error } => self.on_cannot_stop(&error, now),
            Event::Failed { error } => self.on_failed(error, now),
            Event::Finished { result } => self.on_finished(&result, now),
            Event::Fetched { manifest } => self.on_fetched(&manifest, now),
            Event::FetchFailed { manifest, ours } => self.on_fetch_failed(manifest, ours, now),
            Event::Lost { manifest } => self.on_lost(manifest, now),
            Event::Warmed { manifest } => self.warmed(manifest),
            Event::Command(command) => self.on_command(command, now),
        }
        self.finish(now)
    }

    fn on_command(&mut self, command: Command, now: BootMs) {
        match command {
            Command::MoveTo { destination, note } => self.move_to(destination, note, now),
            Command::AbortMove => self.abort_move("it was called off", now),
            Command::ChangeHolders { holders } => self.change_holders(holders, now),
            Command::Cancel { order } => {
                if let Err(error) = self.cancel(&order, now) {
                    self.refuse(&error.to_string());
                }
            }
            Command::Adopt { note } => self.adopt(note, now),
            Command::Release { epoch } => self.release(epoch, now),
            Command::Drain => self.members.draining = true,
        }
    }

    /// Lets every role do what is due, then writes the record if it changed.
    fn finish(&mut self, now: BootMs) -> Vec<Action> {
        self.wake = None;
        self.drive(now);
        if let Some(at) = self.out.retry(now) {
            self.wake_at(at);
        }
        if self.wake != self.said_wake {
            self.said_wake = self.wake;
            if let Some(at) = self.wake {
                self.out.at_once(Action::WakeAt(at));
            }
        }
        if self.out.settled() {
            let status = self.status();
            if self.said_status.as_ref() != Some(&status) {
                self.out.at_once(Action::Notify(Notice::Status(status.clone())));
                self.said_status = Some(status);
            }
        }
        self.out.flush(&self.d)
    }

    fn drive(&mut self, now: BootMs) {
        if self.d.cancelled.is_none() {
            self.drive_lease(now);
            self.drive_replicas(now);
            self.drive_ending(now);
            self.drive_members(now);
            self.drive_outgoing(now);
            self.drive_incoming(now);
            self.drive_failover(now);
            self.drive_proposal(now);
            self.drive_lease(now); // an epoch that was decided just now asks at once
        }
        self.drive_runner(now);
        self.drive_publish(now);
        self.drive_check(now);
        self.drive_keep();
    }

    // --- messages ---

    fn on_message(&mut self, from: DeviceId, message: EpochMessage, now: BootMs) {
        if message.task != self.d.task || from == self.me || !message.within_limits() {
            return;
        }
        match message.body {
            EpochBody::Chain { links } => {
                self.on_chain(from, links, now);
                return self.answer_chain(from, message.branch, message.epoch);
            }
            EpochBody::Cancel { order } => {
                if self.cancel(&order, now).is_ok() {
                    self.send(from, EpochBody::Cancelled);
                } else if self.link.decree.outcome == Outcome::Done && message.branch <= self.link.branch {
                    self.send_chain(from, message.branch, message.epoch.0);
                }
                return;
            }
            EpochBody::Cancelled => return self.publish.cancel_heard(from),
            EpochBody::AskChain => {
                self.send_chain(from, message.branch, message.epoch.0);
                return self.tell_cancelled(from);
            }
            _ => {}
        }
        if self.d.cancelled.is_some() {
            return self.tell_cancelled(from);
        }
        let (theirs, ours) = ((message.branch, message.epoch), (self.link.branch, self.link.decree.epoch));
        match theirs.cmp(&ours) {
            std::cmp::Ordering::Less => self.send_chain(from, message.branch, message.epoch.0),
            std::cmp::Ordering::Greater => self.send(from, EpochBody::AskChain),
            std::cmp::Ordering::Equal => return self.on_equal(from, message.body, now),
        }
        if broken!(self, IgnoreEpoch) {
            self.on_equal(from, message.body, now);
        }
    }

    /// A message of a device that stands at the same epoch.
    fn on_equal(&mut self, from: DeviceId, body: EpochBody, now: BootMs) {
        if from == self.link.decree.owner {
            self.publish.owner_heard(now);
        }
        match body {
            EpochBody::Ack { held } => self.on_ack(from, held),
            EpochBody::Offer { manifest } => self.on_offer(from, &manifest, now),
            EpochBody::Stored { checkpoint } => self.on_stored(from, checkpoint),
            EpochBody::Prepare { manifest, last } => self.on_prepare(from, &manifest, last, now),
            EpochBody::Fetching { manifest } => self.on_fetching(from, manifest, now),
            EpochBody::Warm { manifest } => self.on_warm(from, manifest, now),
            EpochBody::Ready { manifest } => self.on_ready(from, manifest, now),
            EpochBody::Refuse { manifest, code } => self.on_refuse(from, manifest, code, now),
            EpochBody::Abort { manifest } => self.on_abort(from, manifest),
            EpochBody::AskOutcome { manifest } => self.on_ask_outcome(from, manifest),
            EpochBody::Lease { sent, nonce } => self.on_lease(from, sent, nonce, now),
            EpochBody::Grant { sent, nonce } => self.on_grant(from, sent, nonce, now),
            EpochBody::Deny { promised } => self.on_deny(from, promised, now),
            EpochBody::Query { ballot } => self.on_query(from, ballot, now),
            EpochBody::Promise { ballot, accepted, held } => self.on_promise(from, ballot, accepted, held),
            EpochBody::Nack { ballot, promised, wait_ms } => {
                self.on_nack(from, ballot, promised, wait_ms, now)
            }
            EpochBody::Propose { ballot, decree } => self.on_propose(from, ballot, decree, now),
            EpochBody::Voted { vote } => self.on_voted(from, vote),
            EpochBody::Hold { checkpoint, from: sources } => self.on_hold(from, checkpoint, sources, now),
            EpochBody::Holding { checkpoint } => self.on_holding(from, checkpoint),
            EpochBody::Leave => self.on_leave(from, now),
            EpochBody::AskChain
            | EpochBody::Chain { .. }
            | EpochBody::Cancel { .. }
            | EpochBody::Cancelled => {}
        }
    }

    fn on_chain(&mut self, from: DeviceId, links: Vec<Certificate>, now: BootMs) {
        let greater = match links.first() {
            Some(Certificate::Root(root)) => open_root(root)
                .is_ok_and(|link| link.branch > self.link.branch && link.decree.task == self.d.task),
            _ => false,
        };
        if greater {
            // A cancelled task stays so in any branch, unless it was done there.
            if let Ok(link) = verify_chain(&links)
                && (self.d.cancelled.is_none() || link.decree.outcome == Outcome::Done)
            {
                self.switch_branch(link, links, now);
            }
        } else {
            match self.steps_ahead(&links) {
                Ok((steps, lacking)) => {
                    if !steps.is_empty() {
                        self.advance(steps, false, now);
                    }
                    if lacking {
                        self.send(from, EpochBody::AskChain);
                    }
                }
                Err(error) => match self.anew_from_the_root(&links) {
                    Some((before, steps)) => {
                        self.d.chain = before;
                        self.advance(steps, false, now);
                    }
                    None => tracing::debug!(task = %self.d.task, %error, "a chain is not believed"),
                },
            }
        }
        if self.link.decree.outcome == Outcome::Done && self.d.cancelled.take().is_some() {
            self.out.touch(); // a result that was reached stands
        }
    }

    /// Answers whoever sent a chain, but only if that leads on: two devices that cannot convince each other stay silent.
    fn answer_chain(&mut self, from: DeviceId, branch: Branch, epoch: softbus_core::Epoch) {
        if self.d.cancelled.is_some() {
            self.tell_cancelled(from);
        } else if (branch, epoch) == (self.link.branch, self.link.decree.epoch) {
            self.ack(from);
        } else if branch == self.link.branch && epoch < self.link.decree.epoch {
            self.send_chain(from, branch, epoch.0);
        }
    }

    /// The links of a chain that lead on from ours; and whether some in between are lacking.
    fn steps_ahead(&self, links: &[Certificate]) -> Result<(Vec<Step>, bool), EpochError> {
        let whole = matches!(links.first(), Some(Certificate::Root(_)));
        let mut link = self.link.clone();
        let mut steps = Vec::new();
        for certificate in links {
            let Certificate::Voted { decree, .. } = certificate else { continue };
            let decree = parse_decree(decree)?;
            if decree.task != link.decree.task
                || decree.branch != link.branch
                || decree.epoch <= link.decree.epoch
            {
                continue;
            }
            if self.d.chain.len() + steps.len() >= FOREIGN_MOST && self.d.chain.len() > CHAIN_LINKS {
                return Err(EpochError::Limits { what: "chain of the task" });
            }
            link = match verify_later(&link, certificate) {
                Ok(link) => link,
                // Who sent it may have those in between.
                Err(_) if !whole && decree.epoch > link.decree.epoch.next() => return Ok((steps, true)),
                Err(error) => return Err(error),
            };
            steps.push((link.clone(), certificate.clone()));
        }
        Ok((steps, false))
    }

    /// A chain that does not lead on from our link, as those who had a vote then had none later, is taken from the
    /// root on: but not by a device that has a vote itself, for nobody else may take that away. Gives what leads up
    /// to our epoch, and what leads on.
    fn anew_from_the_root(&self, links: &[Certificate]) -> Option<(Vec<Certificate>, Vec<Step>)> {
        if self.has_vote() || links.first() != self.d.chain.first() {
            return None;
        }
        verify_chain(links).ok()?;
        let Some(Certificate::Root(root)) = links.first() else { return None };
        let mut link = open_root(root).ok()?;
        let (mut before, mut steps) = (vec![links[0].clone()], Vec::new());
        for certificate in &links[1..] {
            link = verify_later(&link, certificate).ok()?;
            if link.decree.epoch <= self.link.decree.epoch {
                before.push(certificate.clone());
            } else {
                steps.push((link.clone(), certificate.clone()));
            }
        }
        (!steps.is_empty()).then_some((before, steps))
    }

    /// Certificates of later epochs than `since`, or all of them for a device in another branch. Of more than a
    /// message holds, the first.
    fn send_chain(&mut self, to: DeviceId, branch: Branch, since: u64) {
        let all = branch != self.link.branch;
        let epoch = |link: &Certificate| parse_decree(link.decree_bytes()).map_or(0, |decree| decree.epoch.0);
        let lacking =
            self.d.chain.iter().position(|link| epoch(link) > since).unwrap_or(self.d.chain.len() - 1);
        // What was left out just before can only be bridged by who knows the whole.
        let gap = self.d.chain.get(lacking).is_some_and(|link| epoch(link) > since.saturating_add(1));
        let from = if all || gap { 0 } else { lacking };
        let links: Vec<Certificate> = self.d.chain.iter().skip(from).take(CHAIN_LINKS).cloned().collect();
        self.send(to, EpochBody::Chain { links });
    }

    // --- the chain grows ---

    /// Takes in newly decided epochs. `ours`: this device decided the (one) step itself.
    pub(super) fn advance(&mut self, steps: Vec<Step>, ours: bool, now: BootMs) {
        let single = steps.len() == 1;
        let mut last = self.link.clone();
        for (link, certificate) in steps {
            self.d.chain.push(certificate);
            last = link;
        }
        if let Err(error) = prune(&mut self.d.chain) {
            tracing::debug!(task = %self.d.task, %error, links = self.d.chain.len(), "a chain stays long");
        }
        let before = std::mem::replace(&mut self.link, last);
        self.out.touch();
        let kept_right = single
            && before.decree.owner == self.me
            && self.link.decree.owner == self.me
            && before.decree.outcome == Outcome::Run
            && self.link.decree.outcome == Outcome::Run
            && matches!(self.link.decree.why, Why::Holders | Why::Renewed);
        self.lease_under_new_epoch(&before, kept_right && ours, now);
        self.d.next = Next::default();
        self.d.missing = None;
        self.take_base();
        if self.link.decree.base != before.decree.base || self.link.decree.why == Why::Released {
            self.d.starts = 0;
            self.d.failures = 0;
        }
        self.runner_under_new_epoch(kept_right);
        self.replicas_under_new_epoch();
        self.proposal = None;
        self.preparing = None;
        self.members.under_new_epoch();
        self.moved();
        if ours {
            self.publish_tip(&before.decree.members(), now);
        } else {
            self.publish.clear();
        }
    }

    /// Of the checkpoints here, the one that the new epoch starts from is the one that counts.
    fn take_base(&mut self) {
        let base = self.link.decree.base;
        let incoming = self.d.incoming.take().map(|incoming| incoming.held);
        self.d.held = [self.d.held.take(), self.d.spare.take(), incoming]
            .into_iter()
            .flatten()
            .find(|held| held.checkpoint == base);
    }

    /// Another branch takes the place of ours.
    pub(super) fn switch_branch(&mut self, link: Link, chain: Vec<Certificate>, now: BootMs) {
        let fenced = self.fence();
        let lost = self.d.held.as_ref().map(|held| held.checkpoint);
        let base = self.d.held.take().filter(|held| held.checkpoint == link.decree.base);
        self.out.drop_back();
        let mut fresh = Durable::new(self.d.task, chain);
        fresh.forks = std::mem::take(&mut self.d.forks);
        if fresh.forks.len() == super::tuning::FORK_NOTES {
            fresh.forks.remove(0);
        }
        fresh.forks.push((fenced, lost));
        fresh.held = base;
        self.d = fresh;
        self.link = link;
        self.out.touch();
        self.lease = Lease::new(self.setup.seed);
        self.lease.bind(self.link.decree.policy, now);
        self.runner_under_new_epoch(false);
        self.replicas_under_new_epoch();
        self.proposal = None;
        self.preparing = None;
        self.outgoing = None;
        self.members.under_new_epoch();
        self.publish.clear();
        self.out.at_once(Action::Notify(Notice::Forked { fenced, by: self.fence(), lost }));
    }

    // --- small things that all roles use ---

    /// The last decided epoch, as far as is known here.
    pub(super) fn tip(&self) -> &Link {
        &self.link
    }

    /// Whether this device has a vote on the epoch that comes next.
    pub(super) fn has_vote(&self) -> bool {
        self.is_acceptor(self.me)
    }

    /// The decree of the last decided epoch.
    pub fn decree(&self) -> &Decree {
        &self.link.decree
    }

    /// The branch it belongs to.
    pub fn branch(&self) -> Branch {
        self.link.branch
    }

    /// Branch and epoch.
    pub fn fence(&self) -> Fence {
        Fence { branch: self.link.branch, epoch: self.link.decree.epoch }
    }

    /// The certificates that prove the last decided epoch; `None` while they are being written.
    pub fn proof(&self) -> Option<&[Certificate]> {
        self.out.settled().then_some(&*self.d.chain)
    }

    /// The record, as it would be written now.
    pub fn record(&self) -> &Durable {
        &self.d
    }

    pub(super) fn is_owner(&self) -> bool {
        self.link.decree.owner == self.me
            && self.link.decree.outcome == Outcome::Run
            && self.d.cancelled.is_none()
    }

    pub(super) fn is_member(&self) -> bool {
        self.link.decree.owner == self.me || self.link.decree.holders.contains(&self.me)
    }

    pub(super) fn is_quorum(&self) -> bool {
        matches!(self.link.decree.policy, Policy::Quorum { .. })
    }

    pub(super) fn held_ref(&self) -> Option<CheckpointRef> {
        self.d.held.as_ref().map(|held| held.checkpoint)
    }

    pub(super) fn wake_at(&mut self, at: BootMs) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    pub(super) fn message(&self, body: EpochBody) -> EpochMessage {
        EpochMessage { task: self.d.task, branch: self.link.branch, epoch: self.link.decree.epoch, body }
    }

    /// Sends when the record is durable.
    pub(super) fn send(&mut self, to: DeviceId, body: EpochBody) {
        if to != self.me {
            let message = self.message(body);
            self.out.when_durable(Action::Send { to, message });
        }
    }

    /// Sends at once: nothing in the record matters for it.
    pub(super) fn send_at_once(&mut self, to: DeviceId, body: EpochBody) {
        if to != self.me {
            let message = self.message(body);
            self.out.at_once(Action::Send { to, message });
        }
    }

    pub(super) fn refuse(&mut self, reason: &str) {
        self.out.at_once(Action::Notify(Notice::Refused { reason: reason.into() }));
    }

    /// A number below `below` (at least 1), for spreading retries: splitmix64 over the seed.
    pub(super) fn jitter(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    /// A device came back: what waits for it is due now.
    fn hurry(&mut self, peer: DeviceId, now: BootMs) {
        self.publish.hurry(peer, now);
        self.replicas.hurry(peer, now);
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.hurry(peer, now);
        }
        if let Some(proposal) = &mut self.proposal {
            proposal.hurry(now);
        }
        self.members.hurry(peer, now);
    }
}
