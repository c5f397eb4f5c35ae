//! Calls on descriptors.

use super::descriptors::{Descriptor, Object, flags, rights};
use super::errno::Errno;
use super::guest::Guest;
use super::tree::{Body, NodeId};
use super::{Moment, Outcome, Wasi};

/// `$filetype`
pub(super) mod kind {
    pub const CHARACTER_DEVICE: u8 = 2;
    pub const DIRECTORY: u8 = 3;
    pub const REGULAR_FILE: u8 = 4;
}

impl Wasi {
    /// `fd_advise`: nothing that is advised changes anything here.
    pub fn fd_advise(&self, fd: u32, _offset: u64, _len: u64, advice: u32) -> Outcome {
        let check = || {
            self.file(fd, 0)?;
            if advice > 5 { Err(Errno::Invalid) } else { Ok(()) }
        };
        check().into()
    }

    /// `fd_allocate`
    pub fn fd_allocate(&mut self, now: Moment, fd: u32, offset: u64, len: u64) -> Outcome {
        let mut allocate = || {
            let node = self.file(fd, rights::WRITE)?;
            let end = offset.checked_add(len).ok_or(Errno::FileTooBig)?;
            if len == 0 {
                return Err(Errno::Invalid);
            }
            let wall = self.clock.at(now).1;
            if end > self.tree.file(node)?.len() as u64 { self.tree.resize(node, end, wall) } else { Ok(()) }
        };
        allocate().into()
    }

    /// `fd_close`
    pub fn fd_close(&mut self, fd: u32) -> Outcome {
        self.close(fd).into()
    }

    /// `fd_sync` and `fd_datasync`: what a task writes is as durable as the task.
    pub fn fd_sync(&self, fd: u32) -> Outcome {
        self.descriptor(fd).map(drop).into()
    }

    /// `fd_fdstat_get`
    pub fn fd_fdstat_get(&self, guest: &mut Guest<'_>, fd: u32, stat: u32) -> Outcome {
        let mut get = || {
            let descriptor = self.descriptor(fd)?;
            let mut bytes = [0; 24];
            bytes[0] = filetype(descriptor);
            bytes[2..4].copy_from_slice(&descriptor.flags.to_le_bytes());
            bytes[8..16].copy_from_slice(&descriptor.rights.0.to_le_bytes());
            bytes[16..24].copy_from_slice(&descriptor.rights.1.to_le_bytes());
            guest.put(stat, &bytes)
        };
        get().into()
    }

    /// `fd_fdstat_set_flags`
    pub fn fd_fdstat_set_flags(&mut self, fd: u32, new: u32) -> Outcome {
        let mut set = || {
            let descriptor = self.descriptor_mut(fd)?;
            descriptor.flags = u16::try_from(new).ok().filter(|new| *new < 32).ok_or(Errno::Invalid)?;
            Ok(())
        };
        set().into()
    }

    /// `fd_fdstat_set_rights`: they can be given up, not won.
    pub fn fd_fdstat_set_rights(&mut self, fd: u32, own: u64, inheriting: u64) -> Outcome {
        let mut set = || {
            let descriptor = self.descriptor_mut(fd)?;
            let (has, gives) = descriptor.rights;
            if own & !has != 0 || inheriting & !gives != 0 {
                return Err(Errno::NotCapable);
            }
            descriptor.rights = (own, inheriting);
            Ok(())
        };
        set().into()
    }

    /// `fd_filestat_get`
    pub fn fd_filestat_get(&self, guest: &mut Guest<'_>, fd: u32, stat: u32) -> Outcome {
        let mut get = || {
            let descriptor = self.descriptor(fd)?;
            match descriptor.node() {
                Some(node) => self.put_stat(guest, node, stat),
                None => {
                    let mut bytes = [0; 64];
                    bytes[16] = kind::CHARACTER_DEVICE;
                    bytes[24] = 1;
                    guest.put(stat, &bytes)
                }
            }
        };
        get().into()
    }

