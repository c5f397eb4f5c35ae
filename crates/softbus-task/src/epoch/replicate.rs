//! Checkpoints on several devices: the owner offers, holders fetch and acknowledge, and what a majority of the
//! acceptors holds is *covered*: no epoch can begin behind it.

use std::collections::{BTreeMap, VecDeque};

use softbus_core::wire::task::{Certificate, CheckpointRef, EpochBody, Fence, Outcome, Policy};
use softbus_core::{BootMs, DeviceId, Hash, Signed};

use super::certificate::{Link, majority, parse_decree};
use super::outbox::Retry;
use super::{Action, Held, Notice, TaskMachine, manifest};

/// Checkpoints of the present epoch that the owner remembers.
const HISTORY: usize = 32;
/// Of those, how many it keeps on disk for holders that are still fetching.
const HISTORY_KEPT: usize = 3;

#[derive(Default)]
pub(super) struct Replicas {
    /// As owner: the newest checkpoint that each device has acknowledged.
    pub(super) stored: BTreeMap<DeviceId, CheckpointRef>,
    /// As owner that lost its state: what others told since that they hold.
    pub(super) told: BTreeMap<DeviceId, Option<CheckpointRef>>,
    /// As owner: the newest checkpoint that a majority of the acceptors holds.
    pub(super) covered: Option<CheckpointRef>,
    /// As owner: effects that had left the task at recent checkpoints.
    history: VecDeque<(CheckpointRef, u64)>,
    offers: BTreeMap<DeviceId, Retry>,
    released: Option<(Fence, u64)>,
    /// As holder: the owner's checkpoint that is being fetched, and a newer one to fetch after it.
    offer: Option<CheckpointRef>,
    offer_next: Option<CheckpointRef>,
    /// As acceptor: what a proposer asked to hold.
    asked: Option<(CheckpointRef, DeviceId, Vec<DeviceId>)>,
    fetches: BTreeMap<Hash, Fetch>,
    kept: Vec<Hash>,
}

struct Fetch {
    under_way: bool,
    /// From whom it is being fetched, and since when the last of them is asked.
    from: Vec<DeviceId>,
    since: BootMs,
    retry: Retry,
}

impl Replicas {
    pub(super) fn note_history(&mut self, held: &Held) {
        if self.history.back().is_some_and(|(last, _)| *last == held.checkpoint) {
            return;
        }
        let effects = manifest::parse(&held.manifest.body).map_or(0, |manifest| manifest.effects);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((held.checkpoint, effects));
    }

    /// A base that was voted on is held by a majority; that of a root need not be.
    pub(super) fn seed_covered(&mut self, link: &Link, last: Option<&Certificate>) {
        self.covered = matches!(last, Some(Certificate::Voted { .. })).then_some(link.decree.base);
    }

    /// A checkpoint is gone from the disk: it is not offered again.
    pub(super) fn lost(&mut self, manifest: Hash) {
        self.offer.take_if(|offer| offer.manifest == manifest);
        self.offer_next.take_if(|offer| offer.manifest == manifest);
    }

    pub(super) fn offer_all(&mut self, now: BootMs) {
        self.offers.values_mut().for_each(|retry| *retry = Retry::now(now));
    }

    pub(super) fn hurry(&mut self, peer: DeviceId, now: BootMs) {
        if let Some(retry) = self.offers.get_mut(&peer) {
            *retry = Retry::now(now);
        }
        self.fetches
            .values_mut()
            .filter(|fetch| !fetch.under_way)
            .for_each(|fetch| fetch.retry = Retry::now(now));
    }
}

impl TaskMachine {
    pub(super) fn replicas_under_new_epoch(&mut self) {
        let base = self.link.decree.base;
        self.replicas.stored.retain(|_, stored| *stored == base);
        self.replicas.seed_covered(&self.link, self.d.chain.last());
        self.replicas.history.clear();
        self.replicas.told.clear();
        self.replicas.offers.clear();
        self.replicas.offer = None;
        self.replicas.offer_next = None;
        self.replicas.asked = None;
        if let Some(held) = self.d.held.clone() {
            self.replicas.note_history(&held);
        }
    }

