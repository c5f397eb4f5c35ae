//! Data folder, disk space, clock: what can be told without a node.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Finding;
use crate::clock::wall;
use crate::output::{ago, bytes, duration};

/// Less free space than this is trouble: checkpoints cannot be stored.
const SPACE_BAD: u64 = 64 << 20;
/// Less than this is worth a word.
const SPACE_WARN: u64 = 1 << 30;
/// No softbus existed before this moment (1 January 2026).
const EARLIEST_MS: u64 = 1_767_225_600_000;

pub(super) fn check(data_dir: &Path) -> Vec<Finding> {
    vec![folder(data_dir), space(data_dir), clock()]
}

fn folder(dir: &Path) -> Finding {
    const CHECK: &str = "data folder";
    let name = dir.display();
    let meta = match std::fs::metadata(dir) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Finding::good(CHECK, format!("{name} is not there yet; the first start makes it"));
        }
        Err(e) => {
            return Finding::bad(
                CHECK,
                format!("{name}: {e}"),
                "check the permissions of the folders above it",
            );
        }
    };
    let uid = rustix::process::getuid().as_raw();
    if !meta.is_dir() {
        Finding::bad(CHECK, format!("{name} is not a folder"), "choose another with --data-dir DIR")
    } else if meta.uid() != uid {
        Finding::bad(
            CHECK,
            format!("{name} belongs to user {}, and this is user {uid}", meta.uid()),
            format!("run softbus as its owner, or: sudo chown -R {uid} {name}"),
        )
    } else if meta.mode() & 0o022 != 0 {
        Finding::bad(
            CHECK,
            format!("others can change {name} (mode {:o})", meta.mode() & 0o777),
            format!("chmod 700 {name}"),
        )
    } else if meta.mode() & 0o055 != 0 {
        Finding::warn(
            CHECK,
            format!("others can look into {name} (mode {:o})", meta.mode() & 0o777),
            format!("chmod 700 {name}"),
        )
    } else if rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_err() {
        Finding::bad(CHECK, format!("{name} cannot be written"), "is the disk mounted read-only?")
    } else {
        Finding::good(CHECK, format!("{name} is there and for its owner only"))
    }
}

fn space(dir: &Path) -> Finding {
    const CHECK: &str = "disk space";
    let Some(there) = dir.ancestors().find(|d| d.exists()) else {
        return Finding::warn(CHECK, "cannot be told", "does the data folder's disk exist?");
    };
    match rustix::fs::statvfs(there) {
        Err(e) => Finding::warn(CHECK, format!("cannot be told: {e}"), "is the data folder's disk mounted?"),
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{} free", bytes(free));
            let advice = "free some: when the disk is full, checkpoints of tasks are not stored";
            match free {
                0..SPACE_BAD => Finding::bad(CHECK, found, advice),
                SPACE_BAD..SPACE_WARN => Finding::warn(CHECK, found, advice),
                _ => Finding::good(CHECK, found),
            }
        }
    }
}

/// The clock may not be before the program was put on this machine.
fn clock() -> Finding {
    const CHECK: &str = "clock";
    const SLACK_MS: u64 = 60_000;
    let installed = std::env::current_exe().ok().and_then(|exe| std::fs::metadata(exe).ok()).map(|meta| {
        let seconds = u64::try_from(meta.mtime()).unwrap_or(0);
        seconds.saturating_mul(1000)
    });
    let now = wall();
    let advice = "set the clock (timedatectl set-ntp true): memberships and profiles end by it";
    match installed {
        _ if now.0 < EARLIEST_MS => Finding::bad(CHECK, "the clock stands before softbus was made", advice),
        Some(installed) if installed > now.0 + SLACK_MS => {
            let off = duration(std::time::Duration::from_millis(installed - now.0));
            Finding::bad(CHECK, format!("the clock stands {off} before this program was installed"), advice)
        }
        Some(installed) => Finding::good(
            CHECK,
            format!("plausible (this program was installed {})", ago(now, softbus_core::WallMs(installed))),
        ),
        None => Finding::good(CHECK, "plausible"),
    }
}
