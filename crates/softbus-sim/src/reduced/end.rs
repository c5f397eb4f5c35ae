//! A second of everybody's life, and the record of it all at the end.

use softbus_net::Presence;

use super::world::{Index, What, World};
use crate::record::{
    DeviceRecord, DeviceSample, DeviceState, LinkSpan, Model, Record, Spread, Summary, Traffic, micros,
};
use crate::run::Doings;

/// Samples of each device in the record, about.
const SAMPLES: u64 = 400;
/// With more devices than these none is sampled: the record would be larger than the world.
const SAMPLED: usize = 5_000;
const SECOND_NS: u64 = 1_000_000_000;

impl World {
    fn sample_every_s(&self) -> u64 {
        (self.scenario.duration.as_secs() / SAMPLES).max(1)
    }

    /// A second has passed.
    pub(super) fn second(&mut self) {
        let sampled = (self.now / SECOND_NS).is_multiple_of(self.sample_every_s());
        let count = Index::try_from(self.devices.len()).unwrap_or(Index::MAX);
        for of in 0..count {
            self.live(of);
            if sampled && self.devices.len() <= SAMPLED {
                let sample = self.sampled(of);
                self.figures.samples[of as usize].push(sample);
            }
        }
        if sampled {
            let (total, counted) = (self.figures.total, self.figures.counted);
            self.figures.traffic.push(Traffic {
                sent: total.sent - counted.sent,
                bytes: total.bytes - counted.bytes,
                lost: total.lost - counted.lost,
            });
            self.figures.counted = total;
        }
        self.at(self.now + SECOND_NS, What::Second);
    }

    fn live(&mut self, of: Index) {
        let cores = f64::from(self.scenario.devices[of as usize].cores.max(1));
        let device = self.device_mut(of);
        let bytes = device.bytes.0 + device.bytes.1;
        let fresh = bytes - std::mem::replace(&mut device.bytes_counted, bytes);
        let up = device.is_up();
        let others = if up { cores * f64::from(device.load) / 1000.0 } else { 0.0 };
        let empty = device.body.pass(Doings {
            seconds: 1.0,
            on: matches!(device.mode, DeviceState::Up | DeviceState::Asleep),
            asleep: device.mode == DeviceState::Asleep,
            core_seconds: others,
            bytes: fresh,
        });
        if empty && up {
            self.run_empty(of);
        }
    }

    fn sampled(&self, of: Index) -> DeviceSample {
        let device = self.device(of);
        let online = device.roster.as_ref().map_or(0, |roster| {
            roster.view().others().filter(|entry| entry.presence == Presence::Online).count()
        });
        DeviceSample {
            battery_permille: device.body.battery_permille(),
            celsius: device.body.celsius().map(|c| c as f32),
            load_permille: device.load,
            online: u16::try_from(online).unwrap_or(u16::MAX),
            running: self.running(of).tasks,
        }
    }

    /// What the run leaves.
    pub(super) fn record(mut self) -> Record {
        let now_us = micros(self.scenario.duration);
        let open = std::mem::take(&mut self.figures.links);
        self.figures.spans.extend(open.into_iter().map(|((a, b), from_us)| LinkSpan {
            a: a as usize,
            b: b as usize,
            from_us,
            to_us: now_us,
        }));
        let figures = self.figures;
        let energy_j = self.devices.iter().map(|device| device.body.energy_j()).sum();
        let histories = figures.samples.into_iter().zip(figures.states).zip(figures.places);
        let devices = self.devices.iter().zip(&self.scenario.devices).zip(histories);
        let devices = devices.map(|((device, spec), ((samples, states), segments))| DeviceRecord {
            name: spec.name.clone(),
            id: device.id.short().to_string(),
            kind: spec.kind.to_string(),
            states,
            segments,
            samples,
            bytes: device.bytes,
            energy_j: device.body.energy_j(),
        });
        Record {
            model: Model::Reduced,
            scenario: self.scenario.name.clone(),
            about: self.scenario.about.clone(),
            seed: self.seed,
            version: env!("CARGO_PKG_VERSION").into(),
            crypto: self.scenario.crypto,
            duration_us: now_us,
            trace_hash: String::new(),
            segments: self.scenario.segments.iter().map(|segment| segment.name.clone()).collect(),
            devices: devices.collect(),
            links: figures.spans,
            tasks: Vec::new(),
            events: figures.events,
            traffic: figures.traffic,
            sample_every_us: (self.scenario.duration.as_secs() / SAMPLES).max(1) * 1_000_000,
            invariants: Vec::new(),
            summary: Summary {
                discovery_us: Spread::of(figures.discovery_us),
                presence_us: Spread::of(figures.presence_us),
                datagrams: figures.total.sent,
                bytes: figures.total.bytes,
                energy_j,
                faults: figures.faults,
                ..Summary::default()
            },
        }
    }
}
