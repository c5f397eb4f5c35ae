//! The network room as a whole, under virtual time on a network in memory.
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests, too")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use softbus_core::wire::link::{Open, Reply, Want};
use softbus_core::{DeviceId, ErrorCode, ServiceName};
use softbus_net::seam::memory::{Conditions, Host, World};
use softbus_net::seam::{Announcement, BoxFuture, Discovery, Sighting};
use softbus_net::testing::FixedJudge;
use softbus_net::{
    Caller, Channel, Judge, LinkEvent, LinkInfo, Net, NetConfig, NetError, Presence, RequestError, Respond,
    Router, Service, Standing, TagSecret, read_message, write_message,
};
use softbus_trust::{DeviceKey, Role};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn key(n: u8) -> Arc<DeviceKey> {
    Arc::new(DeviceKey::from_seed(&[n; 32]))
}

/// Sends back what it gets, until the peer ends.
struct Echo;

impl Service for Echo {
    fn accept(&self, mut channel: Channel) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Ok(Some(chunk)) = channel.recv.read_chunk(1 << 16).await {
                if channel.send.write_all(&chunk.bytes).await.is_err() {
                    return;
                }
            }
            channel.finish();
        })
    }
}

/// Answers after a while; counts how often it was asked, and how often it finished.
struct Slow {
    wait: Duration,
    begun: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
}

impl Slow {
    fn new(wait: Duration) -> Arc<Self> {
        Arc::new(Self { wait, begun: Arc::default(), done: Arc::default() })
    }
}

impl Respond for Slow {
    fn respond(&self, _: Caller, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, ErrorCode>> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let (wait, done) = (self.wait, self.done.clone());
        Box::pin(async move {
            sleep(wait).await;
            done.fetch_add(1, Ordering::SeqCst);
            Ok([b"re: ", request.as_slice()].concat())
        })
    }
}

struct Device {
    host: Host,
    judge: Arc<FixedJudge>,
    router: Router,
    net: Net,
}

impl Device {
    fn id(&self) -> DeviceId {
        self.net.id()
    }

    fn link(&self, to: &Device) -> Option<LinkInfo> {
        self.net.links().borrow().get(&to.id()).map(|link| LinkInfo::clone(link))
    }

    fn presence(&self, of: &Device) -> Presence {
        self.link(of).map_or(Presence::Offline, |link| link.presence)
    }

    async fn until(&self, of: &Device, what: impl Fn(&LinkInfo) -> bool) -> LinkInfo {
        let id = of.id();
        let mut links = self.net.links();
        let found = timeout(Duration::from_secs(60), async {
            loop {
                if let Some(link) = links.borrow_and_update().get(&id)
                    && what(link)
                {
                    return LinkInfo::clone(link);
                }
                links.changed().await.unwrap();
            }
        });
        match found.await {
            Ok(link) => link,
            Err(_) => panic!("never came; now {:?}", self.link(of)),
        }
    }

    async fn until_presence(&self, of: &Device, presence: Presence) {
        self.until(of, |link| link.presence == presence).await;
    }
}

const PORT: u16 = 4000;

fn config() -> NetConfig {
    NetConfig { port: PORT, discovery: false, ..NetConfig::default() }
}

async fn device(world: &World, host: &str, n: u8, trusts: &[u8], config: NetConfig) -> Device {
    let host = world.host(host);
    let judge = FixedJudge::new(trusts.iter().map(|n| key(*n).id()));
    let router = Router::new();
    router.serve(name("echo/1"), Arc::new(Echo));
    let net = Net::start(host.seam(), key(n), judge.clone(), router.clone(), config).await.unwrap();
    Device { host, judge, router, net }
}

/// All devices of a circle so large that two of them, which come after it, keep no standing link.
fn far_apart() -> (Vec<u8>, u8, u8) {
    let mut all: Vec<u8> = (1..=12).collect();
    all.sort_by_key(|n| key(*n).id());
    let trusted = all[1..].iter().map(|n| key(*n).id()).collect();
    let near = softbus_net::standing(key(all[0]).id(), &trusted, 0);
    let (a, b) = (all[0], *all[1..].iter().find(|n| !near.contains(&key(**n).id())).unwrap());
    (all, a, b)
}

/// Two devices that know each other's address.
async fn pair(world: &World) -> (Device, Device) {
    let a = device(world, "a", 1, &[2], config()).await;
    let b = device(world, "b", 2, &[1], config()).await;
    introduce(&a, &b);
    (a, b)
}

fn introduce(a: &Device, b: &Device) {
    a.net.add_static(Some(b.id()), b.host.address(PORT));
    b.net.add_static(Some(a.id()), a.host.address(PORT));
}

async fn up(a: &Device, b: &Device) {
    a.until_presence(b, Presence::Online).await;
    b.until_presence(a, Presence::Online).await;
}

