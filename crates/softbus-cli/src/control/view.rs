//! What commands show: plain data, the same on the socket and with `--json`. Times are milliseconds since the
//! Unix epoch, sizes bytes; units stand in the names.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use softbus::task::ContentsStatus;
use softbus_core::wire::task_control::{PolicyKind, TaskState};
use softbus_core::{CircleId, DeviceId, DeviceKind, Hash, PowerSource, TaskId, Thermal};
use softbus_trust::Role;

use super::secret::Secret;

/// When a membership or rule ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expiry {
    /// Never.
    Never,
    /// So many seconds from now.
    InS(u64),
}

/// A change of an access rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleChange {
    /// Devices of this role and above may open the service.
    Least(Role),
    /// This device (by id, end of id, or name) may, whatever its role.
    Allow(String),
    /// This device may not.
    Deny(String),
    /// Forget what is said of this device.
    Forget(String),
    /// Back to the default altogether.
    Reset,
}

/// Who a node is and how it does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StatusView {
    /// The device.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: DeviceKind,
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// When it started.
    pub started_ms: u64,
    /// Data folder.
    pub data_dir: String,
    /// Addresses others may reach it by.
    pub addresses: Vec<String>,
    /// Names of its circles.
    pub circles: Vec<String>,
    /// Names of those whose recovery words wait to be shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words_wait: Vec<String>,
    /// Devices online, itself not counted.
    pub devices_online: usize,
    /// Tasks it runs.
    pub tasks_running: usize,
    /// Services it offers.
    pub services: Vec<String>,
    /// Task types it can run.
    pub task_types: Vec<String>,
    /// Modules of programs that it keeps, and what came of that.
    #[serde(default)]
    pub modules: ContentsStatus,
}

/// All devices, and strangers nearby.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct DevicesView {
    /// Devices of common circles, this one first.
    pub devices: Vec<DeviceView>,
    /// What discovery sees that is not one of them.
    pub nearby: Vec<NearbyView>,
}

/// Whether a device answers, as the program tells it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PresenceView {
    /// This very device.
    Here,
    /// It answers.
    Online,
    /// Nothing heard for a moment.
    Suspect,
    /// Announced that it sleeps.
    Asleep,
    /// Not reachable.
    Offline,
}

/// One device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its id.
    pub id: DeviceId,
    /// Its name; empty if its profile is not known yet.
    pub name: String,
    /// Its kind.
    pub kind: DeviceKind,
    /// Whether it answers.
    pub presence: PresenceView,
    /// Who told, if not seen directly.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub via: Option<DeviceId>,
    /// Its role in a common circle.
    pub role: Option<Role>,
    /// The link to it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub link: Option<LinkView>,
    /// What it is and can do, if its profile is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub profile: Option<ProfileView>,
}

/// A link.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LinkView {
    /// Where the peer is.
    pub address: Option<String>,
    /// Round-trip time in microseconds.
    pub rtt_us: u64,
    /// Lost packets per thousand.
    pub loss_permille: u16,
    /// Rate of bulk data towards it; 0 if not known yet.
    pub rate_bytes_per_s: u64,
    /// How many connections have carried it.
    pub generation: u64,
    /// Whether this device dialled the present connection.
    #[serde(default)]
    pub dialled: bool,
    /// Bytes sent since it began.
    pub sent_bytes: u64,
    /// Bytes received since it began.
    pub received_bytes: u64,
    /// Why it last went down.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_down: Option<String>,
}

/// What a device is and can do.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ProfileView {
    /// Cores.
    pub cores: u16,
    /// Memory.
    pub memory_bytes: u64,
    /// Processor architecture.
    pub arch: String,
    /// Operating system.
    pub os: String,
    /// Accelerators, as text.
    pub accelerators: Vec<String>,
    /// Capabilities, as text.
    pub capabilities: Vec<String>,
    /// Services offered.
    pub services: Vec<String>,
    /// Task types it can run.
    pub task_types: Vec<String>,
    /// Values that were declared and not read from the machine.
    pub declared: Vec<String>,
    /// Until when the profile counts.
    pub expires_ms: u64,
    /// What it can do right now, if heard.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub now: Option<NowView>,
}

