//! The network room on the system's own sockets, on loopback.
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests, too")]

use std::sync::Arc;
use std::time::Duration;

use softbus_core::ServiceName;
use softbus_net::seam::memory::World;
use softbus_net::seam::real::SystemSockets;
use softbus_net::seam::{BoxFuture, Seam};
use softbus_net::testing::FixedJudge;
use softbus_net::{Bind, Channel, Net, NetConfig, Presence, Router, Service};
use softbus_trust::DeviceKey;

struct Count;

impl Service for Count {
    fn accept(&self, mut channel: Channel) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut total = 0u64;
            while let Ok(Some(chunk)) = channel.recv.read_chunk(1 << 20).await {
                total += chunk.bytes.len() as u64;
            }
            let _ = channel.send.write_all(&total.to_le_bytes()).await;
            let _ = channel.finish_and_wait().await;
        })
    }
}

async fn net(world: &World, n: u8, trusts: u8) -> Net {
    let key = |n: u8| DeviceKey::from_seed(&[n; 32]);
    let seam = Seam { sockets: Arc::new(SystemSockets::new()), ..world.host(&format!("h{n}")).seam() };
    let router = Router::new();
    router.serve("count/1".parse().unwrap(), Arc::new(Count));
    let config = NetConfig { bind: Bind::Loopback, discovery: false, ..NetConfig::default() };
    let judge = FixedJudge::new([key(trusts).id()]);
    Net::start(seam, Arc::new(key(n)), judge, router, config).await.unwrap()
}

#[tokio::test]
async fn two_devices_link_over_loopback() {
    let world = World::new(1);
    let (a, b) = (net(&world, 1, 2).await, net(&world, 2, 1).await);
    let at = b.addresses().into_iter().find(|addr| addr.is_ipv4()).expect("loopback has an IPv4 address");
    a.add_static(Some(b.id()), at);
    let mut links = a.links();
    let id = b.id();
    let up = links.wait_for(|links| links.get(&id).is_some_and(|l| l.presence == Presence::Online));
    tokio::time::timeout(Duration::from_secs(30), up).await.expect("they link").unwrap();

    let count: ServiceName = "count/1".parse().unwrap();
    let mut channel = a.open(b.id(), &count).await.unwrap();
    let piece = vec![3; 1 << 20];
    for _ in 0..16 {
        channel.send.write_all(&piece).await.unwrap();
    }
    channel.finish();
    let total = channel.recv.read_to_end(8).await.unwrap();
    assert_eq!(total, (16u64 << 20).to_le_bytes());

    // Waking is survived by the same connection: its socket is handed to quinn anew. (A change of addresses under real
    // sockets is the business of the tests in namespaces.)
    let generation = a.links().borrow()[&b.id()].generation;
    a.wake();
    let mut channel = a.open(b.id(), &count).await.unwrap();
    channel.send.write_all(&piece).await.unwrap();
    channel.finish();
    assert_eq!(channel.recv.read_to_end(8).await.unwrap(), (1u64 << 20).to_le_bytes());
    assert_eq!(a.links().borrow()[&b.id()].generation, generation);
    a.shutdown().await;
    let mut links = b.links();
    let id = a.id();
    let gone = links.wait_for(|links| links.get(&id).is_some_and(|l| l.presence == Presence::Offline));
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("the goodbye is heard").unwrap();
}
