//! What devices are called before people, and what people see of devices and tasks: several nodes on this machine's
//! loopback, and the program's own words.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // helpers of tests; the real world, from outside

mod support;

use std::process::Output;

use softbus_cli::control::{PairTerms, PresenceView, Request, Response};
use softbus_core::DeviceId;
use softbus_trust::Role;
use support::{How, Node, home, softbus};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A name that no other test's node has: discovery on loopback is shared by all of them.
fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

async fn until_named(node: &Node, other: DeviceId, name: &str) {
    node.until(&format!("knowing the name {name}"), |view| {
        view.devices.iter().any(|d| d.id == other && d.name == name)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_and_their_hosts_know_each_others_names() {
    let home = home();
    let (host_name, guest_name) = (unique("host"), unique("guest"));
    let host = Node::start(home.path(), &host_name, How::loopback()).await;
    let guest = Node::start(home.path(), &guest_name, How::loopback()).await;
    host.found().await;
    let terms = PairTerms { role: Some(Role::Guest), ..PairTerms::default() };
    let link = match host.client.call(Request::Invite { seconds: 300, terms }).await {
        Ok(Response::Invitation(invitation)) => invitation.link,
        other => panic!("{other:?}"),
    };
    let paired = guest.client.call(Request::PairByLink { link, terms: PairTerms::default() }).await;
    assert!(matches!(paired, Ok(Response::Paired(_))), "{paired:?}");
    until_named(&host, guest.id, &guest_name).await;
    until_named(&guest, host.id, &host_name).await;
    // Of how a host is right now, a guest hears nothing.
    let seen = guest.devices().await;
    let profile = seen.devices.iter().find(|d| d.id == host.id).unwrap().profile.clone().unwrap();
    assert_eq!(profile.now, None);
    // Nor does it count on the host for work.
    let ran = softbus(&guest, &["run", "primes/1", "--param", "upto=1000", "--wait", "--json"]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let tasks: serde_json::Value =
        serde_json::from_slice(&softbus(&guest, &["tasks", "--json"]).stdout).unwrap();
    assert_eq!(tasks[0]["holders"].as_array().map(Vec::len), Some(0), "{tasks:#}");
    let renewed = softbus(&host, &["circle", "renew", &guest_name, "--expires", "3d"]);
    assert_eq!(renewed.status.code(), Some(0), "{}", stderr(&renewed));
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_one_name_are_told_apart_everywhere() {
    let home = home();
    let (hub_name, twin) = (unique("hub"), unique("box"));
    let hub = Node::start(home.path(), &hub_name, How::loopback()).await;
    let twin_named = || How::loopback().arg("--name").arg(&twin);
    let one = Node::start(home.path(), "one", twin_named()).await;
    let two = Node::start(home.path(), "two", twin_named()).await;
    hub.found().await;
    hub.admit(&one).await;
    hub.admit(&two).await;
    for node in [&one, &two] {
        until_named(&hub, node.id, &twin).await;
        hub.until("hearing how it is", |view| {
            let found = view.devices.iter().find(|d| d.id == node.id);
            found.and_then(|d| d.profile.as_ref()).is_some_and(|p| p.now.is_some())
        })
        .await;
    }
    let labels = [&one, &two].map(|node| format!("{twin} …{}", node.id.short()));
    let listed = [&["devices"][..], &["circle"], &["place", "--explain"]].map(|args| softbus(&hub, args));
    for output in &listed {
        for label in &labels {
            assert!(stdout(output).contains(label), "{label}\n{}\n{}", stdout(output), stderr(output));
        }
        assert!(!stdout(output).contains(&format!("{hub_name} …")), "{}", stdout(output));
    }

    // A command by the name of two does nothing and lists both.
    let which = softbus(&hub, &["run", "primes/1", "--param", "upto=1000", "--on", &twin]);
    assert_eq!(which.status.code(), Some(2), "{}", stderr(&which));
    for label in &labels {
        assert!(stderr(&which).contains(label), "{}", stderr(&which));
    }
    // What was shown can be typed.
    let on = labels[1].as_str();
    let ran = softbus(&hub, &["run", "primes/1", "--param", "upto=1000", "--on", on, "--wait"]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let tasks = softbus(&hub, &["tasks"]);
    assert!(stdout(&tasks).contains(on), "{}", stdout(&tasks));
    let id = stdout(&tasks).lines().nth(2).unwrap().split_whitespace().next().unwrap().to_string();
    let task = stdout(&softbus(&hub, &["tasks", &id]));
    for (what, label) in [("on", on), ("submitted", hub_name.as_str())] {
        let line = task.lines().find(|line| line.trim_start().starts_with(what));
        assert!(line.is_some_and(|line| line.ends_with(label)), "{what}\n{task}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slips_are_answered_with_what_there_is() {
    let home = home();
    let name = unique("slip");
    let mut how = How::loopback();
    how.args = vec!["--bind".into(), "lo,nosuch0".into()];
    let node = Node::start(home.path(), &name, how).await;
    assert!(node.log().contains("no interface nosuch0 has an address now"), "{}", node.log());

    // Nobody is asked for the PIN of a device that is not there: standard input, which has ended, is not even read.
    let nobody = unique("nobody");
    let pair = softbus(&node, &["pair", &nobody]);
    assert_eq!(pair.status.code(), Some(4), "{}", stderr(&pair));
    let said = stderr(&pair);
    assert!(said.contains(&nobody) && said.contains("nearby") && !said.contains("standard input"), "{said}");

    for (time, code) in [(1, 0), (2, 7)] {
        let founded = softbus(&node, &["circle", "found", "home"]);
        assert_eq!(founded.status.code(), Some(code), "{time}: {}", stderr(&founded));
        if code == 0 {
            let circles = json(&softbus(&node, &["circle", "--json"]));
            let id: String = circles["circles"][0]["id"].as_str().unwrap().chars().take(12).collect();
            assert!(stdout(&founded).contains(&id), "the words name their circle: {}", stdout(&founded));
        }
    }

    for args in [&["run", "prime/1"][..], &["place", "--type", "prime/1"]] {
        let unknown = softbus(&node, args);
        assert_eq!(unknown.status.code(), Some(4), "{}", stderr(&unknown));
        let said = stderr(&unknown);
        assert!(said.contains("known so far: checksum/1, picture/1, primes/1"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_stranger_is_gone_soon_and_one_without_a_name_has_a_number() {
    let home = home();
    let name = unique("stranger");
    let here = Node::start(home.path(), &unique("here"), How::loopback()).await;
    let mut killed = Node::start(home.path(), &name, How::loopback()).await;
    let shy = How::loopback().config("[network]\nannounce_name = false\n");
    let shy = Node::start(home.path(), &unique("shy"), shy).await;
    here.until_nearby(&killed).await;
    here.until_nearby(&shy).await;
    killed.kill();
    // Its records count for two minutes.
    here.until("rid of the killed one", |view| {
        view.nearby.iter().all(|near| near.name.as_deref() != Some(name.as_str()))
    })
    .await;

    // In a circle and with pairing closed a device tells no id, and this one tells no name either.
    shy.found().await;
    let port = |address: &str| address.rsplit(':').next().unwrap().to_string();
    let Ok(Response::Status(status)) = shy.client.call(Request::Status {}).await else { panic!("no status") };
    let port_of_shy = port(&status.addresses[0]);
    let find = |view: &softbus_cli::control::DevicesView| {
        let at = |a: &String| port(a) == port_of_shy;
        view.nearby.iter().find(|near| near.addresses.iter().any(at)).cloned()
    };
    let view =
        here.until("told no id any more", |view| find(view).is_some_and(|near| near.id.is_none())).await;
    let itself = softbus(&here, &["pair", &here.name, "--pin", "123456"]);
    assert!(stderr(&itself).contains("itself"), "{}", stderr(&itself));
    let near = find(&view).unwrap();
    assert_eq!(near.name, None);
    assert!(near.heard_ms > 0 && near.number > 0, "{near:?}");
    let number = near.number.to_string();
    let listed = stdout(&softbus(&here, &["devices"]));
    assert!(listed.lines().any(|line| line.trim_start().starts_with(&number)), "{number}\n{listed}");
    let closed = softbus(&here, &["pair", &number, "--pin", "123456"]);
    assert_eq!(closed.status.code(), Some(5), "{}", stderr(&closed));
    assert!(stderr(&closed).contains("softbus pair"), "what to do next: {}", stderr(&closed));
    let (mut shown, pin) = shy.show_pin().await;
    here.enter(&shy, &number, &pin, &mut shown).await;
    here.until_online(&shy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_cannot_be_met_is_told_with_the_reason() {
    let home = home();
    let here = Node::start(home.path(), &unique("wisher"), How::loopback()).await;
    let there_name = unique("wished");
    let there = Node::start(home.path(), &there_name, How::loopback()).await;
    here.found().await;
    here.admit(&there).await;
    until_named(&here, there.id, &there_name).await;
    let run =
        ["run", "primes/1", "--param", "upto=1000", "--on", &there_name, "--privacy", "device", "--wait"];
    let ran = softbus(&here, &run);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let said = stderr(&ran);
    let told = said.lines().find(|line| line.contains("as wished")).unwrap_or_else(|| panic!("{said}"));
    assert!(told.contains(&there_name) && told.contains("private"), "{told}");
    let met = softbus(&here, &["run", "primes/1", "--param", "upto=1000", "--privacy", "device", "--wait"]);
    assert!(!stderr(&met).contains("as wished"), "{}", stderr(&met));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_task_shows_previews() {
    let home = home();
    let node = Node::start(home.path(), &unique("painter"), How::loopback()).await;
    let (picture, preview) = (home.path().join("in.png"), home.path().join("so-far.png"));
    std::fs::write(&picture, softbus_cli::picture::SAMPLE_PNG).unwrap();
    let (picture, out) = (picture.to_str().unwrap(), preview.to_str().unwrap());
    let submitted = softbus(
        &node,
        &["run", "picture/1", "--input", picture, "--param", "width=160", "--param", "samples=64", "--json"],
    );
    let submitted: serde_json::Value = serde_json::from_slice(&submitted.stdout).unwrap();
    let id = submitted["task"]["id"].as_str().unwrap();
    let one = softbus(&node, &["tasks", id, "--preview", out]);
    assert_eq!(one.status.code(), Some(0), "{}\n{}", stderr(&one), node.log());
    let first = std::fs::read(&preview).unwrap();
    assert_eq!(&first[1..4], b"PNG");
    let all = softbus(&node, &["tasks", id, "--preview", out, "--watch", "--json"]);
    assert_eq!(all.status.code(), Some(0), "{}", stderr(&all));
    let lines: Vec<serde_json::Value> =
        stdout(&all).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 2, "each newer one, until the end: {lines:#?}");
    let last = std::fs::read(&preview).unwrap();
    assert_ne!(first, last);
    assert_eq!(lines.last().unwrap()["bytes"], last.len());

    // A type that shows none.
    let submitted = softbus(&node, &["run", "primes/1", "--param", "upto=100000", "--json"]);
    let submitted: serde_json::Value = serde_json::from_slice(&submitted.stdout).unwrap();
    let none = softbus(&node, &["tasks", submitted["task"]["id"].as_str().unwrap(), "--preview", out]);
    assert_eq!(none.status.code(), Some(7), "{}", stderr(&none));
    assert_eq!(std::fs::read(&preview).unwrap(), last, "what is there is left alone");
}

/// Of a command with `--json`.
fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", stderr(output)))
}

/// Waits until `node` knows how another is right now, so that placement counts on it.
async fn until_heard(node: &Node, other: &Node) {
    node.until(&format!("hearing how {} is", other.name), |view| {
        let found = view.devices.iter().find(|d| d.id == other.id);
        found.and_then(|d| d.profile.as_ref()).is_some_and(|p| p.now.is_some())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_task_is_shared_with_may_do_what_was_named_and_no_more() {
    let home = home();
    let owner = Node::start(home.path(), &unique("owner"), How::loopback()).await;
    let (friend_name, other_name) = (unique("friend"), unique("other"));
    let friend = Node::start(home.path(), &friend_name, How::loopback()).await;
    let other = Node::start(home.path(), &other_name, How::loopback()).await;
    owner.found().await;
    for node in [&friend, &other] {
        owner.admit(node).await;
        until_heard(&owner, node).await;
        until_heard(node, &owner).await;
    }
    let share = format!("{}:move", friend.id);
    let run = ["run", "primes/1", "--param", "upto=90000000000", "--stay", "--holders", "2", "--json"];
    let on = owner.id.to_string();
    let submitted = softbus(&owner, &[&run[..], &["--on", &on, "--share", &share]].concat());
    assert_eq!(submitted.status.code(), Some(0), "{}", stderr(&submitted));
    let id: softbus_core::TaskId = json(&submitted)["task"]["id"].as_str().unwrap().parse().unwrap();
    let text = id.to_string();
    owner.until_task(id, "checkpointed", |t| t.runner == Some(owner.id) && t.checkpoint > 0).await;
    let cancelled = softbus(&friend, &["cancel", &text]);
    assert_eq!(cancelled.status.code(), Some(5), "{}\n{}", stderr(&cancelled), owner.log());
    let moved = softbus(&other, &["move", &text, &other_name]);
    assert_ne!(moved.status.code(), Some(0), "nobody named it");
    let moved = softbus(&friend, &["move", &text, &friend_name]);
    assert_eq!(moved.status.code(), Some(0), "{}\n{}", stderr(&moved), owner.log());
    owner.until_task(id, "with the friend", |t| t.runner == Some(friend.id)).await;
    // What is logged says of which device and task, wherever it was done.
    for (said, span) in [("handed over", "task"), ("submitted", "node")] {
        let log = owner.log();
        let line = log.lines().find(|line| line.contains(said)).unwrap_or_else(|| panic!("{log}"));
        let device = format!("device={}", owner.id.short());
        assert!(line.contains(&device) && line.contains(&format!("{span}:")), "{line}");
    }
    assert_eq!(softbus(&owner, &["cancel", &text]).status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sleep_is_told_and_what_place_shows_can_be_run() {
    let home = home();
    // Nobody in his right mind would take it for work.
    let slow = How::loopback().config("[profile]\nrate_permille = 20\n");
    let here = Node::start(home.path(), &unique("slow"), slow).await;
    let there_name = unique("lifter");
    let able = How::loopback()
        .config("[profile]\ncapabilities = [\"lift\"]\naccelerators = [\"npu:1GiB Thinker\"]\n");
    let there = Node::start(home.path(), &there_name, able).await;
    here.found().await;
    here.admit(&there).await;
    until_heard(&here, &there).await;

    // Before there is work: whoever has something to tell it wakes it.
    let slept = softbus(&there, &["sleep", "--for", "60s"]);
    assert_eq!(slept.status.code(), Some(0), "{}", stderr(&slept));
    let seen = |view: &softbus_cli::control::DevicesView| support::presence(view, there.id);
    here.until("told that it sleeps", |view| {
        let presence = seen(view);
        assert_ne!(presence, Some(PresenceView::Offline), "it is not lost");
        presence == Some(PresenceView::Asleep)
    })
    .await;
    assert_eq!(softbus(&there, &["wake"]).status.code(), Some(0));
    here.until_online(&there).await;
    until_heard(&here, &there).await;

    let needs = ["--needs", "lift", "--needs", "npu:512MiB", "--param", "upto=1000"];
    let place = softbus(&here, &[&["place", "--explain", "--type", "primes/1"], &needs[..]].concat());
    assert_eq!(stdout(&place).lines().next(), Some(there_name.as_str()), "{}", stdout(&place));
    assert!(stdout(&place).contains("has no lift"), "{}", stdout(&place));
    let ran = softbus(&here, &[&["run", "primes/1", "--json"], &needs[..]].concat());
    assert_eq!(json(&ran)["task"]["runner"], there.id.to_string(), "{}", stderr(&ran));
    for (nowhere, why) in [
        (["--needs", "npu:2GiB"], "NPU memory"),
        (["--needs", "gpu:1000TiB"], "GPU"),
        (["--not", &there_name], "excluded"),
        (["--needs", "oven/1"], "offers no oven/1"),
    ] {
        let args = [&needs[..], &nowhere].concat();
        for command in [&["place", "--type", "primes/1"][..], &["run", "primes/1"]] {
            let refused = softbus(&here, &[command, &args].concat());
            let said = stdout(&refused) + &stderr(&refused);
            assert_eq!(refused.status.code(), Some(7), "{nowhere:?}: {said}");
            assert!(said.contains(why), "{nowhere:?}: {said}");
        }
    }

    // A wish is no merit, and too few holders are told.
    let on = here.id.to_string();
    let big = ["run", "primes/1", "--param", "upto=300000", "--ops", "50G", "--on", &on, "--holders", "3"];
    let ran = softbus(&here, &big);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let said = stderr(&ran);
    assert!(said.contains("asked for by the submitter") && said.contains("only 1 in reach"), "{said}");
}
