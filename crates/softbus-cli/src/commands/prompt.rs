//! Asking a person, and reading what must not stand on a command line.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;

use zeroize::Zeroizing;

use crate::control::Secret;
use crate::failure::Failure;

/// Longest answer, in bytes.
const ANSWER_BYTES: usize = 4096;

/// Asks a question on standard error, if somebody sits there, and reads one line from standard input, shown as it is typed.
pub(super) async fn line(question: &str) -> Result<Secret, Failure> {
    ask(question, false).await
}

/// Reads a secret: from the first line of a file, or from the keyboard without showing it.
pub(super) async fn secret(what: &str, file: Option<&Path>) -> Result<Secret, Failure> {
    let answer = match file {
        Some(path) => {
            let file =
                std::fs::File::open(path).map_err(|e| Failure::io(format!("file {}", path.display()), &e));
            first_line(BufReader::new(file?))
                .map_err(|e| e.during(format!("file {}", path.display())))?
                .unwrap_or_default()
        }
        None => ask(&format!("{what}: "), true).await?,
    };
    if answer.is_empty() { Err(Failure::usage(format!("no {what} given"))) } else { Ok(answer) }
}

/// Reads in a thread of its own: waiting for a keyboard must not stop what else goes on, Ctrl-C least of all.
async fn ask(question: &str, hidden: bool) -> Result<Secret, Failure> {
    let (done, answer) = tokio::sync::oneshot::channel();
    // A script that pipes the answer in is asked nothing: what it reads on standard error is the outcome.
    if std::io::stdin().is_terminal() {
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "{question}").and_then(|()| stderr.flush());
    }
    let echo = hidden.then(Echo::off);
    std::thread::Builder::new()
        .name("prompt".into())
        .spawn(move || {
            let _ = done.send(read_line());
        })
        .map_err(|e| Failure::io("cannot ask", &e))?;
    let read = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(interrupted()),
        read = answer => read.unwrap_or_else(|_| Err(Failure::failed("cannot read the answer"))),
    };
    if echo.is_some_and(|echo| echo.was_on()) {
        let _ = writeln!(std::io::stderr().lock());
    }
    read
}

fn read_line() -> Result<Secret, Failure> {
    first_line(std::io::stdin().lock())?.ok_or_else(|| {
        Failure::usage("nothing to read the answer from: standard input has ended")
            .advise("give it as an option, see --help")
    })
}

/// The first line, without blanks around it; `None` if there is nothing at all. Into memory that need not grow, so that
/// no copy of it is left behind.
fn first_line(from: impl BufRead) -> Result<Option<Secret>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES));
    from.take(ANSWER_BYTES as u64)
        .read_until(b'\n', &mut bytes)
        .map_err(|e| Failure::io("cannot read the answer", &e))?;
    let line = std::str::from_utf8(&bytes).map_err(|_| Failure::usage("the answer is not text"))?;
    Ok((!bytes.is_empty()).then(|| line.trim().into()))
}

pub(super) fn interrupted() -> Failure {
    Failure::new(crate::failure::Kind::Interrupted, "stopped")
}

/// Keeps the terminal from showing what is typed, until dropped.
struct Echo(Option<rustix::termios::Termios>);

impl Echo {
    fn off() -> Self {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Self(None);
        }
        let Ok(before) = rustix::termios::tcgetattr(&stdin) else { return Self(None) };
        let mut quiet = before.clone();
        quiet.local_modes.remove(rustix::termios::LocalModes::ECHO);
        let done = rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Flush, &quiet);
        Self(done.is_ok().then_some(before))
    }

    fn was_on(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ =
                rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, before);
        }
    }
}
