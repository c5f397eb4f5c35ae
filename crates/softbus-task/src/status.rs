use std::collections::BTreeSet;
use std::time::Duration;

use softbus_core::wire::task_control::{
    Granted, Move, MoveReason, PolicyKind, Right, StatusNote, TEXT_BYTES, TaskSpec, TaskState,
};
use softbus_core::{AcceleratorNeed, Capability, CircleId, DeviceId, Epoch, Hash, QoS, ServiceName, TaskId};
use tokio::time::Instant;

/// All that is known of a task, as this device sees it now.
#[derive(Clone, PartialEq, Debug)]
pub struct TaskStatus {
    /// The task.
    pub id: TaskId,
    /// Its type and the state version it began with, `picture/1`.
    pub kind: String,
    /// Its name for people.
    pub name: String,
    /// Who submitted it.
    pub submitter: DeviceId,
    /// Who runs it, as far as is known.
    pub runner: Option<DeviceId>,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its branch; 0 unless it was adopted by force.
    pub branch: u32,
    /// Its state.
    pub state: TaskState,
    /// Progress, 0 to 1.
    pub progress: f64,
    /// Progress in words.
    pub progress_text: String,
    /// How its epochs are decided now: by its owner alone also if it was adopted where too few were in reach for the
    /// quorum that its submitter asked for ([`TaskSpec::policy`]).
    pub policy: PolicyKind,
    /// Devices that keep its checkpoints.
    pub holders: Vec<DeviceId>,
    /// How many checkpoints were replicated.
    pub checkpoint: u64,
    /// When the last of them was taken, on this device's monotonic clock.
    pub checkpoint_at: Option<Instant>,
    /// Its latest moves, oldest first.
    pub moves: Vec<Move>,
    /// What went wrong last, for people.
    pub error: Option<String>,
    /// Hash of the signed manifest of its result, once done.
    pub result: Option<Hash>,
    /// Whether it is known to be on as many devices as decide about it (a majority under policy `quorum`, its first runner
    /// under `owner`): from then on it is not lost with its submitter.
    pub accepted: bool,
    /// What happened to the branch that this device knew, if the task was adopted elsewhere meanwhile. Known only to
    /// those who took part in the old branch.
    pub fork: Option<Fork>,
    /// What it is, in full.
    pub spec: TaskSpec,
}

/// A task was adopted by force while this device was away: what it knew of the task became a dead branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fork {
    /// The branch that counts now.
    pub branch: u32,
    /// Number of the last checkpoint of the dead branch that was kept here, in its epoch; `None` if none was.
    pub lost: Option<u64>,
}

impl TaskStatus {
    /// Whether it is shown as in doubt: who runs it cannot be told until a device returns.
    pub fn in_doubt(&self) -> bool {
        self.state == TaskState::InDoubt
    }

    /// Age of the last checkpoint.
    pub fn checkpoint_age(&self) -> Option<Duration> {
        self.checkpoint_at.map(|at| at.elapsed())
    }

    /// A short form for lists: without the explanations of past moves.
    pub(crate) fn brief(&self) -> StatusNote {
        let mut note = self.to_note();
        for moved in &mut note.moves {
            if let MoveReason::Bus(text) | MoveReason::Person(text) | MoveReason::Placed(text) =
                &mut moved.reason
            {
                *text = text.lines().next().unwrap_or_default().chars().take(100).collect();
            }
        }
        note
    }

    /// From what another device told.
    pub fn from_note(note: StatusNote) -> Self {
        Self {
            id: note.spec.task,
            kind: note.spec.kind.clone(),
            name: note.spec.name.clone(),
            submitter: note.submitter,
            runner: note.runner,
            epoch: note.epoch,
            branch: note.branch,
            state: note.state,
            progress: f64::from(note.progress_permille.min(1000)) / 1000.0,
            progress_text: cut(note.progress_text),
            policy: note.spec.policy,
            holders: note.holders,
            checkpoint: note.checkpoint,
            checkpoint_at: note
                .checkpoint_age_ms
                .and_then(|age| Instant::now().checked_sub(Duration::from_millis(age))),
            moves: note.moves,
            error: note.error.map(cut),
            result: note.result,
            accepted: note.accepted,
            fork: None,
            spec: note.spec,
        }
    }

    /// As it travels.
    pub fn to_note(&self) -> StatusNote {
        StatusNote {
            spec: self.spec.clone(),
            submitter: self.submitter,
            runner: self.runner,
            epoch: self.epoch,
            branch: self.branch,
            state: self.state,
            progress_permille: (self.progress.clamp(0.0, 1.0) * 1000.0) as u16,
            progress_text: cut(self.progress_text.clone()),
            holders: self.holders.clone(),
            checkpoint: self.checkpoint,
            checkpoint_age_ms: self
                .checkpoint_age()
                .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            moves: self.moves.clone(),
            error: self.error.clone().map(cut),
            result: self.result,
            accepted: self.accepted,
        }
    }
}

