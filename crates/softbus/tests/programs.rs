//! Programs that were written for the bus, on whole devices in a world in memory, under virtual time: they ask services of other
//! devices, and are moved in the midst of it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../../examples/common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use softbus::net::seam::memory::{VirtualCompute, World};
use softbus::task::{PolicyKind, TaskEvent, TaskEvents, TaskHandle, TaskState};
use softbus::trust::{AccessRules, Rule};
use softbus::wasm::bus::Grants;
use softbus::wasm::{EngineKind, Finish, Printed, Start, Turns};
use softbus::{
    Bus, Caller, Declared, DeviceId, ErrorCode, PairOptions, PairingState, Presence, Step, StepContext,
    SubmitOptions, Task, TaskFailure, TaskId,
};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

/// Built from `examples/guests/c/courier.c`.
const COURIER: &[u8] = include_bytes!("../../../examples/guests/built/courier.wasm");
/// Speed of a device's cores, in operations of the reference kernel per second.
const RATE: u64 = 100_000_000;

async fn until<T>(what: &str, mut so: impl AsyncFnMut() -> Option<T>) -> T {
    let patient = async {
        loop {
            if let Some(found) = so().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(120), patient).await.unwrap_or_else(|_| panic!("never {what}"))
}

async fn seen(bus: &Bus, other: &Bus, service: Option<&str>) {
    let id = other.id();
    let offers = |services: &[softbus_core::ServiceOffer]| {
        service.is_none_or(|name| services.iter().any(|offer| offer.service.as_str() == name))
    };
    until("seen", async || {
        let view = bus.roster().view();
        let entry = view.get(&id)?;
        let told = entry.profile.as_ref().is_some_and(|profile| offers(&profile.services));
        (entry.presence == Presence::Online && entry.now.is_some() && told).then_some(())
    })
    .await;
}

fn pin(state: &watch::Receiver<PairingState>) -> String {
    let PairingState::Open { pin, .. } = &*state.borrow() else { panic!("no PIN") };
    pin.reveal().to_owned()
}

/// Devices of one circle, every other without machine code.
async fn home(world: &World, names: &[&str]) -> Vec<Bus> {
    let mut home: Vec<Bus> = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let host = world.host(name);
        host.set_compute(Arc::new(VirtualCompute::new(4, RATE)));
        host.restart();
        let declared = Declared { rate_ops_per_s: Some(RATE), ..Declared::default() };
        let engine = if n % 2 == 0 { EngineKind::Cranelift } else { EngineKind::Pulley };
        let device = Bus::builder().seam(host.seam()).name(*name).declare(declared).task::<Waits>();
        let bus = device.wasm(engine, Turns::Counted).start().await.unwrap();
        if let Some(owner) = home.first() {
            let opening = bus.open_pairing(PairOptions::default()).await.unwrap();
            let pin = pin(&opening.state);
            until("nearby", async || (!owner.addresses_nearby(bus.id()).is_empty()).then_some(())).await;
            owner.pair_with(bus.id(), &pin, PairOptions::default()).await.unwrap();
        } else {
            bus.found_circle("home").await.unwrap();
        }
        home.push(bus);
    }
    for bus in &home {
        for other in home.iter().filter(|other| other.id() != bus.id()) {
            seen(bus, other, None).await;
        }
    }
    home
}

fn courier(rounds: u32, service: &str, granted: &[&str]) -> Start {
    let services = granted.iter().map(|name| name.parse().unwrap()).collect();
    let env = vec![format!("ROUNDS={rounds}"), format!("SERVICE={service}")];
    Start { module: COURIER.into(), env, grants: Grants { services, inference: true }, ..Start::default() }
}

/// Given to the first, to run on one of them.
async fn started(home: &[Bus], on: usize, start: &Start, policy: PolicyKind) -> (TaskHandle, TaskEvents) {
    let mut options = SubmitOptions { policy, ..SubmitOptions::default() };
    options.hints.start_on = Some(home[on].id());
    options.hints.stay = true;
    let events = home[0].tasks().events();
    let input = postcard::to_allocvec(start).unwrap();
    (home[0].tasks().submit("wasm/1", input, options).await.unwrap(), events)
}

