use std::collections::BTreeMap;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn open(folder: &Path) -> FileBlobs {
    FileBlobs::open(&folder.join("blobs"), Arc::new(Folder::open(folder).unwrap())).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    segments(&folder.join("blobs")).unwrap().into_iter().map(|(_, path)| path).collect()
}

fn blob(n: u32, len: usize) -> (Hash, Vec<u8>) {
    let bytes: Vec<u8> = n.to_le_bytes().into_iter().cycle().take(len).collect();
    (Hash::of(&bytes), bytes)
}

fn put(blobs: &FileBlobs, n: u32, len: usize) -> Hash {
    let (name, bytes) = blob(n, len);
    blobs.put(&name, &bytes).unwrap();
    name
}

#[test]
fn many_blobs_share_a_file_and_an_emptied_file_goes() {
    let temp = TempDir::new().unwrap();
    let blobs = open(temp.path());
    let names: Vec<Hash> = (0..300).map(|n| put(&blobs, n, 256)).collect();
    blobs.sync(&names).unwrap();
    let before = files(temp.path());
    assert_eq!(before.len(), 3);
    // All but the last few: the first two files go at once, the one that is written to stays.
    names[..290].iter().for_each(|name| blobs.remove(name).unwrap());
    assert_eq!(files(temp.path()), before[2..]);
    drop(blobs);
    let blobs = open(temp.path());
    for (n, name) in names.iter().enumerate().skip(290) {
        assert_eq!(blobs.get(name).unwrap(), Some(blob(n as u32, 256).1));
    }
}

