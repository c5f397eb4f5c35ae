//! Whether pairing is open on this device: the PIN's life, its tries, and the freeze after too many.
//!
//! A try is counted as wrong, and the record of it stored, before anybody learns whether it was right; a right one
//! then wipes the record. So a device that is killed in between has counted the try. Wrong tries are the device's,
//! not the PIN's: a new PIN does not give new ones, only a success or a freeze does. A freeze is measured by the
//! clock that counts suspend; over a restart by the wall clock, and never longer than it was.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use softbus_core::{BootMs, WallMs};

use super::{PairPassword, Pin};

/// How long a PIN lives.
pub const PIN_LIFE: Duration = Duration::from_secs(60);
/// Wrong tries before pairing freezes.
pub const TRIES: u8 = 3;
/// How long pairing freezes the first time, the second, and so on; the last holds for all further times.
pub const FREEZES: [Duration; 4] =
    [Duration::from_secs(60), Duration::from_secs(180), Duration::from_secs(300), Duration::from_secs(600)];

/// Both clocks at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Wall clock; may jump.
    pub wall: WallMs,
    /// Monotonic since boot, counts suspend.
    pub boot: BootMs,
}

/// What must survive a restart. The driver stores it whenever it is told to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct GateRecord {
    /// Wrong tries since the last success or freeze.
    pub wrong: u8,
    /// Freezes since the last success.
    pub freezes: u8,
    /// End of the freeze, if one holds.
    pub frozen_until: Option<WallMs>,
}

/// Why pairing is not possible now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GateRefusal {
    /// Not open.
    NotOpen,
    /// The PIN ran out.
    Expired,
    /// Too many wrong tries.
    Frozen {
        /// For so long from now.
        lasts: Duration,
    },
}

/// What a wrong try leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tried {
    /// So many tries are left.
    Left(u8),
    /// Pairing is frozen for this long.
    Frozen(Duration),
}

/// The state of pairing on the device that shows a PIN.
#[derive(Debug)]
pub struct Gate {
    record: GateRecord,
    frozen_until: Option<BootMs>,
    open: Option<Open>,
    /// Counts openings, so that a try belongs to the PIN it began with.
    opening: u64,
    /// The opening whose last try was counted and is not judged yet.
    closed_by_count: Option<u64>,
}

#[derive(Debug)]
struct Open {
    pin: Pin,
    until: BootMs,
}

impl Gate {
    /// After a start, from what was stored.
    pub fn restore(record: GateRecord, now: Now) -> Self {
        let mut gate = Self::closed(record, 0);
        if let Some(until) = record.frozen_until {
            // A clock that was set back cannot lengthen the freeze.
            let rest = Duration::from_millis(until.0.saturating_sub(now.wall.0)).min(freeze(record.freezes));
            gate.frozen_until = Some(now.boot.after(rest));
        }
        gate
    }

    fn closed(record: GateRecord, opening: u64) -> Self {
        Self { record, frozen_until: None, open: None, opening, closed_by_count: None }
    }

    /// What must be on disk.
    pub fn record(&self) -> GateRecord {
        self.record
    }

    /// Opens pairing with a fresh random PIN, in place of an earlier one. Returns the number of this opening.
    pub fn open(&mut self, pin: Pin, now: Now) -> Result<u64, GateRefusal> {
        self.check_frozen(now)?;
        self.open = Some(Open { pin, until: now.boot.after(PIN_LIFE) });
        self.opening += 1;
        Ok(self.opening)
    }

    /// The number of the latest opening.
    pub fn opening(&self) -> u64 {
        self.opening
    }

    /// Closes pairing: the user cancelled, or the PIN ran out. A freeze goes on.
    pub fn close(&mut self) {
        self.open = None;
        self.closed_by_count = None;
    }

    /// Whether a PIN waits to be entered.
    pub fn is_open(&self, now: Now) -> bool {
        self.password(now).is_ok()
    }

    /// The PIN that counts now, with the number of its opening.
    pub fn password(&self, now: Now) -> Result<(u64, PairPassword), GateRefusal> {
        self.check_frozen(now)?;
        match &self.open {
            None => Err(GateRefusal::NotOpen),
            Some(open) if now.boot >= open.until => Err(GateRefusal::Expired),
            Some(open) => Ok((self.opening, PairPassword::pin(&open.pin))),
        }
    }

    /// The PIN shown, how long it still lives and how many tries are left.
    pub fn shown(&self, now: Now) -> Option<(Pin, Duration, u8)> {
        let open = self.open.as_ref().filter(|open| now.boot < open.until)?;
        Some((open.pin.clone(), open.until.since(now.boot), TRIES.saturating_sub(self.record.wrong)))
    }

