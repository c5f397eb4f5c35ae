//! Membership over the whole network room, under virtual time on a network in memory.

#![allow(clippy::unwrap_used)] // test helpers

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use softbus_core::wire::circle::Exchange;
use softbus_core::{DeviceId, ErrorCode};
use softbus_net::membership::{Keeper, MembershipError, PairOptions, SHORTEST_GRANT};
use softbus_net::seam::Sighting;
use softbus_net::seam::memory::{Host, World};
use softbus_net::seam::store::Store;
use softbus_net::testing::FixedJudge;
use softbus_net::{Judge, Net, NetConfig, NetError, Presence, Router, Standing};
use softbus_trust::pairing::{Binding, Enterer, PairPassword};
use softbus_trust::{CirclesView, DeviceKey, Grant, PairingState, Pin, Role};
use tokio::time::timeout;

const PORT: u16 = 4000;

struct Device {
    host: Host,
    keeper: Arc<Keeper>,
    net: Net,
}

impl Device {
    async fn start(host: &Host, n: u8) -> Self {
        Self::start_with(host, n, |_| {}).await
    }

    async fn start_with(host: &Host, n: u8, configure: impl FnOnce(&mut NetConfig)) -> Self {
        let (seam, key) = (host.seam(), Arc::new(DeviceKey::from_seed(&[n; 32])));
        let store = Store::open(&seam).await.unwrap();
        let keeper = Keeper::open(store, seam.clone(), key.clone()).await.unwrap();
        let mut config = NetConfig { port: PORT, ..NetConfig::default() };
        configure(&mut config);
        let net = Net::start(seam, key, keeper.clone(), Router::new(), config).await.unwrap();
        keeper.attach(&net);
        Self { host: host.clone(), keeper, net }
    }

    fn id(&self) -> DeviceId {
        self.net.id()
    }

    /// Shows a PIN.
    async fn show(&self, options: PairOptions) -> String {
        let opening = self.keeper.open_pairing(options).await.unwrap();
        let PairingState::Open { pin, .. } = &*opening.state.borrow() else { panic!() };
        pin.reveal().to_owned()
    }

    /// Enters the PIN that `opener` shows.
    async fn pair_with(&self, opener: &Device, options: PairOptions) {
        let pin = opener.show(options).await;
        let addr = opener.host.address(PORT);
        self.keeper.pair_with(addr, Some(opener.id()), &pin, PairOptions::default()).await.unwrap();
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let patient = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let came = timeout(Duration::from_secs(60), patient).await;
        assert!(came.is_ok(), "{what}; {:?} {:?}", self.keeper.circles(), self.net.links().borrow());
    }

    async fn linked(&self, to: &Device) {
        self.until("a link", |me| me.presence(to) == Presence::Online).await;
    }

    async fn apart(&self, from: &Device) {
        self.until("no link", |me| me.presence(from) == Presence::Offline).await;
    }

    fn presence(&self, of: &Device) -> Presence {
        self.net.links().borrow().get(&of.id()).map_or(Presence::Offline, |link| link.presence)
    }

    fn trusts(&self, other: &Device) -> Option<Role> {
        match self.keeper.standing(&other.id()) {
            Standing::Trusted(role) => Some(role),
            Standing::Stranger { .. } => None,
        }
    }

    fn view(&self) -> Arc<CirclesView> {
        self.keeper.circles()
    }
}

/// A phone that founded a circle, with a TV and a car in it.
async fn home(world: &World) -> (Device, Device, Device) {
    let phone = Device::start(&world.host("phone"), 1).await;
    let tv = Device::start(&world.host("tv"), 2).await;
    let car = Device::start(&world.host("car"), 3).await;
    phone.keeper.found("home").await.unwrap();
    tv.pair_with(&phone, PairOptions::default()).await;
    car.pair_with(&phone, PairOptions::default()).await;
    for (a, b) in [(&phone, &tv), (&phone, &car), (&tv, &car), (&car, &tv), (&tv, &phone), (&car, &phone)] {
        a.linked(b).await;
    }
    (phone, tv, car)
}

