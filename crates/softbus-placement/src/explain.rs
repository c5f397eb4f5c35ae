use serde::{Deserialize, Serialize};
use softbus_core::DeviceId;

use crate::cost::{Engine, battery_in_use};
use crate::{Action, Candidate, Refusal, Terms, Weights, Work};

/// Why a decision is as it is: one row for each candidate, best first. Its `Display` is a sentence and a table
/// for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// What was decided.
    pub action: Action,
    /// Why a running task stays although another device would be better.
    pub held: Option<Held>,
    /// Every candidate, exactly once: the chosen one, then those that could by their total, then those that
    /// cannot by id.
    pub rows: Vec<Row>,
}

/// One candidate in an explanation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Which device.
    pub id: DeviceId,
    /// Its name, as its person gave it. Foreign text: shown with control characters replaced.
    pub name: String,
    /// What became of it.
    pub verdict: Verdict,
    /// What it would take; `None` if it cannot.
    pub terms: Option<Terms>,
}

/// What became of a candidate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Chosen.
    Chosen,
    /// It could, but another is chosen.
    Lost {
        /// Its total is this much longer (a negative number: shorter, but the running task stays, see
        /// [`Explanation::held`]).
        by_us: i64,
        /// What makes most of the difference; `None` if it is not worse.
        because: Option<Because>,
    },
    /// It cannot: every reason, the gravest first.
    Refused(Vec<Refusal>),
}

/// What makes most of the difference between a candidate and the chosen one. Grows only at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// Its cores are slower.
    SlowerCores,
    /// It has fewer cores than the work could use.
    FewerCores,
    /// Its cores are busy with other things.
    Busy,
    /// It is hot and throttles.
    Hot,
    /// Other tasks share it.
    OtherWork,
    /// Moving the data takes longer.
    Transfer,
    /// It is far from the person.
    Distance,
    /// It would use its battery, which has this charge (0–1000).
    Battery(u16),
    /// Moving the running task costs more than it gains.
    Move,
    /// The person wants it so.
    Preference,
    /// Just as good; the order of ids decides.
    Tie,
}

/// Why a running task stays although another device would be better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// It moved too short a time ago.
    JustMoved {
        /// The better device.
        better: DeviceId,
        /// What a move would gain.
        gain_us: u64,
        /// It has been here so long.
        stayed_us: u64,
        /// It stays at least so long.
        least_us: u64,
    },
    /// The gain is not worth a move.
    Margin {
        /// The better device.
        better: DeviceId,
        /// What a move would gain.
        gain_us: u64,
        /// What it would have to gain.
        needs_us: u64,
    },
}

impl Explanation {
    /// The row of a device.
    pub fn row(&self, id: &DeviceId) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == *id)
    }
}

/// What makes most of the difference between `loser` and `winner`.
pub(crate) fn because(
    work: &Work,
    winner: (&Candidate, &Terms),
    loser: (&Candidate, &Terms),
    weights: &Weights,
) -> Option<Because> {
    let (w, l) = (winner.1, loser.1);
    if l.total_us() < w.total_us() {
        return None;
    }
    let worse = |lost: u64, won: u64| lost.saturating_sub(won);
    let preference = u64::try_from(l.preference_us.saturating_sub(w.preference_us)).unwrap_or(0);
    let transfers = |t: &Terms| t.transfer_in_us.saturating_add(t.transfer_out_us);
    let charge = battery_in_use(loser.0).unwrap_or(0);
    // In the order in which equals win.
    let terms = [
        (worse(l.compute_us, w.compute_us), compute_reason(work, winner.0, loser.0, weights)),
        (worse(l.queue_us, w.queue_us), Because::OtherWork),
        (worse(transfers(l), transfers(w)), Because::Transfer),
        (worse(l.energy_us, w.energy_us), Because::Battery(charge)),
        (worse(l.latency_us, w.latency_us), Because::Distance),
        (worse(l.move_us, w.move_us), Because::Move),
        (preference, Because::Preference),
    ];
    let mut most = (0, Because::Tie);
    for term in terms {
        if term.0 > most.0 {
            most = term;
        }
    }
    Some(most.1)
}

/// Of the factors of computing time, the one in which the loser is worst beside the winner.
fn compute_reason(work: &Work, winner: &Candidate, loser: &Candidate, weights: &Weights) -> Because {
    let (Some(w), Some(l)) = (Engine::of(work, winner, weights), Engine::of(work, loser, weights)) else {
        return Because::SlowerCores;
    };
    // `times[x]`: how many thousandths of the loser's x the winner has.
    let times = |won: u128, lost: u128| won.saturating_mul(1000) / lost.max(1);
    let cool = |e: &Engine| u128::from(e.rate_ops_per_s) * 1000 / u128::from(e.heat_permille);
    let usable = |e: &Engine| u128::from(e.cores.min(u64::from(work.parallelism.max(1))));
    let free = |e: &Engine| u128::from(e.used_mcores(work)) / usable(e);
    let factors = [
        (times(cool(&w), cool(&l)), Because::SlowerCores),
        (times(free(&w), free(&l)), Because::Busy),
        (times(usable(&w), usable(&l)), Because::FewerCores),
        (times(u128::from(w.heat_permille), u128::from(l.heat_permille)), Because::Hot),
    ];
    let mut worst = factors[0];
    for factor in factors {
        if factor.0 > worst.0 {
            worst = factor;
        }
    }
    worst.1
}
