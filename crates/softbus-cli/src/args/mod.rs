//! The command line.

mod checkpoint;
mod parse;
mod people;
mod sim;
mod work;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use softbus_core::DeviceKind;

pub use checkpoint::{CheckpointCommand, RestoreArgs};
pub use parse::{ProgramGrant, parse_bytes, parse_expiry, parse_ops, parse_span};
pub use people::{CircleCommand, KeyCommand, PairArgs, RuleCommand};
pub use sim::{SimCheckArgs, SimCommand, SimRunArgs};
pub use work::{
    AdoptArgs, InjectArgs, MoveArgs, PlaceArgs, PolicyName, ProgramArgs, ResultArgs, RunArgs, SleepArgs,
    TasksArgs, WorkArgs,
};

use crate::config::{self, Interfaces, Peer};
use crate::demo::DemoArgs;
use crate::failure::Kind;

/// Turns the devices around you into one computer.
///
/// A node (`softbus up`) finds other devices, keeps encrypted links with those it is paired with, and runs tasks
/// that move to the device that serves them best. All other commands talk to the node of this machine.
#[derive(Parser, Debug)]
#[command(name = "softbus", version, about, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = after_help(), max_term_width = 110)]
pub struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// In the help of a command they come after its own.
const GLOBAL: &str = "Options of all commands";

/// Options of all commands.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Folder of this node's key, trust and tasks [default: $XDG_STATE_HOME/softbus or ~/.local/state/softbus]
    #[arg(long, global = true, value_name = "DIR", env = "SOFTBUS_DATA_DIR", hide_env_values = true, help_heading = GLOBAL)]
    pub data_dir: Option<PathBuf>,
    /// JSON for scripts instead of text for people
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
    /// What to log: error, warn, info, debug, trace, or a filter such as info,softbus_net=debug
    #[arg(long, global = true, value_name = "LEVEL", env = "SOFTBUS_LOG", hide_env_values = true, help_heading = GLOBAL)]
    pub log: Option<String>,
}

fn after_help() -> String {
    let mut text = String::from(
        "First steps:
  softbus demo                 see it work, on this machine alone
  softbus up                   run a node (in a terminal of its own)
  softbus pair                 show a PIN here; on the other device: softbus pair NAME
  softbus devices              who is here
  softbus doctor               find out what is wrong

Exit codes:
  0    it worked
",
    );
    for (kind, meaning) in Kind::ALL {
        text.push_str(&format!("  {:<4} {meaning}\n", kind.exit_code()));
    }
    text.push_str(
        "\nNO_COLOR=1 switches colours off. Without a terminal there are none, and no
moving bars.",
    );
    text
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a node until Ctrl-C, `softbus down` or the end of its terminal
    Up(UpArgs),
    /// Shut the node down; its tasks move to other devices first
    Down(DownArgs),
    /// Who this node is and how it does
    Status,
    /// All devices: who is here, what they can do, how they are reached
    #[command(after_help = "Examples:
  softbus devices
  softbus devices --watch
  softbus devices --json | jq '.devices[] | select(.presence == \"online\") | .name'")]
    Devices(DevicesArgs),
    /// Circles: groups of devices that trust each other
    #[command(visible_alias = "circles")]
    Circle {
        /// What to do with it
        #[command(subcommand)]
        command: Option<CircleCommand>,
    },
    /// Pair two devices: one shows a PIN, the other enters it
    Pair(PairArgs),
    /// Remove a device from the circle; its links end everywhere
    #[command(after_help = "Example:
  softbus unpair tv")]
    Unpair {
        /// Name, id or end of the id of the device; one that left is removed by its whole id
        device: String,
        /// Only from this circle (name or beginning of its id)
        #[arg(long)]
        circle: Option<String>,
    },
    /// This device's key: show its id, back it up, restore it
    Key {
        /// What to do with it
        #[command(subcommand)]
        command: Option<KeyCommand>,
    },
    /// Start a task or a WebAssembly program; the bus chooses the best device and says why
    Run(Box<RunArgs>),
    /// Tasks: what runs where
    #[command(visible_alias = "task")]
    Tasks(TasksArgs),
    /// Move a running task to another device, or to the best
    Move(MoveArgs),
    /// Let a task stand still, wherever it runs, until it is resumed
    #[command(after_help = "Examples:
  softbus pause 3f2a
  softbus pause render.wasm

It takes no step after its present one. When this command returns it stands still, and its last checkpoint says so: it
stays paused if its device restarts, if it is moved, and if another device goes on with it.")]
    Pause {
        /// Id (or its beginning) or name of the task
        task: String,
    },
    /// Let a paused task go on
    Resume {
        /// Id (or its beginning) or name of the task
        task: String,
    },
    /// Save the whole state of a task to a file, or start a new task from one
    Checkpoint {
        /// What to do
        #[command(subcommand)]
        command: CheckpointCommand,
    },
    /// Let an orphaned task go on here, from its last checkpoint (starts a new branch)
    Adopt(AdoptArgs),
    /// Let a task that crashed again and again try once more
    Release {
        /// Id (or its beginning) or name of the task
        task: String,
    },
    /// Cancel a task
    Cancel {
        /// Id (or its beginning) or name of the task
        task: String,
    },
    /// Fetch the result of a finished task
    Result(ResultArgs),
    /// Which device would be chosen for a piece of work, and why
    Place(PlaceArgs),
    /// Find out what is wrong, and what to do about it
    Doctor(DoctorArgs),
    /// Print the commented default configuration, check one, or print a systemd unit
    Config(ConfigArgs),
    /// Print completions for a shell
    #[command(after_help = "Examples:
  softbus completions bash > ~/.local/share/bash-completion/completions/softbus
  softbus completions fish > ~/.config/fish/completions/softbus.fish
  softbus completions zsh > ~/.zfunc/_softbus")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// See it work: four devices on this machine pair, and a running task moves between them
    Demo(DemoArgs),
    /// Simulate many devices, their network and what befalls them, in virtual time
    #[command(after_help = "Examples:
  softbus sim run simulations/hello.toml
  softbus sim check simulations/handover.toml --seeds 0..100")]
    Sim {
        /// What to do
        #[command(subcommand)]
        command: SimCommand,
    },
    /// Tell the other devices that this machine is about to sleep (for the hook of `softbus config --sleep-hook`)
    #[command(hide = true)]
    Sleep(SleepArgs),
    /// Take the links up again after a sleep
    #[command(hide = true)]
    Wake,
    /// Let this node claim other sensor values for a while (for demonstrations and tests)
    #[command(hide = true)]
    InjectLoad(InjectArgs),
}

