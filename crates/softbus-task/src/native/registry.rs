use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use softbus_core::ServiceName;

use super::buffer::{self, Double};
use super::doubles::Doubles;
use super::{
    Changes, Content, Estimate, Mark, Program, Runtime, Step, StepContext, StepReport, Task, TaskFailure,
};
use crate::TaskError;

/// The types of task this device can run.
#[derive(Clone, Default)]
pub struct TaskRegistry {
    types: BTreeMap<String, TaskType>,
}

/// Why a type cannot be registered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegistryError {
    /// Its name or version has no valid form.
    #[error("`{0}` is not a task type: the name is 1 to 50 letters of a-z 0-9 - . and the version 1 to 999")]
    Name(String),
    /// Another type has that name and version.
    #[error("`{0}` is registered already: give one of the two another name")]
    Taken(String),
}

/// One type under one state version it can read.
#[derive(Clone)]
pub(crate) struct TaskType {
    /// The label under which it saves: `picture/2` also for the entry `picture/1` that it migrates.
    pub current: String,
    factory: Arc<dyn Factory>,
    version: u16,
}

impl TaskRegistry {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `T`, for the state version it writes and the older ones it reads.
    pub fn register<T: Task>(&mut self) -> Result<(), RegistryError> {
        self.add(T::NAME, T::OLDEST_STATE_VERSION..=T::STATE_VERSION, Arc::new(Native::<T>(PhantomData)))
    }

    /// Adds a runtime, for the version of states that its programs save and the older ones that it reads.
    ///
    /// # Errors
    /// As [`TaskRegistry::register`].
    pub fn register_runtime(&mut self, runtime: Arc<dyn Runtime>) -> Result<(), RegistryError> {
        let (name, versions) = (runtime.name().to_owned(), runtime.oldest_version()..=runtime.version());
        self.add(&name, versions, Arc::new(OfRuntime(runtime)))
    }

    fn add(
        &mut self,
        name: &str,
        versions: RangeInclusive<u16>,
        factory: Arc<dyn Factory>,
    ) -> Result<(), RegistryError> {
        let (oldest, newest) = versions.into_inner();
        let current = label(name, newest);
        if current.parse::<ServiceName>().is_err() || name.len() > 50 {
            return Err(RegistryError::Name(current));
        }
        let versions = oldest.clamp(1, newest)..=newest;
        if let Some(taken) = versions.clone().map(|v| label(name, v)).find(|l| self.types.contains_key(l)) {
            return Err(RegistryError::Taken(taken));
        }
        for version in versions {
            let entry = TaskType { current: current.clone(), factory: factory.clone(), version };
            self.types.insert(label(name, version), entry);
        }
        Ok(())
    }

    /// Adds `T`, for chains of calls in a builder.
    pub fn with<T: Task>(mut self) -> Result<Self, RegistryError> {
        self.register::<T>().map(|()| self)
    }

    /// All labels, `name/state-version`, in order; for the profile.
    pub fn labels(&self) -> Vec<String> {
        self.types.keys().cloned().collect()
    }

    pub(crate) fn get(&self, label: &str) -> Result<&TaskType, TaskError> {
        self.types.get(label).ok_or_else(|| TaskError::UnknownType(label.chars().take(64).collect()))
    }
}

fn label(name: &str, version: u16) -> String {
    format!("{name}/{version}")
}

/// How a step of any task ended; the output in its serialised form.
#[derive(Debug)]
pub(crate) enum ErasedStep {
    More,
    Wait(Duration),
    Done(Vec<u8>),
    Failed(TaskFailure),
    /// It panicked: the task's crash, not the node's. What it leaves behind must not be used.
    Crashed(String),
}

/// A running task of any type.
pub(crate) trait Runnable: Send {
    /// Runs one step. Never panics.
    fn step(&mut self, cx: StepContext) -> (ErasedStep, StepReport);
    /// Writes the state. Never panics.
    fn save(&mut self, out: &mut dyn Changes) -> Result<(), TaskFailure>;
    /// The state that it goes on from is the one saved under this mark.
    fn saved_as(&mut self, mark: Mark) {
        let _ = mark;
    }
}

impl TaskType {
    /// Starts from serialised input. The outer error is a crash.
    pub fn start(
        &self,
        input: &[u8],
        terms: &[u8],
    ) -> Result<Result<Box<dyn Runnable>, TaskFailure>, String> {
        caught(|| self.factory.start(input, terms))
    }