/// What a device can do right now.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NowView {
    /// Speed of one core, in operations of the reference kernel per second.
    pub rate_ops_per_s: u64,
    /// Busy share of all cores, 0–1000.
    pub load_permille: u16,
    /// Free memory.
    pub memory_free_bytes: u64,
    /// Charge 0–1000, if it has a battery.
    pub battery_permille: Option<u16>,
    /// Power source.
    pub power: PowerSource,
    /// Heat.
    pub thermal: Thermal,
    /// Tasks running.
    pub running_tasks: u16,
    /// Work promised and not yet done.
    pub queued_ops: u64,
    /// When it was sampled, by its own clock.
    pub sampled_ms: u64,
}

/// A device that discovery sees and that is in no common circle.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NearbyView {
    /// A number to call it by, which stays as long as the node runs.
    #[serde(default)]
    pub number: u32,
    /// Its id, if it tells.
    pub id: Option<DeviceId>,
    /// Its name, if it tells.
    pub name: Option<String>,
    /// Its kind, if it tells.
    pub kind: Option<DeviceKind>,
    /// Where it can be reached.
    pub addresses: Vec<String>,
    /// Lowest and highest protocol version it speaks.
    pub versions: (u16, u16),
    /// When it was heard last.
    #[serde(default)]
    pub heard_ms: u64,
}

/// Something that happened to a device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ChangeView {
    /// When.
    pub at_ms: u64,
    /// Which device.
    pub device: DeviceId,
    /// What, in words.
    pub what: String,
}

/// All circles of this device.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CirclesView {
    /// Each circle.
    pub circles: Vec<CircleView>,
    /// Access rules of this device that differ from the default.
    pub rules: Vec<RuleView>,
}

/// One circle.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CircleView {
    /// Its id.
    pub id: CircleId,
    /// Its name.
    pub name: String,
    /// What this device is in it.
    pub role: Option<Role>,
    /// Whether no owner is left: only its recovery words can change it.
    pub orphaned: bool,
    /// Whether its recovery words wait to be shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub words_wait: bool,
    /// Everybody in it.
    pub members: Vec<MemberView>,
}

/// One member.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MemberView {
    /// The device.
    pub device: DeviceId,
    /// Its name, if known.
    pub name: String,
    /// Whether it is this very device.
    pub here: bool,
    /// Its role.
    pub role: Role,
    /// When its membership ends; `None`: never.
    pub expires_ms: Option<u64>,
    /// For a guest: the services it may open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
}

/// The access rule of one service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RuleView {
    /// The service, by name and version, or by name alone.
    pub service: String,
    /// The least role that may open it; `None`: the default.
    pub least: Option<Role>,
    /// Devices that may, whatever their role.
    pub allow: Vec<DeviceId>,
    /// Devices that may not.
    pub deny: Vec<DeviceId>,
}

/// A circle just founded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FoundedView {
    /// Its id.
    pub circle: CircleId,
    /// Its name.
    pub name: String,
    /// Words that take it back if its last owner is lost. Shown once, and from then on kept nowhere.
    pub recovery_words: Secret,
}

/// How pairing stands on the device where it is open.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum PairingView {
    /// Open: another device may enter the PIN.
    Open {
        /// Six digits.
        pin: Secret,
        /// How long it still counts, in milliseconds.
        lives_ms: u64,
        /// Wrong tries it still bears.
        tries_left: u8,
    },
    /// The right PIN was entered; the circle is being told.
    Settling {
        /// On which device.
        device: DeviceId,
    },
}

/// A link that pairs one device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InvitationView {
    /// `softbus:…`. Holds a one-time secret.
    pub link: Secret,
    /// How long it counts, in seconds.
    pub seconds: u64,
}

/// Two devices that became a pair.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PairedView {
    /// The other device.
    pub device: DeviceId,
    /// Its name, if known already.
    pub name: String,
    /// The circle both belong to now.
    pub circle: CircleId,
    /// The circle's name.
    pub circle_name: String,
    /// Whether this device joined (or else admitted the other).
    pub joined: bool,
    /// If the circle was founded here and now: with its recovery words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub founded: Option<FoundedView>,
}

