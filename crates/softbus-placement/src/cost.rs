//! The model: what a device would take for a piece of work, term by term.

use serde::{Deserialize, Serialize};
use softbus_core::{Latency, PowerSource, Thermal};

use crate::filter::is_home;
use crate::{Candidate, Link, Preferences, Reach, Weights, Work};

/// No term grows past this (some 36 000 years), so that sums of terms stay exact.
pub(crate) const NEVER_US: u64 = 1 << 60;

/// What the work would take on one device, in microseconds. The first four are predicted time; the others are
/// costs expressed as time, so that they can be weighed against it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Terms {
    /// Delay because the device has other work, too.
    pub queue_us: u64,
    /// Until the input (or, for a move, the state) is there.
    pub transfer_in_us: u64,
    /// Computing, with the cores that are free.
    pub compute_us: u64,
    /// Until the result is back.
    pub transfer_out_us: u64,
    /// Charge for the distance between the person and the device; interactive work only.
    pub latency_us: u64,
    /// Charge for using a battery.
    pub energy_us: u64,
    /// Charge for the pause of a running task that moves.
    pub move_us: u64,
    /// What the person's preference adds, or takes off.
    pub preference_us: i64,
}

impl Terms {
    /// Predicted time from now until the result is there.
    pub fn time_us(&self) -> u64 {
        self.queue_us
            .saturating_add(self.transfer_in_us)
            .saturating_add(self.compute_us)
            .saturating_add(self.transfer_out_us)
    }

    /// What decides: the smaller, the better.
    pub fn total_us(&self) -> u64 {
        self.time_us()
            .saturating_add(self.latency_us)
            .saturating_add(self.energy_us)
            .saturating_add(self.move_us)
            .saturating_add_signed(self.preference_us)
    }
}

/// Predicts what `candidate` would take for `work`. `home` is the link to the device where the result is
/// wanted, `None` if that is the deciding device or unknown. Needs a profile that passed the filters; without one
/// every term is as bad as can be.
///
/// * Cores: those the load leaves, at least a fair share of them; speed falls with heat.
/// * Other work on the device is taken to share it: `n` other pieces of average size `q` beside ours on fewer
///   cores slow us by the missing share for as long as they last (or we do, if that is shorter).
/// * A transfer between two devices neither of which decides goes at the slower of our two links to them.
pub fn predict(
    work: &Work,
    candidate: &Candidate,
    home: Option<&Link>,
    weights: &Weights,
    wishes: &Preferences,
) -> Terms {
    let Some(engine) = Engine::of(work, candidate, weights) else {
        return Terms {
            queue_us: NEVER_US,
            transfer_in_us: NEVER_US,
            compute_us: NEVER_US,
            transfer_out_us: NEVER_US,
            ..Terms::default()
        };
    };
    let mut terms =
        Terms { compute_us: engine.compute_us(work), queue_us: engine.queue_us(work), ..Terms::default() };
    let at_home = is_home(work, candidate);
    let path_home = path(&candidate.reach, home, weights);

    if let Some(running) = &work.running {
        if running.on != candidate.id {
            // The state is with the running device, which as a rule is the one that decides.
            let from_running = path(&candidate.reach, None, weights);
            let bytes = if work.held_by.contains(&candidate.id) { 0 } else { work.state_bytes };
            terms.transfer_in_us = from_running.transfer_us(bytes);
            let pause = u64::from(weights.move_round_trips).saturating_mul(from_running.round_trip_us);
            terms.move_us = capped(u128::from(weights.move_us.saturating_add(pause)));
        }
    } else if !at_home && !work.held_by.contains(&candidate.id) {
        terms.transfer_in_us = path_home.transfer_us(work.input_bytes);
    }
    if !at_home {
        terms.transfer_out_us = path_home.transfer_us(work.output_bytes);
        if work.latency == Latency::Interactive {
            let trips = u128::from(weights.interactive_round_trips);
            terms.latency_us = capped(trips * u128::from(path_home.round_trip_us));
        }
    }
    terms.energy_us = energy_us(work, candidate, terms.compute_us, weights);

    let time = i128::from(terms.time_us());
    let share = if wishes.avoid.contains(&candidate.id) {
        i128::from(weights.avoid_permille)
    } else if wishes.prefer.contains(&candidate.id) {
        -i128::from(weights.prefer_permille.min(1000))
    } else {
        0
    };
    let limit = i128::from(NEVER_US);
    terms.preference_us = i64::try_from((time * share / 1000).clamp(-limit, limit)).unwrap_or(0);
    terms
}

/// What a device's processor offers to one piece of work.
pub(crate) struct Engine {
    /// Cores there are.
    pub cores: u64,
    /// Thousandths of cores that are free for tasks.
    pub free_mcores: u64,
    /// Speed that heat leaves, in thousandths.
    pub heat_permille: u64,
    /// Of one core with that heat, in reference operations.
    pub rate_ops_per_s: u64,
    /// Other pieces of work, and what is left of them.
    jobs: u64,
    queued_ops: u64,
}

