use serde::{Deserialize, Serialize};
use softbus_core::{Accelerator, AcceleratorKind, Capability, Privacy, ServiceName, Thermal};

use crate::{AcceleratorNeed, Candidate, Preferences, Presence, Reach, Trust, Weights, Work};

/// Why a device cannot take the work, with the numbers. Grows only at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The person excluded it, or named others.
    Excluded,
    /// The work must not leave the device it was given on.
    NotHome {
        /// The work's label.
        privacy: Privacy,
    },
    /// Not trusted enough for the work's privacy label.
    Trust {
        /// What the label asks for.
        needs: Trust,
        /// What the device is.
        has: Trust,
        /// The label.
        privacy: Privacy,
    },
    /// It does not answer, or sleeps.
    Absent {
        /// How it is.
        presence: Presence,
    },
    /// It is shutting down.
    Draining,
    /// Nothing, or nothing recent, is known about it.
    NoProfile,
    /// What is known of its present state is too old.
    Stale {
        /// So old.
        age_us: u64,
        /// The limit.
        limit_us: u64,
    },
    /// Its speed has not been measured.
    NoSpeed,
    /// Too little memory.
    Memory {
        /// Bytes that the work needs.
        needs: u64,
        /// Bytes that are free and not reserved, or all that tasks may use if that is less.
        has: u64,
    },
    /// A capability is missing.
    Capability {
        /// This one.
        missing: Capability,
    },
    /// No accelerator of this kind with that much memory.
    Accelerator {
        /// The kind.
        kind: AcceleratorKind,
        /// Memory that the work needs.
        needs: u64,
        /// Memory of the best one of this kind; `None` if there is none.
        has: Option<u64>,
    },
    /// A service is missing.
    Service {
        /// This one.
        missing: ServiceName,
    },
    /// It cannot run tasks of this type and state version.
    TaskType {
        /// `name/state-version`.
        missing: String,
    },
    /// The battery is too low for work of others.
    Battery {
        /// Charge, 0–1000.
        has: u16,
        /// What it would have to be.
        needs: u16,
    },
    /// It is too hot for more work.
    Thermal,
    /// It grants no more leases.
    LeasesFull {
        /// Pieces of work that others have reserved there.
        jobs: u32,
    },
    /// The link is slower than makes sense for the work.
    Slow {
        /// Measured rate in bytes per second.
        has: u64,
        /// What the work asks for.
        needs: u64,
    },
}

/// Every reason why `candidate` cannot take `work`; empty if it can. In fixed order, the gravest first.
///
/// For the device on which the work already runs, what the work itself takes does not count against it: free
/// memory, leases, a moment of silence, a charge just above the floor.
pub fn refusals(work: &Work, candidate: &Candidate, weights: &Weights, wishes: &Preferences) -> Vec<Refusal> {
    let mut listed = Vec::new();
    sift(work, candidate, weights, wishes, &mut |refusal| listed.push(refusal()));
    listed
}

/// Whether there is no reason why `candidate` cannot take `work`.
pub(crate) fn is_able(work: &Work, candidate: &Candidate, weights: &Weights, wishes: &Preferences) -> bool {
    let mut able = true;
    sift(work, candidate, weights, wishes, &mut |_| able = false);
    able
}

/// Hears of each reason, which is made for who wants to know it.
type Found<'a> = &'a mut dyn FnMut(&dyn Fn() -> Refusal);

