use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use softbus_core::DeviceId;

use crate::explain::because;
use crate::filter::is_able;
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
    let mut able = Vec::new();
    let mut unable = Vec::new();
    for candidate in distinct(candidates) {
        let reasons = refusals(work, candidate, weights, wishes);
        if reasons.is_empty() {
            able.push(Able::of(work, candidate, links.as_ref(), weights, wishes));
        } else {
            unable.push((candidate, reasons));
        }
    }
    let choice = Choice::of(work, &mut able, weights);
    let rows = rows(work, choice.chosen, &able, unable, weights);
    let explanation = Explanation { action: choice.action, held: choice.held, rows };
    Decision { chosen: choice.chosen, action: choice.action, explanation }
}

/// What [`place`] would decide, without its reasons: what to do, and the devices that can take the work, the chosen one
/// first, then by what it would take there. Costs a fraction of it where there are many candidates.
pub fn rank(
    work: &Work,
    candidates: &[Candidate],
    weights: &Weights,
    wishes: &Preferences,
) -> (Action, Vec<DeviceId>) {
    let links = home_link(work, candidates);
    let fit = distinct(candidates).filter(|candidate| is_able(work, candidate, weights, wishes));
    let mut able: Vec<_> =
        fit.map(|candidate| Able::of(work, candidate, links.as_ref(), weights, wishes)).collect();
    let choice = Choice::of(work, &mut able, weights);
    (choice.action, able.iter().map(|able| able.candidate.id).collect())
}

/// The first entry of each id.
fn distinct(candidates: &[Candidate]) -> impl Iterator<Item = &Candidate> {
    // A roster lists by id.
    let ascending = candidates.is_sorted_by(|a, b| a.id < b.id);
    let mut seen = BTreeSet::new();
    candidates.iter().filter(move |candidate| ascending || seen.insert(candidate.id))
}

/// A candidate that can take the work, and what it would take there.
struct Able<'a> {
    candidate: &'a Candidate,
    terms: Terms,
    total_us: u64,
}

impl<'a> Able<'a> {
    fn of(
        work: &Work,
        candidate: &'a Candidate,
        home: Option<&Link>,
        weights: &Weights,
        wishes: &Preferences,
    ) -> Self {
        let beyond = home.filter(|_| work.home != Some(candidate.id));
        let terms = predict(work, candidate, beyond, weights, wishes);
        Self { candidate, terms, total_us: terms.total_us() }
    }
}

struct Choice {
    chosen: Option<DeviceId>,
    action: Action,
    held: Option<Held>,
}

impl Choice {
    /// Chooses, and orders those that can: the chosen one first, then by their total, then by id.
    fn of(work: &Work, able: &mut [Able<'_>], weights: &Weights) -> Self {
        let runs_on = work.running.map(|running| running.on);
        let best = able
            .iter()
            .min_by_key(|able| (able.total_us, Some(able.candidate.id) != runs_on, able.candidate.id))
            .map(|able| (able.candidate.id, able.terms));
        let stays = runs_on.and_then(|on| able.iter().find(|able| able.candidate.id == on));
        let stays = stays.map(|able| (able.candidate.id, able.terms));

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
        able.sort_by_key(|able| (Some(able.candidate.id) != chosen, able.total_us, able.candidate.id));
        Self { chosen, action, held }
    }
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

/// One row for each candidate; `able` are in order.
fn rows(
    work: &Work,
    chosen: Option<DeviceId>,
    able: &[Able<'_>],
    mut unable: Vec<(&Candidate, Vec<Refusal>)>,
    weights: &Weights,
) -> Vec<Row> {
    let winner = able.first().filter(|first| Some(first.candidate.id) == chosen);
    let mut rows = Vec::with_capacity(able.len() + unable.len());
    for Able { candidate, terms, total_us } in able {
        let verdict = match winner {
            Some(won) if Some(candidate.id) != chosen => Verdict::Lost {
                by_us: difference(*total_us, won.total_us),
                because: because(work, (won.candidate, &won.terms), (candidate, terms), weights),
            },
            _ => Verdict::Chosen,
        };
        rows.push(Row { id: candidate.id, name: candidate.name(), verdict, terms: Some(*terms) });
    }
    unable.sort_by_key(|(candidate, _)| candidate.id);
    for (candidate, reasons) in unable {
        let verdict = Verdict::Refused(reasons);
        rows.push(Row { id: candidate.id, name: candidate.name(), verdict, terms: None });
    }
    rows
}

fn difference(a: u64, b: u64) -> i64 {
    let difference = i128::from(a) - i128::from(b);
    i64::try_from(difference).unwrap_or(if difference > 0 { i64::MAX } else { i64::MIN })
}
