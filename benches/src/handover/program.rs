//! The program that is handed over, and the stopwatch around it.

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use softbus::task::{Changes, Estimate, Mark, Prepared, Program, Runtime, TaskFailure};
use softbus::wasm::wasi::{Moment, Now};
use softbus::wasm::{EngineKind, Start, Turns, WasmRuntime};
use softbus::{Step, StepContext};
use tokio::time::Instant;

use crate::task::{PAGE, Size, watch};

/// A program that fills its memory with what does not compress, and then goes round and round through its hot pages, a word in each.
/// It never ends.
pub fn churn(size: &Size) -> anyhow::Result<Start> {
    let pages = (size.hot_bytes / PAGE).max(1);
    let pieces = size.pieces.max(1);
    let (per_piece, stride) = (pages.div_ceil(pieces), size.state_bytes / pieces);
    let text = format!(
        r#"(module
          (memory (export "memory") {memory})
          (func (export "_start")
            (local $word i64) (local $at i32) (local $turn i64) (local $page i32)
            (local.set $word (i64.const 0x9e3779b97f4a7c15))
            (loop $fill
              (local.set $word (i64.xor (local.get $word) (i64.shl (local.get $word) (i64.const 13))))
              (local.set $word (i64.xor (local.get $word) (i64.shr_u (local.get $word) (i64.const 7))))
              (local.set $word (i64.xor (local.get $word) (i64.shl (local.get $word) (i64.const 17))))
              (i64.store (local.get $at) (local.get $word))
              (local.set $at (i32.add (local.get $at) (i32.const 8)))
              (br_if $fill (i32.lt_u (local.get $at) (i32.const {state}))))
            (loop $for_ever
              (local.set $turn (i64.add (local.get $turn) (i64.const 1)))
              (local.set $page (i32.add (local.get $page) (i32.const 1)))
              (if (i32.ge_u (local.get $page) (i32.const {pages})) (then (local.set $page (i32.const 0))))
              (i64.store
                (i32.add
                  (i32.mul (i32.div_u (local.get $page) (i32.const {per_piece})) (i32.const {stride}))
                  (i32.mul (i32.rem_u (local.get $page) (i32.const {per_piece})) (i32.const {PAGE})))
                (local.get $turn))
              (br $for_ever))))"#,
        memory = size.state_bytes.div_ceil(1 << 16),
        state = size.state_bytes,
    );
    let mut start = Start { module: wat::parse_str(text)?, args: vec!["churn".into()], ..Start::default() };
    start.limits.memory_bytes = size.state_bytes + (1 << 20);
    Ok(start)
}

/// The clocks of this process.
struct Clock(Instant);

impl Now for Clock {
    fn now(&self) -> Moment {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { monotonic: self.0.elapsed().as_nanos() as u64, wall: wall.as_nanos() as u64 }
    }
}

/// The runtime of a device, with a look at the stopwatch before and after each step.
pub struct Watched(WasmRuntime);

impl Watched {
    pub fn new() -> anyhow::Result<Self> {
        let clock = Arc::new(Clock(Instant::now()));
        Ok(Self(WasmRuntime::new(EngineKind::here(), clock, Turns::Timed)?))
    }
}

impl Runtime for Watched {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn version(&self) -> u16 {
        self.0.version()
    }

    fn terms(&self, input: &[u8]) -> Vec<u8> {
        self.0.terms(input)
    }

    fn start(&self, input: &[u8], terms: &[u8]) -> Result<Box<dyn Program>, TaskFailure> {
        let program = self.0.start(input, terms)?;
        Ok(Box::new(Stopwatch { program, instance: watch().next_instance() }))
    }

    fn resume(&self, version: u16, state: &[u8], terms: &[u8]) -> Result<Box<dyn Program>, TaskFailure> {
        Ok(resumed(self.0.resume(version, state, terms)?))
    }

    fn prepare(&self, version: u16, state: &[u8], terms: &[u8]) -> Option<Box<dyn Prepared>> {
        self.0.prepare(version, state, terms)
    }

    fn resume_prepared(
        &self,
        version: u16,
        state: &[u8],
        terms: &[u8],
        prepared: Box<dyn Prepared>,
    ) -> Result<Box<dyn Program>, TaskFailure> {
        Ok(resumed(self.0.resume_prepared(version, state, terms, prepared)?))
    }

    fn estimate(&self, input: &[u8]) -> Estimate {
        self.0.estimate(input)
    }
}

fn resumed(program: Box<dyn Program>) -> Box<dyn Program> {
    let mut watch = watch();
    let instance = watch.next_instance();
    watch.resumed = Some(Instant::now());
    Box::new(Stopwatch { program, instance })
}

struct Stopwatch {
    program: Box<dyn Program>,
    instance: u64,
}

impl Program for Stopwatch {
    fn step(&mut self, cx: &mut StepContext) -> Result<Step<Vec<u8>>, TaskFailure> {
        watch().stepping(self.instance);
        let step = self.program.step(cx);
        watch().stepped = Some(Instant::now());
        step
    }

    fn save(&mut self, out: &mut dyn io::Write) -> Result<(), TaskFailure> {
        watch().saved = Some(Instant::now());
        self.program.save(out)
    }

    fn save_changes(&mut self, out: &mut dyn Changes) -> Result<(), TaskFailure> {
        watch().saved = Some(Instant::now());
        self.program.save_changes(out)
    }

    fn saved_as(&mut self, mark: Mark) {
        self.program.saved_as(mark);
    }
}
