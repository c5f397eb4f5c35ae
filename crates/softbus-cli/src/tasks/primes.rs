//! `primes/1`: counts the primes up to a number. Long work from a short input.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use softbus::task::{Buffer, Estimate};
use softbus::{Step, StepContext, Task, TaskFailure};

use super::Job;

/// Default of the setting `upto`.
const UPTO: u64 = 20_000_000;
/// Largest `upto`: the sieve of small primes stays below 64 KiB.
const UPTO_MAX: u64 = 100_000_000_000;
/// Numbers sieved at once.
const BLOCK: u64 = 1 << 16;
/// Reference operations per number sieved, roughly.
const OPS_PER_NUMBER: u64 = 4;

/// Everything it needs to go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    upto: u64,
    next: u64,
    count: u64,
    last: u64,
    /// Of all primes so far: a check that nothing was lost or done twice on the way.
    sum: u128,
}

/// Counts primes.
#[derive(Debug)]
pub struct Primes {
    state: State,
    /// Primes up to the root of `upto`, for sieving. Made anew on each device.
    small: Vec<u64>,
}

impl Task for Primes {
    const NAME: &'static str = "primes";
    const STATE_VERSION: u16 = 1;
    type Input = Job;
    type State = State;
    type Output = Buffer;

    fn start(job: Job) -> Result<Self, TaskFailure> {
        job.known(&["upto"])?;
        let upto = job.param("upto", UPTO)?;
        if !(2..=UPTO_MAX).contains(&upto) {
            return Err(TaskFailure::new(format!("--param upto={upto}: 2 to {UPTO_MAX}")));
        }
        Self::resume(State { upto, next: 2, count: 0, last: 0, sum: 0 })
    }

    fn resume(state: State) -> Result<Self, TaskFailure> {
        let State { upto, next, count, last, sum } = state;
        let range = (2..=UPTO_MAX).contains(&upto) && (2..=upto + 1).contains(&next);
        // There are fewer primes than numbers, and none of them is larger.
        if !range || count >= next || last >= next || sum > u128::from(next) * u128::from(next) {
            return Err(TaskFailure::new("a state of primes/1 that it never saved"));
        }
        Ok(Self { small: small_primes(state.upto.isqrt()), state })
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn step(&mut self, cx: &mut StepContext) -> Result<Step<Buffer>, TaskFailure> {
        while self.state.next <= self.state.upto {
            let numbers = self.block();
            if !cx.spend(numbers * OPS_PER_NUMBER) {
                break;
            }
        }
        let s = &self.state;
        let done = (s.next - 1).min(s.upto);
        cx.progress(done as f64 / s.upto as f64, format!("{} primes up to {done}", s.count));
        if s.next <= s.upto {
            return Ok(Step::More);
        }
        let mut text = String::new();
        let _ = writeln!(
            text,
            "primes up to {}: {}\nthe last: {}\ntheir sum: {}",
            s.upto, s.count, s.last, s.sum
        );
        Ok(Step::Done(Buffer(text.into_bytes())))
    }

    fn estimate(job: &Job) -> Estimate {
        let upto = job.param("upto", UPTO).unwrap_or(UPTO).min(UPTO_MAX);
        Estimate { ops: upto * OPS_PER_NUMBER, memory_bytes: 1 << 20, output_bytes: 256 }
    }
}

impl Primes {
    /// Sieves the next numbers; how many.
    fn block(&mut self) -> u64 {
        let s = &mut self.state;
        let (from, to) = (s.next, s.upto.min(s.next + BLOCK - 1));
        let mut composite = vec![false; (to - from + 1) as usize];
        for &p in &self.small {
            if p * p > to {
                break;
            }
            let first = (p * p).max(from.div_ceil(p) * p);
            for multiple in (first..=to).step_by(p as usize) {
                composite[(multiple - from) as usize] = true;
            }
        }
        for (offset, _) in composite.iter().enumerate().filter(|(_, composite)| !**composite) {
            let prime = from + offset as u64;
            s.count += 1;
            s.last = prime;
            s.sum += u128::from(prime);
        }
        s.next = to + 1;
        to - from + 1
    }
}

fn small_primes(upto: u64) -> Vec<u64> {
    let mut composite = vec![false; upto as usize + 1];
    let mut primes = Vec::new();
    for n in 2..=upto {
        if !composite[n as usize] {
            primes.push(n);
            for multiple in (n * n..=upto).step_by(n as usize) {
                composite[multiple as usize] = true;
            }
        }
    }
    primes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(upto: u64) -> Job {
        Job { params: [("upto".to_string(), upto.to_string())].into(), ..Job::default() }
    }

    fn finish(mut task: Primes, budget: u64, moving: bool) -> String {
        loop {
            let mut cx = StepContext::detached(budget);
            if let Step::Done(out) = task.step(&mut cx).unwrap() {
                return String::from_utf8(out.0).unwrap();
            }
            if moving {
                task = Primes::resume(task.state().clone()).unwrap();
            }
        }
    }

    #[test]
    fn known_counts() {
        for (upto, count) in [(2, 1), (3, 2), (100, 25), (1_000, 168), (1_000_000, 78_498)] {
            let text = finish(Primes::start(job(upto)).unwrap(), u64::MAX, false);
            assert!(text.starts_with(&format!("primes up to {upto}: {count}\n")), "{text}");
        }
        let text = finish(Primes::start(job(100)).unwrap(), u64::MAX, false);
        assert!(text.contains("the last: 97\ntheir sum: 1060\n"), "{text}");
    }

    #[test]
    fn moving_changes_nothing() {
        let whole = finish(Primes::start(job(500_000)).unwrap(), u64::MAX, false);
        assert_eq!(finish(Primes::start(job(500_000)).unwrap(), 1, true), whole);
    }

    #[test]
    fn a_state_that_was_never_saved_is_refused() {
        let good = State { upto: 100, next: 51, count: 15, last: 47, sum: 328 };
        assert!(Primes::resume(good.clone()).is_ok());
        for bad in [
            State { upto: 1, next: 2, count: 0, last: 0, sum: 0 },
            State { upto: UPTO_MAX + 1, ..good.clone() },
            State { next: 0, ..good.clone() },
            State { next: 102, ..good.clone() },
            State { count: u64::MAX, ..good.clone() },
            State { last: 51, ..good.clone() },
            State { sum: u128::MAX, ..good.clone() },
        ] {
            assert!(Primes::resume(bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bad_settings_are_refused() {
        for upto in [0, 1, u64::MAX] {
            assert!(Primes::start(job(upto)).is_err());
        }
        let odd = Job { params: [("uptoo".to_string(), "5".to_string())].into(), ..Job::default() };
        assert!(Primes::start(odd).unwrap_err().to_string().contains("there is upto"));
    }
}
