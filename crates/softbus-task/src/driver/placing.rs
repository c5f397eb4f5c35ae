//! From the roster to placement and back: who may run a task, who keeps its checkpoints.

use std::collections::BTreeMap;
use std::time::Duration;

use softbus_core::wire::task_control::TaskSpec;
use softbus_core::{CircleId, DeviceId, TaskId};
use softbus_net::Presence;
use softbus_placement::{
    Action, Candidate, Decision, Known, LeaseId, Link, Needs, Preferences, Reach, Reserved, Running, Trust,
    Verdict, Work, place, rank,
};
use softbus_roster::{RosterEntry, RosterView};
use softbus_trust::Role;
use tokio::time::Instant;

use super::Inner;
use super::access::OpenGrant;

/// The devices that did not promise room for a piece of work, for reasons that their profiles do not tell.
#[derive(Default)]
pub(crate) struct Refusals(BTreeMap<(DeviceId, TaskId), Instant>);

/// For how long a device that granted no lease is not asked again for the same work.
const REFUSED_FOR: Duration = Duration::from_secs(2);

impl Refusals {
    pub fn note(&mut self, device: DeviceId, task: TaskId, now: Instant) {
        self.0.retain(|_, until| *until > now);
        self.0.insert((device, task), now + REFUSED_FOR);
    }

    pub fn stands(&self, device: DeviceId, task: TaskId, now: Instant) -> bool {
        self.0.get(&(device, task)).is_some_and(|until| *until > now)
    }
}

/// Every device of the roster as a candidate for a task of this circle.
pub(crate) fn candidates(
    inner: &Inner,
    view: &RosterView,
    task: TaskId,
    circle: Option<CircleId>,
) -> Vec<Candidate> {
    let now = Instant::now();
    let entries = view.entries.values();
    entries
        .map(|entry| {
            let me = entry.id == view.me;
            let role = inner.role_in(circle, &entry.id);
            let told = entry.now.as_ref().map(|now| &now.profile.promised);
            let mut reserved = inner.reserved(entry.id, task, told);
            reserved.full |= !me && inner.refused(entry.id, task, now);
            candidate(entry, me, role, reserved, inner.is_draining() && me, now)
        })
        .collect()
}

/// The last promise of a device that its candidate takes into account.
pub(crate) fn seen(inner: &Inner, view: &RosterView, device: DeviceId) -> LeaseId {
    let now = view.get(&device).and_then(|entry| entry.now.as_ref());
    inner.seen(device, now.map(|now| &now.profile.promised))
}

/// A device of the roster as a candidate. `me`: it is the deciding device; `reserved`: what is promised there to others.
pub fn candidate(
    entry: &RosterEntry,
    me: bool,
    role: Option<Role>,
    reserved: Reserved,
    draining: bool,
    now: Instant,
) -> Candidate {
    let age = entry.now.as_ref().map_or(Duration::MAX, |sampled| sampled.age(now));
    let reach = match (&entry.link, me) {
        (_, true) => Reach::Local,
        (Some(link), false) => Reach::Link(Link {
            rtt_us: micros(link.rtt),
            rate_bytes_per_s: link.rate_bytes_per_s,
            loss_permille: link.loss_permille,
        }),
        (None, false) => Reach::Link(Link::default()),
    };
    Candidate {
        id: entry.id,
        profile: known(entry),
        trust: match role {
            Some(Role::Owner) => Trust::Owner,
            Some(Role::Member) => Trust::Member,
            Some(Role::Guest) | None => Trust::Guest,
        },
        presence: if me { softbus_placement::Presence::Online } else { presence(entry.presence) },
        age_us: if me { 0 } else { micros(age) },
        reach,
        reserved,
        draining,
    }
}

/// What a roster knows of a device, once its static profile is heard.
fn known(entry: &RosterEntry) -> Option<Known> {
    let fixed = entry.profile.clone()?;
    Some(Known { fixed, now: entry.now.as_ref().map(|now| now.profile.clone()) })
}

fn presence(presence: Presence) -> softbus_placement::Presence {
    match presence {
        Presence::Online => softbus_placement::Presence::Online,
        Presence::Suspect => softbus_placement::Presence::Suspect,
        Presence::Asleep => softbus_placement::Presence::Asleep,
        Presence::Offline => softbus_placement::Presence::Offline,
    }
}

