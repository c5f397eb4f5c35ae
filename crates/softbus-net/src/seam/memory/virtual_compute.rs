//! Cores and a disk that take virtual time. Ends of jobs are reckoned exactly and not by when tokio's timers (which have
//! a grain of a millisecond) say so: many short jobs take as long as they should.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::compute::{Job, run, run_since};
use super::lock;
use crate::seam::{Compute, Lane};

/// Jobs that may wait in a lane; further ones are dropped.
const WAITING_JOBS: usize = 1 << 16;

/// Work takes virtual time: each job of [`Lane::Work`] occupies one of some cores for its estimated operations at a
/// rate, and runs when that time is over. Jobs of [`Lane::Disk`] take a fixed time each, one after the other; none at
/// first, and then they run at once. Clones are handles to the same.
#[derive(Clone)]
pub struct VirtualCompute(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    awake: watch::Sender<bool>,
}

struct State {
    rate_ops_per_s: u64,
    disk_latency: Duration,
    work: Queue,
    disk: Queue,
    /// Who waits for the disk's nth job from now.
    disk_watches: Vec<(u32, oneshot::Sender<()>)>,
    next_id: u64,
    /// Core time of the jobs that ended.
    busy: Duration,
    asleep_since: Option<Instant>,
    awake_since: Instant,
}

struct Queue {
    workers: Vec<Option<Running>>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    since: Instant,
    ops: u64,
    job: Job,
}

struct Running {
    id: u64,
    begin: Instant,
    end: Instant,
    job: Job,
}

impl std::fmt::Debug for VirtualCompute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VirtualCompute")
    }
}

impl VirtualCompute {
    /// So many cores of that speed each.
    pub fn new(cores: u16, rate_ops_per_s: u64) -> Self {
        let state = State {
            rate_ops_per_s: rate_ops_per_s.max(1),
            disk_latency: Duration::ZERO,
            work: Queue::new(usize::from(cores.max(1))),
            disk: Queue::new(1),
            disk_watches: Vec::new(),
            next_id: 0,
            busy: Duration::ZERO,
            asleep_since: None,
            awake_since: Instant::now(),
        };
        Self(Arc::new(Shared { state: Mutex::new(state), awake: watch::Sender::new(true) }))
    }

    /// Changes the speed of all cores, for jobs that begin from now on: heat, or other programs.
    pub fn set_rate(&self, rate_ops_per_s: u64) {
        lock(&self.0.state).rate_ops_per_s = rate_ops_per_s.max(1);
    }

    /// Changes how long each job of the disk takes, for those that begin from now on.
    pub fn set_disk_latency(&self, latency: Duration) {
        lock(&self.0.state).disk_latency = latency;
    }

    /// Comes when the disk begins its `nth` job from now on (the first is 1); an error if the jobs are abandoned before. Of
    /// jobs that wait for one another this is as coarse as tokio's timers, so that one of a disk that takes less than a
    /// millisecond may be over by then.
    pub fn disk_job_begins(&self, nth: u32) -> oneshot::Receiver<()> {
        let (begins, comes) = oneshot::channel();
        lock(&self.0.state).disk_watches.push((nth.max(1), begins));
        comes
    }

    /// Core time that jobs took so far, all cores together, in nanoseconds: for load and energy.
    pub fn busy_ns(&self) -> u64 {
        let state = lock(&self.0.state);
        let busy = state.busy + state.work.begun(state.now());
        u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Jobs of all lanes that run or wait.
    pub fn jobs(&self) -> usize {
        let state = lock(&self.0.state);
        [&state.work, &state.disk].iter().map(|q| q.waiting.len() + q.workers.iter().flatten().count()).sum()
    }

    /// The device falls asleep: no job goes on until [`VirtualCompute::resume`].
    pub fn suspend(&self) {
        lock(&self.0.state).asleep_since.get_or_insert_with(Instant::now);
        self.0.awake.send_replace(false);
    }

    /// The device is awake again: jobs end later by the time that it slept.
    pub fn resume(&self) {
        lock(&self.0.state).wake();
        self.0.awake.send_replace(true);
    }

    /// Drops all jobs: the program that submitted them is no more.
    pub fn abandon(&self) {
        let dropped = {
            let state = &mut *lock(&self.0.state);
            state.busy += state.work.begun(state.now());
            (state.work.clear(), state.disk.clear(), std::mem::take(&mut state.disk_watches))
        };
        // Not under the lock: a job may hold anything.
        drop(dropped);
    }
}

impl Compute for VirtualCompute {
    fn submit(&self, lane: Lane, ops: u64, job: Job) {
        match self.0.take_in(lane, ops, job) {
            Taken::In => {}
            Taken::AtOnce(job) => run(job),
            Taken::Full(job) => {
                tracing::error!("too many jobs wait: one is dropped");
                drop(job);
            }
        }
    }
}

/// What became of a job that was submitted.
enum Taken {
    In,
    AtOnce(Job),
    Full(Job),
}

/// What a worker is to do next.
enum Next {
    /// Nothing: its job was abandoned.
    Stop,
    /// To wait longer: the device slept.
    Wait(Instant),
    /// To run this job, which began then, and then to wait for the one of this number, if any.
    Run(Instant, Job, Option<(u64, Instant)>),
}

impl Shared {
    fn take_in(self: &Arc<Self>, lane: Lane, ops: u64, job: Job) -> Taken {
        let now = Instant::now();
        let state = &mut *lock(&self.state);
        let Some(worker) = state.queue(lane).workers.iter().position(Option::is_none) else {
            let waiting = &mut state.queue(lane).waiting;
            if waiting.len() >= WAITING_JOBS {
                return Taken::Full(job);
            }
            waiting.push_back(Waiting { since: now, ops, job });
            return Taken::In;
        };
        if lane == Lane::Disk && state.disk_latency.is_zero() && state.asleep_since.is_none() {
            state.disk_begins();
            return Taken::AtOnce(job);
        }
        let (id, end) = state.begin(lane, worker, now, ops, job);
        tokio::spawn(self.clone().drive(lane, worker, id, end));
        Taken::In
    }

