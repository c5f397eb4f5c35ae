//! WebAssembly programs as tasks.

pub(crate) mod subject;

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use softbus_core::{Hash, TaskId};
use softbus_task::{
    Changes, Content, Estimate, Mark, Prepared, Program, Runtime, Step, StepContext, TaskFailure,
};

use crate::WasmError;
use crate::admission::admit;
use crate::bus::{Bus, Grants, Live, Nobody, Services};
use crate::changed::Changed;
use crate::engine::{Asking, Compiled, Core, Engine, Kind, Machine, Ran, TICK, Turn, Wasmtime};
use crate::limits::{self, Limits};
use crate::rate::Rate;
use crate::state::{self, Tail, VERSION};
use crate::terms::Terms;
use crate::wasi::{self, Moment, Now, Stream, Wasi};

/// The name under which these tasks are submitted: `wasm/1`.
pub const NAME: &str = "wasm";
/// Compiled programs that are kept.
const COMPILED: usize = 16;
/// Bytes of output that leave at once.
const PRINTED: usize = 192 << 10;
/// How long a turn lasts, by the clock. At its end it may take a while to make what goes on there: then the next is twice as
/// long, up to the second, so that a program which comes to ever new places spends its time otherwise.
const TURN: Duration = Duration::from_millis(20);
const LONG_TURN: Duration = Duration::from_millis(250);
/// What a program does between two looks, in operations of the reference kernel; a guess, where turns are counted.
const POLL_OPS: u64 = 256;
/// One that waits for an answer is looked at so often, beside being woken.
const LOOK: Duration = Duration::from_millis(100);
/// A program that waits for nothing that can come is looked at so often.
const IDLE: Duration = Duration::from_secs(1);

/// What a program is started with.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Start {
    /// The module: a command of WASI preview 1, or a reactor of the bus.
    pub module: Vec<u8>,
    /// The program's name as it sees it, and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`
    pub env: Vec<String>,
    /// All of its standard input.
    pub stdin: Vec<u8>,
    /// Files that it finds, by their paths.
    pub files: Vec<(String, Vec<u8>)>,
    /// What it may have.
    pub limits: Limits,
    /// Its random numbers come from this.
    pub seed: [u8; 32],
    /// What it may ask of the mesh.
    pub grants: Grants,
}

impl Start {
    /// What is to be signed of it: what the program may have and ask for.
    pub fn terms(&self) -> Terms {
        let (limits, grants) = (self.limits.clamped(), self.grants.clone());
        Terms { limits, grants, ..Terms::of(&self.module) }
    }

    /// Whether a program can start with it; of the module see [`inspect`](crate::inspect).
    ///
    /// # Errors
    /// What is too much, or cannot be.
    pub fn check(&self) -> Result<(), WasmError> {
        world(self).map(|_| ()).map_err(WasmError::Shape)
    }
}

/// What a program that ended leaves behind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finish {
    /// Its exit status; 0 is success.
    pub status: u32,
    /// The files that it made or changed, by their paths.
    pub files: Vec<(String, Vec<u8>)>,
    /// How many bytes it printed in all, to its standard output and to its standard error: whoever showed them as they came
    /// knows by this whether any are missing.
    pub printed: [u64; 2],
}

/// What a program prints, as an effect of its task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Printed {
    /// To its standard error; else to its standard output.
    pub to_stderr: bool,
    /// How many bytes it had printed there before. In which pieces it prints may differ from run to run, so after a fail-over
    /// a piece may begin before the end of what is known, or after it: this says so.
    pub at: u64,
    /// What it prints.
    pub bytes: Vec<u8>,
}

/// When turns end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Turns {
    /// By the clock. What a program prints does not depend on it, but in which pieces.
    #[default]
    Timed,
    /// After so and so many looks: the same on each run, and slower. For simulations.
    Counted,
}

/// Runs WebAssembly programs.
pub struct WasmRuntime {
    kind: Kind,
    engine: Wasmtime,
    clock: Arc<dyn Now>,
    turns: Turns,
    services: Arc<dyn Services>,
    /// The one used last at the end.
    compiled: Mutex<Vec<(Hash, Arc<Ready>)>>,
}

