//! The demo from outside: however it ends, it leaves nothing behind. That it tells its whole story, with a report
//! that can be believed, is checked by the gate, which runs it as a newcomer does.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test outside of the seam; its helpers are tests, too"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

struct Demo {
    home: TempDir,
    process: Child,
}

impl Demo {
    fn start(args: &[&str]) -> Self {
        let home = TempDir::new().unwrap();
        fs::create_dir(home.path().join("tmp")).unwrap();
        let output = File::create(home.path().join("output")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_softbus"))
            .arg("demo")
            .args(args)
            .current_dir(home.path())
            .env("TMPDIR", home.path().join("tmp"))
            .env_remove("SOFTBUS_LOG")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { home, process }
    }

    fn output(&self) -> String {
        fs::read_to_string(self.home.path().join("output")).unwrap()
    }

    fn until_it_says(&self, text: &str) {
        wait(|| self.output().contains(text), || format!("no “{text}” in\n{}", self.output()));
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.process.id() as i32).unwrap(), signal).unwrap();
    }

    fn ended(&mut self) -> Option<i32> {
        let mut code = None;
        wait(
            || {
                code = self.process.try_wait().unwrap().map(|status| status.code());
                code.is_some()
            },
            || "the demo does not end".into(),
        );
        code.flatten()
    }

    /// Processes that work in a folder of this demo.
    fn devices(&self) -> Vec<PathBuf> {
        let mark = self.home.path().to_str().unwrap().to_owned();
        let of = |process: &Path| {
            let command = fs::read(process.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&mark)
        };
        let all = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        all.filter(|process| of(process)).collect()
    }

    /// What lies in its home, but for what was there before.
    fn left(&self) -> Vec<String> {
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        let of = |folder: &Path| {
            fs::read_dir(folder).unwrap().map(|entry| name(entry.unwrap())).collect::<Vec<_>>()
        };
        let mut left = of(self.home.path());
        left.retain(|name| name != "tmp" && name != "output");
        left.extend(of(&self.home.path().join("tmp")));
        left
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.devices(), Vec::<PathBuf>::new(), "{}", self.output());
        assert_eq!(self.left(), Vec::<String>::new(), "{}", self.output());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn wait(mut so: impl FnMut() -> bool, otherwise: impl Fn() -> String) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "{}", otherwise());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn interrupted_in_the_middle_it_leaves_nothing() {
    for (moment, signal) in [("shows the PIN", Signal::INT), ("chooses the", Signal::TERM)] {
        let mut demo = Demo::start(&["--out", "deep/er/out", "--report", "reports/report.json"]);
        demo.until_it_says(moment);
        assert_eq!(demo.devices().len(), 4, "{}", demo.output());
        demo.signal(signal);
        assert_eq!(demo.ended(), Some(130), "{}", demo.output());
        demo.assert_nothing_left();
    }
}

#[test]
fn what_could_not_be_written_is_told_before_anything_starts() {
    // A folder into which not even root writes.
    for args in [["--report", "/proc/report.json"], ["--out", "/proc"], ["--report", "."]] {
        let mut demo = Demo::start(&args);
        let code = demo.ended();
        assert!(code.is_some_and(|code| code != 0), "{code:?}: {}", demo.output());
        assert!(demo.output().contains(args[0]) && !demo.output().contains("is up"), "{}", demo.output());
        demo.assert_nothing_left();
    }
}

#[test]
fn an_error_in_mid_story_is_told_and_leaves_nothing() {
    let mut demo = Demo::start(&["--out", "deep/er/out", "--report", "reports/report.json"]);
    demo.until_it_says("shows the PIN");
    let phone = demo.devices().into_iter().find(|process| {
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).split('\0').any(|argument| argument.ends_with("/phone"))
    });
    let phone: i32 = phone.unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(phone).unwrap(), Signal::KILL).unwrap();
    let code = demo.ended();
    assert!(code.is_some_and(|code| code != 0 && code != 130), "{code:?}: {}", demo.output());
    assert!(demo.output().contains("error: "), "{}", demo.output());
    demo.assert_nothing_left();
}

#[test]
fn killed_without_a_word_its_devices_end() {
    let mut demo = Demo::start(&[]);
    demo.until_it_says("sees the three others");
    demo.signal(Signal::KILL);
    demo.ended();
    wait(|| demo.devices().is_empty(), || format!("still there: {:?}", demo.devices()));
}

#[test]
fn bad_input_is_told_at_once_and_leaves_nothing() {
    let cases: [(&[&str], &str); 5] = [
        (&["--input", "missing.png"], "missing.png"),
        (&["--input", "output"], "picture"),
        (&["--input", "/dev/null"], "picture"),
        (&["--out", "/proc/nowhere/out"], "/proc/nowhere/out"),
        (&["--report", "/proc/nowhere/report.json"], "/proc/nowhere"),
    ];
    for (args, named) in cases {
        let mut demo = Demo::start(args);
        let code = demo.ended();
        assert!(code.is_some_and(|code| code != 0), "{args:?}: {code:?}");
        assert!(demo.output().contains(named), "{args:?}: {}", demo.output());
        demo.assert_nothing_left();
    }
}
