//! Dialling: a peer's addresses in order, a little apart, and the first to answer wins.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use softbus_core::{DeviceId, ErrorCode, limits};
use tokio::sync::{oneshot, watch};

use super::Core;
use super::hub::close;
use crate::channel::canonical;
use crate::seam::Sighting;
use crate::tls::SERVER_NAME;
use crate::{NetError, Standing};

/// One address gets this long.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// The next address is tried if the one before has not answered for this long (RFC 8305 calls for 250 ms
/// over the Internet; at home less will do).
const NEXT_ADDRESS: Duration = Duration::from_millis(150);
/// Addresses dialled at once.
const AT_ONCE: usize = 4;
/// Addresses dialled at once if discovery tells some meanwhile: they are likelier to be good than those of old.
const AT_ONCE_FOUND: usize = 2 * AT_ONCE;
/// Addresses dialled in one race.
const RACERS: usize = 2 * limits::PEER_ADDRESSES;
/// How long discovery is asked for further addresses.
const SEARCH: Duration = Duration::from_secs(5);
/// A static address whose device is not known or not trusted yet is asked again after this, at first and at most.
const MEET_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Why an address led nowhere.
pub(super) enum DialError {
    /// Somebody else answered.
    Other(DeviceId),
    /// For people.
    Failed(String),
}

/// Looks for a device in what discovery sees.
pub(super) struct Search {
    pub(super) device: DeviceId,
    /// Of these discovery tags it has one now, unless it shows its id.
    pub(super) tags: Vec<[u8; 8]>,
    pub(super) nearby: watch::Receiver<Arc<Vec<Sighting>>>,
}

impl Search {
    /// Where it is in sight now. A tag cannot be made up by others; an id can, so it comes second.
    fn found(&mut self) -> Vec<SocketAddr> {
        let nearby = self.nearby.borrow_and_update().clone();
        let (mut by_tag, mut by_id) = (Vec::new(), Vec::new());
        for sighting in nearby.iter() {
            let Sighting::Seen { addresses, announcement, .. } = sighting else { continue };
            if announcement.tags.iter().any(|tag| self.tags.contains(tag)) {
                by_tag.extend_from_slice(addresses);
            } else if announcement.id == Some(self.device) {
                by_id.extend_from_slice(addresses);
            }
        }
        by_tag.into_iter().chain(by_id).take(RACERS).map(canonical).collect()
    }

