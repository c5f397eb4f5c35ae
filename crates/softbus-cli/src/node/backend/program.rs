//! WebAssembly programs, as commands ask for them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use softbus::core::TaskId;
use softbus::net::seam::Lane;
use softbus::task::{TaskEvent, TaskEvents, TaskState};
use softbus::wasm::{self, Admission, Finish, Printed, Start};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

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
        self.follow(id, [0; 2], news, events).await
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
                    .advise("programs are commands of WASI preview 1 (wasm32-wasi, wasm32-wasip1), or reactors with a softbus_main")
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

    /// Tells of a program until it is over, and gives what it leaves. So much of what it prints is not waited for, as it was
    /// printed before it began here.
    pub(super) async fn follow(
        &self,
        id: TaskId,
        printed: [u64; 2],
        news: TaskEvents,
        events: &Events,
    ) -> Result<Answer, Failure> {
        let queue = Arc::new(Queue::default());
        let (printed, known) = watch::channel(printed);
        // On its own: what it hears does not wait while the client is written to. It ends with this call.
        let mut collecting = JoinSet::new();
        collecting.spawn(collect(id, news, printed, queue.clone()));
        let listen = self.listen(id, known, &queue);
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
    async fn listen(
        &self,
        id: TaskId,
        mut known: watch::Receiver<[u64; 2]>,
        queue: &Queue,
    ) -> Result<(TaskView, Body), Failure> {
        let mut status = self.bus.tasks().watch(id).await.map_err(failed)?;
        let last = loop {
            let now = status.borrow_and_update().clone();
            let shown = view(&now, &self.names());
            queue.put(Event::Task(Box::new(shown.clone())));
            if now.state.is_final() || now.state == TaskState::Quarantined {
                break shown;
            }
            if status.changed().await.is_err() {
                // Whoever told of it went away: somebody else may know.
                status = self.bus.tasks().watch(id).await.map_err(failed)?;
            }
        };
        if last.state != TaskState::Done {
            tokio::time::sleep(PERHAPS).await;
            return Ok((last, Body::new()));
        }
        let body = self.bus.tasks().result(id).await.map_err(failed)?;
        let finish: Finish = postcard::from_bytes(&body).map_err(|_| {
            Failure::failed("what the program left cannot be read: its device runs another version")
        })?;
        // What it printed last may come after the word that it is over.
        let all = known.wait_for(|known| known.iter().zip(finish.printed).all(|(known, all)| *known >= all));
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
        Ok((last, body))
    }
}

/// Hears what one program prints, and how far that is known.
async fn collect(task: TaskId, mut news: TaskEvents, known: watch::Sender<[u64; 2]>, queue: Arc<Queue>) {
    while let Some(event) = news.next().await {
        let TaskEvent::Effect { task: of, bytes, .. } = event else { continue };
        if of != task {
            continue;
        }
        let Ok(Printed { to_stderr, at, bytes }) = postcard::from_bytes(&bytes) else { continue };
        let Some(end) = at.checked_add(bytes.len() as u64).filter(|end| *end > at) else { continue };
        queue.put(Event::Printed(PrintedView { to_stderr, at, bytes }));
        known.send_modify(|known| {
            let known = &mut known[usize::from(to_stderr)];
            *known = end.max(*known);
        });
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
    fn put(&self, event: Event) {
        let mut waiting = self.waiting();
        let bytes = match &event {
            Event::Printed(piece) => piece.bytes.len() + EVENT,
            // One of these at most.
            _ => 0,
        };
        if waiting.bytes + bytes > WAITING {
            return;
        }
        if let Event::Task(_) = &event {
            waiting.events.retain(|(event, _)| !matches!(event, Event::Task(_)));
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
    let limits = start.terms().limits;
    AdmissionView {
        module: admission.hash,
        module_bytes: admission.module_bytes,
        rewritten_bytes: admission.rewritten_bytes,
        admitted_ms,
        functions: admission.functions,
        stoppable: admission.stoppable,
        sites: admission.sites,
        memory_bytes: limits.memory_bytes,
        file_bytes: limits.file_bytes,
        cpu_permille: limits.cpu_permille,
        output_bytes_per_s: limits.output_bytes_per_s,
        files: start.files.len(),
        services: start.grants.services.iter().map(ToString::to_string).collect(),
        inference: start.grants.inference,
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
        let put = |at| queue.put(printed(at, size));
        (0..4).for_each(put);
        put(4);
        assert_eq!(queue.next().await, printed(0, size));
        put(5);
        let mut left = Vec::new();
        while let Some(event) = queue.take() {
            let Event::Printed(piece) = event else { panic!("{event:?}") };
            left.push(piece.at);
        }
        assert_eq!(left, [1, 2, 3, 5]);
        assert_eq!(queue.waiting().bytes, 0);
    }
}
