//! Any text is read without panic and within bounds: nonsense, and shipped files with something wrong in them.

use std::io;

use proptest::prelude::*;

use super::*;

/// Reads a text; what comes out keeps all bounds.
fn read(text: &str, seed: u64) -> Result<(), TestCaseError> {
    let include = &mut |path: &str| {
        if path.len().is_multiple_of(2) { Ok(text.to_owned()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    match Scenario::parse(text, "any.toml", seed, include) {
        Ok(scenario) => {
            prop_assert!((1..=limits::DEVICES).contains(&scenario.devices.len()));
            prop_assert!(scenario.tasks.len() <= limits::TASKS);
            prop_assert!(scenario.events.len() <= limits::EVENTS);
            prop_assert!(scenario.events.iter().all(|e| e.at <= scenario.duration));
            prop_assert!(scenario.tasks.iter().all(|t| t.at <= scenario.duration));
        }
        Err(error) => {
            let told = error.to_string();
            prop_assert!(told.len() < 4096, "{}", told);
        }
    }
    Ok(())
}

/// A word that may stand in a scenario.
fn word() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "name",
        "duration",
        "\"60s\"",
        "=",
        "\n",
        "[[device]]",
        "[[segment]]",
        "[[event]]",
        "[[task]]",
        "[chaos]",
        "[[circle]]",
        "segment",
        "\"home\"",
        "at",
        "every",
        "count",
        "do",
        "\"crash\"",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"1s..2s\"",
        "9223372036854775807",
        "-1",
        "1e308",
        "nan",
        "inf",
        "true",
        "include",
        "\"any\"",
        "from",
        "to",
        "\"99999999999999999999999 ppm\"",
        "\"\"",
        "\"..\"",
        "'''",
        "#",
        "0x7f",
        "1979-05-27",
        "\"é…\"",
    ];
    prop::sample::select(WORDS).prop_map(str::to_owned)
}

/// Where something is wrong, how much is taken away, and what stands there instead.
type Change = (prop::sample::Index, usize, String);

fn change() -> impl Strategy<Value = Change> {
    let put = prop_oneof![word(), "\\PC{0,6}", Just(String::new())];
    (any::<prop::sample::Index>(), 0..24usize, put)
}

fn changed(mut text: String, changes: Vec<Change>) -> String {
    for (at, long, put) in changes {
        let floor = |text: &str, mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let begin = floor(&text, at.index(text.len() + 1));
        let end = floor(&text, begin + long).max(begin);
        text.replace_range(begin..end, &put);
    }
    text
}

proptest! {
    #[test]
    fn any_text(text in "(?s).{0,300}", seed: u64) {
        read(&text, seed)?;
    }

    #[test]
    fn any_words(words in prop::collection::vec(word(), 0..60), seed: u64) {
        read(&words.join(" "), seed)?;
        read(&words.concat(), seed)?;
    }

    #[test]
    fn a_shipped_file_with_something_wrong(
        file: prop::sample::Index,
        changes in prop::collection::vec(change(), 1..4),
        seed: u64,
    ) {
        let names = shipped::names();
        let path = simulations().join(format!("{}.toml", names[file.index(names.len())]));
        read(&changed(std::fs::read_to_string(path).unwrap(), changes), seed)?;
    }

    #[test]
    fn any_value(key in prop::sample::select(&["at", "work", "state", "count", "every"][..]), value in "\\PC{0,20}") {
        let value = toml::Value::String(value).to_string();
        let text = format!(
            "duration = \"60s\"\n[[segment]]\nname = \"a\"\n[[device]]\nname = \"b\"\n[[task]]\nname = \"c\"\n\
             from = \"b\"\n{key} = {value}\n"
        );
        read(&text, 1)?;
    }
}

#[test]
fn deep_texts_are_refused() {
    for (open, close) in [("[", "]"), ("{ a = ", "}")] {
        let text = format!("x = {}1{}", open.repeat(100_000), close.repeat(100_000));
        assert!(parse(&text, 1).is_err());
    }
    let text = format!("[{}a]\n", "a.".repeat(100_000));
    assert!(parse(&text, 1).is_err());
}
