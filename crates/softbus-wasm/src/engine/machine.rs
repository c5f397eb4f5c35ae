//! A program on an engine of wasmtime.

mod image;
mod rests;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use wasmtime::{AsContextMut, Extern, Func, Instance, Linker, Memory, Ref, RootScope, Store, Val};

use super::ask::Ask;
use super::bindings::Exit;
use super::fiber::{Left, Shared, Word};
use super::host::{Host, tell};
use super::link::Inner;
use super::ticker::Ticker;
use super::{Asking, Core, Machine, Ran, Stage, Turn};
use crate::WasmError;
use crate::admission::{COMMAND, INITIALIZE, REACTOR};
use crate::limits;
use crate::pass::{AGAIN, NOTES, PREFIX};
use crate::wasi::Wasi;
pub(super) use rests::{Rests, provide};

/// So many sites of frames are few.
const FEW: usize = 64;

/// A program that stands still.
pub(super) struct Body {
    compiled: Arc<Inner>,
    store: Store<Host>,
    instance: Instance,
    side: Memory,
    stage: Stage,
    /// Functions that a table may hold, by what the engine calls them.
    functions: BTreeMap<usize, u32>,
}

/// How it came to stand still.
enum End {
    Done,
    Unwound,
    Exited(u32),
    Trapped(String),
    /// The host's fault.
    Broken(String),
}

/// Times that a program which unwinds may be left.
const TIDYING: usize = 1000;

/// A program on a stack of its own.
type Fiber = Pin<Box<dyn Future<Output = (Box<Body>, End)> + Send>>;

enum Life {
    Still(Box<Body>),
    Left(Fiber),
    /// It exited.
    Ended(Box<Body>),
    Over,
}

/// A program that runs, or stands still.
pub(super) struct Fibers {
    compiled: Arc<Inner>,
    life: Life,
    shared: Shared,
    ask: Ask,
    ticker: Arc<Ticker>,
}

impl Fibers {
    pub fn new(body: Body, shared: Shared, ask: Ask, ticker: Arc<Ticker>) -> Self {
        Self { compiled: body.compiled.clone(), life: Life::Still(Box::new(body)), shared, ask, ticker }
    }

    /// Has it run until it leaves, or stands still.
    fn go(&mut self, mut fiber: Fiber) -> Option<End> {
        match fiber.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {
                self.life = Life::Left(fiber);
                None
            }
            Poll::Ready((body, end)) => {
                self.life = Life::Still(body);
                Some(end)
            }
        }
    }

    /// Has it run until its turn is over, or it waits or stands still.
    fn turn(&mut self, mut fiber: Fiber) -> Option<End> {
        loop {
            let end = self.go(fiber);
            let left = self.shared.lock().left;
            let (None, Left::Rest(site)) = (&end, left) else { return end };
            let rest = self.compiled.rest(site);
            let mut talk = self.shared.lock();
            talk.compiled += u64::from(matches!(rest, Ok((_, true))));
            talk.rest = Some(rest.map(|(module, _)| module));
            drop(talk);
            match std::mem::replace(&mut self.life, Life::Over) {
                Life::Left(left) => fiber = left,
                Life::Still(_) | Life::Ended(_) | Life::Over => {
                    return Some(End::Broken(WasmError::Over.to_string()));
                }
            }
        }
    }

    /// The program, which stands still.
    fn still(&mut self) -> Result<&mut Body, WasmError> {
        match &mut self.life {
            Life::Still(body) => Ok(body),
            Life::Left(_) | Life::Ended(_) | Life::Over => Err(WasmError::Over),
        }
    }
}

/// What comes of something in which the program itself does not run, so that nothing is left.
fn at_once<T>(future: impl Future<Output = T>) -> Result<T, WasmError> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => Err(WasmError::Shape("it was left where it cannot be")),
    }
}