impl Engine {
    pub(crate) fn of(work: &Work, candidate: &Candidate, weights: &Weights) -> Option<Self> {
        let profile = candidate.profile.as_ref()?;
        let now = profile.now.as_ref()?;
        let cores = u64::from(profile.fixed.cores.max(1));
        let own = work.runs_on(&candidate.id);
        let load = now.load_permille.min(1000).saturating_sub(own.map_or(0, |own| own.own_load_permille));
        let share = u64::from((1000 - load).max(weights.least_share_permille).clamp(1, 1000));
        let heat = match now.thermal {
            Thermal::Nominal => 1000,
            Thermal::Fair => weights.thermal_fair_permille,
            Thermal::Serious | Thermal::Critical => weights.thermal_serious_permille,
        };
        let heat_permille = u64::from(heat.clamp(1, 1000));
        let rate = u128::from(now.rate_ops_per_s) * u128::from(heat_permille) / 1000;
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        let own_job = u64::from(own.is_some_and(|own| own.own_counted));
        let own_ops = own.map_or(0, |own| own.own_queued_ops);
        let queued_ops = now.queued_ops.saturating_sub(own_ops).saturating_add(candidate.reserved.ops);
        let jobs = u64::from(now.running_tasks)
            .saturating_sub(own_job)
            .saturating_add(u64::from(candidate.reserved.jobs));
        Some(Self {
            cores,
            free_mcores: cores.saturating_mul(share),
            heat_permille,
            rate_ops_per_s: rate.max(1),
            // Work that is queued but not running is at least one piece.
            jobs: jobs.max(u64::from(queued_ops > 0)),
            queued_ops,
        })
    }

    /// Thousandths of cores that the work can use.
    pub(crate) fn used_mcores(&self, work: &Work) -> u64 {
        self.free_mcores.min(u64::from(work.parallelism.max(1)).saturating_mul(1000)).max(1)
    }

    fn compute_us(&self, work: &Work) -> u64 {
        let cores = u128::from(self.used_mcores(work));
        let serial = u128::from(work.serial_permille.min(1000));
        // Serial and divided parts of one operation's time, in millionths of that on one whole core.
        let share = serial * 1_000_000 / cores.min(1000) + (1000 - serial) * 1_000_000 / cores;
        let one_core = u128::from(work.ops) * 1_000_000 / u128::from(self.rate_ops_per_s);
        capped(one_core.saturating_mul(share) / 1_000_000)
    }

    fn queue_us(&self, work: &Work) -> u64 {
        if self.jobs == 0 {
            return 0;
        }
        let used = u128::from(self.used_mcores(work));
        let free = u128::from(self.free_mcores);
        // Cores wanted by all beyond those there are, over those there are.
        let wanted = u128::from(self.jobs) * 1000 + used;
        let missing = wanted.saturating_sub(free);
        let average_ops = u128::from(self.queued_ops / self.jobs);
        let average_us = match self.queued_ops {
            0 => u128::MAX, // Pieces of unknown size are taken to outlast ours.
            _ => average_ops * 1_000_000 / u128::from(self.rate_ops_per_s),
        };
        let shared_us = average_us.min(u128::from(self.compute_us(work)));
        capped(shared_us.saturating_mul(missing) / free)
    }
}

/// A way for bytes.
struct Path {
    round_trip_us: u64,
    rate_bytes_per_s: u64,
    local: bool,
}

impl Path {
    fn transfer_us(&self, bytes: u64) -> u64 {
        if self.local || bytes == 0 {
            return 0;
        }
        let flow = u128::from(bytes) * 1_000_000 / u128::from(self.rate_bytes_per_s.max(1));
        capped(flow + u128::from(self.round_trip_us))
    }
}

/// The way from the candidate to us and, if the other end is not us, on to it.
fn path(reach: &Reach, beyond: Option<&Link>, weights: &Weights) -> Path {
    let mut path = Path { round_trip_us: 0, rate_bytes_per_s: u64::MAX, local: true };
    let near = match reach {
        Reach::Local => None,
        Reach::Link(link) => Some(link),
    };
    for link in near.into_iter().chain(beyond) {
        let kept = u64::from(1000 - link.loss_permille.min(900));
        let rtt = if link.rtt_us == 0 { weights.assumed_rtt_us } else { link.rtt_us };
        // A measured rate has the losses in it; an assumed one has not. Lost round trips are made again.
        let rate = match link.rate_bytes_per_s {
            0 => (weights.assumed_rate_bytes_per_s / 1000).saturating_mul(kept),
            rate => rate,
        };
        let rtt = u64::try_from(u128::from(rtt) * 1000 / u128::from(kept)).unwrap_or(u64::MAX);
        path.round_trip_us = path.round_trip_us.saturating_add(rtt);
        path.rate_bytes_per_s = path.rate_bytes_per_s.min(rate);
        path.local = false;
    }
    path
}

fn energy_us(work: &Work, candidate: &Candidate, compute_us: u64, weights: &Weights) -> u64 {
    let Some(charge) = battery_in_use(candidate) else {
        return 0;
    };
    let missing = u128::from(1000 - charge.min(1000));
    let permille = u128::from(weights.energy_full_permille)
        + u128::from(weights.energy_empty_permille) * missing * missing / 1_000_000;
    // Who waits for an answer would rather spend charge than time; work in the background the other way round.
    let (times, over) = match work.latency {
        Latency::Background => (2, 1),
        Latency::Normal => (1, 1),
        Latency::Interactive => (1, 2),
    };
    capped(u128::from(compute_us) * permille * times / over / 1000)
}

/// Charge of the battery that the candidate runs on; `None` on mains or without one.
pub(crate) fn battery_in_use(candidate: &Candidate) -> Option<u16> {
    let now = candidate.profile.as_ref()?.now.as_ref()?;
    now.battery_permille.filter(|_| now.power != PowerSource::Mains)
}

fn capped(us: u128) -> u64 {
    u64::try_from(us).map_or(NEVER_US, |us| us.min(NEVER_US))
}
