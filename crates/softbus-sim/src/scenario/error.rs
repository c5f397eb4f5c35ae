//! What may be wrong with a scenario, and how it is told: the file, the line, the place in it, and what to do.

use std::fmt;

use thiserror::Error;

use super::tree::{Place, Source};

/// Most characters of a line that are shown.
const LINE_SHOWN: usize = 100;

/// Why a scenario could not be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub struct ScenarioError {
    /// What is wrong.
    pub problem: Problem,
    /// Where, if it has a place.
    pub spot: Option<Box<Spot>>,
}

/// A place in a scenario file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spot {
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line as it is shown: of a long one, what is around the place.
    pub shown: String,
    /// Characters of `shown` before the place.
    pub before: usize,
    /// Characters of the place.
    pub wide: usize,
}

/// What is wrong with a scenario.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is no TOML.
    #[error("not TOML: {message}")]
    Toml {
        /// What the parser says.
        message: String,
    },
    /// A file could not be read.
    #[error("cannot read {file}: {why}. Check the path: it is relative to the file that includes it")]
    Read {
        /// Its name.
        file: String,
        /// What the system says.
        why: String,
    },
    /// Files include each other in a circle.
    #[error("{} include each other in a circle; take one of these includes out", .files.join(" → "))]
    Cycle {
        /// The files, the first again at the end.
        files: Vec<String>,
    },
    /// A limit is passed.
    #[error("too many {what}: at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// Nothing is called so here.
    #[error("{table} has no key `{key}`{}", suggest(.near, ""))]
    UnknownKey {
        /// The key as written.
        key: String,
        /// Where it stands.
        table: String,
        /// The nearest that exists.
        near: Option<String>,
    },
    /// A key that must be there is not.
    #[error("{table} needs `{key}`: add a line `{key} = {example}`")]
    Missing {
        /// The key.
        key: &'static str,
        /// Where it belongs.
        table: String,
        /// A value that would do.
        example: String,
    },
    /// A value is of the wrong type.
    #[error("`{key}` must be {wants}, and here is {found}")]
    Type {
        /// The key.
        key: String,
        /// What it takes.
        wants: String,
        /// What is there.
        found: &'static str,
    },
    /// A value that cannot be.
    #[error("`{key}`: {why}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// A name that nothing has.
    #[error("there is no {what} `{name}`{}", suggest(.near, .known))]
    Unknown {
        /// What was looked for: a device, a segment.
        what: &'static str,
        /// The name as written.
        name: String,
        /// The nearest that exists.
        near: Option<String>,
        /// All that exist, if they are few.
        known: String,
    },
    /// Two things have one name.
    #[error("two {what}s are called `{name}` (the other one: {other}); give one of them another name")]
    Duplicate {
        /// What they are.
        what: &'static str,
        /// The name.
        name: String,
        /// File and line of the first.
        other: String,
    },
    /// Something would happen after the end.
    #[error(
        "`{key}` reaches {at}, and the scenario ends at {end}; let it be earlier or make `duration` longer"
    )]
    PastEnd {
        /// The key that says when.
        key: String,
        /// When, at the latest.
        at: String,
        /// The duration.
        end: String,
    },
    /// Nobody may let devices into a circle.
    #[error("circle `{circle}` has no owner; give a device `circles = {{ {circle} = \"owner\" }}`")]
    NoOwner {
        /// Its name.
        circle: String,
    },
    /// There is nothing to simulate.
    #[error("the scenario has no device; add a [[device]] with a name, a kind and a segment")]
    NoDevices,
}

/// What is wrong, and where: becomes a [`ScenarioError`] at the top, where the texts are.
#[derive(Debug)]
pub(super) struct Fault(Box<(Problem, Option<Place>, Option<Place>)>);

/// What the parts of the reader give back.
pub(super) type Res<T> = Result<T, Fault>;

impl Fault {
    /// Something is wrong at a place.
    pub(super) fn at(place: Place, problem: Problem) -> Self {
        Self(Box::new((problem, Some(place), None)))
    }

    /// Something is wrong with the whole.
    pub(super) fn whole(problem: Problem) -> Self {
        Self(Box::new((problem, None, None)))
    }

    /// A value cannot be.
    pub(super) fn value(place: Place, key: impl Into<String>, why: impl Into<String>) -> Self {
        Self::at(place, Problem::Value { key: clip(&key.into()), why: why.into() })
    }

    /// A name is taken already, by what stands at `first`.
    pub(super) fn duplicate(place: Place, first: Place, what: &'static str, name: &str) -> Self {
        let problem = Problem::Duplicate { what, name: clip(name), other: String::new() };
        Self(Box::new((problem, Some(place), Some(first))))
    }