/// Makes a text fit to be shown, wherever it comes from: at most [`TEXT_BYTES`], and nothing in it that steers a terminal.
pub(crate) fn cut(mut text: String) -> String {
    text.retain(|c| !c.is_control() || c == '\n');
    if text.len() > TEXT_BYTES {
        let mut end = TEXT_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

/// How a task is to be treated.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SubmitOptions {
    /// A name for people; empty: its type.
    pub name: String,
    /// What it asks of the bus, with the privacy label that says where it may go.
    pub qos: QoS,
    /// How its epochs are decided.
    pub policy: PolicyKind,
    /// How many devices beside the runner keep checkpoints; `None`: `k` under quorum, else the configured number.
    pub replicas: Option<u8>,
    /// Where it may or must run, and what it needs.
    pub hints: PlacementHints,
    /// The circle that it is of: only devices of that are asked to run it, and its owners may see, move and cancel it.
    /// `None`: one that this device owns, or else any that it is in; name it if there are several.
    pub circle: Option<CircleId>,
    /// Who beside the submitter and the circle's owners may do what with it.
    pub grant: Vec<Granted>,
    /// What the task may have and ask for, in the form of its runtime ([`Runtime::terms`](crate::Runtime::terms)); `None`: what its
    /// input asks for, as far as this device can run the type, or what the saved state was granted.
    pub terms: Option<Vec<u8>>,
}

/// Where a task may run, and what it needs. What is left out is estimated by its type.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PlacementHints {
    /// Only these devices may run it; empty: any.
    pub only: BTreeSet<DeviceId>,
    /// Begin on this device, if it can, whatever else is better.
    pub start_on: Option<DeviceId>,
    /// Stay where it is: the bus does not move it to balance load (persons, drains and fail-overs still do).
    pub stay: bool,
    /// None of these may run it.
    pub never: BTreeSet<DeviceId>,
    /// Services that a device must have.
    pub needs: Vec<ServiceName>,
    /// Capabilities that it must have.
    pub capabilities: Vec<Capability>,
    /// Accelerators that it must have.
    pub accelerators: Vec<AcceleratorNeed>,
    /// Work, in operations of the reference kernel.
    pub ops: Option<u64>,
    /// Memory at work, in bytes.
    pub memory_bytes: Option<u64>,
    /// Cores it can use at once; 0 counts as 1.
    pub cores: u16,
}

/// Something happened to a task. Delivered in order; a slow reader is told how many it missed.
#[derive(Clone, PartialEq, Debug)]
pub enum TaskEvent {
    /// A task became known here.
    Known {
        /// Which.
        task: TaskId,
    },
    /// It was placed.
    Placed {
        /// Which.
        task: TaskId,
        /// Where.
        on: DeviceId,
        /// Why, for people.
        explanation: String,
    },
    /// It is on as many devices as decide about it. At its submitter.
    Accepted {
        /// Which.
        task: TaskId,
    },
    /// Its state changed.
    State {
        /// Which.
        task: TaskId,
        /// To this.
        state: TaskState,
        /// Its runner.
        runner: Option<DeviceId>,
        /// Its epoch.
        epoch: Epoch,
    },
    /// It moved.
    Moved {
        /// Which.
        task: TaskId,
        /// How.
        moved: Move,
    },
    /// Its progress, at most ten times a second.
    Progress {
        /// Which.
        task: TaskId,
        /// 0 to 1.
        progress: f64,
        /// In words.
        text: String,
    },
    /// A provisional preview.
    Preview {
        /// Which.
        task: TaskId,
        /// What it shows.
        bytes: Vec<u8>,
    },
    /// Something left it, each number once as long as this program runs. One that starts anew hears those of the last
    /// 256 that its devices kept again: whoever must act on each only once keeps the last number that it acted on.
    Effect {
        /// Which.
        task: TaskId,
        /// Its number.
        sequence: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Effects left it while this device was out of reach, and are no longer kept for it.
    EffectsMissed {
        /// Which.
        task: TaskId,
        /// The first that was missed.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A checkpoint is kept by all holders that are in reach.
    Checkpoint {
        /// Which.
        task: TaskId,
        /// Its number.
        number: u64,
        /// Bytes that were sent for it, to all holders.
        bytes: u64,
        /// How many holders keep it.
        holders: usize,
    },
    /// Something went wrong; the task goes on if it can.
    Trouble {
        /// Which.
        task: TaskId,
        /// What, for people.
        error: String,
    },
    /// The reader was too slow.
    Lagged {
        /// How many events it missed; the statuses tell how things are now.
        missed: u64,
    },
    /// It was adopted elsewhere while this device was away; here is the fork.
    Forked {
        /// Which.
        task: TaskId,
        /// The branch that counts now.
        branch: u32,
    },
}

/// Rights by the name of the grant's words.
pub(crate) fn has(granted: &[Granted], device: &DeviceId, right: Right) -> bool {
    granted.iter().any(|g| g.device == *device && g.rights.contains(&right))
}
