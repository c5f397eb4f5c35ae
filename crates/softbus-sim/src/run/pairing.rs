//! People pair devices: one shows a PIN, and it is entered on the other. So devices come into a circle whose entry is
//! `pin`; and so somebody is turned away who enters a wrong one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use softbus::{PairOptions, PairingState, Role};
use softbus_core::CircleId;
use softbus_net::membership::{MembershipError, Paired, default_end};
use softbus_net::seam::Clock;
use softbus_trust::Grant;
use tokio::time::Instant;

use super::Director;
use super::listen::Ears;
use crate::device::Device;
use crate::record::DeviceState;
use crate::scenario::Entry;

/// How long the one with the PIN looks for the device that shows it.
const LOOK: Duration = Duration::from_secs(10);
/// How often somebody goes round and looks who is on and not in yet …
const ROUND: Duration = Duration::from_secs(1);
/// … and how long a device is left alone after its pairing failed.
const AGAIN: Duration = Duration::from_secs(5);

/// A circle that devices are still to come into.
struct Entering {
    circle: String,
    /// In order of their start, and not before when each is tried.
    outside: Vec<(Device, Role, Instant)>,
}

/// A PIN was shown and something was entered.
struct Tried {
    shown: String,
    entered: String,
    outcome: Result<Paired, softbus::Error>,
}

impl Director {
    /// Whoever founds circles by PIN goes round with it, one device after the other.
    pub(super) fn people_pair(&self) {
        let mut people: BTreeMap<usize, (Device, Vec<Entering>)> = BTreeMap::new();
        for circle in self.scenario.circles.iter().filter(|circle| circle.entry == Entry::Pin) {
            let mut members = self.members(&circle.name);
            if members.first().is_none_or(|(_, role)| *role != Role::Owner) {
                continue; // the scenario's reader lets no such circle pass
            }
            let (founder, _) = members.remove(0);
            members.sort_by_key(|(device, _)| (device.spec().starts, device.index()));
            let now = Instant::now();
            let outside = members.into_iter().map(|(device, role)| (device, role, now)).collect();
            let entering = Entering { circle: circle.name.clone(), outside };
            people.entry(founder.index()).or_insert_with(|| (founder, Vec::new())).1.push(entering);
        }
        for (founder, circles) in people.into_values() {
            self.sim.spawn(go_round(self.ears.clone(), founder, circles));
        }
    }

    /// Somebody enters a wrong PIN.
    pub(super) fn wrong_pin(&self, shown: &str, entered: &str) {
        let (Some(shower), Some(enterer)) = (self.find(shown), self.find(entered)) else { return };
        let ears = self.ears.clone();
        self.sim.spawn(async move {
            let both = PairOptions { join: true, ..PairOptions::default() };
            let options = (both.clone(), both);
            let tried = pair(&shower, &enterer, options, |right| {
                // The last digit is another one.
                let mut wrong = right.to_owned();
                let last = wrong.pop().and_then(|digit| digit.to_digit(10)).unwrap_or(0);
                wrong.push(char::from_digit((last + 1) % 10, 10).unwrap_or('0'));
                wrong
            });
            let names = (shower.name(), enterer.name());
            match tried.await {
                Ok(Tried { shown, entered, outcome: Ok(_) }) => ears.watch.violated(
                    "wrong-pin",
                    format!("{} showed {shown}, {} entered {entered}, and they are paired", names.0, names.1),
                ),
                Ok(Tried { outcome: Err(error), .. }) if turned_away(&error) => ears.watch.held("wrong-pin"),
                // It never came to be compared: nothing was looked at.
                Ok(Tried { outcome: Err(error), .. }) => ears.not_tried(names, &error.to_string()),
                Err(why) => ears.not_tried(names, &why),
            }
        });
    }
}

impl Ears {
    fn not_tried(&self, (shown, entered): (&str, &str), why: &str) {
        self.watch.note("person", None, format!("the PIN of {shown} is not tried on {entered}: {why}"));
    }
}

/// Whether the PIN was compared, and found wrong.
fn turned_away(error: &softbus::Error) -> bool {
    use MembershipError::{Frozen, WrongPin};
    matches!(error, softbus::Error::Membership(WrongPin { .. } | Frozen { .. }))
}

