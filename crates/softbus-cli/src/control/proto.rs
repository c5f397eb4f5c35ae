//! What is said on the control socket. Every name here is a contract with scripts: fields are only added.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use softbus_core::wire::task_control::{PolicyKind, Right};
use softbus_core::{CircleId, Hash, Latency, Privacy};
use softbus_trust::Role;

use super::frame::{BODY_BYTES, SAVED_BYTES};
use super::secret::Secret;
use super::view::*;
use crate::failure::Failure;

/// Version of the control protocol; both sides must speak the same.
pub const PROTOCOL: u16 = 1;

/// One line of a client.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// [`PROTOCOL`].
    pub v: u16,
    /// Bytes that follow the line: a task's input.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub body: u64,
    /// What to do.
    pub request: Request,
}

/// One line of a node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Reply {
    /// Something on the way to the answer.
    Event {
        /// [`PROTOCOL`].
        v: u16,
        /// What happened.
        event: Event,
    },
    /// The answer; the call is over.
    Done {
        /// [`PROTOCOL`].
        v: u16,
        /// Bytes that follow the line: a task's result.
        #[serde(default, skip_serializing_if = "is_zero")]
        body: u64,
        /// The answer.
        response: Response,
    },
    /// It did not work; the call is over.
    Failed {
        /// [`PROTOCOL`].
        v: u16,
        /// Why.
        failure: Failure,
    },
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Call {
    /// A call in this version.
    pub fn new(request: Request, body: u64) -> Self {
        Self { v: PROTOCOL, body, request }
    }
}

impl Reply {
    pub(super) fn event(event: Event) -> Self {
        Self::Event { v: PROTOCOL, event }
    }

    pub(super) fn done(response: Response, body: u64) -> Self {
        Self::Done { v: PROTOCOL, body, response }
    }

    pub(super) fn failed(failure: Failure) -> Self {
        Self::Failed { v: PROTOCOL, failure }
    }
}

