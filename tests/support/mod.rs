//! What whole-system tests share: nodes as processes of the real program, spoken to over their control sockets.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test outside of the seam, and says why it is skipped"
)]

pub mod lab;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use softbus::task::Buffer;
use softbus::{StepContext, Task};
use softbus_cli::control::{
    CircleView, Client, DevicesView, Event, PairTerms, PairingView, PresenceView, Request, Response, Step,
    Stream, TaskRequest, TaskView, WorkRequest,
};
use softbus_cli::failure::Failure;
use softbus_cli::tasks::{Checksum, Job, Primes};
use softbus_core::wire::task_control::{PolicyKind, TaskState};
use softbus_core::{DeviceId, TaskId};

/// Longest wait for anything. Generous: these machines are shared; what is late by that much is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A node: one process of the program. Killed and reaped when dropped.
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: DeviceId,
    /// Its data folder.
    pub data: PathBuf,
    /// Speaks to it.
    pub client: Client,
    child: Child,
    how: How,
}

/// How a node is started.
#[derive(Clone)]
pub struct How {
    /// The host it runs on; `None`: this machine, on loopback.
    pub host: Option<lab::Host>,
    /// Configuration lines.
    pub config: String,
    /// Further arguments of `up`.
    pub args: Vec<String>,
}

impl How {
    /// On this machine's loopback.
    pub fn loopback() -> Self {
        Self { host: None, config: String::new(), args: vec!["--bind".into(), "loopback".into()] }
    }

    /// On a host of a lab.
    pub fn on(host: &lab::Host) -> Self {
        Self { host: Some(host.clone()), config: String::new(), args: Vec::new() }
    }

    /// With configuration.
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        self.config.push_str(text);
        self
    }

    /// With a further argument of `up`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }
}

impl Node {
    /// Starts a node with its data below `home` and waits until it takes commands.
    pub async fn start(home: &Path, name: &str, how: How) -> Self {
        let data = home.join(name);
        let config = home.join(format!("{name}.toml"));
        std::fs::write(&config, format!("[node]\nname = \"{name}\"\n{}", how.config))
            .expect("write configuration");
        let child = spawn(&data, &config, &how);
        let client = Client::new(&data);
        let mut node = Self { name: name.into(), id: DeviceId([0; 32]), data, client, child, how };
        node.id = node.wait_ready().await;
        node
    }

