use std::time::Duration;

use softbus_core::Hash;
use tokio::time::{Instant, timeout};

use super::*;
use crate::Bind;
use crate::seam::{Announcement, Sighting, testing};

pub(super) async fn receive(socket: &Arc<dyn quinn::AsyncUdpSocket>) -> (SocketAddr, Vec<u8>) {
    let mut buf = vec![0; 2000];
    let mut meta = [quinn::udp::RecvMeta::default()];
    let count =
        std::future::poll_fn(|cx| socket.poll_recv(cx, &mut [std::io::IoSliceMut::new(&mut buf)], &mut meta));
    assert_eq!(count.await.unwrap(), 1);
    buf.truncate(meta[0].len);
    (meta[0].addr, buf)
}

pub(super) fn send(socket: &Arc<dyn quinn::AsyncUdpSocket>, destination: SocketAddr, contents: &[u8]) {
    let transmit =
        quinn::udp::Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
    socket.try_send(&transmit).unwrap();
}

#[tokio::test(start_paused = true)]
async fn datagrams_take_their_time_and_cuts_hold() {
    let world = World::new(1);
    let (a, b) = (world.host("a"), world.host("b"));
    let from = a.seam().sockets.bind(&Bind::All, 0).unwrap();
    let to = b.seam().sockets.bind(&Bind::All, 7000).unwrap();
    let begin = Instant::now();
    send(&from, b.address(7000), b"one");
    let (source, bytes) = receive(&to).await;
    assert_eq!(bytes, b"one");
    assert_eq!(source.ip().to_canonical(), a.addresses()[0]);
    assert_eq!(begin.elapsed(), Duration::from_millis(2));

    // Cut while under way.
    send(&from, b.address(7000), b"two");
    world.cut(&a, &b);
    send(&from, b.address(7000), b"three");
    assert!(timeout(Duration::from_secs(1), receive(&to)).await.is_err());
    world.mend(&a, &b);
    send(&from, b.address(7000), b"four");
    assert_eq!(receive(&to).await.1, b"four");

    // It moves: the old address is nobody's.
    let old = b.address(7000);
    b.set_addresses(vec!["10.9.9.9".parse().unwrap()]);
    send(&from, old, b"five");
    send(&from, b.address(7000), b"six");
    assert_eq!(receive(&to).await.1, b"six");
    assert_eq!(world.net().stats().cut, 2);
    assert_eq!(world.net().stats().unroutable, 1);
}

#[tokio::test(start_paused = true)]
async fn loss_duplication_and_reordering_follow_the_seed() {
    async fn arrivals(seed: u64) -> Vec<u8> {
        let world = World::new(seed);
        world.net().set_conditions(Conditions::bad());
        let (a, b) = (world.host("a"), world.host("b"));
        let from = a.seam().sockets.bind(&Bind::All, 0).unwrap();
        let to = b.seam().sockets.bind(&Bind::All, 7000).unwrap();
        for number in 0..200 {
            send(&from, b.address(7000), &[number]);
        }
        let mut arrived = Vec::new();
        while let Ok((_, bytes)) = timeout(Duration::from_secs(1), receive(&to)).await {
            arrived.push(bytes[0]);
        }
        arrived
    }
    let one = arrivals(1).await;
    assert_eq!(one, arrivals(1).await);
    assert_ne!(one, arrivals(2).await);
    assert!(!one.is_sorted(), "some come late");
    let mut distinct = one.clone();
    distinct.sort();
    distinct.dedup();
    assert!(distinct.len() < 195 && distinct.len() > 150, "about a tenth is lost");
    assert!(one.len() > distinct.len(), "some come twice");
}

#[tokio::test(start_paused = true)]
async fn a_limited_rate_delays_and_then_drops() {
    let world = World::new(1);
    let (a, b) = (world.host("a"), world.host("b"));
    world.net().set_conditions(Conditions { rate_bytes_per_s: 100_000, ..Conditions::default() });
    let from = a.seam().sockets.bind(&Bind::All, 0).unwrap();
    let to = b.seam().sockets.bind(&Bind::All, 7000).unwrap();
    let begin = Instant::now();
    for _ in 0..100 {
        send(&from, b.address(7000), &[0; 1000]);
    }
    let mut count = 0;
    let mut last = begin;
    while timeout(Duration::from_secs(1), receive(&to)).await.is_ok() {
        count += 1;
        last = Instant::now();
    }
    // 200 ms of queue hold 20 datagrams of 10 ms each, and one more is on the wire.
    assert_eq!(count, 21);
    assert_eq!(last - begin, Duration::from_millis(212));
}

