//! A device of the reduced model: its cores, what it knows, and its side of each link.

use std::collections::BTreeMap;
use std::sync::Arc;

use softbus_core::wire::link::{BootNonce, VERSIONS};
use softbus_core::{DeviceId, DeviceKind, Domain, Sig, Signed, Signer, StaticProfile, TaskId};
use softbus_net::Links;
use softbus_net::link::{ConnKey, LinkConfig, LinkMachine};
use softbus_net::seam::Entropy;
use softbus_net::seam::memory::SeededEntropy;
use softbus_placement::Leases;
use softbus_roster::gossip::{RosterMachine, Trust};
use softbus_roster::profile::Author;
use softbus_task::choosing::Book;
use softbus_trust::DeviceKey;

use super::draw::hash;
use super::half_open::HalfOpen;
use super::tasks::{Deed, Side};
use super::world::NEVER;
use crate::record::DeviceState;
use crate::run::Body;
use crate::scenario::DeviceSpec;

/// Silence after which a peer is suspect and offline, as in the library's defaults.
const SILENCE: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_secs(1), std::time::Duration::from_secs(2));

/// A device's key. The same as the full simulator's: equal seeds give equal ids.
pub(super) struct Key {
    key: DeviceKey,
    /// Nobody checks how it says it is: all who hear it have a link with it, and believe it because of that. Such a
    /// signature is left out; it would be most of what a large run computes.
    unchecked: bool,
}

impl Key {
    pub fn new(seed: u64, name: &str, unchecked: bool) -> Self {
        let mut bytes = [0; 32];
        SeededEntropy::new(seed, &format!("key of {name}")).fill(&mut bytes);
        Self { key: DeviceKey::from_seed(&bytes), unchecked }
    }
}

impl Signer for Key {
    fn id(&self) -> DeviceId {
        self.key.id()
    }

    fn sign(&self, domain: Domain, body: &[u8]) -> Sig {
        if self.unchecked && domain == Domain::PRESENT {
            return Sig::from_bytes([0; 64]);
        }
        Signer::sign(&self.key, domain, body)
    }
}

/// One device.
pub(super) struct Device {
    pub id: DeviceId,
    pub key: Arc<Key>,
    pub mode: DeviceState,
    /// Nth run of its program; what was meant for an earlier one is dropped.
    pub run: u32,
    pub started: u64,
    pub segment: usize,
    pub trust: Arc<Trust>,
    /// In order of id.
    pub peers: Vec<Peer>,
    pub half_open: HalfOpen,
    pub links: Arc<Links>,
    /// Links changed, and the roster has not been told yet.
    pub links_due: bool,
    pub roster: Option<RosterMachine>,
    pub author: Author,
    /// Nth start as the roster counts it.
    pub boot: u64,
    /// When the roster is looked at next.
    pub roster_at: u64,
    /// Whether anything of the scenario starts it again.
    pub restarts: bool,
    /// Profiles of others as they are on its disk, if it starts again.
    pub kept: BTreeMap<DeviceId, Signed>,
    /// Whether it has seen anybody in this run.
    pub saw: bool,
    pub body: Body,
    /// It is off because its battery ran empty.
    pub starved: bool,
    /// Load by other things, in thousandths.
    pub load: u16,
    /// Speed of each core now.
    pub rate: u64,
    /// Core time so far.
    pub busy_ns: u64,
    pub busy_counted: u64,
    /// Of its cores' plan.
    pub version: u64,
    pub tasks: BTreeMap<TaskId, Side>,
    pub leases: Leases,
    /// Promises made to it.
    pub book: Book,
    /// Who did not promise room for what, and until when that stands.
    pub refusals: BTreeMap<(DeviceId, TaskId), u64>,
    /// The tasks are to look at the roster.
    pub look_due: bool,
    /// What waits for a link.
    pub waiting: Vec<(DeviceId, Deed)>,
    pub bytes: (u64, u64),
    pub bytes_counted: u64,
}

