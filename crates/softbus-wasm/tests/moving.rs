//! WebAssembly programs as tasks of several devices, under virtual time: moved while they run, and gone on with where the
//! device that ran them is lost.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../softbus-task/tests/common/mod.rs"]
mod home;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use home::*;
use softbus_net::seam::Seam;
use softbus_net::seam::memory::World;
use softbus_task::{
    PolicyKind, Runtime, Step, StepContext, SubmitOptions, TaskEvent, TaskEvents, TaskHandle, TaskState,
};
use softbus_wasm::limits::Limits;
use softbus_wasm::{EngineKind, Finish, Printed, SeamClock, Start, Turns, WasmRuntime};
use tokio::time::{Instant, sleep, timeout};

const RENDER: &[u8] = include_bytes!("../../../examples/guests/built/render.wasm");

thread_local! {
    static MADE: Cell<u32> = const { Cell::new(0) };
}

/// Every other device has no machine code.
fn runtime(seam: &Seam) -> Arc<dyn Runtime> {
    MADE.set(MADE.get() + 1);
    let kind = if MADE.get().is_multiple_of(2) { EngineKind::Pulley } else { EngineKind::Cranelift };
    Arc::new(WasmRuntime::new(kind, Arc::new(SeamClock(seam.clock.clone())), Turns::Counted).unwrap())
}

fn render() -> Start {
    let args = ["render", "96", "60", "400"];
    Start { module: RENDER.into(), args: args.iter().map(|a| (*a).to_owned()).collect(), ..Start::default() }
}

/// What it prints and makes if nobody disturbs it.
fn undisturbed(start: &Start) -> (String, Finish) {
    let world = World::new(1);
    let seam = world.host("alone").seam();
    let clock = Arc::new(SeamClock(seam.clock.clone()));
    let runtime = WasmRuntime::new(EngineKind::Cranelift, clock, Turns::Timed).unwrap();
    let terms = start.terms().to_bytes();
    let mut program = runtime.start(&postcard::to_allocvec(start).unwrap(), &terms).unwrap();
    let mut stdout = String::new();
    loop {
        let mut cx = StepContext::detached(1000);
        let step = program.step(&mut cx).unwrap();
        cx.emitted().for_each(|printed| stdout.push_str(&text(printed)));
        if let Step::Done(output) = step {
            return (stdout, postcard::from_bytes(&output).unwrap());
        }
    }
}

fn text(printed: &[u8]) -> String {
    let Printed { to_stderr, bytes, .. } = postcard::from_bytes(printed).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(!to_stderr, "it complains: {text}");
    text
}

/// All that it printed, once it has ended; each piece comes once.
async fn printed(events: &mut TaskEvents) -> String {
    let (mut stdout, mut last) = (String::new(), 0);
    loop {
        match timeout(Duration::from_secs(60), events.next()).await.unwrap().unwrap() {
            TaskEvent::Effect { sequence, bytes, .. } => {
                assert_eq!(sequence, last + 1, "none is lost, none comes twice");
                last = sequence;
                stdout.push_str(&text(&bytes));
            }
            TaskEvent::State { state: TaskState::Done, .. } => return stdout,
            TaskEvent::Lagged { .. } | TaskEvent::EffectsMissed { .. } => panic!("some were missed"),
            _ => {}
        }
    }
}

async fn started_on(home: &[Device], device: usize, policy: PolicyKind) -> (TaskHandle, TaskEvents) {
    let mut options = SubmitOptions { policy, ..options("picture") };
    options.hints.start_on = Some(home[device].id());
    options.hints.stay = true;
    let events = home[0].tasks.events();
    let input = postcard::to_allocvec(&render()).unwrap();
    let handle = home[0].tasks.submit("wasm/1", input, options).await.unwrap();
    let id = home[device].id();
    until(&handle, "running", |s| s.state == TaskState::Running && s.runner == Some(id)).await;
    (handle, events)
}

#[tokio::test(start_paused = true)]
async fn a_program_is_moved_while_it_runs() {
    logs();
    RUNTIME.set(Some(runtime));
    let home = home(&World::new(71), &[("phone", FAST), ("tv", FAST)]).await;
    let (handle, mut events) = started_on(&home, 0, PolicyKind::Owner).await;
    for to in [1, 0, 1] {
        sleep(Duration::from_millis(900)).await;
        handle.move_to(Some(home[to].id()), "").await.unwrap();
        until_moved(&handle, &home[to]).await;
    }
    let finish: Finish = handle.output().await.unwrap();
    let (stdout, still) = undisturbed(&render());
    assert!(finish == still && finish.files.len() == 1, "another picture");
    assert_eq!(printed(&mut events).await, stdout);
    let status = handle.status().await.unwrap();
    assert_eq!(status.moves.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_program_goes_on_where_its_device_is_lost() {
    logs();
    RUNTIME.set(Some(runtime));
    let home = home(&World::new(72), &[("phone", SLOW), ("tv", FAST), ("car", FAST - 1)]).await;
    let (handle, mut events) = started_on(&home, 1, PolicyKind::Quorum { k: 2 }).await;
    until(&handle, "checkpointed", |s| s.checkpoint > 2 && s.holders.len() == 2).await;
    home[1].host.kill();
    let dead = home[1].id();
    until(&handle, "gone on with", |s| s.runner.is_some_and(|runner| runner != dead)).await;
    let finish: Finish = handle.output().await.unwrap();
    let (stdout, still) = undisturbed(&render());
    assert!(finish == still, "another picture");
    assert_eq!(printed(&mut events).await, stdout);
}

/// How long a program takes, by the world's clock, with such a share of a processor.
async fn takes(home: &[Device], cpu_permille: u16) -> Duration {
    let start = Start { limits: Limits { cpu_permille, ..Limits::default() }, ..render() };
    let mut options = options("picture");
    (options.hints.start_on, options.hints.stay) = (Some(home[0].id()), true);
    let began = Instant::now();
    let input = postcard::to_allocvec(&start).unwrap();
    let handle = home[0].tasks.submit("wasm/1", input, options).await.unwrap();
    until(&handle, "done", |s| s.state == TaskState::Done).await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_program_has_no_more_of_a_processor_than_it_was_granted() {
    logs();
    RUNTIME.set(Some(runtime));
    let home = home(&World::new(75), &[("phone", FAST)]).await;
    let (all, quarter) = (takes(&home, 1000).await, takes(&home, 250).await);
    let ratio = quarter.as_secs_f64() / all.as_secs_f64();
    assert!((3.0..6.0).contains(&ratio), "{all:?} and {quarter:?}");
}
