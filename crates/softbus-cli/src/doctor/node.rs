//! The node and its peers.

use std::path::Path;

use softbus_core::wire::task_control::TaskState;
use softbus_trust::Role;

use super::Finding;
use crate::clock::wall;
use crate::control::{DiagnosisView, PresenceView};
use crate::failure::{Failure, Kind};
use crate::output::{clean, duration, in_future};

/// A clock this far off makes memberships and profiles end at the wrong time.
const CLOCK_BAD_MS: u64 = 5 * 60_000;
/// This far off is worth a word.
const CLOCK_WARN_MS: u64 = 30_000;
/// A membership that ends within this time should be renewed.
const ENDS_SOON_MS: u64 = 7 * 86_400_000;

/// No node answered.
pub(super) fn absent(data_dir: &Path, failure: Failure) -> Finding {
    const CHECK: &str = "node";
    if failure.kind != Kind::NotRunning {
        return Finding::bad(CHECK, failure.message, failure.advice.unwrap_or_default());
    }
    if locked(data_dir) {
        return Finding::bad(
            CHECK,
            "a process has the data folder, but does not answer on its control socket",
            "it is starting, stopping or stuck: wait a moment, else find it with `pgrep -a softbus` and end it",
        );
    }
    Finding::warn(CHECK, "not running", "start it: softbus up")
}

/// Whether somebody holds the lock of the data folder.
pub(super) fn locked(data_dir: &Path) -> bool {
    let Ok(lock) = std::fs::File::open(data_dir.join("lock")) else { return false };
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            let _ = rustix::fs::flock(&lock, rustix::fs::FlockOperation::Unlock);
            false
        }
        Err(e) => e == rustix::io::Errno::WOULDBLOCK,
    }
}

pub(super) fn check(d: &DiagnosisView) -> Vec<Finding> {
    let mut findings = vec![version(d)];
    findings.extend(circles(d));
    findings.push(peers(d));
    findings.extend(protocol(d));
    findings.extend(clocks(d));
    findings.extend(tasks(d));
    findings
}

fn version(d: &DiagnosisView) -> Finding {
    let mine = env!("CARGO_PKG_VERSION");
    if d.status.version == mine {
        Finding::good("node", format!("running as process {}, softbus {mine}", d.status.pid))
    } else {
        Finding::warn(
            "node",
            format!("running as softbus {}, and this command is {mine}", clean(&d.status.version)),
            "restart the node: softbus down, softbus up",
        )
    }
}

fn circles(d: &DiagnosisView) -> Vec<Finding> {
    const CHECK: &str = "circles";
    if d.circles.circles.is_empty() {
        return vec![Finding::warn(CHECK, "this device is in no circle", "pair it: softbus pair")];
    }
    let now = wall();
    let mut findings = Vec::new();
    for circle in &d.circles.circles {
        let name = clean(&circle.name);
        if circle.orphaned {
            findings.push(Finding::bad(
                CHECK,
                format!("{name} has no owner left"),
                "take it back with its recovery words: softbus circle recover",
            ));
        }
        if circle.words_wait {
            findings.push(Finding::warn(
                CHECK,
                format!("nobody has seen the recovery words of {name}"),
                "write them down: softbus circle words",
            ));
        }
        let owners = circle.members.iter().filter(|m| m.role == Role::Owner).count();
        if owners == 1 && circle.members.len() > 2 {
            findings.push(Finding::warn(
                CHECK,
                format!("{name} has a single owner"),
                "a second one helps when the first is lost: softbus circle set-role DEVICE owner",
            ));
        }
        for member in &circle.members {
            let Some(end) = member.expires_ms else { continue };
            let who = if member.here { "this device".into() } else { clean(&member.name) };
            if end <= now.0 {
                findings.push(Finding::bad(
                    CHECK,
                    format!("the membership of {who} in {name} is over"),
                    "an owner renews it: softbus circle renew DEVICE",
                ));
            } else if end - now.0 < ENDS_SOON_MS && member.role != Role::Guest {
                findings.push(Finding::warn(
                    CHECK,
                    format!(
                        "the membership of {who} in {name} ends {}",
                        in_future(now, softbus_core::WallMs(end))
                    ),
                    "an owner renews it: softbus circle renew DEVICE",
                ));
            }
        }
    }
    if findings.is_empty() {
        let names: Vec<String> = d.circles.circles.iter().map(|c| clean(&c.name)).collect();
        findings.push(Finding::good(CHECK, names.join(", ")));
    }
    findings
}

