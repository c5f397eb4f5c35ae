//! When a checkpoint is due, taking it, the last one, and the result.

use std::time::Duration;

use softbus_core::wire::task::ManifestKind;
use softbus_core::wire::task_control::{Ended, Image, ImageKind};
use softbus_core::{DeviceId, Signed};
use softbus_net::seam::Lane;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::storing::{Kept, content, store_snapshot};
use super::tail::write_tail;
use super::{BYTES_PER_OP, CHUNK_OPS, End, Instance, Over, Report, Stillborn};
use crate::checkpoint::Snapshot;
use crate::epoch::manifest;
use crate::native::{Changes, Effect, Mark};
use crate::store::Checkpoint;
use crate::{TaskError, limits};

impl Instance {
    pub(super) fn is_due(&self) -> bool {
        if self.storing.is_some() {
            return false;
        }
        let (damaged, again, wanted) = {
            let control = self.control.borrow();
            (
                control.damage != self.damage,
                control.uncounted != self.uncounted,
                control.wanted != self.wanted,
            )
        };
        if (damaged || wanted) && self.retry.is_none() {
            return true;
        }
        if !self.stepped && !again && !wanted {
            return false;
        }
        let interval = match self.retry {
            Some(retry) => retry,
            // Not at once: until this instance hears of a new right, none that it makes counts.
            None if self.effects_wait || again => limits::CHECKPOINT_EFFECTS.max(self.cost * 2),
            None => self
                .inner
                .config
                .checkpoint_every
                .max(self.cost * limits::CHECKPOINT_SHARE)
                .max(self.still * limits::CHECKPOINT_STILL)
                .min(limits::CHECKPOINT_INTERVAL_MAX),
        };
        self.last.elapsed() >= interval
    }

    /// Writes the state into the snapshot; the program may go on when this returns. `Err`: it cannot be written.
    pub(super) async fn take(&mut self) -> Result<Option<ImageKind>, String> {
        let Some(mut snapshot) = self.snapshot.take() else { return Ok(None) };
        let (damage, uncounted, wanted) = {
            let control = self.control.borrow();
            (control.damage, control.uncounted, control.wanted)
        };
        (self.uncounted, self.wanted) = (uncounted, wanted);
        if damage != self.damage {
            // Part of what was stored before is lost: nothing of it is built upon.
            self.damage = damage;
            snapshot.taint();
        }
        let mut program =
            std::mem::replace(&mut self.program, Box::new(Stillborn(crate::TaskFailure::new("lost"))));
        let tail: Vec<Effect> = self.tail.iter().cloned().collect();
        let size = snapshot.bytes().len() as u64;
        let job = self.inner.seam.compute.run(Lane::Work, size / BYTES_PER_OP + CHUNK_OPS, move || {
            let mut state_len = 0;
            let written = snapshot.write(|out| {
                let mut counted = Counted { out, len: 0, refused: None };
                // Its serialiser says only that it could not go on.
                let saved = program.save(&mut counted).map_err(|e| e.to_string());
                saved.map_err(|error| counted.refused.take().unwrap_or(error))?;
                state_len = counted.len;
                write_tail(&mut counted, &tail).map_err(|e| e.to_string())
            });
            (program, snapshot, written.map(|()| state_len))
        });
        let Some((program, snapshot, written)) = job.await else { return Err(TaskError::Closed.to_string()) };
        self.program = program;
        self.snapshot = Some(snapshot);
        self.stepped = false;
        self.effects_wait = false;
        self.meta.state_len = written?;
        Ok(Some(self.image_kind()))
    }

    /// Takes a checkpoint and begins to store it beside the next steps.
    pub(super) async fn begin_checkpoint(&mut self) {
        let began = Instant::now();
        self.last = began;
        let kind = match self.take().await {
            Ok(Some(kind)) => kind,
            Ok(None) => return,
            Err(error) => {
                // It can go on, but neither move nor survive: say so, and try again later.
                self.stepped = true;
                self.retry = Some(backoff(self.retry));
                self.tell(Report::Trouble(Some(error))).await;
                return;
            }
        };
        self.still = (self.still + began.elapsed()) / 2;
        let Some(snapshot) = self.snapshot.take() else { return };
        let (inner, shared, key) = (self.inner.clone(), self.shared.clone(), self.key.clone());
        let (done, storing) = oneshot::channel();
        self.storing = Some(storing);
        self.inner.spawn(async move {
            let (snapshot, stored) = store_snapshot(&inner, &shared, &key, snapshot, kind).await;
            let _ = done.send(Kept { snapshot, stored: stored.map(|image| (image, began.elapsed())) });
        });
    }

