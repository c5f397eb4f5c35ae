//! Opening a service on another device.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::link::{OPEN_CHOICES, Open, Reply, Want};
use softbus_core::{DeviceId, ErrorCode, ServiceName};
use tokio::time::{Instant, timeout, timeout_at};

use super::Core;
use super::dial::Search;
use super::peer::Active;
use crate::channel::{Lease, read_message, write_message};
use crate::{Caller, Channel, NetError};

/// How long to wait for a link that is not there yet.
const LINK_WAIT: Duration = Duration::from_secs(5);
/// How long the peer may take to say whether it opens.
const REPLY_WAIT: Duration = Duration::from_secs(10);

impl Core {
    /// Opens a channel to a trusted peer.
    pub(crate) async fn open(
        self: &Arc<Self>,
        peer: DeviceId,
        services: &[ServiceName],
    ) -> Result<Channel, NetError> {
        self.check_choices(peer, services)?;
        let deadline = Instant::now() + LINK_WAIT;
        let mut failed = None;
        loop {
            let active = self.active(peer, deadline, failed).await?;
            let opening = self.open_on(peer, &active.connection, services);
            match timeout(REPLY_WAIT, opening).await {
                // The connection broke before the peer answered, or it let the link rest a moment before it heard of
                // us: nothing was begun, so try the next one. (One that goes to sleep is not woken for it: only a request
                // waits, as long as its own deadline, for the link after that.)
                Ok(Err(
                    NetError::Lost(_) | NetError::Refused(ErrorCode::Superseded | ErrorCode::Resting),
                )) => {
                    failed = Some(active.key);
                }
                Ok(result) => {
                    let (send, recv, service) = result?;
                    let lease = Lease::of(&active.lease);
                    let connection = active.connection;
                    let peer = self.caller(peer);
                    return Ok(Channel::opened(peer, service, (send, recv), connection, lease));
                }
                Err(_) => return Err(NetError::Lost("the other device did not answer in time".into())),
            }
        }
    }

    /// Opens a channel to whoever is at one of these addresses, or where discovery sees it by one of `tags`: over the
    /// link with it, if there is one (a second connection with a device that trusts us would be taken for a new one of
    /// that link).
    pub(crate) async fn open_stranger(
        self: &Arc<Self>,
        addresses: Vec<std::net::SocketAddr>,
        expected: Option<DeviceId>,
        tags: Vec<[u8; 8]>,
        services: &[ServiceName],
    ) -> Result<Channel, NetError> {
        if let Some(peer) = expected.filter(|peer| self.is_linked(peer)) {
            return self.open(peer, services).await;
        }
        let search = expected.filter(|_| !tags.is_empty() && self.config.discovery);
        let search = search.map(|device| Search { device, tags, nearby: self.nearby() });
        let (connection, peer, addr) = self.race_any(expected, addresses, search).await?;
        if self.is_linked(&peer) {
            super::hub::close(&connection, ErrorCode::None);
            return self.open(peer, services).await;
        }
        self.check_choices(peer, services)?;
        let opening = async {
            let control = self.stranger_hello(peer, &connection, true).await?;
            let opened = self.open_on(peer, &connection, services).await?;
            Ok::<_, NetError>((control, opened))
        };
        match timeout(REPLY_WAIT, opening).await {
            Ok(Ok((control, (send, recv, service)))) => {
                self.hub().meet(peer, addr);
                // The control stream stays open as long as the connection, which ends with the channel.
                let held = connection.clone();
                let closed = async move { drop((held.closed().await, control)) };
                let lease = Lease::default();
                self.spawn(watch_stranger(closed, lease.clone(), connection.clone()));
                let peer = self.caller(peer);
                Ok(Channel::opened(peer, service, (send, recv), connection, lease))
            }
            Ok(Err(error)) => {
                super::hub::close(&connection, error.code());
                Err(error)
            }
            Err(_) => {
                super::hub::close(&connection, ErrorCode::Timeout);
                Err(NetError::Dial { addr, reason: "it did not answer in time".into() })
            }
        }
    }

