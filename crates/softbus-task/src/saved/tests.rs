use proptest::prelude::*;
use softbus_core::Epoch;
use softbus_core::wire::task::Branch;
use softbus_core::wire::task_control::Pause;
use softbus_trust::DeviceKey;

use super::*;
use crate::driver::access::tests::spec;

fn saved(state: Vec<u8>) -> SavedTask {
    let meta = StateMeta {
        kind: "sum/1".into(),
        ops_done: 100,
        progress_permille: 500,
        effects: 7,
        state_len: state.len() as u64,
        ended: None,
    };
    let what = SavedState {
        spec: spec(),
        branch: Branch::NONE,
        epoch: Epoch(3),
        kind: ImageKind::State(meta),
        saved: WallMs(1000),
        len: 0,
        root: Hash([0; 32]),
    };
    SavedTask::sign(&DeviceKey::from_seed(&[1; 32]), what, state).unwrap()
}

fn bytes(saved: &SavedTask) -> Vec<u8> {
    let mut bytes = Vec::new();
    saved.write_to(&mut bytes).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<SavedTask, SavedError> {
    SavedTask::read_from(&mut &*bytes, 1 << 20)
}

#[test]
fn what_is_written_reads_back() {
    for len in [0, 1, 65_536, 65_537, 200_000] {
        let state: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let written = saved(state.clone());
        let file = bytes(&written);
        assert_eq!(written.file_len(), file.len() as u64);
        let back = read(&file).unwrap();
        assert_eq!((back.state(), back.what(), back.device()), (&*state, written.what(), written.device()));
        let (kind, bytes) = back.start();
        assert_eq!((kind.meta().unwrap().effects, bytes), (0, state));
    }
}

#[test]
fn the_state_of_a_paused_task_starts_as_one_that_runs() {
    let mut paused = saved(b"state".to_vec());
    let meta = paused.meta().clone();
    paused.what.kind = ImageKind::Paused(meta, Pause { by: DeviceId([2; 32]), since: WallMs(5) });
    assert!(matches!(paused.start().0, ImageKind::State(_)));
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let file = bytes(&saved(vec![7; 70_000]));
    let head = 10 + 4 + u32::from_le_bytes(file[10..14].try_into().unwrap()) as usize;
    // All of the head and the list, and some of the pieces.
    let list_end = head + 4 + 2 * 32 + 4;
    let places = (0..list_end).chain((list_end..file.len()).step_by(997)).chain([file.len() - 1]);
    for at in places {
        for bit in 0..8 {
            let mut bent = file.clone();
            bent[at] ^= 1 << bit;
            assert!(read(&bent).is_err(), "bit {bit} of byte {at}");
        }
    }
    for cut in (0..list_end).chain((list_end..file.len()).step_by(997)) {
        assert!(matches!(read(&file[..cut]), Err(SavedError::Truncated(_) | SavedError::NotOne)), "{cut}");
    }
    let mut longer = file.clone();
    longer.push(0);
    assert!(matches!(read(&longer), Err(SavedError::Trailing)));
}

#[test]
fn what_is_wrong_is_named() {
    let file = bytes(&saved(vec![7; 70_000]));
    let bent = |at: usize, by: u8| {
        let mut bent = file.clone();
        bent[at] ^= by;
        read(&bent).unwrap_err().to_string()
    };
    assert!(bent(0, 1).contains("begins with something else"));
    assert!(bent(8, 2).contains("saved in form 3"));
    assert!(bent(13, 1).contains("head is too long"));
    assert!(bent(100, 1).contains("says of itself"));
    let head = 10 + 4 + u32::from_le_bytes(file[10..14].try_into().unwrap()) as usize;
    assert!(bent(head, 1).contains("list of its pieces"));
    assert!(bent(head + 4, 1).contains("list of its pieces"));
    assert!(bent(head + 68, 1).contains("length of piece 0"));
    assert!(bent(file.len() - 1, 1).contains("piece 1 of its state"));
    let small = SavedTask::read_from(&mut &*file, 69_999).unwrap_err().to_string();
    assert!(small.contains("70000 bytes"), "{small}");
}

#[test]
fn anothers_name_and_a_result_are_refused() {
    let mut stolen = saved(b"state".to_vec());
    stolen.head.signer = DeviceKey::from_seed(&[2; 32]).id();
    assert!(matches!(read(&bytes(&stolen)), Err(SavedError::Signature)));
    let what = SavedState { kind: ImageKind::Output, ..saved(b"state".to_vec()).what };
    let none = SavedTask::sign(&DeviceKey::from_seed(&[1; 32]), what, b"state".to_vec());
    assert!(matches!(none, Err(SavedError::Head(_))));
}

/// The form of the file: what an earlier softbus saved is read by a later one.
#[test]
fn the_file_has_this_form() {
    let hex: String = bytes(&saved(b"abc".to_vec())).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN);
}

proptest! {
    #[test]
    fn garbage_is_refused_without_a_panic(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend(tail);
        prop_assert!(read(&bytes).is_err());
    }
}

const GOLDEN: &str = "736273617665640a0100e90000008a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c87017f00\
    0000c0040100010101010101010101010101010101010573756d2f310373756d010100020001010101000000000000000000\
    0000000000000000000000000000000000000000000000000000000000000000000003010573756d2f3164f403070300e807\
    03ca70c87055355976d352801a9be5147c6d718326792ea241275b113b28adb8aa63c42da754d6cd7a9a32d4ea61d458e72c\
    a15e1f7aeb1569873c1017110d90258d754ff7c0bcae997154d5cc8d3fca4c715d49a028698f3461d85e7b7ec21d0c200000\
    006437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d8503000000616263";
