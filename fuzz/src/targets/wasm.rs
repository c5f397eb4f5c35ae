//! Modules, and what is saved of programs.

use std::sync::OnceLock;

use softbus_wasm::bus::Grants;
use softbus_wasm::{Start, harness};

use super::with_nasty;
use crate::Target;

/// A program that counts, remembers and prints, in loops and recursion, sleeps in between, and asks a service.
const PROGRAM: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "softbus" "kv_set" (func $set (param i32 i32 i32 i32) (result i32)))
    (import "softbus" "channel_open" (func $open (param i32 i32 i32) (result i32)))
    (import "softbus" "channel_send" (func $send (param i32 i32 i32) (result i32)))
    (import "softbus" "channel_recv" (func $recv (param i32 i32 i32 i32 i64) (result i32)))
    (type $f (func (param i32 i64) (result i64)))
    (memory (export "memory") 1 4)
    (global $sum (mut i64) (i64.const 7)) (global $ratio (mut f64) (f64.const 0.5))
    (table 4 8 funcref) (elem (i32.const 0) $leaf $deep) (elem $more func $deep $leaf)
    (data (i32.const 64) "\80\00\00\00\06\00\00\00") (data (i32.const 128) "hello\0a") (data (i32.const 160) "echo/1") (data $late "late")
    (func $leaf (type $f) (local.get 1))
    (func $deep (type $f)
      (if (i32.eqz (local.get 0)) (then (return (call_indirect (type $f) (i32.const 0) (local.get 1) (i32.const 0)))))
      (i64.add (local.get 1)
        (call_indirect (type $f) (i32.sub (local.get 0) (i32.const 1)) (i64.const 3) (i32.const 1))))
    (func (export "_start") (local $i i32) (local $v v128)
      (table.init $more (i32.const 2) (i32.const 0) (i32.const 2)) (elem.drop $more)
      (loop $l
        (local.set $v (i32x4.splat (local.get $i)))
        (global.set $sum (i64.add (global.get $sum) (call $deep (i32.const 20) (i64.extend_i32_u (local.get $i)))))
        (global.set $ratio (f64.mul (global.get $ratio) (f64.const 1.5)))
        (memory.init $late (i32.const 512) (i32.const 0) (i32.const 4))
        (drop (call $write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 96)))
        (i64.store (i32.const 1048) (i64.const 50000000)) (i32.store (i32.const 1040) (i32.const 1))
        (drop (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 96)))
        (v128.store (i32.const 256) (local.get $v))
        (drop (call $set (i32.const 256) (i32.const 16) (i32.const 128) (i32.const 5)))
        (drop (call $open (i32.const 160) (i32.const 6) (i32.const 176)))
        (drop (call $send (i32.load (i32.const 176)) (i32.const 128) (i32.const 5)))
        (drop (call $recv (i32.const 0) (i32.const 300) (i32.const 16) (i32.const 180) (i64.const 0)))
        (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100))))
      (data.drop $late) (drop (memory.grow (i32.const 1)))))"#;
/// Of its memory, in bytes.
const MEMORY: usize = 1 << 16;

fn program() -> &'static [u8] {
    static PARSED: OnceLock<Vec<u8>> = OnceLock::new();
    PARSED.get_or_init(|| wat::parse_str(PROGRAM).unwrap_or_default())
}

/// A module on its way through the pass.
pub const MODULE: Target = Target { name: "wasm-module", run: harness::module, cost: 400, seeds: modules };

fn modules() -> Vec<Vec<u8>> {
    with_nasty(vec![program().to_vec()])
}

/// The files, descriptors and pipes of a program.
pub const WORLD: Target = Target { name: "wasm-world", run: harness::world, cost: 20, seeds: worlds };

fn start() -> Start {
    Start {
        module: program().to_vec(),
        args: vec!["clock".into(), "5".into()],
        env: vec!["A=b".into()],
        stdin: b"input".to_vec(),
        files: vec![("in/text".into(), b"some text".to_vec()), ("b".into(), vec![0; 300])],
        grants: Grants { services: "echo/1".parse().into_iter().collect(), inference: true },
        ..Start::default()
    }
}

fn worlds() -> Vec<Vec<u8>> {
    with_nasty(harness::worlds(&start()))
}

/// What a program has of the bus: its map, its channels, its messages.
pub const BUS: Target = Target { name: "wasm-bus", run: harness::bus, cost: 20, seeds: buses };

fn buses() -> Vec<Vec<u8>> {
    with_nasty(harness::buses())
}

/// A saved program, which is gone on with.
pub const STATE: Target = Target { name: "wasm-state", run: state, cost: 400, seeds: states };

fn state(bytes: &[u8]) -> bool {
    harness::state(program(), MEMORY, bytes)
}

fn states() -> Vec<Vec<u8>> {
    with_nasty(harness::tails(&start()))
}
