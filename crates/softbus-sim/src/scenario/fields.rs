//! Reading a table key by key. What was asked for is what a table may have: whatever is left over at the end is an
//! unknown key, and the nearest of those asked for is what was meant.

use super::error::{Fault, Problem, Res, clip, closest};
use super::tree::{Node, Place, Raw, Table};
use super::values::{Counted, Measured, Real, Whole};

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Fields<'t> {
    table: &'t Table,
    /// What it is, for messages: `[[segment]]`.
    pub(super) title: String,
    /// Where it stands.
    pub(super) place: Place,
    asked: Vec<&'static str>,
}

impl<'t> Fields<'t> {
    /// Begins to read a table.
    pub(super) fn new(table: &'t Table, title: impl Into<String>, place: Place) -> Self {
        Self { table, title: title.into(), place, asked: Vec::new() }
    }

    /// A value, which must be a table.
    pub(super) fn of(node: &'t Node, title: &'static str) -> Res<Self> {
        match &node.raw {
            Raw::Table(table) => Ok(Self::new(table, title, node.place)),
            other => Err(wrong_type(node.place, title, "a table", other)),
        }
    }

    /// The value of a key.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'t Node> {
        self.asked.push(key);
        self.table.entries.get(key).map(|(_, node)| node)
    }

    /// Where a value stands; where the table does, if it has no such key.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.table.entries.get(key).map_or(self.place, |(_, node)| node.place)
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Res<Option<&'t str>> {
        self.get(key).map(|node| text(node, key)).transpose()
    }

    /// A text that must be there.
    pub(super) fn need_text(&mut self, key: &'static str, example: &str) -> Res<&'t str> {
        match self.text(key)? {
            Some(text) => Ok(text),
            None => Err(self.missing(key, example)),
        }
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str) -> Res<Option<bool>> {
        let Some(node) = self.get(key) else { return Ok(None) };
        match &node.raw {
            Raw::Flag(flag) => Ok(Some(*flag)),
            other => Err(wrong_type(node.place, key, "true or false", other)),
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Res<Option<T>> {
        let Some(node) = self.get(key) else { return Ok(None) };
        let text = text(node, key)?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let all = || words.iter().map(|(word, _)| *word);
                let near = match closest(text, all()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are {}", all().collect::<Vec<_>>().join(", ")),
                };
                Err(Fault::value(node.place, key, format!("it cannot be `{}`; {near}", clip(text))))
            }
        }
    }

    /// A value that is counted.
    pub(super) fn whole(
        &mut self,
        key: &'static str,
        kind: &Counted,
        least: i128,
        most: i128,
    ) -> Res<Option<Whole>> {
        let Some(node) = self.get(key) else { return Ok(None) };
        kind.read(node, least, most).map(Some).map_err(|why| Fault::value(node.place, key, why))
    }

    /// A value that is measured.
    pub(super) fn real(
        &mut self,
        key: &'static str,
        kind: &Measured,
        least: f64,
        most: f64,
    ) -> Res<Option<Real>> {
        let Some(node) = self.get(key) else { return Ok(None) };
        kind.read(node, least, most).map(Some).map_err(|why| Fault::value(node.place, key, why))
    }

    /// A list of texts, each with its place.
    pub(super) fn texts(&mut self, key: &'static str) -> Res<Option<Vec<(&'t str, Place)>>> {
        let Some(node) = self.get(key) else { return Ok(None) };
        let Raw::List(list) = &node.raw else {
            return Err(wrong_type(node.place, key, "a list of names", &node.raw));
        };
        list.iter().map(|node| Ok((text(node, key)?, node.place))).collect::<Res<_>>().map(Some)
    }

    /// An inner table.
    pub(super) fn table(&mut self, key: &'static str) -> Res<Option<Fields<'t>>> {
        self.get(key).map(|node| Fields::of(node, key)).transpose()
    }

    /// An inner table, or `false` for having none of it: `None` if nothing is said.
    #[allow(clippy::option_option, reason = "nothing said, none, and one")]
    pub(super) fn table_or_none(&mut self, key: &'static str) -> Res<Option<Option<Fields<'t>>>> {
        match self.get(key) {
            None => Ok(None),
            Some(Node { raw: Raw::Flag(false), .. }) => Ok(Some(None)),
            Some(node) => match &node.raw {
                Raw::Table(table) => Ok(Some(Some(Fields::new(table, key, node.place)))),
                other => Err(wrong_type(node.place, key, "a table, or false for none", other)),
            },
        }
    }

    /// A list of tables: `[[key]]`.
    pub(super) fn tables(&mut self, key: &'static str, most: usize) -> Res<Vec<Fields<'t>>> {
        let Some(node) = self.get(key) else { return Ok(Vec::new()) };
        let Raw::List(list) = &node.raw else {
            return Err(wrong_type(node.place, key, &format!("written as [[{key}]]"), &node.raw));
        };
        if list.len() > most {
            return Err(Fault::at(node.place, Problem::TooMany { what: key, most }));
        }
        list.iter()
            .map(|node| match &node.raw {
                Raw::Table(table) => Ok(Fields::new(table, format!("[[{key}]]"), node.place)),
                other => Err(wrong_type(node.place, key, &format!("written as [[{key}]]"), other)),
            })
            .collect()
    }

    /// All its keys with their values, for tables whose keys are names.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'t str, Place, &'t Node)> + use<'t> {
        self.table.entries.iter().map(|(key, (place, node))| (key.as_str(), *place, node))
    }

    /// A short word for all that it says.
    pub(super) fn said(&self) -> [u8; 16] {
        self.table.said()
    }

    /// A key is not there.
    pub(super) fn missing(&self, key: &'static str, example: &str) -> Fault {
        let table = self.title.clone();
        Fault::at(self.place, Problem::Missing { key, table, example: example.to_owned() })
    }

    /// Ends: whatever was not asked for is unknown. Of several the one that stands first is told.
    pub(super) fn done(&self) -> Res<()> {
        let left = self.table.entries.iter().filter(|(key, _)| !self.asked.contains(&key.as_str()));
        let Some((key, (place, _))) = left.min_by_key(|(_, (place, _))| (place.file, place.start)) else {
            return Ok(());
        };
        let near = closest(key, self.asked.iter().copied()).map(str::to_owned);
        Err(Fault::at(*place, Problem::UnknownKey { key: clip(key), table: self.title.clone(), near }))
    }
}

/// A value, which must be a text.
pub(super) fn text<'t>(node: &'t Node, key: &str) -> Res<&'t str> {
    match &node.raw {
        Raw::Text(text) => Ok(text),
        other => Err(wrong_type(node.place, key, "a text", other)),
    }
}

/// A value is of the wrong type.
pub(super) fn wrong_type(place: Place, key: &str, wants: &str, found: &Raw) -> Fault {
    Fault::at(place, Problem::Type { key: clip(key), wants: wants.to_owned(), found: found.kind() })
}