    fn is_linked(&self, peer: &DeviceId) -> bool {
        self.hub().peers.get(peer).is_some_and(|peer| peer.current.get().is_some())
    }

    pub(super) fn check_choices(&self, peer: DeviceId, services: &[ServiceName]) -> Result<(), NetError> {
        let Some(service) = services.first() else { return Err(NetError::Refused(ErrorCode::NoSuchService)) };
        if services.len() > OPEN_CHOICES {
            return Err(NetError::Limit { what: "services to choose from", max: OPEN_CHOICES });
        }
        if peer == self.me {
            return Err(NetError::Service { peer, service: service.clone(), code: ErrorCode::Oneself });
        }
        Ok(())
    }

    pub(super) fn caller(&self, device: DeviceId) -> Caller {
        Caller { device, role: self.judge.standing(&device).role(), program: None }
    }

    async fn open_on(
        &self,
        peer: DeviceId,
        connection: &quinn::Connection,
        services: &[ServiceName],
    ) -> Result<(quinn::SendStream, quinn::RecvStream, ServiceName), NetError> {
        let (mut send, mut recv) = connection.open_bi().await.map_err(crate::channel::lost)?;
        write_message(&mut send, &Open { services: services.to_vec(), want: Want::Stream }).await?;
        let reply = read_message::<Reply>(&mut recv).await?;
        match reply.ok_or_else(|| NetError::Lost("the stream ended".into()))? {
            Reply::Opened { choice } => Ok((send, recv, choose(services, choice)?)),
            Reply::Refused(number) | Reply::Failed(number) => Err(refused(peer, services, number)),
            Reply::Answer { .. } => Err(softbus_core::DecodeError::Malformed.into()),
        }
    }

    /// The connection that carries the link with `peer`, dialling if there is none; not one that is known to
    /// have `failed`.
    pub(super) async fn active(
        self: &Arc<Self>,
        peer: DeviceId,
        deadline: Instant,
        failed: Option<u64>,
    ) -> Result<Active, NetError> {
        let mut current = {
            let mut hub = self.hub();
            if hub.closed {
                return Err(NetError::Closed);
            }
            let Some(known) = hub.peer(self, peer) else {
                let expired = self.judge.is_expired(&peer);
                return Err(if expired {
                    NetError::Refused(ErrorCode::Expired)
                } else {
                    NetError::Unreachable(peer)
                });
            };
            known.current.subscribe()
        };
        let good = |active: &Option<Active>| active.as_ref().is_some_and(|a| Some(a.key) != failed);
        if !good(&current.borrow()) {
            self.with_peer(peer, |p, now| p.demand(now));
        }
        match timeout_at(deadline, current.wait_for(good)).await {
            Ok(Ok(active)) => active.clone().ok_or(NetError::Unreachable(peer)),
            // The peer is not trusted any more, or we close.
            Ok(Err(_)) if self.hub().closed => Err(NetError::Closed),
            Ok(Err(_)) => Err(NetError::Refused(self.untrusted(&peer, ErrorCode::Removed))),
            Err(_) => Err(NetError::Unreachable(peer)),
        }
    }
}

pub(super) fn choose(services: &[ServiceName], choice: u8) -> Result<ServiceName, NetError> {
    let chosen = services.get(usize::from(choice)).cloned();
    chosen.ok_or_else(|| softbus_core::DecodeError::Malformed.into())
}

pub(super) fn refused(peer: DeviceId, services: &[ServiceName], number: u32) -> NetError {
    let code = ErrorCode::from_number(number.into());
    match services.first() {
        Some(service) => NetError::Service { peer, service: service.clone(), code },
        None => NetError::Refused(code),
    }
}

/// Ends a connection that was opened for one channel when that channel is dropped.
async fn watch_stranger(closed: impl Future<Output = ()>, lease: Lease, connection: quinn::Connection) {
    let gone = async {
        while lease.others() > 0 {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    tokio::select! {
        biased;
        () = closed => {}
        // What was written last still has to reach the peer.
        () = gone => {
            tokio::time::sleep(Duration::from_millis(500)).await;
            super::hub::close(&connection, ErrorCode::None);
        }
    }
}
