//! What programs are written with says what the host offers: the C header, and the Rust crate, which is compiled and tried
//! here, as far as that can be without its target.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test, from outside"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use softbus_wasm::bus::{FUNCTIONS, Ty, limits};

const HEADER: &str = include_str!("../../../examples/guests/c/softbus.h");
const RAW: &str = include_str!("../../../examples/guests/rust/softbus-guest/src/raw.rs");

type Declared = BTreeMap<String, Vec<(String, Ty)>>;

fn offered() -> Declared {
    let of = |params: &[(&str, Ty)]| params.iter().map(|(name, ty)| ((*name).to_owned(), *ty)).collect();
    FUNCTIONS.iter().map(|function| (function.name.to_owned(), of(function.params))).collect()
}

/// The text without its comments, in one line.
fn bare(text: &str) -> String {
    let mut bare = String::new();
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("/*") {
        bare.push_str(before);
        rest = comment.split_once("*/").unwrap().1;
    }
    (bare + rest).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands behind each `SOFTBUS_IMPORT(name)`: `uint32_t softbus_name(TYPE name, …);`.
fn of_header() -> Declared {
    let text = bare(HEADER);
    // The first is the macro itself.
    let mut declared = Declared::new();
    for declaration in text.split("SOFTBUS_IMPORT(").skip(2) {
        let (name, rest) = declaration.split_once(')').unwrap();
        let (function, rest) = rest.trim().strip_prefix("uint32_t ").unwrap().split_once('(').unwrap();
        assert_eq!(function, format!("softbus_{name}"));
        let params = rest.split_once(");").unwrap().0.split(", ").map(|param| {
            let at = param.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap() + 1;
            let ty = match param[..at].trim() {
                "uint32_t" => Ty::I32,
                "uint64_t" => Ty::I64,
                pointer if pointer.ends_with('*') => Ty::I32,
                other => panic!("{other} in {function}"),
            };
            (param[at..].to_owned(), ty)
        });
        assert!(declared.insert(name.to_owned(), params.collect()).is_none());
    }
    declared
}

/// `link_name = "name"` and, behind it, `pub fn softbus_name(name: TYPE, …) -> u32;`.
fn of_crate() -> Declared {
    let mut declared = Declared::new();
    let text: Vec<&str> = RAW.lines().map(str::trim).collect();
    for pair in text.windows(2) {
        let Some((_, named)) = pair[0].split_once("link_name = \"") else { continue };
        let name = named.split_once('"').unwrap().0;
        let (function, rest) = pair[1].strip_prefix("pub fn ").unwrap().split_once('(').unwrap();
        assert_eq!(function, format!("softbus_{name}"));
        let params = rest.strip_suffix(") -> u32;").unwrap().split(", ").map(|param| {
            let (name, ty) = param.split_once(": ").unwrap();
            let ty = match ty {
                "u64" => Ty::I64,
                "u32" | "*const u8" | "*mut u8" | "*mut u32" => Ty::I32,
                other => panic!("{other} in {function}"),
            };
            (name.to_owned(), ty)
        });
        assert!(declared.insert(name.to_owned(), params.collect()).is_none());
    }
    declared
}

#[test]
fn the_header_and_the_crate_declare_what_is_offered() {
    let offered = offered();
    assert_eq!(of_header(), offered);
    assert_eq!(of_crate(), offered);
    assert!(RAW.contains("link(wasm_import_module = \"softbus\")"));
    assert!(HEADER.contains("import_module(\"softbus\")"));
    assert_eq!(RAW.matches("pub fn").count(), FUNCTIONS.len());
}

#[test]
fn the_header_and_the_crate_tell_the_limits() {
    let told: BTreeMap<&str, u64> = HEADER
        .lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("#define SOFTBUS_")?.split_whitespace();
            Some((words.next()?, words.next()?.parse().ok()?))
        })
        .collect();
    for (name, limit) in [
        ("LOG_BYTES", limits::LOG_BYTES as usize),
        ("KEYS", limits::KEYS),
        ("KEY_BYTES", limits::KEY_BYTES),
        ("VALUE_BYTES", limits::VALUE_BYTES),
        ("MAP_BYTES", limits::MAP_BYTES),
        ("CHANNELS", limits::CHANNELS),
        ("MESSAGES", limits::MESSAGES),
        ("MESSAGE_BYTES", limits::MESSAGE_BYTES),
    ] {
        assert_eq!(told.get(name), Some(&(limit as u64)), "{name}");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/guests/rust/softbus-guest/src");
    let of = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let constant = |file: &str, name: &str| -> usize {
        let text = of(file);
        let (_, value) = text.split_once(&format!("pub const {name}: usize = ")).unwrap();
        let value = value.split_once(';').unwrap().0;
        match value.split_once(" << ") {
            Some((number, by)) => number.parse::<usize>().unwrap() << by.parse::<u32>().unwrap(),
            None => value.parse().unwrap(),
        }
    };
    assert_eq!(constant("lib.rs", "MESSAGE_BYTES"), limits::MESSAGE_BYTES);
    assert_eq!(constant("kv.rs", "KEY_BYTES"), limits::KEY_BYTES);
    assert_eq!(constant("kv.rs", "VALUE_BYTES"), limits::VALUE_BYTES);
    assert!(of("lib.rs").contains(&format!(".min({})", limits::LOG_BYTES)));
}

/// Its target cannot be had everywhere; but for the calls themselves, which stand in a file of their own, none of it is of a
/// target.
#[test]
fn the_crate_compiles_without_std_and_its_own_tests_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/guests/rust/softbus-guest/src");
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let compile = |more: &[&str], out: &Path| {
        let mut command = Command::new(&compiler);
        command.args(["--edition", "2024", "-D", "warnings"]).args(more).arg("-o").arg(out);
        let done = command.arg(folder.join("lib.rs")).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    compile(&["--crate-type", "lib", "--emit", "metadata"], &target.join("libsoftbus_guest.rmeta"));
    let tests = target.join("softbus_guest_tests");
    compile(&["--test"], &tests);
    let done = Command::new(&tests).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert!(String::from_utf8_lossy(&done.stdout).contains("4 passed"));
}
