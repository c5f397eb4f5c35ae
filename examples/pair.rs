//! Two strangers become a pair: one shows a PIN, a person types it on the other.
//!
//! `cargo run -p softbus --example pair`: both devices live in this process, each in a folder of its own.
#![allow(clippy::print_stdout)] // an example talks to whoever runs it

use softbus::{Bind, Bus, PairOptions, PairingState, Presence, RosterEntry};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let describe =
        |name: &str| Bus::builder().data_dir(folder.path().join(name)).name(name).bind(Bind::Loopback);
    let (phone, tv) = (describe("phone").start().await?, describe("tv").start().await?);

    // The phone has a circle; whoever pairs with it belongs to it. The recovery words are for a drawer at home.
    let founded = phone.found_circle("home").await?;
    println!("the phone founds a circle; {} recovery words", founded.recovery_words.split(' ').count());
    phone.circles().words_shown(founded.circle).await?;

    // The TV shows a PIN …
    let shown = tv.open_pairing(PairOptions::default()).await?;
    let PairingState::Open { pin, .. } = shown.state.borrow().clone() else {
        anyhow::bail!("the TV shows no PIN")
    };
    println!("the TV shows {}", pin.reveal());

    // … and the person types it on the phone. (`Bus::pair_with` finds the address by mDNS.)
    let address = tv.addresses()[0];
    phone.circles().pair_with(address, Some(tv.id()), pin.reveal(), PairOptions::default()).await?;

    // Each is in the roster of the other now, linked and encrypted.
    let here = |d: &RosterEntry| d.presence == Presence::Online && d.profile.is_some();
    phone.watch().wait_for(|view| view.others().any(|d| here(d))).await?;
    for device in phone.devices() {
        let role = device.role.map_or("nobody".into(), |role| role.to_string());
        println!("{} is {:?}, as {role}", device.name().unwrap_or("?"), device.presence);
    }
    tv.shutdown().await;
    phone.shutdown().await;
    Ok(())
}
