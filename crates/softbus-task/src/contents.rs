//! What images of tasks begin with, kept by its name on this device's disk: the module of a program, which is the same for all
//! tasks that run it. A cache: within a budget, and what was used longest ago goes first. Decides only; the driver stores.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use softbus_core::{CircleId, Hash};

/// Most contents that one device keeps, however small they are.
pub(crate) const CONTENTS: usize = 256;
/// Most circles to whose members one content is given; of more the oldest is forgotten.
const CIRCLES: usize = 16;

/// One content as it lies on the disk: cut into chunks, each sealed under a key of this device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Its length in bytes.
    pub len: u64,
    /// Names of its chunks as they are sealed.
    pub chunks: Vec<Hash>,
    /// Members of these circles may run it, and so they may have it.
    pub circles: Vec<CircleId>,
    /// Greater than of all that were used before it.
    pub used: u64,
}

/// The contents that are here.
#[derive(Default, Debug)]
pub(crate) struct Shelf {
    kept: BTreeMap<Hash, Kept>,
    bytes: u64,
    /// Of the one used last.
    used: u64,
}

impl Shelf {
    pub fn of(kept: BTreeMap<Hash, Kept>) -> Self {
        let bytes = kept.values().fold(0u64, |sum, one| sum.saturating_add(one.len));
        let used = kept.values().map(|one| one.used).max().unwrap_or(0);
        Self { kept, bytes, used }
    }

    /// How many there are, and their bytes.
    pub fn filled(&self) -> (usize, u64) {
        (self.kept.len(), self.bytes)
    }

    pub fn get(&self, name: &Hash) -> Option<&Kept> {
        self.kept.get(name)
    }

    /// Whether members of this circle may have it, and it is here.
    pub fn is_for(&self, name: &Hash, circle: &CircleId) -> bool {
        self.kept.get(name).is_some_and(|one| one.circles.contains(circle))
    }

    /// It was just used. The record as it is to be stored, if that says anything new: of the one used last it does not.
    pub fn touch(&mut self, name: &Hash, circle: Option<CircleId>) -> Option<Kept> {
        let used = self.used;
        let one = self.kept.get_mut(name)?;
        let new = circle.filter(|circle| !one.circles.contains(circle));
        if one.used == used && new.is_none() {
            return None;
        }
        if let Some(circle) = new {
            if one.circles.len() >= CIRCLES {
                one.circles.remove(0);
            }
            one.circles.push(circle);
        }
        self.used = used.saturating_add(1);
        one.used = self.used;
        Some(one.clone())
    }

    /// Names of the chunks of all that are here.
    pub fn chunks(&self) -> impl Iterator<Item = &Hash> {
        self.kept.values().flat_map(|one| &one.chunks)
    }

    /// Which have to go so that one more of this length keeps within the budget; `None`: it is larger than that by itself.
    pub fn room(&self, len: u64, budget: u64) -> Option<BTreeSet<Hash>> {
        (len <= budget).then(|| self.oldest(1, len, budget))
    }

    /// Which have to go so that the others keep within the budget.
    pub fn too_many(&self, budget: u64) -> BTreeSet<Hash> {
        self.oldest(0, 0, budget)
    }

    fn oldest(&self, more: usize, len: u64, budget: u64) -> BTreeSet<Hash> {
        let (mut count, mut bytes) = (self.kept.len() + more, self.bytes.saturating_add(len));
        let mut oldest: Vec<(&Hash, &Kept)> = self.kept.iter().collect();
        oldest.sort_unstable_by_key(|(_, one)| one.used);
        let mut gone = BTreeSet::new();
        for (name, one) in oldest {
            if count <= CONTENTS && bytes <= budget {
                break;
            }
            (count, bytes) = (count - 1, bytes.saturating_sub(one.len));
            gone.insert(*name);
        }
        gone
    }

    /// The record of one that is about to be kept.
    pub fn record(&self, len: u64, chunks: Vec<Hash>, circle: Option<CircleId>) -> Kept {
        Kept { len, chunks, circles: circle.into_iter().collect(), used: self.used.saturating_add(1) }
    }

