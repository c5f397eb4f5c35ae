//! What a scenario says, after it was read, its templates counted out and its ranges drawn: plain values. What follows
//! of it is decided by them and the seed alone.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use softbus_core::DeviceKind;

/// A whole simulation.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// Its name, for people.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// Virtual time that it takes.
    pub duration: Duration,
    /// What datagrams are sealed with.
    pub crypto: Crypto,
    /// Multicast domains, each with what its air or cable is like.
    pub segments: Vec<Segment>,
    /// Which segments reach each other, and by what way.
    pub joins: Vec<Join>,
    /// Pairs of devices between which it is otherwise than their segments say.
    pub links: Vec<LinkSpec>,
    /// Who trusts whom.
    pub circles: Vec<CircleSpec>,
    /// The devices, templates counted out.
    pub devices: Vec<DeviceSpec>,
    /// What is submitted, in order of time.
    pub tasks: Vec<TaskOrder>,
    /// What happens, written or drawn from the seed, in order of time.
    pub events: Vec<Happening>,
    /// Bounds that the invariants use.
    pub bounds: Bounds,
}

/// What datagrams are sealed with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crypto {
    /// TLS 1.3 as on a real device.
    #[default]
    Real,
    /// Real handshakes, but packets are only framed: for scale, marked in the report.
    Null,
}

/// What a way is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WaySpec {
    /// One-way delay.
    pub latency: Duration,
    /// Further delay, drawn between nothing and this for each datagram.
    pub jitter: Duration,
    /// Datagrams lost at random, in millionths.
    pub loss_ppm: u32,
    /// Losses in bursts.
    pub burst: Option<Burst>,
    /// Datagrams that arrive twice, in millionths.
    pub duplicate_ppm: u32,
    /// Datagrams that come late by up to ten times the latency, in millionths.
    pub reorder_ppm: u32,
    /// Bytes per second that pass, 0 for no limit.
    pub rate_bytes_per_s: u64,
    /// Past this delay in the queue before a limited rate, datagrams are dropped.
    pub queue: Duration,
    /// Longest datagram that passes, in bytes of UDP payload.
    pub mtu_bytes: usize,
}

/// Losses in bursts: the model of Gilbert (1960) and Elliott (1963), stepped once per datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Burst {
    /// Chance to enter a burst, in millionths.
    pub enter_ppm: u32,
    /// Chance to leave it, in millionths.
    pub leave_ppm: u32,
    /// Loss within it, in millionths.
    pub loss_ppm: u32,
}

/// A multicast domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its name.
    pub name: String,
    /// Between any two of its devices.
    pub way: WaySpec,
    /// Whether the rate is shared by all of it (radio) or is each pair's (switched cable).
    pub shared: bool,
    /// Whether multicast passes (guest networks often stop it).
    pub multicast: bool,
    /// Whether it lies behind a NAT box: its devices can call out, and are called only on what they called from.
    pub nat: Option<Nat>,
}

/// A NAT box: endpoint-independent mapping (RFC 4787, section 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Nat {
    /// A mapping not used for so long is forgotten.
    pub timeout: Duration,
    /// Whether only those that were called may answer (address-dependent filtering), or anybody.
    pub filtering: bool,
}

/// Two segments that reach each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Join {
    /// Names of the segments.
    pub between: (String, String),
    /// The way between them, in addition to the ways within.
    pub way: WaySpec,
}

/// Two devices with a way of their own between them, in place of that of their segments and joins. Those still say whether
/// the two reach each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkSpec {
    /// Names of the devices.
    pub between: (String, String),
    /// The way between them, in each direction.
    pub way: WaySpec,
}

/// A circle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CircleSpec {
    /// Its name.
    pub name: String,
    /// How its devices come in.
    pub entry: Entry,
}

/// How a circle begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// All are in it before time begins, by statements that its first owner signed.
    #[default]
    Ready,
    /// Its first owner founds it; the others pair with it by PIN, one after the other, at the start.
    Pin,
}