    /// Goes on from a serialised state of this entry's version, of which there may be doubles. The outer error is a
    /// crash.
    pub fn resume(
        &self,
        state: &[u8],
        terms: &[u8],
        doubles: Doubles,
    ) -> Result<Result<Box<dyn Runnable>, TaskFailure>, String> {
        caught(|| self.factory.resume((self.version, state), terms, doubles))
    }

    /// Whatever takes time and can be done before the state is wanted, for [`TaskType::resume`].
    pub fn doubles(&self, state: &[u8], terms: &[u8]) -> Doubles {
        caught(|| self.factory.doubles((self.version, state), terms)).unwrap_or_default()
    }

    /// What a task of this input may have and ask for, to be signed.
    pub fn terms(&self, input: &[u8]) -> Vec<u8> {
        caught(|| self.factory.terms(input)).unwrap_or_default()
    }

    /// What inputs and states begin with on these terms.
    pub fn content(&self, terms: &[u8]) -> Option<Content> {
        caught(|| self.factory.content(terms)).unwrap_or_default()
    }

    /// The content in an input or a state.
    pub fn content_in<'i>(&self, image: &'i [u8], saved: bool) -> Option<&'i [u8]> {
        caught(|| self.factory.content_in(image, saved)).unwrap_or_default()
    }

    /// What stands before a content of so many bytes in an input or a state.
    pub fn before_content(&self, len: u64, saved: bool) -> Vec<u8> {
        caught(|| self.factory.before_content(len, saved)).unwrap_or_default()
    }

    /// What a task of this input is going to need.
    pub fn estimate(&self, input: &[u8]) -> Estimate {
        caught(|| self.factory.estimate(input)).unwrap_or_default()
    }
}

/// What the panic said; a panic must not take the node down.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let said = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".into())
    })
}

/// A state, and the version under which it was saved.
type Saved<'s> = (u16, &'s [u8]);

trait Factory: Send + Sync {
    fn terms(&self, input: &[u8]) -> Vec<u8>;
    fn start(&self, input: &[u8], terms: &[u8]) -> Result<Box<dyn Runnable>, TaskFailure>;
    fn resume(
        &self,
        saved: Saved<'_>,
        terms: &[u8],
        doubles: Doubles,
    ) -> Result<Box<dyn Runnable>, TaskFailure>;
    fn doubles(&self, saved: Saved<'_>, terms: &[u8]) -> Doubles;
    fn estimate(&self, input: &[u8]) -> Estimate;
    fn content(&self, _terms: &[u8]) -> Option<Content> {
        None
    }
    fn content_in<'i>(&self, _image: &'i [u8], _saved: bool) -> Option<&'i [u8]> {
        None
    }
    fn before_content(&self, _len: u64, _saved: bool) -> Vec<u8> {
        Vec::new()
    }
}

struct Native<T>(PhantomData<fn() -> T>);

impl<T: Task> Factory for Native<T> {
    fn terms(&self, _: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn start(&self, input: &[u8], _: &[u8]) -> Result<Box<dyn Runnable>, TaskFailure> {
        let input = postcard::from_bytes(input)
            .map_err(|_| TaskFailure::new(format!("the input is not one of {}", T::NAME)))?;
        Ok(Box::new(Running(T::start(input)?)))
    }

    fn resume(
        &self,
        (version, state): Saved<'_>,
        _: &[u8],
        doubles: Doubles,
    ) -> Result<Box<dyn Runnable>, TaskFailure> {
        let state = if version == T::STATE_VERSION {
            buffer::with_doubles(state, doubles.buffers, || postcard::from_bytes(state)).map_err(|_| {
                TaskFailure::new(format!("the saved state is not one of {}/{version}", T::NAME))
            })?
        } else {
            T::migrate(version, state)?
        };
        Ok(Box::new(Running(T::resume(state)?)))
    }

    fn doubles(&self, (version, state): Saved<'_>, _: &[u8]) -> Doubles {
        if version != T::STATE_VERSION {
            return Doubles::default();
        }
        let found = buffer::layout(state, || drop(postcard::from_bytes::<T::State>(state)));
        let buffers = found.into_iter().filter_map(|place| Double::of(state, place)).collect();
        Doubles { buffers, program: None }
    }

    fn estimate(&self, input: &[u8]) -> Estimate {
        postcard::from_bytes(input).map(|input| T::estimate(&input)).unwrap_or_default()
    }
}

struct Running<T>(T);

impl<T: Task> Runnable for Running<T> {
    fn step(&mut self, mut cx: StepContext) -> (ErasedStep, StepReport) {
        let done = caught(|| match self.0.step(&mut cx) {
            Ok(Step::More) => ErasedStep::More,
            Ok(Step::Wait(most)) => ErasedStep::Wait(most),
            Ok(Step::Done(output)) => postcard::to_allocvec(&output).map_or_else(
                |e| ErasedStep::Failed(TaskFailure::new(format!("its output cannot be written: {e}"))),
                ErasedStep::Done,
            ),
            Err(failure) if failure.is_lost() => ErasedStep::Crashed(failure.to_string()),
            Err(failure) => ErasedStep::Failed(failure),
        });
        (done.unwrap_or_else(ErasedStep::Crashed), cx.finish())
    }