/// Until every device is in, or the run ends.
async fn go_round(ears: Ears, founder: Device, mut circles: Vec<Entering>) {
    let mut said: BTreeSet<(usize, String)> = BTreeSet::new();
    loop {
        for entering in &mut circles {
            let Some(id) = found(&ears, &founder, &entering.circle).await else { continue };
            let mut left = Vec::new();
            for (device, role, when) in std::mem::take(&mut entering.outside) {
                let both = founder.mode() == DeviceState::Up && device.mode() == DeviceState::Up;
                if !both || Instant::now() < when {
                    left.push((device, role, when));
                    continue;
                }
                match let_in(&ears, &founder, &device, (id, role)).await {
                    Ok(took) => {
                        let text = format!(
                            "{} shows a PIN, {} enters it: in {} after {:.3} s",
                            founder.name(),
                            device.name(),
                            entering.circle,
                            took as f64 / 1e6
                        );
                        ears.trace.line(ears.watch.now_ns(), device.name(), &text);
                        ears.watch.note("person", Some(device.index()), text);
                    }
                    Err(why) => {
                        // Of each device every reason once.
                        if said.insert((device.index(), why.clone())) {
                            let text = format!("{} is not in {} yet: {why}", device.name(), entering.circle);
                            ears.watch.note("person", Some(device.index()), text);
                        }
                        left.push((device, role, Instant::now() + AGAIN));
                    }
                }
            }
            entering.outside = left;
        }
        circles.retain(|entering| !entering.outside.is_empty() || !ears.knows(&entering.circle));
        if circles.is_empty() {
            return;
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// The circle of this name, founded if it is not there yet; `None` if its founder is off, or cannot.
async fn found(ears: &Ears, founder: &Device, name: &str) -> Option<CircleId> {
    if let Some(id) = ears.heard.lock().circles.get(name) {
        return Some(*id);
    }
    let bus = founder.bus().filter(|_| founder.mode() == DeviceState::Up)?;
    let (name, told) = (name.to_owned(), ears.clone());
    let founded = founder.host().spawn(async move {
        // A crash may have come between the founding and its being told here.
        let known = bus.circles().circles().circles.values().find(|circle| circle.name == name).map(|c| c.id);
        let id = match known {
            Some(id) => id,
            None => bus.found_circle(&name).await?.circle,
        };
        bus.circles().words_shown(id).await?;
        told.heard.lock().circles.insert(name, id);
        Ok::<_, softbus::Error>(id)
    });
    match founded.await {
        Ok(Some(Ok(id))) => Some(id),
        Ok(Some(Err(error))) => {
            ears.watch.note("person", Some(founder.index()), format!("no circle is founded: {error}"));
            None
        }
        _ => None,
    }
}

/// Pairs one device, and tells how long that took in microseconds: nobody takes time to read and type.
async fn let_in(
    ears: &Ears,
    founder: &Device,
    device: &Device,
    (circle, role): (CircleId, Role),
) -> Result<u64, String> {
    let until = default_end(founder.host().clock().wall());
    let grant = Grant { role, expires: (role == Role::Guest).then_some(until), services: Default::default() };
    let shows = PairOptions { circle: Some(circle), grant: Some(grant), join: false };
    let owns = device.bus().and_then(|bus| {
        let now = device.host().clock().wall();
        let circles = bus.circles().circles();
        circles.circles.values().find(|circle| circle.is_owner(&device.id(), now)).map(|circle| circle.id)
    });
    let enters = PairOptions { circle: owns, grant: None, join: true };
    let began = ears.watch.now_us();
    // Nobody's presence or roster is as it was, from here on.
    ears.disturbed();
    let tried = pair(founder, device, (shows, enters), str::to_owned).await?;
    ears.disturbed();
    // It may have stored the circle when its word of that was lost.
    let is_in = device.bus().is_some_and(|bus| bus.circles().circles().circles.contains_key(&circle));
    match tried.outcome {
        Err(error) if !is_in => Err(error.to_string()),
        _ => {
            let took = ears.watch.now_us() - began;
            ears.heard.lock().pairing_us.push(took);
            Ok(took)
        }
    }
}

/// One device shows a PIN; on the other `typed` of it is entered as soon as it sees the first. `Err` says why nothing could
/// be entered.
async fn pair(
    shower: &Device,
    enterer: &Device,
    (shows, enters): (PairOptions, PairOptions),
    typed: impl FnOnce(&str) -> String,
) -> Result<Tried, String> {
    let off = |device: &Device| format!("{} is off", device.name());
    let bus = shower.bus().ok_or_else(|| off(shower))?;
    let run = shower.run();
    let opened = shower.host().spawn(async move { bus.open_pairing(shows).await }).await;
    let opening = match opened {
        Ok(Some(Ok(opening))) => opening,
        Ok(Some(Err(error))) => return Err(error.to_string()),
        _ => return Err(off(shower)),
    };
    let shown = match &*opening.state.borrow() {
        PairingState::Open { pin, .. } => pin.reveal().to_owned(),
        other => return Err(format!("no PIN is shown: {other:?}")),
    };
    let entered = typed(&shown);
    let bus = enterer.bus().ok_or_else(|| off(enterer))?;
    let (of, pin) = (shower.id(), entered.clone());
    let trying = enterer.host().spawn(async move {
        let mut nearby = bus.nearby();
        let seen = async { while bus.addresses_nearby(of).is_empty() && nearby.changed().await.is_ok() {} };
        // Not to be seen: the face says so.
        let _ = tokio::time::timeout(LOOK, seen).await;
        bus.pair_with(of, &pin, enters).await
    });
    let outcome = trying.await;
    if let Some(bus) = shower.bus().filter(|_| shower.run() == run) {
        bus.circles().close_opening(opening.number);
    }
    match outcome {
        Ok(Some(outcome)) => Ok(Tried { shown, entered, outcome }),
        _ => Err(off(enterer)),
    }
}