/// All that it printed: on its standard output, and its standard error. The last of it may come after the word of its end.
async fn printed(events: &mut TaskEvents, finish: &Finish) -> (String, String) {
    let mut said = [String::new(), String::new()];
    while said.iter().zip(finish.printed).any(|(said, all)| (said.len() as u64) < all) {
        let event = timeout(Duration::from_secs(300), events.next()).await.unwrap().unwrap();
        let TaskEvent::Effect { bytes, .. } = event else { continue };
        let Printed { to_stderr, bytes, .. } = postcard::from_bytes(&bytes).unwrap();
        said[usize::from(to_stderr)].push_str(&String::from_utf8(bytes).unwrap());
    }
    said.into()
}

/// A service that says what it is told, once it may; and who asked what.
struct Echo {
    asked: Mutex<Vec<(TaskId, u64, DeviceId, DeviceId)>>,
    /// One for each answer that may be given.
    may: Semaphore,
    begun: Notify,
}

impl Echo {
    fn new(may: usize) -> Arc<Self> {
        Arc::new(Self { asked: Mutex::default(), may: Semaphore::new(may), begun: Notify::new() })
    }

    fn offer(self: &Arc<Self>, bus: &Bus, name: &str) {
        let echo = self.clone();
        bus.answer(name, move |from: Caller, request| {
            let echo = echo.clone();
            async move {
                let program = from.program.expect("a program asks");
                echo.asked.lock().unwrap().push((
                    program.task,
                    program.number,
                    program.submitter,
                    from.device,
                ));
                echo.begun.notify_one();
                echo.may.acquire().await.map_err(|_| ErrorCode::Internal)?.forget();
                Ok([b"echo: ", &*request].concat())
            }
        })
        .unwrap();
    }

    fn numbers(&self) -> Vec<u64> {
        self.asked.lock().unwrap().iter().map(|(_, number, ..)| *number).collect()
    }
}

const SAID: &str = "echo: message 0\necho: message 1\necho: message 2\n3 answers\nno model: error 58\n";

#[tokio::test(start_paused = true)]
async fn a_conversation_goes_on_where_the_program_is_moved() {
    let home = home(&World::new(81), &["phone", "tv", "lamp"]).await;
    let echo = Echo::new(0);
    echo.offer(&home[2], "echo/1");
    for bus in &home[..2] {
        seen(bus, &home[2], Some("echo/1")).await;
    }
    let (handle, mut events) = started(&home, 0, &courier(3, "echo/1", &["echo/1"]), PolicyKind::Owner).await;
    for to in [1, 0, 1] {
        // It was asked, and is at work on it: in the midst of that the program moves, and asks again from there.
        timeout(Duration::from_secs(60), echo.begun.notified()).await.expect("never asked");
        handle.move_to(Some(home[to].id()), "").await.unwrap();
        until("moved", async || {
            let status = handle.status().await.unwrap();
            (status.state == TaskState::Running && status.runner == Some(home[to].id())).then_some(())
        })
        .await;
        sleep(Duration::from_secs(1)).await;
        echo.may.add_permits(1);
    }
    let finish: Finish = handle.output().await.unwrap();
    assert_eq!(finish.status, 0);
    assert_eq!(
        printed(&mut events, &finish).await,
        (SAID.into(), "[info] the courier is on its way\n".into())
    );
    // Each was asked by two devices, and carried out once, for the device that submitted it.
    let asked = echo.asked.lock().unwrap().clone();
    let (phone, tv) = (home[0].id(), home[1].id());
    assert_eq!(asked, [(1, phone), (2, tv), (3, phone)].map(|(n, by)| (handle.id(), n, phone, by)));
}

