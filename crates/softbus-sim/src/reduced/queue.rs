//! What will happen, in order of time; what is due at the same time happens in the order in which it was put here.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Timers and arrivals of the full simulator have a grain of a millisecond (tokio's), and so has everything here.
pub(super) const GRAIN_NS: u64 = 1_000_000;

pub(super) struct Queue<T> {
    heap: BinaryHeap<Entry<T>>,
    made: u64,
}

struct Entry<T> {
    at: u64,
    number: u64,
    what: T,
}

impl<T> Queue<T> {
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), made: 0 }
    }

    /// Puts something in, due at this time or the next grain of it.
    pub fn put(&mut self, at: u64, what: T) {
        self.made += 1;
        let at = at.div_ceil(GRAIN_NS).saturating_mul(GRAIN_NS);
        self.heap.push(Entry { at, number: self.made, what });
    }

    /// The next one, if it is due by then.
    pub fn take(&mut self, until: u64) -> Option<(u64, T)> {
        if self.heap.peek()?.at > until {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.what))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    /// The earliest is the greatest: a heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_first_and_equal_ones_in_order() {
        let mut queue = Queue::new();
        for (at, what) in [(3_000_000, 'c'), (1, 'a'), (999_999, 'b'), (3_000_000, 'd')] {
            queue.put(at, what);
        }
        let taken: Vec<_> = std::iter::from_fn(|| queue.take(u64::MAX)).collect();
        assert_eq!(taken, [(1_000_000, 'a'), (1_000_000, 'b'), (3_000_000, 'c'), (3_000_000, 'd')]);
    }

    #[test]
    fn what_is_not_due_stays() {
        let mut queue = Queue::new();
        queue.put(5_000_000, ());
        assert!(queue.take(4_999_999).is_none() && queue.take(5_000_000).is_some());
    }
}
