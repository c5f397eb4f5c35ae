//! One target, one input on standard input: what a coverage-guided fuzzer runs for hours.
//!
//! ```text
//! cargo afl build --release -p softbus-fuzz
//! cargo afl fuzz -i fuzz/corpus/ticket -o /tmp/findings target/release/fuzz ticket
//! ```

use std::io::Read;

#[allow(clippy::print_stderr)] // this is a program
fn main() {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some(target) = softbus_fuzz::TARGETS.iter().find(|t| t.name == name) else {
        let names: Vec<&str> = softbus_fuzz::TARGETS.iter().map(|t| t.name).collect();
        eprintln!("usage: fuzz TARGET < INPUT; targets: {}", names.join(", "));
        std::process::exit(2);
    };
    let mut input = Vec::new();
    if std::io::stdin().lock().read_to_end(&mut input).is_ok() {
        (target.run)(&input);
    }
}
