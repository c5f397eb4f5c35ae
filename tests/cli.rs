//! The program from outside, without a node: help, errors, exit codes, configuration.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "helpers of tests; the real world, from outside"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn softbus(data_dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_softbus"))
        .args(args)
        .env("SOFTBUS_DATA_DIR", data_dir)
        .env_remove("SOFTBUS_LOG")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const COMMANDS: [&str; 24] = [
    "up",
    "down",
    "status",
    "devices",
    "circle",
    "pair",
    "unpair",
    "key",
    "run",
    "tasks",
    "move",
    "pause",
    "resume",
    "checkpoint",
    "adopt",
    "release",
    "cancel",
    "result",
    "place",
    "doctor",
    "config",
    "completions",
    "demo",
    "sim",
];
/// For hooks and demonstrations: not in the help of the program.
const HIDDEN: [&str; 3] = ["sleep", "wake", "inject-load"];

#[test]
fn help_of_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let top = softbus(dir.path(), &["--help"]);
    assert_eq!(top.status.code(), Some(0));
    for command in COMMANDS {
        assert!(stdout(&top).contains(&format!("  {command} ")), "{command} is not in --help");
        let help = softbus(dir.path(), &[command, "--help"]);
        assert_eq!(help.status.code(), Some(0), "{command}");
        assert!(stdout(&help).contains("Usage: softbus"), "{command}");
        assert!(!stdout(&help).contains('\x1b'), "no colours without a terminal");
    }
    // A new command has to be in the list, and so in every test that goes through it.
    let listed = stdout(&top);
    let listed = listed.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?;
        name.split_whitespace().next().filter(|name| *name != "help")
    });
    assert_eq!(listed.collect::<Vec<_>>(), COMMANDS);
    for command in HIDDEN {
        assert!(!stdout(&top).contains(&format!("  {command} ")), "{command} is not for everybody");
        assert_eq!(softbus(dir.path(), &[command, "--help"]).status.code(), Some(0), "{command}");
    }
    let nothing = softbus(dir.path(), &[]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(stderr(&nothing).contains("First steps:"), "a newcomer who types `softbus` sees where to begin");
}

#[test]
fn commands_without_a_node_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 20] = [
        &["devices"],
        &["devices", "--watch"],
        &["status"],
        &["down"],
        &["circle"],
        &["circle", "found", "home"],
        &["circle", "leave"],
        &["pair"],
        &["pair", "tv", "--pin", "123456"],
        &["pair", "tv"],
        &["unpair", "tv"],
        &["tasks"],
        &["run", "primes/1"],
        &["cancel", "abc"],
        &["pause", "abc"],
        &["resume", "abc"],
        &["place", "--explain"],
        &["inject-load", "--load", "900"],
        &["sleep"],
        &["wake"],
    ];
    for args in commands {
        let output = softbus(dir.path(), args);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", stderr(&output));
        let text = stderr(&output);
        assert!(text.contains("no softbus node is running for"), "{args:?}: {text}");
        assert!(text.contains("softbus up"), "{args:?}: what to do next is missing: {text}");
        assert_eq!(stdout(&output), "", "{args:?}");
    }
    let json = softbus(dir.path(), &["devices", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&stderr(&json)).unwrap();
    assert_eq!(error["exit_code"], 3);
    assert_eq!(error["error"]["kind"], "not-running");
    assert!(error["error"]["advice"].as_str().unwrap().contains("softbus up"));
}

