//! What programs ask of services goes out to a device that offers them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use softbus_core::wire::ask::Ask;
use softbus_core::{DeviceId, ErrorCode, ServiceName, encode};
use softbus_net::{Caller, Judge as _, NetError, Presence, RequestError};
use softbus_roster::RosterView;
use softbus_trust::Role;
use softbus_wasm::bus::{Failed, Nobody, Question, Request, Server, Services, Target};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::answering::{Asks, Place, is_passing, service};

/// How long one device has for an answer, until it is asked again or another is.
const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// How long nobody is asked after all failed that were; it doubles …
const PAUSE: Duration = Duration::from_millis(500);
/// … up to this.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The mesh, for programs that run here.
pub(crate) struct Mesh {
    pub place: Place,
    pub asks: Asks,
    /// Where the network is driven: programs ask from threads that compute.
    pub driver: tokio::runtime::Handle,
}

/// Known of a question, by whom it is asked and by whom it waits.
#[derive(Default)]
struct News {
    server: Option<Server>,
    came: Option<Result<Vec<u8>, Failed>>,
}

struct Asking {
    news: Arc<Mutex<News>>,
    /// Dropped with it, which ends the work.
    _stop: oneshot::Sender<()>,
}

impl Services for Mesh {
    fn begin(&self, question: Question) -> Option<Box<dyn Request>> {
        let Target::Service(name) = question.target.clone() else {
            // No device has a model that the bus could ask.
            return Some(Box::new(Nobody));
        };
        // Programs that were here before a restart may begin before the rooms are all there.
        let rooms = self.place.rooms()?;
        let runtime = rooms.net.seam().sockets.runtime();
        let (place, asks) = (self.place.clone(), self.asks.clone());
        let (stop, stopped) = oneshot::channel();
        let news = Arc::<Mutex<News>>::default();
        let (told, waker) = (news.clone(), question.waker.clone());
        let _entered = self.driver.enter();
        runtime.spawn(Box::pin(async move {
            let asking = ask(&place, &asks, question, name, &told);
            tokio::select! {
                biased;
                _ = stopped => {}
                came = asking => {
                    lock(&told).came = Some(came);
                    waker.wake();
                }
            }
        }));
        Some(Box::new(Asking { news, _stop: stop }))
    }
}

impl Request for Asking {
    fn server(&self) -> Option<Server> {
        lock(&self.news).server
    }

    fn poll(&mut self) -> Option<Result<Vec<u8>, Failed>> {
        lock(&self.news).came.take()
    }
}

fn lock(news: &Mutex<News>) -> std::sync::MutexGuard<'_, News> {
    news.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How one device answered.
enum Came {
    Final(Result<Vec<u8>, Failed>),
    Refused,
    /// Another may, or this one later.
    Nothing,
}

/// Asks one device after the other until one answers. Who is dropped, asks no more.
async fn ask(
    place: &Place,
    asks: &Asks,
    question: Question,
    name: ServiceName,
    told: &Mutex<News>,
) -> Result<Vec<u8>, Failed> {
    let mut before = question.before.map(DeviceId);
    let mut pause = PAUSE;
    loop {
        // Not kept while it waits: a bus that is dropped ends.
        let rooms = place.rooms().ok_or(Failed::NotSupported)?;
        let (net, keeper, tasks) = (rooms.net.clone(), rooms.keeper.clone(), rooms.tasks.clone());
        let candidates = candidates(&rooms.roster.view(), &name, before);
        drop(rooms);
        let me = net.id();
        let Some(grant) = tasks.grant(question.task) else {
            sleep(PAUSE).await;
            continue;
        };
        let (mut refused, mut others) = (false, false);
        for device in candidates {
            lock(told).server = Some(device.0);
            before = Some(device);
            let ask = Ask {
                service: name.clone(),
                grant: grant.signed.clone(),
                number: question.number,
                body: question.bytes.clone(),
            };
            let came = if device == me {
                let from = Caller { device: me, role: keeper.own_role(), program: None };
                asks.answer(from, ask).await.map_err(RequestError::Code)
            } else {
                let bytes = encode(&ask).map_err(|_| Failed::Error)?;
                net.request(device, &service(), bytes, ANSWER_WAIT).await
            };
            match verdict(came) {
                Came::Final(came) => return came,
                Came::Refused => refused = true,
                Came::Nothing => others = true,
            }
        }
        if refused && !others {
            return Err(Failed::Refused);
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Members that offer the service and are here: who was asked before, this device, then the nearest.
fn candidates(view: &RosterView, name: &ServiceName, before: Option<DeviceId>) -> Vec<DeviceId> {
    let offers = view.entries.values().filter(|entry| {
        let here = entry.id == view.me || matches!(entry.presence, Presence::Online | Presence::Suspect);
        let profile = entry.profile.as_ref();
        here && entry.role != Some(Role::Guest)
            && profile.is_some_and(|profile| profile.services.iter().any(|offer| offer.service == *name))
    });
    let far = |id| (Some(id) != before, id != view.me);
    let mut offers: Vec<_> =
        offers.map(|entry| (far(entry.id), entry.rtt().unwrap_or(Duration::MAX), entry.id)).collect();
    offers.sort_unstable();
    offers.into_iter().map(|(.., id)| id).collect()
}

fn verdict(came: Result<Vec<u8>, RequestError>) -> Came {
    let code = match came {
        Ok(bytes) => return Came::Final(Ok(bytes)),
        Err(RequestError::TooLong { .. }) => return Came::Final(Err(Failed::TooLong)),
        Err(RequestError::Code(code)) => code,
        Err(RequestError::Net(NetError::Refused(code) | NetError::Service { code, .. })) => match code {
            ErrorCode::Forbidden => code,
            _ => return Came::Nothing,
        },
        Err(RequestError::Net(_) | RequestError::Timeout) => return Came::Nothing,
    };
    match code {
        ErrorCode::Forbidden | ErrorCode::NotTrusted | ErrorCode::Removed | ErrorCode::Expired => {
            Came::Refused
        }
        code if is_passing(code) => Came::Nothing,
        _ => Came::Final(Err(Failed::Error)),
    }
}
