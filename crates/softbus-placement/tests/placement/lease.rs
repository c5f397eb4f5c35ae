use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use softbus_core::{BootMs, DeviceId, TaskId};
use softbus_placement::{LeaseError, LeaseId, LeaseLimits, LeaseRequest, Leases};

use crate::home::id;

fn limits() -> LeaseLimits {
    LeaseLimits {
        jobs: 4,
        jobs_per_holder: 2,
        memory_bytes: 1000,
        ops: 10_000,
        longest: Duration::from_millis(500),
    }
}

fn request(task: u8, ops: u64, memory_bytes: u64) -> LeaseRequest {
    LeaseRequest { task: TaskId([task; 16]), ops, memory_bytes, wish_ms: 100, seen: LeaseId::ALL }
}

#[test]
fn the_second_client_is_told() {
    let mut leases = Leases::new(limits());
    let grant = leases.request(&request(1, 5, 700), id(1), u64::MAX, BootMs(0)).unwrap();
    assert_eq!(grant.for_ms, 100);
    assert_eq!(
        leases.request(&request(2, 5, 700), id(2), u64::MAX, BootMs(50)),
        Err(LeaseError::Memory { needs: 700, free: 300 })
    );
    // All see it in the figures; for its own work it does not count.
    let reserved = |own| leases.reserved_beside(own, BootMs(50)).memory_bytes;
    assert_eq!(reserved(None), 700);
    assert_eq!(reserved(Some((id(2), TaskId([1; 16])))), 700);
    assert_eq!(reserved(Some((id(1), TaskId([2; 16])))), 700);
    assert_eq!(reserved(Some((id(1), TaskId([1; 16])))), 0);
    // It ends by itself, to the millisecond.
    assert_eq!(leases.next_end(), Some(BootMs(100)));
    assert!(leases.expire(BootMs(99)).is_empty());
    assert!(leases.request(&request(2, 5, 700), id(2), u64::MAX, BootMs(100)).is_ok());
}

#[test]
fn a_request_that_is_repeated_keeps_one_lease() {
    let mut leases = Leases::new(limits());
    let first = leases.request(&request(1, 5, 700), id(1), u64::MAX, BootMs(0)).unwrap();
    let again = leases.request(&request(1, 5, 900), id(1), u64::MAX, BootMs(50)).unwrap();
    assert!(first.id < again.id);
    // Giving the first back, late, does not take the second.
    assert_eq!(leases.release(first.id, id(1), BootMs(50)), Err(LeaseError::Unknown));
    assert_eq!(leases.iter().count(), 1);
    assert_eq!(leases.next_end(), Some(BootMs(150)));
    // Another's request for the same task is another lease.
    assert!(leases.request(&request(1, 5, 50), id(2), u64::MAX, BootMs(50)).is_ok());
    assert_eq!(leases.iter().count(), 2);
}

#[test]
fn who_does_not_know_of_a_lease_is_told_to_look_again() {
    let mut leases = Leases::new(limits());
    let asking = |task, seen| LeaseRequest { seen: LeaseId(seen), ..request(task, 5, 5) };
    assert!(leases.request(&asking(1, 0), id(1), u64::MAX, BootMs(0)).is_ok());
    let outdated = Err(LeaseError::Outdated { last: 1 });
    assert_eq!(leases.request(&asking(2, 0), id(2), u64::MAX, BootMs(0)), outdated);
    // Neither does the holder of the first count on an idle device for a second piece of work.
    assert_eq!(leases.request(&asking(3, 0), id(1), u64::MAX, BootMs(0)), outdated);
    assert!(leases.request(&asking(1, 0), id(1), u64::MAX, BootMs(0)).is_ok(), "its own is no news to it");
    assert_eq!(leases.last(), LeaseId(2));
    assert!(leases.request(&asking(2, 2), id(2), u64::MAX, BootMs(0)).is_ok());
    // A lease that is over was news all the same: its work may have begun.
    leases.release_task(TaskId([2; 16]), BootMs(0));
    assert!(leases.request(&asking(3, 2), id(1), u64::MAX, BootMs(0)).is_err());
}

#[test]
fn only_the_holder_may_renew_and_release() {
    let mut leases = Leases::new(limits());
    let lease = leases.request(&request(1, 5, 5), id(1), u64::MAX, BootMs(0)).unwrap().id;
    assert_eq!(leases.renew(lease, id(2), 100, BootMs(1)), Err(LeaseError::Unknown));
    assert_eq!(leases.release(lease, id(2), BootMs(1)), Err(LeaseError::Unknown));
    assert_eq!(leases.renew(lease, id(1), 10_000, BootMs(1)).unwrap().for_ms, 500);
    assert_eq!(leases.renew(lease, id(1), 1, BootMs(2)).unwrap().for_ms, 499, "never shortened");
    assert!(leases.release(lease, id(1), BootMs(3)).is_ok());
    assert_eq!(leases.release(lease, id(1), BootMs(3)), Err(LeaseError::Unknown));
}

