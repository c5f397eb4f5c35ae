use std::collections::BTreeMap;

use softbus_core::Hash;

/// Places of chunks in an image, by name: a name may stand at several places.
///
/// A state of a gigabyte has 16,384 chunks, and few of them change from one checkpoint to the next. So images are compared
/// place by place, which costs no more than reading them, and only what differs is ever sorted.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Places(BTreeMap<Hash, Vec<usize>>);

impl Places {
    /// Where `chunks` has another name than `base` has at the same place: everywhere, if `base` is empty.
    pub fn changed(chunks: &[Hash], base: &[Hash]) -> Self {
        let differs = |index: &usize| base.get(*index) != Some(&chunks[*index]);
        Self::of(chunks, (0..chunks.len()).filter(differs))
    }

    /// The names that stand at these places.
    pub fn of(chunks: &[Hash], indices: impl IntoIterator<Item = usize>) -> Self {
        let mut places = BTreeMap::<Hash, Vec<usize>>::new();
        for index in indices {
            places.entry(chunks[index]).or_default().push(index);
        }
        Self(places)
    }

    /// Leaves those names that are not among `others`.
    pub fn without<'a>(mut self, others: impl IntoIterator<Item = &'a Hash>) -> Self {
        for name in others {
            if self.0.is_empty() {
                break;
            }
            self.0.remove(name);
        }
        self
    }

    pub fn remove(&mut self, name: &Hash) {
        self.0.remove(name);
    }

    pub fn get(&self, name: &Hash) -> &[usize] {
        self.0.get(name).map_or(&[], |places| places)
    }

    /// The first place of each name, in order.
    pub fn first(&self) -> Vec<usize> {
        let mut first: Vec<usize> = self.0.values().filter_map(|places| places.first().copied()).collect();
        first.sort_unstable();
        first
    }

    pub fn names(&self) -> impl Iterator<Item = &Hash> {
        self.0.keys()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Places {
    type Item = (Hash, Vec<usize>);
    type IntoIter = std::collections::btree_map::IntoIter<Hash, Vec<usize>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is left after a comparison place by place, and then with all of the others, is what a set would have said.
        #[test]
        fn what_is_not_there_is_what_sets_say(
            chunks in proptest::collection::vec(0..12u8, 0..20),
            base in proptest::collection::vec(0..12u8, 0..20),
            held in proptest::collection::vec(0..12u8, 0..20),
        ) {
            let hashes = |bytes: &[u8]| -> Vec<Hash> { bytes.iter().map(|b| Hash([*b; 32])).collect() };
            let (chunks, base, held) = (hashes(&chunks), hashes(&base), hashes(&held));
            let here: BTreeSet<&Hash> = base.iter().chain(&held).collect();
            let mut seen = BTreeSet::new();
            let lacking: Vec<usize> =
                (0..chunks.len()).filter(|i| !here.contains(&chunks[*i]) && seen.insert(chunks[*i])).collect();
            let changed = Places::changed(&chunks, &base);
            prop_assert_eq!(changed.clone().without(&base).without(&held).first(), lacking);
            let all = Places::changed(&chunks, &[]);
            prop_assert_eq!(all.names().copied().collect::<BTreeSet<_>>(), chunks.iter().copied().collect());
            for (index, name) in chunks.iter().enumerate() {
                prop_assert!(all.get(name).contains(&index));
                prop_assert_eq!(changed.get(name).contains(&index), base.get(index) != Some(name));
            }
        }
    }
}