async fn echo(from: &Device, to: &Device, text: &[u8]) -> Result<Vec<u8>, NetError> {
    let mut channel = from.net.open(to.id(), &name("echo/1")).await?;
    channel.send.write_all(text).await.unwrap();
    channel.finish();
    Ok(channel.recv.read_to_end(1 << 20).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn two_devices_link_up_and_talk() {
    let world = World::new(1);
    let (a, b) = pair(&world).await;
    up(&a, &b).await;
    assert_eq!(echo(&a, &b, b"hello").await.unwrap(), b"hello");
    assert_eq!(echo(&b, &a, b"there").await.unwrap(), b"there");
    let (ab, ba) = (a.link(&b).unwrap(), b.link(&a).unwrap());
    assert_eq!((ab.id, ab.generation), (ba.id, ba.generation), "both mean the same link");
    assert_ne!(ab.dialled, ba.dialled);
}

#[tokio::test(start_paused = true)]
async fn both_dial_at_once_and_one_connection_stays() {
    for seed in 0..8 {
        let world = World::new(seed);
        let (a, b) = pair(&world).await;
        up(&a, &b).await;
        sleep(ms(3000)).await;
        let (ab, ba) = (a.link(&b).unwrap(), b.link(&a).unwrap());
        assert_eq!((ab.id, ab.generation), (ba.id, ba.generation));
        let smaller = if a.id() < b.id() { &ab } else { &ba };
        assert!(smaller.dialled, "the one dialled by the smaller id");
        assert_eq!(ab.last_down, None, "and no link ever went down for it");
    }
}

#[tokio::test(start_paused = true)]
async fn channels_bind_to_the_connection() {
    struct Export(Mutex<Option<tokio::sync::oneshot::Sender<[u8; 32]>>>);
    impl Service for Export {
        fn accept(&self, channel: Channel) -> BoxFuture<'static, ()> {
            let sender = self.0.lock().unwrap().take();
            Box::pin(async move {
                let _ = sender.unwrap().send(channel.export(b"test", b"both ids").unwrap());
            })
        }
    }
    let world = World::new(1);
    let (a, b) = pair(&world).await;
    let (sender, theirs) = tokio::sync::oneshot::channel();
    b.router.serve(name("export/1"), Arc::new(Export(Mutex::new(Some(sender)))));
    let channel = a.net.open(b.id(), &name("export/1")).await.unwrap();
    assert_eq!(channel.export(b"test", b"both ids").unwrap(), theirs.await.unwrap());
    assert_ne!(channel.export(b"test", b"both ids").unwrap(), channel.export(b"test", b"other ids").unwrap());
}

/// Sends back what it gets, which it looks at only after a while.
struct Late;

impl Service for Late {
    fn accept(&self, mut channel: Channel) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            sleep(ms(800)).await;
            let mut first = [0; 5];
            channel.recv.read_exact(&mut first).await.unwrap();
            let rest = channel.recv.read_to_end(100).await.unwrap();
            channel.send.write_all(&[&first, rest.as_slice()].concat()).await.unwrap();
            channel.finish();
        })
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_twice_is_read_once() {
    let world = World::new(1);
    let (a, b) = pair(&world).await;
    b.router.serve(name("late/1"), Arc::new(Late));
    up(&a, &b).await;
    let mut channel = a.net.open(b.id(), &name("late/1")).await.unwrap();
    // Overtaken by what is sent later, it is taken for lost and sent again; in the end both copies arrive.
    world.set_conditions_between(&a.host, &b.host, Conditions { latency: ms(300), ..Conditions::default() });
    channel.send.write_all(b"hello").await.unwrap();
    sleep(ms(5)).await;
    world.clear_conditions_between(&a.host, &b.host);
    for later in [",", " ", "y", "o", "u"] {
        channel.send.write_all(later.as_bytes()).await.unwrap();
        sleep(ms(40)).await;
    }
    channel.finish();
    let echo = timeout(Duration::from_secs(10), channel.recv.read_to_end(100)).await;
    assert_eq!(echo.expect("an echo").unwrap(), b"hello, you");
}

/// Sends a byte now and then, and reads nothing.
struct Tick;

