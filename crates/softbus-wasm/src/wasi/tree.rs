//! The files of a task: a tree of its own, in which nothing of the device shows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::errno::Errno;
use super::{Wasi, limits};

/// Names a file or directory as long as it exists. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// The root of the tree.
pub const ROOT: NodeId = NodeId(1);

/// Files and directories.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    next: u64,
    /// Bytes in all files.
    used: u64,
    most: u64,
    /// Names in all directories.
    names: usize,
}

/// A file or a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    pub body: Body,
    /// Names that lead here; without one it goes once no descriptor holds it.
    pub links: u32,
    /// Descriptors that hold it.
    pub held: u32,
    /// In nanoseconds since 1970: read, changed, and changed in what is said of it.
    pub times: [u64; 3],
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    File(#[serde(with = "bytes")] Vec<u8>),
    Directory { entries: BTreeMap<String, Entry>, parent: NodeId },
}

/// A name in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub node: NodeId,
    /// Grows with each name that is given, so that listing goes on at the same place though names come and go.
    pub number: u64,
}

/// Where a path leads: the directory, the last name, and what it names.
#[derive(Debug)]
pub struct Place {
    pub directory: NodeId,
    /// Empty if the path names the directory itself.
    pub name: String,
    pub node: Option<NodeId>,
    /// The path ends with a slash, so that it must name a directory.
    pub must_be_directory: bool,
}

impl Tree {
    /// So many bytes of files may be in it from here on.
    pub fn limit(&mut self, most: u64) {
        self.most = most.min(limits::FILE_BYTES);
    }

