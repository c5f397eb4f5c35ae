//! Devices that are out of our circles and may not know it: they were off when they were removed.
//!
//! Whoever comes in and is out gets a short connection on which it may ask `circle/1` for the statements that removed
//! it, and nothing else. It checks them itself: nobody is believed by his bare word. And since it cannot recognise us
//! any more (its discovery tags are of a secret that was replaced when it was removed), we call the one in sight.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use softbus_core::{DeviceId, ErrorCode};
use tokio::time::timeout;

use super::Core;
use super::hub::close;
use super::serve::Of;
use crate::link::ConnKey;

/// Most devices that are out and are looked for, and remembered as told.
pub(super) const FORMERS: usize = 256;
/// One that comes in again sooner than this is turned away at the door.
const LET_IN_EVERY: Duration = Duration::from_secs(5);
/// Its connection ends after this, whatever it does.
const LIFE: Duration = Duration::from_secs(5);
/// Streams it may open meanwhile: other services that it believes to be open to it, and what it asks of `circle/1`.
const STREAMS: usize = 32;
/// Calls that are under way at once.
const CALLS: usize = 4;
/// One that is at a new address is called again after this at the earliest.
const CALL_MOVED: Duration = Duration::from_secs(2);
/// One in sight is called again after this, at first and at most.
const CALL_AGAIN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// All members see it at once: their calls are spread over this.
const SPREAD: Duration = Duration::from_millis(500);
/// What comes into sight is looked at so often at most.
const CALM: Duration = Duration::from_millis(50);

/// When each was let in, or is to be called. Pure.
#[derive(Debug, Default)]
pub(super) struct Formers {
    let_in: BTreeMap<DeviceId, Duration>,
    calls: BTreeMap<DeviceId, Call>,
}

#[derive(Debug)]
struct Call {
    at: Duration,
    /// The wait after that.
    wait: Duration,
    last: Option<Duration>,
    /// Where it was called last. Records of a former life of it stay in sight for a while.
    addresses: Vec<SocketAddr>,
}

impl Formers {
    /// One of them comes in: whether to let it.
    pub(super) fn let_in(&mut self, now: Duration, id: DeviceId) -> bool {
        self.let_in.retain(|_, at| now < *at + LET_IN_EVERY);
        if self.let_in.contains_key(&id) || self.let_in.len() >= FORMERS {
            return false;
        }
        self.let_in.insert(id, now);
        true
    }

    /// One of them is in sight at these addresses: whether to call it now. `spread` is how long to wait before the
    /// first call.
    pub(super) fn call(
        &mut self,
        now: Duration,
        id: DeviceId,
        addresses: &[SocketAddr],
        spread: Duration,
    ) -> bool {
        if self.calls.len() >= FORMERS && !self.calls.contains_key(&id) {
            return false;
        }
        let first = Call { at: now + spread, wait: CALL_AGAIN.0, last: None, addresses: Vec::new() };
        let call = self.calls.entry(id).or_insert(first);
        if let Some(last) = call.last
            && addresses.iter().any(|address| !call.addresses.contains(address))
        {
            call.at = call.at.min((now + spread).max(last + CALL_MOVED));
            call.wait = CALL_AGAIN.0;
        }
        call.addresses = addresses.to_vec();
        if now < call.at {
            return false;
        }
        call.last = Some(now);
        call.at = now + call.wait;
        call.wait = (call.wait * 2).min(CALL_AGAIN.1);
        true
    }

    /// When the next of those in sight is to be called.
    fn next(&self, in_sight: &BTreeMap<DeviceId, Vec<SocketAddr>>) -> Option<Duration> {
        in_sight.keys().filter_map(|id| self.calls.get(id)).map(|call| call.at).min()
    }

    /// Forgets those who are not out any more.
    pub(super) fn retain(&mut self, is_former: impl Fn(&DeviceId) -> bool) {
        self.calls.retain(|id, _| is_former(id));
    }
}

