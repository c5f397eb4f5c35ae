//! Files that a person asked for: results, reports.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;

use super::Out;
use crate::failure::Failure;

/// Permissions of a new file, before the umask takes some away: a result is no secret of this program.
const MODE: u32 = 0o666;

/// Whether a name means standard output. Under any of these it is written to and not replaced, whatever it is: what a
/// shell appends to stays.
pub fn is_stdout(out: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| out == Path::new(name))
}

/// Whether what an option names could be written later: better to fail before the work than after it.
pub fn writable(option: &str, out: &Path) -> Result<(), Failure> {
    if is_stdout(out) {
        return Ok(());
    }
    if out.is_dir() {
        return Err(Failure::usage(format!("{option} {} is a folder: name a file in it", out.display())));
    }
    // A pipe that nobody reads yet would keep us waiting.
    let Some(Place { file, permissions }) = place_of(out) else { return Ok(()) };
    let dir = folder_of(&file);
    if !dir.is_dir() {
        return Err(Failure::not_found(format!(
            "{option} {}: there is no folder {}",
            out.display(),
            dir.display()
        ))
        .advise(format!("make it first: mkdir -p {}", dir.display())));
    }
    let tried = tempfile::tempfile_in(dir).or_else(|error| match permissions {
        Some(_) if error.kind() == ErrorKind::PermissionDenied => OpenOptions::new().write(true).open(&file),
        _ => Err(error),
    });
    tried.map(drop).map_err(|e| Failure::io(format!("cannot write {option} {}", out.display()), &e))
}

/// Where a whole file is to be put.
struct Place {
    file: PathBuf,
    /// Those of the file that is there.
    permissions: Option<Permissions>,
}

/// `None` for what is there and can only be written to: a device, a pipe, a file without a name (any more).
fn place_of(out: &Path) -> Option<Place> {
    match std::fs::metadata(out) {
        Ok(meta) if meta.is_file() => {
            let file = std::fs::canonicalize(out).ok()?;
            Some(Place { file, permissions: Some(meta.permissions()) })
        }
        Ok(_) => None,
        Err(_) => Some(Place { file: out.to_path_buf(), permissions: None }),
    }
}

fn folder_of(out: &Path) -> &Path {
    out.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a result: `-` (or `/dev/stdout`) is standard output; a file is there whole or not at all, and durable; what is there and no plain
/// file (a device, a pipe), or lies in a folder where we may make no other, is written to and stays what it is.
pub fn write_file(out: &Path, content: &[u8]) -> Result<(), Failure> {
    if is_stdout(out) {
        return Out::new(false).raw(content);
    }
    let fill = || {
        let mut there = OpenOptions::new().write(true).truncate(true).open(out)?;
        there.write_all(content)
    };
    let written = match place_of(out) {
        None => fill(),
        Some(Place { file, permissions: None }) => replace(&file, content, None),
        Some(Place { file, permissions }) => match replace(&file, content, permissions) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => fill(),
            replaced => replaced,
        },
    };
    written.map_err(|e| cannot_write(out, &e))
}

/// Puts a whole file in place of the one that is there, whose permissions it keeps.
fn replace(out: &Path, content: &[u8], permissions: Option<Permissions>) -> io::Result<()> {
    let mut file = unnamed(folder_of(out))?;
    file.write_all(content)?;
    put(file, out, permissions)
}

/// A file that is gone again if it does not get its name.
fn unnamed(dir: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().permissions(Permissions::from_mode(MODE)).tempfile_in(dir)
}

/// Gives a file its name, in place of what is there.
fn put(file: NamedTempFile, out: &Path, permissions: Option<Permissions>) -> io::Result<()> {
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    file.persist(out).map_err(|e| e.error)?;
    File::open(folder_of(out))?.sync_all()
}

