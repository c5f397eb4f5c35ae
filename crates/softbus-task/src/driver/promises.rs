//! Promises of room, on both sides: those made here, of which the roster tells everybody, and those that other devices
//! made to us, which their profiles may not show yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use softbus_core::wire::task_control::{Reply, Request};
use softbus_core::{BootMs, DeviceId, Promised, TaskId};
use softbus_net::Presence;
use softbus_placement::{LeaseError, LeaseId, LeaseRequest, Leases, Reserved};
use tokio::time::{Instant, sleep, timeout};

use super::access::OpenGrant;
use super::{Inner, placing};
use crate::{TaskError, limits};

/// A piece of work that wants room.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub task: TaskId,
    pub ops: u64,
    pub memory_bytes: u64,
    /// The type and state version that must be known there.
    pub kind: String,
}

/// What a device says that is asked for room.
pub(crate) enum Answer {
    Promised(Promise),
    /// It has promised room to others of which we do not know: its profile is to be looked at again.
    Outdated,
}

/// Room promised to us. Given back when dropped, unless the work goes there.
pub(crate) struct Promise {
    inner: Arc<Inner>,
    device: DeviceId,
    task: TaskId,
    lease: LeaseId,
    used: bool,
}

impl Promise {
    /// The work goes there: its device ends the lease when it begins.
    pub fn used(mut self) {
        self.used = true;
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if !self.used {
            self.inner.give_back(self.device, self.task, self.lease);
        }
    }
}

/// The promises made to us.
#[derive(Default)]
pub struct Book(BTreeMap<(DeviceId, TaskId), Held>);

/// A promise made to us.
pub struct Held {
    /// Its name there.
    pub lease: LeaseId,
    /// Operations of the work that it is for.
    pub ops: u64,
    /// Its memory.
    pub memory_bytes: u64,
    /// It was given when all earlier promises of the device were known here.
    pub informed: bool,
    /// It counts no longer from here on.
    pub until: Instant,
}

impl Book {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// A device promised room for a task.
    pub fn note(&mut self, device: DeviceId, task: TaskId, held: Held, now: Instant) {
        self.0.retain(|_, held| held.until > now);
        while self.0.len() >= limits::PROMISES {
            let Some(first) = self.0.iter().min_by_key(|(_, held)| held.until).map(|(key, _)| *key) else {
                break;
            };
            self.0.remove(&first);
        }
        self.0.insert((device, task), held);
    }

    /// The promise is given back.
    pub fn forget(&mut self, device: DeviceId, task: TaskId, lease: LeaseId) {
        if self.0.get(&(device, task)).is_some_and(|held| held.lease == lease) {
            self.0.remove(&(device, task));
        }
    }

    fn of(&self, device: DeviceId, now: Instant) -> impl Iterator<Item = (&TaskId, &Held)> {
        let of_device = self.0.iter().filter(move |((at, _), held)| *at == device && held.until > now);
        of_device.map(|((_, task), held)| (task, held))
    }

    /// What counts as reserved at `device` for `task`: what it told, with our own later promises and without that
    /// for this very task.
    pub fn reserved(&self, device: DeviceId, task: TaskId, told: &Promised, now: Instant) -> Reserved {
        let mut reserved = reserved(told);
        for (of, held) in self.of(device, now) {
            let counted = held.lease.0 <= told.last;
            if *of == task && counted {
                reserved.jobs = reserved.jobs.saturating_sub(1);
                reserved.ops = reserved.ops.saturating_sub(held.ops);
                reserved.memory_bytes = reserved.memory_bytes.saturating_sub(held.memory_bytes);
            } else if *of != task && !counted {
                reserved.jobs = reserved.jobs.saturating_add(1);
                reserved.ops = reserved.ops.saturating_add(held.ops);
                reserved.memory_bytes = reserved.memory_bytes.saturating_add(held.memory_bytes);
            }
        }
        reserved
    }

    /// The last promise of `device` that is known here.
    pub fn seen(&self, device: DeviceId, told: &Promised, now: Instant) -> LeaseId {
        let own = self.of(device, now).filter(|(_, held)| held.informed).map(|(_, held)| held.lease).max();
        own.unwrap_or_default().max(LeaseId(told.last))
    }
}

fn reserved(told: &Promised) -> Reserved {
    Reserved { jobs: told.jobs.into(), ops: told.ops, memory_bytes: told.memory_bytes, full: told.full }
}