#[test]
fn every_command_speaks_json() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere/x");
    let nowhere = nowhere.to_str().unwrap();
    let commands: [&[&str]; 63] = [
        &["up", "--config", nowhere],
        &["down"],
        &["status"],
        &["devices"],
        &["devices", "--watch"],
        &["circle"],
        &["circle", "found", "home"],
        &["circle", "words"],
        &["circle", "leave"],
        &["circle", "set-role", "tv", "owner"],
        &["circle", "show"],
        &["circle", "renew", "tv"],
        &["circle", "replace", "tv", "radio"],
        &["circle", "recover", "-"],
        &["circle", "rules"],
        &["circle", "rules", "show"],
        &["circle", "rules", "allow", "camera/1", "--role", "guest"],
        &["circle", "rules", "deny", "camera/1", "--device", "tv"],
        &["circle", "rules", "reset", "camera/1"],
        &["pair"],
        &["pair", "--qr"],
        &["pair", "--cancel"],
        &["pair", "tv"],
        &["pair", "tv", "--pin", "123456"],
        &["pair", "-"],
        &["unpair", "tv"],
        &["key"],
        &["key", "show"],
        &["key", "backup", nowhere],
        &["key", "restore", nowhere],
        &["run", "primes/1"],
        &["run", "picture/1", "--input", nowhere],
        &["tasks"],
        &["tasks", "--watch"],
        &["tasks", "abc", "--preview", "so-far.png"],
        &["move", "abc"],
        &["adopt", "abc"],
        &["adopt", "abc", "--force"],
        &["release", "abc"],
        &["cancel", "abc"],
        &["pause", "abc"],
        &["resume", "abc"],
        &["checkpoint", "save", "abc", "saved.softbus"],
        &["checkpoint", "restore", nowhere],
        &["result", "abc", "--out", "result"],
        &["place", "--explain"],
        &["doctor"],
        &["config"],
        &["config", "--check", nowhere],
        &["config", "--systemd"],
        &["config", "--sleep-hook"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["completions", "cobol"],
        &["demo", "--input", nowhere],
        &["sim"],
        &["sim", "run", nowhere],
        &["sim", "check", nowhere],
        &["sleep"],
        &["wake"],
        &["inject-load", "--load", "900"],
        &["fly"],
        &["devices", "--fast"],
    ];
    for name in COMMANDS.iter().chain(&HIDDEN) {
        assert!(commands.iter().any(|args| args[0] == *name), "{name} is not asked");
    }
    for args in commands {
        let output = softbus(dir.path(), &[args, &["--json"]].concat());
        let (out, err) = (stdout(&output), stderr(&output));
        let text = if output.status.success() || !out.is_empty() { &out } else { &err };
        let value: serde_json::Value =
            serde_json::from_str(text).unwrap_or_else(|e| panic!("{args:?}: {e}: {out:?} {err:?}"));
        // Only what finds something out may fail and still have found it.
        let failed = !output.status.success() && args[0] != "doctor";
        assert_eq!(value["error"]["message"].is_string(), failed, "{args:?}: {value}");
        assert!(failed || err.is_empty() || args[0] == "doctor", "{args:?}: nothing beside it: {err}");
    }
    let script = softbus(dir.path(), &["completions", "fish", "--json"]);
    let script: serde_json::Value = serde_json::from_str(&stdout(&script)).unwrap();
    assert!(script["script"].as_str().unwrap().contains("complete -c softbus"), "{script}");
}

#[test]
fn a_socket_left_behind_is_no_node() {
    let dir = tempfile::tempdir().unwrap();
    // Bound and dropped without unlinking: what a killed node leaves.
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("control.sock")).unwrap());
    assert_eq!(softbus(dir.path(), &["status"]).status.code(), Some(3));
}