#[tokio::test(start_paused = true)]
async fn quinn_runs_over_it_in_virtual_time() {
    let world = World::new(3);
    world.net().set_conditions(Conditions::bad());
    let (a, b) = (world.host("a"), world.host("b"));
    let (client, server) = (testing::client(&a.seam(), &Bind::All), testing::server(&b.seam(), &Bind::All));
    let port = server.local_addr().unwrap().port();
    let begin = Instant::now();
    let echoed = testing::echo(&client, &server, b.address(port), 300_000).await;
    assert_eq!(echoed, 300_000);
    assert!(begin.elapsed() > Duration::from_millis(80), "handshake and echo take round trips");
}

#[tokio::test(start_paused = true)]
async fn discovery_has_the_manners_of_mdns() {
    let world = World::new(1);
    let (a, b, far) = (world.host("a"), world.host("b"), world.host("far"));
    far.set_segment(1);
    let mut sightings = a.seam().discovery.browse().unwrap();
    let announcement = Announcement { port: 5, name: Some("b".into()), ..Announcement::default() };
    a.seam().discovery.announce(&announcement).unwrap();
    far.seam().discovery.announce(&announcement).unwrap();
    b.seam().discovery.announce(&announcement).unwrap();
    let Some(Sighting::Seen { key, addresses, announcement: seen }) = sightings.recv().await else {
        panic!()
    };
    assert_eq!(*seen, announcement);
    assert_eq!(addresses.iter().map(SocketAddr::ip).collect::<Vec<_>>(), b.addresses());
    assert!(timeout(Duration::from_secs(600), sightings.recv()).await.is_err(), "neither itself nor afar");

    b.set_addresses(vec!["10.1.1.1".parse().unwrap()]);
    let Some(Sighting::Seen { addresses, .. }) = sightings.recv().await else { panic!() };
    assert_eq!(*addresses, ["10.1.1.1:5".parse().unwrap()]);

    // A crash shows after the TTL, a goodbye at once.
    b.crash();
    let crashed = Instant::now();
    assert_eq!(sightings.recv().await, Some(Sighting::Gone { key }));
    assert!(crashed.elapsed() >= Duration::from_secs(120));
    b.restart();
    b.seam().discovery.announce(&announcement).unwrap();
    let Some(Sighting::Seen { key, .. }) = sightings.recv().await else { panic!() };
    b.seam().discovery.goodbye().await;
    let left = Instant::now();
    assert_eq!(sightings.recv().await, Some(Sighting::Gone { key }));
    assert!(left.elapsed() < Duration::from_secs(1));
    a.kill();
    assert_eq!(sightings.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_what_was_synced_and_cuts_the_run_off() {
    let world = World::new(1);
    let a = world.host("a");
    let seam = a.seam();
    let blobs = seam.storage.blobs();
    let (kept, lost) = (Hash::of(b"kept"), Hash::of(b"lost"));
    blobs.put(&kept, b"kept").unwrap();
    blobs.sync(&[kept]).unwrap();
    blobs.put(&lost, b"lost").unwrap();
    seam.storage.put_secret("device.key", b"secret").unwrap();
    let task = a.spawn(std::future::pending::<()>());
    a.crash();
    assert_eq!(task.await.unwrap(), None);
    assert!(blobs.get(&kept).is_err(), "the former run has no disk any more");
    assert_eq!(seam.compute.run(crate::seam::Lane::Disk, 0, || 1).await, None);
    a.restart();
    let storage = a.seam().storage;
    assert_eq!(storage.blobs().list().unwrap(), [kept]);
    assert_eq!(storage.secret("device.key").unwrap().unwrap().as_slice(), b"secret");
    // Killed only: the operating system still has what was written.
    storage.blobs().put(&lost, b"lost").unwrap();
    a.kill();
    a.restart();
    assert_eq!(a.seam().storage.blobs().get(&lost).unwrap().unwrap(), b"lost");
}

#[tokio::test(start_paused = true)]
async fn equal_seeds_draw_equal_bytes_and_each_run_others() {
    let draw = |world: &World| {
        let mut bytes = [0; 16];
        world.host("a").seam().entropy.fill(&mut bytes);
        bytes
    };
    let world = World::new(1);
    let first = draw(&world);
    assert_eq!(first, draw(&World::new(1)));
    assert_ne!(first, draw(&World::new(2)));
    world.host("a").restart();
    assert_ne!(first, draw(&world));
}
