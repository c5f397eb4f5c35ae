//! Nodes that are killed, or put to sleep, at bad moments. What they were and what they promised is as it was, and
//! their tasks end with the right result.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test outside of the seam; its helpers are tests, too"
)]

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use softbus_cli::control::{Event, PairTerms, PairingView, PresenceView, Request, Response, Step, TaskView};
use softbus_core::wire::task_control::{PolicyKind, TaskState};
use support::{How, Node, PATIENCE, Work, home, presence};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const QUORUM: PolicyKind = PolicyKind::Quorum { k: 2 };

/// Two paired devices.
async fn two(home: &std::path::Path) -> (Node, Node) {
    let phone = Node::start(home, "phone", How::loopback()).await;
    let tv = Node::start(home, "tv", How::loopback()).await;
    phone.found().await;
    phone.admit(&tv).await;
    phone.until_online(&tv).await;
    tv.until_online(&phone).await;
    (phone, tv)
}

/// Three of them, fully meshed.
async fn three(home: &std::path::Path) -> (Node, Node, Node) {
    let (phone, tv) = two(home).await;
    let car = Node::start(home, "car", How::loopback()).await;
    phone.admit(&car).await;
    for (a, b) in [(&phone, &car), (&car, &phone), (&tv, &car), (&car, &tv)] {
        a.until_online(b).await;
    }
    (phone, tv, car)
}

/// Looks at a task on all nodes: of one epoch of one branch there is at most one live copy.
struct AtMostOne(std::collections::BTreeMap<(u32, u64), String>);

impl AtMostOne {
    fn new() -> Self {
        Self(Default::default())
    }

    fn look(&mut self, node: &Node, task: &TaskView) {
        if task.state == TaskState::Running && task.runner == Some(node.id) {
            let live = self.0.entry((task.branch, task.epoch)).or_insert_with(|| node.name.clone());
            assert_eq!(*live, node.name, "two devices run epoch {} of branch {}", task.epoch, task.branch);
        }
    }
}

/// Whether each of the two counts the other as a member, once both have told each other what they can.
async fn settled(a: &Node, b: &Node) -> bool {
    let start = Instant::now();
    loop {
        let (ab, ba) = (a.counts_among(b.id).await, b.counts_among(a.id).await);
        if ab && ba {
            a.until_online(b).await;
            b.until_online(a).await;
            return true;
        }
        // Time for a link, if there is going to be one.
        if start.elapsed() > Duration::from_secs(4) {
            assert!(
                !ba || ab,
                "{} believes to be in a circle whose owner {} knows nothing of it",
                b.name,
                a.name
            );
            return false;
        }
        tokio::time::sleep(ms(100)).await;
    }
}

#[tokio::test]
async fn killed_while_a_pairing_settles() {
    let home = home();
    let mut phone = Node::start(home.path(), "phone", How::loopback()).await;
    phone.found().await;
    let circle = phone.circles().await[0].id;
    for (n, (kill_joiner, wait)) in
        [(true, 0), (false, 0), (true, 15), (false, 15), (true, 60), (false, 60)].into_iter().enumerate()
    {
        let mut joiner = Node::start(home.path(), &format!("j{n}"), How::loopback()).await;
        let (mut shown, pin) = joiner.show_pin().await;
        phone.until_nearby(&joiner).await;
        let client = phone.client.clone();
        let with = joiner.id.to_string();
        let entering = tokio::spawn(async move {
            client.call(Request::Pair { with, pin: pin.into(), terms: PairTerms::default() }).await
        });
        loop {
            match shown.next().await {
                Ok(Step::Event(Event::Pairing(PairingView::Settling { .. }))) | Ok(Step::Done(_)) => break,
                Ok(Step::Event(_)) => {}
                Err(e) => panic!("{e:?}\n{}\n{}", joiner.log(), phone.log()),
            }
        }
        tokio::time::sleep(ms(wait)).await;
        let victim = if kill_joiner { &mut joiner } else { &mut phone };
        victim.kill();
        let entered = entering.await.unwrap();
        drop(shown);
        victim.restart().await;
        assert_eq!(phone.circles().await[0].id, circle, "the circle is the same");
        let whole = settled(&phone, &joiner).await;
        let story = format!(
            "round {n}: joiner killed: {kill_joiner}, after {wait} ms; entering: {entered:?}; paired: {whole}"
        );
        eprintln!("{story}");
        assert!(joiner.circles().await.len() <= 1, "{story}: {:#?}", joiner.circles().await);
        if matches!(entered, Ok(Response::Paired(_))) {
            assert!(whole, "told as paired, and then it was not: {story}\n{}\n{}", joiner.log(), phone.log());
        }
        if !whole {
            // Whatever half was done, doing it again makes it whole.
            let (mut shown, pin) = joiner.show_pin().await;
            phone.enter(&joiner, &joiner.id.to_string(), &pin, &mut shown).await;
            phone.until_online(&joiner).await;
            joiner.until_online(&phone).await;
        }
        assert_eq!(joiner.circles().await.iter().map(|c| c.id).collect::<Vec<_>>(), [circle], "{story}");
        joiner.down().await;
    }
}

