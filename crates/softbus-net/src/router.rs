//! Services by name and version. Access is checked before a handler sees a byte.

use std::sync::Arc;

use softbus_core::{DeviceId, ErrorCode, ServiceName};
use softbus_trust::Role;

use crate::seam::BoxFuture;

/// Who opened a channel or sent a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The device, proven by its key.
    pub device: DeviceId,
    /// Its role in a common circle; `None` for a stranger (who can only speak `pair/1`).
    pub role: Option<Role>,
}

/// An open conversation with a service: a reliable byte stream each way.
pub struct Channel {
    /// Who is at the other end.
    pub peer: Caller,
    /// The service spoken.
    pub service: ServiceName,
    /// Towards the peer.
    pub send: quinn::SendStream,
    /// From the peer.
    pub recv: quinn::RecvStream,
    /// The connection that carries it, for channel binding (RFC 5705 exporter) and its addresses.
    pub connection: quinn::Connection,
}

/// Handles channels of one service.
pub trait Service: Send + Sync + 'static {
    /// Serves one channel. Runs in a task of its own; dropping the channel closes it.
    fn accept(&self, channel: Channel) -> BoxFuture<'static, ()>;
}

/// Answers requests of one service: one message in, one out.
pub trait Respond: Send + Sync + 'static {
    /// Answers `request`.
    fn respond(&self, from: Caller, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, ErrorCode>>;
}

/// The services of this device. Clones share the same table; services come and go while the bus runs.
#[derive(Clone, Default)]
pub struct Router {}

impl Router {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers a service of byte streams. Replaces one of the same name.
    pub fn serve(&self, _name: ServiceName, _service: Arc<dyn Service>) {}

    /// Offers a request/response service. Replaces one of the same name.
    pub fn answer(&self, _name: ServiceName, _respond: Arc<dyn Respond>) {}

    /// Withdraws a service; its open channels go on until they end.
    pub fn withdraw(&self, _name: &ServiceName) {}

    /// Names of all services offered, in order.
    pub fn names(&self) -> Vec<ServiceName> {
        Vec::new()
    }
}
