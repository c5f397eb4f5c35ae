use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::{DeviceId, DeviceKind, limits};
use softbus_net::membership::Keeper;
use softbus_net::seam::store::Store;
use softbus_net::seam::{Lane, Seam, Storage};
use softbus_net::{Bind, Net, NetConfig, Router};
use softbus_roster::{Declared, Roster, RosterConfig};
use softbus_task::{Task, TaskRegistry, Tasks, TasksConfig};
use softbus_trust::DeviceKey;

use crate::answering::{self, Asks, Place};
use crate::bus::Rooms;
use crate::{Bus, Error};

/// Name of the secret (see [`softbus_net::seam::Storage`]) that holds the device's key.
pub const KEY_SECRET: &str = "device.key";

/// Describes a device; [`Builder::start`] makes it run. Everything but the data folder (or a [`Seam`]) may be left
/// out.
#[must_use]
pub struct Builder {
    data_dir: Option<PathBuf>,
    seam: Option<Seam>,
    net: NetConfig,
    roster: RosterConfig,
    tasks: TasksConfig,
    registry: TaskRegistry,
    #[cfg(feature = "wasm")]
    wasm: Option<(softbus_wasm::EngineKind, softbus_wasm::Turns)>,
    hide_name: bool,
    hide_kind: bool,
    wrong: Option<Error>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            data_dir: None,
            seam: None,
            net: NetConfig::default(),
            roster: RosterConfig::default(),
            tasks: TasksConfig::default(),
            registry: TaskRegistry::default(),
            #[cfg(feature = "wasm")]
            wasm: None,
            hide_name: false,
            hide_kind: false,
            wrong: None,
        }
    }

    /// Where this device keeps its key, its trust and its tasks. One bus per folder; made if it is not there.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// The world this bus lives in, in place of the operating system's: for firmware, tests and simulations.
    pub fn seam(mut self, seam: Seam) -> Self {
        self.seam = Some(seam);
        self
    }

    /// The device's name for people, at most 64 bytes. Default: the machine's.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.roster.declared.name = Some(name.into());
        self
    }

    /// What sort of device it is. Default: as the machine tells.
    pub fn kind(mut self, kind: DeviceKind) -> Self {
        self.roster.declared.kind = Some(kind);
        self
    }

    /// Values to claim in place of what the machine tells; marked as declared in the profile. Name and kind that it
    /// leaves open stay as they were given.
    pub fn declare(mut self, declared: Declared) -> Self {
        let before = std::mem::replace(&mut self.roster.declared, declared);
        let now = &mut self.roster.declared;
        now.name = now.name.take().or(before.name);
        now.kind = now.kind.or(before.kind);
        self
    }

    /// Below this charge (0–1000) of its battery the device takes no work of others.
    pub fn battery_floor_permille(mut self, floor: u16) -> Self {
        self.roster.battery_floor_permille = floor;
        self
    }

    /// Which interfaces to use. Default: all.
    pub fn bind(mut self, bind: Bind) -> Self {
        self.net.bind = bind;
        self
    }

    /// UDP port. Default: any.
    pub fn port(mut self, port: u16) -> Self {
        self.net.port = port;
        self
    }

    /// Whether to announce and browse by mDNS. Default: yes.
    pub fn discovery(mut self, on: bool) -> Self {
        self.net.discovery = on;
        self
    }

    /// What announcements leave out, for privacy: the name, the kind.
    pub fn hide(mut self, name: bool, kind: bool) -> Self {
        self.hide_name = name;
        self.hide_kind = kind;
        self
    }

    /// A device known by its address: dialled like any other, with or without discovery.
    pub fn static_peer(mut self, device: Option<DeviceId>, addr: SocketAddr) -> Self {
        self.net.static_peers.push((device, addr));
        self
    }

    /// Most live links kept; further ones open on demand. Default: 32.
    pub fn link_budget(mut self, links: usize) -> Self {
        self.net.link_budget = links;
        self
    }

    /// How long a device may be silent until it counts as suspect, and until it counts as offline. Default: one
    /// second and two.
    pub fn silence(mut self, suspect_after: Duration, offline_after: Duration) -> Self {
        if suspect_after.is_zero() || offline_after <= suspect_after {
            let wrong = "a device is suspect after some silence, and offline only after more of it";
            self.wrong.get_or_insert(Error::Config(wrong.into()));
        }
        self.net.suspect_after = suspect_after;
        self.net.offline_after = offline_after;
        self
    }

    /// The primitives of TLS (random source, key exchange, suites), in place of those of the feature chosen: a
    /// simulation gives seeded ones, firmware perhaps its own hardware's.
    pub fn tls_provider(mut self, provider: Arc<softbus_net::CryptoProvider>) -> Self {
        self.net.provider = Some(provider);
        self
    }

    /// Is told the secrets of all connections, with which anybody can read them: for debugging and simulations only.
    pub fn key_log(mut self, log: Arc<dyn softbus_net::KeyLog>) -> Self {
        self.net.key_log = Some(log);
        self
    }

    /// How the machine is sampled and the neighbours are told, and what the profile says beside what was
    /// [declared](Builder::declare).
    pub fn roster(mut self, change: impl FnOnce(&mut RosterConfig)) -> Self {
        change(&mut self.roster);
        self
    }

    /// Registers a task type that this device can run.
    pub fn task<T: Task>(mut self) -> Self {
        if let Err(error) = self.registry.register::<T>() {
            self.wrong.get_or_insert(Error::Config(error.to_string()));
        }
        self
    }

    /// Has this device run the programs of a runtime, as tasks of its name.
    pub fn runtime(mut self, runtime: Arc<dyn softbus_task::Runtime>) -> Self {
        if let Err(error) = self.registry.register_runtime(runtime) {
            self.wrong.get_or_insert(Error::Config(error.to_string()));
        }
        self
    }

    /// Has this device run WebAssembly programs: tasks of type `wasm/1`, which begin with a
    /// [`Start`](softbus_wasm::Start) and end with a [`Finish`](softbus_wasm::Finish).
    #[cfg(feature = "wasm")]
    pub fn wasm(mut self, engine: softbus_wasm::EngineKind, turns: softbus_wasm::Turns) -> Self {
        self.wasm = Some((engine, turns));
        self
    }

    /// Settings of the task room.
    pub fn tasks(mut self, config: TasksConfig) -> Self {
        self.tasks = config;
        self
    }

    /// Makes it run: opens the data folder (makes key and profile on the first start), binds, announces, and links
    /// up with every trusted device it finds. What was running before a crash is where it was.
    ///
    /// # Errors
    /// What the builder was told wrong ([`Error::Config`]); a data folder in use, unsafe or full; a damaged or lost key;
    /// a damaged database; a port that is taken.
    pub async fn start(mut self) -> Result<Bus, Error> {
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        if self.roster.declared.name.as_ref().is_some_and(|name| {
            name.is_empty() || name.len() > limits::NAME_BYTES || name.contains(softbus_core::is_tricky)
        }) {
            return Err(Error::Config(format!(
                "a device's name has 1 to {} bytes, and no characters that cannot be seen",
                limits::NAME_BYTES
            )));
        }
        let seam = match (self.seam, self.data_dir) {
            (Some(seam), _) => seam,
            (None, Some(dir)) => real_seam(dir, &self.net.bind, self.net.discovery)?,
            (None, None) => {
                return Err(Error::Config("say where the device keeps its data: `data_dir`".into()));
            }
        };
        let place = Place::default();
        let asks = Asks::new(place.clone());
        #[cfg(feature = "wasm")]
        if let Some((engine, turns)) = self.wasm {
            let clock = Arc::new(softbus_wasm::SeamClock(seam.clock.clone()));
            let runtime = softbus_wasm::WasmRuntime::new(engine, clock, turns)
                .map_err(|error| Error::Config(error.to_string()))?;
            let driver = tokio::runtime::Handle::current();
            let mesh = crate::asking::Mesh { place: place.clone(), asks: asks.clone(), driver };
            let runtime = runtime.with_services(Arc::new(mesh));
            let registered = self.registry.register_runtime(Arc::new(runtime));
            registered.map_err(|error| Error::Config(error.to_string()))?;
        }
        let hardware = self.roster.declared.hardware(seam.sensors.hardware());
        let mut net_config = self.net;
        net_config.name = (!self.hide_name).then(|| hardware.name.clone());
        net_config.kind = (!self.hide_kind).then(|| hardware.kind.unwrap_or_default());

        let key = Arc::new(device_key(&seam).await?);
        let store = Store::open(&seam).await?;
        let keeper = Keeper::open(store.clone(), seam.clone(), key.clone()).await?;
        let router = Router::new();
        router.answer(answering::service(), Arc::new(asks));
        let net = Net::start(seam, key.clone(), keeper.clone(), router.clone(), net_config).await?;
        let mut unfinished = Unfinished { rooms: Some((net.clone(), keeper.clone())), roster: None };
        keeper.attach(&net);
        let mut roster_config = self.roster;
        roster_config.task_types = self.registry.labels();
        let roster =
            Roster::start(net.clone(), keeper.clone(), store.clone(), key.clone(), roster_config).await?;
        unfinished.roster = Some(roster.clone());
        let tasks = Tasks::start(
            net.clone(),
            roster.clone(),
            keeper.clone(),
            store.clone(),
            key,
            self.registry,
            self.tasks,
        )
        .await?;
        unfinished.rooms = None;
        let (offered, telling) = Default::default();
        let rooms = Arc::new(Rooms { net, router, keeper, roster, tasks, store, offered, telling });
        place.is(&rooms);
        Ok(Bus { rooms })
    }
}

