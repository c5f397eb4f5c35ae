//! One task on this device: feeds its epoch machine and does what the machine says.

mod early;
mod keeping;
mod moving;
mod outside;
mod pausing;
mod retention;
mod running;
mod saving;
mod show;
mod warming;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use softbus_core::wire::task::{Certificate, EpochBody, EpochMessage, Fence};
use softbus_core::wire::task_control::{MoveReason, StatusNote};
use softbus_core::{BootMs, DeviceId, Hash, Signed};
use softbus_net::Presence;
use softbus_roster::RosterView;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use keeping::Flight;
pub(crate) use moving::{Settled, Wish};
pub(crate) use pausing::Ask;
use pausing::Pausing;
use retention::Retention;
use saving::Saving;
pub(crate) use saving::Wanted;

use super::Inner;
use super::follow::{Follow, Heard};
use super::instance::{self, End, Report};
use super::promises::Answer;
use super::quota;
use super::shared::{Leaving, TaskShared};
use crate::epoch::{Action, Command, Durable, EffectGate, EffectInbox, Event, Notice, TaskMachine, View};
use crate::native::Effect;
use crate::status::TaskEvent;
use crate::{TaskError, limits};
use early::EarlyEffects;

/// What others tell the actor.
pub(crate) enum Input {
    /// A message of the epoch machines, its sender and authority checked.
    Epoch { from: DeviceId, message: EpochMessage },
    /// Something the machine is asked for.
    Order { command: Command, done: Done },
    /// Move it. Only at the runner; told when the move is settled.
    Move(Wish),
    /// Somebody wants it to stand still, or to go on. Only at the runner.
    Rest(Ask),
    /// Somebody wants a checkpoint of what is now. Only at the runner.
    Save(Wanted),
    /// Chunks that nobody fetches any more may be in nobody's way.
    Sweep,
    /// Those of which was not known how they are were asked for it.
    Asked(Wish),
    /// Whether another device gave its promise for a move.
    Promised { to: DeviceId, given: Result<Answer, TaskError>, wish: Wish },
    /// A fetch ended.
    Fetched { number: u64, manifest: Hash, result: Result<Signed, TaskError> },
    /// A checkpoint was put together for a hand-over to this device, as far as could be.
    Warmed { manifest: Hash },
    /// Checkpoints that were here are damaged or gone.
    Lost { manifests: Vec<Hash> },
    /// Somebody wants the certificates of its epochs; `None` while they are being written.
    Prove { answer: oneshot::Sender<Option<Vec<Certificate>>> },
    /// Somebody here wants to know how it goes.
    Interest,
    /// This device shuts down; told when the task has left.
    Drain { left: oneshot::Sender<()> },
    /// Trust changed.
    TrustChanged,
}

/// Whoever waits for an order to be taken up.
pub(crate) type Done = Option<oneshot::Sender<Result<(), TaskError>>>;

/// Others' hold on an actor.
#[derive(Clone)]
pub(crate) struct ActorRef {
    pub inbox: mpsc::Sender<Input>,
    pub shared: Arc<TaskShared>,
}

/// How an actor begins.
pub(crate) struct Seed {
    pub machine: TaskMachine,
    pub actions: Vec<Action>,
    /// Told when the first record is durable.
    pub born: Done,
    /// For how long the task has been over.
    pub over_ms: Option<u64>,
    /// Whether its file is on the disk already.
    pub filed: bool,
}

pub(crate) struct Actor {
    inner: Arc<Inner>,
    shared: Arc<TaskShared>,
    machine: TaskMachine,
    /// What the machine is to be told next: an event that comes of an action waits for the actions after that. Each
    /// action brings at most one, so there are few.
    events: VecDeque<Event>,
    feeding: bool,
    inbox: mpsc::Receiver<Input>,
    own_inbox: mpsc::WeakSender<Input>,
    born: Done,