    pub(super) fn drive_replicas(&mut self, now: BootMs) {
        self.drive_cover(now);
        self.release_last_effects();
        self.drive_offers(now);
        self.drive_fetches(now);
    }

    // --- the owner ---

    fn drive_offers(&mut self, now: BootMs) {
        let Some(held) = self.d.held.clone().filter(|_| self.is_owner()) else { return };
        // Whoever the task moves to is sent what it needs by that: beside its last state it would only fetch an older one. Under
        // `quorum` what the task says may wait for it.
        let alone = self.link.decree.policy == Policy::Owner;
        let destination = self.leaving_for().filter(|_| alone);
        for holder in self.link.decree.holders.clone() {
            if destination == Some(holder) {
                continue;
            }
            if self.replicas.stored.get(&holder).is_some_and(|stored| *stored >= held.checkpoint) {
                continue;
            }
            let retry = self.replicas.offers.entry(holder).or_insert_with(|| Retry::now(now));
            if retry.due(now) {
                retry.again(now, &self.setup.tuning);
                let at = retry.at;
                self.wake_at(at);
                self.send(holder, EpochBody::Offer { manifest: held.manifest.clone() });
            } else {
                let at = retry.at;
                self.wake_at(at);
            }
        }
    }

    pub(super) fn on_stored(&mut self, from: DeviceId, checkpoint: CheckpointRef) {
        let known = self.replicas.history.iter().any(|(past, _)| *past == checkpoint);
        if !self.is_owner() || !known {
            return;
        }
        let stored = self.replicas.stored.entry(from).or_insert(checkpoint);
        *stored = (*stored).max(checkpoint);
    }

    /// What is covered, and which effects may leave for it.
    fn drive_cover(&mut self, now: BootMs) {
        if !self.is_owner() || !self.out.settled() {
            return;
        }
        let acceptors = self.link.decree.acceptors();
        let mut stored: Vec<CheckpointRef> = acceptors
            .iter()
            .filter_map(|acceptor| match *acceptor == self.me {
                true => self.held_ref().filter(|_| !self.d.next.ousted),
                false => self.replicas.stored.get(acceptor).copied(),
            })
            .collect();
        stored.sort_unstable_by(|a, b| b.cmp(a));
        if broken!(self, ReleaseUncovered) {
            self.replicas.covered = self.held_ref();
        }
        if let Some(checkpoint) = stored.get(majority(acceptors.len()) - 1).copied()
            && self.replicas.covered.is_none_or(|covered| covered < checkpoint)
        {
            self.replicas.covered = Some(checkpoint);
            let holders = stored.iter().filter(|stored| **stored >= checkpoint).count();
            self.out.at_once(Action::Notify(Notice::Covered { checkpoint, holders }));
        }
        // Nothing leaves while the next epoch is being decided, or without a lease: another may be ahead already.
        let undisturbed = self.proposal.is_none() && self.d.next.accepted.is_none() && !self.d.next.ousted;
        if undisturbed && self.lease_until() > now {
            self.release_effects();
        }
    }

    fn release_effects(&mut self) {
        let Some(covered) = self.replicas.covered else { return };
        let Some(through) = self.replicas.history.iter().find(|(past, _)| *past == covered).map(|(_, n)| *n)
        else {
            return;
        };
        let fence = self.fence();
        if through > 0 && self.replicas.released.is_none_or(|released| released < (fence, through)) {
            self.replicas.released = Some((fence, through));
            self.out.at_once(Action::ReleaseEffects { fence, through });
        }
    }

    /// Whether all effects up to the checkpoint held here may have left: no epoch can begin behind it.
    pub fn held_is_covered(&self) -> bool {
        self.held_ref().is_some() && self.replicas.covered == self.held_ref()
    }