/// Writes a file under the first of these names that is free in the folder; nothing that is there is touched.
pub fn write_new(
    dir: &Path,
    names: impl IntoIterator<Item = String>,
    content: &[u8],
) -> Result<PathBuf, Failure> {
    let written = || {
        let mut file = unnamed(dir)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        for name in names {
            let out = dir.join(name);
            match file.persist_noclobber(&out) {
                Ok(_) => return File::open(dir)?.sync_all().map(|()| out),
                Err(taken) if taken.error.kind() == ErrorKind::AlreadyExists => file = taken.file,
                Err(other) => return Err(other.error),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    };
    written().map_err(|e| Failure::io(format!("cannot write a file into {}", dir.display()), &e))
}

/// A file that is written bit by bit, by whoever has its [`Draft::writer`]. It is there whole once it is kept, as
/// [`write_file`] would have written it; if it is dropped before, nothing is.
pub struct Draft {
    out: PathBuf,
    poured: Arc<Mutex<Poured>>,
    /// Where it gets its name from; `None` where what is there is written to.
    file: Option<(NamedTempFile, Place)>,
}

struct Poured {
    into: BufWriter<Box<dyn Write + Send>>,
    failed: Option<io::Error>,
}

impl Draft {
    /// Begins one. Fails if it cannot be written where it is to be.
    pub fn new(out: &Path) -> Result<Self, Failure> {
        let existing = || File::options().write(true).truncate(true).open(out);
        let begin = || -> io::Result<(Box<dyn Write + Send>, _)> {
            if is_stdout(out) {
                return Ok((Box::new(io::stdout()), None));
            }
            let Some(place) = place_of(out) else { return Ok((Box::new(existing()?), None)) };
            match unnamed(folder_of(&place.file)) {
                Ok(file) => Ok((Box::new(file.as_file().try_clone()?), Some((file, place)))),
                Err(error) if error.kind() == ErrorKind::PermissionDenied && place.permissions.is_some() => {
                    Ok((Box::new(existing()?), None))
                }
                Err(error) => Err(error),
            }
        };
        let (into, file) = begin().map_err(|e| cannot_write(out, &e))?;
        let poured = Arc::new(Mutex::new(Poured { into: BufWriter::new(into), failed: None }));
        Ok(Self { out: out.to_path_buf(), poured, file })
    }

    /// Writes into it; buffered already.
    pub fn writer(&self) -> Box<dyn Write + Send> {
        Box::new(Writer(self.poured.clone()))
    }

    /// Everything is written: now it is there.
    pub fn keep(self) -> Result<(), Failure> {
        let flush = |poured: &mut Poured| poured.failed.take().map_or_else(|| poured.into.flush(), Err);
        let flushed = match flush(&mut lock(&self.poured)) {
            // A reader that went away (`… --trace - | head`) is no error.
            Err(e) if e.kind() == ErrorKind::BrokenPipe && is_stdout(&self.out) => Ok(()),
            flushed => flushed,
        };
        let kept = flushed.and_then(|()| match self.file {
            Some((file, place)) => put(file, &place.file, place.permissions),
            None => Ok(()),
        });
        kept.map_err(|e| cannot_write(&self.out, &e))
    }
}

struct Writer(Arc<Mutex<Poured>>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut poured = lock(&self.0);
        if poured.failed.is_none() {
            poured.failed = poured.into.write_all(bytes).err();
        }
        // Told when the file is to be kept: whoever writes goes on meanwhile.
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock(poured: &Mutex<Poured>) -> MutexGuard<'_, Poured> {
    poured.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cannot_write(out: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("cannot write {}", out.display()), error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileTypeExt as _;

    use super::*;
    use crate::failure::Kind;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_has_the_usual_permissions_and_keeps_those_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let (usual, out) = (dir.path().join("usual"), dir.path().join("out"));
        std::fs::write(&usual, b"").unwrap();
        write_file(&out, b"one").unwrap();
        assert_eq!(mode(&out), mode(&usual), "as the umask has it");
        std::fs::set_permissions(&out, Permissions::from_mode(0o640)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("out", &link).unwrap();
        write_file(&link, b"two").unwrap();
        assert_eq!((std::fs::read(&out).unwrap(), mode(&out)), (b"two".to_vec(), 0o640));
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "nothing half written is left");
    }

    #[test]
    fn a_draft_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (new, old) = (dir.path().join("new"), dir.path().join("old"));
        std::fs::write(&old, b"before").unwrap();
        std::fs::set_permissions(&old, Permissions::from_mode(0o640)).unwrap();
        let write = |out: &Path| {
            let draft = Draft::new(out).unwrap();
            let mut writer = draft.writer();
            writer.write_all(&[7; 100_000]).unwrap();
            writer.flush().unwrap();
            (draft, writer)
        };
        for out in [&new, &old] {
            // Whoever still writes then, writes to nowhere.
            let (draft, mut writer) = write(out);
            drop(draft);
            writer.write_all(&[7; 100_000]).unwrap();
        }
        assert_eq!(std::fs::read(&old).unwrap(), b"before");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half written is left");
        for out in [&new, &old] {
            write(out).0.keep().unwrap();
            assert_eq!(std::fs::read(out).unwrap(), [7; 100_000]);
        }
        assert_eq!(mode(&old), 0o640);
        assert_eq!(write(Path::new("/dev/full")).0.keep().unwrap_err().kind, Kind::Failed);
        assert!(Draft::new(&dir.path().join("nowhere/x")).is_err());
    }

    #[test]
    fn a_new_file_replaces_none() {
        let dir = tempfile::tempdir().unwrap();
        let write = |content: &[u8]| {
            let names = ["a".to_string(), "b".to_string()];
            write_new(dir.path(), names, content)
        };
        assert_eq!(write(b"1").unwrap(), dir.path().join("a"));
        assert_eq!(write(b"2").unwrap(), dir.path().join("b"));
        assert!(write(b"3").is_err());
        assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"1");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing half written is left");
    }

    #[test]
    fn a_file_is_found_by_its_number_too() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let open = File::create(&out).unwrap();
        let by_number = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open)));
        writable("--out", &by_number).unwrap();
        write_file(&by_number, b"one").unwrap();
        assert_eq!(std::fs::read(&out).unwrap(), b"one");
        // Without a name it can only be written to.
        let open = File::options().read(true).write(true).open(&out).unwrap();
        let by_number = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open)));
        std::fs::remove_file(&out).unwrap();
        writable("--out", &by_number).unwrap();
        write_file(&by_number, b"2").unwrap();
        assert_eq!(std::io::read_to_string(open).unwrap(), "2");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_file_is_written_to_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read(pipe).unwrap()
        });
        write_file(&pipe, b"result").unwrap();
        assert_eq!(reader.join().unwrap(), b"result");
        assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
    }
}
