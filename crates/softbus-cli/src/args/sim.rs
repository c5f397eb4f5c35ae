//! Commands about simulations.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do with scenarios.
#[derive(Subcommand, Debug)]
pub enum SimCommand {
    /// Run a scenario once, and show what came of it
    Run(SimRunArgs),
    /// Run scenarios under many seeds; what fails is named, and made small
    Check(SimCheckArgs),
}

/// Options of `sim run`.
#[derive(Args, Debug)]
#[command(after_help = run_help(softbus_sim::REPEATS))]
pub struct SimRunArgs {
    /// Scenario file (simulations/README.md says what may stand in it)
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,
    /// What everything random is drawn from
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u64).range(..=SEEDS))]
    pub seed: u64,
    /// Only the library's decisions, over modelled links, disks and cores: for very
    /// many devices. No invariants are checked; simulations/README.md says what is left out
    #[arg(long, conflicts_with_all = ["trace", "pcap"])]
    pub reduced: bool,
    /// End after so much virtual time (90s, 6m10s, 2h), if it is not over before
    #[arg(long, value_name = "SPAN", value_parser = softbus_sim::scenario::duration)]
    pub until: Option<std::time::Duration>,
    /// Also write a page for browsers, with the mesh over time; it needs no network
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Also write all that was recorded, as JSON: what --json prints
    #[arg(long, value_name = "FILE.json")]
    pub record: Option<PathBuf>,
    /// Also write a line for each datagram and each thing that a device said
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Also write the packets, with the keys that open them, for Wireshark
    #[arg(long, value_name = "FILE.pcapng")]
    pub pcap: Option<PathBuf>,
    /// Neither summary nor progress bar
    #[arg(long, short)]
    pub quiet: bool,
}

/// Options of `sim check`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  softbus sim check simulations/handover.toml
  softbus sim check simulations/*.toml --seeds 0..20 --no-shrink
  softbus sim check simulations/partition.toml --seeds 500..1000 --jobs 4 --all --out found

Of a seed that fails it says which invariant was violated, how, and the command
that shows it again. Then it leaves out whatever happens in the scenario and is
not needed for the failure, and writes what is left as a scenario of its own
(SCENARIO-seed-N.toml; no file is replaced). With --all that is done for the
first seed of each invariant.

Exit codes:
  0    every seed ran to its end, and no invariant was violated
  1    something could not be written
  2    the command line or a scenario is wrong
  4    no such file or folder
  9    a seed failed: an invariant was violated, or the run broke off
  130  stopped by Ctrl-C")]
pub struct SimCheckArgs {
    /// Scenario files
    #[arg(value_name = "SCENARIO", required = true)]
    pub scenarios: Vec<PathBuf>,
    /// Seeds, without the last
    #[arg(long, value_name = "A..B", default_value = "0..100", value_parser = parse_seeds)]
    pub seeds: Range<u64>,
    /// Runs at the same time [default: one per core]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Go on after a seed that fails
    #[arg(long)]
    pub all: bool,
    /// Leave what fails as large as it is
    #[arg(long)]
    pub no_shrink: bool,
    /// Folder for the small scenarios [default: this one]
    #[arg(long, value_name = "DIR", conflicts_with = "no_shrink")]
    pub out: Option<PathBuf>,
}

/// What follows the options of `sim run`. `repeats`: whether tokio's own random source is seeded in this build.
fn run_help(repeats: bool) -> String {
    let repeats = if repeats {
        "Equal scenario, seed and version give an equal run, to the byte, in builds that
seed tokio (this one does): the summary ends with a hash of all that was sent
and said."
    } else {
        "Equal scenario, seed and version give an equal run, to the byte, in builds that
seed tokio. This one does not (it lacks --cfg tokio_unstable): here the hash of
all that was sent and said, with which the summary ends, may differ."
    };
    format!(
        "Examples:
  softbus sim run simulations/hello.toml
  softbus sim run simulations/commute.toml --seed 7 --report commute.html
  softbus sim run simulations/handover.toml --json | jq .summary
  softbus sim run simulations/hello.toml -q --trace one.txt --pcap one.pcapng
  softbus sim run simulations/large/city.toml --reduced

{repeats}
No node, data folder or network is needed, and time is virtual. `-` as a file
is standard output.

Exit codes:
  0    it ran to its end, and no invariant was violated
  1    it did not come to its end, or something could not be written
  2    the command line or the scenario is wrong
  4    no such file or folder
  9    an invariant was violated
  130  stopped by Ctrl-C; nothing was written"
    )
}

/// Highest seed. (TOML and most programs that read JSON have signed numbers.)
const SEEDS: u64 = i64::MAX as u64;

/// Reads `0..100`, or `7` for one seed.
fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("`{text}`: write A..B, such as 0..100 (100 is not among them), or one seed");
    let number = |text: &str| text.trim().parse().ok().filter(|n| *n <= SEEDS).ok_or_else(wrong);
    let seeds = match text.split_once("..") {
        Some((from, to)) => number(from)?..number(to)?,
        None => number(text).map(|seed| seed..seed + 1)?,
    };
    if seeds.is_empty() {
        return Err(format!("`{text}`: there is no seed in it; write A..B with A less than B"));
    }
    Ok(seeds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_promises_equal_runs_only_where_they_are() {
        assert!(run_help(true).contains("(this one does)"));
        assert!(!run_help(true).contains("may differ"));
        assert!(run_help(false).contains("This one does not") && run_help(false).contains("may differ"));
        // What is promised here is what the build was made with.
        assert_eq!(softbus_sim::REPEATS, cfg!(tokio_unstable));
        for line in [run_help(true), run_help(false)].iter().flat_map(|help| help.lines()) {
            assert!(line.len() <= 80, "{line}");
        }
    }

    #[test]
    fn seeds() {
        assert_eq!(parse_seeds("0..100"), Ok(0..100));
        assert_eq!(parse_seeds(" 5 .. 6 "), Ok(5..6));
        assert_eq!(parse_seeds("7"), Ok(7..8));
        for wrong in
            ["", "..", "1..", "..5", "5..5", "9..3", "0..=5", "-1..3", "a..b", "0..9223372036854775808"]
        {
            assert!(parse_seeds(wrong).is_err(), "{wrong}");
        }
    }
}
