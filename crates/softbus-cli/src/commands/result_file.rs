//! Where bytes that a task made go.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::failure::Failure;
use crate::output::Out;

/// Permissions of a new file, before the umask takes some away: a result is no secret of this program.
const MODE: u32 = 0o666;

/// Whether the result could be written later: better to fail before the work than after it.
pub(super) fn writable(out: &Path) -> Result<(), Failure> {
    if out == Path::new("-") {
        return Ok(());
    }
    if out.is_dir() {
        return Err(Failure::usage(format!("--out {} is a folder: name a file in it", out.display())));
    }
    let dir = out.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if dir.is_dir() {
        Ok(())
    } else {
        Err(Failure::not_found(format!("--out {}: there is no folder {}", out.display(), dir.display()))
            .advise(format!("make it first: mkdir -p {}", dir.display())))
    }
}

/// Writes a result: `-` is standard output; a file is there whole or not at all, and durable; what is there and no plain
/// file (a device, a pipe) is written to and stays what it is.
pub(super) fn write(out: &Path, content: &[u8]) -> Result<(), Failure> {
    if out == Path::new("-") {
        return Out::new(false).raw(content);
    }
    let written = match std::fs::metadata(out) {
        Ok(meta) if !meta.is_file() => {
            OpenOptions::new().write(true).open(out).and_then(|mut there| there.write_all(content))
        }
        Ok(meta) => {
            std::fs::canonicalize(out).and_then(|out| replace(&out, content, Some(meta.permissions())))
        }
        Err(_) => replace(out, content, None),
    };
    written.map_err(|e| Failure::io(format!("cannot write {}", out.display()), &e))
}

/// Puts a whole file in place of the one that is there, whose permissions it keeps.
fn replace(out: &Path, content: &[u8], permissions: Option<Permissions>) -> std::io::Result<()> {
    let dir = out.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().permissions(Permissions::from_mode(MODE)).tempfile_in(dir)?;
    file.write_all(content)?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    file.persist(out).map_err(|e| e.error)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileTypeExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_has_the_usual_permissions_and_keeps_those_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let (usual, out) = (dir.path().join("usual"), dir.path().join("out"));
        std::fs::write(&usual, b"").unwrap();
        write(&out, b"one").unwrap();
        assert_eq!(mode(&out), mode(&usual), "as the umask has it");
        std::fs::set_permissions(&out, Permissions::from_mode(0o640)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("out", &link).unwrap();
        write(&link, b"two").unwrap();
        assert_eq!((std::fs::read(&out).unwrap(), mode(&out)), (b"two".to_vec(), 0o640));
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "nothing half written is left");
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
        write(&pipe, b"result").unwrap();
        assert_eq!(reader.join().unwrap(), b"result");
        assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
    }
}
