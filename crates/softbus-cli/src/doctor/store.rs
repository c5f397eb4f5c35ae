//! The key and the database: opened and read, never changed. Nothing of a key is told but the id it makes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use softbus::net::seam::StoreError;
use softbus::net::seam::real::{DATABASE, check_database};
use softbus::trust::KeyError;

use super::{Finding, node::locked};
use crate::commands::key;
use crate::control::DiagnosisView;

/// Looks at both, with the help of the node that has them open, if one runs.
pub(super) fn check(dir: &Path, node: Option<&DiagnosisView>) -> Vec<Finding> {
    if !dir.is_dir() {
        return Vec::new();
    }
    vec![key(dir, node), database(dir, node)]
}

fn key(dir: &Path, node: Option<&DiagnosisView>) -> Finding {
    const CHECK: &str = "key";
    const RESTORE: &str = "restore it from its backup: softbus key restore FILE --force";
    let path = crate::paths::key_file(dir);
    let name = path.display();
    match std::fs::symlink_metadata(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return if dir.join(DATABASE).exists() {
                Finding::bad(
                    CHECK,
                    format!(
                        "{name} is missing, but this device has been used: without it, it is another device"
                    ),
                    "before the next start, restore it from its backup: softbus key restore FILE",
                )
            } else {
                Finding::good(CHECK, "there is none yet; the first start makes it")
            };
        }
        Err(e) => {
            return Finding::bad(CHECK, format!("{name}: {e}"), "check the permissions of the data folder");
        }
        Ok(meta) if !meta.is_file() => {
            return Finding::bad(
                CHECK,
                format!("{name} is no plain file"),
                "put the key itself there, not a link to it",
            );
        }
        Ok(meta) if meta.mode() & 0o077 != 0 => {
            return Finding::bad(
                CHECK,
                format!("others can read {name} (mode {:o})", meta.mode() & 0o777),
                format!(
                    "chmod 600 {name} — and if somebody may have read it: remove this device from its circles, \
                     delete the key and pair anew"
                ),
            );
        }
        Ok(_) => {}
    }
    let id = match key::open(&path) {
        Ok(Ok(key)) => key.id(),
        Ok(Err(error @ KeyError::Version { .. })) => {
            return Finding::bad(CHECK, format!("{name}: {error}"), "update softbus on this device");
        }
        Ok(Err(KeyError::NotAKey)) => {
            return Finding::bad(CHECK, format!("{name} is no softbus key file"), RESTORE);
        }
        Ok(Err(_)) => return Finding::bad(CHECK, format!("{name} is damaged"), RESTORE),
        Err(e) => return Finding::bad(CHECK, format!("{name}: {e}"), "check who owns it and its disk"),
    };
    match node {
        Some(node) if node.status.id != id => Finding::bad(
            CHECK,
            format!("{name} is the key of …{}, and the node runs as …{}", id.short(), node.status.id.short()),
            "was it replaced? Restart the node to use it: softbus down, softbus up",
        ),
        _ => Finding::good(CHECK, format!("sound, for its owner only; it makes this device …{}", id.short())),
    }
}

