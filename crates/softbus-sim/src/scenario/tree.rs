//! A scenario file as a tree of values, each with its place: what is said of a value later can point at it.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Fault, Problem, Res, clip};

/// A file's name and text.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

/// Bytes of a file, by its number among the sources.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Place {
    pub(super) file: u16,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) raw: Raw,
    pub(super) place: Place,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    Text(String),
    /// A whole number, as it was written in base 10 or as what it is worth.
    Whole(i128),
    /// Any other number, as written.
    Real(String),
    Flag(bool),
    Date,
    List(Vec<Node>),
    Table(Table),
}

/// Keys with their values, and the places of the keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<String, (Place, Node)>,
}

impl Table {
    /// A short word for all that it says, wherever it stands.
    pub(super) fn said(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        self.say(&mut hasher);
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        short
    }

    fn say(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&(self.entries.len() as u64).to_le_bytes());
        for (key, (_, node)) in &self.entries {
            word(hasher, 0, key);
            node.raw.say(hasher);
        }
    }
}

fn word(hasher: &mut blake3::Hasher, sort: u8, text: &str) {
    hasher.update(&[sort]);
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

impl Raw {
    fn say(&self, hasher: &mut blake3::Hasher) {
        match self {
            Raw::Text(text) => word(hasher, 1, text),
            Raw::Whole(number) => word(hasher, 2, &number.to_string()),
            Raw::Real(number) => word(hasher, 3, number),
            Raw::Flag(flag) => word(hasher, 4, if *flag { "true" } else { "false" }),
            Raw::Date => word(hasher, 5, ""),
            Raw::List(list) => {
                word(hasher, 6, &list.len().to_string());
                list.iter().for_each(|node| node.raw.say(hasher));
            }
            Raw::Table(table) => {
                word(hasher, 7, "");
                table.say(hasher);
            }
        }
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Raw::Text(_) => "a text",
            Raw::Whole(_) => "a whole number",
            Raw::Real(_) => "a number",
            Raw::Flag(_) => "true or false",
            Raw::Date => "a date",
            Raw::List(_) => "a list",
            Raw::Table(_) => "a table",
        }
    }
}

/// The tree of a text, which is the source of this number.
pub(super) fn parse(text: &str, file: u16) -> Res<Table> {
    let document = DeTable::parse(text).map_err(|e| {
        let span = e.span().unwrap_or(0..0);
        Fault::at(place(file, &span), Problem::Toml { message: clip(e.message()) })
    })?;
    table(document.get_ref(), file)
}

fn place(file: u16, span: &Range<usize>) -> Place {
    let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Place { file, start: offset(span.start), end: offset(span.end) }
}

fn table(table: &DeTable<'_>, file: u16) -> Res<Table> {
    let mut entries = BTreeMap::new();
    for (key, value) in table.iter() {
        entries.insert(key.get_ref().as_ref().to_owned(), (place(file, &key.span()), node(value, file)?));
    }
    Ok(Table { entries })
}

/// The depth of the recursion is bounded by the TOML parser, which refuses deeper texts.
fn node(value: &Spanned<DeValue<'_>>, file: u16) -> Res<Node> {
    let place = place(file, &value.span());
    let raw = match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.as_ref().to_owned()),
        DeValue::Integer(number) => {
            let worth = i128::from_str_radix(number.as_str(), number.radix());
            Raw::Whole(worth.map_err(|_| Fault::value(place, "number", "it is too large"))?)
        }
        DeValue::Float(number) => Raw::Real(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Raw::Flag(*flag),
        DeValue::Datetime(_) => Raw::Date,
        DeValue::Array(list) => Raw::List(list.iter().map(|v| node(v, file)).collect::<Res<_>>()?),
        DeValue::Table(inner) => Raw::Table(self::table(inner, file)?),
    };
    Ok(Node { raw, place })
}
