//! Programs are stopped at every place at which they can be, taken to another engine, and go on there as if nothing had been.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Ended, Host, Program, bits, engine, engines, engines_with, run};
use softbus_wasm::pass::{AskMemory, rewrite};
use wasmtime::Module;

/// Results, log and memory of a program as it was before the pass.
fn plain(text: &str) -> (Vec<Vec<u8>>, Vec<i64>, Option<Vec<u8>>) {
    let engine = engine(false);
    let module = Module::new(&engine, wat::parse_str(text).unwrap()).unwrap();
    let mut program = Program::new(&engine, &module, Host::default());
    let function = program.instance.get_func(&mut program.store, "run").unwrap();
    let Ended::Done(results) = program.call(function) else { panic!("it ends") };
    let memory = program.instance.get_memory(&mut program.store, "memory");
    let memory = memory.map(|memory| memory.data(&program.store).to_vec());
    (results.iter().map(bits).collect(), std::mem::take(program.store.data_mut()).log, memory)
}

fn check(text: &str) {
    let bytes = wat::parse_str(text).unwrap();
    let engines = engines(&bytes, &|_, name| name == "wait");
    let (results, log, memory) = plain(text);
    let results = Some(results);
    let still = run(&engines, "run", &mut |_| u64::MAX);
    assert_eq!((&still.results, &still.log), (&results, &log), "as it was before the pass");
    if let (Some(plain), Some(still)) = (&memory, still.state.memories.first()) {
        assert!(plain == still, "another memory");
    }
    assert!(still.asked > 0, "it is never asked");
    // Stopped once, at each place; then again and again.
    let step = (still.asked / 400).max(1);
    for at in (1..=still.asked).step_by(step as usize) {
        let outcome = run(&engines, "run", &mut |moves| if moves == 0 { at } else { u64::MAX });
        assert_eq!(outcome.moves, 1);
        assert_eq!(
            (&outcome.results, &outcome.log),
            (&results, &log),
            "stopped once, at {at} of {}",
            still.asked
        );
        assert!(outcome.state == still.state, "stopped once, at {at}: another state");
    }
    for every in [2, 3, 7, 50, 1000].into_iter().filter(|every| still.asked / every < 400) {
        let outcome = run(&engines, "run", &mut |_| every);
        assert_eq!((&outcome.results, &outcome.log), (&results, &log), "stopped each {every}");
        assert!(outcome.state == still.state, "stopped each {every}: another state");
    }
}

#[test]
fn loops() {
    check(
        r#"(module (import "host" "log" (func $log (param i64)))
            (memory (export "memory") 1)
            (global $g (mut i64) (i64.const 5))
            (func (export "run") (result i64) (local $i i32) (local $j i32) (local $sum i64)
              (loop $outer
                (local.set $j (i32.const 0))
                (block $done
                  (loop $inner
                    (br_if $done (i32.ge_u (local.get $j) (i32.const 4)))
                    (local.set $sum (i64.add (local.get $sum) (i64.mul (i64.extend_i32_u (local.get $i)) (i64.extend_i32_u (local.get $j)))))
                    (i32.store (i32.mul (local.get $i) (i32.const 4)) (local.get $j))
                    (global.set $g (i64.add (global.get $g) (local.get $sum)))
                    (local.set $j (i32.add (local.get $j) (i32.const 1)))
                    (br $inner)))
                (call $log (local.get $sum))
                (br_if $outer (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 9))))
              (i64.add (local.get $sum) (global.get $g))))"#,
    );
}

#[test]
fn recursion_with_values_on_the_operand_stack() {
    check(
        r#"(module
            (func $fib (param $n i32) (result i64)
              (if (result i64) (i32.lt_u (local.get $n) (i32.const 2))
                (then (i64.extend_i32_u (local.get $n)))
                (else (i64.add (call $fib (i32.sub (local.get $n) (i32.const 1)))
                               (call $fib (i32.sub (local.get $n) (i32.const 2)))))))
            (func (export "run") (result i64) (i64.mul (i64.const 3) (call $fib (i32.const 10)))))"#,
    );
}

