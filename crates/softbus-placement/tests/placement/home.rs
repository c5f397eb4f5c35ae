//! Random homes full of devices.

use std::sync::Arc;

use softbus_core::{
    DeviceId, DeviceKind, DynamicProfile, Latency, PowerSource, Privacy, Profile, StaticProfile, Thermal,
    WallMs,
};
use softbus_placement::{Candidate, Link, Presence, Reach, Reserved, Trust, Work};

/// SplitMix64: small, good enough for test cases, the same everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0.0 to 1.0.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From `low` to `high`, both in.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// Spread evenly over magnitudes.
    pub fn magnitude(&mut self, low: f64, high: f64) -> u64 {
        (low * (high / low).powf(self.unit())) as u64
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    /// Sum of twelve: mean 0, standard deviation 1.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

pub fn id(n: u8) -> DeviceId {
    DeviceId([n; 32])
}

pub fn profile(id: DeviceId, name: &str, cores: u16, rate_ops_per_s: u64, memory_bytes: u64) -> Profile {
    Profile {
        fixed: StaticProfile {
            id,
            version: 1,
            issued: WallMs(0),
            expires: WallMs(u64::MAX),
            name: name.into(),
            kind: DeviceKind::Other,
            cores,
            memory_bytes,
            arch: "x86_64".into(),
            os: "linux".into(),
            accelerators: vec![],
            capabilities: vec![],
            services: vec![],
            task_types: vec![],
            battery_floor_permille: 200,
            declared: vec![],
        },
        now: Some(DynamicProfile {
            rate_ops_per_s,
            memory_free_bytes: memory_bytes,
            power: PowerSource::Mains,
            ..DynamicProfile::default()
        }),
    }
}

pub fn now(candidate: &mut Candidate) -> &mut DynamicProfile {
    candidate.profile.as_mut().unwrap().now.as_mut().unwrap()
}

pub fn fixed(candidate: &mut Candidate) -> &mut StaticProfile {
    Arc::make_mut(&mut candidate.profile.as_mut().unwrap().fixed)
}

/// A home as they are: device 1 decides; some devices cannot.
pub fn random_home(rng: &mut Rng) -> Vec<Candidate> {
    let count = rng.between(2, 8) as u8;
    (1..=count)
        .map(|n| {
            let cores = [1, 2, 4, 8][rng.between(0, 3) as usize];
            let rate = rng.magnitude(5e7, 4e9);
            let memory = rng.magnitude(32e6, 16e9);
            let mut profile = profile(id(n), &format!("d{n}"), cores, rate, memory);
            let dynamic = profile.now.as_mut().unwrap();
            dynamic.memory_free_bytes = memory / rng.between(1, 4);
            dynamic.load_permille = rng.between(0, 900) as u16;
            if rng.one_in(2) {
                dynamic.battery_permille = Some(rng.between(0, 1000) as u16);
                dynamic.power = if rng.one_in(3) { PowerSource::Mains } else { PowerSource::Battery };
            }
            dynamic.thermal = match rng.between(0, 11) {
                0 => Thermal::Critical,
                1 => Thermal::Serious,
                2 => Thermal::Fair,
                _ => Thermal::Nominal,
            };
            if rng.one_in(3) {
                dynamic.running_tasks = rng.between(1, 6) as u16;
                dynamic.queued_ops = rng.magnitude(1e8, 1e11);
            }
            let link = Link {
                rtt_us: rng.magnitude(200.0, 200_000.0),
                rate_bytes_per_s: rng.magnitude(50e3, 400e6),
                loss_permille: rng.between(0, 30) as u16,
            };
            Candidate {
                trust: [Trust::Owner, Trust::Member, Trust::Member, Trust::Guest][rng.between(0, 3) as usize],
                presence: match rng.between(0, 15) {
                    0 => Presence::Offline,
                    1 => Presence::Asleep,
                    2 => Presence::Suspect,
                    _ => Presence::Online,
                },
                age_us: rng.between(0, 33_000_000),
                reach: if n == 1 { Reach::Local } else { Reach::Link(link) },
                reserved: Reserved { full: rng.one_in(20), ..Reserved::default() },
                draining: rng.one_in(20),
                id: id(n),
                profile: (!rng.one_in(20)).then_some(profile.into()),
            }
        })
        .collect()
}

pub fn random_work(rng: &mut Rng) -> Work {
    Work {
        ops: rng.magnitude(1e8, 2e11),
        parallelism: [1, 1, 2, 4, 16][rng.between(0, 4) as usize],
        serial_permille: [0, 0, 50, 300][rng.between(0, 3) as usize],
        memory_bytes: rng.magnitude(1e6, 1e9),
        input_bytes: rng.magnitude(1e3, 50e6),
        output_bytes: rng.magnitude(1e3, 20e6),
        privacy: [Privacy::Circle, Privacy::Circle, Privacy::Anyone, Privacy::Owners, Privacy::Device]
            [rng.between(0, 4) as usize],
        latency: [Latency::Background, Latency::Normal, Latency::Interactive][rng.between(0, 2) as usize],
        may_be_foreign: !rng.one_in(20),
        ..Work::default()
    }
}