/// A device.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceSpec {
    /// Its name: of a template of several, with a number (`lamp-3`).
    pub name: String,
    /// What sort of thing it is.
    pub kind: DeviceKind,
    /// Segment it begins on.
    pub segment: String,
    /// Circles it is in, with its role in each. The first owner of each founds it.
    pub circles: BTreeMap<String, RoleSpec>,
    /// Cores.
    pub cores: u16,
    /// Speed of each, in operations of the reference kernel per second.
    pub rate_ops_per_s: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Its battery; `None`: it hangs on the mains.
    pub battery: Option<Battery>,
    /// How warm it gets.
    pub heat: Option<Heat>,
    /// What it draws.
    pub power: Power,
    /// Its wall clock is off by so many milliseconds.
    pub clock_offset_ms: i64,
    /// Its clocks go faster by so many parts per million.
    pub clock_drift_ppm: i64,
    /// Its disk.
    pub disk: Disk,
    /// Live links it keeps.
    pub link_budget: usize,
    /// When it is first switched on.
    pub starts: Duration,
    /// Whether it runs tasks (a sensor may not).
    pub runs_tasks: bool,
}

impl DeviceSpec {
    /// A machine of four cores on the mains, on segment `home` and in no circle: for tests to change.
    pub fn plain(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: DeviceKind::Other,
            segment: "home".into(),
            circles: BTreeMap::new(),
            cores: 4,
            rate_ops_per_s: 50_000_000,
            memory_bytes: 4 << 30,
            battery: None,
            heat: None,
            power: Power::default(),
            clock_offset_ms: 0,
            clock_drift_ppm: 0,
            disk: Disk::default(),
            link_budget: 32,
            starts: Duration::ZERO,
            runs_tasks: true,
        }
    }

    /// What a device of this kind is like if a scenario says nothing more of it, on segment `home` and in no circle: for
    /// scenarios that are made by a program.
    pub fn usual(name: &str, kind: DeviceKind) -> Self {
        let usual = super::kinds::usual(kind);
        Self {
            kind,
            cores: usual.cores,
            rate_ops_per_s: usual.rate_ops_per_s,
            memory_bytes: usual.memory_bytes,
            battery: usual.battery,
            power: usual.power,
            runs_tasks: usual.runs_tasks,
            ..Self::plain(name)
        }
    }
}

/// A device's role in a circle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleSpec {
    /// Owner.
    Owner,
    /// Member.
    #[default]
    Member,
    /// Guest.
    Guest,
}

/// A battery.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Battery {
    /// Capacity in joules (1 Wh is 3600 J).
    pub capacity_j: f64,
    /// Charge at the start, 0–1000.
    pub charge_permille: u16,
    /// Below this charge (0–1000) the device takes no work of others.
    pub floor_permille: u16,
    /// Power that flows in while it is plugged in, in watts.
    pub charger_w: f64,
    /// Whether it is plugged in at the start.
    pub plugged: bool,
}

/// What a device draws.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Power {
    /// Awake and idle, in watts.
    pub idle_w: f64,
    /// Asleep, in watts.
    pub sleep_w: f64,
    /// Each busy core, in watts, on top.
    pub core_w: f64,
    /// Each byte sent or received, in joules.
    pub radio_j_per_byte: f64,
}

/// How a device heats up: one thermal mass (Newton's law of cooling).
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Heat {
    /// Around it, in °C.
    pub ambient_c: f64,
    /// Degrees above that for each watt drawn, once settled.
    pub c_per_w: f64,
    /// Time to come within 1/e of that, in seconds.
    pub settle_s: f64,
    /// From here it is serious, and slows down to half its speed.
    pub serious_c: f64,
    /// From here it is critical, and slows down to a tenth.
    pub critical_c: f64,
}

/// A disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Disk {
    /// Each piece of disk work takes so long.
    pub latency: Duration,
    /// Bytes it holds; `None`: no end.
    pub capacity_bytes: Option<u64>,
    /// Whether a power cut tears unsynced writes (any part may be there) or loses them whole.
    pub torn: bool,
}

/// Something to be submitted.
#[derive(Clone, PartialEq, Debug)]
pub struct TaskOrder {
    /// Its name, counted out (`photo-17`).
    pub name: String,
    /// When.
    pub at: Duration,
    /// By whom.
    pub from: String,
    /// The program that it is; `None` for made up work.
    pub program: Option<super::Guest>,
    /// Work, in operations of the reference kernel; of a program what placement is told.
    pub ops: u64,
    /// Size of its state, in bytes. A program has its own, and changes what it changes.
    pub state_bytes: usize,
    /// Of which so many change with each step.
    pub hot_bytes: usize,
    /// Memory it declares, in bytes; of a program what it may have.
    pub memory_bytes: u64,
    /// Effects it lets out on its way.
    pub effects: u64,
    /// How its epochs are decided: `None` by its owner, else a quorum with so many holders.
    pub quorum: Option<u8>,
    /// Where it begins, if the scenario says so and not placement.
    pub start_on: Option<String>,
    /// Whether the bus leaves it where it is.
    pub stay: bool,
}

