//! What goes into a [`TaskMachine`](super::TaskMachine) and what comes out.

use std::sync::Arc;

use softbus_core::wire::task::{
    Branch, CancelOrder, Certificate, CheckpointRef, EpochMessage, Fence, Policy,
};
use softbus_core::{BootMs, DeviceId, Epoch, Hash, Signed, Signer, TaskId};

use super::{Durable, Tuning};

/// What a machine is made with.
#[derive(Clone)]
pub struct Setup {
    /// This device's key; the machine signs roots, votes and nothing else.
    pub key: Arc<dyn Signer + Send + Sync>,
    /// Any number, different on each device and start (from the seam's entropy): spreads retries.
    pub seed: u64,
    /// Time spans.
    pub tuning: Tuning,
}

/// A new task, as its submitter describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submission {
    /// Its id, drawn at random.
    pub task: TaskId,
    /// Name of its type.
    pub task_type: String,
    /// Hash of its grant.
    pub grant: Hash,
    /// Who decides its epochs.
    pub policy: Policy,
    /// How many holders are wanted (at least 2 under [`Policy::Quorum`]).
    pub replicas: u8,
    /// Who runs it first.
    pub owner: DeviceId,
    /// Who holds its checkpoints first.
    pub holders: Vec<DeviceId>,
    /// The manifest of its input, stored durably here, made by [`super::manifest::first`].
    pub base: Signed,
    /// Why it was placed so, for people.
    pub note: String,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A message came from a device that proved to be `from` and may speak `task/1`.
    ///
    /// For a message with an [`authority`](super::authority), the driver has checked that the signer may do this.
    Message {
        /// Who sent it.
        from: DeviceId,
        /// What it says.
        message: EpochMessage,
    },
    /// The record of this token, and with it all earlier ones, is durable.
    Persisted {
        /// From [`Action::Persist`].
        token: u64,
    },
    /// The record of this token could not be written. The machine tries again later.
    PersistFailed {
        /// From [`Action::Persist`].
        token: u64,
    },
    /// The time asked for by [`Action::WakeAt`] came (or any other time).
    Tick,
    /// A device went offline. A hint; safety does not depend on it.
    PeerLost {
        /// Which.
        peer: DeviceId,
    },
    /// A device is (again) in reach. A hint, too: what waits for it is sent at once.
    PeerBack {
        /// Which.
        peer: DeviceId,
    },
    /// Placement's opinion: the devices that may run this task and are in reach, best first; this one may be
    /// among them. Used for drain, fail-over and for replacing holders. Give it at start and when it changes.
    Preference {
        /// Best first.
        devices: Vec<DeviceId>,
    },
    /// The running task was checkpointed; manifest and chunks are durable here. Made with [`super::manifest::next`].
    /// Also true of a checkpoint the machine did not ask for. Ignored unless this device runs the task in the
    /// manifest's epoch.
    Checkpoint {
        /// The signed manifest.
        manifest: Signed,
    },
    /// So many bytes of the task's state have gone to a device, in all since it began to move there. Told before what the device
    /// says of them.
    Sent {
        /// Whither.
        to: DeviceId,
        /// In all.
        bytes: u64,
    },
    /// The task's instance stopped, after [`Action::StopAndCheckpoint`] (with the final checkpoint, durable) or
    /// [`Action::Discard`] (without). It does nothing more.
    Stopped {
        /// The final checkpoint's signed manifest.
        last: Option<Signed>,
    },
    /// The task's instance cannot write the final checkpoint that it was told to stop with (its state is larger than this
    /// device lets it be). It waits for [`Action::Resume`] or [`Action::Discard`].
    CannotStop {
        /// Why, for people.
        error: String,
    },
    /// The task's instance crashed, or could not be restored. It does nothing more.
    Failed {
        /// What it died of.
        error: String,
    },
    /// The task finished; its result is durable here. The instance does nothing more.
    Finished {
        /// The signed manifest of the result ([`ManifestKind::Result`](softbus_core::wire::task::ManifestKind)).
        result: Signed,
    },
    /// A checkpoint asked for by [`Action::Fetch`] is durable here, with all its chunks checked.
    Fetched {
        /// Its signed manifest.
        manifest: Signed,
    },
    /// It could not be fetched now; the machine asks again later.
    FetchFailed {
        /// Its manifest's hash.
        manifest: Hash,
        /// Whether the reason lies here (disk full, memory) and not in the network.
        ours: bool,
    },
    /// A checkpoint that was durable here is damaged or gone. It is fetched again from others; until it, or a newer one,
    /// is here the task does not start here, and this device promises nothing to those who would go on elsewhere.
    Lost {
        /// Its manifest's hash.
        manifest: Hash,
    },
    /// A checkpoint named by [`Action::Warm`] is ready to be run as soon as the last changes are here.
    Warmed {
        /// Its manifest's hash.
        manifest: Hash,
    },
    /// Someone wants something.
    Command(Command),
}

