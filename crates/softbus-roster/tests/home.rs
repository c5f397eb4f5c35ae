//! The roster as a whole: several devices with network, disk and sensors in memory, under virtual time.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::{DeviceId, DeviceKind, Thermal};
use softbus_net::seam::Sample;
use softbus_net::seam::memory::{Conditions, Host, VirtualCompute, World};
use softbus_net::seam::store::Store;
use softbus_net::testing::FixedJudge;
use softbus_net::{Net, NetConfig, Presence, Router};
use softbus_roster::{
    Declared, Event, Roster, RosterConfig, RosterEntry, RosterError, RosterView, SampleOverride, Source,
    Update,
};
use softbus_trust::{DeviceKey, Role};
use tokio::time::{Instant, sleep, timeout};

const PORT: u16 = 4000;

fn key(n: u8) -> Arc<DeviceKey> {
    Arc::new(DeviceKey::from_seed(&[n; 32]))
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

struct Device {
    host: Host,
    n: u8,
    judge: Arc<FixedJudge>,
    net: Net,
    roster: Roster,
    config: RosterConfig,
}

impl Device {
    async fn start(host: Host, n: u8, judge: Arc<FixedJudge>, config: RosterConfig) -> Self {
        let net = NetConfig { port: PORT, discovery: false, ..NetConfig::default() };
        Self::start_with(host, n, judge, config, net).await
    }

    async fn start_with(
        host: Host,
        n: u8,
        judge: Arc<FixedJudge>,
        config: RosterConfig,
        net_config: NetConfig,
    ) -> Self {
        let seam = host.seam();
        let store = Store::open(&seam).await.unwrap();
        let net = Net::start(seam, key(n), judge.clone(), Router::new(), net_config).await.unwrap();
        let roster = Roster::start(net.clone(), judge.clone(), store, key(n), config.clone()).await.unwrap();
        Self { host, n, judge, net, roster, config }
    }

    fn id(&self) -> DeviceId {
        key(self.n).id()
    }

    fn knows(&self, addresses: &BTreeMap<u8, std::net::SocketAddr>) {
        for (n, address) in addresses.iter().filter(|(n, _)| **n != self.n) {
            self.net.add_static(Some(key(*n).id()), *address);
        }
    }

    fn of(&self, other: u8) -> Arc<RosterEntry> {
        let view = self.roster.view();
        view.get(&key(other).id()).unwrap_or_else(|| panic!("{other} is not in {view:?}")).clone()
    }

    /// Waits until the roster looks so.
    async fn until(&self, what: &str, so: impl Fn(&RosterView) -> bool) -> Duration {
        let began = Instant::now();
        let mut views = self.roster.watch();
        let found = timeout(seconds(60), views.wait_for(|view| so(view))).await;
        if found.is_err() {
            panic!("{}: never {what}; {:#?}", self.n, self.roster.view());
        }
        began.elapsed()
    }

    async fn until_of(&self, other: u8, what: &str, so: impl Fn(&RosterEntry) -> bool) -> Duration {
        let id = key(other).id();
        self.until(what, |view| view.get(&id).is_some_and(|entry| so(entry))).await
    }
}

/// Devices 1 to n that trust and know the addresses of each other.
struct Home {
    world: World,
    devices: BTreeMap<u8, Device>,
}

impl Home {
    async fn new(seed: u64, n: u8) -> Self {
        Self::with(seed, n, |_| RosterConfig::default()).await
    }

    async fn with(seed: u64, n: u8, config: impl Fn(u8) -> RosterConfig) -> Self {
        let world = World::new(seed);
        let mut devices = BTreeMap::new();
        for i in 1..=n {
            let judge = FixedJudge::new((1..=n).filter(|j| *j != i).map(|j| key(j).id()));
            let host = world.host(&format!("device-{i}"));
            devices.insert(i, Device::start(host, i, judge, config(i)).await);
        }
        let home = Self { world, devices };
        for device in home.devices.values() {
            device.knows(&home.addresses());
        }
        home
    }

    fn addresses(&self) -> BTreeMap<u8, std::net::SocketAddr> {
        self.devices.iter().map(|(n, device)| (*n, device.host.address(PORT))).collect()
    }

    fn device(&self, n: u8) -> &Device {
        &self.devices[&n]
    }

    /// Until all know all: present, described, and how they are.
    async fn settled(&self) {
        for device in self.devices.values() {
            let whole = |view: &RosterView| {
                view.entries.len() == self.devices.len()
                    && view.entries.values().all(|entry| {
                        entry.presence == Presence::Online && entry.profile.is_some() && entry.now.is_some()
                    })
            };
            device.until("whole", whole).await;
        }
    }

    async fn restart(&mut self, n: u8) {
        let Device { host, judge, config, .. } = self.devices.remove(&n).unwrap();
        host.restart();
        let device = Device::start(host, n, judge, config).await;
        self.devices.insert(n, device);
        self.device(n).knows(&self.addresses());
    }
}

#[tokio::test(start_paused = true)]
async fn a_home_knows_itself() {
    let home = Home::with(1, 4, |n| RosterConfig {
        declared: Declared {
            name: Some(format!("device {n}")),
            kind: (n == 2).then_some(DeviceKind::Tv),
            rate_permille: (n == 3).then_some(250),
            rate_ops_per_s: Some(1_000_000),
            ..Declared::default()
        },
        task_types: vec![format!("job-{n}/1")],
        ..RosterConfig::default()
    })
    .await;
    let began = Instant::now();
    home.settled().await;
    assert!(began.elapsed() < seconds(3), "{:?}", began.elapsed());

    for device in home.devices.values() {
        for n in 1..=4 {
            let entry = device.of(n);
            let profile = entry.profile.as_ref().unwrap();
            assert_eq!(profile.name, format!("device {n}"));
            assert_eq!(profile.task_types, [format!("job-{n}/1")]);
            assert_eq!(profile.cores, 4);
            let now = entry.now.as_ref().unwrap();
            assert_eq!(now.profile.rate_ops_per_s, if n == 3 { 250_000 } else { 1_000_000 });
            let own = n == device.n;
            assert_eq!(entry.source, if own { Source::Oneself } else { Source::Direct });
            assert_eq!(entry.link.is_some(), !own);
            assert_eq!(entry.role, (!own).then_some(Role::Member));
        }
        let tv = device.of(2);
        assert_eq!(tv.profile.as_ref().unwrap().kind, DeviceKind::Tv);
        assert_eq!(tv.profile.as_ref().unwrap().declared, ["kind", "name", "rate"]);
        assert_eq!(device.roster.view().find("device 2"), [key(2).id()]);
    }
    assert_eq!(home.device(3).roster.rate_permille(), 250);

    // Without any change, what is known of how the others are stays fresh.
    sleep(seconds(30)).await;
    let age = home.device(1).of(2).now.as_ref().unwrap().age(Instant::now());
    assert!(age < seconds(4), "{age:?}");
}

#[tokio::test(start_paused = true)]
async fn what_matters_is_told_at_once() {
    let home = Home::new(2, 3).await;
    home.settled().await;
    let (a, b) = (home.device(1), home.device(2));

    b.roster.inject(SampleOverride::load(950), seconds(20)).await.unwrap();
    let took = a.until_of(2, "busy", |e| e.now.as_ref().unwrap().profile.load_permille == 950).await;
    assert!(took < Duration::from_millis(200), "{took:?}");
    a.until_of(2, "declared", |e| e.profile.as_ref().unwrap().declared == ["load"]).await;
    let took = a.until_of(2, "idle again", |e| e.now.as_ref().unwrap().profile.load_permille == 0).await;
    assert!((seconds(18)..seconds(21)).contains(&took), "{took:?}");
    a.until_of(2, "no more declared", |e| e.profile.as_ref().unwrap().declared.is_empty()).await;

    b.roster.set_running(2, 7_000_000);
    let took = a.until_of(2, "running", |e| {
        let now = &e.now.as_ref().unwrap().profile;
        (now.running_tasks, now.queued_ops) == (2, 7_000_000)
    });
    assert!(took.await < Duration::from_millis(200));

    // What the sensors see takes a sample, and no longer.
    b.host.sensors().set_sample(Sample {
        load_permille: 700,
        own_load_permille: 300,
        thermal: Thermal::Serious,
        battery_permille: Some(420),
        ..Sample::default()
    });
    let took = a.until_of(2, "hot", |e| e.now.as_ref().unwrap().profile.thermal == Thermal::Serious).await;
    assert!(took < Duration::from_millis(1300), "{took:?}");
    let now = a.of(2).now.as_ref().unwrap().profile.clone();
    assert_eq!((now.load_permille, now.battery_permille), (400, Some(420)), "foreign load only");

    b.roster.set_task_types(vec!["photo/1".into()]).await.unwrap();
    a.until_of(2, "new profile", |e| e.profile.as_ref().unwrap().task_types == ["photo/1"]).await;
    let refused = b.roster.set_task_types(vec!["x".repeat(100)]).await;
    assert!(matches!(refused, Err(RosterError::Profile(_))), "{refused:?}");
    b.roster.set_services(vec!["camera/1".parse().unwrap()]).await.unwrap();
    a.until_of(2, "services", |e| e.profile.as_ref().unwrap().services.len() == 1).await;
    assert_eq!(a.of(2).profile.as_ref().unwrap().task_types, ["photo/1"], "what was refused changed nothing");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_dies_is_offline_soon_and_comes_back_known() {
    let mut home = Home::new(3, 3).await;
    home.settled().await;
    let before = home.device(1).of(3);
    let mut events = home.device(1).roster.events();

    home.device(3).host.crash();
    let took = home.device(1).until_of(3, "offline", |e| e.presence == Presence::Offline).await;
    assert!(took < seconds(4), "{took:?}");
    assert!(home.device(1).of(3).profile.is_some(), "what it is stays known");
    let lost = loop {
        match events.next().await {
            Some(Update::Event(numbered)) => {
                if let Event::PresenceChanged { id, to: Presence::Offline, .. } = numbered.event {
                    break id;
                }
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lost, key(3).id());

    sleep(seconds(5)).await;
    home.restart(3).await;
    // It knows the others before any of them has answered, from its disk.
    let known = home.device(3).roster.view();
    assert!(known.get(&key(1).id()).unwrap().profile.is_some());
    home.settled().await;
    home.device(1)
        .until_of(3, "its new boot", |e| e.now.as_ref().unwrap().boot > before.now.as_ref().unwrap().boot)
        .await;
    let version = before.profile.as_ref().unwrap().version;
    home.device(1).until_of(3, "its new profile", |e| e.profile.as_ref().unwrap().version > version).await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_link_is_bridged_by_a_neighbour() {
    let home = Home::new(4, 3).await;
    home.settled().await;
    let (a, b, c) = (home.device(1), home.device(2), home.device(3));
    home.world.cut(&a.host, &b.host);
    a.until_of(2, "offline", |e| e.presence == Presence::Offline).await;
    a.until_of(2, "seen through 3", |e| {
        e.presence == Presence::Online
            && matches!(e.source, Source::Via { neighbour, hops: 0, .. } if neighbour == c.id())
    })
    .await;

    // A new static profile comes round by the neighbour, who cannot change it; how it is, on request.
    b.roster.set_task_types(vec!["photo/1".into()]).await.unwrap();
    b.roster.set_running(3, 0);
    a.until_of(2, "described", |e| e.profile.as_ref().unwrap().task_types == ["photo/1"]).await;
    let heard = a.roster.ask_now(b.id()).await.unwrap();
    assert_eq!((heard.profile.running_tasks, heard.from), (3, c.id()));
    assert_eq!(a.of(2).now.as_ref().unwrap().profile.running_tasks, 3);

    home.world.mend(&a.host, &b.host);
    a.until_of(2, "seen directly again", |e| (e.presence, e.source) == (Presence::Online, Source::Direct))
        .await;
    let direct = a.roster.ask_now(b.id()).await.unwrap();
    assert_eq!(direct.from, b.id());
    let stranger = key(99).id();
    assert!(matches!(a.roster.ask_now(stranger).await, Err(RosterError::Unknown(_))));
}

#[tokio::test(start_paused = true)]
async fn a_removed_device_vanishes_and_is_forgotten() {
    let mut home = Home::new(5, 3).await;
    home.settled().await;
    let gone = key(3).id();
    for n in [1, 2] {
        home.device(n).judge.distrust(&gone);
    }
    for n in [1, 2] {
        home.device(n).until("without it", |view| view.get(&gone).is_none()).await;
    }
    sleep(seconds(10)).await;
    assert!(home.device(1).roster.view().get(&gone).is_none(), "it does not come back");
    // Nor from the disk, when it is trusted again after a restart and cannot be reached.
    home.device(3).host.crash();
    home.device(1).host.crash();
    home.device(1).judge.trust(gone, Role::Guest);
    home.restart(1).await;
    sleep(seconds(5)).await;
    let entry = home.device(1).of(3);
    assert_eq!((entry.role, entry.presence), (Some(Role::Guest), Presence::Offline));
    assert_eq!(entry.profile, None);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_is_heard_of_by_all() {
    let home = Home::new(6, 3).await;
    home.settled().await;
    let judge = FixedJudge::new((1..=3).map(|n| key(n).id()));
    let host = home.world.host("newcomer");
    let newcomer = Device::start(host, 4, judge, RosterConfig::default()).await;
    // The newcomer knows one address only, and only that one knows its address. The others learn of it by
    // their trust alone.
    newcomer.net.add_static(Some(key(1).id()), home.device(1).host.address(PORT));
    for device in home.devices.values() {
        device.judge.trust(newcomer.id(), Role::Member);
    }
    newcomer.until_of(3, "known", |e| e.profile.is_some() && e.presence == Presence::Online).await;
    assert!(matches!(newcomer.of(3).source, Source::Via { .. }), "{:?}", newcomer.of(3).source);
    home.device(3)
        .until_of(4, "seen through 1", |e| e.profile.is_some() && matches!(e.source, Source::Via { .. }))
        .await;
}

#[tokio::test(start_paused = true)]
async fn calibrated_once() {
    let world = World::new(7);
    let host = world.host("slow");
    host.set_compute(Arc::new(VirtualCompute::new(2, 50_000_000)));
    host.restart();
    let judge = FixedJudge::new([]);
    let rate = |device: &Device| device.of(1).now.as_ref().unwrap().profile.rate_ops_per_s;

    let began = Instant::now();
    let device = Device::start(host.clone(), 1, judge.clone(), RosterConfig::default()).await;
    let took = began.elapsed();
    let first = rate(&device);
    assert!(first.abs_diff(50_000_000) < 2_500_000, "{first}");
    assert!(took > Duration::from_millis(50), "it ran on the device's cores: {took:?}");
    drop(device);

    host.crash();
    host.set_compute(Arc::new(VirtualCompute::new(2, 90_000_000)));
    host.restart();
    let device = Device::start(host.clone(), 1, judge.clone(), RosterConfig::default()).await;
    assert_eq!(rate(&device), first, "kept on disk");
    drop(device);

    // Another processor is measured anew.
    host.crash();
    host.sensors().change(|hardware, _| hardware.cpu = "another".into());
    host.restart();
    let device = Device::start(host, 1, judge, RosterConfig::default()).await;
    assert!(rate(&device).abs_diff(90_000_000) < 4_500_000, "{}", rate(&device));
}

#[tokio::test(start_paused = true)]
async fn profiles_are_made_anew_before_they_expire() {
    let home = Home::with(8, 2, |_| RosterConfig { lifetime: seconds(60), ..RosterConfig::default() }).await;
    home.settled().await;
    let first = home.device(1).of(2).profile.clone().unwrap();
    for _ in 0..10 {
        sleep(seconds(13)).await;
        let profile = home.device(1).of(2).profile.clone().expect("never without one");
        assert!(profile.expires > home.device(1).host.seam().clock.wall());
    }
    assert!(home.device(1).of(2).profile.as_ref().unwrap().version > first.version + 3);

    // One that is gone for longer than its profile lasts.
    home.device(2).host.crash();
    home.device(1).until_of(2, "expired", |e| e.profile.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_does_not_set_back_the_version() {
    let mut home = Home::new(9, 2).await;
    home.settled().await;
    let before = home.device(1).of(2).profile.clone().unwrap().version;
    home.device(2).host.crash();
    home.device(2).host.clock().jump_wall(-3_600_000);
    home.device(1).until_of(2, "offline", |e| e.presence == Presence::Offline).await;
    home.restart(2).await;
    home.device(2).roster.set_task_types(vec!["after/1".into()]).await.unwrap();
    home.device(1)
        .until_of(2, "described anew", |e| e.profile.as_ref().unwrap().task_types == ["after/1"])
        .await;
    assert!(home.device(1).of(2).profile.clone().unwrap().version > before);
}

#[tokio::test(start_paused = true)]
async fn a_failing_disk_keeps_the_old_profile_and_heals() {
    let home = Home::new(10, 2).await;
    home.settled().await;
    let b = home.device(2);
    b.host.disk().fail_after(Some(0));
    let refused = b.roster.set_task_types(vec!["photo/1".into()]).await;
    assert!(matches!(refused, Err(RosterError::Store(_))), "{refused:?}");
    // Its version is not durable: nobody may hear of it.
    sleep(seconds(5)).await;
    assert!(home.device(1).of(2).profile.as_ref().unwrap().task_types.is_empty());
    b.host.disk().fail_after(None);
    home.device(1).until_of(2, "told", |e| e.profile.as_ref().unwrap().task_types == ["photo/1"]).await;
}

#[tokio::test(start_paused = true)]
async fn ends() {
    let home = Home::new(11, 2).await;
    home.settled().await;
    let a = home.device(1);
    let mut events = a.roster.events();
    a.roster.shutdown().await;
    let end = async { while events.next().await.is_some() {} };
    timeout(seconds(1), end).await.expect("event streams end");
    assert_eq!(a.roster.view().entries.len(), 2, "the last view remains");
    let refused = a.roster.inject(SampleOverride::load(1), seconds(1)).await;
    assert!(matches!(refused, Err(RosterError::Closed)));
    assert!(!a.net.router().names().iter().any(|name| name.as_str() == "roster/1"));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_carries_nothing_but_gossip_comes_to_rest() {
    let world = World::new(13);
    // Of a circle so large that these two keep no standing link.
    let mut all: Vec<u8> = (1..=12).collect();
    all.sort_by_key(|n| key(*n).id());
    let trusted = all[1..].iter().map(|n| key(*n).id()).collect();
    let near = softbus_net::standing(key(all[0]).id(), &trusted, 0);
    let far = *all[1..].iter().find(|n| !near.contains(&key(**n).id())).unwrap();
    let mut devices = Vec::new();
    for n in [all[0], far] {
        let judge = FixedJudge::new(all.iter().filter(|other| **other != n).map(|other| key(*other).id()));
        judge.set_tag_secret([1; 32]);
        let (host, config) = (world.host(&format!("device-{n}")), RosterConfig::default());
        let net = NetConfig { port: PORT, link_budget: 0, ..NetConfig::default() };
        devices.push(Device::start_with(host, n, judge, config, net).await);
    }
    let [a, b] = &devices[..] else { panic!() };
    // Whenever the links are looked at, some request has just been or is under way.
    let far = Conditions { latency: Duration::from_millis(70), ..Conditions::default() };
    world.set_conditions_between(&a.host, &b.host, far);
    sleep(seconds(5)).await;
    // Asked for something, it is there, and both tell each other how they are.
    let nothing = a.net.request(b.id(), &"nothing/1".parse().unwrap(), vec![], seconds(5)).await;
    assert!(nothing.is_err());
    for (one, other) in [(a, b), (b, a)] {
        one.until_of(other.n, "heard of", |entry| entry.now.is_some()).await;
    }
    let rests = |entry: &RosterEntry| entry.link.as_ref().is_some_and(|link| link.resting);
    sleep(seconds(65)).await;
    for (one, other) in [(a, b), (b, a)] {
        assert!(rests(&one.of(other.n)), "{:?}", one.of(other.n));
    }
    sleep(seconds(30)).await;
    assert!(rests(&a.of(b.n)) && rests(&b.of(a.n)), "and stays so");
}

/// Events of device 1 in a small story.
async fn story(seed: u64) -> Vec<String> {
    let home = Home::new(seed, 3).await;
    let mut events = home.device(1).roster.events();
    home.settled().await;
    home.device(2).roster.inject(SampleOverride::load(800), seconds(2)).await.unwrap();
    sleep(seconds(3)).await;
    home.device(3).host.crash();
    sleep(seconds(5)).await;
    home.device(1).roster.shutdown().await;
    let mut story = Vec::new();
    while let Some(update) = events.next().await {
        story.push(format!("{update:?}"));
    }
    story
}

#[test]
fn equal_seeds_tell_the_same_story() {
    let run = |seed| {
        // A fresh thread per run: nothing is left over from the one before.
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
            runtime.unwrap().block_on(story(seed))
        })
        .join()
        .unwrap()
    };
    let first = run(12);
    assert!(first.len() > 8, "{first:#?}");
    assert_eq!(first, run(12));
}