#[tokio::test]
async fn a_killed_runner_goes_on_when_it_is_back_if_it_alone_decides() {
    let home = home();
    let (phone, mut tv) = two(home.path()).await;
    // As the TV shows it once it has heard what the phone is called.
    let start = Instant::now();
    let circles = loop {
        let circles = tv.circles().await;
        assert!(start.elapsed() < PATIENCE, "{circles:#?}");
        if circles.iter().flat_map(|circle| &circle.members).all(|member| !member.name.is_empty()) {
            break circles;
        }
        tokio::time::sleep(ms(50)).await;
    };
    let work = Work::primes(20_000_000);
    let task = phone.run(&work, PolicyKind::Owner, &tv).await;
    let mut last = None;
    for wait in [0, 700] {
        tv.until_task(task.id, "running", |t| t.state == TaskState::Running).await;
        tokio::time::sleep(ms(wait)).await;
        let before = tv.task(task.id).await.expect("known");
        tv.kill();
        phone
            .until_task(task.id, "waiting for its device", |t| {
                !matches!(t.state, TaskState::Running | TaskState::Done)
            })
            .await;
        tv.restart().await;
        assert_eq!(tv.circles().await, circles, "the circle is as it was");
        let after = tv.until_task(task.id, "known", |_| true).await;
        assert!(after.epoch >= before.epoch && after.branch == 0, "{before:#?}\n{after:#?}");
        last = Some(after.epoch);
    }
    let done = phone.until_done(task.id, &work).await;
    assert_eq!((done.runner, done.branch), (Some(tv.id), 0), "nobody else ran it");
    assert!(Some(done.epoch) >= last);
    // Once more: what has ended stays so.
    tv.restart().await;
    let again = tv.until_done(task.id, &work).await;
    assert_eq!((again.epoch, again.branch), (done.epoch, done.branch));
}

#[tokio::test]
async fn a_killed_runner_is_replaced_under_quorum() {
    let home = home();
    let (phone, mut tv, car) = three(home.path()).await;
    let work = Work::primes(20_000_000);
    let task = phone.run(&work, QUORUM, &tv).await;
    phone
        .until_task(task.id, "running with checkpoints", |t| {
            t.state == TaskState::Running && t.checkpoint > 0
        })
        .await;
    tv.kill();
    let mut live = AtMostOne::new();
    let start = Instant::now();
    let (mut taken, mut back) = (false, false);
    let done = loop {
        let mut ended = None;
        for node in [&phone, &car, &tv] {
            // While it is down it says nothing.
            if let Some(seen) = node.task(task.id).await {
                live.look(node, &seen);
                ended = ended.or(seen.state.is_final().then_some(seen.clone()));
                taken |= seen.state == TaskState::Running && seen.runner.is_some_and(|r| r != tv.id);
            }
        }
        if taken && !back {
            // It comes back into the middle of it.
            tv.restart().await;
            back = true;
        }
        if let Some(ended) = ended {
            break ended;
        }
        assert!(
            start.elapsed() < PATIENCE * 3,
            "{:#?}\n{}\n{}",
            phone.task(task.id).await,
            phone.log(),
            car.log()
        );
        tokio::time::sleep(ms(20)).await;
    };
    assert!(done.epoch > task.epoch && done.branch == 0 && done.runner != Some(tv.id), "{done:#?}");
    assert!(done.moves.iter().any(|m| m.reason == "failover" && m.from == tv.id), "{done:#?}");
    for node in [&phone, &car] {
        let ended = node.until_done(task.id, &work).await;
        assert_eq!((ended.epoch, ended.branch, ended.runner), (done.epoch, 0, done.runner), "{}", node.name);
    }
    if !back {
        tv.restart().await;
    }
    tv.until_online(&phone).await;
    let ended = tv.until_done(task.id, &work).await;
    assert_eq!((ended.epoch, ended.branch), (done.epoch, 0), "the one who was away learns of it");
}