#[test]
fn everything_else() {
    check(
        r#"(module (import "host" "log" (func $log (param i64))) (import "host" "wait" (func $wait (param i32 i64) (result i64)))
            (type $two (func (param i32 i64) (result i64 i32)))
            (memory (export "memory") 1 4) (memory $second 1)
            (table $t 4 8 funcref) (elem (table $t) (i32.const 0) func $a $b $wait) (elem $later func $b $a)
            (data $d "some words that are dropped")
            (global $v (mut v128) (v128.const i64x2 1 2)) (global $f (mut f64) (f64.const 1.5))
            (start $start)
            (func $start (global.set $f (f64.const 2.5)))
            (func $a (type $two) (local $i i32)
              (loop (result i64 i32)
                local.get 1 local.get 0
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (i32.lt_u (local.get $i) (i32.const 3))
                (if (param i64 i32) (result i64 i32) (then br 1) (else))
                i32.const 2 i32.mul))
            (func $b (type $two) (local.get 1) (local.get 0) (drop) (i64.const 7) (call_indirect $t (param i32 i64) (result i64) (i32.const 9) (i64.const 4) (i32.const 2)) i64.add i64.add (i32.const 11))
            (func $tail (param i32 i64) (result i64)
              (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
              (return_call $tail (i32.sub (local.get 0) (i32.const 1)) (i64.add (local.get 1) (i64.extend_i32_u (local.get 0)))))
            (func $switch (param i32) (result i64)
              (loop $again
              (block $c (block $b (block $a (br_table $a $b $c (i32.rem_u (local.get 0) (i32.const 3))))
                (call $log (i64.const 100)))
               (call $log (i64.const 101)))
              (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
              (i64.const 3))
            (func (export "run") (result i64 f64) (local $x i64) (local $w v128) (local $s f32) (local $n i32)
              (local.set $s (f32.const 0.25))
              (memory.init $d (i32.const 16) (i32.const 0) (i32.const 10)) (data.drop $d)
              (drop (memory.grow (i32.const 1)))
              (loop $loop (param) 
                (global.set $v (i64x2.add (global.get $v) (v128.const i64x2 3 4)))
                (local.set $w (i32x4.add (local.get $w) (global.get $v)))
                (i32.const 5) (i64.const 6) (call_indirect $t (type $two) (i32.and (local.get $n) (i32.const 1)))
                drop (local.set $x (i64.add (local.get $x)))
                (call $log (local.get $x))
                (v128.store (i32.add (i32.const 64) (i32.mul (local.get $n) (i32.const 16))) (local.get $w))
                (i64.store $second (i32.mul (local.get $n) (i32.const 8)) (local.get $x))
                (if (i32.eq (local.get $n) (i32.const 2)) (then
                  (table.set $t (i32.const 0) (ref.func $b)) (table.init $t $later (i32.const 0) (i32.const 0) (i32.const 2)) (elem.drop $later)
                  (drop (table.grow $t (ref.func $a) (i32.const 1)))))
                (local.set $s (f32.mul (local.get $s) (f32.const 1.5)))
                (br_if $loop (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 6))))
              (local.set $x (i64.add (call $tail (i32.const 20) (local.get $x)) (call $switch (i32.const 7))))
              (i64.add (local.get $x) (call $wait (i32.const 3) (i64.const 4)))
              (f64.add (global.get $f) (f64.promote_f32 (local.get $s)))))"#,
    );
}

/// It does not look as it begins, as each of its loops looks before it calls.
#[test]
fn recursion_from_a_loop() {
    check(
        r#"(module (import "host" "log" (func $log (param i64)))
            (type $f (func (param i32) (result i64)))
            (table 2 2 funcref) (elem (i32.const 0) func $place $through)
            (func $through (type $f) (i64.add (i64.const 1) (call $place (local.get 0))))
            (func $place (type $f) (local $i i32) (local $sum i64)
              (if (i32.eqz (local.get 0)) (then (return (i64.const 1))))
              (loop $l
                (i64.const 7)
                (call_indirect (type $f) (i32.sub (local.get 0) (i32.const 1)) (i32.and (local.get $i) (i32.const 1)))
                (local.set $sum (i64.add (local.get $sum) (i64.mul)))
                (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3))))
              (call $log (local.get $sum))
              (local.get $sum))
            (func (export "run") (result i64) (call $place (i32.const 4))))"#,
    );
}