/// A task as a piece of work. `label` is the type and state version that its device must know now.
pub(crate) fn work(
    grant: &OpenGrant,
    label: &str,
    left_ops: u64,
    state_bytes: u64,
    held_by: Vec<DeviceId>,
) -> Work {
    let spec = &grant.grant.spec;
    Work {
        home: Some(grant.submitter()),
        ops: left_ops,
        parallelism: spec.cores.max(1),
        memory_bytes: spec.memory_bytes.max(state_bytes),
        input_bytes: state_bytes,
        output_bytes: spec.output_bytes,
        state_bytes,
        privacy: spec.qos.privacy,
        latency: spec.qos.latency,
        min_rate_bytes_per_s: spec.qos.min_rate_bytes_per_s,
        needs: Needs {
            capabilities: spec.capabilities.clone(),
            accelerators: spec.accelerators.clone(),
            services: spec.needs.clone(),
            task_type: (!label.is_empty()).then(|| label.to_owned()),
        },
        held_by,
        ..Work::default()
    }
}

/// As [`work`], running on this device since `stayed`.
pub(crate) fn running(mut work: Work, on: DeviceId, stayed: Duration) -> Work {
    work.running = Some(Running::counted(on, micros(stayed), work.ops));
    work
}

/// Asks placement.
pub(crate) fn decide(inner: &Inner, spec: &TaskSpec, work: &Work, candidates: &[Candidate]) -> Decision {
    place(work, candidates, &inner.config.weights, &wishes(inner, spec))
}

/// As [`decide`], without the reasons: what to do, and who can take it, best first.
pub(crate) fn ranked(
    inner: &Inner,
    spec: &TaskSpec,
    work: &Work,
    candidates: &[Candidate],
) -> (Action, Vec<DeviceId>) {
    rank(work, candidates, &inner.config.weights, &wishes(inner, spec))
}

fn wishes(inner: &Inner, spec: &TaskSpec) -> Preferences {
    let mut wishes = Preferences { only: spec.only.clone(), ..inner.config.wishes.clone() };
    wishes.never.extend(&spec.never);
    wishes
}

/// What is left to do of `ops` estimated operations, of the reference kernel; a guess if there is no estimate.
pub fn left_ops(ops: u64, ops_done: u64, permille: u16) -> u64 {
    let permille = u64::from(permille.min(1000));
    if ops > 0 {
        // Progress is the task's own word; the operations were an estimate.
        return u64::try_from(u128::from(ops) * u128::from(1000 - permille) / 1000).unwrap_or(u64::MAX);
    }
    match permille {
        0 => ops_done,
        done => u64::try_from(u128::from(ops_done) * u128::from(1000 - done) / u128::from(done))
            .unwrap_or(u64::MAX),
    }
}

/// The devices that can take the work, best first.
pub fn able(decision: &Decision) -> Vec<DeviceId> {
    let rows = decision.explanation.rows.iter();
    rows.filter(|row| !matches!(row.verdict, Verdict::Refused(_))).map(|row| row.id).collect()
}

/// The devices that shall keep the task's checkpoints beside `runner`: first those that could run it at once, then
/// those that may run it, know its type and are in reach. Fewer than `count` if there are no more.
pub(crate) fn holders(
    inner: &Inner,
    grant: &OpenGrant,
    decision: &Decision,
    candidates: &[Candidate],
    runner: DeviceId,
    count: usize,
) -> Vec<DeviceId> {
    let mut chosen: Vec<DeviceId> = able(decision).into_iter().filter(|id| *id != runner).collect();
    let label = &grant.grant.spec.kind;
    for candidate in candidates {
        let reached = candidate.presence == softbus_placement::Presence::Online && !candidate.draining;
        let typed = candidate.profile.as_ref().is_some_and(|p| p.fixed.task_types.contains(label));
        let may = grant.may_run(&candidate.id, inner.role(grant, &candidate.id));
        if reached && typed && may && candidate.id != runner && !chosen.contains(&candidate.id) {
            chosen.push(candidate.id);
        }
    }
    chosen.truncate(count);
    chosen
}

pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
