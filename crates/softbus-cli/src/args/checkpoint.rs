//! Commands about saved states of tasks.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{PolicyName, ProgramGrant};

/// What to do with saved states.
#[derive(Subcommand, Debug)]
pub enum CheckpointCommand {
    /// Write the whole state of a task at one point to a file, while it goes on
    #[command(after_help = "Examples:
  softbus checkpoint save 3f2a half-way.softbus
  softbus checkpoint save render.wasm half-way.softbus --force

The file is NOT encrypted: it holds all that the task works on, so only its owner can read it. It is signed by this device.")]
    Save {
        /// Id (or its beginning) or name of the task
        task: String,
        /// The file; it must not be there yet
        file: PathBuf,
        /// Replace a file that is there
        #[arg(long)]
        force: bool,
    },
    /// Start a new task from a saved state
    Restore(Box<RestoreArgs>),
}

/// Options of `checkpoint restore`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  softbus checkpoint restore half-way.softbus
  softbus checkpoint restore half-way.softbus --on tv --policy quorum
  softbus checkpoint restore half-way.softbus --wait --out done.png

A restored task is a new one, with an id of its own: the task that was saved may still run, or have ended. What that one
printed or did after it was saved is done once more. Programs are waited for, as by `softbus run`.")]
pub struct RestoreArgs {
    /// A file that `softbus checkpoint save` wrote
    pub file: PathBuf,
    /// A name for people [default: that of the saved task]
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
    /// The circle whose devices may run it (if this device is in several)
    #[arg(long, value_name = "CIRCLE")]
    pub circle: Option<String>,
    /// Also if a device saved it that is no member of this circle. What it holds was made by who knows whom, and is run
    /// with what it is granted
    #[arg(long)]
    pub foreign: bool,
    /// What it may go on to ask of the mesh: a program that was granted something before goes on only if it is granted that
    /// again
    #[arg(long = "grant", value_name = "service:NAME|infer", value_parser = super::parse::parse_grant)]
    pub grants: Vec<ProgramGrant>,
    /// Wait until it is done, with a progress bar
    #[arg(long)]
    pub wait: bool,
    /// Write its result to this file (implies --wait). Of a program: into this folder, the files that it leaves
    #[arg(long, value_name = "FILE|DIR")]
    pub out: Option<PathBuf>,
    /// Do not wait for a program
    #[arg(long, conflicts_with_all = ["wait", "out"])]
    pub detach: bool,
}
