//! `checksum/1`: the BLAKE3 tree hash of a file, stretched over many rounds. Large input, large state.

use serde::{Deserialize, Serialize};
use softbus::core::Hash;
use softbus::task::{Buffer, Estimate};
use softbus::{Step, StepContext, Task, TaskFailure};

use super::Job;

/// Bytes hashed at once.
const BLOCK: usize = 1 << 20;
/// Reference operations per byte hashed, roughly.
const OPS_PER_BYTE: u64 = 2;
/// Most rounds.
const ROUNDS_MAX: u32 = 1_000_000;

/// Everything it needs to go on: the file too, since only the state travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    file: Buffer,
    rounds: u32,
    round: u32,
    at: u64,
    digest: [u8; 32],
}

/// Hashes a file.
#[derive(Debug)]
pub struct Checksum(State);

impl Task for Checksum {
    const NAME: &'static str = "checksum";
    const STATE_VERSION: u16 = 1;
    type Input = Job;
    type State = State;
    type Output = Buffer;

    fn start(job: Job) -> Result<Self, TaskFailure> {
        job.known(&["rounds"])?;
        let rounds = job.param("rounds", 1)?;
        if !(1..=ROUNDS_MAX).contains(&rounds) {
            return Err(TaskFailure::new(format!("--param rounds={rounds}: 1 to {ROUNDS_MAX}")));
        }
        if job.file.0.is_empty() {
            return Err(TaskFailure::new("nothing to hash: the input is empty (give a file with --input)"));
        }
        Self::resume(State { file: job.file, rounds, round: 0, at: 0, digest: [0; 32] })
    }

    fn resume(state: State) -> Result<Self, TaskFailure> {
        let rounds = (1..=ROUNDS_MAX).contains(&state.rounds) && state.round <= state.rounds;
        if state.at >= state.file.0.len() as u64 || !rounds {
            return Err(TaskFailure::new("a state of checksum/1 that it never saved"));
        }
        Ok(Self(state))
    }

    fn state(&self) -> &State {
        &self.0
    }

    fn step(&mut self, cx: &mut StepContext) -> Result<Step<Buffer>, TaskFailure> {
        let s = &mut self.0;
        while s.round < s.rounds {
            let from = s.at as usize;
            let to = (from + BLOCK).min(s.file.0.len());
            // Chained, so that each block and round depends on all before it.
            let mut input = s.digest.to_vec();
            input.extend_from_slice(&s.file.0[from..to]);
            s.digest = Hash::derive("softbus checksum task v1", &input).0;
            s.at = to as u64;
            if to == s.file.0.len() {
                s.at = 0;
                s.round += 1;
            }
            if !cx.spend((to - from) as u64 * OPS_PER_BYTE) {
                break;
            }
        }
        let all = s.file.0.len() as f64 * f64::from(s.rounds);
        let done = s.file.0.len() as f64 * f64::from(s.round) + s.at as f64;
        cx.progress(done / all, format!("round {} of {}", (s.round + 1).min(s.rounds), s.rounds));
        if s.round < s.rounds {
            return Ok(Step::More);
        }
        Ok(Step::Done(Buffer(format!("{}\n", Hash(s.digest)).into_bytes())))
    }

    fn estimate(job: &Job) -> Estimate {
        let len = job.file.0.len() as u64;
        let rounds = u64::from(job.param("rounds", 1u32).unwrap_or(1));
        Estimate {
            ops: len.saturating_mul(rounds).saturating_mul(OPS_PER_BYTE),
            memory_bytes: 2 * len,
            output_bytes: 65,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_changes_nothing() {
        let file: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let job = Job { file: Buffer(file), params: [("rounds".to_string(), "3".to_string())].into() };
        let finish = |moving: bool| {
            let mut task = Checksum::start(job.clone()).unwrap();
            let mut steps = 0;
            loop {
                let mut cx = StepContext::detached(if moving { 1 } else { u64::MAX });
                if let Step::Done(out) = task.step(&mut cx).unwrap() {
                    return (out, steps);
                }
                steps += 1;
                task = Checksum::resume(task.state().clone()).unwrap();
            }
        };
        let (whole, (moved, steps)) = (finish(false).0, finish(true));
        assert_eq!(moved, whole);
        assert_eq!(steps, 8, "three rounds of three blocks, the last of which ends it");
    }

    #[test]
    fn a_state_that_was_never_saved_is_refused() {
        let good = State { file: Buffer(vec![1; 9]), rounds: 3, round: 2, at: 4, digest: [0; 32] };
        assert!(Checksum::resume(good.clone()).is_ok());
        for bad in [
            State { at: 9, ..good.clone() },
            State { at: u64::MAX, ..good.clone() },
            State { rounds: 0, round: 0, ..good.clone() },
            State { rounds: ROUNDS_MAX + 1, ..good.clone() },
            State { round: u32::MAX, ..good.clone() },
        ] {
            assert!(Checksum::resume(bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_empty_input_is_refused() {
        assert!(Checksum::start(Job::default()).unwrap_err().to_string().contains("--input"));
    }
}
