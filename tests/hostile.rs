//! Strangers that mean harm, against a node with a friend: 200 of them at once for half a minute, and one who
//! guesses PINs.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test outside of the seam; its helpers are tests, too"
)]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use softbus::net::seam::Silent;
use softbus::net::seam::real::RealSeam;
use softbus::net::testing::FixedJudge;
use softbus::net::{Bind, Net, NetConfig, NetError, Router};
use softbus::roster::machine::Machine;
use softbus::trust::DeviceKey;
use softbus_cli::control::{Event, PairTerms, PairingView, PresenceView, Request, Response, Step};
use softbus_cli::failure::Kind;
use softbus_core::ServiceName;
use softbus_core::wire::task_control::PolicyKind;
use support::{How, Node, Work, home, presence};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long the attack lasts.
const ATTACK: Duration = Duration::from_secs(30);
/// How much resident memory it may cost.
const GROWTH: u64 = 64 << 20;
/// Least tasks that the friends get done meanwhile, one after another, on a machine that is busy with the attack.
const TASKS: u32 = 3;
/// Who attacks: 200 in all.
const FLOODERS: usize = 60;
const HALF_OPEN: usize = 60;
const STRANGERS: usize = 60;
const PAIRERS: usize = 20;
/// Most datagrams that one flooder or half-open one sends.
const DATAGRAMS: usize = 6_000;
/// Most bytes that one pairer sends.
const STREAM_BYTES: usize = 64 << 20;

/// Reproducible noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// What the attackers have in common.
struct Attack {
    target: SocketAddr,
    over: AtomicBool,
    datagrams: AtomicU64,
    handshakes: AtomicU64,
    /// Of these, how many were told no.
    refused: AtomicU64,
    streamed: AtomicU64,
}

