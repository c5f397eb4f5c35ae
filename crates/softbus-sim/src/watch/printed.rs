//! Whoever reads what a program prints: it must be, from its begin on, what the program prints if nothing disturbs it.

use std::sync::Arc;

use softbus::wasm::Printed;

use crate::program::Expected;

/// One such.
pub(super) struct Reader {
    expected: Arc<Expected>,
    /// Whether nothing may be missing: of a task whose device comes back from an older checkpoint, and whose owner alone
    /// decides about it, other pieces may be told under numbers that were known.
    strict: bool,
    /// So much has come, of either stream.
    until: [usize; 2],
    /// The last number.
    last: u64,
    /// Whether some may have passed unheard.
    deaf: bool,
}

impl Reader {
    pub fn new(expected: Arc<Expected>, strict: bool) -> Self {
        Self { expected, strict, until: [0; 2], last: 0, deaf: false }
    }

    /// A piece came. `before`: the last one that this run of the reader's program heard.
    pub fn take(
        &mut self,
        order: u32,
        sequence: u64,
        bytes: &[u8],
        before: Option<u64>,
    ) -> Result<(), String> {
        let wrong = |what: String| Err(format!("piece {sequence} of what work {order} prints {what}"));
        let Ok(Printed { to_stderr, at, bytes }) = postcard::from_bytes(bytes) else {
            return wrong("cannot be read".into());
        };
        if before.is_some_and(|before| sequence <= before) {
            return wrong(format!("came after piece {}", self.last));
        }
        self.deaf |= before.is_none() && sequence > self.last + 1;
        let missing = sequence > self.last + 1;
        self.last = self.last.max(sequence);
        let stream = usize::from(to_stderr);
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let end = at.saturating_add(bytes.len());
        if self.expected.printed[stream].get(at..end) != Some(bytes.as_slice()) {
            return wrong(format!("is not what it prints at {at} if nothing disturbs it"));
        }
        let until = self.until[stream];
        self.until[stream] = until.max(end);
        if self.strict && !self.deaf && (missing || at > until) {
            return wrong(format!("begins at {at}, and {until} bytes had come"));
        }
        Ok(())
    }

    /// The program is done: whoever heard all that was told must have all that it printed.
    pub fn done(&self, order: u32) -> Result<(), String> {
        let all = self.expected.printed.each_ref().map(Vec::len);
        match !self.strict || self.deaf || self.until == all {
            true => Ok(()),
            false => Err(format!("work {order} is done, and of {all:?} printed bytes {:?} came", self.until)),
        }
    }

    /// Pieces up to this one are not to be had any more.
    pub fn missed(&mut self, to: u64) {
        self.deaf |= to > self.last;
        self.last = self.last.max(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(strict: bool) -> Reader {
        let expected = Expected { finish: Vec::new(), printed: [b"abcdef".to_vec(), Vec::new()] };
        Reader::new(Arc::new(expected), strict)
    }

    fn piece(at: u64, text: &str) -> Vec<u8> {
        postcard::to_allocvec(&Printed { to_stderr: false, at, bytes: text.into() }).unwrap()
    }

    #[test]
    fn what_is_printed_comes_whole_and_right() {
        let mut reader = reader(true);
        assert_eq!(reader.take(1, 1, &piece(0, "abc"), None), Ok(()));
        // In other pieces after a fail-over.
        assert_eq!(reader.take(1, 2, &piece(2, "cd"), Some(1)), Ok(()));
        assert!(reader.done(1).unwrap_err().contains("[4, 0] came"));
        assert!(reader.take(1, 2, &piece(4, "e"), Some(2)).unwrap_err().contains("came after"));
        assert!(reader.take(1, 3, &piece(4, "x"), Some(2)).unwrap_err().contains("not what it prints"));
        assert!(reader.take(1, 4, &piece(5, "f"), Some(3)).unwrap_err().contains("begins at 5"));
        assert!(reader.take(1, 5, &piece(6, "g"), Some(4)).is_err());
        assert!(reader.take(1, 6, &[], Some(5)).is_err());
        assert_eq!(reader.done(1), Ok(()));
    }

    #[test]
    fn who_was_told_that_some_is_lost_or_did_not_listen_misses_none() {
        let mut deaf = reader(true);
        deaf.missed(3);
        assert_eq!(deaf.take(1, 4, &piece(4, "e"), Some(1)), Ok(()));
        assert_eq!(deaf.done(1), Ok(()));
        let mut late = reader(true);
        assert_eq!(late.take(1, 7, &piece(3, "d"), None), Ok(()));
        assert_eq!(late.done(1), Ok(()));
        let mut loose = reader(false);
        assert_eq!(loose.take(1, 1, &piece(3, "d"), None), Ok(()));
        assert!(loose.take(1, 2, &piece(3, "x"), Some(1)).is_err(), "wrong is wrong");
    }
}
