//! Who floods us keeps nobody out.
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests, too")]

use std::sync::Arc;
use std::time::Duration;

use softbus_core::{ErrorCode, limits};
use softbus_trust::DeviceKey;
use tokio::time::{Instant, sleep, timeout};

use crate::seam::BoxFuture;
use crate::seam::memory::{Host, World};
use crate::testing::FixedJudge;
use crate::tls::{SERVER_NAME, Tls};
use crate::{Bind, Channel, Net, NetConfig, Presence, Router, Service};

const PORT: u16 = 4000;

struct Nothing;

impl Service for Nothing {
    fn accept(&self, channel: Channel) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            channel.connection.closed().await;
        })
    }
}

fn config() -> NetConfig {
    NetConfig { port: PORT, discovery: false, ..NetConfig::default() }
}

async fn net(host: &Host, n: u8, judge: &Arc<FixedJudge>) -> Net {
    let key = Arc::new(DeviceKey::from_seed(&[n; 32]));
    let router = Router::new();
    router.serve("pair/1".parse().unwrap(), Arc::new(Nothing));
    Net::start(host.seam(), key, judge.clone(), router, config()).await.unwrap()
}

/// A bare endpoint with a device's certificate, and what it dials with.
fn bare(host: &Host, n: u8) -> (quinn::Endpoint, quinn::ClientConfig) {
    let seam = host.seam();
    let key = DeviceKey::from_seed(&[n; 32]);
    let tls = Tls::new(&key, &*seam.entropy, &seam.clock, None, None).unwrap();
    let settings = super::config::settings(&tls, &*seam.entropy, &seam.clock, &config()).unwrap();
    let socket = seam.sockets.bind(&Bind::All, 0).unwrap();
    let endpoint =
        quinn::Endpoint::new_with_abstract_socket(settings.endpoint, None, socket, seam.sockets.runtime());
    (endpoint.unwrap(), settings.client)
}

/// 200 hostile connections at a time: a quarter of the hosts never answers (their handshakes stay half open),
/// the others finish theirs as strangers, again and again, or sit there. A trusted device that nobody has heard
/// of joins in the middle of it.
async fn under_flood(pairing: bool) {
    let world = World::new(1);
    let (a, b) = (world.host("a"), world.host("b"));
    let key = |n: u8| DeviceKey::from_seed(&[n; 32]).id();
    let judge = FixedJudge::new([key(1)]);
    judge.set_pairing(pairing);
    let target = net(&b, 2, &judge).await;
    let at = b.address(PORT);
    for h in 0..8u8 {
        let host = world.host(&format!("x{h}"));
        if h % 4 == 0 {
            world.cut_one_way(&b, &host);
        }
        let (endpoint, client) = bare(&host, 100 + h);
        for _ in 0..25 {
            let (endpoint, client) = (endpoint.clone(), client.clone());
            host.spawn(async move {
                loop {
                    if let Ok(connecting) = endpoint.connect_with(client.clone(), at, SERVER_NAME)
                        && let Ok(connection) = connecting.await
                    {
                        // Endless streams, never read.
                        for _ in 0..10 {
                            let Ok(Ok((mut send, recv))) =
                                timeout(Duration::from_millis(50), connection.open_bi()).await
                            else {
                                break;
                            };
                            let _ = timeout(Duration::from_millis(50), send.write_all(&[0; 1 << 18])).await;
                            std::mem::forget((send, recv));
                        }
                        let _ = timeout(Duration::from_secs(20), connection.closed()).await;
                    }
                    sleep(Duration::from_secs(2)).await;
                }
            });
        }
    }
    sleep(Duration::from_secs(3)).await;
    {
        let hub = target.core().hub();
        assert!(hub.handshakes.len() <= limits::HALF_OPEN * 2, "{}", hub.handshakes.len());
        assert!(hub.strangers.len() <= limits::STRANGERS);
    }
    // Bounded by the table, the strangers, and closed ones that linger for three round trips.
    assert!(target.core().endpoint.open_connections() < 400, "{}", target.core().endpoint.open_connections());

    let trusts = FixedJudge::new([key(2)]);
    let friend = net(&a, 1, &trusts).await;
    friend.add_static(Some(key(2)), at);
    let begun = Instant::now();
    let mut links = friend.links();
    let up = links.wait_for(|l| l.get(&key(2)).is_some_and(|l| l.presence == Presence::Online));
    timeout(Duration::from_secs(15), up).await.expect("the friend gets in").unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    sleep(Duration::from_secs(3)).await;
    let link = friend.links().borrow().get(&key(2)).cloned().unwrap();
    assert_eq!((link.presence, link.last_down.as_deref()), (Presence::Online, None), "and stays in");
    let refused = friend.open(key(2), &"none/1".parse().unwrap()).await.err().unwrap();
    assert_eq!(refused.code(), ErrorCode::NoSuchService, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_trusted_device_gets_in_during_a_flood() {
    under_flood(false).await;
}

#[tokio::test(start_paused = true)]
async fn a_trusted_device_gets_in_while_strangers_crowd_the_pairing() {
    under_flood(true).await;
}
