use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::life::Life;
use super::lock;
use crate::seam::{Compute, Lane};

type Job = Box<dyn FnOnce() + Send>;

/// A job that panics dies alone, as on a real worker; whoever waits for it is told by its dropped channel.
fn run(job: Job) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        tracing::error!("a job panicked");
    }
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

/// Work takes virtual time: each job of [`Lane::Work`] occupies one of some cores for its estimated
/// operations at a rate, and runs when that time is over. Jobs of [`Lane::Disk`] run at once.
#[derive(Debug)]
pub struct VirtualCompute {
    rate_ops_per_s: u64,
    /// When each core is free again.
    cores: Mutex<Vec<Instant>>,
}

impl VirtualCompute {
    /// So many cores of that speed each.
    pub fn new(cores: u16, rate_ops_per_s: u64) -> Self {
        let cores = vec![Instant::now(); usize::from(cores.max(1))];
        Self { rate_ops_per_s: rate_ops_per_s.max(1), cores: Mutex::new(cores) }
    }
}

impl Compute for VirtualCompute {
    fn submit(&self, lane: Lane, ops: u64, job: Job) {
        if lane == Lane::Disk {
            return run(job);
        }
        let nanos = u128::from(ops) * 1_000_000_000 / u128::from(self.rate_ops_per_s);
        let span = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2));
        let done = {
            let mut cores = lock(&self.cores);
            let now = Instant::now();
            let Some(free) = cores.iter_mut().min() else { return };
            *free = (*free).max(now) + span;
            *free
        };
        tokio::spawn(async move {
            tokio::time::sleep_until(done).await;
            run(job);
        });
    }
}

/// Drops jobs once the run it belongs to is over.
pub(super) struct Mortal {
    compute: Arc<dyn Compute>,
    life: Life,
}

impl Mortal {
    pub(super) fn new(compute: Arc<dyn Compute>, life: Life) -> Self {
        Self { compute, life }
    }
}

impl Compute for Mortal {
    fn submit(&self, lane: Lane, ops: u64, job: Job) {
        if self.life.is_over() {
            return;
        }
        let life = self.life.clone();
        let job = move || {
            if !life.is_over() {
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
    async fn work_takes_virtual_time_on_as_many_cores_as_there_are() {
        let compute: Arc<dyn Compute> = Arc::new(VirtualCompute::new(2, 1000));
        let begin = Instant::now();
        let job = || async {
            compute.run(Lane::Work, 1000, || ()).await;
            begin.elapsed().as_secs()
        };
        let ends = tokio::join!(job(), job(), job());
        assert_eq!(ends, (1, 1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_panics_dies_alone() {
        let compute: Arc<dyn Compute> = Arc::new(InlineCompute::new());
        assert_eq!(compute.run(Lane::Work, 0, || -> u8 { panic!("on purpose") }).await, None);
        assert_eq!(compute.run(Lane::Work, 0, || 3).await, Some(3));
    }
}
