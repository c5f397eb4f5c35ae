//! Checkpoints that leave out what did not change are what a whole one is.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io;
use std::sync::Arc;

use softbus_task::{Changes, Mark, Program, Runtime, Step, StepContext, TaskFailure};
use softbus_wasm::wasi::{Moment, Now};
use softbus_wasm::{EngineKind, Start, Turns, WasmRuntime};

struct Still;

impl Now for Still {
    fn now(&self) -> Moment {
        Moment { monotonic: 1_000, wall: 1_700_000_000_000_000_000 }
    }
}

/// A state that is written over again and again.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    at: usize,
    over: Option<Mark>,
    next: Option<Mark>,
    kept: usize,
    /// No more is taken than this.
    room: Option<usize>,
}

impl Kept {
    fn save(&mut self, program: &mut dyn Program) -> Result<(), TaskFailure> {
        (self.at, self.kept, self.next) = (0, 0, Some(Mark::fresh()));
        let saved = program.save_changes(self);
        self.over = self.next.take().filter(|_| saved.is_ok());
        self.bytes.truncate(self.at);
        saved
    }
}

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.at + bytes.len();
        if self.room.is_some_and(|room| end > room) {
            return Err(io::Error::other("no room"));
        }
        self.bytes.resize(self.bytes.len().max(end), 0xEE);
        self.bytes[self.at..end].copy_from_slice(bytes);
        self.at = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Changes for Kept {
    fn over(&self) -> Option<Mark> {
        self.over
    }

    fn mark(&self) -> Mark {
        self.next.unwrap()
    }

    fn keep(&mut self, len: usize) -> io::Result<()> {
        self.at += len;
        self.kept += len;
        assert!(self.at <= self.bytes.len(), "more than there is");
        Ok(())
    }
}

/// Writes a word here and there in its two memories, which grow now and then; in some stretches to nearly every page.
fn program() -> Vec<u8> {
    let text = r#"(module
      (memory (export "memory") 48) (memory $second 20)
      (global $x (mut i32) (i32.const 12345)) (global $n (mut i32) (i32.const 0))
      (func $next (result i32)
        (global.set $x (i32.xor (global.get $x) (i32.shl (global.get $x) (i32.const 13))))
        (global.set $x (i32.xor (global.get $x) (i32.shr_u (global.get $x) (i32.const 17))))
        (global.set $x (i32.xor (global.get $x) (i32.shl (global.get $x) (i32.const 5))))
        (global.get $x))
      (func (export "_start") (local $at i32)
        (loop $l
          (i32.store (i32.and (call $next) (i32.const 0x1ffffc)) (global.get $n))
          (i32.store $second (i32.and (call $next) (i32.const 0x0ffffc)) (global.get $n))
          (if (i32.eqz (i32.rem_u (global.get $n) (i32.const 1500)))
            (then (drop (memory.grow (i32.const 1)))
                  (i32.store (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 8)) (global.get $n))))
          (if (i32.eqz (i32.rem_u (global.get $n) (i32.const 2300)))
            (then (drop (memory.grow $second (i32.const 1)))))
          (if (i32.eqz (i32.rem_u (global.get $n) (i32.const 2000)))
            (then (local.set $at (i32.const 0))
              (loop $all
                (i32.store (local.get $at) (global.get $n))
                (br_if $all (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const 0x200000))))))
          (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (br $l))))"#;
    wat::parse_str(text).unwrap()
}

#[test]
fn a_checkpoint_of_what_changed_is_a_whole_one() {
    let watched = softbus_pages::Watch::new().is_ok();
    let engines = [EngineKind::Cranelift, EngineKind::Pulley]
        .map(|kind| WasmRuntime::new(kind, Arc::new(Still), Turns::Counted).unwrap());
    let input = postcard::to_allocvec(&Start { module: program(), ..Start::default() }).unwrap();
    let (mut kept, mut whole) = (Kept::default(), Vec::new());
    let terms = engines[0].terms(&input);
    let mut program = engines[0].start(&input, &terms).unwrap();
    let (mut most, mut times) = (0, 0);
    for round in 0..120usize {
        let turn = program.step(&mut StepContext::detached(256 * (20 + 7 * (round as u64 % 11)))).unwrap();
        assert_eq!(turn, Step::More);
        // One that finds no room leaves the next with nothing to build upon.
        if round % 17 == 16 {
            kept.room = Some(1 << 20);
            assert!(kept.save(&mut *program).is_err());
            kept.room = None;
        }
        kept.save(&mut *program).unwrap();
        whole.clear();
        program.save(&mut whole).unwrap();
        assert!(kept.bytes == whole, "round {round}: {} bytes were kept of {}", kept.kept, whole.len());
        most = most.max(kept.kept);
        times += usize::from(kept.kept > 0);
        let engine = &engines[round % 2];
        match round % 10 {
            // Gone on with from what was saved …
            4 => {
                program = engine.resume(1, &whole, &terms).unwrap();
                program.saved_as(kept.over.unwrap());
            }
            // … in a machine that was made of something older …
            9 => {
                let mut older = whole.clone();
                older.iter_mut().skip(1 << 20).step_by(70_000).for_each(|byte| *byte ^= 1);
                if let Some(mut prepared) = engine.prepare(1, &older, &terms) {
                    let chunks = older.chunks(1 << 16).zip(whole.chunks(1 << 16)).enumerate();
                    chunks.filter(|(_, (old, new))| old != new).for_each(|(index, (_, new))| {
                        prepared.follow(index << 16, new);
                    });
                    program = engine.resume_prepared(1, &whole, &terms, prepared).unwrap();
                    program.saved_as(kept.over.unwrap());
                }
            }
            // … or with nobody knowing what it was saved as.
            6 => program = engine.resume(1, &whole, &terms).unwrap(),
            _ => {}
        }
    }
    assert!(!watched || (most > 4 << 20 && times > 40), "{most} bytes at most, {times} times");
}
