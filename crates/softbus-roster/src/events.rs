//! Change events: numbered, in order, bounded. A subscriber that is too slow gets a fresh snapshot in place of
//! what it missed, so it can never hold a state that the roster has left behind.

use std::sync::Arc;

use softbus_core::DeviceId;
use softbus_net::Presence;
use softbus_trust::Role;
use tokio::sync::{broadcast, watch};

use crate::{RosterEntry, RosterView, Source, limits};

/// Something changed. What it changed to is in the [view](RosterView).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A device is trusted now.
    Joined {
        /// Which.
        id: DeviceId,
    },
    /// A device is not trusted any more; its entry is gone.
    Left {
        /// Which.
        id: DeviceId,
    },
    /// Its role changed.
    RoleChanged {
        /// Whose.
        id: DeviceId,
        /// To this.
        role: Option<Role>,
    },
    /// Its static profile changed (or expired).
    ProfileChanged {
        /// Whose.
        id: DeviceId,
    },
    /// Its dynamic profile changed by an amount that matters .
    NowChanged {
        /// Whose.
        id: DeviceId,
    },
    /// It came, went, fell silent or asleep; or we know it from another source.
    PresenceChanged {
        /// Whose.
        id: DeviceId,
        /// What it was.
        from: Presence,
        /// What it is.
        to: Presence,
        /// How we know.
        source: Source,
    },
    /// Our link with it has another connection or address, or its quality changed by an amount that matters.
    LinkChanged {
        /// With whom.
        id: DeviceId,
    },
}

impl Event {
    /// Which device it is about.
    pub fn id(&self) -> DeviceId {
        match self {
            Self::Joined { id }
            | Self::Left { id }
            | Self::RoleChanged { id, .. }
            | Self::ProfileChanged { id }
            | Self::NowChanged { id }
            | Self::PresenceChanged { id, .. }
            | Self::LinkChanged { id } => *id,
        }
    }
}

/// An event and its number; numbers grow by one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Numbered {
    /// Its number.
    pub seq: u64,
    /// What happened.
    pub event: Event,
}

/// What a [`Subscription`] yields.
#[derive(Clone, PartialEq, Debug)]
pub enum Update {
    /// The next event.
    Event(Numbered),
    /// Too slow: these many events (at least) are lost. `view` is how things are now; what follows continues
    /// from it.
    Lagged {
        /// How many.
        missed: u64,
        /// The state instead.
        view: Arc<RosterView>,
    },
}

/// What changed between two views.
#[derive(Clone, PartialEq, Debug)]
pub struct Changes {
    /// Number of the last event.
    pub seq: u64,
    /// Entries that are new or changed; `None`: gone.
    pub entries: Vec<(DeviceId, Option<Arc<RosterEntry>>)>,
    /// What happened, in order.
    pub events: Vec<Numbered>,
}

impl Changes {
    /// Makes the view before them the view after them.
    pub fn apply(&self, view: &mut RosterView) {
        view.seq = self.seq;
        for (id, entry) in &self.entries {
            match entry {
                Some(entry) => view.entries.insert(*id, entry.clone()),
                None => view.entries.remove(id),
            };
        }
    }
}

/// Publishes views and events; the one writer.
pub(crate) struct Publisher {
    view: watch::Sender<Arc<RosterView>>,
    events: broadcast::Sender<Numbered>,
}

impl Publisher {
    pub(crate) fn new(view: RosterView) -> Self {
        Self { view: watch::Sender::new(Arc::new(view)), events: broadcast::Sender::new(limits::EVENTS) }
    }

    /// The view goes first: whoever lost an event finds its effect in the view. It is copied only if somebody still looks at
    /// what it was.
    pub(crate) fn publish(&self, changes: Changes) {
        self.view.send_modify(|view| changes.apply(Arc::make_mut(view)));
        for event in changes.events {
            // No subscriber is no fault.
            let _ = self.events.send(event);
        }
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader { view: self.view.subscribe(), events: self.events.downgrade() }
    }
}

/// Gives out watches and subscriptions. Does not keep the publisher alive.
pub(crate) struct Reader {
    view: watch::Receiver<Arc<RosterView>>,
    events: broadcast::WeakSender<Numbered>,
}

impl Reader {
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<RosterView>> {
        self.view.clone()
    }

    pub(crate) fn view(&self) -> Arc<RosterView> {
        self.view.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        // Events first, then the view: nothing can fall between them, and what is in both is skipped.
        let events = match self.events.upgrade() {
            Some(events) => events.subscribe(),
            None => broadcast::Sender::new(1).subscribe(), // closed at once
        };
        let start = self.view();
        Subscription { seen: start.seq, start, events, watch: self.watch() }
    }
}

/// Ordered change events since a snapshot.
pub struct Subscription {
    start: Arc<RosterView>,
    seen: u64,
    events: broadcast::Receiver<Numbered>,
    watch: watch::Receiver<Arc<RosterView>>,
}

impl Subscription {
    /// The state that the first event continues from.
    pub fn start(&self) -> &Arc<RosterView> {
        &self.start
    }

    /// The next update; `None` once the roster is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Update> {
        loop {
            match self.events.recv().await {
                Ok(event) if event.seq <= self.seen => {}
                Ok(event) => {
                    self.seen = event.seq;
                    return Some(Update::Event(event));
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    self.events = self.events.resubscribe();
                    let view = self.watch.borrow().clone();
                    let missed = view.seq.saturating_sub(self.seen);
                    self.seen = view.seq.max(self.seen);
                    return Some(Update::Lagged { missed, view });
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up_to(seq: u64, events: Vec<Numbered>) -> Changes {
        Changes { seq, entries: Vec::new(), events }
    }

    fn event(seq: u64) -> Numbered {
        Numbered { seq, event: Event::Joined { id: DeviceId([1; 32]) } }
    }

    #[tokio::test]
    async fn a_slow_reader_gets_a_snapshot_and_goes_on_from_it() {
        let publisher = Publisher::new(RosterView::empty(DeviceId([0; 32])));
        let mut slow = publisher.reader().subscribe();
        let total = limits::EVENTS as u64 * 3;
        for seq in 1..=total {
            publisher.publish(up_to(seq, vec![event(seq)]));
        }
        match slow.next().await {
            Some(Update::Lagged { missed, view }) => {
                assert_eq!((missed, view.seq), (total, total));
            }
            other => panic!("{other:?}"),
        }
        publisher.publish(up_to(total + 1, vec![event(total + 1)]));
        assert_eq!(slow.next().await, Some(Update::Event(event(total + 1))));
    }

    #[tokio::test]
    async fn nothing_between_snapshot_and_first_event() {
        let publisher = Publisher::new(RosterView::empty(DeviceId([0; 32])));
        publisher.publish(up_to(1, vec![event(1)]));
        let mut reader = publisher.reader().subscribe();
        let before = reader.start().clone();
        assert_eq!(before.seq, 1);
        publisher.publish(up_to(3, vec![event(2), event(3)]));
        assert_eq!(reader.next().await, Some(Update::Event(event(2))));
        assert_eq!(reader.next().await, Some(Update::Event(event(3))));
        assert_eq!(before.seq, 1, "who still looks at a view keeps it as it was");
        let handle = publisher.reader();
        drop(publisher);
        assert_eq!(reader.next().await, None);
        assert_eq!(handle.subscribe().next().await, None);
        assert_eq!(handle.view().seq, 3);
    }
}