/// A state of a task, in words.
pub fn task_state_text(state: TaskState) -> &'static str {
    match state {
        TaskState::Waiting => "waiting",
        TaskState::Running => "running",
        TaskState::Moving => "moving",
        TaskState::Paused | TaskState::PausedBy(_) => "paused",
        TaskState::InDoubt => "in doubt",
        TaskState::Quarantined => "quarantined",
        TaskState::Done => "done",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "cancelled",
        TaskState::Lost => "runner lost",
        TaskState::FailingOver => "failing over",
    }
}

/// One task.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// Its type.
    pub task_type: String,
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: TaskState,
    /// Who paused it, if a person did; then its state is `paused`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub paused: Option<PausedView>,
    /// Progress, 0–1000.
    pub progress_permille: u16,
    /// Progress in words.
    pub progress_text: String,
    /// Who runs it, as far as is known.
    pub runner: Option<DeviceId>,
    /// That device's name.
    pub runner_name: String,
    /// Its epoch.
    pub epoch: u64,
    /// Its branch; 0 unless it was adopted by force.
    pub branch: u32,
    /// Who decides its epochs.
    pub policy: PolicyKind,
    /// Who keeps its checkpoints.
    pub holders: Vec<DeviceId>,
    /// Their names.
    #[serde(default)]
    pub holder_names: Vec<String>,
    /// Who submitted it.
    pub submitter: DeviceId,
    /// That device's name.
    #[serde(default)]
    pub submitter_name: String,
    /// When, by the submitter's clock.
    pub submitted_ms: u64,
    /// How many checkpoints were replicated.
    pub checkpoint: u64,
    /// Age of the last of them.
    pub checkpoint_age_ms: Option<u64>,
    /// What went wrong last.
    pub error: Option<String>,
    /// It was adopted elsewhere while this device was away.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fork: Option<ForkView>,
    /// Its latest moves, oldest first.
    pub moves: Vec<MoveView>,
}

/// A person's word that a task shall stand still.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PausedView {
    /// The device they used.
    pub by: DeviceId,
    /// That device's name.
    pub by_name: String,
    /// When, by that device's clock.
    pub since_ms: u64,
}

/// A saved state of a task.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SavedView {
    /// The task that it was saved of.
    pub task: TaskId,
    /// Its name.
    pub name: String,
    /// Its type and state version.
    pub task_type: String,
    /// The device that saved it.
    pub device: DeviceId,
    /// That device's name, as far as it is known.
    pub device_name: String,
    /// When, by that device's clock.
    pub saved_ms: u64,
    /// How far the task was, 0–1000.
    pub progress_permille: u16,
    /// Size of the state, in bytes.
    pub state_bytes: u64,
}

/// The fork of a task that was adopted by force.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ForkView {
    /// The branch that counts now.
    pub branch: u32,
    /// The last checkpoint kept here of the branch that does not count any more.
    pub lost: Option<u64>,
}

/// One past move of a task.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MoveView {
    /// From which device.
    pub from: DeviceId,
    /// That device's name.
    pub from_name: String,
    /// To which.
    pub to: DeviceId,
    /// That device's name.
    pub to_name: String,
    /// Why, by name: `placed`, `person`, `bus`, `drain`, `failover`, `adopted`.
    pub reason: String,
    /// Why, in words: the person's, or the explanation of the placement.
    pub because: String,
    /// The epoch it began.
    pub epoch: u64,
    /// How long the task stood still; for a fail-over the gap since the last sign of the old runner.
    pub downtime_ms: u64,
    /// Bytes sent for it.
    pub bytes: u64,
    /// When it ended, by the new runner's clock.
    pub at_ms: u64,
    /// How often something of its state was sent, the last time after it stopped; 0 if nothing was.
    #[serde(default)]
    pub rounds: u32,
    /// How long it took from its begin to its end.
    #[serde(default)]
    pub whole_ms: u64,
}

/// What a task's output looks like so far.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PreviewView {
    /// The task.
    pub task: TaskView,
    /// Names the preview; `None` if the task ended without a newer one.
    pub hash: Option<Hash>,
}

