//! What commands show: plain data, the same on the socket and with `--json`. Times are milliseconds since the
//! Unix epoch, sizes bytes; units stand in the names.

use serde::{Deserialize, Serialize};
use softbus_core::{CircleId, DeviceId, DeviceKind, PowerSource, TaskId, Thermal};
use softbus_trust::Role;

/// When a membership or rule ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expiry {
    /// Never.
    Never,
    /// So many seconds from now.
    InS(u64),
}

/// To whom a rule applies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// All of a role.
    Role(Role),
    /// One device, by id, end of id, or name.
    Device(String),
}

/// Who decides a task's next epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The device that runs it.
    #[default]
    Owner,
    /// A majority of the runner and the holders of its checkpoints.
    Quorum,
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
    /// Devices online, itself not counted.
    pub devices_online: usize,
    /// Tasks it runs.
    pub tasks_running: usize,
    /// Services it offers.
    pub services: Vec<String>,
    /// Task types it can run.
    pub task_types: Vec<String>,
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
}

/// One access rule.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RuleView {
    /// Service.
    pub service: String,
    /// To whom it applies.
    pub subject: Subject,
    /// Allowed or denied.
    pub allow: bool,
}

/// A circle just founded.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundedView {
    /// Its id.
    pub circle: CircleId,
    /// Its name.
    pub name: String,
    /// Words that take it back if its last owner is lost. Shown once, kept nowhere.
    pub recovery_words: String,
}

impl std::fmt::Debug for FoundedView {
    /// Without the words: they are a secret, and `Debug` ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FoundedView")
            .field("circle", &self.circle)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// How pairing stands on the device where it is open.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum PairingView {
    /// Open: another device may enter the PIN.
    Open {
        /// Six digits.
        pin: String,
        /// Until when it counts.
        until_ms: u64,
        /// How long that is.
        seconds: u64,
        /// Wrong tries it still bears.
        tries_left: u8,
        /// A link that does the same, if asked for.
        link: Option<String>,
    },
    /// A device tries.
    Trying {
        /// Which.
        device: DeviceId,
    },
    /// A device tried a wrong PIN.
    Wrong {
        /// Wrong tries left.
        tries_left: u8,
    },
}

impl std::fmt::Debug for PairingView {
    /// Without PIN and link.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open { .. } => "Open",
            Self::Trying { .. } => "Trying",
            Self::Wrong { .. } => "Wrong",
        })
    }
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
    /// What the other device is in it.
    pub role: Option<Role>,
}

/// How a task stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Waits for a device.
    Waiting,
    /// Runs.
    Running,
    /// Is being handed over.
    Moving,
    /// Lease lost or runner unreachable: nobody runs it for now.
    Paused,
    /// Who owns it cannot be told until a peer returns.
    InDoubt,
    /// Crashed on resume too often.
    Quarantined,
    /// Finished; its result can be fetched.
    Done,
    /// Ended with an error.
    Failed,
    /// Cancelled.
    Cancelled,
}

impl TaskState {
    /// Whether nothing will change any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled | Self::Quarantined)
    }

    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Moving => "moving",
            Self::Paused => "paused",
            Self::InDoubt => "in doubt",
            Self::Quarantined => "quarantined",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One task.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// Its type.
    pub task_type: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// How it stands.
    pub state: TaskState,
    /// Progress, 0–1000.
    pub progress_permille: u16,
    /// What it says of its progress.
    pub note: String,
    /// Who runs it.
    pub runner: Option<DeviceId>,
    /// Its epoch.
    pub epoch: u64,
    /// Its branch; grows with a forced adoption.
    pub branch: u64,
    /// Who decides its epochs.
    pub policy: Policy,
    /// Who keeps its checkpoints.
    pub holders: Vec<DeviceId>,
    /// Who submitted it.
    pub submitter: Option<DeviceId>,
    /// When.
    pub submitted_ms: u64,
    /// Bytes of its last checkpoint.
    pub checkpoint_bytes: u64,
    /// Bytes of its result, when done.
    pub result_bytes: Option<u64>,
    /// Its error, if it has one.
    pub error: Option<String>,
    /// What happened to it, oldest first, as far as this device knows.
    pub history: Vec<TaskEventView>,
}

/// Something that happened to a task.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TaskEventView {
    /// When.
    pub at_ms: u64,
    /// What, by name: `placed`, `handed-over`, `failed-over`, `checkpoint`, `finished` …
    pub what: String,
    /// From which device.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<DeviceId>,
    /// To which device.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<DeviceId>,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
    /// How long nobody ran it, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub downtime_us: Option<u64>,
    /// Bytes that travelled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
}

/// A task just submitted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SubmittedView {
    /// The task.
    pub task: TaskView,
    /// Why it runs where it runs.
    pub placement: Option<PlacementView>,
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
    pub explanation: serde_json::Value,
}

/// Sensor values to claim for a while.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Load {
    /// For how long.
    pub seconds: u64,
    /// Busy share of all cores, 0–1000.
    pub load_permille: Option<u16>,
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
    /// Whether it uses loopback only.
    pub loopback_only: bool,
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