/// A compiled program, and the module that it was.
struct Ready {
    source: Arc<[u8]>,
    compiled: Arc<dyn Compiled>,
    /// How long it took to look at it, to rewrite and to compile it, by the device's clock.
    took: Duration,
}

impl WasmRuntime {
    /// On an engine, with a device's clocks.
    ///
    /// # Errors
    /// The engine does not run on this machine.
    pub fn new(kind: Kind, clock: Arc<dyn Now>, turns: Turns) -> Result<Self, WasmError> {
        let services = Arc::new(Nobody);
        Ok(Self { kind, engine: Wasmtime::new(kind)?, clock, turns, services, compiled: Mutex::default() })
    }

    /// With the services of a mesh, for programs that are granted some. Without it there are none.
    #[must_use]
    pub fn with_services(self, services: Arc<dyn Services>) -> Self {
        Self { services, ..self }
    }

    /// The program of a module, compiled: the one that was signed; and whether it was compiled just now.
    fn ready(&self, module: &[u8], terms: &Terms) -> Result<(Arc<Ready>, bool), WasmError> {
        let hash = Hash(*blake3::hash(module).as_bytes());
        if hash != terms.module {
            return Err(WasmError::Shape("its module is not the one that its submitter signed"));
        }
        let find = || {
            let mut all = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
            let at = all.iter().position(|(held, _)| *held == hash)?;
            let found = all.remove(at);
            let ready = found.1.clone();
            all.push(found);
            Some(ready)
        };
        if let Some(ready) = find() {
            return Ok((ready, false));
        }
        // Not while others wait: at worst it is done twice.
        let began = self.clock.now().monotonic;
        let admitted = admit(module.into(), self.engine.ask_memory())?;
        let compiled = self.engine.compile(admitted.program)?;
        let took = Duration::from_nanos(self.clock.now().monotonic.saturating_sub(began));
        tracing::info!(
            module = %hash,
            ms = took.as_millis(),
            bytes = admitted.admission.module_bytes,
            rewritten = admitted.admission.rewritten_bytes,
            sites = admitted.admission.sites,
            "a module was compiled"
        );
        let ready = Arc::new(Ready { source: admitted.source, compiled, took });
        let mut all = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= COMPILED {
            all.remove(0);
        }
        all.push((hash, ready.clone()));
        Ok((ready, true))
    }

    fn begin(&self, start: &Start, terms: &Terms) -> Result<Running, WasmError> {
        if start.terms() != *terms {
            return Err(WasmError::Shape("what it asks for is not what its submitter signed"));
        }
        let (ready, now) = self.ready(&start.module, terms)?;
        let world = world(start).map_err(WasmError::Shape)?;
        let inputs =
            start.files.iter().map(|(path, bytes)| (named(path), Hash(*blake3::hash(bytes).as_bytes())));
        let inputs = inputs.collect();
        let limits = terms.limits.clone();
        let machine = ready.compiled.machine(world, self.clock.clone(), &limits)?;
        let said = match now {
            true => format!("compiled by {} in {} ms", self.kind, ready.took.as_millis()),
            false => format!("compiled by {} before", self.kind),
        };
        let running = self.running(ready, machine, limits, inputs, Changed::default());
        Ok(Running { said: Some(said), ..running })
    }

    fn go_on(
        &self,
        saved: &[u8],
        terms: Terms,
        beforehand: Option<Beforehand>,
    ) -> Result<Running, WasmError> {
        let saved = state::read(saved)?;
        let (ready, _) = self.ready(saved.module, &terms)?;
        let places = saved.places();
        let Tail { inputs, core, world } = saved.tail;
        let world = on_terms(world, &terms)?;
        let limits = terms.limits;
        let (mut machine, there, changed) =
            match beforehand.and_then(|made| made.fits(&ready, &limits, &places)) {
                Some((mut machine, there, changed)) => {
                    let mut world = Some(world);
                    machine.world(&mut |own| {
                        if let Some(world) = world.take() {
                            *own = world;
                        }
                    });
                    (machine, there, changed)
                }
                None => {
                    let machine = ready.compiled.machine(world, self.clock.clone(), &limits)?;
                    (machine, vec![0; places.len()], Changed::default())
                }
            };
        machine.restore(&core, &saved.memories, &there)?;
        Ok(self.running(ready, machine, limits, inputs, changed))
    }

