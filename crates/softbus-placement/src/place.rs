use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use softbus_core::DeviceId;

use crate::explain::because;
use crate::{
    Candidate, Explanation, Held, Link, Preferences, Reach, Refusal, Row, Terms, Verdict, Weights, Work,
    predict, refusals,
};

/// What to do with a piece of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Start it there.
    Start {
        /// There.
        on: DeviceId,
    },
    /// Leave it where it runs.
    Stay {
        /// There.
        on: DeviceId,
    },
    /// Move it.
    Move {
        /// From there …
        from: DeviceId,
        /// … to there.
        to: DeviceId,
    },
    /// No device can take it. A running task goes on or waits where it is.
    Nowhere,
}

/// A choice, with its reasons.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// The device that shall run the work; `None` if none can.
    pub chosen: Option<DeviceId>,
    /// What to do.
    pub action: Action,
    /// Why.
    pub explanation: Explanation,
}

/// Chooses a device for `work`, or decides whether running work should move.
///
/// The result depends on the candidates only, not on their order; of several entries with one id the first
/// counts. Of equals, the device on which the work runs wins, else the smallest id.
///
/// A running task moves if its device can no longer run it, or if another is better by both margins of
/// `weights` and the task has been where it is for `least_stay_us`.
pub fn place(work: &Work, candidates: &[Candidate], weights: &Weights, wishes: &Preferences) -> Decision {
    let links = home_link(work, candidates);
    let mut seen = BTreeSet::new();
    let mut able: BTreeMap<DeviceId, (&Candidate, Terms)> = BTreeMap::new();
    let mut unable: BTreeMap<DeviceId, (&Candidate, Vec<Refusal>)> = BTreeMap::new();
    for candidate in candidates.iter().filter(|candidate| seen.insert(candidate.id)) {
        let reasons = refusals(work, candidate, weights, wishes);
        if reasons.is_empty() {
            let beyond = links.filter(|_| work.home != Some(candidate.id));
            able.insert(
                candidate.id,
                (candidate, predict(work, candidate, beyond.as_ref(), weights, wishes)),
            );
        } else {
            unable.insert(candidate.id, (candidate, reasons));
        }
    }

    let runs_on = work.running.map(|running| running.on);
    let best = able
        .iter()
        .min_by_key(|(id, (_, terms))| (terms.total_us(), Some(**id) != runs_on, **id))
        .map(|(id, (_, terms))| (*id, *terms));
    let stays = runs_on.and_then(|on| able.get(&on).map(|(_, terms)| (on, *terms)));

    let held = match (best, stays) {
        (Some(best), Some(stays)) => hold(work, best, stays, weights),
        _ => None,
    };
    let chosen = if held.is_some() { runs_on } else { best.map(|(id, _)| id) };
    let action = match (chosen, runs_on) {
        (None, _) => Action::Nowhere,
        (Some(on), None) => Action::Start { on },
        (Some(on), Some(now)) if on == now => Action::Stay { on },
        (Some(to), Some(from)) => Action::Move { from, to },
    };
    let rows = rows(work, chosen, &able, unable, weights);
    Decision { chosen, action, explanation: Explanation { action, held, rows } }
}

/// The link to the device where results are wanted, unless that is us.
fn home_link(work: &Work, candidates: &[Candidate]) -> Option<Link> {
    let home = candidates.iter().find(|candidate| Some(candidate.id) == work.home)?;
    match home.reach {
        Reach::Local => None,
        Reach::Link(link) => Some(link),
    }
}

/// Whether work that can stay should, although `best` is better.
fn hold(work: &Work, best: (DeviceId, Terms), stays: (DeviceId, Terms), weights: &Weights) -> Option<Held> {
    if best.0 == stays.0 {
        return None;
    }
    let running = work.running?;
    let stay_us = stays.1.total_us();
    let gain_us = stay_us.saturating_sub(best.1.total_us());
    let share = u128::from(stay_us) * u128::from(weights.margin_permille) / 1000;
    let needs_us = u64::try_from(share).unwrap_or(u64::MAX).max(weights.margin_us);
    if gain_us < needs_us {
        return Some(Held::Margin { better: best.0, gain_us, needs_us });
    }
    let (stayed_us, least_us) = (running.stayed_us, weights.least_stay_us);
    (stayed_us < least_us).then_some(Held::JustMoved { better: best.0, gain_us, stayed_us, least_us })
}

fn rows(
    work: &Work,
    chosen: Option<DeviceId>,
    able: &BTreeMap<DeviceId, (&Candidate, Terms)>,
    unable: BTreeMap<DeviceId, (&Candidate, Vec<Refusal>)>,
    weights: &Weights,
) -> Vec<Row> {
    let winner = chosen.and_then(|id| able.get(&id));
    let mut ranked: Vec<_> = able.iter().collect();
    ranked.sort_by_key(|(id, (_, terms))| (Some(**id) != chosen, terms.total_us(), **id));
    let mut rows = Vec::with_capacity(able.len() + unable.len());
    for (id, (candidate, terms)) in ranked {
        let verdict = match winner {
            Some((_, won)) if Some(*id) != chosen => Verdict::Lost {
                by_us: difference(terms.total_us(), won.total_us()),
                because: winner
                    .and_then(|(best, won)| because(work, (best, won), (candidate, terms), weights)),
            },
            _ => Verdict::Chosen,
        };
        rows.push(Row { id: *id, name: candidate.name(), verdict, terms: Some(*terms) });
    }
    for (id, (candidate, reasons)) in unable {
        rows.push(Row { id, name: candidate.name(), verdict: Verdict::Refused(reasons), terms: None });
    }
    rows
}

fn difference(a: u64, b: u64) -> i64 {
    let difference = i128::from(a) - i128::from(b);
    i64::try_from(difference).unwrap_or(if difference > 0 { i64::MAX } else { i64::MIN })
}