    /// Empty, for so many bytes in files.
    pub fn new(most: u64) -> Self {
        let root = Node {
            body: Body::Directory { entries: BTreeMap::new(), parent: ROOT },
            links: 1,
            held: 0,
            times: [0; 3],
        };
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: 2, used: 0, most, names: 0 }
    }

    pub fn node(&self, id: NodeId) -> Result<&Node, Errno> {
        self.nodes.get(&id).ok_or(Errno::Io)
    }

    pub fn node_mut(&mut self, id: NodeId) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&id).ok_or(Errno::Io)
    }

    pub fn entries(&self, id: NodeId) -> Result<&BTreeMap<String, Entry>, Errno> {
        match &self.node(id)?.body {
            Body::Directory { entries, .. } => Ok(entries),
            Body::File(_) => Err(Errno::NotDirectory),
        }
    }

    pub fn file(&self, id: NodeId) -> Result<&[u8], Errno> {
        match &self.node(id)?.body {
            Body::File(bytes) => Ok(bytes),
            Body::Directory { .. } => Err(Errno::IsDirectory),
        }
    }

    /// Follows a path from a directory. It cannot leave `top`, which the program was given.
    ///
    /// # Errors
    /// [`Errno::NotPermitted`] for a path that begins at the root or leads out of `top`.
    pub fn follow(&self, top: NodeId, path: &str) -> Result<Place, Errno> {
        if path.is_empty() {
            return Err(Errno::NoEntry);
        }
        if path.starts_with('/') {
            return Err(Errno::NotPermitted);
        }
        let must_be_directory = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        if names.len() > limits::PATH_DEPTH {
            return Err(Errno::NameTooLong);
        }
        // Directories on the way, so that `..` leads back the same way.
        let mut way = vec![top];
        let mut last: Option<&str> = None;
        for (position, name) in names.iter().enumerate() {
            if name.len() > limits::NAME_BYTES {
                return Err(Errno::NameTooLong);
            }
            if name.contains('\0') {
                return Err(Errno::Invalid);
            }
            let here = *way.last().ok_or(Errno::Io)?;
            if *name == ".." {
                way.pop();
                if way.is_empty() {
                    return Err(Errno::NotPermitted);
                }
                continue;
            }
            if position + 1 == names.len() {
                last = Some(name);
                break;
            }
            let next = self.entries(here)?.get(*name).ok_or(Errno::NoEntry)?.node;
            self.entries(next)?;
            way.push(next);
        }
        let directory = *way.last().ok_or(Errno::Io)?;
        let Some(name) = last else {
            return Ok(Place {
                directory,
                name: String::new(),
                node: Some(directory),
                must_be_directory: true,
            });
        };
        let node = self.entries(directory)?.get(name).map(|entry| entry.node);
        if let Some(node) = node.filter(|_| must_be_directory) {
            self.entries(node)?;
        }
        Ok(Place { directory, name: name.to_owned(), node, must_be_directory })
    }

    /// Makes a file or a directory there.
    pub fn create(&mut self, place: &Place, directory: bool, now: u64) -> Result<NodeId, Errno> {
        if place.node.is_some() || place.name.is_empty() {
            return Err(Errno::Exist);
        }
        if place.must_be_directory && !directory {
            return Err(Errno::IsDirectory);
        }
        if self.nodes.len() >= limits::NODES {
            return Err(Errno::NoSpace);
        }
        if self.node(place.directory)?.links == 0 {
            return Err(Errno::NoEntry); // it was removed, and only a descriptor holds it
        }
        let id = NodeId(self.next);
        self.next += 1;
        let body = if directory {
            Body::Directory { entries: BTreeMap::new(), parent: place.directory }
        } else {
            Body::File(Vec::new())
        };
        self.nodes.insert(id, Node { body, links: 1, held: 0, times: [now; 3] });
        self.enter(place.directory, &place.name, id, now)?;
        Ok(id)
    }

    fn enter(&mut self, directory: NodeId, name: &str, id: NodeId, now: u64) -> Result<(), Errno> {
        let number = self.next;
        self.next += 1;
        let node = self.node_mut(directory)?;
        node.times[1..].fill(now);
        match &mut node.body {
            Body::Directory { entries, .. } => {
                let replaced = entries.insert(name.to_owned(), Entry { node: id, number });
                self.names += usize::from(replaced.is_none());
                Ok(())
            }
            Body::File(_) => Err(Errno::NotDirectory),
        }
    }

    fn leave(&mut self, directory: NodeId, name: &str, now: u64) -> Result<(), Errno> {
        let node = self.node_mut(directory)?;
        node.times[1..].fill(now);
        match &mut node.body {
            Body::Directory { entries, .. } => {
                let removed = entries.remove(name);
                self.names -= usize::from(removed.is_some());
                Ok(())
            }
            Body::File(_) => Err(Errno::NotDirectory),
        }
    }

    /// Removes a name; what it named goes with the last one, once no descriptor holds it.
    pub fn remove(&mut self, place: &Place, directory: bool, now: u64) -> Result<(), Errno> {
        let id = place.node.ok_or(Errno::NoEntry)?;
        if place.name.is_empty() {
            return Err(Errno::Invalid);
        }
        match (&self.node(id)?.body, directory) {
            (Body::Directory { entries, .. }, true) if entries.is_empty() => {}
            (Body::Directory { .. }, true) => return Err(Errno::NotEmpty),
            (Body::Directory { .. }, false) => return Err(Errno::IsDirectory),
            (Body::File(_), true) => return Err(Errno::NotDirectory),
            (Body::File(_), false) if place.must_be_directory => return Err(Errno::NotDirectory),
            (Body::File(_), false) => {}
        }
        self.leave(place.directory, &place.name, now)?;
        self.node_mut(id)?.links -= 1;
        self.forget_unheld(id);
        Ok(())
    }

    /// A second name for a file.
    pub fn link(&mut self, id: NodeId, to: &Place, now: u64) -> Result<(), Errno> {
        self.file(id).map_err(|_| Errno::NotPermitted)?;
        if to.node.is_some() {
            return Err(Errno::Exist);
        }
        if to.must_be_directory {
            return Err(Errno::NoEntry);
        }
        if self.names >= limits::NODES {
            return Err(Errno::NoSpace);
        }
        let node = self.node_mut(id)?;
        node.links = node.links.checked_add(1).ok_or(Errno::NoSpace)?;
        node.times[2] = now;
        self.enter(to.directory, &to.name, id, now)
    }

    /// Another name for what has one.
    pub fn rename(&mut self, from: &Place, to: &Place, now: u64) -> Result<(), Errno> {
        let id = from.node.ok_or(Errno::NoEntry)?;
        if from.name.is_empty() || to.name.is_empty() {
            return Err(Errno::Invalid);
        }
        if to.node == Some(id) {
            return Ok(());
        }
        let is_directory = self.entries(id).is_ok();
        if !is_directory && (to.must_be_directory || from.must_be_directory) {
            return Err(Errno::NotDirectory);
        }
        if is_directory {
            // Not into itself.
            let mut above = to.directory;
            for _ in 0..limits::NODES {
                if above == id {
                    return Err(Errno::Invalid);
                }
                let Body::Directory { parent, .. } = self.node(above)?.body else { break };
                if parent == above {
                    break;
                }
                above = parent;
            }
        }
        if to.node.is_some() {
            let there_is_directory = to.node.is_some_and(|node| self.entries(node).is_ok());
            match (is_directory, there_is_directory) {
                (true, false) => return Err(Errno::NotDirectory),
                (false, true) => return Err(Errno::IsDirectory),
                _ => self.remove(to, is_directory, now)?,
            }
        }
        self.leave(from.directory, &from.name, now)?;
        if let Body::Directory { parent, .. } = &mut self.node_mut(id)?.body {
            *parent = to.directory;
        }
        self.node_mut(id)?.times[2] = now;
        self.enter(to.directory, &to.name, id, now)
    }

    /// A descriptor holds it, or lets go of it.
    pub fn hold(&mut self, id: NodeId, holds: bool) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.held = if holds { node.held.saturating_add(1) } else { node.held.saturating_sub(1) };
        }
        self.forget_unheld(id);
    }

    fn forget_unheld(&mut self, id: NodeId) {
        if self.nodes.get(&id).is_some_and(|node| node.links == 0 && node.held == 0)
            && let Some(Node { body: Body::File(bytes), .. }) = self.nodes.remove(&id)
        {
            self.used -= bytes.len() as u64;
        }
    }

    /// Makes a file longer or shorter; what is new is zero.
    pub fn resize(&mut self, id: NodeId, len: u64, now: u64) -> Result<(), Errno> {
        let old = self.file(id)?.len() as u64;
        let used = self.used - old;
        if len > self.most.saturating_sub(used) {
            return Err(Errno::NoSpace);
        }
        let len = usize::try_from(len).map_err(|_| Errno::FileTooBig)?;
        let node = self.node_mut(id)?;
        node.times[1..].fill(now);
        if let Body::File(bytes) = &mut node.body {
            bytes.try_reserve(len.saturating_sub(bytes.len())).map_err(|_| Errno::NoSpace)?;
            bytes.resize(len, 0);
            // What it does not count any more it does not keep.
            if bytes.capacity() / 4 > len.max(1 << 12) {
                bytes.shrink_to(len);
            }
        }
        self.used = used + len as u64;
        Ok(())
    }

    /// Writes into a file, which grows as needed.
    pub fn write(&mut self, id: NodeId, at: u64, from: &[u8], now: u64) -> Result<(), Errno> {
        if from.is_empty() {
            return self.file(id).map(drop);
        }
        let end = at.checked_add(from.len() as u64).ok_or(Errno::FileTooBig)?;
        if end > self.file(id)?.len() as u64 {
            self.resize(id, end, now)?;
        }
        let node = self.node_mut(id)?;
        node.times[1..].fill(now);
        if let Body::File(bytes) = &mut node.body {
            let at = usize::try_from(at).map_err(|_| Errno::FileTooBig)?;
            bytes[at..at + from.len()].copy_from_slice(from);
        }
        Ok(())
    }
}

