//! What hosts announce, as on a board that all see: who watches it is told only what changed since it looked last. With
//! many hosts nearly all of the board is as it was, for nearly all that watch.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::net::HostId;
use crate::seam::Announcement;

/// Announcements that are remembered; past them those of former runs are forgotten.
const ANNOUNCED: usize = 4096;

/// What one run of a host announces.
pub(super) struct Announced {
    pub(super) host: HostId,
    pub(super) number: u64,
    pub(super) voice: Voice,
    pub(super) announcement: Arc<Announcement>,
    /// When it, or who hears it, changed last.
    changed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    Speaking,
    /// It ended without a goodbye.
    Silent,
    SaidGoodbye,
}

/// By the instance name of each run. Changes are counted.
#[derive(Default)]
pub(super) struct Board {
    version: u64,
    announced: BTreeMap<Arc<str>, Announced>,
    /// The names by `changed`.
    changes: BTreeMap<u64, Arc<str>>,
    /// When what anybody hears of anybody changed last.
    all_changed: u64,
    /// When what this host hears of anybody changed last.
    listener_changed: BTreeMap<HostId, u64>,
}

impl Board {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, key: &str) -> Option<&Announced> {
        self.announced.get(key)
    }

    /// Whether what `listener` hears of anybody may have changed since this version.
    pub(super) fn all_changed_since(&self, version: u64, listener: HostId) -> bool {
        let of_listener = self.listener_changed.get(&listener).copied().unwrap_or(0);
        self.all_changed.max(of_listener) > version
    }

    /// The announcements of which `listener` may hear something else than at this version.
    pub(super) fn changed_since(&self, version: u64, listener: HostId) -> impl Iterator<Item = &Arc<str>> {
        let since = if self.all_changed_since(version, listener) { 0 } else { version };
        self.changes.range(since + 1..).map(|(_, key)| key)
    }

    pub(super) fn announce(
        &mut self,
        key: &Arc<str>,
        host: HostId,
        number: u64,
        announcement: Arc<Announcement>,
    ) {
        while self.announced.len() >= ANNOUNCED
            && !self.announced.contains_key(key)
            && let Some(former) = self.former()
        {
            if let Some(former) = self.announced.remove(&former) {
                self.changes.remove(&former.changed);
            }
            self.touch_all();
        }
        let changed = self.announced.get(key).map_or(0, |former| former.changed);
        let announced = Announced { host, number, voice: Voice::Speaking, announcement, changed };
        self.announced.insert(key.clone(), announced);
        self.touch(key);
    }

    fn former(&self) -> Option<Arc<str>> {
        let mut keys = self.changes.values();
        let former = keys.find(|key| self.announced.get(*key).is_some_and(|a| a.voice != Voice::Speaking));
        former.cloned()
    }

    pub(super) fn say_goodbye(&mut self, key: &str) {
        if let Some(announced) = self.announced.get_mut(key) {
            announced.voice = Voice::SaidGoodbye;
            self.touch(key);
        }
    }

    /// The host's program ended without a goodbye.
    pub(super) fn silence(&mut self, host: HostId) {
        for key in self.keys_of(host) {
            if let Some(announced) = self.announced.get_mut(&key)
                && announced.voice == Voice::Speaking
            {
                announced.voice = Voice::Silent;
                self.touch(&key);
            }
        }
    }

    /// What others hear of `host` may have changed, and what it hears of them.
    pub(super) fn touch_host(&mut self, host: HostId) {
        self.touch_speaker(host);
        self.version += 1;
        self.listener_changed.insert(host, self.version);
    }

    /// What others hear of `host` may have changed.
    pub(super) fn touch_speaker(&mut self, host: HostId) {
        self.keys_of(host).iter().for_each(|key| self.touch(key));
    }

    /// Of those that may be heard at all.
    fn keys_of(&self, host: HostId) -> Vec<Arc<str>> {
        let of_host = self.announced.iter().filter(|(_, a)| a.host == host && a.voice != Voice::Silent);
        of_host.map(|(key, _)| key.clone()).collect()
    }

    /// Whatever anybody hears may have changed.
    pub(super) fn touch_all(&mut self) {
        self.version += 1;
        self.all_changed = self.version;
    }

    fn touch(&mut self, key: &str) {
        let Some((key, _)) = self.announced.get_key_value(key) else { return };
        let key = key.clone();
        let Some(announced) = self.announced.get_mut(&key) else { return };
        self.version += 1;
        self.changes.remove(&announced.changed);
        announced.changed = self.version;
        self.changes.insert(self.version, key);
    }
}
