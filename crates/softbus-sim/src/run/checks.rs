//! Invariants that are looked at now and then, over all devices at once.

use std::collections::BTreeMap;
use std::time::Duration;

use softbus_core::{CircleId, DeviceId, Hash};
use softbus_task::Filling;
use softbus_trust::Member;

use super::Director;
use crate::record::{DeviceState, Fullest, micros};
use crate::scenario::{Bounds, Scenario};

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

impl Director {
    /// Looks at all of them, if it is time.
    pub(super) fn check(&mut self, at: Duration) {
        if !at.as_secs().is_multiple_of(EVERY_S) {
            return;
        }
        self.equal_members();
        self.bounded();
        self.removed_are_out();
        let disturbed = self.ears.heard.lock().noticed.disturbed_us();
        if micros(at).saturating_sub(disturbed) >= micros(self.checks.bounds.roster) {
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
                    .is_some_and(|link| link.presence == softbus::Presence::Online);
                if linked {
                    let text = format!("{} has a link with a removed device", device.name());
                    self.sim.watch().violated("strangers-out", text);
                } else {
                    self.sim.watch().held("strangers-out");
                }
            }
        }
    }

    /// Nothing has happened for a while: whoever sees each other sees the same.
    fn rosters_agree(&mut self) {
        let up: Vec<_> = self.sim.devices().iter().filter(|d| d.mode() == DeviceState::Up).cloned().collect();
        let pairs: Vec<(usize, usize)> =
            (0..up.len()).flat_map(|a| (a + 1..up.len()).map(move |b| (a, b))).collect();
        if pairs.is_empty() {
            return;
        }
        let begin = self.checks.turn % pairs.len();
        self.checks.turn += PAIRS;
        for (a, b) in pairs.iter().cycle().skip(begin).take(PAIRS.min(pairs.len())) {
            let (a, b) = (&up[*a], &up[*b]);
            if a.spec().circles != b.spec().circles {
                continue; // they know of different devices
            }
            let (Some(bus_a), Some(bus_b)) = (a.bus(), b.bus()) else { continue };
            let are_in = |bus: &softbus::Bus| -> Vec<CircleId> {
                bus.circles().circles().circles.keys().copied().collect()
            };
            if are_in(&bus_a) != are_in(&bus_b) {
                continue; // one of them has not come in yet
            }
            let (view_a, view_b) = (bus_a.roster().view(), bus_b.roster().view());
            let sees = view_a.get(&b.id()).is_some_and(|e| e.presence == softbus::Presence::Online);
            if !sees {
                continue;
            }
            let fixed = |view: &softbus::RosterView| -> BTreeMap<DeviceId, Option<u64>> {
                let version = |e: &softbus::RosterEntry| e.profile.as_ref().map(|profile| profile.version);
                view.entries.iter().map(|(id, entry)| (*id, version(entry))).collect()
            };
            let (of_a, of_b) = (fixed(&view_a), fixed(&view_b));
            if of_a == of_b {
                self.sim.watch().held("rosters-agree");
            } else {
                let differ = of_a.iter().filter(|(id, version)| of_b.get(id) != Some(version)).count();
                let text = format!(
                    "{} knows {} devices and {} knows {}; of {differ} they hold different profiles",
                    a.name(),
                    of_a.len(),
                    b.name(),
                    of_b.len(),
                );
                self.sim.watch().violated("rosters-agree", text);
            }
        }
    }
}
