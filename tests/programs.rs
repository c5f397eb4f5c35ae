//! Programs of others, run by the command as a person does: what they print, leave and end with; moved while they run, and
//! gone on with after the loss of their device.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests, from outside"
)]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::{How, Node, home, softbus};

fn guest(name: &str) -> String {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/guests/built");
    built.join(name).canonicalize().unwrap().to_str().unwrap().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What `render` prints and draws, worked out here.
fn rendered(width: i32, height: i32, most: i32) -> (String, Vec<u8>) {
    let mut picture = format!("P6\n{width} {height}\n255\n").into_bytes();
    let (mut printed, mut total) = (String::new(), 0u64);
    for j in 0..height {
        for i in 0..width {
            let cx = -2.2 + 3.2 * f64::from(i) / f64::from(width);
            let cy = -1.2 + 2.4 * f64::from(j) / f64::from(height);
            let (mut x, mut y, mut n) = (0.0, 0.0, 0);
            while n < most && x * x + y * y < 4.0 {
                (x, y) = (x * x - y * y + cx, 2.0 * x * y + cy);
                n += 1;
            }
            total += n as u64;
            picture.extend(
                [if n == most { 0 } else { n * 7 }, if n == most { 0 } else { n * 3 }].map(|n| n as u8),
            );
            picture.push(if n == most { 0 } else { 255 - n } as u8);
        }
        if (j + 1) % 20 == 0 || j + 1 == height {
            printed += &format!("row {} of {height}\n", j + 1);
        }
    }
    (printed + &format!("{total} iterations\n"), picture)
}

/// A command under way.
fn begin(node: &Node, args: &[&str]) -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softbus"));
    command
        .arg("--data-dir")
        .arg(&node.data)
        .args(args)
        .env_remove("SOFTBUS_DATA_DIR")
        .env_remove("SOFTBUS_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_prints_leaves_files_and_ends_as_it_would_anywhere() {
    let folder = Folder(home());
    let node = Node::start(folder.0.path(), "laptop", How::loopback()).await;
    node.found().await;
    let out = folder.0.path().join("pictures");
    let (printed, picture) = rendered(60, 40, 50);

    let done = softbus(
        &node,
        &[
            "run",
            &guest("render.wasm"),
            "--arg",
            "60",
            "--arg",
            "40",
            "--arg",
            "50",
            "--out",
            out.to_str().unwrap(),
        ],
    );
    let said = text(&done.stderr);
    assert!(done.status.success(), "{said}\n{}", node.log());
    assert_eq!(text(&done.stdout), printed);
    assert_eq!(std::fs::read(out.join("picture.ppm")).unwrap(), picture);
    assert!(said.contains("admitted in") && said.contains("no network, no services"), "{said}");

    // Arguments, and the status it ends with.
    let wrong = softbus(&node, &["run", &guest("render.wasm"), "--arg", "0"]);
    assert_eq!(wrong.status.code(), Some(64), "{}", text(&wrong.stderr));
    assert!(text(&wrong.stderr).contains("usage: render WIDTH HEIGHT ITERATIONS"), "{}", text(&wrong.stderr));

    // Compiled by another compiler, with objects that a collector clears away.
    let rays = softbus(&node, &["run", &guest("rays.wasm"), "--arg", "24", "--arg", "10", "--arg", "4"]);
    assert!(
        text(&rays.stdout).ends_with("2674 rays, brightness 0.23124226048593347\n"),
        "{}",
        text(&rays.stdout)
    );

    // Files in, under their own names and others; standard input.
    let book = folder.file("book.txt", b"to be or not to be");
    let (own, renamed) = (book.to_str().unwrap(), format!("other={}", book.display()));
    let words = guest("words.wasm");
    let counted = |args: &[&str]| {
        let all: Vec<&str> = ["run", words.as_str()].iter().chain(args).copied().collect();
        softbus(&node, &all)
    };
    let by_file = counted(&["--in", own, "--arg", "book.txt"]);
    assert!(by_file.status.success(), "{}", text(&by_file.stderr));
    assert!(text(&by_file.stdout).contains("to"), "{}", text(&by_file.stdout));
    for args in [&["--in", renamed.as_str(), "--arg", "other"][..], &["--stdin", own]] {
        let again = counted(args);
        assert_eq!(
            (again.status.code(), &again.stdout),
            (Some(0), &by_file.stdout),
            "{}",
            text(&again.stderr)
        );
    }
    let mut piped = Command::new(env!("CARGO_BIN_EXE_softbus"));
    piped.arg("--data-dir").arg(&node.data).args(["run", &words, "--stdin", "-"]);
    let mut piped = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(b"to be or not to be").unwrap();
    assert_eq!(piped.wait_with_output().unwrap().stdout, by_file.stdout);
    // It sees nothing of this device that it was not given.
    let hidden = counted(&["--arg", own]);
    assert_eq!(hidden.status.code(), Some(2), "{}", text(&hidden.stderr));

    // As JSON: what happens, line by line.
    let json = softbus(
        &node,
        &["run", &guest("render.wasm"), "--arg", "60", "--arg", "40", "--arg", "50", "--json"],
    );
    let lines: Vec<Value> =
        text(&json.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["submitted"]["admission"]["memory_bytes"], 256 << 20);
    let ended = &lines.last().unwrap()["ended"];
    assert_eq!((&ended["status"], &ended["files"][0]["path"]), (&0.into(), &"picture.ppm".into()), "{ended}");
    let bytes = lines.iter().filter_map(|line| line["printed"]["bytes"].as_str());
    let told: Vec<u8> =
        bytes.flat_map(|piece| data_encoding::BASE64.decode(piece.as_bytes()).unwrap()).collect();
    assert_eq!(text(&told), printed);

    // A hidden file is not written, and that is said; its counts and its status are there all the same.
    let hidden = folder.0.path().join("hidden");
    let left = counted(&["--stdin", own, "--env", "COUNTS=.profile", "--out", hidden.to_str().unwrap()]);
    assert!(left.status.success(), "{}", text(&left.stderr));
    assert!(
        text(&left.stderr).contains("not written: a file of the program would be hidden"),
        "{}",
        text(&left.stderr)
    );
    assert_eq!(std::fs::read_dir(&hidden).unwrap().count(), 0);

    // Not waited for: the id alone; its files later.
    let detached = softbus(&node, &["run", &guest("render.wasm"), "--detach"]);
    let id = text(&detached.stdout).trim().to_string();
    // Of those of one name it is the one that is not over that can be cancelled.
    let long = softbus(&node, &["run", &guest("clock.wasm"), "--arg", "1", "--name", "twice"]);
    assert!(long.status.success());
    let endless = ["run", &guest("clock.wasm"), "--arg", "100000", "--name", "twice", "--detach"];
    assert!(softbus(&node, &endless).status.success());
    assert!(softbus(&node, &["cancel", "twice"]).status.success());
    assert_eq!(softbus(&node, &["cancel", "twice"]).status.code(), Some(2), "now there are two");
    let late = folder.0.path().join("late");
    let fetched = loop {
        let fetched = softbus(&node, &["result", &id, "--out", late.to_str().unwrap()]);
        if fetched.status.success() {
            break fetched;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert!(text(&fetched.stdout).contains("picture.ppm"), "{}", text(&fetched.stdout));
    assert!(std::fs::read(late.join("picture.ppm")).unwrap().starts_with(b"P6\n320 200\n"));
}

/// A program for the bus: what it may ask is said before it starts, and it gets no more.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_may_ask_is_granted_and_said() {
    let folder = Folder(home());
    let node = Node::start(folder.0.path(), "laptop", How::loopback()).await;
    node.found().await;
    let courier = guest("courier.wasm");
    let run = |args: &[&str]| {
        let all: Vec<&str> = ["run", courier.as_str()].iter().chain(args).copied().collect();
        softbus(&node, &all)
    };
    let none = run(&[]);
    refused(&none, 1, "[error] echo/1: error 76");
    assert!(text(&none.stderr).contains("no network, no services\n"), "{}", text(&none.stderr));
    // No rounds: it opens its channel, and asks a model, which nobody has.
    let granted = ["--grant", "service:echo/1", "--grant", "infer", "--env", "ROUNDS=0"];
    let done = run(&granted);
    let said = text(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert_eq!(text(&done.stdout), "0 answers\nno model: error 58\n");
    assert!(said.contains("no network, the service echo/1, a model"), "{said}");
    assert!(said.contains("[info] the courier is on its way\n"), "{said}");
    let json = run(&[&granted[..], &["--json"]].concat());
    let first: Value = serde_json::from_str(text(&json.stdout).lines().next().unwrap()).unwrap();
    let admission = &first["submitted"]["admission"];
    assert_eq!((&admission["services"][0], &admission["inference"]), (&"echo/1".into(), &true.into()));
    refused(&run(&["--grant", "echo/1"]), 2, "service:NAME/VERSION or infer");
    refused(&softbus(&node, &["run", "primes/1", "--grant", "infer"]), 2, "--grant is for programs");
}

fn refused(done: &Output, code: i32, word: &str) {
    let said = text(&done.stderr);
    assert!(done.status.code() == Some(code) && said.contains(word), "{:?} {said}", done.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_said_at_once() {
    let folder = Folder(home());
    let node = Node::start(folder.0.path(), "laptop", How::loopback()).await;
    node.found().await;
    let file = |name: &str, content: &[u8]| folder.file(name, content).to_str().unwrap().to_string();
    let run = |args: &[&str]| {
        let all: Vec<&str> = ["run"].iter().chain(args).copied().collect();
        softbus(&node, &all)
    };
    let render = guest("render.wasm");
    refused(&run(&[&file("text.wasm", b"hello")]), 2, "no WebAssembly module");
    refused(&run(&["nowhere.wasm"]), 4, "nowhere.wasm");
    refused(&run(&[&file("broken.wasm", b"\0asm\x01\0\0\0garbage")]), 2, "no valid module");
    refused(&run(&[&file("empty.wasm", b"\0asm\x01\0\0\0")]), 2, "_start");
    refused(&run(&[&render, "--param", "a=b"]), 2, "--arg");
    refused(&run(&["primes/1", "--arg", "a"]), 2, "--arg is for programs");
    refused(&run(&["wasm/1"]), 2, "PROGRAM.wasm");
    refused(&run(&[&render, "--in", "nowhere"]), 4, "nowhere");
    refused(&run(&[&render, "--out", &file("a-file", b"")]), 1, "a-file");
    refused(&run(&[&render, "--detach", "--out", "x"]), 2, "--detach");
    // It runs, and asks for more memory than it may have.
    let many: String = (0..20_000u32)
        .map(|n| n.to_string().chars().map(|c| (c as u8 + 49) as char).chain([' ']).collect::<String>())
        .collect();
    let many = file("many.txt", many.as_bytes());
    let words = guest("words.wasm");
    refused(&run(&[&words, "--in", &many, "--arg", "many.txt", "--mem", "256KiB"]), 3, "out of memory");
    assert!(run(&[&words, "--in", &many, "--arg", "many.txt"]).status.success());
    // Who cannot be told what it prints says so.
    let full = Command::new(env!("CARGO_BIN_EXE_softbus"))
        .arg("--data-dir")
        .arg(&node.data)
        .args(["run", &guest("rays.wasm"), "--arg", "4", "--arg", "2", "--arg", "1"])
        .stdin(Stdio::null())
        .stdout(std::fs::File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    refused(&full, 1, "standard output");
}

/// A program that takes a while on one device, moved to another and back while its output is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_moves_while_its_output_is_read() {
    let home = home();
    let a = Node::start(home.path(), "phone", How::loopback()).await;
    let b = Node::start(home.path(), "tv", How::loopback()).await;
    a.found().await;
    a.admit(&b).await;
    a.until_online(&b).await;
    b.until_online(&a).await;
    let out = home.path().join("out");
    let (width, height, most) = (300, 400, 3000);
    let (printed, picture) = blocking(move || rendered(width, height, most)).await;

    let args = ["--arg", "300", "--arg", "400", "--arg", "3000", "--stay", "--on", "phone"];
    let render = guest("render.wasm");
    let all: Vec<&str> = ["run", &render, "--out", out.to_str().unwrap()].into_iter().chain(args).collect();
    let mut child = begin(&a, &all);
    let stdout = child.stdout.take().unwrap();
    let (lines, mut heard) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let _ = lines.send(line.unwrap());
        }
    });
    let mut seen = String::new();
    for to in ["tv", "phone", "tv"] {
        // It is at work, and is moved in the midst of it.
        seen += &(heard.recv().await.unwrap() + "\n");
        let moved = softbus(&a, &["move", "render.wasm", to]);
        assert!(moved.status.success(), "{}\n{}\n{}", text(&moved.stderr), a.log(), b.log());
    }
    while let Some(line) = heard.recv().await {
        seen += &(line + "\n");
    }
    let done = blocking(move || child.wait_with_output().unwrap()).await;
    let said = text(&done.stderr);
    assert!(done.status.success(), "{said}\n{}\n{}", a.log(), b.log());
    assert_eq!(seen, printed);
    assert_eq!(std::fs::read(out.join("picture.ppm")).unwrap(), picture, "as if it had never moved");
    assert_eq!(said.matches("stood still for").count(), 3, "{said}");
}

/// The device that runs it is lost: another goes on from a checkpoint, and nothing is printed twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_survives_the_loss_of_its_device() {
    let home = home();
    let mut nodes = Vec::new();
    for name in ["phone", "tv", "car"] {
        let config = "[tasks]\ncheckpoint_every_ms = 200\n";
        nodes.push(Node::start(home.path(), name, How::loopback().config(config)).await);
    }
    nodes[0].found().await;
    for other in 1..3 {
        nodes[0].admit(&nodes[other]).await;
    }
    for node in &nodes {
        for other in nodes.iter().filter(|other| other.id != node.id) {
            node.until_online(other).await;
        }
    }
    let out = home.path().join("out");
    let (width, height, most) = (300, 400, 3000);
    let (printed, picture) = blocking(move || rendered(width, height, most)).await;
    let render = guest("render.wasm");
    let args =
        ["--arg", "300", "--arg", "400", "--arg", "3000", "--stay", "--on", "tv", "--policy", "quorum"];
    let all: Vec<&str> = ["run", &render, "--out", out.to_str().unwrap()].into_iter().chain(args).collect();
    let mut child = begin(&nodes[0], &all);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (mut seen, stdout) = blocking(move || {
        let mut seen = String::new();
        stdout.read_line(&mut seen).unwrap();
        (seen, stdout)
    })
    .await;
    nodes[1].kill();
    seen += &blocking(move || std::io::read_to_string(stdout).unwrap()).await;
    let done = blocking(move || child.wait_with_output().unwrap()).await;
    let said = text(&done.stderr);
    assert!(done.status.success(), "{said}\n{}\n{}", nodes[0].log(), nodes[2].log());
    assert_eq!(seen, printed, "{said}");
    assert_eq!(std::fs::read(out.join("picture.ppm")).unwrap(), picture);
    assert!(said.contains("was lost"), "{said}");
}
