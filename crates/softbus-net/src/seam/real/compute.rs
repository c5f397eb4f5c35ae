use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::seam::{Compute, Lane};

/// Workers of [`Lane::Disk`].
const DISK_THREADS: usize = 2;
/// Most threads of [`Lane::Work`].
const WORK_THREADS: usize = 256;
/// Jobs that may wait or run in one lane by way of `Compute::run`; callers past it wait.
const PERMITS: usize = 1024;
/// Jobs that may wait in one lane by any way; past it they are dropped, as if they had died.
const QUEUE: usize = 2 * PERMITS;

type Job = Box<dyn FnOnce() + Send>;

/// Threads of our own: as many as there are cores for work, two for the disk. They start when first needed.
/// A job that panics does not take its thread along. Dropping this lets the jobs that run finish and drops
/// those that wait.
///
/// Back-pressure: `run` waits while 1024 jobs of a lane wait or run; `submit`, which cannot wait, drops a
/// job (with a warning) when 2048 wait.
pub struct ThreadCompute {
    work: Pool,
    disk: Pool,
}

impl ThreadCompute {
    /// With so many threads for work; 0 for as many as there are cores.
    pub fn new(work_threads: usize) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let work_threads = if work_threads == 0 { cores() } else { work_threads };
        Self {
            work: Pool::new("softbus-work", work_threads.min(WORK_THREADS)),
            disk: Pool::new("softbus-disk", DISK_THREADS),
        }
    }

    fn pool(&self, lane: Lane) -> &Pool {
        match lane {
            Lane::Work => &self.work,
            Lane::Disk => &self.disk,
        }
    }
}

impl Compute for ThreadCompute {
    fn submit(&self, lane: Lane, _ops: u64, job: Job) {
        self.pool(lane).submit(job);
    }

    fn gate(&self, lane: Lane) -> Option<Arc<Semaphore>> {
        Some(self.pool(lane).gate.clone())
    }
}

struct Pool {
    shared: Arc<Shared>,
    gate: Arc<Semaphore>,
    name: &'static str,
    max_threads: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn new(name: &'static str, max_threads: usize) -> Self {
        Self { shared: Arc::default(), gate: Arc::new(Semaphore::new(PERMITS)), name, max_threads }
    }

    fn submit(&self, job: Job) {
        let mut state = self.shared.lock();
        if state.queue.len() >= QUEUE {
            tracing::warn!(lane = self.name, waiting = QUEUE, "too many jobs wait; one is dropped");
            return;
        }
        state.queue.push_back(job);
        if state.queue.len() > state.idle && state.threads < self.max_threads {
            let shared = self.shared.clone();
            let name = format!("{}-{}", self.name, state.threads);
            match std::thread::Builder::new().name(name).spawn(move || work(&shared)) {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => {
                    tracing::error!(%error, lane = self.name, "no thread to be had; a job is dropped");
                    state.queue.pop_back();
                }
                // Those that run will do it.
                Err(error) => tracing::warn!(%error, lane = self.name, "no further thread to be had"),
            }
        }
        drop(state);
        self.shared.work.notify_one();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.shared.lock();
            state.closed = true;
            std::mem::take(&mut state.queue)
        };
        self.shared.work.notify_all();
        // Outside the lock: what a job holds may be anything.
        drop(waiting);
    }
}

fn work(shared: &Shared) {
    loop {
        let job = {
            let mut state = shared.lock();
            loop {
                if let Some(job) = state.queue.pop_front() {
                    break job;
                }
                if state.closed {
                    return;
                }
                state.idle += 1;
                state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        };
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!(thread = std::thread::current().name(), "a job panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn jobs_run_beside_each_other_and_survive_a_panic() {
        let compute: Arc<dyn Compute> = Arc::new(ThreadCompute::new(2));
        for _ in 0..4 {
            assert_eq!(compute.run(Lane::Disk, 0, || -> () { panic!("on purpose") }).await, None);
        }
        assert_eq!(compute.run(Lane::Disk, 0, || 7).await, Some(7));
        // Two jobs that wait for each other finish only if they run at the same time.
        let (a, b) = (Arc::new(std::sync::Barrier::new(2)), ());
        let (first, second) = (a.clone(), a);
        let both = tokio::join!(
            compute.run(Lane::Work, 0, move || first.wait().is_leader()),
            compute.run(Lane::Work, 0, move || second.wait().is_leader())
        );
        let ((), leaders) = (b, [both.0.unwrap(), both.1.unwrap()]);
        assert_eq!(leaders.iter().filter(|leader| **leader).count(), 1);
    }

    #[tokio::test]
    async fn past_its_bound_run_waits_and_submit_drops() {
        let compute = Arc::new(ThreadCompute::new(1));
        let (release, blocked) = mpsc::sync_channel::<()>(0);
        let (started, start) = mpsc::sync_channel::<()>(1);
        compute.submit(
            Lane::Work,
            0,
            Box::new(move || {
                started.send(()).unwrap();
                let _ = blocked.recv();
            }),
        );
        start.recv().unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..QUEUE + 10 {
            let ran = ran.clone();
            let job = move || {
                ran.fetch_add(1, Ordering::Relaxed);
            };
            compute.submit(Lane::Work, 0, Box::new(job));
        }
        // `run` is told that its job died, not left waiting.
        let any: Arc<dyn Compute> = compute.clone();
        assert_eq!(any.run(Lane::Work, 0, || 1).await, None);
        drop(release);
        while ran.load(Ordering::Relaxed) < QUEUE {
            tokio::task::yield_now().await;
        }
        assert_eq!(any.run(Lane::Work, 0, || 1).await, Some(1));
        assert_eq!(ran.load(Ordering::Relaxed), QUEUE);

        let permits = any.gate(Lane::Work).unwrap().acquire_many_owned(PERMITS as u32).await.unwrap();
        let mut waits = std::pin::pin!(any.run(Lane::Work, 0, || 2));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        drop(permits);
        assert_eq!(waits.await, Some(2));
    }

    #[tokio::test]
    async fn closing_drops_what_waits() {
        let compute: Arc<dyn Compute> = Arc::new(ThreadCompute::new(1));
        let (release, blocked) = mpsc::sync_channel::<()>(0);
        compute.submit(
            Lane::Work,
            0,
            Box::new(move || {
                let _ = blocked.recv();
            }),
        );
        let (done, result) = tokio::sync::oneshot::channel::<()>();
        compute.submit(
            Lane::Work,
            0,
            Box::new(move || {
                let _ = done.send(());
            }),
        );
        drop(compute);
        assert!(result.await.is_err());
        drop(release);
    }
}