/// On threads, sockets and clocks of the machine, where programs do not run on the thread that drives the network.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_asks_and_is_moved_in_the_real_world_too() {
    let folder = tempfile::tempdir().unwrap();
    let runs_wasm = |device: softbus::Builder| device.wasm(EngineKind::Cranelift, Turns::Timed);
    let (phone, tv) = common::two_devices(folder.path(), ["phone", "tv"], runs_wasm).await.unwrap();
    let home = [phone, tv];
    let echo = Echo::new(1);
    echo.offer(&home[1], "echo/1");
    seen(&home[0], &home[1], Some("echo/1")).await;
    let (handle, mut events) = started(&home, 0, &courier(3, "echo/1", &["echo/1"]), PolicyKind::Owner).await;
    until("the second one asked", async || (echo.numbers().len() == 2).then_some(())).await;
    handle.move_to(Some(home[1].id()), "").await.unwrap();
    echo.may.add_permits(5);
    let finish: Finish = handle.output().await.unwrap();
    assert_eq!(finish.status, 0);
    assert_eq!(printed(&mut events, &finish).await.0, SAID);
    let mut numbers = echo.numbers();
    numbers.dedup();
    assert_eq!(numbers, [1, 2, 3]);
    for bus in home {
        bus.shutdown().await;
    }
}

/// The device that runs it is lost while it is asked; whoever goes on asks again what was not answered.
#[tokio::test(start_paused = true)]
async fn a_conversation_survives_the_loss_of_the_device() {
    let world = World::new(82);
    let home = home(&world, &["phone", "tv", "car", "lamp"]).await;
    let echo = Echo::new(1);
    echo.offer(&home[3], "echo/1");
    for bus in &home[..3] {
        seen(bus, &home[3], Some("echo/1")).await;
    }
    let start = courier(3, "echo/1", &["echo/1"]);
    let (handle, mut events) = started(&home, 1, &start, PolicyKind::Quorum { k: 2 }).await;
    until("the second one asked", async || (echo.numbers().len() == 2).then_some(())).await;
    let checkpoints = handle.status().await.unwrap().checkpoint;
    until("in a checkpoint", async || {
        (handle.status().await.unwrap().checkpoint > checkpoints + 1).then_some(())
    })
    .await;
    world.host("tv").kill();
    echo.may.add_permits(5);
    let finish: Finish = handle.output().await.unwrap();
    assert_eq!(finish.status, 0);
    assert_eq!(printed(&mut events, &finish).await.0, SAID);
    assert_eq!(echo.numbers(), [1, 2, 3], "each is carried out once");
}

#[tokio::test(start_paused = true)]
async fn services_of_the_same_device_are_asked_too_and_what_is_not_there_is_said() {
    let home = home(&World::new(83), &["phone", "tv"]).await;
    let echo = Echo::new(100);
    echo.offer(&home[1], "echo/1");
    seen(&home[0], &home[1], Some("echo/1")).await;
    let run = async |on: usize, start: &Start| {
        let (handle, mut events) = started(&home, on, start, PolicyKind::Owner).await;
        let finish: Finish = handle.output().await.unwrap();
        let said = printed(&mut events, &finish).await;
        (finish.status, said)
    };
    // By the device that has it: nothing goes over the network, and it is the same.
    let (status, (stdout, _)) = run(1, &courier(3, "echo/1", &["echo/1"])).await;
    assert_eq!((status, stdout.as_str()), (0, SAID));
    assert_eq!(echo.asked.lock().unwrap().last().map(|asked| asked.3), Some(home[1].id()));
    // Not granted; granted, but nobody has it; the bus's own, which is for no program.
    let refused = |errno: &str, what: &str| (1, format!("[error] {what}: error {errno}\n"));
    let said = async |start: &Start| {
        let (status, (_, stderr)) = run(0, start).await;
        (status, stderr.replace("[info] the courier is on its way\n", ""))
    };
    assert_eq!(said(&courier(1, "echo/1", &["lamp/1"])).await, refused("76", "echo/1"));
    assert_eq!(said(&courier(1, "lamp/1", &["lamp/1"])).await, refused("23", "recv"));
    assert_eq!(said(&courier(1, "task/1", &["task/1"])).await, refused("23", "recv"));
    // A service that fails, and one that answers too much.
    home[1].answer("broken/1", |_, _| async { Err(ErrorCode::Storage) }).unwrap();
    home[1].answer("wordy/1", |_, _| async { Ok(vec![b'x'; (256 << 10) + 1]) }).unwrap();
    seen(&home[0], &home[1], Some("wordy/1")).await;
    assert_eq!(said(&courier(1, "broken/1", &["broken/1"])).await, refused("29", "recv"));
    assert_eq!(said(&courier(1, "wordy/1", &["wordy/1"])).await, refused("35", "recv"));
}

