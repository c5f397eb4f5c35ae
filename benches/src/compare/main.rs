//! softbus beside raw quinn and libp2p-quic, in one run on one machine: `cargo run --release --bin compare`.
//!
//! Both ends live in this process, on one tokio runtime, over loopback UDP, with mutual TLS 1.3. Each round measures every
//! peer once, in an order that turns from round to round, so that a noisy machine is noisy for all. A round's figure is
//! a median (of connects, of round trips) or one bulk transfer. Printed are the median and p10–p90 over the rounds, and
//! the median of the rounds' ratios to raw quinn. What each figure contains: `README.md`.

mod libp2p_quic;
mod peer;
mod raw_quinn;
mod softbus;

use std::collections::BTreeMap;

use clap::Parser;
use peer::Peer;
use raw_quinn::{RawQuinn, Transport};
use serde::Serialize;
use softbus_benches::{Machine, Spread, median_us};

/// Compares softbus with raw quinn and libp2p-quic.
#[derive(Parser)]
struct Args {
    /// Rounds of each measurement, beside one to warm up
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Connects per round
    #[arg(long, default_value_t = 20)]
    connects: usize,
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

/// One peer's figures, one of each per round.
#[derive(Default)]
struct Rounds {
    connect_us: Vec<f64>,
    round_trip_us: Vec<f64>,
    bulk_mib_per_s: Vec<f64>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    connect_us: Cell,
    round_trip_us: Cell,
    bulk_mib_per_s: Cell,
}

#[derive(Serialize)]
struct Cell {
    #[serde(flatten)]
    spread: Spread,
    /// Median of the rounds' ratios to raw quinn.
    ratio: f64,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    rounds: usize,
    connects_per_round: usize,
    round_trips_per_round: usize,
    bulk_mib: usize,
    peers: Vec<Row>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let machine = Machine::look();
    let mut peers: Vec<Box<dyn Peer>> = vec![
        Box::new(RawQuinn::start("raw quinn", Transport::AsSoftbus)?),
        Box::new(softbus::Softbus::start().await?),
        Box::new(RawQuinn::start("raw quinn, its defaults", Transport::Default)?),
        Box::new(libp2p_quic::Libp2pQuic::start().await?),
    ];
    let order: Vec<&'static str> = peers.iter().map(|peer| peer.name()).collect();
    let bytes = args.bulk_mib << 20;
    let mut figures: BTreeMap<&str, Rounds> = BTreeMap::new();
    for round in 0..=args.rounds {
        for peer in &mut peers {
            let mut connects = Vec::with_capacity(args.connects);
            for _ in 0..args.connects {
                connects.push(peer.connect().await?);
            }
            let mut trips = Vec::with_capacity(args.round_trips);
            for _ in 0..args.round_trips {
                trips.push(peer.round_trip().await?);
            }
            let bulk = peer.bulk(bytes).await?;
            if round == 0 {
                continue; // it warms up
            }
            let rounds = figures.entry(peer.name()).or_default();
            rounds.connect_us.push(median_us(&connects));
            rounds.round_trip_us.push(median_us(&trips));
            rounds.bulk_mib_per_s.push(args.bulk_mib as f64 / bulk.as_secs_f64());
        }
        peers.rotate_left(1);
    }
    let floor = &figures[order[0]];
    let row = |name: &'static str| {
        let rounds = &figures[name];
        Row {
            name,
            connect_us: cell(&rounds.connect_us, &floor.connect_us),
            round_trip_us: cell(&rounds.round_trip_us, &floor.round_trip_us),
            bulk_mib_per_s: cell(&rounds.bulk_mib_per_s, &floor.bulk_mib_per_s),
        }
    };
    let report = Report {
        machine,
        rounds: args.rounds,
        connects_per_round: args.connects,
        round_trips_per_round: args.round_trips,
        bulk_mib: args.bulk_mib,
        peers: order.iter().map(|name| row(name)).collect(),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

fn cell(values: &[f64], floor: &[f64]) -> Cell {
    let ratios = values.iter().zip(floor).map(|(value, floor)| value / floor);
    Cell { spread: Spread::of(values.iter().copied()), ratio: Spread::of(ratios).p50 }
}

fn print(report: &Report) {
    println!("{}", report.machine);
    println!(
        "median of {} rounds (p10–p90), and the median ratio to raw quinn of the same round",
        report.rounds
    );
    println!("{:<24}{:>30}{:>30}{:>30}", "", "connect, µs", "64 B round trip, µs", "bulk, MiB/s");
    for row in &report.peers {
        let text = |cell: &Cell, digits: usize| {
            let Spread { p10, p50, p90, .. } = cell.spread;
            format!("{p50:.digits$} ({p10:.digits$}–{p90:.digits$})  {:.2}×", cell.ratio)
        };
        println!(
            "{:<24}{:>30}{:>30}{:>30}",
            row.name,
            text(&row.connect_us, 0),
            text(&row.round_trip_us, 1),
            text(&row.bulk_mib_per_s, 0),
        );
    }
}