impl Inner {
    /// Does something with the promises made here, then tells the roster how they are.
    pub fn with_leases<T>(&self, act: impl FnOnce(&mut Leases, BootMs) -> T) -> T {
        let now = self.seam.clock.boot();
        let mut leases = self.leases();
        let done = act(&mut leases, now);
        let all = leases.reserved_beside(None, now);
        self.roster.set_promised(Promised {
            jobs: u16::try_from(all.jobs).unwrap_or(u16::MAX),
            ops: all.ops,
            memory_bytes: all.memory_bytes,
            full: all.full,
            last: leases.last().0,
        });
        self.leases_changed.notify_one();
        done
    }

    /// Ends promises when their time is over, until this run of the program ends.
    pub async fn mind_leases(self: Arc<Self>) {
        let mut closing = self.closing.subscribe();
        // It may have been closed before this got its first turn.
        while !*closing.borrow_and_update() {
            let end = self.leases().next_end();
            let left = end.map(|end| Duration::from_millis(end.0.saturating_sub(self.seam.clock.boot().0)));
            tokio::select! {
                biased;
                _ = closing.changed() => return,
                () = self.leases_changed.notified() => {}
                // The two clocks may differ a little: not sooner than in a moment.
                () = sleep(left.unwrap_or_default().max(Duration::from_millis(10))), if left.is_some() => {
                    self.with_leases(|leases, now| leases.expire(now));
                }
            }
        }
    }

    /// What is reserved at a device, as it counts for a piece of work.
    pub fn reserved(&self, device: DeviceId, task: TaskId, told: Option<&Promised>) -> Reserved {
        if device == self.me {
            return self.leases().reserved_beside(Some((self.me, task)), self.seam.clock.boot());
        }
        self.promises().reserved(device, task, told.unwrap_or(&Promised::default()), Instant::now())
    }

    /// The last promise of a device that [`Inner::reserved`] takes into account.
    pub fn seen(&self, device: DeviceId, told: Option<&Promised>) -> LeaseId {
        if device == self.me {
            return self.leases().last();
        }
        self.promises().seen(device, told.unwrap_or(&Promised::default()), Instant::now())
    }

    /// Asks a device (or ourselves) to promise room. `seen` is its last promise that was taken into account when it
    /// was chosen; [`LeaseId::ALL`] if it was not chosen for its merits.
    pub async fn ask_room(
        self: &Arc<Self>,
        device: DeviceId,
        room: Room,
        seen: LeaseId,
    ) -> Result<Answer, TaskError> {
        let Room { task, ops, memory_bytes, kind } = room;
        let (lease, for_ms) = if device == self.me {
            let wish_ms = u64::try_from(limits::LEASE.as_millis()).unwrap_or(u64::MAX);
            let request = LeaseRequest { task, ops, memory_bytes, wish_ms, seen };
            let free = self.memory_free();
            match self.with_leases(|leases, now| leases.request(&request, device, free, now)) {
                Ok(grant) => (grant.id, grant.for_ms),
                Err(LeaseError::Outdated { .. }) => return Ok(Answer::Outdated),
                Err(error) => return Err(TaskError::NoPlace(error.to_string())),
            }
        } else {
            let request = Request::Lease { task, ops, memory_bytes, kind, seen: seen.0 };
            match self.ask(device, &request).await? {
                Reply::Leased { for_ms, lease } => (LeaseId(lease), for_ms),
                Reply::Outdated => return Ok(Answer::Outdated),
                _ => return Err(TaskError::Protocol("an answer to another question".into())),
            }
        };
        let now = Instant::now();
        let lasts = Duration::from_millis(for_ms).min(limits::LEASE);
        let informed = seen != LeaseId::ALL;
        let held = Held { lease, ops, memory_bytes, informed, until: now + lasts };
        if device != self.me {
            self.promises().note(device, task, held, now);
        }
        Ok(Answer::Promised(Promise { inner: self.clone(), device, task, lease, used: false }))
    }

    /// Asks those that could run a task how they are, as far as that is not known: they are no neighbours of ours, past
    /// the link budget, or their link is so new that their profile is still on its way.
    pub async fn ask_around(&self, grant: &OpenGrant) {
        let kind = &grant.grant.spec.kind;
        let fresh_us = self.config.weights.stale_after_us / 2;
        let now = Instant::now();
        let view = self.roster.view();
        let unknown = view.entries.values().filter(|entry| {
            let there = matches!(entry.presence, Presence::Online | Presence::Suspect);
            let fresh = entry.now.as_ref().is_some_and(|said| placing::micros(said.age(now)) <= fresh_us);
            let known = fresh && entry.profile.is_some();
            let typed = entry.profile.as_ref().is_none_or(|profile| profile.task_types.contains(kind));
            let may = || grant.may_run(&entry.id, self.role(grant, &entry.id));
            entry.id != self.me && there && !known && typed && may()
        });
        let unknown: Vec<DeviceId> = unknown.map(|entry| entry.id).take(limits::ASKED).collect();
        if unknown.is_empty() {
            return;
        }
        let asked = stream::iter(unknown).for_each_concurrent(limits::ASKED_AT_ONCE, |id| self.ask_now(id));
        // Whoever has not answered by then is not chosen.
        let _ = timeout(limits::ASKED_WAIT, asked).await;
    }