/// What a device may not, a program of its own may not either, wherever it runs.
#[tokio::test(start_paused = true)]
async fn a_program_may_no_more_than_who_submitted_it() {
    let home = home(&World::new(84), &["phone", "tv", "safe"]).await;
    let echo = Echo::new(100);
    for bus in &home[1..] {
        echo.offer(bus, "echo/1");
        let rule = Rule { deny: BTreeSet::from([home[0].id()]), ..Rule::default() };
        bus.circles().set_rule("echo/1", rule).await.unwrap();
        let rules: AccessRules = bus.circles().rules();
        assert_ne!(rules, AccessRules::default());
        seen(&home[0], bus, Some("echo/1")).await;
    }
    seen(&home[1], &home[2], Some("echo/1")).await;
    // On itself, on one that has the service, and on one that is let in by the other.
    for on in 0..3 {
        let start = courier(1, "echo/1", &["echo/1"]);
        let (handle, mut events) = started(&home, on, &start, PolicyKind::Owner).await;
        let finish: Finish = handle.output().await.unwrap();
        assert_eq!(finish.status, 1, "on {on}");
        assert!(printed(&mut events, &finish).await.1.ends_with("[error] recv: error 2\n"));
    }
    assert_eq!(echo.numbers(), Vec::<u64>::new());
}

/// Waits until somebody outside wakes it.
struct Waits(u64);

static WAKER: Mutex<Option<Waker>> = Mutex::new(None);

impl Task for Waits {
    const NAME: &'static str = "waits";
    const STATE_VERSION: u16 = 1;
    type Input = ();
    type State = u64;
    type Output = u64;

    fn start((): ()) -> Result<Self, TaskFailure> {
        Ok(Self(0))
    }

    fn resume(steps: u64) -> Result<Self, TaskFailure> {
        Ok(Self(steps))
    }

    fn state(&self) -> &u64 {
        &self.0
    }

    fn step(&mut self, cx: &mut StepContext) -> Result<Step<u64>, TaskFailure> {
        self.0 += 1;
        if self.0 >= 1000 {
            return Ok(Step::Done(self.0));
        }
        *WAKER.lock().unwrap() = Some(cx.waker().clone());
        Ok(Step::Wait(Duration::from_secs(1)))
    }
}

/// Whoever waits is looked at a few times a second; woken, it goes on at once.
#[tokio::test(start_paused = true)]
async fn a_task_that_waits_is_woken() {
    let home = home(&World::new(85), &["phone"]).await;
    let handle = home[0].submit::<Waits>(&(), SubmitOptions::default()).await.unwrap();
    until("it waits", async || WAKER.lock().unwrap().is_some().then_some(())).await;
    let began = Instant::now();
    let waking = async {
        loop {
            if let Some(waker) = WAKER.lock().unwrap().take() {
                waker.wake();
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    let steps = tokio::select! {
        biased;
        steps = handle.output::<u64>() => steps.unwrap(),
        () = waking => unreachable!(),
    };
    assert_eq!(steps, 1000);
    // In virtual time, which is the same on each machine: looked at each tenth of a second it would be more than a hundred.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