impl Machine for Fibers {
    fn run(&mut self, turn: &Turn) -> Ran {
        let fiber = match std::mem::replace(&mut self.life, Life::Over) {
            Life::Still(body) => Box::pin(body.go()),
            Life::Left(fiber) => fiber,
            Life::Ended(_) | Life::Over => return Ran::Broken(WasmError::Over.to_string()),
        };
        self.shared.lock().begin(turn);
        let ticker = self.ticker.clone();
        let watch = match turn.asking {
            Asking::Ticks(ticks) => Some(ticker.watch(&self.ask, ticks, &turn.stop)),
            Asking::Polls(_) => {
                self.ask.set(true);
                None
            }
        };
        let end = self.turn(fiber);
        drop(watch);
        let (left, polls, compiled) = {
            let talk = self.shared.lock();
            (talk.left, talk.polls, talk.compiled)
        };
        let ran = match end {
            None => match left {
                Left::Turn | Left::Rest(_) => return Ran::Paused { polls, compiled },
                Left::Waits { until, still } => return Ran::Waits { until, still },
            },
            // Nobody told it to.
            Some(End::Unwound) => return Ran::Paused { polls, compiled },
            Some(End::Done) => Ran::Exited(0),
            Some(End::Exited(status)) => Ran::Exited(status),
            Some(End::Trapped(why)) => Ran::Trapped(why),
            Some(End::Broken(why)) => Ran::Broken(why),
        };
        self.life = match (std::mem::replace(&mut self.life, Life::Over), &ran) {
            (Life::Still(body), Ran::Exited(_)) => Life::Ended(body),
            _ => Life::Over,
        };
        ran
    }

    fn world(&mut self, look: &mut dyn FnMut(&mut Wasi)) {
        look(&mut self.shared.lock().world);
    }

    fn capture(&mut self) -> Result<Core, WasmError> {
        if let Life::Left(_) = &self.life
            && let Life::Left(fiber) = std::mem::replace(&mut self.life, Life::Over)
        {
            self.shared.lock().word = Word::Unwind;
            let mut end = self.go(fiber);
            // The engine may have it wait, to tidy up its own memory in between.
            for _ in 0..TIDYING {
                match std::mem::replace(&mut self.life, Life::Over) {
                    Life::Left(fiber) => end = self.go(fiber),
                    still => {
                        self.life = still;
                        break;
                    }
                }
            }
            if !matches!(end, Some(End::Unwound)) {
                // Of what it was a part is lost: it must not seem that it goes on from here, or has ended.
                self.life = Life::Over;
                return Err(WasmError::Engine(match end {
                    Some(End::Trapped(why) | End::Broken(why)) => {
                        format!("its frames cannot be saved: {why}")
                    }
                    _ => "it did not stop when it was told to".into(),
                }));
            }
        }
        self.still()?.core()
    }

    fn remains(&mut self) -> Result<Core, WasmError> {
        match &mut self.life {
            Life::Ended(body) => body.core(),
            Life::Still(_) | Life::Left(_) | Life::Over => Err(WasmError::Shape("it has not exited")),
        }
    }

    fn memory(&mut self, number: usize) -> &[u8] {
        match &mut self.life {
            Life::Still(body) | Life::Ended(body) => body.bytes(number),
            Life::Left(_) | Life::Over => &[],
        }
    }

    fn fill(&mut self, number: usize, at: usize, bytes: &[u8]) -> Result<(), WasmError> {
        self.still()?.fill(number, at, bytes)
    }

    fn linked(&self) -> usize {
        self.shared.lock().linked
    }

    fn foresee(&mut self, core: &Core) {
        let Ok(body) = self.still() else { return };
        let sites: BTreeSet<u32> = body.sites(&core.frames).unwrap_or_default().into_iter().collect();
        if sites.len() > FEW {
            return;
        }
        for site in sites {
            // What is wrong with it is said when it is needed.
            let _ = body.compiled.rest(site);
        }
    }

    fn restore(&mut self, core: &Core, memories: &[&[u8]], there: &[usize]) -> Result<(), WasmError> {
        let restored = self.still()?.become_what(core, memories, there);
        if restored.is_err() {
            self.life = Life::Over;
        }
        restored
    }
}

