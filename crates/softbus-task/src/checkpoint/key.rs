use std::borrow::Cow;

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};
use softbus_core::wire::task_control::SEAL_OVERHEAD_BYTES;
use softbus_core::{Hash, TaskId, limits};
use softbus_net::seam::Entropy;
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// In the last byte of the nonce: what was sealed is compressed.
const COMPRESSED: u8 = 1;
const _: () = assert!(NONCE_BYTES + TAG_BYTES == SEAL_OVERHEAD_BYTES);

/// Why sealed bytes cannot be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// Too short or too long to be a sealed chunk.
    #[error("not the length of a sealed chunk")]
    Length,
    /// Not what its name says.
    #[error("the chunk is damaged: it does not match its name")]
    Name,
    /// Not sealed under this key.
    #[error("the chunk was not sealed with this task's key")]
    Key,
}

/// The secret of one task. Handed only to devices which may run it.
#[derive(Clone)]
pub(crate) struct TaskKey {
    secret: Zeroizing<[u8; 32]>,
    task: TaskId,
    cipher: XChaCha20Poly1305,
    nonces: Zeroizing<[u8; 32]>,
}

impl TaskKey {
    pub fn generate(entropy: &dyn Entropy, task: TaskId) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        entropy.fill(&mut secret[..]);
        Self::from_bytes(secret, task)
    }

    pub fn from_bytes(secret: Zeroizing<[u8; 32]>, task: TaskId) -> Self {
        let seal = Zeroizing::new(blake3::derive_key("softbus task seal v1", &secret[..]));
        let nonces = Zeroizing::new(blake3::derive_key("softbus task nonce v1", &secret[..]));
        let cipher = XChaCha20Poly1305::new((&*seal).into());
        Self { secret, task, cipher, nonces }
    }

    /// The secret itself, for handing over and for keeping (wrapped).
    pub fn secret(&self) -> &Zeroizing<[u8; 32]> {
        &self.secret
    }

    /// Seals a chunk: nonce, cipher text, tag. Compressed before, where that makes it smaller by an eighth at least (LZ4 block
    /// format); the last bit of the nonce says so. The length of a sealed chunk tells how well it compresses.
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let most = get_maximum_output_size(plain.len());
        let mut out = Vec::with_capacity(most + SEAL_OVERHEAD_BYTES);
        out.resize(NONCE_BYTES + most, 0);
        let pays = plain.len() - plain.len() / 8;
        let compressed = compress_into(plain, &mut out[NONCE_BYTES..]).ok().filter(|len| *len < pays);
        match compressed {
            Some(len) => out.truncate(NONCE_BYTES + len),
            None => {
                out.truncate(NONCE_BYTES);
                out.extend_from_slice(plain);
            }
        }
        // Of what is encrypted, and not of what it was: a compressor may make two things of one, on another machine or in another
        // version, and two messages under one nonce would give both away.
        let flag = u8::from(compressed.is_some());
        let hash =
            blake3::Hasher::new_keyed(&self.nonces).update(&[flag]).update(&out[NONCE_BYTES..]).finalize();
        out[..NONCE_BYTES].copy_from_slice(&hash.as_bytes()[..NONCE_BYTES]);
        out[NONCE_BYTES - 1] = out[NONCE_BYTES - 1] & !COMPRESSED | flag;
        let nonce = XNonce::clone_from_slice(&out[..NONCE_BYTES]);
        let tag = self
            .cipher
            .encrypt_in_place_detached(&nonce, &self.task.0, &mut out[NONCE_BYTES..])
            .expect("XChaCha20-Poly1305 takes 256 GiB; a chunk is 64 KiB");
        out.extend_from_slice(&tag);
        out
    }

    /// Opens a sealed chunk, in place where it was not compressed, and gives its plain bytes, checked against its name and the key.
    pub fn open<'a>(&self, name: &Hash, sealed: &'a mut [u8]) -> Result<Cow<'a, [u8]>, SealError> {
        check(name, sealed)?;
        let (nonce, rest) = sealed.split_at_mut(NONCE_BYTES);
        let (body, tag) = rest.split_at_mut(rest.len() - TAG_BYTES);
        let (nonce, tag) = (XNonce::clone_from_slice(nonce), Tag::clone_from_slice(tag));
        self.cipher
            .decrypt_in_place_detached(&nonce, &self.task.0, body, &tag)
            .map_err(|_| SealError::Key)?;
        if nonce[NONCE_BYTES - 1] & COMPRESSED == 0 {
            return Ok(Cow::Borrowed(body));
        }
        let mut plain = vec![0; limits::CHUNK_BYTES];
        let len = decompress_into(body, &mut plain).map_err(|_| SealError::Length)?;
        plain.truncate(len);
        Ok(Cow::Owned(plain))
    }
}

