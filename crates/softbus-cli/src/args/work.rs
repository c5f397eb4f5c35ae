//! Commands about work.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use softbus_core::{Latency, PowerSource, Privacy, Thermal};

use super::{ProgramGrant, parse_bytes, parse_ops, parse_span};
use crate::config::{parse_power, parse_thermal};
use crate::control::Share;

/// Who decides where a task runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum PolicyName {
    /// The device that runs it; if that is lost, the task waits for it
    Owner,
    /// A majority of the devices that hold its checkpoints; goes on by itself when one is lost
    Quorum,
}

/// Where work may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum PrivacyName {
    /// Only this device
    Device,
    /// Only devices that are owners of the circle
    Owners,
    /// Any member of the circle, but no guest
    Circle,
}

impl From<PrivacyName> for Privacy {
    fn from(name: PrivacyName) -> Self {
        match name {
            PrivacyName::Device => Self::Device,
            PrivacyName::Owners => Self::Owners,
            PrivacyName::Circle => Self::Circle,
        }
    }
}

/// How soon work matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LatencyName {
    /// When convenient
    Background,
    /// A person waits, patiently
    Normal,
    /// A person waits for each reaction
    Interactive,
}

impl From<LatencyName> for Latency {
    fn from(name: LatencyName) -> Self {
        match name {
            LatencyName::Background => Self::Background,
            LatencyName::Normal => Self::Normal,
            LatencyName::Interactive => Self::Interactive,
        }
    }
}

/// A piece of work, in the same words for `run` and `place`: what the one shows, the other does.
#[derive(Args, Debug)]
pub struct WorkArgs {
    /// Its input
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// A setting of the task, NAME=VALUE; may be given more than once
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = super::parse::parse_param)]
    pub params: Vec<(String, String)>,
    /// Work, in operations of the reference kernel (20G, 500M) [default: as the type estimates]
    #[arg(long, value_parser = parse_ops)]
    pub ops: Option<u64>,
    /// Memory it takes (512MiB) [default: as the type estimates]
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE")]
    pub memory: Option<u64>,
    /// Cores it can use at once
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub cores: u16,
    /// What its device must have: a service (camera/1), an accelerator (gpu, npu:2GiB) or a capability (display); may
    /// be given more than once
    #[arg(long, value_name = "WHAT", value_parser = super::parse::checked_need)]
    pub needs: Vec<String>,
    /// How soon it matters
    #[arg(long, value_enum, default_value = "normal")]
    pub latency: LatencyName,
    /// Only these devices may ever run it; may be given more than once
    #[arg(long, value_name = "DEVICE")]
    pub only: Vec<String>,
    /// Never on this device; may be given more than once
    #[arg(long = "not", value_name = "DEVICE")]
    pub never: Vec<String>,
    /// Where it may go
    #[arg(long, value_enum, default_value = "circle")]
    pub privacy: PrivacyName,
    /// The circle whose devices may run it and whose owners may move or cancel it (if this device is in several)
    #[arg(long, value_name = "CIRCLE")]
    pub circle: Option<String>,
}

/// Options of `run`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  softbus run picture/1 --input holiday.jpg --wait --out done.png
  softbus run primes/1 --param upto=5000000 --wait
  softbus run picture/1 --input holiday.jpg --policy quorum --holders 2
  softbus run primes/1 --on tv
  softbus run picture/1 --input holiday.jpg --needs gpu --not phone
  softbus run primes/1 --share tablet:see,move
  softbus run render.wasm --arg 1200 --arg 800 --out pictures
  softbus run words.wasm --in book.txt --arg book.txt --on best --policy quorum
  softbus run courier.wasm --grant service:echo/1 --grant infer

A program (WebAssembly: a command of WASI preview 1, or a reactor of the bus) is waited for: what it prints is shown as it comes, and its exit status becomes
that of this command. Ctrl-C leaves a task running; `softbus cancel` ends it.")]
pub struct RunArgs {
    /// Type of the task, such as picture/1 (`softbus status` lists those of this node); or a program: a file PROGRAM.wasm
    #[arg(value_name = "TYPE|PROGRAM.wasm")]
    pub task_type: String,
    /// What it is and needs
    #[command(flatten)]
    pub work: WorkArgs,
    /// A name for people
    #[arg(long, value_parser = crate::config::parse_name)]
    pub name: Option<String>,
    /// Who decides where it runs
    #[arg(long, value_enum, default_value = "owner")]
    pub policy: PolicyName,
    /// How many devices keep its checkpoints beside the one that runs it (quorum: at least 2)
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(0..=8))]
    pub holders: Option<u8>,
    /// Start on this device, if it can; `best`, the default: where it does best
    #[arg(long, value_name = "DEVICE|best")]
    pub on: Option<String>,
    /// The bus does not move it by itself
    #[arg(long)]
    pub stay: bool,
    /// Who may do what with it beside you and the owners: see (the default), move, cancel; may be given more than once
    #[arg(long, value_name = "DEVICE[:see,move,cancel]", value_parser = super::parse::parse_share)]
    pub share: Vec<Share>,
    /// Wait until it is done, with a progress bar
    #[arg(long)]
    pub wait: bool,
    /// Write its result to this file (implies --wait); `-` is standard output. Of a program: into this folder, the files that
    /// it leaves
    #[arg(long, value_name = "FILE|DIR")]
    pub out: Option<PathBuf>,
    /// What a program starts with
    #[command(flatten)]
    pub program: ProgramArgs,
}

