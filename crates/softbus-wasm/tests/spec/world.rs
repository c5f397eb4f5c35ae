//! Worlds in which scripts happen: the modules as they are, or as the pass makes them, and a host that asks or stops them.

use std::collections::BTreeSet;
use std::sync::Arc;

use softbus_wasm::pass::{Rewritten, UNSAVED};
use wasmtime::{
    AsContextMut, Caller, Engine, Extern, Func, Global, GlobalType, Instance, Linker, Memory, MemoryType,
    Module, Mutability, Ref, RefType, Store, Table, TableType, Trap, Val, ValType,
};

use crate::common::ask;
use crate::values::{Seen, seen};

/// Most times that a program is stopped in one call, and that it asks in one.
const STOPS: u32 = 20;
const ASKS: u32 = 10_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The modules as they are.
    Plain,
    /// Nobody wants to be asked.
    Quiet,
    /// Programs ask wherever they can, and are told to go on.
    Asking,
    /// They are stopped each second time that they ask, and go on from their frames.
    Stopping,
}

/// How something ended, and what was printed meanwhile.
#[derive(PartialEq, Debug)]
pub struct Did {
    pub how: How,
    pub printed: Vec<Seen>,
}

#[derive(PartialEq, Debug)]
pub enum How {
    Done(Vec<Seen>),
    Trapped(Trap),
    /// Its imports are not what it wants.
    Unlinked,
}

pub struct Host {
    mode: Mode,
    printed: Vec<Seen>,
    /// Times it was asked, and said stop.
    pub asked: u64,
    pub stopped: u64,
    /// Times it may still say stop in this call, and may still be asked.
    left: (u32, u32),
    /// Another module may be between a program's frames.
    linked: bool,
    /// The word that says whether to ask.
    ask: Option<Extern>,
    made: Vec<Made>,
}

impl Host {
    /// Whether a program that could be stopped here is to be.
    fn stops(&mut self) -> bool {
        self.asked += 1;
        self.left.1 = self.left.1.checked_sub(1).expect("it comes to an end");
        let stops = self.mode == Mode::Stopping && !self.linked && self.asked % 2 == 1 && self.left.0 > 0;
        if stops {
            self.left.0 -= 1;
            self.stopped += 1;
        }
        stops
    }
}

/// What the host answers where a program asks, for a site of the module made as number `at`.
fn poll(mut caller: Caller<'_, Host>, at: usize, site: u32) -> i32 {
    if caller.data_mut().stops() {
        return 1;
    }
    if site != UNSAVED {
        rest(&mut caller, at, site);
    }
    0
}

/// Has what goes on with frames of a site in the table of a module.
fn rest(mut store: impl AsContextMut<Data = Host>, at: usize, site: u32) {
    let mut store = store.as_context_mut();
    let made = &mut store.data_mut().made[at];
    if !made.rests.insert(site) {
        return;
    }
    let (instance, poll) = (made.instance, made.poll);
    let module = made.rewritten.as_ref().unwrap().rest(&BTreeSet::from([site])).unwrap();
    let ask = store.data().ask.clone().unwrap();
    let module = Module::new(store.engine(), &module).unwrap_or_else(|error| panic!("{error:?}"));
    let imports: Vec<Extern> = module
        .imports()
        .map(|import| match import.name() {
            "poll" => poll.unwrap().into(),
            "ask" => ask.clone(),
            own => instance.get_export(&mut store, &format!("softbus:{own}")).unwrap(),
        })
        .collect();
    Instance::new(&mut store, &module, &imports).unwrap();
}

/// The scripts' host prints. A program may be stopped in that: then it has not happened.
fn print(mut caller: Caller<'_, Host>, printed: &[Seen]) {
    let side = caller.get_export("softbus:side").and_then(Extern::into_memory);
    if let Some(side) = side
        && caller.data_mut().stops()
    {
        side.write(&mut caller, 4, &1u32.to_le_bytes()).unwrap();
        return;
    }
    caller.data_mut().printed.extend_from_slice(printed);
}

