//! Invariants that are looked at now and then, over all devices at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use softbus::{Presence, RosterEntry, RosterView};
use softbus_core::{CircleId, DeviceId, Hash};
use softbus_task::Filling;
use softbus_trust::Member;

use super::Director;
use crate::device::Device;
use crate::record::{DeviceState, Fullest, micros};
use crate::scenario::{Bounds, RoleSpec, Scenario};

/// How often.
const EVERY_S: u64 = 5;
/// Pairs of devices that are compared at once, at most.
const PAIRS: usize = 64;

/// What they need.
pub(super) struct Checks {
    bounds: Bounds,
    /// Where the pairs of the next comparison begin.
    turn: usize,
    /// Of whatever has a limit: the most that was seen of it on one device, and the limit.
    fullest: BTreeMap<&'static str, (usize, usize)>,
}

impl Checks {
    pub fn new(scenario: &Scenario) -> Self {
        Self { bounds: scenario.bounds, turn: 0, fullest: BTreeMap::new() }
    }
}

/// A circle as one device knows it.
type Members = BTreeMap<DeviceId, Member>;
/// A device as a roster tells of it.
type Told = (Option<u64>, Option<Presence>);

impl Director {
    /// Looks at all of them, if it is time.
    pub(super) fn check(&mut self, at: Duration) {
        if !at.as_secs().is_multiple_of(EVERY_S) {
            return;
        }
        self.equal_members();
        self.bounded();
        self.removed_are_out();
        let (since, cut) = {
            let heard = self.ears.heard.lock();
            (heard.noticed.disturbed_us().max(heard.changed_us), heard.lasting.0 > 0)
        };
        if !cut && micros(at).saturating_sub(since) >= micros(self.checks.bounds.roster) {
            self.rosters_agree();
        }
    }

    fn equal_members(&self) {
        let mut known: BTreeMap<(CircleId, Vec<Hash>), (usize, Members)> = BTreeMap::new();
        for device in self.sim.devices() {
            let Some(bus) = device.bus() else { continue };
            for (id, view) in &bus.circles().circles().circles {
                let Some(heads) = bus.circles().heads(*id) else { continue };
                // The statements may have changed between the two looks.
                if bus.circles().circles().circles.get(id) != Some(view) {
                    continue;
                }
                match known.get(&(*id, heads.clone())) {
                    None => {
                        known.insert((*id, heads), (device.index(), view.members.clone()));
                    }
                    Some((_, members)) if *members == view.members => self.sim.watch().held("equal-members"),
                    Some((other, members)) => {
                        let text = format!(
                            "{} and {} have equal statements of circle {id}, and {} and {} members",
                            device.name(),
                            self.sim.devices()[*other].name(),
                            view.members.len(),
                            members.len(),
                        );
                        self.sim.watch().violated("equal-members", text);
                    }
                }
            }
        }
    }

    fn bounded(&mut self) {
        for device in self.sim.devices() {
            let Some(bus) = device.bus() else { continue };
            for Filling { what, held, most } in bus.filling() {
                if held <= most {
                    self.sim.watch().held("queues-bounded");
                } else {
                    let text = format!("{} holds {held} {what}, at most {most} are allowed", device.name());
                    self.sim.watch().violated("queues-bounded", text);
                }
                let fullest = self.checks.fullest.entry(what).or_insert((0, most));
                fullest.0 = fullest.0.max(held);
            }
        }
    }

    /// How full what has a limit was at most, as far as it was looked at: with its limit.
    pub(super) fn fullest(&self) -> BTreeMap<String, Fullest> {
        let all = self.checks.fullest.iter();
        let told = |(held, most): (usize, usize)| Fullest { held: held as u64, most: most as u64 };
        all.map(|(what, fullest)| ((*what).to_owned(), told(*fullest))).collect()
    }

