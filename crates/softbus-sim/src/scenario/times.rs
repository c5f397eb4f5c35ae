//! When something happens that may happen several times: `at`, `count` and `every`.

use std::time::Duration;

use super::draw::Draw;
use super::error::{Fault, Problem, Res};
use super::fields::Fields;
use super::tree::Place;
use super::values::{COUNT, TIME, Whole};

/// Moments with their ranges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    at: Whole,
    count: Option<Whole>,
    every: Option<Whole>,
    end: Duration,
}

impl Times {
    /// Reads the three keys. Whatever the seed draws, nothing comes after `end`, nor more than `most` times.
    pub(super) fn read(fields: &mut Fields<'_>, end: Duration, most: usize) -> Res<Self> {
        let far = 1i128 << 62;
        let last = i128::try_from(end.as_nanos()).unwrap_or(far);
        let at = fields.whole("at", &TIME, 0, far)?;
        let count = fields.whole("count", &COUNT, 1, most as i128)?;
        let every = fields.whole("every", &TIME, 1_000_000, far)?;
        let Some(at) = at else { return Err(fields.missing("at", "\"10s\"")) };
        past(fields.place_of("at"), "at", at.to, last)?;
        let times = Self { at, count, every, end };
        if let (Some(count), Some(every)) = (count, every) {
            let reaches = at.to.saturating_add(every.to.saturating_mul(count.to - 1));
            past(fields.place_of("every"), "every", reaches, last)?;
        }
        // Without a count it goes on to the end: so often at most.
        if let (None, Some(every)) = (count, every)
            && (last - at.from) / every.from >= most as i128
        {
            let why = format!("it would happen more than {most} times; make it longer, or give a `count`");
            return Err(Fault::value(fields.place_of("every"), "every", why));
        }
        Ok(times)
    }

    /// How many, if it is one of several.
    pub(super) fn count(&self, draw: &Draw) -> Option<usize> {
        match (self.count, self.every) {
            (Some(count), _) => Some(draw.number("count", count)),
            (None, Some(_)) => Some(self.moments(draw).count()),
            (None, None) => None,
        }
    }

    /// The moments, of the count that was drawn.
    pub(super) fn draw(&self, draw: &Draw, count: Option<usize>) -> Vec<Duration> {
        self.moments(draw).take(count.unwrap_or(1)).collect()
    }

    /// One after the other with `every`; without it each anywhere in the range.
    fn moments(&self, draw: &Draw) -> impl Iterator<Item = Duration> + use<> {
        let Self { at, every, end, .. } = *self;
        let mut begin = draw.stream("at");
        let mut gaps = draw.stream("every");
        let mut next = begin.time(at);
        std::iter::from_fn(move || {
            let now = next;
            next = match every {
                Some(every) => next.saturating_add(gaps.time(every)),
                None => begin.time(at),
            };
            (now <= end).then_some(now)
        })
    }
}

fn past(place: Place, key: &str, at: i128, end: i128) -> Res<()> {
    if at <= end {
        return Ok(());
    }
    let (at, end) = (TIME.show(at), TIME.show(end));
    Err(Fault::at(place, Problem::PastEnd { key: key.to_owned(), at, end }))
}
