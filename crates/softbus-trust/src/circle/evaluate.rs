//! Which statements count, and who is in the circle then.
//!
//! The outcome is a function of the set alone: neither the order of arrival nor anybody's clock enters it.
//!
//! 1. A statement *precedes* another if it is among its parents, their parents and so on. Two statements are
//!    *concurrent* if neither precedes the other.
//! 2. A statement counts if its signer was an owner by the counting statements that precede it (and its time
//!    was not over at the statement's own date), and no counting statement that is concurrent to it disarms its signer
//!    (removes it, or makes it less than owner). So a removal is strong: what the removed device signs later or
//!    concurrently does not count; what it signed before stays. Leaving disarms nobody, not even its signer: what
//!    it signed up to then stands, and what it back-dates too, until an owner removes it by name.
//! 3. These two rules refer to each other. Where statements disarm each other in a circle (two owners remove one
//!    another), and none of them is struck out from outside that circle, all their removals count, and nothing else
//!    of what they say: all of them are out.
//! 4. The founding counts. Leaving counts, once for each admission. What the recovery key signs counts
//!    always: nobody can disarm it. A recovery removes every device that was an owner by the counting statements that
//!    precede it, and disarms whoever signs anything concurrent to it, save those it names.
//! 5. A device is in the circle if one of its counting admissions follows every counting removal of it. Its
//!    role and end are those written last; of several written concurrently, the stricter.

use std::collections::BTreeMap;

use softbus_core::{DeviceId, WallMs};

use super::Member;
use super::graph::components;
use super::past::Past;
use super::set::Entry;
use super::statement::Act;
use crate::Role;

/// Whether a statement counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Open,
    Counts,
    /// Only what it takes away counts (rule 3).
    TakesAway,
    Not,
}

/// What a set amounts to.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Evaluation {
    verdicts: Vec<bool>,
    pub members: BTreeMap<DeviceId, Member>,
    /// Devices that a counting statement removed (or that left) and that are not in the circle, and what removed
    /// each, in order.
    pub out: BTreeMap<DeviceId, Vec<usize>>,
}

impl Evaluation {
    pub fn counts(&self, at: usize) -> bool {
        self.verdicts.get(at).copied().unwrap_or(false)
    }
}

/// Evaluates statements, parents before children.
pub(super) fn evaluate(entries: &[Entry], recovery: DeviceId) -> Evaluation {
    let mut court = Court {
        entries,
        recovery,
        verdicts: vec![Verdict::Open; entries.len()],
        touching: BTreeMap::new(),
        disarming: BTreeMap::new(),
        recoveries: Vec::new(),
    };
    for (at, entry) in entries.iter().enumerate() {
        if let Act::Recover { .. } = entry.statement.act {
            // Rests on nothing, so that whoever asks for its effects need not wait for its turn.
            court.verdicts[at] = if entry.signed.signer == recovery { Verdict::Counts } else { Verdict::Not };
            court.recoveries.push(at);
        }
        for device in entry.statement.act.touches(entry.signed.signer) {
            court.touching.entry(device).or_default().push(at);
        }
        for device in entry.statement.act.disarms() {
            court.disarming.entry(device).or_default().push(at);
        }
    }
    let all: Vec<usize> = (0..entries.len()).collect();
    for component in components(&all, |at| court.rests_on(at)) {
        court.settle(&component);
    }
    let members: BTreeMap<DeviceId, Member> = court
        .touching
        .keys()
        .filter_map(|device| Some((*device, court.standing(device, None, &court.verdicts)?)))
        .collect();
    let out = court.touching.keys().filter(|device| !members.contains_key(device));
    let removals = out
        .map(|device| (*device, court.removals(device, &court.touched(device, None), None, &court.verdicts)));
    let out = removals.filter(|(_, removals)| !removals.is_empty()).collect();
    Evaluation { verdicts: court.verdicts.iter().map(|v| takes_away(*v)).collect(), members, out }
}

fn takes_away(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Counts | Verdict::TakesAway)
}

struct Court<'a> {
    entries: &'a [Entry],
    recovery: DeviceId,
    verdicts: Vec<Verdict>,
    /// Statements that touch a device's standing, in order.
    touching: BTreeMap<DeviceId, Vec<usize>>,
    /// Statements that take the right to sign from a device.
    disarming: BTreeMap<DeviceId, Vec<usize>>,
    /// Recoveries, which touch everybody, in order.
    recoveries: Vec<usize>,
}