    /// Whether nothing that the checkpoint held here had said is kept back any more.
    pub(super) fn effects_are_out(&self) -> bool {
        let said = self.d.held.as_ref().and_then(|held| manifest::parse(&held.manifest.body).ok());
        said.is_some_and(|manifest| {
            manifest.effects == 0
                || self.replicas.released.is_some_and(|released| released >= (self.fence(), manifest.effects))
        })
    }

    /// The task is done: whatever its result has yet to say may leave, from the device that ended it.
    fn release_last_effects(&mut self) {
        let done = self.link.decree.outcome == Outcome::Done && self.link.decree.owner == self.me;
        if !done || !self.out.settled() || self.held_ref() != Some(self.link.decree.base) {
            return;
        }
        self.replicas.covered = self.held_ref();
        self.release_effects();
    }

    // --- holders ---

    pub(super) fn on_offer(&mut self, from: DeviceId, signed: &Signed, _now: BootMs) {
        if from != self.link.decree.owner || !self.is_member() || self.link.decree.outcome != Outcome::Run {
            return;
        }
        let Ok((_, checkpoint)) = manifest::open_for(signed, self.link.branch, &self.link.decree) else {
            return;
        };
        let undecided = self.d.next.ousted || self.d.next.accepted.is_some();
        match self.held_ref() {
            Some(held) if held >= checkpoint => self.acknowledge(from),
            _ if undecided && !broken!(self, AckAfterPromise) => {}
            _ if self.replicas.offer.is_some_and(|offer| offer != checkpoint) => {
                self.replicas.offer_next = self.replicas.offer_next.max(Some(checkpoint));
            }
            _ => self.replicas.offer = Some(checkpoint),
        }
    }

    /// Tells the owner what is held here; not after a promise to another, who then relies on what was told it.
    pub(super) fn acknowledge(&mut self, owner: DeviceId) {
        let silent = self.d.next.ousted && !broken!(self, AckAfterPromise);
        if let Some(checkpoint) = self.held_ref().filter(|_| !silent) {
            self.send(owner, EpochBody::Stored { checkpoint });
        }
    }

    /// A proposer wants the base of the next epoch on enough devices before anyone votes.
    pub(super) fn on_hold(
        &mut self,
        from: DeviceId,
        checkpoint: CheckpointRef,
        sources: Vec<DeviceId>,
        now: BootMs,
    ) {
        let of_this_epoch = checkpoint.epoch == self.link.decree.epoch || checkpoint == self.link.decree.base;
        if !self.is_acceptor(from) || !of_this_epoch {
            return;
        }
        if self.has(checkpoint) {
            self.send(from, EpochBody::Holding { checkpoint });
        } else {
            self.replicas.asked = Some((checkpoint, from, sources));
            self.members.guest(now);
        }
    }

    pub(super) fn has(&self, checkpoint: CheckpointRef) -> bool {
        [&self.d.held, &self.d.spare].into_iter().flatten().any(|held| held.checkpoint == checkpoint)
            || self.d.incoming.as_ref().is_some_and(|incoming| incoming.held.checkpoint == checkpoint)
    }

    /// Keeps the newer of two as the one that counts, and the other in case an undecided decree starts from it.
    pub(super) fn adopt_held(&mut self, new: Held, keep_other: bool) {
        match self.d.held.take() {
            Some(old) if old.checkpoint >= new.checkpoint => {
                if old.checkpoint > new.checkpoint {
                    self.d.spare = Some(new);
                }
                self.d.held = Some(old);
            }
            old => {
                self.d.spare = old.filter(|_| keep_other);
                self.d.held = Some(new);
            }
        }
        self.made_good();
        self.out.touch();
    }

    // --- fetching ---

