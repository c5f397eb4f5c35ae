//! Dialling: a peer's addresses in order, a little apart, and the first to answer wins.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use softbus_core::{DeviceId, ErrorCode, limits};
use tokio::sync::oneshot;

use super::Core;
use super::hub::close;
use crate::channel::canonical;
use crate::tls::SERVER_NAME;
use crate::{NetError, Standing};

/// One address gets this long.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// The next address is tried if the one before has not answered for this long (RFC 8305 calls for 250 ms
/// over the Internet; at home less will do).
const NEXT_ADDRESS: Duration = Duration::from_millis(150);
/// Addresses dialled at once.
const AT_ONCE: usize = 4;
/// A static address whose device is not known or not trusted yet is asked again after this, at first and at most.
const MEET_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Why an address led nowhere.
pub(super) enum DialError {
    /// Somebody else answered.
    Other(DeviceId),
    /// For people.
    Failed(String),
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
        let mut waiting: VecDeque<SocketAddr> = addresses.into();
        let mut running = FuturesUnordered::new();
        let mut last = "no address is known".to_owned();
        loop {
            if running.len() < AT_ONCE
                && let Some(addr) = waiting.pop_front()
            {
                running.push(async move { (addr, self.connect(addr, Some(peer)).await) });
            }
            if running.is_empty() {
                return Err(last);
            }
            tokio::select! {
                biased;
                Some((addr, result)) = running.next() => match result {
                    Ok((connection, _)) => return Ok(connection),
                    Err(DialError::Other(other)) => {
                        tracing::debug!(?peer, ?other, %addr, "somebody else lives there");
                        self.unlearn(peer, addr);
                        last = format!("{addr}: another device answered");
                    }
                    Err(DialError::Failed(reason)) => {
                        tracing::debug!(?peer, %addr, reason, "dial failed");
                        last = format!("{addr}: {reason}");
                    }
                },
                () = tokio::time::sleep(NEXT_ADDRESS), if running.len() < AT_ONCE && !waiting.is_empty() => {}
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

    /// A handshake with a device that need not be trusted, for pairing.
    pub(super) async fn meet(
        &self,
        addr: SocketAddr,
        expected: Option<DeviceId>,
    ) -> Result<(quinn::Connection, DeviceId), NetError> {
        let addr = canonical(addr);
        self.connect(addr, expected).await.map_err(|error| NetError::Dial {
            addr,
            reason: match error {
                DialError::Other(id) if id == self.me => "this device itself answered".to_owned(),
                DialError::Other(id) => format!("another device answered: {id}"),
                DialError::Failed(reason) => reason,
            },
        })
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
