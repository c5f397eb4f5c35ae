//! The systemd unit that `softbus config --systemd` prints.

use std::fmt::Write as _;
use std::path::Path;

/// A hardened user unit that runs `program up`. User and not system: the key belongs to a person.
pub fn systemd_unit(program: &Path, data_dir: &Path, config: Option<&Path>) -> String {
    let mut command = format!("{} up --data-dir {}", quoted(program), quoted(data_dir));
    if let Some(config) = config {
        let _ = write!(command, " --config {}", quoted(config));
    }
    format!(
        "# softbus as a service of your login. To install:
#   mkdir -p ~/.config/systemd/user
#   softbus config --systemd > ~/.config/systemd/user/softbus.service
#   systemctl --user daemon-reload
#   systemctl --user enable --now softbus
# It runs while you are logged in; `loginctl enable-linger` lets it run always.

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
# Tasks move to other devices first.
KillSignal=SIGTERM
TimeoutStopSec=40

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
        data = quoted(data_dir)
    )
}

/// A path as one word of a unit file: quoted, with `%` and what quotes need escaped (systemd.syntax(7)).
fn quoted(path: &Path) -> String {
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
            '$' => word.push_str("$$"),
            '\n' => word.push_str("\\n"),
            c => word.push(c),
        }
    }
    word.push('"');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_stay_one_word() {
        let unit = systemd_unit(Path::new("/usr/bin/softbus"), Path::new("/home/a b/50%/\"x\""), None);
        let line = unit.lines().find(|l| l.starts_with("ExecStart=")).unwrap();
        assert_eq!(line, r#"ExecStart=/usr/bin/softbus up --data-dir "/home/a b/50%%/\"x\"""#);
        assert!(unit.contains("ReadWritePaths=\"/home/a b/50%%/"));
    }
}