#[test]
fn tidying_gives_back_the_room_of_sparse_files() {
    let temp = TempDir::new().unwrap();
    let blobs = open(temp.path());
    let names: Vec<Hash> = (0..600).map(|n| put(&blobs, n, 256)).collect();
    blobs.sync(&names).unwrap();
    let kept: Vec<usize> = (0..600).step_by(20).collect();
    for (n, name) in names.iter().enumerate() {
        if !kept.contains(&n) {
            blobs.remove(name).unwrap();
        }
    }
    let size = || files(temp.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    let before = size();
    (0..10).for_each(|_| blobs.tidy().unwrap());
    assert!(size() < before / 3, "{} of {before}", size());
    for n in &kept {
        assert_eq!(blobs.get(&names[*n]).unwrap(), Some(blob(*n as u32, 256).1));
    }
    drop(blobs);
    let blobs = open(temp.path());
    for n in &kept {
        assert_eq!(blobs.get(&names[*n]).unwrap(), Some(blob(*n as u32, 256).1));
    }
}

#[test]
fn of_two_copies_the_whole_one_counts() {
    let temp = TempDir::new().unwrap();
    let blobs = open(temp.path());
    let name = put(&blobs, 1, 5000);
    drop(blobs);
    let old = files(temp.path())[0].clone();
    for torn_is_newer in [true, false] {
        let copy = temp.path().join("blobs").join(format!("{:016x}{ENDING}", 100 + u64::from(torn_is_newer)));
        fs::copy(&old, &copy).unwrap();
        let torn = if torn_is_newer { &copy } else { &old };
        let mut bytes = fs::read(torn).unwrap();
        let end = bytes.len();
        bytes[end - 100..].fill(0);
        fs::write(torn, bytes).unwrap();
        let blobs = open(temp.path());
        assert_eq!(blobs.get(&name).unwrap(), Some(blob(1, 5000).1));
        drop(blobs);
        assert_eq!(files(temp.path()).len(), 1, "the other one is of no use");
        fs::rename(&files(temp.path())[0], &old).unwrap();
    }
}

#[test]
fn a_torn_blob_of_an_earlier_run_is_written_again() {
    let temp = TempDir::new().unwrap();
    let blobs = open(temp.path());
    let name = put(&blobs, 1, 5000);
    drop(blobs);
    let file = files(temp.path())[0].clone();
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.len();
    bytes[end - 100..].fill(0);
    fs::write(&file, bytes).unwrap();
    let blobs = open(temp.path());
    assert_ne!(blobs.get(&name).unwrap(), Some(blob(1, 5000).1));
    put(&blobs, 1, 5000);
    assert_eq!(blobs.get(&name).unwrap(), Some(blob(1, 5000).1));
}

#[test]
fn after_a_failed_sync_blobs_are_written_anew() {
    let temp = TempDir::new().unwrap();
    let blobs = open(temp.path());
    let durable = put(&blobs, 1, 5000);
    blobs.sync(&[durable]).unwrap();
    let lost = put(&blobs, 2, 5000);
    // What the disk would do; the file itself is fine.
    *blobs.writer() = None;
    blobs.index().lost(0);
    assert_eq!(blobs.get(&durable).unwrap(), Some(blob(1, 5000).1));
    assert_eq!(blobs.get(&lost).unwrap(), None);
    assert_eq!(blobs.sync(&[lost]).unwrap_err().kind(), io::ErrorKind::NotFound);
    put(&blobs, 2, 5000);
    blobs.sync(&[lost, durable]).unwrap();
    assert_eq!(files(temp.path()).len(), 2);
    drop(blobs);
    let blobs = open(temp.path());
    assert_eq!(blobs.get(&lost).unwrap(), Some(blob(2, 5000).1));
}

#[test]
fn a_segment_that_cannot_be_opened_for_once_keeps_its_blobs() {
    let temp = TempDir::new().unwrap();
    let blobs = open(temp.path());
    let name = put(&blobs, 1, 5000);
    drop(blobs);
    let blobs = open(temp.path());
    // As if too many files were open.
    let (file, away) = (files(temp.path())[0].clone(), temp.path().join("away"));
    fs::rename(&file, &away).unwrap();
    assert!(blobs.sync(&[name]).is_err());
    fs::rename(&away, &file).unwrap();
    assert_eq!(blobs.get(&name).unwrap(), Some(blob(1, 5000).1));
    blobs.sync(&[name]).unwrap();
}

#[test]
fn after_a_failed_sync_what_was_found_at_the_start_is_there_to_be_read() {
    let temp = TempDir::new().unwrap();
    let blobs = open(temp.path());
    let name = put(&blobs, 1, 5000);
    drop(blobs);
    let blobs = open(temp.path());
    blobs.index().lost(0);
    assert_eq!(blobs.get(&name).unwrap(), Some(blob(1, 5000).1));
    assert!(blobs.sync(&[name]).is_err(), "the page cache would say yes");
    // Whoever has it writes it anew, elsewhere.
    put(&blobs, 1, 5000);
    blobs.sync(&[name]).unwrap();
    assert_eq!(blobs.get(&name).unwrap(), Some(blob(1, 5000).1));
}

#[test]
fn what_is_no_segment_is_left_alone_and_an_empty_one_removed() {
    let temp = TempDir::new().unwrap();
    drop(open(temp.path()));
    let path = |name: &str| temp.path().join("blobs").join(name);
    fs::write(path("readme"), "not ours").unwrap();
    fs::write(path("0000000000000005.seg"), [7; 100]).unwrap();
    fs::write(path("0000000000000006.seg"), [7; 3]).unwrap();
    let blobs = open(temp.path());
    assert!(path("readme").exists() && path("0000000000000005.seg").exists());
    assert!(!path("0000000000000006.seg").exists());
    put(&blobs, 1, 10);
    assert!(path("0000000000000007.seg").exists());
}

#[derive(Debug, Clone)]
enum Act {
    Put(u32),
    Sync(u32),
    Remove(u32),
    Tidy,
    /// The process ends, all that was written is there.
    Restart,
    /// Power goes: each file keeps what is durable, and a part of the rest.
    Cut(prop::sample::Index),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..40u32).prop_map(Act::Put),
        3 => (0..40u32).prop_map(Act::Sync),
        4 => (0..40u32).prop_map(Act::Remove),
        1 => Just(Act::Tidy),
        1 => Just(Act::Restart),
        1 => any::<prop::sample::Index>().prop_map(Act::Cut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever happens in whatever order, a blob that was made durable is there and whole until it is removed.
    #[test]
    fn what_is_durable_stays(acts in proptest::collection::vec(act(), 1..120)) {
        let temp = TempDir::new().unwrap();
        let mut blobs = open(temp.path());
        // `true`: durable.
        let mut model: BTreeMap<u32, bool> = BTreeMap::new();
        // How much of each file a power cut leaves for certain.
        let mut disk: BTreeMap<u64, u64> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Put(n) => {
                    put(&blobs, n, 3000);
                    model.entry(n).or_insert(false);
                }
                Act::Sync(n) => {
                    let synced = blobs.sync(&[blob(n, 3000).0]);
                    prop_assert_eq!(synced.is_ok(), model.contains_key(&n));
                    model.entry(n).and_modify(|durable| *durable = true);
                }
                Act::Remove(n) => {
                    blobs.remove(&blob(n, 3000).0).unwrap();
                    model.remove(&n);
                }
                Act::Tidy => blobs.tidy().unwrap(),
                Act::Restart => {
                    drop(blobs);
                    blobs = open(temp.path());
                }
                Act::Cut(part) => {
                    let numbers: Vec<u64> = blobs.index().segments.keys().copied().collect();
                    drop(blobs);
                    for number in numbers {
                        let path = temp.path().join("blobs").join(format!("{number:016x}{ENDING}"));
                        let file = OpenOptions::new().write(true).open(path).unwrap();
                        let (kept, end) = (disk.entry(number).or_default(), file.metadata().unwrap().len());
                        *kept += part.index((end - *kept + 1) as usize) as u64;
                        file.set_len(*kept).unwrap();
                    }
                    model.retain(|_, durable| *durable);
                    blobs = open(temp.path());
                }
            }
            disk.retain(|number, _| blobs.index().segments.contains_key(number));
            for (number, segment) in &blobs.index().segments {
                let synced = if segment.entered { segment.synced } else { 0 };
                disk.entry(*number).and_modify(|kept| *kept = synced.max(*kept)).or_insert(synced);
            }
            for n in model.keys() {
                let (name, bytes) = blob(*n, 3000);
                prop_assert_eq!(blobs.get(&name).unwrap(), Some(bytes));
            }
            // Removed ones may be back after a restart; then their user removes them, as here.
            for name in blobs.list().unwrap() {
                if !model.keys().any(|n| blob(*n, 3000).0 == name) {
                    blobs.remove(&name).unwrap();
                }
            }
        }
    }
}