/// Options of `up`.
#[derive(Args, Debug, Default)]
#[command(after_help = "Examples:
  softbus up
  softbus up --name \"kitchen tablet\" --kind tablet
  softbus up --config ~/.config/softbus.toml --log debug
  softbus up --data-dir /tmp/a --bind loopback    a node that only this machine sees

Ctrl-C shuts down gracefully: tasks move to other devices first. A second
Ctrl-C stops at once. What is given here goes before the configuration file.")]
pub struct UpArgs {
    /// Configuration file (`softbus config` prints the default)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Interfaces: all, loopback, or names such as eth0,wlan0
    #[arg(long, value_name = "all|loopback|IF,…", value_parser = config::parse_interfaces)]
    pub bind: Option<Interfaces>,
    /// UDP port (0: any free one)
    #[arg(long)]
    pub port: Option<u16>,
    /// Name that people see
    #[arg(long, value_parser = config::parse_name)]
    pub name: Option<String>,
    /// phone, tablet, laptop, desktop, tv, car, watch, speaker, sensor, router, server or other
    #[arg(long)]
    pub kind: Option<DeviceKind>,
    /// A device known by address, where mDNS does not reach; may be given more than once
    #[arg(long = "peer", value_name = "[ID@]IP:PORT", value_parser = config::parse_peer)]
    pub peers: Vec<Peer>,
    /// Neither announce this device nor look for others
    #[arg(long)]
    pub no_discovery: bool,
    /// End at once when the process of this id, which started this one, ends (Linux): for demos and tests
    #[arg(long, hide = true, value_name = "PID")]
    pub die_with_parent: Option<i32>,
}

/// Options of `down`.
#[derive(Args, Debug)]
pub struct DownArgs {
    /// Do not move tasks away first
    #[arg(long)]
    pub now: bool,
}

/// Options of `devices`.
#[derive(Args, Debug)]
pub struct DevicesArgs {
    /// Go on and tell what changes, until Ctrl-C
    #[arg(long, short)]
    pub watch: bool,
    /// Other columns: address, rates, cores, memory, system (those for which there is room)
    #[arg(long, short)]
    pub long: bool,
}

/// Options of `doctor`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  softbus doctor
  softbus doctor --bundle diagnosis.json

It checks the data folder, its key and database, the node, its port, discovery,
routes, the clock, disk space and the other devices, and changes nothing. A
bundle holds what it found, the configuration and the state of the node as
JSON, for somebody who helps you; it holds no key, PIN or recovery words.")]
pub struct DoctorArgs {
    /// Also write all diagnostics, without secrets, to this file
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// The configuration file the node is (or would be) started with
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Options of `config`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  softbus config > ~/.config/softbus.toml
  softbus config --check ~/.config/softbus.toml
  softbus config --systemd > ~/.config/systemd/user/softbus.service
  softbus config --sleep-hook > softbus-sleep     what to do with it stands in it")]
pub struct ConfigArgs {
    /// Print a systemd unit instead
    #[arg(long, conflicts_with = "check")]
    pub systemd: bool,
    /// Print a hook instead that tells the other devices when this machine sleeps (systemd)
    #[arg(long, conflicts_with_all = ["check", "systemd"])]
    pub sleep_hook: bool,
    /// Check this configuration file instead
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
    /// The configuration file that the systemd unit names
    #[arg(long, value_name = "FILE", requires = "systemd")]
    pub config: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_lists_every_exit_code() {
        let help = Cli::command().render_help().to_string();
        for (kind, meaning) in Kind::ALL {
            assert!(help.contains(&format!("  {:<4} {meaning}", kind.exit_code())), "{kind:?}\n{help}");
        }
    }
}
