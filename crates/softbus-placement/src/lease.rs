//! Reservations: the side that grants them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use softbus_core::{BootMs, DeviceId, TaskId};

use crate::Reserved;

/// Names a lease on the device that granted it, for one boot of that device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct LeaseId(pub u64);

impl LeaseId {
    /// Beyond every lease.
    pub const ALL: LeaseId = LeaseId(u64::MAX);
}

/// How much a device promises at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseLimits {
    /// Most leases at once.
    pub jobs: u32,
    /// Most leases of one holder at once.
    pub jobs_per_holder: u32,
    /// Most memory promised at once, in bytes.
    pub memory_bytes: u64,
    /// Most work promised at once, in reference operations.
    pub ops: u64,
    /// Longest time for which a lease is granted or renewed. A lease bridges the gap between a decision and the
    /// start of the work, which then counts in the profile; so it is short.
    pub longest: Duration,
}

impl Default for LeaseLimits {
    fn default() -> Self {
        Self {
            jobs: 16,
            jobs_per_holder: 8,
            memory_bytes: u64::MAX,
            ops: u64::MAX,
            longest: Duration::from_secs(30),
        }
    }
}

/// Asks a device to keep room for a piece of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// Which work. A holder has one lease for each; asking again puts a new one in the place of the old.
    pub task: TaskId,
    /// Its size in reference operations.
    pub ops: u64,
    /// Its memory.
    pub memory_bytes: u64,
    /// For how long.
    pub wish_ms: u64,
    /// The last lease of the device that the asker has taken into account; [`LeaseId::ALL`] if that does not matter.
    pub seen: LeaseId,
}

/// A promise to keep room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// To whom it was made.
    pub holder: DeviceId,
    /// For which work.
    pub task: TaskId,
    /// Of this size.
    pub ops: u64,
    /// With this memory.
    pub memory_bytes: u64,
    /// It no longer counts from here on, by the granting device's clock.
    pub until: BootMs,
}

/// What a holder is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// The lease.
    pub id: LeaseId,
    /// It ends so long after the grant (clocks of two devices do not compare).
    pub for_ms: u64,
}

/// Why no lease was granted or renewed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum LeaseError {
    /// As many leases as the device grants.
    #[error("{jobs} leases are out, which is all this device grants: try another, or again in {retry_ms} ms")]
    Full {
        /// Leases that are out.
        jobs: u32,
        /// The next one ends in so long, if it is not renewed.
        retry_ms: u64,
    },
    /// As many leases as one holder may have.
    #[error("you hold {jobs} leases here, which is all one device may: use or release one first")]
    HolderFull {
        /// Leases of this holder.
        jobs: u32,
    },
    /// The memory is promised to others.
    #[error("{free} of the {needs} bytes of memory are not promised to others: try another device")]
    Memory {
        /// Bytes asked for.
        needs: u64,
        /// Bytes that could be promised.
        free: u64,
    },
    /// The time is promised to others.
    #[error("{promised} operations are promised already: try another device")]
    Busy {
        /// Operations promised.
        promised: u64,
    },
    /// The device is shutting down.
    #[error("the device is shutting down: try another")]
    Draining,
    /// The asker does not know of leases that were granted meanwhile, and might choose another device if it did.
    #[error("leases were granted up to number {last} meanwhile: look at the device again")]
    Outdated {
        /// The last one.
        last: u64,
    },
    /// There is no such lease (any more), or it is another's.
    #[error("you hold no such lease here (it may have expired): ask for a new one")]
    Unknown,
}

/// The leases that this device has granted, so that two clients do not both count on the same idle TV.
///
/// Every method takes `now` and first forgets what has expired. The work of a lease, once it has started, counts
/// in the device's profile instead: [`release`](Self::release) the lease then.
#[derive(Clone, Debug)]
pub struct Leases {
    limits: LeaseLimits,
    granted: BTreeMap<LeaseId, Lease>,
    last: u64,
    draining: bool,
}

impl Leases {
    /// None granted.
    pub fn new(limits: LeaseLimits) -> Self {
        Self { limits, granted: BTreeMap::new(), last: 0, draining: false }
    }

