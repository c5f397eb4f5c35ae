//! The data folder: ours alone, used by one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{SeamError, atomic};

/// A data folder that is ours while this lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Locked (flock) while this lives; the system unlocks it when the process ends in whatever way.
    lock: File,
}

impl Drop for Folder {
    /// Not left to closing the file: if another thread starts a program just now, its half-made process holds a copy of
    /// it for a moment, and with the copy the lock.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, SeamError> {
        atomic::make_folders(path).map_err(SeamError::io("make the data folder", path))?;
        let meta = fs::metadata(path).map_err(SeamError::io("look at the data folder", path))?;
        let user = rustix::process::geteuid().as_raw();
        if meta.uid() != user {
            return Err(SeamError::NotOurs { folder: path.to_owned(), owner: meta.uid(), user });
        }
        if meta.mode() & 0o022 != 0 {
            return Err(SeamError::Exposed {
                path: path.to_owned(),
                problem: "can be changed by other users",
                mode: meta.mode() & 0o777,
                wanted: 0o700,
            });
        }
        // The folder may be reached by several names; its lock is one.
        let path = path.canonicalize().map_err(SeamError::io("find the data folder", path))?;
        let lock = lock(&path)?;
        Ok(Self { path, lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn lock(folder: &Path) -> Result<File, SeamError> {
    let path = folder.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(SeamError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = (&file).take(16).read_to_string(&mut pid);
            return Err(SeamError::InUse { folder: folder.to_owned(), pid: pid.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(SeamError::io("lock", &path)(error)),
    }
    // Who holds it, for the message of the next one. Failing to say so (on a full disk) harms nobody.
    let _ =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Refuses a file that others than its owner can read or change.
pub(super) fn refuse_exposed(path: &Path, file: &File) -> Result<(), SeamError> {
    let meta = file.metadata().map_err(SeamError::io("look at", path))?;
    if meta.mode() & 0o077 != 0 {
        return Err(SeamError::Exposed {
            path: path.to_owned(),
            problem: "can be read or changed by other users",
            mode: meta.mode() & 0o777,
            wanted: 0o600,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_free_again_at_once_even_if_a_copy_of_its_lock_is_about() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        // As a process has it that was forked and has not become another program yet.
        let copy = folder.lock.try_clone().unwrap();
        assert!(matches!(Folder::open(temp.path()), Err(SeamError::InUse { .. })));
        drop(folder);
        let again = Folder::open(temp.path()).unwrap();
        drop(copy);
        assert!(
            matches!(Folder::open(temp.path()), Err(SeamError::InUse { .. })),
            "the copy's end changes nothing"
        );
        drop(again);
    }
}