    fn running(
        &self,
        ready: Arc<Ready>,
        machine: Box<dyn Machine>,
        limits: Limits,
        inputs: BTreeMap<String, Hash>,
        changed: Changed,
    ) -> Running {
        let (clock, live) = (self.clock.clone(), Live::new(self.services.clone()));
        let rate = Rate::new(limits.output_bytes_per_s);
        Running {
            ready,
            machine,
            limits,
            inputs,
            clock,
            turns: self.turns,
            turn: TURN,
            changed,
            live,
            rate,
            said: None,
        }
    }
}

/// A machine for a program that is still on its way, whose memories hold what it has so far.
struct Beforehand {
    ready: Arc<Ready>,
    limits: Limits,
    /// Of none any more if something of it could not be followed.
    machine: Option<Box<dyn Machine>>,
    /// Where in the saved program each memory lies, as far as it is in the machine.
    places: Vec<Range<usize>>,
    /// Looks from here on what is written, so that this need not begin when the program has come.
    changed: Changed,
}

impl Beforehand {
    fn of(runtime: &WasmRuntime, state: &[u8], terms: Terms) -> Result<Self, WasmError> {
        let saved = state::read(state)?;
        let (ready, _) = runtime.ready(saved.module, &terms)?;
        let places = saved.places();
        let Tail { core, world, .. } = saved.tail;
        let limits = terms.limits;
        let mut machine = ready.compiled.machine(world, runtime.clock.clone(), &limits)?;
        machine.foresee(&core);
        for (number, bytes) in saved.memories.iter().enumerate() {
            machine.fill(number, 0, bytes)?;
        }
        let mut changed = Changed::default();
        changed.begin(&mut *machine, places.len());
        Ok(Self { ready, limits, machine: Some(machine), places, changed })
    }

    /// The machine, if it is one for this program, how much of each memory is in it, and what looks at what is written.
    fn fits(
        self,
        ready: &Arc<Ready>,
        limits: &Limits,
        places: &[Range<usize>],
    ) -> Option<(Box<dyn Machine>, Vec<usize>, Changed)> {
        // A memory may have grown, so that what lies behind it has moved.
        let same = self.places.len() == places.len()
            && self.places.iter().zip(places).all(|(own, now)| own.start == now.start && own.end <= now.end)
            && Arc::ptr_eq(&self.ready, ready)
            && self.limits == *limits;
        let there = self.places.iter().map(ExactSizeIterator::len).collect();
        self.machine.filter(|_| same).map(|machine| (machine, there, self.changed))
    }
}

impl Prepared for Beforehand {
    fn follow(&mut self, at: usize, piece: &[u8]) {
        for (number, place) in self.places.iter().enumerate() {
            let (start, end) = (place.start.max(at), place.end.min(at + piece.len()));
            if start < end
                && let Some(machine) = &mut self.machine
                && machine.fill(number, start - place.start, &piece[start - at..end - at]).is_err()
            {
                self.machine = None;
            }
        }
    }
}

fn named(path: &str) -> String {
    path.trim_start_matches('/').to_owned()
}

/// The world that a program begins in.
pub(crate) fn world(start: &Start) -> Result<Wasi, &'static str> {
    let mut world = Wasi::new(&wasi::Start {
        args: start.args.clone(),
        env: start.env.clone(),
        seed: start.seed,
        file_bytes: start.limits.file_bytes,
    })
    .map_err(|_| "its arguments and its environment are too long, or hold a zero byte")?;
    for (path, bytes) in &start.files {
        let put = world.put_file(path, bytes);
        put.map_err(|_| "one of its files has a path that cannot be, or there is no room for it")?;
    }
    if world.feed(&start.stdin) < start.stdin.len() {
        return Err("its standard input is longer than 1 MiB: give it as a file");
    }
    world.feed_end();
    world.bus = Bus::new(start.grants.clone()).map_err(|_| "it is granted more services than can be")?;
    Ok(world)
}

