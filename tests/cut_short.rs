//! People who go away in the middle of founding a circle or of pairing: nothing that cannot be made again is lost, and
//! nobody else's pairing ends.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // helpers of tests; the real world, from outside

mod support;

use std::io::Write as _;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use softbus_cli::control::{Request, Response, Step};
use softbus_cli::failure::Kind;
use softbus_core::wire::task_control::PolicyKind;
use support::{How, Node, PATIENCE, Work, home, softbus};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A command whose output nobody reads.
fn unread(node: &Node, args: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Command::new(env!("CARGO_BIN_EXE_softbus"))
        .arg("--data-dir")
        .arg(&node.data)
        .args(args)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap()
}

/// Whether a node says that recovery words wait.
fn waits(node: &Node) -> bool {
    let told = ["status", "circle"]
        .map(|command| stdout(&softbus(node, &[command])).contains("softbus circle words"));
    assert_eq!(told[0], told[1]);
    told[0]
}

/// Words as they stand in lines of six with numbers before them.
fn words_in(text: &str) -> String {
    let words = text.lines().filter(|line| line.starts_with("  ")).flat_map(str::split_whitespace);
    words.filter(|word| word.chars().all(|c| c.is_ascii_lowercase())).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_words_wait_until_a_person_saw_them() {
    let home = home();
    let mut node =
        Node::start(home.path(), &format!("founder-{}", std::process::id()), How::loopback()).await;
    let secret = node.data.join("secrets/recovery.words");
    // Who asked goes away before it shows them; then the device loses power.
    let words = node.found().await;
    node.restart().await;
    assert!(waits(&node), "{}", node.log());
    assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    // What nobody reads was not shown.
    for args in [&["circle", "words"][..], &["circle", "words", "--json"]] {
        assert_ne!(unread(&node, args).status.code(), Some(0));
        assert!(waits(&node));
    }
    let shown = softbus(&node, &["circle", "words"]);
    assert_eq!(words_in(&stdout(&shown)), words, "{}{}", stdout(&shown), stderr(&shown));
    assert!(!waits(&node));
    assert!(!secret.exists(), "kept nowhere any more");
    assert!(!stdout(&softbus(&node, &["circle", "words"])).contains(&words));

    // A command that shows them says so itself; one that cannot leaves them.
    let founded = softbus(&node, &["circle", "found", "second"]);
    assert_eq!(words_in(&stdout(&founded)).split(' ').count(), 24, "{}", stdout(&founded));
    assert!(!waits(&node));
    assert_ne!(unread(&node, &["circle", "found", "third"]).status.code(), Some(0));
    assert!(waits(&node));
    match node.client.call(Request::Words {}).await {
        Ok(Response::Words(waiting)) => assert_eq!((waiting.len(), &*waiting[0].name), (1, "third")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_after_the_pin_ends_the_pairing() {
    let home = home();
    let node = Node::start(home.path(), &format!("typist-{}", std::process::id()), How::loopback()).await;
    // Where nobody answers.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_softbus"))
        .arg("--data-dir")
        .arg(&node.data)
        .args(["pair", &silent.local_addr().unwrap().to_string(), "--pin", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    command.stdin.take().unwrap().write_all(b"123456\n").unwrap();
    silent.recv(&mut [0; 2048]).unwrap_or_else(|e| panic!("{e}: nothing was dialled\n{}", node.log()));
    kill_process(Pid::from_raw(command.id() as i32).unwrap(), Signal::INT).unwrap();
    let ended = command.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{}", stderr(&ended));
    assert!(stderr(&ended).contains("softbus circle"), "where to see what came of it: {}", stderr(&ended));
}

#[tokio::test(flavor = "multi_thread")]
async fn pairing_opened_anew_is_not_closed_by_whoever_opened_it_before() {
    let home = home();
    let name = |name: &str| format!("{name}-s{}", std::process::id());
    let owner = Node::start(home.path(), &name("owner"), How::loopback()).await;
    let joiner = Node::start(home.path(), &name("joiner"), How::loopback()).await;
    owner.found().await;
    let (mut first, _) = joiner.show_pin().await;
    let (mut second, pin) = joiner.show_pin().await;
    // The first is told, and shows no PIN that is another's.
    let over = loop {
        match first.next().await {
            Ok(Step::Event(event)) => assert!(!serde_json::to_string(&event).unwrap().contains(&pin)),
            Ok(Step::Done(reply)) => panic!("{:?}", reply.response),
            Err(failure) => break failure,
        }
    };
    assert_eq!(over.kind, Kind::Conflict, "{over}");
    drop(first);
    owner.until_nearby(&joiner).await;
    owner.enter(&joiner, &joiner.id.to_string(), &pin, &mut second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_is_closed_does_not_hurry_a_node_that_is_ending() {
    let home = home();
    let name = |name: &str| format!("{name}-h{}", std::process::id());
    let mut node = Node::start(home.path(), &name("closing"), How::loopback()).await;
    let other = Node::start(home.path(), &name("taker"), How::loopback()).await;
    node.found().await;
    node.admit(&other).await;
    node.until_online(&other).await;
    node.run(&Work::primes(400_000_000), PolicyKind::Owner, &node).await;
    // Whoever is to take the task takes none now, and for some seconds nobody knows that it does not.
    other.signal(Signal::STOP);
    node.signal(Signal::INT);
    let start = Instant::now();
    while !node.log().contains("shutting down") {
        assert!(start.elapsed() < PATIENCE, "{}", node.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node.signal(Signal::HUP);
    node.down().await;
    other.signal(Signal::CONT);
    assert!(!node.log().contains("stopped at once"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_how_long_it_takes_to_go_down_and_can_be_hurried() {
    let home = home();
    let how = || How::loopback().config("[tasks]\nshutdown_move_s = 600\n");
    let name = |name: &str| format!("{name}-d{}", std::process::id());
    let mut node = Node::start(home.path(), &name("slow"), how()).await;
    let work = Work::primes(400_000_000);
    node.run(&work, PolicyKind::Owner, &node).await;
    match node.client.call(Request::Down { now: false }).await {
        Ok(Response::Stopping { within_s }) => assert!(within_s > 600, "{within_s}"),
        other => panic!("{other:?}"),
    }
    // Whether it still waits for somebody to take the task, or goes away in the middle of this.
    let _ = node.client.call(Request::Down { now: true }).await;
    node.down().await;
    let idle = Node::start(home.path(), &name("idle"), how()).await;
    match idle.client.call(Request::Down { now: true }).await {
        Ok(Response::Stopping { within_s }) => assert!(within_s < 600, "{within_s}"),
        other => panic!("{other:?}"),
    }
}