    instance: Option<instance::Handle>,
    reports: Option<mpsc::Receiver<Report>>,
    /// Effects that may not leave yet.
    withheld: EffectGate<Effect>,
    /// The right of the instance that said them; none once nothing that it says counts any more.
    held_under: Option<Fence>,
    /// Under which right effects may leave, and up to which number.
    let_out: Option<(Fence, u64)>,
    /// The last checkpoint came at a time when none counts.
    uncounted: bool,
    /// What is known here of the effects that left.
    heard_effects: EffectInbox,
    /// Whether the task was not over yet at some time of this run of the program.
    lived: bool,
    /// Effects under a right of which the machine has not heard yet.
    early_effects: EarlyEffects,
    ops_done: u64,
    since: Instant,

    wake: Option<BootMs>,
    pending: Option<(Box<Durable>, u64)>,
    /// Of the newest record.
    last_token: u64,
    persisting: Option<oneshot::Receiver<(u64, bool)>>,
    fetching: Vec<Flight>,
    next_fetch: Option<(Hash, Vec<DeviceId>)>,
    /// Checkpoints that need not be kept.
    doomed: BTreeSet<Hash>,
    /// Checkpoints that are being put together in memory.
    warming: BTreeSet<Hash>,
    /// Whether there may be something to erase.
    sweep: bool,

    roster: watch::Receiver<Arc<RosterView>>,
    present: BTreeMap<DeviceId, bool>,
    preference: Vec<DeviceId>,
    looked: Instant,
    /// A move is being prepared: no other one is thought of.
    asking: bool,
    /// A move that was ordered and cannot begin yet.
    wish: Option<Wish>,
    /// Who waits for the hand-over that is under way.
    settling: Settled,
    /// Why the machine did not do the last command.
    refused: Option<String>,
    draining: Option<oneshot::Sender<()>>,

    /// The runner as last known, and when it was last heard.
    owner: DeviceId,
    heard_owner: Instant,
    before: Option<(DeviceId, Instant)>,

    pausing: Pausing,
    saving: Saving,

    interest: bool,
    follow: Option<Follow>,
    heard: mpsc::Receiver<Heard>,
    heard_from: mpsc::Sender<Heard>,
    remote: Option<StatusNote>,

    shown: Shown,
    retention: Retention,
    /// Whether the task's file is on the disk.
    filed: bool,
    gone: bool,
}

/// What the status says beside the machine's view.
struct Shown {
    permille: u16,
    text: String,
    checkpoints: u64,
    checkpoint_at: Option<Instant>,
    progress_told: Instant,
    preview_told: Instant,
}

/// How often things are looked at that tell of no change themselves.
const LOOK: Duration = Duration::from_secs(1);

/// Starts the actor of a task.
pub(crate) fn spawn(inner: &Arc<Inner>, shared: Arc<TaskShared>, seed: Seed) -> ActorRef {
    let (sender, inbox) = mpsc::channel(limits::INBOX);
    let (heard_from, heard) = mpsc::channel(16);
    let now = Instant::now();
    let owner = seed.machine.decree().owner;
    let mut actor = Actor {
        inner: inner.clone(),
        machine: seed.machine,
        events: VecDeque::new(),
        feeding: false,
        inbox,
        own_inbox: sender.downgrade(),
        born: seed.born,
        instance: None,
        reports: None,
        withheld: EffectGate::default(),
        held_under: None,
        let_out: None,
        uncounted: false,
        heard_effects: EffectInbox::default(),
        lived: false,
        early_effects: EarlyEffects::default(),
        ops_done: 0,
        since: now,
        wake: None,
        pending: None,
        last_token: 0,
        persisting: None,
        fetching: Vec::new(),
        next_fetch: None,
        doomed: BTreeSet::new(),
        warming: BTreeSet::new(),
        sweep: false,
        roster: inner.roster.watch(),
        present: BTreeMap::new(),
        preference: Vec::new(),
        looked: now,
        asking: false,
        wish: None,
        settling: None,
        refused: None,
        draining: None,
        owner,
        heard_owner: now,
        before: None,
        pausing: Pausing::default(),
        saving: Saving::default(),
        interest: false,
        follow: None,
        heard,
        heard_from,
        remote: None,
        shown: Shown {
            permille: 0,
            text: String::new(),
            checkpoints: 0,
            checkpoint_at: None,
            progress_told: now,
            preview_told: now,
        },
        retention: Retention::new(seed.over_ms, inner.seam.clock.boot()),
        filed: seed.filed,
        gone: false,
        shared: shared.clone(),
    };
    let reference = ActorRef { inbox: sender, shared };
    // A root: a task outlives the link or command by which it came. Instances and fetches start within.
    let span =
        tracing::info_span!(parent: None, "task", device = %inner.me.short(), id = %reference.shared.task);
    let acting = async move {
        actor.begin(seed.actions);
        actor.look();
        actor.show();
        actor.run().await;
    };
    span.in_scope(|| inner.spawn(acting));
    reference
}

