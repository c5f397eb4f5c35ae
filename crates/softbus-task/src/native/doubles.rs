//! What is made of a state while it is still on its way, so that less is left to do when the task has stopped for it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::buffer::Double;
use super::runtime::Prepared;

/// What was made of a state beforehand. It follows each change of the state.
#[derive(Default)]
pub(crate) struct Doubles {
    /// Of a native task: copies of its large buffers.
    pub buffers: Vec<Double>,
    /// What a runtime made.
    pub program: Option<Box<dyn Prepared>>,
}

impl Doubles {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty() && self.program.is_none()
    }

    /// The state has changed: `piece` lies at `at` now.
    pub fn follow(&mut self, at: usize, piece: &[u8]) {
        self.buffers.iter_mut().for_each(|double| double.follow(at, piece));
        if let Some(program) = &mut self.program
            && catch_unwind(AssertUnwindSafe(|| program.follow(at, piece))).is_err()
        {
            // The task can be gone on with all the same.
            self.program = None;
        }
    }

    /// The state is so long now.
    pub fn truncate(&mut self, len: usize) {
        self.buffers.retain(|double| double.range().end <= len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Follower(usize);

    impl Prepared for Follower {
        fn follow(&mut self, at: usize, piece: &[u8]) {
            assert_eq!(at, self.0, "not in order");
            self.0 += piece.len();
        }
    }

    #[test]
    fn what_panics_as_it_follows_is_dropped_and_nothing_else() {
        let mut doubles = Doubles {
            buffers: Double::of(&[0; 8], 0..8).into_iter().collect(),
            program: Some(Box::new(Follower(0))),
        };
        doubles.follow(0, &[1, 2]);
        doubles.truncate(9);
        assert!(doubles.program.is_some());
        doubles.follow(7, &[3]);
        assert!(doubles.program.is_none() && !doubles.is_empty());
        doubles.truncate(7);
        assert!(doubles.is_empty());
    }
}