/// What a person or placement asks of a task at this device. What cannot be done is answered by
/// [`Notice::Refused`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Hand the task over. Only at its owner; the driver forwards it there.
    MoveTo {
        /// To whom.
        destination: DeviceId,
        /// Why, for people.
        note: String,
    },
    /// Call off a hand-over that is not yet decided.
    AbortMove,
    /// Name these holders instead of the present ones. Only at the owner.
    ChangeHolders {
        /// Best first.
        holders: Vec<DeviceId>,
    },
    /// End the task everywhere. The order is signed by someone who may.
    Cancel {
        /// An envelope of [`CancelOrder`], signed ([`softbus_core::Domain::GRANT`]).
        order: Signed,
    },
    /// Take the task by force from the last checkpoint held here: starts a new branch. A person was warned.
    Adopt {
        /// For people.
        note: String,
    },
    /// Let the task out of the quarantine that it is in at this epoch: an order that is heard again later is about
    /// another. Only at its owner.
    Release {
        /// The epoch that put it there.
        epoch: Epoch,
    },
    /// This device shuts down: hand the task over, or be replaced as holder. Ends with [`Notice::Drained`].
    Drain,
}

/// What to do. In order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send a message. It may get lost, come twice or late: the machine repeats what matters.
    Send {
        /// To whom.
        to: DeviceId,
        /// What.
        message: EpochMessage,
    },
    /// Store this record durably in place of the one before, then report [`Event::Persisted`]. Records are written
    /// in order; of several that wait, only the last need be written.
    Persist {
        /// All that the machine must remember.
        record: Box<Durable>,
        /// Grows.
        token: u64,
    },
    /// Start the task's instance from a checkpoint that is durable here.
    Run {
        /// Under this right.
        fence: Fence,
        /// From this checkpoint.
        checkpoint: CheckpointRef,
        /// Its manifest.
        manifest: Box<Signed>,
        /// The instance takes no step and lets nothing out at or after this moment (compare before each step).
        until: BootMs,
    },
    /// The instance goes on under a new epoch: manifests made from now on say so.
    Continue {
        /// The new right.
        fence: Fence,
    },
    /// The instance may run until then. Never earlier than what was said before.
    LeaseUntil {
        /// As in [`Action::Run`].
        until: BootMs,
    },
    /// Take no further step until [`Action::Resume`].
    Pause,
    /// Go on, even if it was told to stop with a checkpoint and has not done so yet.
    Resume {
        /// As in [`Action::Run`].
        until: BootMs,
    },
    /// Take a checkpoint of the running instance now, whether or not one is due, and report [`Event::Checkpoint`].
    Checkpoint,
    /// Let the instance have only so much of its processor, in thousandths: it changes more of its state than can be sent.
    Share {
        /// 1000 for all of it.
        permille: u16,
    },
    /// Stop the instance at its next step, store a final checkpoint durably and report [`Event::Stopped`]
    /// (or [`Event::Finished`], [`Event::Failed`], or [`Event::CannotStop`]), unless [`Action::Resume`] comes before.
    StopAndCheckpoint {
        /// The destination, for the manifest.
        destination: Option<DeviceId>,
    },
    /// Stop the instance and forget its state, then report [`Event::Stopped`]. Nothing it does counts any more.
    Discard,
    /// Report [`Event::Tick`] at this time. Replaces the time asked for before.
    WakeAt(BootMs),
    /// Get a checkpoint (manifest, if not given, and chunks), store it durably, and report [`Event::Fetched`] or
    /// [`Event::FetchFailed`]. If it is here already, report at once. Asked again while under way: no need to
    /// start again, but the sources may be better.
    Fetch {
        /// Which.
        checkpoint: CheckpointRef,
        /// Who may have it, best first.
        from: Vec<DeviceId>,
    },
    /// The task is about to be handed over to this device: put this checkpoint, which is durable here, together in
    /// memory, so that nothing of it is left to do once the task has stopped; then report [`Event::Warmed`], also
    /// if that did not work (it only costs time). Asked again while under way: no need to start again.
    Warm {
        /// Which.
        checkpoint: CheckpointRef,
    },
    /// Effects up to and with this sequence may leave, under this fence.
    ReleaseEffects {
        /// The right.
        fence: Fence,
        /// Effects' sequence.
        through: u64,
    },
    /// Checkpoints that must be kept, by manifest hash; all others of this task may be erased (what is being
    /// fetched or taken right now aside).
    Keep {
        /// Manifest hashes.
        manifests: Vec<Hash>,
    },
    /// Something changed that a person may want to see.
    Notify(Notice),
}

