//! Two nodes on this machine's loopback, used as a person uses them: by the commands of the program.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "helpers of tests; the real world, from outside"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything. Generous: the machine is shared, and what is late by that much is broken.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A process that is killed and reaped, whatever becomes of the test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Reaped {
    fn wait(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "a process does not end");
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// A node and its data folder.
struct Node {
    data: PathBuf,
    log: PathBuf,
    process: Reaped,
}

impl Node {
    fn start(data: PathBuf, name: &str) -> Self {
        let log = data.with_extension("log");
        let process = Self::spawn(&data, &log, name);
        let node = Self { data, log, process };
        node.until("up", &["status"], |_| true);
        node
    }

    fn spawn(data: &Path, log: &Path, name: &str) -> Reaped {
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let child = command(data)
            .args(["up", "--bind", "loopback", "--name", name, "--kind", "laptop", "--log", "info"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Reaped(child)
    }

    fn command(&self, args: &[&str]) -> Output {
        command(&self.data).args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command that must work, and gives what it says as JSON.
    fn json(&self, args: &[&str]) -> Value {
        let output = command(&self.data).args(args).arg("--json").stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}\n{}", stderr(&output), self.log());
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{args:?}: {e}: {}", stdout(&output)))
    }

    /// Repeats a command until its answer is as wanted.
    fn until(&self, what: &str, args: &[&str], so: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let output = command(&self.data).args(args).arg("--json").stdin(Stdio::null()).output().unwrap();
            let answer =
                serde_json::from_slice::<Value>(&output.stdout).ok().filter(|_| output.status.success());
            match answer {
                Some(answer) if so(&answer) => return answer,
                answer => {
                    let text = format!("{answer:#?} {}", stderr(&output));
                    assert!(start.elapsed() < PATIENCE, "not {what}: {args:?}: {text}\n{}", self.log());
                }
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn id(&self) -> String {
        self.json(&["key"])["id"].as_str().unwrap().to_string()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until another device is seen so.
    fn until_presence(&self, id: &str, presence: &str) {
        self.until(&format!("{presence}: {id}"), &["devices"], |view| {
            view["devices"].as_array().unwrap().iter().any(|d| d["id"] == id && d["presence"] == presence)
        });
    }

    /// Waits until discovery sees a stranger of that name which tells its id.
    fn until_nearby(&self, name: &str) {
        self.until(&format!("seeing {name}"), &["devices"], |view| {
            view["nearby"].as_array().unwrap().iter().any(|d| d["name"] == name && d["id"].is_string())
        });
    }

    /// Opens pairing; the process that shows the PIN, its further output, and the PIN.
    fn show_pin(&self) -> (Reaped, BufReader<std::process::ChildStdout>, String) {
        self.show_pin_with(&[])
    }

    /// The same for a circle, where it is in several.
    fn show_pin_of(&self, circle: &str) -> (Reaped, BufReader<std::process::ChildStdout>, String) {
        self.show_pin_with(&["--circle", circle])
    }

    fn show_pin_with(&self, args: &[&str]) -> (Reaped, BufReader<std::process::ChildStdout>, String) {
        let mut child = command(&self.data)
            .args(["pair", "--json"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let event: Value =
            serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}\n{}", self.log()));
        let pin = event["pairing"]["pin"].as_str().unwrap().to_string();
        (Reaped(child), out, pin)
    }

    fn kill_9(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }
}

fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softbus"));
    command.arg("--data-dir").arg(data).env_remove("SOFTBUS_DATA_DIR").env_remove("SOFTBUS_LOG");
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn home() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("sb2").tempdir().unwrap()
}

/// A name that no other test's node has: discovery on loopback is shared by all of them.
fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

#[test]
fn pair_use_kill_restart_and_part() {
    let home = home();
    let (phone_name, tv_name) = (unique("phone"), unique("tv"));
    let phone = Node::start(home.path().join("phone"), &phone_name);
    let mut tv = Node::start(home.path().join("tv"), &tv_name);
    let (phone_id, tv_id) = (phone.id(), tv.id());

    // Strangers see each other; nothing is open.
    phone.until_nearby(&tv_name);
    tv.until_nearby(&phone_name);
    let closed = tv.command(&["pair", &phone_name, "--pin", "123456"]);
    assert_eq!(closed.status.code(), Some(5), "{}", stderr(&closed));
    assert!(stderr(&closed).contains("softbus pair"), "what to do next: {}", stderr(&closed));

    // A wrong PIN, then the right one.
    let founded = phone.json(&["circle", "found", "our home"]);
    assert_eq!(founded["recovery_words"].as_str().unwrap().split_whitespace().count(), 24);
    let (mut shown, mut out, pin) = phone.show_pin();
    let wrong = if pin == "000000" { "000001" } else { "000000" };
    tv.until_nearby(&phone_name);
    let refused = tv.command(&["pair", &phone_name, "--pin", wrong]);
    assert_eq!(refused.status.code(), Some(5), "{}", stderr(&refused));
    let paired = tv.json(&["pair", &phone_name, "--pin", &pin]);
    assert_eq!(
        (paired["device"].as_str(), paired["circle_name"].as_str()),
        (Some(&*phone_id), Some("our home"))
    );
    assert_eq!(shown.wait(), Some(0));
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    let last: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!(last["device"], tv_id.as_str());

    // One mesh, one circle; profiles spread.
    phone.until_presence(&tv_id, "online");
    tv.until_presence(&phone_id, "online");
    tv.until("in possession of the phone's profile", &["devices"], |view| {
        view["devices"]
            .as_array()
            .unwrap()
            .iter()
            .any(|d| d["name"] == phone_name.as_str() && d["role"] == "owner")
    });
    let circle = tv.json(&["circle"]);
    assert_eq!(circle["circles"][0]["members"].as_array().unwrap().len(), 2);

    // Not an owner.
    let not_owner = tv.command(&["circle", "set-role", &phone_name, "guest"]);
    assert_eq!(not_owner.status.code(), Some(5), "{}", stderr(&not_owner));

    // A task that one submits and the other runs, its result through either.
    let out_file = home.path().join("primes.txt");
    let ran = phone.command(&[
        "run",
        "primes/1",
        "--param",
        "upto=200000",
        "--on",
        &tv_name,
        "--out",
        out_file.to_str().unwrap(),
    ]);
    assert_eq!(ran.status.code(), Some(0), "{}\n{}", stderr(&ran), phone.log());
    let primes = std::fs::read_to_string(&out_file).unwrap();
    assert!(primes.starts_with("primes up to 200000: 17984\n"), "{primes}");
    let tasks = phone.json(&["tasks"]);
    let task = &tasks[0];
    assert_eq!((task["state"].as_str(), task["runner"].as_str()), (Some("done"), Some(&*tv_id)), "{task:#}");
    let id = task["id"].as_str().unwrap();
    let again = tv.command(&["result", &id[..8], "--out", "-"]);
    assert_eq!(stdout(&again), primes, "{}", stderr(&again));
    let failing = phone.command(&["run", "picture/1", "--input", out_file.to_str().unwrap()]);
    assert_eq!(failing.status.code(), Some(2), "no picture, told at once: {}", stderr(&failing));
    let unknown = phone.command(&["run", "dreams/1"]);
    assert!(matches!(unknown.status.code(), Some(4 | 7)), "{}", stderr(&unknown));

    // Killed and started again: same key, same trust, linked again.
    tv.kill_9();
    phone.until_presence(&tv_id, "offline");
    tv.process = Node::spawn(&tv.data, &tv.log, &tv_name);
    tv.until("up again", &["status"], |_| true);
    assert_eq!(tv.id(), tv_id);
    phone.until_presence(&tv_id, "online");
    assert_eq!(tv.json(&["circle"]), circle, "the circle survives");

    // Removed: out on both sides.
    let removed = phone.command(&["unpair", &tv_name]);
    assert_eq!(removed.status.code(), Some(0), "{}", stderr(&removed));
    let alone = |view: &Value| view["devices"].as_array().unwrap().len() == 1;
    phone.until("rid of the tv", &["devices"], alone);
    tv.until("rid of the phone", &["devices"], alone);
    let gone = phone.command(&["unpair", &tv_name]);
    assert_eq!(gone.status.code(), Some(4), "{}", stderr(&gone));
}

#[test]
fn a_second_node_on_one_folder_is_refused_and_a_killed_one_leaves_no_trace() {
    let home = home();
    let mut first = Node::start(home.path().join("a"), &unique("first"));
    let second = first.command(&["up", "--bind", "loopback"]);
    assert_eq!(second.status.code(), Some(7), "{}", stderr(&second));
    assert!(
        stderr(&second).contains("in use") && stderr(&second).contains("--data-dir"),
        "{}",
        stderr(&second)
    );

    // The socket of a killed node is replaced.
    let id = first.id();
    first.kill_9();
    assert!(first.data.join("control.sock").exists());
    assert_eq!(first.command(&["status"]).status.code(), Some(3));
    first.process = Node::spawn(&first.data, &first.log, "first");
    first.until("up again", &["status"], |status| status["id"] == id.as_str());

    // `down` ends it well, and takes the socket away.
    let down = first.command(&["down"]);
    assert_eq!(down.status.code(), Some(0), "{}", stderr(&down));
    assert_eq!(first.process.wait(), Some(0), "{}", first.log());
    assert!(!first.data.join("control.sock").exists());

    // So does SIGTERM.
    first.process = Node::spawn(&first.data, &first.log, "first");
    first.until("up a third time", &["status"], |_| true);
    let pid = rustix::process::Pid::from_raw(first.process.0.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(first.process.wait(), Some(0), "{}", first.log());
}

#[test]
fn what_is_lost_of_a_data_folder_is_told() {
    let home = home();
    let mut node = Node::start(home.path().join("a"), &unique("loser"));
    let id = node.id();
    node.kill_9();
    let secret = node.data.join("secrets/tasks.key");
    std::fs::write(&secret, b"short").unwrap();
    let damaged = node.command(&["up", "--bind", "loopback"]);
    assert_eq!(damaged.status.code(), Some(1), "{}", stderr(&damaged));
    assert!(
        stderr(&damaged).contains("tasks.key") && stderr(&damaged).contains("5 bytes"),
        "{}",
        stderr(&damaged)
    );
    assert!(!stderr(&damaged).contains("disk space"), "{}", stderr(&damaged));

    std::fs::remove_file(&secret).unwrap();
    assert!(!node.log().contains("no database"), "{}", node.log());
    std::fs::remove_file(node.data.join("softbus.redb")).unwrap();
    node.process = Node::spawn(&node.data, &node.log, "loser");
    node.until("up again", &["status"], |status| status["id"] == id.as_str());
    assert!(node.log().contains("no database"), "{}", node.log());
}

#[test]
fn a_data_folder_with_a_long_path_works() {
    let home = home();
    let long = home.path().join("x".repeat(90)).join("y".repeat(90));
    std::fs::create_dir_all(long.parent().unwrap()).unwrap();
    let node = Node::start(long, &unique("long"));
    assert_eq!(node.command(&["devices"]).status.code(), Some(0));
    assert_eq!(node.command(&["down"]).status.code(), Some(0));
}

#[test]
fn others_cannot_use_the_socket_and_hostile_bytes_do_no_harm() {
    use std::os::unix::fs::MetadataExt;
    let home = home();
    let node = Node::start(home.path().join("a"), &unique("a"));
    let socket = node.data.join("control.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&node.data).unwrap().mode() & 0o077, 0);

    let say = |bytes: &[u8]| -> String {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The node may close before all is written.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let long = vec![b'x'; 9 << 20];
    let deep = format!("{}\n", "[".repeat(1 << 20));
    let cases: [(&[u8], &str); 8] = [
        (b"\n", "not understood"),
        (b"hello\n", "not understood"),
        (b"\xff\xfe\x00\n", "not understood"),
        (b"{\"v\":99,\"request\":{\"do\":\"status\"}}\n", "version 99"),
        (b"{\"v\":1,\"request\":{\"do\":\"fly\"}}\n", "not understood"),
        (b"{\"v\":1,\"body\":99999999999,\"request\":{\"do\":\"status\"}}\n", "at most"),
        (&long, "bytes"),
        (deep.as_bytes(), "not understood"),
    ];
    for (bytes, expected) in cases {
        let answer = say(bytes);
        assert!(answer.contains("\"failed\"") && answer.contains(expected), "{expected}: {answer}");
        assert!(answer.len() < 2000, "an answer to nonsense is short");
    }
    assert_eq!(
        say(b"{\"v\":1,\"request\":"),
        "{\"is\":\"failed\",\"v\":1,\"failure\":{\"kind\":\"failed\",\"message\":\"control socket: the connection ended in the middle of a message\"}}\n"
    );
    // Foreign text of any length where names are expected.
    for request in ["unpair", "move", "pair"] {
        let name = "n".repeat(4000);
        let args: &[&str] =
            if request == "pair" { &[request, &name, "--pin", "123456"] } else { &[request, &name] };
        let output = node.command(args);
        assert_eq!(output.status.code(), Some(2), "{request}: {}", stderr(&output));
        assert!(stderr(&output).len() < 2000);
    }
    // Silent and half-open clients do not keep others out.
    let idle: Vec<UnixStream> = (0..20).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    assert_eq!(node.command(&["status"]).status.code(), Some(0));
    drop(idle);
    assert!(!node.log().contains("panicked"), "{}", node.log());
}

/// Bytes as JSON might hold them: text, hexadecimal, a list of numbers, base64.
fn spellings(secret: &[u8]) -> Vec<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hex: String = secret.iter().map(|b| format!("{b:02x}")).collect();
    let list: Vec<String> = secret.iter().map(u8::to_string).collect();
    // Whole groups only: how the rest is padded does not matter then.
    let groups = secret.chunks_exact(3).flat_map(|three| {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift) as usize & 63]))
    });
    let base64: String = groups.collect();
    let url = base64.replace('+', "-").replace('/', "_");
    let text = String::from_utf8(secret.to_vec()).ok().map(|text| text.replace(char::is_whitespace, ""));
    text.into_iter().chain([hex.to_uppercase(), hex, list.join(","), base64, url]).collect()
}

/// The secret that the circles' members recognise each other by.
fn circle_secrets(data: &Path) -> Vec<Vec<u8>> {
    use softbus::net::Judge as _;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let bus = softbus::Bus::builder()
            .data_dir(data)
            .bind(softbus::Bind::Loopback)
            .discovery(false)
            .start()
            .await
            .unwrap();
        let secrets = bus.circles().tag_secrets().iter().map(|tag| tag.secret.to_vec()).collect();
        bus.shutdown().await;
        secrets
    })
}

#[test]
fn the_doctors_bundle_holds_no_secret() {
    let home = home();
    let node = Node::start(home.path().join("a"), &unique("a"));
    let shown_words = node.json(&["circle", "found", "home"]);
    // Words that nobody has seen, for they wait in the data folder.
    let mut control = UnixStream::connect(node.data.join("control.sock")).unwrap();
    control.write_all(b"{\"v\":1,\"request\":{\"do\":\"found\",\"name\":\"second\"}}\n").unwrap();
    let mut founded = String::new();
    BufReader::new(control).read_line(&mut founded).unwrap();
    let founded: Value = serde_json::from_str(&founded).unwrap();
    let waiting_words = &founded["response"]["founded"];
    let link = node.json(&["pair", "--qr", "--circle", "home"])["link"].as_str().unwrap().to_owned();
    let (shown, _out, pin) = node.show_pin_of("home");
    let config = home.path().join("c.toml");
    std::fs::write(&config, "[network]\nbind = \"loopback\"\n").unwrap();
    let bundle = home.path().join("bundle.json");
    let output =
        node.command(&["doctor", "--bundle", bundle.to_str().unwrap(), "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let text = std::fs::read_to_string(&bundle).unwrap();
    let parsed: Value = serde_json::from_str(&text).unwrap();
    assert!(parsed["node"]["status"]["id"].is_string(), "it tells something");
    assert!(parsed["configuration"]["text"].as_str().unwrap().contains("loopback"), "{text}");
    assert!(text.contains("127.0.0.1:"), "addresses stay");

    let mut secrets: Vec<Vec<u8>> = Vec::new();
    let key = std::fs::read(node.data.join("secrets/device.key")).unwrap();
    secrets.push(key[key.len().saturating_sub(40)..].to_vec());
    // The seed itself, wherever it stands in the file.
    secrets.extend(key.windows(16).step_by(4).map(<[u8]>::to_vec));
    assert!(secrets.len() > 4, "there is a key to look for");
    for founded in [&shown_words, waiting_words] {
        let words: Vec<&str> = founded["recovery_words"].as_str().unwrap().split_whitespace().collect();
        secrets.extend(words.chunks(4).map(|four| four.join(" ").into_bytes()));
    }
    secrets.push(link.split('&').find_map(|part| part.strip_prefix("s=")).unwrap().as_bytes().to_vec());
    drop(shown);
    assert_eq!(node.command(&["down"]).status.code(), Some(0));
    let circles = circle_secrets(&node.data);
    assert_eq!(circles.len(), 2);
    secrets.extend(circles);
    let compact = |text: &str| text.replace(char::is_whitespace, "");
    let (bundle, log) = (compact(&text), compact(&node.log()));
    for secret in &secrets {
        for spelling in spellings(secret) {
            assert!(!bundle.contains(&spelling), "a secret is in the bundle: {spelling}");
            assert!(!log.contains(&spelling), "a secret is in the log: {spelling}");
        }
    }
    assert!(!text.contains(&format!("\"{pin}\"")), "the PIN is in the bundle");
    assert!(!node.log().contains(&pin), "the PIN is in the log");
}

#[test]
fn keys_are_backed_up_and_restored() {
    let home = home();
    let mut node = Node::start(home.path().join("a"), &unique("a"));
    let id = node.id();
    let phrase = home.path().join("phrase");
    std::fs::write(&phrase, "correct horse battery staple\n").unwrap();
    let file = home.path().join("key.softbus");
    let (file, phrase) = (file.to_str().unwrap(), phrase.to_str().unwrap());
    let made = node.command(&["key", "backup", file, "--passphrase-file", phrase]);
    assert_eq!(made.status.code(), Some(0), "beside the running node: {}", stderr(&made));
    let twice = node.command(&["key", "backup", file, "--passphrase-file", phrase]);
    assert_eq!(twice.status.code(), Some(7), "never over another file: {}", stderr(&twice));
    let busy = node.command(&["key", "restore", file, "--passphrase-file", phrase]);
    assert_eq!(busy.status.code(), Some(7), "not under a running node: {}", stderr(&busy));
    assert_eq!(node.command(&["down"]).status.code(), Some(0));
    node.process.wait();

    let fresh = home.path().join("fresh");
    let run = |data: &Path, args: &[&str]| command(data).args(args).stdin(Stdio::null()).output().unwrap();
    let wrong = home.path().join("wrong");
    std::fs::write(&wrong, "wrong horse battery staple\n").unwrap();
    let refused = run(&fresh, &["key", "restore", file, "--passphrase-file", wrong.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(5), "{}", stderr(&refused));
    // A lost key is not replaced by a new one where a device lived; put back, it is the same device.
    std::fs::remove_file(node.data.join("secrets/device.key")).unwrap();
    let lost = run(&node.data, &["up", "--bind", "loopback"]);
    assert_eq!(lost.status.code(), Some(7), "{}", stderr(&lost));
    assert!(stderr(&lost).contains("softbus key restore"), "{}", stderr(&lost));
    assert!(!node.data.join("secrets/device.key").exists());
    let back = run(&node.data, &["key", "restore", file, "--passphrase-file", phrase]);
    assert_eq!(back.status.code(), Some(0), "{}", stderr(&back));
    assert_eq!(stdout(&run(&node.data, &["key"])).trim(), id);

    let restored = run(&fresh, &["key", "restore", file, "--passphrase-file", phrase]);
    assert_eq!(restored.status.code(), Some(0), "{}", stderr(&restored));
    assert_eq!(stdout(&run(&fresh, &["key"])).trim(), id);

    // A key that others can read is not used.
    use std::os::unix::fs::PermissionsExt;
    let key = fresh.join("secrets/device.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(run(&fresh, &["key"]).status.code(), Some(5));
    let up = run(&fresh, &["up", "--bind", "loopback"]);
    assert_eq!(up.status.code(), Some(5), "{}", stderr(&up));
    assert!(stderr(&up).contains("chmod 600"), "{}", stderr(&up));
}

#[test]
fn watching_tells_what_changes_and_links_pair_too() {
    let home = home();
    let (a_name, b_name) = (unique("wa"), unique("wb"));
    let a = Node::start(home.path().join("a"), &a_name);
    let b = Node::start(home.path().join("b"), &b_name);
    let mut child = command(&a.data)
        .args(["devices", "--watch", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let watching = Reaped(child);
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert!(first["devices"]["devices"].is_array(), "a snapshot first: {first}");

    // By link, on terms.
    a.json(&["circle", "found", "home"]);
    let invitation = a.json(&["pair", "--qr", "--role", "guest", "--service", "camera/1", "--expires", "2d"]);
    let link = invitation["link"].as_str().unwrap();
    assert!(link.starts_with("softbus:"));
    // Given where nobody else sees it.
    let mut paired = command(&b.data)
        .args(["pair", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    paired.stdin.take().unwrap().write_all(format!("{link}\n").as_bytes()).unwrap();
    let paired = paired.wait_with_output().unwrap();
    assert!(paired.status.success(), "{}\n{}", stderr(&paired), b.log());
    let paired: Value = serde_json::from_slice(&paired.stdout).unwrap();
    assert_eq!(paired["device"], a.id().as_str());
    let twice = b.command(&["pair", link]);
    assert_ne!(twice.status.code(), Some(0), "a link pairs once");
    let circle =
        a.until("with the guest", &["circle"], |c| c["circles"][0]["members"].as_array().unwrap().len() == 2);
    let b_id = b.id();
    let members = circle["circles"][0]["members"].as_array().unwrap();
    let guest = members.iter().find(|m| m["device"] == b_id.as_str()).unwrap();
    assert_eq!((guest["role"].as_str(), guest["services"][0].as_str()), (Some("guest"), Some("camera/1")));
    assert!(guest["expires_ms"].is_u64());

    // The watcher hears of it.
    let heard = lines.any(|line| {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        event["change"]["device"] == b_id.as_str()
    });
    assert!(heard);
    drop(watching);

    // Rules of this device.
    let none = a.command(&["circle", "rules", "deny", "checksum/1", "--device", "nobody-here"]);
    assert_eq!(none.status.code(), Some(4));
    a.json(&["circle", "rules", "deny", "camera/1", "--device", &b_id]);
    let rules = a.json(&["circle", "rules"]);
    assert_eq!(
        (rules[0]["service"].as_str(), rules[0]["deny"][0].as_str()),
        (Some("camera/1"), Some(&*b_id))
    );
    a.json(&["circle", "rules", "reset", "camera/1"]);
    assert_eq!(a.json(&["circle", "rules"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_task_moves_there_and_back_survives_a_shutdown_and_is_adopted_after_a_loss() {
    let home = home();
    let (phone_name, tv_name) = (unique("mp"), unique("mt"));
    let phone = Node::start(home.path().join("phone"), &phone_name);
    let mut tv = Node::start(home.path().join("tv"), &tv_name);
    let (phone_id, tv_id) = (phone.id(), tv.id());
    phone.json(&["circle", "found", "home"]);
    let (mut shown, _out, pin) = phone.show_pin();
    tv.until_nearby(&phone_name);
    tv.json(&["pair", &phone_name, "--pin", &pin]);
    assert_eq!(shown.wait(), Some(0));
    phone.until_presence(&tv_id, "online");
    tv.until_presence(&phone_id, "online");
    // Both know what the other can run.
    phone.until("in possession of the tv's profile", &["devices"], |view| {
        view["devices"]
            .as_array()
            .unwrap()
            .iter()
            .any(|d| d["id"] == tv_id.as_str() && d["profile"]["now"].is_object())
    });

    // Long enough to be moved about; cancelled in the end. `--stay`: nobody but this test moves it.
    let submitted =
        phone.json(&["run", "primes/1", "--param", "upto=90000000000", "--on", &tv_name, "--stay"]);
    let id = submitted["task"]["id"].as_str().unwrap();
    let runs_on = |runner: &str| {
        let runner = runner.to_string();
        move |task: &Value| task["state"] == "running" && task["runner"] == runner.as_str()
    };
    // With a checkpoint: before its first one a task cannot be handed over.
    phone.until("running on the tv", &["tasks", id], |task| runs_on(&tv_id)(task) && task["checkpoint"] != 0);
    let moved = phone.json(&["move", id, &phone_name, "--reason", "a walk"]);
    assert_eq!(moved["runner"], phone_id.as_str());
    let last = moved["moves"].as_array().unwrap().last().unwrap();
    assert_eq!(last["because"], "a walk", "{last}");
    let back = phone.json(&["move", id, &tv_name]);
    assert_eq!(back["runner"], tv_id.as_str());
    assert!(back["epoch"].as_u64() > moved["epoch"].as_u64());

    // A graceful end moves it away first.
    assert_eq!(tv.command(&["down"]).status.code(), Some(0), "{}", tv.log());
    assert_eq!(tv.process.wait(), Some(0));
    phone.until("running on the phone", &["tasks", id], runs_on(&phone_id));

    // A loss does not, under policy `owner`: a person may adopt it, knowingly.
    tv.process = Node::spawn(&tv.data, &tv.log, &tv_name);
    phone.until_presence(&tv_id, "online");
    phone.until("on the tv again", &["move", id, &tv_name], runs_on(&tv_id));
    let checkpoint = phone.json(&["tasks", id])["checkpoint"].as_u64();
    phone.until("with a checkpoint here", &["tasks", id], |task| task["checkpoint"].as_u64() > checkpoint);
    tv.kill_9();
    phone.until("known to be lost", &["tasks", id], |task| task["state"] == "lost");
    let asked = phone.command(&["adopt", id]);
    assert_eq!(asked.status.code(), Some(7), "{}", stderr(&asked));
    assert!(stderr(&asked).contains("--force"), "{}", stderr(&asked));
    let adopted = phone.json(&["adopt", id, "--force"]);
    assert_eq!(adopted["branch"], 1, "{adopted:#}");
    phone.until("going on here", &["tasks", id], runs_on(&phone_id));

    // Back again, the lost device learns that what it had does not count, and says so.
    tv.process = Node::spawn(&tv.data, &tv.log, &tv_name);
    let told = tv.until("told of the fork", &["tasks", id], |task| task["fork"]["branch"] == 1);
    assert_eq!(told["runner"], phone_id.as_str(), "{told:#}");
    assert!(told["fork"]["lost"].is_u64(), "it had kept a checkpoint: {told:#}");
    for output in [tv.command(&["tasks"]), tv.command(&["tasks", id])] {
        let said = stdout(&output) + &stderr(&output);
        assert!(
            said.contains("adopted as branch 1: what the branch before did")
                && said.contains("kept here of it: checkpoint"),
            "{said}"
        );
    }
    let mut watch = command(&tv.data).args(["tasks", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let _watch = Reaped(watch);
    let forked = lines.map(Result::unwrap).find(|line| line.contains("adopted as branch 1"));
    assert!(forked.is_some());
    assert_eq!(phone.command(&["cancel", id]).status.code(), Some(0));
    phone.until("cancelled", &["tasks", id], |task| task["state"] == "cancelled");
    let none = phone.command(&["result", id, "--out", "-"]);
    assert_eq!(none.status.code(), Some(7), "{}", stderr(&none));
}