/// Checks a sealed chunk against its name, without any key.
pub(crate) fn check(name: &Hash, sealed: &[u8]) -> Result<(), SealError> {
    if sealed.len() < SEAL_OVERHEAD_BYTES || sealed.len() > limits::CHUNK_BYTES + SEAL_OVERHEAD_BYTES {
        Err(SealError::Length)
    } else if Hash::of(sealed) != *name {
        Err(SealError::Name)
    } else {
        Ok(())
    }
}

/// Wraps task keys in the database, so that they lie on the disk only under a secret of this device.
#[derive(Clone)]
pub(crate) struct WrapKey(XChaCha20Poly1305, Zeroizing<[u8; 32]>);

/// A wrapped task key.
pub(crate) type Wrapped = Vec<u8>;

impl WrapKey {
    pub fn new(secret: &[u8]) -> Self {
        let key = Zeroizing::new(blake3::derive_key("softbus task key wrap v1", secret));
        let contents = Zeroizing::new(blake3::derive_key("softbus content key v1", secret));
        Self(XChaCha20Poly1305::new((&*key).into()), contents)
    }

    /// Seals the chunks of one content on this device's disk.
    pub fn content(&self, name: &Hash) -> TaskKey {
        let secret = Zeroizing::new(*blake3::keyed_hash(&self.1, &name.0).as_bytes());
        TaskKey::from_bytes(secret, TaskId([0; 16]))
    }

