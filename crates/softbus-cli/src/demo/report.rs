//! What the demo measured, as a table and as JSON.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Out, Table, write_file};

/// All that was measured. The names are a contract with scripts. Milliseconds, bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// From the start of the first process until every device saw every other one by mDNS.
    pub discovery_ms: f64,
    /// The slowest of the three pairings, from the PIN's entry to both sides' agreement.
    pub pairing_ms: f64,
    /// From the last pairing until all six links stood, seen from both ends.
    pub link_ms: f64,
    /// What moved.
    pub program: Program,
    /// Hand-overs of the running program, in order.
    pub handovers: Vec<Handover>,
    /// The killed device.
    pub failover: Failover,
    /// Whether the picture equals, bit for bit, that of the same program run without moving.
    pub result_matches_unmoved: bool,
    /// Whether all that the program printed equals what it printed there.
    pub printed_matches_unmoved: bool,
    /// The finished picture.
    pub output: PathBuf,
    /// How long the program took, submission to result, moves and fail-over included.
    pub task_ms: f64,
    /// How long the same program took in one go, on one of the devices.
    pub unmoved_ms: f64,
}

/// The program.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Names its module: BLAKE3 of its bytes, in hexadecimal.
    pub module: String,
    /// Bytes that it printed.
    pub printed: u64,
}

/// One hand-over.
#[derive(Clone, Debug, Serialize)]
pub struct Handover {
    /// From.
    pub from: String,
    /// To.
    pub to: String,
    /// Why.
    pub reason: String,
    /// How long nobody ran the program.
    pub downtime_ms: f64,
    /// Bytes that travelled.
    pub bytes: u64,
}

/// The fail-over.
#[derive(Clone, Debug, Serialize)]
pub struct Failover {
    /// Who was killed.
    pub killed: String,
    /// Who went on.
    pub resumed_on: String,
    /// From the kill until the program ran again.
    pub gap_ms: f64,
}

impl Report {
    /// Prints the summary: a table, or the report itself with `--json`.
    pub fn print(&self, out: &Out) -> Result<(), Failure> {
        if out.json {
            return out.json(self);
        }
        let mut table = Table::new(["what", "measured", "notes"]).prose();
        let mut row = |what: &str, measured: String, notes: &str| {
            table.row([what.to_string(), measured, notes.to_string()]);
        };
        row(
            "discovery",
            ms(self.discovery_ms),
            "from power-on until each of 4 devices saw the 3 others (mDNS)",
        );
        row("pairing", ms(self.pairing_ms), "slowest of 3, from the PIN's entry");
        row("mesh", ms(self.link_ms), "until all 6 links stood, after the last pairing");
        for hop in &self.handovers {
            let what = format!("hand-over {} → {}", hop.from, hop.to);
            let measured = format!("{} down, {}", ms(hop.downtime_ms), crate::output::bytes(hop.bytes));
            row(&what, measured, hop.reason.lines().next().unwrap_or_default());
        }
        let failover = format!("{} killed → {}", self.failover.killed, self.failover.resumed_on);
        row(&failover, format!("{} gap", ms(self.failover.gap_ms)), "from its last checkpoint, by quorum");
        row("program", ms(self.task_ms), "submission to result, all of the above included");
        row("unmoved", ms(self.unmoved_ms), "the same program on one device, for comparison");
        let same = if self.result_matches_unmoved && self.printed_matches_unmoved {
            "bit-identical"
        } else {
            "DIFFERENT"
        };
        row("result", same.into(), &self.output.display().to_string());
        out.line("")?;
        out.table(table)
    }

    /// Writes it as JSON.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Failure::failed(format!("report: {e}")))?;
        write_file(path, (text + "\n").as_bytes())
    }
}

fn ms(ms: f64) -> String {
    if ms >= 10_000.0 { format!("{:.1} s", ms / 1000.0) } else { format!("{ms:.0} ms") }
}
