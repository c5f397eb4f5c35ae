use softbus_core::wire::task_control::Image;
use softbus_core::{Hash, limits};

use super::key::{SealError, TaskKey};
use super::places::Places;
use crate::native::Doubles;

/// Puts an image together from its sealed chunks as they arrive, in any order, so that when the last one is
/// here nothing is left to do. Memory: the state's size, and that of its [doubles](Doubles).
pub(crate) struct Assembly {
    image: Image,
    bytes: Vec<u8>,
    have: Vec<bool>,
    /// Follow each change.
    doubles: Doubles,
}

impl Assembly {
    /// An empty one. The image must be sound.
    pub fn new(image: Image) -> Self {
        let have = vec![false; image.chunks.len()];
        // Grows as the chunks come: what was only announced takes no memory.
        Self { image, bytes: Vec::new(), have, doubles: Doubles::default() }
    }

    /// Goes on with a newer image of the same task: what is at the same place under the same name stays.
    pub fn retarget(&mut self, image: Image) {
        let len = usize::try_from(image.len).unwrap_or(usize::MAX);
        let same: Vec<bool> = image
            .chunks
            .iter()
            .enumerate()
            .map(|(i, name)| {
                self.have.get(i) == Some(&true)
                    && self.image.chunks[i] == *name
                    && self.image.chunk_len(i) == image.chunk_len(i)
            })
            .collect();
        self.bytes.truncate(len);
        self.doubles.truncate(len);
        self.have = same;
        self.image = image;
    }

    /// Places of the chunks that are still missing.
    pub fn missing(&self) -> Places {
        let missing = self.have.iter().enumerate().filter(|(_, have)| !**have);
        Places::of(&self.image.chunks, missing.map(|(index, _)| index))
    }

    /// Whether the chunk of this name is still missing at place `index`.
    pub fn lacks(&self, index: usize, name: &Hash) -> bool {
        self.image.chunks.get(index) == Some(name) && !self.have[index]
    }

    /// Takes the sealed chunk of place `index` (opened in place).
    pub fn put(&mut self, key: &TaskKey, index: usize, sealed: &mut [u8]) -> Result<(), SealError> {
        let name = *self.image.chunks.get(index).ok_or(SealError::Length)?;
        let plain = key.open(&name, sealed)?;
        if plain.len() != self.image.chunk_len(index) {
            return Err(SealError::Length);
        }
        let start = index * limits::CHUNK_BYTES;
        let end = start + plain.len();
        if self.bytes.len() < end {
            // By half as much again, but never past the end of the image.
            let most = usize::try_from(self.image.len).unwrap_or(usize::MAX).max(end);
            let room = end.saturating_add(end / 2).min(most);
            self.bytes.reserve_exact(room - self.bytes.len());
            self.bytes.resize(end, 0);
        }
        self.bytes.get_mut(start..end).ok_or(SealError::Length)?.copy_from_slice(&plain);
        self.doubles.follow(start, &plain);
        self.have[index] = true;
        Ok(())
    }

    /// Whether every chunk is here.
    pub fn is_complete(&self) -> bool {
        !self.have.contains(&false)
    }

    /// The plain bytes, once complete.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.is_complete().then_some(&*self.bytes)
    }

    /// From here on these doubles of what is here follow each change.
    pub fn keep_doubles(&mut self, doubles: Doubles) {
        self.doubles = doubles;
    }

    /// Whether there are doubles.
    pub fn has_doubles(&self) -> bool {
        !self.doubles.is_empty()
    }

    /// The plain bytes and their doubles, once complete.
    pub fn finish(self) -> Option<Assembled> {
        self.is_complete().then_some(Assembled { bytes: self.bytes, doubles: self.doubles })
    }
}

/// What an assembly gives.
pub(crate) struct Assembled {
    pub bytes: Vec<u8>,
    pub doubles: Doubles,
}

#[cfg(test)]
mod tests {
    use softbus_core::TaskId;
    use softbus_core::wire::task_control::ImageKind;
    use zeroize::Zeroizing;

    use super::*;

    const CHUNK: usize = limits::CHUNK_BYTES;

    fn image(key: &TaskKey, state: &[u8]) -> (Image, Vec<Vec<u8>>) {
        let sealed: Vec<Vec<u8>> = state.chunks(CHUNK).map(|c| key.seal(c)).collect();
        let chunks = sealed.iter().map(|s| Hash::of(s)).collect();
        (Image { kind: ImageKind::Input, len: state.len() as u64, chunks }, sealed)
    }

    #[test]
    fn what_is_only_announced_takes_no_memory() {
        let key = TaskKey::from_bytes(Zeroizing::new([5; 32]), TaskId([1; 16]));
        let sealed = key.seal(&[7; CHUNK]);
        let chunks = vec![Hash::of(&sealed); limits::CHUNKS];
        let mut assembly =
            Assembly::new(Image { kind: ImageKind::Output, len: (CHUNK * limits::CHUNKS) as u64, chunks });
        assert_eq!(assembly.bytes.capacity(), 0);
        assembly.put(&key, 0, &mut sealed.clone()).unwrap();
        assert!(assembly.bytes.capacity() <= 2 * CHUNK);
    }

    #[test]
    fn chunks_arrive_in_any_order_and_a_newer_image_takes_over_what_is_here() {
        let key = TaskKey::from_bytes(Zeroizing::new([5; 32]), TaskId([1; 16]));
        let mut state: Vec<u8> = (0..3 * CHUNK + 5).map(|i| (i / CHUNK) as u8).collect();
        let (old, sealed) = image(&key, &state);
        let mut assembly = Assembly::new(old);
        for index in [3, 0, 2] {
            assembly.put(&key, index, &mut sealed[index].clone()).unwrap();
        }
        assert_eq!(assembly.missing().first(), [1]);
        state[2 * CHUNK] = 77;
        state.truncate(3 * CHUNK);
        let (new, sealed) = image(&key, &state);
        assembly.retarget(new);
        let missing: Vec<usize> = assembly.missing().into_iter().flat_map(|(_, places)| places).collect();
        assert_eq!(missing.len(), 2, "{missing:?}");
        assert_eq!(assembly.put(&key, 1, &mut sealed[2].clone()), Err(SealError::Name));
        for index in missing {
            assembly.put(&key, index, &mut sealed[index].clone()).unwrap();
        }
        assert_eq!(assembly.finish().unwrap().bytes, state);
    }
}
