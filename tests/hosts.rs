//! Several hosts, each a network namespace: real multicast over a bridge, cables that are cut, addresses that change
//! under a running task, another subnet. Skipped, with the reason, where the process may not make namespaces.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test outside of the seam; its helpers are tests, too"
)]

mod support;

use softbus_cli::control::{DevicesView, LinkView, PresenceView, Request};
use softbus_core::wire::task_control::{PolicyKind, TaskState};
use support::lab::Lab;
use support::{How, Node, Work, home, presence};

/// Lasts some seconds, so that something can happen to it.
fn long() -> Work {
    Work::primes(20_000_000)
}

fn link(node_sees: &DevicesView, other: &Node) -> LinkView {
    let device = node_sees.devices.iter().find(|d| d.id == other.id).expect("in the roster");
    device.link.clone().expect("a link")
}

/// Two hosts on one segment, paired by discovery and PIN.
macro_rules! paired_on_a_bridge {
    ($lab:ident, $only_ipv4:expr, $home:ident, $a:ident, $b:ident, $phone:ident, $tv:ident) => {
        $lab.segment(1).unwrap();
        let ($a, $b) = ($lab.host("a", 1, 1).unwrap(), $lab.host("b", 1, 2).unwrap());
        if $only_ipv4 {
            $a.only_ipv4("eth0").unwrap();
            $b.only_ipv4("eth0").unwrap();
        }
        let $home = home();
        let $phone = Node::start($home.path(), "phone", How::on(&$a)).await;
        let $tv = Node::start($home.path(), "tv", How::on(&$b)).await;
        $phone.found().await;
        $phone.admit(&$tv).await;
        $phone.until_online(&$tv).await;
        $tv.until_online(&$phone).await;
    };
}

#[tokio::test]
async fn devices_on_one_bridge_find_each_other_and_survive_a_cut_cable() {
    let Some(mut lab) = Lab::or_skip("bridge") else { return };
    paired_on_a_bridge!(lab, false, home, a, b, phone, tv);
    let address = link(&phone.devices().await, &tv).address.expect("an address");
    assert!(!address.starts_with("127."), "over the bridge: {address}");

    // The cable is cut under a running task.
    let work = long();
    let task = phone.run(&work, PolicyKind::Owner, &tv).await;
    phone.until_task(task.id, "running", |t| t.state == TaskState::Running).await;
    lab.cable(1, 2, false).unwrap();
    phone.until_offline(&tv).await;
    tv.until_offline(&phone).await;
    lab.cable(1, 2, true).unwrap();
    phone.until_online(&tv).await;
    tv.until_online(&phone).await;
    let done = phone.until_done(task.id, &work).await;
    assert_eq!((done.branch, done.runner), (0, Some(tv.id)), "it went on where it was: {done:#?}");
    drop((a, b));
}

#[tokio::test]
async fn an_address_changes_mid_task_in_either_role() {
    let Some(mut lab) = Lab::or_skip("address change") else { return };
    paired_on_a_bridge!(lab, true, home, a, b, phone, tv);
    // Whoever moves redials if it had been dialled; so in at most three moves each role is played.
    let (mut as_dialler, mut as_listener) = (0, 0);
    let moves = [
        (&a, &phone, &tv, 1, 101),
        (&a, &phone, &tv, 101, 111),
        (&b, &tv, &phone, 2, 102),
        (&b, &tv, &phone, 102, 112),
    ];
    for (host, mover, other, old, new) in moves {
        if as_dialler > 0 && as_listener > 0 {
            break;
        }
        if link(&mover.devices().await, other).dialled {
            as_dialler += 1;
        } else {
            as_listener += 1;
        }
        let work = long();
        let task = phone.run(&work, PolicyKind::Owner, &tv).await;
        phone.until_task(task.id, "running", |t| t.state == TaskState::Running).await;
        host.readdress("eth0", 1, old, new).unwrap();
        let moved = format!("10.77.1.{new}:");
        other
            .until(&format!("linked with {} at its new address", mover.name), |view| {
                presence(view, mover.id) == Some(PresenceView::Online)
                    && link(view, mover).address.is_some_and(|a| a.starts_with(&moved))
            })
            .await;
        mover.until_online(other).await;
        let done = phone.until_done(task.id, &work).await;
        assert_eq!((done.branch, done.runner), (0, Some(tv.id)), "it went on where it was: {done:#?}");
    }
    assert!(
        as_dialler > 0 && as_listener > 0,
        "as dialler {as_dialler} times, as listener {as_listener} times"
    );
}

