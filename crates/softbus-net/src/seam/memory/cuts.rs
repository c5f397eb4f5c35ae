//! Which hosts are cut off from which: asked for each datagram, twice, and a partition of many hosts cuts most pairs. So
//! it is a table of bits, not a set of pairs.

/// Directed pairs of hosts, by their index.
#[derive(Default)]
pub(super) struct Cuts {
    /// For each host from which something is cut off, a bit for each host to which.
    rows: Vec<Vec<u64>>,
}

impl Cuts {
    pub(super) fn set(&mut self, from: usize, to: usize, cut: bool) {
        let (word, bit) = (to / 64, 1 << (to % 64));
        if cut {
            if self.rows.len() <= from {
                self.rows.resize(from + 1, Vec::new());
            }
            let row = &mut self.rows[from];
            if row.len() <= word {
                row.resize(word + 1, 0);
            }
            row[word] |= bit;
        } else if let Some(bits) = self.rows.get_mut(from).and_then(|row| row.get_mut(word)) {
            *bits &= !bit;
        }
    }

    pub(super) fn contains(&self, from: usize, to: usize) -> bool {
        let bits = self.rows.get(from).and_then(|row| row.get(to / 64));
        bits.is_some_and(|bits| bits & (1 << (to % 64)) != 0)
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }
}