impl Court<'_> {
    fn signer(&self, at: usize) -> DeviceId {
        self.entries[at].signed.signer
    }

    fn act(&self, at: usize) -> &Act {
        &self.entries[at].statement.act
    }

    fn concurrent(&self, a: usize, b: usize) -> bool {
        a != b && !self.entries[a].past.has(b) && !self.entries[b].past.has(a)
    }

    /// Statements whose verdict this one's rests on.
    fn rests_on(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        let (signer, device) = match self.act(at) {
            Act::Found { .. } | Act::Leave | Act::Recover { .. } => (false, None),
            Act::Renew { device, .. } | Act::ChangeRole { device, .. } => (true, Some(device)),
            _ => (true, None),
        };
        let of_device = device.into_iter().flat_map(move |device| self.preceding(device, at));
        let of_signer =
            signer.then(|| self.preceding(&self.entries[at].signed.signer, at).chain(self.attackers(at)));
        of_device.chain(of_signer.into_iter().flatten())
    }

    /// Rule 4: these count whatever is done to their signer.
    fn can_be_disarmed(&self, at: usize) -> bool {
        !matches!(self.act(at), Act::Found { .. } | Act::Leave | Act::Recover { .. })
    }

    fn preceding<'s>(&'s self, device: &DeviceId, at: usize) -> impl Iterator<Item = usize> + 's {
        let past = &self.entries[at].past;
        let touching = self.touching.get(device).into_iter().flatten().copied();
        touching.take_while(|other| *other < past.extent()).filter(|other| past.has(*other))
    }

    /// Concurrent statements that disarm this one's signer.
    fn attackers(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        let signer = self.signer(at);
        let disarming = self.disarming.get(&signer).into_iter().flatten();
        let recoveries = self.recoveries.iter().filter(move |recovery| !self.act(**recovery).spares(&signer));
        disarming.chain(recoveries).copied().filter(move |other| self.concurrent(at, *other))
    }

    /// Settles statements that rest on each other in a circle, or a single one. All else they rest on is settled.
    fn settle(&mut self, component: &[usize]) {
        if let [at] = *component {
            // The common case: nothing open is left that it rests on.
            let struck =
                self.can_be_disarmed(at) && self.attackers(at).any(|by| takes_away(self.verdicts[by]));
            let counts = !struck && self.authorised(at, &self.verdicts);
            self.verdicts[at] = if counts { Verdict::Counts } else { Verdict::Not };
            return;
        }
        loop {
            while self.settle_clear_cases(component) {}
            let open: Vec<usize> =
                component.iter().copied().filter(|at| self.verdicts[*at] == Verdict::Open).collect();
            if open.is_empty() {
                return;
            }
            // Circles that rest on nothing open outside themselves; they do not rest on one another.
            let circles: Vec<Vec<usize>> = components(&open, |at| self.open_rests(at))
                .into_iter()
                .filter(|circle| {
                    // A circle is sorted; of many statements that attack one another it has very many arrows.
                    circle.iter().all(|at| self.open_rests(*at).all(|on| circle.binary_search(&on).is_ok()))
                })
                .collect();
            for circle in circles {
                self.break_circle(&circle);
            }
        }
    }

    fn open_rests(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        self.rests_on(at).filter(|on| self.verdicts[*on] == Verdict::Open)
    }

    /// Settles each open statement whose verdict is certain whatever the open ones come to. Whether any was.
    fn settle_clear_cases(&mut self, component: &[usize]) -> bool {
        let mut settled = false;
        for &at in component {
            if self.verdicts[at] != Verdict::Open {
                continue;
            }
            let verdict = if self.can_be_disarmed(at)
                && self.attackers(at).any(|attacker| takes_away(self.verdicts[attacker]))
            {
                Verdict::Not
            } else if self.open_rests(at).next().is_none() {
                if self.authorised(at, &self.verdicts) { Verdict::Counts } else { Verdict::Not }
            } else {
                continue;
            };
            self.verdicts[at] = verdict;
            settled = true;
        }
        settled
    }

    /// Rule 3, for a circle of open statements that rests on nothing else open: what has no authority even if all
    /// of the circle counted falls; if that leaves the circle whole, its disarming statements count for what they
    /// take away.
    fn break_circle(&mut self, circle: &[usize]) {
        let mut supposed = self.verdicts.clone();
        for &at in circle {
            supposed[at] = Verdict::Counts;
        }
        let baseless: Vec<usize> =
            circle.iter().copied().filter(|at| !self.authorised(*at, &supposed)).collect();
        if !baseless.is_empty() {
            for at in baseless {
                self.verdicts[at] = Verdict::Not;
            }
            return;
        }
        for &at in circle {
            if !self.act(at).disarms().is_empty() {
                self.verdicts[at] = Verdict::TakesAway;
            }
        }
    }

    /// Whether its signer had the right to make this statement, by what precedes it.
    fn authorised(&self, at: usize, verdicts: &[Verdict]) -> bool {
        let entry = &self.entries[at];
        let past = Some(&entry.past);
        let named_before = |device: &DeviceId| {
            self.preceding(device, at)
                .any(|other| self.act(other).admits(self.signer(other)) == Some(*device))
        };
        match &entry.statement.act {
            Act::Found { .. } => return at == 0,
            Act::Leave => return named_before(&entry.signed.signer),
            Act::Recover { .. } => return entry.signed.signer == self.recovery,
            // Nobody is removed before being admitted: that would bar a device that the signer does not know.
            Act::Remove { device } if !named_before(device) => return false,
            Act::Admit { replaces: Some(device), .. } if !named_before(device) => return false,
            Act::Renew { device, expires } => match self.standing(device, past, verdicts) {
                Some(member) if member.role == Role::Guest && expires.is_none() => return false,
                Some(_) => {}
                None => return false,
            },
            Act::ChangeRole { device, .. } if self.standing(device, past, verdicts).is_none() => {
                return false;
            }
            _ => {}
        }
        self.standing(&entry.signed.signer, past, verdicts)
            .is_some_and(|signer| signer.role == Role::Owner && signer.counts_at(entry.statement.issued))
    }

    /// Statements within `past` (or all) that touch a device's standing by name, in order.
    fn touched(&self, device: &DeviceId, past: Option<&Past>) -> Vec<usize> {
        let extent = past.map_or(usize::MAX, Past::extent);
        let touching = self.touching.get(device).into_iter().flatten().copied();
        touching.take_while(|at| *at < extent).filter(|at| past.is_none_or(|past| past.has(*at))).collect()
    }

    /// The counting removals of a device, in order: those of `touching`, and every recovery within `past` (or all)
    /// that met it as an owner.
    fn removals(
        &self,
        device: &DeviceId,
        touching: &[usize],
        past: Option<&Past>,
        verdicts: &[Verdict],
    ) -> Vec<usize> {
        let named = touching.iter().copied();
        let mut removals: Vec<usize> = named
            .filter(|at| takes_away(verdicts[*at]) && self.act(*at).removes(self.signer(*at), *device))
            .collect();
        // In order, so that of each recovery all that precede it are decided.
        for &at in &self.recoveries {
            if past.is_some_and(|past| !past.has(at))
                || !takes_away(verdicts[at])
                || self.act(at).spares(device)
            {
                continue;
            }
            let before = &self.entries[at].past;
            let within = |all: &[usize]| all.iter().copied().filter(|at| before.has(*at)).collect::<Vec<_>>();
            let stay = self.stay(device, within(touching), &within(&removals), verdicts);
            if self.roles(device, &stay).1 == Some(Role::Owner) {
                removals.push(at);
                removals.sort_unstable();
            }
        }
        removals
    }

    /// Of the statements that touch a device those that bear on its present stay; none if nobody admitted it.
    fn stay(
        &self,
        device: &DeviceId,
        touching: Vec<usize>,
        removals: &[usize],
        verdicts: &[Verdict],
    ) -> Vec<usize> {
        // What does not follow every removal belongs to an earlier stay.
        let stay: Vec<usize> = touching
            .into_iter()
            .filter(|at| match verdicts[*at] {
                Verdict::Counts => true,
                // Of what disarms in a circle, a lesser role counts.
                Verdict::TakesAway => self.act(*at).demotes() == Some(*device),
                _ => false,
            })
            .filter(|at| removals.last().is_none_or(|last| at > last))
            .filter(|at| removals.iter().all(|removal| self.entries[*at].past.has(*removal)))
            .collect();
        let admitted = stay.iter().any(|at| {
            verdicts[*at] == Verdict::Counts && self.act(*at).admits(self.signer(*at)) == Some(*device)
        });
        if admitted { stay } else { Vec::new() }
    }

    /// The last statements of a stay that give a role, and the role.
    fn roles(&self, device: &DeviceId, stay: &[usize]) -> (Vec<usize>, Option<Role>) {
        let last = self.last(stay, |at| self.act(at).role_for(self.signer(at), *device).is_some());
        let role = last.iter().filter_map(|at| self.act(*at).role_for(self.signer(*at), *device)).min();
        (last, role)
    }

    /// How a device stands by the counting statements within `past` (or all).
    fn standing(&self, device: &DeviceId, past: Option<&Past>, verdicts: &[Verdict]) -> Option<Member> {
        let touching = self.touched(device, past);
        let removals = self.removals(device, &touching, past, verdicts);
        let stay = self.stay(device, touching, &removals, verdicts);
        let (roles, role) = self.roles(device, &stay);
        let role = role?;
        let ends = self.last(&stay, |at| self.act(at).expiry_for(self.signer(at), *device).is_some());
        let end = ends
            .iter()
            .filter_map(|at| self.act(*at).expiry_for(self.signer(*at), *device)?)
            .min_by_key(|end: &WallMs| *end);
        let mut services: Option<std::collections::BTreeSet<_>> = None;
        if role == Role::Guest {
            for at in roles {
                if let Act::Admit { grant, .. } | Act::ChangeRole { grant, .. } = self.act(at)
                    && grant.role == Role::Guest
                {
                    services = Some(match services {
                        None => grant.services.clone(),
                        Some(before) => before.intersection(&grant.services).cloned().collect(),
                    });
                }
            }
        }
        Some(Member { role, expires: end, services: services.unwrap_or_default() })
    }

    /// Of these statements those that write something (by `writes`) which no later one of them writes again.
    fn last(&self, statements: &[usize], writes: impl Fn(usize) -> bool) -> Vec<usize> {
        // What follows a statement stands behind it, so one look from the end suffices: somebody may have written
        // thousands of them.
        let mut overwritten = Past::default();
        let mut last = Vec::new();
        for &at in statements.iter().rev().filter(|at| writes(**at)) {
            if !overwritten.has(at) {
                overwritten.add_all(&self.entries[at].past);
                last.push(at);
            }
        }
        last.reverse();
        last
    }
}