    pub(super) fn put_stat(&self, guest: &mut Guest<'_>, id: NodeId, stat: u32) -> Result<(), Errno> {
        let node = self.tree.node(id)?;
        let (kind, size) = match &node.body {
            Body::File(bytes) => (kind::REGULAR_FILE, bytes.len() as u64),
            Body::Directory { .. } => (kind::DIRECTORY, 0),
        };
        let mut bytes = [0; 64];
        bytes[0..8].copy_from_slice(&1u64.to_le_bytes());
        bytes[8..16].copy_from_slice(&id.0.to_le_bytes());
        bytes[16] = kind;
        bytes[24..32].copy_from_slice(&u64::from(node.links).to_le_bytes());
        bytes[32..40].copy_from_slice(&size.to_le_bytes());
        for (time, to) in node.times.iter().zip(bytes[40..].chunks_exact_mut(8)) {
            to.copy_from_slice(&time.to_le_bytes());
        }
        guest.put(stat, &bytes)
    }

    /// `fd_filestat_set_size`
    pub fn fd_filestat_set_size(&mut self, now: Moment, fd: u32, size: u64) -> Outcome {
        let mut set = || {
            let node = self.file(fd, rights::WRITE)?;
            let wall = self.clock.at(now).1;
            self.tree.resize(node, size, wall)
        };
        set().into()
    }

    /// `fd_filestat_set_times`
    pub fn fd_filestat_set_times(
        &mut self,
        now: Moment,
        fd: u32,
        read: u64,
        changed: u64,
        which: u32,
    ) -> Outcome {
        let mut set = || {
            let node = self.descriptor(fd)?.node().ok_or(Errno::BadFd)?;
            self.set_times(now, node, read, changed, which)
        };
        set().into()
    }

    pub(super) fn set_times(
        &mut self,
        now: Moment,
        node: NodeId,
        read: u64,
        changed: u64,
        which: u32,
    ) -> Result<(), Errno> {
        // `$fstflags`: read, read now, changed, changed now.
        if which > 15 || which & 3 == 3 || which & 12 == 12 {
            return Err(Errno::Invalid);
        }
        let wall = self.clock.at(now).1;
        let node = self.tree.node_mut(node)?;
        for (shift, at, time) in [(0, 0, read), (2, 1, changed)] {
            match which >> shift & 3 {
                1 => node.times[at] = time,
                2 => node.times[at] = wall,
                _ => {}
            }
        }
        node.times[2] = wall;
        Ok(())
    }

    /// `fd_read`
    pub fn fd_read(&mut self, guest: &mut Guest<'_>, fd: u32, pieces: u32, count: u32, read: u32) -> Outcome {
        match self.read(guest, fd, pieces, count, read) {
            Ok(true) => Outcome::Done(Errno::Success),
            Ok(false) => Outcome::Wait { until: None },
            Err(errno) => Outcome::Done(errno),
        }
    }

    /// Whether it did not have to wait.
    fn read(
        &mut self,
        guest: &mut Guest<'_>,
        fd: u32,
        at: u32,
        count: u32,
        read: u32,
    ) -> Result<bool, Errno> {
        let pieces = guest.pieces(at, count)?;
        guest.get(read, 4)?;
        let wanted: u64 = pieces.iter().map(|(_, len)| u64::from(*len)).sum();
        let descriptor = self.open.get_mut(&fd).ok_or(Errno::BadFd)?;
        if descriptor.rights.0 & rights::READ == 0 {
            return Err(Errno::NotCapable);
        }
        let mut total = 0;
        match &mut descriptor.object {
            Object::Stdin => {
                if self.stdin.len() == 0 && !self.stdin.closed && wanted > 0 {
                    return if descriptor.flags & flags::NONBLOCK != 0 {
                        Err(Errno::Again)
                    } else {
                        Ok(false)
                    };
                }
                for (at, len) in pieces {
                    total += self.stdin.take(guest.get_mut(at, len)?) as u32;
                }
            }
            Object::Stdout | Object::Stderr => return Err(Errno::BadFd),
            Object::Directory { .. } => return Err(Errno::IsDirectory),
            Object::File { node, offset } => {
                total = copy_out(self.tree.file(*node)?, *offset, guest, &pieces)?;
                *offset += u64::from(total);
            }
        }
        guest.put_u32(read, total)?;
        Ok(true)
    }

    /// `fd_pread`
    pub fn fd_pread(
        &mut self,
        guest: &mut Guest<'_>,
        fd: u32,
        at: u32,
        count: u32,
        offset: u64,
        read: u32,
    ) -> Outcome {
        let mut pread = || {
            let pieces = guest.pieces(at, count)?;
            guest.get(read, 4)?;
            let node = self.file(fd, rights::READ)?;
            let total = copy_out(self.tree.file(node)?, offset, guest, &pieces)?;
            guest.put_u32(read, total)
        };
        pread().into()
    }

