//! What programs that were written for the bus have beside WASI: a log, a map of their own, channels to services of the mesh,
//! and inference. They import it from `softbus` ([`FUNCTIONS`]).
//!
//! `Bus` is a part of the program's world and as pure: it moves with the program. What was asked and not yet answered is in
//! it, numbered; whoever runs the program begins those requests through [`Services`], and puts the answers in. After a move
//! or a fail-over what is unanswered is asked again, under the same numbers.

mod channels;
mod kv;
pub mod limits;
mod live;
mod services;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use softbus_core::ServiceName;

use crate::wasi::{Errno, Guest, Moment, Outcome, Wasi};
use channels::{Channel, Message};
pub(crate) use live::Live;
pub use services::{Failed, Nobody, Question, Request, Server, Services, Target};
pub use table::{FUNCTIONS, Function, MODULE, Param, Ty};
pub(crate) use table::{find, waits};

/// What a program may ask of the mesh. Nothing, unless it is granted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Grants {
    /// Services, by name and version. At most [`limits::GRANTS`].
    pub services: BTreeSet<ServiceName>,
    /// Whether it may have a model answer prompts.
    pub inference: bool,
}

/// The part of a program's world that is the bus's.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Bus {
    /// Not told with it: they are the task's, signed ([`Bus::granted`]).
    #[serde(skip)]
    grants: Grants,
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of all keys and values. Worked out anew when it is read.
    #[serde(skip)]
    map_bytes: usize,
    channels: BTreeMap<u32, Channel>,
    /// The prompt of the call that waits.
    prompt: Option<Message>,
    prompted: Option<Server>,
    /// The number given last. They are never given again.
    last: u64,
    /// When the call that waits ends at the latest, by the task's time.
    until: Option<u64>,
}

impl Bus {
    /// Of a program that was granted this.
    ///
    /// # Errors
    /// It is more than can be granted.
    pub fn new(grants: Grants) -> Result<Self, Errno> {
        if grants.services.len() > limits::GRANTS {
            return Err(Errno::NoSpace);
        }
        Ok(Self { grants, ..Self::default() })
    }

    /// Whether the program has nothing of it but what it was granted.
    pub fn is_unused(&self) -> bool {
        *self == Self { grants: self.grants.clone(), ..Self::default() }
    }

    /// One that was read, of a program that is granted this.
    ///
    /// # Errors
    /// It has more.
    pub fn granted(self, grants: Grants) -> Result<Self, Errno> {
        let channels = self.channels.values().all(|channel| grants.services.contains(&channel.service));
        let prompt = grants.inference || self.prompt.is_none();
        if channels && prompt { Ok(Self { grants, ..self }) } else { Err(Errno::NotCapable) }
    }

    /// Whether one that was read is one that calls made, whatever it was granted.
    pub fn sound(mut self) -> Result<Self, Errno> {
        let within = |key: &Vec<u8>, value: &Vec<u8>| {
            (1..=limits::KEY_BYTES).contains(&key.len()) && value.len() <= limits::VALUE_BYTES
        };
        self.map_bytes = self.map.iter().map(|(key, value)| key.len() + value.len()).sum();
        let map = self.map.len() <= limits::KEYS
            && self.map_bytes <= limits::MAP_BYTES
            && self.map.iter().all(|(key, value)| within(key, value));
        let channels = self.channels.len() <= limits::CHANNELS
            && self.channels.keys().all(|channel| (*channel as usize) < limits::CHANNELS);
        let mut numbers = BTreeSet::new();
        let messages = self.channels.values().flat_map(|channel| &channel.messages).chain(&self.prompt);
        let messages = messages.into_iter().all(|message| {
            message.is_sound() && (1..=self.last).contains(&message.number) && numbers.insert(message.number)
        });
        let sound = map
            && channels
            && messages
            && numbers.len() <= limits::MESSAGES + usize::from(self.prompt.is_some())
            && self.last < 1 << 62;
        if sound { Ok(self) } else { Err(Errno::Invalid) }
    }

    /// What comes of a call that may wait: nothing, or until when it waits.
    fn settle(&mut self, came: Result<Option<u64>, Errno>) -> Outcome {
        if let Ok(Some(until)) = came {
            return Outcome::Wait { until: Some(until) };
        }
        self.until = None;
        came.map(drop).into()
    }

    /// `sleep`. One that is cut short and begun anew ends when it would have ended.
    pub fn sleep(&mut self, time: u64, ns: u64) -> Outcome {
        let until = *self.until.get_or_insert(time.saturating_add(ns));
        self.settle(Ok((time < until).then_some(until)))
    }
}

/// Levels of [`Wasi::log`], the gravest first.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

impl Wasi {
    /// `log`: a line on the program's standard error, whatever it did with its descriptors.
    pub fn log(&mut self, guest: &Guest<'_>, level: u32, at: u32, len: u32) -> Outcome {
        let line = || {
            let level = LEVELS.get(level as usize).ok_or(Errno::Invalid)?;
            if len > limits::LOG_BYTES {
                return Err(Errno::MessageSize);
            }
            let text = String::from_utf8_lossy(guest.get(at, len)?);
            // It stays one line.
            Ok(format!("[{level}] {}\n", text.replace(['\n', '\r'], " ")))
        };
        match line() {
            Ok(line) if self.complain(line.as_bytes()) => Outcome::Done(Errno::Success),
            Ok(_) => Outcome::Wait { until: None },
            Err(errno) => Outcome::Done(errno),
        }
    }

    /// `sleep`
    pub fn bus_sleep(&mut self, now: Moment, ns: u64) -> Outcome {
        let time = self.time(now);
        self.bus.sleep(time, ns)
    }
}

#[cfg(test)]
mod tests;
