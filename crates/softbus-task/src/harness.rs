//! For harnesses: the parsers of foreign bytes of this room that have no public door of their own. Whatever the
//! bytes, they return, and say whether the bytes were understood.

use softbus_core::wire::saved::SavedState;
use softbus_core::wire::task_control::{Image, ImageKind, Right};
use softbus_core::{DeviceId, Domain, Hash, Signed, Signer, TaskId, limits};
use softbus_trust::Role;
use zeroize::Zeroizing;

use crate::checkpoint::{Assembly, TaskKey, WrapKey, check, missing_bits, wanted};
use crate::driver::access::{OpenGrant, open_act};
use crate::driver::instance::{read_tail, write_tail};

use crate::saved::SavedTask;

pub use crate::driver::parse_opening as opening;
pub use crate::store::read_stored as stored;

/// Opens `body` as a grant that `key` has signed, and asks it who may.
pub fn grant(key: &dyn Signer, body: &[u8]) -> bool {
    let opened = OpenGrant::open(Signed::new(key, Domain::GRANT, body.to_vec()));
    let Ok(grant) = opened else { return false };
    let other = DeviceId([9; 32]);
    let _ = (grant.task(), grant.may_run(&other, Some(Role::Member)));
    assert!(!grant.may(&other, None, Right::Cancel), "a stranger may");
    assert!(grant.may(&key.id(), Some(Role::Guest), Right::Cancel), "the submitter may not");
    true
}

/// Opens `body` as an act that `key` has signed.
pub fn act(key: &dyn Signer, body: &[u8]) -> bool {
    open_act(&Signed::new(key, softbus_core::wire::task_control::ACT, body.to_vec())).is_ok()
}

/// Opens a sealed chunk under its own name, and a wrapped key.
pub fn sealed(bytes: &[u8]) -> bool {
    let (task, name) = (TaskId([7; 16]), Hash::of(bytes));
    let _ = check(&Hash([0; 32]), bytes);
    let opened = harness_key().open(&name, &mut bytes.to_vec()).map(|plain| plain.len());
    let wrapped = WrapKey::new(b"device").unwrap(bytes, task).is_ok();
    opened.is_ok_and(|len| len <= limits::CHUNK_BYTES) || wrapped
}

/// A chunk that [`sealed`] opens.
pub fn sealed_example(plain: &[u8]) -> Vec<u8> {
    harness_key().seal(plain)
}

fn harness_key() -> TaskKey {
    TaskKey::from_bytes(Zeroizing::new([5; 32]), TaskId([7; 16]))
}

/// Takes an image (a list of chunks) as a fetch does: believes it only if it is sound, then asks for what lacks.
/// `bits` is what a peer says that it wants of it.
pub fn image(image: Image, bits: &[u8]) -> bool {
    /// Chunks put together here: a harness need not hold gigabytes.
    const CHUNKS: usize = 16;
    let count = image.chunks.len();
    assert!(wanted(bits, count).all(|index| index < count), "a chunk that is not there is wanted");
    if !image.is_sound() {
        return false;
    }
    let _ = image.root();
    let whole: u64 = (0..count).map(|index| image.chunk_len(index) as u64).sum();
    assert_eq!(whole, image.len, "chunks and length of a sound image differ");
    if count <= CHUNKS {
        let mut assembly = Assembly::new(image.clone());
        let lacking: Vec<usize> = assembly.missing().into_iter().flat_map(|(_, places)| places).collect();
        assert_eq!(lacking.len(), count);
        assert_eq!(missing_bits(count, lacking).len(), count.div_ceil(8));
        for index in [0, count, usize::MAX] {
            assert!(assembly.put(&harness_key(), index, &mut bits.to_vec()).is_err(), "an unnamed chunk");
        }
        assembly.retarget(Image { len: image.len / 2, ..image });
        assert!(!assembly.is_complete() || count == 0);
    }
    true
}

/// Reads a file with a saved state. One that is understood is written again as it was.
pub fn saved(bytes: &[u8]) -> bool {
    /// A harness need not hold gigabytes.
    const STATE: u64 = 1 << 20;
    let Ok(saved) = SavedTask::read_from(&mut &*bytes, STATE) else { return false };
    let mut again = Vec::new();
    assert!(saved.write_to(&mut again).is_ok() && again == bytes, "a file has two forms");
    assert_eq!(saved.file_len(), again.len() as u64);
    let (kind, state) = saved.start();
    assert!(kind.meta().is_some_and(|meta| meta.state_len == state.len() as u64), "no state");
    true
}

/// A file that [`saved`] understands.
pub fn saved_example(key: &dyn Signer, mut what: SavedState, state: &[u8]) -> Option<Vec<u8>> {
    if let ImageKind::State(meta) = &mut what.kind {
        meta.state_len = state.len() as u64;
    }
    let mut file = Vec::new();
    SavedTask::sign(key, what, state.to_vec()).ok()?.write_to(&mut file).ok()?;
    Some(file)
}

/// Opens `body` as the head of such a file that `key` has signed; nothing follows.
pub fn saved_head(key: &dyn Signer, body: &[u8]) -> bool {
    let head = Signed::new(key, softbus_core::wire::saved::SAVED, body.to_vec());
    let Ok(head) = postcard::to_stdvec(&head) else { return false };
    let mut file = crate::saved::MAGIC.to_vec();
    file.extend_from_slice(&crate::saved::VERSION.to_le_bytes());
    file.extend_from_slice(&(head.len() as u32).to_le_bytes());
    file.extend_from_slice(&head);
    assert!(SavedTask::read_from(&mut &*file, u64::MAX).is_err(), "a file without a state");
    SavedTask::kind_of(&mut &*file).is_ok()
}

/// Reads what follows a task's state in its checkpoint: the effects that it let out last.
pub fn tail(bytes: &[u8]) -> bool {
    let Some(tail) = read_tail(bytes).map(Vec::from) else { return false };
    let mut again = Vec::new();
    assert!(write_tail(&mut again, &tail).is_ok() && again == bytes, "effects changed on the disk");
    true
}
