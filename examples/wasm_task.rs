//! A program that somebody else wrote, in C: it draws a picture on one device, is moved in the midst of it, and goes on where
//! it was.
//!
//! `cargo run -p softbus --features wasm --example wasm_task`
#![allow(clippy::print_stdout)] // an example talks to whoever runs it

mod common;

use softbus::SubmitOptions;
use softbus::task::{TaskEvent, TaskState};
use softbus::wasm::{EngineKind, Finish, Printed, Start, Turns};

/// Built from `guests/c/render.c` by `guests/build.sh`.
const RENDER: &[u8] = include_bytes!("guests/built/render.wasm");

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let runs_wasm = |device: softbus::Builder| device.wasm(EngineKind::Cranelift, Turns::Timed);
    let (phone, tv) = common::two_devices(folder.path(), ["phone", "tv"], runs_wasm).await?;

    let start = Start {
        module: RENDER.to_vec(),
        args: ["render", "1200", "800", "3000"].map(String::from).into(),
        ..Start::default()
    };
    let mut events = phone.tasks().events();
    let input = postcard::to_allocvec(&start)?;
    let task = phone.tasks().submit("wasm/1", input, SubmitOptions::default()).await?;
    let mut moved = false;
    while let Some(event) = events.next().await {
        match event {
            TaskEvent::Effect { bytes, .. } => {
                let printed: Printed = postcard::from_bytes(&bytes)?;
                print!("{}", String::from_utf8_lossy(&printed.bytes));
                if !std::mem::replace(&mut moved, true) {
                    let here = task.status().await?.runner;
                    let there = if here == Some(tv.id()) { phone.id() } else { tv.id() };
                    println!("moved: {:?}", task.move_to(Some(there), "to show that it can").await?);
                }
            }
            TaskEvent::State { state: TaskState::Done | TaskState::Failed, .. } => break,
            _ => {}
        }
    }
    let finish: Finish = task.output().await?;
    for (path, bytes) in &finish.files {
        println!("{path}: {} bytes", bytes.len());
    }
    anyhow::ensure!(finish.status == 0, "it ended with status {}", finish.status);
    phone.shutdown().await;
    tv.shutdown().await;
    Ok(())
}
