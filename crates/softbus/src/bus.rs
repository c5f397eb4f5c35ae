use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use softbus_core::{DeviceId, ErrorCode, ServiceName, limits};
use softbus_net::membership::{Founded, Keeper, Opening, PairOptions, Paired};
use softbus_net::seam::Sighting;
use softbus_net::seam::store::Store;
use softbus_net::{Caller, Channel, Net, Presence, Router};
use softbus_roster::{Roster, RosterEntry, RosterView, Subscription};
use softbus_task::{Filling, SubmitOptions, Task, TaskHandle, Tasks};
use tokio::sync::watch;

use crate::{Builder, Decision, Error, serve};

/// How long [`Bus::request`] waits for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// One device on the bus. Clones are handles to the same; the last one dropped ends it at once and without a goodbye,
/// so call [`Bus::shutdown`]. A handler that keeps a clone keeps the bus alive: [`Bus::withdraw`] its service first.
#[derive(Clone)]
pub struct Bus {
    pub(crate) rooms: Arc<Rooms>,
}

/// The rooms, wired together by the [`Builder`].
pub(crate) struct Rooms {
    pub net: Net,
    pub router: Router,
    pub keeper: Arc<Keeper>,
    pub roster: Roster,
    pub tasks: Tasks,
    pub store: Store,
    /// Services that this device's program offers, beside the bus's own: they stand in its profile.
    pub offered: Mutex<BTreeSet<ServiceName>>,
    /// Held while the roster is told of them.
    pub telling: tokio::sync::Mutex<()>,
}

impl Drop for Rooms {
    /// The rooms hold each other; what is told here ends the loops by which they do.
    fn drop(&mut self) {
        self.tasks.close();
        self.roster.close();
        self.net.close();
        self.keeper.detach();
    }
}

impl Bus {
    /// Begins to describe a device.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// This device.
    pub fn id(&self) -> DeviceId {
        self.rooms.net.id()
    }

