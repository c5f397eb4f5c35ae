//! Whoever acts on the effects of a piece of work: it keeps the number of the last one that it acted on, as every program
//! must that may be started anew.

use std::collections::BTreeMap;

use crate::work::WorkEffect;

/// One such.
#[derive(Default)]
pub(super) struct Sink {
    /// The last number acted on.
    last: u64,
    /// The fence it came under.
    fence: (u32, u64),
    /// Under which fence each was acted on.
    acted: BTreeMap<u64, (u32, u64)>,
    /// Whether some may have passed unheard: it was told that they are lost, or heard none of them in this run.
    deaf: bool,
}

impl Sink {
    /// An effect came. `before`: the last one that this run of the program heard. A listener that begins anew may be told
    /// old ones again, and may have missed some.
    pub fn take(
        &mut self,
        order: u32,
        sequence: u64,
        bytes: &[u8],
        before: Option<u64>,
    ) -> Result<(), String> {
        let effect: WorkEffect = match postcard::from_bytes(bytes) {
            Ok(effect) => effect,
            Err(error) => return Err(format!("effect {sequence} of work {order} cannot be read: {error}")),
        };
        if effect.order != order || effect.number != sequence {
            return Err(format!(
                "effect {sequence} of work {order} is effect {} of work {}",
                effect.number, effect.order
            ));
        }
        if sequence <= self.last {
            // Told again to a program that started anew: it knows that it has acted on that, and it must be the same.
            let acted = self.acted.get(&sequence).copied();
            return if before.is_some_and(|before| sequence <= before) {
                Err(format!("effect {sequence} of work {order} came after effect {}", self.last))
            } else if acted.is_some_and(|fence| fence != effect.fence) {
                Err(format!(
                    "effect {sequence} of work {order} came again, of (branch, epoch) {:?}; the one acted on was of {acted:?}",
                    effect.fence
                ))
            } else {
                Ok(())
            };
        }
        if sequence != self.last + 1 && before.is_some() {
            let lost = self.last + 1;
            self.last = sequence;
            return Err(format!(
                "effect {sequence} of work {order} came, and effects from {lost} on did not, nor was it told that they are lost"
            ));
        }
        self.deaf |= sequence != self.last + 1;
        if effect.fence < self.fence {
            return Err(format!(
                "effect {sequence} of work {order} was let out in (branch, epoch) {:?}, after one in {:?}",
                effect.fence, self.fence
            ));
        }
        (self.last, self.fence) = (sequence, effect.fence);
        self.acted.insert(sequence, effect.fence);
        Ok(())
    }

    /// The work is done, and let out so many. Whoever heard all that was told must have them all.
    pub fn done(&self, order: u32, effects: u64) -> Result<(), String> {
        match self.deaf || self.last == effects {
            true => Ok(()),
            false => Err(format!("work {order} is done with {effects} effects, of which {} came", self.last)),
        }
    }

    /// Effects up to this one are not to be had any more.
    pub fn missed(&mut self, to: u64) {
        self.deaf |= to > self.last;
        self.last = self.last.max(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u64, epoch: u64) -> Vec<u8> {
        postcard::to_allocvec(&WorkEffect { order: 1, number, fence: (0, epoch) }).unwrap()
    }

    #[test]
    fn effects_come_once_in_order_and_under_no_older_right() {
        let mut sink = Sink::default();
        assert_eq!(sink.take(1, 1, &bytes(1, 1), None), Ok(()));
        assert_eq!(sink.take(1, 2, &bytes(2, 2), Some(1)), Ok(()));
        assert!(sink.take(1, 2, &bytes(2, 2), Some(2)).is_err());
        assert_eq!(sink.take(1, 2, &bytes(2, 2), None), Ok(()), "told again after a restart");
        assert!(sink.take(1, 2, &bytes(2, 3), None).unwrap_err().contains("again"), "as another");
        assert_eq!(sink.done(1, 2), Ok(()));
        assert!(sink.done(1, 3).unwrap_err().contains("of which 2"));
        assert!(sink.take(1, 3, &bytes(3, 1), Some(2)).unwrap_err().contains("epoch"));
        assert!(sink.take(1, 3, &bytes(4, 2), Some(2)).is_err());
        assert!(sink.take(2, 3, &bytes(3, 2), Some(2)).is_err());
        assert!(sink.take(1, 3, &[], Some(2)).is_err());
        assert!(sink.take(1, 5, &bytes(5, 2), Some(2)).unwrap_err().contains("from 3 on"));
        sink.missed(8);
        assert_eq!(sink.take(1, 9, &bytes(9, 2), Some(5)), Ok(()));
        assert_eq!(sink.take(1, 20, &bytes(20, 2), None), Ok(()), "one that begins anew begins somewhere");
        assert_eq!(sink.done(1, 30), Ok(()), "nobody knows what it did not hear");
    }
}
