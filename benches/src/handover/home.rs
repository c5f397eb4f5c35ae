//! Some devices of one circle, in this process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use softbus::{Bind, Bus, PairOptions, PairingState, Presence};

use crate::program::Watched;
use crate::task::Churn;

/// Starts so many devices in folders below `folder`. They know each other's addresses: nothing is announced.
pub async fn start(folder: &Path, count: usize) -> anyhow::Result<Vec<Bus>> {
    let mut devices: Vec<Bus> = Vec::new();
    for index in 0..count {
        let name = format!("device-{index}");
        let device = Bus::builder()
            .data_dir(folder.join(&name))
            .name(name)
            .bind(Bind::Loopback)
            .discovery(false)
            .task::<Churn>()
            .runtime(Arc::new(Watched::new()?))
            .start()
            .await?;
        match devices.first() {
            None => {
                device.found_circle("home").await?;
            }
            Some(owner) => {
                let shown = device.open_pairing(PairOptions::default()).await?;
                let PairingState::Open { pin, .. } = shown.state.borrow().clone() else {
                    anyhow::bail!("no PIN is shown")
                };
                let addr = *device.addresses().first().context("a device without an address")?;
                owner
                    .circles()
                    .pair_with(addr, Some(device.id()), pin.reveal(), PairOptions::default())
                    .await?;
            }
        }
        for other in &devices {
            for (here, there) in [(other, &device), (&device, other)] {
                let addr = *there.addresses().first().context("a device without an address")?;
                here.net().add_static(Some(there.id()), addr);
            }
        }
        devices.push(device);
    }
    for here in &devices {
        for there in devices.iter().filter(|there| there.id() != here.id()) {
            let id = there.id();
            let mut view = here.watch();
            let known = view.wait_for(|view| {
                view.get(&id)
                    .is_some_and(|d| d.presence == Presence::Online && d.profile.is_some() && d.now.is_some())
            });
            tokio::time::timeout(Duration::from_secs(30), known)
                .await
                .context("the devices did not all see each other")??;
        }
    }
    Ok(devices)
}