/// One side's view of a link.
pub(super) struct Peer {
    pub id: DeviceId,
    pub index: u32,
    pub machine: LinkMachine,
    /// Kept whether it is used or not.
    pub standing: bool,
    /// The dial under way.
    pub dial: Option<u64>,
    /// Run and segment in which it was seen last.
    pub seen: Option<(u32, usize)>,
    /// The peer's run that is at the other end of the present connection.
    pub other_run: u32,
    /// The other device's number for the present connection is the same.
    pub current: Option<ConnKey>,
    pub dialled: bool,
    /// Nothing is heard on the present connection since then.
    pub silent_since: Option<u64>,
    /// When a message of it came last.
    pub heard: u64,
    /// When the machine is looked at next.
    pub tick_at: u64,
    /// What arrives on the link keeps its order.
    pub last_due: u64,
    /// When somebody here last used the link, for on-demand links.
    pub used: u64,
    /// The channel for epochs is on this connection, open from then on, and was last used then.
    pub channel: Option<ConnKey>,
    pub channel_open: u64,
    pub spoke: u64,
    /// Bytes that may be under way to the peer at once: grows as it is used.
    pub window: u64,
}

/// Initial congestion window of QUIC.
pub(super) const WINDOW: u64 = 12_000;

impl Peer {
    pub fn new(seed: u64, me: (u32, DeviceId, u32), other: (u32, DeviceId), standing: bool) -> Self {
        let config = LinkConfig {
            me: me.1,
            boot: nonce(seed, me.0, me.2),
            peer: other.1,
            versions: VERSIONS,
            suspect_after: SILENCE.0,
            offline_after: SILENCE.1,
            seed: hash(seed, &[u64::from(me.0), u64::from(other.0), u64::from(me.2)]),
        };
        Self {
            id: other.1,
            index: other.0,
            machine: LinkMachine::new(config),
            standing,
            dial: None,
            seen: None,
            other_run: 0,
            current: None,
            dialled: false,
            silent_since: None,
            heard: 0,
            tick_at: NEVER,
            last_due: 0,
            used: 0,
            channel: None,
            channel_open: 0,
            spoke: 0,
            window: WINDOW,
        }
    }
}

fn nonce(seed: u64, device: u32, run: u32) -> BootNonce {
    let mut bytes = [0; 16];
    for (n, half) in bytes.chunks_mut(8).enumerate() {
        half.copy_from_slice(&hash(seed, &[u64::from(device), u64::from(run), n as u64, 77]).to_le_bytes());
    }
    BootNonce(bytes)
}

impl Device {
    pub fn peer(&self, id: &DeviceId) -> Option<&Peer> {
        self.peers.binary_search_by_key(id, |peer| peer.id).ok().map(|at| &self.peers[at])
    }

    pub fn peer_mut(&mut self, id: &DeviceId) -> Option<&mut Peer> {
        self.peers.binary_search_by_key(id, |peer| peer.id).ok().map(|at| &mut self.peers[at])
    }

    pub fn is_up(&self) -> bool {
        self.mode == DeviceState::Up
    }
}

/// The static profile as the roster's driver drafts it.
pub(super) fn draft(spec: &DeviceSpec, id: DeviceId, task_type: &str) -> StaticProfile {
    StaticProfile {
        id,
        version: 0,
        issued: Default::default(),
        expires: Default::default(),
        name: spec.name.clone(),
        kind: match spec.kind {
            DeviceKind::Other => DeviceKind::default(),
            kind => kind,
        },
        cores: spec.cores.max(1),
        memory_bytes: spec.memory_bytes,
        arch: "virtual".into(),
        os: "memory".into(),
        accelerators: Vec::new(),
        capabilities: Vec::new(),
        services: Vec::new(),
        task_types: if spec.runs_tasks { vec![task_type.to_owned()] } else { Vec::new() },
        battery_floor_permille: spec.battery.map_or(0, |battery| battery.floor_permille),
        declared: vec!["kind".into(), "name".into(), "rate".into()],
    }
}
