//! Whoever acts on the effects of a piece of work: it keeps the number of the last one that it acted on, as every program
//! must that may be started anew.

use crate::work::WorkEffect;

/// One such.
#[derive(Default)]
pub(super) struct Sink {
    /// The last number acted on.
    last: u64,
    /// The fence it came under.
    fence: (u32, u64),
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
            // Told again to a program that started anew: it knows that it has acted on that.
            return if before.is_none_or(|before| sequence > before) {
                Ok(())
            } else {
                Err(format!("effect {sequence} of work {order} came after effect {}", self.last))
            };
        }
        if sequence != self.last + 1 && before.is_some() {
            let lost = self.last + 1;
            self.last = sequence;
            return Err(format!(
                "effect {sequence} of work {order} came, and effects from {lost} on did not, nor was it told that they are lost"
            ));
        }
        if effect.fence < self.fence {
            return Err(format!(
                "effect {sequence} of work {order} was let out in (branch, epoch) {:?}, after one in {:?}",
                effect.fence, self.fence
            ));
        }
        (self.last, self.fence) = (sequence, effect.fence);
        Ok(())
    }

    /// Effects up to this one are not to be had any more.
    pub fn missed(&mut self, to: u64) {
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
        assert!(sink.take(1, 3, &bytes(3, 1), Some(2)).unwrap_err().contains("epoch"));
        assert!(sink.take(1, 3, &bytes(4, 2), Some(2)).is_err());
        assert!(sink.take(2, 3, &bytes(3, 2), Some(2)).is_err());
        assert!(sink.take(1, 3, &[], Some(2)).is_err());
        assert!(sink.take(1, 5, &bytes(5, 2), Some(2)).unwrap_err().contains("from 3 on"));
        sink.missed(8);
        assert_eq!(sink.take(1, 9, &bytes(9, 2), Some(5)), Ok(()));
        assert_eq!(sink.take(1, 20, &bytes(20, 2), None), Ok(()), "one that begins anew begins somewhere");
    }
}
