//! With whom to keep standing links. Pure.

use std::collections::BTreeSet;

use softbus_core::{DeviceId, Hash};

/// With whom to keep a link whether it is used or not: everybody up to the budget; past it the neighbours in
/// the ring of all ids, so that nobody is cut off, and a share of the others by a hash of the pair. Both
/// sides of a pair come to the same choice.
pub fn standing(me: DeviceId, trusted: &BTreeSet<DeviceId>, budget: usize) -> BTreeSet<DeviceId> {
    if trusted.len() <= budget {
        return trusted.clone();
    }
    let mut chosen = BTreeSet::new();
    let after = trusted.range(me..).next().or_else(|| trusted.first());
    let before = trusted.range(..me).next_back().or_else(|| trusted.last());
    chosen.extend(after.into_iter().chain(before).copied());
    // A quarter of the budget is left free, for the spread of the draw.
    let share = (budget as u64 * 3 / 4).saturating_mul(1 << 32) / trusted.len() as u64;
    chosen.extend(trusted.iter().filter(|id| pair_draw(me, **id) < share));
    chosen
}

fn pair_draw(a: DeviceId, b: DeviceId) -> u64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    let hash = Hash::derive("softbus neighbours v1", &[low.0, high.0].concat());
    u64::from(u32::from_le_bytes([hash.0[0], hash.0[1], hash.0[2], hash.0[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_mutual_few_and_connected() {
        let all: BTreeSet<DeviceId> = (0..300u32).map(|n| DeviceId(Hash::of(&n.to_le_bytes()).0)).collect();
        let of = |me: DeviceId| {
            let mut others = all.clone();
            others.remove(&me);
            standing(me, &others, 32)
        };
        let mut reached: BTreeSet<DeviceId> = all.iter().take(1).copied().collect();
        let mut edge: Vec<DeviceId> = reached.iter().copied().collect();
        let mut most = 0;
        while let Some(me) = edge.pop() {
            let neighbours = of(me);
            most = most.max(neighbours.len());
            for other in neighbours {
                assert!(of(other).contains(&me));
                if reached.insert(other) {
                    edge.push(other);
                }
            }
        }
        assert_eq!(reached.len(), all.len());
        assert!((20..=48).contains(&most), "{most}");
    }

    #[test]
    fn a_home_is_a_full_mesh() {
        let all: BTreeSet<DeviceId> = (0..32u8).map(|n| DeviceId([n; 32])).collect();
        assert_eq!(standing(DeviceId([99; 32]), &all, 32), all);
    }
}