/// The rooms of a start that has not come to its end. They hold each other: if it fails (or is given up) they are told
/// to end, or the device would go on half-made, with its port and its links.
struct Unfinished {
    rooms: Option<(Net, Arc<Keeper>)>,
    roster: Option<Roster>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some((net, keeper)) = self.rooms.take() else { return };
        if let Some(roster) = &self.roster {
            roster.close();
        }
        net.close();
        keeper.detach();
    }
}

/// The operating system's world on a data folder.
#[cfg(feature = "machine")]
fn real_seam(folder: PathBuf, bind: &Bind, discovery: bool) -> Result<Seam, Error> {
    use softbus_net::seam::{Silent, real::RealSeam};
    let mut seam =
        RealSeam::new(folder, Arc::new(softbus_roster::machine::Machine::new())).bind(bind.clone());
    if !discovery {
        seam = seam.discovery(Arc::new(Silent));
    }
    Ok(seam.open().map_err(std::io::Error::from)?)
}

/// Without the machine's sensors there is no world to be had from here.
#[cfg(not(feature = "machine"))]
fn real_seam(_: PathBuf, _: &Bind, _: bool) -> Result<Seam, Error> {
    Err(Error::Config(
        "this build has no sensors (feature `machine`): give the builder a seam of your own".into(),
    ))
}

