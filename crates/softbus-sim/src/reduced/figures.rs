//! What is kept of a run for its record.

use std::collections::BTreeMap;

use super::world::Index;
use crate::noticed::Noticed;
use crate::record::{DeviceSample, DeviceState, EventRecord, LinkSpan, Traffic};

/// Events kept for the report.
const EVENTS: usize = 200_000;

#[derive(Default)]
pub(super) struct Figures {
    pub discovery_us: Vec<u64>,
    /// Presence times, and when something last disturbed anybody.
    pub noticed: Noticed,
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
