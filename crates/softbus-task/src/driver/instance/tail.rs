//! The effects kept behind the state in a checkpoint, so that no fail-over can lose them.

use std::collections::VecDeque;

use crate::limits;
use crate::native::{EFFECTS_PER_STEP, Effect};

pub(crate) fn write_tail(out: &mut dyn std::io::Write, tail: &[Effect]) -> std::io::Result<()> {
    out.write_all(&(tail.len() as u64).to_le_bytes())?;
    for effect in tail {
        out.write_all(&effect.sequence.to_le_bytes())?;
        out.write_all(&(effect.bytes.len() as u64).to_le_bytes())?;
        out.write_all(&effect.bytes)?;
    }
    Ok(())
}

/// Reads what [`write_tail`] wrote; foreign bytes.
pub(crate) fn read_tail(mut bytes: &[u8]) -> Option<VecDeque<Effect>> {
    pub(super) fn number(bytes: &mut &[u8]) -> Option<u64> {
        let (head, rest) = bytes.split_first_chunk::<8>()?;
        *bytes = rest;
        Some(u64::from_le_bytes(*head))
    }
    let count = number(&mut bytes)?;
    let mut tail = VecDeque::new();
    if count > (limits::EFFECTS + EFFECTS_PER_STEP) as u64 {
        return None;
    }
    for _ in 0..count {
        let sequence = number(&mut bytes)?;
        let len = usize::try_from(number(&mut bytes)?).ok()?;
        if len > bytes.len() {
            return None;
        }
        let (effect, rest) = bytes.split_at(len);
        tail.push_back(Effect { sequence, bytes: effect.to_vec() });
        bytes = rest;
    }
    bytes.is_empty().then_some(tail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_tail_reads_back(effects in proptest::collection::vec((any::<u64>(), proptest::collection::vec(any::<u8>(), 0..50)), 0..20)) {
            let effects: Vec<Effect> = effects.into_iter().map(|(sequence, bytes)| Effect { sequence, bytes }).collect();
            let mut bytes = Vec::new();
            write_tail(&mut bytes, &effects).unwrap();
            prop_assert_eq!(read_tail(&bytes).map(Vec::from), Some(effects));
            bytes.push(0);
            prop_assert_eq!(read_tail(&bytes), None);
        }

        #[test]
        fn garbage_is_no_tail_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read_tail(&bytes);
        }
    }
}