    /// A name that nothing has, of those in `known`.
    pub(super) fn unknown<'k>(
        place: Place,
        what: &'static str,
        name: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) -> Self {
        let near = closest(name, known.clone()).map(str::to_owned);
        let few: Vec<&str> = known.take(9).collect();
        let known = if few.len() < 9 { few.join(", ") } else { String::new() };
        Self::at(place, Problem::Unknown { what, name: clip(name), near, known })
    }

    /// With the texts that its place points into.
    pub(super) fn told(self, sources: &[Source]) -> ScenarioError {
        let (mut problem, place, first) = *self.0;
        let told = |place: Place| Some(Spot::new(sources.get(usize::from(place.file))?, place));
        if let (Problem::Duplicate { other, .. }, Some(first)) = (&mut problem, first.and_then(told)) {
            *other = format!("{}:{}", first.file, first.line);
        }
        let spot = place.and_then(told).map(Box::new);
        ScenarioError { problem, spot }
    }
}

impl Spot {
    fn new(source: &Source, place: Place) -> Self {
        let text = &source.text;
        let mut start = (place.start as usize).min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let stop = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let line: &str = text[begin..stop].trim_end_matches('\r');
        let column = text[begin..start].chars().count();
        let mut end = (place.end as usize).clamp(start, (begin + line.len()).max(start));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let wide = text[start..end].chars().count().max(1);
        // Of a long line only what is around the place: a file may be one line of a megabyte.
        let skip = column.saturating_sub(LINE_SHOWN / 2);
        let shown: String =
            line.chars().skip(skip).take(LINE_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let before = column - skip;
        Self {
            file: source.name.clone(),
            line: text[..start].matches('\n').count() + 1,
            column: column + 1,
            wide: wide.min(LINE_SHOWN.saturating_sub(before).max(1)),
            shown,
            before,
        }
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(spot) = &self.spot else { return write!(f, "{}", self.problem) };
        writeln!(f, "{}:{}:{}: {}", spot.file, spot.line, spot.column, self.problem)?;
        let number = spot.line.to_string();
        writeln!(f, "{:>1$} |", "", number.len())?;
        writeln!(f, "{number} | {}", spot.shown)?;
        write!(f, "{:>1$} | {2:>3$}{4}", "", number.len(), "", spot.before, "^".repeat(spot.wide))
    }
}

fn suggest(near: &Option<String>, known: &str) -> String {
    match near {
        Some(near) => format!("; did you mean `{near}`?"),
        None if known.is_empty() => String::new(),
        None => format!("; there are {known}"),
    }
}

/// Of a text that somebody wrote, so much as belongs into a message.
pub(super) fn clip(text: &str) -> String {
    let mut short: String = text.chars().take(48).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(48).is_some() {
        short.push('…');
    }
    short
}

/// The nearest of the known names, if any is near enough to be meant.
pub(super) fn closest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let name: Vec<char> = name.chars().take(65).collect();
    let far = name.len().div_ceil(3).max(1);
    // A name that is one character of another is not meant by it: the distance must be less than the length.
    known
        .take(4096)
        .map(|k| (distance(&name, k), k))
        .filter(|(d, k)| *d <= far && *d < k.chars().count().min(name.len().max(1)))
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// Changes, additions and deletions of one character that make `b` of `a` (Levenshtein 1965); a swap of two
/// neighbours counts as one.
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().take(65).collect();
    let mut rows: [Vec<usize>; 3] = [Vec::new(), Vec::new(), (0..=b.len()).collect()];
    for (i, x) in a.iter().enumerate() {
        rows.rotate_left(1);
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let change = rows[1][j] + usize::from(x != y);
            let mut least = change.min(rows[1][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(rows[0][j - 1] + 1);
            }
            row.push(least);
        }
        rows[2] = row;
    }
    rows[2][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        let known = ["latency", "jitter", "loss", "rate"];
        let near = |name| closest(name, known.iter().copied());
        assert_eq!(near("latncy"), Some("latency"));
        assert_eq!(near("lsos"), Some("loss"));
        assert_eq!(near("colour"), None);
        assert_eq!(near(""), None);
    }

    #[test]
    fn a_long_line_is_cut_around_its_place() {
        let text = format!("x = \"{}\"", "é".repeat(5000));
        let source = Source { name: "a.toml".into(), text };
        let spot = Spot::new(&source, Place { file: 0, start: 6001, end: 10_000 });
        assert_eq!(spot.shown.chars().count(), LINE_SHOWN);
        assert!(spot.before + spot.wide <= LINE_SHOWN);
        assert_eq!((spot.line, spot.column), (1, 3004));
    }
}