/// What a person may want to see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The state as shown; see [`super::TaskMachine::status`].
    Status(Status),
    /// The task was accepted: root and input are durable at a majority of its acceptors. At the submitter.
    Accepted,
    /// A hand-over that this device began is decided.
    Moved {
        /// To whom.
        to: DeviceId,
        /// The new epoch.
        epoch: Epoch,
    },
    /// A hand-over was called off before its decision; the task goes on here.
    MoveAborted {
        /// To whom it was to go.
        to: DeviceId,
        /// Why, for people.
        reason: String,
    },
    /// Another branch took this task's place (or was found to have been fenced by ours).
    Forked {
        /// The branch that no longer counts, and how far it was known to be.
        fenced: Fence,
        /// The branch that counts.
        by: Fence,
        /// The last checkpoint of the fenced branch that is held here.
        lost: Option<CheckpointRef>,
    },
    /// A command cannot be done.
    Refused {
        /// Why and what to do, for people.
        reason: String,
    },
    /// The record could not be stored; nothing that depends on it happens until it can.
    StorageFailing,
    /// A checkpoint was stored by a majority of the acceptors.
    Covered {
        /// Which.
        checkpoint: CheckpointRef,
        /// How many devices hold it.
        holders: usize,
    },
    /// This device has no more part in the task and may shut down.
    Drained,
}

/// Where a task stands, as this device knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Status {
    /// It waits to start on its owner (the input travels, or a lease is asked for).
    Starting {
        /// Its owner.
        owner: DeviceId,
    },
    /// It runs (at the owner itself: it truly does; elsewhere: as last heard).
    Running {
        /// Its owner.
        owner: DeviceId,
    },
    /// It is on its way.
    Moving {
        /// From.
        from: DeviceId,
        /// To.
        to: DeviceId,
        /// Decided: the source will never run it again in this branch.
        committed: bool,
    },
    /// This device promised to take it over and does not know whether that was decided. It does not run.
    InDoubt {
        /// Whose decision it is.
        source: DeviceId,
    },
    /// The owner cannot reach a majority: paused until it can.
    Paused,
    /// The owner is out of reach, and only it can decide (policy `owner`).
    WaitingForOwner {
        /// The owner.
        owner: DeviceId,
    },
    /// The owner is lost, and a successor is being decided (policy `quorum`).
    FailingOver {
        /// The lost owner.
        from: DeviceId,
    },
    /// It finished, and its result is being replicated.
    Finishing,
    /// It is done.
    Done {
        /// Its result.
        result: CheckpointRef,
        /// Whether the result is here.
        here: bool,
    },
    /// It crashed on resume too often.
    Quarantined {
        /// What it died of.
        error: String,
    },
    /// It was cancelled.
    Cancelled {
        /// The order.
        order: CancelOrder,
    },
}