    pub fn put(&mut self, name: Hash, one: Kept) {
        self.remove(&name);
        self.bytes = self.bytes.saturating_add(one.len);
        self.used = self.used.max(one.used);
        self.kept.insert(name, one);
    }

    /// Its chunks, which may go now.
    pub fn remove(&mut self, name: &Hash) -> Vec<Hash> {
        let Some(one) = self.kept.remove(name) else { return Vec::new() };
        self.bytes = self.bytes.saturating_sub(one.len);
        one.chunks
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(n: u8) -> Hash {
        Hash([n; 32])
    }

    fn circle(n: u8) -> CircleId {
        CircleId([n; 32])
    }

    fn put(shelf: &mut Shelf, n: u8, len: u64, budget: u64) -> Option<Vec<u8>> {
        let gone = shelf.room(len, budget)?;
        for one in &gone {
            shelf.remove(one);
        }
        let record = shelf.record(len, vec![name(n)], None);
        shelf.put(name(n), record);
        Some(gone.into_iter().map(|gone| gone.0[0]).collect())
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let mut shelf = Shelf::default();
        for n in 1..=3 {
            assert_eq!(put(&mut shelf, n, 30, 100), Some(vec![]));
        }
        assert!(shelf.touch(&name(1), None).is_some());
        assert!(shelf.touch(&name(1), None).is_none(), "it is the one used last already");
        assert_eq!(put(&mut shelf, 4, 30, 100), Some(vec![2]));
        assert_eq!(put(&mut shelf, 5, 100, 100), Some(vec![1, 3, 4]));
        assert_eq!(put(&mut shelf, 6, 101, 100), None, "larger than all that there may be");
        assert_eq!(shelf.filled(), (1, 100));
        // As it is found again after a restart.
        let again = Shelf::of(shelf.kept.clone());
        assert_eq!((again.filled(), again.used), (shelf.filled(), shelf.used));
        // And if there may be less by then.
        assert!(again.too_many(100).is_empty());
        assert_eq!(again.too_many(99), BTreeSet::from([name(5)]));
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let mut shelf = Shelf::default();
        for n in 0..=u8::MAX {
            assert_eq!(put(&mut shelf, n, 0, 100), Some(vec![]));
        }
        assert_eq!(shelf.filled().0, CONTENTS);
        let gone = shelf.room(1, 100).unwrap();
        assert_eq!(gone, BTreeSet::from([name(0)]));
    }

    #[test]
    fn it_is_for_the_circles_by_whose_tasks_it_came() {
        let mut shelf = Shelf::default();
        let record = shelf.record(1, vec![], Some(circle(1)));
        shelf.put(name(1), record);
        assert!(shelf.is_for(&name(1), &circle(1)) && !shelf.is_for(&name(1), &circle(2)));
        assert!(!shelf.is_for(&name(2), &circle(1)));
        assert!(shelf.touch(&name(1), Some(circle(2))).is_some_and(|one| one.circles.len() == 2));
        for n in 3..=2 + CIRCLES as u8 {
            shelf.touch(&name(1), Some(circle(n)));
        }
        assert!(!shelf.is_for(&name(1), &circle(1)) && shelf.is_for(&name(1), &circle(18)));
    }

    proptest! {
        #[test]
        fn the_budget_holds_whatever_comes(steps in proptest::collection::vec((any::<u8>(), 0..60u64, any::<bool>()), 0..100)) {
            let mut shelf = Shelf::default();
            for (n, len, uses) in steps {
                if uses {
                    shelf.touch(&name(n), Some(circle(n)));
                } else if shelf.get(&name(n)).is_none() {
                    prop_assert_eq!(put(&mut shelf, n, len, 50).is_some(), len <= 50);
                }
                let (count, bytes) = shelf.filled();
                prop_assert!(bytes <= 50 && count <= CONTENTS);
                prop_assert_eq!(bytes, shelf.kept.values().map(|one| one.len).sum::<u64>());
            }
        }
    }
}
