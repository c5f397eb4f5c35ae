//! A task that moves: it adds up on one device, is handed over in the middle, and goes on where it was.
//!
//! `cargo run -p softbus --example movable_task`
#![allow(clippy::print_stdout)] // an example talks to whoever runs it

mod common;

use serde::{Deserialize, Serialize};
use softbus::{Step, StepContext, SubmitOptions, Task, TaskFailure};

/// Adds up the squares below a number. What `State` holds is what travels.
struct Squares(State);

#[derive(Serialize, Deserialize)]
struct State {
    below: u64,
    next: u64,
    sum: u64,
}

impl Task for Squares {
    const NAME: &'static str = "squares";
    const STATE_VERSION: u16 = 1;
    type Input = u64;
    type State = State;
    type Output = u64;

    fn start(below: u64) -> Result<Self, TaskFailure> {
        Ok(Self(State { below, next: 0, sum: 0 }))
    }

    fn resume(state: State) -> Result<Self, TaskFailure> {
        Ok(Self(state))
    }

    fn state(&self) -> &State {
        &self.0
    }

    /// A step does some work and returns; between steps the task may be saved, moved or cancelled.
    fn step(&mut self, cx: &mut StepContext) -> Result<Step<u64>, TaskFailure> {
        let state = &mut self.0;
        while state.next < state.below {
            state.sum = state.sum.wrapping_add(state.next.wrapping_mul(state.next));
            state.next += 1;
            if !cx.spend(1) {
                cx.progress(state.next as f64 / state.below as f64, format!("at {}", state.next));
                return Ok(Step::More);
            }
        }
        Ok(Step::Done(state.sum))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let knows = |device: softbus::Builder| device.task::<Squares>();
    let (phone, tv) = common::two_devices(folder.path(), ["phone", "tv"], knows).await?;

    let below = 2_000_000_000;
    let task = phone.submit::<Squares>(&below, SubmitOptions::default()).await?;
    let mut status = task.watch().await?;
    let started = status.wait_for(|s| s.progress > 0.1).await?.clone();
    println!("runs on {:?}: {}", started.runner, started.progress_text);

    let other = if started.runner == Some(tv.id()) { phone.id() } else { tv.id() };
    task.move_to(Some(other), "to show that it can").await?;
    let moved = status.wait_for(|s| s.moves.iter().any(|hop| hop.to == other)).await?.clone();
    println!("moved: {:?}", moved.moves.last());

    let sum: u64 = task.output().await?;
    println!("the sum of the squares below {below} is {sum} (modulo 2^64)");
    phone.shutdown().await;
    tv.shutdown().await;
    Ok(())
}