#[test]
fn draining_grants_nothing() {
    let mut leases = Leases::new(limits());
    leases.drain();
    assert_eq!(leases.request(&request(1, 5, 5), id(1), u64::MAX, BootMs(0)), Err(LeaseError::Draining));
    assert!(leases.reserved_beside(None, BootMs(0)).full);
}

#[derive(Clone, Debug)]
enum Act {
    Request { holder: u8, task: u8, ops: u64, memory: u64, wish_ms: u64, free: u64 },
    Renew { lease: u64, holder: u8 },
    Release { lease: u64, holder: u8 },
    Wait(u64),
    Gone(u8),
}

fn act() -> impl Strategy<Value = Act> {
    let size = || prop_oneof![0u64..600, Just(u64::MAX)];
    prop_oneof![
        4 => (0u8..4, 0u8..6, size(), size(), prop_oneof![0u64..600, Just(u64::MAX)], prop_oneof![Just(u64::MAX), 0u64..1200])
            .prop_map(|(holder, task, ops, memory, wish_ms, free)| Act::Request { holder, task, ops, memory, wish_ms, free }),
        1 => (0u64..20, 0u8..4).prop_map(|(lease, holder)| Act::Renew { lease, holder }),
        1 => (0u64..20, 0u8..4).prop_map(|(lease, holder)| Act::Release { lease, holder }),
        2 => (0u64..300).prop_map(Act::Wait),
        1 => (0u8..4).prop_map(Act::Gone),
    ]
}

proptest! {
    /// Beside a list kept by hand: what is out never passes a limit, ends on time, and is exactly what was granted.
    #[test]
    fn promises_never_pass_the_limits(acts in proptest::collection::vec(act(), 1..200)) {
        let mut leases = Leases::new(limits());
        let mut model: BTreeMap<LeaseId, (DeviceId, u64, u64, u64, u8)> = BTreeMap::new(); // holder, ops, memory, end, task
        let mut clock = 0u64;
        for act in acts {
            let now = BootMs(clock);
            match act {
                Act::Request { holder, task, ops, memory, wish_ms, free } => {
                    let asked = LeaseRequest { wish_ms, ..request(task, ops, memory) };
                    if let Ok(grant) = leases.request(&asked, id(holder), free, now) {
                        prop_assert!((1..=500).contains(&grant.for_ms));
                        model.retain(|_, known| (known.0, known.4) != (id(holder), task));
                        model.insert(grant.id, (id(holder), ops, memory, clock + grant.for_ms, task));
                        // (Work without memory may come even when more is promised than is free by now.)
                        prop_assert!(memory == 0 || model.values().map(|l| l.2).sum::<u64>() <= free);
                    }
                }
                Act::Renew { lease, holder } => {
                    if let Ok(grant) = leases.renew(LeaseId(lease), id(holder), 100, now) {
                        let known = model.get_mut(&LeaseId(lease)).unwrap();
                        prop_assert_eq!(known.0, id(holder));
                        known.3 = clock + grant.for_ms;
                    }
                }
                Act::Release { lease, holder } => {
                    let known = model.get(&LeaseId(lease)).is_some_and(|l| l.0 == id(holder));
                    prop_assert_eq!(leases.release(LeaseId(lease), id(holder), now).is_ok(), known);
                    if known {
                        model.remove(&LeaseId(lease));
                    }
                }
                Act::Wait(ms) => clock += ms,
                Act::Gone(holder) => {
                    leases.release_holder(id(holder), now);
                    model.retain(|_, lease| lease.0 != id(holder));
                }
            }
            leases.expire(BootMs(clock));
            model.retain(|_, lease| lease.3 > clock);
            let out: Vec<LeaseId> = leases.iter().map(|lease| lease.id).collect();
            prop_assert_eq!(out, model.keys().copied().collect::<Vec<_>>());
            prop_assert!(model.len() <= 4);
            prop_assert!(model.values().map(|l| l.2).sum::<u64>() <= 1000);
            prop_assert!(model.values().map(|l| l.1).sum::<u64>() <= 10_000);
            for holder in 0..4 {
                prop_assert!(model.values().filter(|l| l.0 == id(holder)).count() <= 2);
                let own = (id(holder), TaskId([1; 16]));
                let beside = leases.reserved_beside(Some(own), BootMs(clock));
                let others = model.values().filter(|l| (l.0, TaskId([l.4; 16])) != own);
                prop_assert_eq!(beside.memory_bytes, others.clone().map(|l| l.2).sum::<u64>());
                prop_assert_eq!(beside.jobs as usize, others.count());
            }
        }
    }
}
