//! Diagnostics for somebody who helps, without secrets: what goes in is listed here, piece by piece. Nothing is
//! copied from the data folder but names, sizes and permissions.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde_json::{Value, json};

use super::Finding;
use crate::clock::wall;
use crate::config::CONFIG_BYTES;
use crate::control::DiagnosisView;
use crate::failure::Failure;

/// Most files listed.
const FILES: usize = 1000;

/// Writes the bundle. It is for its owner only: addresses and names are nobody else's business.
pub(super) fn write(
    path: &Path,
    data_dir: &Path,
    config: Option<&Path>,
    findings: &[Finding],
    diagnosis: Option<&DiagnosisView>,
) -> Result<(), Failure> {
    let what = || format!("cannot write the bundle {}", path.display());
    let bundle = collect(data_dir, config, findings, diagnosis);
    let text = serde_json::to_vec_pretty(&bundle).map_err(|e| Failure::failed(format!("{}: {e}", what())))?;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            // One that was there before may have been open to others.
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            file.write_all(&text)
        })
        .map_err(|e| Failure::io(what(), &e))
}

fn collect(
    data_dir: &Path,
    config: Option<&Path>,
    findings: &[Finding],
    diagnosis: Option<&DiagnosisView>,
) -> Value {
    let interfaces: Vec<Value> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .iter()
        .map(|i| json!({ "name": i.name, "ip": i.ip(), "loopback": i.is_loopback() }))
        .collect();
    let uname = rustix::system::uname();
    json!({
        "softbus": env!("CARGO_PKG_VERSION"),
        "written_ms": wall(),
        "system": {
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
            "kernel": uname.release().to_string_lossy(),
        },
        "findings": findings,
        "configuration": config.map(config_text),
        "interfaces": interfaces,
        "data_folder": { "path": data_dir, "files": files(data_dir) },
        "node": diagnosis,
    })
}

/// The configuration as it stands; it has no place for a secret.
fn config_text(path: &Path) -> Value {
    match std::fs::read(path) {
        Ok(bytes) if bytes.len() <= CONFIG_BYTES => {
            json!({ "path": path, "text": String::from_utf8_lossy(&bytes) })
        }
        Ok(bytes) => json!({ "path": path, "bytes": bytes.len() }),
        Err(e) => json!({ "path": path, "error": e.to_string() }),
    }
}

fn files(dir: &Path) -> Vec<Value> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if found.len() >= FILES {
                return found;
            }
            let Ok(meta) = entry.path().symlink_metadata() else { continue };
            if meta.is_dir() {
                folders.push(entry.path());
            }
            let path = entry.path();
            found.push(json!({
                "name": path.strip_prefix(dir).unwrap_or(&path),
                "bytes": meta.len(),
                "mode": format!("{:o}", meta.mode() & 0o7777),
                "uid": meta.uid(),
            }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `bytes` occur in `text` as they are or in one of the usual spellings of bytes.
    fn leaks(text: &str, secret: &[u8]) -> bool {
        let hex: String = secret.iter().map(|b| format!("{b:02x}")).collect();
        let list = serde_json::to_string(secret).unwrap();
        let spellings = [String::from_utf8_lossy(secret).into_owned(), hex.clone(), hex.to_uppercase(), list];
        let lower = text.replace([' ', '\n'], "");
        spellings.iter().any(|s| lower.contains(s.as_str()))
    }

    #[test]
    fn no_secret_of_the_data_folder_gets_in() {
        let dir = tempfile::tempdir().unwrap();
        let secret = b"0123456789abcdef-this-is-the-key";
        std::fs::create_dir(dir.path().join("secrets")).unwrap();
        std::fs::write(dir.path().join("secrets/device.key"), secret).unwrap();
        std::fs::write(dir.path().join("softbus.redb"), secret).unwrap();
        let out = dir.path().join("bundle.json");
        let findings = [Finding::good("key", "fine")];
        write(&out, dir.path(), None, &findings, None).unwrap();
        let text = std::fs::read_to_string(&out).unwrap();
        assert!(leaks(
            &format!("x{}x", secret.iter().map(|b| format!("{b:02x}")).collect::<String>()),
            secret
        ));
        assert!(!leaks(&text, secret), "{text}");
        assert!(text.contains("secrets/device.key"), "its name and permissions help, its content does not");
        assert_eq!(std::fs::metadata(&out).unwrap().mode() & 0o777, 0o600);
    }
}