/// Something happens.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Happening {
    /// When.
    pub at: Duration,
    /// What.
    pub what: What,
    /// Whether it was drawn from the seed, and not written.
    pub drawn: bool,
}

/// A shutdown takes at least so long until the device starts again: its tasks have time to leave.
pub(crate) const SHUTDOWN: Duration = Duration::from_secs(13);

/// What may happen. What begins with a span ends by itself. A `device` (or `from`) of `@photo` is whichever runs the task
/// `photo` then, or has submitted it if nobody has begun.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
#[allow(missing_docs, reason = "the variants say what their fields are")]
pub enum What {
    /// Power cut; it starts again after `down` (never, if `None`), and has no network for `offline` more. With
    /// `at_disk_job` the power fails while the disk does its nth job from now, and not at all if that does not come
    /// within `down`.
    Crash { device: String, down: Option<Duration>, offline: Duration, at_disk_job: Option<u32> },
    /// The program is killed; it starts again after `down`, and has no network for `offline` more.
    Kill { device: String, down: Option<Duration>, offline: Duration },
    /// It shuts down in order (draining its tasks), and starts again after `down`.
    Shutdown { device: String, down: Option<Duration> },
    /// It is lost for good: switched off, its disk never seen again.
    Lose { device: String },
    /// It sleeps: announced (tasks are drained first) or all at once, and wakes after `span`.
    Sleep { device: String, announced: bool, span: Duration },
    /// Nothing passes from `from` to `to` for `span` (and the other way round unless `one_way`).
    Cut { from: String, to: String, one_way: bool, span: Duration },
    /// Only devices of one group reach each other for `span`; those in no group reach nobody.
    Partition { groups: Vec<Vec<String>>, span: Duration },
    /// It moves to another segment, and gets other addresses there.
    Move { device: String, segment: String },
    /// A segment's way is as said for `span`.
    Weather { segment: String, way: WaySpec, span: Duration },
    /// Other things use so much of all cores for `span`.
    Load { device: String, permille: u16, span: Duration },
    /// Its charger is plugged in.
    Plug { device: String },
    /// Its charger is pulled out.
    Unplug { device: String },
    /// Its wall clock jumps.
    ClockJump { device: String, by_ms: i64 },
    /// Its clocks go faster by so many parts per million for `span`.
    Drift { device: String, ppm: i64, span: Duration },
    /// Its disk takes no more for `span`.
    DiskFull { device: String, span: Duration },
    /// Its disk fails each write for `span`.
    DiskFail { device: String, span: Duration },
    /// A person moves a task (the first of this name): to a device, or to the best.
    MoveTask { task: String, to: Option<String> },
    /// A person cancels it.
    CancelTask { task: String },
    /// An owner removes a device from a circle.
    Remove { circle: String, by: String, device: String },
    /// A device shows a PIN, and another enters a wrong one.
    WrongPin { shown: String, entered: String },
    /// A stranger calls at every device that it sees, and tries each service.
    Stranger { segment: String },
}

/// Bounds that the invariants use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bounds {
    /// Once all faults have healed for so long, every accepted quorum task with a majority of its acceptors alive is
    /// done.
    pub settle: Duration,
    /// Devices that have been connected and undisturbed for so long have equal rosters.
    pub roster: Duration,
}

impl Default for WaySpec {
    /// A calm home network: 2 ms, no loss, 1472 bytes.
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(2),
            jitter: Duration::ZERO,
            loss_ppm: 0,
            burst: None,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            rate_bytes_per_s: 0,
            queue: Duration::from_millis(200),
            mtu_bytes: 1472,
        }
    }
}

impl Default for Power {
    /// Somewhere between a phone and a box under the television.
    fn default() -> Self {
        Self { idle_w: 1.0, sleep_w: 0.02, core_w: 1.5, radio_j_per_byte: 1e-7 }
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self { latency: Duration::ZERO, capacity_bytes: None, torn: true }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self { settle: Duration::from_secs(120), roster: Duration::from_secs(30) }
    }
}