    /// Takes in what the storing job gave; waits for it if `wait`.
    pub(super) async fn harvest(&mut self, wait: bool) {
        let Some(mut storing) = self.storing.take() else { return };
        let kept = match storing.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) if !wait => {
                self.storing = Some(storing);
                return;
            }
            Err(oneshot::error::TryRecvError::Empty) => storing.await.ok(),
            kept => kept.ok(),
        };
        let Some(kept) = kept else {
            // The job died with the snapshot: begin from nothing.
            self.snapshot = Some(Snapshot::new(self.inner.config.state_bytes));
            self.stepped = true;
            return;
        };
        self.snapshot = Some(kept.snapshot);
        match kept.stored {
            Ok((image, cost)) => {
                self.cost = (self.cost + cost) / 2;
                match self.record(image, ManifestKind::Checkpoint, None).await {
                    Ok(manifest) => {
                        if self.retry.take().is_some() {
                            self.tell(Report::Trouble(None)).await;
                        }
                        self.tell(Report::Stored { manifest, wanted: self.wanted }).await;
                    }
                    Err(error) => self.trouble(&error).await,
                }
            }
            Err(error) => self.trouble(&error).await,
        }
    }

    pub(super) async fn trouble(&mut self, error: &TaskError) {
        self.stepped = true;
        self.retry = Some(backoff(self.retry));
        self.tell(Report::Trouble(Some(format!("a checkpoint could not be stored: {error}")))).await;
    }

    /// Stops with a final checkpoint. `None` if the actor changed its mind meanwhile.
    pub(super) async fn last_checkpoint(&mut self, destination: Option<DeviceId>) -> Option<Report> {
        let stopped = Instant::now();
        if let Some(leaving) = &mut self.shared.parts().leaving {
            leaving.stopped.get_or_insert(stopped);
        }
        self.harvest(true).await;
        let kind = match self.take().await {
            Ok(Some(kind)) => kind,
            Ok(None) => return Some(Report::Stopped { last: None }),
            Err(error) => {
                // It has not stopped yet: the actor calls the move off, or ends it.
                self.stepped = true;
                self.retry = Some(backoff(self.retry));
                self.tell(Report::CannotStop { error }).await;
                self.rest(limits::STORE_RETRY).await;
                return None;
            }
        };
        loop {
            let snapshot = self.snapshot.take()?;
            let (snapshot, stored) =
                store_snapshot(&self.inner, &self.shared, &self.key, snapshot, kind.clone()).await;
            self.snapshot = Some(snapshot);
            let recorded = match stored {
                Ok(image) => self.record(image, ManifestKind::Checkpoint, destination).await,
                Err(error) => Err(error),
            };
            match recorded {
                Ok(manifest) => return Some(Report::Stopped { last: Some(manifest) }),
                Err(error) => {
                    self.trouble(&error).await;
                    self.rest(self.retry.unwrap_or(limits::STORE_RETRY)).await;
                    if !matches!(self.control.borrow().end, Some(End::Stop { .. })) {
                        return None;
                    }
                }
            }
        }
    }

    /// After the last step. A result carries no effects: so the last of them leave before, and until then the task goes on
    /// as one that is over.
    pub(super) async fn end(&mut self, how: Ended, output: Vec<u8>) -> Option<Report> {
        let room = self.inner.config.state_bytes.saturating_sub(2 * limits::EFFECT_BYTES as u64);
        let may_wait = output.len() as u64 <= room && self.over_since.is_none();
        if may_wait && self.control.borrow().released < self.meta.effects {
            self.program = Box::new(Over(how, output));
            (self.meta.ended, self.stepped) = (Some(how), true);
            self.over_since = Some(Instant::now());
            return None;
        }
        let kind = match how {
            Ended::Output => ImageKind::Output,
            Ended::Failure => ImageKind::Failure,
        };
        Some(self.finish(kind, output).await)
    }

    /// Stores the result, however often it takes.
    pub(super) async fn finish(&mut self, kind: ImageKind, output: Vec<u8>) -> Report {
        self.harvest(true).await;
        let mut result = Snapshot::new(u64::MAX);
        // Cannot fail: the limit is that of images.
        if result.write(|out| out.write_all(&output)).is_err() {
            return Report::Failed { error: "its result is larger than an image may be".into() };
        }
        let failure = (kind == ImageKind::Failure).then(|| String::from_utf8_lossy(&output).into_owned());
        drop(output);
        loop {
            let (back, stored) =
                store_snapshot(&self.inner, &self.shared, &self.key, result, kind.clone()).await;
            result = back;
            let recorded = match stored {
                Ok(image) => self.record(image, ManifestKind::Result, None).await,
                Err(error) => Err(error),
            };
            match recorded {
                Ok(result) => return Report::Finished { result, failure },
                Err(error) => {
                    self.trouble(&error).await;
                    self.rest(self.retry.unwrap_or(limits::STORE_RETRY)).await;
                    if self.control.borrow().end == Some(End::Discard) {
                        return Report::Stopped { last: None };
                    }
                }
            }
        }
    }

    /// Signs the manifest of a stored image and makes both durable.
    pub(super) async fn record(
        &mut self,
        image: Image,
        kind: ManifestKind,
        destination: Option<DeviceId>,
    ) -> Result<Signed, TaskError> {
        let right = self.control.borrow().right.clone();
        let shared = self.shared.clone();
        // Nothing more is written of a task that is forgotten.
        let _erase_later = shared.store().await.ok_or(TaskError::Closed)?;
        self.sequence += 1;
        let meta = image.kind.meta().unwrap_or(&self.meta);
        let content = content(&image, &self.kind.current, kind, self.sequence, destination, meta);
        let manifest = manifest::next(&*self.inner.key, right.0, &right.1, content)
            .map_err(|e| TaskError::Storage(e.to_string()))?;
        self.inner.add_checkpoint(&self.shared, Checkpoint { manifest: manifest.clone(), image }).await?;
        Ok(manifest)
    }
}

fn backoff(last: Option<Duration>) -> Duration {
    last.map_or(limits::STORE_RETRY, |last| (last * 2).min(limits::STORE_RETRY_MAX))
}

struct Counted<'a> {
    out: &'a mut dyn Changes,
    len: u64,
    /// Why no more of it was taken.
    refused: Option<String>,
}

impl std::io::Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes);
        let written = written.inspect_err(|error| self.refused = Some(error.to_string()))?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

impl Changes for Counted<'_> {
    fn over(&self) -> Option<Mark> {
        self.out.over()
    }

    fn mark(&self) -> Mark {
        self.out.mark()
    }

    fn keep(&mut self, len: usize) -> std::io::Result<()> {
        self.out.keep(len).inspect_err(|error| self.refused = Some(error.to_string()))?;
        self.len += len as u64;
        Ok(())
    }
}
