//! Files that include files: lists of tables are put one after the other, other tables are overlaid, and what a file
//! says itself counts more than what it includes. A file that two others include is read once.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use super::error::{Fault, Problem, Res};
use super::fields::{text, wrong_type};
use super::limits;
use super::tree::{self, Place, Raw, Source, Table};

/// Gives the text of a file.
pub(super) type Open<'o> = &'o mut dyn FnMut(&str) -> io::Result<String>;

/// The files of a scenario.
pub(super) struct Files<'o> {
    open: Open<'o>,
    /// Those read, in order; places name them by number.
    pub(super) sources: Vec<Source>,
    /// Those that are being read, each included by the one before it.
    chain: Vec<String>,
    bytes: usize,
}

impl<'o> Files<'o> {
    /// No files yet.
    pub(super) fn new(open: Open<'o>) -> Self {
        Self { open, sources: Vec::new(), chain: Vec::new(), bytes: 0 }
    }

    /// Reads a text and all that it includes.
    pub(super) fn read(&mut self, name: &str, text: String, included: Option<Place>) -> Res<Table> {
        let fault = |problem: Problem| match included {
            Some(place) => Fault::at(place, problem),
            None => Fault::whole(problem),
        };
        let too_many = |what, most| Err(fault(Problem::TooMany { what, most }));
        if text.len() > limits::FILE_BYTES {
            return too_many("bytes in a file", limits::FILE_BYTES);
        }
        self.bytes += text.len();
        if self.bytes > limits::TOTAL_BYTES {
            return too_many("bytes in all files together", limits::TOTAL_BYTES);
        }
        if self.sources.len() >= limits::FILES {
            return too_many("files", limits::FILES);
        }
        if self.chain.len() >= limits::INCLUDE_DEPTH {
            return too_many("includes within includes", limits::INCLUDE_DEPTH);
        }
        let number = u16::try_from(self.sources.len()).unwrap_or(u16::MAX);
        self.sources.push(Source { name: name.to_owned(), text: text.clone() });
        let mut own = tree::parse(&text, number)?;
        let Some((_, includes)) = own.entries.remove("include") else { return Ok(own) };
        let Raw::List(list) = &includes.raw else {
            return Err(wrong_type(includes.place, "include", "a list of files", &includes.raw));
        };
        self.chain.push(name.to_owned());
        let mut base = Table::default();
        for node in list {
            let path = relative(name, self::text(node, "include")?);
            if let Some(at) = self.chain.iter().position(|file| *file == path) {
                let files = self.chain[at..].iter().cloned().chain([path]).collect();
                return Err(Fault::at(node.place, Problem::Cycle { files }));
            }
            if self.sources.iter().any(|source| source.name == path) {
                continue;
            }
            let text = (self.open)(&path).map_err(|e| {
                Fault::at(node.place, Problem::Read { file: path.clone(), why: e.to_string() })
            })?;
            let table = self.read(&path, text, Some(node.place))?;
            overlay(&mut base, table);
        }
        self.chain.pop();
        overlay(&mut base, own);
        Ok(base)
    }
}

/// Reads a file of the disk, no longer than a scenario may be.
pub(super) fn open(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limits::FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// A path beside a file, without `.` and `..` where they can be spared: so equal files have equal names.
fn relative(from: &str, path: &str) -> String {
    let mut clean = PathBuf::new();
    for part in Path::new(from).parent().unwrap_or(Path::new("")).join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(clean.components().next_back(), Some(Component::Normal(_))) => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean.to_string_lossy().into_owned()
}

fn overlay(base: &mut Table, top: Table) {
    for (key, (place, node)) in top.entries {
        let Some((_, under)) = base.entries.get_mut(&key) else {
            base.entries.insert(key, (place, node));
            continue;
        };
        match (&mut under.raw, node.raw) {
            (Raw::List(under), Raw::List(list)) if are_tables(under) && are_tables(&list) => {
                under.extend(list);
            }
            (Raw::Table(under), Raw::Table(table)) => overlay(under, table),
            (_, raw) => {
                under.raw = raw;
                under.place = node.place;
            }
        }
    }
}

fn are_tables(list: &[tree::Node]) -> bool {
    list.iter().all(|node| matches!(node.raw, Raw::Table(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_including_file() {
        assert_eq!(relative("a/b.toml", "c.toml"), "a/c.toml");
        assert_eq!(relative("a/b.toml", "../c.toml"), "c.toml");
        assert_eq!(relative("b.toml", "./x/../c.toml"), "c.toml");
        assert_eq!(relative("b.toml", "../c.toml"), "../c.toml");
        assert_eq!(relative("/a/b.toml", "/c.toml"), "/c.toml");
    }
}