fn owner() -> PairOptions {
    let grant = Grant { role: Role::Owner, expires: None, services: Default::default() };
    PairOptions { grant: Some(grant), ..PairOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn pair_once_belong_everywhere_and_be_removed_everywhere() {
    let world = World::new(1);
    let (phone, tv, car) = home(&world).await;
    assert_eq!(tv.view().circles, car.view().circles);
    assert_eq!((tv.trusts(&car), car.trusts(&tv)), (Some(Role::Member), Some(Role::Member)));
    phone.keeper.remove(None, tv.id()).await.unwrap();
    phone.apart(&tv).await;
    car.until("the car hears", |car| car.trusts(&tv).is_none()).await;
    car.apart(&tv).await;
    tv.until("the TV knows", |tv| tv.view().circles.is_empty()).await;
    assert_eq!(phone.presence(&car), Presence::Online);
    car.until("the new secret", |car| car.keeper.tag_secrets() == phone.keeper.tag_secrets()).await;
    // It may come back.
    tv.pair_with(&phone, PairOptions::default()).await;
    tv.linked(&car).await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_was_away_learns_of_a_removal_when_it_returns() {
    let world = World::new(2);
    let (phone, tv, car) = home(&world).await;
    world.cut(&phone.host, &car.host);
    world.cut(&tv.host, &car.host);
    car.apart(&phone).await;
    phone.keeper.remove(None, tv.id()).await.unwrap();
    phone.apart(&tv).await;
    assert_eq!(car.trusts(&tv), Some(Role::Member), "it cannot know");
    world.heal();
    car.until("the car hears", |car| car.trusts(&tv).is_none()).await;
    car.apart(&tv).await;
    car.linked(&phone).await;
}

/// The TV is off while the phone removes it. What it is told when it is back, and whether it can be paired anew.
async fn removed_while_off(seed: u64, configure: impl Fn(&mut NetConfig, &Device)) {
    let world = World::new(seed);
    let (phone, tv, car) = home(&world).await;
    let host = tv.host.clone();
    drop(tv);
    host.crash();
    let tv = DeviceKey::from_seed(&[2; 32]).id();
    phone.keeper.remove(None, tv).await.unwrap();
    let later = Device::start(&world.host("later"), 4).await;
    later.pair_with(&phone, PairOptions::default()).await;
    car.linked(&later).await;
    host.restart();
    let tv = Device::start_with(&host, 2, |config| configure(config, &phone)).await;
    tv.until("the TV sees that it is out", |tv| tv.view().circles.is_empty()).await;
    assert!(tv.net.links().borrow().is_empty(), "{:?}", tv.net.links().borrow());
    assert_eq!((phone.trusts(&tv), car.trusts(&tv)), (None, None));
    assert_eq!(phone.presence(&car), Presence::Online);
    tv.pair_with(&phone, PairOptions::default()).await;
    assert_eq!(phone.trusts(&tv), Some(Role::Member));
}

#[tokio::test(start_paused = true)]
async fn a_device_removed_while_it_was_off_is_called_and_learns_it() {
    // It cannot recognise the others by discovery any more, but they recognise it.
    removed_while_off(11, |_, _| {}).await;
}

#[tokio::test(start_paused = true)]
async fn a_device_removed_while_it_was_off_learns_it_when_it_dials() {
    removed_while_off(12, |config, phone| {
        config.discovery = false;
        config.static_peers = vec![(Some(phone.id()), phone.host.address(PORT))];
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_device_removed_while_it_was_off_learns_it_also_while_pairing_is_open() {
    let world = World::new(13);
    let (phone, tv, _car) = home(&world).await;
    let host = tv.host.clone();
    drop(tv);
    host.crash();
    phone.keeper.remove(None, DeviceKey::from_seed(&[2; 32]).id()).await.unwrap();
    host.restart();
    phone.show(PairOptions::default()).await;
    let tv = Device::start_with(&host, 2, |config| {
        config.discovery = false;
        config.static_peers = vec![(Some(phone.id()), phone.host.address(PORT))];
    })
    .await;
    tv.until("the TV sees that it is out", |tv| tv.view().circles.is_empty()).await;
    assert!(matches!(*phone.keeper.pairing().borrow(), PairingState::Open { .. }), "still open");
}

#[tokio::test(start_paused = true)]
async fn who_is_out_of_one_circle_and_in_another_learns_that_too() {
    let world = World::new(14);
    let (phone, tv, _car) = home(&world).await;
    let work = phone.keeper.found("work").await.unwrap().circle;
    let options = PairOptions { circle: Some(work), ..PairOptions::default() };
    let pin = phone.show(options).await;
    let join = PairOptions { join: true, ..PairOptions::default() };
    tv.keeper.pair_with(phone.host.address(PORT), Some(phone.id()), &pin, join).await.unwrap();
    assert_eq!(tv.view().circles.len(), 2);
    tv.net.shutdown().await;
    tv.host.crash();
    phone.keeper.remove(Some(work), tv.id()).await.unwrap();
    let host = tv.host.clone();
    drop(tv);
    host.restart();
    let tv = Device::start(&host, 2).await;
    tv.until("out of one", |tv| tv.view().circles.len() == 1).await;
    tv.linked(&phone).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_anything_who_never_was_in_the_circle_nor_more_than_that() {
    let world = World::new(15);
    let (phone, tv, car) = home(&world).await;
    let circle = *phone.view().circles.keys().next().unwrap();
    // The TV takes no word for it: it goes on as if it had not heard.
    let host = tv.host.clone();
    drop(tv);
    host.crash();
    let tv = DeviceKey::from_seed(&[2; 32]);
    phone.keeper.remove(None, tv.id()).await.unwrap();
    host.restart();
    for (key, former) in [(tv, true), (DeviceKey::from_seed(&[9; 32]), false)] {
        let judge = FixedJudge::new([phone.id(), car.id()]);
        let config = NetConfig {
            port: PORT + 1 + u16::from(former),
            discovery: false,
            static_peers: vec![(Some(phone.id()), phone.host.address(PORT))],
            ..NetConfig::default()
        };
        let net = Net::start(host.seam(), Arc::new(key), judge, Router::new(), config).await.unwrap();
        let ask = |services: &'static str, request: Vec<u8>| {
            let net = net.clone();
            let to = phone.id();
            async move { net.request(to, &services.parse().unwrap(), request, Duration::from_secs(3)).await }
        };
        let have = Exchange {
            circle,
            have: vec![],
            count: 0,
            statements: vec![],
            more: false,
            secret_known: None,
            secret: None,
            after: None,
        };
        let have = softbus_core::encode(&have).unwrap();
        let (told, other) = tokio::join!(ask("circle/1", have), ask("roster/1", vec![]));
        assert!(other.is_err(), "{other:?}");
        assert_eq!(told.is_ok(), former, "{told:?}");
        assert!(net.open(phone.id(), &"pair/1".parse().unwrap()).await.is_err());
        // And that is soon over.
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_ne!(net.links().borrow().get(&phone.id()).unwrap().presence, Presence::Online);
        net.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_owners_remove_each_other_in_a_partition() {
    let world = World::new(3);
    let (phone, tv, car) = home(&world).await;
    let watch = Device::start(&world.host("watch"), 4).await;
    watch.pair_with(&phone, owner()).await;
    let role = owner().grant.unwrap();
    phone.keeper.set_role(None, tv.id(), role).await.unwrap();
    for device in [&phone, &tv, &car] {
        watch.linked(device).await;
        device.until("two more owners", |d| d.view().circles == phone.view().circles).await;
    }
    tv.until("it is an owner", |tv| tv.view().circles == phone.view().circles).await;
    // The phone and the car on one side, the TV and the watch on the other.
    world.partition(&[&[&phone.host, &car.host], &[&tv.host, &watch.host]]);
    phone.apart(&tv).await;
    tv.apart(&phone).await;
    phone.keeper.remove(None, tv.id()).await.unwrap();
    tv.keeper.remove(None, phone.id()).await.unwrap();
    car.until("the car hears of one", |car| car.trusts(&tv).is_none()).await;
    watch.until("the watch hears of the other", |watch| watch.trusts(&phone).is_none()).await;
    assert_eq!((car.trusts(&phone), watch.trusts(&tv)), (Some(Role::Owner), Some(Role::Owner)));
    world.heal();
    for (device, other) in [(&car, &watch), (&watch, &car)] {
        device.until("both are out", |me| me.trusts(&phone).is_none() && me.trusts(&tv).is_none()).await;
        device.linked(other).await;
        device.apart(&phone).await;
        device.apart(&tv).await;
    }
    assert_eq!(car.trusts(&watch), Some(Role::Owner));
}

#[tokio::test(start_paused = true)]
async fn pairing_by_a_link_works_once_and_outlives_a_restart() {
    let world = World::new(4);
    let phone = Device::start(&world.host("phone"), 1).await;
    phone.keeper.found("home").await.unwrap();
    let ticket = phone.keeper.invite(owner(), Duration::from_secs(600)).await.unwrap();
    let link = ticket.to_link();
    phone.net.shutdown().await;
    let host = phone.host.clone();
    host.crash();
    host.restart();
    let phone = Device::start(&host, 1).await;
    let tv = Device::start(&world.host("tv"), 2).await;
    let paired = tv.keeper.pair_by_ticket(&link, PairOptions::default()).await.unwrap();
    assert!(paired.joined && paired.peer == phone.id());
    assert_eq!(phone.trusts(&tv), Some(Role::Owner));
    let car = Device::start(&world.host("car"), 3).await;
    let again = car.keeper.pair_by_ticket(&link, PairOptions::default()).await;
    assert!(matches!(again, Err(MembershipError::Expired)), "it was used already: {again:?}");
    // By the device that used it, over the link that it has now; whether other links are out or not.
    tv.linked(&phone).await;
    for _ in 0..2 {
        let again = tv.keeper.pair_by_ticket(&link, PairOptions::default()).await;
        assert!(matches!(again, Err(MembershipError::AlreadyMember)), "{again:?}");
        phone.keeper.invite(owner(), Duration::from_secs(600)).await.unwrap();
    }
    let link = tv.net.links().borrow()[&phone.id()].clone();
    assert_eq!(
        (link.presence, link.generation, link.last_down.as_deref()),
        (Presence::Online, 1, None),
        "undisturbed"
    );
    assert!(matches!(
        car.keeper.pair_by_ticket("softbus:x", PairOptions::default()).await,
        Err(MembershipError::Ticket(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_link_finds_its_maker_where_it_is_now_and_nobody_else_does() {
    let world = World::new(31);
    let phone = Device::start(&world.host("phone"), 1).await;
    phone.keeper.found("home").await.unwrap();
    let tv = Device::start(&world.host("tv"), 2).await;
    let stranger = Device::start(&world.host("stranger"), 3).await;
    let first = phone.keeper.invite(owner(), Duration::from_secs(600)).await.unwrap();
    let second = phone.keeper.invite(owner(), Duration::from_secs(3600)).await.unwrap();
    // It moves. Where it was nobody answers, so that each of its old addresses costs the full wait.
    let nobody: Vec<SocketAddr> = (1..=8).map(|n| SocketAddr::from(([10, 99, 0, n], PORT))).collect();
    phone.host.set_addresses(vec!["10.77.0.1".parse().unwrap()]);
    let moved = softbus_trust::Ticket { addresses: nobody, ..first.clone() };
    let begun = tokio::time::Instant::now();
    let paired = tv.keeper.pair_by_ticket(&moved.to_link(), PairOptions::default()).await.unwrap();
    assert!(paired.joined && paired.peer == phone.id());
    assert!(begun.elapsed() < Duration::from_secs(3), "virtual time: {:?}", begun.elapsed());

    // Its id is in nobody's sight; whoever has the other link sees it, and the one that was used says nothing any more.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let nearby = stranger.net.nearby().borrow().clone();
    let now = stranger.host.seam().clock.wall();
    let of = |ticket: &softbus_trust::Ticket| {
        let tags = ticket.tags(now);
        let said = nearby.iter().filter_map(|sighting| match sighting {
            Sighting::Seen { announcement, .. } => Some(announcement),
            Sighting::Gone { .. } => None,
        });
        let said: Vec<_> = said.collect();
        assert!(said.iter().all(|a| a.id != Some(phone.id())), "{said:?}");
        said.iter().filter(|a| a.tags.iter().any(|tag| tags.contains(tag))).count()
    };
    assert_eq!((of(&first), of(&second)), (0, 1));
    phone.keeper.close_pairing(true).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let gone = softbus_trust::Ticket { addresses: vec![], ..second.clone() };
    let gone = stranger.keeper.pair_by_ticket(&gone.to_link(), PairOptions::default()).await;
    assert!(matches!(gone, Err(MembershipError::Net(NetError::Unreachable(_)))), "{gone:?}");
}

#[tokio::test(start_paused = true)]
async fn of_several_addresses_the_one_that_answers_is_paired_with_soon() {
    let world = World::new(32);
    let phone = Device::start(&world.host("phone"), 1).await;
    let tv = Device::start(&world.host("tv"), 2).await;
    let other = Device::start(&world.host("other"), 3).await;
    phone.keeper.found("home").await.unwrap();
    let pin = phone.show(PairOptions::default()).await;
    let mut addresses: Vec<SocketAddr> = (1..=3).map(|n| SocketAddr::from(([10, 99, 0, n], PORT))).collect();
    addresses.extend([other.host.address(PORT), phone.host.address(PORT)]);
    let begun = tokio::time::Instant::now();
    let pairing = tv.keeper.pair_with_any(addresses, Some(phone.id()), &pin, PairOptions::default());
    assert_eq!(pairing.await.unwrap().peer, phone.id());
    assert!(begun.elapsed() < Duration::from_secs(3), "virtual time: {:?}", begun.elapsed());
    // If none answers it is told once all have had their time, not one after the other.
    let nobody: Vec<SocketAddr> = (1..=4).map(|n| SocketAddr::from(([10, 99, 0, n], PORT))).collect();
    let begun = tokio::time::Instant::now();
    let none = other.keeper.pair_with_any(nobody, Some(phone.id()), &pin, PairOptions::default()).await;
    assert!(matches!(none, Err(MembershipError::Net(NetError::Dial { .. }))), "{none:?}");
    assert!(begun.elapsed() < Duration::from_secs(8), "virtual time: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn linked_devices_pair_for_another_circle_over_their_link() {
    let world = World::new(16);
    let (phone, tv, _car) = home(&world).await;
    // A link that was dialled anew outranks what comes from a device that does not know of it.
    for _ in 0..2 {
        world.cut(&phone.host, &tv.host);
        phone.apart(&tv).await;
        world.heal();
        phone.linked(&tv).await;
        tv.linked(&phone).await;
    }
    let work = phone.keeper.found("work").await.unwrap().circle;
    let pin = phone.show(PairOptions { circle: Some(work), ..PairOptions::default() }).await;
    let join = PairOptions { join: true, ..PairOptions::default() };
    for expected in [None, Some(phone.id())] {
        let before = phone.net.links().borrow()[&tv.id()].generation;
        let addr = phone.host.address(PORT);
        let paired = tv.keeper.pair_with(addr, expected, &pin, join.clone()).await;
        if expected.is_none() {
            assert_eq!(paired.unwrap().circle, work);
        } else {
            assert!(matches!(paired, Err(MembershipError::NotOpen)), "{paired:?}");
        }
        assert_eq!(phone.net.links().borrow()[&tv.id()].generation, before, "the link is as it was");
        assert_eq!(phone.presence(&tv), Presence::Online);
    }
}

/// A joiner (or else an opener) loses power in the middle of a pairing. How long the other one waits for it.
async fn killed_while_pairing(seed: u64, joiner: bool) {
    let world = World::new(seed);
    let phone = Device::start(&world.host("phone"), 1).await;
    let tv = Device::start(&world.host("tv"), 2).await;
    phone.keeper.found("home").await.unwrap();
    let pin = phone.show(PairOptions::default()).await;
    let (keeper, at, to) = (tv.keeper.clone(), phone.host.address(PORT), phone.id());
    let entering =
        tokio::spawn(async move { keeper.pair_with(at, Some(to), &pin, PairOptions::default()).await });
    let mut state = phone.keeper.pairing();
    state.wait_for(|state| matches!(state, PairingState::Settling { .. })).await.unwrap();
    let killed = tokio::time::Instant::now();
    if joiner {
        tv.host.crash();
        let failed = state.wait_for(|state| matches!(state, PairingState::Failed { .. }));
        timeout(Duration::from_secs(60), failed).await.unwrap().unwrap();
    } else {
        phone.host.crash();
        let outcome = timeout(Duration::from_secs(60), entering).await.unwrap().unwrap();
        assert!(matches!(outcome, Err(MembershipError::Net(_))), "{outcome:?}");
    }
    // Virtual time.
    assert!(killed.elapsed() < Duration::from_secs(4), "{:?}", killed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_joiner_killed_while_pairing_is_missed_soon() {
    killed_while_pairing(17, true).await;
}

#[tokio::test(start_paused = true)]
async fn an_opener_killed_while_pairing_is_missed_soon() {
    killed_while_pairing(18, false).await;
}

/// Devices that come in while pairing is open and sit there: their keys are free, and so are their connections.
#[tokio::test(start_paused = true)]
async fn strangers_that_hold_every_place_keep_nobody_from_pairing() {
    let world = World::new(19);
    let phone = Device::start(&world.host("phone"), 1).await;
    phone.keeper.found("home").await.unwrap();
    let pin = phone.show(PairOptions::default()).await;
    let at = phone.host.address(PORT);
    let came = Arc::new(AtomicU32::new(0));
    for n in 0..12u8 {
        let host = world.host(&format!("x{}", n % 3));
        let config = NetConfig { port: 5000 + u16::from(n), discovery: false, ..NetConfig::default() };
        let key = Arc::new(DeviceKey::from_seed(&[100 + n; 32]));
        let net = Net::start(host.seam(), key, FixedJudge::new([]), Router::new(), config).await.unwrap();
        let came = came.clone();
        host.spawn(async move {
            loop {
                if let Ok(mut channel) = net.open_stranger(at, None, &"pair/1".parse().unwrap()).await {
                    came.fetch_add(1, Ordering::Relaxed);
                    // Half of them begin a pairing, and say no more.
                    if n % 2 == 0 {
                        let (_, start) = Enterer::start(
                            &PairPassword::pin(&Pin::parse("000000").unwrap()),
                            Binding { opener: net.id(), enterer: net.id(), exporter: [0; 32] },
                            [n; 32],
                        );
                        let _ = channel.send_message(&start).await;
                    }
                    channel.connection.closed().await;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }
    let full = async {
        while came.load(Ordering::Relaxed) < 12 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(20), full).await.expect("all places were taken");
    let tv = Device::start(&world.host("tv"), 2).await;
    tv.keeper.pair_with(at, Some(phone.id()), &pin, PairOptions::default()).await.unwrap();
    assert_eq!(phone.trusts(&tv), Some(Role::Member));
}

#[tokio::test(start_paused = true)]
async fn doors_are_shut_unless_pairing_is_open() {
    let world = World::new(5);
    let phone = Device::start(&world.host("phone"), 1).await;
    let tv = Device::start(&world.host("tv"), 2).await;
    phone.keeper.found("home").await.unwrap();
    let addr = phone.host.address(PORT);
    let try_pin = |pin: &'static str| tv.keeper.pair_with(addr, None, pin, PairOptions::default());
    assert!(matches!(try_pin("123456").await, Err(MembershipError::NotOpen)));
    assert!(matches!(try_pin("12345").await, Err(MembershipError::Pin(_))));
    let pin = phone.show(PairOptions::default()).await;
    let wrong = if pin == "123456" { "654321" } else { "123456" };
    assert!(matches!(try_pin(wrong).await, Err(MembershipError::WrongPin { tries_left: 2 })));
    let state = phone.keeper.pairing().borrow().clone();
    assert!(matches!(state, PairingState::Open { tries_left: 2, .. }), "{state:?}");
    let other = tv.keeper.pair_with(addr, Some(tv.id()), &pin, PairOptions::default()).await;
    assert!(matches!(other, Err(MembershipError::Net(_))), "another device answered: {other:?}");
    assert!(matches!(try_pin(wrong).await, Err(MembershipError::WrongPin { tries_left: 1 })));
    let third = try_pin(wrong).await;
    assert!(matches!(third, Err(MembershipError::Frozen { .. })), "{third:?}");
    assert!(
        matches!(try_pin(wrong).await, Err(MembershipError::NotOpen)),
        "the door is shut during a freeze"
    );
    let mut watch = phone.keeper.pairing();
    assert!(matches!(*watch.borrow_and_update(), PairingState::Frozen { .. }));
    timeout(Duration::from_secs(62), watch.changed()).await.unwrap().unwrap();
    assert_eq!(*watch.borrow_and_update(), PairingState::Closed);
    phone.show(PairOptions::default()).await;
    watch.borrow_and_update();
    timeout(Duration::from_secs(62), watch.changed()).await.unwrap().unwrap();
    assert_eq!(*watch.borrow(), PairingState::Expired);
    assert_eq!(phone.keeper.standing(&tv.id()), Standing::Stranger { pairing: false });
}

#[tokio::test(start_paused = true)]
async fn trust_that_expires_ends_links_and_renewal_brings_them_back() {
    let world = World::new(6);
    let phone = Device::start(&world.host("phone"), 1).await;
    let tv = Device::start(&world.host("tv"), 2).await;
    phone.keeper.found("home").await.unwrap();
    let end = phone.host.seam().clock.wall().after(SHORTEST_GRANT);
    let day = Grant { role: Role::Member, expires: Some(end), services: Default::default() };
    tv.pair_with(&phone, PairOptions { grant: Some(day), ..PairOptions::default() }).await;
    phone.linked(&tv).await;
    let pass = |span: Duration| {
        for device in [&phone, &tv] {
            device.host.clock().jump_wall(span.as_millis() as i64);
        }
    };
    pass(SHORTEST_GRANT - Duration::from_secs(120));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(phone.presence(&tv), Presence::Online);
    pass(Duration::from_secs(60));
    phone.apart(&tv).await;
    assert_eq!((phone.trusts(&tv), tv.trusts(&phone)), (None, Some(Role::Owner)));
    // Both are told that, and not of a removal; also when it dials again, and while pairing is open.
    let code = |result: Result<_, NetError>| match result {
        Err(NetError::Refused(code) | NetError::Service { code, .. }) => code,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    };
    let service = "task/1".parse().unwrap();
    assert_eq!(code(phone.net.open(tv.id(), &service).await), ErrorCode::Expired);
    let told = || tv.net.links().borrow()[&phone.id()].last_down.clone().unwrap_or_default();
    tv.until("told", |_| told() == ErrorCode::Expired.to_string()).await;
    let address = phone.host.address(PORT);
    let refused = tv.net.open_stranger(address, Some(phone.id()), &service).await;
    assert_eq!(code(refused), ErrorCode::Expired);
    phone.show(PairOptions::default()).await;
    let refused = tv.net.open_stranger(address, Some(phone.id()), &service).await;
    assert_eq!(code(refused), ErrorCode::Expired);
    phone.keeper.close_pairing(false).await.unwrap();

    assert!(phone.keeper.is_expired(&tv.id()) && !phone.keeper.is_expired(&DeviceId([9; 32])));
    phone.keeper.renew(None, tv.id(), Some(2 * SHORTEST_GRANT)).await.unwrap();
    phone.linked(&tv).await;
    tv.until("the TV's own view", |tv| tv.view().circles == phone.view().circles).await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_tells_the_others() {
    let world = World::new(7);
    let (phone, tv, car) = home(&world).await;
    assert!(matches!(phone.keeper.leave(None, false).await, Err(MembershipError::LastOwner)));
    tv.keeper.leave(None, false).await.unwrap();
    assert!(tv.view().circles.is_empty());
    for other in [&phone, &car] {
        other.until("heard that the TV left", |me| me.trusts(&tv).is_none()).await;
        other.apart(&tv).await;
    }
}

#[tokio::test(start_paused = true)]
async fn trust_is_as_it_was_when_all_lose_power_at_rest() {
    let world = World::new(8);
    let (phone, tv, car) = home(&world).await;
    let before = (phone.view(), tv.view(), car.view());
    drop((phone, tv, car));
    for name in ["phone", "tv", "car"] {
        world.host(name).crash_torn(9);
        world.host(name).restart();
    }
    let phone = Device::start(&world.host("phone"), 1).await;
    let tv = Device::start(&world.host("tv"), 2).await;
    let car = Device::start(&world.host("car"), 3).await;
    assert_eq!((phone.view(), tv.view(), car.view()), before);
    tv.linked(&car).await;
    phone.linked(&car).await;
}

#[tokio::test(start_paused = true)]
async fn a_sole_owner_with_an_empty_disk_gets_its_circle_back_from_a_plain_member() {
    for opens in [true, false] {
        let world = World::new(30 + u64::from(opens));
        let (phone, tv, car) = home(&world).await;
        phone.net.shutdown().await;
        drop(phone);
        // The same key on another machine. Who knows it believes it to be linked with already, and calls it.
        let phone = Device::start(&world.host("new phone"), 1).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        if opens {
            tv.pair_with(&phone, PairOptions::default()).await;
        } else {
            phone.pair_with(&tv, PairOptions::default()).await;
        }
        assert_eq!(phone.view().circles, tv.view().circles);
        for other in [&tv, &car] {
            phone.linked(other).await;
            other.linked(&phone).await;
        }
        phone.keeper.remove(None, car.id()).await.unwrap();
        tv.until("heard of it", |tv| tv.trusts(&car).is_none()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_orphaned_circle_is_recovered_on_a_member() {
    let world = World::new(9);
    let phone = Device::start(&world.host("phone"), 1).await;
    let tv = Device::start(&world.host("tv"), 2).await;
    let car = Device::start(&world.host("car"), 3).await;
    let words = phone.keeper.found("home").await.unwrap().recovery_words;
    tv.pair_with(&phone, PairOptions::default()).await;
    car.pair_with(&phone, PairOptions::default()).await;
    tv.linked(&car).await;
    phone.host.crash();
    tv.keeper.recover(None, &words, vec![]).await.unwrap();
    car.until("a new owner", |car| car.trusts(&tv) == Some(Role::Owner)).await;
    assert_eq!(car.trusts(&phone), None, "the lost owner is out");
    let watch = Device::start(&world.host("watch"), 4).await;
    watch.pair_with(&tv, PairOptions::default()).await;
    watch.linked(&car).await;
}