/// What a client may ask. A device, circle or task is named by its id, a unique end (device) or beginning
/// (circle, task) of its id, or its name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Who this node is and how it does.
    Status {},
    /// All devices of the roster, and strangers nearby.
    Devices {},
    /// Events [`Event::Devices`] at each change, [`Event::Change`] for what happened; never ends by itself.
    WatchDevices {},
    /// All circles of this device.
    Circles {},
    /// Founds a circle. The answer holds its recovery words, which wait in the data folder until
    /// [`Request::WordsShown`].
    Found {
        /// Its name.
        name: String,
    },
    /// The recovery words that wait to be shown.
    Words {},
    /// A person has seen the recovery words of this circle: they are kept nowhere any more.
    WordsShown {
        /// Which.
        circle: CircleId,
    },
    /// Leaves a circle.
    Leave {
        /// Which; may be left out if there is only one.
        circle: Option<String>,
        /// Also if this device is the last owner.
        #[serde(default)]
        force: bool,
    },
    /// Gives a member another role.
    SetRole {
        /// Which circle.
        circle: Option<String>,
        /// Whose.
        device: String,
        /// The new role.
        role: Role,
        /// Until when; left out: as it was. (For a guest that had no end, a day.)
        expires: Option<Expiry>,
        /// For a guest: the services it may open.
        #[serde(default)]
        services: Vec<String>,
    },
    /// Removes a member; its links end on every device that learns of it.
    Remove {
        /// Which circle; may be left out if there is only one.
        circle: Option<String>,
        /// Whom.
        device: String,
    },
    /// Gives a membership a new end.
    Renew {
        /// Which circle.
        circle: Option<String>,
        /// Whose.
        device: String,
        /// Until when.
        expires: Expiry,
    },
    /// Puts a new device in a lost one's place, with its role and end, and removes the lost one.
    Replace {
        /// Which circle.
        circle: Option<String>,
        /// The lost device.
        old: String,
        /// The new one: its whole id, or the name of a member.
        new: String,
        /// Until when; left out: as the lost one's was.
        expires: Option<Expiry>,
    },
    /// Takes back a circle that lost its last owner, by its recovery words.
    Recover {
        /// Which circle.
        circle: Option<String>,
        /// The words shown at its founding.
        words: Secret,
        /// Owners that stay owners; all others are removed.
        #[serde(default)]
        keep: Vec<String>,
    },
    /// Allows or denies a service to a role or device, here on this device.
    SetRule {
        /// Name and version, `camera/1`, or the name alone for all versions.
        service: String,
        /// What to change.
        change: RuleChange,
    },
    /// Opens pairing here. Events tell the PIN, who tries and how it ends; it ends with the first device
    /// that pairs, when it is cancelled or when its time is over. Closing the connection cancels it.
    OpenPairing(PairTerms),
    /// Makes a link (for a QR code) that pairs one device.
    Invite {
        /// How long it counts, in seconds.
        seconds: u64,
        /// On which terms.
        #[serde(flatten)]
        terms: PairTerms,
    },
    /// Closes pairing here.
    CancelPairing {},
    /// Looks whether the device that [`Request::Pair`] would pair with is in sight, before a person types its PIN.
    Look {
        /// As there.
        with: String,
    },
    /// Pairs with a device that has pairing open.
    Pair {
        /// A device seen nearby (by id, end of id, or name), or an address `IP:PORT`.
        with: String,
        /// The PIN it shows.
        pin: Secret,
        /// On which terms.
        #[serde(flatten)]
        terms: PairTerms,
    },
    /// Pairs by a link `softbus:…` (typed, or read from a QR code).
    PairByLink {
        /// The link.
        link: Secret,
        /// On which terms.
        #[serde(flatten)]
        terms: PairTerms,
    },
    /// Submits a task; its input is the body.
    Run(TaskRequest),
    /// Submits a WebAssembly program as a task and follows it: events [`Event::Submitted`], then [`Event::Task`] as it
    /// changes and [`Event::Printed`] as it prints. The answer is a [`Response::Result`]; closing the connection leaves the
    /// task running. The body is the program with all that it starts with, as its task has it (`softbus_wasm::Start` in
    /// postcard); a seed of zeros stands for one that the node draws. The type is `wasm/1`.
    RunProgram(TaskRequest),
    /// All tasks, or one.
    Tasks {
        /// Which.
        task: Option<String>,
    },
    /// Events [`Event::Task`] as tasks change. For one task it ends when the task does, else never by itself.
    WatchTasks {
        /// Which.
        task: Option<String>,
    },
    /// Hands a task over.
    Move {
        /// Which.
        task: String,
        /// To where; left out: to the best.
        device: Option<String>,
        /// What to write in the task's history.
        reason: Option<String>,
    },
    /// Starts a new branch of an orphaned task from the last checkpoint here.
    Adopt {
        /// Which.
        task: String,
        /// The person knows that the old branch may still run.
        force: bool,
    },
    /// Lets a task out of quarantine: it may crash anew.
    Release {
        /// Which.
        task: String,
    },
    /// Lets a task stand still until it is resumed.
    Pause {
        /// Which.
        task: String,
    },
    /// Lets a paused task go on.
    Resume {
        /// Which.
        task: String,
    },
    /// The state of a task at one point, in the form of a file, as the body.
    Save {
        /// Which.
        task: String,
    },
    /// Starts a new task from such a file, which is the body. Event [`Event::Restored`] tells what it is; the rest is as of
    /// [`Request::RunProgram`] for a program, and as of [`Request::Run`] for another task.
    Restore(RestoreRequest),
    /// Cancels a task.
    Cancel {
        /// Which.
        task: String,
    },
    /// The result of a finished task, as the body.
    Result {
        /// Which.
        task: String,
    },
    /// What a task's output looks like so far, as the body: the latest preview, or the next if there is none yet or
    /// the latest is `seen`. Waits for it until the task ends.
    Preview {
        /// Which.
        task: String,
        /// The hash of the preview that is known already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<Hash>,
    },
    /// What placement would choose for a piece of work, and why.
    Place(PlaceRequest),
    /// Adds a device by address.
    AddPeer {
        /// `IP:PORT` or `ID@IP:PORT`.
        peer: String,
    },
    /// Lets this node claim other sensor values for a while (for demonstrations; marked as declared).
    InjectLoad(Load),
    /// The machine is about to sleep: tells the peers, so that this device is not taken for lost.
    Sleep {
        /// In how many seconds it will probably be back.
        seconds: u64,
    },
    /// The machine woke: links are taken up again at once.
    Wake {},
    /// Facts for `softbus doctor`.
    Diagnose {},
    /// Shuts the node down: tasks move away first unless `now`. Answered by [`Response::Stopping`].
    Down {
        /// Without moving tasks away.
        now: bool,
    },
}