#[tokio::test]
async fn killed_while_a_task_is_handed_over() {
    let home = home();
    let (mut phone, mut tv) = two(home.path()).await;
    for (kill_source, wait) in [(true, 0), (false, 0), (true, 40), (false, 40), (true, 200), (false, 200)] {
        // Some of it has to travel, so that there is a while in which it is on its way.
        let work = Work::checksum(4 << 20, 40);
        let task = phone.run(&work, PolicyKind::Owner, &tv).await;
        tv.until_task(task.id, "running", |t| t.state == TaskState::Running).await;
        let client = phone.client.clone();
        let (id, to) = (task.id.to_string(), phone.id.to_string());
        let moving = tokio::spawn(async move {
            client.call(Request::Move { task: id, device: Some(to), reason: None }).await
        });
        tokio::time::sleep(ms(wait)).await;
        let victim = if kill_source { &mut tv } else { &mut phone };
        victim.kill();
        moving.abort();
        let mut live = AtMostOne::new();
        for _ in 0..10 {
            let other = if kill_source { &phone } else { &tv };
            if let Some(seen) = other.task(task.id).await {
                live.look(other, &seen);
            }
            tokio::time::sleep(ms(20)).await;
        }
        let victim = if kill_source { &mut tv } else { &mut phone };
        victim.restart().await;
        let start = Instant::now();
        loop {
            let mut ended = 0;
            for node in [&phone, &tv] {
                if let Some(seen) = node.task(task.id).await {
                    live.look(node, &seen);
                    ended += usize::from(seen.state.is_final());
                }
            }
            if ended == 2 {
                break;
            }
            assert!(
                start.elapsed() < PATIENCE * 2,
                "source killed: {kill_source}, after {wait} ms: {:#?}\n{:#?}\n{}\n{}",
                phone.task(task.id).await,
                tv.task(task.id).await,
                phone.log(),
                tv.log()
            );
            tokio::time::sleep(ms(20)).await;
        }
        let (here, there) = (phone.until_done(task.id, &work).await, tv.until_done(task.id, &work).await);
        assert_eq!(
            (here.epoch, here.branch, here.runner),
            (there.epoch, 0, there.runner),
            "{here:#?}\n{there:#?}"
        );
        eprintln!(
            "source killed: {kill_source}, after {wait} ms: ended at epoch {} on {}",
            here.epoch, here.runner_name
        );
        phone.until_online(&tv).await;
        tv.until_online(&phone).await;
    }
}

#[tokio::test]
async fn killed_right_after_a_removal() {
    let home = home();
    let (mut phone, mut tv, car) = three(home.path()).await;
    let removal = Request::Remove { circle: None, device: tv.id.to_string() };
    phone.client.call(removal).await.unwrap();
    phone.kill();
    tv.kill();
    tv.restart().await;
    phone.restart().await;
    assert!(!phone.counts_among(tv.id).await, "what was answered is on disk");
    // All learn of it, from the one that was killed.
    car.until_online(&phone).await;
    car.until("rid of the tv", |view| presence(view, tv.id).is_none()).await;
    tv.until("in no circle", |view| view.devices.len() == 1).await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(presence(&phone.devices().await, tv.id), None);
        tokio::time::sleep(ms(100)).await;
    }
    phone.until_online(&car).await;
    // And it may come back, by pairing anew.
    phone.admit(&tv).await;
    phone.until_online(&tv).await;
    tv.until_online(&car).await;
}

