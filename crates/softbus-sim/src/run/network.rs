//! The scenario's network, as the network in memory is told of it.

use std::collections::BTreeMap;
use std::time::Duration;

use softbus_net::seam::memory::{self, Conditions};

use crate::device::Device;
use crate::record::DeviceState;
use crate::scenario::{Scenario, WaySpec};
use crate::sim::Sim;

/// How long a device that announces its sleep is given to move its tasks away.
const BEDTIME: Duration = Duration::from_secs(10);

/// What of it changes while it runs.
pub(super) struct Network {
    segments: BTreeMap<String, u32>,
    net: memory::MemoryNet,
    /// Cuts overlap: the way is free again when the last has ended.
    cuts: BTreeMap<(usize, usize), u32>,
}

impl Network {
    /// Sets segments and joins up.
    pub fn new(sim: &Sim, scenario: &Scenario) -> Self {
        let net = sim.world().net().clone();
        let mut segments = BTreeMap::new();
        for (number, segment) in (0u32..).zip(&scenario.segments) {
            let nat = segment.nat.map(|nat| memory::Nat { timeout: nat.timeout, filtering: nat.filtering });
            let settings = memory::Segment {
                way: conditions(segment.way),
                shared: segment.shared,
                multicast: segment.multicast,
                nat,
            };
            net.set_segment_settings(number, settings);
            segments.insert(segment.name.clone(), number);
        }
        for join in &scenario.joins {
            if let (Some(a), Some(b)) = (segments.get(&join.between.0), segments.get(&join.between.1)) {
                net.join(*a, *b, conditions(join.way));
            }
        }
        Self { segments, net, cuts: BTreeMap::new() }
    }

    /// Puts a device where the scenario says that it begins.
    pub fn place(&self, device: &Device) {
        if let Some(segment) = self.segments.get(&device.spec().segment) {
            device.host().move_to(*segment);
        }
    }

    /// Says how it is between those that have a way of their own.
    pub fn link(&self, sim: &Sim, scenario: &Scenario) {
        for link in &scenario.links {
            if let (Some(a), Some(b)) = (sim.device(&link.between.0), sim.device(&link.between.1)) {
                sim.world().set_conditions_between(a.host(), b.host(), conditions(link.way));
            }
        }
    }

    pub fn move_to(&self, device: &Device, segment: &str) {
        if let Some(segment) = self.segments.get(segment) {
            device.host().move_to(*segment);
        }
    }

    pub fn weather(&self, segment: &str, way: WaySpec) {
        if let Some(segment) = self.segments.get(segment) {
            self.net.set_segment_way(*segment, conditions(way));
        }
    }

    pub fn cut(&mut self, sim: &Sim, pairs: &[(usize, usize)]) {
        for pair in pairs {
            let count = self.cuts.entry(*pair).or_default();
            *count += 1;
            if *count == 1 {
                let (from, to) = (sim.devices()[pair.0].host(), sim.devices()[pair.1].host());
                sim.world().cut_one_way(from, to);
            }
        }
    }

    pub fn mend(&mut self, sim: &Sim, pairs: &[(usize, usize)]) {
        for pair in pairs {
            let Some(count) = self.cuts.get_mut(pair) else { continue };
            *count -= 1;
            if *count == 0 {
                self.cuts.remove(pair);
                let (from, to) = (sim.devices()[pair.0].host(), sim.devices()[pair.1].host());
                sim.world().mend_one_way(from, to);
            }
        }
    }

    /// It falls asleep; told before, its tasks leave first and the others know when it wakes.
    pub fn sleep(&self, device: &Device, announced: bool, span: Duration) {
        let Some(bus) = device.bus().filter(|_| announced) else { return device.host().sleep() };
        let at = device.clone();
        device.host().spawn(async move {
            let away = async {
                for task in bus.tasks().list() {
                    if task.runner == Some(bus.id()) && !task.state.is_final() {
                        let _ = bus.tasks().move_to(task.id, None, "its device goes to sleep").await;
                    }
                }
            };
            let _ = tokio::time::timeout(BEDTIME, away).await;
            bus.net().announce_sleep(span).await;
            if at.mode() == DeviceState::Asleep {
                at.host().sleep();
            }
        });
    }

    pub fn wake(&self, device: &Device) {
        device.host().wake();
        if let Some(bus) = device.bus() {
            bus.net().wake();
        }
    }
}

pub(super) fn conditions(way: WaySpec) -> Conditions {
    Conditions {
        latency: way.latency,
        jitter: way.jitter,
        loss_ppm: way.loss_ppm,
        burst: way.burst.map(|burst| memory::Burst {
            enter_ppm: burst.enter_ppm,
            leave_ppm: burst.leave_ppm,
            loss_ppm: burst.loss_ppm,
        }),
        duplicate_ppm: way.duplicate_ppm,
        reorder_ppm: way.reorder_ppm,
        rate_bytes_per_s: way.rate_bytes_per_s,
        queue: way.queue,
        mtu_bytes: way.mtu_bytes,
    }
}