/// Reads the device's key, or makes it on the first start. Never a second one in place of one that is lost: for all
/// others that would be another device, with the circles and tasks of this one in its hands.
async fn device_key(seam: &Seam) -> Result<DeviceKey, Error> {
    let storage = seam.storage.clone();
    let entropy = seam.entropy.clone();
    let work = move || -> Result<DeviceKey, Error> {
        if let Some(bytes) = storage.secret(KEY_SECRET)? {
            let key = DeviceKey::from_file(&bytes)?;
            // Perhaps of a start that failed while it made the key durable: it must be before anything depends on it.
            // What is wrong with the database is told by whoever opens it.
            if has_database(&*storage).is_ok_and(|has| !has) {
                storage.put_secret(KEY_SECRET, &bytes)?;
                tracing::warn!(
                    "there is a key but no database: this device begins anew under its old id, in no circle, without its \
                     tasks and without its votes on them. If the database was lost, put it back from a copy first"
                );
            }
            return Ok(key);
        }
        if has_database(&*storage)? {
            return Err(Error::KeyLost);
        }
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        entropy.fill(&mut *seed);
        let key = DeviceKey::from_seed(&seed);
        storage.put_secret(KEY_SECRET, &key.to_file())?;
        Ok(key)
    };
    let done = seam.compute.run(Lane::Disk, 0, work).await;
    done.unwrap_or_else(|| {
        Err(Error::Config("the device's key could not be read: the disk worker died".into()))
    })
}

/// Whether a device lived here before: its key is on the disk before anything is in the database.
fn has_database(storage: &dyn Storage) -> std::io::Result<bool> {
    let database = storage.database()?;
    let length = database.len();
    database.close()?;
    Ok(length? > 0)
}
