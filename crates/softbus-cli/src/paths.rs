//! Where things are: the data folder and the control socket.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
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
    let short = |p: &PathBuf| p.is_absolute() && p.as_os_str().as_bytes().len() <= 60 && p.is_dir();
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(short) {
        Some(dir) => dir.join("softbus"),
        None => PathBuf::from(format!("/tmp/softbus-{}", rustix::process::getuid().as_raw())),
    }
}

/// Where the key of a data folder is.
pub fn key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("secrets").join("device.key")
}

/// Makes a folder for this user alone, or checks that it is one. In a place where others write too, whoever was there
/// first may have put something else under its name: that is refused as it is, and not made fit.
pub fn private_dir(dir: &Path) -> Result<(), Failure> {
    let what = || format!("folder {}", dir.display());
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Failure::io(format!("cannot make the {}", what()), &e));
        }
        _ => {}
    }
    let meta = std::fs::symlink_metadata(dir).map_err(|e| Failure::io(what(), &e))?;
    let refuse = |problem: String| {
        Err(Failure::new(
            Kind::Refused,
            format!("the control socket cannot be kept safe: {} {problem}", dir.display()),
        )
        .advise(format!(
            "remove {}, or choose a data folder with a shorter path: --data-dir DIR",
            dir.display()
        )))
    };
    if !meta.is_dir() {
        refuse("is not a folder".into())
    } else if meta.uid() != rustix::process::getuid().as_raw() {
        refuse(format!("belongs to user {}", meta.uid()))
    } else if meta.mode() & 0o077 != 0 {
        refuse(format!("is open to other users (mode {:o})", meta.mode() & 0o777))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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
    fn only_a_folder_of_ours_alone_holds_the_socket() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a");
        private_dir(&dir).unwrap();
        private_dir(&dir).unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);

        // What somebody else put there is neither used nor changed.
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        let open = root.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, b"").unwrap();
        for wrong in [&link, &open, &file] {
            let refused = private_dir(wrong).unwrap_err();
            assert_eq!(refused.kind, Kind::Refused, "{refused}");
            assert!(refused.advice.is_some());
        }
        assert_eq!(std::fs::metadata(&open).unwrap().mode() & 0o777, 0o755);
    }
}
