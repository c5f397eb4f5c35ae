use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use softbus_core::Hash;
use softbus_core::wire::task_control::Image;
use softbus_net::seam::Blobs;

use super::key::check;
use crate::TaskError;

/// Sealed chunks on disk. All calls block: run them on `Lane::Disk`.
#[derive(Clone)]
pub(crate) struct BlobKeeper(pub Arc<dyn Blobs>);

impl BlobKeeper {
    /// Stores a sealed chunk; durable after [`BlobKeeper::sync`].
    pub fn put(&self, name: &Hash, sealed: &[u8]) -> io::Result<()> {
        self.0.put(name, sealed)
    }

    /// Makes chunks durable.
    pub fn sync(&self, names: &[Hash]) -> io::Result<()> {
        self.0.sync(names)
    }

    /// A sealed chunk, checked against its name. A damaged one is removed, so that it is fetched again.
    pub fn get(&self, name: &Hash) -> Result<Vec<u8>, TaskError> {
        match self.0.get(name)? {
            Some(sealed) if check(name, &sealed).is_ok() => Ok(sealed),
            Some(_) => {
                let _ = self.0.remove(name);
                Err(TaskError::Damaged(*name))
            }
            None => Err(TaskError::Damaged(*name)),
        }
    }

    /// The chunks of an image that are damaged or missing, all of them: so that one fetch mends them.
    pub fn damaged(&self, image: &Image) -> BTreeSet<Hash> {
        let chunks: BTreeSet<Hash> = image.chunks.iter().copied().collect();
        chunks.into_iter().filter(|name| matches!(self.get(name), Err(TaskError::Damaged(_)))).collect()
    }

    /// Erases every blob that no image names: what a crash left behind. Returns how many.
    pub fn collect_garbage(&self, named: &BTreeSet<Hash>) -> io::Result<usize> {
        let mut erased = 0;
        for name in self.0.list()? {
            if !named.contains(&name) {
                self.0.remove(&name)?;
                erased += 1;
            }
        }
        Ok(erased)
    }
}

/// A bit per chunk, set where it is missing.
pub(crate) fn missing_bits(count: usize, missing: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut bits = vec![0; count.div_ceil(8)];
    for index in missing {
        if let Some(byte) = bits.get_mut(index / 8) {
            *byte |= 1 << (index % 8);
        }
    }
    bits
}

/// Places set in `bits`, below `count`.
pub(crate) fn wanted(bits: &[u8], count: usize) -> impl Iterator<Item = usize> + '_ {
    (0..count).filter(|i| bits.get(i / 8).is_some_and(|byte| byte >> (i % 8) & 1 == 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_tell_the_same_set(places in proptest::collection::btree_set(0..200usize, 0..100)) {
            let bits = missing_bits(200, places.iter().copied());
            prop_assert_eq!(wanted(&bits, 200).collect::<BTreeSet<_>>(), places);
        }
    }
}