fn sift(work: &Work, candidate: &Candidate, weights: &Weights, wishes: &Preferences, found: Found<'_>) {
    let runs_here = work.runs_on(&candidate.id).is_some();
    let home = is_home(work, candidate);

    let named = wishes.only.is_empty() || wishes.only.contains(&candidate.id);
    if !named || wishes.never.contains(&candidate.id) {
        found(&|| Refusal::Excluded);
    }
    trust(work, candidate, home, found);
    match candidate.presence {
        Presence::Online => {}
        Presence::Suspect if runs_here => {}
        presence => found(&|| Refusal::Absent { presence }),
    }
    if candidate.draining {
        found(&|| Refusal::Draining);
    }
    let Some(profile) = &candidate.profile else {
        found(&|| Refusal::NoProfile);
        return;
    };
    let fixed = &profile.fixed;

    for missing in work.needs.capabilities.iter().filter(|c| !fixed.capabilities.contains(c)) {
        found(&|| Refusal::Capability { missing: missing.clone() });
    }
    for need in &work.needs.accelerators {
        accelerator(need, &fixed.accelerators, fixed.memory_bytes, found);
    }
    for missing in &work.needs.services {
        if !fixed.services.iter().any(|offer| offer.service == *missing) {
            found(&|| Refusal::Service { missing: missing.clone() });
        }
    }
    if let Some(missing) = &work.needs.task_type
        && !fixed.task_types.contains(missing)
    {
        found(&|| Refusal::TaskType { missing: missing.clone() });
    }
    if let Reach::Link(link) = candidate.reach
        && link.rate_bytes_per_s > 0
        && link.rate_bytes_per_s < work.min_rate_bytes_per_s
    {
        found(&|| Refusal::Slow { has: link.rate_bytes_per_s, needs: work.min_rate_bytes_per_s });
    }
    if candidate.reserved.full && !runs_here {
        found(&|| Refusal::LeasesFull { jobs: candidate.reserved.jobs });
    }

    let Some(now) = &profile.now else {
        found(&|| Refusal::NoProfile);
        return;
    };
    if candidate.age_us > weights.stale_after_us && candidate.reach != Reach::Local {
        found(&|| Refusal::Stale { age_us: candidate.age_us, limit_us: weights.stale_after_us });
        return;
    }
    if now.rate_ops_per_s == 0 || fixed.cores == 0 {
        found(&|| Refusal::NoSpeed);
    }
    let unreserved = now.memory_free_bytes.saturating_sub(candidate.reserved.memory_bytes);
    let memory = if runs_here { fixed.memory_bytes } else { unreserved.min(fixed.memory_bytes) };
    if memory < work.memory_bytes {
        found(&|| Refusal::Memory { needs: work.memory_bytes, has: memory });
    }
    // The floor is the device's word about work of others; what its own person gave it, it does. Work that is
    // not yet there needs a little more than the floor, so that it is not sent on as soon as it arrives.
    if let Some(has) = crate::cost::battery_in_use(candidate)
        && !home
        && fixed.battery_floor_permille > 0
    {
        let margin = if runs_here { 0 } else { weights.battery_margin_permille };
        let needs = fixed.battery_floor_permille.saturating_add(margin).min(1000);
        if has < needs {
            found(&|| Refusal::Battery { has, needs });
        }
    }
    if now.thermal == Thermal::Critical {
        found(&|| Refusal::Thermal);
    }
}

/// Whether the work was given on this device.
pub(crate) fn is_home(work: &Work, candidate: &Candidate) -> bool {
    work.home.map_or(candidate.reach == Reach::Local, |home| home == candidate.id)
}

fn trust(work: &Work, candidate: &Candidate, home: bool, found: Found<'_>) {
    if home {
        return; // The data is there already.
    }
    let needs = match work.privacy {
        Privacy::Owners => Trust::Owner,
        Privacy::Circle => Trust::Member,
        Privacy::Anyone => Trust::Guest,
        Privacy::Device => return found(&|| Refusal::NotHome { privacy: work.privacy }),
    };
    if !work.may_be_foreign {
        found(&|| Refusal::NotHome { privacy: work.privacy });
    }
    if candidate.trust < needs {
        found(&|| Refusal::Trust { needs, has: candidate.trust, privacy: work.privacy });
    }
}

fn accelerator(need: &AcceleratorNeed, present: &[Accelerator], shared_bytes: u64, found: Found<'_>) {
    let memory = |a: &Accelerator| if a.memory_bytes == 0 { shared_bytes } else { a.memory_bytes };
    let has = present.iter().filter(|a| a.kind == need.kind).map(memory).max();
    if has.is_none_or(|bytes| bytes < need.memory_bytes) {
        found(&|| Refusal::Accelerator { kind: need.kind, needs: need.memory_bytes, has });
    }
}
