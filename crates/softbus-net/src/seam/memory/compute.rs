use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::time::Instant;

use super::life::Life;
use super::panics;
use crate::seam::{Compute, Lane};

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// A job that panics dies alone, as on a real worker; whoever waits for it is told by its dropped channel.
pub(super) fn run(job: Job) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
        tracing::error!("a job panicked");
        panics::note(&*panic);
    }
}

/// As [`run`], for a job that took virtual time from `since` to now.
pub(super) fn run_since(since: Instant, job: Job) {
    let before = SINCE.replace(Some(since));
    run(job);
    SINCE.set(before);
}

/// Runs each job at once on the thread that submits it, in no time.
#[derive(Clone, Copy, Debug, Default)]
pub struct InlineCompute(());

impl InlineCompute {
    /// One of it.
    pub fn new() -> Self {
        Self(())
    }
}

impl Compute for InlineCompute {
    fn submit(&self, _lane: Lane, _ops: u64, job: Job) {
        run(job);
    }
}

thread_local! {
    static RUNNING: Cell<Option<usize>> = const { Cell::new(None) };
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// When the job that this thread does right now began, if it takes virtual time: it is done at its end.
pub fn running_since() -> Option<Instant> {
    SINCE.get()
}

/// The [number](super::Host::index) of the host whose job this thread does right now: for what a simulation wants to know
/// of the work that it runs.
pub fn running_host() -> Option<usize> {
    RUNNING.get()
}

/// A host's job is being done while this lives.
struct Running(Option<usize>);

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(self.0);
    }
}

/// Drops jobs once the run it belongs to is over.
pub(super) struct Mortal {
    compute: Arc<dyn Compute>,
    life: Life,
    host: usize,
}

impl Mortal {
    pub(super) fn new(compute: Arc<dyn Compute>, life: Life, host: usize) -> Self {
        Self { compute, life, host }
    }
}

impl Compute for Mortal {
    fn submit(&self, lane: Lane, ops: u64, job: Job) {
        if self.life.is_over() {
            return;
        }
        let (life, host) = (self.life.clone(), self.host);
        let job = move || {
            if !life.is_over() {
                let _running = Running(RUNNING.replace(Some(host)));
                job();
            }
        };
        self.compute.submit(lane, ops, Box::new(job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_job_that_panics_dies_alone() {
        let compute: Arc<dyn Compute> = Arc::new(InlineCompute::new());
        assert_eq!(compute.run(Lane::Work, 0, || -> u8 { panic!("on purpose") }).await, None);
        assert_eq!(compute.run(Lane::Work, 0, || 3).await, Some(3));
    }
}
