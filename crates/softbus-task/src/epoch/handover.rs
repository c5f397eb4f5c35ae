//! Hand-over: the right to run passes from one device to another.
//!
//! ```text
//! source                                 destination
//!   PREPARE (a checkpoint, still running) →  fetches
//!                                         ←  WARM
//!   stops, stores the final checkpoint
//!   PREPARE (final) →                        fetches what differs, stores state and promise durably
//!                                         ←  READY
//!   the decision of e+1 is durable: the source never runs e again
//!   CHAIN (certificate) →                    stores ownership durably, runs
//!                                         ←  ACK
//! ```
//! It can be called off until this device votes. The source keeps the final state until the ACK.

use std::time::Duration;

use softbus_core::wire::task::{CheckpointRef, EpochBody, Outcome};
use softbus_core::{BootMs, DeviceId, ErrorCode, Hash, Signed};

use super::certificate::CHAIN_KEPT;
use super::outbox::Retry;
use super::proposer::{Intent, Proposal};
use super::rounds::{self, Next, Rounds};
use super::runner::Instance;
use super::{Action, Held, Incoming, Notice, TaskMachine, manifest};

/// Longest wait for the checkpoint that another round is to send.
const FRESH: Duration = Duration::from_secs(5);
/// After an older checkpoint much may have changed: it comes seldom where it costs much, or nothing changes, and then one more is
/// cheap.
const STALE: Duration = Duration::from_secs(1);
/// A hand-over is called off after this, although the destination still says that it fetches.
const LONGEST: Duration = Duration::from_secs(2 * 3600);

/// At the source.
pub(super) struct Outgoing {
    pub(super) destination: DeviceId,
    note: String,
    stage: Stage,
    /// What the destination is asked to fetch while the task runs on; kept until it has it.
    warm: Held,
    /// Whether it was asked for a newer one after that.
    again: bool,
    /// The next round waits until then for a newer one.
    fresh_by: Option<BootMs>,
    rounds: Rounds,
    /// Bytes that went to the destination, as the driver says.
    sent: u64,
    began: BootMs,
    /// When the destination last said something, or the stage began.
    heard: BootMs,
    retry: Retry,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The destination fetches a checkpoint while the task runs on.
    Warm,
    /// The instance was told to stop.
    Stopping,
    /// The destination fetches the final checkpoint.
    Final(CheckpointRef),
    /// It has it; the next epoch is being decided.
    Deciding(CheckpointRef),
}

