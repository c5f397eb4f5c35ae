//! The one seam to the world (law 2). Firmware, tests and the simulator give their own; [`real`] is the
//! operating system's. Monotonic time is `tokio::time` and nothing else.

pub mod discovery;
pub mod memory;
pub mod real;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use softbus_core::{Accelerator, BootMs, Capability, DeviceKind, Hash, PowerSource, Thermal, WallMs};
use tokio::sync::{Semaphore, mpsc, watch};
use zeroize::Zeroizing;

pub use discovery::{Many, MdnsDiscovery, Silent};
pub use store::{Store, StoreError};

/// A boxed future, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Everything a bus needs of the world.
#[derive(Clone)]
pub struct Seam {
    /// Datagram sockets and interfaces.
    pub sockets: Arc<dyn Sockets>,
    /// How devices nearby are found.
    pub discovery: Arc<dyn Discovery>,
    /// The disk.
    pub storage: Arc<dyn Storage>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Wall and boot clock.
    pub clock: Arc<dyn Clock>,
    /// Load, battery, heat.
    pub sensors: Arc<dyn Sensors>,
    /// Where CPU-heavy and blocking work runs.
    pub compute: Arc<dyn Compute>,
}

/// Datagram sockets.
pub trait Sockets: Send + Sync + 'static {
    /// Binds one UDP socket for a quinn endpoint (which may be a composite of several). Needs a tokio runtime.
    ///
    /// The socket is dual-stack where the machine has IPv6: then quinn shows IPv4 peers as IPv4-mapped IPv6
    /// addresses (`::ffff:10.0.0.1`), so compare and show addresses by `to_canonical` only.
    fn bind(&self, bind: &crate::Bind, port: u16) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>>;
    /// The addresses of this device that others may reach it by, as they change. Scope ids of IPv6
    /// link-local addresses are those of this device.
    fn addresses(&self, bind: &crate::Bind) -> watch::Receiver<Arc<Vec<IpAddr>>>;
    /// The runtime for quinn: timers and spawned tasks.
    fn runtime(&self) -> Arc<dyn quinn::Runtime>;
}

/// What a device says of itself to the neighbourhood. An address is a hint, never trust.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Announcement {
    /// The UDP port of its endpoint.
    pub port: u16,
    /// Addresses it can be reached by (empty: those of the interfaces announced on).
    pub addresses: Vec<IpAddr>,
    /// Lowest and highest protocol version spoken.
    pub versions: (u16, u16),
    /// Kind, unless hidden.
    pub kind: Option<DeviceKind>,
    /// Name, unless hidden.
    pub name: Option<String>,
    /// Its id in the open: only while it looks for a pair (pairing open, or in no circle yet).
    pub id: Option<softbus_core::DeviceId>,
    /// Id tags: a short hash keyed by each circle's secret and the hour, which only members can read.
    pub tags: Vec<[u8; 8]>,
}

/// An address in its plain form: an IPv4 address that a dual-stack socket shows as `::ffff:a.b.c.d` is IPv4. Scope ids
/// stay.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// An address as a dual-stack socket shows it: IPv4 is mapped into IPv6 (RFC 4291, section 2.5.5.2).
pub(crate) fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 => v6,
    }
}

/// What discovery saw. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sighting {
    /// A device was seen, or what it says of itself changed. `key` names it within this discovery.
    Seen {
        /// Name within this discovery (mDNS: the instance name).
        key: Arc<str>,
        /// Where it can be reached.
        addresses: Arc<[SocketAddr]>,
        /// What it says.
        announcement: Arc<Announcement>,
    },
    /// It said goodbye or its record ran out.
    Gone {
        /// Its name within this discovery.
        key: Arc<str>,
    },
}

/// Finds devices nearby. mDNS is one; firmware may add BLE or its own (several are merged by `seam::Many`).
pub trait Discovery: Send + Sync + 'static {
    /// Starts to browse. The receiver closes when browsing ended and must be begun again.
    fn browse(&self) -> io::Result<mpsc::Receiver<Sighting>>;
    /// Announces, or changes what is announced.
    fn announce(&self, announcement: &Announcement) -> io::Result<()>;
    /// Asks whether the device that was seen under `key` is still there. If it does not answer within some seconds, it
    /// is [`Sighting::Gone`]. A way of discovery that cannot ask does nothing.
    fn confirm(&self, _key: &str) {}
    /// Says goodbye and stops.
    fn goodbye(&self) -> BoxFuture<'_, ()>;
}

/// The disk. All calls block; call them inside `Compute::run` with [`Lane::Disk`].
pub trait Storage: Send + Sync + 'static {
    /// The backend of the one database (`redb`).
    fn database(&self) -> io::Result<Box<dyn redb::StorageBackend>>;
    /// How many bytes of the database are worth keeping in memory beside it.
    fn cache_bytes(&self) -> usize {
        store::CACHE_BYTES
    }
    /// Large blobs by hash.
    fn blobs(&self) -> Arc<dyn Blobs>;
    /// Reads a secret, such as `device.key`. Refuses one that others can read.
    fn secret(&self, name: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>>;
    /// Writes a secret durably and atomically, for its owner's eyes only.
    fn put_secret(&self, name: &str, secret: &[u8]) -> io::Result<()>;
    /// Removes a secret, durably. One that is not there is removed already.
    fn remove_secret(&self, name: &str) -> io::Result<()>;
}