/// What a saved tree must be, to be one that calls made.
impl Tree {
    pub(super) fn is_sound(&self, held: &BTreeMap<NodeId, u32>) -> bool {
        const NUMBERS: u64 = 1 << 62;
        if self.nodes.len() > limits::NODES + 1 || self.next > NUMBERS || self.most > limits::FILE_BYTES {
            return false;
        }
        let (mut used, mut names) = (0u64, 0);
        let mut links: BTreeMap<NodeId, u32> = BTreeMap::from([(ROOT, 1)]);
        for (id, node) in &self.nodes {
            if id.0 >= self.next || node.held != held.get(id).copied().unwrap_or_default() {
                return false;
            }
            match &node.body {
                Body::File(bytes) => used += bytes.len() as u64,
                Body::Directory { entries, .. } => {
                    names += entries.len();
                    for (name, entry) in entries {
                        let Some(below) = self.nodes.get(&entry.node) else { return false };
                        let proper =
                            !name.is_empty() && name.len() <= limits::NAME_BYTES && !name.contains('/');
                        let ours = match below.body {
                            Body::Directory { parent, .. } => parent == *id,
                            Body::File(_) => true,
                        };
                        if !proper || !ours || entry.number >= self.next {
                            return false;
                        }
                        *links.entry(entry.node).or_default() += 1;
                    }
                }
            }
        }
        let counted = |id: &NodeId| links.get(id).copied().unwrap_or_default();
        let linked = self.nodes.iter().all(|(id, node)| {
            let directory = matches!(node.body, Body::Directory { .. });
            node.links == counted(id) && !(directory && node.links > 1)
        });
        let root = matches!(self.nodes.get(&ROOT).map(|node| &node.body), Some(Body::Directory { parent, .. }) if *parent == ROOT);
        root && linked
            && used == self.used
            && names == self.names
            && names <= limits::NODES
            && self.is_a_tree()
    }

