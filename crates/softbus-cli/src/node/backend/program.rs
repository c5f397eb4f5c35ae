//! WebAssembly programs, as commands ask for them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use softbus::core::TaskId;
use softbus::net::seam::Lane;
use softbus::task::{TaskEvent, TaskEvents, TaskState};
use softbus::wasm::{self, Admission, Finish, Printed, Start};
use tokio::sync::Notify;

use super::work::{failed, view};
use super::{Backend, named};
use crate::control::{
    AdmissionView, Answer, Body, Event, Events, PrintedView, Response, TaskRequest, TaskView,
};
use crate::failure::Failure;

/// Most bytes of what a program printed that wait for a slow client; past it some is lost, and the client sees that.
const WAITING: usize = 32 << 20;
/// What one event takes beside its bytes.
const EVENT: usize = 128;
/// Longest wait, after a program's end, for what it printed last.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The same where nobody knows whether there is any.
const PERHAPS: Duration = Duration::from_millis(300);

/// Whether a task of this type is a program.
pub(super) fn is_one(task_type: &str) -> bool {
    task_type.split('/').next() == Some(wasm::NAME)
}

impl Backend {
    pub(super) async fn run_program(
        &self,
        request: TaskRequest,
        body: Body,
        events: &Events,
    ) -> Result<Answer, Failure> {
        let kind = named(&request.work.task_type)?.to_string();
        if !is_one(&kind) {
            return Err(Failure::usage(format!("{kind} is no type of programs")));
        }
        if !request.work.params.is_empty() {
            return Err(Failure::usage("a program has no settings")
                .advise("arguments are given with --arg, variables of its environment with --env"));
        }
        self.known_type(&kind, self.circle(request.work.circle.as_deref())?)?;
        let (input, admission) = self.admit(body).await?;
        // Before it can print anything.
        let news = self.bus.tasks().events();
        let mut submitted = self.submit(&kind, request, input, self.bus.tasks().events()).await?;
        submitted.admission = Some(admission);
        let id = submitted.task.id;
        if !events.send(Event::Submitted(Box::new(submitted))).await {
            return Ok(Response::Done.into());
        }
        self.follow(id, news, events).await
    }

    /// Looks at a program before it is submitted: a person should hear at once of one that cannot run, and not from a distant
    /// device. Gives the input of its task.
    async fn admit(&self, body: Body) -> Result<(Vec<u8>, AdmissionView), Failure> {
        let seam = self.bus.net().seam().clone();
        let (clock, compute) = (seam.clock.clone(), seam.compute.clone());
        let work = move || {
            let mut start: Start = postcard::from_bytes(&body)
                .map_err(|_| Failure::usage("the body is no program with what it starts with"))?;
            let refused = |error: wasm::WasmError| {
                Failure::usage(error.to_string())
                    .advise("programs are commands of WASI preview 1 (wasm32-wasi, wasm32-wasip1)")
            };
            let began = clock.boot();
            let admission = wasm::inspect(&start.module).map_err(refused)?;
            let ms = clock.boot().0.saturating_sub(began.0);
            start.check().map_err(|error| Failure::usage(error.to_string()))?;
            if start.seed == [0; 32] {
                seam.entropy.fill(&mut start.seed);
            }
            let shown = admitted(&admission, ms, &start);
            let input = postcard::to_allocvec(&start)
                .map_err(|error| Failure::failed(format!("the program has no wire form: {error}")))?;
            Ok((input, shown))
        };
        // Rewriting takes a while: not on the threads that carry the network.
        let done = compute.run(Lane::Work, 0, work).await;
        done.unwrap_or_else(|| {
            Err(Failure::failed("the program could not be looked at: the node is shutting down"))
        })
    }

    /// Tells of a program until it is over, and gives what it leaves.
    async fn follow(&self, id: TaskId, news: TaskEvents, events: &Events) -> Result<Answer, Failure> {
        let queue = Queue::default();
        let listen = self.listen(Listener { task: id, news, printed: [0; 2], queue: &queue });
        let tell = async {
            loop {
                let event = queue.next().await;
                if !events.send(event).await {
                    return;
                }
            }
        };
        let (task, body) = tokio::select! {
            biased;
            heard = listen => heard?,
            // The client went away; its task goes on.
            () = tell => return Ok(Response::Done.into()),
        };
        while let Some(event) = queue.take() {
            if !events.send(event).await {
                break;
            }
        }
        Ok(Answer { response: Response::Result(Box::new(task)), body })
    }

