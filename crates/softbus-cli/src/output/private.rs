//! Files that only their owner may read.

use std::fs::{File, Permissions};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::failure::Failure;

/// Permissions: nobody else's business.
const MODE: u32 = 0o600;

/// A file for its owner alone. It is there whole and durable once it is kept; if it is dropped before, nothing is.
pub struct Private {
    into: BufWriter<NamedTempFile>,
    out: PathBuf,
    force: bool,
}

impl Private {
    /// Begins one beside its name. What is there stays, unless `force`.
    pub fn begin(out: &Path, force: bool) -> Result<Self, Failure> {
        if out.is_dir() {
            return Err(Failure::usage(format!("{} is a folder: name a file in it", out.display())));
        }
        if !force && out.symlink_metadata().is_ok() {
            return Err(taken(out));
        }
        let file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(folder_of(out))
            .map_err(|e| Failure::io(format!("cannot write {}", out.display()), &e))?;
        Ok(Self { into: BufWriter::new(file), out: out.to_path_buf(), force })
    }

    /// Makes it durable and gives it its name.
    pub fn keep(self) -> Result<(), Failure> {
        let Self { into, out, force } = self;
        let failed = |e: &std::io::Error| Failure::io(format!("cannot write {}", out.display()), e);
        let file = into.into_inner().map_err(|e| failed(e.error()))?;
        file.as_file().sync_all().map_err(|e| failed(&e))?;
        let named = if force { file.persist(&out) } else { file.persist_noclobber(&out) };
        match named {
            Ok(_) => {}
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => return Err(taken(&out)),
            Err(error) => return Err(failed(&error.error)),
        }
        File::open(folder_of(&out)).and_then(|dir| dir.sync_all()).map_err(|e| failed(&e))
    }
}

impl Write for Private {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.into.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.into.flush()
    }
}

fn taken(out: &Path) -> Failure {
    Failure::conflict(format!("{} is there already", out.display()))
        .advise("name another file, or replace it with --force")
}

fn folder_of(out: &Path) -> &Path {
    out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    #[test]
    fn it_is_there_whole_and_for_its_owner_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let put = |text: &[u8], force| {
            let mut file = Private::begin(&path, force)?;
            file.write_all(text).unwrap();
            file.keep()
        };
        drop(Private::begin(&path, false).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        put(b"one", false).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(put(b"two", false).unwrap_err().kind, Kind::Conflict);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        // It came to be meanwhile.
        let late = dir.path().join("late");
        let file = Private::begin(&late, false).unwrap();
        std::fs::write(&late, b"theirs").unwrap();
        assert_eq!(file.keep().unwrap_err().kind, Kind::Conflict);
        assert_eq!(std::fs::read(&late).unwrap(), b"theirs");
        put(b"three", true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three");
        assert_eq!(Private::begin(dir.path(), true).err().unwrap().kind, Kind::Usage);
    }
}
