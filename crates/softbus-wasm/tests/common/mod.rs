//! A host for programs that are stopped and go on elsewhere: all that a program is is told and read again.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use softbus_wasm::pass::{AskMemory, Rewritten, UNSAVED, rewrite};
use wasmtime::{
    AsContextMut, Caller, Config, Engine, Extern, Func, Global, Instance, Linker, Memory, MemoryType, Module,
    Ref, SharedMemory, Store, Table, Val,
};

/// A program that can be stopped, compiled for an engine, and what goes on with its frames as far as it was needed.
pub struct Target {
    pub engine: Engine,
    pub module: Module,
    pub rewritten: Rewritten,
    rests: Mutex<BTreeMap<BTreeSet<u32>, Module>>,
}

impl Target {
    fn rest(&self, sites: &BTreeSet<u32>) -> Module {
        let mut rests = self.rests.lock().unwrap();
        let made = rests.entry(sites.clone()).or_insert_with(|| {
            Module::new(&self.engine, self.rewritten.rest(sites).unwrap())
                .unwrap_or_else(|error| panic!("{error:?}"))
        });
        made.clone()
    }
}

/// What goes on with a program's frames, and what that is linked to.
struct Rests {
    target: Arc<Target>,
    instance: Instance,
    poll: Extern,
    ask: Extern,
    linked: BTreeSet<u32>,
}

/// Has what goes on with frames of these sites.
fn provide(mut store: impl AsContextMut<Data = Host>, sites: impl IntoIterator<Item = u32>) {
    let mut store = store.as_context_mut();
    let rests = store.data_mut().rests.as_mut().unwrap();
    let missing: BTreeSet<u32> = sites.into_iter().filter(|site| rests.linked.insert(*site)).collect();
    if missing.is_empty() {
        return;
    }
    let module = rests.target.rest(&missing);
    let (instance, poll, ask) = (rests.instance, rests.poll.clone(), rests.ask.clone());
    let mut imports: Vec<Extern> = Vec::new();
    for import in module.imports() {
        imports.push(match import.name() {
            "poll" => poll.clone(),
            "ask" => ask.clone(),
            own => instance.get_export(&mut store, &format!("softbus:{own}")).unwrap(),
        });
    }
    Instance::new(&mut store, &module, &imports).unwrap();
}

#[derive(Default)]
pub struct Host {
    /// Times it was asked.
    asked: u64,
    /// At which it says stop.
    stop_at: u64,
    pub log: Vec<i64>,
    /// Calls out that have not happened yet because the program was to stop.
    withheld: u64,
    side: Option<Memory>,
    rests: Option<Rests>,
}

/// Cranelift's or Pulley's, on which programs may use a megabyte of stack.
pub fn engine(pulley: bool) -> Engine {
    engine_with(pulley, 1 << 20)
}

pub fn engine_with(pulley: bool, stack: usize) -> Engine {
    let mut config = Config::new();
    config.wasm_exceptions(true).wasm_tail_call(true).wasm_multi_memory(true).wasm_function_references(true);
    // Pulley has no shared memories.
    config.wasm_threads(!pulley).shared_memory(!pulley);
    config.cranelift_nan_canonicalization(true).wasm_branch_hinting(true);
    config.max_wasm_stack(stack).async_stack_size(stack + (1 << 20));
    if pulley {
        config.target("pulley64").unwrap();
    }
    Engine::new(&config).unwrap()
}

/// The memory through which programs are told to ask: its word says whether they are to.
pub fn ask<T>(engine: &Engine, store: &mut Store<T>, word: u32) -> Extern {
    if engine.is_pulley() {
        let memory = Memory::new(&mut *store, MemoryType::new(1, Some(1))).unwrap();
        memory.write(store, 0, &word.to_le_bytes()).unwrap();
        return memory.into();
    }
    let memory = SharedMemory::new(engine, MemoryType::shared(1, 1)).unwrap();
    let set = wat::parse_str(format!(
        r#"(module (import "softbus:" "ask" (memory 1 1 shared))
            (func $set i32.const 0 i32.const {word} i32.atomic.store) (start $set))"#
    ));
    let module = Module::new(engine, set.unwrap()).unwrap();
    Instance::new(Store::new(engine, ()), &module, &[memory.clone().into()]).unwrap();
    memory.into()
}

