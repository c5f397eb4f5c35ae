//! `softbus up`: a node. It builds the bus from the configuration, serves the control socket, and ends well.

mod backend;
mod log;
mod notify;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use softbus::core::WallMs;
use softbus::net::seam::real::SeamError;
use softbus::roster::Declared;
use softbus::task::TasksConfig;
use softbus::wasm::{EngineKind, Turns};
use softbus::{Bind, Bus};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Instrument as _;

use crate::args::UpArgs;
use crate::clock::wall;
use crate::commands::{Context, words};
use crate::config::{Config, Interfaces};
use crate::control::Server;
use crate::failure::{Failure, Kind};
use crate::output::{Paint, clean};
use crate::tasks::{Checksum, Picture, Primes};
use backend::{Backend, bus_failure};
use notify::notify;

pub(crate) use backend::Ending;
pub use log::start_log;

/// How long the end may take beyond the time for moving tasks.
const CLOSE: Duration = Duration::from_secs(10);
/// Longest task lifetime of what a client still reads when the node ends.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// Longest that a node takes to end when told to.
pub(crate) fn ends_within(config: &Config, how: Ending) -> Duration {
    match how {
        Ending::Graceful => Duration::from_secs(config.shutdown_move_s) + CLOSE,
        Ending::Now => CLOSE,
    }
}

/// Runs a node until a signal or `softbus down`.
pub(crate) async fn up(cx: Context, args: UpArgs) -> Result<(), Failure> {
    if let Some(parent) = args.die_with_parent {
        let signal = Some(rustix::process::Signal::KILL);
        rustix::process::set_parent_process_death_signal(signal)
            .map_err(|e| Failure::io("end with the parent process", &e.into()))?;
        // It may have ended before that was said.
        if rustix::process::getppid().is_none_or(|pid| pid.as_raw_nonzero().get() != parent) {
            return Err(Failure::new(Kind::Interrupted, "the process that started this one has ended"));
        }
    }
    let config_file =
        args.config.as_deref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.into()));
    let config = configure(args)?;
    start_log(cx.log.as_deref().unwrap_or(&config.log))?;
    // Before anything is started, so that no signal is lost on the way.
    let mut signals = Signals::new()?;
    let bus = tokio::select! {
        biased;
        _ = signals.next() => return Ok(()),
        bus = start(&cx, &config) => bus?,
    };
    let server = match Server::bind(&cx.data_dir).await {
        Ok(server) => server,
        Err(failure) => {
            bus.shutdown_within(Duration::ZERO).await;
            return Err(failure);
        }
    };
    let backend = Backend::new(bus.clone(), config.clone(), config_file, &cx.data_dir);
    greet(&cx, &config, &bus).await;
    let span = tracing::info_span!("node", device = %bus.id().short());
    live(&cx, &config, bus, server, backend, signals).instrument(span).await;
    Ok(())
}

/// Takes commands until the end, and ends well.
async fn live(
    cx: &Context,
    config: &Config,
    bus: Bus,
    server: Server,
    backend: Backend,
    mut signals: Signals,
) {
    let backend = Arc::new(backend);
    notify("READY=1");

    let mut ending = backend.ending();
    let serve = server.run(Arc::clone(&backend));
    tokio::pin!(serve);
    let how = tokio::select! {
        biased;
        () = signals.next() => Ending::Graceful,
        asked = ending.wait_for(Option::is_some) => asked.ok().and_then(|e| *e).unwrap_or(Ending::Graceful),
        () = &mut serve => Ending::Graceful,
    };
    // Who told the node to end and then closes the terminal wants nothing sooner.
    signals.hangup = None;
    notify("STOPPING=1");
    let drain = match how {
        Ending::Graceful => Duration::from_secs(config.shutdown_move_s),
        Ending::Now => Duration::ZERO,
    };
    if how == Ending::Graceful {
        cx.out.note("shutting down: tasks move to other devices first (once more Ctrl-C stops at once)");
    }
    let close = async {
        // Commands are answered while tasks move away.
        tokio::select! {
            biased;
            () = bus.shutdown_within(drain) => {}
            () = &mut serve => {}
        }
        let _ = tokio::time::timeout(LAST_ANSWERS, &mut serve).await;
    };
    tokio::select! {
        biased;
        () = signals.next() => {
            tracing::warn!("stopped at once; what could not move away goes on at the next start");
        }
        // Somebody lost patience on the way.
        _ = ending.wait_for(|asked| *asked == Some(Ending::Now)), if how == Ending::Graceful => {
            tracing::warn!("stopped at once; what could not move away goes on at the next start");
        }
        closed = tokio::time::timeout(drain + CLOSE, close) => if closed.is_err() {
            tracing::warn!("could not close in time; what could not move away goes on at the next start");
        },
    }
}

/// The configuration file, with what the command line says put over it.
fn configure(args: UpArgs) -> Result<Config, Failure> {
    let mut config = args.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
    config.interfaces = args.bind.unwrap_or(config.interfaces);
    config.port = args.port.unwrap_or(config.port);
    config.name = args.name.or(config.name);
    config.kind = args.kind.or(config.kind);
    config.peers.extend(args.peers);
    config.discovery &= !args.no_discovery;
    Ok(config)
}

