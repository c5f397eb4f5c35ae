//! `picture/1`: the demo's job, a room lit by a picture, as a task that moves.

use softbus::task::{Buffer, Estimate};
use softbus::{Step, StepContext, Task, TaskFailure};

use super::Job;
use crate::picture::{DEMO_SIZE, PictureInput, PictureJob};

/// Paints a picture, and shows it ten times on the way.
pub struct Picture {
    job: PictureJob,
    /// Tenths of the way that were shown (here: it does not travel).
    shown: u32,
}

impl Picture {
    fn of(job: PictureJob) -> Self {
        Self { shown: tenths(job.progress()), job }
    }
}

fn tenths(progress: f64) -> u32 {
    (progress * 10.0) as u32
}

impl Task for Picture {
    const NAME: &'static str = "picture";
    const STATE_VERSION: u16 = 1;
    type Input = Job;
    type State = PictureJob;
    type Output = Buffer;

    fn start(job: Job) -> Result<Self, TaskFailure> {
        let (width, samples) = settings(&job)?;
        Ok(Self::of(PictureJob::new(&PictureInput { bytes: job.file.0, width, samples })?))
    }

    fn resume(state: PictureJob) -> Result<Self, TaskFailure> {
        Ok(Self::of(state))
    }

    fn state(&self) -> &PictureJob {
        &self.job
    }

    fn step(&mut self, cx: &mut StepContext) -> Result<Step<Buffer>, TaskFailure> {
        loop {
            // Small bites, so that a wish to stop is heard soon.
            let step = self.job.step(cx.budget_ops().min(BITE_OPS));
            let go_on = cx.spend(step.done_ops);
            if step.is_done {
                cx.progress(1.0, "done");
                return Ok(Step::Done(Buffer(self.job.finish()?)));
            }
            if !go_on {
                let (width, height) = self.job.size();
                cx.progress(step.progress, format!("{width}×{height}"));
                if tenths(step.progress) > self.shown && !cx.stopping() {
                    self.shown = tenths(step.progress);
                    // Without a preview the work goes on all the same.
                    if let Ok(preview) = self.job.preview() {
                        cx.preview(preview);
                    }
                }
                return Ok(Step::More);
            }
        }
    }

    fn estimate(job: &Job) -> Estimate {
        let Ok((width, samples)) = settings(job) else { return Estimate::default() };
        let input = PictureInput { bytes: Vec::new(), width, samples };
        let pixels = u64::from(width) * u64::from(input.height());
        Estimate {
            ops: input.total_ops(),
            // Sums of light, guides of the last pass and the picture itself, for each pixel.
            memory_bytes: (16 << 20) + pixels * 96,
            output_bytes: pixels * 2,
        }
    }
}

/// Work between two looks at the wish to stop.
const BITE_OPS: u64 = 2_000_000;

fn settings(job: &Job) -> Result<(u32, u32), TaskFailure> {
    job.known(&["width", "samples"])?;
    Ok((job.param("width", DEMO_SIZE.0)?, job.param("samples", DEMO_SIZE.1)?))
}

/// Makes the job ready to travel: of the picture only what lights the room is sent.
pub(super) fn prepare(mut job: Job) -> Result<Job, TaskFailure> {
    let (width, samples) = settings(&job)?;
    if job.file.0.is_empty() {
        return Err(TaskFailure::new("no picture: give a PNG or JPEG file with --input"));
    }
    job.file = Buffer(PictureInput::prepare(&job.file.0, width, samples)?.bytes);
    Ok(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            file: Buffer(crate::picture::SAMPLE_PNG.to_vec()),
            params: [("width".into(), "48".into()), ("samples".into(), "2".into())].into(),
        }
    }

    #[test]
    fn moving_after_each_step_changes_no_bit() {
        let finish = |job: Job, budget: u64, moving: bool| {
            let mut task = Picture::start(job).unwrap();
            let mut steps = 0;
            loop {
                steps += 1;
                let mut cx = StepContext::detached(budget);
                match task.step(&mut cx).unwrap() {
                    Step::Done(out) => return (out, steps),
                    Step::More | Step::Wait(_) if moving => {
                        // As it travels: written and read.
                        let state = postcard::to_allocvec(task.state()).unwrap();
                        task = Picture::resume(postcard::from_bytes(&state).unwrap()).unwrap();
                    }
                    Step::More | Step::Wait(_) => {}
                }
            }
        };
        let whole = finish(job(), u64::MAX, false).0;
        assert_eq!(&whole.0[1..4], b"PNG");
        let (moved, steps) = finish(prepare(job()).unwrap(), 20_000, true);
        assert!(steps > 10, "{steps}");
        assert_eq!(moved, whole);
    }

    #[test]
    fn what_is_no_picture_is_refused_before_it_travels() {
        assert!(prepare(Job::default()).unwrap_err().to_string().contains("--input"));
        let text = Job { file: Buffer(b"hello".to_vec()), ..Job::default() };
        assert!(prepare(text).is_err());
        let mut huge = job();
        huge.params.insert("width".into(), "1000000".into());
        assert!(prepare(huge).is_err());
    }
}
