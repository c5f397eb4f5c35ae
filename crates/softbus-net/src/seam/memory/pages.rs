//! The bytes of a file, in pages that several states of it share. A page of zeros that was never written takes no room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const PAGE_BYTES: usize = 4096;

type Page = [u8; PAGE_BYTES];

/// A file's bytes. Cloning shares its pages.
#[derive(Clone, Default)]
pub(super) struct Pages {
    len: usize,
    pages: BTreeMap<usize, Arc<Page>>,
}

impl Pages {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Cuts it off or continues it with zeros.
    pub(super) fn resize(&mut self, len: usize) {
        if len < self.len {
            self.pages.split_off(&len.div_ceil(PAGE_BYTES));
            let (last, rest) = (len / PAGE_BYTES, len % PAGE_BYTES);
            if let Some(page) = self.pages.get_mut(&last) {
                Arc::make_mut(page)[rest..].fill(0);
            }
        }
        self.len = len;
    }

    /// `None` if it does not reach so far.
    pub(super) fn read(&self, offset: usize, out: &mut [u8]) -> Option<()> {
        if offset.checked_add(out.len())? > self.len {
            return None;
        }
        for (page, within, part) in pieces(offset, out.len()) {
            let out = &mut out[part.clone()];
            match self.pages.get(&page) {
                Some(page) => out.copy_from_slice(&page[within..within + part.len()]),
                None => out.fill(0),
            }
        }
        Some(())
    }

    /// It grows as far as that takes.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.len = self.len.max(offset + bytes.len());
        for (page, within, part) in pieces(offset, bytes.len()) {
            let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(page)[within..within + part.len()].copy_from_slice(&bytes[part]);
        }
    }

    /// Flips bits of one byte, if there is such a byte.
    pub(super) fn flip(&mut self, at: usize, mask: u8) {
        let mut byte = [0];
        if self.read(at, &mut byte).is_some() {
            self.write(at, &[byte[0] ^ mask]);
        }
    }

    /// Takes over the pages at these places from `other`, and its length. The same bytes as `other` if they differ nowhere else.
    pub(super) fn follow(&mut self, other: &Self, places: &BTreeSet<usize>) {
        self.resize(other.len);
        for place in places {
            match other.pages.get(place) {
                Some(page) => self.pages.insert(*place, page.clone()),
                None => self.pages.remove(place),
            };
        }
    }
}

/// The pages that so many bytes from `offset` on lie in.
pub(super) fn places(offset: usize, len: usize) -> impl Iterator<Item = usize> {
    pieces(offset, len).map(|(page, _, _)| page)
}

/// By page: its number, where in it to begin, and which part of the bytes lies there.
fn pieces(offset: usize, len: usize) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let within = (offset + done) % PAGE_BYTES;
        let part = done..len.min(done + PAGE_BYTES - within);
        let page = (offset + done) / PAGE_BYTES;
        done = part.end;
        (!part.is_empty()).then_some((page, within, part))
    })
}

#[cfg(test)]
mod tests {
    use super::super::entropy::Dice;
    use super::*;

    #[test]
    fn behaves_as_a_plain_list_of_bytes() {
        let mut dice = Dice::new(5);
        let mut below = |bound: usize| dice.below(bound as u64) as usize;
        let (mut pages, mut plain) = (Pages::default(), Vec::new());
        let mut synced = Pages::default();
        let mut dirty = BTreeSet::new();
        for _ in 0..2000 {
            match below(5) {
                0 => {
                    let len = below(6 * PAGE_BYTES);
                    // Whoever cuts off, changes the page that the end falls into.
                    dirty.extend(places(len.min(pages.len()), pages.len().abs_diff(len)));
                    pages.resize(len);
                    plain.resize(len, 0);
                }
                1 => {
                    synced.follow(&pages, &std::mem::take(&mut dirty));
                    let mut all = vec![9; synced.len()];
                    assert!(synced.read(0, &mut all).is_some());
                    assert!(all == plain);
                }
                2 => {
                    let (at, len) = (below(6 * PAGE_BYTES), below(2 * PAGE_BYTES));
                    let mut out = vec![7; len];
                    let there = plain.get(at..at + len);
                    assert_eq!(pages.read(at, &mut out).is_some(), there.is_some());
                    assert!(there.is_none_or(|there| there == out));
                }
                _ => {
                    let (at, len, with) = (below(5 * PAGE_BYTES), below(2 * PAGE_BYTES), below(256) as u8);
                    if plain.len() < at + len {
                        plain.resize(at + len, 0);
                    }
                    plain[at..at + len].fill(with);
                    pages.write(at, &vec![with; len]);
                    dirty.extend(places(at, len));
                }
            }
            assert_eq!(pages.len(), plain.len());
        }
    }
}