    /// `fd_write`
    pub fn fd_write(
        &mut self,
        guest: &mut Guest<'_>,
        now: Moment,
        fd: u32,
        pieces: u32,
        count: u32,
        written: u32,
    ) -> Outcome {
        match self.write(guest, now, fd, pieces, count, written) {
            Ok(true) => Outcome::Done(Errno::Success),
            Ok(false) => Outcome::Wait { until: None },
            Err(errno) => Outcome::Done(errno),
        }
    }

    fn write(
        &mut self,
        guest: &mut Guest<'_>,
        now: Moment,
        fd: u32,
        at: u32,
        count: u32,
        written: u32,
    ) -> Result<bool, Errno> {
        let pieces = guest.pieces(at, count)?;
        guest.get(written, 4)?;
        let wanted: u64 = pieces.iter().map(|(_, len)| u64::from(*len)).sum();
        let wall = self.clock.at(now).1;
        let descriptor = self.open.get_mut(&fd).ok_or(Errno::BadFd)?;
        if descriptor.rights.0 & rights::WRITE == 0 {
            return Err(Errno::NotCapable);
        }
        let mut total = 0u32;
        match &mut descriptor.object {
            Object::Stdin => return Err(Errno::BadFd),
            stream @ (Object::Stdout | Object::Stderr) => {
                let pipe = if *stream == Object::Stdout { &mut self.stdout } else { &mut self.stderr };
                if pipe.closed {
                    return Err(Errno::Pipe);
                }
                if pipe.room() == 0 && wanted > 0 {
                    return if descriptor.flags & flags::NONBLOCK != 0 {
                        Err(Errno::Again)
                    } else {
                        Ok(false)
                    };
                }
                for (at, len) in pieces {
                    let taken = pipe.put(guest.get(at, len)?) as u32;
                    total += taken;
                    if taken < len {
                        break;
                    }
                }
            }
            Object::Directory { .. } => return Err(Errno::IsDirectory),
            Object::File { node, offset } => {
                if descriptor.flags & flags::APPEND != 0 {
                    *offset = self.tree.file(*node)?.len() as u64;
                }
                for (at, len) in pieces {
                    match self.tree.write(*node, *offset, guest.get(at, len)?, wall) {
                        // What is written is said.
                        Err(_) if total > 0 => break,
                        written => written?,
                    }
                    *offset += u64::from(len);
                    total += len;
                }
            }
        }
        guest.put_u32(written, total)?;
        Ok(true)
    }

    /// `fd_pwrite`
    pub fn fd_pwrite(
        &mut self,
        guest: &mut Guest<'_>,
        now: Moment,
        fd: u32,
        (at, count): (u32, u32),
        offset: u64,
        written: u32,
    ) -> Outcome {
        let mut pwrite = || {
            let pieces = guest.pieces(at, count)?;
            guest.get(written, 4)?;
            let node = self.file(fd, rights::WRITE)?;
            let wall = self.clock.at(now).1;
            let mut total = 0u32;
            for (at, len) in pieces {
                let place = offset.checked_add(u64::from(total)).ok_or(Errno::FileTooBig)?;
                self.tree.write(node, place, guest.get(at, len)?, wall)?;
                total += len;
            }
            guest.put_u32(written, total)
        };
        pwrite().into()
    }

    /// `fd_seek`
    pub fn fd_seek(&mut self, guest: &mut Guest<'_>, fd: u32, by: i64, whence: u32, to: u32) -> Outcome {
        let mut seek = || {
            let node = self.file(fd, rights::SEEK)?;
            let len = self.tree.file(node)?.len() as u64;
            let Object::File { offset, .. } = &mut self.open.get_mut(&fd).ok_or(Errno::BadFd)?.object else {
                return Err(Errno::SeekPipe);
            };
            let from = match whence {
                0 => 0,
                1 => *offset,
                2 => len,
                _ => return Err(Errno::Invalid),
            };
            let new = from
                .checked_add_signed(by)
                .filter(|new| i64::try_from(*new).is_ok())
                .ok_or(Errno::Invalid)?;
            guest.put_u64(to, new)?;
            *offset = new;
            Ok(())
        };
        seek().into()
    }

