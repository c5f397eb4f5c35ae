//! The face as an app uses it: whole devices in a world in memory, under virtual time.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use softbus::KEY_SECRET;
use softbus::net::seam::Storage as _;
use softbus::net::seam::memory::{Host, VirtualCompute, World};
use softbus::roster::{Event, Numbered, Source, Update};
use softbus::task::{PolicyKind, TaskState};
use softbus::{
    Bus, Capability, Declared, DeviceKind, Error, ErrorCode, PairOptions, Paired, PairingState, Presence,
    Role, Step, StepContext, SubmitOptions, Task, TaskFailure,
};
use softbus_core::ServiceName;
use softbus_trust::{DeviceKey, Grant};
use tokio::time::{sleep, timeout};

/// Speed of a device's cores, in operations of the reference kernel per second.
const RATE: u64 = 100_000_000;

/// Counts to a number; crashes at another.
struct Count(Counted);

#[derive(Serialize, Deserialize)]
struct Counted {
    at: u64,
    to: u64,
    crash_at: u64,
}

impl Task for Count {
    const NAME: &'static str = "count";
    const STATE_VERSION: u16 = 1;
    type Input = (u64, u64);
    type State = Counted;
    type Output = u64;

    fn start((to, crash_at): (u64, u64)) -> Result<Self, TaskFailure> {
        Ok(Self(Counted { at: 0, to, crash_at }))
    }

    fn resume(state: Counted) -> Result<Self, TaskFailure> {
        Ok(Self(state))
    }

    fn state(&self) -> &Counted {
        &self.0
    }

    fn step(&mut self, cx: &mut StepContext) -> Result<Step<u64>, TaskFailure> {
        while self.0.at < self.0.to {
            self.0.at += 1;
            assert!(self.0.at != self.0.crash_at, "on purpose");
            if !cx.spend(100_000) {
                return Ok(Step::More);
            }
        }
        Ok(Step::Done(self.0.at))
    }
}

fn device(host: &Host) -> softbus::Builder {
    let declared = Declared { rate_ops_per_s: Some(RATE), ..Declared::default() };
    Bus::builder().seam(host.seam()).name(host.name()).declare(declared).task::<Count>()
}

/// A host whose work takes time.
fn host(world: &World, name: &str) -> Host {
    let host = world.host(name);
    host.set_compute(Arc::new(VirtualCompute::new(4, RATE)));
    // From its next run on.
    host.restart();
    host
}

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

async fn online(bus: &Bus, other: &Bus) {
    let id = other.id();
    let mut watch = bus.watch();
    let seen = watch.wait_for(|view| {
        view.get(&id)
            .is_some_and(|e| e.presence == Presence::Online && e.now.is_some() && e.profile.is_some())
    });
    timeout(Duration::from_secs(120), seen).await.expect("never online").unwrap();
}

fn pin(state: &tokio::sync::watch::Receiver<PairingState>) -> String {
    let PairingState::Open { pin, .. } = &*state.borrow() else { panic!("no PIN") };
    pin.reveal().to_owned()
}

/// The second shows a PIN, the first finds it nearby and enters it.
async fn pair(owner: &Bus, other: &Bus, options: PairOptions) {
    pair_opened(owner, other, PairOptions::default(), options).await;
}

async fn pair_opened(owner: &Bus, other: &Bus, opening: PairOptions, options: PairOptions) -> Paired {
    let opening = other.open_pairing(opening).await.unwrap();
    let pin = pin(&opening.state);
    until("nearby", async || (!owner.addresses_nearby(other.id()).is_empty()).then_some(())).await;
    let paired = owner.pair_with(other.id(), &pin, options).await.unwrap();
    assert_eq!(paired.peer, other.id());
    online(owner, other).await;
    online(other, owner).await;
    paired
}

/// An app keeps these in what its threads share.
#[test]
fn what_an_app_holds_can_be_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Bus>();
    shared::<softbus::Channel>();
    shared::<softbus::task::TaskHandle>();
    shared::<Error>();
}

