//! `softbus config`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Context;
use crate::args::ConfigArgs;
use crate::config::{self, Config, Owner};
use crate::failure::{Failure, Kind};
use crate::output::Out;

/// Prints the default, or checks a file.
pub(super) fn config(out: Out, args: ConfigArgs) -> Result<(), Failure> {
    let Some(path) = args.check else {
        return if out.json {
            out.json(&serde_json::json!({ "default": config::default_text() }))
        } else {
            out.raw(config::default_text().as_bytes())
        };
    };
    Config::load(&path)?;
    if out.json {
        out.json(&serde_json::json!({ "ok": true, "file": path }))
    } else {
        out.line(format!("{} is fine", path.display()))
    }
}

/// Prints a systemd unit.
pub(super) fn systemd(cx: Context, args: ConfigArgs) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|e| Failure::io("where this program is", &e))?;
    let config = match args.config {
        Some(path) => Some(std::path::absolute(&path).map_err(|e| Failure::io(path.display(), &e))?),
        None => None,
    };
    let settings = config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
    for path in [Some(&program), Some(&cx.data_dir), config.as_ref()].into_iter().flatten() {
        if path.to_string_lossy().contains(char::is_control) {
            return Err(Failure::usage(format!(
                "{path:?} cannot stand in a unit: it holds control characters"
            )));
        }
    }
    let ends_within = crate::node::ends_within(&settings, crate::node::Ending::Graceful);
    let unit = config::systemd_unit(&program, &cx.data_dir, config.as_deref(), ends_within);
    if cx.out.json {
        return cx.out.json(&serde_json::json!({ "unit": unit }));
    }
    cx.out.raw(unit.as_bytes())
}

/// Prints the hook that announces sleep.
pub(super) fn sleep_hook(cx: Context) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|e| Failure::io("where this program is", &e))?;
    printable(&program)?;
    printable(&cx.data_dir)?;
    let hook = config::sleep_hook(&program, &cx.data_dir, owner(&cx.data_dir)?);
    if cx.out.json {
        return cx.out.json(&serde_json::json!({ "hook": hook }));
    }
    cx.out.raw(hook.as_bytes())
}

/// Whose node it is: the user who asks, if the data folder is theirs. (It may not be there yet; root's must be.)
fn owner(data_dir: &Path) -> Result<Owner, Failure> {
    let us = Owner { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() };
    let theirs = match std::fs::metadata(data_dir) {
        Ok(meta) => Some(meta.uid()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(Failure::io(format!("data folder {}", data_dir.display()), &e)),
    };
    match theirs {
        Some(uid) if uid == us.uid => Ok(us),
        None if us.uid != 0 => Ok(us),
        Some(uid) => Err(Failure::new(
            Kind::Refused,
            format!("this node belongs to user {uid}, and this is user {}", us.uid),
        )
        .advise("print the hook as the user of the node: only its installation needs root")),
        None => Err(Failure::new(
            Kind::Refused,
            format!("root would run the node of {}, which is not there", data_dir.display()),
        )
        .advise(
            "print the hook as the user of the node; if the node is really root's, start it once before",
        )),
    }
}

fn printable(path: &Path) -> Result<(), Failure> {
    if path.to_string_lossy().contains(char::is_control) {
        return Err(Failure::usage(format!(
            "{path:?} cannot stand in this file: it holds control characters"
        )));
    }
    Ok(())
}