/// An act that needs more than a trusted link: the driver asks whether its signer may, before it passes the
/// message (or chain) on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Authority {
    /// The signer submitted the task.
    Submit {
        /// Who.
        signer: DeviceId,
        /// Hash of the grant.
        grant: Hash,
    },
    /// The signer adopted the task by force.
    Adopt {
        /// Who.
        signer: DeviceId,
        /// Hash of the grant.
        grant: Hash,
    },
    /// The signer cancelled the task.
    Cancel {
        /// Who.
        signer: DeviceId,
    },
}

/// What a machine knows, for lists and tables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// The task.
    pub task: TaskId,
    /// Name of its type.
    pub task_type: String,
    /// Who submitted it.
    pub submitter: DeviceId,
    /// Hash of its grant.
    pub grant: Hash,
    /// Branch and epoch.
    pub fence: Fence,
    /// Its owner.
    pub owner: DeviceId,
    /// Its holders.
    pub holders: Vec<DeviceId>,
    /// Who decides the next epoch.
    pub acceptors: Vec<DeviceId>,
    /// Its policy.
    pub policy: Policy,
    /// What the epoch started from (of an ended task: its result).
    pub base: CheckpointRef,
    /// The newest checkpoint here that counts.
    pub held: Option<CheckpointRef>,
    /// A newer one that was damaged here.
    pub missing: Option<CheckpointRef>,
    /// Whether root and input are known to be durable at a majority of its acceptors.
    pub accepted: bool,
    /// The newest checkpoint held by a majority (at the owner).
    pub covered: Option<CheckpointRef>,
    /// Why the epoch began, for people.
    pub note: String,
    /// Where it stands.
    pub status: Status,
    /// Branches of it that were fenced, each with the last checkpoint of it that was held here.
    pub forks: Vec<(Fence, Option<CheckpointRef>)>,
    /// Whether this device has nothing to do for the task and may forget it (after the retention of results and
    /// cancellations): it is no member, or the task ended and everyone knows.
    pub settled: bool,
}

/// Why a machine cannot be made, or bytes are not believed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EpochError {
    /// A message of the wrong form.
    #[error("the {what} is malformed: {source}")]
    Malformed {
        /// Of what.
        what: &'static str,
        /// How.
        source: softbus_core::DecodeError,
    },
    /// A signature that does not match.
    #[error("the {what} is not believed: {source}")]
    Signature {
        /// Of what.
        what: &'static str,
        /// How.
        source: softbus_core::SignedError,
    },
    /// Too long, or lists with too many or repeated entries.
    #[error("the {what} is beyond its limits")]
    Limits {
        /// Of what.
        what: &'static str,
    },
    /// It speaks of another task, branch or epoch, or was made by another device than it says.
    #[error("the {what} does not belong here: {why}")]
    Foreign {
        /// What.
        what: &'static str,
        /// Why.
        why: &'static str,
    },
    /// Fewer valid votes than a majority.
    #[error("the certificate has {valid} valid votes of the {needed} needed")]
    Votes {
        /// Valid ones.
        valid: usize,
        /// Needed.
        needed: usize,
    },
    /// The record on disk cannot be read.
    #[error("the stored record of the task is of format {found}, this program reads {known}: update it")]
    Format {
        /// Found.
        found: u16,
        /// Known.
        known: u16,
    },
    /// What was asked makes no sense.
    #[error("{0}")]
    Invalid(&'static str),
}

/// Chains of certificates as they travel.
pub type Links = Vec<Certificate>;

/// The branch that a device without any knowledge of a task stands in.
pub const NO_BRANCH: Branch = Branch::NONE;
