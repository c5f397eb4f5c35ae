//! Who comes in: handshakes within their bounds, then the judge.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use softbus_core::{DeviceId, ErrorCode, limits};
use tokio::sync::oneshot;

use super::Core;
use super::half_open::Decision;
use super::hub::close;
use crate::Standing;
use crate::channel::canonical;

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
            Standing::Stranger { pairing: true } => self.admit_stranger(id, connection, addr),
            Standing::Stranger { pairing: false } => close(&connection, ErrorCode::NotTrusted),
        }
    }

    fn admit_stranger(self: &Arc<Self>, id: DeviceId, connection: quinn::Connection, addr: SocketAddr) {
        let key = {
            let mut hub = self.hub();
            let same = hub.strangers.values().filter(|(other, _)| *other == id).count();
            if hub.closed || hub.strangers.len() >= limits::STRANGERS || same >= 2 {
                drop(hub);
                return close(&connection, ErrorCode::Busy);
            }
            let key = hub.key();
            hub.strangers.insert(key, (id, addr));
            key
        };
        let core = self.clone();
        self.spawn(async move {
            core.clone().run_stranger(id, connection).await;
            core.hub().strangers.remove(&key);
        });
    }
}
