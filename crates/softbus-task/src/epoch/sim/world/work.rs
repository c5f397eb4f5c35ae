//! The disks and the running instances of the devices.

use softbus_core::wire::task::{CheckpointRef, ManifestKind};
use softbus_core::{DeviceId, Hash};

use super::super::super::manifest::{self, Content};
use super::super::device::History;
use super::{Event, STEP_US, STEPS_PER_CHECKPOINT, What, World};

impl World {
    pub(super) fn written(&mut self, device: usize, life: u64, token: u64, fails: bool) {
        let current = &mut self.devices[device];
        if current.life != life || !current.up {
            return;
        }
        let mut newest = None;
        while current.disk.writing.front().is_some_and(|(written, _)| *written <= token) {
            newest = current.disk.writing.pop_front();
        }
        if fails {
            return self.give(device, Event::PersistFailed { token });
        }
        if let Some((_, record)) = newest {
            let bytes = record.to_bytes().unwrap();
            assert_eq!(super::super::super::Durable::from_bytes(&bytes).unwrap(), record);
            let links = record.chain.clone();
            current.disk.record = Some(record);
            self.observe(&links);
            self.give(device, Event::Persisted { token });
        }
    }

    pub(super) fn store(
        &mut self,
        device: usize,
        signed: softbus_core::Signed,
        history: History,
    ) -> Option<CheckpointRef> {
        let opened = manifest::open(&signed).ok()?;
        let checkpoint = manifest::name(&opened, &signed);
        self.observer.states.insert(checkpoint.manifest, history.clone());
        self.devices[device].disk.damaged.remove(&checkpoint.manifest);
        self.devices[device].disk.checkpoints.insert(checkpoint.manifest, (signed, checkpoint, history));
        Some(checkpoint)
    }

    pub(super) fn fetch(
        &mut self,
        device: usize,
        checkpoint: CheckpointRef,
        from: Vec<softbus_core::DeviceId>,
    ) {
        let life = self.devices[device].life;
        let sources: Vec<usize> = from.into_iter().filter_map(|id| self.index(id)).collect();
        let here = self.devices[device].disk.checkpoints.contains_key(&checkpoint.manifest);
        let mut source = here.then_some(device);
        for other in sources {
            let current = &mut self.devices[other].disk;
            let has = current.checkpoints.contains_key(&checkpoint.manifest);
            let damaged = current.damaged.contains(&checkpoint.manifest);
            let there = self.devices[other].up && self.reaches(other, device) && self.reaches(device, other);
            if source.is_some() || !there {
            } else if damaged && has {
                self.notice(other, checkpoint.manifest, false);
            } else if has {
                source = Some(other);
            }
        }
        let delay = match source {
            Some(source) if source == device => 100,
            Some(_) => self.slow_fetch_us.unwrap_or_else(|| self.random.between(2_000, 250_000)),
            None => 150_000,
        };
        self.after(delay, What::Fetched { device, life, checkpoint, source });
    }

    pub(super) fn fetched(&mut self, device: usize, checkpoint: CheckpointRef, source: Option<usize>) {
        let found = source
            .filter(|source| {
                *source == device
                    || (self.devices[*source].up
                        && self.reaches(*source, device)
                        && self.reaches(device, *source))
            })
            .and_then(|source| self.devices[source].disk.checkpoints.get(&checkpoint.manifest).cloned());
        match found {
            Some((signed, _, history)) => {
                self.store(device, signed.clone(), history);
                self.give(device, Event::Fetched { manifest: signed });
            }
            None => self.give(device, Event::FetchFailed { manifest: checkpoint.manifest, ours: false }),
        }
    }

    /// Damages the checkpoint that counts on a device. One that nobody else keeps is spared: there would be no end.
    pub(super) fn damage(&mut self, device: usize) {
        let held = |device: &super::Device| {
            let record =
                device.machine.as_ref().map(super::TaskMachine::record).or(device.disk.record.as_ref());
            let held = record.and_then(|record| record.held.as_ref().map(|held| held.checkpoint.manifest));
            held.filter(|held| {
                device.disk.checkpoints.contains_key(held) && !device.disk.damaged.contains(held)
            })
        };
        let Some(manifest) = held(&self.devices[device]) else { return };
        let decrees =
            self.devices.iter().filter_map(|device| device.machine.as_ref()).map(super::TaskMachine::decree);
        let newest = decrees.max_by_key(|decree| decree.epoch);
        let members = newest.map(softbus_core::wire::task::Decree::members).unwrap_or_default();
        let kept = |(other, current): (usize, &super::Device)| {
            other != device && members.contains(&current.id) && held(current) == Some(manifest)
        };
        if !self.devices.iter().enumerate().any(kept) {
            return;
        }
        self.devices[device].disk.damaged.insert(manifest);
        if self.random.permille(500) {
            self.notice(device, manifest, false);
        }
    }