impl Request {
    /// Longest body that may follow, in bytes.
    pub(super) fn body_limit(&self) -> u64 {
        match self {
            Self::Restore(_) => SAVED_BYTES,
            _ => BODY_BYTES,
        }
    }

    /// How long a client should wait for the answer, if not the usual time. For requests that last as long as
    /// what they wait for.
    pub(super) fn time_limit(&self) -> Option<Duration> {
        const LONG: Duration = Duration::from_secs(24 * 3600);
        match self {
            Self::WatchDevices {}
            | Self::WatchTasks { .. }
            | Self::Preview { .. }
            | Self::RunProgram(_)
            | Self::Save { .. }
            | Self::Restore(_) => Some(LONG),
            Self::OpenPairing(_) | Self::Pair { .. } | Self::PairByLink { .. } => {
                Some(Duration::from_secs(300))
            }
            // Whoever asks how it is should not wait long to hear that it hangs.
            Self::Diagnose {} | Self::Status {} => Some(Duration::from_secs(20)),
            Self::Move { .. } | Self::Result { .. } | Self::Down { .. } => Some(Duration::from_secs(180)),
            _ => None,
        }
    }
}

/// How a task is to be started from a saved state. What it needs of a device, and its privacy label, are in the file.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// Who decides where it runs.
    pub policy: PolicyKind,
    /// Devices that keep its checkpoints, beside the runner; left out: as the policy has it.
    #[serde(default)]
    pub replicas: Option<u8>,
    /// Start on this device, if it can.
    #[serde(default)]
    pub start_on: Option<String>,
    /// The bus does not move it by itself to balance load.
    #[serde(default)]
    pub stay: bool,
    /// A name for people; left out: that of the saved task.
    #[serde(default)]
    pub name: Option<String>,
    /// The circle that it is of, by name or id; left out: one that the node owns, or else any that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circle: Option<String>,
    /// Also if the device that saved it is no member of that circle.
    #[serde(default)]
    pub foreign: bool,
    /// Services that a program may go on to ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Whether it may go on to have prompts answered.
    #[serde(default)]
    pub inference: bool,
}

/// On which terms two devices become a pair.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PairTerms {
    /// Which circle to offer, if this device owns several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circle: Option<String>,
    /// What the other device becomes, if it is this one that admits; left out: member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Expiry>,
    /// For a guest: the services it may open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Join the other device's circle, though this one is in a circle already.
    #[serde(default)]
    pub join: bool,
}

/// A piece of work, for a task to run and for a question about placement alike.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct WorkRequest {
    /// Its type, `picture/1`. Its input is the body.
    pub task_type: String,
    /// Settings of the task, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// Work, in operations of the reference kernel; left out: as the type estimates.
    #[serde(default)]
    pub ops: Option<u64>,
    /// Memory it takes, in bytes; left out: as the type estimates.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Cores it can use at once; 0 counts as 1.
    #[serde(default)]
    pub cores: u16,
    /// What its device must have: `NAME/VERSION` for a service, `gpu`, `npu` or `dsp` (with `:SIZE` for memory) for
    /// an accelerator, and anything else for a capability.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// How soon it matters.
    #[serde(default)]
    pub latency: Latency,
    /// Only these devices may run it; empty: any.
    #[serde(default)]
    pub only: Vec<String>,
    /// None of these devices may run it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<String>,
    /// Where it may go.
    pub privacy: Privacy,
    /// The circle that it is of, by name or id; left out: one that the node owns, or else any that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circle: Option<String>,
}