    fn wanted(&self) -> Vec<(CheckpointRef, Vec<DeviceId>)> {
        let mut wanted = Vec::new();
        if let Some(preparing) = self.preparing.as_ref().filter(|preparing| !self.has(preparing.checkpoint)) {
            wanted.push((preparing.checkpoint, vec![preparing.source]));
        }
        if let Some((base, sources)) = self.wanted_by_proposal() {
            wanted.push((base, sources));
        }
        if let Some((checkpoint, _, sources)) = &self.replicas.asked {
            wanted.push((*checkpoint, sources.clone()));
        }
        if let Some(missing) = self.d.missing.filter(|missing| !self.has(*missing)) {
            wanted.push((missing, self.others()));
        } else if self.d.held.is_none() && self.is_member() {
            wanted.push((self.link.decree.base, self.sources_of_base()));
        }
        // While a hand-over to this device is being prepared, nothing else may keep its checkpoint from coming.
        if let Some(offer) = self.replicas.offer.filter(|_| self.preparing.is_none()) {
            wanted.push((offer, vec![self.link.decree.owner]));
        }
        // Wanted for several reasons, one may be had from any of those who have it for one of them.
        let mut merged: Vec<(CheckpointRef, Vec<DeviceId>)> = Vec::new();
        for (checkpoint, from) in wanted {
            match merged.iter_mut().find(|(other, _)| *other == checkpoint) {
                Some((_, known)) => {
                    let more: Vec<DeviceId> =
                        from.into_iter().filter(|device| !known.contains(device)).collect();
                    known.extend(more);
                }
                None => merged.push((checkpoint, from)),
            }
        }
        merged
    }

    /// Who may have the checkpoint this epoch started from: who had a part in this epoch or the one before.
    pub(super) fn sources_of_base(&self) -> Vec<DeviceId> {
        let mut sources = Vec::new();
        if let Some(before) = self.d.chain.iter().rev().nth(1)
            && let Ok(decree) = parse_decree(before.decree_bytes())
        {
            sources.push(decree.owner);
            sources.extend(decree.holders);
        }
        sources.push(self.link.decree.owner);
        sources.extend_from_slice(&self.link.decree.holders);
        sources.push(self.link.decree.submitter);
        let mut seen = std::collections::BTreeSet::from([self.me]);
        sources.retain(|device| seen.insert(*device));
        sources
    }

    fn drive_fetches(&mut self, now: BootMs) {
        let wanted = self.wanted();
        self.replicas
            .fetches
            .retain(|hash, _| wanted.iter().any(|(checkpoint, _)| checkpoint.manifest == *hash));
        for (checkpoint, from) in wanted {
            let fetch = self.replicas.fetches.entry(checkpoint.manifest).or_insert_with(|| Fetch {
                under_way: false,
                from: Vec::new(),
                since: now,
                retry: Retry::now(now),
            });
            if fetch.under_way {
                // It is being fetched from others, who may be dead by now: a network says so late or never.
                let others: Vec<DeviceId> =
                    from.into_iter().filter(|device| !fetch.from.contains(device)).collect();
                let at = fetch.since.after(self.setup.tuning.retry * 2);
                if others.is_empty() {
                } else if at <= now {
                    fetch.since = now;
                    fetch.from.extend_from_slice(&others);
                    self.out.at_once(Action::Fetch { checkpoint, from: others });
                } else {
                    self.wake_at(at);
                }
            } else if fetch.retry.due(now) {
                fetch.under_way = true;
                fetch.since = now;
                fetch.from.clone_from(&from);
                fetch.retry.again(now, &self.setup.tuning);
                self.out.at_once(Action::Fetch { checkpoint, from });
            } else {
                let at = fetch.retry.at;
                self.wake_at(at);
            }
        }
    }

