//! Standing still by the word of a person. It is part of each checkpoint taken meanwhile, so that it holds after a restart,
//! a move and a fail-over: whoever goes on from such a checkpoint begins by standing still.

use std::time::Duration;

use softbus_core::wire::task_control::{ImageKind, Pause};

use super::{Instance, Report};

/// How often a paused task looks whether it was stored, while that is under way.
const STORING: Duration = Duration::from_millis(20);
/// And how often else; it hears at once what the actor wants.
const STILL: Duration = Duration::from_secs(1);

impl Instance {
    /// Begins as one that was paused where its checkpoint comes from.
    pub(super) async fn begin_paused(&mut self, pause: Option<Pause>) {
        let (permille, ops_done) = (self.meta.progress_permille, self.meta.ops_done);
        self.tell(Report::Progress { permille, text: None, ops_done }).await;
        self.change(pause).await;
    }

    /// Does what a person wants, if that is new.
    pub(super) async fn heed(&mut self, wanted: Option<(u64, Option<Pause>)>) {
        let Some((number, pause)) = wanted.filter(|(number, _)| *number != self.rest) else { return };
        self.rest = number;
        if self.pause.is_some() != pause.is_some() {
            self.change(pause).await;
        }
    }

    async fn change(&mut self, pause: Option<Pause>) {
        self.pause = pause;
        // A checkpoint shall say so, soon. After a start it also shows that the start went well: else one that is paused
        // for many starts would count as one that crashes at each.
        (self.stepped, self.effects_wait) = (true, true);
        self.tell(Report::Rests(pause)).await;
    }

    /// One turn without a step; checkpoints are looked after.
    pub(super) async fn stand_still(&mut self) {
        self.harvest(false).await;
        if self.is_due() {
            self.begin_checkpoint().await;
        }
        let soon = self.storing.is_some() || self.stepped;
        self.rest(if soon { STORING } else { STILL }).await;
    }

    /// What a checkpoint of now is.
    pub(super) fn image_kind(&self) -> ImageKind {
        match self.pause {
            Some(pause) => ImageKind::Paused(self.meta.clone(), pause),
            None => ImageKind::State(self.meta.clone()),
        }
    }
}