#[tokio::test]
async fn asleep_and_awake_again() {
    let home = home();
    let (phone, tv, car) = three(home.path()).await;
    let work = Work::primes(20_000_000);
    let task = phone.run(&work, QUORUM, &tv).await;
    phone
        .until_task(task.id, "running with checkpoints", |t| {
            t.state == TaskState::Running && t.checkpoint > 0
        })
        .await;
    // Stopped as a laptop whose lid is closed: no word of farewell, and it knows nothing of the time that passes.
    tv.signal(Signal::STOP);
    phone.until_offline(&tv).await;
    car.until_offline(&tv).await;
    let taken = phone
        .until_task(task.id, "taken over", |t| t.runner.is_some_and(|r| r != tv.id) && t.epoch > task.epoch)
        .await;
    tv.signal(Signal::CONT);
    let mut live = AtMostOne::new();
    let start = Instant::now();
    let done = loop {
        let mut ended = None;
        for node in [&phone, &car, &tv] {
            let seen = node.task(task.id).await.expect("known");
            live.look(node, &seen);
            ended = ended.or(seen.state.is_final().then_some(seen));
        }
        if let Some(ended) = ended {
            break ended;
        }
        assert!(start.elapsed() < PATIENCE * 2, "{:#?}\n{}", phone.task(task.id).await, phone.log());
        tokio::time::sleep(ms(20)).await;
    };
    assert!(done.epoch >= taken.epoch && done.branch == 0, "{done:#?}");
    for node in [&phone, &car, &tv] {
        let ended = node.until_done(task.id, &work).await;
        assert_eq!((ended.epoch, ended.branch, ended.runner), (done.epoch, 0, done.runner), "{}", node.name);
    }
    for (a, b) in [(&phone, &tv), (&car, &tv), (&tv, &phone), (&tv, &car)] {
        a.until_online(b).await;
    }
    // Asleep without a task: gone, and back.
    car.signal(Signal::STOP);
    phone.until_offline(&car).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    car.signal(Signal::CONT);
    phone.until_online(&car).await;
    car.until_online(&phone).await;
    car.until_online(&tv).await;
}

#[tokio::test]
async fn silence_counts_as_configured() {
    let home = home();
    let patient = How::loopback().config("[network]\nsuspect_after_ms = 300\noffline_after_ms = 600000\n");
    let phone = Node::start(home.path(), "phone", patient).await;
    let tv = Node::start(home.path(), "tv", How::loopback()).await;
    phone.found().await;
    phone.admit(&tv).await;
    phone.until_online(&tv).await;
    tv.signal(Signal::STOP);
    phone.until("wary of the tv", |view| presence(view, tv.id) == Some(PresenceView::Suspect)).await;
    // Twice as long as it takes by default.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        assert_eq!(presence(&phone.devices().await, tv.id), Some(PresenceView::Suspect));
        tokio::time::sleep(ms(100)).await;
    }
    tv.signal(Signal::CONT);
    phone.until_online(&tv).await;
}

#[tokio::test]
async fn a_device_removed_while_it_was_down_learns_it_and_can_be_paired_again() {
    let home = home();
    let (phone, mut tv) = two(home.path()).await;
    tv.kill();
    phone.until_offline(&tv).await;
    let removal = Request::Remove { circle: None, device: tv.id.to_string() };
    phone.client.call(removal).await.unwrap();
    tv.restart().await;
    let start = Instant::now();
    while !tv.circles().await.is_empty() {
        assert!(start.elapsed() < PATIENCE, "it does not learn it:\n{}\n{}", tv.log(), phone.log());
        tokio::time::sleep(ms(50)).await;
    }
    assert_eq!(presence(&tv.devices().await, phone.id), None, "it counts nobody among its devices");
    phone.admit(&tv).await;
    phone.until_online(&tv).await;
    tv.until_online(&phone).await;
}