    /// A damaged checkpoint is read.
    pub(super) fn notice(&mut self, device: usize, manifest: Hash, read_to_run: bool) {
        let life = self.devices[device].life;
        self.after(100, What::Lost { device, life, manifest, read_to_run });
    }

    pub(super) fn lost(&mut self, device: usize, manifest: Hash, read_to_run: bool) {
        let disk = &mut self.devices[device].disk;
        if disk.damaged.contains(&manifest) {
            disk.checkpoints.remove(&manifest);
            self.tell(|_| format!("{device} finds a checkpoint damaged"));
            self.give(device, Event::Lost { manifest });
        }
        if read_to_run {
            self.give(device, Event::Stopped { last: None });
        }
    }

    // --- the instance ---

    pub(super) fn step(&mut self, device: usize, life: u64, instance: u64) {
        let current = &mut self.devices[device];
        if current.life != life || !current.up {
            return;
        }
        let live = current.live(self.now_us).is_some();
        let Some(running) = current.instance.as_mut().filter(|running| running.id == instance) else {
            return;
        };
        if running.stopping {
            return;
        }
        let mut checkpoint = false;
        if live {
            running.history.push(self.random.next() >> 8);
            running.steps += 1;
            checkpoint = running.steps.is_multiple_of(STEPS_PER_CHECKPOINT);
            if running.history.len() as u64 >= self.plan.steps {
                let history = running.history.clone();
                let signed = self.make(device, ManifestKind::Result, &history);
                self.devices[device].instance = None;
                if let Some(signed) = signed {
                    self.tell(|_| format!("{device} finished"));
                    self.store(device, signed.clone(), history);
                    self.give(device, Event::Finished { result: signed });
                }
                return;
            }
        }
        if checkpoint {
            let history = self.devices[device].instance.as_ref().unwrap().history.clone();
            if let Some(signed) = self.make(device, ManifestKind::Checkpoint, &history) {
                self.store(device, signed.clone(), history);
                self.give(device, Event::Checkpoint { manifest: signed });
            }
        }
        self.after(STEP_US, What::Step { device, life, instance });
    }

    /// Signs a manifest under the right that the instance was last told of.
    pub(super) fn make(
        &mut self,
        device: usize,
        kind: ManifestKind,
        history: &History,
    ) -> Option<softbus_core::Signed> {
        let current = &mut self.devices[device];
        let instance = current.instance.as_mut()?;
        instance.sequence += 1;
        let decree = self
            .observer
            .decided
            .get(&(instance.fence.branch, instance.fence.epoch.0))
            .map(|(_, decree)| decree.clone())?;
        let destination = instance.destination.filter(|_| instance.stopping);
        let content = Content { destination, ..content(kind, instance.sequence, history) };
        manifest::next(&*current.key, instance.fence.branch, &decree, content).ok()
    }

    pub(super) fn stop(&mut self, device: usize, discard: bool, destination: Option<DeviceId>) {
        let life = self.devices[device].life;
        let Some(instance) = &mut self.devices[device].instance else {
            // It finished in this moment; the machine hears of that first.
            return;
        };
        (instance.stopping, instance.destination) = (true, destination);
        let id = instance.id;
        let delay = self.random.between(500, 60_000);
        self.after(delay, What::Stop { device, life, instance: id, discard });
    }

    pub(super) fn stopped(&mut self, device: usize, life: u64, instance: u64, discard: bool) {
        let current = &self.devices[device];
        let is = |running: &super::super::device::Instance| running.id == instance && running.stopping;
        if current.life != life || !current.up || !current.instance.as_ref().is_some_and(is) {
            return;
        }
        if !discard && current.failing_disk {
            // The final checkpoint cannot be stored; it is tried again.
            return self.after(500_000, What::Stop { device, life, instance, discard });
        }
        let history = self.devices[device].instance.as_ref().unwrap().history.clone();
        let last = if discard { None } else { self.make(device, ManifestKind::Checkpoint, &history) };
        self.devices[device].instance = None;
        if let Some(signed) = &last {
            self.store(device, signed.clone(), history);
        }
        self.give(device, Event::Stopped { last });
    }
}

pub(in super::super) fn content(kind: ManifestKind, sequence: u64, history: &History) -> Content {
    let mut bytes = Vec::new();
    history.iter().for_each(|said| bytes.extend_from_slice(&said.to_le_bytes()));
    Content {
        kind,
        sequence,
        state_version: 1,
        root: Hash::of(&bytes),
        chunks: 1,
        bytes: bytes.len() as u64,
        effects: history.len() as u64,
        progress_permille: 0,
        destination: None,
    }
}