#[test]
fn wrong_command_lines_exit_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let wrong: [&[&str]; 17] = [
        &["fly"],
        &["devices", "--fast"],
        &["--log", "loud", "devices"],
        &["pair", "tv", "--pin", "12"],
        &["pair", "--pin", "123456"],
        &["pair", "--qr", "tv"],
        &["pair", "--role", "king"],
        &["pair", "--expires", "soon"],
        &["run"],
        &["run", "primes/1", "--policy", "quorum", "--holders", "1"],
        &["run", "primes/1", "--param", "upto"],
        &["run", "primes/1", "--out", "."],
        &["place", "--ops", "many"],
        &["up", "--bind", "a/b"],
        &["up", "--port", "70000"],
        &["up", "--kind", "toaster"],
        &["circle", "rules", "allow", "camera/1"],
    ];
    for args in wrong {
        let output = softbus(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(!stderr(&output).is_empty(), "{args:?}");
    }
    let json = softbus(dir.path(), &["fly", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&stderr(&json)).unwrap();
    assert_eq!(error["error"]["kind"], "usage");
    let json = softbus(dir.path(), &["circle", "set-role", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&stderr(&json)).unwrap();
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("<DEVICE>") && message.contains("<ROLE>"), "which ones are missing: {message}");
}

#[test]
fn missing_files_exit_with_4() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere/x");
    let nowhere = nowhere.to_str().unwrap();
    for args in [
        &["run", "picture/1", "--input", nowhere][..],
        &["run", "primes/1", "--out", nowhere],
        &["config", "--check", nowhere],
        &["up", "--config", nowhere],
        &["sim", "run", nowhere],
        &["sim", "check", nowhere],
    ] {
        let output = softbus(dir.path(), args);
        assert_eq!(output.status.code(), Some(4), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("nowhere"), "{args:?}: it does not say which: {}", stderr(&output));
    }
}

#[test]
fn the_default_configuration_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let printed = softbus(dir.path(), &["config"]);
    assert_eq!(printed.status.code(), Some(0));
    let path = dir.path().join("softbus.toml");
    std::fs::write(&path, &printed.stdout).unwrap();
    let checked = softbus(dir.path(), &["config", "--check", path.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));

    std::fs::write(&path, "[network]\nprot = 1\n").unwrap();
    let wrong = softbus(dir.path(), &["config", "--check", path.to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        stderr(&wrong).contains(":2: [network] has no key `prot`: did you mean `port`?"),
        "{}",
        stderr(&wrong)
    );
    let up = softbus(dir.path(), &["up", "--config", path.to_str().unwrap()]);
    assert_eq!(up.status.code(), Some(2), "a node does not start on half a configuration: {}", stderr(&up));
}

#[test]
fn the_unit_names_program_and_folder() {
    let dir = tempfile::tempdir().unwrap();
    let unit = stdout(&softbus(dir.path(), &["config", "--systemd"]));
    let start = unit.lines().find(|l| l.starts_with("ExecStart=")).unwrap();
    assert!(
        start.contains(env!("CARGO_BIN_EXE_softbus")) && start.contains(dir.path().to_str().unwrap()),
        "{start}"
    );
    for section in ["[Unit]", "[Service]", "[Install]"] {
        assert!(unit.lines().any(|l| l == section), "{section}");
    }
}

#[test]
fn the_unit_fits_the_configuration_and_systemd_understands_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("softbus.toml");
    std::fs::write(&config, "[tasks]\nshutdown_move_s = 600\n").unwrap();
    let printed = softbus(dir.path(), &["config", "--systemd", "--config", config.to_str().unwrap()]);
    let unit = stdout(&printed);
    let stop = unit.lines().find_map(|l| l.strip_prefix("TimeoutStopSec=")).unwrap();
    assert!(
        stop.parse::<u64>().unwrap() > 600,
        "systemd would kill a node that moves its tasks away: {stop}"
    );
    // Where ProtectSystem=strict leaves only this folder writable, somebody else must make it.
    assert!(unit.contains(&format!("mkdir -p -m 700 {}", dir.path().display())), "{unit}");

    std::fs::write(&config, "[tasks]\nshutdown_move_s = 601\n").unwrap();
    let wrong = softbus(dir.path(), &["config", "--systemd", "--config", config.to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(2), "no unit for a configuration that a node refuses");

    let file = dir.path().join("softbus.service");
    std::fs::write(&file, unit).unwrap();
    let verify = Command::new("systemd-analyze").args(["--user", "--man=no", "verify"]).arg(&file).output();
    if let Ok(verified) = verify {
        let said = stderr(&verified);
        let of_ours: Vec<&str> = said.lines().filter(|l| l.contains("softbus.service")).collect();
        assert!(of_ours.is_empty(), "{of_ours:#?}");
    }
}

