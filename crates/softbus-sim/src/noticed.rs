//! How long it takes until the others notice that a device went or came: the presence times of both models. Devices are
//! numbers, times are in microseconds of virtual time.

use std::collections::{BTreeMap, BTreeSet};

/// Who has noticed what.
#[derive(Default)]
pub(crate) struct Noticed {
    /// When a device last went or came, undisturbed by anything else.
    went: BTreeMap<usize, u64>,
    came: BTreeMap<usize, u64>,
    /// Of whom, and who, since then.
    pairs: BTreeSet<(usize, usize)>,
    disturbed: u64,
    took: Vec<u64>,
}

impl Noticed {
    /// A device is gone from now on, for good or a while; `None`: something else is wrong with it, too.
    pub fn went(&mut self, device: usize, at_us: Option<u64>) {
        self.came.remove(&device);
        self.forget(device);
        match at_us {
            Some(at_us) => self.went.insert(device, at_us),
            None => self.went.remove(&device),
        };
    }

    /// A device is back, or there for the first time.
    pub fn came(&mut self, device: usize, at_us: u64) {
        self.went.remove(&device);
        self.forget(device);
        self.came.insert(device, at_us);
    }

    fn forget(&mut self, device: usize) {
        let of: Vec<_> = self.pairs.range((device, 0)..=(device, usize::MAX)).copied().collect();
        for pair in of {
            self.pairs.remove(&pair);
        }
    }

    /// One device noticed that another went or came: how long it took counts, if that was the first time, and nothing
    /// else has disturbed anybody since.
    pub fn notice(&mut self, who: usize, about: usize, gone: bool, now_us: u64) {
        // Of two that came, the later could not be noticed before, nor notice.
        let since = match gone {
            true => self.went.get(&about).copied(),
            false => self.came.get(&about).copied().max(self.came.get(&who).copied()),
        };
        let Some(since) = since.filter(|since| self.disturbed <= *since) else { return };
        if self.pairs.insert((about, who)) {
            self.took.push(now_us - since);
        }
    }

    /// Something disturbs somebody.
    pub fn disturb(&mut self, at_us: u64) {
        self.disturbed = self.disturbed.max(at_us);
    }

    /// When something last did.
    pub fn disturbed_us(&self) -> u64 {
        self.disturbed
    }

    /// How long each took that counts.
    pub fn took_us(&self) -> Vec<u64> {
        self.took.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counts_once_and_only_undisturbed() {
        let mut noticed = Noticed::default();
        noticed.came(1, 100);
        noticed.notice(2, 1, true, 150);
        assert!(noticed.took_us().is_empty(), "it did not go");
        noticed.notice(2, 1, false, 150);
        noticed.notice(2, 1, false, 160);
        noticed.notice(3, 1, false, 170);
        assert_eq!(noticed.took_us(), [50, 70]);
        noticed.came(4, 175);
        noticed.notice(4, 1, false, 180);
        assert_eq!(noticed.took_us(), [50, 70, 5], "it was not there before");
        noticed.went(1, Some(200));
        noticed.disturb(300);
        noticed.notice(2, 1, true, 400);
        noticed.went(1, None);
        noticed.notice(3, 1, true, 500);
        noticed.came(1, 600);
        noticed.disturb(250);
        noticed.notice(2, 1, false, 610);
        assert_eq!((noticed.took_us(), noticed.disturbed_us()), (vec![50, 70, 5, 10], 300));
    }
}
