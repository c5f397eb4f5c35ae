//! Descriptors: what they are of, and where in it they stand.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::errno::Errno;
use super::tree::NodeId;
use super::{Wasi, limits};

/// What a descriptor is of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Object {
    Stdin,
    Stdout,
    Stderr,
    File {
        node: NodeId,
        offset: u64,
    },
    /// `given`: the program was started with it.
    Directory {
        node: NodeId,
        given: bool,
    },
}

/// An open file, directory or stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Descriptor {
    pub object: Object,
    /// `$fdflags`
    pub flags: u16,
    /// `$rights`: its own, and those that descriptors opened from it may have.
    pub rights: (u64, u64),
}

/// `$rights` of WASI preview 1, as far as they are looked at.
pub(super) mod rights {
    pub const READ: u64 = 1 << 1;
    pub const SEEK: u64 = 1 << 2;
    pub const TELL: u64 = 1 << 5;
    pub const WRITE: u64 = 1 << 6;
    pub const ALL: u64 = (1 << 30) - 1;
    /// Of streams.
    pub const STREAM: u64 = READ | WRITE | 1 << 3 | 1 << 21 | 1 << 27;
}

/// `$fdflags`
pub(super) mod flags {
    pub const APPEND: u16 = 1;
    pub const NONBLOCK: u16 = 4;
}

impl Descriptor {
    pub fn stream(object: Object) -> Self {
        Self { object, flags: 0, rights: (rights::STREAM, 0) }
    }

    pub fn given(node: NodeId) -> Self {
        let object = Object::Directory { node, given: true };
        Self { object, flags: 0, rights: (rights::ALL & !rights::SEEK & !rights::TELL, rights::ALL) }
    }

    /// The file or directory.
    pub fn node(&self) -> Option<NodeId> {
        match self.object {
            Object::File { node, .. } | Object::Directory { node, .. } => Some(node),
            Object::Stdin | Object::Stdout | Object::Stderr => None,
        }
    }
}

/// Bytes on their way into the program, or out of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pipe {
    waiting: VecDeque<u8>,
    /// Bytes that went in, ever.
    pub total: u64,
    /// Nothing more comes.
    pub closed: bool,
}

impl Pipe {
    /// How many more it can take now.
    pub fn room(&self) -> usize {
        if self.closed { 0 } else { limits::PIPE_BYTES - self.waiting.len() }
    }

    /// Whether one that was read is one that calls made.
    pub fn is_sound(&self) -> bool {
        self.waiting.len() <= limits::PIPE_BYTES
            && self.total < 1 << 62
            && self.total >= self.waiting.len() as u64
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.waiting.extend(&bytes[..taken]);
        self.total += taken as u64;
        taken
    }

    pub fn take(&mut self, to: &mut [u8]) -> usize {
        let taken = to.len().min(self.waiting.len());
        for (to, from) in to.iter_mut().zip(self.waiting.drain(..taken)) {
            *to = from;
        }
        taken
    }
}

/// A stream that the host reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// What the program prints.
    Stdout,
    /// What it complains of.
    Stderr,
}

/// The host's side of the streams.
impl Wasi {
    /// Gives the program input; returns how much of it there is room for now.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        self.stdin.put(bytes)
    }

    /// The input has an end.
    pub fn feed_end(&mut self) {
        self.stdin.closed = true;
    }

    /// Says something on the program's standard error: whole, or not at all if there is no room for it now.
    pub(crate) fn complain(&mut self, line: &[u8]) -> bool {
        let fits = line.len() <= self.stderr.room();
        if fits {
            self.stderr.put(line);
        }
        fits
    }

    /// Takes away some of what the program has printed, so many bytes at most, the oldest; and how many it had printed before those.
    pub fn drain(&mut self, stream: Stream, most: usize) -> (u64, Vec<u8>) {
        let pipe = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let at = pipe.total - pipe.len() as u64;
        let mut bytes = vec![0; pipe.len().min(most)];
        pipe.take(&mut bytes);
        (at, bytes)
    }

    /// How many bytes of what it printed are still here.
    pub fn unsent(&self, stream: Stream) -> usize {
        match stream {
            Stream::Stdout => self.stdout.len(),
            Stream::Stderr => self.stderr.len(),
        }
    }

    /// Bytes that the program has printed, ever.
    pub fn printed(&self, stream: Stream) -> u64 {
        match stream {
            Stream::Stdout => self.stdout.total,
            Stream::Stderr => self.stderr.total,
        }
    }
}

impl Wasi {
    pub(super) fn descriptor(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.open.get(&fd).ok_or(Errno::BadFd)
    }

    pub(super) fn descriptor_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.open.get_mut(&fd).ok_or(Errno::BadFd)
    }

    /// The directory that a descriptor is of.
    pub(super) fn directory(&self, fd: u32) -> Result<NodeId, Errno> {
        match self.descriptor(fd)?.object {
            Object::Directory { node, .. } => Ok(node),
            _ => Err(Errno::NotDirectory),
        }
    }

    /// The file that a descriptor is of.
    pub(super) fn file(&self, fd: u32, right: u64) -> Result<NodeId, Errno> {
        let descriptor = self.descriptor(fd)?;
        match descriptor.object {
            Object::File { .. } if descriptor.rights.0 & right != right => Err(Errno::NotCapable),
            Object::File { node, .. } => Ok(node),
            Object::Directory { .. } => Err(Errno::IsDirectory),
            _ => Err(Errno::SeekPipe),
        }
    }

    /// Opens the least number that is free.
    pub(super) fn add(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        if self.open.len() >= limits::DESCRIPTORS {
            return Err(Errno::TooManyFiles);
        }
        let fd = (0..).zip(self.open.keys()).find(|(free, taken)| free != *taken);
        let fd = fd.map_or(self.open.len() as u32, |(free, _)| free);
        if let Some(node) = descriptor.node() {
            self.tree.hold(node, true);
        }
        self.open.insert(fd, descriptor);
        Ok(fd)
    }

    pub(super) fn close(&mut self, fd: u32) -> Result<(), Errno> {
        let closed = self.open.remove(&fd).ok_or(Errno::BadFd)?;
        if let Some(node) = closed.node() {
            self.tree.hold(node, false);
        }
        Ok(())
    }
}
