//! With whom to keep standing links. Pure.

use std::collections::BTreeSet;

use softbus_core::{DeviceId, Hash};

/// In one ring alone most would be too far apart to hear of each other ([`CLAIM_HOPS`](softbus_core::wire::roster::CLAIM_HOPS)).
const RINGS_LEAST: usize = 2;
/// Positions of one device that a hash gives.
const POSITIONS: usize = 4;

/// With whom to keep a link whether it is used or not: everybody up to the budget; past it the two neighbours
/// in each of several rings, in each of which all devices stand in another order by chance.
///
/// The rings take three quarters of the budget, the rest is for links on demand; there are two at least. So nobody
/// has more standing links than that (or four, if the budget is less than six), nor fewer, but for neighbours that are
/// the same in two rings. As long as all are there nobody is cut off, and word reaches all in a number of hops that grows
/// with the logarithm of theirs, as a union of random rings is an expander (Law and Siu, "Distributed construction
/// of random expander networks", INFOCOM 2003); for who is away nobody steps in. Both sides of a pair come to the same
/// choice if both trust the same devices under the same budget, and whoever joins or leaves changes only the choices of
/// its own neighbours.
pub fn standing(me: DeviceId, trusted: &BTreeSet<DeviceId>, budget: usize) -> BTreeSet<DeviceId> {
    if trusted.len() <= budget {
        return trusted.clone();
    }
    let rings = (budget * 3 / 8).max(RINGS_LEAST);
    let mut chosen = BTreeSet::new();
    for hash in 0..rings.div_ceil(POSITIONS) {
        let mine = positions(me, hash);
        let mut sides = [Sides::default(); POSITIONS];
        for id in trusted.iter().filter(|id| **id != me) {
            for ((side, mine), theirs) in sides.iter_mut().zip(mine).zip(positions(*id, hash)) {
                side.see((theirs, *id), (mine, me));
            }
        }
        let used = (rings - hash * POSITIONS).min(POSITIONS);
        chosen.extend(sides.iter().take(used).flat_map(|side| side.neighbours()));
    }
    chosen
}

/// Where a device stands in a ring; those of one position stand by their ids.
type Place = (u64, DeviceId);

/// The places nearest to one's own in a ring.
#[derive(Clone, Copy, Default)]
struct Sides {
    /// The least and the greatest of all, for whoever stands at an end of the numbers.
    ends: Option<(Place, Place)>,
    before: Option<Place>,
    after: Option<Place>,
}

impl Sides {
    fn see(&mut self, place: Place, mine: Place) {
        self.ends =
            Some(self.ends.map_or((place, place), |(least, most)| (least.min(place), most.max(place))));
        if place < mine {
            self.before = self.before.max(Some(place));
        } else if self.after.is_none_or(|after| place < after) {
            self.after = Some(place);
        }
    }

    fn neighbours(&self) -> impl Iterator<Item = DeviceId> + use<> {
        let before = self.before.or(self.ends.map(|(_, most)| most));
        let after = self.after.or(self.ends.map(|(least, _)| least));
        before.into_iter().chain(after).map(|(_, id)| id)
    }
}

/// Where a device stands in the rings `POSITIONS * hash` and those that follow.
fn positions(id: DeviceId, hash: usize) -> [u64; POSITIONS] {
    let drawn = Hash::derive("softbus neighbours v2", &[&id.0[..], &[hash as u8]].concat());
    let (words, _) = drawn.0.as_chunks::<8>();
    std::array::from_fn(|ring| words.get(ring).copied().map_or(0, u64::from_le_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(count: u32) -> BTreeSet<DeviceId> {
        (0..count).map(|n| DeviceId(Hash::of(&n.to_le_bytes()).0)).collect()
    }

    fn of(me: DeviceId, all: &BTreeSet<DeviceId>, budget: usize) -> BTreeSet<DeviceId> {
        let mut others = all.clone();
        others.remove(&me);
        standing(me, &others, budget)
    }

    /// How many neighbours each has, and how many hops the farthest two are apart. Neighbours are mutual, all are reached.
    fn mesh(all: &BTreeSet<DeviceId>, budget: usize) -> (Vec<usize>, usize) {
        let of: std::collections::BTreeMap<_, _> = all.iter().map(|me| (*me, of(*me, all, budget))).collect();
        for (me, neighbours) in &of {
            assert!(!neighbours.contains(me));
            assert!(neighbours.iter().all(|other| of[other].contains(me)));
        }
        let far = all.iter().map(|first| {
            let mut reached = BTreeSet::from([*first]);
            let mut edge = vec![*first];
            let mut hops = 0;
            loop {
                let next = edge.iter().flat_map(|me| &of[me]).copied();
                edge = next.filter(|other| reached.insert(*other)).collect();
                if edge.is_empty() {
                    assert_eq!(reached.len(), all.len());
                    return hops;
                }
                hops += 1;
            }
        });
        let far = far.max().unwrap_or(0);
        (of.values().map(BTreeSet::len).collect(), far)
    }

    #[test]
    fn neighbours_are_mutual_few_and_connected() {
        let (links, hops) = mesh(&devices(300), 32);
        assert!(links.iter().all(|n| (20..=24).contains(n)), "{links:?}");
        // What a device says of those that its neighbours see is passed on so far.
        let heard = usize::from(softbus_core::wire::roster::CLAIM_HOPS) + 2;
        assert!(hops < heard, "{hops}");
        let (links, hops) = mesh(&devices(250), 8);
        assert!(links.iter().all(|n| (4..=6).contains(n)), "{links:?}");
        assert!(hops <= heard, "{hops}");
    }

    #[test]
    fn the_least_budget_connects_all() {
        for budget in 0..=5 {
            let (links, hops) = mesh(&devices(40), budget);
            assert!(links.iter().all(|n| (2..=4).contains(n)), "{links:?}");
            assert!(hops <= 5, "{hops}");
        }
        // One more than the budget.
        for count in 2..9 {
            mesh(&devices(count), count as usize - 2);
        }
    }

    #[test]
    fn who_joins_changes_only_its_own_neighbours() {
        let before = devices(200);
        let new = DeviceId(Hash::of(b"new").0);
        let mut after = before.clone();
        after.insert(new);
        let neighbours = of(new, &after, 32);
        let changed: BTreeSet<DeviceId> =
            before.iter().filter(|me| of(**me, &before, 32) != of(**me, &after, 32)).copied().collect();
        assert_eq!(changed, neighbours);
    }

    #[test]
    fn a_home_is_a_full_mesh() {
        let all: BTreeSet<DeviceId> = (0..32u8).map(|n| DeviceId([n; 32])).collect();
        assert_eq!(standing(DeviceId([99; 32]), &all, 32), all);
    }
}
