//! How a running program is told to look whether its turn is over: a word in a memory that it shares with the host.
//!
//! The word is written by a tiny program in a store of its own, which has the same memory: so the engine sees to it that the
//! writing is atomic, and nothing here touches raw memory. The program itself cannot reach the word: it has no index for
//! that memory, and shared memories of its own are refused.
//!
//! Pulley has no shared memories. There the epoch of the engine moves on with each tick, and the engine calls back from
//! within the program, where the word can be written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{
    AsContextMut, Engine, Extern, Instance, Memory, MemoryType, Module, SharedMemory, Store, TypedFunc,
    UpdateDeadline,
};

use super::host::{Host, tell};
use crate::WasmError;
use crate::pass::AskMemory;

/// A store with the memory in it, and what writes the word.
type Writer = (Store<()>, TypedFunc<i32, ()>);

/// What writes the word.
#[derive(Clone)]
pub(super) enum Ask {
    /// From wherever.
    Writer(Arc<Mutex<Writer>>),
    /// The program's own calls, which look here.
    Wish(Arc<AtomicBool>),
}

/// What writes it, compiled.
pub(super) fn writer(engine: &Engine) -> Result<Module, WasmError> {
    use wasm_encoder as we;
    let mut types = we::TypeSection::new();
    types.ty().function([we::ValType::I32], []);
    let mut imports = we::ImportSection::new();
    imports.import(crate::pass::PREFIX, "ask", crate::pass::ask_memory(AskMemory::Shared));
    let mut functions = we::FunctionSection::new();
    functions.function(0);
    let mut exports = we::ExportSection::new();
    exports.export("set", we::ExportKind::Func, 0);
    let mut set = we::Function::new([]);
    let word = we::MemArg { offset: crate::pass::ASK, align: 2, memory_index: 0 };
    set.instruction(&we::Instruction::I32Const(0));
    set.instruction(&we::Instruction::LocalGet(0));
    set.instruction(&we::Instruction::I32AtomicStore(word));
    set.instruction(&we::Instruction::End);
    let mut code = we::CodeSection::new();
    code.function(&set);
    let mut module = we::Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports).section(&code);
    Module::new(engine, module.finish()).map_err(WasmError::engine)
}

impl Ask {
    /// A word of its own for a program, and the memory in which it stands.
    pub fn new(program: &mut Store<Host>, writer: Option<&Module>) -> Result<(Self, Extern), WasmError> {
        let Some(writer) = writer else {
            program.data_mut().host_grows = true;
            let memory = Memory::new(&mut *program, MemoryType::new(1, Some(1)));
            program.data_mut().host_grows = false;
            let memory = memory.map_err(WasmError::engine)?;
            let wish = Arc::<AtomicBool>::default();
            program.data_mut().ask = Some((memory, wish.clone()));
            program.set_epoch_deadline(1);
            program.epoch_deadline_callback(|mut store| {
                tell(store.as_context_mut())?;
                Ok(UpdateDeadline::Continue(1))
            });
            return Ok((Self::Wish(wish), memory.into()));
        };
        let engine = program.engine();
        let memory = SharedMemory::new(engine, MemoryType::shared(1, 1)).map_err(WasmError::engine)?;
        let mut store = Store::new(engine, ());
        let instance =
            Instance::new(&mut store, writer, &[memory.clone().into()]).map_err(WasmError::engine)?;
        let set = instance.get_typed_func(&mut store, "set").map_err(WasmError::engine)?;
        Ok((Self::Writer(Arc::new(Mutex::new((store, set)))), memory.into()))
    }

    /// Whether the program is to ask.
    pub fn set(&self, ask: bool) {
        match self {
            Self::Writer(writer) => {
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                let (store, set) = &mut *writer;
                // Cannot fail: it is one store into memory that is there.
                if let Err(error) = set.call(store, i32::from(ask)) {
                    tracing::error!(%error, "a program cannot be told that its turn is over");
                }
            }
            Self::Wish(wish) => wish.store(ask, Ordering::Relaxed),
        }
    }
}
