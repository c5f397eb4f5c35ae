//! Calls on paths. There are no symbolic links in a task's tree.

use super::descriptors::{Descriptor, Object, flags, rights};
use super::errno::Errno;
use super::guest::Guest;
use super::{Moment, Outcome, Wasi};

/// `$oflags`
mod oflags {
    pub const CREATE: u32 = 1;
    pub const DIRECTORY: u32 = 2;
    pub const EXCLUSIVE: u32 = 4;
    pub const TRUNCATE: u32 = 8;
}

/// What [`Wasi::path_open`] is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// The directory.
    pub fd: u32,
    /// Address and length of the path.
    pub path: (u32, u32),
    /// `$oflags`
    pub oflags: u32,
    /// `$rights` of the new descriptor, and of those opened from it.
    pub rights: (u64, u64),
    /// `$fdflags`
    pub fdflags: u32,
}

impl Wasi {
    /// `path_open`
    pub fn path_open(
        &mut self,
        guest: &mut Guest<'_>,
        now: Moment,
        opening: Opening,
        opened: u32,
    ) -> Outcome {
        let mut open = || {
            guest.get(opened, 4)?;
            let directory = self.directory(opening.fd)?;
            let given = self.descriptor(opening.fd)?.rights.1;
            let path = guest.text(opening.path.0, opening.path.1)?;
            let fdflags =
                u16::try_from(opening.fdflags).ok().filter(|flags| *flags < 32).ok_or(Errno::Invalid)?;
            if opening.oflags > 15 {
                return Err(Errno::Invalid);
            }
            let asks = |flag: u32| opening.oflags & flag != 0;
            if asks(oflags::CREATE) && asks(oflags::DIRECTORY) {
                return Err(Errno::Invalid);
            }
            let wall = self.clock.at(now).1;
            let place = self.tree.follow(directory, path)?;
            let writes = opening.rights.0 & rights::WRITE != 0;
            let node = match place.node {
                Some(_) if asks(oflags::CREATE) && asks(oflags::EXCLUSIVE) => return Err(Errno::Exist),
                Some(node) => node,
                None if asks(oflags::CREATE) => self.tree.create(&place, false, wall)?,
                None => return Err(Errno::NoEntry),
            };
            let is_directory = self.tree.entries(node).is_ok();
            if asks(oflags::DIRECTORY) && !is_directory {
                return Err(Errno::NotDirectory);
            }
            let own = opening.rights.0 & given;
            let descriptor = if is_directory {
                if writes && opening.rights.0 & rights::READ == 0 || asks(oflags::TRUNCATE) {
                    return Err(Errno::IsDirectory);
                }
                let object = Object::Directory { node, given: false };
                let own = own & !(rights::SEEK | rights::TELL);
                Descriptor { object, flags: fdflags, rights: (own, opening.rights.1 & given) }
            } else {
                let flags = fdflags & (flags::APPEND | flags::NONBLOCK | 2 | 8 | 16);
                Descriptor { object: Object::File { node, offset: 0 }, flags, rights: (own, 0) }
            };
            let fd = self.add(descriptor)?;
            if asks(oflags::TRUNCATE) {
                self.tree.resize(node, 0, wall)?;
            }
            guest.put_u32(opened, fd)
        };
        open().into()
    }

    /// `path_create_directory`
    pub fn path_create_directory(
        &mut self,
        guest: &Guest<'_>,
        now: Moment,
        fd: u32,
        path: (u32, u32),
    ) -> Outcome {
        let mut create = || {
            let directory = self.directory(fd)?;
            let place = self.tree.follow(directory, guest.text(path.0, path.1)?)?;
            let wall = self.clock.at(now).1;
            self.tree.create(&place, true, wall).map(drop)
        };
        create().into()
    }

    /// `path_filestat_get`
    pub fn path_filestat_get(&self, guest: &mut Guest<'_>, fd: u32, path: (u32, u32), stat: u32) -> Outcome {
        let mut get = || {
            let directory = self.directory(fd)?;
            let place = self.tree.follow(directory, guest.text(path.0, path.1)?)?;
            self.put_stat(guest, place.node.ok_or(Errno::NoEntry)?, stat)
        };
        get().into()
    }

    /// `path_filestat_set_times`: to these times, as `which` says.
    pub fn path_filestat_set_times(
        &mut self,
        guest: &Guest<'_>,
        now: Moment,
        fd: u32,
        path: (u32, u32),
        (read, changed): (u64, u64),
        which: u32,
    ) -> Outcome {
        let mut set = || {
            let directory = self.directory(fd)?;
            let place = self.tree.follow(directory, guest.text(path.0, path.1)?)?;
            self.set_times(now, place.node.ok_or(Errno::NoEntry)?, read, changed, which)
        };
        set().into()
    }

    /// `path_link`
    pub fn path_link(
        &mut self,
        guest: &Guest<'_>,
        now: Moment,
        (from_fd, from): (u32, (u32, u32)),
        (to_fd, to): (u32, (u32, u32)),
    ) -> Outcome {
        let mut link = || {
            let from = self.tree.follow(self.directory(from_fd)?, guest.text(from.0, from.1)?)?;
            let to = self.tree.follow(self.directory(to_fd)?, guest.text(to.0, to.1)?)?;
            let wall = self.clock.at(now).1;
            self.tree.link(from.node.ok_or(Errno::NoEntry)?, &to, wall)
        };
        link().into()
    }

    /// `path_readlink`: nothing is a link.
    pub fn path_readlink(&self, guest: &Guest<'_>, fd: u32, path: (u32, u32)) -> Outcome {
        let read = || {
            let place = self.tree.follow(self.directory(fd)?, guest.text(path.0, path.1)?)?;
            place.node.ok_or(Errno::NoEntry)?;
            Err(Errno::Invalid)
        };
        read().into()
    }

    /// `path_remove_directory`
    pub fn path_remove_directory(
        &mut self,
        guest: &Guest<'_>,
        now: Moment,
        fd: u32,
        path: (u32, u32),
    ) -> Outcome {
        self.remove(guest, now, fd, path, true).into()
    }

    /// `path_unlink_file`
    pub fn path_unlink_file(&mut self, guest: &Guest<'_>, now: Moment, fd: u32, path: (u32, u32)) -> Outcome {
        self.remove(guest, now, fd, path, false).into()
    }

    fn remove(
        &mut self,
        guest: &Guest<'_>,
        now: Moment,
        fd: u32,
        path: (u32, u32),
        directory: bool,
    ) -> Result<(), Errno> {
        let place = self.tree.follow(self.directory(fd)?, guest.text(path.0, path.1)?)?;
        let wall = self.clock.at(now).1;
        self.tree.remove(&place, directory, wall)
    }

    /// `path_rename`
    pub fn path_rename(
        &mut self,
        guest: &Guest<'_>,
        now: Moment,
        (from_fd, from): (u32, (u32, u32)),
        (to_fd, to): (u32, (u32, u32)),
    ) -> Outcome {
        let mut rename = || {
            let from = self.tree.follow(self.directory(from_fd)?, guest.text(from.0, from.1)?)?;
            let to = self.tree.follow(self.directory(to_fd)?, guest.text(to.0, to.1)?)?;
            let wall = self.clock.at(now).1;
            self.tree.rename(&from, &to, wall)
        };
        rename().into()
    }
}
