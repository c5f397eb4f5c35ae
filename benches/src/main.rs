//! softbus beside raw quinn and libp2p-quic, in one run on one machine: `cargo run --release -- --json`.
//!
//! Rounds are interleaved (one of each, then again), so that a noisy machine is noisy for all; the figures are
//! medians, the ratios are of medians. Both ends live in this process, over loopback UDP, with mutual TLS 1.3.

mod libp2p_quic;
mod peer;
mod raw_quinn;
mod softbus;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Parser;
use peer::Peer;
use serde::Serialize;

/// Compares softbus with raw quinn and libp2p-quic.
#[derive(Parser)]
struct Args {
    /// Rounds of each measurement
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Round trips per round
    #[arg(long, default_value_t = 2000)]
    round_trips: usize,
    /// MiB per bulk round
    #[arg(long, default_value_t = 256)]
    bulk_mib: usize,
    /// Print JSON in place of a table
    #[arg(long)]
    json: bool,
}

/// Medians of one peer.
#[derive(Serialize, Default, Clone)]
struct Figures {
    connect_us: f64,
    round_trip_us: f64,
    bulk_mib_per_s: f64,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut peers: Vec<Box<dyn Peer>> = vec![
        Box::new(raw_quinn::RawQuinn::start()?),
        Box::new(softbus::Softbus::start().await?),
        Box::new(libp2p_quic::Libp2pQuic::start().await?),
    ];
    let bytes = args.bulk_mib << 20;
    let mut connects: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let mut trips: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let mut bulks: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for round in 0..=args.rounds {
        for peer in &mut peers {
            let name = peer.name();
            let connect = peer.connect().await?;
            let mut mine = Vec::with_capacity(args.round_trips);
            for _ in 0..args.round_trips {
                mine.push(peer.round_trip().await?);
            }
            let bulk = peer.bulk(bytes).await?;
            // The first round warms up.
            if round > 0 {
                connects.entry(name).or_default().push(connect);
                trips.entry(name).or_default().push(median(&mut mine));
                bulks.entry(name).or_default().push(bulk);
            }
        }
    }
    let mut figures: BTreeMap<&str, Figures> = BTreeMap::new();
    for peer in &peers {
        let name = peer.name();
        let of = |all: &mut BTreeMap<&str, Vec<Duration>>| {
            all.get_mut(name).map_or(0.0, |values| median(values).as_secs_f64())
        };
        figures.insert(
            name,
            Figures {
                connect_us: of(&mut connects) * 1e6,
                round_trip_us: of(&mut trips) * 1e6,
                bulk_mib_per_s: args.bulk_mib as f64 / of(&mut bulks),
            },
        );
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
        return Ok(());
    }
    let raw = figures.get("raw quinn").cloned().unwrap_or_default();
    println!("medians of {} rounds; in brackets: ratio to raw quinn", args.rounds);
    println!("{:<14}{:>22}{:>22}{:>24}", "", "connect (µs)", "64 B round trip (µs)", "bulk (MiB/s)");
    for peer in &peers {
        let f = &figures[peer.name()];
        println!(
            "{:<14}{:>14.0} ({:>4.2}×){:>14.1} ({:>4.2}×){:>16.0} ({:>4.2}×)",
            peer.name(),
            f.connect_us,
            f.connect_us / raw.connect_us,
            f.round_trip_us,
            f.round_trip_us / raw.round_trip_us,
            f.bulk_mib_per_s,
            f.bulk_mib_per_s / raw.bulk_mib_per_s,
        );
    }
    Ok(())
}

fn median(values: &mut [Duration]) -> Duration {
    values.sort_unstable();
    values[values.len() / 2]
}