    /// Runs the job of a worker when it ends, and those after it, until none waits.
    async fn drive(self: Arc<Self>, lane: Lane, worker: usize, mut id: u64, mut end: Instant) {
        let mut awake = self.awake.subscribe();
        loop {
            tokio::time::sleep_until(end).await;
            if awake.wait_for(|awake| *awake).await.is_err() {
                return;
            }
            let next = lock(&self.state).next(lane, worker, id);
            match next {
                Next::Stop => return,
                Next::Wait(until) => end = until,
                Next::Run(since, job, after) => {
                    run_since(since, job);
                    let Some(after) = after else { return };
                    (id, end) = after;
                }
            }
        }
    }
}

impl State {
    fn queue(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Work => &mut self.work,
            Lane::Disk => &mut self.disk,
        }
    }

    /// Now, as jobs see it.
    fn now(&self) -> Instant {
        self.asleep_since.unwrap_or_else(Instant::now)
    }

    fn disk_begins(&mut self) {
        for (nth, begins) in std::mem::take(&mut self.disk_watches) {
            match nth {
                0 | 1 => drop(begins.send(())),
                _ if begins.is_closed() => {}
                _ => self.disk_watches.push((nth - 1, begins)),
            }
        }
    }

    fn begin(&mut self, lane: Lane, worker: usize, begin: Instant, ops: u64, job: Job) -> (u64, Instant) {
        let span = match lane {
            Lane::Work => {
                let nanos = u128::from(ops) * 1_000_000_000 / u128::from(self.rate_ops_per_s);
                Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2))
            }
            Lane::Disk => {
                // What is submitted in its sleep begins when it wakes.
                if self.asleep_since.is_none() {
                    self.disk_begins();
                }
                self.disk_latency
            }
        };
        self.next_id += 1;
        let (id, end) = (self.next_id, begin + span);
        self.queue(lane).workers[worker] = Some(Running { id, begin, end, job });
        (id, end)
    }

    fn next(&mut self, lane: Lane, worker: usize, id: u64) -> Next {
        let now = Instant::now();
        let slot = &mut self.queue(lane).workers[worker];
        let Some(done) = slot.take_if(|job| job.id == id && job.end <= now) else {
            return match slot {
                Some(job) if job.id == id => Next::Wait(job.end),
                _ => Next::Stop,
            };
        };
        if lane == Lane::Work {
            self.busy += done.end - done.begin;
        }
        let after = self.queue(lane).waiting.pop_front().map(|waiting| {
            let begin = done.end.max(waiting.since).max(self.awake_since);
            self.begin(lane, worker, begin, waiting.ops, waiting.job)
        });
        Next::Run(done.begin, done.job, after)
    }

    fn wake(&mut self) {
        let Some(since) = self.asleep_since.take() else { return };
        let now = Instant::now();
        self.awake_since = now;
        let begins = |job: &Running| job.begin > since;
        if self.disk.workers.iter().flatten().any(begins) {
            self.disk_begins();
        }
        for job in [&mut self.work, &mut self.disk].into_iter().flat_map(|q| q.workers.iter_mut().flatten()) {
            if job.end > since || job.begin > since {
                // One that was submitted in its sleep begins now.
                let slept = now - job.begin.max(since);
                job.begin += slept;
                job.end += slept;
            }
        }
    }
}

impl Queue {
    fn new(workers: usize) -> Self {
        Self { workers: std::iter::repeat_with(|| None).take(workers).collect(), waiting: VecDeque::new() }
    }

    /// Core time that the jobs that run now took so far.
    fn begun(&self, now: Instant) -> Duration {
        let running = self.workers.iter().flatten();
        running.map(|job| now.min(job.end).saturating_duration_since(job.begin)).sum()
    }

