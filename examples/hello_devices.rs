//! Who is here? A device starts, says who it is, and lists what it sees.
//!
//! `cargo run -p softbus --example hello_devices [FOLDER]`: run two at a time, with two folders, and they see each
//! other.
#![allow(clippy::print_stdout)] // an example talks to whoever runs it

use std::time::Duration;

use softbus::{Bind, Bus};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let folder = std::env::args().nth(1).map_or(scratch.path().into(), std::path::PathBuf::from);
    let bus = Bus::builder().data_dir(folder).name("hello").bind(Bind::Loopback).start().await?;
    println!("I am {}, at {:?}", bus.id(), bus.addresses());

    tokio::time::sleep(Duration::from_secs(3)).await; // a look around
    for device in bus.nearby().borrow().iter() {
        println!("nearby: {device:?}");
    }
    for device in bus.devices() {
        println!("of my circles: {} is {:?}", device.name().unwrap_or("somebody"), device.presence);
    }
    bus.shutdown().await;
    Ok(())
}
