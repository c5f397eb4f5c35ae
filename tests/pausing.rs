//! Tasks that are paused, moved, resumed, saved to a file and started from it, by the commands of the program.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests, from outside"
)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use softbus_core::wire::task_control::PolicyKind;
use support::{How, Node, Work, home, softbus};

fn guest(name: &str) -> String {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/guests/built");
    built.join(name).canonicalize().unwrap().to_str().unwrap().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A command that must work, and what it says as JSON.
fn json(node: &Node, args: &[&str]) -> Value {
    let all: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let done = softbus(node, &all);
    assert!(done.status.success(), "{args:?}: {}\n{}", text(&done.stderr), node.log());
    serde_json::from_slice(&done.stdout).unwrap()
}

async fn two(home: &Path) -> (Node, Node) {
    let config = "[tasks]\ncheckpoint_every_ms = 300\n";
    let a = Node::start(home, "phone", How::loopback().config(config)).await;
    let b = Node::start(home, "tv", How::loopback().config(config)).await;
    a.found().await;
    a.admit(&b).await;
    a.until_online(&b).await;
    b.until_online(&a).await;
    (a, b)
}

/// Looks so often that a running task would have gone on between two looks, and gives the progress that it had at each.
async fn stands_still(node: &Node, task: &str) -> u64 {
    let mut seen = Vec::new();
    for _ in 0..20 {
        let now = json(node, &["tasks", task]);
        assert_eq!((&now["state"], &now["paused"]["by_name"]), (&"paused".into(), &"phone".into()), "{now}");
        seen.push(now["progress_permille"].as_u64().unwrap());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "a paused task went on: {seen:?}");
    seen[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_paused_moved_resumed_saved_and_restored() {
    let home = home();
    let (a, b) = two(home.path()).await;
    let work = Work::primes(30_000_000);
    let task = a.run(&work, PolicyKind::Owner, &a).await;
    let id = task.id.to_string();
    a.until_task(task.id, "at work", |t| t.progress_permille > 0).await;

    let paused = json(&a, &["pause", &id]);
    assert_eq!((&paused["already"], &paused["kept"]), (&false.into(), &true.into()), "{paused}");
    assert!(json(&a, &["pause", &id])["already"].as_bool().unwrap());
    let progress = stands_still(&a, &id).await;
    assert!(progress < 1000, "it was paused in the midst of its work");
    let list = softbus(&a, &["tasks"]);
    assert!(
        text(&list.stdout).contains("paused") && text(&list.stderr).contains("softbus resume"),
        "{list:?}"
    );

    let moved = softbus(&a, &["move", &id, "tv"]);
    assert!(moved.status.success(), "{}\n{}\n{}", text(&moved.stderr), a.log(), b.log());
    a.until_task(task.id, "on the other", |t| t.runner == Some(b.id)).await;
    assert_eq!(stands_still(&a, &id).await, progress, "it stays paused there");

    // Of a paused task its last state; it comes from the other device.
    let file = home.path().join("half.softbus");
    let path = file.to_str().unwrap();
    let saved = softbus(&a, &["checkpoint", "save", &id, path]);
    let said = text(&saved.stderr);
    assert!(saved.status.success() && said.contains("not encrypted"), "{said}\n{}\n{}", a.log(), b.log());
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = softbus(&a, &["checkpoint", "save", &id, path]);
    assert!(again.status.code() != Some(0) && text(&again.stderr).contains("--force"), "{again:?}");
    assert_eq!(json(&a, &["checkpoint", "save", &id, path, "--force"])["encrypted"], false);

    assert_eq!(json(&a, &["resume", &id])["already"], false);
    a.until_done(task.id, &work).await;
    let late = softbus(&a, &["pause", &id]);
    assert!(late.status.code() != Some(0) && text(&late.stderr).contains("finished already"), "{late:?}");

    // The first is over; the file begins another.
    let out = home.path().join("out");
    let restored =
        softbus(&a, &["checkpoint", "restore", path, "--on", "tv", "--out", out.to_str().unwrap()]);
    let said = text(&restored.stderr);
    assert!(restored.status.success(), "{said}\n{}\n{}", a.log(), b.log());
    assert!(said.contains("by phone") && said.contains("this is a new task"), "{said}");
    assert_eq!(text(&std::fs::read(&out).unwrap()), text(&work.result()));

    // Damaged, cut short, something else.
    let whole = std::fs::read(&file).unwrap();
    let damaged = home.path().join("damaged");
    let restore = |bytes: &[u8]| {
        std::fs::write(&damaged, bytes).unwrap();
        softbus(&a, &["checkpoint", "restore", damaged.to_str().unwrap(), "--detach"])
    };
    let last = whole.len() - 1;
    for (at, word) in [(0, "no saved checkpoint"), (8, "form"), (40, "says of itself"), (last, "piece 0")] {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        let refused = restore(&bent);
        let said = text(&refused.stderr);
        assert!(refused.status.code() == Some(2) && said.contains(word), "{at}: {said}");
    }
    let cut = restore(&whole[..last]);
    assert!(cut.status.code() == Some(2) && text(&cut.stderr).contains("not whole"), "{cut:?}");
    let longer = restore(&[&whole[..], b"x"].concat());
    assert!(
        longer.status.code() == Some(2) && text(&longer.stderr).contains("follows the end"),
        "{longer:?}"
    );

    // From a device that is in no circle with this one only if a person says so.
    let c = Node::start(home.path(), "stranger", How::loopback()).await;
    c.found().await;
    let refused = softbus(&c, &["checkpoint", "restore", path]);
    let said = text(&refused.stderr);
    assert!(refused.status.code() != Some(0) && said.contains("--foreign"), "{said}");
    let taken = softbus(&c, &["checkpoint", "restore", path, "--foreign", "--out", out.to_str().unwrap()]);
    assert!(taken.status.success(), "{}\n{}", text(&taken.stderr), c.log());
    assert_eq!(text(&std::fs::read(&out).unwrap()), text(&work.result()));
}

/// A program: what it prints stands still, and what it prints after it was restored is the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_paused_in_the_midst_of_its_output_and_goes_on_from_a_file() {
    let home = home();
    let (a, b) = two(home.path()).await;
    let render = guest("render.wasm");
    let given = ["--arg", "200", "--arg", "400", "--arg", "3000"];
    let (whole, out) = (home.path().join("whole"), home.path().join("out"));

    let stay = ["--stay", "--on", "phone", "--name", "work", "--out", out.to_str().unwrap()];
    let all: Vec<&str> = ["run", &render].iter().chain(&given).chain(&stay).copied().collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_softbus"));
    command.arg("--data-dir").arg(&a.data).args(&all);
    let command = command.env_remove("SOFTBUS_DATA_DIR").env_remove("SOFTBUS_LOG").stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut printed = String::new();
    stdout.read_line(&mut printed).unwrap();

    assert_eq!(json(&a, &["pause", "work"])["kept"], true);
    let file = home.path().join("program.softbus");
    let path = file.to_str().unwrap();
    let saved = softbus(&a, &["checkpoint", "save", "work", path]);
    assert!(saved.status.success(), "{}\n{}", text(&saved.stderr), a.log());
    let moved = softbus(&a, &["move", "work", "tv"]);
    assert!(moved.status.success(), "{}\n{}\n{}", text(&moved.stderr), a.log(), b.log());
    assert_eq!(json(&a, &["tasks", "work"])["state"], "paused");
    assert_eq!(json(&a, &["resume", "work"])["already"], false);
    let rest = tokio::task::spawn_blocking(move || {
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        (rest, child.wait_with_output().unwrap())
    });
    let (rest, done) = rest.await.unwrap();
    assert!(done.status.success(), "{}\n{}\n{}", text(&done.stderr), a.log(), b.log());
    printed += &rest;

    let put = ["--out", whole.to_str().unwrap()];
    let all: Vec<&str> = ["run", &render].iter().chain(&given).chain(&put).copied().collect();
    let unmoved = softbus(&a, &all);
    assert_eq!(printed, text(&unmoved.stdout), "as if it had never been paused or moved");
    let picture = std::fs::read(whole.join("picture.ppm")).unwrap();
    assert_eq!(std::fs::read(out.join("picture.ppm")).unwrap(), picture);

    let again = home.path().join("again");
    let restored = softbus(&a, &["checkpoint", "restore", path, "--out", again.to_str().unwrap()]);
    let said = text(&restored.stderr);
    assert!(restored.status.success(), "{said}\n{}\n{}", a.log(), b.log());
    let after = text(&restored.stdout);
    assert!(printed.ends_with(&after) && after.len() < printed.len() && !after.is_empty(), "{after}");
    assert!(!said.contains("did not arrive"), "{said}");
    assert_eq!(std::fs::read(again.join("picture.ppm")).unwrap(), picture);
}