    /// Addresses that others may reach this device by.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.rooms.net.addresses()
    }

    // Who is here.

    /// All devices of this device's circles as they are now, in order of their ids; this one is among them.
    pub fn devices(&self) -> Vec<Arc<RosterEntry>> {
        self.rooms.roster.view().entries.values().cloned().collect()
    }

    /// The devices as they change: each value is a consistent snapshot.
    pub fn watch(&self) -> watch::Receiver<Arc<RosterView>> {
        self.rooms.roster.watch()
    }

    /// What happens to devices, in order, from now on. Who reads too slowly gets a fresh snapshot, and is told.
    pub fn events(&self) -> Subscription {
        self.rooms.roster.events()
    }

    /// What discovery sees nearby, trusted or not. An address is a hint, never trust.
    pub fn nearby(&self) -> watch::Receiver<Arc<Vec<Sighting>>> {
        self.rooms.net.nearby()
    }

    /// The roster room: more on the above, and what this device says of itself.
    pub fn roster(&self) -> &Roster {
        &self.rooms.roster
    }

    // Who trusts whom.

    /// Founds a circle with this device as its owner. Show the recovery words to the person, then say so
    /// ([`Keeper::words_shown`], by [`Bus::circles`]): until then they wait in the data folder, from then on they are kept
    /// nowhere.
    ///
    /// # Errors
    /// If the name is too long, the device is in too many circles, or the disk fails.
    pub async fn found_circle(&self, name: &str) -> Result<Founded, Error> {
        Ok(self.rooms.keeper.found(name).await?)
    }

    /// Opens pairing: the state tells the PIN to show and how it ends. Pairing that is open already is closed, and
    /// its PIN is void. [`Keeper::close_opening`] (by [`Bus::circles`]) closes it again.
    ///
    /// # Errors
    /// If pairing is frozen after wrong PINs, or the options do not fit.
    pub async fn open_pairing(&self, options: PairOptions) -> Result<Opening, Error> {
        Ok(self.rooms.keeper.open_pairing(options).await?)
    }

    /// Pairs with a device nearby that shows `pin`.
    ///
    /// # Errors
    /// [`Error::NotNearby`] if discovery does not see it; else what it answered, or why it was not reached.
    pub async fn pair_with(
        &self,
        device: DeviceId,
        pin: &str,
        options: PairOptions,
    ) -> Result<Paired, Error> {
        let addresses = self.addresses_nearby(device);
        if addresses.is_empty() {
            return Err(Error::NotNearby(device));
        }
        Ok(self.rooms.keeper.pair_with_any(addresses, Some(device), pin, options).await?)
    }

    /// Where discovery sees a device that announces itself in the open.
    pub fn addresses_nearby(&self, device: DeviceId) -> Vec<SocketAddr> {
        let nearby = self.rooms.net.nearby();
        let seen = nearby.borrow();
        seen.iter()
            .filter_map(|sighting| match sighting {
                Sighting::Seen { addresses, announcement, .. } if announcement.id == Some(device) => {
                    Some(addresses.iter())
                }
                _ => None,
            })
            .flatten()
            .copied()
            .collect()
    }

    /// The keeper of this device's circles: links for pairing, roles, removal, leaving, recovery, access rules.
    pub fn circles(&self) -> &Arc<Keeper> {
        &self.rooms.keeper
    }

    // Services.

    /// Offers a request/response service, `name/version`. Access is checked before `answer` runs: by default
    /// members of a common circle may call it, guests only where a rule names it.
    ///
    /// # Errors
    /// If that is no service name; if the service is offered already: by this program ([`Bus::withdraw`] it first), or
    /// by the bus itself, as `task/1` is; or if this program offers 64 already, which is all that a profile tells of.
    pub fn answer<F, Fut>(&self, service: &str, answer: F) -> Result<(), Error>
    where
        F: Fn(Caller, Vec<u8>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<u8>, ErrorCode>> + Send + 'static,
    {
        let name: ServiceName = service.parse()?;
        self.offer(name, |router, name| router.answer(name, serve::answer(answer)))
    }

    /// Offers a service of byte streams. Access as for [`Bus::answer`].
    ///
    /// # Errors
    /// As [`Bus::answer`].
    pub fn serve<F, Fut>(&self, service: &str, serve: F) -> Result<(), Error>
    where
        F: Fn(Channel) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let name: ServiceName = service.parse()?;
        self.offer(name, |router, name| router.serve(name, serve::accept(serve)))
    }

    /// Ends the offer of a service of this program. Channels that are open go on until they end.
    ///
    /// # Errors
    /// If this program does not offer it.
    pub fn withdraw(&self, service: &str) -> Result<(), Error> {
        let name: ServiceName = service.parse()?;
        let mut known = self.rooms.offered.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.remove(&name) {
            return Err(Error::Config(format!("the service {name} is not offered here")));
        }
        self.rooms.router.withdraw(&name);
        drop(known);
        self.tell_services();
        Ok(())
    }

    fn offer(&self, name: ServiceName, put: impl FnOnce(&Router, ServiceName)) -> Result<(), Error> {
        let mut offered = self.rooms.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let router = &self.rooms.router;
        if router.names().contains(&name) {
            let whose = if offered.contains(&name) { "this program" } else { "the bus itself" };
            return Err(Error::Config(format!("the service {name} is offered already, by {whose}")));
        }
        if offered.len() >= limits::PROFILE_ENTRIES {
            return Err(Error::Config(format!(
                "the service {name} cannot be offered: {} are, and no profile tells of more; withdraw one first",
                limits::PROFILE_ENTRIES
            )));
        }
        put(router, name.clone());
        offered.insert(name);
        drop(offered);
        self.tell_services();
        Ok(())
    }

    /// Asks a service of a device, for at most half a minute.
    ///
    /// # Errors
    /// If the device is not in reach or restarts meanwhile, it does not offer the service to this device, or its
    /// handler says so.
    pub async fn request(&self, device: DeviceId, service: &str, request: Vec<u8>) -> Result<Vec<u8>, Error> {
        let name = service.parse()?;
        Ok(self.rooms.net.request(device, &name, request, REQUEST_TIMEOUT).await?)
    }

    /// Opens a byte stream to a service of a device. When this returns, the other side has let it in and its handler
    /// runs.
    ///
    /// # Errors
    /// As [`Bus::request`].
    pub async fn open(&self, device: DeviceId, service: &str) -> Result<Channel, Error> {
        let name = service.parse()?;
        Ok(self.rooms.net.open(device, &name).await?)
    }

    /// The profile names what is offered; it is signed anew in the background.
    fn tell_services(&self) {
        let rooms = self.rooms.clone();
        let tell = async move {
            // One after the other, so that the last one tells what is offered last.
            let _turn = rooms.telling.lock().await;
            let offered =
                rooms.offered.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
            if let Err(error) = rooms.roster.set_services(offered).await {
                tracing::warn!(%error, "the profile does not tell which services are offered");
            }
        };
        self.rooms.net.seam().sockets.runtime().spawn(Box::pin(tell));
    }

    // Work.

    /// Gives a task to the bus, which runs it where it runs best. It is on this device's disk when this returns.
    ///
    /// # Errors
    /// If no device can take it (the error explains why each cannot), the options are out of bounds, or the disk fails.
    pub async fn submit<T: Task>(
        &self,
        input: &T::Input,
        options: SubmitOptions,
    ) -> Result<TaskHandle, Error> {
        Ok(self.rooms.tasks.run::<T>(input, options).await?)
    }

    /// Where a task of a type (`squares/1`) with this serialised input would go now, and why. Nothing is started or
    /// reserved.
    ///
    /// # Errors
    /// If the type is no name and version, or the options are out of bounds.
    pub async fn place(&self, kind: &str, input: Vec<u8>, options: SubmitOptions) -> Result<Decision, Error> {
        Ok(self.rooms.tasks.explain(kind, input, options).await?)
    }

    /// The task room: list, watch, move, pause, cancel, adopt, results, saved states.
    pub fn tasks(&self) -> &Tasks {
        &self.rooms.tasks
    }

    /// The network room: links, static peers, sleep and wake.
    pub fn net(&self) -> &Net {
        &self.rooms.net
    }

    /// Whether this device's database answers.
    pub async fn probe_storage(&self) -> Result<(), Error> {
        Ok(self.rooms.store.probe().await?)
    }

    /// How full queues and tables are that have a limit, for tests and diagnosis: links, what discovery sees, the roster, and
    /// what [`Tasks::filling`] tells of the task room.
    pub fn filling(&self) -> Vec<Filling> {
        let rooms = &self.rooms;
        let links = rooms.net.links();
        let (known, live) = {
            let links = links.borrow();
            (links.len(), links.values().filter(|link| link.presence == Presence::Online).count())
        };
        let filling = |what, held, most| Filling { what, held, most };
        let mut all = vec![
            filling("devices linked or tried", known, limits::ROSTER_DEVICES),
            filling("live links", live, limits::LINKS),
            filling("sightings", rooms.net.sightings(), limits::SIGHTINGS),
            filling("devices in the roster", rooms.roster.view().entries.len(), limits::ROSTER_DEVICES),
        ];
        all.extend(rooms.tasks.filling());
        all
    }

    // The end.

    /// Ends well: tasks move away first (for at most `drain`), then the peers hear a goodbye.
    pub async fn shutdown_within(&self, drain: Duration) {
        match tokio::time::timeout(drain, self.rooms.tasks.drain()).await {
            Ok(left) if left.is_empty() => {}
            Ok(left) => {
                tracing::warn!(?left, "these tasks could not move away: they wait here for the next start")
            }
            Err(_) => {
                tracing::warn!(?drain, "not all tasks could move away in time: they wait for the next start")
            }
        }
        self.rooms.tasks.shutdown().await;
        self.rooms.roster.shutdown().await;
        self.rooms.net.shutdown().await;
        self.rooms.store.close().await;
    }

    /// [`Bus::shutdown_within`] ten seconds.
    pub async fn shutdown(&self) {
        self.shutdown_within(Duration::from_secs(10)).await;
    }
}
