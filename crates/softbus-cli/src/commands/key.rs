//! `softbus key`. It works on the key's file itself, whether a node runs or not.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use softbus::net::seam::real::{FileStorage, SystemEntropy};
use softbus::net::seam::{Entropy, Storage};
use softbus::trust::{BACKUP_BYTES, BACKUP_RANDOM, DeviceKey, KeyError, PASSPHRASE_BYTES};
use zeroize::Zeroizing;

use super::{Context, prompt};
use crate::args::KeyCommand;
use crate::failure::{Failure, Kind};

/// Longest key file.
const KEY_BYTES: u64 = 64 << 10;
/// Names of the secrets in the data folder.
const KEY: &str = "device.key";
const BEFORE: &str = "before-restore.key";

/// This device's key.
pub(super) async fn key(cx: Context, command: Option<KeyCommand>) -> Result<(), Failure> {
    match command.unwrap_or(KeyCommand::Show) {
        KeyCommand::Show => {
            let id = read_key(&cx.data_dir)?.id();
            cx.say(&serde_json::json!({ "id": id }), &id.to_string())
        }
        KeyCommand::Backup { file, passphrase_file } => backup(cx, &file, passphrase_file.as_deref()).await,
        KeyCommand::Restore { file, passphrase_file, force } => {
            restore(cx, &file, passphrase_file.as_deref(), force).await
        }
    }
}

/// Reads a key file as it is, whoever may read it; links are not followed.
pub(crate) fn open(path: &Path) -> std::io::Result<Result<DeviceKey, KeyError>> {
    read(open_file(path)?)
}

fn open_file(path: &Path) -> std::io::Result<std::fs::File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn read(file: std::fs::File) -> std::io::Result<Result<DeviceKey, KeyError>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES as usize));
    file.take(KEY_BYTES).read_to_end(&mut bytes)?;
    Ok(DeviceKey::from_file(&bytes))
}

/// Reads the key beside a node that may be running, so without the folder's lock.
fn read_key(data_dir: &Path) -> Result<DeviceKey, Failure> {
    let path = crate::paths::key_file(data_dir);
    let what = || format!("key {}", path.display());
    let file = match open_file(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::not_found(format!("there is no key in {} yet", data_dir.display()))
                .advise("the first `softbus up` makes it"));
        }
        Err(e) => return Err(Failure::io(what(), &e)),
    };
    let meta = file.metadata().map_err(|e| Failure::io(what(), &e))?;
    if meta.mode() & 0o077 != 0 {
        return Err(Failure::new(
            Kind::Refused,
            format!("{} can be read by others (mode {:o})", what(), meta.mode() & 0o777),
        )
        .advise(format!("chmod 600 {}; `softbus doctor` says what else to consider", path.display())));
    }
    read(file).map_err(|e| Failure::io(what(), &e))?.map_err(|e| broken(&e).during(what()))
}

async fn backup(cx: Context, file: &Path, passphrase_file: Option<&Path>) -> Result<(), Failure> {
    let what = || format!("backup {}", file.display());
    if file.symlink_metadata().is_ok() {
        return Err(Failure::conflict(format!("{} is there already", what())).advise("name another file"));
    }
    let key = read_key(&cx.data_dir)?;
    let passphrase = prompt::secret("passphrase", passphrase_file).await?;
    if passphrase.len() < PASSPHRASE_BYTES {
        return Err(broken(&KeyError::Weak));
    }
    if passphrase_file.is_none() {
        let again = prompt::secret("the same passphrase again", None).await?;
        if again != passphrase {
            return Err(Failure::usage("the two passphrases differ"));
        }
    }
    let mut random = [0; BACKUP_RANDOM];
    let entropy = SystemEntropy::new().map_err(|e| Failure::failed(e.to_string()))?;
    entropy.fill(&mut random);
    let text = key.backup(&passphrase, random).map_err(|e| broken(&e))?;
    let written =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).and_then(|mut f| {
            f.write_all(text.as_bytes())?;
            f.sync_all()
        });
    written.map_err(|e| Failure::io(format!("cannot write the {}", what()), &e))?;
    cx.say(
        &serde_json::json!({ "id": key.id(), "file": file }),
        &format!(
            "{} holds the key of {}\nKeep it apart from this device, and its passphrase apart from it.",
            file.display(),
            key.id()
        ),
    )
}

async fn restore(
    cx: Context,
    file: &Path,
    passphrase_file: Option<&Path>,
    force: bool,
) -> Result<(), Failure> {
    let what = || format!("backup {}", file.display());
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|f| f.take(BACKUP_BYTES as u64 + 1).read_to_string(&mut text))
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::InvalidData => Failure::usage(format!("{} is no text", what())),
            _ => Failure::io(what(), &e),
        })?;
    // Before the person types a passphrase for nothing.
    let id = DeviceKey::backup_of(&text).map_err(|e| broken(&e).during(what()))?;
    // Takes the folder's lock: no node may run on it meanwhile.
    let storage = FileStorage::open(&cx.data_dir).map_err(|e| crate::node::seam_failure(&e))?;
    let present = storage.secret(KEY).map_err(|e| Failure::io("the key that is there", &e))?;
    if let Some(present) = &present {
        let same = DeviceKey::from_file(present).is_ok_and(|key| key.id() == id);
        if same {
            return cx
                .say(&serde_json::json!({ "id": id }), &format!("{id} is the key of this device already"));
        }
        if !force {
            return Err(Failure::conflict(format!(
                "{} holds the key of another device",
                cx.data_dir.display()
            ))
            .advise("to replace it all the same (it is kept beside): --force"));
        }
    }
    let passphrase = prompt::secret("passphrase", passphrase_file).await?;
    let key = DeviceKey::restore(&text, &passphrase).map_err(|e| broken(&e).during(what()))?;
    if let Some(present) = present {
        storage
            .put_secret(BEFORE, &present)
            .map_err(|e| Failure::io("cannot keep the key that is there", &e))?;
    }
    storage.put_secret(KEY, &key.to_file()).map_err(|e| Failure::io("cannot write the key", &e))?;
    cx.say(&serde_json::json!({ "id": id }), &format!("this device is {id} again"))
}

fn broken(error: &KeyError) -> Failure {
    let kind = match error {
        KeyError::Passphrase => Kind::Refused,
        KeyError::Weak | KeyError::NotABackup | KeyError::BackupDamaged => Kind::Usage,
        _ => Kind::Failed,
    };
    Failure::new(kind, error.to_string())
}
