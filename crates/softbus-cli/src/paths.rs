//! Where things are: the data folder and the control socket.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use softbus_core::Hash;

use crate::failure::{Failure, Kind};

/// Longest path of a Unix domain socket (`sun_path` is 108 bytes, one of them the closing zero).
pub const SOCKET_PATH_BYTES: usize = 107;

/// Name of the control socket within the data folder.
const SOCKET_NAME: &str = "control.sock";

/// The data folder used when none is given: `$XDG_STATE_HOME/softbus` or `~/.local/state/softbus`.
pub fn default_data_dir() -> Result<PathBuf, Failure> {
    // The XDG base directory specification: a relative path is to be ignored.
    if let Some(state) = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute()) {
        return Ok(state.join("softbus"));
    }
    match std::env::var_os("HOME").map(PathBuf::from).filter(|p| p.is_absolute()) {
        Some(home) => Ok(home.join(".local/state/softbus")),
        None => Err(Failure::usage("no data folder: neither HOME nor XDG_STATE_HOME is set")
            .advise("say where to keep the data with --data-dir DIR")),
    }
}

/// The data folder asked for, or the default one, as an absolute path.
pub fn data_dir(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = match given {
        Some(path) => path.to_path_buf(),
        None => default_data_dir()?,
    };
    std::path::absolute(&path).map_err(|e| Failure::io(format!("data folder {}", path.display()), &e))
}

/// Where the control socket of a data folder is. In the folder itself if its path is short enough, else in
/// a folder of the user's runtime directory, under a name made from the data folder's path.
pub fn control_socket(data_dir: &Path) -> PathBuf {
    let direct = data_dir.join(SOCKET_NAME);
    if direct.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES {
        return direct;
    }
    let digest = Hash::derive("softbus control socket name v1", data_dir.as_os_str().as_bytes()).to_string();
    let name = format!("{}.sock", &digest[..24]);
    runtime_dir().join(name)
}

/// The folder for sockets whose data folder's path is too long.
fn runtime_dir() -> PathBuf {
    let short = |p: &PathBuf| p.is_absolute() && p.as_os_str().as_bytes().len() <= 60;
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(short) {
        Some(dir) => dir.join("softbus"),
        None => PathBuf::from(format!("/tmp/softbus-{}", rustix::process::getuid().as_raw())),
    }
}

/// Where the key of a data folder is.
pub fn key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("secrets").join("device.key")
}

/// Makes a folder that only its owner can look into, or checks that it is one.
pub fn private_dir(dir: &Path) -> Result<(), Failure> {
    let what = || format!("folder {}", dir.display());
    match std::fs::symlink_metadata(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(|e| Failure::io(format!("cannot make {}", what()), &e));
        }
        Err(e) => return Err(Failure::io(what(), &e)),
        Ok(meta) if !meta.is_dir() && !dir.is_dir() => {
            return Err(Failure::new(Kind::Conflict, format!("{} is not a folder", dir.display()))
                .advise("choose another with --data-dir DIR"));
        }
        Ok(_) => {}
    }
    let meta = std::fs::metadata(dir).map_err(|e| Failure::io(what(), &e))?;
    if meta.uid() != rustix::process::getuid().as_raw() {
        return Err(Failure::new(Kind::Refused, format!("{} belongs to another user", what()))
            .advise("run softbus as that user, or choose another folder with --data-dir DIR"));
    }
    if meta.mode() & 0o077 != 0 {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
            .map_err(|e| Failure::io(format!("cannot close {} to other users", what()), &e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_data_folders_get_a_short_socket_path() {
        let short = Path::new("/home/a/.local/state/softbus");
        assert_eq!(control_socket(short), short.join("control.sock"));
        for len in [90, 94, 95, 96, 200, 2000] {
            let long = PathBuf::from(format!("/{}", "x".repeat(len)));
            let socket = control_socket(&long);
            assert!(socket.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES, "{}", socket.display());
            assert_eq!(socket, control_socket(&long), "the name must not change between runs");
        }
        let (a, b) = (
            PathBuf::from(format!("/{}/a", "x".repeat(120))),
            PathBuf::from(format!("/{}/b", "x".repeat(120))),
        );
        assert_ne!(control_socket(&a), control_socket(&b));
    }

    #[test]
    fn private_dirs_are_closed_to_others() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        private_dir(&dir).unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        private_dir(&dir).unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        let file = root.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert_eq!(private_dir(&file).unwrap_err().kind, Kind::Conflict);
    }
}