    fn save(&mut self, out: &mut dyn Changes) -> Result<(), TaskFailure> {
        match caught(|| postcard::to_io(self.0.state(), out).map(|_| ())) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(TaskFailure::new(format!("its state cannot be written: {error}"))),
            Err(said) => Err(TaskFailure::new(format!("it panicked while its state was written: {said}"))),
        }
    }
}

/// A runtime's programs.
struct OfRuntime(Arc<dyn Runtime>);

impl Factory for OfRuntime {
    fn terms(&self, input: &[u8]) -> Vec<u8> {
        self.0.terms(input)
    }

    fn start(&self, input: &[u8], terms: &[u8]) -> Result<Box<dyn Runnable>, TaskFailure> {
        Ok(Box::new(OfProgram(self.0.start(input, terms)?)))
    }

    fn resume(
        &self,
        (version, state): Saved<'_>,
        terms: &[u8],
        doubles: Doubles,
    ) -> Result<Box<dyn Runnable>, TaskFailure> {
        Ok(Box::new(OfProgram(match doubles.program {
            Some(prepared) => self.0.resume_prepared(version, state, terms, prepared)?,
            None => self.0.resume(version, state, terms)?,
        })))
    }

    fn doubles(&self, (version, state): Saved<'_>, terms: &[u8]) -> Doubles {
        Doubles { buffers: Vec::new(), program: self.0.prepare(version, state, terms) }
    }

    fn estimate(&self, input: &[u8]) -> Estimate {
        self.0.estimate(input)
    }

    fn content(&self, terms: &[u8]) -> Option<Content> {
        self.0.content(terms)
    }

    fn content_in<'i>(&self, image: &'i [u8], saved: bool) -> Option<&'i [u8]> {
        self.0.content_in(image, saved)
    }

    fn before_content(&self, len: u64, saved: bool) -> Vec<u8> {
        self.0.before_content(len, saved)
    }
}

struct OfProgram(Box<dyn Program>);

impl Runnable for OfProgram {
    fn step(&mut self, mut cx: StepContext) -> (ErasedStep, StepReport) {
        let done = caught(|| match self.0.step(&mut cx) {
            Ok(Step::More) => ErasedStep::More,
            Ok(Step::Wait(most)) => ErasedStep::Wait(most),
            Ok(Step::Done(output)) => ErasedStep::Done(output),
            Err(failure) if failure.is_lost() => ErasedStep::Crashed(failure.to_string()),
            Err(failure) => ErasedStep::Failed(failure),
        });
        (done.unwrap_or_else(ErasedStep::Crashed), cx.finish())
    }

    fn save(&mut self, out: &mut dyn Changes) -> Result<(), TaskFailure> {
        caught(|| self.0.save_changes(out)).unwrap_or_else(|said| {
            Err(TaskFailure::new(format!("it panicked while its state was written: {said}")))
        })
    }