    /// Hears of a program until it is over and all that it printed is known; how it ended, and what it left.
    async fn listen(&self, mut listener: Listener<'_>) -> Result<(TaskView, Body), Failure> {
        let id = listener.task;
        let mut status = self.bus.tasks().watch(id).await.map_err(failed)?;
        let last = loop {
            let now = status.borrow_and_update().clone();
            let shown = view(&now, &self.names());
            listener.queue.put(Event::Task(Box::new(shown.clone())), 0);
            if now.state.is_final() || now.state == TaskState::Quarantined {
                break shown;
            }
            let changed = loop {
                tokio::select! {
                    biased;
                    heard = listener.hear() => heard?,
                    changed = status.changed() => break changed,
                }
            };
            if changed.is_err() {
                // Whoever told of it went away: somebody else may know.
                status = self.bus.tasks().watch(id).await.map_err(failed)?;
            }
        };
        if last.state != TaskState::Done {
            let _ = tokio::time::timeout(PERHAPS, listener.hear_until(None)).await;
            return Ok((last, Body::new()));
        }
        let body = self.bus.tasks().result(id).await.map_err(failed)?;
        let finish: Finish = postcard::from_bytes(&body).map_err(|_| {
            Failure::failed("what the program left cannot be read: its device runs another version")
        })?;
        // What it printed last may come after the word that it is over.
        let _ = tokio::time::timeout(LAST_WORDS, listener.hear_until(Some(finish.printed))).await;
        Ok((last, body))
    }
}

/// Hears what one program prints.
struct Listener<'q> {
    task: TaskId,
    news: TaskEvents,
    /// How far what it printed is known, on its standard output and its standard error.
    printed: [u64; 2],
    queue: &'q Queue,
}

impl Listener<'_> {
    async fn hear(&mut self) -> Result<(), Failure> {
        let Some(event) = self.news.next().await else {
            return Err(Failure::failed("the node is shutting down; the task goes on"));
        };
        let TaskEvent::Effect { task, bytes, .. } = event else { return Ok(()) };
        if task != self.task {
            return Ok(());
        }
        if let Ok(Printed { to_stderr, at, bytes }) = postcard::from_bytes(&bytes) {
            let seen = &mut self.printed[usize::from(to_stderr)];
            let len = bytes.len();
            *seen = (*seen).max(at.saturating_add(len as u64));
            self.queue.put(Event::Printed(PrintedView { to_stderr, at, bytes }), len);
        }
        Ok(())
    }

    /// Until so much is known.
    async fn hear_until(&mut self, printed: Option<[u64; 2]>) {
        while printed.is_none_or(|all| all.iter().zip(self.printed).any(|(all, seen)| seen < *all)) {
            if self.hear().await.is_err() {
                return;
            }
        }
    }
}

/// Events on their way to a client that may be slow: the bus does not wait for it.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<(Event, usize)>,
    /// Bytes of what was printed, of all.
    bytes: usize,
}

impl Queue {
    /// Puts an event at the end. What a task is replaces what it was; of what it printed no more than [`WAITING`] is kept.
    fn put(&self, event: Event, bytes: usize) {
        let mut waiting = self.waiting();
        let bytes = if bytes > 0 { bytes + EVENT } else { 0 };
        if waiting.bytes + bytes > WAITING {
            return;
        }
        if let (Event::Task(_), Some((Event::Task(_), _))) = (&event, waiting.events.back()) {
            waiting.events.pop_back();
        }
        waiting.bytes += bytes;
        waiting.events.push_back((event, bytes));
        self.more.notify_one();
    }

    fn take(&self) -> Option<Event> {
        let mut waiting = self.waiting();
        let (event, bytes) = waiting.events.pop_front()?;
        waiting.bytes -= bytes;
        Some(event)
    }

    async fn next(&self) -> Event {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            self.more.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn admitted(admission: &Admission, admitted_ms: u64, start: &Start) -> AdmissionView {
    AdmissionView {
        module: admission.hash,
        module_bytes: admission.module_bytes,
        rewritten_bytes: admission.rewritten_bytes,
        admitted_ms,
        functions: admission.functions,
        stoppable: admission.stoppable,
        sites: admission.sites,
        memory_bytes: start.limits.memory_bytes,
        file_bytes: start.limits.file_bytes,
        files: start.files.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(at: u64, len: usize) -> Event {
        Event::Printed(PrintedView { to_stderr: false, at, bytes: vec![b'x'; len] })
    }

    #[tokio::test]
    async fn a_slow_client_loses_output_past_a_bound_and_nothing_else() {
        let queue = Queue::default();
        let size = WAITING / 4 - EVENT;
        let put = |at| queue.put(printed(at, size), size);
        (0..4).for_each(put);
        put(4);
        queue.put(printed(5, 0), 0);
        assert_eq!(queue.next().await, printed(0, size));
        put(6);
        let mut left = Vec::new();
        while let Some(event) = queue.take() {
            let Event::Printed(piece) = event else { panic!("{event:?}") };
            left.push(piece.at);
        }
        assert_eq!(left, [1, 2, 3, 5, 6]);
        assert_eq!(queue.waiting().bytes, 0);
    }
}
