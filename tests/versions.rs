//! A member that was updated to protocol versions which this program does not speak: told as such, with what to do.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test outside of the seam; its helpers are tests, too"
)]

mod support;

use std::sync::Arc;

use softbus::net::seam::Silent;
use softbus::net::seam::real::RealSeam;
use softbus::net::testing::FixedJudge;
use softbus::net::{Bind, Net, NetConfig, Router};
use softbus::roster::machine::Machine;
use softbus::trust::DeviceKey;
use softbus_cli::control::{PresenceView, Request, Response};
use support::{How, Node, home, presence};

#[tokio::test]
async fn a_member_of_other_versions_is_told_what_to_do() {
    let home = home();
    let phone = Node::start(home.path(), "phone", How::loopback()).await;
    let mut tv = Node::start(home.path(), "tv", How::loopback()).await;
    phone.found().await;
    phone.admit(&tv).await;
    phone.until_online(&tv).await;
    let Ok(Response::Diagnosis(facts)) = phone.client.call(Request::Diagnose {}).await else {
        panic!("no diagnosis")
    };
    let newest = facts.versions.1;
    tv.down().await;

    // The same device comes back with a program that is too new.
    let key = DeviceKey::from_file(&std::fs::read(tv.data.join("secrets/device.key")).unwrap()).unwrap();
    assert_eq!(key.id(), tv.id);
    let seam = RealSeam::new(home.path().join("updated"), Arc::new(Machine::new()))
        .bind(Bind::Loopback)
        .discovery(Arc::new(Silent))
        .open()
        .unwrap();
    let config = NetConfig {
        bind: Bind::Loopback,
        discovery: false,
        versions: Some((newest + 1, newest + 2)),
        static_peers: vec![(Some(phone.id), format!("127.0.0.1:{}", facts.port).parse().unwrap())],
        ..NetConfig::default()
    };
    let updated =
        Net::start(seam, Arc::new(key), FixedJudge::new([phone.id]), Router::new(), config).await.unwrap();
    let why = |view: &softbus_cli::control::DevicesView| {
        view.devices.iter().find(|d| d.id == tv.id)?.link.as_ref()?.last_down.clone()
    };
    let view = phone
        .until("told why the tv is not linked", |view| why(view).is_some_and(|why| why.contains("update")))
        .await;
    assert_eq!(presence(&view, tv.id), Some(PresenceView::Offline));
    let theirs = updated.links().borrow().get(&phone.id).and_then(|link| link.last_down.clone());
    assert!(theirs.is_some_and(|why| why.contains("update")), "the other side is told too");

    // A person sees it without asking for more.
    let shown = std::process::Command::new(env!("CARGO_BIN_EXE_softbus"))
        .arg("--data-dir")
        .arg(&phone.data)
        .arg("devices")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&shown.stderr).into_owned() + &String::from_utf8_lossy(&shown.stdout);
    assert!(text.contains("tv is offline: ") && text.contains("update"), "{text}");

    // And with a program that fits all is well again.
    updated.shutdown().await;
    drop(updated);
    tv.restart().await;
    phone.until_online(&tv).await;
}