    fn saved_as(&mut self, mark: Mark) {
        // One that panics at that will at the next step, too.
        let _ = caught(|| self.0.saved_as(mark));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts to its input; panics at 13, fails at 17; version 2 counts in u64, version 1 in u32.
    struct Counter((u64, u64));

    impl Task for Counter {
        const NAME: &'static str = "counter";
        const STATE_VERSION: u16 = 2;
        const OLDEST_STATE_VERSION: u16 = 1;
        type Input = u64;
        type State = (u64, u64);
        type Output = u64;

        fn start(end: u64) -> Result<Self, TaskFailure> {
            Ok(Self((0, end)))
        }

        fn resume(state: (u64, u64)) -> Result<Self, TaskFailure> {
            Ok(Self(state))
        }

        fn state(&self) -> &(u64, u64) {
            &self.0
        }

        fn migrate(version: u16, state: &[u8]) -> Result<(u64, u64), TaskFailure> {
            assert_eq!(version, 1);
            let (at, end): (u32, u32) = postcard::from_bytes(state)?;
            Ok((at.into(), end.into()))
        }

        fn step(&mut self, cx: &mut StepContext) -> Result<Step<u64>, TaskFailure> {
            while self.0.0 < self.0.1 {
                self.0.0 += 1;
                assert_ne!(self.0.0, 13, "unlucky");
                if self.0.0 == 17 {
                    return Err(TaskFailure::new("seventeen"));
                }
                cx.emit(vec![self.0.0 as u8])?;
                cx.progress(self.0.0 as f64 / self.0.1 as f64, "counting");
                if !cx.spend(1) {
                    return Ok(Step::More);
                }
            }
            Ok(Step::Done(self.0.0))
        }
    }

    fn bytes<T: serde::Serialize>(value: &T) -> Vec<u8> {
        postcard::to_allocvec(value).unwrap()
    }

    #[test]
    fn steps_save_and_resume() {
        let registry = TaskRegistry::new().with::<Counter>().unwrap();
        assert_eq!(registry.labels(), ["counter/1", "counter/2"]);
        let kind = registry.get("counter/2").unwrap();
        let mut task = kind.start(&bytes(&10u64), b"").unwrap().unwrap();
        let (step, report) = task.step(StepContext::detached(4));
        assert!(matches!(step, ErasedStep::More));
        assert_eq!((report.spent_ops, report.progress), (4, Some((400, "counting".into()))));
        assert_eq!(report.effects.len(), 4);
        let mut snapshot = crate::checkpoint::Snapshot::new(u64::MAX);
        snapshot.write(|out| task.save(out)).unwrap();
        let saved = snapshot.bytes().to_vec();
        let mut task = kind.resume(&saved, b"", Doubles::default()).unwrap().unwrap();
        let (step, report) = task.step(StepContext::new(100, 4, Arc::default()));
        assert_eq!(report.effects.first().map(|e| e.sequence), Some(4));
        assert!(matches!(step, ErasedStep::Done(out) if out == bytes(&10u64)));
    }

    #[test]
    fn older_states_are_migrated_and_saved_under_the_new_version() {
        let registry = TaskRegistry::new().with::<Counter>().unwrap();
        let kind = registry.get("counter/1").unwrap();
        assert_eq!(kind.current, "counter/2");
        let mut task = kind.resume(&bytes(&(3u32, 5u32)), b"", Doubles::default()).unwrap().unwrap();
        assert!(
            matches!(task.step(StepContext::detached(100)).0, ErasedStep::Done(out) if out == bytes(&5u64))
        );
    }

    #[test]
    fn a_panic_is_a_crash_of_the_task_and_a_failure_its_own_word() {
        let registry = TaskRegistry::new().with::<Counter>().unwrap();
        let kind = registry.get("counter/2").unwrap();
        let mut task = kind.start(&bytes(&20u64), b"").unwrap().unwrap();
        assert!(
            matches!(task.step(StepContext::detached(100)).0, ErasedStep::Crashed(said) if said.contains("unlucky"))
        );
        let mut task = kind.resume(&bytes(&(13u64, 20u64)), b"", Doubles::default()).unwrap().unwrap();
        assert!(
            matches!(task.step(StepContext::detached(100)).0, ErasedStep::Failed(f) if f.to_string() == "seventeen")
        );
        assert!(kind.start(b"", b"").unwrap().is_err());
    }

    #[test]
    fn names_are_checked_and_unique() {
        struct Bad;
        impl Task for Bad {
            const NAME: &'static str = "Bad Name";
            const STATE_VERSION: u16 = 1;
            type Input = ();
            type State = ();
            type Output = ();
            fn start((): ()) -> Result<Self, TaskFailure> {
                Ok(Self)
            }
            fn resume((): ()) -> Result<Self, TaskFailure> {
                Ok(Self)
            }
            fn state(&self) -> &() {
                &()
            }
            fn step(&mut self, _: &mut StepContext) -> Result<Step<()>, TaskFailure> {
                Ok(Step::Done(()))
            }
        }
        assert!(matches!(TaskRegistry::new().with::<Bad>(), Err(RegistryError::Name(_))));
        let twice = TaskRegistry::new().with::<Counter>().unwrap().with::<Counter>();
        assert!(matches!(twice, Err(RegistryError::Taken(l)) if l == "counter/1"));
        assert!(TaskRegistry::new().get("counter/1").is_err());
    }
}