/// The world of a saved program, with what was signed for it and no more.
fn on_terms(mut world: Wasi, terms: &Terms) -> Result<Wasi, WasmError> {
    let bus = std::mem::take(&mut world.bus).granted(terms.grants.clone());
    world.bus = bus.map_err(|_| WasmError::State("it asks for what it was not granted"))?;
    world.limit_files(terms.limits.file_bytes);
    Ok(world)
}

impl Runtime for WasmRuntime {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> u16 {
        VERSION
    }

    fn terms(&self, input: &[u8]) -> Vec<u8> {
        postcard::from_bytes::<Start>(input).map(|start| start.terms().to_bytes()).unwrap_or_default()
    }

    fn start(&self, input: &[u8], terms: &[u8]) -> Result<Box<dyn Program>, TaskFailure> {
        let start: Start = postcard::from_bytes(input)
            .map_err(|_| TaskFailure::new("the input is none of a WebAssembly program"))?;
        Ok(Box::new(self.begin(&start, &Terms::read(terms)?)?))
    }

    fn resume(&self, _: u16, state: &[u8], terms: &[u8]) -> Result<Box<dyn Program>, TaskFailure> {
        Ok(Box::new(self.go_on(state, Terms::read(terms)?, None)?))
    }

    fn prepare(&self, _: u16, state: &[u8], terms: &[u8]) -> Option<Box<dyn Prepared>> {
        // What is wrong with it is said when it is to run.
        let made = Beforehand::of(self, state, Terms::read(terms).ok()?).ok()?;
        Some(Box::new(made))
    }

    fn resume_prepared(
        &self,
        _: u16,
        state: &[u8],
        terms: &[u8],
        prepared: Box<dyn Prepared>,
    ) -> Result<Box<dyn Program>, TaskFailure> {
        let made = (prepared as Box<dyn Any>).downcast::<Beforehand>().ok();
        Ok(Box::new(self.go_on(state, Terms::read(terms)?, made.map(|made| *made))?))
    }

    fn content(&self, terms: &[u8]) -> Option<Content> {
        let Terms { module, module_bytes, .. } = Terms::read(terms).ok()?;
        (module_bytes <= limits::MODULE_BYTES).then_some(Content { name: module, len: module_bytes })
    }

    fn content_in<'i>(&self, image: &'i [u8], saved: bool) -> Option<&'i [u8]> {
        match saved {
            true => state::module(image).ok(),
            false => state::module_of_input(image),
        }
    }

    fn before_content(&self, len: u64, saved: bool) -> Vec<u8> {
        match saved {
            true => state::head(len).to_vec(),
            // An input has the module first, and before it how long that is.
            false => postcard::to_allocvec(&len).unwrap_or_default(),
        }
    }

    fn estimate(&self, input: &[u8]) -> Estimate {
        let Ok(start) = postcard::from_bytes::<Start>(input) else { return Estimate::default() };
        let files: usize = start.files.iter().map(|(_, bytes)| bytes.len()).sum();
        let beside = 4 * start.module.len() as u64 + files as u64;
        let memory_bytes = start.limits.clamped().memory_bytes.saturating_add(beside);
        Estimate { memory_bytes, ..Estimate::default() }
    }
}

/// A program at work.
struct Running {
    ready: Arc<Ready>,
    machine: Box<dyn Machine>,
    limits: Limits,
    inputs: BTreeMap<String, Hash>,
    clock: Arc<dyn Now>,
    turns: Turns,
    /// How long the next turn lasts, by the clock.
    turn: Duration,
    changed: Changed,
    live: Live,
    /// Of what it prints.
    rate: Rate,
    /// What its device has to say of it.
    said: Option<String>,
}

