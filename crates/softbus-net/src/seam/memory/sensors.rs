use std::sync::Mutex;

use softbus_core::PowerSource;

use super::lock;
use crate::seam::{Hardware, Sample, Sensors};

/// Sensors that say what they are told to.
#[derive(Debug)]
pub struct FixedSensors(Mutex<(Hardware, Sample)>);

impl FixedSensors {
    /// An idle machine of four cores and 8 GiB on mains.
    pub fn named(name: &str) -> Self {
        let hardware = Hardware {
            name: name.to_owned(),
            cores: 4,
            memory_bytes: 8 << 30,
            arch: "virtual".into(),
            os: "memory".into(),
            ..Hardware::default()
        };
        let sample = Sample { memory_free_bytes: 6 << 30, power: PowerSource::Mains, ..Sample::default() };
        Self(Mutex::new((hardware, sample)))
    }

    /// What they say from now on.
    pub fn set_sample(&self, sample: Sample) {
        lock(&self.0).1 = sample;
    }

    /// Changes what they say.
    pub fn change(&self, change: impl FnOnce(&mut Hardware, &mut Sample)) {
        let (hardware, sample) = &mut *lock(&self.0);
        change(hardware, sample);
    }
}

impl Sensors for FixedSensors {
    fn hardware(&self) -> Hardware {
        lock(&self.0).0.clone()
    }

    fn sample(&self) -> Sample {
        lock(&self.0).1.clone()
    }
}