impl Actor {
    async fn run(mut self) {
        let mut closing = self.inner.closing.subscribe();
        loop {
            if self.gone || *closing.borrow() {
                break;
            }
            let wait = self.wake.map_or(LOOK, |at| at.since(self.inner.seam.clock.boot())).min(LOOK);
            tokio::select! {
                biased;
                _ = closing.changed() => break,
                done = some(&mut self.persisting) => self.persisted(done.ok()),
                Some(report) = next(&mut self.reports) => self.report(report).await,
                Some(input) = self.inbox.recv() => self.input(input),
                Some(heard) = self.heard.recv() => self.heard(heard),
                Ok(()) = self.roster.changed() => self.look(),
                () = sleep(wait) => {}
            }
            let now = self.inner.seam.clock.boot();
            if self.wake.is_some_and(|at| at <= now) {
                self.wake = None;
                self.feed(Event::Tick);
            }
            if self.looked.elapsed() >= LOOK {
                self.look();
            }
            self.mind_moves();
            self.mind_uncounted();
            self.mind_asks();
            self.mind_saves();
            self.take_early_effects();
            self.erase();
            self.show();
            self.shared.withheld.store(self.withheld.waiting(), Ordering::Relaxed);
        }
        // Dropping the instance's handle ends it. What is being written is written.
        self.inner.set_load(self.shared.task, None);
    }

    /// Gives the machine a command; the error says why it does not do it.
    fn order(&mut self, command: Command) -> Result<(), TaskError> {
        self.refused = None;
        self.feed(Event::Command(command));
        self.refused.take().map_or(Ok(()), |reason| Err(TaskError::Conflict(reason)))
    }

    /// Gives an event to the machine and does what it says, in order: also what it says to the events that come of that.
    fn feed(&mut self, event: Event) {
        self.events.push_back(event);
        if self.feeding {
            return;
        }
        self.feeding = true;
        self.drain();
    }

    fn handle(&mut self, event: Event) {
        let before = self.machine.decree().epoch;
        let actions = self.machine.handle(event, self.inner.seam.clock.boot());
        if self.machine.decree().epoch == before.next() && self.owner == self.machine.decree().owner {
            self.goes_on_here(before);
        }
        self.act(actions);
    }