impl Core {
    /// Calls those in sight that do not seem to know.
    pub(super) async fn former_loop(self: Arc<Self>) {
        let mut calls = FuturesUnordered::new();
        loop {
            let next = {
                let mut hub = self.hub();
                let now = self.now();
                let in_sight = hub.nearby.formers_in_sight();
                for (id, addresses) in &in_sight {
                    if calls.len() < CALLS && hub.formers.call(now, *id, addresses, self.spread(id)) {
                        calls.push(self.call_former(*id, addresses.clone()));
                    }
                }
                hub.formers.next(&in_sight).map(|at| at.saturating_sub(now).max(CALM))
            };
            let room = calls.len() < CALLS;
            let patience = async {
                match next {
                    Some(next) if room => tokio::time::sleep(next).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(()) = calls.next() => {}
                () = self.sighted.notified() => tokio::time::sleep(CALM).await,
                () = patience => {}
            }
        }
    }

    async fn call_former(self: &Arc<Self>, id: DeviceId, addresses: Vec<SocketAddr>) {
        if let Ok(connection) = self.race(id, addresses).await {
            tracing::info!(device = ?id, "telling a device that it is out of the circle");
            self.serve_former(id, connection, None).await;
        }
    }

    /// Serves one that is out: it may ask why, for a short time. `place` is that of its connection, if it dialled.
    pub(super) async fn serve_former(
        self: &Arc<Self>,
        id: DeviceId,
        connection: quinn::Connection,
        place: Option<ConnKey>,
    ) {
        let life = async {
            let Ok(_control) = self.stranger_hello(id, &connection, place.is_none()).await else { return };
            for _ in 0..STREAMS {
                let Ok((send, recv)) = connection.accept_bi().await else { return };
                self.clone().serve_stream(id, connection.clone(), Of::Stranger(place), send, recv).await;
            }
            connection.closed().await;
        };
        let _ = timeout(LIFE, life).await;
        close(&connection, ErrorCode::Removed);
    }

    fn spread(&self, id: &DeviceId) -> Duration {
        let mut input = [0; 64];
        input[..32].copy_from_slice(&self.me.0);
        input[32..].copy_from_slice(&id.0);
        let permille = u32::from(blake3::hash(&input).as_bytes()[0]) * 1000 / 256;
        SPREAD * permille / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn id(n: u16) -> DeviceId {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_le_bytes());
        DeviceId(id)
    }

    #[test]
    fn nobody_comes_in_again_and_again() {
        let mut formers = Formers::default();
        assert!(formers.let_in(s(0), id(1)) && formers.let_in(s(1), id(2)));
        assert!(!formers.let_in(s(4), id(1)));
        assert!(formers.let_in(s(5), id(1)) && !formers.let_in(s(9), id(1)));
        for n in 0..2 * FORMERS {
            formers.let_in(s(20), id(n as u16));
        }
        assert_eq!(formers.let_in.len(), FORMERS);
        assert!(formers.let_in(s(25), id(9999)), "room again");
    }

    #[test]
    fn calls_are_spread_and_ever_rarer() {
        let mut formers = Formers::default();
        let at: Vec<SocketAddr> = vec![([10, 0, 0, 1], 4711).into()];
        let times: Vec<u64> = (0..20_000).filter(|now| formers.call(s(*now), id(1), &at, s(1))).collect();
        assert_eq!(times, [1, 61, 181, 421, 901, 1861, 3781, 7381, 10981, 14581, 18181]);
        // It started again, or moved: it is called there soon, but not as often as somebody makes believe.
        let there: Vec<SocketAddr> = vec![at[0], ([10, 0, 0, 2], 4711).into()];
        assert!(!formers.call(s(20_000), id(1), &there, s(1)));
        assert!(formers.call(s(20_001), id(1), &there, s(1)));
        let times: Vec<u64> = (20_002..20_012)
            .filter(|now| formers.call(s(*now), id(1), &[([10, 0, 1, *now as u8], 1).into()], s(1)))
            .collect();
        assert_eq!(times, [20_003, 20_005, 20_007, 20_009, 20_011]);
        formers.retain(|_| false);
        assert!(formers.call(s(20_020), id(1), &at, s(0)), "a new life");
        for n in 0..2 * FORMERS {
            formers.call(s(20_020), id(n as u16), &at, s(0));
        }
        assert_eq!(formers.calls.len(), FORMERS);
    }
}