/// What the scripts import from `spectest`.
fn spectest(linker: &mut Linker<Host>, store: &mut Store<Host>) {
    let name = "spectest";
    let global = |store: &mut Store<Host>, ty: ValType, value: Val| -> Extern {
        Global::new(store, GlobalType::new(ty, Mutability::Const), value).unwrap().into()
    };
    let items: [(&str, Extern); 6] = [
        ("global_i32", global(store, ValType::I32, Val::I32(666))),
        ("global_i64", global(store, ValType::I64, Val::I64(666))),
        ("global_f32", global(store, ValType::F32, Val::F32(666.6f32.to_bits()))),
        ("global_f64", global(store, ValType::F64, Val::F64(666.6f64.to_bits()))),
        ("memory", Memory::new(&mut *store, MemoryType::new(1, Some(2))).unwrap().into()),
        (
            "table",
            Table::new(&mut *store, TableType::new(RefType::FUNCREF, 10, Some(20)), Ref::Func(None))
                .unwrap()
                .into(),
        ),
    ];
    for (item, what) in items {
        linker.define(&mut *store, name, item, what).unwrap();
    }
    let f32 = |v: f32| Seen::F32(v.to_bits());
    let f64 = |v: f64| Seen::F64(v.to_bits());
    linker.func_wrap(name, "print", |c: Caller<'_, Host>| print(c, &[])).unwrap();
    linker.func_wrap(name, "print_i32", |c: Caller<'_, Host>, v: i32| print(c, &[Seen::I32(v)])).unwrap();
    linker.func_wrap(name, "print_i64", |c: Caller<'_, Host>, v: i64| print(c, &[Seen::I64(v)])).unwrap();
    linker.func_wrap(name, "print_f32", move |c: Caller<'_, Host>, v: f32| print(c, &[f32(v)])).unwrap();
    linker.func_wrap(name, "print_f64", move |c: Caller<'_, Host>, v: f64| print(c, &[f64(v)])).unwrap();
    linker
        .func_wrap(name, "print_i32_f32", move |c: Caller<'_, Host>, a: i32, b: f32| {
            print(c, &[Seen::I32(a), f32(b)])
        })
        .unwrap();
    linker
        .func_wrap(name, "print_f64_f64", move |c: Caller<'_, Host>, a: f64, b: f64| {
            print(c, &[f64(a), f64(b)])
        })
        .unwrap();
}

/// A module, and what the pass made of it if it let it in.
#[derive(Clone)]
pub struct Prepared {
    pub plain: Module,
    pub rewritten: Option<(Module, Arc<Rewritten>)>,
}

struct Made {
    instance: Instance,
    rewritten: Option<Arc<Rewritten>>,
    /// How it asks.
    poll: Option<Func>,
    /// Sites with whose frames it can go on.
    rests: BTreeSet<u32>,
}

pub struct World {
    pub mode: Mode,
    pub store: Store<Host>,
    linker: Linker<Host>,
}

impl World {
    pub fn new(engine: &Engine, mode: Mode) -> Self {
        let host = Host {
            mode,
            printed: Vec::new(),
            asked: 0,
            stopped: 0,
            left: (STOPS, ASKS),
            linked: false,
            ask: None,
            made: Vec::new(),
        };
        let mut store = Store::new(engine, host);
        let mut linker = Linker::new(engine);
        linker.allow_shadowing(true);
        spectest(&mut linker, &mut store);
        if mode != Mode::Plain {
            let ask = ask(engine, &mut store, u32::from(mode != Mode::Quiet));
            linker.define(&mut store, "softbus:", "ask", ask.clone()).unwrap();
            store.data_mut().ask = Some(ask);
        }
        Self { mode, store, linker }
    }

    /// Makes an instance, which has the next number if that comes to its end.
    pub fn instantiate(&mut self, module: &Prepared) -> Did {
        let (module, rewritten) = match &module.rewritten {
            Some((module, rewritten)) if self.mode != Mode::Plain => (module, Some(rewritten)),
            _ => (&module.plain, None),
        };
        let at = self.store.data().made.len();
        let poll = rewritten.map(|_| {
            let poll = Func::wrap(&mut self.store, move |caller: Caller<'_, Host>, site: u32| {
                poll(caller, at, site)
            });
            self.linker.define(&mut self.store, "softbus:", "poll", poll).unwrap();
            poll
        });
        let how = match self.linker.instantiate(&mut self.store, module) {
            Ok(instance) => {
                let made = Made { instance, rewritten: rewritten.cloned(), poll, rests: BTreeSet::new() };
                self.store.data_mut().made.push(made);
                let start = rewritten.and_then(|rewritten| rewritten.start);
                // The pass leaves this to the host.
                if let Some(start) = start {
                    let did = self.invoke(at, &format!("softbus:f{start}"), &[]);
                    if let How::Trapped(_) = did.how {
                        self.store.data_mut().made.pop();
                    }
                    return did;
                }
                How::Done(Vec::new())
            }
            Err(error) => match error.downcast_ref::<Trap>() {
                Some(trap) => How::Trapped(*trap),
                None => How::Unlinked,
            },
        };
        self.did(how)
    }

    /// Later modules can import from it.
    pub fn register(&mut self, at: usize, name: &str) {
        self.store.data_mut().linked = true;
        let instance = self.store.data().made[at].instance;
        self.linker.instance(&mut self.store, name, instance).unwrap();
    }

    /// The value of a global.
    pub fn global(&mut self, at: usize, name: &str) -> Did {
        let instance = self.store.data().made[at].instance;
        let global = instance.get_global(&mut self.store, name).unwrap();
        let value = global.get(&mut self.store);
        let value = seen(&mut self.store, &value);
        self.did(How::Done(vec![value]))
    }

    /// Calls a function until it has come to its end.
    pub fn invoke(&mut self, at: usize, name: &str, params: &[Val]) -> Did {
        let instance = self.store.data().made[at].instance;
        let function = instance.get_func(&mut self.store, name).unwrap();
        let mut results: Vec<Val> =
            function.ty(&self.store).results().map(|ty| Val::default_for_ty(&ty).unwrap()).collect();
        self.store.data_mut().left = (STOPS, ASKS);
        let mut called = function.call(&mut self.store, params, &mut results);
        while called.is_err() && self.store.has_pending_exception() {
            self.store.take_pending_exception();
            let outermost = self.outermost(at);
            called = outermost.call(&mut self.store, &[], &mut results);
        }
        let how = match called {
            Ok(()) => How::Done(results.iter().map(|value| seen(&mut self.store, value)).collect()),
            Err(error) => How::Trapped(*error.downcast_ref::<Trap>().unwrap_or_else(|| panic!("{error:?}"))),
        };
        self.did(how)
    }

    fn did(&mut self, how: How) -> Did {
        Did { how, printed: std::mem::take(&mut self.store.data_mut().printed) }
    }

    /// Of a program that was stopped: what goes on with its outermost frame, where it stands.
    fn outermost(&mut self, at: usize) -> Func {
        let made = &self.store.data().made[at];
        let (instance, rewritten) = (made.instance, made.rewritten.clone().unwrap());
        let side = instance.get_memory(&mut self.store, "softbus:side").unwrap();
        side.write(&mut self.store, 4, &0u32.to_le_bytes()).unwrap();
        let top = instance.get_global(&mut self.store, "softbus:top").unwrap();
        let mut end = top.get(&mut self.store).unwrap_i32() as usize;
        let mut outermost = None;
        // From the outermost one inwards.
        while end > rewritten.frames as usize {
            let mut word = [0; 4];
            side.read(&self.store, end - 4, &mut word).unwrap();
            let site = u32::from_le_bytes(word);
            rest(&mut self.store, at, site);
            outermost.get_or_insert(site);
            end -= rewritten.sites[site as usize].2 as usize;
        }
        let table = instance.get_table(&mut self.store, "softbus:rest").unwrap();
        match table.get(&mut self.store, u64::from(outermost.expect("there are frames"))) {
            Some(Ref::Func(Some(function))) => function,
            other => panic!("what goes on is no function: {other:?}"),
        }
    }
}
