//! The downtime of a hand-over: a task with a large state of which little changes, moved back and forth between two
//! devices on loopback, beside stop-and-copy of the same state: `cargo run --release --bin handover`.
//!
//! All devices are in this process (each with its own endpoint, data folder and actors) so that one clock tells when
//! the last step ended on one and when the first began on the other. What each figure contains: `README.md`.

mod home;
mod program;
mod task;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use serde::Serialize;
use softbus::SubmitOptions;
use softbus::task::{PlacementHints, PolicyKind, TaskError};
use softbus_benches::{Machine, Spread};
use task::{Churn, Cut, Size, watch};

/// Measures the downtime of hand-overs.
#[derive(Parser)]
struct Args {
    /// What is moved
    #[arg(long, value_enum, default_value = "native")]
    kind: Kind,
    /// Moves of each case
    #[arg(long, default_value_t = 200)]
    moves: usize,
    /// Moves of each case of stop-and-copy
    #[arg(long, default_value_t = 50)]
    copy_moves: usize,
    /// Size of the task's state, in MiB
    #[arg(long, default_value_t = 64)]
    state_mib: u64,
    /// How much of it changes in each step, in KiB
    #[arg(long, default_value_t = 1024)]
    hot_kib: u64,
    /// In how many pieces, evenly spread over the state, the part that changes lies
    #[arg(long, default_value_t = 1)]
    pieces: u64,
    /// Folder for the devices' data, in memory
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// Folder on a disk with fsync, for the cases that are listed apart; without it they are left out
    #[arg(long)]
    disk: Option<PathBuf>,
    /// Only these cases
    #[arg(long, value_enum)]
    only: Vec<Case>,
    /// Print JSON in place of a table
    #[arg(long)]
    json: bool,
    /// What the library logs, to standard error: `softbus_task=debug`
    #[arg(long)]
    log: Option<String>,
}

/// What is moved.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Debug)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// A task of the library's own kind, which knows how to save itself
    Native,
    /// A WebAssembly program, which knows nothing of it
    Wasm,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Debug)]