impl Body {
    pub fn new(
        compiled: Arc<Inner>,
        mut store: Store<Host>,
        linker: &Linker<Host>,
    ) -> Result<Self, WasmError> {
        // Nothing of the program runs here: its start function is called later, and can be stopped like all others.
        let instantiating = linker.instantiate_async(&mut store, &compiled.module);
        let instance = at_once(instantiating)?.map_err(|error| match store.data_mut().refused.take() {
            Some(refused) => WasmError::Engine(format!("it wants {refused}")),
            None => WasmError::engine(error),
        })?;
        let own = |store: &mut Store<Host>, name: &str| {
            instance
                .get_export(store, &format!("{PREFIX}{name}"))
                .ok_or(WasmError::Shape("a part of it is missing"))
        };
        let side =
            own(&mut store, "side")?.into_memory().ok_or(WasmError::Shape("a part of it is missing"))?;
        let of_host =
            |store: &mut Store<Host>, name: &str| linker.get(store, PREFIX, name).map_err(WasmError::engine);
        let (poll, ask) = (of_host(&mut store, "poll")?, of_host(&mut store, "ask")?);
        let exports: Vec<(String, Extern)> = instance
            .exports(&mut store)
            .map(|export| (export.name().to_owned(), export.into_extern()))
            .collect();
        let mut functions = BTreeMap::new();
        for (name, export) in exports {
            let number = name.strip_prefix(PREFIX).and_then(|name| name.strip_prefix('f')).map(str::parse);
            if let (Some(Ok(number)), Extern::Func(function)) = (number, export) {
                functions.insert(function.to_raw(&mut store) as usize, number);
            }
        }
        let memory = instance.get_memory(&mut store, "memory");
        let host = store.data_mut();
        (host.memory, host.side) = (memory, Some(side));
        host.rests = Some(Rests::new(instance, poll, ask));
        Ok(Self { compiled, store, instance, side, stage: Stage::New, functions })
    }

    /// Runs until it stands still.
    async fn go(mut self: Box<Self>) -> (Box<Self>, End) {
        let end = loop {
            match self.call().await {
                Ok(_) if self.stage != Stage::Main => {}
                Ok(None) => break End::Done,
                Ok(Some(status)) => break End::Exited(status),
                Err(end) => break end,
            }
        };
        (self, end)
    }

    /// The next call of the host's; the status, if that is what it gives.
    async fn call(&mut self) -> Result<Option<u32>, End> {
        let lost = |error: WasmError| End::Broken(error.to_string());
        tell(&mut self.store).map_err(WasmError::engine).map_err(lost)?;
        let frames = self.frames().map_err(lost)?;
        let function = if frames.is_empty() {
            match (self.stage, self.compiled.program.start) {
                (Stage::New, Some(start)) => {
                    self.stage = Stage::Start;
                    self.own_function(&format!("f{start}")).map_err(lost)?
                }
                (before, _) => match self.entry(before) {
                    Ok(Some(entry)) => entry,
                    Ok(None) => return Ok(None),
                    Err(error) => return Err(lost(error)),
                },
            }
        } else {
            self.outermost(&frames).map_err(lost)?
        };
        let results = function.ty(&self.store).results().len();
        let mut results = vec![Val::I32(0); results];
        let called = function.call_async(&mut self.store, &[], &mut results).await;
        let Err(error) = called else {
            return Ok(results.first().and_then(Val::i32).map(|status| status as u32));
        };
        if self.store.has_pending_exception() {
            // Within a scope, so that the exception does not stay.
            RootScope::new(&mut self.store).as_context_mut().take_pending_exception();
            return Err(End::Unwound);
        }
        Err(match error.downcast_ref::<Exit>() {
            Some(Exit(status)) => End::Exited(*status),
            None => match error.downcast_ref::<WasmError>() {
                // Of this room's own, and no fault of the program.
                Some(error) => End::Broken(error.to_string()),
                None => End::Trapped(self.trapped(&error)),
            },
        })
    }