    /// Grants no more, and renews none, from now on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Asks for a lease. `free_bytes` is the device's free memory now, of which what is promised is taken off.
    ///
    /// # Errors
    /// [`LeaseError`] if the device cannot promise that much.
    pub fn request(
        &mut self,
        request: &LeaseRequest,
        holder: DeviceId,
        free_bytes: u64,
        now: BootMs,
    ) -> Result<Grant, LeaseError> {
        self.expire(now);
        if self.draining {
            return Err(LeaseError::Draining);
        }
        let earlier =
            self.granted.values().find(|l| l.holder == holder && l.task == request.task).map(|l| l.id);
        let others = self.granted.values().filter(|lease| Some(lease.id) != earlier);
        let (mut jobs, mut of_holder, mut memory, mut ops) = (0u32, 0u32, 0u64, 0u64);
        let mut first_end = BootMs(u64::MAX);
        for lease in others {
            jobs = jobs.saturating_add(1);
            of_holder = of_holder.saturating_add(u32::from(lease.holder == holder));
            memory = memory.saturating_add(lease.memory_bytes);
            ops = ops.saturating_add(lease.ops);
            first_end = first_end.min(lease.until);
        }
        if jobs >= self.limits.jobs {
            return Err(LeaseError::Full { jobs, retry_ms: first_end.0.saturating_sub(now.0) });
        }
        if of_holder >= self.limits.jobs_per_holder {
            return Err(LeaseError::HolderFull { jobs: of_holder });
        }
        let free = self.limits.memory_bytes.min(free_bytes).saturating_sub(memory);
        if request.memory_bytes > free {
            return Err(LeaseError::Memory { needs: request.memory_bytes, free });
        }
        if ops.saturating_add(request.ops) > self.limits.ops {
            return Err(LeaseError::Busy { promised: ops });
        }
        if earlier.is_none() && self.last > request.seen.0 {
            return Err(LeaseError::Outdated { last: self.last });
        }

        if let Some(earlier) = earlier {
            self.granted.remove(&earlier);
        }
        self.last = self.last.saturating_add(1);
        let id = LeaseId(self.last);
        let (until, for_ms) = self.end(now, request.wish_ms);
        let lease = Lease {
            id,
            holder,
            task: request.task,
            ops: request.ops,
            memory_bytes: request.memory_bytes,
            until,
        };
        self.granted.insert(id, lease);
        Ok(Grant { id, for_ms })
    }

    /// Makes a lease last longer.
    ///
    /// # Errors
    /// [`LeaseError::Unknown`] if `holder` has no such lease, [`LeaseError::Draining`] at shutdown.
    pub fn renew(
        &mut self,
        id: LeaseId,
        holder: DeviceId,
        wish_ms: u64,
        now: BootMs,
    ) -> Result<Grant, LeaseError> {
        self.expire(now);
        if self.draining {
            return Err(LeaseError::Draining);
        }
        let (until, for_ms) = self.end(now, wish_ms);
        let lease =
            self.granted.get_mut(&id).filter(|lease| lease.holder == holder).ok_or(LeaseError::Unknown)?;
        lease.until = lease.until.max(until);
        Ok(Grant { id, for_ms: for_ms.max(lease.until.0.saturating_sub(now.0)) })
    }

    /// Gives a lease back, or ends it because its work has started.
    ///
    /// # Errors
    /// [`LeaseError::Unknown`] if `holder` has no such lease.
    pub fn release(&mut self, id: LeaseId, holder: DeviceId, now: BootMs) -> Result<Lease, LeaseError> {
        self.expire(now);
        match self.granted.get(&id) {
            Some(lease) if lease.holder == holder => self.granted.remove(&id).ok_or(LeaseError::Unknown),
            _ => Err(LeaseError::Unknown),
        }
    }

    /// Ends the lease for `task`, whoever holds it: the work has started, or will not come.
    pub fn release_task(&mut self, task: TaskId, now: BootMs) {
        self.expire(now);
        self.granted.retain(|_, lease| lease.task != task);
    }

    /// Ends every lease of a holder that is no longer trusted or reachable.
    pub fn release_holder(&mut self, holder: DeviceId, now: BootMs) {
        self.expire(now);
        self.granted.retain(|_, lease| lease.holder != holder);
    }

    /// Forgets what has expired, and tells what that was.
    pub fn expire(&mut self, now: BootMs) -> Vec<Lease> {
        let ended: Vec<Lease> = self.granted.values().filter(|lease| lease.until <= now).copied().collect();
        for lease in &ended {
            self.granted.remove(&lease.id);
        }
        ended
    }

    /// When the next lease ends, if none is renewed: the time to call [`expire`](Self::expire).
    pub fn next_end(&self) -> Option<BootMs> {
        self.granted.values().map(|lease| lease.until).min()
    }

    /// The number of the last lease granted; 0 if there was none.
    pub fn last(&self) -> LeaseId {
        LeaseId(self.last)
    }

    /// What is reserved, as it counts for a piece of work: everything but its own lease. For nobody's in particular,
    /// everything.
    pub fn reserved_beside(&self, own: Option<(DeviceId, TaskId)>, now: BootMs) -> Reserved {
        let live = self.granted.values().filter(|lease| lease.until > now);
        let all = u32::try_from(live.clone().count()).unwrap_or(u32::MAX);
        let mut reserved = Reserved { full: self.draining || all >= self.limits.jobs, ..Reserved::default() };
        for lease in live.filter(|lease| Some((lease.holder, lease.task)) != own) {
            reserved.jobs = reserved.jobs.saturating_add(1);
            reserved.ops = reserved.ops.saturating_add(lease.ops);
            reserved.memory_bytes = reserved.memory_bytes.saturating_add(lease.memory_bytes);
        }
        reserved
    }

    /// The leases that are out, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.granted.values()
    }

    fn end(&self, now: BootMs, wish_ms: u64) -> (BootMs, u64) {
        let longest = u64::try_from(self.limits.longest.as_millis()).unwrap_or(u64::MAX);
        let for_ms = wish_ms.clamp(1, longest.max(1));
        (now.after(Duration::from_millis(for_ms)), for_ms)
    }
}