impl Attack {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Datagrams of every length: noise, and noise that looks like QUIC from the first byte on.
    async fn flood(self: Arc<Self>, seed: u64) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut noise = Noise(seed | 1);
        let mut buffer = [0u8; 1452];
        for n in 0..DATAGRAMS {
            if !self.goes_on() {
                return;
            }
            let len = [1, 20, 41, 200, 1200, 1452][(noise.next() % 6) as usize];
            noise.fill(&mut buffer[..len]);
            if n.is_multiple_of(2) && len > 6 {
                // A long header of version 1: Initial, 0-RTT, Handshake or Retry.
                buffer[0] = 0xc0 | (buffer[0] & 0x3f);
                buffer[1..5].copy_from_slice(&1u32.to_be_bytes());
                buffer[5] = 8;
            }
            if socket.send_to(&buffer[..len], self.target).await.is_ok() {
                self.datagrams.fetch_add(1, Ordering::Relaxed);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// A real client behind a relay that lets nothing back: its handshakes stay half open.
    async fn half_open(self: Arc<Self>, net: Net) {
        let inside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let outside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = inside.local_addr().unwrap();
        let relay = async {
            let mut buffer = [0u8; 2048];
            for _ in 0..DATAGRAMS {
                let Ok((len, _)) = inside.recv_from(&mut buffer).await else { continue };
                if outside.send_to(&buffer[..len], self.target).await.is_ok() {
                    self.datagrams.fetch_add(1, Ordering::Relaxed);
                }
            }
            std::future::pending::<()>().await;
        };
        let dial = async {
            while self.goes_on() {
                let _ =
                    timeout(Duration::from_secs(1), net.open_stranger(at, None, &service("pair/1"))).await;
            }
        };
        tokio::select! { biased; () = relay => {}, () = dial => {} }
    }

    /// Completes its handshake, proves an id that nobody trusts, and asks for services.
    async fn intrude(self: Arc<Self>, net: Net, seed: u64) {
        let services = ["task/1", "roster/1", "circle/1", "nonsense/9"];
        let mut noise = Noise(seed | 1);
        while self.goes_on() {
            let name = service(services[(noise.next() % services.len() as u64) as usize]);
            self.handshakes.fetch_add(1, Ordering::Relaxed);
            let opened = timeout(Duration::from_secs(10), net.open_stranger(self.target, None, &name)).await;
            match opened {
                Ok(Ok(_)) => panic!("a stranger got {name}"),
                // Told no: at the door, or by the service.
                Ok(Err(NetError::Refused(_) | NetError::Service { .. })) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                // No answer in time, under this load; that refuses nobody.
                Ok(Err(_)) | Err(_) => {}
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Is let in while pairing is open, and then sends without end, or nothing, and never reads.
    async fn crowd(self: Arc<Self>, net: Net, seed: u64) {
        let mut noise = Noise(seed | 1);
        let mut chunk = vec![0u8; 64 << 10];
        let mut left = STREAM_BYTES;
        let pairing = service("pair/1");
        while self.goes_on() {
            let opening = net.open_stranger(self.target, None, &pairing);
            if let Ok(Ok(mut channel)) = timeout(Duration::from_secs(10), opening).await {
                noise.fill(&mut chunk);
                if noise.next().is_multiple_of(3) {
                    // Announces a long message and lets it drip.
                    chunk[..4].copy_from_slice(&[0xff, 0xff, 0x3f, 0x01]);
                    for byte in chunk.iter().take(40) {
                        if !self.goes_on() || channel.send.write_all(&[*byte]).await.is_err() {
                            break;
                        }
                        sleep(Duration::from_millis(100)).await;
                    }
                } else {
                    while self.goes_on() && left > 0 {
                        match timeout(Duration::from_secs(2), channel.send.write_all(&chunk)).await {
                            Ok(Ok(())) => {
                                left = left.saturating_sub(chunk.len());
                                self.streamed.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                            }
                            _ => break,
                        }
                    }
                    timeout(Duration::from_secs(3), channel.recv.received_reset()).await.ok();
                }
            }
            sleep(Duration::from_millis(300)).await;
        }
    }
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

/// A device that nobody knows, with a key and certificate like anybody's.
async fn stranger(home: &Path, seed: u8) -> Net {
    let seam = RealSeam::new(home.join(format!("stranger-{seed}")), Arc::new(Machine::new()))
        .bind(Bind::Loopback)
        .discovery(Arc::new(Silent))
        .work_threads(1)
        .open()
        .unwrap();
    let config = NetConfig { bind: Bind::Loopback, discovery: false, ..NetConfig::default() };
    let key = Arc::new(DeviceKey::from_seed(&[seed; 32]));
    Net::start(seam, key, FixedJudge::new([]), Router::new(), config).await.unwrap()
}

async fn address(node: &Node) -> SocketAddr {
    let Ok(Response::Status(status)) = node.client.call(Request::Status {}).await else { panic!("status") };
    let addresses = status.addresses.iter().map(|a| a.parse::<SocketAddr>().unwrap());
    let port = addresses.map(|a| a.port()).next().expect("an address");
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Opens pairing over and over, as if its user did not notice anything.
async fn keep_pairing_open(client: softbus_cli::control::Client, opened: Arc<AtomicU64>) {
    loop {
        if let Ok(mut shown) = client.stream(Request::OpenPairing(PairTerms::default())).await {
            while let Ok(Step::Event(_)) = shown.next().await {
                opened.fetch_add(1, Ordering::Relaxed);
            }
        }
        sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_hostile_connections() {
    let home = home();
    let phone = Node::start(home.path(), "phone", How::loopback()).await;
    let tv = Node::start(home.path(), "tv", How::loopback()).await;
    phone.found().await;
    phone.admit(&tv).await;
    phone.until_online(&tv).await;
    tv.until_online(&phone).await;
    // Once through everything, so that what is made at the first use is there before we measure.
    let work = Work::primes(300_000);
    for runner in [&phone, &tv] {
        let task = tv.run(&work, PolicyKind::Owner, runner).await;
        tv.until_done(task.id, &work).await;
    }
    let before = phone.resident_bytes();

    let attack = Arc::new(Attack {
        target: address(&phone).await,
        over: AtomicBool::new(false),
        datagrams: AtomicU64::new(0),
        handshakes: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        streamed: AtomicU64::new(0),
    });
    let mut nets = Vec::new();
    for seed in 0..4 {
        nets.push(stranger(home.path(), 100 + seed).await);
    }
    // Of pairing strangers each device may have only few connections: they come as many.
    let mut pairing_nets = Vec::new();
    for seed in 0..10 {
        pairing_nets.push(stranger(home.path(), 150 + seed).await);
    }
    let opened = Arc::new(AtomicU64::new(0));
    let mut all = JoinSet::new();
    for n in 0..FLOODERS {
        all.spawn(attack.clone().flood(n as u64 * 77 + 1));
    }
    for n in 0..HALF_OPEN {
        all.spawn(attack.clone().half_open(nets[n % nets.len()].clone()));
    }
    for n in 0..STRANGERS {
        all.spawn(attack.clone().intrude(nets[n % nets.len()].clone(), n as u64 * 31 + 7));
    }
    for n in 0..PAIRERS {
        all.spawn(attack.clone().crowd(pairing_nets[n % pairing_nets.len()].clone(), n as u64 * 13 + 5));
    }
    let open = tokio::spawn(keep_pairing_open(phone.client.clone(), opened.clone()));

    // Meanwhile the friends go about their business.
    let begun = Instant::now();
    let (mut peak, mut looks, mut online, mut tasks) = (before, 0u32, 0u32, 0u32);
    while begun.elapsed() < ATTACK {
        let (submitter, runner) = if tasks.is_multiple_of(2) { (&tv, &phone) } else { (&phone, &tv) };
        let task = submitter.run(&work, PolicyKind::Owner, runner).await;
        submitter.until_done(task.id, &work).await;
        tasks += 1;
        for _ in 0..4 {
            peak = peak.max(phone.resident_bytes());
            looks += 1;
            online += u32::from(presence(&tv.devices().await, phone.id) == Some(PresenceView::Online));
            sleep(Duration::from_millis(250)).await;
        }
    }
    attack.over.store(true, Ordering::Relaxed);
    let ended = timeout(Duration::from_secs(30), async {
        while let Some(ended) = all.join_next().await {
            ended.expect("no attacker found a way in");
        }
    });
    ended.await.expect("the attackers end");
    open.abort();
    peak = peak.max(phone.resident_bytes());
    let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
    eprintln!(
        "{tasks} tasks done and online at {online} of {looks} looks, under {} datagrams, {} handshakes of strangers ({} refused) and \
         {} KiB on pairing streams; resident memory {} KiB before, {} KiB at most",
        count(&attack.datagrams),
        count(&attack.handshakes),
        count(&attack.refused),
        count(&attack.streamed) >> 10,
        before >> 10,
        peak >> 10,
    );
    assert!(count(&attack.datagrams) > 5_000 && count(&attack.refused) > 50, "an attack worth the name");
    assert!(count(&opened) > 0 && count(&attack.streamed) > 0, "pairing was open, and crowded");
    // Links outlast the attack: at nine of ten looks the other one is there.
    assert!(
        tasks >= TASKS && online * 10 >= looks * 9,
        "{tasks} tasks done, online at {online} of {looks} looks"
    );
    assert!(peak.saturating_sub(before) <= GROWTH, "{before} bytes before, {peak} at most");

    // And afterwards all is well.
    phone.until_online(&tv).await;
    tv.until_online(&phone).await;
    assert_eq!(phone.circles().await[0].members.len(), 2, "nobody else came in");
    for runner in [&phone, &tv] {
        let task = phone.run(&work, PolicyKind::Owner, runner).await;
        phone.until_done(task.id, &work).await;
    }
    for node in [&phone, &tv] {
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
}

#[tokio::test]
async fn three_wrong_pins_freeze_pairing_also_over_a_restart() {
    let home = home();
    let phone = Node::start(home.path(), "phone", How::loopback()).await;
    let mut tv = Node::start(home.path(), "tv", How::loopback()).await;
    phone.found().await;
    let (mut shown, mut pin) = tv.show_pin().await;
    phone.until_nearby(&tv).await;
    for left in [2, 1, 0] {
        let wrong = if pin == "000000" { "000001" } else { "000000" };
        let mut refused = phone.pair(&tv.id.to_string(), wrong).await.expect_err("a wrong PIN");
        // A busy machine may not answer a dial in time; that costs no try.
        for _ in 0..5 {
            if refused.kind == Kind::Unreachable {
                refused = phone.pair(&tv.id.to_string(), wrong).await.expect_err("a wrong PIN");
            }
        }
        assert_eq!(refused.kind, Kind::Refused, "{refused:?}");
        if left == 0 {
            break;
        }
        loop {
            match shown.next().await.expect("still open") {
                Step::Event(Event::Pairing(PairingView::Open { tries_left, .. })) if tries_left == left => {
                    break;
                }
                Step::Event(_) => {}
                Step::Done(done) => panic!("{done:?}"),
            }
        }
        if left == 1 {
            // Killed in between: the tries are not forgotten.
            drop(shown);
            tv.restart().await;
            (shown, pin) = tv.show_pin().await;
            phone.until_nearby(&tv).await;
        }
    }
    // The opening with this very PIN was alive when the third try came: without the freeze it would count now.
    let closed = phone.pair(&tv.id.to_string(), &pin).await.expect_err("frozen");
    assert_eq!(closed.kind, Kind::Refused, "{closed:?}");
    assert_eq!(phone.circles().await[0].members.len(), 1, "the right PIN does not help");
    let frozen = loop {
        match shown.next().await {
            Err(failure) => break failure,
            Ok(Step::Event(_)) => {}
            Ok(Step::Done(done)) => panic!("{done:?}"),
        }
    };
    assert!(frozen.kind == Kind::Refused && frozen.message.contains("frozen"), "{frozen:?}");
    for round in 0..2 {
        let mut opening = tv.client.stream(Request::OpenPairing(PairTerms::default())).await.unwrap();
        let refused = opening.next().await.expect_err("frozen");
        assert!(
            refused.kind == Kind::Refused && refused.to_string().contains("frozen"),
            "round {round}: {refused:?}"
        );
        // Nor after a restart.
        let closed = phone.pair(&format!("{}", address(&tv).await), &pin).await.expect_err("frozen");
        assert_eq!(closed.kind, Kind::Refused, "{closed:?}");
        tv.restart().await;
    }
    assert_eq!(phone.circles().await[0].members.len(), 1);
}