    /// Hears how a device is now, if it says so in time; then the roster's view tells.
    pub async fn ask_now(&self, device: DeviceId) {
        if let Err(error) = self.roster.ask_now(device).await {
            tracing::debug!(device = %device.short(), %error, "it does not say how it is");
        }
    }

    fn give_back(self: &Arc<Self>, device: DeviceId, task: TaskId, lease: LeaseId) {
        if device == self.me {
            // If it has ended meanwhile, there is nothing to give back.
            let _ = self.with_leases(|leases, now| leases.release(lease, device, now));
            return;
        }
        self.promises().forget(device, task, lease);
        if *self.closing.borrow() {
            return; // it ends by itself
        }
        let inner = self.clone();
        self.spawn(async move {
            let request = Request::Unlease { task, lease: lease.0 };
            if let Err(error) = inner.ask(device, &request).await {
                tracing::debug!(device = %device.short(), %error, "a promise was not given back; it ends by itself");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TV: DeviceId = DeviceId([1; 32]);

    fn task(n: u8) -> TaskId {
        TaskId([n; 16])
    }

    fn held(lease: u64, informed: bool, now: Instant) -> Held {
        let until = now + Duration::from_secs(10);
        Held { lease: LeaseId(lease), ops: 100, memory_bytes: 10, informed, until }
    }

    #[test]
    fn ones_own_promise_counts_once_and_not_against_its_own_task() {
        let now = Instant::now();
        let mut book = Book::default();
        book.note(TV, task(1), held(3, true, now), now);
        let jobs = |book: &Book, of: u8, told: &Promised| book.reserved(TV, task(of), told, now).jobs;

        // Another's promise 2 is told, ours not yet.
        let before = Promised { jobs: 1, ops: 7, last: 2, ..Promised::default() };
        assert_eq!((jobs(&book, 1, &before), jobs(&book, 2, &before)), (1, 2));
        assert_eq!(book.reserved(TV, task(2), &before, now).ops, 107);
        // Both are told.
        let after = Promised { jobs: 2, ops: 107, last: 3, ..Promised::default() };
        assert_eq!((jobs(&book, 1, &after), jobs(&book, 2, &after)), (1, 2));
        assert_eq!(book.reserved(TV, task(1), &after, now).ops, 7);
        // Elsewhere, later, or given back, it counts nothing.
        assert_eq!(book.reserved(DeviceId([2; 32]), task(2), &before, now).jobs, 1);
        assert_eq!(book.reserved(TV, task(2), &before, now + Duration::from_secs(10)).jobs, 1);
        book.forget(TV, task(1), LeaseId(2));
        assert_eq!(jobs(&book, 2, &before), 2, "that was an earlier one");
        book.forget(TV, task(1), LeaseId(3));
        assert_eq!(jobs(&book, 2, &before), 1);
    }

    #[test]
    fn a_promise_got_blindly_does_not_stand_for_those_before_it() {
        let now = Instant::now();
        let mut book = Book::default();
        let told = Promised { last: 2, ..Promised::default() };
        assert_eq!(book.seen(TV, &told, now), LeaseId(2));
        book.note(TV, task(1), held(4, false, now), now);
        assert_eq!(book.seen(TV, &told, now), LeaseId(2));
        book.note(TV, task(2), held(5, true, now), now);
        assert_eq!(book.seen(TV, &told, now), LeaseId(5));
    }

    #[test]
    fn the_book_is_bounded() {
        let now = Instant::now();
        let mut book = Book::default();
        for n in 0..=limits::PROMISES as u64 {
            let of = TaskId(u128::from(n).to_le_bytes());
            book.note(TV, of, Held { until: now + Duration::from_millis(n + 1), ..held(n, true, now) }, now);
        }
        assert_eq!(book.0.len(), limits::PROMISES);
        assert!(!book.0.contains_key(&(TV, TaskId([0; 16]))), "the one that ends first made room");
    }
}