pub fn linker(engine: &Engine, store: &mut Store<Host>) -> Linker<Host> {
    let mut linker = Linker::new(engine);
    let memory = ask(engine, store, 1);
    linker.define(store, "softbus:", "ask", memory).unwrap();
    linker
        .func_wrap("softbus:", "poll", |mut caller: Caller<'_, Host>, site: u32| -> i32 {
            let host = caller.data_mut();
            host.asked += 1;
            if host.asked == host.stop_at {
                return 1;
            }
            provide(&mut caller, Some(site).filter(|site| *site != UNSAVED));
            0
        })
        .unwrap();
    linker
        .func_wrap("host", "log", |mut caller: Caller<'_, Host>, what: i64| caller.data_mut().log.push(what))
        .unwrap();
    // In this one a program may be stopped: then it has not happened.
    linker
        .func_wrap("host", "wait", |mut caller: Caller<'_, Host>, a: i32, b: i64| -> i64 {
            let host = caller.data_mut();
            host.asked += 1;
            if host.asked == host.stop_at {
                host.withheld += 1;
                if let Some(side) = host.side {
                    side.write(&mut caller, 4, &1u32.to_le_bytes()).unwrap();
                }
                return -1;
            }
            host.log.push(b);
            i64::from(a) + b
        })
        .unwrap();
    linker
}

/// How a call ended.
#[derive(Debug)]
pub enum Ended {
    Done(Vec<Val>),
    Stopped,
    Trapped(Option<wasmtime::Trap>),
}

/// Everything a program is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    pub memories: Vec<Vec<u8>>,
    pub globals: Vec<Vec<u8>>,
    pub tables: Vec<Vec<Option<u32>>>,
    pub frames: Vec<u8>,
    pub notes: Vec<u8>,
}

pub struct Program {
    pub store: Store<Host>,
    pub instance: Instance,
}

pub fn bits(value: &Val) -> Vec<u8> {
    match value {
        Val::I32(v) => v.to_le_bytes().to_vec(),
        Val::I64(v) => v.to_le_bytes().to_vec(),
        Val::F32(v) => v.to_le_bytes().to_vec(),
        Val::F64(v) => v.to_le_bytes().to_vec(),
        Val::V128(v) => v.as_u128().to_le_bytes().to_vec(),
        _ => Vec::new(),
    }
}

fn value(like: &Val, bits: &[u8]) -> Option<Val> {
    Some(match like {
        Val::I32(_) => Val::I32(i32::from_le_bytes(bits.try_into().ok()?)),
        Val::I64(_) => Val::I64(i64::from_le_bytes(bits.try_into().ok()?)),
        Val::F32(_) => Val::F32(u32::from_le_bytes(bits.try_into().ok()?)),
        Val::F64(_) => Val::F64(u64::from_le_bytes(bits.try_into().ok()?)),
        Val::V128(_) => Val::V128(u128::from_le_bytes(bits.try_into().ok()?).into()),
        _ => return None,
    })
}

impl Program {
    pub fn new(engine: &Engine, module: &Module, host: Host) -> Self {
        Self::try_new(engine, module, host).expect("it is made")
    }

    /// Nothing if it ends as it is made.
    pub fn try_new(engine: &Engine, module: &Module, host: Host) -> Option<Self> {
        let mut store = Store::new(engine, host);
        let linker = linker(engine, &mut store);
        let instance = linker.instantiate(&mut store, module).ok()?;
        let mut program = Self { store, instance };
        let side = program.memory("softbus:side");
        program.store.data_mut().side = side;
        Some(program)
    }

    /// One that can be stopped.
    pub fn of(target: &Arc<Target>, host: Host) -> Self {
        let mut store = Store::new(&target.engine, host);
        let linker = linker(&target.engine, &mut store);
        let instance = linker.instantiate(&mut store, &target.module).expect("it is made");
        let of_host = |store: &mut Store<Host>, name| linker.get(store, "softbus:", name).unwrap();
        let (poll, ask) = (of_host(&mut store, "poll"), of_host(&mut store, "ask"));
        let linked = BTreeSet::new();
        let rests = Rests { target: target.clone(), instance, poll, ask, linked };
        let side = instance.get_memory(&mut store, "softbus:side");
        (store.data_mut().rests, store.data_mut().side) = (Some(rests), side);
        Self { store, instance }
    }

