//! A world in memory, for tests and simulations: network, disks, clocks, discovery and randomness of any
//! number of hosts, under virtual time (`tokio::time::pause`), the same for the same seed.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! use softbus_net::seam::memory::World;
//!
//! let world = World::new(7);
//! let phone = world.host("phone");
//! let tv = world.host("tv");
//! let _seam = phone.seam(); // give it to a bus, or to one room
//! world.cut(&phone, &tv); // pull the cable between the two
//! world.mend(&phone, &tv);
//! tv.crash(); // power cut: what was not synced is gone, and the bus there is cut off from the world
//! tv.restart();
//! let _seam = tv.seam(); // the disk as the crash left it
//! # }
//! ```
//!
//! Without more words all hosts reach each other in the same way, and segments only part who hears whose multicast. For
//! more of a world there are segments with ways, joins and NAT boxes of their own ([`MemoryNet::set_segment_settings`],
//! [`MemoryNet::join`]), hosts that move between them ([`Host::move_to`]) or sleep ([`Host::sleep`]), work and disks
//! that take time ([`VirtualCompute`]), and a [`Tap`] that sees every datagram.
//!
//! What belongs to one run of a program (its [`Seam`]) dies with it: its sockets fall silent, its disk
//! answers with errors, its compute drops jobs, and what quinn spawned ends. Tasks that the test itself
//! spawned for that host it may spawn by [`Host::spawn`], so that they end too.

mod board;
mod clock;
mod compute;
mod conditions;
mod cuts;
mod discovery;
mod entropy;
mod inbox;
mod life;
mod nat;
mod net;
#[cfg(test)]
mod network_tests;
mod pages;
mod panics;
mod sensors;
mod socket;
mod storage;
mod tap;
#[cfg(test)]
mod tests;
mod topology;
mod virtual_compute;
mod wire;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use clock::{BEGINNING_MS, VirtualClock};
pub use compute::{InlineCompute, running_host, running_since};
pub use conditions::{Burst, Conditions};
pub use discovery::MemoryDiscovery;
pub use entropy::SeededEntropy;
pub use nat::Nat;
pub use net::{MemoryNet, NetStats};
pub use panics::{panicked, panics, witnessed};
pub use quinn::udp::EcnCodepoint;
pub use sensors::FixedSensors;
pub use socket::{MemoryRuntime, MemorySockets};
pub use storage::{Crash, MemoryStorage};
pub use tap::{Fate, Party, Seen, Tap, Traffic};
pub use topology::Segment;
pub use virtual_compute::VirtualCompute;

use super::{Compute, Seam};
use life::Life;
use net::HostId;

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Some hosts and what lies between them. Clones are handles to the same world.
#[derive(Clone)]
pub struct World {
    net: MemoryNet,
    seed: u64,
    hosts: Arc<Mutex<BTreeMap<String, Host>>>,
}

impl World {
    /// An empty world. Equal seeds make equal worlds.
    pub fn new(seed: u64) -> Self {
        Self { net: MemoryNet::new(seed), seed, hosts: Arc::default() }
    }

    /// The host of this name; made, and switched on, at first mention. It gets an IPv4 and an IPv6 address on
    /// segment 0.
    pub fn host(&self, name: &str) -> Host {
        let mut hosts = lock(&self.hosts);
        if let Some(host) = hosts.get(name) {
            return host.clone();
        }
        let id = self.net.add_host(name);
        let shared = Shared {
            name: name.to_owned(),
            id,
            net: self.net.clone(),
            entropy: SeededEntropy::new(self.seed, name),
            clock: Arc::new(VirtualClock::new()),
            sensors: Arc::new(FixedSensors::named(name)),
            disk: MemoryStorage::new(),
            run: Mutex::new(None),
            compute: Mutex::new((Arc::new(InlineCompute::new()), None)),
        };
        let host = Host(Arc::new(shared));
        host.restart();
        hosts.insert(name.to_owned(), host.clone());
        host
    }

    /// The network, for its conditions and statistics.
    pub fn net(&self) -> &MemoryNet {
        &self.net
    }

    /// Nothing passes between the two any more, in either direction.
    pub fn cut(&self, a: &Host, b: &Host) {
        self.net.set_cut(a.0.id, b.0.id, true);
        self.net.set_cut(b.0.id, a.0.id, true);
    }

    /// Nothing passes from `from` to `to` any more; the other direction stays as it is.
    pub fn cut_one_way(&self, from: &Host, to: &Host) {
        self.net.set_cut(from.0.id, to.0.id, true);
    }

