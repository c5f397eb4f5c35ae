//! Simulations of softbus.
#![warn(missing_docs)]

pub mod key_lines;
pub mod pcap;
pub mod record;
pub mod scenario;
pub mod trace;
