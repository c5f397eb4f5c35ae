//! Requests of ours: sent, sent again on the next connection if need be, answered once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::link::{Open, Reply, Want};
use softbus_core::{DeviceId, ErrorCode, LinkId, ServiceName, limits};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::Core;
use super::open::{choose, refused};
use super::peer::Active;
use crate::channel::{read_bytes, read_message, write_error, write_message};
use crate::{NetError, RequestError};

/// Our requests to one peer on the present link.
pub(super) struct Outgoing {
    link: Option<LinkId>,
    next: u64,
    /// With whether each is a use of the link.
    open: BTreeMap<u64, bool>,
}

impl Outgoing {
    /// For a peer that may have been asked under each id below `first`. A link has its name for as long as both devices
    /// run, and a peer that we did not trust for a while may have trusted us all the time: it still knows what it answered,
    /// and refuses an id that comes again.
    pub(super) fn new(first: u64) -> Self {
        Self { link: None, next: first, open: BTreeMap::new() }
    }

    /// No id from here on was used yet.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    fn begin(&mut self, link: LinkId, is_use: bool) -> Option<u64> {
        if self.link != Some(link) {
            *self = Self { link: Some(link), ..Self::new(self.next) };
        }
        if self.open.len() >= limits::PEER_REQUESTS {
            return None;
        }
        let id = self.next;
        self.next += 1;
        self.open.insert(id, is_use);
        Some(id)
    }

    fn end(&mut self, link: LinkId, id: u64) {
        if self.link == Some(link) {
            self.open.remove(&id);
        }
    }

    /// Every lower id is over.
    fn done_below(&self) -> u64 {
        self.open.first_key_value().map_or(self.next, |(id, _)| *id)
    }

    /// Whether none of those open is a use of the link.
    pub(super) fn is_idle(&self) -> bool {
        !self.open.values().any(|is_use| *is_use)
    }
}

/// One request's place in [`Outgoing`], freed when it is over.
struct Ticket {
    core: Arc<Core>,
    peer: DeviceId,
    link: LinkId,
    id: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(peer) = self.core.hub().peers.get_mut(&self.peer) {
            peer.outgoing.end(self.link, self.id);
        }
    }
}

/// A request's stream. If it is dropped before the answer is here, the peer is told what that means.
struct Asking {
    send: quinn::SendStream,
    recv: quinn::RecvStream,
    current: watch::Receiver<Option<Active>>,
    key: u64,
    answered: bool,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.answered {
            // The end of our side acknowledges the answer.
            let _ = self.send.finish();
            return;
        }
        // Given up, and the peer may stop working on it; or only this connection was given up.
        let here = self.current.borrow().as_ref().is_some_and(|active| active.key == self.key);
        let meaning = if here { ErrorCode::Cancelled } else { ErrorCode::Superseded };
        let number = quinn::VarInt::from_u32(meaning.number());
        let _ = self.send.reset(number);
        let _ = self.recv.stop(number);
    }
}

enum Outcome {
    Answer(ServiceName, Vec<u8>),
    /// The connection is of no use any more; the link has or will have another.
    Moved,
}