#[test]
fn the_sleep_hook_names_program_and_folder_and_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let hook = stdout(&softbus(dir.path(), &["config", "--sleep-hook"]));
    assert!(hook.starts_with("#!/bin/sh\n"), "{hook}");
    assert!(
        hook.contains(env!("CARGO_BIN_EXE_softbus")) && hook.contains(dir.path().to_str().unwrap()),
        "{hook}"
    );
    let file = dir.path().join("hook");
    std::fs::write(&file, &hook).unwrap();
    let checked = Command::new("sh").arg("-n").arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}", stderr(&checked));
    // systemd must not be held up by a node that is not there.
    let ran = Command::new("sh").arg(&file).args(["pre", "suspend"]).output().unwrap();
    assert!(ran.status.success(), "{}", stderr(&ran));
    // Whose rights it gets stands in it: never root's by mistake.
    let uid = rustix::process::getuid().as_raw();
    assert!(hook.contains(&format!("--reuid={uid} ")) && hook.contains("--no-new-privs"), "{hook}");
    if uid == 0 {
        let missing = softbus(&dir.path().join("missing"), &["config", "--sleep-hook"]);
        assert_eq!(missing.status.code(), Some(5), "{}", stderr(&missing));
        let theirs = dir.path().join("theirs");
        std::fs::create_dir(&theirs).unwrap();
        std::os::unix::fs::chown(&theirs, Some(1000), Some(1000)).unwrap();
        let refused = softbus(&theirs, &["config", "--sleep-hook"]);
        assert_eq!(refused.status.code(), Some(5), "{}", stderr(&refused));
    }
}

#[test]
fn completions_for_every_shell() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = softbus(dir.path(), &["completions", shell]);
        assert_eq!(script.status.code(), Some(0));
        let script = stdout(&script);
        let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let words: BTreeSet<&str> = script.split(|c| !is_of_a_name(c)).collect();
        for name in COMMANDS {
            assert!(words.contains(name), "{shell} does not complete `{name}`");
        }
        for name in HIDDEN {
            assert!(!words.contains(name), "{shell} completes `{name}`, which no help shows");
        }
    }
    // What is offered first is what the program takes.
    let bash = stdout(&softbus(dir.path(), &["completions", "bash"]));
    let mut lists = bash.lines().filter_map(|line| line.trim().strip_prefix("opts=\"")?.strip_suffix('"'));
    let offered: Vec<&str> = lists.find(|list| !list.is_empty()).unwrap().split_whitespace().collect();
    for word in ["--version", "-V", "--help", "circles", "task"].iter().chain(&COMMANDS) {
        assert!(offered.contains(word), "{word} is not offered: {offered:?}");
    }
    for word in offered.iter().filter(|word| !word.starts_with('-')) {
        let taken = softbus(dir.path(), &[word, "--help"]);
        assert_eq!(taken.status.code(), Some(0), "{word} is offered: {}", stderr(&taken));
    }
}

#[test]
fn doctor_without_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("softbus.toml");
    std::fs::write(&config, "[network]\nbind = \"loopback\"\n").unwrap();
    let config = config.to_str().unwrap();
    let data = dir.path().join("data");
    let output = softbus(&data, &["doctor", "--json", "--config", config]);
    let found: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let level = |check: &str| {
        let all = found["findings"].as_array().unwrap();
        let finding =
            all.iter().find(|f| f["check"] == check).unwrap_or_else(|| panic!("{check} is not checked"));
        finding["level"].as_str().unwrap().to_string()
    };
    for check in ["configuration", "data folder", "clock", "interfaces", "port", "multicast"] {
        assert_eq!(level(check), "good", "{check}: {found}");
    }
    assert_eq!(level("node"), "warn");
    assert!(!data.exists(), "looking changes nothing");

    // A folder that others can look into, and a key that others can read.
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(data.join("secrets")).unwrap();
    std::fs::write(data.join("secrets/device.key"), b"x").unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(data.join("secrets/device.key"), std::fs::Permissions::from_mode(0o644))
        .unwrap();
    let output = softbus(&data, &["doctor", "--config", config]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("✗ data folder") && text.contains("chmod 700"), "{text}");
    assert!(text.contains("✗ key") && text.contains("chmod 600"), "{text}");
}