    /// `fd_tell`
    pub fn fd_tell(&mut self, guest: &mut Guest<'_>, fd: u32, to: u32) -> Outcome {
        let mut tell = || {
            self.file(fd, rights::TELL)?;
            match self.descriptor(fd)?.object {
                Object::File { offset, .. } => guest.put_u64(to, offset),
                _ => Err(Errno::SeekPipe),
            }
        };
        tell().into()
    }

    /// `fd_renumber`
    pub fn fd_renumber(&mut self, from: u32, to: u32) -> Outcome {
        let mut renumber = || {
            self.descriptor(from)?;
            self.descriptor(to)?;
            if from != to {
                self.close(to)?;
                let moved = self.open.remove(&from).ok_or(Errno::BadFd)?;
                self.open.insert(to, moved);
            }
            Ok(())
        };
        renumber().into()
    }

    /// `fd_prestat_get`
    pub fn fd_prestat_get(&self, guest: &mut Guest<'_>, fd: u32, stat: u32) -> Outcome {
        let mut get = || match self.descriptor(fd)?.object {
            Object::Directory { given: true, .. } => guest.put(stat, &[0, 0, 0, 0, 1, 0, 0, 0]),
            _ => Err(Errno::BadFd),
        };
        get().into()
    }

    /// `fd_prestat_dir_name`
    pub fn fd_prestat_dir_name(&self, guest: &mut Guest<'_>, fd: u32, at: u32, len: u32) -> Outcome {
        let mut get = || match self.descriptor(fd)?.object {
            Object::Directory { given: true, .. } if len >= 1 => guest.put(at, b"/"),
            Object::Directory { given: true, .. } => Err(Errno::NameTooLong),
            _ => Err(Errno::BadFd),
        };
        get().into()
    }

    /// `fd_readdir`: its own entry, that of the directory above it, then all in the order in which they were named. A
    /// `cookie` keeps its place though names come and go.
    pub fn fd_readdir(
        &self,
        guest: &mut Guest<'_>,
        fd: u32,
        (at, len): (u32, u32),
        cookie: u64,
        used: u32,
    ) -> Outcome {
        let mut list = || {
            let own = self.directory(fd)?;
            let Body::Directory { entries, parent } = &self.tree.node(own)?.body else {
                return Err(Errno::NotDirectory);
            };
            let mut all = vec![(0, ".", own), (1, "..", *parent)];
            all.extend(entries.iter().map(|(name, entry)| (entry.number + 2, name.as_str(), entry.node)));
            all.retain(|(place, ..)| *place >= cookie);
            all.sort_unstable();
            let room = len as usize;
            let mut bytes: Vec<u8> = Vec::new();
            for (place, name, node) in all {
                let kind = if self.tree.entries(node).is_ok() { kind::DIRECTORY } else { kind::REGULAR_FILE };
                bytes.extend((place + 1).to_le_bytes());
                bytes.extend(node.0.to_le_bytes());
                bytes.extend((name.len() as u32).to_le_bytes());
                bytes.extend([kind, 0, 0, 0]);
                bytes.extend(name.as_bytes());
                if bytes.len() >= room {
                    bytes.truncate(room);
                    break;
                }
            }
            guest.put(at, &bytes)?;
            guest.put_u32(used, bytes.len() as u32)
        };
        list().into()
    }
}

pub(super) fn filetype(descriptor: &Descriptor) -> u8 {
    match descriptor.object {
        Object::Stdin | Object::Stdout | Object::Stderr => kind::CHARACTER_DEVICE,
        Object::File { .. } => kind::REGULAR_FILE,
        Object::Directory { .. } => kind::DIRECTORY,
    }
}

/// Copies from a file into the pieces, in order, as far as both go.
fn copy_out(file: &[u8], offset: u64, guest: &mut Guest<'_>, pieces: &[(u32, u32)]) -> Result<u32, Errno> {
    let mut rest = usize::try_from(offset).ok().and_then(|at| file.get(at..)).unwrap_or_default();
    let mut total = 0;
    for (at, len) in pieces {
        let take = rest.len().min(*len as usize);
        guest.put(*at, &rest[..take])?;
        rest = &rest[take..];
        total += take as u32;
    }
    Ok(total)
}
