//! Engines of wasmtime: Cranelift, or Pulley where no code may be generated.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{Config, Linker, Module, Store};

use super::ask::{self, Ask};
use super::host::Host;
use super::machine::{Body, Fibers};
use super::ticker::Ticker;
use super::{Compiled, Engine, Machine, bindings};
use crate::WasmError;
use crate::limits::{self, Limits};
use crate::pass::{AskMemory, PREFIX, Rewritten};
use crate::wasi::{Now, Wasi};

/// How programs are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// As machine code.
    #[default]
    Cranelift,
    /// By an interpreter: where no code may be generated, and much slower.
    Pulley,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cranelift => "Cranelift",
            Self::Pulley => "Pulley",
        })
    }
}

impl Kind {
    /// The fastest of those that there are for this processor.
    pub fn here() -> Self {
        let code = cfg!(any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64",
            target_arch = "s390x"
        ));
        if code { Self::Cranelift } else { Self::Pulley }
    }
}

/// An engine, and what all its programs share.
pub(crate) struct Wasmtime {
    engine: wasmtime::Engine,
    linker: Linker<Host>,
    /// Where the engine has shared memories.
    writer: Option<Module>,
    ticker: Arc<Ticker>,
}

impl Wasmtime {
    /// # Errors
    /// The engine does not run on this machine.
    pub fn new(kind: Kind) -> Result<Self, WasmError> {
        let mut config = Config::new();
        config
            .wasm_exceptions(true)
            .wasm_tail_call(true)
            .wasm_multi_memory(true)
            .wasm_function_references(true)
            .wasm_branch_hinting(true)
            // What it computes is the same on each machine.
            .cranelift_nan_canonicalization(true)
            .relaxed_simd_deterministic(true)
            // A trap is told in a few words, however deep it happened.
            .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(16))
            .max_wasm_stack(limits::STACK_BYTES)
            .async_stack_size(limits::STACK_BYTES + (1 << 20));
        match kind {
            // For the one word that says whether a program is to ask; programs themselves may not use it.
            Kind::Cranelift => config.wasm_threads(true).shared_memory(true),
            // Which has no shared memories: there epochs come between, and cost it less than they would cost machine code.
            Kind::Pulley => {
                let target = if cfg!(target_pointer_width = "64") { "pulley64" } else { "pulley32" };
                config.target(target).map_err(WasmError::engine)?.epoch_interruption(true)
            }
        };
        let engine = wasmtime::Engine::new(&config).map_err(WasmError::engine)?;
        let mut linker = Linker::new(&engine);
        bindings::link(&mut linker)?;
        let (writer, ticker) = match kind {
            Kind::Cranelift => (Some(ask::writer(&engine)?), Ticker::new(None)),
            Kind::Pulley => (None, Ticker::new(Some(engine.clone()))),
        };
        Ok(Self { engine, linker, writer, ticker: Arc::new(ticker) })
    }
}

impl Engine for Wasmtime {
    fn ask_memory(&self) -> AskMemory {
        if self.writer.is_some() { AskMemory::Shared } else { AskMemory::Plain }
    }

    fn compile(&self, program: Arc<Rewritten>) -> Result<Arc<dyn Compiled>, WasmError> {
        let module = Module::new(&self.engine, &program.module).map_err(WasmError::engine)?;
        Ok(Arc::new(Program(Arc::new(Inner {
            program,
            module,
            engine: self.engine.clone(),
            linker: self.linker.clone(),
            writer: self.writer.clone(),
            ticker: self.ticker.clone(),
            rests: Mutex::default(),
        }))))
    }
}

struct Program(Arc<Inner>);

/// A compiled program.
pub(super) struct Inner {
    pub program: Arc<Rewritten>,
    pub module: Module,
    engine: wasmtime::Engine,
    linker: Linker<Host>,
    /// Where the engine has shared memories.
    writer: Option<Module>,
    ticker: Arc<Ticker>,
    /// Modules that go on with frames of one site each, the one used last at the end.
    rests: Mutex<Vec<(u32, Module)>>,
}

impl Inner {
    /// A module that goes on with frames of this site, and whether it had to be compiled.
    pub fn rest(&self, site: u32) -> Result<(Module, bool), WasmError> {
        {
            let mut rests = self.rests.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = rests.iter().position(|(held, _)| *held == site) {
                let found = rests.remove(at);
                let module = found.1.clone();
                rests.push(found);
                return Ok((module, false));
            }
        }
        // Not while others wait.
        let module = self.rest_of(&[site])?;
        let mut rests = self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        if rests.len() >= limits::RESTS {
            rests.remove(0);
        }
        rests.push((site, module.clone()));
        Ok((module, true))
    }

    /// A module that goes on with frames of any of these sites; it is not kept.
    pub fn rest_of(&self, sites: &[u32]) -> Result<Module, WasmError> {
        let module = self.program.rest(&sites.iter().copied().collect())?;
        Module::new(&self.engine, module).map_err(WasmError::engine)
    }
}

impl Compiled for Program {
    fn machine(
        &self,
        world: Wasi,
        clock: Arc<dyn Now>,
        limits: &Limits,
    ) -> Result<Box<dyn Machine>, WasmError> {
        let inner = &self.0;
        let shared = super::fiber::Shared::new(world, clock);
        let mut store = Store::new(&inner.engine, Host::new(shared.clone(), limits, &inner.program));
        store.limiter(|host| host);
        let (ask, memory) = Ask::new(&mut store, inner.writer.as_ref())?;
        let mut linker = inner.linker.clone();
        linker.define(&store, PREFIX, "ask", memory).map_err(WasmError::engine)?;
        let body = Body::new(inner.clone(), store, &linker)?;
        Ok(Box::new(Fibers::new(body, shared, ask, inner.ticker.clone())))
    }
}
