//! The systemd unit that `softbus config --systemd` prints.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// What systemd waits longer than the node itself takes to end, so that a node that ends well is never killed.
const STOP_SPARE: Duration = Duration::from_secs(10);

/// A hardened user unit that runs `program up`. User and not system: the key belongs to a person. `ends_within` is
/// the longest that the node takes to end when told to. The paths hold no control characters.
pub fn systemd_unit(program: &Path, data_dir: &Path, config: Option<&Path>, ends_within: Duration) -> String {
    let mut command = format!("{} up --data-dir {}", word(program, true), word(data_dir, true));
    if let Some(config) = config {
        let _ = write!(command, " --config {}", word(config, true));
    }
    format!(
        "# softbus as a service of your login. To install:
#   mkdir -p ~/.config/systemd/user
#   mkdir -p -m 700 {shell}
#   softbus config --systemd > ~/.config/systemd/user/softbus.service
#   systemctl --user daemon-reload
#   systemctl --user enable --now softbus
# It runs while you are logged in; `loginctl enable-linger` lets it run always. The folder must be there before the
# start: the service itself can only write in it. Print this anew when shutdown_move_s changes.

[Unit]
Description=softbus: turns the devices around a person into one computer
Documentation=man:systemd.service(5)
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
Restart=on-failure
RestartSec=2
# 2 usage, 7 another node has the data folder: starting again does not help.
RestartPreventExitStatus=2 7
# Tasks move to other devices first (shutdown_move_s of the configuration), then it has some seconds to close.
KillSignal=SIGTERM
TimeoutStopSec={stop}

# What it does not need, it does not get. (A user unit may only use some of systemd's walls; those that need
# more rights are ignored there and count in a system unit.)
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
CapabilityBoundingSet=
PrivateTmp=yes
ProtectSystem=strict
ReadWritePaths={data}
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectClock=yes

[Install]
WantedBy=default.target
",
        shell = shell_word(data_dir),
        stop = (ends_within + STOP_SPARE).as_secs(),
        data = word(data_dir, false)
    )
}

/// Whose node it is, by number: a hook that runs as root must not ask the file system for that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A hook for systemd-sleep(8): it tells the node of `data_dir` when the machine goes to sleep and when it woke, so
/// that the other devices show it as asleep and not as lost. systemd runs it as root; the program runs with its
/// owner's rights and no others. The paths hold no control characters.
pub fn sleep_hook(program: &Path, data_dir: &Path, owner: Owner) -> String {
    format!(
        "#!/bin/sh
# Tells softbus when this machine sleeps. To install (systemd runs it as root):
#   softbus config --sleep-hook | sudo tee /usr/lib/systemd/system-sleep/softbus >/dev/null
#   sudo chmod 755 /usr/lib/systemd/system-sleep/softbus
# It never holds the machine up: a node that does not run, or does not answer soon, is passed over.
program={program}
data={data}
# The program belongs to the node's user, who may put another in its place: it gets that user's rights and no more.
as_owner() {{
    timeout 3 setpriv --reuid={uid} --regid={gid} --init-groups --inh-caps=-all --no-new-privs \\
        \"$program\" \"$1\" --data-dir \"$data\" >/dev/null 2>&1
}}
case \"$1\" in
    pre) as_owner sleep ;;
    post) as_owner wake ;;
esac
exit 0
",
        program = shell_word(program),
        data = shell_word(data_dir),
        uid = owner.uid,
        gid = owner.gid
    )
}

/// A path as a person gives it to a shell.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+:@".contains(c));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A path as one word of a unit file: quoted, with `%` and what quotes need escaped (systemd.syntax(7)). Of `$` only
/// a `command` line needs two.
fn word(path: &Path, command: bool) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+:@".contains(c));
    if plain {
        return text;
    }
    let mut word = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            '%' => word.push_str("%%"),
            '$' if command => word.push_str("$$"),
            c => word.push(c),
        }
    }
    word.push('"');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    fn line<'a>(unit: &'a str, begin: &str) -> &'a str {
        unit.lines().find(|l| l.starts_with(begin)).unwrap()
    }

    #[test]
    fn odd_paths_stay_one_word() {
        let unit = systemd_unit(Path::new("/usr/bin/softbus"), Path::new("/home/a b/50%/$\"x\""), None, SOON);
        assert_eq!(
            line(&unit, "ExecStart="),
            r#"ExecStart=/usr/bin/softbus up --data-dir "/home/a b/50%%/$$\"x\"""#
        );
        assert_eq!(line(&unit, "ReadWritePaths="), r#"ReadWritePaths="/home/a b/50%%/$\"x\"""#);
        let unit = systemd_unit(Path::new("/usr/bin/softbus"), Path::new("/home/o'b"), None, SOON);
        assert_eq!(line(&unit, "#   mkdir -p -m"), r"#   mkdir -p -m 700 '/home/o'\''b'");
    }

    #[test]
    fn the_sleep_hook_gives_away_what_root_has() {
        let hook =
            sleep_hook(Path::new("/o'b/softbus"), Path::new("/home/a b"), Owner { uid: 1000, gid: 100 });
        let command: String = hook.lines().skip_while(|l| !l.contains("setpriv")).take(2).collect();
        for part in ["--reuid=1000 ", "--regid=100 ", "--init-groups ", "--inh-caps=-all ", "--no-new-privs "]
        {
            assert!(command.contains(part), "{part}: {hook}");
        }
        assert!(hook.contains(r"program='/o'\''b/softbus'") && hook.contains("data='/home/a b'"), "{hook}");
        assert!(!hook.contains("stat"), "whose it is stands in it: {hook}");
    }

    #[test]
    fn systemd_waits_longer_than_the_node_takes_to_end() {
        let data = Path::new("/home/a/.local/state/softbus");
        let unit = systemd_unit(Path::new("/usr/bin/softbus"), data, None, Duration::from_secs(610));
        assert_eq!(line(&unit, "TimeoutStopSec="), "TimeoutStopSec=620");
        // Under ProtectSystem=strict nothing else could make the folder.
        assert_eq!(line(&unit, "#   mkdir -p -m"), "#   mkdir -p -m 700 /home/a/.local/state/softbus");
    }
}