    pub fn memory(&mut self, name: &str) -> Option<Memory> {
        self.instance.get_memory(&mut self.store, name)
    }

    pub fn global(&mut self, name: &str) -> Option<Global> {
        self.instance.get_global(&mut self.store, name)
    }

    pub fn table(&mut self, name: &str) -> Option<Table> {
        self.instance.get_table(&mut self.store, name)
    }

    /// Calls a function, with zeros for what it takes.
    pub fn call(&mut self, function: Func) -> Ended {
        let ty = function.ty(&self.store);
        let zeros = |types: &mut dyn Iterator<Item = wasmtime::ValType>| -> Vec<Val> {
            types.map(|ty| Val::default_for_ty(&ty).unwrap()).collect()
        };
        let (params, mut results) = (zeros(&mut ty.params()), zeros(&mut ty.results()));
        match function.call(&mut self.store, &params, &mut results) {
            Ok(()) => Ended::Done(results),
            Err(_) if self.store.has_pending_exception() => {
                self.store.take_pending_exception();
                Ended::Stopped
            }
            Err(error) => Ended::Trapped(error.downcast_ref::<wasmtime::Trap>().copied()),
        }
    }

    /// Functions that a table may hold, by their addresses.
    pub fn functions(&mut self) -> Vec<(usize, u32)> {
        let names: Vec<(String, Func)> = self
            .instance
            .exports(&mut self.store)
            .filter_map(|export| {
                let name = export.name().to_owned();
                export.into_func().map(|f| (name, f))
            })
            .collect();
        names
            .into_iter()
            .filter_map(|(name, function)| {
                let index = name.strip_prefix("softbus:f")?.parse().ok()?;
                Some((function.to_raw(&mut self.store) as usize, index))
            })
            .collect()
    }

    pub fn state(&mut self, frames: u32) -> State {
        let mut state = State::default();
        for n in 0.. {
            let Some(memory) = self.memory(&format!("softbus:m{n}")) else { break };
            state.memories.push(memory.data(&self.store).to_vec());
        }
        for n in 0.. {
            let Some(global) = self.global(&format!("softbus:g{n}")) else { break };
            let value = global.get(&mut self.store);
            state.globals.push(bits(&value));
        }
        let functions = self.functions();
        for n in 0.. {
            let Some(table) = self.table(&format!("softbus:t{n}")) else { break };
            let mut held = Vec::new();
            for at in 0..table.size(&self.store) {
                held.push(match table.get(&mut self.store, at) {
                    Some(Ref::Func(Some(function))) => {
                        let raw = function.to_raw(&mut self.store) as usize;
                        Some(functions.iter().find(|(address, _)| *address == raw).expect("it is known").1)
                    }
                    _ => None,
                });
            }
            state.tables.push(held);
        }
        if let (Some(side), Some(top)) = (self.memory("softbus:side"), self.global("softbus:top")) {
            let top = top.get(&mut self.store).unwrap_i32() as usize;
            state.frames = side.data(&self.store)[frames as usize..top].to_vec();
            state.notes = side.data(&self.store)[8..frames as usize].to_vec();
        }
        state
    }