impl Service for Tick {
    fn accept(&self, mut channel: Channel) -> BoxFuture<'static, ()> {
        // Elsewhere: the right to a channel goes with it.
        tokio::spawn(async move {
            while channel.send.write_all(b".").await.is_ok() {
                sleep(ms(100)).await;
            }
        });
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_demotion_ends_open_channels_that_the_lower_role_may_not_have() {
    let world = World::new(1);
    let (a, b) = pair(&world).await;
    b.router.serve(name("admin/1"), Arc::new(Echo));
    b.router.serve(name("admin/2"), Arc::new(Tick));
    b.judge.trust(a.id(), Role::Owner);
    let mut stays = a.net.open(b.id(), &name("echo/1")).await.unwrap();
    let mut reads = a.net.open(b.id(), &name("admin/1")).await.unwrap();
    let mut ticks = a.net.open(b.id(), &name("admin/2")).await.unwrap();
    let opened_there = b.net.open(a.id(), &name("echo/1")).await.unwrap();
    let mut bytes = [0; 2];
    reads.send.write_all(b"ok").await.unwrap();
    reads.recv.read_exact(&mut bytes).await.unwrap();
    ticks.recv.read_exact(&mut bytes).await.unwrap();
    // The judge thinks anew and comes to the same: nothing happens.
    b.judge.set_pairing(true);
    b.judge.set_pairing(false);
    ticks.recv.read_exact(&mut bytes).await.unwrap();

    b.judge.trust(a.id(), Role::Member);
    let code = |end: Result<Option<quinn::Chunk>, quinn::ReadError>| match end {
        Err(quinn::ReadError::Reset(code)) => ErrorCode::from_number(code.into_inner()),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(reads.recv.read_chunk(1).await), ErrorCode::Forbidden);
    assert_eq!(
        reads.send.stopped().await.unwrap().map(u64::from),
        Some(ErrorCode::Forbidden.number().into())
    );
    let end = loop {
        match ticks.recv.read_chunk(1).await {
            Ok(Some(_)) => {}
            end => break code(end),
        }
    };
    assert_eq!(end, ErrorCode::Forbidden);
    // Other channels stay, and so does what is open in the other direction; the link does not notice.
    stays.send.write_all(b"hi").await.unwrap();
    stays.recv.read_exact(&mut bytes).await.unwrap();
    assert_eq!((&bytes, opened_there.connection.close_reason().is_none()), (b"hi", true));
    assert_eq!(a.link(&b).unwrap().generation, 1);
    b.judge.trust(a.id(), Role::Guest);
    assert_eq!(code(stays.recv.read_chunk(1).await), ErrorCode::Forbidden);
}

#[tokio::test(start_paused = true)]
async fn services_are_negotiated_and_guarded() {
    let world = World::new(1);
    let (a, b) = pair(&world).await;
    b.router.serve(name("task/1"), Arc::new(Echo));
    b.router.serve(name("admin/1"), Arc::new(Echo));
    b.router.answer(name("ask/1"), Slow::new(ms(0)));
    let channel = a.net.open_any(b.id(), &[name("task/2"), name("task/1")]).await.unwrap();
    assert_eq!(channel.service, name("task/1"), "the best that both have");

    let code = |result: Result<Channel, NetError>| match result {
        Err(NetError::Service { code, .. }) => code,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    };
    assert_eq!(code(a.net.open(b.id(), &name("nothing/1")).await), ErrorCode::NoSuchService);
    assert_eq!(code(a.net.open(b.id(), &name("admin/1")).await), ErrorCode::Forbidden);
    assert_eq!(code(a.net.open(b.id(), &name("ask/1")).await), ErrorCode::NoSuchService);
    assert_eq!(code(a.net.open(a.id(), &name("task/1")).await), ErrorCode::Oneself);
    b.judge.trust(a.id(), Role::Guest);
    assert_eq!(code(a.net.open(b.id(), &name("task/1")).await), ErrorCode::Forbidden);
    let unknown = a.net.open(key(9).id(), &name("task/1")).await;
    assert!(matches!(unknown, Err(NetError::Unreachable(_))));
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered() {
    let world = World::new(1);
    let (a, b) = pair(&world).await;
    let slow = Slow::new(ms(50));
    b.router.answer(name("ask/1"), slow.clone());
    let ask = |text: &[u8], wait| a.net.request(b.id(), &ASK, text.to_vec(), ms(wait));
    static ASK: std::sync::LazyLock<ServiceName> = std::sync::LazyLock::new(|| "ask/1".parse().unwrap());
    assert_eq!(ask(b"x", 5000).await.unwrap(), b"re: x");
    let many = futures_util::future::join_all((0..200u32).map(|n| {
        let (net, id) = (a.net.clone(), b.id());
        async move { net.request(id, &ASK, n.to_le_bytes().to_vec(), ms(5000)).await }
    }));
    let (good, busy): (Vec<_>, Vec<_>) = many.await.into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), busy.len()), (128, 72), "bounded");
    assert!(matches!(busy[0], Err(RequestError::Net(NetError::Limit { .. }))));
    assert!(matches!(ask(&vec![0; 5 << 20], 5000).await, Err(RequestError::TooLong { .. })));
    let big = vec![7; 3 << 20];
    assert_eq!(ask(&big, 20_000).await.unwrap().len(), big.len() + 4);

    let before = slow.done.load(Ordering::SeqCst);
    assert!(matches!(ask(b"x", 20).await, Err(RequestError::Timeout)));
    sleep(ms(500)).await;
    assert_eq!(slow.done.load(Ordering::SeqCst), before, "who gives up ends the work");
}

/// Answers requests of three bytes at most.
struct Short;