impl Running {
    /// Sees to what it asks of the mesh; whether it has changed by that.
    fn tend(&mut self, cx: &StepContext) -> bool {
        let task = cx.right().map_or(TaskId([0; 16]), |(task, _)| task);
        let (live, now, mut changed) = (&mut self.live, self.clock.now(), false);
        self.machine.world(&mut |world| {
            let time = world.time(now);
            changed = world.bus.give_up(time);
            changed |= live.tend(&mut world.bus, task, cx.waker());
        });
        changed
    }

    /// Lets out what it has printed, as far as it may print so fast, and all of it at its end; whether that was anything.
    fn print(&mut self, cx: &mut StepContext, over: bool) -> Result<bool, TaskFailure> {
        let (rate, now) = (&mut self.rate, self.clock.now().monotonic);
        let mut pieces = Vec::new();
        self.machine.world(&mut |world| {
            for stream in [Stream::Stdout, Stream::Stderr] {
                let most = match rate.left(now) {
                    _ if over => usize::MAX,
                    left if left < rate.portion().min(world.unsent(stream)) => 0,
                    left => left,
                };
                let (mut at, bytes) = world.drain(stream, most);
                rate.spend(bytes.len());
                for piece in bytes.chunks(PRINTED) {
                    pieces.push(Printed { to_stderr: stream == Stream::Stderr, at, bytes: piece.to_vec() });
                    at += piece.len() as u64;
                }
            }
        });
        for piece in &pieces {
            cx.emit(postcard::to_allocvec(piece)?)?;
        }
        Ok(!pieces.is_empty())
    }

    /// Goes on in a new machine: what the old one had linked to go on with frames stays as long as it does.
    fn renew(&mut self) -> Result<(), WasmError> {
        let core = self.machine.capture()?;
        let memories: Vec<Vec<u8>> =
            (0..core.memories.len()).map(|number| self.machine.memory(number).to_vec()).collect();
        let memories: Vec<&[u8]> = memories.iter().map(Vec::as_slice).collect();
        let mut world = None;
        self.machine.world(&mut |own| world = Some(own.clone()));
        let world = world.ok_or(WasmError::Over)?;
        let mut machine = self.ready.compiled.machine(world, self.clock.clone(), &self.limits)?;
        machine.restore(&core, &memories, &vec![0; memories.len()])?;
        self.machine = machine;
        self.changed = Changed::default();
        Ok(())
    }

    /// What is beside its memories, as it stands still.
    fn stand(&mut self) -> Result<Core, WasmError> {
        let core = self.machine.capture()?;
        let now = self.clock.now();
        // The time until here has passed for it.
        self.machine.world(&mut |world| world.passes(now));
        Ok(core)
    }

    fn save_tail(&mut self, out: &mut dyn io::Write, core: Core) -> Result<(), TaskFailure> {
        let mut tail = Some((self.inputs.clone(), core));
        let mut written = Ok(());
        self.machine.world(&mut |world| {
            if let Some((inputs, core)) = tail.take() {
                written = state::write_tail(out, &Tail { inputs, core, world: &*world });
            }
        });
        written.map_err(TaskFailure::new)
    }

    fn finish(&mut self, status: u32) -> Result<Vec<u8>, TaskFailure> {
        let mut finish = Finish { status, files: Vec::new(), printed: [0; 2] };
        let inputs = &self.inputs;
        let mut left = limits::RESULT_BYTES;
        self.machine.world(&mut |world| {
            finish.printed = [Stream::Stdout, Stream::Stderr].map(|stream| world.printed(stream));
            let files = world.files().into_iter();
            let made = files.filter(|(path, bytes)| {
                inputs.get(path).is_none_or(|hash| hash.0 != *blake3::hash(bytes).as_bytes())
            });
            for (path, bytes) in made {
                left = left.saturating_sub((path.len() + bytes.len()) as u64);
                if left == 0 {
                    break;
                }
                finish.files.push((path, bytes.to_vec()));
            }
        });
        if left == 0 {
            return Err(TaskFailure::new(format!(
                "the files that it leaves are larger than {} MiB",
                limits::RESULT_BYTES >> 20
            )));
        }
        Ok(postcard::to_allocvec(&finish)?)
    }
}