    /// Waits until discovery sees something else.
    async fn news(&mut self) {
        if self.nearby.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Core {
    /// Dials a peer for its machine.
    pub(super) async fn dial_peer(
        self: Arc<Self>,
        peer: DeviceId,
        attempt: u64,
        addresses: Vec<SocketAddr>,
        cancelled: oneshot::Receiver<()>,
    ) {
        let result = tokio::select! {
            biased;
            _ = cancelled => return,
            result = self.race(peer, addresses) => result,
        };
        match result {
            Ok(connection) => self.adopt(peer, connection, Some(attempt)),
            Err(reason) => self.with_peer(peer, |p, now| p.machine.dial_failed(now, attempt, reason)),
        }
    }

    pub(super) async fn race(
        &self,
        peer: DeviceId,
        addresses: Vec<SocketAddr>,
    ) -> Result<quinn::Connection, String> {
        match self.race_any(Some(peer), addresses, None).await {
            Ok((connection, ..)) => Ok(connection),
            Err(NetError::Dial { addr, reason }) => Err(format!("{addr}: {reason}")),
            Err(_) => Err("no address is known".to_owned()),
        }
    }

    /// The first to answer of these addresses and of what discovery tells meanwhile. `expected`, if given, must be who
    /// answers.
    pub(super) async fn race_any(
        &self,
        expected: Option<DeviceId>,
        addresses: Vec<SocketAddr>,
        mut search: Option<Search>,
    ) -> Result<(quinn::Connection, DeviceId, SocketAddr), NetError> {
        let mut known: BTreeSet<SocketAddr> = BTreeSet::new();
        let mut waiting: VecDeque<SocketAddr> =
            addresses.into_iter().map(canonical).filter(|addr| known.insert(*addr)).take(RACERS).collect();
        let mut running = FuturesUnordered::new();
        let mut at_once = AT_ONCE;
        let end = tokio::time::Instant::now() + SEARCH;
        let mut last = match expected {
            Some(peer) => NetError::Unreachable(peer),
            None => NetError::Lost("no address is known".into()),
        };
        loop {
            for addr in search.as_mut().map(Search::found).unwrap_or_default() {
                if known.len() < RACERS && known.insert(addr) {
                    waiting.push_front(addr);
                    at_once = (at_once + 1).min(AT_ONCE_FOUND);
                }
            }
            if running.len() < at_once
                && let Some(addr) = waiting.pop_front()
            {
                running.push(async move { (addr, self.connect(addr, expected).await) });
            }
            if running.is_empty() && search.is_none() {
                return Err(last);
            }
            let searching = search.is_some();
            let news = async {
                match &mut search {
                    Some(search) => search.news().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some((addr, result)) = running.next() => match result {
                    Ok((connection, id)) => return Ok((connection, id, addr)),
                    Err(error) => {
                        let reason = match &error {
                            DialError::Other(other) if *other == self.me => "this device itself answered".to_owned(),
                            DialError::Other(other) => format!("another device answered: {other}"),
                            DialError::Failed(reason) => reason.clone(),
                        };
                        tracing::debug!(?expected, %addr, reason, "dial failed");
                        if let (Some(peer), DialError::Other(_)) = (expected, error) {
                            self.unlearn(peer, addr);
                        }
                        last = NetError::Dial { addr, reason };
                    }
                },
                () = news => {}
                () = tokio::time::sleep(NEXT_ADDRESS), if running.len() < at_once && !waiting.is_empty() => {}
                () = tokio::time::sleep_until(end), if searching => search = None,
            }
        }
    }

    /// One handshake with whoever is at an address. Nothing is judged but that it is the expected one.
    pub(super) async fn connect(
        &self,
        addr: SocketAddr,
        expected: Option<DeviceId>,
    ) -> Result<(quinn::Connection, DeviceId), DialError> {
        let failed = |e: &dyn std::fmt::Display| DialError::Failed(e.to_string());
        let connecting =
            self.endpoint.connect_with(self.client.clone(), addr, SERVER_NAME).map_err(|e| failed(&e))?;
        let connection = tokio::time::timeout(DIAL_TIMEOUT, connecting)
            .await
            .map_err(|_| failed(&"no answer"))?
            .map_err(|e| failed(&crate::channel::lost(e)))?;
        let Some(id) = self.tls.device_of(&connection) else {
            close(&connection, ErrorCode::Malformed);
            return Err(failed(&"the certificate names no device"));
        };
        if id == self.me {
            close(&connection, ErrorCode::Oneself);
            return Err(DialError::Other(id));
        }
        if expected.is_some_and(|expected| expected != id) {
            close(&connection, ErrorCode::NotTrusted);
            return Err(DialError::Other(id));
        }
        Ok((connection, id))
    }

    /// Adds a device by address.
    pub(crate) fn add_static(self: &Arc<Self>, peer: Option<DeviceId>, addr: SocketAddr) {
        let addr = canonical(addr);
        {
            let mut hub = self.hub();
            let news = hub.statics.get(&addr) != Some(&peer);
            if !news || hub.statics.len() >= limits::STATIC_PEERS && !hub.statics.contains_key(&addr) {
                return;
            }
            hub.statics.insert(addr, peer);
        }
        match peer {
            Some(peer) => self.learn(&[(peer, addr)], true),
            None => self.background(move |core| core.meet_static(addr)),
        }
    }

    /// Asks at a static address until it is known who lives there.
    async fn meet_static(self: Arc<Self>, addr: SocketAddr) {
        let mut wait = MEET_AGAIN.0;
        let mut changed = self.judge.changed();
        loop {
            changed.borrow_and_update();
            if let Ok((connection, id)) = self.connect(addr, None).await {
                let now = self.now();
                if self.judge.is_former(&id) && self.hub().formers.call(now, id, &[addr], Duration::ZERO) {
                    self.serve_former(id, connection, None).await;
                } else {
                    close(&connection, ErrorCode::None);
                }
                if matches!(self.judge.standing(&id), Standing::Trusted(_)) {
                    self.hub().statics.insert(addr, Some(id));
                    return self.learn(&[(id, addr)], true);
                }
            }
            // Not there, or not of our circle: it may be one day, at once if we join another.
            tokio::select! {
                biased;
                Ok(()) = changed.changed() => wait = MEET_AGAIN.0,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(MEET_AGAIN.1),
            }
        }
    }
}