fn database(dir: &Path, node: Option<&DiagnosisView>) -> Finding {
    const CHECK: &str = "database";
    let path = dir.join(DATABASE);
    let name = path.display();
    let meta = match std::fs::symlink_metadata(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && node.is_none() => {
            return Finding::good(CHECK, "there is none yet; the first start makes it");
        }
        Err(e) => return Finding::bad(CHECK, format!("{name}: {e}"), "check the data folder and its disk"),
        Ok(meta) => meta,
    };
    if meta.mode() & 0o077 != 0 && meta.is_file() {
        return Finding::bad(
            CHECK,
            format!("others can read or change {name} (mode {:o})", meta.mode() & 0o777),
            format!("chmod 600 {name}"),
        );
    }
    if let Some(node) = node {
        return match &node.database {
            None => Finding::good(CHECK, "the node has it open and reads it"),
            Some(error) => Finding::bad(CHECK, error.clone(), "look at the disk, then restart the node"),
        };
    }
    const BUSY: &str = "a process has it open, so that it cannot be looked at";
    const WAIT: &str = "look again when that process has ended, or answers";
    if locked(dir) {
        return Finding::warn(CHECK, BUSY, WAIT);
    }
    let checked = quietly(|| check_database(dir));
    if locked(dir) {
        // A node began to write to it meanwhile: what was read may be half of this and half of that.
        return Finding::warn(CHECK, BUSY, WAIT);
    }
    match checked {
        Ok(Some(())) => Finding::good(CHECK, format!("sound ({})", crate::output::bytes(meta.len()))),
        Ok(None) => Finding::warn(
            CHECK,
            format!("{name} is empty: the first start was cut short, or its content is lost"),
            "if this device was in a circle, restore a backup of the data folder; else just start it",
        ),
        Err(StoreError::Newer { found, known }) => Finding::bad(
            CHECK,
            format!("{name} has format {found}, this softbus knows formats up to {known}"),
            "update softbus on this device",
        ),
        Err(StoreError::Corrupt(why)) => Finding::bad(
            CHECK,
            format!("{name} is damaged: {}", crate::output::clean(&why)),
            format!(
                "restore a backup of the data folder. Without one: keep the damaged file for a look (mv {name} \
                 {name}.damaged), start, and pair again; circles and tasks of this device are lost, its key is not"
            ),
        ),
        Err(error) => Finding::bad(CHECK, format!("{name}: {error}"), "check who owns it and its disk"),
    }
}

/// Without the message that a panic prints: the database's library panics on some damaged files, and that is caught
/// and told as what it is.
fn quietly<T>(look: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = look();
    std::panic::set_hook(hook);
    result
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use softbus::trust::DeviceKey;

    use super::*;
    use crate::doctor::Level;

    fn put_key(dir: &Path, bytes: &[u8]) {
        let path = crate::paths::key_file(dir);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn keys_are_read_and_told_by_their_id_only() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(key(dir.path(), None).level, Level::Good, "none yet");
        let device = DeviceKey::from_seed(&[7; 32]);
        let file = device.to_file();
        put_key(dir.path(), &file);
        let sound = key(dir.path(), None);
        assert_eq!(sound.level, Level::Good);
        assert!(sound.found.contains(&device.id().short()), "{sound:?}");
        assert!(!format!("{sound:?}").contains("0707"));
        for len in [0, 5, 20, file.len() - 1] {
            put_key(dir.path(), &file[..len]);
            assert_eq!(key(dir.path(), None).level, Level::Bad, "{len} bytes of it");
        }
        let mut flipped = file.to_vec();
        flipped[20] ^= 1;
        put_key(dir.path(), &flipped);
        let damaged = key(dir.path(), None);
        assert!(damaged.found.contains("damaged"), "{damaged:?}");
        assert!(damaged.advice.unwrap().contains("softbus key restore"));
        let mut newer = file.to_vec();
        newer[8] = 9;
        put_key(dir.path(), &newer);
        assert!(key(dir.path(), None).advice.unwrap().contains("update"));
        std::fs::remove_file(crate::paths::key_file(dir.path())).unwrap();
        std::fs::write(dir.path().join(DATABASE), b"x").unwrap();
        let missing = key(dir.path(), None);
        assert_eq!(missing.level, Level::Bad, "a used device without its key: {missing:?}");
    }

    #[test]
    fn a_database_that_a_process_holds_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(database(dir.path(), None).level, Level::Good, "none yet");
        let path = dir.path().join(DATABASE);
        std::fs::write(&path, b"no database").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(database(dir.path(), None).level, Level::Bad);
        let lock = std::fs::File::create(dir.path().join("lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(database(dir.path(), None).level, Level::Warn);
        drop(lock);
        std::fs::write(&path, b"").unwrap();
        assert_eq!(database(dir.path(), None).level, Level::Warn, "empty");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(database(dir.path(), None).advice.unwrap().contains("chmod 600"));
    }
}
