//! What the examples share: two devices of one circle, both in this process. How they get there is the example `pair`.

use std::path::Path;

use softbus::{Bind, Builder, Bus, PairOptions, PairingState, Presence};

/// Starts two devices in folders below `folder`, each described further by `with`, and pairs them.
pub async fn two_devices(
    folder: &Path,
    names: [&str; 2],
    with: impl Fn(Builder) -> Builder,
) -> anyhow::Result<(Bus, Bus)> {
    let start =
        |name: &str| with(Bus::builder().data_dir(folder.join(name)).name(name).bind(Bind::Loopback)).start();
    let (a, b) = (start(names[0]).await?, start(names[1]).await?);
    a.found_circle("home").await?;
    let shown = b.open_pairing(PairOptions::default()).await?;
    let PairingState::Open { pin, .. } = shown.state.borrow().clone() else {
        anyhow::bail!("no PIN is shown")
    };
    a.circles().pair_with(b.addresses()[0], Some(b.id()), pin.reveal(), PairOptions::default()).await?;
    for (bus, other) in [(&a, &b), (&b, &a)] {
        let known = |d: &softbus::RosterEntry| {
            d.presence == Presence::Online && d.profile.is_some() && d.now.is_some()
        };
        bus.watch().wait_for(|view| view.get(&other.id()).is_some_and(|d| known(d))).await?;
    }
    Ok((a, b))
}