    /// Does what the machine says at its birth, and what comes of it.
    fn begin(&mut self, actions: Vec<Action>) {
        self.feeding = true;
        self.act(actions);
        // The disk may have lost what the record names.
        let record = self.machine.record();
        let incoming = record.incoming.iter().map(|incoming| &incoming.held);
        let named = record.held.iter().chain(&record.spare).chain(incoming);
        let here = self.shared.parts();
        let lost = named.map(|held| held.checkpoint.manifest).filter(|m| !here.checkpoints.contains_key(m));
        let lost: Vec<Event> = lost.map(|manifest| Event::Lost { manifest }).collect();
        drop(here);
        self.events.extend(lost);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.events.pop_front() {
            self.handle(event);
        }
        self.feeding = false;
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.one(action);
        }
        let owner = self.machine.decree().owner;
        if owner != self.owner {
            self.forget_early_effects();
            self.before = Some((self.owner, self.heard_owner));
            self.owner = owner;
            self.heard_owner = Instant::now();
            self.remote = None;
        }
        let decree = self.machine.decree();
        let mut members: BTreeSet<DeviceId> = decree.members().into_iter().collect();
        let acceptors = decree.acceptors();
        members.extend(acceptors.iter().copied());
        let chain_bytes = quota::chain_bytes(&self.machine.record().chain);
        let mut parts = self.shared.parts();
        (parts.branch, parts.members, parts.chain_bytes) =
            (Some(self.machine.branch()), members, chain_bytes);
        (parts.acceptors, parts.stuck) = (acceptors, self.machine.moved_too_often());
    }

    fn one(&mut self, action: Action) {
        let boot = self.inner.seam.clock.boot();
        match action {
            Action::Send { to, message } => self.send(to, message),
            Action::Persist { record, token } => {
                debug_assert!(token > self.last_token, "records out of order");
                if token > self.last_token {
                    self.last_token = token;
                    self.pending = Some((record, token));
                    self.persist();
                }
            }
            Action::Run { fence, checkpoint, manifest, until } => {
                self.start(fence, checkpoint, &manifest, until)
            }
            Action::Continue { .. } => {
                let right = self.right();
                if let Some(instance) = &self.instance {
                    instance.set(|control| control.right = right);
                    self.held_under = self.held_under.map(|_| self.machine.fence());
                }
            }
            Action::LeaseUntil { until } => {
                if let Some(instance) = &self.instance {
                    instance.set(|control| control.until = until);
                }
            }
            Action::Pause => {
                if let Some(instance) = &self.instance {
                    instance.set(|control| control.paused = true);
                }
            }
            Action::Resume { until } => {
                if let Some(instance) = &self.instance {
                    instance.set(|control| {
                        (control.paused, control.until, control.end) = (false, until, None);
                    });
                }
            }
            Action::Checkpoint => {
                self.want_checkpoint();
            }
            Action::Share { permille } => {
                if let Some(instance) = &self.instance {
                    instance.set(|control| control.share = permille.clamp(1, 1000));
                }
            }
            Action::StopAndCheckpoint { destination } => {
                if let Some(to) = destination {
                    self.leave_for(to);
                }
                match &self.instance {
                    Some(instance) => instance.set(|control| control.end = Some(End::Stop { destination })),
                    None => self.feed(Event::Stopped { last: None }),
                }
            }
            Action::Discard => {
                self.withheld.clear();
                self.held_under = None;
                match &self.instance {
                    Some(instance) => instance.set(|control| control.end = Some(End::Discard)),
                    None => self.feed(Event::Stopped { last: None }),
                }
            }
            Action::WakeAt(at) => self.wake = Some(at.max(BootMs(boot.0))),
            Action::Fetch { checkpoint, from } => self.fetch(checkpoint, from),
            Action::Warm { checkpoint } => self.warm(checkpoint.manifest),
            Action::ReleaseEffects { fence, through } => self.release(fence, through),
            Action::Keep { manifests } => {
                // Judged now: what comes later the machine did not know when it said so.
                let parts = self.shared.parts();
                let known = parts.checkpoints.keys().filter(|hash| !parts.untold.contains(hash));
                self.doomed = known.filter(|hash| !manifests.contains(hash)).copied().collect();
                drop(parts);
                self.sweep = true;
            }
            Action::Notify(notice) => self.notice(notice),
        }
    }

    /// Branch and decree for the manifests of the running instance.
    fn right(&self) -> Arc<(softbus_core::wire::task::Branch, softbus_core::wire::task::Decree)> {
        Arc::new((self.machine.branch(), self.machine.decree().clone()))
    }

    fn send(&mut self, to: DeviceId, message: EpochMessage) {
        let invites = matches!(
            message.body,
            EpochBody::Offer { .. }
                | EpochBody::Prepare { .. }
                | EpochBody::Hold { .. }
                | EpochBody::Propose { .. }
        );
        if invites {
            self.shared.parts().invited.insert(to);
        }
        if let EpochBody::Prepare { manifest, .. } = &message.body {
            self.leave_for(to);
            if let Some(leaving) = &mut self.shared.parts().leaving {
                leaving.sends(manifest.hash());
            }
        }
        let tells = matches!(
            message.body,
            EpochBody::Chain { .. }
                | EpochBody::Offer { .. }
                | EpochBody::Prepare { .. }
                | EpochBody::Cancel { .. }
        );
        let grant = self.shared.grant().filter(|_| tells).map(|grant| grant.signed.clone());
        self.inner.send_epoch(to, grant, &message);
    }

    /// Notes whither the task is about to move, and why, unless that is known.
    fn leave_for(&mut self, to: DeviceId) {
        let mut parts = self.shared.parts();
        if parts.leaving.as_ref().is_none_or(|leaving| leaving.to != to) {
            let reason = match self.draining {
                Some(_) => MoveReason::Drain,
                None => MoveReason::Bus(String::new()),
            };
            parts.leaving = Some(Leaving::new(to, reason));
        }
    }

    // ------------------------------------------------------------ the record

    /// Writes the last record that waits, one at a time.
    fn persist(&mut self) {
        if self.persisting.is_some() {
            return;
        }
        let Some((record, token)) = self.pending.take() else { return };
        let (done, persisting) = oneshot::channel();
        self.persisting = Some(persisting);
        let (inner, shared, first) = (self.inner.clone(), self.shared.clone(), !self.filed);
        self.inner.spawn(async move {
            let file = first.then(|| inner.file(&shared)).flatten();
            let written = inner.store.put_record(&record, file.as_ref()).await;
            if let Err(error) = &written {
                tracing::warn!(task = %record.task, %error, "the record of a task was not written");
            }
            let _ = done.send((token, written.is_ok()));
        });
    }

    fn persisted(&mut self, done: Option<(u64, bool)>) {
        self.persisting = None;
        match done {
            Some((token, true)) => {
                self.filed = true;
                if let Some(born) = self.born.take() {
                    let _ = born.send(Ok(()));
                }
                self.feed(Event::Persisted { token });
            }
            Some((token, false)) => {
                if let Some(born) = self.born.take() {
                    let _ = born.send(Err(TaskError::Storage("the disk is full or fails".into())));
                    self.gone = true;
                    return;
                }
                self.feed(Event::PersistFailed { token });
            }
            None => self.gone = true, // The bus is closing.
        }
        self.persist();
    }

    fn notice(&mut self, notice: Notice) {
        let task = self.shared.task;
        match notice {
            Notice::Status(_) => {}
            Notice::Accepted => self.inner.tell(TaskEvent::Accepted { task }),
            Notice::Moved { to, epoch } => {
                tracing::info!(%task, to = %to.short(), %epoch, "the task was handed over");
                // The destination has all it needs, the account of the move included.
                self.shared.parts().leaving = None;
                self.settle(Ok(epoch));
            }
            Notice::MoveAborted { to, reason } => {
                self.shared.parts().leaving = None;
                let why = format!("the move to {} was called off: {reason}", to.short());
                self.settle(Err(TaskError::Conflict(why.clone())));
                self.trouble(Some(why));
            }
            Notice::Forked { by, lost, .. } => {
                tracing::warn!(%task, fork = by.branch.fork, ?lost, "the task was adopted elsewhere");
                self.inner.tell(TaskEvent::Forked { task, branch: by.branch.fork });
            }
            Notice::Refused { reason } => self.refused = Some(reason),
            Notice::StorageFailing => {
                self.trouble(Some("the task's record cannot be stored: free some space".into()));
            }
            Notice::Covered { checkpoint, holders } => {
                self.inner.tell(TaskEvent::Checkpoint {
                    task,
                    number: checkpoint.sequence,
                    bytes: self.shared.parts().sent_bytes,
                    holders,
                });
            }
            Notice::Drained => {
                if let Some(left) = self.draining.take() {
                    let _ = left.send(());
                }
            }
        }
    }

    fn view(&self) -> View {
        self.machine.view()
    }
}

/// Waits for what is there; for ever if nothing is.
async fn some<T>(receiver: &mut Option<oneshot::Receiver<T>>) -> Result<T, oneshot::error::RecvError> {
    match receiver {
        Some(receiver) => receiver.await,
        None => std::future::pending().await,
    }
}

async fn next<T>(receiver: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match receiver {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether a device can be talked to.
fn is_present(view: &RosterView, device: &DeviceId) -> bool {
    view.get(device).is_some_and(|entry| matches!(entry.presence, Presence::Online | Presence::Suspect))
}