fn peers(d: &DiagnosisView) -> Finding {
    const CHECK: &str = "devices";
    let labels = crate::commands::devices::labels(&d.devices);
    let others: Vec<_> = d.devices.devices.iter().filter(|p| p.presence != PresenceView::Here).collect();
    let away: Vec<String> = others
        .iter()
        .filter(|p| p.presence == PresenceView::Offline)
        .map(|p| {
            let name = clean(&labels.of(&p.id));
            match p.link.as_ref().and_then(|l| l.last_down.as_deref()) {
                Some(why) => format!("{name} ({})", clean(why)),
                None => name,
            }
        })
        .collect();
    let here = others.len() - away.len();
    if others.is_empty() {
        Finding::good(CHECK, "no other device is in a common circle yet")
    } else if away.is_empty() {
        Finding::good(CHECK, format!("reachable: all of {here}"))
    } else {
        Finding::warn(
            CHECK,
            format!("{here} reachable, not so: {}", away.join(", ")),
            "is it on, does softbus run there, and is it on the same network? Elsewhere: its address under `peers`",
        )
    }
}

/// Devices that speak other versions of the protocol.
fn protocol(d: &DiagnosisView) -> Vec<Finding> {
    let (low, high) = d.versions;
    d.devices
        .nearby
        .iter()
        .filter_map(|near| {
            let name = near.name.as_deref().map_or_else(|| "a device nearby".into(), clean);
            let (their_low, their_high) = near.versions;
            let what =
                format!("{name} speaks protocol {their_low} to {their_high}, this node {low} to {high}");
            if their_high < low {
                Some(Finding::warn("protocol", what, format!("update softbus on {name}")))
            } else if their_low > high {
                Some(Finding::warn("protocol", what, "update softbus here"))
            } else {
                None
            }
        })
        .collect()
}

fn clocks(d: &DiagnosisView) -> Option<Finding> {
    const CHECK: &str = "peers' clocks";
    let worst = d.clock_offsets.iter().max_by_key(|o| o.offset_ms.unsigned_abs())?;
    let off = worst.offset_ms.unsigned_abs();
    let name = clean(&crate::commands::devices::labels(&d.devices).of(&worst.device));
    let side = if worst.offset_ms > 0 { "ahead of" } else { "behind" };
    let found =
        format!("{name}'s clock is {} {side} this one", duration(std::time::Duration::from_millis(off)));
    // Of two clocks that differ nobody knows which is wrong; of many, the odd one is.
    let odd = d.clock_offsets.iter().filter(|o| o.offset_ms.unsigned_abs() > CLOCK_WARN_MS).count();
    let advice = if odd > 1 && odd * 2 > d.clock_offsets.len() {
        "most others differ: set this device's clock (timedatectl set-ntp true)"
    } else {
        "set the clock that is wrong (timedatectl set-ntp true): memberships and profiles end by it"
    };
    Some(match off {
        CLOCK_BAD_MS.. => Finding::bad(CHECK, found, advice),
        CLOCK_WARN_MS.. => Finding::warn(CHECK, found, advice),
        _ => Finding::good(CHECK, "agree with this one"),
    })
}