impl Respond for Short {
    fn respond(&self, _: Caller, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, ErrorCode>> {
        Box::pin(async move { Ok(request) })
    }

    fn longest(&self) -> usize {
        3
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_announced_and_never_sent_hold_little() {
    let world = World::new(1);
    let (a, b) = pair(&world).await;
    up(&a, &b).await;
    b.router.answer(ask(), Slow::new(ms(1)));
    b.router.answer(name("short/1"), Arc::new(Short));
    let small = |service: ServiceName, len: usize| {
        let (net, to) = (a.net.clone(), b.id());
        async move { net.request(to, &service, vec![1; len], ms(5000)).await }
    };
    let connection = a.net.open(b.id(), &name("echo/1")).await.unwrap().connection;
    let link = a.link(&b).unwrap().id;
    let mut streams = Vec::new();
    for id in 1000..1004 {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        let want = Want::Request { link, id, done_below: 0, len: 4 << 20 };
        write_message(&mut send, &Open { services: vec![ask()], want }).await.unwrap();
        streams.push((send, recv));
    }
    sleep(ms(500)).await;
    let refused = small(ask(), 1).await;
    assert!(
        matches!(refused, Err(RequestError::Net(NetError::Service { code: ErrorCode::Busy, .. }))),
        "{refused:?}"
    );
    drop(streams);
    sleep(ms(500)).await;
    assert_eq!(small(ask(), 1).await.unwrap().len(), 5);
    assert_eq!(small(name("short/1"), 3).await.unwrap().len(), 3);
    assert!(small(name("short/1"), 4).await.is_err(), "longer than its service takes");
}

#[tokio::test(start_paused = true)]
async fn handlers_are_bounded_over_restarts_of_their_caller_and_end_with_trust() {
    let world = World::new(1);
    let (a, b) = pair(&world).await;
    let slow = Slow::new(Duration::from_secs(100_000));
    b.router.answer(ask(), slow.clone());
    let Device { host, judge, router, mut net } = a;
    for life in 0..3 {
        timeout(Duration::from_secs(60), async {
            let mut links = net.links();
            while links.borrow_and_update().get(&b.id()).is_none_or(|l| l.presence != Presence::Online) {
                links.changed().await.unwrap();
            }
        })
        .await
        .unwrap();
        let asking: Vec<_> = (0..100)
            .map(|_| {
                let (net, to) = (net.clone(), b.id());
                tokio::spawn(async move {
                    let _ = net.request(to, &ask(), b"x".to_vec(), Duration::from_secs(1000)).await;
                })
            })
            .collect();
        sleep(Duration::from_secs(5)).await;
        let begun = slow.begun.load(Ordering::SeqCst);
        assert_eq!(begun, if life == 0 { 100 } else { 128 });
        host.kill();
        asking.iter().for_each(tokio::task::JoinHandle::abort);
        host.restart();
        net = Net::start(host.seam(), key(1), judge.clone(), router.clone(), config()).await.unwrap();
        net.add_static(Some(b.id()), b.host.address(PORT));
    }
    assert_eq!(Arc::strong_count(&slow.done), 129, "all of them at work");
    b.judge.distrust(&key(1).id());
    sleep(ms(100)).await;
    assert_eq!(Arc::strong_count(&slow.done), 1, "nothing goes on for one that is out");
}

#[tokio::test(start_paused = true)]
async fn presence_follows_silence_and_return() {
    let world = World::new(1);
    let (a, b) = pair(&world).await;
    up(&a, &b).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(a.presence(&b), Presence::Online, "keep-alives are heard");
    let mut events = a.net.events();

    world.cut(&a.host, &b.host);
    let cut = Instant::now();
    a.until_presence(&b, Presence::Suspect).await;
    let suspect = cut.elapsed();
    a.until_presence(&b, Presence::Offline).await;
    let offline = cut.elapsed();
    assert!(suspect >= ms(600) && suspect <= ms(1300), "{suspect:?}");
    assert!(offline >= ms(1600) && offline <= ms(2300), "{offline:?}");

    sleep(Duration::from_secs(20)).await;
    world.mend(&a.host, &b.host);
    let mended = Instant::now();
    a.until_presence(&b, Presence::Online).await;
    b.until_presence(&a, Presence::Online).await;
    assert!(mended.elapsed() < Duration::from_secs(46), "{:?}", mended.elapsed());
    assert_eq!(echo(&a, &b, b"again").await.unwrap(), b"again");
    assert_eq!(
        events.recv().await.unwrap(),
        LinkEvent::Presence { peer: b.id(), presence: Presence::Suspect }
    );
    assert_eq!(
        events.recv().await.unwrap(),
        LinkEvent::Presence { peer: b.id(), presence: Presence::Offline }
    );
}

#[tokio::test(start_paused = true)]
async fn a_killed_and_restarted_device_is_back_at_once() {
    let world = World::new(1);
    let (a, b) = pair(&world).await;
    up(&a, &b).await;
    let before = a.link(&b).unwrap();
    let mut events = a.net.events();
    b.host.kill();
    b.host.restart();
    // The others have not noticed: their old connection still counts as live.
    let seam = b.host.seam();
    let again = Net::start(seam, key(2), b.judge.clone(), b.router.clone(), config()).await.unwrap();
    again.add_static(Some(a.id()), a.host.address(PORT));
    let came = timeout(ms(900), async {
        loop {
            if let LinkEvent::Up { rebooted, .. } = events.recv().await.unwrap() {
                return rebooted;
            }
        }
    });
    assert!(came.await.expect("the newer boot wins over the old connection at once"));
    let after = a.link(&b).unwrap();
    assert_ne!(after.id, before.id);
    assert_eq!(after.presence, Presence::Online);
}

#[tokio::test(start_paused = true)]
async fn a_request_survives_a_moving_dialler_and_a_moving_listener() {
    for listener_moves in [false, true] {
        let world = World::new(1);
        let (a, b) = pair(&world).await;
        up(&a, &b).await;
        let (dialler, listener) = if a.link(&b).unwrap().dialled { (&a, &b) } else { (&b, &a) };
        let slow = Slow::new(ms(3000));
        listener.router.answer(name("ask/1"), slow.clone());
        dialler.router.answer(name("ask/1"), slow.clone());
        let link = a.link(&b).unwrap().id;
        for (from, to) in [(dialler, listener), (listener, dialler)] {
            let ask = ask();
            let asked = from.net.request(to.id(), &ask, b"x".to_vec(), Duration::from_secs(30));
            let moved = async {
                sleep(ms(1000)).await;
                let mover = if listener_moves { listener } else { dialler };
                let octet = 100 + slow.begun.load(Ordering::SeqCst) as u8;
                mover.host.set_addresses(vec![std::net::IpAddr::from([10, 0, 7, octet])]);
            };
            let begun = Instant::now();
            let (answer, ()) = tokio::join!(asked, moved);
            assert_eq!(answer.unwrap(), b"re: x");
            assert!(begun.elapsed() < ms(4500), "listener moves: {listener_moves}: {:?}", begun.elapsed());
            sleep(ms(3000)).await;
            assert_eq!(a.link(&b).unwrap().id, link, "the link resumed");
        }
        assert_eq!(slow.begun.load(Ordering::SeqCst), 2, "each was carried out once");
        up(&a, &b).await;
        assert_eq!(echo(&a, &b, b"on").await.unwrap(), b"on");
    }
}

fn ask() -> ServiceName {
    name("ask/1")
}

#[tokio::test(start_paused = true)]
async fn a_request_survives_a_lost_connection_and_is_carried_out_once() {
    let world = World::new(3);
    let (a, b) = pair(&world).await;
    up(&a, &b).await;
    let slow = Slow::new(ms(5000));
    b.router.answer(ask(), slow.clone());
    let ask = ask();
    let asked = a.net.request(b.id(), &ask, b"x".to_vec(), Duration::from_secs(200));
    let trouble = async {
        sleep(ms(1000)).await;
        world.cut(&a.host, &b.host);
        sleep(Duration::from_secs(60)).await; // both sides' connections die of it
        assert_eq!(slow.done.load(Ordering::SeqCst), 1, "the work went on meanwhile");
        world.mend(&a.host, &b.host);
    };
    let (answer, ()) = tokio::join!(asked, trouble);
    assert_eq!(answer.unwrap(), b"re: x");
    assert_eq!(slow.begun.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_after_trust_lapsed_on_one_side_and_returned() {
    let world = World::new(3);
    let (a, b) = pair(&world).await;
    up(&a, &b).await;
    let slow = Slow::new(ms(1));
    b.router.answer(ask(), slow.clone());
    let asked = || async { a.net.request(b.id(), &ask(), b"x".to_vec(), Duration::from_secs(10)).await };
    for round in 1..4 {
        for _ in 0..3 {
            assert_eq!(asked().await.unwrap(), b"re: x", "round {round}");
        }
        assert_eq!(slow.begun.load(Ordering::SeqCst), 3 * round);
        // B trusts A all the time, and remembers what it answered.
        a.judge.distrust(&b.id());
        b.until_presence(&a, Presence::Offline).await;
        a.judge.trust(b.id(), Role::Member);
        up(&a, &b).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_to_a_device_that_restarts_says_so() {
    let world = World::new(3);
    let (a, b) = pair(&world).await;
    up(&a, &b).await;
    b.router.answer(ask(), Slow::new(ms(5000)));
    let asked = async { a.net.request(b.id(), &ask(), b"x".to_vec(), Duration::from_secs(60)).await };
    let restart = async {
        sleep(ms(1000)).await;
        b.host.kill();
        b.host.restart();
        let net =
            Net::start(b.host.seam(), key(2), b.judge.clone(), b.router.clone(), config()).await.unwrap();
        net.add_static(Some(a.id()), a.host.address(PORT));
        net
    };
    let (answer, _net) = tokio::join!(asked, restart);
    assert!(matches!(answer, Err(RequestError::Net(NetError::Restarted(_)))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_superseded_connection_lets_its_channels_end_but_not_without_trust() {
    for removed in [false, true] {
        let world = World::new(1);
        let (a, b) = pair(&world).await;
        up(&a, &b).await;
        let (dialler, listener) = if a.link(&b).unwrap().dialled { (&a, &b) } else { (&b, &a) };
        let mut channel = dialler.net.open(listener.id(), &name("echo/1")).await.unwrap();
        let generation = a.link(&b).unwrap().generation;
        // The listener believes it moved, and redials; the old connection is as good as ever.
        let addresses = listener.host.addresses();
        listener.host.set_addresses(vec![std::net::IpAddr::from([10, 0, 7, 7])]);
        a.until(&b, |link| link.generation > generation).await;
        listener.host.set_addresses(addresses);
        sleep(ms(500)).await;
        if removed {
            listener.judge.distrust(&dialler.id());
            sleep(ms(50)).await;
            assert!(channel.recv.read_chunk(1).await.is_err());
        } else {
            channel.send.write_all(b"still here").await.unwrap();
            channel.finish();
            assert_eq!(channel.recv.read_to_end(100).await.unwrap(), b"still here");
            let connection = channel.connection.clone();
            drop(channel);
            timeout(ms(2000), connection.closed()).await.expect("then it ends");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn removal_ends_the_link_at_once() {
    let world = World::new(1);
    let (a, b) = pair(&world).await;
    up(&a, &b).await;
    let mut channel = a.net.open(b.id(), &name("echo/1")).await.unwrap();
    b.judge.distrust(&a.id());
    let begun = Instant::now();
    a.until_presence(&b, Presence::Offline).await;
    assert!(begun.elapsed() < ms(100), "{:?}", begun.elapsed());
    assert!(b.link(&a).is_none());
    let error = channel.recv.read_chunk(1).await.unwrap_err();
    let quinn::ReadError::ConnectionLost(quinn::ConnectionError::ApplicationClosed(close)) = error else {
        panic!("{error}");
    };
    assert_eq!(close.error_code.into_inner(), u64::from(ErrorCode::Removed.number()));
    assert!(a.link(&b).unwrap().last_down.unwrap().contains("removed"));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(a.presence(&b), Presence::Offline, "and it stays down");
    b.judge.trust(a.id(), Role::Member);
    b.net.add_static(Some(a.id()), a.host.address(PORT));
    up(&a, &b).await;
}

/// A judge that takes everybody for a stranger for a moment, and does not tell that it does.
struct Blinks {
    judge: Arc<FixedJudge>,
    blind: AtomicBool,
    asked: AtomicUsize,
}

impl Judge for Blinks {
    fn standing(&self, peer: &DeviceId) -> Standing {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.blind.load(Ordering::SeqCst) {
            return Standing::Stranger { pairing: false };
        }
        self.judge.standing(peer)
    }
    fn may_open(&self, peer: &DeviceId, service: &ServiceName) -> Result<(), ErrorCode> {
        self.judge.may_open(peer, service)
    }
    fn peers(&self) -> Vec<DeviceId> {
        self.judge.peers()
    }
    fn tag_secrets(&self) -> Vec<TagSecret> {
        self.judge.tag_secrets()
    }
    fn announce_openly(&self) -> bool {
        self.judge.announce_openly()
    }
    fn changed(&self) -> watch::Receiver<u64> {
        self.judge.changed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_ends_while_trust_flickers_is_not_the_last() {
    let world = World::new(1);
    let (all, a, b) = far_apart();
    // B does not dial by itself.
    let b = device(&world, "b", b, &all, NetConfig { link_budget: 0, ..config() }).await;
    let judge = Arc::new(Blinks {
        judge: FixedJudge::new([b.id()]),
        blind: AtomicBool::new(true),
        asked: AtomicUsize::new(0),
    });
    let host = world.host("a");
    let net = Net::start(host.seam(), key(a), judge.clone(), Router::new(), config()).await.unwrap();
    let before = judge.asked.load(Ordering::SeqCst);
    net.add_static(Some(b.id()), b.host.address(PORT));
    sleep(Duration::from_secs(1)).await;
    assert!(judge.asked.load(Ordering::SeqCst) > before, "a dial went through, and was judged");
    assert_eq!(net.links().borrow().get(&b.id()).map(|l| l.generation), Some(0), "it was turned away");
    judge.blind.store(false, Ordering::SeqCst);
    let mut links = net.links();
    let up = links.wait_for(|links| links.get(&b.id()).is_some_and(|l| l.presence == Presence::Online));
    timeout(Duration::from_secs(120), up).await.expect("it is dialled again").unwrap();
}

#[tokio::test(start_paused = true)]
async fn strangers_may_only_pair_and_only_while_it_is_open() {
    let world = World::new(1);
    let a = device(&world, "a", 1, &[], config()).await;
    let b = device(&world, "b", 2, &[], config()).await;
    b.router.serve(name("pair/1"), Arc::new(Echo));
    let at = b.host.address(PORT);
    let closed = a.net.open_stranger(at, Some(b.id()), &name("pair/1")).await;
    assert!(matches!(closed, Err(NetError::Refused(ErrorCode::NotTrusted))), "{:?}", closed.err());

    b.judge.set_pairing(true);
    let mut channel = a.net.open_stranger(at, Some(b.id()), &name("pair/1")).await.unwrap();
    channel.send.write_all(b"pin").await.unwrap();
    channel.finish();
    assert_eq!(channel.recv.read_to_end(10).await.unwrap(), b"pin");
    assert_eq!(channel.peer, Caller { device: b.id(), role: None, program: None });

    // Once they trust each other they link up, from where they met.
    let friend = device(&world, "f", 40, &[], config()).await;
    let met = friend.net.open_stranger(at, Some(b.id()), &name("pair/1")).await.unwrap();
    friend.judge.trust(b.id(), Role::Member);
    b.judge.trust(friend.id(), Role::Member);
    up(&friend, &b).await;
    // The connection on which they met does not become a second link, which nothing would end with the trust.
    let (mut send, mut recv) = met.connection.open_bi().await.unwrap();
    let open = Open { services: vec![name("echo/1")], want: Want::Stream };
    write_message(&mut send, &open).await.unwrap();
    let reply = read_message::<Reply>(&mut recv).await.unwrap();
    assert_eq!(reply, Some(Reply::Refused(ErrorCode::NotTrusted.number())));
    drop(met);
    sleep(Duration::from_secs(5)).await;
    up(&friend, &b).await;

    let other = a.net.open_stranger(at, Some(b.id()), &name("echo/1")).await;
    assert!(matches!(other, Err(NetError::Service { code: ErrorCode::NotTrusted, .. })), "{:?}", other.err());
    let swapped = a.net.open_stranger(at, Some(key(7).id()), &name("pair/1")).await;
    assert!(matches!(swapped, Err(NetError::Dial { .. })), "{:?}", swapped.err());
    let nobody = a.net.open_stranger("10.9.9.9:1".parse().unwrap(), None, &name("pair/1")).await;
    assert!(matches!(nobody, Err(NetError::Dial { .. })));

    // Strangers that do nothing are bounded in number and time: a newcomer gets the place of the oldest.
    let mut held = Vec::new();
    for n in 10..30 {
        let world_host = format!("s{n}");
        let s = device(&world, &world_host, n, &[], config()).await;
        let opened = s.net.open_stranger(at, None, &name("pair/1")).await;
        held.push((s, opened));
    }
    sleep(Duration::from_secs(1)).await;
    let stands = |channel: &Channel| channel.connection.close_reason().is_none();
    let open: Vec<bool> = held.iter().map(|(_, opened)| opened.as_ref().is_ok_and(stands)).collect();
    assert!(held.iter().all(|(_, opened)| opened.is_ok()), "each came in");
    assert_eq!(open, [[false; 12].as_slice(), &[true; 8]].concat(), "the last of them are still in");
    sleep(Duration::from_secs(100)).await;
    let mut again = a.net.open_stranger(at, None, &name("pair/1")).await.unwrap();
    again.finish();
    for (_, opened) in held {
        if let Ok(mut channel) = opened {
            assert!(channel.recv.read_chunk(1).await.is_err(), "its time was over");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn versions_that_do_not_meet_get_a_clear_message() {
    let world = World::new(1);
    let a = device(&world, "a", 1, &[2], config()).await;
    let newer = NetConfig { versions: Some((2, 3)), ..config() };
    let b = device(&world, "b", 2, &[1], newer).await;
    introduce(&a, &b);
    sleep(Duration::from_secs(3)).await;
    let (ab, ba) = (a.link(&b).unwrap(), b.link(&a).unwrap());
    assert_eq!((ab.generation, ba.generation), (0, 0), "no link came of it");
    let (old, new) = (ab.last_down.unwrap(), ba.last_down.unwrap());
    assert!(old.contains("update") && new.contains("update") && old != new, "{old} / {new}");
    b.judge.set_pairing(true);
    b.judge.distrust(&a.id());
    a.judge.distrust(&b.id());
    let error = a.net.open_stranger(b.host.address(PORT), None, &name("pair/1")).await.err().unwrap();
    let text = error.to_string();
    assert!(text.contains("update"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn discovery_brings_members_together() {
    let world = World::new(5);
    let found = NetConfig { discovery: true, ..config() };
    let a = device(&world, "a", 1, &[2], found.clone()).await;
    let b = device(&world, "b", 2, &[1], found.clone()).await;
    let c = device(&world, "c", 3, &[], found).await;
    for device in [&a, &b] {
        device.judge.set_tag_secret([9; 32]);
    }
    up(&a, &b).await;
    assert!(a.link(&c).is_none() && c.link(&a).is_none());
    let nearby = a.net.nearby().borrow().clone();
    assert_eq!(nearby.len(), 2, "a stranger is seen, too");

    // A restart elsewhere, with another address, is found again.
    b.host.kill();
    b.host.set_addresses(vec![std::net::IpAddr::from([10, 0, 9, 9])]);
    a.until_presence(&b, Presence::Offline).await;
    b.host.restart();
    let seam = b.host.seam();
    let config = NetConfig { discovery: true, port: 5000, ..NetConfig::default() };
    let _net = Net::start(seam, key(2), b.judge.clone(), b.router.clone(), config).await.unwrap();
    a.until_presence(&b, Presence::Online).await;
    assert_eq!(a.link(&b).unwrap().address, Some("10.0.9.9:5000".parse().unwrap()));
}

/// Discovery whose first subscriptions end before anything is seen.
struct Ending {
    inner: Arc<dyn Discovery>,
    ends: usize,
    begun: Arc<AtomicUsize>,
}

impl Discovery for Ending {
    fn browse(&self) -> std::io::Result<mpsc::Receiver<Sighting>> {
        match self.begun.fetch_add(1, Ordering::SeqCst) {
            n if n < self.ends => Ok(mpsc::channel(1).1),
            n if n == self.ends => Err(std::io::Error::other("not now")),
            _ => self.inner.browse(),
        }
    }

    fn announce(&self, announcement: &Announcement) -> std::io::Result<()> {
        self.inner.announce(announcement)
    }

    fn goodbye(&self) -> BoxFuture<'_, ()> {
        self.inner.goodbye()
    }
}

#[tokio::test(start_paused = true)]
async fn browsing_begins_again_when_it_ends() {
    let world = World::new(5);
    let begun = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let mut nets = Vec::new();
    for (n, begun) in [(1, &begun[0]), (2, &begun[1])] {
        let host = world.host(&format!("host {n}"));
        let mut seam = host.seam();
        seam.discovery = Arc::new(Ending { inner: seam.discovery, ends: 2, begun: begun.clone() });
        let judge = FixedJudge::new([key(3 - n).id()]);
        judge.set_tag_secret([9; 32]);
        let found = NetConfig { discovery: true, ..config() };
        nets.push(Net::start(seam, key(n), judge, Router::new(), found).await.unwrap());
    }
    let mut links = nets[0].links();
    let linked = links.wait_for(|links| links.values().any(|link| link.presence == Presence::Online));
    timeout(Duration::from_secs(600), linked).await.expect("they find each other").unwrap();
    assert!(begun.iter().any(|begun| begun.load(Ordering::SeqCst) == 4));
}

#[tokio::test(start_paused = true)]
async fn a_static_address_of_an_unknown_device_is_enough() {
    let world = World::new(5);
    let b = device(&world, "b", 2, &[1], config()).await;
    let statics = NetConfig { static_peers: vec![(None, b.host.address(PORT))], ..config() };
    let a = device(&world, "a", 1, &[], statics).await;
    sleep(Duration::from_secs(2)).await;
    assert!(a.link(&b).is_none(), "not trusted");
    a.judge.trust(b.id(), Role::Member);
    up(&a, &b).await;
}

#[tokio::test(start_paused = true)]
async fn sleep_and_goodbye_show_at_the_others() {
    let world = World::new(1);
    let (a, b) = pair(&world).await;
    up(&a, &b).await;
    b.net.announce_sleep(Duration::from_secs(60)).await;
    a.until_presence(&b, Presence::Asleep).await;
    // What still runs on the sleeper and wants something of the peer does not undo it.
    let echo = name("echo/1");
    let wanted = b.net.open(a.id(), &echo);
    assert!(tokio::time::timeout(Duration::from_secs(40), wanted).await.is_ok_and(|opened| opened.is_err()));
    assert_eq!(a.presence(&b), Presence::Asleep);
    sleep(Duration::from_secs(19)).await;
    assert_eq!(a.presence(&b), Presence::Asleep);
    b.net.wake();
    up(&a, &b).await;

    let begun = Instant::now();
    b.net.shutdown().await;
    a.until_presence(&b, Presence::Offline).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(a.link(&b).unwrap().last_down.unwrap().contains("goodbye"));
    assert!(matches!(b.net.open(a.id(), &name("echo/1")).await, Err(NetError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn bulk_flows_and_is_measured() {
    let world = World::new(1);
    let (a, b) = pair(&world).await;
    let mut channel = a.net.open(b.id(), &name("echo/1")).await.unwrap();
    let sent = vec![5u8; 4 << 20];
    let (mut send, recv) = (channel.send, &mut channel.recv);
    let write = async {
        send.write_all(&sent).await.unwrap();
        send.finish().unwrap();
    };
    let ((), back) = tokio::join!(write, async { recv.read_to_end(8 << 20).await.unwrap() });
    assert_eq!(back.len(), sent.len());
    sleep(Duration::from_secs(2)).await;
    let link = a.link(&b).unwrap();
    assert!(link.bytes.0 > 4 << 20 && link.bytes.1 > 4 << 20, "{:?}", link.bytes);
    assert!(link.rate_bytes_per_s > 1_000_000, "{}", link.rate_bytes_per_s);
    assert!(link.rtt > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn after_suspend_the_links_are_back_at_once() {
    let world = World::new(1);
    let (a, b) = pair(&world).await;
    up(&a, &b).await;
    // The laptop slept an hour: the peer gave it up and forgot the connection; monotonic time stood still.
    let generation = a.link(&b).unwrap().generation;
    b.host.kill();
    b.host.restart();
    let net = Net::start(b.host.seam(), key(2), b.judge.clone(), b.router.clone(), config()).await.unwrap();
    a.host.clock().suspend(Duration::from_secs(3600));
    let begun = Instant::now();
    let mut events = a.net.events();
    let up_again = async {
        loop {
            if let LinkEvent::Up { .. } = events.recv().await.unwrap() {
                break;
            }
        }
    };
    // The restarted peer knows no address of ours: only our own probing can bring the link back.
    timeout(ms(1200), up_again).await.expect("before presence alone would have noticed");
    assert!(begun.elapsed() < ms(1200));
    assert!(a.link(&b).unwrap().generation >= generation);
    drop(net);
}

#[tokio::test(start_paused = true)]
async fn past_the_budget_links_open_on_demand_and_rest() {
    let world = World::new(2);
    let mut home = Vec::new();
    let all: Vec<u8> = (1..=12).collect();
    for n in &all {
        let config = NetConfig { discovery: true, link_budget: 3, ..config() };
        let device = device(&world, &format!("h{n}"), *n, &all, config).await;
        device.judge.set_tag_secret([1; 32]);
        home.push(device);
    }
    sleep(Duration::from_secs(10)).await;
    let live =
        |d: &Device| d.net.links().borrow().values().filter(|l| l.presence == Presence::Online).count();
    let counts: Vec<usize> = home.iter().map(live).collect();
    assert!(counts.iter().all(|n| (2..=4).contains(n)), "{counts:?}");
    let first = &home[0];
    let far = home[1..].iter().find(|d| first.link(d).is_none()).expect("somebody is no neighbour");
    assert_eq!(echo(first, far, b"over there").await.unwrap(), b"over there");
    assert_eq!(first.presence(far), Presence::Online);
    sleep(Duration::from_secs(70)).await;
    assert_eq!(first.presence(far), Presence::Asleep, "unused, it rests");
    assert_eq!(echo(far, first, b"and back").await.unwrap(), b"and back");
    assert_eq!(live(first), counts[0] + 1);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_comes_to_rest_as_it_is_used_opens_again() {
    let world = World::new(2);
    let (all, a, b) = far_apart();
    let config = || NetConfig { discovery: true, link_budget: 0, ..config() };
    let a = device(&world, "a", a, &all, config()).await;
    let b = device(&world, "b", b, &all, config()).await;
    world.set_conditions_between(&a.host, &b.host, Conditions { latency: ms(100), ..Conditions::default() });
    for device in [&a, &b] {
        device.judge.set_tag_secret([1; 32]);
    }
    sleep(Duration::from_secs(5)).await;
    // As long as A has its side of a channel it does not let the link rest. B has let go of it.
    let mut channel = a.net.open(b.id(), &name("echo/1")).await.unwrap();
    channel.finish();
    channel.recv.read_to_end(1).await.unwrap();
    sleep(Duration::from_secs(30)).await;
    b.until_presence(&a, Presence::Asleep).await;
    assert_eq!(a.presence(&b), Presence::Online, "A has not heard of it yet");
    assert_eq!(echo(&a, &b, b"not yet").await.unwrap(), b"not yet");
    drop(channel);
}

#[tokio::test(start_paused = true)]
async fn equal_seeds_make_equal_traffic() {
    async fn run(seed: u64) -> String {
        let world = World::new(seed);
        world.net().set_conditions(softbus_net::seam::memory::Conditions::bad());
        let (a, b) = pair(&world).await;
        up(&a, &b).await;
        echo(&a, &b, &[7; 20_000]).await.unwrap();
        b.host.set_addresses(vec![std::net::IpAddr::from([10, 0, 7, 7])]);
        sleep(Duration::from_secs(20)).await;
        format!("{:?}", world.net().stats())
    }
    let first = run(11).await;
    assert_eq!(first, run(11).await);
    assert_ne!(first, run(12).await);
}

#[tokio::test(start_paused = true)]
async fn bad_radio_still_makes_a_link() {
    for seed in 0..6 {
        let world = World::new(seed);
        world.net().set_conditions(softbus_net::seam::memory::Conditions::bad());
        let (a, b) = pair(&world).await;
        b.router.answer(ask(), Slow::new(ms(100)));
        up(&a, &b).await;
        for n in 0..20u8 {
            let answer = a.net.request(b.id(), &ask(), vec![n], Duration::from_secs(60)).await;
            assert_eq!(answer.unwrap(), [b"re: ", [n].as_slice()].concat());
        }
        let (ab, ba) = (a.link(&b).unwrap(), b.link(&a).unwrap());
        assert_eq!(ab.id, ba.id);
    }
}