    /// The next function of those that it exports for the host to call.
    fn entry(&mut self, before: Stage) -> Result<Option<Func>, WasmError> {
        let command = self.instance.get_func(&mut self.store, COMMAND);
        let exported = match before {
            Stage::Main => return Ok(None),
            Stage::New | Stage::Start if command.is_none() => {
                self.instance.get_func(&mut self.store, INITIALIZE)
            }
            Stage::New | Stage::Start | Stage::Init => None,
        };
        if exported.is_some() {
            self.stage = Stage::Init;
            return Ok(exported);
        }
        self.stage = Stage::Main;
        let main = command.or_else(|| self.instance.get_func(&mut self.store, REACTOR));
        main.map(Some).ok_or(WasmError::Shape("it exports nothing to begin with"))
    }

    /// Why it ended, in words.
    fn trapped(&mut self, error: &wasmtime::Error) -> String {
        let mut said = match error.downcast_ref::<wasmtime::Trap>() {
            Some(trap) => trap.to_string(),
            None => format!("{error:#}"),
        };
        if let Some(refused) = self.store.data_mut().refused.take() {
            said.push_str(&format!("; before, it was refused {refused}"));
        }
        said
    }

    /// The function that goes on with the outermost frame, and with it all others.
    fn outermost(&mut self, frames: &[u8]) -> Result<Func, WasmError> {
        let sites = self.sites(frames)?;
        let outermost = sites.first().copied().unwrap_or_default();
        let missing: BTreeSet<u32> =
            sites.into_iter().filter(|site| !rests::has(self.store.data(), *site)).collect();
        let missing: Vec<u32> = missing.into_iter().collect();
        // A few of them are had one by one, as the program has them that asks there; many would be too many modules.
        let at_once_most = if missing.len() > FEW { limits::RESTS } else { 1 };
        for sites in missing.chunks(at_once_most) {
            let (module, compiled) = match sites {
                [site] => self.compiled.rest(*site)?,
                sites => (self.compiled.rest_of(sites)?, true),
            };
            self.store.data().shared.lock().compiled += u64::from(compiled);
            at_once(rests::link(self.store.as_context_mut(), sites, &module))??;
        }
        // What was called did not happen, and is called anew.
        let again = self.side.write(&mut self.store, AGAIN as usize, &[0; 4]);
        again.map_err(|_| WasmError::State("its frames have no room"))?;
        let table = self.instance.get_table(&mut self.store, &format!("{PREFIX}rest"));
        let table = table.ok_or(WasmError::Shape("a part of it is missing"))?;
        match table.get(&mut self.store, u64::from(outermost)) {
            Some(Ref::Func(Some(function))) => Ok(function),
            _ => Err(WasmError::State("nothing goes on with its frames")),
        }
    }

    fn own_function(&mut self, name: &str) -> Result<Func, WasmError> {
        let function = self.instance.get_func(&mut self.store, &format!("{PREFIX}{name}"));
        function.ok_or(WasmError::State("it speaks of a function that it has not"))
    }

    /// The frames that were saved.
    fn frames(&mut self) -> Result<Vec<u8>, WasmError> {
        let top = self.top()?.get(&mut self.store).i32().unwrap_or_default() as u32 as usize;
        let frames = self.side.data(&self.store).get(self.compiled.program.frames as usize..top);
        frames.map(<[u8]>::to_vec).ok_or(WasmError::State("its frames end before they begin"))
    }

    fn top(&mut self) -> Result<wasmtime::Global, WasmError> {
        let top = self.instance.get_global(&mut self.store, &format!("{PREFIX}top"));
        top.ok_or(WasmError::Shape("a part of it is missing"))
    }

    /// Of which sites the frames are, the outermost first.
    fn sites(&self, frames: &[u8]) -> Result<Vec<u32>, WasmError> {
        let mut sites = Vec::new();
        let mut end = frames.len();
        while end > 0 {
            let wrong = WasmError::State("its frames do not follow each other");
            let word = end.checked_sub(4).ok_or(wrong.clone())?;
            let site = frames.get(word..end).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes);
            let site = site.ok_or(wrong.clone())?;
            sites.push(site);
            let (.., bytes) = self.compiled.program.sites.get(site as usize).ok_or(wrong.clone())?;
            end = end.checked_sub(*bytes as usize).ok_or(wrong)?;
        }
        Ok(sites)
    }

    fn notes(&self) -> std::ops::Range<usize> {
        NOTES as usize..self.compiled.program.frames as usize
    }
}