/// What the doctor says of one thing: its level, and all it says.
fn diagnosis(data: &Path, check: &str) -> (String, String) {
    let config = data.with_extension("toml");
    std::fs::write(&config, "[network]\nbind = \"loopback\"\n").unwrap();
    let output = softbus(data, &["doctor", "--json", "--config", config.to_str().unwrap()]);
    let found: serde_json::Value =
        serde_json::from_str(&stdout(&output)).unwrap_or_else(|e| panic!("{e}: {}", stderr(&output)));
    let all = found["findings"].as_array().unwrap();
    let finding = all.iter().find(|f| f["check"] == check).unwrap_or_else(|| panic!("{check}: {found}"));
    (finding["level"].as_str().unwrap().to_string(), finding.to_string())
}

#[test]
fn the_doctor_opens_key_and_database() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut up = Command::new(env!("CARGO_BIN_EXE_softbus"))
        .args(["up", "--bind", "loopback", "--no-discovery", "--name", "patient"])
        .env("SOFTBUS_DATA_DIR", &data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    while softbus(&data, &["status"]).status.code() != Some(0) {
        assert!(start.elapsed().as_secs() < 60, "it does not start");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let id = stdout(&softbus(&data, &["key"])).trim().to_string();
    assert!(diagnosis(&data, "key").1.contains(&id[id.len() - 6..]));
    let asked = diagnosis(&data, "database");
    assert!(asked.0 == "good" && asked.1.contains("the node"), "{asked:?}");
    // As the power leaves it: not closed in order. That is no damage.
    up.kill().unwrap();
    up.wait().unwrap();
    let (key, database) = (data.join("secrets/device.key"), data.join("softbus.redb"));
    let (good_key, good_database) = (std::fs::read(&key).unwrap(), std::fs::read(&database).unwrap());
    assert_eq!((diagnosis(&data, "key").0, diagnosis(&data, "database").0), ("good".into(), "good".into()));
    assert_eq!(std::fs::read(&database).unwrap(), good_database, "looking changes nothing");

    let mut bad_key = good_key.clone();
    bad_key[25] ^= 1;
    std::fs::write(&key, &bad_key).unwrap();
    let mut bad_database = good_database.clone();
    bad_database[..200].fill(0xee);
    std::fs::write(&database, &bad_database).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (level, said) = diagnosis(&data, "key");
    assert!(level == "bad" && said.contains("damaged") && said.contains("softbus key restore"), "{said}");
    let (level, said) = diagnosis(&data, "database");
    assert!(level == "bad" && said.contains("damaged") && said.contains("backup"), "{said}");
    let config = data.with_extension("toml");
    let whole = softbus(&data, &["doctor", "--config", config.to_str().unwrap()]);
    assert_eq!(whole.status.code(), Some(1));
    assert!(!stderr(&whole).contains("panicked"), "{}", stderr(&whole));
    let seed: String = good_key[12..44].iter().map(|b| format!("{b:02x}")).collect();
    assert!(!format!("{}{}", stdout(&whole), stderr(&whole)).contains(&seed[..16]));
    assert_eq!((std::fs::read(&key).unwrap(), std::fs::read(&database).unwrap()), (bad_key, bad_database));

    std::fs::remove_file(&key).unwrap();
    let (level, said) = diagnosis(&data, "key");
    assert!(level == "bad" && said.contains("missing"), "{said}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_softbus"))
        .arg("config")
        .env("SOFTBUS_DATA_DIR", dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
}