    /// How long the freeze still lasts.
    pub fn frozen(&self, now: Now) -> Option<Duration> {
        let until = self.frozen_until?;
        (now.boot < until).then(|| until.since(now.boot))
    }

    /// When [`Gate::tick`] is due.
    pub fn next_deadline(&self) -> Option<BootMs> {
        let pin = self.open.as_ref().map(|open| open.until);
        [pin, self.frozen_until].into_iter().flatten().min()
    }

    /// Lets what has run out run out. Whether the PIN did, and whether the freeze did.
    pub fn tick(&mut self, now: Now) -> (bool, bool) {
        let pin = self.open.as_ref().is_some_and(|open| now.boot >= open.until);
        if pin {
            self.open = None;
        }
        let thawed = self.frozen_until.is_some_and(|until| now.boot >= until);
        if thawed {
            self.frozen_until = None;
            self.record.frozen_until = None;
        }
        (pin, thawed)
    }

    /// A proof came for the PIN of this opening: counts the try as wrong. The driver stores the record now, and
    /// only then looks whether it was right, and calls [`Gate::right`] or [`Gate::wrong`].
    pub fn count(&mut self, opening: u64, now: Now) -> Result<GateRecord, GateRefusal> {
        self.check_frozen(now)?;
        match &self.open {
            Some(open) if opening == self.opening && now.boot < open.until => {}
            Some(_) if opening == self.opening => return Err(GateRefusal::Expired),
            _ => return Err(GateRefusal::NotOpen),
        }
        self.record.wrong += 1;
        if self.record.wrong >= TRIES {
            self.record.wrong = 0;
            self.record.freezes = self.record.freezes.saturating_add(1);
            let lasts = freeze(self.record.freezes);
            self.record.frozen_until = Some(now.wall.after(lasts));
            self.frozen_until = Some(now.boot.after(lasts));
            self.open = None;
            self.closed_by_count = Some(opening);
        }
        Ok(self.record)
    }

    /// The counted try for the PIN of this opening was right: the PIN is used up, earlier errors are forgotten.
    /// The driver stores the record before it tells the peer. False, and nothing changes, if the user cancelled
    /// meanwhile or another try was right before.
    #[must_use]
    pub fn right(&mut self, opening: u64) -> bool {
        // The last try that is left closes the gate when it is counted, right or wrong.
        let last = self.closed_by_count == Some(opening);
        if opening != self.opening || (self.open.is_none() && !last) {
            return false;
        }
        *self = Self::closed(GateRecord::default(), opening);
        true
    }

    /// The counted try was wrong.
    pub fn wrong(&self, now: Now) -> Tried {
        match self.frozen(now) {
            Some(lasts) => Tried::Frozen(lasts),
            None => Tried::Left(TRIES.saturating_sub(self.record.wrong)),
        }
    }

    fn check_frozen(&self, now: Now) -> Result<(), GateRefusal> {
        self.frozen(now).map_or(Ok(()), |lasts| Err(GateRefusal::Frozen { lasts }))
    }
}