/// What a program starts with.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Programs")]
pub struct ProgramArgs {
    /// An argument; may be given more than once
    #[arg(long = "arg", value_name = "TEXT", allow_hyphen_values = true)]
    pub args: Vec<String>,
    /// A variable of its environment; it has no others
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::parse::parse_param)]
    pub env: Vec<(String, String)>,
    /// A file or folder that it finds, under its own name or the one given; it sees nothing else of this device
    #[arg(long = "in", value_name = "[NAME=]FILE")]
    pub inputs: Vec<PathBuf>,
    /// Its standard input, up to 1 MiB; `-` is that of this command
    #[arg(long, value_name = "FILE")]
    pub stdin: Option<PathBuf>,
    /// Memory that it may have [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub mem: Option<u64>,
    /// How much of one processor it may have, in percent [default: 100]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub cpu: Option<u16>,
    /// How much it may print per second; past that, and what a pipe holds (1 MiB, which leaves at its end), it waits [default: 32MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub output_rate: Option<u64>,
    /// What it may ask of the mesh: service:NAME/VERSION (a service that a device offers), infer (a model); nothing else; may be
    /// given more than once
    #[arg(long = "grant", value_name = "service:NAME|infer", value_parser = super::parse::parse_grant)]
    pub grants: Vec<ProgramGrant>,
    /// Do not wait for it: print the id of its task alone. What it prints meanwhile is not kept
    #[arg(long, conflicts_with_all = ["wait", "out"])]
    pub detach: bool,
}

impl ProgramArgs {
    /// One of those that were given.
    pub fn given(&self) -> Option<&'static str> {
        let all = [
            ("--arg", !self.args.is_empty()),
            ("--env", !self.env.is_empty()),
            ("--in", !self.inputs.is_empty()),
            ("--stdin", self.stdin.is_some()),
            ("--mem", self.mem.is_some()),
            ("--cpu", self.cpu.is_some()),
            ("--output-rate", self.output_rate.is_some()),
            ("--grant", !self.grants.is_empty()),
            ("--detach", self.detach),
        ];
        all.into_iter().find_map(|(name, given)| given.then_some(name))
    }
}

/// Options of `tasks`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  softbus tasks
  softbus tasks 3f2a               one task and its history
  softbus tasks 3f2a --watch
  softbus tasks 3f2a --preview so-far.png --watch")]
pub struct TasksArgs {
    /// Only this one, with its history: id (or its beginning) or name
    pub task: Option<String>,
    /// Go on and tell what changes, until Ctrl-C or the task's end
    #[arg(long, short)]
    pub watch: bool,
    /// Write what its output looks like so far to this file, if its type shows that; `-` is standard output. With
    /// --watch again and again
    #[arg(long, value_name = "FILE", requires = "task")]
    pub preview: Option<PathBuf>,
}

/// Options of `move`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  softbus move 3f2a car
  softbus move 3f2a                to the best device")]
pub struct MoveArgs {
    /// Id (or its beginning) or name of the task
    pub task: String,
    /// Where to; nothing: the best device
    pub device: Option<String>,
    /// A word for the task's history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Options of `adopt`.
#[derive(Args, Debug)]
#[command(
    after_help = "A task of policy `owner` waits for its device when that is lost. Adopting it lets it go on here, from its
last checkpoint, as a new branch. Should the lost device return, its branch is fenced off and the fork is reported.
What the task did since that checkpoint is lost; what left the device since then was seen."
)]
pub struct AdoptArgs {
    /// Id (or its beginning) or name of the task
    pub task: String,
    /// Yes, although the lost device may still be running it
    #[arg(long)]
    pub force: bool,
}

/// Options of `result`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  softbus result 3f2a --out done.png
  softbus result 3f2a --out pictures    of a program: the files that it left, into a folder")]
pub struct ResultArgs {
    /// Id (or its beginning) or name of the task
    pub task: String,
    /// Where to; `-` is standard output. Of a program: a folder
    #[arg(long, short, value_name = "FILE|DIR")]
    pub out: PathBuf,
}

/// Options of `place`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  softbus place --explain
  softbus place --explain --type picture/1 --input holiday.jpg
  softbus place --explain --type primes/1 --ops 5G --memory 512MiB --cores 4

Nothing is started or reserved.")]
pub struct PlaceArgs {
    /// Print the whole explanation: each device, each term, why it lost
    #[arg(long)]
    pub explain: bool,
    /// Type of the task
    #[arg(long = "type", value_name = "TYPE", default_value = "primes/1")]
    pub task_type: String,
    /// What it is and needs
    #[command(flatten)]
    pub work: WorkArgs,
}

/// Options of `sleep`.
#[derive(Args, Debug)]
pub struct SleepArgs {
    /// In what time the machine will probably be back
    #[arg(long = "for", default_value = "8h", value_parser = parse_span, value_name = "SPAN")]
    pub lasts: Duration,
}

/// Options of `inject-load`.
#[derive(Args, Debug)]
pub struct InjectArgs {
    /// Busy share of all cores, 0 to 1000
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub load: Option<u16>,
    /// Free memory
    #[arg(long, value_parser = parse_bytes)]
    pub memory_free: Option<u64>,
    /// Charge, 0 to 1000
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub battery: Option<u16>,
    /// mains, battery or unknown
    #[arg(long, value_parser = parse_power)]
    pub power: Option<PowerSource>,
    /// nominal, fair, serious or critical
    #[arg(long, value_parser = parse_thermal)]
    pub thermal: Option<Thermal>,
    /// For how long
    #[arg(long = "for", default_value = "60s", value_parser = parse_span, value_name = "SPAN")]
    pub lasts: Duration,
}