/// A task just submitted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SubmittedView {
    /// The task.
    pub task: TaskView,
    /// Why it runs where it runs.
    pub placement: Option<PlacementView>,
    /// A wish that was not met, and why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unmet: Option<String>,
    /// What the program became, if it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub admission: Option<AdmissionView>,
    /// Of a program that was restored: how much it had printed before, to its standard output and its standard error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub printed: Option<[u64; 2]>,
}

/// A WebAssembly program that was let in: what that took, and what the program was granted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdmissionView {
    /// Names the module: BLAKE3 of its bytes.
    pub module: Hash,
    /// Of the module, in bytes.
    pub module_bytes: u64,
    /// Of the module that can be stopped, in bytes.
    pub rewritten_bytes: u64,
    /// How long it took to check and rewrite it. Each device that runs it compiles it for itself, and says how long that took.
    pub admitted_ms: u64,
    /// Functions that it has.
    pub functions: usize,
    /// Functions in which it can be stopped.
    pub stoppable: usize,
    /// Places at which it can be stopped.
    pub sites: usize,
    /// Memory that it was granted.
    pub memory_bytes: u64,
    /// Files that it may have, all together, in bytes.
    pub file_bytes: u64,
    /// How much of one processor it may have, in thousandths.
    pub cpu_permille: u16,
    /// How much it may print, in bytes per second.
    pub output_bytes_per_s: u64,
    /// Files that it was given.
    pub files: usize,
    /// Services of the mesh that it may ask.
    #[serde(default)]
    pub services: Vec<String>,
    /// Whether it may have a model answer prompts.
    #[serde(default)]
    pub inference: bool,
}

/// Something that a program printed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PrintedView {
    /// To its standard error, else to its standard output.
    pub to_stderr: bool,
    /// How many bytes it had printed there before. After a fail-over it may begin before the end of what came already, or,
    /// where some was lost on the way, after it.
    pub at: u64,
    /// What it printed; base64 (RFC 4648) on the wire.
    #[serde(with = "base64")]
    pub bytes: Vec<u8>,
}

mod base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        BASE64.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

/// A decision of placement.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlacementView {
    /// The chosen device, if any fits.
    pub chosen: Option<DeviceId>,
    /// Its name.
    pub chosen_name: String,
    /// The explanation, for people.
    pub text: String,
    /// The explanation, as data.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub explanation: Option<serde_json::Value>,
}

/// Sensor values to claim for a while.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Load {
    /// For how long.
    pub seconds: u64,
    /// Busy share of all cores, 0–1000.
    pub load_permille: Option<u16>,
    /// Free memory.
    pub memory_free_bytes: Option<u64>,
    /// Charge 0–1000.
    pub battery_permille: Option<u16>,
    /// Power source.
    pub power: Option<PowerSource>,
    /// Heat.
    pub thermal: Option<Thermal>,
}

/// Facts of a running node for `softbus doctor`. No secret is among them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DiagnosisView {
    /// Who and how.
    pub status: StatusView,
    /// Wall clock of the node.
    pub wall_ms: u64,
    /// UDP port of the endpoint.
    pub port: u16,
    /// Lowest and highest protocol version spoken.
    pub versions: (u16, u16),
    /// Why its database does not answer, if it does not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub database: Option<String>,
    /// Whether it uses loopback only.
    pub loopback_only: bool,
    /// The interfaces it uses, as in its configuration: `all`, `loopback`, or names with commas between them.
    #[serde(default)]
    pub interfaces: String,
    /// The configuration file it was started with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub config: Option<PathBuf>,
    /// Whether it announces and browses.
    pub discovery: bool,
    /// All devices, with links and the age of what is known of them.
    pub devices: DevicesView,
    /// Circles, members and their ends.
    pub circles: CirclesView,
    /// Tasks.
    pub tasks: Vec<TaskView>,
    /// Difference of the peers' clocks to this one's, in milliseconds, as far as it can be told.
    pub clock_offsets: Vec<ClockOffset>,
}

/// How far a peer's clock is from ours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockOffset {
    /// The peer.
    pub device: DeviceId,
    /// Its wall clock minus ours. Roughly: what was heard may be some seconds old.
    pub offset_ms: i64,
}
