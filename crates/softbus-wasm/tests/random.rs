//! Modules made at random: rewritten they do what they did, and also if they are stopped and taken elsewhere again and again.
//! `SOFTBUS_MODULES` says how many.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Ended, Host, Program, bits, engine, engines, run};
use softbus_wasm::pass::{AskMemory, rewrite};
use wasm_smith::{Config, Module as Smith};
use wasmtime::{Module, Trap};

/// A stream of bytes from a seed (xorshift64*; Vigna, "An experimental exploration of Marsaglia's xorshift generators").
fn drawn(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let draws = (0..len.div_ceil(8)).flat_map(|_| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes()
    });
    draws.take(len).collect()
}

fn config() -> Config {
    Config {
        max_imports: 0,
        min_funcs: 2,
        max_funcs: 8,
        min_exports: 1,
        max_instructions: 150,
        max_memories: 2,
        max_memory32_bytes: 4 << 16,
        max_tables: 2,
        max_table_elements: 100,
        min_data_segments: 0,
        bulk_memory_enabled: true,
        reference_types_enabled: true,
        simd_enabled: true,
        relaxed_simd_enabled: false,
        multi_value_enabled: true,
        saturating_float_to_int_enabled: true,
        sign_extension_ops_enabled: true,
        tail_call_enabled: true,
        extended_const_enabled: true,
        exceptions_enabled: false,
        gc_enabled: false,
        threads_enabled: false,
        memory64_enabled: false,
        wide_arithmetic_enabled: false,
        custom_page_sizes_enabled: false,
        shared_everything_threads_enabled: false,
        allow_start_export: true,
        export_everything: true,
        canonicalize_nans: false,
        memory_max_size_required: true,
        table_max_size_required: true,
        ..Config::default()
    }
}

#[test]
fn random_modules_do_what_they_did() {
    let count = std::env::var("SOFTBUS_MODULES").map_or(40, |count| count.parse().unwrap());
    let (mut run_at_all, mut refused, mut moves) = (0, 0, 0);
    for seed in 0..count {
        let bytes = drawn(seed, 4000);
        let Ok(mut module) = Smith::new(config(), &mut arbitrary::Unstructured::new(&bytes)) else {
            continue;
        };
        if module.ensure_termination(200).is_err() {
            continue;
        }
        let bytes = module.to_bytes();
        if let Err(refusal) = rewrite(bytes.clone().into(), &|_, _| false, AskMemory::Shared) {
            assert!(refusal.to_string().contains("reference"), "seed {seed}: {refusal}");
            refused += 1;
            continue;
        }
        let plain = engine(false);
        let module = Module::new(&plain, &bytes).unwrap();
        let engines = engines(&bytes, &|_, _| false);
        let exports: Vec<String> = module
            .exports()
            .filter(|export| export.ty().func().is_some())
            .map(|export| export.name().to_owned())
            .take(4)
            .collect();
        for export in exports {
            // Its start function may end it before it begins.
            let Some(mut program) = Program::try_new(&plain, &module, Host::default()) else { break };
            let function = program.instance.get_func(&mut program.store, &export).unwrap();
            let results = match program.call(function) {
                Ended::Done(results) => Some(results.iter().map(bits).collect::<Vec<_>>()),
                // How deep the stack may be differs.
                Ended::Trapped(Some(Trap::StackOverflow)) => continue,
                Ended::Trapped(_) => None,
                Ended::Stopped => panic!("nobody stops it"),
            };
            run_at_all += 1;
            let still = run(&engines, &export, &mut |_| u64::MAX);
            assert_eq!(still.results, results, "seed {seed}, `{export}`");
            for every in [2, 3, 7] {
                let outcome = run(&engines, &export, &mut |_| every);
                assert_eq!(outcome.results, results, "seed {seed}, `{export}`, stopped each {every}");
                if results.is_some() {
                    assert!(
                        outcome.state == still.state,
                        "seed {seed}, `{export}`, stopped each {every}: another state"
                    );
                }
                moves += outcome.moves;
            }
        }
    }
    println!("{run_at_all} functions run, {refused} modules refused, {moves} moves");
    assert!(run_at_all > count / 8 && moves > count, "{run_at_all} functions run, {moves} moves");
}