#[serde(rename_all = "kebab-case")]
enum Case {
    Owner,
    OwnerCopy,
    Quorum,
    QuorumCopy,
    OwnerDisk,
    OwnerDiskCopy,
    QuorumDisk,
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner, memory",
            Self::OwnerCopy => "owner, memory, stop-and-copy",
            Self::Quorum => "quorum k=2, memory",
            Self::QuorumCopy => "quorum k=2, memory, stop-and-copy",
            Self::OwnerDisk => "owner, disk with fsync",
            Self::OwnerDiskCopy => "owner, disk, stop-and-copy",
            Self::QuorumDisk => "quorum k=2, disk with fsync",
        }
    }

    fn on_disk(self) -> bool {
        matches!(self, Self::OwnerDisk | Self::OwnerDiskCopy | Self::QuorumDisk)
    }

    /// Stop-and-copy: everything changes in each step, so that nothing sent beforehand is of use.
    fn copies(self) -> bool {
        matches!(self, Self::OwnerCopy | Self::QuorumCopy | Self::OwnerDiskCopy)
    }

    fn quorum(self) -> bool {
        matches!(self, Self::Quorum | Self::QuorumCopy | Self::QuorumDisk)
    }
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    kind: Kind,
    /// File system of `--dir`.
    memory: &'static str,
    state_bytes: u64,
    hot_bytes: u64,
    pieces: u64,
    cases: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    case: Case,
    /// Last step's end to first step's begin.
    downtime_ms: Spread,
    /// The same as the library tells it, in whole milliseconds.
    told_downtime_ms: Spread,
    /// From the last step's end until the state began to be written.
    until_saved_ms: Spread,
    /// From the restored state until the first step's begin.
    since_restored_ms: Spread,
    /// From the order to move until the first step's begin, as seen from outside.
    whole_move_ms: Spread,
    bytes: Spread,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(filter) = &args.log {
        let filter = tracing_subscriber::EnvFilter::try_new(filter)?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_timer(tracing_subscriber::fmt::time::uptime())
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .init();
    }
    let memory = file_system(&args.dir)?;
    if memory != "tmpfs" {
        eprintln!("{} is no tmpfs: name a folder in memory by --dir", args.dir.display());
    }
    let mut report = Report {
        machine: Machine::look(),
        kind: args.kind,
        memory,
        state_bytes: args.state_mib << 20,
        hot_bytes: args.hot_kib << 10,
        pieces: args.pieces,
        cases: Vec::new(),
    };
    for case in Case::value_variants() {
        let folder = if case.on_disk() { args.disk.as_deref() } else { Some(&*args.dir) };
        let wanted = args.only.is_empty() || args.only.contains(case);
        let Some(folder) = folder.filter(|_| wanted) else { continue };
        eprintln!("{} …", case.name());
        let row = measure(*case, folder, &args).await.with_context(|| case.name())?;
        eprintln!("  downtime p50 {:.1} ms, p99 {:.1} ms", row.downtime_ms.p50, row.downtime_ms.p99);
        report.cases.push(row);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

async fn measure(case: Case, folder: &Path, args: &Args) -> anyhow::Result<Row> {
    let folder = tempfile::Builder::new().prefix("softbus-bench-").tempdir_in(folder)?;
    let devices = home::start(folder.path(), if case.quorum() { 3 } else { 2 }).await?;
    let state_bytes = args.state_mib << 20;
    let size = if case.copies() {
        Size { state_bytes, hot_bytes: state_bytes, pieces: 1 }
    } else {
        Size { state_bytes, hot_bytes: args.hot_kib << 10, pieces: args.pieces }
    };
    let options = SubmitOptions {
        policy: if case.quorum() { PolicyKind::Quorum { k: 2 } } else { PolicyKind::Owner },
        hints: PlacementHints { start_on: Some(devices[0].id()), stay: true, ..PlacementHints::default() },
        ..SubmitOptions::default()
    };
    watch().take();
    let task = match args.kind {
        Kind::Native => devices[0].submit::<Churn>(&size, options).await?,
        Kind::Wasm => {
            let start = postcard::to_allocvec(&program::churn(&size)?)?;
            devices[0].tasks().submit("wasm/1", start, options).await?
        }
    };
    let mut status = task.watch().await?;
    let first = status.wait_for(|s| s.checkpoint > 0 && s.runner == Some(devices[0].id()));
    tokio::time::timeout(Duration::from_secs(60), first).await.context("no first checkpoint")??;
    // It fills its memory first, and that is not what is measured here.
    tokio::time::sleep(Duration::from_millis(args.state_mib * 10)).await;

    let moves = if case.copies() { args.copy_moves } else { args.moves };
    let (mut told, mut bytes, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..moves {
        // Not in step with the checkpoints, which are taken every half second.
        tokio::time::sleep(Duration::from_millis(100 + (index as u64 * 137) % 600)).await;
        let to = devices[(index + 1) % 2].id();
        let began = tokio::time::Instant::now();
        match task.move_to(Some(to), "to measure it").await {
            // A large one takes longer than a person would wait.
            Ok(_) | Err(TaskError::NotYet(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let arrived = status.wait_for(|s| s.moves.last().is_some_and(|m| m.to == to && m.epoch == s.epoch));
        let arrived = tokio::time::timeout(Duration::from_secs(300), arrived).await;
        let arrived = arrived.with_context(|| format!("move {index} did not come about"))??.clone();
        whole.push(began.elapsed());
        let last = arrived.moves.last().context("a move")?;
        told.push(last.downtime_ms as f64);
        bytes.push(last.bytes as f64);
    }
    // The last move is told a moment before the first step after it.
    let mut patience = 100;
    while watch().count() < moves && patience > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        patience -= 1;
    }
    let cuts = watch().take();
    anyhow::ensure!(cuts.len() == moves, "{} moves were ordered, {} happened", moves, cuts.len());
    task.cancel().await?;
    for device in &devices {
        device.shutdown_within(Duration::ZERO).await;
    }
    let ms = |of: fn(&Cut) -> Duration| Spread::of(cuts.iter().map(|cut| of(cut).as_secs_f64() * 1e3));
    Ok(Row {
        case,
        downtime_ms: ms(|cut| cut.downtime),
        told_downtime_ms: Spread::of(told),
        until_saved_ms: ms(|cut| cut.until_saved),
        since_restored_ms: ms(|cut| cut.since_restored),
        whole_move_ms: Spread::of(whole.iter().map(|d| d.as_secs_f64() * 1e3)),
        bytes: Spread::of(bytes),
    })
}

fn file_system(folder: &Path) -> anyhow::Result<&'static str> {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    let found = rustix::fs::statfs(folder).with_context(|| folder.display().to_string())?;
    Ok(if found.f_type as u64 == TMPFS_MAGIC { "tmpfs" } else { "a disk" })
}

fn print(report: &Report) {
    println!("{}", report.machine);
    println!(
        "{}; state {} MiB, of which {} KiB in {} piece(s) change in each step; memory is {}",
        if report.kind == Kind::Wasm { "a WebAssembly program" } else { "a native task" },
        report.state_bytes >> 20,
        report.hot_bytes >> 10,
        report.pieces,
        report.memory
    );
    println!(
        "{:<36}{:>6}{:>10}{:>10}{:>10}{:>10}{:>14}{:>14}",
        "downtime, ms", "moves", "p50", "p90", "p99", "max", "MiB per move", "whole move"
    );
    for row in &report.cases {
        let down = row.downtime_ms;
        println!(
            "{:<36}{:>6}{:>10.1}{:>10.1}{:>10.1}{:>10.1}{:>14.2}{:>11.0} ms",
            row.case.name(),
            down.count,
            down.p50,
            down.p90,
            down.p99,
            down.max,
            row.bytes.p50 / f64::from(1 << 20),
            row.whole_move_ms.p50,
        );
    }
}
