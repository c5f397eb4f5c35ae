//! Doubles for the tests of the rooms above: a judge whose mind is made up by the test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use softbus_core::{CircleId, DeviceId, ErrorCode, ServiceName};
use softbus_trust::Role;
use tokio::sync::watch;

use crate::{Judge, Standing, TagSecret};

/// A judge that trusts whom it is told to. Members may open everything but `admin`, guests nothing, strangers
/// `pair` while pairing is open.
pub struct FixedJudge {
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    peers: BTreeMap<DeviceId, Role>,
    pairing: bool,
    secret: Option<[u8; 32]>,
}

impl FixedJudge {
    /// Trusts these devices as members.
    pub fn new(peers: impl IntoIterator<Item = DeviceId>) -> Arc<Self> {
        let peers = peers.into_iter().map(|id| (id, Role::Member)).collect();
        Arc::new(Self {
            state: Mutex::new(State { peers, ..State::default() }),
            version: watch::Sender::new(0),
        })
    }

    /// Trusts a device from now on.
    pub fn trust(&self, id: DeviceId, role: Role) {
        self.change(|state| {
            state.peers.insert(id, role);
        });
    }

    /// Trusts a device no more.
    pub fn distrust(&self, id: &DeviceId) {
        self.change(|state| {
            state.peers.remove(id);
        });
    }

    /// Opens or closes pairing.
    pub fn set_pairing(&self, open: bool) {
        self.change(|state| state.pairing = open);
    }

    /// Gives a circle's tag secret: devices with the same one recognise each other in discovery.
    pub fn set_tag_secret(&self, secret: [u8; 32]) {
        self.change(|state| state.secret = Some(secret));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.version.send_modify(|version| *version += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Judge for FixedJudge {
    fn standing(&self, peer: &DeviceId) -> Standing {
        let state = self.state();
        match state.peers.get(peer) {
            Some(role) => Standing::Trusted(*role),
            None => Standing::Stranger { pairing: state.pairing },
        }
    }

    fn may_open(&self, peer: &DeviceId, service: &ServiceName) -> Result<(), ErrorCode> {
        match self.standing(peer) {
            Standing::Trusted(Role::Owner) => Ok(()),
            Standing::Trusted(Role::Member) if service.name() != "admin" => Ok(()),
            Standing::Trusted(_) => Err(ErrorCode::Forbidden),
            Standing::Stranger { pairing: true } if service.name() == "pair" => Ok(()),
            Standing::Stranger { .. } => Err(ErrorCode::NotTrusted),
        }
    }

    fn peers(&self) -> Vec<DeviceId> {
        self.state().peers.keys().copied().collect()
    }

    fn tag_secrets(&self) -> Vec<TagSecret> {
        let secret = self.state().secret;
        secret
            .map(|secret| TagSecret { circle: CircleId(secret), secret, current: true })
            .into_iter()
            .collect()
    }

    fn announce_openly(&self) -> bool {
        self.state().pairing
    }

    fn circles(&self) -> BTreeMap<CircleId, Role> {
        BTreeMap::from([(CircleId([0x5c; 32]), Role::Owner)])
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
