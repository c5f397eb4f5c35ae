//! What a connection costs in round trips, under virtual time.

#![allow(clippy::unwrap_used)] // test helpers

use std::sync::Arc;
use std::time::Duration;

use softbus_net::seam::BoxFuture;
use softbus_net::seam::memory::{Conditions, World};
use softbus_net::testing::FixedJudge;
use softbus_net::{Channel, Net, NetConfig, Router, Service};
use softbus_trust::DeviceKey;
use tokio::time::Instant;

/// Says something at once.
struct Hello;

impl Service for Hello {
    fn accept(&self, mut channel: Channel) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let _ = channel.send.write_all(b"!").await;
            let _ = channel.finish_and_wait().await;
        })
    }
}

#[tokio::test(start_paused = true)]
async fn from_the_dial_to_a_services_first_byte_are_three_round_trips() {
    let one_way = Duration::from_millis(50);
    let world = World::new(1);
    world.net().set_conditions(Conditions { latency: one_way, ..Conditions::default() });
    let (a, b) = (world.host("a"), world.host("b"));
    let key = |n: u8| Arc::new(DeviceKey::from_seed(&[n; 32]));
    let config = || NetConfig { port: 4000, discovery: false, ..NetConfig::default() };
    let router = Router::new();
    router.serve("hello/1".parse().unwrap(), Arc::new(Hello));
    let trusts = |n: u8| FixedJudge::new([key(n).id()]);
    let _server = Net::start(b.seam(), key(2), trusts(1), router, config()).await.unwrap();
    let client = Net::start(a.seam(), key(1), trusts(2), Router::new(), config()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;

    // TLS; Hello and its answer; Open and the service's first word.
    let begun = Instant::now();
    client.add_static(Some(key(2).id()), b.address(4000));
    let mut channel = client.open(key(2).id(), &"hello/1".parse().unwrap()).await.unwrap();
    let mut byte = [0];
    channel.recv.read_exact(&mut byte).await.unwrap();
    let took = begun.elapsed();
    assert!(took < 6 * one_way + Duration::from_millis(20), "{took:?}");
    assert!(took >= 6 * one_way, "{took:?}: what was saved?");
}
