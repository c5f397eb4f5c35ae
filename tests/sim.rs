//! `softbus sim` from outside: equal seeds give equal runs, whoever runs them; what is wrong is told; files are whole.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "helpers of tests; the real world, from outside"
)]

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Two devices that see each other, and that is all.
const TINY: &str = r#"
name = "tiny"
duration = "5s"

[[segment]]
name = "home"
latency = "1ms..3ms"

[[circle]]
name = "home"

[[device]]
name = "lamp"
count = 2
circles = { home = "owner" }
"#;

fn simulation(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../simulations").join(name)
}

/// `softbus sim` in this folder, and without any that could be a node's.
fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softbus"));
    for variable in ["HOME", "XDG_STATE_HOME", "SOFTBUS_DATA_DIR", "SOFTBUS_LOG", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command.arg("sim").args(args).current_dir(dir).stdin(Stdio::null());
    command
}

fn sim(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    serde_json::from_str(&stdout(output)).unwrap()
}

fn tiny(dir: &Path) -> String {
    std::fs::write(dir.join("tiny.toml"), TINY).unwrap();
    "tiny.toml".into()
}

fn files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// A run without what differs from one to the next: how long it really took, and in how much memory.
fn comparable(mut record: Value) -> Value {
    let summary = record["summary"].as_object_mut().unwrap();
    assert!(summary.remove("real_s").is_some() && summary.remove("memory_bytes").is_some());
    record
}

#[test]
fn equal_seeds_give_equal_runs_in_two_processes() {
    let dir = tempfile::tempdir().unwrap();
    let hello = simulation("hello.toml");
    let run = |seed: &str, trace: &str| {
        let args = ["run", hello.to_str().unwrap(), "--seed", seed, "--trace", trace, "--json"];
        comparable(json(&sim(dir.path(), &args)))
    };
    let read = |trace: &str| std::fs::read(dir.path().join(trace)).unwrap();
    let (one, two) = (run("1", "one"), run("1", "two"));
    let hash = one["trace_hash"].as_str().unwrap();
    assert_eq!(hash.len(), 64, "{hash}");
    assert_eq!(two["trace_hash"], hash);
    assert_eq!(one, two);
    assert!(read("one").len() > 10_000 && read("one") == read("two"), "the traces differ: diff them");

    let other = run("2", "other");
    assert_ne!(other["trace_hash"], hash);
    assert!(read("one") != read("other"));
    assert_eq!(one["summary"]["tasks"]["done"], 1, "{}", one["summary"]);
}

/// As above, with cuts, crashes in the midst of writing, torn disks, drift and moves, and with packets that are only framed.
#[test]
fn equal_seeds_meet_equal_faults_in_two_processes() {
    let dir = tempfile::tempdir().unwrap();
    let framed = std::fs::read_to_string(simulation("commute.toml")).unwrap();
    std::fs::write(dir.path().join("framed.toml"), format!("crypto = \"null\"\n{framed}")).unwrap();
    let (handover, framed) = (simulation("handover.toml"), dir.path().join("framed.toml"));
    for (scenario, until) in [(handover, "44s"), (framed, "30s")] {
        let run = |seed: &str| {
            let args = ["run", scenario.to_str().unwrap(), "--seed", seed, "--until", until, "--json"];
            comparable(json(&sim(dir.path(), &args)))
        };
        let one = run("3");
        assert_eq!(one, run("3"), "{scenario:?}");
        assert_ne!(one["trace_hash"], run("4")["trace_hash"], "{scenario:?}");
        assert!(one["traffic"].as_array().unwrap().len() > 10, "{scenario:?}");
    }
}