/// A task to run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TaskRequest {
    /// What it is and needs.
    #[serde(flatten)]
    pub work: WorkRequest,
    /// Who decides where it runs.
    pub policy: PolicyKind,
    /// Devices that keep its checkpoints, beside the runner; left out: as the policy has it.
    pub replicas: Option<u8>,
    /// Start on this device, if it can.
    pub start_on: Option<String>,
    /// The bus does not move it by itself to balance load.
    #[serde(default)]
    pub stay: bool,
    /// A name for people.
    pub name: Option<String>,
    /// Who beside the submitter and the owners of the circle may do what with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub share: Vec<Share>,
}

/// What one device may do with a task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Share {
    /// Which device.
    pub device: String,
    /// What it may do.
    pub rights: Vec<Right>,
}

/// A piece of work to place.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlaceRequest {
    /// What it is and needs.
    #[serde(flatten)]
    pub work: WorkRequest,
}

/// Something on the way to an answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// All devices, as they are now.
    Devices(DevicesView),
    /// Something happened to a device.
    Change(ChangeView),
    /// Pairing went a step on.
    Pairing(PairingView),
    /// A task, as it is now.
    Task(Box<TaskView>),
    /// Of [`Request::RunProgram`]: the task began.
    Submitted(Box<SubmittedView>),
    /// Of [`Request::RunProgram`]: the program printed something.
    Printed(PrintedView),
    /// Of [`Request::Restore`]: what the file holds.
    Restored(Box<SavedView>),
    /// A circle was founded on the way: its recovery words, as [`Response::Founded`] has them.
    Founded(FoundedView),
}

/// The answer of a request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// Done; there is nothing to tell.
    Done,
    /// Of [`Request::Down`]: it is on its way.
    Stopping {
        /// In how many seconds it is down at the latest.
        within_s: u64,
    },
    /// Of [`Request::Status`].
    Status(Box<StatusView>),
    /// Of [`Request::Devices`].
    Devices(DevicesView),
    /// Of [`Request::Circles`].
    Circles(CirclesView),
    /// Of [`Request::Found`].
    Founded(FoundedView),
    /// Of [`Request::Words`].
    Words(Vec<FoundedView>),
    /// Of the pairing requests.
    Paired(PairedView),
    /// Of [`Request::Invite`].
    Invitation(InvitationView),
    /// Of [`Request::Run`]: the task, and why it runs where it runs.
    Submitted(Box<SubmittedView>),
    /// Of [`Request::Tasks`].
    Tasks(Vec<TaskView>),
    /// Of [`Request::Adopt`]; of [`Request::Move`] if the task is there already.
    Task(Box<TaskView>),
    /// Of [`Request::Move`]: the task now, and the account of this move.
    Moved {
        /// The task.
        task: Box<TaskView>,
        /// The move.
        moved: Box<MoveView>,
    },
    /// Of [`Request::Pause`] and [`Request::Resume`].
    Rests {
        /// The task now.
        task: Box<TaskView>,
        /// It was so before.
        already: bool,
        /// Its checkpoint says so, on as many devices as decide where it goes on.
        kept: bool,
    },
    /// Of [`Request::Save`]; the body is the file.
    Saved(Box<SavedView>),
    /// Of [`Request::Result`]; the body is the result. Of [`Request::RunProgram`], whose task may have no result: then the
    /// body is empty.
    Result(Box<TaskView>),
    /// Of [`Request::Preview`]; the body is the preview.
    Preview(Box<PreviewView>),
    /// Of [`Request::Place`].
    Placement(PlacementView),
    /// Of [`Request::Diagnose`].
    Diagnosis(Box<DiagnosisView>),
}