    /// Whoever knows that a device was removed has no link with it.
    fn removed_are_out(&self) {
        for removed in &self.removed {
            let gone = self.sim.devices()[*removed].id();
            for device in self.sim.devices().iter().filter(|device| device.index() != *removed) {
                let Some(bus) = device.bus() else { continue };
                if bus.roster().view().get(&gone).is_some() {
                    continue; // it has not heard yet
                }
                let linked = bus
                    .net()
                    .links()
                    .borrow()
                    .get(&gone)
                    .is_some_and(|link| link.presence == Presence::Online);
                if linked {
                    let text = format!("{} has a link with a removed device", device.name());
                    self.sim.watch().violated("removed-out", text);
                } else {
                    self.sim.watch().held("removed-out");
                }
            }
        }
    }

    /// Nothing has happened for a while: whoever sees each other sees the same.
    fn rosters_agree(&mut self) {
        let up: Vec<_> = self.sim.devices().iter().filter(|d| d.mode() == DeviceState::Up).cloned().collect();
        let pairs = up.len() * up.len().saturating_sub(1);
        for turn in (self.checks.turn..).take(PAIRS.min(pairs)) {
            let turn = turn % pairs;
            let (first, after) = (turn % up.len(), turn / up.len() + 1);
            let (a, b) = (&up[first], &up[(first + after) % up.len()]);
            // Guests know of other devices than members do.
            let knows: fn(&Device) -> Vec<(&String, bool)> = |device| {
                let circles = device.spec().circles.iter();
                circles.map(|(name, role)| (name, *role == RoleSpec::Guest)).collect()
            };
            if knows(a) != knows(b) {
                continue;
            }
            let (Some(bus_a), Some(bus_b)) = (a.bus(), b.bus()) else { continue };
            let are_in = |bus: &softbus::Bus| -> Vec<CircleId> {
                bus.circles().circles().circles.keys().copied().collect()
            };
            if are_in(&bus_a) != are_in(&bus_b) {
                continue; // one of them has not come in yet
            }
            let (view_a, view_b) = (bus_a.roster().view(), bus_b.roster().view());
            let sees = view_a.get(&b.id()).is_some_and(|e| e.presence == Presence::Online);
            if !sees {
                continue;
            }
            let (of_a, of_b) = (self.told(&view_a), self.told(&view_b));
            let ids: BTreeSet<&DeviceId> = of_a.keys().chain(of_b.keys()).collect();
            let Some(id) = ids.into_iter().find(|id| !agree(of_a.get(id), of_b.get(id))) else {
                self.sim.watch().held("rosters-agree");
                continue;
            };
            let say = |of: Option<&Told>| match of {
                None => "not at all".to_owned(),
                Some((version, presence)) => format!("{presence:?} with profile {version:?}"),
            };
            let name = self.sim.devices().iter().find(|device| device.id() == *id).map(Device::name);
            let text = format!(
                "{} knows {} {}, and {} {}",
                a.name(),
                name.unwrap_or("a device"),
                say(of_a.get(id)),
                b.name(),
                say(of_b.get(id)),
            );
            self.sim.watch().violated("rosters-agree", text);
        }
        self.checks.turn = self.checks.turn.wrapping_add(PAIRS);
    }

    /// What a roster says of each device: its profile's version, and whether it is there; `None` for one that comes or goes
    /// by itself, asleep or suspect.
    fn told(&self, view: &RosterView) -> BTreeMap<DeviceId, Told> {
        let told = |entry: &RosterEntry| {
            let version = entry.profile.as_ref().map(|profile| profile.version);
            let presence = entry.presence;
            (version, matches!(presence, Presence::Online | Presence::Offline).then_some(presence))
        };
        view.entries.iter().map(|(id, entry)| (*id, told(entry))).collect()
    }
}

/// Whether two rosters agree on a device. Of one that comes or goes by itself its presence is not compared.
fn agree(a: Option<&Told>, b: Option<&Told>) -> bool {
    match (a, b) {
        (Some((version_a, a)), Some((version_b, b))) => {
            version_a == version_b && a.zip(*b).is_none_or(|(a, b)| a == b)
        }
        (a, b) => a.is_none() && b.is_none(),
    }
}