    async fn wait_ready(&mut self) -> DeviceId {
        let start = Instant::now();
        loop {
            if let Ok(Response::Status(status)) = self.client.call(Request::Status {}).await {
                return status.id;
            }
            if let Some(status) = self.child.try_wait().expect("state of the child") {
                panic!("{} ended at its start with {status}:\n{}", self.name, self.log());
            }
            assert!(start.elapsed() < PATIENCE, "{} does not take commands:\n{}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    /// SIGKILL, and wait until it is gone. Works on a stopped process too.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on its folder.
    pub async fn restart(&mut self) {
        self.kill();
        let config = self.data.with_extension("toml");
        self.child = spawn(&self.data, &config, &self.how);
        let id = self.wait_ready().await;
        assert_eq!(id, self.id, "the key survives a restart");
    }

    /// Asks it to end politely, and waits until it has.
    pub async fn down(&mut self) {
        let _ = self.client.call(Request::Down { now: false }).await;
        let start = Instant::now();
        while self.child.try_wait().expect("state of the child").is_none() {
            assert!(start.elapsed() < PATIENCE, "{} does not end:\n{}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All devices, as it sees them.
    pub async fn devices(&self) -> DevicesView {
        match self.client.call(Request::Devices {}).await {
            Ok(Response::Devices(view)) => view,
            other => panic!("{}: devices: {other:?}", self.name),
        }
    }

    /// Waits until its view of the devices is as wanted.
    pub async fn until(&self, what: &str, so: impl Fn(&DevicesView) -> bool) -> DevicesView {
        let start = Instant::now();
        loop {
            let view = self.devices().await;
            if so(&view) {
                return view;
            }
            assert!(start.elapsed() < PATIENCE, "{}: not {what}: {view:#?}\n{}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until it has a live link with another.
    pub async fn until_online(&self, other: &Self) {
        self.until(&format!("linked with {}", other.name), |view| {
            presence(view, other.id) == Some(PresenceView::Online)
        })
        .await;
    }

    /// Waits until another is gone for it.
    pub async fn until_offline(&self, other: &Self) {
        self.until(&format!("rid of {}", other.name), |view| {
            presence(view, other.id).is_none_or(|p| p == PresenceView::Offline)
        })
        .await;
    }

    /// Pairs with a device that `self`, an owner, admits: it shows a PIN, which is entered here.
    pub async fn admit(&self, joiner: &Self) {
        let (mut shown, pin) = joiner.show_pin().await;
        // A device tells its id to strangers only while its pairing is open.
        self.until_nearby(joiner).await;
        self.enter(joiner, &joiner.id.to_string(), &pin, &mut shown).await;
    }

    /// Like [`Node::admit`], by address.
    pub async fn admit_at(&self, joiner: &Self, address: &str) {
        let (mut shown, pin) = joiner.show_pin().await;
        self.enter(joiner, address, &pin, &mut shown).await;
    }

    /// Enters the PIN that `joiner` shows, and waits until both agree.
    pub async fn enter(&self, joiner: &Self, with: &str, pin: &str, shown: &mut Stream) {
        let paired = self.pair(with, pin).await;
        assert!(
            matches!(&paired, Ok(Response::Paired(p)) if p.device == joiner.id),
            "{paired:?}\n{}\n{}",
            self.log(),
            joiner.log()
        );
        loop {
            if let Step::Done(reply) = shown.next().await.expect("the other side agrees") {
                assert!(matches!(reply.response, Response::Paired(_)), "{:?}", reply.response);
                return;
            }
        }
    }

    /// Waits until discovery sees another and its id.
    pub async fn until_nearby(&self, other: &Self) {
        self.until(&format!("seeing {}", other.name), |view| {
            view.nearby.iter().any(|n| n.id == Some(other.id))
        })
        .await;
    }

    /// Opens pairing here; gives the call and the PIN.
    pub async fn show_pin(&self) -> (Stream, String) {
        let mut shown =
            self.client.stream(Request::OpenPairing(PairTerms::default())).await.expect("open pairing");
        loop {
            match shown.next().await.unwrap_or_else(|e| panic!("the PIN: {e:?}\n{}", self.log())) {
                Step::Event(Event::Pairing(PairingView::Open { pin, .. })) => {
                    return (shown, pin.to_string());
                }
                Step::Event(_) => {}
                Step::Done(reply) => panic!("pairing ended at once: {:?}", reply.response),
            }
        }
    }

    /// Enters a PIN here.
    pub async fn pair(&self, with: &str, pin: &str) -> Result<Response, Failure> {
        let request = Request::Pair { with: with.into(), pin: pin.into(), terms: PairTerms::default() };
        self.client.call(request).await
    }

    /// Founds a circle.
    pub async fn found(&self) -> String {
        match self.client.call(Request::Found { name: "home".into() }).await {
            Ok(Response::Founded(founded)) => founded.recovery_words.to_string(),
            other => panic!("found: {other:?}"),
        }
    }

    /// Its circles.
    pub async fn circles(&self) -> Vec<CircleView> {
        match self.client.call(Request::Circles {}).await {
            Ok(Response::Circles(view)) => view.circles,
            other => panic!("{}: circles: {other:?}\n{}", self.name, self.log()),
        }
    }

    /// Whether another is in a circle of its, as far as it knows.
    pub async fn counts_among(&self, other: DeviceId) -> bool {
        self.circles().await.iter().any(|c| c.members.iter().any(|m| m.device == other))
    }

    /// Submits a task that begins on `on` and is not moved to balance load.
    pub async fn run(&self, work: &Work, policy: PolicyKind, on: &Self) -> TaskView {
        let request = Request::Run(TaskRequest {
            work: WorkRequest {
                task_type: work.kind.into(),
                params: work.job.params.clone(),
                ..WorkRequest::default()
            },
            policy,
            replicas: None,
            start_on: Some(on.id.to_string()),
            stay: true,
            name: None,
            share: Vec::new(),
        });
        match self.client.call_with(request, &work.job.file.0).await.map(|reply| reply.response) {
            Ok(Response::Submitted(submitted)) => submitted.task,
            other => panic!("run: {other:?}\n{}", self.log()),
        }
    }

    /// A task, as it sees it.
    pub async fn task(&self, id: TaskId) -> Option<TaskView> {
        match self.client.call(Request::Tasks { task: Some(id.to_string()) }).await {
            Ok(Response::Tasks(tasks)) => tasks.into_iter().find(|t| t.id == id),
            _ => None,
        }
    }

    /// Waits until a task is as wanted.
    pub async fn until_task(&self, id: TaskId, what: &str, so: impl Fn(&TaskView) -> bool) -> TaskView {
        let start = Instant::now();
        loop {
            let task = self.task(id).await;
            if let Some(task) = task.as_ref().filter(|t| so(t)) {
                return task.clone();
            }
            assert!(
                start.elapsed() < PATIENCE * 2,
                "{}: task not {what}: {task:#?}\n{}",
                self.name,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a task is done, and checks its result.
    pub async fn until_done(&self, id: TaskId, work: &Work) -> TaskView {
        let ended = self.until_task(id, "done", |t| t.state.is_final()).await;
        assert_eq!(ended.state, TaskState::Done, "{}: {ended:#?}\n{}", self.name, self.log());
        let result = self.result(id).await;
        assert_eq!(
            String::from_utf8_lossy(&result),
            String::from_utf8_lossy(&work.result()),
            "{}: not the result of the task that never moved: {ended:#?}",
            self.name
        );
        ended
    }

    /// The result of a finished task.
    pub async fn result(&self, id: TaskId) -> Vec<u8> {
        let reply = self.client.call_with(Request::Result { task: id.to_string() }, &[]).await;
        reply.unwrap_or_else(|e| panic!("{}: result: {e:?}\n{}", self.name, self.log())).body
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid() as i32).expect("a process");
        rustix::process::kill_process(pid, signal).expect("a process of ours");
    }

    /// Its resident memory in bytes (Linux).
    pub fn resident_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("status of the process");
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
        kib * 1024
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A piece of work for one of the program's task types.
pub struct Work {
    kind: &'static str,
    job: Job,
}

impl Work {
    /// Counts primes: short input, long work.
    pub fn primes(upto: u64) -> Self {
        let params = [("upto".to_string(), upto.to_string())].into();
        Self { kind: "primes/1", job: Job { params, ..Job::default() } }
    }

    /// Hashes: all of the input is part of the state that travels.
    pub fn checksum(bytes: usize, rounds: u32) -> Self {
        let mut x = 1u32;
        let file: Vec<u8> = std::iter::repeat_with(|| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .take(bytes)
        .collect();
        let params = [("rounds".to_string(), rounds.to_string())].into();
        Self { kind: "checksum/1", job: Job { file: Buffer(file), params } }
    }

    /// What comes of it where nothing happens to it.
    pub fn result(&self) -> Vec<u8> {
        match self.kind {
            "primes/1" => finish(Primes::start(self.job.clone()).expect("a good job")),
            _ => finish(Checksum::start(self.job.clone()).expect("a good job")),
        }
    }
}

fn finish<T: Task<Output = Buffer>>(mut task: T) -> Vec<u8> {
    loop {
        let mut cx = StepContext::detached(u64::MAX);
        if let softbus::Step::Done(out) = task.step(&mut cx).expect("it does not fail") {
            return out.0;
        }
    }
}

/// How a device stands in a view.
pub fn presence(view: &DevicesView, id: DeviceId) -> Option<PresenceView> {
    view.devices.iter().find(|d| d.id == id).map(|d| d.presence)
}

/// A folder for one test, with a path short enough for sockets in it.
pub fn home() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("sbt").tempdir().expect("a temporary folder")
}

fn spawn(data: &Path, config: &Path, how: &How) -> Child {
    let program = env!("CARGO_BIN_EXE_softbus");
    let mut command = match &how.host {
        Some(host) => host.command(program),
        None => Command::new(program),
    };
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(data.with_extension("log"))
        .expect("a log file");
    command
        .arg("--data-dir")
        .arg(data)
        .args(["--log", "info,softbus_net=debug,softbus_task=debug"])
        .arg("up")
        .arg("--config")
        .arg(config)
        // Should the test die without a word, the kernel ends its nodes too.
        .args(["--die-with-parent", &std::process::id().to_string()])
        .args(&how.args)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("start the program")
}

/// A command to a node, as a person types it.
pub fn softbus(node: &Node, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_softbus"))
        .arg("--data-dir")
        .arg(&node.data)
        .args(args)
        .env_remove("SOFTBUS_DATA_DIR")
        .env_remove("SOFTBUS_LOG")
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}