fn tasks(d: &DiagnosisView) -> Vec<Finding> {
    const CHECK: &str = "tasks";
    d.tasks
        .iter()
        .filter_map(|task| {
            let id = &task.id.to_string()[..8];
            let why = task.error.as_deref().map(|e| format!(": {}", clean(e))).unwrap_or_default();
            match task.state {
                TaskState::Quarantined => Some(Finding::warn(
                    CHECK,
                    format!("{id} crashed again and again{why}"),
                    format!("softbus release {id} lets it try again, softbus cancel {id} ends it"),
                )),
                TaskState::InDoubt => Some(Finding::warn(
                    CHECK,
                    format!("{id}: who runs it cannot be told until a device returns"),
                    "switch the devices on that kept it",
                )),
                TaskState::Lost => Some(Finding::warn(
                    CHECK,
                    format!("{id}: the device that runs it is out of reach"),
                    format!(
                        "it goes on when that returns; if it is lost for good: softbus adopt {id} --force"
                    ),
                )),
                _ => None,
            }
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::doctor::Level;

    /// A node as it could be, with these parts of its diagnosis.
    pub(crate) fn view(parts: serde_json::Value) -> DiagnosisView {
        let id = softbus_core::DeviceId([7; 32]);
        let mut all = serde_json::json!({
            "status": {
                "id": id, "name": "here", "kind": "laptop", "version": env!("CARGO_PKG_VERSION"), "pid": 1,
                "started_ms": 0, "data_dir": "/d", "addresses": [], "circles": [], "devices_online": 0,
                "tasks_running": 0, "services": [], "task_types": [],
            },
            "wall_ms": 0, "port": 1, "versions": [1, 1], "loopback_only": false, "discovery": true,
            "devices": { "devices": [], "nearby": [] },
            "circles": { "circles": [], "rules": [] },
            "tasks": [], "clock_offsets": [],
        });
        for (name, part) in parts.as_object().unwrap() {
            all[name] = part.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn clocks_that_differ_are_told_and_whose_is_odd() {
        let of = |offsets: &[i64]| {
            let offsets: Vec<_> = (1u8..)
                .zip(offsets)
                .map(|(n, ms)| serde_json::json!({ "device": softbus_core::DeviceId([n; 32]), "offset_ms": ms }))
                .collect();
            clocks(&view(serde_json::json!({ "clock_offsets": offsets })))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[10, -20]).unwrap().level, Level::Good);
        let warned = of(&[0, -(CLOCK_WARN_MS as i64) - 1]).unwrap();
        assert_eq!(warned.level, Level::Warn);
        assert!(warned.found.contains("behind"), "{warned:?}");
        let bad = CLOCK_BAD_MS as i64 + 1;
        let one = of(&[bad, 0, 0]).unwrap();
        assert_eq!(one.level, Level::Bad);
        assert!(one.found.contains("ahead of") && one.advice.unwrap().contains("that is wrong"));
        let most = of(&[bad, bad, 0]).unwrap();
        assert!(most.advice.unwrap().contains("this device's clock"), "two against one");
    }

    #[test]
    fn tasks_in_trouble_are_told_with_what_to_do() {
        let id = softbus_core::DeviceId([7; 32]);
        let of = |state: &str| {
            let task = serde_json::json!({
                "id": softbus_core::TaskId([9; 16]), "task_type": "primes/1", "name": "n", "state": state,
                "progress_permille": 0, "progress_text": "", "runner": null, "runner_name": "", "epoch": 1,
                "branch": 0, "policy": softbus_core::wire::task_control::PolicyKind::Owner, "holders": [],
                "submitter": id, "submitted_ms": 0, "checkpoint": 0, "checkpoint_age_ms": null,
                "error": "it broke", "moves": [],
            });
            tasks(&view(serde_json::json!({ "tasks": [task] })))
        };
        assert_eq!(of("running"), []);
        for (state, advice) in
            [("quarantined", "softbus release"), ("in-doubt", "switch"), ("lost", "--force")]
        {
            let found = of(state);
            assert_eq!(found.len(), 1, "{state}");
            assert_eq!(found[0].level, Level::Warn, "{state}");
            assert!(found[0].advice.as_ref().unwrap().contains(advice), "{found:?}");
        }
    }

    #[test]
    fn a_held_lock_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!locked(dir.path()));
        let lock = std::fs::File::create(dir.path().join("lock")).unwrap();
        assert!(!locked(dir.path()));
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(locked(dir.path()));
        let failure = Failure::new(Kind::NotRunning, "x");
        assert!(absent(dir.path(), failure).found.contains("does not answer"));
    }
}
