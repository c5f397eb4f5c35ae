//! Simulations of softbus.
#![warn(missing_docs)]

mod check;
mod device;
mod error;
pub mod key_lines;
mod lasting;
mod noticed;
pub mod pcap;
mod program;
pub mod record;
pub mod reduced;
pub mod report;
mod run;
pub mod scenario;
mod sim;
mod tls;
pub mod trace;
pub mod watch;
pub mod work;

pub use check::{CheckError, CheckOptions, Checked, Failure, Shrunk, check, shrink};
pub use device::{Device, PORT};
pub use error::SimError;
pub use run::{Progress, RunOptions, run};
pub use sim::{REPEATS, ReadyCircle, Sim};