async fn two(world: &World) -> (Bus, Bus) {
    let phone = device(&host(world, "phone")).start().await.unwrap();
    let tv = device(&host(world, "tv")).start().await.unwrap();
    phone.found_circle("home").await.unwrap();
    pair(&phone, &tv, PairOptions::default()).await;
    (phone, tv)
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_half_way_leaves_nothing_running() {
    let mut failed = 0;
    // The disk fails at each write of a first start in turn.
    for writes in 0.. {
        let world = World::new(7);
        let host = host(&world, "tv");
        host.disk().fail_after(Some(writes));
        let half = device(&host).port(4000).start().await;
        host.disk().fail_after(None);
        let Err(error) = half else { break };
        failed += 1;
        // Its port is free again, and its database.
        sleep(Duration::from_secs(5)).await;
        let whole = device(&host).port(4000).start().await;
        whole.unwrap_or_else(|again| panic!("after {writes} writes: {error}, then {again}"));
    }
    assert!(failed > 3, "{failed}");
}

/// Power is cut at each write of a first start in turn: at once, or after a second start that went well. There is no
/// key or all of it, never one that keeps the device from starting, and one that was in use is never lost.
#[tokio::test(start_paused = true)]
async fn a_power_cut_while_the_key_is_made_leaves_all_of_it_or_none() {
    let key = |host: &Host| {
        let bytes = host.disk().secret(KEY_SECRET).unwrap()?;
        Some(DeviceKey::from_file(&bytes).expect("all of it").id())
    };
    let (mut with, mut without) = (0, 0);
    for (again, seed) in (0..8).flat_map(|seed| [(false, seed), (true, seed)]) {
        for writes in 0..6 {
            let world = World::new(seed);
            let host = host(&world, "tv");
            host.disk().fail_after(Some(writes));
            let error = device(&host).start().await.err();
            let mut used = None;
            if again {
                host.disk().fail_after(None);
                sleep(Duration::from_secs(5)).await;
                used = Some(device(&host).start().await.unwrap().id());
            }
            host.crash_torn(seed);
            host.disk().fail_after(None);
            host.restart();
            let left = key(&host);
            if left.is_some() {
                with += 1
            } else {
                without += 1
            }
            let at = format!("cut at {writes}, again {again}, seed {seed}, left {left:?}, first {error:?}");
            let bus = device(&host).start().await.unwrap_or_else(|e| panic!("{at}: {e}"));
            assert!(used.is_none_or(|used| used == bus.id()), "another device; {at}");
            assert!(left.is_none_or(|left| left == bus.id()), "another key; {at}");
            let id = bus.id();
            host.crash_torn(seed);
            host.restart();
            assert_eq!(device(&host).start().await.unwrap().id(), id, "{at}");
        }
    }
    assert!(with > 0 && without > 0, "{with} with a key, {without} without");
}

#[tokio::test(start_paused = true)]
async fn services_are_offered_called_told_and_withdrawn() {
    let world = World::new(1);
    let (phone, tv) = two(&world).await;
    tv.answer("echo/1", |from, request| async move {
        assert_eq!(from.role, Some(Role::Owner));
        Ok(request)
    })
    .unwrap();
    assert_eq!(phone.request(tv.id(), "echo/1", b"hello".to_vec()).await.unwrap(), b"hello");
    let offered = |name: &str| {
        let view = phone.roster().view();
        let profile = view.get(&tv.id()).and_then(|entry| entry.profile.as_ref().map(|p| p.services.clone()));
        profile.unwrap_or_default().iter().any(|offer| offer.service == name.parse::<ServiceName>().unwrap())
    };
    until("told", async || offered("echo/1").then_some(())).await;

    // Byte streams, both ways.
    tv.serve("shout/1", |mut channel| async move {
        let mut word = [0; 5];
        channel.recv.read_exact(&mut word).await.unwrap();
        channel.send.write_all(&word.to_ascii_uppercase()).await.unwrap();
        channel.finish();
    })
    .unwrap();
    let mut channel = phone.open(tv.id(), "shout/1").await.unwrap();
    channel.send.write_all(b"quiet").await.unwrap();
    let mut word = [0; 5];
    channel.recv.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"QUIET");

    // Names are taken once, and the bus's own are never to be had.
    for taken in ["echo/1", "shout/1", "task/1", "pair/1", "circle/1", "roster/1"] {
        let error = tv.answer(taken, |_, request| async move { Ok(request) }).unwrap_err();
        assert!(matches!(error, Error::Config(_)) && error.to_string().contains(taken), "{error}");
    }
    assert!(tv.answer("no name", |_, request| async move { Ok(request) }).is_err());
    tv.withdraw("echo/1").unwrap();
    assert!(tv.withdraw("echo/1").is_err() && tv.withdraw("task/1").is_err());
    assert!(phone.request(tv.id(), "echo/1", Vec::new()).await.is_err());
    until("told, too", async || (!offered("echo/1") && offered("shout/1")).then_some(())).await;
    tv.answer("echo/1", |_, _| async move { Ok(b"again".to_vec()) }).unwrap();
    assert_eq!(phone.request(tv.id(), "echo/1", Vec::new()).await.unwrap(), b"again");
    phone.shutdown().await;
    tv.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_services_are_offered_than_a_profile_tells() {
    let world = World::new(9);
    let tv = device(&host(&world, "tv")).start().await.unwrap();
    let most = softbus_core::limits::PROFILE_ENTRIES;
    let offer = |n: usize| tv.answer(&format!("s{n}/1"), |_, request| async move { Ok(request) });
    for n in 0..most {
        offer(n).unwrap();
    }
    let error = offer(most).unwrap_err();
    assert!(matches!(error, Error::Config(_)) && error.to_string().contains("withdraw"), "{error}");
    assert!(tv.serve("shout/1", |_| async {}).is_err());
    tv.withdraw("s0/1").unwrap();
    offer(most).unwrap();
    let told = |name: String| {
        let view = tv.roster().view();
        let profile = view.get(&tv.id()).and_then(|entry| entry.profile.clone());
        let service: ServiceName = name.parse().unwrap();
        profile.is_some_and(|p| p.services.len() == most && p.services.iter().any(|o| o.service == service))
    };
    until("told", async || told(format!("s{most}/1")).then_some(())).await;
    tv.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_stopped_before_the_handler_runs() {
    let world = World::new(2);
    let phone = device(&host(&world, "phone")).start().await.unwrap();
    let guest = device(&host(&world, "guest")).start().await.unwrap();
    phone.found_circle("home").await.unwrap();
    let named = [ServiceName::try_from("door/1").unwrap()].into_iter().collect();
    let expires = Some(softbus_core::WallMs(phone.net().seam().clock.wall().0 + 7 * 86_400_000));
    let grant = Grant { role: Role::Guest, expires, services: named };
    let ran = Arc::new(AtomicUsize::new(0));
    for service in ["door/1", "safe/1"] {
        let ran = ran.clone();
        phone
            .answer(service, move |_, _| {
                ran.fetch_add(1, Ordering::Relaxed);
                async { Ok(Vec::new()) }
            })
            .unwrap();
    }
    let opening = guest.open_pairing(PairOptions::default()).await.unwrap();
    let pin = pin(&opening.state);
    until("nearby", async || (!phone.addresses_nearby(guest.id()).is_empty()).then_some(())).await;
    let options = PairOptions { grant: Some(grant), ..PairOptions::default() };
    phone.pair_with(guest.id(), &pin, options).await.unwrap();
    let opened = async || guest.request(phone.id(), "door/1", Vec::new()).await.ok();
    until("the door", opened).await;
    let before = ran.load(Ordering::Relaxed);
    let refused = guest.request(phone.id(), "safe/1", Vec::new()).await.unwrap_err();
    assert!(matches!(refused, Error::Request(_)), "{refused}");
    assert!(refused.to_string().contains(&ErrorCode::Forbidden.to_string()), "{refused}");
    assert!(guest.open(phone.id(), "task/1").await.is_err());
    assert_eq!(ran.load(Ordering::Relaxed), before);
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_in_order() {
    let world = World::new(3);
    let (phone, tv) = two(&world).await;
    let mut events = phone.events();
    let id = tv.id();
    let presence = || phone.roster().view().get(&id).map(|entry| entry.presence);
    let owner = Grant { role: Role::Owner, expires: None, services: Default::default() };
    phone.circles().set_role(None, id, owner).await.unwrap();
    until("an owner", async || {
        let role = phone.roster().view().get(&id).and_then(|entry| entry.role);
        (role == Some(Role::Owner)).then_some(())
    })
    .await;
    tv.shutdown().await;
    until("offline", async || (presence() == Some(Presence::Offline)).then_some(())).await;
    phone.circles().remove(None, id).await.unwrap();
    until("gone", async || presence().is_none().then_some(())).await;
    assert_eq!(phone.devices().len(), 1);

    let (mut seq, mut told) = (events.start().seq, Vec::new());
    while told.last() != Some(&Event::Left { id }) {
        let update = timeout(Duration::from_secs(1), events.next()).await.expect("more").unwrap();
        let Update::Event(Numbered { seq: number, event }) = update else { panic!("{update:?}") };
        assert_eq!(number, seq + 1, "none is missing and none comes twice");
        seq = number;
        // What is measured changes at any time.
        if !matches!(
            event,
            Event::ProfileChanged { .. } | Event::NowChanged { .. } | Event::LinkChanged { .. }
        ) {
            told.push(event);
        }
    }
    let role = Event::RoleChanged { id, role: Some(Role::Owner) };
    let (from, to, source) = (Presence::Online, Presence::Offline, Source::Direct);
    let offline = Event::PresenceChanged { id, from, to, source };
    assert_eq!(told, [role, offline, Event::Left { id }]);
}

#[tokio::test(start_paused = true)]
async fn work_is_placed_submitted_and_its_end_told() {
    let world = World::new(4);
    let (phone, tv) = two(&world).await;
    let input = postcard::to_allocvec(&(50u64, 0u64)).unwrap();
    let decision = phone.place("count/1", input, SubmitOptions::default()).await.unwrap();
    assert!(decision.explanation.to_string().contains("tv"), "{}", decision.explanation);
    let handle = phone.submit::<Count>(&(50, 0), SubmitOptions::default()).await.unwrap();
    assert_eq!(handle.output::<u64>().await.unwrap(), 50);
    // One that crashes each time does not keep whoever waits for it.
    let handle = phone.submit::<Count>(&(50, 7), SubmitOptions::default()).await.unwrap();
    let status = timeout(Duration::from_secs(300), handle.finished()).await.expect("waits for ever").unwrap();
    assert_eq!(status.state, TaskState::Quarantined);
    let error = handle.result().await.unwrap_err().to_string();
    assert!(error.contains("quarantined") && error.contains("on purpose"), "{error}");
    // No device can hold it by a quorum of three: the error says so.
    let policy = PolicyKind::Quorum { k: 3 };
    let options = SubmitOptions { policy, ..SubmitOptions::default() };
    assert!(phone.submit::<Count>(&(50, 0), options).await.is_err());
    tv.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_dropped_ends_the_bus() {
    let world = World::new(5);
    let (phone, tv) = two(&world).await;
    tv.answer("echo/1", |_, request| async move { Ok(request) }).unwrap();
    let running = tv.submit::<Count>(&(u64::MAX, 0), SubmitOptions::default()).await.unwrap();
    let id = tv.id();
    drop(running);
    drop(tv);
    let mut watch = phone.watch();
    let gone = watch.wait_for(|view| view.get(&id).is_some_and(|entry| entry.presence == Presence::Offline));
    timeout(Duration::from_secs(30), gone).await.expect("it lives on").unwrap();
    // Everything of it is gone: the same folder starts again, as the same device.
    let mut tries = 0;
    let again = loop {
        match device(&world.host("tv")).start().await {
            Ok(bus) => break bus,
            Err(error) if tries > 100 => panic!("{error}"),
            Err(_) => tries += 1,
        }
        sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(again.id(), id);
    online(&phone, &again).await;
}

#[tokio::test]
async fn a_data_folder_is_free_again_after_a_drop() {
    let temp = tempfile::tempdir().unwrap();
    let start =
        || Bus::builder().data_dir(temp.path()).bind(softbus::Bind::Loopback).discovery(false).start();
    let first = start().await.unwrap();
    assert!(start().await.err().unwrap().to_string().contains("in use"));
    let id = first.id();
    drop(first);
    let mut tries = 0;
    let second = loop {
        match start().await {
            Ok(bus) => break bus,
            Err(error) if tries > 500 => panic!("{error}"),
            Err(_) => tries += 1,
        }
        sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(second.id(), id);
    second.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_builder_refuses_nonsense_and_keeps_what_it_was_told() {
    let world = World::new(6);
    let host = world.host("lamp");
    let wrong = |builder: softbus::Builder| async { builder.start().await.err().unwrap().to_string() };
    assert!(wrong(Bus::builder()).await.contains("data_dir"));
    assert!(wrong(device(&host).name("")).await.contains("name"));
    assert!(wrong(device(&host).name("x".repeat(65))).await.contains("name"));
    assert!(wrong(device(&host).task::<Count>()).await.contains("count"));
    assert!(
        wrong(device(&host).silence(Duration::from_secs(2), Duration::from_secs(1)))
            .await
            .contains("suspect")
    );
    let capabilities = Some(vec![Capability::Display]);
    let declared = Declared { capabilities, ..Declared::default() };
    let bus = device(&host).name("lamp").kind(DeviceKind::Tv).declare(declared).start().await.unwrap();
    let view = bus.roster().view();
    let own = view.own().unwrap();
    let profile = own.profile.as_ref().unwrap();
    assert_eq!(own.name(), Some("lamp"));
    assert_eq!(profile.kind, DeviceKind::Tv);
    assert!(profile.capabilities.contains(&Capability::Display));
}

#[tokio::test(start_paused = true)]
async fn a_task_is_of_one_circle_and_the_owners_of_another_have_no_part_in_it() {
    let world = World::new(9);
    let (phone, tv) = two(&world).await;
    // The phone is in a second circle, too: as a member of one that the desk owns.
    let desk = device(&host(&world, "desk")).start().await.unwrap();
    let work = desk.found_circle("work").await.unwrap().circle;
    let opening = PairOptions { join: true, ..PairOptions::default() };
    let options = PairOptions { circle: Some(work), ..PairOptions::default() };
    assert!(!pair_opened(&desk, &phone, opening, options).await.joined);

    let long = || (1_000_000_000, 0);
    let at_home = phone.submit::<Count>(&long(), SubmitOptions::default()).await.unwrap();
    let of_work = SubmitOptions { circle: Some(work), ..SubmitOptions::default() };
    let at_work = phone.submit::<Count>(&long(), of_work).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    let seen = async |bus: &Bus| -> Vec<_> { bus.tasks().list_all().await.iter().map(|s| s.id).collect() };
    assert_eq!(seen(&desk).await, [at_work.id()], "the desk owns only the circle of the other");
    for act in [
        desk.tasks().cancel(at_home.id()).await.err(),
        desk.tasks().move_to(at_home.id(), Some(desk.id()), "mine").await.err(),
    ] {
        assert!(matches!(act, Some(softbus::task::TaskError::NoSuchTask(_))), "{act:?}");
    }
    // Nor is it asked to run it, and the TV is not asked to run the other.
    let refused = phone.tasks().move_to(at_home.id(), Some(desk.id()), "").await;
    assert!(matches!(refused, Err(softbus::task::TaskError::Conflict(_))), "{refused:?}");
    let refused = phone.tasks().move_to(at_work.id(), Some(tv.id()), "").await;
    assert!(matches!(refused, Err(softbus::task::TaskError::Conflict(_))), "{refused:?}");
    desk.tasks().cancel(at_work.id()).await.unwrap();
    phone.tasks().cancel(at_home.id()).await.unwrap();
    // One of a circle that it is not in is not taken at all.
    let elsewhere = SubmitOptions { circle: Some(work), ..SubmitOptions::default() };
    assert!(tv.submit::<Count>(&long(), elsewhere).await.is_err());
}