impl Program for Running {
    fn step(&mut self, cx: &mut StepContext) -> Result<Step<Vec<u8>>, TaskFailure> {
        let asking = match self.turns {
            Turns::Timed => Asking::Ticks((self.turn.as_millis() / TICK.as_millis()) as u32),
            Turns::Counted => Asking::Polls((cx.budget_ops() / POLL_OPS).max(1)),
        };
        if let Some(said) = self.said.take() {
            cx.progress(0.0, said);
        }
        let news = self.tend(cx);
        let ran = self.machine.run(&Turn { asking, stop: cx.stop_signal() });
        if self.limits.cpu_permille < 1000 {
            cx.limit_share(self.limits.cpu_permille);
        }
        let over = !matches!(ran, Ran::Paused { .. } | Ran::Waits { .. });
        let changed = self.print(cx, over)? | self.tend(cx) | news;
        Ok(match ran {
            Ran::Paused { polls, compiled } => {
                self.turn = if compiled == 0 { TURN } else { (self.turn * 2).min(LONG_TURN) };
                if self.machine.linked() > limits::LINKED {
                    self.renew().map_err(|error| TaskFailure::lost(error.to_string()))?;
                }
                cx.spend(match self.turns {
                    Turns::Timed => cx.budget_ops(),
                    Turns::Counted => polls.saturating_mul(POLL_OPS).min(cx.budget_ops()),
                });
                Step::More
            }
            // Perhaps for room to print; and what it did before is something.
            Ran::Waits { still, .. } if changed || !still => Step::More,
            Ran::Waits { until, .. } => {
                let (now, mut left, mut asks, mut prints) = (self.clock.now(), None, false, false);
                self.machine.world(&mut |world| {
                    left = until.map(|until| world.left_until(now, until));
                    asks = !world.bus.unanswered().is_empty();
                    prints = [Stream::Stdout, Stream::Stderr].iter().any(|stream| world.unsent(*stream) > 0);
                });
                if prints {
                    let soon = u64::try_from(self.rate.wait().as_nanos()).unwrap_or(u64::MAX);
                    left = Some(left.unwrap_or(soon).min(soon));
                }
                if asks {
                    // It is woken by the answer; what could not begin is begun soon.
                    left = left.map(|left| left.min(LOOK.as_nanos() as u64));
                }
                match left {
                    Some(0) => Step::More,
                    Some(left) => Step::Wait(Duration::from_nanos(left)),
                    None => Step::Wait(IDLE),
                }
            }
            Ran::Exited(status) => Step::Done(self.finish(status)?),
            Ran::Trapped(why) => return Err(TaskFailure::new(why)),
            Ran::Broken(why) => return Err(TaskFailure::lost(why)),
        })
    }

    fn save(&mut self, out: &mut dyn io::Write) -> Result<(), TaskFailure> {
        let core = self.stand()?;
        state::write_head(out, &self.ready.source)?;
        for number in 0..core.memories.len() {
            out.write_all(self.machine.memory(number))?;
        }
        self.save_tail(out, core)
    }

    fn save_changes(&mut self, out: &mut dyn Changes) -> Result<(), TaskFailure> {
        let core = self.stand()?;
        let mut changed = std::mem::take(&mut self.changed);
        let head = state::head_len(self.ready.source.len());
        if changed.is_over(out.over()) {
            out.keep(head)?;
        } else {
            state::write_head(out, &self.ready.source)?;
        }
        changed.save(&mut *self.machine, core.memories.len(), out)?;
        self.save_tail(out, core)?;
        changed.saved(out.mark());
        self.changed = changed;
        Ok(())
    }

    fn saved_as(&mut self, mark: Mark) {
        self.changed.restored(&mut *self.machine, mark);
    }
}

/// The clocks of a device, as programs see them.
pub struct SeamClock(pub Arc<dyn softbus_net::seam::Clock>);

impl Now for SeamClock {
    fn now(&self) -> Moment {
        let ns = |ms: u64| ms.saturating_mul(1_000_000);
        Moment { monotonic: ns(self.0.boot().0), wall: ns(self.0.wall().0) }
    }
}