    /// Undoes [`World::cut`] and [`World::cut_one_way`] between the two.
    pub fn mend(&self, a: &Host, b: &Host) {
        self.net.set_cut(a.0.id, b.0.id, false);
        self.net.set_cut(b.0.id, a.0.id, false);
    }

    /// Undoes [`World::cut_one_way`].
    pub fn mend_one_way(&self, from: &Host, to: &Host) {
        self.net.set_cut(from.0.id, to.0.id, false);
    }

    /// Parts the hosts into groups: what was cut before is forgotten; between hosts of different groups
    /// nothing passes. A host in no group is alone.
    pub fn partition(&self, groups: &[&[&Host]]) {
        let members =
            groups.iter().enumerate().flat_map(|(n, group)| group.iter().map(move |host| (host.0.id, n)));
        // A host in several groups is of the first.
        let group: BTreeMap<HostId, usize> = members.rev().collect();
        self.net.partition(|host| group.get(&host).copied());
    }

    /// Undoes every cut.
    pub fn heal(&self) {
        self.net.mend_all();
    }

    /// Conditions between two hosts, both ways, instead of the world's or of their segments' (which still say whether they
    /// reach each other).
    pub fn set_conditions_between(&self, a: &Host, b: &Host, conditions: Conditions) {
        self.net.set_between(a.0.id, b.0.id, conditions);
        self.net.set_between(b.0.id, a.0.id, conditions);
    }

    /// Undoes [`World::set_conditions_between`].
    pub fn clear_conditions_between(&self, a: &Host, b: &Host) {
        self.net.clear_between(a.0.id, b.0.id);
        self.net.clear_between(b.0.id, a.0.id);
    }
}

/// One host of a [`World`]. Clones are handles to the same.
#[derive(Clone)]
pub struct Host(Arc<Shared>);

struct Shared {
    name: String,
    id: HostId,
    net: MemoryNet,
    entropy: SeededEntropy,
    clock: Arc<VirtualClock>,
    sensors: Arc<FixedSensors>,
    disk: MemoryStorage,
    run: Mutex<Option<Run>>,
    /// Where work runs, and the same if it is virtual.
    compute: Mutex<(Arc<dyn Compute>, Option<VirtualCompute>)>,
}

/// One run of the host's program, from its start to its end or crash.
struct Run {
    life: Life,
    seam: Seam,
}

impl Host {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its number among the hosts, as a [`Tap`] is told.
    pub fn index(&self) -> usize {
        self.0.id.0
    }

    /// What it sent and received so far, in all its runs.
    pub fn traffic(&self) -> Traffic {
        self.0.net.traffic(self.0.id)
    }

    /// The seam of the present run; the same until the next [`Host::crash`], [`Host::kill`] or
    /// [`Host::restart`].
    ///
    /// # Panics
    /// If the host is down: [`Host::restart`] it first.
    pub fn seam(&self) -> Seam {
        let run = lock(&self.0.run);
        run.as_ref().map(|run| run.seam.clone()).unwrap_or_else(|| panic!("{} is down", self.0.name))
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        lock(&self.0.run).is_some()
    }

    /// Power cut: whatever was not synced to its disk is lost; its clock's boot time begins anew.
    pub fn crash(&self) {
        self.end(Some(Crash::Clean));
    }

    /// Power cut with a disk that reorders and tears writes: of what was not synced any part may be there.
    pub fn crash_torn(&self, seed: u64) {
        self.end(Some(Crash::Torn(seed)));
    }

    /// The program is killed (SIGKILL); the host and what it wrote stay.
    pub fn kill(&self) {
        self.end(None);
    }

    fn end(&self, crash: Option<Crash>) {
        if let Some(run) = lock(&self.0.run).take() {
            run.life.end();
        }
        self.0.net.down(self.0.id);
        if let Some(compute) = self.virtual_compute() {
            compute.abandon();
            compute.resume();
        }
        self.0.disk.disconnect();
        if let Some(crash) = crash {
            self.0.disk.crash(crash);
            self.0.clock.reboot();
        }
    }

    /// Starts the program anew on the same disk; kills it first if it still runs.
    pub fn restart(&self) {
        self.kill();
        let life = Life::new();
        let sockets = MemorySockets::new(self.0.net.clone(), self.0.id, life.clone());
        let entropy = self.0.entropy.fork();
        let discovery = MemoryDiscovery::new(self.0.net.clone(), self.0.id, life.clone(), &entropy);
        let seam = Seam {
            sockets: Arc::new(sockets),
            discovery: Arc::new(discovery),
            storage: Arc::new(self.0.disk.clone_connected()),
            entropy: Arc::new(entropy),
            clock: self.0.clock.clone(),
            sensors: self.0.sensors.clone(),
            compute: Arc::new(compute::Mortal::new(
                lock(&self.0.compute).0.clone(),
                life.clone(),
                self.index(),
            )),
        };
        *lock(&self.0.run) = Some(Run { life, seam });
    }