/// Blobs named by the hash of their content, as they are stored.
pub trait Blobs: Send + Sync + 'static {
    /// Writes a blob; durable only after [`Blobs::sync`]. A blob that is there already is left alone.
    fn put(&self, name: &Hash, bytes: &[u8]) -> io::Result<()>;
    /// Makes these blobs durable. If it fails, those that were not durable before may be gone: put them again.
    fn sync(&self, names: &[Hash]) -> io::Result<()>;
    /// Reads a blob. It may be damaged: check its hash.
    fn get(&self, name: &Hash) -> io::Result<Option<Vec<u8>>>;
    /// Removes a blob, if it is there. After a crash it may be there again.
    fn remove(&self, name: &Hash) -> io::Result<()>;
    /// Names of all blobs, in order.
    fn list(&self) -> io::Result<Vec<Hash>>;
    /// Gives back room that removed blobs left, a bounded piece of work: to be called now and then after removals.
    fn tidy(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Randomness fit for keys.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// Clocks beside the monotonic one.
pub trait Clock: Send + Sync + 'static {
    /// Wall clock; may jump.
    fn wall(&self) -> WallMs;
    /// Monotonic, counts suspend.
    fn boot(&self) -> BootMs;
    /// A stopwatch in nanoseconds, to measure how long a piece of computing took (the calibration does). It may count
    /// the time of the thread it is read on: both readings are to be taken on one. For nothing else: waits and
    /// deadlines are `tokio::time`. Without a finer clock it is [`Clock::boot`].
    fn stopwatch_ns(&self) -> u64 {
        self.boot().0.saturating_mul(1_000_000)
    }
}

/// What the machine is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hardware {
    /// Kind, if it can be told.
    pub kind: Option<DeviceKind>,
    /// Host name.
    pub name: String,
    /// Cores.
    pub cores: u16,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The processor's name, empty if it cannot be told. A calibration counts for one processor only.
    pub cpu: String,
    /// Architecture as Rust names it.
    pub arch: String,
    /// Operating system as Rust names it.
    pub os: String,
    /// Accelerators found.
    pub accelerators: Vec<Accelerator>,
    /// Capabilities found.
    pub capabilities: Vec<Capability>,
}

/// What the sensors say right now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sample {
    /// Busy share of all cores, 0–1000, all processes together.
    pub load_permille: u16,
    /// The part of it that is this process.
    pub own_load_permille: u16,
    /// Free memory in bytes.
    pub memory_free_bytes: u64,
    /// Battery charge 0–1000, `None` without a battery.
    pub battery_permille: Option<u16>,
    /// Power source.
    pub power: PowerSource,
    /// Heat.
    pub thermal: Thermal,
}

/// Load, battery, heat. Calls are quick but may block for some milliseconds.
pub trait Sensors: Send + Sync + 'static {
    /// What the machine is; does not change while it runs.
    fn hardware(&self) -> Hardware;
    /// A fresh sample.
    fn sample(&self) -> Sample;
}

/// Which queue a job waits in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// CPU-heavy work: as many at once as there are cores.
    Work,
    /// Blocking disk work: short, does not wait behind [`Lane::Work`].
    Disk,
}

/// Where CPU-heavy and blocking work runs.
pub trait Compute: Send + Sync + 'static {
    /// Runs `job` elsewhere, in order of submission within its lane as far as there are workers. `ops` is an
    /// estimate in operations of the reference kernel (a simulator charges virtual time for it).
    ///
    /// It never waits: past the lane's bound the job is dropped, which whoever waits for it notices as if it
    /// had panicked. Prefer `run`, which waits for its turn.
    fn submit(&self, lane: Lane, ops: u64, job: Box<dyn FnOnce() + Send>);

    /// What `run` passes before it submits: its permits bound the jobs of a lane. `None`
    /// for no bound.
    fn gate(&self, _lane: Lane) -> Option<Arc<Semaphore>> {
        None
    }
}

impl dyn Compute {
    /// Runs `work` and waits for its result; waits for its turn first if the lane is full. `None` if the job
    /// died (it panicked, or the bus is closing). Once begun, `work` runs to its end even if nobody waits.
    pub async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        ops: u64,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = match self.gate(lane) {
            Some(gate) => Some(gate.acquire_owned().await.ok()?),
            None => None,
        };
        let (done, result) = tokio::sync::oneshot::channel();
        self.submit(
            lane,
            ops,
            Box::new(move || {
                let value = work();
                drop(permit);
                let _ = done.send(value);
            }),
        );
        result.await.ok()
    }
}