async fn start(cx: &Context, config: &Config) -> Result<Bus, Failure> {
    let d = &config.declared;
    let declared = Declared {
        name: config.name.clone(),
        kind: config.kind,
        cores: d.cores,
        memory_bytes: d.memory_bytes,
        accelerators: (!d.accelerators.is_empty()).then(|| d.accelerators.clone()),
        capabilities: (!d.capabilities.is_empty()).then(|| d.capabilities.clone()),
        load_permille: d.load_permille,
        battery_permille: d.battery_permille,
        power: d.power,
        thermal: d.thermal,
        rate_ops_per_s: d.rate_ops_per_s,
        rate_permille: d.rate_permille,
    };
    let tasks = TasksConfig {
        checkpoint_every: Duration::from_millis(config.checkpoint_every_ms),
        replicas: config.replicas,
        quorum_lease: Duration::from_millis(config.quorum_lease_ms),
        rebalance: config.rebalance,
        keep_results: Duration::from_secs(config.keep_results_days * 86_400),
        content_bytes: config.modules_mib << 20,
        drain_patience: Duration::from_secs(config.shutdown_move_s),
        ..TasksConfig::default()
    };
    let mut builder = Bus::builder()
        .data_dir(&cx.data_dir)
        .declare(declared)
        .battery_floor_permille(config.battery_floor_permille)
        .bind(match &config.interfaces {
            Interfaces::All => Bind::All,
            Interfaces::Loopback => Bind::Loopback,
            Interfaces::Named(names) => Bind::Interfaces(names.clone()),
        })
        .port(config.port)
        .discovery(config.discovery)
        .hide(!config.announce_name, !config.announce_kind)
        .link_budget(config.link_budget)
        .silence(
            Duration::from_millis(config.suspect_after_ms),
            Duration::from_millis(config.offline_after_ms),
        )
        .tasks(tasks)
        .task::<Picture>()
        .task::<Primes>()
        .task::<Checksum>()
        .wasm(EngineKind::here(), Turns::Timed);
    for peer in &config.peers {
        builder = builder.static_peer(peer.id, peer.address);
    }
    builder.start().await.map_err(bus_failure)
}

/// Tells a person who this is and what to do next.
async fn greet(cx: &Context, config: &Config, bus: &Bus) {
    let view = bus.watch();
    let own = view.borrow().own().and_then(|own| own.profile.clone());
    let (name, kind) = own.map_or_else(Default::default, |p| (clean(&p.name), p.kind));
    let addresses: Vec<String> = bus.addresses().iter().map(ToString::to_string).collect();
    if cx.out.json {
        let ready = serde_json::json!({ "ready": { "id": bus.id(), "name": name, "kind": kind, "addresses": addresses } });
        let _ = cx.out.json_line(&ready);
        return;
    }
    let circles = bus.circles().circles();
    let now: WallMs = wall();
    let peers = circles.peers(now).len();
    let next = match (circles.circles.is_empty(), peers) {
        (true, _) => "in no circle yet; to pair with another device: `softbus pair` on one, `softbus pair NAME` on the other".to_string(),
        (false, peers) => {
            let names: Vec<String> = circles.circles.values().map(|c| clean(&c.name)).collect();
            format!("in {}, with {peers} other device{}", names.join(", "), if peers == 1 { "" } else { "s" })
        }
    };
    cx.out.note(format!(
        "{} {} ({kind}) is up\n  id         {}\n  addresses  {}\n  data       {}\n  {next}",
        cx.out.paint_err(Paint::Good, "●"),
        cx.out.paint_err(Paint::Strong, &name),
        bus.id(),
        if addresses.is_empty() { "none yet: no interface is up".into() } else { addresses.join(", ") },
        cx.data_dir.display(),
    ));
    if let Interfaces::Named(names) = &config.interfaces {
        for line in missing_interfaces(names) {
            cx.out.note(format!("  {}", cx.out.paint_err(Paint::Warn, &line)));
        }
    }
    let waiting = bus.circles().words_waiting().await.unwrap_or_default();
    for circle in waiting.iter().filter_map(|founded| circles.circles.get(&founded.circle)) {
        cx.out.note(format!("  {}", cx.out.paint_err(Paint::Warn, &words::waits(&circle.name))));
    }
}

/// What to say of chosen interfaces that this machine does not have: they may come, or be a slip of the pen.
fn missing_interfaces(names: &[String]) -> Vec<String> {
    let there: BTreeSet<String> =
        if_addrs::get_if_addrs().unwrap_or_default().into_iter().map(|interface| interface.name).collect();
    let missing = names.iter().filter(|name| !there.contains(*name));
    let known = there.iter().map(|name| clean(name)).collect::<Vec<_>>().join(", ");
    missing
        .map(|name| {
            format!(
                "no interface {} has an address now: it is used once it has; those that have: {known}",
                clean(name)
            )
        })
        .collect()
}

/// Ctrl-C, SIGTERM, and the end of the terminal.
pub(crate) struct Signals {
    /// `None` once it was heard (the kernel and a shell may both say it) or the end has begun, or if whoever started this
    /// had it ignored: `nohup softbus up &`.
    hangup: Option<Signal>,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Heard from here on.
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::io("cannot listen for signals", &e));
        Ok(Self {
            hangup: (!ignores_hangup()).then(|| listen(SignalKind::hangup())).transpose()?,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// The next of them.
    pub(crate) async fn next(&mut self) {
        let hung_up = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = hung_up => self.hangup = None,
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Whether SIGHUP is ignored. Told by Linux only; elsewhere it counts as heeded.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// Why the data folder could not be opened, with the exit code it has.
pub(crate) fn seam_failure(error: &SeamError) -> Failure {
    let kind = match error {
        SeamError::InUse { .. } => Kind::Conflict,
        SeamError::Exposed { .. } | SeamError::NotOurs { .. } => Kind::Refused,
        SeamError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Kind::Refused
        }
        _ => Kind::Failed,
    };
    Failure::new(kind, error.to_string())
}