    pub(super) fn on_fetched(&mut self, signed: &Signed, now: BootMs) {
        let Some(fetch) = self.replicas.fetches.get_mut(&signed.hash()) else { return };
        // If it is wanted after this, too, it is not asked for again at once.
        (fetch.under_way, fetch.retry.at) = (false, fetch.retry.at.max(now.after(self.setup.tuning.retry)));
        let opened = manifest::open_for(signed, self.link.branch, &self.link.decree);
        let Ok((_, checkpoint)) = opened.inspect_err(
            |error| tracing::debug!(task = %self.d.task, %error, "what was fetched does not count"),
        ) else {
            self.replicas.asked.take_if(|(asked, ..)| asked.manifest == signed.hash());
            self.preparing.take_if(|preparing| preparing.checkpoint.manifest == signed.hash());
            return self.drop_offer(signed.hash());
        };
        let held = Held { checkpoint, manifest: signed.clone() };
        if let Some((asked, proposer, _)) = self.replicas.asked.clone()
            && asked == checkpoint
        {
            self.replicas.asked = None;
            self.adopt_held(held.clone(), true);
            self.send(proposer, EpochBody::Holding { checkpoint });
        }
        if self.wanted_by_proposal().is_some_and(|(base, _)| base == checkpoint) {
            self.adopt_held(held.clone(), true);
        }
        if self.d.missing == Some(checkpoint) {
            self.adopt_held(held.clone(), true);
            self.replicas.note_history(&held);
        }
        if self.d.held.is_none() && self.is_member() && checkpoint == self.link.decree.base {
            self.adopt_held(held.clone(), false);
            self.replicas.note_history(&held);
            self.ack_base();
        }
        if self.replicas.offer == Some(checkpoint) {
            self.drop_offer(checkpoint.manifest);
            let undecided = self.d.next.ousted || self.d.next.accepted.is_some();
            if !undecided || broken!(self, AckAfterPromise) {
                self.adopt_held(held.clone(), false);
                self.acknowledge(self.link.decree.owner);
            }
        }
        self.prepared(&held);
    }

    pub(super) fn on_fetch_failed(&mut self, manifest: Hash, ours: bool, now: BootMs) {
        if let Some(fetch) = self.replicas.fetches.get_mut(&manifest) {
            fetch.under_way = false;
            fetch.from.clear();
            fetch.retry.at = fetch.retry.at.max(now.after(self.setup.tuning.retry));
        }
        self.drop_offer(manifest);
        self.fall_back(manifest, now);
        if ours {
            self.cannot_prepare(manifest);
        }
    }

    /// An offered checkpoint came, or cannot be had (it may be gone by now): on to the newer one.
    fn drop_offer(&mut self, manifest: Hash) {
        if self.replicas.offer.is_some_and(|offer| offer.manifest == manifest) {
            self.replicas.offer = self.replicas.offer_next.take();
        }
    }

    // --- what stays on disk ---

    pub(super) fn drive_keep(&mut self) {
        if !self.out.settled() {
            return;
        }
        let mut keep: Vec<Hash> = Vec::new();
        if self.d.cancelled.is_none() {
            let held = [&self.d.held, &self.d.spare].into_iter().flatten();
            keep.extend(held.map(|held| held.checkpoint.manifest));
            keep.extend(self.d.incoming.iter().map(|incoming| incoming.held.checkpoint.manifest));
            keep.extend(self.accepted_decree().map(|decree| decree.base.manifest));
            keep.extend(self.preparing.iter().map(|preparing| preparing.checkpoint.manifest));
            keep.extend(self.replicas.fetches.keys().copied());
            keep.extend(self.outgoing.as_ref().and_then(|outgoing| outgoing.manifest()));
            if self.is_owner() {
                let recent = self.replicas.history.iter().rev().take(HISTORY_KEPT);
                keep.extend(recent.map(|(checkpoint, _)| checkpoint.manifest));
            }
        }
        keep.sort_unstable();
        keep.dedup();
        if keep != self.replicas.kept {
            self.replicas.kept = keep.clone();
            self.out.at_once(Action::Keep { manifests: keep });
        }
    }
}
