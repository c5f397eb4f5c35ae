//! What is known of others grows old. To find it takes a look at every device, so that is not done before it is time.

use softbus_core::WallMs;
use tokio::time::Instant;

use super::{Action, RosterMachine};
use crate::limits;

/// When the first of what is held grows old; later than it says never. `None`: nothing does.
#[derive(Default)]
pub(super) struct Aging {
    /// A static profile expires.
    expires: Option<WallMs>,
    /// A dynamic profile is as old as one may be.
    oldest: Option<Instant>,
}

impl Aging {
    pub(super) fn note_profile(&mut self, expires: WallMs) {
        self.expires = Some(self.expires.map_or(expires, |first| first.min(expires)));
    }

    /// Values that were true `at`.
    pub(super) fn note_now(&mut self, at: Instant) {
        self.oldest = Some(self.oldest.map_or(at, |first| first.min(at)));
    }

    fn due(&self, now: Instant, wall: WallMs) -> bool {
        self.expires.is_some_and(|expires| expires <= wall)
            || self.oldest.is_some_and(|at| now.saturating_duration_since(at) > limits::DYNAMIC_KEEP)
    }
}

impl RosterMachine {
    /// Forgets what is too old.
    pub(super) fn forget_old(&mut self, now: Instant, wall: WallMs, actions: &mut Vec<Action>) {
        if !self.aging.due(now, wall) {
            return;
        }
        self.aging = Aging::default();
        for (id, book) in self.books.iter_mut().filter(|(id, _)| **id != self.me) {
            if let Some(believed) = &book.profile {
                if believed.expired(wall) {
                    book.profile = None;
                    self.touched.insert(*id);
                    actions.push(Action::Forget(*id));
                } else {
                    self.aging.note_profile(believed.profile.expires);
                }
            }
            if let Some(known) = &book.now {
                if known.age(now) > limits::DYNAMIC_KEEP {
                    book.now = None;
                    book.now_signed = None;
                    self.touched.insert(*id);
                } else {
                    self.aging.note_now(known.at);
                }
            }
        }
    }
}