/// What goes on in it is large: so it asks with nothing saved; the function that it calls does not.
#[test]
fn a_large_function() {
    let large =
        "(local.set $sum (i64.add (i64.rotl (local.get $sum) (i64.const 3)) (local.get $n)))".repeat(3000);
    check(&format!(
        r#"(module
            (func $large (param $n i64) (result i64) (local $sum i64) (local $i i32)
              (loop $all
                {large}
                (local.set $i (i32.const 0))
                (loop $some
                  (local.set $sum (i64.mul (local.get $sum) (i64.const 5)))
                  (br_if $some (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3))))
                (br_if $all (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
              (loop $last (local.set $sum (i64.add (local.get $sum) (call $small (local.get $i))))
                (br_if $last (i32.ne (local.tee $i (i32.sub (local.get $i) (i32.const 1))) (i32.const 0))))
              (local.get $sum))
            (func $small (param $n i32) (result i64) (local $sum i64)
              (loop $all (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (local.get $n))))
                (br_if $all (i32.gt_s (local.tee $n (i32.sub (local.get $n) (i32.const 1))) (i32.const 0))))
              (local.get $sum))
            (func (export "run") (result i64) (call $large (i64.const 4))))"#
    ));
}

#[test]
fn a_hundred_thousand_frames() {
    let text = r#"(module
        (func $down (param $n i32) (result i64)
          (if (result i64) (i32.eqz (local.get $n)) (then (i64.const 1))
            (else (i64.add (i64.extend_i32_u (local.get $n)) (call $down (i32.sub (local.get $n) (i32.const 1)))))))
        (func (export "run") (result i64) (call $down (i32.const 100001))))"#;
    let deep = std::thread::Builder::new().stack_size(256 << 20);
    let test = deep.spawn(move || {
        let bytes = wat::parse_str(text).unwrap();
        let engines = engines_with(&bytes, &|_, _| false, 128 << 20);
        let outcome = run(&engines, "run", &mut |moves| if moves < 2 { 100_001 - moves } else { u64::MAX });
        assert_eq!(
            outcome.moves, 1,
            "it was before the deepest call, and went up from there without being asked"
        );
        assert_eq!(outcome.results, Some(vec![5_000_150_002u64.to_le_bytes().to_vec()]));
    });
    test.unwrap().join().unwrap();
}

#[test]
fn what_cannot_be_stopped_is_refused_with_its_name() {
    let refused =
        |text: &str| match rewrite(wat::parse_str(text).unwrap().into(), &|_, _| true, AskMemory::Shared) {
            Ok(_) => panic!("it is admitted"),
            Err(refusal) => refusal.to_string(),
        };
    let holds = refused(
        r#"(module (func $f (param funcref) (result i32) (loop) (ref.is_null (local.get 0)))
            (func (export "run") (drop (call $f (ref.null func)))))"#,
    );
    assert!(holds.contains("`f`") && holds.contains("reference"), "{holds}");
    let memory = refused(r#"(module (import "env" "memory" (memory 1)))"#);
    assert!(memory.contains("env.memory"), "{memory}");
    let kept = refused(r#"(module (func (export "softbus:x")))"#);
    assert!(kept.contains("softbus:x"), "{kept}");
    let wide = refused(r#"(module (memory i64 1) (func (export "run") (loop)))"#);
    assert!(wide.contains("memory64"), "{wide}");
    let atomic = refused(
        r#"(module (memory 1 1 shared) (func $spin (export "run") (loop (br_if 0 (i32.atomic.load (i32.const 0))))))"#,
    );
    assert!(atomic.contains("threads"), "{atomic}");
    let throws = refused(r#"(module (tag $t) (func $thrower (export "run") (throw $t)))"#);
    assert!(throws.contains("exceptions"), "{throws}");
    // A memory's limit in more bytes than 32 bits may have.
    let long = refused(r#"(module binary "\00asm\01\00\00\00" "\05\08\01\00\82\80\80\80\80\00")"#);
    assert!(long.contains("too long"), "{long}");
}
