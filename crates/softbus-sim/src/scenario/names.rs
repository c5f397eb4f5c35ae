//! Names of a scenario's things. A template of several gives a name to each of them (`lamp-3`), and its own name to all.

use std::collections::BTreeMap;
use std::ops::Range;

use super::error::{Fault, Res};
use super::tree::Place;

/// Before the name of a task: the device that runs it then.
pub(crate) const RUNNER: char = '@';
/// Means one of all, drawn.
pub(super) const ANY: &str = "any";

/// The names of one sort of things.
#[derive(Debug)]
pub(super) struct Names {
    what: &'static str,
    known: BTreeMap<String, (Place, Range<usize>)>,
    /// By number.
    called: Vec<String>,
}

impl Names {
    /// No names yet.
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, known: BTreeMap::new(), called: Vec::new() }
    }

    /// Adds one thing, or `count` of a template; they get the next numbers. Gives their names.
    pub(super) fn add(&mut self, name: &str, count: Option<usize>, place: Place) -> Res<Vec<String>> {
        check(name, place)?;
        let first = self.called.len();
        let Some(count) = count else {
            self.insert(name, place, first..first + 1)?;
            self.called.push(name.to_owned());
            return Ok(vec![name.to_owned()]);
        };
        self.insert(name, place, first..first + count)?;
        let names: Vec<String> = (1..=count).map(|n| format!("{name}-{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            check(name, place)?;
            self.insert(name, place, first + n..first + n + 1)?;
        }
        self.called.extend(names.iter().cloned());
        Ok(names)
    }

    /// Adds a pair of things, which is called after them.
    pub(super) fn pair(&mut self, name: &str, place: Place) -> Res<()> {
        let number = self.called.len();
        self.insert(name, place, number..number + 1)
    }

    /// What these things are, as a word.
    pub(super) fn what(&self) -> &'static str {
        self.what
    }

    /// Where a name stands.
    pub(super) fn place(&self, name: &str) -> Option<Place> {
        self.known.get(name).map(|(place, _)| *place)
    }

    fn insert(&mut self, name: &str, place: Place, range: Range<usize>) -> Res<()> {
        match self.known.insert(name.to_owned(), (place, range)) {
            Some((first, _)) => Err(Fault::duplicate(place, first, self.what, name)),
            None => Ok(()),
        }
    }

    /// The numbers of what is called so: one, those of a template, or of `any` all.
    pub(super) fn find(&self, name: &str, place: Place) -> Res<Range<usize>> {
        match self.known.get(name) {
            Some((_, range)) => Ok(range.clone()),
            None if name == ANY => Ok(0..self.called.len()),
            None => Err(Fault::unknown(place, self.what, name, self.known.keys().map(String::as_str))),
        }
    }

    /// The number of what must be one thing, and no template.
    pub(super) fn one(&self, name: &str, place: Place) -> Res<usize> {
        let range = self.find(name, place)?;
        if range.len() == 1 && name != ANY {
            return Ok(range.start);
        }
        Err(self.several(name, place))
    }

    /// The numbers of what is dealt out in turn to the things of a template: one for all of them, or those of a template.
    pub(super) fn dealt(&self, name: &str, place: Place) -> Res<Range<usize>> {
        match name {
            ANY => Err(self.several(name, place)),
            name => self.find(name, place),
        }
    }

    /// What the nth thing of a template gets of those dealt out.
    pub(super) fn deal(&self, range: &Range<usize>, nth: usize) -> &str {
        let number = range.start + nth.checked_rem(range.len()).unwrap_or(0);
        self.called.get(number).map_or("", String::as_str)
    }

    fn several(&self, name: &str, place: Place) -> Fault {
        Fault::value(place, name, format!("these are several; name one {}", self.what))
    }
}

/// What stands for the device that runs a task.
pub(super) fn runner_of(task: &str) -> String {
    format!("{RUNNER}{task}")
}

fn check(name: &str, place: Place) -> Res<()> {
    let most = softbus_core::limits::NAME_BYTES;
    let why = if name.is_empty() || name.trim() != name {
        "a name is not empty and has no blanks around it".to_owned()
    } else if name.chars().any(char::is_control) {
        "a name is one line without control characters".to_owned()
    } else if name.starts_with(RUNNER) {
        format!("`{RUNNER}` before a name means the device that runs that task; choose another name")
    } else if name == ANY {
        format!("`{ANY}` means one of all; choose another name")
    } else if name.len() > most {
        format!("a name, with the number it is given, has at most {most} bytes; shorten it")
    } else {
        return Ok(());
    };
    Err(Fault::value(place, "name", why))
}
