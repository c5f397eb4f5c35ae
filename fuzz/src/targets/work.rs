//! The program's smaller task types: what they start from, and what another device hands over in the middle of the work.

use softbus_cli::tasks::{Checksum, Job, Primes};
use softbus_task::{Buffer, Step, StepContext, Task};

use super::with_nasty;
use crate::Target;

/// Steps of one input.
const STEPS: usize = 3;

/// Whether bytes are a job that such a task takes.
fn input<T: Task<Input = Job>>(bytes: &[u8]) -> bool {
    let Ok(job) = postcard::from_bytes::<Job>(bytes) else { return false };
    let _ = T::estimate(&job);
    let Ok(task) = T::start(job) else { return false };
    work(task);
    true
}

/// Whether bytes are a state that such a task goes on from.
fn state<T: Task>(bytes: &[u8]) -> bool {
    let Ok(state) = postcard::from_bytes::<T::State>(bytes) else { return false };
    let Ok(task) = T::resume(state) else { return false };
    work(task);
    true
}

/// A few steps, with a move after each.
fn work<T: Task>(mut task: T) {
    for _ in 0..STEPS {
        match task.step(&mut StepContext::detached(1)) {
            Ok(Step::More | Step::Wait(_)) => {}
            Ok(Step::Done(_)) | Err(_) => return,
        }
        let saved = postcard::to_allocvec(task.state()).unwrap_or_default();
        let again = postcard::from_bytes(&saved).ok().and_then(|state| T::resume(state).ok());
        assert!(again.is_some(), "its own state is not sound");
        task = again.unwrap_or(task);
    }
}

fn job(file: &[u8], param: (&str, &str)) -> Job {
    Job { file: Buffer(file.to_vec()), params: [(param.0.into(), param.1.into())].into() }
}

fn jobs(jobs: &[Job]) -> Vec<Vec<u8>> {
    with_nasty(jobs.iter().flat_map(postcard::to_allocvec).collect())
}

/// The state of a task after some steps.
fn state_of<T: Task<Input = Job>>(job: Job, steps: usize) -> Vec<u8> {
    let Ok(mut task) = T::start(job) else { return Vec::new() };
    for _ in 0..steps {
        let _ = task.step(&mut StepContext::detached(1));
    }
    postcard::to_allocvec(task.state()).unwrap_or_default()
}

pub const PRIMES_INPUT: Target =
    Target { name: "primes-input", run: input::<Primes>, cost: 200, seeds: primes_inputs };

fn primes_inputs() -> Vec<Vec<u8>> {
    let upto = |text| job(&[], ("upto", text));
    jobs(&[
        upto("200000"),
        upto("2"),
        upto("100000000000"),
        upto("18446744073709551615"),
        job(b"x", ("up", "-1")),
    ])
}

pub const PRIMES_STATE: Target =
    Target { name: "primes-state", run: state::<Primes>, cost: 200, seeds: primes_states };

/// As the task's state lies on the wire: upto, next, count, last and sum.
type PrimesState = (u64, u64, u64, u64, u128);

fn primes_states() -> Vec<Vec<u8>> {
    let good = state_of::<Primes>(job(&[], ("upto", "200000")), 1);
    let odd: [PrimesState; 5] = [
        (200_000, 65_538, u64::MAX, 65_537, 1),
        (200_000, 65_538, 6543, 65_537, u128::MAX),
        (200_000, u64::MAX, 6543, 65_537, 1),
        (0, 2, 0, 0, 0),
        (100_000_000_000, 99_999_999_999, 5, 3, 1),
    ];
    let odd = odd.iter().flat_map(postcard::to_allocvec);
    std::iter::once(good).chain(odd).collect()
}

pub const CHECKSUM_INPUT: Target =
    Target { name: "checksum-input", run: input::<Checksum>, cost: 10, seeds: checksum_inputs };

fn checksum_inputs() -> Vec<Vec<u8>> {
    let rounds = |text| job(b"some bytes", ("rounds", text));
    jobs(&[rounds("3"), rounds("1000000"), rounds("4294967295"), rounds("0"), job(&[], ("rounds", "1"))])
}

pub const CHECKSUM_STATE: Target =
    Target { name: "checksum-state", run: state::<Checksum>, cost: 10, seeds: checksum_states };

/// As the task's state lies on the wire: file, rounds, round, at and digest.
type ChecksumState = (Buffer, u32, u32, u64, [u8; 32]);

fn checksum_states() -> Vec<Vec<u8>> {
    let good = state_of::<Checksum>(job(b"some bytes", ("rounds", "3")), 1);
    let state = |rounds, round, at| (Buffer(b"some bytes".to_vec()), rounds, round, at, [5; 32]);
    let odd: [ChecksumState; 4] =
        [state(3, u32::MAX, 0), state(0, 0, 0), state(3, 1, u64::MAX), state(1_000_000, 999_999, 9)];
    let odd = odd.iter().flat_map(postcard::to_allocvec);
    std::iter::once(good).chain(odd).collect()
}
