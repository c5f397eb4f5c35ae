//! What a run leaves: the one thing that summary, `--json` and the HTML report are made of. Times are microseconds of
//! virtual time since the begin; devices and segments are told by their index.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::scenario::Crypto;

/// A whole run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// What ran.
    #[serde(default)]
    pub model: Model,
    /// What of this scenario the model leaves out or only approximates, a sentence each. Empty for the full one.
    #[serde(default)]
    pub caveats: Vec<String>,
    /// The scenario's name.
    pub scenario: String,
    /// What it shows.
    pub about: String,
    /// The seed.
    pub seed: u64,
    /// The version of softbus that ran.
    pub version: String,
    /// What datagrams were sealed with.
    pub crypto: Crypto,
    /// Virtual time that passed.
    pub duration_us: u64,
    /// Hash of the trace, in hexadecimal.
    pub trace_hash: String,
    /// Segments.
    pub segments: Vec<String>,
    /// Devices.
    pub devices: Vec<DeviceRecord>,
    /// Links: one entry for each time that one of two devices held the other for online.
    pub links: Vec<LinkSpan>,
    /// Tasks, in order of submission.
    pub tasks: Vec<TaskRecord>,
    /// What happened, in order: faults, moves, violations.
    pub events: Vec<EventRecord>,
    /// Datagrams and bytes in each interval of `sample_every_us`.
    pub traffic: Vec<Traffic>,
    /// Interval of all samples.
    pub sample_every_us: u64,
    /// Each invariant, and how often it was looked at.
    pub invariants: Vec<InvariantRecord>,
    /// Figures of the whole run.
    pub summary: Summary,
}

/// What a run is a run of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// The whole library.
    #[default]
    Full,
    /// Its decisions, over modelled links, disks and cores (`reduced`).
    Reduced,
}

/// A device over time.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// Its name.
    pub name: String,
    /// Short form of its id.
    pub id: String,
    /// Its kind, as in profiles.
    pub kind: String,
    /// Its state over time: from each of these times on.
    pub states: Vec<(u64, DeviceState)>,
    /// The segment it is on: from each of these times on.
    pub segments: Vec<(u64, usize)>,
    /// Samples, one per `sample_every_us`.
    pub samples: Vec<DeviceSample>,
    /// Bytes it sent and received.
    pub bytes: (u64, u64),
    /// Energy it took, in joules.
    pub energy_j: f64,
}

/// How a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// Not switched on yet, crashed or switched off.
    #[default]
    Off,
    /// Running.
    Up,
    /// Asleep.
    Asleep,
    /// Lost for good.
    Lost,
}

/// A device at one moment.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct DeviceSample {
    /// Charge, 0–1000; `None` without a battery.
    pub battery_permille: Option<u16>,
    /// Temperature in °C; `None` if not modelled.
    pub celsius: Option<f32>,
    /// Busy share of its cores since the last sample, 0–1000.
    pub load_permille: u16,
    /// Devices it held for online.
    pub online: u16,
    /// Tasks it ran.
    pub running: u16,
}

/// Two devices linked for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LinkSpan {
    /// One.
    pub a: usize,
    /// The other.
    pub b: usize,
    /// From.
    pub from_us: u64,
    /// To.
    pub to_us: u64,
}

/// A task over time.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Its name.
    pub name: String,
    /// Who submitted it.
    pub from: usize,
    /// `owner` or `quorum of N`.
    pub policy: String,
    /// When it was submitted.
    pub submitted_us: u64,
    /// When it was accepted: it may not be lost from then on.
    pub accepted_us: Option<u64>,
    /// When its result was known to its submitter.
    pub done_us: Option<u64>,
    /// How it ended, or stands: as its submitter says.
    pub state: String,
    /// Where it took steps, in order.
    pub runs: Vec<RunSpan>,
    /// Its moves.
    pub moves: Vec<MoveRecord>,
    /// Predicted and best time of completion of its placement, for the regret: in microseconds.
    pub placed: Option<Placed>,
}

/// A task on a device, for a while: steps without a pause of more than a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunSpan {
    /// Device.
    pub on: usize,
    /// First step there.
    pub from_us: u64,
    /// Last step there.
    pub to_us: u64,
    /// Epoch.
    pub epoch: u64,
    /// Branch.
    pub branch: u32,
}

/// A move.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MoveRecord {
    /// When the first step was taken there.
    pub at_us: u64,
    /// From.
    pub from: usize,
    /// To.
    pub to: usize,
    /// From the last step there to the first step here.
    pub downtime_us: u64,
    /// Bytes that were sent for it, before it stopped and afterwards, as the task's own account tells; of a fail-over and in the
    /// reduced model nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// `person`, `bus`, `drain`, `failover`, …
    pub reason: String,
    /// Its explanation, for people.
    pub why: String,
}

/// How good a placement was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Placed {
    /// True time of completion where it was placed.
    pub chosen_us: u64,
    /// True time of completion at the best device.
    pub best_us: u64,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EventRecord {
    /// When.
    pub at_us: u64,
    /// What sort: `fault`, `heal`, `person`, `task`, `device`, `violation`.
    pub kind: String,
    /// Device it is about, if one.
    pub device: Option<usize>,
    /// In words.
    pub text: String,
}

/// Traffic in one interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Datagrams sent.
    pub sent: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Lost by chance, cuts or full queues.
    pub lost: u64,
}

/// An invariant and what was found. Written with its `verdict`, which follows from the rest.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct InvariantRecord {
    /// Its name.
    pub name: String,
    /// What it says.
    pub says: String,
    /// How often it was looked at: whenever it could have been found violated.
    pub checked: u64,
    /// Violations: at most the first few.
    pub violations: Vec<ViolationRecord>,
}

