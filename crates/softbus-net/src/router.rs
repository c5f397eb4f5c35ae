//! Services by name and version. Access is checked before a handler sees a byte.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use softbus_core::{DeviceId, ErrorCode, ServiceName, TaskId, limits};
use softbus_trust::Role;

use crate::seam::BoxFuture;
use crate::{Channel, Judge, Standing};

/// Who opened a channel or sent a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The device, proven by its key.
    pub device: DeviceId,
    /// Its role in a common circle; `None` for a stranger (who can only speak `pair/1`) and for a former member (who
    /// can ask `circle/1` why it is one).
    pub role: Option<Role>,
    /// The program in whose name the device asks, if it does.
    pub program: Option<Asker>,
}

/// A program that asks a service through the device that runs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asker {
    /// Its task.
    pub task: TaskId,
    /// Whose task that is. It may open the service, too.
    pub submitter: DeviceId,
    /// The number of the question within the task. The same number is not carried out twice by one device as long as it
    /// remembers; after a fail-over it may come again, with the same question or another.
    pub number: u64,
}

/// Handles channels of one service.
pub trait Service: Send + Sync + 'static {
    /// Serves one channel. Runs in a task of its own; dropping the channel closes it.
    fn accept(&self, channel: Channel) -> BoxFuture<'static, ()>;
}

/// Answers requests of one service: one message in, one out.
pub trait Respond: Send + Sync + 'static {
    /// Answers `request`. Called once for each request, even if a broken connection made the caller send it
    /// again; it goes on if the connection breaks, and is dropped if the caller gives up or loses our trust.
    fn respond(&self, from: Caller, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, ErrorCode>>;

    /// The longest request it takes, in bytes: a longer one is refused before it is read.
    fn longest(&self) -> usize {
        limits::REQUEST_BYTES
    }

    /// Whether a request of this service, ours or another's, is a use of the link, which keeps one that was opened on demand
    /// from its rest. What devices tell each other only because there is a link is none.
    fn is_use(&self) -> bool {
        true
    }
}

/// What a name stands for.
#[derive(Clone)]
pub(crate) enum Handler {
    Stream(Arc<dyn Service>),
    Request(Arc<dyn Respond>),
}

/// The services of this device. Clones share the same table; services come and go while the bus runs.
#[derive(Clone, Default)]
pub struct Router {
    table: Arc<RwLock<BTreeMap<ServiceName, Handler>>>,
}

impl Router {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers a service of byte streams. Replaces one of the same name.
    pub fn serve(&self, name: ServiceName, service: Arc<dyn Service>) {
        self.write().insert(name, Handler::Stream(service));
    }

    /// Offers a request/response service. Replaces one of the same name.
    pub fn answer(&self, name: ServiceName, respond: Arc<dyn Respond>) {
        self.write().insert(name, Handler::Request(respond));
    }

    /// Withdraws a service; its open channels go on until they end.
    pub fn withdraw(&self, name: &ServiceName) {
        self.write().remove(name);
    }

    /// Whether asking for one of these is a use of the link, by what answers to their names here: unless none of them is.
    pub(crate) fn is_use(&self, services: &[ServiceName]) -> bool {
        let table = self.read();
        let idle = |name| matches!(table.get(name), Some(Handler::Request(respond)) if !respond.is_use());
        !services.iter().all(idle)
    }

    /// Names of all services offered, in order.
    pub fn names(&self) -> Vec<ServiceName> {
        self.read().keys().cloned().collect()
    }

    /// Has a request/response service of this device answer, without a look at who may ask it. `None` if there is none of
    /// this name.
    pub fn respond(
        &self,
        name: &ServiceName,
        from: Caller,
        request: Vec<u8>,
    ) -> Option<BoxFuture<'static, Result<Vec<u8>, ErrorCode>>> {
        match self.read().get(name).cloned() {
            Some(Handler::Request(respond)) if request.len() <= respond.longest() => {
                Some(respond.respond(from, request))
            }
            Some(Handler::Request(_)) => Some(Box::pin(async { Err(ErrorCode::Malformed) })),
            Some(Handler::Stream(_)) | None => None,
        }
    }

    /// The first of `choices` that is offered here and that `peer` may open, with its place in the list.
    /// The error is that of the first choice which is at least offered, or else that there is none.
    pub(crate) fn route(
        &self,
        judge: &dyn Judge,
        peer: &DeviceId,
        choices: &[ServiceName],
        request: bool,
    ) -> Result<(u8, Handler, Caller), ErrorCode> {
        let standing = judge.standing(peer);
        let role = standing.role();
        let mut refusal = None;
        for (place, name) in choices.iter().enumerate() {
            // A stranger learns nothing of what else is offered, whatever the judge says.
            if let Standing::Stranger { pairing } = standing {
                let open = match name.name() {
                    "pair" => pairing,
                    "circle" => judge.is_former(peer),
                    _ => false,
                };
                if !open {
                    return Err(ErrorCode::NotTrusted);
                }
            }
            let handler = self.read().get(name).cloned();
            let handler = match handler {
                Some(handler @ Handler::Request(_)) if request => handler,
                Some(handler @ Handler::Stream(_)) if !request => handler,
                Some(_) | None => continue,
            };
            match judge.may_open(peer, name) {
                Ok(()) => {
                    let place = u8::try_from(place).map_err(|_| ErrorCode::Malformed)?;
                    return Ok((place, handler, Caller { device: *peer, role, program: None }));
                }
                Err(code) => {
                    refusal.get_or_insert(code);
                }
            }
        }
        Err(refusal.unwrap_or(ErrorCode::NoSuchService))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<ServiceName, Handler>> {
        // The table is whole between any two statements: a panic elsewhere leaves nothing half done.
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<ServiceName, Handler>> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}