    /// Runs `future` until it ends or this run of the host does.
    ///
    /// # Panics
    /// If the host is down.
    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let life = lock(&self.0.run).as_ref().map(|run| run.life.clone());
        let life = life.unwrap_or_else(|| panic!("{} is down", self.0.name));
        tokio::spawn(async move { life.within(future).await })
    }

    /// Its addresses now.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.0.net.addresses(self.0.id)
    }

    /// Its first address, with `port`.
    ///
    /// # Panics
    /// If it has no address.
    pub fn address(&self, port: u16) -> SocketAddr {
        let first = self.addresses().first().copied();
        SocketAddr::new(first.unwrap_or_else(|| panic!("{} has no address", self.0.name)), port)
    }

    /// It moves: from now on it has these addresses and no others. What is on the way to the old ones is lost.
    ///
    /// # Panics
    /// If another host has one of them.
    pub fn set_addresses(&self, addresses: Vec<IpAddr>) {
        self.0.net.set_addresses(self.0.id, addresses);
    }

    /// Puts it on another segment (all begin on 0), with its addresses: discovery reaches only the own one. Datagrams
    /// reach everywhere, unless segments were set up.
    pub fn set_segment(&self, segment: u32) {
        self.0.net.set_segment(self.0.id, segment);
    }

    /// It moves to another segment, or leaves its own and comes back: from now on it has addresses of that one, which
    /// nobody had before. What is on the way to the old ones is lost.
    pub fn move_to(&self, segment: u32) {
        self.0.net.move_to(self.0.id, segment);
    }

    /// The segment it is on.
    pub fn segment(&self) -> u32 {
        self.0.net.segment(self.0.id)
    }

    /// It falls asleep: its sockets neither send nor receive, what others send to it meanwhile is lost, its
    /// [`VirtualCompute`] stands still, and whatever its program spawned by the seam (or [`Host::spawn`]) is not polled, so
    /// that no timer of it goes off. Its clocks go on. A crash or restart wakes it.
    ///
    /// In one thing it differs from a real machine: there the monotonic clock stands still too, and a timer goes on with what
    /// was left of it; here `tokio::time` is the same for all hosts, so whatever fell due in its sleep goes off at
    /// [`Host::wake`], all at once. A span that only the host's own clocks see is [`VirtualClock::suspend`]. What a program
    /// spawns past the seam (the roster's requests under way are such) goes on, and can neither send nor hear.
    pub fn sleep(&self) {
        self.0.net.sleep(self.0.id);
        if let Some(compute) = self.virtual_compute() {
            compute.suspend();
        }
        if let Some(run) = &*lock(&self.0.run) {
            run.life.sleep();
        }
    }

    /// It is awake again.
    pub fn wake(&self) {
        if let Some(compute) = self.virtual_compute() {
            compute.resume();
        }
        self.0.net.wake(self.0.id);
        if let Some(run) = &*lock(&self.0.run) {
            run.life.wake();
        }
    }

    /// Whether it sleeps.
    pub fn is_asleep(&self) -> bool {
        self.0.net.is_asleep(self.0.id)
    }

    /// Its clock, to make it drift, jump or sleep.
    pub fn clock(&self) -> &VirtualClock {
        &self.0.clock
    }

    /// What its sensors say.
    pub fn sensors(&self) -> &FixedSensors {
        &self.0.sensors
    }

    /// Its disk, to fill it or make it fail.
    pub fn disk(&self) -> &MemoryStorage {
        &self.0.disk
    }

    /// Replaces where its work runs (it begins with [`InlineCompute`]), from the next [`Host::restart`] on.
    pub fn set_compute(&self, compute: Arc<dyn Compute>) {
        *lock(&self.0.compute) = (compute, None);
    }

    /// The same, for cores that sleep with the host, and lose their work when its program ends.
    pub fn set_virtual_compute(&self, compute: VirtualCompute) {
        *lock(&self.0.compute) = (Arc::new(compute.clone()), Some(compute));
    }

    /// Its cores and its disk's speed, if [`Host::set_virtual_compute`] gave it any.
    pub fn virtual_compute(&self) -> Option<VirtualCompute> {
        lock(&self.0.compute).1.clone()
    }
}