#[tokio::test]
async fn a_static_peer_on_another_subnet_is_a_full_citizen() {
    let Some(mut lab) = Lab::or_skip("second subnet") else { return };
    lab.segment(1).unwrap();
    lab.segment(2).unwrap();
    let (a, b) = (lab.host("a", 1, 1).unwrap(), lab.host("b", 2, 1).unwrap());
    let home = home();
    let office = Node::start(home.path(), "office", How::on(&b).arg("--port").arg("4711")).await;
    let how = How::on(&a).config("[network]\npeers = [\"10.77.2.1:4711\"]\n");
    let mut phone = Node::start(home.path(), "phone", how).await;
    phone.found().await;
    phone.admit_at(&office, "10.77.2.1:4711").await;
    phone.until_online(&office).await;
    office.until_online(&phone).await;
    let work = Work::primes(1_000);
    let task = phone.run(&work, PolicyKind::Owner, &office).await;
    phone.until_done(task.id, &work).await;
    // No multicast crosses the subnets: what they know of each other they know by the address.
    let view = phone.devices().await;
    assert_eq!(presence(&view, office.id), Some(PresenceView::Online));
    assert!(view.nearby.is_empty(), "{:?}", view.nearby);
    // After a restart the address in the configuration is enough.
    phone.restart().await;
    phone.until_online(&office).await;
    office.until_online(&phone).await;
    // Removed: out at once, on both sides.
    let removal = Request::Remove { circle: None, device: office.id.to_string() };
    phone.client.call(removal).await.unwrap();
    office.until("rid of the phone", |view| presence(view, phone.id).is_none()).await;
    phone.until("rid of the office", |view| presence(view, office.id).is_none()).await;
}

#[tokio::test]
async fn chosen_interfaces_may_come_late_and_go() {
    let Some(mut lab) = Lab::or_skip("late interfaces") else { return };
    lab.segment(1).unwrap();
    lab.segment(2).unwrap();
    let (a, b) = (lab.bare_host("a").unwrap(), lab.bare_host("b").unwrap());
    let home = home();
    let chosen = |host| How::on(host).arg("--bind").arg("eth0,eth1");
    // None of them is there: the nodes start and wait.
    let phone = Node::start(home.path(), "phone", chosen(&a)).await;
    let tv = Node::start(home.path(), "tv", chosen(&b)).await;
    phone.found().await;
    for (host, last) in [(&a, 1), (&b, 2)] {
        lab.plug(host, "eth0", 1, last).unwrap();
    }
    phone.admit(&tv).await;
    phone.until_online(&tv).await;
    tv.until_online(&phone).await;

    // The other one comes. Here the first one goes, there its cable is cut: the other one is the only way.
    for (host, last) in [(&a, 1), (&b, 2)] {
        lab.plug(host, "eth1", 2, last).unwrap();
        host.only_ipv4("eth1").unwrap();
    }
    a.ip(["link", "del", "eth0"]).unwrap();
    lab.cable(1, 2, false).unwrap();
    // The phone has one address left, so whoever sees it there does so by that interface. (By which of its addresses it
    // sees the other one is not said: a Linux host answers to all of them on any interface.)
    tv.until("linked by the other interface", |view| {
        presence(view, phone.id) == Some(PresenceView::Online)
            && link(view, &phone).address.is_some_and(|a| a.starts_with("10.77.2.1:"))
    })
    .await;
    phone.until_online(&tv).await;
    let work = Work::primes(1_000);
    let task = phone.run(&work, PolicyKind::Owner, &tv).await;
    phone.until_done(task.id, &work).await;
}