    /// Becomes what the state says, and goes on.
    pub fn go_on(&mut self, rewritten: &Rewritten, state: &State) -> Ended {
        for (n, bytes) in state.memories.iter().enumerate() {
            let memory = self.memory(&format!("softbus:m{n}")).unwrap();
            let more = (bytes.len() - memory.data_size(&self.store)) as u64 >> 16;
            memory.grow(&mut self.store, more).unwrap();
            memory.write(&mut self.store, 0, bytes).unwrap();
        }
        for (n, bits) in state.globals.iter().enumerate() {
            let global = self.global(&format!("softbus:g{n}")).unwrap();
            let like = global.get(&mut self.store);
            if global.ty(&self.store).mutability() == wasmtime::Mutability::Var
                && let Some(value) = value(&like, bits)
            {
                global.set(&mut self.store, value).unwrap();
            }
        }
        for (n, held) in state.tables.iter().enumerate() {
            let table = self.table(&format!("softbus:t{n}")).unwrap();
            let more = held.len() as u64 - table.size(&self.store);
            // Of the host's references there are none but null.
            let null = Ref::null(table.ty(&self.store).element().heap_type());
            table.grow(&mut self.store, more, null.clone()).unwrap();
            for (at, function) in held.iter().enumerate() {
                let held = match function {
                    Some(f) => {
                        let name = format!("softbus:f{f}");
                        Ref::Func(Some(self.instance.get_func(&mut self.store, &name).unwrap()))
                    }
                    None => null.clone(),
                };
                table.set(&mut self.store, at as u64, held).unwrap();
            }
        }
        let side = self.memory("softbus:side").unwrap();
        let first = rewritten.frames as usize;
        let top = first + state.frames.len();
        let more = (top as u64 >> 16) + 1 - side.size(&self.store);
        side.grow(&mut self.store, more).unwrap();
        // From the outermost one inwards.
        let mut sites = Vec::new();
        let mut at = state.frames.len();
        while at > 0 {
            let site = u32::from_le_bytes(state.frames[at - 4..at].try_into().unwrap());
            sites.push(site);
            at -= rewritten.sites[site as usize].2 as usize;
        }
        let outermost = sites[0];
        side.write(&mut self.store, first, &state.frames).unwrap();
        side.write(&mut self.store, 8, &state.notes).unwrap();
        let global = self.global("softbus:top").unwrap();
        global.set(&mut self.store, Val::I32(top as i32)).unwrap();
        let table = self.table("softbus:rest").unwrap();
        provide(&mut self.store, sites);
        let Some(Ref::Func(Some(function))) = table.get(&mut self.store, u64::from(outermost)) else {
            panic!()
        };
        self.call(function)
    }
}

pub struct Outcome {
    /// `None`: it ended with a trap.
    pub results: Option<Vec<Vec<u8>>>,
    pub log: Vec<i64>,
    pub state: State,
    pub asked: u64,
    pub moves: u64,
}

/// Runs an exported function, stops it at these times, and takes it to the next engine each time.
pub fn run(engines: &[Arc<Target>], export: &str, stops: &mut dyn FnMut(u64) -> u64) -> Outcome {
    let mut which = 0;
    let mut moves = 0;
    let host = Host { stop_at: u64::MAX, ..Host::default() };
    let mut program = Program::of(&engines[which], host);
    let rewritten = &engines[which].rewritten;
    let mut ended = Ended::Done(Vec::new());
    if let Some(start) = rewritten.start {
        let start = program.instance.get_func(&mut program.store, &format!("softbus:f{start}")).unwrap();
        ended = program.call(start);
    }
    if let Ended::Done(_) = ended {
        let asked = program.store.data().asked;
        program.store.data_mut().stop_at = asked.saturating_add(stops(0));
        let function = program.instance.get_func(&mut program.store, export).unwrap();
        ended = program.call(function);
    }
    loop {
        let rewritten = &engines[which].rewritten;
        let state = program.state(rewritten.frames);
        let host = std::mem::take(program.store.data_mut());
        match ended {
            Ended::Stopped => {
                moves += 1;
                assert!(moves < 100_000, "it never ends");
                which = (which + 1) % engines.len();
                let stop_at = host.asked.saturating_add(stops(moves));
                program = Program::of(&engines[which], Host { stop_at, ..host });
                ended = program.go_on(&engines[which].rewritten, &state);
            }
            Ended::Done(results) => {
                let results = Some(results.iter().map(bits).collect());
                return Outcome { results, log: host.log, state, asked: host.asked, moves };
            }
            Ended::Trapped(_) => {
                return Outcome { results: None, log: host.log, state, asked: host.asked, moves };
            }
        }
    }
}

/// Both engines, with a module compiled for each.
pub fn engines(module: &[u8], stopping: &dyn Fn(&str, &str) -> bool) -> Vec<Arc<Target>> {
    engines_with(module, stopping, 1 << 20)
}

pub fn engines_with(module: &[u8], stopping: &dyn Fn(&str, &str) -> bool, stack: usize) -> Vec<Arc<Target>> {
    let compiled = [false, true].into_iter().map(|pulley| {
        let engine = engine_with(pulley, stack);
        let ask = if pulley { AskMemory::Plain } else { AskMemory::Shared };
        let rewritten = rewrite(module.into(), stopping, ask).unwrap();
        let module = Module::new(&engine, &rewritten.module).unwrap_or_else(|error| panic!("{error:?}"));
        Arc::new(Target { engine, module, rewritten, rests: Mutex::default() })
    });
    compiled.collect()
}