impl Core {
    /// Sends a request and waits for the answer.
    pub(crate) async fn request(
        self: &Arc<Self>,
        peer: DeviceId,
        services: &[ServiceName],
        request: &[u8],
        wait: Duration,
    ) -> Result<(ServiceName, Vec<u8>), RequestError> {
        if request.len() > limits::REQUEST_BYTES {
            return Err(RequestError::TooLong { len: request.len(), max: limits::REQUEST_BYTES });
        }
        self.check_choices(peer, services)?;
        let is_use = self.router.is_use(services);
        let deadline = Instant::now() + wait;
        let mut ticket: Option<Ticket> = None;
        let mut failed = None;
        loop {
            let active = match self.active(peer, deadline, failed).await {
                Ok(active) => active,
                // Sent, but not answered, and the time is over.
                Err(NetError::Unreachable(_)) if ticket.is_some() => return Err(RequestError::Timeout),
                Err(error) => return Err(error.into()),
            };
            let id = match &ticket {
                Some(ticket) if ticket.link == active.link => ticket.id,
                Some(_) => return Err(NetError::Restarted(peer).into()),
                None => {
                    let taken = self.take_ticket(peer, active.link, is_use)?;
                    ticket.insert(taken).id
                }
            };
            failed = Some(active.key);
            let outcome = timeout_at(deadline, self.ask(peer, &active, services, request, id)).await;
            match outcome {
                Ok(Ok(Outcome::Answer(service, answer))) => return Ok((service, answer)),
                Ok(Ok(Outcome::Moved)) if is_use => {}
                // It would wake a link that has come to rest.
                Ok(Ok(Outcome::Moved)) => {
                    return Err(NetError::Lost("its connection rests or was replaced".into()).into());
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(RequestError::Timeout),
            }
        }
    }

    fn take_ticket(self: &Arc<Self>, peer: DeviceId, link: LinkId, is_use: bool) -> Result<Ticket, NetError> {
        let id = {
            let mut hub = self.hub();
            let known = hub.peer(self, peer).ok_or(NetError::Unreachable(peer))?;
            known.outgoing.begin(link, is_use)
        };
        let id = id.ok_or(NetError::Limit { what: "requests to one device", max: limits::PEER_REQUESTS })?;
        Ok(Ticket { core: self.clone(), peer, link, id })
    }

    /// Asks on one connection, until the answer is here or another connection carries the link.
    async fn ask(
        self: &Arc<Self>,
        peer: DeviceId,
        active: &Active,
        services: &[ServiceName],
        request: &[u8],
        id: u64,
    ) -> Result<Outcome, RequestError> {
        let mut current = {
            let mut hub = self.hub();
            let known = hub.peer(self, peer).ok_or_else(|| self.parted(&peer))?;
            known.current.subscribe()
        };
        let replaced = async {
            let other = |now: &Option<Active>| now.as_ref().is_some_and(|now| now.key != active.key);
            if current.wait_for(other).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let asking = self.ask_on(peer, active, services, request, id);
        tokio::select! {
            biased;
            result = asking => match result {
                Err(RequestError::Net(NetError::Lost(_) | NetError::Refused(
                    ErrorCode::Superseded | ErrorCode::Sleeping | ErrorCode::Resting,
                ))) => Ok(Outcome::Moved),
                result => result,
            },
            () = replaced => Ok(Outcome::Moved),
        }
    }

    /// A peer was trusted a moment ago.
    fn parted(&self, peer: &DeviceId) -> NetError {
        NetError::Refused(self.untrusted(peer, ErrorCode::Removed))
    }

    async fn ask_on(
        &self,
        peer: DeviceId,
        active: &Active,
        services: &[ServiceName],
        request: &[u8],
        id: u64,
    ) -> Result<Outcome, RequestError> {
        let (send, recv) = active.connection.open_bi().await.map_err(crate::channel::lost)?;
        let current =
            self.hub().peers.get_mut(&peer).map(|p| (p.current.subscribe(), p.outgoing.done_below()));
        let (current, done_below) = current.ok_or_else(|| self.parted(&peer))?;
        let mut asking = Asking { send, recv, current, key: active.key, answered: false };
        let Asking { send, recv, .. } = &mut asking;
        let len = u32::try_from(request.len()).unwrap_or(u32::MAX);
        let want = Want::Request { link: active.link, id, done_below, len };
        let write = async {
            write_message(send, &Open { services: services.to_vec(), want }).await?;
            match send.write_all(request).await {
                // Refused before it was read: the reply says why.
                Ok(()) | Err(quinn::WriteError::Stopped(_)) => Ok(()),
                Err(error) => Err(write_error(error)),
            }
        };
        let read = read_message::<Reply>(recv);
        let ((), reply) = tokio::try_join!(write, read)?;
        match reply.ok_or_else(|| NetError::Lost("the stream ended".into()))? {
            Reply::Answer { choice, len } => {
                let len = len as usize;
                if len > limits::REQUEST_BYTES {
                    return Err(RequestError::TooLong { len, max: limits::REQUEST_BYTES });
                }
                let service = choose(services, choice)?;
                let answer = read_bytes(&mut asking.recv, len).await?;
                asking.answered = true;
                Ok(Outcome::Answer(service, answer))
            }
            Reply::Failed(number) => {
                asking.answered = true;
                Err(RequestError::Code(ErrorCode::from_number(number.into())))
            }
            Reply::Refused(number) => {
                asking.answered = true;
                Err(refused(peer, services, number).into())
            }
            Reply::Opened { .. } => Err(NetError::from(softbus_core::DecodeError::Malformed).into()),
        }
    }
}