    fn clear(&mut self) -> (Vec<Running>, VecDeque<Waiting>) {
        let running = self.workers.iter_mut().filter_map(Option::take).collect();
        (running, std::mem::take(&mut self.waiting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn shared(compute: &VirtualCompute) -> Arc<dyn Compute> {
        Arc::new(compute.clone())
    }

    /// Submits so many jobs of `ops`; gives back when each ended, in milliseconds from `begin`.
    async fn ends(compute: &VirtualCompute, lane: Lane, ops: u64, jobs: usize) -> Vec<u128> {
        let begin = Instant::now();
        let ended = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..jobs {
            let ended = ended.clone();
            compute.submit(lane, ops, Box::new(move || lock(&ended).push(begin.elapsed().as_millis())));
        }
        while lock(&ended).len() < jobs {
            tokio::time::sleep(MS).await;
        }
        std::mem::take(&mut *lock(&ended))
    }

    #[tokio::test(start_paused = true)]
    async fn work_takes_virtual_time_on_as_many_cores_as_there_are() {
        let compute = VirtualCompute::new(2, 1000);
        assert_eq!(ends(&compute, Lane::Work, 1000, 3).await, [1000, 1000, 2000]);
        assert_eq!(compute.busy_ns(), 3_000_000_000);
        // Many short jobs do not each take up to the grain of the timers.
        assert_eq!(ends(&compute, Lane::Work, 1, 20).await.last(), Some(&10));
        let fine = VirtualCompute::new(1, 1_000_000);
        assert_eq!(ends(&fine, Lane::Work, 100, 20).await.last(), Some(&2));
    }

    #[tokio::test(start_paused = true)]
    async fn another_rate_counts_for_what_begins_later() {
        let compute = VirtualCompute::new(1, 1000);
        let slower = compute.clone();
        tokio::spawn(async move {
            tokio::time::sleep(500 * MS).await;
            slower.set_rate(500);
        });
        assert_eq!(ends(&compute, Lane::Work, 1000, 2).await, [1000, 3000]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_disk_is_at_once_or_one_after_the_other() {
        let compute = VirtualCompute::new(4, 1000);
        assert_eq!(ends(&compute, Lane::Disk, 1000, 2).await, [0, 0]);
        compute.set_disk_latency(5 * MS);
        assert_eq!(ends(&compute, Lane::Disk, 0, 3).await, [5, 10, 15]);
        assert_eq!(compute.busy_ns(), 0, "the disk is no core");
    }

    #[tokio::test(start_paused = true)]
    async fn who_sleeps_does_no_work() {
        let compute = VirtualCompute::new(1, 1000);
        let other = compute.clone();
        tokio::spawn(async move {
            tokio::time::sleep(400 * MS).await;
            other.suspend();
            assert_eq!(other.busy_ns(), 400_000_000);
            tokio::time::sleep(5000 * MS).await;
            assert_eq!(other.busy_ns(), 400_000_000);
            // Not even what takes no time.
            other.submit(Lane::Disk, 0, Box::new(|| ()));
            assert_eq!(other.jobs(), 3);
            other.resume();
        });
        assert_eq!(ends(&compute, Lane::Work, 1000, 2).await, [6000, 7000]);
        assert_eq!((compute.busy_ns(), compute.jobs()), (2_000_000_000, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_job_of_the_disk_is_told_when_it_begins() {
        let compute = VirtualCompute::new(1, 1000);
        let mut comes = compute.disk_job_begins(2);
        compute.submit(Lane::Disk, 0, Box::new(|| ()));
        assert!(comes.try_recv().is_err(), "that was the first");
        compute.set_disk_latency(5 * MS);
        let begin = Instant::now();
        let writes = compute.clone();
        tokio::spawn(async move { ends(&writes, Lane::Disk, 0, 2).await });
        comes.await.unwrap();
        assert_eq!((begin.elapsed(), compute.jobs()), (Duration::ZERO, 2));
        compute.disk_job_begins(1).await.unwrap();
        assert_eq!((begin.elapsed(), compute.jobs()), (5 * MS, 1), "as the first ends");
        let never = compute.disk_job_begins(1);
        compute.abandon();
        assert!(never.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn abandoned_jobs_end_and_leave_the_cores_free() {
        let compute = VirtualCompute::new(1, 1000);
        let (one, two) = (shared(&compute), shared(&compute));
        let jobs = tokio::spawn(async move {
            tokio::join!(one.run(Lane::Work, 1000, || 1), two.run(Lane::Work, 1000, || 2))
        });
        tokio::time::sleep(100 * MS).await;
        compute.abandon();
        assert_eq!(jobs.await.unwrap(), (None, None));
        assert_eq!(ends(&compute, Lane::Work, 1000, 1).await, [1000]);
        assert_eq!(compute.busy_ns(), 1_100_000_000);
    }
}
