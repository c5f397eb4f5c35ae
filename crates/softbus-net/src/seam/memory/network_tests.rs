//! Segments, joins, NAT boxes, sleep, and what a tap sees of them.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::tests::{receive, send};
use super::*;
use crate::Bind;
use crate::seam::{Announcement, Sighting};

type Socket = Arc<dyn quinn::AsyncUdpSocket>;

const PORT: u16 = 7000;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn way(latency: u64) -> Conditions {
    Conditions { latency: ms(latency), ..Conditions::default() }
}

fn segment(latency: u64) -> Segment {
    Segment { way: way(latency), ..Segment::default() }
}

fn behind_nat(filtering: bool) -> Segment {
    Segment { nat: Some(Nat { timeout: Duration::from_secs(60), filtering }), ..segment(1) }
}

/// A host on this segment, with a socket.
fn host(world: &World, name: &str, segment: u32) -> (Host, Socket) {
    let host = world.host(name);
    host.move_to(segment);
    let socket = host.seam().sockets.bind(&Bind::All, PORT).unwrap();
    (host, socket)
}

/// What comes within a second, and from where.
async fn next(socket: &Socket) -> Option<(SocketAddr, Vec<u8>)> {
    let (from, bytes) = timeout(Duration::from_secs(1), receive(socket)).await.ok()?;
    Some((SocketAddr::new(from.ip().to_canonical(), from.port()), bytes))
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Tap for Notes {
    fn datagram(&self, seen: &Seen<'_>) {
        let to = seen.to.map_or("?", |to| to.name);
        let side = if seen.arriving { "arrives" } else { "leaves" };
        let Seen { from, source, destination, fate, at_ns, .. } = seen;
        let at = at_ns / 1_000_000;
        lock(&self.0).push(format!("{at} {} {to} {source} {destination} {side} {fate}", from.name));
    }
}

#[tokio::test(start_paused = true)]
async fn segments_reach_each_other_as_they_are_joined() {
    let world = World::new(1);
    let net = world.net();
    net.set_segment_settings(1, segment(1));
    net.set_segment_settings(2, segment(2));
    net.set_segment_settings(3, segment(3));
    net.join(1, 2, way(10));
    net.join(2, 3, way(10));
    let (_, a) = host(&world, "a", 1);
    let (b, at_b) = host(&world, "b", 1);
    let (c, at_c) = host(&world, "c", 2);
    let (d, at_d) = host(&world, "d", 3);

    for (to, at, span) in [(&b, &at_b, 1), (&c, &at_c, 13)] {
        let begin = Instant::now();
        send(&a, to.address(PORT), b"hello");
        assert!(next(at).await.is_some());
        assert_eq!(begin.elapsed(), ms(span), "{}", to.name());
    }
    send(&a, d.address(PORT), b"two joins are none");
    assert!(next(&at_d).await.is_none());
    assert_eq!(net.stats().unroutable, 1);
    net.join(1, 3, way(0));
    send(&a, d.address(PORT), b"one is");
    assert!(next(&at_d).await.is_some());
    net.unjoin(3, 1);
    send(&a, d.address(PORT), b"and no more");
    assert!(next(&at_d).await.is_none());

    // Weather, and the shortest of the pieces.
    net.set_segment_way(2, Conditions { mtu_bytes: 100, ..way(200) });
    let begin = Instant::now();
    send(&a, c.address(PORT), b"hello");
    send(&a, c.address(PORT), &[0; 101]);
    assert_eq!(next(&at_c).await.unwrap().1, b"hello");
    assert_eq!((begin.elapsed(), net.stats().too_long), (ms(211), 1));

    // Two hosts may have their own.
    world.set_conditions_between(&world.host("a"), &c, way(7));
    let begin = Instant::now();
    send(&a, c.address(PORT), b"hello");
    assert!(next(&at_c).await.is_some());
    assert_eq!(begin.elapsed(), ms(7));
    world.clear_conditions_between(&world.host("a"), &c);
    let begin = Instant::now();
    send(&a, c.address(PORT), b"hello");
    assert!(next(&at_c).await.is_some());
    assert_eq!(begin.elapsed(), ms(211));
}

#[tokio::test(start_paused = true)]
async fn a_cut_between_segments_holds_until_mended() {
    let world = World::new(1);
    let net = world.net();
    net.set_segment_settings(1, segment(1));
    net.join(1, 2, way(1));
    let (a, at_a) = host(&world, "a", 1);
    let (b, at_b) = host(&world, "b", 2);
    send(&at_a, b.address(PORT), b"on its way");
    net.cut_segments(1, 2);
    send(&at_a, b.address(PORT), b"cut");
    assert!(next(&at_b).await.is_none());
    assert_eq!(net.stats().cut, 2);
    net.mend_segments(2, 1);
    net.cut_segments_one_way(2, 1);
    send(&at_a, b.address(PORT), b"this way");
    send(&at_b, a.address(PORT), b"not that");
    assert!(next(&at_b).await.is_some() && next(&at_a).await.is_none());
    world.heal();
    send(&at_b, a.address(PORT), b"both");
    assert!(next(&at_a).await.is_some());
}

/// When the last of some datagrams of 1000 bytes arrives, in milliseconds, if all are sent at once.
async fn last_of(world: &World, sends: &[(&Socket, &Host, &Socket)], each: usize) -> u128 {
    let begin = Instant::now();
    for _ in 0..each {
        sends.iter().for_each(|(from, to, _)| send(from, to.address(PORT), &[0; 1000]));
    }
    let mut last = 0;
    for (_, _, at) in sends {
        for _ in 0..each {
            next(at).await.unwrap();
            last = last.max(begin.elapsed().as_millis());
        }
    }
    assert_eq!(world.net().stats().overflowed, 0);
    last
}

#[tokio::test(start_paused = true)]
async fn a_shared_rate_has_one_queue_and_others_one_for_each_pair() {
    for (shared, expected) in [(false, 100), (true, 200)] {
        let world = World::new(1);
        let air = Conditions { rate_bytes_per_s: 100_000, ..way(0) };
        world.net().set_segment_settings(1, Segment { way: air, shared, ..Segment::default() });
        let (_, a) = host(&world, "a", 1);
        let (b, at_b) = host(&world, "b", 1);
        let (c, at_c) = host(&world, "c", 1);
        assert_eq!(last_of(&world, &[(&a, &b, &at_b), (&a, &c, &at_c)], 10).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_passed_a_narrow_piece_does_not_pile_up_before_the_next() {
    let world = World::new(1);
    let narrow = Conditions { rate_bytes_per_s: 100_000, ..way(0) };
    world.net().set_segment_settings(1, Segment { way: narrow, shared: true, ..Segment::default() });
    world.net().set_segment_settings(2, Segment { way: narrow, shared: true, ..Segment::default() });
    world.net().join(1, 2, narrow);
    let (_, a) = host(&world, "a", 1);
    let (b, at_b) = host(&world, "b", 2);
    assert_eq!(last_of(&world, &[(&a, &b, &at_b)], 10).await, 100);
    // But two of them share one that both need.
    let (c, at_c) = host(&world, "c", 1);
    let (d, at_d) = host(&world, "d", 2);
    assert_eq!(last_of(&world, &[(&a, &b, &at_b), (&at_d, &c, &at_c)], 10).await, 200);
    drop(d);
}

#[tokio::test(start_paused = true)]
async fn losses_come_in_bursts() {
    const SENT: usize = 20_000;
    let world = World::new(1);
    let burst = Burst { enter_ppm: 10_000, leave_ppm: 200_000, loss_ppm: 1_000_000 };
    world.net().set_conditions(Conditions { burst: Some(burst), ..way(1) });
    let (_, a) = host(&world, "a", 0);
    let (b, at_b) = host(&world, "b", 0);
    let mut lost = vec![true; SENT];
    for batch in 0..SENT / 1000 {
        for n in 0..1000 {
            send(&a, b.address(PORT), &(batch * 1000 + n).to_le_bytes());
        }
        while let Ok((_, bytes)) = timeout(ms(2), receive(&at_b)).await {
            lost[usize::from_le_bytes(bytes.try_into().unwrap())] = false;
        }
    }
    let losses = lost.iter().filter(|lost| **lost).count();
    let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
    // 10 of 210 steps are in a burst, and a burst lasts 5 steps.
    assert!((SENT / 30..SENT / 15).contains(&losses), "{losses}");
    assert!((4.0..6.0).contains(&(losses as f64 / bursts as f64)), "{losses} in {bursts}");
}

#[tokio::test(start_paused = true)]
async fn hosts_behind_a_nat_box_call_out_and_are_answered() {
    let world = World::new(1);
    let net = world.net();
    net.set_segment_settings(1, behind_nat(true));
    net.join(1, 0, way(1));
    let (a, at_a) = host(&world, "a", 1);
    let (b, at_b) = host(&world, "b", 1);
    let (c, at_c) = host(&world, "c", 0);
    let (_, at_d) = host(&world, "d", 0);

    send(&at_a, b.address(PORT), b"neighbour");
    assert_eq!(next(&at_b).await.unwrap().0, a.address(PORT));
    let notes = Arc::new(Notes::default());
    net.set_tap(notes.clone());
    send(&at_a, c.address(PORT), b"out");
    let (outer, _) = next(&at_c).await.unwrap();
    assert_eq!(outer.ip(), net.nat_addresses(1).unwrap()[0]);
    send(&at_c, outer, b"in");
    assert_eq!(next(&at_a).await.unwrap(), (c.address(PORT), b"in".to_vec()));
    let [a_ip, c_ip] = [a.addresses()[0], c.addresses()[0]];
    let begin = 1;
    assert_eq!(
        *lock(&notes.0),
        [
            format!("{begin} a c {outer} {c_ip}:7000 leaves sent"),
            format!("{} a c {outer} {c_ip}:7000 arrives delivered", begin + 4),
            format!("{} c a {c_ip}:7000 {outer} leaves sent", begin + 4),
            format!("{} c a {c_ip}:7000 {a_ip}:7000 arrives delivered", begin + 8),
        ]
    );

    // Not by its own address, not by a stranger, not at a port that nothing went out from.
    send(&at_c, a.address(PORT), b"private");
    send(&at_d, outer, b"stranger");
    send(&at_c, SocketAddr::new(outer.ip(), 30_000), b"port");
    assert!(next(&at_a).await.is_none());
    assert_eq!((net.stats().unroutable, net.stats().filtered), (1, 2));
    // By a neighbour, through the box, if that was called; and a stranger, once the box lets anybody in.
    net.set_segment_settings(1, behind_nat(false));
    send(&at_b, outer, b"hairpin");
    let (from, _) = next(&at_a).await.unwrap();
    assert_eq!(from.ip(), outer.ip());
    send(&at_d, outer, b"stranger");
    assert!(next(&at_a).await.is_some());
    tokio::time::sleep(Duration::from_secs(61)).await;
    send(&at_d, outer, b"too late");
    assert!(next(&at_a).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn who_moves_has_addresses_that_nobody_had() {
    let addresses = || {
        let world = World::new(1);
        world.net().set_segment_settings(1, segment(1));
        let (a, _) = host(&world, "a", 1);
        let first = a.addresses();
        a.move_to(2);
        let second = a.addresses();
        a.move_to(1);
        assert_eq!(a.segment(), 1);
        let (b, _) = host(&world, "b", 1);
        [first, second, a.addresses(), b.addresses()]
    };
    let all = addresses();
    assert_eq!(all, addresses());
    let distinct: std::collections::BTreeSet<IpAddr> = all.iter().flatten().copied().collect();
    assert_eq!(distinct.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn who_sleeps_neither_sends_nor_hears() {
    let world = World::new(1);
    let (a, b) = (world.host("a"), world.host("b"));
    b.set_virtual_compute(VirtualCompute::new(1, 1000));
    b.restart();
    let (_, at_a) = host(&world, "a", 0);
    let (_, at_b) = host(&world, "b", 0);
    let mut sightings = a.seam().discovery.browse().unwrap();
    b.seam().discovery.announce(&Announcement { port: PORT, ..Announcement::default() }).unwrap();
    assert!(matches!(sightings.recv().await, Some(Sighting::Seen { .. })));

    send(&at_a, b.address(PORT), b"before");
    tokio::time::sleep(ms(5)).await;
    b.sleep();
    assert!(b.is_asleep());
    send(&at_a, b.address(PORT), b"meanwhile");
    send(&at_b, a.address(PORT), b"in its sleep");
    let work = b.seam().compute;
    let begin = Instant::now();
    let work = tokio::spawn(async move { work.run(crate::seam::Lane::Work, 1000, || ()).await });
    assert!(next(&at_b).await.is_none() && next(&at_a).await.is_none());
    assert!(matches!(sightings.recv().await, Some(Sighting::Gone { .. })), "its record ran out");
    send(&at_a, b.address(PORT), b"just before it wakes");
    tokio::time::sleep(ms(1)).await;
    b.wake();
    let slept = begin.elapsed();
    assert_eq!(next(&at_b).await.unwrap().1, b"before");
    assert_eq!(next(&at_b).await.unwrap().1, b"just before it wakes");
    assert_eq!(world.net().stats().asleep, 2);
    assert_eq!(work.await.unwrap(), Some(()));
    assert_eq!(begin.elapsed(), slept + Duration::from_secs(1));
    assert!(matches!(sightings.recv().await, Some(Sighting::Seen { .. })));
    assert_eq!(b.traffic(), Traffic { sent: 0, sent_bytes: 0, received: 2, received_bytes: 26 });
    b.sleep();
    b.crash();
    assert!(!b.is_asleep());
}

#[tokio::test(start_paused = true)]
async fn who_sleeps_does_nothing_until_it_wakes_and_then_what_fell_due() {
    let world = World::new(1);
    let host = world.host("a");
    let (ticks, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (ticked, ended) = (ticks.clone(), done.clone());
    host.spawn(async move {
        loop {
            tokio::time::sleep(ms(100)).await;
            ticked.fetch_add(1, Relaxed);
        }
    });
    let runtime = host.seam().sockets.runtime();
    runtime.spawn(Box::pin(async move {
        tokio::time::sleep(ms(500)).await;
        ended.fetch_add(1, Relaxed);
    }));
    let counts = || (ticks.load(Relaxed), done.load(Relaxed));
    tokio::time::sleep(ms(250)).await;
    assert_eq!(counts(), (2, 0));
    for night in 0..2 {
        host.sleep();
        let before = counts();
        tokio::time::sleep(Duration::from_secs(10)).await;
        // One begun in its sleep waits, too.
        let early = ticks.clone();
        host.spawn(async move { early.fetch_add(1000, Relaxed) });
        tokio::time::sleep(ms(1)).await;
        assert_eq!(counts(), before, "night {night}");
        host.wake();
        tokio::time::sleep(ms(1)).await;
        assert_eq!(counts(), (before.0 + 1001, 1), "night {night}");
    }
    // A crash ends it in its sleep, and what comes after is awake.
    host.sleep();
    let never = host.spawn(std::future::pending::<()>());
    host.crash();
    assert_eq!(never.await.unwrap(), None);
    host.restart();
    assert_eq!(host.spawn(async { 7 }).await.unwrap(), Some(7));
}

#[tokio::test(start_paused = true)]
async fn multicast_stays_on_the_segment_and_may_be_stopped() {
    let world = World::new(1);
    world.net().set_segment_settings(1, Segment { multicast: false, ..segment(1) });
    world.net().join(1, 2, way(1));
    let (guest, _) = host(&world, "guest", 1);
    let (other, _) = host(&world, "other", 1);
    let (far, _) = host(&world, "far", 2);
    let mut sightings = guest.seam().discovery.browse().unwrap();
    for host in [&other, &far] {
        host.seam().discovery.announce(&Announcement { port: PORT, ..Announcement::default() }).unwrap();
    }
    assert!(timeout(Duration::from_secs(10), sightings.recv()).await.is_err());
    guest.move_to(2);
    let Ok(Some(Sighting::Seen { addresses, .. })) = timeout(Duration::from_secs(1), sightings.recv()).await
    else {
        panic!()
    };
    assert_eq!(addresses[0].ip(), far.addresses()[0]);
    world.net().set_segment_settings(1, segment(1));
    other.move_to(1);
    guest.move_to(1);
    assert!(matches!(sightings.recv().await, Some(Sighting::Seen { .. })));
}
