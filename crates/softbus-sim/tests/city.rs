//! Very many devices in the reduced model. The city of 100,000 takes minutes, and is run by name:
//! `cargo test --release -p softbus-sim --features aws-lc,reduced --test city -- --ignored --nocapture`, with `CITY=5000` before it
//! for fewer of them.

use std::time::Duration;

use softbus_sim::record::Record;
use softbus_sim::reduced::{City, Options, city, run_with};

fn show(record: &Record) {
    let summary = &record.summary;
    println!("{} devices, {} links, {} tasks", record.devices.len(), record.links.len(), record.tasks.len());
    println!("discovery {:?}", summary.discovery_us);
    println!("presence  {:?}", summary.presence_us);
    println!("handover  {:?}", summary.handover_us);
    println!("failover  {:?}", summary.failover_us);
    println!("tasks     {:?}", summary.tasks);
    println!("messages {}, bytes {}", summary.datagrams, summary.bytes);
    println!("{:.1} s, {} MiB", summary.real_s, summary.memory_bytes >> 20);
}

#[test]
fn a_street_is_the_same_each_time() {
    let size =
        City { devices: 60, tasks: 10, crashes: 2, duration: Duration::from_secs(25), ..City::default() };
    let scenario = city(size, 7);
    let mut records = [1, 1, 2].map(|seed| {
        let mut record = run_with(&scenario, seed, Options::sparse());
        show(&record);
        (record.summary.real_s, record.summary.memory_bytes) = (0.0, 0);
        record
    });
    records[2].seed = 1;
    assert!(records[0] == records[1] && records[0] != records[2]);
    let done = records[0].tasks.iter().filter(|task| task.state == "done").count();
    assert!(done >= 8, "{done} of 10 are done");
}

#[test]
#[ignore = "takes minutes, and some GiB"]
fn a_hundred_thousand_devices() {
    let devices = std::env::var("CITY").ok().and_then(|devices| devices.parse().ok()).unwrap_or(100_000);
    let size = City { devices, tasks: devices / 10, crashes: devices / 200, ..City::default() };
    let record = run_with(&city(size, 1), 1, Options::sparse());
    show(&record);
    let done = record.summary.tasks.get("done").copied().unwrap_or(0);
    assert!(done * 10 > record.tasks.len() as u64 * 7, "{done} are done");
}