    /// Whether all directories that have a name lead to the root.
    fn is_a_tree(&self) -> bool {
        let mut known = std::collections::BTreeSet::from([ROOT]);
        for (id, node) in &self.nodes {
            let (mut way, mut at) = (Vec::new(), *id);
            if node.links == 0 || matches!(node.body, Body::File(_)) {
                continue;
            }
            while !known.contains(&at) {
                way.push(at);
                let Some(Node { body: Body::Directory { parent, .. }, .. }) = self.nodes.get(&at) else {
                    return false;
                };
                at = *parent;
                if way.len() > self.nodes.len() {
                    return false;
                }
            }
            known.extend(way);
        }
        true
    }
}

/// The host's side.
impl Wasi {
    /// Puts a file into the tree, with the directories on the way to it.
    ///
    /// # Errors
    /// The path is none within the tree, or there is no room.
    pub fn put_file(&mut self, path: &str, bytes: &[u8]) -> Result<(), Errno> {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            let place = self.tree.follow(ROOT, &path[..end])?;
            if place.node.is_none() {
                self.tree.create(&place, true, 0)?;
            }
        }
        let place = self.tree.follow(ROOT, path)?;
        let node = match place.node {
            Some(node) => node,
            None => self.tree.create(&place, false, 0)?,
        };
        self.tree.resize(node, 0, 0)?;
        self.tree.write(node, 0, bytes, 0)
    }

    /// All files, with their paths, in order.
    pub fn files(&self) -> Vec<(String, &[u8])> {
        let mut files = Vec::new();
        let mut directories = vec![(String::new(), ROOT)];
        // A tree of a saved state may be one that no program can make.
        let mut left = limits::NODES;
        while let Some((path, directory)) = directories.pop() {
            for (name, entry) in self.tree.entries(directory).into_iter().flatten() {
                left = left.saturating_sub(1);
                if left == 0 {
                    return files;
                }
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                match self.tree.file(entry.node) {
                    Ok(bytes) => files.push((path, bytes)),
                    Err(_) => directories.push((path, entry.node)),
                }
            }
        }
        files.sort();
        files
    }
}

/// As bytes, not as a list of numbers.
mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        Vec::<u8>::deserialize(from)
    }
}