/// What a run says of an invariant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was looked at, and held each time.
    Held,
    /// It was found violated.
    Violated,
    /// Nothing came up that could have violated it: the run says nothing of it.
    NotLookedAt,
}

impl InvariantRecord {
    /// What the run says of it.
    pub fn verdict(&self) -> Verdict {
        match (self.violations.is_empty(), self.checked) {
            (false, _) => Verdict::Violated,
            (true, 0) => Verdict::NotLookedAt,
            (true, _) => Verdict::Held,
        }
    }
}

impl Serialize for InvariantRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut record = serializer.serialize_struct("InvariantRecord", 5)?;
        record.serialize_field("name", &self.name)?;
        record.serialize_field("says", &self.says)?;
        record.serialize_field("verdict", &self.verdict())?;
        record.serialize_field("checked", &self.checked)?;
        record.serialize_field("violations", &self.violations)?;
        record.end()
    }
}

/// A violation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ViolationRecord {
    /// When.
    pub at_us: u64,
    /// A readable counterexample.
    pub text: String,
}

/// Figures of the whole run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// From a device's start until it sees anybody by discovery, p50 and p99; the first one waits for the second.
    pub discovery_us: Spread,
    /// From a PIN's being shown to its being accepted with the other device in the circle, p50 and p99. Nobody takes time to
    /// read and type.
    #[serde(default)]
    pub pairing_us: Spread,
    /// From an undisturbed device's loss or return to its being held for offline or online, p50 and p99.
    pub presence_us: Spread,
    /// Hand-overs that somebody ordered: last step there to first step here.
    pub handover_us: Spread,
    /// Fail-overs: last step there to first step here.
    pub failover_us: Spread,
    /// Relative regret of placements against the exhaustive oracle, in permille.
    pub regret_permille: Spread,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Energy of all devices, in joules.
    pub energy_j: f64,
    /// Tasks by how they ended or stand.
    pub tasks: BTreeMap<String, u64>,
    /// Which faults the run met, and how often.
    pub faults: BTreeMap<String, u64>,
    /// Of each queue and table that `queues-bounded` looks at: how full it was at most on any device, when it was looked at.
    #[serde(default)]
    pub fullest: BTreeMap<String, Fullest>,
    /// Which places of the code said something, and how often (`crate::module:line`).
    pub paths: BTreeMap<String, u64>,
    /// Real seconds it took. Not part of what is equal for equal seeds.
    pub real_s: f64,
    /// Most memory that was resident, in bytes, of all that this process has done. Not part of it either.
    pub memory_bytes: u64,
}

/// How full something was that has a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Fullest {
    /// So many at most.
    pub held: u64,
    /// The limit.
    pub most: u64,
}

/// In microseconds.
pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// How a measure spreads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// Least.
    pub min: u64,
    /// Half are below.
    pub p50: u64,
    /// 99 of 100 are below.
    pub p99: u64,
    /// Most.
    pub max: u64,
}

impl Spread {
    /// Of these values (nearest rank).
    pub fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let rank = |permille: usize| {
            let at = (values.len() * permille).div_ceil(1000).max(1) - 1;
            values.get(at).copied().unwrap_or(0)
        };
        let (min, max) = (values.first().copied().unwrap_or(0), values.last().copied().unwrap_or(0));
        Self { count: values.len() as u64, min, p50: rank(500), p99: rank(990), max }
    }
}

impl TaskRecord {
    /// How long nobody took steps of these tasks at their fail-overs, or at their other moves.
    pub(crate) fn downtimes(tasks: &[Self], failover: bool) -> Spread {
        let moves = tasks.iter().flat_map(|task| &task.moves);
        let moves = moves.filter(|moved| (moved.reason == "failover") == failover);
        Spread::of(moves.map(|moved| moved.downtime_us).collect())
    }

    /// How many of them stand how.
    pub(crate) fn states(tasks: &[Self]) -> BTreeMap<String, u64> {
        let mut states: BTreeMap<String, u64> = BTreeMap::new();
        for task in tasks {
            *states.entry(task.state.clone()).or_default() += 1;
        }
        states
    }
}

impl MoveRecord {
    /// The moves that spans of steps on one device after the other make, with the reasons that `told` knows of an epoch.
    pub(crate) fn between(runs: &[RunSpan], told: impl Fn(u64) -> (&'static str, String)) -> Vec<Self> {
        let moves = runs.windows(2).filter(|pair| pair[0].on != pair[1].on);
        moves
            .map(|pair| {
                let (reason, why) = told(pair[1].epoch);
                Self {
                    at_us: pair[1].from_us,
                    from: pair[0].on,
                    to: pair[1].on,
                    downtime_us: pair[1].from_us.saturating_sub(pair[0].to_us),
                    bytes: None,
                    reason: reason.into(),
                    why,
                }
            })
            .collect()
    }
}

impl Record {
    /// The first violation, if there was any, with its invariant.
    pub fn first_violation(&self) -> Option<(&InvariantRecord, &ViolationRecord)> {
        let found = self
            .invariants
            .iter()
            .flat_map(|invariant| invariant.violations.iter().map(move |violation| (invariant, violation)));
        found.min_by_key(|(_, violation)| violation.at_us)
    }

    /// Virtual seconds per real second.
    pub fn speed(&self) -> f64 {
        self.duration_us as f64 / 1e6 / self.summary.real_s.max(1e-9)
    }

    /// Whether any invariant was violated.
    pub fn violated(&self) -> bool {
        self.count(Verdict::Violated) > 0
    }

    /// Of how many invariants it says this.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.invariants.iter().filter(|invariant| invariant.verdict() == verdict).count()
    }
}
