//! What is written is told. On systems that have nothing of the kind there is nothing to try, and the test says so.
#![allow(clippy::single_range_in_vec_init, reason = "one range is what is meant")]

use std::ops::Range;

use softbus_pages::{PAGE, Watch};

fn watch() -> Option<Watch> {
    match Watch::new() {
        Ok(watch) => Some(watch),
        Err(error) => {
            eprintln!("not tried: {error}");
            None
        }
    }
}

fn pages(changed: &[Range<usize>]) -> Vec<usize> {
    changed.iter().flat_map(|part| part.start / PAGE..part.end.div_ceil(PAGE)).collect()
}

/// A memory that begins and ends with a page, so that every page of it is watched.
fn memory(pages: usize) -> (Vec<u8>, usize) {
    let room = vec![0; (pages + 16) * PAGE];
    let begin = room.as_ptr().align_offset(16 * PAGE);
    (room, begin)
}

#[test]
fn what_is_written_is_told_once() {
    let Some(mut watch) = watch() else { return };
    let count = 3000;
    let (mut room, begin) = memory(count);
    let mut changed = Vec::new();
    watch.changed(&room[begin..][..count * PAGE], &mut changed).unwrap();
    assert_eq!(changed, [0..count * PAGE], "of what was before nothing is known");
    let mut state = 7u64;
    for round in 0..20 {
        // More regions than fit into one answer of the kernel, in some rounds.
        let mut written: Vec<usize> = (0..round * 100)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) as usize % count
            })
            .collect();
        written.sort_unstable();
        written.dedup();
        written.iter().for_each(|page| room[begin + page * PAGE + state as usize % PAGE] ^= 1);
        watch.changed(&room[begin..][..count * PAGE], &mut changed).unwrap();
        // Pages larger than 4 KiB tell of their neighbours, too.
        let told = pages(&changed);
        assert!(written.iter().all(|page| told.binary_search(page).is_ok()), "round {round}");
        assert!(changed.windows(2).all(|two| two[0].end < two[1].start), "apart, and in order");
        assert!(told.len() <= 16 * written.len(), "{} were written, {} told", written.len(), told.len());
        watch.changed(&room[begin..][..count * PAGE], &mut changed).unwrap();
        assert_eq!(changed, [], "told twice");
    }
}

#[test]
fn a_memory_that_grows_or_moves_is_told_of_as_far_as_it_is_new() {
    let Some(mut watch) = watch() else { return };
    let (mut room, begin) = memory(400);
    let mut changed = Vec::new();
    watch.changed(&room[begin..][..100 * PAGE], &mut changed).unwrap();
    room[begin + 50 * PAGE] = 1;
    watch.changed(&room[begin..][..320 * PAGE], &mut changed).unwrap();
    let told = pages(&changed);
    assert!(told.contains(&50) && (112..320).all(|page| told.contains(&page)) && !told.contains(&10));
    // Shorter, or elsewhere: all of it.
    watch.changed(&room[begin..][..64 * PAGE], &mut changed).unwrap();
    assert_eq!(changed, [0..64 * PAGE]);
    watch.changed(&room[begin + 16 * PAGE..][..64 * PAGE], &mut changed).unwrap();
    assert_eq!(changed, [0..64 * PAGE]);
    // Not at the borders of pages: what lies outside of whole pages is always told.
    watch.changed(&room[begin + 7..][..64 * PAGE], &mut changed).unwrap();
    watch.changed(&room[begin + 7..][..64 * PAGE], &mut changed).unwrap();
    let told: usize = changed.iter().map(ExactSizeIterator::len).sum();
    assert!(told > 0 && told <= 32 * PAGE, "{changed:?}");
    watch.changed(&[], &mut changed).unwrap();
    assert_eq!(changed, []);
    watch.changed(&[1, 2, 3], &mut changed).unwrap();
    assert_eq!(changed, [0..3]);
}

#[test]
fn two_watches_do_not_disturb_each_other() {
    let (Some(mut first), Some(mut second)) = (watch(), watch()) else { return };
    let (mut room, begin) = memory(64);
    let (mut other, other_begin) = memory(64);
    let mut changed = Vec::new();
    first.changed(&room[begin..][..64 * PAGE], &mut changed).unwrap();
    second.changed(&other[other_begin..][..64 * PAGE], &mut changed).unwrap();
    // One memory has one watch: whoever comes second is refused, and the first goes on.
    let mut third = Watch::new().unwrap();
    assert!(third.changed(&room[begin..][..64 * PAGE], &mut changed).is_err());
    room[begin] = 1;
    other[other_begin + 5 * PAGE] = 1;
    first.changed(&room[begin..][..64 * PAGE], &mut changed).unwrap();
    assert!(pages(&changed).contains(&0));
    second.changed(&other[other_begin..][..64 * PAGE], &mut changed).unwrap();
    assert!(pages(&changed).contains(&5));
    drop(first);
    room[begin] = 2;
    third.changed(&room[begin..][..64 * PAGE], &mut changed).unwrap();
    assert_eq!(changed, [0..64 * PAGE]);
}
