//! Who comes in: handshakes within their bounds, then the judge.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::{DeviceId, ErrorCode};
use tokio::sync::oneshot;

use super::Core;
use super::half_open::Decision;
use super::hub::{Stranger, close};
use crate::Standing;
use crate::channel::canonical;
use crate::link::ConnKey;
use crate::places::Entry;

/// Connections of one stranger.
const SAME_STRANGER: usize = 2;
/// A handshake gets this long.
const HANDSHAKE: Duration = Duration::from_secs(5);

impl Core {
    pub(super) async fn accept_loop(self: Arc<Self>) {
        while let Some(incoming) = self.endpoint.accept().await {
            self.clone().admit(incoming);
        }
    }

    fn admit(self: Arc<Self>, incoming: quinn::Incoming) {
        let addr = canonical(incoming.remote_address());
        let validated = incoming.remote_address_validated();
        let (key, evicted) = {
            let mut hub = self.hub();
            let now = self.now();
            let known = hub.is_known(addr);
            match hub.half_open.decide(now, addr.ip(), known, validated) {
                Decision::Retry => {
                    drop(hub);
                    // It fails only for a validated address, which is never asked.
                    let _ = incoming.retry();
                    return;
                }
                Decision::Ignore => {
                    drop(hub);
                    return incoming.ignore();
                }
                Decision::Accept { evict } => {
                    if let Some(key) = evict {
                        // Dropping the sender ends that handshake.
                        hub.handshakes.remove(&key);
                    }
                    let key = hub.key();
                    hub.half_open.begin(key, addr.ip(), known);
                    let (keep, evicted) = oneshot::channel::<()>();
                    hub.handshakes.insert(key, keep);
                    (key, evicted)
                }
            }
        };
        let core = self.clone();
        self.spawn(async move {
            let connection = tokio::select! {
                biased;
                _ = evicted => None,
                () = tokio::time::sleep(HANDSHAKE) => None,
                connection = async { incoming.accept().ok()?.await.ok() } => connection,
            };
            {
                let mut hub = core.hub();
                hub.half_open.end(key);
                hub.handshakes.remove(&key);
            }
            if let Some(connection) = connection {
                core.judge_connection(connection, addr);
            }
        });
    }

    /// Every handshake is judged by DeviceId, before any service byte.
    fn judge_connection(self: &Arc<Self>, connection: quinn::Connection, addr: SocketAddr) {
        let Some(id) = self.tls.device_of(&connection) else {
            return close(&connection, ErrorCode::Malformed);
        };
        if id == self.me {
            return close(&connection, ErrorCode::Oneself);
        }
        match self.judge.standing(&id) {
            Standing::Trusted(_) => self.adopt(id, connection, None),
            Standing::Stranger { pairing: true } => self.admit_stranger(id, connection, addr, false),
            Standing::Stranger { pairing: false } if self.judge.is_former(&id) => {
                let now = self.now();
                if self.hub().formers.let_in(now, id) {
                    self.admit_stranger(id, connection, addr, true);
                } else {
                    close(&connection, ErrorCode::Removed);
                }
            }
            Standing::Stranger { pairing: false } => {
                close(&connection, self.untrusted(&id, ErrorCode::NotTrusted));
            }
        }
    }

    /// `former`: only to be told that it is out.
    fn admit_stranger(
        self: &Arc<Self>,
        id: DeviceId,
        connection: quinn::Connection,
        addr: SocketAddr,
        former: bool,
    ) {
        let (key, evicted) = {
            let mut hub = self.hub();
            let same = hub.strangers.values().filter(|other| other.id == id).count();
            let key = hub.key();
            let entry = if hub.closed || same >= SAME_STRANGER {
                Entry::Full
            } else {
                hub.places.enter(key, addr.ip())
            };
            let Entry::In { evicted } = entry else {
                drop(hub);
                return close(&connection, ErrorCode::Busy);
            };
            let evicted = evicted.and_then(|key| hub.strangers.remove(&key));
            hub.strangers.insert(key, Stranger { id, address: addr, connection: connection.clone() });
            (key, evicted)
        };
        if let Some(evicted) = evicted {
            close(&evicted.connection, ErrorCode::Busy);
        }
        let core = self.clone();
        self.spawn(async move {
            let _leaving = Leaving { core: core.clone(), key };
            if former {
                core.serve_former(id, connection, Some(key)).await;
            } else {
                core.clone().run_stranger(id, connection, key).await;
            }
        });
    }

    /// A stranger proves that it means it.
    pub(crate) fn stranger_has_begun(&self, key: ConnKey) {
        self.hub().places.begun(key);
    }
}

/// A stranger's place at the door is free again, however its task ends.
struct Leaving {
    core: Arc<Core>,
    key: ConnKey,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut hub = self.core.hub();
        hub.strangers.remove(&self.key);
        hub.places.leave(self.key);
    }
}