#[test]
fn a_run_is_told_to_people_and_written_for_browsers_and_programs() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = tiny(dir.path());
    // What is there is replaced.
    std::fs::write(dir.path().join("report.html"), "old").unwrap();
    let args = ["run", &scenario, "--seed", "4", "--report", "report.html", "--record", "record.json"];
    let output = sim(dir.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "", "no bar without a terminal");
    let record = std::fs::read_to_string(dir.path().join("record.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let hash = record["trace_hash"].as_str().unwrap();
    assert_eq!((record["scenario"].as_str(), record["seed"].as_u64()), (Some("tiny"), Some(4)));
    let page = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") || page.starts_with("<!DOCTYPE html>"), "{}", &page[..99]);
    assert!(page.contains(hash) && page.trim_end().ends_with("</html>"));
    assert!(stdout(&output).contains(hash) && stdout(&output).contains("tiny"), "{}", stdout(&output));
    assert_eq!(
        files(dir.path()),
        ["record.json", "report.html", "tiny.toml"],
        "nothing half written is left"
    );

    let quiet = sim(dir.path(), &["run", &scenario, "--seed", "4", "--quiet"]);
    assert_eq!((quiet.status.code(), stdout(&quiet), stderr(&quiet)), (Some(0), "".into(), "".into()));
    // What goes to standard output stands there alone.
    let trace = sim(dir.path(), &["run", &scenario, "--seed", "4", "--trace", "-"]);
    assert_eq!(trace.status.code(), Some(0), "{}", stderr(&trace));
    assert!(stderr(&trace).contains(hash) && !stdout(&trace).contains(hash));
    assert!(stdout(&trace).lines().count() > 20, "{}", stdout(&trace));
}

#[test]
fn the_reduced_model_says_that_it_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let hello = simulation("hello.toml");
    let hello = hello.to_str().unwrap();
    let run = |seed: &str| {
        let args = ["run", hello, "--reduced", "--seed", seed, "--until", "30s", "--json"];
        comparable(json(&sim(dir.path(), &args)))
    };
    let (one, two, other) = (run("1"), run("1"), run("2"));
    assert_eq!(one, two);
    assert_ne!(one["devices"], other["devices"]);
    assert_eq!((one["model"].as_str(), one["trace_hash"].as_str()), (Some("reduced"), Some("")));
    assert_eq!(one["invariants"].as_array().map(Vec::len), Some(0));
    let told = sim(dir.path(), &["run", hello, "--reduced", "--until", "2s"]);
    assert_eq!(told.status.code(), Some(0), "{}", stderr(&told));
    assert!(stdout(&told).contains("the reduced model checks no invariants"), "{}", stdout(&told));
    // It has no datagrams that could be written.
    for file in ["--trace", "--pcap"] {
        let refused = sim(dir.path(), &["run", hello, "--reduced", file, "file"]);
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    }
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

#[test]
fn a_capture_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = tiny(dir.path());
    let output = sim(dir.path(), &["run", &scenario, "--pcap", "tiny.pcapng", "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let capture = std::fs::read(dir.path().join("tiny.pcapng")).unwrap();
    // draft-ietf-opsawg-pcapng: a section header, with its own magic in the writer's byte order.
    assert_eq!(capture[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
    assert_eq!(capture[8..12], 0x1a2b_3c4d_u32.to_le_bytes());
    let has = |text: &[u8]| capture.windows(text.len()).any(|window| window == text);
    assert!(has(b"CLIENT_HANDSHAKE_TRAFFIC_SECRET") && has(b"lamp-1 > lamp-2"));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("wrong.toml"), TINY.replace("latency =", "latncy =")).unwrap();
    for args in
        [&["run", "wrong.toml"][..], &["check", "wrong.toml"], &["check", "wrong.toml", "--seeds", "3"]]
    {
        let wrong = sim(dir.path(), args);
        assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
        let expected = "error: wrong.toml:7:1: [[segment]] has no key `latncy`; did you mean `latency`?
  |
7 | latncy = \"1ms..3ms\"
  | ^^^^^^
";
        assert_eq!(stderr(&wrong), expected);
    }
    let told = sim(dir.path(), &["run", "wrong.toml", "--json"]);
    let told: Value = serde_json::from_str(&stderr(&told)).unwrap();
    assert_eq!((told["error"]["kind"].as_str(), told["exit_code"].as_u64()), (Some("usage"), Some(2)));

    let scenario = tiny(dir.path());
    let other: [(&[&str], i32, &str); 11] = [
        (&["run", "nowhere.toml"], 4, "nowhere.toml"),
        (&["check", &scenario, "nowhere.toml"], 4, "nowhere.toml"),
        (&["run", "."], 2, "folder"),
        (&["run", &scenario, "--report", "nowhere/x.html"], 4, "mkdir -p nowhere"),
        (&["run", &scenario, "--trace", "."], 2, "--trace"),
        (&["run", &scenario, "--trace", "a", "--pcap", "a"], 2, "--trace and --pcap"),
        (&["run", &scenario, "--json", "--trace", "-"], 2, "--json and --trace"),
        (&["run", &scenario, "--seed", "many"], 2, "--seed"),
        (&["check", &scenario, "--seeds", "5..5"], 2, "5..5"),
        (&["check", &scenario, "--jobs", "0"], 2, "--jobs"),
        (&["check", &scenario, "--out", "tiny.toml"], 2, "tiny.toml is a file"),
    ];
    for (args, code, said) in other {
        let output = sim(dir.path(), args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{args:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?}");
    }
    let full = sim(dir.path(), &["run", &scenario, "--trace", "/dev/full"]);
    assert_eq!(full.status.code(), Some(1), "{}", stderr(&full));
    assert!(stderr(&full).contains("/dev/full"), "{}", stderr(&full));
    assert_eq!(files(dir.path()), ["tiny.toml", "wrong.toml"], "nothing was written");
}

#[test]
fn seeds_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = tiny(dir.path());
    let output = sim(dir.path(), &["check", &scenario, "--seeds", "3..7", "--jobs", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.starts_with("tiny.toml\n") && said.contains("4, none failed"), "{said}");
    assert_eq!(stderr(&output), "");

    let told = json(&sim(dir.path(), &["check", &scenario, &scenario, "--seeds", "0..2", "--json"]));
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    let scenarios = told["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 2);
    assert_eq!(scenarios[0], scenarios[1], "whatever ran at the same time");
    assert_eq!((&scenarios[0]["seeds_run"], &scenarios[0]["virtual_us"]), (&2.into(), &10_000_000.into()));
    assert!(scenarios[0]["failures"].as_array().unwrap().is_empty());
    assert_eq!(files(dir.path()), ["tiny.toml"]);
}

/// It demands what nobody promises: that a task goes on at once when its device is lost.
const STRICT: &str = r#"
name = "strict"
duration = "11100ms"

[bounds]
settle = "0s"

[[segment]]
name = "home"

[[circle]]
name = "home"

[[device]]
name = "lamp"
count = 4
circles = { home = "owner" }

[[task]]
name = "photo"
at = "10s"
from = "lamp-2"
start_on = "lamp-1"
work = "20 Mops"
policy = "quorum"

[[event]]
at = "5s"
do = "load"
device = "lamp-4"
load = "20%"
for = "1s"

[[event]]
at = "10200ms"
do = "crash"
device = "lamp-1"
down = "never"
"#;

#[test]
fn what_fails_is_named_and_made_small() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("strict.toml"), STRICT).unwrap();
    let run = sim(dir.path(), &["run", "strict.toml", "--seed", "5"]);
    assert_eq!(run.status.code(), Some(9), "{}", stderr(&run));
    let said = stderr(&run);
    assert!(said.contains("the invariant `quorum-completes` was violated"), "{said}");
    assert!(said.contains("`photo` is ") && said.contains("softbus sim run strict.toml --seed 5"), "{said}");

    let args = ["check", "strict.toml", "--seeds", "5..9", "--jobs", "1", "--out", "found"];
    let check = sim(dir.path(), &args);
    assert_eq!(check.status.code(), Some(9), "{}", stderr(&check));
    let said = stdout(&check);
    for words in [
        "1 of 4, 1 FAILED",
        "✗ seed 5 violates the invariant `quorum-completes`",
        "again: softbus sim run strict.toml --seed 5\n",
        "1 of 2 happenings and 1 of 1 task",
        "again: softbus sim run found/strict-seed-5.toml --seed 5\n",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(stderr(&check).contains("try: softbus sim run found/strict-seed-5.toml --seed 5\n"));
    let small = std::fs::read_to_string(dir.path().join("found/strict-seed-5.toml")).unwrap();
    assert!(small.contains("crash") && !small.contains("load"), "{small}");
    // The command that it names does show it.
    let again = sim(dir.path(), &["run", "found/strict-seed-5.toml", "--seed", "5", "--json"]);
    assert_eq!(again.status.code(), Some(9), "{}", stderr(&again));
    let told: Value = serde_json::from_str(&stderr(&again)).unwrap();
    assert_eq!(told["error"]["kind"], "violated");
    let record: Value = serde_json::from_str(&stdout(&again)).unwrap();
    assert_eq!(record["scenario"], "strict");

    // Once more, and no file is replaced.
    let told = sim(dir.path(), &[&args[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&stdout(&told)).unwrap();
    let failure = &told["scenarios"][0]["failures"][0];
    assert_eq!((&failure["seed"], &failure["invariant"]), (&5.into(), &"quorum-completes".into()));
    assert_eq!(failure["smaller"]["file"], "found/strict-seed-5-2.toml");
    assert_eq!(failure["smaller"]["events"], serde_json::json!([2, 1]));
    assert_eq!(files(&dir.path().join("found")), ["strict-seed-5-2.toml", "strict-seed-5.toml"]);

    let large = sim(dir.path(), &["check", "strict.toml", "strict.toml", "--seeds", "5", "--no-shrink"]);
    assert_eq!(large.status.code(), Some(9), "{}", stderr(&large));
    assert!(stderr(&large).contains("1 more of the scenarios not looked at"), "{}", stderr(&large));
    assert_eq!(files(dir.path()), ["found", "strict.toml"]);
}

/// Ends it as Ctrl-C does, when it has begun to write.
fn interrupt(mut child: Child, begun: impl Fn() -> bool) -> Output {
    let start = Instant::now();
    while !begun() {
        assert!(start.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let asked = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(20), "it goes on after Ctrl-C");
    output
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    // Years of it.
    std::fs::write(dir.path().join("long.toml"), TINY.replace("5s", "300d")).unwrap();
    let start = |args: &[&str]| {
        let mut command = command(dir.path(), args);
        // A test under `nohup` or in the background must not hand its ignored signals on.
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap()
    };
    let running = start(&["run", "long.toml", "--trace", "trace", "--report", "report.html"]);
    let stopped = interrupt(running, || files(dir.path()).len() > 1);
    assert_eq!(stopped.status.code(), Some(130), "{}", stderr(&stopped));
    assert_eq!(stdout(&stopped), "");
    assert_eq!(files(dir.path()), ["long.toml"]);

    let begun = Instant::now();
    let running = start(&["check", "long.toml"]);
    let stopped = interrupt(running, || begun.elapsed() > Duration::from_secs(2));
    assert_eq!(stopped.status.code(), Some(130), "{}", stderr(&stopped));
    assert!(stderr(&stopped).contains("stopped after 0 of 100 seeds"), "{}", stderr(&stopped));
    assert_eq!(files(dir.path()), ["long.toml"]);
}