    pub fn wrap(&self, entropy: &dyn Entropy, key: &TaskKey) -> Wrapped {
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce);
        let mut body = Zeroizing::new(key.secret.to_vec());
        let tag = self
            .0
            .encrypt_in_place_detached(&nonce.into(), &key.task.0, &mut body)
            .expect("XChaCha20-Poly1305 takes 256 GiB; a key is 32 bytes");
        [&nonce[..], &body[..], &tag[..]].concat()
    }

    pub fn unwrap(&self, wrapped: &[u8], task: TaskId) -> Result<TaskKey, SealError> {
        if wrapped.len() != NONCE_BYTES + 32 + TAG_BYTES {
            return Err(SealError::Length);
        }
        let (nonce, rest) = wrapped.split_at(NONCE_BYTES);
        let (body, tag) = rest.split_at(32);
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(body);
        self.0
            .decrypt_in_place_detached(
                XNonce::from_slice(nonce),
                &task.0,
                &mut secret[..],
                Tag::from_slice(tag),
            )
            .map_err(|_| SealError::Key)?;
        Ok(TaskKey::from_bytes(secret, task))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(fill: u8) -> TaskKey {
        TaskKey::from_bytes(Zeroizing::new([fill; 32]), TaskId([7; 16]))
    }

    proptest! {
        #[test]
        fn sealed_chunks_open_and_repeat(plain in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let sealed = key(1).seal(&plain);
            prop_assert_eq!(&key(1).seal(&plain), &sealed);
            prop_assert_ne!(&key(2).seal(&plain), &sealed);
            let name = Hash::of(&sealed);
            let mut copy = sealed.clone();
            prop_assert_eq!(key(1).open(&name, &mut copy), Ok(Cow::Borrowed(&plain[..])));
            let mut copy = sealed.clone();
            prop_assert_eq!(key(2).open(&name, &mut copy), Err(SealError::Key));
        }

        #[test]
        fn any_flipped_bit_is_seen(plain in proptest::collection::vec(any::<u8>(), 1..300), at: usize, bit in 0..8u32) {
            let mut sealed = key(1).seal(&plain);
            let name = Hash::of(&sealed);
            let at = at % sealed.len();
            sealed[at] ^= 1 << bit;
            let mut copy = sealed.clone();
            prop_assert_eq!(key(1).open(&name, &mut copy), Err(SealError::Name));
            // Even under a name made for it, it is not believed.
            let forged = Hash::of(&sealed);
            prop_assert_eq!(key(1).open(&forged, &mut sealed), Err(SealError::Key));
        }

        #[test]
        fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let name = Hash::of(&bytes);
            prop_assert!(key(1).open(&name, &mut bytes.clone()).is_err());
            prop_assert!(WrapKey::new(b"x").unwrap(&bytes, TaskId([0; 16])).is_err());
        }
    }

    #[test]
    fn what_compresses_is_compressed() {
        let mut noise = vec![0; limits::CHUNK_BYTES];
        let mut state = 1u64;
        for byte in &mut noise {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            *byte = (state >> 56) as u8;
        }
        let half = [&noise[..limits::CHUNK_BYTES / 2], &vec![7; limits::CHUNK_BYTES / 2][..]].concat();
        let plain = limits::CHUNK_BYTES + SEAL_OVERHEAD_BYTES;
        let sizes = [(vec![0; limits::CHUNK_BYTES], 400), (half, plain / 2 + 400), (noise, plain)];
        for (chunk, most) in sizes {
            let mut sealed = key(1).seal(&chunk);
            assert!(sealed.len() <= most, "{} bytes", sealed.len());
            let name = Hash::of(&sealed);
            assert!(key(1).open(&name, &mut sealed).as_deref() == Ok(&chunk));
        }
    }

    /// Only whoever has the key could make one that is more than a chunk when it is opened; that is refused, too.
    #[test]
    fn a_chunk_that_swells_is_refused() {
        let mut packed = vec![0; get_maximum_output_size(limits::CHUNK_BYTES + 1)];
        let len = compress_into(&vec![0; limits::CHUNK_BYTES + 1], &mut packed).unwrap();
        packed.truncate(len);
        let key = key(1);
        let mut sealed = vec![COMPRESSED; NONCE_BYTES];
        let nonce = XNonce::clone_from_slice(&sealed);
        sealed.extend_from_slice(&packed);
        let tag = key.cipher.encrypt_in_place_detached(&nonce, &key.task.0, &mut sealed[NONCE_BYTES..]);
        sealed.extend_from_slice(&tag.unwrap());
        let name = Hash::of(&sealed);
        assert_eq!(key.open(&name, &mut sealed), Err(SealError::Length));
    }

    #[test]
    fn keys_are_wrapped_for_one_device_and_one_task() {
        struct Fixed;
        impl Entropy for Fixed {
            fn fill(&self, bytes: &mut [u8]) {
                bytes.fill(9);
            }
        }
        let wrapped = WrapKey::new(b"device").wrap(&Fixed, &key(3));
        assert!(!wrapped.windows(8).any(|w| w == [3; 8]));
        let again = WrapKey::new(b"device").unwrap(&wrapped, TaskId([7; 16])).unwrap();
        assert_eq!(again.secret()[..], [3; 32]);
        assert!(WrapKey::new(b"other").unwrap(&wrapped, TaskId([7; 16])).is_err());
        assert!(WrapKey::new(b"device").unwrap(&wrapped, TaskId([8; 16])).is_err());
        let sealed =
            |device: &[u8], content| WrapKey::new(device).content(&Hash([content; 32])).seal(b"module");
        assert_eq!(sealed(b"device", 1), sealed(b"device", 1));
        assert!(sealed(b"device", 1) != sealed(b"device", 2) && sealed(b"device", 1) != sealed(b"other", 1));
    }
}
