//! What is kept of a run for its record.

use std::collections::{BTreeMap, BTreeSet};

use super::world::Index;
use crate::record::{DeviceSample, DeviceState, EventRecord, LinkSpan, Traffic};

/// Events kept for the report.
const EVENTS: usize = 200_000;

#[derive(Default)]
pub(super) struct Figures {
    pub discovery_us: Vec<u64>,
    pub presence_us: Vec<u64>,
    /// When a device last went or came, undisturbed by anything else.
    pub went: BTreeMap<Index, u64>,
    pub came: BTreeMap<Index, u64>,
    /// Who has noticed of whom that it went, or came.
    pub noticed: BTreeSet<(Index, Index)>,
    /// When something last disturbed anybody.
    pub disturbed: u64,
    pub links: BTreeMap<(Index, Index), u64>,
    pub spans: Vec<LinkSpan>,
    pub faults: BTreeMap<String, u64>,
    pub events: Vec<EventRecord>,
    pub traffic: Vec<Traffic>,
    pub total: Traffic,
    /// At the last sample.
    pub counted: Traffic,
    pub samples: Vec<Vec<DeviceSample>>,
    pub states: Vec<Vec<(u64, DeviceState)>>,
    pub places: Vec<Vec<(u64, usize)>>,
}

impl Figures {
    /// A device is gone from now on; `None`: something else was wrong with it, too.
    pub fn went(&mut self, device: Index, at: Option<u64>) {
        self.came.remove(&device);
        self.forget_noticed(device);
        match at {
            Some(at) => self.went.insert(device, at),
            None => self.went.remove(&device),
        };
    }

    /// A device is back, or there for the first time.
    pub fn came(&mut self, device: Index, at: u64) {
        self.went.remove(&device);
        self.forget_noticed(device);
        self.came.insert(device, at);
    }

    fn forget_noticed(&mut self, device: Index) {
        let of: Vec<_> = self.noticed.range((device, 0)..=(device, Index::MAX)).copied().collect();
        for pair in of {
            self.noticed.remove(&pair);
        }
    }

    /// One device noticed that another went or came. As in the full simulator it counts the first time, and if nothing else
    /// has disturbed anybody since.
    pub fn notice(&mut self, who: Index, about: Index, gone: bool, now: u64) {
        let since = if gone { self.went.get(&about) } else { self.came.get(&about) };
        let Some(since) = since.copied().filter(|since| self.disturbed <= *since) else { return };
        if self.noticed.insert((about, who)) {
            self.presence_us.push((now - since) / 1000);
        }
    }

    /// A message was sent.
    pub fn sent(&mut self, bytes: u64, arrives: bool) {
        self.total.sent += 1;
        self.total.bytes += bytes;
        self.total.lost += u64::from(!arrives);
    }

    pub fn note(&mut self, at_us: u64, kind: &str, device: Option<Index>, text: String) {
        if self.events.len() < EVENTS {
            let device = device.map(|device| device as usize);
            self.events.push(EventRecord { at_us, kind: kind.to_owned(), device, text });
        }
    }
}