fn freeze(nth: u8) -> Duration {
    let at = usize::from(nth).saturating_sub(1).min(FREEZES.len() - 1);
    FREEZES[at]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now { wall: WallMs(1_800_000_000_000 + seconds * 1000), boot: BootMs(5_000 + seconds * 1000) }
    }

    fn pin(n: u32) -> Pin {
        Pin::parse(&format!("{n:06}")).unwrap()
    }

    fn fresh() -> Gate {
        Gate::restore(GateRecord::default(), at(0))
    }

    #[test]
    fn a_pin_lives_a_minute() {
        let mut gate = fresh();
        assert_eq!(gate.password(at(0)).err(), Some(GateRefusal::NotOpen));
        let opening = gate.open(pin(1), at(0)).unwrap();
        assert!(gate.is_open(at(59)) && !gate.is_open(at(60)));
        assert_eq!(gate.password(at(60)).err(), Some(GateRefusal::Expired));
        assert_eq!(gate.count(opening, at(60)).err(), Some(GateRefusal::Expired));
        assert_eq!(gate.next_deadline(), Some(at(60).boot));
        assert_eq!(gate.tick(at(60)), (true, false));
        assert_eq!(gate.password(at(60)).err(), Some(GateRefusal::NotOpen));
    }

    #[test]
    fn three_wrong_tries_freeze_ever_longer_and_success_thaws() {
        let mut gate = fresh();
        let mut now = 0;
        for (nth, minutes) in [1, 3, 5, 10, 10, 10].into_iter().enumerate() {
            let opening = gate.open(pin(1), at(now)).unwrap();
            for left in [2, 1] {
                gate.count(opening, at(now)).unwrap();
                assert_eq!(gate.wrong(at(now)), Tried::Left(left));
            }
            gate.count(opening, at(now)).unwrap();
            assert_eq!(gate.wrong(at(now)), Tried::Frozen(Duration::from_secs(minutes * 60)), "freeze {nth}");
            assert!(matches!(gate.count(opening, at(now)), Err(GateRefusal::Frozen { .. })));
            assert!(matches!(gate.open(pin(2), at(now + minutes * 60 - 1)), Err(GateRefusal::Frozen { .. })));
            now += minutes * 60;
            gate.tick(at(now));
        }
        let opening = gate.open(pin(3), at(now)).unwrap();
        gate.count(opening, at(now)).unwrap();
        assert!(gate.right(opening));
        assert_eq!(gate.record(), GateRecord::default());
        assert!(!gate.right(opening), "one use");
        assert_eq!(
            gate.count(opening, at(now)).err(),
            Some(GateRefusal::NotOpen),
            "a used PIN is never valid again"
        );
    }

    #[test]
    fn a_new_pin_gives_no_new_tries() {
        let mut gate = fresh();
        for n in 0..2 {
            let opening = gate.open(pin(n), at(0)).unwrap();
            gate.count(opening, at(0)).unwrap();
            gate.close();
            assert_eq!(gate.count(opening, at(0)).err(), Some(GateRefusal::NotOpen), "cancelled");
        }
        let opening = gate.open(pin(9), at(0)).unwrap();
        assert_eq!(gate.shown(at(0)).map(|shown| shown.2), Some(1));
        gate.count(opening, at(0)).unwrap();
        assert!(matches!(gate.wrong(at(0)), Tried::Frozen(_)));
    }

    #[test]
    fn the_third_try_may_be_right_and_cancelling_is_final() {
        let mut gate = fresh();
        let opening = gate.open(pin(1), at(0)).unwrap();
        for _ in 0..3 {
            gate.count(opening, at(0)).unwrap();
        }
        assert!(gate.frozen(at(0)).is_some(), "until it is judged");
        assert!(gate.right(opening));
        assert_eq!(gate.frozen(at(0)), None);
        let opening = gate.open(pin(2), at(0)).unwrap();
        gate.count(opening, at(0)).unwrap();
        gate.close();
        assert!(!gate.right(opening));
        assert_eq!(gate.record().wrong, 1);
    }

    #[test]
    fn a_try_belongs_to_its_pin() {
        let mut gate = fresh();
        let first = gate.open(pin(1), at(0)).unwrap();
        let second = gate.open(pin(2), at(1)).unwrap();
        assert_eq!(gate.count(first, at(1)).err(), Some(GateRefusal::NotOpen));
        assert!(gate.count(second, at(1)).is_ok());
    }

    #[test]
    fn a_freeze_outlives_a_restart_and_no_clock_lengthens_it() {
        let mut gate = fresh();
        let opening = gate.open(pin(1), at(0)).unwrap();
        for _ in 0..3 {
            gate.count(opening, at(0)).unwrap();
        }
        let record = gate.record();
        let rebooted = |wall| Now { wall, boot: BootMs(3) };
        let half = Gate::restore(record, rebooted(at(30).wall));
        assert_eq!(half.frozen(rebooted(at(30).wall)), Some(Duration::from_secs(30)));
        let back = Gate::restore(record, rebooted(WallMs(0)));
        assert_eq!(back.frozen(rebooted(WallMs(0))), Some(Duration::from_secs(60)));
        let over = Gate::restore(record, rebooted(at(61).wall));
        assert_eq!(over.frozen(rebooted(at(61).wall)), None);
    }

    proptest! {
        /// Whoever tries, however the device is killed, opened and cancelled: between successes no more than
        /// three tries go by before a freeze, and none during one.
        #[test]
        fn tries_are_never_free(steps in prop::collection::vec((0u8..5, 0u64..90), 1..200)) {
            let (mut gate, mut now, mut opening) = (fresh(), 0, 0);
            let mut stored = gate.record();
            let (mut tries, mut frozen_till) = (0, 0);
            for (what, wait) in steps {
                now += wait;
                match what {
                    0 => if let Ok(n) = gate.open(pin(1), at(now)) {
                        opening = n;
                        prop_assert!(now >= frozen_till);
                    },
                    1 => gate.close(),
                    // Killed right after a count, or at any other time.
                    2 => { gate = Gate::restore(stored, at(now)); opening = 0; }
                    3 => { gate.tick(at(now)); }
                    _ => if let Ok(record) = gate.count(opening, at(now)) {
                        prop_assert!(now >= frozen_till, "a try during a freeze");
                        stored = record;
                        tries += 1;
                        if tries == 3 {
                            tries = 0;
                            prop_assert!(gate.frozen(at(now)).is_some());
                            frozen_till = now + 60;
                        }
                    },
                }
            }
        }
    }
}