/// Two hosts without any IPv4 address find each other, pair, link and work.
async fn ipv6_alone(test: &str, routed: bool) {
    let Some(mut lab) = Lab::or_skip(test) else { return };
    lab.segment(1).unwrap();
    let (a, b) = (lab.bare_host("a").unwrap(), lab.bare_host("b").unwrap());
    for (host, last) in [(&a, 1), (&b, 2)] {
        lab.plug_ipv6(host, "eth0", 1, last, routed).unwrap();
    }
    let home = home();
    let phone = Node::start(home.path(), "phone", How::on(&a)).await;
    let tv = Node::start(home.path(), "tv", How::on(&b)).await;
    phone.found().await;
    phone.admit(&tv).await;
    phone.until_online(&tv).await;
    tv.until_online(&phone).await;
    for (node, other) in [(&phone, &tv), (&tv, &phone)] {
        let address = link(&node.devices().await, other).address.expect("an address");
        let way = if routed { "[fd77:" } else { "[fe80:" };
        assert!(address.starts_with(way), "{address}");
    }
    let work = Work::primes(1_000);
    let task = phone.run(&work, PolicyKind::Owner, &tv).await;
    phone.until_done(task.id, &work).await;
}

#[tokio::test]
async fn ipv6_alone_is_enough() {
    ipv6_alone("IPv6 alone", true).await;
}

#[tokio::test]
async fn ipv6_that_is_good_on_its_own_link_only_is_enough() {
    ipv6_alone("IPv6 on one link", false).await;
}

#[tokio::test]
async fn the_doctor_looks_at_the_interfaces_that_the_node_uses() {
    let Some(mut lab) = Lab::or_skip("doctor") else { return };
    lab.segment(1).unwrap();
    lab.segment(2).unwrap();
    let host = lab.host("a", 1, 1).unwrap();
    lab.plug(&host, "eth1", 2, 1).unwrap();
    let home = home();
    // Named on the command line: no configuration says so.
    let node = Node::start(home.path(), "phone", How::on(&host).arg("--bind").arg("eth0")).await;
    let examine = || {
        let mut doctor = host.command(env!("CARGO_BIN_EXE_softbus"));
        let output = doctor.args(["--json", "doctor", "--data-dir"]).arg(&node.data).output().unwrap();
        let all: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        let findings = all["findings"].as_array().or(all.as_array()).unwrap().clone();
        move |check: &str| findings.iter().find(|f| f["check"] == check).unwrap().clone()
    };
    // For a moment a fresh IPv6 address may not be used yet (duplicate address detection).
    let start = std::time::Instant::now();
    let healthy = loop {
        let findings = examine();
        if findings("multicast")["level"] == "good" || start.elapsed() > support::PATIENCE {
            break findings;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    assert_eq!(healthy("interfaces")["found"], "eth0", "and not eth1, which the node does not use");
    assert_eq!(healthy("multicast")["level"], "good", "{}", healthy("multicast"));
    assert!(!healthy("multicast")["found"].as_str().unwrap().contains("eth1"));

    // Its interface loses its addresses, and the other one is no help.
    host.ip(["addr", "flush", "dev", "eth0"]).unwrap();
    let ill = examine();
    assert_eq!(ill("interfaces")["level"], "bad", "{}", ill("interfaces"));
    assert!(ill("interfaces")["found"].as_str().unwrap().contains("eth0"));
    assert_ne!(ill("multicast")["level"], "good", "{}", ill("multicast"));
    drop(lab);
}