/// Why a task cannot be handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hindrance {
    /// It passes by itself.
    Passing(&'static str),
    /// It does not.
    Lasting(&'static str),
}

impl Outgoing {
    /// Whether the instance has stopped for it.
    pub(super) fn stopped(&self) -> bool {
        matches!(self.stage, Stage::Final(_) | Stage::Deciding(_))
    }

    /// Whether the destination has this (final) checkpoint durably.
    pub(super) fn ready_for(&self, checkpoint: CheckpointRef) -> bool {
        self.stage == Stage::Deciding(checkpoint)
    }

    pub(super) fn hurry(&mut self, peer: DeviceId, now: BootMs) {
        if peer == self.destination {
            self.retry = Retry::now(now);
        }
    }

    /// A newer checkpoint is what the destination is to fetch now.
    fn send_ahead(&mut self, newer: Held, now: BootMs) {
        (self.again, self.warm, self.retry, self.fresh_by) = (true, newer, Retry::now(now), None);
        self.heard = now;
        self.rounds.begin(now);
    }

    pub(super) fn manifest(&self) -> Option<Hash> {
        match self.stage {
            Stage::Warm => Some(self.warm.checkpoint.manifest),
            Stage::Stopping => None,
            Stage::Final(checkpoint) | Stage::Deciding(checkpoint) => Some(checkpoint.manifest),
        }
    }
}

/// At the destination: a state that is to be fetched.
pub(super) struct Preparing {
    pub(super) source: DeviceId,
    pub(super) checkpoint: CheckpointRef,
    last: bool,
}

impl TaskMachine {
    // --- the source ---

    pub(super) fn move_to(&mut self, destination: DeviceId, note: String, now: BootMs) {
        let mut note = note;
        let mut end = note.len().min(softbus_core::wire::task::NOTE_BYTES);
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        note.truncate(end);
        if destination == self.me {
            return self.refuse("the task is on that device already");
        }
        let held = match (self.hindrance(), self.d.held.clone()) {
            (Some(Hindrance::Passing(why) | Hindrance::Lasting(why)), _) => return self.refuse(why),
            (None, None) => return,
            (None, Some(held)) => held,
        };
        let stage = match self.runner.instance {
            Instance::None => Stage::Final(held.checkpoint), // what is held is its state
            _ => Stage::Warm,
        };
        self.outgoing = Some(Outgoing {
            destination,
            note,
            stage,
            warm: held,
            again: false,
            fresh_by: None,
            rounds: Rounds::new(now),
            sent: 0,
            began: now,
            heard: now,
            retry: Retry::now(now),
        });
    }

    /// Why the task cannot be handed over just now.
    pub fn hindrance(&self) -> Option<Hindrance> {
        if !self.is_owner() {
            return Some(Hindrance::Lasting("only the device that owns the task can hand it over"));
        }
        if self.finished() || self.worn_out() {
            return Some(Hindrance::Lasting("the task is at its end: it does not move any more"));
        }
        if self.moved_too_often() {
            return Some(Hindrance::Lasting(
                "it was on too many devices for one life: adopt it, and it can move on",
            ));
        }
        if self.d.held.is_none() {
            return Some(Hindrance::Passing("its state is not on this device yet"));
        }
        if self.stopped_for_another() {
            return Some(Hindrance::Passing(
                "it goes on here first, as its state was made for another device",
            ));
        }
        let deciding = self.proposal.is_some() || self.d.next.accepted.is_some() || self.d.next.ousted;
        if deciding || self.outgoing.is_some() {
            return Some(Hindrance::Passing("the task's next epoch is being decided already"));
        }
        matches!(self.runner.instance, Instance::Stopping | Instance::Discarding)
            .then_some(Hindrance::Passing("the task is stopping"))
    }

    /// Whether it stopped for a device that did not take it, and has not gone on here yet: its state names that device, and no other
    /// takes it.
    pub(super) fn stopped_for_another(&self) -> bool {
        let made_for = |held: &Held| {
            let made = manifest::parse(&held.manifest.body).ok().and_then(|manifest| manifest.destination);
            held.checkpoint != self.link.decree.base && made.is_some_and(|to| to != self.me)
        };
        self.runner.instance == Instance::None && self.d.held.as_ref().is_some_and(made_for)
    }

    /// Whether it was on so many devices that only an adoption, which begins a new branch, lets it move on.
    pub(crate) fn moved_too_often(&self) -> bool {
        self.d.chain.len() > CHAIN_KEPT
    }

    /// Whither it is being handed over by this device.
    pub(crate) fn leaving_for(&self) -> Option<DeviceId> {
        self.outgoing.as_ref().map(|outgoing| outgoing.destination)
    }

    pub(super) fn drive_outgoing(&mut self, now: BootMs) {
        let Some(outgoing) = &mut self.outgoing else { return };
        let destination = outgoing.destination;
        let limit = match outgoing.stage {
            Stage::Warm => self.setup.tuning.prepare_silence,
            _ => self.setup.tuning.stop_limit,
        };
        if let (Stage::Warm, Some(by)) = (outgoing.stage, outgoing.fresh_by) {
            match self.d.held.clone().filter(|held| held.checkpoint != outgoing.warm.checkpoint) {
                Some(newer) => outgoing.send_ahead(newer, now),
                None if now >= by => return self.stop_to_move(now),
                None => self.wake_at(by),
            }
        }
        let Some(outgoing) = &mut self.outgoing else { return };
        let deciding = matches!(outgoing.stage, Stage::Deciding(_));
        if deciding && self.proposal.is_none() {
            return self.abort_move("the next epoch could not be proposed", now);
        }
        let committed = self.proposal.as_ref().is_some_and(|proposal| !proposal.may_be_dropped());
        if committed {
            return;
        }
        let silent = outgoing.heard.after(limit);
        let at = if deciding { silent } else { silent.min(outgoing.began.after(LONGEST)) };
        if now >= at {
            return self.abort_move("the other device took too long", now);
        }
        let lost = self.lost.contains_key(&destination) && outgoing.stage != Stage::Stopping;
        let silent_by_itself = deciding || outgoing.stage == Stage::Stopping || outgoing.fresh_by.is_some();
        let due = outgoing.retry.due(now) && !silent_by_itself;
        if due {
            outgoing.retry.again(now, &self.setup.tuning);
            // The other device speaks when it is spoken to.
            outgoing.retry.at = outgoing.retry.at.min(now.after(limit / 3));
        }
        let (next, last) = (outgoing.retry.at, outgoing.stopped());
        self.wake_at(at);
        if lost {
            return self.abort_move("the other device is out of reach", now);
        }
        if next > now && !silent_by_itself {
            self.wake_at(next);
        }
        if due && let Some(held) = self.prepared_state() {
            self.send(destination, EpochBody::Prepare { manifest: held.manifest, last });
        }
    }

    /// What the destination is to fetch now.
    fn prepared_state(&self) -> Option<Held> {
        match self.outgoing.as_ref()? {
            Outgoing { stage: Stage::Warm, warm, .. } => Some(warm.clone()),
            _ => self.d.held.clone(),
        }
    }

    fn heard_from_destination(&mut self, from: DeviceId, now: BootMs) -> Option<&mut Outgoing> {
        let outgoing = self.outgoing.as_mut().filter(|outgoing| outgoing.destination == from)?;
        outgoing.heard = now;
        Some(outgoing)
    }

    /// So many bytes have gone to a device since the task began to move there.
    pub(super) fn on_sent(&mut self, to: DeviceId, bytes: u64) {
        if let Some(outgoing) = self.outgoing.as_mut().filter(|outgoing| outgoing.destination == to) {
            outgoing.sent = outgoing.sent.max(bytes);
        }
    }

    pub(super) fn on_fetching(&mut self, from: DeviceId, _manifest: Hash, now: BootMs) {
        self.heard_from_destination(from, now);
    }

    pub(super) fn on_warm(&mut self, from: DeviceId, manifest: Hash, now: BootMs) {
        let instance = self.runner.instance;
        let stale = instance == Instance::Running && now.since(self.runner.saved) > STALE;
        let newest = self.d.held.clone();
        let Some(outgoing) = self.heard_from_destination(from, now) else { return };
        let known = outgoing.warm.checkpoint.manifest == manifest && outgoing.fresh_by.is_none();
        if outgoing.stage != Stage::Warm || !known {
            return;
        }
        if instance == Instance::None {
            return self.stop_to_move(now);
        }
        // What changed while that travelled travels before the stop, too.
        let newer = newest.filter(|newest| newest.checkpoint != outgoing.warm.checkpoint);
        let share = outgoing.rounds.share();
        match (outgoing.rounds.ended(now, outgoing.sent), newer) {
            (Next::Short, Some(newer)) if !outgoing.again && now.since(outgoing.began) <= rounds::WORTH => {
                outgoing.send_ahead(newer, now);
            }
            // It came at once, perhaps as the destination had it already: that says nothing of what comes next.
            (Next::Short, None) if !outgoing.again && stale => {
                outgoing.again = true;
                outgoing.fresh_by = Some(now.after(FRESH));
                self.out.at_once(Action::Checkpoint);
            }
            (Next::Again { share: next }, newer) => {
                match newer {
                    Some(newer) => outgoing.send_ahead(newer, now),
                    None => {
                        outgoing.fresh_by = Some(now.after(FRESH));
                        self.out.at_once(Action::Checkpoint);
                    }
                }
                if next != share {
                    self.out.at_once(Action::Share { permille: next });
                }
            }
            (Next::Short | Next::Stop, _) => self.stop_to_move(now),
        }
    }

    /// All that could go ahead has: the task stops, and the rest follows.
    fn stop_to_move(&mut self, now: BootMs) {
        let (instance, held) = (self.runner.instance, self.held_ref());
        let Some(outgoing) = &mut self.outgoing else { return };
        let destination = outgoing.destination;
        outgoing.fresh_by = None;
        outgoing.retry = Retry::now(now);
        match (instance, held) {
            (Instance::None, Some(held)) => outgoing.stage = Stage::Final(held),
            (Instance::Running | Instance::Paused, _) => {
                outgoing.stage = Stage::Stopping;
                self.runner.instance = Instance::Stopping;
                self.out.at_once(Action::StopAndCheckpoint { destination: Some(destination) });
            }
            _ => {}
        }
    }

    /// The instance stopped after it was told to; `taken`: its final checkpoint counts.
    pub(super) fn outgoing_stopped(&mut self, taken: bool, now: BootMs) {
        let held = self.held_ref();
        if self.members.stops_to_leave {
            self.members.left = true;
        }
        let Some(outgoing) = self.outgoing.as_mut().filter(|outgoing| outgoing.stage == Stage::Stopping)
        else {
            return;
        };
        match held.filter(|_| taken) {
            Some(held) => {
                outgoing.stage = Stage::Final(held);
                outgoing.heard = now;
                outgoing.retry = Retry::now(now);
            }
            None => self.abort_move("it ended, or its final state could not be stored", now),
        }
    }

    pub(super) fn on_ready(&mut self, from: DeviceId, manifest: Hash, now: BootMs) {
        let Some(outgoing) = self.heard_from_destination(from, now) else { return };
        let Stage::Final(checkpoint) = outgoing.stage else { return };
        if checkpoint.manifest != manifest || self.proposal.is_some() {
            return;
        }
        let outgoing = self.outgoing.as_mut();
        let Some(outgoing) = outgoing else { return };
        outgoing.stage = Stage::Deciding(checkpoint);
        let intent = Intent::HandOver { destination: from, note: outgoing.note.clone() };
        self.begin(intent, now);
    }

    /// A checkpoint is damaged here: what the destination was to fetch ahead it cannot get any more.
    pub(super) fn outgoing_lost(&mut self, manifest: Hash, now: BootMs) {
        let travels = |outgoing: &Outgoing| {
            outgoing.stage == Stage::Warm && outgoing.warm.checkpoint.manifest == manifest
        };
        if self.outgoing.as_ref().is_some_and(travels) {
            self.abort_move("the checkpoint that was to go ahead is damaged: try again", now);
        }
    }

    pub(super) fn on_refuse(&mut self, from: DeviceId, manifest: Hash, code: ErrorCode, now: BootMs) {
        let matches = self
            .outgoing
            .as_ref()
            .is_some_and(|outgoing| outgoing.destination == from && outgoing.manifest() == Some(manifest));
        if matches {
            self.abort_move(&format!("the other device refused: {code}"), now);
        }
    }

    /// Calls a hand-over off, if nobody has voted for it yet.
    pub(super) fn abort_move(&mut self, reason: &str, now: BootMs) {
        if self.proposal.as_ref().is_some_and(|proposal| !proposal.may_be_dropped()) {
            return self.refuse("the hand-over is decided, or about to be: it cannot be called off any more");
        }
        let Some(outgoing) = self.outgoing.take() else {
            return self.refuse("no hand-over is under way");
        };
        if matches!(&self.proposal, Some(Proposal { intent: Intent::HandOver { .. }, .. })) {
            self.proposal = None;
        }
        if let Some(manifest) = outgoing.manifest() {
            self.send(outgoing.destination, EpochBody::Abort { manifest });
        }
        self.members.drain_failed(outgoing.destination);
        if outgoing.stage == Stage::Stopping {
            self.go_on(now);
        }
        if outgoing.rounds.share() < 1000 {
            self.out.at_once(Action::Share { permille: 1000 });
        }
        let notice = Notice::MoveAborted { to: outgoing.destination, reason: reason.into() };
        self.out.at_once(Action::Notify(notice));
        // As a holder it is offered checkpoints again.
        self.wake_at(now);
    }

    /// A new epoch was decided while a hand-over was under way.
    pub(super) fn moved(&mut self) {
        let Some(outgoing) = self.outgoing.take() else { return };
        let to = outgoing.destination;
        self.out.at_once(Action::Notify(if self.link.decree.owner == to {
            Notice::Moved { to, epoch: self.link.decree.epoch }
        } else {
            Notice::MoveAborted { to, reason: "another epoch was decided".into() }
        }));
    }

    pub(super) fn on_ask_outcome(&mut self, from: DeviceId, manifest: Hash) {
        let open = self.proposal.is_some() || self.d.next.accepted.is_some() || self.outgoing.is_some();
        if self.is_owner() && !open {
            self.send(from, EpochBody::Abort { manifest });
        }
    }

    // --- the destination ---

    pub(super) fn on_prepare(&mut self, from: DeviceId, signed: &Signed, last: bool, now: BootMs) {
        let runs = self.link.decree.outcome == Outcome::Run;
        if from != self.link.decree.owner || !runs {
            return;
        }
        let Ok((opened, checkpoint)) = manifest::open_for(signed, self.link.branch, &self.link.decree) else {
            return;
        };
        // What this epoch began from may have been made for its owner.
        let others =
            checkpoint != self.link.decree.base && opened.destination.is_some_and(|to| to != self.me);
        if last && others {
            let refuse = EpochBody::Refuse { manifest: checkpoint.manifest, code: ErrorCode::Forbidden };
            return self.send(from, refuse);
        }
        if self.members.draining || self.d.next.ousted {
            let refuse = EpochBody::Refuse { manifest: checkpoint.manifest, code: ErrorCode::Busy };
            return self.send(from, refuse);
        }
        self.members.guest(now);
        self.preparing = Some(Preparing { source: from, checkpoint, last });
        let here = [&self.d.held, &self.d.spare].into_iter().flatten();
        let incoming = self.d.incoming.iter().map(|incoming| &incoming.held);
        let here = here.chain(incoming).find(|held| held.checkpoint == checkpoint).cloned();
        if here.is_none() || !last {
            self.send(from, EpochBody::Fetching { manifest: checkpoint.manifest });
        }
        if let Some(held) = here {
            self.prepared(&held);
        }
    }

    /// A checkpoint is here; perhaps a hand-over waits for it.
    pub(super) fn prepared(&mut self, held: &Held) {
        let waits = |preparing: &&mut Preparing| preparing.checkpoint == held.checkpoint;
        let Some(preparing) = self.preparing.as_mut().filter(waits) else { return };
        let (source, last) = (preparing.source, preparing.last);
        if last {
            self.preparing = None;
            let incoming = Incoming { source, held: held.clone() };
            if self.d.incoming.as_ref() != Some(&incoming) {
                self.d.incoming = Some(incoming);
                self.out.touch();
            }
            self.send(source, EpochBody::Ready { manifest: held.checkpoint.manifest });
        } else {
            if !self.has(held.checkpoint) {
                if self.d.next.ousted || self.d.next.accepted.is_some() {
                    // The next epoch is being decided, and not by this hand-over.
                    self.preparing = None;
                    let (manifest, code) = (held.checkpoint.manifest, ErrorCode::Busy);
                    return self.send(source, EpochBody::Refuse { manifest, code });
                }
                self.adopt_held(held.clone(), false);
                self.acknowledge(source);
            }
            self.out.at_once(Action::Warm { checkpoint: held.checkpoint });
        }
    }

    /// A checkpoint is ready in memory.
    pub(super) fn warmed(&mut self, manifest: Hash) {
        let waits = |preparing: &mut Preparing| !preparing.last && preparing.checkpoint.manifest == manifest;
        if let Some(preparing) = self.preparing.take_if(waits) {
            self.send(preparing.source, EpochBody::Warm { manifest });
        }
    }

    /// The state cannot be stored here.
    pub(super) fn cannot_prepare(&mut self, manifest: Hash) {
        if let Some(preparing) = self.preparing.take_if(|preparing| preparing.checkpoint.manifest == manifest)
        {
            self.send(preparing.source, EpochBody::Refuse { manifest, code: ErrorCode::Storage });
        }
    }

    pub(super) fn on_abort(&mut self, from: DeviceId, manifest: Hash) {
        if from != self.link.decree.owner {
            return;
        }
        self.preparing.take_if(|preparing| preparing.checkpoint.manifest == manifest);
        if self.d.incoming.take_if(|incoming| incoming.held.checkpoint.manifest == manifest).is_some() {
            self.out.touch();
        }
    }

    /// A destination that promised and heard no more asks whoever may know.
    pub(super) fn drive_incoming(&mut self, now: BootMs) {
        let Some(incoming) = &self.d.incoming else {
            self.members.doubt = None;
            return;
        };
        let (source, manifest) = (incoming.source, incoming.held.checkpoint.manifest);
        let first = Retry::at(now.after(self.setup.tuning.retry * 4));
        let doubt = self.members.doubt.get_or_insert(first);
        let due = doubt.due(now);
        if due {
            doubt.again(now, &self.setup.tuning);
        }
        let at = doubt.at;
        self.wake_at(at);
        if due {
            let mut whom = self.link.decree.members();
            if !whom.contains(&source) {
                whom.push(source);
            }
            for device in whom {
                self.send(device, EpochBody::AskOutcome { manifest });
            }
        }
    }
}
